"""What is worth a line: own trades and orders, and what an operator has to know; nothing twice."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gossipbook.book.commands import OrderId
from gossipbook.book.events import (
    Accepted,
    Cancelled,
    Event,
    OrderStatus,
    Rejected,
    Replaced,
    Trade,
)
from gossipbook.cli.prompt_answers import Labels, Line
from gossipbook.cli.prompt_news import Notice, _in_short, market_notices, peer_notice
from gossipbook.gossip.interface import (
    ClockSkew,
    DialRefused,
    Divergence,
    ForkProven,
    PeerDown,
    PeerUp,
)
from gossipbook.identity import PeerId
from gossipbook.log.fork import ForkProof
from gossipbook.replica import Update

ME, ALICE, BOB = (PeerId(bytes([number]) * 32) for number in (1, 2, 3))
D = Decimal


def order_id(author: PeerId, seq: int) -> OrderId:
    return OrderId("ONE", author, seq, 0)


MINE, MY_OTHER, MY_CANCEL = (order_id(ME, seq) for seq in range(3))
HERS, HIS = order_id(ALICE, 5), order_id(BOB, 6)
LABELS = Labels(ME, {ALICE: "alice"}, {MINE: 1, MY_OTHER: 2}.get)


def trade(taker: OrderId, maker: OrderId, quantity: int = 1) -> Trade:
    return Trade(taker, taker, maker, D(50), D(quantity), "buy", "ONE")


def accepted(order: OrderId) -> Accepted:
    return Accepted(order, order, "buy", D(50), D(10))


def open_order(order: OrderId) -> OrderStatus:
    return OrderStatus(order, "open", "buy", D(50), D(10), D(6), D(4), None)


def told(
    undone: list[Event],
    events: list[Event],
    *,
    answered: dict[OrderId, OrderId] | None = None,
    status: OrderStatus | None = None,
) -> list[Notice]:
    update = Update("ONE", 0, tuple(undone), tuple(events))
    return market_notices(LABELS, update, answered or {}, lambda order: status or open_order(order))


def words(notices: list[Notice]) -> list[str]:
    return [notice.line.text for notice in notices]


# ------------------------------------------------------------------ the markets


def test_trades_of_others_are_no_news() -> None:
    assert told([trade(HIS, HERS)], [trade(HERS, HIS), accepted(HERS)]) == []


def test_the_last_trade_of_an_order_says_what_is_left() -> None:
    notices = told([], [trade(HIS, MINE, 1), trade(HERS, MINE, 3)])
    assert words(notices) == ["#1 sold 1 at 50 to 03030303", "#1 sold 3 at 50 to alice; 6 left"]


def test_busted_trades_stand_before_those_in_their_place() -> None:
    notices = told([trade(HIS, MINE)], [trade(HERS, MINE)])
    assert [one.kind for one in notices] == ["busted", "trade"]
    assert notices[0].line.tone == "loud" and notices[0].fields["taker"] == str(HIS)


def test_what_an_answer_said_is_not_said_again() -> None:
    events = [accepted(MINE), trade(MINE, HERS), Cancelled(MINE, MINE, D(9), "ioc-remainder")]
    assert told([], events, answered={MINE: MINE}) == []
    assert words(told([], events))[0].startswith("#1 bought 1 at 50 from alice")


def test_a_bust_is_told_even_of_a_command_that_is_being_answered() -> None:
    assert [one.kind for one in told([trade(MINE, HERS)], [], answered={MINE: MINE})] == ["busted"]


def test_an_own_order_that_an_answered_one_met_is_told() -> None:
    cancelled = OrderStatus(MY_OTHER, "cancelled", "buy", D(50), D(1), D(0), D(0), "self-trade")
    events = [accepted(MINE), Cancelled(MINE, MY_OTHER, D(1), "self-trade")]
    (notice,) = told([], events, answered={MINE: MINE}, status=cancelled)
    assert notice.line.text.endswith("cancelled, it met an order of your own")


def test_an_order_that_is_decided_anew_is_told() -> None:
    rejected = OrderStatus(
        MINE, "rejected", "buy", D(50), D(10), D(0), D(0), "post-only-would-trade"
    )
    reason = "post-only-would-trade"
    (notice,) = told([accepted(MINE)], [Rejected(MINE, reason)], status=rejected)
    assert "REJECTED" in notice.line.text and notice.fields["state"] == "rejected"
    (again,) = told([Rejected(MINE, reason)], [accepted(MINE)])
    assert again.fields["state"] == "open"


def test_an_order_that_another_program_placed_is_told_by_its_trades_only() -> None:
    assert told([], [accepted(MINE)]) == []
    assert [one.kind for one in told([], [accepted(MINE), trade(MINE, HERS)])] == ["trade"]


def test_a_cancellation_or_replacement_that_came_too_late_is_told() -> None:
    update = Update("ONE", 0, (), (Rejected(MY_CANCEL, "already-filled"),))
    (notice,) = market_notices(LABELS, update, {}, lambda order: None)
    assert notice.line.text.endswith("was rejected: the order was filled already")


def test_an_order_that_another_program_replaced_is_told() -> None:
    (notice,) = told([], [Replaced(MY_CANCEL, MINE, D(51), D(6), D(10), False)])
    assert notice.line.text == "#1 buy 10 at 50 in ONE: 6 resting, 4 filled"


# ------------------------------------------------------------------ the peer


@pytest.mark.parametrize(
    ("event", "kind", "tone", "said"),
    [
        (PeerUp(ALICE), "peer-up", "dim", "linked to alice (02020202)"),
        (PeerDown(BOB, "silent"), "peer-down", "dim", "no link to 03030303 any more: silent"),
        (
            DialRefused("a:1", "another network"),
            "dial-refused",
            "bad",
            "a:1 refuses a link: another network",
        ),
        (ClockSkew(90_000_000, True), "clock", "loud", "clock is 90.0 s behind the other peers'"),
        (ClockSkew(-90_000_000, True), "clock", "loud", "clock is 90.0 s ahead of the other peers"),
        (ClockSkew(0, False), "clock", "plain", "near the others' again"),
        (
            Divergence("claimed", ALICE, 5, "ONE", None, None, b"", b""),
            "divergence",
            "plain",
            "alice (02020202) holds another book of ONE with the same entries; checking ours",
        ),
        (
            Divergence("healed", None, 5, "ONE", None, None, b"", b""),
            "divergence",
            "loud",
            "our memory of ONE was wrong; it has been mended",
        ),
        (
            Divergence("unresolved", ALICE, 5, None, None, None, b"", b""),
            "divergence",
            "loud",
            "another book of a market; ours was checked and is right",
        ),
    ],
)
def test_what_happens_to_the_peer(event: object, kind: str, tone: str, said: str) -> None:
    notice = peer_notice(LABELS, event)  # type: ignore[arg-type]
    assert (notice.kind, notice.line.tone) == (kind, tone)
    assert said in notice.line.text


@pytest.mark.parametrize(
    ("author", "said"),
    [
        (ALICE, "alice signed two histories; from entry 4 on its orders do not count"),
        (ME, "YOUR KEY IS FORKED"),
    ],
)
def test_a_proven_cheat_is_loud_and_most_so_with_our_own_key(author: PeerId, said: str) -> None:
    proof = ForkProof(author, 4, None, None)  # type: ignore[arg-type]  # the headers are not read
    notice = peer_notice(LABELS, ForkProven(proof))
    assert notice.line.tone == "loud" and said in notice.line.text


def test_a_flood_of_old_events_is_told_in_one_line() -> None:
    notices = [Notice("trade", Line(f"trade {number}"), {}) for number in range(30)]
    busted = Notice("busted", Line("BUSTED"), {})
    told = _in_short("ONE", [*notices, busted])
    assert told[0] is busted, "a busted trade is never left out"
    assert [notice.kind for notice in told] == ["busted", "older"]
    assert told[1].line.text.startswith("30 older events of your orders in ONE")
