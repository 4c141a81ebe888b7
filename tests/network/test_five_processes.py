"""Five processes trade without a pause while their network fails and two of them are killed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from network.living import live_through
from network.story import write_story
from network.ways import Way
from twins.virtual_time import real_time

pytestmark = [
    real_time,
    pytest.mark.skipif(sys.platform != "linux", reason="proxies find diallers by /proc"),
]

NAMES = ("alice", "bob", "carol", "dave", "erin")
USUAL = Way(delay_s=(0.001, 0.01))
LENGTH_S = 24.0
SEED = 4119
"""Its story parts, swallows, holds, cuts and slows; and one of those that were killed comes back
from its store while nobody can be asked how long its log is."""
ORDERS_PER_S = 20.0


async def test_all_are_equal_and_nothing_is_lost_after_cuts_black_holes_and_kills(
    tmp_path: Path,
) -> None:
    steps = write_story(NAMES, length_s=LENGTH_S, deaths=2, seed=SEED)
    told = await live_through(
        steps, NAMES, folder=tmp_path, orders_per_s=ORDERS_PER_S, usual=USUAL, seed=SEED
    )
    print(told)
    assert told.processes == 5 + 2
    assert told.acknowledged > LENGTH_S * ORDERS_PER_S
