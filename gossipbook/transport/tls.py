"""Links between machines: TLS 1.3 over TCP, and a handshake that proves who is at the other end.

``TlsTransport`` is what users make. An open one listens (unless it only dials), looks at strangers
at its door (``admission``), lets them and itself prove who they are (``handshake``), and carries
frames (``framing``)::

    accept --> door --> TLS --> hellos and proofs --> accept() gives the connection
               full      5 s in all, 1 KiB a frame
               turned away, with a logged reason

Nothing that a stranger does reaches the peer: it ends that one connection. After the handshake a
frame may have 256 KiB, and one that has begun must go on at a minimum rate. What is not read yet is
bounded by TCP: the sender waits.

Frames leave in pieces of 64 KiB at most, each written at once. A cancelled ``send`` may have cut a
frame in two; the connection is good for nothing then, and says so.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from secrets import token_bytes
from ssl import SSLContext, SSLError

import trio

from gossipbook.errors import (
    ConnectionLost,
    ProtocolViolation,
    RemoteError,
    Unreachable,
    UsageError,
)
from gossipbook.genesis import Genesis
from gossipbook.gossip.config import MAX_FRAME_BYTES
from gossipbook.gossip.interface import Address
from gossipbook.identity import Keypair, PeerId, short
from gossipbook.transport import handshake
from gossipbook.transport.address import HostPort, believed, parse, source_of
from gossipbook.transport.admission import Door
from gossipbook.transport.certificate import ListenerContext, dialler_context, listener_context
from gossipbook.transport.framing import FrameReader, framed
from gossipbook.transport.handshake import (
    DIALLER,
    LISTENER,
    NONCE_BYTES,
    Hello,
    Transcript,
    check_hello,
    decode_hello,
    decode_proof,
    encode_proof,
    refusal_in,
    refusal_of,
)
from gossipbook.transport.refusal_log import RefusalLog

HANDSHAKE_S = 5.0
"""From the TCP connection to the last proof; an honest one takes milliseconds and a few trips."""

ACCEPT_LIMIT = 64
"""Proven connections that may wait for ``accept``; the peer takes them at once."""

BACKLOG = 256

PIECE_BYTES = 65_536
FRAME_PATIENCE_S = 10.0
"""How long one frame may take, besides a second for each `LEAST_BYTES_PER_S` of it."""
LEAST_BYTES_PER_S = 16_384

ASLEEP_S = 1.0
"""A deadline that is noticed so much later says that this process stood still, not its links."""

LINGER_S = 0.25
"""How long closing waits for the other side to hang up, so that what was sent last arrives."""

LOST = (trio.BrokenResourceError, trio.ClosedResourceError, OSError, SSLError)


class TlsTransport:
    """Links over the network. One value serves one peer at a time.

    ``listen`` is where others can dial, "HOST:PORT": "0.0.0.0:7000" for all IPv4 addresses of the
    machine, "[::]:7000" for all addresses, port 0 for any free port; without it the peer only
    dials others. ``advertise`` is the address to tell others, where it is not the one listened at
    (behind a router or a proxy, or a name); where a peer listens at all addresses and advertises
    none, others dial the one they see. Raises UsageError for what is no address.
    """

    def __init__(self, listen: str | None = None, *, advertise: str | None = None) -> None:
        self.listen = None if listen is None else parse(listen, port_zero=True)
        self.advertise = None if advertise is None else parse(advertise)
        if self.advertise is not None and self.advertise.is_wildcard:
            raise UsageError(
                f"advertise={advertise!r} stands for all addresses of a machine and cannot be "
                "dialled; name one, or leave it out"
            )
        if self.advertise is not None and self.listen is None:
            raise UsageError(f"advertise={advertise!r} without listen=: nobody could be answered")

    def __repr__(self) -> str:
        return f"<TlsTransport {self.listen or 'that only dials'}>"

    @asynccontextmanager
    async def open(self, genesis: Genesis, keypair: Keypair) -> AsyncIterator[TlsEndpoint]:
        """Listen, until the end of the block. Raises UsageError where the address is taken."""
        listeners = [] if self.listen is None else await _listen(self.listen)
        endpoint = TlsEndpoint(genesis, keypair, self._named(listeners))
        failure: BaseException | None = None
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                nursery.start_soon(endpoint.keep_accepting, listener, nursery)
            try:
                yield endpoint
            except BaseException as error:  # passed on below, outside the nursery: as itself
                failure = error
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                for listener in listeners:
                    await listener.aclose()
                await endpoint.aclose()
        if failure is not None:
            raise failure

    def _named(self, listeners: Sequence[trio.SocketListener]) -> HostPort | None:
        """Where others can dial: the port may have been chosen just now."""
        if self.advertise is not None or not listeners:
            return self.advertise
        assert self.listen is not None
        return HostPort(self.listen.host or "0.0.0.0", listeners[0].socket.getsockname()[1])


async def _listen(where: HostPort) -> list[trio.SocketListener]:
    try:
        listeners = await trio.open_tcp_listeners(
            where.port, host=where.host or "0.0.0.0", backlog=BACKLOG
        )
    except (OSError, UnicodeError) as error:
        detail = "another program listens there" if _is_in_use(error) else str(error)
        raise UsageError(
            f"cannot listen at {where}: {detail}; choose another port, or port 0 for any free one"
        ) from error
    if where.port == 0:  # a name with two addresses would get two ports
        for extra in listeners[1:]:
            await extra.aclose()
        del listeners[1:]
    return listeners


def _is_in_use(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno == errno.EADDRINUSE


class TlsEndpoint:
    """An open ``TlsTransport``."""

    def __init__(self, genesis: Genesis, keypair: Keypair, named: HostPort | None) -> None:
        self.address: Address | None = None if named is None else str(named).encode()
        self.door = Door()
        self.refusals = RefusalLog()
        self._genesis = genesis
        self._keypair = keypair
        # Who listens at all addresses does not know by which of them others see it.
        self._claim = self.address
        if named is not None and named.is_wildcard:
            self._claim = str(HostPort("", named.port)).encode()
        self._listener: ListenerContext = listener_context()
        self._dialler: SSLContext = dialler_context()
        self._proven, self._accepting = trio.open_memory_channel[TlsConnection](ACCEPT_LIMIT)
        self._connections: dict[TlsConnection, None] = {}

    async def dial(self, address: Address, expected: PeerId | None) -> TlsConnection:
        """Connect. Raises Unreachable, or the RemoteError that one side found in the other."""
        where = _dialable(address)
        try:
            stream = await trio.open_tcp_stream(where.host, where.port)
        except (OSError, UnicodeError) as error:
            raise Unreachable(f"nobody answers at {where}: {_reason(error)}") from error
        connection: TlsConnection | None = None
        try:
            with trio.move_on_after(HANDSHAKE_S):
                connection = await self._introduce(stream, address, expected)
        except (*LOST, ConnectionLost) as error:
            raise Unreachable(f"{where} hung up during the handshake") from error
        finally:
            if connection is None:
                await trio.aclose_forcefully(stream)
        if connection is None:
            raise Unreachable(f"{where} did not end the handshake within {HANDSHAKE_S:.0f} s")
        return connection

    async def accept(self) -> TlsConnection:
        """The next connection that somebody dialled, proven."""
        return await self._accepting.receive()

    async def aclose(self) -> None:
        """Close every connection."""
        async with trio.open_nursery() as nursery:
            for connection in list(self._connections):
                nursery.start_soon(connection.aclose)

    # ---------------------------------------------------------------- the door

    async def keep_accepting(self, listener: trio.SocketListener, nursery: trio.Nursery) -> None:
        """Look at whoever connects, each in a task of its own."""
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:  # no descriptors left, say: it passes, and links go on
                self.refusals.refused("somebody", f"cannot accept: {error}")
                await trio.sleep(0.1)
                continue
            host = _host_of(stream)
            if self.door.may_arrive(source_of(host), trio.current_time()):
                nursery.start_soon(self._look_at, stream, host)
            else:
                self.refusals.refused(host, "it connects too often")
                stream.socket.close()

    async def _look_at(self, stream: trio.SocketStream, host: str) -> None:
        """One stranger, until it is proven or gone."""
        tls = trio.SSLStream(stream, self._listener.context, server_side=True)
        reason = f"it did not prove who it is within {HANDSHAKE_S:.0f} s"
        with trio.CancelScope(deadline=trio.current_time() + HANDSHAKE_S) as scope:
            stranger = self.door.enter(source_of(host), scope.cancel)
            try:
                connection = await self._receive_stranger(tls, host)
                reason = self._hand_over(connection)
            except RemoteError as error:
                reason = str(error)
            except (*LOST, ConnectionLost):
                reason = "it hung up, or spoke no TLS 1.3, before it had proven who it is"
            finally:
                self.door.leave(stranger)
                if reason:
                    await trio.aclose_forcefully(stream)
                    vars(tls).clear()  # it holds itself: 21 kB until the collector comes
        if scope.cancelled_caught and trio.current_time() < scope.deadline:
            reason = "too many strangers at the door, and it stood there longest"
        if reason:
            self.refusals.refused(host, reason)

    def _hand_over(self, connection: TlsConnection) -> str:
        """Give a proven connection to who accepts; why not, if it cannot be."""
        try:
            self._proven.send_nowait(connection)
        except trio.WouldBlock:
            self.forget(connection)
            return "too many connections wait to be accepted"
        return ""

    # ---------------------------------------------------------------- hellos and proofs

    async def _introduce(
        self, stream: trio.SocketStream, address: Address, expected: PeerId | None
    ) -> TlsConnection:
        """The dialler's side."""
        tls = trio.SSLStream(stream, self._dialler)
        reader = FrameReader(handshake.MAX_FRAME_BYTES)
        await tls.do_handshake()
        certificate = tls.getpeercert(binary_form=True)
        ours = self._hello(expected)
        await tls.send_all(framed([ours]))
        answer = await _next_frame(tls, reader)
        refusal = refusal_in(answer, self._genesis)
        if refusal is not None:
            raise refusal
        theirs = decode_hello(answer)
        check_hello(theirs, self._genesis)
        transcript = Transcript(certificate, ours, answer)
        proof = decode_proof(await _next_frame(tls, reader))
        transcript.check(LISTENER, theirs.peer_id, proof)
        proof = encode_proof(transcript.prove(DIALLER, self._keypair))
        await tls.send_all(framed([proof]))
        return self._connected(tls, reader, theirs.peer_id, address)

    async def _receive_stranger(
        self, tls: trio.SSLStream[trio.SocketStream], host: str
    ) -> TlsConnection:
        """The listener's side."""
        reader = FrameReader(handshake.MAX_FRAME_BYTES)
        await tls.do_handshake()
        theirs_frame = await _next_frame(tls, reader)
        theirs = decode_hello(theirs_frame)
        refusal = refusal_of(theirs, self._genesis)
        if refusal is not None:
            await tls.send_all(framed([refusal]))
            check_hello(theirs, self._genesis)
        ours = self._hello(None)
        transcript = Transcript(self._listener.certificate, theirs_frame, ours)
        proof = encode_proof(transcript.prove(LISTENER, self._keypair))
        await tls.send_all(framed([ours, proof]))
        transcript.check(DIALLER, theirs.peer_id, decode_proof(await _next_frame(tls, reader)))
        address = None if theirs.address is None else believed(theirs.address, host)
        return self._connected(tls, reader, theirs.peer_id, address, source_of(host))

    def _hello(self, expected: PeerId | None) -> bytes:
        return Hello(
            self._genesis.network_id,
            self._keypair.peer_id,
            token_bytes(NONCE_BYTES),
            expected,
            self._claim,
        ).encode()

    def _connected(
        self,
        tls: trio.SSLStream[trio.SocketStream],
        reader: FrameReader,
        peer_id: PeerId,
        address: Address | None,
        source: str | None = None,
    ) -> TlsConnection:
        reader.limit_bytes = MAX_FRAME_BYTES
        connection = TlsConnection(self, tls, reader, peer_id, address, source)
        self._connections[connection] = None
        return connection

    def forget(self, connection: TlsConnection) -> None:
        """The connection is closed."""
        self._connections.pop(connection, None)


