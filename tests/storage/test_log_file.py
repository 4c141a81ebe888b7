"""One store file: what is written, what is checked, what each kind of damage leads to."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import cbor2
import pytest
from blake3 import blake3
from twins.authors import GENESIS, TestAuthor, at
from twins.store_files import (
    NOTHING,
    OWNER,
    PAGE_BYTES,
    Contents,
    FilledStore,
    contents_of,
    filled,
    folder_in_memory,
    opened,
    overwrite,
    page_of,
    peer_at,
    proof_against,
    root_page,
    tamper,
    written_by,
)

import gossipbook as gb
from gossipbook.errors import StoreError
from gossipbook.identity import PeerId
from gossipbook.storage import log_file
from gossipbook.storage.log_file import Loaded, LogFile

OTHER = TestAuthor(2).author
THIRD = TestAuthor(3).author


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "peer.db"


@pytest.fixture
def whole(path: Path) -> Contents:
    """What the store at ``path`` holds: three logs of five entries, two proofs, two peers."""
    return filled(path)


def reported(loaded: Loaded, *words: str) -> None:
    """The damage is told, in these words, and so is where the file was kept."""
    text = "; ".join(loaded.damage)
    for word in words:
        assert word in text, f"{word!r} is not in {text!r}"
    kept = loaded.damage[-1].rpartition(" ")[2]
    assert kept.rpartition("-")[0].endswith(".damaged") and Path(kept).exists()


def in_use(path: Path) -> LogFile:
    return LogFile(path, GENESIS, OWNER)


# ------------------------------------------------------------------ the format


def test_what_was_written_is_read_back_bit_by_bit(path: Path, whole: Contents) -> None:
    loaded = opened(path)
    assert contents_of(loaded) == whole
    assert (loaded.own_length, loaded.own_suspect, loaded.damage) == (5, False, [])


def test_a_new_file_holds_nothing(path: Path) -> None:
    loaded = opened(path)
    assert contents_of(loaded) == NOTHING
    assert (loaded.own_length, loaded.own_suspect, loaded.damage) == (0, False, [])


def test_the_file_says_that_it_is_ours_and_of_which_format(path: Path, whole: Contents) -> None:
    header = path.read_bytes()[:100]
    assert header[68:72] == b"gbs1" and header[60:64] == bytes([0, 0, 0, 1])


def checksum(*values: object) -> bytes:
    """As the format says: BLAKE3 over a tag with its length and the canonical CBOR of a row."""
    tag = b"gossipbook store"
    return blake3(bytes([len(tag)]) + tag + cbor2.dumps(list(values))).digest()[:16]


def test_rows_are_laid_out_as_the_format_says(path: Path, whole: Contents) -> None:
    entry = written_by(2, 4)[3]
    proof, (peer, address) = proof_against(8), peer_at(6, "six:7000")
    with closing(sqlite3.connect(path)) as connection:

        def row(statement: str) -> tuple[object, ...]:
            (found,) = connection.execute(statement).fetchall()
            return tuple(found)

        assert row("SELECT * FROM entries WHERE author = 2 AND seq = 3") == (
            *(2, 3, at(3), 0, entry.payload, entry.signature),
            checksum(entry.id, entry.signature),
        )
        head = written_by(2, 5)[4].id
        assert row("SELECT author, length, head FROM authors WHERE number = 2") == (OTHER, 5, head)
        found = row("SELECT * FROM proofs WHERE rowid = 1")
        assert found == (proof.author, proof.encode(), checksum(proof.encode()))
        assert row("SELECT * FROM peers WHERE rowid = 1") == (
            *(peer, address),
            checksum(peer, address),
        )
        meta = (GENESIS.encode(), OWNER, at(9), 5, 0)
        assert row("SELECT * FROM meta") == (1, *meta, checksum(*meta))


def test_every_commit_is_synced_to_a_write_ahead_log(path: Path) -> None:
    with closing(in_use(path)) as file:

        def pragma(name: str) -> object:
            return file._connection.execute(f"PRAGMA {name}").fetchone()[0]

        assert pragma("journal_mode") == b"wal"
        assert pragma("synchronous") == 2, "FULL"
        assert pragma("locking_mode") == b"exclusive"


def test_reading_a_sound_file_changes_nothing(path: Path, whole: Contents) -> None:
    before = path.read_bytes()
    for _ in range(3):
        opened(path)
    assert path.read_bytes() == before
    assert sorted(one.name for one in path.parent.iterdir()) == ["peer.db", "peer.db.lock"]


def test_an_entry_that_does_not_continue_its_log_is_never_written(path: Path) -> None:
    log = written_by(2, 5)
    with closing(in_use(path)) as file:
        file.load()
        file.append(log[:2], (), 0)
        for wrong in (log[3:4], log[1:2], [log[2], log[4]]):
            with pytest.raises(AssertionError, match="does not continue the log on disk"):
                file.append(wrong, (), 0)
            file.roll_back()
        file.append(log[2:], (), 0)
    assert contents_of(opened(path)) == NOTHING.after(log)


def test_holds_knows_an_entry_from_another_of_the_same_seq(path: Path, whole: Contents) -> None:
    ours = written_by(1, 6)
    other = TestAuthor(1).write(hlc=at(77))
    with closing(in_use(path)) as file:
        file.load()
        assert [file.holds(entry) for entry in ours] == [True] * 5 + [False]
        assert not file.holds(other)
        assert not file.holds(written_by(4, 1)[0])


def test_after_a_rollback_the_same_entries_can_be_written(path: Path) -> None:
    log = written_by(1, 3)
    with closing(in_use(path)) as file:
        file.load()
        file.append(log[:1], (), at(1))
        file._connection.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)
        with pytest.raises(sqlite3.Error):
            file.append(log[1:], [proof_against(9)], at(2), [peer_at(6)])
        file._connection.set_authorizer(None)
        file.append(log[1:], (), at(3))
    assert contents_of(opened(path)) == NOTHING.after(log, (), at(3))


def test_it_is_certain_that_nothing_was_written_before_the_commit(path: Path) -> None:
    """And not certain any more once the commit was tried."""

    def refuse(what: str) -> Callable[..., int]:
        def authorize(action: int, *details: object) -> int:
            refused = action == sqlite3.SQLITE_TRANSACTION and details[0] == what
            return sqlite3.SQLITE_DENY if refused else sqlite3.SQLITE_OK

        return authorize

    with closing(in_use(path)) as file:
        file.load()
        file._connection.set_authorizer(
            lambda action, *_: (
                sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_INSERT else sqlite3.SQLITE_OK
            )
        )
        with pytest.raises(sqlite3.Error):
            file.append(written_by(1, 1), (), 0)
        assert (file.committing, file.roll_back()) == (False, True)
        file._connection.set_authorizer(refuse("COMMIT"))
        with pytest.raises(sqlite3.Error):
            file.append(written_by(1, 1), (), 0)
        assert (file.committing, file.roll_back()) == (True, False)
    assert contents_of(opened(path)) == NOTHING


def test_a_peer_that_moved_is_remembered_where_it_is_now(path: Path) -> None:
    with closing(in_use(path)) as file:
        file.load()
        file.append((), (), 0, [peer_at(6, "old:1"), peer_at(7, "seven:1")])
        file.append((), (), 0, [peer_at(6, "new:1")])
    assert sorted(opened(path).peers) == sorted([peer_at(6, "new:1"), peer_at(7, "seven:1")])


# ------------------------------------------------------------------ who may open it


def test_another_key_or_network_is_refused(path: Path, whole: Contents) -> None:
    elsewhere = gb.Genesis("elsewhere", GENESIS.markets, start=GENESIS.start_ms)
    with closing(LogFile(path, GENESIS, OTHER)) as file, pytest.raises(StoreError) as refusal:
        file.load()
    for name in (str(path), OWNER.hex()[:8], OTHER.hex()[:8]):
        assert name in str(refusal.value)
    with closing(LogFile(path, elsewhere, OWNER)) as file, pytest.raises(StoreError) as refusal:
        file.load()
    for name in (str(path), "'test'", "'elsewhere'"):
        assert name in str(refusal.value)
    assert contents_of(opened(path)) == whole


HOLDER = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from twins.store_files import hold_open
hold_open(Path(sys.argv[1]))
"""


