"""Entries: what one author signed, as values and as bytes.

An entry is a header, a payload and a signature. The header names the payload by its hash, so the
header and the signature alone prove what an author said, and where in its log::

    header    = [version, author, seq, prev, hlc, kind, payload size, BLAKE3(payload)]
    id        = BLAKE3(tag || network id || header)
    signature = Ed25519(author, tag || id)

This file decides which bytes are a well-formed entry of this network, and what a run of entries
looks like on the wire. It does not know whether an entry connects to the ones before it
(``author_log``), whether its signature is good (``verification``) or what its payload means.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NewType

from gossipbook.encoding import Encodable, decode, encode
from gossipbook.errors import BadSignature, InvalidEntry
from gossipbook.identity import Keypair, PeerId, short, verify
from gossipbook.merkle import hash_bytes

EntryId = NewType("EntryId", bytes)
"""32 bytes: the hash that names an entry, everywhere."""

MergeKey = tuple[int, PeerId, int]
"""(effective hlc, author, seq): the place of an entry in the total order."""

VERSION = 1
KIND_COMMANDS = 0
NO_ENTRY = EntryId(bytes(32))
"""The ``prev`` of an author's first entry, and the head of an empty log."""

MAX_PAYLOAD_BYTES = 65_536
MAX_HEADER_BYTES = 192
MAX_SEQ = (1 << 63) - 1
MAX_RUN_ENTRIES = 1_024
MAX_RUN_BYTES = 262_144
MAX_REMEMBERED_BYTES = 16_777_216
"""Bytes of runs whose decoded entries are remembered (they take a few times as much)."""

_ID_TAG = b"gossipbook/1 entry"
_PAYLOAD_TAG = b"gossipbook/1 payload"
_SIGNATURE_PREFIX = b"gossipbook/1 entry signature\0"


@dataclass(frozen=True, slots=True)
class Header:
    """What the author signed, short of the payload itself."""

    author: PeerId
    seq: int
    prev: EntryId
    hlc: int
    kind: int
    payload_size: int
    payload_hash: bytes

    def encode(self) -> bytes:
        return encode(
            [
                VERSION,
                self.author,
                self.seq,
                self.prev,
                self.hlc,
                self.kind,
                self.payload_size,
                self.payload_hash,
            ]
        )

    @classmethod
    def decode(cls, data: bytes) -> "Header":
        """The header in ``data``. Raises EncodingError or InvalidEntry."""
        fields = decode(data, max_size=MAX_HEADER_BYTES)
        match fields:
            case [
                int(version),
                bytes(author),
                int(seq),
                bytes(prev),
                int(hlc),
                int(kind),
                int(payload_size),
                bytes(payload_hash),
            ]:
                pass
            case _:
                raise InvalidEntry("a header is an array of eight fields; this one is not")
        if version != VERSION:
            raise InvalidEntry(f"header version {version}; this library reads version {VERSION}")
        if len(author) != 32 or len(prev) != 32 or len(payload_hash) != 32:
            raise InvalidEntry("author, prev and payload hash of a header are 32 bytes each")
        _check_fields(author, seq, prev, kind, payload_size)
        return cls(PeerId(author), seq, EntryId(prev), hlc, kind, payload_size, payload_hash)

    def id(self, network_id: bytes) -> EntryId:
        return EntryId(hash_bytes(_ID_TAG, network_id, self.encode()))


