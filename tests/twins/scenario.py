"""A small network and steady trading, for tests that read as stories."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import gossipbook as gb
from gossipbook.randomness import SeededRandom
from gossipbook.sim.checkers import OwnWordsFirst

GENESIS = gb.Genesis("scenario", [gb.Market("ONE"), gb.Market("TWO")])


def cluster_of(
    peers: int = 5, *, seed: int = 0, settled_s: float = 0.5, **given: object
) -> gb.sim.Cluster:
    """Peers that know each other, checked after every step for words that left before the disk."""
    cluster = gb.sim.Cluster(GENESIS, peers=peers, seed=seed, **given)  # type: ignore[arg-type]
    cluster.on_step(OwnWordsFirst())
    cluster.run_for(settled_s)
    return cluster


def limit(
    side: str = "buy", price: int = 100, quantity: int = 1, market: str = "ONE"
) -> gb.LimitOrder:
    return gb.LimitOrder(market, side, price=price, quantity=quantity)  # type: ignore[arg-type]


def trade(
    cluster: gb.sim.Cluster,
    orders: int,
    *,
    at: Sequence[int],
    per_s: int = 100,
    seed: int = 0,
    prices: Iterable[int] = range(97, 104),
    lots: int = 9,
) -> list[gb.Receipt]:
    """So many random limit orders in turn at the given peers, at a steady rate."""
    random = SeededRandom(seed)
    choices = list(prices)
    receipts = []
    for number in range(orders):
        order = gb.LimitOrder(
            random.choice(["ONE", "TWO"]),
            random.choice(["buy", "sell"]),
            price=random.choice(choices),
            quantity=random.between(1, lots),
        )
        receipts.append(cluster.submit(at[number % len(at)], order))
        cluster.run_for(1 / per_s)
    return receipts


def events_of(cluster: gb.sim.Cluster, index: int, kind: type) -> list[object]:
    return [event for event in cluster.peers[index].events if isinstance(event, kind)]
