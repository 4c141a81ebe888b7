"""The harness itself: it notices a peer that breaks a promise, and its disk fails as told.

A harness that finds nothing is worth as much as what it would have found. So packages with one
promise broken each are put to it; and the failing disk, the model of a power loss and the checks
are tried on cases worked out by hand.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random

import pytest
from crash import sabotage
from crash.checks import balance, check_own_log
from crash.faulty_io import BROKEN, NO_SPACE, RENAME, SYNC, TRUNCATE, UNLINK, WRITE, Fault
from crash.fork_server import TESTS, ForkServer
from crash.lives import Counts, Violation
from crash.notes import ROLLED_BACK, UNDECIDED, WITHDRAWN, Acknowledged, Notebook
from crash.power_loss import SECTOR_BYTES, Disk, Record, read_trace
from crash.sabotage import Sabotage
from crash.scripted import Case, Stage
from twins.authors import TestAuthor, at, buy

from gossipbook.book.payload import encode_payload

TRIES = 60
"""A promise may hold by chance: so many cases are tried, until one shows that it is broken."""


def killed(case: Case, power_loss: bool) -> bool:
    kill = case.fault.action.startswith("kill")
    return kill and not case.shown and case.power_loss == power_loss


def broken_sync(case: Case, call: Record) -> bool:
    """A sync fails, in a commit, and then the process dies."""
    broken = case.fault.error == BROKEN and case.die_after == "failure"
    return broken and call.kind == SYNC and call.name == "peer.db-wal"


CAUGHT: dict[Sabotage, tuple[Callable[[Case, Record], bool], str]] = {
    sabotage.ACKNOWLEDGES_EARLY: (
        lambda case, _: killed(case, power_loss=False),
        "is gone: the log has",
    ),
    sabotage.NEVER_SYNCS: (
        lambda case, _: killed(case, power_loss=True),
        "is gone: the log has",
    ),
    sabotage.SENDS_EARLY: (
        lambda case, _: killed(case, power_loss=False),
        "was seen by others, and is gone",
    ),
    sabotage.DOES_NOT_LOOK: (
        lambda case, call: broken_sync(case, call) and not case.fault.lasting,
        "was rolled-back, and stands",
    ),
    sabotage.BELIEVES_THE_CACHE: (
        lambda case, _: case.shown,
        "was seen by others, and is gone",
    ),
    sabotage.BELIEVES_THE_CACHE_AFTER_AN_ERROR: (
        lambda case, call: broken_sync(case, call) and case.fault.lasting and case.power_loss,
        "is gone: the log has",
    ),
}
"""What breaks a promise; the cases that can show it; and the violation that shall be found."""


@pytest.mark.parametrize("broken", CAUGHT, ids=lambda broken: broken.name)
def test_a_broken_promise_is_noticed(
    library: Path, folder: Path, tmp_path: Path, broken: Sabotage
) -> None:
    striking, says = CAUGHT[broken]
    lives = folder / broken.name.replace(" ", "-")
    lives.mkdir()
    with ForkServer(library, package=broken.make(tmp_path)) as server:
        stage = Stage(server, lives).prepare("starting")
        script = stage.scripts["starting"]
        cases = [case for case in script.cases() if striking(case, script.call_of(case))]
        Random(1).shuffle(cases)
        violations = violations_of(stage, cases[:TRIES])
        found = any(says in violation for violation in violations)
    assert found, f"a peer that {broken.name} passes for a good one"


def violations_of(stage: Stage, cases: Iterable[Case]) -> Iterator[str]:
    for case in cases:
        try:
            stage.play(case)
        except Violation as violation:
            yield violation.what


# -------------------------------------------------------------------- the failing disk


PROGRAM = """
import json, os, sys
from pathlib import Path
from crash.faulty_io import Fault, FaultyDisk

folder = Path(sys.argv[1])
disk = FaultyDisk()
disk.arm(folder, Fault(**json.loads(sys.argv[2])), trace=folder.parent / "trace")
(folder.parent / "elsewhere").write_bytes(b"not counted")
file = os.open(folder / "file", os.O_RDWR | os.O_CREAT)
done = []

