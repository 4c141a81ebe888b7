"""What happens to a peer while its user types: trades, busted trades, links, cheats.

This file decides what is worth a line. It promises that nothing is told twice (what a command's own
answer has said is left out here), and that a busted trade of one's own is never left out.
`NewsDesk.hushed` keeps the news of a command back until its answer is out. It refuses to know where
lines go.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from gossipbook.book.commands import CommandId, OrderId
from gossipbook.book.events import Accepted, Cancelled, OrderStatus, Rejected, Replaced, Trade
from gossipbook.cli.prompt_answers import (
    Answer,
    Labels,
    Line,
    busted_trade_line,
    order_fields,
    order_line,
    own_order_of,
    own_side,
    own_trade_line,
    rejection_in_words,
    trade_fields,
)
from gossipbook.errors import SubscriberLagged
from gossipbook.gossip.interface import (
    ClockSkew,
    DialRefused,
    Divergence,
    ForkProven,
    PeerDown,
    PeerEvent,
    PeerUp,
)
from gossipbook.identity import PeerId
from gossipbook.peer import Peer
from gossipbook.replica import Update

BUFFER = 4_096
KEPT = 1_000
"""News kept for the command `news`; older ones are counted and forgotten."""

MOST_AT_ONCE = 20
"""More news of one moment than that is old orders that come in, as after a store was lost."""

OrderLookup = Callable[[OrderId], OrderStatus | None]


@dataclass(frozen=True, slots=True)
class Notice:
    """One piece of news."""

    kind: str
    line: Line
    fields: dict[str, Any] = field(default_factory=dict)


class NewsDesk:
    """Watches one peer, and hands out notices."""

    def __init__(
        self, peer: Peer, labels: Labels, tell: Callable[[Notice], None] | None = None
    ) -> None:
        self._peer = peer
        self._labels = labels
        self._tell = tell
        self._speaking = trio.Lock()
        self._answered: dict[CommandId, OrderId] = {}
        self._kept: deque[Notice] = deque(maxlen=KEPT)
        self._forgotten = 0

    async def watch(self) -> None:
        """Hand out news until the peer is closed."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_markets)
            nursery.start_soon(self._watch_peer)

    @asynccontextmanager
    async def hushed(self) -> AsyncIterator[None]:
        """No news of the markets in this block, which may say with ``answered`` what is none."""
        async with self._speaking:
            yield

    def answered(self, command_id: CommandId, order_id: OrderId) -> None:
        """What this command did to this order is told already. It has been applied."""
        self._answered[command_id] = order_id

    def take(self) -> Answer:
        """The answer to `news`: what has happened since the last time."""
        notices = list(self._kept)
        self._kept.clear()
        lines = [notice.line for notice in notices] or [Line("nothing new", "dim")]
        if self._forgotten:
            lines.insert(0, Line(f"{self._forgotten:,} older pieces of news are lost", "bad"))
        fields = {
            "lost": self._forgotten,
            "news": [{"kind": notice.kind, **notice.fields} for notice in notices],
        }
        self._forgotten = 0
        return Answer("news", tuple(lines), fields)

    async def _watch_markets(self) -> None:
        while True:
            try:
                async with self._peer.subscribe(buffer=BUFFER, history=False) as updates:
                    async for update in updates:
                        async with self._speaking:
                            self._report(update)
                return
            except SubscriberLagged:
                self._answered.clear()
                lagged = Line(
                    "more happened at once than could be told; `orders` and `trades` have it all",
                    "bad",
                )
                self._publish(Notice("lagged", lagged))

    def _report(self, update: Update) -> None:
        told = {
            event.command_id: self._answered[event.command_id]
            for event in update.events
            if event.command_id in self._answered
        }
        for command_id in told:
            del self._answered[command_id]
        notices = market_notices(self._labels, update, told, self._peer.order)
        if len(notices) > MOST_AT_ONCE:
            notices = _in_short(update.market, notices)
        for notice in notices:
            self._publish(notice)

    async def _watch_peer(self) -> None:
        while True:
            try:
                async with self._peer.events(buffer=BUFFER) as events:
                    async for event in events:
                        self._publish(peer_notice(self._labels, event))
                return
            except SubscriberLagged:
                continue

    def _publish(self, notice: Notice) -> None:
        self._forgotten += len(self._kept) == KEPT
        self._kept.append(notice)
        if self._tell is not None:
            self._tell(notice)


# ------------------------------------------------------------------ what is worth a line


def _in_short(market: str, notices: list[Notice]) -> list[Notice]:
    """Busted trades each, and how many pieces of news of other kinds there are."""
    kinds = Counter(notice.kind for notice in notices)
    busted = [notice for notice in notices if notice.kind == "busted"]
    others = len(notices) - len(busted)
    line = Line(
        f"{others:,} older events of your orders in {market} have come in; `orders` and `trades` "
        "have them",
        "dim",
    )
    return [*busted, Notice("older", line, {"market": market, **kinds})]


