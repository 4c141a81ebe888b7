"""Draws from bytes: in order, in range, and the first choice once the bytes are used up."""

from fuzz.draws import Draws
from hypothesis import given, settings
from hypothesis import strategies as st


def test_each_choice_takes_the_next_byte() -> None:
    draws = Draws(bytes([0, 5, 2, 255]))
    assert [draws.below(4), draws.below(4), draws.choice("abc")] == [0, 1, "c"]
    assert draws
    assert draws.between(10, 19) == 10 + 255 % 10
    assert not draws


def test_what_has_one_choice_takes_nothing() -> None:
    draws = Draws(b"\x07")
    assert draws.below(1) == 0
    assert draws.below(10) == 7


def test_wide_draws_take_two_bytes_and_differ_with_them() -> None:
    draws = Draws(bytes([0, 1, 0, 1, 0, 2]))
    first, again, other = draws.bits(256), draws.bits(256), draws.bits(256)
    assert first == again != other
    assert not draws


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=8), st.integers(1, 100_000), st.integers(1, 300))
def test_draws_are_in_range_and_never_end(data: bytes, limit: int, width: int) -> None:
    draws = Draws(data)
    for _ in range(12):
        assert 0 <= draws.below(limit) < limit
        assert 0 <= draws.bits(width) < 1 << width
    assert not draws
    assert draws.below(limit) == 0
    assert draws.sample("abc", 2) == ["a", "b"] or len(draws.sample("abc", 2)) == 2
