"""Entries as bytes: one form each, ids that commit to everything, and nothing hostile gets in."""

import cbor2
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from twins.authors import GENESIS, TestAuthor, at, buy

from gossipbook.encoding import encode
from gossipbook.errors import BadSignature, EncodingError, InvalidEntry, RemoteError
from gossipbook.genesis import Genesis, Market
from gossipbook.identity import Keypair
from gossipbook.log.entry import (
    MAX_HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_RUN_ENTRIES,
    NO_ENTRY,
    Entry,
    Header,
    SignedHeader,
    decode_run,
    encode_run,
    sign_entry,
    signature_is_good,
    signed_header,
)

NETWORK = GENESIS.network_id
OTHER_NETWORK = Genesis("other", [Market("AAA")]).network_id


def chain(count: int) -> list[Entry]:
    author = TestAuthor(1)
    return [author.write(buy(5 + index), hlc=at(index)) for index in range(count)]


def fields_of(run: list[Entry]) -> list[object]:
    return list(cbor2.loads(encode_run(run)))


def test_id_is_the_hash_of_tag_network_and_header() -> None:
    entry = chain(2)[1]
    payload_hash = blake3(b"\x14gossipbook/1 payload" + entry.payload).digest()
    fields = [1, entry.author, 1, entry.prev, entry.hlc, 0, len(entry.payload), payload_hash]
    header = cbor2.dumps(fields)
    assert entry.header.encode() == header
    assert entry.id == blake3(b"\x12gossipbook/1 entry" + NETWORK + header).digest()


def test_signature_covers_the_tagged_id() -> None:
    entry = chain(1)[0]
    keypair = Keypair.from_seed(bytes([1]) * 32)
    assert entry.signature == keypair.sign(b"gossipbook/1 entry signature\0" + entry.id)
    assert signature_is_good(entry.author, entry.id, entry.signature)
    assert not signature_is_good(entry.author, NO_ENTRY, entry.signature)


def test_id_depends_on_every_field_and_on_the_network() -> None:
    keypair = Keypair.from_seed(bytes([1]) * 32)
    base = {"network_id": NETWORK, "seq": 3, "prev": b"p" * 32, "hlc": at(5), "payload": b"x"}
    ids = {sign_entry(keypair, **base).id}  # type: ignore[arg-type]
    for name, other in (
        ("network_id", OTHER_NETWORK),
        ("seq", 4),
        ("prev", b"q" * 32),
        ("hlc", at(6)),
        ("payload", b"y"),
    ):
        ids.add(sign_entry(keypair, **{**base, name: other}).id)  # type: ignore[arg-type]
    ids.add(sign_entry(Keypair.from_seed(bytes([2]) * 32), **base).id)  # type: ignore[arg-type]
    assert len(ids) == 7


def test_header_survives_encoding_and_names_its_payload_by_hash() -> None:
    for entry in chain(3):
        assert Header.decode(entry.header.encode()) == entry.header
        assert Header.decode(entry.header.encode()).id(NETWORK) == entry.id


def test_the_largest_header_fits_its_limit() -> None:
    most = (1 << 63) - 1
    header = Header(b"a" * 32, most, b"p" * 32, most, 0, MAX_PAYLOAD_BYTES, b"h" * 32)  # type: ignore[arg-type]
    assert len(header.encode()) <= MAX_HEADER_BYTES
    assert Header.decode(header.encode()) == header


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, 2),  # version
        (1, b"a" * 31),  # author
        (1, 7),
        (2, b""),  # seq
        (2, 0),  # seq 0 with a prev
        (3, NO_ENTRY),  # no prev with seq 1
        (3, b"p" * 33),
        (4, b""),  # hlc
        (5, 1),  # kind
        (6, MAX_PAYLOAD_BYTES + 1),
        (7, b"h" * 16),
    ],
)
def test_a_header_with_a_field_that_cannot_be_is_refused(place: int, value: object) -> None:
    fields: list[object] = [1, b"a" * 32, 1, b"p" * 32, at(0), 0, 3, b"h" * 32]
    assert Header.decode(cbor2.dumps(fields)).seq == 1
    fields[place] = value
    with pytest.raises(InvalidEntry):
        Header.decode(cbor2.dumps(fields))


def test_a_header_of_too_few_or_too_many_fields_is_refused() -> None:
    fields: list[object] = [1, b"a" * 32, 1, b"p" * 32, at(0), 0, 3, b"h" * 32]
    for wrong in (fields[:-1], [*fields, 0], [], 5):
        with pytest.raises(InvalidEntry):
            Header.decode(cbor2.dumps(wrong))


