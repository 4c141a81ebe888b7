"""Each example runs as a newcomer would run it, and what it builds holds beyond its own story.

Every file runs in a process of its own, in real time. Those whose peers are alone with trio run
again in virtual time, several times over, since there chance falls differently. The ladder and the
bridge to asyncio are meant to be copied, so they are tested like parts of the library.
"""

import asyncio
import gc
import importlib.util
import logging
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trio
from hypothesis import settings
from hypothesis.stateful import invariant, run_state_machine_as_test
from trio.testing import MockClock, wait_all_tasks_blocked
from twins.authors import GENESIS as TWO_MARKETS
from twins.authors import START_MS, TestAuthor, at, buy, sell

import gossipbook as gb
from gossipbook.book.payload import Replacement
from gossipbook.randomness import SeededRandom
from gossipbook.replica import Replica
from gossipbook.sim.order_flow import OrderFlow

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"examples_{name}", ROOT / f"examples/{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


two_peers, healed_partition, live_ladder, own_invariant, beside_asyncio, signal_trader = (
    load(name)
    for name in (
        "two_peers",
        "healed_partition",
        "live_ladder",
        "own_invariant",
        "beside_asyncio",
        "signal_trader",
    )
)

TALES = {
    "two_peers.py": r"""
alice sees 4 traded at 9\.50, 6 still offered, root ([0-9a-f]{16})
bob   sees 4 traded at 9\.50, 6 still offered, root \1
""",
    "healed_partition.py": r"""
alice bids for 5 TEA at 9\.50, and everybody has heard of it

the network breaks: bob is cut off from alice and carol
  bob sells, and sees: bob to alice, 5 at 9\.50
  carol sells, and sees: carol to alice, 5 at 9\.50
  carol is told: traded, carol to alice, 5 at 9\.50

the network heals
  carol is told: busted, carol to alice, 5 at 9\.50
  carol is told: traded, bob to alice, 5 at 9\.50

all three agree: bob to alice, 5 at 9\.50
carol still offers 5 at 9\.50
""",
    "live_ladder.py": r"""
everybody trades
(  ask +\d+\.\d\d  #+ \d+\n)+(  bid +\d+\.\d\d  #+ \d+\n)+
ann is cut off, and goes on trading
(  ask +\d+\.\d\d  #+ \d+\n)+(  bid +\d+\.\d\d  #+ \d+\n)+
the network has healed
(  ask +\d+\.\d\d  #+ \d+\n)+(  bid +\d+\.\d\d  #+ \d+\n)+
[1-9]\d* trades stand, [1-9]\d* were busted on the way
the history was read [1-9]\d* times, everything else came as updates
the ladder equals the book
""",
    "three_processes.py": r"""
alice sees (\d+) trades, (\d+) orders, ([0-9a-f]{16})
bob   sees \1 trades, \2 orders, \3
carol sees \1 trades, \2 orders, \3
""",
    "signal_trader.py": r"""
((\+0\.\d\d   buys 5 at (\d+\.\d\d), offers at \d+\.\d\d
|-0\.\d\d   cancels the offer, sells 5 at \d+\.\d\d
|        somebody takes the offer: [+-]\d+\.\d\d in all
)+)
holds [05], cash [+-]\d+\.\d\d after [1-9]\d* orders
both hold the same book, root [0-9a-f]{16}
""",
    "own_invariant.py": r"""
\d\d stories with [1-9]\d+ trades: both invariants held
""",
    "beside_asyncio.py": r"""
alice is told: 4 traded at 9\.50
alice waits for another update, and gives up
alice's offer is stored as order 0 of her log
bob buys, and in his book 6 are left
bob is refused: price 9\.52 for TEA is not a multiple of the tick size 0\.05; write 9\.50 or 9\.55
both peers are closed, and the thread has ended
""",
}
"""What each example prints, as a pattern over all of it."""

SORTED = {"beside_asyncio.py", "three_processes.py"}
"""Here tasks or processes print side by side: the tale is that of the sorted lines."""


