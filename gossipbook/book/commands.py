"""What users write: place, cancel and replace orders, in their own units.

This file decides what a well-formed wish looks like: a side is "buy" or "sell", a price is a
positive decimal number, a replacement changes something. It promises that a command that exists
is well formed, so the mistake surfaces where it was typed and not at another peer. It refuses to
know ticks, lots, markets and books: whether a price falls on a tick is asked of the genesis
(`payload.to_integers`), whether an order is still open is asked of the engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Literal, NamedTuple, TypeAlias

from gossipbook.errors import InvalidCommand
from gossipbook.genesis import DecimalLike
from gossipbook.identity import PeerId

Side: TypeAlias = Literal["buy", "sell"]
TimeInForce: TypeAlias = Literal["gtc", "ioc", "fok"]

SIDES: tuple[Side, Side] = ("buy", "sell")
TIMES_IN_FORCE: tuple[TimeInForce, ...] = ("gtc", "ioc", "fok")


@dataclass(frozen=True, slots=True, init=False)
class LimitOrder:
    """Buy or sell up to `quantity` at `price` or better.

    `time_in_force`: "gtc" rests until filled or cancelled, "ioc" trades what it can and cancels
    the rest, "fok" trades the whole quantity at once or is rejected. `post_only=True` is rejected
    if it would trade on arrival. Prices and quantities are `Decimal`, `str` or `int`; they are
    kept as `Decimal`. Raises `InvalidCommand`.
    """

    market: str
    side: Side
    price: Decimal
    quantity: Decimal
    time_in_force: TimeInForce
    post_only: bool

    def __init__(
        self,
        market: str,
        side: Side,
        *,
        price: DecimalLike,
        quantity: DecimalLike,
        time_in_force: TimeInForce = "gtc",
        post_only: bool = False,
    ) -> None:
        put = object.__setattr__
        put(self, "market", _checked_market(market))
        put(self, "side", _checked_side(side))
        put(self, "price", _checked_number("price", price))
        put(self, "quantity", _checked_number("quantity", quantity))
        if time_in_force not in TIMES_IN_FORCE:
            raise InvalidCommand(
                f'time_in_force is {time_in_force!r}; write one of "gtc", "ioc", "fok"'
            )
        if not isinstance(post_only, bool):
            raise InvalidCommand(f"post_only is {post_only!r}; write True or False")
        if post_only and time_in_force != "gtc":
            raise InvalidCommand(
                f"post_only only rests and {time_in_force!r} never rests; "
                'use time_in_force="gtc" or leave post_only out'
            )
        put(self, "time_in_force", time_in_force)
        put(self, "post_only", post_only)


@dataclass(frozen=True, slots=True, init=False)
class MarketOrder:
    """Buy or sell up to `quantity` at whatever the book offers; what finds nothing is cancelled."""

    market: str
    side: Side
    quantity: Decimal

    def __init__(self, market: str, side: Side, *, quantity: DecimalLike) -> None:
        put = object.__setattr__
        put(self, "market", _checked_market(market))
        put(self, "side", _checked_side(side))
        put(self, "quantity", _checked_number("quantity", quantity))


@dataclass(frozen=True, slots=True, init=False)
class CancelOrder:
    """Take back what remains of one's own order."""

    order_id: CommandId

    def __init__(self, order_id: CommandId) -> None:
        object.__setattr__(self, "order_id", _checked_order_id(order_id))


@dataclass(frozen=True, slots=True, init=False)
class ReplaceOrder:
    """Change price or size of one's own resting order; its id stays.

    `quantity` is the new remaining quantity; `reduce_by` takes that much off whatever remains
    when the command is applied (to zero or below: the order is gone). A smaller quantity at the
    same price keeps the place in the queue; more, or another price, goes to the end of it.
    """

    order_id: CommandId
    price: Decimal | None
    quantity: Decimal | None
    reduce_by: Decimal | None

    def __init__(
        self,
        order_id: CommandId,
        *,
        price: DecimalLike | None = None,
        quantity: DecimalLike | None = None,
        reduce_by: DecimalLike | None = None,
    ) -> None:
        put = object.__setattr__
        put(self, "order_id", _checked_order_id(order_id))
        if price is None and quantity is None and reduce_by is None:
            raise InvalidCommand(
                "this replacement changes nothing; give price, quantity or reduce_by"
            )
        if quantity is not None and reduce_by is not None:
            raise InvalidCommand(
                f"quantity={quantity!r} and reduce_by={reduce_by!r} both say the size; "
                "give one of them"
            )
        put(self, "price", None if price is None else _checked_number("price", price))
        put(self, "quantity", None if quantity is None else _checked_number("quantity", quantity))
        put(
            self,
            "reduce_by",
            None if reduce_by is None else _checked_number("reduce_by", reduce_by),
        )


