"""The demo in one process: peers on a memory network that loses messages and can be cut in two.

This file decides what only such a network can show, a partition, and how peers that run here are
judged: by looking into them. It promises that the seed decides orders and chances, and under a
virtual clock everything. It refuses to know the acts that other stages have, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

import trio

from gossipbook.book.events import Trade
from gossipbook.cli.demo import WATCH_S, Demo, Happening, Scenario, listing
from gossipbook.cli.demo_glance import Glance, Head, heads_of, take_glance
from gossipbook.cli.demo_peers import READER_BUFFER, DemoPeer, World
from gossipbook.cli.ending import PeerLine, describe, find_fault
from gossipbook.gossip.interface import Divergence, ForkProven, PeerDown
from gossipbook.identity import Keypair, PeerId
from gossipbook.link_model import Link
from gossipbook.log.verification import Verifier
from gossipbook.peer import Peer, open_peer, wait_until_equal
from gossipbook.storage.memory import MemoryStore
from gossipbook.transport.memory import MemoryNetwork

LINK = Link(latency=(0.005, 0.05), loss=0.1, duplication=0.02, reordering=0.05)


class MemoryDemo(Demo["MemoryPeer"]):
    """A run on a network of links such as `link`."""

    def __init__(
        self,
        scenario: Scenario,
        *,
        link: Link = LINK,
        tell: Callable[[Happening], None] = lambda _: None,
        before_heal: Callable[[Demo[Any]], None] = lambda _: None,
    ) -> None:
        self.link = link
        self.network = MemoryNetwork(seed=scenario.seed, link=link)
        self._verifier = Verifier()
        super().__init__(scenario, tell=tell, before_heal=before_heal)

    @property
    def messages(self) -> int:
        return self.network.counters.messages

    @property
    def messages_lost(self) -> int:
        return self.network.counters.messages_lost + self.network.counters.messages_cut

    @property
    def message_bytes(self) -> int:
        return self.network.counters.message_bytes

    def _make_peer(self, name: str) -> MemoryPeer:
        return MemoryPeer(self._world, name, network=self.network, verifier=self._verifier)

    # ---------------------------------------------------------------- the acts

    async def _open_the_markets(self) -> None:
        low_ms, high_ms = [round(bound_s * 1000) for bound_s in self.link.latency]
        self._tell(
            f"{len(self.peers)} peers start; links take {low_ms} to {high_ms} ms and lose "
            f"{self.link.loss:.0%} of the messages; everybody trades {self._symbols}"
        )
        self._world.bell.set()
        for index, one in enumerate(self.peers):
            await self._start(one, self.peers[:index], alone=True)

    async def _cut_off_for_a_while(self) -> None:
        cut = self.peers[-max(1, 3 * len(self.peers) // 8) :]
        self.network.partition([one.name for one in cut])
        for one in cut:
            one.activity = "cut off"
        names = listing([one.name for one in cut])
        self._tell(
            f"{names} {'is' if len(cut) == 1 else 'are'} cut off from the rest; "
            "both sides go on trading"
        )
        await self.trading.until(30)
        outside, inside = self.peers[0], cut[-1]
        symbol = self.genesis.markets[0].symbol
        quotes = [f"{_quote(one.running, symbol)} at {one.name}" for one in (outside, inside)]
        self._tell(f"{symbol} is {quotes[0]}, but {quotes[1]}")
        await self.trading.until(36)
        self._before_heal(self)
        counts = [one.running.entry_count for one in (outside, inside)]
        self.network.heal()
        for one in cut:
            one.activity = ""
        self._tell(f"the partition heals; its sides know {counts[0]:,} and {counts[1]:,} entries")
        self._watch(self.peers, "everybody knows what both sides wrote")
        await self.trading.until(48)

    # ---------------------------------------------------------------- the judgement

    async def _until_equal_and_proven(self) -> None:
        peers = [one.running for one in self.correct]
        while True:
            await wait_until_equal(peers)
            if all(peer.proofs() for peer in peers):
                return
            await trio.sleep(WATCH_S)  # the fork has not come out yet

    def _describe(self) -> str:
        return describe({one.name: one.running for one in self.correct})

    async def _find_fault(self) -> str:
        await trio.lowlevel.checkpoint()
        return find_fault({one.name: one.running for one in self.correct})

    def _lines(self) -> list[PeerLine]:
        return [
            PeerLine.of(one.name, one.peer, correct=one is not self.cheated, busted=one.busted)
            for one in self.peers
            if one.peer is not None
        ]


class MemoryPeer(DemoPeer):
    """A peer that runs here; `peer` is the one that runs now, if one does."""

    def __init__(
        self,
        world: World,
        name: str,
        *,
        network: MemoryNetwork,
        verifier: Verifier,
        keypair: Keypair | None = None,
        store: MemoryStore | None = None,
    ) -> None:
        super().__init__(world, name, keypair)
        self.store = MemoryStore() if store is None else store
        self.peer: Peer | None = None
        self._network = network
        self._verifier = verifier
        self._busted = 0
        self._undone = 0  # by lives that have ended

    @property
    def running(self) -> Peer:
        """The peer, where one runs."""
        assert self.peer is not None, f"{self.name} is down"
        return self.peer

    @property
    def is_up(self) -> bool:
        return self.peer is not None

    @property
    def address(self) -> str:
        return self.name

    @property
    def busted(self) -> int:
        return self._busted

    @property
    def undone_commands(self) -> int:
        running = 0 if self.peer is None else self.peer.replica.undone_count
        return self._undone + running

    @property
    def stored_entries(self) -> int:
        return len(self.store)

    @property
    def glance(self) -> Glance | None:
        return None if self.peer is None else take_glance(self.peer, busted=self._busted)

    def heads(self) -> Mapping[PeerId, Head]:
        return {} if self.peer is None else heads_of(self.peer)

    async def live(
        self,
        contacts: Iterable[str],
        *,
        alone: bool | None = None,
        reserved_order: bool = False,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        world = self._world
        self._lives += 1
        life = world.random.child(f"life {self._lives} of {self.name}")
        self._ended = trio.Event()
        with trio.CancelScope() as self._scope:
            async with open_peer(
                world.genesis,
                self.keypair,
                transport=self._network.transport(self.name),
                bootstrap=contacts,
                store=self.store,
                alone=alone,
                seed=life.bits(32),
                verifier=self._verifier,
            ) as peer:
                self.peer = peer
                try:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._trade, peer, reserved_order)
                        nursery.start_soon(self._read, peer)
                        nursery.start_soon(self._listen, peer)
                        task_status.started()
                finally:
                    self._undone += peer.replica.undone_count
                    self.peer = None
        self._ended.set()

    @property
    def how_killed(self) -> str:
        return "is killed without a goodbye"

    async def kill(self) -> None:
        self._scope.cancel()
        await self._ended.wait()

    async def place_reserved(self) -> None:
        await self._world.trading.place_reserved(self.name, self.running)

    async def back_up(self, name: str) -> Self:
        await trio.lowlevel.checkpoint()
        return type(self)(
            self._world,
            name,
            network=self._network,
            verifier=self._verifier,
            keypair=self.keypair,
            store=self.store.copy(),
        )

    async def _read(self, peer: Peer) -> None:
        async with peer.subscribe(buffer=READER_BUFFER) as updates:
            async for update in updates:
                self._busted += sum(isinstance(event, Trade) for event in update.undone)

    async def _listen(self, peer: Peer) -> None:
        async with peer.events() as events:
            for proof in peer.proofs():
                self._hear_proof(proof.author, proof.seq)
            async for event in events:
                match event:
                    case ForkProven(proof):
                        self._hear_proof(proof.author, proof.seq)
                    case PeerDown(other, reason):
                        self._hear_loss(other, reason)
                    case Divergence(status, other):
                        self._hear_divergence(other, status, repr(event))


def _quote(peer: Peer, symbol: str) -> str:
    """The best bid and ask of a market."""
    book = peer.book(symbol)
    prices = [None if one is None else one.price for one in (book.best_bid, book.best_ask)]
    return " to ".join("nothing" if price is None else f"{price:,}" for price in prices)
