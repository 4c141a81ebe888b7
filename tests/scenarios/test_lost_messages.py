"""One lost message is never a permanent gap."""

import pytest
from twins.scenario import cluster_of, events_of, limit, trade

import gossipbook as gb
from gossipbook.sim.checkers import check_all


class DropNth:
    """Loses exactly the n-th frame that a peer sends, and no other."""

    def __init__(self, n: int) -> None:
        self.left = n

    def __call__(self, _: bytes) -> bool:
        self.left -= 1
        return self.left != 0


@pytest.mark.parametrize("loser", [0, 1])
def test_any_one_message_may_be_lost(loser: int) -> None:
    for n in range(1, 61):
        cluster = cluster_of(3, seed=n, settled_s=0)
        drop = cluster.peers[loser].outgoing = DropNth(n)
        while drop.left > 0:
            trade(cluster, 6, at=[0, 1, 2], seed=n, per_s=20)
        cluster.run_until_converged(5)
        check_all(cluster)


def test_the_last_order_before_silence_arrives_although_its_push_is_lost() -> None:
    for seed in range(10):
        cluster = cluster_of(2, seed=seed, settled_s=1)
        trade(cluster, 6, at=[0, 1])
        cluster.run_for(1)
        cluster.peers[0].outgoing = lambda data: data[1] != 0  # kind 0: all of its news are lost
        cluster.submit(0, limit())
        cluster.run_for(0.1)
        assert cluster.peers[1].entry_count == 6
        cluster.peers[0].outgoing = None
        cluster.run_until_converged(5)
        assert cluster.peers[1].entry_count == 7


def test_half_of_all_messages_may_be_lost_doubled_and_reordered() -> None:
    link = gb.sim.Link(loss=0.5, duplication=0.2, reordering=0.5)
    cluster = cluster_of(5, seed=1, link=link)
    trade(cluster, 100, at=[0, 1, 2, 3, 4])
    cluster.run_until_converged(60)
    assert cluster.counters.messages_lost > 100
    check_all(cluster)


def test_a_narrow_link_drops_pushes_and_still_catches_up() -> None:
    cluster = cluster_of(3, seed=1, link=gb.sim.Link(bandwidth=20_000))
    for _ in range(60):
        cluster.submit(0, [limit()] * 50)
        cluster.run_for(0.02)
    cluster.run_until_converged(120)
    check_all(cluster)


def test_a_peer_that_was_alone_for_an_hour_catches_up() -> None:
    cluster = cluster_of(3)
    trade(cluster, 20, at=[0, 1, 2])
    cluster.partition({2})
    for _ in range(60):
        trade(cluster, 6, at=[0, 1, 2])
        cluster.run_for(60)
    assert cluster.peers[2].peers() == []
    cluster.heal()
    report = cluster.run_until_converged(60)
    assert report.simulated_s < 45, "a bootstrap address is dialled every half minute at least"
    assert cluster.peers[2].entry_count == 380
    assert events_of(cluster, 2, gb.Divergence) == []
    check_all(cluster)
