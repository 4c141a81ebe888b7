"""What a durable submit costs beside what the disk allows, and how a long log is opened again.

*Submits*: one peer with an SQLite store and no network; 1, 16 and 256 tasks submit one order after
the other for a while. Beside it, in the same round and on the same disk, the same orders without
the peer: bare inserts into SQLite with the store's pragmas, and a bare append with fdatasync, each
with one order at a time and with as many at a time as the peer's group commit came to.

*Restart*: a store of 100,000 orders is opened in a fresh process. Time until the body of
``open_peer`` runs and until the book is settled, memory and file bytes per order.

*Collector*: such a peer goes on trading, and Python's garbage collector looks at all that it holds.
How long submits stand still then, as Python comes and with the collector tuned.

    python -m bench.storage [--small] [--only NAME ...] [--profile] [--directory DIR] [--json FILE]
"""

import argparse
import gc
import os
import re
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import trio

import gossipbook as gb
from bench.report import Results, print_table, progress, write_json
from bench.storage_restart import (
    GENESIS,
    SYMBOL,
    TRADING_SUBMITTERS,
    TUNINGS,
    in_fresh_process,
    keypair_of,
    limit_orders,
    percentile_ms,
    write_store,
)
from gossipbook.book.payload import encode_payload, to_instructions

PARTS = ("submits", "restart", "collector")

SUBMITTERS = (1, 16, 256)
TURN_S, SMALL_TURN_S = 0.2, 0.1
TURNS, SMALL_TURNS = 10, 3
"""Turns are short and many: a disk that others use, too, may take twenty times as long for a sync
from one second to the next, and that must hit all variants alike."""
WARM_TURNS = 2
"""Not counted: files that have grown once are cheaper to write to."""
OURS = "gossipbook"
SAMPLE_ORDERS = 1_024

ROUNDS = 5
BATCHES = (1, 16, 256)
ORDERS = 100_000
SMALL_ORDERS = 10_000
MORE_ORDERS = 50_000
SMALL_MORE_ORDERS = 4_000
"""What the peer under the collector takes on top. CPython looks at everything again when what is
new has come to a quarter of what is old: so at least a quarter."""

IN_MEMORY = ("tmpfs", "ramfs")
"""File systems on which a sync costs nothing, and keeps nothing."""


def main(arguments: list[str] | None = None) -> Results:
    """Print the tables; the raw results."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.storage",
        description="Durable submits beside bare SQLite and fdatasync; restarts; the collector.",
    )
    parser.add_argument("--small", action="store_true", help="short turns, few orders, one round")
    parser.add_argument("--rounds", type=int, help="rounds to take medians of (5; small 1)")
    parser.add_argument("--orders", type=int, help="orders to restart with (100,000; small 10,000)")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="only these measurements")
    parser.add_argument(
        "--profile", action="store_true", help="restart once more under cProfile, for each batch"
    )
    parser.add_argument(
        "--directory", type=Path, metavar="DIR", help="where to put the files (a temporary one)"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="save the raw results here")
    options = parser.parse_args(arguments)
    small, seed = options.small, options.seed
    rounds = (1 if small else ROUNDS) if options.rounds is None else options.rounds
    orders = (SMALL_ORDERS if small else ORDERS) if options.orders is None else options.orders
    if min(rounds, orders) < 1:
        parser.error(f"--rounds {rounds} --orders {orders}: give at least 1 of each")
    if options.directory is not None and not options.directory.is_dir():
        parser.error(f"--directory {options.directory}: give a directory that exists")
    wanted = options.only or PARTS
    with tempfile.TemporaryDirectory(prefix="gossipbook-", dir=options.directory) as name:
        folder = Path(name)
        results: Results = {"file_system": _tell_file_system(folder)}
        if "submits" in wanted:
            turns, turn_s = (SMALL_TURNS, SMALL_TURN_S) if small else (TURNS, TURN_S)
            results["submits"] = measure_submits(folder, rounds, turns, turn_s, seed)
            print_submits(results["submits"])
        if "restart" in wanted:
            results["restart"] = measure_restarts(
                folder, rounds, orders, seed=seed, profile=options.profile
            )
            print_restarts(results["restart"], orders)
        if "collector" in wanted:
            more = SMALL_MORE_ORDERS if small else MORE_ORDERS
            results["collector"] = measure_collector(rounds, orders, more=more, seed=seed)
            print_collector(results["collector"], orders, more)
    if options.json is not None:
        write_json(options.json, {"storage": results})
    return results


# ==================================================================== submits


@dataclass(slots=True)
class Tally:
    """What one variant has done so far in a round."""

    orders: int = 0
    commits: int = 0
    wall_s: float = 0.0
    processor_s: float = 0.0
    delays_s: list[float] = field(default_factory=list)
    """From the call to the answer, of each submit or each commit."""

    @property
    def orders_a_commit(self) -> float:
        return self.orders / self.commits

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count the time that the block takes."""
        start_s, start_processor_s = perf_counter(), process_time()
        yield
        self.wall_s += perf_counter() - start_s
        self.processor_s += process_time() - start_processor_s

    def result(self) -> Results:
        """As it goes into the raw results."""
        delays_s = sorted(self.delays_s)
        return {
            "orders": self.orders,
            "orders_per_s": self.orders / self.wall_s,
            "orders_a_commit": self.orders_a_commit,
            "commits_per_s": self.commits / self.wall_s,
            "processor_us_per_order": 1e6 * self.processor_s / self.orders,
            "p50_ms": percentile_ms(delays_s, 50),
            "p99_ms": percentile_ms(delays_s, 99),
        }


