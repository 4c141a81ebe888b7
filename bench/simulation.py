"""How fast the simulated world turns, what a peer weighs, and how long a crowd takes to agree.

Three measurements, each in a fresh process so that none disturbs another:

- *scale*: N peers; messages simulated per second of processor time, idle and trading; bytes
  of memory for each idle peer, for each author a peer has met, and for each further entry a peer
  holds. Memory is what the operating system says the process has resident, before and after.
- *alone*: one replica that shares nothing: the bytes an entry takes in a real peer.
- *converge*: N peers take M orders within one simulated second; wall time on one core, simulated
  time until all hold the same book, messages, bytes per order. With ``--profile`` once more under
  cProfile.

    python -m bench.simulation [--small] [--large] [--profile] [--json FILE]
"""

import argparse
import cProfile
import gc
import io
import json
import os
import pstats
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import gossipbook as gb
from bench.pipeline import sample_entries
from bench.report import Results, print_table, progress, write_json
from gossipbook.log.entry import decode_run
from gossipbook.randomness import SeededRandom
from gossipbook.replica import Replica

ROOT = Path(__file__).resolve().parent.parent
SYMBOL = "BTC-USD"
WARM_S = 3.0
"""Simulated seconds in which links are made and the first anti-entropy rounds pass."""
IDLE_S = 2.0
AUTHORS = 16
DEADLINE_S = 120.0
PROFILE_LINES = 25

FULL_SIZES = (100, 1_000)
SMALL_SIZES = (30, 100)
LARGE_SIZE = 10_000
PAIRS = 200_000
SMALL_PAIRS = 20_000
"""(peer, entry) pairs that the memory figures rest on: few orders where there are many peers."""


def main(arguments: list[str] | None = None) -> Results:
    """Print the tables; the raw results."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.simulation",
        description="Messages per second, bytes per peer and entry, and time to converge.",
    )
    parser.add_argument(
        "--small", action="store_true", help="30 and 100 peers; 100 peers converge on 100 orders"
    )
    parser.add_argument(
        "--large", action="store_true", help="10,000 peers too (the full form has them anyway)"
    )
    parser.add_argument(
        "--peers", type=int, nargs="+", metavar="N", help="other sizes for the scale table"
    )
    parser.add_argument(
        "--converge",
        type=int,
        nargs=2,
        metavar=("PEERS", "ORDERS"),
        help="other numbers for the convergence (1000 1000; small 100 100)",
    )
    parser.add_argument(
        "--only", choices=["scale", "alone", "converge"], nargs="+", help="only these measurements"
    )
    parser.add_argument(
        "--profile",
        action="store_true",
        help="run the convergence once more under cProfile: where the time goes",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="save the raw results here")
    parser.add_argument("--measure", metavar="REQUEST", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure is not None:
        _answer(json.loads(options.measure))
        return {}
    sizes = tuple(options.peers or (SMALL_SIZES if options.small else FULL_SIZES))
    if options.peers is None and (options.large or not options.small):
        sizes += (LARGE_SIZE,)
    peers, orders = options.converge or ((100, 100) if options.small else (1_000, 1_000))
    if min(*sizes, peers, orders) < 1:
        parser.error("numbers of peers and orders start at 1")
    pairs = SMALL_PAIRS if options.small else PAIRS
    wanted = options.only or ["scale", "alone", "converge"]
    results: Results = {}
    if "scale" in wanted:
        results["scale"] = [
            _measure("scale", peers=size, orders=scale_orders(size, pairs), seed=options.seed)
            for size in sizes
        ]
        print_scale(results["scale"])
    if "alone" in wanted:
        count = 20_000 if options.small else 100_000
        results["alone"] = _measure("alone", orders=count, seed=options.seed)
        print_alone(results["alone"])
    if "converge" in wanted:
        results["converge"] = _measure("converge", peers=peers, orders=orders, seed=options.seed)
        print_converge(results["converge"])
        if options.profile:
            profiled = _measure("profile", peers=peers, orders=orders, seed=options.seed)
            results["profile"] = profiled
            print(profiled["table"])
    if options.json is not None:
        write_json(options.json, {"simulation": results})
    return results


def scale_orders(peers: int, pairs: int) -> int:
    """How many orders the scale measurement trades: fewer where there are more peers."""
    return min(max(pairs // peers, 50), 1_000)


# ==================================================================== fresh processes


def _measure(what: str, **request: int) -> Results:
    """Let a fresh process measure, and read its one line of JSON."""
    described = ", ".join(f"{name} {value:,}" for name, value in request.items())
    progress(f"simulation: {what} ({described})")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "bench.simulation",
            "--measure",
            json.dumps({"what": what, **request}),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    result: Results = json.loads(done.stdout)
    return result


def _answer(request: dict[str, Any]) -> None:
    """In the fresh process: measure, and print the result as one line of JSON."""
    what = request.pop("what")
    measures: dict[str, Callable[..., Results]] = {
        "scale": measure_scale,
        "alone": measure_alone,
        "converge": measure_converge,
        "profile": measure_profile,
    }
    print(json.dumps(measures[what](**request)))


def resident_bytes() -> int:
    """What the process has in memory now; where the system does not tell, the most it ever had."""
    gc.collect()
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return peak_bytes()
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_bytes() -> int:
    """The most memory that the process has had resident so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, others KiB


