"""Traders place exactly what was asked for, whoever of them is stopped or refused."""

import trio
from trio.testing import MockClock

import gossipbook as gb
from gossipbook.cli.traders import PAUSE_MS, Trading
from gossipbook.randomness import SeededRandom

GENESIS = gb.Genesis("traders", markets=[gb.Market("ONE"), gb.Market("TWO")])


def run(main):
    return trio.run(main, clock=MockClock(autojump_threshold=0))


def trading_of(orders, **options):
    return Trading(GENESIS, SeededRandom(5), orders=orders, **options)


def open_alone(seed):
    return gb.open_peer(GENESIS, gb.Keypair.from_seed(bytes([seed]) * 32), alone=True)


def test_two_traders_place_exactly_the_orders_between_them_at_their_pace():
    async def main():
        trading = trading_of(60)
        async with open_alone(1) as one, open_alone(2) as two:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trading.trade, "one", one)
                nursery.start_soon(trading.trade, "two", two)
                await trading.until(50)
                assert trading.placed == 30
            assert trading.is_over
            assert trading.placed == 60 == one.entry_count + two.entry_count
            assert min(one.entry_count, two.entry_count) > 15
        low_ms, high_ms = PAUSE_MS
        assert 60 * low_ms / 1000 < trio.current_time() < 60 * high_ms / 1000

    run(main)


def test_what_a_stopped_trader_leaves_somebody_else_places():
    async def main():
        trading = trading_of(40)
        async with open_alone(1) as one, open_alone(2) as two, trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                nursery.start_soon(trading.trade, "two", two)
                nursery.start_soon(stop_at, trading, 30, scope)
                await trading.trade("one", one)
            left = one.entry_count
            await trading.until(100)
            assert one.entry_count == left
            assert one.entry_count + two.entry_count == 40

    async def stop_at(trading, percent, scope):
        await trading.until(percent)
        scope.cancel()

    run(main)


def test_a_trader_whose_log_nobody_confirms_waits_and_the_others_go_on():
    async def main():
        trading = trading_of(1_000)
        network = gb.MemoryNetwork()
        lonely = gb.open_peer(
            GENESIS, gb.Keypair.generate(), transport=network.transport(), bootstrap=["nobody"]
        )
        async with lonely as one, open_alone(2) as two, trio.open_nursery() as nursery:
            nursery.start_soon(trading.trade, "one", one)
            nursery.start_soon(trading.trade, "two", two)
            await trading.until(100)
            assert (one.entry_count, two.entry_count) == (0, 1_000)
            assert trio.current_time() > 5  # long enough for a submit to have given up

    run(main)


def test_reserved_orders_are_left_to_the_story():
    async def main():
        trading = trading_of(20, reserved=2)
        async with open_alone(1) as one, open_alone(2) as two, trio.open_nursery() as nursery:
            nursery.start_soon(trading.trade, "one", one)
            await trio.sleep(60)
            assert trading.placed == 18
            await trading.place_reserved("two", two)
            await trio.sleep(60)
            assert (one.entry_count, two.entry_count) == (18, 1)
            await trading.place_reserved("two", two)
            assert trading.is_over

    run(main)


def test_the_seed_decides_the_orders():
    async def main():
        books = []
        for _ in range(2):
            trading = trading_of(50)
            async with open_alone(1) as peer:
                await trading.trade("one", peer)
                books.append([peer.commands("ONE"), peer.commands("TWO")])
        first, second = books
        assert first == second
        assert min(map(len, first)) > 10

    run(main)
