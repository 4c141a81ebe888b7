"""What is missing, whom to ask for it, and where two logs begin to differ.

``Fetcher`` keeps the ranges on order: per author a few chunks from different links, each with a
deadline, never beyond what that link claims to hold. ``Bisection`` narrows down the least seq at
which two logs of one author differ, sixteen ids a message. Both only decide; the protocol sends.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from gossipbook.gossip.config import GossipConfig
from gossipbook.gossip.interface import LinkId
from gossipbook.gossip.messages import MAX_IDS
from gossipbook.gossip.sampling import evenly_spread
from gossipbook.identity import PeerId
from gossipbook.log.entry import EntryId
from gossipbook.randomness import SeededRandom

_NEVER_US = 1 << 62

BUSY_US = 100_000
"""When to look again, where every link that could be asked has enough to do."""


class Range(NamedTuple):
    """Entries on order from one link."""

    link: LinkId
    first: int
    end: int
    deadline_us: int


class Fetcher:
    """The gaps of all logs and the requests that are under way for them."""

    def __init__(self, config: GossipConfig, random: SeededRandom) -> None:
        self._config = config
        self._random = random
        self._due_us: dict[PeerId, int] = {}  # authors with a gap: when to ask
        self._on_order: dict[PeerId, list[Range]] = {}
        self._link_load: dict[LinkId, int] = {}  # entries on order
        self._answered_us: dict[LinkId, int] = {}  # when something on order last came
        self._expiry_us = _NEVER_US  # of the earliest request; may be early
        self.wake_us: int | None = None
        """When ``expired`` and ``plan`` should be called next; may be early, never late."""

    def want(self, author: PeerId, due_us: int) -> None:
        """Somebody holds more of ``author`` than we do; ask at ``due_us`` if it did not come."""
        known = self._due_us.get(author)
        if known is None or due_us < known:
            self._due_us[author] = due_us
            if self.wake_us is None or due_us < self.wake_us:
                self.wake_us = due_us

    def expired(self, now_us: int) -> Iterator[tuple[PeerId, LinkId]]:
        """Drops the requests that were not answered in time and names author and link."""
        if now_us < self._expiry_us:
            return
        late = [
            author
            for author, ranges in self._on_order.items()
            if any(self._deadline_us(one) <= now_us for one in ranges)
        ]
        for author in late:
            for one in self._on_order[author]:
                if self._deadline_us(one) <= now_us:
                    yield author, one.link
            self._keep(author, lambda one: self._deadline_us(one) > now_us)
            self.want(author, now_us)

    def _deadline_us(self, one: Range) -> int:
        """A request waits its turn behind others to the same link: as long as answers come over
        it, nothing is asked again behind its own first copy."""
        answered_us = self._answered_us.get(one.link)
        if answered_us is None:
            return one.deadline_us
        return max(one.deadline_us, answered_us + self._config.fetch_timeout_us)

    def arrived(self, author: PeerId, link: LinkId, first: int, end: int, now_us: int) -> bool:
        """Entries [first, end) came over ``link``: what they cover is no longer on order.

        Returns whether any of it was.
        """
        before = self._on_order.get(author)
        if before is None:
            return False
        after = [
            one._replace(first=min(end, one.end))
            if one.link == link and first <= one.first < end
            else one
            for one in before
        ]
        self._link_load[link] = self._link_load.get(link, 0) - sum(
            new.first - old.first for old, new in zip(before, after, strict=True)
        )
        kept = [one for one in after if one.first < one.end]
        if kept:
            self._on_order[author] = kept
        else:
            del self._on_order[author]
        if after != before:
            self._answered_us[link] = now_us
        return after != before

    def refused(self, author: PeerId, link: LinkId) -> None:
        """The link does not hold what it was asked for."""
        if author in self._on_order:
            self._keep(author, lambda one: one.link != link)

    def link_gone(self, link: LinkId, now_us: int) -> None:
        orphaned = [
            author
            for author, ranges in self._on_order.items()
            if any(one.link == link for one in ranges)
        ]
        for author in orphaned:
            self._keep(author, lambda one: one.link != link)
            self.want(author, now_us)
        self._link_load.pop(link, None)
        self._answered_us.pop(link, None)

    def plan(
        self,
        now_us: int,
        *,
        have: Callable[[PeerId], int],
        claims: Callable[[PeerId], list[tuple[LinkId, int]]],
        next_missing: Callable[[PeerId, int], int] = lambda _, seq: seq,
        patience_us: Callable[[LinkId, int], int] | None = None,
    ) -> dict[LinkId, list[tuple[PeerId, int, int]]]:
        """What to ask of whom now: (author, first, count) by link.

        ``have`` tells how far our own log reaches, ``claims`` which links claim more, and how far.
        ``next_missing`` skips what came early and waits for its ancestors: asked for again, it
        would only come again, at the speed of the link. ``patience_us`` tells how long to wait for
        so many entries from a link.
        """
        asks: dict[LinkId, list[tuple[PeerId, int, int]]] = {}
        room: dict[LinkId, int] = {}  # entries that may still be asked of a link in this plan
        config = self._config
        for author in [author for author, due in self._due_us.items() if due <= now_us]:
            ranges = self._on_order.get(author, [])
            claimed = claims(author)
            first = have(author)
            while len(ranges) < config.fetches_per_author:
                first = _first_to_ask(ranges, first, partial(next_missing, author))
                able = [
                    (link, end)
                    for link, end in claimed
                    if end > first and room.setdefault(link, self._room(link)) > 0
                ]
                if not able:
                    break
                link, end = self._random.choice(able)
                count = min(end - first, room[link], _gap(ranges, first))
                room[link] -= count
                self._link_load[link] = self._link_load.get(link, 0) + count
                asks.setdefault(link, []).append((author, first, count))
                timeout_us = config.fetch_timeout_us
                if patience_us is not None:
                    timeout_us = patience_us(link, count)
                ranges.append(Range(link, first, first + count, now_us + timeout_us))
                self._on_order[author] = ranges
            if ranges or all(end <= first for _, end in claimed):
                del self._due_us[author]  # comes back when something arrives or expires
            else:
                self._due_us[author] = now_us + BUSY_US  # every link is busy
        self._expiry_us = min(
            (self._deadline_us(one) for ranges in self._on_order.values() for one in ranges),
            default=_NEVER_US,
        )
        wake_us = min(min(self._due_us.values(), default=_NEVER_US), self._expiry_us)
        self.wake_us = None if wake_us == _NEVER_US else wake_us
        return asks

    def _room(self, link: LinkId) -> int:
        """How many entries may be asked of a link at once: a chunk, if it is not too busy."""
        config = self._config
        limit = config.chunk_entries * config.fetches_per_link
        return min(config.chunk_entries, limit - self._link_load.get(link, 0))

    def _keep(self, author: PeerId, keep: Callable[[Range], bool]) -> None:
        before = self._on_order[author]
        kept = [one for one in before if keep(one)]
        if kept:
            self._on_order[author] = kept
        else:
            del self._on_order[author]
        for one in before:
            if one not in kept:
                self._link_load[one.link] -= one.end - one.first


def _first_to_ask(ranges: list[Range], first: int, next_missing: Callable[[int], int]) -> int:
    """The first seq at or after ``first`` that is neither on order nor here already."""
    while True:
        after = next_missing(_after(ranges, first))
        if after == first:
            return first
        first = after


def _after(ranges: list[Range], first: int) -> int:
    """The first seq at or after ``first`` that is not on order."""
    for one in sorted(ranges, key=lambda one: one.first):
        if one.first <= first < one.end:
            first = one.end
    return first


def _gap(ranges: list[Range], first: int) -> int:
    """How many seqs from ``first`` on are not on order."""
    return min((one.first - first for one in ranges if one.first > first), default=1 << 62)


@dataclass(slots=True)
class Bisection:
    """The search for the least seq at which a link's log of ``author`` differs from ours.

    Below ``low`` the two agree; at ``high`` they differ.
    """

    author: PeerId
    link: LinkId
    high: int
    deadline_us: int
    low: int = 0
    asked: tuple[int, ...] = field(default=())

    def next_seqs(self) -> tuple[int, ...]:
        """The seqs to ask about next; none when ``high`` is the answer."""
        self.asked = evenly_spread(self.low, self.high, MAX_IDS)
        return self.asked

    def narrow(
        self, ids: tuple[tuple[int, EntryId], ...], ours: Callable[[int], EntryId | None]
    ) -> bool:
        """Take the other side's ids; False where they do not answer what was asked."""
        answers = dict(ids)
        if any(seq not in answers for seq in self.asked):
            return False
        for seq in self.asked:
            if answers[seq] != ours(seq):
                self.high = seq
                return True
            self.low = seq + 1
        return True
