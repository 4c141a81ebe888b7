"""Shows a demo while it runs: a live screen on a terminal, plain lines everywhere else.

This file decides where the words go, and how often. On a terminal the whole screen is redrawn eight
times a second, on the terminal's second page, so that nothing flickers or scrolls; at the end the
story is printed where it stays. Elsewhere each happening is a line, and every two seconds another
says how things stand. Ctrl-C ends either at once, and so does a signal to terminate; whatever the
demo has started is gone first. It refuses to know the story.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from errno import EPIPE
from pathlib import Path
from typing import Any

import click
import trio
from rich.console import Console
from rich.live import Live

from gossipbook.cli.demo import Demo, Happening
from gossipbook.cli.demo_drawing import LEAST_HEIGHT, LEAST_WIDTH, draw, picture
from gossipbook.cli.demo_view import View, take_view
from gossipbook.cli.ending import Ending

REFRESH_S = 0.125
STATUS_S = 2.0
LINGER_S = 3.0
"""How long the last picture stays on a terminal: it shows that all roots are equal."""

MakeDemo = Callable[..., Demo[Any]]
"""Takes `tell` and `before_heal`; called inside trio."""


def show(
    make_demo: MakeDemo, *, to_stderr: bool = False, screenshot: Path | None = None
) -> Ending | None:
    """Play it; how it ended, or None where somebody pressed Ctrl-C.

    `to_stderr`: plain lines, away from stdout. `screenshot`: where to save a picture (SVG) of the
    screen as it is while somebody is cut off.
    """
    stopped_by: list[int] = []
    try:
        ending = trio.run(_show, make_demo, to_stderr, screenshot, stopped_by)
    except BaseExceptionGroup as group:
        _, others = group.split(BrokenPipeError)
        if others is None:  # whoever read our lines has seen enough
            raise BrokenPipeError(EPIPE, "nobody reads the output any more") from None
        raise
    for number in stopped_by:
        if number != signal.SIGINT:
            signal.raise_signal(number)  # everything is cleared away: end as it demands
    return ending


async def _show(
    make_demo: MakeDemo, to_stderr: bool, screenshot: Path | None, stopped_by: list[int]
) -> Ending | None:
    console = Console()
    is_live = not to_stderr and has_room(console)
    ending = None

    def tell(happening: Happening) -> None:
        if not is_live:
            click.echo(line_of(happening), err=to_stderr)

    def before_heal(demo: Demo[Any]) -> None:
        if screenshot is not None:
            screenshot.write_text(picture(take_view(demo)), encoding="utf-8")

    demo = make_demo(tell=tell, before_heal=before_heal)
    async with trio.open_nursery() as nursery:
        await nursery.start(_cancel_on_signal, nursery.cancel_scope, stopped_by)
        if is_live:
            nursery.start_soon(_redraw, demo, console)
        else:
            nursery.start_soon(_tell_status, demo, to_stderr)
        ending = await demo.play()
        if is_live:
            await trio.sleep(LINGER_S)
        nursery.cancel_scope.cancel()
    if is_live:
        for happening in demo.story:
            click.echo(line_of(happening))
    return ending


def has_room(console: Console) -> bool:
    """Whether this is a terminal on which the live screen can be drawn."""
    return (
        sys.stdout.isatty()
        and not console.is_dumb_terminal
        and console.width >= LEAST_WIDTH
        and console.height >= LEAST_HEIGHT
        and console.encoding.startswith("utf")
    )


def line_of(happening: Happening) -> str:
    """A happening as a line of text."""
    return f"{happening.at_s:7.2f} s  {happening.what}"


def status_of(view: View) -> str:
    """How things stand, as a line of text."""
    up = sum(row.root is not None for row in view.rows)
    peers = "1 peer" if up == 1 else f"{up} peers"
    versions = "one book" if view.settled_books == 1 else f"{view.settled_books} different books"
    return (
        f"{view.elapsed_s:7.2f} s  {view.placed:,} of {view.orders:,} orders; 2 s ago {peers} "
        f"held {versions}; {view.busted:,} trades busted"
    )


async def _redraw(demo: Demo[Any], console: Console) -> None:
    with Live(console=console, screen=True, auto_refresh=False, redirect_stderr=False) as live:
        while True:
            size = console.size
            live.update(draw(take_view(demo), size.width, size.height), refresh=True)
            await trio.sleep(REFRESH_S)


async def _tell_status(demo: Demo[Any], to_stderr: bool) -> None:
    while True:
        await trio.sleep(STATUS_S)
        click.echo(status_of(take_view(demo)), err=to_stderr)


async def _cancel_on_signal(
    scope: trio.CancelScope,
    stopped_by: list[int],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, *_ends()) as signals:
        task_status.started()
        async for number in signals:
            stopped_by.append(number)
            scope.cancel()


def _ends() -> list[int]:
    """The signals that ask a program to end, but those that whoever started it has shut off."""
    names = ("SIGTERM", "SIGHUP")  # Windows has no SIGHUP
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    return [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
