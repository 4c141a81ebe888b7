"""Readers at their own pace: in order, without gaps, bounded, none at the cost of the others."""

from __future__ import annotations

import contextlib
import itertools

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from twins.cancellation import cancelled_after
from twins.ledger import Ledger
from twins.scenario import GENESIS, limit
from twins.trio_peers import keypair, linked_peers
from twins.virtual_time import virtual_time

import gossipbook as gb
from gossipbook.randomness import SeededRandom
from gossipbook.subscriptions import Audience, Subscription

pytestmark = virtual_time

MARKETS = ("ONE", "TWO")


async def everything_from(subscription: Subscription[int]) -> list[int]:
    return [item async for item in subscription]


async def test_a_reader_gets_the_snapshot_then_what_is_published_then_the_end() -> None:
    subscription = Subscription(8, [1, 2])
    for item in (3, 4):
        subscription.publish(item)
    subscription.end()
    assert await everything_from(subscription) == [1, 2, 3, 4]
    with pytest.raises(StopAsyncIteration):
        await anext(subscription)


async def test_a_reader_waits_for_what_is_still_to_come() -> None:
    subscription: Subscription[int] = Subscription(8, [])

    async def publish() -> None:
        for item in range(5):
            await trio.sleep(1)
            subscription.publish(item)
        await trio.sleep(1)
        subscription.end()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(publish)
        assert await everything_from(subscription) == [0, 1, 2, 3, 4]
        assert trio.current_time() == pytest.approx(6)


async def test_what_a_reader_does_not_want_takes_no_room() -> None:
    subscription = Subscription(2, [], lambda item: item % 10 == 0)
    for item in range(20):
        subscription.publish(item)
    subscription.end()
    assert await everything_from(subscription) == [0, 10]


async def test_the_buffer_holds_as_many_as_it_says_besides_the_snapshot() -> None:
    subscription = Subscription(3, [1, 2, 3, 4])
    for item in (5, 6, 7):
        subscription.publish(item)
    subscription.end()
    assert await everything_from(subscription) == [1, 2, 3, 4, 5, 6, 7]


async def test_who_lags_gets_what_is_buffered_and_is_told_once_and_for_all() -> None:
    subscription = Subscription(3, [0])
    for item in range(1, 6):
        subscription.publish(item)
    assert [await anext(subscription) for _ in range(4)] == [0, 1, 2, 3]
    subscription.publish(6)  # there would be room again, but 4 and 5 are gone
    for _ in range(2):
        with pytest.raises(gb.SubscriberLagged, match="more than 3 items behind"):
            await anext(subscription)


async def test_lagging_is_told_rather_than_the_end() -> None:
    subscription: Subscription[int] = Subscription(1, [])
    for item in (1, 2):
        subscription.publish(item)
    subscription.end()
    assert await anext(subscription) == 1
    with pytest.raises(gb.SubscriberLagged):
        await anext(subscription)


async def test_reading_makes_room() -> None:
    subscription: Subscription[int] = Subscription(1, [])
    for item in range(100):
        subscription.publish(item)
        assert await anext(subscription) == item


async def test_reading_lets_others_run_even_where_much_waits() -> None:
    """A reader with a full buffer is a loop without a pause otherwise."""
    subscription = Subscription(1, range(3))
    for item in (0, 1, 2):
        with trio.testing.assert_checkpoints():
            assert await anext(subscription) == item
    subscription.end()
    with trio.testing.assert_checkpoints(), pytest.raises(StopAsyncIteration):
        await anext(subscription)


async def test_a_cancelled_reader_loses_nothing() -> None:
    """Cancelled after each step of waiting in turn, while items come in."""
    subscription: Subscription[int] = Subscription(100, [])
    read: list[int] = []
    cancelled = 0

    async def read_one() -> None:
        read.append(await anext(subscription))

    for step_count in range(40):
        subscription.publish(step_count)
        cancelled += (await cancelled_after(step_count % 4, read_one)).cancelled
        with trio.move_on_after(1):  # and cancelled while there is nothing to read
            while True:
                await read_one()
    assert read == list(range(40))
    assert cancelled >= 20


@pytest.mark.parametrize("buffer", [0, -1, 1.5, True, None, "9"])
async def test_a_buffer_that_cannot_be_is_refused(buffer: object) -> None:
    with pytest.raises(gb.UsageError, match="1 or more"):
        Subscription(buffer, [])  # type: ignore[arg-type]


# ------------------------------------------------------------------ audiences


async def test_an_audience_gives_everybody_everything_from_when_they_came() -> None:
    audience: Audience[int] = Audience()
    early, late = Subscription[int](8, []), Subscription[int](8, [])
    audience.publish(1)
    audience.add(early)
    audience.publish(2)
    audience.add(late)
    audience.publish(3)
    assert len(audience) == 2
    audience.end()
    assert await everything_from(early) == [2, 3]
    assert await everything_from(late) == [3]


