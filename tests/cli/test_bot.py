"""The bot keeps its rate, waits out what waiting cures, and ends with a word."""

from __future__ import annotations

import logging
from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

import gossipbook as gb
from gossipbook.cli.bot import trade_randomly

GENESIS = gb.Genesis("bot", markets=[gb.Market("ONE"), gb.Market("TWO")])
KEY = gb.Keypair.from_seed(bytes(32))


def run(main):
    return trio.run(main, clock=MockClock(autojump_threshold=0))


def open_alone(**options):
    return gb.open_peer(GENESIS, KEY, alone=True, **options)


async def trade_for(seconds, peer, **options):
    with trio.move_on_after(seconds) as scope:
        await trade_randomly(peer, **options)
    return scope.cancelled_caught


def test_the_rate_is_kept_in_the_mean_with_pauses_of_all_lengths():
    async def main():
        async with open_alone() as peer:
            placed_at = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch, peer, placed_at)
                assert await trade_for(200, peer, rate_per_s=5, seed=1)
                nursery.cancel_scope.cancel()
            assert 900 < peer.entry_count < 1_100
            pauses = [b - a for a, b in pairwise(placed_at)]
            shorter = sum(pause < 0.1 for pause in pauses) / len(pauses)
            longer = sum(pause > 0.4 for pause in pauses) / len(pauses)
            assert 0.33 < shorter < 0.46  # 1 - e^-0.5 = 0.39 in a Poisson process
            assert 0.09 < longer < 0.18  # e^-2 = 0.135
            assert min(len(peer.commands(market)) for market in ("ONE", "TWO")) > 300
            assert peer.trades("ONE"), "it trades with itself"

    async def watch(peer, placed_at):
        async with (
            peer.subscribe("ONE") as one,
            peer.subscribe("TWO") as two,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(note, one, placed_at)
            nursery.start_soon(note, two, placed_at)

    async def note(updates, placed_at):
        async for update in updates:
            if update.events:
                placed_at.append(trio.current_time())

    run(main)


def test_the_seed_decides_the_orders_and_no_seed_another_one_each_time():
    async def main():
        histories = []
        for seed in (7, 7, None, None):
            async with open_alone() as peer:
                await trade_for(10, peer, rate_per_s=10, seed=seed)
                commands = peer.commands("ONE") + peer.commands("TWO")
                histories.append([command.command for command in commands])
        first, second, third, fourth = histories
        assert first == second != third != fourth
        assert len(first) > 50

    run(main)


def test_it_waits_while_nobody_confirms_its_log_and_tells_once(caplog):
    async def main():
        network = gb.MemoryNetwork()
        lonely = gb.open_peer(GENESIS, KEY, transport=network.transport(), bootstrap=["late"])
        async with lonely as peer, trio.open_nursery() as nursery:
            nursery.start_soon(trade_until_cancelled, peer)
            await trio.sleep(60)
            assert peer.entry_count == 0
            other = gb.Keypair.generate()
            async with gb.open_peer(GENESIS, other, transport=network.transport("late")):
                with trio.fail_after(120):
                    while peer.entry_count < 5:
                        await trio.sleep(0.1)
            nursery.cancel_scope.cancel()

    async def trade_until_cancelled(peer):
        await trade_randomly(peer, rate_per_s=10, seed=1)

    with caplog.at_level(logging.INFO, "gossipbook.bot"):
        run(main)
    told = [record.message for record in caplog.records if record.name == "gossipbook.bot"]
    assert [message.split(":")[0] for message in told] == [
        "the bot trades at 10 orders a second (seed 1)",
        "the bot waits",
        "the bot trades again",
    ]


def test_a_store_that_fails_is_waited_for(caplog, monkeypatch):
    async def main():
        async with open_alone() as peer:
            submit, calls = peer.submit, []

            async def failing(command):
                calls.append(trio.current_time())
                if len(calls) in (3, 4):
                    raise gb.WriteRolledBack("disk full")
                return await submit(command)

            monkeypatch.setattr(peer, "submit", failing)
            await trade_for(60, peer, rate_per_s=2, seed=3)
            assert calls[3] - calls[2] >= 1 and calls[4] - calls[3] >= 1
            assert peer.entry_count == len(calls) - 2 > 90

    with caplog.at_level(logging.INFO, "gossipbook.bot"):
        run(main)
    assert sum("waits: disk full" in record.message for record in caplog.records) == 1


def test_it_ends_when_its_key_is_forked_and_when_its_peer_is_closed(caplog, monkeypatch):
    async def main():
        async with open_alone() as peer:

            async def forked(command):
                raise gb.IdentityForked("this key signed two histories")

            with monkeypatch.context() as patch:
                patch.setattr(peer, "submit", forked)
                assert not await trade_for(60, peer, rate_per_s=5, seed=1)
        assert not await trade_for(60, peer, rate_per_s=5, seed=1)

    with caplog.at_level(logging.INFO, "gossipbook.bot"):
        run(main)
    ends = [record for record in caplog.records if "the bot ends" in record.message]
    assert ["two histories" in ends[0].message, "closed" in ends[1].message] == [True, True]
    assert all(record.levelname == "WARNING" for record in ends)


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_a_rate_that_is_none_is_refused(rate):
    async def main():
        async with open_alone() as peer:
            await trade_randomly(peer, rate_per_s=rate, seed=1)

    with pytest.raises(gb.UsageError, match="above 0, such as 5"):
        run(main)
