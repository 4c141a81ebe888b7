"""The commands that look at a peer's files: `audit`, `record`, `keygen`. `app` adds them."""

from __future__ import annotations

import click

from gossipbook.cli.audit import audit_store
from gossipbook.cli.tape import record_store
from gossipbook.errors import StoreError, UsageError
from gossipbook.identity import Keypair

STORE = click.Path(exists=True, dir_okay=False, readable=True)


@click.command()
@click.argument("store", type=STORE)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def audit(store: str, as_json: bool) -> None:
    """Verify every checksum, chain and signature of a STORE, replay it, and show what it holds.

    Exits with 1 where something is wrong, and says what and where. Nothing in the store is
    changed. The peer that it belongs to must not be running.
    """
    try:
        sound = audit_store(store, as_json=as_json)
    except StoreError as error:
        raise click.UsageError(str(error)) from None
    raise SystemExit(0 if sound else 1)


@click.command()
@click.argument("store", type=STORE)
@click.option("--output", type=click.Path(dir_okay=False), help="STORE.tape where none is named.")
def record(store: str, output: str | None) -> None:
    """Write what a STORE holds as a tape: the genesis, and every entry in the order that counts.

    `gossipbook replay TAPE` gives the same trades and root on any machine.
    """
    try:
        record_store(store, output or f"{store}.tape")
    except StoreError as error:
        raise click.UsageError(str(error)) from None


@click.command()
@click.argument("file", type=click.Path(dir_okay=False))
def keygen(file: str) -> None:
    """Make a new key and keep it in FILE, which only you may read. Nothing is overwritten.

    Whoever has the file can sign as this peer. The peer's id is printed: it is what the members
    of a network are named by.
    """
    keypair = Keypair.generate()
    try:
        keypair.save(file)
    except UsageError as error:
        raise click.UsageError(str(error)) from None
    click.echo(keypair.peer_id.hex())