def check_tale(name: str, printed: str) -> None:
    told = "".join(sorted(printed.splitlines(keepends=True))) if name in SORTED else printed
    assert re.fullmatch(TALES[name].strip(), told.strip()), printed


# ---------------------------------------------------------------- every example runs


def test_every_example_is_known_here_and_in_its_readme() -> None:
    assert sorted(TALES) == EXAMPLES
    listed = re.findall(r"\(([a-z_]+\.py)\)", (ROOT / "examples/README.md").read_text())
    assert sorted(listed) == EXAMPLES


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_tells_its_tale(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / name)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    check_tale(name, done.stdout)


@pytest.mark.parametrize("example", [two_peers, healed_partition, live_ladder])
def test_the_tale_is_the_same_in_virtual_time(
    example: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(5):
        trio.run(example.main, clock=MockClock(autojump_threshold=0))
        check_tale(Path(str(example.__file__)).name, capsys.readouterr().out)


def test_an_invariant_that_does_not_hold_is_found() -> None:
    class NobodyTrades(own_invariant.Exchange):  # type: ignore[name-defined, misc]
        @invariant()
        def nobody_trades(self) -> None:
            assert not any(peer.trades("TEA") for peer in self.peers_up()), "somebody traded"

    with pytest.raises(AssertionError, match="somebody traded"):
        run_state_machine_as_test(
            NobodyTrades,
            settings=settings(max_examples=20, deadline=None, database=None, phases=["generate"]),
        )


# ---------------------------------------------------------------- the ladder


ALICE, BOB = (gb.Keypair.from_seed(bytes([number]) * 32).peer_id for number in (1, 2))


def test_the_ladder_adds_up_what_happened() -> None:
    ladder = live_ladder.Ladder()
    ask, bid = gb.OrderId("TEA", ALICE, 0, 0), gb.OrderId("TEA", BOB, 0, 0)
    ten, nine = Decimal("10.00"), Decimal("9.95")
    offered = gb.Accepted(ask, ask, "sell", ten, Decimal(8))
    wanted = gb.Accepted(bid, bid, "buy", ten, Decimal(3))
    trade = gb.Trade(bid, bid, ask, ten, Decimal(3), "buy", "TEA")
    ladder.apply(gb.Update("TEA", 0, (), (offered,)))
    assert (ladder.bids(), ladder.asks()) == ([], [(ten, Decimal(8))])
    ladder.apply(gb.Update("TEA", 1, (), (wanted, trade)))
    assert (ladder.bids(), ladder.asks()) == ([], [(ten, Decimal(5))])

    # Somebody else came first and took all: the trade is busted, and Bob's order rests.
    other = gb.OrderId("TEA", ALICE, 1, 0)
    earlier = gb.Accepted(other, other, "buy", ten, Decimal(8))
    instead = gb.Trade(other, other, ask, ten, Decimal(8), "buy", "TEA")
    ladder.apply(gb.Update("TEA", 1, (trade,), (earlier, instead)))
    assert (ladder.bids(), ladder.asks()) == ([(ten, Decimal(3))], [])

    # Bob moves his order and then takes it back.
    move, cancel = gb.CommandId("TEA", BOB, 1, 0), gb.CommandId("TEA", BOB, 2, 0)
    moved = gb.Replaced(move, bid, nine, Decimal(7), Decimal(3), False)
    ladder.apply(gb.Update("TEA", 3, (), (moved,)))
    assert ladder.bids() == [(nine, Decimal(7))]
    refused = gb.Rejected(gb.CommandId("TEA", BOB, 3, 0), "already-cancelled")
    gone = gb.Cancelled(cancel, bid, Decimal(7), "requested")
    ladder.apply(gb.Update("TEA", 4, (), (gone, refused)))
    assert (ladder.bids(), ladder.asks()) == ([], [])


def resized_and_traded(*, trade_ms: int) -> tuple[Replica, list[gb.Update]]:
    """Ten lots are offered, at 50 ms made five; two bids come late, the second at ``trade_ms``."""
    maker, taker = TestAuthor(1), TestAuthor(2)
    offered = maker.write(sell(100, 10), hlc=at(10))
    resized = maker.write(Replacement(0, 0, 0, 0, 5, 0), hlc=at(50))
    too_low, trade = taker.write(buy(1), hlc=at(20)), taker.write(buy(100, 3), hlc=at(trade_ms))
    replica = Replica(TWO_MARKETS)
    replica.watched = True
    updates = []
    for batch in ([offered, resized], [too_low, trade]):
        replica.add(batch, local_ms=START_MS + 10_000)
        updates += replica.settle(now_us=0, local_ms=START_MS + 10_000)
    return replica, updates


def test_the_ladder_knows_whether_a_late_trade_came_before_a_replacement() -> None:
    """Traded before or after the replacement: other books, and other updates."""
    before, updates = resized_and_traded(trade_ms=30)
    after, others = resized_and_traded(trade_ms=60)
    books = [replica.book("AAA") for replica in (before, after)]
    assert [book.asks[0].quantity for book in books] == [5, 2]
    assert updates[0] == others[0] and updates[1] != others[1]
    for told, book in zip((updates, others), books, strict=True):
        ladder = live_ladder.Ladder()
        for update in told:
            ladder.apply(update)
        assert ladder.shows(book)


def test_the_ladder_equals_the_book_after_every_update_of_random_trading() -> None:
    tally: Counter[str] = Counter()
    for seed in range(12):
        follow_a_simulated_market(seed, tally)
    assert tally["late"] > 50 and tally["busted"] > 20 and tally["replaced"] > 50, tally


def follow_a_simulated_market(seed: int, tally: Counter[str]) -> None:
    genesis = gb.Genesis("random", [gb.Market("TEA", "0.05", self_trade="cancel-both")])
    flow, chance = OrderFlow(genesis, seed), SeededRandom(seed)
    cluster = gb.sim.Cluster(
        genesis, peers=3, seed=seed, link=gb.Link(latency=(0.005, 0.2), loss=0.1), watched=True
    )
    cluster.run_for(1.0)
    watcher, read = cluster.peers[0], 0
    ladder = live_ladder.Ladder()
    for step in range(120):
        author = chance.below(3)
        receipt = cluster.submit(author, flow.next(author))
        if receipt.command_id == receipt.order_id:
            flow.note(author, receipt.order_id)
        cluster.run_for(chance.between(1, 30) / 1000)
        if step == 40:
            cluster.partition({2})
        if step == 80:
            cluster.heal()
        if step == 119:
            cluster.run_until_converged()
        book = watcher.book("TEA")
        for update in watcher.updates[read:]:
            tally["updates"] += 1
            tally["late"] += bool(update.undone)
            tally["busted"] += sum(isinstance(event, gb.Trade) for event in update.undone)
            tally["replaced"] += sum(isinstance(event, gb.Replaced) for event in update.events)
            ladder.apply(update)
        read = len(watcher.updates)
        assert ladder.shows(book), f"seed {seed}, step {step}: {ladder.bids()}, {ladder.asks()}"


def test_a_screen_that_lagged_subscribes_again() -> None:
    class LagsOnce:
        """A peer whose first subscription ends with the snapshot."""

        def __init__(self, peer: gb.Peer) -> None:
            self.peer = peer
            self.subscriptions = 0

        @asynccontextmanager
        async def subscribe(self, market: str) -> AsyncIterator[AsyncIterator[gb.Update]]:
            self.subscriptions += 1
            async with self.peer.subscribe(market) as updates:
                yield self.snapshot(updates) if self.subscriptions == 1 else updates

        async def snapshot(self, updates: gb.Subscription[gb.Update]) -> AsyncIterator[gb.Update]:
            yield await anext(updates)
            raise gb.SubscriberLagged("too slow")

    async def main() -> None:
        screen = live_ladder.Screen()
        opening = gb.open_peer(live_ladder.GENESIS, gb.Keypair.generate())
        async with trio.open_nursery() as nursery, opening as peer:
            lagging = LagsOnce(peer)
            nursery.start_soon(screen.follow, lagging)
            await wait_all_tasks_blocked()
            await peer.submit(gb.LimitOrder("TEA", "buy", price="9.50", quantity=3))
            await trio.sleep(1)
            assert screen.ladder.shows(peer.book("TEA"))
            assert screen.ladder.bids() == [(Decimal("9.50"), Decimal(3))]
        assert lagging.subscriptions == screen.snapshots == 2  # and it ended with the peer

    trio.run(main, clock=MockClock(autojump_threshold=0))


# ---------------------------------------------------------------- the trader


def limit(side: Any, price: str, quantity: int) -> gb.LimitOrder:
    return gb.LimitOrder("TEA", side, price=price, quantity=quantity)


@asynccontextmanager
async def traders_in(network: gb.MemoryNetwork) -> AsyncIterator[tuple[gb.Peer, gb.Peer, Any]]:
    """Peers of a maker and of a rival, and a trader at a third, who is not running yet."""
    async with AsyncExitStack() as stack:
        peers = []
        for name in ("maker", "rival", "trader"):
            opening = gb.open_peer(
                signal_trader.GENESIS,
                gb.Keypair.generate(),
                transport=network.transport(name),
                bootstrap=["maker"] if peers else [],
            )
            peers.append(await stack.enter_async_context(opening))
        await trio.sleep(1)
        yield peers[0], peers[1], signal_trader.SignalTrader(peers[2])


@asynccontextmanager
async def maker_and_trader() -> AsyncIterator[tuple[gb.Peer, Any]]:
    """A maker's peer, and a trader that runs."""
    playing = traders_in(gb.MemoryNetwork())
    async with playing as (maker, _, trader), trio.open_nursery() as nursery:
        nursery.start_soon(trader.run)
        yield maker, trader
        nursery.cancel_scope.cancel()


def test_the_signal_weighs_the_best_levels_only() -> None:
    async def main() -> None:
        async with gb.open_peer(signal_trader.GENESIS, gb.Keypair.generate()) as peer:
            assert signal_trader.imbalance(peer.book("TEA")) == 0
            await peer.submit([limit("buy", price, 5) for price in ("9.90", "9.85", "9.80")])
            assert signal_trader.imbalance(peer.book("TEA")) == 1
            await peer.submit(limit("buy", "9.75", 1_000))  # the fourth level
            await peer.submit(limit("sell", "10.00", 45))
            assert signal_trader.imbalance(peer.book("TEA")) == Decimal("-0.5")  # (15 - 45) / 60

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_the_trader_buys_when_much_is_bid_and_its_offer_is_taken() -> None:
    async def main() -> None:
        async with maker_and_trader() as (maker, trader):
            await maker.submit([limit("buy", "9.95", 20), limit("sell", "10.00", 10)])
            await trio.sleep(1)
            assert (trader.position, trader.cash) == (5, Decimal("-50.00"))
            assert maker.order(trader.offer).price == Decimal("10.10")
            await maker.submit([limit("sell", "10.05", 30), limit("buy", "10.10", 40)])
            await trio.sleep(1)  # 5 at 10.00, 30 at 10.05, then the trader's 5 at 10.10
            assert (trader.position, trader.cash) == (0, Decimal("0.50"))
            assert trader.offer is None

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_the_trader_gives_up_when_the_balance_tips() -> None:
    async def main() -> None:
        async with maker_and_trader() as (maker, trader):
            await maker.submit([limit("buy", "9.95", 20), limit("sell", "10.00", 10)])
            await trio.sleep(1)
            offer = trader.offer
            await maker.submit(limit("sell", "10.05", 90))
            await trio.sleep(1)
            assert (trader.position, trader.cash) == (0, Decimal("-0.25"))
            status = maker.order(offer)
            assert status is not None
            assert (status.state, status.filled) == ("cancelled", 0)

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_a_busted_purchase_is_not_held_any_more() -> None:
    async def main() -> None:
        network = gb.MemoryNetwork()
        async with traders_in(network) as (maker, rival, trader):
            await maker.submit(limit("sell", "10.00", 5))
            await trio.sleep(1)
            network.partition(["rival"])
            await rival.submit(limit("buy", "10.00", 5))  # first, and nobody hears of it
            await trio.sleep(1)
            await trader.submit(limit("buy", "10.00", 5))
            assert (trader.position, trader.cash) == (5, Decimal("-50.00"))
            network.heal()
            await trio.sleep(10)
            assert (trader.position, trader.cash) == (0, 0)

    trio.run(main, clock=MockClock(autojump_threshold=0))


# ---------------------------------------------------------------- beside asyncio


TrioThread = beside_asyncio.TrioThread


def run_asyncio(
    main: Callable[[], Awaitable[None]], caplog: pytest.LogCaptureFixture | None = None
) -> None:
    """Run it within 20 s, and see that no thread is left and asyncio has nothing to complain of."""
    threads = threading.active_count()
    asyncio.run(asyncio.wait_for(main(), 20), debug=True)
    assert threading.active_count() == threads
    gc.collect()
    if caplog is not None:
        assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@asynccontextmanager
async def a_peer(**options: Any) -> AsyncIterator[tuple[Any, gb.Peer]]:
    opening = gb.open_peer(beside_asyncio.GENESIS, gb.Keypair.generate(), **options)
    async with TrioThread.start() as trio_thread, trio_thread.enter(opening) as peer:
        yield trio_thread, peer


def bid(quantity: int = 1) -> gb.LimitOrder:
    return gb.LimitOrder("TEA", "buy", price="9.50", quantity=quantity)


def test_results_and_errors_cross_as_themselves(caplog: pytest.LogCaptureFixture) -> None:
    result, mistake = object(), LookupError("mine")

    async def give() -> object:
        await trio.sleep(0)
        return result

    def fail() -> None:
        raise mistake

    async def main() -> None:
        async with TrioThread.start() as trio_thread:
            assert await trio_thread.run(give) is result
            with pytest.raises(LookupError) as caught:
                await trio_thread.run_sync(fail)
            assert caught.value is mistake
            with pytest.raises(StopAsyncIteration):
                await trio_thread.run(anext, nothing())

    async def nothing() -> AsyncIterator[None]:
        return
        yield

    run_asyncio(main, caplog)


def test_cancelling_here_cancels_there_and_waits_for_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ended = []

    async def main() -> None:
        loop, begun = asyncio.get_running_loop(), asyncio.Event()

        async def work() -> None:
            loop.call_soon_threadsafe(begun.set)
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(0.05)
                ended.append("cleaned up")

        async with TrioThread.start() as trio_thread:
            task = asyncio.create_task(trio_thread.run(work))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert ended == ["cleaned up"]
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await trio_thread.run(work)
            assert ended == ["cleaned up"] * 2

    run_asyncio(main, caplog)


def test_an_order_whose_storing_had_begun_when_cancelled_stands() -> None:
    async def main() -> None:
        async with a_peer(store=gb.MemoryStore(write_s=0.05)) as (trio_thread, peer):
            task = asyncio.create_task(trio_thread.run(peer.submit, bid()))
            while not await trio_thread.run_sync(lambda: peer.running.own.in_flight):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            (record,) = await trio_thread.run_sync(peer.commands, "TEA")
            assert isinstance(record.outcome, gb.Accepted)

    run_asyncio(main)


def test_an_order_that_waits_its_turn_when_cancelled_is_not_submitted() -> None:
    async def main() -> None:
        async with a_peer(store=gb.MemoryStore(write_s=0.05)) as (trio_thread, peer):
            first = asyncio.create_task(trio_thread.run(peer.submit, bid(1)))
            while not await trio_thread.run_sync(lambda: peer.running.own.in_flight):
                await asyncio.sleep(0)
            second = asyncio.create_task(trio_thread.run(peer.submit, bid(2)))
            while not await trio_thread.run_sync(lambda: peer.running.own.queued_count):
                await asyncio.sleep(0)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            receipt = await first
            (only,) = await trio_thread.run_sync(peer.commands, "TEA")
            assert only.command_id == receipt.command_id

    run_asyncio(main)


def test_giving_up_waiting_loses_no_update(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with (
            a_peer() as (trio_thread, peer),
            trio_thread.iterate(peer.subscribe("TEA")) as updates,
        ):
            assert (await anext(updates)).events == ()
            for quantity in range(1, 6):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await anext(updates)
                receipt = await trio_thread.run(peer.submit, bid(quantity))
                update = await anext(updates)
                assert [event.command_id for event in update.events] == [receipt.command_id]
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await anext(updates)

    run_asyncio(main, caplog)


def test_iteration_ends_with_the_peer() -> None:
    async def main() -> None:
        seen = []

        async def listen(trio_thread: Any, peer: gb.Peer, ready: asyncio.Event) -> None:
            async with trio_thread.iterate(peer.subscribe("TEA")) as updates:
                async for update in updates:
                    seen.append(update.position)
                    ready.set()

        ready = asyncio.Event()
        async with TrioThread.start() as trio_thread:
            opening = gb.open_peer(beside_asyncio.GENESIS, gb.Keypair.generate())
            async with trio_thread.enter(opening) as peer:
                listening = asyncio.create_task(listen(trio_thread, peer, ready))
                await ready.wait()
            await listening
        assert seen == [0]

    run_asyncio(main)


def test_a_reader_that_lags_is_told_so_in_asyncio() -> None:
    async def main() -> None:
        async with (
            a_peer() as (trio_thread, peer),
            trio_thread.iterate(peer.subscribe("TEA", buffer=1)) as updates,
        ):
            for quantity in (1, 2):
                await trio_thread.run(peer.submit, bid(quantity))
                await trio_thread.run_sync(peer.book, "TEA")  # settled: an update each
            assert [(await anext(updates)).position for _ in range(2)] == [0, 0]
            with pytest.raises(gb.SubscriberLagged, match="more than 1 items behind"):
                await anext(updates)

    run_asyncio(main)


def test_a_body_that_fails_closes_the_peer_and_arrives_as_itself() -> None:
    opened = []

    async def main() -> None:
        mistake = LookupError("in the body")
        with pytest.raises(LookupError) as caught:
            async with a_peer() as (_, peer):
                opened.append(peer)
                raise mistake
        assert caught.value is mistake

    run_asyncio(main)
    assert "closed" in repr(opened[0])


def test_a_peer_that_cannot_be_opened_says_why() -> None:
    async def main() -> None:
        with pytest.raises(gb.UsageError, match="need a transport"):
            async with a_peer(bootstrap=["nobody"]):
                pytest.fail("it was opened")

    run_asyncio(main)


def test_a_call_under_way_when_the_thread_closes_is_ended_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ended = []

    async def main() -> None:
        loop, begun = asyncio.get_running_loop(), asyncio.Event()

        async def wait_for_ever() -> None:
            loop.call_soon_threadsafe(begun.set)
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(0.05)
                ended.append("cleaned up")

        async with TrioThread.start() as trio_thread:
            task = asyncio.create_task(trio_thread.run(wait_for_ever))
            await begun.wait()
        assert ended == ["cleaned up"]
        with pytest.raises(RuntimeError, match="closed before this call had ended"):
            await task
        with pytest.raises(RuntimeError, match="inside its `async with` block"):
            await trio_thread.run(trio.sleep, 0)

    run_asyncio(main, caplog)


def test_a_start_that_is_cancelled_leaves_no_thread() -> None:
    async def start() -> None:
        async with TrioThread.start():
            await asyncio.Event().wait()

    async def main() -> None:
        for turns in range(6):
            task = asyncio.create_task(start())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run_asyncio(main)


def test_asyncio_goes_on_while_trio_is_busy() -> None:
    gate = threading.Event()

    async def main() -> None:
        async with TrioThread.start() as trio_thread:
            busy = asyncio.create_task(trio_thread.run_sync(gate.wait, 10))
            for _ in range(100):
                await asyncio.sleep(0)
            gate.set()
            assert await busy

    run_asyncio(main)
