"""What a transport does for a peer: connections to others whose identity is proven.

A ``Transport`` is what users make and hand to ``open_peer``. Opening it binds it to a network and
a key and gives an ``Endpoint``, which dials others and accepts their connections. A ``Connection``
carries frames, whole or not at all, and knows who is at its other end: network, key and membership
are checked before anybody gets to see it. Frames may be lost, doubled or late (a real network's
connections break instead); the protocol above repairs that.

All waiting here can be cancelled. What that leaves behind: a cancelled ``send`` may have sent some
of its frames, a cancelled ``receive`` has lost none, a cancelled ``dial`` leaves no connection.
``tests/transport/suite.py`` says the rest; every transport passes it.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from gossipbook.genesis import Genesis
from gossipbook.gossip.interface import Address
from gossipbook.identity import Keypair, PeerId


class Connection(Protocol):
    """Frames to and from one peer."""

    @property
    def peer_id(self) -> PeerId:
        """Who is at the other end, proven."""

    @property
    def address(self) -> Address | None:
        """Where the peer at the other end says it can be dialled; None if nowhere."""

    async def send(self, frames: Sequence[bytes]) -> None:
        """Send frames in this order; returns when they are on their way.

        Waits while the other end is slow to read. Raises ConnectionLost. One task at a time.
        """

    async def receive(self) -> Sequence[bytes]:
        """Frames that have come, at least one, in order of arrival; others may have come, too.

        Raises ConnectionLost when there are no more, and RemoteError where the other end broke a
        rule of framing. One task at a time.
        """

    def blame(self) -> None:
        """The other end broke a rule; where it comes from, fewer connections are let in for now."""

    async def aclose(self) -> None:
        """Close it; frames sent before still travel. Calling it again does nothing."""


class Endpoint(Protocol):
    """A transport that is open, under one key, in one network."""

    @property
    def address(self) -> Address | None:
        """Where others can dial this peer; None if nowhere."""

    async def dial(self, address: Address, expected: PeerId | None) -> Connection:
        """Connect. ``expected`` is who is thought to be there; another may answer.

        Raises Unreachable, and RemoteError where the peer there belongs to another network or one
        of the two does not accept the other. It may take for ever: bring a timeout.
        """

    async def accept(self) -> Connection:
        """The next connection that somebody else dialled."""


class Transport(Protocol):
    """A way to reach other peers. One value serves one peer at a time, as often as it restarts."""

    def open(self, genesis: Genesis, keypair: Keypair) -> AbstractAsyncContextManager[Endpoint]:
        """Listen, until the end of the block; leaving it closes every connection.

        Raises UsageError where the address cannot be had.
        """
