"""What a line at the prompt means: text in, a wish or a UsageError out.

This file decides the language: `buy 100 50` is an amount and a price, words are separated by white
space, commands and options may be in capitals, markets and orders are named and not looked up. It
promises an answer for every line, and that an error says what to write. It refuses to know peers,
books and whether a number falls on a tick: prompt_session.py asks those.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from gossipbook.book.commands import OrderId, Side, TimeInForce
from gossipbook.cli.prompt_help import command_name, usage_error
from gossipbook.errors import InvalidCommand, UsageError

DEFAULT_DEPTH = 10
DEFAULT_TRADES = 10
DEFAULT_ORDERS = 100
DEFAULT_PATIENCE_S = 30.0

OrderRef: TypeAlias = int | OrderId
"""An own order by its number, or any order by its whole id."""


@dataclass(frozen=True, slots=True)
class Place:
    """A new order; `price` None is a market order, `market` None the current one."""

    side: Side
    quantity: str
    price: str | None
    time_in_force: TimeInForce = "gtc"
    post_only: bool = False
    market: str | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    orders: tuple[OrderRef, ...]


@dataclass(frozen=True, slots=True)
class CancelAll:
    """All own open orders; `market` None is all markets."""

    market: str | None = None


@dataclass(frozen=True, slots=True)
class Replace:
    order: OrderRef
    price: str | None = None
    quantity: str | None = None
    reduce_by: str | None = None


@dataclass(frozen=True, slots=True)
class ChooseMarket:
    """`market` None asks which it is."""

    market: str | None = None


@dataclass(frozen=True, slots=True)
class ListMarkets:
    pass


@dataclass(frozen=True, slots=True)
class ShowBook:
    depth: int = DEFAULT_DEPTH
    market: str | None = None


@dataclass(frozen=True, slots=True)
class ShowOrders:
    """Own open orders, or the newest `count` of all; `market` None is all markets."""

    closed_too: bool = False
    market: str | None = None
    count: int = DEFAULT_ORDERS


@dataclass(frozen=True, slots=True)
class ShowOrder:
    order: OrderRef


@dataclass(frozen=True, slots=True)
class ShowTrades:
    count: int = DEFAULT_TRADES
    market: str | None = None


@dataclass(frozen=True, slots=True)
class ShowNews:
    pass


@dataclass(frozen=True, slots=True)
class ShowPeers:
    pass


@dataclass(frozen=True, slots=True)
class Join:
    """Dial peers at these addresses; what an address is, the transport decides."""

    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ShowStatus:
    pass


@dataclass(frozen=True, slots=True)
class WhoAmI:
    pass


WaitKind: TypeAlias = Literal["seconds", "peers", "entries", "trades", "closed", "equal"]
WAIT_KINDS: tuple[WaitKind, ...] = ("seconds", "peers", "entries", "trades", "closed", "equal")


@dataclass(frozen=True, slots=True)
class Wait:
    """`count` peers, entries, trades or seconds; `order` for "closed"."""

    kind: WaitKind
    count: float = 0
    order: OrderRef | None = None
    within_s: float = DEFAULT_PATIENCE_S


@dataclass(frozen=True, slots=True)
class Help:
    """`command` None lists all."""

    command: str | None = None


@dataclass(frozen=True, slots=True)
class Quit:
    pass


Wish: TypeAlias = (
    Place
    | Cancel
    | CancelAll
    | Replace
    | ChooseMarket
    | ListMarkets
    | ShowBook
    | ShowOrders
    | ShowOrder
    | ShowTrades
    | ShowNews
    | ShowPeers
    | Join
    | ShowStatus
    | WhoAmI
    | Wait
    | Help
    | Quit
)


def parse(line: str) -> Wish | None:
    """What the line asks for; None for an empty line, or a comment after #. Raises UsageError."""
    words = line.split()
    if not words or words[0].startswith("#"):
        return None
    name = command_name(words[0])
    return _PARSERS[name](words[1:])


def parse_order_ref(text: str) -> OrderRef:
    """An order as people name it: 3, #3, or a whole id. Raises UsageError."""
    match = _NUMBER_REF.fullmatch(text)
    if match is not None:
        return int(match[1])
    try:
        return OrderId.parse(text)
    except InvalidCommand:
        raise UsageError(
            f"{text[:120]!r} is no order; write its number, such as #3 (`orders` shows them), or "
            "its whole id"
        ) from None


