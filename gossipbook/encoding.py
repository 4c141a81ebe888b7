"""The one way in which values become bytes: a small, strict part of CBOR (RFC 8949).

An item is an integer from 0 to 2^63-1, a byte string, or an array of items; arrays are nested at
most four deep. Each item has exactly one encoding: shortest heads, definite lengths. `decode`
promises that what it accepts re-encodes to the same bytes, that it accepts the same on every
machine and with every version of every library, and that it allocates no more than the bytes it
was given warrant. It does not know what the items mean.
"""

from collections.abc import Sequence
from struct import Struct
from struct import error as struct_error
from typing import Final, TypeAlias

import cbor2

from gossipbook.errors import EncodingError, UsageError

__all__ = ["MAX_DEPTH", "MAX_INTEGER", "Encodable", "Item", "decode", "encode"]

MAX_DEPTH: Final = 4
MAX_INTEGER: Final = (1 << 63) - 1

Item: TypeAlias = "int | bytes | list[Item]"
"""What `decode` gives."""

Encodable: TypeAlias = "int | bytes | list[Encodable] | tuple[Encodable, ...]"
"""What `encode` takes: tuples are written as arrays."""


def encode(item: Encodable) -> bytes:
    """The item's only encoding.

    Raises UsageError for what `decode` would refuse: a negative or too large integer, a bool,
    None, text, a float, arrays nested too deep. The check adds 24% to the time of encoding an
    entry's header and 37% to that of a batch of commands.
    """
    _check((item,), MAX_DEPTH)
    return cbor2.dumps(item)


def decode(data: bytes, *, max_size: int) -> Item:
    """The item that the bytes stand for, all of them.

    Raises EncodingError for more than `max_size` bytes and for everything that is not the strict
    encoding of one item. Equal results come only from equal bytes.
    """
    if type(data) is not bytes:
        raise UsageError(f"decode takes bytes, not {type(data).__name__}; write bytes(data)")
    end = len(data)
    if end > max_size:
        raise EncodingError(f"{end} bytes where at most {max_size} are allowed")
    try:
        items, position = _decode_items(data, 0, 1, MAX_DEPTH, end)
    except (IndexError, struct_error):
        raise EncodingError(f"the {end} bytes end inside an item") from None
    if position != end:
        what = "end inside an item" if position > end else f"go on after the item at {position}"
        raise EncodingError(f"the {end} bytes {what}")
    return items[0]


def _decode_items(
    data: bytes, position: int, count: int, depth_left: int, end: int
) -> tuple[list[Item], int]:
    """Read `count` items; also returns the position after them.

    A byte string cut off by the end of the data is noticed late: its slice is short, but the
    position then lies beyond the end, where the next head raises IndexError and `decode` looks.
    """
    items: list[Item] = []
    append = items.append
    for _ in range(count):
        head = data[position]
        position += 1
        if head < 0x18:
            append(head)
        elif 0x40 <= head < 0x58:
            start = position
            position += head - 0x40
            append(data[start:position])
        elif 0x58 <= head <= 0x5B:
            size, start = _argument(data, position, head - 0x58)
            position = start + size
            append(data[start:position])
        elif head <= 0x1B:
            value, position = _argument(data, position, head - 0x18)
            append(value)
        elif 0x80 <= head <= 0x9B:
            if head < 0x98:
                size = head - 0x80
            else:
                size, position = _argument(data, position, head - 0x98)
            if not depth_left:
                raise EncodingError(f"arrays nested deeper than {MAX_DEPTH} at {position}")
            if size > end - position:
                raise EncodingError(f"an array of {size} items in {end - position} bytes")
            nested, position = _decode_items(data, position, size, depth_left - 1, end)
            append(nested)
        else:
            raise EncodingError(f"head {head:#04x} at {position - 1} is not allowed")
    return items, position


def _argument(data: bytes, position: int, width: int) -> tuple[int, int]:
    """Read the number that follows a head, in 1, 2, 4 or 8 bytes for width 0 to 3."""
    if width == 0:
        value = data[position]
        following = position + 1
    else:
        read = _READERS[width]
        (value,) = read.unpack_from(data, position)
        following = position + read.size
    if value < _LEAST[width]:
        raise EncodingError(f"the number {value} at {position} has a shorter form")
    if value > MAX_INTEGER:
        raise EncodingError(f"the number {value} at {position} is above 2^63-1")
    return value, following


_READERS: Final = (Struct(">B"), Struct(">H"), Struct(">I"), Struct(">Q"))
_LEAST: Final = (24, 1 << 8, 1 << 16, 1 << 32)


def _check(items: Sequence[object], depth_left: int) -> None:
    for item in items:
        kind = type(item)
        if kind is bytes:
            continue
        if type(item) is int:
            if not 0 <= item <= MAX_INTEGER:
                raise UsageError(f"the integer {item} cannot be encoded; only 0 to 2^63-1 can")
        elif isinstance(item, list | tuple):
            if not depth_left:
                raise UsageError(f"arrays nested deeper than {MAX_DEPTH} cannot be encoded")
            _check(item, depth_left - 1)
        else:
            raise UsageError(f"a {kind.__name__} cannot be encoded; use int, bytes, list or tuple")
