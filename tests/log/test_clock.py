"""Clocks: timestamps that only rise, and a correction by the median that is bounded."""

from hypothesis import given
from hypothesis import strategies as st

from gossipbook.log.clock import (
    MAX_CORRECTION_US,
    LogicalClock,
    NetworkClock,
    hlc_at,
    hlc_milliseconds,
    hlc_second,
    median_offset_us,
)


def test_a_timestamp_is_milliseconds_and_a_counter_of_sixteen_bits() -> None:
    assert hlc_at(1) == 65_536
    assert hlc_milliseconds(hlc_at(1_234) + 65_535) == 1_234
    assert hlc_second(hlc_at(1_999) + 65_535) == 1
    assert hlc_second(hlc_at(2_000)) == 2


def test_median_counts_ourselves_as_zero() -> None:
    assert median_offset_us([]) == 0
    assert median_offset_us([10]) == 5  # of 0 and 10, the mean
    assert median_offset_us([10, 30]) == 10
    assert median_offset_us([-7, 10, 30]) == 5
    assert median_offset_us([-50, -40, 3]) == -20
    assert median_offset_us([-5, -4]) == -4


@given(st.lists(st.integers(-(10**9), 10**9)))
def test_median_has_as_many_offsets_above_as_below(offsets: list[int]) -> None:
    median = median_offset_us(offsets)
    everyone = [0, *offsets]
    assert 2 * sum(one < median for one in everyone) <= len(everyone)
    assert 2 * sum(one > median + 1 for one in everyone) <= len(everyone)


@given(st.lists(st.integers(-1_000, 1_000), min_size=3), st.integers(0, 2**60))
def test_a_minority_of_liars_cannot_move_the_clock_beyond_what_honest_links_show(
    honest: list[int], lie: int
) -> None:
    liars = [lie] * (len(honest) // 2)
    assert -1_000 <= median_offset_us([*honest, *liars]) <= 1_000


def test_local_time_is_the_wall_clock_plus_the_median() -> None:
    clock = NetworkClock()
    assert clock.local_ms(5_000_999) == 5_000
    clock.update([2_000_000, 4_000_000])
    assert clock.local_ms(5_000_000) == 7_000 == clock.median_ms(5_000_000)
    assert not clock.out_of_bounds


def test_correction_stops_at_a_minute_and_says_so() -> None:
    clock = NetworkClock()
    for median_us, correction_us in (
        (MAX_CORRECTION_US, 60_000_000),
        (MAX_CORRECTION_US + 1, 60_000_000),
        (-MAX_CORRECTION_US - 1, -60_000_000),
    ):
        clock.update([median_us, median_us])
        assert clock.correction_us == correction_us
        assert clock.out_of_bounds == (median_us != correction_us)
        assert clock.median_us == median_us
    clock.update([])
    assert clock.correction_us == 0 and not clock.out_of_bounds


def test_logical_clock_never_goes_back_and_next_changes_nothing() -> None:
    clock = LogicalClock()
    assert clock.next(10) == hlc_at(10) == clock.next(10)
    clock.observe(clock.next(10))
    assert clock.next(10) == hlc_at(10) + 1
    assert clock.next(3) == hlc_at(10) + 1
    assert clock.next(11) == hlc_at(11)
    clock.observe(hlc_at(2))
    assert clock.high_water == hlc_at(10)


def test_counter_runs_over_into_the_milliseconds() -> None:
    clock = LogicalClock(hlc_at(10) + 65_535)
    assert clock.next(10) == hlc_at(11)
