"""From a book to 32 bytes, hashing again only what was touched.

This file decides what two peers compare: per side a Merkle tree with one leaf per price level,
over it the market's root with the running sums of what happened, over the markets the book's
root. It promises that the root is a function of the book's content and the market's history
alone, never of how either came about, and that the cost follows the number of touched levels. It
refuses to know who touched them: the engine says so.

    book root -- market root -- bids -- level (price, orders in queue order), at most 64 orders
                     |      \\-- asks -- level (price, tree by ticket -- order), more than 64
             sums, outcomes

A long queue is a tree of its own because a leaf must be hashed whole: one more order behind
10,000 others would otherwise cost the encoding of them all. Keyed by ticket, the market's running
number of queueings, the tree keeps the queue's order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import final

from gossipbook.book.history import Totals
from gossipbook.book.level import Key, Level, RestingOrder
from gossipbook.book.order_book import BUY, SELL, OrderBook
from gossipbook.merkle import MerkleTree, hash_bytes

LEVEL_TAG = b"gossipbook/1 level"
QUEUE_TAG = b"gossipbook/1 queue"
ORDER_TAG = b"gossipbook/1 order"
OUTCOMES_TAG = b"gossipbook/1 outcomes"
MARKET_TAG = b"gossipbook/1 market"
BOOK_TAG = b"gossipbook/1 book"

LONGEST_FLAT_QUEUE = 64
"""A level with more orders than this is hashed as a tree."""

_pack_order = Struct(">32sQHQ").pack  # author, seq, index, remaining lots
_pack_level = Struct(">QQ").pack  # price, number of orders


@dataclass(frozen=True, slots=True)
class MarketDigest:
    """What a market held and had seen at one moment. Equal roots mean equal books and sums.

    `bids` and `asks` are Merkle trees keyed by price (8 bytes, big end first) that never change.
    """

    symbol: str
    totals: Totals
    outcomes: bytes
    root: bytes
    bids: MerkleTree = field(compare=False, repr=False)
    asks: MerkleTree = field(compare=False, repr=False)


def book_root(digests: Iterable[MarketDigest]) -> bytes:
    """The root over all markets, given in the genesis' order."""
    return hash_bytes(BOOK_TAG, *[digest.root for digest in digests])


def market_digest(
    symbol: str, bids: MerkleTree, asks: MerkleTree, totals: Totals, outcomes: bytes
) -> MarketDigest:
    """The digest of two trees that nobody will edit any more, and of what commands led to."""
    sums = encode_totals(totals)
    root = hash_bytes(MARKET_TAG, symbol.encode(), bids.root(), asks.root(), sums, outcomes)
    return MarketDigest(symbol, totals, outcomes, root, bids, asks)


def outcomes_digest(outcomes: bytes | bytearray) -> bytes:
    """The hash over one byte a command. It is made anew each time: a million commands take less
    than a millisecond, and nothing has to be undone."""
    return hash_bytes(OUTCOMES_TAG, bytes(outcomes))


def encode_totals(totals: Totals) -> bytes:
    """88 bytes: three counts of 8, lots in 16, price x lots in 32, cancelled lots in 16."""
    return (
        totals.commands.to_bytes(8, "big")
        + totals.trades.to_bytes(8, "big")
        + totals.rejections.to_bytes(8, "big")
        + totals.lots.to_bytes(16, "big")
        + totals.notional.to_bytes(32, "big")
        + totals.cancelled.to_bytes(16, "big")
    )


@final
class BookHasher:
    """The trees of one book, brought up to date when asked."""

    __slots__ = ("_queues", "_sides")

    def __init__(self) -> None:
        self._sides = (MerkleTree(8), MerkleTree(8))
        self._queues: tuple[dict[int, MerkleTree], dict[int, MerkleTree]] = ({}, {})

    def refresh(
        self,
        book: OrderBook,
        stale: tuple[set[int], set[int]],
        touched: Sequence[RestingOrder],
        states: Mapping[Key, RestingOrder | int],
    ) -> None:
        """Hash again the `stale` ranks of each side, whole, and the levels of `touched` orders.

        An order that `states` does not hold has left the book.
        """
        ranks = (set(stale[BUY]), set(stale[SELL]))
        in_long_queues: tuple[dict[int, list[RestingOrder]], dict[int, list[RestingOrder]]]
        in_long_queues = ({}, {})
        for order in touched:
            level = order.level
            side, rank = level.side, level.rank
            ranks[side].add(rank)
            if rank in self._queues[side]:
                in_long_queues[side].setdefault(rank, []).append(order)
        for side in (BUY, SELL):
            queues = self._queues[side]
            for rank in stale[side]:
                queues.pop(rank, None)
            for rank, orders in in_long_queues[side].items():
                if rank in queues:
                    _update_queue(queues[rank], orders, states)
            levels = book.halves[side].levels
            for rank in sorted(ranks[side]):
                self._hash_level(side, rank, levels.get(rank))

    def snapshots(self) -> tuple[MerkleTree, MerkleTree]:
        """Bids and asks as they are now."""
        bids, asks = self._sides
        return bids.snapshot(), asks.snapshot()

    def _hash_level(self, side: int, rank: int, level: Level | None) -> None:
        tree, queues = self._sides[side], self._queues[side]
        price_key = abs(rank).to_bytes(8, "big")
        if level is None:
            queues.pop(rank, None)
            tree.delete(price_key)
        elif level.count <= LONGEST_FLAT_QUEUE:
            queues.pop(rank, None)
            tree.set(price_key, flat_digest(level.price, _records(level)))
        else:
            queue = queues.get(rank)
            if queue is None:
                queue = queues[rank] = MerkleTree(8)
                for order in level:
                    queue.set(_ticket_key(order), _order_digest(order))
            tree.set(price_key, queue_digest(level.price, level.count, queue.root()))


def order_record(key: Key, remaining: int) -> bytes:
    """50 bytes: author, seq, index, remaining lots."""
    author, seq, index = key
    return _pack_order(author, seq, index, remaining)


def flat_digest(price: int, records: list[bytes]) -> bytes:
    """A level's leaf: its orders' records, first in the queue first."""
    return hash_bytes(LEVEL_TAG, _pack_level(price, len(records)), *records)


def queue_digest(price: int, count: int, queue_root: bytes) -> bytes:
    """The leaf of a level whose queue is long enough to be a tree."""
    return hash_bytes(QUEUE_TAG, _pack_level(price, count), queue_root)


def _records(level: Level) -> list[bytes]:
    records = []
    order = level.head
    while order is not None:
        author, seq, index = order.key
        records.append(_pack_order(author, seq, index, order.remaining))
        order = order.next
    return records


def _update_queue(
    queue: MerkleTree, orders: list[RestingOrder], states: Mapping[Key, RestingOrder | int]
) -> None:
    # Undo gives tickets back, so one that has left may bear the ticket of one that has come.
    resting = []
    for order in orders:
        if states.get(order.key) is order:
            resting.append(order)
        else:
            queue.delete(_ticket_key(order))
    for order in resting:
        queue.set(_ticket_key(order), _order_digest(order))


def _ticket_key(order: RestingOrder) -> bytes:
    return order.ticket.to_bytes(8, "big")


def _order_digest(order: RestingOrder) -> bytes:
    return hash_bytes(ORDER_TAG, order_record(order.key, order.remaining))
