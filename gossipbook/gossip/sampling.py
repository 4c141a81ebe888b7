"""Chance in the protocol: random subsets and jitter, from one seeded generator.

Gossip needs chance to spread evenly and to keep peers from acting in step. All of it is drawn
here, from sequences whose order is fixed, so that the same seed makes the same choices.
"""

from collections.abc import Sequence
from typing import TypeVar

from gossipbook.randomness import SeededRandom

T = TypeVar("T")


def random_subset(items: Sequence[T], size: int, random: SeededRandom) -> list[T]:
    """Up to ``size`` of the items, each as likely as the others."""
    if len(items) <= size:
        return list(items)
    return random.sample(items, size)


def jittered(interval_us: int, random: SeededRandom) -> int:
    """An interval between 3/4 and 5/4 of the one given."""
    return interval_us * 3 // 4 + random.below(interval_us // 2 + 1)


def evenly_spread(low: int, high: int, count: int) -> tuple[int, ...]:
    """Up to ``count`` integers of [low, high), evenly spread, ``high - 1`` among them."""
    size = high - low
    if size <= count:
        return tuple(range(low, high))
    return tuple(low + size * (i + 1) // count - 1 for i in range(count))
