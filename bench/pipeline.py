"""What one order costs a peer, stage by stage, and how much is undone when orders cross.

First table: microseconds of processor time per order for each stage of an order's way through a
peer, at 1, 16 and 256 orders an entry. The stages take turns on chunks of 1,024 orders in one
process, so whatever slows the machine slows them all; each figure is the median of some
repetitions. The ratio beside it is to one signature check of the same run: microseconds do not
carry over to another machine.

Second table: orders of 16 authors arrive late by a random time and so out of order. How many
commands are undone per order, when settling at once and when settling every 5 ms. These counts
come from a seed and are the same everywhere.

    python -m bench.pipeline [--small] [--json FILE]
"""

import argparse
import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import process_time

from bench.matching import order_flow
from bench.report import Results, print_table, progress, write_json
from gossipbook.book.digest import book_root
from gossipbook.book.matching import MatchingEngine
from gossipbook.book.payload import (
    Cancellation,
    Instruction,
    Replacement,
    decode_payload,
    encode_payload,
)
from gossipbook.genesis import Genesis, Market
from gossipbook.gossip.config import GossipConfig
from gossipbook.identity import Keypair, PeerId
from gossipbook.link_model import Link, LinkModel
from gossipbook.log.clock import hlc_at
from gossipbook.log.entry import (
    MAX_RUN_ENTRIES,
    NO_ENTRY,
    Entry,
    EntryId,
    decode_run,
    encode_run,
    sign_entry,
)
from gossipbook.log.verification import Verifier
from gossipbook.randomness import SeededRandom
from gossipbook.replica import Replica

BATCHES = (1, 16, 256)
AUTHORS = 16
CHUNK_ORDERS = 1_024
EPOCH_MS = 1_767_225_600_000  # 2026-01-01 UTC
STAGES = (
    "decode run",
    "verify signatures",
    "add",
    "settle",
    "events",
    "book root",
    "frontier root",
    "decode payload",
    "match",
)
PARTS = {"add": "decode payload", "settle": "match"}
"""What was measured apart as well: a part of another stage, and not in the sum."""

LATENCIES_S = ((0.005, 0.05), (0.005, 0.2))
RATES = (100, 1_000, 10_000)


