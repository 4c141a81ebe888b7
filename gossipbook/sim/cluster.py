"""The simulated world: peers, links and disks on one heap of events, from one seed.

The cluster drives the same ``GossipProtocol`` objects as a real peer does, and holds no rule of
theirs. It decides when a message arrives, when a write lands, who can reach whom and what each
clock shows. Its promise is determinism: the same calls with the same seed give the same bytes, in
every process; ``trace_hash`` covers every event.

A step takes the earliest event off the heap, hands it to its peer as one input, and carries out
the outputs: frames go through a ``LinkModel`` back onto the heap, writes through a delay, dials
through a round trip. Events meant for an earlier life of a crashed peer are dropped::

    heap --event--> protocol.handle(input, now) --outputs--> link model, store delay, dial --> heap
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from struct import Struct
from typing import Any, NamedTuple

from blake3 import blake3

from gossipbook.book.commands import CancelOrder, Command, LimitOrder, MarketOrder, ReplaceOrder
from gossipbook.book.payload import Instruction, to_instructions
from gossipbook.errors import (
    GossipbookError,
    NotAMember,
    NotConverged,
    UsageError,
)
from gossipbook.genesis import Genesis
from gossipbook.gossip.config import GossipConfig
from gossipbook.gossip.interface import (
    Address,
    Dial,
    DialFailed,
    DropLink,
    Emit,
    Input,
    Leave,
    LinkDown,
    LinkId,
    LinkUp,
    Output,
    Persist,
    Persisted,
    PersistFailed,
    Received,
    Refused,
    Send,
    SetTimer,
    Submit,
    Submitted,
    TimerFired,
    Verified,
    Verify,
    Withdraw,
)
from gossipbook.gossip.protocol import GossipProtocol
from gossipbook.identity import Keypair, short
from gossipbook.link_model import NO_PARTITION, Link, LinkModel, Partition
from gossipbook.log.verification import Verifier
from gossipbook.merkle import hash_bytes
from gossipbook.peer_view import hold_equal_books
from gossipbook.randomness import SeededRandom
from gossipbook.receipts import Receipt, make_receipts
from gossipbook.replica import ReplicaSettings, Update
from gossipbook.sim.explain import explain_differences
from gossipbook.sim.simulated_peer import SimulatedPeer

DEFAULT_EPOCH_MS = 1_767_225_600_000
"""2026-01-01 UTC: simulated clocks start here, or at the network's start if that is later."""


FULL_MESH_PEERS = 9
BOOTSTRAP_PEERS = 4
QUEUE_LIMIT_US = 2_000_000
"""A link with a bandwidth drops pushes that would wait longer than this before they go."""
CONVERGENCE_CHECK_US = 50_000

_TRACE = Struct(">QIBI").pack

# Kinds of events, and of lines in the trace.
_FRAME, _TIMER, _LANDED, _VERIFIED, _CONNECTED, _DIAL_FAILED, _CLOSED, _CALL = range(8)


class Connection:
    """A link between two peers: both ends, and a model of each direction."""

    __slots__ = ("ends", "models", "open")

    def __init__(self, ends: tuple[End, End], models: tuple[LinkModel, LinkModel]) -> None:
        self.ends = ends
        self.models = models  # models[i] carries what ends[i] sends
        self.open = True


class End(NamedTuple):
    """One end of a connection: which peer, in which of its lives, and its name for the link."""

    peer: int
    incarnation: int
    link: LinkId


@dataclass(frozen=True, slots=True)
class PeerReport:
    """One peer's line in a report."""

    index: int
    peer_id: bytes
    correct: bool
    entries: int
    trades: int
    busted: int
    root: bytes


@dataclass(frozen=True, slots=True)
class ClusterReport:
    """How a cluster came to agree. ``simulated_s`` counts from the call that waited for it."""

    simulated_s: float
    root: bytes
    frontier_root: bytes
    peers: tuple[PeerReport, ...]
    messages: int
    bytes: int


