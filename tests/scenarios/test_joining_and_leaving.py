"""Peers come and go, and nobody waits for them."""

import pytest
from twins.scenario import cluster_of, events_of, limit, trade

import gossipbook as gb
from gossipbook.sim.checkers import check_all

OLD = (0, 1, 2, 3)


def latencies_ms(joins: int, seed: int) -> list[float]:
    """How long each order took to reach all old peers while so many newcomers caught up."""
    cluster = cluster_of(4, seed=seed)
    for _ in range(40):
        cluster.submit(0, [limit()] * 100)
        cluster.run_for(0.01)
    cluster.run_until_converged(10)
    newcomers = [cluster.join() for _ in range(joins)]
    found = []
    for number in range(150):
        author = OLD[number % 4]
        before = cluster.now_us
        cluster.submit(author, limit("sell", 200))
        assert cluster.now_us == before, "the submit waited for nobody"
        length = cluster.peers[author].replica.head(cluster.peers[author].peer_id).length
        while not all(
            cluster.peers[old].replica.head(cluster.peers[author].peer_id).length == length
            for old in OLD
        ):
            cluster.run_for(0.001)
        found.append((cluster.now_us - before) / 1000)
    cluster.run_until_converged(20)
    for newcomer in newcomers:
        assert cluster.peers[newcomer].entry_count == 190
    check_all(cluster)
    return sorted(found)


def test_a_joiner_stops_nobody_and_slows_nobody() -> None:
    alone = latencies_ms(0, seed=5)
    joined = latencies_ms(2, seed=5)
    assert joined[75] < 1.2 * alone[75] + 1
    assert joined[-1] < 1.5 * alone[-1] + 5


def test_a_joiner_may_submit_at_once() -> None:
    cluster = cluster_of(3)
    trade(cluster, 30, at=[0, 1, 2])
    newcomer = cluster.join()
    receipt = cluster.submit(newcomer, limit())
    cluster.run_until_converged(10)
    assert cluster.peers[0].order(receipt.order_id) is not None
    check_all(cluster)


def test_who_leaves_is_not_waited_for_and_may_come_back() -> None:
    cluster = cluster_of(4)
    trade(cluster, 20, at=[0, 1, 2, 3])
    cluster.run_for(1)
    gone = cluster.peers[3].peer_id
    cluster.leave(3)
    trade(cluster, 20, at=[0, 1, 2])
    for index in (0, 1, 2):
        down = events_of(cluster, index, gb.PeerDown)
        assert [(event.peer_id, event.reason) for event in down] == [(gone, "it left")]
        assert gone not in cluster.peers[index].peers()
    with pytest.raises(gb.UsageError, match="restart"):
        cluster.submit(3, limit())
    cluster.restart(3)
    cluster.run_for(2)
    cluster.submit(3, limit())
    cluster.run_until_converged(20)
    assert cluster.peers[3].entry_count == 41
    check_all(cluster)


def test_churn_under_load_loses_nothing() -> None:
    cluster = cluster_of(5, seed=8, link=gb.sim.Link(loss=0.1))
    for round_ in range(4):
        trade(cluster, 20, at=[0, 1], seed=round_)
        cluster.join()
        trade(cluster, 20, at=[0, 1], seed=round_)
        (cluster.crash if round_ % 2 else cluster.leave)(4 - round_ % 3)
        trade(cluster, 20, at=[0, 1], seed=round_)
        cluster.restart(4 - round_ % 3)
    cluster.run_until_converged(30)
    assert len(cluster.correct_peers) == 9
    check_all(cluster)


def test_a_one_way_partition_heals() -> None:
    cluster = cluster_of(5)
    trade(cluster, 10, at=[0, 1, 2, 3, 4])
    cluster.partition({0, 1}, one_way=True)
    receipts = trade(cluster, 100, at=[0, 2], per_s=20)
    assert len(receipts) == 100, "both sides go on"
    cluster.run_for(10)
    cluster.heal()
    cluster.run_until_converged(60)
    check_all(cluster)


def test_both_sides_of_a_partition_trade_on_and_agree_afterwards() -> None:
    cluster = cluster_of(5, watched=True)
    trade(cluster, 20, at=[0, 1, 2, 3, 4])
    cluster.run_for(1)
    cluster.partition({0, 1})
    trade(cluster, 100, at=[0, 1, 2, 3, 4], per_s=20)
    left, right = cluster.peers[0].trades("ONE"), cluster.peers[4].trades("ONE")
    assert left != right
    cluster.heal()
    cluster.run_until_converged(60)
    assert sum(peer.replica.undone_count for peer in cluster.peers) > 0
    assert sum(peer.replica.busted_count for peer in cluster.peers) > 0
    check_all(cluster)
