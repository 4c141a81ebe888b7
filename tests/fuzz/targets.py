"""What is fuzzed: a plain function for each way in which strangers' bytes come in.

A target takes any bytes and asserts what the code behind promises about them; "it does not crash"
is the least of it. What is accepted has to be written again in the same bytes, what is refused has
to be refused with the error that ends a link, and what is kept has to stay in proportion to what
came. Hypothesis drives the targets in CI (``test_targets``), atheris by the hour (``__main__``).
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from fuzz import script
from fuzz.draws import Draws
from twins.authors import GENESIS

from gossipbook.book.payload import decode_payload, encode_payload
from gossipbook.encoding import decode, encode
from gossipbook.errors import BadSignature, EncodingError, InvalidEntry, RemoteError, StoreError
from gossipbook.genesis import Genesis
from gossipbook.gossip.messages import decode_message, encode_message
from gossipbook.identity import PeerId
from gossipbook.log.entry import (
    NO_ENTRY,
    EntryId,
    Header,
    decode_run,
    encode_run,
    restore_entry,
)
from gossipbook.log.fork import ForkProof, fork_seq
from gossipbook.storage.tape import TapeReader, write_tape
from gossipbook.transport.address import MAX_ADDRESS_BYTES, believed, parse
from gossipbook.transport.framing import HEAD_BYTES, FrameReader, framed
from gossipbook.transport.handshake import (
    Hello,
    check_hello,
    decode_hello,
    decode_proof,
    encode_proof,
    encode_refusal,
    refusal_in,
    refusal_of,
)

MAX_BYTES = 1 << 20
NETWORK = GENESIS.network_id
AUTHOR = PeerId(NETWORK)  # any 32 bytes

ANOTHER_NETWORK = Genesis("another", GENESIS.markets)

KEPT_PER_BYTE = 80
"""An empty array is one byte on the wire; in memory it is a list (56) and a place in one (8)."""

KEPT_AT_LEAST = 4_096


def encoding(data: bytes) -> None:
    """Strict CBOR: one encoding an item, memory in proportion, and no other error."""
    try:
        item = decode(data, max_size=MAX_BYTES)
    except EncodingError:
        return
    assert encode(item) == data, "what is accepted is not what would be written"
    check_size(item, data)


def message(data: bytes) -> None:
    """Frames: whatever the sender breaks ends its link, and nothing else."""
    try:
        said = decode_message(data, max_size=MAX_BYTES)
    except RemoteError:
        return
    assert encode_message(said) == data, "what is accepted is not what would be written"
    check_size(said, data)


def run(data: bytes) -> None:
    """Runs of entries: consecutive, chained, and the same bytes again."""
    decode_run.cache_clear()
    try:
        entries = decode_run(data, NETWORK)
    except (EncodingError, InvalidEntry):
        return
    assert encode_run(entries) == data, "what is accepted is not what would be written"
    for at, entry in enumerate(entries):
        assert entry.header.id(NETWORK) == entry.id, "an id is not that of its header"
        assert Header.decode(entry.header.encode()) == entry.header
        starts = (entry.seq == 0, entry.prev == NO_ENTRY)
        assert starts in ((True, True), (False, False)), "it starts a log after another entry"
        if at:
            before = entries[at - 1]
            assert (entry.author, entry.seq) == (before.author, before.seq + 1)
            assert entry.prev == before.id, "a run whose entries are not a chain"


def proof(data: bytes) -> None:
    """Fork proofs: evidence whatever the order of the two, and believed only if it is signed."""
    try:
        found = ForkProof.decode(data, NETWORK)
    except (EncodingError, InvalidEntry):
        return
    first, second = found.first.header, found.second.header
    assert {first.author, second.author} == {found.author}, "a proof about somebody else"
    assert fork_seq(NETWORK, second, first) == fork_seq(NETWORK, first, second) == found.seq
    assert min(first.seq, second.seq) == found.seq
    assert ForkProof.decode(found.encode(), NETWORK) == found, "what is kept cannot be read again"
    with suppress(BadSignature):
        found.check(NETWORK)
        assert len(found.first.signature) == len(found.second.signature) == 64


def genesis(data: bytes) -> None:
    """Network files: equal bytes, equal network."""
    try:
        found = Genesis.decode(data)
    except EncodingError:
        return
    assert found.encode() == data, "what is accepted is not what would be written"
    members = None if found.members is None else found.members[::-1]
    again = Genesis(found.name, list(found.markets), members, found.start)
    assert again.network_id == found.network_id, "one network has two names"


def payload(data: bytes) -> None:
    """Orders: what is valid for few markets is valid for more, and means the same."""
    try:
        instructions = decode_payload(data, 2)
    except EncodingError:
        return
    assert encode_payload(instructions) == data, "what is accepted is not what would be written"
    assert decode_payload(data, 3) == instructions
    assert all(order.market < 2 for order in instructions), "an order in no market"


def row(data: bytes) -> None:
    """Rows of a damaged store: an entry as it would be on the wire, or none."""
    draws = Draws(data)
    seq = draws.below(3) if draws.below(4) else draws.bits(64)
    prev = EntryId(draws.bits(256).to_bytes(32, "big")) if draws.below(2) else NO_ENTRY
    hlc, kind, payload_, signature = (
        _wrong_part(draws) if draws.below(8) == 1 else right
        for right in (draws.bits(63), 0, draws.take(draws.below(100)), bytes(64))
    )
    try:
        entry = restore_entry(NETWORK, AUTHOR, seq, prev, hlc, kind, payload_, signature)
    except InvalidEntry:
        return
    (again,) = decode_run(encode_run([entry]), NETWORK)
    assert (again.id, again.signature) == (entry.id, entry.signature)
    assert (again.hlc, again.payload) == (hlc, payload_)


def _wrong_part(draws: Draws) -> object:
    return draws.choice([None, "text", 1.5, -1, 1 << 63, 7, b"bytes", bytes(65_537)])


def tape(data: bytes) -> None:
    """Tapes: whole and in order, or a StoreError."""
    try:
        reader = TapeReader(io.BytesIO(data))
        entries = list(reader.entries())
    except StoreError as error:
        assert "tape" in str(error), f"an error that does not name the tape: {error}"
        return
    assert reader.end is not None and reader.end.entries == len(entries)
    in_order = sorted(entries, key=lambda entry: entry.merge_key or ())
    assert entries == in_order, "what is read is not in merge order"
    copy = io.BytesIO()
    write_tape(copy, reader.genesis, entries, book_root=reader.end.book_root)
    again = TapeReader(io.BytesIO(copy.getvalue()))
    assert [entry.id for entry in again.entries()] == [entry.id for entry in entries]


def handshake(data: bytes) -> None:
    """First frames on a connection: hello, proof or refusal, one of them at most."""
    meanings = 0
    with suppress(EncodingError):
        hello = decode_hello(data)
        meanings += 1
        assert hello.encode() == data, "what is accepted is not what would be written"
        _judge(hello)
    with suppress(EncodingError):
        assert encode_proof(decode_proof(data)) == data
        meanings += 1
    with suppress(EncodingError):
        refusal = refusal_in(data, GENESIS)
        if refusal is not None:
            meanings += 1
            _, reason, network_id = decode(data, max_size=MAX_BYTES)  # type: ignore[misc]
            assert encode_refusal(reason, network_id) == data  # type: ignore[arg-type]
    assert meanings <= 1, "a frame with two meanings"


def _judge(hello: Hello) -> None:
    """Both sides judge a hello alike, and whoever is refused is told why."""
    for network in (GENESIS, script.MEMBERS_ONLY):
        refusal = refusal_of(hello, network)
        try:
            check_hello(hello, network)
        except RemoteError:
            assert refusal is not None, "refused without being told"
            assert refusal_in(refusal, ANOTHER_NETWORK) is not None
        else:
            assert refusal is None, "told that it is refused, and is not"


def framing(data: bytes) -> None:
    """Streams: cut anywhere they give the same frames, and no more than one too many is held."""
    draws = Draws(data)
    limit_bytes = 1 + draws.below(64)
    cuts = [draws.below(70) for _ in range(draws.below(16))]
    all_at_once = [bool(draws.below(2)) for _ in range(len(cuts) + 1)]
    stream = draws.take(len(data))
    frames, refused = _frames_of([stream], limit_bytes, [True])
    pieces, start = [], 0
    for cut in cuts:
        pieces.append(stream[start : start + cut])
        start += cut
    pieces.append(stream[start:])
    cut_frames, cut_refused = _frames_of(pieces, limit_bytes, all_at_once)
    assert (cut_frames, cut_refused) == (frames, refused), "it matters where a stream is cut"
    assert stream.startswith(framed(frames))
    assert all(len(frame) <= limit_bytes for frame in frames), "a frame that is too long"
    rest = stream[len(framed(frames)) :]
    if refused:
        assert int.from_bytes(rest[:HEAD_BYTES], "big") > limit_bytes
    elif len(rest) >= HEAD_BYTES:
        assert len(rest) < HEAD_BYTES + int.from_bytes(rest[:HEAD_BYTES], "big")


def _frames_of(
    pieces: list[bytes], limit_bytes: int, all_at_once: list[bool]
) -> tuple[list[bytes], bool]:
    """The frames of a stream that comes in these pieces; and whether one was refused."""
    reader = FrameReader(limit_bytes)
    frames: list[bytes] = []
    for piece, take_all in zip(pieces, all_at_once, strict=True):
        reader.feed(piece)
        if take_all:
            with suppress(RemoteError):  # those before the one that is too long are still there
                frames += reader.all_frames()
        try:
            while (frame := reader.next_frame()) is not None:
                frames.append(frame)
        except RemoteError:
            return frames, True
        assert len(reader._buffer) < HEAD_BYTES + limit_bytes, "more than a frame is held"
        assert reader.is_inside == bool(reader._buffer)
    return frames, False


def address(data: bytes) -> None:
    """Claimed addresses: what is believed names a host and a port, and is believed again."""
    seen = ("198.51.100.7", "127.0.0.1", "2001:db8::7", "fe80::1%eth0")[len(data) % 4]
    found = believed(data, seen)
    if found is None:
        return
    named = parse(found.decode())
    assert not named.is_wildcard and 1 <= named.port <= 65_535
    assert str(named).encode() == found, "one address, written in two ways"
    assert believed(found, seen) == found, "believed once and not again"
    assert len(found) <= MAX_ADDRESS_BYTES, "an address that no message may hold"


def protocol(data: bytes) -> None:
    """The protocol object: the bytes are a script of inputs to two honest peers (``script``)."""
    script.play(data)


class Target(NamedTuple):
    """A function to fuzz, the longest input it is given, and its share of all inputs."""

    run: Callable[[bytes], None]
    max_bytes: int
    per_mille: int


TARGETS: dict[str, Target] = {
    "encoding": Target(encoding, 512, 160),
    "message": Target(message, 1_024, 240),
    "run": Target(run, 1_024, 110),
    "proof": Target(proof, 640, 80),
    "genesis": Target(genesis, 512, 60),
    "payload": Target(payload, 512, 80),
    "row": Target(row, 512, 20),
    "tape": Target(tape, 2_048, 40),
    "handshake": Target(handshake, 512, 80),
    "framing": Target(framing, 512, 50),
    "address": Target(address, 160, 30),
    "protocol": Target(protocol, 512, 50),
}
"""By name. The shares add up to a thousand."""


# -------------------------------------------------------------------- helpers


def check_size(value: object, data: bytes) -> None:
    """What was made of the bytes takes memory in proportion to them."""
    kept = deep_size(value)
    limit = KEPT_AT_LEAST + KEPT_PER_BYTE * len(data)
    assert kept <= limit, f"{len(data)} bytes became {kept}; at most {limit} are allowed"


def deep_size(value: object) -> int:
    """Bytes of memory of a value made of sequences, bytes and integers."""
    own = sys.getsizeof(value)
    if isinstance(value, list | tuple):
        return own + sum(map(deep_size, value))
    return own