class TlsConnection:
    """One end of a proven connection."""

    def __init__(
        self,
        endpoint: TlsEndpoint,
        tls: trio.SSLStream[trio.SocketStream],
        reader: FrameReader,
        peer_id: PeerId,
        address: Address | None,
        source: str | None,
    ) -> None:
        self.peer_id = peer_id
        self.address = address
        self._source = source  # where it came from, if it was not dialled
        self._endpoint = endpoint
        self._tls = tls
        self._reader = reader
        self._patience_s = FRAME_PATIENCE_S  # what is left for the frame that has begun
        self._can_send = True
        self._closed = False
        self._is_receiving = False

    def __repr__(self) -> str:
        return f"<TlsConnection to {short(self.peer_id)}>"

    async def send(self, frames: Sequence[bytes]) -> None:
        """Send frames; waits while the other end is slow to read."""
        if not frames:
            await trio.lowlevel.checkpoint()
        for piece in _pieces(frames):
            if self._closed or not self._can_send:
                raise ConnectionLost("this end was closed")
            self._can_send = False  # until it is known that the whole piece has left
            try:
                await self._tls.send_all(piece)
            except LOST as error:
                raise self._lost() from error
            self._can_send = True

    async def receive(self) -> Sequence[bytes]:
        """The frames that have arrived; not always all of them."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while not (frames := [] if self._closed else self._reader.all_frames()):
            self._reader.feed(await self._receive_some())
        self._patience_s = FRAME_PATIENCE_S  # for the frame that these bytes may have begun
        return frames

    async def _receive_some(self) -> bytes | bytearray:
        """The next bytes."""
        if self._closed:
            raise self._lost()
        self._is_receiving = True
        try:
            inside = self._reader.is_inside
            data = await (self._receive_more() if inside else self._tls.receive_some())
        except LOST as error:
            raise self._lost() from error
        finally:
            self._is_receiving = False
        if not data or self._closed:
            raise self._lost()
        return data

    async def _receive_more(self) -> bytes | bytearray:
        """The next bytes of a frame that has begun: it is given some seconds, and a little more for
        each byte that comes."""
        started_s = trio.current_time()
        with trio.move_on_after(max(0.0, self._patience_s)) as scope:
            data = await self._tls.receive_some()
            waited_s = trio.current_time() - started_s
            earned_s = len(data) / LEAST_BYTES_PER_S
            self._patience_s = min(FRAME_PATIENCE_S, self._patience_s - waited_s + earned_s)
            return data
        if trio.current_time() - scope.deadline > ASLEEP_S:
            self._patience_s = ASLEEP_S  # we did not run ourselves; what came meanwhile waits
            return await self._receive_more()
        raise ProtocolViolation(
            f"a frame that came more slowly than {LEAST_BYTES_PER_S:,} bytes a second"
        )

    def _lost(self) -> ConnectionLost:
        if self._closed:
            return ConnectionLost("this end was closed")
        return ConnectionLost("the connection broke, or the other end closed")

    def blame(self) -> None:
        """The other end broke a rule: its source is let in less often for a while."""
        if self._source is not None:
            self._endpoint.door.blame(self._source, trio.current_time())

    async def aclose(self) -> None:
        """Close it; what was sent arrives first, if the other end reads it."""
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        self._closed = True
        stream = self._tls.transport_stream
        try:
            if not self._is_receiving:  # else its closed stream has to wake who waits
                with trio.move_on_after(LINGER_S), suppress(*LOST, trio.BusyResourceError):
                    await stream.send_eof()
                    while await stream.receive_some(PIECE_BYTES):
                        pass  # closing with something unread would reset what is under way
        finally:
            self._endpoint.forget(self)
            await trio.aclose_forcefully(stream)


def _pieces(frames: Sequence[bytes]) -> Iterator[bytes]:
    """The frames as they stand in the stream, in pieces of `PIECE_BYTES` or one frame."""
    piece: list[bytes] = []
    size = 0
    for frame in frames:
        piece.append(frame)
        size += len(frame)
        if size >= PIECE_BYTES:
            yield framed(piece)
            piece, size = [], 0
    if piece:
        yield framed(piece)


async def _next_frame(tls: trio.SSLStream[trio.SocketStream], reader: FrameReader) -> bytes:
    """The next frame of a handshake; what follows it stays in the reader."""
    while (frame := reader.next_frame()) is None:
        data = await tls.receive_some(handshake.MAX_FRAME_BYTES)
        if not data:
            raise ConnectionLost("it hung up during the handshake")
        reader.feed(data)
    return frame


def _dialable(address: Address) -> HostPort:
    try:
        where = parse(address.decode())
    except (UsageError, UnicodeDecodeError) as error:
        raise Unreachable(f"nobody can be dialled at {address!r}: {error}") from error
    # Linux takes a wildcard for the loopback address; elsewhere it is an error.
    return HostPort("localhost", where.port) if where.is_wildcard else where


def _host_of(stream: trio.SocketStream) -> str:
    """Where a stranger connects from; it may be gone already."""
    try:
        return str(stream.socket.getpeername()[0])
    except OSError:
        return "somebody who has hung up"


def _reason(error: BaseException) -> str:
    """The innermost reason of a failed connection, in words."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
