"""Stories are written from a seed, hold every fault, and end with everybody back."""

from __future__ import annotations

from network.story import FAULTS, Step, write_story

NAMES = ("alice", "bob", "carol", "dave", "erin")


def test_a_story_is_the_same_for_its_seed_and_ends_well() -> None:
    steps = write_story(NAMES, length_s=60, deaths=4, seed=3)
    assert steps == write_story(NAMES, length_s=60, deaths=4, seed=3)
    assert steps != write_story(NAMES, length_s=60, deaths=4, seed=4)
    assert steps == sorted(steps, key=lambda step: step.at_s)
    assert {step.what for step in steps} == {*FAULTS, "healed", "killed", "started"}
    killed = [step for step in steps if step.what == "killed"]
    for death in killed:
        assert _next(steps, death, "started").names == death.names
    assert len({step.names for step in killed}) == 4, "nobody dies twice before all have died"
    for step in steps:
        if step.what in FAULTS:
            assert _next(steps, step, "healed").at_s < 60


def _next(steps: list[Step], after: Step, what: str) -> Step:
    return next(step for step in steps if step.at_s > after.at_s and step.what == what)
