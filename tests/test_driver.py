"""The driver carries out what the protocol decides: links, queues, threads, writes, the end.

The protocol's rules have tests of their own; here real peers meet strangers who send garbage, read
nothing or never answer, and stores that fail in the middle.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from twins.authors import TestAuthor, fresh
from twins.scenario import GENESIS, limit
from twins.trio_peers import (
    Stranger,
    all_linked,
    keypair,
    linked_peers,
    stranger,
    told_so_far,
    until,
)
from twins.virtual_time import real_time, virtual_time

import gossipbook as gb
from gossipbook.driver import (
    BULK_SIGNATURES,
    DROP_PUSHES_ABOVE_BYTES,
    FAREWELL_S,
    GIVE_UP_ABOVE_BYTES,
    LOOK_AGAIN_S,
)
from gossipbook.errors import ConnectionLost, WriteUndecided
from gossipbook.gossip.messages import (
    FrontierIs,
    Goodbye,
    News,
    Ping,
    Pong,
    Want,
    YourHead,
    encode_message,
)
from gossipbook.log.entry import NO_ENTRY, Entry, EntryId, encode_run
from gossipbook.log.frontier import Head
from gossipbook.transport.memory import UNREAD_LIMIT_BYTES

NOW_HLC = 1_767_225_600_000 << 16
"""The virtual epoch: what is dated so early waits for nobody."""


def author(number: int, entries: int) -> TestAuthor:
    """Somebody with a log, who needs no peer."""
    one = TestAuthor(number, GENESIS)
    for step in range(entries):
        one.write(hlc=NOW_HLC + step)
    return one


def forged(entry: Entry) -> Entry:
    """The same entry under a signature that nobody made."""
    copy = fresh(entry)
    copy.signature = bytes(64)
    return copy


def news_of(entries: Sequence[Entry]) -> News:
    return News((encode_run(entries),))


# ------------------------------------------------------------------ strangers who break rules

GARBAGE: dict[str, Any] = {
    "random bytes": bytes.fromhex("f3a1c09dd2e44b1b"),
    "nothing": b"",
    "half a message": encode_message(FrontierIs(()))[:-1],
    "a megabyte and more": bytes(1_100_000),
    "a forged signature": news_of([forged(author(9, 1).entries[0])]),
    "a first word about somebody else": YourHead(Head(keypair(9).peer_id, 0, NO_ENTRY, None)),
}


@pytest.mark.parametrize("offence", GARBAGE)
@virtual_time
async def test_who_breaks_a_rule_loses_the_link_and_nobody_else_notices(offence: str) -> None:
    network = gb.MemoryNetwork()
    async with linked_peers(2, network=network) as (alice, bob), alice.events() as events:
        async with stranger(network, 7, dial="0") as cheat, stranger(network, 8, dial="0") as good:
            await until(lambda: len(alice.peers()) == 3, "both are linked")
            await cheat.say(GARBAGE[offence])
            await until(lambda: cheat.hung_up, "the cheat is cut off", within_s=1)
            await trio.sleep(1)
            assert alice.peers() == sorted([bob.peer_id, keypair(8).peer_id])
            assert not good.hung_up
            assert alice.statistics().gossip.refused_messages == 1
        await alice.submit(limit())
        with trio.fail_after(5):
            await gb.wait_until_equal([alice, bob])
        assert bob.entry_count == 1
        downs = await told_so_far(events, gb.PeerDown)
        (told,) = [down for down in downs if down.peer_id == keypair(7).peer_id]
        assert "broke a rule" in told.reason


@virtual_time
async def test_who_broke_a_rule_is_left_alone_for_a_minute() -> None:
    network = gb.MemoryNetwork()
    async with linked_peers(1, network=network) as (alice,):
        async with stranger(network, 7, dial="0") as cheat:
            await cheat.say(b"\xff")
            await until(lambda: cheat.hung_up, "cut off")
        async with stranger(network, 7, dial="0") as again:
            await until(lambda: again.hung_up, "not taken back yet", within_s=1)
            assert alice.peers() == []
        await trio.sleep(60)
        async with stranger(network, 7, dial="0") as much_later:
            await until(lambda: alice.peers() == [keypair(7).peer_id], "taken back")
            assert not much_later.hung_up


@virtual_time
async def test_a_connection_to_oneself_is_dropped() -> None:
    network = gb.MemoryNetwork()
    async with linked_peers(1, network=network) as (alice,):
        async with stranger(network, 1, dial="0") as twin:
            await until(lambda: twin.hung_up, "dropped", within_s=1)
        assert alice.peers() == []
    async with gb.open_peer(
        GENESIS, keypair(1), transport=network.transport("self"), bootstrap=["self"], alone=True
    ) as alice:
        await trio.sleep(10)
        assert alice.peers() == []
        await alice.submit(limit())


@virtual_time
async def test_a_second_connection_takes_the_place_of_the_first() -> None:
    network = gb.MemoryNetwork()
    async with (
        linked_peers(1, network=network) as (alice,),
        alice.events() as events,
        network.transport("x").open(GENESIS, keypair(7)) as endpoint,
    ):
        old, new = [await endpoint.dial(b"0", None) for _ in range(2)]
        with pytest.raises(ConnectionLost), trio.fail_after(5):
            while True:
                await old.receive()
        assert await new.receive()
        assert alice.peers() == [keypair(7).peer_id]
        assert await told_so_far(events) == [gb.PeerUp(keypair(7).peer_id)]


# ------------------------------------------------------------------ signatures


class WatchedVerifier(gb.Verifier):
    """Notes in which thread each batch was checked, and can be slow."""

    __slots__ = ("batches", "slowness_s")

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[tuple[int, bool]] = []  # (entries, in trio's own thread)
        self.slowness_s = 0.0

    def check(self, entries: Iterable[Entry]) -> list[Entry | None]:
        batch = list(entries)
        main = threading.current_thread() is threading.main_thread()
        self.batches.append((len(batch), main))
        if not main:
            time.sleep(self.slowness_s)
        return super().check(batch)


async def tell(one: Stranger, who: TestAuthor, *sizes: int) -> None:
    """Say an author's log in runs of such sizes."""
    start = 0
    for size in sizes:
        await one.say(news_of([fresh(entry) for entry in who.entries[start : start + size]]))
        start += size


