"""A user who reads a peer's net changes, and nothing else, and knows every event."""

from __future__ import annotations

from collections.abc import Sequence

from gossipbook.book.events import Event
from gossipbook.replica import Update


class Reader:
    """Folds updates into the events that stand."""

    def __init__(self) -> None:
        self._events: dict[str, dict[object, Event]] | None = None

    def begin(self, snapshot: Sequence[Update]) -> None:
        """Everything so far, as a subscription begins."""
        self._events = {
            update.market: {event.identity: event for event in update.events} for update in snapshot
        }

    def read(self, update: Update) -> None:
        assert self._events is not None, "news for who does not read"
        events = self._events[update.market]
        for event in update.undone:
            known = events.pop(event.identity, None)
            assert known == event, f"taken back and never told: {event}"
        for event in update.events:
            assert event.identity not in events, f"told twice: {event}"
            events[event.identity] = event

    def check(self, snapshot: Sequence[Update]) -> None:
        """What was told amounts to what stands."""
        if self._events is None:
            return
        for update in snapshot:
            stands = {event.identity: event for event in update.events}
            assert self._events[update.market] == stands, f"{update.market} was told wrong"
