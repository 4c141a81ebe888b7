"""One run of the network bench: processes that write, peers of gossipbook or nodes of PySyncObj.

    processes start -> all linked (a leader elected) -> a few records each -> common start
        rate      each writes its share; until all hold everything, in one order
        steady    records fall due one by one; until the last of the other processes shows each

Both libraries are processes of their own on the loopback address, both write to files in the same
folder, and both get the same number of records at the same moment. What differs is told where it
differs: `raft_processes` says what a journal is worth, and what is answered:

    gossipbook    `submit` returns when the order is on this peer's disk; the others get it after
    PySyncObj     the callback comes when a majority has the record in its journal

A run starts its own processes and ends them, so that their memory and processor time are its own.
Which runs there are, and what is made of the results, ``network`` knows.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import monotonic
from typing import Any

import trio

import gossipbook as gb
from bench.peer_processes import PeerProcess, open_processes
from bench.raft_processes import raft_cluster
from bench.replication_work import (
    LatencyResult,
    RateResult,
    RivalMissing,
    check_agreement,
    check_share,
    count_due,
)
from bench.report import Results

OURS = "gossipbook"
GENESIS = gb.Genesis("bench network", [gb.Market("BTC-USD", "0.01", "0.0001")])
WARM_ORDERS, WARM_BATCH = 32, 4
"""What each peer submits before the clock starts."""
START_DELAY_S = 0.25
"""How far ahead the common start is set, so that every process has heard of it, and has made the
orders that it will submit."""
LINK_LIMIT_S = 20.0
RUN_LIMIT_S = 600.0
POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class RateRun:
    """Until all processes held everything."""

    rate: RateResult
    submits: LatencyResult | None
    """How long each submit took under this load, where that was asked."""
    processor_s: tuple[float, ...]
    """Of each process, until it held everything."""
    peak_memory_bytes: tuple[int, ...]
    """Of each process, since it started."""
    undone_per_record: float | None = None
    """Commands taken back because an earlier one came in late, mean of all peers."""
    wire_bytes_per_record: float | None = None


@dataclass(frozen=True, slots=True)
class SteadyRun:
    """Records one by one, as they fell due."""

    visible: LatencyResult
    """Until the last of the other processes had it out of its subscription, or in its list."""
    answered: LatencyResult
    """Until the process that wrote it was told that it is kept."""
    processor_share: tuple[float, ...]
    """Of each process: processor time by wall time, while records fell due."""


# ==================================================================== gossipbook


def run_gossipbook(
    nodes: int,
    share: int,
    *,
    folder: Path,
    batch: int = 1,
    at_once: bool = False,
    seed: int = 1,
    profile: Path | None = None,
) -> RateRun:
    """Each peer submits its share, ``batch`` orders an entry and one entry after the other.

    ``at_once``: every order by a task of its own instead, so that those that wait while an entry
    is written share the next one. ``profile``: where to leave a profile of the first peer.
    """
    check_share(nodes, share, batch)
    return trio.run(partial(_run_gossipbook, nodes, share, folder, batch, at_once, seed, profile))


async def _run_gossipbook(
    nodes: int,
    share: int,
    folder: Path,
    batch: int,
    at_once: bool,
    seed: int,
    profile: Path | None,
) -> RateRun:
    async with _linked_peers(nodes, folder, seed) as peers:
        before = await _ask_all(peers, "status")
        async with _profiled(peers[0], profile):
            start_s = monotonic() + START_DELAY_S
            load = {"count": share, "batch": batch, "at_once": at_once, "start_s": start_s}
            submitting = partial(_ask_all, peers, "submit", seed=seed, **load)
            held_before = before[0]["entries"]
            if at_once:  # how many entries it becomes is known afterwards
                submitted = await submitting()
                entries = held_before + sum(answer["entries"] for answer in submitted)
                held = await _ask_all(peers, "hold", entries=entries)
            else:
                entries = held_before + nodes * -(-share // batch)
                holding = partial(_ask_all, peers, "hold", entries=entries)
                submitted, held = await _all_of([submitting, holding])
        after = await _ask_all(peers, "status")
    _check_submits(submitted)
    records = nodes * share
    _check_agreement(records, before, after)
    processor_s = _differences(before, held, "processor_s")
    delays_s = [end_s - due_s for answer in submitted for _, _, due_s, end_s in answer["submits"]]
    return RateRun(
        RateResult(
            OURS,
            nodes,
            records,
            wall_s=max(answer["settled_s"] for answer in held) - start_s,
            processor_s=sum(processor_s),
        ),
        LatencyResult(OURS, nodes, tuple(sorted(delays_s))),
        processor_s,
        _peak_memory(after),
        undone_per_record=sum(_differences(before, after, "undone_commands")) / (nodes * records),
        wire_bytes_per_record=sum(_differences(before, after, "sent_bytes")) / records,
    )


def steady_gossipbook(
    nodes: int,
    seconds: float,
    *,
    folder: Path,
    records_per_s: float,
    seed: int = 1,
    profile: Path | None = None,
) -> SteadyRun:
    """The peers submit an order each in turn, as it falls due, while all are subscribed."""
    count = count_due(nodes, seconds, records_per_s)
    return trio.run(partial(_steady_gossipbook, nodes, count, folder, records_per_s, seed, profile))


async def _steady_gossipbook(
    nodes: int, count: int, folder: Path, records_per_s: float, seed: int, profile: Path | None
) -> SteadyRun:
    async with _linked_peers(nodes, folder, seed) as peers:
        await _ask_all(peers, "watch")
        before = await _ask_all(peers, "status")
        async with _profiled(peers[0], profile):
            start_s = monotonic() + START_DELAY_S
            submitted = await _all_of(
                [
                    partial(
                        peer.ask,
                        "submit",
                        count=len(range(number, count, nodes)),
                        orders_per_s=records_per_s / nodes,
                        start_s=start_s + number / records_per_s,
                        seed=seed,
                    )
                    for number, peer in enumerate(peers)
                ]
            )
            seen = await _ask_all(peers, "seen", count=count)
        after = await _ask_all(peers, "status")
        wall_s = monotonic() - (start_s - START_DELAY_S)
    _check_submits(submitted)
    _check_agreement(count, before, after)
    authors = [peer.peer_id.hex() for peer in peers]
    visible_s, answered_s = _delays(authors, submitted, [answer["seen_s"] for answer in seen])
    return SteadyRun(
        LatencyResult(OURS, nodes, tuple(sorted(visible_s))),
        LatencyResult(OURS, nodes, tuple(sorted(answered_s))),
        tuple(spent_s / wall_s for spent_s in _differences(before, after, "processor_s")),
    )


def _delays(
    authors: Sequence[str], submitted: Sequence[Results], seen_s: Sequence[dict[str, float]]
) -> tuple[list[float], list[float]]:
    """Of each order: from due until the last of the others showed it, and until it was answered."""
    visible_s, answered_s = [], []
    for number, (author, answer) in enumerate(zip(authors, submitted, strict=True)):
        others = [times for at, times in enumerate(seen_s) if at != number]
        for seq, index, due_s, returned_s in answer["submits"]:
            name = f"{author}:{seq}:{index}"
            visible_s.append(max(times[name] for times in others) - due_s)
            answered_s.append(returned_s - due_s)
    return visible_s, answered_s


@asynccontextmanager
async def _linked_peers(nodes: int, folder: Path, seed: int) -> AsyncIterator[list[PeerProcess]]:
    """Peer processes, each linked to all others, that hold a few orders of everybody already."""
    with tempfile.TemporaryDirectory(prefix="peers-", dir=folder) as stores:
        async with open_processes(Path(stores), GENESIS) as processes:
            names = [f"peer-{number}" for number in range(nodes)]
            peers = await _all_of([partial(processes.start, name) for name in names])
            addresses: list[str] = []
            for peer in peers:
                opened = await peer.ask(
                    "open", listen="127.0.0.1:0", bootstrap=addresses, alone=True
                )
                addresses.append(opened["address"])
            await _wait_until_linked(peers)
            await _ask_all(
                peers, "submit", count=WARM_ORDERS, batch=WARM_BATCH, seed=seed + 1_000_000
            )
            await _ask_all(peers, "hold", entries=nodes * WARM_ORDERS // WARM_BATCH)
            yield peers
            for peer in peers:
                assert not peer.complaints, f"{peer.name} wrote to stderr:\n{peer.complaints}"


async def _wait_until_linked(peers: Sequence[PeerProcess]) -> None:
    with trio.fail_after(LINK_LIMIT_S):
        for peer in peers:
            while len((await peer.ask("status"))["peers"]) < len(peers) - 1:
                await trio.sleep(POLL_S)


@asynccontextmanager
async def _profiled(peer: PeerProcess, path: Path | None) -> AsyncIterator[None]:
    """Profile this peer's thread meanwhile, if there is a path for what is found."""
    if path is not None:
        await peer.ask("profile")
    yield
    if path is not None:
        await peer.ask("profiled", path=str(path))


