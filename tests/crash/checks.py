"""What must hold of a peer's own log after a restart, whatever happened before.

The log is compared with what the world knows (``notes``): every order that was acknowledged is
there, with the same content and at its place; every entry that another peer saw is there under the
same id, so no second entry was signed with its seq; and an order that was rolled back or withdrawn
is not there. A violation is a sentence that names the entry.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from crash.notes import ROLLED_BACK, UNDECIDED, WITHDRAWN, Notes

from gossipbook.book.payload import decode_payload, encode_payload
from gossipbook.log.entry import NO_ENTRY, Entry, signature_is_good


@dataclass(frozen=True)
class Balance:
    """What became of all orders that were ever tried."""

    entries: int
    acknowledged: int
    stood: int
    """In the log, though nobody was told so: the peer died between disk and answer."""
    lost: int
    """Not in the log, and nobody was told anything."""
    rolled_back: int
    withdrawn: int
    """Cancelled, which means: not submitted."""
    undecided_stood: int
    undecided_gone: int


def check_own_log(log: Sequence[Entry], notes: Notes) -> list[str]:
    """The promises that are broken; none, if all is well."""
    orders = orders_of(log)
    return [
        *_broken_chain(log),
        *_not_as_acknowledged(log, orders, notes),
        *_not_as_seen(log, notes),
        *_not_as_refused(orders, notes),
        *[
            f"order {order} stands {count} times in the log"
            for order, count in Counter(order for entry in orders for order in entry).items()
            if count > 1
        ],
    ]


def balance(log: Sequence[Entry], notes: Notes) -> Balance:
    """Add up what became of the orders."""
    there = {order for entry in orders_of(log) for order in entry}
    acknowledged = {one.order for one in notes.acknowledged}
    undecided = {order for order, how in notes.refused.items() if how == UNDECIDED}
    how_many = Counter(notes.refused.values())
    unanswered = set(notes.tried) - acknowledged - notes.refused.keys()
    return Balance(
        entries=len(log),
        acknowledged=len(acknowledged),
        stood=len(unanswered & there),
        lost=len(unanswered - there),
        rolled_back=how_many[ROLLED_BACK],
        withdrawn=how_many[WITHDRAWN],
        undecided_stood=len(undecided & there),
        undecided_gone=len(undecided - there),
    )


def orders_of(log: Sequence[Entry]) -> list[list[str]]:
    """The orders in each entry, as the notes name them."""
    return [
        [encode_payload((one,)).hex() for one in decode_payload(entry.payload, 2)] for entry in log
    ]


def _broken_chain(log: Sequence[Entry]) -> list[str]:
    broken = []
    head = NO_ENTRY
    for seq, entry in enumerate(log):
        if (entry.seq, entry.prev) != (seq, head):
            broken.append(f"entry {seq} does not continue the one before it: {entry!r}")
        head = entry.id
    newest = log[-16:]  # 60 us each
    broken += [
        f"entry {entry.seq}: its signature is bad"
        for entry in newest
        if not signature_is_good(entry.author, entry.id, entry.signature)
    ]
    return broken


def _not_as_acknowledged(
    log: Sequence[Entry], orders: Sequence[Sequence[str]], notes: Notes
) -> list[str]:
    broken = []
    for one in notes.acknowledged:
        if one.seq >= len(log):
            broken.append(f"{one} is gone: the log has {len(log)} entries")
        elif log[one.seq].id.hex() != one.entry_id:
            broken.append(f"{one}: another entry has its seq, {log[one.seq].id.hex()}")
        elif orders[one.seq][one.index : one.index + 1] != [one.order]:
            broken.append(f"{one}: the entry says {orders[one.seq]}")
    return broken


def _not_as_seen(log: Sequence[Entry], notes: Notes) -> list[str]:
    broken = []
    for seq, entry_id in dict.fromkeys(notes.seen):
        if seq >= len(log):
            broken.append(f"entry {seq} ({entry_id}) was seen by others, and is gone")
        elif log[seq].id.hex() != entry_id:
            broken.append(f"fork at {seq}: others saw {entry_id}, the log has {log[seq].id.hex()}")
    return broken


def _not_as_refused(orders: Sequence[Sequence[str]], notes: Notes) -> list[str]:
    return [
        f"order {order} was {notes.refused[order]}, and stands at {seq}"
        for seq, entry in enumerate(orders)
        for order in entry
        if notes.refused.get(order) in (ROLLED_BACK, WITHDRAWN)
    ]
