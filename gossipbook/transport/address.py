"""Addresses as people write them: HOST:PORT, with [brackets] around an IPv6 address.

This file decides what an address means, and how far a stranger is believed who says where it can be
dialled. It opens no sockets and asks no name server.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

from gossipbook.errors import UsageError

MAX_ADDRESS_BYTES = 128
_ODD_ADDRESS = re.compile(r"(0[xX][0-9a-fA-F]+|[0-9]+)(\.(0[xX][0-9a-fA-F]+|[0-9]+))*")
"""What resolvers take for an address although it is none: "127.1", "2130706433", "0x7f.1"."""
WILDCARDS = ("", "0.0.0.0", "::")
"""Hosts that stand for all addresses of a machine: one can listen there, not be dialled."""


class HostPort(NamedTuple):
    """Where to listen or whom to dial. ``host`` is a name or an address without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_wildcard(self) -> bool:
        """Whether it stands for all addresses of this machine."""
        return self.host in WILDCARDS


def parse(text: object, *, port_zero: bool = False) -> HostPort:
    """What the text names; ``port_zero`` where any free port will do.

    Raises UsageError.
    """
    if not isinstance(text, str):
        raise UsageError(f"address {text!r}; give text, such as '203.0.113.5:7000'")
    host, colon, port_text = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        is_sound = _is_ipv6(host)
    else:
        is_sound = ":" not in host and not any(
            ord(char) < 33 or char.isspace() or char in "[]/@" for char in host
        )
    is_port = port_text.isascii() and port_text.isdigit() and len(port_text) <= 5
    if not (colon and is_sound and is_port and len(text.encode()) <= MAX_ADDRESS_BYTES):
        raise UsageError(
            f"address {text[:200]!r} is not HOST:PORT; write it like '203.0.113.5:7000', "
            "'example.org:7000' or '[2001:db8::5]:7000'"
        )
    port = int(port_text)
    if not (0 if port_zero else 1) <= port <= 65_535:
        raise UsageError(f"address {text!r}: the port {port} is not one of 1 to 65535")
    return HostPort(host, port)


def believed(claim: bytes, seen_host: str) -> bytes | None:
    """Where somebody can be dialled who says ``claim`` and connects from ``seen_host``.

    A claim without a host (":7000") means the host that we see. A loopback address makes sense only
    to who is on this machine, too. None where it names no address.
    """
    try:
        named = parse(claim.decode())
    except (UsageError, UnicodeDecodeError):
        return None
    if named.is_wildcard:
        named = HostPort(seen_host, named.port)
    elif _is_loopback(named.host) and not _is_loopback(seen_host):
        return None
    return str(named).encode()


def source_of(host: str) -> str:
    """What counts as one source of connections: an IPv4 address, or an IPv6 network of 64 bits,
    since everybody has one of those to choose addresses from."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Address(int(address) >> 64 << 64)) + "/64"


def _is_ipv6(host: str) -> bool:
    try:
        return isinstance(ip_address(host), IPv6Address)
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    host = host.rstrip(".")
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host.lower() == "localhost" or _ODD_ADDRESS.fullmatch(host) is not None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback
