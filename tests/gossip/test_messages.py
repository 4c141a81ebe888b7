"""Messages: one form each, and whatever else comes is the sender's fault and nothing worse."""

from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twins.message_examples import ALICE_HEAD, EXAMPLES, SPAN

from gossipbook.encoding import encode
from gossipbook.errors import EncodingError, ProtocolViolation, RemoteError
from gossipbook.gossip.messages import (
    KIND_NAMES,
    CutSpan,
    IdsWanted,
    News,
    Want,
    decode_message,
    encode_message,
    spans_of,
)
from gossipbook.replica import Cut

LIMIT = 1 << 20
A, B = b"a" * 32, b"b" * 32
kinds = pytest.mark.parametrize("kind", range(20))


@kinds
def test_every_kind_survives_encoding(kind: int) -> None:
    message = EXAMPLES[kind]
    data = encode_message(message)
    assert cbor2.loads(data)[0] == kind
    assert decode_message(data, max_size=LIMIT) == message
    assert KIND_NAMES[kind] == type(message).__name__


def test_there_are_twenty_kinds_each_with_its_example() -> None:
    assert sorted(KIND_NAMES) == list(range(20))
    assert len({type(message) for message in EXAMPLES}) == 20


@kinds
def test_every_truncation_is_refused(kind: int) -> None:
    data = encode_message(EXAMPLES[kind])
    for size in range(len(data)):
        with pytest.raises(RemoteError):
            decode_message(data[:size], max_size=LIMIT)
    with pytest.raises(EncodingError):
        decode_message(data + b"\0", max_size=LIMIT)


@kinds
def test_a_frame_beyond_the_limit_is_refused_unread(kind: int) -> None:
    data = encode_message(EXAMPLES[kind])
    with pytest.raises(EncodingError, match="at most"):
        decode_message(data, max_size=len(data) - 1)


def fields(kind: int) -> list[Any]:
    return list(cbor2.loads(encode_message(EXAMPLES[kind])))


@kinds
def test_a_field_of_the_wrong_type_or_number_is_refused_or_means_what_it_says(kind: int) -> None:
    good = fields(kind)
    wrong = [
        [*good[:place], value, *good[place + 1 :]]
        for place in range(1, len(good))
        for value in (0, 1 << 62, b"", b"x", b"x" * 31, b"\xff" * 33, [], [b"x"], [[]])
    ]
    wrong += [good[:-1], [*good, 0], [*good, b""], [*good, []], good[:1], good[:1] * 300]
    for one in wrong:
        data = cbor2.dumps(one)
        try:
            message = decode_message(data, max_size=LIMIT)
        except RemoteError:
            continue
        assert encode_message(message) == data, one


@settings(max_examples=60, deadline=None)
@given(st.data())
@kinds
def test_one_changed_byte_is_refused_or_means_what_it_says(kind: int, data: st.DataObject) -> None:
    frame = bytearray(encode_message(EXAMPLES[kind]))
    at = data.draw(st.integers(0, len(frame) - 1))
    frame[at] = data.draw(st.integers(0, 255))
    try:
        message = decode_message(bytes(frame), max_size=LIMIT)
    except RemoteError:
        return
    assert encode_message(message) == bytes(frame)


items = st.recursive(
    st.integers(0, (1 << 63) - 1) | st.binary(max_size=90),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 22), st.lists(items, max_size=6))
def test_random_fields_are_refused_or_mean_what_they_say(kind: int, rest: list[Any]) -> None:
    try:
        data = encode([kind, *rest])
    except ValueError:  # nested too deep to be encoded at all
        return
    try:
        message = decode_message(data, max_size=LIMIT)
    except RemoteError:
        return
    assert encode_message(message) == data


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=120))
def test_random_bytes_end_in_a_remote_error(data: bytes) -> None:
    try:
        message = decode_message(data, max_size=LIMIT)
    except RemoteError:
        return
    assert encode_message(message) == data


@pytest.mark.parametrize("item", [0, b"", [], [b""], [[]], [20], [99, 1], [1 << 62]])
def test_what_does_not_begin_with_a_known_kind_is_refused(item: object) -> None:
    with pytest.raises(ProtocolViolation):
        decode_message(cbor2.dumps(item), max_size=LIMIT)


@pytest.mark.parametrize(
    "message",
    [
        [0, 4, b""],  # unknown flag
        [0, 0, b"x" * 79],
        [0, 0, ALICE_HEAD.pack(), 5],  # a run that is no bytes
        [1, b"a" * 32 + (1 << 62).to_bytes(8) + (1).to_bytes(4)],  # from 2^62 on
        [1, b"a" * 32 + (0).to_bytes(8) + (0).to_bytes(4)],  # nothing wanted
        [2, A, 1, (9).to_bytes(8) + (8).to_bytes(8) + A + B],  # a span that ends before it begins
        [2, A, 1, (0).to_bytes(8) + (1 << 32).to_bytes(8) + A + B],
        [2, A, 1, ((1).to_bytes(8) * 2 + A + B) * 65],  # too many cuts
        [4],  # a walk to nowhere
        [4, *[b""] * 257],
        [4, b"\x10"],  # no nibble
        [4, bytes(65)],
        [5, b"", b"", b"\x01"],  # half a child
        [5, b"", b"", *[b"\x01", A] * 17],
        [6, A],
        [6, A, *range(17)],
        [7, A, ((0).to_bytes(8) + B) * 17],
        [8],
        [8, *[b"p"] * 65],
        [11, A, b""],  # no address
        [11, A, b"x" * 129],
        [11, *[A, b"x"] * 65],
        [11, A],
        [13, ALICE_HEAD.pack() * 2],
        [13, b""],
        [14],
        [14, *range(65)],
        [18, 1, 0, 2, b""],  # a third side
        [19, 1, 0, 2, b""],
    ],
)
def test_a_message_beyond_its_limits_is_refused(message: list[Any]) -> None:
    with pytest.raises(ProtocolViolation):
        decode_message(cbor2.dumps(message), max_size=LIMIT)


def test_news_says_in_two_flags_what_it_is() -> None:
    for flags, (reply, complete) in enumerate([(0, 0), (1, 0), (0, 1), (1, 1)]):
        news = News((), (), reply=bool(reply), complete=bool(complete))
        assert encode_message(news) == cbor2.dumps([0, flags, b""])


def test_ranges_and_ids_are_packed_in_fixed_width() -> None:
    want = encode_message(Want(((A, 5, 7),)))  # type: ignore[arg-type]
    assert want == cbor2.dumps([1, A + (5).to_bytes(8) + (7).to_bytes(4)])
    assert encode_message(IdsWanted(A, (1, 300))) == cbor2.dumps([6, A, 1, 300])  # type: ignore[arg-type]


def test_equal_cuts_of_consecutive_seconds_become_one_span() -> None:
    cuts = [Cut(1, A, B), Cut(2, A, B), Cut(3, A, A), Cut(5, A, A), Cut(6, A, A)]
    assert spans_of(cuts) == (CutSpan(1, 2, A, B), CutSpan(3, 3, A, A), CutSpan(5, 6, A, A))
    assert spans_of([]) == ()
    assert SPAN.last - SPAN.first == 2
