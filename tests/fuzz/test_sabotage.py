"""The targets can fail: each rule that is taken away is missed."""

from __future__ import annotations

import re

import pytest
from fuzz.sabotage import DECODERS, PROTOCOL
from fuzz.seeds import seeds
from fuzz.targets import TARGETS


@pytest.mark.parametrize("broken", PROTOCOL)
def test_the_protocol_target_misses_a_rule(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sabotage, says = PROTOCOL[broken]
    sabotage(monkeypatch)
    failures = (failure("protocol", script) for script in seeds("protocol"))
    missed = next((failed for failed in failures if failed is not None), None)
    assert missed is not None, "nothing was missed"
    assert re.search(says, str(missed)), missed


@pytest.mark.parametrize("broken", DECODERS)
def test_a_decoder_target_misses_a_rule(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target, data, sabotage, says = DECODERS[broken]
    assert failure(target, data) is None, "the rule as it is refuses this, and nothing is missed"
    sabotage(monkeypatch)
    missed = failure(target, data)
    assert missed is not None, "nothing was missed"
    assert re.search(says, f"{type(missed).__name__} {missed}"), missed


def failure(target: str, data: bytes) -> Exception | None:
    """What the target says about the bytes."""
    try:
        TARGETS[target].run(data)
    except Exception as error:
        return error
    return None
