"""Who attacks a live peer over the network: strangers, people in between, and members who cheat.

    before the proof   ``Knock``     the dialler's handshake by hand, each step as the test wants
    in between         ``Relay``     a listener with a certificate of its own that passes frames on
                       ``Tap``       a wire that records what goes through, and can say it again
    after the proof    ``Intruder``  a proven connection, in the hands of who says anything

Floods are coroutines that go on until they are cancelled, as fast as they can, and count in a
``Tally`` what they did. An attacker uses what a real one has: its own keys, its own sockets, what
it has heard, and the library. Tests and ``bench/hostile.py`` share this file; it decides what is
done to a peer, never whether the peer stands it.
"""

from __future__ import annotations

import itertools
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from secrets import token_bytes

import trio

import gossipbook as gb
from gossipbook.book.payload import BUY, GTC, MAX_COMMANDS, SELL, Placement, encode_payload
from gossipbook.encoding import encode
from gossipbook.errors import ConnectionLost, RemoteError, Unreachable
from gossipbook.gossip.messages import (
    MAX_HEADS,
    MAX_IDS,
    MAX_PEERS,
    Compare,
    FrontierIs,
    IdsWanted,
    Message,
    News,
    Peers,
    Ping,
    Walk,
    Want,
    encode_message,
)
from gossipbook.log.clock import hlc_at
from gossipbook.log.entry import NO_ENTRY, Entry, EntryId, encode_run, sign_entry
from gossipbook.log.frontier import Head
from gossipbook.transport import tls
from gossipbook.transport.certificate import dialler_context, listener_context
from gossipbook.transport.framing import FrameReader, framed
from gossipbook.transport.handshake import (
    DIALLER,
    NONCE_BYTES,
    Hello,
    Transcript,
    encode_proof,
)

BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError, OSError, ssl.SSLError)
"""What an attacker meets when the peer has hung up."""

RECEIVE_BYTES = 65_536
LARGEST_BYTES = tls.MAX_FRAME_BYTES
RUN_ENTRIES = 64
"""Entries in one run of a flood."""
NEXT_TRY_S = 0.05
"""How long somebody waits who was refused at once."""


@dataclass(frozen=True)
class Target:
    """A peer, and who attacks it."""

    address: str
    genesis: gb.Genesis
    keypair: gb.Keypair
    """The attacker's; a member's where the network has members."""

    @property
    def host(self) -> str:
        return self.address.rpartition(":")[0]

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def under(self, keypair: gb.Keypair) -> Target:
        """The same peer, attacked by somebody else."""
        return Target(self.address, self.genesis, keypair)


@dataclass
class Tally:
    """What a flood has done so far."""

    connections: int = 0
    refused: int = 0
    """How many of them were ended by the peer, or never proven."""
    frames: int = 0
    entries: int = 0
    sent_bytes: int = 0

    def sent(self, frames: Sequence[bytes], entries: int = 0) -> None:
        self.frames += len(frames)
        self.entries += entries
        self.sent_bytes += sum(map(len, frames))


Flood = Callable[[Target, Tally], Awaitable[None]]


# ==================================================================== before the proof


async def reach(target: Target, *, source: str = "127.0.0.1") -> trio.SocketStream:
    """A TCP connection from this address of ours (all of 127.0.0.0/8 is ours)."""
    sock = trio.socket.socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        await sock.bind((source, 0))
        await sock.connect((target.host, target.port))
    except BaseException:
        sock.close()
        raise
    return trio.SocketStream(sock)


async def hung_up(stream: trio.abc.ReceiveStream) -> bytes:
    """What the other end still says until it hangs up."""
    said = bytearray()
    with suppress(*BROKEN):
        while data := await stream.receive_some(RECEIVE_BYTES):
            said += data
    return bytes(said)