class Entry:
    """One signed entry.

    Immutable but for the fields in the last group, which are pure functions of the id (the id
    commits to the whole chain before it), are filled in by the part that knows them, and let
    peers in one process share one object per entry.
    """

    __slots__ = (
        "__weakref__",
        "author",
        "decoded",
        "hlc",
        "id",
        "kind",
        "merge_key",
        "payload",
        "prev",
        "seq",
        "signature",
    )

    def __init__(
        self,
        *,
        author: PeerId,
        seq: int,
        prev: EntryId,
        hlc: int,
        kind: int,
        payload: bytes,
        signature: bytes,
        entry_id: EntryId,
    ) -> None:
        self.author = author
        self.seq = seq
        self.prev = prev
        self.hlc = hlc
        self.kind = kind
        self.payload = payload
        self.signature = signature
        self.id = entry_id
        self.merge_key: MergeKey | None = None  # set once, when the entry connects
        self.decoded: Any = None  # the payload's meaning, kept by whoever decodes it

    def __repr__(self) -> str:
        return f"<Entry {short(self.author)}:{self.seq} {self.id.hex()[:8]}>"

    @property
    def header(self) -> Header:
        return Header(
            self.author,
            self.seq,
            self.prev,
            self.hlc,
            self.kind,
            len(self.payload),
            hash_bytes(_PAYLOAD_TAG, self.payload),
        )

    @property
    def effective_hlc(self) -> int:
        """The timestamp that counts, known once the entry has connected to its log."""
        assert self.merge_key is not None, f"{self!r} has not connected to its log yet"
        return self.merge_key[0]

    @property
    def size_bytes(self) -> int:
        """What the entry takes on the wire, near enough for chunking and statistics."""
        return len(self.payload) + 80


def sign_entry(
    keypair: Keypair,
    *,
    network_id: bytes,
    seq: int,
    prev: EntryId,
    hlc: int,
    payload: bytes,
    kind: int = KIND_COMMANDS,
) -> Entry:
    """A new entry by ``keypair``. The caller sees to it that ``seq`` is used only once."""
    entry_id = _entry_id(network_id, keypair.peer_id, seq, prev, hlc, kind, payload)
    return Entry(
        author=keypair.peer_id,
        seq=seq,
        prev=prev,
        hlc=hlc,
        kind=kind,
        payload=payload,
        signature=keypair.sign(_SIGNATURE_PREFIX + entry_id),
        entry_id=entry_id,
    )


def restore_entry(
    network_id: bytes,
    author: PeerId,
    seq: int,
    prev: EntryId,
    hlc: object,
    kind: object,
    payload: object,
    signature: object,
) -> Entry:
    """An entry put together from its parts, as a store keeps them; its signature is not checked.

    Raises InvalidEntry where the parts cannot be an entry.
    """
    if not (
        isinstance(hlc, int)
        and 0 <= hlc <= MAX_SEQ
        and isinstance(kind, int)
        and isinstance(payload, bytes)
        and isinstance(signature, bytes)
        and len(signature) == 64
    ):
        raise InvalidEntry(f"entry {short(author)}:{seq} has parts of a wrong kind or size")
    _check_fields(author, seq, prev, kind, len(payload))
    return Entry(
        author=author,
        seq=seq,
        prev=prev,
        hlc=hlc,
        kind=kind,
        payload=payload,
        signature=signature,
        entry_id=_entry_id(network_id, author, seq, prev, hlc, kind, payload),
    )


def signature_is_good(author: PeerId, entry_id: EntryId, signature: bytes) -> bool:
    """Whether ``author`` signed the entry or header named ``entry_id``. Takes about 60 us."""
    return verify(author, _SIGNATURE_PREFIX + entry_id, signature)


@dataclass(frozen=True, slots=True)
class SignedHeader:
    """A header with its signature: enough to prove what an author said, without the payload."""

    header: Header
    signature: bytes

    def check(self, network_id: bytes) -> EntryId:
        """The id of the header. Raises BadSignature where the author did not sign it."""
        entry_id = self.header.id(network_id)
        if not signature_is_good(self.header.author, entry_id, self.signature):
            raise BadSignature(
                f"the signature on {short(self.header.author)}:{self.header.seq} "
                "is not its author's"
            )
        return entry_id


def signed_header(entry: Entry) -> SignedHeader:
    return SignedHeader(entry.header, entry.signature)


def encode_run(entries: Sequence[Entry]) -> bytes:
    """Consecutive entries of one author as bytes; author, first seq and prev stand once::

    [author, first seq, first prev, hlc, kind, payload, signature, hlc, kind, ...]
    """
    first = entries[0]
    fields: list[Encodable] = [first.author, first.seq, first.prev]
    for entry in entries:
        fields += (entry.hlc, entry.kind, entry.payload, entry.signature)
    return encode(fields)


