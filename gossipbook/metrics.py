"""A peer's numbers for Prometheus, over HTTP.

``serve`` is for applications and for the command's ``--metrics``. It decides the names, units and
help texts; ``docs/monitoring.md`` lists them all, and ``docs/grafana/gossipbook.json`` draws them.

A scrape comes in on a thread of the HTTP server, and the peer belongs to trio's thread. So the
numbers are copied there, at once, between two steps of the peer, and turned into text here::

    Prometheus --GET--> server thread --run_sync_soon--> trio thread: statistics(), links()
                             '<---------- Future -------------'

A scrape waits at most ``PATIENCE_S`` for a peer that is busy; then it says ``gossipbook_up 0`` and
no more. Nothing here keeps a peer from closing. Whoever reaches the port may read: bind it to
127.0.0.1 or to a network of your own.

Needs the extra ``metrics`` (prometheus-client).
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoAnswer
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import trio

from gossipbook.errors import UsageError
from gossipbook.histogram import Distribution
from gossipbook.link_status import LinkStatus
from gossipbook.peer import Peer
from gossipbook.peer_view import PeerStatistics

try:
    from prometheus_client import (
        CollectorRegistry,
        GCCollector,
        PlatformCollector,
        ProcessCollector,
        start_http_server,
    )
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
    )
    from prometheus_client.registry import Collector
except ImportError:
    raise ImportError(
        "gossipbook.metrics needs prometheus-client: pip install 'gossipbook[metrics]'"
    ) from None

PATIENCE_S = 2.0
"""Prometheus itself waits 10 s for a scrape."""

DIVERGENCES = ("claimed", "healed", "unresolved")


@asynccontextmanager
async def serve(peer: Peer, host: str, port: int) -> AsyncIterator[str]:
    """Serve the peer's metrics at http://host:port/metrics until the end of the block.

    Gives the address, "HOST:PORT"; port 0 picks a free one. Raises UsageError where nothing can
    listen there.
    """
    registry = CollectorRegistry()
    registry.register(PeerCollector(peer, trio.lowlevel.current_trio_token()))
    for of_the_process in (ProcessCollector, PlatformCollector, GCCollector):
        of_the_process(registry=registry)
    start = partial(start_http_server, port, addr=host, registry=registry)
    try:
        server, _ = await trio.to_thread.run_sync(start)
    except (OSError, OverflowError) as error:
        raise UsageError(_why_not(error, host, port)) from None
    named = f"[{host}]" if ":" in host else host
    try:
        yield f"{named}:{server.server_port}"
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(server.shutdown)
            server.server_close()


def _why_not(error: OSError | OverflowError, host: str, port: int) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return (
            f"metrics at {host}:{port}: another program listens there; end it, or choose another "
            "port (0 picks a free one)"
        )
    return f"metrics at {host}:{port}: {error}; give a host of this machine and a port"


@dataclass(frozen=True, slots=True)
class Reading:
    """What one scrape sees of a peer."""

    peer: str
    network: str
    statistics: PeerStatistics
    links: list[LinkStatus]


def read(peer: Peer) -> Reading:
    """Copy the numbers; on trio's thread. The cost grows with links times authors."""
    return Reading(peer.peer_id.hex(), peer.genesis.name, peer.statistics(), peer.links())


class PeerCollector(Collector):
    """Reads a peer, from another thread, whenever Prometheus asks."""

    def __init__(self, peer: Peer, token: trio.lowlevel.TrioToken) -> None:
        self._peer = peer
        self._token = token

    def describe(self) -> list[Metric]:
        """Nothing, so that registering it does not read the peer."""
        return []

    def collect(self) -> Iterator[Metric]:
        reading = self._read()
        yield _gauge("up", "Whether the peer answered in time: 1, or 0.", reading is not None)
        if reading is not None:
            yield from families(reading)

    def _read(self) -> Reading | None:
        answer: Future[Reading] = Future()
        try:
            self._token.run_sync_soon(self._answer, answer)
            return answer.result(PATIENCE_S)
        except (trio.RunFinishedError, NoAnswer):
            return None

    def _answer(self, answer: Future[Reading]) -> None:
        """On trio's thread, where no exception may escape."""
        try:
            answer.set_result(read(self._peer))
        except BaseException as error:
            answer.set_exception(error)


