"""Time: hybrid logical timestamps, and a clock corrected by the network's.

A timestamp is one integer, ``milliseconds << 16 | counter``. An author stamps each entry later
than everything it has applied, so an answer never sorts before its question. Three clocks meet
here, none of which this file reads by itself:

- the machine's wall clock, which arrives as an argument;
- the *local clock*: the wall clock plus a correction, the median of what the links' clocks
  show and of our own, at most 60 s either way;
- the *logical clock*: the highest timestamp written or applied, never going back.
"""

from collections.abc import Iterable
from typing import NamedTuple

COUNTER_BITS = 16
MAX_CORRECTION_US = 60_000_000
DEFAULT_TOLERANCE_MS = 250


class Instant(NamedTuple):
    """Now, as the driver sees it: timers use ``monotonic_us`` only, entries ``wall_us`` only."""

    monotonic_us: int
    wall_us: int


def hlc_at(milliseconds: int) -> int:
    """The first timestamp of a millisecond since 1970."""
    return milliseconds << COUNTER_BITS


def hlc_milliseconds(hlc: int) -> int:
    return hlc >> COUNTER_BITS


def hlc_second(hlc: int) -> int:
    """The whole second since 1970 in which a timestamp lies."""
    return (hlc >> COUNTER_BITS) // 1000


def median_offset_us(link_offsets_us: Iterable[int]) -> int:
    """The median over {0 for ourselves} and the links' offsets; of two middle ones, the mean."""
    offsets = sorted([0, *link_offsets_us])
    middle = len(offsets) // 2
    if len(offsets) % 2:
        return offsets[middle]
    return (offsets[middle - 1] + offsets[middle]) // 2


class NetworkClock:
    """The machine's clock, corrected by what the links' clocks show."""

    __slots__ = ("_median_us",)

    def __init__(self) -> None:
        self._median_us = 0

    def update(self, link_offsets_us: Iterable[int]) -> None:
        self._median_us = median_offset_us(link_offsets_us)

    @property
    def median_us(self) -> int:
        """How far the median peer is ahead of this machine, in microseconds, unbounded."""
        return self._median_us

    @property
    def correction_us(self) -> int:
        return max(-MAX_CORRECTION_US, min(MAX_CORRECTION_US, self._median_us))

    @property
    def out_of_bounds(self) -> bool:
        """Whether this machine's clock is further off than the correction may reach."""
        return self.correction_us != self._median_us

    def local_ms(self, wall_us: int) -> int:
        return (wall_us + self.correction_us) // 1000

    def median_ms(self, wall_us: int) -> int:
        """What the median peer's clock shows."""
        return (wall_us + self._median_us) // 1000


class LogicalClock:
    """The highest timestamp written or applied so far; persisted with each commit."""

    __slots__ = ("high_water",)

    def __init__(self, high_water: int = 0) -> None:
        self.high_water = high_water

    def observe(self, effective_hlc: int) -> None:
        if effective_hlc > self.high_water:
            self.high_water = effective_hlc

    def next(self, local_ms: int) -> int:
        """The timestamp for a new entry. Changes nothing: ``observe`` it once it is signed."""
        return max(hlc_at(local_ms), self.high_water + 1)
