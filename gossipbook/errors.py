"""What can go wrong, told apart by whose mistake it is.

A `UsageError` is our caller's mistake: the call was refused, nothing happened, and the message
names the value and the remedy. A `RemoteError` is a remote peer's mistake: it ends that one link
and never reaches the caller of `submit`. What is neither (a forked identity, a clock that is off)
stands directly under `GossipbookError`. This module holds names and no behaviour.

    GossipbookError
      UsageError (ValueError)   InvalidCommand, UnknownMarket, NotAMember, InvalidGenesis,
                                PeerClosed
      RemoteError               EncodingError, InvalidEntry, BadSignature, ProtocolViolation,
                                WrongNetwork
      StoreError                WriteRolledBack, WriteUndecided
      IdentityForked, ClockError, OwnHeadUnconfirmed, SubscriberLagged, NotConverged
      ConnectionLost, Unreachable
"""

__all__ = [
    "BadSignature",
    "ClockError",
    "ConnectionLost",
    "EncodingError",
    "GossipbookError",
    "IdentityForked",
    "InvalidCommand",
    "InvalidEntry",
    "InvalidGenesis",
    "NotAMember",
    "NotConverged",
    "OwnHeadUnconfirmed",
    "PeerClosed",
    "ProtocolViolation",
    "RemoteError",
    "StoreError",
    "SubscriberLagged",
    "UnknownMarket",
    "Unreachable",
    "UsageError",
    "WriteRolledBack",
    "WriteUndecided",
    "WrongNetwork",
]


class GossipbookError(Exception):
    """The root of every exception that this library raises on purpose."""


class UsageError(GossipbookError, ValueError):
    """The call was wrong and had no effect; the message says what to write instead."""


class InvalidCommand(UsageError):
    """A command that no state of the book could make right, such as a price off the tick."""


class UnknownMarket(UsageError):
    """A market symbol that the genesis does not list."""


class NotAMember(UsageError):
    """The genesis lists its members, and this key is not among them."""


class InvalidGenesis(UsageError):
    """A genesis or market that cannot be: a tick of zero, a symbol given twice, unknown rules."""


class PeerClosed(UsageError):
    """The peer is closed: its ``async with`` block has ended. What it held can still be read."""


class IdentityForked(GossipbookError):
    """Two different entries with one sequence number are signed with this key.

    Nothing more can be submitted with it: another process uses the key, or an old copy of the
    store was restored and written to.
    """


class ClockError(GossipbookError):
    """This machine's clock runs ahead of the other peers' clocks; nothing was signed."""


class OwnHeadUnconfirmed(GossipbookError):
    """No other peer has yet confirmed how long our own log is, so nothing was signed."""


class SubscriberLagged(GossipbookError):
    """A subscriber read too slowly and missed something; a new subscription starts whole."""


class StoreError(GossipbookError):
    """A store cannot be opened, belongs to another peer or network, or could not write."""


class WriteRolledBack(StoreError):
    """A write failed, and nothing of it is in the store."""


class WriteUndecided(StoreError):
    """A write failed in a way that only the disk can tell what came of it, and it cannot be read.

    The store is read again until it can be; nothing more is signed before that.
    """


class ConnectionLost(GossipbookError):
    """A connection is closed, from either side, or broken; it carries nothing any more."""


class Unreachable(GossipbookError):
    """Nobody answers at an address now. It may be different later."""


class NotConverged(GossipbookError):
    """The simulated peers did not come to agree within the deadline."""


class RemoteError(GossipbookError):
    """A remote peer broke a rule; its link is closed, and nothing else is affected."""


class EncodingError(RemoteError):
    """Bytes that are not the one strict encoding of what they claim to be."""


class InvalidEntry(RemoteError):
    """An entry that decodes but cannot belong to any log of this network."""


class BadSignature(RemoteError):
    """A signature that does not cover what it came with."""


class ProtocolViolation(RemoteError):
    """A message that is well formed but not allowed here, or too large, or too frequent."""


class WrongNetwork(RemoteError):
    """The remote peer belongs to another network: the two genesis values differ."""
