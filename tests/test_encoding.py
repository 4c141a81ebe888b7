import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossipbook.encoding import MAX_INTEGER, decode, encode
from gossipbook.errors import EncodingError, UsageError

integers = st.one_of(
    st.integers(0, MAX_INTEGER),
    st.sampled_from(
        [edge + step for edge in (24, 256, 65_536, 1 << 32) for step in (-1, 0, 1)] + [MAX_INTEGER]
    ),
)
scalars = st.one_of(integers, st.binary(max_size=40), st.sampled_from([bytes(255), bytes(256)]))
items = scalars
for _ in range(4):
    items = st.one_of(scalars, st.lists(items, max_size=30))


@given(items)
@settings(max_examples=300, deadline=None)
def test_what_is_encoded_decodes_to_the_same_and_is_plain_cbor(item) -> None:
    data = encode(item)
    assert decode(data, max_size=len(data)) == item
    assert cbor2.loads(data) == item


def assert_strict(data: bytes) -> None:
    try:
        item = decode(data, max_size=1000)
    except EncodingError:
        return
    assert cbor2.loads(data) == item
    assert encode(item) == data


@given(st.binary(max_size=30))
@settings(max_examples=1000, deadline=None)
def test_any_bytes_are_refused_or_are_the_only_encoding_of_their_value(data) -> None:
    assert_strict(data)


heads = st.sampled_from(
    [bytes([major << 5 | low]) for major in range(8) for low in (0, 1, 2, 23, 24, 25, 26, 27, 31)]
)
pieces = st.one_of(heads, st.just(b"\x00"), st.just(b"\xff"), st.binary(min_size=1, max_size=9))


@given(st.lists(pieces, max_size=12).map(b"".join))
@settings(max_examples=1000, deadline=None)
def test_any_row_of_heads_is_refused_or_is_the_only_encoding_of_its_value(data) -> None:
    assert_strict(data)


@given(items, st.data())
@settings(max_examples=300, deadline=None)
def test_an_altered_encoding_is_refused_or_is_the_only_encoding_of_another_value(
    item, data
) -> None:
    encoded = bytearray(encode(item))
    position = data.draw(st.integers(0, len(encoded) - 1))
    encoded[position] = data.draw(st.integers(0, 255))
    assert_strict(bytes(encoded))


@given(items, st.data())
@settings(max_examples=200, deadline=None)
def test_an_encoding_cut_short_or_followed_by_more_is_refused(item, data) -> None:
    encoded = encode(item)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(EncodingError):
        decode(encoded[:cut], max_size=10_000)
    with pytest.raises(EncodingError):
        decode(encoded + b"\x00", max_size=10_000)


def test_every_single_byte_is_a_small_integer_an_empty_item_or_refused() -> None:
    accepted = {}
    for value in range(256):
        try:
            accepted[value] = decode(bytes([value]), max_size=1)
        except EncodingError:
            continue
    assert accepted == {**{number: number for number in range(24)}, 0x40: b"", 0x80: []}


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("17", 23),
        ("1818", 24),
        ("18ff", 255),
        ("190100", 256),
        ("1a00010000", 65_536),
        ("1b0000000100000000", 1 << 32),
        ("1b7fffffffffffffff", (1 << 63) - 1),
        ("43010203", b"\x01\x02\x03"),
        ("83014102820304", [1, b"\x02", [3, 4]]),
        ("81818180", [[[[]]]]),
    ],
)
def test_accepted_encodings_worked_out_by_hand(data: str, value) -> None:
    assert decode(bytes.fromhex(data), max_size=100) == value
    assert encode(value).hex() == data


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "end inside"),
        ("18", "end inside"),
        ("1817", "shorter form"),
        ("1900ff", "shorter form"),
        ("1a0000ffff", "shorter form"),
        ("1b00000000ffffffff", "shorter form"),
        ("1b8000000000000000", "above 2"),
        ("1bffffffffffffffff", "above 2"),
        ("1c", "not allowed"),
        ("1f", "not allowed"),
        ("20", "not allowed"),
        ("3bffffffffffffffff", "not allowed"),
        ("581700", "shorter form"),
        ("41", "end inside"),
        ("5b7fffffffffffffff00", "end inside"),
        ("5f4100ff", "not allowed"),
        ("6161", "not allowed"),
        ("981700", "shorter form"),
        ("8201", "items in"),
        ("9b7fffffffffffffff", "items in"),
        ("9affffffff0000", "items in"),
        ("83410182010241", "end inside"),
        ("9f00ff", "not allowed"),
        ("a0", "not allowed"),
        ("c000", "not allowed"),
        ("c24101", "not allowed"),
        ("f4", "not allowed"),
        ("f6", "not allowed"),
        ("fb0000000000000000", "not allowed"),
        ("ff", "not allowed"),
        ("8181818180", "nested deeper"),
        ("0000", "go on after"),
        ("800000", "go on after"),
    ],
)
def test_refused_encodings_worked_out_by_hand(data: str, reason: str) -> None:
    with pytest.raises(EncodingError, match=reason):
        decode(bytes.fromhex(data), max_size=100)


def test_the_size_limit_comes_before_everything_else() -> None:
    with pytest.raises(EncodingError, match="11 bytes where at most 10"):
        decode(b"\xff" * 11, max_size=10)
    assert decode(encode(bytes(8)), max_size=9) == bytes(8)


def test_arrays_cannot_claim_more_items_than_there_are_bytes() -> None:
    nested = b"\x9a\x00\xff\xff\xff" * 4
    with pytest.raises(EncodingError, match="16777215 items in 15 bytes"):
        decode(nested, max_size=100)


@pytest.mark.parametrize("data", [bytearray(b"\x00"), memoryview(b"\x00"), "0", None])
def test_decode_takes_bytes_only(data) -> None:
    with pytest.raises(UsageError, match="takes bytes"):
        decode(data, max_size=10)


@pytest.mark.parametrize(
    "item",
    [-1, 1 << 63, True, None, 1.0, "text", bytearray(b"x"), {}, {1: 2}, [1, [None]], [[[[[]]]]]],
)
def test_encode_refuses_what_decode_would_refuse(item) -> None:
    with pytest.raises(UsageError, match="cannot be encoded"):
        encode(item)


def test_a_list_that_holds_itself_is_refused() -> None:
    endless: list = []
    endless.append(endless)
    with pytest.raises(UsageError, match="nested deeper"):
        encode(endless)


def test_tuples_are_written_as_arrays() -> None:
    assert encode((1, (2, b"x"))) == encode([1, [2, b"x"]])