@real_time
async def test_many_signatures_are_checked_in_a_thread_and_few_on_the_spot() -> None:
    network, verifier = gb.MemoryNetwork(), WatchedVerifier()
    few = BULK_SIGNATURES - 1
    async with (
        linked_peers(1, network=network, verifier=verifier) as (alice,),
        stranger(network, 7, dial="0") as teller,
    ):
        await tell(teller, author(9, few + BULK_SIGNATURES + 40), few, BULK_SIGNATURES, 40)
        await until(lambda: alice.entry_count == few + BULK_SIGNATURES + 40, "all are admitted")
        in_order = sorted(verifier.batches)  # two threads may check at once
        assert in_order == [(few, True), (BULK_SIGNATURES, False), (40, False)]
        assert len(alice.commands("ONE")) == alice.entry_count


@virtual_time
async def test_in_virtual_time_no_thread_is_used() -> None:
    network, verifier = gb.MemoryNetwork(), WatchedVerifier()
    async with (
        linked_peers(1, network=network, verifier=verifier) as (alice,),
        stranger(network, 7, dial="0") as teller,
    ):
        await tell(teller, author(9, 100), 100)
        await until(lambda: alice.entry_count == 100, "all are admitted")
        assert verifier.batches == [(100, True)]


@real_time
async def test_a_peer_goes_on_while_signatures_are_checked() -> None:
    network, verifier = gb.MemoryNetwork(), WatchedVerifier()
    verifier.slowness_s = 0.4
    async with (
        linked_peers(1, network=network, verifier=verifier) as (alice,),
        stranger(network, 7, dial="0") as teller,
    ):
        await tell(teller, author(9, 50), 50)
        await until(lambda: verifier.batches != [], "the check has begun")
        await alice.submit(limit())
        assert alice.entry_count == 1, "the check is not done yet"
        await until(lambda: alice.entry_count == 51, "the check is done")


@real_time
async def test_a_peer_closes_while_signatures_are_checked() -> None:
    network, verifier = gb.MemoryNetwork(), WatchedVerifier()
    verifier.slowness_s = 0.8
    async with (
        linked_peers(1, network=network, verifier=verifier) as (alice,),
        stranger(network, 7, dial="0") as teller,
    ):
        await tell(teller, author(9, 50), 50)
        await until(lambda: verifier.batches != [], "the check has begun")
        before_s = trio.current_time()
    assert trio.current_time() - before_s < 0.7
    await trio.sleep(0.8)
    assert alice.entry_count == 0, "what comes of it is nobody's any more"


