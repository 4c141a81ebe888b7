"""A tape: what a network said, in the order in which it counts, as one file.

A tape holds the genesis and every counting entry in merge order, signatures included, and at its
end what whoever recorded it made of them. So anybody can read it from front to back, check every
signature and chain, and come to the same trades and root (``gossipbook replay TAPE``). It is read
one frame at a time; a tape of any length fits::

    "gossipbook tape 1\\n"  frame(genesis)  frame(run) frame(run) ...  frame([entries, book root])

    frame(x) = length of x in 4 bytes, big end first, and x
    run      = consecutive entries of one author, as on the wire
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import BinaryIO, NamedTuple

from gossipbook.encoding import decode, encode
from gossipbook.errors import RemoteError, StoreError, UsageError
from gossipbook.genesis import Genesis
from gossipbook.identity import PeerId, short
from gossipbook.log.entry import (
    MAX_RUN_BYTES,
    NO_ENTRY,
    Entry,
    EntryId,
    MergeKey,
    decode_run,
    encode_run,
)

MAGIC = b"gossipbook tape 1\n"
MAX_GENESIS_BYTES = 16 * 1024 * 1024
RUN_ENTRIES = 64


class TapeEnd(NamedTuple):
    """What the recorder counted, and the root of all books after the last entry."""

    entries: int
    book_root: bytes


def is_tape(file: BinaryIO) -> bool:
    """Whether the file begins as a tape does; leaves it at its beginning."""
    begin = file.read(len(MAGIC))
    file.seek(0)
    return begin == MAGIC


def write_tape(
    file: BinaryIO, genesis: Genesis, entries: Iterable[Entry], *, book_root: bytes
) -> int:
    """Write entries that come in merge order; how many they were."""
    file.write(MAGIC)
    _write_frame(file, genesis.encode())
    count = 0
    for _, group in groupby(entries, key=lambda entry: entry.author):
        for run in _runs(group):
            _write_frame(file, encode_run(run))
            count += len(run)
    _write_frame(file, encode([count, book_root]))
    return count


class TapeReader:
    """A tape being read. ``entries()`` yields them once; ``end`` is there when it is through.

    Everything but signatures is checked: form, chains, and that the order is the merge order.
    Raises StoreError, naming the place.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        if file.read(len(MAGIC)) != MAGIC:
            raise StoreError("this is not a tape: it does not begin with 'gossipbook tape 1'")
        try:
            self.genesis = Genesis.decode(self._frame(MAX_GENESIS_BYTES))
        except (UsageError, RemoteError) as error:
            raise StoreError(f"the tape's genesis cannot be read: {error}") from error
        self.end: TapeEnd | None = None
        self._heads: dict[PeerId, tuple[int, EntryId, int]] = {}  # length, head, effective hlc
        self._latest: MergeKey = (0, PeerId(b""), 0)
        self._count = 0

    def entries(self) -> Iterator[Entry]:
        """The entries in merge order, with their merge keys."""
        while True:
            at = self._file.tell()
            frame = self._frame(MAX_RUN_BYTES)
            try:
                fields = decode(frame, max_size=MAX_RUN_BYTES)
                if isinstance(fields, list) and len(fields) == 2:
                    self._finish(fields)
                    return
                run = decode_run(frame, self.genesis.network_id)
            except RemoteError as error:
                raise StoreError(f"the tape is damaged at byte {at}: {error}") from error
            for entry in run:
                self._connect(entry, at)
                yield entry

    def _connect(self, entry: Entry, at: int) -> None:
        length, head, latest_hlc = self._heads.get(entry.author, (0, NO_ENTRY, -1))
        effective = max(entry.hlc, latest_hlc + 1)
        key = (effective, entry.author, entry.seq)
        problem = ""
        if not self.genesis.is_member(entry.author):
            problem = "its author is not a member"
        elif (entry.seq, entry.prev) != (length, head):
            problem = f"it does not continue its author's log of {length} entries"
        elif key <= self._latest:
            problem = "it stands after an entry that it comes before in merge order"
        if problem:
            name = f"{short(entry.author)}:{entry.seq}"
            raise StoreError(f"the tape is damaged at byte {at}: entry {name}: {problem}")
        entry.merge_key = self._latest = key
        self._heads[entry.author] = (length + 1, entry.id, effective)
        self._count += 1

    def _finish(self, fields: Sequence[object]) -> None:
        match fields:
            case [int(count), bytes(root)] if len(root) == 32:
                self.end = TapeEnd(count, root)
            case _:
                raise StoreError("the last frame of the tape is damaged")
        if count != self._count or self._file.read(1):
            raise StoreError(
                f"the tape's last frame counts {count} entries and {self._count} came before it, "
                "or something follows it"
            )

    def _frame(self, limit: int) -> bytes:
        head = self._file.read(4)
        size = int.from_bytes(head, "big")
        data = self._file.read(size) if len(head) == 4 and size <= limit else b""
        if len(head) < 4 or size > limit or len(data) < size:
            at = self._file.tell()
            raise StoreError(f"the tape breaks off or is damaged at byte {at}: record it again")
        return data


def _runs(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Runs of at most RUN_ENTRIES that fit into a frame."""
    run: list[Entry] = []
    size_bytes = 0
    for entry in entries:
        if run and (
            len(run) == RUN_ENTRIES or size_bytes + entry.size_bytes + 64 > MAX_RUN_BYTES // 2
        ):
            yield run
            run, size_bytes = [], 0
        run.append(entry)
        size_bytes += entry.size_bytes
    if run:
        yield run


def _write_frame(file: BinaryIO, data: bytes) -> None:
    file.write(len(data).to_bytes(4, "big"))
    file.write(data)