def test_signed_header_checks_without_the_payload_and_refuses_a_forged_one() -> None:
    entry = chain(1)[0]
    assert signed_header(entry).check(NETWORK) == entry.id
    with pytest.raises(BadSignature):
        SignedHeader(entry.header, bytes(64)).check(NETWORK)
    with pytest.raises(BadSignature):
        signed_header(entry).check(OTHER_NETWORK)


def test_a_run_names_author_seq_and_prev_once_and_gives_the_same_entries() -> None:
    entries = chain(5)
    for first in range(5):
        data = encode_run(entries[first:])
        assert data.count(entries[0].author) == 1
        again = decode_run(data, NETWORK)
        assert [one.id for one in again] == [one.id for one in entries[first:]]
        assert [one.signature for one in again] == [one.signature for one in entries[first:]]
        assert encode_run(again) == data


def test_a_run_of_another_network_carries_signatures_that_do_not_hold() -> None:
    entries = decode_run(encode_run(chain(2)), OTHER_NETWORK)
    assert not any(signature_is_good(one.author, one.id, one.signature) for one in entries)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, b"a" * 31),
        (0, 1),
        (1, b""),
        (1, 1),  # seq 1 without a prev
        (2, b"p" * 32),  # a prev at seq 0
        (2, b""),
        (3, b""),  # hlc
        (4, 1),  # kind
        (5, 3),  # payload
        (6, b"s" * 63),
        (6, []),
    ],
)
def test_a_run_with_a_field_that_cannot_be_is_refused(place: int, value: object) -> None:
    fields = fields_of(chain(1))
    fields[place] = value
    with pytest.raises(InvalidEntry):
        decode_run(cbor2.dumps(fields), NETWORK)


def test_a_run_with_half_an_entry_or_none_is_refused() -> None:
    fields = fields_of(chain(2))
    for wrong in (fields[:-1], fields[:-2], fields[:3], fields[:2], [], 0):
        with pytest.raises(InvalidEntry):
            decode_run(cbor2.dumps(wrong), NETWORK)


def test_a_run_of_too_many_entries_is_refused() -> None:
    fields = [b"a" * 32, 0, NO_ENTRY] + [at(0), 0, b"", b"s" * 64] * (MAX_RUN_ENTRIES + 1)
    with pytest.raises(InvalidEntry, match="at most"):
        decode_run(encode(fields), NETWORK)


def test_a_payload_beyond_the_limit_is_refused() -> None:
    fields = [b"a" * 32, 0, NO_ENTRY, at(0), 0, bytes(MAX_PAYLOAD_BYTES + 1), b"s" * 64]
    with pytest.raises(InvalidEntry, match="payload"):
        decode_run(encode(fields), NETWORK)


def test_decoded_runs_are_remembered_up_to_a_number_of_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = [encode_run([TestAuthor(number).write()]) for number in range(1, 9)]
    monkeypatch.setattr("gossipbook.log.entry.MAX_REMEMBERED_BYTES", 3 * len(runs[0]))
    decode_run.cache_clear()
    first = decode_run(runs[0], NETWORK)
    for run in runs:
        decode_run(run, NETWORK)
        assert decode_run(runs[0], NETWORK) is first  # asked for again and again
        assert decode_run.remembered_bytes <= 3 * len(runs[0])
    second = decode_run(runs[1], NETWORK)  # forgotten meanwhile
    assert second is decode_run(runs[1], NETWORK)
    assert decode_run(runs[0], OTHER_NETWORK) is not first


RUN = encode_run(chain(2))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_end_in_a_remote_error(data: bytes) -> None:
    for decode in (lambda: decode_run(data, NETWORK), lambda: Header.decode(data)):
        with pytest.raises(RemoteError):
            decode()


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(RUN) - 1), st.integers(1, 255))
def test_a_run_with_one_byte_changed_is_refused_or_fails_the_signature(
    at: int, change: int
) -> None:
    data = bytearray(RUN)
    data[at] ^= change
    try:
        entries = decode_run(bytes(data), NETWORK)
    except RemoteError:
        return
    good = [signature_is_good(one.author, one.id, one.signature) for one in entries]
    assert not all(good)


def test_every_truncation_of_a_run_is_refused() -> None:
    for size in range(len(RUN)):
        with pytest.raises(EncodingError):
            decode_run(RUN[:size], NETWORK)
