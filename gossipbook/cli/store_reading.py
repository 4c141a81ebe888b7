"""A peer's store, read by a program that is not the peer: nothing in it is changed.

The store is locked and copied, and the copy is read: opening an SQLite file can write to it, and
what is damaged must stay as it was found.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import time

from gossipbook.errors import StoreError
from gossipbook.genesis import Genesis
from gossipbook.identity import PeerId
from gossipbook.replica import Replica, ReplicaSettings
from gossipbook.storage.log_file import Loaded, LogFile, lock, owner_of, unlock


class StoreCopy:
    """What a store held when it was looked at."""

    def __init__(self, genesis: Genesis, peer_id: PeerId, loaded: Loaded) -> None:
        self.genesis = genesis
        self.peer_id = peer_id
        self.loaded = loaded

    def replay(self) -> Replica:
        """The replica that a peer has after it has opened the store."""
        loaded = self.loaded
        local_ms = max(int(time() * 1000), loaded.clock_high_water >> 16)
        replica = Replica(self.genesis, ReplicaSettings(undo_window=0))
        replica.add(loaded.entries, local_ms=local_ms)
        for proof in loaded.proofs:
            replica.add_proof(proof, local_ms=local_ms)
        replica.settle(now_us=0, local_ms=local_ms)
        return replica


@contextmanager
def read_store(path: str) -> Iterator[StoreCopy]:
    """Read a store. Raises StoreError where it is not there, in use, or not a store."""
    if not os.path.isfile(path):
        raise StoreError(f"there is no store at {path}")
    held = lock(Path(path))
    try:
        with TemporaryDirectory(prefix="gossipbook-") as folder:
            copy = Path(folder, "store")
            for suffix in ("", "-wal"):
                if os.path.exists(f"{path}{suffix}"):
                    shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")
            try:
                genesis, peer_id = owner_of(copy)
                file = LogFile(copy, genesis, peer_id)
            except StoreError as error:
                raise StoreError(str(error).replace(str(copy), path)) from error
            try:
                yield StoreCopy(genesis, peer_id, file.read())
            finally:
                file.close()
    finally:
        unlock(held)
