"""A peer with a user, from its start to its goodbye.

This file puts a peer, its extras and whoever talks to its user together, and decides when it ends:
when the user leaves, when the pipe is read, or at a signal. In each case it says goodbye to the
others first, within about two seconds. It refuses to know options of the command line and the
meaning of commands.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import TextIO, TypeAlias

import trio

from gossipbook.cli.bot import trade_randomly
from gossipbook.cli.network_file import NetworkFile
from gossipbook.cli.prompt_answers import Line
from gossipbook.cli.prompt_news import NewsDesk, Notice
from gossipbook.cli.prompt_output import Output
from gossipbook.cli.prompt_pipe import read_lines, run_pipe
from gossipbook.cli.prompt_session import Session, make_session
from gossipbook.errors import GossipbookError, NotAMember, UsageError
from gossipbook.identity import Keypair
from gossipbook.peer import Peer, open_peer
from gossipbook.transport.address import parse as parse_address
from gossipbook.transport.interface import Transport

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM)

log = logging.getLogger("gossipbook.peer")


@dataclass(frozen=True, slots=True)
class PeerOptions:
    """What `gossipbook peer` was asked for."""

    network: NetworkFile
    keypair: Keypair
    store: str
    join: tuple[str, ...] = ()
    alone: bool = False
    serve: bool = False
    metrics: str | None = None
    lan: bool = False
    bot_rate_per_s: float | None = None
    bot_seed: int | None = None

    @property
    def stays(self) -> bool:
        """Whether it goes on when there are no more commands."""
        return self.serve or self.bot_rate_per_s is not None


@dataclass
class Ending:
    """Who may end the program, and whether somebody has."""

    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    """Around everything that the peer is open for, so that it closes in good order after it."""
    signal: int | None = None
    interrupt: Callable[[], bool] = lambda: False
    """Asked at SIGINT: ends what is being done at the moment instead, if something is."""

    async def listen(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            if number == signal.SIGINT and self.interrupt():
                continue
            self.signal = number
            self.scope.cancel()


@dataclass(frozen=True, slots=True)
class Run:
    """A peer that is open, and what whoever talks to its user needs besides."""

    peer: Peer
    options: PeerOptions
    output: Output
    ending: Ending
    remarks: list[Line]
    """What its user should know at the start."""


Talk: TypeAlias = Callable[[Run], Awaitable[None]]
"""Talks to the user until the peer is to close."""


async def run_peer(
    options: PeerOptions,
    transport: Transport,
    talk: Talk,
    output: Output,
    settle_memory: Callable[[], None] = lambda: None,
) -> int:
    """A peer from its start to its goodbye; the exit status.

    ``settle_memory`` is called once the store is read. Raises UsageError and StoreError.
    """
    ending, failure = Ending(), None
    with trio.open_signal_receiver(*ENDING_SIGNALS) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ending.listen, signals)
            try:
                await _run_open_peer(options, transport, talk, output, ending, settle_memory)
            except GossipbookError as error:  # raised below, as itself and not in a group
                failure = error
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    if ending.signal is not None and not options.stays:
        return 128 + ending.signal
    return 1 if output.failures else 0


async def _run_open_peer(
    options: PeerOptions,
    transport: Transport,
    talk: Talk,
    output: Output,
    ending: Ending,
    settle_memory: Callable[[], None],
) -> None:
    genesis = options.network.genesis
    _require_member(options)
    metrics = load_extra("gossipbook.metrics", "--metrics", "metrics") if options.metrics else None
    lan = load_extra("gossipbook.lan", "--lan", "lan") if options.lan else None
    async with (
        open_peer(
            genesis,
            options.keypair,
            store=options.store,
            transport=transport,
            bootstrap=options.join,
            alone=True if options.alone else False if options.lan else None,
        ) as peer,
        AsyncExitStack() as stack,
    ):
        remarks = opening_remarks(peer, options)
        settle_memory()
        if metrics is not None:
            where = parse_address(options.metrics, port_zero=True)
            at = await stack.enter_async_context(metrics.serve(peer, where.host, where.port))
            remarks.append(Line(f"metrics  http://{at}/metrics"))
        if lan is not None:
            await stack.enter_async_context(lan.announce_and_find(peer, genesis))
        async with trio.open_nursery() as nursery:
            with ending.scope:
                if options.bot_rate_per_s is not None:
                    nursery.start_soon(
                        partial(
                            trade_randomly,
                            peer,
                            rate_per_s=options.bot_rate_per_s,
                            seed=options.bot_seed,
                        )
                    )
                await talk(Run(peer, options, output, ending, remarks))
            nursery.cancel_scope.cancel()


async def talk_through_pipe(run: Run) -> None:
    """Carry out the lines of stdin; then stay, if that is asked for."""
    for line in run.remarks:
        log.info(line.text)
    if sys.stdin is not None and not (run.options.serve and is_terminal(sys.stdin)):
        session, news = session_of(run)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(news.watch)
            async with aclosing(read_lines(sys.stdin.fileno())) as lines:
                await run_pipe(session, lines, run.output)
            nursery.cancel_scope.cancel()
    if run.options.stays:
        await trio.sleep_forever()


def talk_at_terminal() -> Talk:
    """A prompt, with news above it. Raises UsageError where a package is missing."""
    terminals = load_extra("gossipbook.cli.prompt_terminal", "the prompt", "cli")

    async def talk(run: Run) -> None:
        def tell(notice: Notice) -> None:
            run.output.lines([notice.line])

        with terminals.above_the_prompt():
            session, news = session_of(run, tell)
            terminal = terminals.Terminal(session, run.output, f"{run.options.store}.history")
            run.ending.interrupt = terminal.interrupt
            run.output.lines(
                [*introduction(run), *run.remarks, Line("`help` lists the commands", "dim")]
            )
            async with trio.open_nursery() as nursery:
                nursery.start_soon(news.watch)
                await terminal.run()
                nursery.cancel_scope.cancel()
            run.output.lines([Line("saying goodbye", "dim")])

    return talk


def session_of(run: Run, tell: Callable[[Notice], None] | None = None) -> tuple[Session, NewsDesk]:
    """A session with the peer that runs."""
    return make_session(
        run.peer,
        names=run.options.network.names,
        store=run.options.store,
        tell=tell,
        read_address=lambda text: str(parse_address(text)),
    )


def introduction(run: Run) -> list[Line]:
    """Who this peer is and what it found in its store. Without a prompt, the log says it."""
    peer, genesis = run.peer, run.peer.genesis
    name = run.options.network.names.get(peer.peer_id)
    lines = [
        Line(f"peer     {peer.peer_id.hex()}"),
        *([Line(f"         {name}")] if name else []),
        Line(f"network  {genesis.name}"),
        Line(f"         {genesis.network_id.hex()}"),
        Line(f"address  {peer.address or 'none: this peer only dials others'}"),
        Line(f"store    {run.options.store}: {peer.entry_count:,} entries"),
    ]
    return lines + [Line(f"DAMAGED: {damage}", "loud") for damage in peer.damage]


def opening_remarks(peer: Peer, options: PeerOptions) -> list[Line]:
    """What the user of a peer that has just been opened should know or do."""
    if peer.running.own.confirmed:
        return []
    lines = [Line("orders wait until another peer has confirmed how long this key's log is")]
    if not options.join and not options.lan:
        lines.append(Line("peers met before are dialled; --join HOST:PORT names others"))
    return lines


def _require_member(options: PeerOptions) -> None:
    genesis, own_id = options.network.genesis, options.keypair.peer_id
    if not genesis.is_member(own_id):
        raise NotAMember(
            f"this key's id {own_id.hex()} is not among the {len(genesis.members or ())} members "
            f"of {genesis.name!r}, so nobody would link to it; use a member's key, or ask for a "
            "network file that lists this id"
        )


def load_extra(module: str, option: str, extra: str) -> ModuleType:
    """A module that needs a package which not everybody has. Raises UsageError."""
    try:
        return import_module(module)
    except ImportError as error:
        raise UsageError(
            f"{option} needs a package that is not installed ({error.name or error}); install it "
            f"with: pip install 'gossipbook[{extra}]'"
        ) from None


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody sits there; a service may have no such stream at all."""
    return stream is not None and stream.isatty()
