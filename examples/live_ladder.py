"""A live ladder of one market, made of nothing but what ``subscribe`` tells.

    python examples/live_ladder.py

Three peers trade at random, and one of them is cut off for a while. A fourth only watches. Its
ladder never asks for the book: it begins with the snapshot and follows the updates, and when the
network heals it takes back what no longer happened, busted trades included. In the end it is
compared with the book, level by level.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import NamedTuple

import trio

import gossipbook as gb

GENESIS = gb.Genesis("live ladder", [gb.Market("TEA", tick_size="0.05")])
MIDDLE, TICK = Decimal("10.00"), Decimal("0.05")
TRADERS = ("ann", "ben", "cat")
COMMANDS_PER_ACT = 25

Event = gb.Accepted | gb.Rejected | gb.Trade | gb.Cancelled | gb.Replaced
Levels = list[tuple[Decimal, Decimal]]  # (price, quantity), best first


# ---------------------------------------------------------------- the ladder


class Ladder:
    """The price levels of one market, from the updates of one subscription.

    It keeps what happened to each order, and what is left of the order follows from that. An event
    that is undone is struck out.
    """

    def __init__(self) -> None:
        self._histories: dict[gb.OrderId, list[Event]] = {}
        self._resting: dict[gb.OrderId, Resting] = {}

    def apply(self, update: gb.Update) -> None:
        """Follow an update: take back what no longer happened, add what did."""
        for event in update.undone:
            for order_id in orders_in(event):
                self._histories[order_id].remove(event)
        for event in update.events:
            for order_id in orders_in(event):
                self._histories.setdefault(order_id, []).append(event)
        for event in update.undone + update.events:
            for order_id in orders_in(event):
                self._look_again(order_id)

    def bids(self) -> Levels:
        return self._levels("buy")

    def asks(self) -> Levels:
        return self._levels("sell")

    def shows(self, book: gb.Book) -> bool:
        """Whether this is the book, level by level."""
        pairs = (self.bids(), book.bids), (self.asks(), book.asks)
        return all(ours == [(one.price, one.quantity) for one in theirs] for ours, theirs in pairs)

    def _look_again(self, order_id: gb.OrderId) -> None:
        resting = what_rests(self._histories[order_id])
        if resting is None:
            self._resting.pop(order_id, None)
        else:
            self._resting[order_id] = resting

    def _levels(self, side: str) -> Levels:
        totals: dict[Decimal, Decimal] = {}
        for resting in self._resting.values():
            if resting.side == side:
                totals[resting.price] = totals.get(resting.price, Decimal(0)) + resting.quantity
        return sorted(totals.items(), reverse=side == "buy")


class Resting(NamedTuple):
    """What is left of an order."""

    side: str
    price: Decimal
    quantity: Decimal


def what_rests(history: Sequence[Event]) -> Resting | None:
    """What is left of an order after all that happened to it, if anything is.

    Events may come in any order, for late ones belong between known ones. So the quantity is a
    sum, and of several prices the one that the author gave last counts.
    """
    side, price, quantity = "", None, Decimal(0)
    priced_by = (-1, -1)
    for event in history:
        match event:
            case gb.Accepted():
                side = event.side
                quantity += event.quantity
            case gb.Replaced():
                quantity += event.quantity - event.previous
            case gb.Trade() | gb.Cancelled():
                quantity -= event.quantity
        if isinstance(event, gb.Accepted | gb.Replaced):
            said = event.command_id.seq, event.command_id.index
            if said > priced_by:
                price, priced_by = event.price, said
    return Resting(side, price, quantity) if price is not None and quantity else None


def orders_in(event: Event) -> tuple[gb.OrderId, ...]:
    """The orders that an event is about."""
    match event:
        case gb.Trade():
            return event.maker, event.taker
        case gb.Rejected():
            return ()
        case _:
            return (event.order_id,)


# ---------------------------------------------------------------- who follows and shows it


class Screen:
    """Follows one peer's market, and shows it."""

    def __init__(self) -> None:
        self.ladder = Ladder()
        self.busted = 0
        self.snapshots = 0

    async def follow(self, peer: gb.Peer) -> None:
        """Keep the ladder up to date until the peer is closed."""
        while True:
            async with peer.subscribe("TEA") as updates:
                try:
                    await self._follow(updates)
                except gb.SubscriberLagged:
                    continue  # a new subscription begins with everything
                return

    async def _follow(self, updates: gb.Subscription[gb.Update]) -> None:
        self.snapshots += 1
        ladder = Ladder()
        async for update in updates:
            self.busted += sum(isinstance(event, gb.Trade) for event in update.undone)
            ladder.apply(update)
            self.ladder = ladder  # until the snapshot is in, the old one is shown

    def show(self, title: str, *, depth: int = 5, width: int = 40) -> None:
        """Print the best levels as bars."""
        bids, asks = self.ladder.bids()[:depth], self.ladder.asks()[:depth]
        largest = max([quantity for _, quantity in bids + asks], default=Decimal(1))
        print(f"\n{title}")
        for label, levels in (("ask", reversed(asks)), ("bid", bids)):
            for price, quantity in levels:
                bar = "#" * max(1, round(width * quantity / largest))
                print(f"  {label} {price:>6}  {bar} {quantity}")