async def _ask_all(peers: Sequence[PeerProcess], what: str, **arguments: Any) -> list[Results]:
    """Ask all peers the same at once; their answers, in order."""
    asking = [partial(peer.ask, what, limit_s=RUN_LIMIT_S, **arguments) for peer in peers]
    return await _all_of(asking)


async def _all_of(calls: Sequence[Callable[[], Awaitable[Any]]]) -> list[Any]:
    """Make all calls at once; their results, in order."""
    results: list[Any] = [None] * len(calls)

    async def make(at: int) -> None:
        results[at] = await calls[at]()

    async with trio.open_nursery() as nursery:
        for at in range(len(calls)):
            nursery.start_soon(make, at)
    return results


def _check_submits(submitted: Sequence[Results]) -> None:
    failures = [failure for answer in submitted for failure in answer["failures"]]
    assert not failures, f"{len(failures)} submits failed, the first: {failures[0]}"


def _check_agreement(records: int, before: Sequence[Results], after: Sequence[Results]) -> None:
    check_agreement(
        OURS,
        expected=records,
        held=min(_differences(before, after, "commands")),
        digests={answer["frontier_root"] + answer["book_root"] for answer in after},
    )


def _differences(before: Sequence[Results], after: Sequence[Results], key: str) -> tuple[Any, ...]:
    """By how much a figure of each process has grown."""
    return tuple(late[key] - early[key] for early, late in zip(before, after, strict=True))


