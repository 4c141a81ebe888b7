"""What happens to a peer, as lines in the standard library's logs.

This file decides which logger and level an event goes to, in which words, and with which fields:
the ``extra`` of a record carries ``peer``, ``reason``, ``address`` and so on as values, for who
writes logs by machine. It promises that other peers cannot flood the log: lines about links are
let through at a bounded rate, and how many were left out is told. It decides nothing that happens.

    gossipbook.peer      opened, closed                      INFO
                         a fork proven, a divergence, a clock beyond the bound       WARNING
    gossipbook.links     links up and down, connections that were refused            INFO

Stores and transports have loggers of their own. The library is silent until the application
configures logging (``cli/logs.py`` is how the command does it).
"""

from __future__ import annotations

import logging

from gossipbook.gossip.interface import (
    Address,
    ClockSkew,
    DialRefused,
    Divergence,
    ForkProven,
    PeerDown,
    PeerEvent,
    PeerUp,
)
from gossipbook.identity import PeerId, short
from gossipbook.line_budget import LineBudget

logging.getLogger("gossipbook").addHandler(logging.NullHandler())

_peer = logging.getLogger("gossipbook.peer")
_links = logging.getLogger("gossipbook.links")

LINES_AT_ONCE = 100
LINES_PER_S = 5
"""A peer of some dozen others that start at once tells of them all; of somebody with a valid key
who connects over and over it tells now and then."""


class EventLog:
    """Writes down what happens to one peer."""

    def __init__(self, own_id: PeerId) -> None:
        self._own = short(own_id)
        self._budget = LineBudget(LINES_AT_ONCE, LINES_PER_S)

    def opened(self, network: str, address: str | None, *, entries: int, authors: int) -> None:
        at = "without an address" if address is None else f"at {address}"
        _peer.info(
            f"{self._own} is open on {network!r} {at}, with {_sizes(entries, authors)}",
            extra=self._fields(network=network, address=address, entries=entries, authors=authors),
        )

    def closed(self, *, entries: int, authors: int) -> None:
        _peer.info(
            f"{self._own} is closed, with {_sizes(entries, authors)}",
            extra=self._fields(entries=entries, authors=authors),
        )

    def event(self, event: PeerEvent, address: Address | None, now_s: float) -> None:
        """``address`` is where the peer that the event names can be dialled, if anybody knows."""
        match event:
            case PeerUp(peer_id):
                self._link_line(f"{short(peer_id)} is linked", now_s, peer_id, address)
            case PeerDown(peer_id, reason):
                what = f"{short(peer_id)} is no longer linked: {reason}"
                self._link_line(what, now_s, peer_id, address, reason)
            case DialRefused(where, reason):
                self._link_line(f"no link: {reason}", now_s, None, where.encode(), reason)
            case ForkProven(proof):
                author = short(proof.author)
                _peer.warning(
                    f"{author} signed two histories; its entries from seq {proof.seq} on no longer "
                    "count",
                    extra=self._fields(author=author, seq=proof.seq),
                )
            case ClockSkew(offset_us, beyond):
                self._clock(offset_us, beyond)
            case Divergence():
                self._divergence(event)

    def refused(self, peer_id: PeerId, reason: str, address: Address | None, now_s: float) -> None:
        """A connection did not become a link, although its peer had proven who it is."""
        what = f"no link to {short(peer_id)}: {reason}"
        self._link_line(what, now_s, peer_id, address, reason)

    # ---------------------------------------------------------------- single lines

    def _link_line(
        self,
        what: str,
        now_s: float,
        peer_id: PeerId | None,
        address: Address | None,
        reason: str | None = None,
    ) -> None:
        if not _links.isEnabledFor(logging.INFO) or not self._budget.take(now_s):
            return
        left_out = self._budget.take_left_out()
        if left_out:
            _links.info(
                f"{left_out} lines about links were left out: too many in a short time",
                extra=self._fields(left_out=left_out),
            )
        where = None if address is None else address.decode(errors="replace")
        _links.info(
            what if where is None else f"{what} ({where})",
            extra=self._fields(
                peer=None if peer_id is None else short(peer_id), address=where, reason=reason
            ),
        )

    def _clock(self, offset_us: int, beyond: bool) -> None:
        seconds = abs(offset_us) / 1e6
        way = "behind" if offset_us > 0 else "ahead of"
        fields = self._fields(offset_s=offset_us / 1e6, beyond_bound=beyond)
        if beyond:
            _peer.warning(
                f"this machine's clock is {seconds:.1f} s {way} the median peer's, more than is "
                "corrected: set it",
                extra=fields,
            )
        else:
            _peer.info("this machine's clock is within what is corrected again", extra=fields)

    def _divergence(self, event: Divergence) -> None:
        status = event.status
        peer = None if event.peer_id is None else short(event.peer_id)
        _peer.warning(
            _DIVERGENCES[status].format(peer=peer, place=_place(event))
            + (f" ({event.detail})" if event.detail else ""),
            extra=self._fields(
                status=status,
                peer=peer,
                market=event.market,
                side=event.side,
                price_ticks=event.price_ticks,
                second=event.second,
                detail=event.detail or None,
            ),
        )

    def _fields(self, **fields: object) -> dict[str, object]:
        """What goes into ``extra``: what there is of it, and whose log line it is."""
        known = {name: value for name, value in fields.items() if value is not None}
        return {"own": self._own, **known}


_DIVERGENCES = {
    "claimed": "{peer} holds the same entries and another book: {place}; checking ours",
    "healed": "our book was damaged in memory and has been replayed: {place}",
    "unresolved": "{peer} holds another book than a fresh replay gives: {place}; theirs is wrong",
}


def _sizes(entries: int, authors: int) -> str:
    return (
        f"{entries} entr{'y' if entries == 1 else 'ies'} of {authors} author{'s' * (authors != 1)}"
    )


def _place(event: Divergence) -> str:
    place = "its markets" if event.market is None else event.market
    if event.side is not None:
        place += f", {event.side} side"
    if event.price_ticks is not None:
        place += f", price {event.price_ticks} ticks"
    return f"{place}, from second {event.second} on"
