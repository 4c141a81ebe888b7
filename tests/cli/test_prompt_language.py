"""Every line at the prompt means one thing, or is told how to write it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossipbook.book.commands import OrderId
from gossipbook.cli.prompt_help import COMMANDS, overview
from gossipbook.cli.prompt_language import (
    _PARSERS,
    Cancel,
    CancelAll,
    ChooseMarket,
    Help,
    Join,
    ListMarkets,
    Place,
    Quit,
    Replace,
    ShowBook,
    ShowNews,
    ShowOrder,
    ShowOrders,
    ShowPeers,
    ShowStatus,
    ShowTrades,
    Wait,
    WhoAmI,
    parse,
)
from gossipbook.errors import UsageError
from gossipbook.identity import PeerId

ORDER = OrderId("BTC-USD", PeerId(bytes([7]) * 32), 12, 3)


@pytest.mark.parametrize(
    ("line", "wish"),
    [
        ("buy 100 50", Place("buy", "100", "50")),
        ("  SELL 0.5   64000.01 ", Place("sell", "0.5", "64000.01")),
        ("buy 1 2 ioc", Place("buy", "1", "2", "ioc")),
        ("buy 1 2 FOK", Place("buy", "1", "2", "fok")),
        ("sell 1 2 post", Place("sell", "1", "2", post_only=True)),
        ("sell 1 2 gtc", Place("sell", "1", "2")),
        ("sell 1 2 post in X", Place("sell", "1", "2", post_only=True, market="X")),
        ("buy 1 market", Place("buy", "1", None)),
        ("buy 1 market in btc-usd", Place("buy", "1", None, market="btc-usd")),
        ("cancel 3", Cancel((3,))),
        ("cancel #3 4 #3", Cancel((3, 4))),
        (f"cancel {ORDER}", Cancel((ORDER,))),
        ("cancel all", CancelAll()),
        ("cancel all in X", CancelAll("X")),
        ("replace 3 price 51", Replace(3, price="51")),
        ("replace #3 quantity 2 price 51", Replace(3, price="51", quantity="2")),
        ("replace 3 price 51 reduce 1", Replace(3, price="51", reduce_by="1")),
        ("market", ChooseMarket()),
        ("market X", ChooseMarket("X")),
        ("markets", ListMarkets()),
        ("book", ShowBook(10)),
        ("book 3", ShowBook(3)),
        ("book 3 in X", ShowBook(3, "X")),
        ("orders", ShowOrders()),
        ("orders all", ShowOrders(closed_too=True)),
        ("orders all 5 in X", ShowOrders(closed_too=True, count=5, market="X")),
        ("orders in X", ShowOrders(market="X")),
        ("order 2", ShowOrder(2)),
        ("trades", ShowTrades(10)),
        ("trades 50 in X", ShowTrades(50, "X")),
        ("news", ShowNews()),
        ("peers", ShowPeers()),
        ("status", ShowStatus()),
        ("join a:1", Join(("a:1",))),
        ("join a:1 [::1]:2", Join(("a:1", "[::1]:2"))),
        ("whoami", WhoAmI()),
        ("wait seconds 1.5", Wait("seconds", 1.5)),
        ("wait peers 2", Wait("peers", 2)),
        ("wait entries 10 within 5", Wait("entries", 10, within_s=5)),
        ("wait closed #1", Wait("closed", order=1)),
        ("wait equal within 0.5", Wait("equal", within_s=0.5)),
        ("help", Help()),
        ("? buy", Help("buy")),
        ("quit", Quit()),
        ("exit", Quit()),
        ("", None),
        ("   ", None),
        ("# a remark", None),
        ("#remark", None),
    ],
)
def test_a_line_means(line: str, wish: object) -> None:
    assert parse(line) == wish


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("byu 1 2", "there is no command 'byu'; did you mean buy?"),
        ("xyzzy", "there is no command 'xyzzy'; help lists the commands"),
        ("buy", "how much, and at which price.*write: buy AMOUNT PRICE"),
        ("buy 100", "Write: buy 100 PRICE, or: buy 100 market"),
        ("buy a 50", "'a' is no amount; write plain digits"),
        ("buy 1 50,5", "'50,5' is no price; write a point, not a comma: 50.5"),
        ("buy 1 1e3", "is no price"),
        ("buy 1 -3", "is no price"),
        ("buy 1 \u0663", "is no price"),  # a digit of another script
        ("buy 1 2 now", "'now' is no option; write: buy"),
        ("buy 1 2 ioc fok", "'ioc fok' is more than one option"),
        ("buy 1 market ioc", "a market order takes no option"),
        ("buy 1 2 in", "in which market?"),
        ("cancel", "cancel which order?"),
        ("cancel x", "'x' is no order; write its number"),
        ("cancel all now", "'now' after `cancel all`"),
        ("replace", "replace which order?"),
        ("replace 3", "what of 3 is to change?"),
        ("replace 3 51", "is '51' a price or a quantity?"),
        ("replace 3 price", "price has no number after it"),
        ("replace 3 cost 51", "'cost' is nothing that can be replaced"),
        ("replace 3 price 5 price 6", "price is there twice"),
        ("replace 3 quantity 5 reduce 6", "quantity and reduce both say the size"),
        ("market A B", "'A B' is not one market"),
        ("book 0", "'0' is no whole number above zero"),
        ("book two", "'two' is no whole number above zero"),
        ("trades 1 2", "'1 2' is not one number"),
        ("orders all some", "'some' is no whole number"),
        ("orders some", "'some' means nothing here"),
        ("order", "which order?"),
        ("peers now", "'now' means nothing after peers"),
        ("join", "join whom\\?; write: join HOST:PORT"),
        ("wait", "wait for what?"),
        ("wait tea", "'tea' is nothing to wait for"),
        ("wait peers", "how many peers\\? Write: wait peers 2"),
        ("wait closed", "which order\\? Write: wait closed #1"),
        ("wait peers two", "no whole number"),
        ("wait equal now", "'now' means nothing after equal"),
        ("wait peers 2 within", "within how many seconds?"),
        ("wait seconds 99999999999", "write fewer"),
        ("help byu", "did you mean buy?"),
    ],
)
def test_a_wrong_line_is_told_what_to_write(line: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse(line)


@given(
    st.lists(
        st.one_of(
            st.sampled_from([*COMMANDS, "1", "#2", "50.5", "market", "in", "all", "price"]),
            st.text(max_size=80),
        ),
        max_size=6,
    )
)
def test_every_line_is_a_wish_or_a_usage_error(words: list[str]) -> None:
    try:
        parse(" ".join(words))
    except UsageError as error:
        assert len(str(error)) < 600


def test_help_knows_every_command_and_fits_a_narrow_terminal() -> None:
    assert list(_PARSERS) == list(COMMANDS)
    width = max(len(brief) for brief, _ in overview())
    assert all(width + 2 + len(summary) <= 80 for _, summary in overview())
    assert [line for one in COMMANDS.values() for line in one.details if len(line) > 78] == []
