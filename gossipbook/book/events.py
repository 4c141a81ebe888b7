"""What commands lead to, in users' units: accepted, rejected, traded, cancelled, replaced.

This file decides what an event says and when two events are the same one. Its promise: an event's
`identity` (command, kind, order concerned) occurs at most once in a market's history, so two
histories can be compared event by event, and a trade that no longer happens is told apart from
one that now happens at another price. It refuses to know the engine that makes the events.

A command's events come in this order: its outcome (Accepted, Rejected, Replaced, or Cancelled for
a cancel and for a reduction to zero), then trades and cancellations as they happened.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, TypeAlias

from gossipbook.book.commands import CommandId, OrderId, Side

Identity: TypeAlias = tuple[CommandId, str, OrderId | None]

RejectionReason: TypeAlias = Literal[
    "fok-unfillable",
    "post-only-would-trade",
    "target-not-earlier",
    "already-filled",
    "already-cancelled",
    "unknown-order",
]
CancellationReason: TypeAlias = Literal[
    "requested", "ioc-remainder", "market-remainder", "self-trade", "reduced-to-zero"
]
OrderState: TypeAlias = Literal["open", "filled", "cancelled", "rejected"]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A new order was taken; `price` is None for a market order."""

    command_id: CommandId
    order_id: OrderId
    side: Side
    price: Decimal | None
    quantity: Decimal

    @property
    def identity(self) -> Identity:
        return (self.command_id, "accepted", self.order_id)


@dataclass(frozen=True, slots=True)
class Rejected:
    """The state of the book did not allow the command; nothing changed."""

    command_id: CommandId
    reason: RejectionReason

    @property
    def identity(self) -> Identity:
        return (self.command_id, "rejected", None)


@dataclass(frozen=True, slots=True)
class Trade:
    """`quantity` changed hands at the maker's price because of `command_id`."""

    command_id: CommandId
    taker: OrderId
    maker: OrderId
    price: Decimal
    quantity: Decimal
    taker_side: Side
    market: str

    @property
    def identity(self) -> Identity:
        return (self.command_id, "trade", self.maker)


@dataclass(frozen=True, slots=True)
class Cancelled:
    """`quantity` of an order was taken off, for ever."""

    command_id: CommandId
    order_id: OrderId
    quantity: Decimal
    reason: CancellationReason

    @property
    def identity(self) -> Identity:
        return (self.command_id, "cancelled", self.order_id)


@dataclass(frozen=True, slots=True)
class Replaced:
    """An order now has this price and remaining quantity (before it trades, if it then does).

    `previous` is what remained before. So what rests is a sum, whatever the order of the events:
    accepted, plus `quantity - previous` of each replacement, minus what traded or was cancelled.
    """

    command_id: CommandId
    order_id: OrderId
    price: Decimal
    quantity: Decimal
    previous: Decimal
    kept_place: bool

    @property
    def identity(self) -> Identity:
        return (self.command_id, "replaced", self.order_id)


Event: TypeAlias = Accepted | Rejected | Trade | Cancelled | Replaced


@dataclass(frozen=True, slots=True)
class OrderStatus:
    """One order as the book has it now.

    `remaining` is what can still trade: zero unless the state is "open". `quantity` is what was
    ever asked for after replacements; an order cancelled half way has `filled` below it. `price`
    is None for market orders. `reason` says why it was cancelled or rejected.
    """

    order_id: OrderId
    state: OrderState
    side: Side
    price: Decimal | None
    quantity: Decimal
    remaining: Decimal
    filled: Decimal
    reason: str | None


def net_change(
    old_events: Iterable[Event], new_events: Iterable[Event]
) -> tuple[tuple[Event, ...], tuple[Event, ...]]:
    """(undone, applied): what is left when the events that both sides agree on are struck out.

    An event that is on both sides with the same identity and equal fields appears in neither
    list; the order on each side is kept.
    """
    old = {event.identity: event for event in old_events}
    new = {event.identity: event for event in new_events}
    undone = tuple([event for identity, event in old.items() if new.get(identity) != event])
    applied = tuple([event for identity, event in new.items() if old.get(identity) != event])
    return undone, applied
