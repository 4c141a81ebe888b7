"""What users read: settled first, frozen, and the same at a peer on trio and a simulated one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest
import trio
from twins.authors import TestAuthor
from twins.scenario import GENESIS, cluster_of, limit
from twins.trio_peers import keypair, linked_peers, stranger, until
from twins.virtual_time import virtual_time

import gossipbook as gb
from gossipbook.clocks import VIRTUAL_EPOCH_S
from gossipbook.gossip.messages import News
from gossipbook.log.entry import encode_run
from gossipbook.peer_view import hold_equal_books

ALICE = keypair(1).peer_id


# ------------------------------------------------------------------ reading


@virtual_time
async def test_reading_counts_every_entry_that_has_arrived() -> None:
    """Nobody subscribes, so the book would settle by itself only after 100 ms."""
    async with linked_peers(2) as (alice, bob):
        await alice.submit(limit("sell", 100, 2))
        await until(lambda: bob.entry_count == 1, "bob has it")
        assert bob.replica.needs_settling
        (ask,) = bob.book("ONE").asks
        assert (ask.price, ask.quantity) == (100, 2)
        for read in (
            lambda: bob.trades("ONE"),
            lambda: bob.commands("ONE"),
            lambda: bob.root,
            lambda: bob.order(gb.OrderId("ONE", ALICE, 0, 0)),
            lambda: bob.statistics(),
        ):
            length = alice.entry_count
            await alice.submit(limit())
            await until(lambda length=length: bob.entry_count > length, "bob has that, too")
            assert bob.replica.needs_settling
            read()
            assert not bob.replica.needs_settling


@virtual_time
async def test_what_was_read_does_not_change_any_more() -> None:
    async with linked_peers(1) as (alice,):
        await alice.submit(limit("sell", 100, 2))
        book, trades, commands = alice.book("ONE"), alice.trades("ONE"), alice.commands("ONE")
        root = book.root
        await alice.submit(limit("buy", 100, 1))
        assert [level.quantity for level in book.asks] == [2]
        assert book.root == root != alice.book("ONE").root
        assert (len(trades), len(commands)) == (0, 1)
        assert (len(alice.trades("ONE")), len(alice.commands("ONE"))) == (1, 2)


@virtual_time
async def test_equal_peers_have_equal_roots_and_unequal_ones_do_not() -> None:
    network = gb.MemoryNetwork()
    async with linked_peers(2, network=network) as (alice, bob):
        assert (alice.root, alice.frontier_root) == (bob.root, bob.frontier_root)
        empty = alice.root
        network.partition(["1"])
        await alice.submit(limit())
        assert alice.root != empty == bob.root
        assert alice.frontier_root != bob.frontier_root
        assert len(alice.root) == len(alice.frontier_root) == 32


@pytest.mark.parametrize("read", ["book", "trades", "commands"])
@virtual_time
async def test_an_unknown_market_is_refused_with_the_known_ones_named(read: str) -> None:
    async with linked_peers(1) as (alice,):
        with pytest.raises(gb.UnknownMarket, match=r"THREE.*ONE.*TWO"):
            getattr(alice, read)("THREE")


@pytest.mark.parametrize("order_id", ["ONE/abc/0/0", None, ("ONE", ALICE, 0, 0), 7])
@virtual_time
async def test_what_is_no_order_id_is_refused(order_id: Any) -> None:
    async with linked_peers(1) as (alice,):
        await alice.submit(limit())
        with pytest.raises(gb.UsageError, match="give an OrderId"):
            alice.order(order_id)


@virtual_time
async def test_an_order_nobody_has_met_is_none() -> None:
    async with linked_peers(1) as (alice,):
        await alice.submit(limit())
        assert alice.order(gb.OrderId("ONE", ALICE, 1, 0)) is None
        assert alice.order(gb.OrderId("ONE", ALICE, 0, 1)) is None
        assert alice.order(gb.OrderId("TWO", ALICE, 0, 0)) is None


# ------------------------------------------------------------------ statistics


@virtual_time
async def test_statistics_are_a_copy_that_nothing_changes() -> None:
    async with linked_peers(2) as (alice, _):
        before = alice.statistics()
        sent = before.gossip.total_sent_bytes
        with pytest.raises(FrozenInstanceError):
            before.entries = 5  # type: ignore[misc]
        await alice.submit(limit())
        await trio.sleep(5)
        after = alice.statistics()
        assert (before.entries, after.entries) == (0, 1)
        assert before.gossip.total_sent_bytes == sent < after.gossip.total_sent_bytes
        before.gossip.sent_bytes.clear()
        assert alice.statistics().gossip == after.gossip, "what the caller does harms nobody"


@virtual_time
async def test_statistics_count_what_happened() -> None:
    async with linked_peers(3) as peers:
        alice, bob, _ = peers
        await alice.submit([limit("sell", 100, 3), limit("sell", 200, 1, "TWO")])
        with trio.fail_after(5):
            await gb.wait_until_equal(peers)
        await bob.submit(limit("buy", 100, 1))
        await bob.submit(limit("buy", 100, 1))
        with trio.fail_after(5):
            await gb.wait_until_equal(peers)
        for peer in peers:
            statistics = peer.statistics()
            assert (statistics.entries, statistics.authors, statistics.trades) == (3, 2, 2)
            assert (statistics.applied_commands, statistics.undone_commands) == (4, 0)
            assert (statistics.links, statistics.held_back_entries) == (2, 0)
            assert (statistics.queued_submits, statistics.queue_drops) == (0, 0)
            assert statistics.busted_trades == 0


@virtual_time
async def test_statistics_count_what_was_undone_and_busted() -> None:
    """Two buyers on either side of a partition want the same lot; the earlier one gets it."""
    network = gb.MemoryNetwork()
    async with linked_peers(3, network=network) as peers:
        alice, bob, carol = peers
        await alice.submit(limit("sell", 100, 1))
        await gb.wait_until_equal(peers)
        network.partition(["2"])
        async with carol.subscribe(), bob.subscribe():
            await bob.submit(limit("buy", 100, 1))
            await trio.sleep(1)
            await carol.submit(limit("buy", 100, 1))
            assert len(carol.trades("ONE")) == 1
            network.heal()
            with trio.fail_after(60):
                await gb.wait_until_equal(peers)
        assert (carol.statistics().undone_commands, carol.statistics().busted_trades) == (1, 1)
        assert (bob.statistics().undone_commands, bob.statistics().busted_trades) == (0, 0)
        assert [trade.taker.author for trade in carol.trades("ONE")] == [bob.peer_id]


@virtual_time
async def test_statistics_count_submits_that_wait() -> None:
    store = gb.MemoryStore(write_s=1)
    async with linked_peers(1, store=store) as (alice,), trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(alice.submit, limit())
        await trio.sleep(0.5)
        assert alice.statistics().queued_submits == 4, "and one is being written"
        await trio.sleep(1)
        assert alice.statistics().queued_submits == 0


@virtual_time
async def test_statistics_count_entries_that_wait_for_their_time() -> None:
    network = gb.MemoryNetwork()
    async with (
        gb.open_peer(
            GENESIS,
            keypair(1),
            transport=network.transport("a"),
            clock=lambda: VIRTUAL_EPOCH_S + trio.current_time() + 20,
        ) as ahead,
        linked_peers(1, network=network) as (other,),
    ):
        await ahead.submit(limit())
        async with gb.open_peer(
            GENESIS, keypair(3), transport=network.transport("b"), bootstrap=["a", "0"], alone=True
        ):
            await until(lambda: other.entry_count == 1, "it has spread")
            assert other.statistics().held_back_entries == 1
            assert other.commands("ONE") == []
            await trio.sleep(21)
            assert other.statistics().held_back_entries == 0
            assert len(other.commands("ONE")) == 1


def test_a_simulated_peer_has_the_same_statistics() -> None:
    cluster = cluster_of(2)
    cluster.submit(0, limit("sell"))
    cluster.submit(1, limit("buy"))
    cluster.run_until_converged(5)
    statistics = cluster.peers[1].statistics()
    assert type(statistics) is gb.PeerStatistics
    assert (statistics.entries, statistics.trades, statistics.links) == (2, 1, 1)
    assert statistics.queue_drops == 0
    assert all(getattr(statistics, field.name) is not None for field in fields(statistics))


# ------------------------------------------------------------------ equal books


def test_no_peers_at_all_are_equal() -> None:
    assert hold_equal_books([])


Disturb = Callable[[gb.MemoryNetwork, gb.Peer, trio.Nursery], Awaitable[None]]


async def more_entries(network: gb.MemoryNetwork, alice: gb.Peer, _: trio.Nursery) -> None:
    network.partition(["1"])
    await alice.submit(limit())


async def a_submit_under_way(_: gb.MemoryNetwork, alice: gb.Peer, nursery: trio.Nursery) -> None:
    nursery.start_soon(alice.submit, limit())
    await trio.testing.wait_all_tasks_blocked()
    assert alice.running.own.in_flight and not alice.entry_count


async def an_entry_from_the_future(
    network: gb.MemoryNetwork, alice: gb.Peer, _: trio.Nursery
) -> None:
    """It is in her log and in no book, so only the frontiers differ."""
    network.partition(["1"])
    author = TestAuthor(9, GENESIS)
    author.write(hlc=round((VIRTUAL_EPOCH_S + 20) * 1_000) << 16)
    async with stranger(network, 8, dial="0") as teller:
        await teller.say(News((encode_run(author.entries),)))
        await until(lambda: alice.entry_count == 1, "alice holds it")
    assert alice.statistics().held_back_entries == 1


@pytest.mark.parametrize("disturb", [more_entries, a_submit_under_way, an_entry_from_the_future])
@virtual_time
async def test_peers_are_equal_only_while_nothing_sets_them_apart(disturb: Disturb) -> None:
    network, store = gb.MemoryNetwork(), gb.MemoryStore()
    async with (
        gb.open_peer(
            GENESIS, keypair(1), transport=network.transport("0"), store=store, alone=True
        ) as alice,
        gb.open_peer(
            GENESIS, keypair(2), transport=network.transport("1"), bootstrap=["0"], alone=True
        ) as bob,
        trio.open_nursery() as nursery,
    ):
        assert hold_equal_books([alice, bob])
        store.write_s = 1 if disturb is a_submit_under_way else 0
        await disturb(network, alice, nursery)
        assert not hold_equal_books([alice, bob])
        assert hold_equal_books([bob])
        network.heal()
        with trio.fail_after(60):
            await gb.wait_until_equal([alice, bob])
        assert alice.entry_count == bob.entry_count == 1


def test_undos_are_counted_by_depth() -> None:
    """Two peers apart: 3 commands here, then 2 there, then they meet."""
    cluster = cluster_of(2)
    cluster.submit(0, limit("sell", 100, 5))
    cluster.run_until_converged(30)
    cluster.partition({0})
    for _ in range(3):
        cluster.submit(0, limit("sell", 101, 1))
        cluster.run_for(0.01)
    for _ in range(2):
        cluster.submit(1, limit("buy", 99, 1))
        cluster.run_for(0.01)
    cluster.heal()
    cluster.run_until_converged(30)
    early, late = (peer.statistics() for peer in cluster.peers)
    assert (early.undone_commands, early.undo_depths.count) == (0, 0), "its own came first"
    assert (early.deepest_undo, early.latest_undo) == (0, 0)
    assert late.undone_commands == late.undo_depths.total == 2
    assert (late.deepest_undo, late.latest_undo) == (2, 2)
    assert late.undo_depths.cumulative()[:3] == [(1, 0), (2, 1), (5, 1)]


@virtual_time
async def test_commits_are_counted_and_take_no_virtual_time() -> None:
    async with linked_peers(1) as (alice,):
        before = alice.statistics().commits
        for _ in range(4):
            await alice.submit(limit())
        after = alice.statistics()
        assert after.commits == after.commit_times_s.count == before + 4
        assert after.commit_times_s.largest == 0


def test_divergences_and_forks_are_counted() -> None:
    cluster = cluster_of(3, seed=2)
    for number in range(6):
        cluster.submit(number % 3, limit("sell", 100 + number, 2))
    cluster.run_for(5)
    cluster.corrupt(0, "ONE")
    cluster.run_for(60)
    healed = cluster.peers[0].statistics()
    assert healed.divergences["healed"] == 1 and healed.fork_proofs == 0
    told = [one for one in cluster.peers[0].events if isinstance(one, gb.Divergence)]
    assert sum(healed.divergences.values()) == len(told)
    healed.divergences.clear()
    assert cluster.peers[0].statistics().divergences["healed"] == 1, "what was read is a copy"
    cluster.equivocate(2)
    cluster.run_for(10)
    assert [peer.statistics().fork_proofs for peer in cluster.peers[:2]] == [1, 1]