@pytest.mark.parametrize("in_time", ["real", "virtual"])
def test_a_forged_entry_in_a_bulk_costs_its_teller_the_link_and_splits_nobody(in_time: str) -> None:
    """The cheat is the first to tell; honest peers come later with the real log."""
    mark = real_time if in_time == "real" else virtual_time
    mark.kwargs["run"](check_forged_bulk)


async def check_forged_bulk() -> None:
    network = gb.MemoryNetwork()
    honest = author(9, 60)
    mixed = [forged(entry) if entry.seq == 30 else fresh(entry) for entry in honest.entries]
    async with linked_peers(3, network=network) as peers:
        alice, _, carol = peers
        async with stranger(network, 7, dial="0") as cheat:
            await cheat.say(news_of(mixed))
            await until(lambda: cheat.hung_up, "the cheat is cut off")
            assert alice.entry_count == 30, "what was good before the bad one counts"
            async with stranger(network, 8, dial="2") as teller:
                await tell(teller, honest, 60)
                await until(lambda: carol.entry_count == 60, "carol has it all")
                assert not teller.hung_up
        with trio.fail_after(20):
            await gb.wait_until_equal(peers)
        assert {peer.entry_count for peer in peers} == {60}
        assert all_linked(peers)
        refused = [peer.statistics().gossip.refused_messages for peer in peers]
        assert refused == [1, 0, 0], "one link at most"


# ------------------------------------------------------------------ slow readers


@asynccontextmanager
async def deaf_reader(network: gb.MemoryNetwork, *, dial: str) -> AsyncIterator[Stranger]:
    """A stranger that reads nothing, and says every second that it lives."""
    async with (
        stranger(network, 7, dial=dial, listens=False) as deaf,
        trio.open_nursery() as nursery,
    ):
        await leave_large_entries(deaf)
        nursery.start_soon(say_that_it_lives, deaf)
        yield deaf
        nursery.cancel_scope.cancel()


async def leave_large_entries(one: Stranger) -> None:
    """Two of 60 kB, which it can ask for again and again."""
    log = TestAuthor(7, GENESIS)
    for step in range(2):
        log.write(hlc=NOW_HLC + step, payload=bytes(60_000))
    await tell(one, log, 2)


async def say_that_it_lives(one: Stranger) -> None:
    for token in range(1, 10_000):
        await one.say(Ping(token, 0))
        await trio.sleep(1)


async def ask_for_bytes(one: Stranger, size_bytes: int) -> None:
    """Make the peer queue so much for this stranger."""
    for _ in range(-(-size_bytes // 120_000)):
        await one.say(Want(((keypair(7).peer_id, 0, 2),)))
        await trio.sleep(0.02)


@virtual_time
async def test_a_reader_that_is_stuck_gets_no_pushes_and_keeps_nobody_waiting() -> None:
    network = gb.MemoryNetwork()
    async with (
        linked_peers(2, network=network) as (alice, bob),
        deaf_reader(network, dial="0") as deaf,
    ):
        await until(lambda: alice.entry_count == bob.entry_count == 2, "the large entries are here")
        await ask_for_bytes(deaf, UNREAD_LIMIT_BYTES)
        await alice.submit(limit())
        await trio.sleep(0.1)
        assert alice.statistics().queue_drops == 0, "so much is still queued"
        await ask_for_bytes(deaf, DROP_PUSHES_ABOVE_BYTES + 200_000)
        before_s = trio.current_time()
        for _ in range(5):
            await alice.submit(limit())
            await trio.sleep(0.1)
        assert trio.current_time() - before_s == pytest.approx(0.5), "nobody waits for it"
        assert alice.statistics().queue_drops == 5
        assert bob.entry_count == 8
        assert bob.statistics().queue_drops == 0
        await trio.sleep(30)
        assert keypair(7).peer_id in alice.peers(), "slow is no offence"


@virtual_time
async def test_a_reader_that_is_stuck_for_good_is_given_up() -> None:
    network = gb.MemoryNetwork()
    async with (
        linked_peers(2, network=network) as (alice, bob),
        deaf_reader(network, dial="0") as deaf,
        alice.events() as events,
    ):
        await until(lambda: alice.entry_count == bob.entry_count == 2, "the large entries are here")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_for_bytes, deaf, 10 * GIVE_UP_ABOVE_BYTES)
            await until(lambda: alice.peers() == [bob.peer_id], "given up")
            nursery.cancel_scope.cancel()
        under_way = network.counters.message_bytes
        assert under_way < UNREAD_LIMIT_BYTES + 2 * GIVE_UP_ABOVE_BYTES
        down, *_ = await told_so_far(events, gb.PeerDown)
        assert isinstance(down, gb.PeerDown)
        assert down.peer_id == keypair(7).peer_id
        assert "it has not read the last" in down.reason
        await alice.submit(limit())
        await until(lambda: bob.entry_count == 3, "bob hears of it")
        assert alice.statistics().gossip.refused_messages == 0


@virtual_time
async def test_a_reader_that_wakes_up_gets_what_was_queued() -> None:
    network = gb.MemoryNetwork()
    async with (
        linked_peers(1, network=network) as (alice,),
        deaf_reader(network, dial="0") as reader,
    ):
        await until(lambda: alice.entry_count == 2, "the large entries are here")
        await ask_for_bytes(reader, UNREAD_LIMIT_BYTES + 600_000)
        receipt = await alice.submit(limit())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader._listen)
            await until(lambda: len(reader.heard_of(Pong)) > 0, "all of it has come")
            await reader.say(FrontierIs((Head(alice.peer_id, 1, EntryId(receipt.entry_id), None),)))
            await until(lambda: receipt.seen_by() == 1, "and it is heard again")
            nursery.cancel_scope.cancel()
        answers = [news for news in reader.heard_of(News) if news.reply]
        assert sum(len(run) for news in answers for run in news.runs) > UNREAD_LIMIT_BYTES
        pushed = [news for news in reader.heard_of(News) if not news.reply and news.runs]
        assert len(pushed) == 1, "our own entry, in its turn"


