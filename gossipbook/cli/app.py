"""Parses the command line and chooses the exit status.

0: as demanded. 1: something came out otherwise, and stderr says what. 2: the call or a file is
wrong, and the message says how. What the commands do stands in files of their names.
"""

from __future__ import annotations

import json

import click

from gossipbook.cli.cases import CaseFileError
from gossipbook.cli.replay import replay_files
from gossipbook.cli.simulate import LEAST_PEERS, SYMBOLS, Ending, Scenario
from gossipbook.cli.simulate import simulate as play
from gossipbook.cli.terminal import ProgressReport, show_table
from gossipbook.errors import UsageError
from gossipbook.link_model import Link

PROBABILITY = click.FloatRange(0, 0.9)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def gossipbook() -> None:
    """An order book without a server: signed logs, gossip, price-time matching.

    Both commands run in a simulated world: nothing is sent anywhere.
    """


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
@click.option("--json", "as_json", is_flag=True, help="One line of JSON per case on stdout.")
def replay(files: tuple[str, ...], peers: int | None, seed: int, as_json: bool) -> None:
    """Run matching cases (JSON lines) and compare what comes out with what the FILES demand.

    A mismatch exits with 1 and shows both versions on stderr; a malformed file exits with 2.
    Cases that only hold where every replacement loses its place are skipped and named.
    """
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
    "--reordering", type=PROBABILITY, default=0.05, show_default=True, help="Part that comes late."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Decides everything.")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object on stdout, the story on stderr."
)
def simulate(
    peers: int,
    orders: int,
    markets: int,
    latency: tuple[float, float],
    loss: float,
    duplication: float,
    reordering: float,
    seed: int,
    as_json: bool,
) -> None:
    """Let peers trade through a partition, a late join, a crash and a cheat.

    Exits with 0 only if afterwards all correct peers hold the same books, trades and roots, and if
    these are what the merged log gives when it is replayed naively. The same arguments give the
    same output.
    """
    low_s, high_s = [bound_ms / 1000 for bound_ms in latency]
    try:
        link = Link((low_s, high_s), loss, duplication, reordering)
    except UsageError as error:
        raise click.UsageError(str(error)) from None
    scenario = Scenario(peers, orders, markets, seed, link)

    def tell(at_s: float, what: str) -> None:
        click.echo(f"{at_s:8.3f} s  {what}", err=as_json)

    with ProgressReport("simulate", orders, "orders") as progress:
        ending = play(scenario, tell, progress.advance)
    if as_json:
        click.echo(json.dumps(ending.as_dict()))
    else:
        _show(ending)
    if ending.failure:
        click.echo(f"gossipbook simulate: FAILED: {ending.failure}", err=True)
    raise SystemExit(1 if ending.failure else 0)


def _show(ending: Ending) -> None:
    """The ending as a table and a few lines."""
    heads = ("peer", "entries", "trades", "busted", "root", "")
    rows = []
    for peer in ending.peers:
        remark = "" if peer.correct else "signed two histories"
        root = peer.root.hex()[:16]
        rows.append((peer.index, peer.entries, peer.trades, peer.busted, root, remark))
    click.echo()
    show_table(heads, rows)
    click.echo()
    holders = sum(count > 0 for count in ending.proofs)
    show_table(
        ("measured", "value"),
        [
            ("orders submitted", f"{ending.orders:,}"),
            ("simulated time in all", f"{ending.simulated_s:.3f} s"),
            ("to converge after the last order", f"{ending.converged_after_s:.3f} s"),
            (
                "messages, and those that never arrived",
                f"{ending.messages:,}, {ending.messages_lost:,}",
            ),
            ("bytes sent per order and peer", f"{ending.bytes_per_order:,}"),
            ("commands undone per order and peer", f"{ending.undone_per_order:.2f}"),
            ("correct peers that hold the fork proof", f"{holders} of {len(ending.proofs)}"),
            ("trace", ending.trace_hash.hex()[:16]),
        ],
    )
    click.echo()
    if not ending.failure:
        click.echo(
            f"All {len(ending.proofs)} correct peers hold the same books, trades and roots, and a "
            "naive replay\nof the merged log gives the same."
        )
