"""The memory network: the suite of all transports, and what its links do to frames."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
import trio
from transport.suite import (
    A_MOMENT_S,
    GENESIS,
    MakeTransport,
    TransportSuite,
    connect,
    numbered,
    pair_of,
    read_to_the_end,
    receive_frames,
)
from twins.trio_peers import keypair
from twins.virtual_time import virtual_time

import gossipbook as gb
from gossipbook.errors import Unreachable
from gossipbook.transport.interface import Connection, Endpoint
from gossipbook.transport.memory import ACCEPT_LIMIT

pytestmark = virtual_time


class TestMemoryTransport(TransportSuite):
    """Every promise of a transport, on links that take no time."""

    @pytest.fixture
    def make_transport(self) -> MakeTransport:
        return gb.MemoryNetwork().transport

    async def test_receive_returns_all_that_waits(self, make_transport: MakeTransport) -> None:
        async with pair_of(make_transport) as (_, _, near, far):
            for frame in numbered(100):
                await near.send([frame])
            await trio.sleep(A_MOMENT_S)
            assert list(await far.receive()) == numbered(100)


class TestMemoryTransportOverSlowLinks(TransportSuite):
    """The same where every frame, and every close, takes 3 ms."""

    @pytest.fixture
    def make_transport(self) -> MakeTransport:
        return gb.MemoryNetwork(link=gb.Link(latency=(0.003, 0.003))).transport


# ------------------------------------------------------------------ what links do


Arrival = tuple[float, bytes]


async def arrivals_over(
    link: gb.Link, frames: list[bytes], *, seed: int = 0, gap_s: float = 0.0, within_s: float = 60
) -> tuple[list[Arrival], gb.MemoryNetwork]:
    """Send frames over such a link, one every ``gap_s``; when each arrived, after the start."""
    network = gb.MemoryNetwork(seed=seed)
    arrived: list[Arrival] = []
    async with (
        network.transport("a").open(GENESIS, keypair(1)) as a,
        network.transport("b").open(GENESIS, keypair(2)) as b,
    ):
        near, far = await connect(a, b)
        network.set_link(link)
        start_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_note_arrivals, far, arrived, start_s)
            for frame in frames:
                await near.send([frame])
                await trio.sleep(gap_s)
            await trio.sleep(within_s)
            nursery.cancel_scope.cancel()
    return arrived, network


async def _note_arrivals(connection: Connection, arrived: list[Arrival], start_s: float) -> None:
    while True:
        frames = await connection.receive()
        arrived += [(round(trio.current_time() - start_s, 6), frame) for frame in frames]


async def test_a_frame_travels_as_long_as_the_link_says() -> None:
    arrived, _ = await arrivals_over(gb.Link(latency=(0.25, 0.25)), numbered(3), gap_s=1)
    assert arrived == [(at_s + 0.25, frame) for at_s, frame in enumerate(numbered(3))]


async def test_latencies_vary_and_keep_the_order() -> None:
    link = gb.Link(latency=(0.1, 0.2))
    arrived, _ = await arrivals_over(link, numbered(500), gap_s=0.01)
    assert [frame for _, frame in arrived] == numbered(500)
    arrived, _ = await arrivals_over(link, numbered(500), gap_s=1)
    trips_s = [at_s - number for number, (at_s, _) in enumerate(arrived)]
    assert min(trips_s) == pytest.approx(0.1, abs=0.002)
    assert max(trips_s) == pytest.approx(0.2, abs=0.002)


async def test_frames_are_lost_as_often_as_the_link_says() -> None:
    arrived, network = await arrivals_over(gb.Link(latency=(0, 0), loss=0.3), numbered(2_000))
    received = [frame for _, frame in arrived]
    assert received == sorted(received)
    lost = 2_000 - len(received)
    assert network.counters.messages_lost == lost
    assert 500 < lost < 700


async def test_frames_are_doubled_as_often_as_the_link_says() -> None:
    link = gb.Link(latency=(0.01, 0.02), duplication=0.2)
    arrived, network = await arrivals_over(link, numbered(2_000))
    received = [frame for _, frame in arrived]
    assert sorted(set(received)) == numbered(2_000)
    assert 300 < len(received) - 2_000 < 500
    assert network.counters.messages == 2_000, "a message counts once, however often it arrives"


async def test_frames_overtake_each_other_only_where_the_link_says() -> None:
    link = gb.Link(latency=(0.01, 0.02), reordering=0.1)
    arrived, _ = await arrivals_over(link, numbered(1_000), gap_s=0.001)
    received = [frame for _, frame in arrived]
    assert sorted(received) == numbered(1_000)
    overtaken = sum(later < earlier for earlier, later in pairwise(received))
    assert 50 < overtaken < 150


async def test_bandwidth_spaces_frames_out() -> None:
    link = gb.Link(latency=(0, 0), bandwidth=10_000)
    arrived, _ = await arrivals_over(link, [bytes(1_000)] * 5)
    assert [at_s for at_s, _ in arrived] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


HARSH = gb.Link(latency=(0.01, 0.2), loss=0.1, duplication=0.1, reordering=0.1, bandwidth=50_000)


async def test_the_same_seed_gives_the_same_arrivals() -> None:
    first, network = await arrivals_over(HARSH, numbered(300), seed=7, gap_s=0.003)
    again, network_again = await arrivals_over(HARSH, numbered(300), seed=7, gap_s=0.003)
    other, _ = await arrivals_over(HARSH, numbered(300), seed=8, gap_s=0.003)
    assert first == again
    assert network.counters == network_again.counters
    assert first != other


async def test_a_new_link_holds_for_connections_that_stand_and_for_new_ones() -> None:
    network = gb.MemoryNetwork()
    async with (
        network.transport("a").open(GENESIS, keypair(1)) as a,
        network.transport("b").open(GENESIS, keypair(2)) as b,
    ):
        standing = await connect(a, b)
        network.set_link(gb.Link(latency=(1, 1)))
        before_s = trio.current_time()
        new = await connect(a, b)
        assert trio.current_time() - before_s == pytest.approx(3), "TCP, TLS and two hellos"
        for near, far in (standing, new):
            for sender, receiver in ((near, far), (far, near)):
                before_s = trio.current_time()
                await sender.send([b"slow"])
                await receive_frames(receiver, 1)
                assert trio.current_time() - before_s == pytest.approx(1)


async def test_a_new_link_lets_nothing_overtake_what_is_under_way() -> None:
    network = gb.MemoryNetwork(link=gb.Link(latency=(1, 1)))
    async with (
        network.transport("a").open(GENESIS, keypair(1)) as a,
        network.transport("b").open(GENESIS, keypair(2)) as b,
    ):
        near, far = await connect(a, b)
        await near.send([b"first"])
        network.set_link(gb.Link(latency=(0, 0)))
        await near.send([b"second"])
        assert await receive_frames(far, 2) == [b"first", b"second"]


async def test_counters_tell_connections_messages_and_bytes() -> None:
    _, network = await arrivals_over(gb.Link(latency=(0, 0)), [b"12345", b"123"])
    counters = network.counters
    assert (counters.connections, counters.messages, counters.message_bytes) == (1, 2, 8)
    assert (counters.messages_lost, counters.messages_cut) == (0, 0)


# ------------------------------------------------------------------ partitions


class Triangle:
    """Three endpoints: "a", "b" and "c", with a connection from "a" to each of the others."""

    def __init__(self, network: gb.MemoryNetwork, ends: dict[str, Connection]) -> None:
        self.network = network
        self.ends = ends

    async def gets_through(self, sender: str, receiver: str) -> bool:
        """Whether a frame from one end (``"a>b"``: a's end of its connection to b) arrives."""
        await self.ends[sender].send([b"?"])
        with trio.move_on_after(5):
            assert await self.ends[receiver].receive() == [b"?"]
            return True
        return False


@pytest.fixture
async def triangle() -> AsyncIterator[Triangle]:
    network = gb.MemoryNetwork(link=gb.Link(latency=(0.1, 0.1)))
    async with (
        network.transport("a").open(GENESIS, keypair(1)) as a,
        network.transport("b").open(GENESIS, keypair(2)) as b,
        network.transport("c").open(GENESIS, keypair(3)) as c,
    ):
        ends = {}
        ends["a>b"], ends["b>a"] = await connect(a, b)
        ends["a>c"], ends["c>a"] = await connect(a, c)
        yield Triangle(network, ends)


async def test_a_partition_cuts_both_ways_and_only_across_its_border(triangle: Triangle) -> None:
    triangle.network.partition(["b"])
    assert not await triangle.gets_through("a>b", "b>a")
    assert not await triangle.gets_through("b>a", "a>b")
    assert await triangle.gets_through("a>c", "c>a")
    assert await triangle.gets_through("c>a", "a>c")
    assert triangle.network.counters.messages_cut == 2
    triangle.network.heal()
    assert await triangle.gets_through("a>b", "b>a")
    assert await triangle.gets_through("b>a", "a>b")
    assert triangle.network.counters.messages_cut == 2


async def test_a_one_way_partition_keeps_in_what_the_group_sends(triangle: Triangle) -> None:
    triangle.network.partition([triangle.network.transport("b")], one_way=True)
    assert not await triangle.gets_through("b>a", "a>b")
    assert await triangle.gets_through("a>b", "b>a")


async def test_a_partition_replaces_the_one_before(triangle: Triangle) -> None:
    triangle.network.partition(["b"])
    triangle.network.partition(["c"])
    assert await triangle.gets_through("a>b", "b>a")
    assert not await triangle.gets_through("a>c", "c>a")


async def test_a_group_that_is_cut_off_together_stays_together(triangle: Triangle) -> None:
    triangle.network.partition(["a", "b"])
    assert await triangle.gets_through("a>b", "b>a")
    assert not await triangle.gets_through("a>c", "c>a")


async def test_frames_under_way_do_not_cross_a_partition(triangle: Triangle) -> None:
    near, far = triangle.ends["a>b"], triangle.ends["b>a"]
    await near.send([b"under way"])
    triangle.network.partition(["b"])
    with trio.move_on_after(1) as waiting:
        await far.receive()
    assert waiting.cancelled_caught
    triangle.network.heal()
    await near.send([b"after it"])
    assert await receive_frames(far, 1) == [b"after it"]


async def test_what_was_sent_into_a_partition_does_not_come_when_it_heals(
    triangle: Triangle,
) -> None:
    near, far = triangle.ends["a>b"], triangle.ends["b>a"]
    triangle.network.partition(["b"])
    await near.send([b"into it"])
    triangle.network.heal()
    await near.send([b"after it"])
    assert await receive_frames(far, 1) == [b"after it"]


async def test_closing_behind_a_partition_is_not_heard(triangle: Triangle) -> None:
    near, far = triangle.ends["a>b"], triangle.ends["b>a"]
    triangle.network.partition(["b"])
    await near.aclose()
    triangle.network.heal()
    with trio.move_on_after(100) as waiting:
        await far.receive()
    assert waiting.cancelled_caught, "as when a cable is pulled"
    await far.send([b"are you there?"])
    assert await read_to_the_end(far) == [], "nobody is: a reset comes back"


@pytest.mark.parametrize("one_way", [False, True])
async def test_a_dial_across_a_partition_is_never_answered(one_way: bool) -> None:
    network = gb.MemoryNetwork()
    async with (
        network.transport("a").open(GENESIS, keypair(1)) as a,
        network.transport("b").open(GENESIS, keypair(2)) as b,
    ):
        network.partition(["b"], one_way=one_way)
        with trio.move_on_after(1_000) as waiting:
            await a.dial(b"b", None)
        assert waiting.cancelled_caught
        network.heal()
        await connect(a, b)


# ------------------------------------------------------------------ addresses and limits


async def test_transports_without_a_name_get_one() -> None:
    network = gb.MemoryNetwork()
    assert [network.transport().address for _ in range(3)] == ["peer-0", "peer-1", "peer-2"]


@pytest.mark.parametrize("address", ["", "x" * 129, "é" * 65, 7])
async def test_an_address_that_cannot_be_is_refused(address: object) -> None:
    with pytest.raises(gb.UsageError, match="1 to 128 bytes"):
        gb.MemoryNetwork().transport(address)  # type: ignore[arg-type]


async def test_a_name_in_place_of_a_group_is_refused() -> None:
    """``partition("ab")`` would cut off "a" and "b"."""
    with pytest.raises(gb.UsageError, match=r"\['ab'\]"):
        gb.MemoryNetwork().partition("ab")


async def test_a_wrong_network_is_told_from_the_diallers_side() -> None:
    network, elsewhere = gb.MemoryNetwork(), gb.Genesis("elsewhere", GENESIS.markets)
    async with (
        network.transport("a").open(GENESIS, keypair(1)) as a,
        network.transport("b").open(elsewhere, keypair(2)),
    ):
        with pytest.raises(gb.WrongNetwork, match=r"other end is in network 'elsewhere' .*'here'"):
            await a.dial(b"b", None)


async def test_networks_do_not_see_each_other() -> None:
    async with (
        gb.MemoryNetwork().transport("a").open(GENESIS, keypair(1)) as a,
        gb.MemoryNetwork().transport("b").open(GENESIS, keypair(2)),
    ):
        with pytest.raises(Unreachable, match="'b'"):
            await a.dial(b"b", None)


async def test_who_accepts_nobody_is_soon_unreachable() -> None:
    network = gb.MemoryNetwork()
    async with (
        network.transport("a").open(GENESIS, keypair(1)) as a,
        network.transport("b").open(GENESIS, keypair(2)) as b,
    ):
        nears = [await a.dial(b"b", None) for _ in range(ACCEPT_LIMIT)]
        for _ in range(2 * ACCEPT_LIMIT):
            with pytest.raises(Unreachable, match="too many"):
                await a.dial(b"b", None)
        assert network.counters.connections == len(b._connections) == ACCEPT_LIMIT
        await read_one_of(b, nears)
        await a.dial(b"b", None)  # there is room again


async def read_one_of(listener: Endpoint, nears: list[Connection]) -> None:
    await nears[0].send([b"patience"])
    far = await listener.accept()
    assert await receive_frames(far, 1) == [b"patience"]


async def test_closing_travels_as_slowly_as_a_frame() -> None:
    network = gb.MemoryNetwork(link=gb.Link(latency=(2, 2)))
    async with (
        network.transport("a").open(GENESIS, keypair(1)) as a,
        network.transport("b").open(GENESIS, keypair(2)) as b,
    ):
        near, far = await connect(a, b)
        await near.send([b"last words"])
        await near.aclose()
        before_s = trio.current_time()
        assert await read_to_the_end(far) == [b"last words"]
        assert trio.current_time() - before_s == pytest.approx(2)


async def test_closing_can_be_lost_like_a_frame() -> None:
    network = gb.MemoryNetwork()
    async with (
        network.transport("a").open(GENESIS, keypair(1)) as a,
        network.transport("b").open(GENESIS, keypair(2)) as b,
    ):
        near, far = await connect(a, b)
        network.set_link(gb.Link(latency=(0, 0), loss=1))
        await near.aclose()
        with trio.move_on_after(100) as waiting:
            await far.receive()
        assert waiting.cancelled_caught
        network.set_link(gb.Link(latency=(0, 0)))
        await far.send([b"are you there?"])
        assert await read_to_the_end(far) == [], "on the new link a reset comes back"
