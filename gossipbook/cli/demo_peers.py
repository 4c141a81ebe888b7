"""One peer's place in the demo, wherever it runs: a key and a store that stay, lives that end.

This file decides what the story may ask of a peer, and what runs beside each one: a trader, and
readers as any program on top of the library has them, one for the market (it counts busted trades),
one for what happens to the peer. It promises that a killed peer says no goodbye and leaves its
store behind. It refuses to know the story: when somebody starts or stops, `demo` says.

    live ---> a peer runs --+-- trader    submit
                 |          +-- reader    subscribe: trades, busted trades
               kill         '-- listener  events: lost links, proofs of forks, divergences

`demo_memory` has peers that run here, `demo_process_peer` those with a process each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

import trio

from gossipbook.cli.demo_glance import Glance, Head
from gossipbook.cli.traders import Submitter, Trading
from gossipbook.errors import IdentityForked
from gossipbook.genesis import Genesis
from gossipbook.identity import Keypair, PeerId
from gossipbook.randomness import SeededRandom

READER_BUFFER = 10_000
"""Updates that may wait for the reader, which never waits itself: it cannot lag."""


@dataclass(frozen=True, slots=True)
class World:
    """What all peers of a demo share. `tell` takes a sentence about what happens; nobody trades
    before `bell` is set; `names` are those of keys."""

    genesis: Genesis
    trading: Trading
    random: SeededRandom
    tell: Callable[[str], None]
    bell: trio.Event = field(default_factory=trio.Event)
    names: dict[PeerId, str] = field(default_factory=dict)


class DemoPeer(ABC):
    """A peer over all its lives."""

    def __init__(self, world: World, name: str, keypair: Keypair | None) -> None:
        self.name = name
        self.keypair = keypair or _keypair(world.random.child(f"key of {name}"))
        world.names.setdefault(self.keypair.peer_id, name)
        self.activity = ""
        """What the story does to it, in a word or two; empty where nothing special is going on."""
        self.tells_of_links = False
        """Whether it tells whom it loses; one peer that does is enough."""
        self.was_told_forked = False
        """Whether `submit` refused it for that."""
        self.forks: dict[PeerId, int] = {}
        """Who it can prove signed two histories, and the first number signed twice."""
        self.proven = trio.Event()
        """Set when this peer first holds such a proof."""
        self.divergences: list[str] = []
        self._world = world
        self._lives = 0
        self._scope = trio.CancelScope()
        self._ended = trio.Event()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}, {self.state}>"

    # ---------------------------------------------------------------- what is seen of it

    @property
    @abstractmethod
    def is_up(self) -> bool:
        """Whether it runs."""

    @property
    @abstractmethod
    def address(self) -> str:
        """Where the others dial it while it runs."""

    @property
    @abstractmethod
    def busted(self) -> int:
        """Trades busted, over all its lives."""

    @property
    @abstractmethod
    def undone_commands(self) -> int:
        """Commands undone, over all its lives."""

    @property
    @abstractmethod
    def stored_entries(self) -> int:
        """How many entries its store holds while it is down."""

    @property
    @abstractmethod
    def glance(self) -> Glance | None:
        """How it stands, as far as is known here; None where it is down."""

    @abstractmethod
    def heads(self) -> Mapping[PeerId, Head]:
        """How long each author's log is here; nothing where it is down."""

    @property
    def state(self) -> str:
        """How it is, in a word or two."""
        if not self.is_up:
            return "down"
        return "forked" if self.forked else self.activity or "up"

    @property
    def forked(self) -> bool:
        """Whether it knows that two histories are signed with its key."""
        return self.was_told_forked or self.keypair.peer_id in self.forks

    # ---------------------------------------------------------------- what is done to it

    @abstractmethod
    async def live(
        self,
        contacts: Iterable[str],
        *,
        alone: bool | None = None,
        reserved_order: bool = False,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Run until killed. `reserved_order`: the first thing it does is to sign one of those."""

    @property
    @abstractmethod
    def how_killed(self) -> str:
        """What `kill` does to it, as a sentence goes on after its name."""

    @abstractmethod
    async def kill(self) -> None:
        """Stop it at once, without a goodbye. It can be started again from its store."""

    @abstractmethod
    async def place_reserved(self) -> None:
        """Sign one of the orders reserved for the story, now."""

    @abstractmethod
    async def back_up(self, name: str) -> Self:
        """A peer that is not started yet, with the same key and a copy of the store as it is."""

    # ---------------------------------------------------------------- what happens beside it

    async def _trade(self, peer: Submitter, reserved_order: bool) -> None:
        trading = self._world.trading
        await self._world.bell.wait()
        try:
            if reserved_order:
                await trading.place_reserved(self.name, peer)
            await trading.trade(self.name, peer)
        except IdentityForked:
            self.was_told_forked = True
            self._world.tell(
                f"{self.name} gets IdentityForked for its next order, and trades no more"
            )

    def _hear_loss(self, other: PeerId, reason: str) -> None:
        if self.tells_of_links:
            self._world.tell(f"{self.name} loses {self._world.names[other]}: {reason}")

    def _hear_proof(self, author: PeerId, seq: int) -> None:
        self.forks[author] = seq
        self.proven.set()

    def _hear_divergence(self, other: PeerId | None, status: str, detail: str) -> None:
        self.divergences.append(detail)
        whom = "itself" if other is None else self._world.names[other]
        self._world.tell(f"{self.name} diverges from {whom}: {status}")


def _keypair(random: SeededRandom) -> Keypair:
    return Keypair.from_seed(random.bits(256).to_bytes(32, "big"))
