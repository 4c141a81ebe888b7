"""The command shows a kept input again, and keeps count from run to run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fuzz.__main__ import main
from fuzz.seeds import seeds


def test_a_kept_input_is_shown_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "kept"
    kept.write_bytes(seeds("message")[0])
    assert main(["--target", "message", "--reproduce", str(kept)]) == 0
    assert "passes" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--reproduce", str(kept)])
    assert "--target NAME" in capsys.readouterr().err


def test_a_run_goes_on_where_the_one_before_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("atheris", reason="the extra fuzz brings it")
    command = ["--target", "address", "--inputs", "200", "--corpus", str(tmp_path), "--seed", "1"]
    assert main(command) == 0
    once = json.loads((tmp_path / "state.json").read_text())["address"]["inputs"]
    assert once >= 200
    assert main(command) == 0
    assert json.loads((tmp_path / "state.json").read_text())["address"]["inputs"] >= once + 200
    told = capsys.readouterr().out
    assert f"resuming {tmp_path}: {once:,} inputs" in told
    assert "no failure" in told
    assert (tmp_path / "address" / "seed-000").read_bytes() == seeds("address")[0]
