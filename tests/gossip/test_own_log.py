"""Our own entries: one in flight, none signed unconfirmed, none counted before it is on disk."""

from twins.authors import GENESIS, START_MS, TestAuthor, at, buy

from gossipbook.book.payload import MAX_COMMANDS, decode_payload
from gossipbook.errors import ClockError, IdentityForked, OwnHeadUnconfirmed, WriteRolledBack
from gossipbook.gossip.config import GossipConfig
from gossipbook.gossip.own_log import InFlight, OwnLog
from gossipbook.log.clock import Instant, NetworkClock, hlc_milliseconds
from gossipbook.log.entry import NO_ENTRY, signature_is_good
from gossipbook.replica import Replica

NOW = Instant(1_000_000, START_MS * 1_000 + 5_000_000)
NOW_MS = START_MS + 5_000


class Desk:
    """A peer's own log with everything around it, but no network."""

    def __init__(self, *, confirmed: bool = True) -> None:
        self.author = TestAuthor(1)
        self.replica = Replica(GENESIS)
        self.clock = NetworkClock()
        self.own = OwnLog(
            self.author.keypair, self.replica, self.clock, GossipConfig(), confirmed=confirmed
        )

    def take(self, now: Instant = NOW) -> InFlight:
        batch, refused = self.own.take_batch(now)
        assert batch is not None and not refused
        return batch

    def land(self) -> None:
        self.replica.add([self.own.landed().entry], local_ms=NOW_MS)


def test_submits_that_come_together_share_an_entry() -> None:
    desk = Desk()
    desk.own.submit(1, (buy(1), buy(2)), 0)
    desk.own.submit(2, (buy(3),), 0)
    batch = desk.take()
    assert batch.submits == [(1, 0), (2, 2)]
    assert decode_payload(batch.entry.payload, 2) == (buy(1), buy(2), buy(3))
    assert (batch.entry.seq, batch.entry.prev) == (0, NO_ENTRY)
    assert signature_is_good(batch.entry.author, batch.entry.id, batch.entry.signature)
    assert hlc_milliseconds(batch.entry.hlc) == NOW_MS
    assert desk.own.queued_count == 0


def test_one_entry_is_in_flight_and_the_rest_forms_the_next_batch() -> None:
    desk = Desk()
    desk.own.submit(1, (buy(1),), 0)
    first = desk.take()
    desk.own.submit(2, (buy(2),), 0)
    desk.own.submit(3, (buy(3),), 0)
    assert desk.own.take_batch(NOW) == (None, [])
    desk.land()
    second = desk.take()
    assert [token for token, _ in second.submits] == [2, 3]
    assert (second.entry.seq, second.entry.prev) == (1, first.entry.id)
    assert second.entry.hlc > first.entry.hlc


def test_an_entry_in_flight_counts_nowhere() -> None:
    desk = Desk()
    desk.own.submit(1, (buy(1),), 0)
    desk.take()
    assert desk.replica.head(desk.author.author).length == 0


def test_a_batch_holds_at_most_256_commands_and_splits_no_submit() -> None:
    desk = Desk()
    for token, size in enumerate((100, 100, 100, MAX_COMMANDS)):
        desk.own.submit(token, (buy(1),) * size, 0)
    sizes = []
    while desk.own.queued_count:
        sizes.append([token for token, _ in desk.take().submits])
        desk.land()
    assert sizes == [[0, 1], [2], [3]]


def test_a_rolled_back_write_refuses_its_submits_and_frees_the_seq() -> None:
    desk = Desk()
    desk.own.submit(1, (buy(1),), 0)
    desk.take()
    ((token, error),) = desk.own.failed("disk full")
    assert token == 1 and type(error) is WriteRolledBack and "disk full" in str(error)
    desk.own.submit(2, (buy(2),), 0)
    assert desk.take().entry.seq == 0


def test_nothing_is_signed_before_our_head_is_confirmed() -> None:
    desk = Desk(confirmed=False)
    desk.own.submit(1, (buy(1),), 10)
    desk.own.submit(2, (buy(1),), 99)
    assert desk.own.take_batch(NOW) == (None, [])
    deadline_us = 10 + GossipConfig().confirm_timeout_us
    assert desk.own.next_deadline_us() == deadline_us
    assert desk.own.expired(deadline_us - 1) == []
    ((token, error),) = desk.own.expired(deadline_us)
    assert token == 1 and isinstance(error, OwnHeadUnconfirmed)
    desk.own.confirmed = True
    assert desk.own.next_deadline_us() is None
    assert [token for token, _ in desk.take().submits] == [2]


def test_a_submit_can_be_withdrawn_until_its_batch_is_taken() -> None:
    desk = Desk()
    desk.own.submit(1, (buy(1),), 0)
    desk.own.submit(2, (buy(2),), 0)
    desk.own.withdraw(1)
    batch = desk.take()
    desk.own.withdraw(2)
    assert [token for token, _ in batch.submits] == [2] and desk.own.in_flight is batch


def test_a_clock_ahead_of_the_median_is_told_before_signing() -> None:
    """The correction ends at a minute, so a machine five minutes ahead would sign the future."""
    desk = Desk()
    desk.clock.update([-300_000_000, -300_000_000])
    desk.own.submit(1, (buy(1),), 0)
    batch, refused = desk.own.take_batch(NOW)
    ((token, error),) = refused
    assert batch is None and token == 1 and isinstance(error, ClockError)
    assert "295000 ms ahead" in str(error)  # never dated before the network's start
    assert desk.own.queued_count == 0 and desk.own.in_flight is None


def test_twice_the_tolerance_ahead_is_still_signed_and_no_more() -> None:
    for ahead_ms, signed in ((500, True), (501, False)):
        desk = Desk()
        desk.replica.clock.observe((NOW_MS + ahead_ms << 16) - 1)
        desk.own.submit(1, (buy(1),), 0)
        batch, refused = desk.own.take_batch(NOW)
        assert (batch is not None) == signed == (not refused)


def test_an_entry_is_dated_after_everything_applied() -> None:
    desk = Desk()
    other = TestAuthor(2).write(hlc=at(5_100, 7))
    desk.replica.add([other], local_ms=NOW_MS)
    desk.own.submit(1, (buy(1),), 0)
    assert desk.take().entry.hlc == at(5_100, 8)


def test_own_entries_from_elsewhere_are_our_past_until_we_have_signed() -> None:
    desk = Desk()
    desk.own.saw_own_entries_elsewhere()
    assert not desk.own.forked and desk.own.forked_error_if_any() is None
    desk.own.submit(1, (buy(1),), 0)
    desk.take()
    desk.own.saw_own_entries_elsewhere()
    assert not desk.own.forked, "it may yet be rolled back"
    desk.own.landed()
    desk.own.saw_own_entries_elsewhere()
    assert desk.own.forked


def test_a_forked_identity_refuses_every_submit() -> None:
    desk = Desk()
    desk.own.forked = True
    for token in (1, 2):
        desk.own.submit(token, (buy(1),), 0)
    batch, refused = desk.own.take_batch(NOW)
    assert batch is None and [token for token, _ in refused] == [1, 2]
    assert all(isinstance(error, IdentityForked) for _, error in refused)
