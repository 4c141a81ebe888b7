"""Which entries a peer holds, in 80 bytes an author, and one hash over all of them.

The frontier maps each author to the length and head id of its log and to k, the seq at which the
author is proven to have forked, if it is. Because logs are hash chains, equal frontiers mean
equal sets of entries; because the frontier is a Merkle tree, 32 bytes compare two of them.

Peers under load never hold equal frontiers at one moment, so they compare at *cuts*: at each
whole second T of the effective timestamps, the frontier of the entries below T. ``Cuts`` keeps
the latest of these as versions of one tree that share all they have in common::

    second      ...  57    58    59    60   (now)
    versions         T57   T58              each is the one before it plus a second's authors
    buckets                      59    60   authors who wrote in a second that no version covers
"""

from collections.abc import Callable, Iterable, Iterator
from struct import Struct
from struct import error as StructError
from typing import NamedTuple

from gossipbook.errors import ProtocolViolation
from gossipbook.identity import PeerId
from gossipbook.log.entry import NO_ENTRY, EntryId
from gossipbook.merkle import MerkleTree, hash_bytes

_HEAD_TAG = b"gossipbook/1 head"
_NO_FORK = (1 << 64) - 1
_RECORD = Struct(">32sQ32sQ")
HEAD_BYTES = _RECORD.size


class Head(NamedTuple):
    """How much of an author's log there is: a leaf of the frontier."""

    author: PeerId
    length: int
    head_id: EntryId
    k: int | None = None

    def pack(self) -> bytes:
        """80 bytes, big endian: author, length, head id, k (all ones where there is none)."""
        return _RECORD.pack(
            self.author, self.length, self.head_id, _NO_FORK if self.k is None else self.k
        )

    @property
    def is_empty(self) -> bool:
        return self.length == 0 and self.k is None


def pack_heads(heads: Iterable[Head]) -> bytes:
    return b"".join([head.pack() for head in heads])


def unpack_heads(data: bytes) -> Iterator[Head]:
    """The heads in ``data``. Raises ProtocolViolation on a length or a field that cannot be."""
    try:
        records = _RECORD.iter_unpack(data)
    except StructError:
        raise ProtocolViolation(
            f"{len(data)} bytes of heads; each takes {HEAD_BYTES} bytes"
        ) from None
    for author, length, head_id, k in records:
        fork = None if k == _NO_FORK else k
        if length >= 1 << 63 or (length == 0) != (head_id == NO_ENTRY):
            raise ProtocolViolation(f"no log has length {length} and head {head_id.hex()[:8]}")
        if fork is not None and (fork >= 1 << 63 or length > fork):
            raise ProtocolViolation(f"a log forked at {fork} does not count {length} entries")
        yield Head(PeerId(author), length, EntryId(head_id), fork)


class Frontier:
    """All heads of one peer, and the Merkle tree over them."""

    __slots__ = ("_heads", "_stale", "_tree")

    def __init__(self) -> None:
        self._heads: dict[PeerId, Head] = {}
        self._tree = MerkleTree(32)
        self._stale: dict[PeerId, None] = {}

    def __len__(self) -> int:
        return len(self._heads)

    def set(self, head: Head) -> None:
        if head.is_empty:
            self._heads.pop(head.author, None)
        else:
            self._heads[head.author] = head
        self._stale[head.author] = None

    def get(self, author: PeerId) -> Head:
        return self._heads.get(author) or Head(author, 0, NO_ENTRY)

    def heads(self) -> list[Head]:
        """All heads, sorted by author."""
        return sorted(self._heads.values())

    def tree(self) -> MerkleTree:
        if self._stale:
            for author in self._stale:
                _set_leaf(self._tree, self.get(author))
            self._stale.clear()
        return self._tree

    def root(self) -> bytes:
        return self.tree().root()


class Cuts:
    """The frontiers at the latest whole seconds, kept up to date as entries come late.

    ``head_below(author, T)`` answers with the head of the author's entries below second T.
    """

    __slots__ = ("_buckets", "_head_below", "_kept", "_stale", "_versions")

    def __init__(self, head_below: Callable[[PeerId, int], Head], *, kept: int) -> None:
        self._head_below = head_below
        self._kept = kept
        self._versions: dict[int, MerkleTree] = {}  # by second, ascending
        self._stale: dict[int, dict[PeerId, None]] = {}  # leaves to write again, by version
        self._buckets: dict[int, dict[PeerId, None]] = {}

    @property
    def seconds(self) -> list[int]:
        """The seconds T for which a version is kept, ascending."""
        return list(self._versions)

    def touch(self, author: PeerId, second: int) -> None:
        """Note that the author's entries in ``second`` changed."""
        if not self._versions or second >= next(reversed(self._versions)):
            self._buckets.setdefault(second, {})[author] = None
            return
        for cut, stale in self._stale.items():
            if cut > second:
                stale[author] = None

    def advance(self, cut: int) -> None:
        """Make the versions up to second ``cut``; older ones than the latest ``kept`` go."""
        newest = next(reversed(self._versions), None)
        if newest is not None and cut <= newest:
            return
        if newest is None:
            self._versions[cut] = MerkleTree(32)
            self._stale[cut] = {}
            self._take_buckets(below=cut, into=self._stale[cut])
            return
        self._refresh(newest)
        tree = self._versions[newest]
        for second in range(max(newest + 1, cut - self._kept + 1), cut + 1):
            stale: dict[PeerId, None] = {}
            self._take_buckets(below=second, into=stale)
            if stale:
                tree = tree.snapshot()
                for author in stale:
                    _set_leaf(tree, self._head_below(author, second))
            self._versions[second] = tree
            self._stale[second] = {}
        for old in list(self._versions)[: -self._kept]:
            del self._versions[old]
            del self._stale[old]

    def root(self, cut: int) -> bytes | None:
        """The root of the frontier at second ``cut``, or None where no version is kept."""
        if cut not in self._versions:
            return None
        self._refresh(cut)
        return self._versions[cut].root()

    def _refresh(self, cut: int) -> None:
        stale = self._stale[cut]
        if stale:
            tree = self._versions[cut] = self._versions[cut].snapshot()
            for author in stale:
                _set_leaf(tree, self._head_below(author, cut))
            stale.clear()

    def _take_buckets(self, *, below: int, into: dict[PeerId, None]) -> None:
        for second in [second for second in self._buckets if second < below]:
            into.update(self._buckets.pop(second))


def _set_leaf(tree: MerkleTree, head: Head) -> None:
    if head.is_empty:
        tree.delete(head.author)
    else:
        tree.set(head.author, hash_bytes(_HEAD_TAG, head.pack()))
