"""Log lines for people and for machines, on stderr and in files that are moved away."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import gossipbook as gb
from gossipbook.cli.logs import JsonLines, TextLines, configure

LINKS = logging.getLogger("gossipbook.links")
TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}"


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger("gossipbook")
    handlers, level = list(root.handlers), root.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


def record(message: str, level: int = logging.INFO, **extra: object) -> logging.LogRecord:
    made = logging.getLogger("gossipbook.links").makeRecord(
        "gossipbook.links", level, "file.py", 1, message, (), None, extra=extra
    )
    made.created = 1_795_266_185.123
    return made


# ------------------------------------------------------------------ where lines go


def test_lines_go_to_stderr_whatever_it_is_by_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A prompt replaces stderr while a line is being typed."""
    configure("info", as_json=False, file=None)
    LINKS.info("first")
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert re.fullmatch(rf"{TIME} INFO  links: first\n", err)
    with (tmp_path / "elsewhere").open("w") as elsewhere:
        monkeypatch.setattr(sys, "stderr", elsewhere)
        LINKS.info("second")
    assert (tmp_path / "elsewhere").read_text().endswith("links: second\n")


@pytest.mark.parametrize(
    ("level", "told"),
    [
        ("debug", "debug info warning error"),
        ("INFO", "info warning error"),
        ("warning", "warning error"),
        ("Error", "error"),
    ],
)
def test_the_level_decides_what_is_told(
    level: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(level, as_json=False, file=None)
    for name in ("debug", "info", "warning", "error"):
        getattr(LINKS, name)(name)
    assert [line.split()[-1] for line in capsys.readouterr().err.splitlines()] == told.split()


def test_configuring_again_replaces_what_was_before(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    configure("info", as_json=False, file=None)
    configure("info", as_json=False, file=str(tmp_path / "log"))
    LINKS.info("once")
    assert capsys.readouterr().err == ""
    assert len((tmp_path / "log").read_text().splitlines()) == 1


def test_a_file_is_appended_to_and_opened_anew_after_it_was_moved(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("before\n")
    configure("info", as_json=False, file=str(file))
    LINKS.info("one")
    file.rename(tmp_path / "log.1")
    LINKS.info("two")
    assert (tmp_path / "log.1").read_text().splitlines()[0] == "before"
    assert "links: one" in (tmp_path / "log.1").read_text()
    assert "links: two" in file.read_text() and "one" not in file.read_text()


def test_other_loggers_are_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    configure("debug", as_json=False, file=None)
    logging.getLogger("somebody.else").info("not ours")
    assert capsys.readouterr().err == ""
    assert logging.getLogger().level == logging.WARNING


@pytest.mark.parametrize(
    ("level", "file", "message"),
    [
        ("loud", None, "'loud'.*debug, info, warning, error"),
        ("info", "no/such/folder/log", "no/such/folder/log.*No such file.*stderr"),
    ],
)
def test_what_cannot_be_is_refused(level: str, file: str | None, message: str) -> None:
    with pytest.raises(gb.UsageError, match=message):
        configure(level, as_json=False, file=file)


# ------------------------------------------------------------------ what lines look like


@pytest.mark.parametrize(
    ("level", "name"),
    [
        (logging.DEBUG, "DEBUG"),
        (logging.INFO, "INFO "),
        (logging.WARNING, "WARN "),
        (logging.ERROR, "ERROR"),
    ],
)
def test_a_line_for_people(level: int, name: str) -> None:
    local = datetime.fromtimestamp(1_795_266_185.123).strftime("%Y-%m-%d %H:%M:%S")
    line = TextLines().format(record("a1b2c3d4 is linked", level, peer="a1b2c3d4"))
    assert line == f"{local}.123 {name} links: a1b2c3d4 is linked"


def test_a_line_for_machines_has_the_extra_fields_as_values() -> None:
    line = JsonLines().format(
        record("a1b2c3d4 is gone", logging.WARNING, peer="a1b2c3d4", seq=7, own="0d1f2a3b")
    )
    assert "\n" not in line
    assert json.loads(line) == {
        "ts": datetime.fromtimestamp(1_795_266_185, UTC).strftime("%Y-%m-%dT%H:%M:%S") + ".123Z",
        "level": "warning",
        "logger": "gossipbook.links",
        "message": "a1b2c3d4 is gone",
        "peer": "a1b2c3d4",
        "seq": 7,
        "own": "0d1f2a3b",
    }


def test_what_json_does_not_know_is_written_as_text() -> None:
    line = json.loads(JsonLines().format(record("x", path=Path("/a"), ts="not this")))
    assert line["path"] == "/a"
    assert line["ts"].startswith("2026-11-21T"), "a field of that name does not hide the time"


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("gone: x\n2026-11-21 00:00:00.000 INFO  links: fake", r"gone: x\n2026"),
        ("\x1b[2Jclean", r"\x1b[2Jclean"),
        ("\x9b2J and \u202e", r"\x9b2J and \u202e"),
        ("Grüße, 注文", "Grüße, 注文"),
    ],
)
def test_what_others_say_neither_fakes_a_line_nor_moves_the_cursor(said: str, written: str) -> None:
    line = TextLines().format(record(said))
    assert written in line and line.isprintable()
    assert json.loads(JsonLines().format(record(said)))["message"] == said
    assert JsonLines().format(record(said)).isprintable()


@pytest.mark.parametrize("as_json", [False, True])
def test_a_traceback_is_kept(as_json: bool, tmp_path: Path) -> None:
    file = tmp_path / "log"
    configure("info", as_json=as_json, file=str(file))
    try:
        raise ValueError("broken")
    except ValueError:
        LINKS.exception("it failed")
    text: Any = file.read_text()
    if as_json:
        text = json.loads(text)["traceback"]
    assert "Traceback" in text and text.rstrip().endswith("ValueError: broken")
