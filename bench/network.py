"""Peers in processes of their own over TLS, with stores on disk, beside PySyncObj with its journal.

*Rate*: three and eight processes on the loopback address. Each writes its share, all at the same
moment, and the clock stops when every process holds everything in the same order. *Steady*: orders
fall due at 200 a second in total; how long until the peer that wrote one has it on disk, and until
the last of the others has it out of its subscription. In a round all variants take turns, ours and
theirs, so that ratios of one round can be trusted.

`network_runs` says what a run is and where the two libraries differ, `raft_processes` what a
journal of PySyncObj is worth. Files go to a temporary folder, or below ``--directory``.

    python -m bench.network [--small] [--rounds N] [--profile] [--directory DIR] [--json FILE]
"""

import argparse
import tempfile
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from bench import network_runs
from bench.network_runs import OURS, RateRun, SteadyRun
from bench.profile_stages import print_profile, stage_seconds
from bench.replication_work import RivalMissing
from bench.report import Results, print_table, progress, write_json
from bench.storage import IN_MEMORY, file_system_of

SHARES = {3: 4_000, 8: 1_000}
SMALL_SHARES = {3: 800, 8: 160}
"""Number of processes: records that each of them writes."""
BATCHES = (1, 16, 256)
RECORDS_PER_S = 200
STEADY_S, SMALL_STEADY_S = 3.0, 1.0
ROUNDS = 5

COMPARED = f"{OURS}, 16 an entry"
RIVAL = "PySyncObj, journal"
SYNCED_RIVAL = "PySyncObj, synced journal"
RATE_AIMS = {3: 0.4}
"""Times the rival's rate that `COMPARED` should reach at least, by number of processes."""
VISIBLE_AIM_MS = 20.0

SMALL_VARIANTS = (*(f"{OURS}, {batch} an entry" for batch in BATCHES), RIVAL, SYNCED_RIVAL)
PAIR = (COMPARED, RIVAL)
"""All that the small form runs with many processes: they take seconds to start."""
MANY = 8


