"""A newcomer joins three peers that trade: how soon it is seen, how soon it has it all, who waits.

Processes on the loopback address, TLS between them, stores on disk. Three peers hold a history and
submit 100 orders a second each, without a pause. Then a fourth process, started beforehand, opens
a peer with an empty store and the address of one of them:

    process starts --- open_peer ---- opened --- linked --- holds --- settled
                       |                         |          |         |
    the figures from   0                         seen       held      settled

- *seen*: all three list it as a peer. The store and the key of the TLS listener are made before.
- *held*: it has checked, and keeps, every entry that one of the three held when it was started.
- *settled*: it has matched them, too, and knows its roots. They are equal: see below.
- *submits of the others*, from due to on disk: in the seconds before, and while it joins.

After that all rest, and the four must show equal frontiers and books, or the bench fails. Each
round starts from a copy of the same three stores. Starting the interpreter and importing the
library is not in these figures; it is shown beside them.

    python -m bench.join [--small] [--rounds N] [--profile] [--directory DIR] [--json FILE]
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any

import trio

import gossipbook as gb
from bench.peer_processes import PeerProcess, PeerProcesses, open_processes
from bench.profile_stages import print_profile
from bench.report import Results, print_table, progress, write_json

GENESIS = gb.Genesis("bench join", [gb.Market("BTC-USD", "0.01", "0.0001")])
RUNNING = ("alice", "bob", "carol")
NEWCOMER = "dave"

Case = tuple[int, int]
"""Orders in the history, orders an entry."""

CASES: tuple[Case, ...] = ((10_000, 1), (10_000, 16), (10_000, 256), (100_000, 16))
SMALL_CASES: tuple[Case, ...] = ((1_000, 16),)
AIMED_CASE: Case = (10_000, 16)
SEEN_AIM_S = 0.5
HELD_AIM_S = 1.5
P50_AIM = 2.0
"""While somebody joins, a submit of the others takes at most so many times as long as before."""
P99_AIM_MS = 100.0

ROUNDS = 5
ORDERS_PER_S = 100.0
"""At each of the running peers."""
BEFORE_S, SMALL_BEFORE_S = 3.0, 1.0
LEAST_JOIN_S = 1.0
"""Submits count as "while it joins" for at least so long: what it costs to be told everything by
three peers at once is over when it holds all, but not at that very moment."""
LINKED_LIMIT_S = 30.0
EQUAL_LIMIT_S = 60.0
POLL_S = 0.02


class JoinFailed(Exception):
    """The peers did not come to hold the same."""


@dataclass(frozen=True, slots=True)
class Joined:
    """One newcomer. Times are seconds from when its `open_peer` was called."""

    entries: int
    """That it had to fetch."""
    orders: int
    started_s: float
    """How long the interpreter and its imports took, before."""
    opened_s: float
    seen_s: float
    held_s: float
    settled_s: float
    before_s: tuple[float, ...]
    """What submits of the others took before, shortest first."""
    meanwhile_s: tuple[float, ...]
    failed: int
    """Submits of the others that failed at any time."""
    processor_s: float
    """Of the newcomer's, from its imports until it held everything."""
    undone: int
    """Commands that the newcomer took back, because earlier ones of another author came later."""


