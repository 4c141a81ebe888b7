"""A network in one process: peers that reach each other without sockets, over links from a seed.

``MemoryNetwork`` hands out transports by address. What a message meets on its way (latency, loss,
duplication, reordering, bandwidth) is decided by the ``LinkModel`` that the simulator uses, too,
and a partition may cut a group off. Time is trio's: under ``MockClock`` nothing sleeps for real,
and no worker threads are used, so autojump works.

Each direction of a connection is a pipe: a heap of frames by arrival time, which its reader
empties. What is not read yet is bounded; then the sender waits. Closing travels like a frame: it
may be late, lost or cut off, as when a cable is pulled, and then the other end finds out by the
silence.

    send --> LinkModel --> heap of (arrival, frame) --time comes--> receive
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf
from weakref import WeakSet

import trio

from gossipbook.errors import (
    ConnectionLost,
    ProtocolViolation,
    Unreachable,
    UsageError,
    WrongNetwork,
)
from gossipbook.genesis import Genesis
from gossipbook.gossip.interface import Address
from gossipbook.identity import Keypair, PeerId, short
from gossipbook.link_model import NO_PARTITION, Link, LinkModel, Partition
from gossipbook.randomness import SeededRandom

UNREAD_LIMIT_BYTES = 4 * 1024 * 1024
"""What may be under way in one direction of a connection; beyond it the sender waits."""

ACCEPT_LIMIT = 64
"""Connections that may wait to be accepted; further dials are refused."""

CLOSE_BYTES = 40
"""What closing a connection weighs on the wire."""

MAX_ADDRESS_BYTES = 128

INSTANT = Link(latency=(0, 0))


@dataclass(slots=True)
class NetworkCounters:
    """What happened on a memory network so far; tests assert with it that faults bit."""

    connections: int = 0
    messages: int = 0
    message_bytes: int = 0
    messages_lost: int = 0  # by the link model
    messages_cut: int = 0  # by a partition, or because the reader was gone


class MemoryNetwork:
    """Transports for peers in one process.

    ``link`` says what every connection is like; without one, messages take no time and none is
    lost. ``seed`` decides the chances. Not for use from several threads or several trio runs.
    """

    def __init__(self, *, seed: int = 0, link: Link | None = None) -> None:
        self.link = link or INSTANT
        self.counters = NetworkCounters()
        self._random = SeededRandom(seed)
        self._directions: dict[str, SeededRandom] = {}
        self._endpoints: dict[Address, MemoryEndpoint] = {}
        self._partition = NO_PARTITION
        self._named_count = 0
        self._pipes: WeakSet[_Pipe] = WeakSet()

    def __repr__(self) -> str:
        return f"<MemoryNetwork of {len(self._endpoints)} open transports, {self.link}>"

    def transport(self, address: str | None = None) -> MemoryTransport:
        """A transport whose peer others dial at ``address`` ("peer-0", "peer-1" without)."""
        if address is None:
            address = f"peer-{self._named_count}"
            self._named_count += 1
        if not isinstance(address, str) or not 1 <= len(address.encode()) <= MAX_ADDRESS_BYTES:
            raise UsageError(
                f"transport({address!r}): give a name of 1 to {MAX_ADDRESS_BYTES} bytes"
            )
        return MemoryTransport(self, address)

    def partition(self, group: Iterable[str | MemoryTransport], *, one_way: bool = False) -> None:
        """Cut a group of addresses (or transports) from the rest; replaces the partition before it.

        ``one_way``: what the group sends is lost, what the rest sends still reaches the group.
        """
        if isinstance(group, str):
            raise UsageError(f"partition({group!r}): give a list of addresses: [{group!r}]")
        members = [one.address if isinstance(one, MemoryTransport) else one for one in group]
        self._partition = Partition(frozenset(member.encode() for member in members), one_way)

    def heal(self) -> None:
        """End the partition; without one, nothing happens."""
        self._partition = NO_PARTITION

    def set_link(self, link: Link) -> None:
        """Make every connection like this from now on, those that stand included."""
        self.link = link
        for pipe in self._pipes:
            pipe.model = pipe.model.successor(link)

    def is_cut(self, sender: Address, receiver: Address) -> bool:
        """Whether the partition keeps what ``sender`` sends from ``receiver``."""
        return self._partition.cuts(sender, receiver)

    def _random_of(self, sender: Address, receiver: Address) -> SeededRandom:
        """The chances of one direction between two addresses: nobody else's traffic moves them."""
        name = f"{sender.decode()} -> {receiver.decode(errors='replace')}"
        return self._directions.setdefault(name, self._random.child(name))


