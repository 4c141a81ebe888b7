"""A process with a peer in it, seen from the one that started it: asked, stopped, ended.

This file decides how a process that runs `demo_child` is started and ended, and how questions and
answers meet. It promises that none is left behind: leaving the block of `open_child` kills it;
Ctrl-C reaches only the process of the story, for each has a process group of its own; and where the
story is gone, a process reads the end of its stdin. One that is frozen then is woken by the kernel,
which does that to process groups that nobody looks after. It refuses to know what is asked.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import trio

from gossipbook import errors
from gossipbook.cli.demo_child import Lines, Said

PROGRAM = "gossipbook.cli.demo_child"
STOP_POLL_S = 0.001
END_LIMIT_S = 5.0
LOG_TAIL_BYTES = 2_000


class ProcessEnded(Exception):
    """A process ended although nobody had asked it to."""


@asynccontextmanager
async def open_child(
    name: str, log: Path, hear: Callable[[Said], None]
) -> AsyncIterator[ChildProcess]:
    """A process that runs `demo_child`, for the length of the block; `hear` is told of its events.

    Raises ProcessEnded, in a group, where it ends by itself.
    """
    with log.open("ab") as complaints:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            process_group=0,
        )
    try:
        async with trio.open_nursery() as nursery:
            child = ChildProcess(name, process, log, hear)
            nursery.start_soon(child.listen)
            yield child
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()
            for stream in (process.stdin, process.stdout):
                assert stream is not None
                await trio.aclose_forcefully(stream)


class ChildProcess:
    """A process that is asked and answers. `open_child` makes it."""

    def __init__(
        self, name: str, process: trio.Process, log: Path, hear: Callable[[Said], None]
    ) -> None:
        assert process.stdin is not None and process.stdout is not None
        self.process = process
        self._name = name
        self._log = log
        self._hear = hear
        self._incoming = Lines(process.stdout)
        self._outgoing = process.stdin
        self._turn = trio.Lock()
        self._numbers = count()
        self._waiting: dict[int, trio.MemorySendChannel[Said]] = {}
        self._may_end = False

    async def ask(self, what: str, **arguments: object) -> Any:
        """The answer to a request. Raises the GossipbookError that it answers with."""
        number = next(self._numbers)
        self._waiting[number], answers = trio.open_memory_channel[Said](1)
        request = json.dumps({"id": number, "what": what, **arguments})
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # `listen` says it
            async with self._turn:
                await self._outgoing.send_all(request.encode() + b"\n")
        told = await answers.receive()
        if "error" in told:
            kind, message = told["error"]
            raise getattr(errors, kind)(message)
        return told["answer"]

    async def listen(self) -> None:
        """Take what it says, until it ends. Raises ProcessEnded if it should not have."""
        while (told := await self._incoming.next()) is not None:
            if "event" in told:
                self._hear(told)
            else:
                self._waiting.pop(told["id"]).send_nowait(told)
        if not self._may_end:
            raise ProcessEnded(self._last_words(await self.process.wait()))

    async def end(self) -> Any:
        """Let the peer leave and the process end; the answer. Raises ProcessEnded where it does not
        end well."""
        answer = await self.ask("leave")
        self._may_end = True
        await self._outgoing.aclose()
        with trio.move_on_after(END_LIMIT_S):
            await self.process.wait()
        if self.process.returncode != 0:
            raise ProcessEnded(self._last_words(self.process.returncode))
        return answer

    @asynccontextmanager
    async def stopped(self) -> AsyncIterator[None]:
        """The process stands still for the length of the block."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            while os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOHANG) is None:
                await trio.sleep(STOP_POLL_S)
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def _last_words(self, status: int | None) -> str:
        if status is None:
            how = f"did not end within {END_LIMIT_S:.0f} s"
        elif status < 0:
            how = f"was ended by {signal.Signals(-status).name}"
        else:
            how = f"ended with status {status}"
        tail = self._log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").rstrip()
        return f"the process of {self._name} {how}" + (f":\n{tail}" if tail else "")
