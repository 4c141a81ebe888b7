"""What a peer keeps about each of its links: knowledge, time, and what the link may still cost.

Knowledge is what the peer at the other end holds, as far as we know: a length per author. (The head
id that came with it was compared with our log on arrival and need not be kept.) It may be
optimistic, because a push may be lost; every frontier received corrects it.
"""

from dataclasses import dataclass, field

from gossipbook.gossip.config import GossipConfig
from gossipbook.gossip.failure_detector import FailureDetector
from gossipbook.gossip.interface import Address, LinkId
from gossipbook.identity import PeerId

OFFSET_SAMPLES = 8


class TokenBucket:
    """Lets through ``rate_per_s`` on average, and one second's worth at once."""

    __slots__ = ("_level", "_rate_per_s", "_updated_us")

    def __init__(self, rate_per_s: int, now_us: int) -> None:
        self._rate_per_s = rate_per_s
        self._level = rate_per_s
        self._updated_us = now_us

    def take(self, amount: int, now_us: int) -> bool:
        """Whether ``amount`` is granted. A bucket that is not empty grants any amount and owes
        the rest, so that one large answer is late rather than never."""
        refill = (now_us - self._updated_us) * self._rate_per_s // 1_000_000
        if refill:
            self._level = min(self._rate_per_s, self._level + refill)
            self._updated_us = now_us
        if self._level <= 0:
            return False
        self._level -= amount
        return True


class ClockOffset:
    """How far the other clock is ahead of ours: of the latest pings the one that came back
    fastest tells best."""

    __slots__ = ("_samples", "offset_us", "round_trip_us")

    def __init__(self) -> None:
        self._samples: list[tuple[int, int]] = []  # (round trip us, offset us)
        self.round_trip_us = 0
        """The shortest of the latest round trips; 0 before the first."""
        self.offset_us: int | None = None

    def add(self, *, round_trip_us: int, offset_us: int) -> None:
        self._samples.append((round_trip_us, offset_us))
        del self._samples[:-OFFSET_SAMPLES]
        if abs(offset_us - self._samples[0][1]) > 1_000_000:
            del self._samples[:-1]  # a clock has jumped: the past says nothing any more
        self.round_trip_us, self.offset_us = min(self._samples)


@dataclass(slots=True)
class Link:
    """One connection to one peer."""

    link: LinkId
    peer_id: PeerId
    address: Address | None
    dialled: bool
    detector: FailureDetector
    serving: TokenBucket  # bytes
    requests: TokenBucket
    opened_us: int
    known: dict[PeerId, int] = field(default_factory=dict)  # length, by author
    evidence: dict[PeerId, int] = field(default_factory=dict)  # k last proven to them, by author
    clock: ClockOffset = field(default_factory=ClockOffset)
    ping_token: int = 0
    ping_sent_us: int = 0
    verifying_bytes: int = 0
    fetch_failures: int = 0  # requests in a row that were not answered in time
    unknown_authors: int = 0
    recounted_us: int = 0  # when the unknown authors were last counted
    compares_skipped: int = 0  # in a row, because recent cuts agreed
    asked_prefixes: dict[bytes, None] = field(default_factory=dict)  # of the walk under way
    own_head_answered: bool = False
    own_head_asked_us: int = 0
    own_head_claimed: int = 0
    own_head_held: int = 0  # how much of our own log it said that it holds; pushes do not raise it
    complete: bool = False  # it pushes its own entries to everyone

    @classmethod
    def open(
        cls,
        link: LinkId,
        peer_id: PeerId,
        address: Address | None,
        *,
        dialled: bool,
        config: GossipConfig,
        now_us: int,
    ) -> "Link":
        return cls(
            link,
            peer_id,
            address,
            dialled,
            FailureDetector(now_us, expected_interval_us=config.ping_us // 2),
            TokenBucket(config.serve_bytes_per_s, now_us),
            TokenBucket(config.requests_per_s, now_us),
            now_us,
            own_head_asked_us=now_us,  # each side tells the other as its first word
        )

    def known_length(self, author: PeerId) -> int:
        return self.known.get(author, 0)
