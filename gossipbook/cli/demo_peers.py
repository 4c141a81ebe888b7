"""One peer's place in the demo: a key and a store that stay, and a peer that comes and goes.

This file decides what runs beside a peer: a trader, and two readers as any program on top of the
library has them, one for the market (it counts busted trades), one for what happens to the peer. It
promises that a killed peer says no goodbye and leaves its store behind. It refuses to know the
story: when somebody starts or stops, `demo` says.

    live ---> open_peer --+-- trader    submit
                 |        +-- reader    subscribe: trades, busted trades
               kill       '-- listener  events: proofs of forks, divergences
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import trio

from gossipbook.book.events import Trade
from gossipbook.cli.traders import Trading
from gossipbook.errors import IdentityForked
from gossipbook.genesis import Genesis
from gossipbook.gossip.interface import Divergence, ForkProven, PeerDown, PeerEvent
from gossipbook.identity import Keypair, PeerId
from gossipbook.log.verification import Verifier
from gossipbook.peer import Peer, open_peer
from gossipbook.randomness import SeededRandom
from gossipbook.storage.memory import MemoryStore
from gossipbook.transport.memory import MemoryNetwork

READER_BUFFER = 10_000
"""Updates that may wait for the reader, which never waits itself: it cannot lag."""


@dataclass(frozen=True, slots=True)
class World:
    """What all peers of a demo share. `tell` takes a sentence about what happens; `names` are those
    of keys."""

    genesis: Genesis
    network: MemoryNetwork
    trading: Trading
    random: SeededRandom
    tell: Callable[[str], None]
    verifier: Verifier = field(default_factory=Verifier)
    names: dict[PeerId, str] = field(default_factory=dict)


class DemoPeer:
    """A peer over all its lives; `peer` is the one that runs now, if one does."""

    def __init__(
        self,
        world: World,
        name: str,
        *,
        keypair: Keypair | None = None,
        store: MemoryStore | None = None,
    ) -> None:
        self.name = name
        self.keypair = keypair or _keypair(world.random.child(f"key of {name}"))
        self.store = MemoryStore() if store is None else store
        world.names.setdefault(self.keypair.peer_id, name)
        self.peer: Peer | None = None
        self.activity = ""
        """What the story does to it, in a word or two; empty where nothing special is going on."""
        self.tells_of_links = False
        """Whether it tells whom it loses; one peer that does is enough."""
        self.was_told_forked = False
        """Whether `submit` refused it for that."""
        self.proven = trio.Event()
        """Set when this peer first holds a proof that somebody forked."""
        self.divergences: list[Divergence] = []
        self.busted = 0
        self._world = world
        self._undone = 0  # by lives that have ended
        self._lives = 0
        self._scope = trio.CancelScope()
        self._ended = trio.Event()

    def __repr__(self) -> str:
        return f"<DemoPeer {self.name}, {self.state}>"

    @property
    def state(self) -> str:
        """How it is, in a word or two."""
        if self.peer is None:
            return "down"
        return "forked" if self.forked else self.activity or "up"

    @property
    def forked(self) -> bool:
        """Whether it knows that two histories are signed with its key."""
        if self.peer is None:
            return self.was_told_forked
        return any(proof.author == self.keypair.peer_id for proof in self.peer.proofs())

    @property
    def undone_commands(self) -> int:
        """Commands undone, over all its lives."""
        running = 0 if self.peer is None else self.peer.replica.undone_count
        return self._undone + running

    async def live(
        self,
        contacts: Iterable[str],
        *,
        alone: bool = False,
        reserved_order: bool = False,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Run until killed. `reserved_order`: the first thing it does is to sign one of those."""
        world = self._world
        self._lives += 1
        life = world.random.child(f"life {self._lives} of {self.name}")
        self._ended = trio.Event()
        with trio.CancelScope() as self._scope:
            async with open_peer(
                world.genesis,
                self.keypair,
                transport=world.network.transport(self.name),
                bootstrap=contacts,
                store=self.store,
                alone=alone,
                seed=life.bits(32),
                verifier=world.verifier,
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

    async def kill(self) -> None:
        """Stop it at once, without a goodbye. Its store can be opened again afterwards."""
        self._scope.cancel()
        await self._ended.wait()

    async def _trade(self, peer: Peer, reserved_order: bool) -> None:
        trading = self._world.trading
        try:
            if reserved_order:
                await trading.place_reserved(self.name, peer)
            await trading.trade(self.name, peer)
        except IdentityForked:
            self.was_told_forked = True
            self._world.tell(
                f"{self.name} gets IdentityForked for its next order, and trades no more"
            )

    async def _read(self, peer: Peer) -> None:
        async with peer.subscribe(buffer=READER_BUFFER) as updates:
            async for update in updates:
                self.busted += sum(isinstance(event, Trade) for event in update.undone)

    async def _listen(self, peer: Peer) -> None:
        async with peer.events() as events:
            if peer.proofs():
                self.proven.set()
            async for event in events:
                self._hear(event)

    def _hear(self, event: PeerEvent) -> None:
        tell, names = self._world.tell, self._world.names
        match event:
            case ForkProven():
                self.proven.set()
            case PeerDown(other, reason) if self.tells_of_links:
                tell(f"{self.name} loses {names[other]}: {reason}")
            case Divergence(status, other):
                self.divergences.append(event)
                whom = "itself" if other is None else names[other]
                tell(f"{self.name} diverges from {whom}: {status}")


def _keypair(random: SeededRandom) -> Keypair:
    return Keypair.from_seed(random.bits(256).to_bytes(32, "big"))
