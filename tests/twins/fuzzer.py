"""An adversary that sends well-formed messages of every kind with fields that may mean anything."""

from __future__ import annotations

from collections.abc import Callable

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
    encode_message,
)
from gossipbook.identity import PeerId
from gossipbook.log.entry import NO_ENTRY, EntryId, encode_run, sign_entry
from gossipbook.log.frontier import Head
from gossipbook.merkle import to_nibbles
from gossipbook.sim.adversaries import Adversary
from gossipbook.sim.cluster import Cluster

HIGHEST = (1 << 63) - 1


class Fuzzer(Adversary):
    """A few messages to every link, every 20 ms. ``sent`` counts them."""

    def __init__(self, cluster: Cluster, index: int) -> None:
        super().__init__(cluster, index, interval_s=0.02)
        self.sent = 0

    def act(self) -> None:
        for link, _ in self._links():
            for _ in range(3):
                data = encode_message(self.random.choice(self._kinds())())
                self.cluster.send_raw(self.peer.index, link, data)
                self.sent += 1

    def _some(self, draw: Callable[[], object], *, least: int = 0, most: int = 5) -> tuple:
        return tuple(draw() for _ in range(self.random.between(least, most)))

    def _kinds(self) -> list[Callable[[], Message]]:
        random, replica = self.random, self.peer.replica
        some, number, root, prefix = self._some, self._number, self._root, self._prefix
        return [
            lambda: News(some(self._run, most=2), some(self._head), self._coin(), self._coin()),
            lambda: Want(some(self._range)),
            lambda: Compare(root(), number(), self._cuts()),
            lambda: FrontierIs(some(self._head)),
            lambda: Walk(some(prefix, least=1)),
            lambda: Branch(prefix(), some(self._child), some(self._head)),
            lambda: IdsWanted(self._author(), some(number, least=1, most=16)),
            lambda: IdsAre(self._author(), some(lambda: (number(), self._bytes(32)), most=16)),
            lambda: Ping(number(), number()),
            lambda: Pong(number(), number()),
            lambda: Peers(some(lambda: (self._author(), self._address()))),
            lambda: YourHead(self._head()._replace(author=random.choice(self._everyone()))),
            lambda: CutsWanted(some(number, least=1)),
            lambda: CutsAre(self._cuts()),
            lambda: MarketsWanted(number()),
            lambda: MarketsAre(number(), some(lambda: (root(), root(), root(), root()))),
            lambda: LevelsWanted(number(), self._small(), random.below(2), prefix()),
            lambda: LevelsAre(
                number(), self._small(), random.below(2), prefix(), some(self._child)
            ),
            lambda: Evidence(tuple(proof.encode() for proof in replica.proofs()) or (b"none",)),
            lambda: Goodbye() if random.below(20) == 0 else Ping(0, 0),
        ]

    # ---------------------------------------------------------------- fields

    def _bytes(self, size: int) -> bytes:
        return self.random.bits(8 * size).to_bytes(size, "big")

    def _coin(self) -> bool:
        return bool(self.random.below(2))

    def _small(self) -> int:
        return self.random.choice([0, 1, 2, HIGHEST])

    def _number(self) -> int:
        random = self.random
        now_s = self.peer.running.local_ms // 1000
        return random.choice(
            [random.below(4), random.below(64), HIGHEST, now_s - random.below(20), random.bits(63)]
        )

    def _everyone(self) -> list[PeerId]:
        return [peer.peer_id for peer in self.cluster.peers]

    def _author(self) -> PeerId:
        return self.random.choice([*self._everyone(), PeerId(self._bytes(32))])

    def _address(self) -> bytes:
        return self.random.choice([b"0", b"1", b"99", b"nowhere", b"-1", self._bytes(20)])

    def _root(self) -> bytes:
        replica = self.peer.replica
        return self.random.choice(
            [self._bytes(32), bytes(32), replica.frontier.root(), replica.book_root()]
        )

    def _prefix(self) -> bytes:
        nibbles = bytes(to_nibbles(self._author()))
        return nibbles[: self.random.choice([0, 0, 1, 2, 3, 15, 16, 17, 63, 64])]

    def _child(self) -> tuple[bytes, bytes]:
        return self._prefix(), self._root()

    def _range(self) -> tuple[PeerId, int, int]:
        random = self.random
        return self._author(), random.choice([0, 1, 5, 1 << 61]), 1 + random.below(5_000)

    def _head(self) -> Head:
        random = self.random
        head = self.peer.replica.head(self._author())
        if random.below(4) == 0:
            return head
        length = random.choice([0, 1, 2, head.length, head.length + 1, HIGHEST - 4])
        k = None if random.below(3) else length + random.below(3)
        return Head(head.author, length, EntryId(self._bytes(32)) if length else NO_ENTRY, k)

    def _cuts(self) -> tuple[CutSpan, ...]:
        """True cuts with and without another root of the books, and some that cannot be."""
        cuts = self.peer.replica.recent_cuts(local_ms=self.peer.running.local_ms, count=16)
        spans = [
            CutSpan(
                cut.second,
                cut.second,
                cut.frontier_root,
                self.random.choice([cut.book_root, self._bytes(32)]),
            )
            for cut in cuts
        ]
        for _ in range(self.random.below(4)):
            first = min(self._number(), HIGHEST - 100)
            spans.append(CutSpan(first, first + self.random.below(100), self._root(), self._root()))
        return tuple(spans)

    def _run(self) -> bytes:
        """True entries of somebody, or one of our own that fits anywhere or nowhere."""
        random, replica = self.random, self.peer.replica
        log = replica.logs.get(self._author())
        if log is not None and log.entries and self._coin():
            first = random.below(log.length)
            return encode_run(log.entries[first : first + 1 + random.below(5)])
        head = replica.head(self.peer.peer_id)
        seq = random.choice([0, head.length, head.length + random.below(3_000), HIGHEST])
        if seq == 0:
            prev = NO_ENTRY
        else:
            prev = head.head_id if seq == head.length else EntryId(self._bytes(32))
        entry = sign_entry(
            self.peer.keypair,
            network_id=self.cluster.genesis.network_id,
            seq=seq,
            prev=prev,
            hlc=random.choice([0, 1 << 40, HIGHEST, replica.clock.high_water]),
            payload=self._bytes(random.below(30) + 1),
        )
        return encode_run([entry])
