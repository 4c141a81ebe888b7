"""The proxy does to connections what the table of ways says, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio
from network.proxy import STRANGER, FaultProxy, free_port, process_at
from network.ways import CLEAR, Way, Ways
from twins.virtual_time import real_time

pytestmark = [
    real_time,
    pytest.mark.skipif(sys.platform != "linux", reason="diallers are found by /proc"),
]

DIALLER, LISTENER = "alice", "bob"
HELD, SWALLOWED = Way(held=True), Way(swallowed=True)
SOON_S = 5.0
"""What should happen, happens within this."""
SILENCE_S = 0.15
"""What does not happen within this, is taken not to happen."""


@dataclass
class World:
    """A listener that echoes, behind a proxy that takes whoever dials it for the dialler."""

    proxy: FaultProxy
    accepted: list[trio.SocketStream] = field(default_factory=list)
    dialled: list[trio.SocketStream] = field(default_factory=list)
    resets: int = 0
    """How many connections the listener has found broken."""

    @property
    def ways(self) -> Ways:
        return self.proxy.ways

    async def dial(self) -> trio.SocketStream:
        stream = await trio.open_tcp_stream("127.0.0.1", self.proxy.port)
        self.dialled.append(stream)
        return stream

    def there(self, way: Way) -> None:
        self.ways.set(way, DIALLER, LISTENER)

    def back(self, way: Way) -> None:
        self.ways.set(way, LISTENER, DIALLER)


@asynccontextmanager
async def proxied_echo(usual: Way = CLEAR) -> AsyncIterator[World]:
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            proxy = FaultProxy(
                LISTENER,
                listener.socket.getsockname(),
                ways=Ways(usual),
                name_dialler=lambda port: DIALLER,
            )
            world = World(proxy)

            async def echo(stream: trio.SocketStream) -> None:
                world.accepted.append(stream)
                try:
                    async for data in stream:
                        await stream.send_all(data)
                    await stream.send_eof()
                except trio.BrokenResourceError:
                    world.resets += 1
                except trio.ClosedResourceError:  # closed by a test
                    pass

            nursery.start_soon(trio.serve_listeners, echo, [listener])
            await nursery.start(proxy.run)
            yield world
            nursery.cancel_scope.cancel()
        listener.socket.close()
        for stream in (*world.accepted, *world.dialled):
            stream.socket.close()


async def receive(stream: trio.SocketStream, size_bytes: int) -> bytes:
    """So many bytes, which come soon."""
    data = b""
    with trio.fail_after(SOON_S):
        while len(data) < size_bytes:
            more = await stream.receive_some(size_bytes - len(data))
            assert more, f"the stream ended after {len(data)} bytes"
            data += more
    return data


async def hears_nothing(stream: trio.SocketStream) -> bool:
    with trio.move_on_after(SILENCE_S) as limit:
        await stream.receive_some(1)
    return limit.cancelled_caught


async def is_reset(stream: trio.SocketStream) -> bool:
    """Whether the connection breaks, soon, with a reset and not with an end."""
    try:
        with trio.fail_after(SOON_S):
            await stream.receive_some(1)
    except trio.BrokenResourceError as error:
        return isinstance(error.__cause__, ConnectionResetError)
    return False


async def is_refused(world: World) -> bool:
    """Whether who dials is reset: now, or already while connecting."""
    try:
        return await is_reset(await world.dial())
    except OSError as error:
        cause = error.__cause__
        return isinstance(cause, ExceptionGroup) and isinstance(
            cause.exceptions[0], ConnectionResetError
        )


async def is_cut_off(world: World) -> bool:
    """Whether a SYN gets no answer."""
    with trio.move_on_after(SILENCE_S) as limit:
        await (await world.dial()).aclose()
    return limit.cancelled_caught


# ------------------------------------------------------------------ when all is well


async def test_bytes_go_through_in_order_and_each_direction_ends_for_itself() -> None:
    sent = os.urandom(3_000_000)
    async with proxied_echo() as world, trio.open_nursery() as nursery:
        stream = await world.dial()

        async def send() -> None:
            await stream.send_all(sent)
            await stream.send_eof()

        nursery.start_soon(send)
        assert await receive(stream, len(sent)) == sent
        assert await stream.receive_some() == b""
        while world.proxy.connections:
            await trio.sleep(0.01)


async def test_what_was_sent_before_the_end_arrives_before_it() -> None:
    async with proxied_echo(Way(delay_s=(0.05, 0.05))) as world:
        stream = await world.dial()
        await stream.send_all(b"last words")
        await stream.send_eof()
        assert await receive(stream, 10) == b"last words"
        assert await stream.receive_some() == b""


async def test_a_dialler_of_a_listener_that_is_gone_is_reset() -> None:
    keeper, port = free_port()
    with keeper:
        async with trio.open_nursery() as nursery:
            proxy = FaultProxy(LISTENER, ("127.0.0.1", port), ways=Ways())
            await nursery.start(proxy.run)
            async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as stream:
                assert await is_reset(stream)
            nursery.cancel_scope.cancel()


# ------------------------------------------------------------------ slow


async def test_each_direction_has_its_delay() -> None:
    async with proxied_echo() as world:
        world.there(Way(delay_s=(0.1, 0.1)))
        world.back(Way(delay_s=(0.2, 0.2)))
        stream = await world.dial()
        start_s = trio.current_time()
        await stream.send_all(b"x")
        await receive(stream, 1)
        assert 0.3 <= trio.current_time() - start_s < 1


async def test_jitter_overtakes_nothing() -> None:
    async with proxied_echo(Way(delay_s=(0.0, 0.05))) as world, trio.open_nursery() as nursery:
        stream = await world.dial()

        async def send() -> None:
            for number in range(40):
                await stream.send_all(bytes([number]))
                await trio.sleep(0.002)

        nursery.start_soon(send)
        assert await receive(stream, 40) == bytes(range(40))


async def test_a_throttled_way_takes_its_time() -> None:
    async with proxied_echo() as world, trio.open_nursery() as nursery:
        world.there(Way(bytes_per_s=1_000_000))
        stream = await world.dial()
        start_s = trio.current_time()
        nursery.start_soon(stream.send_all, bytes(300_000))
        await receive(stream, 300_000)
        assert 0.3 <= trio.current_time() - start_s < 2


# ------------------------------------------------------------------ dead without a word


async def test_what_was_held_comes_after_the_heal_and_whole() -> None:
    async with proxied_echo() as world:
        stream = await world.dial()
        await stream.send_all(b"one")
        await receive(stream, 3)
        world.there(HELD)
        await stream.send_all(b"two")
        await stream.send_all(b"three")
        assert await hears_nothing(stream)
        world.ways.heal()
        assert await receive(stream, 8) == b"twothree"


async def test_one_direction_may_be_held_alone() -> None:
    async with proxied_echo() as world:
        stream = await world.dial()
        await stream.send_all(b"x")
        await receive(stream, 1)
        world.there(HELD)
        await world.accepted[0].send_all(b"back")
        assert await receive(stream, 4) == b"back"


async def test_a_connection_made_while_held_is_accepted_and_gets_nowhere_until_the_heal() -> None:
    async with proxied_echo() as world:
        world.there(HELD)
        stream = await world.dial()
        await stream.send_all(b"hello")
        assert await hears_nothing(stream)
        assert world.accepted == []
        world.ways.heal()
        assert await receive(stream, 5) == b"hello"


async def test_the_end_of_a_dead_process_is_held_too() -> None:
    async with proxied_echo() as world:
        stream = await world.dial()
        await stream.send_all(b"x")
        await receive(stream, 1)
        world.back(HELD)
        await world.accepted[0].aclose()
        assert await hears_nothing(stream)
        world.ways.heal()
        with trio.fail_after(SOON_S):
            assert await stream.receive_some() == b""


async def test_what_was_swallowed_never_comes_and_what_follows_does() -> None:
    async with proxied_echo() as world:
        stream = await world.dial()
        world.there(SWALLOWED)
        await stream.send_all(b"gone")
        assert await hears_nothing(stream)
        world.ways.heal()
        await stream.send_all(b"here")
        assert await receive(stream, 4) == b"here"


# ------------------------------------------------------------------ broken


async def test_cut_resets_both_ends() -> None:
    async with proxied_echo() as world:
        stream = await world.dial()
        await stream.send_all(b"x")
        await receive(stream, 1)
        assert world.proxy.cut(dialler="somebody else") == 0
        assert world.proxy.cut(dialler=DIALLER) == 1
        assert await is_reset(stream)
        while not world.resets:
            await trio.sleep(0.01)
        assert world.proxy.connections == []
        assert world.proxy.cut() == 0


async def test_a_reset_is_passed_on() -> None:
    async with proxied_echo() as world:
        stream = await world.dial()
        await stream.send_all(b"x")
        await receive(stream, 1)
        linger = (1).to_bytes(4, "little") + bytes(4)
        (accepted,) = world.accepted
        accepted.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, linger)
        accepted.socket.close()
        assert await is_reset(stream)


async def test_a_connection_breaks_when_its_time_is_over() -> None:
    async with proxied_echo(Way(lasts_s=(0.1, 0.3))) as world:
        stream = await world.dial()
        start_s = trio.current_time()
        assert await is_reset(stream)
        assert 0.1 <= trio.current_time() - start_s < 1


async def test_a_proxy_that_refuses_resets_whoever_dials_and_nobody_else() -> None:
    async with proxied_echo() as world:
        before = await world.dial()
        await before.send_all(b"x")
        await receive(before, 1)
        world.proxy.refuse()
        assert await is_refused(world)
        await before.send_all(b"y")
        assert await receive(before, 1) == b"y"
        world.proxy.listen_again()
        stream = await world.dial()
        await stream.send_all(b"z")
        assert await receive(stream, 1) == b"z"


async def test_a_deaf_proxy_answers_no_syn_until_it_listens_again() -> None:
    async with proxied_echo() as world:
        for _ in range(2):
            await world.proxy.be_deaf()
            assert await is_cut_off(world)
            world.proxy.listen_again()
            stream = await world.dial()
            await stream.send_all(b"z")
            assert await receive(stream, 1) == b"z"
        assert len(world.proxy.connections) == 2, "what only filled the backlog is not passed on"


# ------------------------------------------------------------------ who dials


async def test_the_dialler_is_found_by_its_process() -> None:
    dials = "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); "
    dials += "s.sendall(b'x'); sys.stdin.read()"
    async with proxied_echo() as world:
        command = [sys.executable, "-c", dials, str(world.proxy.port)]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
            pids = {"parent": os.getpid(), "child": child.pid, "ended": 2**22 + 1}
            ours = await world.dial()
            while len(world.accepted) < 2:
                await trio.sleep(0.01)
            ports = [_dialled_from(one) for one in world.proxy.connections]
            assert sorted(process_at(port, pids) for port in ports) == ["child", "parent"]
            assert process_at(ours.socket.getsockname()[1], {"child": child.pid}) == STRANGER
            child.kill()


def _dialled_from(connection: object) -> int:
    port: int = connection._near.socket.getpeername()[1]  # type: ignore[attr-defined]
    return port


async def test_ways_are_for_a_pair_and_the_rest_is_as_usual() -> None:
    slow = Way(delay_s=(1.0, 1.0))
    ways = Ways(slow)
    ways.set_both(HELD, ["a", "b"], ["b", "c"])
    held = {
        (x, y) for x in "abcd" for y in "abcd" if x != y and ways.between(x, y) == HELD
    }  # by hand: a-b, a-c, b-c
    assert held == {(x, y) for x in "abc" for y in "abc" if x != y}
    assert ways.between("a", "d") == slow
    ways.heal()
    assert ways.between("a", "b") == slow


async def test_a_port_that_is_kept_can_be_listened_on_and_is_given_to_nobody() -> None:
    keeper, port = free_port()
    with keeper:
        for _ in range(2):  # also once more, after connections of the first time
            (listener,) = await trio.open_tcp_listeners(port, host="127.0.0.1")
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            accepted = await listener.accept()
            await accepted.aclose()  # this end waits in TIME_WAIT
            await stream.aclose()
            await listener.aclose()
