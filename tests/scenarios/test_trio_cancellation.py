"""Whatever a peer's user is doing when cancelled, nothing is half done.

Each operation is cancelled in every situation that it can be in: after 0, 1, 2, ... steps of the
whole program (``twins.cancellation``), until it gets through. After each run the world is looked
at: at the peer itself, at another peer, in the store, and in the next life of the same peer.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from twins.cancellation import Attempt, cancelled_after
from twins.ledger import Ledger
from twins.scenario import GENESIS, limit
from twins.trio_peers import all_linked, keypair, until
from twins.virtual_time import real_time, virtual_time

import gossipbook as gb
from gossipbook import SqliteStore
from gossipbook.storage.interface import Store

pytestmark = virtual_time

MARKETS = ("ONE", "TWO")
OURS, OTHERS = 60, 50
"""The prices of the order whose submit is cancelled, and of all others."""


@dataclass
class World:
    """Alice, whose user is about to be cancelled, and Bob, who watches."""

    network: gb.MemoryNetwork
    store: gb.MemoryStore
    alice: gb.Peer
    bob: gb.Peer
    nursery: trio.Nursery


@asynccontextmanager
async def new_world(*, linked: bool = True) -> AsyncIterator[World]:
    """Two peers and an order; or, with ``linked=False``, Alice has not reached Bob yet, who is to
    confirm her head."""
    network = gb.MemoryNetwork(link=gb.Link(latency=(0.002, 0.002)))
    store = gb.MemoryStore(write_s=0.01)
    async with (
        gb.open_peer(GENESIS, keypair(2), transport=network.transport("b"), alone=True) as bob,
        gb.open_peer(
            GENESIS, keypair(1), transport=network.transport("a"), bootstrap=["b"], store=store
        ) as alice,
        trio.open_nursery() as nursery,
    ):
        if linked:
            await until(lambda: all_linked([alice, bob]), "linked")
            await alice.submit(limit(price=OTHERS))
        yield World(network, store, alice, bob, nursery)


def prices_at(peer: gb.Peer) -> list[int]:
    """The prices of all orders in a peer's book, past ones included."""
    orders = [record.command for record in peer.commands("ONE")]
    return sorted(int(order.price) for order in orders if isinstance(order, gb.LimitOrder))


def prices_in(store: gb.MemoryStore) -> list[int]:
    """The prices of all orders on disk."""
    orders = [order for entry in store._entries for _, pairs in entry.decoded for _, order in pairs]
    return sorted(order.price for order in orders)


# ------------------------------------------------------------------ submit


def situation_of(peer: gb.Peer) -> str:
    """Where the latest submit is: not there yet, waiting for its entry, in it, or answered."""
    own, pending = peer.running.own, list(peer._driver._submits)
    if not pending:
        return "answered" if OURS in prices_at(peer) else "outside"
    if own.is_queued(pending[-1]):
        return "queued" if own.confirmed else "unconfirmed"
    return "in flight"


async def check_submit(world: World, attempt: Attempt[gb.Receipt], others: int) -> None:
    """Cancelled and in no log, or not cancelled and in every one; and nothing is left over."""
    alice, bob = world.alice, world.bob
    await until(lambda: alice.statistics().queued_submits == 0, "the other submits are through")
    if not world.store.failing:
        receipt = await alice.submit(limit(price=OTHERS))  # whatever still waits goes with it
        assert receipt.command_id.seq == alice.entry_count - 1
        others += 1
    with trio.fail_after(10):
        await gb.wait_until_equal([alice, bob])
    assert alice._driver._submits == {}
    assert alice.running.own.in_flight is None
    expected = [OTHERS] * others + [OURS] * (attempt.result is not None)
    assert prices_at(alice) == prices_at(bob) == prices_in(world.store) == expected
    if attempt.result is not None:
        status = bob.order(attempt.result.order_id)
        assert status is not None and status.price == OURS


