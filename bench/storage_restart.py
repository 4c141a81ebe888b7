"""How a peer with a long log starts again, and how it goes on under Python's garbage collector.

Every measurement runs in a fresh process, so that none inherits the memory of another. The logs are
those of a peer that has traded with 15 others, 1, 16 or 256 orders an entry:

- *restart*: the store is opened. Time until the file is read, until the body of ``open_peer`` runs
  and until the book is settled, with the collector on and off; memory afterwards.
- *trading*: a peer with such a log takes more orders. The collector has to look at everything
  that the peer holds, and meanwhile nothing else runs: how long, as Python comes and tuned. Its
  store is in memory, for a disk's pauses would hide those of the collector.

``bench/storage.py`` asks for all this and prints the tables.
"""

import argparse
import cProfile
import gc
import io
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, TypeVar

import trio

import gossipbook as gb
import gossipbook.storage.sqlite
from bench.profile_stages import print_profile
from bench.report import Results
from bench.simulation import resident_bytes
from gossipbook.book.payload import Cancellation, Instruction, Placement, encode_payload
from gossipbook.identity import PeerId
from gossipbook.log.clock import hlc_at
from gossipbook.log.entry import NO_ENTRY, Entry, EntryId, sign_entry
from gossipbook.randomness import SeededRandom
from gossipbook.storage.interface import OpenStore, Store
from gossipbook.storage.log_file import LogFile

ROOT = Path(__file__).resolve().parent.parent
SYMBOL = "BTC-USD"
GENESIS = gb.Genesis("bench storage", [gb.Market(SYMBOL, "0.01", "0.0001")])
AUTHORS = 16
EPOCH_MS = 1_767_225_600_000  # 2026-01-01 UTC
WRITE_ENTRIES = 1_000
"""Entries in a transaction while a store is being made."""

TRADING_BATCH = 16
TRADING_SUBMITTERS = 16
THRESHOLDS = (50_000, 20, 100)

_T = TypeVar("_T")


def in_fresh_process(what: str, **request: object) -> Results:
    """Let a fresh process measure "restart", "profile" or "trading"; what it found."""
    described = json.dumps({"what": what, **request})
    command = [sys.executable, "-m", "bench.storage_restart", described]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
    result: Results = json.loads(done.stdout)
    return result


def main() -> None:
    """In the fresh process: measure, and print the result as one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.storage_restart", description=__doc__)
    parser.add_argument("request", help="what bench/storage.py asks for, as JSON")
    request = json.loads(parser.parse_args().request)
    measures: dict[str, Callable[..., Results]] = {
        "restart": measure_restart,
        "profile": profile_restart,
        "trading": measure_trading,
    }
    print(json.dumps(measures[request.pop("what")](**request)))


# ==================================================================== restart


def measure_restart(store: str, orders: int, collecting: bool = True) -> Results:
    """Open the store, and wait until its book is settled."""
    return trio.run(_restart, store, orders, collecting)


async def _restart(path: str, orders: int, collecting: bool) -> Results:
    before_bytes = resident_bytes()
    store = _TimedStore(gb.SqliteStore(path))
    if not collecting:
        gc.disable()
    with _watched_collector() as collector:
        start_s = perf_counter()
        async with gb.open_peer(GENESIS, keypair_of(0), store=store, alone=True) as peer:
            body_s = perf_counter() - start_s
            await _settled(peer)
            settled_s = perf_counter() - start_s
            collector_s = sum(collector.pauses_s)
            gc.enable()
            assert not peer.damage, peer.damage
            assert len(peer.commands(SYMBOL)) == orders, "not every order is in the book"
            return {
                "read_s": store.opened_s,
                "body_s": body_s,
                "settled_s": settled_s,
                "collector_s": collector_s,
                "bytes_per_order": (resident_bytes() - before_bytes) / orders,
            }


def profile_restart(store: str, orders: int) -> Results:
    """The same under cProfile, which sees one thread: so the file is read in that one."""
    profiler = cProfile.Profile()
    with _files_in_this_thread():
        profiler.runcall(trio.run, _restart, store, orders, True)
    out = io.StringIO()
    with redirect_stdout(out):
        print_profile(profiler, orders)
    return {"table": out.getvalue()}


@contextmanager
def _files_in_this_thread() -> Iterator[None]:
    async def run_here(
        work: Callable[[], _T], *, limiter: trio.CapacityLimiter | None = None
    ) -> _T:
        await trio.lowlevel.checkpoint()
        return work()

    module: Any = gossipbook.storage.sqlite
    elsewhere = module.run_blocking
    module.run_blocking = run_here
    try:
        yield
    finally:
        module.run_blocking = elsewhere


class _TimedStore:
    """A store that notes how long it took to open."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.opened_s = 0.0

    @asynccontextmanager
    async def open(self, genesis: gb.Genesis, peer_id: PeerId) -> AsyncIterator[OpenStore]:
        start_s = perf_counter()
        async with self._store.open(genesis, peer_id) as opened:
            self.opened_s = perf_counter() - start_s
            yield opened


