"""A peer's logs on disk: when they are written, and what happens when that fails.

``SqliteStore`` names a file. While a peer has it open, one worker thread at a time reads or writes
it (``log_file`` holds the format). A write is one transaction, on disk when ``write`` returns.

When a write fails, what matters is whether any of it may be there after a crash::

    error before COMMIT --> ROLLBACK -------------------------> rolled back: the seq is free
    error in COMMIT, or --> close, open, look --- not there --> rolled back
    in the ROLLBACK                  |    '------ there ------> synced again: it stands
                                     '----------- no answer --> undecided: look again later

An own entry whose outcome is undecided blocks its seq: it is never signed anew before the file has
been read.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from gossipbook.clocks import run_blocking
from gossipbook.errors import StoreError, WriteRolledBack, WriteUndecided
from gossipbook.genesis import Genesis
from gossipbook.gossip.interface import Address
from gossipbook.gossip.protocol import StoredState
from gossipbook.identity import PeerId
from gossipbook.log.entry import Entry
from gossipbook.log.fork import ForkProof
from gossipbook.storage.log_file import Loaded, LogFile

log = logging.getLogger("gossipbook.storage")


class SqliteStore:
    """The logs of one peer in an SQLite file, which is created where there is none."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"SqliteStore({str(self.path)!r})"

    @asynccontextmanager
    async def open(self, genesis: Genesis, peer_id: PeerId) -> AsyncIterator[OpenSqliteStore]:
        """Lock, check and read the file; keep it until the end of the block.

        Raises StoreError where it is in use, is another network's or peer's, was written by a newer
        version, or cannot be read.
        """
        opened = OpenSqliteStore(self.path, genesis, peer_id)
        try:
            await run_blocking(opened.open)
            yield opened
        finally:
            with trio.CancelScope(shield=True):
                await run_blocking(opened.close)


class OpenSqliteStore:
    """A ``SqliteStore`` in use."""

    def __init__(self, path: Path, genesis: Genesis, peer_id: PeerId) -> None:
        self._path = path
        self._genesis = genesis
        self._peer_id = peer_id
        self._file: LogFile | None = None
        self._limiter = trio.CapacityLimiter(1)
        self.stored = StoredState()

    def open(self) -> None:
        """Open the file and read it all. Blocks."""
        self._file = LogFile(self._path, self._genesis, self._peer_id)
        loaded = self._file.load()
        try:  # what a killed process wrote and did not sync can be read, too
            self._file.make_durable()
        except sqlite3.Error as error:
            raise StoreError(f"{self._path} cannot be synced: {error}; see to the disk") from error
        for what in loaded.damage:
            log.warning("%s: %s", self._path, what)
        self.stored = _state(loaded)

    def close(self) -> None:
        """Close and unlock the file. Blocks."""
        if self._file is not None:
            self._file.close()
            self._file = None

    async def write(
        self,
        entries: Sequence[Entry],
        proofs: Sequence[ForkProof],
        clock_high_water: int,
        peers: Sequence[tuple[PeerId, Address]] = (),
        signed: bool = False,
    ) -> None:
        """Keep these: on disk when it returns. Raises WriteRolledBack, WriteUndecided."""
        work = partial(self._write, entries, proofs, clock_high_water, peers, signed)
        await run_blocking(work, limiter=self._limiter)

    async def was_written(self, entries: Sequence[Entry]) -> bool:
        """After WriteUndecided: whether the write stands, and is on disk. Raises WriteUndecided."""
        return await run_blocking(partial(self._look, entries), limiter=self._limiter)

    def _write(
        self,
        entries: Sequence[Entry],
        proofs: Sequence[ForkProof],
        clock_high_water: int,
        peers: Sequence[tuple[PeerId, Address]],
        signed: bool,
    ) -> None:
        if self._file is None:
            self._reopen()
        assert self._file is not None
        try:
            self._file.append(entries, proofs, clock_high_water, peers, signed=signed)
        except sqlite3.Error as error:
            log.error("%s: a write failed: %s", self._path, error)
            reason = f"{self._path}: {error}; {_remedy(error)}"
            if not self._file.roll_back() and self._look(entries):
                return
            raise WriteRolledBack(reason) from error

    def _look(self, entries: Sequence[Entry]) -> bool:
        """Open the file anew and see whether the entries are in it."""
        self._reopen()
        assert self._file is not None
        if not entries:
            return False  # proofs and addresses are written again without harm
        try:
            found = self._file.holds(entries[-1])
            if found:
                self._file.make_durable()
        except sqlite3.Error as error:
            self.close()
            raise WriteUndecided(f"{self._path} cannot be read: {error}") from error
        return found

    def _reopen(self) -> None:
        """Read what is on disk, with nothing of what this process remembers."""
        self.close()
        try:
            if not self._path.exists():  # a new one would know nothing of the old one's seqs
                raise StoreError("it is gone; put it back")
            self._file = LogFile(self._path, self._genesis, self._peer_id)
            if damage := self._file.read().damage:  # this process may know more than what is left
                raise StoreError(f"{damage[0]}; start the peer anew, which mends it")
            self._file.load()
        except (StoreError, OSError, sqlite3.Error) as error:
            self.close()
            raise WriteUndecided(f"{self._path} cannot be opened again: {error}") from error


def _state(loaded: Loaded) -> StoredState:
    return StoredState(
        entries=tuple(loaded.entries),
        proofs=tuple(loaded.proofs),
        clock_high_water=loaded.clock_high_water,
        peers=tuple((peer_id, Address(address)) for peer_id, address in loaded.peers),
        own_length=loaded.own_length,
        own_suspect=loaded.own_suspect,
        damage=tuple(loaded.damage),
    )


def _remedy(error: sqlite3.Error) -> str:
    if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL:
        return "make room on the disk and submit again"
    return "see to the disk and submit again"
