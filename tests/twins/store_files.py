"""Store files for tests: filled commit by commit, copied as a crash leaves them, and damaged.

``FilledStore`` writes through a ``LogFile`` and keeps its own account of what the file must give
back after each commit. ``found_after`` copies the file and its write-ahead log while they are in
use: what a crash leaves. ``tamper`` changes rows behind the store's back, with values that no
store writes if need be; ``page_of`` says where in the file something is.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from twins.authors import GENESIS, TestAuthor, at

from gossipbook.identity import PeerId
from gossipbook.log.entry import Entry, encode_run, signed_header
from gossipbook.log.fork import ForkProof, prove_fork
from gossipbook.storage.log_file import Loaded, LogFile

OWNER = TestAuthor(1).author
PAGE_BYTES = 4096
MEMORY = Path("/dev/shm")


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """A folder for a test, where syncing costs nothing if the system has such a place: a store
    syncs some ten times from its opening to its closing."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield Path(folder)


@dataclass(frozen=True)
class Contents:
    """What a store holds, bit by bit, signatures included; the order of authors does not count."""

    logs: dict[PeerId, tuple[bytes, ...]]
    proofs: frozenset[bytes] = frozenset()
    peers: frozenset[tuple[PeerId, bytes]] = frozenset()
    clock_high_water: int = 0

    def after(
        self,
        entries: Iterable[Entry] = (),
        proofs: Iterable[ForkProof] = (),
        clock_high_water: int = 0,
        peers: Iterable[tuple[PeerId, bytes]] = (),
    ) -> Contents:
        """What it holds when these have been written, too."""
        logs = dict(self.logs)
        for entry in entries:
            logs[entry.author] = (*logs.get(entry.author, ()), encode_run([entry]))
        return replace(
            self,
            logs=logs,
            proofs=self.proofs | {proof.encode() for proof in proofs},
            peers=frozenset({**dict(self.peers), **dict(peers)}.items()),
            clock_high_water=max(self.clock_high_water, clock_high_water),
        )

    def length(self, author: PeerId = OWNER) -> int:
        return len(self.logs.get(author, ()))

    def is_part_of(self, whole: Contents) -> bool:
        """Whether each log is the beginning of the whole's, and nothing else is in it either."""
        return (
            all(log == whole.logs.get(author, ())[: len(log)] for author, log in self.logs.items())
            and self.proofs <= whole.proofs
            and self.peers <= whole.peers
        )


NOTHING = Contents({})


def contents_of(loaded: Loaded) -> Contents:
    """What was loaded; nothing comes twice, except where damage was found."""
    found = NOTHING.after(loaded.entries, loaded.proofs, loaded.clock_high_water, loaded.peers)
    if not loaded.damage:
        assert len(found.proofs) == len(loaded.proofs), f"a proof came twice: {loaded.proofs}"
        assert len(found.peers) == len(loaded.peers), f"a peer came twice: {loaded.peers}"
    return found


class FilledStore:
    """A file in use, and what it has to hold after each commit."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = LogFile(path, GENESIS, OWNER)
        self.file.load()
        self.states = [NOTHING]

    def commit(
        self,
        entries: Sequence[Entry] = (),
        proofs: Sequence[ForkProof] = (),
        clock_high_water: int = 0,
        peers: Sequence[tuple[PeerId, bytes]] = (),
    ) -> None:
        self.file.append(entries, proofs, clock_high_water, peers)
        self.states.append(self.states[-1].after(entries, proofs, clock_high_water, peers))

    def found_after(self, path: Path) -> Path:
        """A copy of what is on the disk now, the write-ahead log included."""
        for suffix in ("", "-wal"):
            if Path(f"{self.path}{suffix}").exists():
                shutil.copyfile(f"{self.path}{suffix}", f"{path}{suffix}")
        return path

    def close(self) -> Contents:
        """What the closed file holds."""
        self.file.close()
        return self.states[-1]


def written_by(number: int, count: int) -> list[Entry]:
    """The first entries of an author, a millisecond apart."""
    author = TestAuthor(number)
    return [author.write(hlc=at(step)) for step in range(count)]


def proof_against(number: int) -> ForkProof:
    """Evidence that an author signed two different entries first."""
    first, second = TestAuthor(number).write(hlc=at(1)), TestAuthor(number).write(hlc=at(2))
    proof = prove_fork(GENESIS.network_id, signed_header(first), signed_header(second))
    assert proof is not None
    return proof


def peer_at(number: int, address: str = "somewhere:7000") -> tuple[PeerId, bytes]:
    return TestAuthor(number).author, address.encode()


def filled(path: Path) -> Contents:
    """A closed store with a bit of everything: three authors, two proofs, two peers."""
    store = FilledStore(path)
    logs = [written_by(number, 5) for number in (1, 2, 3)]
    for step in range(5):
        store.commit([log[step] for log in logs], clock_high_water=at(step))
    proofs = [proof_against(8), proof_against(9)]
    store.commit((), proofs, at(9), [peer_at(6, "six:7000"), peer_at(7, "seven:7000")])
    return store.close()


def opened(path: Path) -> Loaded:
    """What the store at ``path`` gives back when it is opened; it is closed again."""
    with closing(LogFile(path, GENESIS, OWNER)) as file:
        return file.load()


def tamper(path: Path, statement: str, *values: object) -> None:
    """Change rows behind the store's back; what the tables demand of values does not hold."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        schema = connection.execute("SELECT sql, name FROM sqlite_master WHERE sql NOTNULL")
        tables = schema.fetchall()
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '')")
        connection.execute("PRAGMA writable_schema = RESET")
        changed = connection.execute(statement, values).rowcount
        assert changed > 0, f"{statement!r} changed nothing"
        connection.execute("PRAGMA writable_schema = ON")
        connection.executemany("UPDATE sqlite_master SET sql = ? WHERE name = ?", tables)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def overwrite(path: Path, offset: int, data: bytes) -> None:
    """Put bytes at a place in the file."""
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def page_of(path: Path, what: bytes) -> int:
    """The offset of the page that holds these bytes, which are nowhere else in the file."""
    content = path.read_bytes()
    assert content.count(what) == 1, f"{what!r} is {content.count(what)} times in {path}"
    return content.index(what) // PAGE_BYTES * PAGE_BYTES


def root_page(path: Path, table: str) -> int:
    """The offset of the first page of a table or index."""
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE name = ?"
        ((number,),) = connection.execute(query, (table,)).fetchall()
    return (int(number) - 1) * PAGE_BYTES


def hold_open(path: Path) -> None:
    """Have the store open until killed, and say so: for another process."""
    with closing(LogFile(path, GENESIS, OWNER)) as file:
        file.load()
        print("open", flush=True)
        input()
