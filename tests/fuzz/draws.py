"""Choices that come out of a fuzzer's bytes, through the interface of a seeded generator.

What asks a ``SeededRandom`` for chance can be steered by a fuzzer instead: each choice takes a byte
or two, in order, so that a changed byte changes one choice and the fuzzer sees what came of it.
Where the bytes end, every further choice is the first.
"""

from __future__ import annotations

from hashlib import shake_128

from gossipbook.randomness import SeededRandom

STRETCHED_ABOVE_BITS = 32
"""Wider draws (hashes, keys) are made from two bytes: nobody hits upon one by trying."""


class Draws(SeededRandom):
    """A stream of draws fixed by the bytes it is made from."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self.bits = self._bits

    def __bool__(self) -> bool:
        """Whether there is anything left to draw from."""
        return self._at < len(self._data)

    def take(self, count: int) -> bytes:
        """The next so many bytes; fewer at the end."""
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken

    def below(self, limit: int) -> int:
        if limit <= 1:
            return 0
        return int.from_bytes(self.take(((limit - 1).bit_length() + 7) // 8), "big") % limit

    def _bits(self, count: int) -> int:
        if count <= STRETCHED_ABOVE_BITS:
            return int.from_bytes(self.take((count + 7) // 8), "big") % (1 << count)
        size = (count + 7) // 8
        return int.from_bytes(shake_128(self.take(2)).digest(size), "big") % (1 << count)
