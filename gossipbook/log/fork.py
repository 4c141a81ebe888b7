"""Equivocation: what proves that an author forked its log, and from which seq on.

Evidence is two correctly signed headers of one author that no single log can hold::

    same seq, different ids            o---o---A          the fork is at that seq
                                            \\--A'
    seqs s and s+1, and the later      o---o---A
    one's prev is not the earlier           \\--(?)--B     the fork is at s
    one's id

Nothing else is consulted: not timestamps, ancestors or payloads. So whether a pair is evidence is
a fact about the pair, every peer decides it alike, and the proof is a few hundred bytes that
convince anybody. ``k`` of an author is the least seq with evidence; its entries below k count and
the others do not.
"""

from dataclasses import dataclass

from gossipbook.encoding import decode, encode
from gossipbook.errors import InvalidEntry
from gossipbook.identity import PeerId, short
from gossipbook.log.entry import Header, SignedHeader

MAX_PROOF_BYTES = 640


def fork_seq(network_id: bytes, first: Header, second: Header) -> int | None:
    """The seq at which two headers show their author's log forked; None if they show nothing."""
    if first.author != second.author:
        return None
    if first.seq == second.seq:
        return first.seq if first.id(network_id) != second.id(network_id) else None
    earlier, later = (first, second) if first.seq < second.seq else (second, first)
    if later.seq == earlier.seq + 1 and later.prev != earlier.id(network_id):
        return earlier.seq
    return None


@dataclass(frozen=True, slots=True)
class ForkProof:
    """A portable proof that ``author`` signed two histories that differ at ``seq``."""

    author: PeerId
    seq: int
    first: SignedHeader
    second: SignedHeader

    def __repr__(self) -> str:
        return f"<ForkProof {short(self.author)} at seq {self.seq}>"

    def encode(self) -> bytes:
        return encode(
            [
                self.first.header.encode(),
                self.first.signature,
                self.second.header.encode(),
                self.second.signature,
            ]
        )

    @classmethod
    def decode(cls, data: bytes, network_id: bytes) -> "ForkProof":
        """The proof in ``data``, with its headers compared but no signature checked: ``check``
        does that, once it is known that the proof is news.

        Raises EncodingError or InvalidEntry (the headers are no evidence).
        """
        match decode(data, max_size=MAX_PROOF_BYTES):
            case [bytes(h1), bytes(s1), bytes(h2), bytes(s2)]:
                first = SignedHeader(Header.decode(h1), s1)
                second = SignedHeader(Header.decode(h2), s2)
            case _:
                raise InvalidEntry("a fork proof is two headers, each with its signature")
        proof = prove_fork(network_id, first, second)
        if proof is None:
            raise InvalidEntry("these two headers can stand in one log: they prove no fork")
        return proof

    def check(self, network_id: bytes) -> None:
        """Raises BadSignature where one of the headers is not signed by its author."""
        self.first.check(network_id)
        self.second.check(network_id)


def prove_fork(network_id: bytes, first: SignedHeader, second: SignedHeader) -> ForkProof | None:
    """The proof that two signed headers make, or None. The signatures must have been checked."""
    seq = fork_seq(network_id, first.header, second.header)
    if seq is None:
        return None
    if (second.header.seq, second.header.id(network_id)) < (
        first.header.seq,
        first.header.id(network_id),
    ):
        first, second = second, first
    return ForkProof(first.header.author, seq, first, second)
