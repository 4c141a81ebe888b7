"""Thousands of random damages to store files: each is refused, reported or harmless.

A bank of stores is filled once, some with a write-ahead log that was not checkpointed. Each trial
copies one, damages the copy, and opens it. Then one of four things must be so::

    refused    StoreError, and it names the file
    reported   ``damage`` says what; what was loaded is the beginning of each log, nothing altered
    stale      only where the write-ahead log was damaged: what the file held after an earlier
               commit. SQLite itself drops the tail of such a log, as after a crash; that is why a
               peer asks others before it signs.
    harmless   everything is there

and our own log is never taken for shorter than it was: what is missing of it is known, or it is
suspect. What was lost is then written back, as it would come from peers, together with something
new for every table; opened once more, the store holds everything. So a damage that lay hidden in
an index or in the free space of the file is noticed, too.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from twins.authors import GENESIS, TestAuthor, at
from twins.store_files import (
    OWNER,
    PAGE_BYTES,
    Contents,
    FilledStore,
    contents_of,
    folder_in_memory,
    peer_at,
    proof_against,
    written_by,
)

from gossipbook.errors import StoreError
from gossipbook.log.entry import Entry
from gossipbook.log.fork import ForkProof
from gossipbook.randomness import SeededRandom
from gossipbook.storage.log_file import Loaded, LogFile

SHARDS = 8
TRIALS_PER_SHARD = 500


# ------------------------------------------------------------------ the bank


@dataclass(frozen=True)
class Original:
    """A filled store: its files, and what it held after each commit."""

    name: str
    main: bytes
    log: bytes  # the write-ahead log; empty where everything was checkpointed
    states: tuple[Contents, ...]
    entries: tuple[Entry, ...]
    proofs: tuple[ForkProof, ...]
    next_own: Entry

    @property
    def whole(self) -> Contents:
        return self.states[-1]


Commits = list[list[Entry]]


def one_entry() -> Commits:
    return [written_by(1, 1)]


def only_others() -> Commits:
    return [written_by(2, 10), written_by(3, 1), written_by(4, 6)]


def several_authors() -> Commits:
    logs = [written_by(number, 12) for number in (1, 2, 3, 4)]
    return [[log[step] for log in logs] for step in range(12)]


def long_logs() -> Commits:
    logs = [written_by(number, 100) for number in (2, 1, 3)]
    return [log[start : start + 10] for start in range(0, 100, 10) for log in logs]


def large_entries() -> Commits:
    logs = [TestAuthor(number) for number in (1, 2)]
    return [
        [log.write(hlc=at(step), payload=bytes([step]) * (1_500 * step)) for log in logs]
        for step in range(8)
    ]


BANK: tuple[Callable[[], Commits], ...] = (
    one_entry,
    only_others,
    several_authors,
    long_logs,
    large_entries,
)


@cache
def original(fill: Callable[[], Commits], checkpointed: bool) -> Original:
    """A store filled with these commits, proofs and peers between them."""
    commits, proofs = fill(), []
    with tempfile.TemporaryDirectory() as folder:
        store = FilledStore(Path(folder) / "store.db")
        for step, entries in enumerate(commits):
            store.commit(entries, (), at(step), [peer_at(20 + step % 9, f"address {step}")])
            if step % 3 == 1:
                proofs.append(proof_against(30 + step // 3))
                store.commit((), proofs[-1:], at(step))
            if step == len(commits) // 2:
                store.file.make_durable()
        if checkpointed:
            store.file.make_durable()
        found = store.found_after(Path(folder) / "found.db")
        main, log = found.read_bytes(), Path(f"{found}-wal").read_bytes()
        store.close()
    written = tuple(entry for commit in commits for entry in commit)
    own = TestAuthor(1)
    own.entries = [entry for entry in written if entry.author == OWNER]
    return Original(
        name=f"{fill.__name__}, {'' if checkpointed else 'not '}checkpointed",
        main=main,
        log=log,
        states=tuple(store.states),
        entries=written,
        proofs=tuple(proofs),
        next_own=own.write(hlc=at(1_000)),
    )


# ------------------------------------------------------------------ damage


class Files:
    """The bytes of a store, to be damaged; and what was done to them, in words."""

    def __init__(self, original: Original) -> None:
        self.main = bytearray(original.main)
        self.log: bytearray | None = bytearray(original.log)
        self.done: list[str] = []
        self.log_was_hurt = False

    def flip(self, offset: int, bit: int) -> None:
        self.main[offset] ^= 1 << bit
        self.done.append(f"main: byte {offset} of page {offset // PAGE_BYTES + 1}, bit {bit}")

    def hurt_log(self, what: str) -> None:
        self.done.append(f"write-ahead log: {what}")
        self.log_was_hurt = True

    def put(self, path: Path) -> None:
        path.write_bytes(self.main)
        if self.log is not None:
            Path(f"{path}-wal").write_bytes(self.log)


def flip_bits_anywhere(files: Files, random: SeededRandom) -> None:
    for _ in range(random.choice([1, 1, 2, 4, 16])):
        files.flip(random.below(len(files.main)), random.below(8))


def flip_a_bit_of_the_header(files: Files, random: SeededRandom) -> None:
    files.flip(random.below(100), random.below(8))


def flip_a_bit_where_a_page_says_what_it_holds(files: Files, random: SeededRandom) -> None:
    page = random.below(len(files.main) // PAGE_BYTES)
    start = 100 if page == 0 else 0
    files.flip(page * PAGE_BYTES + start + random.below(20), random.below(8))


def flip_a_bit_in_use(files: Files, random: SeededRandom) -> None:
    """Most of a small file is zeros that nobody reads."""
    page = random.below(len(files.main) // PAGE_BYTES) * PAGE_BYTES
    used = [at for at in range(page, page + PAGE_BYTES) if files.main[at]]
    files.flip(random.choice(used) if used else page, random.below(8))


def cut_off(files: Files, random: SeededRandom) -> None:
    length = random.below(len(files.main))
    if random.below(2):
        length -= length % PAGE_BYTES
    del files.main[length:]
    files.done.append(f"main: cut to {length} bytes")


def zero_a_page(files: Files, random: SeededRandom) -> None:
    page = random.below(len(files.main) // PAGE_BYTES)
    files.main[page * PAGE_BYTES : (page + 1) * PAGE_BYTES] = bytes(PAGE_BYTES)
    files.done.append(f"main: page {page + 1} zeroed")


def zero_a_sector(files: Files, random: SeededRandom) -> None:
    sector = random.below(len(files.main) // 512)
    files.main[sector * 512 : (sector + 1) * 512] = bytes(512)
    files.done.append(f"main: sector {sector} zeroed")


def swap_two_pages(files: Files, random: SeededRandom) -> None:
    one, other = random.sample(range(len(files.main) // PAGE_BYTES), 2)
    a, b = (slice(page * PAGE_BYTES, (page + 1) * PAGE_BYTES) for page in (one, other))
    files.main[a], files.main[b] = files.main[b], files.main[a]
    files.done.append(f"main: pages {one + 1} and {other + 1} swapped")


def garbage_in_a_sector(files: Files, random: SeededRandom) -> None:
    sector = random.below(len(files.main) // 512)
    files.main[sector * 512 : (sector + 1) * 512] = random.bits(512 * 8).to_bytes(512, "big")
    files.done.append(f"main: sector {sector} is garbage")


def flip_bits_in_the_log(files: Files, random: SeededRandom) -> None:
    assert files.log
    for _ in range(random.choice([1, 1, 2, 8])):
        offset, bit = random.below(len(files.log)), random.below(8)
        files.log[offset] ^= 1 << bit
        files.hurt_log(f"byte {offset}, bit {bit}")


def cut_off_the_log(files: Files, random: SeededRandom) -> None:
    assert files.log
    length = random.below(len(files.log))
    del files.log[length:]
    files.hurt_log(f"cut to {length} bytes")


def remove_the_log(files: Files, random: SeededRandom) -> None:
    files.log = None
    files.hurt_log("removed")


def hurt_both(files: Files, random: SeededRandom) -> None:
    random.choice(TO_THE_LOG[:3])(files, random)
    random.choice(TO_THE_MAIN_FILE)(files, random)


Damage = Callable[[Files, SeededRandom], None]

TO_THE_MAIN_FILE: tuple[Damage, ...] = (
    flip_bits_anywhere,
    flip_bits_anywhere,
    flip_a_bit_of_the_header,
    flip_a_bit_where_a_page_says_what_it_holds,
    flip_a_bit_in_use,
    flip_a_bit_in_use,
    cut_off,
    zero_a_page,
    zero_a_sector,
    swap_two_pages,
    garbage_in_a_sector,
)
TO_THE_LOG: tuple[Damage, ...] = (
    flip_bits_in_the_log,
    cut_off_the_log,
    remove_the_log,
    hurt_both,
)


# ------------------------------------------------------------------ a trial


def run_trial(number: int, folder: Path) -> list[str]:
    """Damage a store and open it; what came of it. The same number does the same again."""
    random = SeededRandom(number)
    one = original(BANK[number % len(BANK)], checkpointed=number // len(BANK) % 2 == 0)
    files = Files(one)
    random.choice((*TO_THE_MAIN_FILE, *TO_THE_LOG) if one.log else TO_THE_MAIN_FILE)(files, random)
    path = folder / f"{number}.db"
    files.put(path)
    try:
        return list(judge(one, path, may_be_stale=files.log_was_hurt))
    except BaseException as error:
        error.add_note(f"trial {number}: {one.name}; {'; '.join(files.done)}")
        raise


def judge(one: Original, path: Path, *, may_be_stale: bool) -> Iterator[str]:
    """Open a damaged store, and write back what it lost. Yields what it was."""
    try:
        file = LogFile(path, GENESIS, OWNER)
    except StoreError as error:
        assert str(path) in str(error)
        yield "refused"
        return
    with closing(file):
        loaded = file.load()
        found = contents_of(loaded)
        yield from classify(one, loaded, found, may_be_stale)
        expected = write_back(one, file, found)
    check_whole(path, expected)


def classify(one: Original, loaded: Loaded, found: Contents, may_be_stale: bool) -> Iterator[str]:
    """Which of the ways it went. Raises AssertionError where it is none of them."""
    may_be = one.states if may_be_stale else (one.whole,)
    if loaded.damage:
        yield "reported"
        assert any(found.is_part_of(state) for state in may_be), "something was altered"
        assert found.clock_high_water in {0, *(state.clock_high_water for state in may_be)}
    else:
        assert found in may_be, "something is missing or altered, and nothing was reported"
        yield "harmless" if found == one.whole else "stale"
    if any(found.length(author) < len(log) for author, log in one.whole.logs.items()):
        yield "entries lost"
    if found.length() < one.whole.length():
        yield "own entries lost"
        told = loaded.own_suspect or loaded.own_length > found.length()
        stale = found.length() in {state.length() for state in may_be}
        assert told or stale, "our own log would be continued from a damaged copy"


def write_back(one: Original, file: LogFile, found: Contents) -> Contents:
    """What peers would give back, and something new for every table."""
    lengths = {author: len(log) for author, log in found.logs.items()}
    missing = [entry for entry in one.entries if entry.seq >= lengths.get(entry.author, 0)]
    new = [one.next_own, *written_by(50, 1)]
    proofs = [*one.proofs, proof_against(51)]
    peers = [*one.whole.peers, peer_at(52)]
    try:
        file.append([*missing, *new], proofs, at(2_000), peers, signed=True)
    except sqlite3.Error as error:
        raise AssertionError(f"it opens, but cannot be written to: {error}") from error
    return one.whole.after(new, proofs, at(2_000), peers)


def check_whole(path: Path, expected: Contents) -> None:
    """What was written back is there for good, and nothing is suspect any more."""
    with closing(LogFile(path, GENESIS, OWNER)) as file:
        loaded = file.load()
    assert loaded.damage == []
    assert contents_of(loaded) == expected
    assert (loaded.own_length, loaded.own_suspect) == (expected.length(), False)


# ------------------------------------------------------------------ the tests


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder


AT_LEAST = {
    "refused": 8,
    "reported": 120,
    "harmless": 90,
    "stale": 20,
    "entries lost": 90,
    "own entries lost": 60,
}
"""How often each outcome has to come in a shard; about half as often as it does."""


FAILED_ONCE = (
    *(624, 692, 1690, 2231, 2510, 3242, 3520, 3775),  # an error that is no UTF-8
    *(4035, 14113, 19394, 26272, 29680),  # a definition that lets a second row in
    *(15861, 21853),  # a seq that is nothing
)
"""Trials that ended otherwise, when there was no remedy for it yet."""


@pytest.mark.parametrize("number", FAILED_ONCE)
def test_what_was_once_overlooked_is_not(number: int, tmp_path: Path) -> None:
    assert run_trial(number, tmp_path)


@pytest.mark.parametrize("shard", range(SHARDS))
def test_any_damage_is_refused_reported_or_harmless(shard: int, tmp_path: Path) -> None:
    outcomes: Counter[str] = Counter()
    for number in range(shard * TRIALS_PER_SHARD, (shard + 1) * TRIALS_PER_SHARD):
        outcomes.update(run_trial(number, tmp_path))
        for path in tmp_path.iterdir():
            path.unlink()
    rare = {what: outcomes[what] for what, count in AT_LEAST.items() if outcomes[what] < count}
    assert not rare, f"came too rarely: {rare} of {outcomes}"
