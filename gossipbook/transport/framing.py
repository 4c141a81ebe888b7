"""How frames find their way through a stream of bytes: four bytes of length, then the frame.

The reader takes the stream as it comes, cut anywhere, and gives whole frames. It never holds more
than one unfinished frame of the greatest size allowed, and refuses a longer one at its first four
bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct

from gossipbook.errors import ProtocolViolation

_LENGTH = Struct(">I")
HEAD_BYTES = _LENGTH.size


def framed(frames: Iterable[bytes]) -> bytes:
    """The frames as they stand in the stream."""
    pack = _LENGTH.pack
    return b"".join([part for frame in frames for part in (pack(len(frame)), frame)])


class FrameReader:
    """Gives the frames of one stream. ``limit_bytes`` may be raised between two of them."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._buffer = bytearray()

    @property
    def is_inside(self) -> bool:
        """Whether bytes wait that are no whole frame yet, or have not been asked for."""
        return bool(self._buffer)

    def feed(self, data: bytes | bytearray) -> None:
        """The next bytes of the stream."""
        self._buffer += data

    def next_frame(self) -> bytes | None:
        """The next frame, if it is whole. Raises ProtocolViolation for one that is too long."""
        end = self._end_of_frame(0)
        if end is None:
            return None
        frame = bytes(self._buffer[HEAD_BYTES:end])
        del self._buffer[:end]
        return frame

    def all_frames(self) -> list[bytes]:
        """The frames that are whole, in order; none where one of them is too long, as above."""
        frames: list[bytes] = []
        start = 0
        while (end := self._end_of_frame(start)) is not None:
            frames.append(bytes(self._buffer[start + HEAD_BYTES : end]))
            start = end
        del self._buffer[:start]
        return frames

    def _end_of_frame(self, start: int) -> int | None:
        if len(self._buffer) - start < HEAD_BYTES:
            return None
        (size,) = _LENGTH.unpack_from(self._buffer, start)
        if size > self.limit_bytes:
            raise ProtocolViolation(
                f"a frame of {size:,} bytes where {self.limit_bytes:,} are allowed"
            )
        end: int = start + HEAD_BYTES + size
        return end if end <= len(self._buffer) else None
