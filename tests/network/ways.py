"""What the network does to bytes on their way from one peer to another, as a table to change.

    sender, receiver  ->  Way(delay, rate, held, swallowed, how long connections last)

All proxies of one test look into the same table. A connection between A and B is under two ways,
A to B and B to A, whoever dialled; so a partition may have one direction only. TCP repairs lost
segments, so there is no loss here. What a network that fails does to a TCP connection:

- it is slow, or becomes slow: ``delay_s``, ``bytes_per_s``
- it goes dead without a word and comes back, all bytes still under way: ``held``. That is what a
  cable pulled out and plugged in again does; the bytes are sent again.
- it goes dead for good, though neither end learns of it: ``swallowed``. That is a router on the
  way that was restarted and has forgotten the connection; of what comes later, TLS has no use.
- it breaks, and both ends learn of it: ``lasts_s`` here, ``FaultProxy.cut``
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

import trio


@dataclass(frozen=True, slots=True)
class Way:
    """How bytes travel in one direction."""

    delay_s: tuple[float, float] = (0.0, 0.0)
    """Least and most; each chunk draws its own, but none overtakes another."""
    bytes_per_s: float = inf
    held: bool = False
    """Nothing goes on; what comes in waits. New connections are accepted, and that is all."""
    swallowed: bool = False
    """What comes in is gone, the end of the stream, too."""
    lasts_s: tuple[float, float] | None = None
    """A connection made while this holds breaks after so long, least and most."""


CLEAR = Way()


class Ways:
    """The table. Peers that nobody said anything about are on the ``usual`` way."""

    def __init__(self, usual: Way = CLEAR) -> None:
        self.usual = usual
        self._ways: dict[tuple[str, str], Way] = {}
        self._changes = trio.lowlevel.ParkingLot()

    def between(self, sender: str, receiver: str) -> Way:
        return self._ways.get((sender, receiver), self.usual)

    def set(self, way: Way, sender: str, receiver: str) -> None:
        """From now on, for what comes in: what is delayed already stays so."""
        self._ways[sender, receiver] = way
        self._changes.unpark_all()

    def set_both(self, way: Way, left: Iterable[str], right: Iterable[str]) -> None:
        """In both directions between every one of ``left`` and every other one of ``right``."""
        right = list(right)
        for a in left:
            for b in right:
                if a != b:
                    self.set(way, a, b)
                    self.set(way, b, a)

    def heal(self) -> None:
        """The usual way everywhere. What was held goes on."""
        self._ways.clear()
        self._changes.unpark_all()

    async def until_open(self, sender: str, receiver: str) -> None:
        """Return once nothing is held there."""
        while self.between(sender, receiver).held:
            await self._changes.park()
