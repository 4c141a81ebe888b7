"""The same work on two other Python libraries: PySyncObj (Raft) and pycrdt (CRDT).

`replication_work` says what the work and the records are.

- PySyncObj runs one process a node, on loopback: its own replicated list, every write with a
  callback, all writes handed over at once. The leader is elected, and has committed a record of
  every node, before the clock starts. `raft_processes.SETTINGS` says what was tuned.
- pycrdt runs all nodes as documents in this process. Each transaction's update is applied to all
  other documents, in this thread and without a wire: nothing that carries bytes can be cheaper.

Neither signs, checks, matches or stores anything. Both are optional (`pip install
'gossipbook[bench]'`); a missing one raises `RivalMissing`.

    python -m bench.rivals [--small] [--rounds N] [--json FILE]
"""

import argparse
import gc
import re
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from time import monotonic, perf_counter, process_time, sleep
from typing import Any

from bench.raft_processes import ROOT, raft_cluster
from bench.replication_work import (
    LatencyResult,
    RateResult,
    RivalMissing,
    check_agreement,
    check_share,
    count_due,
    digest,
    record,
    records,
)
from bench.report import Results, print_table, progress, write_json

ANCHORS = ROOT.parent / "shared" / "anchors.md"
"""Figures of another machine to print beside our own; need not exist."""

SHARES = {3: 1_000, 8: 250}
"""Number of nodes: records that each of them writes."""
BATCH = 16
LATENCY_RATE = 200
"""Records a second, all nodes together, while latency is measured."""
START_DELAY_S = 0.1
"""How far ahead the common start is set, so that every process has heard of it."""


