"""Where the log lines of a long-running command go, and what they look like.

The library logs through the standard library (``gossipbook.*``) and is silent by itself; this file
gives it a voice: lines for people, or one JSON object a line for machines. It promises that
calling it again replaces what the call before set up, that other loggers are left alone, and that
nothing a remote peer says can move the cursor or fake a line: control characters are written as
escapes. A log file may be renamed under the running program (logrotate): it is opened anew.

    2026-11-21 14:03:05.123 INFO  links: a1b2c3d4 is linked (203.0.113.5:7000)
    {"ts": "2026-11-21T13:03:05.123Z", "level": "info", "logger": "gossipbook.links", ...}
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler

from gossipbook.errors import UsageError

LEVELS = ("debug", "info", "warning", "error")

_ROOT = "gossipbook"
_SHORT_LEVELS = {"WARNING": "WARN", "CRITICAL": "FATAL"}
_BUILT_IN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure(level: str, *, as_json: bool, file: str | None) -> None:
    """Write the library's log lines of ``level`` (a name of LEVELS, in any case) and above to a
    file, appending, or to stderr.

    Raises UsageError for a level that there is not, and a file that cannot be written.
    """
    if level.lower() not in LEVELS:
        raise UsageError(f"log level {level!r} is none; choose one of {', '.join(LEVELS)}")
    handler: logging.Handler = _ToStderr() if file is None else _open(file)
    handler.setFormatter(JsonLines() if as_json else TextLines())
    handler.set_name(_ROOT)
    root = logging.getLogger(_ROOT)
    for known in list(root.handlers):
        if known.get_name() == _ROOT:
            root.removeHandler(known)
            known.close()
    root.addHandler(handler)
    root.setLevel(level.upper())


class TextLines(logging.Formatter):
    """A line a person reads: local time, level, the logger without "gossipbook.", message."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).isoformat(" ", "milliseconds")
        level = _SHORT_LEVELS.get(record.levelname, record.levelname)
        name = record.name.removeprefix(f"{_ROOT}.")
        line = f"{time} {level:<5} {name}: {_printable(record.getMessage())}"
        trouble = _traceback(self, record)
        return line if trouble is None else f"{line}\n{trouble}"


class JsonLines(logging.Formatter):
    """One JSON object a line: ts (UTC), level, logger, message, and the record's extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat("T", "milliseconds")
        line: dict[str, object] = {
            "ts": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in vars(record).items():
            if name not in _BUILT_IN:
                line.setdefault(name, value)
        trouble = _traceback(self, record)
        if trouble is not None:
            line["traceback"] = trouble
        return json.dumps(line, default=str)


class _ToStderr(logging.Handler):
    """To whatever stderr is at the moment: a prompt that is being edited puts its own there."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except Exception:
            self.handleError(record)


def _open(file: str) -> logging.Handler:
    try:
        return WatchedFileHandler(file, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"the log file {file} cannot be written: {error.strerror}; name another, or none to "
            "log to stderr"
        ) from None


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str | None:
    return formatter.formatException(record.exc_info) if record.exc_info else None


def _printable(text: str) -> str:
    """The text with everything that a terminal might act on written as an escape."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