def _decode_run(data: bytes, network_id: bytes) -> tuple[Entry, ...]:
    fields = decode(data, max_size=MAX_RUN_BYTES)
    if not isinstance(fields, list) or len(fields) < 7 or (len(fields) - 3) % 4:
        raise InvalidEntry("a run of entries is [author, seq, prev] and four fields an entry")
    if len(fields) > 3 + 4 * MAX_RUN_ENTRIES:
        raise InvalidEntry(f"a run holds at most {MAX_RUN_ENTRIES} entries")
    author, seq, prev = fields[:3]
    if not (
        isinstance(author, bytes)
        and isinstance(seq, int)
        and isinstance(prev, bytes)
        and len(author) == 32
        and len(prev) == 32
    ):
        raise InvalidEntry("a run starts with a 32-byte author, a seq and a 32-byte prev")
    entries = []
    for at in range(3, len(fields), 4):
        hlc, kind, payload, signature = fields[at : at + 4]
        if not (
            isinstance(hlc, int)
            and isinstance(kind, int)
            and isinstance(payload, bytes)
            and isinstance(signature, bytes)
        ):
            raise InvalidEntry("an entry in a run is hlc, kind, payload and signature")
        _check_fields(author, seq, prev, kind, len(payload))
        if len(signature) != 64:
            raise InvalidEntry(f"a signature is 64 bytes, not {len(signature)}")
        entry_id = _entry_id(network_id, PeerId(author), seq, EntryId(prev), hlc, kind, payload)
        entries.append(
            Entry(
                author=PeerId(author),
                seq=seq,
                prev=EntryId(prev),
                hlc=hlc,
                kind=kind,
                payload=payload,
                signature=signature,
                entry_id=entry_id,
            )
        )
        prev = entry_id
        seq += 1
    return tuple(entries)


class _RunDecoder:
    """``decode_run``: remembers the latest answers, up to a number of bytes, for the bytes come
    from remote peers."""

    def __init__(self) -> None:
        self.__wrapped__ = _decode_run
        self._known: dict[tuple[bytes, bytes], tuple[Entry, ...]] = {}
        self.remembered_bytes = 0

    def __call__(self, data: bytes, network_id: bytes) -> tuple[Entry, ...]:
        """The entries of a run, ids and chain worked out, signatures not checked.

        A pure function of its arguments; remembering the latest answers lets peers in one process
        decode a run once. Raises EncodingError or InvalidEntry.
        """
        key = (data, network_id)
        entries = self._known.pop(key, None)
        if entries is None:
            entries = _decode_run(data, network_id)
            self.remembered_bytes += len(data)
        self._known[key] = entries  # the latest asked for stands last
        while self.remembered_bytes > MAX_REMEMBERED_BYTES:
            oldest, _ = next(iter(self._known))
            self.remembered_bytes -= len(oldest)
            del self._known[next(iter(self._known))]
        return entries

    def cache_clear(self) -> None:
        self._known.clear()
        self.remembered_bytes = 0


decode_run = _RunDecoder()


def _entry_id(
    network_id: bytes, author: PeerId, seq: int, prev: EntryId, hlc: int, kind: int, payload: bytes
) -> EntryId:
    header = encode(
        [VERSION, author, seq, prev, hlc, kind, len(payload), hash_bytes(_PAYLOAD_TAG, payload)]
    )
    return EntryId(hash_bytes(_ID_TAG, network_id, header))


def _check_fields(author: bytes, seq: int, prev: bytes, kind: int, payload_size: int) -> None:
    who = f"{author.hex()[:8]}:{seq}"
    if seq > MAX_SEQ:
        raise InvalidEntry(f"entry {who} has a seq beyond {MAX_SEQ}")
    if kind != KIND_COMMANDS:
        raise InvalidEntry(f"entry {who} is of kind {kind}; these rules know only kind 0")
    if payload_size > MAX_PAYLOAD_BYTES:
        raise InvalidEntry(
            f"entry {who} has a payload of {payload_size} bytes; at most {MAX_PAYLOAD_BYTES}"
        )
    if (seq == 0) != (prev == NO_ENTRY):
        raise InvalidEntry(f"entry {who}: seq 0, and only seq 0, has 32 zero bytes as its prev")
