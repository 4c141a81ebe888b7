"""A script in which one call to the disk goes wrong: every call, in every way.

A script is a process that does the same in every run (``child``), so the calls that change its
files can be numbered. ``Script`` gives a case for each call and each way to go wrong, and ``Stage``
plays them: the process dies there, or the call fails and the process goes on, dies later, or loses
power; afterwards a process on a disk that works has to find everything as it was promised.

    starting       a new store, thirty submits, and a proper end
    recovering     a store whose process was killed is opened again
    checkpointing  so many submits that SQLite moves its log into the main file
    mending        a damaged store is opened, and is set aside and written anew
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from crash.child import WITNESS
from crash.faulty_io import BROKEN, NO_SPACE, SYNC, WRITE, Fault
from crash.fork_server import ForkServer
from crash.lives import Counts, Life
from crash.power_loss import Record

SEED = 1
PAGE_BYTES = 4096

KILLS = ("kill-before", "kill-inside", "kill-after")

FAILURES = (
    Fault("fail", error=BROKEN),
    Fault("fail", error=BROKEN, lasting=True),
    Fault("fail-short", error=NO_SPACE, kinds=WRITE),
    Fault("fail", error=NO_SPACE, kinds=WRITE, lasting=True),
)
"""A full disk refuses to write, and does everything else."""


@dataclass(frozen=True)
class Case:
    """What goes wrong, and what else happens because of it."""

    script: str
    fault: Fault
    die_after: str = ""
    shown: bool = False
    """The next process shows others what it finds, and dies."""
    power_loss: bool = False

    def __str__(self) -> str:
        parts = [f"{self.script}: {self.fault}"]
        parts += [f"death after the {self.die_after}"] if self.die_after else []
        parts += ["restart, shown to others"] if self.shown else []
        parts += ["power loss"] if self.power_loss else []
        return ", ".join(parts)


@dataclass
class Script:
    """A script, and the calls that it makes when nothing goes wrong."""

    name: str
    waves: int
    template: Path | None = None
    damaged: bool = False
    calls: Sequence[Record] = ()
    first: int = 1
    last: int = 0
    """The calls that cases are made for, counted from 1."""

    def cases(self) -> Iterator[Case]:
        yield from self.kills()
        yield from self.failures()

    def call_of(self, case: Case) -> Record:
        """The call at which a case strikes."""
        kinds = case.fault.kinds
        return [call for call in self.calls if call.kind & kinds][case.fault.at - 1]

    def kills(self) -> Iterator[Case]:
        """Death before, inside and after every call; every second time with the power."""
        for at in range(self.first, self.last + 1):
            for action in KILLS:
                if action != "kill-inside" or self.calls[at - 1].kind == WRITE:
                    for power_loss in (False, True):
                        yield Case(self.name, Fault(action, at), power_loss=power_loss)
            if self.calls[at - 1].kind == SYNC:  # written, not synced, and yet it can be read
                yield Case(self.name, Fault("kill-before", at), shown=True, power_loss=True)

    def failures(self) -> Iterator[Case]:
        """Every call fails, once or from then on."""
        for at in range(self.first, self.last + 1):
            for failure in FAILURES:
                if self.calls[at - 1].kind & failure.kinds:
                    earlier = [call for call in self.calls[:at] if call.kind & failure.kinds]
                    fault = replace(failure, at=len(earlier))
                    yield Case(self.name, fault)
                    yield Case(self.name, fault, die_after="failure")
                    yield Case(self.name, fault, die_after="failure", power_loss=True)
                    if fault.lasting:
                        yield Case(self.name, fault, die_after="recovery", power_loss=True)


class Stage:
    """Where scripts are played: a folder with what they start from."""

    def __init__(self, server: ForkServer, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._played = 0
        self.scripts: dict[str, Script] = {}

    def prepare(self, *names: str) -> Stage:
        """Make what the scripts start from, and play each once without a fault."""
        for name in names:
            script = PREPARE[name](self)
            life = self._life(script)
            life.start("script", waves=script.waves, damaged=script.damaged)
            script.calls = life.calls
            assert life.result is not None, "a process that ended well leaves a result"
            assert bool(life.result.damage) == script.damaged, "the damage shows"
            script.first, script.last = 1, len(script.calls)
            if name == "checkpointing":
                script.first, script.last = _checkpoint(script.calls)
            life.remove()
            self.scripts[name] = script
        return self

    def play(self, case: Case) -> Counts:
        """Play a case, and look what became of it. Raises Violation."""
        script = self.scripts[case.script]
        life = self._life(script)
        life.start(
            "script",
            case.fault,
            waves=script.waves,
            damaged=script.damaged,
            die_after=case.die_after,
        )
        life.counts.events[_what_happened(life)] += 1
        if case.shown:
            life.start("show", damaged=script.damaged)
        if case.power_loss:
            life.lose_power(kept=0.0 if case.shown else None)
        life.start("script", waves=2, damaged=script.damaged)
        assert life.result is not None, "a process that ended well leaves a result"
        life.counts.add_balance(life.result.balance)
        life.remove()
        return life.counts

    def _life(self, script: Script) -> Life:
        self._played += 1
        folder = self._folder / f"{script.name}-{self._played}"
        return Life(self._server, folder, SEED, template=script.template)

    def _template(self, name: str, make: Callable[[Life], None]) -> Path:
        life = Life(self._server, self._folder / name, SEED)
        make(life)
        return life.keep_as_template()

    # ---------------------------------------------------------------- what they start from

    def starting(self) -> Script:
        return Script("starting", waves=10)

    def checkpointing(self) -> Script:
        return Script("checkpointing", waves=90)

    def recovering(self) -> Script:
        def killed(life: Life) -> None:
            life.start("script", Fault("kill-before", 200))

        return Script("recovering", waves=2, template=self._template("killed", killed))

    def mending(self) -> Script:
        """An entry of the witness is damaged in the main file; newer ones are in the log beside."""

        def damaged(life: Life) -> None:
            # More pages of the witness's entries than SQLite renews when it splits one.
            life.start("script", waves=160)
            life.start("script", Fault("kill-before", 60))
            _damage_an_entry(life.folder / "disk" / "peer.db")

        template = self._template("damaged", damaged)
        return Script("mending", waves=2, template=template, damaged=True)


PREPARE: dict[str, Callable[[Stage], Script]] = {
    "starting": Stage.starting,
    "recovering": Stage.recovering,
    "checkpointing": Stage.checkpointing,
    "mending": Stage.mending,
}


def _checkpoint(calls: Sequence[Record]) -> tuple[int, int]:
    """The calls of the first checkpoint, and a few around it."""
    names = [(call.kind, call.name) for call in calls]
    first = names.index((WRITE, "peer.db"))
    last = names.index((SYNC, "peer.db"), first)
    return first - 3, last + 15


def _damage_an_entry(path: Path) -> None:
    """Change a bit in the signature of an entry of the witness, on a page of the main file that the
    log beside it does not hold anew."""
    main, log = path.read_bytes(), Path(f"{path}-wal").read_bytes()
    renewed = {
        int.from_bytes(log[at : at + 4], "big") for at in range(32, len(log), 24 + PAGE_BYTES)
    }
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copy(path, folder))
        shutil.copy(f"{path}-wal", folder)
        with closing(sqlite3.connect(copy)) as connection:
            signatures = connection.execute(
                "SELECT signature FROM entries JOIN authors ON entries.author = number "
                "WHERE authors.author = ? ORDER BY seq",
                (WITNESS.peer_id,),
            ).fetchall()
    places = [main.find(signature) for (signature,) in signatures]
    at = next(at for at in places if at >= 0 and at // PAGE_BYTES + 1 not in renewed)
    path.write_bytes(main[:at] + bytes([main[at] ^ 1]) + main[at + 1 :])


def _what_happened(life: Life) -> str:
    """How the fault showed."""
    result = life.result
    if result is None:
        return "killed"
    if result.refused_opens:
        return "opening was refused"
    balance = result.balance
    if balance.rolled_back or balance.undecided_gone or balance.undecided_stood:
        return "submits were refused"
    return "nobody noticed"
