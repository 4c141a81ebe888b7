"""One peer's logs in one SQLite file: what is written, what is checked when it is read.

This file decides the format and every statement that touches it; ``sqlite.py`` decides when, in
which thread, and what to do when a disk fails. Nothing here is asynchronous.

Written: write-ahead log, ``synchronous=FULL``, one transaction for everything in a call. Besides
the entries there is a row per author with the length and head of its log, and one row with the
clock and the length of our own log, so that a row that vanishes is missed. Each row carries a
checksum.

Read: an entry counts if its checksum holds (over header, payload and signature) and it connects to
the one before it. Its signature was checked before it was written and is not checked again
(``gossipbook audit`` does). Where a log of somebody else is damaged, it is cut before the damage,
and peers will send the rest again. Where our own is, we know at least how long it was; until peers
have given it back we sign nothing. Damaged files are set aside before anything in them is changed::

    entries   author, seq | hlc, kind, payload, signature | checksum
    authors   author      | length, head                  | checksum
    proofs    author      | fork proof                    | checksum
    peers     peer        | address                       | checksum
    meta      one row     | genesis, peer, clock, own length, suspect | checksum
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from gossipbook.encoding import Encodable, encode
from gossipbook.errors import InvalidEntry, RemoteError, StoreError
from gossipbook.genesis import Genesis
from gossipbook.identity import PeerId, short
from gossipbook.log.entry import NO_ENTRY, Entry, EntryId, restore_entry
from gossipbook.log.fork import ForkProof
from gossipbook.merkle import hash_bytes

try:
    import fcntl
except ImportError:  # Windows: SQLite's own lock has to do
    fcntl = None  # type: ignore[assignment]

APPLICATION_ID = 0x67627331
"""Marks the file as ours, in SQLite's header."""

SCHEMA_VERSION = 1
"""Raised with every change of the tables. A file of a lower version is upgraded when it is opened,
in one transaction, by the steps in ``UPGRADES``; one of a higher version is refused."""

UPGRADES: dict[int, str] = {}
"""By the version that it starts from: the statements that lead to the next version."""

SCHEMA = """
CREATE TABLE meta (
    one INTEGER PRIMARY KEY CHECK (one = 1), genesis BLOB NOT NULL, peer_id BLOB NOT NULL,
    clock_high_water INTEGER NOT NULL, own_length INTEGER NOT NULL, suspect INTEGER NOT NULL,
    checksum BLOB NOT NULL);
CREATE TABLE authors (
    number INTEGER PRIMARY KEY, author BLOB NOT NULL UNIQUE, length INTEGER NOT NULL,
    head BLOB NOT NULL, checksum BLOB NOT NULL);
CREATE TABLE entries (
    author INTEGER NOT NULL, seq INTEGER NOT NULL, hlc INTEGER NOT NULL, kind INTEGER NOT NULL,
    payload BLOB NOT NULL, signature BLOB NOT NULL, checksum BLOB NOT NULL,
    PRIMARY KEY (author, seq)) WITHOUT ROWID;
CREATE TABLE proofs (author BLOB PRIMARY KEY, proof BLOB NOT NULL, checksum BLOB NOT NULL);
CREATE TABLE peers (peer_id BLOB PRIMARY KEY, address BLOB NOT NULL, checksum BLOB NOT NULL);
"""

MAX_PEERS = 1_024
"""Addresses kept: those of the latest met."""

FORGET_PEERS = (
    "DELETE FROM peers WHERE rowid NOT IN (SELECT rowid FROM peers ORDER BY rowid DESC LIMIT ?)"
)

READ_ERRORS = (sqlite3.DatabaseError, UnicodeDecodeError)
"""SQLite quotes a damaged schema in its error, and Python takes that for UTF-8."""

CHECKSUM_BYTES = 16
WAL_VERSIONS = b"\x02\x02"
"""Bytes 18 and 19 of the header: written and read through a write-ahead log."""


@dataclass(slots=True)
class Loaded:
    """What a file holds, as far as it is sound; and what is not, in words."""

    entries: list[Entry] = field(default_factory=list)
    proofs: list[ForkProof] = field(default_factory=list)
    peers: list[tuple[PeerId, bytes]] = field(default_factory=list)
    clock_high_water: int = 0
    own_length: int = 0
    """How long our own log was when it was last written; longer than what is left, if damaged."""
    own_suspect: bool = False
    """Our own log may have been longer still, for the row that says so is gone or may be an old
    one: only peers can tell."""
    damage: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Author:
    number: int
    author: PeerId
    length: int = 0
    head: EntryId = NO_ENTRY


