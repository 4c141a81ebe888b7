"""A program that embeds a peer and trades on a signal: who is more eager, buyers or sellers?

    python examples/signal_trader.py

A maker keeps bidding and offering around a price that wanders; before it rises he bids for more
than he offers, before it falls the other way round. The trader, a peer of its own at the other end
of a TLS link, follows `subscribe`. When much more is bid than offered at the best prices it buys,
and offers what it bought a little higher. When the balance tips before anybody takes that offer, it
cancels the offer and sells at the bid.

What it holds it asks its own peer, order by order. So a trade that is busted later (an older order
came in late) needs no code here: the position is right again at the next update.
"""

from __future__ import annotations

import random
from decimal import Decimal

import trio

import gossipbook as gb

GENESIS = gb.Genesis("signal trader", [gb.Market("TEA", tick_size="0.05")])
TICK = Decimal("0.05")
SECONDS = 4

LEVELS = 3  # of each side count for the signal
EAGER = Decimal("0.3")  # from -1, all is offered, to +1, all is bid
SIZE = 5
PROFIT = 2 * TICK


# ---------------------------------------------------------------- the trader


def imbalance(book: gb.Book) -> Decimal:
    """How much more is bid than offered at the best prices, from -1 to +1."""
    bids, asks = [sum(level.quantity for level in side) for side in book.depth(LEVELS)]
    return Decimal(bids - asks) / (bids + asks) if bids + asks else Decimal(0)


class SignalTrader:
    """Flat, or long by what it bought last, with an offer to sell that rests in the book."""

    def __init__(self, peer: gb.Peer) -> None:
        self.peer = peer
        self.orders: list[gb.OrderId] = []
        self.offer: gb.OrderId | None = None

    @property
    def position(self) -> Decimal:
        """What was bought and not sold yet, as the market stands now."""
        statuses = [status for one in self.orders if (status := self.peer.order(one))]
        return sum(
            [one.filled if one.side == "buy" else -one.filled for one in statuses], Decimal(0)
        )

    @property
    def cash(self) -> Decimal:
        """What came in for what was sold, less what was paid."""
        own = set(self.orders)
        cash = Decimal(0)
        for trade in self.peer.trades("TEA"):
            we_buy = (trade.taker in own) == (trade.taker_side == "buy")
            if trade.taker in own or trade.maker in own:
                cash += trade.price * trade.quantity * (-1 if we_buy else 1)
        return cash

    async def run(self) -> None:
        """Look at every change of the market, and act on it."""
        async with self.peer.subscribe("TEA") as updates:
            async for _ in updates:
                await self.look(self.peer.book("TEA"))

    async def look(self, book: gb.Book) -> None:
        signal, held = imbalance(book), self.position
        if self.offer is not None and held == 0:
            print(f"        somebody takes the offer: {self.cash:+} in all")
            self.offer = None
        if held == 0 and signal > EAGER and book.best_ask:
            await self.buy(book.best_ask.price, signal)
        elif held > 0 and signal < -EAGER and book.best_bid:
            await self.give_up(book.best_bid.price, signal)

    async def buy(self, price: Decimal, signal: Decimal) -> None:
        """Take what is offered at this price, and offer it again at a higher one."""
        await self.submit(
            gb.LimitOrder("TEA", "buy", price=price, quantity=SIZE, time_in_force="ioc")
        )
        if self.position > 0:  # else somebody was quicker
            print(f"{signal:+.2f}   buys {self.position} at {price}, offers at {price + PROFIT}")
            self.offer = await self.submit(
                gb.LimitOrder("TEA", "sell", price=price + PROFIT, quantity=self.position)
            )

    async def give_up(self, price: Decimal, signal: Decimal) -> None:
        """Cancel the offer, and sell what is left for what is bid."""
        if self.offer is not None:
            await self.peer.submit(gb.CancelOrder(self.offer))
            self.offer = None
        if self.position > 0:  # else the cancel came too late
            print(f"{signal:+.2f}   cancels the offer, sells {self.position} at {price}")
            await self.submit(
                gb.LimitOrder(
                    "TEA", "sell", price=price, quantity=self.position, time_in_force="ioc"
                )
            )

    async def submit(self, order: gb.LimitOrder) -> gb.OrderId:
        receipt = await self.peer.submit(order)
        self.orders.append(receipt.order_id)
        return receipt.order_id


# ---------------------------------------------------------------- its counterpart


async def make_market(peer: gb.Peer, chance: random.Random) -> None:
    """Quote around a price that wanders for a while one way, then the other."""
    middle, way = Decimal("10.00"), 1
    resting: list[gb.OrderId] = []
    while True:
        if chance.random() < 0.15:
            way = -way
        if chance.random() < 0.4:
            middle += way * TICK
        # All in one entry: nobody ever sees the market without quotes.
        quotes = [
            quote(middle, side, level, way, chance) for side in (-1, 1) for level in (1, 2, 3)
        ]
        receipts = await peer.submit([*map(gb.CancelOrder, resting), *quotes])
        resting = [receipt.order_id for receipt in receipts[len(resting) :]]
        await trio.sleep(0.05)


def quote(middle: Decimal, side: int, level: int, way: int, chance: random.Random) -> gb.LimitOrder:
    """One of his orders: fewer where the price is going."""
    quantity = chance.randint(8, 12) * (1 if side == way else 3)
    return gb.LimitOrder(
        "TEA", "sell" if side == 1 else "buy", price=middle + side * level * TICK, quantity=quantity
    )


# ---------------------------------------------------------------- what happens


async def main() -> None:
    opening_maker = gb.open_peer(
        GENESIS, gb.Keypair.generate(), transport=gb.TlsTransport("127.0.0.1:0")
    )
    async with opening_maker as maker:
        assert maker.address is not None  # for it listens
        opening_own = gb.open_peer(
            GENESIS,
            gb.Keypair.generate(),
            transport=gb.TlsTransport(),  # dials, and listens nowhere
            bootstrap=[maker.address],
        )
        async with opening_own as own:
            trader = SignalTrader(own)
            with trio.move_on_after(SECONDS):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(make_market, maker, random.Random(4))
                    nursery.start_soon(trader.run)
            await settle_up(trader, maker)


async def settle_up(trader: SignalTrader, maker: gb.Peer) -> None:
    """Take back what rests, and see that both ends agree."""
    if trader.offer is not None:
        await trader.peer.submit(gb.CancelOrder(trader.offer))
    with trio.fail_after(10):
        await gb.wait_until_equal([trader.peer, maker])
    print(f"\nholds {trader.position}, cash {trader.cash:+} after {len(trader.orders)} orders")
    print(f"both hold the same book, root {trader.peer.root.hex()[:16]}")


if __name__ == "__main__":
    trio.run(main)
