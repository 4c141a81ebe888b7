"""The engine against its slow twin, forwards, backwards and by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twins.matching import NaiveMarket, random_commands

from gossipbook.book.commands import CommandId
from gossipbook.book.events import Accepted, Cancelled, Rejected, Replaced, Trade
from gossipbook.book.matching import MatchingEngine
from gossipbook.book.payload import (
    BUY,
    FOK,
    GTC,
    IOC,
    POST_ONLY,
    SELL,
    Cancellation,
    Placement,
    Replacement,
)
from gossipbook.genesis import Market
from gossipbook.randomness import SeededRandom

SELF_TRADES = ("allow", "cancel-resting", "cancel-incoming", "cancel-both")
A, B, C = (letter * 32 for letter in (b"a", b"b", b"c"))


def market(self_trade="allow"):
    return Market("X-Y", tick_size="0.5", lot_size="0.1", self_trade=self_trade)


def view(engine):
    """Everything of an engine that anybody can see."""
    book = engine.book()
    return (
        [(order.order_id, order.side, order.price, order.quantity) for order in book.orders],
        [(level.price, level.quantity, level.orders) for level in (*book.bids, *book.asks)],
        engine.digest().root,
        book.root,
        tuple(engine.totals),
        engine.position,
    )


def assert_equals_twin(engine, twin):
    book = engine.book()
    orders = [(order.order_id, order.side, order.price, order.quantity) for order in book.orders]
    assert orders == twin.orders()
    assert tuple(engine.totals) == twin.totals()
    assert engine.digest().root == twin.root()
    assert book.root == engine.digest().root


@pytest.mark.parametrize("self_trade", SELF_TRADES)
@pytest.mark.parametrize("seed", range(6))
def test_every_command_does_what_the_twin_does(self_trade, seed):
    random = SeededRandom(seed)
    engine, twin = MatchingEngine(market(self_trade)), NaiveMarket(market(self_trade))
    commands = random_commands(random, 400, authors=random.between(2, 6))
    for position, (key, command) in enumerate(commands):
        engine.apply(key, command)
        assert list(engine.events(position)) == twin.apply(key, command)
        assert engine.outcome(position) == twin.events[position][0]
        engine.check()
        if random.chance(16_000):
            assert_equals_twin(engine, twin)
            for order_key in [key for key, _ in commands[: position + 2]]:
                assert engine.order(order_key) == twin.statuses.get(order_key)
    assert_equals_twin(engine, twin)
    trades = [e for events in twin.events for e in events if isinstance(e, Trade)]
    assert engine.trades() == trades
    assert min(engine.totals) > 10  # the stream did trade and did break rules


def test_the_streams_reach_every_outcome_and_reason():
    seen = set()
    for self_trade in SELF_TRADES:
        twin = NaiveMarket(market(self_trade))
        for key, command in random_commands(SeededRandom(5), 1500):
            for event in twin.apply(key, command):
                extra = getattr(event, "reason", None) or getattr(event, "kept_place", None)
                seen.add((type(event).__name__, extra))
    assert seen == {
        ("Accepted", None),
        ("Trade", None),
        ("Replaced", True),
        ("Replaced", False),
        *[
            ("Cancelled", reason)
            for reason in (
                "requested",
                "ioc-remainder",
                "market-remainder",
                "self-trade",
                "reduced-to-zero",
            )
        ],
        *[
            ("Rejected", reason)
            for reason in (
                "fok-unfillable",
                "post-only-would-trade",
                "target-not-earlier",
                "already-filled",
                "already-cancelled",
                "unknown-order",
            )
        ],
    }


@pytest.mark.parametrize("self_trade", SELF_TRADES)
@pytest.mark.parametrize(
    ("undo_window", "snapshot_interval"),
    [(0, 1), (0, 7), (1, 3), (5, 4), (16, 50), (100, 9), (1000, 1000)],
)
def test_rewinding_anywhere_and_replaying_leaves_no_trace(
    self_trade, undo_window, snapshot_interval
):
    random = SeededRandom(undo_window * 31 + snapshot_interval)
    commands = random_commands(random, 250)
    straight = MatchingEngine(market(self_trade))
    views, events = [view(straight)], []
    for position, (key, command) in enumerate(commands):
        straight.apply(key, command)
        views.append(view(straight))
        events.append(straight.events(position))
    engine = MatchingEngine(
        market(self_trade), undo_window=undo_window, snapshot_interval=snapshot_interval
    )
    for _ in range(60):
        for key, command in commands[engine.position :][: random.below(120)]:
            engine.apply(key, command)
        engine.check()
        if random.chance(40_000):
            assert view(engine) == views[engine.position]
        if random.chance(20_000):
            engine.trades()
            engine.order(commands[0][0])
        before, floor = engine.position, engine.undo_floor
        target = random.below(before + 1)
        if random.chance(32_768):
            target = max(target, before - 2 * undo_window)
        reached = engine.rewind(target)
        assert reached == target or (target < floor and reached <= target)
        assert reached == engine.position
        engine.check()
        if random.chance(40_000):
            assert view(engine) == views[reached]
            assert [engine.events(p) for p in range(reached)] == events[:reached]
            made = [e for some in events[:reached] for e in some if isinstance(e, Trade)]
            assert engine.trades() == made
    for key, command in commands[engine.position :]:
        engine.apply(key, command)
    assert view(engine) == views[-1]
    assert engine.trades() == straight.trades()
    for key, _ in commands:
        assert engine.order(key) == straight.order(key)
    assert engine.applied_count - engine.undone_count == len(commands)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    self_trade=st.sampled_from(SELF_TRADES),
    undo_window=st.integers(0, 40),
    snapshot_interval=st.integers(1, 40),
)
def test_late_commands_give_the_book_of_those_who_had_them_in_time(
    seed, self_trade, undo_window, snapshot_interval
):
    random = SeededRandom(seed)
    ordered = random_commands(random, 90)
    late = sorted(random.sample(range(len(ordered)), 12))
    engine = MatchingEngine(
        market(self_trade), undo_window=undo_window, snapshot_interval=snapshot_interval
    )
    present = [position for position in range(len(ordered)) if position not in late]
    for position in present:
        engine.apply(*ordered[position])
    random.shuffle(late)
    for position in late:
        place = len([other for other in present if other < position])
        present.insert(place, position)
        for again in present[engine.rewind(place) :]:
            engine.apply(*ordered[again])
        if random.chance(20_000):
            engine.digest()
    twin = NaiveMarket(market(self_trade))
    for key, command in ordered:
        twin.apply(key, command)
    engine.check()
    assert_equals_twin(engine, twin)
    assert [list(engine.events(p)) for p in range(engine.position)] == twin.events


@pytest.mark.parametrize("seed", range(4))
def test_long_queues_hash_as_their_content_says(seed):
    random = SeededRandom(1000 + seed)
    commands = random_commands(random, 900, authors=5, prices=(1, 2), resting=True)
    twin, roots = NaiveMarket(market()), []
    roots.append(twin.root())
    for key, command in commands:
        twin.apply(key, command)
        roots.append(twin.root())
    longest = max(level.orders for level in run(commands).book().bids)
    assert longest > 64
    engine = MatchingEngine(market(), undo_window=300, snapshot_interval=100)
    for _ in range(25):
        for key, command in commands[engine.position :][: random.below(250)]:
            engine.apply(key, command)
            if random.chance(3_000):
                assert engine.digest().root == roots[engine.position]
        assert engine.digest().root == roots[engine.position]
        if engine.position == len(commands) or random.chance(32_768):
            engine.rewind(engine.position - random.below(min(engine.position, 350) + 1))
    engine.check()


def test_a_queue_changes_between_flat_and_tree_at_65_orders():
    engine, twin = MatchingEngine(market()), NaiveMarket(market())
    for seq in range(70):
        for target in (engine, twin):
            target.apply((A, seq, 0), Placement(0, BUY, 5, 3, GTC))
        assert engine.digest().root == twin.root()
    for seq in range(70, 90):
        for target in (engine, twin):
            target.apply((A, seq, 0), Cancellation(0, seq - 50, 0))
        assert engine.digest().root == twin.root()


def run(commands, self_trade="allow"):
    engine = MatchingEngine(market(self_trade))
    for key, command in commands:
        engine.apply(key, command)
    return engine


def order_id(author, seq, index=0):
    return CommandId("X-Y", author, seq, index)


def kinds(engine, position):
    return [type(event) for event in engine.events(position)]


def resting(engine):
    """(author, seq, ticks, lots) of every resting order, in queue order."""
    return [
        (o.order_id.author, o.order_id.seq, int(o.price * 2), int(o.quantity * 10))
        for o in engine.book().orders
    ]


def test_trades_happen_at_the_makers_price_and_first_come_first_served():
    engine = run(
        [
            ((A, 0, 0), Placement(0, SELL, 10, 5, GTC)),
            ((B, 0, 0), Placement(0, SELL, 9, 2, GTC)),
            ((B, 1, 0), Placement(0, SELL, 10, 5, GTC)),
            ((C, 0, 0), Placement(0, BUY, 10, 9, GTC)),
        ]
    )
    trades = [(t.maker.author, t.maker.seq, t.price * 2, t.quantity * 10) for t in engine.trades()]
    assert trades == [(B, 0, 9, 2), (A, 0, 10, 5), (B, 1, 10, 2)]
    assert resting(engine) == [(B, 1, 10, 3)]
    assert engine.totals == (4, 3, 0, 9, 18 + 50 + 20, 0)


def test_what_a_market_order_or_ioc_does_not_find_is_cancelled_and_not_rejected():
    engine = run(
        [
            ((A, 0, 0), Placement(0, BUY, 0, 5, IOC)),
            ((A, 1, 0), Placement(0, BUY, 10, 5, IOC)),
        ]
    )
    assert [type(e) for p in (0, 1) for e in engine.events(p)] == [Accepted, Cancelled] * 2
    assert engine.events(0)[1].reason == "market-remainder"
    assert engine.events(1)[1].reason == "ioc-remainder"
    assert engine.totals.rejections == 0
    assert engine.totals.cancelled == 5 + 5


def test_a_fok_that_lacks_one_lot_touches_nothing():
    makers = [
        ((A, 0, 0), Placement(0, SELL, 10, 5, GTC)),
        ((A, 1, 0), Placement(0, SELL, 11, 5, GTC)),
    ]
    lacking = run([*makers, ((B, 0, 0), Placement(0, BUY, 11, 11, FOK))])
    assert lacking.outcome(2) == Rejected(order_id(B, 0), "fok-unfillable")
    assert resting(lacking) == [(A, 0, 10, 5), (A, 1, 11, 5)]
    assert lacking.order((B, 0, 0)).state == "rejected"
    exact = run([*makers, ((B, 0, 0), Placement(0, BUY, 11, 10, FOK))])
    assert resting(exact) == []


@pytest.mark.parametrize(
    ("self_trade", "lots", "fills"),
    [
        ("allow", 9, True),
        ("allow", 10, False),
        ("cancel-resting", 6, True),
        ("cancel-resting", 7, False),
        ("cancel-incoming", 3, True),
        ("cancel-incoming", 4, False),
        ("cancel-both", 3, True),
        ("cancel-both", 4, False),
    ],
)
def test_a_fok_counts_only_what_it_could_trade_with(self_trade, lots, fills):
    engine = run(
        [
            ((B, 0, 0), Placement(0, SELL, 10, 3, GTC)),
            ((A, 0, 0), Placement(0, SELL, 10, 3, GTC)),
            ((B, 1, 0), Placement(0, SELL, 11, 3, GTC)),
            ((A, 1, 0), Placement(0, BUY, 11, lots, FOK)),
        ],
        self_trade,
    )
    assert isinstance(engine.outcome(3), Accepted) == fills
    if not fills:
        assert engine.trades() == []
        assert len(engine.book().orders) == 3


@pytest.mark.parametrize(
    ("self_trade", "left", "events"),
    [
        ("allow", [], [Accepted, Trade, Trade]),
        ("cancel-resting", [(A, 1, 10, 2)], [Accepted, Trade, Cancelled]),
        ("cancel-incoming", [(A, 0, 10, 2)], [Accepted, Trade, Cancelled]),
        ("cancel-both", [], [Accepted, Trade, Cancelled, Cancelled]),
    ],
)
def test_orders_of_one_author_meet_as_the_market_says(self_trade, left, events):
    engine = run(
        [
            ((B, 0, 0), Placement(0, SELL, 9, 2, GTC)),
            ((A, 0, 0), Placement(0, SELL, 10, 2, GTC)),
            ((A, 1, 0), Placement(0, BUY, 10, 4, GTC)),
        ],
        self_trade,
    )
    assert kinds(engine, 2) == events
    assert resting(engine) == left


def test_post_only_never_takes_also_when_it_is_moved():
    engine = run(
        [
            ((A, 0, 0), Placement(0, SELL, 10, 2, GTC)),
            ((B, 0, 0), Placement(0, BUY, 10, 2, POST_ONLY)),
            ((B, 1, 0), Placement(0, BUY, 9, 2, POST_ONLY)),
            ((B, 2, 0), Replacement(0, 1, 0, 10, 0, 0)),
            ((B, 3, 0), Replacement(0, 1, 0, 8, 0, 0)),
        ]
    )
    assert engine.outcome(1) == Rejected(order_id(B, 0), "post-only-would-trade")
    assert engine.outcome(3) == Rejected(order_id(B, 2), "post-only-would-trade")
    assert resting(engine) == [(B, 1, 8, 2), (A, 0, 10, 2)]


def test_a_decrease_keeps_the_place_and_an_increase_or_new_price_loses_it():
    queue = [((A, seq, 0), Placement(0, BUY, 10, 5, GTC)) for seq in range(3)]

    def after(*replacement):
        return resting(run([*queue, ((A, 3, 0), Replacement(0, 0, 0, *replacement))]))

    assert after(0, 4, 0) == [(A, 0, 10, 4), (A, 1, 10, 5), (A, 2, 10, 5)]
    assert after(0, 0, 4) == [(A, 0, 10, 1), (A, 1, 10, 5), (A, 2, 10, 5)]
    assert after(10, 0, 0) == [(A, 0, 10, 5), (A, 1, 10, 5), (A, 2, 10, 5)]
    assert after(10, 5, 0) == [(A, 0, 10, 5), (A, 1, 10, 5), (A, 2, 10, 5)]
    assert after(0, 6, 0) == [(A, 1, 10, 5), (A, 2, 10, 5), (A, 0, 10, 6)]
    assert after(9, 0, 0) == [(A, 1, 10, 5), (A, 2, 10, 5), (A, 0, 9, 5)]
    assert after(11, 0, 2) == [(A, 0, 11, 3), (A, 1, 10, 5), (A, 2, 10, 5)]
    assert after(0, 0, 5) == [(A, 1, 10, 5), (A, 2, 10, 5)]


def test_a_replacement_into_the_market_trades_under_the_orders_own_id():
    engine = run(
        [
            ((A, 0, 0), Placement(0, SELL, 10, 2, GTC)),
            ((B, 0, 0), Placement(0, BUY, 8, 5, GTC)),
            ((B, 1, 0), Replacement(0, 0, 0, 12, 0, 0)),
        ]
    )
    replaced, trade = engine.events(2)
    lot = engine.market.lot_size
    assert replaced == Replaced(order_id(B, 1), order_id(B, 0), 6, lot * 5, lot * 5, False)
    assert (trade.command_id, trade.taker, trade.maker) == (
        order_id(B, 1),
        order_id(B, 0),
        order_id(A, 0),
    )
    assert trade.price == 5
    assert trade.taker_side == "buy"
    assert resting(engine) == [(B, 0, 12, 3)]
    status = engine.order((B, 0, 0))
    assert (status.quantity * 10, status.remaining * 10, status.filled * 10) == (5, 3, 2)


def test_undo_puts_every_order_back_into_its_place_in_the_queue():
    queue = [((A, seq, 0), Placement(0, BUY, 10, 1 + seq, GTC)) for seq in range(6)]
    engine = run(queue)
    before = resting(engine)
    for seq in (2, 3, 0, 5):
        engine.apply((A, 6 + seq, 0), Cancellation(0, seq, 0))
    engine.apply((A, 20, 0), Replacement(0, 1, 0, 0, 9, 0))
    engine.apply((B, 0, 0), Placement(0, SELL, 10, 6, GTC))
    engine.rewind(6)
    assert resting(engine) == before
    engine.check()


def test_a_cancel_reaches_only_what_its_author_placed_before():
    engine = run(
        [
            ((A, 0, 0), Placement(0, BUY, 10, 1, GTC)),
            ((B, 0, 0), Cancellation(0, 0, 0)),
            ((B, 1, 0), Cancellation(0, 0, 0)),
            ((A, 1, 1), Cancellation(0, 1, 1)),
            ((A, 1, 2), Cancellation(0, 2, 0)),
            ((A, 1, 3), Cancellation(0, 0, 0)),
            ((A, 1, 4), Cancellation(0, 0, 0)),
        ]
    )
    outcomes = [getattr(engine.outcome(p), "reason", None) for p in range(1, 7)]
    assert outcomes == [
        "target-not-earlier",
        "unknown-order",
        "target-not-earlier",
        "target-not-earlier",
        "requested",
        "already-cancelled",
    ]


def test_snapshots_stand_at_growing_distances():
    engine = MatchingEngine(market(), undo_window=1, snapshot_interval=1)
    for seq in range(1000):
        engine.apply((A, seq, 0), Placement(0, BUY, 1 + seq % 5, 1, GTC))
    assert len(engine._snapshots) <= 2 * 10
    reached_from = 0
    for target in (990, 900, 700, 100):
        late = MatchingEngine(market(), undo_window=1, snapshot_interval=1)
        for position in range(1000):
            late.apply(*engine.command(position))
        reached = late.rewind(target)
        assert target - (1000 - target) <= reached <= target
        reached_from += reached
    assert reached_from > 0


def test_going_forward_the_newest_commands_can_be_undone_one_by_one():
    for undo_window in (0, 1, 2, 7, 100):
        engine = MatchingEngine(market(), undo_window=undo_window, snapshot_interval=5)
        for seq in range(200):
            engine.apply((A, seq, 0), Placement(0, BUY, 1 + seq % 5, 1, GTC))
            assert engine.undo_floor <= max(0, engine.position - undo_window)
            assert engine.undo_floor >= engine.position - 2 * undo_window - 1


def test_what_was_replayed_is_counted():
    commands = random_commands(SeededRandom(1), 100)
    engine = MatchingEngine(market(), undo_window=20, snapshot_interval=30)
    for key, command in commands:
        engine.apply(key, command)
    assert (engine.applied_count, engine.undone_count) == (100, 0)
    engine.rewind(90)
    assert (engine.applied_count, engine.undone_count) == (100, 10)
    assert engine.rewind(45) == 30
    assert (engine.applied_count, engine.undone_count) == (100, 70)
    engine.apply(*commands[30])
    assert (engine.applied_count, engine.undone_count) == (101, 70)


def test_a_corrupted_book_shows_once_it_is_scrubbed():
    commands = random_commands(SeededRandom(3), 200, prices=(1, 40))
    engine, honest = run(commands), run(commands)
    assert engine.digest() == honest.digest()
    assert "remaining" in engine.corrupt("book", SeededRandom(1))
    assert engine.digest() == honest.digest()
    levels = len(engine.book().bids) + len(engine.book().asks)
    for _ in range(levels):
        engine.scrub(1)
        if engine.digest() != honest.digest():
            break
    assert engine.digest().root != honest.digest().root
    assert engine.digest().totals == honest.digest().totals


def test_a_corrupted_trade_shows_in_the_sums():
    commands = random_commands(SeededRandom(3), 200)
    engine, honest = run(commands), run(commands)
    assert "trade" in engine.corrupt("trades", SeededRandom(1))
    assert engine.digest().root != honest.digest().root
    assert engine.trades() != honest.trades()
    assert engine.totals.lots != honest.totals.lots
    assert sum(t.quantity for t in engine.trades()) == engine.totals.lots * market().lot_size


def test_there_is_nothing_to_corrupt_in_an_empty_market():
    engine = MatchingEngine(market())
    assert engine.corrupt("book", SeededRandom(0)) == ""
    assert engine.corrupt("trades", SeededRandom(0)) == ""


def test_scrubbing_a_sound_book_changes_nothing():
    engine = run(random_commands(SeededRandom(8), 300, prices=(1, 2), resting=True))
    root = engine.digest().root
    for count in (1, 2, 3, 100, 0):
        engine.scrub(count)
        assert engine.digest().root == root


def test_digest_behind_a_trimmed_journal_is_right():
    commands = random_commands(SeededRandom(11), 600, prices=(1, 30))
    engine, twin = MatchingEngine(market(), undo_window=10), NaiveMarket(market())
    for key, command in commands:
        engine.apply(key, command)
        twin.apply(key, command)
    assert engine.digest().root == twin.root()


def test_numbers_near_the_limit_do_not_overflow():
    most = 2**63 - 1
    engine, twin = MatchingEngine(market()), NaiveMarket(market())
    commands = [
        ((A, 0, 0), Placement(0, SELL, most, most, GTC)),
        ((A, 1, 0), Placement(0, SELL, most, most, GTC)),
        ((B, 0, 0), Placement(0, BUY, most, most, GTC)),
        ((B, 1, 0), Placement(0, BUY, most, most - 1, GTC)),
        ((A, 2, 0), Replacement(0, 1, 0, 0, most, 0)),
    ]
    for key, command in commands:
        engine.apply(key, command)
        twin.apply(key, command)
    assert engine.totals == twin.totals()
    assert engine.digest().root == twin.root()


def test_commands_are_given_in_merge_order_with_their_outcomes():
    engine = run(
        [
            ((A, 0, 0), Placement(0, SELL, 10, 2, GTC)),
            ((A, 1, 0), Cancellation(0, 0, 0)),
            ((A, 2, 0), Replacement(0, 0, 0, 9, 0, 0)),
        ]
    )
    records = engine.commands()
    assert [record.command_id for record in records] == [order_id(A, n) for n in range(3)]
    assert [type(record.outcome) for record in records] == [Accepted, Cancelled, Rejected]
    assert records[2].command.price == engine.market.ticks_to_price(9)
    assert engine.commands(2) == records[2:]
