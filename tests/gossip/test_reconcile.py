"""Fetching what is missing within claims and limits, and finding where two logs part."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from gossipbook.gossip.config import GossipConfig
from gossipbook.gossip.reconcile import BUSY_US, Bisection, Fetcher
from gossipbook.identity import PeerId
from gossipbook.log.entry import EntryId
from gossipbook.randomness import SeededRandom

AUTHORS = [PeerId(bytes([n]) * 32) for n in range(4)]
A, B = AUTHORS[:2]
CONFIG = GossipConfig(chunk_entries=10, fetches_per_author=3, fetches_per_link=2)


class World:
    """Our logs' lengths and what links claim; carries out a plan as links that answer do."""

    def __init__(self) -> None:
        self.fetcher = Fetcher(CONFIG, SeededRandom(1))
        self.lengths = dict.fromkeys(AUTHORS, 0)
        self.claimed: dict[PeerId, dict[int, int]] = {author: {} for author in AUTHORS}
        self.asked: list[tuple[int, PeerId, int, int]] = []  # not answered yet

    def plan(self, now_us: int) -> list[tuple[int, PeerId, int, int]]:
        asks = self.fetcher.plan(
            now_us,
            have=lambda author: self.lengths[author],
            claims=lambda author: list(self.claimed[author].items()),
        )
        new = [(link, *one) for link, ranges in asks.items() for one in ranges]
        self.asked += new
        return new


def test_nothing_is_asked_before_its_time() -> None:
    world = World()
    world.claimed[A] = {1: 5}
    world.fetcher.want(A, 100)
    assert world.plan(99) == [] and world.fetcher.wake_us == 100
    assert world.plan(100) == [(1, A, 0, 5)]


def test_a_long_gap_is_split_over_several_links() -> None:
    world = World()
    world.claimed[A] = {1: 100, 2: 100, 3: 100}
    world.fetcher.want(A, 0)
    asked = sorted(world.plan(0), key=lambda one: one[2])
    assert [one[2:] for one in asked] == [(0, 10), (10, 10), (20, 10)]
    assert len({one[0] for one in asked}) == 3  # one chunk a link in one plan


def test_nothing_is_asked_twice_while_it_is_on_order() -> None:
    world = World()
    world.claimed[A] = {1: 5, 2: 5}
    world.fetcher.want(A, 0)
    assert len(world.plan(0)) == 1
    world.fetcher.want(A, 1)
    assert world.plan(1) == []


def test_a_request_that_is_not_answered_expires_and_goes_to_somebody_else() -> None:
    world = World()
    world.claimed[A] = {1: 5}
    world.fetcher.want(A, 0)
    world.plan(0)
    late_us = CONFIG.fetch_timeout_us
    assert list(world.fetcher.expired(late_us - 1)) == []
    assert world.fetcher.wake_us is not None and world.fetcher.wake_us <= late_us
    assert list(world.fetcher.expired(late_us)) == [(A, 1)]
    world.claimed[A] = {2: 5}
    assert world.plan(late_us) == [(2, A, 0, 5)]


def test_a_link_that_goes_frees_what_was_asked_of_it() -> None:
    world = World()
    world.claimed[A] = {1: 5}
    world.fetcher.want(A, 0)
    world.plan(0)
    world.fetcher.link_gone(1, 7)
    world.claimed[A] = {2: 5}
    assert world.plan(7) == [(2, A, 0, 5)]


def test_what_arrived_is_no_longer_on_order() -> None:
    world = World()
    world.claimed[A] = {1: 30}
    world.fetcher.want(A, 0)
    assert world.plan(0) == [(1, A, 0, 10)]
    world.fetcher.arrived(A, 2, 0, 10, 0)  # from another link: link 1's answer is still to come
    world.fetcher.arrived(A, 1, 0, 10, 0)
    world.lengths[A] = 10
    world.fetcher.want(A, 1)
    assert world.plan(1) == [(1, A, 10, 10)]