class MemoryTransport:
    """One peer's place on a ``MemoryNetwork``; made by ``MemoryNetwork.transport``."""

    def __init__(self, network: MemoryNetwork, address: str) -> None:
        self.network = network
        self.address = address

    def __repr__(self) -> str:
        return f"<MemoryTransport {self.address!r}>"

    @asynccontextmanager
    async def open(self, genesis: Genesis, keypair: Keypair) -> AsyncIterator[MemoryEndpoint]:
        """Be there for others to dial, until the end of the block. Raises UsageError."""
        endpoints, address = self.network._endpoints, self.address.encode()
        if address in endpoints:
            raise UsageError(
                f"another peer is open at {self.address!r} on this network; give each its own "
                "transport, such as network.transport()"
            )
        endpoint = endpoints[address] = MemoryEndpoint(self.network, address, genesis, keypair)
        try:
            yield endpoint
        finally:
            del endpoints[address]
            endpoint.close()


class MemoryEndpoint:
    """An open ``MemoryTransport``."""

    def __init__(
        self, network: MemoryNetwork, address: Address, genesis: Genesis, keypair: Keypair
    ) -> None:
        self.address: Address = address
        self._network = network
        self._genesis = genesis
        self._peer_id = keypair.peer_id
        self._dialled, self._accepting = trio.open_memory_channel[MemoryConnection](ACCEPT_LIMIT)
        self._connections: dict[MemoryConnection, None] = {}

    async def dial(self, address: Address, expected: PeerId | None) -> MemoryConnection:
        """Connect; takes about three trips, as TCP, TLS and two hellos do."""
        network = self._network
        low_s, high_s = network.link.latency
        random = network._random_of(self.address, address)
        trip_us = random.between(round(low_s * 1e6), round(high_s * 1e6))
        await trio.sleep(3 * trip_us / 1e6)
        if network.is_cut(self.address, address) or network.is_cut(address, self.address):
            await trio.sleep_forever()  # nobody answers, and nobody says so
        target = network._endpoints.get(address)
        if target is None:
            raise Unreachable(f"nobody listens at {address.decode(errors='replace')!r}")
        self._check(target._genesis, target._peer_id)
        target._check(self._genesis, self._peer_id)
        if target._dialled.statistics().current_buffer_used >= ACCEPT_LIMIT:
            raise Unreachable("too many connections wait to be accepted there")
        near, far = self._connect(target)
        target._dialled.send_nowait(far)
        return near

    async def accept(self) -> MemoryConnection:
        """The next connection that somebody dialled."""
        return await self._accepting.receive()

    def close(self) -> None:
        """Close every connection."""
        for connection in list(self._connections):
            connection.close()

    def _check(self, genesis: Genesis, peer_id: PeerId) -> None:
        """Whether a peer of that network and id may connect to this one; raises RemoteError."""
        if genesis.network_id != self._genesis.network_id:
            raise WrongNetwork(
                f"the peer at the other end is in network {genesis.name!r} "
                f"({genesis.network_id.hex()[:16]}), this one in {self._genesis.name!r} "
                f"({self._genesis.network_id.hex()[:16]}): open both with the same genesis"
            )
        if not self._genesis.is_member(peer_id):
            raise ProtocolViolation(f"{short(peer_id)} is not a member of {self._genesis.name!r}")

    def _connect(self, target: MemoryEndpoint) -> tuple[MemoryConnection, MemoryConnection]:
        network = self._network
        network.counters.connections += 1
        there = _Pipe(network, self.address, target.address)
        back = _Pipe(network, target.address, self.address)
        near = MemoryConnection(
            self, target._peer_id, target.address, outgoing=there, incoming=back
        )
        far = MemoryConnection(target, self._peer_id, self.address, outgoing=back, incoming=there)
        return near, far