async def _settled(peer: gb.Peer) -> None:
    peer.book(SYMBOL)
    while peer.running.replica.needs_settling:
        await trio.sleep(0.001)


# ==================================================================== trading


def _raise_thresholds() -> None:
    gc.set_threshold(*THRESHOLDS)


TUNINGS: dict[str, tuple[Callable[[], None], ...]] = {
    "as Python comes": (),
    "gc.freeze()": (gc.freeze,),
    f"gc.set_threshold{THRESHOLDS}": (_raise_thresholds,),
    "both": (gc.freeze, _raise_thresholds),
}
"""What is done to the collector once the book is settled, before more orders come."""


def measure_trading(orders: int, more: int, tuning: str, seed: int) -> Results:
    """Start from a log of ``orders``, tune the collector, and submit ``more`` orders."""
    return trio.run(_trade, orders, more, tuning, seed)


async def _trade(orders: int, more: int, tuning: str, seed: int) -> Results:
    coming = iter(limit_orders(more, seed))
    delays_s: list[float] = []

    async def submit(peer: gb.Peer) -> None:
        for order in coming:
            called_s = perf_counter()
            await peer.submit(order)
            delays_s.append(perf_counter() - called_s)

    store = await _memory_store(orders, seed)
    async with gb.open_peer(GENESIS, keypair_of(0), store=store, alone=True, seed=seed) as peer:
        await _settled(peer)
        gc.collect()
        for tune in TUNINGS[tuning]:
            tune()
        before_bytes = resident_bytes()
        with _watched_collector() as collector:
            start_s, start_processor_s = perf_counter(), process_time()
            async with trio.open_nursery() as nursery:
                for _ in range(TRADING_SUBMITTERS):
                    nursery.start_soon(submit, peer)
            wall_s, processor_s = perf_counter() - start_s, process_time() - start_processor_s
        assert len(peer.commands(SYMBOL)) == orders + more, "not every order is in the book"
        return {
            "orders_per_s": more / wall_s,
            "processor_us_per_order": 1e6 * processor_s / more,
            "delays_ms": {
                str(part): percentile_ms(sorted(delays_s), part) for part in (50, 99, 100)
            },
            "collections": len(collector.pauses_s),
            "full_collections": collector.full,
            "collector_part": sum(collector.pauses_s) / wall_s,
            "longest_pause_ms": 1e3 * max(collector.pauses_s, default=0.0),
            "bytes_per_order": (resident_bytes() - before_bytes) / more,
        }


async def _memory_store(orders: int, seed: int) -> gb.MemoryStore:
    store = gb.MemoryStore()
    async with store.open(GENESIS, keypair_of(0).peer_id) as opened:
        entries = list(sample_log(orders, TRADING_BATCH, seed))
        await opened.write(entries, (), max(entry.hlc for entry in entries))
    return store