class Knock:
    """A dialler who goes through the handshake by hand. ``knocking`` opens it."""

    def __init__(self, stream: trio.SSLStream[trio.SocketStream], target: Target) -> None:
        self.stream = stream
        self.target = target
        self.hello = hello_of(target).encode()
        """The frame that ``say_hello`` says; change it before."""
        self.answer = b""
        """The frame of the other side's hello."""
        self._reader = FrameReader(LARGEST_BYTES)

    @property
    def certificate(self) -> bytes:
        return self.stream.getpeercert(binary_form=True)

    @property
    def transcript(self) -> Transcript:
        return Transcript(self.certificate, self.hello, self.answer)

    async def say(self, *frames: bytes) -> None:
        """Send frames."""
        await self.stream.send_all(framed(frames))

    async def hear(self) -> bytes:
        """The next frame. Raises ConnectionLost."""
        while (frame := self._reader.next_frame()) is None:
            try:
                data = await self.stream.receive_some(RECEIVE_BYTES)
            except BROKEN as error:
                raise ConnectionLost("it hung up") from error
            if not data:
                raise ConnectionLost("it hung up")
            self._reader.feed(data)
        return frame

    async def say_hello(self) -> bytes:
        """Say hello, hear the answer, and return the frame with the other side's proof."""
        await self.say(self.hello)
        self.answer = await self.hear()
        return await self.hear()

    def proof(self, role: bytes = DIALLER) -> bytes:
        """The frame with the signature that is due now."""
        return encode_proof(self.transcript.prove(role, self.target.keypair))

    async def prove(self) -> None:
        """The whole handshake, as it should be."""
        await self.say_hello()
        await self.say(self.proof())


def hello_of(target: Target, *, address: bytes | None = None) -> Hello:
    """A correct hello of this attacker."""
    return Hello(
        target.genesis.network_id,
        target.keypair.peer_id,
        token_bytes(NONCE_BYTES),
        address=address,
    )


@asynccontextmanager
async def knocking(
    target: Target, *, source: str = "127.0.0.1", context: ssl.SSLContext | None = None
) -> AsyncIterator[Knock]:
    """A TLS connection on which nothing has been said yet. Raises one of ``BROKEN``."""
    stream = await reach(target, source=source)
    try:
        stranger = trio.SSLStream(stream, context or dialler_context())
        await stranger.do_handshake()
        yield Knock(stranger, target)
    finally:
        await trio.aclose_forcefully(stream)


async def drip(stream: trio.abc.SendStream, data: bytes, *, pause_s: float) -> None:
    """Send one byte after the other, until the other end has had enough."""
    with suppress(*BROKEN):
        for byte in itertools.cycle(data):
            await stream.send_all(bytes([byte]))
            await trio.sleep(pause_s)


# ==================================================================== in between


@dataclass
class Overheard:
    """The frames that went through a relay, in the order in which they came."""

    from_dialler: list[bytes]
    from_listener: list[bytes]


class Relay:
    """Somebody in between who ends TLS at both sides and passes every frame on.

    Who dials ``address`` sees the relay's own certificate. ``relaying`` runs it.
    """

    def __init__(self, address: str, target: Target) -> None:
        self.address = address
        self.overheard = Overheard([], [])
        self._target = target
        self._context = listener_context().context

    async def serve(self, stream: trio.SocketStream) -> None:
        """One victim who thinks that we are the target."""
        near = trio.SSLStream(stream, self._context, server_side=True)
        with suppress(*BROKEN):
            async with aclosing(near):
                await near.do_handshake()
                async with knocking(self._target) as far, trio.open_nursery() as nursery:
                    over = nursery.cancel_scope
                    heard = self.overheard
                    nursery.start_soon(_pass_on, near, far.stream, heard.from_dialler, over)
                    await _pass_on(far.stream, near, heard.from_listener, over)


async def _pass_on(
    source: trio.abc.ReceiveStream,
    sink: trio.abc.SendStream,
    heard: list[bytes],
    over: trio.CancelScope,
) -> None:
    """Until one side has hung up; then it is over for the other side, too."""
    reader = FrameReader(LARGEST_BYTES)
    with suppress(*BROKEN):
        while data := await source.receive_some(RECEIVE_BYTES):
            reader.feed(data)
            heard += reader.all_frames()
            await sink.send_all(data)
    over.cancel()


@asynccontextmanager
async def relaying(target: Target) -> AsyncIterator[Relay]:
    """A relay in front of the target."""
    async with _listening() as (address, listener, nursery):
        relay = Relay(address, target)
        nursery.start_soon(partial(trio.serve_listeners, relay.serve, [listener]))
        yield relay


