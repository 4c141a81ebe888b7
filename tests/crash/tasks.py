"""What one process is told to do, and what it leaves: plain values that travel as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from crash.checks import Balance
from crash.faulty_io import Fault

FINISHED, VIOLATED = 0, 3
"""Exit codes."""


@dataclass(frozen=True)
class Task:
    """What one process does, and what happens to it."""

    folder: str
    scenario: str
    seed: int
    number: int = 0
    """The how-manieth process in this folder."""
    fault: Fault = field(default_factory=Fault)
    trace: bool = False
    trade_s: float = 1.0
    """How long a trade goes on where nothing ends it."""
    waves: int = 10
    """Of a script: three submits each."""
    heal_after: int = 3
    """Where a fault lasts: the disk works again after so many waves were refused."""
    die_after: str = ""
    """"failure": when a wave is over in which something failed. "recovery": when the disk works
    again and the peer has had time to find out what is on it."""
    file_limit_bytes: int = 0
    """No file of the process may become larger, until the disk is healed."""
    damaged: bool = False
    """The store was damaged on purpose."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Task:
        return cls(**{**fields, "fault": Fault(**fields["fault"])})


@dataclass(frozen=True)
class Result:
    """What a process that was not killed leaves in ``result.json``."""

    calls: int
    failures: int
    refused_opens: int
    damage: Sequence[str]
    """What the store reported when it was opened."""
    balance: Balance

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Result:
        return cls(**{**fields, "balance": Balance(**fields["balance"])})
