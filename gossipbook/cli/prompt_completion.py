"""What may come next in a line that is being typed: commands, markets, own orders, options.

This file decides the candidates from the text before the cursor and the words of the moment
(`CompletionWords`). It knows no terminal; prompt_terminal.py shows what it finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gossipbook.cli.prompt_help import ALIASES, COMMANDS
from gossipbook.cli.prompt_language import WAIT_KINDS


class Candidate(NamedTuple):
    """A word that fits, and a few words about it."""

    word: str
    about: str = ""


@dataclass(frozen=True, slots=True)
class CompletionWords:
    """What can be named now: markets, and own open orders ("#3") with what they are."""

    symbols: tuple[str, ...] = ()
    open_orders: Mapping[str, str] = field(default_factory=dict)


def complete(text: str, words: CompletionWords) -> tuple[str, list[Candidate]]:
    """The word that is being typed, and the candidates that begin with it."""
    before = text.split()
    typed = "" if not before or text[-1:].isspace() else before.pop()
    candidates = _candidates([word.lower() for word in before], words)
    return typed, [one for one in candidates if _begins(one.word, typed)]


def _candidates(before: list[str], words: CompletionWords) -> list[Candidate]:
    if not before:
        return [Candidate(name, one.summary) for name, one in COMMANDS.items()]
    command, given = ALIASES.get(before[0], before[0]), before[1:]
    symbols = [Candidate(symbol) for symbol in words.symbols]
    orders = [Candidate(label, about) for label, about in words.open_orders.items()]
    if given and given[-1] == "in" and command in _IN_MARKET:
        return symbols
    match command:
        case "buy" | "sell":
            return _order_words(given)
        case "cancel":
            if given[:1] == ["all"]:
                return [] if "in" in given else [Candidate("in", "one market only")]
            chosen = {f"#{word.lstrip('#')}" for word in given}
            others = [one for one in orders if one.word not in chosen]
            return others if given else [*others, Candidate("all", "all own open orders")]
        case "replace":
            return orders if not given else _replace_words(given[1:])
        case "order":
            return [] if given else orders
        case "market":
            return [] if given else symbols
        case "orders":
            return [Candidate("all"), Candidate("in")] if not given else [Candidate("in")]
        case "book" | "trades":
            return [] if "in" in given else [Candidate("in")]
        case "help":
            return [] if given else [Candidate(name) for name in COMMANDS]
        case "wait":
            return _wait_words(given, orders)
    return []


def _order_words(given: list[str]) -> list[Candidate]:
    if len(given) == 1:
        return [Candidate("market", "at whatever prices the book offers")]
    if len(given) == 2:
        return [
            Candidate("ioc", "trade at once, cancel the rest"),
            Candidate("fok", "all at once, or nothing"),
            Candidate("post", "only rest"),
            Candidate("in", "another market"),
        ]
    return [Candidate("in", "another market")] if len(given) == 3 else []


def _replace_words(given: list[str]) -> list[Candidate]:
    if len(given) % 2:
        return []  # a number
    size = {"quantity", "reduce"}
    return [
        Candidate(word)
        for word in ("price", "quantity", "reduce")
        if word not in given and not (word in size and size & set(given))
    ]


def _wait_words(given: list[str], orders: list[Candidate]) -> list[Candidate]:
    if not given:
        return [Candidate(kind) for kind in WAIT_KINDS]
    if given == ["closed"]:
        return orders
    done = given[0] == "equal" or len(given) >= 2
    return [Candidate("within", "seconds")] if done and "within" not in given else []


def _begins(word: str, typed: str) -> bool:
    return word.lower().startswith(typed.lower()) or word.startswith(f"#{typed}" if typed else "#")


_IN_MARKET = ("buy", "sell", "cancel", "book", "orders", "trades")