class Tap:
    """A wire in front of the target: what goes through is recorded, record by record of TLS.

    ``say_again`` puts recorded bytes on the wire once more, towards the target.
    """

    def __init__(self, address: str, target: Target) -> None:
        self.address = address
        self.recorded: list[list[bytes]] = []
        """For each connection: what its dialler sent, in the pieces in which it came."""
        self._target = target
        self._far: list[trio.SocketStream] = []
        self._sending = trio.Lock()

    async def say_again(self, data: bytes, connection: int = -1) -> None:
        """Send these bytes to the target, as if the dialler of that connection had."""
        async with self._sending:
            await self._far[connection].send_all(data)

    async def serve(self, near: trio.SocketStream) -> None:
        """One connection, from now on until one side hangs up."""
        far = await reach(self._target)
        self._far.append(far)
        self.recorded.append([])
        async with near, far, trio.open_nursery() as nursery:
            nursery.start_soon(self._forth, near, far, self.recorded[-1], nursery.cancel_scope)
            with suppress(*BROKEN):
                while data := await far.receive_some(RECEIVE_BYTES):
                    await near.send_all(data)
            nursery.cancel_scope.cancel()

    async def _forth(
        self,
        near: trio.SocketStream,
        far: trio.SocketStream,
        recorded: list[bytes],
        scope: trio.CancelScope,
    ) -> None:
        with suppress(*BROKEN):
            while data := await near.receive_some(RECEIVE_BYTES):
                recorded.append(bytes(data))
                async with self._sending:
                    await far.send_all(data)
        scope.cancel()


@asynccontextmanager
async def tapping(target: Target) -> AsyncIterator[Tap]:
    """A tap in front of the target."""
    async with _listening() as (address, listener, nursery):
        tap = Tap(address, target)
        nursery.start_soon(partial(trio.serve_listeners, tap.serve, [listener]))
        yield tap


