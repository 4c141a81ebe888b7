"""Hypothesis strategies: orders, flows of orders, and schedules of overlapping faults.

``orders`` and ``flows`` draw what traders do, ``fault_schedules`` what the world does to them
meanwhile, and ``run_schedule`` plays a schedule in a ``Cluster`` until all is calm and equal
again. ``ClusterMachine`` is a state machine to subclass with invariants of your own.

A schedule is a plain value, drawn one step at a time: whatever fails shrinks to the fewest and
simplest steps, and its repr can be pasted into a test. Its faults overlap: none ends before
``min_faults`` of them have begun. This is the only module that needs Hypothesis (extra
``testing``); it decides what is tried, never what is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

try:
    from hypothesis import note
    from hypothesis import strategies as st
    from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
except ImportError as error:
    raise ImportError(
        "gossipbook.sim.strategies needs Hypothesis, which is not installed; "
        "the extra brings it: pip install 'gossipbook[testing]'"
    ) from error

from gossipbook.book.commands import (
    SIDES,
    CancelOrder,
    Command,
    LimitOrder,
    MarketOrder,
    OrderId,
    ReplaceOrder,
)
from gossipbook.errors import (
    ClockError,
    GossipbookError,
    IdentityForked,
    NotConverged,
    OwnHeadUnconfirmed,
)
from gossipbook.genesis import SELF_TRADE_POLICIES, Genesis, Market
from gossipbook.identity import PeerId
from gossipbook.link_model import Link
from gossipbook.log.clock import hlc_milliseconds
from gossipbook.receipts import Receipt
from gossipbook.sim import adversaries
from gossipbook.sim.checkers import check_all
from gossipbook.sim.cluster import Cluster
from gossipbook.sim.simulated_peer import SimulatedPeer

__all__ = [
    "ADVERSARIES",
    "Adversary",
    "Begin",
    "CancelNth",
    "ClockOffset",
    "ClusterMachine",
    "Corrupt",
    "Crash",
    "DiskFull",
    "End",
    "Equivocate",
    "Fault",
    "Intent",
    "Join",
    "Leave",
    "LinkQuality",
    "Partition",
    "ReplaceNth",
    "RunFor",
    "Schedule",
    "ScheduleRun",
    "Step",
    "Submit",
    "SubmitNowait",
    "fault_schedules",
    "flows",
    "links",
    "make_genesis",
    "orders",
    "run_schedule",
]

NEVER_MS = 86_400_000
"""What is dated more than a day ahead is not waited for: only a cheat dates its entries so."""

WORTH_WAITING_MS = 5_000


# ---------------------------------------------------------------- what traders do


@dataclass(frozen=True, slots=True)
class CancelNth:
    """Cancel the n-th order that this peer has placed so far (n counts round)."""

    nth: int


@dataclass(frozen=True, slots=True)
class ReplaceNth:
    """Replace the n-th order that this peer has placed so far (n counts round); in ticks, lots."""

    nth: int
    price: int | None = None
    quantity: int | None = None
    reduce_by: int | None = None


Intent: TypeAlias = LimitOrder | MarketOrder | CancelNth | ReplaceNth
"""A command, or one that says by reference which earlier order it aims at."""


def make_genesis(markets: int = 2) -> Genesis:
    """A network for schedules: so many markets, each with another self-trade rule."""
    policies = SELF_TRADE_POLICIES
    return Genesis(
        "fault schedules",
        [
            Market(f"MARKET-{index}", self_trade=policies[index % len(policies)])
            for index in range(markets)
        ],
    )


def orders(
    genesis: Genesis,
    *,
    ticks: tuple[int, int] = (97, 103),
    lots: tuple[int, int] = (1, 9),
) -> st.SearchStrategy[LimitOrder | MarketOrder]:
    """Limit and market orders in any of the markets, priced close enough to trade often.

    ``ticks`` and ``lots`` are the least and greatest price and quantity, in those units.
    """
    return st.builds(
        _make_order,
        st.sampled_from(genesis.markets),
        st.integers(0, 1),
        st.integers(*ticks),
        st.integers(*lots),
        st.sampled_from(_KINDS),
    )


_KINDS = ("gtc", "gtc", "gtc", "gtc", "gtc", "ioc", "fok", "post-only", "market")


def _make_order(
    market: Market, side: int, ticks: int, lots: int, kind: str
) -> LimitOrder | MarketOrder:
    quantity = market.lots_to_quantity(lots)
    if kind == "market":
        return MarketOrder(market.symbol, SIDES[side], quantity=quantity)
    return LimitOrder(
        market.symbol,
        SIDES[side],
        price=market.ticks_to_price(ticks),
        quantity=quantity,
        time_in_force="ioc" if kind == "ioc" else "fok" if kind == "fok" else "gtc",
        post_only=kind == "post-only",
    )


def _draw_intent(
    draw: st.DrawFn, new_orders: st.SearchStrategy[LimitOrder | MarketOrder]
) -> Intent:
    kind = draw(_INTENT_KINDS)
    if kind == "order":
        return draw(new_orders)
    nth = draw(_NTH)
    match kind:
        case "cancel":
            return CancelNth(nth)
        case "move":
            return ReplaceNth(nth, price=draw(_MOVES))
        case "resize":
            return ReplaceNth(nth, quantity=draw(_SIZES))
        case _:
            return ReplaceNth(nth, reduce_by=draw(_SIZES))


_INTENT_KINDS = st.sampled_from(("order",) * 12 + ("cancel", "move", "resize", "reduce"))
_NTH = st.integers(0, 31)
_MOVES = st.integers(97, 103)
_SIZES = st.integers(1, 9)


@st.composite
def _flow_steps(draw: st.DrawFn, genesis: Genesis, peers: int) -> tuple[int, Intent]:
    return draw(st.integers(0, peers - 1)), _draw_intent(draw, orders(genesis))


def flows(
    genesis: Genesis, *, peers: int, min_size: int = 0, max_size: int = 60
) -> st.SearchStrategy[list[tuple[int, Intent]]]:
    """Lists of (peer, command): orders, and cancels and replaces of the same peer's earlier ones.

    ``resolve`` turns the references into commands once the orders have ids.
    """
    steps = _flow_steps(genesis, peers)
    return st.lists(steps, min_size=min_size, max_size=max_size)


def resolve(
    intent: Intent, *, author: PeerId, placed: Sequence[OrderId], genesis: Genesis
) -> Command:
    """The command that an intent stands for, given the orders that the author has placed.

    Where it has placed none, a reference aims at an order id that was never issued.
    """
    if isinstance(intent, LimitOrder | MarketOrder):
        return intent
    if placed:
        target = placed[intent.nth % len(placed)]
    else:
        target = OrderId(genesis.markets[0].symbol, author, 1 << 40, 0)
    if isinstance(intent, CancelNth):
        return CancelOrder(target)
    market = genesis.markets[genesis.market_index(target.market)]
    return ReplaceOrder(
        target,
        price=None if intent.price is None else market.ticks_to_price(intent.price),
        quantity=None if intent.quantity is None else market.lots_to_quantity(intent.quantity),
        reduce_by=None if intent.reduce_by is None else market.lots_to_quantity(intent.reduce_by),
    )


# ---------------------------------------------------------------- what the world does


@dataclass(frozen=True, slots=True)
class LinkQuality:
    """Every link is like this for a while."""

    link: Link


@dataclass(frozen=True, slots=True)
class Partition:
    """The group is cut from the rest, in one direction or both."""

    group: tuple[int, ...]
    one_way: bool = False


@dataclass(frozen=True, slots=True)
class Crash:
    """Power loss with submits in flight; the restart finds its store kept, lost or stale."""

    peer: int
    in_flight: tuple[Intent, ...] = ()
    store: str = "kept"


@dataclass(frozen=True, slots=True)
class Leave:
    """The peer says goodbye, and comes back later."""

    peer: int


@dataclass(frozen=True, slots=True)
class Join:
    """A new peer joins. It stays: there is nothing to end."""


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """The machine's clock jumps by so many seconds, and back."""

    peer: int
    seconds: int