def market_notices(
    labels: Labels, update: Update, told: Mapping[CommandId, OrderId], order: OrderLookup
) -> list[Notice]:
    """What an update means for our own orders; ``told`` are the commands that were answered, each
    with the order that its answer was about.

    First what is undone: a busted trade stands before the one that takes its place.
    """
    notices = []
    last_fill = _last_fills(labels.own_id, update)
    for event in update.undone:
        if isinstance(event, Trade) and own_side(labels.own_id, event):
            fields = trade_fields(labels, event)
            notices.append(Notice("busted", busted_trade_line(labels, event), fields))
    undone = {event.command_id for event in update.undone}
    for event in update.events:
        about = event.order_id if isinstance(event, Cancelled) else None
        if event.command_id in told and about in (None, told[event.command_id]):
            continue  # but an order of ours that it met and cancelled is news
        if isinstance(event, Trade):
            if own_side(labels.own_id, event):
                done = order(own_order_of(labels.own_id, event))
                is_last = last_fill[own_order_of(labels.own_id, event)] is event
                line = own_trade_line(labels, event, done if is_last else None)
                notices.append(Notice("trade", line, trade_fields(labels, event)))
        elif event.command_id.author == labels.own_id:
            notices += _own_outcome(labels, event, event.command_id in undone, order)
        elif isinstance(event, Cancelled) and event.order_id.author == labels.own_id:
            notices += _own_order(labels, event.order_id, order)
    return notices


def _last_fills(own_id: PeerId, update: Update) -> dict[OrderId, Trade]:
    """The last trade of each own order: behind it stands what is left of the order."""
    return {
        own_order_of(own_id, event): event
        for event in update.events
        if isinstance(event, Trade) and own_side(own_id, event)
    }


def _own_outcome(
    labels: Labels,
    event: Accepted | Rejected | Cancelled | Replaced,
    changed: bool,
    order: OrderLookup,
) -> list[Notice]:
    """Of a command of our own that was not answered here: a bot's, or one that is decided anew."""
    if isinstance(event, Rejected):
        if order(event.command_id) is not None:
            return _own_order(labels, event.command_id, order)
        why = rejection_in_words(event.reason)
        text = f"a cancellation or replacement of yours was rejected: {why}"
        return [Notice("rejected", Line(text, "bad"), {"command": str(event.command_id)})]
    if isinstance(event, Accepted) and not changed:
        return []  # it came a moment ago; its trades tell
    return _own_order(labels, event.order_id, order)


def _own_order(labels: Labels, order_id: OrderId, order: OrderLookup) -> list[Notice]:
    status = order(order_id)
    if status is None:
        return []
    fields = order_fields(labels, status, order_id)
    return [Notice("order", order_line(labels, status), fields)]


def peer_notice(labels: Labels, event: PeerEvent) -> Notice:
    """What to say about something that happened to the peer besides trading."""
    match event:
        case PeerUp(peer_id):
            who = _whom(labels, peer_id)
            return Notice("peer-up", Line(f"linked to {who}", "dim"), {"peer_id": peer_id.hex()})
        case PeerDown(peer_id, reason):
            line = Line(f"no link to {_whom(labels, peer_id)} any more: {reason}", "dim")
            return Notice("peer-down", line, {"peer_id": peer_id.hex(), "reason": reason})
        case DialRefused(address, reason):
            line = Line(f"{address} refuses a link: {reason}", "bad")
            return Notice("dial-refused", line, {"address": address, "reason": reason})
        case ForkProven(proof):
            return _fork_notice(labels, proof.author == labels.own_id, proof.author, proof.seq)
        case ClockSkew(offset_us, beyond_bound):
            return _clock_notice(offset_us, beyond_bound)
        case Divergence():
            return _divergence_notice(labels, event)
    raise AssertionError(f"news of an unknown kind: {event!r}")


def _fork_notice(labels: Labels, is_own: bool, author: bytes, seq: int) -> Notice:
    fields = {"author": author.hex(), "seq": seq}
    if is_own:
        text = (
            "YOUR KEY IS FORKED: two histories are signed with it, and nothing it signs counts any "
            f"more from entry {seq} on. Stop all peers that use it, and start one with a new key"
        )
        return Notice("fork", Line(text, "loud"), fields)
    who = labels.names.get(author, author[:4].hex())  # type: ignore[call-overload]
    text = f"{who} signed two histories; from entry {seq} on its orders do not count"
    return Notice("fork", Line(text, "loud"), fields)


def _clock_notice(offset_us: int, beyond_bound: bool) -> Notice:
    fields = {"offset_s": offset_us / 1e6, "beyond_bound": beyond_bound}
    if not beyond_bound:
        return Notice("clock", Line("this machine's clock is near the others' again"), fields)
    where = "behind" if offset_us > 0 else "ahead of"
    text = (
        f"this machine's clock is {abs(offset_us) / 1e6:.1f} s {where} the other peers': "
        "set it (NTP), or orders may be refused"
    )
    return Notice("clock", Line(text, "loud"), fields)


def _divergence_notice(labels: Labels, event: Divergence) -> Notice:
    place = event.market or "a market"
    who = "an audit" if event.peer_id is None else _whom(labels, event.peer_id)
    text = {
        "claimed": f"{who} holds another book of {place} with the same entries; checking ours",
        "healed": f"our memory of {place} was wrong; it has been mended",
        "unresolved": f"{who} holds another book of {place}; ours was checked and is right",
    }.get(event.status, f"a divergence in {place}: {event.status}")
    fields = {"status": event.status, "market": event.market, "second": event.second}
    return Notice(
        "divergence", Line(text, "plain" if event.status == "claimed" else "loud"), fields
    )


def _whom(labels: Labels, peer_id: bytes) -> str:
    name = labels.names.get(peer_id)  # type: ignore[call-overload]
    return f"{name} ({peer_id[:4].hex()})" if name else peer_id[:4].hex()
