"""Durable submits, restarts and the collector: that the bench does what its tables say."""

import gc
import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import pytest
import trio

import gossipbook as gb
import gossipbook.clocks
import gossipbook.storage.sqlite
from bench import storage, storage_restart
from bench.report import Results
from gossipbook.book.payload import decode_payload
from gossipbook.storage.log_file import LogFile

KEY = storage_restart.keypair_of(0)


# ==================================================================== submits


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes in a file each time that it was synced by us (SQLite syncs by itself)."""
    sizes: list[int] = []
    name = "fdatasync" if hasattr(os, "fdatasync") else "fsync"
    sync = getattr(os, name)

    def counted(descriptor: int) -> None:
        sizes.append(os.fstat(descriptor).st_size)
        sync(descriptor)

    monkeypatch.setattr(os, name, counted)
    return sizes


def _submit(store: gb.MemoryStore | gb.SqliteStore, submitters: int) -> storage.Tally:
    async def submit() -> storage.Tally:
        tally = storage.Tally()
        async with gb.open_peer(storage.GENESIS, KEY, store=store, alone=True) as peer:
            await storage.submitting(peer, submitters, seed=1)(tally, 0.05)
            await storage.submitting(peer, submitters, seed=1)(tally, 0.05)
            assert len(peer.commands(storage.SYMBOL)) == tally.orders
        return tally

    return trio.run(submit)


def test_one_submitter_gets_an_entry_an_order_and_the_store_has_them(tmp_path: Path) -> None:
    tally = _submit(gb.SqliteStore(tmp_path / "peer.db"), 1)
    assert tally.orders == tally.commits == len(tally.delays_s) > 0
    assert sum(tally.delays_s) < tally.wall_s
    assert tally.processor_s > 0
    with closing(LogFile(tmp_path / "peer.db", storage.GENESIS, KEY.peer_id)) as file:
        assert len(file.load().entries) == tally.orders


def test_submitters_that_wait_share_entries() -> None:
    store = gb.MemoryStore(write_s=0.005)
    tally = _submit(store, 16)
    assert tally.commits == len(store)
    assert 1 < tally.orders_a_commit <= 16
    assert min(tally.delays_s) > 0.005


def _commit(commit: Callable[[int], None], size: int) -> storage.Tally:
    tally = storage.Tally()
    for _ in range(2):
        trio.run(storage.committing(commit, lambda: size), tally, 0.02)
    return tally


@pytest.mark.parametrize("size", [1, 7])
def test_bare_inserts_commit_the_orders_themselves_to_a_write_ahead_log(
    tmp_path: Path, size: int
) -> None:
    payloads = storage._payloads(seed=1)
    with storage.bare_inserts(tmp_path / "bare.db", payloads) as commit:
        tally = _commit(commit, size)
    assert tally.orders == size * tally.commits == size * len(tally.delays_s) > 0
    with closing(sqlite3.connect(tmp_path / "bare.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        rows = connection.execute("SELECT payload FROM orders ORDER BY number").fetchall()
    assert len(rows) == tally.orders
    assert [payload for (payload,) in rows] == list(islice(cycle(payloads), tally.orders))


def test_what_bare_variants_write_are_the_orders_that_the_peer_submits() -> None:
    market = storage.GENESIS.markets[0]
    orders = storage_restart.limit_orders(storage.SAMPLE_ORDERS, 1)
    for payload, order in zip(storage._payloads(seed=1), orders, strict=True):
        (instruction,) = decode_payload(payload, market_count=1)
        assert instruction.price == market.price_to_ticks(order.price)
        assert instruction.quantity == market.quantity_to_lots(order.quantity)


def test_bare_append_syncs_each_time_after_the_orders_are_in_the_file(
    tmp_path: Path, synced: list[int]
) -> None:
    with storage.bare_appends(tmp_path / "bare.log", [b"a", b"bc"]) as commit:
        tally = _commit(commit, 3)
    assert tally.orders == 3 * tally.commits
    assert len(synced) == tally.commits > 1
    assert synced[:2] == [4, 9]  # abca, bcabc
    assert synced == sorted(set(synced))  # it grew before every sync


def test_bare_variants_take_as_many_at_a_time_as_the_peer_did_and_warming_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, bool, int]] = []

    def submitting(peer: gb.Peer, submitters: int, seed: int) -> storage.Variant:
        async def run(tally: storage.Tally, seconds: float) -> None:
            calls.append(("peer", tally.orders == 0, submitters))
            tally.orders, tally.commits = tally.orders + 77, tally.commits + 10

        return run

    def committing(commit: object, size: Callable[[], int] = lambda: 1) -> storage.Variant:
        async def run(tally: storage.Tally, seconds: float) -> None:
            calls.append(("bare", tally.orders == 0, size()))
            tally.orders += 1

        return run

    monkeypatch.setattr(storage, "submitting", submitting)
    monkeypatch.setattr(storage, "committing", committing)
    tallies = trio.run(storage._round, tmp_path, 16, 3, 0.1, 1)
    turn = [("peer", 16), ("peer", 16), ("bare", 1), ("bare", 1), ("bare", 8), ("bare", 8)]
    assert [(who, size) for who, _, size in calls] == (storage.WARM_TURNS + 3) * turn
    fresh = [number // len(turn) for number, (_, is_fresh, _) in enumerate(calls) if is_fresh]
    assert fresh == [0] * len(turn) + [storage.WARM_TURNS] * len(turn)
    assert [tally.orders for tally in tallies.values()] == [231, 231, 3, 3, 3, 3]


def test_result_of_a_tally() -> None:
    tally = storage.Tally(200, 50, wall_s=4.0, processor_s=0.01, delays_s=[0.7, 0.5] + 98 * [0.001])
    assert tally.result() == {
        "orders": 200,
        "orders_per_s": 50.0,
        "orders_a_commit": 4.0,
        "commits_per_s": 12.5,
        "processor_us_per_order": pytest.approx(50.0),
        "p50_ms": 1.0,
        "p99_ms": 500.0,
    }


@pytest.mark.parametrize(("percent", "expected"), [(1, 1000), (50, 2000), (75, 3000), (100, 4000)])
def test_percentile_is_the_nearest_rank(percent: int, expected: float) -> None:
    assert storage_restart.percentile_ms((1.0, 2.0, 3.0, 4.0), percent) == expected


def _result(rate: float) -> Results:
    return {
        "orders_per_s": rate,
        "orders_a_commit": 8.0,
        "p50_ms": 1000 / rate,
        "p99_ms": 2000 / rate,
        "processor_us_per_order": 50.0,
    }


def test_submit_table_shows_medians_of_the_ratios_of_single_rounds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rates = {storage.OURS: (100, 300, 50), "append, as many a sync": (200, 200, 200)}
    found = {"16": {name: [_result(rate) for rate in three] for name, three in rates.items()}}
    storage.print_submits(found)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "gossipbook 100 (50-300) 8.0 10.00 20.00 50 1.00 (1.00-1.00)" in lines
    assert "append, as many a sync 200 (200-200) 8.0 5.00 10.00 50 0.50 (0.25-1.50)" in lines


# ==================================================================== restart


@pytest.mark.parametrize(("batch", "orders"), [(1, 600), (16, 600), (256, 6_000)])
def test_sample_log_holds_all_orders_in_entries_of_the_size_asked_for(
    batch: int, orders: int
) -> None:
    entries = list(storage_restart.sample_log(orders, batch, seed=1))
    sizes = [len(decode_payload(entry.payload, market_count=1)) for entry in entries]
    assert sum(sizes) == orders
    assert max(sizes) == batch
    assert len(entries) - orders // batch in range(storage_restart.AUTHORS + 1)  # what was left
    assert len({entry.author for entry in entries}) == storage_restart.AUTHORS
    assert [entry.hlc for entry in entries] == sorted(entry.hlc for entry in entries)
    again = list(storage_restart.sample_log(orders, batch, seed=1))
    assert [entry.id for entry in again] == [entry.id for entry in entries]


@pytest.mark.parametrize("collecting", [True, False])
def test_restart_finds_every_order_and_leaves_the_collector_on(
    tmp_path: Path, collecting: bool
) -> None:
    storage_restart.write_store(tmp_path / "peer.db", 3_000, 1, seed=1)
    found = storage_restart.measure_restart(str(tmp_path / "peer.db"), 3_000, collecting)
    assert 0 < found["read_s"] < found["body_s"] < found["settled_s"] < 60
    assert (found["collector_s"] > 0) == collecting
    assert gc.isenabled()


def test_restart_that_lacks_an_order_is_no_result(tmp_path: Path) -> None:
    storage_restart.write_store(tmp_path / "peer.db", 40, 4, seed=1)
    with pytest.raises(AssertionError, match="not every order"):
        storage_restart.measure_restart(str(tmp_path / "peer.db"), 41)


def test_profile_sees_the_file_being_read(tmp_path: Path) -> None:
    storage_restart.write_store(tmp_path / "peer.db", 200, 1, seed=1)
    table = storage_restart.profile_restart(str(tmp_path / "peer.db"), 200)["table"]
    assert "log_file.py" in table
    assert gossipbook.storage.sqlite.run_blocking is gossipbook.clocks.run_blocking


def test_restart_table(capsys: pytest.CaptureFixture[str]) -> None:
    def opened(settled_s: float) -> Results:
        return {
            "read_s": 0.25,
            "body_s": 0.5,
            "settled_s": settled_s,
            "collector_s": 0.125,
            "bytes_per_order": 1_234.0,
        }

    one = {
        "entries": 5_000,
        "file_bytes_per_order": 130.0,
        "plain": [opened(1.0), opened(3.0), opened(2.0)],
        "collector off": [opened(1.0), opened(1.5), opened(1.25)],
        "profile": "where it goes",
    }
    storage.print_restarts({"16": one}, 100_000)
    out = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "16 5,000 0.25 0.50 2.00 (1.00-3.00) 0.12 1.25 0.62 20.0 130 1,234" in lines
    assert "restart with 16 orders an entry, under cProfile" in lines
    assert "where it goes" in lines


# ==================================================================== collector


def test_collector_comes_by_seldom_once_it_is_told_to() -> None:
    run = partial(storage_restart.in_fresh_process, "trading", orders=200, more=2_000, seed=1)
    plain, tuned = run(tuning="as Python comes"), run(tuning="both")
    assert plain["collections"] > 2 * tuned["collections"]
    assert plain["longest_pause_ms"] > 0
    for found in (plain, tuned):
        assert 0 < found["delays_ms"]["50"] <= found["delays_ms"]["99"] <= found["delays_ms"]["100"]


def test_tunings_do_what_they_are_called() -> None:
    before = gc.get_threshold()
    try:
        for name, tuning in storage_restart.TUNINGS.items():
            for tune in tuning:
                tune()
            assert (gc.get_freeze_count() > 0) == (name in ("gc.freeze()", "both"))
            tuned = name == "both" or "threshold" in name
            assert gc.get_threshold() == (storage_restart.THRESHOLDS if tuned else before)
            gc.unfreeze()
            gc.set_threshold(*before)
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


def test_collector_table(capsys: pytest.CaptureFixture[str]) -> None:
    def traded(cost_us: float, pause_ms: float) -> Results:
        return {
            "processor_us_per_order": cost_us,
            "delays_ms": {"50": 1.0, "99": 2.0, "100": 3 * pause_ms},
            "collections": 40,
            "full_collections": 2,
            "collector_part": 0.125,
            "longest_pause_ms": pause_ms,
            "bytes_per_order": 640.0,
        }

    plain, frozen = list(storage_restart.TUNINGS)[:2]
    found = {
        plain: [traded(40.0, 90.0), traded(80.0, 110.0)],
        frozen: [traded(20.0, 5.0), traded(20.0, 7.0)],
    }
    storage.print_collector(found, 100_000, 50_000)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert f"{plain} 60.0 1.00 1.0 2.0 300 40 2 12.5% 100.0 640" in lines
    assert f"{frozen} 20.0 0.38 1.0 2.0 18 40 2 12.5% 6.0 640" in lines


# ==================================================================== the whole


def test_small_form_writes_its_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(storage, "SUBMITTERS", (1, 4))
    monkeypatch.setattr(storage, "SMALL_TURN_S", 0.01)
    monkeypatch.setattr(storage, "BATCHES", (16,))
    monkeypatch.setattr(storage, "SMALL_ORDERS", 400)
    monkeypatch.setattr(storage, "SMALL_MORE_ORDERS", 50)
    monkeypatch.setattr(storage, "TUNINGS", ["as Python comes"])
    folder, raw = tmp_path / "files", tmp_path / "raw.json"
    folder.mkdir()
    results = storage.main(["--small", "--directory", str(folder), "--json", str(raw)])
    assert json.loads(raw.read_text())["storage"] == results
    assert list(folder.iterdir()) == []
    assert list(results["submits"]["1"]) == [
        "gossipbook",
        "gossipbook, in memory",
        "SQLite, an order a commit",
        "append, an order a sync",
    ]
    (restart,) = results["restart"]["16"]["plain"]
    assert restart["bytes_per_order"] > 0
    assert results["restart"]["16"]["file_bytes_per_order"] > 400 / 16 * 64 / 400  # signatures
    assert [len(rounds) for rounds in results["collector"].values()] == [1]
    assert f"files in {folder}, file system " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--rounds", "0"], "give at least 1"),
        (["--orders", "0"], "give at least 1"),
        (["--directory", "/nowhere/at/all"], "give a directory that exists"),
    ],
)
def test_impossible_arguments_are_refused(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        storage.main(arguments)
    assert complaint in capsys.readouterr().err


# ==================================================================== the file system

MOUNTS = r"""22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:21 / /tmp rw shared:5 - tmpfs tmpfs rw,size=1g
24 23 254:1 / /tmp/a\040b rw - xfs /dev/vdb rw
25 22 254:2 / /data rw - btrfs /dev/vdc rw
26 25 254:3 / /data rw - zfs /dev/vdd rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/x", "ext4"),
        ("/tmp/x/y", "tmpfs"),
        ("/tmpx", "ext4"),
        ("/tmp/a b/c", "xfs"),
        ("/data/x", "zfs"),  # mounted over the other
    ],
)
def test_file_system_is_that_of_the_nearest_mount(tmp_path: Path, path: str, kind: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert storage.file_system_of(Path(path), mounts) == kind


def test_file_system_is_unknown_where_the_system_does_not_tell(tmp_path: Path) -> None:
    assert storage.file_system_of(tmp_path, tmp_path / "none") == "unknown"


@pytest.mark.parametrize(("kind", "warned"), [("tmpfs", True), ("ext4", False)])
def test_files_in_memory_are_warned_of(
    kind: str,
    warned: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(storage, "file_system_of", lambda path: kind)
    storage.main(["--small", "--only", "restart", "--orders", "16", "--directory", str(tmp_path)])
    assert ("a sync is free" in capsys.readouterr().err) == warned
