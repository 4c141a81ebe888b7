"""The demo as processes: the story is played, the judgement bites, and nothing is left behind.

These are real processes in real time; each run is as short as its point allows.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner

import gossipbook as gb
from gossipbook.cli import demo as story
from gossipbook.cli.app import gossipbook
from gossipbook.cli.audit import audit_store
from gossipbook.cli.demo import Scenario
from gossipbook.cli.demo_process import ProcessEnded, open_child
from gossipbook.cli.demo_process_peer import RemotePeer
from gossipbook.cli.demo_processes import ProcessDemo
from gossipbook.cli.demo_stores import find_fault_in_stores
from gossipbook.cli.demo_view import take_view

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="looks for processes in /proc"
)

SMALL = Scenario(peers=3, orders=150, markets=2, seed=3)
TINY = Scenario(peers=3, orders=40, markets=1, seed=3)
LIMIT_S = 60


class Played:
    """A run, and what could be seen while somebody was frozen."""

    def __init__(self, scenario, *, keep=None, tell=lambda demo, happening: None):
        self.views = []

        async def main():
            self.demo = ProcessDemo(
                scenario,
                keep=keep,
                tell=lambda happening: tell(self.demo, happening),
                before_heal=lambda demo: self.views.append(take_view(demo)),
            )
            with trio.fail_after(LIMIT_S):
                self.ending = await self.demo.play()

        trio.run(main)

    @property
    def words(self):
        return "\n".join(happening.what for happening in self.demo.story)


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    return Played(SMALL, keep=tmp_path_factory.mktemp("kept"))


# ---------------------------------------------------------------- the story


def test_the_acts_come_in_order_and_it_ends_well(played):
    acts = (
        "3 processes start",
        "alice listens at 127.0.0.1:",
        "is frozen with SIGSTOP",
        "carol goes on with SIGCONT",
        "dave joins with an empty store",
        "is killed with SIGKILL",
        "bob starts again with",
        "carol's store is backed up",
        "the backup is started",
        "signed as number",
        "all 3 correct peers hold the proof",
        "all 4 processes say goodbye",
        "all 3 correct peers agree",
        "the stores stay",
    )
    places = [played.words.index(act) for act in acts]
    assert places == sorted(places)
    assert played.ending.failure == ""
    assert "alice loses bob: the connection closed" in played.words
    assert "carol knows what it missed" in played.words


def test_the_ending_lists_every_process(played):
    ending = played.ending
    assert [peer.name for peer in ending.peers] == ["alice", "bob", "carol", "dave"]
    assert [peer.name for peer in ending.correct] == ["alice", "bob", "dave"]
    assert ending.orders == 150
    assert len({peer.root for peer in ending.correct}) == 1
    assert all(peer.proofs == 1 for peer in ending.correct)
    assert ending.messages > 150
    assert ending.messages_lost is None
    assert json.loads(json.dumps(ending.as_dict()))["messages_lost"] is None


def test_a_frozen_process_shows_what_it_held_when_it_stopped(played):
    (view,) = played.views
    rows = {row.name: row for row in view.rows}
    assert [row.state for row in view.rows] == ["up", "up", "frozen"]
    assert rows["carol"].entries + 30 < rows["alice"].entries
    assert rows["carol"].root != rows["alice"].root
    assert [ladder.peer for ladder in view.ladders] == ["alice", "carol"]
    assert len({ladder.market for ladder in view.ladders}) == 1


def test_every_process_has_ended_and_its_store_is_sound(played):
    assert not children_of(os.getpid())
    for one in played.demo.peers:
        assert one.state == ("forked" if one.name == "carol" else "left")
        assert audit_store(str(one.store), as_json=True)
        assert "Traceback" not in one.log.read_text()


def test_the_backup_is_a_store_of_its_own(played):
    """Older than the original by what was signed after it was made, and one entry of its own."""
    folder = played.demo.folder
    assert audit_store(str(folder / "carols-backup.db"), as_json=True)
    number = int(played.words.partition("signed as number ")[2].partition(",")[0])
    held = [own_length(folder / name) for name in ("carol.db", "carols-backup.db")]
    assert held[1] == number + 1 <= held[0]


def own_length(path):
    printed = subprocess.run(
        [sys.executable, "-m", "gossipbook", "audit", "--json", str(path)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return json.loads(printed)["own_length"]


# ---------------------------------------------------------------- the judgement


class Left:
    """A peer that has left, with another store or other last words than it had."""

    def __init__(self, peer, *, store=None, report=None):
        self.name = peer.name
        self.store = store or peer.store
        self.report = report or peer.report


def test_peers_that_are_equal_and_right_are_faultless(played):
    assert find_fault_in_stores(played.demo.correct) == ""


def test_other_books_than_the_store_gives_are_named(played):
    alice, bob, dave = played.demo.correct
    glance = replace(bob.report.glance, root=bytes(32))
    lying = Left(bob, report=replace(bob.report, glance=glance))
    fault = find_fault_in_stores([alice, lying, dave])
    assert fault.startswith("bob: it left with books 00000000 (")


def test_a_history_that_no_root_covers_is_compared_too(played):
    alice, bob, dave = played.demo.correct
    digests = {**dave.report.digests, "ETH-USD": "0" * 64}
    lying = Left(dave, report=replace(dave.report, digests=digests))
    fault = find_fault_in_stores([alice, bob, lying])
    assert fault == "dave: ETH-USD was not what its store gives when it left"


def test_a_store_that_lacks_entries_is_named(played, tmp_path):
    alice, bob, dave = played.demo.correct
    shutil.copyfile(played.demo.folder / "carols-backup.db", tmp_path / "old.db")
    fault = find_fault_in_stores([alice, Left(bob, store=tmp_path / "old.db"), dave])
    assert re.match(r"bob: it left with entries \w{8} \(\d+ entries\), its store gives", fault)


def test_a_damaged_store_is_named(played, tmp_path):
    alice, bob, dave = played.demo.correct
    damaged = bytearray(alice.store.read_bytes())
    damaged[len(damaged) // 2 :] = bytes(len(damaged) - len(damaged) // 2)
    (tmp_path / "alice.db").write_bytes(damaged)
    fault = find_fault_in_stores([Left(alice, store=tmp_path / "alice.db"), bob, dave])
    assert fault.startswith("alice: its store is damaged: ")


def test_processes_that_do_not_agree_in_time_are_described(monkeypatch):
    """One of them stands still for good."""
    monkeypatch.setattr(story, "CONVERGENCE_DEADLINE_S", 1.0)

    def freeze(demo, happening):
        if "all 3 correct peers hold the proof" in happening.what:
            demo.peers[3].freeze()

    played = Played(TINY, tell=freeze)
    failure = played.ending.failure
    assert failure.startswith("the correct peers are not equal 1 s after the last order:")
    for name in ("alice", "bob", "dave"):
        assert f"\n  {name}: " in failure
    forget_stores(played)


def test_a_process_that_ends_by_itself_is_a_bad_end_with_its_last_words(tmp_path):
    def end(demo, happening):
        if "is frozen" in happening.what:
            os.kill(demo.peers[0].pid, signal.SIGABRT)

    played = Played(TINY, tell=end)
    failure = played.ending.failure
    assert failure.startswith("the process of alice was ended by SIGABRT:\n")
    assert "is open on 'gossipbook demo'" in failure
    assert not children_of(os.getpid())
    forget_stores(played)


def forget_stores(played):
    """They stay where something went wrong, and the failure says where."""
    folder = played.demo.folder
    assert f"(the stores and logs of the processes are in {folder})" in played.ending.failure
    assert (folder / "alice.db").exists()
    shutil.rmtree(folder)


# ---------------------------------------------------------------- one process


GENESIS = gb.Genesis("one process", markets=[gb.Market("ONE")])
KEY = gb.Keypair.from_seed(bytes(32))
ORDER = gb.LimitOrder("ONE", "buy", price=1, quantity=1)


def starting(folder, name):
    return open_child(name, folder / f"{name}.log", lambda _: None)


async def open_peer_in(child, store, contacts=()):
    return await child.ask(
        "open",
        genesis=GENESIS.encode().hex(),
        key=KEY.seed.hex(),
        store=str(store),
        contacts=list(contacts),
        alone=True,
        seed=1,
    )


def test_an_error_of_the_peer_arrives_as_itself(tmp_path):
    async def main():
        async with starting(tmp_path, "alice") as child:
            await open_peer_in(child, tmp_path / "alice.db")
            peer = RemotePeer(child, GENESIS, KEY.peer_id)
            placed = await peer.submit(ORDER)
            assert placed.order_id == gb.OrderId("ONE", KEY.peer_id, 0, 0)
            await child.ask("leave")
            with pytest.raises(gb.PeerClosed, match="this peer is closed"):
                await peer.submit(ORDER)
            return await child.end()

    assert trio.run(main)["glance"]["entries"] == 1


def test_an_order_in_a_hurry_is_signed_before_the_peer_has_met_anybody(tmp_path):
    """Else a backup might learn in time how long its log is, and the story would lack its fork."""
    first = gb.OrderId("ONE", KEY.peer_id, 0, 0)

    async def submit(child):
        placed = await RemotePeer(child, GENESIS, KEY.peer_id).submit(ORDER)
        assert placed.order_id == first

    async def main():
        async with starting(tmp_path, "alice") as alice, starting(tmp_path, "backup") as backup:
            opened = await open_peer_in(alice, tmp_path / "alice.db")
            await submit(alice)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(submit, backup)
                await trio.sleep(0.5)  # it is asked long before the peer is open
                await open_peer_in(backup, tmp_path / "backup.db", [opened["address"]])

    trio.run(main)


def test_a_process_that_cannot_start_says_why(tmp_path):
    async def main():
        async with open_child("alice", tmp_path / "alice.log", lambda _: None) as child:
            await child.ask("open", genesis="00", key="00", store="", contacts=[], alone=True)

    with pytest.raises(BaseExceptionGroup) as caught:
        trio.run(main)
    (error,) = caught.value.exceptions
    assert isinstance(error, ProcessEnded)
    assert str(error).startswith("the process of alice ended with status 1:\n")
    assert "missing 1 required keyword-only argument: 'seed'" in str(error)


# ---------------------------------------------------------------- the command


def children_of(pid):
    """The processes that a process has started and that have not ended, by /proc."""
    children = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue  # it has just ended
        if int(parent) == pid and state != "Z":
            children.append(int(stat.parent.name))
    return children


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGINT, 130),
        (signal.SIGTERM, -signal.SIGTERM),
        (signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_however_it_is_stopped_no_process_stays(tmp_path, number, status):
    """One of them is frozen at that moment, and reads no end of anything."""
    command = [sys.executable, "-m", "gossipbook", "demo", "--processes", "3", "--orders", "300"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        process_group=0,
    ) as process:
        for line in process.stdout:
            if "is frozen with SIGSTOP" in line:
                break
        children = children_of(process.pid)
        assert len(children) == 3
        os.killpg(process.pid, number)  # as a terminal does
        _, errors = process.communicate(timeout=20)
    assert process.returncode == status
    deadline_s = time.monotonic() + 10
    while any(map(is_alive, children)) and time.monotonic() < deadline_s:
        time.sleep(0.02)
    left = [pid for pid in children if is_alive(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []
    if number != signal.SIGKILL:
        assert list(tmp_path.iterdir()) == []
    if number == signal.SIGINT:
        assert errors == "gossipbook demo: interrupted\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--processes", "3", "--peers", "8"], "give --peers or --processes, not both"),
        (["--processes", "3", "--loss", "0"], "--loss is for the network inside one process"),
        (["--processes", "3", "--latency", "1", "2"], "--latency is for the network inside one"),
        (["--processes", "2"], "3<=x<=12"),
        (["--keep", "here"], "--keep is for stores on disk; add --processes 5"),
        (["--processes", "3", "--keep", "."], "holds stray already; name an empty or a new one"),
        (["--processes", "3", "--keep", "stray/x"], "the folder stray/x cannot be used: Not a"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_starts(options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stray").touch()
    result = CliRunner().invoke(gossipbook, ["demo", *options])
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())
    assert [path.name for path in tmp_path.iterdir()] == ["stray"]
