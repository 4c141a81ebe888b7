"""What a store does for a peer: it keeps entries, and says honestly whether it has them.

A ``Store`` is what users hand to ``open_peer``. Opening it binds it to a network and a key, reads
what it holds, and gives an ``OpenStore``, to which one task writes, one transaction after another.
When ``write`` returns, everything in it survives a crash; when it raises ``WriteRolledBack``,
nothing of it is there. A third outcome does not exist: a store that cannot tell looks before it
answers. ``tests/storage/suite.py`` says the rest; every store passes it.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from gossipbook.genesis import Genesis
from gossipbook.gossip.protocol import StoredState
from gossipbook.identity import PeerId
from gossipbook.log.entry import Entry
from gossipbook.log.fork import ForkProof


class OpenStore(Protocol):
    """A store in use by one peer."""

    @property
    def stored(self) -> StoredState:
        """What the store held when it was opened."""

    async def write(
        self, entries: Sequence[Entry], proofs: Sequence[ForkProof], clock_high_water: int
    ) -> None:
        """Keep these, all or none; the clock's high-water mark only ever rises.

        Raises WriteRolledBack. Cancelled before anything was written, it has written nothing; later
        it cannot be cancelled.
        """


class Store(Protocol):
    """A place for one peer's logs. One peer at a time may have it open."""

    def open(self, genesis: Genesis, peer_id: PeerId) -> AbstractAsyncContextManager[OpenStore]:
        """Open it, until the end of the block. Raises StoreError."""
