"""A live peer under attack: who attacks is dropped with a logged reason, and nobody else notices.

In every test two honest peers are linked over TLS and one of them, the one attacked, submits all
the while. At the end the link still is the one that it was, every submit was answered, both hold
the same books, and nothing was raised: neither into the peers' nursery nor into a log.
"""

from __future__ import annotations

import logging
import re
import resource
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import trio
from network import hostile
from network.hostile import BROKEN, Author, Tally, Target, hung_up, intruding, knocking, reach
from twins.trio_peers import keypair, until
from twins.virtual_time import real_time

import gossipbook as gb
from gossipbook import driver
from gossipbook.encoding import encode
from gossipbook.errors import BadSignature, ConnectionLost
from gossipbook.gossip.messages import News, Peers, Ping
from gossipbook.transport import admission, tls
from gossipbook.transport.certificate import dialler_context
from gossipbook.transport.framing import framed
from gossipbook.transport.handshake import (
    LISTENER,
    NOT_A_MEMBER,
    WRONG_NETWORK,
    decode_hello,
    decode_proof,
    encode_refusal,
)

pytestmark = [
    real_time,
    pytest.mark.skipif(sys.platform != "linux", reason="attackers come from all of 127.0.0.0/8"),
]

OPEN = gb.Genesis("open", [gb.Market("ONE")])
CLOSED = gb.Genesis(
    "closed", [gb.Market("ONE")], members=[keypair(number).peer_id for number in (1, 2, 3, 9)]
)
ELSEWHERE = gb.Genesis("elsewhere", [gb.Market("ONE")])
ATTACKER, OUTSIDER, NEWCOMER = keypair(9), keypair(10), keypair(3)

PATIENCE_S = 20
PACE_S = 0.01
"""Between two submits of the peer that is attacked."""
SHORT_S = 0.3
"""What deadlines are shortened to, where a test waits for one."""
FLOOD_S = 0.4
MANY_FILES = 3_000
SECONDS_S = 8
"""What "within seconds" means here."""


@dataclass
class Attacked:
    """The peer that is attacked, its honest friend, and what the logs say."""

    peer: gb.Peer
    friend: gb.Peer
    lines: Callable[[], list[str]]
    submits: int = 0
    changes: list[gb.PeerEvent] = field(default_factory=list)

    @property
    def target(self) -> Target:
        assert self.peer.address is not None
        return Target(self.peer.address, self.peer.genesis, ATTACKER)

    async def logged(self, pattern: str) -> None:
        """Wait for a line in the logs; a line says who and why."""
        await until(
            lambda: any(re.search(pattern, line) for line in self.lines()),
            f"a line like {pattern!r} in {self.lines()}",
            within_s=PATIENCE_S,
        )

    async def submits_go_on(self, count: int = 3) -> None:
        """So many more submits are answered."""
        wanted = self.submits + count
        await until(lambda: self.submits >= wanted, "submits", within_s=PATIENCE_S)

    async def greets(self, key: gb.Keypair, *, source: str = "127.0.0.1") -> None:
        """An honest handshake from there gets through."""
        with trio.fail_after(PATIENCE_S):
            while True:
                with suppress(*BROKEN, ConnectionLost):
                    async with knocking(self.target.under(key), source=source) as knock:
                        await knock.prove()
                        await until(lambda: key.peer_id in self.peer.peers(), "a link", within_s=1)
                        return
                await trio.sleep(0.05)


Attack = Callable[..., Any]


