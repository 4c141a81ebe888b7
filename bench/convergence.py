"""How soon all peers agree, what agreeing costs, and what loss and partitions do to both.

Four experiments in the simulated world, each from several seeds, with a table and a figure each:

- *spread*: one order at a time on a quiet network of 8 to 1,000 peers: over how many links and in
  how many gossip rounds it reaches everybody, and when all hold equal book roots.
- *loss*: the same and the price in bytes, while up to half of all messages are lost.
- *partition*: how many different books there are while a trading network is cut in two and heals.
- *bytes*: what a steady flow of orders costs, by what the bytes were for.

Time is simulated: figures depend on the seeds and the code, and on no machine. README.md says what
a round and a hop are, and how to read each figure.

    python -m bench.convergence [--small] [--only NAME ...] [--seeds N] [--output DIR] [--json FILE]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from math import log, log2
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Any, NamedTuple

import gossipbook as gb
from bench.report import Results, print_table, progress, write_json
from gossipbook.gossip.config import GossipConfig
from gossipbook.gossip.interface import Input, Received, Verified, Verify
from gossipbook.identity import PeerId
from gossipbook.log.entry import encode_run
from gossipbook.randomness import SeededRandom

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RESULTS = Path(__file__).resolve().parent / "results"
SYMBOL = "BTC-USD"
LATENCY_S = (0.005, 0.05)
ROUND_S = sum(LATENCY_S) / 2 + GossipConfig().coalesce_us / 1_000_000
"""One gossip round: the mean latency of a link, and the moment for which pushes gather."""
COMPARE_S = GossipConfig().compare_us / 1_000_000

WARM_S = 4.0
"""Simulated seconds in which links are made and clocks compared. A whole number, for cuts are
taken at whole seconds."""
DEADLINE_S = 1_200.0
"""Where half of the messages are lost, the last of 32 peers may wait for a minute or two."""

SPREAD_LOSSES = (0.0, 0.2)
ORDERS_PER_S = 40
AUTHORS = 32
"""Peers that write in a steady flow. What anti-entropy costs grows with the authors, so their
number must not grow with that of the peers."""

CUT_S, HEAL_S, STOP_S, END_S, SAMPLE_S = 5.0, 15.0, 20.0, 25.0, 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of each experiment is run."""

    seeds: int
    spread_orders: dict[int, int]
    """Orders followed per seed and loss, by the number of peers."""
    losses: tuple[float, ...]
    loss_peers: int
    loss_orders: int
    loss_lead_s: float
    loss_window_s: float
    partition_peers: int
    bytes_lead_s: float
    """For how long orders have flowed before bytes are counted."""
    bytes_windows_s: dict[int, float]
    """For how long bytes are counted, by the number of peers."""


FULL = Plan(
    seeds=5,
    spread_orders={8: 200, 32: 100, 100: 50, 1_000: 8},
    losses=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
    loss_peers=32,
    loss_orders=60,
    loss_lead_s=20.0,
    loss_window_s=10.0,
    partition_peers=32,
    bytes_lead_s=3.0,
    bytes_windows_s={8: 10.0, 32: 10.0, 100: 5.0, 1_000: 2.0},
)
SMALL = Plan(
    seeds=2,
    spread_orders={8: 20, 32: 10, 100: 6},
    losses=(0.0, 0.2, 0.5),
    loss_peers=32,
    loss_orders=6,
    loss_lead_s=2.0,
    loss_window_s=3.0,
    partition_peers=16,
    bytes_lead_s=2.0,
    bytes_windows_s={8: 3.0, 32: 3.0, 100: 1.0},
)


