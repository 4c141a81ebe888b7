"""The price-time matching engine of one market, and its way back.

This file decides who trades with whom. It promises that the same commands in the same order give
the same book, trades, rejections and digest on every machine; that `rewind` undoes exactly, to
the last place in every queue; and that no state of the book can make `apply` fail: what the state
does not allow becomes a rejection with a reason. It refuses to know clocks, chance, networks and
why a position is gone back to; commands come in already ordered and decoded.

Rules. The better price is first, at one price the earlier order; trades happen at the maker's
price. What remains of a limit order rests, of a market or ioc order is cancelled; a fok order
fills whole or is rejected; a post-only order is rejected when it would trade, also when it is
replaced into the market. A replacement that lowers the remaining quantity at the same price keeps
the place; a higher quantity or another price goes to the end of a queue. Where the market says
so, an order does not trade with an order of the same author: the resting one, the incoming one or
both are cancelled. A cancel or replacement reaches only orders that its own author placed before.

The way back. Every change to a resting order appends to a journal, two flat lists: the order, and
what was done to it. Undoing walks the journal backwards. The journal covers the newest
`undo_window` commands; behind it snapshots of the book stand at growing distances, and `rewind`
goes to the nearest one, from where the caller applies again. (One list of tuples would read
better, but tuples that live long halve the speed: the garbage collector keeps visiting them.)

    commands   0 ............ s ......... s .... s .. floor ==================== position
                              snapshots, older = sparser      journal, undone exactly

The journal also says what was touched since the last digest, so the matching loop marks nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, final

from gossipbook.book.digest import (
    LONGEST_FLAT_QUEUE,
    BookHasher,
    MarketDigest,
    market_digest,
    outcomes_digest,
)
from gossipbook.book.events import Event, OrderStatus, Trade
from gossipbook.book.history import (
    ACCEPTED,
    ALREADY_CANCELLED,
    ALREADY_FILLED,
    CANCELLED,
    FOK_UNFILLABLE,
    IOC_REMAINDER,
    MARKET_REMAINDER,
    POST_ONLY_WOULD_TRADE,
    REDUCED,
    REDUCED_TO_ZERO,
    REPLACED_AND_QUEUED,
    REPLACED_FROM,
    REPLACED_IN_PLACE,
    REPLACED_TO,
    REQUESTED,
    SELF_TRADE,
    TARGET_NOT_EARLIER,
    UNKNOWN_ORDER,
    History,
    Totals,
)
from gossipbook.book.level import Key, RestingOrder
from gossipbook.book.order_book import Book, Dump, Half, OrderBook
from gossipbook.book.payload import (
    BUY,
    FOK,
    IOC,
    POST_ONLY,
    SELL,
    Cancellation,
    Instruction,
    Placement,
    Replacement,
)
from gossipbook.book.reports import CommandRecord, Reports
from gossipbook.genesis import Market
from gossipbook.identity import PeerId, short
from gossipbook.randomness import SeededRandom

# What the journal says was done to an order. A partial fill of n lots is n + 1, so it is at least
# 2; a replacement that keeps its place is negative (see `_resize_code`).
_QUEUED = 0
_REMOVED = 1

# An order trades with makers of this rank or better: its price, negated for buyers. A market
# order, whose price is 0, takes any rank.
_ANY_RANK = -(1 << 64)


@final
class MatchingEngine:
    """One market's book, history and undo.

    `undo_window` is how many commands, at least, can be undone one by one; `snapshot_interval` is
    how many commands lie between snapshots before they are thinned. Neither shows in any result.
    """

    __slots__ = (
        "_also_touched",
        "_book",
        "_digest",
        "_digested",
        "_floor",
        "_guarded",
        "_hasher",
        "_history",
        "_journal_base",
        "_journal_changes",
        "_journal_orders",
        "_marks",
        "_next_chore",
        "_next_ticket",
        "_other_changes",
        "_policy",
        "_record_codes",
        "_record_keys",
        "_record_lots",
        "_reports",
        "_scrubbed",
        "_slack",
        "_snapshot_interval",
        "_snapshots",
        "_stale_ranks",
        "_states",
        "_undo_window",
        "_view",
        "market",
        "undone_count",
    )

    def __init__(
        self, market: Market, *, undo_window: int = 65_536, snapshot_interval: int = 32_768
    ) -> None:
        assert undo_window >= 0 and snapshot_interval >= 1
        self.market = market
        self.undone_count = 0
        self._policy = market.self_trade
        self._guarded = market.self_trade != "allow"
        self._undo_window = undo_window
        self._slack = max(1, undo_window // 4)  # the journal is trimmed in chunks of this
        self._snapshot_interval = snapshot_interval

        self._book = OrderBook()
        self._states: dict[Key, RestingOrder | int] = {}  # resting, or 2 x filled lots + cancelled
        self._next_ticket = 0
        self._history = history = History()
        self._reports = Reports(market, history)
        # The matching loop's own names for the history's lists, which are never replaced.
        self._record_keys = history.keys
        self._record_codes = history.codes
        self._record_lots = history.lots

        # The journal of the commands from `_floor` on. Marks and `_digested` count from the
        # beginning of time; `_journal_base` is where the two lists begin now.
        self._floor = 0
        self._marks: list[int] = []
        self._journal_orders: list[RestingOrder] = []
        self._journal_changes: list[int] = []
        self._journal_base = 0
        self._snapshots: list[tuple[int, int, Dump]] = []  # (position, next ticket, book)
        self._next_chore = 0
        self._plan_chores()

        self._hasher = BookHasher()
        self._digested = 0
        self._also_touched: list[RestingOrder] = []
        self._stale_ranks: tuple[set[int], set[int]] = (set(), set())
        self._scrubbed = (BUY, _ANY_RANK)
        self._digest: tuple[int, MarketDigest] | None = None
        self._view: tuple[int, Book] | None = None
        self._other_changes = 0

    # -- what is there ------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """How many commands are applied."""
        return len(self._history.outcomes)

    @property
    def undo_floor(self) -> int:
        """The least position that `rewind` reaches exactly."""
        return self._floor

    @property
    def applied_count(self) -> int:
        """How many commands were ever applied, those undone since included."""
        return len(self._history.outcomes) + self.undone_count

    @property
    def totals(self) -> Totals:
        """Running counts of commands, trades and rejections, sums of lots and price x lots."""
        return self._history.totals()

    @property
    def resting_count(self) -> int:
        """How many orders rest in the book."""
        return sum([level.count for half in self._book.halves for level in half.levels.values()])

    def command(self, position: int) -> tuple[Key, Instruction]:
        """The command at a position, as it was applied."""
        return self._history.command_keys[position], self._history.instructions[position]

    def events(self, position: int) -> tuple[Event, ...]:
        """What the command at a position led to, its outcome first."""
        return self._reports.events(position)

    def outcome(self, position: int) -> Event:
        """The first of the command's events: Accepted, Rejected, Cancelled or Replaced."""
        return self._reports.outcome(position)

    def commands(self, start: int = 0) -> list[CommandRecord]:
        """(command_id, command, outcome) in merge order, from position `start` on."""
        return self._reports.commands(start)

    def trades(self) -> list[Trade]:
        """All trades, in the order in which they happened."""
        return self._reports.trades()

    def order(self, key: Key) -> OrderStatus | None:
        """Where an order stands; None if no command placed it here."""
        return self._reports.status(key, self._states.get(key))

    def book(self) -> Book:
        """The resting orders now, as a value that later commands do not change."""
        version = self._version()
        if self._view is None or self._view[0] != version:
            dump, totals = self._book.dump(), self._history.totals()
            outcomes = outcomes_digest(self._history.outcomes)

            def root() -> bytes:
                if self._version() == version:
                    return self.digest().root
                return _digest_of(self.market.symbol, dump, totals, outcomes).root

            self._view = (version, Book(self.market, dump, root))
        return self._view[1]

    def digest(self) -> MarketDigest:
        """What to compare with other peers. The cost follows what was touched since the last."""
        version = self._version()
        if self._digest is None or self._digest[0] != version:
            touched = self._touched_orders()
            self._hasher.refresh(self._book, self._stale_ranks, touched, self._states)
            self._digested = self._journal_base + len(self._journal_orders)
            self._also_touched.clear()
            self._stale_ranks = (set(), set())
            bids, asks = self._hasher.snapshots()
            totals = self._history.totals()
            outcomes = outcomes_digest(self._history.outcomes)
            self._digest = version, market_digest(self.market.symbol, bids, asks, totals, outcomes)
        return self._digest[1]

    def _touched_orders(self) -> list[RestingOrder]:
        """The orders that something was done to, or undone, since the last digest."""
        unseen = self._digested - self._journal_base
        if unseen >= 0:
            return self._journal_orders[unseen:] + self._also_touched
        # The journal no longer reaches back to the last digest: hash everything once.
        self._hasher = BookHasher()
        for half in self._book.halves:
            self._stale_ranks[half.side].update(half.ranks)
        return []

    def successor(self, past: Callable[[Key], int | None]) -> MatchingEngine:
        """An engine that goes on where this one stands and has nothing of its past.

        `past` says of an order that no longer rests how it ended (`closed_orders` tells them).
        Counts, trades and outcomes begin at zero.
        """
        engine = MatchingEngine(
            self.market,
            undo_window=self._undo_window,
            snapshot_interval=self._snapshot_interval,
        )
        engine._states = _StatesWithPast(past)
        engine._book.load(self._book.dump())
        for half in engine._book.halves:
            engine._stale_ranks[half.side].update(half.ranks)
            for level in half.levels.values():
                for order in level:
                    engine._states[order.key] = order
        engine._next_ticket = self._next_ticket
        return engine

    def closed_orders(self) -> Iterator[tuple[Key, int]]:
        """The orders that this engine saw end, each with a number that says how."""
        return ((key, state) for key, state in self._states.items() if type(state) is int)

    def outcome_codes(self) -> bytes:
        """One byte a command: what the digest's hash of outcomes is made of."""
        return bytes(self._history.outcomes)

    def fills(self) -> list[tuple[Key, Key, int, int]]:
        """All trades as (taker, maker, ticks, lots), in the order in which they happened."""
        return self._reports.fills()

    # -- applying -----------------------------------------------------------------------------

    def apply(self, key: Key, instruction: Instruction) -> None:
        """Apply the next command in merge order. `key` is (author, seq, index)."""
        history = self._history
        self._marks.append(self._journal_base + len(self._journal_orders))
        history.starts.append(len(self._record_codes))
        history.command_keys.append(key)
        history.instructions.append(instruction)
        kind = type(instruction)
        if kind is Placement:
            outcome = self._place(key, instruction)  # type: ignore[arg-type]
        elif kind is Cancellation:
            outcome = self._cancel(key, instruction)  # type: ignore[arg-type]
        else:
            outcome = self._replace(key, instruction)  # type: ignore[arg-type]
        outcomes = history.outcomes
        outcomes.append(outcome)
        if len(outcomes) >= self._next_chore:
            self._do_chores()

    def _place(self, key: Key, placement: Placement) -> int:
        _, side, price, quantity, time_in_force = placement
        makers = self._book.halves[1 - side]
        limit = (price if side else -price) or _ANY_RANK
        remaining = quantity
        if makers.ranks and makers.ranks[-1] >= limit:
            if time_in_force == POST_ONLY:
                return POST_ONLY_WOULD_TRADE
            if time_in_force == FOK and not self._can_fill(key[0], makers, limit, quantity):
                return FOK_UNFILLABLE
            remaining = self._match(key[0], makers, limit, quantity)
        elif time_in_force == FOK:
            return FOK_UNFILLABLE
        if remaining == 0:
            self._states[key] = quantity << 1
        elif remaining < 0:
            self._close(key, quantity, -remaining, SELF_TRADE)
        elif time_in_force == IOC:
            self._close(key, quantity, remaining, IOC_REMAINDER if price else MARKET_REMAINDER)
        else:
            assert time_in_force != FOK
            self._queue(key, side, price, quantity, remaining, time_in_force == POST_ONLY)
        return ACCEPTED

    def _match(self, author: PeerId, makers: Half, limit: int, remaining: int) -> int:
        """Trade `remaining` lots with the best makers whose rank is at least `limit`.

        Gives the lots that are left; below zero when that many are to be cancelled because they
        met an order of the same author.
        """
        guarded = self._guarded
        states, levels, ranks = self._states, makers.levels, makers.ranks
        orders, changes = self._journal_orders, self._journal_changes
        keys, codes, lots = self._record_keys, self._record_codes, self._record_lots
        while remaining and ranks and ranks[-1] >= limit:
            level = levels[ranks[-1]]
            price = level.price
            maker = level.head
            while maker is not None:
                key = maker.key
                if guarded and key[0] == author:
                    if self._policy != "cancel-incoming":
                        self._cancel_resting(maker, SELF_TRADE)
                    if self._policy != "cancel-resting":
                        return -remaining
                    maker = level.head
                    continue
                available = maker.remaining
                if available > remaining:
                    maker.remaining = available - remaining
                    level.volume -= remaining
                    orders.append(maker)
                    changes.append(remaining + 1)
                    keys.append(key)
                    codes.append(price)
                    lots.append(remaining)
                    return 0
                # The maker is filled: take it off the head, as `Level.remove` would.
                states[key] = maker.quantity << 1
                orders.append(maker)
                changes.append(_REMOVED)
                keys.append(key)
                codes.append(price)
                lots.append(available)
                remaining -= available
                level.volume -= available
                level.count -= 1
                level.head = maker = maker.next
                if maker is not None:
                    maker.previous = None
                    if not remaining:
                        return 0
                else:
                    level.tail = None
                    del levels[level.rank]
                    ranks.pop()
        return remaining

    def _can_fill(self, author: PeerId, makers: Half, limit: int, quantity: int) -> bool:
        """Whether `_match` would fill the whole quantity."""
        for level in makers:
            if level.rank < limit:
                return False
            if not self._guarded:
                quantity -= level.volume
            else:
                for maker in level:
                    if maker.key[0] != author:
                        quantity -= maker.remaining
                    elif self._policy != "cancel-resting":
                        return False
                    if quantity <= 0:
                        return True
            if quantity <= 0:
                return True
        return False

    def _cancel(self, key: Key, cancellation: Cancellation) -> int:
        _, target_seq, target_index = cancellation
        author, seq, index = key
        if target_seq > seq or (target_seq == seq and target_index >= index):
            return TARGET_NOT_EARLIER
        order = self._states.get((author, target_seq, target_index))
        if type(order) is not RestingOrder:
            return _why_not_open(order)
        self._cancel_resting(order, REQUESTED)
        return CANCELLED

    def _replace(self, key: Key, replacement: Replacement) -> int:
        _, target_seq, target_index, price, quantity, reduce_by = replacement
        author, seq, index = key
        if target_seq > seq or (target_seq == seq and target_index >= index):
            return TARGET_NOT_EARLIER
        order = self._states.get((author, target_seq, target_index))
        if type(order) is not RestingOrder:
            return _why_not_open(order)
        level = order.level
        remaining = quantity or order.remaining - reduce_by
        if remaining <= 0:
            self._cancel_resting(order, REDUCED)
            return REDUCED_TO_ZERO
        if (price == 0 or price == level.price) and remaining <= order.remaining:
            self._record(order.key, REPLACED_FROM, order.remaining)
            self._record(order.key, REPLACED_TO - level.price, remaining)
            self._resize(order, remaining - order.remaining)
            return REPLACED_IN_PLACE
        return self._requeue(order, price or level.price, remaining)

    def _requeue(self, order: RestingOrder, price: int, remaining: int) -> int:
        """Let an order leave its place for the end of a queue, trading on the way if it can."""
        key, side = order.key, order.level.side
        makers = self._book.halves[1 - side]
        limit = price if side == SELL else -price
        crosses = bool(makers.ranks) and makers.ranks[-1] >= limit
        if crosses and order.post_only:
            return POST_ONLY_WOULD_TRADE
        quantity = order.quantity - order.remaining + remaining
        self._record(key, REPLACED_FROM, order.remaining)
        self._record(key, REPLACED_TO - price, remaining)
        self._journal(order, _REMOVED)
        self._book.remove(order)
        if crosses:
            remaining = self._match(key[0], makers, limit, remaining)
        if remaining == 0:
            self._states[key] = quantity << 1
        elif remaining < 0:
            self._close(key, quantity, -remaining, SELF_TRADE)
        else:
            self._queue(key, side, price, quantity, remaining, order.post_only)
        return REPLACED_AND_QUEUED

    def _queue(
        self, key: Key, side: int, price: int, quantity: int, remaining: int, post_only: bool
    ) -> None:
        ticket = self._next_ticket
        self._next_ticket = ticket + 1
        half, rank = self._book.halves[side], price if side == BUY else -price
        level = half.levels.get(rank) or half.level_at(rank)
        order = level.append(key, quantity, remaining, ticket, post_only)
        self._states[key] = order
        self._journal_orders.append(order)
        self._journal_changes.append(_QUEUED)

    def _cancel_resting(self, order: RestingOrder, reason: int) -> None:
        self._close(order.key, order.quantity, order.remaining, reason)
        self._journal(order, _REMOVED)
        self._book.remove(order)

    def _close(self, key: Key, quantity: int, remaining: int, reason: int) -> None:
        self._states[key] = (quantity - remaining) << 1 | 1
        self._record(key, reason, remaining)

    def _resize(self, order: RestingOrder, change: int) -> None:
        if change:
            order.quantity += change
            order.level.resize(order, change)
            self._journal(order, _resize_code(change))

    def _record(self, key: Key, code: int, lots: int) -> None:
        self._record_keys.append(key)
        self._record_codes.append(code)
        self._record_lots.append(lots)

    def _journal(self, order: RestingOrder, change: int) -> None:
        self._journal_orders.append(order)
        self._journal_changes.append(change)

    # -- going back ---------------------------------------------------------------------------

    def rewind(self, position: int) -> int:
        """Undo to `position`, or, behind the undo window, to a snapshot at or before it.

        Gives the position reached; the caller applies the commands from there again.
        """
        assert 0 <= position <= self.position, f"no position {position} of {self.position}"
        if position < self._floor:
            return self._restore(position)
        if position < self.position:
            self._undo(position)
        return position

    def _undo(self, position: int) -> None:
        book, states = self._book, self._states
        orders, changes = self._journal_orders, self._journal_changes
        start = self._marks[position - self._floor] - self._journal_base
        self._note_undone(start)
        queued = 0
        for place in range(len(orders) - 1, start - 1, -1):
            order, change = orders[place], changes[place]
            if change == _REMOVED:
                book.restore(order)
                states[order.key] = order
            elif change == _QUEUED:
                book.remove(order)
                queued += 1
            elif change > 0:
                order.level.resize(order, change - 1)
            else:
                size = _resize_of(change)
                order.quantity -= size
                order.level.resize(order, -size)
        del orders[start:]
        del changes[start:]
        del self._marks[position - self._floor :]
        self._next_ticket -= queued
        self._forget_placed(position)
        self._forget_history(position)

    def _note_undone(self, start: int) -> None:
        """Remember for the next digest what the last one saw and is now undone."""
        digested = self._digested - self._journal_base
        if start < digested:
            self._also_touched += self._journal_orders[start:digested]
            self._digested = self._journal_base + start

    def _forget_placed(self, position: int) -> None:
        history, states = self._history, self._states
        for place in range(position, len(history.outcomes)):
            if history.outcomes[place] == ACCEPTED:
                del states[history.command_keys[place]]

    def _forget_history(self, position: int) -> None:
        self.undone_count += self.position - position
        self._reports.forget(position)
        self._history.truncate(position)
        while self._snapshots and self._snapshots[-1][0] > position:
            self._snapshots.pop()
        self._plan_chores()

    def _restore(self, position: int) -> int:
        """Go back to the nearest snapshot at or before a position, or to the empty book."""
        while self._snapshots and self._snapshots[-1][0] > position:
            self._snapshots.pop()
        reached, ticket, dump = self._snapshots[-1] if self._snapshots else (0, 0, ((), ()))
        self._forget_states(reached)
        self._book.load(dump)
        for half in self._book.halves:
            for level in half.levels.values():
                for order in level:
                    self._states[order.key] = order
        self._next_ticket = ticket
        self._journal_base += len(self._journal_orders)
        self._digested = -1  # what was hashed is not of this book
        self._journal_orders.clear()
        self._journal_changes.clear()
        self._marks.clear()
        self._also_touched.clear()
        self._floor = reached
        self._forget_history(reached)
        return reached

    def _forget_states(self, position: int) -> None:
        """Drop every order that a command from `position` on placed, filled or closed.

        What rested at `position` is put back from the snapshot; what was closed before it was
        not named by any record since.
        """
        history, states = self._history, self._states
        for key in history.keys[history.starts[position] :]:
            states.pop(key, None)
        for place in range(position, len(history.outcomes)):
            if history.outcomes[place] == ACCEPTED:
                states.pop(history.command_keys[place], None)

    # -- housekeeping -------------------------------------------------------------------------

    def _plan_chores(self) -> None:
        """When to look again: a snapshot is due, or the journal is longer than it need be."""
        interval, position = self._snapshot_interval, self.position
        next_snapshot = (position // interval + 1) * interval
        next_trim = self._floor + self._undo_window + self._slack
        self._next_chore = min(next_snapshot, next_trim)

    def _do_chores(self) -> None:
        position = self.position
        if position % self._snapshot_interval == 0:
            self._take_snapshot(position)
        if position - self._floor >= self._undo_window + self._slack:
            self._trim_journal(position - self._undo_window)
        self._plan_chores()

    def _take_snapshot(self, position: int) -> None:
        """Keep the book as it is, and of the older snapshots a number that grows as log(n).

        The n-th snapshot stays until another 4 x (the greatest power of two that divides n) were
        taken. So going back d commands from the newest snapshot means going back 5/3 d at most.
        """
        interval = self._snapshot_interval
        newest = position // interval

        def is_kept(number: int) -> bool:
            return newest - number < 4 * (number & -number)

        self._snapshots = [kept for kept in self._snapshots if is_kept(kept[0] // interval)]
        self._snapshots.append((position, self._next_ticket, self._book.dump()))

    def _trim_journal(self, floor: int) -> None:
        """Give up undoing below `floor`."""
        commands = floor - self._floor
        marks, orders = self._marks, self._journal_orders
        base = marks[commands] if commands < len(marks) else self._journal_base + len(orders)
        cut = base - self._journal_base
        for order, change in zip(orders[:cut], self._journal_changes[:cut], strict=True):
            if change == _REMOVED:  # nobody will put it back: cut the cycles of dead neighbours
                order.previous = order.next = None
        del marks[:commands]
        del orders[:cut]
        del self._journal_changes[:cut]
        self._journal_base = base
        self._floor = floor

    def _version(self) -> int:
        """A number that grows with every change."""
        return len(self._history.outcomes) + 2 * self.undone_count + self._other_changes

    # -- faults -------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise AssertionError, naming what, if the book contradicts itself."""
        self._book.check()
        resting = 0
        for half in self._book.halves:
            for level in half:
                for order in level:
                    resting += 1
                    assert self._states.get(order.key) is order, f"{order.key} is not the one known"
        known = sum([type(state) is RestingOrder for state in self._states.values()])
        assert known == resting, f"{known} orders are known as open, {resting} rest"
        assert len(self._marks) == self.position - self._floor, "marks and commands differ"

    def scrub(self, count: int) -> None:
        """Have the next `count` price levels hashed afresh, round and round.

        So memory that changed without a command is noticed by a later digest. Of a long queue
        only the front is: hashing 10,000 orders each time would cost more than it is worth.
        """
        self._other_changes += 1
        side, rank = self._scrubbed
        wraps = 0
        while count > 0 and wraps < 3:
            ranks = self._book.halves[side].ranks
            place = bisect_right(ranks, rank)
            chosen = ranks[place : place + count]
            for chosen_rank in chosen:
                level = self._book.halves[side].levels[chosen_rank]
                if level.count <= LONGEST_FLAT_QUEUE:
                    self._stale_ranks[side].add(chosen_rank)
                else:
                    self._also_touched += islice(level, LONGEST_FLAT_QUEUE)
            count -= len(chosen)
            if count > 0:
                side, rank, wraps = 1 - side, _ANY_RANK, wraps + 1
            else:
                rank = chosen[-1]
        self._scrubbed = (side, rank)

    def corrupt(self, what: str, random: SeededRandom) -> str:
        """Change memory as a fault would, and say what; "" where there is nothing to change.

        For the simulator. "book" changes what remains of a resting order, unnoticed until its
        level is touched or scrubbed; "trades" the size of a past trade, and the sums with it.
        """
        assert what in ("book", "trades"), f'corrupt("book") or corrupt("trades"), not {what!r}'
        if what == "book":
            return self._corrupt_book(random)
        return self._corrupt_trades(random)

    def _corrupt_book(self, random: SeededRandom) -> str:
        resting = [order for side in (BUY, SELL) for order in self._book.orders(side)]
        if not resting:
            return ""
        order = random.choice(resting)
        remaining = order.remaining + random.between(1, 9)
        if order.remaining > 1 and random.chance(32_768):
            remaining = random.between(1, order.remaining - 1)
        text = (
            f"order {_name(order.key)} at {order.price} ticks: "
            f"remaining {order.remaining} became {remaining}"
        )
        order.level.resize(order, remaining - order.remaining)
        self._view = None
        return text

    def _corrupt_trades(self, random: SeededRandom) -> str:
        history = self._history
        trades = [record for record, code in enumerate(history.codes) if code > 0]
        if not trades:
            return ""
        record = random.choice(trades)
        before = history.lots[record]
        after = before + random.between(1, 9)
        history.corrupt_trade(record, after)
        self._reports.forget(0)
        self._other_changes += 1
        return f"trade with maker {_name(history.keys[record])}: {before} lots became {after}"


class _StatesWithPast(dict[Key, RestingOrder | int]):
    """The states of orders, those included that ended before."""

    __slots__ = ("_past",)

    def __init__(self, past: Callable[[Key], int | None]) -> None:
        super().__init__()
        self._past = past

    def get(self, key: Key, default: Any = None) -> Any:
        """The state of an order, or None where there never was one."""
        known = super().get(key)
        return self._past(key) if known is None else known


def _why_not_open(state: int | None) -> int:
    if state is None:
        return UNKNOWN_ORDER
    return ALREADY_CANCELLED if state & 1 else ALREADY_FILLED


def _resize_code(change: int) -> int:
    """A change of size, up or down, as a negative number."""
    return -2 * change if change > 0 else 2 * change + 1


def _resize_of(code: int) -> int:
    return (code - 1) // 2 if code & 1 else -code // 2


def _digest_of(symbol: str, dump: Dump, totals: Totals, outcomes: bytes) -> MarketDigest:
    """The digest of a book that is no longer there, from its dump."""
    book, hasher = OrderBook(), BookHasher()
    book.load(dump)
    bids, asks = book.halves
    hasher.refresh(book, (set(bids.ranks), set(asks.ranks)), (), {})
    return market_digest(symbol, *hasher.snapshots(), totals, outcomes)


def _name(key: Key) -> str:
    author, seq, index = key
    return f"{short(author)}/{seq}/{index}"