# ==================================================================== scale


def measure_scale(peers: int, orders: int, seed: int) -> Results:
    """Speed and memory of ``peers`` peers, idle and trading."""
    genesis = _genesis()
    empty_bytes = resident_bytes()
    cluster = gb.sim.Cluster(genesis, peers=peers, seed=seed)
    cluster.run_for(WARM_S)
    idle_bytes = resident_bytes()
    links = sum(len(peer.peers()) for peer in cluster.peers)
    progress(f"{peers:,} peers hold {links / peers:.1f} links each; now they idle")
    idle = _Stretch(cluster)
    cluster.run_for(IDLE_S)
    idle_result = idle.result()

    random = SeededRandom(seed).child("orders")
    authors = random.sample(range(peers), min(AUTHORS, peers))
    for author in authors:
        cluster.submit_nowait(author, _order(random))
    cluster.run_until_converged(DEADLINE_S)
    cluster.run_for(WARM_S)
    met_bytes = resident_bytes()
    progress(f"{peers:,} peers trade: {orders:,} orders by {len(authors)} authors")
    busy = _Stretch(cluster)
    _trade(cluster, authors, orders, random)
    busy_result = busy.result()
    cluster.run_for(WARM_S)  # so that what is under way has landed
    full_bytes = resident_bytes()
    return {
        "peers": peers,
        "orders": orders,
        "authors": len(authors),
        "links_per_peer": links / peers,
        "idle": idle_result,
        "trading": busy_result,
        "bytes_per_peer": (idle_bytes - empty_bytes) / peers,
        "bytes_per_peer_and_author": (met_bytes - idle_bytes) / (peers * len(authors)),
        "bytes_per_peer_and_entry": (full_bytes - met_bytes) / (peers * orders),
        "peak_bytes": peak_bytes(),
    }


class _Stretch:
    """What happened between its making and ``result``: wall time, steps, messages, bytes."""

    def __init__(self, cluster: gb.sim.Cluster) -> None:
        self._cluster = cluster
        self._simulated_s = cluster.now
        counters = cluster.counters
        self._before = (counters.steps, counters.messages, counters.message_bytes)
        self._wall_s, self._cpu_s = perf_counter(), process_time()

    def result(self) -> Results:
        wall_s, cpu_s = perf_counter() - self._wall_s, process_time() - self._cpu_s
        counters = self._cluster.counters
        steps, messages, size_bytes = (
            now - before
            for now, before in zip(
                (counters.steps, counters.messages, counters.message_bytes),
                self._before,
                strict=True,
            )
        )
        return {
            "wall_s": wall_s,
            "cpu_s": cpu_s,
            "simulated_s": self._cluster.now - self._simulated_s,
            "steps": steps,
            "messages": messages,
            "bytes": size_bytes,
            "messages_per_cpu_s": messages / cpu_s,
        }


