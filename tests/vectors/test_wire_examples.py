"""Every example in docs/WIRE.md means what the page says, and is what the code writes."""

import re
from hashlib import sha256
from pathlib import Path

import pytest
from blake3 import blake3
from nacl import bindings
from twins import message_examples as examples
from twins.authors import GENESIS

from gossipbook.book.digest import (
    book_root,
    flat_digest,
    market_digest,
    order_record,
    outcomes_digest,
    queue_digest,
)
from gossipbook.book.history import NO_TOTALS, Totals
from gossipbook.book.payload import (
    Cancellation,
    Placement,
    Replacement,
    decode_payload,
    encode_payload,
)
from gossipbook.genesis import Genesis, Market
from gossipbook.gossip.messages import KIND_NAMES, decode_message, encode_message
from gossipbook.identity import Keypair
from gossipbook.log.entry import Header, decode_run, encode_run
from gossipbook.log.fork import ForkProof
from gossipbook.log.frontier import Frontier, Head, pack_heads, unpack_heads
from gossipbook.merkle import EMPTY_ROOT, MerkleTree
from gossipbook.transport.handshake import Hello, Transcript, decode_hello, decode_proof

PAGE = (Path(__file__).parents[2] / "docs" / "WIRE.md").read_text()
BLOCKS = {
    name: bytes.fromhex(text)
    for name, text in re.findall(r"^```hex (\S+)\n([0-9a-f\n]+)\n```$", PAGE, re.MULTILINE)
}
ALICE, BOB = (Keypair.from_seed(bytes([n]) * 32).peer_id for n in (1, 2))
NETWORK = BLOCKS["network-id"]


def test_every_block_of_the_page_is_read() -> None:
    assert len(BLOCKS) == PAGE.count("```hex ") == 57


def test_keys_are_those_of_the_seeds() -> None:
    assert (BLOCKS["alice"], BLOCKS["bob"]) == (ALICE, BOB)


def test_genesis() -> None:
    genesis = Genesis.decode(BLOCKS["genesis"])
    assert genesis == Genesis("test", [Market("AAA"), Market("BBB")], start=1_767_225_600_000)
    assert genesis == GENESIS and genesis.encode() == BLOCKS["genesis"]
    assert genesis.network_id == NETWORK
    assert blake3(b"\x14gossipbook/1 network" + BLOCKS["genesis"]).digest() == NETWORK


def test_payload() -> None:
    commands = (
        Placement(0, 0, 6_400_001, 5_000, 0),
        Placement(1, 1, 0, 300, 1),
        Cancellation(0, 3, 1),
        Replacement(0, 4, 0, 0, 0, 20),
    )
    assert decode_payload(BLOCKS["payload"], 2) == commands
    assert encode_payload(commands) == BLOCKS["payload"]


def test_header_id_and_signature() -> None:
    header = Header.decode(BLOCKS["header"])
    assert header.encode() == BLOCKS["header"]
    assert (header.author, header.seq, header.kind) == (ALICE, 1, 0)
    assert header.hlc == (1_767_225_600_000 + 1_000) * 65_536 + 1
    payload = encode_payload([Placement(0, 1, 6_400_002, 300, 0)])
    assert header.payload_size == len(payload)
    assert header.payload_hash == blake3(b"\x14gossipbook/1 payload" + payload).digest()
    entry_id = blake3(b"\x12gossipbook/1 entry" + NETWORK + BLOCKS["header"]).digest()
    assert header.id(GENESIS.network_id) == entry_id == BLOCKS["entry-id"]
    signed = b"gossipbook/1 entry signature\0" + entry_id
    assert len(signed) == 61
    assert bindings.crypto_sign_open(BLOCKS["signature"] + signed, ALICE) == signed


def test_run() -> None:
    entries = decode_run(BLOCKS["run"], NETWORK)
    assert encode_run(entries) == BLOCKS["run"]
    assert [(one.author, one.seq) for one in entries] == [(ALICE, 0), (ALICE, 1)]
    assert entries[1].prev == entries[0].id
    assert (entries[1].id, entries[1].signature) == (BLOCKS["entry-id"], BLOCKS["signature"])


def test_fork_proof() -> None:
    proof = ForkProof.decode(BLOCKS["fork-proof"], NETWORK)
    proof.check(NETWORK)
    assert (proof.author, proof.seq) == (ALICE, 1)
    assert proof.encode() == BLOCKS["fork-proof"]
    assert BLOCKS["header"] in (proof.first.header.encode(), proof.second.header.encode())


def test_head() -> None:
    (head,) = unpack_heads(BLOCKS["head"])
    assert head == Head(ALICE, 2, BLOCKS["entry-id"], None)  # type: ignore[arg-type]
    assert pack_heads([head]) == BLOCKS["head"] and len(BLOCKS["head"]) == 80


