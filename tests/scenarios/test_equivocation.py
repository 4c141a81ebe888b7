"""An author that signs two histories is proven guilty everywhere, and nobody else pays for it."""

import pytest
from twins.scenario import cluster_of, events_of, limit, trade

import gossipbook as gb
from gossipbook.gossip.messages import News, encode_message
from gossipbook.log.entry import encode_run
from gossipbook.sim.adversaries import Equivocator
from gossipbook.sim.checkers import check_all


def all_correct_hold_the_proof(cluster: gb.sim.Cluster, *cheats: int) -> None:
    guilty = sorted(cluster.peers[cheat].peer_id for cheat in cheats)
    for peer in cluster.correct_peers:
        assert [proof.author for proof in peer.proofs()] == guilty
        told = {event.proof.author for event in events_of(cluster, peer.index, gb.ForkProven)}
        assert told == set(guilty), "its user was told"


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("lengths", [(1, 1), (1, 3), (3, 1), (2, 2)])
def test_all_hold_the_proof_and_are_equal_whichever_branch_came_first(
    first: int, lengths: tuple[int, int]
) -> None:
    cluster = cluster_of(5, seed=first)
    trade(cluster, 20, at=[0, 1, 2, 3, 4])
    cheat = Equivocator(cluster, 4, lengths=lengths, first=first, head_start_s=0.8)
    cheat.begin()
    cluster.run_for(0.5)
    heads = [peer.replica.head(cheat.peer.peer_id) for peer in cluster.correct_peers]
    assert {head.length for head in heads} == {cheat.seq + lengths[first]}, "one branch so far"
    assert all(head.k is None for head in heads)
    trade(cluster, 20, at=[0, 1, 2, 3])
    cluster.run_for(1)
    cluster.run_until_converged(30)
    all_correct_hold_the_proof(cluster, 4)
    heads = [peer.replica.head(cheat.peer.peer_id) for peer in cluster.correct_peers]
    assert {head.k for head in heads} == {cheat.seq}
    check_all(cluster)


@pytest.mark.parametrize("seed", range(3))
def test_three_branches_are_one_fork(seed: int) -> None:
    cluster = cluster_of(5, seed=seed)
    trade(cluster, 10, at=[0, 1, 4])
    cluster.equivocate(4, branches=3)
    trade(cluster, 50, at=[0, 1, 2, 3])
    cluster.run_until_converged(30)
    all_correct_hold_the_proof(cluster, 4)
    check_all(cluster)


def test_one_correct_peer_among_equivocators_keeps_its_book() -> None:
    cluster = cluster_of(5, seed=1)
    mine = trade(cluster, 5, at=[0])
    for cheat in (1, 2, 3, 4):
        cluster.equivocate(cheat, branches=2 + cheat % 2)
    mine += trade(cluster, 100, at=[0])
    cluster.run_until_converged(30)
    cluster.run_for(5)
    all_correct_hold_the_proof(cluster, 1, 2, 3, 4)
    check_all(cluster)
    peer = cluster.peers[0]
    known = {one.command_id for market in ("ONE", "TWO") for one in peer.commands(market)}
    assert {receipt.command_id for receipt in mine} <= known


def test_four_of_five_fork_and_the_lossy_rest_converges() -> None:
    cluster = cluster_of(6, seed=2, link=gb.sim.Link(loss=0.3))
    for cheat in (2, 3, 4, 5):
        cluster.equivocate(cheat)
    trade(cluster, 50, at=[0, 1])
    cluster.run_until_converged(60)
    cluster.run_for(10)
    all_correct_hold_the_proof(cluster, 2, 3, 4, 5)
    check_all(cluster)


def test_a_forked_author_is_told_so_when_it_submits() -> None:
    cluster = cluster_of(4)
    cluster.equivocate(3)
    cluster.run_for(3)
    with pytest.raises(gb.IdentityForked, match="new one"):
        cluster.submit(3, limit())


def test_the_proof_reaches_a_late_joiner() -> None:
    cluster = cluster_of(4)
    trade(cluster, 8, at=[0, 3])
    cluster.equivocate(3)
    cluster.run_for(3)
    cluster.crash(3)
    joined = cluster.join()
    cluster.run_for(1)
    cluster.run_until_converged(30)
    assert [proof.author for proof in cluster.peers[joined].proofs()] == [cluster.peers[3].peer_id]
    check_all(cluster)


def test_what_was_said_before_the_fork_still_counts() -> None:
    cluster = cluster_of(5)
    before = trade(cluster, 10, at=[4])
    cluster.run_for(1)
    cluster.equivocate(4)
    cluster.run_for(3)
    cluster.run_until_converged(30)
    known = {
        one.command_id for market in ("ONE", "TWO") for one in cluster.peers[0].commands(market)
    }
    assert {receipt.command_id for receipt in before} == known


def test_the_first_who_knows_tells_everyone_at_once() -> None:
    cluster = cluster_of(5, settled_s=2)
    cheat = Equivocator(cluster, 4, lengths=(1, 1))
    cluster.peers[4].correct = False
    cheat._sign_branches()
    link = next(link for link, other in cluster.links_of(4) if other == 0)
    for branch in cheat.branches:
        cluster.send_raw(4, link, encode_message(News((encode_run(branch),))))
    cluster.run_for(0.25)
    all_correct_hold_the_proof(cluster, 4)
