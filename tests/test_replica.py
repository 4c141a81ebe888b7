"""The replica: the same entries give the same answers, whatever order, batches and timing."""

from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twins.authors import (
    GENESIS,
    START_MS,
    TestAuthor,
    at,
    buy,
    fresh,
    naive_effective,
    naive_log,
    sell,
)
from twins.matching import NaiveMarket

from gossipbook.book.commands import CommandId
from gossipbook.book.digest import book_root
from gossipbook.book.events import Event
from gossipbook.book.payload import Cancellation, Instruction, Replacement, decode_payload
from gossipbook.errors import EncodingError, InvalidEntry, UnknownMarket
from gossipbook.genesis import Genesis, Market
from gossipbook.log.clock import hlc_second
from gossipbook.log.entry import Entry, signed_header
from gossipbook.log.fork import prove_fork
from gossipbook.randomness import SeededRandom
from gossipbook.replica import (
    REPLAY_COST_US,
    REPLAY_PAUSE_FACTOR,
    Replica,
    ReplicaSettings,
    Update,
)

LATER_MS = START_MS + 60_000
"""A local time at which all that these tests write is due."""

LATER_AND_LATER_US = count(1 << 40, 1 << 30)

SMALL = ReplicaSettings(undo_window=8, snapshot_interval=4)


def second(seconds: int) -> int:
    return START_MS // 1000 + seconds


def settled(replica: Replica, *, local_ms: int = LATER_MS) -> list[Update]:
    """Settle whatever there is, at a time when every pause is over."""
    replica.release(local_ms)
    return replica.settle(now_us=next(LATER_AND_LATER_US), local_ms=local_ms)


def filled(entries: Iterable[Entry], **settings: Any) -> Replica:
    replica = Replica(GENESIS, ReplicaSettings(**settings))
    replica.add(map(fresh, entries), local_ms=LATER_MS)
    settled(replica)
    return replica


def answers(replica: Replica) -> list[object]:
    """Everything that two converged replicas must agree on."""
    found: list[object] = [replica.frontier.root(), replica.book_root(), replica.entry_count]
    for market in ("AAA", "BBB"):
        book = replica.book(market)
        found += [book.bids, book.asks, book.orders, book.root]
        found += [replica.trades(market), replica.commands(market)]
    found.append([update.events for update in replica.snapshot()])
    return found


def random_instruction(random: SeededRandom, seq: int) -> Instruction:
    market = random.below(2)
    what = random.below(10)
    if what < 7 or seq == 0:
        place = buy if random.below(2) else sell
        return place(random.between(8, 12), random.between(1, 5), market)
    if what < 9:
        return Cancellation(market, random.below(seq + 1), random.below(2))
    return (
        Replacement(market, random.below(seq + 1), 0, random.below(13), random.below(4), 0)
        if random.below(2)
        else Replacement(market, random.below(seq + 1), 0, 0, 0, 2)
    )


def random_history(seed: int, *, authors: int = 4, entries: int = 14) -> list[Entry]:
    """Four authors over eight seconds; the last one forks, one entry makes no sense."""
    random = SeededRandom(seed)
    everything: list[Entry] = []
    for number in range(1, authors + 1):
        author = TestAuthor(number)
        milliseconds = random.below(1000)
        for seq in range(entries):
            commands = []
            while len(commands) < 1 + random.below(3):
                instruction = random_instruction(random, seq)
                if instruction[2:] != (seq, 0, 0, 0, 0):
                    commands.append(instruction)
            commands = [one for one in commands if not _is_empty_replacement(one)] or [buy(9)]
            payload = b"\xff" if number == 2 and seq == 5 else None
            author.write(*commands, hlc=at(milliseconds), payload=payload)
            milliseconds += random.below(1_200) - 100
            milliseconds = max(0, milliseconds)
        everything += author.entries
        if number == authors:
            branch = author.branch(entries - 5)
            branch.write(buy(10, 3), hlc=at(milliseconds))
            branch.write(sell(9, 3), hlc=at(milliseconds))
            everything += branch.entries[entries - 5 :]
    return everything


def _is_empty_replacement(instruction: Instruction) -> bool:
    return isinstance(instruction, Replacement) and not any(instruction[3:])


