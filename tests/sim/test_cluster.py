"""The simulated world does what its calls say, and the same again from the same seed."""

import pytest
from twins.scenario import GENESIS, cluster_of, limit, trade

import gossipbook as gb


def test_the_same_seed_gives_the_same_trace_and_another_seed_another() -> None:
    def run(seed: int) -> tuple[bytes, bytes]:
        cluster = gb.sim.Cluster(GENESIS, peers=4, seed=seed, link=gb.sim.Link(loss=0.2))
        trade(cluster, 20, at=[0, 1, 2, 3])
        cluster.run_until_converged(30)
        return cluster.trace_hash, cluster.peers[0].root

    assert run(1) == run(1)
    assert run(1)[0] != run(2)[0]


def test_a_submit_advances_no_time_and_is_on_disk_when_it_returns() -> None:
    cluster = cluster_of(3)
    before = cluster.now_us
    receipt = cluster.submit(1, limit())
    assert cluster.now_us == before
    assert [entry.id for entry in cluster.peers[1].store.entries] == [receipt.entry_id]
    assert cluster.peers[0].entry_count == 0, "nobody else has it yet"


def test_a_list_is_one_entry_and_gives_a_list_of_receipts() -> None:
    cluster = cluster_of(2)
    receipts = cluster.submit(0, [limit(), limit("sell", 101)])
    assert [receipt.command_id.index for receipt in receipts] == [0, 1]
    assert len({receipt.entry_id for receipt in receipts}) == 1
    assert isinstance(cluster.submit(0, limit()), gb.Receipt)


def test_a_list_with_one_wrong_command_submits_nothing() -> None:
    cluster = cluster_of(2)
    with pytest.raises(gb.UnknownMarket):
        cluster.submit(0, [limit(), limit(market="THREE")])
    assert cluster.peers[0].entry_count == 0
    for wrong in ([], [limit()] * 257):
        with pytest.raises(gb.InvalidCommand, match="1 to 256"):
            cluster.submit(0, wrong)


def test_what_is_in_flight_may_be_lost_by_a_crash_and_never_lands_later() -> None:
    cluster = cluster_of(2)
    pending = cluster.submit_nowait(0, limit())
    assert not pending.done
    cluster.crash(0)
    cluster.run_for(1)
    assert not pending.done
    assert cluster.counters.unpersisted_entries_lost == 1
    assert cluster.peers[0].store.entries == []


def test_a_write_lands_by_itself() -> None:
    cluster = cluster_of(2)
    pending = cluster.submit_nowait(0, limit())
    cluster.run_for(0.01)
    assert pending.receipts is not None and pending.error is None


def test_a_partition_replaces_the_one_before_it_and_healing_twice_is_fine() -> None:
    cluster = cluster_of(3)
    cluster.partition({0})
    cluster.partition({2})
    assert cluster.partitioned == {2}
    assert not cluster.is_cut(0, 1) and cluster.is_cut(1, 2) and cluster.is_cut(2, 1)
    cluster.heal()
    cluster.heal()
    assert not cluster.is_cut(1, 2)


def test_a_one_way_partition_loses_only_what_the_group_sends() -> None:
    cluster = cluster_of(3)
    cluster.partition({0}, one_way=True)
    assert cluster.is_cut(0, 1) and not cluster.is_cut(1, 0)
    cluster.submit(0, limit())
    cluster.submit(1, limit())
    cluster.run_for(0.5)
    assert cluster.peers[0].entry_count == 2
    assert cluster.peers[1].entry_count == 1


