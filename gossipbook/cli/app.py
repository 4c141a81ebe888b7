"""Parses the command line and chooses the exit status.

0: as demanded. 1: something came out otherwise, and stderr says what. 2: the call or a file is
wrong, and the message says how. 130: Ctrl-C. What the commands do stands in files of their names.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path

import click
from click.core import ParameterSource

from gossipbook.cli.cases import CaseFileError
from gossipbook.cli.demo import MARKETS, MOST_PEERS
from gossipbook.cli.demo import Scenario as DemoScenario
from gossipbook.cli.demo_memory import MemoryDemo
from gossipbook.cli.demo_processes import DEFAULT_ORDERS, MOST_PROCESSES, ProcessDemo
from gossipbook.cli.demo_screen import show
from gossipbook.cli.ending import conclude
from gossipbook.cli.genesis_command import genesis
from gossipbook.cli.peer_command import peer
from gossipbook.cli.replay import replay_files
from gossipbook.cli.simulate import LEAST_PEERS, SYMBOLS, Scenario
from gossipbook.cli.simulate import simulate as play
from gossipbook.cli.store_commands import audit, keygen, record
from gossipbook.cli.tape import is_tape_file, replay_tape
from gossipbook.cli.terminal import ProgressReport
from gossipbook.errors import StoreError, UsageError
from gossipbook.link_model import Link

PROBABILITY = click.FloatRange(0, 0.9)


def link_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options for what links do to messages; the command gets them together, as `link`."""

    @click.option(
        "--latency",
        nargs=2,
        type=click.FloatRange(0, 10_000),
        default=(5, 50),
        show_default=True,
        metavar="LOW HIGH",
        help="Least and greatest milliseconds a message takes.",
    )
    @click.option(
        "--loss", type=PROBABILITY, default=0.1, show_default=True, help="Part of messages lost."
    )
    @click.option(
        "--duplication",
        type=PROBABILITY,
        default=0.02,
        show_default=True,
        help="Part that comes twice.",
    )
    @click.option(
        "--reordering",
        type=PROBABILITY,
        default=0.05,
        show_default=True,
        help="Part that comes late.",
    )
    @wraps(command)
    def with_link(
        latency: tuple[float, float],
        loss: float,
        duplication: float,
        reordering: float,
        **others: object,
    ) -> None:
        low_s, high_s = [bound_ms / 1000 for bound_ms in latency]
        try:
            link = Link((low_s, high_s), loss, duplication, reordering)
        except UsageError as error:
            raise click.UsageError(str(error)) from None
        command(link=link, **others)

    return with_link


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def gossipbook() -> None:
    """An order book without a server: signed logs, gossip, price-time matching.

    A market of several machines: `genesis` once, `keygen` and `peer` on each. Besides `peer`,
    nothing is sent to other machines.
    """


gossipbook.add_command(audit)
gossipbook.add_command(genesis)
gossipbook.add_command(keygen)
gossipbook.add_command(peer)
gossipbook.add_command(record)


@gossipbook.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, readable=True)
)
@click.option(
    "--peers",
    type=click.IntRange(1, 100),
    help="Feed the commands through so many gossiping peers on lossy links; all must agree.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the simulated network.")
@click.option("--trades", type=click.Path(dir_okay=False), help="Of a tape: its trades, as CSV.")
@click.option("--trust", is_flag=True, help="Of a tape: do not check the signatures.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON per case or tape.")
def replay(
    files: tuple[str, ...],
    peers: int | None,
    seed: int,
    trades: str | None,
    trust: bool,
    as_json: bool,
) -> None:
    """Run a tape, or matching cases (JSON lines), and compare what comes out with what FILES say.

    A tape (`gossipbook record`) is read from front to back: every signature is checked, every
    command matched, and the root compared with the one recorded.

    A mismatch exits with 1 and shows both versions on stderr; a malformed file exits with 2.
    Cases that only hold where every replacement loses its place are skipped and named.
    """
    tapes = [file for file in files if is_tape_file(file)]
    if tapes:
        if len(files) > 1:
            raise click.UsageError("replay a tape on its own; name one file")
        if peers is not None:
            raise click.UsageError("--peers is for cases; a tape says itself who wrote what")
        try:
            met = replay_tape(files[0], check_signatures=not trust, trades=trades, as_json=as_json)
        except StoreError as error:
            raise click.UsageError(str(error)) from None
        raise SystemExit(0 if met else 1)
    if trades is not None or trust:
        raise click.UsageError("--trades and --trust are for tapes; these files are cases")
    try:
        met = replay_files(files, peers=peers, seed=seed, as_json=as_json)
    except CaseFileError as error:
        raise click.UsageError(str(error)) from None
    raise SystemExit(0 if met else 1)


