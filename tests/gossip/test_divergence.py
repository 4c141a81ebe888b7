"""Divergence between two replicas: found, located, and judged by each side's own audit."""

from dataclasses import dataclass

import pytest
from twins.authors import GENESIS, START_MS, TestAuthor, at, buy, fresh, sell

from gossipbook.gossip.config import GossipConfig
from gossipbook.gossip.divergence import ABANDONED_US, DivergenceWatch
from gossipbook.gossip.interface import Divergence
from gossipbook.gossip.messages import (
    CutsAre,
    CutSpan,
    CutsWanted,
    LevelsWanted,
    MarketsAre,
    MarketsWanted,
    Message,
    spans_of,
)
from gossipbook.gossip.serving import answer_cuts, answer_levels, answer_markets
from gossipbook.identity import PeerId
from gossipbook.log.entry import Entry
from gossipbook.randomness import SeededRandom
from gossipbook.replica import REPLAY_COST_US, REPLAY_PAUSE_FACTOR, Replica

CONFIG = GossipConfig(audit_slice_commands=7)
LINK, LIAR = 5, PeerId(b"l" * 32)
SECONDS = 20
NOW_MS = START_MS + 1_000 * (SECONDS + 3)
START_S = START_MS // 1000


def make_entries() -> list[Entry]:
    """An order in each market in each of 20 seconds; market BBB trades, AAA only rests."""
    entries = []
    author, other = TestAuthor(1), TestAuthor(2)
    for second in range(SECONDS):
        entries.append(author.write(buy(100 + second, 5), buy(50, 9, 1), hlc=at(1_000 * second)))
        entries.append(other.write(sell(50, 2, 1), hlc=at(1_000 * second + 1)))
    return entries


ENTRIES = make_entries()


@dataclass
class Side:
    """One peer's replica and its watch over divergence."""

    replica: Replica
    watch: DivergenceWatch

    @classmethod
    def new(cls) -> "Side":
        replica = Replica(GENESIS)
        return cls(replica, DivergenceWatch(replica, CONFIG))

    def read(self, entries: list[Entry], *, second: int) -> None:
        self.replica.add(map(fresh, entries), local_ms=NOW_MS)
        self.replica.settle(now_us=second << 30, local_ms=NOW_MS)
        self.replica.recent_cuts(local_ms=START_MS + 1_000 * (second + 3), count=16)

    def answer(self, question: Message) -> Message | None:
        match question:
            case CutsWanted():
                return answer_cuts(self.replica, question)
            case MarketsWanted():
                return answer_markets(self.replica, question)
            case LevelsWanted():
                return answer_levels(self.replica, question)
        raise AssertionError(question)

    def take(self, answer: Message) -> Message | None:
        step = {CutsAre: self.watch.cuts, MarketsAre: self.watch.markets}
        return step.get(type(answer), self.watch.levels)(LINK, answer, 0)  # type: ignore[operator,arg-type]


def investigate(ours: Side, theirs: Side, now_us: int = 0) -> tuple[Divergence | None, int]:
    """One comparison and all questions that follow; the claim, and how many questions."""
    spans = spans_of(theirs.replica.recent_cuts(local_ms=NOW_MS, count=16))
    _, question = ours.watch.compare(LINK, LIAR, spans, now_us)
    questions = 0
    while question is not None:
        questions += 1
        answer = theirs.answer(question)
        assert answer is not None
        question = ours.take(answer)
    return (ours.watch.begin_audit() if ours.watch.ready else None), questions


def audit(side: Side, now_us: int = 0) -> Divergence:
    for _ in range(100):
        heal, verdict = side.watch.audit_slice(now_us)
        if heal:
            side.replica.heal(side.watch.take_audit())
        if verdict is not None:
            return verdict
    raise AssertionError("the audit does not end")


def damaged_at(second: int, market: str, what: str) -> tuple[Side, Side]:
    """A sound side and one whose memory went bad after it had read so many seconds."""
    sound, damaged = Side.new(), Side.new()
    for index in range(SECONDS):
        for side in (sound, damaged):
            side.read(ENTRIES[2 * index : 2 * index + 2], second=index)
        if index == second:
            assert damaged.replica.corrupt(market, what, SeededRandom(second))
    for side in (sound, damaged):
        side.replica.recent_cuts(local_ms=NOW_MS, count=16)
    return sound, damaged


def test_equal_replicas_have_nothing_to_ask() -> None:
    one, two = Side.new(), Side.new()
    for side in (one, two):
        side.read(ENTRIES, second=SECONDS)
    spans = spans_of(two.replica.recent_cuts(local_ms=NOW_MS, count=16))
    assert one.watch.compare(LINK, LIAR, spans, 0) == (True, None)
    assert one.watch.claim_count == 0


