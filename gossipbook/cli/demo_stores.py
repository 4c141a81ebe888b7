"""How peers are judged that have ended: by their stores, and by what they said last.

This file decides whether peers that claimed to agree were right. Each store is read and replayed
here; it must give what its peer reported of itself when it had left, order by order and trade by
trade, and then the exit rule of `ending` is applied to what the stores hold. It promises that a
fault names the peer and the market. It refuses to know what was played.
"""

from __future__ import annotations

from collections.abc import Iterable

from gossipbook.cli.demo_glance import digests_of
from gossipbook.cli.demo_process_peer import ProcessPeer, Report
from gossipbook.cli.ending import find_fault
from gossipbook.cli.store_reading import StoreCopy, read_store
from gossipbook.genesis import Genesis
from gossipbook.identity import PeerId
from gossipbook.peer_view import PeerView
from gossipbook.replica import Replica


def find_fault_in_stores(peers: Iterable[ProcessPeer]) -> str:
    """What is wrong with peers that claimed to agree and have left; empty if nothing is."""
    stored: dict[str, PeerView] = {}
    for one in peers:
        with read_store(str(one.store)) as store:
            if store.loaded.damage:
                return f"{one.name}: its store is damaged: {store.loaded.damage[0]}"
            stored[one.name] = StoredPeer(store)
        assert one.report is not None, f"{one.name} has not left"
        fault = _difference(one.report, stored[one.name])
        if fault:
            return f"{one.name}: {fault}"
    return find_fault(stored)


def _difference(report: Report, stored: PeerView) -> str:
    """Where a peer's last words and its store differ."""
    said = report.glance
    for what, told, found in (
        ("entries", said.frontier_root, stored.frontier_root),
        ("books", said.root, stored.root),
    ):
        if told != found:
            return (
                f"it left with {what} {told.hex()[:8]} ({said.entries:,} entries), its store gives "
                f"{found.hex()[:8]} ({stored.entry_count:,} entries)"
            )
    for symbol, digest in digests_of(stored).items():
        if report.digests[symbol] != digest:
            return f"{symbol} was not what its store gives when it left"
    return ""


class StoredPeer(PeerView):
    """A peer that has ended, as its store gives it."""

    def __init__(self, store: StoreCopy) -> None:
        self._genesis = store.genesis
        self._replica = store.replay()

    @property
    def genesis(self) -> Genesis:
        return self._genesis

    @property
    def replica(self) -> Replica:
        return self._replica

    def _settled(self) -> Replica:
        return self._replica

    def peers(self) -> list[PeerId]:
        """None: it has left."""
        return []
