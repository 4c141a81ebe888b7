"""What a store does for a peer: it keeps entries, and says honestly whether it has them.

A ``Store`` is what users hand to ``open_peer``. Opening it binds it to a network and a key, reads
what it holds, and gives an ``OpenStore``, to which one task writes, one transaction after another.
When ``write`` returns, everything in it survives a crash; when it raises ``WriteRolledBack``,
nothing of it is there. A store that cannot tell looks before it answers, and where it cannot even
look it says so with ``WriteUndecided``. ``tests/storage/suite.py`` says the rest; every store
passes it.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from gossipbook.genesis import Genesis
from gossipbook.gossip.interface import Address
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
        self,
        entries: Sequence[Entry],
        proofs: Sequence[ForkProof],
        clock_high_water: int,
        peers: Sequence[tuple[PeerId, Address]] = (),
        signed: bool = False,
    ) -> None:
        """Keep these, all or none; the clock's high-water mark only ever rises.

        Entries of one author come in the order of their seq, without a gap. ``signed``: one of
        them was signed just now, so others have confirmed how long our own log was. Raises
        WriteRolledBack, and WriteUndecided where nobody can tell for now: ``was_written`` before
        anything else then. Cancelled before anything was written, it has written nothing; later it
        cannot be cancelled.
        """

    async def was_written(self, entries: Sequence[Entry]) -> bool:
        """After WriteUndecided, for the entries of that write: whether it stands, for good.

        Raises WriteUndecided where that cannot be told yet.
        """


class Store(Protocol):
    """A place for one peer's logs. One peer at a time may have it open."""

    def open(self, genesis: Genesis, peer_id: PeerId) -> AbstractAsyncContextManager[OpenStore]:
        """Open it, until the end of the block. Raises StoreError."""