class LogFile:
    """An open file. One process has it open at a time."""

    def __init__(self, path: Path, genesis: Genesis, peer_id: PeerId) -> None:
        """Open or create it, and lock it. Raises StoreError."""
        self.path = path
        self._genesis = genesis
        self._peer_id = peer_id
        self._authors: dict[PeerId, _Author] = {}
        self._own_length = 0
        self._clock_high_water = 0
        self._suspect = False
        self._malformed: Exception | None = None
        self.committing = False
        """Whether an ``append`` failed in its commit: then only the file knows the outcome."""
        self._lock = lock(path)
        try:
            if not path.exists():
                self._create_file()
            self._versions = _versions(path)  # SQLite mends them when it opens the file
            self._connection = self._open()
            try:
                if self._malformed is None:
                    self._upgrade()
            except BaseException:
                self._connection.close()
                raise
        except sqlite3.Error as error:
            self._unlock()
            raise _cannot_open(path, error) from error
        except OSError as error:
            self._unlock()
            raise StoreError(f"the store {path} cannot be opened: {error}") from error
        except BaseException:
            self._unlock()
            raise

    def close(self) -> None:
        """Close and unlock it."""
        with suppress(sqlite3.Error):
            self._connection.close()
        self._unlock()

    # ---------------------------------------------------------------- reading

    def load(self) -> Loaded:
        """Everything that is sound. What is not is reported, set aside and cut off."""
        loaded = self.read()
        if loaded.damage:
            try:
                self._mend(loaded)
            except (OSError, sqlite3.Error) as error:
                raise StoreError(f"{self.path} is damaged and cannot be mended: {error}") from error
        self._own_length = loaded.own_length
        self._clock_high_water = loaded.clock_high_water
        self._suspect = loaded.own_suspect
        return loaded

    def read(self) -> Loaded:
        """Everything that is sound, and what is not in words; changes nothing in the file."""
        try:
            if self._malformed is not None:
                raise self._malformed
            return self._read_all()
        except READ_ERRORS as error:
            if not _is_damage(error):
                raise StoreError(f"{self.path} could not be read: {error}") from error
            return self._read_what_is_left(error)

    def holds(self, entry: Entry) -> bool:
        """Whether exactly this entry is in the file. Raises sqlite3.Error."""
        row = self._connection.execute(
            "SELECT entries.checksum FROM entries JOIN authors ON entries.author = number "
            "WHERE authors.author = ? AND seq = ?",
            (entry.author, entry.seq),
        ).fetchone()
        return row is not None and row[0] == _entry_checksum(entry)

    # ---------------------------------------------------------------- writing

    def append(
        self,
        entries: Sequence[Entry],
        proofs: Sequence[ForkProof],
        clock_high_water: int,
        peers: Sequence[tuple[PeerId, bytes]] = (),
        *,
        signed: bool = False,
    ) -> None:
        """Add these in one transaction. ``signed``: one of them was signed just now, by somebody
        whose head was confirmed. Raises sqlite3.Error; ``roll_back`` and look, then."""
        execute, many = self._connection.execute, self._connection.executemany
        execute("BEGIN IMMEDIATE")
        grown: dict[PeerId, _Author] = {}
        rows = []
        for entry in entries:
            author = grown.get(entry.author) or self._grown(entry.author, len(grown))
            grown[entry.author] = author
            assert entry.seq == author.length and entry.prev == author.head, (
                f"{entry!r} does not continue the log on disk, which has {author.length} entries"
            )
            author.length, author.head = entry.seq + 1, entry.id
            rows.append(_entry_row(author.number, entry))
        many("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        many(
            "INSERT OR REPLACE INTO authors VALUES (?, ?, ?, ?, ?)",
            map(_author_row, grown.values()),
        )
        many(
            "INSERT OR REPLACE INTO proofs VALUES (?, ?, ?)",
            [(proof.author, data := proof.encode(), _checksum_of(data)) for proof in proofs],
        )
        many(
            "INSERT OR REPLACE INTO peers VALUES (?, ?, ?)",
            [(peer_id, address, _checksum_of(peer_id, address)) for peer_id, address in peers],
        )
        if peers:
            execute(FORGET_PEERS, (MAX_PEERS,))
        own = grown.get(self._peer_id)
        own_length = self._own_length if own is None else max(self._own_length, own.length)
        clock = max(self._clock_high_water, clock_high_water)
        suspect = self._suspect and not signed  # who signs has been told how long its log is
        self._write_meta(clock, own_length, suspect=suspect)
        self.committing = True
        execute("COMMIT")
        self.committing = False
        self._authors.update(grown)
        self._own_length, self._clock_high_water, self._suspect = own_length, clock, suspect

    def roll_back(self) -> bool:
        """After an error: end the transaction. Whether it is certain that nothing was written."""
        if self.committing or not self._connection.in_transaction:
            return False
        try:
            self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            return False
        return True

    def make_durable(self) -> None:
        """Write everything through to the main file and sync it: after an error in a sync, what can
        be read need not be on the disk. Raises sqlite3.Error."""
        busy, _, _ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise sqlite3.OperationalError("the write-ahead log could not be checkpointed")

    # ---------------------------------------------------------------- opening

    def _open(self) -> sqlite3.Connection:
        """A connection; where SQLite finds the file malformed, one that reads what can be read."""
        try:
            return _connect(self.path, look_first=_check_kind)
        except READ_ERRORS as error:
            if not _is_damage(error) or _is_no_database(error):
                raise
            self._malformed = error
            return _connect(self.path, look_first=_check_kind, malformed=True)

    def _create_file(self) -> None:
        """A new store: it stands under its name when it is complete, or not at all."""
        fresh = Path(f"{self.path}.new")
        _remove(fresh)
        self._connection = _connect(fresh)
        self._create()
        self._put_in_place(fresh)

    def _put_in_place(self, fresh: Path) -> None:
        """Close a complete file and make it the store; nothing of an older one may be left that
        SQLite would take for its write-ahead log."""
        self.make_durable()  # closing would do it, but does not say when it fails
        self._connection.close()
        for suffix in ("-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        os.replace(fresh, self.path)
        _sync_folder(self.path.parent)
        self._versions = WAL_VERSIONS

    def _create(self) -> None:
        statements = f"BEGIN; {SCHEMA} PRAGMA application_id = {APPLICATION_ID};"
        self._connection.executescript(f"{statements} PRAGMA user_version = {SCHEMA_VERSION};")
        self._write_meta(0, 0, suspect=False)
        self._connection.execute("COMMIT")
        self.make_durable()  # from now on the main file says whose it is

    def _upgrade(self) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version == SCHEMA_VERSION:
            return
        steps = "".join(UPGRADES[step] for step in range(version, SCHEMA_VERSION))
        self._connection.executescript(
            f"BEGIN; {steps} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
        )

    # ---------------------------------------------------------------- reading, in detail

    def _read_all(self) -> Loaded:
        loaded = Loaded(damage=self._misbuilt())
        self._read_meta(loaded)
        rows = self._connection.execute("SELECT * FROM authors ORDER BY number")
        written = self._read_authors(rows, loaded)
        self._authors.clear()
        cut: dict[int, None] = {}
        for row in self._connection.execute("SELECT * FROM entries ORDER BY author, seq"):
            self._read_entry(row, written, cut, loaded)
        for author in written.values():
            kept = self._authors.get(author.author)
            length, head = (kept.length, kept.head) if kept else (0, NO_ENTRY)
            if (length, head) != (author.length, author.head) and author.number not in cut:
                loaded.damage.append(
                    f"log of {short(author.author)}: {length} entries are left of {author.length}"
                )
        self._read_proofs(loaded)
        self._read_peers(loaded)
        own = self._authors.get(self._peer_id)
        loaded.own_length = max(loaded.own_length, own.length if own else 0)
        return loaded

    def _misbuilt(self) -> list[str]:
        """What is wrong with the file around the rows: a cell that vanished from a page, an index
        that leads nowhere, a header that makes it read-only. Takes a fiftieth of reading it all."""
        if self._versions != WAL_VERSIONS:
            return [f"the header says format {self._versions.hex()}, not {WAL_VERSIONS.hex()}"]
        found = self._connection.execute("SELECT name, sql FROM sqlite_master").fetchall()
        altered = sorted(set(_tables()) - set(found))
        if altered:
            return [f"the definition of table {altered[0][0].decode()} is damaged"]
        ((found,),) = self._connection.execute("PRAGMA integrity_check(1)").fetchall()
        return [] if found == b"ok" else [f"the file is misbuilt: {found.decode(errors='replace')}"]

    def _read_meta(self, loaded: Loaded) -> None:
        rows = self._connection.execute("SELECT * FROM meta").fetchall()
        if len(rows) != 1 or not _is_sound(*rows[0][1:]):
            loaded.damage.append("the row that names network, peer and clock is damaged")
            loaded.own_suspect = True
            return
        _, genesis, peer_id, loaded.clock_high_water, loaded.own_length, suspect, _ = rows[0]
        loaded.own_suspect |= bool(suspect)
        check_owner(self.path, self._genesis, self._peer_id, genesis, peer_id)

    def _read_authors(self, rows: Iterable[Sequence[Any]], loaded: Loaded) -> dict[int, _Author]:
        """Whose logs were written, by number, and how long they were."""
        written = {}
        for number, author, length, head, checksum in rows:
            if not _is_sound(number, author, length, head, checksum):
                loaded.damage.append(f"author {number}: its row is damaged, its log is dropped")
                continue
            written[number] = _Author(number, PeerId(author), length, EntryId(head))
            if author == self._peer_id:
                loaded.own_length = max(loaded.own_length, length)
        return written

    def _read_entry(
        self,
        row: Sequence[Any],
        written: dict[int, _Author],
        cut: dict[int, None],
        loaded: Loaded,
    ) -> None:
        number, seq, hlc, kind, payload, signature, checksum = row
        if number in cut:
            return
        if number not in written:
            loaded.damage.append(f"there are entries of an author {number!r}, and no such author")
            cut[number] = None
            return
        author = written[number].author
        log = self._authors.setdefault(author, _Author(number, author))
        problem = ""
        if seq != log.length:
            problem = f"entry {log.length} is missing before entry {seq!r}"
        else:
            try:
                entry = restore_entry(
                    self._genesis.network_id, author, seq, log.head, hlc, kind, payload, signature
                )
                if checksum != _entry_checksum(entry):
                    problem = f"entry {seq}: its checksum differs"
            except (RemoteError, TypeError, ValueError) as error:
                problem = f"entry {seq}: {error}"
        if problem:
            loaded.damage.append(f"log of {short(author)}: {problem}")
            cut[number] = None
            return
        log.length, log.head = seq + 1, entry.id
        loaded.entries.append(entry)

    def _read_proofs(self, loaded: Loaded) -> None:
        for author, data, checksum in self._connection.execute("SELECT * FROM proofs"):
            try:
                if not _is_sound(data, checksum):
                    raise InvalidEntry("its checksum differs")
                loaded.proofs.append(ForkProof.decode(data, self._genesis.network_id))
            except (RemoteError, TypeError) as error:
                name = short(author) if isinstance(author, bytes) else repr(author)
                loaded.damage.append(f"fork proof of {name}: {error}")

    def _read_peers(self, loaded: Loaded) -> None:
        for peer_id, address, checksum in self._connection.execute("SELECT * FROM peers"):
            if _is_sound(peer_id, address, checksum):
                loaded.peers.append((PeerId(peer_id), address))
            else:
                loaded.damage.append("the address of a peer is damaged")

    # ---------------------------------------------------------------- damage

    def _read_what_is_left(self, error: Exception) -> Loaded:
        """SQLite cannot walk through the file: take what can be read from both ends."""
        loaded = Loaded(damage=[f"the file is malformed: {error}"])
        try:
            self._read_meta(loaded)
        except READ_ERRORS:
            loaded.own_suspect = True
        rows = _readable_rows(self._connection, "authors", "number")
        written = self._read_authors(rows, loaded)
        self._authors.clear()
        cut: dict[int, None] = {}
        for row in _readable_rows(self._connection, "entries", "author, seq"):
            self._read_entry(row, written, cut, loaded)
        for read in (self._read_proofs, self._read_peers):
            with suppress(*READ_ERRORS):
                read(loaded)
        return loaded

    def _mend(self, loaded: Loaded) -> None:
        """Put a new file with what is sound in the place of the damaged one, which is kept.

        A crash on the way leaves the damaged file where it is, or the new one complete.
        """
        kept = self._set_aside()
        loaded.damage.append(f"the file was kept as it was found: {kept}")
        self._connection.close()
        mended = Path(f"{self.path}.mended")
        try:
            _remove(mended)
            self._connection = _connect(mended)
            self._create()
            self._rewrite(loaded)
            self._put_in_place(mended)
        except BaseException:  # the damaged file is where it was: the next start tries again
            self._connection.close()
            if mended.exists():
                _remove(mended)
                _remove(kept)
            raise
        self._connection = _connect(self.path)
        self._malformed = None

    def _set_aside(self) -> Path:
        """A copy of the file as it was found, beside the one that is mended."""
        number = 1
        while (copy := Path(f"{self.path}.damaged-{number}")).exists():
            number += 1
        try:
            for suffix in ("", "-wal"):
                if os.path.exists(f"{self.path}{suffix}"):
                    shutil.copyfile(f"{self.path}{suffix}", f"{copy}{suffix}")
        except OSError:
            _remove(copy)  # half a copy is none
            raise
        return copy

    def _rewrite(self, loaded: Loaded) -> None:
        """Fill the empty tables with what was loaded, in one transaction."""
        self._connection.execute("BEGIN IMMEDIATE")
        rows = [_entry_row(self._authors[entry.author].number, entry) for entry in loaded.entries]
        many = self._connection.executemany
        many("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        many("INSERT INTO authors VALUES (?, ?, ?, ?, ?)", map(_author_row, self._authors.values()))
        proofs = [(one.author, data := one.encode(), _checksum_of(data)) for one in loaded.proofs]
        many("INSERT OR REPLACE INTO proofs VALUES (?, ?, ?)", proofs)
        peers = [(peer, address, _checksum_of(peer, address)) for peer, address in loaded.peers]
        many("INSERT OR REPLACE INTO peers VALUES (?, ?, ?)", peers)
        self._write_meta(loaded.clock_high_water, loaded.own_length, suspect=loaded.own_suspect)
        self._connection.execute("COMMIT")

    # ---------------------------------------------------------------- helpers

    def _grown(self, author: PeerId, new_count: int) -> _Author:
        """A copy of what the file knows of an author, to write to while nothing is committed."""
        known = self._authors.get(author)
        if known is None:
            numbers = [one.number for one in self._authors.values()]
            return _Author(max(numbers, default=0) + 1 + new_count, author)
        return _Author(known.number, author, known.length, known.head)

    def _write_meta(self, clock: int, own_length: int, *, suspect: bool) -> None:
        fields = (self._genesis.encode(), self._peer_id, clock, own_length, int(suspect))
        self._connection.execute(
            "INSERT OR REPLACE INTO meta VALUES (1, ?, ?, ?, ?, ?, ?)",
            (*fields, _checksum_of(*fields)),
        )

    def _unlock(self) -> None:
        unlock(self._lock)
        self._lock = None


def _connect(
    path: Path,
    *,
    look_first: Callable[[sqlite3.Connection, Path], None] | None = None,
    malformed: bool = False,
) -> sqlite3.Connection:
    """A connection that has the file to itself. ``look_first`` may refuse it before anything in it
    is changed. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        connection.text_factory = bytes  # a damaged type byte must not become a decoding error
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        if malformed:  # then SQLite puts up with a broken schema and with pages that are missing
            connection.execute("PRAGMA writable_schema = ON")
        if look_first is not None:
            look_first(connection, path)
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != b"wal":
            raise sqlite3.OperationalError("no write-ahead log can be used here")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA trusted_schema = OFF")
    except BaseException:
        connection.close()
        raise
    return connection


def _check_kind(connection: sqlite3.Connection, path: Path) -> None:
    """Raises StoreError where it is not ours, or of another format. Changes nothing."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        if path.stat().st_size < 512:
            raise StoreError(
                f"{path} is empty. If it was this peer's store, something cut it off: move it "
                "away and start without; peers give back what they hold"
            )
        raise StoreError(f"{path} is an SQLite database of another program; name another file")
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{path} was written by a newer gossipbook (format {version}, this one knows "
            f"{SCHEMA_VERSION}); open it with that version"
        )
    if version < 1:
        raise StoreError(f"{path} says it is of format {version}, which there never was")


def lock(path: Path) -> int | None:
    """Keep other processes out, also those that only copy the file. Raises StoreError."""
    if fcntl is None:
        return None
    try:
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"the store {path} cannot be opened: {error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise StoreError(
            f"the store {path} is in use by another peer (process {holder}); stop that one first, "
            "or give this peer a store and a key of its own"
        ) from None
    with suppress(OSError):  # only to tell others who it is
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def unlock(held: int | None) -> None:
    """Let others in again."""
    if held is not None:
        os.close(held)


def _versions(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(20)[18:]


def _sync_folder(folder: Path) -> None:
    """A rename is durable once its folder is; Windows has no such thing."""
    if fcntl is not None:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def owner_of(path: Path) -> tuple[Genesis, PeerId]:
    """Whose store a file is, as its meta row says. Raises StoreError."""
    try:
        connection = _connect(path)
        try:
            rows = connection.execute("SELECT * FROM meta").fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise _cannot_open(path, error) from error
    if len(rows) != 1 or not _is_sound(*rows[0][1:]):
        raise StoreError(f"{path} does not say any more whose it is: that row is damaged")
    return Genesis.decode(rows[0][1]), PeerId(rows[0][2])


def check_owner(
    path: Path, genesis: Genesis, peer_id: PeerId, stored_genesis: bytes, stored_id: bytes
) -> None:
    """Raises StoreError where a file belongs to another network or peer."""
    if stored_genesis != genesis.encode():
        try:
            name = repr(Genesis.decode(stored_genesis).name)
        except (RemoteError, StoreError, ValueError):
            name = "another network"
        raise StoreError(
            f"the store {path} holds the logs of {name}, not of {genesis.name!r} as this genesis "
            "describes it; open it with the genesis it was made with, or name another file"
        )
    if stored_id != peer_id:
        raise StoreError(
            f"the store {path} belongs to peer {short(stored_id)}, not to {short(peer_id)}; open "
            "it with its own key, and give a new key a new store"
        )


def _cannot_open(path: Path, error: Exception) -> StoreError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreError(f"the store {path} is in use by another process; stop that one first")
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return StoreError(
            f"{path} is no store of gossipbook, or its very beginning is damaged ({error}). If it "
            "was this peer's store, move it away (keep it) and start without: peers give back what "
            "they hold, and nothing is signed before they have"
        )
    return StoreError(f"the store {path} cannot be opened: {error}")


@cache
def _tables() -> list[tuple[bytes, bytes]]:
    """The tables as they are made: name and definition."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.text_factory = bytes
        connection.executescript(SCHEMA)
        query = "SELECT name, sql FROM sqlite_master WHERE type = 'table'"
        return connection.execute(query).fetchall()


def _is_no_database(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_NOTADB


def _is_damage(error: Exception) -> bool:
    if isinstance(error, UnicodeDecodeError):
        return True
    code = getattr(error, "sqlite_errorcode", 0)
    return code == sqlite3.SQLITE_IOERR_SHORT_READ or code & 0xFF in (
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_FORMAT,
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_ERROR,  # a table or column that is gone
    )


def _readable_rows(connection: sqlite3.Connection, table: str, key: str) -> list[Sequence[Any]]:
    """The rows of a malformed table from its beginning to the damage, and from its end back."""
    rows: dict[Any, Sequence[Any]] = {}
    width = key.count(",") + 1
    for direction in ("ASC", "DESC"):
        order = ", ".join(f"{column.strip()} {direction}" for column in key.split(","))
        with suppress(*READ_ERRORS):
            for row in connection.execute(f"SELECT * FROM {table} ORDER BY {order}"):
                rows[tuple(map(repr, row[:width]))] = row
    return sorted(
        rows.values(), key=lambda row: [(repr(type(value)), value) for value in row[:width]]
    )


def _entry_row(number: int, entry: Entry) -> tuple[Any, ...]:
    return (
        number,
        entry.seq,
        entry.hlc,
        entry.kind,
        entry.payload,
        entry.signature,
        _entry_checksum(entry),
    )


def _author_row(author: _Author) -> tuple[Any, ...]:
    fields = author.number, author.author, author.length, author.head
    return *fields, _checksum_of(*fields)


def _entry_checksum(entry: Entry) -> bytes | None:
    """Over header, payload and signature: the id is a hash over the first two."""
    return _checksum_of(entry.id, entry.signature)


def _is_sound(*row: object) -> bool:
    """Whether the last value is the checksum of those before it."""
    checksum = _checksum_of(*row[:-1])
    return checksum is not None and row[-1] == checksum


def _checksum_of(*fields: object) -> bytes | None:
    """Over the values of a row; None where damage has made them values that no row has."""
    plain: list[Encodable] = []
    for one in fields:
        if isinstance(one, bytes) or (isinstance(one, int) and 0 <= one < 1 << 63):
            plain.append(one)
        else:
            return None
    return hash_bytes(b"gossipbook store", encode(plain))[:CHECKSUM_BYTES]