# ------------------------------------------------------------------ orders


def _place(side: Side, words: list[str]) -> Place:
    words, market = _split_market(side, words)
    if not words:
        raise usage_error(side, f"{side} how much, and at which price?")
    quantity = _number(words[0], "amount")
    if len(words) == 1:
        raise UsageError(
            f"{side} {words[0]} at which price? Write: {side} {words[0]} PRICE, or: "
            f"{side} {words[0]} market"
        )
    price_word, options = words[1], [word.lower() for word in words[2:]]
    price = None if price_word.lower() == "market" else _number(price_word, "price")
    if len(options) > 1:
        raise usage_error(side, f"{' '.join(options)!r} is more than one option")
    option = options[0] if options else "gtc"
    if option not in ("gtc", "ioc", "fok", "post"):
        raise usage_error(side, f"{option[:40]!r} is no option")
    if price is None:
        if options:
            raise UsageError(
                f"a market order takes no option ({option}): what finds nobody is cancelled; "
                f"write: {side} {words[0]} market"
            )
        return Place(side, quantity, None, market=market)
    if option == "post":
        return Place(side, quantity, price, post_only=True, market=market)
    time_in_force: TimeInForce = "ioc" if option == "ioc" else "fok" if option == "fok" else "gtc"
    return Place(side, quantity, price, time_in_force, market=market)


def _cancel(words: list[str]) -> Wish:
    if not words:
        raise usage_error("cancel", "cancel which order?")
    if words[0].lower() == "all":
        rest, market = _split_market("cancel", words[1:])
        if rest:
            raise usage_error("cancel", f"{rest[0][:40]!r} after `cancel all` means nothing")
        return CancelAll(market)
    return Cancel(tuple(dict.fromkeys(parse_order_ref(word) for word in words)))


def _replace(words: list[str]) -> Replace:
    if not words:
        raise usage_error("replace", "replace which order?")
    order = parse_order_ref(words[0])
    pairs = words[1:]
    if not pairs:
        raise usage_error("replace", f"what of {words[0]} is to change?")
    if len(pairs) == 1 and pairs[0].lower() not in _REPLACEABLE:
        raise usage_error("replace", f"is {pairs[0][:40]!r} a price or a quantity?")
    values: dict[str, str] = {}
    for word, value in zip(pairs[::2], [*pairs[1::2], ""], strict=False):
        key = word.lower()
        if key not in _REPLACEABLE:
            raise usage_error("replace", f"{word[:40]!r} is nothing that can be replaced")
        if not value:
            raise usage_error("replace", f"{key} has no number after it")
        if _REPLACEABLE[key] in values:
            raise usage_error("replace", f"{key} is there twice")
        values[_REPLACEABLE[key]] = _number(value, "price" if key == "price" else "amount")
    if "quantity" in values and "reduce_by" in values:
        raise usage_error("replace", "quantity and reduce both say the size")
    return Replace(order, **values)


# ------------------------------------------------------------------ looking


def _choose_market(words: list[str]) -> ChooseMarket:
    if len(words) > 1:
        raise usage_error("market", f"{' '.join(words)[:60]!r} is not one market")
    return ChooseMarket(words[0] if words else None)


def _book(words: list[str]) -> ShowBook:
    depth, market = _count_and_market("book", words, DEFAULT_DEPTH)
    return ShowBook(depth, market)


def _trades(words: list[str]) -> ShowTrades:
    count, market = _count_and_market("trades", words, DEFAULT_TRADES)
    return ShowTrades(count, market)


def _orders(words: list[str]) -> ShowOrders:
    rest, market = _split_market("orders", words)
    if not rest:
        return ShowOrders(market=market)
    if rest[0].lower() != "all" or len(rest) > 2:
        raise usage_error("orders", f"{' '.join(rest)[:60]!r} means nothing here")
    count = _count("orders", rest[1]) if len(rest) == 2 else DEFAULT_ORDERS
    return ShowOrders(True, market, count)


def _order(words: list[str]) -> ShowOrder:
    if len(words) != 1:
        raise usage_error("order", "which order?")
    return ShowOrder(parse_order_ref(words[0]))


