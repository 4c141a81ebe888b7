"""How often what happened how big: counts of values between fixed bounds.

``Histogram`` is what runs along and costs a bisection per value; ``Distribution`` is the frozen
copy that statistics hand out. Values may be whole commands or seconds: whoever makes the histogram
chooses the bounds, and they never change, so that counts of two moments can be subtracted.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Distribution:
    """The values seen so far. ``counts[i]`` of them were at most ``bounds[i]`` and above the bound
    before it; the last count, one more than there are bounds, is of those above every bound."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float
    """The sum of all values."""
    largest: float
    latest: float

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    @property
    def mean(self) -> float:
        """Their mean; 0 where there was none."""
        return self.total / self.count if self.count else 0.0

    def cumulative(self) -> list[tuple[float, int]]:
        """(bound, how many values were at most that), ascending, without the unbounded rest."""
        reached, pairs = 0, []
        for bound, count in zip(self.bounds, self.counts, strict=False):
            reached += count
            pairs.append((bound, reached))
        return pairs


class Histogram:
    """Counts values as they come. ``bounds`` ascend; a value on a bound counts below it."""

    __slots__ = ("_bounds", "_counts", "_largest", "_latest", "_total")

    def __init__(self, bounds: Sequence[float]) -> None:
        assert bounds and list(bounds) == sorted(set(bounds)), f"bounds must ascend: {bounds}"
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._total: float = 0
        self._largest: float = 0
        self._latest: float = 0

    def add(self, value: float) -> None:
        """Count one value, at least 0."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value
        self._latest = value
        if value > self._largest:
            self._largest = value

    def distribution(self) -> Distribution:
        """A copy as it stands now."""
        return Distribution(
            self._bounds, tuple(self._counts), self._total, self._largest, self._latest
        )
