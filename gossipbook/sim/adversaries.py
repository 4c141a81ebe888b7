"""Peers that cheat, for simulated clusters.

An adversary takes over one peer of a cluster: from ``begin`` on the peer counts as not correct and
does one kind of harm, next to its honest protocol, which goes on relaying and answering. This file
decides what a cheat looks like; it promises that a cheat depends on the cluster's seed alone, ends
with the life of its peer, and uses only what a real attacker has: its own key, its own links and
what it has heard. Whether a cheat works is not decided here.

    cluster.call_at --> act --> signed or broken bytes --> cluster.send_raw --> somebody's link
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gossipbook.book.payload import BUY, GTC, MAX_COMMANDS, Instruction, Placement, encode_payload
from gossipbook.errors import RemoteError
from gossipbook.gossip.interface import LinkId
from gossipbook.gossip.messages import (
    Compare,
    Evidence,
    FrontierIs,
    LevelsAre,
    MarketsAre,
    Message,
    News,
    YourHead,
    decode_message,
    encode_message,
    spans_of,
)
from gossipbook.identity import PeerId
from gossipbook.log.clock import hlc_at
from gossipbook.log.entry import (
    NO_ENTRY,
    Entry,
    EntryId,
    Header,
    SignedHeader,
    decode_run,
    encode_run,
    sign_entry,
)
from gossipbook.log.fork import ForkProof
from gossipbook.log.frontier import Head

if TYPE_CHECKING:
    from gossipbook.sim.cluster import Cluster
    from gossipbook.sim.simulated_peer import SimulatedPeer

LATEST_HLC = (1 << 63) - 1
"""The last timestamp that has an encoding: in the year 6429."""

LONGEST_LOG = (1 << 63) - 1


class Adversary:
    """One peer's cheat: acts every ``interval_s`` simulated seconds until it is ``done``."""

    def __init__(self, cluster: Cluster, index: int, *, interval_s: float = 0.05) -> None:
        self.cluster = cluster
        self.peer: SimulatedPeer = cluster.peers[index]
        self.random = cluster.choices.child(f"{type(self).__name__} {index} at {cluster.now_us}")
        self.interval_s = interval_s
        self.acts = 0
        """How often it has acted."""
        self.done = False
        self._incarnation = self.peer.incarnation

    def begin(self) -> None:
        """Turn the peer into a cheat, at once and until it crashes or leaves."""
        self.cluster._log(self._call())
        self.peer.correct = False
        self._incarnation = self.peer.incarnation
        self._next()

    def stop(self) -> None:
        """Do no more harm. The peer still counts as not correct."""
        self.done = True
        self.peer.outgoing = None

    def act(self) -> None:
        """Do harm once."""
        raise NotImplementedError

    def _next(self) -> None:
        if self.peer.incarnation != self._incarnation or not self.peer.alive:
            self.stop()
        if self.done:
            return
        self.acts += 1
        self.act()
        if not self.done:
            self.cluster.call_at(self.interval_s, self._next)

    def _call(self) -> str:
        """The cheat as a line of the transcript."""
        given = "".join(f", {name}={value!r}" for name, value in self._options().items())
        name = type(self).__name__
        return f"gb.sim.adversaries.{name}(cluster, {self.peer.index}{given}).begin()"

    def _options(self) -> dict[str, object]:
        return {"interval_s": self.interval_s}

    # ---------------------------------------------------------------- what cheats need

    def _links(self) -> list[tuple[LinkId, int]]:
        return self.cluster.links_of(self.peer.index)

    def _send(self, link: LinkId, message: Message) -> None:
        self.cluster.send_raw(self.peer.index, link, encode_message(message))

    def _send_to_all(self, message: Message) -> None:
        data = encode_message(message)
        for link, _ in self._links():
            self.cluster.send_raw(self.peer.index, link, data)

    def _sign(self, seq: int, prev: EntryId, hlc: int, commands: Sequence[Instruction]) -> Entry:
        return sign_entry(
            self.peer.keypair,
            network_id=self.cluster.genesis.network_id,
            seq=seq,
            prev=prev,
            hlc=hlc,
            payload=encode_payload(commands),
        )

    def _order(self, *, quantity: int | None = None) -> Placement:
        """A limit order near 100 ticks in any market."""
        random = self.random
        return Placement(
            random.below(len(self.cluster.genesis.markets)),
            random.below(2),
            random.between(95, 105),
            random.between(1, 9) if quantity is None else quantity,
            GTC,
        )

    def _now_hlc(self) -> int:
        return self.peer.replica.clock.next(self.peer.running.local_ms)

    def _write(self, hlc: int, commands: Sequence[Instruction]) -> Entry | None:
        """Put a valid entry into the peer's own log and push it to everyone; None where it cannot.

        The entry skips the peer's own queue, so it may be dated at will.
        """
        peer = self.peer
        head = peer.replica.head(peer.peer_id)
        if head.k is not None or peer.running.own.in_flight is not None:
            return None
        entry = self._sign(head.length, head.head_id, hlc, commands)
        peer.store.entries.append(entry)
        peer.replica.add((entry,), local_ms=peer.running.local_ms)
        self._send_to_all(News((encode_run([entry]),)))
        return entry


