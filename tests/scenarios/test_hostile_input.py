"""What a hostile peer may send: refused with a reason or bounded, and nobody else notices."""

from collections.abc import Callable

import cbor2
import pytest
from twins.fuzzer import Fuzzer
from twins.scenario import GENESIS, cluster_of, limit, trade

import gossipbook as gb
from gossipbook.encoding import encode
from gossipbook.gossip.interface import Received
from gossipbook.gossip.messages import (
    Compare,
    FrontierIs,
    News,
    Peers,
    Want,
    YourHead,
    encode_message,
)
from gossipbook.log.clock import hlc_at
from gossipbook.log.entry import NO_ENTRY, EntryId, encode_run, sign_entry
from gossipbook.log.frontier import Head
from gossipbook.sim.adversaries import (
    LATEST_HLC,
    LONGEST_LOG,
    Backdater,
    Claimer,
    FarFuture,
    Flooder,
    Forger,
    Garbage,
    HeadLiar,
    Withholder,
)
from gossipbook.sim.checkers import check_all

CHEAT = 4
SIGNATURE = bytes(64)


def news(run: bytes) -> bytes:
    return encode_message(News((run,)))


def raw_run(
    author: bytes,
    *,
    seq: int = 0,
    prev: bytes = NO_ENTRY,
    hlc: int | None = None,
    payload: bytes = b"\x80",
    signature: bytes = SIGNATURE,
) -> bytes:
    stamp = hlc_at(GENESIS.start_ms) if hlc is None else hlc
    return cbor2.dumps([author, seq, prev, stamp, 0, payload, signature])


def anothers_network(keypair: gb.Keypair) -> bytes:
    other = gb.Genesis("another", GENESIS.markets)
    entry = sign_entry(
        keypair, network_id=other.network_id, seq=0, prev=NO_ENTRY, hlc=1 << 57, payload=b"\x80"
    )
    return news(encode_run([entry]))


def before_the_start(keypair: gb.Keypair) -> bytes:
    entry = sign_entry(
        keypair,
        network_id=LATER.network_id,
        seq=0,
        prev=NO_ENTRY,
        hlc=hlc_at(LATER.start_ms) - 1,
        payload=b"\x80",
    )
    return news(encode_run([entry]))


LATER = gb.Genesis("scenario", GENESIS.markets, start=1_767_225_600_000)

OFFENCES: dict[str, Callable[[gb.Keypair], bytes]] = {
    "random bytes": lambda _: bytes.fromhex("f3a1c09dd2e44b1b"),
    "nothing": lambda _: b"",
    "a truncated frame": lambda _: encode_message(FrontierIs(()))[:-1],
    "an oversized frame": lambda _: encode([9, bytes(1_100_000)]),
    "arrays nested six deep": lambda _: cbor2.dumps([0, [[[[[[]]]]]]]),
    "arrays nested 100,000 deep": lambda _: b"\x81" * 100_000 + b"\x00",
    "an array that claims 2^62 items": lambda _: bytes.fromhex("9b4000000000000000"),
    "a map with a key twice": lambda _: bytes.fromhex("8200a2016161016162"),
    "a tagged item": lambda _: cbor2.dumps([9, cbor2.CBORTag(35, "(a+)+$"), 0]),
    "a bignum": lambda _: cbor2.dumps([9, 1 << 70, 0]),
    "a non-minimal integer": lambda _: bytes.fromhex("8309180100"),
    "an indefinite array": lambda _: bytes.fromhex("9f090000ff"),
    "text": lambda _: cbor2.dumps([9, "one", 0]),
    "a float": lambda _: cbor2.dumps([9, 1.5, 0]),
    "a negative integer": lambda _: cbor2.dumps([9, -1, 0]),
    "trailing bytes": lambda _: cbor2.dumps([9, 1, 0]) + b"\x00",
    "an unknown kind": lambda _: encode([99]),
    "too many fields": lambda _: encode([9, 1, 2, 3]),
    "a run that is no run": lambda _: news(b"\x80"),
    "a forged signature": lambda pair: news(raw_run(pair.peer_id)),
    "a low-order key": lambda _: news(raw_run(bytes(32))),
    "another low-order key": lambda _: news(raw_run(b"\x01" + bytes(31))),
    "a non-canonical key": lambda _: news(raw_run(b"\xee" + b"\xff" * 30 + b"\x7f")),
    "another network's entries": anothers_network,
    "a timestamp in the year 9999": lambda pair: news(
        raw_run(pair.peer_id, hlc=hlc_at(253_402_300_799_000))
    ),
    "a sequence number of 2^63": lambda pair: news(
        raw_run(pair.peer_id, seq=1 << 63, prev=b"x" * 32)
    ),
    "a run beyond the last sequence number": lambda pair: news(
        encode([pair.peer_id, (1 << 63) - 1, b"x" * 32, *(1, 0, b"\x80", SIGNATURE) * 2])
    ),
    "a seq 1 with an empty prev": lambda pair: news(raw_run(pair.peer_id, seq=1)),
    "a payload beyond the limit": lambda pair: news(raw_run(pair.peer_id, payload=bytes(65_537))),
    "an entry of another kind": lambda pair: news(
        cbor2.dumps([pair.peer_id, 0, NO_ENTRY, 1, 7, b"\x80", SIGNATURE])
    ),
    "a first word about somebody else": lambda pair: encode_message(
        YourHead(Head(pair.peer_id, 1, EntryId(b"x" * 32)))
    ),
    "a head that cannot be": lambda pair: encode(
        [3, pair.peer_id + bytes(7) + b"\x01" + bytes(40)]
    ),
    "a range beyond all logs": lambda pair: encode_message(Want(((pair.peer_id, 1 << 63, 1),))),
    "an empty range": lambda pair: encode_message(Want(((pair.peer_id, 0, 0),))),
}