def _join(words: list[str]) -> Join:
    if not words:
        raise usage_error("join", "join whom?")
    return Join(tuple(words))


def _help(words: list[str]) -> Help:
    return Help(command_name(words[0]) if words else None)


def _alone(name: str, wish: Wish) -> Callable[[list[str]], Wish]:
    """The parser of a command that stands alone."""

    def parser(words: list[str]) -> Wish:
        if words:
            raise usage_error(name, f"{words[0][:40]!r} means nothing after {name}")
        return wish

    return parser


# ------------------------------------------------------------------ waiting


def _wait(words: list[str]) -> Wait:
    words, within_s = _split_patience(words)
    kind = next((kind for kind in WAIT_KINDS if words and words[0].lower() == kind), None)
    if kind is None:
        what = f"{words[0][:40]!r} is nothing to wait for" if words else "wait for what?"
        raise usage_error("wait", f"{what} ({', '.join(WAIT_KINDS)})")
    if kind == "equal":
        if len(words) > 1:
            raise usage_error("wait", f"{words[1][:40]!r} means nothing after equal")
        return Wait(kind, within_s=within_s)
    if len(words) != 2:
        what = "which order" if kind == "closed" else f"how many {kind}"
        raise UsageError(f"{what}? Write: wait {kind} {'#1' if kind == 'closed' else '2'}")
    if kind == "closed":
        return Wait(kind, order=parse_order_ref(words[1]), within_s=within_s)
    if kind == "seconds":
        return Wait(kind, count=_seconds(words[1]), within_s=within_s)
    return Wait(kind, count=_count("wait", words[1]), within_s=within_s)


def _split_patience(words: list[str]) -> tuple[list[str], float]:
    if len(words) >= 2 and words[-2].lower() == "within":
        return words[:-2], _seconds(words[-1])
    if words and words[-1].lower() == "within":
        raise usage_error("wait", "within how many seconds?")
    return words, DEFAULT_PATIENCE_S


def _seconds(text: str) -> float:
    seconds = float(_number(text, "number of seconds"))
    if seconds > 1e9:
        raise UsageError(f"{text} seconds are more than thirty years; write fewer")
    return seconds


# ------------------------------------------------------------------ words


_NUMBER_REF = re.compile(r"#?([0-9]{1,12})")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_REPLACEABLE = {"price": "price", "quantity": "quantity", "reduce": "reduce_by"}

_PARSERS: dict[str, Callable[[list[str]], Wish]] = {
    "buy": lambda words: _place("buy", words),
    "sell": lambda words: _place("sell", words),
    "cancel": _cancel,
    "replace": _replace,
    "market": _choose_market,
    "markets": _alone("markets", ListMarkets()),
    "book": _book,
    "orders": _orders,
    "order": _order,
    "trades": _trades,
    "news": _alone("news", ShowNews()),
    "peers": _alone("peers", ShowPeers()),
    "join": _join,
    "status": _alone("status", ShowStatus()),
    "whoami": _alone("whoami", WhoAmI()),
    "wait": _wait,
    "help": _help,
    "quit": _alone("quit", Quit()),
}


def _split_market(name: str, words: list[str]) -> tuple[list[str], str | None]:
    """The words before `in SYMBOL`, and the symbol."""
    if len(words) >= 2 and words[-2].lower() == "in":
        return words[:-2], words[-1]
    if words and words[-1].lower() == "in":
        raise usage_error(name, "in which market?")
    return words, None


def _count_and_market(name: str, words: list[str], default: int) -> tuple[int, str | None]:
    rest, market = _split_market(name, words)
    if len(rest) > 1:
        raise usage_error(name, f"{' '.join(rest)[:60]!r} is not one number")
    return (_count(name, rest[0]) if rest else default), market


def _count(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) > 0):
        raise usage_error(name, f"{text[:40]!r} is no whole number above zero")
    return int(text)


def _number(text: str, what: str) -> str:
    """The text, if it is a number in plain digits; whether it is a possible one, others decide."""
    if _NUMBER.fullmatch(text) and len(text) <= 60:
        return text
    plain = text.replace(",", ".")
    if "," in text and _NUMBER.fullmatch(plain):
        hint = f"write a point, not a comma: {plain}"
    else:
        hint = "write plain digits, such as 12.50"
    raise UsageError(f"{text[:60]!r} is no {what}; {hint}")
