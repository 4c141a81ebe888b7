"""What there is to see of a running demo at one moment, as plain values.

This file decides which numbers are shown. Under load no two peers hold the same entries at the
same instant: some are always on their way. So it looks at two roots of each peer: the one of this
instant, and the one at the latest second that most peers can answer for, about two seconds ago,
which is how the peers themselves compare. It refuses to know how anything is drawn.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from gossipbook.book.order_book import PriceLevel
from gossipbook.cli.demo import Demo, Happening
from gossipbook.cli.demo_glance import Glance
from gossipbook.cli.demo_peers import DemoPeer

MARKET_EVERY_S = 4.0


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
    messages_lost: int | None
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


def take_view(demo: Demo[Any]) -> View:
    """The demo as it stands."""
    markets = demo.genesis.markets
    market = markets[int(demo.elapsed_s / MARKET_EVERY_S) % len(markets)].symbol
    glances = {one.name: one.glance for one in demo.everybody}
    second = _compared_second([glance for glance in glances.values() if glance is not None])
    shown = (demo.peers[0].name, demo.counterpart.name)
    return View(
        elapsed_s=demo.elapsed_s,
        placed=demo.trading.placed,
        orders=demo.trading.orders,
        messages=demo.messages,
        messages_lost=demo.messages_lost,
        rows=tuple([_row(one, glances[one.name], second) for one in demo.everybody]),
        ladders=tuple([_ladder(name, market, glances[name]) for name in shown]),
        story=tuple(demo.story),
        proof_holders=demo.proof_holders,
        correct=len(demo.correct),
    )


def _row(one: DemoPeer, glance: Glance | None, second: int | None) -> PeerRow:
    if glance is None:
        return PeerRow(one.name, one.state, 0, 0, one.busted, None, None)
    return PeerRow(
        one.name,
        one.state,
        glance.entries,
        glance.trades,
        one.busted,
        None if second is None else glance.cuts.get(second),
        glance.root,
    )


def _compared_second(glances: list[Glance]) -> int | None:
    """The latest second that most of them can answer for."""
    answers = Counter(second for glance in glances for second in glance.cuts)
    known = [second for second, count in answers.items() if 2 * count > len(glances)]
    return max(known, default=None)


def _ladder(name: str, market: str, glance: Glance | None) -> Ladder:
    if glance is None:
        return Ladder(name, market, (), ())
    return Ladder(name, market, *glance.depth[market])
