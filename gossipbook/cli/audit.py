"""`gossipbook audit`: is a store sound, and what does it hold?

Every checksum, every chain and every signature is verified, the logs are replayed, and frontier and
roots are shown. It promises that nothing in the store is changed, and that whatever is wrong is
named with its place. It refuses to mend: a peer does that when it opens the store.
"""

from __future__ import annotations

import json
from typing import Any

import click

from gossipbook.cli.store_reading import StoreCopy, read_store
from gossipbook.cli.terminal import ProgressReport, show_table
from gossipbook.errors import BadSignature
from gossipbook.identity import short
from gossipbook.log.entry import signature_is_good


def audit_store(path: str, *, as_json: bool) -> bool:
    """Audit a store and show what came of it; whether it is sound. Raises StoreError."""
    with read_store(path) as store:
        problems = [*store.loaded.damage, *_bad_signatures(store)]
        report = _report(path, store, problems)
    if as_json:
        click.echo(json.dumps(report))
    else:
        _show(report)
    return not problems


def _bad_signatures(store: StoreCopy) -> list[str]:
    loaded = store.loaded
    bad = []
    with ProgressReport("audit", len(loaded.entries), "signatures") as progress:
        for entry in loaded.entries:
            if not signature_is_good(entry.author, entry.id, entry.signature):
                bad.append(f"log of {short(entry.author)}: entry {entry.seq}: bad signature")
            progress.advance()
    for proof in loaded.proofs:
        try:
            proof.check(store.genesis.network_id)
        except BadSignature as error:
            bad.append(f"fork proof of {short(proof.author)}: {error}")
    return bad


def _report(path: str, store: StoreCopy, problems: list[str]) -> dict[str, Any]:
    replica = store.replay()
    markets = []
    for market in store.genesis.markets:
        trades = replica.trades(market.symbol)
        markets.append(
            {
                "market": market.symbol,
                "commands": len(replica.commands(market.symbol)),
                "trades": len(trades),
                "resting": len(replica.book(market.symbol).orders),
                "root": replica.book(market.symbol).root.hex(),
            }
        )
    return {
        "store": path,
        "sound": not problems,
        "problems": problems,
        "network": store.genesis.name,
        "network_id": store.genesis.network_id.hex(),
        "peer_id": store.peer_id.hex(),
        "own_length": store.loaded.own_length,
        "frontier": [
            {"author": head.author.hex(), "entries": head.length, "forked_at": head.k}
            | {"head": head.head_id.hex()}
            for head in replica.frontier.heads()
        ],
        "markets": markets,
        "held_back": replica.held_count,
        "fork_proofs": len(replica.proofs()),
        "frontier_root": replica.frontier.root().hex(),
        "book_root": replica.book_root().hex(),
    }


def _show(report: dict[str, Any]) -> None:
    own = report["peer_id"][:8]
    click.echo(f"{report['store']}: peer {own} in network {report['network']!r}")
    click.echo()
    rows = []
    for head in report["frontier"]:
        author = head["author"][:8] + (" (own)" if head["author"] == report["peer_id"] else "")
        forked = "" if head["forked_at"] is None else f"forked at {head['forked_at']}"
        rows.append((author, head["entries"], head["head"][:16], forked))
    show_table(("author", "entries", "head", ""), rows)
    click.echo()
    heads = ("market", "commands", "trades", "resting", "root")
    markets = report["markets"]
    show_table(heads, [[*list(one.values())[:4], one["root"][:16]] for one in markets])
    click.echo()
    click.echo(f"frontier root  {report['frontier_root']}")
    click.echo(f"book root      {report['book_root']}")
    if report["held_back"]:
        click.echo(f"{report['held_back']} entries are dated in the future and not applied yet")
    click.echo()
    for problem in report["problems"]:
        click.echo(f"DAMAGED: {problem}")
    if report["sound"]:
        click.echo("The store is sound: every checksum, chain and signature holds.")
    else:
        click.echo(
            "The store is damaged. A peer that opens it sets it aside, cuts off what is damaged "
            "and fetches\nit again from others; it signs nothing before its own log is whole."
        )
