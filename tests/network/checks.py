"""What must hold of peers in processes once the network is well again.

All hold the same entries and books; every order that was acknowledged is in everybody's store;
nobody's log is forked; nothing was reported that should not have been; and the stores, read and
replayed afterwards by another process without links, amount to the roots that the peers told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import gossipbook as gb
from bench.peer_processes import PeerProcess, keypair_of
from bench.report import Results
from gossipbook.book.digest import book_root
from gossipbook.sim.checkers import replay

ALLOWED_FAILURES = {"OwnHeadUnconfirmed"}
"""What a submit may raise: nobody could be asked, after a restart, how long our own log is."""


def check_submits(results: dict[str, Results]) -> Counter[str]:
    """Nothing failed but for what is allowed; how often that was."""
    failed: Counter[str] = Counter()
    for name, result in results.items():
        others = set(result["failed"]) - ALLOWED_FAILURES
        assert not others, f"{name}: {result['failures']}"
        failed.update(result["failed"])
    return failed


def check_quiet(answers: dict[str, Results], processes: Iterable[PeerProcess]) -> None:
    """No proof, no divergence, no skewed clock, no traceback, and no warning but that an address
    which the test named leads nowhere for now."""
    for name, answer in answers.items():
        assert answer["proofs"] == 0, f"{name} holds {answer['proofs']} fork proofs"
        assert answer["events"] == [], f"{name} was told {answer['events']}"
    for process in processes:
        lines = process.complaints.splitlines()
        complaints = [line for line in lines if not line.endswith("; it is tried again")]
        assert complaints == [], f"{process.name} complained:\n{process.complaints}"


async def check_stores(
    genesis: gb.Genesis, answer: Results, processes: Iterable[PeerProcess], *, folder: Path
) -> None:
    """Every store holds the same logs, with every acknowledged entry, and amounts to ``answer``."""
    processes = list(processes)
    acknowledged = {entry_id: one.name for one in processes for entry_id in one.acknowledged}
    assert acknowledged, "nobody submitted anything"
    logs: dict[str, dict[str, list[tuple[str, str]]]] = {}
    for name in sorted({one.name for one in processes}):
        store = folder / f"{name}.db"
        async with gb.open_peer(genesis, keypair_of(name), store=store) as peer:
            assert peer.damage == (), f"the store of {name}: {peer.damage}"
            logs[name] = _logs(peer)
            held = {entry_id for log in logs[name].values() for entry_id, _ in log}
            lost = [author for entry_id, author in acknowledged.items() if entry_id not in held]
            assert not lost, f"the store of {name} lacks acknowledged orders: {Counter(lost)}"
            first = next(iter(logs))
            assert logs[name] == logs[first], f"the stores of {first} and {name} differ"
            engines = replay(peer)
        digests = [engines[market.symbol].digest() for market in genesis.markets]
        assert book_root(digests).hex() == answer["book_root"], f"the replay of {name}'s store"


def _logs(peer: gb.Peer) -> dict[str, list[tuple[str, str]]]:
    """{author: [(entry id, signature)]}; an id covers the entry and all before it."""
    return {
        author.hex(): [(entry.id.hex(), entry.signature.hex()) for entry in log.entries]
        for author, log in peer.replica.logs.items()
    }
