"""One link as its peer sees it now: is it alive, how far away, and how far apart are the logs.

This file turns what the protocol keeps about a link, in microseconds and lengths by author, into
the record that users read. It counts at the moment of asking, at a cost of one look-up per author,
and changes nothing.
"""

from dataclasses import dataclass

from gossipbook.gossip.interface import Address
from gossipbook.gossip.links import Link
from gossipbook.identity import PeerId
from gossipbook.replica import Replica


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """A link to another peer; a copy that does not change any more.

    ``address`` is where the peer can be dialled (None where nobody knows); ``dialled`` tells
    whether we dialled it, or it us. ``phi`` is how suspicious its silence has become: at 3, a link
    that lives is silent for so long once in 1,000 times, and at the limit that the settings name
    it is given up. ``round_trip_s`` and ``clock_offset_s`` (positive where its clock is ahead of
    ours) are those of the fastest recent ping, None before the first came back. ``entries_behind``
    is how many entries we hold that it is not known to hold, ``entries_ahead`` how many it claims
    to hold that we do not. ``queued_bytes`` wait to be sent to it.
    """

    peer_id: PeerId
    address: str | None
    dialled: bool
    since_s: float
    """For how long the link has stood."""
    phi: float
    round_trip_s: float | None
    clock_offset_s: float | None
    entries_ahead: int
    entries_behind: int
    queued_bytes: int


def link_status(
    link: Link,
    replica: Replica,
    *,
    address: Address | None,
    now_us: int,
    queued_bytes: int,
) -> LinkStatus:
    """How the link stands at the monotonic time ``now_us``."""
    offset_us = link.clock.offset_us
    pinged = offset_us is not None
    ahead, behind = _apart(link, replica)
    return LinkStatus(
        peer_id=link.peer_id,
        address=None if address is None else address.decode(errors="replace"),
        dialled=link.dialled,
        since_s=(now_us - link.opened_us) / 1e6,
        phi=max(0, link.detector.phi_milli(now_us)) / 1000,
        round_trip_s=link.clock.round_trip_us / 1e6 if pinged else None,
        clock_offset_s=None if offset_us is None else offset_us / 1e6,
        entries_ahead=ahead,
        entries_behind=behind,
        queued_bytes=queued_bytes,
    )


def _apart(link: Link, replica: Replica) -> tuple[int, int]:
    """How many entries it has that we lack, and how many we have that it lacks.

    Entries beyond a proven fork do not count, whoever holds them.
    """
    ahead = common = 0
    for author, length in link.known.items():
        ours = replica.logs.get(author)
        if ours is None:
            ahead += length
        elif length > ours.length:
            common += ours.length
            ahead += max(0, (length if ours.k is None else min(length, ours.k)) - ours.length)
        else:
            common += length
    return ahead, replica.entry_count - common