def main(arguments: list[str] | None = None) -> Results:
    """Print rates and latencies; the raw results."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.rivals", description="The same replication work on other libraries."
    )
    parser.add_argument("--small", action="store_true", help="fewer records, one round")
    parser.add_argument("--rounds", type=int, help="rounds to take medians of (5; small 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save the raw results here")
    options = parser.parse_args(arguments)
    rounds = options.rounds or (1 if options.small else 5)
    if rounds < 1:
        parser.error(f"--rounds {rounds}: give at least 1")
    shares = {3: 200, 8: 50} if options.small else SHARES
    results: Results = {
        "rates": measure_rates(shares, rounds),
        "latencies": measure_latencies(tuple(shares), seconds=1.0 if options.small else 5.0),
    }
    print_rates(results["rates"], shares)
    print_latencies(results["latencies"])
    if options.json is not None:
        write_json(options.json, {"rivals": results})
    return results


# ==================================================================== PySyncObj


def run_pysyncobj(
    nodes: int, records_per_node: int, *, settings: str = "usual", batch: int = 1
) -> RateResult:
    """A process a node; each hands over all its records at once, ``batch`` records a command.

    Raises RivalMissing without the library, RivalFailed where the nodes end early, do not answer
    or do not agree.
    """
    system = _installed("pysyncobj")
    check_share(nodes, records_per_node, batch)
    with raft_cluster(nodes, settings) as cluster:
        start_s = monotonic() + START_DELAY_S
        answers = cluster.ask("write all", share=records_per_node, batch=batch, start_s=start_s)
    count = nodes * records_per_node
    _check_answers(system, count, answers)
    return RateResult(
        system,
        nodes,
        count,
        wall_s=max(answer["done_s"] for answer in answers) - start_s,
        processor_s=sum(answer["processor_s"] for answer in answers),
    )


def pysyncobj_latency(
    nodes: int, seconds: float, *, settings: str = "usual", records_per_s: float = LATENCY_RATE
) -> LatencyResult:
    """A process a node; each hands over every N-th record as it falls due. Raises the same."""
    system = _installed("pysyncobj")
    count = count_due(nodes, seconds, records_per_s)
    with raft_cluster(nodes, settings) as cluster:
        start_s = monotonic() + START_DELAY_S
        answers = cluster.ask(
            "write when due", count=count, records_per_s=records_per_s, start_s=start_s
        )
    _check_answers(system, count, answers)
    delays_s = []
    for at in range(count):
        others = [answer["seen_s"] for node, answer in enumerate(answers) if node != at % nodes]
        delays_s.append(max(seen_s[at] for seen_s in others) - (start_s + at / records_per_s))
    return LatencyResult(system, nodes, tuple(sorted(delays_s)))


def _check_answers(system: str, count: int, answers: Sequence[Results]) -> None:
    held = min(answer["held"] for answer in answers)
    digests = {answer["digest"] for answer in answers}
    check_agreement(system, expected=count, held=held, digests=digests)


# ==================================================================== pycrdt


def run_pycrdt(
    nodes: int, records_per_node: int, *, batch: int = 1, deferred: bool = False
) -> RateResult:
    """Documents that append ``batch`` records a transaction, taking turns, until all are equal.

    ``deferred``: the documents hear of each other's updates after everything is written, which
    costs the library least. Raises RivalMissing without the library, RivalFailed where the
    documents do not agree.
    """
    system = _installed("pycrdt")
    check_share(nodes, records_per_node, batch)
    count = nodes * records_per_node
    shares = [records(node, records_per_node) for node in range(nodes)]
    with closing(_Documents(nodes)) as documents:
        gc.collect()
        start_s, start_processor_s = perf_counter(), process_time()
        for first in range(0, records_per_node, batch):
            for node, share in enumerate(shares):
                documents.write(node, share[first : first + batch])
                if not deferred:
                    documents.deliver(node)
        for node in range(nodes):
            documents.deliver(node)
        documents.check(system, count)
        return RateResult(
            system,
            nodes,
            count,
            wall_s=perf_counter() - start_s,
            processor_s=process_time() - start_processor_s,
            wire_bytes=documents.wire_bytes,
        )


def pycrdt_latency(
    nodes: int, seconds: float, *, records_per_s: float = LATENCY_RATE
) -> LatencyResult:
    """Documents that append a record each in turn, as it falls due. Raises the same."""
    system = _installed("pycrdt")
    count = count_due(nodes, seconds, records_per_s)
    delays_s = []
    with closing(_Documents(nodes)) as documents:
        start_s = perf_counter()
        for at in range(count):
            due_s = start_s + at / records_per_s
            sleep(max(0.0, due_s - perf_counter()))
            documents.write(at % nodes, [record(at % nodes, at)])
            documents.deliver(at % nodes)
            delays_s.append(perf_counter() - due_s)
        documents.check(system, count)
    return LatencyResult(system, nodes, tuple(sorted(delays_s)))


class _Documents:
    """One document a node, each with an array of records, and the updates not yet delivered."""

    def __init__(self, nodes: int) -> None:
        from pycrdt import Array, Doc

        self._docs: list[Any] = [Doc() for _ in range(nodes)]
        self._arrays: list[Any] = [doc.get("records", type=Array) for doc in self._docs]
        self._written: list[list[bytes]] = [[] for _ in range(nodes)]
        self._delivering = False
        self._subscriptions = [
            doc.observe(partial(self._observe, written))
            for doc, written in zip(self._docs, self._written, strict=True)
        ]
        self.wire_bytes = 0

    def _observe(self, written: list[bytes], event: Any) -> None:
        if not self._delivering:  # an update that was delivered is not news
            written.append(event.update)

    def write(self, node: int, mine: Sequence[str]) -> None:
        """Append the records in one transaction."""
        self._arrays[node].extend(mine)

    def deliver(self, node: int) -> None:
        """Apply to all other documents what the node wrote since it last delivered."""
        others = [doc for doc in self._docs if doc is not self._docs[node]]
        self._delivering = True
        for update in self._written[node]:
            for doc in others:
                doc.apply_update(update)
            self.wire_bytes += len(update) * len(others)
        self._delivering = False
        self._written[node].clear()

    def check(self, system: str, count: int) -> None:
        """Raise RivalFailed unless every document holds so many records in the same order."""
        lists = [array.to_py() for array in self._arrays]
        digests = {digest(held) for held in lists}
        check_agreement(system, expected=count, held=min(map(len, lists)), digests=digests)

    def close(self) -> None:
        """Let go of the documents, which otherwise hold themselves for ever."""
        for doc, subscription in zip(self._docs, self._subscriptions, strict=True):
            doc.unobserve(subscription)


def _installed(package: str) -> str:
    """The package's name and version. Raises RivalMissing where it is not installed."""
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        raise RivalMissing(
            f"{package} is not installed; pip install 'gossipbook[bench]' brings it"
        ) from None


# ==================================================================== variants and tables


RATE_RUNS: dict[str, Callable[[int, int], RateResult]] = {
    "PySyncObj": run_pysyncobj,
    "PySyncObj, tuned": partial(run_pysyncobj, settings="tuned"),
    f"PySyncObj, tuned, {BATCH} a command": partial(run_pysyncobj, settings="tuned", batch=BATCH),
    "pycrdt": run_pycrdt,
    "pycrdt, exchanged at the end": partial(run_pycrdt, deferred=True),
    f"pycrdt, {BATCH} a transaction": partial(run_pycrdt, batch=BATCH),
}
"""Every variant whose rate is measured: (nodes, records each) to a result."""

LATENCY_RUNS: dict[str, Callable[[int, float], LatencyResult]] = {
    "PySyncObj": pysyncobj_latency,
    "PySyncObj, tuned": partial(pysyncobj_latency, settings="tuned"),
    "PySyncObj, prompt": partial(pysyncobj_latency, settings="prompt"),
    "pycrdt": pycrdt_latency,
}
"""Every variant whose latency is measured: (nodes, seconds) to a result."""


