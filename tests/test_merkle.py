from random import Random

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from twins.merkle import naive_differences, naive_root, naive_subtree

from gossipbook.errors import UsageError
from gossipbook.merkle import EMPTY_ROOT, MerkleTree, differences, hash_bytes, to_nibbles

# Few distinct bytes, so that keys share prefixes, part at either half of a byte, and meet again.
crowded_keys = st.lists(
    st.sampled_from([0x00, 0x01, 0x10, 0x11, 0xFF]), min_size=3, max_size=3
).map(bytes)
digests = st.sampled_from([bytes([number]) * 32 for number in range(4)])
contents = st.dictionaries(crowded_keys, digests, max_size=40)
few_keys = st.tuples(
    st.sampled_from([0x00, 0x10, 0xFF]), st.just(0), st.sampled_from([0x00, 0x01, 0x10])
).map(bytes)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("set"), few_keys | crowded_keys, digests),
        st.tuples(st.just("delete"), few_keys, st.none()),
        st.tuples(
            st.sampled_from(["root", "snapshot", "continue with the snapshot"]),
            st.none(),
            st.none(),
        ),
    ),
    max_size=60,
)


def tree_of(items: dict[bytes, bytes], key_size_bytes: int = 3) -> MerkleTree:
    tree = MerkleTree(key_size_bytes)
    for key, digest in items.items():
        tree.set(key, digest)
    return tree


def assert_same(tree: MerkleTree, items: dict[bytes, bytes]) -> None:
    assert tree.root() == naive_root(items)
    assert list(tree.items()) == sorted(items.items())
    assert len(tree) == len(items)


def random_items(count: int, seed: int, key_size_bytes: int = 32) -> dict[bytes, bytes]:
    random = Random(seed)
    return {random.randbytes(key_size_bytes): random.randbytes(32) for _ in range(count)}


def test_hash_is_blake3_over_the_tag_with_its_length_and_the_parts() -> None:
    assert hash_bytes(b"tag", b"one", b"", b"two") == blake3(b"\x03tagonetwo").digest()
    assert hash_bytes(b"") == blake3(b"\x00").digest()
    assert hash_bytes(b"t" * 255) == blake3(b"\xff" + b"t" * 255).digest()
    assert hash_bytes(b"ta", b"g") != hash_bytes(b"tag")


def test_roots_worked_out_by_hand() -> None:
    def leaf(key: bytes, digest: bytes) -> bytes:
        return blake3(b"\x11gossipbook/1 leaf" + key + digest).digest()

    one, two, three = b"\x12\x00", b"\x1a\x70", b"\x1a\x90"
    digest = b"d" * 32
    tree = MerkleTree(2)
    assert tree.root() == EMPTY_ROOT == blake3(b"\x12gossipbook/1 empty").digest()
    tree.set(two, digest)
    assert tree.root() == leaf(two, digest)
    tree.set(three, digest)
    deep = blake3(
        b"\x11gossipbook/1 node" + b"\x02" + b"\x02\x80" + leaf(two, digest) + leaf(three, digest)
    ).digest()
    assert tree.root() == deep
    tree.set(one, digest)
    top = blake3(
        b"\x11gossipbook/1 node" + b"\x01" + b"\x04\x04" + leaf(one, digest) + deep
    ).digest()
    assert tree.root() == top


def test_root_of_a_frozen_tree_stays() -> None:
    tree = MerkleTree(1)
    for value in range(0, 256, 5):
        tree.set(bytes([value]), bytes([value]) * 32)
    assert tree.root().hex() == FROZEN_ROOT


FROZEN_ROOT = "15415d68cdebc49a769e2a054c47f832f385ac7bafe77610f2fa93db229e2be1"


@given(operations)
@settings(max_examples=300, deadline=None)
def test_any_sequence_of_changes_equals_the_definition_and_snapshots_never_change(steps) -> None:
    tree, items = MerkleTree(3), {}
    kept = []
    for step, key, digest in steps:
        if step == "set":
            tree.set(key, digest)
            items[key] = digest
        elif step == "delete":
            tree.delete(key)
            items.pop(key, None)
        elif step == "root":
            assert tree.root() == naive_root(items)
        elif step == "snapshot":
            kept.append((tree.snapshot(), dict(items)))
        else:
            kept.append((tree, dict(items)))
            tree = tree.snapshot()
    for snapshot, content in [*kept, (tree, items)]:
        assert_same(snapshot, content)


