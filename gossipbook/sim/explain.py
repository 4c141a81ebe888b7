"""Why a simulated cluster has not converged, in words that lead to the cause."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossipbook.identity import short

if TYPE_CHECKING:
    from gossipbook.sim.cluster import Cluster
    from gossipbook.sim.simulated_peer import SimulatedPeer

MAX_LINES = 40


def explain_differences(cluster: Cluster) -> str:
    """What differs between the correct peers that are up, a line each."""
    peers = cluster.correct_peers
    lines = [f"  time {cluster.now:.3f} s, {len(peers)} correct peers are up"]
    if cluster.partitioned:
        lines.append(
            f"  a partition is in force: {sorted(cluster.partitioned, key=repr)} against the rest"
        )
    lines += _frontier_differences(peers)
    lines += _book_differences(cluster, peers)
    for peer in peers:
        own = peer.running.own
        if own.queued_count or own.in_flight is not None:
            state = "is being written" if own.in_flight else "waits"
            lines.append(f"  peer {peer.index}: a submit {state}; confirmed={own.confirmed}")
        if peer.replica.held_count:
            offset_s = peer.clock_offset_us / 1_000_000
            lines.append(
                f"  peer {peer.index} holds back {peer.replica.held_count} entries dated ahead of "
                f"its clock (offset {offset_s:+.3f} s)"
            )
        if not peer.running.linked_peers:
            lines.append(f"  peer {peer.index} has no links")
    if len(lines) > MAX_LINES:
        lines = [*lines[:MAX_LINES], f"  ... and {len(lines) - MAX_LINES} lines more"]
    return "\n".join(lines)


def _frontier_differences(peers: list[SimulatedPeer]) -> list[str]:
    heads = [{head.author: head for head in peer.replica.frontier.heads()} for peer in peers]
    lines = []
    for author in sorted({author for known in heads for author in known}):
        held: dict[object, list[int]] = {}
        for peer, known in zip(peers, heads, strict=True):
            head = known.get(author)
            what = (
                "nothing"
                if head is None
                else (
                    f"{head.length} entries, head {head.head_id.hex()[:8]}"
                    + ("" if head.k is None else f", forked at {head.k}")
                )
            )
            held.setdefault(what, []).append(peer.index)
        if len(held) > 1:
            each = "; ".join(f"{what} at {indices}" for what, indices in held.items())
            lines.append(f"  author {short(author)}: {each}")
    return lines


def _book_differences(cluster: Cluster, peers: list[SimulatedPeer]) -> list[str]:
    lines = []
    for market in cluster.genesis.markets:
        roots: dict[str, list[int]] = {}
        for peer in peers:
            root = peer.book(market.symbol).root.hex()[:16]
            roots.setdefault(root, []).append(peer.index)
        if len(roots) > 1:
            each = "; ".join(f"{root} at {indices}" for root, indices in roots.items())
            lines.append(f"  market {market.symbol}: {each}")
    return lines
