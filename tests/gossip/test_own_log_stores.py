"""What a store says of our own log at the start decides whether anything may be signed.

The protocol by hand, without a network: a state as a store gives it, a submit, and what comes out.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from twins.authors import GENESIS, START_MS, TestAuthor, at, buy

from gossipbook.errors import (
    GossipbookError,
    IdentityForked,
    OwnHeadUnconfirmed,
    WriteRolledBack,
    WriteUndecided,
)
from gossipbook.gossip.interface import (
    Address,
    Input,
    LinkUp,
    Output,
    Persist,
    Persisted,
    PersistFailed,
    PersistUndecided,
    Received,
    Refused,
    Submit,
    Submitted,
    TimerFired,
    Verified,
    Verify,
)
from gossipbook.gossip.messages import News, encode_message
from gossipbook.gossip.protocol import GossipProtocol, StoredState
from gossipbook.log.clock import Instant
from gossipbook.log.entry import NO_ENTRY, Entry, encode_run, signed_header
from gossipbook.log.fork import prove_fork
from gossipbook.log.verification import Verifier
from gossipbook.randomness import SeededRandom

OWN = TestAuthor(1)
SOMEBODY = (TestAuthor(2).author, Address(b"somebody:7000"))
CONFIRM_US = 5_000_000


def own_log(length: int) -> list[Entry]:
    author = TestAuthor(1)
    return [author.write(hlc=at(step)) for step in range(length)]


class Peer:
    """A protocol object without links, at a time of the test's own."""

    def __init__(
        self, stored: StoredState, *, alone: bool | None = None, bootstrap: Sequence[bytes] = ()
    ) -> None:
        self.stored = stored
        self.now_us = 0
        self.protocol = GossipProtocol(
            GENESIS,
            OWN.keypair,
            random=SeededRandom(1),
            stored=stored,
            alone=alone,
            bootstrap=[Address(address) for address in bootstrap],
        )
        self.out: list[Output] = self.protocol.start(self._now())

    def _now(self) -> Instant:
        return Instant(self.now_us, START_MS * 1_000 + 60_000_000 + self.now_us)

    def give(self, what: Input) -> list[Output]:
        outputs = self.protocol.handle(what, self._now())
        self.out += outputs
        return outputs

    def submit(self, token: int = 1) -> list[Output]:
        return self.give(Submit(token, (buy(1),)))

    def wait(self, microseconds: int) -> list[Output]:
        self.now_us += microseconds
        return self.give(TimerFired())

    def hear(self, *entries: Entry) -> None:
        """Somebody sends entries, and their signatures are found to be good."""
        for verify in self.give(Received(1, encode_message(News((encode_run(entries),))))):
            if isinstance(verify, Verify):
                self.give(Verified(verify.token, list(Verifier().check(verify.entries))))

    def check_disk(self) -> None:
        """What was ever to be written, in this order, is a whole log of each author."""
        ends = {entry.author: (entry.seq + 1, entry.id) for entry in self.stored.entries}
        for output in self.out:
            for entry in output.entries if isinstance(output, Persist) else ():
                assert (entry.seq, entry.prev) == ends.get(entry.author, (0, NO_ENTRY))
                ends[entry.author] = (entry.seq + 1, entry.id)


def signed(outputs: Sequence[Output]) -> list[int]:
    """The seqs of our own entries that are to be written."""
    return [
        entry.seq
        for output in outputs
        if isinstance(output, Persist)
        for entry in output.entries
        if entry.author == OWN.author
    ]


def refused(outputs: Sequence[Output]) -> list[type[GossipbookError]]:
    return [type(output.error) for output in outputs if isinstance(output, Refused)]


WHOLE = StoredState(own_log(5), own_length=5)
SHORT = StoredState(own_log(3), own_length=5)
GONE = StoredState((), own_length=5)
SUSPECT = StoredState(own_log(5), own_length=5, own_suspect=True)
KNEW_OTHERS = StoredState(own_log(5), own_length=5, peers=[SOMEBODY])


@pytest.mark.parametrize(
    ("stored", "alone", "bootstrap", "seq"),
    [
        (StoredState(), None, [], 0),
        (StoredState(), None, [b"x:1"], None),
        (StoredState(), True, [b"x:1"], 0),
        (WHOLE, None, [], 5),
        (WHOLE, None, [b"x:1"], None),
        (StoredState(), False, [], None),
        (WHOLE, False, [], None),
        (WHOLE, True, [b"x:1"], 5),
        (KNEW_OTHERS, None, [], None),
        (KNEW_OTHERS, True, [], 5),
        (SHORT, None, [], None),
        (SHORT, True, [], None),
        (GONE, None, [], None),
        (GONE, True, [], None),
        (SUSPECT, None, [], None),
        (SUSPECT, True, [b"x:1"], None),
    ],
)
def test_what_may_be_signed_at_once(
    stored: StoredState, alone: bool | None, bootstrap: list[bytes], seq: int | None
) -> None:
    """``seq`` is what the first submit gets, or None: it waits, and is refused in the end."""
    peer = Peer(stored, alone=alone, bootstrap=bootstrap)
    outputs = peer.submit()
    assert signed(outputs) == ([] if seq is None else [seq])
    assert refused(peer.wait(CONFIRM_US - 1)) == []
    expected = [OwnHeadUnconfirmed] if seq is None else []
    assert refused(peer.wait(1)) == expected
    assert peer.protocol.replica.head(OWN.author).length == len(stored.entries), "it can be read"


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (SHORT, "go on with a new key"),
        (SUSPECT, "go on with a new key"),
        (KNEW_OTHERS, "alone=True"),
    ],
)
def test_the_refusal_names_the_remedy_that_helps(stored: StoredState, words: str) -> None:
    peer = Peer(stored)
    peer.submit()
    (refusal,) = [one for one in peer.wait(CONFIRM_US) if isinstance(one, Refused)]
    assert words in str(refusal.error)
    if stored is not KNEW_OTHERS:
        assert "alone=True" not in str(refusal.error), "it would not help"