@gossipbook.command()
@click.option(
    "--peers",
    type=click.IntRange(LEAST_PEERS, 1_000),
    default=8,
    show_default=True,
    help="Peers at the start; one more joins.",
)
@click.option(
    "--orders",
    type=click.IntRange(20),
    default=400,
    show_default=True,
    help="Orders, cancels and replacements in all.",
)
@click.option(
    "--markets", type=click.IntRange(1, len(SYMBOLS)), default=2, show_default=True, help="Markets."
)
@link_options
@click.option("--seed", type=int, default=1, show_default=True, help="Decides everything.")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object on stdout, the story on stderr."
)
def simulate(
    peers: int,
    orders: int,
    markets: int,
    link: Link,
    seed: int,
    as_json: bool,
) -> None:
    """Let peers trade through a partition, a late join, a crash and a cheat.

    Exits with 0 only if afterwards all correct peers hold the same books, trades and roots, and if
    these are what the merged log gives when it is replayed naively. The same arguments give the
    same output.
    """
    scenario = Scenario(peers, orders, markets, seed, link)

    def tell(at_s: float, what: str) -> None:
        click.echo(f"{at_s:8.3f} s  {what}", err=as_json)

    with ProgressReport("simulate", orders, "orders") as progress:
        ending = play(scenario, tell, progress.advance)
    raise SystemExit(conclude("simulate", ending, as_json=as_json))


@gossipbook.command()
@click.option(
    "--peers",
    type=click.IntRange(LEAST_PEERS, MOST_PEERS),
    default=8,
    show_default=True,
    help="Peers at the start; one more joins.",
)
@click.option(
    "--processes",
    type=click.IntRange(LEAST_PEERS, MOST_PROCESSES),
    help="Instead of --peers: so many processes, with TLS between them and stores on disk.",
)
@click.option(
    "--orders",
    type=click.IntRange(20),
    help="Orders, cancels and replacements in all; about 65 a second.  "
    f"[default: 2000; with --processes {DEFAULT_ORDERS}]",
)
@click.option(
    "--markets", type=click.IntRange(1, len(MARKETS)), default=3, show_default=True, help="Markets."
)
@link_options
@click.option(
    "--seed", type=int, default=1, show_default=True, help="Decides orders and chances, not timing."
)
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="With --processes: leave their stores and logs there.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object on stdout, the story on stderr."
)
@click.option(
    "--screenshot",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    hidden=True,
    help="Save a picture of the screen while somebody is cut off (SVG).",
)
def demo(
    peers: int,
    processes: int | None,
    orders: int | None,
    markets: int,
    link: Link,
    seed: int,
    keep: Path | None,
    as_json: bool,
    screenshot: Path | None,
) -> None:
    """Watch peers trade in real time: some cut off, a late joiner, a crash, a key used twice.

    They run in this process, on a network that loses messages, or with --processes in one each,
    over TLS on this machine. On a terminal the screen is live. Exits with 0 only if afterwards all
    correct peers hold the same books, trades and roots, and if these are what the merged log gives
    when it is replayed naively; with 130 after Ctrl-C.
    """
    make_demo: Callable[..., MemoryDemo | ProcessDemo]
    if processes is None:
        if keep is not None:
            raise click.UsageError("--keep is for stores on disk; add --processes 5")
        make_demo = partial(
            MemoryDemo, DemoScenario(peers, orders or 2_000, markets, seed), link=link
        )
    else:
        refuse_with_processes("peers", "latency", "loss", "duplication", "reordering")
        scenario = DemoScenario(processes, orders or DEFAULT_ORDERS, markets, seed)
        make_demo = partial(ProcessDemo, scenario, keep=keep)
    try:
        ending = show(make_demo, to_stderr=as_json, screenshot=screenshot)
    except UsageError as error:
        raise click.UsageError(str(error)) from None
    if ending is None:
        click.echo("gossipbook demo: interrupted", err=True)
        raise SystemExit(130)
    raise SystemExit(conclude("demo", ending, as_json=as_json))


def refuse_with_processes(*options: str) -> None:
    """End with an error where one of these was given: it means nothing for processes."""
    context = click.get_current_context()
    for option in options:
        if context.get_parameter_source(option) is not ParameterSource.COMMANDLINE:
            continue
        if option == "peers":
            raise click.UsageError(
                "give --peers or --processes, not both: each is a number of peers"
            )
        raise click.UsageError(
            f"--{option} is for the network inside one process; processes talk over TLS, which "
            "loses nothing and takes as long as it takes"
        )
