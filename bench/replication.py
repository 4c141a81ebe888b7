"""Peers that write all at once, until all hold the same book; and how soon an order is visible.

*Rate*: N trio peers over a `MemoryNetwork` without latency, in one process and one thread but for
bulk signatures. Each submits its share, and the clock stops when all hold equal frontiers and
equal books. In the same round the same number of records goes through PySyncObj and pycrdt
(`rivals`), so that ratios of one round can be trusted.

*Latency*: orders fall due at 200 a second in total, and one is visible at a peer when its event
comes out of that peer's subscription. A late submit counts from when it was due.

"Each for itself" is what peers in processes of their own would do: every peer checks every
signature and decodes every run. "Shared" lets them share one `Verifier` and the memory of decoded
runs, as peers of one process may.

    python -m bench.replication [--small] [--rounds N] [--profile] [--json FILE]
"""

import argparse
import cProfile
import gc
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import trio

import gossipbook as gb
import gossipbook.driver
import gossipbook.log.entry
from bench import rivals
from bench.profile_stages import print_profile, stage_seconds
from bench.replication_work import LatencyResult, RateResult, RivalMissing, check_share, count_due
from bench.report import Results, print_table, progress, write_json
from gossipbook.log.verification import Verifier
from gossipbook.peer_view import hold_equal_books
from gossipbook.randomness import SeededRandom

SYMBOL = "BTC-USD"
SHARES = rivals.SHARES
SMALL_SHARES = {3: 200, 8: 50}
LATENCY_S = 3.0
SMALL_LATENCY_S = 1.0
"""How long orders fall due while latency is measured, in each round."""
BATCHES = (1, 16, 256)
COMPARED_BATCH = 16
AIMS = {3: 0.8, 8: 0.45}
"""Times PySyncObj's rate that 16 orders an entry, each peer for itself, should reach."""
P50_AIM_MS = 10.0
P99_AIM_MS = 50.0

WARM_ORDERS = 32
"""Orders that each peer submits before the clock starts."""
POLL_S = 0.002
RUN_LIMIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of gossipbook."""

    rate: RateResult
    submitted_s: float
    """When the last submit had returned."""
    undone_per_record: float
    """Commands that a peer took back because an earlier one came in late, mean of all peers."""
    entries: int
    messages: int


def main(arguments: list[str] | None = None) -> Results:
    """Print the tables; the raw results."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.replication",
        description="Rate until all peers agree and latency, beside PySyncObj and pycrdt.",
    )
    parser.add_argument("--small", action="store_true", help="a fifth of the orders, one round")
    parser.add_argument("--rounds", type=int, help="rounds to take medians of (5; small 1)")
    parser.add_argument(
        "--profile", action="store_true", help="run once more under cProfile: where the time goes"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="save the raw results here")
    options = parser.parse_args(arguments)
    rounds = options.rounds or (1 if options.small else 5)
    if rounds < 1:
        parser.error(f"--rounds {rounds}: give at least 1")
    shares = SMALL_SHARES if options.small else SHARES
    seconds = SMALL_LATENCY_S if options.small else LATENCY_S
    results: Results = {
        "rates": measure_rates(shares, rounds, options.seed),
        "latencies": measure_latencies(tuple(shares), rounds, seconds=seconds, seed=options.seed),
    }
    for nodes, share in shares.items():
        print_rates(results["rates"][str(nodes)], nodes, share)
    print_latencies(results["latencies"])
    if options.profile:
        results["profile"] = measure_profiles(shares, seconds=seconds, seed=options.seed)
    if options.json is not None:
        write_json(options.json, {"replication": results})
    return results


# ==================================================================== rate


def run_gossipbook(
    peers: int,
    orders_per_peer: int,
    *,
    batch: int = 1,
    at_once: bool = False,
    shared: bool = False,
    seed: int = 1,
    profiler: cProfile.Profile | None = None,
) -> Measured:
    """Peers that submit their orders, ``batch`` an entry and one entry after the other.

    ``at_once``: every order by a task of its own instead, so that those that wait while an entry
    is written share the next one. ``shared``: peers share checked signatures and decoded runs.
    """
    check_share(peers, orders_per_peer, batch)
    load = partial(_submit_at_once if at_once else _submit_in_turn, batch=batch)
    with _nothing_remembered(not shared):
        return trio.run(_run_gossipbook, peers, orders_per_peer, load, shared, seed, profiler)


