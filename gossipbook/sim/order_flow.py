"""Random orders of many authors around a price that drifts, from a seed.

This file decides what busy markets look like: mostly limit orders near a mid price that wanders,
some of which trade at once, some market orders, and cancels and replacements of each author's own
orders, a few of which are gone by then. It promises that the same seed and the same calls give
the same commands, that every command is well formed and on tick and lot, and that authors only
aim at their own orders. It refuses to know books and peers: whether an order still rests shows
only where it is applied.

    flow = OrderFlow(genesis, seed=7)
    command = flow.next(author)              # a LimitOrder, MarketOrder, CancelOrder, ReplaceOrder
    flow.note(author, receipt.order_id)      # now it may be cancelled or replaced
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from decimal import Decimal

from gossipbook.book.commands import (
    SIDES,
    CancelOrder,
    Command,
    LimitOrder,
    MarketOrder,
    OrderId,
    ReplaceOrder,
)
from gossipbook.genesis import Genesis, Market
from gossipbook.randomness import SeededRandom

MID_TICKS = 10_000
LEAST_MID_TICKS = 100
LARGEST_LOTS = 20
REMEMBERED_ORDERS = 64
"""An author cancels or replaces one of its newest orders; most of the older ones are gone."""

_BEHIND_TICKS, _THROUGH_TICKS = 8, 3  # a limit price lies so far behind, or through, the mid


class OrderFlow:
    """An endless stream of commands, for any number of authors and all markets of a genesis."""

    def __init__(self, genesis: Genesis, seed: int | SeededRandom) -> None:
        self._markets = {market.symbol: market for market in genesis.markets}
        self._symbols = [market.symbol for market in genesis.markets]
        self._random = seed if isinstance(seed, SeededRandom) else SeededRandom(seed)
        self._mids_ticks = dict.fromkeys(self._symbols, MID_TICKS)
        self._placed: dict[Hashable, deque[OrderId]] = {}

    def next(self, author: Hashable) -> Command:
        """What this author does next. It changes nothing but the flow's own chance."""
        random = self._random
        symbol = random.choice(self._symbols)
        self._drift(symbol)
        draw = random.below(100)
        placed = self._placed.get(author)
        if draw < 16 and placed:
            return CancelOrder(random.choice(placed))
        if draw < 28 and placed:
            return self._replacement(random.choice(placed))
        market, side = self._markets[symbol], random.choice(SIDES)
        quantity = self._quantity(market)
        if draw >= 94:
            return MarketOrder(symbol, side, quantity=quantity)
        price = self._price(market, buys=side == "buy")
        kind = random.below(100)
        if kind < 6:
            return LimitOrder(symbol, side, price=price, quantity=quantity, time_in_force="ioc")
        if kind < 10:
            return LimitOrder(symbol, side, price=price, quantity=quantity, time_in_force="fok")
        return LimitOrder(symbol, side, price=price, quantity=quantity, post_only=kind < 16)

    def note(self, author: Hashable, order_id: OrderId) -> None:
        """Remember an order that this author has placed."""
        self._placed.setdefault(author, deque(maxlen=REMEMBERED_ORDERS)).append(order_id)

    def _drift(self, symbol: str) -> None:
        """One tick up or down, in one command of four."""
        step = self._random.below(8)
        if step < 2:
            mid_ticks = self._mids_ticks[symbol] + 2 * step - 1
            self._mids_ticks[symbol] = max(mid_ticks, LEAST_MID_TICKS)

    def _price(self, market: Market, *, buys: bool) -> Decimal:
        behind_ticks = self._random.between(-_THROUGH_TICKS, _BEHIND_TICKS)
        mid_ticks = self._mids_ticks[market.symbol]
        return market.ticks_to_price(mid_ticks - behind_ticks if buys else mid_ticks + behind_ticks)

    def _quantity(self, market: Market) -> Decimal:
        return market.lots_to_quantity(self._random.between(1, LARGEST_LOTS))

    def _replacement(self, order_id: OrderId) -> ReplaceOrder:
        """Less, another size, or another price."""
        random, market = self._random, self._markets[order_id.market]
        kind, quantity = random.below(3), self._quantity(market)
        if kind == 0:
            return ReplaceOrder(order_id, reduce_by=quantity)
        if kind == 1:
            return ReplaceOrder(order_id, quantity=quantity)
        return ReplaceOrder(order_id, price=self._price(market, buys=random.below(2) == 0))