@dataclass(slots=True)
class ClusterCounters:
    """What happened in this world so far; tests assert with it that faults bit."""

    steps: int = 0
    messages: int = 0
    message_bytes: int = 0
    messages_lost: int = 0  # by the link model
    messages_cut: int = 0  # by a partition, or because the receiver was down
    messages_dropped: int = 0  # from a full queue
    unpersisted_entries_lost: int = 0
    crashes: int = 0
    writes_failed: int = 0


class PendingSubmit:
    """A submit in flight: ``receipts`` once it is on disk, ``error`` where it was refused."""

    __slots__ = ("error", "instructions", "peer", "receipts")

    def __init__(self, peer: SimulatedPeer, instructions: tuple[Instruction, ...]) -> None:
        self.peer = peer
        self.instructions = instructions
        self.receipts: list[Receipt] | None = None
        self.error: GossipbookError | None = None

    @property
    def done(self) -> bool:
        return self.receipts is not None or self.error is not None


class Cluster:
    """Peers of one network in simulated time.

    ``peers``: how many start with it. ``seed``: decides everything. ``link``: what every link is
    like. ``store_delay`` and ``verify_delay``: least and greatest seconds that a write and a
    signature check take. ``watched``: whether peers report net changes (``peer.updates``) and count
    busted trades. ``keypairs``: the keys of the first peers, for a genesis that lists its members;
    the others get keys from the seed. Nothing here sleeps, and all times are simulated seconds.
    """

    def __init__(
        self,
        genesis: Genesis,
        *,
        peers: int = 3,
        seed: int = 0,
        link: Link | None = None,
        store_delay: tuple[float, float] = (0.0005, 0.002),
        verify_delay: tuple[float, float] = (0.0, 0.0),
        watched: bool = False,
        config: GossipConfig | None = None,
        settings: ReplicaSettings | None = None,
        keypairs: Sequence[Keypair] = (),
    ) -> None:
        if type(peers) is not int or peers < 1:
            raise UsageError(f"peers={peers!r}; a cluster starts with at least one peer")
        self.genesis = genesis
        self.seed = seed
        self.link = link or Link()
        self.config = config or GossipConfig()
        self.settings = settings or ReplicaSettings()
        self.watched = watched
        self.peers: list[SimulatedPeer] = []
        self._addresses: dict[Address, int] = {}
        self.counters = ClusterCounters()
        self.receipts: list[Receipt] = []
        """Every receipt that ``submit`` and ``submit_nowait`` gave out."""
        self.epoch_us = max(DEFAULT_EPOCH_MS, genesis.start_ms) * 1_000
        self._now_us = 0
        self._random = SeededRandom(seed)
        self._network_random = self._random.child("network")
        self._choice_random = self._random.child("choices")
        self._store_delay_us = _range_us(store_delay, "store_delay")
        self._verify_delay_us = _range_us(verify_delay, "verify_delay")
        self._heap: list[tuple[int, int, int, int, int, Any]] = []
        self._serial = 0
        self._verifier = Verifier()
        self._partition = NO_PARTITION
        self._pending: dict[tuple[int, int], PendingSubmit] = {}  # by (peer, token)
        self._next_submit = 1
        self._trace = blake3()
        self._checks: list[Callable[[Cluster], object]] = []
        self._keypairs = tuple(keypairs)
        given_keys = ", keypairs=keypairs" if keypairs else ""
        self._script = [
            (
                f"cluster = gb.sim.Cluster(genesis, peers={peers}, seed={seed!r}, "
                f"link={self.link!r}, store_delay={store_delay!r}, "
                f"verify_delay={verify_delay!r}, watched={watched!r}, "
                f"config={config!r}, settings={settings!r}{given_keys})"
            )
        ]
        self._slept_us = 0
        for _ in range(peers):
            self._add_peer()
        for peer in self.peers:
            self._start(peer, self._first_contacts(peer.index), alone=True)

    # ================================================================ what users do

    def submit(self, index: int, command: Command | Sequence[Command]) -> Any:
        """Submit one command or a list (one entry, all or nothing) at a peer.

        Returns a receipt, or a list of them, when the simulated store holds the entry; advances
        no time. Raises UsageError for what no state could make right, IdentityForked, ClockError,
        OwnHeadUnconfirmed.
        """
        line = f"cluster.submit({index}, {_source(command)})"
        self._log(line)
        try:
            return self._submit_and_land(index, command)
        except GossipbookError:
            self._script[-1] = f"with contextlib.suppress(gb.GossipbookError):\n    {line}"
            raise

    def _submit_and_land(self, index: int, command: Command | Sequence[Command]) -> Any:
        pending = self._submit(index, command)
        peer = pending.peer
        while not pending.done and peer.store.pending:
            self._land(peer)
        if not pending.done:
            token = next(token for (at, token), one in self._pending.items() if one is pending)
            self._give(peer, Withdraw(token))
            del self._pending[peer.index, token]
            raise peer.running.own.unconfirmed_error()
        if pending.error is not None:
            raise pending.error
        assert pending.receipts is not None
        return pending.receipts if isinstance(command, list | tuple) else pending.receipts[0]

    def submit_nowait(self, index: int, command: Command | Sequence[Command]) -> PendingSubmit:
        """Like ``submit``, but leaves the entry in flight: a crash may lose it."""
        self._log(f"cluster.submit_nowait({index}, {_source(command)})")
        return self._submit(index, command)

    def run_for(self, seconds: float) -> None:
        """Let simulated time pass."""
        delay_us = _microseconds(seconds, "run_for")
        if delay_us < 0:
            raise UsageError(f"run_for({seconds!r}): time does not run backwards")
        self._run_until(self._now_us + delay_us)

    def run_until_converged(self, deadline: float = 60.0) -> ClusterReport:
        """Run until all correct peers that are up hold equal frontiers and equal books.

        ``deadline``: simulated seconds from now. Raises NotConverged, with what differs.
        """
        started_us = self._now_us
        deadline_us = started_us + _microseconds(deadline, "deadline")
        while not self._has_converged():
            if self._now_us >= deadline_us:
                raise NotConverged(
                    f"not converged after {deadline} simulated seconds:\n"
                    + explain_differences(self)
                )
            self._run_until(min(self._now_us + CONVERGENCE_CHECK_US, deadline_us))
        return self.report(since_us=started_us)

    def partition(self, group: Iterable[int], *, one_way: bool = False) -> None:
        """Cut ``group`` from the rest; replaces the partition before it.

        ``one_way``: what the group sends is lost, what the rest sends still reaches the group.
        """
        members = frozenset(group)
        for index in members:
            self._peer(index)
        group_source = ", ".join(map(str, sorted(members)))
        self._log(f"cluster.partition({{{group_source}}}, one_way={one_way})")
        self._partition = Partition(members, one_way)

    def heal(self) -> None:
        """End the partition; without one, nothing happens."""
        self._log("cluster.heal()")
        self._partition = NO_PARTITION

    def set_link(self, link: Link) -> None:
        """Make every link like this from now on (those that stand are changed, too)."""
        self._log(f"cluster.set_link({link!r})")
        self.link = link
        for peer in self.peers:
            for connection in peer.connections.values():
                first, second = connection.models
                connection.models = first.successor(link), second.successor(link)

    def join(self) -> int:
        """A new peer with a new key joins, knowing a few of the others; its index."""
        self._log("cluster.join()")
        peer = self._add_peer()
        self._start(peer, self._contacts(peer.index), alone=True)
        return peer.index

    def leave(self, index: int) -> None:
        """The peer says goodbye and stops. Its index stays taken."""
        self._log(f"cluster.leave({index})")
        peer = self._peer(index)
        if peer.alive:
            self._give(peer, Leave())
            while peer.store.pending:
                self._land(peer)
            self._stop(peer)

    def crash(self, index: int) -> None:
        """Power loss: what was not persisted is gone, and nobody is told."""
        self._log(f"cluster.crash({index})")
        peer = self._peer(index)
        if peer.alive:
            self.counters.crashes += 1
            self.counters.unpersisted_entries_lost += peer.store.crash()
            self._stop(peer)

    def restart(self, index: int, store: str = "kept") -> None:
        """Start a peer that crashed or left, with its store "kept", "lost", or "stale": put back
        to the state in which it held half of its entries."""
        self._log(f"cluster.restart({index}, store={store!r})")
        peer = self._peer(index)
        if peer.alive:
            raise UsageError(f"peer {index} is running; crash({index}) or leave({index}) first")
        if store == "lost":
            peer.store.forget(0)
        elif store == "stale":
            peer.store.forget(len(peer.store.entries) // 2)
        elif store != "kept":
            raise UsageError(f"store={store!r}; it can be 'kept', 'lost' or 'stale'")
        peer.rolled_back = peer.rolled_back or store != "kept"
        self._start(peer, self._contacts(index))

    def set_clock_offset(self, index: int, seconds: float) -> None:
        """Make the peer's machine clock show simulated time plus so many seconds."""
        peer, offset_us = self._peer(index), _microseconds(seconds, "set_clock_offset")
        self._log(f"cluster.set_clock_offset({index}, {seconds!r})")
        peer.clock_offset_us = offset_us

    def set_store_failing(self, index: int, failing: bool) -> None:
        """While failing, every write of the peer is rolled back, as on a full disk."""
        self._log(f"cluster.set_store_failing({index}, {failing})")
        self._peer(index).store.failing = failing

    def equivocate(self, index: int, branches: int = 2) -> None:
        """The peer signs different entries with one sequence number, and shows each to others."""
        from gossipbook.sim.adversaries import Equivocator

        Equivocator(self, index, branches=branches).begin()

    def corrupt(self, index: int, market: str, what: str = "book") -> str:
        """Damage a peer's memory: "book" (a resting order) or "trades" (a past trade).

        Returns what was changed; empty where there was nothing to change.
        """
        self._log(f"cluster.corrupt({index}, {market!r}, {what!r})")
        self.settle(index)
        return self._peer(index).replica.corrupt(market, what, self._choice_random)

    def on_step(self, check: Callable[[Cluster], object]) -> None:
        """Call ``check(cluster)`` after every step from now on; what it raises, the step raises."""
        if not callable(check):
            raise UsageError(f"on_step({check!r}): give a function that takes the cluster")
        self._checks.append(check)

    # ================================================================ what users read

    @property
    def now(self) -> float:
        """Simulated seconds since the start."""
        return self._now_us / 1_000_000

    @property
    def now_us(self) -> int:
        return self._now_us

    @property
    def trace_hash(self) -> bytes:
        """A hash over every event so far: equal hashes, equal histories."""
        return self._trace.digest()

    @property
    def correct_peers(self) -> list[SimulatedPeer]:
        """The peers that are up and were not told to cheat."""
        return [peer for peer in self.peers if peer.alive and peer.correct]

    def transcript(self) -> str:
        """The calls made so far as Python, to paste into a test."""
        genesis = self.genesis
        lines = [
            "import contextlib",
            "",
            "import gossipbook as gb",
            "from gossipbook import GossipConfig, ReplicaSettings",
            "from gossipbook.sim import Link",
            "",
            f"genesis = gb.Genesis.decode(bytes.fromhex({genesis.encode().hex()!r}))",
            *self._script,
        ]
        if self._now_us > self._slept_us:
            lines.append(f"cluster.run_for({(self._now_us - self._slept_us) / 1_000_000!r})")
        return "\n".join(lines) + "\n"

    def report(self, *, since_us: int = 0) -> ClusterReport:
        """Where every peer that is up stands now."""
        reports = []
        for peer in self.peers:
            if peer.alive:
                root = peer.root
                reports.append(
                    PeerReport(
                        peer.index,
                        peer.peer_id,
                        peer.correct,
                        peer.entry_count,
                        peer.replica.trade_count(),
                        peer.replica.busted_count,
                        root,
                    )
                )
        correct = self.correct_peers
        return ClusterReport(
            (self._now_us - since_us) / 1_000_000,
            correct[0].root if correct else b"",
            correct[0].frontier_root if correct else b"",
            tuple(reports),
            self.counters.messages,
            self.counters.message_bytes,
        )

    def is_cut(self, sender: int, receiver: int) -> bool:
        """Whether the partition keeps what ``sender`` sends from ``receiver``."""
        return self._partition.cuts(sender, receiver)

    @property
    def partitioned(self) -> frozenset[object]:
        """The group that is cut off at present."""
        return self._partition.group

    def settle(self, index: int) -> None:
        """Bring a peer's books up to date."""
        peer = self.peers[index]
        protocol = peer.running
        self._carry_out(peer, protocol.settle_now(peer.now(self._now_us)))

    # ================================================================ for adversaries

    def links_of(self, index: int) -> list[tuple[LinkId, int]]:
        """The open links of a peer: (its name for the link, the other peer's index)."""
        found = []
        for link, connection in self.peers[index].connections.items():
            here, there = connection.ends
            if connection.open:
                other = there if (here.peer, here.link) == (index, link) else here
                found.append((link, other.peer))
        return found

    def send_raw(self, index: int, link: LinkId, data: bytes) -> None:
        """Send bytes of an adversary's making over one of its links."""
        self._transmit(self.peers[index], Send(link, data, False))

    def call_at(self, delay_s: float, action: Callable[[], None]) -> None:
        """Run ``action`` in so many simulated seconds."""
        self._push(self._now_us + round(delay_s * 1_000_000), _CALL, 0, 0, action)

    @property
    def choices(self) -> SeededRandom:
        """Chance for adversaries and faults, apart from the network's."""
        return self._choice_random

    # ================================================================ steps

    def step(self) -> bool:
        """Carry out the earliest event; False where there is none."""
        if not self._heap:
            return False
        at_us, _, kind, index, incarnation, what = heappop(self._heap)
        self._now_us = at_us
        self.counters.steps += 1
        if kind == _CALL:
            what()
        else:
            peer = self.peers[index]
            if peer.incarnation == incarnation and peer.alive:
                self._step_peer(peer, kind, what)
            elif kind == _FRAME:
                self.counters.messages_cut += 1
        for check in self._checks:
            check(self)
        return True

    def _step_peer(self, peer: SimulatedPeer, kind: int, what: Any) -> None:
        if kind == _FRAME:
            sender, link, data = what
            if self.is_cut(sender, peer.index):
                self.counters.messages_cut += 1
                return
            self._trace.update(_TRACE(self._now_us, peer.index, kind, len(data)) + data)
            self._give(peer, Received(link, data))
            return
        if kind == _TIMER and self._now_us != peer.timer_us:
            return  # a later SetTimer has replaced this one
        self._trace.update(_TRACE(self._now_us, peer.index, kind, 0))
        if kind == _TIMER:
            peer.timer_us = -1
            self._give(peer, TimerFired())
        elif kind == _LANDED:
            # A submit may have made the write land early; the count tells.
            if peer.store.pending and peer.store.pending[0].token <= what:
                self._land(peer)
        elif kind == _VERIFIED:
            self._give(peer, what)
        elif kind == _CONNECTED:
            self._connect(peer, what)
        elif kind == _DIAL_FAILED:
            self._give(peer, DialFailed(what))
        elif kind == _CLOSED and peer.connections.pop(what, None) is not None:
            self._give(peer, LinkDown(what))

    def _give(self, peer: SimulatedPeer, what: Input) -> None:
        self._carry_out(peer, peer.running.handle(what, peer.now(self._now_us)))

    def _carry_out(self, peer: SimulatedPeer, outputs: list[Output]) -> None:
        for output in outputs:
            if not peer.alive:
                return
            kind = type(output)
            if kind is Send:
                self._transmit(peer, output)  # type: ignore[arg-type]
            elif kind is SetTimer:
                peer.timer_us = max(output.at_us, self._now_us)  # type: ignore[union-attr]
                self._push(peer.timer_us, _TIMER, peer.index, peer.incarnation, None)
            else:
                self._carry_out_rarer(peer, output)

    def _carry_out_rarer(self, peer: SimulatedPeer, output: Output) -> None:
        match output:
            case Verify():
                self._verify(peer, output)
            case Persist():
                self._write(peer, output)
            case Emit(event):
                if isinstance(event, Update):
                    peer.updates.append(event)
                else:
                    peer.events.append(event)
            case Submitted():
                self._submitted(peer, output)
            case Refused(token, error):
                pending = self._pending.pop((peer.index, token), None)
                if pending is not None:
                    pending.error = error
            case Dial(address, _):
                self._dial(peer, address)
            case DropLink(link, _):
                self._close(peer, link)
            case _:
                raise AssertionError(f"the simulator does not know {output!r}")

    def _push(self, at_us: int, kind: int, index: int, incarnation: int, what: Any) -> None:
        self._serial += 1
        heappush(self._heap, (at_us, self._serial, kind, index, incarnation, what))

    def _run_until(self, until_us: int) -> None:
        heap = self._heap
        while heap and heap[0][0] <= until_us:
            self.step()
        self._now_us = max(self._now_us, until_us)

    # ================================================================ network

    def _transmit(self, peer: SimulatedPeer, send: Send) -> None:
        connection = peer.connections.get(send.link)
        if connection is None:
            return
        if peer.outgoing is not None and not peer.outgoing(send.data):
            return
        counters = self.counters
        here = 0 if connection.ends[0][0] == peer.index else 1
        other = connection.ends[1 - here]
        size_bytes = len(send.data)
        model = connection.models[here]
        if send.droppable and model.busy_until_us > self._now_us + QUEUE_LIMIT_US:
            counters.messages_dropped += 1
            return
        counters.messages += 1
        counters.message_bytes += size_bytes
        arrivals = model.arrivals(size_bytes, self._now_us)
        if not arrivals:
            counters.messages_lost += 1
            return
        if self.is_cut(peer.index, other.peer):
            counters.messages_cut += 1
            return
        receiver = self.peers[other.peer]
        if receiver.incarnation != other.incarnation:
            if receiver.alive:  # its new life knows nothing of this connection: a reset comes back
                self._push(arrivals[0], _CLOSED, peer.index, peer.incarnation, send.link)
            counters.messages_cut += 1
            return
        frame = (peer.index, other.link, send.data)
        for at_us in arrivals:
            self._push(at_us, _FRAME, other.peer, other.incarnation, frame)

    def _dial(self, peer: SimulatedPeer, address: Address) -> None:
        timeout_us = self._now_us + self.config.dial_timeout_us
        if address not in self._addresses:  # a cheat made it up: nobody answers there
            self._push(timeout_us, _DIAL_FAILED, peer.index, peer.incarnation, address)
            return
        target = self._addresses[address]
        if self.is_cut(peer.index, target) or self.is_cut(target, peer.index):
            self._push(timeout_us, _DIAL_FAILED, peer.index, peer.incarnation, address)
            return
        low_s, high_s = self.link.latency
        latency_us = self._network_random.between(round(low_s * 1e6), round(high_s * 1e6))
        kind = _CONNECTED if self.peers[target].alive else _DIAL_FAILED
        # TCP, TLS and the signed hellos take about three trips.
        self._push(self._now_us + 3 * latency_us, kind, peer.index, peer.incarnation, address)

    def _connect(self, peer: SimulatedPeer, address: Address) -> None:
        target = self.peers[self._addresses[address]]
        if (
            not target.alive
            or self.is_cut(peer.index, target.index)
            or self.is_cut(target.index, peer.index)
        ):
            self._give(peer, DialFailed(address))
            return
        near, far = self._new_end(peer), self._new_end(target)
        connection = Connection((near, far), (self._link_model(), self._link_model()))
        peer.connections[near.link] = connection
        target.connections[far.link] = connection
        own_address = _address(peer.index)
        self._give(target, LinkUp(far.link, peer.peer_id, own_address, dialled=False))
        self._give(peer, LinkUp(near.link, target.peer_id, address, dialled=True))

    def _new_end(self, peer: SimulatedPeer) -> End:
        link = peer.next_link
        peer.next_link += 1
        return End(peer.index, peer.incarnation, link)

    def _close(self, peer: SimulatedPeer, link: LinkId) -> None:
        connection = peer.connections.pop(link, None)
        if connection is None:
            return
        connection.open = False
        here = 0 if connection.ends[0][0] == peer.index else 1
        other = connection.ends[1 - here]
        arrivals = connection.models[here].arrivals(40, self._now_us)
        if arrivals and not self.is_cut(peer.index, other.peer):
            self._push(arrivals[0], _CLOSED, other.peer, other.incarnation, other.link)

    def _link_model(self) -> LinkModel:
        return LinkModel(self.link, self._network_random)

    # ================================================================ disks and signatures

    def _write(self, peer: SimulatedPeer, persist: Persist) -> None:
        store = peer.store
        delay_us = self._network_random.between(*self._store_delay_us)
        store.last_landing_us = max(store.last_landing_us, self._now_us + delay_us)
        store.pending.append(persist)
        self._push(store.last_landing_us, _LANDED, peer.index, peer.incarnation, persist.token)

    def _land(self, peer: SimulatedPeer) -> None:
        store = peer.store
        if store.failing:
            token = store.pending[0].token
            self.counters.writes_failed += len(store.pending)
            store.pending.clear()
            self._give(peer, PersistFailed(token, "the disk is full"))
        else:
            self._give(peer, Persisted(store.land()))

    def _verify(self, peer: SimulatedPeer, verify: Verify) -> None:
        verified = Verified(verify.token, self._verifier.check(verify.entries))
        delay_us = self._network_random.between(*self._verify_delay_us)
        # Not handed in here and now: what is being carried out has an order.
        self._push(self._now_us + delay_us, _VERIFIED, peer.index, peer.incarnation, verified)

    # ================================================================ submits

    def _submit(self, index: int, command: Command | Sequence[Command]) -> PendingSubmit:
        peer = self._peer(index)
        peer.running  # noqa: B018  (raises where the peer is down)
        instructions = to_instructions(command, self.genesis, peer.peer_id)
        pending = PendingSubmit(peer, instructions)
        token = self._next_submit
        self._next_submit += 1
        self._pending[index, token] = pending
        self._trace.update(_TRACE(self._now_us, index, 255, token))
        self._give(peer, Submit(token, instructions))
        return pending

    def _submitted(self, peer: SimulatedPeer, submitted: Submitted) -> None:
        pending = self._pending.pop((peer.index, submitted.token), None)
        if pending is None:
            return
        pending.receipts = make_receipts(
            pending.instructions,
            self.genesis,
            peer.peer_id,
            entry_id=submitted.entry_id,
            seq=submitted.seq,
            first_index=submitted.first_index,
            seen_by=lambda seq: peer.protocol.seen_by(seq) if peer.protocol else 0,
        )
        self.receipts += pending.receipts

    # ================================================================ peers

    def _add_peer(self) -> SimulatedPeer:
        index = len(self.peers)
        if index < len(self._keypairs):
            keypair = self._keypairs[index]
        else:
            seed = hash_bytes(b"gossipbook sim key", repr(self.seed).encode(), str(index).encode())
            keypair = Keypair.from_seed(seed)
        if not self.genesis.is_member(keypair.peer_id):
            raise NotAMember(
                f"peer {index} ({short(keypair.peer_id)}) is no member of {self.genesis.name!r}; "
                "pass the members' keys as keypairs=[...], or a genesis without members"
            )
        peer = SimulatedPeer(self, index, keypair)
        self.peers.append(peer)
        self._addresses[_address(index)] = index
        return peer

    def _start(
        self, peer: SimulatedPeer, contacts: list[int], *, alone: bool | None = None
    ) -> None:
        protocol = GossipProtocol(
            self.genesis,
            peer.keypair,
            random=self._random.child(f"peer {peer.index} life {peer.incarnation}"),
            bootstrap=[_address(contact) for contact in contacts],
            stored=peer.store.state(),
            alone=alone,
            config=self.config,
            settings=self.settings,
        )
        protocol.replica.watched = self.watched
        peer.protocol = protocol
        self._carry_out(peer, protocol.start(peer.now(self._now_us)))

    def _stop(self, peer: SimulatedPeer) -> None:
        peer.protocol = None
        peer.incarnation += 1
        peer.connections.clear()
        for key in [key for key in self._pending if key[0] == peer.index]:
            del self._pending[key]

    def _first_contacts(self, index: int) -> list[int]:
        """Whom a peer knows at the start: a small cluster meshes fully, a large one randomly."""
        if len(self.peers) <= FULL_MESH_PEERS:
            return list(range(index))
        count = min(BOOTSTRAP_PEERS, len(self.peers) - 1)
        others = self._choice_random.sample(range(len(self.peers) - 1), count)
        return [other + (other >= index) for other in others]

    def _contacts(self, index: int) -> list[int]:
        others = [peer.index for peer in self.peers if peer.index != index and peer.alive]
        if len(others) < FULL_MESH_PEERS:
            return others
        return self._choice_random.sample(others, BOOTSTRAP_PEERS)

    def _peer(self, index: int) -> SimulatedPeer:
        if type(index) is not int or not 0 <= index < len(self.peers):
            raise UsageError(f"there is no peer {index!r}; peers are 0 to {len(self.peers) - 1}")
        return self.peers[index]

    # ================================================================ convergence

    def _has_converged(self) -> bool:
        return hold_equal_books(self.correct_peers)

    # ================================================================ transcript

    def _log(self, line: str) -> None:
        if self._now_us > self._slept_us:
            self._script.append(f"cluster.run_for({(self._now_us - self._slept_us) / 1_000_000!r})")
            self._slept_us = self._now_us
        self._script.append(line)


def _address(index: int) -> Address:
    return str(index).encode()


def _microseconds(seconds: float, name: str) -> int:
    if not isinstance(seconds, int | float) or not -1e9 <= seconds <= 1e9:
        raise UsageError(
            f"{name}: {seconds!r} is no number of seconds (at most a thousand million)"
        )
    return round(seconds * 1_000_000)


def _range_us(seconds: tuple[float, float], name: str) -> tuple[int, int]:
    low, high = (round(value * 1_000_000) for value in seconds)
    if not 0 <= low <= high:
        raise UsageError(f"{name}={seconds!r}; give (least, greatest) seconds, from 0 up")
    return low, high


def _source(command: object) -> str:
    """A command, or a list of them, as Python to paste."""
    if isinstance(command, list | tuple):
        return "[" + ", ".join(_source(one) for one in command) + "]"
    match command:
        case LimitOrder():
            return (
                f"gb.LimitOrder({command.market!r}, {command.side!r}, "
                f"price={str(command.price)!r}, "
                f"quantity={str(command.quantity)!r}, time_in_force={command.time_in_force!r}, "
                f"post_only={command.post_only!r})"
            )
        case MarketOrder():
            return (
                f"gb.MarketOrder({command.market!r}, {command.side!r}, "
                f"quantity={str(command.quantity)!r})"
            )
        case CancelOrder():
            return f"gb.CancelOrder(gb.OrderId.parse({str(command.order_id)!r}))"
        case ReplaceOrder():
            changes = {
                "price": command.price,
                "quantity": command.quantity,
                "reduce_by": command.reduce_by,
            }
            given = "".join(
                f", {name}={str(value)!r}" for name, value in changes.items() if value is not None
            )
            return f"gb.ReplaceOrder(gb.OrderId.parse({str(command.order_id)!r}){given})"
        case _:
            return repr(command)
