"""Commands from a pipe: answers in order, failures with their line, the end where the pipe ends."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing

import trio
from twins.trio_peers import keypair
from twins.virtual_time import real_time, virtual_time

import gossipbook as gb
from gossipbook.cli.prompt_output import Output
from gossipbook.cli.prompt_pipe import LONGEST_LINE_BYTES, read_lines, run_pipe
from gossipbook.cli.prompt_session import make_session

pytestmark = virtual_time

GENESIS = gb.Genesis("pipe", [gb.Market("ONE")])


class Each:
    """Lines that are there already."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        await trio.lowlevel.checkpoint()
        for line in self._lines:
            return line
        raise StopAsyncIteration


class LosesReader(Output):
    """An output whose reader is gone from the start."""

    def lose_reader(self) -> None:
        self.failures += 1  # and stdout stays as it is: it is that of the tests


async def piped(lines: Iterable[str], **options: bool) -> tuple[Output, list[str], list[str]]:
    written: list[str] = []
    complained: list[str] = []
    output = Output(written.append, complained.append, **options)
    async with gb.open_peer(GENESIS, keypair(1)) as peer:
        session, _ = make_session(peer)
        await run_pipe(session, Each(lines), output)
    return output, written, complained


async def test_every_line_has_its_answer_and_a_wrong_one_its_number() -> None:
    lines = ["# a script", "", "buy 1 50", "buy 1 50.5", "byu", "orders"]
    output, written, complained = await piped(lines)
    assert written[0] == "#1 buy 1 at 50 in ONE: resting" and written[-1].startswith("#1")
    assert [one.partition(":")[0] for one in complained] == ["line 4", "line 5"]
    assert output.failures == 2


async def test_json_gives_one_object_for_each_command() -> None:
    lines = ["# a script", "buy 1 50", "byu", "", "sell 1 50", "quit", "status"]
    output, written, complained = await piped(lines, as_json=True)
    objects = [json.loads(line) for line in written]
    assert [one["line"] for one in objects] == [2, 3, 5]
    assert "error" in objects[1] and len(complained) == output.failures == 1
    assert objects[2]["order"]["state"] == "filled"
    assert [one["price"] for one in objects[2]["trades"]] == ["50"]


async def test_a_rejected_order_is_an_answer_and_no_failure() -> None:
    output, written, _ = await piped(["buy 1 50 fok"])
    assert "REJECTED" in written[0] and output.failures == 0


async def test_an_order_that_nobody_confirms_fails_with_the_remedy() -> None:
    complained: list[str] = []
    output = Output([].append, complained.append)
    network = gb.MemoryNetwork()
    async with gb.open_peer(
        GENESIS, keypair(1), transport=network.transport(), bootstrap=["nobody"]
    ) as peer:
        session, _ = make_session(peer)
        await run_pipe(session, Each(["buy 1 50", "status"]), output)
    assert output.failures == 1 and "join HOST:PORT" in complained[0]


async def test_a_reader_that_went_away_ends_it() -> None:
    def closed_pipe(line: str) -> None:
        raise BrokenPipeError

    output = LosesReader(closed_pipe, [].append)
    async with gb.open_peer(GENESIS, keypair(1)) as peer:
        session, _ = make_session(peer)
        await run_pipe(session, Each(["help", "buy 1 50"]), output)
        assert peer.entry_count == 0
    assert output.failures == 1


@real_time
async def test_lines_come_as_they_are_written_however_they_are_cut() -> None:
    reader, writer = os.pipe()
    lines: list[str] = []

    async def read() -> None:
        async with aclosing(read_lines(reader)) as incoming:
            async for line in incoming:
                lines.append(line)  # noqa: PERF401  # one by one: the test looks meanwhile

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for piece in (b"bu", b"y 1 50\nsel", b"l 1", b" 60\n\nboo", b"k"):
            os.write(writer, piece)
            await trio.sleep(0.01)
        assert lines == ["buy 1 50", "sell 1 60", ""]
        os.close(writer)
    os.close(reader)
    assert lines == ["buy 1 50", "sell 1 60", "", "book"]


@real_time
async def test_a_line_without_end_takes_no_memory_without_end() -> None:
    reader, writer = os.pipe()

    async def write() -> None:
        for _ in range(40):
            await trio.to_thread.run_sync(os.write, writer, b"x" * 60_000)
        os.close(writer)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        lines = [line async for line in read_lines(reader)]
    os.close(reader)
    assert len(lines) == 1 and len(lines[0]) <= LONGEST_LINE_BYTES