@dataclass(frozen=True, slots=True)
class DiskFull:
    """Every write of the peer fails."""

    peer: int


@dataclass(frozen=True, slots=True)
class Equivocate:
    """The peer signs several histories."""

    peer: int
    branches: int = 2


@dataclass(frozen=True, slots=True)
class Adversary:
    """The peer becomes one of ``ADVERSARIES``; when it has stopped, it still counts as a cheat."""

    peer: int
    kind: str


@dataclass(frozen=True, slots=True)
class Corrupt:
    """Memory rots: "book" or "trades" of one market. Peers mend it themselves."""

    peer: int
    market: str
    what: str = "book"


Fault: TypeAlias = (
    LinkQuality
    | Partition
    | Crash
    | Leave
    | Join
    | ClockOffset
    | DiskFull
    | Equivocate
    | Adversary
    | Corrupt
)

ADVERSARIES = ("Backdater", "FarFuture", "Forger", "Garbage")
"""The classes of ``gossipbook.sim.adversaries`` that schedules use."""

_ADVERSARY_OPTIONS: dict[str, dict[str, Any]] = {
    # Slow enough for the slow twin to follow.
    "Backdater": {"interval_s": 0.1, "commands": 2},
}


@dataclass(frozen=True, slots=True)
class Submit:
    """Submit one entry, and wait for the disk."""

    peer: int
    intents: tuple[Intent, ...]


