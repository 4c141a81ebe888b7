"""Equal entries, unequal books: found, located, judged and reported.

One investigation runs at a time. It begins when a link shows, for a cut at which our frontiers are
equal, another root of the books, and goes through these steps, each a question and an answer::

    seconds   which is the first cut at which the books differ?       CutsWanted   / CutsAre
    markets   which market, and which part of it?                     MarketsWanted / MarketsAre
    levels    down the side's tree to the first price that differs    LevelsWanted / LevelsAre
    audit     replay that market up to the cut in a fresh engine, in slices

The other peer may lie, so its claim buys little: a few small messages and one audit, at most once
a cut, and no second one within ten minutes where the audit found us right; audits for whomever
take a quarter of a core at most. Only our own audit changes our own memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gossipbook.book.digest import MarketDigest
from gossipbook.gossip.config import GossipConfig
from gossipbook.gossip.interface import Divergence, LinkId
from gossipbook.gossip.messages import (
    CutsAre,
    CutSpan,
    CutsWanted,
    LevelsAre,
    LevelsWanted,
    MarketsAre,
    MarketsWanted,
    Message,
)
from gossipbook.gossip.sampling import evenly_spread
from gossipbook.identity import PeerId
from gossipbook.merkle import MerkleTree, to_nibbles
from gossipbook.replica import REPLAY_COST_US, REPLAY_PAUSE_FACTOR, Audit, Replica

PRICE_NIBBLES = 16
STEP_TIMEOUT_US = 3_000_000
CASE_TIMEOUT_US = 20_000_000
ABANDONED_US = 5_000_000
MOST_REMEMBERED = 1_024
"""Peers, and cuts, of which it is known what they have cost; in an open network ids are free."""
"""How long a peer whose case led nowhere waits for its next: others may have a better one."""

CUTS_PER_QUESTION = 16


@dataclass(slots=True)
class _Investigation:
    link: LinkId
    peer_id: PeerId
    second: int  # the earliest cut known to differ
    deadline_us: int
    last_us: int  # when the case is closed, whatever comes
    question: Message | None = None  # what was asked and not answered yet
    agreed: int | None = None  # the latest cut known to agree before it
    market: int | None = None
    side: int | None = None
    price: int | None = None
    ours: bytes = b""
    theirs: bytes = b""
    digest: MarketDigest | None = None
    audit: Audit | None = None


class DivergenceWatch:
    """The state of the one investigation, and what links have cost us."""

    def __init__(self, replica: Replica, config: GossipConfig) -> None:
        self._replica = replica
        self._config = config
        self._case: _Investigation | None = None
        self._not_before_us: dict[PeerId, int] = {}
        self._rest_until_us = 0
        self._audited_cuts: dict[tuple[int, PeerId], None] = {}
        self.audit_count = 0
        self.claim_count = 0

    # ---------------------------------------------------------------- noticing

    def compare(
        self, link: LinkId, peer_id: PeerId, spans: Sequence[CutSpan], now_us: int
    ) -> tuple[bool, Message | None]:
        """Compare a link's cuts with ours.

        Returns whether the newest common cut has equal frontiers (then nothing older than it is
        missing on either side), and a question to send where the books differ.
        """
        bad: int | None = None
        good: int | None = None
        newest_equal = False
        for span in spans:
            last = span.last
            for second in range(max(span.first, last - self._config.cuts_sent), last + 1):
                cut = self._replica.cut_at(second)
                if cut is None:
                    continue
                newest_equal = cut.frontier_root == span.frontier_root
                if not newest_equal:
                    continue
                if cut.book_root == span.book_root:
                    if bad is None:
                        good = second
                elif bad is None:
                    bad = second
        if bad is None or not self._may_open(peer_id, bad, now_us):
            return newest_equal, None
        self.claim_count += 1
        self._case = _Investigation(
            link,
            peer_id,
            bad,
            now_us + STEP_TIMEOUT_US,
            now_us + CASE_TIMEOUT_US,
            agreed=good,
        )
        return newest_equal, self._next_question()

    def _may_open(self, peer_id: PeerId, second: int, now_us: int) -> bool:
        case = self._case
        if case is not None:
            if case.audit is not None or now_us < min(case.deadline_us, case.last_us):
                return False
            self._leave_alone(case.peer_id, now_us + ABANDONED_US)  # the next may be another's
            self._case = None
        if now_us < max(self._rest_until_us, self._not_before_us.get(peer_id, 0)):
            return False
        return (second, peer_id) not in self._audited_cuts

    def _leave_alone(self, peer_id: PeerId, until_us: int) -> None:
        self._not_before_us.pop(peer_id, None)
        self._not_before_us[peer_id] = until_us
        while len(self._not_before_us) > MOST_REMEMBERED:
            del self._not_before_us[next(iter(self._not_before_us))]

    # ---------------------------------------------------------------- locating

    def cuts(self, link: LinkId, message: CutsAre, now_us: int) -> Message | None:
        """The answer about older cuts."""
        if not isinstance(self._question(link), CutsWanted):
            return None
        case = self._answered(now_us)
        before = (case.second, case.agreed)
        for span in message.spans:
            for second in range(max(span.first, case.second - 64), min(span.last, case.second) + 1):
                cut = self._replica.cut_at(second)
                if cut is None or cut.frontier_root != span.frontier_root:
                    continue
                if cut.book_root != span.book_root:
                    case.second = min(case.second, second)
                elif case.agreed is None or second > case.agreed:
                    case.agreed = second
        if (case.second, case.agreed) == before:
            case.agreed = case.second - 1  # nothing more can be learnt: this is the first
        return self._next_question()

    def markets(self, link: LinkId, message: MarketsAre, now_us: int) -> Message | None:
        """The answer about the parts of each market."""
        if self._question(link) != MarketsWanted(message.second):
            return None
        case = self._answered(now_us)
        digests = self._replica.digests_at(case.second)
        if digests is None or len(digests) != len(message.markets):
            self._case = None
            return None
        for index, (digest, theirs) in enumerate(zip(digests, message.markets, strict=True)):
            bids, asks, _, root = theirs
            if root == digest.root:
                continue
            case.market, case.digest = index, digest
            case.ours, case.theirs = digest.root, root
            if bids != digest.bids.root():
                case.side = 0
            elif asks != digest.asks.root():
                case.side = 1
            return self._next_question()
        self._case = None  # its markets are ours: the claim fell apart
        return None

    def levels(self, link: LinkId, message: LevelsAre, now_us: int) -> Message | None:
        """The answer about a node of the side's tree."""
        if self._question(link) != LevelsWanted(*message[:4]):
            return None
        case = self._answered(now_us)
        assert case.digest is not None and case.side is not None
        tree = case.digest.bids if case.side == 0 else case.digest.asks
        prefix = _first_difference(tree, message.prefix, message.children)
        if prefix is None:
            case.side = None  # their tree contradicts their root: nothing to point at
            return self._next_question()
        if len(prefix) == PRICE_NIBBLES:
            case.price = _price(prefix)
            return self._next_question()
        if len(prefix) <= len(message.prefix):
            self._case = None  # no progress: the answers make no sense
            return None
        case.question = LevelsWanted(case.second, case.market or 0, case.side, prefix)
        return case.question

    def _question(self, link: LinkId) -> Message | None:
        """What this link was asked and has not answered yet."""
        case = self._case
        return case.question if case is not None and case.link == link else None

    def _answered(self, now_us: int) -> _Investigation:
        case = self._case
        assert case is not None
        case.question = None
        case.deadline_us = now_us + STEP_TIMEOUT_US
        return case

    def _next_question(self) -> Message | None:
        case = self._case
        assert case is not None
        if case.market is None:
            oldest = min(self._replica.cuts.seconds, default=case.second)
            low = oldest if case.agreed is None else case.agreed + 1
            if low < case.second:
                seconds = evenly_spread(low, case.second, CUTS_PER_QUESTION)
                case.question = CutsWanted(seconds)
            else:
                case.question = MarketsWanted(case.second)
        elif case.side is not None and case.price is None:
            case.question = LevelsWanted(case.second, case.market, case.side, b"")
        return case.question

    # ---------------------------------------------------------------- judging

    @property
    def ready(self) -> bool:
        """Whether the difference is located and the audit may begin."""
        case = self._case
        return (
            case is not None
            and case.audit is None
            and case.market is not None
            and (case.side is None or case.price is not None)
        )

    @property
    def auditing(self) -> bool:
        return self._case is not None and self._case.audit is not None

    def begin_audit(self) -> Divergence | None:
        """Start the replay; the event that reports the claim. None where it is moot by now."""
        case = self._case
        assert case is not None and case.market is not None
        self._audited_cuts[(case.second, case.peer_id)] = None
        while len(self._audited_cuts) > MOST_REMEMBERED:
            del self._audited_cuts[next(iter(self._audited_cuts))]
        case.audit = self._replica.start_audit(case.market, case.second)
        if case.audit is None:
            self._case = None
            return None
        self.audit_count += 1
        return self._event("claimed")

    def audit_slice(self, now_us: int) -> tuple[bool, Divergence | None]:
        """Replay one slice; (whether healing is due, the verdict) once it is done."""
        case = self._case
        if case is None or case.audit is None:
            return False, None
        if not case.audit.step(self._config.audit_slice_commands):
            return False, None
        if case.audit.agrees:
            self._leave_alone(case.peer_id, now_us + self._config.audit_per_link_us)
            # Many identities could each buy an audit: rest three times what this one cost.
            cost_us = case.audit.engine.position * REPLAY_COST_US
            self._rest_until_us = now_us + REPLAY_PAUSE_FACTOR * cost_us
            event = self._event("unresolved")
            self._case = None
            return False, event
        return True, self._event("healed")

    def take_audit(self) -> Audit:
        """The finished audit, with which to heal; the investigation is over."""
        case = self._case
        assert case is not None and case.audit is not None
        self._case = None
        return case.audit

    def link_gone(self, link: LinkId) -> None:
        if self._case is not None and self._case.link == link and self._case.audit is None:
            self._case = None

    def _event(self, status: str) -> Divergence:
        case = self._case
        assert case is not None
        markets = self._replica.genesis.markets
        return Divergence(
            status=status,
            peer_id=case.peer_id,
            second=case.second,
            market=None if case.market is None else markets[case.market].symbol,
            side=None if case.side is None else ("buy", "sell")[case.side],
            price_ticks=case.price,
            ours=case.ours,
            theirs=case.theirs,
        )


def _first_difference(
    tree: MerkleTree, prefix: bytes, theirs: Sequence[tuple[bytes, bytes]]
) -> bytes | None:
    """The first prefix, in order of price, below which the two trees differ."""
    found = [child for child, root in theirs if root != tree.subtree_root(child)]
    for key, _ in tree.subtree_items(prefix):
        ours = to_nibbles(key)
        if not any(ours.startswith(child) for child, _ in theirs):
            found.append(ours)  # they have nothing here
            break
    return min(found, default=None)


def _price(prefix: bytes) -> int:
    price = 0
    for nibble in prefix:
        price = price << 4 | nibble
    return price
