"""One peer's whole state: every log, the merge order, the engines and the roots.

``Replica`` is what a peer believes. Entries go in, in any order and with their signatures
checked; books, trades, digests and net changes come out. Its promise is convergence: two
replicas that were given the same set of entries answer every question alike. It decides when a
held-back entry is due, how far a market is undone, when an expensive replay has to wait, and how
a market is rebuilt. It knows nothing of peers, links, disks or clocks; time is an argument.

The way of an entry::

    add ---> AuthorLog --connected--> held until its time --due--> MergeOrder of each market
                 |                                                      |
             Frontier, Cuts                                 settle: undo k, apply k + 1
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import NamedTuple

from gossipbook.book.commands import OrderId
from gossipbook.book.digest import MarketDigest, book_root
from gossipbook.book.events import Event, OrderStatus, Trade, net_change
from gossipbook.book.level import Key
from gossipbook.book.matching import MatchingEngine
from gossipbook.book.order_book import Book
from gossipbook.book.payload import Instruction, decode_payload
from gossipbook.book.reports import CommandRecord
from gossipbook.errors import EncodingError, InvalidEntry
from gossipbook.genesis import Genesis, Market
from gossipbook.histogram import Histogram
from gossipbook.identity import PeerId, short
from gossipbook.log.author_log import AuthorLog, Offered
from gossipbook.log.clock import DEFAULT_TOLERANCE_MS, LogicalClock, hlc_at, hlc_second
from gossipbook.log.entry import NO_ENTRY, Entry, EntryId, MergeKey
from gossipbook.log.fork import ForkProof
from gossipbook.log.frontier import Cuts, Frontier, Head
from gossipbook.log.merge import MergeOrder
from gossipbook.randomness import SeededRandom

REPLAY_COST_US = 2
"""What undoing and replaying one command is reckoned to cost; fixed, so the simulator agrees."""

REPLAY_PAUSE_FACTOR = 3
"""An expensive replay is followed by a pause of so many times its cost: at most a quarter of
one core goes into the replays that backdated entries cause."""

SCRUBBED_LEVELS_PER_CUT = 16
"""Price levels hashed again at each cut although nothing touched them: memory may rot."""

UNDO_DEPTHS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 10_000, 100_000, 1_000_000)
"""Bounds of the histogram of undos, in commands."""


_NEVER = 1 << 62  # a second that no clock reaches: nothing is noted

_KeyedCommands = tuple[tuple[Key, Instruction], ...]
_Decoded = tuple[tuple[int, _KeyedCommands], ...]
"""An entry's commands by market index, in order, each with the key of the command."""


@dataclass(frozen=True, slots=True)
class ReplicaSettings:
    """Numbers that change what a replica costs, never what it answers once it is settled."""

    tolerance_ms: int = DEFAULT_TOLERANCE_MS
    undo_window: int = 65_536
    snapshot_interval: int = 32_768
    free_undo: int = 1_024
    """Undoing up to so many commands is not paced."""
    cuts_kept: int = 64
    cut_delay_s: int = 2


@dataclass(frozen=True, slots=True)
class Update:
    """The net change of one settling: take back ``undone``, add ``events``.

    What stayed the same is in neither. ``position`` is the index, in the market's merge order, of
    the first command undone or applied: what came before it stands untouched.
    """

    market: str
    position: int
    undone: tuple[Event, ...]
    events: tuple[Event, ...]


class Added(NamedTuple):
    """What came of adding entries or proofs."""

    entries: list[Entry]  # connected now
    proofs: list[ForkProof]  # new evidence
    invalid: InvalidEntry | None = None  # why an entry can never belong to the set


class Cut(NamedTuple):
    """Roots at a whole second T of the timestamps; ``second`` is T, since 1970."""

    second: int
    frontier_root: bytes
    book_root: bytes


@dataclass(slots=True)
class _MarketState:
    market: Market
    index: int
    engine: MatchingEngine
    order: MergeOrder = field(default_factory=MergeOrder)
    noted: dict[int, MarketDigest] = field(default_factory=dict)  # by second
    replay_not_before_us: int = 0