def measure_rates(shares: dict[int, int], rounds: int) -> dict[str, dict[str, list[Results]]]:
    """For each variant and number of nodes, one result a round; the variants take turns."""
    found: dict[str, dict[str, list[Results]]] = {}
    for at in range(rounds):
        for name, run in RATE_RUNS.items():
            for nodes, share in shares.items():
                progress(f"rivals: {name}, N={nodes}, round {at + 1} of {rounds}")
                try:
                    result = run(nodes, share)
                except RivalMissing as missing:
                    progress(str(missing))
                    break
                found.setdefault(name, {}).setdefault(str(nodes), []).append(raw_rate(result))
    return found


def raw_rate(result: RateResult) -> Results:
    """One run as JSON takes it."""
    wire = None if result.wire_bytes is None else result.wire_bytes / result.records
    return {
        "system": result.system,
        "records_per_s": result.records_per_s,
        "processor_us_per_record": result.processor_us_per_record,
        "wire_bytes_per_record": wire,
    }


def measure_latencies(sizes: Sequence[int], *, seconds: float) -> dict[str, dict[str, Results]]:
    """For each variant and number of nodes, percentiles of one stretch."""
    found: dict[str, dict[str, Results]] = {}
    for name, run in LATENCY_RUNS.items():
        for nodes in sizes:
            progress(f"rivals: latency of {name}, N={nodes}")
            try:
                result = run(nodes, seconds)
            except RivalMissing as missing:
                progress(str(missing))
                break
            found.setdefault(name, {})[str(nodes)] = raw_latency(result)
    return found


def raw_latency(result: LatencyResult) -> Results:
    """One stretch as JSON takes it."""
    return {
        "system": result.system,
        "p50_ms": result.percentile_ms(50),
        "p99_ms": result.percentile_ms(99),
    }


def print_rates(found: dict[str, dict[str, list[Results]]], shares: dict[int, int]) -> None:
    """A row a variant; where there is a file of figures from elsewhere, those beside ours."""
    work = ", ".join(f"{nodes} x {share:,}" for nodes, share in shares.items())
    print(f"records per second until all nodes agree ({work} records); medians, (least-most)\n")
    anchors = {name: anchor_rates(name) for name in found}
    head = ["records/s"]
    for nodes in shares:
        head += [f"N={nodes}", "(least-most)", "processor us"]
        head += ["anchor"] if any(anchors.values()) else []
    rows = []
    for name, by_nodes in found.items():
        row = [name]
        for nodes in shares:
            row += _rate_cells(by_nodes[str(nodes)])
            if any(anchors.values()):
                row.append(f"{anchors[name][nodes]:,.0f}" if nodes in anchors[name] else "")
        rows.append(row)
    print_table(head, rows)


def _rate_cells(rounds: Sequence[Results]) -> list[str]:
    """Median rate, its range, and processor time a record."""
    rates = [one["records_per_s"] for one in rounds]
    us = median(one["processor_us_per_record"] for one in rounds)
    return [f"{median(rates):,.0f}", f"({min(rates):,.0f}-{max(rates):,.0f})", f"{us:.0f}"]


def print_latencies(found: dict[str, dict[str, Results]]) -> None:
    """A row a variant: p50 and p99 for each number of nodes."""
    print(f"ms until visible at all other nodes, {LATENCY_RATE} records/s in total: p50 / p99\n")
    sizes = list(next(iter(found.values()), {}))
    rows = [
        [name, *[f"{one['p50_ms']:.1f} / {one['p99_ms']:.1f}" for one in by_nodes.values()]]
        for name, by_nodes in found.items()
    ]
    print_table(["ms", *[f"N={nodes}" for nodes in sizes]], rows)


def anchor_rates(system: str, path: Path = ANCHORS) -> dict[int, float]:
    """{nodes: records a second} that the file gives for the system; empty where it gives none.

    Looks for a table whose head has columns "N=<nodes> records/s" and whose row begins with the
    system's name.
    """
    if not path.exists():
        return {}
    sizes: list[int | None] = []
    for line in path.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if any(cell.endswith("records/s") for cell in cells):
            heads = [re.fullmatch(r"N=(\d+) records/s", cell) for cell in cells]
            sizes = [int(match[1]) if match else None for match in heads]
        elif len(cells) == len(sizes) and cells[0].split(" ")[0] == system:
            return {
                nodes: float(cell.replace(",", ""))
                for nodes, cell in zip(sizes, cells, strict=True)
                if nodes is not None and re.fullmatch(r"[\d,]+", cell)
            }
    return {}


if __name__ == "__main__":
    main()
