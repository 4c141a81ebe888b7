"""What peers say to each other, as values and as bytes.

A message is one CBOR array ``[kind, ...]`` of integers and byte strings. Where a message carries
many like records (heads, ids, cuts) they stand packed, fixed width and big endian, in one byte
string. Decoding is strict: what is not exactly a message raises a RemoteError, which ends the link
it came from. ``docs/WIRE.md`` shows every byte.
"""

from collections.abc import Callable, Sequence
from struct import Struct
from struct import error as StructError
from typing import Any, NamedTuple

from gossipbook.encoding import decode, encode
from gossipbook.errors import ProtocolViolation
from gossipbook.identity import PeerId
from gossipbook.log.entry import EntryId
from gossipbook.log.frontier import HEAD_BYTES, Head, pack_heads, unpack_heads
from gossipbook.replica import Cut

MAX_ADDRESS_BYTES = 128
MAX_PEERS = 64
MAX_IDS = 16
MAX_HEADS = 1_024
MAX_RANGES = 1_024
MAX_PROOFS = 64
MAX_CUTS = 64


class News(NamedTuple):
    """Entries, and heads of logs that the receiver may not know yet."""

    runs: tuple[bytes, ...]
    heads: tuple[Head, ...] = ()
    reply: bool = False  # it answers a Want
    complete: bool = False  # the sender pushes its own entries to everyone


class Want(NamedTuple):
    """Asks for runs: (author, first seq, number of entries)."""

    ranges: tuple[tuple[PeerId, int, int], ...]


class CutSpan(NamedTuple):
    """The same roots at every cut from second ``first`` to second ``last``."""

    first: int
    last: int
    frontier_root: bytes
    book_root: bytes


class Compare(NamedTuple):
    """Opens anti-entropy: are our frontiers and our books at recent cuts the same?"""

    frontier_root: bytes
    author_count: int
    spans: tuple[CutSpan, ...]


class FrontierIs(NamedTuple):
    """The whole frontier."""

    heads: tuple[Head, ...]


class Walk(NamedTuple):
    """Asks for the children of these nodes of the frontier's tree (prefixes in nibbles)."""

    prefixes: tuple[bytes, ...]


class Branch(NamedTuple):
    """A node of the frontier's tree: its children's prefixes and hashes, or all its heads."""

    prefix: bytes
    children: tuple[tuple[bytes, bytes], ...]
    heads: tuple[Head, ...]


class IdsWanted(NamedTuple):
    """Asks for the ids of an author's entries at these seqs."""

    author: PeerId
    seqs: tuple[int, ...]


class IdsAre(NamedTuple):
    """The ids at seqs; a seq at which the sender has no entry is left out."""

    author: PeerId
    ids: tuple[tuple[int, EntryId], ...]


class Evidence(NamedTuple):
    """Fork proofs, encoded."""

    proofs: tuple[bytes, ...]


class Ping(NamedTuple):
    token: int
    wall_us: int


class Pong(NamedTuple):
    token: int
    wall_us: int


class Peers(NamedTuple):
    """Peers that the sender knows: (id, address)."""

    peers: tuple[tuple[PeerId, bytes], ...]


class Goodbye(NamedTuple):
    """The sender leaves for good."""


class YourHead(NamedTuple):
    """The first word on every link: how much of the receiver's own log the sender holds."""

    head: Head


class CutsWanted(NamedTuple):
    """Asks for the roots at older cuts."""

    seconds: tuple[int, ...]


class CutsAre(NamedTuple):
    spans: tuple[CutSpan, ...]


class MarketsWanted(NamedTuple):
    """Asks for the parts of each market's digest at a cut."""

    second: int


class MarketsAre(NamedTuple):
    """Per market, in genesis order: roots of bids, asks and history, and the market's root."""

    second: int
    markets: tuple[tuple[bytes, bytes, bytes, bytes], ...]


class LevelsWanted(NamedTuple):
    """Asks for the children of a node of a side's tree at a cut (prefix in nibbles)."""

    second: int
    market: int
    side: int
    prefix: bytes


class LevelsAre(NamedTuple):
    second: int
    market: int
    side: int
    prefix: bytes
    children: tuple[tuple[bytes, bytes], ...]


Message = (
    News
    | Want
    | Compare
    | FrontierIs
    | Walk
    | Branch
    | IdsWanted
    | IdsAre
    | Evidence
    | Ping
    | Pong
    | Peers
    | Goodbye
    | YourHead
    | CutsWanted
    | CutsAre
    | MarketsWanted
    | MarketsAre
    | LevelsWanted
    | LevelsAre
)

_RANGE = Struct(">32sQI")
_SPAN = Struct(">QQ32s32s")
_ID = Struct(">Q32s")
_FOUR_ROOTS = Struct(">32s32s32s32s")
_REPLY, _COMPLETE = 1, 2


