"""`gossipbook simulate`: a few peers trade through everything that goes wrong, and agree.

This file decides the story: who is cut off, who joins, crashes and cheats, and when. It promises
the same words for the same arguments, that no fault is left out, and that it calls the end good
only by the rule in `ending` and if every checker of the simulator is silent. It refuses to know how
the peers come to agree.

    trade | cut off ... heal | a peer joins | crash ... restart | a peer signs two histories | agree
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gossipbook.book.commands import LimitOrder, MarketOrder
from gossipbook.cli.ending import Ending, PeerLine, find_fault
from gossipbook.errors import NotConverged
from gossipbook.genesis import Genesis, Market
from gossipbook.link_model import Link
from gossipbook.randomness import SeededRandom
from gossipbook.sim.checkers import check_all
from gossipbook.sim.cluster import Cluster
from gossipbook.sim.order_flow import OrderFlow
from gossipbook.sim.simulated_peer import SimulatedPeer

SYMBOLS = ("BTC-USD", "ETH-USD", "SOL-USD", "XRP-USD", "ADA-USD", "DOT-USD", "LTC-USD", "UNI-USD")
LEAST_PEERS = 3
PAUSE_MS = (10, 90)
"""Between two orders, anywhere in the network."""
CONVERGENCE_DEADLINE_S = 120.0
LINK = Link(latency=(0.005, 0.05), loss=0.1, duplication=0.02, reordering=0.05)


@dataclass(frozen=True, slots=True)
class Scenario:
    """What to simulate. `peers` start; one more joins later."""

    peers: int = 8
    orders: int = 400
    markets: int = 2
    seed: int = 1
    link: Link = LINK


def simulate(
    scenario: Scenario,
    tell: Callable[[float, str], None],
    advance: Callable[[], None] = lambda: None,
) -> Ending:
    """Play the story. `tell(simulated seconds, what happens)`; `advance()` after each order."""
    return Story(scenario, tell, advance).play()


class Story:
    """One run, act by act."""

    def __init__(
        self,
        scenario: Scenario,
        tell: Callable[[float, str], None],
        advance: Callable[[], None],
    ) -> None:
        assert scenario.peers >= LEAST_PEERS and 1 <= scenario.markets <= len(SYMBOLS)
        markets = [
            Market(symbol, tick_size="0.01", lot_size="0.001")
            for symbol in SYMBOLS[: scenario.markets]
        ]
        genesis = Genesis("gossipbook simulate", markets=markets)
        random = SeededRandom(scenario.seed)
        self._scenario = scenario
        self._tell_at = tell
        self._advance = advance
        self._random = random.child("who and when")
        self._flow = OrderFlow(genesis, random.child("orders"))
        self._submitted = 0
        self._undone = 0  # by lives that have ended
        self.cluster = Cluster(
            genesis, peers=scenario.peers, seed=scenario.seed, link=scenario.link, watched=True
        )

    def play(self) -> Ending:
        """All acts, and the judgement."""
        cluster, peers = self.cluster, self._scenario.peers
        link = self._scenario.link
        low_ms, high_ms = [round(bound_s * 1000) for bound_s in link.latency]
        self._tell(
            f"{peers} peers start; links take {low_ms} to {high_ms} ms and lose "
            f"{link.loss:.0%} of the messages; everybody trades {self._markets_in_words()}"
        )
        cluster.run_for(0.5)
        self._trade(25)
        self._partition_and_heal()
        self._join()
        self._crash_and_restart()
        self._equivocate()
        self._trade(100)
        self._tell(f"{self._submitted} orders are in; trading stops, gossip goes on")
        return self._judge()

    # ---------------------------------------------------------------- the acts

    def _partition_and_heal(self) -> None:
        cluster, peers = self.cluster, self._scenario.peers
        cut = list(range(peers - max(1, peers // 3), peers))
        cluster.partition(cut)
        self._tell(f"{_peers(cut)} cut off from the rest; both sides go on trading")
        self._trade(45)
        inside, outside = cluster.peers[cut[0]], cluster.peers[0]
        self._tell(
            f"the two sides know {outside.entry_count} and {inside.entry_count} entries; "
            "the partition heals"
        )
        cluster.heal()
        self._trade(55)

    def _join(self) -> None:
        index = self.cluster.join()
        self._tell(f"peer {index} joins with an empty store; nobody waits for it")
        self._trade(65)

    def _crash_and_restart(self) -> None:
        cluster, index = self.cluster, 1
        peer = cluster.peers[index]
        cluster.submit_nowait(index, self._flow.next(index))
        lost = cluster.counters.unpersisted_entries_lost
        self._undone += peer.replica.undone_count
        cluster.crash(index)
        lost = cluster.counters.unpersisted_entries_lost - lost
        self._tell(f"peer {index} loses power; writes under way to its disk and lost: {lost}")
        self._trade(80)
        cluster.restart(index)
        self._tell(f"peer {index} starts again with its store; it first asks what it missed")
        self._trade(90)

    def _equivocate(self) -> None:
        index = 2
        self.cluster.equivocate(index)
        self._tell(f"peer {index} signs two histories and shows each to a part of the others")

    def _trade(self, percent: int) -> None:
        """Submit orders until so much of all orders is in."""
        while self._submitted < self._scenario.orders * percent // 100:
            self.cluster.run_for(self._random.between(*PAUSE_MS) / 1000)
            ready = [peer for peer in self.cluster.correct_peers if peer.running.own.confirmed]
            self._submit(self._random.choice(ready))

    def _submit(self, peer: SimulatedPeer) -> None:
        command = self._flow.next(peer.index)
        receipt = self.cluster.submit(peer.index, command)
        if isinstance(command, LimitOrder | MarketOrder):
            self._flow.note(peer.index, receipt.order_id)
        self._submitted += 1
        self._advance()

    # ---------------------------------------------------------------- the judgement

    def _judge(self) -> Ending:
        cluster, failure = self.cluster, ""
        stopped_s = cluster.now
        try:
            cluster.run_until_converged(CONVERGENCE_DEADLINE_S)
            failure = self._find_fault()
        except NotConverged as error:
            failure = str(error)
        else:
            self._tell(f"all {len(cluster.correct_peers)} correct peers agree")
        return self._ending(failure, round(cluster.now - stopped_s, 6))

    def _find_fault(self) -> str:
        """What is wrong with peers that claim to agree; empty if nothing is."""
        fault = find_fault({f"peer {peer.index}": peer for peer in self.cluster.correct_peers})
        if fault:
            return fault
        try:
            check_all(self.cluster)
        except AssertionError as error:
            return str(error)
        return ""

    def _ending(self, failure: str, converged_after_s: float) -> Ending:
        cluster, counters = self.cluster, self.cluster.counters
        undone = sum(peer.replica.undone_count for peer in cluster.correct_peers)
        return Ending(
            failure=failure,
            orders=self._submitted,
            converged_after_s=converged_after_s,
            elapsed_s=cluster.now,
            peers=tuple([_line(peer) for peer in cluster.peers if peer.alive]),
            messages=counters.messages,
            messages_lost=counters.messages_lost + counters.messages_cut,
            message_bytes=counters.message_bytes,
            undone_commands=self._undone + undone,
            trace_hash=cluster.trace_hash,
        )

    # ---------------------------------------------------------------- words

    def _tell(self, what: str) -> None:
        self._tell_at(self.cluster.now, what)

    def _markets_in_words(self) -> str:
        symbols = SYMBOLS[: self._scenario.markets]
        return symbols[0] if len(symbols) == 1 else f"{', '.join(symbols[:-1])} and {symbols[-1]}"


def _line(peer: SimulatedPeer) -> PeerLine:
    return PeerLine.of(peer.index, peer, correct=peer.correct, busted=peer.replica.busted_count)


def _peers(indices: list[int]) -> str:
    if len(indices) == 1:
        return f"peer {indices[0]} is"
    return f"peers {', '.join(map(str, indices[:-1]))} and {indices[-1]} are"