def main(arguments: list[str] | None = None) -> Results:
    """Print the tables; the raw results."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.network",
        description="Processes over loopback TLS with stores on disk, beside PySyncObj.",
    )
    parser.add_argument("--small", action="store_true", help="a fifth of the records, one round")
    parser.add_argument("--rounds", type=int, help=f"rounds to take medians of ({ROUNDS}; small 1)")
    parser.add_argument(
        "--profile", action="store_true", help="run once more with a peer under cProfile"
    )
    parser.add_argument(
        "--directory", type=Path, metavar="DIR", help="where to put the files (a temporary one)"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="save the raw results here")
    options = parser.parse_args(arguments)
    small, seed = options.small, options.seed
    rounds = (1 if small else ROUNDS) if options.rounds is None else options.rounds
    if rounds < 1:
        parser.error(f"--rounds {rounds}: give at least 1")
    if options.directory is not None and not options.directory.is_dir():
        parser.error(f"--directory {options.directory}: give a directory that exists")
    shares, seconds = (SMALL_SHARES, SMALL_STEADY_S) if small else (SHARES, STEADY_S)
    with tempfile.TemporaryDirectory(prefix="gossipbook-", dir=options.directory) as name:
        folder = Path(name)
        results: Results = {
            "file_system": tell_file_system(folder),
            "rates": measure_rates(folder, shares, rounds, seed=seed, small=small),
            "steady": measure_steady(
                folder, tuple(shares), rounds, seconds=seconds, seed=seed, small=small
            ),
        }
        for nodes, share in shares.items():
            print_rates(results["rates"][str(nodes)], nodes, share)
        print_steady(results["steady"])
        print_aims(results["rates"], results["steady"])
        if options.profile:
            results["profile"] = measure_profiles(folder, shares, seconds=seconds, seed=seed)
    if options.json is not None:
        write_json(options.json, {"network": results})
    return results


# ==================================================================== all of it, in turns


def rate_runs(folder: Path, seed: int) -> dict[str, Callable[[int, int], RateRun]]:
    """Every variant whose rate is measured, ours and theirs: (processes, records each) to a run."""
    ours = partial(network_runs.run_gossipbook, folder=folder, seed=seed)
    theirs = partial(network_runs.run_pysyncobj, folder=folder)
    runs: dict[str, Callable[[int, int], RateRun]] = {
        f"{OURS}, {batch} an entry": partial(ours, batch=batch) for batch in BATCHES
    }
    runs[f"{OURS}, all at once"] = partial(ours, at_once=True)
    for name, journal in ((RIVAL, "journal"), (SYNCED_RIVAL, "synced")):
        runs[name] = partial(theirs, journal=journal)
        runs[f"{name}, tuned"] = partial(theirs, journal=journal, settings="tuned")
        runs[f"{name}, tuned, 16 a command"] = partial(
            theirs, journal=journal, settings="tuned", batch=16
        )
    return runs


def steady_runs(folder: Path, seconds: float, seed: int) -> dict[str, Callable[[int], SteadyRun]]:
    """Every variant whose latency is measured: processes to a run."""
    flow = {"folder": folder, "records_per_s": RECORDS_PER_S}
    theirs = partial(network_runs.steady_pysyncobj, seconds=seconds, **flow)
    return {
        OURS: partial(network_runs.steady_gossipbook, seconds=seconds, seed=seed, **flow),
        RIVAL: theirs,
        f"{RIVAL}, prompt": partial(theirs, settings="prompt"),
        f"{SYNCED_RIVAL}, prompt": partial(theirs, settings="prompt", journal="synced"),
    }


def measure_rates(
    folder: Path, shares: dict[int, int], rounds: int, *, seed: int, small: bool
) -> dict[str, dict[str, list[Results]]]:
    """{processes: {variant: a result a round}}; in a round all variants take turns."""
    found: dict[str, dict[str, list[Results]]] = {str(nodes): {} for nodes in shares}
    for at in range(rounds):
        for nodes, share in shares.items():
            runs = rate_runs(folder, seed + at)
            for name in _chosen(runs, nodes, small):
                progress(f"network: {name}, N={nodes}, round {at + 1} of {rounds}")
                try:
                    result = raw_rate(runs[name](nodes, share))
                except RivalMissing as missing:
                    progress(str(missing))
                    continue
                found[str(nodes)].setdefault(name, []).append(result)
    return found


def measure_steady(
    folder: Path,
    sizes: Sequence[int],
    rounds: int,
    *,
    seconds: float,
    seed: int,
    small: bool,
) -> dict[str, dict[str, list[Results]]]:
    """{processes: {variant: a result a round}}; in a round all variants take turns."""
    found: dict[str, dict[str, list[Results]]] = {str(nodes): {} for nodes in sizes}
    for at in range(rounds):
        for nodes in sizes:
            for name, run in steady_runs(folder, seconds, seed + at).items():
                if small and name not in (OURS, RIVAL):
                    continue
                progress(f"network: steady, {name}, N={nodes}, round {at + 1} of {rounds}")
                try:
                    result = raw_steady(run(nodes))
                except RivalMissing as missing:
                    progress(str(missing))
                    continue
                found[str(nodes)].setdefault(name, []).append(result)
    return found


def _chosen(names: Collection[str], nodes: int, small: bool) -> list[str]:
    if not small:
        return list(names)
    wanted = PAIR if nodes >= MANY else SMALL_VARIANTS
    return [name for name in names if name in wanted]


def raw_rate(run: RateRun) -> Results:
    """One run as JSON takes it."""
    return {
        "system": run.rate.system,
        "records_per_s": run.rate.records_per_s,
        "processor_us_per_record": run.rate.processor_us_per_record,
        "processor_s": run.processor_s,
        "peak_memory_bytes": run.peak_memory_bytes,
        "submit_p50_ms": None if run.submits is None else run.submits.percentile_ms(50),
        "submit_p99_ms": None if run.submits is None else run.submits.percentile_ms(99),
        "undone_per_record": run.undone_per_record,
        "wire_bytes_per_record": run.wire_bytes_per_record,
    }


def raw_steady(run: SteadyRun) -> Results:
    """One run as JSON takes it."""
    return {
        "system": run.visible.system,
        "visible_p50_ms": run.visible.percentile_ms(50),
        "visible_p99_ms": run.visible.percentile_ms(99),
        "answered_p50_ms": run.answered.percentile_ms(50),
        "answered_p99_ms": run.answered.percentile_ms(99),
        "processor_share": run.processor_share,
    }


# ==================================================================== tables


def print_rates(found: dict[str, list[Results]], nodes: int, share: int) -> None:
    """A row a variant, for one number of processes."""
    print(
        f"N={nodes}: {nodes} processes x {share:,} records until all agree; rounds: "
        f"{max(map(len, found.values()))}; medians, and ratios within a round\n"
    )
    rivals = [name for name in (RIVAL, SYNCED_RIVAL) if name in found]
    head = ["", "records/s", "(least-most)", *[f"x {name}" for name in rivals]]
    head += ["submit p50 ms", "p99 ms", "processor us", "s a process", "memory MB"]
    head += ["wire bytes", "undone"]
    rows = []
    for name, results in found.items():
        rates = [one["records_per_s"] for one in results]
        row = [name, f"{median(rates):,.0f}", f"({min(rates):,.0f}-{max(rates):,.0f})"]
        row += [f"{median(ratios(results, found[rival])):.2f}" for rival in rivals]
        row += [
            _median_cell([one[key] for one in results], form)
            for key, form in (
                ("submit_p50_ms", "{:.1f}"),
                ("submit_p99_ms", "{:.1f}"),
                ("processor_us_per_record", "{:.0f}"),
            )
        ]
        row.append(_median_cell([max(one["processor_s"]) for one in results], "{:.2f}"))
        row.append(_median_cell([_megabytes(one) for one in results], "{:.0f}"))
        row.append(_median_cell([one["wire_bytes_per_record"] for one in results], "{:,.0f}"))
        row.append(_median_cell([one["undone_per_record"] for one in results], "{:.2f}"))
        rows.append(row)
    print_table(head, rows)


def print_steady(found: dict[str, dict[str, list[Results]]]) -> None:
    """A row a variant and number of processes."""
    print(
        f"ms from due, {RECORDS_PER_S} records/s in total, the processes taking turns; medians of "
        "the rounds\n"
    )
    rows = [
        [
            f"N={nodes}, {name}",
            *[
                _median_cell([one[key] for one in results], "{:.1f}")
                for key in (
                    "visible_p50_ms",
                    "visible_p99_ms",
                    "answered_p50_ms",
                    "answered_p99_ms",
                )
            ],
            _median_cell([max(one["processor_share"]) for one in results], "{:.0%}"),
        ]
        for nodes, variants in found.items()
        for name, results in variants.items()
    ]
    head = ["", "visible at all p50", "p99", "answered p50", "p99", "busiest process, of a core"]
    print_table(head, rows)


def print_aims(
    rates: dict[str, dict[str, list[Results]]], steady: dict[str, dict[str, list[Results]]]
) -> None:
    """A line an aim, and whether it is met."""
    for nodes, aim in RATE_AIMS.items():
        variants = rates.get(str(nodes), {})
        if RIVAL in variants:
            times = ratios(variants[COMPARED], variants[RIVAL])
            print(
                f"N={nodes}, {COMPARED}: {median(times):.2f} x {RIVAL} ({min(times):.2f}-"
                f"{max(times):.2f} in single rounds); the aim is {aim} at least: "
                f"{_verdict(median(times) >= aim)}"
            )
    for nodes_text, variants in steady.items():
        p50_ms = median([one["visible_p50_ms"] for one in variants[OURS]])
        print(
            f"N={nodes_text}, visible at all: p50 {p50_ms:.1f} ms; the aim is below "
            f"{VISIBLE_AIM_MS:.0f} ms: {_verdict(p50_ms < VISIBLE_AIM_MS)}"
        )
    print(flush=True)


def ratios(ours: Sequence[Results], theirs: Sequence[Results]) -> list[float]:
    """Our rate over theirs, round by round."""
    return [
        one["records_per_s"] / other["records_per_s"]
        for one, other in zip(ours, theirs, strict=True)
    ]


def _verdict(is_met: bool) -> str:
    return "met" if is_met else "missed"


def _megabytes(result: Results) -> float:
    """What the largest process needed."""
    return float(max(result["peak_memory_bytes"])) / 1e6


def _median_cell(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return form.format(median(known)) if known else ""


def tell_file_system(folder: Path) -> str:
    """Say on what the files are, and whether a sync means anything there."""
    kind = file_system_of(folder)
    print(f"files in {folder.parent}, file system {kind}\n")
    if kind in IN_MEMORY:
        progress(
            f"network: {folder.parent} is in memory ({kind}), where a sync is free: the figures "
            "say nothing about a disk. Name a directory on one with --directory"
        )
    return kind


# ==================================================================== where the time goes


def measure_profiles(
    folder: Path, shares: dict[int, int], *, seconds: float, seed: int
) -> dict[str, dict[str, float]]:
    """The thread of one peer under cProfile, the others without: {run: seconds by stage}."""
    found: dict[str, dict[str, float]] = {}
    path = folder / "profile"
    for nodes, share in shares.items():
        for batch in (1, 16):
            network_runs.run_gossipbook(
                nodes, share, folder=folder, batch=batch, seed=seed, profile=path
            )
            name = f"N={nodes}, {batch} an entry"
            found[name] = _show_profile(name, path, nodes * share)
        network_runs.steady_gossipbook(
            nodes, seconds, folder=folder, records_per_s=RECORDS_PER_S, seed=seed, profile=path
        )
        name = f"N={nodes}, {RECORDS_PER_S} orders/s, all subscribed"
        found[name] = _show_profile(name, path, round(seconds * RECORDS_PER_S))
    return found


def _show_profile(name: str, path: Path, records: int) -> dict[str, float]:
    print(f"{name}: one peer under cProfile, without its worker threads\n")
    profile = str(path)  # `pstats` takes the file that a process left as it takes a profiler
    print_profile(profile, records)
    return stage_seconds(profile)


if __name__ == "__main__":
    main()
