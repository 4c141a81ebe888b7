"""The state machine by hand: inputs in, outputs out, no simulator between."""

from twins.authors import GENESIS, START_MS, TestAuthor, at, buy, fresh

from gossipbook.gossip.config import GossipConfig
from gossipbook.gossip.interface import (
    Dial,
    DropLink,
    Emit,
    Input,
    LinkId,
    LinkUp,
    Output,
    PeerUp,
    Persist,
    Persisted,
    Received,
    Send,
    SetTimer,
    Submit,
    TimerFired,
    Verified,
    Verify,
)
from gossipbook.gossip.messages import (
    Branch,
    Message,
    News,
    Walk,
    Want,
    YourHead,
    decode_message,
    encode_message,
)
from gossipbook.gossip.protocol import GossipProtocol
from gossipbook.identity import Keypair
from gossipbook.log.clock import Instant
from gossipbook.log.entry import NO_ENTRY, Entry, encode_run
from gossipbook.log.frontier import Head
from gossipbook.log.verification import Verifier
from gossipbook.randomness import SeededRandom

CONFIG = GossipConfig()
FRAME_BYTES = CONFIG.max_frame_bytes


def key(number: int) -> Keypair:
    return Keypair.from_seed(bytes([number]) * 32)


def forged(entry: Entry) -> Entry:
    copy = fresh(entry)
    copy.signature = bytes(64)
    return copy


class Peer:
    """A protocol object with a clock of the test's own."""

    def __init__(self, *bootstrap: bytes, alone: bool = True) -> None:
        self.now_us = 1_000_000
        self.protocol = GossipProtocol(
            GENESIS, key(1), random=SeededRandom(1), bootstrap=bootstrap, alone=alone
        )
        self.outputs = self.protocol.start(self.now())

    def now(self) -> Instant:
        return Instant(self.now_us, START_MS * 1_000 + self.now_us)

    def give(self, what: Input) -> list[Output]:
        return self.protocol.handle(what, self.now())

    def link(self, link: LinkId, number: int, address: bytes, *, dialled: bool) -> list[Output]:
        return self.give(LinkUp(link, key(number).peer_id, address, dialled))

    def hear(self, link: LinkId, message: Message) -> list[Output]:
        return self.give(Received(link, encode_message(message)))

    def wait(self, delay_us: int) -> list[Output]:
        """Let the timer fire as often as it is due in so much time."""
        until_us = self.now_us + delay_us
        outputs: list[Output] = []
        while self.now_us < until_us:
            self.now_us = min(self.now_us + 1_000, until_us)
            outputs += self.give(TimerFired())
        return outputs

    def submit(self, price: int) -> list[Output]:
        outputs = self.give(Submit(price, (buy(price),)))
        (token,) = [output.token for output in outputs if isinstance(output, Persist)]
        return self.give(Persisted(token))


def of(outputs: list[Output], kind: type) -> list[Output]:
    return [output for output in outputs if isinstance(output, kind)]


def said(outputs: list[Output], kind: type, link: LinkId | None = None) -> list[Message]:
    messages = [
        decode_message(output.data, max_size=FRAME_BYTES)
        for output in outputs
        if isinstance(output, Send) and link in (None, output.link)
    ]
    return [message for message in messages if isinstance(message, kind)]


def test_a_new_link_is_greeted_with_what_we_hold_of_its_log() -> None:
    peer = Peer()
    outputs = peer.link(1, 2, b"two", dialled=True)
    (head,) = said(outputs, YourHead)
    assert isinstance(head, YourHead) and head.head == Head(key(2).peer_id, 0, head.head.head_id)
    assert [emit.event for emit in of(outputs, Emit)] == [PeerUp(key(2).peer_id)]


def test_the_address_an_inbound_link_claims_displaces_nobody() -> None:
    peer = Peer()
    peer.link(1, 2, b"two", dialled=True)
    peer.link(2, 3, b"two", dialled=False)  # peer 3 claims the address of peer 2
    book = peer.protocol.address_book
    assert book.address_of(key(2).peer_id) == b"two"
    assert book.address_of(key(3).peer_id) is None
    peer.link(3, 4, b"four", dialled=False)  # nobody else claims it: worth a try
    assert book.address_of(key(4).peer_id) == b"four"


def test_dialling_oneself_backs_off() -> None:
    peer = Peer(b"me")
    assert [dial.address for dial in of(peer.outputs, Dial)] == [b"me"]
    refused = peer.give(LinkUp(1, key(1).peer_id, b"me", dialled=True))
    assert [drop.link for drop in of(refused, DropLink)] == [1]
    dials = of(peer.wait(2_000_000), Dial)
    assert len(dials) <= 1


def test_a_second_dial_to_a_linked_peer_is_dropped_and_not_repeated() -> None:
    peer = Peer(b"two", b"two again")
    peer.link(1, 2, b"two", dialled=True)
    outputs = peer.give(LinkUp(2, key(2).peer_id, b"two again", dialled=True))
    assert [drop.link for drop in of(outputs, DropLink)] == [1]  # its dialler gave the old one up
    assert not of(peer.wait(3_000_000), Dial)


