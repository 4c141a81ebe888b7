"""The Merkle root by its definition: recursion over a sorted list, nothing kept, nothing fast."""

from blake3 import blake3

EMPTY_ROOT = blake3(b"\x12gossipbook/1 empty").digest()


def naive_root(items: dict[bytes, bytes]) -> bytes:
    """The root over these keys and digests."""
    if not items:
        return EMPTY_ROOT
    return _root(sorted((key.hex(), digest) for key, digest in items.items()))


def naive_subtree(items: dict[bytes, bytes], prefix: bytes) -> dict[bytes, bytes]:
    """The items whose keys begin with these nibbles."""
    start = "".join(f"{nibble:x}" for nibble in prefix)
    return {key: digest for key, digest in items.items() if key.hex().startswith(start)}


def naive_differences(a: dict[bytes, bytes], b: dict[bytes, bytes]) -> list[bytes]:
    """The keys that are missing on one side or unequal, sorted."""
    return sorted(key for key in {**a, **b} if a.get(key) != b.get(key))


def _root(items: list[tuple[str, bytes]]) -> bytes:
    if len(items) == 1:
        [(key, digest)] = items
        return blake3(b"\x11gossipbook/1 leaf" + bytes.fromhex(key) + digest).digest()
    depth = 0
    while len({key[depth] for key, _ in items}) == 1:
        depth += 1
    bitmap, hashes = 0, b""
    for nibble, figure in enumerate("0123456789abcdef"):
        part = [(key, digest) for key, digest in items if key[depth] == figure]
        if part:
            bitmap += 2**nibble
            hashes += _root(part)
    start = b"\x11gossipbook/1 node" + bytes([depth]) + bytes([bitmap // 256, bitmap % 256])
    return blake3(start + hashes).digest()
