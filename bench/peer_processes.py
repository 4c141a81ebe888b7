"""Peers as operating-system processes: started, asked, stopped, killed, and ended whatever happens.

    here (trio)                          a process a peer
    -----------                          ----------------
    process.ask("trade", ...)      ->    a line of JSON on stdin: {"id", "what", arguments}
    the answer                     <-    a line of JSON on stdout: {"id", "answer" or "error"}
    process.acknowledged           <-    {"acknowledged": entry id}, as ``trade`` goes on

    async with open_processes(folder, genesis) as processes:
        alice = await processes.start("alice")              # a Python that has imported everything
        opened = await alice.ask("open", listen="127.0.0.1:0")             # now there is a peer
        bob = await processes.start("bob")
        await bob.ask("open", listen="127.0.0.1:0", bootstrap=[opened["address"]])
        await bob.ask("submit", count=1000, batch=16)
        alice.kill()                                        # SIGKILL; `start` again: the same store

A process answers requests side by side, as they are done; ``_Child`` says what can be asked. It
ends when its stdin is closed: with the block, or with the process that started it. A peer has its
key by its name, and its store, ``NAME.db``, in the folder: both are still there when a process of
that name is started again. What a process writes to stderr (warnings of the library, tracebacks)
is in ``NAME.stderr``: empty where nothing went wrong. Times are those of ``time.monotonic``, the
one clock that all processes of a machine share (trio's has an offset of its own).

This file does not know what is measured or tested with the answers.
"""

from __future__ import annotations

import cProfile
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from itertools import chain, islice
from math import inf
from pathlib import Path
from time import monotonic, process_time
from typing import Any

import trio

import gossipbook as gb
import gossipbook.driver
from bench.process_memory import peak_memory_bytes
from bench.report import Results
from gossipbook.randomness import SeededRandom

ROOT = Path(__file__).resolve().parent.parent
START_LIMIT_S = 60.0
ANSWER_LIMIT_S = 120.0
END_LIMIT_S = 5.0
POLL_S = 0.002


class PeerProcessFailed(Exception):
    """A process ended, gave no answer in time, or answered with an error."""


def keypair_of(name: str) -> gb.Keypair:
    """The key of the peer of that name, the same in every run."""
    return gb.Keypair.from_seed(sha256(b"peer process " + name.encode()).digest())


# ==================================================================== in the parent


@asynccontextmanager
async def open_processes(folder: Path, genesis: gb.Genesis) -> AsyncIterator[PeerProcesses]:
    """A place to start peer processes in; every one of them is gone when the block is left."""
    async with trio.open_nursery() as nursery:
        processes = PeerProcesses(folder, genesis, nursery)
        try:
            yield processes
        finally:
            with trio.CancelScope(shield=True):
                for process in processes.all:
                    process.kill()
                for process in processes.all:
                    await process.wait()
            nursery.cancel_scope.cancel()


