"""Schedules that ran in the simulator run again on trio peers, and lead to the same.

Where links are even (a fixed latency, so that no clock is corrected) every entry is signed at the
same time in both worlds, and the two must agree to the last byte of the roots. Where anything goes,
the trio peers must agree with each other and with the slow twin that reads the merged log once.
"""

from collections import Counter
from dataclasses import replace
from typing import ClassVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test
from twins.replay import naive_replay
from twins.trio_world import RecordingCluster, TrioWorld, play_on_trio

import gossipbook as gb
from gossipbook.sim.strategies import (
    Adversary,
    Begin,
    ClockOffset,
    ClusterMachine,
    Corrupt,
    Equivocate,
    LinkQuality,
    Schedule,
    ScheduleRun,
    fault_schedules,
    make_genesis,
)

GENESIS = make_genesis(2)
quietly = settings(
    deadline=None,
    database=None,
    report_multiple_bugs=False,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


class TwoWorldsMachine(ClusterMachine):
    """What happened in the simulator happens again on trio peers."""

    link = gb.Link(latency=(0.02, 0.02), loss=0.1, duplication=0.1)
    cluster_type = RecordingCluster
    tally: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.cluster.run_for(0.0005)  # the middle of a millisecond: no clock is on the border

    @rule(market=st.integers(0, 1), lots=st.lists(st.integers(1, 9), min_size=4, max_size=8))
    def trade(self, market: int, lots: list[int]) -> None:
        """Everybody in turn buys and sells at one price."""
        symbol = self.genesis.markets[market].symbol
        for turn, quantity in enumerate(lots):
            peer = self._some_peer_up(turn)
            if peer is not None:
                side = "buy" if turn % 2 else "sell"
                self._submit(peer, gb.LimitOrder(symbol, side, price=100, quantity=quantity))
                self.cluster.run_for(0.003)

    def teardown(self) -> None:
        cluster = self.cluster
        assert isinstance(cluster, RecordingCluster)
        super().teardown()
        if cluster.calls:
            play_on_trio(cluster, self.judge)

    def judge(self, world: TrioWorld) -> None:
        cluster, tally = self.cluster, self.tally
        assert isinstance(cluster, RecordingCluster)
        simulated, peers = cluster.correct_peers[0], world.running
        assert len(peers) == len(cluster.peers) and world.refused == 0
        tally["runs"] += 1
        tally["crashes"] += sum(call.method == "crash" for call in cluster.calls)
        tally["partitions"] += sum(call.method == "partition" for call in cluster.calls)
        tally["trades"] += simulated.replica.trade_count()
        if world.delayed:  # signed later, perhaps together: other timestamps and command ids
            tally["delayed"] += 1
            for market in self.genesis.markets:
                said = Counter(
                    record.command_id.author for record in peers[0].commands(market.symbol)
                )
                told = Counter(
                    record.command_id.author for record in simulated.commands(market.symbol)
                )
                assert said == told, f"{market.symbol}: everybody said as much in both worlds"
            return
        for peer in peers:
            assert peer.frontier_root == simulated.frontier_root
            assert peer.root == simulated.root
            for market in self.genesis.markets:
                assert peer.trades(market.symbol) == simulated.trades(market.symbol)
                assert peer.commands(market.symbol) == simulated.commands(market.symbol)


def test_the_cluster_machine_gives_the_same_roots_on_trio_peers() -> None:
    TwoWorldsMachine.tally.clear()
    run_state_machine_as_test(
        TwoWorldsMachine,
        settings=settings(quietly, max_examples=60, stateful_step_count=30, derandomize=True),
    )
    tally = TwoWorldsMachine.tally
    assert tally["runs"] >= 40 and tally["trades"] > 200, tally
    assert tally["crashes"] > 10 and tally["partitions"] > 10, tally
    assert tally["delayed"] * 4 < tally["runs"], f"too few were comparable: {tally}"


def tamed(schedule: Schedule) -> Schedule:
    """Without cheats and rot (trio has no hook for them), and with clocks seconds off, no more."""
    steps, numbers, begun = [], {}, 0
    for step in schedule.steps:
        if isinstance(step, Begin):
            number, fault = begun, step.fault
            begun += 1
            if isinstance(fault, Equivocate | Adversary | Corrupt):
                continue
            if isinstance(fault, ClockOffset):
                fault = replace(fault, seconds=fault.seconds % 5 - 2)
            if isinstance(fault, LinkQuality):
                fault = replace(fault, link=replace(fault.link, bandwidth=None))
            numbers[number] = len(numbers)
            steps.append(Begin(fault))
        elif hasattr(step, "number"):
            if step.number in numbers:
                steps.append(replace(step, number=numbers[step.number]))
        else:
            steps.append(step)
    return replace(schedule, steps=tuple(steps))


class RecordingRun(ScheduleRun):
    cluster_type = RecordingCluster


def check_against_twin(world: TrioWorld) -> None:
    first, *others = world.running
    entries = [entry for log in first.replica.logs.values() for entry in log.entries]
    twins = naive_replay(world.genesis, entries, until_ms=1 << 46)
    assert first.replica.held_count == 0, "everything has been applied"
    for peer in (first, *others):
        for symbol, naive in twins.items():
            assert [record.command_id for record in peer.commands(symbol)] == [
                events[0].command_id for events in naive.events
            ]
            assert peer.book(symbol).root == naive.root()
            assert peer.trades(symbol) == first.trades(symbol)
    held = {entry.id for entry in entries}
    kept = [receipt for receipt in world.receipts if receipt.entry_id in held]
    assert len(kept) == len(world.receipts), "an order with a receipt is gone"


def test_fault_schedules_end_equal_and_right_on_trio_peers() -> None:
    tally: Counter[str] = Counter()

    @seed(2)
    @settings(quietly, max_examples=40)
    @given(
        schedule=fault_schedules(min_peers=3, markets=2, min_orders=30, min_faults=3),
        cluster_seed=st.integers(0, 65_535),
    )
    def one_schedule(schedule: Schedule, cluster_seed: int) -> None:
        run = RecordingRun(tamed(schedule), GENESIS, cluster_seed)
        run.play_steps()
        cluster = run.cluster
        assert isinstance(cluster, RecordingCluster)

        def judge(world: TrioWorld) -> None:
            check_against_twin(world)
            counters = world.network.counters
            tally["receipts"] += len(world.receipts)
            tally["refused"] += world.refused
            tally["lost"] += counters.messages_lost
            tally["cut"] += counters.messages_cut
            tally["undone"] += sum(p.replica.undone_count for p in world.running)

        play_on_trio(cluster, judge, seed=cluster_seed)

    one_schedule()
    assert all(tally[what] > 10 for what in ("receipts", "refused", "lost", "cut", "undone")), tally
