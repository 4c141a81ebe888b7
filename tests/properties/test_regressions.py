"""Schedules that failed once, cut down by hand to what made them fail."""

import pytest
from twins.schedules import check_run

import gossipbook as gb
from gossipbook.gossip.messages import Want, decode_message
from gossipbook.sim import adversaries
from gossipbook.sim.strategies import (
    Begin,
    CancelNth,
    ClockOffset,
    Corrupt,
    Crash,
    Equivocate,
    Join,
    Leave,
    Partition,
    RunFor,
    Schedule,
    ScheduleRun,
    Submit,
    make_genesis,
)

GENESIS = make_genesis(2)
TEA = gb.LimitOrder("MARKET-0", "buy", price=100, quantity=1)
LINK = gb.sim.Link(latency=(0.001, 0.002))


def test_a_peer_that_stored_the_proof_of_its_own_fork_does_not_sign_after_a_restart() -> None:
    # It signed an entry at a void seq, and fell over its own assertion when that was on disk.
    cluster = gb.sim.Cluster(GENESIS, peers=3, seed=1)
    cluster.run_for(1.0)
    cluster.submit(0, TEA)
    cluster.equivocate(0)
    cluster.run_for(3.0)
    for index in range(3):
        cluster.crash(index)
    cluster.restart(0)  # nobody to ask: it may sign at once
    with pytest.raises(gb.IdentityForked):
        cluster.submit(0, TEA)


def test_memory_that_rots_after_the_clock_went_back_is_noticed() -> None:
    # Cuts ahead of the clock kept the peer from comparing until the clock had caught up.
    cluster = gb.sim.Cluster(GENESIS, peers=3, seed=1)
    cluster.set_clock_offset(0, 150)
    cluster.run_for(2.0)
    cluster.submit(1, TEA)
    cluster.run_for(200.0)
    cluster.set_clock_offset(0, 0)
    cluster.run_for(5.0)
    assert cluster.corrupt(0, "MARKET-0", "book")
    cluster.run_for(15.0)
    told = [event.status for event in cluster.peers[0].events if isinstance(event, gb.Divergence)]
    assert told == ["claimed", "healed"]


def test_the_only_correct_peer_is_healed_by_what_the_cheats_hold() -> None:
    # The schedule was judged before anybody had compared: there was no other correct peer.
    steps = (
        *(Submit(0, (TEA,)) for _ in range(10)),
        Begin(Equivocate(1, 2)),
        Begin(Leave(1)),
        *(Submit(0, (TEA,)) for _ in range(10)),
        RunFor(2_000),
        Begin(Corrupt(0, "MARKET-0", "book")),
        *(Submit(0, (TEA,)) for _ in range(10)),
        Begin(Equivocate(2, 2)),
    )
    for seed in range(5):
        run = ScheduleRun(Schedule(3, LINK, (0.0005, 0.002), (0.0, 0.0), steps), GENESIS, seed)
        run.play()
        check_run(run)


def test_entries_that_came_before_their_ancestors_are_not_asked_for_again_and_again() -> None:
    # While the request for the ancestors was lost, the rest was fetched at the speed of the link.
    cluster = gb.sim.Cluster(GENESIS, peers=2, seed=1, link=LINK)
    cluster.run_for(2.0)
    cluster.submit(0, TEA)
    cluster.run_for(0.1)
    cluster.partition({0}, one_way=True)
    for _ in range(3):
        cluster.submit(0, TEA)
        cluster.run_for(0.05)
    cluster.heal()
    wants: list[int] = []

    def lose_the_first_want(data: bytes) -> bool:
        if isinstance(decode_message(data, max_size=len(data)), Want):
            wants.append(cluster.now_us)
            return len(wants) > 1
        return True

    cluster.peers[1].outgoing = lose_the_first_want
    for _ in range(3):
        cluster.submit(0, TEA)
        cluster.run_for(0.05)
    cluster.run_until_converged(10.0)
    assert 1 <= len(wants) <= 4


def test_a_stale_store_does_not_take_a_far_future_entry_for_the_time() -> None:
    cluster = gb.sim.Cluster(GENESIS, peers=3, seed=1)
    cluster.run_for(1.0)
    adversaries.FarFuture(cluster, 0).begin()
    cluster.run_for(3.0)
    cluster.submit(1, TEA)
    for stale in range(2):
        cluster.crash(2)
        cluster.restart(2, store="stale")
        cluster.run_for(1.0 + stale)
    cluster.run_until_converged()
    assert cluster.peers[2].replica.held_count == 3
    cluster.submit(2, TEA)


def test_rot_that_was_cancelled_before_anybody_compared_leaves_books_and_trades_right() -> None:
    # The cancel of a rotten order names a quantity that nobody had: no digest covers that.
    schedule = Schedule(
        peers=3,
        link=LINK,
        store_delay=(0.0005, 0.002),
        verify_delay=(0.0, 0.0),
        steps=(
            RunFor(1_000),
            Submit(0, (TEA,)),
            RunFor(100),
            Begin(Corrupt(1, "MARKET-0", "book")),
            Submit(0, (CancelNth(0),)),
            Begin(Crash(2)),
            RunFor(500),
        ),
    )
    run = ScheduleRun(schedule, GENESIS, seed=0)
    run.play()
    assert run.corrupted
    check_run(run)


def test_what_comes_late_from_a_cheat_is_applied_once_its_clock_is_forgotten() -> None:
    # The only correct peer joins late, and the cheat it links to pulls its clock 15 s back: what
    # the others wrote meanwhile is held back until newer pings have set the clock right.
    schedule = Schedule(
        peers=3,
        link=gb.Link(latency=(0.005, 0.05)),
        store_delay=(0.0005, 0.002),
        verify_delay=(0.0, 0.0),
        steps=(
            *[Submit(0, (TEA,)) for _ in range(4)],
            RunFor(100),
            Submit(0, (CancelNth(0),)),
            Submit(0, (TEA,)),
            Begin(Equivocate(0, 2)),
            Begin(Equivocate(1, 2)),
            Begin(Partition((0, 2))),
            Begin(Join()),
            *[Submit(0, (TEA,)) for _ in range(4)],
            RunFor(200),
            *[Submit(0, (TEA,)) for _ in range(3)],
            Begin(ClockOffset(1, -30)),
            Submit(0, (TEA,)),
            Begin(Equivocate(2, 2)),
            RunFor(1_200),
            Submit(0, (TEA,)),
        ),
    )
    run = ScheduleRun(schedule, GENESIS, seed=0)
    run.play()
    (correct,) = run.cluster.correct_peers
    assert correct.index == 3
    check_run(run)
    assert correct.replica.held_count == 0 and correct.commands("MARKET-0")