class MemoryConnection:
    """One end of a connection between two endpoints."""

    def __init__(
        self,
        endpoint: MemoryEndpoint,
        peer_id: PeerId,
        address: Address,
        *,
        outgoing: _Pipe,
        incoming: _Pipe,
    ) -> None:
        self.peer_id = peer_id
        self.address: Address | None = address
        self._endpoint = endpoint
        self._outgoing = outgoing
        self._incoming = incoming
        self._closed = False
        endpoint._connections[self] = None

    def __repr__(self) -> str:
        return f"<MemoryConnection to {short(self.peer_id)}>"

    async def send(self, frames: Sequence[bytes]) -> None:
        """Put frames on their way; waits while too many are."""
        for frame in frames:
            while not self._closed and self._outgoing.is_full:
                await self._outgoing.wait_for_room()
            if self._closed:
                raise ConnectionLost("this end was closed")
            if not self._outgoing.put(frame):  # nobody reads: a reset comes back
                self._incoming.end()
        await trio.lowlevel.checkpoint()

    async def receive(self) -> Sequence[bytes]:
        """The frames that have arrived."""
        frames = await self._incoming.take()
        if self._closed or not frames:
            raise ConnectionLost("this end was closed" if self._closed else "the other end closed")
        return frames

    def blame(self) -> None:
        """Nothing follows: in one process nobody is a stranger."""

    async def aclose(self) -> None:
        """Close both directions."""
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Close both directions, at once; what was sent before still travels."""
        if not self._closed:
            self._closed = True
            self._endpoint._connections.pop(self, None)
            self._outgoing.end()
            self._outgoing.wake_writers()
            self._incoming.abandon()


class _Pipe:
    """One direction of a connection: the frames under way, by time of arrival."""

    def __init__(self, network: MemoryNetwork, sender: Address, receiver: Address) -> None:
        self._network = network
        self._sender = sender
        self._receiver = receiver
        self.model = LinkModel(network.link, network._random_of(sender, receiver))
        self._arriving: list[tuple[int, int, bytes]] = []  # (time, serial, frame)
        self._serial = 0
        self._unread_bytes = 0
        self._end_us: float = inf  # when the reader learns that no more will come
        self._abandoned = False  # nobody reads any more
        self._reader = trio.lowlevel.ParkingLot()
        self._writers = trio.lowlevel.ParkingLot()
        network._pipes.add(self)

    def put(self, frame: bytes) -> bool:
        """Send a frame; whether anybody is there to read it."""
        counters, now_us = self._network.counters, _now_us()
        counters.messages += 1
        counters.message_bytes += len(frame)
        arrivals = self.model.arrivals(len(frame), now_us)
        if self._network.is_cut(self._sender, self._receiver):
            counters.messages_cut += 1
            return True
        if self._abandoned:
            counters.messages_cut += 1
            return not arrivals
        counters.messages_lost += not arrivals
        for at_us in arrivals:
            heappush(self._arriving, (at_us, self._serial, frame))
            self._serial += 1
            self._unread_bytes += len(frame)
        self._reader.unpark_all()
        return True

    @property
    def is_full(self) -> bool:
        """Whether so much is under way that no frame may join it."""
        return self._unread_bytes > UNREAD_LIMIT_BYTES and not self._abandoned

    async def wait_for_room(self) -> None:
        """Wait until something has been read, or writing has become pointless."""
        await self._writers.park()

    def wake_writers(self) -> None:
        """Let who waits for room look again."""
        self._writers.unpark_all()

    async def take(self) -> list[bytes]:
        """The frames that have arrived, at least one; none when no more will come."""
        if self._next_us() <= _now_us():
            await trio.lowlevel.checkpoint()  # more may come in while others have their turn
        while True:
            frames = self._arrived(_now_us())
            if frames or self._end_us <= _now_us() or self._abandoned:
                return frames
            with trio.CancelScope(deadline=self._next_us() / 1e6):
                await self._reader.park()

    def end(self) -> None:
        """No more frames will be put in; the reader learns it after a trip, unless that is lost."""
        if self._network.is_cut(self._sender, self._receiver):
            return
        for at_us in self.model.arrivals(CLOSE_BYTES, _now_us())[:1]:
            self._end_us = min(self._end_us, at_us)
            self._reader.unpark_all()

    def abandon(self) -> None:
        """Nobody will read any more."""
        self._abandoned = True
        self._arriving.clear()
        self._reader.unpark_all()
        self._writers.unpark_all()

    def _next_us(self) -> float:
        return min(self._arriving[0][0], self._end_us) if self._arriving else self._end_us

    def _arrived(self, now_us: int) -> list[bytes]:
        frames = []
        while self._arriving and self._arriving[0][0] <= now_us:
            _, _, frame = heappop(self._arriving)
            self._unread_bytes -= len(frame)
            if self._network.is_cut(self._sender, self._receiver):
                self._network.counters.messages_cut += 1
            else:
                frames.append(frame)
        self._writers.unpark_all()
        return frames


def _now_us() -> int:
    return round(trio.current_time() * 1e6)