@virtual_time
async def test_closing_does_not_wait_long_for_a_reader_that_is_stuck() -> None:
    network = gb.MemoryNetwork()
    async with network.transport("x").open(GENESIS, keypair(7)) as endpoint:
        async with linked_peers(1, network=network) as (alice,):
            deaf = Stranger(await endpoint.dial(b"0", None))
            await leave_large_entries(deaf)
            await until(lambda: alice.entry_count == 2, "the large entries are here")
            await ask_for_bytes(deaf, UNREAD_LIMIT_BYTES + 200_000)
            left_s = trio.current_time()
        assert trio.current_time() - left_s == pytest.approx(FAREWELL_S, abs=0.02)


# ------------------------------------------------------------------ dialling and leaving


@virtual_time
async def test_last_words_are_sent_before_a_link_is_closed() -> None:
    network = gb.MemoryNetwork(link=gb.Link(latency=(0.1, 0.1)))
    async with network.transport("x").open(GENESIS, keypair(7)) as endpoint:
        async with linked_peers(1, network=network) as (alice,):
            one = Stranger(await endpoint.dial(b"0", None))
            await until(lambda: len(alice.peers()) == 1, "linked")
        with trio.fail_after(1):
            await one._listen()
        assert isinstance(one.heard[0], YourHead)
        assert isinstance(one.heard[-1], Goodbye)


@virtual_time
async def test_last_words_wait_a_moment_for_a_reader_that_is_slow() -> None:
    network = gb.MemoryNetwork()

    async def read_later() -> None:
        await trio.sleep(FAREWELL_S / 2)
        await slow._listen()

    async with (
        network.transport("x").open(GENESIS, keypair(7)) as endpoint,
        trio.open_nursery() as nursery,
        linked_peers(1, network=network) as (alice,),
    ):
        slow = Stranger(await endpoint.dial(b"0", None))
        await leave_large_entries(slow)
        await until(lambda: alice.entry_count == 2, "the large entries are here")
        await ask_for_bytes(slow, UNREAD_LIMIT_BYTES + 200_000)
        nursery.start_soon(read_later)
    assert isinstance(slow.heard[-1], Goodbye)


@virtual_time
async def test_who_is_torn_down_says_no_last_words() -> None:
    network = gb.MemoryNetwork()
    async with network.transport("x").open(GENESIS, keypair(7)) as endpoint:
        with trio.CancelScope() as scope:
            async with linked_peers(1, network=network) as (alice,):
                one = Stranger(await endpoint.dial(b"0", None))
                await until(lambda: len(alice.peers()) == 1, "linked")
                scope.cancel()
                await trio.sleep_forever()
        with trio.fail_after(1):
            await one._listen()
        assert one.heard_of(YourHead) and not one.heard_of(Goodbye)