Load = Callable[[gb.Peer, Sequence[gb.LimitOrder]], Any]
"""An async function that submits a peer's orders and returns when all are submitted."""


async def _submit_in_turn(peer: gb.Peer, orders: Sequence[gb.LimitOrder], *, batch: int) -> None:
    for first in range(0, len(orders), batch):
        await peer.submit(orders[first : first + batch])


async def _submit_at_once(peer: gb.Peer, orders: Sequence[gb.LimitOrder], *, batch: int) -> None:
    async with trio.open_nursery() as nursery:
        for first in range(0, len(orders), batch):
            nursery.start_soon(peer.submit, orders[first : first + batch])


async def _run_gossipbook(
    count: int,
    orders_per_peer: int,
    load: Load,
    shared: bool,
    seed: int,
    profiler: cProfile.Profile | None,
) -> Measured:
    shares = [_orders(orders_per_peer, seed, peer) for peer in range(count)]
    network = gb.MemoryNetwork(seed=seed)
    with trio.fail_after(RUN_LIMIT_S):
        async with _linked_peers(count, network, shared=shared, seed=seed) as peers:
            before = _Counts.of(peers, network)
            gc.collect()
            start_s, start_processor_s = perf_counter(), process_time()
            with _profiled(profiler):
                async with trio.open_nursery() as nursery:
                    for peer, orders in zip(peers, shares, strict=True):
                        nursery.start_soon(load, peer, orders)
                submitted_s = perf_counter() - start_s
                await _wait_until_equal(peers)
            wall_s, processor_s = perf_counter() - start_s, process_time() - start_processor_s
            done = _Counts.of(peers, network).since(before)
    records = count * orders_per_peer
    assert done.commands == count * records, f"{done.commands} of {count * records} commands"
    return Measured(
        RateResult("gossipbook", count, records, wall_s, processor_s, done.message_bytes),
        submitted_s,
        undone_per_record=done.undone / (count * records),
        entries=done.entries // count,
        messages=done.messages,
    )


@dataclass(frozen=True, slots=True)
class _Counts:
    """Sums over all peers, and what their network carried."""

    commands: int
    undone: int
    entries: int
    messages: int
    message_bytes: int

    @classmethod
    def of(cls, peers: Sequence[gb.Peer], network: gb.MemoryNetwork) -> "_Counts":
        statistics = [peer.statistics() for peer in peers]
        undone = sum(one.undone_commands for one in statistics)
        return cls(
            commands=sum(one.applied_commands for one in statistics) - undone,
            undone=undone,
            entries=sum(one.entries for one in statistics),
            messages=network.counters.messages,
            message_bytes=network.counters.message_bytes,
        )

    def since(self, before: "_Counts") -> "_Counts":
        return _Counts(
            self.commands - before.commands,
            self.undone - before.undone,
            self.entries - before.entries,
            self.messages - before.messages,
            self.message_bytes - before.message_bytes,
        )


@asynccontextmanager
async def _linked_peers(
    count: int, network: gb.MemoryNetwork, *, shared: bool, seed: int
) -> AsyncIterator[list[gb.Peer]]:
    """Open peers, each linked to all others, that hold a few orders of everybody already."""
    genesis = gb.Genesis("bench replication", [gb.Market(SYMBOL, "0.01", "0.0001")])
    verifier = Verifier() if shared else None
    peers: list[gb.Peer] = []
    async with AsyncExitStack() as stack:
        for number in range(count):
            opening = gb.open_peer(
                genesis,
                gb.Keypair.from_seed(bytes([1 + number]) * 32),
                transport=network.transport(f"peer-{number}"),
                bootstrap=[f"peer-{other}" for other in range(number)],
                alone=True,
                seed=seed + number,
                verifier=verifier,
            )
            peers.append(await stack.enter_async_context(opening))
        while any(len(peer.peers()) < count - 1 for peer in peers):
            await trio.sleep(POLL_S)
        async with trio.open_nursery() as nursery:
            for number, peer in enumerate(peers):
                warm = _orders(WARM_ORDERS, seed + 1, number)
                nursery.start_soon(partial(_submit_in_turn, batch=4), peer, warm)
        await _wait_until_equal(peers)
        yield peers


