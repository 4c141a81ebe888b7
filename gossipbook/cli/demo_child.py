"""The program of one process of `gossipbook demo --processes`: a peer that does as it is told.

Lines of JSON come in on stdin, each a request, and go out on stdout, each an answer or something
that happened to the peer. Requests are served side by side, and answered as they are done::

    {"id": 7, "what": "submit", "commands": hex}     -->
                                                     <--  {"id": 7, "answer": order id}
                                                     <--  {"id": 7, "error": [exception, message]}
                                                     <--  {"event": "proven", ...}

`Child` says what can be asked. When stdin is closed, the process ends: whoever started it may be
gone. It promises to write nothing else to stdout; the library's log goes to stderr.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import trio

from gossipbook.book.events import Trade
from gossipbook.book.payload import decode_payload, from_integers
from gossipbook.cli.demo_glance import digests_of, take_glance
from gossipbook.cli.demo_peers import READER_BUFFER
from gossipbook.errors import GossipbookError, PeerClosed
from gossipbook.genesis import Genesis
from gossipbook.gossip.interface import Divergence, ForkProven, PeerDown
from gossipbook.identity import Keypair
from gossipbook.peer import Peer, open_peer
from gossipbook.transport.tls import TlsTransport

LISTEN = "127.0.0.1:0"
PIECE_BYTES = 65_536

Said = dict[str, Any]


class Lines:
    """Reads a stream line by line, each a JSON object."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._buffer = b""

    async def next(self) -> Said | None:
        """The next line; None at the end. Half a line at the end is no line."""
        while b"\n" not in self._buffer:
            data = await self._stream.receive_some(PIECE_BYTES)
            if not data:
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        said: Said = json.loads(line)
        return said


class Child:
    """A peer, and what can be asked of it: each public method is a request, its result the answer.

    A `GossipbookError` is an answer, too; any other ends the process.
    """

    def __init__(self, nursery: trio.Nursery, outgoing: trio.abc.SendStream) -> None:
        self._nursery = nursery
        self._outgoing = outgoing
        self._turn = trio.Lock()
        self._peer: Peer | None = None
        self._busted = 0
        self._opened = trio.Event()
        self._leaving = trio.Event()
        self._closed = trio.Event()

    async def open(
        self,
        *,
        genesis: str,
        key: str,
        store: str,
        contacts: list[str],
        alone: bool | None,
        seed: int,
    ) -> Said:
        """Start the peer. The first request, and only once."""
        assert self._peer is None
        opening = open_peer(
            Genesis.decode(bytes.fromhex(genesis)),
            Keypair.from_seed(bytes.fromhex(key)),
            transport=TlsTransport(LISTEN),
            bootstrap=contacts,
            store=store,
            alone=alone,
            seed=seed,
        )
        peer = await self._nursery.start(self._live, opening)
        self._opened.set()
        return {"address": peer.address}

    async def submit(self, *, commands: str) -> str:
        """Sign one command, as an entry's payload has it. May be asked before the peer is open: it
        is the first thing that the peer does, then, before it has met anybody."""
        await self._opened.wait()
        peer = self._running
        markets = len(peer.genesis.markets)
        (instruction,) = decode_payload(bytes.fromhex(commands), markets)
        receipt = await peer.submit(from_integers(instruction, peer.genesis, peer.peer_id))
        return str(receipt.order_id)

    async def look(self) -> Said:
        """A `Glance`."""
        return take_glance(self._running, busted=self._busted).as_json()

    async def leave(self) -> Said:
        """Say goodbye and close the peer; then all that it holds: its last glance, and digests."""
        self._leaving.set()
        await self._closed.wait()
        return {"glance": await self.look(), "digests": digests_of(self._running)}

    # ---------------------------------------------------------------- how it is served

    async def answer(self, request: Said) -> None:
        """Serve one request."""
        number, what = request.pop("id"), request.pop("what")
        serve: Callable[..., Awaitable[Any]] = getattr(self, what)
        try:
            await self._say({"id": number, "answer": await serve(**request)})
        except GossipbookError as error:
            if isinstance(error, PeerClosed) and not self._leaving.is_set():
                raise  # the peer has failed, and the process ends with it
            await self._say({"id": number, "error": [type(error).__name__, str(error)]})

    async def _say(self, what: Said) -> None:
        async with self._turn:
            with suppress(trio.BrokenResourceError):  # stdin is closed, too, then
                await self._outgoing.send_all(json.dumps(what).encode() + b"\n")

    async def _live(
        self, opening: Any, task_status: trio.TaskStatus[Peer] = trio.TASK_STATUS_IGNORED
    ) -> None:
        async with opening as self._peer:
            peer = self._running
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, peer)
                nursery.start_soon(self._listen, peer)
                task_status.started(peer)
                await self._leaving.wait()
                nursery.cancel_scope.cancel()
        self._closed.set()

    async def _read(self, peer: Peer) -> None:
        async with peer.subscribe(buffer=READER_BUFFER) as updates:
            async for update in updates:
                self._busted += sum(isinstance(event, Trade) for event in update.undone)

    async def _listen(self, peer: Peer) -> None:
        async with peer.events() as events:
            for proof in peer.proofs():
                await self._tell("proven", proof.author, seq=proof.seq)
            async for event in events:
                match event:
                    case ForkProven(proof):
                        await self._tell("proven", proof.author, seq=proof.seq)
                    case PeerDown(other, reason):
                        await self._tell("lost", other, reason=reason)
                    case Divergence(status, other):
                        await self._tell("diverged", other, status=status, detail=repr(event))

    async def _tell(self, event: str, other: bytes | None, **others: object) -> None:
        await self._say({"event": event, "peer": other and other.hex(), **others})

    @property
    def _running(self) -> Peer:
        assert self._peer is not None, "the first request is to open the peer"
        return self._peer


async def serve(incoming: trio.abc.ReceiveStream, outgoing: trio.abc.SendStream) -> None:
    """Serve requests until there can be no more."""
    lines = Lines(incoming)
    async with trio.open_nursery() as nursery:
        child = Child(nursery, outgoing)
        while (request := await lines.next()) is not None:
            nursery.start_soon(child.answer, request)
        nursery.cancel_scope.cancel()


def main() -> None:
    """Serve on stdin and stdout."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s: %(message)s"
    )
    incoming, outgoing = (trio.lowlevel.FdStream(os.dup(descriptor)) for descriptor in (0, 1))
    trio.run(serve, incoming, outgoing)


if __name__ == "__main__":
    main()