class Equivocator(Adversary):
    """Signs different entries with one sequence number and shows each branch to other peers.

    ``branches``: how many histories; ``lengths``: entries in each (one to three where not given);
    ``first``: the branch that leaves ``head_start_s`` before the others. Every peer it is linked
    to is told one branch, again and again for a while, for the network may lose words.
    """

    ROUNDS = 40

    def __init__(
        self,
        cluster: Cluster,
        index: int,
        *,
        branches: int = 2,
        lengths: Sequence[int] | None = None,
        first: int = 0,
        head_start_s: float = 0.0,
    ) -> None:
        super().__init__(cluster, index, interval_s=0.1)
        if lengths is None:
            random = self.random.child("lengths")  # apart, so that giving them changes nothing else
            lengths = [random.between(1, 3) for _ in range(branches)]
        assert len(lengths) == branches >= 2, f"{branches} branches of lengths {lengths}"
        self.lengths = tuple(lengths)
        self.first = first
        self.head_start_s = head_start_s
        self.branches: list[list[Entry]] = []
        self.seq = -1
        """Where the branches part, once they are signed."""
        self._told: dict[int, int] = {}  # which branch each peer is told
        self._others_from_us = 0

    def _options(self) -> dict[str, object]:
        return {
            "branches": len(self.lengths),
            "lengths": self.lengths,
            "first": self.first,
            "head_start_s": self.head_start_s,
        }

    def act(self) -> None:
        if not self.branches:
            links = self._links()
            if not links or self.peer.running.own.in_flight is not None:
                return  # nobody to lie to yet, or a true word is on its way to the disk
            self._sign_branches()
            self._others_from_us = self.cluster.now_us + round(self.head_start_s * 1_000_000)
        self._tell()
        heard = self.peer.replica.head(self.peer.peer_id).k is not None
        if self.acts >= self.ROUNDS or (heard and len(set(self._told.values())) > 1):
            self.stop()

    def _sign_branches(self) -> None:
        head = self.peer.replica.head(self.peer.peer_id)
        self.seq = head.length
        for branch, length in enumerate(self.lengths):
            entries: list[Entry] = []
            prev = head.head_id
            hlc = self._now_hlc()
            for seq in range(self.seq, self.seq + length):
                # The quantity tells the branches apart, whatever else is drawn.
                entry = self._sign(seq, prev, hlc, [self._order(quantity=branch + 1)])
                entries.append(entry)
                prev = entry.id
                hlc += 1
            self.branches.append(entries)

    def _tell(self) -> None:
        links = self._links()
        self.random.shuffle(links)
        count = len(self.branches)
        for link, other in links:
            branch = self._told.get(other)
            if branch is None:
                branch = self._told[other] = (self.first + len(self._told)) % count
            if branch == self.first or self.cluster.now_us >= self._others_from_us:
                self._send(link, News((encode_run(self.branches[branch]),)))
        if len(links) == 1 and self.cluster.now_us >= self._others_from_us:
            for entries in self.branches:  # a single listener hears every story
                self._send(links[0][0], News((encode_run(entries),)))
            self._told.update((-1 - branch, branch) for branch in range(count))