@dataclass(slots=True)
class _Collector:
    """How long each run of the garbage collector took, and how many looked at everything."""

    pauses_s: list[float] = field(default_factory=list)
    full: int = 0
    _start_s: float = 0.0

    def note(self, phase: str, information: dict[str, int]) -> None:
        if phase == "start":
            self._start_s = perf_counter()
        else:
            self.pauses_s.append(perf_counter() - self._start_s)
            self.full += information["generation"] == 2


@contextmanager
def _watched_collector() -> Iterator[_Collector]:
    collector = _Collector()
    gc.callbacks.append(collector.note)
    try:
        yield collector
    finally:
        gc.callbacks.remove(collector.note)


# ==================================================================== what is fed in


def write_store(path: Path, orders: int, batch: int, seed: int) -> None:
    """The store of a peer that holds a log of so many orders, ``batch`` an entry."""
    with closing(LogFile(path, GENESIS, keypair_of(0).peer_id)) as file:
        file.load()
        waiting: list[Entry] = []
        for entry in sample_log(orders, batch, seed):
            waiting.append(entry)
            if len(waiting) == WRITE_ENTRIES:
                file.append(waiting, (), entry.hlc)
                waiting = []
        if waiting:
            file.append(waiting, (), waiting[-1].hlc)


def sample_log(orders: int, batch: int, seed: int) -> Iterator[Entry]:
    """Entries of 16 authors who take turns by chance, oldest first; two orders in five cancel.

    The last entry of each author holds what is left.
    """
    random = SeededRandom(seed).child("log")
    logs = [_Log(keypair_of(author)) for author in range(AUTHORS)]
    for number in range(orders):
        log = logs[random.below(AUTHORS)]
        log.gather(random)
        if len(log.basket) == batch:
            yield log.write(EPOCH_MS + number)
    for log in logs:
        if log.basket:
            yield log.write(EPOCH_MS + orders)


@dataclass(slots=True)
class _Log:
    """An author at work: what its next entry will hold, and what it may still cancel."""

    keypair: gb.Keypair
    length: int = 0
    head: EntryId = NO_ENTRY
    basket: list[Instruction] = field(default_factory=list)
    placed: list[tuple[int, int]] = field(default_factory=list)

    def gather(self, random: SeededRandom) -> None:
        if self.placed and random.below(5) < 2:
            self.basket.append(Cancellation(0, *self.placed.pop()))
            return
        self.placed.append((self.length, len(self.basket)))
        price = 6_400_000 + random.between(-60, 60)
        self.basket.append(Placement(0, random.below(2), price, random.between(1, 9_999), 0))

    def write(self, now_ms: int) -> Entry:
        entry = sign_entry(
            self.keypair,
            network_id=GENESIS.network_id,
            seq=self.length,
            prev=self.head,
            hlc=hlc_at(now_ms),
            payload=encode_payload(self.basket),
        )
        self.length, self.head = self.length + 1, entry.id
        self.basket.clear()
        return entry


def limit_orders(count: int, seed: int) -> list[gb.LimitOrder]:
    """Limit orders around one price, so that nearly half of them trade when they come in."""
    random = SeededRandom(seed).child("orders")
    return [
        gb.LimitOrder(
            SYMBOL,
            ("buy", "sell")[random.below(2)],
            price=f"{64_000 + random.between(-60, 60)}.{random.below(100):02d}",
            quantity=f"0.{random.between(1, 9_999):04d}",
        )
        for _ in range(count)
    ]


def keypair_of(author: int) -> gb.Keypair:
    """The key of one of the authors; the peer itself is number 0."""
    return gb.Keypair.from_seed(bytes([1 + author]) * 32)


def percentile_ms(delays_s: Sequence[float], percent: int) -> float:
    """What ``percent`` of the delays, which come shortest first, did not exceed (nearest rank)."""
    return 1e3 * delays_s[max(-(-len(delays_s) * percent // 100), 1) - 1]


if __name__ == "__main__":
    main()
