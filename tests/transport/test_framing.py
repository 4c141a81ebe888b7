"""Frames in a stream: whole, in order, and never more than was allowed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossipbook.errors import ProtocolViolation
from gossipbook.transport.framing import HEAD_BYTES, FrameReader, framed

FRAMES = st.lists(st.binary(max_size=40), max_size=12)


def test_bytes_of_frames_in_a_stream() -> None:
    assert framed([b"ab", b"", b"c" * 258]) == (
        b"\x00\x00\x00\x02ab" + b"\x00\x00\x00\x00" + b"\x00\x00\x01\x02" + b"c" * 258
    )


@given(FRAMES, st.lists(st.integers(1, 60), min_size=1), st.booleans())
def test_frames_come_out_as_they_went_in_wherever_the_stream_is_cut(
    frames: list[bytes], sizes: list[int], one_by_one: bool
) -> None:
    reader = FrameReader(40)
    stream = framed(frames)
    received: list[bytes] = []
    turn = 0
    while stream:
        size, turn = sizes[turn % len(sizes)], turn + 1
        reader.feed(stream[:size])
        stream = stream[size:]
        if one_by_one:
            while (frame := reader.next_frame()) is not None:
                received.append(frame)
        else:
            received += reader.all_frames()
    assert received == frames
    assert not reader.is_inside
    assert reader.next_frame() is None
    assert reader.all_frames() == []


def test_reader_is_inside_from_the_first_byte_of_a_frame_to_its_last() -> None:
    reader = FrameReader(10)
    inside = []
    for byte in framed([b"abc"]):
        reader.feed(bytes([byte]))
        inside.append((reader.is_inside, reader.all_frames()))
    assert inside == [(True, [])] * 6 + [(True, [b"abc"])]
    assert not reader.is_inside


def test_frame_of_the_greatest_size_is_taken() -> None:
    reader = FrameReader(10)
    reader.feed(framed([bytes(10), bytes(10)]))
    assert reader.next_frame() == bytes(10)
    assert reader.all_frames() == [bytes(10)]


@pytest.mark.parametrize("size", [11, 1 << 16, (1 << 32) - 1])
def test_longer_frame_is_refused_at_its_first_four_bytes(size: int) -> None:
    for read in (FrameReader.next_frame, FrameReader.all_frames):
        reader = FrameReader(10)
        reader.feed(size.to_bytes(4, "big")[: HEAD_BYTES - 1])
        assert not read(reader)
        reader.feed(size.to_bytes(4, "big")[HEAD_BYTES - 1 :])
        with pytest.raises(ProtocolViolation, match=f"of {size:,} bytes where 10 are allowed"):
            read(reader)


def test_long_frame_is_refused_after_good_ones_too() -> None:
    reader = FrameReader(10)
    reader.feed(framed([b"good", bytes(11)]))
    with pytest.raises(ProtocolViolation):
        reader.all_frames()


def test_limit_may_be_raised_between_two_frames() -> None:
    """What came together with the last frame of the handshake is judged by the new limit."""
    reader = FrameReader(4)
    reader.feed(framed([b"last", b"longer"]))
    assert reader.next_frame() == b"last"
    reader.limit_bytes = 6
    assert reader.all_frames() == [b"longer"]