def print_scale(found: list[Results]) -> None:
    """A row a size."""
    print(
        "messages simulated per second of processor time, and resident memory "
        f"(orders by {AUTHORS} authors)\n"
    )
    head = [
        "peers",
        "links each",
        "idle msg/s",
        "x real time",
        "orders",
        "trading msg/s",
        "B/peer idle",
        "B/(peer, author)",
        "B/(peer, entry)",
        "peak MB",
    ]
    rows = [
        [
            f"{one['peers']:,}",
            f"{one['links_per_peer']:.1f}",
            f"{one['idle']['messages_per_cpu_s']:,.0f}",
            f"{one['idle']['simulated_s'] / one['idle']['cpu_s']:.2f}",
            f"{one['orders']:,}",
            f"{one['trading']['messages_per_cpu_s']:,.0f}",
            f"{one['bytes_per_peer']:,.0f}",
            f"{one['bytes_per_peer_and_author']:,.0f}",
            f"{one['bytes_per_peer_and_entry']:,.0f}",
            f"{one['peak_bytes'] / 1e6:,.0f}",
        ]
        for one in found
    ]
    print_table(head, rows)


# ==================================================================== alone


def measure_alone(orders: int, seed: int) -> Results:
    """Memory of one replica for entries of one order each, which nothing else holds."""
    genesis = _genesis()
    runs = sample_entries(genesis, orders, seed)
    wire_bytes = sum(len(run) for run, _ in runs)
    replica = Replica(genesis)
    before_bytes = resident_bytes()
    for run, local_ms in runs:
        # The undecorated function: a cache of decoded runs would hold entries of its own.
        replica.add(decode_run.__wrapped__(run, genesis.network_id), local_ms=local_ms)
    logged_bytes = resident_bytes()
    local_ms = runs[-1][1]
    replica.settle(now_us=1_000 * local_ms, local_ms=local_ms)
    assert not replica.needs_settling
    settled_bytes = resident_bytes()
    return {
        "orders": replica.applied_count,
        "wire_bytes_per_entry": wire_bytes / replica.entry_count,
        "log_bytes_per_entry": (logged_bytes - before_bytes) / replica.entry_count,
        "engine_bytes_per_order": (settled_bytes - logged_bytes) / replica.applied_count,
    }


def print_alone(one: Results) -> None:
    """One line."""
    logged, wire = one["log_bytes_per_entry"], one["wire_bytes_per_entry"]
    print(
        f"one replica alone, {one['orders']:,} orders, one an entry: {logged:,.0f} bytes per entry "
        f"in its logs ({wire:.0f} on the wire),\nand {one['engine_bytes_per_order']:,.0f} more per "
        "order once matched (history, journal, snapshots)\n",
        flush=True,
    )


# ==================================================================== converge


def measure_converge(peers: int, orders: int, seed: int) -> Results:
    """Peers that all trade for a simulated second, until all agree."""
    cluster, random = _ready(peers, seed)
    stretch = _Stretch(cluster)
    report = _trade(cluster, range(peers), orders, random)
    result = stretch.result()
    assert len({peer.root for peer in report.peers}) == 1
    assert all(peer.entries == report.peers[0].entries for peer in report.peers)
    statistics = [peer.running.statistics for peer in cluster.peers]
    novel = sum(one.novel_entries for one in statistics)
    return {
        "peers": peers,
        "orders": orders,
        "entries": report.peers[0].entries,
        "trades": report.peers[0].trades,
        "root": report.root.hex(),
        **result,
        "after_last_order_s": report.simulated_s,
        "bytes_per_order": result["bytes"] / orders,
        "bytes_per_order_and_peer": result["bytes"] / (orders * peers),
        "messages_per_order_and_peer": result["messages"] / (orders * peers),
        "duplicates_per_novel_entry": sum(one.duplicate_entries for one in statistics) / novel,
        "undone_per_order": sum(peer.replica.undone_count for peer in cluster.peers)
        / (orders * peers),
        "sent_bytes_by_kind": _summed([one.sent_bytes for one in statistics]),
        "sent_count_by_kind": _summed([one.sent_count for one in statistics]),
        "peak_bytes": peak_bytes(),
    }


