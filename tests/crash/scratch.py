"""Where stores lie while they are maltreated, and how the evidence of a violation is kept.

In memory, where the system has such a folder: what a sync is good for, ``power_loss`` decides, and
nobody has to wait for a real disk.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crash.lives import Violation

MEMORY = Path("/dev/shm")


@contextmanager
def scratch(where: Path | None = None) -> Iterator[Path]:
    """A new folder, until the end of the block; ``where`` instead of in memory."""
    base = where or (MEMORY if MEMORY.is_dir() else None)
    with tempfile.TemporaryDirectory(prefix="gossipbook-crash-", dir=base) as folder:
        yield Path(folder)


@contextmanager
def keeping_evidence(folder: Path) -> Iterator[None]:
    """A violation inside the block leaves all that shows it in ``folder``."""
    try:
        yield
    except Violation as violation:
        kept = Path(tempfile.mkdtemp(prefix="crash-violation-", dir=folder))
        shutil.copytree(violation.folder, kept, dirs_exist_ok=True)
        violation.add_note(f"the store, the notes and the log of that life are kept in {kept}")
        raise
