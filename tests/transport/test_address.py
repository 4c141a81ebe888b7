"""Addresses: what is one, what it names, and what a stranger is believed about its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gossipbook as gb
from gossipbook.transport.address import MAX_ADDRESS_BYTES, HostPort, believed, parse, source_of


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("203.0.113.5:7000", "203.0.113.5", 7000),
        ("example.org:1", "example.org", 1),
        ("[2001:db8::5]:65535", "2001:db8::5", 65535),
        ("[::]:7000", "::", 7000),
        (":7000", "", 7000),
        ("a_b-c.local:7", "a_b-c.local", 7),
    ],
)
def test_address_names_host_and_port_and_is_written_back(text: str, host: str, port: int) -> None:
    assert parse(text) == HostPort(host, port)
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7000",
        "host",
        "host:",
        "host:port",
        "host:-1",
        "host:+1",
        "host: 1",
        "host:1 ",
        "host:\u0661",
        "host:000001",
        "host:65536",
        "host:0",
        "2001:db8::5:7000",
        "[2001:db8::5]",
        "[2001:db8::5]7000",
        "[host]:7000",
        "[127.0.0.1]:7000",
        "[]:7000",
        "a b:7000",
        "a\n:7000",
        "http://host:7000",
        "me@host:7000",
        "x" * (MAX_ADDRESS_BYTES - 4) + ":7000",
    ],
)
def test_what_is_no_address_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(gb.UsageError) as refusal:
        parse(text)
    assert repr(text)[:100] in str(refusal.value)
    assert "HOST:PORT" in str(refusal.value) or "1 to 65535" in str(refusal.value)


@pytest.mark.parametrize("value", [7000, None, b"host:7000", ("host", 7000)])
def test_what_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(gb.UsageError, match="give text"):
        parse(value)


def test_longest_address() -> None:
    host = "x" * (MAX_ADDRESS_BYTES - 5)
    assert parse(host + ":7000").host == host


def test_port_zero_is_for_listeners() -> None:
    assert parse("host:0", port_zero=True) == HostPort("host", 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [(":1", True), ("0.0.0.0:1", True), ("[::]:1", True), ("127.0.0.1:1", False), ("a:1", False)],
)
def test_wildcards_stand_for_all_addresses_of_a_machine(text: str, expected: bool) -> None:
    assert parse(text).is_wildcard == expected


# ==================================================================== who says where it is


@pytest.mark.parametrize(
    ("claim", "seen", "expected"),
    [
        (b":7000", "203.0.113.5", b"203.0.113.5:7000"),
        (b":7000", "2001:db8::5", b"[2001:db8::5]:7000"),
        (b"0.0.0.0:7000", "203.0.113.5", b"203.0.113.5:7000"),
        (b"[::]:7000", "203.0.113.5", b"203.0.113.5:7000"),
        (b"example.org:7000", "203.0.113.5", b"example.org:7000"),
        (b"198.51.100.7:7000", "203.0.113.5", b"198.51.100.7:7000"),
        (b"127.0.0.1:7000", "127.0.0.1", b"127.0.0.1:7000"),
        (b"localhost:7000", "::1", b"localhost:7000"),
        (b"127.0.0.1:7000", "203.0.113.5", None),
        (b"127.8.8.8:7000", "203.0.113.5", None),
        (b"localhost:7000", "203.0.113.5", None),
        (b"[::1]:7000", "2001:db8::5", None),
        (b"LOCALHOST:7000", "203.0.113.5", None),
        (b"[::ffff:127.0.0.1]:7000", "203.0.113.5", None),
        (b"127.1:7000", "203.0.113.5", None),  # resolvers take it for 127.0.0.1, and these, too
        (b"2130706433:7000", "203.0.113.5", None),
        (b"0x7f.1:7000", "203.0.113.5", None),
        (b"0:7000", "203.0.113.5", None),
        (b"nonsense", "203.0.113.5", None),
        (b"host:0", "203.0.113.5", None),
        (b"\xff\xfe:7000", "203.0.113.5", None),
        (b"", "203.0.113.5", None),
    ],
)
def test_what_is_believed_of_a_claim(claim: bytes, seen: str, expected: bytes | None) -> None:
    assert believed(claim, seen) == expected


@given(st.binary(max_size=MAX_ADDRESS_BYTES))
def test_any_claim_gets_an_answer_that_is_an_address(claim: bytes) -> None:
    answer = believed(claim, "203.0.113.5")
    if answer is not None:
        assert not parse(answer.decode()).is_wildcard


# ==================================================================== sources


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("203.0.113.5", "203.0.113.5"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:203.0.113.5", "203.0.113.5"),
        ("somebody who has hung up", "somebody who has hung up"),
    ],
)
def test_source_of_a_host(host: str, source: str) -> None:
    assert source_of(host) == source
