"""The words of the prompt, worked out by hand, and the fields that go with them."""

from decimal import Decimal

import pytest

from gossipbook.book.commands import OrderId
from gossipbook.book.events import OrderStatus, Trade
from gossipbook.book.order_book import BookOrder, PriceLevel
from gossipbook.cli import prompt_answers as answers
from gossipbook.cli.prompt_answers import Answer, DatedTrade, Labels, MarketSummary
from gossipbook.genesis import Market
from gossipbook.identity import PeerId
from gossipbook.link_status import LinkStatus

ME, ALICE, STRANGER = (PeerId(bytes([number]) * 32) for number in (1, 2, 3))
MINE = [OrderId("ONE", ME, seq, 0) for seq in range(3)]
HERS = OrderId("ONE", ALICE, 7, 0)
THEIRS = OrderId("ONE", STRANGER, 8, 2)
LABELS = Labels(ME, {ALICE: "alice"}, {order: n for n, order in enumerate(MINE, 1)}.get)
D = Decimal
WOULD_TRADE = "it would have traded at once, and post only rests"


def status(state="open", *, price="50.00", filled="0", remaining="10", reason=None) -> OrderStatus:
    price = None if price is None else D(price)
    return OrderStatus(MINE[0], state, "buy", price, D(10), D(remaining), D(filled), reason)


def trade(*, taker=MINE[0], maker=HERS, side="buy") -> Trade:
    return Trade(taker, taker, maker, D("49.90"), D("4"), side, "ONE")


def text(answer: Answer) -> str:
    return "\n".join(line.text for line in answer.lines)


def test_orders_and_peers_are_called_what_people_call_them() -> None:
    assert [LABELS.order(order) for order in (MINE[1], HERS, THEIRS)] == [
        "#2",
        "alice/7",
        "03030303/8.2",
    ]
    assert [LABELS.peer(peer) for peer in (ME, ALICE, STRANGER)] == ["you", "alice", "03030303"]


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (status(), "#1 buy 10 at 50.00 in ONE: resting"),
        (status(filled="4", remaining="6"), "#1 buy 10 at 50.00 in ONE: 6 resting, 4 filled"),
        (status("filled", filled="10", remaining="0"), "#1 buy 10 at 50.00 in ONE: filled"),
        (
            status("cancelled", remaining="0", reason="requested"),
            "#1 buy 10 at 50.00 in ONE: cancelled",
        ),
        (
            status("cancelled", price=None, filled="4", remaining="0", reason="market-remainder"),
            "#1 buy 10 at market in ONE: 4 filled, the rest cancelled, the book offers no more",
        ),
        (
            status("rejected", remaining="0", reason="post-only-would-trade"),
            f"#1 buy 10 at 50.00 in ONE: REJECTED, {WOULD_TRADE}",
        ),
    ],
)
def test_what_became_of_an_order(order: OrderStatus, words: str) -> None:
    assert answers.order_line(LABELS, order).text == words


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (trade(), "#1 bought 4 at 49.90 from alice"),
        (trade(side="sell"), "#1 sold 4 at 49.90 to alice"),
        (trade(taker=THEIRS, maker=MINE[1]), "#2 sold 4 at 49.90 to 03030303"),
        (trade(taker=THEIRS, maker=MINE[1], side="sell"), "#2 bought 4 at 49.90 from 03030303"),
        (trade(maker=MINE[1]), "#1 bought 4 at 49.90 with your own #2"),
    ],
)
def test_a_trade_is_told_from_our_side(one: Trade, words: str) -> None:
    assert answers.own_trade_line(LABELS, one).text == words


def test_a_trade_says_what_is_left_of_the_order() -> None:
    left = answers.own_trade_line(LABELS, trade(), status(filled="4", remaining="6"))
    assert left.text.endswith("; 6 left")
    done = answers.own_trade_line(LABELS, trade(), status("filled", remaining="0"))
    assert done.text.endswith("; filled")


def test_a_busted_trade_is_loud() -> None:
    line = answers.busted_trade_line(LABELS, trade())
    assert line.tone == "loud"
    assert line.text == (
        "BUSTED: #1 bought 4 at 49.90 from alice in ONE did not happen after all: "
        "an earlier order came in late"
    )


def test_an_order_that_waits_for_its_time_says_so() -> None:
    answer = answers.order_answer("buy", LABELS, None, MINE[0], [])
    assert "#1 is signed and stored, and counts once" in text(answer)
    assert answer.fields["order"]["state"] == "waiting"


