"""The queue of orders that rest at one price.

A level decides one thing: who is first. It promises that orders leave the queue from anywhere in
constant time, and that an order which left can be put back exactly where it was as long as
everything after it is put back first: a removed order keeps the neighbours, and the remaining
quantity, that it had. So undoing a removal is relinking, and nothing is searched.

    head -> [a] <-> [b] <-> [c] <- tail        remove b:   [a] <-> [c],  b still points at a and c
                                               restore b:  a.next = c.previous = b

It refuses to know prices other than its own, the rules of matching, and the journal that says
what to put back. The matching loop takes filled orders off the head itself, a whole level at a
time; what it leaves behind is what `remove` would have left.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias, final

from gossipbook.identity import PeerId

Key: TypeAlias = tuple[PeerId, int, int]
"""Which order: (author, seq, index) of the command that placed it."""


@final
class RestingOrder:
    """One order's stay in one queue; a new price or place is a new stay, under the same key.

    `quantity` is the total asked for, so `quantity - remaining` lots are filled. `ticket` is the
    number that the market drew when the order joined the queue.
    """

    __slots__ = ("key", "level", "next", "post_only", "previous", "quantity", "remaining", "ticket")

    next: RestingOrder | None

    def __init__(
        self,
        key: Key,
        quantity: int,
        remaining: int,
        ticket: int,
        post_only: bool,
        level: Level,
        previous: RestingOrder | None,
    ) -> None:
        self.key = key
        self.quantity = quantity
        self.remaining = remaining
        self.ticket = ticket
        self.post_only = post_only
        self.level = level
        self.previous = previous
        self.next = None

    @property
    def side(self) -> int:
        return self.level.side

    @property
    def price(self) -> int:
        return self.level.price


@final
class Level:
    """First in, first out. `count` orders with `volume` lots remaining between them.

    `rank` is the price, negated for asks: on both sides the greater rank is the better price.
    """

    __slots__ = ("count", "head", "price", "rank", "side", "tail", "volume")

    def __init__(self, side: int, price: int, rank: int) -> None:
        self.side = side
        self.price = price
        self.rank = rank
        self.count = 0
        self.volume = 0
        self.head: RestingOrder | None = None
        self.tail: RestingOrder | None = None

    def __iter__(self) -> Iterator[RestingOrder]:
        order = self.head
        while order is not None:
            yield order
            order = order.next

    def append(
        self, key: Key, quantity: int, remaining: int, ticket: int, post_only: bool
    ) -> RestingOrder:
        """Queue an order behind all others."""
        tail = self.tail
        order = RestingOrder(key, quantity, remaining, ticket, post_only, self, tail)
        if tail is None:
            self.head = order
        else:
            tail.next = order
        self.tail = order
        self.count += 1
        self.volume += remaining
        return order

    def remove(self, order: RestingOrder) -> None:
        """Take an order out, wherever it stands; it remembers its neighbours."""
        previous, following = order.previous, order.next
        if previous is None:
            self.head = following
        else:
            previous.next = following
        if following is None:
            self.tail = previous
        else:
            following.previous = previous
        self.count -= 1
        self.volume -= order.remaining

    def restore(self, order: RestingOrder) -> None:
        """Put an order back between the neighbours that it remembers."""
        previous, following = order.previous, order.next
        if previous is None:
            self.head = order
        else:
            previous.next = order
        if following is None:
            self.tail = order
        else:
            following.previous = order
        self.count += 1
        self.volume += order.remaining

    def resize(self, order: RestingOrder, change: int) -> None:
        """Let an order have more or less remaining; it keeps its place."""
        order.remaining += change
        self.volume += change
