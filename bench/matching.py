"""How many messages a second the matching engine takes, forwards and backwards.

The flow: limit orders, cancels and replacements around a price that wanders, so that about 3,000
orders rest and half of the messages trade. Made from a seed before any clock runs. All rows are
measured in one process, best of some runs, so their ratios can be trusted and their absolute
values cannot be carried to another machine.

    python -m bench.matching [--small]
"""

import argparse
import gc
import platform
from collections.abc import Callable
from time import perf_counter

from gossipbook.book.matching import MatchingEngine
from gossipbook.book.payload import Cancellation, Instruction, Placement, Replacement
from gossipbook.genesis import Market
from gossipbook.identity import PeerId
from gossipbook.randomness import SeededRandom

Key = tuple[PeerId, int, int]

RESTING_ORDERS = 3_000


def order_flow(count: int, seed: int = 1, authors: int = 16) -> list[tuple[Key, Instruction]]:
    """`count` messages: placements, and cancels or replacements of orders placed before.

    An engine runs along, so that cancels begin when enough orders rest.
    """
    random = SeededRandom(seed)
    engine = MatchingEngine(Market("BTC-USD", "0.01", "0.0001"))
    keys = [PeerId(bytes([1 + author]) * 32) for author in range(authors)]
    seqs = [0] * authors
    placed: list[tuple[int, int]] = []  # (author, seq) of orders that may still rest
    flow: list[tuple[Key, Instruction]] = []
    middle = 100_000
    resting = 0
    for position in range(count):
        if position % 16 == 0:
            resting = engine.resting_count
            middle += random.between(-2, 2)
        author = random.below(authors)
        instruction: Instruction
        if resting > RESTING_ORDERS and random.chance(22_000):
            author, target = _pick_open(engine, keys, placed, random)
            if random.chance(16_000):
                instruction = Replacement(0, target, 0, 0, random.between(1, 60), 0)
            else:
                placed.pop()
                instruction = Cancellation(0, target, 0)
        elif random.chance(29_000):
            side = random.below(2)
            price = middle + (-80 if side else 80)
            instruction = Placement(0, side, price, random.between(1, 70), 1)
        else:
            side = random.below(2)
            distance = random.between(1, 60)
            price = middle + (distance if side else -distance)
            instruction = Placement(0, side, price, random.between(1, 100), 0)
            placed.append((author, seqs[author]))
        key = (keys[author], seqs[author], 0)
        engine.apply(key, instruction)
        flow.append((key, instruction))
        seqs[author] += 1
    return flow


def _pick_open(
    engine: MatchingEngine,
    keys: list[PeerId],
    placed: list[tuple[int, int]],
    random: SeededRandom,
) -> tuple[int, int]:
    """Bring an order that still rests to the end of `placed`; drop those met that do not."""
    while True:
        place = random.below(len(placed))
        placed[place], placed[-1] = placed[-1], placed[place]
        author, seq = placed[-1]
        status = engine.order((keys[author], seq, 0))
        if status is not None and status.state == "open":
            return author, seq
        placed.pop()


def applied(flow: list[tuple[Key, Instruction]], undo_window: int = 65_536) -> MatchingEngine:
    """An engine that has taken the whole flow."""
    engine = MatchingEngine(Market("BTC-USD", "0.01", "0.0001"), undo_window=undo_window)
    apply = engine.apply
    for key, instruction in flow:
        apply(key, instruction)
    return engine


def best_rate(messages: int, runs: int, run: Callable[[], float]) -> float:
    """Messages a second of the fastest run; `run` gives the seconds it took."""
    seconds = []
    for _ in range(runs):
        gc.collect()
        seconds.append(run())
    return messages / min(seconds)


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="messages per second of the matching engine")
    parser.add_argument("--small", action="store_true", help="a tenth of the messages, one run")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    count, runs = (20_000, 1) if options.small else (200_000, 3)
    flow = order_flow(count, options.seed)
    gc.collect()
    gc.freeze()  # the flow is the bench's, not the engine's: let the collector not look at it
    engine = applied(flow)
    engine.check()
    totals = engine.totals
    print(
        f"{count:,} messages: {totals.trades:,} trades, {totals.rejections:,} rejections, "
        f"{engine.resting_count:,} orders rest at the end in "
        f"{len(engine.book().bids) + len(engine.book().asks):,} levels; "
        f"CPython {platform.python_version()}"
    )
    rates = [
        ("apply, undo window 65,536", best_rate(count, runs, lambda: _apply(flow))),
        ("apply, undo window 1,000", best_rate(count, runs, lambda: _apply(flow, 1_000))),
        ("apply, collector off", best_rate(count, runs, lambda: _without_collector(flow))),
        ("apply, and a root per 1,000", best_rate(count, runs, lambda: _apply_rooted(flow))),
        ("undo", best_rate(count // 4, runs, lambda: _undo(flow))),
        ("apply again after undo", best_rate(count // 4, runs, lambda: _again(flow))),
        ("events of every command", best_rate(count, runs, lambda: _events(engine))),
    ]
    print(f"{'':32}{'messages/s':>12}{'us each':>10}{'ratio':>8}")
    for name, rate in rates:
        print(f"{name:32}{rate:12,.0f}{1e6 / rate:10.2f}{rate / rates[0][1]:8.2f}")
    for length in (50, 1_000, 10_000):
        median_us = 1e6 * _long_queue(length)
        print(f"one more order in a queue of {length:,}, and the root: {median_us:.0f} us (median)")


def _apply(flow: list[tuple[Key, Instruction]], undo_window: int = 65_536) -> float:
    start = perf_counter()
    engine = applied(flow, undo_window)
    elapsed_s = perf_counter() - start
    assert engine.position == len(flow)
    return elapsed_s


def _without_collector(flow: list[tuple[Key, Instruction]]) -> float:
    gc.disable()
    try:
        return _apply(flow)
    finally:
        gc.enable()


def _long_queue(length: int) -> float:
    """Seconds for one more order at the end of a queue, and the root after it."""
    engine = MatchingEngine(Market("BTC-USD"))
    author = PeerId(bytes(32))
    placement = Placement(0, 0, 100, 5, 0)
    for seq in range(length):
        engine.apply((author, seq, 0), placement)
    engine.digest()
    seconds = []
    for seq in range(length, length + 200):
        start = perf_counter()
        engine.apply((author, seq, 0), placement)
        engine.digest()
        seconds.append(perf_counter() - start)
    return sorted(seconds)[100]


def _apply_rooted(flow: list[tuple[Key, Instruction]]) -> float:
    engine = MatchingEngine(Market("BTC-USD", "0.01", "0.0001"))
    start = perf_counter()
    for position, (key, instruction) in enumerate(flow, 1):
        engine.apply(key, instruction)
        if position % 1_000 == 0:
            engine.digest()
    return perf_counter() - start


def _undo(flow: list[tuple[Key, Instruction]]) -> float:
    engine = applied(flow)
    start = perf_counter()
    engine.rewind(len(flow) - len(flow) // 4)
    return perf_counter() - start


def _again(flow: list[tuple[Key, Instruction]]) -> float:
    engine = applied(flow)
    engine.rewind(len(flow) - len(flow) // 4)
    start = perf_counter()
    for key, instruction in flow[engine.position :]:
        engine.apply(key, instruction)
    return perf_counter() - start


def _events(engine: MatchingEngine) -> float:
    start = perf_counter()
    for position in range(engine.position):
        engine.events(position)
    return perf_counter() - start


if __name__ == "__main__":
    main()