@pytest.fixture
def holder(path: Path, whole: Contents) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the store open."""
    program = [sys.executable, "-c", HOLDER.format(path=sys.path), str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(program, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process
        process.kill()


def test_a_store_open_in_another_process_is_in_use(
    path: Path, whole: Contents, holder: subprocess.Popen[str]
) -> None:
    with pytest.raises(StoreError, match=rf"in use by another peer \(process {holder.pid}\)"):
        in_use(path)
    holder.kill()
    holder.wait()
    assert contents_of(opened(path)) == whole, "who was killed holds no lock"


def test_a_store_open_in_this_process_is_in_use(path: Path, whole: Contents) -> None:
    with closing(in_use(path)) as file:
        file.load()
        for _ in range(2):
            with pytest.raises(StoreError, match=rf"in use .*process {os.getpid()}"):
                in_use(path)
        file.append(written_by(1, 6)[5:], (), 0)
    assert opened(path).own_length == 6


@pytest.mark.parametrize("begin", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_a_store_that_another_program_writes_to_is_in_use(
    path: Path, whole: Contents, begin: str
) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(begin)
        with pytest.raises(StoreError, match=f"{path} is in use by another process"):
            opened(path)
    assert contents_of(opened(path)) == whole


def test_without_file_locks_sqlite_keeps_the_second_out(
    path: Path, whole: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows."""
    monkeypatch.setattr(log_file, "fcntl", None)
    with closing(in_use(path)) as file:
        file.load()
        with pytest.raises(StoreError, match="in use by another process"):
            in_use(path)
    assert contents_of(opened(path)) == whole


