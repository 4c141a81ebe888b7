"""TLS links over loopback: the suite of all transports, and what only a network has."""

from __future__ import annotations

import errno
import logging
import socket
import time
from contextlib import suppress

import pytest
import trio
from network.hostile import BROKEN, Target, answering, hello_of, hung_up, intruding, knocking
from transport.suite import (
    GENESIS,
    PATIENCE_S,
    MakeTransport,
    TransportSuite,
    address_of,
    connect,
    read_to_the_end,
    receive_frames,
)
from twins.trio_peers import keypair, until
from twins.virtual_time import real_time

import gossipbook as gb
from gossipbook.errors import ConnectionLost, ProtocolViolation, RemoteError, Unreachable
from gossipbook.transport import tls
from gossipbook.transport.certificate import dialler_context, listener_context
from gossipbook.transport.framing import framed
from gossipbook.transport.tls import MAX_FRAME_BYTES, TlsEndpoint, TlsTransport

pytestmark = real_time


def make(address: str | None = None) -> TlsTransport:
    return TlsTransport(address or "127.0.0.1:0")


class TestTlsTransport(TransportSuite):
    """Every promise of a transport."""

    @pytest.fixture
    def make_transport(self) -> MakeTransport:
        return make


def target_of(endpoint: TlsEndpoint, number: int = 1) -> Target:
    return Target(address_of(endpoint).decode(), GENESIS, keypair(number))


# ==================================================================== addresses


@pytest.mark.parametrize(
    ("listen", "advertise", "complaint"),
    [
        ("nonsense", None, "HOST:PORT"),
        ("127.0.0.1:7000", "0.0.0.0:7000", "cannot be dialled"),
        ("127.0.0.1:7000", "example.org:0", "1 to 65535"),
        (None, "example.org:7000", "without listen="),
        (7000, None, "give text"),
    ],
)
async def test_addresses_that_cannot_be_are_refused(
    listen: str, advertise: str | None, complaint: str
) -> None:
    with pytest.raises(gb.UsageError, match=complaint):
        TlsTransport(listen, advertise=advertise)


async def test_transport_shows_where_it_listens() -> None:
    assert repr(TlsTransport("127.0.0.1:7000")) == "<TlsTransport 127.0.0.1:7000>"
    assert repr(TlsTransport()) == "<TlsTransport that only dials>"


async def test_who_only_dials_has_no_address_and_links_all_the_same() -> None:
    async with TlsTransport().open(GENESIS, keypair(1)) as dialler:
        assert dialler.address is None
        async with make().open(GENESIS, keypair(2)) as listener:
            near, far = await connect(dialler, listener)
            assert far.address is None
            await near.send([b"hello"])
            assert await receive_frames(far, 1) == [b"hello"]


async def test_the_address_that_is_advertised_is_the_one_that_others_learn() -> None:
    transport = TlsTransport("127.0.0.1:0", advertise="example.org:7000")
    async with transport.open(GENESIS, keypair(1)) as dialler:
        assert dialler.address == b"example.org:7000"
        async with make().open(GENESIS, keypair(2)) as listener:
            _, far = await connect(dialler, listener)
            assert far.address == b"example.org:7000"


async def test_who_listens_at_all_addresses_is_dialled_at_the_one_that_was_seen() -> None:
    async with (
        TlsTransport("0.0.0.0:0").open(GENESIS, keypair(1)) as everywhere,
        make().open(GENESIS, keypair(2)) as listener,
    ):
        port = address_of(everywhere).rpartition(b":")[2]
        _, far = await connect(everywhere, listener)
        assert far.address == b"127.0.0.1:" + port
        near, _ = await connect(listener, everywhere)  # dialled at the wildcard: this machine
        assert near.peer_id == keypair(1).peer_id


async def test_ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    async with (
        make("[::1]:0").open(GENESIS, keypair(1)) as dialler,
        make("[::1]:0").open(GENESIS, keypair(2)) as listener,
    ):
        assert address_of(listener).startswith(b"[::1]:")
        near, far = await connect(dialler, listener)
        assert (near.address, far.address) == (listener.address, dialler.address)


@pytest.mark.parametrize(
    ("listen", "complaint"),
    [("203.0.113.5:7000", "cannot listen at 203.0.113.5:7000"), ("no.such.invalid:1", "no.such")],
)
async def test_where_one_cannot_listen_is_told(listen: str, complaint: str) -> None:
    with pytest.raises(gb.UsageError, match=complaint):
        async with TlsTransport(listen).open(GENESIS, keypair(1)):
            pass


async def test_a_port_that_is_taken_is_told_with_the_remedy() -> None:
    async with make().open(GENESIS, keypair(1)) as first:
        taken = TlsTransport(address_of(first).decode())
        with pytest.raises(gb.UsageError, match=r"another program listens there.*port 0"):
            async with taken.open(GENESIS, keypair(2)):
                pass


