"""What happened in one market, command by command, in flat lists that undo truncates.

This file decides how the past is kept: per command its key, the command itself, one byte of
outcome and the place where its records begin; per record a key, a code and a number of lots. It
promises that events made from it are the same whenever they are made, that nobody pays for events
that nobody reads, and that truncating to a position leaves exactly what was there at that
position, running sums included. It refuses to know the book; the engine writes, all others read.

A record's code is a price above zero for a trade, one of the codes below zero for a cancellation.
A replacement makes two records: `REPLACED_FROM` with the lots that remained, and `REPLACED_TO`
minus the new price with the lots that remain now. The taker of a trade is not written down:
it is the order that the command placed or replaced.

The engine appends to the lists directly, and the sums are made from them in bulk when somebody
asks: a trade costs three appends while orders are being matched, and nothing else.
"""

from __future__ import annotations

from array import array
from typing import NamedTuple, final

from gossipbook.book.events import CancellationReason, RejectionReason
from gossipbook.book.level import Key
from gossipbook.book.payload import Instruction

# Outcomes of commands, one byte each.
ACCEPTED = 0
CANCELLED = 1
REPLACED_IN_PLACE = 2
REPLACED_AND_QUEUED = 3
REDUCED_TO_ZERO = 4
FIRST_REJECTION = 16

REJECTION_REASONS: tuple[RejectionReason, ...] = (
    "fok-unfillable",
    "post-only-would-trade",
    "target-not-earlier",
    "already-filled",
    "already-cancelled",
    "unknown-order",
)
FOK_UNFILLABLE, POST_ONLY_WOULD_TRADE, TARGET_NOT_EARLIER = 16, 17, 18
ALREADY_FILLED, ALREADY_CANCELLED, UNKNOWN_ORDER = 19, 20, 21

# Codes of records that are not trades.
REQUESTED = -1
IOC_REMAINDER = -2
MARKET_REMAINDER = -3
SELF_TRADE = -4
REDUCED = -5
REPLACED_FROM = -6
REPLACED_TO = -16

CANCELLATION_REASONS: dict[int, CancellationReason] = {
    REQUESTED: "requested",
    IOC_REMAINDER: "ioc-remainder",
    MARKET_REMAINDER: "market-remainder",
    SELF_TRADE: "self-trade",
    REDUCED: "reduced-to-zero",
}

_NOT_REJECTED = bytes(range(FIRST_REJECTION))


class Totals(NamedTuple):
    """Running sums since the market began; `notional` is the sum of price x lots traded,
    `cancelled` the lots that were cancelled for whatever reason."""

    commands: int
    trades: int
    rejections: int
    lots: int
    notional: int
    cancelled: int


def add_totals(left: Totals, right: Totals) -> Totals:
    """The sums of two stretches of one market's history."""
    return Totals(*[a + b for a, b in zip(left, right, strict=True)])


NO_TOTALS = Totals(0, 0, 0, 0, 0, 0)


@final
class History:
    """Outcomes and records of all commands applied so far."""

    __slots__ = (
        "_summed",
        "_summed_records",
        "codes",
        "command_keys",
        "instructions",
        "keys",
        "lots",
        "outcomes",
        "starts",
    )

    def __init__(self) -> None:
        self.command_keys: list[Key] = []
        self.instructions: list[Instruction] = []
        self.outcomes = bytearray()
        self.starts = array("Q")
        self.keys: list[Key] = []
        self.codes: list[int] = []
        self.lots: list[int] = []
        self._summed = NO_TOTALS
        self._summed_records = 0

    def __len__(self) -> int:
        """How many commands were applied."""
        return len(self.outcomes)

    def records(self, position: int) -> list[tuple[Key, int, int]]:
        """(key, code, lots) of everything that the command at `position` did."""
        start, end = self.starts[position], self.end(position)
        return list(
            zip(self.keys[start:end], self.codes[start:end], self.lots[start:end], strict=True)
        )

    def end(self, position: int) -> int:
        """Where the records of the command at `position` end."""
        following = position + 1
        return self.starts[following] if following < len(self.starts) else len(self.codes)

    def totals(self) -> Totals:
        """The running sums. The cost is that of what happened since they were last asked for."""
        summed = self._summed
        if summed.commands < len(self.outcomes):
            self._summed = summed = self._shifted(
                1, summed.commands, len(self.outcomes), self._summed_records, len(self.codes)
            )
            self._summed_records = len(self.codes)
        return summed

    def truncate(self, position: int) -> None:
        """Forget the commands from `position` on."""
        if position == len(self.outcomes):
            return
        first = self.starts[position]
        if position < self._summed.commands:
            self._summed = self._shifted(
                -1, position, self._summed.commands, first, self._summed_records
            )
            self._summed_records = first
        del self.command_keys[position:]
        del self.instructions[position:]
        del self.outcomes[position:]
        del self.starts[position:]
        del self.keys[first:]
        del self.codes[first:]
        del self.lots[first:]

    def corrupt_trade(self, record: int, lots: int) -> None:
        """Let a past trade have been of another size, as a fault would: the sums follow."""
        self.totals()
        change = lots - self.lots[record]
        self.lots[record] = lots
        self._summed = self._summed._replace(
            lots=self._summed.lots + change,
            notional=self._summed.notional + change * self.codes[record],
        )

    def _shifted(
        self, sign: int, command: int, command_end: int, record: int, record_end: int
    ) -> Totals:
        """The sums with a range of commands and its range of records added or taken away."""
        commands, trades, rejections, lots, notional, cancelled = self._summed
        codes = self.codes[record:record_end]
        sizes = self.lots[record:record_end]
        traded = [size for code, size in zip(codes, sizes, strict=True) if code > 0]
        values = [code * size for code, size in zip(codes, sizes, strict=True) if code > 0]
        withdrawn = [
            size for code, size in zip(codes, sizes, strict=True) if REPLACED_FROM < code < 0
        ]
        rejected = self.outcomes[command:command_end].translate(None, _NOT_REJECTED)
        return Totals(
            commands + sign * (command_end - command),
            trades + sign * len(traded),
            rejections + sign * len(rejected),
            lots + sign * sum(traded),
            notional + sign * sum(values),
            cancelled + sign * sum(withdrawn),
        )