def merged(entries: Sequence[Entry]) -> list[tuple[int, bytes, int, Entry]]:
    """The counting entries in merge order, worked out from the whole set."""
    found = []
    for author in sorted({entry.author for entry in entries}):
        own = [entry for entry in entries if entry.author == author]
        counting = [next(one for one in own if one.id == name) for name in naive_log(own)]
        for one, effective in zip(counting, naive_effective(counting), strict=True):
            found.append((effective, author, one.seq, one))
    return sorted(found, key=lambda one: one[:3])


def naive_markets(
    entries: Sequence[Entry], *, below_second: int | None = None
) -> list[NaiveMarket]:
    markets = [NaiveMarket(market) for market in GENESIS.markets]
    for effective, author, seq, entry in merged(entries):
        if below_second is not None and hlc_second(effective) >= below_second:
            continue
        try:
            instructions = decode_payload(entry.payload, 2)
        except EncodingError:
            continue
        for index, instruction in enumerate(instructions):
            markets[instruction.market].apply((author, seq, index), instruction)
    return markets


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 7), st.randoms(use_true_random=False), st.data())
def test_any_order_and_batching_equals_a_naive_replay_of_the_set(
    seed: int, shuffler: Any, data: st.DataObject
) -> None:
    entries = random_history(seed)
    shuffled = list(entries)
    shuffler.shuffle(shuffled)
    replica = Replica(GENESIS, data.draw(st.sampled_from([ReplicaSettings(), SMALL])))
    local_ms = START_MS
    while shuffled:
        size = data.draw(st.integers(1, 12))
        batch, shuffled = shuffled[:size], shuffled[size:]
        batch += batch[:2]  # duplicates
        local_ms += data.draw(st.integers(0, 800))
        replica.add(map(fresh, batch), local_ms=local_ms)
        if data.draw(st.booleans()):
            settled(replica, local_ms=local_ms)
            replica.recent_cuts(local_ms=local_ms, count=16)
    settled(replica)
    for market, naive in zip(GENESIS.markets, naive_markets(entries), strict=True):
        assert replica.book(market.symbol).root == naive.root()
        history = [event for events in naive.events for event in events]
        assert [
            e for u in replica.snapshot() if u.market == market.symbol for e in u.events
        ] == history
    assert answers(replica) == answers(filled(reversed(entries)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 7), st.randoms(use_true_random=False), st.data())
def test_digests_at_every_cut_equal_a_naive_replay_of_the_entries_below(
    seed: int, shuffler: Any, data: st.DataObject
) -> None:
    entries = random_history(seed)
    shuffled = list(entries)
    shuffler.shuffle(shuffled)
    replica = Replica(GENESIS, SMALL)
    for number, entry in enumerate(shuffled):
        replica.add([fresh(entry)], local_ms=LATER_MS - 30_000)
        if data.draw(st.integers(0, 3)) == 0:
            settled(replica, local_ms=LATER_MS - 30_000)
            for cut in replica.recent_cuts(local_ms=LATER_MS - 30_000, count=64):
                naive = naive_markets(shuffled[: number + 1], below_second=cut.second)
                expected = [one.root() for one in naive]
                digests = replica.digests_at(cut.second)
                assert digests is not None
                assert [digest.root for digest in digests] == expected
                assert cut.book_root == book_root(digests)


def test_all_replicas_answer_alike_at_cuts_whatever_came_first() -> None:
    entries = random_history(3)
    one, two = Replica(GENESIS), Replica(GENESIS, SMALL)
    for replica, order in ((one, entries), (two, entries[::-1])):
        for number, entry in enumerate(order):
            replica.add([fresh(entry)], local_ms=LATER_MS)
            settled(replica, local_ms=START_MS + 300 * number)
            replica.recent_cuts(local_ms=START_MS + 300 * number, count=16)
    cuts = [r.recent_cuts(local_ms=START_MS + 20_000, count=64) for r in (one, two)]
    assert cuts[0] == cuts[1] and len(cuts[0]) > 5


