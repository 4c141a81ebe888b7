"""Power loss, old backups, full disks and clocks that are wrong."""

import pytest
from twins.scenario import cluster_of, events_of, limit, trade

import gossipbook as gb
from gossipbook.sim.checkers import check_all, check_no_false_forks

# ------------------------------------------------------------------ disks


@pytest.mark.parametrize("seed", range(5))
def test_after_power_loss_the_same_log_goes_on(seed: int) -> None:
    cluster = cluster_of(4, seed=seed, store_delay=(0.001, 0.02))
    trade(cluster, 12, at=[0, 1, 2, 3])
    lost = 0
    for _ in range(5):
        cluster.submit(2, limit())
        pending = cluster.submit_nowait(2, limit("sell", 110))
        cluster.run_for(0.0005)
        cluster.crash(2)
        lost += not pending.done
        trade(cluster, 6, at=[0, 1])
        cluster.restart(2)
        cluster.run_for(1.5)
        cluster.submit(2, limit())
    assert lost and cluster.counters.unpersisted_entries_lost >= lost
    cluster.run_until_converged(20)
    log = cluster.peers[0].replica.logs[cluster.peers[2].peer_id]
    assert log.length == 3 + 5 * 2 + (5 - lost), "what was lost left no gap and no fork"
    check_all(cluster)


@pytest.mark.parametrize("store", ["stale", "lost"])
def test_an_old_store_looks_before_it_signs(store: str) -> None:
    cluster = cluster_of(4)
    trade(cluster, 40, at=[0, 1, 2, 3])
    cluster.run_until_converged(5)
    cluster.crash(3)
    cluster.restart(3, store)
    own = cluster.peers[3].peer_id
    assert cluster.peers[3].replica.head(own).length < 10
    with pytest.raises(gb.OwnHeadUnconfirmed, match="alone=True"):
        cluster.submit(3, limit())
    cluster.run_for(3)
    assert cluster.peers[3].replica.head(own).length == 10, "its own past came back"
    receipt = cluster.submit(3, limit())
    assert receipt.command_id.seq == 10
    cluster.run_until_converged(10)
    check_all(cluster)
    for peer in cluster.peers:
        assert peer.proofs() == []


WAN = gb.sim.Link(latency=(0.05, 0.15))
LOSSY = gb.sim.Link(latency=(0.05, 0.15), loss=0.3)


@pytest.mark.parametrize(("peers", "link"), [(2, LOSSY), (3, LOSSY), (2, WAN)])
@pytest.mark.parametrize("seed", range(4))
def test_a_lost_store_never_forks_the_log(peers: int, link: gb.sim.Link, seed: int) -> None:
    cluster = cluster_of(peers, seed=seed, link=link, settled_s=1)
    own = cluster.peers[0].peer_id
    while cluster.peers[0].replica.head(own).length < 300:
        for _ in range(20):
            cluster.submit_nowait(0, limit())
        cluster.run_for(0.05)
    cluster.run_until_converged(60)  # what nobody else holds cannot come back
    length = cluster.peers[0].replica.head(own).length
    cluster.crash(0)
    cluster.run_for(0.3)
    cluster.restart(0, "lost")
    for _ in range(10):  # as soon as it may
        pending = cluster.submit_nowait(0, limit())
        while not pending.done:
            cluster.run_for(0.05)
        if pending.error is None:
            break
    assert pending.error is None
    cluster.run_for(3)
    assert [proof for peer in cluster.peers for proof in peer.proofs()] == []
    assert cluster.peers[0].replica.head(own).length == length + 1


def test_a_restart_while_cut_off_signs_nothing_until_somebody_answers() -> None:
    cluster = cluster_of(3)
    trade(cluster, 12, at=[0, 1, 2])
    cluster.crash(2)
    cluster.partition({2})
    cluster.restart(2, "stale")
    pending = cluster.submit_nowait(2, limit())
    cluster.run_for(10)
    assert isinstance(pending.error, gb.OwnHeadUnconfirmed)
    cluster.heal()
    cluster.run_for(40)
    cluster.submit(2, limit())
    cluster.run_until_converged(10)
    assert all(peer.proofs() == [] for peer in cluster.peers)
    check_all(cluster)


def test_a_liar_cannot_keep_a_restarted_peer_from_signing() -> None:
    cluster = cluster_of(4)
    trade(cluster, 16, at=[0, 1, 2, 3])
    gb.sim.adversaries.HeadLiar(cluster, 3).begin()
    cluster.crash(0)
    cluster.restart(0)
    cluster.run_for(3)
    assert cluster.submit(0, limit()).command_id.seq == 4
    cluster.run_until_converged(10)
    check_all(cluster)


def test_a_key_used_elsewhere_is_noticed() -> None:
    cluster = cluster_of(4)
    trade(cluster, 16, at=[0, 1, 2, 3])
    cluster.run_until_converged(5)
    cluster.crash(3)
    # A newcomer that knows nothing confirms the empty store, and what it signs forks the log.
    newcomer = cluster.join()
    cluster.partition({3, newcomer})
    cluster.crash(newcomer)
    cluster.restart(newcomer, "lost")
    cluster.restart(3, "lost")
    cluster.run_for(40)
    cluster.submit(3, limit())
    cluster.heal()
    cluster.run_for(40)
    with pytest.raises(gb.IdentityForked):
        cluster.submit(3, limit())
    cluster.run_until_converged(20)
    for peer in cluster.peers:
        assert [proof.author for proof in peer.proofs()] == [cluster.peers[3].peer_id]
    check_all(cluster)