@dataclass(frozen=True, slots=True)
class SubmitNowait:
    """Submit one entry, and do not wait."""

    peer: int
    intents: tuple[Intent, ...]


@dataclass(frozen=True, slots=True)
class RunFor:
    """Let so much simulated time pass."""

    milliseconds: int


@dataclass(frozen=True, slots=True)
class Begin:
    """A fault begins. Its number is that of the faults begun before it."""

    fault: Fault


@dataclass(frozen=True, slots=True)
class End:
    """The fault with this number ends."""

    number: int


Step: TypeAlias = Submit | SubmitNowait | RunFor | Begin | End


@dataclass(frozen=True, slots=True, repr=False)
class Schedule:
    """What happens in a cluster: how it starts, then step by step."""

    peers: int
    link: Link
    store_delay: tuple[float, float]
    verify_delay: tuple[float, float]
    steps: tuple[Step, ...]

    def __repr__(self) -> str:
        """Python to paste, after ``from gossipbook.sim.strategies import *`` and the like."""
        steps = "".join(f"        {step!r},\n" for step in self.steps)
        return (
            f"Schedule(\n    peers={self.peers},\n    link={self.link!r},\n"
            f"    store_delay={self.store_delay!r},\n    verify_delay={self.verify_delay!r},\n"
            f"    steps=(\n{steps}    ),\n)"
        )

    @property
    def order_count(self) -> int:
        """How many commands are submitted."""
        return sum(
            len(step.intents) for step in self.steps if isinstance(step, Submit | SubmitNowait)
        )

    @property
    def faults(self) -> list[Fault]:
        return [step.fault for step in self.steps if isinstance(step, Begin)]

    @property
    def overlapping_faults(self) -> int:
        """The most faults that are in force at once."""
        open_numbers: dict[int, None] = {}
        begun = most = 0
        for step in self.steps:
            if isinstance(step, Begin):
                if not isinstance(step.fault, _INSTANTANEOUS):
                    open_numbers[begun] = None
                begun += 1
            elif isinstance(step, End):
                open_numbers.pop(step.number, None)
            most = max(most, len(open_numbers))
        return most


_INSTANTANEOUS = (Join, Corrupt)


def links(*, max_loss_percent: int = 50) -> st.SearchStrategy[Link]:
    """Link qualities, from flawless to barely usable."""
    percent = st.sampled_from((0, 1, 5, 20, 40, 50))
    return st.builds(
        lambda loss, duplication, reordering, bandwidth, latency: Link(
            latency=latency,
            loss=min(loss, max_loss_percent) / 100,
            duplication=duplication / 100,
            reordering=reordering / 100,
            bandwidth=bandwidth,
        ),
        percent,
        percent,
        percent,
        st.sampled_from((None, None, None, 20_000, 4_000)),
        st.sampled_from(((0.005, 0.05), (0.001, 0.002), (0.05, 0.4))),
    )


