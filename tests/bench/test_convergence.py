"""The convergence experiments measure what they say, by hand-worked worlds and by a slow twin."""

from collections import deque
from pathlib import Path

import pytest

import gossipbook as gb
from bench import convergence
from bench.convergence import Plan, Trace, TracedCluster
from gossipbook.randomness import SeededRandom

TINY = Plan(
    seeds=2,
    spread_orders={3: 2, 12: 1},
    losses=(0.0, 0.3),
    loss_peers=4,
    loss_orders=2,
    loss_lead_s=0.5,
    loss_window_s=0.5,
    partition_peers=4,
    bytes_lead_s=0.5,
    bytes_windows_s={3: 1.0, 12: 0.5},
)


def order() -> gb.LimitOrder:
    return convergence.random_order(SeededRandom(1))


def quiet_cluster(peers: int, *, latency: tuple[float, float]) -> TracedCluster:
    """Peers that have made their links and have nothing to say. Disks answer in 1 ms."""
    genesis = gb.Genesis("test", [gb.Market(convergence.SYMBOL, "0.01", "0.0001")])
    link = gb.sim.Link(latency=latency)
    cluster = TracedCluster(genesis, peers=peers, seed=5, link=link, store_delay=(0.001, 0.001))
    cluster.run_for(4.0)
    return cluster


def links_between(cluster: TracedCluster, start: int) -> dict[int, int]:
    """How many links away each peer is from ``start``: breadth first over the links that stand."""
    away = {start: 0}
    queue = deque([start])
    while queue:
        index = queue.popleft()
        for _, other in cluster.links_of(index):
            if other not in away:
                away[other] = away[index] + 1
                queue.append(other)
    return away


# ---------------------------------------------------------------- following an order


def test_in_a_full_mesh_an_order_takes_one_hop_and_the_sum_of_its_delays() -> None:
    cluster = quiet_cluster(5, latency=(0.01, 0.01))
    trace = cluster.follow(2, order())
    assert trace.hops == {0: 1, 1: 1, 2: 0, 3: 1, 4: 1}
    # The disk 1 ms; pushes gather for 2 ms; the way 10 ms.
    assert [at_us - trace.submitted_us for at_us in trace.arrivals_us] == [1_000] + [13_000] * 4
    assert trace.journey() == (1, 0.013, 0.013, 0.013)


def test_no_hop_count_is_below_the_number_of_links_between_the_peers() -> None:
    cluster = quiet_cluster(40, latency=(0.005, 0.05))
    away = links_between(cluster, 7)
    trace = cluster.follow(7, order())
    assert sorted(trace.hops) == list(range(40))
    assert all(trace.hops[index] >= away[index] for index in range(40))
    assert trace.hops[7] == 0 < min(hops for index, hops in trace.hops.items() if index != 7)
    assert trace.journey().hops >= max(away.values()) >= 2


def test_a_journey_counts_peers_from_the_author_on() -> None:
    trace = Trace(gb.Keypair.from_seed(bytes(32)).peer_id, 0, 1_000_000)
    trace.hops = {index: index // 4 for index in range(20)}
    trace.arrivals_us = [1_000_000 + 10_000 * place for place in range(1, 21)]
    assert trace.journey() == (4, 0.1, 0.18, 0.2)  # the 10th, the 18th, the 20th


def test_an_order_that_cannot_reach_a_peer_ends_with_who_lacks_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(convergence, "DEADLINE_S", 2.0)
    cluster = quiet_cluster(4, latency=(0.01, 0.01))
    cluster.partition({3})
    with pytest.raises(gb.NotConverged, match="reached 3 of 4 peers"):
        cluster.follow(0, order())


# ---------------------------------------------------------------- the experiments


def test_the_same_seed_gives_the_same_figures_and_another_seed_others() -> None:
    one, same, other = (
        convergence.follow_orders(peers=8, loss=0.2, orders=3, seed=seed) for seed in (1, 1, 2)
    )
    assert one == same != other


def test_two_sides_of_a_partition_hold_two_books_and_one_after_the_heal() -> None:
    found = convergence.watch_partition(peers=5, seed=1)
    curves = found["samples"]
    at_cut = dict(zip(curves["second"], curves["roots_at_cut"], strict=True))
    assert set(curves["roots_at_cut"]) >= {1, 2}
    assert {at_cut[second] for second in (1.0, 4.0, 6.9, 20.0, 25.0)} == {1}
    assert {at_cut[second] for second in (9.0, 12.0, 14.9)} == {2}
    assert curves["roots"][-1] == 1 and curves["lacking"][-1] == 0
    # The side of two lacks what the three wrote in ten seconds: 240 orders, give or take ten.
    at_heal = curves["second"].index(convergence.HEAL_S)
    assert 180 < curves["lacking"][at_heal] == curves["overdue"][at_heal] < 300
    assert max(curves["overdue"]) == curves["overdue"][at_heal]
    assert 0 < found["caught_up_s"] < 5
    assert 0 < found["equal_s"] < 1


def test_a_curve_has_settled_when_it_has_come_to_stay() -> None:
    curves = {"second": [0.0, 0.1, 0.2, 0.3, 0.4], "roots": [1, 3, 1, 2, 1]}
    assert convergence._settled_s(curves, "roots", 1, since_s=0.1) == 0.3
    assert convergence._settled_s(curves, "roots", 2, since_s=0.1) is None
    assert convergence._settled_s({**curves, "roots": [1] * 5}, "roots", 1, since_s=0.2) == 0.0


def test_every_delivery_pays_at_least_for_its_entry_and_the_parts_are_all_there_is() -> None:
    found = convergence.measure_flow(peers=3, loss=0.0, lead_s=1.0, window_s=3.0, seed=1)
    parts = found["parts"]
    assert 0.97 < parts["first"] / found["entry_bytes"] < 1.1  # some are under way at the ends
    assert found["copies_again"] < 0.1  # the author sends to both, who only tell each other
    assert all(parts[name] > 0 for name in ("heads", "anti_entropy", "upkeep"))


def test_bytes_by_part_add_up_to_what_the_links_carried() -> None:
    cluster = quiet_cluster(12, latency=(0.005, 0.05))
    cluster.follow(3, order())
    total = convergence._traffic(cluster)
    assert sum(total[name] for name in convergence.PARTS) == cluster.counters.message_bytes
    assert total["novel_entries"] == 11


# ---------------------------------------------------------------- tables, figures, options


@pytest.mark.parametrize(
    ("name", "cases"),
    [
        ("spread", ["0%", "0%", "20%", "20%"]),
        ("loss", ["0%", "30%"]),
        ("partition", ["1", "2"]),
        ("bytes", ["3", "12"]),
    ],
)
def test_an_experiment_prints_a_row_a_case_and_saves_its_figure(
    name: str, cases: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    results = convergence.run(TINY, [name], tmp_path / "new")
    _, table, last = capsys.readouterr().out.strip().split("\n\n")
    assert [line.split()[0] for line in table.splitlines()[1:]] == cases
    path = tmp_path / "new" / f"convergence-{name}.png"
    assert last == f"figure: {path}"
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert [len(found) for found in results.values()] == [len(cases)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--seeds", "0"], "at least one seed"), (["--only", "weather"], "invalid choice")],
)
def test_options_that_make_no_sense_are_refused_with_the_remedy(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        convergence.main(arguments)
    assert words in capsys.readouterr().err


def test_without_matplotlib_nothing_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(convergence, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        convergence.main(["--small"])
    assert "pip install 'gossipbook[bench]'" in capsys.readouterr().err
