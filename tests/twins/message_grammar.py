"""Well-formed messages of every kind, with fields that may mean anything.

``Grammar`` is an adversary's vocabulary. What it says is shaped like the truth: lengths around
those that a peer holds, roots that are right or made up, entries that fit anywhere or nowhere.
Chance is handed in, so a simulated adversary and a fuzzer speak alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from gossipbook.gossip.messages import (
    Branch,
    Compare,
    CutsAre,
    CutSpan,
    CutsWanted,
    Evidence,
    FrontierIs,
    Goodbye,
    IdsAre,
    IdsWanted,
    LevelsAre,
    LevelsWanted,
    MarketsAre,
    MarketsWanted,
    Message,
    News,
    Peers,
    Ping,
    Pong,
    Walk,
    Want,
    YourHead,
)
from gossipbook.identity import Keypair, PeerId
from gossipbook.log.entry import NO_ENTRY, EntryId, encode_run, sign_entry
from gossipbook.log.frontier import Head
from gossipbook.merkle import to_nibbles
from gossipbook.randomness import SeededRandom
from gossipbook.replica import Replica

HIGHEST = (1 << 63) - 1

T = TypeVar("T")


class Grammar:
    """Draws messages by one author, in the face of one replica."""

    def __init__(
        self,
        random: SeededRandom,
        keypair: Keypair,
        *,
        replica: Callable[[], Replica],
        everyone: Callable[[], Sequence[PeerId]],
        addresses: Sequence[bytes],
        local_ms: Callable[[], int],
    ) -> None:
        self.random = random
        self.keypair = keypair
        self._replica = replica
        self._everyone = everyone
        self._addresses = addresses
        self._local_ms = local_ms
        some, number, root, prefix = self._some, self._number, self._root, self._prefix
        self._kinds: tuple[Callable[[], Message], ...] = (
            lambda: News(some(self.run, most=2), some(self.head), self._coin(), self._coin()),
            lambda: Want(some(self._range)),
            lambda: Compare(root(), number(), self._cuts()),
            lambda: FrontierIs(some(self.head)),
            lambda: Walk(some(prefix, least=1)),
            lambda: Branch(prefix(), some(self._child), some(self.head)),
            lambda: IdsWanted(self._author(), some(number, least=1, most=16)),
            lambda: IdsAre(self._author(), some(lambda: (number(), self._bytes(32)), most=16)),
            lambda: Ping(number(), number()),
            lambda: Pong(number(), number()),
            lambda: Peers(some(lambda: (self._author(), self._address()))),
            lambda: YourHead(self.head()._replace(author=self.random.choice(self._everyone()))),
            lambda: CutsWanted(some(number, least=1)),
            lambda: CutsAre(self._cuts()),
            lambda: MarketsWanted(number()),
            lambda: MarketsAre(number(), some(lambda: (root(), root(), root(), root()))),
            lambda: LevelsWanted(number(), self._small(), self.random.below(2), prefix()),
            lambda: LevelsAre(
                number(), self._small(), self.random.below(2), prefix(), some(self._child)
            ),
            lambda: Evidence(self.proofs()),
            lambda: Goodbye() if self.random.below(20) == 1 else Ping(0, 0),
        )

    def message(self) -> Message:
        """The next message."""
        return self.random.choice(self._kinds)()

    # ---------------------------------------------------------------- what others may say better

    def run(self) -> bytes:
        """True entries of somebody, or one of our own that fits anywhere or nowhere."""
        random, replica = self.random, self._replica()
        log = replica.logs.get(self._author())
        if log is not None and log.entries and self._coin():
            first = random.below(log.length)
            return encode_run(log.entries[first : first + 1 + random.below(5)])
        head = replica.head(self.keypair.peer_id)
        seq = random.choice([0, head.length, head.length + random.below(3_000), HIGHEST])
        if seq == 0:
            prev = NO_ENTRY
        else:
            prev = head.head_id if seq == head.length else EntryId(self._bytes(32))
        entry = sign_entry(
            self.keypair,
            network_id=replica.genesis.network_id,
            seq=seq,
            prev=prev,
            hlc=random.choice([0, 1 << 40, HIGHEST, replica.clock.high_water]),
            payload=self._bytes(random.below(30) + 1),
        )
        return encode_run([entry])

    def head(self) -> Head:
        """A true head, or one near it, or one beyond all logs."""
        random = self.random
        head = self._replica().head(self._author())
        if random.below(4) == 0:
            return head
        length = random.choice([0, 1, 2, head.length, head.length + 1, HIGHEST - 4])
        k = None if random.below(3) else length + random.below(3)
        return Head(head.author, length, EntryId(self._bytes(32)) if length else NO_ENTRY, k)

    def proofs(self) -> tuple[bytes, ...]:
        """All that is proven, or nothing that is a proof."""
        return tuple(proof.encode() for proof in self._replica().proofs()) or (b"none",)

    # ---------------------------------------------------------------- fields

    def _some(self, draw: Callable[[], Any], *, least: int = 0, most: int = 5) -> tuple[Any, ...]:
        return tuple([draw() for _ in range(self.random.between(least, most))])

    def _bytes(self, size: int) -> bytes:
        return self.random.bits(8 * size).to_bytes(size, "big")

    def _coin(self) -> bool:
        return bool(self.random.below(2))

    def _small(self) -> int:
        return self.random.choice([0, 1, 2, HIGHEST])

    def _number(self) -> int:
        random = self.random
        match random.below(5):
            case 0:
                return random.below(4)
            case 1:
                return random.below(64)
            case 2:
                return self._local_ms() // 1000 - random.below(20)
            case 3:
                return random.bits(63)
        return HIGHEST

    def _author(self) -> PeerId:
        return self._one_of(self._everyone()) or PeerId(self._bytes(32))

    def _address(self) -> bytes:
        return self._one_of(self._addresses) or self._bytes(20)

    def _one_of(self, known: Sequence[T]) -> T | None:
        """One of them, or none of them."""
        at = self.random.below(len(known) + 1)
        return known[at] if at < len(known) else None

    def _root(self) -> bytes:
        match self.random.below(4):
            case 0:
                return self._replica().frontier.root()
            case 1:
                return self._replica().book_root()
            case 2:
                return bytes(32)
        return self._bytes(32)

    def _prefix(self) -> bytes:
        nibbles = bytes(to_nibbles(self._author()))
        return nibbles[: self.random.choice([0, 0, 1, 2, 3, 15, 16, 17, 63, 64])]

    def _child(self) -> tuple[bytes, bytes]:
        return self._prefix(), self._root()

    def _range(self) -> tuple[PeerId, int, int]:
        random = self.random
        return self._author(), random.choice([0, 1, 5, 1 << 61]), 1 + random.below(5_000)

    def _cuts(self) -> tuple[CutSpan, ...]:
        """True cuts, some with another root of the books, some left out; and some made up."""
        spans = []
        for cut in self._replica().recent_cuts(local_ms=self._local_ms(), count=16):
            how = self.random.below(3)
            book_root = self._bytes(32) if how == 1 else cut.book_root
            if how < 2:
                spans.append(CutSpan(cut.second, cut.second, cut.frontier_root, book_root))
        for _ in range(self.random.below(4)):
            first = min(self._number(), HIGHEST - 100)
            spans.append(CutSpan(first, first + self.random.below(100), self._root(), self._root()))
        return tuple(spans)
