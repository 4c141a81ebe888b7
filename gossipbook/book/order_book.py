"""Both sides of one market's book: which prices are there, and which of them is best.

This file decides how resting orders are found by price. It promises that the best price is the
last of a sorted list, that a level exists exactly while somebody rests at it, and that what
`dump` gives, `load` rebuilds to the last place in every queue. It refuses to know who may trade
with whom (matching.py) and what it looked like before (the journal there).

On both sides prices are ranked so that greater is better: a bid's rank is its price, an ask's is
its price negated. The matching loop therefore knows one comparison for both.

`Book` is the user's view of it: Decimals, order ids, frozen at the moment it was taken.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import TypeAlias, final

from gossipbook.book.commands import SIDES, CommandId, OrderId, Side
from gossipbook.book.level import Key, Level, RestingOrder
from gossipbook.genesis import Market

BUY = 0
SELL = 1


DumpedOrder: TypeAlias = tuple[Key, int, int, int, int, bool]
"""A resting order without its links: (key, price, quantity, remaining, ticket, post_only)."""

Dump: TypeAlias = tuple[tuple[DumpedOrder, ...], tuple[DumpedOrder, ...]]
"""All resting orders, bids then asks, each best price first and in queue order."""


@final
class Half:
    """One side: its levels by rank, and their ranks in ascending order, the best one last."""

    __slots__ = ("levels", "ranks", "side", "sign")

    def __init__(self, side: int) -> None:
        self.side = side
        self.sign = 1 if side == BUY else -1
        self.levels: dict[int, Level] = {}
        self.ranks: list[int] = []

    def level_at(self, rank: int) -> Level:
        """The level of this rank, opened if nobody rests there yet."""
        level = self.levels.get(rank)
        if level is None:
            level = self.levels[rank] = Level(self.side, rank * self.sign, rank)
            self._insert(rank)
        return level

    def open_level(self, level: Level) -> None:
        """Put a level back that was closed when its last order left."""
        self.levels[level.rank] = level
        self._insert(level.rank)

    def close_level(self, level: Level) -> None:
        """Forget a level that nobody rests at."""
        rank, ranks = level.rank, self.ranks
        del self.levels[rank]
        if ranks[-1] == rank:
            ranks.pop()
        else:
            del ranks[bisect_left(ranks, rank)]

    def _insert(self, rank: int) -> None:
        ranks = self.ranks
        if not ranks or rank > ranks[-1]:
            ranks.append(rank)
        else:
            insort(ranks, rank)

    def __iter__(self) -> Iterator[Level]:
        """Levels, best first."""
        levels = self.levels
        return iter([levels[rank] for rank in reversed(self.ranks)])


@final
class OrderBook:
    """All resting orders of one market, in ticks and lots."""

    __slots__ = ("halves",)

    def __init__(self) -> None:
        self.halves = (Half(BUY), Half(SELL))

    def best(self, side: int) -> Level | None:
        """The level with the best price of a side."""
        half = self.halves[side]
        return half.levels[half.ranks[-1]] if half.ranks else None

    def depth(self, side: int, limit: int | None = None) -> list[tuple[int, int, int]]:
        """(price, lots, orders) of the best levels, best first."""
        half = self.halves[side]
        ranks = half.ranks[::-1] if limit is None else half.ranks[: -limit - 1 : -1]
        levels = half.levels
        return [
            (level.price, level.volume, level.count) for level in [levels[rank] for rank in ranks]
        ]

    def orders(self, side: int) -> Iterator[RestingOrder]:
        """Every order of a side, best price first, then in queue order."""
        for level in self.halves[side]:
            yield from level

    def remove(self, order: RestingOrder) -> None:
        """Take an order out of its queue, and its level off the book if it was the last there."""
        level = order.level
        level.remove(order)
        if level.count == 0:
            self.halves[level.side].close_level(level)

    def restore(self, order: RestingOrder) -> None:
        """Undo `remove`, everything after it having been undone before."""
        level = order.level
        if level.count == 0:
            self.halves[level.side].open_level(level)
        level.restore(order)

    def dump(self) -> Dump:
        """All resting orders by value."""
        bids, asks = [
            tuple(
                [
                    (
                        order.key,
                        order.level.price,
                        order.quantity,
                        order.remaining,
                        order.ticket,
                        order.post_only,
                    )
                    for order in self.orders(side)
                ]
            )
            for side in (BUY, SELL)
        ]
        return bids, asks

    def load(self, dump: Dump) -> None:
        """Become the book that was dumped."""
        self._clear()
        for half, orders in zip(self.halves, dump, strict=True):
            for key, price, quantity, remaining, ticket, post_only in orders:
                level = half.level_at(price * half.sign)
                level.append(key, quantity, remaining, ticket, post_only)

    def check(self) -> None:
        """Raise AssertionError naming the first thing that is not as it must be."""
        for half in self.halves:
            name = SIDES[half.side]
            assert half.ranks == sorted(half.levels), f"{name}: ranks and levels differ"
            for level in half:
                _check_level(level, f"{name} {level.price}")
        bids, asks = self.best(BUY), self.best(SELL)
        if bids is not None and asks is not None:
            assert bids.price < asks.price, f"crossed: bid {bids.price}, ask {asks.price}"

    def _clear(self) -> None:
        for half in self.halves:
            for level in half:
                for order in list(level):  # the links are cycles that only the collector would find
                    order.previous = order.next = None
                level.head = level.tail = None
            half.levels.clear()
            half.ranks.clear()


def _check_level(level: Level, where: str) -> None:
    previous, count, volume, ticket = None, 0, 0, -1
    for order in level:
        assert order.level is level, f"{where}: {order.key} thinks it rests elsewhere"
        assert order.previous is previous, f"{where}: {order.key} has the wrong order before it"
        assert order.ticket > ticket, f"{where}: {order.key} stands before its turn"
        assert 1 <= order.remaining <= order.quantity, (
            f"{where}: {order.key} has {order.remaining} of {order.quantity} lots"
        )
        previous, count, ticket = order, count + 1, order.ticket
        volume += order.remaining
    assert level.tail is previous, f"{where}: the tail is not the last order"
    assert level.count == count > 0, f"{where}: {level.count} counted, {count} there"
    assert level.volume == volume, f"{where}: volume {level.volume}, orders sum to {volume}"


@dataclass(frozen=True, slots=True)
class PriceLevel:
    """`orders` orders that rest at `price` with `quantity` between them."""

    price: Decimal
    quantity: Decimal
    orders: int


@dataclass(frozen=True, slots=True)
class BookOrder:
    """One resting order; `quantity` is what remains of it."""

    order_id: OrderId
    side: Side
    price: Decimal
    quantity: Decimal


@final
class Book:
    """One market's book as it was when this was taken; it never changes.

    `bids` and `asks` are tuples of `PriceLevel`, best first. `orders` is every resting order in
    queue order: bids, best price first, then asks, first come first within a price. `root` is the
    32-byte Merkle root that other peers' books are compared with.
    """

    def __init__(self, market: Market, dump: Dump, root: Callable[[], bytes]) -> None:
        self._market = market
        self._dump = dump
        self._root = root

    @property
    def market(self) -> str:
        """The market's symbol."""
        return self._market.symbol

    @cached_property
    def bids(self) -> tuple[PriceLevel, ...]:
        return self._levels(BUY)

    @cached_property
    def asks(self) -> tuple[PriceLevel, ...]:
        return self._levels(SELL)

    @property
    def best_bid(self) -> PriceLevel | None:
        return self.bids[0] if self.bids else None

    @property
    def best_ask(self) -> PriceLevel | None:
        return self.asks[0] if self.asks else None

    def depth(self, n: int) -> tuple[tuple[PriceLevel, ...], tuple[PriceLevel, ...]]:
        """The best `n` bids and the best `n` asks."""
        return self.bids[:n], self.asks[:n]

    @cached_property
    def orders(self) -> tuple[BookOrder, ...]:
        market = self._market
        return tuple(
            [
                BookOrder(
                    CommandId(market.symbol, *key),
                    SIDES[side],
                    market.ticks_to_price(price),
                    market.lots_to_quantity(remaining),
                )
                for side in (BUY, SELL)
                for key, price, _, remaining, _, _ in self._dump[side]
            ]
        )

    @cached_property
    def root(self) -> bytes:
        return self._root()

    def __repr__(self) -> str:
        return (
            f"<Book {self.market}: {len(self._dump[BUY])} bids, {len(self._dump[SELL])} asks, "
            f"best {self.best_bid} / {self.best_ask}>"
        )

    def _levels(self, side: int) -> tuple[PriceLevel, ...]:
        market = self._market
        totals: dict[int, list[int]] = {}  # in the dump's order: best price first
        for _, price, _, remaining, _, _ in self._dump[side]:
            total = totals.setdefault(price, [0, 0])
            total[0] += remaining
            total[1] += 1
        return tuple(
            [
                PriceLevel(market.ticks_to_price(price), market.lots_to_quantity(lots), count)
                for price, (lots, count) in totals.items()
            ]
        )
