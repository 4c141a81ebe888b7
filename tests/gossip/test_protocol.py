"""The state machine by hand: inputs in, outputs out, no simulator between."""

from twins.authors import GENESIS, START_MS, TestAuthor, at, buy, fresh

from gossipbook.book.payload import encode_payload
from gossipbook.encoding import encode
from gossipbook.gossip.config import GossipConfig
from gossipbook.gossip.interface import (
    Dial,
    DropLink,
    Emit,
    Input,
    Learn,
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
    Compare,
    CutsAre,
    CutSpan,
    CutsWanted,
    Evidence,
    FrontierIs,
    IdsWanted,
    MarketsAre,
    MarketsWanted,
    Message,
    News,
    Ping,
    Pong,
    Walk,
    Want,
    YourHead,
    decode_message,
    encode_message,
)
from gossipbook.gossip.protocol import GossipProtocol
from gossipbook.identity import Keypair
from gossipbook.log.clock import Instant
from gossipbook.log.entry import (
    MAX_SEQ,
    NO_ENTRY,
    Entry,
    EntryId,
    SignedHeader,
    encode_run,
    signed_header,
)
from gossipbook.log.fork import prove_fork
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

    def __init__(
        self, *bootstrap: bytes, alone: bool = True, config: GossipConfig = CONFIG
    ) -> None:
        self.now_us = 1_000_000
        self.protocol = GossipProtocol(
            GENESIS,
            key(1),
            random=SeededRandom(1),
            bootstrap=bootstrap,
            alone=alone,
            config=config,
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
        *_, token = [output.token for output in outputs if isinstance(output, Persist)]
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


def test_some_links_are_of_our_own_choice_however_many_others_dial_us() -> None:
    peer = Peer()
    for number in range(2, 18):
        peer.give(LinkUp(number, key(number).peer_id, None, dialled=False))
    assert len(peer.protocol.links) == 16
    dials = of(peer.give(Learn(b"known to me")), Dial)
    assert [dial.address for dial in dials] == [b"known to me"]
    outputs = peer.give(LinkUp(99, key(99).peer_id, b"known to me", dialled=True))
    assert not of(outputs, DropLink)


def test_a_full_peer_makes_room_now_and_then_for_who_was_turned_away() -> None:
    peer = Peer()
    for number in range(2, 18):
        peer.give(LinkUp(number, key(number).peer_id, None, dialled=False))
    assert of(peer.give(LinkUp(98, key(98).peer_id, None, dialled=False)), DropLink)
    dropped: list[Output] = []
    for _ in range(50):
        for number in range(2, 18):
            peer.hear(number, Ping(1, 0))
        dropped += of(peer.wait(1_000_000), DropLink)
    assert [drop.reason for drop in dropped if isinstance(drop, DropLink)] == [
        "making room for another peer"
    ]


def chat(peer: Peer, link: LinkId, seconds: int) -> list[Output]:
    """The link says a word every half second."""
    outputs: list[Output] = []
    for token in range(2 * seconds):
        outputs += peer.wait(500_000)
        outputs += peer.hear(link, Ping(token, 0))
    return outputs


def test_a_silent_link_is_given_up_within_five_seconds() -> None:
    peer = Peer()
    peer.link(1, 2, b"two", dialled=False)
    assert not of(chat(peer, 1, 60), DropLink)
    assert not of(peer.wait(3_000_000), DropLink)
    (drop,) = of(peer.wait(2_000_000), DropLink)
    assert isinstance(drop, DropLink) and drop.reason == "it has been silent for too long"


def test_who_slept_itself_does_not_take_the_others_for_dead() -> None:
    """A machine that was suspended, or a process that was stopped: what came meanwhile waits."""
    peer = Peer()
    peer.link(1, 2, b"two", dialled=False)
    chat(peer, 1, 60)
    peer.now_us += 60_000_000
    outputs = peer.give(TimerFired())
    outputs += peer.hear(1, Ping(1_000, 0))
    assert not of(outputs + chat(peer, 1, 5), DropLink)
    peer.now_us += 60_000_000
    peer.give(TimerFired())
    assert of(peer.wait(2_000_000), DropLink), "and yet nothing came"


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


# ------------------------------------------------------------------ what a review found


def deliver(peer: Peer, link: LinkId, message: News) -> list[Output]:
    """Hear entries, and have their signatures checked at once."""
    outputs = peer.hear(link, message)
    for verify in of(outputs, Verify):
        assert isinstance(verify, Verify)
        outputs += peer.give(Verified(verify.token, list(Verifier().check(verify.entries))))
    return outputs


def own_past(entries: int) -> list[Entry]:
    author = TestAuthor(1)
    return [author.write(hlc=at(number)) for number in range(entries)]


def dropped(outputs: list[Output]) -> list[LinkId]:
    return [drop.link for drop in of(outputs, DropLink)]  # type: ignore[union-attr]


def test_a_run_that_goes_beyond_the_last_seq_is_refused() -> None:
    peer = Peer()
    peer.link(1, 2, b"two", dialled=True)
    one = (1, 0, b"\x80", bytes(64))
    run = encode([key(2).peer_id, MAX_SEQ, b"x" * 32, *one, *one])
    assert dropped(peer.hear(1, News((run,)))) == [1]


def test_a_good_proof_counts_although_a_bad_one_follows() -> None:
    def two(number: int) -> tuple[SignedHeader, SignedHeader]:
        first, second = TestAuthor(number).write(buy(1)), TestAuthor(number).write(buy(2))
        return signed_header(first), signed_header(second)

    peer = Peer()
    peer.link(1, 2, b"two", dialled=True)
    good = prove_fork(GENESIS.network_id, *two(1))
    first, second = two(3)
    bad = prove_fork(GENESIS.network_id, SignedHeader(first.header, b"x" * 64), second)
    outputs = peer.hear(1, Evidence((good.encode(), bad.encode())))
    assert dropped(outputs) == [1]
    assert peer.protocol.replica.head(key(1).peer_id).k == 0
    assert peer.protocol.own.forked
    assert not of(peer.give(Submit(1, (buy(5),))), Persist)


def test_questions_about_seconds_that_are_no_cut_leave_nothing_behind() -> None:
    peer = Peer()
    peer.link(1, 2, b"two", dialled=True)
    deliver(peer, 1, News((encode_run([TestAuthor(9).write(hlc=at(10))]),)))
    peer.wait(2 * CONFIG.settle_unwatched_us)
    for number in range(50):
        outputs = peer.hear(1, MarketsWanted(1 << 60 | number))
        assert all(
            answer == MarketsAre(1 << 60 | number, ()) for answer in said(outputs, MarketsAre)
        )
        peer.now_us += 5_000
    for market in peer.protocol.replica._markets:
        assert max(market.noted, default=0) < 1 << 40


def test_no_link_confirms_our_head_while_another_holds_more_of_it() -> None:
    peer = Peer(b"two", b"three", alone=False)
    peer.link(1, 2, b"two", dialled=True)
    peer.link(2, 3, b"three", dialled=True)
    past = own_past(30)
    peer.hear(2, YourHead(Head(key(1).peer_id, 30, past[-1].id)))
    peer.hear(1, YourHead(Head(key(1).peer_id, 0, NO_ENTRY)))
    peer.give(Submit(1, (buy(5),)))
    assert not any(write.entries for write in of(peer.wait(2 * CONFIG.confirm_grace_us), Persist))
    peer.hear(2, YourHead(Head(key(1).peer_id, 0, NO_ENTRY)))  # it cannot take its word back
    assert not of(peer.wait(100_000), Persist)
    outputs = deliver(peer, 2, News((encode_run(past),), reply=True))
    written = [persist for persist in of(outputs, Persist) if isinstance(persist, Persist)]
    assert written and written[-1].entries[-1].seq == 30


def test_authors_that_became_known_make_room_for_more() -> None:
    peer = Peer(config=GossipConfig(unknown_authors_limit=4))
    peer.link(1, 2, b"two", dialled=True)
    entries = [TestAuthor(20 + number).write(hlc=at(10)) for number in range(16)]
    for first in range(0, 16, 4):
        some = entries[first : first + 4]
        peer.hear(1, News((), tuple(Head(entry.author, 1, entry.id) for entry in some)))
        wanted = said(peer.wait(300_000), Want)
        assert {span[0] for want in wanted for span in want.ranges} == {one.author for one in some}  # type: ignore[attr-defined]
        deliver(peer, 1, News(tuple(encode_run([entry]) for entry in some), reply=True))
        peer.wait(300_000)
    assert len(peer.protocol.replica.logs) == 16


def test_a_banned_address_does_not_keep_the_timer_firing() -> None:
    peer = Peer()
    outputs = peer.outputs + peer.link(1, 2, b"two", dialled=False)
    outputs += peer.give(Received(1, b"\xff"))
    until_us, fired = peer.now_us + 10_000_000, 0
    while announced := of(outputs, SetTimer):
        peer.now_us = max(peer.now_us, announced[-1].at_us)  # type: ignore[union-attr]
        if peer.now_us > until_us or fired > 500:
            break
        outputs = peer.give(TimerFired())
        fired += 1
    assert peer.now_us > until_us and 0 < fired < 200


def test_a_market_does_not_wait_for_the_pause_of_another() -> None:
    peer = Peer()
    peer.now_us = 100_000_000
    replica = peer.protocol.replica
    replica.watched = True
    peer.link(1, 2, b"two", dialled=True)
    author = TestAuthor(9)
    payload = encode_payload([buy(5)] * 50)
    old = [author.write(hlc=at(1_000 + number), payload=payload) for number in range(400)]
    for first in range(0, 400, 100):
        deliver(peer, 1, News((encode_run(old[first : first + 100]),)))
    peer.wait(20_000)
    for number in (2, 1):  # each undoes everything in the first market
        deliver(peer, 1, News((encode_run([TestAuthor(60 + number).write(hlc=at(number))]),)))
        peer.wait(10_000)
    paused_us, before = replica.next_settle_us(), replica.applied_count
    assert paused_us is not None and paused_us > peer.now_us + 20_000
    deliver(peer, 1, News((encode_run([TestAuthor(70).write(buy(5, market=1), hlc=at(99_000))]),)))
    peer.wait(2 * CONFIG.settle_us)
    assert replica.applied_count == before + 1


def test_an_own_entry_is_never_dated_before_the_start() -> None:
    peer = Peer()
    peer.now_us = 1_000_000
    early = Instant(peer.now_us, START_MS * 1_000 - 500_000)
    outputs = peer.protocol.handle(Submit(1, (buy(5),)), early)
    (persist,) = of(outputs, Persist)
    assert isinstance(persist, Persist) and persist.entries[0].hlc >= at(0)
    peer.protocol.handle(Persisted(persist.token), early)
    assert peer.protocol.replica.head(key(1).peer_id).length == 1


def test_an_answer_of_which_a_part_came_elsewhere_is_an_answer() -> None:
    peer = Peer()
    peer.link(1, 2, b"two", dialled=True)
    peer.link(2, 3, b"three", dialled=True)
    author = TestAuthor(9)
    entries = [author.write(hlc=at(10 + number)) for number in range(20)]
    peer.hear(1, News((), (Head(author.author, 20, entries[-1].id),)))
    assert said(peer.wait(100_000), Want, 1) == [Want(((author.author, 0, 20),))]
    deliver(peer, 2, News((encode_run(entries[:5]),)))
    deliver(peer, 1, News((encode_run(entries),), reply=True))
    peer.wait(CONFIG.fetch_timeout_us + 100_000)
    assert peer.protocol.replica.head(author.author).length == 20
    assert peer.protocol.statistics.fetch_timeouts == 0


def test_pongs_that_nobody_asked_for_move_no_clock() -> None:
    peer = Peer()
    outputs = peer.link(1, 2, b"two", dialled=True)
    (token,) = [ping.token for ping in said(outputs, Ping)]  # type: ignore[attr-defined]
    peer.hear(1, Pong(token, peer.now().wall_us))
    before = peer.protocol.clock.correction_us
    for number in range(1, 20):
        false_us = peer.now().wall_us + (number % 2 + 1) * 1_000_000_000
        assert not of(peer.hear(1, Pong(0, false_us)), Emit)
    assert peer.protocol.clock.correction_us == before


def test_a_liar_that_answers_with_its_claim_is_not_asked_again_at_once() -> None:
    peer = Peer()
    peer.link(1, 2, b"two", dialled=True)
    claim = Head(key(77).peer_id, 1_000, EntryId(b"q" * 32))
    peer.hear(1, News((), (claim,)))
    asked = 0
    for _ in range(1_000):
        peer.now_us += 1_000
        wants = said(peer.give(TimerFired()), Want)
        asked += len(wants)
        if wants:
            peer.hear(1, News((), (claim,), reply=True))
    assert 0 < asked <= 1_000_000 // CONFIG.pull_us


def test_a_liar_cannot_hold_the_only_search_for_a_fork() -> None:
    peer = Peer()
    peer.link(1, 2, b"two", dialled=True)
    peer.link(2, 3, b"three", dialled=True)
    author = TestAuthor(9)
    entries = [author.write(hlc=at(10 + number)) for number in range(8)]
    deliver(peer, 1, News((encode_run(entries),)))
    lie, other = (Head(author.author, 8, EntryId(letter * 32)) for letter in (b"l", b"h"))
    assert said(peer.hear(1, News((), (lie,))), IdsWanted, 1)
    assert said(peer.hear(2, FrontierIs((other,))), IdsWanted, 2)
    again = [said(peer.hear(1, News((), (lie,))), IdsWanted) for _ in range(20)]
    assert not any(again)  # and the liar gets no second one


def false_cut(peer: Peer) -> Compare:
    cut = peer.protocol.replica.recent_cuts(local_ms=peer.protocol.local_ms, count=16)[-1]
    span = CutSpan(cut.second, cut.second, cut.frontier_root, b"y" * 32)
    return Compare(peer.protocol.replica.frontier.root(), 1, (span,))


def test_a_liar_cannot_hold_the_investigation_open() -> None:
    peer = Peer()
    for link in (1, 2):
        peer.link(link, link + 1, b"%d" % link, dialled=True)
    deliver(peer, 1, News((encode_run([TestAuthor(9).write(hlc=at(10))]),)))
    peer.now_us += 10_000_000
    questions = (CutsWanted, MarketsWanted)
    outputs = peer.hear(1, false_cut(peer))
    assert any(said(outputs, kind, 1) for kind in questions)
    for _ in range(16):
        peer.now_us += 2_000_000
        peer.hear(1, CutsAre(()))
        peer.hear(1, false_cut(peer))
        outputs = peer.hear(2, false_cut(peer))
        if any(said(outputs, kind, 2) for kind in questions):
            return
    raise AssertionError("the second link was never asked")


def test_a_difference_in_no_cut_is_found_when_cuts_agree() -> None:
    peer = Peer(config=GossipConfig(small_frontier_limit=0))
    peer.link(1, 2, b"two", dialled=True)
    deliver(peer, 1, News((encode_run([TestAuthor(9).write(hlc=at(10))]),)))
    peer.now_us += 10_000_000
    looked = []
    for _ in range(20):
        peer.now_us += 1_000_000
        cuts = peer.protocol.replica.recent_cuts(local_ms=peer.protocol.local_ms, count=16)
        spans = tuple(CutSpan(c.second, c.second, c.frontier_root, c.book_root) for c in cuts)
        outputs = peer.hear(1, Compare(b"z" * 32, 2, spans))
        looked.append(any(said(outputs, kind) for kind in (FrontierIs, Walk)))
    assert any(looked) and not all(looked)
