"""A peer that is killed: what was acknowledged is there, and its log never forks.

A few hundred deaths here; ``make soak-crash`` has a thousand and more. Each test prints its counts.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from crash.faulty_io import BROKEN, SYNC, Fault
from crash.fork_server import ForkServer
from crash.lives import Counts, Life, live
from crash.scratch import keeping_evidence
from crash.scripted import Stage

KILLS = 48


def told(counts: Counts) -> Counts:
    print(*counts.lines(), sep="\n")
    return counts


def test_acknowledged_orders_outlive_kills_at_any_time(
    server: ForkServer, folder: Path, tmp_path: Path
) -> None:
    counts = Counts()
    with keeping_evidence(tmp_path):
        for seed in (0, 1):
            counts += live(server, folder / f"life-{seed}", seed, kills=KILLS // 2)
    told(counts)
    assert counts.kill_count >= 40
    assert counts.kills["at a random time"] >= 5
    assert any("inside a write of peer.db-wal" in point for point in counts.kills)
    assert counts.events["power losses"] >= 10
    assert counts.events["sectors lost"] >= 10
    assert counts.orders["acknowledged"] >= 300
    assert counts.orders["lost"] + counts.orders["stood"] >= 10, "they died with orders in flight"


@pytest.mark.parametrize(
    ("script", "every"),
    [("starting", 53), ("recovering", 17), ("checkpointing", 41), ("mending", 37)],
)
def test_acknowledged_orders_outlive_a_kill_at_any_call(
    stage: Stage, script: str, every: int, tmp_path: Path
) -> None:
    counts = Counts()
    cases = list(stage.scripts[script].kills())[::every]
    with keeping_evidence(tmp_path):
        for case in cases:
            counts += stage.play(case)
    told(counts)
    assert counts.kill_count >= len(cases)
    assert counts.events["power losses"] >= len(cases) // 4


def test_what_was_written_and_not_synced_is_shown_to_nobody(
    server: ForkServer, folder: Path, tmp_path: Path
) -> None:
    """Killed between write and sync; opened, and seen by others; then the power goes."""
    seen_count = 0
    with keeping_evidence(tmp_path):
        for at in range(14, 26):
            life = Life(server, folder / f"shown-{at}", seed=1)
            life.start("script", Fault("kill-before", at, kinds=SYNC))
            life.start("show")
            seen_count += len(life.notes.seen)
            life.lose_power(kept=0.0)
            life.start("look")
            life.remove()
    assert seen_count > 20


def test_a_store_is_made_whole_or_not_at_all(stage: Stage, tmp_path: Path) -> None:
    """Killed at each call until it stands under its name, the next start makes it again."""
    script = stage.scripts["starting"]
    made = next(at for at, call in enumerate(script.calls, 1) if call.name == "peer.db.new-wal")
    counts = Counts()
    with keeping_evidence(tmp_path):
        for case in script.kills():
            if case.fault.at in range(made, made + 6) and case.power_loss:
                counts += stage.play(case)
    assert counts.orders["acknowledged"] > 0
    assert counts.events["killed"] >= 12


def test_errors_once_are_survived_together_with_kills(
    server: ForkServer, folder: Path, tmp_path: Path
) -> None:
    """The disk fails a sync, the peer goes on for a while and is killed, and the power goes."""
    counts = Counts()
    with keeping_evidence(tmp_path):
        life = Life(server, folder / "both", seed=5)
        for at in range(6, 12):
            life.start("trade", Fault("fail", at, BROKEN, kinds=SYNC), kill_after_s=0.3)
            life.lose_power()
        life.start("look")
        assert life.result is not None
        counts.add_balance(life.result.balance)
        life.remove()
    assert counts.orders["rolled_back"] > 0
    assert counts.orders["acknowledged"] > 30