@pytest.mark.parametrize("offence", OFFENCES)
def test_an_offence_costs_its_sender_the_link_and_nobody_else_anything(offence: str) -> None:
    cluster = cluster_of(5)
    trade(cluster, 10, at=[0, 1, 2, 3])
    cluster.peers[CHEAT].correct = False
    frame = OFFENCES[offence](cluster.peers[CHEAT].keypair)
    link = next(link for link, other in cluster.links_of(CHEAT) if other == 0)
    cluster.send_raw(CHEAT, link, frame)
    cluster.run_for(1)
    victim = cluster.peers[0]
    assert victim.statistics().gossip.refused_messages == 1
    assert cluster.peers[CHEAT].peer_id not in victim.peers()
    reasons = [event.reason for event in victim.events if isinstance(event, gb.PeerDown)]
    assert len(reasons) == 1 and "broke a rule: " in reasons[0]
    trade(cluster, 10, at=[0, 1, 2, 3])
    others_are_unaffected(cluster)


def test_who_broke_a_rule_may_try_again_after_a_minute() -> None:
    cluster = cluster_of(3)
    link = next(link for link, other in cluster.links_of(2) if other == 0)
    cluster.send_raw(2, link, b"")
    cluster.run_for(50)
    assert cluster.peers[2].peer_id not in cluster.peers[0].peers()
    cluster.run_for(50)
    assert cluster.peers[2].peer_id in cluster.peers[0].peers()


def others_are_unaffected(cluster: gb.sim.Cluster) -> None:
    for peer in cluster.correct_peers:
        for other in cluster.correct_peers:
            if other is not peer:
                assert other.peer_id in peer.peers(), f"{peer.index} has lost {other.index}"
        lost = [event.peer_id for event in peer.events if isinstance(event, gb.PeerDown)]
        assert set(lost) <= {one.peer_id for one in cluster.peers if not one.correct}
    cluster.run_until_converged(20)
    check_all(cluster)


@pytest.mark.parametrize("cheat", [Backdater, Claimer, FarFuture, Forger, Garbage, HeadLiar])
def test_a_cheat_at_work_leaves_the_others_equal_and_linked(cheat: type) -> None:
    cluster = cluster_of(5, seed=3)
    trade(cluster, 20, at=[0, 1, 2, 3])
    adversary = cheat(cluster, CHEAT)
    adversary.begin()
    receipts = trade(cluster, 100, at=[0, 1, 2, 3], per_s=50)
    assert len(receipts) == 100
    assert adversary.acts > 0
    adversary.stop()
    others_are_unaffected(cluster)


def test_a_withholder_only_delays() -> None:
    cluster = cluster_of(5, seed=3)
    cheat = Withholder(cluster, CHEAT)
    cheat.begin()
    trade(cluster, 100, at=[0, 1, 2, 3])
    cluster.run_until_converged(10)
    assert cheat.withheld > 0
    others_are_unaffected(cluster)


