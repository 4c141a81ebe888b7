"""Entries that cheats have ready: signed by known keys, true and forked, dated well and badly.

Signing takes as long as a whole step of a script, so what a fuzzer's cheats say is signed
beforehand: per author a main log and branches off it. ::

    main    0 -- 1 -- 2 -- 3 -- 4 -- 5 -- 6 -- 7       3 is dated 10 s ahead, 6 decodes to nothing
             \\        \\-- 3'-- 4'                       at once, in the past
              \\-- 1"-- 2"                              at the end of all timestamps
    0°                                                 alone, dated before the network began
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from twins.authors import TestAuthor, at, buy, sell

from gossipbook.book.payload import Cancellation, Instruction, Placement, Replacement
from gossipbook.genesis import Genesis
from gossipbook.identity import PeerId
from gossipbook.log.entry import Entry, signed_header
from gossipbook.log.fork import prove_fork

NOW_MS = 10_000
"""When scripts begin, after the network's start."""

LATEST = (1 << 63) - 1
"""In the year 6429: no timestamp can be later."""


class Pool:
    """What the authors with these numbers could say in one network."""

    def __init__(self, genesis: Genesis, numbers: Sequence[int]) -> None:
        self.logs: dict[PeerId, list[list[Entry]]] = {}
        self.proofs: dict[PeerId, list[bytes]] = {}
        for number in numbers:
            logs = _logs(genesis, number)
            author = logs[0][0].author
            self.logs[author] = logs
            self.proofs[author] = _proofs(genesis, logs)
        self.authors = list(self.logs)

    def entries_of(self, author: PeerId, branch: int) -> list[Entry]:
        """One history of the author; the main one for branches that there are none of."""
        logs = self.logs[author]
        return logs[branch] if branch < len(logs) else logs[0]


@cache
def pool_of(genesis: Genesis, numbers: tuple[int, ...]) -> Pool:
    """The pool, signed once a process."""
    return Pool(genesis, numbers)


def _logs(genesis: Genesis, number: int) -> list[list[Entry]]:
    main = TestAuthor(number, genesis)
    for seq, (instructions, milliseconds) in enumerate(_main_log(number)):
        hlc = at(milliseconds, counter=seq)
        main.write(*instructions, hlc=hlc, payload=None if instructions else b"nothing")
    late = main.branch(3)
    late.write(sell(99, 4), hlc=at(0))
    late.write(buy(100, 2), Cancellation(0, 3, 0), hlc=at(0, counter=1))
    ahead = main.branch(1)
    ahead.write(buy(105, 50), hlc=LATEST)
    ahead.write(sell(95, 50), hlc=LATEST)
    early = TestAuthor(number, genesis)
    early.write(buy(1), hlc=at(0) - 1)
    return [main.entries, late.entries, ahead.entries, early.entries]


def _main_log(number: int) -> list[tuple[list[Instruction], int]]:
    soon = NOW_MS + 100 * number
    return [
        ([buy(100 + number, 5)], NOW_MS - 4_000),
        ([sell(100, 3, market=1), buy(101, 2, market=1)], NOW_MS - 3_000),
        ([Replacement(0, 0, 0, 99, 0, 0)], NOW_MS - 2_500 + number),
        ([sell(100, 9)], NOW_MS + 10_000),
        ([Cancellation(0, 0, 0), Cancellation(1, 9, 9)], soon),
        ([Placement(0, 0, 0, 7, 1), Placement(0, 1, 100, 3, 3)], soon),
        ([], soon),
        ([Placement(1, 1, 98, 6, 2)] * 3, soon),
    ]


def _proofs(genesis: Genesis, logs: list[list[Entry]]) -> list[bytes]:
    """Evidence of the forks at 3, at 1 and at 0."""
    main = logs[0]
    pairs = [(main[3], logs[1][3]), (main[1], logs[2][1]), (main[0], logs[3][0])]
    proofs = []
    for one, other in pairs:
        proof = prove_fork(genesis.network_id, signed_header(one), signed_header(other))
        assert proof is not None
        proofs.append(proof.encode())
    return proofs
