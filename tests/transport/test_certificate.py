"""A listener's certificate: new each time, and its key is nowhere afterwards."""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path

import pytest

from gossipbook.transport.certificate import dialler_context, listener_context


def test_a_listener_has_a_new_certificate_each_time_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    modes = []
    load = ssl.SSLContext.load_cert_chain

    def looking(context: ssl.SSLContext, path: str) -> None:
        modes.append(Path(path).stat().st_mode & 0o777)
        load(context, path)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", looking)
    certificates = {listener_context().certificate for _ in range(2)}
    assert len(certificates) == 2
    assert modes == [0o600, 0o600]
    assert list(tmp_path.iterdir()) == []


def test_the_key_file_is_deleted_where_openssl_does_not_take_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def failing(context: ssl.SSLContext, path: str) -> None:
        raise ssl.SSLError("no")

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", failing)
    with pytest.raises(ssl.SSLError):
        listener_context()
    assert list(tmp_path.iterdir()) == []


def test_both_sides_speak_tls_1_3_and_nothing_older() -> None:
    for context in (listener_context().context, dialler_context()):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_3


def test_a_listener_gives_no_session_tickets() -> None:
    assert listener_context().context.num_tickets == 0
