"""Kills and failing disks by the thousand: ``python -m tests.crash.soak``, or ``make soak-crash``.

    --kills 1000      lives of stores whose process is killed again and again, until so many kills
    --scripts         besides, every script of ``scripted``: every call killed and failed (an hour)

What was done is kept in a state file, so a soak that was interrupted goes on where it stopped. The
first violation ends it with exit code 1: the folder of that life is kept, with the store as it was
before and after the last process, what the world knew, and the task to run again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from secrets import randbits
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from crash.faulty_io import build, why_impossible
from crash.fork_server import ForkServer
from crash.lives import Counts, Violation, live
from crash.scratch import keeping_evidence, scratch
from crash.scripted import PREPARE, Stage

KILLS_PER_LIFE = 20
CASES_PER_SAVE = 50


class Progress:
    """What was done so far, in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # CI uses the seeds from 0 up: a soak starts somewhere else each time.
        state: dict[str, Any] = {"next_seed": 1_000 + randbits(40), "seconds": 0.0, "scripts": {}}
        if path.exists():
            state = json.loads(path.read_text())
            print(f"going on with {path}")
        self.next_seed: int = state["next_seed"]
        self.seconds: float = state["seconds"]
        self.scripts: dict[str, int] = state["scripts"]
        """For each part of a script: how many of its cases were played."""
        self.counts = Counts.from_json(state["counts"]) if "counts" in state else Counts()
        self._saved = time.monotonic()

    def save(self) -> None:
        now = time.monotonic()
        self.seconds, self._saved = self.seconds + now - self._saved, now
        state = {
            "next_seed": self.next_seed,
            "seconds": self.seconds,
            "scripts": self.scripts,
            "counts": self.counts.to_json(),
        }
        temporary = self.path.with_suffix(".new")
        temporary.write_text(json.dumps(state, indent=1) + "\n")
        temporary.replace(self.path)

    def tell(self, what: str) -> None:
        print(f"{what}; {self.counts.kill_count} kills in {self.seconds / 60:.1f} min", flush=True)


def live_until(server: ForkServer, folder: Path, progress: Progress, kills: int) -> None:
    """Lives with random deaths, until so many were counted."""
    while progress.counts.kill_count < kills:
        seed = progress.next_seed
        name = f"life-{seed}"
        progress.counts += live(server, folder / name, seed, kills=KILLS_PER_LIFE)
        progress.next_seed += 1
        progress.save()
        progress.tell(name)


def play_scripts(server: ForkServer, folder: Path, progress: Progress) -> None:
    """Every case of every script, from where we stopped."""
    for name in PREPARE:
        stage = Stage(server, folder).prepare(name)
        script = stage.scripts[name]
        for part, cases in (("kills", list(script.kills())), ("failures", list(script.failures()))):
            key = f"{name}, {part}"
            while (done := progress.scripts.get(key, 0)) < len(cases):
                for case in cases[done : done + CASES_PER_SAVE]:
                    progress.counts += stage.play(case)
                    done += 1
                progress.scripts[key] = done
                progress.save()
                progress.tell(f"{key}: {done} of {len(cases)} cases")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Kill peers, and fail their disks.")
    parser.add_argument("--kills", type=int, default=1_000, help="random kills (default 1000)")
    parser.add_argument("--scripts", action="store_true", help="every call of every script, too")
    parser.add_argument("--state", type=Path, default=Path("soak-crash.json"))
    parser.add_argument("--seed", type=int, help="live one life with this seed, and stop")
    parser.add_argument("--folder", type=Path, help="where the stores lie (default: in memory)")
    parser.add_argument("--package", type=Path, help="import gossipbook from this folder instead")
    options = parser.parse_args(arguments)

    impossible = why_impossible()
    if impossible is not None:
        print(f"no soak: {impossible}")
        return 2
    with scratch(options.folder) as folder:
        library = build(folder)
        with ForkServer(library, package=options.package) as server:
            return _soak(options, server, folder)


def _soak(options: argparse.Namespace, server: ForkServer, folder: Path) -> int:
    if options.seed is not None:
        return _watch(lambda: print(*live(server, folder / "life", options.seed, kills=20).lines()))
    progress = Progress(options.state)

    def everything() -> None:
        live_until(server, folder, progress, options.kills)
        if options.scripts:
            play_scripts(server, folder, progress)

    code = _watch(everything)
    print(*progress.counts.lines(), sep="\n")
    if code == 0:
        print(f"no violation in {progress.seconds / 60:.1f} minutes")
    return code


def _watch(work: Callable[[], None]) -> int:
    """Do it, and keep what shows a violation; the exit code."""
    try:
        with keeping_evidence(Path.cwd()):
            work()
    except Violation as violation:
        print(f"VIOLATION: {violation}", *violation.__notes__, sep="\n")
        return 1
    except KeyboardInterrupt:
        print("interrupted; what was finished is in the state file")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