def main(arguments: list[str] | None = None) -> Results:
    """Print both tables; the raw results."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.pipeline",
        description="Microseconds per order for each stage, and commands undone per order.",
    )
    parser.add_argument("--small", action="store_true", help="fewer orders and repetitions")
    parser.add_argument("--orders", type=int, help="orders in a repetition (65,536; small 8,192)")
    parser.add_argument("--repetitions", type=int, help="repetitions (5; small 3)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="save the raw results here")
    options = parser.parse_args(arguments)
    orders = options.orders or (8_192 if options.small else 65_536)
    repetitions = options.repetitions or (3 if options.small else 5)
    if orders < 2 * CHUNK_ORDERS or repetitions < 1:
        parser.error(
            f"--orders {orders} --repetitions {repetitions}: give at least "
            f"{2 * CHUNK_ORDERS} orders and 1 repetition"
        )
    results: Results = {
        "stages": measure_stages(orders, repetitions, options.seed),
        "undone": measure_undone(4_000 if options.small else 20_000, options.seed),
    }
    print_stages(results["stages"])
    print_undone(results["undone"])
    if options.json is not None:
        write_json(options.json, {"pipeline": results})
    return results


# ==================================================================== stages


@dataclass(frozen=True, slots=True)
class Chunk:
    """What arrives together: runs of entries on the wire, and how many orders they hold."""

    runs: tuple[bytes, ...]
    orders: int
    local_ms: int


def measure_stages(orders: int, repetitions: int, seed: int) -> Results:
    """Medians, in microseconds per order, for each batch size and stage."""
    genesis = _genesis()
    worlds = {}
    for batch in BATCHES:
        progress(f"pipeline: signing {orders:,} orders, {batch} an entry")
        entries = list(_written(genesis, orders, batch, seed, rate=CHUNK_ORDERS))
        worlds[batch] = _chunks(entries, batch)
    gc.collect()
    gc.freeze()  # the chunks are the bench's own: let the collector not look at them
    taken: dict[int, list[dict[str, float]]] = {batch: [] for batch in BATCHES}
    roots: dict[int, bytes] = {}
    for repetition in range(repetitions):
        for batch, chunks in worlds.items():
            progress(f"pipeline: {batch} an entry, repetition {repetition + 1} of {repetitions}")
            seconds, root = _run_stages(genesis, chunks)
            assert roots.setdefault(batch, root) == root, "repetitions must agree"
            count = sum(chunk.orders for chunk in chunks)
            taken[batch].append({name: 1e6 * s / count for name, s in seconds.items()})
    gc.unfreeze()
    return {
        "orders": orders,
        "repetitions": repetitions,
        "signature_check_us": median(one["verify signatures"] for one in taken[BATCHES[0]]),
        "batches": {
            str(batch): {
                "us_per_order": {
                    stage: median(one[stage] for one in taken[batch]) for stage in STAGES
                },
                "repetitions_us": taken[batch],
                "wire_bytes_per_order": sum(len(run) for chunk in chunks for run in chunk.runs)
                / sum(chunk.orders for chunk in chunks),
            }
            for batch, chunks in worlds.items()
        },
    }


def _run_stages(genesis: Genesis, chunks: Sequence[Chunk]) -> tuple[dict[str, float], bytes]:
    """Seconds each stage took over all chunks, and the root at the end."""
    gc.collect()
    decode_run.cache_clear()
    clock = process_time
    replica, verifier = Replica(genesis), Verifier()
    reader = MatchingEngine(genesis.markets[0])
    seconds = dict.fromkeys(STAGES, 0.0)
    for chunk in chunks:
        marks = [clock()]
        runs = [decode_run(run, genesis.network_id) for run in chunk.runs]
        marks.append(clock())
        verified = [verifier.check(run) for run in runs]
        marks.append(clock())
        entries = [entry for run in verified for entry in run if entry is not None]
        assert sum(map(len, runs)) == len(entries)
        start = clock()
        replica.add(entries, local_ms=chunk.local_ms)
        marks.append(marks[-1] + clock() - start)
        start = clock()
        replica.settle(now_us=1_000 * chunk.local_ms, local_ms=chunk.local_ms)
        marks.append(marks[-1] + clock() - start)
        _time_reading(replica, reader, sorted(entries, key=_place), marks)
        for stage, before, after in zip(STAGES, marks, marks[1:], strict=False):
            seconds[stage] += after - before
    root = replica.book_root()
    assert root == book_root([reader.digest()]), "the engine alone must end up with the same book"
    return seconds, root


def _time_reading(
    replica: Replica, reader: MatchingEngine, entries: Sequence[Entry], marks: list[float]
) -> None:
    """Append the marks of the later stages; ``reader`` is an engine without a replica."""
    clock = process_time
    before = reader.position
    start = clock()
    decoded = [decode_payload(entry.payload, 1) for entry in entries]
    payload_s = clock() - start
    keyed = [
        ((entry.author, entry.seq, index), instruction)
        for entry, instructions in zip(entries, decoded, strict=True)
        for index, instruction in enumerate(instructions)
    ]
    apply = reader.apply
    start = clock()
    for key, instruction in keyed:
        apply(key, instruction)
    match_s = clock() - start
    start = clock()
    for position in range(before, reader.position):
        reader.events(position)
    events_s = clock() - start
    start = clock()
    replica.book_root()
    book_root_s = clock() - start
    start = clock()
    replica.frontier.root()
    frontier_root_s = clock() - start
    for taken_s in (events_s, book_root_s, frontier_root_s, payload_s, match_s):
        marks.append(marks[-1] + taken_s)


def print_stages(results: Results) -> None:
    """The first table."""
    by_batch, check_us = results["batches"], results["signature_check_us"]
    print(
        f"{results['orders']:,} orders of {AUTHORS} authors in chunks of {CHUNK_ORDERS:,}; medians "
        f"of {results['repetitions']};\nx = multiples of one signature check, which took "
        f"{check_us:.1f} us in this run\n"
    )
    head = ["us per order"]
    for batch in BATCHES:
        head += [f"{batch} an entry", "x"]
    rows = []
    for stage in STAGES:
        if stage not in PARTS.values():
            rows.append([stage, *_stage_cells(results, [stage])])
        if stage in PARTS:
            rows.append([f"  of it {PARTS[stage]}", *_stage_cells(results, [PARTS[stage]])])
    whole = [stage for stage in STAGES if stage not in PARTS.values()]
    rows.append(["all stages", *_stage_cells(results, whole)])
    sizes = ["bytes on the wire"]
    for batch in BATCHES:
        sizes += [f"{by_batch[str(batch)]['wire_bytes_per_order']:.0f}", ""]
    print_table(head, [*rows, sizes])


def _stage_cells(results: Results, stages: Sequence[str]) -> list[str]:
    """For each batch size: what these stages take together, in us and in signature checks."""
    cells = []
    for batch in BATCHES:
        us_per_order = results["batches"][str(batch)]["us_per_order"]
        us = sum(us_per_order[stage] for stage in stages)
        cells += [f"{us:.2f}", f"{us / results['signature_check_us']:.3f}"]
    return cells


# ==================================================================== interleaved arrivals


def measure_undone(orders: int, seed: int) -> list[Results]:
    """Commands undone per order, for each rate, latency, batch size and pace of settling."""
    genesis = _genesis()
    found = []
    for rate in RATES:
        for batch in BATCHES:
            progress(f"pipeline: interleaved arrivals, {rate:,} orders/s, {batch} an entry")
            entries = list(_written(genesis, orders, batch, seed, rate=rate))
            for latency_s in LATENCIES_S:
                arrivals = _arrivals(entries, latency_s, seed)
                for settle_us in (0, GossipConfig().settle_us):
                    if settle_us == 0 and latency_s != LATENCIES_S[0]:
                        continue  # much work to show the same once more
                    found.append(
                        {
                            "orders_per_s": rate,
                            "orders_per_entry": batch,
                            "latency_s": latency_s,
                            "settle_us": settle_us,
                            **_settle_arrivals(genesis, arrivals, settle_us),
                        }
                    )
    return found


def _arrivals(
    entries: Sequence[tuple[int, Entry]], latency_s: tuple[float, float], seed: int
) -> list[tuple[int, int, Entry]]:
    """(arrival, number, entry), in order of arrival; each author's entries keep their order."""
    random = SeededRandom(seed)
    links: dict[PeerId, LinkModel] = {}
    arrivals = []
    for number, (written_us, entry) in enumerate(entries):
        link = links.get(entry.author)
        if link is None:
            link = links[entry.author] = LinkModel(
                Link(latency=latency_s), random.child(entry.author.hex())
            )
        (arrival_us,) = link.arrivals(entry.size_bytes, written_us)
        arrivals.append((arrival_us, number, entry))
    return sorted(arrivals)