class Garbage(Adversary):
    """Sends random bytes, and its own true frames cut short, mutated or with a tail."""

    KEPT_FRAMES = 32

    def begin(self) -> None:
        self._frames: deque[bytes] = deque(maxlen=self.KEPT_FRAMES)
        self.peer.outgoing = self._overhear
        super().begin()

    def act(self) -> None:
        for link, _ in self._links():
            self.cluster.send_raw(self.peer.index, link, self._junk())

    def _overhear(self, data: bytes) -> bool:
        if 0 < len(data) <= 4_096:
            self._frames.append(data)
        return True

    def _junk(self) -> bytes:
        random = self.random
        kind = random.below(4)
        if kind == 0 or not self._frames:
            return _random_bytes(self, random.between(0, 200))
        frame = random.choice(self._frames)
        if kind == 1:
            return frame[: random.below(len(frame))]
        if kind == 2:
            return frame + _random_bytes(self, random.between(1, 8))
        at = random.below(len(frame))
        return frame[:at] + bytes([frame[at] ^ (1 << random.below(8))]) + frame[at + 1 :]


class Forger(Adversary):
    """Sends entries, and proofs of forks, in other authors' names without their signatures."""

    def __init__(self, cluster: Cluster, index: int, *, interval_s: float = 0.2) -> None:
        super().__init__(cluster, index, interval_s=interval_s)

    def act(self) -> None:
        links = self._links()
        others = [peer for peer in self.cluster.peers if peer is not self.peer]
        if not links or not others:
            return
        link, _ = self.random.choice(links)
        victim = self.random.choice(others).peer_id
        kind = self.random.below(4)
        if kind == 0:
            self._send(link, self._false_proof(victim))
        elif kind == 1:
            self._send(link, News((encode_run([self._altered(victim)]),)))
        else:
            self._send(link, News((encode_run([self._forged(victim)]),)))

    def _forged(self, victim: PeerId) -> Entry:
        """The victim's next entry, or another one in the place of its last, signed by us."""
        head = self.peer.replica.head(victim)
        seq, prev = head.length, head.head_id
        if seq and self.random.chance(32_768):
            entries = self.peer.replica.logs[victim].entries
            seq, prev = seq - 1, entries[-1].prev
        own = self._sign(seq, prev, self._now_hlc(), [self._order()])
        return _copy(own, author=victim)

    def _altered(self, victim: PeerId) -> Entry:
        """A true entry of the victim with another payload under the old signature."""
        log = self.peer.replica.logs.get(victim)
        if log is None or not log.entries:
            return self._forged(victim)
        entry = self.random.choice(log.entries)
        return _copy(entry, payload=encode_payload([self._order()]))

    def _false_proof(self, victim: PeerId) -> Message:
        first, second = self._forged_header(victim), self._forged_header(victim)
        return Evidence((ForkProof(victim, 0, first, second).encode(),))

    def _forged_header(self, victim: PeerId) -> SignedHeader:
        header = Header(
            PeerId(victim),
            0,
            NO_ENTRY,
            self._now_hlc(),
            0,
            1,
            _random_bytes(self, 32),
        )
        return SignedHeader(header, _random_bytes(self, 64))