@pytest.fixture
def attacked(caplog: pytest.LogCaptureFixture) -> Attack:
    """Opens the two peers; everything is looked at when the block is left."""
    caplog.set_level(logging.INFO, "gossipbook")
    caplog.set_level(logging.DEBUG, "gossipbook.transport")  # at INFO a flood is summed up

    def lines() -> list[str]:
        return [record.getMessage() for record in caplog.records]

    @asynccontextmanager
    async def open_both(genesis: gb.Genesis = OPEN, **options: Any) -> AsyncIterator[Attacked]:
        async with (
            _peer(genesis, 1, **options) as peer,
            _peer(genesis, 2, bootstrap=[peer.address]) as friend,
            trio.open_nursery() as nursery,
        ):
            one = Attacked(peer, friend, lines)
            await until(lambda: bool(peer.peers() and friend.peers()), "the two are linked")
            for each, other in ((peer, friend), (friend, peer)):
                await nursery.start(_note_changes, each, other.peer_id, one.changes)
            scope = trio.CancelScope()
            nursery.start_soon(_submit, one, scope)
            yield one
            await one.submits_go_on()
            scope.cancel()
            with trio.fail_after(PATIENCE_S):
                await gb.wait_until_equal([peer, friend])
            nursery.cancel_scope.cancel()
        assert one.changes == [], "the honest link has stood all the time"
        raised = [one for one in caplog.records if one.exc_info or one.levelno > logging.INFO]
        assert raised == []

    return open_both


def _peer(genesis: gb.Genesis, number: int, bootstrap: Any = (), **options: Any) -> Any:
    return gb.open_peer(
        genesis,
        keypair(number),
        transport=gb.TlsTransport("127.0.0.1:0"),
        bootstrap=bootstrap,
        alone=True,
        seed=number,
        **options,
    )


async def _submit(one: Attacked, scope: trio.CancelScope) -> None:
    with scope:
        while True:
            side = ("buy", "sell")[one.submits % 2]
            await one.peer.submit(gb.LimitOrder("ONE", side, price=100, quantity=1))
            one.submits += 1
            await trio.sleep(PACE_S)