def _settle_arrivals(
    genesis: Genesis, arrivals: Sequence[tuple[int, int, Entry]], settle_us: int
) -> Results:
    """What one replica undoes, settling ``settle_us`` after the first entry that waits."""
    replica = Replica(genesis)
    settlings = 0
    taken_s = 0.0
    due_us: int | None = None

    def settle(now_us: int) -> int | None:
        nonlocal settlings, taken_s
        start = process_time()
        replica.settle(now_us=now_us, local_ms=EPOCH_MS + now_us // 1_000)
        taken_s += process_time() - start
        settlings += 1
        return replica.next_settle_us()  # later where an expensive replay has to wait

    for arrival_us, _, entry in arrivals:
        while due_us is not None and due_us <= arrival_us:
            due_us = settle(due_us)
        replica.add([entry], local_ms=EPOCH_MS + arrival_us // 1_000)
        if due_us is None:
            due_us = arrival_us + settle_us
    while due_us is not None:
        due_us = settle(due_us)
    orders = replica.applied_count - replica.undone_count
    return {
        "orders": orders,
        "undone_per_order": replica.undone_count / orders,
        "settlings_per_order": settlings / orders,
        "settle_us_per_order": 1e6 * taken_s / orders,
    }


def print_undone(found: Sequence[Results]) -> None:
    """The second table."""
    print(
        f"{AUTHORS} authors, each entry late by a random time: commands undone per order (and "
        "us of settling per order)\n"
    )
    head = ["orders/s, delay, settling", *[f"{batch} an entry" for batch in BATCHES]]
    lines: dict[str, list[str]] = {}
    for one in found:
        low_s, high_s = one["latency_s"]
        pace = "at once" if one["settle_us"] == 0 else f"after {one['settle_us'] // 1000} ms"
        name = f"{one['orders_per_s']:>6,}, {low_s * 1e3:.0f}-{high_s * 1e3:.0f} ms, {pace}"
        cell = f"{one['undone_per_order']:.2f} ({one['settle_us_per_order']:.1f})"
        lines.setdefault(name, [name]).append(cell)
    print_table(head, list(lines.values()))


# ==================================================================== what is fed in


def _genesis() -> Genesis:
    return Genesis("bench pipeline", [Market("BTC-USD", "0.01", "0.0001")])


def _written(
    genesis: Genesis, orders: int, batch: int, seed: int, *, rate: int
) -> Iterator[tuple[int, Entry]]:
    """(microseconds since the epoch, entry) in merge order: ``batch`` orders in each entry.

    An author's entry is written when its batch is full; what is left over at the end is not.
    """
    keypairs = [Keypair.from_seed(bytes([1 + author]) * 32) for author in range(AUTHORS)]
    gathered: dict[bytes, list[Instruction]] = {}
    heads: dict[bytes, tuple[int, EntryId, int]] = {}  # length, head, latest hlc
    for number, ((name, _, _), instruction) in enumerate(order_flow(orders, seed, AUTHORS)):
        basket = gathered.setdefault(name, [])
        basket.append(_regrouped(instruction, batch))
        if len(basket) < batch:
            continue
        written_us = number * 1_000_000 // rate
        seq, prev, latest_hlc = heads.get(name, (0, NO_ENTRY, 0))
        hlc = max(hlc_at(EPOCH_MS + written_us // 1_000) + number % 65_536, latest_hlc + 1)
        entry = sign_entry(
            keypairs[name[0] - 1],
            network_id=genesis.network_id,
            seq=seq,
            prev=prev,
            hlc=hlc,
            payload=encode_payload(basket),
        )
        heads[name] = (seq + 1, entry.id, hlc)
        basket.clear()
        yield written_us, entry


def sample_entries(genesis: Genesis, orders: int, seed: int) -> list[tuple[bytes, int]]:
    """Encoded runs of entries of one order each, and the local time in ms to add each at."""
    entries = list(_written(genesis, orders, 1, seed, rate=CHUNK_ORDERS))
    return [(run, chunk.local_ms) for chunk in _chunks(entries, 1) for run in chunk.runs]


def _regrouped(instruction: Instruction, batch: int) -> Instruction:
    """The same with its target renamed: an author's n-th order is order n % batch of an entry."""
    if isinstance(instruction, Cancellation | Replacement):
        seq, index = divmod(instruction.target_seq, batch)
        return instruction._replace(target_seq=seq, target_index=index)
    return instruction


def _chunks(entries: Sequence[tuple[int, Entry]], batch: int) -> list[Chunk]:
    """The entries in chunks of 1,024 orders, each author's share of a chunk as one run."""
    size = CHUNK_ORDERS // batch
    chunks = []
    for first in range(0, len(entries) - size + 1, size):
        group = entries[first : first + size]
        by_author: dict[PeerId, list[Entry]] = {}
        for _, entry in group:
            by_author.setdefault(entry.author, []).append(entry)
        assert all(len(run) <= MAX_RUN_ENTRIES for run in by_author.values())
        runs = tuple([encode_run(run) for run in by_author.values()])
        chunks.append(Chunk(runs, size * batch, EPOCH_MS + group[-1][0] // 1_000 + 1))
    return chunks


def _place(entry: Entry) -> tuple[int, PeerId, int]:
    assert entry.merge_key is not None
    return entry.merge_key


if __name__ == "__main__":
    main()
