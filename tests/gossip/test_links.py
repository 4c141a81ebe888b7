"""What links cost and show: token buckets, clock offsets, knowledge."""

from hypothesis import given
from hypothesis import strategies as st

from gossipbook.gossip.config import GossipConfig
from gossipbook.gossip.links import OFFSET_SAMPLES, ClockOffset, Link, TokenBucket
from gossipbook.identity import PeerId


def test_a_bucket_grants_one_second_s_worth_at_once_and_then_the_rate() -> None:
    bucket = TokenBucket(10, now_us=0)
    assert [bucket.take(1, 0) for _ in range(12)] == [True] * 10 + [False] * 2
    assert not bucket.take(1, 99_999)
    assert bucket.take(1, 100_000)
    assert not bucket.take(1, 100_000)
    assert [bucket.take(1, 60_000_000) for _ in range(12)] == [True] * 10 + [False] * 2


def test_a_large_amount_is_granted_once_and_owed() -> None:
    bucket = TokenBucket(10, now_us=0)
    assert bucket.take(35, 0)  # 25 owed: two and a half seconds
    assert not bucket.take(1, 2_500_000)
    assert bucket.take(1, 2_600_000)


@given(
    st.integers(1, 1_000),
    st.lists(st.tuples(st.integers(0, 300_000), st.integers(1, 50)), max_size=100),
)
def test_a_bucket_never_grants_more_than_rate_burst_and_one_amount(
    rate: int, requests: list[tuple[int, int]]
) -> None:
    bucket = TokenBucket(rate, now_us=0)
    now_us = granted = 0
    for wait_us, amount in requests:
        now_us += wait_us
        granted += amount if bucket.take(amount, now_us) else 0
    assert granted <= rate + rate * now_us // 1_000_000 + 50


def test_asking_often_does_not_lower_the_rate() -> None:
    bucket = TokenBucket(200, now_us=0)
    granted = sum(bucket.take(1, now_us) for now_us in range(0, 10_000_000, 1_000))
    assert 2_150 <= granted <= 2_201


def test_the_fastest_of_the_latest_pings_tells_the_offset() -> None:
    clock = ClockOffset()
    assert clock.offset_us is None and clock.round_trip_us == 0
    clock.add(round_trip_us=90_000, offset_us=500)
    clock.add(round_trip_us=20_000, offset_us=300)
    clock.add(round_trip_us=50_000, offset_us=400)
    assert clock.offset_us == 300 and clock.round_trip_us == 20_000
    for _ in range(OFFSET_SAMPLES):
        clock.add(round_trip_us=70_000, offset_us=600)
    assert clock.offset_us == 600 and clock.round_trip_us == 70_000


def test_a_clock_that_jumped_makes_the_past_worthless() -> None:
    clock = ClockOffset()
    for _ in range(5):
        clock.add(round_trip_us=10_000, offset_us=0)
    clock.add(round_trip_us=80_000, offset_us=30_000_000)
    assert clock.offset_us == 30_000_000


def test_a_link_knows_nothing_before_it_is_told() -> None:
    author = PeerId(b"a" * 32)
    link = Link.open(1, author, None, dialled=True, config=GossipConfig(), now_us=5)
    assert link.known_length(author) == 0 and link.clock.offset_us is None
    link.known[author] = 7
    assert link.known_length(author) == 7