async def _note_changes(
    peer: gb.Peer,
    of: gb.PeerId,
    changes: list[gb.PeerEvent],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    async with peer.events(buffer=10_000) as events:
        for _ in peer.peers():
            await anext(events)  # those that stand already
        task_status.started()
        async for event in events:
            is_about = isinstance(event, gb.PeerUp | gb.PeerDown) and event.peer_id == of
            changes += [event] if is_about else []


# ==================================================================== who does not belong


async def test_who_is_no_member_gets_no_signature_and_is_told_why(attacked: Attack) -> None:
    async with attacked(CLOSED) as one, knocking(one.target.under(OUTSIDER)) as knock:
        await knock.say(knock.hello)
        assert await knock.hear() == encode_refusal(NOT_A_MEMBER, CLOSED.network_id)
        assert await hung_up(knock.stream) == b""
        await one.logged("127.0.0.1: .* is not a member of 'closed'")


async def test_a_member_is_let_in_where_outsiders_are_not(attacked: Attack) -> None:
    async with attacked(CLOSED) as one:
        await one.greets(NEWCOMER)


async def test_another_network_gets_no_signature_and_is_told_why(attacked: Attack) -> None:
    async with attacked() as one:
        astray = Target(one.target.address, ELSEWHERE, ATTACKER)
        async with knocking(astray) as knock:
            await knock.say(knock.hello)
            assert await knock.hear() == encode_refusal(WRONG_NETWORK, OPEN.network_id)
            assert await hung_up(knock.stream) == b""
        await one.logged(f"127.0.0.1: .* in network {ELSEWHERE.network_id.hex()[:16]}")


async def test_a_peer_of_another_network_that_is_dialled_is_refused(attacked: Attack) -> None:
    async with (
        attacked() as one,
        gb.TlsTransport("127.0.0.1:0").open(ELSEWHERE, ATTACKER) as elsewhere,
    ):
        address = elsewhere.address.decode()
        one.peer.join(address)
        await one.logged(f"no link: .*{ELSEWHERE.network_id.hex()[:16]}.*{re.escape(address)}")


async def test_a_listener_that_is_no_member_gets_no_proof_of_who_dials_it(
    attacked: Attack,
) -> None:
    """An honest program would refuse to open; this one goes through the handshake by hand."""
    heard: list[bytes] = []

    async def serve(stream: trio.SocketStream) -> None:
        await _answer_as(CLOSED, OUTSIDER, stream, heard)

    async with attacked(CLOSED) as one, hostile.answering(serve) as address:
        one.peer.join(address)
        await one.logged(f"no link: {OUTSIDER.peer_id.hex()[:8]} is not a member")
    assert len(heard) == 1, "a hello, and nothing after it"


async def _answer_as(
    genesis: gb.Genesis, key: gb.Keypair, stream: trio.SocketStream, heard: list[bytes]
) -> None:
    """The listener's handshake by hand; what the dialler says is kept."""
    context = tls.listener_context()
    stream = trio.SSLStream(stream, context.context, server_side=True)
    with suppress(*BROKEN):
        await stream.do_handshake()
        reader = tls.FrameReader(1_024)
        while not heard:
            reader.feed(await stream.receive_some())
            heard += reader.all_frames()
        ours = hostile.hello_of(Target("", genesis, key)).encode()
        transcript = tls.Transcript(context.certificate, heard[0], ours)
        await stream.send_all(framed([ours, tls.encode_proof(transcript.prove(LISTENER, key))]))
        while data := await stream.receive_some():
            reader.feed(data)
            heard += reader.all_frames()


# ==================================================================== in between


async def test_the_dialler_refuses_a_handshake_that_somebody_relays(attacked: Attack) -> None:
    async with attacked() as one, hostile.relaying(one.target) as relay:
        async with gb.TlsTransport().open(OPEN, NEWCOMER) as endpoint:
            with trio.fail_after(PATIENCE_S), pytest.raises(BadSignature, match="in between"):
                await endpoint.dial(relay.address.encode(), one.peer.peer_id)
        assert len(relay.overheard.from_dialler) == 1, "it gave no proof away"
        assert len(relay.overheard.from_listener) == 2
        await one.logged("127.0.0.1: it hung up")
        assert NEWCOMER.peer_id not in one.peer.peers()


async def test_the_listener_refuses_a_handshake_that_somebody_relays(attacked: Attack) -> None:
    """A dialler that is careless proves itself to the relay; it is of no use there."""
    async with attacked() as one, hostile.relaying(one.target) as relay:
        careless = Target(relay.address, OPEN, NEWCOMER)
        async with knocking(careless) as knock:
            await knock.prove()
            assert await hung_up(knock.stream) == b""
        assert len(relay.overheard.from_dialler) == 2
        await one.logged(f"127.0.0.1: it does not prove that it is {NEWCOMER.peer_id.hex()[:8]}")
        assert NEWCOMER.peer_id not in one.peer.peers()


async def test_a_running_peer_refuses_a_relay_to_a_friend(attacked: Attack) -> None:
    async with attacked() as one:
        assert one.friend.address is not None
        friend = Target(one.friend.address, OPEN, ATTACKER)
        async with hostile.relaying(friend) as relay:
            one.peer.join(relay.address)
            await one.logged(f"no link: it does not prove .*{re.escape(relay.address)}")


async def test_a_peer_that_dials_its_own_reflection_refuses_it(attacked: Attack) -> None:
    """The relay passes the peer's hello back to the peer: it answers, and signs, to itself."""
    async with attacked() as one, hostile.relaying(one.target) as relay:
        one.peer.join(relay.address)
        await one.logged(f"no link: it does not prove .*{re.escape(relay.address)}")


async def test_a_hello_said_back_is_no_answer(attacked: Attack) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        stream = trio.SSLStream(stream, tls.listener_context().context, server_side=True)
        with suppress(*BROKEN):
            await stream.do_handshake()
            hello = await stream.receive_some()
            await stream.send_all(hello + framed([tls.encode_proof(bytes(64))]))
            await hung_up(stream)

    async with attacked() as one, hostile.answering(serve) as address:
        one.peer.join(address)
        await one.logged(f"no link: it does not prove .*{re.escape(address)}")


async def test_the_listeners_own_hello_and_proof_prove_nothing_when_said_back(
    attacked: Attack,
) -> None:
    """Its id, its key, its certificate and its nonce are all right: only the role is not."""
    async with attacked() as one, knocking(one.target) as knock:
        knock.hello = tls.Hello(OPEN.network_id, one.peer.peer_id, bytes(32)).encode()
        proof = await knock.say_hello()
        knock.transcript.check(LISTENER, one.peer.peer_id, decode_proof(proof))
        await knock.say(proof)
        assert await hung_up(knock.stream) == b""
        await one.logged("127.0.0.1: it does not prove that it is")
        assert one.peer.peer_id not in one.peer.peers()


async def test_a_proof_in_the_wrong_role_is_refused(attacked: Attack) -> None:
    async with attacked() as one, knocking(one.target) as knock:
        await knock.say_hello()
        await knock.say(knock.proof(LISTENER))
        assert await hung_up(knock.stream) == b""
        await one.logged("127.0.0.1: it does not prove that it is")


async def test_the_frames_of_an_earlier_handshake_prove_nothing(attacked: Attack) -> None:
    """The certificate is the same, and so is the dialler's nonce: the listener's is not."""
    async with attacked() as one:
        async with knocking(one.target.under(NEWCOMER)) as knock:
            await knock.say_hello()
            hello, proof = knock.hello, knock.proof()
            await knock.say(proof)
            await until(lambda: NEWCOMER.peer_id in one.peer.peers(), "it was good once")
        async with knocking(one.target) as knock:
            knock.hello = hello
            await knock.say_hello()
            await knock.say(proof)
            assert await hung_up(knock.stream) == b""
        await one.logged("127.0.0.1: it does not prove that it is")


async def test_the_listener_never_says_the_same_nonce_twice(attacked: Attack) -> None:
    nonces = set()
    async with attacked() as one:
        for _ in range(3):
            async with knocking(one.target) as knock:
                await knock.say_hello()
                nonces.add(decode_hello(knock.answer).nonce)
    assert len(nonces) == 3


async def test_recorded_bytes_of_a_whole_connection_are_no_connection(attacked: Attack) -> None:
    async with attacked() as one, hostile.tapping(one.target) as tap:
        honest = Target(tap.address, OPEN, NEWCOMER)
        async with intruding(honest) as newcomer:
            await newcomer.say(Ping(1, 1))
            await until(lambda: NEWCOMER.peer_id in one.peer.peers(), "it was good once")
        stream = await reach(one.target)
        with suppress(*BROKEN):
            for data in tap.recorded[0]:
                await stream.send_all(data)
        await hung_up(stream)
        await stream.aclose()
        await one.logged("127.0.0.1: it hung up, or spoke no TLS 1.3")


async def test_a_record_that_is_sent_again_ends_its_connection(attacked: Attack) -> None:
    """TLS numbers its records. The peer whose wire it is connects again."""
    async with attacked() as one, hostile.tapping(one.target) as tap:
        async with intruding(Target(tap.address, OPEN, NEWCOMER)) as newcomer:
            await until(lambda: NEWCOMER.peer_id in one.peer.peers(), "linked")
            await newcomer.say(Ping(1, 1))
            await trio.sleep(0.05)
            await tap.say_again(tap.recorded[0][-1])
            with trio.fail_after(PATIENCE_S):
                await newcomer.ended.wait()
        await one.logged(f"{NEWCOMER.peer_id.hex()[:8]} is no longer linked: ")
        await one.greets(NEWCOMER)


# ==================================================================== garbage and half words


async def _say(one: Attacked, *data: bytes) -> None:
    """Bytes on a bare connection, until the peer hangs up."""
    stream = await reach(one.target)
    with suppress(*BROKEN), trio.fail_after(PATIENCE_S):
        for piece in data:
            await stream.send_all(piece)
        await hung_up(stream)
    await stream.aclose()


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
        bytes(range(256)) * 64,
        b"\x16\x03\x01\xff\xff" + bytes(70_000),
        framed([b"hello"]),
    ],
    ids=["http", "noise", "a record too long", "a frame without TLS"],
)
async def test_garbage_before_tls_is_refused(attacked: Attack, data: bytes) -> None:
    async with attacked() as one:
        await _say(one, data)
        await one.logged("127.0.0.1: it hung up, or spoke no TLS 1.3")