Variant = Callable[[Tally, float], Awaitable[None]]
"""Writes for so many seconds, and adds what it did to the tally."""


def measure_submits(folder: Path, rounds: int, turns: int, turn_s: float, seed: int) -> Results:
    """{submitters: {variant: [a result a round]}}."""
    found: dict[str, dict[str, list[Results]]] = {str(count): {} for count in SUBMITTERS}
    for number in range(rounds):
        for submitters in SUBMITTERS:
            progress(f"storage: {submitters} submitters, round {number + 1} of {rounds}")
            tallies = trio.run(_round, folder, submitters, turns, turn_s, seed)
            for name, tally in tallies.items():
                found[str(submitters)].setdefault(name, []).append(tally.result())
            _empty(folder)
    return found


async def _round(
    folder: Path, submitters: int, turns: int, turn_s: float, seed: int
) -> dict[str, Tally]:
    """All variants, each with a file of its own, in many short turns."""
    open_peer = partial(gb.open_peer, GENESIS, keypair_of(0), alone=True, seed=seed)
    payloads = _payloads(seed)
    with (
        bare_inserts(folder / "bare.db", payloads) as insert,
        bare_inserts(folder / "bare-group.db", payloads) as insert_group,
        bare_appends(folder / "bare.log", payloads) as append,
        bare_appends(folder / "bare-group.log", payloads) as append_group,
    ):
        async with (
            open_peer(store=gb.SqliteStore(folder / "peer.db")) as peer,
            open_peer(store=gb.MemoryStore()) as memory_peer,
        ):
            tallies: dict[str, Tally] = {}
            variants: dict[str, Variant] = {
                OURS: submitting(peer, submitters, seed),
                f"{OURS}, in memory": submitting(memory_peer, submitters, seed),
                "SQLite, an order a commit": committing(insert),
                "append, an order a sync": committing(append),
            }
            if submitters > 1:
                group = partial(_group_size, tallies)
                variants["SQLite, as many a commit"] = committing(insert_group, group)
                variants["append, as many a sync"] = committing(append_group, group)
            for turn in range(WARM_TURNS + turns):
                if turn in (0, WARM_TURNS):
                    tallies |= {name: Tally() for name in variants}
                for name, run in variants.items():
                    gc.collect()
                    await run(tallies[name], turn_s)
    return tallies


def _group_size(tallies: dict[str, Tally]) -> int:
    return max(1, round(tallies[OURS].orders_a_commit))


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def submitting(peer: gb.Peer, submitters: int, seed: int) -> Variant:
    """Tasks that each submit one order after the other, to a peer on its own."""
    orders = cycle(limit_orders(SAMPLE_ORDERS, seed))

    async def submit(tally: Tally, end_s: float) -> None:
        while (called_s := perf_counter()) < end_s:
            await peer.submit(next(orders))
            tally.delays_s.append(perf_counter() - called_s)
            tally.orders += 1

    async def run(tally: Tally, seconds: float) -> None:
        entries = peer.entry_count
        with tally.timed():
            async with trio.open_nursery() as nursery:
                for _ in range(submitters):
                    nursery.start_soon(submit, tally, perf_counter() + seconds)
            peer.book(SYMBOL)  # what a peer would do meanwhile is not left for others' turns
        tally.commits += peer.entry_count - entries  # on its own, it writes an entry at a time

    return run


def committing(commit: Callable[[int], None], size: Callable[[], int] = lambda: 1) -> Variant:
    """One commit of ``size()`` orders after the other."""

    async def run(tally: Tally, seconds: float) -> None:
        orders = size()
        with tally.timed():
            now_s = perf_counter()
            end_s = now_s + seconds
            while now_s < end_s:
                commit(orders)
                called_s, now_s = now_s, perf_counter()
                tally.delays_s.append(now_s - called_s)
                tally.orders += orders
                tally.commits += 1

    return run