# Weighted by repetition; the simplest stands first, so that failures shrink towards it.
_STEP_KINDS = ("submit",) * 9 + ("nowait",) * 3 + ("run",) * 5 + ("begin",) * 2 + ("end",)
MAX_PEERS_AFTER_JOINS = 7
_RUNS_MS = (10, 50, 100, 200, 500, 1_200)
_OFFSETS_S = st.sampled_from((1, -1, 30, -30, 150, -150, 600, -600))
_STORES = st.sampled_from(("kept", "kept", "stale", "lost"))
_DELAYS = ((0.0005, 0.002), (0.0005, 0.002), (0.02, 0.2))
_VERIFY_DELAYS = ((0.0, 0.0), (0.0, 0.0), (0.001, 0.1))


@dataclass(slots=True)
class _World:
    """What the strategy has to remember while it draws: who is up, and what is in force."""

    count: int
    down: dict[int, None] = field(default_factory=dict)
    cheating: dict[int, None] = field(default_factory=dict)
    open_faults: dict[int, Fault] = field(default_factory=dict)
    begun: int = 0

    @property
    def up(self) -> list[int]:
        return [peer for peer in range(self.count) if peer not in self.down]

    @property
    def honest(self) -> list[int]:
        return [peer for peer in range(self.count) if peer not in self.cheating]

    def has(self, kind: type[Any], peer: int | None = None) -> bool:
        return any(
            isinstance(fault, kind) and (peer is None or getattr(fault, "peer", None) == peer)
            for fault in self.open_faults.values()
        )

    def begin(self, fault: Fault) -> None:
        if isinstance(fault, Join):
            self.count += 1
        elif isinstance(fault, Crash | Leave):
            self.down[fault.peer] = None
        elif isinstance(fault, Equivocate | Adversary):
            self.cheating[fault.peer] = None
        if not isinstance(fault, _INSTANTANEOUS):
            self.open_faults[self.begun] = fault
        self.begun += 1

    def end(self, number: int) -> None:
        fault = self.open_faults.pop(number)
        if isinstance(fault, Crash | Leave):
            self.down.pop(fault.peer)


@st.composite
def fault_schedules(
    draw: st.DrawFn,
    *,
    min_peers: int = 3,
    max_peers: int = 5,
    markets: int = 2,
    min_orders: int = 30,
    min_faults: int = 3,
    genesis: Genesis | None = None,
) -> Schedule:
    """Schedules of at least so many orders and so many faults in force at once.

    ``genesis``: of which network the orders are; that of ``make_genesis(markets)`` where none is
    given. The faults: loss to 50 %, duplication, reordering, low bandwidth, partitions in one and
    both directions, joins, leaves, crashes with submits in flight, lost and stale stores, clocks
    minutes off, slow and full disks, slow signature checks, rotten memory, and up to all but one
    peer cheating.
    """
    genesis = genesis or make_genesis(markets)
    world = _World(draw(st.integers(min_peers, max_peers)))
    peers = world.count
    link = draw(links(max_loss_percent=20))
    store_delay = draw(st.sampled_from(_DELAYS))
    verify_delay = draw(st.sampled_from(_VERIFY_DELAYS))
    new_orders = orders(genesis)
    steps: list[Step] = []
    ordered = peak = 0
    while ordered < min_orders or peak < min_faults:
        kind = draw(st.sampled_from(_STEP_KINDS))
        if peak < min_faults and (3 * ordered >= min_orders or not world.up):
            kind = "begin"
        elif kind == "end" and (peak < min_faults or not world.open_faults):
            kind = "submit"
        if kind == "begin" and world.begun >= 3 * min_faults + 3 and peak >= min_faults:
            kind = "submit"
        if not world.up and kind in ("submit", "nowait"):
            kind = "end"
        match kind:
            case "submit" | "nowait":
                peer = draw(st.sampled_from(world.up))
                size = draw(st.sampled_from((1, 1, 1, 2, 3)))
                batch = tuple([_draw_intent(draw, new_orders) for _ in range(size)])
                ordered += size
                steps.append(Submit(peer, batch) if kind == "submit" else SubmitNowait(peer, batch))
            case "run":
                steps.append(RunFor(draw(st.sampled_from(_RUNS_MS))))
            case "end":
                number = draw(st.sampled_from(list(world.open_faults)))
                world.end(number)
                steps.append(End(number))
            case _:
                fault = _draw_fault(draw, world, genesis, new_orders)
                world.begin(fault)
                steps.append(Begin(fault))
                peak = max(peak, len(world.open_faults))
    return Schedule(peers, link, store_delay, verify_delay, tuple(steps))