async def test_who_speaks_only_tls_1_2_is_refused(attacked: Attack) -> None:
    context = dialler_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with attacked() as one:
        with pytest.raises(trio.BrokenResourceError):
            async with knocking(one.target, context=context):
                pass
        await one.logged("127.0.0.1: it hung up, or spoke no TLS 1.3")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (framed([b"\xff" * 100]), "head 0xff"),
        (framed([encode([99, 1, 2])]), "the first frame is not a hello"),
        (framed([encode(7)]), "a frame is an array"),
        (framed([b""]), "end inside an item"),
        ((1_025).to_bytes(4, "big"), "a frame of 1,025 bytes where 1,024 are allowed"),
        (b"\xff\xff\xff\xff", "a frame of 4,294,967,295 bytes where 1,024"),
    ],
    ids=["noise", "another array", "no array", "nothing", "a long hello", "4 GiB"],
)
async def test_garbage_instead_of_a_hello_is_refused(
    attacked: Attack, data: bytes, reason: str
) -> None:
    async with attacked() as one, knocking(one.target) as knock:
        await knock.stream.send_all(data)
        assert await hung_up(knock.stream) == b"", "nobody is told anything"
        await one.logged(f"127.0.0.1: .*{reason}")


async def test_garbage_instead_of_a_proof_is_refused(attacked: Attack) -> None:
    async with attacked() as one:
        for frame in (encode([1, bytes(63)]), encode([0, bytes(64)]), bytes(64)):
            async with knocking(one.target) as knock:
                await knock.say_hello()
                await knock.say(frame)
                assert await hung_up(knock.stream) == b""
        await one.logged("127.0.0.1: the second frame is not a proof")