async def _wait_until_equal(peers: Sequence[gb.Peer]) -> None:
    """As `gb.wait_until_equal`, but looks ten times as often."""
    while not hold_equal_books(peers):
        await trio.sleep(POLL_S)


@contextmanager
def _nothing_remembered(wanted: bool) -> Iterator[None]:
    """If wanted, let no peer find a run decoded that another peer of this process decoded."""
    module = gossipbook.log.entry
    limit_bytes = module.MAX_REMEMBERED_BYTES
    module.decode_run.cache_clear()
    module.MAX_REMEMBERED_BYTES = 0 if wanted else limit_bytes
    try:
        yield
    finally:
        module.MAX_REMEMBERED_BYTES = limit_bytes


def _orders(count: int, seed: int, peer: int) -> list[gb.LimitOrder]:
    """Limit orders around one price, so that nearly half of them trade when they come in."""
    random = SeededRandom(seed).child(f"orders of {peer}")
    return [
        gb.LimitOrder(
            SYMBOL,
            ("buy", "sell")[random.below(2)],
            price=f"{64_000 + random.between(-60, 60)}.{random.below(100):02d}",
            quantity=f"0.{random.between(1, 9_999):04d}",
        )
        for _ in range(count)
    ]


# ==================================================================== latency


def gossipbook_latency(
    peers: int,
    seconds: float,
    *,
    records_per_s: float = rivals.LATENCY_RATE,
    shared: bool = False,
    seed: int = 1,
    profiler: cProfile.Profile | None = None,
) -> LatencyResult:
    """Peers that submit an order each in turn, as it falls due, while all are subscribed."""
    count = count_due(peers, seconds, records_per_s)
    with _nothing_remembered(not shared):
        return trio.run(_gossipbook_latency, peers, count, records_per_s, shared, seed, profiler)


async def _gossipbook_latency(
    peer_count: int,
    count: int,
    records_per_s: float,
    shared: bool,
    seed: int,
    profiler: cProfile.Profile | None,
) -> LatencyResult:
    orders = _orders(count, seed, 0)
    network = gb.MemoryNetwork(seed=seed)
    watches = [_Watch() for _ in range(peer_count)]
    with trio.fail_after(RUN_LIMIT_S + count / records_per_s):
        async with (
            _linked_peers(peer_count, network, shared=shared, seed=seed) as peers,
            trio.open_nursery() as nursery,
        ):
            for peer, watch in zip(peers, watches, strict=True):
                await nursery.start(watch.run, peer)
            gc.collect()
            with _profiled(profiler):
                start_s = trio.current_time()
                due_s = [start_s + at / records_per_s for at in range(count)]
                submitted = await _submit_when_due(peers, orders, due_s)
                for command_id in submitted:
                    for watch in watches:
                        await watch.wait_for(command_id)
            nursery.cancel_scope.cancel()
    delays_s = []
    for at, command_id in enumerate(submitted):
        others = [watch for number, watch in enumerate(watches) if number != at % peer_count]
        delays_s.append(max(watch.seen_s[command_id] for watch in others) - due_s[at])
    return LatencyResult("gossipbook", peer_count, tuple(sorted(delays_s)))


async def _submit_when_due(
    peers: Sequence[gb.Peer], orders: Sequence[gb.LimitOrder], due_s: Sequence[float]
) -> list[gb.CommandId]:
    """Each order at its time, by the peer whose turn it is, whatever became of those before."""
    submitted: dict[int, gb.CommandId] = {}

    async def submit(at: int) -> None:
        receipt = await peers[at % len(peers)].submit(orders[at])
        submitted[at] = receipt.command_id

    async with trio.open_nursery() as nursery:
        for at, time_s in enumerate(due_s):
            await trio.sleep_until(time_s)
            nursery.start_soon(submit, at)
    return [submitted[at] for at in range(len(orders))]