@given(contents, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_root_depends_on_the_content_only(items, random) -> None:
    expected = tree_of(items).root()
    order = list(items)
    random.shuffle(order)
    tree = MerkleTree(3)
    for number in range(50):
        tree.set(bytes([number, 0x11, 0x11]), bytes(32))
    tree.root()
    for key in order:
        tree.set(key, items[key])
    for number in range(50):
        key = bytes([number, 0x11, 0x11])
        if key in items:
            tree.set(key, items[key])
        else:
            tree.delete(key)
    assert tree.root() == expected


@given(contents, crowded_keys, crowded_keys)
@settings(deadline=None)
def test_lookups_find_what_was_set_and_nothing_else(items, key, other) -> None:
    tree = tree_of(items)
    for asked in (key, other, b"\x77\x77\x77"):
        assert tree.get(asked) == items.get(asked)
        assert (asked in tree) == (asked in items)
    assert tree.get(b"") is None
    assert b"\x00" not in tree


def test_deleting_an_absent_key_leaves_shared_nodes_shared() -> None:
    tree = tree_of(random_items(100, seed=1), 32)
    root = tree.root()
    snapshot = tree.snapshot()
    tree.delete(bytes(32))
    tree.delete(b"too short")
    assert tree.root() == root
    assert tree._root is snapshot._root


def test_setting_the_same_digest_again_changes_nothing() -> None:
    items = random_items(100, seed=1)
    tree = tree_of(items, 32)
    tree.root()
    snapshot = tree.snapshot()
    for key, digest in items.items():
        tree.set(key, digest)
    assert tree._root is snapshot._root


def test_deleting_everything_gives_the_empty_root() -> None:
    items = random_items(300, seed=2)
    tree = tree_of(items, 32)
    for key in items:
        tree.delete(key)
    assert_same(tree, {})


def test_a_key_comes_back_beside_the_deleted_key_that_made_its_branch() -> None:
    tree, items = MerkleTree(3), {}
    for key in (b"\x00\x00\x00", b"\x10\x00\x01", b"\xff\x00\x00"):
        tree.set(key, bytes(32))
        items[key] = bytes(32)
    tree.delete(b"\x10\x00\x01")
    del items[b"\x10\x00\x01"]
    tree.set(b"\x10\x00\x00", bytes(32))
    items[b"\x10\x00\x00"] = bytes(32)
    assert_same(tree, items)


def test_long_random_histories_equal_the_definition() -> None:
    for seed in range(40):
        random = Random(seed)
        keys = [bytes(random.choices([0x00, 0x01, 0x10, 0xFF], k=3)) for _ in range(20)]
        tree, items = MerkleTree(3), {}
        for _ in range(150):
            key = random.choice(keys)
            if random.random() < 0.5:
                items[key] = random.randbytes(32)
                tree.set(key, items[key])
            else:
                items.pop(key, None)
                tree.delete(key)
            kept, content = tree.snapshot(), dict(items)
            if random.random() < 0.3:
                tree, kept = kept, tree
            assert list(tree.items()) == sorted(items.items())
            assert tree.root() == naive_root(content)
        assert_same(kept, content)


def test_keys_that_share_31_bytes() -> None:
    start = bytes(range(31))
    items = {start + bytes([last]): bytes([last]) * 32 for last in range(256)}
    tree = tree_of(items, 32)
    assert_same(tree, items)
    other = tree.snapshot()
    other.delete(start + b"\x80")
    assert list(differences(tree, other)) == [start + b"\x80"]
    assert tree.children(b"")[3].prefix == to_nibbles(start) + b"\x03"


def test_keys_that_part_at_every_nibble() -> None:
    longest = bytes(128)
    items = {longest: bytes(32)}
    for depth in range(256):
        number = 1 << (4 * (255 - depth))
        items[number.to_bytes(128, "big")] = bytes([depth]) * 32
    tree = tree_of(items, 128)
    assert_same(tree, items)
    tree.delete(longest)
    del items[longest]
    assert_same(tree, items)


def test_ten_thousand_keys_equal_the_definition() -> None:
    items = random_items(10_000, seed=3, key_size_bytes=8)
    assert_same(tree_of(items, 8), items)


@given(contents, contents)
@settings(max_examples=200, deadline=None)
def test_differences_equal_a_comparison_of_dictionaries(items, others) -> None:
    a, b = tree_of(items), tree_of(others)
    assert list(differences(a, b)) == naive_differences(items, others)
    assert list(differences(b, a)) == naive_differences(items, others)
    assert list(differences(a, a.snapshot())) == []


@given(contents, st.lists(st.sampled_from([0, 1, 15]), max_size=6).map(bytes))
@settings(max_examples=200, deadline=None)
def test_a_subtree_is_the_tree_of_the_keys_with_the_prefix(items, prefix) -> None:
    tree = tree_of(items)
    part = naive_subtree(items, prefix)
    assert tree.subtree_root(prefix) == naive_root(part)
    assert tree.subtree_size(prefix) == len(part)
    assert list(tree.subtree_items(prefix)) == sorted(part.items())


@given(contents, st.lists(st.sampled_from([0, 1, 15]), max_size=6).map(bytes))
@settings(max_examples=200, deadline=None)
def test_children_split_a_subtree_without_gap_or_overlap(items, prefix) -> None:
    tree = tree_of(items)
    children = tree.children(prefix)
    part = naive_subtree(items, prefix)
    if len(prefix) == 6 or not part:
        assert children == []
        return
    covered = {}
    for child in children:
        assert child.prefix.startswith(prefix)
        assert len(child.prefix) > len(prefix)
        below = naive_subtree(items, child.prefix)
        assert (child.root, child.size) == (naive_root(below), len(below))
        assert not covered.keys() & below.keys()
        covered |= below
    assert covered == part
    assert [child.prefix for child in children] == sorted(child.prefix for child in children)
    assert len(children) >= 2 or children[0].prefix == to_nibbles(next(iter(part)))


def test_a_prefix_that_no_key_can_have_is_answered_like_an_absent_one() -> None:
    tree = tree_of(random_items(100, seed=4), 32)
    for prefix in (b"\x10", b"\xff", bytes(65), b"\x00" * 200):
        assert tree.subtree_root(prefix) == EMPTY_ROOT
        assert tree.subtree_size(prefix) == 0
        assert tree.children(prefix) == []
        assert list(tree.subtree_items(prefix)) == []


def walk_like_a_remote_peer(here: MerkleTree, there: MerkleTree) -> tuple[list[bytes], int]:
    """The differing keys, and how many prefixes were looked at; `there` only answers questions."""
    found, visited, pending = [], 0, [b""]

    def collect_uncovered(prefix: bytes, answered: list[bytes]) -> None:
        nonlocal visited
        visited += 1
        for child in here.children(prefix):
            if any(child.prefix.startswith(other) for other in answered):
                continue
            if any(other.startswith(child.prefix) for other in answered):
                collect_uncovered(child.prefix, answered)
            else:
                found.extend(key for key, _ in here.subtree_items(child.prefix))

    while pending:
        prefix = pending.pop()
        visited += 1
        if here.subtree_root(prefix) == there.subtree_root(prefix):
            continue
        if len(prefix) == 2 * here.key_size_bytes:
            found.append(bytes.fromhex("".join(f"{nibble:x}" for nibble in prefix)))
            continue
        answered = [child.prefix for child in there.children(prefix)]
        pending += answered
        collect_uncovered(prefix, answered)
    return sorted(found), visited


@given(contents, contents)
@settings(max_examples=200, deadline=None)
def test_a_remote_walk_finds_exactly_the_keys_that_differ(items, others) -> None:
    found, _ = walk_like_a_remote_peer(tree_of(items), tree_of(others))
    assert found == naive_differences(items, others)


@pytest.mark.parametrize("changes", [1, 3, 10])
def test_a_remote_walk_costs_in_proportion_to_the_differences(changes: int) -> None:
    items = random_items(4096, seed=5)
    here = tree_of(items, 32)
    there = here.snapshot()
    random = Random(changes)
    for key in random.sample(sorted(items), changes):
        there.delete(key)
        there.set(random.randbytes(32), bytes(32))
        there.set(random.choice(sorted(items)), bytes(32))
    found, visited = walk_like_a_remote_peer(here, there)
    assert len(found) == len(list(differences(here, there))) == 3 * changes
    assert visited <= 3 * changes * 6 * 18  # six levels, 16 children and two looks at each


def test_a_root_after_one_change_hashes_one_path(monkeypatch: pytest.MonkeyPatch) -> None:
    import gossipbook.merkle as module

    tree = tree_of(random_items(4096, seed=6), 32)
    tree.root()
    calls = []

    def counted(data: bytes) -> object:
        calls.append(data)
        return blake3(data)

    monkeypatch.setattr(module, "blake3", counted)
    tree.root()
    assert calls == []
    tree.set(bytes(32), bytes(32))
    tree.root()
    assert len(calls) <= 6


def test_wrong_sizes_are_refused_with_the_right_ones() -> None:
    tree = MerkleTree(4)
    with pytest.raises(UsageError, match="keys of 4 and digests of 32 bytes"):
        tree.set(b"abc", bytes(32))
    with pytest.raises(UsageError, match="a digest of 31"):
        tree.set(b"abcd", bytes(31))
    with pytest.raises(UsageError, match="1 to 128"):
        MerkleTree(129)
    with pytest.raises(UsageError, match="one key size"):
        list(differences(tree, MerkleTree(5)))
    assert len(tree) == 0
