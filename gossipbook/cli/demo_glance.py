"""What a peer shows of itself at one moment, and how that crosses from one process to another.

This file decides what a demo knows of a peer: counts, roots, how long each log is, the best levels
of each book. It promises that a glance read from JSON equals the one written. It refuses to
know whether the peer runs here or in a process of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from typing import Any, NamedTuple, TypeAlias

from gossipbook.book.order_book import PriceLevel
from gossipbook.identity import PeerId
from gossipbook.peer import Peer
from gossipbook.peer_view import PeerView

CUTS_COMPARED = 4
DEPTH = 20
COUNTS = ("entries", "trades", "busted", "undone_commands", "messages", "message_bytes")


Levels: TypeAlias = tuple[PriceLevel, ...]
Depth: TypeAlias = tuple[Levels, Levels]
"""The best bids and the best asks of a market."""


class Head(NamedTuple):
    """How long an author's log is at a peer, and whether the author is proven to have forked."""

    length: int
    is_forked: bool


@dataclass(frozen=True, slots=True)
class Glance:
    """One peer at one moment.

    `busted` and `undone_commands` are counted since the peer was opened, as are messages and their
    bytes. `cuts` are book roots by second, for the latest seconds that peers compare. `forks` are
    authors and the number that each signed twice. `depth` is by market. `is_idle`: no submit is
    under way.
    """

    entries: int
    trades: int
    busted: int
    undone_commands: int
    messages: int
    message_bytes: int
    root: bytes
    frontier_root: bytes
    is_idle: bool
    cuts: Mapping[int, bytes]
    heads: Mapping[PeerId, Head]
    forks: Mapping[PeerId, int]
    linked: frozenset[PeerId]
    depth: Mapping[str, Depth]

    def as_json(self) -> dict[str, Any]:
        """The same in what JSON knows."""
        counts = {name: getattr(self, name) for name in COUNTS}
        return counts | {
            "root": self.root.hex(),
            "frontier_root": self.frontier_root.hex(),
            "is_idle": self.is_idle,
            "cuts": [[second, root.hex()] for second, root in self.cuts.items()],
            "heads": [[author.hex(), *head] for author, head in self.heads.items()],
            "forks": [[author.hex(), seq] for author, seq in self.forks.items()],
            "linked": [peer_id.hex() for peer_id in sorted(self.linked)],
            "depth": {
                market: [_levels_as_json(levels) for levels in sides]
                for market, sides in self.depth.items()
            },
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Glance:
        """What `as_json` made."""
        counts = {name: told[name] for name in COUNTS}
        return cls(
            **counts,
            root=bytes.fromhex(told["root"]),
            frontier_root=bytes.fromhex(told["frontier_root"]),
            is_idle=told["is_idle"],
            cuts={second: bytes.fromhex(root) for second, root in told["cuts"]},
            heads={_peer_id(author): Head(*head) for author, *head in told["heads"]},
            forks={_peer_id(author): seq for author, seq in told["forks"]},
            linked=frozenset(map(_peer_id, told["linked"])),
            depth={
                market: (_levels_from_json(bids), _levels_from_json(asks))
                for market, (bids, asks) in told["depth"].items()
            },
        )


def take_glance(peer: Peer, *, busted: int) -> Glance:
    """A running peer as it is now; `busted` is what a reader beside it has counted."""
    root = peer.root  # reading it applies what has arrived; what follows counts that, too
    protocol, replica = peer.running, peer.replica
    cuts = replica.recent_cuts(local_ms=protocol.local_ms, count=CUTS_COMPARED)
    return Glance(
        entries=peer.entry_count,
        trades=replica.trade_count(),
        busted=busted,
        undone_commands=replica.undone_count,
        messages=sum(protocol.statistics.sent_count.values()),
        message_bytes=protocol.statistics.total_sent_bytes,
        root=root,
        frontier_root=peer.frontier_root,
        is_idle=not protocol.own.in_flight and not protocol.own.queued_count,
        cuts={cut.second: cut.book_root for cut in cuts},
        heads=heads_of(peer),
        forks={proof.author: proof.seq for proof in peer.proofs()},
        linked=frozenset(peer.peers()),
        depth={
            market.symbol: peer.book(market.symbol).depth(DEPTH) for market in peer.genesis.markets
        },
    )


def heads_of(peer: PeerView) -> dict[PeerId, Head]:
    """How long each author's log is at a peer."""
    return {
        head.author: Head(head.length, head.k is not None) for head in peer.replica.frontier.heads()
    }


def digests_of(peer: PeerView) -> dict[str, str]:
    """By market: a hash over every order that rests, every trade and every command with its
    outcome. It says more than a root, which holds only counts and sums of the past."""
    digests = {}
    for market in peer.genesis.markets:
        symbol = market.symbol
        held = peer.book(symbol).orders, peer.trades(symbol), peer.commands(symbol)
        digests[symbol] = sha256(repr(held).encode()).hexdigest()
    return digests


def _levels_as_json(levels: Sequence[PriceLevel]) -> list[list[Any]]:
    return [[str(level.price), str(level.quantity), level.orders] for level in levels]


def _levels_from_json(told: Sequence[Sequence[Any]]) -> Levels:
    return tuple(
        [PriceLevel(Decimal(price), Decimal(quantity), orders) for price, quantity, orders in told]
    )


def _peer_id(text: str) -> PeerId:
    return PeerId(bytes.fromhex(text))
