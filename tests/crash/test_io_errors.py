"""A disk that is full or broken: submits fail and say why, and nothing acknowledged is lost.

The processes judge themselves (``child``): an error names the file and what to do, reading goes on,
and once the disk works again nothing is refused any more. Here the faults are chosen.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from crash.faulty_io import BROKEN, NO_SPACE, READ, SYNC, WRITE, Fault
from crash.fork_server import ForkServer
from crash.lives import Counts, Life
from crash.scratch import keeping_evidence
from crash.scripted import Stage


@pytest.mark.parametrize(
    ("script", "every"),
    [("starting", 67), ("recovering", 23), ("checkpointing", 83), ("mending", 79)],
)
def test_nothing_acknowledged_is_lost_whichever_call_fails(
    stage: Stage, script: str, every: int, tmp_path: Path
) -> None:
    counts = Counts()
    cases = list(stage.scripts[script].failures())[::every]
    with keeping_evidence(tmp_path):
        for case in cases:
            counts += stage.play(case)
    print(*counts.lines(), sep="\n")
    assert counts.events["killed"] + counts.events["submits were refused"] >= len(cases) // 2
    assert counts.orders["rolled_back"] > 0


@pytest.mark.parametrize("at", [1, 2, 3, 20])
def test_a_peer_recovers_from_a_full_disk_without_being_opened_anew(
    server: ForkServer, folder: Path, tmp_path: Path, at: int
) -> None:
    """From the n-th write in the middle of trading on the disk is full, for three waves."""
    with keeping_evidence(tmp_path):
        life = Life(server, folder / f"full-{at}", seed=1)
        fault = Fault("fail-short", 100 + at, NO_SPACE, lasting=True, kinds=WRITE)
        life.start("script", fault)
        result = life.result
        life.remove()
    assert result is not None
    assert result.failures > 0
    assert result.balance.rolled_back >= 9, "three waves of three submits"
    assert result.balance.undecided_gone == result.balance.undecided_stood == 0


@pytest.mark.parametrize(("kinds", "first"), [(SYNC, 16), (SYNC | READ, 46)])
def test_while_nobody_can_tell_what_is_on_the_disk_submits_fail_and_reading_goes_on(
    server: ForkServer, folder: Path, tmp_path: Path, kinds: int, first: int
) -> None:
    """From a sync on every sync fails, or every read, too. What was being committed is in the file
    or not; that shows when the disk works."""
    counts = Counts()
    with keeping_evidence(tmp_path):
        for at in range(first, first + 12):
            life = Life(server, folder / f"broken-{kinds}-{at}", seed=1)
            life.start("script", Fault("fail", at, BROKEN, lasting=True, kinds=kinds))
            assert life.result is not None
            counts.add_balance(life.result.balance)
            life.remove()
    assert counts.orders["undecided_gone"] > 0
    assert counts.orders["undecided_stood"] > 0, "found when the disk works, it stands"
    assert counts.orders["entries"] >= 12 * 12, "and trading goes on"


def test_a_limit_on_the_size_of_files_is_a_full_disk(
    server: ForkServer, folder: Path, tmp_path: Path
) -> None:
    """With no failing disk between: the kernel itself refuses (RLIMIT_FSIZE)."""
    with keeping_evidence(tmp_path):
        life = Life(server, folder / "limit", seed=1)
        life.start("script", file_limit_bytes=150_000, trace=False, waves=15)
        result = life.result
        life.start("look", trace=False)
        life.remove()
    assert result is not None
    assert result.failures == 0
    assert result.balance.rolled_back > 0
    assert result.balance.acknowledged > 60
