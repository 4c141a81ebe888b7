"""`gossipbook demo`: peers trade in real time through everything that goes wrong, and agree.

This file decides the story: who is cut off, who joins, who is killed, whose key is used twice, and
when. The acts follow the orders placed, not the clock; trading never stops for them. It promises
that no act is left out, and that it calls the end good only by the rule in `ending`. It refuses to
know what a terminal is (`demo_screen`), and how the peers come to agree.

    trade | cut off ... heal | a peer joins | killed ... restarted | a backup is started | agree
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import trio

from gossipbook.cli.demo_peers import DemoPeer, World
from gossipbook.cli.ending import Ending, PeerLine, describe, find_fault
from gossipbook.cli.traders import Trading
from gossipbook.genesis import Genesis, Market
from gossipbook.identity import PeerId
from gossipbook.link_model import Link
from gossipbook.peer import Peer, wait_until_equal
from gossipbook.randomness import SeededRandom
from gossipbook.transport.memory import MemoryNetwork

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

LINK = Link(latency=(0.005, 0.05), loss=0.1, duplication=0.02, reordering=0.05)
CONVERGENCE_DEADLINE_S = 60.0
FORK_ORDERS = 2  # signed by one key with one number
WATCH_S = 0.02
SETTLE_S = 0.05  # entries that have come are in the books by then, and readers have been told


@dataclass(frozen=True, slots=True)
class Scenario:
    """What to play. `peers` start; one more joins later."""

    peers: int = 8
    orders: int = 2_000
    markets: int = 3
    seed: int = 1
    link: Link = LINK


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened, so many seconds after the start."""

    at_s: float
    what: str


