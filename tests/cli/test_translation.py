"""One file line is one command position, whatever it takes of ours."""

import pytest

from gossipbook.book.payload import BUY, GTC, SELL, Cancellation, Placement, Replacement
from gossipbook.cli.cases import Amend, Cancel, Case, CaseFileError, Place
from gossipbook.cli.translation import NEVER_ISSUED, CaseReplay

AUTHORS = [bytes([1]) * 32, bytes([2]) * 32]


def place(number, side, price, quantity):
    return Place(1, number, side, price, quantity, GTC)


def amend(number, *, price=None, quantity=None, delta=None, requeue=False):
    return Amend(1, number, price, quantity, delta, requeue)


def replay_of(*commands):
    """The replay after these commands, and the entry of the last one."""
    replay = CaseReplay(Case("f", 1, "n", "both", ()), AUTHORS)
    entries = [replay.feed(command) for command in commands]
    return replay, entries[-1]


def test_an_id_writes_with_the_author_of_its_remainder():
    _, entry = replay_of(place(4, BUY, 10, 1), place(7, BUY, 10, 1), place(9, BUY, 10, 5))
    assert entry == (1, 1, (Placement(0, BUY, 10, 5, GTC),))


def test_a_resting_id_is_rejected_without_an_entry_and_may_return_once_it_is_gone():
    replay, entry = replay_of(place(4, BUY, 10, 1), place(4, BUY, 11, 1))
    assert entry is None
    assert replay.outcome() == ([], [1], [[10, [[4, 1]]]], [])
    replay.feed(Cancel(1, 4))
    assert replay.feed(place(4, BUY, 12, 3)).seq == 2
    assert replay.outcome() == ([], [1], [[12, [[4, 3]]]], [])


def test_an_unknown_id_becomes_an_order_beyond_the_log_and_is_rejected():
    replay, entry = replay_of(place(4, BUY, 10, 1), Cancel(1, 5))
    assert entry == (1, 0, (Cancellation(0, NEVER_ISSUED, 0),))
    replay.feed(amend(6, delta=0))
    assert replay.outcome().reject_seqs == [1, 2]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"quantity": 3}, [(0, 3, 0)]),
        ({"quantity": 3, "price": 9}, [(9, 3, 0)]),
        ({"quantity": 0}, [(0, 0, 5)]),
        ({"delta": -2}, [(0, 0, 2)]),
        ({"delta": -7}, [(0, 0, 5)]),
        ({"delta": 4}, [(0, 9, 0)]),
        ({"delta": 4, "price": 9}, [(9, 9, 0)]),
        ({"delta": 0, "price": 9}, [(9, 0, 0)]),
        ({"delta": 0}, [(0, 5, 0)]),
        ({"price": 9}, [(9, 0, 0)]),
        ({"quantity": 3, "requeue": True}, [(0, 6, 0), (0, 3, 0)]),
        ({"quantity": 5, "price": 10, "requeue": True}, [(0, 6, 0), (0, 5, 0)]),
        ({"requeue": True}, [(0, 6, 0), (0, 5, 0)]),
        ({"quantity": 6, "requeue": True}, [(0, 6, 0)]),
        ({"quantity": 5, "price": 9, "requeue": True}, [(9, 5, 0)]),
        ({"quantity": 0, "requeue": True}, [(0, 0, 5)]),
    ],
)
def test_an_amendment_says_what_the_file_says(change, expected):
    # Five lots at 10 remain of the order, which was the first entry (seq 0) of its author.
    _, entry = replay_of(place(4, BUY, 10, 5), amend(4, **change))
    assert entry.instructions == tuple(Replacement(0, 0, 0, *fields) for fields in expected)


def test_requeue_loses_the_place_and_is_one_position():
    replay, _ = replay_of(
        place(2, BUY, 10, 5),
        place(4, BUY, 10, 5),
        amend(2, quantity=4, requeue=True),
        Cancel(1, 99),
    )
    assert replay.outcome() == ([], [3], [[10, [[4, 5], [2, 4]]]], [])


def test_checks_see_the_last_line_only():
    replay, _ = replay_of(
        place(1, SELL, 10, 2), place(2, SELL, 11, 2), place(3, BUY, 11, 3), place(5, BUY, 9, 1)
    )
    assert replay.new_trades() == []
    assert replay.depth() == [[[9, 1, 1]], [[11, 1, 1]]]
    replay.feed(place(6, BUY, 11, 1))
    assert replay.new_trades() == [[6, 2, 11, 1]]
    assert replay.outcome().trades == [[3, 1, 10, 2], [3, 2, 11, 1], [6, 2, 11, 1]]


def test_an_amendment_beyond_the_largest_integer_is_the_files_mistake():
    with pytest.raises(CaseFileError, match="f:1: more lots"):
        replay_of(place(4, BUY, 10, 5), amend(4, delta=(1 << 63) - 1))