def test_replicas_with_different_entries_are_no_divergence() -> None:
    one, two = Side.new(), Side.new()
    one.read(ENTRIES, second=SECONDS)
    two.read(ENTRIES[:-5], second=SECONDS)
    spans = spans_of(two.replica.recent_cuts(local_ms=NOW_MS, count=16))
    assert one.watch.compare(LINK, LIAR, spans, 0) == (False, None)


def test_a_wrong_past_trade_is_located_to_second_and_market_and_healed() -> None:
    sound, damaged = damaged_at(12, "BBB", "trades")
    claim, questions = investigate(damaged, sound)
    assert claim is not None and claim.status == "claimed" and claim.peer_id == LIAR
    assert (claim.market, claim.side, claim.price_ticks) == ("BBB", None, None)
    # The trades of second 12 are below the cut at 13, the first that can show them.
    assert START_S + 13 <= claim.second <= START_S + 14
    assert questions <= 4
    verdict = audit(damaged)
    assert verdict.status == "healed" and verdict.second == claim.second
    assert damaged.replica.book_root() == sound.replica.book_root()
    assert damaged.replica.trades("BBB") == sound.replica.trades("BBB")


def test_a_wrong_resting_order_is_located_to_its_price() -> None:
    sound, damaged = damaged_at(19, "AAA", "book")
    wrong = [
        int(order.price)
        for order, right in zip(
            damaged.replica.book("AAA").orders, sound.replica.book("AAA").orders, strict=True
        )
        if order != right
    ]
    for second in (5, 6, 7, 8):  # cuts go by, and each scrubs 16 of the 20 levels
        for side in (sound, damaged):
            side.replica.recent_cuts(local_ms=NOW_MS + 1_000 * second, count=16)
    spans = spans_of(sound.replica.recent_cuts(local_ms=NOW_MS + 8_000, count=16))
    _, question = damaged.watch.compare(LINK, LIAR, spans, 0)
    while question is not None:
        answer = sound.answer(question)
        assert answer is not None
        question = damaged.take(answer)
    claim = damaged.watch.begin_audit()
    assert claim is not None
    assert (claim.market, claim.side, [claim.price_ticks]) == ("AAA", "buy", wrong)
    assert claim.ours != claim.theirs
    assert audit(damaged).status == "healed"
    assert damaged.replica.book_root() == sound.replica.book_root()


def test_the_sound_side_audits_itself_and_says_unresolved() -> None:
    sound, damaged = damaged_at(12, "BBB", "trades")
    before = sound.replica.book_root()
    claim, _ = investigate(sound, damaged)
    assert claim is not None and claim.market == "BBB"
    verdict = audit(sound)
    assert verdict.status == "unresolved" and verdict.ours != verdict.theirs
    assert sound.replica.book_root() == before


def test_the_same_cut_is_never_audited_twice_for_one_peer() -> None:
    sound, damaged = damaged_at(12, "BBB", "trades")
    assert investigate(sound, damaged)[0] is not None
    audit(sound)
    assert investigate(sound, damaged, now_us=2 * CONFIG.audit_per_link_us) == (None, 0)
    assert sound.watch.audit_count == 1


def lying_spans(replica: Replica) -> tuple[CutSpan, ...]:
    spans = spans_of(replica.recent_cuts(local_ms=NOW_MS, count=16))
    return tuple(span._replace(book_root=b"lie".ljust(32)) for span in spans)


def believe(side: Side, lie: CutSpan, now_us: int) -> Divergence | None:
    """Hear a lie about one cut out, with lies about its markets; the claim."""
    _, question = side.watch.compare(LINK, LIAR, (lie,), now_us)
    while question is not None:
        answer = side.answer(question)
        if isinstance(answer, CutsAre):
            answer = CutsAre(())
        elif isinstance(answer, MarketsAre):
            lies = tuple((*roots[:3], b"lie".ljust(32)) for roots in answer.markets)
            answer = MarketsAre(answer.second, lies)
        assert answer is not None
        question = side.take(answer)
    return side.watch.begin_audit() if side.watch.ready else None


def test_after_an_unresolved_claim_the_same_peer_buys_no_audit_for_ten_minutes() -> None:
    sound = Side.new()
    sound.read(ENTRIES, second=SECONDS)
    for second in range(SECONDS, SECONDS + 6):
        sound.replica.recent_cuts(local_ms=NOW_MS + 1_000 * (second - SECONDS), count=16)
    lies = [
        CutSpan(second, second, cut.frontier_root, b"lie".ljust(32))
        for second in sound.replica.cuts.seconds[-4:]
        if (cut := sound.replica.cut_at(second)) is not None
    ]
    assert len(lies) == 4
    assert believe(sound, lies[0], now_us=0) is not None
    assert audit(sound, now_us=1_000).status == "unresolved"
    over_us = 1_000 + CONFIG.audit_per_link_us
    assert believe(sound, lies[1], now_us=2_000) is None
    assert believe(sound, lies[1], now_us=over_us - 1) is None
    assert sound.watch.audit_count == 1 and sound.watch.claim_count == 1
    assert believe(sound, lies[1], now_us=over_us) is not None
    assert sound.watch.audit_count == 2