def test_an_author_whose_links_are_all_busy_is_asked_for_later() -> None:
    world = World()
    for author in AUTHORS:
        world.claimed[author] = {1: 100}
        world.fetcher.want(author, 0)
    assert sum(count for *_, count in world.plan(0)) == 10  # one chunk at once
    assert world.fetcher.wake_us == BUSY_US
    assert sum(count for *_, count in world.plan(BUSY_US)) == 10  # and one more
    assert world.plan(2 * BUSY_US) == []


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_asks_stay_within_claims_and_limits_and_in_the_end_everything_came(
    data: st.DataObject,
) -> None:
    world = World()
    fetcher = world.fetcher
    now_us = 0
    for _ in range(data.draw(st.integers(1, 25))):
        now_us += data.draw(st.sampled_from([0, 1_000, 30_000, CONFIG.fetch_timeout_us]))
        what = data.draw(st.integers(0, 4))
        author = data.draw(st.sampled_from(AUTHORS))
        link = data.draw(st.integers(1, 3))
        if what <= 1:
            world.claimed[author][link] = data.draw(st.integers(0, 60))
            fetcher.want(author, now_us)
        elif what == 2 and world.asked:
            asked = world.asked.pop(data.draw(st.integers(0, len(world.asked) - 1)))
            answer(world, asked, now_us)
        elif what == 3:
            fetcher.link_gone(link, now_us)
            world.asked = [one for one in world.asked if one[0] != link]
        for author, link in fetcher.expired(now_us):
            world.asked = [one for one in world.asked if one[:2] != (link, author)]
        check_plan(world, world.plan(now_us))
    for _ in range(200):  # from now on every link answers
        now_us += BUSY_US
        for asked in world.asked:
            answer(world, asked, now_us)
        world.asked = []
        list(fetcher.expired(now_us))
        for author in AUTHORS:
            if max(world.claimed[author].values(), default=0) > world.lengths[author]:
                fetcher.want(author, now_us)
        check_plan(world, world.plan(now_us))
    for author in AUTHORS:
        assert world.lengths[author] >= max(world.claimed[author].values(), default=0)


def answer(world: World, asked: tuple[int, PeerId, int, int], now_us: int) -> None:
    link, author, first, count = asked
    world.fetcher.arrived(author, link, first, first + count, 0)
    if first <= world.lengths[author]:
        world.lengths[author] = max(world.lengths[author], first + count)
    world.fetcher.want(author, now_us)


def check_plan(world: World, asked: list[tuple[int, PeerId, int, int]]) -> None:
    for link, author, first, count in asked:
        assert 1 <= count <= CONFIG.chunk_entries
        assert first >= world.lengths[author]
        assert first + count <= world.claimed[author][link]
    for link in (1, 2, 3):
        on_order = sum(count for at, _, _, count in world.asked if at == link)
        assert on_order <= CONFIG.chunk_entries * CONFIG.fetches_per_link
    for author in AUTHORS:
        ranges = sorted((first, count) for _, by, first, count in world.asked if by == author)
        assert len(ranges) <= CONFIG.fetches_per_author
        assert all(a + n <= b for (a, n), (b, _) in pairwise(ranges))


def entry_id(branch: str, seq: int) -> EntryId:
    return EntryId(f"{branch}{seq}".encode().ljust(32))


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 10**7), st.data())
def test_bisection_finds_the_least_differing_seq_in_log_16_rounds(
    length: int, data: st.DataObject
) -> None:
    least = data.draw(st.integers(0, length - 1))
    search = Bisection(A, 1, high=length - 1, deadline_us=0)
    rounds = 0
    while seqs := search.next_seqs():
        assert len(seqs) <= 16 and all(search.low <= seq < search.high for seq in seqs)
        rounds += 1
        theirs = tuple((seq, entry_id("b" if seq >= least else "a", seq)) for seq in seqs)
        assert search.narrow(theirs, lambda seq: entry_id("a", seq))
    assert search.high == least
    assert rounds <= rounds_allowed(length)


def rounds_allowed(length: int) -> int:
    """ceil(log16(length)), counted."""
    rounds = 0
    while 16**rounds < length:
        rounds += 1
    return rounds


def test_an_answer_that_leaves_out_what_was_asked_ends_the_search() -> None:
    search = Bisection(A, 1, high=100, deadline_us=0)
    seqs = search.next_seqs()
    answers = tuple((seq, entry_id("a", seq)) for seq in seqs)
    assert not search.narrow(answers[1:], lambda seq: entry_id("a", seq))
    assert not search.narrow((), lambda seq: entry_id("a", seq))


def test_logs_that_differ_from_the_first_entry_on_need_no_question_at_seq_0() -> None:
    assert Bisection(A, 1, high=0, deadline_us=0).next_seqs() == ()
