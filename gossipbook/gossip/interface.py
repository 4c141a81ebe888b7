"""What goes into the protocol and what comes out of it.

The driver's duties (``peer.py`` with trio, ``sim/cluster.py`` with a heap of events):

1. Call ``handle(input, now)`` with one input at a time, never from two tasks at once.
2. Carry out the outputs in the order in which they stand.
3. ``Persist``: write the entries, proofs and clock to the store in one transaction, in the order
   of the tokens, then answer with ``Persisted``. If a write fails, forget all that were handed
   over after it, and answer once with ``PersistFailed`` for the first; where nobody can tell for
   now, with ``PersistUndecided`` first. Own entries have been sent to nobody before that answer.
4. ``Verify``: check the signatures, answer with ``Verified``. Any order, any time.
5. ``Send``: queue the bytes on the link. A full queue drops frames whose ``droppable`` is set
   and counts them; the protocol repairs the loss. It never waits.
6. ``SetTimer``: call ``handle(TimerFired(), now)`` at that monotonic time or soon after. A later
   ``SetTimer`` replaces an earlier one.
7. ``Dial``: connect, and answer with ``LinkUp`` or ``DialFailed``. ``DropLink``: close; no
   ``LinkDown`` is wanted for it.
"""

from dataclasses import dataclass
from typing import NamedTuple

from gossipbook.book.payload import Instruction
from gossipbook.errors import GossipbookError
from gossipbook.identity import PeerId
from gossipbook.log.entry import Entry, EntryId
from gossipbook.log.fork import ForkProof
from gossipbook.replica import Update

LinkId = int
"""Names one connection of one peer, for as long as it lasts; given out by the driver."""

Address = bytes
"""Where a peer can be dialled; opaque to the protocol, at most 128 bytes."""

# ------------------------------------------------------------------ inputs


class LinkUp(NamedTuple):
    """A connection stands, and the peer at its other end has proven who it is."""

    link: LinkId
    peer_id: PeerId
    address: Address | None
    dialled: bool


class LinkDown(NamedTuple):
    """A connection is gone; ``offence``: because its other end broke a rule of framing."""

    link: LinkId
    reason: str = "the connection closed"
    offence: bool = False


class DialFailed(NamedTuple):
    address: Address


class Learn(NamedTuple):
    """A peer can be dialled there: the user says so, and it counts as a bootstrap address; or,
    where ``peer_id`` is given, somebody says who is there, and it is hearsay."""

    address: Address
    peer_id: PeerId | None = None


class Received(NamedTuple):
    """One frame came in."""

    link: LinkId
    data: bytes


class TimerFired(NamedTuple):
    pass


class Submit(NamedTuple):
    """Our own commands, to stand in one entry: 1 to 256 of them."""

    token: int
    commands: tuple[Instruction, ...]


class Withdraw(NamedTuple):
    """Take back a submit whose batch has not been taken yet; otherwise nothing happens."""

    token: int


class Persisted(NamedTuple):
    token: int


class PersistFailed(NamedTuple):
    """The write was rolled back cleanly: nothing of it is in the store, nor of any later one."""

    token: int
    reason: str


class PersistUndecided(NamedTuple):
    """The write failed, and it cannot be found out for now whether it is in the store.

    ``Persisted`` or ``PersistFailed`` follows when it can.
    """

    token: int
    reason: str


class Verified(NamedTuple):
    """For each entry of the ``Verify``: the entry to keep, or None for a bad signature."""

    token: int
    entries: list[Entry | None]


class Leave(NamedTuple):
    """Say goodbye to everyone."""


Input = (
    LinkUp
    | LinkDown
    | DialFailed
    | Learn
    | Received
    | TimerFired
    | Submit
    | Withdraw
    | Persisted
    | PersistFailed
    | PersistUndecided
    | Verified
    | Leave
)

# ------------------------------------------------------------------ outputs


class Persist(NamedTuple):
    token: int
    entries: tuple[Entry, ...]
    proofs: tuple[ForkProof, ...]
    clock_high_water: int
    peers: tuple[tuple[PeerId, Address], ...] = ()
    """Peers we had links to, and where they say they can be dialled."""
    signed: bool = False
    """Whether it holds an entry that we have just signed: then our head was confirmed."""


class Verify(NamedTuple):
    token: int
    entries: tuple[Entry, ...]


class Send(NamedTuple):
    link: LinkId
    data: bytes
    droppable: bool


class SetTimer(NamedTuple):
    at_us: int


class Dial(NamedTuple):
    address: Address
    expected: PeerId | None


class DropLink(NamedTuple):
    link: LinkId
    reason: str
    offence: bool = False
    """Whether the other end broke a rule."""


class Submitted(NamedTuple):
    """The commands of a submit are on disk, from ``first_index`` on in entry ``seq``."""

    token: int
    entry_id: EntryId
    seq: int
    first_index: int


class Refused(NamedTuple):
    """A submit did not happen, and will not."""

    token: int
    error: GossipbookError


class Emit(NamedTuple):
    event: "Event"


Output = Persist | Verify | Send | SetTimer | Dial | DropLink | Submitted | Refused | Emit

# ------------------------------------------------------------------ events for the user


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A link to this peer stands."""

    peer_id: PeerId


@dataclass(frozen=True, slots=True)
class PeerDown:
    """The last link to this peer is gone; ``reason`` says why in words."""

    peer_id: PeerId
    reason: str


@dataclass(frozen=True, slots=True)
class ForkProven:
    """An author signed two histories. Its entries from ``proof.seq`` on no longer count."""

    proof: ForkProof


@dataclass(frozen=True, slots=True)
class ClockSkew:
    """This machine's clock is ``offset_us`` behind the median peer's: beyond what is corrected
    (or no longer, where ``beyond_bound`` is False). Told again when it changes by seconds."""

    offset_us: int
    beyond_bound: bool


@dataclass(frozen=True, slots=True)
class Divergence:
    """Two peers hold the same entries below ``second`` and different books.

    ``status`` is "claimed" when it is first seen (the other peer may lie), "healed" when our own
    audit found our memory wrong and mended it, "unresolved" when our audit found us right.
    ``second`` is the first cut (seconds since 1970) at which the two differ. ``market``, ``side``
    and ``price_ticks`` locate the first difference; side and price are None where only the
    history (counts and sums of past commands and trades) differs. ``ours`` and ``theirs`` are the
    two roots of the market. ``peer_id`` is None where the damage was noticed without a peer, by an
    engine that failed; ``detail`` then names the error, and the roots are empty.
    """

    status: str
    peer_id: PeerId | None
    second: int
    market: str | None
    side: str | None
    price_ticks: int | None
    ours: bytes
    theirs: bytes
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DialRefused:
    """The peer at ``address`` answers and does not want this one, or the other way round: another
    network, not a member. Told by the driver, once for each reason."""

    address: str
    reason: str


PeerEvent = PeerUp | PeerDown | ForkProven | ClockSkew | Divergence | DialRefused
"""What happens to a peer besides trading."""

Event = Update | PeerEvent