def measure_profile(peers: int, orders: int, seed: int) -> Results:
    """The same under cProfile: the functions that took most time themselves, and with callees."""
    cluster, random = _ready(peers, seed)
    profiler = cProfile.Profile()
    profiler.runcall(_trade, cluster, range(peers), orders, random)
    out = io.StringIO()
    statistics = pstats.Stats(profiler, stream=out).strip_dirs()
    statistics.sort_stats("tottime").print_stats(PROFILE_LINES)
    statistics.sort_stats("cumulative").print_stats(PROFILE_LINES)
    return {"peers": peers, "orders": orders, "table": out.getvalue()}


def print_converge(one: Results) -> None:
    """The convergence, a line for each figure."""
    pairs = one["peers"] * one["orders"]
    print(f"{one['peers']:,} peers converge on {one['orders']:,} orders sent within one second\n")
    rows = [
        [
            "wall time",
            f"{one['wall_s']:.1f} s",
            "on a machine that may be shared",
        ],
        [
            "processor time",
            f"{one['cpu_s']:.1f} s",
            f"{1e6 * one['cpu_s'] / pairs:.0f} us/(peer, order)",
        ],
        [
            "simulated, from the last order",
            f"{one['after_last_order_s']:.2f} s",
            "in steps of 0.05 s",
        ],
        [
            "messages",
            f"{one['messages']:,}",
            f"{one['messages_per_cpu_s']:,.0f} per processor second",
        ],
        [
            "bytes per order, all links",
            f"{one['bytes_per_order']:,.0f}",
            f"{one['bytes_per_order_and_peer']:.0f} per peer",
        ],
        ["entries received again", f"{one['duplicates_per_novel_entry']:.2f}", "per novel entry"],
        ["commands undone", f"{one['undone_per_order']:.2f}", "per peer and order"],
        ["peak memory", f"{one['peak_bytes'] / 1e6:,.0f} MB", ""],
    ]
    print_table(["", "", ""], rows)
    total = sum(one["sent_bytes_by_kind"].values())
    kinds = sorted(one["sent_bytes_by_kind"].items(), key=lambda item: -item[1])[:6]
    print_table(
        ["sent, since the start", "messages", "bytes", "share"],
        [
            [
                kind,
                f"{one['sent_count_by_kind'][kind]:,}",
                f"{size:,}",
                f"{100 * size / total:.0f}%",
            ]
            for kind, size in kinds
        ],
    )


def _summed(counts: list[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for one in counts:
        for kind, count in one.items():
            total[kind] = total.get(kind, 0) + count
    return dict(sorted(total.items()))


# ==================================================================== what is fed in


def _genesis() -> gb.Genesis:
    return gb.Genesis("bench simulation", [gb.Market(SYMBOL, "0.01", "0.0001")])


def _ready(peers: int, seed: int) -> tuple[gb.sim.Cluster, SeededRandom]:
    """A cluster that has made its links."""
    cluster = gb.sim.Cluster(_genesis(), peers=peers, seed=seed)
    cluster.run_for(WARM_S)
    return cluster, SeededRandom(seed).child("orders")


def _trade(
    cluster: gb.sim.Cluster, authors: "range | list[int]", orders: int, random: SeededRandom
) -> Any:
    """Submit ``orders`` evenly over one simulated second, at random authors; run till all agree."""
    for number in range(orders):
        cluster.submit_nowait(random.choice(authors), _order(random))
        cluster.run_for(1.0 / orders)
        if number % 100 == 99:
            progress(f"{number + 1:,} of {orders:,} orders submitted")
    return cluster.run_until_converged(DEADLINE_S)


def _order(random: SeededRandom) -> gb.LimitOrder:
    """A limit order near a fixed price: about half of them trade."""
    return gb.LimitOrder(
        SYMBOL,
        "buy" if random.below(2) else "sell",
        price=f"{100 + random.below(20)}.00",
        quantity=f"{1 + random.below(5)}",
    )


if __name__ == "__main__":
    main()