def encode_message(message: Message) -> bytes:
    """The frame that carries ``message``."""
    kind, to_fields, _ = _CODECS[type(message)]
    return encode([kind, *to_fields(message)])


def decode_message(data: bytes, *, max_size: int) -> Message:
    """The message in a frame. Raises EncodingError or ProtocolViolation."""
    fields = decode(data, max_size=max_size)
    if not isinstance(fields, list) or not fields or not isinstance(fields[0], int):
        raise ProtocolViolation("a message is an array that starts with its kind")
    from_fields = _DECODERS.get(fields[0])
    if from_fields is None:
        raise ProtocolViolation(f"no message is of kind {fields[0]}")
    try:
        return from_fields(*fields[1:])
    except (TypeError, ValueError, AttributeError, StructError, OverflowError):
        raise ProtocolViolation(f"a message of kind {fields[0]} has the wrong fields") from None


def spans_of(cuts: Sequence[Cut]) -> tuple[CutSpan, ...]:
    """Consecutive seconds with the same roots, as one span each."""
    spans: list[CutSpan] = []
    for second, frontier_root, book_root in cuts:
        if spans and spans[-1].last == second - 1 and spans[-1][2:] == (frontier_root, book_root):
            spans[-1] = spans[-1]._replace(last=second)
        else:
            spans.append(CutSpan(second, second, frontier_root, book_root))
    return tuple(spans)


# ------------------------------------------------------------------ fields, kind by kind


def _check(condition: bool, what: str) -> None:
    if not condition:
        raise ProtocolViolation(what)


def _bytes(value: Any, size: int | None = None) -> bytes:
    if type(value) is not bytes or (size is not None and len(value) != size):
        raise ProtocolViolation(f"expected {size or 'some'} bytes, got {value!r:.40}")
    return value


def _int(value: Any) -> int:
    if type(value) is not int:
        raise ProtocolViolation(f"expected an integer, got {value!r:.40}")
    return value


def _nibbles(value: Any) -> bytes:
    prefix = _bytes(value)
    _check(len(prefix) <= 64 and (not prefix or max(prefix) < 16), "a prefix is up to 64 nibbles")
    return prefix


def _news(flags: Any, heads: Any, *runs: Any) -> News:
    flags = _int(flags)
    _check(flags < 4, f"news with flags {flags}")
    for run in runs:
        _bytes(run)
    return News(
        runs,
        () if heads == b"" else _heads(heads),
        bool(flags & _REPLY),
        bool(flags & _COMPLETE),
    )


def _heads(packed: Any) -> tuple[Head, ...]:
    data = _bytes(packed)
    _check(len(data) <= MAX_HEADS * HEAD_BYTES, f"more than {MAX_HEADS} heads")
    return tuple(unpack_heads(data))


def _news_fields(news: News) -> list[Any]:
    flags = (_REPLY if news.reply else 0) | (_COMPLETE if news.complete else 0)
    return [flags, pack_heads(news.heads), *news.runs]


def _want(packed: Any) -> Want:
    ranges = tuple(_RANGE.iter_unpack(_bytes(packed)))
    _check(len(ranges) <= MAX_RANGES, f"{len(ranges)} ranges; at most {MAX_RANGES}")
    for _, first, count in ranges:
        _check(first < 1 << 62 and count > 0, "a range that cannot be")
    return Want(ranges)


def _spans(packed: Any) -> tuple[CutSpan, ...]:
    spans = tuple(CutSpan(*fields) for fields in _SPAN.iter_unpack(_bytes(packed)))
    _check(len(spans) <= MAX_CUTS, f"{len(spans)} cuts; at most {MAX_CUTS}")
    for span in spans:
        _check(0 <= span.last - span.first < 1 << 32, "a span of cuts that cannot be")
    return spans


def _pack_spans(spans: Sequence[CutSpan]) -> bytes:
    return b"".join([_SPAN.pack(*span) for span in spans])


def _compare(root: Any, author_count: Any, spans: Any) -> Compare:
    return Compare(_bytes(root, 32), _int(author_count), _spans(spans))


def _children(packed: Sequence[Any]) -> tuple[tuple[bytes, bytes], ...]:
    _check(len(packed) % 2 == 0 and len(packed) <= 32, "up to 16 children, two fields each")
    return tuple((_nibbles(packed[i]), _bytes(packed[i + 1], 32)) for i in range(0, len(packed), 2))


