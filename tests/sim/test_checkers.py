"""Each checker is silent where its promise holds, and names the difference where it is broken."""

from collections.abc import Callable

import pytest
from twins.scenario import GENESIS, cluster_of, limit, trade

import gossipbook as gb
from gossipbook.book.payload import GTC, Placement
from gossipbook.gossip.reconcile import Range
from gossipbook.log.entry import encode_run, sign_entry
from gossipbook.sim.checkers import (
    OwnWordsFirst,
    check_all,
    check_books,
    check_bounds,
    check_equal,
    check_no_false_forks,
    check_proofs,
    check_rebuilds,
    check_receipts,
    check_replay,
)


@pytest.fixture
def cluster() -> gb.sim.Cluster:
    cluster = cluster_of(3, seed=4)
    trade(cluster, 30, at=[0, 1, 2])
    cluster.run_until_converged(10)
    check_all(cluster)
    return cluster


def breaks(check: Callable[[gb.sim.Cluster], None], cluster: gb.sim.Cluster, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check(cluster)


def test_an_unequal_frontier_is_noticed(cluster: gb.sim.Cluster) -> None:
    cluster.submit(1, limit())
    breaks(check_equal, cluster, "the frontiers of peers 0 and 1 differ")


@pytest.mark.parametrize("what", ["book", "trades"])
def test_rotten_memory_is_noticed(cluster: gb.sim.Cluster, what: str) -> None:
    assert cluster.corrupt(1, "ONE", what)
    breaks(check_equal, cluster, "(trades in|books of|commands in) ONE of peers 0 and 1")
    breaks(check_replay, cluster, "peer 1")


def test_a_receipt_that_somebody_lacks_is_noticed(cluster: gb.sim.Cluster) -> None:
    cluster.submit(1, limit())
    breaks(check_receipts, cluster, "peer 0 does not hold the entry of the receipt")
    cluster.run_until_converged(10)
    check_receipts(cluster)


def test_a_receipt_without_a_command_is_noticed(cluster: gb.sim.Cluster) -> None:
    replica = cluster.peers[2].replica
    state = replica._state("ONE")
    state.engine = replica._new_engine(state.market)
    breaks(check_receipts, cluster, "is not among the commands of peer 2")


def test_a_receipt_of_a_store_that_was_put_back_proves_nothing(cluster: gb.sim.Cluster) -> None:
    cluster.partition({1})
    cluster.submit(1, limit())
    cluster.crash(1)
    cluster.heal()
    cluster.restart(1, "lost")
    cluster.run_for(2)
    cluster.run_until_converged(20)
    check_receipts(cluster)


def test_a_proof_against_a_correct_author_is_noticed(cluster: gb.sim.Cluster) -> None:
    cluster.equivocate(1)
    cluster.run_for(3)
    check_no_false_forks(cluster)
    cluster.peers[1].correct = True
    breaks(check_no_false_forks, cluster, "peer 1 forked at 10")


def test_a_proof_that_only_some_hold_is_noticed(cluster: gb.sim.Cluster) -> None:
    cluster.equivocate(1)
    cluster.run_for(3)
    check_proofs(cluster)
    cluster.peers[2].replica.logs[cluster.peers[1].peer_id].proof = None
    breaks(check_proofs, cluster, r"None: \[2\]")


def test_words_that_left_before_the_disk_are_noticed(cluster: gb.sim.Cluster) -> None:
    check = OwnWordsFirst()
    check(cluster)
    cluster.submit(1, limit())
    cluster.run_for(1)
    check(cluster)
    store, author = cluster.peers[1].store, cluster.peers[1].peer_id
    store.entries.remove([entry for entry in store.entries if entry.author == author][-1])
    with pytest.raises(AssertionError, match="of peer 1, whose own store holds 10"):
        OwnWordsFirst()(cluster)


def test_words_in_flight_that_somebody_hears_are_noticed() -> None:
    cluster = cluster_of(2)
    cluster.submit_nowait(0, limit())
    in_flight = cluster.peers[0].running.own.in_flight
    assert in_flight is not None
    cluster.peers[1].replica.add([in_flight.entry], local_ms=1 << 45)
    with pytest.raises(AssertionError, match="peer 1 holds 1 entries of peer 0"):
        cluster.run_for(0.0004)
        OwnWordsFirst()(cluster)


def test_a_book_that_contradicts_itself_is_noticed(cluster: gb.sim.Cluster) -> None:
    engine = cluster.peers[0].replica._state("ONE").engine
    level = next(iter(engine._book.halves[0]))
    next(iter(level)).remaining += 1
    breaks(check_books, cluster, "peer 0, ONE: ")


def test_a_wrong_order_of_matching_is_noticed(cluster: gb.sim.Cluster) -> None:
    for peer in cluster.peers:
        engine = peer.replica._state("ONE").engine
        engine.apply((peer.peer_id, 99, 0), Placement(0, 0, 1, 1, GTC))
    breaks(check_replay, cluster, "peer 0, ONE: commands differ in number")


def test_an_overfull_table_is_noticed(cluster: gb.sim.Cluster) -> None:
    protocol = cluster.peers[1].running
    author = cluster.peers[0].peer_id
    protocol._fetcher._on_order[author] = [Range(1, 0, 1, 0)] * 5
    breaks(check_bounds, cluster, "peer 1: fetches of .*: 5, where at most 4 are allowed")
    del protocol._fetcher._on_order[author]
    link = next(iter(protocol._links.values()))
    link.verifying_bytes = 1 << 30
    breaks(check_bounds, cluster, "bytes being verified")


def test_an_engine_that_was_rebuilt_undamaged_is_noticed(cluster: gb.sim.Cluster) -> None:
    cluster.peers[1].replica.rebuilt_count = 1
    breaks(check_rebuilds, cluster, "peer 1 rebuilt an engine 1 times")
    cluster.corrupt(1, "ONE")
    check_rebuilds(cluster)


def test_the_checkers_change_nothing(cluster: gb.sim.Cluster) -> None:
    trace, steps = cluster.trace_hash, cluster.counters.steps
    check_all(cluster)
    assert (cluster.trace_hash, cluster.counters.steps) == (trace, steps)


def test_cheats_are_not_judged() -> None:
    cluster = cluster_of(3)
    cheat = cluster.peers[2]
    cheat.correct = False
    entry = sign_entry(
        cheat.keypair,
        network_id=GENESIS.network_id,
        seq=0,
        prev=bytes(32),
        hlc=cheat.replica.clock.next(cheat.running.local_ms),
        payload=b"\x80",
    )
    run = encode_run([entry])
    assert run
    cheat.replica.add([entry], local_ms=cheat.running.local_ms)
    check_all(cluster)
