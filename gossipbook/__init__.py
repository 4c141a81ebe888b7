"""gossipbook: an order book without a server.

Each peer keeps a signed, append-only log of its own orders, gossips with random peers, and replays
the merged logs through a price-time matching engine, so that all peers hold the same book and the
same trades. Start with ``open_peer`` and a ``MemoryNetwork``, or with ``sim.Cluster`` for
experiments in simulated time; ``docs/`` has a tutorial.
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
    PeerClosed,
    ProtocolViolation,
    RemoteError,
    StoreError,
    SubscriberLagged,
    UnknownMarket,
    UsageError,
    WriteRolledBack,
    WriteUndecided,
    WrongNetwork,
)
from gossipbook.genesis import Genesis, Market
from gossipbook.gossip.config import GossipConfig
from gossipbook.gossip.interface import (
    ClockSkew,
    DialRefused,
    Divergence,
    ForkProven,
    PeerDown,
    PeerEvent,
    PeerUp,
)
from gossipbook.identity import Keypair, PeerId
from gossipbook.link_model import Link
from gossipbook.link_status import LinkStatus
from gossipbook.log.fork import ForkProof
from gossipbook.log.verification import Verifier
from gossipbook.peer import Peer, open_peer, wait_until_equal
from gossipbook.peer_view import PeerStatistics
from gossipbook.receipts import Receipt
from gossipbook.replica import ReplicaSettings, Update
from gossipbook.storage.memory import MemoryStore
from gossipbook.storage.sqlite import SqliteStore
from gossipbook.subscriptions import Subscription
from gossipbook.transport.memory import MemoryNetwork, MemoryTransport
from gossipbook.transport.tls import TlsTransport

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
    "DialRefused",
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
    "Link",
    "LinkStatus",
    "Market",
    "MarketOrder",
    "MemoryNetwork",
    "MemoryStore",
    "MemoryTransport",
    "NotAMember",
    "NotConverged",
    "OrderId",
    "OrderStatus",
    "OwnHeadUnconfirmed",
    "Peer",
    "PeerClosed",
    "PeerDown",
    "PeerEvent",
    "PeerId",
    "PeerStatistics",
    "PeerUp",
    "PriceLevel",
    "ProtocolViolation",
    "Receipt",
    "Rejected",
    "RemoteError",
    "ReplaceOrder",
    "Replaced",
    "ReplicaSettings",
    "SqliteStore",
    "StoreError",
    "SubscriberLagged",
    "Subscription",
    "TlsTransport",
    "Trade",
    "UnknownMarket",
    "Update",
    "UsageError",
    "Verifier",
    "WriteRolledBack",
    "WriteUndecided",
    "WrongNetwork",
    "open_peer",
    "sim",
    "wait_until_equal",
]
