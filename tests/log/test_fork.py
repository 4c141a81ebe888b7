"""Fork evidence: a fact about two headers, decided alike by everybody, portable and small."""

from itertools import product

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twins.authors import GENESIS, TestAuthor, at, buy, is_evidence

from gossipbook.errors import BadSignature, EncodingError, InvalidEntry, RemoteError
from gossipbook.genesis import Genesis, Market
from gossipbook.log.entry import Entry, Header, SignedHeader, signed_header
from gossipbook.log.fork import MAX_PROOF_BYTES, ForkProof, fork_seq, prove_fork

NETWORK = GENESIS.network_id


def make_universe() -> list[Entry]:
    trunk = TestAuthor(1)
    for index in range(5):
        trunk.write(buy(10 + index), hlc=at(index))
    branch = trunk.branch(2)
    for index in range(3):
        branch.write(buy(20 + index), hlc=at(index))
    stranger = TestAuthor(2)
    for index in range(3):
        stranger.write(buy(10 + index), hlc=at(index))
    return trunk.entries + branch.entries[2:] + stranger.entries


UNIVERSE = make_universe()
TRUNK, BRANCH = UNIVERSE[:5], [*UNIVERSE[:2], *UNIVERSE[5:8]]


def test_every_pair_is_evidence_exactly_where_the_rule_says_so() -> None:
    found = 0
    for one, two in product(UNIVERSE, UNIVERSE):
        expected: int | None = None
        if one.author == two.author:
            earlier, later = (one, two) if one.seq <= two.seq else (two, one)
            expected = earlier.seq if is_evidence(earlier, later) else None
        assert fork_seq(NETWORK, one.header, two.header) == expected, (one, two)
        found += expected is not None
    assert found == 2 * (3 + 4)  # three pairs of one seq, four of neighbouring ones, either way


def test_a_proof_does_not_depend_on_which_header_came_first() -> None:
    for one, two in product(UNIVERSE, UNIVERSE):
        proof = prove_fork(NETWORK, signed_header(one), signed_header(two))
        assert proof == prove_fork(NETWORK, signed_header(two), signed_header(one))


def test_a_proof_survives_encoding_and_convinces_without_payloads() -> None:
    proof = prove_fork(NETWORK, signed_header(BRANCH[3]), signed_header(TRUNK[2]))
    assert proof is not None and proof.seq == 2 and proof.author == TRUNK[0].author
    again = ForkProof.decode(proof.encode(), NETWORK)
    assert again == proof
    again.check(NETWORK)


def test_the_largest_proof_fits_its_limit() -> None:
    most = (1 << 63) - 1
    one, two = (
        SignedHeader(Header(b"a" * 32, most, b"p" * 32, most, 0, 65_536, h), b"s" * 64)  # type: ignore[arg-type]
        for h in (b"1" * 32, b"2" * 32)
    )
    proof = prove_fork(NETWORK, one, two)
    assert proof is not None and len(proof.encode()) <= MAX_PROOF_BYTES
    assert ForkProof.decode(proof.encode(), NETWORK) == proof


def test_headers_that_one_log_can_hold_prove_nothing() -> None:
    for one, two in ((TRUNK[1], TRUNK[2]), (TRUNK[0], TRUNK[3]), (TRUNK[1], TRUNK[1])):
        first, second = signed_header(one), signed_header(two)
        assert prove_fork(NETWORK, first, second) is None
        with pytest.raises(InvalidEntry, match="prove no fork"):
            ForkProof.decode(ForkProof(one.author, 0, first, second).encode(), NETWORK)


def test_headers_of_two_authors_prove_nothing() -> None:
    assert prove_fork(NETWORK, signed_header(TRUNK[1]), signed_header(UNIVERSE[-1])) is None


def test_two_signatures_on_one_header_are_one_entry_and_no_fork() -> None:
    header = TRUNK[2].header
    one, two = SignedHeader(header, b"1" * 64), SignedHeader(header, b"2" * 64)
    assert prove_fork(NETWORK, one, two) is None


def test_a_proof_with_a_forged_half_is_refused() -> None:
    proof = prove_fork(NETWORK, signed_header(TRUNK[2]), signed_header(BRANCH[2]))
    assert proof is not None
    for forged in (
        ForkProof(proof.author, 2, SignedHeader(proof.first.header, bytes(64)), proof.second),
        ForkProof(proof.author, 2, proof.first, SignedHeader(proof.second.header, bytes(64))),
    ):
        with pytest.raises(BadSignature):
            ForkProof.decode(forged.encode(), NETWORK).check(NETWORK)


def test_a_proof_from_another_network_convinces_nobody() -> None:
    proof = prove_fork(NETWORK, signed_header(TRUNK[2]), signed_header(BRANCH[2]))
    assert proof is not None
    other = Genesis("other", [Market("AAA")]).network_id
    with pytest.raises(BadSignature):
        ForkProof.decode(proof.encode(), other).check(other)


@pytest.mark.parametrize("wrong", [[], [b"", b"", b""], [1, b"", b"", b""], [b""] * 5, 3, b"x"])
def test_what_is_not_two_headers_with_signatures_is_refused(wrong: object) -> None:
    with pytest.raises((InvalidEntry, EncodingError)):
        ForkProof.decode(cbor2.dumps(wrong), NETWORK)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=MAX_PROOF_BYTES + 10))
def test_random_bytes_end_in_a_remote_error(data: bytes) -> None:
    with pytest.raises(RemoteError):
        ForkProof.decode(data, NETWORK)
