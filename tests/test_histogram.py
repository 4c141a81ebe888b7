"""Counts between bounds, worked out by hand."""

from dataclasses import FrozenInstanceError

import pytest

from gossipbook.histogram import Histogram


def test_a_value_on_a_bound_counts_below_it() -> None:
    histogram = Histogram([1, 2, 5])
    for value in (0, 1, 2, 3, 5, 6, 100):
        histogram.add(value)
    seen = histogram.distribution()
    assert seen.counts == (2, 1, 2, 2)
    assert seen.cumulative() == [(1, 2), (2, 3), (5, 5)]
    assert (seen.count, seen.total, seen.largest, seen.latest) == (7, 117, 100, 100)
    assert seen.mean == pytest.approx(117 / 7)


def test_the_largest_stays_and_the_latest_changes() -> None:
    histogram = Histogram([1])
    histogram.add(9)
    histogram.add(0.5)
    seen = histogram.distribution()
    assert (seen.largest, seen.latest) == (9, 0.5)


def test_before_the_first_value_everything_is_zero() -> None:
    seen = Histogram([0.1, 1]).distribution()
    assert (seen.count, seen.total, seen.largest, seen.latest, seen.mean) == (0, 0, 0, 0, 0)
    assert seen.cumulative() == [(0.1, 0), (1, 0)]


def test_a_distribution_is_a_copy_that_nothing_changes() -> None:
    histogram = Histogram([1])
    before = histogram.distribution()
    histogram.add(1)
    assert before.count == 0
    with pytest.raises(FrozenInstanceError):
        before.total = 5  # type: ignore[misc]


@pytest.mark.parametrize("bounds", [[], [2, 1], [1, 1]])
def test_bounds_must_ascend(bounds: list[float]) -> None:
    with pytest.raises(AssertionError, match="must ascend"):
        Histogram(bounds)
