"""What there is to see of a running demo at one moment, as plain values.

This file decides which numbers are shown. Under load no two peers hold the same entries at the
same instant: some are always on their way. So it looks at two roots of each peer: the one of this
instant, and the one at the latest second that most peers can answer for, about two seconds ago,
which is how the peers themselves compare. It refuses to know how anything is drawn.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from gossipbook.book.order_book import PriceLevel
from gossipbook.cli.demo import Demo, Happening
from gossipbook.cli.demo_peers import DemoPeer

CUTS_COMPARED = 4
MARKET_EVERY_S = 4.0
DEPTH = 20


@dataclass(frozen=True, slots=True)
class PeerRow:
    """One peer. Roots are None where it is down, or cannot tell."""

    name: str
    state: str
    entries: int
    trades: int
    busted: int
    settled_root: bytes | None
    root: bytes | None


@dataclass(frozen=True, slots=True)
class Ladder:
    """The best levels of one market's book at one peer, best first."""

    peer: str
    market: str
    bids: tuple[PriceLevel, ...]
    asks: tuple[PriceLevel, ...]


@dataclass(frozen=True, slots=True)
class View:
    """One moment of the demo."""

    elapsed_s: float
    placed: int
    orders: int
    messages: int
    messages_lost: int
    rows: tuple[PeerRow, ...]
    ladders: tuple[Ladder, ...]
    story: tuple[Happening, ...]
    proof_holders: int
    correct: int

    @property
    def settled_books(self) -> int:
        """How many different books the peers held two seconds ago."""
        return len({row.settled_root for row in self.rows if row.settled_root is not None})

    @property
    def busted(self) -> int:
        """Trades busted, at all peers together."""
        return sum(row.busted for row in self.rows)


def take_view(demo: Demo) -> View:
    """The demo as it stands."""
    counters = demo.network.counters
    everybody = demo.peers if demo.backup is None else [*demo.peers, demo.backup]
    settled = _settled_roots(everybody)
    return View(
        elapsed_s=demo.elapsed_s,
        placed=demo.trading.placed,
        orders=demo.trading.orders,
        messages=counters.messages,
        messages_lost=counters.messages_lost + counters.messages_cut,
        rows=tuple([_row(one, settled.get(one.name)) for one in everybody]),
        ladders=_ladders(demo),
        story=tuple(demo.story),
        proof_holders=demo.proof_holders,
        correct=len(demo.correct),
    )


def _row(one: DemoPeer, settled_root: bytes | None) -> PeerRow:
    peer = one.peer
    if peer is None:
        return PeerRow(one.name, one.state, 0, 0, one.busted, None, None)
    trades = peer.statistics().trades
    return PeerRow(
        one.name, one.state, peer.entry_count, trades, one.busted, settled_root, peer.root
    )


def _settled_roots(peers: list[DemoPeer]) -> dict[str, bytes]:
    """Each peer's root at the latest second that most of them can answer for."""
    cuts = {
        one.name: {
            cut.second: cut.book_root
            for cut in one.peer.replica.recent_cuts(
                local_ms=one.peer.running.local_ms, count=CUTS_COMPARED
            )
        }
        for one in peers
        if one.peer is not None
    }
    answers = Counter(second for roots in cuts.values() for second in roots)
    known = [second for second, count in answers.items() if 2 * count > len(cuts)]
    if not known:
        return {}
    second = max(known)
    return {name: roots[second] for name, roots in cuts.items() if second in roots}


def _ladders(demo: Demo) -> tuple[Ladder, ...]:
    """The first peer's book and its counterpart's; the market changes now and then."""
    markets = demo.genesis.markets
    symbol = markets[int(demo.elapsed_s / MARKET_EVERY_S) % len(markets)].symbol
    ladders = []
    for one in (demo.peers[0], demo.counterpart):
        if one.peer is None:
            ladders.append(Ladder(one.name, symbol, (), ()))
        else:
            ladders.append(Ladder(one.name, symbol, *one.peer.book(symbol).depth(DEPTH)))
    return tuple(ladders)
