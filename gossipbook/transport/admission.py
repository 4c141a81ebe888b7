"""How many strangers may be at the door, and from where.

A connection is a stranger's until both sides have proven who they are. Strangers cost memory and a
TLS handshake each, so there are caps: on how many there are in total and from one source, and on
how fast one source may come again. Where the door is full, the stranger that has stood there
longest, of the source that has most, makes room: an honest handshake takes milliseconds, so those
who stand long are those who do not mean it, and holding all places open does not keep others out.

Links that we dial ourselves never stand at this door. Pure: time comes as an argument.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

MOST_STRANGERS = 128
MOST_STRANGERS_PER_SOURCE = 32
ARRIVALS_PER_S = 10
"""From one source, on average. A handshake costs about 1 ms of processor time, and a stranger in
an open network may send one large frame before it is known for what it is: some 50 ms."""
ARRIVALS_AT_ONCE = 60
ARRIVALS_PER_S_IN_ALL = 100
ARRIVALS_AT_ONCE_IN_ALL = 300
"""From all sources together: whoever has very many addresses gets a tenth of a processor."""
PRICE_OF_AN_OFFENCE = 10
"""Arrivals that a source has less for each link on which a rule was broken."""
MOST_SOURCES = 4_096
"""Sources whose arrivals are remembered; beyond, the one that came longest ago is forgotten."""


@dataclass(eq=False, slots=True)
class Stranger:
    """One connection at the door. ``turn_away`` ends it."""

    source: str
    turn_away: Callable[[], None]


class Door:
    """The strangers that are being looked at."""

    def __init__(self) -> None:
        self.turned_away_count = 0
        self._strangers: dict[str, dict[Stranger, None]] = {}
        self._count = 0
        self._arrivals: dict[str, tuple[float, float]] = {}  # source -> (tokens, at)
        self._tokens_in_all: tuple[float, float] | None = None

    def __len__(self) -> int:
        return self._count

    def may_arrive(self, source: str, now_s: float) -> bool:
        """Whether the source may have another connection looked at; counts it if so."""
        tokens = self._tokens(source, now_s)
        in_all, at_s = self._tokens_in_all or (ARRIVALS_AT_ONCE_IN_ALL, now_s)
        in_all = min(ARRIVALS_AT_ONCE_IN_ALL, in_all + (now_s - at_s) * ARRIVALS_PER_S_IN_ALL)
        may = tokens >= 1 and in_all >= 1
        self._arrivals[source] = (tokens - may, now_s)
        self._tokens_in_all = (in_all - may, now_s)
        while len(self._arrivals) > MOST_SOURCES:
            del self._arrivals[next(iter(self._arrivals))]
        self.turned_away_count += not may
        return may

    def blame(self, source: str, now_s: float) -> None:
        """A rule was broken on a link from there."""
        tokens = self._tokens(source, now_s) - PRICE_OF_AN_OFFENCE
        self._arrivals[source] = (max(tokens, -ARRIVALS_AT_ONCE), now_s)

    def _tokens(self, source: str, now_s: float) -> float:
        """How many more may come at once; the source goes to the end of the list."""
        tokens, at_s = self._arrivals.pop(source, (ARRIVALS_AT_ONCE, now_s))
        return min(ARRIVALS_AT_ONCE, tokens + (now_s - at_s) * ARRIVALS_PER_S)

    def enter(self, source: str, turn_away: Callable[[], None]) -> Stranger:
        """Another stranger; whoever has to make room for it is turned away."""
        stranger = Stranger(source, turn_away)
        if len(self._strangers.get(source, ())) >= MOST_STRANGERS_PER_SOURCE:
            self._make_room(source)
        elif self._count >= MOST_STRANGERS:
            self._make_room(max(self._strangers, key=lambda one: len(self._strangers[one])))
        self._strangers.setdefault(source, {})[stranger] = None
        self._count += 1
        return stranger

    def leave(self, stranger: Stranger) -> None:
        """It is no stranger any more, or gone. Calling it again does nothing."""
        standing = self._strangers.get(stranger.source)
        if standing is not None and stranger in standing:
            del standing[stranger]
            self._count -= 1
            if not standing:
                del self._strangers[stranger.source]

    def _make_room(self, source: str) -> None:
        stranger = next(iter(self._strangers[source]))
        self.leave(stranger)
        self.turned_away_count += 1
        stranger.turn_away()
