"""Peers on one local network find each other by multicast DNS, without a bootstrap address.

``announce_and_find`` tells the neighbourhood who this peer is and where it can be dialled, listens
for the others of the same network, and hands their addresses to the peer. It promises no more than
a bootstrap address does: whatever is heard is hearsay, and the handshake proves who is there. What
does not decode, belongs to another network or is this peer itself is passed over in silence. A peer
that goes needs no word from here; its links tell. Loopback addresses are neither told nor believed,
unless the loopback interface was asked for.

zeroconf works in threads of its own. Their finds are handed over to trio's thread one by one::

    multicast --> zeroconf's thread: decode, check --run_sync_soon--> trio: peer.join(address)

An announcement is of the type ``_gossipbook._tcp.local.``, has the port and the addresses of the
machine, and in its TXT record ``network`` (the first 16 bytes of the network id, in hex), ``peer``
(its id, in hex), and ``address`` where the peer was told which address to name.

Needs the extra ``lan`` (zeroconf).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface
from typing import NamedTuple

import trio

from gossipbook.errors import UsageError
from gossipbook.genesis import Genesis
from gossipbook.identity import PeerId, short
from gossipbook.peer import Peer
from gossipbook.transport.address import HostPort, parse

try:
    import ifaddr
    from zeroconf import Error as ZeroconfError
    from zeroconf import InterfaceChoice, ServiceBrowser, ServiceInfo, ServiceListener, Zeroconf
except ImportError:
    raise ImportError("gossipbook.lan needs zeroconf: pip install 'gossipbook[lan]'") from None

Interface = IPv4Interface | IPv6Interface

SERVICE_TYPE = "_gossipbook._tcp.local."
ANSWER_MS = 3_000

log = logging.getLogger("gossipbook.lan")


class Found(NamedTuple):
    """A peer of our network, and where its announcement says it can be dialled."""

    peer_id: PeerId
    address: str


@asynccontextmanager
async def announce_and_find(
    peer: Peer, genesis: Genesis, *, interfaces: Sequence[str] | None = None
) -> AsyncIterator[None]:
    """Announce the peer on the local network, and have it dial the others, until the block ends.

    ``interfaces`` are the addresses of the network interfaces to use; all unless given. A peer
    that cannot be dialled announces nothing and finds others all the same. At the end the
    announcement is withdrawn. Raises UsageError for a peer without a transport, for an interface
    that this machine has not, and where multicast is not to be had.
    """
    _check_interfaces(interfaces)
    if not peer.can_dial:
        raise UsageError("this peer has no transport to dial others with; pass transport=")
    start = partial(_Neighbourhood, peer, genesis, trio.lowlevel.current_trio_token(), interfaces)
    try:
        neighbourhood = await trio.to_thread.run_sync(start)
    except (OSError, ZeroconfError) as error:
        raise UsageError(
            f"this machine's network gives no multicast ({error or type(error).__name__}); name "
            "the other peers' addresses instead"
        ) from None
    try:
        yield
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(neighbourhood.close)


def _check_interfaces(interfaces: Sequence[str] | None) -> None:
    own = [str(one.ip) for one in own_interfaces()]
    for address in interfaces or ():
        if address not in own:
            raise UsageError(
                f"this machine has no interface with the address {address!r}; it has "
                f"{', '.join(own)}"
            )


class _Neighbourhood(ServiceListener):
    """What runs in zeroconf's threads for one peer. Making and closing it blocks."""

    def __init__(
        self,
        peer: Peer,
        genesis: Genesis,
        token: trio.lowlevel.TrioToken,
        interfaces: Sequence[str] | None,
    ) -> None:
        self._peer = peer
        self._network = network_label(genesis)
        self._token = token
        self._only_others = interfaces is None
        self._zeroconf = Zeroconf(InterfaceChoice.All if interfaces is None else list(interfaces))
        try:
            if peer.address is not None and self._is_worth_telling(peer.address):
                info = announcement(peer.peer_id, self._network, peer.address, interfaces)
                self._zeroconf.register_service(info, allow_name_change=True)
                log.info(
                    "announced on the local network as %s",
                    info.name,
                    extra={"address": peer.address},
                )
            self._browser = ServiceBrowser(self._zeroconf, SERVICE_TYPE, listener=self)
        except BaseException:
            self._zeroconf.close()
            raise

    def close(self) -> None:
        """Withdraw the announcement, and stop listening."""
        self._browser.cancel()
        self._zeroconf.close()

    def _is_worth_telling(self, address: str) -> bool:
        """Whether an address means the same on another machine, if others are to be found."""
        host = parse(address).host
        return not (self._only_others and _is_number(host) and ip_address(host).is_loopback)

    # ---------------------------------------------------------------- on zeroconf's thread

    def add_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        """Somebody was heard of."""
        info = zc.get_service_info(type_, name, ANSWER_MS)
        found = None if info is None else decode(info, self._network, own_interfaces())
        if found is None or found.peer_id == self._peer.peer_id:
            return
        if self._is_worth_telling(found.address):
            with suppress(trio.RunFinishedError):  # closed a moment ago
                self._token.run_sync_soon(self._dial, found)

    def update_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        """Somebody's addresses have changed."""
        self.add_service(zc, type_, name)

    def remove_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        """Somebody has withdrawn its announcement; the links tell whether it is there."""

    # ---------------------------------------------------------------- on trio's thread

    def _dial(self, found: Found) -> None:
        """No exception may escape from here: it would end the whole run."""
        if found.peer_id in self._peer.peers():
            return
        log.info(
            "found %s on the local network (%s)",
            *(short(found.peer_id), found.address),
            extra={"peer": short(found.peer_id), "address": found.address},
        )
        with suppress(UsageError):  # closed meanwhile
            self._peer.join(found.address, peer_id=found.peer_id)