def test_handshake() -> None:
    dialler = Hello(NETWORK, ALICE, b"\xd1" * 32, BOB, b":7000")
    listener = Hello(NETWORK, BOB, b"\xd2" * 32, None, b"203.0.113.5:7000")
    for name, hello in (("dialler-hello", dialler), ("listener-hello", listener)):
        assert decode_hello(BLOCKS[name]) == hello
        assert hello.encode() == BLOCKS[name]
    hellos = [
        len(BLOCKS[name]).to_bytes(4, "big") + BLOCKS[name]
        for name in ("dialler-hello", "listener-hello")
    ]
    rest = b"".join([sha256(b"certificate").digest(), *hellos])
    assert BLOCKS["listener-signs"] == b"gossipbook/1 link\0\x01" + rest
    transcript = Transcript(b"certificate", BLOCKS["dialler-hello"], BLOCKS["listener-hello"])
    for role, peer_id, name in ((0, ALICE, "dialler-proof"), (1, BOB, "listener-proof")):
        signature = decode_proof(BLOCKS[name])
        signed = b"gossipbook/1 link\0" + bytes([role]) + rest
        assert bindings.crypto_sign_open(signature + signed, peer_id) == signed
        transcript.check(bytes([role]), peer_id, signature)
    assert BLOCKS["refusal"] == bytes.fromhex("8302005820") + NETWORK


@pytest.mark.parametrize("kind", range(20))
def test_message(kind: int) -> None:
    data = BLOCKS[KIND_NAMES[kind]]
    message = decode_message(data, max_size=1 << 20)
    assert message == examples.EXAMPLES[kind]
    assert encode_message(message) == data
    assert data[:2] == bytes([data[0], kind]) and 0x80 <= data[0] < 0x98


def test_what_is_said_about_single_messages() -> None:
    assert BLOCKS["run"] in BLOCKS["News"] and BLOCKS["fork-proof"] in BLOCKS["Evidence"]
    assert BLOCKS["YourHead"].endswith(BLOCKS["head"])
    assert BLOCKS["Goodbye"] == b"\x81\x0c"
    assert BLOCKS["Peers"].endswith(b"203.0.113.5:7000")
    assert b"\xa2" * 32 in BLOCKS["Compare"] and b"\xa1" * 32 + b"\xb1" * 32 in BLOCKS["Compare"]


@pytest.mark.parametrize("name", [name for name in BLOCKS if f"{name}.hash" in BLOCKS])
def test_a_hash_is_that_of_the_bytes_before_it(name: str) -> None:
    data = BLOCKS[name]
    assert blake3(data).digest() == BLOCKS[f"{name}.hash"]
    assert data[1 : 1 + data[0]].startswith(b"gossipbook/1 ")


def test_merkle_tree() -> None:
    tree = MerkleTree(1)
    assert tree.root() == EMPTY_ROOT == BLOCKS["empty.hash"]
    tree.set(b"\x12", b"\xaa" * 32)
    assert tree.root() == BLOCKS["leaf.hash"]
    tree.set(b"\x1a", b"\xbb" * 32)
    assert tree.root() == BLOCKS["node.hash"]
    assert tree.subtree_root(b"\x01\x02") == BLOCKS["leaf.hash"]


def test_frontier() -> None:
    frontier = Frontier()
    frontier.set(Head(ALICE, 2, BLOCKS["entry-id"]))  # type: ignore[arg-type]
    assert frontier.tree().get(ALICE) == BLOCKS["frontier-leaf.hash"]
    assert frontier.root() == BLOCKS["frontier-root"]


def test_book() -> None:
    records = [order_record((ALICE, 0, 0), 5), order_record((BOB, 3, 1), 7)]
    assert all(len(record) == 50 for record in records)
    assert flat_digest(100, records) == BLOCKS["level.hash"]
    assert BLOCKS["order"] == b"\x12gossipbook/1 order" + records[0]
    assert queue_digest(100, 65, b"\xcc" * 32) == BLOCKS["queue.hash"]
    bids, nothing = MerkleTree(8), MerkleTree(8)
    bids.set((100).to_bytes(8), BLOCKS["level.hash"])
    market = market_digest(
        "AAA", bids, nothing, Totals(9, 2, 1, 12, 1_200, 4), BLOCKS["outcomes.hash"]
    )
    quiet = market_digest("BBB", nothing, nothing, NO_TOTALS, outcomes_digest(b""))
    assert outcomes_digest(bytes([0] * 8 + [21])) == BLOCKS["outcomes.hash"]
    assert market.root == BLOCKS["market.hash"]
    assert book_root([market, quiet]) == BLOCKS["book.hash"]