def test_a_full_disk_refuses_and_leaves_the_number_free() -> None:
    cluster = cluster_of(3)
    first = cluster.submit(1, limit())
    cluster.set_store_failing(1, True)
    for _ in range(3):
        with pytest.raises(gb.GossipbookError, match="nothing was sent: the disk is full"):
            cluster.submit(1, limit())
        cluster.run_for(0.5)
    trade(cluster, 10, at=[0, 2])
    assert cluster.peers[1].replica.head(cluster.peers[1].peer_id).length == 1
    cluster.set_store_failing(1, False)
    again = cluster.submit(1, limit())
    assert again.command_id.seq == first.command_id.seq + 1
    cluster.run_until_converged(10)
    assert cluster.counters.writes_failed >= 3
    check_all(cluster)


def test_what_a_full_disk_could_not_keep_comes_back_after_a_restart() -> None:
    cluster = cluster_of(3)
    cluster.set_store_failing(1, True)
    trade(cluster, 20, at=[0, 2])
    cluster.run_for(1)
    cluster.set_store_failing(1, False)
    cluster.crash(1)
    cluster.restart(1)
    trade(cluster, 20, at=[0, 2])
    cluster.run_until_converged(20)
    assert cluster.peers[1].entry_count == 40
    check_all(cluster)


# ------------------------------------------------------------------ clocks


def test_a_clock_within_the_bound_is_corrected() -> None:
    cluster = cluster_of(5)
    cluster.set_clock_offset(1, 20)
    cluster.set_clock_offset(2, -20)
    cluster.run_for(15)
    receipts = trade(cluster, 40, at=[0, 1, 2, 3])
    cluster.run_until_converged(5)
    for peer in cluster.correct_peers:
        assert peer.replica.held_count == 0
        true_ms = (cluster.epoch_us + cluster.now_us) // 1000
        assert abs(peer.running.local_ms - true_ms) < 300
        assert events_of(cluster, peer.index, gb.ClockSkew) == []
    assert len(receipts) == 40
    check_all(cluster)


def test_a_clock_minutes_ahead_is_told_and_signs_nothing() -> None:
    cluster = cluster_of(4)
    cluster.set_clock_offset(1, 300)
    cluster.run_for(15)
    with pytest.raises(gb.ClockError, match="NTP"):
        cluster.submit(1, limit())
    skew = events_of(cluster, 1, gb.ClockSkew)
    assert all(event.beyond_bound for event in skew)
    assert round(skew[-1].offset_us / 1_000_000) == -300
    assert skew[0].offset_us < -60_000_000
    trade(cluster, 20, at=[0, 2, 3])
    cluster.set_clock_offset(1, 0)
    cluster.run_for(15)
    assert not events_of(cluster, 1, gb.ClockSkew)[-1].beyond_bound
    cluster.submit(1, limit())
    cluster.run_until_converged(10)
    check_all(cluster)


def test_a_clock_minutes_behind_holds_back_until_it_is_set() -> None:
    cluster = cluster_of(4)
    cluster.set_clock_offset(1, -300)
    cluster.run_for(15)
    trade(cluster, 20, at=[0, 2, 3])
    cluster.run_for(5)
    assert cluster.peers[1].replica.held_count == 20
    assert cluster.peers[1].commands("ONE") == []
    cluster.submit(1, limit())
    cluster.set_clock_offset(1, 0)
    cluster.run_for(15)
    cluster.run_until_converged(10)
    assert cluster.peers[1].replica.held_count == 0
    check_all(cluster)


def test_entries_dated_ahead_are_held_back_until_their_time() -> None:
    cluster = cluster_of(3)
    cluster.partition({2})
    cluster.run_for(10)  # the links are given up, and with them what they knew of the time
    cluster.set_clock_offset(2, 58)
    dated_s = cluster.now + 58
    receipt = cluster.submit(2, limit())
    cluster.set_clock_offset(2, 0)
    cluster.heal()
    cluster.run_for(40)
    for peer in cluster.peers[:2]:
        assert peer.entry_count == 1, "the log admits"
        assert peer.replica.held_count == 1
        assert peer.commands("ONE") == [], "the merge waits"
    cluster.run_for(dated_s - cluster.now - 0.4)  # 0.25 s is the tolerance
    assert cluster.peers[0].commands("ONE") == []
    cluster.run_for(0.3)
    assert cluster.peers[0].order(receipt.order_id) is not None
    cluster.run_until_converged(5)
    check_all(cluster)


def test_clocks_that_jump_to_and_fro_fork_nobody() -> None:
    cluster = cluster_of(4, seed=2)
    for round_ in range(6):
        cluster.set_clock_offset(round_ % 4, (-1) ** round_ * 45)
        for index in range(4):
            try:
                cluster.submit(index, limit())
            except gb.ClockError:
                continue
        cluster.run_for(3)
    for index in range(4):
        cluster.set_clock_offset(index, 0)
    cluster.run_for(60)
    cluster.run_until_converged(30)
    check_no_false_forks(cluster)
    check_all(cluster)