class Replica:
    """Logs, merge order, engines and roots of one peer."""

    def __init__(self, genesis: Genesis, settings: ReplicaSettings | None = None) -> None:
        self.genesis = genesis
        self.settings = settings or ReplicaSettings()
        self.clock = LogicalClock()
        self.logs: dict[PeerId, AuthorLog] = {}
        self.frontier = Frontier()
        self.cuts = Cuts(self._head_below, kept=self.settings.cuts_kept)
        self.watched = False
        """Whether settling reports net changes (and counts busted trades): somebody reads them."""
        self.busted_count = 0
        self.undos = Histogram(UNDO_DEPTHS)
        """How many commands each settling took back, of those that took back any."""
        self.latest_undo = 0
        """How many commands the latest settling of a market took back."""
        self.entry_count = 0
        self.held_back_count = 0
        self.rebuilt_count = 0
        self._faults: list[tuple[str, str]] = []
        self._scrubbed_second: int | None = None
        self._markets = [
            _MarketState(market, index, self._new_engine(market))
            for index, market in enumerate(genesis.markets)
        ]
        self._by_symbol = {state.market.symbol: state for state in self._markets}
        self.unsettled_commands = 0
        """How many commands have come in since the last settling."""
        self._dirty: dict[int, None] = {}  # market indices with something to settle
        self._held: list[tuple[MergeKey, Entry]] = []

    # ---------------------------------------------------------------- what goes in

    def add(self, entries: Iterable[Entry], *, local_ms: int) -> Added:
        """Take verified entries of any authors, in any order. Nothing is matched yet.

        An entry that can never belong to the set is left out, and the result says why.
        """
        result = Added([], [])
        limit = hlc_at(local_ms + self.settings.tolerance_ms)
        invalid: InvalidEntry | None = None
        for entry in entries:
            try:
                offered = self._log(entry.author).offer(entry)
            except InvalidEntry as error:
                invalid = error
                continue
            if not offered.duplicate:
                self._take(entry.author, offered, result, limit)
        return result if invalid is None else result._replace(invalid=invalid)

    def add_proof(self, proof: ForkProof, *, local_ms: int) -> Added:
        """Take a checked fork proof. Raises InvalidEntry where its author may not write."""
        result = Added([], [])
        limit = hlc_at(local_ms + self.settings.tolerance_ms)
        self._take(proof.author, self._log(proof.author).convict(proof), result, limit)
        return result

    def may_write(self, author: PeerId) -> bool:
        return self.genesis.is_member(author)

    def release(self, local_ms: int) -> None:
        """Hand the entries whose time has come to the merge."""
        limit = hlc_at(local_ms + self.settings.tolerance_ms)
        while self._held and self._held[0][0][0] <= limit:
            _, entry = heappop(self._held)
            if self.logs[entry.author].holds(entry):
                self._merge(entry)

    @property
    def next_release_ms(self) -> int | None:
        """The local time at which the next held-back entry is due, or None."""
        if not self._held:
            return None
        return (self._held[0][0][0] >> 16) - self.settings.tolerance_ms + 1

    @property
    def held_count(self) -> int:
        return len(self._held)

    def held_ids(self) -> frozenset[EntryId]:
        """The entries that wait for their time: dated in the future, not applied yet."""
        return frozenset(entry.id for _, entry in self._held)

    # ---------------------------------------------------------------- settling

    @property
    def needs_settling(self) -> bool:
        return bool(self._dirty)

    def settle(self, *, now_us: int, local_ms: int) -> list[Update]:
        """Undo to the mark and replay, once per market that changed.

        ``now_us`` is monotonic. A market whose replay would be expensive waits, with what else
        comes in for it, until its pause is over; ``next_settle_us`` tells when.
        """
        updates = []
        self.unsettled_commands = 0
        for index in list(self._dirty):
            state = self._markets[index]
            if now_us < self._earliest_settle_us(state):
                continue
            del self._dirty[index]
            try:
                update = self._settle_market(state, now_us=now_us, local_ms=local_ms)
            except Exception as error:
                # The engine's own state is damaged (its inputs are validated): read it all again.
                self._faults.append((state.market.symbol, f"{type(error).__name__}: {error}"))
                update = self._rebuild(state)
            if update is not None:
                updates.append(update)
        return updates

    def take_faults(self) -> list[tuple[str, str]]:
        """(market, error) of each engine that failed and was rebuilt since the last call."""
        faults, self._faults = self._faults, []
        return faults

    def next_settle_us(self) -> int | None:
        """The monotonic time at which a waiting market may settle; None if nothing waits."""
        return min((self._earliest_settle_us(self._markets[i]) for i in self._dirty), default=None)

    def _earliest_settle_us(self, state: _MarketState) -> int:
        mark = state.order.mark
        if mark is None:
            return 0
        end = state.engine.position
        position = state.order.position_of(mark, end=end)
        cheap = end - position <= self.settings.free_undo and position >= state.engine.undo_floor
        return 0 if cheap else state.replay_not_before_us

    def _settle_market(self, state: _MarketState, *, now_us: int, local_ms: int) -> Update | None:
        engine, order = state.engine, state.order
        mark = order.mark
        if mark is None:
            return None
        end = engine.position
        position = order.position_of(mark, end=end)
        before = self._events(engine, position, end) if self.watched else []
        self._forget_digests(state, above=hlc_second(mark[0]))
        reached = engine.rewind(position)
        self.latest_undo = end - reached
        if reached < end:
            self.undos.add(end - reached)
        entries, done = order.cut(reached)
        self._apply(state, entries, done, first_cut=self._oldest_cut(local_ms))
        if end - position > self.settings.free_undo or reached < position:
            cost_us = (end - reached + engine.position - reached) * REPLAY_COST_US
            state.replay_not_before_us = now_us + REPLAY_PAUSE_FACTOR * cost_us
        return self._update(state, position, before)

    def _apply(
        self, state: _MarketState, entries: Sequence[Entry], done: int, *, first_cut: int
    ) -> None:
        engine, order = state.engine, state.order
        last = order.last_key
        next_cut = hlc_at((hlc_second(last[0]) + 1) * 1000) if last is not None else 0
        for entry in entries:
            key = _merge_key(entry)
            if key[0] >= next_cut:  # the first entry of another second
                second = hlc_second(key[0])
                if not done:  # else the engine holds some of this entry's commands already
                    self._note_crossings(state, second, first_cut)
                next_cut = hlc_at((second + 1) * 1000)
            order.append(entry, key, engine.position - done)
            commands = self._commands_in(entry, state.index)
            for command_key, command in commands[done:] if done else commands:
                engine.apply(command_key, command)
            done = 0

    def _update(self, state: _MarketState, position: int, before: Sequence[Event]) -> Update | None:
        if not self.watched:
            return None
        after = self._events(state.engine, position, state.engine.position)
        undone, events = net_change(before, after)
        self.busted_count += sum(isinstance(event, Trade) for event in undone)
        if not undone and not events:
            return None
        return Update(state.market.symbol, position, tuple(undone), tuple(events))

    def snapshot(self) -> list[Update]:
        """The whole history of each market as an update from position 0, for a new reader."""
        return [
            Update(
                state.market.symbol,
                0,
                (),
                tuple(self._events(state.engine, 0, state.engine.position)),
            )
            for state in self._markets
        ]

    # ---------------------------------------------------------------- what comes out

    def book(self, market: str) -> Book:
        return self._state(market).engine.book()

    def trades(self, market: str) -> list[Trade]:
        return self._state(market).engine.trades()

    def commands(self, market: str) -> list[CommandRecord]:
        """(command_id, command, outcome) in merge order."""
        return self._state(market).engine.commands()

    def order(self, order_id: OrderId) -> OrderStatus | None:
        """What became of an order; None where this peer has not applied it."""
        return self._state(order_id.market).engine.order(
            (order_id.author, order_id.seq, order_id.index)
        )

    def book_root(self) -> bytes:
        """One hash over all markets as they stand."""
        return book_root([state.engine.digest() for state in self._markets])

    @property
    def applied_count(self) -> int:
        """Commands applied over this replica's life, replays included."""
        return sum(state.engine.applied_count for state in self._markets)

    @property
    def undone_count(self) -> int:
        return sum(state.engine.undone_count for state in self._markets)

    def trade_count(self) -> int:
        return sum(state.engine.totals.trades for state in self._markets)

    def proofs(self) -> list[ForkProof]:
        """The evidence held, sorted by author."""
        logs = sorted(self.logs.values(), key=lambda log: log.author)
        return [log.proof for log in logs if log.proof is not None]

    def merged_entries(self) -> list[Entry]:
        """Every counting entry in merge order, those still held back included."""
        entries = [entry for log in self.logs.values() for entry in log.entries]
        return sorted(entries, key=_merge_key)

    # ---------------------------------------------------------------- cuts

    def recent_cuts(self, *, local_ms: int, count: int) -> list[Cut]:
        """Up to ``count`` latest cuts old enough to compare, ascending."""
        newest = local_ms // 1000 - self.settings.cut_delay_s
        if newest < 0:
            return []  # a clock that was never set
        if newest < max(self.cuts.seconds, default=newest) - 1:
            self._take_back_cuts(newest)
        self.cuts.advance(newest)
        if newest != self._scrubbed_second:  # not "above": clocks go back, memory rots all the same
            self._scrubbed_second = newest
            for state in self._markets:
                state.engine.scrub(SCRUBBED_LEVELS_PER_CUT)
        cuts: list[Cut] = []
        for second in self.cuts.seconds[-count:]:
            cut = self.cut_at(second)
            if cut is not None:
                cuts.append(cut)
        return cuts

    def _take_back_cuts(self, newest: int) -> None:
        """Our clock went back: cuts that lie ahead of it would keep us from comparing until it
        has caught up. Make them anew."""
        self.cuts = Cuts(self._head_below, kept=self.settings.cuts_kept)
        for state in self._markets:
            self._forget_digests(state, above=newest)
        for author, log in self.logs.items():
            self.cuts.touch(author, -1)
            for entry in reversed(log.entries):
                second = hlc_second(_merge_key(entry)[0])
                if second < newest:
                    break
                self.cuts.touch(author, second)

    def cut_at(self, second: int) -> Cut | None:
        """The roots at a cut, or None where this replica cannot tell (any more, or yet)."""
        frontier_root = self.cuts.root(second)
        if frontier_root is None:
            return None
        if self._held and hlc_second(self._held[0][0][0]) < second:
            return None  # our clock went back: the frontier holds what the books wait for
        digests = self.digests_at(second)
        return None if digests is None else Cut(second, frontier_root, book_root(digests))

    def digests_at(self, second: int) -> list[MarketDigest] | None:
        """Each market's digest over the entries below ``second``, or None where unknown (for
        any second but the cuts that are kept)."""
        if self.cuts.root(second) is None:
            return None
        digests = []
        for state in self._markets:
            digest = self._digest_at(state, second)
            if digest is None:
                return None
            digests.append(digest)
        return digests

    def _digest_at(self, state: _MarketState, second: int) -> MarketDigest | None:
        mark = state.order.mark
        if mark is not None and hlc_second(mark[0]) < second:
            return None
        noted = state.noted.get(second)
        if noted is not None:
            return noted
        last = state.order.last_key
        if last is not None and hlc_second(last[0]) >= second:
            return None
        digest = state.noted[second] = state.engine.digest()
        return digest

    def _note_crossings(self, state: _MarketState, second: int, first_cut: int) -> None:
        """Note the digest at each cut that the next entry, of ``second``, lies beyond."""
        last = state.order.last_key
        first = first_cut if last is None else max(first_cut, hlc_second(last[0]) + 1)
        first = max(first, second - 2 * self.settings.cuts_kept)  # clocks may show 1970
        for cut in range(first, second + 1):
            if cut not in state.noted:
                state.noted[cut] = state.engine.digest()

    def _oldest_cut(self, local_ms: int) -> int:
        return local_ms // 1000 - self.settings.cut_delay_s - self.settings.cuts_kept

    def _forget_digests(self, state: _MarketState, *, above: int) -> None:
        for second in [second for second in state.noted if second > above]:
            del state.noted[second]
        while len(state.noted) > 2 * self.settings.cuts_kept:
            del state.noted[min(state.noted)]

    def _head_below(self, author: PeerId, second: int) -> Head:
        log = self.logs[author]
        length = log.length_below(hlc_at(second * 1000))
        return Head(author, length, log.entries[length - 1].id if length else NO_ENTRY, log.k)

    # ---------------------------------------------------------------- audits and healing

    def start_audit(self, market_index: int, second: int) -> "Audit | None":
        """A replay, in a fresh engine, of what one market's digest at ``second`` rests on."""
        state = self._markets[market_index]
        suspect = self._digest_at(state, second)
        if suspect is None:
            return None
        entries = state.order.applied(below_hlc=hlc_at(second * 1000))
        return Audit(self, state, entries, suspect)

    def heal(self, audit: "Audit") -> Update | None:
        """Put the audit's engine in the place of the damaged one, and replay what came since."""
        state = audit.state
        damaged = state.engine
        applied = state.order.applied()
        same = 0
        while same < min(len(applied), len(audit.entries)) and applied[same] is audit.entries[same]:
            same += 1
        position = sum(len(self._commands_in(entry, state.index)) for entry in audit.entries[:same])
        reached = audit.engine.rewind(position)
        if reached != position:
            return self._rebuild(state)
        before = self._readable_events(damaged)
        for entry in state.order.restart(same):
            state.order.add(entry)
        state.engine = audit.engine
        state.noted.clear()
        entries, done = state.order.cut(position)
        self._apply(state, entries, done, first_cut=_NEVER)
        self._dirty.pop(state.index, None)
        self.rebuilt_count += 1
        return self._update(state, 0, before)

    def _rebuild(self, state: _MarketState) -> Update | None:
        before = self._readable_events(state.engine)
        held = {id(entry) for _, entry in self._held}
        entries = [
            entry
            for entry in self.merged_entries()
            if id(entry) not in held
            and any(index == state.index for index, _ in self._decoded(entry))
        ]
        state.engine = self._new_engine(state.market)
        state.order = MergeOrder()
        state.noted.clear()
        self._apply(state, entries, 0, first_cut=_NEVER)
        self._dirty.pop(state.index, None)
        self.rebuilt_count += 1
        return self._update(state, 0, before)

    def _readable_events(self, damaged: MatchingEngine) -> list[Event]:
        """What subscribers were told by a damaged engine, as far as it can still be read."""
        if not self.watched:
            return []
        try:
            return self._events(damaged, 0, damaged.position)
        except Exception:  # then its readers start anew, from position 0
            return []

    def corrupt(self, market: str, what: str, random: SeededRandom) -> str:
        """Damage a market's memory on purpose (experiments only); says what was changed."""
        return self._state(market).engine.corrupt(what, random)

    # ---------------------------------------------------------------- helpers

    def _log(self, author: PeerId) -> AuthorLog:
        log = self.logs.get(author)
        if log is None:
            if not self.may_write(author):
                raise InvalidEntry(f"{short(author)} is not a member of {self.genesis.name!r}")
            log = self.logs[author] = AuthorLog(
                author, network_id=self.genesis.network_id, start_ms=self.genesis.start_ms
            )
        return log

    def _take(self, author: PeerId, offered: Offered, result: Added, limit: int) -> None:
        for entry in offered.added:
            key = _merge_key(entry)
            self.cuts.touch(author, hlc_second(key[0]))
            if key[0] <= limit:
                self._merge(entry)
            else:
                heappush(self._held, (key, entry))
                self.held_back_count += 1
        for entry in offered.voided:
            self._void(entry)
        if offered.proof is not None:
            self.cuts.touch(author, -1)  # k is part of every cut
            result.proofs.append(offered.proof)
        if offered.added or offered.voided or offered.proof is not None:
            self.entry_count += len(offered.added) - len(offered.voided)
            result.entries.extend(offered.added)
            log = self.logs[author]
            self.frontier.set(Head(author, log.length, log.head_id, log.k))

    def head(self, author: PeerId) -> Head:
        """How much of an author's log this replica holds."""
        return self.frontier.get(author)

    def _merge(self, entry: Entry) -> None:
        self.clock.observe(_merge_key(entry)[0])
        for market_index, commands in self._decoded(entry):
            self._markets[market_index].order.add(entry)
            self._dirty[market_index] = None
            self.unsettled_commands += len(commands)

    def _void(self, entry: Entry) -> None:
        for market_index, _ in self._decoded(entry):
            self._markets[market_index].order.remove(entry)
            self._dirty[market_index] = None

    def _decoded(self, entry: Entry) -> "_Decoded":
        """The entry's commands by market: decoded once, shared by the peers of a process."""
        decoded: _Decoded | None = entry.decoded
        if decoded is None:
            decoded = entry.decoded = _decode(entry, len(self._markets))
        return decoded

    def _commands_in(self, entry: Entry, market_index: int) -> "_KeyedCommands":
        for index, commands in entry.decoded:
            if index == market_index:
                return commands  # type: ignore[no-any-return]
        raise AssertionError(f"{entry!r} says nothing about market {market_index}")

    def _new_engine(self, market: Market) -> MatchingEngine:
        return MatchingEngine(
            market,
            undo_window=self.settings.undo_window,
            snapshot_interval=self.settings.snapshot_interval,
        )

    def _state(self, market: str) -> _MarketState:
        self.genesis.market_index(market)  # raises UnknownMarket, naming the ones there are
        return self._by_symbol[market]

    @staticmethod
    def _events(engine: MatchingEngine, start: int, end: int) -> list[Event]:
        return [event for position in range(start, end) for event in engine.events(position)]