@contextmanager
def bare_inserts(path: Path, payloads: Sequence[bytes]) -> Iterator[Callable[[int], None]]:
    """Bare SQLite with the store's pragmas: a row an order, and nothing besides."""
    coming = cycle(payloads)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("CREATE TABLE orders (number INTEGER PRIMARY KEY, payload BLOB)")

        def commit(orders: int) -> None:
            connection.execute("BEGIN IMMEDIATE")
            rows = [(next(coming),) for _ in range(orders)]
            connection.executemany("INSERT INTO orders (payload) VALUES (?)", rows)
            connection.execute("COMMIT")

        yield commit


@contextmanager
def bare_appends(path: Path, payloads: Sequence[bytes]) -> Iterator[Callable[[int], None]]:
    """The orders one after the other in a plain file, and fdatasync."""
    coming = cycle(payloads)
    sync = getattr(os, "fdatasync", os.fsync)  # macOS has fsync only
    with open(path, "ab", buffering=0) as file:

        def commit(orders: int) -> None:
            file.write(b"".join([next(coming) for _ in range(orders)]))
            sync(file.fileno())

        yield commit


def _payloads(seed: int) -> list[bytes]:
    """The same orders, each as an entry of one order would hold it."""
    author = keypair_of(0).peer_id
    return [
        encode_payload(to_instructions(order, GENESIS, author))
        for order in limit_orders(SAMPLE_ORDERS, seed)
    ]


def print_submits(found: dict[str, dict[str, list[Results]]]) -> None:
    """A table for each number of submitters."""
    for submitters, variants in found.items():
        ours = variants[OURS]
        print(
            f"{submitters} at once: durable orders/s, and ms until a submit (bare: a commit) "
            f"returned; medians of {len(ours)} rounds\n"
        )
        head = [
            "",
            "orders/s",
            "(single rounds)",
            "orders a commit",
            "p50 ms",
            "p99 ms",
            "processor us",
            "gossipbook, x this",
            "(single rounds)",
        ]
        rows = []
        for name, results in variants.items():
            rates = [one["orders_per_s"] for one in results]
            times = ratios(ours, results)
            rows.append(
                [
                    name,
                    f"{median(rates):,.0f}",
                    f"({min(rates):,.0f}-{max(rates):,.0f})",
                    _median_of(results, "orders_a_commit", ".1f"),
                    _median_of(results, "p50_ms", ".2f"),
                    _median_of(results, "p99_ms", ".2f"),
                    _median_of(results, "processor_us_per_order", ".0f"),
                    f"{median(times):.2f}",
                    f"({min(times):.2f}-{max(times):.2f})",
                ]
            )
        print_table(head, rows)


def ratios(ours: Sequence[Results], theirs: Sequence[Results]) -> list[float]:
    """Our rate over theirs, round by round."""
    pairs = zip(ours, theirs, strict=True)
    return [one["orders_per_s"] / other["orders_per_s"] for one, other in pairs]


# ==================================================================== restart


def measure_restarts(
    folder: Path, rounds: int, orders: int, *, seed: int, profile: bool
) -> dict[str, Results]:
    """{orders an entry: what opening a store of so many orders took, and what it holds}."""
    stores = {batch: folder / f"{batch}.db" for batch in BATCHES}
    found: dict[str, Results] = {}
    for batch, path in stores.items():
        progress(f"storage: writing a store of {orders:,} orders, {batch} an entry")
        write_store(path, orders, batch, seed)
        found[str(batch)] = _size(path, orders) | {"plain": [], "collector off": []}
    for number in range(rounds):
        for batch, path in stores.items():
            progress(f"storage: restart, {batch} an entry, round {number + 1} of {rounds}")
            restart = partial(in_fresh_process, "restart", store=str(path), orders=orders)
            found[str(batch)]["plain"].append(restart())
            found[str(batch)]["collector off"].append(restart(collecting=False))
    if profile:
        for batch, path in stores.items():
            progress(f"storage: restart, {batch} an entry, under cProfile")
            profiled = in_fresh_process("profile", store=str(path), orders=orders)
            found[str(batch)]["profile"] = profiled["table"]
    _empty(folder)
    return found


def _size(path: Path, orders: int) -> Results:
    with closing(sqlite3.connect(path)) as connection:
        (entries,) = connection.execute("SELECT count(*) FROM entries").fetchone()
    return {"entries": entries, "file_bytes_per_order": path.stat().st_size / orders}


