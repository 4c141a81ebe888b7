"""The prompt with a pretended keyboard: keys in, commands carried out, the way out found."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from twins.trio_peers import keypair, until
from twins.virtual_time import real_time

import gossipbook as gb
from gossipbook.cli.prompt_output import Output
from gossipbook.cli.prompt_session import make_session
from gossipbook.cli.prompt_terminal import Terminal, open_history

pytestmark = real_time

GENESIS = gb.Genesis("terminal", [gb.Market("ONE"), gb.Market("TWO")])
CTRL_C, CTRL_D, ENTER = "\x03", "\x04", "\r"


@dataclass
class Sitting:
    """A terminal, its keyboard, and what it has shown."""

    terminal: Terminal
    peer: gb.Peer
    keyboard: Any
    shown: list[str]
    ended: trio.Event

    async def type(self, text: str, *, until_shown: str | None = None) -> None:
        self.keyboard.send_text(text)
        if until_shown is not None:
            await until(
                lambda: any(until_shown in line for line in self.shown),
                f"{until_shown!r} in {self.shown}",
                within_s=10,
            )


@asynccontextmanager
async def sitting(history: Path | None = None) -> AsyncIterator[Sitting]:
    shown: list[str] = []
    ended = trio.Event()
    with create_pipe_input() as keyboard, create_app_session(keyboard, DummyOutput()):
        async with gb.open_peer(GENESIS, keypair(1)) as peer, trio.open_nursery() as nursery:
            session, _ = make_session(peer)
            path = None if history is None else str(history)
            terminal = Terminal(session, Output(shown.append, shown.append), path)

            async def run() -> None:
                await terminal.run()
                ended.set()

            nursery.start_soon(run)
            with trio.fail_after(20):
                yield Sitting(terminal, peer, keyboard, shown, ended)
            nursery.cancel_scope.cancel()


async def test_what_is_typed_is_carried_out_and_mistakes_are_told() -> None:
    async with sitting() as one:
        await one.type("buy 1 50" + ENTER, until_shown="#1 buy 1 at 50 in ONE: resting")
        await one.type("byu" + ENTER, until_shown="did you mean buy?")
        await one.type("cancel #1" + ENTER, until_shown="#1 buy 1 at 50 in ONE: cancelled")
        await one.type("quit" + ENTER)
        await one.ended.wait()
        assert one.peer.entry_count == 2


async def test_tab_completes() -> None:
    async with sitting() as one:
        await one.type("whoa\t")
        line = one.terminal._prompt.default_buffer
        await until(lambda: line.text == "whoami", "it is completed", within_s=10)
        await one.type(ENTER, until_shown=one.peer.peer_id.hex())


async def test_ctrl_d_leaves() -> None:
    async with sitting() as one:
        await one.type(CTRL_D)
        await one.ended.wait()


async def test_ctrl_c_clears_the_line_and_twice_in_an_empty_one_leaves() -> None:
    async with sitting() as one:
        await one.type("buy 1 5" + CTRL_C + "market" + ENTER, until_shown="trading in ONE")
        assert one.peer.entry_count == 0
        await one.type(CTRL_C, until_shown="Ctrl-C once more leaves")
        assert not one.ended.is_set()
        await one.type("market two" + ENTER, until_shown="trading in TWO")
        one.shown.clear()
        await one.type(CTRL_C, until_shown="Ctrl-C once more leaves")
        await one.type(CTRL_C)
        await one.ended.wait()


async def test_an_interrupt_ends_the_command_that_runs_and_not_the_prompt() -> None:
    async with sitting() as one:
        assert not one.terminal.interrupt()
        await one.type("wait peers 1" + ENTER)
        await until(one.terminal.interrupt, "a command runs", within_s=10)
        await one.type("market" + ENTER, until_shown="trading in ONE")
        assert "interrupted" in one.shown and not one.ended.is_set()


async def test_being_told_to_end_gives_the_terminal_back_first() -> None:
    async with sitting() as one:
        await one.type("market" + ENTER, until_shown="trading in ONE")
        await until(lambda: one.terminal._prompt.app.is_running, "it reads a line", within_s=10)
    assert not one.terminal._prompt.app.is_running


async def test_history_is_kept_in_a_file_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "alice.db.history"
    async with sitting(path) as one:
        await one.type("market two" + ENTER, until_shown="trading in TWO")
        await one.type("quit" + ENTER)
        await one.ended.wait()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "+market two" in path.read_text()
    assert list(open_history(str(path)).load_history_strings()) == ["quit", "market two"]


async def test_a_history_that_cannot_be_written_is_kept_in_memory(tmp_path: Path) -> None:
    async with sitting(tmp_path / "nowhere" / "history") as one:
        await one.type("market two" + ENTER, until_shown="trading in TWO")
