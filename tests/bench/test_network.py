"""Processes over TLS beside PySyncObj with a journal: that the bench does what its tables say."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import network, network_runs
from bench.network_runs import OURS, RateRun, SteadyRun
from bench.process_memory import peak_memory_bytes
from bench.raft_processes import _Node, raft_cluster
from bench.replication_work import LatencyResult, RateResult, RivalFailed, RivalMissing
from bench.report import Results

MEGABYTE = 1_000_000


# ==================================================================== gossipbook


@pytest.mark.parametrize(("batch", "at_once", "submits"), [(4, False, 6), (1, True, 20)])
def test_every_process_ends_up_with_every_order_and_leaves_no_file(
    batch: int, at_once: bool, submits: int, tmp_path: Path
) -> None:
    run = network_runs.run_gossipbook(2, 10, folder=tmp_path, batch=batch, at_once=at_once)
    assert (run.rate.system, run.rate.nodes, run.rate.records) == (OURS, 2, 20)
    assert run.submits is not None
    assert len(run.submits.delays_s) == submits  # 4, 4 and 2 orders of each; or one by one
    assert 0 < run.submits.delays_s[-1] <= run.rate.wall_s < 60
    assert len(run.processor_s) == len(run.peak_memory_bytes) == 2
    assert min(run.processor_s) > 0
    assert sum(run.processor_s) == pytest.approx(run.rate.processor_s)
    assert min(run.peak_memory_bytes) > 10 * MEGABYTE  # no Python with all of it takes less
    assert run.wire_bytes_per_record is not None
    assert run.wire_bytes_per_record > 20
    assert list(tmp_path.iterdir()) == []


def test_steady_flow_counts_every_order_at_the_others_and_at_its_author(tmp_path: Path) -> None:
    run = network_runs.steady_gossipbook(3, 0.1, folder=tmp_path, records_per_s=100)
    assert len(run.visible.delays_s) == len(run.answered.delays_s) == 10
    # Nobody sees an order before it is on its author's disk.
    assert 0 < run.answered.delays_s[0] < run.visible.delays_s[0]
    assert run.visible.delays_s[-1] < 60
    assert len(run.processor_share) == 3


def test_order_is_visible_when_the_last_of_the_others_shows_it() -> None:
    submitted: list[Results] = [
        {"submits": [(7, 0, 10.0, 10.25), (7, 1, 11.0, 11.5)]},  # two orders in one entry
        {"submits": []},
        {"submits": [(0, 0, 12.0, 12.125)]},
    ]
    seen_s = [
        {"aa:7:0": 19.0, "aa:7:1": 19.0, "cc:0:0": 12.5},  # its own come late, and do not count
        {"aa:7:0": 10.5, "aa:7:1": 14.0, "cc:0:0": 12.75},
        {"aa:7:0": 11.0, "aa:7:1": 12.0, "cc:0:0": 12.0},
    ]
    visible_s, answered_s = network_runs._delays(["aa", "bb", "cc"], submitted, seen_s)
    assert visible_s == [1.0, 3.0, 0.75]
    assert answered_s == [0.25, 0.5, 0.125]


def test_profile_of_a_peer_tells_its_stages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "profile"
    network_runs.run_gossipbook(2, 64, folder=tmp_path, batch=2, profile=path)
    stages = network._show_profile("two peers", path, 128)
    assert stages["signatures"] > 0
    assert stages["matching"] > 0
    assert "two peers: one peer under cProfile" in capsys.readouterr().out


def _status(commands: int, root: str = "aa") -> Results:
    return {"commands": commands, "frontier_root": root, "book_root": "bb"}


@pytest.mark.parametrize(
    ("after", "complaint"),
    [
        ([_status(16), _status(15)], "5 of 6 records, and 1 different lists"),
        ([_status(16), _status(16, root="ab")], "6 of 6 records, and 2 different lists"),
    ],
)
def test_peers_that_do_not_agree_are_no_result(after: list[Results], complaint: str) -> None:
    with pytest.raises(RivalFailed, match=complaint):
        network_runs._check_agreement(6, [_status(10), _status(10)], after)


def test_submit_that_failed_is_no_result() -> None:
    answers: list[Results] = [{"failures": []}, {"failures": ["ClockError: too late"]}]
    with pytest.raises(AssertionError, match="1 submits failed, the first: ClockError"):
        network_runs._check_submits(answers)


# ==================================================================== PySyncObj


@pytest.mark.parametrize("journal", ["journal", "synced"])
def test_killed_nodes_leave_every_record_in_their_journals(journal: str, tmp_path: Path) -> None:
    file_journal = pytest.importorskip("pysyncobj.journal").FileJournal
    with raft_cluster(3, "tuned", journal=journal, folder=tmp_path) as cluster:
        (answer, *_) = cluster.ask("write all", share=10, batch=1, start_s=0.0)
    assert answer["held"] == 30
    assert answer["peak_memory_bytes"] > 10 * MEGABYTE
    files = sorted(tmp_path.glob("raft-*/*.journal"))
    assert [file.name for file in files] == ["0.journal", "1.journal", "2.journal"]
    for file in files:  # the block ends its processes with SIGKILL
        file.with_name(f"{file.name}.meta").unlink()  # the library reads it and leaves it open
        journal_found = file_journal(str(file))
        commands = [command for command, _, _ in journal_found[:]]
        journal_found._destroy()
        assert sum(b'"market":"BTC-USD"' in command for command in commands) == 30


def test_promise_leaves_after_a_sync_of_what_it_promises_and_nothing_else_waits() -> None:
    did: list[str] = []
    journal = SimpleNamespace(
        add=lambda command, index, term: did.append(f"add {index}"),
        flush=lambda: did.append("sync"),
    )
    transport = SimpleNamespace(send=lambda node, message: did.append(message["type"]))
    node: Any = object.__new__(_Node)
    node._raft = SimpleNamespace(_SyncObj__raftLog=journal, _SyncObj__transport=transport)
    node.sync_before_sending()
    did.clear()
    transport.send("other", {"type": "append_entries"})  # what was there before counts as new
    journal.add(b"", 1, 1)
    journal.add(b"", 2, 1)
    transport.send("other", {"type": "apply_command_response"})
    transport.send("other", {"type": "append_entries"})
    transport.send("another", {"type": "append_entries"})
    journal.add(b"", 3, 1)
    transport.send("leader", {"type": "next_node_idx"})
    assert did == [
        *("sync", "append_entries"),
        *("add 1", "add 2", "apply_command_response", "sync", "append_entries", "append_entries"),
        *("add 3", "sync", "next_node_idx"),
    ]


def test_rival_runs_tell_what_ours_tell(tmp_path: Path) -> None:
    pytest.importorskip("pysyncobj")
    run = network_runs.run_pysyncobj(3, 10, folder=tmp_path, settings="tuned")
    assert (run.rate.nodes, run.rate.records) == (3, 30)
    assert run.rate.system.startswith("PySyncObj ")
    assert len(run.processor_s) == len(run.peak_memory_bytes) == 3
    steady = network_runs.steady_pysyncobj(
        3, 0.1, folder=tmp_path, records_per_s=100, settings="prompt", journal="synced"
    )
    assert len(steady.visible.delays_s) == len(steady.answered.delays_s) == 10
    assert steady.answered.delays_s[0] > 0
    assert len(steady.processor_share) == 3


@pytest.mark.parametrize(
    "call",
    [
        lambda folder: network_runs.run_gossipbook(1, 5, folder=folder),
        lambda folder: network_runs.run_gossipbook(3, 5, folder=folder, batch=0),
        lambda folder: network_runs.steady_gossipbook(3, 0.0, folder=folder, records_per_s=200),
        lambda folder: network_runs.run_pysyncobj(3, 0, folder=folder),
        lambda folder: network_runs.run_pysyncobj(3, 5, folder=folder, journal="paper"),
        lambda folder: network_runs.run_pysyncobj(3, 5, folder=None),
    ],
)
def test_impossible_work_is_refused(call: Callable[[Path], object], tmp_path: Path) -> None:
    pytest.importorskip("pysyncobj")
    with pytest.raises(ValueError, match=r"give (at least|one on a disk)|there are memory"):
        call(tmp_path)


# ==================================================================== memory


def test_peak_memory_is_the_high_water_mark_of_the_resident_set(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("VmPeak:\t   90000 kB\nVmHWM:\t   51234 kB\nVmRSS:\t   40000 kB\n")
    assert peak_memory_bytes(status) == 51_234 * 1_024
    assert peak_memory_bytes(tmp_path / "none") == 0


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="Linux only")
def test_peak_memory_grows_with_what_is_touched_and_stays() -> None:
    before = peak_memory_bytes()
    block = bytearray(os.urandom(64)) * MEGABYTE
    assert peak_memory_bytes() > before + 20 * MEGABYTE
    del block
    assert peak_memory_bytes() > before + 20 * MEGABYTE


# ==================================================================== turns


def _rate_run(system: str, nodes: int, rate: float) -> RateRun:
    return RateRun(
        RateResult(system, nodes, 1_000, wall_s=1_000 / rate, processor_s=0.25),
        LatencyResult(system, nodes, (0.001, 0.002)) if system == OURS else None,
        processor_s=(0.05, 0.2),
        peak_memory_bytes=(40 * MEGABYTE, 60 * MEGABYTE),
        undone_per_record=0.5 if system == OURS else None,
        wire_bytes_per_record=48.0 if system == OURS else None,
    )


def _steady_run(system: str, nodes: int, visible_s: float) -> SteadyRun:
    return SteadyRun(
        LatencyResult(system, nodes, (visible_s, 2 * visible_s)),
        LatencyResult(system, nodes, (visible_s / 2,)),
        (0.125, 0.25),
    )


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """No processes: who ran, with how many."""
    ran: list[tuple[str, int]] = []

    def rate_run(name: str) -> Callable[[int, int], RateRun]:
        def run(nodes: int, share: int) -> RateRun:
            ran.append((name, nodes))
            return _rate_run(OURS if name.startswith(OURS) else "PySyncObj 0", nodes, 500)

        return run

    def steady_run(name: str) -> Callable[[int], SteadyRun]:
        def run(nodes: int) -> SteadyRun:
            ran.append((name, nodes))
            return _steady_run(name, nodes, 0.0125)

        return run

    names = network.rate_runs(Path(), 1)
    steady_names = network.steady_runs(Path(), 1.0, 1)
    monkeypatch.setattr(network, "rate_runs", lambda *_: {name: rate_run(name) for name in names})
    monkeypatch.setattr(
        network, "steady_runs", lambda *_: {name: steady_run(name) for name in steady_names}
    )
    return ran


def test_in_a_round_ours_and_theirs_take_turns(turns: list[tuple[str, int]]) -> None:
    found = network.measure_rates(Path(), {3: 10, 8: 5}, 2, seed=1, small=False)
    a_round = [(name, nodes) for nodes in (3, 8) for name in found["3"]]
    assert turns == 2 * a_round
    assert len(found["8"]) == 10
    assert {name for name in found["3"] if name.startswith(OURS)} == {
        "gossipbook, 1 an entry",
        "gossipbook, 16 an entry",
        "gossipbook, 256 an entry",
        "gossipbook, all at once",
    }


def test_small_form_runs_the_compared_pair_with_eight_processes(
    turns: list[tuple[str, int]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, raw = tmp_path / "files", tmp_path / "raw.json"
    folder.mkdir()
    results = network.main(["--small", "--directory", str(folder), "--json", str(raw)])
    assert json.loads(raw.read_text())["network"] == json.loads(json.dumps(results))
    assert list(folder.iterdir()) == []
    assert list(results["rates"]["8"]) == ["gossipbook, 16 an entry", "PySyncObj, journal"]
    assert list(results["rates"]["3"]) == list(network.SMALL_VARIANTS)
    assert list(results["steady"]["3"]) == ["gossipbook", "PySyncObj, journal"]
    assert {
        len(rounds) for by_name in results["rates"].values() for rounds in by_name.values()
    } == {1}
    assert f"files in {folder}, file system " in capsys.readouterr().out


def test_without_the_other_library_only_ours_is_shown(
    turns: list[tuple[str, int]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def missing(*_: object) -> RateRun:
        raise RivalMissing("none here")

    rates, steady = network.rate_runs(Path(), 1), network.steady_runs(Path(), 1.0, 1)
    for runs in (rates, steady):
        runs.update({name: missing for name in runs if not name.startswith(OURS)})  # type: ignore[attr-defined]
    monkeypatch.setattr(network, "rate_runs", lambda *_: rates)
    monkeypatch.setattr(network, "steady_runs", lambda *_: steady)
    results = network.main(["--small"])
    assert list(results["rates"]["8"]) == ["gossipbook, 16 an entry"]
    out, err = capsys.readouterr()
    assert "none here" in err
    assert " x PySyncObj" not in out
    assert "N=8, visible at all: p50 12.5 ms" in out


# ==================================================================== tables


def _rates(system: str, *rates: float) -> list[Results]:
    return [network.raw_rate(_rate_run(system, 3, rate)) for rate in rates]


def test_rate_table_shows_medians_and_ratios_of_single_rounds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = {
        network.COMPARED: _rates(OURS, 100, 300, 50),
        network.RIVAL: _rates("PySyncObj 0", 200, 200, 400),
        network.SYNCED_RIVAL: _rates("PySyncObj 0", 400, 100, 500),
    }
    network.print_rates(found, 3, 10)
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    ours = next(line for line in lines if line[0] == "gossipbook,")
    # ratios 0.5, 1.5, 0.125 and 0.25, 3, 0.1; 1 and 2 ms; 250 us; the busier; the larger
    medians = ["100", "(50-300)", "0.50", "0.25", "1.0", "2.0", "250", "0.20", "60", "48", "0.50"]
    assert ours[4:] == medians
    theirs = next(line for line in lines if line[:2] == ["PySyncObj,", "journal"])
    assert theirs[2:] == ["200", "(200-400)", "1.00", "0.80", "250", "0.20", "60"]


@pytest.mark.parametrize(
    ("rates", "visible_s", "verdicts"),
    [
        ((81, 79, 80), 0.0199, ["0.40 x PySyncObj, journal", "met", "met"]),
        ((81, 79, 79), 0.0200, ["0.40 x PySyncObj, journal", "missed", "missed"]),
    ],
)
def test_aims_are_told_with_what_became_of_them(
    rates: tuple[float, ...],
    visible_s: float,
    verdicts: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = {
        network.COMPARED: _rates(OURS, *rates),
        network.RIVAL: _rates("PySyncObj 0", 200, 200, 200),
    }
    steady = {"8": {OURS: [network.raw_steady(_steady_run(OURS, 8, visible_s))]}}
    network.print_aims({"3": found}, steady)
    rate_line, visible_line, *_ = capsys.readouterr().out.splitlines()
    assert verdicts[0] in rate_line
    assert rate_line.endswith(f"the aim is 0.4 at least: {verdicts[1]}")
    assert visible_line.endswith(f"the aim is below 20 ms: {verdicts[2]}")


def test_steady_table_shows_both_delays_and_the_busiest_process(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rounds = [network.raw_steady(_steady_run(OURS, 3, delay_s)) for delay_s in (0.01, 0.03, 0.02)]
    network.print_steady({"3": {OURS: rounds}})
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "N=3, gossipbook 20.0 40.0 10.0 10.0 25%" in lines


@pytest.mark.parametrize(("kind", "warned"), [("tmpfs", True), ("ext4", False)])
def test_files_in_memory_are_warned_of(
    kind: str, warned: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(network, "file_system_of", lambda path: kind)
    assert network.tell_file_system(Path("/somewhere/here")) == kind
    out, err = capsys.readouterr()
    assert f"files in /somewhere, file system {kind}" in out
    assert ("a sync is free" in err) == warned


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--rounds", "0"], "give at least 1"),
        (["--directory", "/nowhere/at/all"], "give a directory that exists"),
    ],
)
def test_impossible_arguments_are_refused(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        network.main(arguments)
    assert complaint in capsys.readouterr().err