async def submit_everywhere(
    prepare: Callable[[World], Awaitable[None]], *, others: int, linked: bool = True
) -> dict[object, set[str]]:
    """Cancel a submit in every situation; which situations led to which outcomes. (Where it waits
    in the queue when cancelled, another task may still take it before it hears of that.)"""
    outcomes: dict[object, set[str]] = {}
    for step_count in itertools.count():
        async with new_world(linked=linked) as world:
            await prepare(world)
            attempt = await cancelled_after(
                step_count,
                partial(world.alice.submit, limit(price=OURS)),
                where=partial(situation_of, world.alice),
            )
            await check_submit(world, attempt, others)
        if not attempt.struck:
            assert not attempt.cancelled
            break
        outcomes.setdefault(attempt.situation, set()).add(outcome_of(attempt))
    return outcomes


def outcome_of(attempt: Attempt[gb.Receipt]) -> str:
    if attempt.cancelled:
        return "cancelled"
    return "submitted" if attempt.error is None else type(attempt.error).__name__


async def nothing(_: World) -> None:
    pass


async def test_a_cancelled_submit_is_in_no_log_and_any_other_in_every_one() -> None:
    outcomes = await submit_everywhere(nothing, others=1)
    assert outcomes["outside"] == {"cancelled"}
    assert outcomes["in flight"] == {"submitted"}


async def test_a_submit_that_waits_for_another_one_can_still_be_taken_back() -> None:
    async def begin_another(world: World) -> None:
        world.nursery.start_soon(world.alice.submit, limit(price=OTHERS))
        await trio.testing.wait_all_tasks_blocked()
        assert situation_of(world.alice) == "in flight"

    outcomes = await submit_everywhere(begin_another, others=2)
    assert "cancelled" in outcomes["queued"]
    assert outcomes["in flight"] == {"cancelled", "submitted"}, "before ours has begun; and ours"


async def test_a_submit_that_waits_for_a_confirmation_can_be_taken_back() -> None:
    outcomes = await submit_everywhere(nothing, others=0, linked=False)
    assert outcomes["outside"] == {"cancelled"}
    assert "cancelled" in outcomes["unconfirmed"]
    assert outcomes["in flight"] == {"submitted"}


async def test_a_submit_whose_write_fails_is_never_half_there() -> None:
    """Cancelled, or told that it failed: either way nothing of it exists."""

    async def break_the_disk(world: World) -> None:
        world.store.failing = True

    outcomes = await submit_everywhere(break_the_disk, others=1)
    assert outcomes["in flight"] == {"cancelled"}
    assert outcomes["outside"] <= {"cancelled", "WriteRolledBack"}, "before it, and after it"
    assert len(outcomes) == 2


async def cancel_one_of_many(step_count: int) -> Attempt[list[gb.Receipt]]:
    """Four submits wait for a fifth; a list joins them, and is cancelled."""
    answered: list[gb.Receipt] = []
    async with new_world() as world:
        alice, bob = world.alice, world.bob

        async def submit() -> None:
            answered.append(await alice.submit(limit(price=OTHERS)))

        for _ in range(5):
            world.nursery.start_soon(submit)
        await trio.testing.wait_all_tasks_blocked()
        assert alice.running.own.queued_count == 4
        attempt = await cancelled_after(
            step_count,
            partial(alice.submit, [limit(price=OURS)] * 3),
            where=partial(situation_of, alice),
        )
        await until(lambda: len(answered) == 5, "the others are answered")
        with trio.fail_after(10):
            await gb.wait_until_equal([alice, bob])
        expected = [OTHERS] * 6 + [OURS] * (0 if attempt.cancelled else 3)
        assert prices_at(bob) == prices_in(world.store) == expected
        receipts = answered + (attempt.result or [])
        orders = {record.command_id: record.command for record in bob.commands("ONE")}
        for receipt in receipts:
            order = orders.pop(receipt.command_id)
            assert isinstance(order, gb.LimitOrder)
            assert order.price == (OTHERS if receipt in answered else OURS)
        assert len(orders) == 1, "the one from before"
    return attempt


async def test_one_of_many_submits_is_cancelled_and_the_others_are_not() -> None:
    """They would share an entry; it goes without the one that was taken back."""
    situations = set()
    for step_count in itertools.count():
        attempt = await cancel_one_of_many(step_count)
        if not attempt.struck:
            break
        situations.add(attempt.situation)
    assert situations >= {"queued", "in flight"}


