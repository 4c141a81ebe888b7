"""The process that is killed: a peer that submits for all it is worth, and one that watches it.

Both peers live in this one process, on a memory network. The *submitter* keeps its log on the disk
that fails. The *witness* is another author; its store lies elsewhere, and it notes every entry of
the submitter at the moment in which it comes off the wire. Each start begins with the question that
all this is about: does the submitter's log hold what the world knows of it? Only then the witness
is opened, so that nobody can have given anything back.

    trade     several tasks submit at full speed, in real time, until something kills them
    script    the same few submits in every run, in virtual time, so that calls can be numbered
    show      the witness is shown what there is, and then the process dies
    look      only the question
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import trio
from crash.checks import balance, check_own_log
from crash.faulty_io import NO_SPACE, FaultyDisk
from crash.notes import Notebook
from crash.tasks import FINISHED, VIOLATED, Result, Task
from crash.trader import Trader
from trio.testing import MockClock

import gossipbook as gb
from gossipbook.clocks import VIRTUAL_EPOCH_S
from gossipbook.log.entry import Entry
from gossipbook.log.verification import Verifier

GENESIS = gb.Genesis("crash", [gb.Market("AAA"), gb.Market("BBB")])
SUBMITTER = gb.Keypair.from_seed(b"\1" * 32)
WITNESS = gb.Keypair.from_seed(b"\2" * 32)

TRADERS = 4

PROCESS_S = 1_000.0
"""Virtual time between the starts of two processes."""

RECOVER_S = 3.0
"""What the store and the peer may take to recover once the disk works."""

AGREE_S = 30.0


def run(fields: dict[str, Any]) -> int:
    """Do one task; the exit code."""
    task = Task.from_json(fields)
    process = Process(task)
    clock = None
    if task.scenario != "trade":
        clock = MockClock(autojump_threshold=0)
        trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[attr-defined]
        trio._core._run._r.seed(task.seed)  # type: ignore[attr-defined]
    trio.run(process.run, clock=clock)
    return VIOLATED if process.notebook.read().violations else FINISHED


class Process:
    """One life of the submitter, from opening its store to closing it or dying."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.folder = Path(task.folder)
        self.store_path = self.folder / "disk" / "peer.db"
        self.notebook = Notebook(self.folder / "notes")
        self.random = Random(f"{task.seed} {task.number}")
        self.disk = FaultyDisk()
        self.network = gb.MemoryNetwork(seed=task.seed)
        self.refused_opens = 0
        self.disk_works = False
        """For certain, and for good."""

    async def run(self) -> None:
        trace = self.folder / "trace" if self.task.trace else None
        self.disk.arm(self.store_path.parent, self.task.fault, trace=trace)
        if self.task.file_limit_bytes:
            _limit_files(self.task.file_limit_bytes)
        if self.task.scenario != "trade":
            trio.lowlevel.spawn_system_task(_let_time_pass)
        async with AsyncExitStack() as stack:
            submitter = await self._open_submitter(stack)
            self._check(submitter)
            if self.task.scenario != "look":
                witness = await stack.enter_async_context(self._open_witness())
                await self._work(submitter, witness)
            log, damage = own_log(submitter), submitter.damage
            self._check(submitter)
        balanced = balance(log, self.notebook.read())
        result = Result(
            self.disk.call_count, self.disk.failure_count, self.refused_opens, damage, balanced
        )
        (self.folder / "result.json").write_text(json.dumps(asdict(result)))

    # ---------------------------------------------------------------- opening and checking

    async def _open_submitter(self, stack: AsyncExitStack) -> gb.Peer:
        """Open it; while the disk fails, again and again."""
        while True:
            opened = self._open(SUBMITTER, "submitter", store=self.store_path)
            try:
                return await stack.enter_async_context(opened)
            except gb.StoreError as error:
                if self.disk_works or not self.has_failed or str(self.store_path) not in str(error):
                    raise
            self.refused_opens += 1
            if not self.task.fault.lasting or self.refused_opens >= self.task.heal_after:
                self.heal()

    def _open_witness(self) -> AbstractAsyncContextManager[gb.Peer]:
        return self._open(
            WITNESS,
            "witness",
            store=gb.MemoryStore() if self.task.file_limit_bytes else self.folder / "witness.db",
            verifier=RecordingVerifier(self.notebook),
            bootstrap=["submitter"],
        )

    def _open(
        self, keypair: gb.Keypair, address: str, **options: Any
    ) -> AbstractAsyncContextManager[gb.Peer]:
        if self.task.scenario != "trade":
            start_s = VIRTUAL_EPOCH_S + self.task.number * PROCESS_S
            options["clock"] = lambda: start_s + trio.current_time()
        transport = self.network.transport(address)
        return gb.open_peer(GENESIS, keypair, transport=transport, seed=self.task.seed, **options)

    def _check(self, submitter: gb.Peer) -> None:
        broken = check_own_log(own_log(submitter), self.notebook.read())
        broken += [f"there is a fork proof: {proof}" for proof in submitter.proofs()]
        if not self.task.damaged:
            broken += [f"the store reports damage: {what}" for what in submitter.damage]
        for what in broken:
            self.notebook.violation(what)
        assert not broken, broken[0]

    # ---------------------------------------------------------------- the disk

    @property
    def has_failed(self) -> bool:
        return self.disk.failure_count > 0 or self.task.file_limit_bytes > 0

    def heal(self) -> None:
        """From now on the disk works."""
        self.disk_works = True
        self.disk.heal()
        _limit_files(resource.RLIM_INFINITY)

    def _objections(self, error: gb.StoreError) -> Iterator[str]:
        """What is wrong with an error that a submit raised."""
        text = str(error)
        if not self.has_failed:
            yield "the disk never failed"
        if self.disk_works:
            yield "the disk has been working again for long"
        if str(self.store_path) not in text:
            yield "the error does not name the file"
        if isinstance(error, gb.WriteUndecided):
            if not self.task.fault.lasting or self.task.fault.error == NO_SPACE:
                yield "the disk can be read, so what became of the write can be known"
            if "not known" not in text:
                yield "the error does not say what happened"
        elif not isinstance(error, gb.WriteRolledBack):
            yield "an error of another kind"
        elif "nothing was sent" not in text or "submit again" not in text:
            yield "the error does not say what to do"

    # ---------------------------------------------------------------- working

    async def _work(self, submitter: gb.Peer, witness: gb.Peer) -> None:
        trader = Trader(submitter, self.notebook, self.random, self._objections)
        if self.task.scenario == "trade":
            await self._trade(trader, witness)
        elif self.task.scenario == "script":
            await self._play(trader, witness)
        with trio.move_on_after(AGREE_S) as scope:
            await gb.wait_until_equal([submitter, witness])
        if scope.cancelled_caught:
            self.notebook.violation(f"submitter and witness do not agree after {AGREE_S} s")
        if witness.proofs():
            self.notebook.violation(f"the witness holds a fork proof: {witness.proofs()}")
        if self.task.scenario == "show":
            die()

    async def _trade(self, trader: Trader, witness: gb.Peer) -> None:
        with trio.move_on_after(self.task.trade_s):
            async with trio.open_nursery() as nursery:
                for _ in range(TRADERS):
                    nursery.start_soon(trader.trade)
                nursery.start_soon(self._trade_at_witness, witness)

    async def _trade_at_witness(self, witness: gb.Peer) -> None:
        while True:
            await witness.submit(self._others_order())
            await trio.sleep(self.random.uniform(0, 0.02))

    async def _play(self, trader: Trader, witness: gb.Peer) -> None:
        """The script: waves of three submits at once. A fault that lasts is over when some waves
        were refused."""
        refused_waves = 0
        for _ in range(self.task.waves):
            refused_before = trader.refused_count
            async with trio.open_nursery() as nursery:
                for kind in ("single", "list", "change"):
                    nursery.start_soon(trader.submit, trader.commands(kind))
            trader.read()
            if self.task.die_after == "failure" and self.disk.failure_count:
                die()
            if trader.refused_count > refused_before:
                refused_waves += 1
                if not self.task.fault.lasting or refused_waves >= self.task.heal_after:
                    await self._recover()
            await witness.submit(self._others_order())
            await trio.sleep(0.1)  # others' entries are written after 50 ms
        if self.has_failed:
            self.heal()  # what strikes in closing is left to strike

    async def _recover(self) -> None:
        self.heal()
        await trio.sleep(RECOVER_S)
        if self.task.die_after == "recovery":
            die()

    def _others_order(self) -> gb.LimitOrder:
        price = self.random.randint(90, 110)
        return gb.LimitOrder("AAA", self.random.choice(["buy", "sell"]), price=price, quantity=3)


class RecordingVerifier(Verifier):
    """The witness's: it notes the submitter's entries as they come off the wire."""

    __slots__ = ("_notebook",)

    def __init__(self, notebook: Notebook) -> None:
        super().__init__()
        self._notebook = notebook

    def check(self, entries: Iterable[Entry]) -> list[Entry | None]:
        checked = super().check(entries)
        for entry in checked:
            if entry is not None and entry.author == SUBMITTER.peer_id:
                self._notebook.seen(entry.seq, entry.id.hex())
        return checked


def own_log(submitter: gb.Peer) -> list[Entry]:
    log = submitter.replica.logs.get(SUBMITTER.peer_id)
    return [] if log is None else list(log.entries)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _limit_files(size_bytes: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))


async def _let_time_pass() -> None:
    """So that there is always a next deadline to jump to; and an end of time."""
    await trio.sleep(PROCESS_S - 10)
    print("the end of virtual time", file=sys.stderr)
    os._exit(4)
