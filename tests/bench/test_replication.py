"""Peers that write all at once: that the bench does what its tables say."""

import cProfile
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import gossipbook.log.entry
import gossipbook.log.verification
from bench import profile_stages, replication, rivals
from bench.replication_work import LatencyResult, RateResult, RivalMissing
from bench.report import Results
from gossipbook.encoding import decode, encode
from gossipbook.identity import PeerId
from gossipbook.log.entry import EntryId


@pytest.mark.parametrize(("batch", "entries"), [(1, 15), (4, 6), (256, 3)])
def test_every_peer_ends_up_with_every_order_in_entries_of_the_size_asked_for(
    batch: int, entries: int
) -> None:
    measured = replication.run_gossipbook(3, 5, batch=batch)
    assert (measured.rate.nodes, measured.rate.records) == (3, 15)
    assert measured.entries == entries
    assert measured.rate.wire_bytes is not None
    assert measured.rate.wire_bytes > 2 * entries * (64 + 32)  # signature and prev, to two others
    assert measured.messages > 0
    assert 0 < measured.submitted_s <= measured.rate.wall_s < 60


def test_orders_submitted_all_at_once_share_entries() -> None:
    assert replication.run_gossipbook(2, 40, at_once=True).entries < 40


@pytest.mark.parametrize("shared", [False, True])
def test_each_for_itself_checks_a_signature_once_a_peer_and_shared_once(
    shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[EntryId] = []
    check = gossipbook.log.entry.signature_is_good

    def counted(author: PeerId, entry_id: EntryId, signature: bytes) -> bool:
        checked.append(entry_id)
        return check(author, entry_id, signature)

    monkeypatch.setattr(gossipbook.log.verification, "signature_is_good", counted)
    replication.run_gossipbook(3, 4, batch=2, shared=shared)
    entries = 3 * (4 // 2 + replication.WARM_ORDERS // 4)
    assert len(set(checked)) == entries
    assert len(checked) == entries * (1 if shared else 2)  # nobody checks its own


def test_only_who_shares_remembers_runs_and_only_for_the_run() -> None:
    module = gossipbook.log.entry
    limit_bytes = module.MAX_REMEMBERED_BYTES
    assert limit_bytes > 0
    replication.run_gossipbook(2, 2)
    assert module.decode_run.remembered_bytes == 0
    assert limit_bytes == module.MAX_REMEMBERED_BYTES
    replication.run_gossipbook(2, 2, shared=True)
    assert module.decode_run.remembered_bytes > 0


def test_latency_counts_every_order() -> None:
    result = replication.gossipbook_latency(3, 0.1, records_per_s=100)
    assert len(result.delays_s) == 10
    assert 0 < result.delays_s[0] < result.delays_s[-1] < 60


@pytest.mark.parametrize(
    "call",
    [
        lambda: replication.run_gossipbook(1, 5),
        lambda: replication.run_gossipbook(3, 0),
        lambda: replication.run_gossipbook(3, 5, batch=0),
        lambda: replication.gossipbook_latency(3, 0.0),
    ],
)
def test_impossible_work_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="give at least"):
        call()


def test_small_form_without_the_other_libraries_writes_its_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*_: object) -> RateResult:
        raise RivalMissing("none here")

    monkeypatch.setattr(replication, "SMALL_SHARES", {2: 20})
    monkeypatch.setattr(replication, "SMALL_LATENCY_S", 0.05)
    monkeypatch.setattr(rivals, "RATE_RUNS", {"PySyncObj": missing})
    monkeypatch.setattr(rivals, "LATENCY_RUNS", {"PySyncObj": missing})
    results = replication.main(["--small", "--profile", "--json", str(tmp_path / "raw.json")])
    assert json.loads((tmp_path / "raw.json").read_text())["replication"] == results
    rates = results["rates"]["2"]
    assert len(rates) == 8  # three batch sizes and all at once, each for itself and shared
    assert all(len(rounds) == 1 and rounds[0]["records_per_s"] > 0 for rounds in rates.values())
    assert list(results["latencies"]) == ["gossipbook, each for itself"]
    assert set(results["profile"]) == {
        "N=2, 1 an entry",
        "N=2, 16 an entry",
        "N=2, 200 orders/s, all subscribed",
    }
    assert all(stages["signatures"] > 0 for stages in results["profile"].values())
    out, err = capsys.readouterr()
    assert "N=2: 2 x 20 records" in out
    assert "none here" in err


