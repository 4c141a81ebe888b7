"""The prompt at a terminal: editing, history, completion, and news above the line being typed.

This file is thin: it reads lines with prompt_toolkit, in a worker thread since that runs an asyncio
loop of its own, and hands them to the session. It promises that the terminal is left as it was,
also when the program is told to end, and that only plain values cross between the threads.

Ctrl-C clears the line; in an empty line, twice, it leaves; while a command runs it ends the
command. Ctrl-D leaves.
"""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from enum import Enum, auto
from time import perf_counter

import trio
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.patch_stdout import patch_stdout
from prompt_toolkit.shortcuts import CompleteStyle
from prompt_toolkit.styles import Style

from gossipbook.cli.prompt_answers import Line
from gossipbook.cli.prompt_completion import CompletionWords, complete
from gossipbook.cli.prompt_language import Quit, parse
from gossipbook.cli.prompt_output import Output
from gossipbook.cli.prompt_session import Session, explain
from gossipbook.errors import GossipbookError, PeerClosed

REFRESH_S = 0.5
COST_FACTOR = 50
"""Refreshing takes a fiftieth of the time at most."""
RESTORING_S = 1.0
"""How long the terminal gets to become what it was when the program is told to end."""


class _Key(Enum):
    """What ends a line besides Enter."""

    INTERRUPT = auto()
    END = auto()


class Terminal:
    """One user at one terminal."""

    def __init__(self, session: Session, output: Output, history: str | None) -> None:
        self._session = session
        self._output = output
        self._words = CompletionWords()
        self._toolbar = ""
        self._finished = threading.Event()
        self._prompt: PromptSession[str] = PromptSession(
            history=open_history(history),
            completer=_Words(lambda: self._words),
            complete_while_typing=False,
            complete_style=CompleteStyle.MULTI_COLUMN,
            bottom_toolbar=lambda: self._toolbar,
            key_bindings=_key_bindings(),
            refresh_interval=REFRESH_S,
            style=Style.from_dict({"bottom-toolbar": "noreverse"}),
        )
        self._command = trio.CancelScope()
        self._in_command = False

    async def run(self) -> None:
        """Read and carry out commands until the user leaves."""
        interrupted = False
        async with self._refreshing():
            while True:
                line = await self._read()
                if line is _Key.END or (interrupted and line is _Key.INTERRUPT):
                    return
                interrupted = line is _Key.INTERRUPT
                if interrupted:
                    self._output.lines([Line("Ctrl-C once more leaves; so does Ctrl-D", "dim")])
                elif isinstance(line, str) and not await self._carry_out(line):
                    return

    def interrupt(self) -> bool:
        """End the command that runs; False where none does."""
        if self._in_command:
            self._command.cancel()
        return self._in_command

    async def _carry_out(self, line: str) -> bool:
        """Whether to go on."""
        self._in_command = True
        try:
            with trio.CancelScope() as self._command:
                wish = parse(line)
                if isinstance(wish, Quit):
                    return False
                if wish is not None:
                    self._output.answer(await self._session.answer(wish))
            if self._command.cancelled_caught:
                self._output.lines([Line("interrupted", "bad")])
        except PeerClosed:
            raise
        except GossipbookError as error:
            self._output.failure(explain(error))
        finally:
            self._in_command = False
        return True

    async def _read(self) -> str | _Key:
        """The next line. When cancelled, the terminal is restored first."""
        self._refresh()
        self._finished.clear()
        try:
            return await trio.to_thread.run_sync(
                self._read_in_thread, f"{self._session.market}> ", abandon_on_cancel=True
            )
        except trio.Cancelled:
            self._give_up()
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._finished.wait, RESTORING_S)
            raise

    def _read_in_thread(self, prompt: str) -> str | _Key:
        try:
            return self._prompt.prompt(prompt, handle_sigint=False)
        except KeyboardInterrupt:
            return _Key.INTERRUPT
        except EOFError:
            return _Key.END
        finally:
            self._finished.set()

    def _give_up(self) -> None:
        """Have the prompt end, in its own thread."""
        app = self._prompt.app

        def end() -> None:
            with suppress(Exception):  # it ended by itself meanwhile
                app.exit(exception=EOFError)

        if app.loop is None:
            self._finished.set()
            return
        with suppress(RuntimeError):  # its loop is closed already
            app.loop.call_soon_threadsafe(end)

    # ---------------------------------------------------------------- what the other thread reads

    @asynccontextmanager
    async def _refreshing(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_refreshing)
            yield
            nursery.cancel_scope.cancel()

    async def _keep_refreshing(self) -> None:
        """Twice a second; less often where the books are so large that it would cost much."""
        cost_s = 0.0
        while True:
            await trio.sleep(max(REFRESH_S, COST_FACTOR * cost_s))
            started_s = perf_counter()
            self._refresh()
            cost_s = perf_counter() - started_s

    def _refresh(self) -> None:
        self._words = self._session.completion_words()
        self._toolbar = self._session.summary()


def above_the_prompt() -> AbstractContextManager[None]:
    """In its block, what is printed appears above the line that is being typed."""
    return patch_stdout(raw=True)


def open_history(path: str | None) -> History:
    """Lines of earlier sessions, in a file that only its owner may read; else in memory."""
    if path is None:
        return InMemoryHistory()
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    except OSError:
        return InMemoryHistory()
    return FileHistory(path)


class _Words(Completer):
    def __init__(self, words: Callable[[], CompletionWords]) -> None:
        self._words_now = words

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterator[Completion]:
        typed, candidates = complete(document.text_before_cursor, self._words_now())
        for one in candidates:
            yield Completion(one.word, start_position=-len(typed), display_meta=one.about)


def _key_bindings() -> KeyBindings:
    bindings = KeyBindings()

    @bindings.add("c-c")
    def _clear_or_interrupt(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt)

    return bindings
