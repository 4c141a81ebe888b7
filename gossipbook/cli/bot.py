"""A trader that never sleeps: random orders at a peer, at a rate, until it is stopped.

This file decides the pace, and what a bot does where a person would read an error. It promises
about ``rate_per_s`` orders a second in the mean, with the pauses of a Poisson process, and that a
seed fixes orders and pauses. It refuses to look at the book: ``sim.order_flow`` makes orders that
trade, cancel and replace without.
"""

from __future__ import annotations

import logging
from random import Random
from secrets import randbits

import trio

from gossipbook.book.commands import LimitOrder, MarketOrder
from gossipbook.errors import (
    ClockError,
    GossipbookError,
    IdentityForked,
    OwnHeadUnconfirmed,
    PeerClosed,
    StoreError,
    UsageError,
)
from gossipbook.peer import Peer
from gossipbook.sim.order_flow import OrderFlow

RETRY_S = 1.0
"""How long it waits after an order that the peer could not sign or store."""

log = logging.getLogger("gossipbook.bot")


async def trade_randomly(peer: Peer, *, rate_per_s: float, seed: int | None = None) -> None:
    """Submit random orders to every market of the peer, about ``rate_per_s`` a second.

    Ends when the key turns out to have signed two histories, or when the peer is closed, and tells
    the log; otherwise it runs until cancelled. While the peer may not sign (nobody confirms its
    log, its clock is off) or its disk fails, it waits and tries again. Raises UsageError for a
    rate that is not above 0.
    """
    if not rate_per_s > 0:
        raise UsageError(f"a bot with {rate_per_s} orders a second; give a rate above 0, such as 5")
    seed = randbits(64) if seed is None else seed
    flow, pauses = OrderFlow(peer.genesis, seed), Random(seed)
    log.info("the bot trades at %g orders a second (seed %d)", rate_per_s, seed)
    due_s = trio.current_time()
    trouble: str | None = None
    while True:
        due_s = max(due_s + pauses.expovariate(rate_per_s), trio.current_time())
        await trio.sleep_until(due_s)
        try:
            await _place_one(peer, flow)
        except (IdentityForked, PeerClosed) as error:
            log.warning("the bot ends: %s", error, extra={"reason": str(error)})
            return
        except (OwnHeadUnconfirmed, ClockError, StoreError) as error:
            trouble = _told_once(error, trouble)
            await trio.sleep(RETRY_S)
        else:
            if trouble is not None:
                log.info("the bot trades again")
            trouble = None


async def _place_one(peer: Peer, flow: OrderFlow) -> None:
    command = flow.next(peer.peer_id)
    receipt = await peer.submit(command)
    if isinstance(command, LimitOrder | MarketOrder):
        flow.note(peer.peer_id, receipt.order_id)


def _told_once(error: GossipbookError, told: str | None) -> str:
    """Tell the log of a kind of trouble when it begins, not once an order."""
    kind = type(error).__name__
    if kind != told:
        log.warning("the bot waits: %s", error, extra={"reason": str(error)})
    return kind
