"""Short numbers for one's own orders: #1, #2, ...

This file decides that the n-th order in a key's log is #n. Logs only grow at their end, so the same
order has the same number after a restart, on another machine, and while an old log is still coming
back from other peers. It promises to read each entry once. It refuses to know what became of an
order.
"""

from __future__ import annotations

from collections.abc import Iterable

from gossipbook.book.commands import CommandId, OrderId
from gossipbook.book.payload import Placement, decode_payload
from gossipbook.cli.prompt_language import OrderRef
from gossipbook.errors import EncodingError, UsageError
from gossipbook.identity import PeerId
from gossipbook.peer_view import PeerView


class OrderNumbers:
    """The orders of one author, numbered in the order of its log."""

    def __init__(self, peer: PeerView, author: PeerId) -> None:
        self._peer = peer
        self._author = author
        self._read = 0  # entries of the log
        self._orders: list[OrderId] = []  # at number - 1
        self._numbers: dict[OrderId, int] = {}

    def __len__(self) -> int:
        self._catch_up()
        return len(self._orders)

    def all(self) -> Iterable[OrderId]:
        """Every order, oldest first."""
        self._catch_up()
        return tuple(self._orders)

    def number(self, order_id: OrderId) -> int | None:
        """The order's number; None where it is not this author's, or not in the log."""
        if order_id not in self._numbers:
            self._catch_up()
        return self._numbers.get(order_id)

    def order(self, ref: OrderRef) -> OrderId:
        """The order that people name like this. Raises UsageError."""
        if isinstance(ref, CommandId):
            return ref
        self._catch_up()
        if 1 <= ref <= len(self._orders):
            return self._orders[ref - 1]
        count = len(self._orders)
        there_are = f"#1 to #{count}" if count > 1 else "only #1" if count else "none yet"
        raise UsageError(f"there is no own order #{ref}; there are {there_are}: see `orders all`")

    def _catch_up(self) -> None:
        log = self._peer.replica.logs.get(self._author)
        if log is None:
            return
        for entry in log.entries[self._read :]:
            self._read += 1
            try:
                instructions = decode_payload(entry.payload, len(self._peer.genesis.markets))
            except EncodingError:
                continue  # some other program's; it counts for nobody
            for index, instruction in enumerate(instructions):
                if isinstance(instruction, Placement):
                    symbol = self._peer.genesis.markets[instruction.market].symbol
                    order_id = OrderId(symbol, self._author, entry.seq, index)
                    self._orders.append(order_id)
                    self._numbers[order_id] = len(self._orders)
