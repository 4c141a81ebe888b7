"""What every transport promises, whatever carries its frames.

A transport joins with a class of its own that derives from ``TransportSuite`` and a fixture
``make_transport``: called without an argument it gives a transport at an address of its own, called
with an address one at that place. The links it makes lose nothing. The class is marked
``virtual_time``, or ``real_time`` where sockets are involved; then the suite takes some seconds.

Addresses and limits are the transport's own affair; so is how long a closed connection takes to
be noticed. Tests wait for what they expect, within ``PATIENCE_S``.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
import trio
from twins.cancellation import cancelled_after
from twins.trio_peers import keypair

import gossipbook as gb
from gossipbook.errors import ConnectionLost, RemoteError, Unreachable
from gossipbook.transport.interface import Connection, Endpoint, Transport

GENESIS = gb.Genesis("here", [gb.Market("ONE")])
ELSEWHERE = gb.Genesis("elsewhere", [gb.Market("ONE")])
CLOSED = gb.Genesis("closed", [gb.Market("ONE")], members=[keypair(1).peer_id, keypair(2).peer_id])

PATIENCE_S = 10
A_MOMENT_S = 0.05
LARGE_BYTES = 256 * 1024
MEDIUM_BYTES = 16 * 1024
"""A frame that whatever is between two peers has room for, several times over."""
MOST_UNDER_WAY_BYTES = 64 * 1024 * 1024

MakeTransport = Callable[..., Transport]


class Pair(NamedTuple):
    """Two endpoints, and the two ends of the connection between them."""

    dialler: Endpoint
    listener: Endpoint
    near: Connection
    far: Connection


@asynccontextmanager
async def pair_of(make_transport: MakeTransport) -> AsyncIterator[Pair]:
    """``keypair(1)`` has dialled ``keypair(2)``."""
    async with (
        make_transport().open(GENESIS, keypair(1)) as dialler,
        make_transport().open(GENESIS, keypair(2)) as listener,
    ):
        near, far = await connect(dialler, listener)
        yield Pair(dialler, listener, near, far)


async def connect(dialler: Endpoint, listener: Endpoint) -> tuple[Connection, Connection]:
    """Both ends of a new connection."""
    ends: dict[str, Connection] = {}

    async def accept() -> None:
        ends["far"] = await listener.accept()

    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            ends["near"] = await dialler.dial(address_of(listener), None)
    return ends["near"], ends["far"]


def address_of(endpoint: Endpoint) -> bytes:
    assert endpoint.address is not None, "these transports can be dialled"
    return endpoint.address


async def receive_frames(connection: Connection, count: int) -> list[bytes]:
    """So many frames, or a few more if they come together."""
    frames: list[bytes] = []
    with trio.fail_after(PATIENCE_S):
        while len(frames) < count:
            got = await connection.receive()
            assert got, "receive returns one frame at least"
            frames += got
    return frames


async def read_to_the_end(connection: Connection) -> list[bytes]:
    """What still comes before the connection is lost."""
    frames: list[bytes] = []
    with trio.fail_after(PATIENCE_S), pytest.raises(ConnectionLost):
        while True:
            frames += await connection.receive()
    return frames


async def expect_no_connection(endpoint: Endpoint) -> None:
    """For a moment nobody connects, or who did has hung up."""
    connection: Connection | None = None
    with trio.move_on_after(A_MOMENT_S):
        connection = await endpoint.accept()
    if connection is not None:
        assert await read_to_the_end(connection) == []


def numbered(count: int, size_bytes: int = 8) -> list[bytes]:
    return [number.to_bytes(size_bytes, "big") for number in range(count)]


class TransportSuite:
    """Derive from it, and say how transports are made."""

    @pytest.fixture
    def make_transport(self) -> MakeTransport:
        raise NotImplementedError("a fixture that makes transports")

    # ---------------------------------------------------------------- frames

    async def test_frames_arrive_whole_and_in_order(self, make_transport: MakeTransport) -> None:
        sent = [bytes([size % 251]) * size for size in (1, 0, 2, 255, 256, 65_535, 65_536, 3)]
        async with pair_of(make_transport) as (_, _, near, far):
            await near.send(sent[:3])
            await near.send(sent[3:])
            assert await receive_frames(far, len(sent)) == sent

    async def test_a_large_frame_arrives_whole(self, make_transport: MakeTransport) -> None:
        sent = [bytes(range(256)) * (LARGE_BYTES // 256), b"after it"]
        async with pair_of(make_transport) as (_, _, near, far):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(near.send, sent)
                received = await receive_frames(far, 2)
            assert received == sent

    async def test_many_small_frames_arrive_each_on_its_own(
        self, make_transport: MakeTransport
    ) -> None:
        sent = numbered(5_000, 3)
        async with pair_of(make_transport) as (_, _, near, far):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(near.send, sent)
                received = await receive_frames(far, len(sent))
            assert received == sent

    async def test_both_directions_carry_frames_at_once(
        self, make_transport: MakeTransport
    ) -> None:
        """More than either direction holds: each end has to read while it sends."""
        there, back = numbered(40, LARGE_BYTES), numbered(41, LARGE_BYTES)
        received: dict[str, list[bytes]] = {}

        async def receive(name: str, connection: Connection, count: int) -> None:
            received[name] = await receive_frames(connection, count)

        async with pair_of(make_transport) as (_, _, near, far), trio.open_nursery() as nursery:
            nursery.start_soon(near.send, there)
            nursery.start_soon(far.send, back)
            nursery.start_soon(receive, "far", far, len(there))
            nursery.start_soon(receive, "near", near, len(back))
        assert received == {"far": there, "near": back}

    async def test_receive_waits_for_a_frame(self, make_transport: MakeTransport) -> None:
        async with pair_of(make_transport) as (_, _, near, far):
            with trio.move_on_after(A_MOMENT_S) as waiting:
                await far.receive()
            assert waiting.cancelled_caught
            await near.send([b"now"])
            assert await receive_frames(far, 1) == [b"now"]

    async def test_sending_nothing_sends_nothing(self, make_transport: MakeTransport) -> None:
        async with pair_of(make_transport) as (_, _, near, far):
            await near.send([])
            await near.send([b"first"])
            assert await receive_frames(far, 1) == [b"first"]

    async def test_a_slow_reader_makes_the_sender_wait_and_loses_nothing(
        self, make_transport: MakeTransport
    ) -> None:
        count = MOST_UNDER_WAY_BYTES // MEDIUM_BYTES
        sent = 0

        async def send_them() -> None:
            nonlocal sent
            for number in range(count):
                await near.send([number.to_bytes(MEDIUM_BYTES, "big")])
                sent += 1

        async with pair_of(make_transport) as (_, _, near, far):
            with trio.fail_after(3 * PATIENCE_S):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(send_them)
                    seen = -1
                    while seen < sent or sent == 0:
                        seen = sent
                        await trio.sleep(A_MOMENT_S)
                    assert sent < count, "nobody reads, so the sender waits"
                    received: list[bytes] = []
                    while len(received) < count:
                        received += [frame[-8:] for frame in await far.receive()]
            assert received == numbered(count)
            assert sent == count

    # ---------------------------------------------------------------- cancelling

    async def test_a_cancelled_receive_loses_no_frame(self, make_transport: MakeTransport) -> None:
        received: list[bytes] = []
        situations = set()

        async def receive() -> None:
            received.extend(await far.receive())

        async with pair_of(make_transport) as (_, _, near, far):
            for step_count in range(30):
                await near.send([step_count.to_bytes(8, "big")])
                attempt = await cancelled_after(step_count % 6, receive)
                if attempt.cancelled:
                    situations.add(attempt.situation)
            await near.send([b"the last"])
            with trio.fail_after(PATIENCE_S):
                while received[-1:] != [b"the last"]:
                    received += await far.receive()
            assert received == [*numbered(30), b"the last"]
        assert situations, "some receive was cancelled"

    async def test_a_cancelled_send_has_sent_whole_frames_from_the_first_on(
        self, make_transport: MakeTransport
    ) -> None:
        """Afterwards the connection may be lost; it carries no halves."""
        sent = numbered(MOST_UNDER_WAY_BYTES // MEDIUM_BYTES, MEDIUM_BYTES)
        received: list[bytes] = []

        async def receive() -> None:
            with contextlib.suppress(ConnectionLost):
                while True:
                    received.extend(await far.receive())

        async with pair_of(make_transport) as (_, _, near, far):
            with trio.move_on_after(A_MOMENT_S) as sending:
                await near.send(sent)
            assert sending.cancelled_caught, "nobody reads, so it waits"
            async with trio.open_nursery() as nursery:
                nursery.start_soon(receive)
                await trio.sleep(A_MOMENT_S)
                with contextlib.suppress(ConnectionLost):
                    await near.send([b"afterwards"])
                await near.aclose()
        frames = received[:-1] if received[-1:] == [b"afterwards"] else received
        assert 0 < len(frames) < len(sent)
        assert frames == sent[: len(frames)]

    async def test_a_cancelled_dial_leaves_no_connection(
        self, make_transport: MakeTransport
    ) -> None:
        async with (
            make_transport().open(GENESIS, keypair(1)) as dialler,
            make_transport().open(GENESIS, keypair(2)) as listener,
        ):
            cancelled = 0
            for step_count in itertools.count():
                attempt = await cancelled_after(
                    step_count, lambda: dialler.dial(address_of(listener), None)
                )
                if attempt.result is not None:
                    with trio.fail_after(PATIENCE_S):
                        far = await listener.accept()
                    break
                assert attempt.cancelled, "a dial that is not cancelled gets through"
                cancelled += 1
                await expect_no_connection(listener)
            assert cancelled > 0
            await attempt.result.send([b"still good"])
            assert await receive_frames(far, 1) == [b"still good"]

    # ---------------------------------------------------------------- closing

    async def test_closing_is_seen_at_the_other_end_after_the_last_frame(
        self, make_transport: MakeTransport
    ) -> None:
        async with pair_of(make_transport) as (_, _, near, far):
            await near.send([b"one", b"two"])
            await near.aclose()
            assert await read_to_the_end(far) == [b"one", b"two"]

    async def test_a_closed_connection_carries_nothing_from_either_end(
        self, make_transport: MakeTransport
    ) -> None:
        async with pair_of(make_transport) as (_, _, near, far):
            await near.aclose()
            with pytest.raises(ConnectionLost):
                await near.send([b"too late"])
            with pytest.raises(ConnectionLost):
                await near.receive()
            await read_to_the_end(far)
            with pytest.raises(ConnectionLost):
                await far.receive()
            await far.aclose()
            with pytest.raises(ConnectionLost):
                await far.send([b"too late"])

    async def test_closing_twice_does_nothing(self, make_transport: MakeTransport) -> None:
        async with pair_of(make_transport) as (_, _, near, far):
            await near.aclose()
            await near.aclose()
            await read_to_the_end(far)
            await far.aclose()
            await far.aclose()

    async def test_closing_wakes_a_receive_that_waits(self, make_transport: MakeTransport) -> None:
        async with pair_of(make_transport) as (_, _, near, far):
            with trio.fail_after(PATIENCE_S):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(read_to_the_end, near)
                    nursery.start_soon(read_to_the_end, far)
                    await trio.sleep(A_MOMENT_S)
                    await near.aclose()

    async def test_closing_wakes_a_send_that_waits(self, make_transport: MakeTransport) -> None:
        async def send_much() -> None:
            with pytest.raises(ConnectionLost):
                for _ in range(MOST_UNDER_WAY_BYTES // LARGE_BYTES):
                    await near.send([bytes(LARGE_BYTES)])

        async with pair_of(make_transport) as (_, _, near, _):
            with trio.fail_after(PATIENCE_S):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(send_much)
                    await trio.sleep(A_MOMENT_S)
                    await near.aclose()

    async def test_a_send_that_waits_ends_when_the_reader_hangs_up(
        self, make_transport: MakeTransport
    ) -> None:
        """It raises or gives up its frames; it does not wait for ever."""

        async def send_much() -> None:
            try:
                for frame in numbered(MOST_UNDER_WAY_BYTES // LARGE_BYTES, LARGE_BYTES):
                    await near.send([frame])
            except ConnectionLost:
                pass
            await read_to_the_end(near)

        async with pair_of(make_transport) as (_, _, near, far):
            with trio.fail_after(PATIENCE_S):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(send_much)
                    await trio.sleep(A_MOMENT_S)
                    await far.aclose()

    async def test_leaving_the_block_closes_every_connection(
        self, make_transport: MakeTransport
    ) -> None:
        async with make_transport().open(GENESIS, keypair(1)) as stays:
            fars = []
            async with make_transport().open(GENESIS, keypair(2)) as leaves:
                fars += [(await connect(leaves, stays))[1] for _ in range(2)]
                fars.append((await connect(stays, leaves))[0])
            for far in fars:
                assert await read_to_the_end(far) == []

    async def test_one_connection_closing_leaves_the_others(
        self, make_transport: MakeTransport
    ) -> None:
        async with pair_of(make_transport) as (dialler, listener, near, far):
            other_near, other_far = await connect(dialler, listener)
            await near.aclose()
            await read_to_the_end(far)
            await other_near.send([b"still here"])
            assert await receive_frames(other_far, 1) == [b"still here"]

    # ---------------------------------------------------------------- who is there

    async def test_each_end_knows_the_other_and_where_it_can_be_dialled(
        self, make_transport: MakeTransport
    ) -> None:
        async with pair_of(make_transport) as (dialler, listener, near, far):
            assert (near.peer_id, near.address) == (keypair(2).peer_id, listener.address)
            assert (far.peer_id, far.address) == (keypair(1).peer_id, dialler.address)

    async def test_who_dials_itself_meets_its_own_id(self, make_transport: MakeTransport) -> None:
        async with make_transport().open(GENESIS, keypair(1)) as endpoint:
            near, far = await connect(endpoint, endpoint)
            assert near.peer_id == far.peer_id == keypair(1).peer_id

    @pytest.mark.parametrize("expected", [None, keypair(2).peer_id, keypair(3).peer_id])
    async def test_whoever_answers_is_named_whoever_was_expected(
        self, make_transport: MakeTransport, expected: gb.PeerId | None
    ) -> None:
        async with (
            make_transport().open(GENESIS, keypair(1)) as dialler,
            make_transport().open(GENESIS, keypair(2)) as listener,
        ):
            with trio.fail_after(PATIENCE_S):
                near = await dialler.dial(address_of(listener), expected)
            assert near.peer_id == keypair(2).peer_id

    async def test_a_peer_of_another_network_is_refused_with_both_networks_named(
        self, make_transport: MakeTransport
    ) -> None:
        async with (
            make_transport().open(GENESIS, keypair(1)) as dialler,
            make_transport().open(ELSEWHERE, keypair(2)) as listener,
        ):
            with trio.fail_after(PATIENCE_S), pytest.raises(gb.WrongNetwork) as refusal:
                await dialler.dial(address_of(listener), None)
            for genesis in (GENESIS, ELSEWHERE):
                assert genesis.network_id.hex()[:16] in str(refusal.value)
            await expect_no_connection(listener)

    @pytest.mark.parametrize("numbers", [(1, 3), (3, 1)])
    async def test_who_is_no_member_neither_dials_nor_is_dialled(
        self, make_transport: MakeTransport, numbers: tuple[int, int]
    ) -> None:
        first, second = numbers
        async with (
            make_transport().open(CLOSED, keypair(first)) as dialler,
            make_transport().open(CLOSED, keypair(second)) as listener,
        ):
            with trio.fail_after(PATIENCE_S), pytest.raises(RemoteError):
                await dialler.dial(address_of(listener), None)
            await expect_no_connection(listener)

    async def test_members_of_a_closed_network_reach_each_other(
        self, make_transport: MakeTransport
    ) -> None:
        async with (
            make_transport().open(CLOSED, keypair(1)) as dialler,
            make_transport().open(CLOSED, keypair(2)) as listener,
        ):
            near, far = await connect(dialler, listener)
            await far.send([b"welcome"])
            assert await receive_frames(near, 1) == [b"welcome"]

    # ---------------------------------------------------------------- addresses

    async def test_nobody_at_an_address_is_unreachable(self, make_transport: MakeTransport) -> None:
        async with make_transport().open(GENESIS, keypair(1)) as dialler:
            async with make_transport().open(GENESIS, keypair(2)) as gone:
                address = address_of(gone)
            with trio.fail_after(PATIENCE_S), pytest.raises(Unreachable):
                await dialler.dial(address, None)

    async def test_an_address_can_be_had_again_after_closing(
        self, make_transport: MakeTransport
    ) -> None:
        async with make_transport().open(GENESIS, keypair(1)) as dialler:
            async with make_transport().open(GENESIS, keypair(2)) as first:
                address = address_of(first)
                await connect(dialler, first)
            transport = make_transport(address.decode())
            for number in (2, 3, 2):  # the same value, as often as its peer restarts
                async with transport.open(GENESIS, keypair(number)) as again:
                    assert address_of(again) == address
                    near, far = await connect(dialler, again)
                    assert near.peer_id == keypair(number).peer_id
                    await near.send([b"hello"])
                    assert await receive_frames(far, 1) == [b"hello"]

    async def test_two_peers_at_one_address_are_refused(
        self, make_transport: MakeTransport
    ) -> None:
        async with (
            make_transport().open(GENESIS, keypair(1)) as dialler,
            make_transport().open(GENESIS, keypair(2)) as first,
        ):
            second = make_transport(address_of(first).decode())
            with pytest.raises(gb.UsageError):
                async with second.open(GENESIS, keypair(3)):
                    pass
            near, _ = await connect(dialler, first)
            assert near.peer_id == keypair(2).peer_id, "the first one is still there"