def _flat(pairs: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    return [field for pair in pairs for field in pair]


def _walk(*prefixes: Any) -> Walk:
    _check(0 < len(prefixes) <= 256, "a walk names 1 to 256 prefixes")
    return Walk(tuple(_nibbles(prefix) for prefix in prefixes))


def _branch(prefix: Any, heads: Any, *children: Any) -> Branch:
    return Branch(_nibbles(prefix), _children(children), tuple(unpack_heads(_bytes(heads))))


def _ids_wanted(author: Any, *seqs: Any) -> IdsWanted:
    _check(0 < len(seqs) <= MAX_IDS, f"1 to {MAX_IDS} seqs a message")
    return IdsWanted(PeerId(_bytes(author, 32)), tuple(_int(seq) for seq in seqs))


def _ids_are(author: Any, packed: Any) -> IdsAre:
    ids = tuple(_ID.iter_unpack(_bytes(packed)))
    _check(len(ids) <= MAX_IDS, f"at most {MAX_IDS} ids a message")
    return IdsAre(PeerId(_bytes(author, 32)), ids)


def _evidence(*proofs: Any) -> Evidence:
    _check(0 < len(proofs) <= MAX_PROOFS, f"1 to {MAX_PROOFS} proofs a message")
    return Evidence(tuple(_bytes(proof) for proof in proofs))


def _peers(*fields: Any) -> Peers:
    _check(len(fields) % 2 == 0 and len(fields) <= 2 * MAX_PEERS, "peers: id and address each")
    peers = []
    for at in range(0, len(fields), 2):
        address = _bytes(fields[at + 1])
        _check(0 < len(address) <= MAX_ADDRESS_BYTES, "an address of 1 to 128 bytes")
        peers.append((PeerId(_bytes(fields[at], 32)), address))
    return Peers(tuple(peers))


def _your_head(packed: Any) -> YourHead:
    heads = tuple(unpack_heads(_bytes(packed)))
    _check(len(heads) == 1, "exactly one head")
    return YourHead(heads[0])


def _seconds(*seconds: Any) -> CutsWanted:
    _check(0 < len(seconds) <= MAX_CUTS, f"1 to {MAX_CUTS} seconds")
    return CutsWanted(tuple(_int(second) for second in seconds))


def _markets_are(second: Any, packed: Any) -> MarketsAre:
    return MarketsAre(_int(second), tuple(_FOUR_ROOTS.iter_unpack(_bytes(packed))))


def _levels_wanted(second: Any, market: Any, side: Any, prefix: Any) -> LevelsWanted:
    _check(side in (0, 1), "a side is 0 or 1")
    return LevelsWanted(_int(second), _int(market), _int(side), _nibbles(prefix))


def _levels_are(second: Any, market: Any, side: Any, prefix: Any, *children: Any) -> LevelsAre:
    _check(side in (0, 1), "a side is 0 or 1")
    return LevelsAre(_int(second), _int(market), _int(side), _nibbles(prefix), _children(children))


_CODECS: dict[type, tuple[int, Callable[[Any], Sequence[Any]], Callable[..., Message]]] = {
    News: (0, _news_fields, _news),
    Want: (1, lambda m: [b"".join([_RANGE.pack(*one) for one in m.ranges])], _want),
    Compare: (2, lambda m: [m.frontier_root, m.author_count, _pack_spans(m.spans)], _compare),
    FrontierIs: (
        3,
        lambda m: [pack_heads(m.heads)],
        lambda heads: FrontierIs(_heads(heads)),
    ),
    Walk: (4, lambda m: m.prefixes, _walk),
    Branch: (5, lambda m: [m.prefix, pack_heads(m.heads), *_flat(m.children)], _branch),
    IdsWanted: (6, lambda m: [m.author, *m.seqs], _ids_wanted),
    IdsAre: (7, lambda m: [m.author, b"".join([_ID.pack(*one) for one in m.ids])], _ids_are),
    Evidence: (8, lambda m: m.proofs, _evidence),
    Ping: (9, lambda m: m, lambda token, wall_us: Ping(_int(token), _int(wall_us))),
    Pong: (10, lambda m: m, lambda token, wall_us: Pong(_int(token), _int(wall_us))),
    Peers: (11, lambda m: _flat(m.peers), _peers),
    Goodbye: (12, lambda m: [], lambda: Goodbye()),
    YourHead: (13, lambda m: [m.head.pack()], _your_head),
    CutsWanted: (14, lambda m: m.seconds, _seconds),
    CutsAre: (15, lambda m: [_pack_spans(m.spans)], lambda spans: CutsAre(_spans(spans))),
    MarketsWanted: (16, lambda m: m, lambda second: MarketsWanted(_int(second))),
    MarketsAre: (
        17,
        lambda m: [m.second, b"".join([_FOUR_ROOTS.pack(*roots) for roots in m.markets])],
        _markets_are,
    ),
    LevelsWanted: (18, lambda m: m, _levels_wanted),
    LevelsAre: (19, lambda m: [*m[:4], *_flat(m.children)], _levels_are),
}

_DECODERS = {kind: from_fields for kind, _, from_fields in _CODECS.values()}
KIND_NAMES = {kind: message.__name__ for message, (kind, _, _) in _CODECS.items()}