Command: TypeAlias = LimitOrder | MarketOrder | CancelOrder | ReplaceOrder


class CommandId(NamedTuple):
    """Which command: market, author's key, entry number in the author's log, place in the entry.

    An order's id is the id of the command that placed it.
    """

    market: str
    author: PeerId
    seq: int
    index: int  # type: ignore[assignment]  # the field's name; tuple.index is not needed

    def __str__(self) -> str:
        return f"{self.market}/{self.author.hex()}/{self.seq}/{self.index}"

    def __repr__(self) -> str:
        return f"OrderId.parse({str(self)!r})"

    @classmethod
    def parse(cls, text: str) -> CommandId:
        """Read back what `str()` wrote. Raises `InvalidCommand`."""
        # The symbol comes first and may itself contain a slash, so split from the right.
        parts = text.rsplit("/", 3) if isinstance(text, str) else []
        if len(parts) == 4:
            market, author, seq, index = parts
            canonical = market and len(author) == 64 and seq.isascii() and index.isascii()
            if canonical and seq.isdigit() and index.isdigit() and len(seq) < 20:
                try:
                    parsed = cls(market, PeerId(bytes.fromhex(author)), int(seq), int(index))
                except ValueError:
                    pass
                else:
                    if str(parsed) == text and _is_in_range(parsed):
                        return parsed
        raise InvalidCommand(
            f"{text!r} is not an order id; they look like BTC-USD/<64 hex digits>/<seq>/<index>"
        )


OrderId: TypeAlias = CommandId


def _checked_market(market: object) -> str:
    if not isinstance(market, str) or not market:
        raise InvalidCommand(f"market is {market!r}; write the market's symbol as a string")
    return market


def _checked_side(side: object) -> Side:
    if side == "buy":
        return "buy"
    if side == "sell":
        return "sell"
    raise InvalidCommand(f'side is {side!r}; write "buy" or "sell"')


def _checked_number(name: str, value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, Decimal | str | int):
        raise InvalidCommand(
            f"{name} is {value!r} ({type(value).__name__}); "
            f'write it as a string, an int or a Decimal, for example {name}="12.50"'
        )
    if isinstance(value, str) and ("_" in value or not value.isascii() or value.split() != [value]):
        raise InvalidCommand(f'{name} is {value!r}; write it in plain digits, like "12.50"')
    try:
        number = Decimal(value)  # exact: construction does not use the decimal context
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise InvalidCommand(f"{name} is {value!r}; write a finite decimal number")
    if number.is_signed() or not number:
        raise InvalidCommand(f"{name} is {value}; it must be greater than zero")
    return number


def _checked_order_id(order_id: object) -> CommandId:
    if not isinstance(order_id, CommandId):
        raise InvalidCommand(
            f"order_id is {order_id!r}; pass the order_id of a receipt, "
            "or CommandId.parse(text) of a written one"
        )
    if not isinstance(order_id.market, str) or not _is_in_range(order_id):
        raise InvalidCommand(
            f"order_id is {tuple(order_id)!r}; it takes a market's symbol, an author of 32 bytes, "
            "a seq of 0 to 2^63-1 and an index of 0 to 255"
        )
    return order_id


def _is_in_range(command_id: CommandId) -> bool:
    _, author, seq, index = command_id
    return (
        isinstance(author, bytes)
        and len(author) == 32
        and type(seq) is int
        and 0 <= seq < 1 << 63
        and type(index) is int
        and 0 <= index < 256
    )
