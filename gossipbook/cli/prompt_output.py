"""The one way out: what is said at a prompt or into a pipe goes through an `Output`.

This file decides what an answer looks like: coloured lines, plain lines, or one JSON object a line.
It promises that nothing a remote peer said moves the cursor or fakes a line (control characters are
written as escapes), and that failures go to stderr with the number of their line in a pipe.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import click

from gossipbook.cli.prompt_answers import Answer, Line, Tone

Write = Callable[[str], None]
"""Takes one line without its line break."""


def to_stdout(line: str) -> None:
    """Looks stdout up each time: a prompt that is being edited puts its own there."""
    print(line, file=sys.stdout, flush=True)


def to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@dataclass(slots=True)
class Output:
    """Where answers go (`write`), and where complaints about lines of a pipe (`complain`)."""

    write: Write = to_stdout
    complain: Write = to_stderr
    as_json: bool = False
    colours: bool = False
    failures: int = 0
    """Lines of a pipe that were wrong, or could not be carried out."""

    def lines(self, lines: Iterable[Line]) -> None:
        """Lines for people."""
        for line in lines:
            self.write(dressed(line, colours=self.colours))

    def answer(self, answer: Answer, *, line_number: int | None = None) -> None:
        """The answer to one command; in JSON, with the number of its line."""
        if not self.as_json:
            self.lines(answer.lines)
        elif answer.command != "quit":
            self._object(line_number, {"command": answer.command, **answer.fields})

    def failure(self, message: str, *, line_number: int | None = None) -> None:
        """A command that was wrong, or could not be carried out."""
        if self.as_json:
            self._object(line_number, {"error": message})
        if line_number is not None:
            self.failures += 1
            self.complain(printable(f"line {line_number}: {message}"))
        elif not self.as_json:
            self.lines([Line(message, "bad")])

    def lose_reader(self) -> None:
        """Nobody reads the answers any more; it counts as a failure."""
        self.failures += 1
        self.write = lambda line: None
        with suppress(OSError):  # or the interpreter complains at its end of what it cannot write
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _object(self, line_number: int | None, fields: dict[str, Any]) -> None:
        numbered = {} if line_number is None else {"line": line_number}
        self.write(json.dumps({**numbered, **fields}))


def dressed(line: Line, *, colours: bool) -> str:
    """A line as it is written."""
    text = printable(line.text)
    return click.style(text, **_STYLES[line.tone]) if colours and _STYLES[line.tone] else text


def printable(text: str) -> str:
    """The text with everything that a terminal might act on written as an escape."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


_STYLES: dict[Tone, dict[str, Any]] = {
    "plain": {},
    "good": {"fg": "green"},
    "bad": {"fg": "red"},
    "loud": {"fg": "white", "bg": "red", "bold": True},
    "dim": {"dim": True},
    "bid": {"fg": "green"},
    "ask": {"fg": "red"},
}
