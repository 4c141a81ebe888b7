"""Who listens to a peer, each at its own pace, none at the cost of the others.

A ``Subscription`` is what a reader iterates over: first what it was given at the start (the
snapshot), then everything published since, in order and without gaps. Its buffer is bounded. A
reader that falls behind by more is closed with ``SubscriberLagged`` after the items it has still
in its buffer: it learns that it missed something, and can subscribe again. Publishing never waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import trio

from gossipbook.errors import SubscriberLagged, UsageError

T = TypeVar("T")


class Subscription(Generic[T]):
    """What one reader still has to read: ``async for item in subscription``.

    Iteration ends when the peer is closed, and raises SubscriberLagged where the reader was too
    slow. Cancelling it loses nothing. One task reads.
    """

    def __init__(
        self, buffer: int, first: Iterable[T], wants: Callable[[T], bool] | None = None
    ) -> None:
        if type(buffer) is not int or buffer < 1:
            raise UsageError(f"buffer={buffer!r}; give the number of items to keep, 1 or more")
        self._first = deque(first)
        self._buffer = buffer
        self._wants = wants
        self._items: deque[T] = deque()
        self._ended = False
        self._lagged = False
        self._reader = trio.lowlevel.ParkingLot()

    def __aiter__(self) -> Subscription[T]:
        return self

    async def __anext__(self) -> T:
        await trio.lowlevel.checkpoint()
        while True:
            if self._first:
                return self._first.popleft()
            if self._items:
                return self._items.popleft()
            if self._lagged:
                raise SubscriberLagged(
                    f"this reader fell more than {self._buffer} items behind and missed some; read "
                    "faster, subscribe with a larger buffer, or subscribe again for a new snapshot"
                )
            if self._ended:
                raise StopAsyncIteration
            await self._reader.park()

    def publish(self, item: T) -> None:
        """Give the reader another item; never waits."""
        if self._lagged or (self._wants is not None and not self._wants(item)):
            return
        if len(self._items) >= self._buffer:
            self._lagged = True
        else:
            self._items.append(item)
        self._reader.unpark_all()

    def end(self) -> None:
        """Nothing more will come."""
        self._ended = True
        self._reader.unpark_all()


class Audience(Generic[T]):
    """The readers of one kind of item."""

    def __init__(self) -> None:
        self._readers: dict[Subscription[T], None] = {}

    def __len__(self) -> int:
        return len(self._readers)

    def add(self, reader: Subscription[T]) -> None:
        self._readers[reader] = None

    def remove(self, reader: Subscription[T]) -> None:
        self._readers.pop(reader, None)

    def publish(self, item: T) -> None:
        """Give an item to everyone; those that lag are left out from now on."""
        for reader in self._readers:
            reader.publish(item)

    def end(self) -> None:
        """Nothing more will come for anybody."""
        for reader in self._readers:
            reader.end()
