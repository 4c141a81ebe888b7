"""What a user reads from a peer: books, trades, orders, roots, counters.

``PeerView`` is the reading half of a peer, the same whether the peer runs on trio or in the
simulator; both derive from it and say only where the protocol object is and how it settles.
Whatever is read is settled first, so an answer counts every entry that has arrived. Nothing here
waits, and nothing here changes what peers agree on.
"""

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass

from gossipbook.book.commands import CommandId, OrderId
from gossipbook.book.events import OrderStatus, Trade
from gossipbook.book.order_book import Book
from gossipbook.book.reports import CommandRecord
from gossipbook.errors import UsageError
from gossipbook.genesis import Genesis
from gossipbook.gossip.interface import LinkId
from gossipbook.gossip.protocol import GossipProtocol
from gossipbook.gossip.statistics import GossipStatistics
from gossipbook.histogram import Distribution, Histogram
from gossipbook.identity import PeerId
from gossipbook.link_status import LinkStatus, link_status
from gossipbook.log.fork import ForkProof
from gossipbook.replica import Replica

COMMIT_TIMES_S = (
    0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0
)  # fmt: skip
"""Bounds of the histogram of commits: from memory to a disk in trouble."""


@dataclass(frozen=True, slots=True)
class PeerStatistics:
    """Counts of one peer since it was opened; a copy that does not change any more.

    ``undone_commands`` is how many commands were taken back because an earlier one came in late;
    ``busted_trades`` how many trades were taken back with them, counted while somebody is
    subscribed. ``undo_depths`` tells how deep each of the undos went, in commands, ``deepest_undo``
    and ``latest_undo`` the two that are asked for most. ``held_back_entries`` wait for the time
    they are dated at. ``queue_drops`` are pushes that were left out because a link was too slow;
    gossip brings their entries another way. ``fork_proofs`` is how many authors are proven to have
    signed two histories; ``divergences`` how many were told of, by status ("claimed", "healed",
    "unresolved"). ``commit_times_s`` is how long the store took, by transaction; it took none
    where nothing was stored, and in virtual time takes no time.
    """

    entries: int
    held_back_entries: int
    authors: int
    trades: int
    busted_trades: int
    applied_commands: int
    undone_commands: int
    deepest_undo: int
    latest_undo: int
    undo_depths: Distribution
    fork_proofs: int
    divergences: dict[str, int]
    links: int
    queued_submits: int
    queue_drops: int
    commits: int
    commit_times_s: Distribution
    gossip: GossipStatistics


class PeerView:
    """The readable half of a peer. Raises UnknownMarket for a symbol that the genesis lacks."""

    @property
    def running(self) -> GossipProtocol:
        """The protocol object, for who looks inside."""
        raise NotImplementedError

    def _settled(self) -> Replica:
        """The replica, with everything applied that has arrived."""
        raise NotImplementedError

    @property
    def replica(self) -> Replica:
        """The logs and engines, for who looks inside. Change nothing in it."""
        return self.running.replica

    @property
    def genesis(self) -> Genesis:
        """The network that this peer belongs to."""
        return self.running.genesis

    @property
    def root(self) -> bytes:
        """One hash (32 bytes) over all of this peer's markets."""
        return self._settled().book_root()

    @property
    def frontier_root(self) -> bytes:
        """One hash (32 bytes) over all logs: equal at two peers that hold the same entries."""
        return self.replica.frontier.root()

    @property
    def entry_count(self) -> int:
        """How many entries that count this peer holds."""
        return self.replica.entry_count

    def book(self, market: str) -> Book:
        """The resting orders of a market, as they stand now; what comes later does not show."""
        return self._settled().book(market)

    def trades(self, market: str) -> list[Trade]:
        """Every trade of a market, in merge order."""
        return self._settled().trades(market)

    def commands(self, market: str) -> list[CommandRecord]:
        """Every command of a market in merge order: (command_id, command, outcome)."""
        return self._settled().commands(market)

    def order(self, order_id: OrderId) -> OrderStatus | None:
        """What became of an order; None where this peer has not met it.

        Raises UsageError for what is no order id: receipts carry them as ``receipt.order_id``.
        """
        if not isinstance(order_id, CommandId):
            raise UsageError(
                f"order({order_id!r}): give an OrderId, such as a receipt's order_id or "
                "OrderId.parse(text)"
            )
        return self._settled().order(order_id)

    def proofs(self) -> list[ForkProof]:
        """The fork proofs held, sorted by author."""
        return self.replica.proofs()

    def peers(self) -> list[PeerId]:
        """The peers it has links to, sorted."""
        return self.running.linked_peers

    def links(self) -> list[LinkStatus]:
        """How each link stands now, sorted by peer. Costs a look-up per link and author."""
        replica = self._settled()  # which tells the protocol what time it is, too
        protocol = self.running
        return [
            link_status(
                link,
                replica,
                address=link.address or protocol.address_book.address_of(link.peer_id),
                now_us=protocol.now_us,
                queued_bytes=self._queued_bytes(link.link),
            )
            for link in protocol.links
        ]

    def statistics(self) -> PeerStatistics:
        """What this peer did and what it cost, since it was opened."""
        protocol, replica = self.running, self._settled()
        undo_depths, commit_times = replica.undos.distribution(), self._commit_times()
        return PeerStatistics(
            entries=replica.entry_count,
            held_back_entries=replica.held_count,
            authors=len(replica.frontier),
            trades=replica.trade_count(),
            busted_trades=replica.busted_count,
            applied_commands=replica.applied_count,
            undone_commands=replica.undone_count,
            deepest_undo=int(undo_depths.largest),
            latest_undo=int(undo_depths.latest),
            undo_depths=undo_depths,
            fork_proofs=sum(log.proof is not None for log in replica.logs.values()),
            divergences=dict(protocol.statistics.divergences),
            links=len(self.peers()),
            queued_submits=protocol.own.queued_count,
            queue_drops=self._queue_drops(),
            commits=commit_times.count,
            commit_times_s=commit_times,
            gossip=deepcopy(protocol.statistics),
        )

    # What only the driver of a real peer knows; a simulated peer has none of it.

    def _queue_drops(self) -> int:
        """Pushes left out because a link's queue was full."""
        return 0

    def _queued_bytes(self, link: LinkId) -> int:
        """What waits to be sent over a link."""
        return 0

    def _commit_times(self) -> Distribution:
        """How long the store took for its transactions."""
        return Histogram(COMMIT_TIMES_S).distribution()


def hold_equal_books(views: Iterable[PeerView]) -> bool:
    """Whether the peers hold the same entries and the same books, with no submit under way."""
    peers = list(views)
    if not peers:
        return True
    if any(peer.running.own.in_flight or peer.running.own.queued_count for peer in peers):
        return False
    first = peers[0].frontier_root
    if any(peer.frontier_root != first for peer in peers):
        return False
    roots = {peer.root for peer in peers}
    return len(roots) == 1 and not any(peer.replica.needs_settling for peer in peers)
