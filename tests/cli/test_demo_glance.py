"""A glance crosses to another process unchanged, and digests see what roots do not."""

import json
from decimal import Decimal

import pytest
import trio
from trio.testing import MockClock
from twins.scenario import cluster_of, trade

import gossipbook as gb
from gossipbook.cli.demo_glance import DEPTH, Glance, Head, digests_of, take_glance
from gossipbook.randomness import SeededRandom

GENESIS = gb.Genesis("glances", markets=[gb.Market("ONE", tick_size="0.5"), gb.Market("TWO")])
KEY = gb.Keypair.from_seed(bytes(32))


def glance_of_a_peer_with(*orders):
    async def main():
        async with gb.open_peer(GENESIS, KEY, alone=True) as peer:
            for order in orders:
                await peer.submit(order)
            return take_glance(peer, busted=7), peer.root, peer.frontier_root

    return trio.run(main, clock=MockClock(autojump_threshold=0))


def test_a_glance_tells_what_the_peer_holds():
    glance, root, frontier_root = glance_of_a_peer_with(
        gb.LimitOrder("ONE", "sell", price="10.5", quantity=4),
        gb.LimitOrder("ONE", "buy", price="10.5", quantity=1),
        gb.LimitOrder("ONE", "buy", price="9", quantity=2),
    )
    assert (glance.entries, glance.trades, glance.busted) == (3, 1, 7)
    assert (glance.root, glance.frontier_root) == (root, frontier_root)
    assert glance.heads == {KEY.peer_id: Head(3, is_forked=False)}
    assert glance.is_idle
    assert glance.linked == frozenset()
    assert glance.forks == {}
    bid = gb.PriceLevel(Decimal("9.0"), Decimal(2), 1)
    ask = gb.PriceLevel(Decimal("10.5"), Decimal(3), 1)
    assert glance.depth == {"ONE": ((bid,), (ask,)), "TWO": ((), ())}


def test_no_more_than_the_best_levels_are_told():
    orders = [gb.LimitOrder("TWO", "buy", price=price, quantity=1) for price in range(1, 31)]
    glance, _, _ = glance_of_a_peer_with(*orders)
    bids, _ = glance.depth["TWO"]
    assert [level.price for level in bids] == list(range(30, 30 - DEPTH, -1))


def test_a_glance_is_the_same_after_json():
    level = gb.PriceLevel(Decimal("10.50"), Decimal("0.001"), 3)
    glance = Glance(
        entries=1,
        trades=2,
        busted=3,
        undone_commands=4,
        messages=5,
        message_bytes=6,
        root=b"\x01" * 32,
        frontier_root=b"\x02" * 32,
        is_idle=False,
        cuts={1_700_000_000: b"\x03" * 32, 1_700_000_001: b"\x04" * 32},
        heads={KEY.peer_id: Head(9, is_forked=True)},
        forks={KEY.peer_id: 8},
        linked=frozenset([KEY.peer_id]),
        depth={"ONE": ((level,), ()), "TWO": ((), (level, level))},
    )
    assert Glance.from_json(json.loads(json.dumps(glance.as_json()))) == glance


@pytest.fixture
def pair():
    """Two equal peers that have traded."""
    cluster = cluster_of(2, seed=4)
    trade(cluster, 30, at=[0, 1])
    cluster.run_until_converged(10)
    return cluster


@pytest.mark.parametrize("what", ["book", "trades"])
def test_digests_see_damage_that_nothing_has_hashed(pair, what):
    first, second = pair.peers
    assert digests_of(first) == digests_of(second)
    assert second.replica.corrupt("ONE", what, SeededRandom(1))
    ours, theirs = digests_of(first), digests_of(second)
    assert ours.pop("ONE") != theirs.pop("ONE")
    assert ours == theirs