# ==================================================================== tables


def _rates(*rates: float) -> list[Results]:
    return [{"records_per_s": rate, "processor_us_per_record": 1e6 / rate} for rate in rates]


def test_ratios_are_of_one_round_each() -> None:
    assert replication.ratios(_rates(100, 300, 50), _rates(200, 200, 200)) == [0.5, 1.5, 0.25]


def test_table_shows_medians_ratios_and_the_aim(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rivals, "anchor_rates", lambda name: {3: 77} if name == "PySyncObj" else {})
    found = {
        replication.COMPARED: _rates(100, 300, 50),
        "PySyncObj": _rates(200, 200, 400),
        "PySyncObj, tuned": _rates(400, 100, 500),
    }
    replication.print_rates(found, 3, 10)
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    ours = next(line for line in lines if line[0] == "gossipbook,")
    assert ours[-5:] == ["100", "(50-300)", "0.50", "0.25", "10000"]
    theirs = next(line for line in lines if line[0] == "PySyncObj")
    assert theirs == ["PySyncObj", "200", "(200-400)", "1.00", "0.80", "5000", "77"]
    verdict = " ".join(lines[-2])
    assert "0.50 x PySyncObj (0.12-1.50 in single rounds; the aim is 0.8)" in verdict


def test_latency_table_shows_medians_beside_the_aim(capsys: pytest.CaptureFixture[str]) -> None:
    rounds = [{"p50_ms": 5.0, "p99_ms": 9.0}, {"p50_ms": 7.0, "p99_ms": 90.0}]
    replication.print_latencies({"gossipbook": {"3": rounds, "8": rounds[:1]}})
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "gossipbook 6.0 / 49.5 5.0 / 9.0" in lines
    assert "the aim, below 10 / 50 10 / 50" in lines


def test_order_of_the_turns_is_ours_and_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[tuple[str, int]] = []

    def run(name: str, nodes: int) -> LatencyResult:
        turns.append((name, nodes))
        return LatencyResult(name, nodes, (0.1,))

    monkeypatch.setattr(
        replication,
        "latency_runs",
        lambda seed: {
            "a": lambda nodes, seconds: run("a", nodes),
            "b": lambda nodes, seconds: run("b", nodes),
        },
    )
    found = replication.measure_latencies((3, 8), 2, seconds=1.0, seed=1)
    assert turns == 2 * [("a", 3), ("b", 3), ("a", 8), ("b", 8)]
    assert [len(rounds) for by_nodes in found.values() for rounds in by_nodes.values()] == 4 * [2]


# ==================================================================== profile


@pytest.mark.parametrize(
    ("path", "stage"),
    [
        ("/x/site-packages/nacl/bindings/crypto_sign.py", "signatures"),
        ("/work/gossipbook/log/verification.py", "signatures"),
        ("/work/gossipbook/log/entry.py", "encode and decode"),
        ("/work/gossipbook/log/frontier.py", "hashes and roots"),
        ("/work/gossipbook/log/merge.py", "logs and merge"),
        ("/work/gossipbook/book/digest.py", "hashes and roots"),
        ("C:\\gossipbook\\book\\matching.py", "matching"),
        ("/x/site-packages/trio/_core/_run.py", "trio"),
        ("/work/bench/replication.py", "other"),
    ],
)
def test_stage_of_a_file(path: str, stage: str) -> None:
    assert profile_stages.stage_of(path) == stage


def test_stages_add_up_to_all_profiled_time(capsys: pytest.CaptureFixture[str]) -> None:
    profiler = cProfile.Profile()
    profiler.runcall(_work)
    seconds = profile_stages.stage_seconds(profiler)
    own = sum(entry.inlinetime for entry in profiler.getstats())
    assert sum(seconds.values()) == pytest.approx(own)
    assert seconds["encode and decode"] > 0.2 * own  # its built-ins counted with it
    profile_stages.print_profile(profiler, 10)
    assert "gossipbook/encoding.py" in capsys.readouterr().out


def _work() -> None:
    until = time.perf_counter() + 0.02
    data = encode([list(range(200))])
    while time.perf_counter() < until:
        decode(data, max_size=10_000)
