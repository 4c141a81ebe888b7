"""Answers to other peers' questions: a function of the replica and the question.

Nothing here changes anything, and nothing here decides whether a question deserves an answer: the
protocol has taken a token from the link's bucket before it asks. Sizes are bounded, because a
question of a few bytes may ask for a whole log.
"""

from collections.abc import Callable, Sequence

from gossipbook.book.digest import MarketDigest, encode_totals
from gossipbook.gossip.config import GossipConfig
from gossipbook.gossip.messages import (
    Branch,
    CutsAre,
    CutsWanted,
    IdsAre,
    IdsWanted,
    LevelsAre,
    LevelsWanted,
    MarketsAre,
    MarketsWanted,
    News,
    Walk,
    Want,
    spans_of,
)
from gossipbook.identity import PeerId
from gossipbook.log.entry import MAX_RUN_ENTRIES, Entry, encode_run
from gossipbook.log.frontier import Head
from gossipbook.merkle import hash_bytes
from gossipbook.replica import Replica

MAX_SERVED_BYTES = 1_048_576
"""What one Want is answered with at most: 12 ms of encoding."""


def answer_want(
    replica: Replica, want: Want, config: GossipConfig, grant: Callable[[int], bool]
) -> list[News]:
    """Frames of runs; what we do not hold is answered with how much we do.

    ``grant`` says whether so many bytes more may be sent; after a no, nothing more is encoded.
    """
    frames: list[list[bytes]] = [[]]
    heads: dict[PeerId, Head] = {}
    total = room = 0
    for author, first, count in want.ranges:
        log = replica.logs.get(author)
        if log is None or first >= log.length:
            heads[author] = replica.head(author)
            continue
        end = min(first + count, log.length, first + MAX_RUN_ENTRIES)
        while first < end and total < MAX_SERVED_BYTES:
            taken = run_end(log.entries, first, end, config.reply_bytes)
            run = encode_run(log.entries[first:taken])
            if not grant(len(run)):
                total = MAX_SERVED_BYTES  # encoding what is refused would be work for nothing
                break
            if room + len(run) > config.reply_bytes and frames[-1]:
                frames.append([])
                room = 0
            frames[-1].append(run)
            room += len(run)
            total += len(run)
            first = taken
    told = tuple(heads.values())
    news = [News(tuple(runs), reply=True) for runs in frames]
    news[0] = news[0]._replace(heads=told)
    return [one for one in news if one.runs or one.heads]


def run_end(entries: Sequence[Entry], first: int, end: int, limit_bytes: int) -> int:
    """Where a run from ``first`` on has to stop to stay within so many bytes: after one entry at
    least."""
    size_bytes = 0
    for at in range(first, end):
        size_bytes += entries[at].size_bytes
        if size_bytes > limit_bytes and at > first:
            return at
    return end


def answer_walk(replica: Replica, walk: Walk, config: GossipConfig) -> list[Branch]:
    """For each prefix: all its heads where they are few, else its children."""
    tree = replica.frontier.tree()
    branches = []
    for prefix in walk.prefixes:
        if tree.subtree_size(prefix) <= config.walk_leaf_limit:
            heads = [replica.head(PeerId(key)) for key, _ in tree.subtree_items(prefix)]
            branches.append(Branch(prefix, (), tuple(heads)))
        else:
            children = tuple((one.prefix, one.root) for one in tree.children(prefix))
            branches.append(Branch(prefix, children, ()))
    return branches


def answer_ids(replica: Replica, wanted: IdsWanted) -> IdsAre:
    """The ids at the seqs that we hold."""
    log = replica.logs.get(wanted.author)
    ids = [(seq, log.id_at(seq)) for seq in wanted.seqs] if log is not None else []
    return IdsAre(wanted.author, tuple((seq, one) for seq, one in ids if one is not None))


def answer_cuts(replica: Replica, wanted: CutsWanted) -> CutsAre:
    """The roots at the cuts that we can vouch for."""
    cuts = [replica.cut_at(second) for second in sorted(set(wanted.seconds))]
    return CutsAre(spans_of([cut for cut in cuts if cut is not None]))


def answer_markets(replica: Replica, wanted: MarketsWanted) -> MarketsAre | None:
    """The parts of each market's digest at a cut, or None where they are not known."""
    digests = replica.digests_at(wanted.second)
    if digests is None:
        return None
    return MarketsAre(
        wanted.second,
        tuple(
            (digest.bids.root(), digest.asks.root(), _totals_root(digest), digest.root)
            for digest in digests
        ),
    )


def answer_levels(replica: Replica, wanted: LevelsWanted) -> LevelsAre | None:
    """The children of a node of one side's tree at a cut, or None where it is not known."""
    digests = replica.digests_at(wanted.second)
    if digests is None or wanted.market >= len(digests):
        return None
    digest = digests[wanted.market]
    tree = digest.bids if wanted.side == 0 else digest.asks
    children = tuple((child.prefix, child.root) for child in tree.children(wanted.prefix))
    return LevelsAre(wanted.second, wanted.market, wanted.side, wanted.prefix, children)


def _totals_root(digest: MarketDigest) -> bytes:
    return hash_bytes(b"gossipbook/1 totals", encode_totals(digest.totals), digest.outcomes)