def test_many_liars_share_one_budget_of_audits() -> None:
    sound = Side.new()
    sound.read(ENTRIES, second=SECONDS)
    cut = sound.replica.cut_at(sound.replica.cuts.seconds[-1])
    assert cut is not None
    lie = CutSpan(cut.second, cut.second, cut.frontier_root, b"lie".ljust(32))
    assert believe(sound, lie, now_us=0) is not None
    assert audit(sound, now_us=1_000).status == "unresolved"
    commands = sum(len(sound.replica.commands(market)) for market in ("AAA", "BBB"))
    rest_us = REPLAY_PAUSE_FACTOR * REPLAY_COST_US * commands  # at most: one market was audited
    other = PeerId(bytes([77]) * 32)
    assert sound.watch.compare(LINK + 1, other, (lie,), 1_001)[1] is None
    assert sound.watch.compare(LINK + 1, other, (lie,), 1_000 + rest_us)[1] is not None


def test_a_liar_that_answers_with_our_own_markets_has_its_claim_fall_apart() -> None:
    sound = Side.new()
    sound.read(ENTRIES, second=SECONDS)
    _, question = sound.watch.compare(LINK, LIAR, lying_spans(sound.replica), 0)
    questions = 0
    while question is not None:
        questions += 1
        answer = sound.answer(question)
        if isinstance(answer, CutsAre):
            answer = CutsAre(tuple(s._replace(book_root=b"lie".ljust(32)) for s in answer.spans))
        assert answer is not None
        question = sound.take(answer)
    assert not sound.watch.ready and questions <= 4
    assert sound.watch.audit_count == 0


@pytest.mark.parametrize("markets", [0, 1, 3])
def test_an_answer_with_another_number_of_markets_ends_the_case(markets: int) -> None:
    sound = Side.new()
    sound.read(ENTRIES, second=SECONDS)
    _, question = sound.watch.compare(LINK, LIAR, lying_spans(sound.replica)[-1:], 0)
    while not isinstance(question, MarketsWanted):
        assert question is not None
        answer = sound.answer(question)
        assert isinstance(answer, CutsAre)
        question = sound.watch.cuts(LINK, CutsAre(()), 0)
    roots = tuple((bytes(32),) * 4 for _ in range(markets))
    assert sound.watch.markets(LINK, MarketsAre(question.second, roots), 0) is None  # type: ignore[arg-type]
    assert not sound.watch.ready


def test_one_case_at_a_time_and_an_abandoned_one_makes_room() -> None:
    sound = Side.new()
    sound.read(ENTRIES, second=SECONDS)
    lies = lying_spans(sound.replica)
    assert sound.watch.compare(LINK, LIAR, lies, 0)[1] is not None
    other = PeerId(b"o" * 32)
    assert sound.watch.compare(LINK + 1, other, lies, 1_000)[1] is None
    assert sound.watch.compare(LINK + 1, other, lies, 60_000_000)[1] is not None
    sound.watch.link_gone(LINK + 1)
    over_us = 60_000_000 + ABANDONED_US  # the case of the first one led nowhere
    assert sound.watch.compare(LINK, LIAR, lies, over_us - 1)[1] is None
    assert sound.watch.compare(LINK, LIAR, lies, over_us)[1] is not None


def test_answers_from_others_than_the_one_who_was_asked_are_ignored() -> None:
    sound = Side.new()
    sound.read(ENTRIES, second=SECONDS)
    sound.watch.compare(LINK, LIAR, lying_spans(sound.replica), 0)
    assert sound.watch.cuts(LINK + 1, CutsAre(()), 0) is None
    assert sound.watch.markets(LINK + 1, MarketsAre(0, ()), 0) is None
    assert not sound.watch.ready


def test_questions_about_unknown_cuts_and_markets_get_no_answer() -> None:
    sound = Side.new()
    sound.read(ENTRIES, second=SECONDS)
    assert answer_markets(sound.replica, MarketsWanted(START_S - 1_000)) is None
    known = sound.replica.cuts.seconds[-1]
    assert answer_markets(sound.replica, MarketsWanted(known)) is not None
    assert answer_levels(sound.replica, LevelsWanted(known, 2, 0, b"")) is None
