"""Chance in gossip: subsets without bias, jitter within its bounds, the same from the same seed."""

from hypothesis import given
from hypothesis import strategies as st

from gossipbook.gossip.sampling import evenly_spread, jittered, random_subset
from gossipbook.randomness import SeededRandom


@given(st.lists(st.integers(), unique=True), st.integers(0, 12), st.integers(0, 99))
def test_a_subset_has_the_size_asked_for_and_nothing_twice(
    items: list[int], size: int, seed: int
) -> None:
    chosen = random_subset(items, size, SeededRandom(seed))
    assert len(chosen) == len(set(chosen)) == min(size, len(items))
    assert set(chosen) <= set(items)
    assert chosen == random_subset(items, size, SeededRandom(seed))


def test_each_item_is_as_likely_as_the_others() -> None:
    random = SeededRandom(1)
    counts = [0] * 10
    for _ in range(5_000):
        for item in random_subset(range(10), 3, random):
            counts[item] += 1
    assert all(1_350 < count < 1_650 for count in counts)  # 1,500 each, four deviations


@given(st.integers(4, 10**9), st.integers(0, 99))
def test_jitter_stays_within_a_quarter(interval_us: int, seed: int) -> None:
    value = jittered(interval_us, SeededRandom(seed))
    assert interval_us * 3 // 4 <= value <= -(-interval_us * 5 // 4)


def test_jitter_reaches_both_ends() -> None:
    random = SeededRandom(2)
    values = {jittered(8, random) for _ in range(500)}
    assert values == {6, 7, 8, 9, 10}


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 20))
def test_spread_integers_rise_to_the_last_with_gaps_of_equal_size(
    low: int, size: int, count: int
) -> None:
    chosen = evenly_spread(low, low + size, count)
    assert len(chosen) == min(size, count)
    if chosen:
        assert chosen[-1] == low + size - 1 and chosen[0] >= low
        gaps = [b - a for a, b in zip((low - 1, *chosen), chosen, strict=False)]
        assert min(gaps) >= 1 and max(gaps) - min(gaps) <= 1


def test_spread_by_hand() -> None:
    assert evenly_spread(5, 5, 4) == ()
    assert evenly_spread(5, 8, 4) == (5, 6, 7)
    assert evenly_spread(0, 16, 4) == (3, 7, 11, 15)
