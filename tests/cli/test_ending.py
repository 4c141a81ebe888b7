"""The exit rule and its words, on simulated peers that are equal, unequal, damaged, unproven."""

import re
from dataclasses import replace

import pytest
from twins.scenario import cluster_of, limit, trade

from gossipbook.cli.ending import Ending, PeerLine, conclude, describe, find_fault


@pytest.fixture
def cluster():
    """Three equal peers, two of them correct, and a proof against the third."""
    cluster = cluster_of(3, seed=4)
    trade(cluster, 30, at=[0, 1, 2])
    cluster.equivocate(2)
    cluster.run_for(2)
    cluster.run_until_converged(10)
    return cluster


def named(cluster):
    return {f"peer {peer.index}": peer for peer in cluster.correct_peers}


def test_equal_and_right_peers_with_the_proof_are_faultless(cluster):
    assert find_fault(named(cluster)) == ""


def test_different_roots_are_named_peer_by_peer(cluster):
    cluster.submit(1, limit())
    fault = find_fault(named(cluster))
    assert fault.startswith("the correct peers' roots differ:\n")
    first, second = cluster.correct_peers
    assert f"peer 0: {first.entry_count} entries {first.frontier_root.hex()[:8]}" in fault
    assert f"peer 1: {second.entry_count} entries {second.frontier_root.hex()[:8]}" in fault
    assert first.entry_count + 1 == second.entry_count


def test_rotten_memory_is_not_what_a_naive_replay_gives(cluster):
    """Nothing has hashed the damage yet: equal roots alone would let it pass."""
    assert cluster.corrupt(1, "ONE", "book")
    assert cluster.peers[0].root == cluster.peers[1].root
    assert find_fault(named(cluster)) == "peer 1: ONE is not what a naive replay gives"


def test_a_peer_without_the_proof_is_named(cluster):
    peer, cheat = cluster.peers[1], cluster.peers[2]
    peer.replica.logs[cheat.peer_id].proof = None
    assert find_fault(named(cluster)) == "peer 1 holds no proof against the equivocator"


def test_a_description_tells_links_and_forks(cluster):
    cheat = cluster.peers[2].peer_id.hex()[:8]
    for line in describe(named(cluster)).splitlines():
        assert f"forks proven of {cheat}" in line
        assert line.endswith(("links to 2 peers", "links to 1 peers"))


def line(name, *, correct, root=b"\xab" * 32):
    return PeerLine(name, bytes(32), correct, 1_234, 7, 2, 1, root)


def ending(failure="", trace_hash=None):
    peers = (line("alice", correct=True), line("bob", correct=True), line("carol", correct=False))
    return Ending(
        failure=failure,
        orders=50,
        converged_after_s=1.5,
        elapsed_s=9.25,
        peers=peers,
        messages=4_000,
        messages_lost=400,
        message_bytes=20_000,
        undone_commands=125,
        trace_hash=trace_hash,
    )


def test_costs_are_per_order_and_correct_peer():
    assert ending().bytes_per_order == 200  # 20,000 bytes, 50 orders, 2 correct peers
    assert ending().undone_per_order == 1.25


def test_a_good_end_is_a_table_and_status_0(capsys):
    assert conclude("demo", ending(), as_json=False) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "alice    1,234       7       2  abababababababab\n" in said.out
    assert "carol    1,234       7       2  abababababababab  signed two histories" in said.out
    assert "All 2 correct peers hold the same books" in said.out
    assert "\ntime in all" in said.out
    assert "trace" not in said.out


def test_simulated_time_is_called_so(capsys):
    conclude("simulate", ending(trace_hash=bytes(32)), as_json=False)
    assert "simulated time in all" in capsys.readouterr().out
    assert ending(trace_hash=bytes(32)).as_dict()["simulated_s"] == 9.25
    assert ending().as_dict()["elapsed_s"] == 9.25


def test_messages_that_nobody_can_count_as_lost_are_not_told(capsys):
    conclude("demo", ending(), as_json=False)
    assert "messages, and those that never arrived  4,000, 400\n" in capsys.readouterr().out
    conclude("demo", replace(ending(), messages_lost=None), as_json=False)
    said = capsys.readouterr().out
    assert re.search(r"^messages sent +4,000$", said, re.MULTILINE)
    assert "never arrived" not in said


def test_an_end_before_anybody_started_has_no_root():
    assert replace(ending("it broke"), peers=()).as_dict()["root"] is None


def test_a_bad_end_is_status_1_and_claims_nothing(capsys):
    assert conclude("demo", ending("bob is odd"), as_json=False) == 1
    said = capsys.readouterr()
    assert said.err == "gossipbook demo: FAILED: bob is odd\n"
    assert "hold the same books" not in said.out
