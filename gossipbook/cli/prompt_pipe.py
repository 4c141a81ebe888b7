"""Commands from a pipe: one line, one answer, until the pipe ends.

This file decides what a script gets: a wrong line is told on stderr with its number, and the next
one is carried out all the same; `quit`, or nobody reading the answers any more, ends it as the end
of the pipe does. It promises answers in the order of the lines. It refuses to know whether lines
come from a pipe or a list.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator

import trio

from gossipbook.cli.prompt_language import Quit, parse
from gossipbook.cli.prompt_output import Output
from gossipbook.cli.prompt_session import Session, explain
from gossipbook.errors import GossipbookError, PeerClosed

CHUNK_BYTES = 65_536
LONGEST_LINE_BYTES = 65_536


async def run_pipe(session: Session, lines: AsyncIterator[str], output: Output) -> None:
    """Carry out each line; ``output`` counts those that failed."""
    number = 0
    async for line in lines:
        number += 1
        try:
            wish = parse(line)
            if wish is None:
                continue
            if isinstance(wish, Quit):
                break
            output.answer(await session.answer(wish), line_number=number)
        except PeerClosed:
            raise
        except BrokenPipeError:
            output.lose_reader()
            break
        except GossipbookError as error:
            output.failure(explain(error), line_number=number)


async def read_lines(descriptor: int) -> AsyncGenerator[str, None]:
    """The lines from a file descriptor, as they come; a last one without a line break, too.

    Reads in a thread with ``os.read``: cancelling leaves one behind that waits, without the lock of
    ``sys.stdin`` that would hinder the interpreter's end.
    """
    rest = b""
    while True:
        chunk = await trio.to_thread.run_sync(
            os.read, descriptor, CHUNK_BYTES, abandon_on_cancel=True
        )
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")
        if not chunk:
            break
        if len(rest) > LONGEST_LINE_BYTES:
            rest = rest[:LONGEST_LINE_BYTES]
    if rest:
        yield rest.decode(errors="replace")
