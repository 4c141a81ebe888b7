"""Peers on one network find each other by multicast; strange announcements do nothing.

The tests with sockets run over the loopback interface, in real time: zeroconf has its own threads.
"""

from __future__ import annotations

import socket
from functools import partial
from ipaddress import ip_interface
from typing import Any

import pytest
import trio
from twins.scenario import GENESIS
from twins.trio_peers import keypair, until
from twins.virtual_time import real_time

import gossipbook as gb

lan = pytest.importorskip("gossipbook.lan", reason="needs gossipbook[lan]")

from zeroconf import ServiceInfo, Zeroconf  # noqa: E402

LOOPBACK = ["127.0.0.1"]
ALICE, BOB = keypair(1).peer_id, keypair(2).peer_id
LABEL = f"gossipbook-{ALICE.hex()[:16]}.{lan.SERVICE_TYPE}"
NETWORK = lan.network_label(GENESIS)
OWN = [ip_interface(one) for one in ("127.0.0.1/8", "192.168.1.4/24", "172.17.0.1/16")]


def has_multicast() -> bool:
    """Whether a datagram to the multicast group comes back over the loopback interface."""
    try:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hears,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as says,
        ):
            hears.bind(("", 0))
            group = socket.inet_aton("224.0.0.251") + socket.inet_aton("127.0.0.1")
            hears.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
            hears.settimeout(2)
            says.setsockopt(
                socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1")
            )
            says.sendto(b"?", ("224.0.0.251", hears.getsockname()[1]))
            return hears.recv(1) == b"?"
    except OSError:
        return False


needs_multicast = pytest.mark.skipif(
    not has_multicast(), reason="this machine sends no multicast over its loopback interface"
)


def opened(number: int, network: gb.MemoryNetwork, **options: Any) -> Any:
    """A peer that knows nobody. Its address looks like one of a real network."""
    address = f"127.0.0.1:{7000 + number}"
    return gb.open_peer(
        options.pop("genesis", GENESIS), keypair(number), transport=network.transport(address)
    )


# ------------------------------------------------------------------ over multicast


@needs_multicast
@real_time
async def test_two_peers_that_know_nobody_find_each_other_and_nobody_else() -> None:
    network, other = gb.MemoryNetwork(), gb.Genesis("elsewhere", GENESIS.markets)
    async with (
        opened(1, network) as alice,
        opened(2, network) as bob,
        opened(3, network, genesis=other) as eve,
        lan.announce_and_find(eve, other, interfaces=LOOPBACK),
        lan.announce_and_find(alice, GENESIS, interfaces=LOOPBACK),
        lan.announce_and_find(bob, GENESIS, interfaces=LOOPBACK),
    ):
        await until(lambda: alice.peers() == [BOB] and bob.peers() == [ALICE], "they met")
        assert eve.peers() == []
        assert len(alice.running.address_book) == 1, "Eve's address was not even noted"


@needs_multicast
@real_time
async def test_a_closed_peer_is_left_alone_by_what_is_heard_later() -> None:
    """An exception in trio's entry queue would end the whole run."""
    network = gb.MemoryNetwork()
    async with opened(1, network) as alice, opened(2, network) as bob:
        async with lan.announce_and_find(bob, GENESIS, interfaces=LOOPBACK):
            async with opened(3, network) as carol:
                pass
            async with lan.announce_and_find(carol, GENESIS, interfaces=LOOPBACK):
                await trio.sleep(0.5)  # it hears of Bob at once
        assert alice.peers() == carol.peers() == []


@needs_multicast
@real_time
async def test_the_announcement_is_withdrawn_at_the_end() -> None:
    network = gb.MemoryNetwork()

    def ask() -> ServiceInfo | None:
        with Zeroconf(interfaces=LOOPBACK) as asker:
            return asker.get_service_info(lan.SERVICE_TYPE, LABEL, 1_000)

    async with opened(1, network) as alice:
        async with lan.announce_and_find(alice, GENESIS, interfaces=LOOPBACK):
            info = await trio.to_thread.run_sync(ask)
            assert info is not None
            assert lan.decode(info, NETWORK, OWN) == (ALICE, "127.0.0.1:7001")
        assert await trio.to_thread.run_sync(ask) is None


