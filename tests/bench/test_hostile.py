"""A live peer under attack: the bench measures what its tables say, and notices what breaks."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from network.hostile import Tally

from bench import hostile
from bench.hostile import Stood
from bench.peer_processes import PeerProcessFailed

LOG = """\
INFO:gossipbook.peer:aa is open on 'x' at 127.0.0.1:1, with 0 entries of 0 authors
INFO:gossipbook.transport:refused a connection from 127.0.0.1: it hung up
INFO:gossipbook.transport:refused a connection from 127.0.0.1: it hung up (1,234 more before it, \
not shown)
INFO:gossipbook.transport:refused a connection from 127.8.8.8: it hung up (5 more before it, \
not shown)
INFO:gossipbook.links:no link to aa: it broke a rule
"""


def test_refused_connections_are_counted_by_the_log_but_for_the_one_made_to_see_it() -> None:
    assert hostile.refused_in(LOG) == 2 + 1_234 + 5
    assert hostile.refused_in("") == 0


def test_one_attack_from_beginning_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hostile, "WARM_ORDERS", 2)
    monkeypatch.setattr(hostile, "GATHER_S", 0.3)
    raw = tmp_path / "raw.json"
    (tmp_path / "stores").mkdir()
    results = hostile.main(
        [
            *("--seconds", "0.2", "--only", "entries"),
            *("--json", str(raw), "--directory", str(tmp_path / "stores")),
        ]
    )
    assert list((tmp_path / "stores").iterdir()) == []
    assert json.loads(raw.read_text())["hostile"].keys() == results.keys()
    (found,) = results.values()
    assert len(found["before_s"]) == len(found["under_s"]) == 10
    assert 0 < found["under_s"][0] <= found["under_s"][-1] < 60
    assert 0 < found["admitted"] <= found["tally"]["entries"]
    assert found["memory_bytes"] >= found["memory_before_bytes"] > 10_000_000
    assert found["refused"] == 0
    assert 0 <= found["waited_share"] < 1
    assert hostile._waited_s(-1) == 0
    assert "valid entries, 1 order" in capsys.readouterr().out


def _submitted(*failures: str) -> dict[str, Any]:
    return {"failures": list(failures)}


@pytest.mark.parametrize(
    ("failure", "changes", "complaints", "match"),
    [
        ("PeerClosed: gone", [], "", "submits of the attacked peer failed"),
        (None, [[1.0, "down", "ff", "it has been silent"]], "", "the honest link was lost"),
        (None, [], "Traceback (most recent call last):", "complained"),
    ],
)
def test_what_goes_wrong_for_the_honest_is_no_result(
    failure: str | None, changes: list[Any], complaints: str, match: str
) -> None:
    process = SimpleNamespace(name="one", peer_id=b"\xff", complaints=complaints)
    under = _submitted(failure) if failure else _submitted()
    with pytest.raises(PeerProcessFailed, match=match):
        hostile._check(_submitted(), under, {"changes": changes}, process, process)  # type: ignore[arg-type]


def test_links_of_attackers_may_come_and_go() -> None:
    process = SimpleNamespace(name="one", peer_id=b"\xff", complaints="")
    changes = [[1.0, "up", "ff", ""], [1.0, "up", "aa", ""], [2.0, "down", "aa", "it broke a rule"]]
    hostile._check(_submitted(), _submitted(), {"changes": changes}, process, process)  # type: ignore[arg-type]


def test_tables(capsys: pytest.CaptureFixture[str]) -> None:
    calm, slow = (0.001, 0.002, 0.003, 0.004), (0.010, 0.020, 0.030, 0.250)
    found = {
        "connections": Stood(calm, calm, 0.125, 0.25, 50_000_000, 51_000_000, 0, 1_234, 0, Tally()),
        "entries-256": Stood(
            calm, slow, 0.5, 0.0, 50_000_000, 90_000_000, 100, 0, 1, Tally(sent_bytes=2_500_000)
        ),
    }
    hostile.print_latency(found)
    hostile.print_memory(found)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "connections: connect, hang up 2.0 4 2.0 4 12% 25% 1,234 0" in lines
    assert "entries-256: valid entries, 256 orders 20.0 250 2.0 4 50% 0% 0 1 above 200 ms" in lines
    assert "connections 50 51 0 0.0" in lines
    assert "entries-256 50 90 100 400.0 1562 2.5" in lines


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--seconds", "0.001"], "too short"),
        (["--directory", "/nowhere/at/all"], "give a directory that exists"),
        (["--only", "nothing"], "invalid choice"),
    ],
)
def test_impossible_arguments_are_refused(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        hostile.main(arguments)
    assert complaint in capsys.readouterr().err
