"""A reader's own copy of the markets' history, kept from updates alone.

``Ledger`` believes nothing: an update that takes back what is not there, or brings what is there
already, is an error. Whoever has read all updates holds what the peer holds, event by event; the
updates do not say where an event stands among those that stayed, so the copy is a mapping.
"""

from collections.abc import Iterable

import gossipbook as gb
from gossipbook.book.events import Event, Identity


class Ledger:
    """What somebody knows who was only told changes."""

    def __init__(self) -> None:
        self.events: dict[str, dict[Identity, Event]] = {}
        self.update_count = 0
        self.busted_count = 0

    def take(self, update: gb.Update) -> None:
        """Take in the next update; the first of each market is its whole history."""
        known = self.events.get(update.market)
        if known is None:
            assert (update.position, update.undone) == (0, ()), "the snapshot comes first"
            known = self.events[update.market] = {}
        for event in update.undone:
            assert known.pop(event.identity, None) == event, f"{event} was never told"
            self.busted_count += isinstance(event, gb.Trade)
        for event in update.events:
            assert event.identity not in known, f"{event} is told twice"
            known[event.identity] = event
        self.update_count += 1

    def check(self, peer: gb.Peer, markets: Iterable[str]) -> None:
        """Compare with what the peer itself answers."""
        for market in markets:
            held = list(self.events[market].values())
            trades = [event for event in held if isinstance(event, gb.Trade)]
            by_identity = {trade.identity: trade for trade in peer.trades(market)}
            assert {trade.identity: trade for trade in trades} == by_identity
            outcomes = {record.command_id: record.outcome for record in peer.commands(market)}
            first_of: dict[gb.CommandId, Event] = {}
            for event in held:
                if not isinstance(event, gb.Trade):
                    first_of.setdefault(event.command_id, event)
            assert first_of == outcomes
            assert held_events(peer, market) == self.events[market]


def held_events(peer: gb.Peer, market: str) -> dict[Identity, Event]:
    """Every event of a market at a peer."""
    (snapshot,) = [update for update in peer.replica.snapshot() if update.market == market]
    return {event.identity: event for event in snapshot.events}
