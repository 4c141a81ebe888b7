"""`gossipbook genesis`: makes the network file that peers of one market have in common.

It decides what is written where, and what is said about it. It promises that a network file which
somebody may already use is not overwritten unless that is asked for, and then says what it was.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from gossipbook.cli.network_file import SUFFIX, NetworkFile, membership
from gossipbook.cli.network_toml import EXAMPLE, read_toml
from gossipbook.cli.terminal import show_table
from gossipbook.errors import UsageError
from gossipbook.genesis import Genesis


@click.command()
@click.argument("markets", required=False, type=click.Path(dir_okay=False), metavar="MARKETS.toml")
@click.option("--output", type=click.Path(dir_okay=False), help="MARKETS.network if none is named.")
@click.option("--replace", is_flag=True, help="Overwrite the output file if it exists.")
@click.option("--example", is_flag=True, help="Print a TOML to start from, and do nothing else.")
@click.option("--show", type=click.Path(dir_okay=False), help="Print what is in a network file.")
def genesis(
    markets: str | None, output: str | None, replace: bool, example: bool, show: str | None
) -> None:
    """Make a network file from a TOML of markets and members.

    All peers of a network are given the same file. It holds no secret. Whatever is changed in the
    TOML, apart from members' names, makes another network, and its peers do not talk to these.
    """
    if (markets is not None) + example + (show is not None) != 1:
        raise click.UsageError("give one of MARKETS.toml, --example and --show FILE")
    if markets is None and (output is not None or replace):
        raise click.UsageError("--output and --replace go with MARKETS.toml")
    try:
        if example:
            click.echo(EXAMPLE, nl=False)
        elif show is not None:
            show_network(NetworkFile.load(show))
        elif markets is not None:
            make_network(markets, output, replace=replace)
    except UsageError as error:
        raise click.UsageError(str(error)) from None


def make_network(markets: str, output: str | None, *, replace: bool) -> None:
    """Write the network file of a TOML, and tell the id. Raises UsageError."""
    path = Path(output) if output is not None else Path(markets).with_suffix(SUFFIX)
    network = read_toml(markets)
    click.echo(_write(network, path, replace=replace), err=True)
    click.echo(network.genesis.network_id.hex())
    click.echo(
        f"Give {path} to everybody who takes part; then each of them runs\n"
        f"  gossipbook keygen me.key          (once, unless there is a key already)\n"
        f"  gossipbook peer --network {path} --key me.key --store me.db "
        "--listen 0.0.0.0:7000 --join HOST:7000",
        err=True,
    )


def _write(network: NetworkFile, path: Path, *, replace: bool) -> str:
    """Write the file, unless that would change an old one unasked; what was done, in words."""
    if not path.exists():
        network.save(path)
        return f"wrote {path}"
    if path.suffix == ".toml":
        raise UsageError(f"{path} looks like a TOML that you wrote; name another --output")
    try:
        old = NetworkFile.load(path)
    except UsageError as error:
        raise UsageError(f"{path} exists and is not overwritten: {error}") from None
    if old == network:
        return f"{path} holds this network already; nothing was changed"
    if old.genesis == network.genesis:
        what = "with other names of members"
    else:
        what = f"which is another network, {old.genesis.network_id.hex()}"
    if not replace:
        raise UsageError(
            f"{path} exists, {what}; name another --output, or overwrite it with --replace"
        )
    network.save(path, replace=True)
    return f"replaced {path}, {what}"


def show_network(network: NetworkFile) -> None:
    """Print what is in a network file."""
    about = network.genesis
    click.echo(f"network  {about.name}")
    click.echo(f"id       {about.network_id.hex()}")
    click.echo(f"start    {_start(about)}")
    click.echo(f"trading  {membership(about)}")
    click.echo()
    rows = [
        (market.symbol, f"{market.tick_size:f}", f"{market.lot_size:f}", market.self_trade)
        for market in about.markets
    ]
    show_table(("market", "tick size", "lot size", "self-trade"), rows)
    if about.members is not None:
        click.echo()
        members = [(network.names.get(peer_id, ""), peer_id.hex()) for peer_id in about.members]
        show_table(("member", "id"), members)


def _start(about: Genesis) -> str:
    if not about.start_ms:
        return "no limit"
    return datetime.fromtimestamp(about.start_ms / 1000, UTC).isoformat(timespec="milliseconds")
