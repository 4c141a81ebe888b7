"""What must hold between any two inputs of a protocol object, whatever was said to it.

Two kinds of rules: limits on what strangers can make a peer keep (promise 7), and agreements
between tables that describe the same thing twice, whose breaking would show much later. The checks
look into private fields, on purpose: a leak is not visible from outside.
"""

from __future__ import annotations

from collections import Counter

from gossipbook.gossip.divergence import MOST_REMEMBERED
from gossipbook.gossip.interface import LinkId
from gossipbook.gossip.protocol import MAX_ASKED_PREFIXES, MAX_BISECTIONS, GossipProtocol
from gossipbook.gossip.reconcile import Fetcher
from gossipbook.log.author_log import MAX_WAITING, MAX_WAITING_BYTES, AuthorLog
from gossipbook.log.frontier import Head

MAX_PREFIXES = MAX_ASKED_PREFIXES + 256


def most_firings(delta_us: int) -> int:
    """How often a peer's timer may fire in so much time; beyond, it is busy doing nothing."""
    return 60 + 1_200 * delta_us // 1_000_000


def check_state(protocol: GossipProtocol, *, bootstrap: int) -> None:
    """Every rule of this page."""
    check_links(protocol)
    check_addresses(protocol, bootstrap)
    check_verifying(protocol)
    check_fetches(protocol)
    check_logs(protocol)
    check_timers(protocol)
    check_own(protocol)
    at_most("audited cuts", len(protocol._watch._audited_cuts), MOST_REMEMBERED)
    at_most("peers not heard for now", len(protocol._watch._not_before_us), MOST_REMEMBERED)


def check_links(protocol: GossipProtocol) -> None:
    """One link a peer, and what is kept about it within limits."""
    config, links = protocol.config, protocol._links
    at_most("links", len(links), config.link_limit + config.link_target)
    assert set(protocol._by_peer) == {link.peer_id for link in links.values()}
    assert all(links[link.link] is link for link in protocol._by_peer.values())
    authors = len(protocol.replica.logs)
    strangers = config.unknown_authors_limit
    for link in links.values():
        at_most("strangers claimed over a link", link.unknown_authors, strangers)
        at_most("authors known of a link", len(link.known), strangers + authors)
        at_most("proofs shown over a link", len(link.evidence), authors)
        at_most("prefixes asked of a link", len(link.asked_prefixes), MAX_PREFIXES)
    if protocol._bisections:
        searches = Counter(link for link, _ in protocol._bisections)
        assert set(searches) <= set(links), "a search for a fork over a link that is gone"
        at_most("searches for forks over a link", max(searches.values()), MAX_BISECTIONS)


def check_addresses(protocol: GossipProtocol, bootstrap: int) -> None:
    """The address book agrees with itself and is bounded; so are bans and what is remembered."""
    book, limit = protocol.address_book, protocol.config.address_book_limit
    at_most("addresses", len(book), limit + bootstrap + len(protocol._links))
    at_most("bans", len(book._banned_until_us), limit)
    at_most("remembered peers", len(protocol._remembered), limit)
    for peer_id, address in book._by_id.items():
        assert book._peers[address].peer_id == peer_id, "an address of somebody else"
    nameless = sum(known.peer_id is None for known in book._peers.values())
    assert book._nameless_count == nameless
    assert protocol.own_id not in book._by_id, "it knows itself as a peer"


def check_verifying(protocol: GossipProtocol) -> None:
    """Signatures under way are limited by link, and accounted to the byte."""
    config = protocol.config
    limit = config.verifying_bytes_limit + config.max_frame_bytes
    pending: dict[LinkId, int] = {}
    ids = set()
    for one in protocol._verifying.values():
        pending[one.link] = pending.get(one.link, 0) + one.size_bytes
        ids.update([entry.id for entry in one.entries])
    for link in protocol._links.values():
        assert link.verifying_bytes == pending.get(link.link, 0), "bytes are miscounted"
        at_most("bytes of a link being verified", link.verifying_bytes, limit)
    assert protocol._verifying_ids.keys() <= ids, "an entry is taken for one being verified"