class Demo:
    """One run, act by act; whoever shows it reads its attributes meanwhile. Made inside trio.

    `tell` hears of each happening at once. `before_heal` is called while the partition lasts.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        tell: Callable[[Happening], None] = lambda _: None,
        before_heal: Callable[[Demo], None] = lambda _: None,
    ) -> None:
        assert LEAST_PEERS <= scenario.peers <= MOST_PEERS
        assert 1 <= scenario.markets <= len(MARKETS)
        random = SeededRandom(scenario.seed)
        genesis = Genesis("gossipbook demo", markets=MARKETS[: scenario.markets])
        trading = Trading(
            genesis, random.child("trading"), orders=scenario.orders, reserved=FORK_ORDERS
        )
        network = MemoryNetwork(seed=scenario.seed, link=scenario.link)
        self.scenario = scenario
        self.genesis = genesis
        self.trading = trading
        self.network = network
        self.story: list[Happening] = []
        self._world = World(genesis, network, trading, random, self._tell)
        self.peers = [DemoPeer(self._world, name) for name in NAMES[: scenario.peers]]
        self.peers[0].tells_of_links = True
        self.backup: DemoPeer | None = None
        """The old store that is started under a key in use, while it runs."""
        self.cheated: DemoPeer | None = None
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
    def correct(self) -> list[DemoPeer]:
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
            await self._partition_and_heal()
            await self._join()
            await self._kill_and_restart()
            await self._start_a_backup()
            await self.trading.until(100)
            self._tell(f"{self.trading.placed:,} orders are placed; trading stops, gossip goes on")
            ending = await self._judge()
            self._nursery.cancel_scope.cancel()
        return ending

    # ---------------------------------------------------------------- the acts

    async def _open_the_markets(self) -> None:
        low_ms, high_ms = [round(bound_s * 1000) for bound_s in self.scenario.link.latency]
        symbols = _listing([market.symbol for market in self.genesis.markets])
        self._tell(
            f"{len(self.peers)} peers start; links take {low_ms} to {high_ms} ms and lose "
            f"{self.scenario.link.loss:.0%} of the messages; everybody trades {symbols}"
        )
        for index, one in enumerate(self.peers):
            await self._start(one, self.peers[:index], alone=True)

    async def _partition_and_heal(self) -> None:
        cut = self.peers[-max(1, 3 * len(self.peers) // 8) :]
        self.network.partition([one.name for one in cut])
        for one in cut:
            one.activity = "cut off"
        names = _listing([one.name for one in cut])
        self._tell(
            f"{names} {'is' if len(cut) == 1 else 'are'} cut off from the rest; "
            "both sides go on trading"
        )
        await self.trading.until(30)
        outside, inside = self.peers[0], cut[-1]
        symbol = self.genesis.markets[0].symbol
        quotes = [f"{_quote(_running(one), symbol)} at {one.name}" for one in (outside, inside)]
        self._tell(f"{symbol} is {quotes[0]}, but {quotes[1]}")
        await self.trading.until(36)
        self._before_heal(self)
        counts = [_running(one).entry_count for one in (outside, inside)]
        self.network.heal()
        for one in cut:
            one.activity = ""
        self._tell(f"the partition heals; its sides know {counts[0]:,} and {counts[1]:,} entries")
        self._watch(self.peers, "everybody knows what both sides wrote")
        await self.trading.until(48)

    async def _join(self) -> None:
        newcomer = DemoPeer(self._world, NAMES[len(self.peers)])
        others = list(self.peers)
        self.peers.append(newcomer)
        self.counterpart = newcomer
        self._tell(f"{newcomer.name} joins with an empty store; nobody waits for it")
        newcomer.activity = "joining"
        await self._start(newcomer, others)
        self._watch([newcomer], f"{newcomer.name} knows what the others knew")
        await self.trading.until(58)

    async def _kill_and_restart(self) -> None:
        victim = self.counterpart = self.peers[1]
        await victim.kill()
        self._tell(f"{victim.name} is killed without a goodbye; its store stays")
        await self.trading.until(70)
        victim.activity = "catching up"
        self._tell(
            f"{victim.name} starts again with {len(victim.store):,} entries in its store; "
            "it signs nothing before others confirm where its log ends"
        )
        await self._start(victim, [one for one in self.peers if one is not victim])
        self._watch([victim], f"{victim.name} knows what it missed")

    async def _start_a_backup(self) -> None:
        original = self.counterpart = self.peers[2]
        store = original.store.copy()
        self._tell(f"{original.name}'s store is backed up")
        await self.trading.place_reserved(original.name, _running(original))
        await self.trading.until(82)
        self.cheated = original
        name = f"{original.name}'s backup"
        self.backup = DemoPeer(self._world, name, keypair=original.keypair, store=store)
        self._tell(f"the backup is started under the same key while {original.name} is running")
        others = [one for one in self.peers if one is not original]
        assert self._nursery is not None
        self._nursery.start_soon(self._watch_proof, self.backup, trio.current_time())
        await self._start(self.backup, others, alone=True, reserved_order=True)

    async def _watch_proof(self, backup: DemoPeer, started_s: float) -> None:
        """Tell who holds the proof of the fork first, and when all do; then stop the backup."""
        async with trio.open_nursery() as nursery:
            first = trio.Event()
            for one in self.correct:
                nursery.start_soon(self._wait_for_proof, one, first)
        took_s = trio.current_time() - started_s
        self._tell(f"all {len(self.correct)} correct peers hold the proof, {took_s:.2f} s later")
        await backup.kill()
        self.backup = None

    async def _wait_for_proof(self, one: DemoPeer, first: trio.Event) -> None:
        await one.proven.wait()
        if not first.is_set():
            first.set()
            proof = _running(one).proofs()[0]
            assert self.cheated is not None
            self._tell(
                f"{one.name} holds two entries that {self.cheated.name} signed as number "
                f"{proof.seq}, and passes the proof on; from there on her entries count no more"
            )

    # ---------------------------------------------------------------- the judgement

    async def _judge(self) -> Ending:
        correct = {one.name: _running(one) for one in self.correct}
        stopped_s = trio.current_time()
        with trio.move_on_after(CONVERGENCE_DEADLINE_S) as patience:
            await _until_equal_and_proven(list(correct.values()))
        converged_after_s = trio.current_time() - stopped_s
        if patience.cancelled_caught:
            failure = (
                f"the correct peers are not equal {CONVERGENCE_DEADLINE_S:.0f} s after the last "
                "order:\n" + describe(correct)
            )
        else:
            failure = find_fault(correct) or self._divergence()
        if not failure:
            self._tell(f"all {len(correct)} correct peers agree")
        return self._ending(failure, converged_after_s)

    def _divergence(self) -> str:
        """Whether a peer took another's memory, or its own, for wrong; nobody had reason to."""
        for one in self.correct:
            for divergence in one.divergences:
                return f"{one.name} reported {divergence}"
        return ""

    def _ending(self, failure: str, converged_after_s: float) -> Ending:
        counters = self.network.counters
        return Ending(
            failure=failure,
            orders=self.trading.placed,
            converged_after_s=round(converged_after_s, 3),
            elapsed_s=round(self.elapsed_s, 3),
            peers=tuple(
                [
                    PeerLine.of(
                        one.name, one.peer, correct=one is not self.cheated, busted=one.busted
                    )
                    for one in self.peers
                    if one.peer is not None
                ]
            ),
            messages=counters.messages,
            messages_lost=counters.messages_lost + counters.messages_cut,
            message_bytes=counters.message_bytes,
            undone_commands=sum(one.undone_commands for one in self.correct),
        )

    # ---------------------------------------------------------------- helpers

    async def _start(
        self,
        one: DemoPeer,
        others: Iterable[DemoPeer],
        *,
        alone: bool = False,
        reserved_order: bool = False,
    ) -> None:
        assert self._nursery is not None
        contacts = [other.name for other in others]

        async def live(task_status: trio.TaskStatus[None]) -> None:
            await one.live(
                contacts, alone=alone, reserved_order=reserved_order, task_status=task_status
            )

        await self._nursery.start(live)

    def _watch(self, peers: list[DemoPeer], words: str) -> None:
        """Tell when these peers hold every entry that anybody holds now, and how many trades that
        busted. Nobody waits for it."""
        assert self._nursery is not None
        self._nursery.start_soon(self._tell_when_level, peers, _lengths(self.peers), words)

    async def _tell_when_level(
        self, peers: list[DemoPeer], lengths: dict[PeerId, int], words: str
    ) -> None:
        since_s, busted = trio.current_time(), sum(one.busted for one in peers)
        while not all(one.peer is not None and _holds(one.peer, lengths) for one in peers):
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


async def _until_equal_and_proven(peers: list[Peer]) -> None:
    while True:
        await wait_until_equal(peers)
        if all(peer.proofs() for peer in peers):
            return
        await trio.sleep(WATCH_S)  # the fork has not come out yet


def _lengths(peers: Iterable[DemoPeer]) -> dict[PeerId, int]:
    """The greatest length of each author's log that anybody holds."""
    lengths: dict[PeerId, int] = {}
    for one in peers:
        if one.peer is not None:
            for head in one.peer.replica.frontier.heads():
                lengths[head.author] = max(head.length, lengths.get(head.author, 0))
    return lengths


def _holds(peer: Peer, lengths: dict[PeerId, int]) -> bool:
    heads = [(peer.replica.head(author), length) for author, length in lengths.items()]
    return all(head.length >= length or head.k is not None for head, length in heads)


def _quote(peer: Peer, symbol: str) -> str:
    """The best bid and ask of a market."""
    book = peer.book(symbol)
    prices = [None if one is None else one.price for one in (book.best_bid, book.best_ask)]
    return " to ".join("nothing" if price is None else f"{price:,}" for price in prices)


def _running(one: DemoPeer) -> Peer:
    assert one.peer is not None, f"{one.name} is down"
    return one.peer


def _listing(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