class _Watch:
    """When each command's first event came out of one peer's subscription."""

    def __init__(self) -> None:
        self.seen_s: dict[gb.CommandId, float] = {}

    async def run(
        self, peer: gb.Peer, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        async with peer.subscribe(SYMBOL) as updates:
            task_status.started()
            async for update in updates:
                now_s = trio.current_time()
                for event in update.events:
                    self.seen_s.setdefault(event.command_id, now_s)

    async def wait_for(self, command_id: gb.CommandId) -> None:
        while command_id not in self.seen_s:
            await trio.sleep(POLL_S)


# ==================================================================== all of it, in turns


def rate_runs(seed: int) -> dict[str, Callable[[int, int], RateResult | Measured]]:
    """Every variant whose rate is measured, ours and theirs: (nodes, records each) to a result."""
    ours = partial(run_gossipbook, seed=seed)
    runs: dict[str, Callable[[int, int], RateResult | Measured]] = {}
    for shared in (False, True):
        how = "shared" if shared else "each for itself"
        for batch in BATCHES:
            runs[f"gossipbook, {batch} an entry, {how}"] = partial(ours, batch=batch, shared=shared)
        runs[f"gossipbook, all at once, {how}"] = partial(ours, at_once=True, shared=shared)
    return runs | rivals.RATE_RUNS


COMPARED = f"gossipbook, {COMPARED_BATCH} an entry, each for itself"


def measure_rates(shares: dict[int, int], rounds: int, seed: int) -> Results:
    """{nodes: {variant: a result a round}}; in a round all variants take turns."""
    found: Results = {str(nodes): {} for nodes in shares}
    for at in range(rounds):
        for nodes, share in shares.items():
            for name, run in rate_runs(seed + at).items():
                progress(f"replication: {name}, N={nodes}, round {at + 1} of {rounds}")
                try:
                    result = _raw_rate(run(nodes, share))
                except RivalMissing as missing:
                    progress(str(missing))
                    continue
                found[str(nodes)].setdefault(name, []).append(result)
    return found


def _raw_rate(result: RateResult | Measured) -> Results:
    """One run as JSON takes it."""
    if isinstance(result, RateResult):
        return rivals.raw_rate(result)
    return {
        **rivals.raw_rate(result.rate),
        "submitted_s": result.submitted_s,
        "undone_per_record": result.undone_per_record,
        "entries": result.entries,
        "messages": result.messages,
    }


def latency_runs(seed: int) -> dict[str, Callable[[int, float], LatencyResult]]:
    """Every variant whose latency is measured: (nodes, seconds) to a result."""
    ours = {"gossipbook, each for itself": partial(gossipbook_latency, seed=seed)}
    return ours | rivals.LATENCY_RUNS


def measure_latencies(
    sizes: Sequence[int], rounds: int, *, seconds: float, seed: int
) -> dict[str, dict[str, list[Results]]]:
    """{variant: {nodes: a result a round}}; in a round all variants take turns."""
    found: dict[str, dict[str, list[Results]]] = {}
    for at in range(rounds):
        for nodes in sizes:
            for name, run in latency_runs(seed + at).items():
                progress(f"replication: latency of {name}, N={nodes}, round {at + 1} of {rounds}")
                try:
                    result = rivals.raw_latency(run(nodes, seconds))
                except RivalMissing as missing:
                    progress(str(missing))
                    continue
                found.setdefault(name, {}).setdefault(str(nodes), []).append(result)
    return found


# ==================================================================== tables


def print_rates(found: dict[str, list[Results]], nodes: int, share: int) -> None:
    """A row a variant, for one number of nodes; and what became of the aim."""
    print(
        f"N={nodes}: {nodes} x {share:,} records until all nodes agree; rounds: "
        f"{max(map(len, found.values()))}; medians, and ratios within a round\n"
    )
    rivals_rates = [name for name in ("PySyncObj", "PySyncObj, tuned") if name in found]
    anchors = {name: rivals.anchor_rates(name).get(nodes) for name in found}
    head = ["", "records/s", "(least-most)", *[f"x {name}" for name in rivals_rates]]
    head += ["processor us", "wire bytes", "undone", *(["anchor"] if any(anchors.values()) else [])]
    rows = []
    for name, results in found.items():
        rates = [one["records_per_s"] for one in results]
        row = [name, f"{median(rates):,.0f}", f"({min(rates):,.0f}-{max(rates):,.0f})"]
        row += [f"{median(ratios(results, found[rival])):.2f}" for rival in rivals_rates]
        row.append(_median_cell(results, "processor_us_per_record", "{:.0f}"))
        row.append(_median_cell(results, "wire_bytes_per_record", "{:,.0f}"))
        row.append(_median_cell(results, "undone_per_record", "{:.2f}"))
        row += [_cell(anchors[name], "{:,.0f}")] if any(anchors.values()) else []
        rows.append(row)
    print_table(head, rows)
    for rival in rivals_rates:
        print(_verdict(nodes, ratios(found[COMPARED], found[rival]), rival))
    print(flush=True)


def ratios(ours: Sequence[Results], theirs: Sequence[Results]) -> list[float]:
    """Our rate over theirs, round by round."""
    return [
        one["records_per_s"] / other["records_per_s"]
        for one, other in zip(ours, theirs, strict=True)
    ]


def _verdict(nodes: int, found: Sequence[float], rival: str) -> str:
    aim = f"; the aim is {AIMS[nodes]}" if rival == "PySyncObj" and nodes in AIMS else ""
    return (
        f"{COMPARED}: {median(found):.2f} x {rival} ({min(found):.2f}-{max(found):.2f} in single "
        f"rounds{aim})"
    )


def print_latencies(found: dict[str, dict[str, list[Results]]]) -> None:
    """A row a variant: p50 and p99 for each number of nodes."""
    print(
        f"ms from due to visible at all other nodes, {rivals.LATENCY_RATE} records/s in total: "
        "p50 / p99, medians of the rounds\n"
    )
    sizes = list(next(iter(found.values())))
    rows = [
        [
            name,
            *[
                f"{_median_cell(results, 'p50_ms', '{:.1f}')} / "
                f"{_median_cell(results, 'p99_ms', '{:.1f}')}"
                for results in by_nodes.values()
            ],
        ]
        for name, by_nodes in found.items()
    ]
    rows.append(["the aim, below", *[f"{P50_AIM_MS:.0f} / {P99_AIM_MS:.0f}"] * len(sizes)])
    print_table(["ms", *[f"N={nodes}" for nodes in sizes]], rows)


def _median_cell(results: Sequence[Results], key: str, form: str) -> str:
    values = [one[key] for one in results if one.get(key) is not None]
    return form.format(median(values)) if values else ""


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


# ==================================================================== where the time goes


def measure_profiles(shares: dict[int, int], *, seconds: float, seed: int) -> Results:
    """Runs of each size under cProfile, signatures in the same thread: seconds by stage."""
    found: Results = {}
    for nodes, share in shares.items():
        for batch in (1, COMPARED_BATCH):
            run = partial(run_gossipbook, nodes, share, batch=batch, seed=seed)
            name = f"N={nodes}, {batch} an entry"
            found[name] = _profile(name, nodes * share, run)
        steady = partial(gossipbook_latency, nodes, seconds, seed=seed)
        name = f"N={nodes}, {rivals.LATENCY_RATE} orders/s, all subscribed"
        found[name] = _profile(name, round(seconds * rivals.LATENCY_RATE), steady)
    return found


def _profile(name: str, records: int, run: Callable[..., object]) -> dict[str, float]:
    """Let ``run`` run with a profiler, and print what it found."""
    progress(f"replication: profile, {name}")
    profiler = cProfile.Profile()
    with _signatures_in_this_thread():
        run(profiler=profiler)
    print(f"{name}, each for itself, under cProfile\n")
    print_profile(profiler, records)
    return stage_seconds(profiler)


@contextmanager
def _profiled(profiler: cProfile.Profile | None) -> Iterator[None]:
    """Profile what happens in this thread meanwhile, if there is a profiler."""
    if profiler is None:
        yield
        return
    profiler.enable()
    try:
        yield
    finally:
        profiler.disable()


@contextmanager
def _signatures_in_this_thread() -> Iterator[None]:
    """cProfile sees one thread: let no signatures be checked in another."""
    bulk = gossipbook.driver.BULK_SIGNATURES
    gossipbook.driver.BULK_SIGNATURES = 1 << 30
    try:
        yield
    finally:
        gossipbook.driver.BULK_SIGNATURES = bulk


if __name__ == "__main__":
    main()
