"""Who is at the other end of a TLS connection: two hellos, two signatures.

TLS proves nothing about anybody here: certificates are made afresh at every start and signed by
nobody. It keeps out listeners. Who is there, each side proves with its peer key:

    dialler                                         listener
       | -- hello: network, id, nonce, address ------> |   network and membership checked
       | <------ hello: the same of the other side --- |   (or a refusal that says why)
       | <------------------- proof: a signature ----- |
       | -- proof: a signature ----------------------> |

Both sign the same things: the hash of the listener's certificate and both hellos, as they went over
the wire, and which of the two they are. So a signature is good for this TLS connection, this pair
of peers and this pair of nonces only. Whoever sits in between has another certificate, and whatever
it relays, reflects or replays was signed for another connection. The listener speaks second and
signs only for who belongs to the network; the dialler, too.

This module decides what the frames hold and when they count; it sends nothing. Source of the
shape: the SIGMA protocols (Krawczyk, CRYPTO 2003), with the key exchange left to TLS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from gossipbook.encoding import Item, decode, encode
from gossipbook.errors import (
    BadSignature,
    EncodingError,
    ProtocolViolation,
    RemoteError,
    WrongNetwork,
)
from gossipbook.genesis import Genesis
from gossipbook.identity import Keypair, PeerId, short, verify
from gossipbook.transport.address import MAX_ADDRESS_BYTES

VERSION: Final = 1
MAX_FRAME_BYTES: Final = 1_024
NONCE_BYTES: Final = 32
MAX_VERSIONS: Final = 16

DIALLER: Final = b"\x00"
LISTENER: Final = b"\x01"

_DOMAIN: Final = b"gossipbook/1 link\0"
_HELLO, _PROOF, _REFUSAL = 0, 1, 2

WRONG_NETWORK, NOT_A_MEMBER, NO_COMMON_VERSION = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Hello:
    """What a side says of itself. ``expected`` is whom the dialler thinks it reaches; another may
    answer. ``address`` is where it can be dialled (":7000" where it does not know its own host)."""

    network_id: bytes
    peer_id: PeerId
    nonce: bytes
    expected: PeerId | None = None
    address: bytes | None = None
    versions: tuple[int, ...] = (VERSION,)

    def encode(self) -> bytes:
        """Its frame."""
        return encode(
            [
                _HELLO,
                self.versions,
                self.network_id,
                self.peer_id,
                self.nonce,
                self.expected or b"",
                self.address or b"",
            ]
        )


def decode_hello(frame: bytes) -> Hello:
    """Raises EncodingError, and the refusal that a listener may send instead as a RemoteError."""
    fields = _fields(frame)
    match fields:
        case [0, list(versions), bytes(network_id), bytes(peer_id), bytes(nonce), bytes(expected),
              bytes(address)] if (
            len(network_id) == len(peer_id) == 32
            and len(nonce) == NONCE_BYTES
            and len(expected) in (0, 32)
            and len(address) <= MAX_ADDRESS_BYTES
            and 0 < len(versions) <= MAX_VERSIONS
        ):  # fmt: skip
            numbers = tuple(version for version in versions if type(version) is int)
            if len(numbers) == len(versions):
                return Hello(
                    network_id,
                    PeerId(peer_id),
                    nonce,
                    PeerId(expected) if expected else None,
                    address or None,
                    numbers,
                )
    raise EncodingError("the first frame is not a hello")


def encode_proof(signature: bytes) -> bytes:
    """The frame that carries a signature."""
    return encode([_PROOF, signature])


def decode_proof(frame: bytes) -> bytes:
    """The signature in a frame. Raises EncodingError."""
    match _fields(frame):
        case [1, bytes(signature)] if len(signature) == 64:
            return signature
    raise EncodingError("the second frame is not a proof")


def encode_refusal(reason: int, network_id: bytes) -> bytes:
    """The frame in which a listener says why it does not go on."""
    return encode([_REFUSAL, reason, network_id])


def refusal_in(frame: bytes, genesis: Genesis) -> RemoteError | None:
    """What a dialler is told with this frame, if it is a refusal; anybody may have sent it."""
    match _fields(frame):
        case [2, int(reason), bytes(network_id)] if len(network_id) == 32:
            if reason == WRONG_NETWORK and network_id != genesis.network_id:
                return wrong_network(genesis, network_id)
            if reason == NOT_A_MEMBER:
                return ProtocolViolation("the peer there does not count this one as a member")
            if reason == NO_COMMON_VERSION:
                return ProtocolViolation(
                    f"the peer there does not speak version {VERSION} of the link protocol; "
                    "one of the two runs a library that is too old"
                )
            return ProtocolViolation(f"the peer there refuses this one (reason {reason})")
    return None


def check_hello(hello: Hello, genesis: Genesis) -> None:
    """Whether the other side may be linked. Raises WrongNetwork or ProtocolViolation."""
    reason = _why_not(hello, genesis)
    if reason == WRONG_NETWORK:
        raise wrong_network(genesis, hello.network_id)
    if reason == NO_COMMON_VERSION:
        raise ProtocolViolation(
            f"it speaks versions {list(hello.versions)} of the link protocol, not {VERSION}"
        )
    if reason == NOT_A_MEMBER:
        raise ProtocolViolation(f"{short(hello.peer_id)} is not a member of {genesis.name!r}")


def refusal_of(hello: Hello, genesis: Genesis) -> bytes | None:
    """The frame that tells the other side what `check_hello` found; None if nothing."""
    reason = _why_not(hello, genesis)
    return None if reason is None else encode_refusal(reason, genesis.network_id)


def _why_not(hello: Hello, genesis: Genesis) -> int | None:
    """The reason for which the other side may not be linked; None if it may."""
    if hello.network_id != genesis.network_id:
        return WRONG_NETWORK
    if VERSION not in hello.versions:
        return NO_COMMON_VERSION
    return None if genesis.is_member(hello.peer_id) else NOT_A_MEMBER


def wrong_network(genesis: Genesis, other_id: bytes) -> WrongNetwork:
    """The error that names both networks."""
    return WrongNetwork(
        f"the peer at the other end is in network {other_id.hex()[:16]}, this one in "
        f"{genesis.name!r} ({genesis.network_id.hex()[:16]}): open both with the same genesis"
    )


@dataclass(frozen=True, slots=True)
class Transcript:
    """What both sides sign: the frames of the hellos, and the certificate they travelled under."""

    certificate: bytes
    dialler_hello: bytes
    listener_hello: bytes

    def signed_by(self, role: bytes) -> bytes:
        """The bytes that the side with this role signs."""
        return b"".join(
            (
                _DOMAIN,
                role,
                sha256(self.certificate).digest(),
                _sized(self.dialler_hello),
                _sized(self.listener_hello),
            )
        )

    def prove(self, role: bytes, keypair: Keypair) -> bytes:
        """Our signature, for the other side to `check`."""
        return keypair.sign(self.signed_by(role))

    def check(self, role: bytes, peer_id: PeerId, signature: bytes) -> None:
        """Whether the other side, in this role, has the key it claims. Raises BadSignature."""
        if not verify(peer_id, self.signed_by(role), signature):
            raise BadSignature(
                f"it does not prove that it is {short(peer_id)}: its signature is not for this "
                "connection; somebody in between may be passing it on"
            )


def _sized(frame: bytes) -> bytes:
    """The complete frame, as it stands in the stream."""
    return len(frame).to_bytes(4, "big") + frame


def _fields(frame: bytes) -> Sequence[Item]:
    item = decode(frame, max_size=MAX_FRAME_BYTES)
    if not isinstance(item, list):
        raise EncodingError("a frame is an array")
    return item
