"""What every store promises, wherever it keeps things.

A store joins with a class of its own that derives from ``StoreSuite``: a fixture ``place``, which
gives a ``Store`` for one and the same place each time it is called, and ``set_failing``, which
makes every write to it fail, as a full disk does, or work again. The class is marked
``virtual_time``, or ``real_time`` where a disk is involved.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial

import pytest
import trio
from twins.authors import GENESIS, TestAuthor, at
from twins.cancellation import cancelled_after
from twins.store_files import OWNER, proof_against, written_by

import gossipbook as gb
from gossipbook.errors import StoreError, WriteRolledBack
from gossipbook.gossip.protocol import StoredState
from gossipbook.log.entry import Entry, encode_run
from gossipbook.log.fork import ForkProof
from gossipbook.storage.interface import Store

ELSEWHERE = gb.Genesis("elsewhere", GENESIS.markets, start=GENESIS.start_ms)

Place = Callable[[], Store]


async def write(place: Place, *entries: Entry, proofs: Sequence[ForkProof] = ()) -> None:
    """Open it, write once, close it."""
    async with place().open(GENESIS, OWNER) as store:
        await store.write(entries, proofs, 0)


async def kept_at(place: Place) -> StoredState:
    """What is there when it is opened."""
    async with place().open(GENESIS, OWNER) as store:
        return store.stored


def check_entries(kept: StoredState, entries: Sequence[Entry]) -> None:
    """These are kept, in every field, each author's in their order."""
    assert [entry.seq for entry in kept.entries if entry.author == OWNER] == list(
        range(sum(entry.author == OWNER for entry in entries))
    )
    assert by_author(kept.entries) == by_author(entries)


def by_author(entries: Sequence[Entry]) -> dict[gb.PeerId, list[tuple[bytes, bytes]]]:
    """Each entry with its id, its signature and all else that others are sent."""
    logs: dict[gb.PeerId, list[tuple[bytes, bytes]]] = {}
    for entry in entries:
        logs.setdefault(entry.author, []).append((entry.id, encode_run([entry])))
    return logs


def by_id(proofs: Sequence[ForkProof]) -> list[ForkProof]:
    return sorted(proofs, key=lambda proof: proof.author)