async def test_who_left_an_audience_gets_nothing_more() -> None:
    audience: Audience[int] = Audience()
    stays, leaves = Subscription[int](8, []), Subscription[int](8, [])
    audience.add(stays)
    audience.add(leaves)
    audience.publish(1)
    audience.remove(leaves)
    audience.remove(leaves)  # leaving twice is no error
    audience.publish(2)
    audience.end()
    leaves.end()
    assert await everything_from(stays) == [1, 2]
    assert await everything_from(leaves) == [1]
    assert len(audience) == 1


async def test_who_lags_costs_the_others_nothing() -> None:
    audience: Audience[int] = Audience()
    slow, quick = Subscription[int](2, []), Subscription[int](100, [])
    audience.add(slow)
    audience.add(quick)
    for item in range(50):
        audience.publish(item)
    audience.end()
    assert await everything_from(quick) == list(range(50))
    assert [await anext(slow), await anext(slow)] == [0, 1]
    with pytest.raises(gb.SubscriberLagged):
        await anext(slow)


@given(
    snapshot=st.integers(0, 4),
    buffer=st.integers(1, 4),
    moves=st.lists(st.sampled_from(["publish", "read"]), max_size=40),
)
async def test_a_reader_sees_a_prefix_and_lags_only_where_the_buffer_was_full(
    snapshot: int, buffer: int, moves: list[str]
) -> None:
    """Against a list and two counters."""
    numbers = itertools.count(snapshot)
    subscription = Subscription(buffer, range(snapshot))
    read: list[int] = []
    kept, lost = 0, False
    for move in moves:
        if move == "publish":
            lost = lost or kept - max(0, len(read) - snapshot) >= buffer
            kept += not lost
            subscription.publish(next(numbers))
        elif len(read) < snapshot + kept:
            read.append(await anext(subscription))
        elif lost:
            with pytest.raises(gb.SubscriberLagged):
                await anext(subscription)
    assert read == list(range(len(read)))


# ------------------------------------------------------------------ readers of a peer


async def test_the_snapshot_is_what_stood_before_the_body_ran() -> None:
    async with gb.open_peer(GENESIS, keypair(1)) as peer:
        before = await peer.submit([limit("sell", 100, 2), limit("buy", 100, 1)])
        async with peer.subscribe() as updates:
            later = await peer.submit(limit("buy", 100, 1))
            one, two = await anext(updates), await anext(updates)
            assert (one.market, one.position, one.undone) == ("ONE", 0, ())
            commands = [event.command_id for event in one.events]
            assert commands == [before[0].command_id, before[1].command_id, before[1].command_id]
            assert two == gb.Update("TWO", 0, (), ()), "a market without a past has one, too"
            change = await anext(updates)
            assert (change.market, change.position, change.undone) == ("ONE", 2, ())
            assert [event.command_id for event in change.events] == [later.command_id] * 2


async def test_a_reader_may_ask_for_one_market() -> None:
    async with gb.open_peer(GENESIS, keypair(1)) as peer:
        await peer.submit([limit(), limit(market="TWO")])
        async with peer.subscribe("TWO", buffer=1) as updates:
            for _ in range(5):
                await peer.submit(limit(market="ONE"))
                await trio.sleep(0.1)
            wanted = await peer.submit(limit(market="TWO"))
            told = [await anext(updates), await anext(updates)]
        assert [update.market for update in told] == ["TWO", "TWO"]
        assert [event.command_id for event in told[1].events] == [wanted.command_id]


async def test_an_unknown_market_or_an_impossible_buffer_is_refused_and_nobody_watches() -> None:
    async with gb.open_peer(GENESIS, keypair(1)) as peer:
        with pytest.raises(gb.UnknownMarket, match="THREE"):
            async with peer.subscribe("THREE"):
                pass
        for listen in (peer.subscribe, peer.events):
            with pytest.raises(gb.UsageError, match="buffer=0"):
                async with listen(buffer=0):
                    pass
        assert not peer.replica.watched


async def test_reading_ends_when_the_peer_is_closed() -> None:
    read: list[gb.Update] = []
    told: list[gb.PeerEvent] = []

    async def read_all(peer: gb.Peer, task_status: trio.TaskStatus[None]) -> None:
        async with peer.subscribe() as updates, peer.events() as events:
            task_status.started()
            read.extend([update async for update in updates])
            told.extend([event async for event in events])

    async with trio.open_nursery() as nursery, linked_peers(2) as (alice, bob):
        await nursery.start(read_all, alice)
        await alice.submit(limit())
    assert [len(update.events) for update in read] == [0, 0, 1]
    assert told == [gb.PeerUp(bob.peer_id), gb.PeerDown(bob.peer_id, "it left")]