def main(arguments: list[str] | None = None) -> Results:
    """Print a table and save a figure for each experiment; the raw results."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.convergence",
        description="Rounds, time and bytes until all peers agree; loss; a partition and its heal.",
    )
    parser.add_argument("--small", action="store_true", help="up to 100 peers, two seeds: a minute")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=list(EXPERIMENTS),
        metavar="NAME",
        help=f"only these: {', '.join(EXPERIMENTS)}",
    )
    parser.add_argument("--seeds", type=int, metavar="N", help="seeds 1 to N (5; small 2)")
    parser.add_argument(
        "--output", type=Path, default=RESULTS, metavar="DIR", help="save the figures here"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="save the raw results here")
    options = parser.parse_args(arguments)
    plan = SMALL if options.small else FULL
    if options.seeds is not None:
        if options.seeds < 1:
            parser.error(f"--seeds {options.seeds}: give at least one seed")
        plan = replace(plan, seeds=options.seeds)
    if find_spec("matplotlib") is None:
        parser.error("the figures need matplotlib: pip install 'gossipbook[bench]'")
    results = run(plan, options.only or list(EXPERIMENTS), options.output)
    if options.json is not None:
        write_json(options.json, {"convergence": results})
    return results


def run(plan: Plan, names: Iterable[str], output: Path) -> Results:
    """Run the experiments named, print their tables, save their figures; the raw results."""
    from matplotlib import rc_context  # only figures need it, and not every bench has figures

    output.mkdir(parents=True, exist_ok=True)
    results: Results = {}
    for name in names:
        experiment = EXPERIMENTS[name]
        results[name] = experiment.measure(plan)
        experiment.show(results[name])
        path = output / f"convergence-{name}.png"
        with rc_context(STYLE):
            experiment.draw(results[name]).savefig(path)
        print(f"figure: {path}\n", flush=True)
    return results


# ==================================================================== spread


def measure_spread(plan: Plan) -> list[Results]:
    """Orders followed one by one, for each loss and number of peers."""
    found = []
    for loss in SPREAD_LOSSES:
        for peers, orders in plan.spread_orders.items():
            progress(f"spread: {peers:,} peers, {loss:.0%} loss, {orders} orders a seed")
            runs = [
                follow_orders(peers=peers, loss=loss, orders=orders, seed=seed)
                for seed in _seeds(plan)
            ]
            found.append({"peers": peers, "loss": loss, "runs": runs})
    return found


def follow_orders(*, peers: int, loss: float, orders: int, seed: int) -> Results:
    """Orders of random authors, each sent when the one before has long settled.

    For each order: the longest path, and the seconds until half, nine tenths and all held it.
    """
    cluster, random = _world(peers=peers, loss=loss, seed=seed)
    journeys = []
    for _ in range(orders):
        journeys.append(cluster.follow(random.below(peers), random_order(random)).journey())
        cluster.run_for(0.5 + random.below(500_000) / 1_000_000)  # out of step with all timers
    return {name: [getattr(one, name) for one in journeys] for name in Journey._fields}


def push_rounds(peers: float) -> float:
    """Rounds until all know a rumour, where each who knows it tells one random peer a round."""
    return log2(peers) + log(peers)


def pull_rounds(peers: float) -> float:
    """The same where everybody also asks one: after a round at best three times as many know."""
    return log(peers, 3)


def show_spread(found: list[Results]) -> None:
    """A row for each loss and number of peers."""
    print(
        f"one order on a quiet network, links of {_milliseconds(LATENCY_S)} ms; "
        f"a round is {1_000 * ROUND_S:.1f} ms\n"
    )
    head = ["loss", "peers", "orders", "hops", "max", "rounds to half", "to 9 in 10", "to all"]
    head += ["max", "log3 N", "log2 N + ln N", "equal roots ms", "max"]
    rows = []
    for one in found:
        peers, hops, all_s = one["peers"], _pooled(one, "hops"), _pooled(one, "all_s")
        half, most, everyone = (
            median(_pooled(one, name)) / ROUND_S for name in ("half_s", "most_s", "all_s")
        )
        row = (
            f"{one['loss']:.0%} {peers:,} {len(hops):,} {median(hops):.0f} {max(hops)} "
            f"{half:.1f} {most:.1f} {everyone:.1f} {max(all_s) / ROUND_S:.1f} "
            f"{pull_rounds(peers):.1f} {push_rounds(peers):.1f} "
            f"{1_000 * median(all_s):,.0f} {1_000 * max(all_s):,.0f}"
        )
        rows.append(row.split())
    print_table(head, rows)


def draw_spread(found: list[Results]) -> Figure:
    """Rounds and hops with and without loss, and the time until all roots are equal."""
    sizes = sorted({one["peers"] for one in found})
    rows = {loss: [one for one in found if one["loss"] == loss] for loss in SPREAD_LOSSES}
    figure, (quiet, lossy, times) = _figure(
        "How far, and how soon, one order travels to every peer",
        f"{_seeds_note(found)}, links of {_milliseconds(LATENCY_S)} ms. A round is "
        f"{1_000 * ROUND_S:.1f} ms: the mean latency of a link, and the 2 ms for which pushes "
        "gather. Bars reach from the least to the most of all orders.",
        columns=3,
    )
    most_hops = max(max(_pooled(one, "hops")) for one in found)
    for panel, loss in ((quiet, SPREAD_LOSSES[0]), (lossy, SPREAD_LOSSES[1])):
        _draw_rounds(panel, rows[loss], sizes, with_last=panel is quiet)
        panel.set_title(_loss_words(loss))
        panel.set_ylim(0, 1.35 * max(push_rounds(sizes[-1]), most_hops))
    for loss, series, shift in zip(SPREAD_LOSSES, SERIES, (0.96, 1.04), strict=False):
        all_s = [_pooled(one, "all_s") for one in rows[loss]]
        _draw_ranges(times, sizes, all_s, _loss_words(loss), series, shift=shift)
    _draw_compare_interval(times)
    times.set(title="until all book roots are equal", ylabel="seconds since the submit")
    times.legend(loc="lower right", title="median order, least, most")
    for panel in (quiet, lossy, times):
        panel.set_xscale("log")
        panel.set_xticks(sizes, [f"{size:,}" for size in sizes])
        panel.set_xticks([], minor=True)
        panel.set_xlabel("peers (N)")
    return figure


def _draw_rounds(panel: Axes, rows: list[Results], sizes: list[int], *, with_last: bool) -> None:
    """The two lines of theory, the longest path, and rounds by the clock."""
    ratio = sizes[-1] / sizes[0]
    between = [sizes[0] * ratio ** (step / 50) for step in range(51)]
    for rounds, label, dashes in (
        (push_rounds, "log₂ N + ln N", "--"),
        (pull_rounds, "log₃ N", ":"),
    ):
        panel.plot(between, list(map(rounds, between)), **REFERENCE, linestyle=dashes, label=label)
    hops = [_pooled(one, "hops") for one in rows]
    _draw_ranges(panel, sizes, hops, "hops on the longest path", SERIES[2], shift=0.94)
    if with_last:
        _draw_ranges(panel, sizes, _rounds(rows, "all_s"), "rounds to all", SERIES[0], shift=1.06)
    for name, label, series in (
        ("most_s", "rounds to 9 peers in 10", SERIES[3]),
        ("half_s", "rounds to half of the peers", SERIES[4]),
    ):
        _draw_line(panel, sizes, list(map(median, _rounds(rows, name))), label, series)
    panel.set_ylabel("gossip rounds, or hops")
    panel.legend(loc="upper left")


def _rounds(rows: list[Results], name: str) -> list[list[float]]:
    """The seconds of every order, in rounds."""
    return [[seconds / ROUND_S for seconds in _pooled(one, name)] for one in rows]


def _loss_words(loss: float) -> str:
    return f"{loss:.0%} of the messages lost" if loss else "no loss"


# ==================================================================== loss


def measure_loss(plan: Plan) -> list[Results]:
    """Orders followed one by one, and a steady flow, for each rate of loss."""
    peers, lead_s, window_s = plan.loss_peers, plan.loss_lead_s, plan.loss_window_s
    found = []
    for loss in plan.losses:
        progress(f"loss: {loss:.0%} of the messages between {peers} peers")
        runs = []
        for seed in _seeds(plan):
            one = follow_orders(peers=peers, loss=loss, orders=plan.loss_orders, seed=seed)
            one["flow"] = measure_flow(
                peers=peers, loss=loss, lead_s=lead_s, window_s=window_s, seed=seed
            )
            runs.append(one)
        found.append({"peers": peers, "loss": loss, "runs": runs})
    return found


def show_loss(found: list[Results]) -> None:
    """A row for each rate of loss."""
    print(
        f"loss between {found[0]['peers']} peers: one order on a quiet network, and bytes per "
        f"delivery (order and receiver)\nof a steady flow of {ORDERS_PER_S} orders/s\n"
    )
    head = ["loss", "orders", "ms to half", "to 9 in 10", "equal roots ms", "max"]
    head += ["bytes/delivery", "to no loss"]
    rows = []
    for one in found:
        half, most, everyone = (
            1_000 * median(_pooled(one, name)) for name in ("half_s", "most_s", "all_s")
        )
        sent_bytes = mean(_flow_totals(one))
        row = (
            f"{one['loss']:.0%} {len(_pooled(one, 'all_s')):,} {half:,.0f} {most:,.0f} "
            f"{everyone:,.0f} {1_000 * max(_pooled(one, 'all_s')):,.0f} "
            f"{sent_bytes:,.0f} {sent_bytes / mean(_flow_totals(found[0])):.2f}"
        )
        rows.append(row.split())
    print_table(head, rows)


def draw_loss(found: list[Results]) -> Figure:
    """Time until all agree and bytes per delivery, against the loss."""
    losses = [100 * one["loss"] for one in found]
    figure, (times, sizes) = _figure(
        f"What lost messages cost {found[0]['peers']} peers",
        f"{_seeds_note(found)} (small dots), links of {_milliseconds(LATENCY_S)} ms. "
        "What is lost is lost: nothing below the protocol sends it again, as TCP would.",
        columns=2,
    )
    for of_orders, name, label, series in (
        (max, "all_s", "all peers, worst order", SERIES[1]),
        (median, "all_s", "all peers, median order", SERIES[0]),
        (median, "most_s", "9 peers in 10, median order", SERIES[3]),
        (median, "half_s", "half of the peers, median order", SERIES[4]),
    ):
        _draw_line(times, losses, [of_orders(_pooled(one, name)) for one in found], label, series)
        of_seeds = [[of_orders(run[name]) for run in one["runs"]] for one in found]
        _draw_seeds(times, losses, of_seeds, series)
    _draw_compare_interval(times)
    times.set(title="until the order is held", ylabel="seconds since the submit")
    totals = [_flow_totals(one) for one in found]
    _draw_line(sizes, losses, list(map(mean, totals)), "all that is sent", SERIES[0])
    _draw_seeds(sizes, losses, totals, SERIES[0])
    _draw_entry_size(sizes, found)
    sizes.set_ylim(0, 1.3 * max(map(max, totals)))
    sizes.yaxis.set_major_formatter("{x:,.0f}")
    sizes.set(title=f"steady flow, {ORDERS_PER_S} orders/s", ylabel="bytes per order and receiver")
    for panel in (times, sizes):
        panel.set_xlabel("messages lost (%)")
        panel.set_xticks(losses)
        panel.legend(loc="upper left")
    return figure


# ==================================================================== partition


class Sample(NamedTuple):
    """What the peers hold at one moment."""

    second: float
    roots: int
    """Different book roots, now."""
    roots_at_cut: int | None
    """Different book roots at the newest cut that all can tell; None where there is none."""
    lacking: int
    """Entries that the peer lacks that lacks most."""
    overdue: int
    """Of the entries written before the heal, those that the peer lacks that lacks most."""


def measure_partition(plan: Plan) -> list[Results]:
    """A partition and its heal, for each seed."""
    found = []
    for seed in _seeds(plan):
        progress(f"partition: {plan.partition_peers} peers, seed {seed}")
        found.append(watch_partition(peers=plan.partition_peers, seed=seed))
    return found


def watch_partition(*, peers: int, seed: int) -> Results:
    """Peers trade, are cut in two halves, heal and stop trading: a sample every 0.1 s."""
    cluster, random = _world(peers=peers, loss=0.0, seed=seed)
    group = random.sample(range(peers), peers // 2)
    flow = SteadyFlow(cluster, random, authors=peers)
    actions: dict[int, Callable[[], None]] = {
        _step_at(0): flow.start,
        _step_at(CUT_S): lambda: cluster.partition(group),
        _step_at(HEAL_S): cluster.heal,
        _step_at(STOP_S): flow.stop,
    }
    owed: dict[PeerId, int] = {}
    samples = []
    for step in range(_step_at(END_S) + 1):
        if step in actions:
            actions[step]()
        if step == _step_at(HEAL_S):
            owed = _written(cluster)
        samples.append(_sample(cluster, round(step * SAMPLE_S, 3), owed))
        cluster.run_for(SAMPLE_S)
    curves = {name: [getattr(one, name) for one in samples] for name in Sample._fields}
    return {
        "peers": peers,
        "seed": seed,
        "orders": flow.count,
        "samples": curves,
        "caught_up_s": _settled_s(curves, "overdue", 0, since_s=HEAL_S),
        "equal_at_cut_s": _settled_s(curves, "roots_at_cut", 1, since_s=HEAL_S),
        "equal_s": _settled_s(curves, "roots", 1, since_s=STOP_S),
    }


def _step_at(second: float) -> int:
    return round(second / SAMPLE_S)


def _sample(cluster: gb.sim.Cluster, second: float, owed: dict[PeerId, int]) -> Sample:
    roots = {peer.root for peer in cluster.peers}  # reading settles: cuts can be told then
    return Sample(
        second,
        len(roots),
        roots_at_newest_cut(cluster),
        max(_count_lacking(peer, _written(cluster)) for peer in cluster.peers),
        max(_count_lacking(peer, owed) for peer in cluster.peers),
    )


def roots_at_newest_cut(cluster: gb.sim.Cluster) -> int | None:
    """How many different book roots there are at the newest cut that all peers can tell."""
    count = cluster.config.cuts_sent
    cuts = [
        {
            cut.second: cut.book_root
            for cut in peer.replica.recent_cuts(local_ms=peer.running.local_ms, count=count)
        }
        for peer in cluster.peers
    ]
    common = set(cuts[0]).intersection(*cuts[1:])
    return len({one[max(common)] for one in cuts}) if common else None


def _written(cluster: gb.sim.Cluster) -> dict[PeerId, int]:
    """How many entries each author has written."""
    return {peer.peer_id: peer.replica.head(peer.peer_id).length for peer in cluster.peers}


def _count_lacking(peer: gb.sim.SimulatedPeer, written: dict[PeerId, int]) -> int:
    head = peer.replica.head
    return sum(max(0, length - head(author).length) for author, length in written.items())


def _settled_s(curves: Results, name: str, wanted: int, *, since_s: float) -> float | None:
    """Seconds after ``since_s`` until a curve has come to stay; None where it never does."""
    pairs = list(zip(curves["second"], curves[name], strict=True))
    other_s = max((second for second, value in pairs if value != wanted), default=-1.0)
    settled = [second for second, _ in pairs if second > other_s and second >= since_s]
    return round(settled[0] - since_s, 3) if settled else None


def show_partition(found: list[Results]) -> None:
    """A row for each seed."""
    print(
        f"{found[0]['peers']} peers trade {ORDERS_PER_S} orders/s until second {STOP_S:.0f}, and "
        f"are cut in halves from second {CUT_S:.0f} to {HEAL_S:.0f}\n"
    )
    head = ["seed", "orders", "roots while whole", "while cut", "at cuts", "most lacking"]
    head += ["s to catch up", "to equal cuts", "from the last order to equal roots"]
    rows = []
    for one in found:
        curves = one["samples"]
        row = (
            f"{one['seed']} {one['orders']:,} {median(_between(curves, 'roots', 1.0, CUT_S)):.0f} "
            f"{median(_between(curves, 'roots', CUT_S + 5, HEAL_S)):.0f} "
            f"{median(_between(curves, 'roots_at_cut', CUT_S + 5, HEAL_S)):.0f} "
            f"{max(curves['lacking']):,} "
            f"{one['caught_up_s']} {one['equal_at_cut_s']} {one['equal_s']}"
        )
        rows.append(row.split())
    print_table(head, rows)


def _between(curves: Results, name: str, first_s: float, end_s: float) -> list[int]:
    pairs = zip(curves["second"], curves[name], strict=True)
    return [value for second, value in pairs if first_s <= second < end_s and value is not None]


def draw_partition(found: list[Results]) -> Figure:
    """Three curves through the partition: seeds thin, their median bold."""
    figure, panels = _figure(
        f"{found[0]['peers']} peers through a partition and its heal",
        f"{len(found)} seeds, thin; their median, bold. {ORDERS_PER_S} orders/s by all peers "
        f"together, links of {_milliseconds(LATENCY_S)} ms.",
        rows=3,
        width=8.5,
    )
    for panel, name, unit, title, series in zip(
        panels,
        ("roots", "roots_at_cut", "lacking"),
        ("different book roots", "different book roots", "entries"),
        (
            "now: while peers trade, orders under way keep their books apart",
            "at the newest second that all peers can compare, 2 to 3 s ago",
            "entries that the peer lacks that lacks most",
        ),
        SERIES[:3],
        strict=True,
    ):
        panel.axvspan(CUT_S, HEAL_S, color="0.9", zorder=0, label="cut in halves")
        panel.axvline(STOP_S, **REFERENCE, linestyle=":", label="trading stops")
        if name != "lacking":
            panel.axhline(1, **REFERENCE, label="all equal")
        _draw_curves(panel, found, name, series)
        panel.set(title=title, ylabel=unit, xlim=(0, END_S))
        panel.locator_params(axis="y", integer=True)
    panels[0].legend(loc="upper left", ncols=4)
    panels[-1].set_xlabel("simulated seconds")
    return figure


def _draw_curves(panel: Axes, found: list[Results], name: str, series: Series) -> None:
    gap = float("nan")
    curves = [[gap if value is None else value for value in one["samples"][name]] for one in found]
    seconds = found[0]["samples"]["second"]
    for curve in curves:
        panel.plot(seconds, curve, color=series.colour, linewidth=0.7, alpha=0.45)
    middle = list(map(median, zip(*curves, strict=True)))
    panel.plot(seconds, middle, color=series.colour, linewidth=2.2, label="median")
    panel.set_ylim(0, 1.3 * max(value for curve in curves for value in curve if value == value))


# ==================================================================== bytes

PARTS = {
    "first": "entries, the first time",
    "again": "entries, again",
    "heads": "told of entries (heads)",
    "requests": "asked for entries",
    "anti_entropy": "anti-entropy",
    "upkeep": "keeping links",
}
UPKEEP = frozenset({"Ping", "Pong", "Peers", "YourHead", "Goodbye", "Evidence"})


def measure_bytes(plan: Plan) -> list[Results]:
    """A steady flow, for each number of peers."""
    found = []
    for peers, window_s in plan.bytes_windows_s.items():
        progress(f"bytes: {peers:,} peers, {window_s:g} simulated seconds a seed")
        flows = [
            measure_flow(
                peers=peers, loss=0.0, lead_s=plan.bytes_lead_s, window_s=window_s, seed=seed
            )
            for seed in _seeds(plan)
        ]
        found.append({"peers": peers, "runs": [{"flow": flow} for flow in flows]})
    return found


def measure_flow(*, peers: int, loss: float, lead_s: float, window_s: float, seed: int) -> Results:
    """What a steady flow sends per delivery: an order that comes to one of the other peers."""
    cluster, random = _world(peers=peers, loss=loss, seed=seed)
    flow = SteadyFlow(cluster, random, authors=min(peers, AUTHORS))
    flow.start()
    cluster.run_for(lead_s)
    before, orders_before = _traffic(cluster), flow.count
    cluster.run_for(window_s)
    after, orders = _traffic(cluster), flow.count - orders_before
    counted = {name: after[name] - before[name] for name in after}
    entries = cluster.peers[0].replica.merged_entries()
    return {
        "orders": orders,
        "parts": {name: counted[name] / (orders * (peers - 1)) for name in PARTS},
        "copies_again": counted["duplicate_entries"] / counted["novel_entries"],
        "entry_bytes": mean(len(encode_run([entry])) for entry in entries),
    }


def _traffic(cluster: gb.sim.Cluster) -> dict[str, int]:
    """Bytes sent by all peers so far by what they were for, and entries received.

    What is an entry in the news, and what is heads and framing, their receivers have counted. So
    where messages are lost, lost entries count as heads; the sum is right.
    """
    total = dict.fromkeys((*PARTS, "novel_entries", "duplicate_entries"), 0)
    for peer in cluster.peers:
        statistics = peer.running.statistics
        for kind, size_bytes in statistics.sent_bytes.items():
            total[_part_of(kind)] += size_bytes
        total["first"] += statistics.novel_bytes
        total["again"] += statistics.duplicate_bytes
        total["heads"] -= statistics.novel_bytes + statistics.duplicate_bytes
        total["novel_entries"] += statistics.novel_entries
        total["duplicate_entries"] += statistics.duplicate_entries
    return total


def _part_of(kind: str) -> str:
    if kind in ("News", "Want"):
        return "heads" if kind == "News" else "requests"
    return "upkeep" if kind in UPKEEP else "anti_entropy"


def show_bytes(found: list[Results]) -> None:
    """A row for each number of peers: means over the seeds."""
    print(
        f"bytes per delivery (order and receiver), {ORDERS_PER_S} orders/s by up to {AUTHORS} "
        "authors, no loss\n"
    )
    head = ["peers", "orders", *PARTS.values(), "together", "one entry", "ratio", "copies again"]
    rows = []
    for one in found:
        flows = [run["flow"] for run in one["runs"]]
        total, entry_bytes = mean(_flow_totals(one)), _entry_bytes(one)
        row = (
            f"{one['peers']:,} {sum(flow['orders'] for flow in flows):,} "
            + " ".join(f"{mean(flow['parts'][name] for flow in flows):.1f}" for name in PARTS)
            + f" {total:,.0f} {entry_bytes:.0f} {total / entry_bytes:.2f} "
            f"{mean(flow['copies_again'] for flow in flows):.2f}"
        )
        rows.append(row.split())
    print_table(head, rows)


def draw_bytes(found: list[Results]) -> Figure:
    """Stacked bars by what the bytes were for, with the size of one entry as a line."""
    figure, (panel,) = _figure(
        "What an order costs on its way to each peer",
        f"{_seeds_note(found)} (dots: the sum of each), {ORDERS_PER_S} orders/s by up to {AUTHORS} "
        "authors, no loss. Frames only, without TLS and TCP.",
        width=9.5,
    )
    places = list(range(len(found)))
    floors = [0.0] * len(found)
    for (name, label), series in zip(PARTS.items(), SERIES, strict=True):
        heights = [mean(run["flow"]["parts"][name] for run in one["runs"]) for one in found]
        panel.bar(places, heights, 0.6, floors, label=label, color=series.colour, edgecolor="w")
        floors = [floor + height for floor, height in zip(floors, heights, strict=True)]
    for place, one in zip(places, found, strict=True):
        totals = _flow_totals(one)
        panel.plot([place] * len(totals), totals, "k.", markersize=4)
        _write_above(panel, place, max(totals), f"{mean(totals):,.0f}")
    _draw_entry_size(panel, found)
    panel.set(xlabel="peers (N)", ylabel="bytes per order and receiver")
    panel.set_ylim(0, 1.12 * max(floors))
    panel.yaxis.set_major_formatter("{x:,.0f}")
    panel.set_xticks(places, [f"{one['peers']:,}" for one in found])
    panel.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), reverse=True)
    return figure


def _flow_totals(one: Results) -> list[float]:
    """Bytes per delivery, by seed."""
    return [sum(run["flow"]["parts"].values()) for run in one["runs"]]


def _entry_bytes(one: Results) -> float:
    return float(mean(run["flow"]["entry_bytes"] for run in one["runs"]))


# ==================================================================== worlds


class Journey(NamedTuple):
    """How one order came to all peers. Seconds count from the submit."""

    hops: int
    """Links on the longest of the paths by which it first came to a peer."""
    half_s: float
    """Until half of the peers held it, its author being one of them."""
    most_s: float
    """Until nine tenths did."""
    all_s: float
    """Until all did: from then on all book roots are equal."""


@dataclass(slots=True)
class Trace:
    """Whom the entry ``seq`` of ``author`` has reached: over how many links, and when."""

    author: PeerId
    seq: int
    submitted_us: int
    hops: dict[int, int] = field(default_factory=dict)  # by peer index
    arrivals_us: list[int] = field(default_factory=list)  # ascending

    def journey(self) -> Journey:
        """The figures of an entry that has arrived everywhere."""
        seconds = [(at_us - self.submitted_us) / 1_000_000 for at_us in self.arrivals_us]
        peers = len(seconds)
        half, most = (peers + 1) // 2, (9 * peers + 9) // 10
        return Journey(max(self.hops.values()), seconds[half - 1], seconds[most - 1], seconds[-1])


class TracedCluster(gb.sim.Cluster):
    """A cluster in which an order can be followed to every peer, one at a time."""

    _followed: Trace | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._hearing_from: int | None = None
        self._brought_by: dict[tuple[int, int], int | None] = {}  # by peer and token of a check
        super().__init__(*arguments, **options)

    def follow(self, author: int, order: gb.LimitOrder) -> Trace:
        """Submit ``order`` at peer ``author``, and let time pass until all peers hold it."""
        peer = self.peers[author]
        seq = peer.replica.head(peer.peer_id).length
        trace = self._followed = Trace(peer.peer_id, seq, self.now_us)
        self.submit_nowait(author, order)
        while len(trace.hops) < len(self.peers):
            self.step()
            if self.now_us - trace.submitted_us > 1_000_000 * DEADLINE_S:
                raise gb.NotConverged(
                    f"seed {self.seed}, {self.link}: after {DEADLINE_S:,.0f} simulated seconds "
                    f"an order has reached {len(trace.hops)} of {len(self.peers)} peers"
                )
        self._followed = None
        assert len({peer.root for peer in self.peers}) == 1, "equal logs, unequal books"
        return trace

    def _give(self, peer: gb.sim.SimulatedPeer, what: Input) -> None:
        sender = None  # the author's own disk has it
        if isinstance(what, Received):
            sender = _sender(peer, what)
        elif isinstance(what, Verified):
            sender = self._brought_by.pop((peer.index, what.token))
        self._hearing_from = sender
        super()._give(peer, what)
        trace = self._followed
        if trace is None or peer.index in trace.hops:
            return
        if peer.replica.head(trace.author).length > trace.seq:
            trace.hops[peer.index] = 0 if sender is None else 1 + trace.hops[sender]
            trace.arrivals_us.append(self.now_us)

    def _verify(self, peer: gb.sim.SimulatedPeer, verify: Verify) -> None:
        self._brought_by[peer.index, verify.token] = self._hearing_from
        super()._verify(peer, verify)


def _sender(peer: gb.sim.SimulatedPeer, received: Received) -> int | None:
    """The index of the peer at the other end of the link; None where the link is gone."""
    if received.link not in peer.connections:
        return None
    one, other = peer.connections[received.link].ends
    return other.peer if one.peer == peer.index else one.peer


class SteadyFlow:
    """Orders of the first ``authors`` peers at random moments, 40 a second, until stopped."""

    def __init__(self, cluster: gb.sim.Cluster, random: SeededRandom, *, authors: int) -> None:
        self._cluster = cluster
        self._random = random
        self._authors = authors
        self._stopped = False
        self.count = 0
        """Orders submitted so far."""

    def start(self) -> None:
        """Submit an order now; each calls for the next."""
        if self._stopped:
            return
        self._cluster.submit_nowait(self._random.below(self._authors), random_order(self._random))
        self.count += 1
        pause_us = self._random.between(0, 2_000_000 // ORDERS_PER_S)
        self._cluster.call_at(pause_us / 1_000_000, self.start)

    def stop(self) -> None:
        """Submit no more."""
        self._stopped = True


def random_order(random: SeededRandom) -> gb.LimitOrder:
    """A limit order near a fixed price: about half of them trade."""
    return gb.LimitOrder(
        SYMBOL,
        "buy" if random.below(2) else "sell",
        price=f"{100 + random.below(20)}.00",
        quantity=f"{1 + random.below(5)}",
    )


def _world(*, peers: int, loss: float, seed: int) -> tuple[TracedCluster, SeededRandom]:
    """Peers that have made their links, and chance for what they will do."""
    genesis = gb.Genesis("bench convergence", [gb.Market(SYMBOL, "0.01", "0.0001")])
    link = gb.sim.Link(latency=LATENCY_S, loss=loss)
    cluster = TracedCluster(genesis, peers=peers, seed=seed, link=link)
    cluster.run_for(WARM_S)
    return cluster, SeededRandom(seed).child("orders")


def _seeds(plan: Plan) -> range:
    return range(1, plan.seeds + 1)


def _pooled(one: Results, name: str) -> list[Any]:
    """One figure of every order of every seed."""
    return [value for run in one["runs"] for value in run[name]]


# ==================================================================== figures


class Series(NamedTuple):
    """A colour that the colour-blind can tell from the others, and a marker for grey prints."""

    colour: str
    marker: str


SERIES = (
    Series("#0072b2", "o"),
    Series("#d55e00", "s"),
    Series("#cc79a7", "D"),
    Series("#009e73", "^"),
    Series("#e69f00", "v"),
    Series("#56b4e9", "P"),
)
"""The palette of Okabe and Ito."""

REFERENCE: dict[str, Any] = {"color": "0.25", "linewidth": 1.3, "zorder": 1.5}
STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.92",
    "legend.fontsize": 9,
    "lines.markersize": 5.5,
    "savefig.dpi": 130,
}


def _figure(
    title: str, note: str, *, columns: int = 1, rows: int = 1, width: float | None = None
) -> tuple[Figure, list[Axes]]:
    """A figure with a title, a line on how it was measured, and its panels."""
    from matplotlib.figure import Figure

    size = (width or 1.5 + 4.7 * columns, 5.2 if rows == 1 else 1.5 + 2.4 * rows)
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    figure.supxlabel(note, x=0.01, ha="left", fontsize=8.5, color="0.35")
    return figure, list(figure.subplots(rows, columns, squeeze=False, sharex=rows > 1).flat)


def _draw_line(
    panel: Axes, xs: Sequence[float], ys: Sequence[float], label: str, series: Series
) -> None:
    panel.plot(xs, ys, color=series.colour, marker=series.marker, label=label)


def _draw_ranges(
    panel: Axes,
    xs: Sequence[float],
    columns: Sequence[Sequence[float]],
    label: str,
    series: Series,
    *,
    shift: float,
) -> None:
    """Medians, with bars from the least to the most; shifted, lest one bar hide another."""
    middles = list(map(median, columns))
    below = [middle - min(column) for middle, column in zip(middles, columns, strict=True)]
    above = [max(column) - middle for middle, column in zip(middles, columns, strict=True)]
    panel.errorbar(
        [shift * x for x in xs],
        middles,
        yerr=(below, above),
        color=series.colour,
        marker=series.marker,
        capsize=3,
        elinewidth=1,
        label=label,
    )


def _draw_seeds(
    panel: Axes, xs: Sequence[float], columns: Sequence[Sequence[float]], series: Series
) -> None:
    """A small dot for each seed."""
    for x, column in zip(xs, columns, strict=True):
        panel.plot([x] * len(column), column, ".", color=series.colour, markersize=4, alpha=0.6)


def _draw_compare_interval(panel: Axes) -> None:
    """Seconds on a logarithmic axis, with a line at what anti-entropy takes to come round."""
    panel.set_yscale("log")
    panel.yaxis.set_major_formatter("{x:g}")
    label = f"anti-entropy: every {COMPARE_S:g} s"
    panel.axhline(COMPARE_S, **REFERENCE, linestyle=":", label=label)


def _draw_entry_size(panel: Axes, found: list[Results]) -> None:
    """The least that a delivery could take: the bytes of one entry alone."""
    size_bytes = mean(_entry_bytes(one) for one in found)
    line = {**REFERENCE, "zorder": 4}
    panel.axhline(size_bytes, **line, linestyle="--", label=f"one entry: {size_bytes:.0f} bytes")


def _write_above(panel: Axes, x: float, y: float, text: str) -> None:
    panel.annotate(text, (x, y), (0, 4), textcoords="offset points", ha="center")


def _seeds_note(found: list[Results]) -> str:
    seeds = len(found[0]["runs"])
    return f"{seeds} seeds" if seeds > 1 else "1 seed"


def _milliseconds(range_s: tuple[float, float]) -> str:
    return " to ".join(f"{1_000 * bound_s:.0f}" for bound_s in range_s)


@dataclass(frozen=True, slots=True)
class Experiment:
    """What it measures, and the table and the figure of what it found."""

    measure: Callable[[Plan], list[Results]]
    show: Callable[[list[Results]], None]
    draw: Callable[[list[Results]], Figure]


EXPERIMENTS = {
    "spread": Experiment(measure_spread, show_spread, draw_spread),
    "loss": Experiment(measure_loss, show_loss, draw_loss),
    "partition": Experiment(measure_partition, show_partition, draw_partition),
    "bytes": Experiment(measure_bytes, show_bytes, draw_bytes),
}


if __name__ == "__main__":
    main()
