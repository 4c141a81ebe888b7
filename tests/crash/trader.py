"""Who submits: orders that are each different from all others, and a note of what became of each.

An order carries a serial number as its quantity, or is the only one to change its target; so its
encoded instruction names it (``notes``), and an order that stands twice in a log would show.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from random import Random

import trio
from crash.notes import ROLLED_BACK, UNDECIDED, WITHDRAWN, Acknowledged, Notebook

import gossipbook as gb
from gossipbook.book.payload import encode_payload, to_instructions

IMPATIENCE_S = 0.005
"""After which one submit in ten is cancelled."""


class Trader:
    """Submits to one peer."""

    def __init__(
        self,
        peer: gb.Peer,
        notebook: Notebook,
        random: Random,
        objections: Callable[[gb.StoreError], Iterable[str]],
    ) -> None:
        """``objections`` says what is wrong with an error that ``submit`` raised."""
        self._peer = peer
        self._notebook = notebook
        self._random = random
        self._objections = objections
        self._serial = itertools.count(len(notebook.read().tried) + 1)
        self._orders: list[gb.OrderId] = []
        self.refused_count = 0

    async def trade(self) -> None:
        """Submit at full speed, for ever."""
        while True:
            kind = self._random.choices(["single", "list", "change"], [5, 2, 3])[0]
            patience_s = self._random.choices([math.inf, IMPATIENCE_S], [9, 1])[0]
            with trio.move_on_after(patience_s):
                await self.submit(self.commands(kind))

    def commands(self, kind: str) -> list[gb.Command]:
        """One new order, or several, or a change of an earlier one, where there is one."""
        if kind == "list":
            return [self._new_order() for _ in range(self._random.randint(2, 5))]
        if kind == "change" and self._orders:
            target = self._orders.pop(self._random.randrange(len(self._orders)))
            if self._random.random() < 0.5:
                return [gb.CancelOrder(target)]
            return [gb.ReplaceOrder(target, quantity=next(self._serial))]
        return [self._new_order()]

    async def submit(self, commands: Sequence[gb.Command]) -> None:
        """Note the attempt, submit, and note what came of it."""
        instructions = to_instructions(commands, self._peer.genesis, self._peer.peer_id)
        names = [encode_payload((instruction,)).hex() for instruction in instructions]
        self._notebook.tried(names)
        try:
            receipts = await self._submit(commands)
        except gb.StoreError as error:
            self._refused(names, error)
            return
        except trio.Cancelled:
            self._notebook.refused(names, WITHDRAWN)
            raise
        self._notebook.acknowledged(
            Acknowledged(
                receipt.command_id.seq, receipt.command_id.index, receipt.entry_id.hex(), name
            )
            for receipt, name in zip(receipts, names, strict=True)
        )
        self._orders += [
            receipt.order_id
            for receipt, command in zip(receipts, commands, strict=True)
            if isinstance(command, gb.LimitOrder)
        ]

    def read(self) -> None:
        """Reading goes on, whatever the disk does: books, and the orders that were acknowledged."""
        assert len(self._peer.root) == 32
        for market in self._peer.genesis.markets:
            self._peer.book(market.symbol)
        for order_id in self._orders:
            assert self._peer.order(order_id) is not None, f"{order_id} was acknowledged"

    async def _submit(self, commands: Sequence[gb.Command]) -> list[gb.Receipt]:
        if len(commands) == 1:
            return [await self._peer.submit(commands[0])]
        return await self._peer.submit(commands)

    def _new_order(self) -> gb.LimitOrder:
        return gb.LimitOrder(
            self._random.choice(["AAA", "BBB"]),
            self._random.choice(["buy", "sell"]),
            price=self._random.randint(90, 110),
            quantity=next(self._serial),
        )

    def _refused(self, names: Sequence[str], error: gb.StoreError) -> None:
        self.refused_count += 1
        undecided = isinstance(error, gb.WriteUndecided)
        self._notebook.refused(names, UNDECIDED if undecided else ROLLED_BACK)
        for what in self._objections(error):
            self._notebook.violation(f"{what}: {error!r}")