@pytest.mark.parametrize("orderly", [True, False])
async def test_a_reader_is_told_what_lands_while_the_peer_closes(orderly: bool) -> None:
    """A submit from outside the block is still being written when the block ends."""
    read: list[gb.Update] = []
    receipts: list[gb.Receipt] = []

    async def read_all(peer: gb.Peer, task_status: trio.TaskStatus[None]) -> None:
        async with peer.subscribe("ONE") as updates:
            task_status.started()
            read.extend([update async for update in updates])

    async def submit(peer: gb.Peer) -> None:
        receipts.append(await peer.submit(limit()))

    async with trio.open_nursery() as nursery:
        with contextlib.suppress(ZeroDivisionError):
            async with gb.open_peer(GENESIS, keypair(1), store=gb.MemoryStore(write_s=0.3)) as peer:
                await nursery.start(read_all, peer)
                nursery.start_soon(submit, peer)
                await trio.sleep(0.1)
                if not orderly:
                    raise ZeroDivisionError
    told = [event.command_id for update in read for event in update.events]
    assert told == [receipts[0].command_id]
    assert [record.command_id for record in peer.commands("ONE")] == told


async def test_a_reader_that_lags_is_told_and_the_others_miss_nothing() -> None:
    quick = Ledger()

    async def follow(peer: gb.Peer, task_status: trio.TaskStatus[None]) -> None:
        async with peer.subscribe(buffer=2) as updates:
            task_status.started()
            async for update in updates:
                quick.take(update)

    async with trio.open_nursery() as nursery, gb.open_peer(GENESIS, keypair(1)) as peer:
        await nursery.start(follow, peer)
        async with peer.subscribe(buffer=3) as slow:
            for price in range(1, 11):
                await peer.submit(limit(price=price))
                await trio.sleep(0.1)
            told = [await anext(slow) for _ in range(5)]  # two snapshots, three updates
            assert [len(update.events) for update in told] == [0, 0, 1, 1, 1]
            with pytest.raises(gb.SubscriberLagged, match="3 items"):
                await anext(slow)
        async with peer.subscribe() as again:
            assert len((await anext(again)).events) == 10, "a new one starts whole"
    quick.check(peer, MARKETS)
    assert quick.update_count == 12


async def test_nobody_is_paid_for_who_does_not_read() -> None:
    async with gb.open_peer(GENESIS, keypair(1)) as peer:
        assert not peer.replica.watched
        async with peer.subscribe():
            async with peer.subscribe("ONE"):
                assert peer.replica.watched
            assert peer.replica.watched
        assert not peer.replica.watched
        with pytest.raises(ZeroDivisionError):
            async with peer.subscribe():
                raise ZeroDivisionError
        assert not peer.replica.watched


STORMY = gb.Link(latency=(0.005, 0.08), loss=0.15, duplication=0.1, reordering=0.1)


@pytest.mark.parametrize("seed", range(6))
async def test_who_only_reads_updates_ends_with_what_the_peer_holds(seed: int) -> None:
    """Three peers trade over bad links, and through a partition; one reader at each from the
    start and one from the middle of it. Trades are busted on the way."""
    network = gb.MemoryNetwork(seed=seed, link=STORMY)
    ledgers: list[tuple[gb.Peer, Ledger]] = []

    async def follow(peer: gb.Peer, *, task_status: trio.TaskStatus[None]) -> None:
        ledger = Ledger()
        async with peer.subscribe(buffer=1_000) as updates:
            ledgers.append((peer, ledger))
            task_status.started()
            async for update in updates:
                ledger.take(update)

    async def trade(peer: gb.Peer, random: SeededRandom) -> None:
        for _ in range(60):
            await trio.sleep(random.below(100) / 1_000)
            await peer.submit(random_order(random))

    async with (
        trio.open_nursery() as readers,
        linked_peers(3, network=network, seed=seed) as peers,
    ):
        for peer in peers:
            await readers.start(follow, peer)
        async with trio.open_nursery() as traders:
            for index, peer in enumerate(peers):
                traders.start_soon(trade, peer, SeededRandom(100 * seed + index))
            await trio.sleep(0.8)
            network.partition([str(seed % 3)])
            await trio.sleep(0.7)
            for peer in peers:
                await readers.start(follow, peer)
            network.heal()
        with trio.fail_after(120):
            await gb.wait_until_equal(peers)
    assert len(ledgers) == 6
    for peer, ledger in ledgers:
        ledger.check(peer, MARKETS)
    for (peer, whole), (_, late) in zip(ledgers[:3], ledgers[3:], strict=True):
        assert whole.busted_count == peer.statistics().busted_trades
        assert late.update_count < whole.update_count
    assert sum(ledger.busted_count for _, ledger in ledgers) > 0
    assert network.counters.messages_lost > 0


def random_order(random: SeededRandom) -> gb.LimitOrder:
    side = random.choice(["buy", "sell"])
    return limit(side, random.between(98, 102), random.between(1, 9), random.choice(list(MARKETS)))
