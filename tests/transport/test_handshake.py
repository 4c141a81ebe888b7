"""Hellos, proofs and refusals: their bytes, worked out by hand, and when they count."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from twins.trio_peers import keypair

import gossipbook as gb
from gossipbook.encoding import encode
from gossipbook.errors import BadSignature, EncodingError, ProtocolViolation, RemoteError
from gossipbook.transport.handshake import (
    DIALLER,
    LISTENER,
    MAX_FRAME_BYTES,
    MAX_VERSIONS,
    NO_COMMON_VERSION,
    NOT_A_MEMBER,
    WRONG_NETWORK,
    Hello,
    Transcript,
    check_hello,
    decode_hello,
    decode_proof,
    encode_proof,
    encode_refusal,
    refusal_in,
    refusal_of,
)

ALICE, BOB, MALLORY = keypair(1), keypair(2), keypair(9)
OPEN = gb.Genesis("open", [gb.Market("ONE")])
CLOSED = gb.Genesis("closed", [gb.Market("ONE")], members=[ALICE.peer_id, BOB.peer_id])
NONCE = bytes(range(32))
HELLO = Hello(OPEN.network_id, ALICE.peer_id, NONCE, BOB.peer_id, b"h:1")
BYTES_32 = b"\x58\x20"
"""The head of 32 bytes in CBOR."""


# ==================================================================== hellos


def test_bytes_of_a_hello() -> None:
    assert HELLO.encode() == b"".join(
        (
            b"\x87\x00",  # an array of seven, the first a 0
            b"\x81\x01",  # versions: [1]
            BYTES_32 + OPEN.network_id,
            BYTES_32 + ALICE.peer_id,
            BYTES_32 + NONCE,
            BYTES_32 + BOB.peer_id,
            b"\x43h:1",
        )
    )


@pytest.mark.parametrize(
    "hello",
    [
        HELLO,
        replace(HELLO, expected=None),
        replace(HELLO, address=None),
        replace(HELLO, versions=(2, 1, 7)),
    ],
)
def test_a_hello_is_read_as_it_was_meant(hello: Hello) -> None:
    assert decode_hello(hello.encode()) == hello


def test_the_largest_hello_fits_into_a_frame() -> None:
    versions = tuple(range((1 << 63) - MAX_VERSIONS, 1 << 63))
    largest = replace(HELLO, address=bytes(128), versions=versions)
    assert len(largest.encode()) <= MAX_FRAME_BYTES
    assert decode_hello(largest.encode()) == largest


def _hello_with(field: int, value: object) -> bytes:
    fields: list[object] = [
        0,
        [1],
        OPEN.network_id,
        ALICE.peer_id,
        NONCE,
        BOB.peer_id,
        b"h:1",
    ]
    fields[field] = value
    return encode(fields)  # type: ignore[arg-type]


def test_the_hello_that_others_are_made_from_is_sound() -> None:
    assert decode_hello(_hello_with(0, 0)) == HELLO


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (0, 1),
        (0, b""),
        (1, []),
        (1, [1] * (MAX_VERSIONS + 1)),
        (1, [b"1"]),
        (1, [[1]]),
        (1, 1),
        (2, bytes(31)),
        (2, bytes(33)),
        (2, 0),
        (3, bytes(31)),
        (4, bytes(31)),
        (4, bytes(33)),
        (4, b""),
        (5, bytes(31)),
        (5, 0),
        (6, bytes(129)),
        (6, []),
    ],
)
def test_what_is_not_quite_a_hello_is_refused(field: int, value: object) -> None:
    with pytest.raises(EncodingError):
        decode_hello(_hello_with(field, value))


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x00",
        encode([]),
        encode([0, [1]]),
        HELLO.encode() + b"\x00",
        HELLO.encode()[:-1],
        encode([*range(7)]),
        encode([0, [1], *[bytes(32)] * 3, b"", b"", b""]),
        bytes(MAX_FRAME_BYTES + 1),
    ],
)
def test_other_bytes_are_no_hello(frame: bytes) -> None:
    with pytest.raises(EncodingError):
        decode_hello(frame)


# ==================================================================== who may be linked


def test_a_member_of_the_same_network_may_be_linked() -> None:
    for genesis, key in ((OPEN, MALLORY), (CLOSED, ALICE), (CLOSED, BOB)):
        hello = Hello(genesis.network_id, key.peer_id, NONCE)
        check_hello(hello, genesis)
        assert refusal_of(hello, genesis) is None


@pytest.mark.parametrize(
    ("hello", "reason", "error", "match"),
    [
        (
            Hello(OPEN.network_id, ALICE.peer_id, NONCE),
            WRONG_NETWORK,
            gb.WrongNetwork,
            f"{OPEN.network_id.hex()[:16]}.*{CLOSED.network_id.hex()[:16]}",
        ),
        (
            Hello(CLOSED.network_id, MALLORY.peer_id, NONCE),
            NOT_A_MEMBER,
            ProtocolViolation,
            f"{MALLORY.peer_id.hex()[:8]} is not a member of 'closed'",
        ),
        (
            Hello(CLOSED.network_id, ALICE.peer_id, NONCE, versions=(2, 3)),
            NO_COMMON_VERSION,
            ProtocolViolation,
            r"versions \[2, 3\] of the link protocol, not 1",
        ),
    ],
)
def test_who_may_not_be_linked_is_told_why(
    hello: Hello, reason: int, error: type[RemoteError], match: str
) -> None:
    with pytest.raises(error, match=match):
        check_hello(hello, CLOSED)
    assert refusal_of(hello, CLOSED) == encode_refusal(reason, CLOSED.network_id)


def test_one_common_version_is_enough() -> None:
    hello = Hello(CLOSED.network_id, ALICE.peer_id, NONCE, versions=(3, 1))
    check_hello(hello, CLOSED)
    assert refusal_of(hello, CLOSED) is None


# ==================================================================== refusals


def test_bytes_of_a_refusal() -> None:
    frame = encode_refusal(NOT_A_MEMBER, OPEN.network_id)
    assert frame == b"\x83\x02\x01" + BYTES_32 + OPEN.network_id


@pytest.mark.parametrize(
    ("reason", "error", "match"),
    [
        (WRONG_NETWORK, gb.WrongNetwork, "open both with the same genesis"),
        (NOT_A_MEMBER, ProtocolViolation, "does not count this one as a member"),
        (NO_COMMON_VERSION, ProtocolViolation, "does not speak version 1"),
        (77, ProtocolViolation, "reason 77"),
    ],
)
def test_a_dialler_understands_a_refusal(reason: int, error: type[RemoteError], match: str) -> None:
    refusal = refusal_in(encode_refusal(reason, CLOSED.network_id), OPEN)
    assert type(refusal) is error
    with pytest.raises(error, match=match):
        raise refusal


def test_who_refuses_us_for_our_own_network_is_not_believed_the_reason() -> None:
    refusal = refusal_in(encode_refusal(WRONG_NETWORK, OPEN.network_id), OPEN)
    assert type(refusal) is ProtocolViolation


@pytest.mark.parametrize("frame", [HELLO.encode(), encode_proof(bytes(64)), encode([2, 0, b"x"])])
def test_other_frames_are_no_refusals(frame: bytes) -> None:
    assert refusal_in(frame, OPEN) is None


# ==================================================================== proofs


def test_bytes_of_a_proof() -> None:
    signature = bytes(range(64))
    assert encode_proof(signature) == b"\x82\x01\x58\x40" + signature
    assert decode_proof(encode_proof(signature)) == signature


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        encode(1),
        encode([1]),
        encode([1, bytes(63)]),
        encode([1, bytes(65)]),
        encode([0, bytes(64)]),
        encode([1, bytes(64), 0]),
        encode([1, 64]),
    ],
)
def test_what_is_not_quite_a_proof_is_refused(frame: bytes) -> None:
    with pytest.raises(EncodingError):
        decode_proof(frame)


TRANSCRIPT = Transcript(b"certificate", b"a hello", b"another hello")


def test_bytes_that_are_signed() -> None:
    for role, byte in ((DIALLER, b"\x00"), (LISTENER, b"\x01")):
        assert TRANSCRIPT.signed_by(role) == b"".join(
            (
                b"gossipbook/1 link\x00",
                byte,
                sha256(b"certificate").digest(),
                b"\x00\x00\x00\x07a hello",
                b"\x00\x00\x00\x0danother hello",
            )
        )


@pytest.mark.parametrize("role", [DIALLER, LISTENER])
def test_a_proof_holds_for_its_key_and_role(role: bytes) -> None:
    TRANSCRIPT.check(role, ALICE.peer_id, TRANSCRIPT.prove(role, ALICE))


@pytest.mark.parametrize("role", [DIALLER, LISTENER])
@pytest.mark.parametrize(
    "other",
    [
        replace(TRANSCRIPT, certificate=b"certificatf"),
        replace(TRANSCRIPT, dialler_hello=b"a hellp"),
        replace(TRANSCRIPT, listener_hello=b"another hellp"),
        replace(TRANSCRIPT, dialler_hello=b"another hello", listener_hello=b"a hello"),
        # The same bytes one after the other, cut elsewhere.
        replace(TRANSCRIPT, dialler_hello=b"a helloa", listener_hello=b"nother hello"),
    ],
)
def test_a_proof_holds_for_no_other_connection(role: bytes, other: Transcript) -> None:
    proof = TRANSCRIPT.prove(role, ALICE)
    with pytest.raises(BadSignature, match=f"it is {ALICE.peer_id.hex()[:8]}"):
        other.check(role, ALICE.peer_id, proof)


def test_a_proof_holds_for_no_other_role_or_key() -> None:
    proof = TRANSCRIPT.prove(LISTENER, ALICE)
    for role, key in ((DIALLER, ALICE), (LISTENER, BOB)):
        with pytest.raises(BadSignature):
            TRANSCRIPT.check(role, key.peer_id, proof)


def test_a_key_that_can_be_no_ones_proves_nothing() -> None:
    """A point of low order: some verifiers accept all-zero signatures under it."""
    for peer_id in (bytes(32), b"\x01" + bytes(31)):
        with pytest.raises(BadSignature):
            TRANSCRIPT.check(DIALLER, gb.PeerId(peer_id), bytes(64))
