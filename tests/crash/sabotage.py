"""Packages that break one promise each, to see whether the harness notices.

A ``Sabotage`` is a change to the sources, made in a copy. Where the sources have changed and the
place is not found any more, making it fails, and says which one.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import gossipbook

SOURCES = Path(gossipbook.__file__).parent


@dataclass(frozen=True)
class Sabotage:
    """In one file, one piece of text instead of another."""

    name: str
    file: str
    old: str
    new: str

    def make(self, folder: Path) -> Path:
        """The sources with this change, in a folder to import from."""
        copy = folder / "gossipbook"
        shutil.copytree(SOURCES, copy, ignore=shutil.ignore_patterns("__pycache__"))
        path = copy / self.file
        text = path.read_text()
        assert text.count(self.old) == 1, f"{self.name}: {self.file} reads differently by now"
        path.write_text(text.replace(self.old, self.new))
        return folder


ACKNOWLEDGES_EARLY = Sabotage(
    "acknowledges before the store has answered",
    "driver.py",
    "                self._writes.append(output)\n",
    "                self._writes.append(output)\n"
    "                self.give(Persisted(output.token))\n",
)

NEVER_SYNCS = Sabotage(
    "does not wait for the disk",
    "storage/log_file.py",
    "PRAGMA synchronous = FULL",
    "PRAGMA synchronous = OFF",
)

SENDS_EARLY = Sabotage(
    "sends before the store has it",
    "gossip/protocol.py",
    "            self._save()  # what came before it stands before it on the disk\n",
    "            self._save()\n"
    "            self.replica.add((batch.entry,), local_ms=self.local_ms)\n"
    "            self._spread(self.own_id, PUSH_TO_ALL)\n"
    "            self._push()\n",
)

DOES_NOT_LOOK = Sabotage(
    "takes a failed commit for rolled back without looking",
    "storage/sqlite.py",
    "if not self._file.roll_back() and self._look(entries):",
    "if not self._file.roll_back() and not entries:",
)

BELIEVES_THE_CACHE = Sabotage(
    "believes what it reads at the start without a sync",
    "storage/sqlite.py",
    "can be read, too\n            self._file.make_durable()\n",
    "can be read, too\n            pass\n",
)

BELIEVES_THE_CACHE_AFTER_AN_ERROR = Sabotage(
    "believes what it finds after an error without a sync",
    "storage/sqlite.py",
    "            if found:\n                self._file.make_durable()\n",
    "            pass\n",
)
