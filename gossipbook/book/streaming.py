"""One market's history read once from front to back, in memory that does not grow with it.

A `StreamingMarket` gives the same trades, sums and digest as a `MatchingEngine` that was given the
same commands, and can neither go back nor be asked about the past. Every so many commands the
engine is replaced by one that knows the resting orders only; how the others ended goes to
`PastOrders`, which may keep them on a disk. What stays in memory is the book, one byte a command,
and the latest stretch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from gossipbook.book.digest import MarketDigest, market_digest, outcomes_digest
from gossipbook.book.history import NO_TOTALS, Totals, add_totals
from gossipbook.book.level import Key
from gossipbook.book.matching import MatchingEngine
from gossipbook.book.payload import Instruction
from gossipbook.genesis import Market

STRETCH_COMMANDS = 16_384
"""Commands between two engines: replacing one costs about as much as the book has orders."""

Fill = tuple[Key, Key, int, int]
"""One trade: taker, maker, price in ticks, lots."""


class PastOrders(Protocol):
    """How orders ended, by key: a number to keep and to give back."""

    def put(self, ended: Iterable[tuple[Key, int]]) -> None: ...

    def get(self, key: Key) -> int | None: ...


class StreamingMarket:
    """The market as far as it has been read. `on_fills` gets the trades of each stretch."""

    def __init__(
        self,
        market: Market,
        past: PastOrders,
        on_fills: Callable[[list[Fill]], None],
        *,
        stretch: int = STRETCH_COMMANDS,
    ) -> None:
        self._market = market
        self._past = past
        self._on_fills = on_fills
        self._stretch = stretch
        self._engine = MatchingEngine(market, undo_window=0, snapshot_interval=2 * stretch)
        self._totals = NO_TOTALS
        self._outcomes = bytearray()

    def apply(self, key: Key, instruction: Instruction) -> None:
        """Apply the next command in merge order."""
        self._engine.apply(key, instruction)
        if self._engine.position >= self._stretch:
            self._turn_over()

    @property
    def totals(self) -> Totals:
        return add_totals(self._totals, self._engine.totals)

    def finish(self) -> MarketDigest:
        """Hand out the last trades; what the market holds and has seen."""
        self._turn_over()
        digest = self._engine.digest()
        outcomes = outcomes_digest(self._outcomes)
        return market_digest(self._market.symbol, digest.bids, digest.asks, self._totals, outcomes)

    def _turn_over(self) -> None:
        engine = self._engine
        self._on_fills(engine.fills())
        self._past.put(engine.closed_orders())
        self._totals = add_totals(self._totals, engine.totals)
        self._outcomes += engine.outcome_codes()
        self._engine = engine.successor(self._past.get)
