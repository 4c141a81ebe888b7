"""The same work on other libraries: that it is done, that disagreement is noticed, that nothing
stays behind."""

import json
import os
import socket
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen

import pytest

from bench import raft_processes, rivals
from bench.raft_processes import RaftCluster, raft_cluster
from bench.replication_work import (
    LatencyResult,
    RateResult,
    RivalFailed,
    RivalMissing,
    check_agreement,
    digest,
    record,
)
from bench.report import Results

TABLE = """# figures

| system | N=3 records/s | N=8 records/s | p50 |
|---|---|---|---|
| PySyncObj 0.0 (Raft) | 7,001 | 602 | 1 / 2 |
| automerge 0 | 15 | - | 3 |

| system | messages/s |
|---|---|
| PySyncObj | 5 |
"""


def test_records_are_distinct_orders_of_100_bytes() -> None:
    written = {record(node, number) for node in range(8) for number in range(1_000)}
    assert len(written) == 8_000
    assert {len(text.encode()) for text in written} == {100}
    assert json.loads(record(2, 41)) == {
        "author": "daa66d13",
        "seq": "000041",
        "market": "BTC-USD",
        "side": "S",
        "price": "64017.41",
        "lots": "00042",
    }


def test_digest_tells_the_same_records_in_another_order_apart() -> None:
    ours = [record(0, 0), record(1, 0)]
    assert digest(ours) != digest(ours[::-1])


def test_rate_and_cost_of_a_run() -> None:
    result = RateResult("x", 3, 600, wall_s=0.5, processor_s=0.03)
    assert result.records_per_s == 1_200
    assert result.processor_us_per_record == pytest.approx(50)


def test_percentile_is_the_nearest_rank() -> None:
    result = LatencyResult("x", 3, tuple(number / 1e3 for number in range(1, 201)))
    assert result.percentile_ms(50) == pytest.approx(100)
    assert result.percentile_ms(99) == pytest.approx(198)
    assert LatencyResult("x", 3, (0.25,)).percentile_ms(1) == pytest.approx(250)


@pytest.mark.parametrize(("held", "digests"), [(5, {"a"}), (6, {"a", "b"})])
def test_missing_records_and_different_lists_are_failures(held: int, digests: set[str]) -> None:
    with pytest.raises(RivalFailed, match=f"{held} of 6 records, and {len(digests)} different"):
        check_agreement("pysyncobj 0", expected=6, held=held, digests=digests)


def test_figures_from_elsewhere_come_from_the_row_of_the_system(tmp_path: Path) -> None:
    path = tmp_path / "anchors.md"
    path.write_text(TABLE)
    assert rivals.anchor_rates("PySyncObj", path) == {3: 7_001, 8: 602}
    assert rivals.anchor_rates("automerge", path) == {3: 15}
    assert rivals.anchor_rates("pycrdt", path) == {}


def test_no_figures_from_elsewhere_without_their_file(tmp_path: Path) -> None:
    assert rivals.anchor_rates("PySyncObj", tmp_path / "none.md") == {}


def test_missing_library_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_found(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(rivals, "version", not_found)
    with pytest.raises(RivalMissing, match=r"pycrdt is not installed; .*gossipbook\[bench\]"):
        rivals.run_pycrdt(3, 1)


def test_missing_library_is_left_out_of_the_tables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*_: object) -> RateResult:
        raise RivalMissing("none here")

    monkeypatch.setattr(rivals, "RATE_RUNS", {"gone": missing})
    monkeypatch.setattr(rivals, "LATENCY_RUNS", {"gone": missing})
    assert rivals.main(["--small"]) == {"rates": {}, "latencies": {}}
    assert "none here" in capsys.readouterr().err


@pytest.mark.parametrize(
    "call",
    [
        lambda: rivals.run_pysyncobj(1, 5),
        lambda: rivals.run_pysyncobj(3, 0),
        lambda: rivals.run_pysyncobj(3, 5, batch=0),
        lambda: rivals.run_pysyncobj(3, 5, settings="fastest"),
        lambda: rivals.pysyncobj_latency(3, 0.0),
        lambda: rivals.run_pycrdt(1, 5),
        lambda: rivals.pycrdt_latency(1, 1.0),
    ],
)
def test_impossible_work_is_refused(call: Callable[[], object]) -> None:
    pytest.importorskip("pysyncobj")
    pytest.importorskip("pycrdt")
    with pytest.raises(ValueError, match=r"give at least|there are usual"):
        call()


# ==================================================================== pycrdt


@pytest.mark.parametrize("deferred", [False, True])
@pytest.mark.parametrize("batch", [1, 4])
def test_documents_end_up_equal_and_every_update_goes_to_all_others(
    batch: int, deferred: bool
) -> None:
    pytest.importorskip("pycrdt")
    result = rivals.run_pycrdt(3, 10, batch=batch, deferred=deferred)
    assert (result.nodes, result.records) == (3, 30)
    assert result.system.startswith("pycrdt ")
    assert result.wire_bytes is not None
    assert result.wire_bytes > 2 * 30 * 100  # each record to two others, and something around it
    assert 0 < result.wall_s < 60


