"""The failing disk, from Python: build it, and tell it when to fail.

``build`` compiles ``faulty_io.c``. A process started with the result in ``LD_PRELOAD`` calls
``FaultyDisk``: ``arm`` names a folder and a ``Fault``, the change to a file in that folder at which
it strikes, counted from 1. What the process does elsewhere is not touched and not counted.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("faulty_io.c")

WRITE, SYNC, TRUNCATE, UNLINK, RENAME, READ, DEATH = 1, 2, 4, 8, 16, 32, 128
CHANGES = WRITE | SYNC | TRUNCATE | UNLINK | RENAME
KIND_NAMES = {
    WRITE: "write",
    SYNC: "sync",
    TRUNCATE: "truncate",
    UNLINK: "unlink",
    RENAME: "rename",
}

ACTIONS = ("nothing", "kill-before", "kill-inside", "kill-after", "fail", "fail-short")
"""As the C side numbers them."""

NO_SPACE = errno.ENOSPC
BROKEN = errno.EIO


@dataclass(frozen=True)
class Fault:
    """What happens to a call: which action, at the how-manieth call of these kinds.

    ``lasting``: to all later ones, too, until the disk is healed.
    """

    action: str = "nothing"
    at: int = 0
    error: int = BROKEN
    lasting: bool = False
    kinds: int = CHANGES

    def __str__(self) -> str:
        if self.action == "nothing":
            return "no fault"
        if self.action.startswith("kill"):
            return f"{self.action} call {self.at}"
        lasts = " and on" if self.lasting else ""
        return f"{errno.errorcode[self.error]} ({self.action}) at call {self.at}{lasts}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def why_impossible() -> str | None:
    """Why no failing disk can be built here, or None."""
    if sys.platform != "linux":
        return "the failing disk is preloaded in Linux's way"
    if _compiler() is None:
        return "there is no C compiler (cc or gcc) to build the failing disk with"
    return None


def build(folder: Path) -> Path:
    """Compile it into a folder; the library to preload."""
    compiler = _compiler()
    assert compiler is not None, why_impossible()
    library = folder / "faulty_io.so"
    options = ["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread"]
    command = [compiler, *options, "-o", str(library), str(SOURCE)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, f"{' '.join(command)}\n{built.stderr}"
    return library


def _compiler() -> str | None:
    return shutil.which("cc") or shutil.which("gcc")


class FaultyDisk:
    """The library that was preloaded into this process."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(os.environ["LD_PRELOAD"])
        self._library.faulty_io_count.restype = ctypes.c_long
        self._library.faulty_io_failures.restype = ctypes.c_long

    def arm(self, folder: Path, fault: Fault, *, trace: Path | None = None) -> None:
        """Count changes in ``folder`` from now on, and let the fault strike.

        ``trace``: append there what is changed, for ``power_loss``.
        """
        descriptor = -1
        if trace is not None:
            descriptor = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        self._library.faulty_io_arm(
            os.fsencode(folder.resolve()),
            ACTIONS.index(fault.action),
            fault.kinds,
            ctypes.c_long(fault.at),
            fault.error,
            fault.lasting,
            descriptor,
        )

    def heal(self) -> None:
        """Let everything pass from now on."""
        self._library.faulty_io_heal()

    @property
    def call_count(self) -> int:
        """How many calls were counted since it was armed."""
        return int(self._library.faulty_io_count())

    @property
    def failure_count(self) -> int:
        """How many calls failed by its doing."""
        return int(self._library.faulty_io_failures())
