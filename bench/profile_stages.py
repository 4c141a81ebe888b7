"""A cProfile, sorted into the stages of an order's way through a peer.

A function belongs to the stage of its file; a built-in to the stages of the functions that called
it, by their shares. Profiled time is two to three times as long as unprofiled, and small functions
look worse than they are: the table tells what to look at, not what a stage costs.
"""

import cProfile
import pstats
from collections import defaultdict
from typing import Any

from bench.report import print_table

STAGES: dict[str, tuple[str, ...]] = {
    # The first that matches a part of the file's path counts.
    "signatures": ("/nacl/", "gossipbook/identity", "gossipbook/log/verification"),
    "encode and decode": (
        "gossipbook/encoding",
        "gossipbook/gossip/messages",
        "gossipbook/log/entry",
        "gossipbook/book/payload",
        "/cbor2/",
    ),
    "hashes and roots": (
        "gossipbook/merkle",
        "gossipbook/book/digest",
        "gossipbook/log/frontier",
        "/blake3/",
    ),
    "logs and merge": ("gossipbook/replica", "gossipbook/log/"),
    "matching": ("gossipbook/book/",),
    "protocol": ("gossipbook/gossip/", "gossipbook/randomness"),
    "store": ("gossipbook/storage/",),
    "transport": ("gossipbook/transport/", "gossipbook/link_model", "/ssl.py", "/trio/_ssl"),
    "peer and driver": (
        "gossipbook/driver",
        "gossipbook/peer",
        "gossipbook/receipts",
        "gossipbook/genesis",
    ),
    "trio": ("/trio/", "/outcome/", "/attr", "/sortedcontainers/", "/contextlib"),
}
OTHER = "other"
WAITING = "waiting"
WAITS = ("select.epoll", "select.kqueue")
TOP_FUNCTIONS = 25

Function = tuple[str, int, str]
"""(file, line, name), as the profiler names a function; built-ins have the file "~"."""


def print_profile(profiler: cProfile.Profile, records: int) -> None:
    """Print a table of the stages and one of the functions with most time of their own."""
    by_stage = stage_seconds(profiler)
    busy_s = sum(seconds for stage, seconds in by_stage.items() if stage != WAITING)
    rows = [
        [
            stage,
            f"{seconds:.3f}",
            f"{1e6 * seconds / records:.1f}",
            "" if stage == WAITING else f"{100 * seconds / busy_s:.0f}%",
        ]
        for stage, seconds in by_stage.items()
    ]
    print_table(["stage", "s", "us a record", "of busy time"], rows)
    functions = sorted(_statistics(profiler).items(), key=lambda item: -item[1][2])
    print_table(
        ["function, its own time", "calls", "s", "us a record"],
        [
            [_described(function), f"{calls:,}", f"{own_s:.3f}", f"{1e6 * own_s / records:.1f}"]
            for function, (_, calls, own_s, _, _) in functions[:TOP_FUNCTIONS]
        ],
    )


def stage_seconds(profiler: cProfile.Profile) -> dict[str, float]:
    """Seconds in each stage, most first; they add up to all profiled time."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for function, (_, _, own_s, _, callers) in _statistics(profiler).items():
        if function[0] != "~":
            seconds[stage_of(function[0])] += own_s
        elif any(name in function[2] for name in WAITS):
            seconds[WAITING] += own_s
        else:
            for caller, (_, _, share_s, _) in callers.items():
                seconds[stage_of(caller[0])] += share_s
                own_s -= share_s
            seconds[OTHER] += own_s  # called by nobody who was profiled
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))


def stage_of(path: str) -> str:
    """The stage that the functions of a file belong to."""
    path = path.replace("\\", "/")
    for stage, parts in STAGES.items():
        if any(part in path for part in parts):
            return stage
    return OTHER


def _statistics(profiler: cProfile.Profile) -> dict[Function, Any]:
    """{function: (primitive calls, calls, own seconds, seconds with callees, {caller: ...})}."""
    found: dict[Function, Any] = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    return found


def _described(function: Function) -> str:
    path, line, name = function
    if path == "~":
        return name
    return f"{'/'.join(path.replace(chr(92), '/').split('/')[-2:])}:{line} {name}"
