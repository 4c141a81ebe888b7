"""A store that lives as long as the process: for tests, demonstrations and peers without a past.

``MemoryStore`` outlives the peer that wrote to it, so that a peer can be crashed and started again
inside one process. ``copy`` is a backup, and opening a backup under the same key is the mistake
that forks a log; tests make it on purpose. ``failing`` is a full disk, ``write_s`` a slow one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio

from gossipbook.errors import StoreError, WriteRolledBack
from gossipbook.genesis import Genesis
from gossipbook.gossip.interface import Address
from gossipbook.gossip.protocol import StoredState
from gossipbook.identity import PeerId, short
from gossipbook.log.entry import Entry
from gossipbook.log.fork import ForkProof


class MemoryStore:
    """Entries, fork proofs and the clock's high-water mark, in memory.

    ``write_s``: seconds that each write takes.
    """

    def __init__(self, *, write_s: float = 0.0) -> None:
        self.write_s = write_s
        self.failing = False
        """While True, every write is rolled back, as on a full disk."""
        self._entries: list[Entry] = []
        self._proofs: list[ForkProof] = []
        self._clock_high_water = 0
        self._peers: dict[PeerId, Address] = {}
        self._owner: tuple[bytes, PeerId] | None = None
        self._open = False

    def __repr__(self) -> str:
        return f"<MemoryStore of {len(self._entries)} entries>"

    def __len__(self) -> int:
        return len(self._entries)

    def copy(self) -> MemoryStore:
        """A backup, as of now."""
        backup = MemoryStore(write_s=self.write_s)
        backup._entries = list(self._entries)
        backup._proofs = list(self._proofs)
        backup._clock_high_water = self._clock_high_water
        backup._peers = dict(self._peers)
        backup._owner = self._owner
        return backup

    @asynccontextmanager
    async def open(self, genesis: Genesis, peer_id: PeerId) -> AsyncIterator[OpenMemoryStore]:
        """Use it for one peer, until the end of the block. Raises StoreError."""
        if self._open:
            raise StoreError(f"{self!r} is in use by another peer; give each peer its own store")
        owner = genesis.network_id, peer_id
        if self._owner is not None and self._owner != owner:
            raise StoreError(_not_the_owner(self._owner, genesis, peer_id))
        self._owner, self._open = owner, True
        try:
            yield OpenMemoryStore(self)
        finally:
            self._open = False


class OpenMemoryStore:
    """A ``MemoryStore`` in use."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.stored = StoredState(
            tuple(store._entries),
            tuple(store._proofs),
            store._clock_high_water,
            tuple(store._peers.items()),
        )

    async def write(
        self,
        entries: Sequence[Entry],
        proofs: Sequence[ForkProof],
        clock_high_water: int,
        peers: Sequence[tuple[PeerId, Address]] = (),
        signed: bool = False,
    ) -> None:
        """Keep these, after the store's delay."""
        store = self._store
        await trio.sleep(store.write_s)
        if store.failing:
            raise WriteRolledBack("this memory store was told to fail; set failing = False")
        store._entries += entries
        store._proofs += proofs
        store._clock_high_water = max(store._clock_high_water, clock_high_water)
        store._peers.update(peers)

    async def was_written(self, entries: Sequence[Entry]) -> bool:
        """Whether these are kept; a memory store always knows."""
        await trio.lowlevel.checkpoint()
        return all(entry in self._store._entries for entry in entries)


def _not_the_owner(owner: tuple[bytes, PeerId], genesis: Genesis, peer_id: PeerId) -> str:
    network_id, owner_id = owner
    if network_id != genesis.network_id:
        return (
            f"the store holds logs of network {network_id.hex()[:16]}, not of {genesis.name!r} "
            f"({genesis.network_id.hex()[:16]}); open it with the genesis it was made with"
        )
    return (
        f"the store belongs to peer {short(owner_id)}, not to {short(peer_id)}; open it with its "
        "own key, and give a new key a new store"
    )
