"""The fast half of gossip: which logs grew, whom to send them, and whom only to tell.

A log that grew is noted. In the next round each noted log goes, as one run, to a few random links
that are not known to have it; the other links that lack it get its head, and fetch if nobody
brings it. Deciding in the round and not on arrival saves what links have told meanwhile. Pushes may
be lost: knowledge is raised all the same, and anti-entropy puts it right.
"""

from collections.abc import Iterator, Sequence

from gossipbook.gossip.config import GossipConfig
from gossipbook.gossip.interface import LinkId
from gossipbook.gossip.links import Link
from gossipbook.gossip.messages import MAX_HEADS, News
from gossipbook.gossip.sampling import random_subset
from gossipbook.gossip.serving import run_end
from gossipbook.identity import PeerId
from gossipbook.log.entry import encode_run
from gossipbook.log.frontier import Head
from gossipbook.randomness import SeededRandom
from gossipbook.replica import Replica

TELL, PUSH, PUSH_TO_ALL = range(3)
"""How a log that grew is spread: tell every link; push to a few; push to every link."""


class Pusher:
    """The logs that grew since the last round."""

    def __init__(self, replica: Replica, config: GossipConfig, random: SeededRandom) -> None:
        self._replica = replica
        self._config = config
        self._random = random
        self._fresh: dict[PeerId, int] = {}  # how to spread each
        self._last_round_us = -config.frame_gap_us

    def note(self, author: PeerId, how: int, now_us: int, *, urgent: bool) -> int:
        """A log grew; when the next round is due.

        What is ``urgent`` (our own entries), and anything after a pause, leaves almost at once;
        under load the rounds in which others' entries are passed on come at regular gaps.
        """
        self._fresh[author] = max(how, self._fresh.get(author, TELL))
        at_us = now_us + self._config.coalesce_us
        return at_us if urgent else max(at_us, self._last_round_us + self._gap_us())

    @property
    def due_us(self) -> int | None:
        """When what was left over is due; None where nothing was."""
        return self._last_round_us + self._gap_us() if self._fresh else None

    def _gap_us(self, own: PeerId | None = None) -> int:
        """The least time between two rounds, for what is noted besides our own log. What is only
        told has been sent to everyone by its author, or was fetched."""
        if all(how == TELL for author, how in self._fresh.items() if author != own):
            return self._config.tell_gap_us
        return self._config.frame_gap_us

    def round(
        self, links: Sequence[Link], now_us: int, *, own: PeerId, complete: bool
    ) -> Iterator[tuple[Link, News]]:
        """The news for each link that lacks something of what was noted.

        Between two regular rounds that is our own log alone.
        """
        runs: dict[LinkId, list[bytes]] = {}
        heads: dict[LinkId, list[Head]] = {}
        for author, how in self._take(now_us, own).items():
            head = self._replica.frontier.get(author)
            lacking = [link for link in links if link.known.get(author, 0) < head.length]
            pushed = self._push(head, self._choose(lacking, how), runs)
            for link in lacking:
                if link.link not in pushed:
                    heads.setdefault(link.link, []).append(head)
        for link in links:
            its_runs, its_heads = runs.get(link.link, []), heads.get(link.link, [])
            if its_runs or its_heads:
                yield link, News(tuple(its_runs), tuple(its_heads[:MAX_HEADS]), complete=complete)
            for at in range(MAX_HEADS, len(its_heads), MAX_HEADS):
                more = tuple(its_heads[at : at + MAX_HEADS])
                yield link, News((), more, complete=complete)

    def _take(self, now_us: int, own: PeerId) -> dict[PeerId, int]:
        if own in self._fresh and now_us < self._last_round_us + self._gap_us(own):
            return {own: self._fresh.pop(own)}
        self._last_round_us = now_us
        fresh, self._fresh = self._fresh, {}
        return fresh

    def _choose(self, lacking: list[Link], how: int) -> list[Link]:
        if how == PUSH_TO_ALL:
            return lacking
        return random_subset(lacking, self._config.fanout, self._random) if how == PUSH else []

    def _push(self, head: Head, chosen: list[Link], runs: dict[LinkId, list[bytes]]) -> set[LinkId]:
        """Add the log's newest run to the frames of the chosen links; to which it was."""
        author, length = head.author, head.length
        entries = self._replica.logs[author].entries
        config = self._config
        pushed: set[LinkId] = set()
        encoded: dict[int, bytes] = {}  # by first seq: most links lack the same
        for link in chosen:
            known = link.known.get(author, 0)
            if (
                length - known > config.push_entries
                or run_end(entries, known, length, config.chunk_bytes) < length
            ):
                continue  # it is told instead, and fetches
            run = encoded.get(known)
            if run is None:
                run = encoded[known] = encode_run(entries[known:])
            frame = runs.setdefault(link.link, [])
            if frame and len(run) + sum(map(len, frame)) > config.chunk_bytes:
                continue
            frame.append(run)
            link.known[author] = length
            pushed.add(link.link)
        return pushed
