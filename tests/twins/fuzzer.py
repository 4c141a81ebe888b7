"""An adversary that sends well-formed messages of every kind with fields that may mean anything."""

from __future__ import annotations

from twins.message_grammar import Grammar

from gossipbook.gossip.messages import encode_message
from gossipbook.sim.adversaries import Adversary
from gossipbook.sim.cluster import Cluster

ADDRESSES = (b"0", b"1", b"99", b"nowhere", b"-1")


class Fuzzer(Adversary):
    """A few messages to every link, every 20 ms. ``sent`` counts them."""

    def __init__(self, cluster: Cluster, index: int) -> None:
        super().__init__(cluster, index, interval_s=0.02)
        self.sent = 0
        self._grammar = Grammar(
            self.random,
            self.peer.keypair,
            replica=lambda: self.peer.replica,
            everyone=lambda: [peer.peer_id for peer in cluster.peers],
            addresses=ADDRESSES,
            local_ms=lambda: self.peer.running.local_ms,
        )

    def act(self) -> None:
        for link, _ in self._links():
            for _ in range(3):
                data = encode_message(self._grammar.message())
                self.cluster.send_raw(self.peer.index, link, data)
                self.sent += 1