@asynccontextmanager
async def answering(serve: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[str]:
    """An address at which ``serve`` answers whoever dials."""
    async with _listening() as (address, listener, nursery):
        nursery.start_soon(partial(trio.serve_listeners, serve, [listener]))
        yield address


@asynccontextmanager
async def _listening() -> AsyncIterator[tuple[str, trio.SocketListener, trio.Nursery]]:
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port: int = listener.socket.getsockname()[1]
        try:
            yield f"127.0.0.1:{port}", listener, nursery
        finally:
            nursery.cancel_scope.cancel()


# ==================================================================== after the proof


class Intruder:
    """A proven connection, in the hands of somebody who says anything. ``intruding`` opens it."""

    def __init__(self, stream: trio.SSLStream[trio.SocketStream], tally: Tally) -> None:
        self.stream = stream
        self.ended = trio.Event()
        """The peer has hung up."""
        self.tally = tally

    async def say(self, *messages: Message | bytes, entries: int = 0) -> None:
        """Send messages, or frames. Raises one of ``BROKEN`` once the peer has hung up."""
        frames = [one if isinstance(one, bytes) else encode_message(one) for one in messages]
        await self.stream.send_all(framed(frames))
        self.tally.sent(frames, entries)

    async def listen(self) -> None:
        """Read, and forget, what the peer says."""
        await hung_up(self.stream)
        self.ended.set()


@asynccontextmanager
async def intruding(
    target: Target,
    *,
    source: str = "127.0.0.1",
    tally: Tally | None = None,
    listens: bool = True,
    address: bytes | None = None,
) -> AsyncIterator[Intruder]:
    """A proven connection to the peer. ``listens=False``: nothing that it says is read."""
    async with knocking(target, source=source) as knock, trio.open_nursery() as nursery:
        knock.hello = hello_of(target, address=address).encode()
        await knock.prove()
        intruder = Intruder(knock.stream, tally or Tally())
        if listens:
            nursery.start_soon(intruder.listen)
        yield intruder
        nursery.cancel_scope.cancel()


async def _again_and_again(
    target: Target,
    tally: Tally,
    harm: Callable[[Intruder], Awaitable[None]],
    *,
    new_keys: bool = False,
    listens: bool = True,
    source: str = "127.0.0.1",
) -> None:
    """Connect, do harm until the peer hangs up, and come back at once."""
    while True:
        under = target.under(gb.Keypair.generate()) if new_keys else target
        tally.connections += 1
        began_s = trio.current_time()
        try:
            async with intruding(under, source=source, tally=tally, listens=listens) as intruder:
                await harm(intruder)
        except* (*BROKEN, ConnectionLost, RemoteError, Unreachable):
            pass
        tally.refused += 1
        if trio.current_time() - began_s < NEXT_TRY_S:
            await trio.sleep(NEXT_TRY_S)


class Author:
    """Signs valid entries, one after the other, dated now."""

    def __init__(self, target: Target, commands: int = 1) -> None:
        self.entries: list[Entry] = []
        self._target = target
        self._commands = commands
        self._head = NO_ENTRY
        self._seq = 0
        self._hlc = 0

    def write(self) -> Entry:
        """The next entry: orders that half of the time trade with those before."""
        orders = [
            Placement(0, (BUY, SELL)[(self._seq + at) % 2], 1_000 + (at * 7) % 19, 1 + at % 9, GTC)
            for at in range(self._commands)
        ]
        return self.sign(encode_payload(orders))

    def sign(self, payload: bytes) -> Entry:
        """The next entry, with any payload."""
        self._hlc = max(self._hlc + 1, hlc_at(int(time.time() * 1000)))
        entry = sign_entry(
            self._target.keypair,
            network_id=self._target.genesis.network_id,
            seq=self._seq,
            prev=self._head,
            hlc=self._hlc,
            payload=payload,
        )
        self._head, self._seq = entry.id, self._seq + 1
        return entry

    def run(self, count: int) -> bytes:
        """So many entries, as a message carries them."""
        return encode_run([self.write() for _ in range(count)])


def forged(target: Target, count: int, author: gb.PeerId | None = None) -> Iterator[bytes]:
    """Endless runs of entries whose signatures are not their author's, every one another."""
    writer = Author(target)
    genuine = [writer.write() for _ in range(count)]
    for number in itertools.count():
        mark = (number + 1).to_bytes(8, "big") * 8
        for entry in genuine:
            entry.signature = mark
        first = genuine[0]
        if author is not None:
            for entry in genuine:
                entry.author = author
        # Another first `prev` gives all entries of the run other ids: nothing is known already.
        first.seq, first.prev = 1, mark[:32]  # type: ignore[assignment]
        yield encode_run(genuine)


# ==================================================================== floods


async def connect_and_hang_up(target: Target, tally: Tally, *, sources: int = 1) -> None:
    """TCP connections that say nothing and end at once."""

    async def one(source: str) -> None:
        while True:
            with suppress(*BROKEN):
                tally.connections += 1
                await trio.aclose_forcefully(await reach(target, source=source))

    await _from(sources, 4, one)


async def handshake_and_hang_up(target: Target, tally: Tally, *, sources: int = 1) -> None:
    """TLS handshakes that nothing follows."""

    async def one(source: str) -> None:
        while True:
            with suppress(*BROKEN):
                tally.connections += 1
                async with knocking(target, source=source):
                    pass

    await _from(sources, 4, one)


async def hello_and_hang_up(target: Target, tally: Tally, *, sources: int = 1) -> None:
    """TLS handshakes and a good hello, so that the peer signs; and no proof."""

    async def one(source: str) -> None:
        while True:
            with suppress(*BROKEN, ConnectionLost):
                tally.connections += 1
                async with knocking(target, source=source) as knock:
                    await knock.say_hello()

    await _from(sources, 4, one)


async def prove_and_hang_up(target: Target, tally: Tally, *, sources: int = 1) -> None:
    """Whole handshakes of ever new keys, that become links for a moment."""

    async def one(source: str) -> None:
        while True:
            with suppress(*BROKEN, ConnectionLost):
                tally.connections += 1
                under = target.under(gb.Keypair.generate())
                async with knocking(under, source=source) as knock:
                    await knock.prove()

    await _from(sources, 4, one)


async def stand_idle(
    target: Target, tally: Tally, *, count: int = 1_000, sources: int = 1, come_back: bool = True
) -> None:
    """So many connections that say nothing; who is turned away comes back at once."""

    async def one(source: str) -> None:
        while True:
            with suppress(*BROKEN):
                tally.connections += 1
                stream = await reach(target, source=source)
                try:
                    await hung_up(stream)
                finally:
                    await trio.aclose_forcefully(stream)
            tally.refused += 1
            if not come_back:
                return
            await trio.sleep(NEXT_TRY_S)

    await _from(sources, count // sources, one)


async def _from(
    sources: int, tasks: int, one: Callable[[str], Awaitable[None]], *, first: int = 2
) -> None:
    async with trio.open_nursery() as nursery:
        for source in sources_from(first, sources):
            for _ in range(tasks):
                nursery.start_soon(one, source)


def sources_from(first: int, count: int) -> list[str]:
    """Loopback addresses; a lone source is 127.0.0.1, where honest peers are, too."""
    if count == 1:
        return ["127.0.0.1"]
    return [f"127.0.{number // 250}.{number % 250 + 1}" for number in range(first, first + count)]


async def forge_as_strangers(
    target: Target, tally: Tally, *, run_entries: int = 1_000, sources: int = 1
) -> None:
    """Entries with forged signatures, by ever new keys, each back at once when it is dropped."""

    async def harm(intruder: Intruder) -> None:
        for run in forged(target, run_entries):
            await intruder.say(News((run,)), entries=run_entries)

    async def one(source: str) -> None:
        await _again_and_again(target, tally, harm, new_keys=True, source=source)

    await _from(sources, 4, one)


async def forge_as_member(target: Target, tally: Tally, *, run_entries: int = 8) -> None:
    """The same under one key, in runs so short that the peer checks them on the spot."""

    async def harm(intruder: Intruder) -> None:
        for run in forged(target, run_entries):
            await intruder.say(News((run,)), entries=run_entries)

    await _again_and_again(target, tally, harm)


async def write_entries(target: Target, tally: Tally, *, commands: int = 1) -> None:
    """Valid entries of this member, as fast as it can sign."""
    run_entries = max(1, RUN_ENTRIES // commands)
    author = Author(target, commands)

    async def harm(intruder: Intruder) -> None:
        while True:
            await intruder.say(News((author.run(run_entries),)), entries=run_entries)

    await _again_and_again(target, tally, harm)


async def say_known_entries(target: Target, tally: Tally) -> None:
    """The same 4,096 valid entries over and over, cut into other runs each time."""
    author = Author(target)
    entries = [author.write() for _ in range(4_096)]

    async def harm(intruder: Intruder) -> None:
        for first in itertools.cycle(range(1, 64)):
            cuts = [0, *range(first, len(entries), RUN_ENTRIES), len(entries)]
            for start, end in itertools.pairwise(cuts):
                await intruder.say(News((encode_run(entries[start:end]),)), entries=end - start)

    await _again_and_again(target, tally, harm)


async def say_junk(target: Target, tally: Tally) -> None:
    """Frames of 256 KiB that decode and mean nothing, by ever new keys."""
    junk = encode([99, *[0] * (LARGEST_BYTES - 16)])

    async def harm(intruder: Intruder) -> None:
        while True:
            await intruder.say(junk)

    await _again_and_again(target, tally, harm, new_keys=True)


async def claim_heads(target: Target, tally: Tally) -> None:
    """Frontiers of 256 KiB with logs that nobody has, in frames that are right."""

    async def harm(intruder: Intruder) -> None:
        while True:
            heads = [
                Head(gb.PeerId(token_bytes(32)), 1, EntryId(token_bytes(32)))
                for _ in range(MAX_HEADS)
            ]
            await intruder.say(FrontierIs(tuple(heads)))

    await _again_and_again(target, tally, harm)


async def claim_heads_as_news(target: Target, tally: Tally) -> None:
    """One head, as often as a frame of news may hold heads; news may come in any number."""
    head = Head(target.keypair.peer_id, 1, EntryId(bytes(range(32))))
    news = encode_message(News((), (head,) * MAX_HEADS))

    async def harm(intruder: Intruder) -> None:
        while True:
            await intruder.say(news)

    await _again_and_again(target, tally, harm)


async def ping(target: Target, tally: Tally, *, listens: bool = True) -> None:
    """The smallest question that is answered, by the ten thousand."""
    pings = [encode_message(Ping(1, 1))] * 4_096

    async def harm(intruder: Intruder) -> None:
        while True:
            await intruder.say(*pings)

    await _again_and_again(target, tally, harm, listens=listens)


async def ask_and_never_read(target: Target, tally: Tally) -> None:
    """Questions whose answers are large, and nobody who reads them."""
    author = target.keypair.peer_id
    questions: list[Message] = [
        Want(((author, 0, 1_024),) * 64),
        Compare(bytes(32), 0, ()),
        Walk((b"",) * 256),
        IdsWanted(author, tuple(range(MAX_IDS))),
    ]
    frames = [encode_message(question) for question in questions]
    writer = Author(target, MAX_COMMANDS)

    async def harm(intruder: Intruder) -> None:
        if not tally.entries:  # something that is worth asking for
            for _ in range(8):
                await intruder.say(News((writer.run(16),)), entries=16)
        while True:
            await intruder.say(*frames)

    await _again_and_again(target, tally, harm, listens=False)


async def tell_false_addresses(target: Target, tally: Tally, *, pause_s: float = 0.003) -> None:
    """Sixty-four peers that are not there, every few milliseconds."""

    async def harm(intruder: Intruder) -> None:
        for number in itertools.count():
            await intruder.say(false_addresses(number))
            await trio.sleep(pause_s)

    await _again_and_again(target, tally, harm)


def false_addresses(number: int) -> Peers:
    """As many as a message holds, at ports where nobody answers."""
    return Peers(
        tuple(
            (gb.PeerId(token_bytes(32)), b"127.9.%d.%d:1" % (number % 250, at))
            for at in range(MAX_PEERS)
        )
    )
