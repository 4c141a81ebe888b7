"""The SQLite store: the suite of all stores, and what becomes of a write when the disk fails.

Failures are made where SQLite has a hook for it: an authorizer that forbids an insert or a commit,
a limit on the number of pages. What a real disk does is tried in ``tests/crash``.
"""

from __future__ import annotations

import itertools
import logging
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from twins.authors import GENESIS
from twins.cancellation import cancelled_after
from twins.store_files import (
    OWNER,
    filled,
    folder_in_memory,
    overwrite,
    proof_against,
    tamper,
    written_by,
)
from twins.virtual_time import real_time, virtual_time

import gossipbook as gb
from gossipbook.errors import StoreError, WriteRolledBack, WriteUndecided
from gossipbook.genesis import Genesis
from gossipbook.identity import PeerId
from gossipbook.storage.interface import Store
from gossipbook.storage.log_file import LogFile
from gossipbook.storage.sqlite import OpenSqliteStore

pytest.register_assert_rewrite("storage.suite")

from storage.suite import Place, StoreSuite, check_entries, kept_at  # noqa: E402


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder


class BreakableStore(gb.SqliteStore):
    """A store whose inserts can be forbidden."""

    @asynccontextmanager
    async def open(self, genesis: Genesis, peer_id: PeerId) -> AsyncIterator[OpenSqliteStore]:
        async with super().open(genesis, peer_id) as self.in_use:
            yield self.in_use


def forbid(store: OpenSqliteStore, action: int | None, detail: str | None = None) -> None:
    """Have SQLite refuse one kind of statement; None: none any more."""

    def authorize(asked: int, what: str | None, *_: object) -> int:
        refused = asked == action and detail in (None, what)
        return sqlite3.SQLITE_DENY if refused else sqlite3.SQLITE_OK

    assert store._file is not None
    store._file._connection.set_authorizer(None if action is None else authorize)


class SqliteSuite(StoreSuite):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return lambda: BreakableStore(tmp_path / "peer.db")

    def set_failing(self, store: Store, failing: bool) -> None:
        assert isinstance(store, BreakableStore)
        forbid(store.in_use, sqlite3.SQLITE_INSERT if failing else None)


@real_time
class TestSqliteStore(SqliteSuite):
    """Every promise of a store, with worker threads."""