def test_an_own_entry_leaves_after_the_disk_has_it_and_does_not_wait_for_a_round() -> None:
    peer = Peer()
    peer.link(1, 2, b"two", dialled=True)
    author = TestAuthor(9)
    entry = author.write(hlc=at(10))
    verify = of(peer.hear(1, News((encode_run([entry]),))), Verify)[0]
    assert isinstance(verify, Verify)
    peer.link(2, 3, b"three", dialled=True)
    peer.give(Verified(verify.token, list(Verifier().check(verify.entries))))
    assert said(peer.wait(CONFIG.coalesce_us), News, link=2)  # the round of others' entries
    outputs = peer.give(Submit(1, (buy(5),)))
    assert not said(outputs, News)
    others, persist = of(outputs, Persist)  # what came before it stands before it on the disk
    assert isinstance(others, Persist) and [one.id for one in others.entries] == [entry.id]
    assert isinstance(persist, Persist) and not said(peer.wait(5_000), News)
    peer.give(Persisted(persist.token))
    pushed = said(peer.wait(CONFIG.coalesce_us), News)
    assert len(pushed) == 2  # far sooner than frame_gap_us after the round before


def test_others_entries_gather_while_rounds_are_close() -> None:
    peer = Peer()
    peer.link(1, 2, b"two", dialled=True)
    peer.link(2, 3, b"three", dialled=True)
    author = TestAuthor(9)
    frames = 0
    for number in range(20):
        entry = author.write(hlc=at(10 + number))
        verify = of(peer.hear(1, News((encode_run([entry]),))), Verify)[0]
        assert isinstance(verify, Verify)
        peer.give(Verified(verify.token, list(Verifier().check(verify.entries))))
        frames += len(said(peer.wait(2_000), News, link=2))
    assert frames <= 40_000 // CONFIG.frame_gap_us + 1


def test_a_forged_copy_does_not_keep_the_real_entry_out() -> None:
    peer = Peer()
    peer.link(1, 2, b"two", dialled=True)
    peer.link(2, 3, b"three", dialled=True)
    real = TestAuthor(9).write(hlc=at(10))
    (verify,) = of(peer.hear(1, News((encode_run([forged(real)]),))), Verify)
    assert isinstance(verify, Verify)
    assert not of(peer.hear(2, News((encode_run([real]),))), Verify)  # taken for the same
    outputs = peer.give(Verified(verify.token, [None]))
    assert [drop.link for drop in of(outputs, DropLink)] == [1]
    assert said(peer.wait(2_000), Want, link=2) == [Want(((real.author, 0, 1),))]


def test_who_does_not_hold_what_it_claimed_is_passed_over_at_once() -> None:
    peer = Peer()
    peer.link(1, 2, b"two", dialled=True)
    peer.link(2, 3, b"three", dialled=True)
    entries = [TestAuthor(9).write(hlc=at(10))]
    author = entries[0].author
    for link in (1, 2):
        peer.hear(link, News((), (Head(author, 1, entries[0].id),)))
    outputs = peer.wait(100_000)
    asked = [link for link in (1, 2) if said(outputs, Want, link)]
    assert len(asked) == 1
    nothing = Head(author, 0, NO_ENTRY)
    outputs = peer.hear(asked[0], News((), (nothing,), reply=True)) + peer.wait(2_000)
    assert said(outputs, Want, 3 - asked[0]) == [Want(((author, 0, 1),))]


def test_branches_that_nobody_asked_for_are_not_answered() -> None:
    peer = Peer()
    peer.link(1, 2, b"two", dialled=True)
    peer.submit(5)
    assert not of(peer.hear(1, Branch(b"", (), ())), Send)
    assert said(peer.hear(1, Walk((b"",))), Branch)


def test_only_one_timer_is_announced_and_it_is_the_earliest() -> None:
    peer = Peer()
    (first,) = of(peer.outputs, SetTimer)
    assert isinstance(first, SetTimer)
    outputs = peer.link(1, 2, b"two", dialled=True) + peer.submit(5)
    announced = [output.at_us for output in of(outputs, SetTimer)]  # type: ignore[union-attr]
    assert announced == sorted(announced, reverse=True)
    assert all(at_us >= peer.now_us for at_us in announced)


def test_a_banned_peer_is_refused_until_its_minute_is_over() -> None:
    peer = Peer()
    peer.link(1, 2, b"two", dialled=True)
    outputs = peer.give(Received(1, b"\xff"))
    assert [drop.link for drop in of(outputs, DropLink)] == [1]
    again = peer.link(2, 2, b"two", dialled=False)
    assert [drop.reason for drop in of(again, DropLink)] == ["it broke a rule a short while ago"]
    peer.now_us += CONFIG.ban_us + 1
    assert not of(peer.link(3, 2, b"two", dialled=False), DropLink)
