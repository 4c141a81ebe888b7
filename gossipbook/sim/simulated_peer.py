"""One peer of the simulated world: a protocol object, a store that can be lost, and a clock.

The surface for users (``book``, ``trades``, ``commands``, ``order``) is that of a real peer,
``PeerView``. What only the simulator may touch (the store, the incarnation, the clock offset)
stands beside it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gossipbook.errors import UsageError
from gossipbook.gossip.interface import Address, Event, LinkId, Persist
from gossipbook.gossip.protocol import GossipProtocol, StoredState
from gossipbook.identity import Keypair, PeerId, short
from gossipbook.log.clock import Instant
from gossipbook.log.entry import Entry
from gossipbook.log.fork import ForkProof
from gossipbook.peer_view import PeerView
from gossipbook.replica import Replica, Update

if TYPE_CHECKING:
    from gossipbook.sim.cluster import Cluster, Connection


@dataclass(slots=True)
class SimulatedStore:
    """A disk: what was written, and what is still on its way there."""

    entries: list[Entry] = field(default_factory=list)
    proofs: list[ForkProof] = field(default_factory=list)
    clock_high_water: int = 0
    peers: dict[PeerId, Address] = field(default_factory=dict)
    pending: deque[Persist] = field(default_factory=deque)  # in the order in which they will land
    last_landing_us: int = 0
    failing: bool = False  # writes are rolled back: the disk is full

    def land(self) -> int:
        """The first pending write reaches the disk; its token."""
        write = self.pending.popleft()
        self.entries += write.entries
        self.proofs += write.proofs
        self.peers.update(write.peers)
        self.clock_high_water = max(self.clock_high_water, write.clock_high_water)
        return write.token

    def crash(self) -> int:
        """What was on its way is lost; how many entries that were."""
        lost = sum(len(write.entries) for write in self.pending)
        self.pending.clear()
        self.last_landing_us = 0
        return lost

    def forget(self, keep_entries: int) -> None:
        """Become the store as it was when it held so many entries: an old backup."""
        del self.entries[keep_entries:]
        if not self.entries:
            self.proofs.clear()
            self.peers.clear()
        # Entries that were held back never moved the clock.
        latest = max((entry.effective_hlc for entry in self.entries), default=0)
        self.clock_high_water = min(self.clock_high_water, latest)

    def state(self) -> StoredState:
        return StoredState(
            tuple(self.entries),
            tuple(self.proofs),
            self.clock_high_water,
            tuple(self.peers.items()),
        )


class SimulatedPeer(PeerView):
    """A peer in a ``Cluster``. Reading settles first, so what is read is up to date."""

    def __init__(self, cluster: Cluster, index: int, keypair: Keypair) -> None:
        self._cluster = cluster
        self.index = index
        self.keypair = keypair
        self.correct = True
        """False once it was told to cheat: checks leave it out."""
        self.store = SimulatedStore()
        self.incarnation = 0
        self.clock_offset_us = 0
        self.protocol: GossipProtocol | None = None
        self.connections: dict[LinkId, Connection] = {}
        self.next_link = 1
        self.timer_us = -1
        self.events: list[Event] = []
        """Everything but updates that this peer told its user, over all its lives."""
        self.updates: list[Update] = []
        """The net changes, where the cluster is watched."""
        self.outgoing: Callable[[bytes], bool] | None = None
        """For adversaries: whether a frame that the protocol wants to send may go."""
        self.rolled_back = False
        """Whether the store was ever lost or put back: its author may have forked its log."""

    def __repr__(self) -> str:
        state = "up" if self.alive else "down"
        return f"<SimulatedPeer {self.index} {short(self.peer_id)} {state}>"

    # ---------------------------------------------------------------- what users see

    @property
    def peer_id(self) -> PeerId:
        return self.keypair.peer_id

    @property
    def alive(self) -> bool:
        return self.protocol is not None

    # ---------------------------------------------------------------- what the simulator sees

    @property
    def running(self) -> GossipProtocol:
        """The protocol object. Raises UsageError while the peer is down."""
        if self.protocol is None:
            raise UsageError(f"peer {self.index} is down; restart({self.index}) starts it again")
        return self.protocol

    def now(self, now_us: int) -> Instant:
        return Instant(now_us, self._cluster.epoch_us + now_us + self.clock_offset_us)

    def _settled(self) -> Replica:
        self._cluster.settle(self.index)
        return self.replica