def main(arguments: list[str] | None = None) -> Results:
    """Print the table and what became of the aims; the raw results."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.join",
        description="A newcomer joins peers that trade, over TLS, in processes of their own.",
    )
    parser.add_argument("--small", action="store_true", help="a short history, one round")
    parser.add_argument("--rounds", type=int, help=f"rounds to take medians of ({ROUNDS}; small 1)")
    parser.add_argument(
        "--case",
        type=_case,
        action="append",
        metavar="ORDERS/BATCH",
        help="only this history, such as 10000/16 (may be given again)",
    )
    parser.add_argument(
        "--profile", action="store_true", help="once more, with the newcomer under cProfile"
    )
    parser.add_argument(
        "--directory", type=Path, metavar="DIR", help="where to put the stores (a temporary one)"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="save the raw results here")
    options = parser.parse_args(arguments)
    rounds = (1 if options.small else ROUNDS) if options.rounds is None else options.rounds
    if rounds < 1:
        parser.error(f"--rounds {rounds}: give at least 1")
    if options.directory is not None and not options.directory.is_dir():
        parser.error(f"--directory {options.directory}: give a directory that exists")
    cases = options.case or (SMALL_CASES if options.small else CASES)
    before_s = SMALL_BEFORE_S if options.small else BEFORE_S
    found: dict[Case, list[Joined]] = {}
    with tempfile.TemporaryDirectory(prefix="gossipbook-", dir=options.directory) as name:
        for case in cases:
            bench = _JoinBench(Path(name), case, before_s=before_s, seed=options.seed)
            found[case] = bench.measure(rounds)
            if options.profile:
                bench.profile()
    print_joins(found)
    print_aims(found)
    results: Results = {
        f"{orders}/{batch}": [asdict(joined) for joined in joins]
        for (orders, batch), joins in found.items()
    }
    if options.json is not None:
        write_json(options.json, {"join": results})
    return results


def _case(text: str) -> Case:
    """10000/16."""
    try:
        orders, batch = map(int, text.split("/"))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r}: write ORDERS/BATCH, such as 10000/16"
        ) from None
    if orders < len(RUNNING) or not 1 <= batch <= 256:
        raise argparse.ArgumentTypeError(
            f"{text!r}: give at least {len(RUNNING)} orders, and 1 to 256 an entry"
        )
    return orders, batch


# ==================================================================== tables


def print_joins(found: dict[Case, list[Joined]]) -> None:
    """A line a history: medians of the rounds; submits of all rounds together."""
    rows = []
    for (orders, batch), joins in found.items():
        before, meanwhile = _pooled(joins)
        rows.append(
            [
                f"{orders:,} orders, {batch} an entry",
                f"{median(one.entries for one in joins):,.0f}",
                *(
                    f"{median(getattr(one, name) for one in joins):.2f}"
                    for name in ("started_s", "opened_s", "seen_s", "held_s", "settled_s")
                ),
                f"{1e3 * percentile(before, 50):.1f} / {1e3 * percentile(before, 99):.1f}",
                f"{1e3 * percentile(meanwhile, 50):.1f} / {1e3 * percentile(meanwhile, 99):.1f}",
            ]
        )
    head = ["history", "entries", "start s", "opened s", "seen s", "held s", "settled s"]
    print_table([*head, "submit before p50 / p99 ms", "while joining p50 / p99 ms"], rows)


def print_aims(found: dict[Case, list[Joined]]) -> None:
    """What the aims were, and what became of them."""
    rows = []
    for case, joins in found.items():
        name = f"{case[0]:,}/{case[1]}"
        seen_s = median(one.seen_s for one in joins)
        rows.append([f"{name}: seen by all", f"< {SEEN_AIM_S} s", f"{seen_s:.2f} s"])
        rows[-1].append(_verdict(seen_s < SEEN_AIM_S))
        if case == AIMED_CASE:
            settled_s = median(one.settled_s for one in joins)
            rows.append([f"{name}: holds and has matched it all", f"< {HELD_AIM_S} s"])
            rows[-1] += [f"{settled_s:.2f} s", _verdict(settled_s < HELD_AIM_S)]
        before, meanwhile = _pooled(joins)
        times = percentile(meanwhile, 50) / percentile(before, 50)
        rows.append([f"{name}: others' submits, p50", f"< {P50_AIM:.0f} times as before"])
        rows[-1] += [f"{times:.2f} times", _verdict(times < P50_AIM)]
        p99_ms = 1e3 * percentile(meanwhile, 99)
        rows.append([f"{name}: others' submits, p99", f"< {P99_AIM_MS:.0f} ms", f"{p99_ms:.1f} ms"])
        rows[-1].append(_verdict(p99_ms < P99_AIM_MS))
        failed = sum(one.failed for one in joins)
        rows.append(
            [f"{name}: others' submits that failed", "0", str(failed), _verdict(not failed)]
        )
    print_table(["aim", "", "found", ""], rows)


def _verdict(met: bool) -> str:
    return "met" if met else "MISSED"


def _pooled(joins: Iterable[Joined]) -> tuple[list[float], list[float]]:
    """What submits took before and meanwhile, all rounds together, shortest first."""
    joins = list(joins)
    before = sorted(delay for one in joins for delay in one.before_s)
    return before, sorted(delay for one in joins for delay in one.meanwhile_s)


def percentile(delays_s: Sequence[float], percent: int) -> float:
    """The delay that ``percent`` of them did not exceed (nearest rank); they are sorted."""
    rank = -(-len(delays_s) * percent // 100)
    return delays_s[max(rank, 1) - 1]


# ==================================================================== one history


class _JoinBench:
    """Stores with a history, and newcomers to peers that are opened on copies of them."""

    def __init__(self, folder: Path, case: Case, *, before_s: float, seed: int) -> None:
        self._orders, self._batch = case
        self._before_s = before_s
        self._seed = seed
        self._name = f"{self._orders:,} orders, {self._batch} an entry"
        self._folder = folder / f"{self._orders}-{self._batch}"
        self._made = self._folder / "history"
        self._addresses: list[str] = []
        """Where the three listen. Always there: their stores remember it."""

    def measure(self, rounds: int) -> list[Joined]:
        """So many newcomers, one after the other, each to the same history."""
        self._make_history()
        joins = []
        for number in range(rounds):
            progress(f"join: {self._name}, round {number + 1} of {rounds}")
            joins.append(self._round(number))
        return joins

    def profile(self) -> None:
        """One newcomer more, and where its time goes."""
        progress(f"join: {self._name}, under cProfile")
        path = self._folder / "newcomer.profile"
        joined = self._round(0, profile=path)
        print(f"{self._name}: the newcomer under cProfile, every signature in the peer's thread")
        profile: Any = str(path)  # `pstats` takes the file as it takes a profiler
        print_profile(profile, joined.orders)

    def _make_history(self) -> None:
        progress(f"join: making {self._name}")
        self._made.mkdir(parents=True)
        trio.run(self._write_history)

    async def _write_history(self) -> None:
        share, more = divmod(self._orders, len(RUNNING))
        async with open_processes(self._made, GENESIS) as processes:
            running, self._addresses = await _open_running(processes)
            async with trio.open_nursery() as nursery:
                for number, process in enumerate(running):
                    count = share + (number < more)
                    nursery.start_soon(_submit, process, count, self._batch, self._seed)
            await _until_equal(running)
            for process in running:
                await process.end()

    def _round(self, number: int, *, profile: Path | None = None) -> Joined:
        folder = self._folder / "round"
        shutil.copytree(self._made, folder)
        try:
            return trio.run(self._join, folder, number, profile)
        finally:
            shutil.rmtree(folder)

    async def _join(self, folder: Path, number: int, profile: Path | None) -> Joined:
        async with open_processes(folder, GENESIS) as processes:
            running, (address, *_) = await _open_running(processes, self._addresses)
            await _until_equal(running)
            started_s = monotonic()
            newcomer = await processes.start(NEWCOMER)
            started_s = monotonic() - started_s
            start = await newcomer.ask("ready")
            for process in running:
                seed = self._seed + 1 + number
                await process.ask("trade", orders_per_s=ORDERS_PER_S, seed=seed)
            await trio.sleep(self._before_s)
            before = [await process.ask("status") for process in running]
            wanted = _joint_frontier(before)
            opened, held = await _open_newcomer(newcomer, address, wanted, profile)
            began_s = opened["began_s"]
            joined_s = max(held["settled_s"], began_s + LEAST_JOIN_S)
            await trio.sleep(max(0.0, joined_s - monotonic()))
            await _until_seen(running, newcomer)
            traded = [await process.ask("rest") for process in running]
            after = await _until_equal([*running, newcomer])
        submits = [submit for one in traded for submit in one["submits"]]
        return Joined(
            entries=sum(wanted.values()),
            orders=before[0]["commands"],
            started_s=started_s,
            opened_s=opened["opened_s"] - began_s,
            seen_s=_seen_by_all(after[:-1], newcomer) - began_s,
            held_s=held["held_s"] - began_s,
            settled_s=held["settled_s"] - began_s,
            before_s=_delays(submits, began_s - self._before_s, began_s),
            meanwhile_s=_delays(submits, began_s, joined_s),
            failed=sum(sum(one["failed"].values()) for one in traded),
            processor_s=held["processor_s"] - start["processor_s"],
            undone=after[-1]["undone_commands"],
        )


async def _open_newcomer(
    newcomer: PeerProcess, address: str, wanted: dict[str, int], profile: Path | None
) -> tuple[Results, Results]:
    """What it tells when it is open, and when it holds what was wanted."""
    if profile is not None:
        await newcomer.ask("profile")
    opened = await newcomer.ask("open", listen="127.0.0.1:0", bootstrap=[address])
    held = await newcomer.ask("hold", frontier=wanted)
    if profile is not None:
        await newcomer.ask("profiled", path=str(profile))
    return opened, held


async def _open_running(
    processes: PeerProcesses, addresses: Sequence[str] = ()
) -> tuple[list[PeerProcess], list[str]]:
    """The three, linked to each other, and where they listen: there, or at ports that are free."""
    running = [await processes.start(name) for name in RUNNING]
    listen_at = addresses or ["127.0.0.1:0"] * len(RUNNING)
    opened: list[str] = []
    for process, listen in zip(running, listen_at, strict=True):
        answer = await process.ask("open", listen=listen, bootstrap=opened, alone=not opened)
        opened.append(answer["address"])
    with trio.fail_after(LINKED_LIMIT_S):
        for process in running:
            while len((await process.ask("status"))["peers"]) < len(RUNNING) - 1:
                await trio.sleep(POLL_S)
    return running, opened


async def _submit(process: PeerProcess, count: int, batch: int, seed: int) -> None:
    result = await process.ask("submit", count=count, batch=batch, seed=seed)
    if result["failed"]:
        reason = f"{result['failures'][0]}\n{process.complaints}"
        raise JoinFailed(f"{process.name} could not write its history: {reason}")


async def _until_equal(processes: Sequence[PeerProcess]) -> list[Results]:
    """What all tell when they hold the same entries and books. Raises JoinFailed."""
    with trio.move_on_after(EQUAL_LIMIT_S):
        while True:
            answers = [await process.ask("status") for process in processes]
            if len({(one["frontier_root"], one["book_root"]) for one in answers}) == 1:
                return answers
            await trio.sleep(POLL_S)
    raise JoinFailed(f"{len(processes)} peers do not agree after {EQUAL_LIMIT_S:.0f} s")


async def _until_seen(running: Sequence[PeerProcess], newcomer: PeerProcess) -> None:
    """Return when all of them list the newcomer. Raises JoinFailed."""
    with trio.move_on_after(LINKED_LIMIT_S):
        for process in running:
            while newcomer.peer_id.hex() not in (await process.ask("status"))["peers"]:
                await trio.sleep(POLL_S)
        return
    raise JoinFailed(f"not everybody lists the newcomer after {LINKED_LIMIT_S:.0f} s")


def _joint_frontier(answers: Sequence[Results]) -> dict[str, int]:
    """What at least one of them holds of each author."""
    frontier: dict[str, int] = {}
    for answer in answers:
        for author, length in answer["frontier"].items():
            frontier[author] = max(length, frontier.get(author, 0))
    return frontier


def _seen_by_all(answers: Sequence[Results], newcomer: PeerProcess) -> float:
    """When the last of those who answered listed the newcomer for the first time."""
    wanted = newcomer.peer_id.hex()
    seen_s: list[float] = [
        next(at_s for at_s, what, who, _ in one["changes"] if (what, who) == ("up", wanted))
        for one in answers
    ]
    return max(seen_s)


def _delays(
    submits: Iterable[tuple[int, int, float, float]], from_s: float, until_s: float
) -> tuple[float, ...]:
    """What the submits took that fell due in that time, shortest first."""
    return tuple(
        sorted(back_s - due_s for _, _, due_s, back_s in submits if from_s <= due_s < until_s)
    )


if __name__ == "__main__":
    main()
