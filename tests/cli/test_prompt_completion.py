"""What a Tab offers, and that what it offers is understood."""

import pytest

from gossipbook.cli.prompt_completion import CompletionWords, complete
from gossipbook.cli.prompt_help import COMMANDS

WORDS = CompletionWords(("BTC-USD", "ETH-USD"), {"#3": "buy 1 at 50", "#12": "sell 2 at 60"})


def offered(text: str) -> list[str]:
    return [one.word for one in complete(text, WORDS)[1]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", list(COMMANDS)),
        ("b", ["buy", "book"]),
        ("MAR", ["market", "markets"]),
        ("xyz", []),
        ("buy ", []),
        ("buy 1 ", ["market"]),
        ("buy 1 50 ", ["ioc", "fok", "post", "in"]),
        ("buy 1 50 i", ["ioc", "in"]),
        ("buy 1 50 in ", ["BTC-USD", "ETH-USD"]),
        ("sell 1 50 post in e", ["ETH-USD"]),
        ("cancel ", ["#3", "#12", "all"]),
        ("cancel #1", ["#12"]),
        ("cancel 1", ["#12"]),
        ("cancel #3 ", ["#12"]),
        ("cancel 3 ", ["#12"]),
        ("cancel all ", ["in"]),
        ("replace ", ["#3", "#12"]),
        ("replace #3 ", ["price", "quantity", "reduce"]),
        ("replace #3 p", ["price"]),
        ("replace #3 price ", []),
        ("replace #3 price 50 ", ["quantity", "reduce"]),
        ("replace #3 reduce 5 ", ["price"]),
        ("market ", ["BTC-USD", "ETH-USD"]),
        ("market btc", ["BTC-USD"]),
        ("orders ", ["all", "in"]),
        ("book in ", ["BTC-USD", "ETH-USD"]),
        ("help wh", ["whoami"]),
        ("? st", ["status"]),
        ("wait ", ["seconds", "peers", "entries", "trades", "closed", "equal"]),
        ("wait closed ", ["#3", "#12"]),
        ("wait equal ", ["within"]),
        ("wait peers ", []),
        ("wait peers 2 ", ["within"]),
        ("status ", []),
    ],
)
def test_candidates(text: str, words: list[str]) -> None:
    assert offered(text) == words


def test_the_word_being_typed_is_what_is_replaced() -> None:
    assert complete("cancel #1", WORDS)[0] == "#1"
    assert complete("cancel ", WORDS)[0] == ""