@virtual_time
class TestSqliteStoreInVirtualTime(SqliteSuite):
    """The same without."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "peer.db"


@pytest.fixture
def place(path: Path) -> Place:
    return lambda: gb.SqliteStore(path)


# ------------------------------------------------------------------ a write that fails


@virtual_time
async def test_a_full_disk_is_told_with_its_file_and_the_remedy(path: Path, place: Place) -> None:
    log = written_by(1, 200)
    async with gb.SqliteStore(path).open(GENESIS, OWNER) as store:
        await store.write(log[:2], (), 0)
        assert store._file is not None
        limit = "PRAGMA max_page_count = {}"
        store._file._connection.execute(limit.format(9))
        with pytest.raises(WriteRolledBack, match="make room on the disk") as refusal:
            await store.write(log[2:], (), 0)
        assert str(path) in str(refusal.value)
        store._file._connection.execute(limit.format(1_000_000))
        await store.write(log[2:], (), 0)
    check_entries(await kept_at(place), log)


@virtual_time
async def test_a_commit_that_did_not_happen_is_looked_for_and_rolled_back(
    place: Place, path: Path
) -> None:
    log = written_by(1, 3)
    async with gb.SqliteStore(path).open(GENESIS, OWNER) as store:
        await store.write(log[:1], (), 0)
        before = store._file
        forbid(store, sqlite3.SQLITE_TRANSACTION, "COMMIT")
        with pytest.raises(WriteRolledBack, match="see to the disk"):
            await store.write(log[1:], [proof_against(9)], 7)
        assert store._file is not before, "it looked with nothing of what it remembered"
        await store.write(log[1:], (), 0)
    kept = await kept_at(place)
    check_entries(kept, log)
    assert kept.proofs == ()


def failing_after(monkeypatch: pytest.MonkeyPatch, *, commit: bool) -> Callable[[], None]:
    """Every append ends with an error in its commit, which nevertheless took place, or did not.

    Returns what makes appends work again.
    """
    whole = LogFile.append

    def append(self: LogFile, *what: Any, **how: Any) -> None:
        if commit:
            whole(self, *what, **how)
        self.committing = True
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(LogFile, "append", append)
    return lambda: monkeypatch.setattr(LogFile, "append", whole)


@virtual_time
async def test_a_commit_that_failed_and_happened_stands(
    place: Place, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = written_by(1, 3)
    synced: list[str] = []
    durable = LogFile.make_durable

    def make_durable(self: LogFile) -> None:
        synced.append("synced")
        durable(self)

    async with gb.SqliteStore(path).open(GENESIS, OWNER) as store:
        await store.write(log[:1], (), 0)
        work_again = failing_after(monkeypatch, commit=True)
        monkeypatch.setattr(LogFile, "make_durable", make_durable)
        await store.write(log[1:2], (), 0)
        assert synced, "what can be read after a failed sync need not be on the disk"
        work_again()
        await store.write(log[2:], (), 0)
    check_entries(await kept_at(place), log)


@virtual_time
@pytest.mark.parametrize("commit", [True, False])
async def test_where_nobody_can_look_it_is_undecided_until_somebody_can(
    place: Place, path: Path, monkeypatch: pytest.MonkeyPatch, commit: bool
) -> None:
    log = written_by(1, 3)
    async with gb.SqliteStore(path).open(GENESIS, OWNER) as store:
        await store.write(log[:1], (), 0)
        work_again = failing_after(monkeypatch, commit=commit)
        with monkeypatch.context() as unreadable:

            def cannot(*_: object) -> None:
                raise StoreError("the disk does not answer")

            unreadable.setattr(LogFile, "read", cannot)
            with pytest.raises(WriteUndecided, match="the disk does not answer") as told:
                await store.write(log[1:2], (), 0)
            assert str(path) in str(told.value)
            for _ in range(2):
                with pytest.raises(WriteUndecided):
                    await store.was_written(log[1:2])
        work_again()
        assert await store.was_written(log[1:2]) == commit
        await store.write(log[1 + commit :], (), 0)
    check_entries(await kept_at(place), log)


@virtual_time
async def test_it_is_undecided_as_long_as_what_stands_cannot_be_synced(
    place: Place, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = written_by(1, 2)
    async with gb.SqliteStore(path).open(GENESIS, OWNER) as store:
        work_again = failing_after(monkeypatch, commit=True)
        with monkeypatch.context() as unsynced:

            def cannot(*_: object) -> None:
                raise sqlite3.OperationalError("disk I/O error")

            unsynced.setattr(LogFile, "make_durable", cannot)
            with pytest.raises(WriteUndecided):
                await store.write(log[:1], (), 0)
            with pytest.raises(WriteUndecided):
                await store.was_written(log[:1])
        work_again()
        assert await store.was_written(log[:1])
        await store.write(log[1:], (), 0)
    check_entries(await kept_at(place), log)


@virtual_time
async def test_proofs_and_peers_are_just_written_again(
    place: Place, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether they stand after a failed commit need not be known."""
    async with gb.SqliteStore(path).open(GENESIS, OWNER) as store:
        for commit in (True, False):
            work_again = failing_after(monkeypatch, commit=commit)
            with pytest.raises(WriteRolledBack):
                await store.write((), [proof_against(8)], 3)
            work_again()
            await store.write((), [proof_against(8)], 3)
    assert list((await kept_at(place)).proofs) == [proof_against(8)]


# ------------------------------------------------------------------ a file that changes meanwhile


