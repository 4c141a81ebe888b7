"""The past in users' units: events, trades and where an order stands, made from the history.

This file decides how integers read to a person. It promises that nothing is made before somebody
asks, and that what was made is forgotten with the commands that it came from. It refuses to know
the book: an order's present state is handed in.
"""

from __future__ import annotations

from bisect import bisect_left
from decimal import Decimal
from typing import NamedTuple, final

from gossipbook.book.commands import SIDES, Command, CommandId
from gossipbook.book.events import (
    Accepted,
    Cancelled,
    Event,
    OrderStatus,
    Rejected,
    Replaced,
    Trade,
)
from gossipbook.book.history import (
    ACCEPTED,
    CANCELLATION_REASONS,
    FIRST_REJECTION,
    REJECTION_REASONS,
    REPLACED_FROM,
    REPLACED_IN_PLACE,
    REPLACED_TO,
    History,
)
from gossipbook.book.level import Key, RestingOrder
from gossipbook.book.payload import Instruction, Placement, Replacement, user_command
from gossipbook.genesis import Market


class CommandRecord(NamedTuple):
    """One command in merge order, and its first event."""

    command_id: CommandId
    command: Command
    outcome: Event


@final
class Reports:
    """Reads one market's history for people."""

    def __init__(self, market: Market, history: History) -> None:
        self._market = market
        self._history = history
        self._trades: list[Trade] = []
        self._trade_positions: list[int] = []  # of the command, for each trade made so far
        self._traded_to = 0  # trades are made for the commands below this position
        self._index = OrderIndex(history)

    def events(self, position: int) -> tuple[Event, ...]:
        """The events of the command at a position, its outcome first."""
        history = self._history
        command_id = self._command_id(history.command_keys[position])
        outcome = history.outcomes[position]
        if outcome >= FIRST_REJECTION:
            return (Rejected(command_id, REJECTION_REASONS[outcome - FIRST_REJECTION]),)
        events: list[Event] = []
        if outcome == ACCEPTED:
            events.append(self._accepted(command_id, history.instructions[position]))
        previous = 0
        for key, code, lots in history.records(position):
            if code == REPLACED_FROM:
                previous = lots
            else:
                events.append(self._event(position, command_id, key, code, lots, previous))
        return tuple(events)

    def outcome(self, position: int) -> Event:
        """The first of the events."""
        history = self._history
        command_id = self._command_id(history.command_keys[position])
        outcome = history.outcomes[position]
        if outcome >= FIRST_REJECTION:
            return Rejected(command_id, REJECTION_REASONS[outcome - FIRST_REJECTION])
        if outcome == ACCEPTED:
            return self._accepted(command_id, history.instructions[position])
        start, previous = history.starts[position], 0
        if history.codes[start] == REPLACED_FROM:
            previous = history.lots[start]
            start += 1
        record = history.keys[start], history.codes[start], history.lots[start]
        return self._event(position, command_id, *record, previous)

    def commands(self, start: int) -> list[CommandRecord]:
        """Every command from a position on, with its outcome."""
        history = self._history
        return [
            CommandRecord(
                self._command_id(history.command_keys[position]),
                user_command(
                    history.instructions[position],
                    self._market,
                    history.command_keys[position][0],
                ),
                self.outcome(position),
            )
            for position in range(start, len(history))
        ]

    def trades(self) -> list[Trade]:
        """All trades so far; those made before are not made again."""
        history = self._history
        end = len(history)
        codes = history.codes
        for position in range(self._traded_to, end):
            for record in range(history.starts[position], history.end(position)):
                if codes[record] > 0:
                    command_id = self._command_id(history.command_keys[position])
                    maker, lots = history.keys[record], history.lots[record]
                    trade = self._trade(position, command_id, maker, codes[record], lots)
                    self._trades.append(trade)
                    self._trade_positions.append(position)
        self._traded_to = end
        return self._trades.copy()

    def fills(self) -> list[tuple[Key, Key, int, int]]:
        """All trades so far as (taker, maker, ticks, lots)."""
        history = self._history
        fills = []
        for position in range(len(history)):
            key, instruction = history.command_keys[position], history.instructions[position]
            taker = key
            if isinstance(instruction, Replacement):
                taker = (key[0], instruction.target_seq, instruction.target_index)
            for maker, code, lots in history.records(position):
                if code > 0:
                    fills.append((taker, maker, code, lots))
        return fills

    def status(self, key: Key, state: RestingOrder | int | None) -> OrderStatus | None:
        """Where an order stands, given what the engine knows of it now."""
        self._index.extend()
        position = self._index.placed.get(key)
        if position is None:
            return None
        placement = self._history.instructions[position]
        assert isinstance(placement, Placement)
        market, zero = self._market, self._market.lots_to_quantity(0)
        order_id, side = self._command_id(key), SIDES[placement.side]
        if state is None:
            rejected = self.outcome(position)
            assert isinstance(rejected, Rejected)
            price = self._price(placement.price)
            size = market.lots_to_quantity(placement.quantity)
            return OrderStatus(order_id, "rejected", side, price, size, zero, zero, rejected.reason)
        if isinstance(state, RestingOrder):
            return OrderStatus(
                order_id,
                "open",
                side,
                self._price(state.price),
                market.lots_to_quantity(state.quantity),
                market.lots_to_quantity(state.remaining),
                market.lots_to_quantity(state.quantity - state.remaining),
                None,
            )
        price = self._price(self._index.last_price(key, placement.price))
        filled = market.lots_to_quantity(state >> 1)
        if not state & 1:
            return OrderStatus(order_id, "filled", side, price, filled, zero, filled, None)
        code, lots = self._index.cancellation(key)
        quantity = market.lots_to_quantity((state >> 1) + lots)
        reason = CANCELLATION_REASONS[code]
        return OrderStatus(order_id, "cancelled", side, price, quantity, zero, filled, reason)

    def forget(self, position: int) -> None:
        """The commands from a position on are about to be undone."""
        if position < self._traded_to:
            kept = bisect_left(self._trade_positions, position)
            del self._trades[kept:]
            del self._trade_positions[kept:]
            self._traded_to = position
        self._index.forget(position)

    def _command_id(self, key: Key) -> CommandId:
        return CommandId(self._market.symbol, *key)

    def _price(self, ticks: int) -> Decimal | None:
        return self._market.ticks_to_price(ticks) if ticks else None

    def _accepted(self, command_id: CommandId, placement: Instruction) -> Accepted:
        assert isinstance(placement, Placement)
        quantity = self._market.lots_to_quantity(placement.quantity)
        side = SIDES[placement.side]
        return Accepted(command_id, command_id, side, self._price(placement.price), quantity)

    def _event(
        self, position: int, command_id: CommandId, key: Key, code: int, lots: int, previous: int
    ) -> Trade | Cancelled | Replaced:
        if code > 0:
            return self._trade(position, command_id, key, code, lots)
        quantity, order_id = self._market.lots_to_quantity(lots), self._command_id(key)
        if code > REPLACED_TO:
            return Cancelled(command_id, order_id, quantity, CANCELLATION_REASONS[code])
        price = self._market.ticks_to_price(REPLACED_TO - code)
        kept_place = self._history.outcomes[position] == REPLACED_IN_PLACE
        remained = self._market.lots_to_quantity(previous)
        return Replaced(command_id, order_id, price, quantity, remained, kept_place)

    def _trade(
        self, position: int, command_id: CommandId, maker: Key, price: int, lots: int
    ) -> Trade:
        instruction = self._history.instructions[position]
        taker = command_id
        if isinstance(instruction, Replacement):
            target = (command_id.author, instruction.target_seq, instruction.target_index)
            taker = self._command_id(target)
        return Trade(
            command_id,
            taker,
            self._command_id(maker),
            self._market.ticks_to_price(price),
            self._market.lots_to_quantity(lots),
            SIDES[self._taker_side(taker, instruction)],
            self._market.symbol,
        )

    def _taker_side(self, taker: CommandId, instruction: Instruction) -> int:
        if isinstance(instruction, Placement):
            return instruction.side
        # A replacement does not say its side: look at the order it replaced.
        self._index.extend()
        placement = self._history.instructions[self._index.placed[taker[1:]]]
        assert isinstance(placement, Placement)
        return placement.side