@virtual_time
async def test_a_dial_that_nobody_answers_ends_and_is_tried_again() -> None:
    network = gb.MemoryNetwork()
    async with linked_peers(2, network=network) as (alice, bob):
        network.partition(["silent"])
        async with (
            network.transport("silent").open(GENESIS, keypair(7)) as silent,
            gb.open_peer(
                GENESIS,
                keypair(3),
                transport=network.transport("carol"),
                bootstrap=["silent", "0"],
                alone=True,
            ) as carol,
        ):
            await until(lambda: len(carol.peers()) == 2, "alice and bob are not kept waiting")
            await trio.sleep(60)
            tasks = trio.lowlevel.current_statistics().tasks_living
            await trio.sleep(60)
            assert abs(trio.lowlevel.current_statistics().tasks_living - tasks) <= 1
            network.heal()
            with trio.fail_after(60):
                connection = await silent.accept()
            assert connection.peer_id == carol.peer_id
        assert all_linked([alice, bob])


# ------------------------------------------------------------------ writing


class Undecided(gb.MemoryStore):
    """A store whose disk breaks: for a while it cannot tell what came of a write."""

    def __init__(self, *, stands: bool) -> None:
        super().__init__()
        self.stands = stands
        """Whether the write that nobody can tell of is on the disk."""
        self.broken = False

    @asynccontextmanager
    async def open(self, genesis: gb.Genesis, peer_id: gb.PeerId) -> AsyncIterator[Any]:
        async with super().open(genesis, peer_id) as opened:
            whole_write, whole_look = opened.write, opened.was_written

            async def write(*what: Any) -> None:
                if not self.broken:
                    return await whole_write(*what)
                if self.stands:
                    await whole_write(*what)
                raise WriteUndecided("the disk does not answer")

            async def was_written(entries: Sequence[Entry]) -> bool:
                if self.broken:
                    raise WriteUndecided("the disk still does not answer")
                return await whole_look(entries)

            opened.write, opened.was_written = write, was_written  # type: ignore[method-assign]
            yield opened


@pytest.mark.parametrize("stands", [True, False])
@virtual_time
async def test_while_a_write_is_undecided_nothing_is_signed_and_its_outcome_holds(
    stands: bool,
) -> None:
    store, network = Undecided(stands=stands), gb.MemoryNetwork()
    async with (
        gb.open_peer(
            GENESIS, keypair(1), transport=network.transport("a"), store=store, alone=True
        ) as alice,
        gb.open_peer(
            GENESIS, keypair(2), transport=network.transport("b"), bootstrap=["a"], alone=True
        ) as bob,
    ):
        await until(lambda: all_linked([alice, bob]), "linked")
        await alice.submit(limit(price=50))
        store.broken = True
        for _ in range(3):
            with pytest.raises(WriteUndecided, match="the disk"):
                await alice.submit(limit(price=60))
            await trio.sleep(1)
        assert alice.entry_count == bob.entry_count == 1, "nobody hears of it yet"
        assert len(store) == 1 + stands
        store.broken = False
        await trio.sleep(2 * LOOK_AGAIN_S)
        assert alice.entry_count == 1 + stands, "it counts exactly if it is there"
        receipt = await alice.submit(limit(price=70))
        assert receipt.command_id.seq == 1 + stands
        with trio.fail_after(10):
            await gb.wait_until_equal([alice, bob])
        prices = [int(record.command.price) for record in bob.commands("ONE")]  # type: ignore[union-attr]
        assert prices == ([50, 60, 70] if stands else [50, 70])
        assert alice.proofs() == bob.proofs() == []


@virtual_time
async def test_a_peer_closes_while_a_write_is_undecided() -> None:
    store = Undecided(stands=True)
    async with gb.open_peer(GENESIS, keypair(1), store=store) as alice:
        store.broken = True
        with pytest.raises(WriteUndecided):
            await alice.submit(limit())
        before_s = trio.current_time()
    assert trio.current_time() - before_s <= LOOK_AGAIN_S + 0.1
    store.broken = False
    async with gb.open_peer(GENESIS, keypair(1), store=store) as alice:
        assert alice.entry_count == 1, "the next start has looked"
        assert (await alice.submit(limit())).command_id.seq == 1