@virtual_time
async def test_a_file_that_is_gone_is_not_replaced_by_a_new_one(
    place: Place, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder may come back; a new store would give used seqs out again."""
    log = written_by(1, 3)
    elsewhere = path.with_name("moved.db")
    async with gb.SqliteStore(path).open(GENESIS, OWNER) as store:
        await store.write(log[:1], (), 0)
        assert store._file is not None
        store._file.make_durable()
        work_again = failing_after(monkeypatch, commit=False)
        path.rename(elsewhere)
        with pytest.raises(WriteUndecided, match=str(path)):
            await store.write(log[1:], (), 0)
        with pytest.raises(WriteUndecided):
            await store.was_written(log[1:])
        assert not path.exists()
        work_again()
        elsewhere.rename(path)
        assert not await store.was_written(log[1:])
        await store.write(log[1:], (), 0)
    check_entries(await kept_at(place), log)


@virtual_time
async def test_what_is_found_damaged_meanwhile_is_left_to_the_next_start(
    place: Place, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The running peer knows more than what is left, so it cannot go on writing after it."""
    filled(path)
    log = written_by(1, 6)
    async with gb.SqliteStore(path).open(GENESIS, OWNER) as store:
        work_again = failing_after(monkeypatch, commit=False)
        signature = written_by(2, 5)[2].signature
        overwrite(path, path.read_bytes().index(signature), b"\0\0\0\0")
        damaged = path.read_bytes()
        with pytest.raises(WriteUndecided, match="checksum differs"):
            await store.write(log[5:], (), 0)
        work_again()
        with pytest.raises(WriteUndecided):
            await store.write(log[5:], (), 0)
        assert path.read_bytes() == damaged
    kept = await kept_at(place)
    assert "checksum differs" in kept.damage[0]
    assert len(kept.entries) == 12


# ------------------------------------------------------------------ opening


@virtual_time
async def test_damage_is_logged_and_handed_on(
    place: Place, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(path)
    tamper(path, "DELETE FROM entries WHERE author = 1 AND seq >= 3")
    with caplog.at_level(logging.WARNING, "gossipbook.storage"):
        kept = await kept_at(place)
    assert (kept.own_length, kept.own_suspect, len(kept.entries)) == (5, False, 13)
    assert len(kept.damage) == 2 and "3 entries are left of 5" in kept.damage[0]
    for what in kept.damage:
        assert f"{path}: {what}" in caplog.messages
    tamper(path, "DELETE FROM meta")
    kept = await kept_at(place)
    assert kept.damage and kept.own_suspect


@virtual_time
async def test_a_path_may_be_text_or_a_path(path: Path) -> None:
    for given in (str(path), path):
        store = gb.SqliteStore(given)
        assert (store.path, repr(store)) == (path, f"SqliteStore({str(path)!r})")
        async with store.open(GENESIS, OWNER):
            pass


@real_time
async def test_the_disk_is_waited_for_in_a_worker_thread(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work = {thread_of(monkeypatch, name) for name in ("__init__", "load", "append", "close")}
    async with gb.SqliteStore(path).open(GENESIS, OWNER) as store:
        await store.write(written_by(1, 1), (), 0)
    assert len(at_work) == 4 and all(
        threads and threading.main_thread() not in threads for threads in map(set, at_work)
    )


class Threads(list[threading.Thread]):
    """In which threads a method ran; hashed as itself."""

    __hash__ = object.__hash__  # type: ignore[assignment]


def thread_of(monkeypatch: pytest.MonkeyPatch, name: str) -> Threads:
    method = getattr(LogFile, name)
    threads = Threads()

    def spy(self: LogFile, *arguments: object, **options: object) -> object:
        threads.append(threading.current_thread())
        return method(self, *arguments, **options)

    monkeypatch.setattr(LogFile, name, spy)
    return threads


@real_time
async def test_an_opening_that_is_cancelled_leaves_the_store_free(place: Place, path: Path) -> None:
    """After each step of it in turn."""
    filled(path)

    async def open_and_close() -> None:
        async with gb.SqliteStore(path).open(GENESIS, OWNER):
            await trio.lowlevel.checkpoint()

    cancelled = 0
    for step_count in itertools.count():
        attempt = await cancelled_after(step_count, open_and_close)
        assert attempt.error is None
        cancelled += attempt.cancelled
        assert len((await kept_at(place)).entries) == 15
        if not attempt.struck:
            break
    assert cancelled > 0