def test_updates_truncate_take_back_and_append_to_what_a_snapshot_says() -> None:
    """A consumer that only reads updates holds what a new reader is given."""
    for seed in range(6):
        entries = random_history(seed)
        SeededRandom(seed).shuffle(entries)
        replica = Replica(GENESIS, SMALL if seed % 2 else None)
        replica.watched = True
        held: dict[str, dict[object, Event]] = {"AAA": {}, "BBB": {}}
        for number, entry in enumerate(entries):
            replica.add([fresh(entry)], local_ms=LATER_MS)
            if number % 3 == 0 or number == len(entries) - 1:
                for update in settled(replica):
                    events = held[update.market]
                    for gone in update.undone:
                        assert events.pop(gone.identity) == gone
                    for event in update.events:
                        assert event.identity not in events
                        events[event.identity] = event
        for snapshot in replica.snapshot():
            assert snapshot.position == 0 and not snapshot.undone
            assert held[snapshot.market] == {event.identity: event for event in snapshot.events}


def test_an_update_begins_at_the_first_position_undone_or_applied() -> None:
    author = TestAuthor(1)
    early, late = author.write(buy(10), hlc=at(10)), author.write(sell(12), hlc=at(30))
    between = TestAuthor(2).write(sell(10), hlc=at(20))
    replica = Replica(GENESIS)
    replica.watched = True
    replica.add([early, late], local_ms=LATER_MS)
    (first,) = settled(replica)
    assert first.position == 0 and len(first.events) == 2
    replica.add([between], local_ms=LATER_MS)
    (second_update,) = settled(replica)
    assert second_update.position == 1  # only the command dated later was undone ...
    assert second_update.undone == ()  # ... and it came to the same
    assert [type(event).__name__ for event in second_update.events] == ["Accepted", "Trade"]
    assert settled(replica) == []


def test_a_trade_that_no_longer_happens_is_undone_and_counted_as_busted() -> None:
    maker, taker, thief = (TestAuthor(number) for number in (1, 2, 3))
    replica = Replica(GENESIS)
    replica.watched = True
    replica.add(
        [maker.write(buy(10), hlc=at(10)), taker.write(sell(10), hlc=at(30))], local_ms=LATER_MS
    )
    settled(replica)
    (before,) = replica.trades("AAA")
    assert before.taker == CommandId("AAA", taker.author, 0, 0)
    replica.add([thief.write(sell(10), hlc=at(20))], local_ms=LATER_MS)
    (update,) = settled(replica)
    assert update.undone == (before,)
    assert replica.busted_count == 1
    (after,) = replica.trades("AAA")
    assert after.taker == CommandId("AAA", thief.author, 0, 0)


def test_late_entry_rewinds_only_its_market() -> None:
    author, other = TestAuthor(1), TestAuthor(2)
    replica = Replica(GENESIS)
    for index in range(50):
        entries = [author.write(buy(5, market=0), buy(5, market=1), hlc=at(100 + index))]
        replica.add(entries, local_ms=LATER_MS)
    settled(replica)
    assert replica.undone_count == 0
    replica.add([other.write(buy(4, market=1), hlc=at(120))], local_ms=LATER_MS)
    settled(replica)
    assert replica.undone_count == 29 if other.author > author.author else 30


def test_batches_of_late_entries_undo_once() -> None:
    author = TestAuthor(1)
    replica = Replica(GENESIS)
    replica.add([author.write(buy(5), hlc=at(100 + n)) for n in range(50)], local_ms=LATER_MS)
    settled(replica)
    for number in range(2, 8):
        replica.add([TestAuthor(number).write(buy(5), hlc=at(50 + number))], local_ms=LATER_MS)
    settled(replica)
    assert replica.undone_count == 50


def test_an_entry_is_held_back_until_its_time_less_the_tolerance() -> None:
    entry = TestAuthor(1).write(buy(10), hlc=at(5_000))
    replica = Replica(GENESIS)
    assert replica.add([entry], local_ms=START_MS).entries == [entry]
    assert replica.held_count == 1 and replica.frontier.get(entry.author).length == 1
    assert replica.clock.high_water == 0  # it poisons nothing
    due_ms = replica.next_release_ms
    assert due_ms is not None
    settled(replica, local_ms=START_MS + 4_749)
    assert not replica.commands("AAA")
    settled(replica, local_ms=START_MS + 4_750)
    assert len(replica.commands("AAA")) == 1 and replica.held_count == 0
    assert due_ms - (START_MS + 4_750) in (0, 1)
    assert replica.clock.high_water == at(5_000)


