"""From a case file's numbers to our order ids, and back.

The file names orders by numbers that may be used again; we name them by author, entry and place.
This file decides which commands say what a line of the file says, and what outcomes mean in the
file's numbers. It promises that a line is one command position, whatever it takes of ours: a
duplicate id takes none and counts as rejected, losing one's place at an unchanged price takes two
in one entry (one lot more, then the size wanted). It refuses to know networks: it feeds an engine
of its own, in file order, whose state tells what remains of an order and who is a duplicate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gossipbook.book.digest import book_root
from gossipbook.book.events import OrderStatus, Rejected, Trade
from gossipbook.book.level import Key
from gossipbook.book.matching import MatchingEngine
from gossipbook.book.order_book import Book
from gossipbook.book.payload import Cancellation, Instruction, Placement, Replacement
from gossipbook.book.reports import CommandRecord
from gossipbook.cli.cases import MAX_INTEGER, Amend, Case, CaseCommand, CaseFileError, Place
from gossipbook.genesis import Genesis, Market
from gossipbook.identity import PeerId

MARKET = "CASE"
GENESIS = Genesis("gossipbook replay", markets=[Market(MARKET)])
"""Tick and lot are 1 and self-trade is allowed, as the files have it."""

NEVER_ISSUED = MAX_INTEGER
"""The seq that stands for an id that no order has: no log grows so long."""


class Entry(NamedTuple):
    """What one line becomes: an entry of an author, with its place in the author's log."""

    author: int
    seq: int
    instructions: tuple[Instruction, ...]


class Outcome(NamedTuple):
    """What a case led to, in the file's ids, ticks and lots, as `expect` has it."""

    trades: list[list[int]]
    reject_seqs: list[int]
    bids: list[list[object]]
    asks: list[list[object]]


class CaseReplay:
    """One case, line by line, through an engine that sees the commands in file order.

    `authors` are the keys that sign; the commands about an id are all by author id % len(authors).
    """

    def __init__(self, case: Case, authors: Sequence[PeerId]) -> None:
        self.engine = MatchingEngine(GENESIS.markets[0])
        self.position = 0
        """Commands of the file so far."""
        self._case = case
        self._authors = authors
        self._lengths = [0] * len(authors)  # of the authors' logs
        self._bearers: dict[int, Key] = {}  # id -> the last order that bore it
        self._ids: dict[tuple[PeerId, int], int] = {}  # (author, seq) of a placement -> id
        self._positions: dict[tuple[PeerId, int], int] = {}  # (author, seq) -> place in the file
        self._duplicates: list[int] = []
        self._before = 0

    def feed(self, command: CaseCommand) -> Entry | None:
        """Apply the next line; the entry it takes, or None for what no command can express."""
        position, self._before = self.position, self.engine.position
        self.position += 1
        author = command.id % len(self._authors)
        peer_id = self._authors[author]
        instructions = self._translate(command)
        if not instructions:
            self._duplicates.append(position)
            return None
        seq = self._lengths[author]
        self._lengths[author] = seq + 1
        self._positions[peer_id, seq] = position
        if isinstance(command, Place):
            self._ids[peer_id, seq] = command.id
            self._bearers[command.id] = (peer_id, seq, 0)
        for index, instruction in enumerate(instructions):
            self.engine.apply((peer_id, seq, index), instruction)
        return Entry(author, seq, instructions)

    # -- what came of it ----------------------------------------------------------------------

    def new_trades(self) -> list[list[int]]:
        """The trades of the last line."""
        positions = range(self._before, self.engine.position)
        events = [event for position in positions for event in self.engine.events(position)]
        return self._in_ids([event for event in events if isinstance(event, Trade)])

    def depth(self) -> list[list[list[int]]]:
        """[price, lots, orders] of each level, bids then asks, best first."""
        book = self.engine.book()
        return [
            [[int(level.price), int(level.quantity), level.orders] for level in side]
            for side in (book.bids, book.asks)
        ]

    def outcome(self) -> Outcome:
        """What this engine holds now."""
        return self.in_file_terms(self.engine.trades(), self.engine.commands(), self.engine.book())

    def in_file_terms(
        self, trades: Sequence[Trade], commands: Sequence[CommandRecord], book: Book
    ) -> Outcome:
        """What a peer holds; it must have got these entries and no others."""
        rejected = {
            self._positions[record.command_id.author, record.command_id.seq]
            for record in commands
            if isinstance(record.outcome, Rejected)
        }
        queues: dict[str, dict[int, list[list[int]]]] = {"buy": {}, "sell": {}}
        for order in book.orders:
            queue = queues[order.side].setdefault(int(order.price), [])
            number = self._ids[order.order_id.author, order.order_id.seq]
            queue.append([number, int(order.quantity)])
        bids, asks = [[[*level] for level in side.items()] for side in queues.values()]
        rejects = sorted(rejected.union(self._duplicates))
        return Outcome(self._in_ids(trades), rejects, bids, asks)

    def root(self) -> bytes:
        """What a peer's root is that holds the same entries."""
        return book_root([self.engine.digest()])

    def _in_ids(self, trades: Sequence[Trade]) -> list[list[int]]:
        ids = self._ids
        return [
            [
                ids[trade.taker.author, trade.taker.seq],
                ids[trade.maker.author, trade.maker.seq],
                int(trade.price),
                int(trade.quantity),
            ]
            for trade in trades
        ]

    # -- what a line says ---------------------------------------------------------------------

    def _translate(self, command: CaseCommand) -> tuple[Instruction, ...]:
        key = self._bearers.get(command.id)
        status = None if key is None else self.engine.order(key)
        is_open = status is not None and status.state == "open"
        if isinstance(command, Place):
            if is_open:
                return ()
            return (
                Placement(0, command.side, command.price, command.quantity, command.time_in_force),
            )
        target = NEVER_ISSUED if key is None else key[1]
        if isinstance(command, Amend):
            return self._amend(command, target, status if is_open else None)
        return (Cancellation(0, target, 0),)

    def _amend(
        self, amend: Amend, target: int, status: OrderStatus | None
    ) -> tuple[Instruction, ...]:
        if status is None:  # rejected, whatever it says
            return (Replacement(0, target, 0, amend.price or 0, 1, 0),)
        assert status.price is not None
        remaining, price = int(status.remaining), int(status.price)
        wanted = remaining + (amend.delta or 0) if amend.quantity is None else amend.quantity
        requeue = amend.requeue and (amend.price or price) == price and 0 < wanted <= remaining
        if wanted > MAX_INTEGER or (requeue and remaining == MAX_INTEGER):
            raise CaseFileError(
                f"{self._case.path}:{amend.line}: more lots than 2^63-1; amend by fewer"
            )
        if requeue:
            return (
                Replacement(0, target, 0, 0, remaining + 1, 0),
                Replacement(0, target, 0, 0, wanted, 0),
            )
        if wanted <= 0:
            return (Replacement(0, target, 0, amend.price or 0, 0, remaining),)
        if amend.delta is not None and amend.delta < 0:
            return (Replacement(0, target, 0, amend.price or 0, 0, -amend.delta),)
        if amend.price is not None and amend.quantity is None and wanted == remaining:
            return (Replacement(0, target, 0, amend.price, 0, 0),)
        return (Replacement(0, target, 0, amend.price or 0, wanted, 0),)