def do(call, *arguments):
    try:
        done.append(call(*arguments))
    except OSError as error:
        done.append(f"errno {error.errno}")

do(os.pwrite, file, b"12345678", 0)           # 1
do(os.write, file, b"abcd")                   # 2
do(os.fsync, file)                            # 3
do(os.ftruncate, file, 6)                     # 4
do(os.rename, folder / "file", folder / "new")  # 5
do(os.unlink, folder / "new")                 # 6
disk.heal()
do(os.pwrite, file, b"z", 0)                  # 7
print(json.dumps([done, disk.call_count, disk.failure_count]))
"""

ALL_WELL = [8, 4, None, None, None, None, 1]


def disturbed(library: Path, tmp_path: Path, fault: Fault) -> subprocess.CompletedProcess[str]:
    """Run the program above with a fault."""
    folder = tmp_path / "disk"
    folder.mkdir()
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), json.dumps(fault.to_json())],
        env={"LD_PRELOAD": str(library), "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_fault_everything_passes_and_is_counted(library: Path, tmp_path: Path) -> None:
    ran = disturbed(library, tmp_path, Fault())
    assert json.loads(ran.stdout) == [ALL_WELL, 7, 0]


def test_the_trace_tells_each_change_in_its_order(library: Path, tmp_path: Path) -> None:
    disturbed(library, tmp_path, Fault())
    assert list(read_trace((tmp_path / "trace").read_bytes())) == [
        Record(WRITE, True, "file", 0, b"12345678"),
        Record(WRITE, True, "file", 0, b"abcd"),
        Record(SYNC, True, "file", 0, b""),
        Record(TRUNCATE, True, "file", 6, b""),
        Record(RENAME, True, "file", 0, b"new"),
        Record(UNLINK, True, "new", 0, b""),
        Record(WRITE, True, "new (deleted)", 0, b"z"),
    ]


@pytest.mark.parametrize(
    ("fault", "expected", "failures"),
    [
        (Fault("fail", 3), [8, 4, "errno 5", None, None, None, 1], 1),
        (Fault("fail", 2, NO_SPACE), [8, "errno 28", None, None, None, None, 1], 1),
        (Fault("fail", 2, lasting=True), [8, *["errno 5"] * 5, 1], 5),
        (Fault("fail", 1, kinds=UNLINK), [8, 4, None, None, None, "errno 5", 1], 1),
        (Fault("fail-short", 1, NO_SPACE), [4, "errno 28", None, None, None, None, 1], 1),
        (
            Fault("fail-short", 1, NO_SPACE, lasting=True, kinds=WRITE),
            [4, "errno 28", None, None, None, None, 1],
            1,
        ),
    ],
    ids=str,
)
def test_a_call_fails_as_told(
    library: Path, tmp_path: Path, fault: Fault, expected: list[object], failures: int
) -> None:
    done, _, failure_count = json.loads(disturbed(library, tmp_path, fault).stdout)
    assert (done, failure_count) == (expected, failures)


@pytest.mark.parametrize(
    ("action", "left"),
    [("kill-before", b"12345678"), ("kill-inside", b"ab345678"), ("kill-after", b"abcd5678")],
)
def test_the_process_dies_before_inside_or_after_a_call(
    library: Path, tmp_path: Path, action: str, left: bytes
) -> None:
    ran = disturbed(library, tmp_path, Fault(action, 2))
    assert (ran.returncode, ran.stdout) == (-9, "")
    assert (tmp_path / "disk" / "file").read_bytes() == left


# -------------------------------------------------------------------- the model of a power loss

OLD, NEW = b"o" * SECTOR_BYTES, b"n" * SECTOR_BYTES


class TestPowerLoss:
    """A folder with one file, two sectors long, to which something happens."""

    @pytest.fixture(autouse=True)
    def _prepare(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "disk"
        self.folder.mkdir()
        (self.folder / "file").write_bytes(OLD + OLD)
        self.disk = Disk(self.folder, Random(1))

    def happen(self, *records: Record) -> None:
        """In the cache, too, as it would be."""
        self.disk.follow_records(records)
        for name, file in self.disk.files.items():
            (self.folder / name).write_bytes(file.cached)

    def left(self, *, kept: float) -> dict[str, bytes]:
        self.disk.lose_power(kept=kept)
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}

    def test_what_was_not_synced_may_be_lost(self) -> None:
        self.happen(Record(WRITE, True, "file", 0, NEW + NEW + NEW))
        assert self.left(kept=0.0) == {"file": OLD + OLD}

    def test_what_was_not_synced_may_be_kept(self) -> None:
        self.happen(Record(WRITE, True, "file", 0, NEW + NEW + NEW))
        assert self.left(kept=1.0) == {"file": NEW + NEW + NEW}

    def test_a_write_may_be_torn_at_a_sector(self) -> None:
        outcomes = set()
        for seed in range(50):
            (self.folder / "file").write_bytes(OLD + OLD)
            self.disk = Disk(self.folder, Random(seed))
            self.happen(Record(WRITE, True, "file", 0, NEW + NEW))
            outcomes.add(self.left(kept=0.5)["file"])
        assert outcomes == {OLD + OLD, OLD + NEW, NEW + OLD, NEW + NEW}

    def test_what_was_synced_is_kept(self) -> None:
        self.happen(
            Record(WRITE, True, "file", SECTOR_BYTES, NEW),
            Record(SYNC, True, "file", 0, b""),
            Record(WRITE, True, "file", 0, NEW),
        )
        assert self.left(kept=0.0) == {"file": OLD + NEW}

    def test_after_a_sync_that_failed_a_good_one_brings_nothing_back(self) -> None:
        outcomes = set()
        for seed in range(50):
            (self.folder / "file").write_bytes(OLD + OLD)
            self.disk = Disk(self.folder, Random(seed))
            self.happen(
                Record(WRITE, True, "file", 0, NEW),
                Record(SYNC, False, "file", 0, b""),
                Record(SYNC, True, "file", 0, b""),
            )
            outcomes.add(self.left(kept=1.0)["file"])
        assert outcomes == {OLD + OLD, NEW + OLD}

    def test_what_a_killed_process_did_not_live_to_tell_was_not_synced(self) -> None:
        (self.folder / "file").write_bytes(NEW + OLD)
        self.disk.follow(b"")
        assert self.left(kept=0.0) == {"file": OLD + OLD}

    def test_a_rename_is_undone_or_not_until_the_folder_is_synced(self) -> None:
        for synced in (False, True):
            outcomes = set()
            for seed in range(50):
                for path in self.folder.iterdir():
                    path.unlink()
                (self.folder / "file").write_bytes(OLD)
                (self.folder / "fresh").write_bytes(NEW)
                self.disk = Disk(self.folder, Random(seed))
                self.happen(Record(RENAME, True, "fresh", 0, b"file"))
                (self.folder / "fresh").unlink()
                if synced:
                    self.happen(Record(SYNC, True, "", 0, b""))
                outcomes.add(tuple(sorted(self.left(kept=0.0).items())))
            after = (("file", NEW),)
            before = (("file", OLD), ("fresh", NEW))
            assert outcomes == ({after} if synced else {before, after})

    def test_what_was_unlinked_may_come_back(self) -> None:
        outcomes = set()
        for seed in range(50):
            (self.folder / "file").write_bytes(OLD)
            self.disk = Disk(self.folder, Random(seed))
            (self.folder / "file").unlink()
            self.disk.follow_records([Record(UNLINK, True, "file", 0, b"")])
            outcomes.add(tuple(self.left(kept=0.0)))
        assert outcomes == {(), ("file",)}


# -------------------------------------------------------------------- the checks

AUTHOR = TestAuthor(1)
LOG = [AUTHOR.write(buy(5, lots), hlc=at(lots)) for lots in (1, 2, 3)]
NAMES = [encode_payload([buy(5, lots)]).hex() for lots in (1, 2, 3)]


@pytest.fixture
def notebook(tmp_path: Path) -> Notebook:
    return Notebook(tmp_path / "notes")


def acknowledgement(seq: int) -> Acknowledged:
    return Acknowledged(seq, 0, LOG[seq].id.hex(), NAMES[seq])


def test_a_log_that_holds_what_the_world_knows_is_passed(notebook: Notebook) -> None:
    notebook.acknowledged(acknowledgement(seq) for seq in range(3))
    notebook.seen(1, LOG[1].id.hex())
    notebook.refused([NAMES[2]], UNDECIDED)
    assert check_own_log(LOG, notebook.read()) == []


def test_an_acknowledged_order_that_is_gone_is_noticed(notebook: Notebook) -> None:
    notebook.acknowledged([acknowledgement(2)])
    (broken,) = check_own_log(LOG[:2], notebook.read())
    assert "is gone: the log has 2 entries" in broken


def test_an_acknowledged_order_in_another_entry_is_noticed(notebook: Notebook) -> None:
    notebook.acknowledged([acknowledgement(1)._replace(entry_id=LOG[2].id.hex())])
    (broken,) = check_own_log(LOG, notebook.read())
    assert "another entry has its seq" in broken


def test_an_acknowledged_order_with_another_content_is_noticed(notebook: Notebook) -> None:
    notebook.acknowledged([acknowledgement(1)._replace(order=NAMES[0])])
    (broken,) = check_own_log(LOG, notebook.read())
    assert "the entry says" in broken


def test_a_seen_entry_that_is_gone_and_a_fork_are_noticed(notebook: Notebook) -> None:
    notebook.seen(1, LOG[0].id.hex())
    notebook.seen(3, LOG[0].id.hex())
    fork, gone = check_own_log(LOG, notebook.read())
    assert fork.startswith("fork at 1")
    assert "entry 3" in gone and "is gone" in gone


def test_a_rolled_back_order_and_a_withdrawn_one_that_stand_are_noticed(
    notebook: Notebook,
) -> None:
    notebook.refused([NAMES[1]], ROLLED_BACK)
    notebook.refused([NAMES[2]], WITHDRAWN)
    broken, withdrawn = check_own_log(LOG, notebook.read())
    assert "was withdrawn, and stands at 2" in withdrawn
    assert "was rolled-back, and stands at 1" in broken


def test_a_gap_and_a_repetition_are_noticed(notebook: Notebook) -> None:
    gap, repetition = check_own_log([LOG[0], LOG[2], LOG[2]], notebook.read())[1:]
    assert "does not continue" in gap
    assert "stands 2 times" in repetition


def test_the_balance_adds_up(notebook: Notebook) -> None:
    """Of six orders one each was acknowledged, rolled back, withdrawn and undecided, two never
    answered."""
    notebook.tried([*NAMES, "aa", "bb", "cc"])
    notebook.acknowledged([acknowledgement(0)])
    notebook.refused(["aa"], ROLLED_BACK)
    notebook.refused(["cc"], WITHDRAWN)
    notebook.refused([NAMES[1]], UNDECIDED)
    added = balance(LOG, notebook.read())
    assert (added.entries, added.acknowledged) == (3, 1)
    assert (added.rolled_back, added.withdrawn) == (1, 1)
    assert (added.undecided_stood, added.undecided_gone) == (1, 0)
    assert (added.stood, added.lost) == (1, 1)


def test_a_line_that_was_being_written_does_not_count(notebook: Notebook, tmp_path: Path) -> None:
    notebook.seen(0, "00")
    with open(tmp_path / "notes" / "seen", "a") as file:
        file.write("1 0")
    assert notebook.read().seen == [(0, "00")]
    Notebook(tmp_path / "notes").seen(2, "22")
    assert notebook.read().seen == [(0, "00"), (2, "22")]


def test_counts_survive_a_state_file() -> None:
    counts = Counts()
    counts.kills["at a random time"] += 3
    counts.orders["acknowledged"] += 7
    assert Counts.from_json(json.loads(json.dumps(counts.to_json()))) == counts