class Audit:
    """A replay in a fresh engine, done in slices, that tells whether a digest was right."""

    def __init__(
        self,
        replica: Replica,
        state: _MarketState,
        entries: list[Entry],
        suspect: MarketDigest,
    ) -> None:
        self.state = state
        self.entries = entries
        self.suspect = suspect
        self.engine = replica._new_engine(state.market)
        self._replica = replica
        self._next = 0

    def step(self, command_count: int) -> bool:
        """Replay about so many commands; True once the audit is done."""
        target = self.engine.position + command_count
        while self._next < len(self.entries) and self.engine.position < target:
            entry = self.entries[self._next]
            for key, command in self._replica._commands_in(entry, self.state.index):
                self.engine.apply(key, command)
            self._next += 1
        return self._next == len(self.entries)

    @property
    def agrees(self) -> bool:
        """Whether the digest in question is what a fresh engine computes."""
        return self.engine.digest().root == self.suspect.root


def _decode(entry: Entry, market_count: int) -> _Decoded:
    try:
        commands = decode_payload(entry.payload, market_count)
    except EncodingError:
        return ()  # one deterministic rejection that touches no market
    by_market: dict[int, list[tuple[Key, Instruction]]] = {}
    for index, command in enumerate(commands):
        by_market.setdefault(command.market, []).append(((entry.author, entry.seq, index), command))
    return tuple((market, tuple(keyed)) for market, keyed in by_market.items())


def _merge_key(entry: Entry) -> MergeKey:
    assert entry.merge_key is not None, f"{entry!r} is in a log but has not connected"
    return entry.merge_key