class Unsure(gb.MemoryStore):
    """A disk that keeps what it is given, and says a second later that it cannot tell."""

    @asynccontextmanager
    async def open(self, genesis: gb.Genesis, peer_id: gb.PeerId) -> AsyncIterator[Any]:
        async with super().open(genesis, peer_id) as opened:
            keep = opened.write

            async def write(*what: Any) -> None:
                await keep(*what)
                await trio.sleep(1)
                raise gb.WriteUndecided("the disk does not answer")

            opened.write = write  # type: ignore[method-assign]
            yield opened


async def test_a_submit_that_may_stand_is_not_told_to_be_cancelled() -> None:
    """Nobody can promise that it was not submitted, and here it was."""
    async with gb.open_peer(GENESIS, keypair(1), store=Unsure()) as peer:
        with trio.move_on_after(0.5) as scope, pytest.raises(gb.WriteUndecided):
            await peer.submit(limit(price=OURS))
        assert scope.cancel_called and not scope.cancelled_caught
        await trio.sleep(5)
        assert prices_at(peer) == [OURS]


@pytest.mark.parametrize("timeout_s", [0.0, 0.5, 0.999, 1.0, 1.001, 1.5, 1.999, 2.0, 2.5])
async def test_a_timeout_on_a_slow_disk_tells_the_truth(timeout_s: float) -> None:
    """Each write takes a second; ours is the second one."""
    async with new_world() as world:
        world.store.write_s = 1
        world.nursery.start_soon(world.alice.submit, limit(price=OTHERS))
        await trio.testing.wait_all_tasks_blocked()
        receipt: gb.Receipt | None = None
        with trio.move_on_after(timeout_s) as scope:
            receipt = await world.alice.submit(limit(price=OURS))
        assert scope.cancelled_caught == (receipt is None)
        await trio.sleep(5)
        assert prices_at(world.bob).count(OURS) == (receipt is not None)
        assert prices_at(world.alice) == prices_at(world.bob)


# ------------------------------------------------------------------ subscribe and events


async def read_updates(peer: gb.Peer) -> None:
    ledger = Ledger()
    async with peer.subscribe() as updates:
        for _ in range(4):  # two snapshots, and two updates
            ledger.take(await anext(updates))


async def read_events(peer: gb.Peer) -> None:
    async with peer.events() as events:
        assert isinstance(await anext(events), gb.PeerUp)
        with trio.move_on_after(0.01):
            await anext(events)