def test_peers_keep_their_indices() -> None:
    cluster = cluster_of(3)
    cluster.leave(1)
    assert cluster.join() == 3
    assert [peer.index for peer in cluster.peers] == [0, 1, 2, 3]
    assert not cluster.peers[1].alive


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda cluster: cluster.run_for(-1), "backwards"),
        (lambda cluster: cluster.run_for(float("nan")), "no number of seconds"),
        (lambda cluster: cluster.run_until_converged(float("inf")), "no number of seconds"),
        (lambda cluster: cluster.set_clock_offset(0, "5"), "no number of seconds"),
        (lambda cluster: cluster.on_step(None), "takes the cluster"),
        (lambda cluster: cluster.submit(9, limit()), "no peer 9"),
        (lambda cluster: cluster.partition({0, 7}), "no peer 7"),
        (lambda cluster: cluster.restart(0), "is running"),
        (lambda cluster: cluster.corrupt(0, "THREE"), "THREE"),
        (lambda cluster: gb.sim.Cluster(GENESIS, peers=0), "at least one"),
        (lambda cluster: gb.sim.Cluster(GENESIS, store_delay=(2.0, 1.0)), "store_delay"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(call: object, words: str) -> None:
    with pytest.raises(gb.UsageError, match=words):
        call(cluster_of(2))  # type: ignore[operator]


def test_a_restart_takes_only_the_three_kinds_of_store() -> None:
    cluster = cluster_of(2)
    cluster.crash(0)
    with pytest.raises(gb.UsageError, match="kept"):
        cluster.restart(0, "burnt")
    with pytest.raises(gb.UsageError, match="is down"):
        cluster.submit(0, limit())


def test_not_converged_says_what_differs() -> None:
    cluster = cluster_of(3)
    cluster.partition({2})
    cluster.submit(2, limit())
    with pytest.raises(gb.NotConverged) as raised:
        cluster.run_until_converged(2)
    text = str(raised.value)
    assert "partition is in force: [2]" in text
    assert "1 entries" in text and "nothing at [0, 1]" in text
    assert "market ONE" in text


def test_a_report_has_a_line_for_every_peer_that_is_up() -> None:
    cluster = cluster_of(3)
    trade(cluster, 9, at=[0, 1, 2])
    cluster.crash(1)
    report = cluster.run_until_converged(5)
    assert [peer.index for peer in report.peers] == [0, 2]
    assert {peer.root for peer in report.peers} == {report.root}
    assert {peer.entries for peer in report.peers} == {9}


def test_checks_run_after_every_step_and_what_they_raise_comes_out() -> None:
    cluster = gb.sim.Cluster(GENESIS, peers=2)
    seen = []
    cluster.on_step(lambda one: seen.append(one.now_us))
    cluster.run_for(0.5)
    assert len(seen) == cluster.counters.steps > 10

    def fail(_: gb.sim.Cluster) -> None:
        raise AssertionError("broken")

    cluster.on_step(fail)
    with pytest.raises(AssertionError, match="broken"):
        cluster.run_for(2)


def test_the_transcript_gives_the_same_trace_again() -> None:
    cluster = gb.sim.Cluster(GENESIS, peers=4, seed=9, link=gb.sim.Link(loss=0.1))
    trade(cluster, 10, at=[0, 1, 2, 3])
    cluster.partition({0, 1}, one_way=True)
    mine = cluster.submit(0, [limit("sell", 120, 5), limit("buy", 80)])
    cluster.submit(0, gb.ReplaceOrder(mine[0].order_id, price=121, quantity=4))
    cluster.submit(0, gb.CancelOrder(mine[1].order_id))
    cluster.submit_nowait(1, gb.MarketOrder("TWO", "sell", quantity=3))
    cluster.run_for(1)
    cluster.heal()
    cluster.equivocate(3, branches=3)
    gb.sim.adversaries.Garbage(cluster, 2).begin()
    cluster.run_for(1)
    cluster.set_clock_offset(1, 2.5)
    cluster.corrupt(0, "ONE")
    cluster.crash(1)
    cluster.join()
    cluster.restart(1, "stale")
    cluster.set_link(gb.sim.Link(latency=(0.001, 0.002)))
    cluster.run_for(3.25)
    again: dict[str, gb.sim.Cluster] = {}
    exec(cluster.transcript(), again)
    assert again["cluster"].trace_hash == cluster.trace_hash
    assert again["cluster"].now_us == cluster.now_us


@pytest.mark.parametrize(
    "name",
    ["Backdater", "Claimer", "FarFuture", "Flooder", "Forger", "HeadLiar", "Withholder"],
)
def test_adversaries_stand_in_the_transcript(name: str) -> None:
    cluster = gb.sim.Cluster(GENESIS, peers=3, seed=1)
    cluster.run_for(0.5)
    options = {"authors": [0]} if name == "Withholder" else {"interval_s": 0.2}
    getattr(gb.sim.adversaries, name)(cluster, 2, **options).begin()
    cluster.submit(0, limit())
    cluster.run_for(1.5)
    again: dict[str, gb.sim.Cluster] = {}
    exec(cluster.transcript(), again)
    assert again["cluster"].trace_hash == cluster.trace_hash
    assert not again["cluster"].peers[2].correct


def test_a_cheat_ends_with_the_life_of_its_peer() -> None:
    cluster = cluster_of(3)
    cheat = gb.sim.adversaries.Backdater(cluster, 2)
    cheat.begin()
    cluster.run_for(0.5)
    cluster.crash(2)
    cluster.run_for(0.5)
    acts = cheat.acts
    cluster.restart(2)
    cluster.run_for(1)
    assert cheat.done and cheat.acts == acts > 10
    assert not cluster.peers[2].correct


def test_a_large_cluster_converges_although_not_all_are_linked() -> None:
    cluster = gb.sim.Cluster(GENESIS, peers=40, seed=3)
    cluster.run_for(2)
    for index in range(40):
        cluster.submit(index, limit())
    cluster.run_until_converged(20)
    assert {peer.entry_count for peer in cluster.peers} == {40}
