"""A seeded world without trio: the same protocol objects on a heap of simulated events.

``Cluster`` is the world. Use it in property tests and experiments: thousands of peers, partitions,
crashes and cheats, all from one seed, with nothing that sleeps.
"""

from gossipbook.link_model import Link
from gossipbook.sim import adversaries, checkers
from gossipbook.sim.cluster import Cluster, ClusterReport, PeerReport
from gossipbook.sim.simulated_peer import SimulatedPeer

__all__ = [
    "Cluster",
    "ClusterReport",
    "Link",
    "PeerReport",
    "SimulatedPeer",
    "adversaries",
    "checkers",
]
