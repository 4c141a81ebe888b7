import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossipbook.errors import UsageError
from gossipbook.link_model import Link, LinkModel
from gossipbook.randomness import SeededRandom

NEVER = 0xFFFF


class ScriptedBits:
    """Stands in for the seeded generator: each message's four 16-bit draws are given."""

    def __init__(self, *draws: dict[str, int]) -> None:
        self._draws = list(draws)

    def bits(self, count: int) -> int:
        assert count == 64
        draw = self._draws.pop(0)
        return (
            draw.get("loss", NEVER)
            | draw.get("duplication", NEVER) << 16
            | draw.get("reordering", NEVER) << 32
            | draw.get("latency", 0) << 48
        )


def scripted(link: Link, *draws: dict[str, int]) -> LinkModel:
    return LinkModel(link, ScriptedBits(*draws))  # type: ignore[arg-type]


def test_latency_covers_its_range_with_both_ends() -> None:
    link = Link(latency=(0.010, 0.030))
    draws = [{"latency": 0}, {"latency": 0xFFFF // 2}, {"latency": 0xFFFF}]
    model = scripted(link, *draws)
    assert model.arrivals(100, 1_000_000) == (1_010_000,)
    assert model.arrivals(100, 1_000_000) == (1_019_999,)
    assert model.arrivals(100, 1_000_000) == (1_030_000,)


def test_messages_arrive_in_the_order_sent() -> None:
    model = scripted(Link(latency=(0.0, 0.1)), {"latency": 0xFFFF}, {"latency": 0}, {"latency": 0})
    assert model.arrivals(1, 0) == (100_000,)
    assert model.arrivals(1, 10) == (100_000,)
    assert model.arrivals(1, 100_001) == (100_001,)


def test_a_reordered_message_is_late_and_holds_nobody_back() -> None:
    link = Link(latency=(0.0, 0.1), reordering=0.5)
    model = scripted(link, {"reordering": 32_767}, {}, {"reordering": 0}, {"reordering": 32_768})
    assert model.arrivals(1, 0) == (400_000,)
    assert model.arrivals(1, 1) == (1,)
    assert model.arrivals(1, 2) == (14,)  # 400,000 / 32,768 more
    assert model.arrivals(1, 3) == (3,)


def test_a_reordered_message_on_a_link_of_fixed_latency_is_late_too() -> None:
    model = scripted(Link(latency=(0.05, 0.05), reordering=1), {"reordering": 0xFFFF})
    assert model.arrivals(1, 0) == (250_000,)


def test_a_lost_message_never_arrives_and_holds_nobody_back() -> None:
    model = scripted(Link(latency=(0.0, 0.1), loss=0.25), {"loss": 16_383, "latency": 0xFFFF}, {})
    assert model.arrivals(1, 0) == ()
    assert model.arrivals(1, 0) == (0,)
    assert scripted(Link(loss=0.25), {"loss": 16_384}).arrivals(1, 0) == (5_000,)


def test_a_duplicated_message_arrives_twice_and_the_copy_holds_nobody_back() -> None:
    model = scripted(Link(latency=(0.0, 0.1), duplication=0.5), {"duplication": 32_767}, {})
    assert model.arrivals(1, 0) == (0, 100_000)
    assert model.arrivals(1, 5) == (5,)


def test_bandwidth_sends_one_message_after_the_other() -> None:
    model = scripted(Link(latency=(0.01, 0.01), bandwidth=1_000), {}, {}, {}, {})
    assert model.arrivals(500, 0) == (510_000,)
    assert model.arrivals(1, 0) == (511_000,)
    assert model.busy_until_us == 501_000
    assert model.arrivals(1, 2_000_000) == (2_011_000,)
    assert model.arrivals(0, 2_000_000) == (2_011_000,)


def test_transmission_times_are_rounded_up_and_a_lost_message_takes_its_time_as_well() -> None:
    model = scripted(Link(latency=(0, 0), loss=0.5, bandwidth=3_000_000), {"loss": 0}, {})
    assert model.arrivals(1, 0) == ()
    assert model.arrivals(4, 0) == (3,)


def test_frozen_arrivals_stay() -> None:
    link = Link(loss=0.2, duplication=0.2, reordering=0.2, bandwidth=100_000)
    model = LinkModel(link, SeededRandom(7))
    arrivals = [model.arrivals(100 + number, 1_000 * number) for number in range(12)]
    assert arrivals == FROZEN_ARRIVALS


FROZEN_ARRIVALS = [
    (17528, 60773),
    (21321, 51252),
    (),
    (44522,),
    (53664, 64574),
    (99769,),
    (44522,),
    (),
    (171514,),
    (),
    (44522,),
    (),
]


@given(
    st.integers(0, 1 << 64),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 100_000)), max_size=40),
)
@settings(max_examples=100, deadline=None)
def test_the_same_seed_gives_the_same_arrivals_none_too_early(seed, messages) -> None:
    link = Link(loss=0.1, duplication=0.3, reordering=0.3, bandwidth=50_000)
    one, other = (LinkModel(link, SeededRandom(seed)) for _ in range(2))
    now_us = 0
    for size_bytes, pause_us in messages:
        now_us += pause_us
        arrivals = one.arrivals(size_bytes, now_us)
        assert arrivals == other.arrivals(size_bytes, now_us)
        assert list(arrivals) == sorted(arrivals)
        assert all(type(time) is int for time in arrivals)
        assert all(time >= now_us + 5_000 + size_bytes * 20 for time in arrivals)


