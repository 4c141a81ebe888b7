"""What a disk may hold after the power is gone: a model, fed with a trace of the failing disk.

The kernel keeps what was written in its cache, and puts it on the disk when it likes, in any order;
only ``fsync`` makes it. So after a power loss each sector that was written since the last sync may
be new or old. ``Disk`` follows a trace and knows both::

    write            the cache has it; its sectors are dirty
    sync             the dirty sectors of that file are on the disk
    sync that fails  some of them are, and the others never will be: Linux marks them as clean
    unlink, rename   may be undone until the folder is synced, the last one first

``lose_power`` makes the files of the folder what one such accident leaves. A process that is killed
loses nothing of this: the cache outlives it.

Left out: creating a file and truncating it count at once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NamedTuple

from crash.faulty_io import DEATH, RENAME, SYNC, TRUNCATE, UNLINK, WRITE

SECTOR_BYTES = 512

_HEAD = struct.Struct("=BBHqq")


class Record(NamedTuple):
    """One change, as the failing disk noted it; with DEATH in its kind, the last words of a process
    that was killed there."""

    kind: int
    succeeded: bool
    name: str
    offset: int
    data: bytes


def read_trace(data: bytes) -> Iterator[Record]:
    """The records of a trace; one that was cut off at the end does not count."""
    at = 0
    while at + _HEAD.size <= len(data):
        kind, succeeded, name_length, offset, length = _HEAD.unpack_from(data, at)
        data_at = at + _HEAD.size + name_length
        at = data_at + length
        if at <= len(data):
            name = data[data_at - name_length : data_at].decode()
            yield Record(kind, bool(succeeded), name, offset, data[data_at:at])


@dataclass(eq=False)
class CachedFile:
    """A file as processes see it, and as it is on the disk for certain."""

    cached: bytearray = field(default_factory=bytearray)
    stored: bytearray = field(default_factory=bytearray)
    dirty: set[int] = field(default_factory=set)
    """The numbers of the sectors that may be either."""

    @classmethod
    def synced(cls, data: bytes) -> CachedFile:
        return cls(bytearray(data), bytearray(data))

    def write(self, offset: int, data: bytes) -> None:
        end = offset + len(data)
        if len(self.cached) < end:
            self.cached.extend(bytes(end - len(self.cached)))
        self.cached[offset:end] = data
        self.dirty.update(range(offset // SECTOR_BYTES, -(-end // SECTOR_BYTES)))

    def truncate(self, length: int) -> None:
        for image in (self.cached, self.stored):
            del image[length:]
        self.cached.extend(bytes(length - len(self.cached)))
        self.dirty = {sector for sector in self.dirty if sector * SECTOR_BYTES < length}

    def store(self, sectors: set[int]) -> None:
        """These sectors reach the disk."""
        for sector in sorted(sectors):
            start = sector * SECTOR_BYTES
            data = self.cached[start : start + SECTOR_BYTES]
            self.stored.extend(bytes(max(0, start - len(self.stored))))
            self.stored[start : start + len(data)] = data
        self.dirty -= sectors

    def turn_into(self, data: bytes) -> None:
        """The cache holds this, whatever was told of it; what is new of it is dirty."""
        if len(data) < len(self.cached):
            self.truncate(len(data))
        for start in range(0, len(data), SECTOR_BYTES):
            sector = data[start : start + SECTOR_BYTES]
            if self.cached[start : start + SECTOR_BYTES] != sector:
                self.write(start, sector)


class Disk:
    """The files of one folder, followed through a trace."""

    def __init__(self, folder: Path, random: Random) -> None:
        """What is in the folder now counts as being on the disk."""
        self._folder = folder
        self._random = random
        self.files: dict[str, CachedFile] = {
            path.name: CachedFile.synced(path.read_bytes()) for path in folder.iterdir()
        }
        self._undo: list[dict[str, CachedFile | None]] = []
        """For each unlink and rename that is not certain: what the names meant before it."""

    def follow(self, trace: bytes) -> None:
        """Everything in a trace has happened; and whoever was killed may have done one thing more
        than it told, so look at the folder."""
        self.follow_records(read_trace(trace))
        present = {path.name: path.read_bytes() for path in self._folder.iterdir()}
        for name in self.files.keys() - present.keys():
            self._rename(name, None)
        for name, data in present.items():
            self.files.setdefault(name, CachedFile()).turn_into(data)

    def follow_records(self, records: Iterable[Record]) -> None:
        """These have happened."""
        for record in records:
            if not record.kind & DEATH:
                self._apply(record)

    def lose_power(self, *, kept: float | None = None) -> int:
        """Make the folder what a power loss now could leave; how many sectors were lost.

        ``kept`` is the chance of a sector that was not synced. Without it, one in four accidents
        loses all of them, and one in four none.
        """
        chance = self._random.choice((0.0, 0.5, 0.5, 1.0)) if kept is None else kept
        for names in reversed(self._undo[self._random.randint(0, len(self._undo)) :]):
            self._take_back(names)
        self._undo.clear()
        lost_count = 0
        for file in self.files.values():
            lucky = self._some(file.dirty, chance)
            lost_count += len(file.dirty) - len(lucky)
            file.store(lucky)
            file.cached, file.dirty = bytearray(file.stored), set()
        for path in self._folder.iterdir():
            path.unlink()
        for name, file in self.files.items():
            (self._folder / name).write_bytes(file.stored)
        return lost_count

    def _apply(self, record: Record) -> None:
        if record.kind == SYNC and record.name == "":
            if record.succeeded:
                self._undo.clear()
            return
        if not (record.succeeded or record.kind == SYNC):
            return
        file = self.files.setdefault(record.name, CachedFile())
        if record.kind == WRITE:
            file.write(record.offset, record.data)
        elif record.kind == TRUNCATE:
            file.truncate(record.offset)
        elif record.kind == SYNC:
            file.store(set(file.dirty) if record.succeeded else self._some(file.dirty, 0.5))
            file.dirty.clear()
        elif record.kind == UNLINK:
            self._rename(record.name, None)
        elif record.kind == RENAME:
            self._rename(record.name, record.data.decode())

    def _rename(self, name: str, new_name: str | None) -> None:
        file = self.files[name]
        before: dict[str, CachedFile | None] = {name: file}
        if new_name is not None:
            before[new_name] = self.files.get(new_name)
            self.files[new_name] = file
        del self.files[name]
        self._undo.append(before)

    def _take_back(self, names: dict[str, CachedFile | None]) -> None:
        for name, file in names.items():
            if file is None:
                self.files.pop(name, None)
            else:
                self.files[name] = file

    def _some(self, sectors: set[int], chance: float) -> set[int]:
        return {sector for sector in sorted(sectors) if self._random.random() < chance}
