"""One author's chain: the same entries give the same log, however they arrive."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twins.authors import (
    GENESIS,
    START_MS,
    TestAuthor,
    at,
    buy,
    fresh,
    naive_effective,
    naive_k,
    naive_log,
)

from gossipbook.errors import InvalidEntry
from gossipbook.log import author_log
from gossipbook.log.author_log import AuthorLog
from gossipbook.log.entry import NO_ENTRY, Entry, signed_header
from gossipbook.log.fork import prove_fork


def new_log(author: TestAuthor) -> AuthorLog:
    return AuthorLog(author.author, network_id=GENESIS.network_id, start_ms=START_MS)


def chain(count: int) -> TestAuthor:
    author = TestAuthor(1)
    for index in range(count):
        author.write(buy(10 + index), hlc=at(10 * index))
    return author


def make_universe() -> list[Entry]:
    """A log of eight entries, with branches after 2, 4 and 5 entries, and one on a branch."""
    trunk = chain(8)
    entries = list(trunk.entries)
    for length, more in ((2, 4), (4, 3), (5, 2)):
        branch = trunk.branch(length)
        for step in range(more):
            branch.write(buy(100 * length + step), hlc=at(7 * step))
        entries += branch.entries[length:]
        if length == 4:
            twig = branch.branch(5)
            twig.write(buy(999), hlc=at(3))
            entries += twig.entries[5:]
    return entries


UNIVERSE = make_universe()


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(UNIVERSE), max_size=24))
def test_same_entries_in_any_order_give_the_same_log_and_fork(arrivals: list[Entry]) -> None:
    log = new_log(TestAuthor(1))
    for entry in arrivals:
        log.offer(fresh(entry))
    assert log.k == naive_k(arrivals)
    assert [entry.id for entry in log.entries] == naive_log(arrivals)
    assert [entry.effective_hlc for entry in log.entries] == naive_effective(log.entries)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(UNIVERSE), max_size=24))
def test_added_and_voided_tell_exactly_what_changed(arrivals: list[Entry]) -> None:
    log = new_log(TestAuthor(1))
    counting: list[bytes] = []
    for entry in arrivals:
        offered = log.offer(fresh(entry))
        for void in offered.voided:
            counting.remove(void.id)
        counting += [one.id for one in offered.added]
        assert counting == [one.id for one in log.entries]
        assert (offered.proof is not None) == (offered.proof is log.proof is not None)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(UNIVERSE), max_size=16), st.data())
def test_proofs_and_entries_in_any_order_give_the_same_fork(
    arrivals: list[Entry], data: st.DataObject
) -> None:
    pairs = data.draw(st.lists(st.tuples(*[st.sampled_from(UNIVERSE)] * 2), max_size=4))
    proofs = [
        proof
        for one, two in pairs
        if (proof := prove_fork(GENESIS.network_id, signed_header(one), signed_header(two)))
    ]
    headers = {
        header.header.id(GENESIS.network_id) for p in proofs for header in (p.first, p.second)
    }
    known = arrivals + [entry for entry in UNIVERSE if entry.id in headers]
    log = new_log(TestAuthor(1))
    for what in data.draw(st.permutations([*arrivals, *proofs])):
        if isinstance(what, Entry):
            log.offer(fresh(what))
        else:
            log.convict(what)
    assert log.k == naive_k(known)


def test_entries_before_their_ancestors_wait_and_then_connect_together() -> None:
    author = chain(4)
    log = new_log(author)
    for seq in (3, 1, 2):
        offered = log.offer(author.entries[seq])
        assert offered.gap and not offered.added
    assert log.length == 0 and log.waiting_count == 3 and log.head_id == NO_ENTRY
    offered = log.offer(author.entries[0])
    assert offered.added == author.entries and log.waiting_count == 0
    assert log.head_id == author.entries[3].id


def test_an_entry_that_is_held_or_waits_already_is_a_duplicate() -> None:
    author = chain(4)
    log = new_log(author)
    log.offer(author.entries[0])
    assert log.offer(author.entries[0]).duplicate
    log.offer(author.entries[3])
    assert log.offer(author.entries[3]).duplicate
    assert log.length == 1 and log.waiting_count == 1


def test_effective_timestamps_rise_even_where_the_author_s_clock_went_back() -> None:
    author = TestAuthor(1)
    for milliseconds in (50, 20, 20, 60):
        author.write(hlc=at(milliseconds))
    log = new_log(author)
    for entry in author.entries:
        log.offer(entry)
    assert [one.effective_hlc for one in log.entries] == [at(50), at(50, 1), at(50, 2), at(60)]


def test_length_below_counts_entries_of_earlier_effective_time() -> None:
    author = TestAuthor(1)
    for milliseconds in (50, 20, 80):
        author.write(hlc=at(milliseconds))
    log = new_log(author)
    for entry in author.entries:
        log.offer(entry)
    assert log.length_below(at(50)) == 0
    assert log.length_below(at(50, 1)) == 1
    assert log.length_below(at(80)) == 2
    assert log.length_below(at(81)) == 3


def test_an_entry_dated_before_the_network_s_start_is_invalid() -> None:
    author = TestAuthor(1)
    entry = author.write(hlc=at(0) - 1)
    log = new_log(author)
    with pytest.raises(InvalidEntry, match="before the network's start"):
        log.offer(entry)
    assert log.length == 0


def test_an_entry_of_the_farthest_future_is_admitted_and_so_is_the_next() -> None:
    author = TestAuthor(1)
    entries = [author.write(hlc=(1 << 63) - 1), author.write(hlc=at(0))]
    log = new_log(author)
    assert [log.offer(entry).added for entry in entries] == [[entry] for entry in entries]
    assert log.entries[1].effective_hlc == 1 << 63


def test_the_waiting_room_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(author_log, "MAX_WAITING", 3)
    author = chain(8)
    log = new_log(author)
    for entry in author.entries[2:]:
        assert log.offer(entry).gap
    assert log.waiting_count == 3
    for entry in author.entries:
        log.offer(entry)
    assert log.length == 8


def test_a_fork_voids_what_comes_after_it_for_ever() -> None:
    author = chain(5)
    log = new_log(author)
    for entry in author.entries:
        log.offer(entry)
    other = author.branch(3).write(buy(77), hlc=at(1))
    offered = log.offer(other)
    assert offered.proof is not None and offered.proof.seq == 3
    assert offered.voided == author.entries[3:]
    assert log.length == 3 and log.k == 3
    assert log.offer(author.entries[3]).duplicate and log.offer(other).duplicate
    assert log.length == 3


def test_a_proof_of_a_later_fork_is_no_news() -> None:
    author = chain(6)
    early = author.branch(2).write(buy(5), hlc=at(1))
    late = author.branch(4).write(buy(5), hlc=at(1))
    log = new_log(author)
    for entry in (*author.entries, early):
        log.offer(entry)
    proof = prove_fork(GENESIS.network_id, signed_header(author.entries[4]), signed_header(late))
    assert proof is not None and proof.seq == 4
    assert log.convict(proof).duplicate
    assert log.k == 2


def test_an_orphan_at_the_fork_proves_an_earlier_one_whenever_its_ancestor_comes() -> None:
    """Entry 5 of a second branch contradicts entry 4: also when a fork at 5 was proven before."""
    author = chain(6)
    branch = author.branch(3)
    for step in range(3):
        branch.write(buy(50 + step), hlc=at(step))
    log = new_log(author)
    for entry in (author.entries[5], branch.entries[5], *author.entries[:5]):
        log.offer(entry)
    assert log.k == 4 == naive_k([*author.entries, branch.entries[5]])
    assert log.length == 4