def test_a_refused_opening_leaves_no_lock(path: Path, whole: Contents) -> None:
    overwrite(path, 60, bytes([0, 0, 0, 9]))
    with pytest.raises(StoreError, match="newer gossipbook"):
        in_use(path)
    overwrite(path, 60, bytes([0, 0, 0, 1]))
    assert contents_of(opened(path)) == whole


@pytest.mark.parametrize("name", ["no folder/peer.db", "."])
def test_what_cannot_be_a_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="cannot be opened") as refusal:
        in_use(tmp_path / name)
    assert str(tmp_path / name) in str(refusal.value)


def test_a_file_that_is_no_database_is_left_alone(path: Path) -> None:
    text = b"My dear diary, " * 1_000
    path.write_bytes(text)
    with pytest.raises(StoreError, match="is no store of gossipbook") as refusal:
        in_use(path)
    assert str(path) in str(refusal.value) and path.read_bytes() == text


@pytest.mark.parametrize("journal_mode", ["DELETE", "WAL"])
def test_the_database_of_another_program_is_left_alone(path: Path, journal_mode: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal_mode}")
        connection.execute("CREATE TABLE bookmarks (title)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="database of another program"):
        in_use(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("size", [0, 1, 60])
def test_an_empty_file_is_no_new_store(path: Path, whole: Contents, size: int) -> None:
    """It may be what is left of an old one, whose seqs must not be used again."""
    os.truncate(path, size)
    for _ in range(2):
        with pytest.raises(StoreError) as refusal:
            in_use(path)
        assert str(path) in str(refusal.value)


def test_a_new_store_does_not_read_the_log_of_a_deleted_one(path: Path) -> None:
    """Who deletes the file may leave its write-ahead log behind."""
    store = FilledStore(path)
    store.commit(written_by(1, 3))
    store.found_after(path.with_name("found.db"))
    store.close()
    path.unlink()
    shutil.copyfile(path.with_name("found.db-wal"), f"{path}-wal")
    assert contents_of(opened(path)) == NOTHING
    assert contents_of(opened(path)) == NOTHING


# ------------------------------------------------------------------ other formats


def test_a_newer_format_is_refused_and_not_touched(path: Path, whole: Contents) -> None:
    overwrite(path, 60, bytes([0, 0, 0, 2]))
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"newer gossipbook \(format 2, this one knows 1\)"):
        in_use(path)
    assert path.read_bytes() == before


def test_an_older_format_is_upgraded_step_by_step(
    path: Path, whole: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "SCHEMA_VERSION", 3)
    monkeypatch.setitem(log_file.UPGRADES, 1, "CREATE TABLE steps (reached INTEGER);")
    monkeypatch.setitem(log_file.UPGRADES, 2, "INSERT INTO steps VALUES (3);")
    assert contents_of(opened(path)) == whole
    assert contents_of(opened(path)) == whole, "and only once"
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT * FROM steps").fetchall() == [(3,)]
        assert connection.execute("PRAGMA user_version").fetchone() == (3,)


def test_an_upgrade_that_fails_changes_nothing(
    path: Path, whole: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(log_file, "SCHEMA_VERSION", 2)
        patch.setitem(log_file.UPGRADES, 1, "DELETE FROM entries; SELECT * FROM nowhere;")
        with pytest.raises(StoreError, match=str(path)):
            in_use(path)
    assert contents_of(opened(path)) == whole


@pytest.mark.parametrize("version", [bytes(4), b"\x80\x00\x00\x01", b"\xff\xff\xff\xff"])
def test_a_format_that_never_was_is_refused(path: Path, whole: Contents, version: bytes) -> None:
    overwrite(path, 60, version)
    with pytest.raises(StoreError, match=str(path)):
        in_use(path)


# ------------------------------------------------------------------ damage to entries


ENTRY_3 = "WHERE author = (SELECT number FROM authors WHERE author = ?) AND seq = 3"

ENTRY_DAMAGE = {
    "a payload": "UPDATE entries SET payload = zeroblob(length(payload))",
    "an empty payload": "UPDATE entries SET payload = x''",
    "a signature": "UPDATE entries SET signature = randomblob(64)",
    "a short signature": "UPDATE entries SET signature = substr(signature, 1, 63)",
    "a timestamp": "UPDATE entries SET hlc = hlc + 1",
    "a negative timestamp": "UPDATE entries SET hlc = -hlc",
    "a kind": "UPDATE entries SET kind = 1",
    "a checksum": "UPDATE entries SET checksum = zeroblob(16)",
    "no checksum": "UPDATE entries SET checksum = NULL",
    "text for a payload": "UPDATE entries SET payload = 'sell everything'",
    "a number for a payload": "UPDATE entries SET payload = 1.5",
    "nothing for a payload": "UPDATE entries SET payload = NULL",
    "nothing for a signature and its checksum": (
        "UPDATE entries SET signature = NULL, checksum = NULL"
    ),
    "a fraction for a timestamp": "UPDATE entries SET hlc = 0.5",
    "bytes for a timestamp": "UPDATE entries SET hlc = x'00'",
    "a fraction for a seq": "UPDATE entries SET seq = 3.5",
    "bytes for a seq": "UPDATE entries SET seq = x'03'",
    "a seq from nowhere": "UPDATE entries SET seq = 77",
    "another author": "UPDATE entries SET author = 99",
    "bytes for an author": "UPDATE entries SET author = x'02'",
    "a missing row": "DELETE FROM entries",
}


@pytest.mark.parametrize("damage", ENTRY_DAMAGE)
@pytest.mark.parametrize("author", [OWNER, OTHER], ids=["our own", "another's"])
def test_a_log_is_cut_before_a_damaged_entry(
    path: Path, whole: Contents, author: PeerId, damage: str
) -> None:
    tamper(path, f"{ENTRY_DAMAGE[damage]} {ENTRY_3}", author)
    loaded = opened(path)
    reported(loaded, f"log of {author.hex()[:8]}")
    expected = dict(whole.logs)
    expected[author] = whole.logs[author][:3]
    assert contents_of(loaded).logs == expected
    assert contents_of(loaded).proofs == whole.proofs
    assert contents_of(loaded).peers == whole.peers
    assert loaded.clock_high_water == whole.clock_high_water
    assert loaded.own_length == 5, "as long as it was"


def test_bytes_that_are_taken_for_text_are_the_same_bytes(path: Path, whole: Contents) -> None:
    """The type is one bit of the row; what the checksum covers is the content."""
    tamper(path, f"UPDATE entries SET payload = CAST(payload AS TEXT) {ENTRY_3}", OTHER)
    assert contents_of(opened(path)) == whole


@pytest.mark.parametrize("left", range(5))
@pytest.mark.parametrize("author", [OWNER, OTHER], ids=["our own", "another's"])
def test_a_missing_tail_is_missed(path: Path, whole: Contents, author: PeerId, left: int) -> None:
    where = "author = (SELECT number FROM authors WHERE author = ?) AND seq >= ?"
    tamper(path, f"DELETE FROM entries WHERE {where}", author, left)
    loaded = opened(path)
    reported(loaded, f"log of {author.hex()[:8]}: {left} entries are left of 5")
    assert contents_of(loaded).logs.get(author, ()) == whole.logs[author][:left]
    assert loaded.own_length == 5


def test_an_old_tail_in_place_of_the_right_one_is_no_continuation(
    path: Path, whole: Contents
) -> None:
    """Entry 4 as the same author might have written it, with a checksum of its own."""
    branch = TestAuthor(2)
    branch.entries = written_by(2, 4)
    entry = branch.write(hlc=at(99))
    tamper(
        path,
        "UPDATE entries SET hlc = ?, payload = ?, signature = ?, checksum = ? "
        "WHERE author = 2 AND seq = 4",
        *(entry.hlc, entry.payload, entry.signature, checksum(entry.id, entry.signature)),
    )
    reported(opened(path), f"log of {OTHER.hex()[:8]}")


# ------------------------------------------------------------------ damage to the other rows


AUTHOR_DAMAGE = {
    "a name": "UPDATE authors SET author = zeroblob(32)",
    "a length": "UPDATE authors SET length = 4",
    "a head": "UPDATE authors SET head = zeroblob(32)",
    "a number": "UPDATE authors SET number = 9",
    "a checksum": "UPDATE authors SET checksum = zeroblob(16)",
    "no length and no checksum": "UPDATE authors SET length = NULL, checksum = NULL",
    "a fraction for a name and no checksum": "UPDATE authors SET author = 1.5, checksum = NULL",
    "a missing row": "DELETE FROM authors",
}


@pytest.mark.parametrize("damage", AUTHOR_DAMAGE)
@pytest.mark.parametrize("author", [OWNER, OTHER, THIRD], ids=["our own", "another's", "the last"])
def test_a_log_without_its_author_is_dropped(
    path: Path, whole: Contents, author: PeerId, damage: str
) -> None:
    tamper(path, f"{AUTHOR_DAMAGE[damage]} WHERE author = ?", author)
    loaded = opened(path)
    reported(loaded, "author")
    expected = dict(whole.logs)
    del expected[author]
    assert contents_of(loaded).logs == expected
    assert loaded.own_length == 5


@pytest.mark.parametrize("damage", AUTHOR_DAMAGE)
def test_a_dropped_log_can_be_written_anew(path: Path, whole: Contents, damage: str) -> None:
    tamper(path, f"{AUTHOR_DAMAGE[damage]} WHERE author = ?", THIRD)
    with closing(in_use(path)) as file:
        file.load()
        file.append([*written_by(4, 2), *written_by(3, 5)], (), 0)
    loaded = opened(path)
    assert loaded.damage == []
    assert contents_of(loaded) == whole.after(written_by(4, 2))


META_DAMAGE = {
    "a genesis": "UPDATE meta SET genesis = x'80'",
    "no genesis": "UPDATE meta SET genesis = NULL, checksum = NULL",
    "a peer": "UPDATE meta SET peer_id = zeroblob(32)",
    "a clock": "UPDATE meta SET clock_high_water = 7",
    "a fraction for a clock": "UPDATE meta SET clock_high_water = 1.5, checksum = NULL",
    "a length": "UPDATE meta SET own_length = 1",
    "a suspicion": "UPDATE meta SET suspect = 1",
    "a checksum": "UPDATE meta SET checksum = zeroblob(16)",
    "a missing row": "DELETE FROM meta",
}


@pytest.mark.parametrize("damage", META_DAMAGE)
def test_without_the_row_about_ourselves_our_own_log_is_suspect(
    path: Path, whole: Contents, damage: str
) -> None:
    """It may have been longer: everything else is there, but nothing says so any more."""
    tamper(path, META_DAMAGE[damage])
    loaded = opened(path)
    reported(loaded, "the row that names network, peer and clock")
    found = contents_of(loaded)
    assert (found.logs, found.proofs, found.peers) == (whole.logs, whole.proofs, whole.peers)
    assert (loaded.own_length, loaded.own_suspect) == (5, True)


ROW_DAMAGE = {
    "an altered value": "UPDATE {table} SET {value} = zeroblob(length({value}))",
    "no value and no checksum": "UPDATE {table} SET {value} = NULL, checksum = NULL",
    "a fraction and no checksum": "UPDATE {table} SET {value} = 1.5, checksum = NULL",
    "no checksum": "UPDATE {table} SET checksum = NULL",
    "no name and no checksum": "UPDATE {table} SET {name} = NULL, checksum = NULL",
}


@pytest.mark.parametrize("damage", ROW_DAMAGE)
@pytest.mark.parametrize(
    ("table", "value", "name"), [("proofs", "proof", "author"), ("peers", "address", "peer_id")]
)
def test_a_damaged_proof_or_peer_is_dropped(
    path: Path, whole: Contents, table: str, value: str, name: str, damage: str
) -> None:
    statement = ROW_DAMAGE[damage].format(table=table, value=value, name=name)
    tamper(path, f"{statement} WHERE rowid = 1")
    loaded = opened(path)
    reported(loaded, {"proofs": "fork proof of", "peers": "the address of a peer"}[table])
    found = contents_of(loaded)
    assert found.is_part_of(whole) and found.logs == whole.logs
    lost = {"proofs": (1, 2), "peers": (2, 1)}[table]
    assert (len(found.proofs), len(found.peers)) == lost
    assert (loaded.own_length, loaded.own_suspect) == (5, False)


# ------------------------------------------------------------------ damage to pages


@pytest.fixture
def long_store(path: Path) -> Contents:
    """Three logs of a hundred entries: the entries take many pages, author by author."""
    store = FilledStore(path)
    logs = [written_by(number, 100) for number in (2, 1, 3)]
    for log in logs:  # numbers follow the order of writing: 2 is the first author
        store.commit(log)
    store.commit((), [proof_against(8), proof_against(9)], at(200), [peer_at(6), peer_at(7)])
    return store.close()


@pytest.mark.parametrize("seq", [0, 50, 99])
@pytest.mark.parametrize("author", [OTHER, OWNER, THIRD], ids=["first", "own", "last"])
def test_an_unreadable_page_costs_what_comes_after_it_in_that_log(
    path: Path, long_store: Contents, author: PeerId, seq: int
) -> None:
    number = {OTHER: 2, OWNER: 1, THIRD: 3}[author]
    entry = written_by(number, seq + 1)[seq]
    page = page_of(path, entry.signature)
    lost = path.read_bytes()[page : page + PAGE_BYTES]
    hurt = {
        one: min(at for at, entry in enumerate(written_by(its, 100)) if entry.signature in lost)
        for one, its in ((OTHER, 2), (OWNER, 1), (THIRD, 3))
        if any(entry.signature in lost for entry in written_by(its, 100))
    }
    overwrite(path, page, bytes(PAGE_BYTES))
    loaded = opened(path)
    reported(loaded, "malformed")
    found = contents_of(loaded)
    for one, log in long_store.logs.items():
        # An interior page has a row of its own, which may separate the damaged one: one less.
        expected = hurt.get(one, 100)
        assert found.length(one) in (expected, max(expected - 1, 0)), one
        assert found.logs.get(one, ()) == log[: found.length(one)]
    assert (found.proofs, found.peers) == (long_store.proofs, long_store.peers)
    assert (loaded.own_length, loaded.own_suspect) == (100, False)


@pytest.mark.parametrize("table", ["meta", "authors", "entries", "proofs", "peers"])
def test_an_unreadable_table_costs_its_rows_and_no_others(
    path: Path, whole: Contents, table: str
) -> None:
    overwrite(path, root_page(path, table), bytes(PAGE_BYTES))
    loaded = opened(path)
    reported(loaded, "malformed")
    found = contents_of(loaded)
    assert found.is_part_of(whole)
    without = {"authors": "entries"}.get(table, table)  # whose entries they were, only it knows
    assert bool(found.logs) == (without != "entries")
    assert bool(found.proofs) == (without != "proofs")
    assert bool(found.peers) == (without != "peers")
    assert bool(found.clock_high_water) == (without != "meta")
    assert loaded.own_length == 5 and loaded.own_suspect == (table == "meta")


@pytest.mark.parametrize("table", ["authors", "proofs", "peers"])
def test_a_broken_index_is_noticed_before_it_is_used(
    path: Path, whole: Contents, table: str
) -> None:
    overwrite(path, root_page(path, f"sqlite_autoindex_{table}_1"), bytes(PAGE_BYTES))
    loaded = opened(path)
    reported(loaded)
    assert contents_of(loaded) == whole, "the rows are all there"
    assert (loaded.own_length, loaded.own_suspect) == (5, False)


TABLES = ["meta", "authors", "entries", "proofs", "peers"]


@pytest.mark.parametrize("table", TABLES)
def test_a_row_that_vanishes_from_a_page_is_missed(path: Path, whole: Contents, table: str) -> None:
    """One less in the number of rows that the page says it has: every row left is sound."""
    page = root_page(path, table)
    count = path.read_bytes()[page + 4]
    overwrite(path, page + 4, bytes([count - 1]))
    loaded = opened(path)
    reported(loaded)
    assert contents_of(loaded).is_part_of(whole) and contents_of(loaded) != whole
    assert loaded.own_length == 5


@pytest.mark.parametrize("table", ["authors", "entries", "proofs", "peers"])
def test_a_row_that_is_there_twice_is_noticed(path: Path, whole: Contents, table: str) -> None:
    """In a page's list of rows, the first is overwritten with the second."""
    page = root_page(path, table)
    content = path.read_bytes()[page : page + 12]
    overwrite(path, page + 8, content[10:12])
    loaded = opened(path)
    reported(loaded)
    assert contents_of(loaded).is_part_of(whole) and contents_of(loaded) != whole
    assert loaded.own_length == 5


HEADER_DAMAGE = {
    "another program's": (68, b"mail", "another program"),
    "no database": (0, b"sqlite", "no store of gossipbook"),
    "a page size": (16, b"\x20\x00", ""),
    "read-only": (18, b"\x03", ""),
    "without a write-ahead log": (19, b"\x00", ""),
    "reserved space": (20, b"\x01", ""),
    "another number of pages": (28, b"\x00\x00\x00\x03", ""),
    "free pages": (36, b"\x00\x00\x00\x01", ""),
    "a first free page": (32, b"\x00\x00\x00\x03\x00\x00\x00\x01", ""),
    "auto-vacuum": (52, b"\x00\x00\x00\x01", ""),
    "another text encoding": (56, b"\x00\x00\x00\x02", ""),
}


@pytest.mark.parametrize("what", HEADER_DAMAGE)
def test_a_damaged_header_is_refused_or_mended(path: Path, whole: Contents, what: str) -> None:
    """Never taken for sound: the next write would fail, or spoil what is there."""
    offset, data, refusal = HEADER_DAMAGE[what]
    overwrite(path, offset, data)
    try:
        loaded = opened(path)
    except StoreError as error:
        assert str(path) in str(error) and refusal in str(error)
        return
    assert not refusal
    reported(loaded)
    assert contents_of(loaded).is_part_of(whole)
    with closing(in_use(path)) as file:
        assert file.load().damage == []
        lost = [entry for n in (1, 2, 3) for entry in written_by(n, 6)]
        have = contents_of(loaded)
        file.append([entry for entry in lost if entry.seq >= have.length(entry.author)], (), 0)
    assert {len(log) for log in contents_of(opened(path)).logs.values()} == {6}


def test_a_definition_that_means_something_else_is_noticed(path: Path, whole: Contents) -> None:
    """Without its primary key the table takes a second row, and the next start trusts neither."""
    content = path.read_bytes()
    assert content.count(b"one INTEGER PRIMARY KEY") == 1
    overwrite(path, content.index(b"one INTEGER PRIMARY KEY") + 12, b"PZIMARY")
    loaded = opened(path)
    reported(loaded)
    assert contents_of(loaded) == whole and not loaded.own_suspect


@pytest.mark.parametrize("offset", [18, 19])
@pytest.mark.parametrize("version", [0, 1])
def test_a_header_that_denies_the_write_ahead_log_hides_nothing_in_it(
    tmp_path: Path, path: Path, offset: int, version: int
) -> None:
    store = FilledStore(tmp_path / "original.db")
    store.commit(written_by(1, 2))
    store.file.make_durable()
    store.commit([*written_by(1, 5)[2:], *written_by(2, 200)])
    store.found_after(path)
    whole = store.close()
    overwrite(path, offset, bytes([version]))
    loaded = opened(path)
    reported(loaded, "header")
    assert contents_of(loaded) == whole and loaded.own_length == 5


@pytest.mark.parametrize("bit", [0x02, 0x80])
def test_a_damaged_schema_is_refused_or_reported(path: Path, whole: Contents, bit: int) -> None:
    """SQLite quotes the schema in its error, and that need not be UTF-8 any more."""
    content = path.read_bytes()
    for offset in range(content.index(b"CREATE TABLE peers"), PAGE_BYTES, 83):
        copy = path.with_name(f"{offset}.db")
        copy.write_bytes(content)
        overwrite(copy, offset, bytes([content[offset] ^ bit]))
        try:
            loaded = opened(copy)
        except StoreError as error:
            assert str(copy) in str(error)
            continue
        found = contents_of(loaded)
        assert found == whole or (loaded.damage and found.is_part_of(whole))


def test_of_a_file_that_was_cut_everything_is_kept_that_is_left(
    path: Path, long_store: Contents
) -> None:
    pages = path.stat().st_size // PAGE_BYTES
    assert pages > 15
    content = path.read_bytes()
    kept = []
    for left in range(1, pages):
        copy = path.with_name(f"cut-{left}.db")
        copy.write_bytes(content[: left * PAGE_BYTES])
        loaded = opened(copy)
        reported(loaded, "malformed")
        found = contents_of(loaded)
        assert found.is_part_of(long_store)
        assert loaded.own_length == 100 or loaded.own_suspect
        kept.append(len(loaded.entries))
    assert kept == sorted(kept), "the more is left, the more is kept"
    assert kept[0] == 0 and 200 < kept[-1] < 300


# ------------------------------------------------------------------ what is kept of it


def test_the_file_is_set_aside_as_it_was_found_with_its_log(tmp_path: Path, path: Path) -> None:
    store = FilledStore(tmp_path / "original.db")
    store.commit((), (), 0, [peer_at(6, "six:7000")])
    store.file.make_durable()
    store.commit(written_by(2, 3))
    store.found_after(path)
    store.close()
    overwrite(path, path.read_bytes().index(b"six:7000"), b"6")
    main, log = path.read_bytes(), Path(f"{path}-wal").read_bytes()
    loaded = opened(path)
    reported(loaded, "the address of a peer")
    assert contents_of(loaded) == NOTHING.after(written_by(2, 3))
    assert Path(f"{path}.damaged-1").read_bytes() == main
    assert Path(f"{path}.damaged-1-wal").read_bytes() == log


def test_nothing_that_was_set_aside_is_overwritten(path: Path, whole: Contents) -> None:
    found = []
    for seq in (4, 3, 2):
        tamper(path, "DELETE FROM entries WHERE author = 2 AND seq = ?", seq)
        found.append(path.read_bytes())
        reported(opened(path), f".damaged-{len(found)}")
    assert [Path(f"{path}.damaged-{number}").read_bytes() for number in (1, 2, 3)] == found


def test_a_mended_file_is_sound(path: Path, whole: Contents) -> None:
    tamper(path, "DELETE FROM entries WHERE author = 2 AND seq = 2")
    with closing(in_use(path)) as file:
        first = file.load()
        file.append(written_by(2, 6)[2:], (), at(20))  # as peers send them again
    again = opened(path)
    assert len(first.damage) == 2 and again.damage == []
    assert contents_of(again) == whole.after(written_by(2, 6)[5:], (), at(20))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_looking_at_a_damaged_file_changes_nothing(path: Path, whole: Contents) -> None:
    tamper(path, "DELETE FROM entries WHERE author = 2 AND seq = 2")
    before = path.read_bytes()
    with closing(in_use(path)) as file:
        (damage,) = file.read().damage
        assert damage.startswith(f"log of {OTHER.hex()[:8]}: ")
    assert path.read_bytes() == before
    assert not list(path.parent.glob("*.damaged*"))


NO_SPACE = OSError(28, "No space left on device")
FULL = sqlite3.OperationalError("database or disk is full")


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("shutil.copyfile", NO_SPACE),
        ("LogFile._create", FULL),
        ("LogFile._rewrite", FULL),
        ("os.replace", NO_SPACE),
    ],
)
def test_where_a_damaged_file_cannot_be_mended_it_is_left_as_it_is(
    path: Path, whole: Contents, monkeypatch: pytest.MonkeyPatch, where: str, error: Exception
) -> None:
    """And nothing beside it, however often that is tried: the disk is full already."""
    tamper(path, "DELETE FROM entries WHERE author = 2 AND seq = 2")
    before = path.read_bytes()

    def fail(*arguments: object) -> None:
        if where == "shutil.copyfile":
            Path(str(arguments[1])).write_bytes(b"half of it")
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(f"gossipbook.storage.log_file.{where}", fail)
        for _ in range(2):
            with closing(in_use(path)) as file, pytest.raises(StoreError) as refusal:
                file.load()
            assert f"{path} is damaged and cannot be mended" in str(refusal.value)
            assert path.read_bytes() == before
            assert sorted(one.name for one in path.parent.iterdir()) == ["peer.db", "peer.db.lock"]
    assert contents_of(opened(path)).logs[OWNER] == whole.logs[OWNER]


