"""The life of one store: many processes open it, one after another, and most of them are killed.

``Life`` runs the processes in a folder, follows the disk through all of them, takes the power away
where it is told to, and raises ``Violation`` as soon as a promise is broken. ``live`` is a life
with random deaths: at a random time, some while after the disk has failed once, or before, inside
or after a random change to the store. ``Counts`` adds up over many lives.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from crash.checks import Balance
from crash.faulty_io import BROKEN, DEATH, KIND_NAMES, NO_SPACE, Fault
from crash.fork_server import Ending, ForkServer
from crash.notes import Notebook, Notes
from crash.power_loss import Disk, Record, read_trace
from crash.tasks import FINISHED, VIOLATED, Result, Task

KILLED = -9

LONGEST_TRADE_S = 0.35
"""Within it a process is killed at a random time; opening the store takes the first few
hundredths."""


class Violation(AssertionError):
    """A promise was broken; everything that shows it is in a folder."""

    def __init__(self, folder: Path, what: str, *, task: Task) -> None:
        super().__init__(f"{what}\n  task: {json.dumps(task.to_json())}\n  see {folder}")
        self.folder = folder
        self.what = what


@dataclass
class Counts:
    """What happened, over many lives."""

    kills: Counter[str] = field(default_factory=Counter)
    """By point: at a random time, or at which call."""
    events: Counter[str] = field(default_factory=Counter)
    orders: Counter[str] = field(default_factory=Counter)
    """As ``checks.Balance`` names what became of them."""

    @property
    def kill_count(self) -> int:
        return self.kills.total()

    def add_balance(self, balance: Balance) -> None:
        self.orders.update(asdict(balance))

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.kills + other.kills, self.events + other.events, self.orders + other.orders
        )

    def to_json(self) -> dict[str, dict[str, int]]:
        return {name: dict(getattr(self, name)) for name in ("kills", "events", "orders")}

    @classmethod
    def from_json(cls, fields: dict[str, dict[str, int]]) -> Counts:
        return cls(**{name: Counter(counts) for name, counts in fields.items()})

    def lines(self) -> list[str]:
        """A summary for people."""
        lines = [f"{self.kill_count} kills:"]
        lines += [f"  {count:6} {point}" for point, count in sorted(self.kills.items())]
        for title, counter in (("events", self.events), ("orders", self.orders)):
            lines.append(f"{title}: " + ", ".join(f"{n} {what}" for what, n in counter.items()))
        return lines


class Life:
    """One folder, and the processes that work in it."""

    def __init__(
        self,
        server: ForkServer,
        folder: Path,
        seed: int,
        *,
        template: Path | None = None,
    ) -> None:
        """``template``: the folder of another life; this one goes on from a copy of it."""
        self.folder = folder
        self.counts = Counts()
        self.random = Random(f"life {seed}")
        self.calls: list[Record] = []
        """What the last process did to its files."""
        self._server = server
        self._seed = seed
        self._process_count = 0
        if template is not None:
            shutil.copytree(template, folder)
            self._process_count = int((folder / "process-count").read_text())
        self._disk_folder = folder / "disk"
        self._disk_folder.mkdir(parents=True, exist_ok=True)
        self._disk = Disk(self._disk_folder, self.random)

    def start(
        self,
        scenario: str,
        fault: Fault | None = None,
        *,
        kill_after_s: float | None = None,
        **fields: Any,
    ) -> Ending:
        """Run a process to its end, whatever ends it. Raises Violation."""
        task = Task(
            folder=str(self.folder),
            scenario=scenario,
            seed=self._seed,
            number=self._process_count,
            fault=fault or Fault(),
            **{"trace": True, **fields},
        )
        self._process_count += 1
        self._remember_disk()
        (self.folder / "result.json").unlink(missing_ok=True)
        ending = self._server.run(task.to_json(), kill_after_s=kill_after_s)
        last_words = self._follow_disk()
        self.counts.events["processes"] += 1
        self._judge(ending, task)
        if ending.code == KILLED:
            self.counts.kills[_point(task, last_words, kill_after_s)] += 1
        return ending

    def lose_power(self, *, kept: float | None = None) -> None:
        """After a death: what was not synced is gone, or some of it."""
        lost_count = self._disk.lose_power(kept=kept)
        self.counts.events["power losses"] += 1
        self.counts.events["sectors lost"] += lost_count

    @property
    def result(self) -> Result | None:
        """What the last process left; None if it was killed."""
        path = self.folder / "result.json"
        if not path.exists():
            return None
        return Result.from_json(json.loads(path.read_text()))

    @property
    def notes(self) -> Notes:
        """What the world knows."""
        return Notebook(self.folder / "notes").read()

    def keep_as_template(self) -> Path:
        """Its folder, for other lives to go on from."""
        (self.folder / "process-count").write_text(str(self._process_count))
        (self.folder / "trace").unlink(missing_ok=True)
        return self.folder

    def remove(self) -> None:
        shutil.rmtree(self.folder)

    def _remember_disk(self) -> None:
        """So that whoever finds a violation can start this process again."""
        before = self.folder / "disk-before"
        shutil.rmtree(before, ignore_errors=True)
        shutil.copytree(self._disk_folder, before)

    def _follow_disk(self) -> str:
        """What happened on the disk; and at which call the process was killed there."""
        path = self.folder / "trace"
        trace = path.read_bytes() if path.exists() else b""
        self._disk.follow(trace)
        path.unlink(missing_ok=True)
        self.calls = list(read_trace(trace))
        deaths = [record for record in self.calls if record.kind & DEATH]
        if not deaths:
            return ""
        name = deaths[-1].name or "the folder"
        return f"{KIND_NAMES[deaths[-1].kind & ~DEATH]} of {name}"

    def _judge(self, ending: Ending, task: Task) -> None:
        if ending.code in (FINISHED, KILLED) and not ending.hung:
            return
        if ending.code == VIOLATED:
            what = "; ".join(self.notes.violations)
        elif ending.hung:
            what = "the process hung"
        else:
            what = f"the process ended with {ending.code}"
        log = self.folder / "child.log"
        tail = log.read_text()[-2_000:] if log.exists() else ""
        raise Violation(self.folder, f"{what}\n{tail}", task=task)


def _point(task: Task, last_words: str, kill_after_s: float | None) -> str:
    """Where a process was killed, in words."""
    if last_words:
        return f"{task.fault.action.removeprefix('kill-')} a {last_words}"
    if kill_after_s is not None:
        return "at a random time" + (", the disk failing" if task.fault.at else "")
    if task.scenario == "show":
        return "when others had seen its log"
    return f"after a {task.die_after}"


def live(server: ForkServer, folder: Path, seed: int, *, kills: int) -> Counts:
    """A life with so many deaths, most of them violent; then it must end well."""
    life = Life(server, folder, seed)
    while life.counts.kill_count < kills:
        _die_somehow(life)
        if life.random.random() < 0.5:
            life.lose_power()
    finish(life)
    life.remove()
    return life.counts


def finish(life: Life) -> Result:
    """Two processes that nobody kills: the peers trade and agree, and the store opens again."""
    life.start("trade", trade_s=0.1)
    life.start("look")
    result = life.result
    assert result is not None, "a process that ended well leaves a result"
    life.counts.add_balance(result.balance)
    return result


def _die_somehow(life: Life) -> None:
    random = life.random
    at = random.randint(1, random.choice([30, 300]))
    how = random.random()
    if how < 0.3:
        life.start("trade", kill_after_s=random.uniform(0, LONGEST_TRADE_S))
    elif how < 0.5:
        action, error = random.choice([("fail", BROKEN), ("fail-short", NO_SPACE)])
        kill_after_s = random.uniform(0.1, LONGEST_TRADE_S)
        life.start("trade", Fault(action, at, error), kill_after_s=kill_after_s)
    else:
        action = random.choice(["kill-before", "kill-inside", "kill-after"])
        life.start("trade", Fault(action, at))
