"""One checker for each promise, for simulated clusters.

A checker looks into all correct peers that are up and raises AssertionError, with the difference,
where a promise is broken. It promises to change nothing (reading settles, as any reading does) and
to judge only who can be judged: cheats keep no promise, and a store that was put back to an old
state may have forgotten what it had promised. ``check_all`` runs those that hold once a cluster
has converged; ``check_bounds``, ``check_books`` and ``OwnWordsFirst`` hold after every step, too::

    cluster.on_step(OwnWordsFirst())
    ...
    cluster.run_until_converged()
    check_all(cluster)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gossipbook.book.digest import book_root
from gossipbook.book.matching import MatchingEngine
from gossipbook.book.payload import decode_payload
from gossipbook.errors import EncodingError
from gossipbook.identity import PeerId, short
from gossipbook.log.author_log import MAX_WAITING
from gossipbook.log.entry import Entry, EntryId
from gossipbook.peer_view import PeerView

if TYPE_CHECKING:
    from gossipbook.sim.cluster import Cluster
    from gossipbook.sim.simulated_peer import SimulatedPeer


def check_all(cluster: Cluster) -> None:
    """Every promise that holds once the correct peers have converged."""
    for check in CHECKS:
        check(cluster)


def check_equal(cluster: Cluster) -> None:
    """Promise 1, convergence: equal sets of entries give equal books, trades, rejections, roots."""
    peers = cluster.correct_peers
    for peer in peers[1:]:
        first = peers[0]
        pair = f"of peers {first.index} and {peer.index}"
        ours, theirs = first.replica.frontier.heads(), peer.replica.frontier.heads()
        _same(f"the frontiers {pair}", ours, theirs)
        for market in cluster.genesis.markets:
            name = market.symbol
            _same(f"the commands in {name} {pair}", first.commands(name), peer.commands(name))
            _same(f"the trades in {name} {pair}", first.trades(name), peer.trades(name))
            left, right = first.book(name), peer.book(name)
            _same(f"the books of {name} {pair}", left.orders, right.orders)
            _same(f"the roots of {name} {pair}", left.root, right.root)
        _same(f"the frontier roots {pair}", first.frontier_root, peer.frontier_root)
        _same(f"the roots {pair}", first.root, peer.root)


def check_receipts(cluster: Cluster) -> None:
    """Promise 2, nothing lost: what was receipted is among every correct peer's commands.

    Receipts count of correct peers that are up and whose store was never put back; what somebody
    holds back because it is dated ahead of its clock has to be in its log at least.
    """
    authors = {peer.peer_id: peer for peer in cluster.correct_peers if not peer.rolled_back}
    receipts = [one for one in cluster.receipts if one.command_id.author in authors]
    for peer in cluster.correct_peers:
        known = {
            record.command_id
            for market in cluster.genesis.markets
            for record in peer.commands(market.symbol)
        }
        held_back = peer.replica.held_ids()
        for receipt in receipts:
            command_id = receipt.command_id
            log = peer.replica.logs.get(command_id.author)
            assert log is not None and log.id_at(command_id.seq) == receipt.entry_id, (
                f"peer {peer.index} does not hold the entry of the receipt for {command_id} by "
                f"peer {authors[command_id.author].index}"
            )
            assert command_id in known or receipt.entry_id in held_back, (
                f"{command_id} has a receipt and is not among the commands of peer {peer.index}"
            )


def check_no_false_forks(cluster: Cluster) -> None:
    """Promise 2, one entry a sequence number: nobody holds evidence against a correct author
    whose store was never put back."""
    for author in cluster.peers:
        if not author.correct or author.rolled_back:
            continue
        for peer in cluster.correct_peers:
            k = peer.replica.head(author.peer_id).k
            assert k is None, (
                f"peer {peer.index} holds a proof that peer {author.index} forked at {k}"
            )
        if author.alive:
            forked = author.running.own.forked
            assert not forked, f"peer {author.index} is correct and takes its identity for forked"


class OwnWordsFirst:
    """Promise 2, on disk before any other peer can see it: nobody holds an entry of a correct
    author that the author's own store does not hold.

    For ``Cluster.on_step``: looks only at peers whose logs grew since the step before.
    """

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, int]] = {}  # by peer: (incarnation, entries)
        self._on_disk: dict[PeerId, list[EntryId]] = {}
        self._read: dict[int, int] = {}  # by peer: how much of its store has been looked at

    def __call__(self, cluster: Cluster) -> None:
        for peer in cluster.peers:
            if peer.protocol is None:
                continue
            now = (peer.incarnation, peer.protocol.replica.entry_count)
            if self._seen.get(peer.index) != now:
                self._seen[peer.index] = now
                self._check(cluster, peer)

    def _check(self, cluster: Cluster, peer: SimulatedPeer) -> None:
        for author in cluster.peers:
            if not author.correct or author.rolled_back:
                continue
            log = peer.replica.logs.get(author.peer_id)
            if log is None or not log.entries:
                continue
            on_disk = self._own_entries(author)
            assert log.length <= len(on_disk) and on_disk[log.length - 1] == log.head_id, (
                f"peer {peer.index} holds {log.length} entries of peer {author.index}, "
                f"whose own store holds {len(on_disk)}"
            )

    def _own_entries(self, author: SimulatedPeer) -> list[EntryId]:
        own = self._on_disk.setdefault(author.peer_id, [])
        entries = author.store.entries
        for entry in entries[self._read.get(author.index, 0) :]:
            if entry.author == author.peer_id:
                own.append(entry.id)
        self._read[author.index] = len(entries)
        return own


def check_proofs(cluster: Cluster) -> None:
    """Promise 4, tamper evidence: a proof that one correct peer holds, all hold, and it is good."""
    network_id = cluster.genesis.network_id
    held = {
        peer.index: {proof.author: proof for proof in peer.proofs()}
        for peer in cluster.correct_peers
    }
    authors = sorted({author for proofs in held.values() for author in proofs})
    for author in authors:
        seqs: dict[int | None, list[int]] = {}
        for index, proofs in held.items():
            proof = proofs.get(author)
            seqs.setdefault(None if proof is None else proof.seq, []).append(index)
            if proof is not None:
                proof.check(network_id)
        assert len(seqs) == 1, f"the fork of {short(author)} is proven at seq: peers " + _each(seqs)


def check_books(cluster: Cluster) -> None:
    """No order book contradicts itself (levels, queues, sums, what is known as open)."""
    for peer in cluster.correct_peers:
        for market in cluster.genesis.markets:
            try:
                _engine(peer, market.symbol).check()
            except AssertionError as error:
                raise AssertionError(f"peer {peer.index}, {market.symbol}: {error}") from None


def check_replay(cluster: Cluster) -> None:
    """Promise 1, the same whatever the order of arrival: merged by hand and matched once, forward
    only, the logs give the books, trades and root that each correct peer has reached."""
    replayed: dict[tuple[bytes, frozenset[EntryId]], dict[str, MatchingEngine]] = {}
    for peer in cluster.correct_peers:
        root = peer.root
        what = (peer.frontier_root, peer.replica.held_ids())
        if what not in replayed:
            replayed[what] = replay(peer)
        engines = replayed[what]
        for market in cluster.genesis.markets:
            engine = engines[market.symbol]
            where = f"peer {peer.index}, {market.symbol}: "
            _same(where + "commands", peer.commands(market.symbol), engine.commands())
            _same(where + "trades", peer.trades(market.symbol), engine.trades())
            _same(where + "orders", peer.book(market.symbol).orders, engine.book().orders)
            _same(where + "root", peer.book(market.symbol).root, engine.digest().root)
        right = book_root([engines[market.symbol].digest() for market in cluster.genesis.markets])
        _same(f"peer {peer.index}: root", root, right)


def replay(peer: PeerView) -> dict[str, MatchingEngine]:
    """Fresh engines, by market, that have read a peer's merged log from its start.

    For peers on trio, too.
    """
    genesis = peer.genesis
    waiting = peer.replica.held_ids()
    engines = [MatchingEngine(market) for market in genesis.markets]
    for _, entry in _merged(peer):
        if entry.id in waiting:
            continue
        try:
            commands = decode_payload(entry.payload, len(genesis.markets))
        except EncodingError:
            continue
        for index, command in enumerate(commands):
            engines[command.market].apply((entry.author, entry.seq, index), command)
    return {market.symbol: engine for market, engine in zip(genesis.markets, engines, strict=True)}


def check_bounds(cluster: Cluster) -> None:
    """Promise 7, bounds: what remote peers can make a correct one keep stays within limits."""
    config = cluster.config
    for peer in cluster.correct_peers:
        protocol = peer.running
        where = f"peer {peer.index}"
        links = protocol._links
        _at_most(f"{where}: links", len(links), config.link_limit + config.link_target)
        bootstrap = len(cluster.peers)
        _at_most(
            f"{where}: addresses",
            protocol.address_book.peer_count,
            config.address_book_limit + bootstrap,
        )
        for author, log in peer.replica.logs.items():
            _at_most(f"{where}: waiting entries of {short(author)}", log.waiting_count, MAX_WAITING)
        for link in links.values():
            name = f"{where}, link to {short(link.peer_id)}"
            _at_most(
                f"{name}: bytes being verified",
                link.verifying_bytes,
                config.verifying_bytes_limit + config.max_frame_bytes,
            )
            _at_most(f"{name}: strangers", link.unknown_authors, config.unknown_authors_limit)
        fetcher = protocol._fetcher
        for author, ranges in fetcher._on_order.items():
            _at_most(f"{where}: fetches of {short(author)}", len(ranges), config.fetches_per_author)
        for load in fetcher._link_load.values():
            _at_most(
                f"{where}: entries on order from one link",
                load,
                config.chunk_entries * config.fetches_per_link,
            )
            assert load >= 0, f"{where}: {load} entries on order from one link"


def check_rebuilds(cluster: Cluster) -> None:
    """No engine was ever rebuilt, except where ``corrupt`` damaged it."""
    calls = cluster.transcript()
    for peer in cluster.correct_peers:
        if f"cluster.corrupt({peer.index}, " not in calls:
            count = peer.replica.rebuilt_count
            assert count == 0, f"peer {peer.index} rebuilt an engine {count} times, undamaged"


CHECKS: tuple[Callable[[Cluster], None], ...] = (
    check_equal,
    check_receipts,
    check_no_false_forks,
    lambda cluster: OwnWordsFirst()(cluster),
    check_proofs,
    check_books,
    check_replay,
    check_bounds,
    check_rebuilds,
)
"""What ``check_all`` runs."""


# -------------------------------------------------------------------- helpers


def _merged(peer: PeerView) -> list[tuple[tuple[int, PeerId, int], Entry]]:
    """The entries that count, in merge order, with the timestamps worked out from the logs."""
    merged = []
    for author, log in peer.replica.logs.items():
        effective = -1
        for entry in log.entries:
            effective = max(entry.hlc, effective + 1)
            merged.append(((effective, author, entry.seq), entry))
    return sorted(merged, key=lambda pair: pair[0])


def _engine(peer: SimulatedPeer, market: str) -> MatchingEngine:
    return peer.replica._state(market).engine


def _same(what: str, left: object, right: object) -> None:
    if left == right:
        return
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        for at, (a, b) in enumerate(zip(left, right, strict=False)):
            assert a == b, f"{what} differ first at {at}: {a!r} and {b!r}"
        raise AssertionError(f"{what} differ in number: {len(left)} and {len(right)}")
    raise AssertionError(f"{what} differ: {_text(left)} and {_text(right)}")


def _text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else repr(value)


def _at_most(what: str, value: int, limit: int) -> None:
    assert value <= limit, f"{what}: {value}, where at most {limit} are allowed"


def _each(groups: dict[int | None, list[int]]) -> str:
    return "; ".join(f"{seq}: {indices}" for seq, indices in groups.items())