@real_time
async def test_an_interface_that_is_not_there_is_the_callers_mistake() -> None:
    async with gb.open_peer(GENESIS, keypair(1), alone=True) as peer:
        with pytest.raises(gb.UsageError, match=r"203\.0\.113\.77.*127\.0\.0\.1"):
            async with lan.announce_and_find(peer, GENESIS, interfaces=["203.0.113.77"]):
                pass


@needs_multicast
@real_time
async def test_a_loopback_address_is_told_only_over_the_loopback_interface() -> None:
    """On another machine it would name another machine."""
    network = gb.MemoryNetwork()
    async with opened(1, network) as alice, lan.announce_and_find(alice, GENESIS):
        with Zeroconf(interfaces=LOOPBACK) as asker:
            ask = partial(asker.get_service_info, lan.SERVICE_TYPE, LABEL, 300)
            assert await trio.to_thread.run_sync(ask) is None


# ------------------------------------------------------------------ what announcements say


def test_an_announcement_says_who_where_and_of_which_network() -> None:
    info = lan.announcement(ALICE, NETWORK, "192.168.1.7:7000")
    assert info.port == 7000
    assert info.parsed_addresses() == ["192.168.1.7"]
    assert info.decoded_properties == {
        "network": GENESIS.network_id.hex()[:32],
        "peer": ALICE.hex(),
        "address": "192.168.1.7:7000",
    }
    assert lan.decode(info, NETWORK, OWN) == (ALICE, "192.168.1.7:7000")


def test_a_peer_at_all_addresses_announces_the_machines_own() -> None:
    info = lan.announcement(ALICE, NETWORK, "0.0.0.0:7000", LOOPBACK)
    assert "address" not in info.decoded_properties
    assert lan.decode(info, NETWORK, OWN) == (ALICE, "127.0.0.1:7000")
    everywhere = lan.announcement(ALICE, NETWORK, "0.0.0.0:7000")
    own = {str(one.ip) for one in lan.own_interfaces()}
    assert everywhere.parsed_addresses() and set(everywhere.parsed_addresses()) <= own
    assert "0.0.0.0" not in everywhere.parsed_addresses()


def test_a_name_is_announced_as_a_name() -> None:
    info = lan.announcement(ALICE, NETWORK, "desk.example:7000", LOOPBACK)
    assert lan.decode(info, NETWORK, OWN) == (ALICE, "desk.example:7000")


def test_of_several_addresses_the_one_in_our_network_is_dialled() -> None:
    """The bridge for containers has one address on every machine: dialling it finds oneself."""
    for addresses in (
        ["10.9.8.7", "172.17.0.1", "192.168.1.9"],
        ["192.168.1.9", "172.17.0.1", "10.9.8.7"],
    ):
        found = lan.decode(told(addresses=addresses), NETWORK, OWN)
        assert found is not None and found.address == "192.168.1.9:7000"
    assert lan.decode(told(addresses=["2001:db8::5"]), NETWORK, OWN) == (
        ALICE,
        "[2001:db8::5]:7000",
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"network": "00" * 16},
        {"network": None},
        {"peer": "no hex"},
        {"peer": ALICE.hex()[:-2]},
        {"peer": None},
        {"address": "nowhere"},
        {"address": "192.168.1.9:0"},
        {"address": "0.0.0.0:7000"},
        {"address": "x" * 200 + ":7000"},
    ],
    ids=lambda changed: str(changed)[:40],
)
def test_what_does_not_decode_is_passed_over(changed: dict[str, str | None]) -> None:
    assert lan.decode(told(), NETWORK, OWN) == (ALICE, "192.168.1.9:7000")
    assert lan.decode(told(**changed), NETWORK, OWN) is None


def told(addresses: list[str] | None = None, **changed: str | None) -> ServiceInfo:
    """What somebody says on the network, not necessarily one of us."""
    properties = {"network": NETWORK, "peer": ALICE.hex()} | changed
    return ServiceInfo(
        lan.SERVICE_TYPE,
        f"somebody.{lan.SERVICE_TYPE}",
        port=7000,
        properties={name: value for name, value in properties.items() if value is not None},
        parsed_addresses=addresses or ["192.168.1.9"],
    )