def test_an_entry_of_the_farthest_future_is_in_the_frontier_and_in_no_book() -> None:
    entry = TestAuthor(1).write(buy(10), hlc=(1 << 63) - 1)
    replica = filled([entry])
    assert replica.entry_count == 1 and not replica.commands("AAA")
    assert replica.held_count == 1 and replica.held_back_count == 1


def test_a_held_back_entry_that_a_fork_voids_is_never_applied() -> None:
    author = TestAuthor(1)
    first = author.write(buy(10), hlc=at(5_000))
    second_branch = author.branch(0).write(buy(11), hlc=at(1))
    replica = Replica(GENESIS)
    replica.add([first], local_ms=START_MS)
    replica.add([second_branch], local_ms=START_MS)
    settled(replica)
    assert replica.entry_count == 0 and not replica.commands("AAA")


def test_a_fork_takes_back_orders_and_trades_from_the_fork_on() -> None:
    cheat, victim = TestAuthor(1), TestAuthor(2)
    kept = cheat.write(buy(9, 7), hlc=at(0))
    trade = cheat.write(buy(10), hlc=at(10))
    replica = Replica(GENESIS)
    replica.watched = True
    replica.add([kept, trade, victim.write(sell(10), hlc=at(20))], local_ms=LATER_MS)
    settled(replica)
    assert len(replica.trades("AAA")) == 1
    other = cheat.branch(1).write(buy(3), hlc=at(15))
    proof = prove_fork(GENESIS.network_id, signed_header(trade), signed_header(other))
    assert proof is not None
    added = replica.add_proof(proof, local_ms=LATER_MS)
    assert added.proofs == [proof] and replica.proofs() == [proof]
    (update,) = settled(replica)
    assert replica.trades("AAA") == [] and replica.busted_count == 1
    assert update.position == 1
    assert [order.quantity for order in replica.book("AAA").orders if order.side == "buy"] == [7]
    assert replica.frontier.get(cheat.author).k == 1
    assert replica.add_proof(proof, local_ms=LATER_MS).proofs == []


def test_a_payload_that_does_not_decode_counts_and_touches_no_market() -> None:
    author = TestAuthor(1)
    entries = [author.write(payload=b"\xff"), author.write(buy(10), hlc=at(1))]
    replica = filled(entries)
    assert replica.entry_count == 2 and len(replica.commands("AAA")) == 1
    unknown_market = TestAuthor(2).write(buy(10, market=2), buy(10))
    replica.add([unknown_market], local_ms=LATER_MS)
    settled(replica)
    assert replica.entry_count == 3 and len(replica.commands("AAA")) == 1


def test_an_entry_of_a_stranger_is_refused_where_members_are_fixed() -> None:
    member, stranger = TestAuthor(1), TestAuthor(2)
    genesis = Genesis("closed", [Market("AAA")], members=[member.author])
    replica = Replica(genesis)
    assert replica.may_write(member.author) and not replica.may_write(stranger.author)
    added = replica.add([TestAuthor(2, genesis).write()], local_ms=LATER_MS)
    assert isinstance(added.invalid, InvalidEntry) and added.entries == []
    assert stranger.author not in replica.logs
    inside = TestAuthor(1, genesis).write()
    assert replica.add([inside], local_ms=LATER_MS).entries == [inside]


def test_an_invalid_entry_does_not_keep_the_others_out() -> None:
    good = [TestAuthor(1).write(hlc=at(1)), TestAuthor(2).write(hlc=at(2))]
    early = TestAuthor(3).write(hlc=at(0) - 1)
    added = Replica(GENESIS).add([good[0], early, good[1]], local_ms=LATER_MS)
    assert added.entries == good and isinstance(added.invalid, InvalidEntry)


def test_unknown_markets_and_orders_are_told_apart() -> None:
    replica = filled([TestAuthor(1).write(buy(10))])
    with pytest.raises(UnknownMarket):
        replica.book("CCC")
    with pytest.raises(UnknownMarket):
        replica.order(CommandId("CCC", TestAuthor(1).author, 0, 0))
    status = replica.order(CommandId("AAA", TestAuthor(1).author, 0, 0))
    assert status is not None and status.state == "open"
    assert replica.order(CommandId("AAA", TestAuthor(1).author, 9, 0)) is None


# ---------------------------------------------------------------- pacing