def _draw_fault(
    draw: st.DrawFn,
    world: _World,
    genesis: Genesis,
    new_orders: st.SearchStrategy[LimitOrder | MarketOrder],
) -> Fault:
    """A fault that can begin in this world."""
    everyone = range(world.count)
    free_clocks = [peer for peer in everyone if not world.has(ClockOffset, peer)]
    free_disks = [peer for peer in everyone if not world.has(DiskFull, peer)]
    candidates = [peer for peer in world.up if peer not in world.cheating]
    possible: list[type[Any]] = []
    if not world.has(LinkQuality):
        possible.append(LinkQuality)
    if not world.has(Partition):
        possible.append(Partition)
    if world.up:
        possible += (Crash, Crash, Leave)
    if free_clocks:
        possible.append(ClockOffset)
    if free_disks:
        possible.append(DiskFull)
    if len(world.honest) > 1 and candidates:
        possible += (Equivocate, Adversary, Corrupt)
    if world.count < MAX_PEERS_AFTER_JOINS:
        possible.append(Join)
    kind = draw(st.sampled_from(possible))
    if kind is LinkQuality:
        return LinkQuality(draw(links()))
    if kind is Partition:
        members = st.sampled_from(everyone)
        group = draw(st.lists(members, min_size=1, max_size=world.count - 1, unique=True))
        return Partition(tuple(sorted(group)), draw(st.booleans()))
    if kind is Crash:
        flying = range(draw(st.integers(0, 2)))
        in_flight = tuple([_draw_intent(draw, new_orders) for _ in flying])
        return Crash(draw(st.sampled_from(world.up)), in_flight, draw(_STORES))
    if kind is Leave:
        return Leave(draw(st.sampled_from(world.up)))
    if kind is ClockOffset:
        return ClockOffset(draw(st.sampled_from(free_clocks)), draw(_OFFSETS_S))
    if kind is DiskFull:
        return DiskFull(draw(st.sampled_from(free_disks)))
    if kind is Equivocate:
        return Equivocate(draw(st.sampled_from(candidates)), draw(st.integers(2, 3)))
    if kind is Adversary:
        return Adversary(draw(st.sampled_from(candidates)), draw(st.sampled_from(ADVERSARIES)))
    if kind is Corrupt:
        market = draw(st.sampled_from(genesis.markets))
        what = draw(st.sampled_from(("book", "trades")))
        return Corrupt(draw(st.sampled_from(candidates)), market.symbol, what)
    return Join()


# ---------------------------------------------------------------- playing a schedule


