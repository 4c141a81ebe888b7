"""Peers on trio for tests: linked ones, and strangers who speak frames without running a peer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio
from twins.scenario import GENESIS

import gossipbook as gb
from gossipbook.errors import ConnectionLost
from gossipbook.gossip.messages import Message, decode_message, encode_message
from gossipbook.transport.interface import Connection

POLL_S = 0.01


def keypair(number: int) -> gb.Keypair:
    """Keys that are the same in every run."""
    return gb.Keypair.from_seed(bytes([number]) * 32)


async def until(condition: Callable[[], bool], what: str, *, within_s: float = 30) -> None:
    """Wait for something to become true; that it does not is the test's failure."""
    with trio.move_on_after(within_s):
        while not condition():
            await trio.sleep(POLL_S)
        return
    raise AssertionError(f"not within {within_s} s: {what}")


@asynccontextmanager
async def linked_peers(
    count: int, *, network: gb.MemoryNetwork | None = None, seed: int = 0, **options: Any
) -> AsyncIterator[list[gb.Peer]]:
    """Peers "0", "1", ... under ``keypair(1)``, ``keypair(2)``, ..., each linked to all others."""
    network = network or gb.MemoryNetwork(seed=seed)
    peers: list[gb.Peer] = []
    async with AsyncExitStack() as stack:
        for index in range(count):
            opened = gb.open_peer(
                GENESIS,
                keypair(index + 1),
                transport=network.transport(str(index)),
                bootstrap=[str(other) for other in range(index)],
                alone=True,
                seed=seed * 100 + index,
                **options,
            )
            peers.append(await stack.enter_async_context(opened))
        await until(lambda: all_linked(peers), "everybody is linked to everybody")
        yield peers


async def told_so_far(events: gb.Subscription[gb.PeerEvent], kind: type = object) -> list[Any]:
    """The events of a kind that wait to be read; all others that wait are gone with them."""
    told: list[Any] = []
    with trio.move_on_after(POLL_S / 10):
        async for event in events:
            told += [event] if isinstance(event, kind) else []
    return told


def all_linked(peers: list[gb.Peer]) -> bool:
    return all(len(peer.peers()) >= len(peers) - 1 for peer in peers)


@dataclass(eq=False)
class Stranger:
    """One end of a connection to a peer, in the hands of a test. It hears all that comes."""

    connection: Connection
    heard: list[Message] = field(default_factory=list)
    hung_up: bool = False
    """Whether the peer has closed the connection."""

    async def say(self, *messages: Message | bytes) -> None:
        """Send messages, or bytes that are none."""
        frames = [one if isinstance(one, bytes) else encode_message(one) for one in messages]
        await self.connection.send(frames)

    def heard_of(self, kind: type[Message]) -> list[Any]:
        return [message for message in self.heard if isinstance(message, kind)]

    async def _listen(self) -> None:
        try:
            while True:
                for frame in await self.connection.receive():
                    self.heard.append(decode_message(frame, max_size=len(frame)))
        except ConnectionLost:
            self.hung_up = True


@asynccontextmanager
async def stranger(
    network: gb.MemoryNetwork,
    number: int,
    *,
    dial: str,
    genesis: gb.Genesis = GENESIS,
    listens: bool = True,
) -> AsyncIterator[Stranger]:
    """Somebody under ``keypair(number)`` with a connection to the peer at ``dial``.

    ``listens=False``: it reads nothing.
    """
    async with network.transport(f"stranger {number}").open(genesis, keypair(number)) as endpoint:
        one = Stranger(await endpoint.dial(dial.encode(), None))
        async with trio.open_nursery() as nursery:
            if listens:
                nursery.start_soon(one._listen)
            yield one
            nursery.cancel_scope.cancel()
