"""What fuzzing starts from: the bytes that peers do say.

By target, a few hundred inputs: the examples of ``docs/WIRE.md``, the traffic and the logs of a
simulated network in which somebody joins, somebody forks and somebody is cut off, and scripts that
walk the protocol's longer paths. A fuzzer finds the way from there to what nobody says.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

from fuzz.pool import pool_of
from fuzz.script import MEMBERS_ONLY, STRANGERS
from fuzz.stories import scripts
from twins.authors import GENESIS
from twins.message_examples import EXAMPLES, PROOF, RUN
from twins.scenario import trade

import gossipbook as gb
from gossipbook.gossip.messages import News, decode_message, encode_message
from gossipbook.identity import Keypair
from gossipbook.log.entry import encode_run
from gossipbook.randomness import SeededRandom
from gossipbook.storage.tape import write_tape
from gossipbook.transport.framing import framed
from gossipbook.transport.handshake import Hello, encode_proof, encode_refusal

MAX_BYTES = 1 << 20
FRAMES_OF_A_KIND = 12

ADDRESSES = (
    b"203.0.113.5:7000",
    b":7000",
    b"0.0.0.0:1",
    b"[::]:65535",
    b"[2001:db8::5]:7000",
    b"[fe80::1%eth0]:80",
    b"localhost:7000",
    b"example.org:00080",
    b"127.0.0.1:7000",
    "b\u00fccher.example:7000".encode(),
)


@cache
def seeds(target: str) -> tuple[bytes, ...]:
    """The first inputs for a target; the same in every process."""
    return tuple(dict.fromkeys(_SEEDS[target]()))


def write_seeds(target: str, folder: Path) -> None:
    """Put them where libFuzzer looks for its corpus."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds(target)):
        (folder / f"seed-{number:03}").write_bytes(data)


# -------------------------------------------------------------------- traffic


@cache
def frames() -> tuple[bytes, ...]:
    """What simulated peers send each other, some of every kind, and one example of each."""
    by_kind: dict[str, list[bytes]] = {}
    for frame in (*map(encode_message, EXAMPLES), *_traffic()):
        kind = type(decode_message(frame, max_size=MAX_BYTES)).__name__
        known = by_kind.setdefault(kind, [])
        if len(known) < FRAMES_OF_A_KIND and frame not in known:
            known.append(frame)
    return tuple([frame for known in by_kind.values() for frame in known])


def _traffic() -> list[bytes]:
    heard: list[bytes] = []
    config = gb.GossipConfig(whole_frontier_limit=2, small_frontier_limit=0, walk_leaf_limit=1)
    cluster = gb.sim.Cluster(gb.Genesis("scenario", _MARKETS), peers=4, seed=5, config=config)

    def listen(frame: bytes) -> bool:
        if len(frame) <= 2_048:
            heard.append(frame)
        return True

    for peer in cluster.peers:
        peer.outgoing = listen
    trade(cluster, 20, at=[0, 1, 2])
    cluster.run_for(3)
    cluster.partition({0})
    trade(cluster, 8, at=[0, 1, 2])
    cluster.corrupt(1, "ONE")
    cluster.heal()
    cluster.join()
    cluster.equivocate(3)
    cluster.run_for(6)
    cluster.leave(2)
    cluster.run_for(1)
    return heard


_MARKETS = [gb.Market("ONE"), gb.Market("TWO")]


def _runs() -> Iterator[bytes]:
    yield RUN
    pool = pool_of(GENESIS, STRANGERS)
    for author in pool.authors:
        for branch in range(4):
            entries = pool.entries_of(author, branch)
            yield from (encode_run(entries), encode_run(entries[:1]), encode_run(entries[-2:]))
    for frame in frames():
        message = decode_message(frame, max_size=MAX_BYTES)
        if isinstance(message, News):
            yield from message.runs


def _proofs() -> Iterator[bytes]:
    assert PROOF is not None
    yield PROOF.encode()
    pool = pool_of(GENESIS, STRANGERS)
    for author in pool.authors:
        yield from pool.proofs[author]


def _geneses() -> Iterator[bytes]:
    yield GENESIS.encode()
    yield MEMBERS_ONLY.encode()
    market = gb.Market("BTC-USD", tick_size="0.01", lot_size="0.0001", self_trade="cancel-both")
    yield gb.Genesis("d\u00e9mo", [market, gb.Market("X", lot_size=1_000)]).encode()


def _payloads() -> Iterator[bytes]:
    pool = pool_of(GENESIS, STRANGERS)
    for author in pool.authors:
        for branch in range(4):
            yield from (entry.payload for entry in pool.entries_of(author, branch))


def _tapes() -> Iterator[bytes]:
    for orders in (0, 2, 5):
        cluster = gb.sim.Cluster(gb.Genesis("scenario", _MARKETS), peers=2, seed=1)
        cluster.run_for(1)
        trade(cluster, orders, at=[0, 1])
        cluster.run_until_converged()
        peer = cluster.peers[0]
        file = io.BytesIO()
        write_tape(file, cluster.genesis, peer.replica.merged_entries(), book_root=peer.root)
        yield file.getvalue()


def _handshakes() -> Iterator[bytes]:
    keypair = Keypair.from_seed(b"\x01" * 32)
    for genesis in (GENESIS, MEMBERS_ONLY):
        for expected, address in ((None, None), (keypair.peer_id, b"203.0.113.5:7000")):
            hello = Hello(genesis.network_id, keypair.peer_id, bytes(32), expected, address)
            yield hello.encode()
        yield from (encode_refusal(reason, genesis.network_id) for reason in range(4))
    yield encode_proof(bytes(64))


def _streams() -> Iterator[bytes]:
    for limit in (0, 7, 63):
        for cuts in ((), (1, 2, 3), (4, 4, 9, 0, 2)):
            head = bytes([limit, len(cuts), *cuts, *[0, 1] * 8][: 2 + 2 * len(cuts) + 1])
            yield head + framed([b"", b"frame", bytes(8), bytes(64)])


def _rows() -> Iterable[bytes]:
    random = SeededRandom(2)
    return [random.bits(8 * 80).to_bytes(80, "big") for _ in range(20)]


_SEEDS: dict[str, Callable[[], Iterable[bytes]]] = {
    "encoding": lambda: [*frames(), *_payloads()],
    "message": frames,
    "run": _runs,
    "proof": _proofs,
    "genesis": _geneses,
    "payload": _payloads,
    "row": _rows,
    "tape": _tapes,
    "handshake": _handshakes,
    "framing": _streams,
    "address": lambda: ADDRESSES,
    "protocol": scripts,
}