def test_the_ladder_has_asks_above_bids_and_own_orders_beside_them() -> None:
    bids = [PriceLevel(D("49.00"), D("5"), 2), PriceLevel(D("48.00"), D("15"), 1)]
    asks = [PriceLevel(D("51.00"), D("7"), 1), PriceLevel(D("101.00"), D("1"), 1)]
    own = [BookOrder(order, "buy", D("49.00"), D(1)) for order in MINE[:2]]
    answer = answers.book_answer(LABELS, "ONE", bids, asks, own, root=bytes(32))
    assert text(answer).splitlines() == [
        "ONE",
        "bid   price  ask  orders  yours",
        "     101.00    1       1",
        "      51.00    7       1",
        "  5   49.00            2  #1 #2",
        " 15   48.00            1",
    ]
    assert [line.tone for line in answer.lines[2:]] == ["ask", "ask", "bid", "bid"]
    assert answer.fields["asks"][0] == {"price": "51.00", "quantity": "7", "orders": 1}
    assert answer.fields["root"] == "00" * 32


def test_an_empty_book_is_no_table() -> None:
    assert (
        text(answers.book_answer(LABELS, "ONE", [], [], [], root=b"")) == "ONE: the book is empty"
    )


def test_orders_are_a_table() -> None:
    answer = answers.orders_answer(LABELS, [status(filled="4", remaining="6")])
    assert text(answer).splitlines() == [
        "id  market  side  price  remaining  filled",
        "#1  ONE     buy   50.00          6       4",
    ]
    assert answer.fields["orders"] == [
        {
            "number": 1,
            "id": str(MINE[0]),
            "market": "ONE",
            "state": "open",
            "side": "buy",
            "price": "50.00",
            "quantity": "10",
            "remaining": "6",
            "filled": "4",
            "reason": None,
        }
    ]


def test_closed_orders_say_what_became_of_them_and_how_many_there_are() -> None:
    filled = status("filled", filled="10", remaining="0")
    answer = answers.all_orders_answer(LABELS, [filled], 1_200)
    assert text(answer).splitlines() == [
        "the newest 1 of 1,200 orders",
        "id  market  side  price  remaining  filled  state",
        "#1  ONE     buy   50.00          0      10  filled",
    ]
    assert answer.fields["total"] == 1_200


def test_trades_are_dated_and_named() -> None:
    answer = answers.trades_answer(LABELS, "ONE", [DatedTrade(trade(), 3_661_500)], 12)
    assert text(answer).splitlines() == [
        "ONE: 1 of 12 trades",
        "time (UTC)           price  quantity  taker             maker",
        "1970-01-01 01:01:01  49.90         4  #1     buys from  alice/7",
    ]
    (fields,) = answer.fields["trades"]
    assert fields["at"] == "1970-01-01T01:01:01.500+00:00" and fields["own_side"] == "buy"


def test_a_cheats_date_is_no_trouble() -> None:
    beyond = answers.trades_answer(LABELS, "ONE", [DatedTrade(trade(), 1 << 62)], 1)
    assert beyond.fields["trades"][0]["at"] is None and "\n?" in text(beyond)


def test_links_are_a_table() -> None:
    link = LinkStatus(ALICE, "10.0.0.1:7000", True, 200.0, 0.31, 0.0123, -0.002, 3, 4, 0)
    silent = LinkStatus(STRANGER, None, False, 5.0, 2.0, None, None, 0, 0, 99)
    answer = answers.peers_answer(LABELS, [link, silent])
    assert [line.text.split() for line in answer.lines[1:]] == [
        [
            "alice",
            "10.0.0.1:7000",
            "dialled",
            "3",
            "min",
            "0.3",
            "12.3",
            "ms",
            "-2",
            "ms",
            "3",
            "4",
        ],
        ["03030303", "-", "came", "in", "5", "s", "2.0", "-", "-", "0", "0"],
    ]
    assert answer.fields["peers"][1]["queued_bytes"] == 99


def test_markets_are_a_table_with_the_current_one_marked() -> None:
    bid = PriceLevel(D("49.00"), D("5"), 2)
    rows = [
        MarketSummary(Market("ONE", "0.01"), bid, None, 1_234, 2),
        MarketSummary(Market("TWO"), None, None, 0, 0),
    ]
    answer = answers.markets_answer(rows, "TWO")
    assert [line.text.split() for line in answer.lines[1:]] == [
        ["ONE", "0.01", "1", "49.00", "-", "1,234", "2"],
        ["*", "TWO", "1", "1", "-", "-", "0", "0"],
    ]
    assert answer.fields["current"] == "TWO"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (2e5, "2 d")],
)
def test_durations(seconds: float, words: str) -> None:
    assert answers.duration(seconds) == words


def test_help_on_one_command_is_its_whole_usage() -> None:
    assert text(answers.help_answer("cancel")).startswith("cancel ID... | cancel all [in SYMBOL]\n")
    assert "replace ID WHAT" in text(answers.help_answer(None))
