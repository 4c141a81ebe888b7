"""The memory store: the suite of all stores, and its copies, failures and delays."""

from __future__ import annotations

import pytest
import trio
from storage.suite import OWNER, Place, StoreSuite, kept_at, proof_against, written_by
from twins.authors import GENESIS, TestAuthor
from twins.virtual_time import virtual_time

import gossipbook as gb
from gossipbook.errors import StoreError, WriteRolledBack
from gossipbook.storage.interface import Store

pytestmark = virtual_time


class TestMemoryStore(StoreSuite):
    """Every promise of a store."""

    @pytest.fixture
    def place(self) -> Place:
        store = gb.MemoryStore()
        return lambda: store

    def set_failing(self, store: Store, failing: bool) -> None:
        assert isinstance(store, gb.MemoryStore)
        store.failing = failing


class TestSlowMemoryStore(TestMemoryStore):
    """The same where every write takes 10 ms."""

    @pytest.fixture
    def place(self) -> Place:
        store = gb.MemoryStore(write_s=0.01)
        return lambda: store


async def test_a_write_takes_as_long_as_the_store_says() -> None:
    async with gb.MemoryStore(write_s=0.5).open(GENESIS, OWNER) as store:
        before_s = trio.current_time()
        await store.write(written_by(1, 1), (), 0)
        assert trio.current_time() - before_s == pytest.approx(0.5)


async def test_a_copy_is_a_backup_that_goes_its_own_way() -> None:
    first, second = written_by(1, 2)
    store = gb.MemoryStore(write_s=0.01)
    async with store.open(GENESIS, OWNER) as opened:
        await opened.write([first], [proof_against(2)], 7)
        backup = store.copy()
        await opened.write([second], [proof_against(3)], 9)
        kept = await kept_at(lambda: backup)  # while the original is in use
    assert (len(store), len(backup), backup.write_s) == (2, 1, 0.01)
    assert [entry.id for entry in kept.entries] == [first.id]
    assert (len(kept.proofs), kept.clock_high_water) == (1, 7)
    async with backup.open(GENESIS, OWNER) as opened:
        await opened.write([second, *written_by(2, 3)], (), 0)
    assert (len(store), len(backup)) == (2, 5)


async def test_a_copy_belongs_to_the_same_peer() -> None:
    store = gb.MemoryStore()
    async with store.open(GENESIS, OWNER):
        pass
    with pytest.raises(StoreError, match="belongs to peer"):
        async with store.copy().open(GENESIS, TestAuthor(2).author):
            pass


async def test_a_failing_store_fails_after_its_delay() -> None:
    store = gb.MemoryStore(write_s=0.5)

    async def fill_the_disk() -> None:
        await trio.sleep(0.1)
        store.failing = True

    async with store.open(GENESIS, OWNER) as opened, trio.open_nursery() as nursery:
        nursery.start_soon(fill_the_disk)
        with pytest.raises(WriteRolledBack, match="told to fail"):
            await opened.write(written_by(1, 1), (), 0)
        assert trio.current_time() == pytest.approx(0.5)
    assert len(store) == 0
