"""The same commands through simulated peers that gossip over lossy links.

This file decides when each command is submitted: simulated time passes until the author's next
timestamp is later than the last entry's, so the merge order is the order of the file although
nobody waits for the gossip. It promises no more than what the peers hold when they have converged;
whether that is right is judged elsewhere.
"""

from __future__ import annotations

from gossipbook.book.payload import user_command
from gossipbook.cli.translation import GENESIS, Entry
from gossipbook.identity import PeerId
from gossipbook.link_model import Link
from gossipbook.sim.cluster import Cluster
from gossipbook.sim.simulated_peer import SimulatedPeer

LOSSY = Link(latency=(0.005, 0.05), loss=0.1, duplication=0.02, reordering=0.05)
PAUSE_S = 0.001  # the unit of timestamps: a shorter one could not tell two commands apart
CONVERGENCE_DEADLINE_S = 300.0


class PeerGroup:
    """Peers that get a case's entries, each at its author."""

    def __init__(self, count: int, seed: int) -> None:
        self.cluster = Cluster(GENESIS, peers=count, seed=seed, link=LOSSY)
        self._last_timestamp = 0

    @property
    def peers(self) -> list[SimulatedPeer]:
        return self.cluster.peers

    @property
    def authors(self) -> list[PeerId]:
        return [peer.peer_id for peer in self.peers]

    def submit(self, entry: Entry) -> None:
        """Let time pass, then submit at the author."""
        peer = self.peers[entry.author]
        self.cluster.run_for(PAUSE_S)
        while self._next_timestamp(peer) <= self._last_timestamp:
            self.cluster.run_for(PAUSE_S)
        market, author = GENESIS.markets[0], peer.peer_id
        commands = [user_command(one, market, author) for one in entry.instructions]
        receipts = self.cluster.submit(entry.author, commands)
        assert receipts[0].command_id.seq == entry.seq, "an author's log has what the file has"
        last = peer.replica.logs[author].entries[-1]
        assert last.effective_hlc > self._last_timestamp, "merge order is file order"
        self._last_timestamp = last.effective_hlc

    def converge(self) -> None:
        """Run until all peers are equal. Raises NotConverged."""
        self.cluster.run_until_converged(CONVERGENCE_DEADLINE_S)

    def _next_timestamp(self, peer: SimulatedPeer) -> int:
        protocol = peer.running
        wall_us = peer.now(self.cluster.now_us).wall_us
        return protocol.replica.clock.next(protocol.clock.local_ms(wall_us))
