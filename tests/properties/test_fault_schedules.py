"""Two thousand fault schedules: whatever happened, the correct peers end up equal and right.

Right means: equal to the slow twin that reads the merged log once, with every receipt in it. Each
shard also shows that its faults bit; a fault that does nothing proves nothing.
"""

from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from twins.schedules import MUST_BITE, check_shape, play_and_check, what_bit

from gossipbook.sim.strategies import Schedule, fault_schedules, make_genesis

SHARDS = 8
SCHEDULES_PER_SHARD = 250

GENESIS = make_genesis(2)


@pytest.mark.parametrize("shard", range(SHARDS))
def test_any_fault_schedule_ends_in_equal_and_right_books(shard: int) -> None:
    bites: Counter[str] = Counter()

    @seed(shard)
    @settings(
        max_examples=SCHEDULES_PER_SHARD,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        schedule=fault_schedules(min_peers=3, markets=2, min_orders=30, min_faults=3),
        cluster_seed=st.integers(0, 65_535),
    )
    def one_schedule(schedule: Schedule, cluster_seed: int) -> None:
        check_shape(schedule)
        run = play_and_check(schedule, GENESIS, cluster_seed)
        bites.update(what_bit(run))

    one_schedule()
    assert bites["schedules"] >= SCHEDULES_PER_SHARD
    assert [what for what in MUST_BITE if not bites[what]] == [], f"did not bite, of {bites}"
