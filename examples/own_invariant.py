"""Your own rule, tried against random orders, partitions and crashes.

    python examples/own_invariant.py            (needs the extra: pip install 'gossipbook[testing]')

``ClusterMachine`` is a state machine that Hypothesis drives: peers in simulated time trade, lose
messages, are cut off, crash and come back. Subclass it and say what must always hold, in the midst
of all that; Hypothesis looks for a story in which it does not, and tells the shortest it finds.
Add ``assert not peer.trades("TEA")`` to an invariant to see one.
"""

from contextlib import suppress
from decimal import Decimal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test

import gossipbook as gb
from gossipbook.sim.strategies import ClusterMachine


class Exchange(ClusterMachine):
    genesis = gb.Genesis("own invariant", [gb.Market("TEA", tick_size="0.5"), gb.Market("JAM")])
    peer_count = 3
    link = gb.Link(loss=0.2)

    stories = trades = 0  # over all stories, to see that something was tried

    @invariant()
    def no_book_is_ever_crossed(self) -> None:
        for peer in self.peers_up():
            for market in self.genesis.markets:
                book = peer.book(market.symbol)
                if book.best_bid and book.best_ask:
                    assert book.best_bid.price < book.best_ask.price, f"crossed: {book}"

    @invariant()
    def nobody_trades_more_than_was_ordered(self) -> None:
        for peer in self.peers_up():
            for market in self.genesis.markets:
                filled: dict[gb.OrderId, Decimal] = {}
                for trade in peer.trades(market.symbol):
                    for order_id in (trade.maker, trade.taker):
                        filled[order_id] = filled.get(order_id, Decimal(0)) + trade.quantity
                for order_id, quantity in filled.items():
                    status = peer.order(order_id)
                    assert status is not None and status.filled == quantity <= status.quantity

    @rule(quantities=st.lists(st.integers(1, 9), min_size=4, max_size=8))
    def haggle(self, quantities: list[int]) -> None:
        """A rule besides the inherited ones: all take turns to sell and buy at one price."""
        for turn, quantity in enumerate(quantities):
            up = self.peers_up()
            if up:
                order = gb.LimitOrder(
                    "TEA", "buy" if turn % 2 else "sell", price=50, quantity=quantity
                )
                with suppress(gb.OwnHeadUnconfirmed, gb.ClockError):  # refused after a restart
                    self.cluster.submit(up[turn % len(up)].index, order)
                self.cluster.run_for(0.02)

    def peers_up(self) -> list[gb.sim.SimulatedPeer]:
        return [peer for peer in self.cluster.peers if peer.alive]

    def teardown(self) -> None:
        super().teardown()  # heals, restarts, and checks that all peers come to agree
        Exchange.stories += 1
        Exchange.trades += sum(
            len(self.cluster.peers[0].trades(market.symbol)) for market in self.genesis.markets
        )


TestExchange = Exchange.TestCase  # this line is all that pytest needs


if __name__ == "__main__":
    run_state_machine_as_test(
        Exchange,
        settings=settings(
            max_examples=20, stateful_step_count=30, deadline=None, database=None, derandomize=True
        ),
    )
    print(f"{Exchange.stories} stories with {Exchange.trades} trades: both invariants held")