def test_a_proof_in_the_store_says_that_the_key_is_spent() -> None:
    log = own_log(3)
    other = TestAuthor(1)
    other.entries = log[:2]
    branch = other.write(hlc=at(99))
    proof = prove_fork(GENESIS.network_id, signed_header(log[2]), signed_header(branch))
    assert proof is not None
    peer = Peer(StoredState(log, [proof], own_length=3), alone=True)
    assert refused(peer.submit()) == [IdentityForked]


def test_a_failed_write_frees_the_seq_and_an_undecided_one_does_not() -> None:
    peer = Peer(WHOLE)
    (persist,) = [one for one in peer.submit(1) if isinstance(one, Persist)]
    outputs = peer.give(PersistUndecided(persist.token, "no answer"))
    assert refused(outputs) == [WriteUndecided]
    assert refused(peer.submit(2)) == [WriteUndecided], "nothing is signed meanwhile"
    peer.give(PersistFailed(persist.token, "it was not there"))
    again = peer.submit(3)
    assert signed(again) == [5]
    (persist,) = [one for one in again if isinstance(one, Persist)]
    outputs = peer.give(PersistFailed(persist.token, "disk full"))
    assert refused(outputs) == [WriteRolledBack]
    assert signed(peer.submit(4)) == [5]


def test_an_undecided_entry_that_stands_counts_and_the_log_goes_on_after_it() -> None:
    peer = Peer(WHOLE)
    (persist,) = [one for one in peer.submit(1) if isinstance(one, Persist)]
    peer.give(PersistUndecided(persist.token, "no answer"))
    assert peer.protocol.replica.head(OWN.author).length == 5
    outputs = peer.give(Persisted(persist.token))
    assert not [one for one in outputs if isinstance(one, Submitted)], "its submit was answered"
    assert peer.protocol.replica.head(OWN.author).length == 6
    assert signed(peer.submit(2)) == [6]


# ------------------------------------------------------------------ a key that is used elsewhere


def elsewhere(length: int, more: int) -> list[Entry]:
    """What somebody else signs with our key after our first entries."""
    author = TestAuthor(1)
    author.entries = own_log(length)
    return [author.write(hlc=at(500 + step)) for step in range(more)]


def in_flight_while_others_come() -> tuple[Peer, Persist]:
    """Our entry 5 is being written, and somebody sends two more of ours, from 5 on."""
    peer = Peer(WHOLE)
    peer.give(LinkUp(1, SOMEBODY[0], None, False))
    (persist,) = [one for one in peer.submit(1) if isinstance(one, Persist)]
    peer.hear(*elsewhere(5, 2))
    assert peer.protocol.replica.head(OWN.author).length == 7
    peer.wait(100_000)
    return peer, persist


def test_what_comes_of_our_own_log_while_we_write_does_not_follow_it_on_the_disk() -> None:
    peer, persist = in_flight_while_others_come()
    outputs = peer.give(Persisted(persist.token))
    assert refused(outputs) == [IdentityForked]
    outputs = peer.wait(100_000)
    peer.check_disk()
    (proof,) = [proof for one in outputs if isinstance(one, Persist) for proof in one.proofs]
    assert (proof.author, proof.seq) == (OWN.author, 5), "so that the next start knows"


def test_what_comes_of_our_own_log_is_written_once_our_write_has_failed() -> None:
    peer, persist = in_flight_while_others_come()
    outputs = peer.give(PersistFailed(persist.token, "disk full"))
    assert refused(outputs) == [WriteRolledBack]
    peer.out.remove(persist)  # it is not on the disk
    assert signed(peer.wait(2_000_000)) == [5, 6]
    peer.check_disk()
    assert peer.protocol.replica.head(OWN.author).k is None


def test_what_came_of_our_own_log_stands_on_the_disk_before_what_we_sign_next() -> None:
    peer = Peer(StoredState(own_log(3), own_length=3), bootstrap=[b"x:1"])
    peer.give(LinkUp(1, SOMEBODY[0], None, False))
    peer.hear(*own_log(5)[3:])
    peer.protocol.own.confirmed = True
    assert signed(peer.submit(1)) == [3, 4, 5]
    peer.check_disk()


def test_a_proof_found_among_others_entries_is_written() -> None:
    peer = Peer(StoredState())
    peer.give(LinkUp(1, SOMEBODY[0], None, False))
    for step in (1, 2):
        peer.hear(TestAuthor(9).write(hlc=at(step)))
    outputs = peer.wait(100_000)
    (proof,) = [proof for one in outputs if isinstance(one, Persist) for proof in one.proofs]
    assert (proof.author, proof.seq) == (TestAuthor(9).author, 0)
    peer.check_disk()