# ==================================================================== certificates


async def test_no_session_is_ever_resumed() -> None:
    """A resumed session would show no certificate to bind a proof to."""
    context = dialler_context()
    async with make().open(GENESIS, keypair(2)) as listener:
        for _ in range(2):
            async with knocking(target_of(listener), context=context) as knock:
                await knock.prove()
                await listener.accept()
                assert not knock.stream.session_reused
                assert knock.stream.session is None or not knock.stream.session.has_ticket


# ==================================================================== dialling who knows what


async def _dial(address: str) -> None:
    async with TlsTransport().open(GENESIS, keypair(1)) as endpoint:
        with trio.fail_after(PATIENCE_S):
            await endpoint.dial(address.encode(), None)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(2_000)])
async def test_a_listener_that_speaks_no_tls_is_unreachable(answer: bytes) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        with suppress(*BROKEN):
            await stream.send_all(answer)
            await stream.receive_some()
            await stream.aclose()

    async with answering(serve) as address:
        with pytest.raises(Unreachable, match="hung up during the handshake"):
            await _dial(address)


@pytest.mark.parametrize("speaks_tls", [False, True])
async def test_a_listener_that_falls_silent_is_unreachable(
    speaks_tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "HANDSHAKE_S", 0.2)

    async def serve(stream: trio.SocketStream) -> None:
        with suppress(*BROKEN):
            if speaks_tls:
                stream = trio.SSLStream(stream, listener_context().context, server_side=True)
                await stream.do_handshake()
            await hung_up(stream)

    async with answering(serve) as address:
        with pytest.raises(Unreachable, match="did not end the handshake within"):
            await _dial(address)


@pytest.mark.parametrize(
    ("frames", "match"),
    [
        ([b"\xff"], "head 0xff"),
        ([b""], "inside an item"),
        ([bytes(1_025)], "1,025 bytes where 1,024"),
        ([tls.encode_proof(bytes(64))], "not a hello"),
        (["hello", b"\x00"], "a frame is an array"),
        (["hello", "hello"], "not a proof"),
        (["hello", tls.encode_proof(bytes(64))], "does not prove"),
    ],
)
async def test_a_listener_that_speaks_nonsense_is_a_remote_error(
    frames: list[bytes | str], match: str
) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        stream = trio.SSLStream(stream, listener_context().context, server_side=True)
        hello = hello_of(Target("", GENESIS, keypair(2))).encode()
        with suppress(*BROKEN):
            await stream.do_handshake()
            await stream.receive_some()
            await stream.send_all(framed([hello if one == "hello" else one for one in frames]))  # type: ignore[misc]
            await hung_up(stream)

    async with answering(serve) as address:
        with pytest.raises(RemoteError, match=match):
            await _dial(address)


@pytest.mark.parametrize("address", ["nonsense", "host:0", "no.such.invalid:1", "127.0.0.1:1"])
async def test_where_nobody_can_be_dialled_is_unreachable(address: str) -> None:
    with pytest.raises(Unreachable):
        await _dial(address)


# ==================================================================== frames


async def test_a_frame_of_the_greatest_size_arrives_and_a_longer_one_ends_the_connection() -> None:
    async with (
        make().open(GENESIS, keypair(1)) as dialler,
        make().open(GENESIS, keypair(2)) as listener,
    ):
        near, far = await connect(dialler, listener)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(near.send, [bytes(MAX_FRAME_BYTES)])
            (frame,) = await receive_frames(far, 1)
        assert len(frame) == MAX_FRAME_BYTES
        async with intruding(target_of(listener)) as intruder:
            far = await listener.accept()
            await intruder.stream.send_all((MAX_FRAME_BYTES + 1).to_bytes(4, "big"))
            with (
                trio.fail_after(PATIENCE_S),
                pytest.raises(ProtocolViolation, match=f"of {MAX_FRAME_BYTES + 1:,} bytes"),
            ):
                await far.receive()


async def test_the_last_proof_and_the_first_frame_may_come_together() -> None:
    async with (
        make().open(GENESIS, keypair(2)) as listener,
        knocking(target_of(listener)) as knock,
    ):
        await knock.say_hello()
        long = bytes(50_000)  # longer than any frame of a handshake
        await knock.say(knock.proof(), b"first", long)
        with trio.fail_after(PATIENCE_S):
            far = await listener.accept()
        assert await receive_frames(far, 2) == [b"first", long]