# ---------------------------------------------------------------- what happens


async def main() -> None:
    network = gb.MemoryNetwork(link=gb.Link(latency=(0.005, 0.05)))
    async with AsyncExitStack() as stack:
        peers: list[gb.Peer] = []
        for name in ("watcher", *TRADERS):
            opening = gb.open_peer(
                GENESIS,
                gb.Keypair.generate(),
                transport=network.transport(name),
                bootstrap=["watcher"] if peers else [],
            )
            peers.append(await stack.enter_async_context(opening))
        with trio.fail_after(30):
            await watch_a_market(network, *peers)


async def watch_a_market(network: gb.MemoryNetwork, watcher: gb.Peer, *peers: gb.Peer) -> None:
    screen = Screen()
    traders = {peer: random.Random(seed) for seed, peer in enumerate(peers)}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(screen.follow, watcher)

        await everybody_trades(traders)
        screen.show("everybody trades")

        network.partition(["ann"])
        await everybody_trades(traders)
        screen.show("ann is cut off, and goes on trading")

        network.heal()
        await gb.wait_until_equal([watcher, *peers])
        while not screen.ladder.shows(watcher.book("TEA")):
            await trio.sleep(0.01)  # the last updates are still being read
        screen.show("the network has healed")
        nursery.cancel_scope.cancel()

    print(f"\n{len(watcher.trades('TEA'))} trades stand, {screen.busted} were busted on the way")
    print(f"the history was read {screen.snapshots} times, everything else came as updates")
    print("the ladder equals the book")


async def everybody_trades(traders: Mapping[gb.Peer, random.Random]) -> None:
    async with trio.open_nursery() as nursery:
        for trader, chance in traders.items():
            nursery.start_soon(trade, trader, chance)


async def trade(trader: gb.Peer, chance: random.Random) -> None:
    """Place orders around the middle, and amend or cancel some of them."""
    placed: list[gb.OrderId] = []
    for _ in range(COMMANDS_PER_ACT):
        await trio.sleep(chance.uniform(0.005, 0.025))
        receipt = await trader.submit(next_command(chance, placed))
        if receipt.order_id == receipt.command_id:
            placed.append(receipt.order_id)


def next_command(chance: random.Random, placed: Sequence[gb.OrderId]) -> gb.Command:
    draw = chance.random()
    if placed and draw < 0.15:
        return gb.CancelOrder(chance.choice(placed))
    quantity, ticks = chance.randint(1, 9), chance.randint(-3, 5)
    if placed and draw < 0.3:
        return gb.ReplaceOrder(chance.choice(placed), quantity=quantity)
    if draw < 0.65:
        return gb.LimitOrder("TEA", "buy", price=MIDDLE - ticks * TICK, quantity=quantity)
    return gb.LimitOrder("TEA", "sell", price=MIDDLE + ticks * TICK, quantity=quantity)


if __name__ == "__main__":
    trio.run(main)