def _peak_memory(answers: Sequence[Results]) -> tuple[int, ...]:
    return tuple(answer["peak_memory_bytes"] for answer in answers)


# ==================================================================== PySyncObj


def run_pysyncobj(
    nodes: int,
    share: int,
    *,
    folder: Path,
    settings: str = "usual",
    journal: str = "journal",
    batch: int = 1,
) -> RateRun:
    """Each node hands over all its records at once, ``batch`` records a command.

    Raises RivalMissing without the library, RivalFailed where the nodes end early, do not answer
    or do not agree.
    """
    system = _pysyncobj()
    check_share(nodes, share, batch)
    with raft_cluster(nodes, settings, journal=journal, folder=folder) as cluster:
        start_s = monotonic() + START_DELAY_S
        answers = cluster.ask("write all", share=share, batch=batch, start_s=start_s)
    records = nodes * share
    _check_lists(system, records, answers)
    processor_s = tuple(answer["processor_s"] for answer in answers)
    wall_s = max(answer["done_s"] for answer in answers) - start_s
    return RateRun(
        RateResult(system, nodes, records, wall_s, processor_s=sum(processor_s)),
        None,
        processor_s,
        _peak_memory(answers),
    )


def steady_pysyncobj(
    nodes: int,
    seconds: float,
    *,
    folder: Path,
    records_per_s: float,
    settings: str = "usual",
    journal: str = "journal",
) -> SteadyRun:
    """Each node hands over every N-th record as it falls due. Raises as ``run_pysyncobj``."""
    system = _pysyncobj()
    count = count_due(nodes, seconds, records_per_s)
    with raft_cluster(nodes, settings, journal=journal, folder=folder) as cluster:
        start_s = monotonic() + START_DELAY_S
        answers = cluster.ask(
            "write when due", count=count, records_per_s=records_per_s, start_s=start_s
        )
    _check_lists(system, count, answers)
    visible_s = []
    for at in range(count):
        others = [answer["seen_s"] for node, answer in enumerate(answers) if node != at % nodes]
        visible_s.append(max(seen_s[at] for seen_s in others) - (start_s + at / records_per_s))
    answered_s = [delay_s for answer in answers for delay_s in answer["answered_s"]]
    return SteadyRun(
        LatencyResult(system, nodes, tuple(sorted(visible_s))),
        LatencyResult(system, nodes, tuple(sorted(answered_s))),
        tuple(answer["processor_share"] for answer in answers),
    )


def _check_lists(system: str, records: int, answers: Sequence[Results]) -> None:
    held = min(answer["held"] for answer in answers)
    digests = {answer["digest"] for answer in answers}
    check_agreement(system, expected=records, held=held, digests=digests)


def _pysyncobj() -> str:
    try:
        return f"PySyncObj {version('pysyncobj')}"
    except PackageNotFoundError:
        raise RivalMissing(
            "pysyncobj is not installed; pip install 'gossipbook[bench]' brings it"
        ) from None
