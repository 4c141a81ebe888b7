"""What every system in the replication benches is given to do, and how its results look.

The work: N nodes write their shares of the records at the same moment, and the clock stops when
every node holds all of them in the same order, which each shows by a hash over its list. And: one
record after the other as it falls due, at a steady rate in total, the nodes taking turns, and how
long each takes from being due until all other nodes have it.

A record is the text of one limit order with its author and number, 100 bytes: what an entry of
gossipbook holds, without its hashes and signature. As text, because PySyncObj pickles bytes more
slowly. This file knows none of the systems and measures nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256


class RivalMissing(Exception):
    """The library to compare with is not installed."""


class RivalFailed(Exception):
    """A run on another library ended early, took too long, or its nodes did not agree."""


@dataclass(frozen=True, slots=True)
class RateResult:
    """One run until all nodes held all records in the same order."""

    system: str
    nodes: int
    records: int
    wall_s: float
    processor_s: float
    """Processor time of all nodes together, until each had everything."""
    wire_bytes: int | None = None
    """What nodes sent each other, all together, where it is counted."""

    @property
    def records_per_s(self) -> float:
        return self.records / self.wall_s

    @property
    def processor_us_per_record(self) -> float:
        return 1e6 * self.processor_s / self.records


@dataclass(frozen=True, slots=True)
class LatencyResult:
    """How long each record took from being due until all other nodes had it, shortest first."""

    system: str
    nodes: int
    delays_s: tuple[float, ...]

    def percentile_ms(self, percent: int) -> float:
        """The delay that ``percent`` of the records did not exceed (nearest rank)."""
        rank = -(-len(self.delays_s) * percent // 100)
        return 1e3 * self.delays_s[max(rank, 1) - 1]


def record(node: int, number: int) -> str:
    """The order that the node writes as its ``number``-th: 100 characters of ASCII, valid JSON."""
    author = (node + 1) * 0x9E3779B1 % (1 << 32)
    side, cents, lots = "BS"[number % 2], 6_400_000 + 3_701 * number % 50_000, 1 + number % 9_973
    return (
        f'{{"author":"{author:08x}","seq":"{number:06d}","market":"BTC-USD","side":"{side}",'
        f'"price":"{cents // 100}.{cents % 100:02d}","lots":"{lots:05d}"}}'
    )


def records(node: int, count: int) -> list[str]:
    """The node's share."""
    return [record(node, number) for number in range(count)]


def digest(held: Sequence[str]) -> str:
    """A hash over a node's list: equal for equal records in the same order."""
    return sha256("".join(held).encode()).hexdigest()


def check_share(nodes: int, share: int, batch: int) -> None:
    """Raise ValueError for what nobody can run."""
    if nodes < 2 or share < 1 or batch < 1:
        raise ValueError(
            f"nodes={nodes}, records_per_node={share}, batch={batch}: "
            "give at least 2 nodes, 1 record and 1 record a batch"
        )


def count_due(nodes: int, seconds: float, records_per_s: float) -> int:
    """How many records fall due in that time. Raises ValueError where there are none."""
    count = round(seconds * records_per_s)
    if nodes < 2 or count < 1:
        raise ValueError(
            f"nodes={nodes}, seconds={seconds}, records_per_s={records_per_s}: "
            "give at least 2 nodes, and time for at least one record"
        )
    return count


def check_agreement(system: str, *, expected: int, held: int, digests: set[str]) -> None:
    """Raise RivalFailed unless every node held everything in one order."""
    if held != expected or len(digests) != 1:
        raise RivalFailed(
            f"{system}: {held:,} of {expected:,} records, and {len(digests)} different lists"
        )