def long_log(length: int) -> tuple[Replica, TestAuthor]:
    author = TestAuthor(1)
    replica = Replica(GENESIS, ReplicaSettings(free_undo=10, undo_window=1_000))
    entries = [author.write(*[buy(5)] * 10, hlc=at(100 + n)) for n in range(length)]
    replica.add(entries, local_ms=LATER_MS)
    replica.settle(now_us=0, local_ms=LATER_MS)
    return replica, author


def test_an_expensive_replay_makes_the_next_one_wait_three_times_its_cost() -> None:
    replica, _ = long_log(20)
    now_us = 5_000_000
    replica.add([TestAuthor(2).write(buy(5), hlc=at(50))], local_ms=LATER_MS)
    replica.settle(now_us=now_us, local_ms=LATER_MS)
    cost_us = (200 + 201) * REPLAY_COST_US
    replica.add([TestAuthor(3).write(buy(5), hlc=at(50))], local_ms=LATER_MS)
    assert replica.next_settle_us() == now_us + REPLAY_PAUSE_FACTOR * cost_us
    due_us = replica.next_settle_us()
    assert due_us is not None
    replica.settle(now_us=due_us - 1, local_ms=LATER_MS)
    assert len(replica.commands("AAA")) == 201 and replica.needs_settling
    replica.settle(now_us=due_us, local_ms=LATER_MS)
    assert len(replica.commands("AAA")) == 202 and not replica.needs_settling


def test_backdated_entries_at_full_rate_buy_a_bounded_share_of_work() -> None:
    """A thousand backdated entries in a second, a settling asked for after each."""
    replica, _ = long_log(100)
    attacker = TestAuthor(2)
    for index in range(1_000):
        replica.add([attacker.write(buy(4), hlc=at(50))], local_ms=LATER_MS)
        replica.settle(now_us=1_000_000 + 1_000 * index, local_ms=LATER_MS)
    work_us = 2 * replica.undone_count * REPLAY_COST_US
    assert 0 < work_us < 1_000_000 // 3
    settled(replica)
    assert len(replica.commands("AAA")) == 2_000


def test_a_cheap_undo_never_waits() -> None:
    replica, author = long_log(20)
    replica.add([TestAuthor(2).write(buy(5), hlc=at(50))], local_ms=LATER_MS)
    replica.settle(now_us=5_000_000, local_ms=LATER_MS)
    replica.add([author.write(buy(5), hlc=at(500))], local_ms=LATER_MS)
    assert replica.next_settle_us() == 0
    replica.settle(now_us=5_000_001, local_ms=LATER_MS)
    assert not replica.needs_settling


def test_a_replay_behind_the_undo_window_gives_the_same_answers() -> None:
    entries = [TestAuthor(1).write(buy(5), hlc=at(100))]
    author = TestAuthor(2)
    entries += [author.write(sell(9 - n % 5), buy(n % 7 + 1), hlc=at(200 + n)) for n in range(40)]
    late = TestAuthor(3).write(buy(9, 30), hlc=at(150))
    small = filled(entries, undo_window=8, snapshot_interval=4)
    small.add([fresh(late)], local_ms=LATER_MS)
    settled(small)
    assert answers(small) == answers(filled([*entries, late]))


# ---------------------------------------------------------------- clocks that misbehave


def test_a_machine_clock_in_1970_costs_nothing_and_changes_no_answer() -> None:
    entries = random_history(1)
    replica = Replica(GENESIS)
    replica.add(map(fresh, entries), local_ms=LATER_MS)  # applied before the clock was lost
    replica.settle(now_us=0, local_ms=100_000)
    assert answers(replica) == answers(filled(entries))
    assert replica.recent_cuts(local_ms=100_000, count=16) == []  # it cannot tell


def test_a_cut_that_a_held_back_entry_lies_below_is_not_told() -> None:
    """After the clock went back, a late entry may wait although older cuts are known already."""
    early, late = TestAuthor(1).write(buy(10), hlc=at(100)), TestAuthor(2).write(hlc=at(30_000))
    replica = Replica(GENESIS)
    replica.add([early], local_ms=LATER_MS)
    settled(replica)
    cuts = replica.recent_cuts(local_ms=START_MS + 40_000, count=16)
    assert cuts[-1].second == second(38)
    back_ms = START_MS + 10_000
    replica.add([late], local_ms=back_ms)
    settled(replica, local_ms=back_ms)
    assert replica.held_count == 1
    assert replica.cut_at(second(38)) is None
    settled(replica)
    honest = filled([early, late])
    honest.recent_cuts(local_ms=START_MS + 40_000, count=16)
    assert replica.cut_at(second(38)) == honest.cut_at(second(38)) is not None