@pytest.mark.parametrize("stage", ["nothing", "half TLS", "TLS", "half a hello", "a hello"])
async def test_who_falls_silent_before_the_proof_is_turned_away(
    attacked: Attack, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "HANDSHAKE_S", SHORT_S)
    async with attacked() as one:
        began_s = trio.current_time()
        if stage in ("nothing", "half TLS"):
            await _say(one, b"\x16\x03\x01\x02\x00" if stage == "half TLS" else b"")
        else:
            async with knocking(one.target) as knock:
                if stage == "half a hello":
                    await knock.stream.send_all(framed([knock.hello])[:50])
                elif stage == "a hello":
                    await knock.say_hello()
                await hung_up(knock.stream)
        assert SHORT_S * 0.9 < trio.current_time() - began_s < PATIENCE_S
        await one.logged("127.0.0.1: it did not prove who it is within")


async def test_one_byte_at_a_time_does_not_hold_the_door_open(
    attacked: Attack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "HANDSHAKE_S", SHORT_S)
    async with attacked() as one:
        with trio.fail_after(PATIENCE_S):
            async with await reach(one.target) as stream:
                await hostile.drip(stream, b"\x16\x03\x01\x02\x00" + bytes(512), pause_s=0.02)
            async with knocking(one.target) as knock:
                await hostile.drip(knock.stream, framed([knock.hello]), pause_s=0.02)
        await until(lambda: sum("did not prove" in line for line in one.lines()) == 2, "both")


async def test_half_a_hello_and_hanging_up_is_refused(attacked: Attack) -> None:
    async with attacked() as one:
        async with knocking(one.target) as knock:
            await knock.stream.send_all(framed([knock.hello])[:50])
        await one.logged("127.0.0.1: it hung up")


# ==================================================================== after the proof


MALLORY = ATTACKER.peer_id.hex()[:8]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (framed([b"\xff" * 100]), "head 0xff"),
        (framed([encode([99])]), "no message is of kind 99"),
        (framed([encode([9, b"x", 1])]), "expected an integer"),
        (framed([b""]), "end inside an item"),
        (b"\xff\xff\xff\xff", "a frame of 4,294,967,295 bytes where 262,144 are allowed"),
        ((262_145).to_bytes(4, "big") + bytes(100), "a frame of 262,145 bytes"),
    ],
    ids=["noise", "another kind", "wrong fields", "nothing", "4 GiB", "too long"],
)
async def test_garbage_after_the_proof_ends_the_link(
    attacked: Attack, data: bytes, reason: str
) -> None:
    async with attacked() as one, intruding(one.target) as mallory:
        await mallory.stream.send_all(data)
        with trio.fail_after(PATIENCE_S):
            await mallory.ended.wait()
        await one.logged(f"{MALLORY} is no longer linked: {MALLORY} broke a rule: .*{reason}")
        async with intruding(one.target) as mallory:
            with trio.fail_after(PATIENCE_S):
                await mallory.ended.wait()
        await one.logged(f"no link to {MALLORY}: it broke a rule a short while ago")


