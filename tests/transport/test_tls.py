"""TLS links over loopback: the suite of all transports, and what only a network has."""

from __future__ import annotations

import pytest
from transport.suite import MakeTransport, TransportSuite
from twins.virtual_time import real_time

from gossipbook.transport.tls import TlsTransport

pytestmark = real_time


def make(address: str | None = None) -> TlsTransport:
    return TlsTransport(address or "127.0.0.1:0")


class TestTlsTransport(TransportSuite):
    """Every promise of a transport."""

    @pytest.fixture
    def make_transport(self) -> MakeTransport:
        return make
