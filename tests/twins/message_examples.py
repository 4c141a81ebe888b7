"""One example of every kind of message, from fixed keys: for tests and for ``docs/WIRE.md``."""

from twins.authors import GENESIS, START_MS, TestAuthor, at, buy, sell

from gossipbook.gossip.messages import (
    Branch,
    Compare,
    CutsAre,
    CutSpan,
    CutsWanted,
    Evidence,
    FrontierIs,
    Goodbye,
    IdsAre,
    IdsWanted,
    LevelsAre,
    LevelsWanted,
    MarketsAre,
    MarketsWanted,
    Message,
    News,
    Peers,
    Ping,
    Pong,
    Walk,
    Want,
    YourHead,
)
from gossipbook.log.entry import encode_run, signed_header
from gossipbook.log.fork import prove_fork
from gossipbook.log.frontier import Head

ALICE, BOB = TestAuthor(1), TestAuthor(2)
FIRST = ALICE.write(buy(6_400_001, 5_000), hlc=at(1_000))
SECOND = ALICE.write(sell(6_400_002, 300), hlc=at(1_000, 1))
OTHER = ALICE.branch(1)
OTHER.write(buy(1, 1), hlc=at(1_500))
BOB.write(sell(6_400_001, 200), hlc=at(2_000))

RUN = encode_run(ALICE.entries)
ALICE_HEAD = Head(ALICE.author, 2, SECOND.id)
BOB_HEAD = Head(BOB.author, 1, BOB.entries[0].id)
FORKED_HEAD = Head(ALICE.author, 1, FIRST.id, 1)
PROOF = prove_fork(GENESIS.network_id, signed_header(SECOND), signed_header(OTHER.entries[1]))
assert PROOF is not None

SECOND_S = START_MS // 1000 + 3
_R = [bytes([n]) * 32 for n in range(256)]
SPAN = CutSpan(SECOND_S, SECOND_S + 2, _R[0xA1], _R[0xB1])
PRICE = bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 1])

EXAMPLES: tuple[Message, ...] = (
    News((RUN,), (BOB_HEAD,), reply=False, complete=True),
    Want(((ALICE.author, 0, 2), (BOB.author, 0, 1))),
    Compare(_R[0xA2], 2, (SPAN,)),
    FrontierIs((FORKED_HEAD, BOB_HEAD)),
    Walk((b"", b"\x0a\x01")),
    Branch(b"\x08", ((b"\x08\x01", _R[0xC1]), (b"\x08\x0a\x08", _R[0xC2])), ()),
    IdsWanted(ALICE.author, (0, 1)),
    IdsAre(ALICE.author, ((0, FIRST.id), (1, SECOND.id))),
    Evidence((PROOF.encode(),)),
    Ping(7, START_MS * 1000),
    Pong(7, START_MS * 1000 + 250),
    Peers(((BOB.author, b"203.0.113.5:7000"),)),
    Goodbye(),
    YourHead(ALICE_HEAD),
    CutsWanted((SECOND_S, SECOND_S + 1)),
    CutsAre((SPAN,)),
    MarketsWanted(SECOND_S),
    MarketsAre(SECOND_S, ((_R[0xD1], _R[0xD2], _R[0xD3], _R[0xD4]),)),
    LevelsWanted(SECOND_S, 0, 1, PRICE),
    LevelsAre(SECOND_S, 0, 1, PRICE, ((PRICE + b"\x0a", _R[0xE1]), (PRICE + b"\x0b", _R[0xE2]))),
)
"""In the order of their kinds, 0 to 19."""