# ---------------------------------------------------------------- what is exported

_GAUGES: Sequence[tuple[str, str, Callable[[PeerStatistics], float]]] = (
    ("entries", "Entries that this peer holds and that count.", lambda of: of.entries),
    (
        "held_back_entries",
        "Entries that wait for the time they are dated at.",
        lambda of: of.held_back_entries,
    ),
    ("authors", "Authors of whose logs this peer holds something.", lambda of: of.authors),
    (
        "forked_authors",
        "Authors proven to have signed two histories: fork proofs held.",
        lambda of: of.fork_proofs,
    ),
    ("trades", "Trades that stand, in all markets.", lambda of: of.trades),
    ("deepest_undo_commands", "Commands in the deepest undo so far.", lambda of: of.deepest_undo),
    ("latest_undo_commands", "Commands in the latest undo.", lambda of: of.latest_undo),
    ("links", "Links to other peers.", lambda of: of.links),
    ("queued_submits", "Own submits that wait to be signed.", lambda of: of.queued_submits),
)

_COUNTERS: Sequence[tuple[str, str, Callable[[PeerStatistics], float]]] = (
    (
        "busted_trades",
        "Trades that were taken back, counted while somebody is subscribed to updates.",
        lambda of: of.busted_trades,
    ),
    (
        "applied_commands",
        "Commands applied to the books, repetitions after an undo included.",
        lambda of: of.applied_commands,
    ),
    (
        "undone_commands",
        "Commands taken back because an earlier one came late.",
        lambda of: of.undone_commands,
    ),
    ("novel_entries", "Entries received that were new.", lambda of: of.gossip.novel_entries),
    ("novel_bytes", "Bytes of entries received that were new.", lambda of: of.gossip.novel_bytes),
    (
        "duplicate_entries",
        "Entries received that were held already.",
        lambda of: of.gossip.duplicate_entries,
    ),
    (
        "duplicate_bytes",
        "Bytes of entries received that were held already.",
        lambda of: of.gossip.duplicate_bytes,
    ),
    (
        "queue_drops",
        "Pushes left out because a link's queue was full; gossip brings their entries later.",
        lambda of: of.queue_drops,
    ),
    (
        "refused_messages",
        "Messages that broke a rule; the link was dropped for each.",
        lambda of: of.gossip.refused_messages,
    ),
    (
        "throttled_requests",
        "Requests ignored because a link asked for more than its share.",
        lambda of: of.gossip.throttled_requests,
    ),
    (
        "fetch_timeouts",
        "Requests for entries that were not answered in time.",
        lambda of: of.gossip.fetch_timeouts,
    ),
    ("links_lost", "Links that ended without a goodbye.", lambda of: of.gossip.links_lost),
    ("bisections", "Searches for the place where a log forked.", lambda of: of.gossip.bisections),
    (
        "audits",
        "Replays in a fresh engine because another peer's book differed.",
        lambda of: of.gossip.audits,
    ),
)

_BY_KIND: Sequence[tuple[str, str, Callable[[PeerStatistics], dict[str, int]]]] = (
    ("sent_messages", "Messages sent, by kind.", lambda of: of.gossip.sent_count),
    ("sent_bytes", "Bytes of messages sent, by kind.", lambda of: of.gossip.sent_bytes),
    ("received_messages", "Messages received, by kind.", lambda of: of.gossip.received_count),
    ("received_bytes", "Bytes of messages received, by kind.", lambda of: of.gossip.received_bytes),
)