class StoreSuite:
    """Derive from it, and say where the store is and how it fails."""

    @pytest.fixture
    def place(self) -> Place:
        raise NotImplementedError("a fixture that gives stores for one place")

    def set_failing(self, store: Store, failing: bool) -> None:
        raise NotImplementedError("make writes fail, or work again")

    # ---------------------------------------------------------------- keeping

    async def test_a_new_store_is_empty(self, place: Place) -> None:
        assert await kept_at(place) == StoredState()

    async def test_what_was_written_is_there_on_reopening(self, place: Place) -> None:
        entries, proof = written_by(1, 3), proof_against(2)
        await write(place, *entries, proofs=[proof])
        kept = await kept_at(place)
        check_entries(kept, entries)
        assert list(kept.proofs) == [proof]
        for one in kept.proofs:
            one.check(GENESIS.network_id)

    async def test_each_authors_entries_come_back_in_their_order(self, place: Place) -> None:
        """Over several writes and several lives; none comes before the one it rests on."""
        authors = [written_by(number, 6) for number in (1, 2, 3)]
        interleaved = list(itertools.chain.from_iterable(zip(*authors, strict=True)))
        await write(place, *interleaved[:7])
        async with place().open(GENESIS, OWNER) as store:
            await store.write(interleaved[7:8], (), 0)
            await store.write(interleaved[8:13], (), 0)
        await write(place, *interleaved[13:])
        check_entries(await kept_at(place), interleaved)

    async def test_large_and_many_entries_are_kept(self, place: Place) -> None:
        author = TestAuthor(2)
        large = [author.write(hlc=at(step), payload=bytes([step]) * 60_000) for step in range(20)]
        many = written_by(3, 1_000)
        await write(place, *large, *many)
        check_entries(await kept_at(place), [*large, *many])

    async def test_proofs_are_kept_over_many_writes(self, place: Place) -> None:
        proofs = [proof_against(number) for number in range(2, 6)]
        for proof in proofs:
            await write(place, proofs=[proof])
        assert by_id((await kept_at(place)).proofs) == by_id(proofs)

    async def test_what_was_there_at_opening_does_not_change_with_writing(
        self, place: Place
    ) -> None:
        first, second = written_by(1, 2)
        await write(place, first)
        async with place().open(GENESIS, OWNER) as store:
            await store.write([second], [proof_against(2)], at(5))
            assert [entry.id for entry in store.stored.entries] == [first.id]
            assert (store.stored.proofs, store.stored.clock_high_water) == ((), 0)

    async def test_a_write_of_nothing_but_the_clock_keeps_the_clock(self, place: Place) -> None:
        async with place().open(GENESIS, OWNER) as store:
            await store.write((), (), at(7))
        assert await kept_at(place) == StoredState((), (), at(7))

    async def test_peers_are_kept_each_at_its_latest_address(self, place: Place) -> None:
        alice, bob = TestAuthor(2).author, TestAuthor(3).author
        async with place().open(GENESIS, OWNER) as store:
            await store.write((), (), 0, [(alice, b"here"), (bob, b"there")])
            await store.write((), (), 0, [(alice, b"moved")])
        async with place().open(GENESIS, OWNER) as store:
            await store.write((), (), 0)
        assert dict((await kept_at(place)).peers) == {alice: b"moved", bob: b"there"}

    async def test_the_clock_only_ever_rises(self, place: Place) -> None:
        for high_water, kept in ((at(5), at(5)), (at(3), at(5)), (0, at(5)), (at(6), at(6))):
            async with place().open(GENESIS, OWNER) as store:
                await store.write((), (), high_water)
            assert (await kept_at(place)).clock_high_water == kept

    async def test_the_highest_clock_that_can_be_is_kept(self, place: Place) -> None:
        async with place().open(GENESIS, OWNER) as store:
            await store.write((), (), (1 << 63) - 1)
        assert (await kept_at(place)).clock_high_water == (1 << 63) - 1

    # ---------------------------------------------------------------- all or nothing

    async def test_a_write_that_fails_leaves_nothing(self, place: Place) -> None:
        before = written_by(1, 2)
        await write(place, *before)
        store = place()
        async with store.open(GENESIS, OWNER) as opened:
            self.set_failing(store, True)
            with pytest.raises(WriteRolledBack):
                await opened.write(written_by(2, 50), [proof_against(3)], at(99))
            self.set_failing(store, False)
        kept = await kept_at(place)
        check_entries(kept, before)
        assert (tuple(kept.proofs), kept.clock_high_water) == ((), 0)

    async def test_a_store_that_failed_can_be_written_to_again(self, place: Place) -> None:
        first, second = written_by(1, 2)
        store = place()
        async with store.open(GENESIS, OWNER) as opened:
            await opened.write([first], (), at(1))
            self.set_failing(store, True)
            for _ in range(3):
                with pytest.raises(WriteRolledBack):
                    await opened.write([second], (), at(2))
            self.set_failing(store, False)
            await opened.write([second], (), at(2))
        kept = await kept_at(place)
        check_entries(kept, [first, second])
        assert kept.clock_high_water == at(2)

    async def test_a_cancelled_write_has_written_nothing_and_any_other_all(
        self, place: Place
    ) -> None:
        """Cancelled after each step of it in turn, until it gets through."""
        expected: list[Entry] = []
        proofs: list[ForkProof] = []
        cancelled = 0
        for step_count in itertools.count():
            entries, proof = written_by(step_count + 1, 5), proof_against(step_count + 1)
            async with place().open(GENESIS, OWNER) as store:
                attempt = await cancelled_after(
                    step_count, partial(store.write, entries, [proof], 0)
                )
            assert attempt.error is None
            cancelled += attempt.cancelled
            if not attempt.cancelled:
                expected += entries
                proofs.append(proof)
            kept = await kept_at(place)
            check_entries(kept, expected)
            assert by_id(kept.proofs) == by_id(proofs)
            if not attempt.struck:
                break
        assert cancelled > 0

    async def test_a_write_begun_before_the_block_is_left_is_whole(self, place: Place) -> None:
        """A peer that is closed waits for its writes; one that is torn down may not."""
        entries = written_by(1, 5)
        with trio.CancelScope() as scope:
            async with place().open(GENESIS, OWNER) as store, trio.open_nursery() as nursery:
                nursery.start_soon(store.write, entries, (), 0)
                scope.cancel()
        kept = [entry.id for entry in (await kept_at(place)).entries]
        assert kept in ([], [entry.id for entry in entries])

    async def test_a_store_can_be_asked_whether_a_write_stands(self, place: Place) -> None:
        first, second, third = written_by(1, 3)
        async with place().open(GENESIS, OWNER) as store:
            await store.write([first, second], (), 0)
            assert await store.was_written([first, second])
            assert not await store.was_written([third])
            await store.write([third], (), 0)
            assert await store.was_written([third])
        check_entries(await kept_at(place), [first, second, third])

    # ---------------------------------------------------------------- whose it is

    async def test_a_second_opener_is_refused_and_harms_nobody(self, place: Place) -> None:
        first, second = written_by(1, 2)
        async with place().open(GENESIS, OWNER) as opened:
            await opened.write([first], (), 0)
            with pytest.raises(StoreError, match="in use"):
                async with place().open(GENESIS, OWNER):
                    pass
            await opened.write([second], (), 0)
            with pytest.raises(StoreError, match="in use"):
                async with place().open(GENESIS, OWNER):
                    pass
        check_entries(await kept_at(place), [first, second])

    async def test_it_can_be_opened_again_after_an_exception(self, place: Place) -> None:
        (entry,) = written_by(1, 1)
        with pytest.raises(ZeroDivisionError):
            async with place().open(GENESIS, OWNER) as store:
                await store.write([entry], (), 0)
                raise ZeroDivisionError
        check_entries(await kept_at(place), [entry])

    async def test_another_key_is_refused_with_both_keys_named(self, place: Place) -> None:
        (entry,) = written_by(1, 1)
        await write(place, entry)
        other = TestAuthor(2).author
        with pytest.raises(StoreError) as refusal:
            async with place().open(GENESIS, other):
                pass
        for peer_id in (OWNER, other):
            assert peer_id.hex()[:8] in str(refusal.value)
        check_entries(await kept_at(place), [entry])

    async def test_another_network_is_refused_with_both_networks_named(self, place: Place) -> None:
        (entry,) = written_by(1, 1)
        await write(place, entry)
        with pytest.raises(StoreError) as refusal:
            async with place().open(ELSEWHERE, OWNER):
                pass
        for genesis in (GENESIS, ELSEWHERE):
            names = repr(genesis.name), genesis.network_id.hex()[:16]
            assert any(name in str(refusal.value) for name in names)
        check_entries(await kept_at(place), [entry])