def check_fetches(protocol: GossipProtocol) -> None:
    """Orders for entries: few an author and a link, each with somebody to come from, none
    forgotten."""
    config, fetcher = protocol.config, protocol._fetcher
    loads = dict.fromkeys(fetcher._link_load, 0)
    for ranges in fetcher._on_order.values():
        at_most("fetches of an author", len(ranges), config.fetches_per_author)
        for one in ranges:
            assert one.first < one.end and one.link in protocol._links
            loads[one.link] += one.end - one.first
    assert loads.keys() <= protocol._links.keys(), "the load of a link that is gone"
    assert loads == fetcher._link_load, "entries on order are miscounted"
    for load in loads.values():
        most = config.chunk_entries * config.fetches_per_link
        at_most("entries on order from a link", load, most)
    check_wake(protocol, fetcher)


def check_wake(protocol: GossipProtocol, fetcher: Fetcher) -> None:
    """What is missing will be asked for, and what was asked for will be given up."""
    if not (fetcher._due_us or fetcher._on_order) or protocol._left:
        return
    due = [*fetcher._due_us.values()]
    due += [fetcher._deadline_us(one) for ranges in fetcher._on_order.values() for one in ranges]
    assert fetcher.wake_us is not None and fetcher.wake_us <= min(due), "a fetch is forgotten"
    latest = max(min(due), protocol._now.monotonic_us)
    assert protocol._timers["fetch"] <= latest, "nobody wakes the fetcher"


def check_logs(protocol: GossipProtocol) -> None:
    """Logs are chains, cut where a fork is proven, and the frontier says what they say."""
    replica = protocol.replica
    entries = 0
    for author, log in replica.logs.items():
        assert log.author == author
        entries += log.length
        head = Head(author, log.length, log.head_id, log.k)
        assert replica.frontier.get(author) == head, f"{head} is not what the frontier says"
        assert log.k is None or log.length <= log.k, "what follows a fork counts"
        check_log(log)
    assert replica.entry_count == entries, f"{entries} entries, counted {replica.entry_count}"
    assert replica.rebuilt_count == 0, f"an engine failed: {replica._faults}"


def check_log(log: AuthorLog) -> None:
    """The newest entry follows the one before it; what waits is counted, and cannot count yet."""
    before = log.entries[-2:-1]
    for entry in log.entries[-1:]:
        assert entry.seq == log.length - 1 and (not before or entry.prev == before[0].id)
    if not log._waiting:
        assert log._waiting_bytes == 0
        return
    at_most("waiting entries", log.waiting_count, MAX_WAITING)
    at_most("bytes of waiting entries", log._waiting_bytes, MAX_WAITING_BYTES)
    assert log._waiting_bytes == sum(entry.size_bytes for entry in log._waiting.values())
    assert all(seq > log.length for seq in log._waiting), "what waits could count"


def check_timers(protocol: GossipProtocol) -> None:
    """Whatever is due will be done: the earliest deadline was announced."""
    if protocol._timers:
        announced_us = protocol._announced_us
        assert announced_us is not None and announced_us <= min(protocol._timers.values())
    if protocol.replica.needs_settling and not protocol._left:
        assert "settle" in protocol._timers, "the books wait, and nobody settles them"
    if protocol.replica.held_count and not protocol._left:
        assert "release" in protocol._timers, "entries are held back for ever"


def check_own(protocol: GossipProtocol) -> None:
    """One own entry in flight, and a token that tells of it; no submit waits for nothing."""
    own = protocol.own
    assert (own.in_flight is not None) == (protocol._own_token is not None)
    if own.queued_count and own.in_flight is None and not protocol._left:
        waits_for = "sign" if own.confirmed else "confirm"
        assert waits_for in protocol._timers, "submits wait, and nobody will answer them"


def at_most(what: str, value: int, limit: int) -> None:
    assert value <= limit, f"{what}: {value}, where at most {limit} are allowed"
