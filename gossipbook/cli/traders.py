"""Traders in real time: one at each peer, who place so many orders between them.

This file decides the pace and who counts what. It promises that exactly the orders asked for are
placed (one that is refused, or whose trader is stopped before it is signed, is placed by somebody
else), and that the seed decides orders and pauses; which trader comes next, real time decides. It
refuses to know what else happens to the peers: a trader whose key turns out to be forked learns
it from `submit`, as any program does.
"""

from __future__ import annotations

from typing import Protocol

import trio

from gossipbook.book.commands import Command, LimitOrder, MarketOrder, OrderId
from gossipbook.errors import ClockError, OwnHeadUnconfirmed
from gossipbook.genesis import Genesis
from gossipbook.randomness import SeededRandom
from gossipbook.sim.order_flow import OrderFlow

PAUSE_MS = (2, 28)
"""Between two orders, anywhere in the network: about 65 a second, whatever the number of peers."""


class Submitted(Protocol):
    """What a submit gives back, as far as traders need it."""

    @property
    def order_id(self) -> OrderId:
        """The order placed, or the one aimed at."""


class Submitter(Protocol):
    """A peer, here or in another process, as far as traders need it."""

    async def submit(self, command: Command, /) -> Submitted:
        """Sign and store a command. Raises as `Peer.submit`."""


class Trading:
    """The orders of one run, and how far they are.

    `reserved` of them are not for the traders: the story places them when it needs them.
    """

    def __init__(
        self, genesis: Genesis, random: SeededRandom, *, orders: int, reserved: int = 0
    ) -> None:
        self.orders = orders
        self.placed = 0
        self._reserved = reserved
        self._under_way = 0
        self._traders = 0
        self._flow = OrderFlow(genesis, random.child("orders"))
        self._random = random.child("pauses")
        self._waiting = trio.lowlevel.ParkingLot()

    @property
    def is_over(self) -> bool:
        """Whether all orders are placed."""
        return self.placed >= self.orders

    async def until(self, percent: int) -> None:
        """Wait until so much of all orders is placed."""
        while self.placed * 100 < self.orders * percent:
            await self._waiting.park()

    async def trade(self, name: str, peer: Submitter) -> None:
        """Place orders at a peer, with pauses, until all are placed.

        Raises IdentityForked, and whatever `submit` raises that waiting does not cure.
        """
        self._traders += 1
        try:
            while not self.is_over:
                await self._pause()
                if self.placed + self._under_way + self._reserved < self.orders:
                    await self._place(name, peer)
        finally:
            self._traders -= 1

    async def place_reserved(self, name: str, peer: Submitter) -> None:
        """Place one of the reserved orders at a peer, now. Raises as `trade`."""
        assert self._reserved > 0, "more orders than were reserved"
        self._reserved -= 1
        while not await self._place(name, peer):
            await self._pause()

    async def _place(self, name: str, peer: Submitter) -> bool:
        """Whether the peer would sign the next order; all orders are as good as each other."""
        command = self._flow.next(name)
        self._under_way += 1
        try:
            receipt = await peer.submit(command)
        except (OwnHeadUnconfirmed, ClockError):
            return False  # nobody there to confirm our log, or to set our clock by: not yet
        finally:
            self._under_way -= 1
        if isinstance(command, LimitOrder | MarketOrder):
            self._flow.note(name, receipt.order_id)
        self.placed += 1
        self._waiting.unpark_all()
        return True

    async def _pause(self) -> None:
        low_ms, high_ms = PAUSE_MS
        await trio.sleep(self._random.between(low_ms, high_ms) * max(1, self._traders) / 1000)
