"""`gossipbook demo`: peers trade in real time through everything that goes wrong, and agree.

This file decides the story: who is cut off, who joins, who is killed, whose key is used twice, and
when. The acts follow the orders placed, not the clock; trading never stops for them. It promises
that no act is left out, and that it calls the end good only by the rule in `ending`. It refuses to
know what a terminal is (`demo_screen`), where the peers run, and how they come to agree.

    trade | cut off ... back | a peer joins | killed ... restarted | a backup is started | agree

`demo_memory` plays it in one process, on a network that it cuts in two; `demo_processes` with a
process for each peer, one of which it freezes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import trio

from gossipbook.cli.demo_glance import Head
from gossipbook.cli.demo_peers import DemoPeer, World
from gossipbook.cli.ending import Ending, PeerLine
from gossipbook.cli.traders import Trading
from gossipbook.genesis import Genesis, Market
from gossipbook.identity import PeerId
from gossipbook.randomness import SeededRandom

# fmt: off
NAMES = (
    "alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "kate",
    "leo", "mona", "nils", "olga", "paul", "quinn", "rosa", "sam", "tina", "uma", "vera", "will",
)
# fmt: on
LEAST_PEERS = 3
MOST_PEERS = len(NAMES) - 1
"""One more joins later."""

MARKETS = (
    Market("BTC-USD", tick_size="10", lot_size="0.001"),
    Market("ETH-USD", tick_size="0.25", lot_size="0.01"),
    Market("SOL-USD", tick_size="0.02", lot_size="0.1"),
    Market("XRP-USD", tick_size="0.0002", lot_size="10"),
    Market("ADA-USD", tick_size="0.0001", lot_size="10"),
)
"""Order flow begins at 10,000 ticks: 100,000 for a bitcoin, 2,500 for an ether."""

CONVERGENCE_DEADLINE_S = 60.0
FORK_ORDERS = 2  # signed by one key with one number
WATCH_S = 0.02
SETTLE_S = 0.05  # entries that have come are in the books by then, and readers have been told

PeerT = TypeVar("PeerT", bound=DemoPeer)


@dataclass(frozen=True, slots=True)
class Scenario:
    """What to play. `peers` start; one more joins later."""

    peers: int = 8
    orders: int = 2_000
    markets: int = 3
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened, so many seconds after the start."""

    at_s: float
    what: str


