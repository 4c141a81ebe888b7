"""gossipbook: an order book without a server.

Each peer keeps a signed, append-only log of its own orders, gossips with random peers, and replays
the merged logs through a price-time matching engine, so that all peers hold the same book and the
same trades. Start with ``sim.Cluster``, or read ``docs/ALGORITHM.md``.
"""

from gossipbook import sim
from gossipbook.book.commands import (
    CancelOrder,
    Command,
    CommandId,
    LimitOrder,
    MarketOrder,
    OrderId,
    ReplaceOrder,
)
from gossipbook.book.events import (
    Accepted,
    Cancelled,
    OrderStatus,
    Rejected,
    Replaced,
    Trade,
)
from gossipbook.book.order_book import Book, BookOrder, PriceLevel
from gossipbook.errors import (
    BadSignature,
    ClockError,
    EncodingError,
    GossipbookError,
    IdentityForked,
    InvalidCommand,
    InvalidEntry,
    InvalidGenesis,
    NotAMember,
    NotConverged,
    OwnHeadUnconfirmed,
    ProtocolViolation,
    RemoteError,
    UnknownMarket,
    UsageError,
    WrongNetwork,
)
from gossipbook.genesis import Genesis, Market
from gossipbook.gossip.config import GossipConfig
from gossipbook.gossip.interface import ClockSkew, Divergence, ForkProven, PeerDown, PeerUp
from gossipbook.identity import Keypair, PeerId
from gossipbook.log.fork import ForkProof
from gossipbook.receipts import Receipt
from gossipbook.replica import ReplicaSettings, Update

__all__ = [
    "Accepted",
    "BadSignature",
    "Book",
    "BookOrder",
    "CancelOrder",
    "Cancelled",
    "ClockError",
    "ClockSkew",
    "Command",
    "CommandId",
    "Divergence",
    "EncodingError",
    "ForkProof",
    "ForkProven",
    "Genesis",
    "GossipConfig",
    "GossipbookError",
    "IdentityForked",
    "InvalidCommand",
    "InvalidEntry",
    "InvalidGenesis",
    "Keypair",
    "LimitOrder",
    "Market",
    "MarketOrder",
    "NotAMember",
    "NotConverged",
    "OrderId",
    "OrderStatus",
    "OwnHeadUnconfirmed",
    "PeerDown",
    "PeerId",
    "PeerUp",
    "PriceLevel",
    "ProtocolViolation",
    "Receipt",
    "Rejected",
    "RemoteError",
    "ReplaceOrder",
    "Replaced",
    "ReplicaSettings",
    "Trade",
    "UnknownMarket",
    "Update",
    "UsageError",
    "WrongNetwork",
    "sim",
]
