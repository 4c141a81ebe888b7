"""A peer that starts again looks before it signs, on trio as in the simulator.

Alice comes and goes: with her store, with an old copy of it, without it, twice at once. Bob and
Carol stay and remember. (``test_stores_and_clocks`` tells the same stories of simulated peers.)
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import trio
from twins.scenario import GENESIS, limit
from twins.trio_peers import all_linked, keypair, until
from twins.virtual_time import virtual_time

import gossipbook as gb

pytestmark = virtual_time

ALICE = keypair(1).peer_id
SLOW = gb.Link(latency=(0.1, 0.1))


@asynccontextmanager
async def witnesses(network: gb.MemoryNetwork) -> AsyncIterator[list[gb.Peer]]:
    """Bob and Carol, who stay while Alice comes and goes."""
    async with (
        gb.open_peer(
            GENESIS, keypair(2), transport=network.transport("bob"), alone=True, seed=2
        ) as bob,
        gb.open_peer(
            GENESIS,
            keypair(3),
            transport=network.transport("carol"),
            bootstrap=["bob"],
            alone=True,
            seed=3,
        ) as carol,
    ):
        yield [bob, carol]


def open_alice(
    network: gb.MemoryNetwork,
    store: gb.MemoryStore,
    *,
    at: str = "alice",
    alone: bool | None = None,
) -> AbstractAsyncContextManager[gb.Peer]:
    return gb.open_peer(
        GENESIS,
        keypair(1),
        transport=network.transport(at),
        bootstrap=["bob", "carol"],
        store=store,
        alone=alone,
        seed=1,
    )


async def test_a_restart_waits_until_somebody_confirms_how_long_its_log_is() -> None:
    network, store = gb.MemoryNetwork(link=SLOW), gb.MemoryStore()
    async with witnesses(network) as (bob, _):
        async with open_alice(network, store) as alice:
            await alice.submit(limit())
            await until(lambda: bob.entry_count == 1, "bob holds it")
        async with open_alice(network, store) as alice:
            assert alice.entry_count == 1, "its past is there at once"
            before_s = trio.current_time()
            receipt = await alice.submit(limit())
            waited_s = trio.current_time() - before_s
            assert waited_s == pytest.approx(0.4, abs=0.02), "three trips to dial, and a first word"
            assert receipt.command_id.seq == 1
            await until(lambda: bob.entry_count == 2, "bob holds that, too")
        assert bob.proofs() == []


async def test_a_restart_while_cut_off_refuses_after_five_seconds_and_signs_later() -> None:
    network, store = gb.MemoryNetwork(), gb.MemoryStore()
    async with witnesses(network) as (bob, carol):
        async with open_alice(network, store) as alice:
            await alice.submit(limit())
        network.partition(["alice"])
        async with open_alice(network, store) as alice:
            before_s = trio.current_time()
            with pytest.raises(gb.OwnHeadUnconfirmed, match="alone=True"):
                await alice.submit(limit())
            assert trio.current_time() - before_s == pytest.approx(5)
            assert (alice.entry_count, len(store)) == (1, 1)
            network.heal()
            await until(lambda: len(alice.peers()) == 2, "linked", within_s=60)
            assert (await alice.submit(limit())).command_id.seq == 1
            with trio.fail_after(20):
                await gb.wait_until_equal([alice, bob, carol])


async def test_a_lost_store_fetches_its_own_past_before_it_signs() -> None:
    network = gb.MemoryNetwork(link=SLOW)
    async with witnesses(network) as (bob, carol):
        async with open_alice(network, gb.MemoryStore()) as alice:
            for _ in range(300):
                await alice.submit(limit(price=3))
            await until(lambda: bob.entry_count == carol.entry_count == 300, "both hold all of it")
        store = gb.MemoryStore()
        async with open_alice(network, store) as alice:
            assert alice.entry_count == 0
            receipt = await alice.submit(limit())
            assert receipt.command_id.seq == 300
            with trio.fail_after(20):
                await gb.wait_until_equal([alice, bob, carol])
            assert alice.proofs() == bob.proofs() == []
        assert len(store) == 301, "and keeps it this time"


async def test_an_older_copy_of_the_store_fetches_what_came_after_it() -> None:
    network, store = gb.MemoryNetwork(), gb.MemoryStore()
    async with witnesses(network) as (bob, carol):
        async with open_alice(network, store) as alice:
            for number in range(20):
                if number == 5:
                    backup = store.copy()
                await alice.submit(limit())
            await until(lambda: bob.entry_count == carol.entry_count == 20, "both hold all of it")
        async with open_alice(network, backup) as alice:
            assert alice.entry_count == 5
            assert (await alice.submit(limit())).command_id.seq == 20
            with trio.fail_after(20):
                await gb.wait_until_equal([alice, bob, carol])
            assert bob.proofs() == []


@pytest.mark.parametrize("options", [{"alone": True, "bootstrap": ["bob"]}, {"bootstrap": []}])
async def test_a_peer_told_to_or_that_knows_nobody_goes_ahead_without_anyone(
    options: dict[str, Any],
) -> None:
    store = gb.MemoryStore()
    for life in range(2):
        transport = gb.MemoryNetwork().transport("alice")
        async with gb.open_peer(
            GENESIS, keypair(1), transport=transport, store=store, **options
        ) as alice:
            assert (await alice.submit(limit())).command_id.seq == life
            assert trio.current_time() == 0


async def test_a_key_used_twice_at_once_is_proven_to_everybody() -> None:
    """An old copy of the store is opened, and written to, while the original runs."""
    network, store = gb.MemoryNetwork(), gb.MemoryStore()
    async with witnesses(network) as (bob, carol), open_alice(network, store) as alice:
        before = await alice.submit([limit("sell", 100), limit("buy", 90)])
        backup = store.copy()
        forked = await alice.submit(limit("sell", 101))
        await until(lambda: bob.entry_count == carol.entry_count == 2, "all hold it")
        async with (
            bob.events() as at_bob,
            carol.events() as at_carol,
            alice.events() as at_alice,
            open_alice(network, backup, at="clone", alone=True) as clone,
        ):
            await clone.submit(limit("sell", 99))  # it cannot know yet
            with trio.fail_after(60):
                for events in (at_bob, at_carol, at_alice):
                    proof = await proof_in(events)
                    assert (proof.author, proof.seq) == (ALICE, 1)
            for twin in (alice, clone):
                await until(lambda twin=twin: twin.proofs() != [], "both have the proof")  # type: ignore[misc]
                with pytest.raises(gb.IdentityForked, match="start a peer with a new one"):
                    await twin.submit(limit())
            await bob.submit(limit("buy", 100))
            with trio.fail_after(60):
                await gb.wait_until_equal([alice, bob, carol, clone])
        for peer in (alice, bob, carol, clone):
            assert [(proof.author, proof.seq) for proof in peer.proofs()] == [(ALICE, 1)]
            assert peer.order(forked.order_id) is None, "from the fork on nothing counts"
            assert [trade.maker for trade in peer.trades("ONE")] == [before[0].order_id]
    async with open_alice(network, store) as again:
        with pytest.raises(gb.IdentityForked):
            await again.submit(limit())


async def proof_in(events: gb.Subscription[gb.PeerEvent]) -> gb.ForkProof:
    async for event in events:
        if isinstance(event, gb.ForkProven):
            return event.proof
    raise AssertionError("the peer was closed before it told of a proof")


async def test_a_log_is_kept_over_many_lives_and_so_is_everybody_elses() -> None:
    network = gb.MemoryNetwork()
    stores = [gb.MemoryStore(), gb.MemoryStore()]
    for life in range(4):
        async with (
            gb.open_peer(
                GENESIS,
                keypair(1),
                transport=network.transport("a"),
                store=stores[0],
                alone=True,
                bootstrap=["b"],
            ) as alice,
            gb.open_peer(
                GENESIS,
                keypair(2),
                transport=network.transport("b"),
                store=stores[1],
                alone=True,
                bootstrap=["a"],
            ) as bob,
        ):
            assert alice.entry_count == bob.entry_count == 2 * life
            await until(lambda pair=[alice, bob]: all_linked(pair), "linked")
            await alice.submit(limit("sell"))
            await bob.submit(limit("buy"))
            with trio.fail_after(20):
                await gb.wait_until_equal([alice, bob])
            assert len(alice.trades("ONE")) == life + 1
            await trio.sleep(0.1)  # what others wrote gathers for 50 ms before it is stored
    assert len(stores[0]) == len(stores[1]) == 8
