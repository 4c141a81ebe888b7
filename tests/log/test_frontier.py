"""Frontiers and cuts: equal roots mean equal sets, at every second, however late entries came."""

from struct import pack

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from twins.merkle import naive_root

from gossipbook.errors import ProtocolViolation, RemoteError
from gossipbook.identity import PeerId
from gossipbook.log.entry import NO_ENTRY, EntryId
from gossipbook.log.frontier import HEAD_BYTES, Cuts, Frontier, Head, pack_heads, unpack_heads
from gossipbook.merkle import EMPTY_ROOT

AUTHORS = [PeerId(bytes([n]) * 32) for n in range(1, 7)]
NO_FORK = (1 << 64) - 1


def head_id(author: PeerId, length: int) -> EntryId:
    return EntryId(blake3(author + bytes([length])).digest()) if length else NO_ENTRY


def head(author: PeerId, length: int, k: int | None = None) -> Head:
    return Head(author, length, head_id(author, length), k)


def naive_frontier_root(heads: list[Head]) -> bytes:
    leaves = {}
    for one in heads:
        if one.length or one.k is not None:
            packed = pack(
                ">32sQ32sQ",
                one.author,
                one.length,
                one.head_id,
                NO_FORK if one.k is None else one.k,
            )
            leaves[bytes(one.author)] = blake3(b"\x11gossipbook/1 head" + packed).digest()
    return naive_root(leaves)


def test_a_head_takes_eighty_bytes() -> None:
    packed = head(AUTHORS[0], 5).pack()
    assert HEAD_BYTES == len(packed) == 80
    assert packed == AUTHORS[0] + (5).to_bytes(8) + head_id(AUTHORS[0], 5) + b"\xff" * 8
    assert head(AUTHORS[0], 5, 9).pack()[-8:] == (9).to_bytes(8)


def test_heads_survive_packing() -> None:
    heads = [
        head(AUTHORS[0], 0, 0),
        head(AUTHORS[1], 3),
        head(AUTHORS[2], 3, 3),
        head(AUTHORS[3], 1),
    ]
    assert list(unpack_heads(pack_heads(heads))) == heads
    assert list(unpack_heads(b"")) == []


@pytest.mark.parametrize(
    "record",
    [
        pack(">32sQ32sQ", b"a" * 32, 0, b"h" * 32, NO_FORK),  # empty, with a head
        pack(">32sQ32sQ", b"a" * 32, 3, NO_ENTRY, NO_FORK),  # not empty, without one
        pack(">32sQ32sQ", b"a" * 32, 1 << 63, b"h" * 32, NO_FORK),
        pack(">32sQ32sQ", b"a" * 32, 1, b"h" * 32, 1 << 63),
        pack(">32sQ32sQ", b"a" * 32, 4, b"h" * 32, 3),  # counts entries beyond its fork
        b"x",
        b"x" * 79,
        b"x" * 81,
    ],
)
def test_a_head_that_cannot_be_is_a_violation(record: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        list(unpack_heads(record))


@given(st.binary(max_size=200))
def test_random_heads_end_in_a_remote_error_or_survive(data: bytes) -> None:
    try:
        heads = list(unpack_heads(data))
    except RemoteError:
        return
    assert pack_heads(heads) == data


@given(st.lists(st.tuples(st.sampled_from(AUTHORS), st.integers(0, 9), st.booleans())))
def test_frontier_root_depends_on_the_heads_only(changes: list[tuple[PeerId, int, bool]]) -> None:
    frontier = Frontier()
    latest: dict[PeerId, Head] = {}
    for author, length, forked in changes:
        latest[author] = head(author, length, length if forked else None)
        frontier.set(latest[author])
    heads = sorted(one for one in latest.values() if not one.is_empty)
    assert frontier.heads() == heads and len(frontier) == len(heads)
    assert frontier.root() == naive_frontier_root(heads)


def test_an_author_without_entries_and_forks_leaves_no_leaf() -> None:
    frontier = Frontier()
    frontier.set(head(AUTHORS[0], 2))
    frontier.set(head(AUTHORS[0], 0))
    assert frontier.root() == EMPTY_ROOT and len(frontier) == 0
    assert frontier.get(AUTHORS[0]) == head(AUTHORS[0], 0)


class Written:
    """Which second each author wrote each of its entries in; what Cuts asks about."""

    def __init__(self) -> None:
        self.seconds: dict[PeerId, list[int]] = {author: [] for author in AUTHORS}
        self.k: dict[PeerId, int] = {}

    def head_below(self, author: PeerId, second: int) -> Head:
        length = sum(one < second for one in self.seconds[author])
        return head(author, length, self.k.get(author))

    def root(self, second: int) -> bytes:
        return naive_frontier_root([self.head_below(author, second) for author in AUTHORS])


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_cuts_equal_a_recomputation_under_late_entries_and_forks(data: st.DataObject) -> None:
    written = Written()
    kept = data.draw(st.integers(1, 6))
    cuts = Cuts(written.head_below, kept=kept)
    newest = None
    now = 20
    for _ in range(data.draw(st.integers(1, 40))):
        what = data.draw(st.integers(0, 9))
        author = data.draw(st.sampled_from(AUTHORS))
        if what <= 4:  # an entry, perhaps far behind the cuts
            last = max(written.seconds[author], default=0)
            second = data.draw(st.integers(min(last, now), now + 1))
            if author not in written.k:
                written.seconds[author].append(max(second, last))
                cuts.touch(author, max(second, last))
        elif what == 5:  # a fork that voids the end of the log
            k = data.draw(st.integers(0, len(written.seconds[author])))
            if k <= written.k.get(author, k):
                written.k[author] = k
                del written.seconds[author][k:]
                cuts.touch(author, -1)
        elif what <= 7:
            now += data.draw(st.sampled_from([0, 1, 1, 2, 9]))
            cuts.advance(now - 2)
            newest = max(newest or 0, now - 2)
        else:
            cut = data.draw(st.integers(0, now))
            root = cuts.root(cut)
            assert root is None or root == written.root(cut)
    if newest is not None:
        cuts.advance(newest)
        assert cuts.seconds[-1] == newest and len(cuts.seconds) <= kept
        assert cuts.seconds == list(range(cuts.seconds[0], newest + 1))
        for cut in cuts.seconds:
            assert cuts.root(cut) == written.root(cut)


def test_cuts_never_go_back() -> None:
    cuts = Cuts(Written().head_below, kept=4)
    cuts.advance(10)
    cuts.advance(7)
    assert cuts.seconds == [10] and cuts.root(7) is None


def test_a_jump_over_years_makes_only_the_kept_cuts() -> None:
    cuts = Cuts(Written().head_below, kept=4)
    cuts.advance(10)
    cuts.advance(2_000_000_000)
    assert cuts.seconds == [1_999_999_997, 1_999_999_998, 1_999_999_999, 2_000_000_000]
    assert cuts.root(10) is None