class Broken(gb.MemoryStore):
    """A store with a bug: its writes raise what no store may raise."""

    @asynccontextmanager
    async def open(self, genesis: gb.Genesis, peer_id: gb.PeerId) -> AsyncIterator[Any]:
        async with super().open(genesis, peer_id) as opened:

            async def write(*_: Any) -> None:
                await trio.sleep(0.01)
                raise ZeroDivisionError

            opened.write = write  # type: ignore[method-assign]
            yield opened


@virtual_time
async def test_a_bug_in_a_store_ends_the_peer_and_everybody_who_waits_for_it() -> None:
    told: list[BaseException] = []
    with pytest.raises(BaseExceptionGroup) as raised:
        async with gb.open_peer(GENESIS, keypair(1), store=Broken()) as peer:
            with trio.CancelScope(shield=True):
                try:
                    await peer.submit(limit())
                except gb.WriteUndecided as error:  # nobody can say what the store has done
                    told.append(error)
            with pytest.raises(gb.PeerClosed):
                await peer.submit(limit())
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
    assert raised.value.split(ZeroDivisionError)[1] is None, "nothing else went wrong"
    assert len(told) == 1


@virtual_time
async def test_a_write_handed_over_after_one_that_fails_is_not_done_twice() -> None:
    """Bob's entry waits for the disk behind our own, whose write fails; both come again."""
    network, store = gb.MemoryNetwork(), gb.MemoryStore(write_s=1)
    async with (
        gb.open_peer(
            GENESIS, keypair(1), transport=network.transport("a"), store=store, alone=True
        ) as alice,
        gb.open_peer(
            GENESIS, keypair(2), transport=network.transport("b"), bootstrap=["a"], alone=True
        ) as bob,
        trio.open_nursery() as nursery,
    ):
        await until(lambda: all_linked([alice, bob]), "linked")
        await trio.sleep(2)  # bob's address is written
        start_s = trio.current_time()
        nursery.start_soon(expect_rolled_back, alice)
        await trio.sleep(0.1)
        await bob.submit(limit())
        store.failing = True
        await trio.sleep_until(start_s + 1.001)
        store.failing = False
        await trio.sleep(10)
        assert (alice.entry_count, len(store)) == (1, 1)
        await alice.submit(limit())
        assert len(store) == 2


async def expect_rolled_back(peer: gb.Peer) -> None:
    with pytest.raises(gb.WriteRolledBack):
        await peer.submit(limit())


@virtual_time
async def test_entries_of_others_that_could_not_be_written_are_written_later() -> None:
    network, store = gb.MemoryNetwork(), gb.MemoryStore()
    async with (
        gb.open_peer(
            GENESIS, keypair(1), transport=network.transport("a"), store=store, alone=True
        ) as alice,
        gb.open_peer(
            GENESIS, keypair(2), transport=network.transport("b"), bootstrap=["a"], alone=True
        ) as bob,
    ):
        await until(lambda: all_linked([alice, bob]), "linked")
        store.failing = True
        for _ in range(5):
            await bob.submit(limit())
            await trio.sleep(0.2)
        assert (alice.entry_count, len(store)) == (5, 0)
        store.failing = False
        await until(lambda: len(store) == 5, "written after all")
        await alice.submit(limit())
        assert len(store) == 6
    kept = [entry.seq for entry in store._entries if entry.author == bob.peer_id]
    assert kept == list(range(5)), "in order, each once"


@virtual_time
async def test_what_others_wrote_last_is_stored_though_our_own_write_ends_while_closing() -> None:
    """Closing waits for our own entry first; what had gathered by then is written after it."""
    network, store = gb.MemoryNetwork(), gb.MemoryStore()
    async with trio.open_nursery() as nursery, linked_peers(1, network=network) as (bob,):
        async with gb.open_peer(
            GENESIS,
            keypair(7),
            transport=network.transport("a"),
            bootstrap=["0"],
            alone=True,
            store=store,
        ) as alice:
            await until(lambda: all_linked([alice, bob]), "linked")
            await trio.sleep(1)
            store.write_s = 0.04
            nursery.start_soon(alice.submit, limit())
            await trio.sleep(0.001)
            await bob.submit(limit())
            await until(lambda: alice.entry_count == 1, "it has come", within_s=0.03)
        assert alice.entry_count == 2
        assert len(store) == 2
