"""Newcomers join processes that trade without a pause, over networks that are not always kind."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from time import monotonic

import pytest
import trio
from network.checks import check_quiet, check_stores, check_submits
from network.processes import GENESIS, ProxiedPeers, proxied_peers
from network.ways import Way
from twins.virtual_time import real_time

from bench.peer_processes import PeerProcess

pytestmark = [
    real_time,
    pytest.mark.skipif(sys.platform != "linux", reason="proxies find diallers by /proc"),
]

NAMES = ("alice", "bob", "carol")
USUAL = Way(delay_s=(0.002, 0.008))
ORDERS = 1_600  # of each, before anybody joins
BATCH = 4
ORDERS_PER_S = 20.0
JOINED_WITHIN_S = 5.0
"""It takes a fraction of this (``bench.join`` has the figures), but a test machine may be busy."""
END_S = 20.0
SLOWEST_SUBMIT_S = 2.0


@asynccontextmanager
async def trading(folder: Path) -> AsyncIterator[ProxiedPeers]:
    """Three peers with a history, that trade; checked at the end, with whoever has joined."""
    async with proxied_peers(folder, usual=USUAL) as peers:
        with trio.fail_after(30):
            await peers.open_all(NAMES)
            await peers.ask_all("submit", count=ORDERS, batch=BATCH)
            await peers.until_equal()
        await peers.ask_all("trade", orders_per_s=ORDERS_PER_S, seed=2)
        yield peers
        with trio.fail_after(END_S):
            results = await peers.ask_all("rest", NAMES)
            answers = await peers.until_equal()
        assert not check_submits(results)
        slowest_s = max(
            back_s - due_s for one in results.values() for _, _, due_s, back_s in one["submits"]
        )
        assert slowest_s < SLOWEST_SUBMIT_S
        check_quiet(answers, peers.processes.all)
        await peers.ask_all("leave")
    await check_stores(GENESIS, answers[NAMES[0]], peers.processes.all, folder=folder)


async def joined(peers: ProxiedPeers, names: Iterable[str]) -> list[PeerProcess]:
    """Wait until the newcomers and all others list each other, and the newcomers hold what the
    others held when this began."""
    frontier = (await peers[NAMES[0]].ask("status"))["frontier"]
    newcomers = [peers[name] for name in names]
    with trio.fail_after(JOINED_WITHIN_S):
        await peers.until_linked(peers.running)
        for newcomer in newcomers:
            await newcomer.ask("hold", frontier=frontier)
    return newcomers


async def test_a_newcomer_who_knows_one_address_meets_all_and_gets_all(tmp_path: Path) -> None:
    async with trading(tmp_path) as peers:
        await peers.start("dave")
        opened = await peers.open("dave", bootstrap=["carol"])
        (dave,) = await joined(peers, ["dave"])
        print(f"joined {monotonic() - opened['began_s']:.2f} s after open_peer was called")
        submitted = await dave.ask("submit", count=10, orders_per_s=50.0)
        assert len(submitted["submits"]) == 10, submitted["failures"]


async def test_newcomers_at_once_meet_each_other(tmp_path: Path) -> None:
    async with trading(tmp_path) as peers:
        newcomers = {"dave": "alice", "erin": "bob", "frank": "carol"}
        async with trio.open_nursery() as nursery:
            for name in newcomers:
                nursery.start_soon(peers.start, name)
        async with trio.open_nursery() as nursery:
            for name, known in newcomers.items():
                nursery.start_soon(partial(peers.open, name, bootstrap=[known]))
        assert len(peers.running) == 6
        await joined(peers, newcomers)


async def test_a_newcomer_that_is_killed_while_it_fetches_goes_on_from_its_store(
    tmp_path: Path,
) -> None:
    async with trading(tmp_path) as peers:
        history = (await peers["alice"].ask("status"))["entries"]
        peers.ways.set_both(Way(bytes_per_s=40_000), ["dave"], NAMES)
        await peers.open("dave", bootstrap=["alice"])
        with trio.fail_after(END_S):
            await peers["dave"].ask("hold", entries=history // 5)
        await trio.sleep(0.2)  # others' entries are written after 50 ms
        await peers.kill("dave")
        peers.heal()
        opened = await peers.open("dave", bootstrap=["bob"])
        assert history // 5 <= opened["entries"] < history, "it was killed half-way"
        assert opened["damage"] == []
        await joined(peers, ["dave"])


async def test_a_newcomer_gets_in_by_any_address_that_works(tmp_path: Path) -> None:
    async with trading(tmp_path) as peers:
        await peers.proxy("alice").be_deaf()
        peers.proxy("bob").refuse()
        began_s = monotonic()
        await peers.open("dave", bootstrap=["alice", "bob", "carol"])
        with trio.fail_after(JOINED_WITHIN_S):
            await peers.until_linked(["carol", "dave"])
        print(f"in by the third address after {monotonic() - began_s:.2f} s")
        peers.heal()
        with trio.fail_after(END_S):  # a dial that gets no answer takes 3 s to fail
            await peers.until_linked(peers.running)
        await joined(peers, ["dave"])
