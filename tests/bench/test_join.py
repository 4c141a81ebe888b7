"""A newcomer among trading processes: that the bench does what its tables say."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench import join
from bench.join import Joined


def joined(**changed: Any) -> Joined:
    """A round that met every aim, but for what is changed."""
    usual = {
        "entries": 625,
        "orders": 10_000,
        "started_s": 0.5,
        "opened_s": 0.05,
        "seen_s": 0.2,
        "held_s": 0.9,
        "settled_s": 1.0,
        "before_s": (0.002, 0.004),
        "meanwhile_s": (0.003, 0.05),
        "failed": 0,
        "processor_s": 0.8,
        "undone": 3,
    }
    return Joined(**(usual | changed))


def test_a_newcomer_comes_to_hold_the_history_and_everything_is_timed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "join.json"
    arguments = ["--small", "--case", "70/4", "--directory", str(tmp_path), "--json", str(path)]
    results = join.main([*arguments])
    (raw,) = results["70/4"]
    # By hand: 24, 23 and 23 orders in entries of 4 are 6 + 6 + 6; what was traded comes on top.
    assert raw["entries"] > 18
    assert raw["orders"] > 70
    assert 0 < raw["opened_s"] <= raw["held_s"] <= raw["settled_s"] < 60
    assert 0 < raw["seen_s"] < 60
    assert raw["started_s"] > 0 and raw["processor_s"] > 0
    assert len(raw["before_s"]) > 30 and len(raw["meanwhile_s"]) > 30
    assert raw["failed"] == 0
    shown = capsys.readouterr().out
    assert "70 orders, 4 an entry" in shown and "70/4: seen by all" in shown
    assert json.loads(path.read_text())["join"]["70/4"][0]["entries"] == raw["entries"]
    assert [left.name for left in tmp_path.iterdir()] == ["join.json"], "the stores are gone"


@pytest.mark.parametrize(
    ("changed", "missed"),
    [
        ({}, 0),
        ({"seen_s": 0.6}, 1),
        ({"settled_s": 1.6}, 1),
        ({"meanwhile_s": (0.009, 0.01)}, 1),
        ({"meanwhile_s": (0.003, 0.2)}, 1),
        ({"failed": 1}, 1),
    ],
)
def test_an_aim_that_was_missed_is_told(
    changed: dict[str, Any], missed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    join.print_aims({join.AIMED_CASE: [joined(**changed)]})
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.endswith("MISSED") for line in lines) == missed
    assert sum(line.endswith(" met") for line in lines) == 5 - missed


def test_times_are_medians_of_rounds_and_submits_are_pooled(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rounds = [
        joined(seen_s=0.1, before_s=(0.001,)),
        joined(seen_s=0.3, before_s=(0.002, 0.003)),
        joined(seen_s=0.4, before_s=(0.004,)),
    ]
    join.print_joins({(10_000, 16): rounds})
    line = capsys.readouterr().out.splitlines()[1]
    assert line.startswith("10,000 orders, 16 an entry")
    assert " 0.30 " in line
    assert "2.0 / 4.0" in line


def test_a_submit_counts_for_the_time_in_which_it_fell_due() -> None:
    submits = [(0, 0, 1.0, 1.5), (1, 0, 2.0, 2.25), (2, 0, 2.5, 2.51), (3, 0, 3.0, 9.0)]
    assert join._delays(submits, 2.0, 3.0) == (pytest.approx(0.01), 0.25)


@pytest.mark.parametrize("text", ["16", "10000", "2/1", "100/0", "100/257", "a/b"])
def test_a_case_that_cannot_be_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        join.main(["--case", text])
    assert text in capsys.readouterr().err