def test_probabilities_are_met() -> None:
    model = LinkModel(Link(loss=0.2, duplication=0.1), SeededRandom(1))
    counts = [0, 0, 0]
    for number in range(10_000):
        counts[len(model.arrivals(1, number))] += 1
    assert 1_840 <= counts[0] <= 2_160  # 2,000 and four standard deviations
    assert 690 <= counts[2] <= 910  # 800


def test_never_and_always_are_exact_and_the_rarest_is_not_never() -> None:
    assert scripted(Link(loss=0.0), {"loss": 0}).arrivals(1, 0) == (5_000,)
    assert scripted(Link(loss=1), {"loss": 0xFFFF}).arrivals(1, 0) == ()
    assert scripted(Link(loss=1e-9), {"loss": 0}).arrivals(1, 0) == ()
    assert scripted(Link(loss=1 - 1e-9), {"loss": 0xFFFF}).arrivals(1, 0) == (5_000,)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"latency": (0.2, 0.1)}, "latency"),
        ({"latency": (-0.1, 0.1)}, "latency"),
        ({"latency": (0.0, float("inf"))}, "latency"),
        ({"latency": (float("nan"), 1.0)}, "latency"),
        ({"latency": 0.1}, "latency"),
        ({"latency": (0.1,)}, "latency"),
        ({"latency": ("0", "1")}, "latency"),
        ({"latency": (0, 10**400)}, "latency"),
        ({"loss": -0.1}, "loss"),
        ({"loss": 1.1}, "loss"),
        ({"loss": True}, "loss"),
        ({"duplication": float("nan")}, "duplication"),
        ({"reordering": "0.5"}, "reordering"),
        ({"bandwidth": 0}, "bandwidth"),
        ({"bandwidth": -5.0}, "bandwidth"),
        ({"bandwidth": float("inf")}, "bandwidth"),
    ],
)
def test_impossible_links_are_refused_by_name(arguments, reason) -> None:
    with pytest.raises(UsageError, match=reason):
        Link(**arguments)


def test_links_are_values() -> None:
    assert Link(latency=[0.1, 0.2]) == Link(latency=(0.1, 0.2))  # type: ignore[arg-type]
    assert hash(Link()) == hash(Link())