async def test_a_frame_that_goes_on_fast_enough_may_take_longer_than_the_patience(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tls, "FRAME_PATIENCE_S", 0.2)
    monkeypatch.setattr(tls, "LEAST_BYTES_PER_S", 1_000)
    async with (
        make().open(GENESIS, keypair(2)) as listener,
        intruding(target_of(listener)) as slow,
        trio.open_nursery() as nursery,
    ):
        far = await listener.accept()

        async def send() -> None:
            await slow.stream.send_all((1_000).to_bytes(4, "big"))
            for _ in range(10):
                await slow.stream.send_all(bytes(100))
                await trio.sleep(0.05)

        nursery.start_soon(send)
        assert await receive_frames(far, 1) == [bytes(1_000)]


async def test_a_byte_that_comes_when_the_patience_ends_is_judged_and_raises_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The peer was busy with others meanwhile: it sees the byte and the deadline at once."""
    monkeypatch.setattr(tls, "FRAME_PATIENCE_S", 0.1)
    async with (
        make().open(GENESIS, keypair(2)) as listener,
        intruding(target_of(listener)) as slow,
        trio.open_nursery() as nursery,
    ):
        far = await listener.accept()

        async def receive() -> None:
            with trio.fail_after(PATIENCE_S), pytest.raises(ProtocolViolation, match="slowly"):
                await far.receive()

        await slow.stream.send_all((1_000).to_bytes(4, "big"))
        nursery.start_soon(receive)
        await trio.sleep(0.05)
        await slow.stream.send_all(b"x")
        time.sleep(0.2)


async def test_silence_between_frames_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "FRAME_PATIENCE_S", 0.05)
    async with (
        make().open(GENESIS, keypair(1)) as dialler,
        make().open(GENESIS, keypair(2)) as listener,
    ):
        near, far = await connect(dialler, listener)
        for frame in (b"one", b"two"):
            with trio.move_on_after(0.15):
                await far.receive()
                raise AssertionError("nothing was sent")
            await near.send([frame])
            assert await receive_frames(far, 1) == [frame]


# ==================================================================== the door


async def test_connections_that_nobody_accepts_are_turned_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tls, "ACCEPT_LIMIT", 2)
    caplog.set_level(logging.INFO, "gossipbook.transport")
    async with (
        make().open(GENESIS, keypair(1)) as dialler,
        make().open(GENESIS, keypair(2)) as listener,
    ):
        near = []
        for _ in range(3):
            near.append(await dialler.dial(address_of(listener), None))
            await until(lambda: len(listener.door) == 0, "the listener has its proof")
        assert await read_to_the_end(near[2]) == []
        await until(lambda: bool(caplog.records), "a line in the log")
        assert [record.reason for record in caplog.records] == [  # type: ignore[attr-defined]
            "too many connections wait to be accepted"
        ]
        for end in near[:2]:
            far = await listener.accept()
            await end.send([b"still here"])
            assert await receive_frames(far, 1) == [b"still here"]


async def test_an_accept_that_fails_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No descriptors left, say: it passes."""
    caplog.set_level(logging.INFO, "gossipbook.transport")
    accept = trio.SocketListener.accept
    failures = 0

    async def failing(listener: trio.SocketListener) -> trio.SocketStream:
        nonlocal failures
        if failures < 2:
            failures += 1
            raise OSError(errno.EMFILE, "Too many open files")
        return await accept(listener)

    monkeypatch.setattr(trio.SocketListener, "accept", failing)
    async with (
        make().open(GENESIS, keypair(1)) as dialler,
        make().open(GENESIS, keypair(2)) as listener,
    ):
        await connect(dialler, listener)
    assert failures == 2
    assert all("Too many open files" in record.message for record in caplog.records)


async def test_a_connection_that_is_blamed_lets_its_source_come_less_often() -> None:
    async with (
        make().open(GENESIS, keypair(1)) as dialler,
        make().open(GENESIS, keypair(2)) as listener,
    ):
        near, far = await connect(dialler, listener)
        near.blame()  # dialled by us: its source is none of the door's business
        for _ in range(100):
            far.blame()
        with pytest.raises(Unreachable, match="hung up"):
            await dialler.dial(address_of(listener), None)
        back, _ = await connect(listener, dialler)
        assert back.peer_id == keypair(1).peer_id


async def test_closing_hangs_up_on_strangers_at_the_door() -> None:
    async with trio.open_nursery() as nursery:
        targets: list[Target] = []

        async def listen(task_status: trio.TaskStatus[trio.CancelScope]) -> None:
            with trio.CancelScope() as scope:
                async with make().open(GENESIS, keypair(2)) as listener:
                    targets.append(target_of(listener))
                    task_status.started(scope)
                    await trio.sleep_forever()

        scope = await nursery.start(listen)
        async with knocking(targets[0]) as knock:
            await knock.say_hello()
            scope.cancel()
            with trio.fail_after(PATIENCE_S), pytest.raises(ConnectionLost):
                await knock.hear()
