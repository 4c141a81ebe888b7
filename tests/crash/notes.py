"""What a peer that may die at any moment has said and heard: lines in files, each written at once.

The notes lie outside the disk that fails, and what was handed to the kernel outlives a kill. So
they are what the rest of the world knows of the peer. Now and then a kill comes in the middle of a
line: that was not told to anybody, and the next process takes it away::

    tried         an order is about to be submitted
    acknowledged  submit has returned
    refused       submit has raised or was cancelled: nothing was submitted, or that is not known
    seen          an entry of the peer has come over the wire to another one
    violations    a promise is broken

An order is named by its encoded instruction; whoever writes here makes each order different.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ROLLED_BACK = "rolled-back"
UNDECIDED = "undecided"
WITHDRAWN = "withdrawn"


class Acknowledged(NamedTuple):
    """Where ``submit`` said that an order stands."""

    seq: int
    index: int
    entry_id: str
    order: str


@dataclass(frozen=True)
class Notes:
    """All that was noted so far."""

    tried: Sequence[str]
    acknowledged: Sequence[Acknowledged]
    refused: dict[str, str]
    """By order: ROLLED_BACK, UNDECIDED or WITHDRAWN."""
    seen: Sequence[tuple[int, str]]
    """(seq, entry id), in the order in which they came."""
    violations: Sequence[str]


class Notebook:
    """Writes notes. Several processes may have written to it, one after another."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._files: dict[str, int] = {}

    def tried(self, orders: Iterable[str]) -> None:
        self._write("tried", orders)

    def acknowledged(self, acknowledged: Iterable[Acknowledged]) -> None:
        lines = [f"{one.seq} {one.index} {one.entry_id} {one.order}" for one in acknowledged]
        self._write("acknowledged", lines)

    def refused(self, orders: Iterable[str], how: str) -> None:
        self._write("refused", [f"{how} {order}" for order in orders])

    def seen(self, seq: int, entry_id: str) -> None:
        self._write("seen", [f"{seq} {entry_id}"])

    def violation(self, what: str) -> None:
        self._write("violations", [what.replace("\n", " ")])

    def read(self) -> Notes:
        refused = [line.split() for line in self._lines("refused")]
        acknowledged = [line.split() for line in self._lines("acknowledged")]
        seen = [line.split() for line in self._lines("seen")]
        return Notes(
            tried=self._lines("tried"),
            acknowledged=[
                Acknowledged(int(seq), int(index), entry_id, order)
                for seq, index, entry_id, order in acknowledged
            ],
            refused={order: how for how, order in refused},
            seen=[(int(seq), entry_id) for seq, entry_id in seen],
            violations=self._lines("violations"),
        )

    def _write(self, name: str, lines: Iterable[str]) -> None:
        descriptor = self._files.get(name)
        if descriptor is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            descriptor = self._files[name] = os.open(self._folder / name, flags, 0o600)
            told = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
            os.ftruncate(descriptor, told.rfind(b"\n") + 1)
        os.write(descriptor, "".join(f"{line}\n" for line in lines).encode())

    def _lines(self, name: str) -> list[str]:
        path = self._folder / name
        text = path.read_text() if path.exists() else ""
        return text.split("\n")[:-1]  # a last line without its end was being written
