"""What people see: tables and progress, dressed for a terminal, plain lines elsewhere.

This file decides only looks. It promises that what goes to a file or a pipe holds no control
characters and is the same for the same input, and that progress goes to stderr and appears only
when something takes longer than a second.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from time import monotonic
from types import TracebackType

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

PATIENCE_S = 1.0
LINE_EVERY_S = 5.0


def show_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on stdout; columns whose values are all numbers stand to the right."""
    cells = [[_text(value) for value in row] for row in rows]
    numeric = [
        bool(rows) and all(isinstance(row[column], int | float) for row in rows)
        for column in range(len(heads))
    ]
    if sys.stdout.isatty():
        table = Table()
        for head, is_number in zip(heads, numeric, strict=True):
            table.add_column(head, justify="right" if is_number else "left")
        for row in cells:
            table.add_row(*row)
        Console().print(table, markup=False)
        return
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    for row in (list(heads), *cells):
        padded = [
            text.rjust(width) if is_number else text.ljust(width)
            for text, width, is_number in zip(row, widths, numeric, strict=True)
        ]
        click.echo("  ".join(padded).rstrip())


def _text(value: object) -> str:
    return f"{value:,}" if type(value) is int else str(value)


class ProgressReport:
    """`with ProgressReport("replay", total, "commands") as progress: progress.advance()`."""

    def __init__(self, label: str, total: int, unit: str) -> None:
        self._label = label
        self._total = total
        self._unit = unit
        self._done = 0
        self._started_s = monotonic()
        self._next_s = self._started_s + PATIENCE_S
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> ProgressReport:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, count: int = 1) -> None:
        """So much more is done."""
        self._done += count
        if monotonic() < self._next_s:
            return
        if sys.stderr.isatty():
            self._next_s += 0.1
            self._draw()
        else:
            self._next_s += LINE_EVERY_S
            elapsed_s = monotonic() - self._started_s
            click.echo(
                f"{self._label}: {self._done:,} of {self._total:,} {self._unit}, {elapsed_s:.0f} s",
                err=True,
            )

    def _draw(self) -> None:
        if self._bar is None:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed:,.0f} of {task.total:,.0f} " + self._unit),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(self._label, total=self._total)
        self._bar.update(self._task, completed=self._done)