# ---------------------------------------------------------------- what goes over the wire


def network_label(genesis: Genesis) -> str:
    """Enough of the network id to tell networks apart; the handshake compares all of it."""
    return genesis.network_id[:16].hex()


def announcement(
    peer_id: PeerId, network: str, address: str, interfaces: Sequence[str] | None = None
) -> ServiceInfo:
    """What a peer that can be dialled at ``address`` tells its neighbours.

    An address that stands for all of the machine's is told as the machine's own ones.
    """
    where = parse(address)
    properties = {"network": network, "peer": peer_id.hex()}
    if not where.is_wildcard:
        properties["address"] = address
    label = f"gossipbook-{peer_id.hex()[:16]}"
    return ServiceInfo(
        SERVICE_TYPE,
        f"{label}.{SERVICE_TYPE}",
        port=where.port,
        properties=properties,
        server=f"{label}.local.",
        parsed_addresses=_addresses_of(where, interfaces),
    )


def _addresses_of(where: HostPort, interfaces: Sequence[str] | None) -> list[str]:
    if _is_number(where.host) and not where.is_wildcard:
        return [where.host]
    if interfaces is not None:
        return list(interfaces)
    own = [str(one.ip) for one in own_interfaces() if one.version == 4 and not one.is_loopback]
    return own or ["127.0.0.1"]


def own_interfaces() -> list[Interface]:
    """The addresses of this machine, each with the network it is in."""
    return [
        ip_interface(f"{ip.ip if ip.is_IPv4 else ip.ip[0]}/{ip.network_prefix}")
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
    ]


def decode(info: ServiceInfo, network: str, own: Sequence[Interface]) -> Found | None:
    """The peer that an announcement tells of; None where it is of another network or no use.

    Anybody on the network may have sent it: nothing in it is believed before it is checked. Of
    several addresses it is the one that looks nearest from a machine with the interfaces ``own``.
    """
    told = info.decoded_properties
    if told.get("network") != network:
        return None
    try:
        peer_id = PeerId(bytes.fromhex(told.get("peer") or ""))
    except ValueError:
        return None
    named = told.get("address") or _nearest(info.parsed_addresses(), info.port or 0, own)
    return Found(peer_id, named) if len(peer_id) == 32 and _is_address(named) else None


def _nearest(ips: Sequence[str], port: int, own: Sequence[Interface]) -> str:
    """One in a network that we are in, too; rather not one that is our own, such as that of a
    bridge for containers, which has the same address on every machine."""

    def distance(text: str) -> tuple[bool, bool, bool]:
        ip = ip_address(text.partition("%")[0])
        ours = any(ip == one.ip for one in own)
        return ip.is_link_local, ours, not any(ip in one.network for one in own)

    return str(HostPort(min(ips, key=distance), port)) if ips else ""


def _is_number(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_address(text: str) -> bool:
    try:
        return not parse(text).is_wildcard
    except UsageError:
        return False