async def test_garbage_in_place_of_a_record_ends_the_link(attacked: Attack) -> None:
    async with attacked() as one, intruding(one.target) as mallory:
        await until(lambda: ATTACKER.peer_id in one.peer.peers(), "linked")
        await mallory.stream.transport_stream.send_all(b"\x17\x03\x03\x00\x40" + bytes(64))
        with trio.fail_after(PATIENCE_S):
            await mallory.ended.wait()
        await one.logged(f"{MALLORY} is no longer linked: ")


@pytest.mark.parametrize("ending", ["silence", "one byte at a time"])
async def test_a_frame_that_does_not_go_on_ends_the_link(
    attacked: Attack, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "FRAME_PATIENCE_S", SHORT_S)
    async with attacked() as one, intruding(one.target) as mallory:
        with trio.fail_after(PATIENCE_S):
            await mallory.stream.send_all((200_000).to_bytes(4, "big") + bytes(1_000))
            if ending == "one byte at a time":
                await hostile.drip(mallory.stream, bytes(100), pause_s=0.02)
            await mallory.ended.wait()
        await one.logged(f"{MALLORY} broke a rule: a frame that came more slowly than 16,384")


async def test_half_a_frame_and_hanging_up_ends_the_link(attacked: Attack) -> None:
    async with attacked() as one:
        async with intruding(one.target) as mallory:
            await until(lambda: ATTACKER.peer_id in one.peer.peers(), "linked")
            await mallory.stream.send_all((200_000).to_bytes(4, "big") + bytes(1_000))
        await one.logged(f"{MALLORY} is no longer linked: the connection closed")


async def test_a_frame_that_is_said_again_changes_nothing(attacked: Attack) -> None:
    """On its own link, on another one, and by another peer than its author."""
    async with attacked() as one:
        author = Author(one.target.under(NEWCOMER))
        news = News((author.run(3),))
        replica = one.peer.replica
        async with (
            intruding(one.target.under(NEWCOMER)) as newcomer,
            intruding(one.target) as mallory,
        ):
            await newcomer.say(news)
            await until(lambda: replica.head(NEWCOMER.peer_id).length == 3, "the entries")
            head = replica.head(NEWCOMER.peer_id)
            for sayer in (newcomer, mallory, mallory):
                await sayer.say(news)
            await one.submits_go_on(10)
            assert replica.head(NEWCOMER.peer_id) == head
            assert len(one.peer.commands("ONE")) == one.peer.entry_count
            assert not newcomer.ended.is_set()
            assert not mallory.ended.is_set()


# ==================================================================== crowds at the door


