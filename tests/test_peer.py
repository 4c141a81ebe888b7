"""The surface that applications use: open a peer, submit, subscribe, listen, close."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio
from twins.scenario import GENESIS, limit
from twins.trio_peers import all_linked, keypair, linked_peers, told_so_far, until
from twins.virtual_time import real_time, virtual_time

import gossipbook as gb
from gossipbook.book.payload import MAX_COMMANDS
from gossipbook.clocks import VIRTUAL_EPOCH_S
from gossipbook.randomness import SeededRandom

pytestmark = virtual_time

ALICE, BOB, CAROL = (keypair(number).peer_id for number in (1, 2, 3))
MARKETS = ("ONE", "TWO")
SHORT_WAY = gb.Link(latency=(0.001, 0.001))
MEMBERS_ONLY = gb.Genesis("club", GENESIS.markets, members=[ALICE, BOB])


@asynccontextmanager
async def peer_alone(store: gb.MemoryStore | None = None, **options: Any) -> AsyncIterator[gb.Peer]:
    async with gb.open_peer(GENESIS, keypair(1), store=store, **options) as peer:
        yield peer


# ------------------------------------------------------------------ opening


async def test_a_peer_says_who_and_where_it_is() -> None:
    async with linked_peers(2) as (alice, bob):
        assert (alice.peer_id, alice.address) == (ALICE, "0")
        assert (bob.peer_id, bob.address) == (BOB, "1")
        assert alice.genesis is GENESIS
        assert (alice.peers(), bob.peers()) == ([BOB], [ALICE])
        assert ALICE.hex()[:8] in repr(alice) and "closed" not in repr(alice)
    assert "closed" in repr(alice)


async def test_a_peer_without_a_transport_has_no_address_and_trades_with_itself() -> None:
    async with peer_alone() as peer:
        assert (peer.address, peer.peers()) == (None, [])
        sold = await peer.submit(limit("sell", 100, 3))
        bought = await peer.submit(limit("buy", 100, 2))
        (trade,) = peer.trades("ONE")
        assert (trade.maker, trade.taker) == (sold.order_id, bought.order_id)
        (ask,) = peer.book("ONE").asks
        assert (ask.price, ask.quantity) == (Decimal(100), Decimal(1))


async def test_one_open_peer_dials_and_is_dialled_by_names_alone() -> None:
    """Nobody knows everybody at first: peers tell each other of more."""
    network = gb.MemoryNetwork()
    async with (
        gb.open_peer(GENESIS, keypair(1), transport=network.transport("hub"), seed=1) as hub,
        gb.open_peer(
            GENESIS, keypair(2), transport=network.transport(), bootstrap=["hub"], seed=2
        ) as left,
        gb.open_peer(
            GENESIS, keypair(3), transport=network.transport(), bootstrap=["hub"], seed=3
        ) as right,
    ):
        await until(lambda: all_linked([hub, left, right]), "left and right have met")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bootstrap": "alice"}, r"bootstrap=\['alice'\]|\['alice'\]"),
        ({"bootstrap": [b"alice"]}, "give text"),
        ({"bootstrap": [""]}, "give text"),
        ({"bootstrap": ["alice"]}, "transport="),
    ],
)
async def test_arguments_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(gb.UsageError, match=message):
        async with gb.open_peer(GENESIS, keypair(1), **options):
            pass


@pytest.mark.parametrize("kind", [str, Path])
async def test_a_path_is_a_store_on_disk(tmp_path: Path, kind: Callable[[Any], Any]) -> None:
    for life in range(3):
        async with gb.open_peer(GENESIS, keypair(1), store=kind(tmp_path / "alice.db")) as peer:
            assert peer.entry_count == life
            await peer.submit(limit())
        assert (tmp_path / "alice.db").exists()


@pytest.mark.parametrize(
    ("genesis", "key", "message"),
    [
        ("scenario", keypair(1), "'scenario'.*is a Genesis"),
        (GENESIS, ALICE, "Keypair.generate"),
        (keypair(1), GENESIS, "is a Genesis"),
    ],
)
async def test_what_is_no_genesis_or_no_keypair_is_refused(
    genesis: Any, key: Any, message: str
) -> None:
    with pytest.raises(gb.UsageError, match=message):
        async with gb.open_peer(genesis, key):
            pass


async def test_only_members_open_a_closed_network() -> None:
    async with gb.open_peer(MEMBERS_ONLY, keypair(1)) as member:
        await member.submit(limit())
    with pytest.raises(gb.NotAMember, match="not a member of 'club'"):
        async with gb.open_peer(MEMBERS_ONLY, keypair(3)):
            pass


async def test_one_address_and_one_store_serve_one_peer_at_a_time() -> None:
    network, store = gb.MemoryNetwork(), gb.MemoryStore()
    transport = network.transport("here")
    async with gb.open_peer(GENESIS, keypair(1), transport=transport, store=store):
        with pytest.raises(gb.UsageError, match="'here'"):
            async with gb.open_peer(GENESIS, keypair(2), transport=transport):
                pass
        with pytest.raises(gb.StoreError, match="in use"):
            async with gb.open_peer(GENESIS, keypair(1), store=store):
                pass
    async with gb.open_peer(GENESIS, keypair(1), transport=transport, store=store):
        pass


@pytest.mark.parametrize(
    ("genesis", "number"), [(GENESIS, 2), (gb.Genesis("another", GENESIS.markets), 1)]
)
async def test_the_store_of_another_key_or_network_is_refused(
    genesis: gb.Genesis, number: int
) -> None:
    store = gb.MemoryStore()
    async with peer_alone(store) as peer:
        await peer.submit(limit())
    with pytest.raises(gb.StoreError):
        async with gb.open_peer(genesis, keypair(number), store=store):
            pass
    assert len(store) == 1


# ------------------------------------------------------------------ submitting


async def test_a_receipt_names_command_order_and_entry() -> None:
    async with peer_alone() as peer:
        placed = await peer.submit(limit(price=101, quantity=5))
        assert placed.command_id == placed.order_id == gb.CommandId("ONE", ALICE, 0, 0)
        cancelled = await peer.submit(gb.CancelOrder(placed.order_id))
        assert cancelled.command_id == gb.CommandId("ONE", ALICE, 1, 0)
        assert cancelled.order_id == placed.order_id
        ids = [entry.id for entry in peer.replica.merged_entries()]
        assert ids == [placed.entry_id, cancelled.entry_id]
        status = peer.order(placed.order_id)
        assert status is not None and (status.state, status.reason) == ("cancelled", "requested")


async def test_when_submit_returns_the_store_has_it_and_the_book_shows_it() -> None:
    store = gb.MemoryStore(write_s=0.5)
    async with peer_alone(store) as peer:
        receipt = await peer.submit(limit(price=99, quantity=7))
        assert trio.current_time() == pytest.approx(0.5)
        assert len(store) == 1
        assert peer.entry_count == 1
        (bid,) = peer.book("ONE").bids
        assert (bid.price, bid.quantity) == (Decimal(99), Decimal(7))
        assert peer.order(receipt.order_id) is not None


async def test_nobody_hears_of_an_order_before_the_store_has_it() -> None:
    store = gb.MemoryStore()
    network = gb.MemoryNetwork()
    async with (
        gb.open_peer(GENESIS, keypair(1), transport=network.transport("a"), store=store) as alice,
        gb.open_peer(
            GENESIS, keypair(2), transport=network.transport("b"), bootstrap=["a"], alone=True
        ) as bob,
        trio.open_nursery() as nursery,
    ):
        await until(lambda: all_linked([alice, bob]), "linked")
        store.write_s = 20
        nursery.start_soon(alice.submit, limit())
        await trio.sleep(19.9)
        for peer in (alice, bob):
            assert peer.entry_count == 0
            assert peer.commands("ONE") == []
        await trio.sleep(0.2)
        assert (alice.entry_count, bob.entry_count) == (1, 1)


async def test_a_subscription_without_history_begins_with_what_comes_next() -> None:
    async with peer_alone() as peer:
        await peer.submit(limit("sell", 100, 5))
        async with peer.subscribe(history=False) as updates:
            await peer.submit(limit("buy", 100, 2))
            update = await anext(aiter(updates))
            kinds = [type(event) for event in update.events]
            assert (update.position, update.undone) == (1, ())
            assert sorted(kind.__name__ for kind in kinds) == ["Accepted", "Trade"]


async def test_a_list_is_one_entry_in_its_order() -> None:
    async with peer_alone() as peer:
        commands = [limit("sell", 100 + step, 1 + step) for step in range(5)]
        receipts = await peer.submit(commands)
        assert [receipt.command_id[2:] for receipt in receipts] == [(0, at) for at in range(5)]
        assert len({receipt.entry_id for receipt in receipts}) == 1
        assert peer.entry_count == 1
        assert [record.command for record in peer.commands("ONE")] == commands


async def test_a_list_may_go_over_several_markets_and_aim_at_its_own_orders() -> None:
    async with peer_alone() as peer:
        first = gb.OrderId("ONE", ALICE, 0, 0)
        receipts = await peer.submit(
            [limit("sell", 100), limit("buy", 90, market="TWO"), gb.CancelOrder(first)]
        )
        assert [receipt.command_id.market for receipt in receipts] == ["ONE", "TWO", "ONE"]
        assert receipts[2].order_id == receipts[0].order_id == first
        status = peer.order(first)
        assert status is not None and status.state == "cancelled"


@pytest.mark.parametrize("kind", [list, tuple])
async def test_one_command_in_a_list_gives_a_list(kind: Callable[[Any], Any]) -> None:
    async with peer_alone() as peer:
        (receipt,) = await peer.submit(kind([limit()]))
        assert receipt.command_id.seq == 0


async def test_a_list_has_room_for_256_commands() -> None:
    async with peer_alone() as peer:
        receipts = await peer.submit([limit("sell", 100 + step) for step in range(MAX_COMMANDS)])
        assert (len(receipts), peer.entry_count) == (256, 1)


async def submit_together(
    peer: gb.Peer, submits: list[list[gb.Command]]
) -> list[tuple[gb.Command, gb.Receipt]]:
    """All at once, each in a task of its own; every command with its receipt."""
    answered: list[tuple[gb.Command, gb.Receipt]] = []

    async def submit(commands: list[gb.Command]) -> None:
        receipts = await peer.submit(commands)
        answered.extend(zip(commands, receipts, strict=True))

    async with trio.open_nursery() as nursery:
        for commands in submits:
            nursery.start_soon(submit, commands)
    return answered


def entry_sizes(receipts: list[gb.Receipt]) -> list[int]:
    """How many commands each entry holds."""
    sizes = Counter(receipt.command_id.seq for receipt in receipts)
    return [sizes[seq] for seq in sorted(sizes)]


async def test_submits_that_come_while_one_is_written_share_the_next_entry() -> None:
    async with peer_alone(gb.MemoryStore(write_s=0.05)) as peer:
        answered = await submit_together(peer, [[limit(price=1 + n)] for n in range(100)])
        assert trio.current_time() == pytest.approx(0.1), "two writes for a hundred orders"
        assert entry_sizes([receipt for _, receipt in answered]) == [1, 99]
        assert peer.entry_count == 2
        by_id = {record.command_id: record.command for record in peer.commands("ONE")}
        assert by_id == {receipt.command_id: command for command, receipt in answered}
        assert len(by_id) == 100


async def test_no_entry_holds_more_than_256_commands() -> None:
    async with peer_alone(gb.MemoryStore(write_s=0.05)) as peer:
        answered = await submit_together(peer, [[limit()] for _ in range(600)])
        assert entry_sizes([receipt for _, receipt in answered]) == [1, 256, 256, 87]
        assert len(peer.commands("ONE")) == 600


async def test_no_list_is_split_over_two_entries() -> None:
    async with peer_alone(gb.MemoryStore(write_s=0.05)) as peer:
        lists = [[limit(price=1 + size)] * size for size in (1, 200, 100, 56, 200, 56, 1)]
        answered = await submit_together(peer, lists)
        entries: dict[int, set[int]] = {}
        for command, receipt in answered:
            entries.setdefault(int(command.price), set()).add(receipt.command_id.seq)
        for size in (200, 100):
            assert len(entries[1 + size]) == (2 if size == 200 else 1)
        seqs: dict[gb.PeerId, list[int]] = {}
        for _, receipt in answered:
            seqs.setdefault(receipt.entry_id, []).append(receipt.command_id.index)
        for indices in seqs.values():
            assert sorted(indices) == list(range(len(indices))) and len(indices) <= 256


async def test_one_submit_after_another_is_one_entry_each() -> None:
    async with peer_alone() as peer:
        seqs = [(await peer.submit(limit())).command_id.seq for _ in range(10)]
        assert seqs == list(range(10))


async def test_a_receipt_counts_who_is_known_to_hold_the_entry() -> None:
    network = gb.MemoryNetwork(link=gb.Link(latency=(0.1, 0.1)))
    async with linked_peers(3, network=network) as (alice, bob, carol):
        network.partition(["2"])
        await until(lambda: carol.peers() == [], "the links to carol are given up")
        receipt = await alice.submit(limit())
        assert receipt.seen_by() == 0
        await until(lambda: receipt.seen_by() == 1, "bob is known to hold it")
        assert (bob.entry_count, carol.entry_count) == (1, 0)
        network.heal()
        await until(lambda: receipt.seen_by() == 2, "carol is known to hold it, too", within_s=90)


# ------------------------------------------------------------------ what submit refuses


NOBODYS = gb.OrderId("ONE", BOB, 0, 0)


@pytest.mark.parametrize(
    ("command", "error", "message"),
    [
        (limit(market="THREE"), gb.UnknownMarket, "THREE"),
        (gb.LimitOrder("ONE", "buy", price="100.5", quantity=1), gb.InvalidCommand, "100.5"),
        (gb.LimitOrder("ONE", "buy", price=100, quantity="0.1"), gb.InvalidCommand, "0.1"),
        (gb.LimitOrder("ONE", "buy", price=1 << 64, quantity=1), gb.InvalidCommand, "price"),
        (gb.CancelOrder(NOBODYS), gb.InvalidCommand, "only the author"),
        (gb.ReplaceOrder(NOBODYS, price=5), gb.InvalidCommand, "only the author"),
        ("buy", gb.InvalidCommand, "'buy' is not a command"),
        (None, gb.InvalidCommand, "None is not a command"),
        ([], gb.InvalidCommand, "1 to 256"),
        ([limit()] * 257, gb.InvalidCommand, "257"),
        ([limit(), limit(market="THREE")], gb.UnknownMarket, "THREE"),
        ([limit(), [limit()]], gb.InvalidCommand, "not a command"),
    ],
)
async def test_what_no_book_could_make_right_is_refused_at_once(
    command: Any, error: type[Exception], message: str
) -> None:
    store = gb.MemoryStore()
    async with peer_alone(store) as peer:
        with pytest.raises(gb.UsageError, match=message) as refusal:
            await peer.submit(command)
        assert type(refusal.value) is error
        await check_nothing_submitted(peer, store)


async def check_nothing_submitted(peer: gb.Peer, store: gb.MemoryStore) -> None:
    """Neither now nor with the next entry."""
    await trio.sleep(1)
    assert len(store) == peer.entry_count == 0
    assert peer.statistics().queued_submits == 0
    receipt = await peer.submit(limit())
    assert receipt.command_id == gb.CommandId("ONE", peer.peer_id, 0, 0)
    assert len(peer.commands("ONE")) == len(store) == 1


async def test_a_store_that_fails_is_told_and_leaves_the_number_free() -> None:
    store = gb.MemoryStore(write_s=0.05)
    async with peer_alone(store) as peer:
        store.failing = True
        for _ in range(3):
            with pytest.raises(gb.WriteRolledBack, match=r"nothing was sent.*failing = False"):
                await peer.submit(limit())
        store.failing = False
        await check_nothing_submitted(peer, store)


async def test_all_submits_of_an_entry_fail_with_it_and_the_next_entry_does_not() -> None:
    store = gb.MemoryStore(write_s=1)
    outcomes: list[str] = []

    async def submit(peer: gb.Peer) -> None:
        try:
            receipt = await peer.submit(limit())
        except gb.WriteRolledBack:
            outcomes.append("failed")
        else:
            outcomes.append(f"entry {receipt.command_id.seq}")

    async with peer_alone(store) as peer, trio.open_nursery() as nursery:
        for wave, failing in enumerate((False, True, False)):
            for _ in range(3):
                nursery.start_soon(submit, peer)
            await trio.sleep_until(wave + 0.9)
            store.failing = failing
            await trio.sleep_until(wave + 1.1)
    # Each wave finds the entry before it under way: 1, then 2 whose write fails, then 3 and 3.
    assert outcomes == ["entry 0"] + ["failed"] * 2 + ["entry 1"] * 3 + ["entry 2"] * 3
    assert len(store) == 3


async def test_a_failing_store_stops_nobody_from_reading_or_hearing() -> None:
    stores = [gb.MemoryStore(), gb.MemoryStore()]
    network = gb.MemoryNetwork()
    async with (
        gb.open_peer(GENESIS, keypair(1), transport=network.transport("a"), store=stores[0]) as a,
        gb.open_peer(
            GENESIS,
            keypair(2),
            transport=network.transport("b"),
            bootstrap=["a"],
            store=stores[1],
            alone=True,
        ) as b,
    ):
        await until(lambda: all_linked([a, b]), "linked")
        stores[1].failing = True
        await a.submit(limit())
        await until(lambda: b.entry_count == 1, "b hears of it")
        with pytest.raises(gb.WriteRolledBack):
            await b.submit(limit())
        await trio.sleep(1)
        assert (len(stores[0]), len(stores[1]), b.entry_count) == (1, 0, 1)


class Skewed:
    """A wall clock that can be set wrong."""

    def __init__(self, offset_s: float = 0.0) -> None:
        self.offset_s = offset_s

    def __call__(self) -> float:
        return VIRTUAL_EPOCH_S + trio.current_time() + self.offset_s


@asynccontextmanager
async def three_peers_one_skewed(
    clock: Skewed, store: gb.MemoryStore
) -> AsyncIterator[list[gb.Peer]]:
    """The first one has the clock and the store."""
    network = gb.MemoryNetwork()
    async with (
        gb.open_peer(
            GENESIS, keypair(1), transport=network.transport("0"), store=store, clock=clock, seed=1
        ) as alice,
        gb.open_peer(
            GENESIS, keypair(2), transport=network.transport("1"), bootstrap=["0"], seed=2
        ) as bob,
        gb.open_peer(
            GENESIS, keypair(3), transport=network.transport("2"), bootstrap=["0"], seed=3
        ) as carol,
    ):
        await until(lambda: all_linked([alice, bob, carol]), "linked")
        yield [alice, bob, carol]


async def test_a_clock_far_ahead_signs_nothing_and_its_owner_is_told() -> None:
    clock, store = Skewed(), gb.MemoryStore()
    async with three_peers_one_skewed(clock, store) as (alice, bob, _), alice.events() as events:
        clock.offset_s = 300
        await trio.sleep(10)
        with pytest.raises(gb.ClockError, match="NTP"):
            await alice.submit(limit())
        skews = await told_so_far(events, gb.ClockSkew)
        assert skews and all(skew.beyond_bound for skew in skews)
        assert skews[-1].offset_us == pytest.approx(-300_000_000, abs=100_000)
        clock.offset_s = 0
        await trio.sleep(10)
        (skew,) = await told_so_far(events, gb.ClockSkew)
        assert not skew.beyond_bound
        await check_nothing_submitted(alice, store)
        await until(lambda: bob.entry_count == 1, "and what is submitted now spreads")


# ------------------------------------------------------------------ closing


async def test_a_closed_peer_takes_nothing_and_can_still_be_read() -> None:
    async with peer_alone() as peer:
        receipt = await peer.submit(limit(price=77))
        open_book, root = peer.book("ONE"), peer.root
    with pytest.raises(gb.PeerClosed, match="submit inside"):
        await peer.submit(limit())
    for listen in (peer.subscribe, peer.events):
        with pytest.raises(gb.PeerClosed, match="closed"):
            async with listen():
                pass
    assert peer.book("ONE") == open_book
    assert peer.root == root
    status = peer.order(receipt.order_id)
    assert status is not None and status.state == "open"
    assert [record.command_id for record in peer.commands("ONE")] == [receipt.command_id]
    assert peer.statistics().entries == peer.entry_count == 1
    assert (peer.trades("ONE"), peer.proofs(), peer.peers()) == ([], [], [])


class BodyFailed(Exception):
    pass


@pytest.mark.parametrize(
    "failure", [BodyFailed("as it was"), KeyboardInterrupt(), ExceptionGroup("", [BodyFailed()])]
)
async def test_an_exception_in_the_body_arrives_as_itself(failure: BaseException) -> None:
    network = gb.MemoryNetwork()
    with pytest.raises(type(failure)) as raised:
        async with gb.open_peer(GENESIS, keypair(1), transport=network.transport("a")):
            raise failure
    assert raised.value is failure
    assert not isinstance(failure.__cause__, BaseExceptionGroup)


async def test_store_and_address_are_free_as_soon_as_the_block_is_left() -> None:
    network, store = gb.MemoryNetwork(), gb.MemoryStore()
    transport = network.transport("a")
    for life in range(6):
        with trio.CancelScope() as scope:
            try:
                async with gb.open_peer(
                    GENESIS, keypair(1), transport=transport, store=store, alone=True
                ) as peer:
                    assert (await peer.submit(limit())).command_id.seq == life
                    if life % 3 == 1:
                        scope.cancel()
                        await trio.sleep_forever()
                    if life % 3 == 2:
                        raise BodyFailed
            except BodyFailed:
                pass
    assert len(store) == 6


async def test_a_cancelled_body_may_still_submit_in_a_shielded_scope() -> None:
    store = gb.MemoryStore(write_s=0.2)
    with trio.move_on_after(1) as scope:
        async with peer_alone(store) as peer:
            order = await peer.submit(limit())
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await peer.submit(gb.CancelOrder(order.order_id))
    assert scope.cancelled_caught
    assert len(store) == 2
    status = peer.order(order.order_id)
    assert status is not None and status.state == "cancelled"


async def test_a_cancelled_body_may_cancel_its_orders_at_every_peer() -> None:
    network = gb.MemoryNetwork()
    async with gb.open_peer(
        GENESIS, keypair(2), transport=network.transport("b"), alone=True
    ) as bob:
        with trio.move_on_after(1):
            async with gb.open_peer(
                GENESIS,
                keypair(1),
                transport=network.transport("a"),
                bootstrap=["b"],
            ) as alice:
                order = await alice.submit(limit())
                try:
                    await trio.sleep_forever()
                finally:
                    with trio.CancelScope(shield=True):
                        receipt = await alice.submit(gb.CancelOrder(order.order_id))
                        await until(lambda: receipt.seen_by() == 1, "bob knows")
        status = bob.order(order.order_id)
        assert status is not None and status.state == "cancelled"


async def test_submits_that_wait_when_the_peer_closes_are_answered() -> None:
    """One is being written: it is in the store. Others wait for a confirmation: refused."""
    store, network = gb.MemoryStore(write_s=2), gb.MemoryNetwork()
    outcomes: dict[str, Any] = {}

    async def submit(name: str, peer: gb.Peer) -> None:
        try:
            outcomes[name] = await peer.submit(limit())
        except gb.GossipbookError as error:
            outcomes[name] = error

    async with (
        trio.open_nursery() as nursery,
        peer_alone(store) as writing,
        gb.open_peer(
            GENESIS, keypair(2), transport=network.transport("b"), bootstrap=["nobody"]
        ) as unconfirmed,
    ):
        nursery.start_soon(submit, "written", writing)
        nursery.start_soon(submit, "unconfirmed", unconfirmed)
        await trio.sleep(0.5)
    assert outcomes["written"].command_id.seq == 0
    assert len(store) == 1
    assert type(outcomes["unconfirmed"]) is gb.PeerClosed
    assert unconfirmed.entry_count == 0


async def test_who_leaves_says_goodbye_and_is_not_dialled_again() -> None:
    network = gb.MemoryNetwork(link=gb.Link(latency=(0.02, 0.05)))
    async with linked_peers(2, network=network) as (bob, carol), bob.events() as events:
        async with gb.open_peer(
            GENESIS, keypair(7), transport=network.transport("a"), bootstrap=["0"]
        ) as alice:
            await until(lambda: len(alice.peers()) == 2, "alice is linked")
            left_s = trio.current_time()
        assert trio.current_time() - left_s < 1.5
        await until(lambda: alice.peer_id not in bob.peers() + carol.peers(), "both have heard")
        connections = network.counters.connections
        downs = await told_so_far(events, gb.PeerDown)
        assert downs == [gb.PeerDown(alice.peer_id, "it left")]
        async with network.transport("a").open(GENESIS, keypair(7)) as lurker:
            with trio.move_on_after(25):
                await lurker.accept()
                raise AssertionError("somebody dialled a peer that had left")
        assert network.counters.connections == connections


async def test_what_was_submitted_just_before_leaving_reaches_the_others() -> None:
    network = gb.MemoryNetwork()
    async with linked_peers(1, network=network) as (bob,):
        async with gb.open_peer(
            GENESIS, keypair(7), transport=network.transport("a"), bootstrap=["0"], alone=True
        ) as alice:
            await until(lambda: all_linked([alice, bob]), "linked")
            receipt = await alice.submit(limit())
        await trio.sleep(1)
        assert bob.order(receipt.order_id) is not None


async def test_peers_that_were_torn_down_have_no_links() -> None:
    with trio.CancelScope() as scope:
        async with linked_peers(3) as peers:
            scope.cancel()
            await trio.sleep_forever()
    assert [(peer.peers(), peer.statistics().links) for peer in peers] == [([], 0)] * 3


async def test_who_is_torn_down_says_nothing_and_is_dialled_again() -> None:
    network = gb.MemoryNetwork()
    transport = network.transport("a")
    async with (
        gb.open_peer(
            GENESIS, keypair(2), transport=network.transport("b"), bootstrap=["a"], alone=True
        ) as bob,
        bob.events() as events,
    ):
        with pytest.raises(BodyFailed):
            async with gb.open_peer(GENESIS, keypair(1), transport=transport) as alice:
                await until(lambda: bob.peers() == [ALICE], "linked")
                raise BodyFailed
        await until(lambda: bob.peers() == [], "bob notices")
        (down,) = await told_so_far(events, gb.PeerDown)
        assert (down.peer_id, down.reason) == (ALICE, "the connection closed")
        async with gb.open_peer(GENESIS, keypair(1), transport=transport) as alice:
            await until(lambda: alice.peers() == [BOB], "bob has dialled again")


# ------------------------------------------------------------------ events


async def test_links_that_stand_are_told_first() -> None:
    async with linked_peers(3) as (alice, bob, carol), alice.events() as events:
        assert await told_so_far(events, gb.PeerUp) == [
            gb.PeerUp(peer_id) for peer_id in sorted([bob.peer_id, carol.peer_id])
        ]


async def test_peers_that_come_and_are_cut_off_are_told() -> None:
    network = gb.MemoryNetwork()
    async with linked_peers(2, network=network) as (alice, bob), alice.events() as events:
        await told_so_far(events, gb.PeerUp)
        network.partition(["1"])
        await until(lambda: alice.peers() == bob.peers() == [], "given up")
        (down,) = await told_so_far(events, gb.PeerDown)
        assert down == gb.PeerDown(BOB, "it has been silent for too long")
        network.heal()
        await until(lambda: all_linked([alice, bob]), "linked again", within_s=60)
        assert await told_so_far(events, gb.PeerUp) == [gb.PeerUp(BOB)]


async def test_another_network_at_an_address_is_told_once_and_harms_nobody() -> None:
    network = gb.MemoryNetwork(link=SHORT_WAY)
    elsewhere = gb.Genesis("elsewhere", GENESIS.markets)
    async with (
        gb.open_peer(elsewhere, keypair(2), transport=network.transport("b")) as stranger,
        gb.open_peer(
            GENESIS, keypair(1), transport=network.transport("a"), bootstrap=["b"], alone=True
        ) as alice,
        alice.events() as events,
        stranger.events() as strange,
    ):
        await trio.sleep(60)
        (refused,) = await told_so_far(events, gb.DialRefused)
        assert refused.address == "b"
        for genesis in (GENESIS, elsewhere):
            assert repr(genesis.name) in refused.reason
            assert genesis.network_id.hex()[:16] in refused.reason
        assert alice.peers() == stranger.peers() == []
        assert await told_so_far(strange) == []
        await alice.submit(limit())


async def test_a_refusal_from_before_anybody_listened_is_told_first() -> None:
    elsewhere = gb.Genesis("elsewhere", GENESIS.markets)
    network = gb.MemoryNetwork()
    async with (
        gb.open_peer(elsewhere, keypair(2), transport=network.transport("b")),
        gb.open_peer(
            GENESIS, keypair(1), transport=network.transport("a"), bootstrap=["b"], alone=True
        ) as alice,
    ):
        await trio.sleep(60)
        for _ in range(2):
            async with alice.events() as events:
                assert [type(told) for told in await told_so_far(events)] == [gb.DialRefused]


async def test_an_address_that_changes_hands_is_told_again() -> None:
    """Another network, then nobody, then the right peer, then the other network again."""
    network = gb.MemoryNetwork()
    elsewhere = gb.Genesis("elsewhere", GENESIS.markets)
    async with (
        gb.open_peer(
            GENESIS, keypair(1), transport=network.transport("a"), bootstrap=["b"], alone=True
        ) as alice,
        alice.events() as events,
    ):
        for genesis in (elsewhere, GENESIS, elsewhere):
            async with gb.open_peer(genesis, keypair(2), transport=network.transport("b")):
                await trio.sleep(70)
        told = await told_so_far(events)
        kinds = [type(event) for event in told]
        assert kinds == [gb.DialRefused, gb.PeerUp, gb.PeerDown, gb.DialRefused]


async def test_who_is_no_member_is_refused_by_both_sides() -> None:
    network = gb.MemoryNetwork(link=SHORT_WAY)
    async with (
        network.transport("b").open(MEMBERS_ONLY, keypair(3)) as outsider,
        gb.open_peer(
            MEMBERS_ONLY, keypair(1), transport=network.transport("a"), bootstrap=["b"], alone=True
        ) as alice,
        alice.events() as events,
    ):
        await trio.sleep(5)
        (refused,) = await told_so_far(events, gb.DialRefused)
        assert refused == gb.DialRefused(
            "b", f"{CAROL.hex()[:8]} is not a member of {MEMBERS_ONLY.name!r}"
        )
        with pytest.raises(gb.ProtocolViolation, match="not a member"):
            await outsider.dial(b"a", None)
        assert alice.peers() == []


async def test_a_book_that_rots_is_located_told_and_healed() -> None:
    async with linked_peers(3) as peers:
        alice, bob, _ = peers
        async with bob.events() as events:
            await bob.submit([limit("buy", 50), limit("buy", 90), limit("sell", 150)])
            await trio.sleep(5)
            damage = bob.replica.corrupt("ONE", "book", SeededRandom(3))
            price = int(damage.split(" at ")[1].split()[0])
            for _ in range(10):  # elsewhere: what rots is touched by nobody
                await alice.submit([limit("sell", 100, 1, "TWO"), limit("buy", 100, 1, "TWO")])
                await trio.sleep(1)
            told = await told_so_far(events, gb.Divergence)
        assert [event.status for event in told] == ["claimed", "healed"]
        for event in told:
            side = "buy" if price < 100 else "sell"
            assert (event.market, event.side, event.price_ticks) == ("ONE", side, price)
            assert event.ours != event.theirs
        with trio.fail_after(10):
            await gb.wait_until_equal(peers)


# ------------------------------------------------------------------ waiting, and time


async def test_waiting_for_nobody_or_one_peer_is_soon_over() -> None:
    async with peer_alone() as peer:
        await peer.submit(limit())
        await gb.wait_until_equal([])
        with trio.testing.assert_checkpoints():
            await gb.wait_until_equal(iter([peer]))


async def test_waiting_lasts_as_long_as_peers_are_cut_off() -> None:
    network = gb.MemoryNetwork()
    async with linked_peers(2, network=network) as (alice, bob):
        network.partition(["1"])
        await alice.submit(limit())
        with pytest.raises(trio.TooSlowError), trio.fail_after(60):
            await gb.wait_until_equal([alice, bob])
        network.heal()
        with trio.fail_after(60):
            await gb.wait_until_equal([alice, bob])
        assert alice.root == bob.root and alice.frontier_root == bob.frontier_root
        assert bob.entry_count == 1


async def test_waiting_lasts_as_long_as_a_submit_is_under_way() -> None:
    async with peer_alone(gb.MemoryStore(write_s=3)) as peer, trio.open_nursery() as nursery:
        nursery.start_soon(peer.submit, limit())
        await trio.sleep(1)
        await gb.wait_until_equal([peer])
        assert trio.current_time() == pytest.approx(3, abs=0.05)


async def test_equal_entries_with_unequal_books_are_not_equal() -> None:
    async with linked_peers(2) as (alice, bob):
        await alice.submit(limit("buy", 90, 9))
        await gb.wait_until_equal([alice, bob])
        assert bob.replica.corrupt("ONE", "book", SeededRandom(1))
        bob.replica._state("ONE").engine.scrub(16)  # so that the damage shows in the root
        with trio.move_on_after(0.5) as waiting:
            await gb.wait_until_equal([alice, bob])
        assert waiting.cancelled_caught


@real_time
async def test_peers_trade_in_real_time_too() -> None:
    async with linked_peers(3) as peers:
        before_s = time.time()
        receipts = [await peer.submit(limit()) for peer in peers]
        with trio.fail_after(10):
            await gb.wait_until_equal(peers)
        dated_s = [
            (entry.hlc >> 16) / 1000
            for peer in peers
            for entry in peer.replica.logs[peer.peer_id].entries
        ]
        assert len(dated_s) == len(receipts) == 3
        assert all(before_s - 0.5 < at_s < time.time() + 0.5 for at_s in dated_s)


async def test_in_virtual_time_entries_are_dated_by_trios_clock() -> None:
    async with peer_alone() as peer:
        await trio.sleep(100)
        await peer.submit(limit())
        (entry,) = peer.replica.merged_entries()
        assert (entry.hlc >> 16) / 1000 == pytest.approx(VIRTUAL_EPOCH_S + 100, abs=0.002)


LOSSY = gb.Link(latency=(0.005, 0.08), loss=0.15, duplication=0.1, reordering=0.1)


async def trade_with_seeds(seed: int) -> tuple[list[bytes], int]:
    """The ids of all entries, and the bytes that were sent."""
    start_s = trio.current_time()
    trio._core._run._r.seed(seed)  # the scheduler's own dice

    def clock() -> float:
        return VIRTUAL_EPOCH_S + trio.current_time() - start_s

    network = gb.MemoryNetwork(seed=seed, link=LOSSY)
    async with linked_peers(3, network=network, seed=seed, clock=clock) as peers:
        for number in range(30):
            await peers[number % 3].submit(limit(price=95 + number % 7))
            await trio.sleep(0.03125)
        with trio.fail_after(120):
            await gb.wait_until_equal(peers)
        ids = [entry.id for entry in peers[0].replica.merged_entries()]
        return ids, network.counters.message_bytes


async def test_the_same_seeds_give_the_same_run() -> None:
    first = await trade_with_seeds(5)
    assert await trade_with_seeds(5) == first
    assert await trade_with_seeds(6) != first


# ------------------------------------------------------------------ naming an address later


async def test_an_address_can_be_named_to_a_running_peer() -> None:
    network = gb.MemoryNetwork()
    async with (
        gb.open_peer(GENESIS, keypair(1), transport=network.transport(), alone=True) as alice,
        gb.open_peer(GENESIS, keypair(2), transport=network.transport("bob"), alone=True) as bob,
    ):
        await trio.sleep(5)
        assert alice.peers() == []
        alice.join("bob")
        alice.join("bob")
        await until(lambda: (alice.peers(), bob.peers()) == ([BOB], [ALICE]), "they are linked")


async def test_an_address_that_was_joined_is_dialled_for_ever() -> None:
    """As a bootstrap address: whoever comes there, after however long."""
    network = gb.MemoryNetwork()
    async with gb.open_peer(GENESIS, keypair(1), transport=network.transport(), alone=True) as one:
        one.join("bob")
        await trio.sleep(900)
        async with gb.open_peer(GENESIS, keypair(2), transport=network.transport("bob")):
            await until(lambda: one.peers() == [BOB], "and still tried", within_s=60)


async def test_hearsay_of_a_peer_is_dialled_expecting_it() -> None:
    network = gb.MemoryNetwork()
    async with (
        gb.open_peer(GENESIS, keypair(1), transport=network.transport(), alone=True) as alice,
        gb.open_peer(GENESIS, keypair(2), transport=network.transport("bob"), alone=True),
    ):
        alice.join("bob", peer_id=BOB)
        await until(lambda: alice.peers() == [BOB], "Bob is there")


@pytest.mark.parametrize("address", ["", b"bob", None, 7])
async def test_what_is_no_address_cannot_be_joined(address: Any) -> None:
    async with linked_peers(1) as (alice,):
        with pytest.raises(gb.UsageError, match="address"):
            alice.join(address)
    with pytest.raises(gb.PeerClosed):
        alice.join("bob")


async def test_without_a_transport_nothing_can_be_joined() -> None:
    async with peer_alone() as peer:
        with pytest.raises(gb.UsageError, match="transport="):
            peer.join("bob")
