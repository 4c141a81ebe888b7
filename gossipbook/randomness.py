"""Chance that can be repeated: the same seed gives the same draws on every machine and version.

Everything is built on `random.Random.getrandbits`, the one generator call whose results do not
change between Python versions; no floats and no library functions of changing habit. It is for
simulation and for sampling peers, never for secrets. It does not know what the draws decide.
"""

from collections.abc import Callable, MutableSequence, Sequence
from hashlib import sha512
from random import Random
from typing import Any, Final, TypeVar

from gossipbook.errors import UsageError

__all__ = ["SeededRandom"]

T = TypeVar("T")


class SeededRandom:
    """A stream of draws fixed by its seed: an int, or bytes."""

    __slots__ = ("_material", "bits")

    bits: Callable[[int], int]
    """`bits(n)` is an integer of n random bits: 0 to 2^n - 1."""

    def __init__(self, seed: int | bytes) -> None:
        if type(seed) is int:
            material = b"int %d" % seed
        elif type(seed) is bytes:
            material = b"bytes " + seed
        else:
            raise UsageError(f"a seed is an int or bytes, not {type(seed).__name__}")
        self._material: Final = sha512(material).digest()
        self.bits = Random(int.from_bytes(self._material, "big")).getrandbits

    def below(self, limit: int) -> int:
        """A number from 0 to limit - 1, each as likely."""
        if limit < 1:
            raise UsageError(f"below({limit}) has nothing to choose from; give 1 or more")
        width = (limit - 1).bit_length()
        bits = self.bits
        while (value := bits(width)) >= limit:  # fewer than two draws on average
            pass
        return value

    def between(self, low: int, high: int) -> int:
        """A number from low to high, both included."""
        if low > high:
            raise UsageError(f"between({low}, {high}) is empty; give the lower bound first")
        return low + self.below(high - low + 1)

    def chance(self, parts_per_65536: int) -> bool:
        """True with this probability: never for 0, always for 65536. Takes one draw either way."""
        return self.bits(16) < parts_per_65536

    def choice(self, items: Sequence[T]) -> T:
        """One of the items."""
        if not items:
            raise UsageError("choice() of nothing; give at least one item")
        return items[self.below(len(items))]

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """`count` of the items, from different positions, in random order.

        All of them where there are fewer. Takes time in proportion to `count`.
        """
        size = len(items)
        moved: dict[int, int] = {}  # a shuffle of the positions, as far as it differs from them
        chosen: list[T] = []
        for last in range(size - 1, size - 1 - min(count, size), -1):
            position = self.below(last + 1)
            chosen.append(items[moved.get(position, position)])
            moved[position] = moved.get(last, last)
        return chosen

    def shuffle(self, items: MutableSequence[Any]) -> None:
        """Put the items into random order, in place (Fisher and Yates)."""
        for last in range(len(items) - 1, 0, -1):
            position = self.below(last + 1)
            items[last], items[position] = items[position], items[last]

    def child(self, label: str) -> "SeededRandom":
        """Another stream, fixed by this one's seed and the label, whatever was drawn before.

        So one part of a simulation can draw more without changing what the others see.
        """
        return SeededRandom(self._material + label.encode())
