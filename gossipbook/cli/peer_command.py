"""`gossipbook peer`: its options, and what is made of them before a peer starts.

This file decides what is asked for and refuses what does not fit together; the life of the peer
stands in peer_life.py, its prompt in prompt_session.py.

Exit status: 0 as demanded, also when a signal ends a peer that was to serve; 1 where a command from
a pipe failed; 2 for wrong options and files; 130 and 143 where SIGINT or SIGTERM came before the
user had left or the pipe was read.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
import trio

from gossipbook.cli import logs
from gossipbook.cli.network_file import NetworkFile
from gossipbook.cli.peer_life import (
    PeerOptions,
    is_terminal,
    run_peer,
    talk_at_terminal,
    talk_through_pipe,
)
from gossipbook.cli.prompt_output import Output
from gossipbook.errors import StoreError, UsageError
from gossipbook.identity import Keypair
from gossipbook.transport.address import parse as parse_address
from gossipbook.transport.tls import TlsTransport

DEFAULT_RATE_PER_S = 5.0
SWITCH_INTERVAL_S = 0.0005


@click.command()
@click.option("--network", "network_file", required=True, metavar="FILE", help="The network file.")
@click.option("--key", required=True, metavar="FILE", help="This peer's key (gossipbook keygen).")
@click.option("--store", required=True, metavar="FILE", help="Its logs; made where there are none.")
@click.option("--listen", metavar="HOST:PORT", help="Where others can dial it; else it only dials.")
@click.option("--advertise", metavar="HOST:PORT", help="The address to tell others, if it differs.")
@click.option("--join", multiple=True, metavar="HOST:PORT...", help="Peers to dial at first.")
@click.argument("more_to_join", nargs=-1, metavar="")
@click.option(
    "--lan", is_flag=True, help="Find peers on the local network, and be found (zeroconf)."
)
@click.option(
    "--alone",
    is_flag=True,
    help="Sign without asking others how long this key's log is: only for a key that nobody else "
    "has seen, or a store that it last ran with.",
)
@click.option("--serve", is_flag=True, help="No prompt: stay until SIGTERM or Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Answer each command with one JSON object.")
@click.option("--bot", type=click.Choice(["random"]), help="Trade by itself: random orders.")
@click.option(
    "--rate", type=click.FloatRange(0.01, 10_000), help="Orders a second of --bot; 5 unless said."
)
@click.option("--bot-seed", type=int, help="Makes the orders of --bot the same in every run.")
@click.option("--metrics", metavar="HOST:PORT", help="Serve Prometheus metrics there.")
@click.option(
    "--log-level",
    type=click.Choice(logs.LEVELS, case_sensitive=False),
    help="info; at a terminal's prompt: warning.",
)
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True
)
@click.option("--log-file", metavar="FILE", help="Append the log there instead of stderr.")
def peer(
    network_file: str,
    key: str,
    store: str,
    listen: str | None,
    advertise: str | None,
    join: tuple[str, ...],
    more_to_join: tuple[str, ...],
    lan: bool,
    alone: bool,
    serve: bool,
    as_json: bool,
    bot: str | None,
    rate: float | None,
    bot_seed: int | None,
    metrics: str | None,
    log_level: str | None,
    log_format: str,
    log_file: str | None,
) -> None:
    """Run a peer, and trade at its prompt.

    At a terminal, type `help`. Where stdin is a pipe, every line is a command and gets one answer;
    the peer leaves at the end of the pipe, unless it has --serve or --bot.
    """
    if bot is None and (rate is not None or bot_seed is not None):
        raise click.UsageError("--rate and --bot-seed are for --bot random")
    if more_to_join and not join:
        raise click.UsageError(f"{more_to_join[0]!r} is no option; are these peers to --join?")
    at_terminal = is_terminal(sys.stdin) and is_terminal(sys.stdout) and not (serve or as_json)
    level = log_level or ("warning" if at_terminal else "info")
    try:
        logs.configure(level, as_json=log_format == "json", file=log_file)
        options = PeerOptions(
            network=NetworkFile.load(network_file),
            keypair=load_key(key),
            store=store,
            join=tuple(str(parse_address(one)) for one in (*join, *more_to_join)),
            alone=alone,
            serve=serve,
            metrics=metrics,
            lan=lan,
            bot_rate_per_s=None if bot is None else rate or DEFAULT_RATE_PER_S,
            bot_seed=bot_seed,
        )
        transport = TlsTransport(listen, advertise=advertise)
        talk = talk_at_terminal() if at_terminal else talk_through_pipe
        output = Output(as_json=as_json, colours=at_terminal and "NO_COLOR" not in os.environ)
        with tuned_interpreter() as settle_memory:
            status = trio.run(run_peer, options, transport, talk, output, settle_memory)
    except (UsageError, StoreError) as error:
        raise click.UsageError(str(error)) from None
    raise SystemExit(status)


def load_key(path: str) -> Keypair:
    """The key in a file. Raises UsageError, and says how to make one where there is none."""
    if not os.path.exists(path):
        raise UsageError(f"there is no key {path!r}; make one with: gossipbook keygen {path}")
    return Keypair.load(path)


@contextmanager
def tuned_interpreter() -> Iterator[Callable[[], None]]:
    """Python's garbage collector off while a store is read; the function that is given brings it
    back, to look only at what comes later, and seldom. Threads hand each other the interpreter ten
    times sooner than usual.

    With 100,000 orders a start takes 0.6 times as long, and the longest pause when 50,000 more
    come in is 11 ms instead of 122 (python -m bench.storage --only restart, --only collector).
    Under a flood of forged entries a submit waits less for the threads that check and write.
    """
    thresholds, interval_s = gc.get_threshold(), sys.getswitchinterval()
    gc.disable()
    sys.setswitchinterval(SWITCH_INTERVAL_S)

    def settle() -> None:
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        gc.enable()

    try:
        yield settle
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
        gc.enable()
        sys.setswitchinterval(interval_s)
