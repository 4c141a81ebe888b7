"""One hash over many keys, cheap to keep up to date, and able to say where two of them differ.

A `MerkleTree` maps keys of one fixed size to 32-byte digests. Its root depends only on the set of
(key, digest) pairs, never on the order of the changes that led there. Leaf, branch and emptiness
are hashed under different tags, so none can pass for another. It neither knows what keys and
digests mean nor checks them beyond their sizes.

The tree is a trie over the key's nibbles (half bytes, high half first), 16 ways, and compressed:
a branch stands only where keys really part, so each branch has at least two children. `depth` is
the number of nibbles that all keys below share.

    keys 12.. 1a7. 1a9.          branch depth 1          hash(node, 1, {2, a}, h(leaf), h(branch))
                                 2: leaf 12..
                                 a: branch depth 3       hash(node, 3, {7, 9}, h(leaf), h(leaf))
                                    7: leaf 1a7.
                                    9: leaf 1a9.

Trees are persistent: `snapshot` costs the same for any size. Each tree has an ownership token; a
branch that carries it is edited in place, any other is shared with a snapshot and copied first.
Hashes are made when somebody asks, along the changed paths only. A hash depends on nothing but
the node below it, so a shared node may be given its hash by whichever tree asks first.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias, final

from blake3 import blake3

from gossipbook.errors import UsageError

__all__ = [
    "DIGEST_SIZE_BYTES",
    "EMPTY_ROOT",
    "MAX_KEY_SIZE_BYTES",
    "Child",
    "MerkleTree",
    "Nibbles",
    "differences",
    "hash_bytes",
    "to_nibbles",
]

DIGEST_SIZE_BYTES: Final = 32
MAX_KEY_SIZE_BYTES: Final = 128  # the deepest branch, nibble 255, still fits one byte

Nibbles: TypeAlias = bytes
"""A key prefix with one nibble (0..15) per byte."""


def hash_bytes(tag: bytes, *parts: bytes) -> bytes:
    """The 32-byte BLAKE3 hash of the tag's length as one byte, the tag, and the parts joined.

    The parts carry no lengths: give parts of known size, or encode them first. A tag has at most
    255 bytes.
    """
    return blake3(b"".join((_SINGLE_BYTES[len(tag)], tag, *parts))).digest()


class Child(NamedTuple):
    """One of the disjoint parts into which the keys below a prefix fall."""

    prefix: Nibbles
    root: bytes
    size: int


class MerkleTree:
    """A mapping from keys of `key_size_bytes` to 32-byte digests, with a root hash."""

    __slots__ = ("_owner", "_root", "key_size_bytes")

    def __init__(self, key_size_bytes: int) -> None:
        if not 1 <= key_size_bytes <= MAX_KEY_SIZE_BYTES:
            raise UsageError(
                f"key_size_bytes is {key_size_bytes}; give 1 to {MAX_KEY_SIZE_BYTES} bytes"
            )
        self.key_size_bytes: Final = key_size_bytes
        self._root: _Node | None = None
        self._owner = object()

    def root(self) -> bytes:
        """The hash over all keys and digests; `EMPTY_ROOT` when there are none."""
        node = self._root
        if node is None:
            return EMPTY_ROOT
        return node.hash or _hash(node)

    def set(self, key: bytes, digest: bytes) -> None:
        """Put the key, or give it another digest."""
        if len(key) != self.key_size_bytes or len(digest) != DIGEST_SIZE_BYTES:
            raise self._size_error(key, digest)
        node = self._root
        if node is None:
            self._root = _Leaf(key, digest)
            return
        path: list[_Branch] = []
        while type(node) is _Branch:
            path.append(node)
            depth = node.depth
            byte = key[depth >> 1]
            bit = 1 << (byte & 15 if depth & 1 else byte >> 4)
            bitmap = node.bitmap
            if not bitmap & bit:
                break
            node = node.children[(bitmap & (bit - 1)).bit_count()]
        if type(node) is _Leaf and node.key == key:
            if node.digest != digest:
                self._replace_leaf(path, _Leaf(key, digest))
            return
        self._insert_leaf(path, node, _Leaf(key, digest))

    def delete(self, key: bytes) -> None:
        """Take the key out; nothing happens where it is not there."""
        if len(key) != self.key_size_bytes:
            return
        path: list[_Branch] = []
        node = self._root
        while type(node) is _Branch:
            path.append(node)
            node = node.child(_nibble(key, node.depth))
        if node is None or node.key != key:
            return
        if not path:
            self._root = None
            return
        parent = path[-1]
        if len(parent.children) == 2:  # the branch goes, and what is left takes its place
            path.pop()
            first, second = parent.children
            self._link(self._own(path, -1), key, second if first is node else first)
            return
        owned = self._own(path, -1)
        assert owned is not None
        owned.remove(_nibble(key, owned.depth))

    def get(self, key: bytes) -> bytes | None:
        """The key's digest, or None."""
        leaf = self._find(key)
        return None if leaf is None else leaf.digest

    def __contains__(self, key: bytes) -> bool:
        return self._find(key) is not None

    def __len__(self) -> int:
        return 0 if self._root is None else self._root.size

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every (key, digest) in key order. To change the tree meanwhile, walk a snapshot."""
        return ((leaf.key, leaf.digest) for leaf in _leaves(self._root))

    def snapshot(self) -> "MerkleTree":
        """A tree with the same content, independent from now on; takes constant time."""
        copy = MerkleTree(self.key_size_bytes)
        copy._root = self._root
        self._owner = object()
        return copy

    # Walking by prefix. Two peers that hold different trees find the keys that differ like this:
    # compare the root under a prefix; where it is unequal, one sends `children`, and the other
    # compares each child's root with its own `subtree_root` at that child's prefix. Keys that it
    # holds below the prefix and below none of the children are missing over there. A prefix may
    # come from a remote peer: one that no key can have is answered like one that no key has.

    def subtree_root(self, prefix: Nibbles) -> bytes:
        """The hash over the keys with this prefix; `EMPTY_ROOT` when there are none.

        It is the root of a tree that holds these keys only.
        """
        node = self._below(prefix)
        if node is None:
            return EMPTY_ROOT
        return node.hash or _hash(node)

    def subtree_size(self, prefix: Nibbles) -> int:
        """How many keys have this prefix."""
        node = self._below(prefix)
        return 0 if node is None else node.size

    def subtree_items(self, prefix: Nibbles) -> Iterator[tuple[bytes, bytes]]:
        """Every (key, digest) with this prefix, in key order."""
        return ((leaf.key, leaf.digest) for leaf in _leaves(self._below(prefix)))

    def children(self, prefix: Nibbles) -> list[Child]:
        """The parts into which the keys with this prefix fall at their next parting, in key order.

        Two to 16 parts, whose prefixes are one nibble longer than all that their keys share; one
        part, with the whole key as its prefix, for a single key; none where there is no key or
        the prefix is the whole key.
        """
        node = self._below(prefix)
        if node is None:
            return []
        if type(node) is _Branch:
            shared = to_nibbles(node.key)[: node.depth]
            return [
                Child(shared + _SINGLE_BYTES[nibble], child.hash or _hash(child), child.size)
                for nibble, child in node.numbered_children()
            ]
        if len(prefix) == 2 * self.key_size_bytes:
            return []
        return [Child(to_nibbles(node.key), node.hash or _hash(node), 1)]

    def _find(self, key: bytes) -> "_Leaf | None":
        if len(key) != self.key_size_bytes:
            return None
        node = self._root
        while type(node) is _Branch:
            node = node.child(_nibble(key, node.depth))
        if type(node) is _Leaf and node.key == key:
            return node
        return None

    def _below(self, prefix: Nibbles) -> "_Node | None":
        node = self._root
        while type(node) is _Branch and node.depth < len(prefix):
            node = node.child(prefix[node.depth])
        if node is None or not to_nibbles(node.key).startswith(prefix):
            return None
        return node

    def _replace_leaf(self, path: "list[_Branch]", leaf: "_Leaf") -> None:
        self._link(self._own(path, 0), leaf.key, leaf)

    def _insert_leaf(self, path: "list[_Branch]", reached: "_Node", leaf: "_Leaf") -> None:
        """Add a new key, given the branches on its way and the node where the way ended.

        All keys below `reached` part from the new one at the same nibble: where `reached` is a
        branch, at the latest where it lacks the wanted child. (A branch's own `key` may go on to
        agree with the new one, for it may have been deleted since.)
        """
        key = leaf.key
        parting = _parting(key, reached.key)
        if type(reached) is _Branch:
            parting = min(parting, reached.depth)
        below = reached
        while path and path[-1].depth > parting:
            below = path.pop()
        if path and path[-1].depth == parting:
            parent = self._own(path, 1)
            assert parent is not None
            parent.insert(_nibble(key, parting), leaf)
            return
        new, old = _nibble(key, parting), _nibble(below.key, parting)
        children: list[_Node] = [leaf, below] if new < old else [below, leaf]
        branch = _Branch(key, parting, 1 << new | 1 << old, children, below.size + 1, self._owner)
        self._link(self._own(path, 1), key, branch)

    def _own(self, path: "list[_Branch]", growth: int) -> "_Branch | None":
        """Make every branch of a path from the root ours to edit, and say that it has changed.

        `path` is updated in place; the result is its last branch.
        """
        owner = self._owner
        parent: _Branch | None = None
        for position, branch in enumerate(path):
            if branch.owner is not owner:
                copy = branch.copy(owner)
                self._link(parent, branch.key, copy)
                path[position] = branch = copy
            branch.hash = None
            branch.size += growth
            parent = branch
        return parent

    def _link(self, parent: "_Branch | None", key: bytes, node: "_Node") -> None:
        """Put the node in the place where the parent has its child towards `key`."""
        if parent is None:
            self._root = node
        else:
            bits = (1 << _nibble(key, parent.depth)) - 1
            parent.children[(parent.bitmap & bits).bit_count()] = node

    def _size_error(self, key: bytes, digest: bytes) -> UsageError:
        return UsageError(
            f"a key of {len(key)} and a digest of {len(digest)} bytes; this tree takes keys of "
            f"{self.key_size_bytes} and digests of {DIGEST_SIZE_BYTES} bytes"
        )


def differences(a: MerkleTree, b: MerkleTree) -> Iterator[bytes]:
    """The keys, in order, that only one of the trees has or that have unequal digests.

    Walks only where subtrees are unequal, so the cost follows the number of differences.
    """
    if a.key_size_bytes != b.key_size_bytes:
        raise UsageError(
            f"keys of {a.key_size_bytes} bytes cannot be compared with keys of "
            f"{b.key_size_bytes} bytes; compare trees of one key size"
        )
    pending: list[tuple[_Node | None, _Node | None]] = [(a._root, b._root)]
    while pending:
        one, other = pending.pop()
        if one is other:
            continue
        if one is None or other is None:
            for leaf in _leaves(one or other):
                yield leaf.key
        elif (one.hash or _hash(one)) != (other.hash or _hash(other)):
            if type(one) is _Leaf and type(other) is _Leaf and one.key == other.key:
                yield one.key
            else:
                pending.extend(reversed(_aligned(one, other)))


def to_nibbles(key: bytes) -> Nibbles:
    """The key with one nibble per byte, high half first."""
    return key.hex().encode().translate(_HEX_TO_NIBBLE)


_SINGLE_BYTES: Final = tuple(bytes((value,)) for value in range(256))
_HEX_TO_NIBBLE: Final = bytes.maketrans(b"0123456789abcdef", bytes(range(16)))
_LEAF_TAG: Final = b"gossipbook/1 leaf"
_NODE_TAG: Final = b"gossipbook/1 node"
_LEAF_START: Final = _SINGLE_BYTES[len(_LEAF_TAG)] + _LEAF_TAG
_NODE_STARTS: Final = tuple(
    _SINGLE_BYTES[len(_NODE_TAG)] + _NODE_TAG + depth for depth in _SINGLE_BYTES
)
EMPTY_ROOT: Final = hash_bytes(b"gossipbook/1 empty")
"""The root of a tree without keys."""


@final
class _Leaf:
    """One key. Never edited, so that snapshots may share it (the hash is filled in when asked)."""

    __slots__ = ("digest", "hash", "key")

    size: Final = 1

    def __init__(self, key: bytes, digest: bytes) -> None:
        self.key = key
        self.digest = digest
        self.hash: bytes | None = None


@final
class _Branch:
    """The place where keys part at nibble `depth`; `key` is any key that leads here:
    only its first `depth` nibbles mean anything, the rest may have been deleted.

    `children` holds only the occupied places, in nibble order; `bitmap` says which they are.
    """

    __slots__ = ("bitmap", "children", "depth", "hash", "key", "owner", "size")

    def __init__(
        self,
        key: bytes,
        depth: int,
        bitmap: int,
        children: "list[_Node]",
        size: int,
        owner: object,
    ) -> None:
        self.key = key
        self.depth = depth
        self.bitmap = bitmap
        self.children = children
        self.size = size
        self.owner = owner
        self.hash: bytes | None = None

    def copy(self, owner: object) -> "_Branch":
        return _Branch(self.key, self.depth, self.bitmap, self.children.copy(), self.size, owner)

    def child(self, nibble: int) -> "_Node | None":
        bit = 1 << nibble
        if not self.bitmap & bit:
            return None
        return self.children[(self.bitmap & (bit - 1)).bit_count()]

    def numbered_children(self) -> "Iterator[tuple[int, _Node]]":
        bitmap = self.bitmap
        return zip(
            (nibble for nibble in range(16) if bitmap >> nibble & 1), self.children, strict=True
        )

    def insert(self, nibble: int, node: "_Node") -> None:
        bit = 1 << nibble
        self.children.insert((self.bitmap & (bit - 1)).bit_count(), node)
        self.bitmap |= bit

    def remove(self, nibble: int) -> None:
        bit = 1 << nibble
        del self.children[(self.bitmap & (bit - 1)).bit_count()]
        self.bitmap ^= bit


_Node: TypeAlias = _Leaf | _Branch


def _nibble(key: bytes, depth: int) -> int:
    byte = key[depth >> 1]
    return byte & 15 if depth & 1 else byte >> 4


def _parting(key: bytes, other: bytes) -> int:
    """The index of the first nibble in which two keys of one size differ."""
    unequal_bits = int.from_bytes(key, "big") ^ int.from_bytes(other, "big")
    return (8 * len(key) - unequal_bits.bit_length()) >> 2


def _hash(node: "_Node") -> bytes:
    """Give the node and all unhashed nodes below it their hashes."""
    if type(node) is _Branch:
        joined = b"".join([child.hash or _hash(child) for child in node.children])
        start = _NODE_STARTS[node.depth] + node.bitmap.to_bytes(2, "big")
        result = blake3(start + joined).digest()
    else:
        assert type(node) is _Leaf
        result = blake3(_LEAF_START + node.key + node.digest).digest()
    node.hash = result
    return result


def _leaves(node: "_Node | None") -> "Iterator[_Leaf]":
    pending = [] if node is None else [node]
    while pending:
        node = pending.pop()
        if type(node) is _Branch:
            pending.extend(reversed(node.children))
        else:
            assert type(node) is _Leaf
            yield node


def _aligned(one: "_Node", other: "_Node") -> "list[tuple[_Node | None, _Node | None]]":
    """Cut two unequal subtrees into pairs, in key order, that cover the same keys."""
    parting = len(one.key) * 2 if one.key == other.key else _parting(one.key, other.key)
    one_depth = one.depth if type(one) is _Branch else 2 * len(one.key)
    other_depth = other.depth if type(other) is _Branch else 2 * len(other.key)
    if parting < one_depth and parting < other_depth:
        return [(one, None), (None, other)] if one.key < other.key else [(None, other), (one, None)]
    depth = min(one_depth, other_depth)
    ones, others = _spread(one, depth), _spread(other, depth)
    return [
        (ones.get(nibble), others.get(nibble))
        for nibble in range(16)
        if nibble in ones or nibble in others
    ]


def _spread(node: "_Node", depth: int) -> "dict[int, _Node]":
    """What hangs at nibble `depth`: a branch's children there, or the deeper node itself."""
    if type(node) is _Branch and node.depth == depth:
        return dict(node.numbered_children())
    return {_nibble(node.key, depth): node}