def test_an_entry_from_beyond_all_clocks_waits_for_ever_and_poisons_nothing() -> None:
    cluster = cluster_of(4)
    FarFuture(cluster, 3, hlc=LATEST_HLC, entries=4).begin()
    cluster.run_for(2)
    trade(cluster, 20, at=[0, 1, 2])
    cluster.run_for(120)
    cluster.run_until_converged(10)
    for peer in cluster.correct_peers:
        assert peer.replica.held_count == 4
        assert peer.replica.head(cluster.peers[3].peer_id).length == 4, "the log admits"
        assert peer.entry_count == 24
        assert len(peer.commands("ONE")) + len(peer.commands("TWO")) == 20, "the merge waits"
        now = (cluster.epoch_us + cluster.now_us) // 1_000
        assert peer.replica.clock.high_water < hlc_at(now)
    cluster.crash(1)
    cluster.restart(1)
    cluster.run_for(2)
    assert cluster.peers[1].replica.held_count == 4, "nor after a restart"
    check_all(cluster)


def test_backdated_entries_at_full_rate_buy_bounded_work() -> None:
    settings = gb.ReplicaSettings(undo_window=256, snapshot_interval=128, free_undo=64)
    cluster = cluster_of(3, settings=settings)
    for _ in range(25):
        cluster.submit(0, [limit("buy", 90)] * 80)
        cluster.run_for(0.01)
    cluster.run_for(1)
    before = [replayed(peer) for peer in cluster.peers]
    cheat = Backdater(cluster, 2, interval_s=0.01, commands=1)
    cheat.begin()
    seconds = 2
    cluster.run_for(seconds)
    cheat.stop()
    assert cheat.acts > 190
    # A replay costs 2 us a command undone or applied, and is followed by three times its cost of
    # rest. Every entry replayed at once would cost 0.8 s of the two.
    for peer, already in zip(cluster.peers[:2], before, strict=False):
        cost_us = 2 * (replayed(peer) - already)
        assert cost_us < seconds * 1_000_000 // 4 + 3 * 2 * 4_500
    cluster.run_until_converged(20)
    check_all(cluster)


def replayed(peer: gb.sim.SimulatedPeer) -> int:
    return peer.replica.applied_count + peer.replica.undone_count


def test_one_lot_spam_at_one_price_is_only_volume() -> None:
    cluster = cluster_of(3)
    spam = Flooder(cluster, 2, entries=20)
    spam.begin()
    cluster.run_for(3)
    assert spam.done
    receipt = cluster.submit(0, limit("sell", 100, 5_000))
    cluster.run_until_converged(10)
    assert len(cluster.peers[1].trades("ONE")) == 5_000
    assert cluster.peers[1].order(receipt.order_id).remaining == 0
    check_all(cluster)


def test_a_payload_that_does_not_decode_is_kept_and_touches_no_market() -> None:
    cluster = cluster_of(3)
    cheat = cluster.peers[2]
    cheat.correct = False
    entry = sign_entry(
        cheat.keypair,
        network_id=GENESIS.network_id,
        seq=0,
        prev=NO_ENTRY,
        hlc=cheat.replica.clock.next(cheat.running.local_ms),
        payload=b"no payload at all",
    )
    for link, _ in cluster.links_of(2):
        cluster.send_raw(2, link, news(encode_run([entry])))
    cluster.run_for(2)
    for peer in cluster.correct_peers:
        assert peer.statistics().gossip.refused_messages == 0
        assert peer.entry_count == 1
        assert peer.commands("ONE") == peer.commands("TWO") == []
    check_all(cluster)


def test_a_cancel_of_somebody_elses_order_cannot_be_written() -> None:
    cluster = cluster_of(3)
    mine = cluster.submit(0, limit())
    cluster.run_for(1)
    with pytest.raises(gb.InvalidCommand):
        cluster.submit(1, gb.CancelOrder(mine.order_id))
    with pytest.raises(gb.InvalidCommand):
        cluster.submit(1, gb.ReplaceOrder(mine.order_id, quantity=2))
    assert cluster.peers[1].order(mine.order_id).remaining == 1