# ---------------------------------------------------------------- audits and healing


def corrupted(what: str) -> tuple[Replica, list[Entry]]:
    entries = random_history(2)
    replica = filled(entries)
    replica.watched = True
    assert replica.corrupt("AAA", what, SeededRandom(5))
    return replica, entries


@pytest.mark.parametrize("what", ["book", "trades"])
def test_an_audit_finds_and_heals_a_damaged_market(what: str) -> None:
    replica, entries = corrupted(what)
    replica.recent_cuts(local_ms=START_MS + 40_000, count=16)
    audit = replica.start_audit(0, second(38))
    assert audit is not None
    steps = 0
    while not audit.step(5):
        steps += 1
    assert steps > 3 and not audit.agrees
    replica.heal(audit)
    assert answers(replica) == answers(filled(entries))


def test_an_audit_of_a_sound_market_agrees() -> None:
    replica = filled(random_history(2))
    replica.recent_cuts(local_ms=START_MS + 40_000, count=16)
    audit = replica.start_audit(1, second(38))
    assert audit is not None
    while not audit.step(1_000):
        pass
    assert audit.agrees


def test_healing_keeps_what_came_during_the_audit() -> None:
    replica, entries = corrupted("book")
    replica.recent_cuts(local_ms=START_MS + 40_000, count=16)
    audit = replica.start_audit(0, second(38))
    assert audit is not None
    audit.step(3)
    late = TestAuthor(9)
    more = [late.write(buy(9, 4), hlc=at(500)), late.write(sell(8, 4), hlc=at(50_000))]
    replica.add(map(fresh, more), local_ms=LATER_MS)
    settled(replica)
    while not audit.step(3):
        pass
    replica.heal(audit)
    assert answers(replica) == answers(filled([*entries, *more]))


def test_cuts_after_healing_say_what_a_sound_replica_says() -> None:
    author = TestAuthor(1)
    entries = [author.write(buy(5), hlc=at(1_000 * n)) for n in range(10)]
    replica = filled(entries)
    now_ms = START_MS + 14_000
    replica.recent_cuts(local_ms=now_ms, count=16)
    assert replica.corrupt("AAA", "book", SeededRandom(1))
    audit = replica.start_audit(0, second(12))
    assert audit is not None
    while not audit.step(100):
        pass
    replica.heal(audit)
    entries.append(author.write(buy(5), hlc=at(13_000)))
    replica.add([fresh(entries[-1])], local_ms=now_ms)
    settled(replica, local_ms=now_ms)
    assert replica.digests_at(second(12)) is not None
    for cut in range(second(1), second(13)):
        digests = replica.digests_at(cut)
        expected = [market.root() for market in naive_markets(entries, below_second=cut)]
        assert digests is None or [one.root for one in digests] == expected, cut - second(0)


def test_damage_that_breaks_the_engine_rebuilds_the_market(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = random_history(4)
    replica = filled(entries)
    engine = replica._state("AAA").engine
    engine._states.clear()
    engine._book.halves[0].ranks.append(3)  # a rank without a level
    late = TestAuthor(9).write(sell(1, 500), hlc=at(59_000))
    replica.add([fresh(late)], local_ms=LATER_MS)
    settled(replica)
    assert replica.rebuilt_count == 1
    assert answers(replica) == answers(filled([*entries, late]))


def test_scrubbing_notices_memory_that_changed_without_a_command() -> None:
    replica = filled([TestAuthor(1).write(buy(10, 5), hlc=at(0))])
    sound = filled([TestAuthor(1).write(buy(10, 5), hlc=at(0))])
    replica.book_root()
    replica.corrupt("AAA", "book", SeededRandom(3))
    cut = replica.recent_cuts(local_ms=START_MS + 10_000, count=1)[-1]
    assert cut.frontier_root == sound.recent_cuts(local_ms=START_MS + 10_000, count=1)[-1][1]
    assert cut.book_root != sound.recent_cuts(local_ms=START_MS + 10_000, count=1)[-1][2]
