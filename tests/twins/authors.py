"""Authors who sign valid chains, and what a set of their entries means by the letter of the rules.

The naive functions look at all entries at once and keep nothing, so arrival order cannot matter.
"""

from collections.abc import Iterable, Sequence

from gossipbook.book.payload import Instruction, Placement, encode_payload
from gossipbook.genesis import Genesis, Market
from gossipbook.identity import Keypair
from gossipbook.log.entry import NO_ENTRY, Entry, EntryId, sign_entry

START_MS = 1_767_225_600_000
GENESIS = Genesis("test", [Market("AAA"), Market("BBB")], start=START_MS)


def at(milliseconds: int, counter: int = 0) -> int:
    """A timestamp so many milliseconds after the network's start."""
    return START_MS + milliseconds << 16 | counter


def buy(price: int, lots: int = 1, market: int = 0) -> Placement:
    return Placement(market, 0, price, lots, 0)


def sell(price: int, lots: int = 1, market: int = 0) -> Placement:
    return Placement(market, 1, price, lots, 0)


class TestAuthor:
    """Signs one entry after another; ``branch`` gives a second history with the same key."""

    __test__ = False

    def __init__(self, number: int, genesis: Genesis = GENESIS) -> None:
        self.genesis = genesis
        self.keypair = Keypair.from_seed(bytes([number]) * 32)
        self.author = self.keypair.peer_id
        self.entries: list[Entry] = []
        self.network_id = genesis.network_id

    def write(
        self, *instructions: Instruction, hlc: int = at(0), payload: bytes | None = None
    ) -> Entry:
        entry = sign_entry(
            self.keypair,
            network_id=self.network_id,
            seq=len(self.entries),
            prev=self.entries[-1].id if self.entries else NO_ENTRY,
            hlc=hlc,
            payload=encode_payload(instructions or [buy(1)]) if payload is None else payload,
        )
        self.entries.append(entry)
        return entry

    def branch(self, length: int) -> "TestAuthor":
        """The same author, going on differently after so many entries."""
        other = TestAuthor.__new__(TestAuthor)
        other.genesis, other.keypair, other.author = self.genesis, self.keypair, self.author
        other.network_id = self.network_id
        other.entries = self.entries[:length]
        return other


def fresh(entry: Entry) -> Entry:
    """The entry as another process would hold it: nothing worked out yet."""
    return Entry(
        author=entry.author,
        seq=entry.seq,
        prev=entry.prev,
        hlc=entry.hlc,
        kind=entry.kind,
        payload=entry.payload,
        signature=entry.signature,
        entry_id=entry.id,
    )


def naive_k(entries: Iterable[Entry]) -> int | None:
    """The least seq at which two entries of one author show a fork."""
    everything = list(entries)
    forks = [one.seq for one in everything for two in everything if is_evidence(one, two)]
    return min(forks, default=None)


def is_evidence(one: Entry, two: Entry) -> bool:
    """Whether the two show a fork at ``one.seq``."""
    if one.seq == two.seq:
        return one.id != two.id
    return two.seq == one.seq + 1 and two.prev != one.id


def naive_log(entries: Sequence[Entry]) -> list[EntryId]:
    """The ids of the entries of one author that count."""
    k = naive_k(entries)
    by_seq = {entry.seq: entry.id for entry in entries if k is None or entry.seq < k}
    counting: list[EntryId] = []
    while len(counting) in by_seq:
        counting.append(by_seq[len(counting)])
    return counting


def naive_effective(entries: Sequence[Entry]) -> list[int]:
    """The effective timestamps of a chain."""
    effective: list[int] = []
    for entry in entries:
        effective.append(max(entry.hlc, effective[-1] + 1) if effective else entry.hlc)
    return effective
