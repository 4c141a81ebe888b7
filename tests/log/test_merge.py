"""The merge order: whatever comes in, and whenever, it reads like one sorted list."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twins.authors import TestAuthor, at, buy, naive_effective

from gossipbook.identity import PeerId
from gossipbook.log.entry import Entry
from gossipbook.log.merge import MergeOrder


def make_entries() -> list[Entry]:
    """Three authors, interleaved in time, with ties; one to three commands each."""
    entries = []
    for number in (1, 2, 3):
        author = TestAuthor(number)
        for index in range(8):
            author.write(
                *[buy(1)] * (1 + (index + number) % 3), hlc=at(10 * (index // 2) + number // 3)
            )
        for entry, effective in zip(author.entries, naive_effective(author.entries), strict=True):
            entry.merge_key = (effective, entry.author, entry.seq)
        entries += author.entries
    return entries


ENTRIES = make_entries()


SIZES = {id(entry): 1 + (index % 8 + index // 8 + 1) % 3 for index, entry in enumerate(ENTRIES)}
"""Commands in each entry."""


def key(entry: Entry) -> tuple[int, PeerId, int]:
    assert entry.merge_key is not None
    return entry.merge_key


class Reader:
    """Settles a MergeOrder as the replica does; ``applied`` is a list of (entry, command)."""

    def __init__(self) -> None:
        self.order = MergeOrder()
        self.applied: list[tuple[Entry, int]] = []
        self.rewinds: list[int] = []

    def settle(self, *, go_back: int = 0) -> None:
        """Undo to the mark, or to so many commands before it, and apply what follows."""
        mark = self.order.mark
        if mark is None:
            return
        position = self.order.position_of(mark, end=len(self.applied))
        reached = max(0, position - go_back)
        self.rewinds.append(len(self.applied) - position)
        del self.applied[reached:]
        entries, done = self.order.cut(reached)
        for entry in entries:
            self.order.append(entry, key(entry), len(self.applied) - done)
            self.applied += [(entry, index) for index in range(done, SIZES[id(entry)])]
            done = 0


def expected(entries: list[Entry]) -> list[tuple[Entry, int]]:
    return [(one, index) for one in sorted(entries, key=key) for index in range(SIZES[id(one)])]


@settings(max_examples=200, deadline=None)
@given(st.permutations(ENTRIES), st.data())
def test_any_arrival_and_any_batching_reads_like_the_sorted_list(
    arrivals: list[Entry], data: st.DataObject
) -> None:
    reader = Reader()
    held: list[Entry] = []
    for entry in arrivals:
        reader.order.add(entry)
        held.append(entry)
        what = data.draw(st.integers(0, 5))
        if what == 0:
            void = held.pop(data.draw(st.integers(0, len(held) - 1)))
            reader.order.remove(void)
        if what <= 2:
            reader.settle(go_back=data.draw(st.integers(0, 7)))
            assert reader.applied == expected(held)
            assert reader.order.applied() == sorted(held, key=key) == list(reader.order)
    reader.settle()
    assert reader.applied == expected(held)
    assert len(reader.order) == len(held)


def test_entries_in_order_undo_nothing() -> None:
    reader = Reader()
    for entry in sorted(ENTRIES, key=key):
        reader.order.add(entry)
        reader.settle()
    assert set(reader.rewinds) == {0}


def test_a_late_entry_undoes_to_its_place_and_no_further() -> None:
    ordered = sorted(ENTRIES, key=key)
    late = ordered.pop(10)
    reader = Reader()
    for entry in ordered:
        reader.order.add(entry)
    reader.settle()
    reader.order.add(late)
    assert reader.order.mark == key(late)
    reader.settle()
    assert reader.rewinds[-1] == sum(SIZES[id(entry)] for entry in ordered[10:])
    assert reader.applied == expected(ENTRIES)


def test_many_late_entries_undo_once_to_the_earliest() -> None:
    ordered = sorted(ENTRIES, key=key)
    late = [ordered.pop(15), ordered.pop(7), ordered.pop(11)]
    reader = Reader()
    for entry in ordered:
        reader.order.add(entry)
    reader.settle()
    for entry in late:
        reader.order.add(entry)
    assert reader.order.waiting_count == 3
    assert reader.order.mark == min(map(key, late))
    reader.settle()
    assert len(reader.rewinds) == 2 and reader.order.mark is None


def test_removing_what_waits_leaves_no_trace() -> None:
    first, second = sorted(ENTRIES, key=key)[:2]
    reader = Reader()
    reader.order.add(first)
    reader.order.add(second)
    reader.order.remove(second)
    reader.settle()
    assert reader.order.applied() == [first]


def test_start_of_names_the_first_command_of_an_applied_entry_only() -> None:
    ordered = sorted(ENTRIES, key=key)
    missing = ordered.pop(3)
    reader = Reader()
    for entry in ordered:
        reader.order.add(entry)
    reader.settle()
    assert reader.order.start_of(key(ordered[0])) == 0
    assert reader.order.start_of(key(ordered[3])) == sum(SIZES[id(one)] for one in ordered[:3])
    assert reader.order.start_of(key(missing)) is None
    assert reader.order.last_key == key(ordered[-1])


def test_applied_below_a_time_leaves_out_what_is_dated_at_it() -> None:
    reader = Reader()
    for entry in ENTRIES:
        reader.order.add(entry)
    reader.settle()
    limit = at(20)
    below = [entry for entry in sorted(ENTRIES, key=key) if key(entry)[0] < limit]
    assert reader.order.applied(below_hlc=limit) == below
    assert 0 < len(below) < len(ENTRIES)