class Backdater(Adversary):
    """Writes valid entries dated at the network's start, as fast as it can.

    An author's timestamps cannot go back, so this hurts most with a peer that has written nothing.
    """

    def __init__(
        self, cluster: Cluster, index: int, *, interval_s: float = 0.01, commands: int = 4
    ) -> None:
        super().__init__(cluster, index, interval_s=interval_s)
        self.commands = commands

    def _options(self) -> dict[str, object]:
        return {"interval_s": self.interval_s, "commands": self.commands}

    def act(self) -> None:
        hlc = hlc_at(self.cluster.genesis.start_ms)
        self._write(hlc, [self._order() for _ in range(self.commands)])


class FarFuture(Adversary):
    """Writes an entry that no clock will reach, and more behind it. Nothing of it is ever due."""

    def __init__(
        self,
        cluster: Cluster,
        index: int,
        *,
        hlc: int = LATEST_HLC,
        entries: int = 3,
        interval_s: float = 0.1,
    ) -> None:
        super().__init__(cluster, index, interval_s=interval_s)
        self.hlc = hlc
        self.entries = entries

    def _options(self) -> dict[str, object]:
        return {"hlc": self.hlc, "entries": self.entries, "interval_s": self.interval_s}

    def act(self) -> None:
        if self._write(self.hlc, [self._order()]) is not None:
            self.entries -= 1
        if self.entries <= 0:
            self.stop()


