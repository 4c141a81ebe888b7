from hashlib import sha512
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossipbook.errors import UsageError
from gossipbook.randomness import SeededRandom

seeds = st.one_of(st.integers(), st.binary(max_size=40))


def test_draws_are_those_of_the_generator_seeded_with_the_hash_of_the_seed() -> None:
    for seed, material in ((7, b"int 7"), (-7, b"int -7"), (b"seven", b"bytes seven")):
        expected = Random(int.from_bytes(sha512(material).digest(), "big"))
        drawn = SeededRandom(seed)
        assert [drawn.bits(64) for _ in range(5)] == [expected.getrandbits(64) for _ in range(5)]


def test_frozen_draws_stay() -> None:
    random = SeededRandom(2026)
    drawn = (
        random.bits(32),
        [random.below(10) for _ in range(8)],
        [random.between(-3, 3) for _ in range(8)],
        [random.chance(32_768) for _ in range(6)],
        random.sample(range(1000), 4),
        random.choice("abcdefgh"),
        random.child("link").bits(32),
    )
    assert drawn == FROZEN_DRAWS


FROZEN_DRAWS = (
    2853809138,
    [0, 6, 7, 1, 3, 6, 4, 3],
    [2, 1, -1, 1, 3, -2, -1, 3],
    [True, False, False, False, False, False],
    [948, 578, 140, 815],
    "d",
    943886385,
)


@given(seeds, st.integers(1, 1 << 70))
def test_numbers_stay_within_their_bounds(seed, limit) -> None:
    random = SeededRandom(seed)
    for _ in range(10):
        assert 0 <= random.below(limit) < limit
        assert -5 <= random.between(-5, limit) <= limit


def test_below_gives_each_number_as_often() -> None:
    random = SeededRandom(1)
    counts = [0] * 6
    for _ in range(6000):
        counts[random.below(6)] += 1
    assert all(880 <= count <= 1120 for count in counts)  # 1000 and four standard deviations


def test_chance_is_never_for_0_always_for_65536_and_takes_one_draw() -> None:
    random, other = SeededRandom(3), SeededRandom(3)
    assert not any(random.chance(0) for _ in range(100))
    assert all(random.chance(65_536) for _ in range(100))
    for _ in range(200):
        other.bits(16)
    assert random.bits(64) == other.bits(64)


@given(seeds, st.lists(st.integers(), max_size=20, unique=True), st.integers(0, 25))
def test_a_sample_holds_distinct_items_and_all_when_there_are_fewer(seed, items, count) -> None:
    sample = SeededRandom(seed).sample(items, count)
    assert len(sample) == min(count, len(items)) == len(set(sample))
    assert set(sample) <= set(items)


def test_every_ordered_sample_is_as_likely() -> None:
    random = SeededRandom(4)
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(12_000):
        sample = tuple(random.sample(range(4), 2))
        counts[sample] = counts.get(sample, 0) + 1
    assert len(counts) == 12
    assert all(880 <= count <= 1120 for count in counts.values())


@given(seeds, st.lists(st.integers(), max_size=20))
def test_a_shuffle_keeps_the_items(seed, items) -> None:
    shuffled = items.copy()
    SeededRandom(seed).shuffle(shuffled)
    assert sorted(shuffled) == sorted(items)


def test_every_permutation_is_as_likely() -> None:
    random = SeededRandom(5)
    counts: dict[str, int] = {}
    for _ in range(6000):
        letters = list("abc")
        random.shuffle(letters)
        counts["".join(letters)] = counts.get("".join(letters), 0) + 1
    assert len(counts) == 6
    assert all(880 <= count <= 1120 for count in counts.values())


def test_a_child_depends_on_seed_and_label_and_not_on_what_was_drawn() -> None:
    fresh, used = SeededRandom(6), SeededRandom(6)
    used.bits(1000)
    draws = {
        "same": fresh.child("a").bits(64),
        "label": fresh.child("b").bits(64),
        "parent": SeededRandom(7).child("a").bits(64),
        "grandchild": fresh.child("a").child("a").bits(64),
        "itself": fresh.bits(64),
    }
    assert used.child("a").bits(64) == draws["same"]
    assert len(set(draws.values())) == len(draws)


def test_seeds_that_look_alike_give_different_draws() -> None:
    seeds = [0, 1, -1, b"", b"0", b"1", b"\x01", b"int 1"]
    assert len({SeededRandom(seed).bits(64) for seed in seeds}) == len(seeds)


def test_impossible_requests_are_refused() -> None:
    random = SeededRandom(0)
    with pytest.raises(UsageError, match="below"):
        random.below(0)
    with pytest.raises(UsageError, match="lower bound first"):
        random.between(2, 1)
    with pytest.raises(UsageError, match="at least one"):
        random.choice([])
    for seed in (True, 1.5, "seed", None):
        with pytest.raises(UsageError, match="an int or bytes"):
            SeededRandom(seed)
