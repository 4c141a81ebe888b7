"""The random order flow: seeded, well formed, and honest about whose orders are whose."""

import gossipbook as gb
from gossipbook.book.payload import to_integers
from gossipbook.sim.order_flow import OrderFlow

GENESIS = gb.Genesis(
    "flow",
    markets=[gb.Market("A", tick_size="0.01", lot_size="0.001"), gb.Market("B", tick_size="5")],
)
AUTHORS = [bytes([number]) * 32 for number in range(3)]


def commands_of(seed, count):
    flow, commands = OrderFlow(GENESIS, seed), []
    for seq in range(count):
        author = AUTHORS[seq % 3]
        command = flow.next(author)
        if isinstance(command, gb.LimitOrder | gb.MarketOrder):
            flow.note(author, gb.CommandId(command.market, author, seq, 0))
        commands.append((author, command))
    return commands


def test_the_same_seed_gives_the_same_commands():
    assert commands_of(1, 300) == commands_of(1, 300)
    assert commands_of(1, 300) != commands_of(2, 300)


def test_every_command_is_one_that_its_author_may_sign():
    for author, command in commands_of(3, 2_000):
        to_integers(command, GENESIS, author)  # raises off tick or lot, or for another's order


def test_all_kinds_of_commands_occur_in_all_markets():
    kinds = {type(command) for _, command in commands_of(4, 1_000)}
    assert kinds == {gb.LimitOrder, gb.MarketOrder, gb.CancelOrder, gb.ReplaceOrder}
    limits = [one for _, one in commands_of(4, 1_000) if isinstance(one, gb.LimitOrder)]
    assert {one.market for one in limits} == {"A", "B"}
    assert {one.time_in_force for one in limits} == {"gtc", "ioc", "fok"}
    assert any(one.post_only for one in limits)


def test_an_author_without_orders_only_places():
    flow = OrderFlow(GENESIS, 5)
    for _ in range(200):
        assert isinstance(flow.next(AUTHORS[0]), gb.LimitOrder | gb.MarketOrder)