def print_restarts(found: dict[str, Results], orders: int) -> None:
    """A row for each number of orders an entry, and the profiles."""
    rounds = len(next(iter(found.values()))["plain"])
    print(f"a store of {orders:,} orders is opened again, s; medians of {rounds} rounds\n")
    head = [
        "orders an entry",
        "entries",
        "file read",
        "body runs",
        "book settled",
        "(single rounds)",
        "of it collector",
        "collector off",
        "x collector on",
        "us/order",
        "file B/order",
        "memory B/order",
    ]
    rows = []
    for batch, one in found.items():
        plain, without = one["plain"], one["collector off"]
        settled = [result["settled_s"] for result in plain]
        pairs = zip(without, settled, strict=True)
        rows.append(
            [
                batch,
                f"{one['entries']:,}",
                _median_of(plain, "read_s", ".2f"),
                _median_of(plain, "body_s", ".2f"),
                _median_of(plain, "settled_s", ".2f"),
                f"({min(settled):.2f}-{max(settled):.2f})",
                _median_of(plain, "collector_s", ".2f"),
                _median_of(without, "settled_s", ".2f"),
                f"{median(result['settled_s'] / settled_s for result, settled_s in pairs):.2f}",
                f"{1e6 * median(settled) / orders:.1f}",
                f"{one['file_bytes_per_order']:.0f}",
                _median_of(plain, "bytes_per_order", ",.0f"),
            ]
        )
    print_table(head, rows)
    for batch, one in found.items():
        if "profile" in one:
            print(f"restart with {batch} orders an entry, under cProfile\n\n{one['profile']}")


# ==================================================================== collector


def measure_collector(
    rounds: int, orders: int, *, more: int, seed: int
) -> dict[str, list[Results]]:
    """{tuning: [a result a round]}: a peer with a long log takes more orders."""
    found: dict[str, list[Results]] = {tuning: [] for tuning in TUNINGS}
    for number in range(rounds):
        for tuning, results in found.items():
            progress(f"storage: collector, {tuning}, round {number + 1} of {rounds}")
            results.append(
                in_fresh_process("trading", orders=orders, more=more, tuning=tuning, seed=seed)
            )
    return found


def print_collector(found: dict[str, list[Results]], orders: int, more: int) -> None:
    """A row a tuning."""
    plain = found[next(iter(TUNINGS))]
    print(
        f"a peer that holds {orders:,} orders takes {more:,} more, {TRADING_SUBMITTERS} at once, "
        f"store in memory; medians of {len(plain)} rounds\n"
    )
    head = [
        "collector",
        "processor us",
        "x as it comes",
        "p50 ms",
        "p99 ms",
        "longest ms",
        "collections",
        "full",
        "of all time",
        "longest pause, ms",
        "memory B/order",
    ]
    rows = []
    for tuning, results in found.items():
        pairs = zip(results, plain, strict=True)
        costs = [one[_COST] / other[_COST] for one, other in pairs]
        delays = [one["delays_ms"] for one in results]
        rows.append(
            [
                tuning,
                _median_of(results, _COST, ".1f"),
                f"{median(costs):.2f}",
                _median_of(delays, "50", ".1f"),
                _median_of(delays, "99", ".1f"),
                _median_of(delays, "100", ".0f"),
                _median_of(results, "collections", ".0f"),
                _median_of(results, "full_collections", ".0f"),
                _median_of(results, "collector_part", ".1%"),
                _median_of(results, "longest_pause_ms", ".1f"),
                _median_of(results, "bytes_per_order", ",.0f"),
            ]
        )
    print_table(head, rows)


_COST = "processor_us_per_order"


# ==================================================================== helpers


def _median_of(results: Sequence[Results], key: str, form: str) -> str:
    return format(median([one[key] for one in results]), form)


def _tell_file_system(folder: Path) -> str:
    """Say on what the files are, and whether a sync means anything there."""
    kind = file_system_of(folder)
    print(f"files in {folder.parent}, file system {kind}\n")
    if kind in IN_MEMORY:
        progress(
            f"storage: {folder.parent} is in memory ({kind}), where a sync is free: durable rates "
            "mean nothing here. Name a directory on a disk with --directory"
        )
    return kind


def file_system_of(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """The type of the file system that a path is on, as Linux names it; elsewhere "unknown"."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return "unknown"
    real, found = path.resolve(), (-1, "unknown")
    for line in lines:
        before, _, after = line.partition(" - ")
        point = Path(_OCTAL.sub(lambda code: chr(int(code[1], 8)), before.split()[4]))
        if real.is_relative_to(point) and len(point.parts) >= found[0]:
            found = len(point.parts), after.split()[0]
    return found[1]


_OCTAL = re.compile(r"\\([0-7]{3})")  # a space in a name is \040


if __name__ == "__main__":
    main()