def test_document_that_missed_an_update_is_noticed() -> None:
    pytest.importorskip("pycrdt")
    documents = rivals._Documents(3)
    documents.write(0, ["a"])
    with pytest.raises(RivalFailed, match="0 of 1 records, and 2 different lists"):
        documents.check("pycrdt", 1)
    documents.deliver(0)
    documents.check("pycrdt", 1)
    documents.close()


def test_latency_counts_every_record_on_documents() -> None:
    pytest.importorskip("pycrdt")
    result = rivals.pycrdt_latency(3, 0.05, records_per_s=200)
    assert len(result.delays_s) == 10
    assert list(result.delays_s) == sorted(result.delays_s)
    assert result.delays_s[0] > 0


# ==================================================================== PySyncObj


@pytest.mark.parametrize("batch", [1, 4])
def test_processes_end_up_with_equal_lists(batch: int) -> None:
    pytest.importorskip("pysyncobj")
    result = rivals.run_pysyncobj(3, 10, settings="tuned", batch=batch)
    assert (result.nodes, result.records) == (3, 30)
    assert result.system.startswith("pysyncobj ")
    assert 0 < result.wall_s < 60
    assert result.processor_s > 0


def test_latency_counts_every_record_on_processes() -> None:
    pytest.importorskip("pysyncobj")
    result = rivals.pysyncobj_latency(3, 0.05, settings="prompt", records_per_s=200)
    assert len(result.delays_s) == 10
    assert result.delays_s[0] > 0


def test_processes_and_ports_are_gone_after_the_block() -> None:
    pytest.importorskip("pysyncobj")
    with pytest.raises(KeyError), raft_cluster(2, "tuned") as cluster:
        running = list(cluster._processes)
        assert [process.poll() for process in running] == [None, None]
        ports = [_port(process) for process in running]
        raise KeyError("something else went wrong")
    assert all(process.poll() is not None for process in running)
    for port in ports:
        with socket.socket() as once_more:
            once_more.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            once_more.bind(("127.0.0.1", port))


def test_process_that_ends_early_is_an_error_and_ends_the_others() -> None:
    pytest.importorskip("pysyncobj")
    with (
        pytest.raises(RivalFailed, match="node 1 ended without a word"),
        raft_cluster(2, "tuned") as cluster,
    ):
        running = list(cluster._processes)
        running[1].kill()
        running[1].wait()
        cluster.hear(60.0)
    assert all(process.poll() is not None for process in running)


def test_answer_that_does_not_come_in_time_is_an_error() -> None:
    pytest.importorskip("pysyncobj")
    with (
        pytest.raises(RivalFailed, match=r"2 nodes gave no answer within 0\.1 s"),
        raft_cluster(2, "tuned") as cluster,
    ):
        cluster.hear(0.1)  # nothing was asked


def test_what_goes_wrong_in_a_process_is_told() -> None:
    pytest.importorskip("pysyncobj")
    with (
        pytest.raises(RivalFailed, match=r"(?s)node [01]: .*KeyError: 'dance'"),
        raft_cluster(2, "tuned") as cluster,
    ):
        cluster.ask("dance")


def test_start_that_fails_is_tried_with_other_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pysyncobj")
    free_ports = raft_processes._free_ports
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        answers = [[taken.getsockname()[1], *free_ports(1)]]
        monkeypatch.setattr(
            raft_processes, "_free_ports", lambda count: (answers or [free_ports(count)]).pop()
        )
        with raft_cluster(2, "tuned") as cluster:
            assert all(process.poll() is None for process in cluster._processes)
    assert answers == []


def test_start_that_always_fails_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pysyncobj")
    monkeypatch.setitem(raft_processes.SETTINGS, "wrong", {"appendEntriesPeriod": -1.0})
    monkeypatch.setattr(raft_processes, "START_ATTEMPTS", 2)
    started: list[RaftCluster] = []
    hear = RaftCluster.hear

    def noted_hear(self: RaftCluster, limit_s: float) -> list[Results]:
        started.append(self)
        return hear(self, limit_s)

    monkeypatch.setattr(RaftCluster, "hear", noted_hear)
    with pytest.raises(RivalFailed, match="AssertionError"), raft_cluster(2, "wrong"):
        pass
    assert len(started) == 2
    assert all(process.poll() is not None for one in started for process in one._processes)


def test_process_ends_when_nobody_asks_any_more() -> None:
    pytest.importorskip("pysyncobj")
    (port,) = raft_processes._free_ports(1)
    request = {"me": 0, "addresses": [f"127.0.0.1:{port}"], "settings": {}}
    process = Popen(
        [sys.executable, "-m", "bench.raft_processes", json.dumps(request)],
        cwd=Path(rivals.__file__).parent.parent,
        env=os.environ,
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
    )
    assert process.stdout is not None
    assert b"ready" in process.stdout.readline()
    process.communicate(timeout=10)  # closes its stdin
    assert process.returncode == 0


def _port(process: Popen[str]) -> int:
    assert isinstance(process.args, list)
    request = json.loads(process.args[-1])
    return int(request["addresses"][request["me"]].rsplit(":", 1)[1])