def test_a_want_for_everything_many_times_over_is_cheap_to_refuse() -> None:
    cluster = cluster_of(2)
    for _ in range(40):
        cluster.submit(0, [limit()] * 200)
    peer = cluster.peers[0]
    link = cluster.links_of(0)[0][0]
    # Four megabytes a frame is served; then the bucket is empty, and nothing is encoded in vain.
    want = encode_message(Want(((peer.peer_id, 0, 40),) * 1_000))
    sent = []
    for _ in range(24):
        outputs = peer.running.handle(Received(link, want), peer.now(cluster.now_us))
        sent.append(sum(len(one.data) for one in outputs if hasattr(one, "data")))
    assert link in dict(cluster.links_of(0)), "it may ask"
    assert 1_000_000 < sent[0] <= 1_300_000
    assert sum(sent) <= 2 * cluster.config.serve_bytes_per_s
    assert sent[-1] == 0
    assert peer.statistics().gossip.throttled_requests <= 24


def test_claims_of_endless_logs_fill_no_table() -> None:
    cluster = cluster_of(4)
    trade(cluster, 20, at=[0, 1, 2])
    cheat = Claimer(cluster, 3, books=False, strangers=600, interval_s=0.1)
    cheat.begin()
    cluster.run_for(1)
    cheat.stop()
    for _ in range(10):
        for link, _other in cluster.links_of(3):
            heads = News((), tuple(cheat._false_heads()))
            cluster.send_raw(3, link, encode_message(heads))
        cluster.run_for(0.01)
    cluster.run_for(0.1)
    most = cluster.config.unknown_authors_limit
    for peer in cluster.correct_peers:
        links = peer.running._links.values()
        assert max(len(link.known) for link in links) > most // 2, "the claims were heard"
        for link in links:
            assert len(link.known) <= most + 1_100  # and what was just on order
        assert len(peer.running._fetcher._due_us) <= 2 * most
    trade(cluster, 50, at=[0, 1, 2])
    others_are_unaffected(cluster)


def test_hearsay_cannot_hide_a_bootstrap_address() -> None:
    cluster = cluster_of(3)
    cluster.crash(0)
    cluster.crash(1)
    cluster.restart(0)  # it knows only the cheat now ...
    peer = cluster.peers[0]
    peer.running.address_book.add_bootstrap(b"1")  # ... and where peer 1 used to be
    cluster.peers[2].correct = False
    cluster.run_for(1)
    link = next(link for link, other in cluster.links_of(2) if other == 0)
    cluster.send_raw(2, link, encode_message(Peers(((cluster.peers[2].peer_id, b"1"),))))
    cluster.run_for(1)
    cluster._contacts = lambda _: []  # type: ignore[method-assign]
    cluster.restart(1)  # it dials nobody, and the cheat does not introduce it
    cluster.peers[2].running.address_book._remove(b"1")
    cluster.run_for(40)
    assert cluster.peers[1].peer_id in peer.peers()


def test_a_claimed_frontier_of_millions_does_not_start_a_walk_for_ever() -> None:
    cluster = cluster_of(3)
    trade(cluster, 10, at=[0, 1])
    cluster.peers[2].correct = False
    lie = encode_message(Compare(b"x" * 32, LONGEST_LOG, ()))
    link = next(link for link, other in cluster.links_of(2) if other == 0)
    for _ in range(1_000):
        cluster.send_raw(2, link, lie)
    cluster.run_for(2)
    victim = cluster.peers[0].statistics().gossip
    assert victim.sent_count.get("Walk", 0) <= 3 * cluster.config.requests_per_s
    assert victim.throttled_requests > 0
    others_are_unaffected(cluster)


@pytest.mark.parametrize("seed", range(6))
def test_no_message_of_any_kind_stops_a_peer(seed: int) -> None:
    walks = seed % 2 == 0
    config = gb.GossipConfig(
        ban_us=1,
        dial_backoff_us=10_000,
        dial_backoff_limit_us=20_000,
        whole_frontier_limit=1 if walks else 1_000,
        small_frontier_limit=0 if walks else 32,
        walk_leaf_limit=1 if walks else 16,
    )
    cluster = cluster_of(4, seed=seed, config=config)
    trade(cluster, 12, at=[0, 1, 2], per_s=4)
    fuzzer = Fuzzer(cluster, 3)
    fuzzer.begin()
    cluster.run_for(4)
    assert fuzzer.sent > 300
    cluster.crash(3)
    cluster.run_until_converged(60)
    check_all(cluster)