class Demo(ABC, Generic[PeerT]):
    """One run, act by act; whoever shows it reads its attributes meanwhile. Made inside trio.

    `tell` hears of each happening at once. `before_heal` is called while somebody is cut off.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        tell: Callable[[Happening], None] = lambda _: None,
        before_heal: Callable[[Demo[Any]], None] = lambda _: None,
    ) -> None:
        assert LEAST_PEERS <= scenario.peers <= MOST_PEERS
        assert 1 <= scenario.markets <= len(MARKETS)
        random = SeededRandom(scenario.seed)
        genesis = Genesis("gossipbook demo", markets=MARKETS[: scenario.markets])
        trading = Trading(
            genesis, random.child("trading"), orders=scenario.orders, reserved=FORK_ORDERS
        )
        self.scenario = scenario
        self.genesis = genesis
        self.trading = trading
        self.story: list[Happening] = []
        self._world = World(genesis, trading, random, self._tell)
        self.peers = [self._make_peer(name) for name in NAMES[: scenario.peers]]
        self.peers[0].tells_of_links = True
        self.backup: PeerT | None = None
        """The old store that is started under a key in use, while it runs."""
        self.cheated: PeerT | None = None
        """Whose key that is: not its own fault, and not to be told from a cheat."""
        self.counterpart = self.peers[-1]
        """The peer whose book is worth comparing with the first one's at present."""
        self._tell_others = tell
        self._before_heal = before_heal
        self._started_s = trio.current_time()
        self._nursery: trio.Nursery | None = None

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return trio.current_time() - self._started_s

    @property
    def everybody(self) -> list[PeerT]:
        """All peers, and the backup while it runs."""
        return self.peers if self.backup is None else [*self.peers, self.backup]

    @property
    def correct(self) -> list[PeerT]:
        """The peers whose key was used once."""
        return [one for one in self.peers if one is not self.cheated]

    @property
    def proof_holders(self) -> int:
        """How many correct peers hold the proof of the fork."""
        return sum(one.proven.is_set() for one in self.correct)

    async def play(self) -> Ending:
        """All acts, and the judgement."""
        async with trio.open_nursery() as self._nursery:
            await self._open_the_markets()
            await self.trading.until(12)
            await self._cut_off_for_a_while()
            await self._join()
            await self._kill_and_restart()
            await self._start_a_backup()
            await self.trading.until(100)
            self._tell(f"{self.trading.placed:,} orders are placed; trading stops, gossip goes on")
            ending = await self._judge()
            self._nursery.cancel_scope.cancel()
        return ending

    # ---------------------------------------------------------------- what depends on the stage

    @property
    @abstractmethod
    def messages(self) -> int:
        """Messages sent, by all peers together."""

    @property
    @abstractmethod
    def messages_lost(self) -> int | None:
        """Those of them that never arrived; None where nobody can tell."""

    @property
    @abstractmethod
    def message_bytes(self) -> int:
        """Bytes of the messages sent."""

    @abstractmethod
    def _make_peer(self, name: str) -> PeerT:
        """A peer with a key of its own and an empty store, not started yet."""

    @abstractmethod
    async def _open_the_markets(self) -> None:
        """Start everybody."""

    @abstractmethod
    async def _cut_off_for_a_while(self) -> None:
        """Until nearly half of the orders are placed, keep some peers from the others."""

    @abstractmethod
    async def _until_equal_and_proven(self) -> None:
        """Return when the correct peers are equal and hold the proof. It may wait for ever."""

    @abstractmethod
    async def _find_fault(self) -> str:
        """Once they are: whether they are right, too; empty if so."""

    @abstractmethod
    def _describe(self) -> str:
        """What each correct peer holds, for people who look for what differs."""

    @abstractmethod
    def _lines(self) -> list[PeerLine]:
        """What each peer holds at the end."""

    # ---------------------------------------------------------------- the acts

    async def _join(self) -> None:
        newcomer = self._make_peer(NAMES[len(self.peers)])
        others = list(self.peers)
        self.peers.append(newcomer)
        self.counterpart = newcomer
        self._tell(f"{newcomer.name} joins with an empty store; nobody waits for it")
        newcomer.activity = "joining"
        self._watch([newcomer], f"{newcomer.name} knows what the others knew")
        await self._start(newcomer, others)
        await self.trading.until(58)

    async def _kill_and_restart(self) -> None:
        victim = self.counterpart = self.peers[1]
        self._tell(f"{victim.name} {victim.how_killed}; its store stays")
        await victim.kill()
        await self.trading.until(70)
        victim.activity = "catching up"
        self._tell(
            f"{victim.name} starts again with {victim.stored_entries:,} entries in its store; "
            "it signs nothing before others confirm where its log ends"
        )
        self._watch([victim], f"{victim.name} knows what it missed")
        await self._start(victim, [one for one in self.peers if one is not victim])

    async def _start_a_backup(self) -> None:
        original = self.counterpart = self.peers[2]
        backup = await original.back_up(f"{original.name}'s backup")
        self._tell(f"{original.name}'s store is backed up")
        await original.place_reserved()
        await self.trading.until(82)
        self.cheated, self.backup = original, backup
        self._tell(f"the backup is started under the same key while {original.name} is running")
        others = [one for one in self.peers if one is not original]
        assert self._nursery is not None
        self._nursery.start_soon(self._watch_proof, backup, trio.current_time())
        await self._start(backup, others, alone=True, reserved_order=True)

    async def _watch_proof(self, backup: PeerT, started_s: float) -> None:
        """Tell who holds the proof of the fork first, and when all do; then stop the backup."""
        async with trio.open_nursery() as nursery:
            first = trio.Event()
            for one in self.correct:
                nursery.start_soon(self._wait_for_proof, one, first)
        took_s = trio.current_time() - started_s
        self._tell(f"all {len(self.correct)} correct peers hold the proof, {took_s:.2f} s later")
        await backup.kill()
        self.backup = None

    async def _wait_for_proof(self, one: PeerT, first: trio.Event) -> None:
        await one.proven.wait()
        if not first.is_set():
            first.set()
            assert self.cheated is not None
            ((_, seq),) = one.forks.items()
            self._tell(
                f"{one.name} holds two entries that {self.cheated.name} signed as number "
                f"{seq}, and passes the proof on; from there on her entries count no more"
            )

    # ---------------------------------------------------------------- the judgement

    async def _judge(self) -> Ending:
        stopped_s = trio.current_time()
        with trio.move_on_after(CONVERGENCE_DEADLINE_S) as patience:
            await self._until_equal_and_proven()
        converged_after_s = trio.current_time() - stopped_s
        if patience.cancelled_caught:
            failure = (
                f"the correct peers are not equal {CONVERGENCE_DEADLINE_S:.0f} s after the last "
                "order:\n" + self._describe()
            )
        else:
            failure = await self._find_fault() or self._divergence()
        if not failure:
            self._tell(f"all {len(self.correct)} correct peers agree")
        return self._ending(failure, converged_after_s)

    def _divergence(self) -> str:
        """Whether a peer took another's memory, or its own, for wrong; nobody had reason to."""
        for one in self.correct:
            for divergence in one.divergences:
                return f"{one.name} reported {divergence}"
        return ""

    def _ending(self, failure: str, converged_after_s: float) -> Ending:
        return Ending(
            failure=failure,
            orders=self.trading.placed,
            converged_after_s=round(converged_after_s, 3),
            elapsed_s=round(self.elapsed_s, 3),
            peers=tuple(self._lines()),
            messages=self.messages,
            messages_lost=self.messages_lost,
            message_bytes=self.message_bytes,
            undone_commands=sum(one.undone_commands for one in self.correct),
        )

    # ---------------------------------------------------------------- helpers

    @property
    def _symbols(self) -> str:
        return listing([market.symbol for market in self.genesis.markets])

    async def _start(
        self,
        one: DemoPeer,
        others: Iterable[DemoPeer],
        *,
        alone: bool | None = None,
        reserved_order: bool = False,
    ) -> None:
        assert self._nursery is not None
        contacts = [other.address for other in others if other.is_up]

        async def live(task_status: trio.TaskStatus[None]) -> None:
            await one.live(
                contacts, alone=alone, reserved_order=reserved_order, task_status=task_status
            )

        await self._nursery.start(live)

    def _watch(self, peers: list[PeerT], words: str) -> None:
        """Tell when these peers hold every entry that anybody holds now, and how many trades that
        busted. Nobody waits for it."""
        assert self._nursery is not None
        self._nursery.start_soon(self._tell_when_level, peers, _lengths(self.peers), words)

    async def _tell_when_level(
        self, peers: list[PeerT], lengths: dict[PeerId, int], words: str
    ) -> None:
        since_s, busted = trio.current_time(), sum(one.busted for one in peers)
        while not all(one.is_up and _holds(one, lengths) for one in peers):
            await trio.sleep(WATCH_S)
        took_s = trio.current_time() - since_s
        for one in peers:
            one.activity = ""
        await trio.sleep(SETTLE_S)
        busted = sum(one.busted for one in peers) - busted
        self._tell(f"{words}, {took_s:.2f} s later; trades busted on the way: {busted:,}")

    def _tell(self, what: str) -> None:
        happening = Happening(self.elapsed_s, what)
        self.story.append(happening)
        self._tell_others(happening)


def listing(words: list[str]) -> str:
    """Words as a sentence has them: "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _lengths(peers: Iterable[DemoPeer]) -> dict[PeerId, int]:
    """The greatest length of each author's log that anybody holds."""
    lengths: dict[PeerId, int] = {}
    for one in peers:
        for author, head in one.heads().items():
            lengths[author] = max(head.length, lengths.get(author, 0))
    return lengths


def _holds(one: DemoPeer, lengths: dict[PeerId, int]) -> bool:
    heads, none = one.heads(), Head(0, is_forked=False)
    found = [(heads.get(author, none), length) for author, length in lengths.items()]
    return all(head.length >= length or head.is_forked for head, length in found)