class ScheduleRun:
    """One schedule being played in a cluster.

    ``tally`` counts what the faults did, over all lives of all peers; ``placed`` are the orders by
    peer; ``rolled_back`` tells, of each author whose store was lost or put back, the length of its
    own log in what was left: entries from there on may be gone for good.
    """

    cluster_type: ClassVar[type[Cluster]] = Cluster

    def __init__(self, schedule: Schedule, genesis: Genesis, seed: int) -> None:
        self.schedule = schedule
        self.genesis = genesis
        self.cluster = self.cluster_type(
            genesis,
            peers=schedule.peers,
            seed=seed,
            link=schedule.link,
            store_delay=schedule.store_delay,
            verify_delay=schedule.verify_delay,
        )
        self.placed: dict[int, list[OrderId]] = {}
        self.rolled_back: dict[PeerId, int] = {}
        self.tally: dict[str, int] = dict.fromkeys(
            ("undone", "held back", "audits", "rebuilt", "refused", "throttled"), 0
        )
        self.corrupted: dict[int, list[str]] = {}
        """What rotted in whose memory."""
        self._begun: list[Fault] = []
        self._open: dict[int, Fault] = {}
        self._adversaries: dict[int, adversaries.Adversary] = {}
        self._receipts_seen = 0

    def play(self) -> Cluster:
        """All steps, then calm. Raises NotConverged, with the transcript."""
        self.play_steps()
        self.calm()
        return self.cluster

    def play_steps(self) -> None:
        for step in self.schedule.steps:
            match step:
                case Submit(peer, intents):
                    self._submit(peer, intents, wait=True)
                case SubmitNowait(peer, intents):
                    self._submit(peer, intents, wait=False)
                case RunFor(milliseconds):
                    self.cluster.run_for(milliseconds / 1000)
                case Begin(fault):
                    self._begin(fault)
                case End(number):
                    self._end(number)

    def calm(self, *, deadline: float = 240.0) -> None:
        """End every fault, mend the links, set the clocks right, and wait until all are equal."""
        cluster = self.cluster
        for number in list(self._open):
            self._end(number)
        cluster.heal()
        cluster.set_link(Link())
        self._set_clocks_forward()
        self._converge(deadline)
        self._set_clocks_forward()  # for what was on its way to a disk, too
        self._wait_for_held_entries()
        if self.corrupted:
            self._wait_for_healing()
        self._converge(deadline)
        for peer in cluster.peers:
            self._count(peer)

    # ------------------------------------------------------------ steps

    def _submit(self, index: int, intents: Sequence[Intent], *, wait: bool) -> None:
        peer = self.cluster.peers[index]
        if not peer.alive:
            return
        self._note_receipts()
        placed = self.placed.get(index, [])
        commands = [
            resolve(intent, author=peer.peer_id, placed=placed, genesis=self.genesis)
            for intent in intents
        ]
        if not wait:
            self.cluster.submit_nowait(index, commands)
            return
        try:
            self.cluster.submit(index, commands)
        except (IdentityForked, ClockError, OwnHeadUnconfirmed):
            self.tally["refused"] += 1
        except GossipbookError:
            if not peer.store.failing:
                raise
            self.tally["refused"] += 1

    def _note_receipts(self) -> None:
        receipts = self.cluster.receipts
        indices = {peer.peer_id: peer.index for peer in self.cluster.peers}
        for receipt in receipts[self._receipts_seen :]:
            if receipt.order_id == receipt.command_id:
                index = indices[receipt.order_id.author]
                self.placed.setdefault(index, []).append(receipt.order_id)
        self._receipts_seen = len(receipts)

    def _begin(self, fault: Fault) -> None:
        number = len(self._begun)
        self._begun.append(fault)
        if not isinstance(fault, _INSTANTANEOUS):
            self._open[number] = fault
        cluster = self.cluster
        match fault:
            case LinkQuality(link):
                cluster.set_link(link)
            case Partition(group, one_way):
                cluster.partition(group, one_way=one_way)
            case Crash(peer, in_flight, _):
                if in_flight:
                    self._submit(peer, in_flight, wait=False)
                self._count(cluster.peers[peer])
                cluster.crash(peer)
            case Leave(peer):
                self._count(cluster.peers[peer])
                cluster.leave(peer)
            case Join():
                cluster.join()
            case ClockOffset(peer, seconds):
                cluster.set_clock_offset(peer, seconds)
            case DiskFull(peer):
                cluster.set_store_failing(peer, True)
            case Equivocate(peer, branches):
                cluster.equivocate(peer, branches)
            case Adversary(peer, kind):
                adversary: adversaries.Adversary = getattr(adversaries, kind)(
                    cluster, peer, **_ADVERSARY_OPTIONS.get(kind, {})
                )
                self._adversaries[number] = adversary
                adversary.begin()
            case Corrupt(peer, market, what):
                if cluster.peers[peer].alive:
                    changed = cluster.corrupt(peer, market, what)
                    if changed:
                        self.corrupted.setdefault(peer, []).append(changed)

    def _end(self, number: int) -> None:
        cluster = self.cluster
        match self._open.pop(number):
            case LinkQuality():
                cluster.set_link(self.schedule.link)
            case Partition():
                cluster.heal()
            case Crash(peer, _, store):
                self._restart(peer, store)
            case Leave(peer):
                self._restart(peer, "kept")
            case ClockOffset(peer, _):
                cluster.set_clock_offset(peer, 0)
            case DiskFull(peer):
                cluster.set_store_failing(peer, False)
            case Adversary():
                self._adversaries.pop(number).stop()
            case _:
                pass

    def _restart(self, index: int, store: str) -> None:
        peer = self.cluster.peers[index]
        if peer.alive:
            return
        self.cluster.restart(index, store)
        if store != "kept":
            own = sum(entry.author == peer.peer_id for entry in peer.store.entries)
            self.rolled_back[peer.peer_id] = min(own, self.rolled_back.get(peer.peer_id, own))

    # ------------------------------------------------------------ afterwards

    def _converge(self, deadline: float) -> None:
        try:
            self.cluster.run_until_converged(deadline)
        except NotConverged as error:
            raise NotConverged(f"{error}\n\n{self.cluster.transcript()}") from None

    def _set_clocks_forward(self) -> None:
        """Where entries are dated far ahead, set all clocks forward together instead of waiting.

        Who wrote them while its clock was wrong has applied them; the others hold them back.
        """
        cluster = self.cluster
        running = [peer for peer in cluster.peers if peer.alive]
        ahead_ms = self._longest_wait_ms(running)
        offset_us = running[0].clock_offset_us
        if ahead_ms - offset_us // 1000 > WORTH_WAITING_MS:
            # Pongs under way show the clocks of before: leave room for the greatest correction.
            for peer in cluster.peers:
                cluster.set_clock_offset(peer.index, ahead_ms // 1000 + 120)

    def _wait_for_held_entries(self) -> None:
        """Equal peers may hold the same entries back; see them applied, too."""
        cluster = self.cluster
        for _ in range(120):
            never_ms = (cluster.epoch_us + cluster.now_us) // 1000 + NEVER_MS
            due_ms = [peer.replica.next_release_ms for peer in cluster.correct_peers]
            if all(one is None or one > never_ms for one in due_ms):
                break
            cluster.run_for(0.5)

    def _longest_wait_ms(self, peers: list[SimulatedPeer]) -> int:
        """Until the last of the peers' entries is due by a right clock."""
        now_ms = (self.cluster.epoch_us + self.cluster.now_us) // 1000
        waits_ms = [
            hlc_milliseconds(entry.effective_hlc) - now_ms
            for peer in peers
            for entry in peer.replica.merged_entries()
        ]
        return max([wait_ms for wait_ms in waits_ms if wait_ms < NEVER_MS], default=0)

    def _wait_for_healing(self) -> None:
        """Rotten memory shows at a cut, which is compared when it is 2 s old.

        Cheats count here: what they signed was false, but their memory is sound.
        """
        for _ in range(120):
            self.cluster.run_for(1.0)
            peers = [peer for peer in self.cluster.peers if peer.alive]
            if all(self._agree(peer, peers[0]) for peer in peers[1:]):
                return

    def _agree(self, peer: SimulatedPeer, other: SimulatedPeer) -> bool:
        return all(
            peer.book(market.symbol).orders == other.book(market.symbol).orders
            and peer.trades(market.symbol) == other.trades(market.symbol)
            for market in self.genesis.markets
        )

    def _count(self, peer: SimulatedPeer) -> None:
        """Note what one life of a peer went through."""
        if peer.alive:
            replica, statistics = peer.replica, peer.running.statistics
            self.tally["undone"] += replica.undone_count
            self.tally["held back"] += replica.held_back_count
            self.tally["rebuilt"] += replica.rebuilt_count
            self.tally["audits"] += statistics.audits
            self.tally["throttled"] += statistics.throttled_requests


def run_schedule(schedule: Schedule, genesis: Genesis, seed: int = 0) -> Cluster:
    """Play a schedule, end its faults, and wait until all correct peers are equal.

    ``genesis`` must be the one whose orders the schedule holds. Returns the converged cluster.
    Raises NotConverged with what differs and the cluster's transcript.
    """
    return ScheduleRun(schedule, genesis, seed).play()


# ---------------------------------------------------------------- a machine to build on


class ClusterMachine(RuleBasedStateMachine):
    """A cluster that Hypothesis drives: subclass it and add ``@invariant`` methods.

    Invariants see ``self.cluster`` after each step and must hold in the midst of any fault. In
    the end partitions heal, peers restart, the cluster converges and ``check_all`` runs.
    For pytest: ``TestMine = Mine.TestCase``.
    """

    genesis: ClassVar[Genesis] = make_genesis()
    peer_count: ClassVar[int] = 3
    link: ClassVar[Link] = Link(loss=0.1)
    seed: ClassVar[int] = 0
    deadline: ClassVar[float] = 120.0
    """Simulated seconds in which the cluster has to converge in the end."""
    cluster_type: ClassVar[type[Cluster]] = Cluster

    def __init__(self) -> None:
        super().__init__()
        self.cluster = self.cluster_type(
            self.genesis, peers=self.peer_count, seed=self.seed, link=self.link
        )
        self.cluster.run_for(0.5)
        self.receipts: list[Receipt] = []
        """The orders placed so far, by all peers."""

    @rule(data=st.data(), which=st.integers(0, 63))
    def submit(self, data: st.DataObject, which: int) -> None:
        peer = self._some_peer_up(which)
        if peer is not None:
            order = data.draw(orders(self.genesis), label="order")
            receipt = self._submit(peer, order)
            if receipt is not None:
                self.receipts.append(receipt)

    @precondition(lambda self: self.receipts)
    @rule(which=st.integers(0, 63))
    def cancel(self, which: int) -> None:
        self._amend(which, lambda order_id: CancelOrder(order_id))

    @precondition(lambda self: self.receipts)
    @rule(which=st.integers(0, 63), quantity=st.integers(1, 9))
    def replace(self, which: int, quantity: int) -> None:
        markets = {market.symbol: market for market in self.genesis.markets}
        self._amend(
            which,
            lambda order_id: ReplaceOrder(
                order_id, quantity=markets[order_id.market].lots_to_quantity(quantity)
            ),
        )

    @rule(milliseconds=st.integers(1, 1_500))
    def run(self, milliseconds: int) -> None:
        self.cluster.run_for(milliseconds / 1000)

    @rule(which=st.integers(0, 63), one_way=st.booleans())
    def partition(self, which: int, one_way: bool) -> None:
        self.cluster.partition({which % self.peer_count}, one_way=one_way)

    @rule()
    def heal(self) -> None:
        self.cluster.heal()

    @rule(which=st.integers(0, 63))
    def crash(self, which: int) -> None:
        peer = self._some_peer_up(which)
        if peer is not None:
            self.cluster.crash(peer.index)

    @precondition(lambda self: any(not peer.alive for peer in self.cluster.peers))
    @rule(which=st.integers(0, 63))
    def restart(self, which: int) -> None:
        down = [peer for peer in self.cluster.peers if not peer.alive]
        self.cluster.restart(down[which % len(down)].index)

    def teardown(self) -> None:
        self.cluster.heal()
        for peer in self.cluster.peers:
            if not peer.alive:
                self.cluster.restart(peer.index)
        try:
            self.cluster.run_until_converged(self.deadline)
            check_all(self.cluster)
        except Exception:
            note(self.cluster.transcript())
            raise

    def _some_peer_up(self, which: int) -> SimulatedPeer | None:
        up = [peer for peer in self.cluster.peers if peer.alive]
        return up[which % len(up)] if up else None

    def _amend(self, which: int, make: Any) -> None:
        order_id = self.receipts[which % len(self.receipts)].order_id
        for peer in self.cluster.peers:
            if peer.peer_id == order_id.author and peer.alive:
                self._submit(peer, make(order_id))

    def _submit(self, peer: SimulatedPeer, command: Command) -> Receipt | None:
        try:
            receipt: Receipt = self.cluster.submit(peer.index, command)
        except (ClockError, OwnHeadUnconfirmed):  # after a restart: nobody has confirmed yet
            return None
        return receipt