# ------------------------------------------------------------------ our own log


def lose_own_tail(path: Path, left: int) -> None:
    tamper(
        path,
        "DELETE FROM entries WHERE author = (SELECT number FROM authors WHERE author = ?) "
        "AND seq >= ?",
        *(OWNER, left),
    )


def test_how_long_our_own_log_was_is_never_forgotten(path: Path, whole: Contents) -> None:
    lose_own_tail(path, 2)
    for _ in range(2):
        assert opened(path).own_length == 5
    with closing(in_use(path)) as file:
        file.load()
        file.append(written_by(1, 4)[2:], (), 0)  # somebody gave back a part of it
    assert opened(path).own_length == 5
    lose_own_tail(path, 0)
    loaded = opened(path)
    assert (contents_of(loaded).length(), loaded.own_length) == (0, 5)
    with closing(in_use(path)) as file:
        file.load()
        file.append(written_by(1, 6), (), 0)
    assert opened(path).own_length == 6


def test_a_suspect_log_stays_suspect_until_we_sign_again(path: Path, whole: Contents) -> None:
    tamper(path, "DELETE FROM meta")
    lose_own_tail(path, 3)
    for _ in range(3):
        assert opened(path).own_suspect
    given_back = written_by(1, 5)[3:]
    for entries in (written_by(4, 1), given_back):  # nobody says that this was all of it
        with closing(in_use(path)) as file:
            file.load()
            file.append(entries, [proof_against(8)], 0, [peer_at(6)])
        assert opened(path).own_suspect
    with closing(in_use(path)) as file:
        file.load()
        file.append(written_by(1, 6)[5:], (), 0, signed=True)
    assert not opened(path).own_suspect