async def follow(
    peer: gb.Peer, ledger: Ledger, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    async with peer.subscribe() as updates:
        task_status.started()
        async for update in updates:
            ledger.take(update)


async def submit_two(peer: gb.Peer) -> None:
    for _ in range(2):
        await peer.submit(limit(price=OTHERS))


async def cancel_a_reader(
    step_count: int, read: Callable[[gb.Peer], Awaitable[None]], *, watched_besides: bool
) -> Attempt[None]:
    """Cancel one reader; then look at what a second and a third one hold."""
    second, third = Ledger(), Ledger()
    async with new_world() as world:
        alice = world.alice
        if watched_besides:
            await world.nursery.start(follow, alice, second)
        world.nursery.start_soon(submit_two, alice)
        attempt = await cancelled_after(step_count, partial(read, alice))
        assert attempt.error is None
        audiences = alice._driver.updates, alice._driver.events
        assert tuple(map(len, audiences)) == (watched_besides, 0)
        assert alice.replica.watched is watched_besides
        await until(lambda: alice.entry_count == 3, "both orders are submitted")
        with trio.move_on_after(0.1):
            await follow(alice, third)
        third.check(alice, MARKETS)
        assert alice.replica.watched is watched_besides
        world.nursery.cancel_scope.cancel()
    if watched_besides:
        second.check(alice, MARKETS)
    return attempt


@pytest.mark.parametrize("watched_besides", [False, True])
@pytest.mark.parametrize("read", [read_updates, read_events])
async def test_a_cancelled_reader_leaves_nothing_behind(
    read: Callable[[gb.Peer], Awaitable[None]], watched_besides: bool
) -> None:
    situations = set()
    for step_count in itertools.count():
        attempt = await cancel_a_reader(step_count, read, watched_besides=watched_besides)
        if not attempt.struck:
            break
        situations.add(attempt.situation)
    assert len(situations) >= 4, "cancelled at several of its own checkpoints"


# ------------------------------------------------------------------ a peer's whole life


@dataclass
class Life:
    """One life of a peer, and what its user was told."""

    peer: gb.Peer | None = None
    receipt: gb.Receipt | None = None
    over: bool = False

    def stage(self) -> str:
        if self.peer is None:
            return "opening"
        if self.over:
            return "closing"
        return "open" if self.receipt is None else "submitted"


async def live(life: Life, transport: gb.MemoryTransport, store: Store) -> None:
    """Open, submit, stay a moment, close."""
    async with gb.open_peer(
        GENESIS, keypair(1), transport=transport, bootstrap=["b"], store=store
    ) as life.peer:
        life.receipt = await life.peer.submit(limit(price=OURS))
        await trio.sleep(0.004)
        life.over = True


async def check_next_life(
    bob: gb.Peer, life: Life, transport: gb.MemoryTransport, store: Store
) -> None:
    """It begins at once, with the same store and the same address, where the last one ended."""
    submitted = life.receipt is not None
    if life.peer is not None:
        assert life.peer._driver.closed and life.peer._driver._submits == {}
        with pytest.raises(gb.PeerClosed):
            await life.peer.submit(limit(price=OURS))
    async with gb.open_peer(
        GENESIS, keypair(1), transport=transport, bootstrap=["b"], store=store
    ) as again:
        assert again.entry_count == submitted
        receipt = await again.submit(limit(price=OTHERS))
        assert receipt.command_id.seq == submitted
        with trio.fail_after(60):
            await gb.wait_until_equal([again, bob])
        assert prices_at(bob) == [OTHERS] + [OURS] * submitted
        assert bob.proofs() == []


async def cancel_a_life(step_count: int, store: Store) -> Attempt[None]:
    network = gb.MemoryNetwork(link=gb.Link(latency=(0.002, 0.002)))
    transport, life = network.transport("a"), Life()
    async with gb.open_peer(
        GENESIS, keypair(2), transport=network.transport("b"), alone=True
    ) as bob:
        await trio.testing.wait_all_tasks_blocked()
        tasks = trio.lowlevel.current_statistics().tasks_living
        attempt = await cancelled_after(
            step_count, partial(live, life, transport, store), where=life.stage
        )
        assert attempt.error is None
        await until(lambda: bob.peers() == [], "bob has noticed", within_s=2)
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == tasks, "no task is left"
        await check_next_life(bob, life, transport, store)
    return attempt


@pytest.mark.parametrize("kind", ["memory", "disk"])
async def test_a_cancelled_life_leaves_store_and_address_to_the_next_one(
    kind: str, tmp_path: Path
) -> None:
    stages: Counter[object] = Counter()
    for step_count in itertools.count():
        store = gb.MemoryStore(write_s=0.003)
        path = tmp_path / f"{step_count}.db"
        attempt = await cancel_a_life(step_count, store if kind == "memory" else SqliteStore(path))
        if not attempt.struck:
            break
        stages[attempt.situation] += 1
    assert set(stages) == {"opening", "open", "submitted", "closing"}
    assert all(count >= 2 for count in stages.values()), "each at several steps"


@real_time
async def test_a_life_cancelled_by_the_clock_leaves_the_disk_to_the_next_one(
    tmp_path: Path,
) -> None:
    """In real time, with worker threads: a write that has begun is finished before the end."""
    cut_short = 0
    for milliseconds in range(0, 60, 5):
        network, life = gb.MemoryNetwork(), Life()
        transport, store = network.transport("a"), SqliteStore(tmp_path / f"{milliseconds}.db")
        async with gb.open_peer(
            GENESIS, keypair(2), transport=network.transport("b"), alone=True
        ) as bob:
            with trio.move_on_after(milliseconds / 1_000) as scope:
                await live(life, transport, store)
            cut_short += scope.cancelled_caught
            await check_next_life(bob, life, transport, store)
    assert cut_short > 0


# ------------------------------------------------------------------ waiting


async def test_waiting_for_equal_peers_changes_nothing_when_cancelled() -> None:
    async with new_world() as world:
        peers = [world.alice, world.bob]
        with trio.fail_after(10):
            await gb.wait_until_equal(peers)
        before = [(peer.root, peer.frontier_root) for peer in peers]
        for step_count in range(8):
            await cancelled_after(step_count, partial(gb.wait_until_equal, peers))
            assert [(peer.root, peer.frontier_root) for peer in peers] == before
