"""What must hold of simulated stores after every step, for ``Cluster.on_step``."""

from __future__ import annotations

from gossipbook.identity import PeerId
from gossipbook.log.entry import NO_ENTRY, EntryId
from gossipbook.sim.cluster import Cluster
from gossipbook.sim.simulated_peer import SimulatedPeer


class StoresWithoutGaps:
    """Each log in each store is whole: every entry continues the one before it, none is there
    twice. So what a start reads is what was written, however writes failed.

    Looks only at what was written since the step before; a store that was put back is read anew.
    """

    def __init__(self) -> None:
        self._read: dict[int, int] = {}  # by peer: how much of its store has been looked at
        self._ends: dict[int, dict[PeerId, tuple[int, EntryId]]] = {}

    def __call__(self, cluster: Cluster) -> None:
        for peer in cluster.peers:
            if len(peer.store.entries) != self._read.get(peer.index, 0):
                self._look(peer)

    def _look(self, peer: SimulatedPeer) -> None:
        entries, read = peer.store.entries, self._read.get(peer.index, 0)
        if len(entries) < read:
            read = 0
        ends = self._ends.setdefault(peer.index, {}) if read else {}
        self._ends[peer.index] = ends
        for entry in entries[read:]:
            length, head = ends.get(entry.author, (0, NO_ENTRY))
            assert (entry.seq, entry.prev) == (length, head), (
                f"the store of peer {peer.index} holds {length} entries of that log, and then "
                f"{entry!r}"
            )
            ends[entry.author] = (entry.seq + 1, entry.id)
        self._read[peer.index] = len(entries)
