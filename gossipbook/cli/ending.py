"""How a run ended, and whether it may be called good; `simulate` and `demo` share it.

This file decides the exit rule. An end is good only if all correct peers hold the same books,
trades and roots; if these are what their merged log gives when it is sorted by hand and matched
once, from the first order to the last, by engines that never undo; and if each of them holds the
proof against who signed two histories. It promises that a bad end names what is wrong, and where.
It refuses to know what was played before.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import click

from gossipbook.book.digest import book_root
from gossipbook.cli.terminal import show_table
from gossipbook.identity import PeerId, short
from gossipbook.peer_view import PeerView
from gossipbook.sim.checkers import replay as naive_replay


@dataclass(frozen=True, slots=True)
class PeerLine:
    """One peer at the end. `correct` is False where its key signed two histories."""

    name: int | str
    peer_id: bytes
    correct: bool
    entries: int
    trades: int
    busted: int
    proofs: int
    root: bytes

    @classmethod
    def of(cls, name: int | str, peer: PeerView, *, correct: bool, busted: int) -> PeerLine:
        """What this peer holds now; `busted` over all its lives."""
        trades = peer.replica.trade_count()
        proofs = len(peer.proofs())
        root = peer.root
        peer_id = peer.running.own_id
        return cls(name, peer_id, correct, peer.entry_count, trades, busted, proofs, root)


@dataclass(frozen=True, slots=True)
class Ending:
    """How it ended. `failure` is empty if all correct peers are equal and right.

    Times are seconds, simulated ones where there is a `trace_hash`. Messages and their bytes are
    those of the whole network, `messages_lost` None where nobody can tell; `undone_commands` those
    of the correct peers.
    """

    failure: str
    orders: int
    converged_after_s: float
    elapsed_s: float
    peers: tuple[PeerLine, ...]
    messages: int
    messages_lost: int | None
    message_bytes: int
    undone_commands: int
    trace_hash: bytes | None = None

    @property
    def correct(self) -> list[PeerLine]:
        return [peer for peer in self.peers if peer.correct]

    @property
    def bytes_per_order(self) -> int:
        """Bytes sent per order and correct peer."""
        return round(self.message_bytes / self._orders_received)

    @property
    def undone_per_order(self) -> float:
        """Commands undone per order and correct peer."""
        return round(self.undone_commands / self._orders_received, 2)

    @property
    def _orders_received(self) -> int:
        return max(1, self.orders * len(self.correct))

    def as_dict(self) -> dict[str, Any]:
        """For JSON; bytes are in hex."""
        traced: dict[str, Any] = {"elapsed_s": self.elapsed_s}
        if self.trace_hash is not None:
            traced = {"simulated_s": self.elapsed_s, "trace_hash": self.trace_hash.hex()}
        return {
            "ok": not self.failure,
            "failure": self.failure,
            "orders": self.orders,
            "converged_after_s": self.converged_after_s,
            **traced,
            "messages": self.messages,
            "messages_lost": self.messages_lost,
            "bytes_per_order": self.bytes_per_order,
            "undone_per_order": self.undone_per_order,
            "proofs": [peer.proofs for peer in self.correct],
            "root": self.correct[0].root.hex() if self.correct else None,
            "peers": [
                {
                    "peer": peer.name,
                    "peer_id": peer.peer_id.hex(),
                    "correct": peer.correct,
                    "entries": peer.entries,
                    "trades": peer.trades,
                    "busted": peer.busted,
                    "root": peer.root.hex(),
                }
                for peer in self.peers
            ],
        }


# ---------------------------------------------------------------- the judgement


def find_fault(peers: Mapping[str, PeerView]) -> str:
    """What is wrong with correct peers, by name, that claim to agree; empty if nothing is."""
    if len({(peer.root, peer.frontier_root) for peer in peers.values()}) != 1:
        return "the correct peers' roots differ:\n" + describe(peers)
    for name, peer in peers.items():
        engines = naive_replay(peer)
        for symbol, engine in engines.items():
            held = peer.book(symbol).orders, peer.trades(symbol), peer.commands(symbol)
            if held != (engine.book().orders, engine.trades(), engine.commands()):
                return f"{name}: {symbol} is not what a naive replay gives"
        if peer.root != book_root([engine.digest() for engine in engines.values()]):
            return f"{name}: its root is not that of a naive replay"
    for name, peer in peers.items():
        if not peer.proofs():
            return f"{name} holds no proof against the equivocator"
    return ""


def describe(peers: Mapping[str, PeerView]) -> str:
    """A line for each peer: what it holds, for people who look for what differs."""
    return "\n".join(
        describe_one(
            name,
            entries=peer.entry_count,
            frontier_root=peer.frontier_root,
            root=peer.root,
            forked=[proof.author for proof in peer.proofs()],
            links=len(peer.peers()),
        )
        for name, peer in peers.items()
    )


def describe_one(
    name: str,
    *,
    entries: int,
    frontier_root: bytes,
    root: bytes,
    forked: Iterable[PeerId],
    links: int,
) -> str:
    """The line of one peer."""
    return (
        f"  {name}: {entries:,} entries {frontier_root.hex()[:8]}, books {root.hex()[:8]}, "
        f"forks proven of {', '.join(map(short, forked)) or 'nobody'}, links to {links} peers"
    )


# ---------------------------------------------------------------- words


def conclude(command: str, ending: Ending, *, as_json: bool) -> int:
    """Tell how it ended: a table and a few lines, or one line of JSON. The exit status."""
    if as_json:
        click.echo(json.dumps(ending.as_dict()))
    else:
        _show(ending)
    if ending.failure:
        click.echo(f"gossipbook {command}: FAILED: {ending.failure}", err=True)
    return 1 if ending.failure else 0


def _show(ending: Ending) -> None:
    click.echo()
    show_table(
        ("peer", "entries", "trades", "busted", "root", ""),
        [
            (
                peer.name,
                peer.entries,
                peer.trades,
                peer.busted,
                peer.root.hex()[:16],
                "" if peer.correct else "signed two histories",
            )
            for peer in ending.peers
        ],
    )
    click.echo()
    show_table(("measured", "value"), _measured(ending))
    click.echo()
    if not ending.failure:
        click.echo(
            f"All {len(ending.correct)} correct peers hold the same books, trades and roots, and a "
            "naive replay\nof the merged log gives the same."
        )


def _measured(ending: Ending) -> list[tuple[str, str]]:
    simulated = ending.trace_hash is not None
    holders = sum(peer.proofs > 0 for peer in ending.correct)
    lines = [
        ("orders submitted", f"{ending.orders:,}"),
        (f"{'simulated ' if simulated else ''}time in all", f"{ending.elapsed_s:.3f} s"),
        ("to converge after the last order", f"{ending.converged_after_s:.3f} s"),
        _messages(ending),
        ("bytes sent per order and peer", f"{ending.bytes_per_order:,}"),
        ("commands undone per order and peer", f"{ending.undone_per_order:.2f}"),
        ("correct peers that hold the fork proof", f"{holders} of {len(ending.correct)}"),
    ]
    if ending.trace_hash is not None:
        lines.append(("trace", ending.trace_hash.hex()[:16]))
    return lines


def _messages(ending: Ending) -> tuple[str, str]:
    if ending.messages_lost is None:
        return "messages sent", f"{ending.messages:,}"
    return (
        "messages, and those that never arrived",
        f"{ending.messages:,}, {ending.messages_lost:,}",
    )
