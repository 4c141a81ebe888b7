"""Refused connections in the log: each with its reason, but no flood fills a disk."""

from __future__ import annotations

import logging

import pytest

from gossipbook.transport.refusal_log import LINES_AT_ONCE, RefusalLog


def test_refusals_are_logged_up_to_a_rate_and_then_summed_up(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1_000.0
    monkeypatch.setattr("gossipbook.transport.refusal_log.monotonic", lambda: now_s)
    caplog.set_level(logging.INFO, "gossipbook.transport")
    refusals = RefusalLog()
    for _ in range(LINES_AT_ONCE + 1_234):
        refusals.refused("203.0.113.5", "it broke a rule")
    assert len(caplog.messages) == LINES_AT_ONCE
    assert caplog.messages[0] == "refused a connection from 203.0.113.5: it broke a rule"
    now_s += 1
    refusals.refused("203.0.113.6", "another")
    assert caplog.messages[LINES_AT_ONCE:] == [
        "refused a connection from 203.0.113.6: another (1,234 more before it, not shown)"
    ]
    record = caplog.records[-1]
    assert (record.source, record.reason) == ("203.0.113.6", "another")  # type: ignore[attr-defined]
    assert refusals.count == LINES_AT_ONCE + 1_235


def test_all_refusals_are_logged_for_who_looks_closely(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "gossipbook.transport")
    refusals = RefusalLog()
    for _ in range(3 * LINES_AT_ONCE):
        refusals.refused("203.0.113.5", "it broke a rule")
    assert len(caplog.messages) == 3 * LINES_AT_ONCE