class PeerProcesses:
    """Starts processes whose stores lie in one folder. ``open_processes`` makes it."""

    def __init__(self, folder: Path, genesis: gb.Genesis, nursery: trio.Nursery) -> None:
        self.folder = folder
        self.genesis = genesis
        self.all: list[PeerProcess] = []
        """Every process that was ever started here, in that order."""
        self._nursery = nursery

    async def start(self, name: str, *, log_level: str = "WARNING") -> PeerProcess:
        """A process that is ready to be asked: interpreter up, library imported, no peer yet."""
        settings = {
            "name": name,
            "genesis": self.genesis.encode().hex(),
            "store": str(self.folder / f"{name}.db"),
            "log_level": log_level,
        }
        with (self.folder / f"{name}.stderr").open("ab") as complaints:
            popen = await trio.lowlevel.open_process(
                [sys.executable, "-m", "bench.peer_processes", json.dumps(settings)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
            )
        process = PeerProcess(name, popen, self.folder)
        self.all.append(process)
        self._nursery.start_soon(process.listen)
        await process.ask("ready", limit_s=START_LIMIT_S)
        return process


class PeerProcess:
    """One process, and at most one peer in it."""

    def __init__(self, name: str, process: trio.Process, folder: Path) -> None:
        self.name = name
        self.peer_id = keypair_of(name).peer_id
        self.store = folder / f"{name}.db"
        self.pid = process.pid
        self.acknowledged: list[str] = []
        """The ids (hex) of the entries for which a submit of ``trade`` has returned: told at once,
        so that they are known of a process that is killed, too."""
        self._complaints = folder / f"{name}.stderr"
        self._process = process
        self._next_id = 0
        self._answers: dict[int, Results] = {}
        self._waiting: dict[int, trio.Event] = {}
        self._ended = trio.Event()
        self._speaking = trio.Lock()  # one request at a time goes into the pipe

    def __repr__(self) -> str:
        state = "ended" if self._ended.is_set() else "running"
        return f"<PeerProcess {self.name}, pid {self.pid}, {state}>"

    @property
    def complaints(self) -> str:
        """What processes of this name have written to stderr."""
        return self._complaints.read_text(errors="replace")

    async def ask(self, what: str, *, limit_s: float = ANSWER_LIMIT_S, **arguments: Any) -> Results:
        """The answer to a request; ``_Child`` says what there is.

        Raises PeerProcessFailed where it answers with an error, or not within ``limit_s``, or ends.
        """
        number, self._next_id = self._next_id, self._next_id + 1
        arrived = self._waiting[number] = trio.Event()
        request = json.dumps({"id": number, "what": what, **arguments}) + "\n"
        assert self._process.stdin is not None
        try:
            with trio.move_on_after(limit_s) as limit:
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # it has ended
                    async with self._speaking:
                        await self._process.stdin.send_all(request.encode())
                if self._ended.is_set():
                    arrived.set()
                await arrived.wait()
        finally:
            del self._waiting[number]
        if limit.cancelled_caught:
            raise PeerProcessFailed(f"{self.name}: no answer to {what!r} within {limit_s:.1f} s")
        reply = self._answers.pop(number, None)
        if reply is None:
            raise PeerProcessFailed(
                f"{self.name} ended before it answered {what!r}\n{self.complaints[-4000:]}"
            )
        if "error" in reply:
            raise PeerProcessFailed(f"{self.name}, {what!r}: {reply['error']}")
        answer: Results = reply["answer"]
        return answer

    async def listen(self) -> None:
        """Take what the process says, until it ends."""
        assert self._process.stdout is not None
        rest = b""
        async for data in self._process.stdout:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._take(json.loads(line))
        self._ended.set()
        for arrived in self._waiting.values():
            arrived.set()

    def _take(self, told: Results) -> None:
        if "acknowledged" in told:
            self.acknowledged.append(told["acknowledged"])
        elif told["id"] in self._waiting:  # else: nobody waits for it any more
            self._answers[told["id"]] = told
            self._waiting[told["id"]].set()

    def kill(self) -> None:
        """SIGKILL: it ends in the middle of whatever it does."""
        self._process.kill()

    def stop(self) -> None:
        """SIGSTOP: it does nothing, and the kernel goes on accepting for it."""
        self._process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        """SIGCONT, after ``stop``."""
        self._process.send_signal(signal.SIGCONT)

    async def wait(self) -> None:
        """Return when the process has ended, and what it had said has been heard."""
        await self._process.wait()
        with trio.move_on_after(END_LIMIT_S):
            await self._ended.wait()

    async def end(self) -> None:
        """Leave the network in an orderly way, and end."""
        await self.ask("leave")
        assert self._process.stdin is not None
        await self._process.stdin.aclose()
        await self.wait()


# ==================================================================== in a peer's process


def serve_peer(*, name: str, genesis: str, store: str, log_level: str) -> None:
    """Answer requests until stdin is closed."""
    logging.basicConfig(stream=sys.stderr, level=log_level)
    child = _Child(name, gb.Genesis.decode(bytes.fromhex(genesis)), store)
    trio.run(child.run)


class _Child:
    """What a process can be asked. Each public coroutine is a request; its result is the answer."""

    def __init__(self, name: str, genesis: gb.Genesis, store: str) -> None:
        self._name = name
        self._genesis = genesis
        self._store = store
        self._peer: gb.Peer | None = None
        self._leaving = trio.Event()
        self._left = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._changes: list[tuple[float, str, str, str]] = []
        self._events: list[str] = []
        self._trading: _Submits | None = None
        self._seen_s: dict[str, float] = {}
        self._profiler = cProfile.Profile()

    # ---------------------------------------------------------------- requests

    async def ready(self) -> Results:
        """Nothing but an answer; with what starting has cost."""
        return {"pid": os.getpid(), "processor_s": process_time()}

    async def open(
        self,
        *,
        listen: str | None = None,
        advertise: str | None = None,
        bootstrap: list[str] | None = None,
        alone: bool | None = None,
        config: dict[str, int] | None = None,
        durable: bool = True,
    ) -> Results:
        """Open the peer: over TLS, unless there is neither ``listen`` nor ``bootstrap``.

        ``config`` holds fields of GossipConfig; ``durable=False`` keeps the logs in memory.
        """
        if self._nursery is None or self._peer is not None:
            raise ValueError(f"{self._name} has opened its peer already; start another process")
        transport = None
        if listen is not None or bootstrap:
            transport = gb.TlsTransport(listen, advertise=advertise)
        began_s = monotonic()
        peer = await self._nursery.start(
            self._live,
            gb.open_peer(
                self._genesis,
                keypair_of(self._name),
                transport=transport,
                bootstrap=bootstrap or [],
                store=self._store if durable else None,
                alone=alone,
                config=gb.GossipConfig(**config) if config else None,
            ),
        )
        return {
            "address": peer.address,
            "peer_id": peer.peer_id.hex(),
            "began_s": began_s,
            "opened_s": monotonic(),  # it listens since, and has begun to dial
            "entries": peer.entry_count,
            "damage": list(peer.damage),
        }

    async def leave(self) -> Results:
        """Say goodbye and close the peer; reading goes on working."""
        self._leaving.set()
        if self._peer is not None:
            await self._left.wait()
        return {"left_s": monotonic()}

    async def submit(
        self,
        *,
        count: int,
        batch: int = 1,
        orders_per_s: float | None = None,
        at_once: bool = False,
        start_s: float | None = None,
        seed: int = 1,
    ) -> Results:
        """Submit so many random orders, ``batch`` a submit: one submit after the other, or at that
        rate as they fall due, whatever became of those before, or all ``at_once``. From ``start_s``
        on, if given; the orders are made before that."""
        submits = _Submits(self._running, self._genesis, batch, seed)
        submits.prepare(count)
        await _sleep_until(start_s or 0)
        if at_once:
            await submits.at_once(count)
        elif orders_per_s is None:
            await submits.in_turn(count)
        else:
            await submits.when_due(orders_per_s, start_s or monotonic(), count)
        return submits.result()

    async def trade(self, *, orders_per_s: float, batch: int = 1, seed: int = 1) -> Results:
        """Submit random orders as they fall due until ``rest``; answers at once. Each entry that
        is acknowledged is told (``PeerProcess.acknowledged``)."""
        assert self._nursery is not None
        if self._trading is not None:
            raise ValueError(f"{self._name} trades already; ask it to rest first")
        self._trading = _Submits(self._running, self._genesis, batch, seed, tell=True)
        self._nursery.start_soon(self._trading.when_due, orders_per_s, monotonic(), inf)
        return {}

    async def rest(self) -> Results:
        """No more trading; answers when every submit has its answer, as ``submit`` does."""
        if self._trading is None:
            raise ValueError(f"{self._name} does not trade; ask it to trade first")
        trading, self._trading = self._trading, None
        await trading.stop()
        return trading.result()

    async def watch(self) -> Results:
        """From now on, note when each command's first event comes out of a subscription."""
        assert self._nursery is not None
        await self._nursery.start(self._watch)
        return {}

    async def seen(self, *, count: int) -> Results:
        """Once ``watch`` has noted so many commands: {"AUTHOR:SEQ:INDEX": time}."""
        while len(self._seen_s) < count:
            await trio.sleep(POLL_S)
        return {"seen_s": self._seen_s}

    async def hold(self, *, entries: int = 0, frontier: dict[str, int] | None = None) -> Results:
        """Answers when it holds so many entries and, of each author of ``frontier``, so many: with
        that moment, and that at which its books were settled and its roots known."""
        replica = self._running.running.replica
        lengths = {
            gb.PeerId(bytes.fromhex(one)): length for one, length in (frontier or {}).items()
        }
        while replica.entry_count < entries or any(
            replica.frontier.get(author).length < length for author, length in lengths.items()
        ):
            await trio.sleep(POLL_S)
        held_s, processor_s = monotonic(), process_time()
        return {**self._roots(), "held_s": held_s, "processor_s": processor_s}

    async def status(self) -> Results:
        """How the peer is: what it holds, its links and how they came and went, what it cost."""
        peer = self._running
        statistics = peer.statistics()
        return {
            **self._roots(),
            "trades": statistics.trades,
            "commands": statistics.applied_commands - statistics.undone_commands,
            "undone_commands": statistics.undone_commands,
            "queue_drops": statistics.queue_drops,
            "sent_bytes": statistics.gossip.total_sent_bytes,
            "proofs": len(peer.proofs()),
            "frontier": {head.author.hex(): head.length for head in peer.replica.frontier.heads()},
            "peers": [peer_id.hex() for peer_id in peer.peers()],
            "changes": self._changes,  # (time, "up" or "down", peer id, reason)
            "events": self._events,
            "processor_s": process_time(),
            "peak_memory_bytes": peak_memory_bytes(),
        }

    async def profile(self) -> Results:
        """From now on, note where the time goes in the thread of the peer, in which all signatures
        are checked meanwhile."""
        gossipbook.driver.BULK_SIGNATURES = 1 << 30
        self._profiler.enable()
        return {}

    async def profiled(self, *, path: str) -> Results:
        """No more of that; what was found goes to a file for ``pstats``."""
        self._profiler.disable()
        self._profiler.dump_stats(path)
        return {}

    def _roots(self) -> Results:
        peer = self._running
        return {
            "entries": peer.entry_count,
            "frontier_root": peer.frontier_root.hex(),
            "book_root": peer.root.hex(),
            "settled_s": monotonic(),
        }

    # ---------------------------------------------------------------- tasks

    async def run(self) -> None:
        """Take requests, and answer each in a task of its own."""
        to_answer, requests = trio.open_memory_channel[str](inf)
        token = trio.lowlevel.current_trio_token()

        def listen() -> None:
            for line in sys.stdin:
                token.run_sync_soon(to_answer.send_nowait, line)
            os._exit(0)  # nobody asks any more; nothing may keep this process alive

        threading.Thread(target=listen, daemon=True).start()
        async with trio.open_nursery() as self._nursery:
            async for line in requests:
                self._nursery.start_soon(self._answer, json.loads(line))

    async def _answer(self, request: Results) -> None:
        number, what = request.pop("id"), request.pop("what")
        answer: Callable[..., Awaitable[Results]] = getattr(self, what)
        try:
            _say({"id": number, "answer": await answer(**request)})
        except gb.GossipbookError as error:
            _say({"id": number, "error": f"{type(error).__name__}: {error}"})
        except Exception:
            _say({"id": number, "error": traceback.format_exc()})

    async def _live(
        self,
        opening: Any,
        task_status: trio.TaskStatus[gb.Peer] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        async with opening as self._peer, trio.open_nursery() as nursery:
            assert self._peer is not None
            await nursery.start(self._note_events, self._peer)
            task_status.started(self._peer)
            try:
                await self._leaving.wait()
            except trio.Cancelled:  # it broke; the traceback follows, if closing it comes to an end
                print(f"the peer of {self._name} broke", file=sys.stderr, flush=True)
                raise
            nursery.cancel_scope.cancel()
        self._left.set()

    async def _note_events(
        self, peer: gb.Peer, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        async with peer.events(buffer=10_000) as events:
            task_status.started()
            async for event in events:
                if isinstance(event, gb.PeerUp):
                    self._changes.append((monotonic(), "up", event.peer_id.hex(), ""))
                elif isinstance(event, gb.PeerDown):
                    self._changes.append((monotonic(), "down", event.peer_id.hex(), event.reason))
                else:
                    self._events.append(repr(event))

    async def _watch(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with self._running.subscribe(buffer=100_000) as updates:
            for _ in self._genesis.markets:
                await anext(updates)  # the history until now
            task_status.started()
            async for update in updates:
                now_s = monotonic()
                for event in update.events:
                    command = event.command_id
                    name = f"{command.author.hex()}:{command.seq}:{command.index}"
                    self._seen_s.setdefault(name, now_s)

    @property
    def _running(self) -> gb.Peer:
        if self._peer is None:
            raise ValueError(f"{self._name} has no peer yet; ask it to open first")
        return self._peer


class _Submits:
    """Random orders, submitted, and what came of each submit."""

    def __init__(
        self, peer: gb.Peer, genesis: gb.Genesis, batch: int, seed: int, *, tell: bool = False
    ) -> None:
        self._peer = peer
        random = SeededRandom(seed).child(peer.peer_id.hex())
        self._orders: Iterator[gb.LimitOrder] = _random_orders(genesis, random)
        self._batch = batch
        self._tell = tell
        self._submits: list[tuple[int, int, float, float]] = []
        self._entries: set[bytes] = set()
        self._failed: Counter[str] = Counter()
        self._failures: list[str] = []
        self._start_processor_s = process_time()
        self._scope = trio.CancelScope()
        self._stopped = trio.Event()

    def prepare(self, count: int) -> None:
        """Make so many orders now, so that making them takes no time later."""
        self._orders = chain(list(islice(self._orders, count)), self._orders)

    async def at_once(self, count: int) -> None:
        """Every submit by a task of its own: those that wait share an entry."""
        async with trio.open_nursery() as nursery:
            for first in range(0, count, self._batch):
                nursery.start_soon(self._submit, min(self._batch, count - first), monotonic())

    async def in_turn(self, count: int) -> None:
        """One submit after the other."""
        for first in range(0, count, self._batch):
            await self._submit(min(self._batch, count - first), monotonic())

    async def when_due(self, orders_per_s: float, start_s: float, count: float) -> None:
        """Each submit at its time, in a task of its own; until so many orders, or ``stop``."""
        async with trio.open_nursery() as nursery:
            with self._scope:
                submitted = 0
                while submitted < count:
                    due_s = start_s + submitted / orders_per_s
                    await _sleep_until(due_s)
                    size = int(min(self._batch, count - submitted))
                    nursery.start_soon(self._submit, size, due_s)
                    submitted += size
        self._stopped.set()

    async def stop(self) -> None:
        """No more submits; returns when all have their answer."""
        self._scope.cancel()
        await self._stopped.wait()

    async def _submit(self, size: int, due_s: float) -> None:
        orders = [next(self._orders) for _ in range(size)]
        try:
            receipt = (await self._peer.submit(orders))[0]
        except gb.GossipbookError as error:
            self._failed[type(error).__name__] += 1
            self._failures.append(f"{type(error).__name__}: {error}")
            return
        command = receipt.command_id
        self._submits.append((command.seq, command.index, due_s, monotonic()))
        self._entries.add(receipt.entry_id)
        if self._tell:
            _say({"acknowledged": receipt.entry_id.hex()})

    def result(self) -> Results:
        """What came of it, as JSON takes it."""
        return {
            "submits": self._submits,  # (seq, index of its first order, due, returned)
            "entries": len(self._entries),
            "failed": self._failed,  # {exception: how many submits}
            "failures": self._failures[:10],
            "done_s": monotonic(),
            "processor_s": process_time() - self._start_processor_s,
        }


def _random_orders(genesis: gb.Genesis, random: SeededRandom) -> Iterator[gb.LimitOrder]:
    """Limit orders around one price, so that nearly half of them trade when they come in."""
    market = genesis.markets[0]
    while True:
        yield gb.LimitOrder(
            market.symbol,
            ("buy", "sell")[random.below(2)],
            price=market.ticks_to_price(6_400_000 + random.between(-6_000, 6_000)),
            quantity=market.lots_to_quantity(random.between(1, 9_999)),
        )


async def _sleep_until(monotonic_s: float) -> None:
    await trio.sleep(max(0.0, monotonic_s - monotonic()))


def _say(what: Results) -> None:
    """At once and unbuffered: what was said is heard, though the process be killed right after."""
    data = (json.dumps(what) + "\n").encode()
    while data:
        data = data[os.write(1, data) :]


if __name__ == "__main__":
    serve_peer(**json.loads(sys.argv[1]))