@pytest.fixture
def many_files() -> Iterator[None]:
    """Attackers and peer are one process here, and share what one process may have open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < MANY_FILES:
        pytest.skip(f"at most {hard} files may be open here, and {MANY_FILES} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, MANY_FILES), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
@pytest.mark.parametrize("sources", [1, 20])
async def test_a_thousand_idle_connections_keep_nobody_out(attacked: Attack, sources: int) -> None:
    """Neither from another address nor, within seconds, from the one where they are."""
    async with attacked() as one, trio.open_nursery() as nursery:
        nursery.start_soon(
            partial(
                hostile.stand_idle,
                one.target,
                Tally(),
                count=1_000,
                sources=sources,
                come_back=False,
            )
        )
        await one.logged("127.0..*: too many strangers at the door, and it stood there longest")
        await one.submits_go_on()
        with trio.fail_after(SECONDS_S):
            await one.greets(NEWCOMER, source="127.9.9.9")
            await one.greets(ATTACKER, source="127.0.0.1")
        assert len(_door(one.peer)) <= admission.MOST_STRANGERS
        nursery.cancel_scope.cancel()


def _door(peer: gb.Peer) -> admission.Door:
    door: admission.Door = peer._driver._endpoint.door  # type: ignore[union-attr]
    return door


@pytest.mark.parametrize(
    "storm",
    [hostile.connect_and_hang_up, hostile.handshake_and_hang_up, hostile.hello_and_hang_up],
)
async def test_a_storm_of_connections_is_slowed_to_the_rate_of_one_source(
    attacked: Attack, storm: hostile.Flood
) -> None:
    async with attacked() as one:
        await _flooded(one, storm, "127.0.0.1: it connects too often")
        await one.greets(NEWCOMER, source="127.9.9.9")


async def _flooded(one: Attacked, flood: hostile.Flood, *patterns: str) -> Tally:
    """Under that flood for a while, until it was logged what becomes of it."""
    tally = Tally()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(flood, one.target, tally)
        await trio.sleep(FLOOD_S)
        for pattern in patterns:
            await one.logged(pattern)
        await one.submits_go_on()
        nursery.cancel_scope.cancel()
    return tally


# ==================================================================== floods


async def test_forged_entries_of_ever_new_strangers_end_each_link(attacked: Attack) -> None:
    async with attacked() as one:
        tally = await _flooded(
            one,
            partial(hostile.forge_as_strangers, run_entries=64),
            "is no longer linked: .* broke a rule: it sent an entry that its author did not sign",
            "127.0.0.1: it connects too often",
        )
        assert tally.entries > 0
        assert one.peer.statistics().authors == 1, "nothing forged was taken"


async def test_a_member_who_forges_is_left_alone_for_a_while(attacked: Attack) -> None:
    async with attacked(CLOSED) as one:
        await _flooded(
            one,
            hostile.forge_as_member,
            f"{MALLORY} broke a rule: it sent an entry that its author did not sign",
            f"no link to {MALLORY}: it broke a rule a short while ago",
        )


@pytest.mark.parametrize("commands", [1, 256])
async def test_a_member_who_writes_as_fast_as_it_can_is_heard_and_keeps_nobody_waiting(
    attacked: Attack, commands: int
) -> None:
    async with attacked(CLOSED) as one:
        await _flooded(one, partial(hostile.write_entries, commands=commands))
        assert one.peer.replica.head(ATTACKER.peer_id).length > 0
        assert not any("broke a rule" in line for line in one.lines())


async def test_frames_of_junk_that_decode_end_each_link(attacked: Attack) -> None:
    async with attacked() as one:
        await _flooded(one, hostile.say_junk, "broke a rule: no message is of kind 99")


async def test_who_asks_and_never_reads_is_dropped(
    attacked: Attack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "GIVE_UP_ABOVE_BYTES", 500_000)
    queued = 0

    async def look(one: Attacked) -> None:
        nonlocal queued
        while True:
            queued = max([queued, *(link.queued_bytes for link in one.peer.links())])
            await trio.sleep(0)

    async with attacked(CLOSED) as one, trio.open_nursery() as nursery:
        nursery.start_soon(look, one)
        async with trio.open_nursery() as attackers:
            attackers.start_soon(hostile.ask_and_never_read, one.target, Tally())
            await one.logged(f"{MALLORY} is no longer linked: it has not read the last")
            attackers.cancel_scope.cancel()
        nursery.cancel_scope.cancel()
    assert queued < 500_000 + 8_000_000, "one answer more than is allowed, at most"


async def test_false_addresses_fill_no_memory_and_keep_no_friend_away(attacked: Attack) -> None:
    async with attacked() as one:
        frames = 0
        while frames <= 16:  # more addresses than may be remembered
            frames += (await _flooded(one, hostile.tell_false_addresses)).frames
        known = one.peer.running.address_book
        assert len(known) <= one.peer.running.config.address_book_limit
        await one.greets(NEWCOMER)


async def test_a_member_cannot_say_where_members_are_that_are_linked(attacked: Attack) -> None:
    async with attacked(CLOSED) as one, intruding(one.target) as mallory:
        book = one.peer.running.address_book
        before = book.address_of(one.friend.peer_id)
        assert before is not None
        await mallory.say(Peers(((one.friend.peer_id, b"127.0.0.1:1"),)))
        await one.submits_go_on()
        assert book.address_of(one.friend.peer_id) == before