_BY_LINK: Sequence[tuple[str, str, Callable[[LinkStatus], float | None]]] = (
    ("link_age_seconds", "How long the link has stood.", lambda of: of.since_s),
    (
        "link_phi",
        "How suspicious the link's silence is: it is given up above the limit in the settings.",
        lambda of: of.phi,
    ),
    (
        "link_round_trip_seconds",
        "The fastest of the recent pings; missing until the first.",
        lambda of: of.round_trip_s,
    ),
    (
        "link_clock_offset_seconds",
        "How far the other clock is ahead of ours; missing until the first ping.",
        lambda of: of.clock_offset_s,
    ),
    (
        "link_entries_behind",
        "Entries we hold that the other peer is not known to hold.",
        lambda of: of.entries_behind,
    ),
    (
        "link_entries_ahead",
        "Entries that the other peer claims to hold and we do not.",
        lambda of: of.entries_ahead,
    ),
    ("link_queued_bytes", "Bytes that wait to be sent over the link.", lambda of: of.queued_bytes),
)


def families(reading: Reading) -> Iterator[Metric]:
    """All metrics of one reading, ``gossipbook_up`` excepted."""
    statistics = reading.statistics
    yield _gauge(
        "peer_info",
        "Which peer this is, in which network; always 1.",
        {(reading.peer, reading.network): 1},
        ("id", "network"),
    )
    for name, text, value_in in _GAUGES:
        yield _gauge(name, text, value_in(statistics))
    for name, text, value_in in _COUNTERS:
        yield _counter(name, text, value_in(statistics))
    for name, text, values_in in _BY_KIND:
        yield _counter(name, text, values_in(statistics), "kind")
    divergences = dict.fromkeys(DIVERGENCES, 0) | statistics.divergences
    yield _counter("divergences", "Books of peers that differed, by status.", divergences, "status")
    yield _histogram(
        "undo_depth_commands",
        "How many commands each undo took back.",
        statistics.undo_depths,
    )
    yield _histogram(
        "commit_seconds",
        "How long the store took for each transaction.",
        statistics.commit_times_s,
    )
    labels = link_labels(reading.links)
    for name, text, of_link in _BY_LINK:
        pairs = zip(labels, map(of_link, reading.links), strict=True)
        values: dict[tuple[str, ...], float] = {
            (label,): value for label, value in pairs if value is not None
        }
        yield _gauge(name, text, values, ("peer",))


def link_labels(links: Sequence[LinkStatus]) -> list[str]:
    """The first 8 hex digits of each peer's id; all of them where these are not unique, since one
    label twice would spoil the whole scrape."""
    short = Counter(link.peer_id.hex()[:8] for link in links)
    return [
        link.peer_id.hex()[:8] if short[link.peer_id.hex()[:8]] == 1 else link.peer_id.hex()
        for link in links
    ]


def _gauge(
    name: str,
    text: str,
    values: float | dict[tuple[str, ...], float],
    labels: Sequence[str] = (),
) -> Metric:
    family = GaugeMetricFamily(f"gossipbook_{name}", text, labels=labels)
    for key, value in values.items() if isinstance(values, dict) else [((), values)]:
        family.add_metric(key, value)
    return family


def _counter(
    name: str, text: str, values: float | dict[str, int], label: str | None = None
) -> Metric:
    family = CounterMetricFamily(
        f"gossipbook_{name}", text, labels=() if label is None else (label,)
    )
    for key, value in values.items() if isinstance(values, dict) else [(None, values)]:
        family.add_metric(() if key is None else (key,), value)
    return family


def _histogram(name: str, text: str, seen: Distribution) -> Metric:
    family = HistogramMetricFamily(f"gossipbook_{name}", text)
    buckets = [(str(float(bound)), float(count)) for bound, count in seen.cumulative()]
    family.add_metric((), [*buckets, ("+Inf", float(seen.count))], sum_value=seen.total)
    return family
