"""Simulated stores that fail for a while: what is on them is a whole log of each author, always."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from twins.scenario import cluster_of, limit
from twins.schedules import check_run
from twins.store_checks import StoresWithoutGaps

from gossipbook.randomness import SeededRandom
from gossipbook.sim.checkers import check_all
from gossipbook.sim.strategies import Schedule, ScheduleRun, fault_schedules, make_genesis

GENESIS = make_genesis(1)


def test_no_store_ever_has_a_gap_in_any_fault_schedule() -> None:
    """A failed write takes the later ones with it: nothing is written after what is missing."""
    bites: Counter[str] = Counter()

    @seed(20260101)
    @settings(
        max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(
        schedule=fault_schedules(min_peers=3, markets=1, min_orders=30, min_faults=3),
        cluster_seed=st.integers(0, 65_535),
    )
    def one_schedule(schedule: Schedule, cluster_seed: int) -> None:
        run = ScheduleRun(schedule, GENESIS, cluster_seed)
        run.cluster.on_step(StoresWithoutGaps())
        run.play()
        check_run(run)
        bites["failed"] += run.cluster.counters.writes_failed > 0
        bites["lost"] += run.cluster.counters.unpersisted_entries_lost > 0

    one_schedule()
    assert bites["failed"] >= 5 and bites["lost"] >= 5, bites


@pytest.mark.parametrize("number", range(20))
def test_no_store_has_a_gap_where_disks_fail_all_the_time(number: int) -> None:
    """Disks that are slow and full now and then, power that fails now and then."""
    random = SeededRandom(number)
    cluster = cluster_of(4, seed=number, store_delay=(0.001, 0.08))
    cluster.on_step(StoresWithoutGaps())
    for _ in range(60):
        for index in range(4):
            if cluster.peers[index].alive:
                cluster.submit_nowait(index, limit("buy", 90 + random.below(20)))
        index = random.below(4)
        if random.chance(30_000):
            cluster.set_store_failing(index, not cluster.peers[index].store.failing)
        if random.chance(12_000):
            if cluster.peers[index].alive:
                cluster.crash(index)
            else:
                cluster.restart(index)
        cluster.run_for(random.between(1, 200) / 1_000)
    for peer in cluster.peers:
        cluster.set_store_failing(peer.index, False)
        if not peer.alive:
            cluster.restart(peer.index)
    cluster.run_until_converged(30)
    assert cluster.counters.writes_failed > 20 and cluster.counters.crashes > 0
    check_all(cluster)
    for peer in cluster.peers:  # all at once: now there is only what the stores hold
        cluster.crash(peer.index)
    for peer in cluster.peers:
        cluster.restart(peer.index)
    cluster.run_until_converged(30)
    check_all(cluster)
