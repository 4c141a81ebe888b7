"""How links stand: counted by hand on a link of our own making, and seen at running peers."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
import trio
from twins.authors import GENESIS as AUTHORS_GENESIS
from twins.authors import START_MS, TestAuthor, at
from twins.scenario import GENESIS, limit
from twins.trio_peers import keypair, linked_peers, stranger, until
from twins.virtual_time import virtual_time

import gossipbook as gb
from gossipbook.gossip.config import GossipConfig
from gossipbook.gossip.links import Link
from gossipbook.gossip.messages import News, Want
from gossipbook.link_status import LinkStatus, link_status
from gossipbook.log.frontier import Head
from gossipbook.replica import Replica

BOB = keypair(2).peer_id
SECOND = 1_000_000


def open_link(config: GossipConfig | None = None) -> Link:
    """A link of Bob that came up at 10 s."""
    return Link.open(1, BOB, None, dialled=False, config=config or GossipConfig(), now_us=10**7)


def replica_with(*authors: TestAuthor) -> Replica:
    replica = Replica(AUTHORS_GENESIS)
    for author in authors:
        replica.add(author.entries, local_ms=START_MS + 10_000)
    return replica


def author(number: int, entries: int) -> TestAuthor:
    one = TestAuthor(number)
    for seq in range(entries):
        one.write(hlc=at(seq))
    return one


def status_of(link: Link, replica: Replica, **options: int) -> LinkStatus:
    told = {"now_us": 12 * SECOND, "queued_bytes": 0} | options
    return link_status(link, replica, address=b"bob:7000", **told)


# ------------------------------------------------------------------ counted by hand


def test_a_fresh_link_has_no_ping_and_knows_nothing() -> None:
    status = status_of(open_link(), replica_with(author(1, 3)), queued_bytes=17)
    assert status == LinkStatus(
        peer_id=BOB,
        address="bob:7000",
        dialled=False,
        since_s=2.0,
        phi=status.phi,
        round_trip_s=None,
        clock_offset_s=None,
        entries_ahead=0,
        entries_behind=3,
        queued_bytes=17,
    )
    with pytest.raises(FrozenInstanceError):
        status.phi = 0.0  # type: ignore[misc]


def test_phi_is_the_silence_in_mean_intervals() -> None:
    """Expected every 0.5 s: after 2 s of silence phi is log10(e) x 4 = 1.736."""
    link = open_link(GossipConfig(ping_us=SECOND))
    assert status_of(link, replica_with()).phi == pytest.approx(1.736)
    assert status_of(link, replica_with(), now_us=10 * SECOND).phi == 0


def test_round_trip_and_offset_are_those_of_the_fastest_ping() -> None:
    link = open_link()
    link.clock.add(round_trip_us=30_000, offset_us=5_000)
    link.clock.add(round_trip_us=20_000, offset_us=-2_500)
    status = status_of(link, replica_with())
    assert (status.round_trip_s, status.clock_offset_s) == (0.02, -0.0025)


def test_behind_and_ahead_are_summed_over_authors_apart() -> None:
    both, longer, shorter, unknown_there = (author(number, 4) for number in range(1, 5))
    link = open_link()
    link.known = {
        both.author: 4,
        longer.author: 9,  # they have 5 more
        shorter.author: 1,  # they lack 3
        keypair(77).peer_id: 2,  # we have never heard of this author
    }
    status = status_of(link, replica_with(both, longer, shorter, unknown_there))
    assert (status.entries_ahead, status.entries_behind) == (5 + 2, 3 + 4)


def test_what_lies_beyond_a_fork_is_nobodys_lead() -> None:
    """The author forked at seq 2: two of its entries count, whatever anybody holds."""
    cheat = author(1, 4)
    other = cheat.branch(2)
    other.write(hlc=at(99))
    replica = replica_with(cheat)
    replica.add(other.entries, local_ms=START_MS + 10_000)
    assert replica.head(cheat.author).k == 2 == replica.entry_count
    link = open_link()
    for claimed, apart in ((4, (0, 0)), (2, (0, 0)), (1, (0, 1)), (0, (0, 2))):
        link.known = {cheat.author: claimed}
        status = status_of(link, replica)
        assert (status.entries_ahead, status.entries_behind) == apart


# ------------------------------------------------------------------ running peers


@virtual_time
async def test_links_tell_who_where_and_how_far() -> None:
    network = gb.MemoryNetwork(link=gb.Link(latency=(0.04, 0.04)))
    async with linked_peers(2, network=network) as (alice, bob):
        await trio.sleep(5)
        (to_bob,), (to_alice,) = alice.links(), bob.links()
        assert (to_bob.peer_id, to_alice.peer_id) == (bob.peer_id, alice.peer_id)
        assert (to_bob.address, to_alice.address) == ("1", "0")
        assert (to_bob.dialled, to_alice.dialled) == (False, True)
        assert to_bob.round_trip_s == pytest.approx(0.08, abs=0.001)
        assert to_bob.clock_offset_s == pytest.approx(0, abs=0.001)
        assert 4.5 < to_bob.since_s < 7
        assert 0 <= to_bob.phi < 2
        assert (to_bob.entries_ahead, to_bob.entries_behind, to_bob.queued_bytes) == (0, 0, 0)
    assert alice.links() == [], "a closed peer has no links"


@virtual_time
async def test_links_are_sorted_by_peer() -> None:
    async with linked_peers(4) as peers:
        for peer in peers:
            assert [link.peer_id for link in peer.links()] == peer.peers()


@virtual_time
async def test_a_peer_that_is_cut_off_falls_behind_and_grows_suspicious() -> None:
    network = gb.MemoryNetwork()
    async with linked_peers(2, network=network) as (alice, bob):
        await gb.wait_until_equal([alice, bob])
        network.partition(["1"])
        for _ in range(5):
            await alice.submit(limit())
        await trio.sleep(2)
        phi = alice.links()[0].phi
        assert phi > 1
        await trio.sleep(0.5)
        assert alice.links()[0].phi > phi
        network.heal()
        await until(lambda: bob.entry_count == 5, "it has caught up")
        await until(
            lambda: [link.entries_behind for link in alice.links()] == [0], "and we know it"
        )
        assert alice.links()[0].phi < 2


@virtual_time
async def test_claims_are_told_as_such() -> None:
    network = gb.MemoryNetwork()
    async with linked_peers(1, network=network) as (alice,), stranger(network, 9, dial="0") as liar:
        carol = keypair(3)
        await liar.say(News((), (Head(carol.peer_id, 1_000_000, b"x" * 32),)))
        await until(
            lambda: [one.entries_ahead for one in alice.links()] == [1_000_000], "it boasts"
        )


@virtual_time
async def test_what_a_slow_reader_has_not_taken_is_queued() -> None:
    network = gb.MemoryNetwork()
    async with (
        linked_peers(1, network=network) as (alice,),
        stranger(network, 9, dial="0", listens=False) as slow,
    ):
        await until(lambda: len(alice.links()) == 1, "it is linked")
        assert alice.links()[0].queued_bytes < 1_000
        for _ in range(30):
            await alice.submit([limit() for _ in range(256)])
        while alice.links()[0].queued_bytes == 0:  # the first megabytes lie in the network
            await slow.say(*[Want(((alice.peer_id, 0, 30),)) for _ in range(10)])
            await trio.sleep(0.1)
        assert 1_000 < alice.links()[0].queued_bytes < 2**22


def test_a_quiet_network_is_nowhere_behind() -> None:
    """Who got an entry from somebody else is told of by the next comparison."""
    link = gb.sim.Link(latency=(0.005, 0.05), loss=0.1)
    cluster = gb.sim.Cluster(GENESIS, peers=5, seed=3, link=link)
    cluster.run_for(2)
    for number in range(100):
        cluster.submit(number % 5, limit())
        cluster.run_for(0.02)
    during = [one for peer in cluster.peers for one in peer.links()]
    assert any(one.entries_behind for one in during)
    cluster.run_for(20)
    for peer in cluster.peers:
        assert [(one.entries_behind, one.entries_ahead) for one in peer.links()] == [(0, 0)] * 4
        assert all(20 < one.since_s < 30 and one.queued_bytes == 0 for one in peer.links())
