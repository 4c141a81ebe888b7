"""Who stands at the door, who has to make room, and how often a source may come."""

from __future__ import annotations

from functools import partial

import pytest

from gossipbook.transport.admission import (
    ARRIVALS_AT_ONCE,
    ARRIVALS_AT_ONCE_IN_ALL,
    ARRIVALS_PER_S,
    ARRIVALS_PER_S_IN_ALL,
    MOST_SOURCES,
    MOST_STRANGERS,
    MOST_STRANGERS_PER_SOURCE,
    PRICE_OF_AN_OFFENCE,
    Door,
    Stranger,
)


class Crowd:
    """Strangers at a door, and who of them was turned away, in order."""

    def __init__(self) -> None:
        self.door = Door()
        self.turned_away: list[str] = []

    def enter(self, source: str, name: str = "") -> Stranger:
        return self.door.enter(source, partial(self.turned_away.append, name or source))

    def fill(self, source: str, count: int) -> None:
        for number in range(count):
            self.enter(source, f"{source}{number}")


# ==================================================================== standing there


def test_up_to_the_cap_of_a_source_nobody_makes_room() -> None:
    crowd = Crowd()
    crowd.fill("a", MOST_STRANGERS_PER_SOURCE)
    assert crowd.turned_away == []
    assert len(crowd.door) == MOST_STRANGERS_PER_SOURCE


def test_beyond_it_the_one_of_that_source_who_stood_longest_does() -> None:
    crowd = Crowd()
    crowd.enter("b", "an older one of another source")
    crowd.fill("a", MOST_STRANGERS_PER_SOURCE + 2)
    assert crowd.turned_away == ["a0", "a1"]
    assert len(crowd.door) == 1 + MOST_STRANGERS_PER_SOURCE
    assert crowd.door.turned_away_count == 2


def test_a_full_door_makes_room_where_most_stand() -> None:
    crowd = Crowd()
    crowd.enter("honest", "honest")
    sources = MOST_STRANGERS // MOST_STRANGERS_PER_SOURCE
    for number in range(sources - 1):
        crowd.fill(f"crowd {number} ", MOST_STRANGERS_PER_SOURCE)
    crowd.fill("few ", MOST_STRANGERS_PER_SOURCE - 1)
    assert len(crowd.door) == MOST_STRANGERS
    assert crowd.turned_away == []
    crowd.enter("newcomer")
    assert crowd.turned_away == ["crowd 0 0"]
    assert len(crowd.door) == MOST_STRANGERS


def test_many_sources_with_one_each_never_stand_more_than_the_door_holds() -> None:
    crowd = Crowd()
    for number in range(3 * MOST_STRANGERS):
        crowd.enter(str(number))
        assert len(crowd.door) <= MOST_STRANGERS
    assert crowd.turned_away == [str(number) for number in range(2 * MOST_STRANGERS)]


def test_who_leaves_makes_room_and_is_not_turned_away_later() -> None:
    crowd = Crowd()
    first = crowd.enter("a", "first")
    crowd.fill("a", MOST_STRANGERS_PER_SOURCE - 1)
    crowd.door.leave(first)
    crowd.enter("a", "last")
    assert crowd.turned_away == []
    crowd.enter("a")
    assert crowd.turned_away == ["a0"]


def test_leaving_twice_or_after_being_turned_away_changes_nothing() -> None:
    crowd = Crowd()
    first = crowd.enter("a", "first")
    crowd.fill("a", MOST_STRANGERS_PER_SOURCE)
    assert crowd.turned_away == ["first"]
    for _ in range(2):
        crowd.door.leave(first)
        assert len(crowd.door) == MOST_STRANGERS_PER_SOURCE
    other = crowd.enter("b")
    crowd.door.leave(other)
    crowd.door.leave(other)
    assert len(crowd.door) == MOST_STRANGERS_PER_SOURCE


# ==================================================================== coming


def _arrivals(door: Door, source: str, now_s: float, tries: int = 10 * ARRIVALS_AT_ONCE) -> int:
    return sum(door.may_arrive(source, now_s) for _ in range(tries))


def test_a_source_may_come_so_often_at_once_and_then_at_its_rate() -> None:
    door = Door()
    assert _arrivals(door, "a", 1_000) == ARRIVALS_AT_ONCE
    assert door.turned_away_count == 9 * ARRIVALS_AT_ONCE
    assert _arrivals(door, "a", 1_003) == 3 * ARRIVALS_PER_S


def test_all_sources_together_may_come_so_often_and_then_at_their_rate() -> None:
    door = Door()
    sources = [str(number) for number in range(3 * ARRIVALS_AT_ONCE_IN_ALL)]
    assert sum(door.may_arrive(source, 1_000) for source in sources) == ARRIVALS_AT_ONCE_IN_ALL
    let_in = sum(door.may_arrive(source, 1_002) for source in sources)
    assert let_in == 2 * ARRIVALS_PER_S_IN_ALL


def test_a_source_that_comes_too_often_takes_nothing_from_the_others() -> None:
    door = Door()
    _arrivals(door, "a", 1_000, tries=100 * ARRIVALS_AT_ONCE_IN_ALL)
    sources = [str(number) for number in range(ARRIVALS_AT_ONCE_IN_ALL - ARRIVALS_AT_ONCE)]
    assert all(door.may_arrive(source, 1_000) for source in sources)


def test_who_stayed_away_for_long_may_come_so_often_at_once_and_not_more() -> None:
    door = Door()
    _arrivals(door, "a", 1_000)
    assert _arrivals(door, "a", 1_000_000) == ARRIVALS_AT_ONCE


def test_a_refused_arrival_costs_the_source_nothing() -> None:
    """Whoever shares a source with a flood gets in at the rate of the source, in turn with it."""
    door = Door()
    _arrivals(door, "a", 1_000)
    let_in = sum(door.may_arrive("a", 1_000 + step / 1_000) for step in range(10_000))
    assert let_in in range(10 * ARRIVALS_PER_S - 1, 10 * ARRIVALS_PER_S + 1)


def test_one_source_leaves_the_others_their_arrivals() -> None:
    door = Door()
    _arrivals(door, "a", 1_000)
    assert door.may_arrive("b", 1_000)


def test_broken_rules_cost_a_source_arrivals() -> None:
    door = Door()
    door.blame("a", 1_000)
    assert _arrivals(door, "a", 1_000) == ARRIVALS_AT_ONCE - PRICE_OF_AN_OFFENCE
    assert _arrivals(door, "b", 1_000) == ARRIVALS_AT_ONCE


def test_however_many_rules_were_broken_the_source_comes_in_again() -> None:
    door = Door()
    for _ in range(1_000):
        door.blame("a", 1_000)
    assert not door.may_arrive("a", 1_000)
    assert door.may_arrive("a", 1_000 + (ARRIVALS_AT_ONCE + 1) / ARRIVALS_PER_S)


@pytest.mark.parametrize("act", [Door.may_arrive, Door.blame])
def test_sources_are_forgotten_beyond_a_number(act: object) -> None:
    door = Door()
    for number in range(2 * MOST_SOURCES):
        door.may_arrive(str(number), 1_000)
        act(door, str(number), 1_000)  # type: ignore[operator]
        assert len(door._arrivals) <= MOST_SOURCES + 1