class Withholder(Adversary):
    """Holds everything and passes nothing on of some authors: their news are dropped on the way.

    ``authors``: peer indices; where not given, about half of the others.
    """

    def __init__(
        self, cluster: Cluster, index: int, *, authors: Sequence[int] | None = None
    ) -> None:
        super().__init__(cluster, index)
        if authors is None:
            others = [peer.index for peer in cluster.peers if peer.index != index]
            authors = self.random.sample(others, (len(others) + 1) // 2)
        self.indices = tuple(authors)
        self.authors = frozenset(cluster.peers[author].peer_id for author in authors)
        self.withheld = 0

    def begin(self) -> None:
        self.peer.outgoing = self._may_go
        super().begin()

    def _options(self) -> dict[str, object]:
        return {"authors": self.indices}

    def act(self) -> None:
        """Silence is all it does."""

    def _may_go(self, data: bytes) -> bool:
        message = _read(data)
        if isinstance(message, News):
            network_id = self.cluster.genesis.network_id
            named = {decode_run(run, network_id)[0].author for run in message.runs}
            named.update(head.author for head in message.heads)
            if named & self.authors:
                self.withheld += 1
                return False
        return True


class Flooder(Adversary):
    """Writes valid entries as fast as it can: one lot a command, all at one price."""

    def __init__(
        self,
        cluster: Cluster,
        index: int,
        *,
        interval_s: float = 0.05,
        commands: int = MAX_COMMANDS,
        entries: int = 1 << 62,
        price: int = 100,
    ) -> None:
        super().__init__(cluster, index, interval_s=interval_s)
        self.commands = commands
        self.entries = entries
        self.price = price

    def _options(self) -> dict[str, object]:
        return {
            "interval_s": self.interval_s,
            "commands": self.commands,
            "entries": self.entries,
            "price": self.price,
        }

    def act(self) -> None:
        spam = [Placement(0, BUY, self.price, 1, GTC)] * self.commands
        if self._write(self._now_hlc(), spam) is not None:
            self.entries -= 1
        if self.entries <= 0:
            self.stop()


class Claimer(Adversary):
    """Claims what is not so: logs that it does not hold, and books that nobody has.

    ``frontiers``: whether it claims longer logs of known and of ``strangers`` unknown authors;
    ``books``: whether it shows other roots at equal cuts, and lies when it is asked for details.
    """

    def __init__(
        self,
        cluster: Cluster,
        index: int,
        *,
        frontiers: bool = True,
        books: bool = True,
        strangers: int = 20,
        interval_s: float = 0.25,
    ) -> None:
        super().__init__(cluster, index, interval_s=interval_s)
        self.frontiers = frontiers
        self.books = books
        self.strangers = strangers
        self.lies = 0
        self._lying = False

    def begin(self) -> None:
        if self.books:
            self.peer.outgoing = self._twist
        super().begin()

    def _options(self) -> dict[str, object]:
        return {
            "frontiers": self.frontiers,
            "books": self.books,
            "strangers": self.strangers,
            "interval_s": self.interval_s,
        }

    def act(self) -> None:
        if self.frontiers:
            self._send_to_all(FrontierIs(tuple(self._false_heads())))
        if self.books:
            self._send_to_all(self._false_compare())

    def _false_heads(self) -> list[Head]:
        heads = [
            Head(head.author, head.length + 1 + self.random.below(1 << 40), _any_id(self))
            for head in self.peer.replica.frontier.heads()
            if head.k is None
        ]
        strangers = [PeerId(_random_bytes(self, 32)) for _ in range(self.strangers)]
        return heads + [
            Head(stranger, 1 + self.random.below(1 << 40), _any_id(self)) for stranger in strangers
        ]

    def _false_compare(self) -> Message:
        peer = self.peer
        self.cluster.settle(peer.index)
        cuts = peer.replica.recent_cuts(
            local_ms=peer.running.local_ms, count=self.cluster.config.cuts_sent
        )
        false = [cut._replace(book_root=_random_bytes(self, 32)) for cut in cuts]
        frontier = peer.replica.frontier
        return Compare(frontier.root(), len(frontier), spans_of(false))

    def _twist(self, data: bytes) -> bool:
        """Put lies in the place of true answers; who was not asking ignores them."""
        if self._lying:
            return True
        message = _read(data)
        if isinstance(message, MarketsAre):
            lie: Message = message._replace(
                markets=tuple(
                    (_random_bytes(self, 32), *roots[1:3], _random_bytes(self, 32))
                    for roots in message.markets
                )
            )
        elif isinstance(message, LevelsAre):
            lie = message._replace(
                children=tuple((prefix, _random_bytes(self, 32)) for prefix, _ in message.children)
            )
        else:
            return True
        self.lies += 1
        self._lying = True
        self._send_to_all(lie)
        self._lying = False
        return False


class HeadLiar(Adversary):
    """Tells everyone that their own logs are longer than they are: nobody dares to sign?"""

    def __init__(
        self,
        cluster: Cluster,
        index: int,
        *,
        length: int = LONGEST_LOG,
        interval_s: float = 0.25,
    ) -> None:
        super().__init__(cluster, index, interval_s=interval_s)
        self.length = length

    def _options(self) -> dict[str, object]:
        return {"length": self.length, "interval_s": self.interval_s}

    def act(self) -> None:
        for link, other in self._links():
            author = self.cluster.peers[other].peer_id
            self._send(link, YourHead(Head(author, self.length, _any_id(self))))


# -------------------------------------------------------------------- helpers


def _random_bytes(adversary: Adversary, size: int) -> bytes:
    return adversary.random.bits(8 * size).to_bytes(size, "big") if size else b""


def _any_id(adversary: Adversary) -> EntryId:
    return EntryId(_random_bytes(adversary, 32))


def _read(data: bytes) -> Message | None:
    try:
        return decode_message(data, max_size=len(data))
    except RemoteError:
        return None


def _copy(entry: Entry, *, author: PeerId | None = None, payload: bytes | None = None) -> Entry:
    """The entry with another author or payload, and the signature of the old one."""
    return Entry(
        author=entry.author if author is None else author,
        seq=entry.seq,
        prev=entry.prev,
        hlc=entry.hlc,
        kind=entry.kind,
        payload=entry.payload if payload is None else payload,
        signature=entry.signature,
        entry_id=entry.id,
    )


__all__ = [
    "LATEST_HLC",
    "LONGEST_LOG",
    "Adversary",
    "Backdater",
    "Claimer",
    "Equivocator",
    "FarFuture",
    "Flooder",
    "Forger",
    "Garbage",
    "HeadLiar",
    "Withholder",
]
