"""What `wait` waits for: that peers are linked, that orders are here, that time has passed.

This file decides when it is so, by looking every now and then. It promises that a wait which ends
in vain says how far it came. Cancelling a wait changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import trio

from gossipbook.book.commands import OrderId
from gossipbook.cli.prompt_answers import Answer, Labels, order_line, wait_answer
from gossipbook.cli.prompt_language import Wait
from gossipbook.cli.prompt_orders import OrderNumbers
from gossipbook.errors import UsageError
from gossipbook.peer import Peer

POLL_S = 0.02

Look: TypeAlias = Callable[[], tuple[bool, str]]
"""Whether it is so now, and how it stands in words."""


async def wait_for(
    wish: Wait, peer: Peer, labels: Labels, numbers: OrderNumbers, market: str
) -> Answer:
    """Return when it is so. Raises UsageError where it does not come to that in time."""
    if wish.kind == "seconds":
        await trio.sleep(wish.count)
        return wait_answer(f"waited {wish.count:g} s", wish.count)
    look = _look_for(wish, peer, labels, numbers, market)
    started_s = trio.current_time()
    with trio.move_on_after(wish.within_s):
        while not (seen := look())[0]:
            await trio.sleep(POLL_S)
        return wait_answer(seen[1], trio.current_time() - started_s)
    raise UsageError(
        f"not within {wish.within_s:g} s: {look()[1]}; wait longer with `within SECONDS`"
    )


def _look_for(wish: Wait, peer: Peer, labels: Labels, numbers: OrderNumbers, market: str) -> Look:
    if wish.kind == "closed":
        assert wish.order is not None, "the parser sees to it"
        return _closed(peer, labels, numbers.order(wish.order))
    if wish.kind == "equal":
        return lambda: _equal(peer)
    counters: Mapping[str, Callable[[], int]] = {
        "peers": lambda: len(peer.peers()),
        "entries": lambda: peer.entry_count,
        "trades": lambda: len(peer.trades(market)),
    }
    count, counter = wish.count, counters[wish.kind]
    return lambda: (counter() >= count, f"{counter():,} of {count:,g} {wish.kind}")


def _closed(peer: Peer, labels: Labels, order_id: OrderId) -> Look:
    def look() -> tuple[bool, str]:
        order = peer.order(order_id)
        if order is None:
            return False, f"{labels.order(order_id)} is not here"
        return order.state != "open", order_line(labels, order).text

    return look


def _equal(peer: Peer) -> tuple[bool, str]:
    """As far as is known: what a peer got a moment ago, it may not have told yet."""
    links = peer.links()
    apart = sum(bool(link.entries_ahead or link.entries_behind) for link in links)
    if not links:
        return False, "no peer is linked"
    words = f"{len(links) - apart} of {len(links)} linked peers have the same entries as we"
    return not apart, words
