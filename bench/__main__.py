"""Every bench, one after the other, with a header each.

python -m bench [--small] [--only NAME ...] [--json FILE]
"""

import argparse
import platform
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from bench import (
    convergence,
    hostile,
    join,
    matching,
    network,
    pipeline,
    replication,
    simulation,
    storage,
)
from bench.report import Results, progress, write_json

BENCHES: dict[str, tuple[str, Callable[[list[str]], Results | None]]] = {
    "matching": ("the matching engine alone, forwards and backwards", matching.main),
    "pipeline": ("one order through the stages of a peer", pipeline.main),
    "simulation": ("many peers in one simulated world", simulation.main),
    "convergence": ("how soon peers agree, through loss and partitions", convergence.main),
    "replication": ("trio peers that write at once, beside PySyncObj and pycrdt", replication.main),
    "network": ("processes over TLS with stores on disk, beside PySyncObj", network.main),
    "join": ("a newcomer to peers that trade, over TLS in processes", join.main),
    "hostile": ("a live peer over TLS under attack: its own submits, its memory", hostile.main),
    "storage": ("durable submits beside bare SQLite, restarts, the collector", storage.main),
}


def main() -> None:
    """Run the benches asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Run every benchmark of gossipbook. bench/README.md says how to read them.",
    )
    parser.add_argument(
        "--small", action="store_true", help="a small form of each, all in a few minutes"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=list(BENCHES),
        metavar="NAME",
        help=f"only these: {', '.join(BENCHES)}",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="save the raw results here")
    options = parser.parse_args()
    names = options.only or list(BENCHES)
    results: Results = {}
    for name in names:
        title, run = BENCHES[name]
        print(f"{'=' * 78}\n{name}: {title}\n{'=' * 78}", flush=True)
        progress(
            f"CPython {platform.python_version()}, {'small' if options.small else 'full'} form"
        )
        start = perf_counter()
        results[name] = run(["--small"] if options.small else [])
        print(f"({name} took {perf_counter() - start:.0f} s)\n", flush=True)
    if options.json is not None:
        write_json(options.json, results)


if __name__ == "__main__":
    main()
