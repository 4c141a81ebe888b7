"""What Prometheus reads from a peer, over real HTTP; and that docs and dashboard name just that."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import trio
from twins.scenario import GENESIS, cluster_of, limit
from twins.trio_peers import keypair, linked_peers, until
from twins.virtual_time import real_time, virtual_time

import gossipbook as gb

metrics = pytest.importorskip("gossipbook.metrics", reason="needs gossipbook[metrics]")

from prometheus_client.parser import text_string_to_metric_families  # noqa: E402

DOCS = Path(__file__).parents[1] / "docs"
DASHBOARD = DOCS / "grafana" / "gossipbook.json"
BOB = keypair(2).peer_id

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def scrape(address: str) -> Samples:
    """Every sample that a scrape gives, by name and labels."""
    text = await trio.to_thread.run_sync(fetch, address)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def fetch(address: str) -> str:
    with urlopen(f"http://{address}/metrics", timeout=10) as answer:
        return answer.read().decode()


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[f"gossipbook_{name}", tuple(sorted(labels.items()))]


# ------------------------------------------------------------------ over HTTP


@real_time
async def test_a_scrape_tells_what_happened() -> None:
    async with (
        linked_peers(2) as (alice, bob),
        metrics.serve(alice, "127.0.0.1", 0) as address,
    ):
        await alice.submit(limit("sell", 100, 2))
        await bob.submit(limit("buy", 100, 1))
        await gb.wait_until_equal([alice, bob])
        await until(lambda: alice.links()[0].round_trip_s is not None, "a ping came back")
        samples = await scrape(address)
        assert value(samples, "up") == 1
        assert value(samples, "peer_info", id=alice.peer_id.hex(), network=GENESIS.name) == 1
        assert value(samples, "entries") == value(samples, "authors") == 2
        assert value(samples, "trades") == value(samples, "links") == 1
        assert value(samples, "novel_entries_total") == 1
        assert value(samples, "applied_commands_total") >= 2
        assert value(samples, "forked_authors") == value(samples, "queue_drops_total") == 0
        for status in ("claimed", "healed", "unresolved"):
            assert value(samples, "divergences_total", status=status) == 0
        assert value(samples, "sent_messages_total", kind="News") >= 1
        assert value(samples, "received_bytes_total", kind="News") > 100
        peer = BOB.hex()[:8]
        assert 0 <= value(samples, "link_phi", peer=peer) < 8
        assert 0 <= value(samples, "link_round_trip_seconds", peer=peer) < 1
        assert value(samples, "link_entries_ahead", peer=peer) == 0
        assert value(samples, "link_age_seconds", peer=peer) > 0
        commits = value(samples, "commit_seconds_count")
        assert commits >= 1
        assert value(samples, "commit_seconds_bucket", le="+Inf") == commits
        assert value(samples, "commit_seconds_bucket", le="5.0") <= commits
        assert 0 < value(samples, "commit_seconds_sum") < 5
        assert ("process_cpu_seconds_total", ()) in samples


@real_time
async def test_a_link_without_a_ping_has_no_round_trip_yet() -> None:
    async with linked_peers(1) as (alice,):
        reading = metrics.read(alice)
    link = gb.LinkStatus(BOB, None, True, 1.0, 0.5, None, None, 3, 2, 1)
    exported = {family.name: family for family in metrics.families(replace(reading, links=[link]))}
    assert exported["gossipbook_link_round_trip_seconds"].samples == []
    assert exported["gossipbook_link_clock_offset_seconds"].samples == []
    (ahead,) = exported["gossipbook_link_entries_ahead"].samples
    assert (ahead.labels, ahead.value) == ({"peer": BOB.hex()[:8]}, 3)


def test_peers_whose_ids_begin_alike_are_told_apart() -> None:
    """One label twice spoils the whole scrape, and 32 bits can be searched for."""
    ids = [gb.PeerId(bytes.fromhex(start) * 8) for start in ("aaaaaaaa", "bbbbbbbb")]
    ids.append(gb.PeerId(ids[0][:31] + b"\0"))
    links = [gb.LinkStatus(one, None, True, 0, 0, None, None, 0, 0, 0) for one in ids]
    assert metrics.link_labels(links) == [ids[0].hex(), "bbbbbbbb", ids[2].hex()]


@real_time
async def test_a_port_in_use_is_refused_with_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with linked_peers(1) as (alice,):
            with pytest.raises(gb.UsageError, match=rf"{port}.*another program.*another port"):
                async with metrics.serve(alice, "127.0.0.1", port):
                    pass


@pytest.mark.parametrize(("host", "port"), [("203.0.113.77", 0), ("127.0.0.1", 70_000)])
@real_time
async def test_where_nobody_can_listen_is_the_callers_mistake(host: str, port: int) -> None:
    async with linked_peers(1) as (alice,):
        with pytest.raises(gb.UsageError, match=host):
            async with metrics.serve(alice, host, port):
                pass


@real_time
async def test_nobody_listens_any_more_after_the_block() -> None:
    async with linked_peers(1) as (alice,):
        async with metrics.serve(alice, "127.0.0.1", 0) as address:
            await scrape(address)
        with pytest.raises(OSError):
            await scrape(address)


@real_time
async def test_a_peer_that_is_busy_is_down_for_prometheus_and_keeps_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics, "PATIENCE_S", 0.1)
    async with linked_peers(1) as (alice,), metrics.serve(alice, "127.0.0.1", 0) as address:
        got: list[str] = []
        asking = threading.Thread(target=lambda: got.append(fetch(address)))
        asking.start()
        time.sleep(1)  # trio's thread does not come round to anything
        asking.join(5)
        assert "gossipbook_up 0.0" in got[0] and "gossipbook_entries" not in got[0]
        assert value(await scrape(address), "up") == 1, "and then it is back"


@real_time
async def test_a_closed_peer_is_still_read() -> None:
    async with linked_peers(1) as (alice,):
        await alice.submit(limit())
    async with metrics.serve(alice, "127.0.0.1", 0) as address:
        samples = await scrape(address)
    assert (value(samples, "entries"), value(samples, "links")) == (1, 0)


@virtual_time
async def test_reading_many_entries_is_quick() -> None:
    """A bound that only a walk over all entries breaks; the figure stands in the docs."""
    cluster = cluster_of(2)
    cluster.run_for(1)
    for _ in range(20):
        cluster.submit(0, [limit("sell", 100 + n, 1) for n in range(250)])
    cluster.run_until_converged(60)
    peer = cluster.peers[1]
    peer.statistics()
    started_s = time.perf_counter()
    peer.statistics(), peer.links()
    assert time.perf_counter() - started_s < 0.05


# ------------------------------------------------------------------ docs and dashboard


@pytest.fixture(scope="module")
def exported() -> dict[str, str]:
    """Type by name of every family that a live peer with a link exports."""

    async def main() -> dict[str, str]:
        async with linked_peers(2) as (alice, _), metrics.serve(alice, "127.0.0.1", 0) as address:
            await alice.submit(limit())
            text = await trio.to_thread.run_sync(fetch, address)
        families = text_string_to_metric_families(text)
        return {family.name: family.type for family in families if "gossipbook" in family.name}

    return trio.run(main)


def base_of(name: str, types: dict[str, str]) -> str:
    """The family that a sample belongs to."""
    if name in types:
        return name
    base = re.sub(r"_(total|bucket|sum|count)$", "", name)
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    assert name.removeprefix(base) in suffixes.get(types.get(base, ""), ()), f"no metric {name}"
    return base


def test_the_dashboard_draws_every_metric_and_no_other(exported: dict[str, str]) -> None:
    drawn = {
        base_of(name, exported)
        for expression in expressions(json.loads(DASHBOARD.read_text()))
        for name in re.findall(r"gossipbook_\w+", expression)
    }
    assert drawn == set(exported)


def test_every_metric_stands_in_the_docs_under_the_name_that_is_queried(
    exported: dict[str, str],
) -> None:
    table = (DOCS / "monitoring.md").read_text()
    told = set(re.findall(r"^\| `(gossipbook_\w+)", table, re.MULTILINE))
    queried = {name + "_total" if kind == "counter" else name for name, kind in exported.items()}
    assert told == queried


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    (source,) = dashboard["__inputs"]
    assert (source["name"], source["type"]) == ("DS_PROMETHEUS", "datasource")
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in cells, f"{panel['title']} covers another panel"
                cells.add((x, y))
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${DS_PROMETHEUS}"
            assert panel["description"] and panel["fieldConfig"]["defaults"]["unit"]
            assert all(target["expr"] for target in panel["targets"])


def expressions(dashboard: Any) -> Iterator[str]:
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]
    for variable in dashboard["templating"]["list"]:
        yield variable["definition"]
