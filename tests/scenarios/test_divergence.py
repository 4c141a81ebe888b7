"""A peer whose memory rots finds out, says where, and heals; a liar buys one audit."""

import pytest
from twins.scenario import cluster_of, events_of, trade

import gossipbook as gb
from gossipbook.sim.adversaries import Claimer
from gossipbook.sim.checkers import check_all

MARKETS = ("ONE", "TWO")


def rest_far_away(cluster: gb.sim.Cluster) -> None:
    """Orders that the flow around 100 ticks does not reach: what rots in them stays there."""
    for step in range(12):
        for market in MARKETS:
            cluster.submit(
                step % 4, gb.LimitOrder(market, "buy", price=50 + step % 6, quantity=10 + step)
            )
            cluster.submit(
                step % 4, gb.LimitOrder(market, "sell", price=150 + step % 6, quantity=10 + step)
            )
        cluster.run_for(0.01)


def flow(cluster: gb.sim.Cluster, seconds: int) -> None:
    """100 orders a second, in pairs that trade with each other at once and leave nothing."""
    for number in range(seconds * 50):
        market = MARKETS[number % 2]
        for side in ("sell", "buy"):
            cluster.submit(
                number % 4, gb.LimitOrder(market, side, price=100, quantity=1 + number % 5)
            )
            cluster.run_for(0.01)


def second_of(cluster: gb.sim.Cluster) -> int:
    return (cluster.epoch_us + cluster.now_us) // 1_000_000


@pytest.mark.parametrize("seed", range(3))
def test_a_rotten_book_is_noticed_located_healed_and_reported_under_load(seed: int) -> None:
    cluster = cluster_of(4, seed=seed, settled_s=1.2)
    rest_far_away(cluster)
    flow(cluster, 2)
    second = second_of(cluster)
    damage = cluster.corrupt(2, "TWO")
    price = int(damage.split(" at ")[1].split()[0])
    flow(cluster, 8)
    told = events_of(cluster, 2, gb.Divergence)
    assert [event.status for event in told] == ["claimed", "healed"]
    for event in told:
        assert event.market == "TWO"
        assert event.price_ticks == price
        assert event.side == ("buy" if price < 100 else "sell")
        assert second < event.second <= second + 3
        assert event.ours != event.theirs
    assert cluster.peers[2].replica.rebuilt_count == 1
    for index in (0, 1, 3):
        assert {event.status for event in events_of(cluster, index, gb.Divergence)} <= {
            "claimed",
            "unresolved",
        }
        assert cluster.peers[index].replica.rebuilt_count == 0
    cluster.run_until_converged(10)
    check_all(cluster)


@pytest.mark.parametrize("seed", range(3))
def test_a_rotten_trade_history_is_noticed_and_healed_under_load(seed: int) -> None:
    cluster = cluster_of(4, seed=seed, settled_s=1.2)
    rest_far_away(cluster)
    flow(cluster, 2)
    second = second_of(cluster)
    assert cluster.corrupt(1, "ONE", "trades")
    flow(cluster, 8)
    told = events_of(cluster, 1, gb.Divergence)
    assert [event.status for event in told] == ["claimed", "healed"]
    for event in told:
        assert (event.market, event.side, event.price_ticks) == ("ONE", None, None)
        assert second < event.second <= second + 2
    cluster.run_until_converged(10)
    check_all(cluster)


def test_nobody_reports_a_divergence_while_all_is_well() -> None:
    cluster = cluster_of(4, link=gb.sim.Link(loss=0.2, reordering=0.2))
    trade(cluster, 500, at=[0, 1, 2, 3])
    cluster.run_for(5)
    for index in range(4):
        assert events_of(cluster, index, gb.Divergence) == []
        assert cluster.peers[index].statistics().gossip.audits == 0


def test_a_liars_claim_costs_one_audit_and_is_reported_as_its_claim() -> None:
    cluster = cluster_of(4)
    trade(cluster, 100, at=[0, 1, 2, 3])
    liar = Claimer(cluster, 3, frontiers=False)
    liar.begin()
    trade(cluster, 1_500, at=[0, 1, 2], per_s=50)
    assert liar.lies > 0, "it was asked for details, and lied about them"
    liar.stop()
    for index in (0, 1, 2):
        told = events_of(cluster, index, gb.Divergence)
        assert [event.status for event in told] == ["claimed", "unresolved"]
        assert {event.peer_id for event in told} == {liar.peer.peer_id}
        assert cluster.peers[index].statistics().gossip.audits == 1
        assert cluster.peers[index].replica.rebuilt_count == 0
    cluster.run_until_converged(10)
    check_all(cluster)


def test_a_liar_does_not_keep_a_real_divergence_from_being_healed() -> None:
    cluster = cluster_of(5, settled_s=1.2)
    rest_far_away(cluster)
    Claimer(cluster, 4).begin()
    flow(cluster, 3)
    assert cluster.corrupt(2, "ONE")
    flow(cluster, 10)
    assert "healed" in [event.status for event in events_of(cluster, 2, gb.Divergence)]
    cluster.run_until_converged(10)
    check_all(cluster)