@final
class OrderIndex:
    """Where each order was placed, moved and cancelled. Grows only when somebody asks."""

    __slots__ = ("_covered", "_history", "_others", "placed")

    def __init__(self, history: History) -> None:
        self._history = history
        self._covered = 0
        self.placed: dict[Key, int] = {}  # position of the command that placed it
        self._others: dict[Key, list[int]] = {}  # records of its replacements and cancellations

    def extend(self) -> None:
        """Cover all commands applied so far."""
        history, start, end = self._history, self._covered, len(self._history)
        if start == end:
            return
        for position in range(start, end):
            if isinstance(history.instructions[position], Placement):
                self.placed[history.command_keys[position]] = position
        for record in range(history.starts[start], len(history.codes)):
            if history.codes[record] < 0:
                self._others.setdefault(history.keys[record], []).append(record)
        self._covered = end

    def forget(self, position: int) -> None:
        """The commands from a position on are about to go."""
        if position >= self._covered:
            return
        history = self._history
        record_end = history.end(self._covered - 1)
        for record in range(record_end - 1, history.starts[position] - 1, -1):
            if history.codes[record] < 0:
                records = self._others[history.keys[record]]
                records.pop()
                if not records:
                    del self._others[history.keys[record]]
        for place in range(position, self._covered):
            self.placed.pop(history.command_keys[place], None)
        self._covered = position

    def last_price(self, key: Key, placed_at: int) -> int:
        """The price an order had at last."""
        for record in reversed(self._others.get(key, ())):
            code = self._history.codes[record]
            if code <= REPLACED_TO:
                return REPLACED_TO - code
        return placed_at

    def cancellation(self, key: Key) -> tuple[int, int]:
        """Why an order was cancelled, and how many lots that took off."""
        record = self._others[key][-1]
        return self._history.codes[record], self._history.lots[record]
