"""A story from its beginning to its end: peers trade through it, and then all must be well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import trio
from network.checks import check_quiet, check_stores, check_submits
from network.processes import GENESIS, proxied_peers
from network.story import Player, Step
from network.ways import CLEAR, Way

START_S = 60.0
AGREE_S = 60.0
"""Backed-off dials are half a minute apart at most."""


@dataclass(frozen=True, slots=True)
class Told:
    """What came of a story that ended well."""

    processes: int
    entries: int
    acknowledged: int
    failed: Counter[str]
    """Submits that failed, all of them as is allowed."""
    agreed_after_s: float
    """From the last heal to equal roots everywhere; the last submits came in that time."""

    def __str__(self) -> str:
        failed = ", ".join(f"{count} {name}" for name, count in self.failed.items()) or "none"
        return (
            f"{self.processes} processes, {self.entries} entries, {self.acknowledged} acknowledged "
            f"submits, failed: {failed}; equal {self.agreed_after_s:.1f} s after the last heal"
        )


async def live_through(
    steps: Sequence[Step],
    names: Sequence[str],
    *,
    folder: Path,
    orders_per_s: float,
    usual: Way = CLEAR,
    seed: int = 0,
    tell: bool = False,
) -> Told:
    """Play a story to peers of these names that trade all the time. Raises AssertionError, or
    TooSlowError, where something is not as ``checks`` say."""
    async with proxied_peers(folder, usual=usual, seed=seed) as peers:
        player = Player(peers, orders_per_s=orders_per_s, tell=tell)
        with trio.fail_after(START_S):
            await peers.open_all(names)
        for name in names:
            await player.trade(name)
        await player.play(steps)
        peers.heal()
        healed_s = trio.current_time()
        with trio.fail_after(AGREE_S):
            failed = check_submits(await peers.ask_all("rest"))
            answers = await peers.until_equal()
        agreed_after_s = trio.current_time() - healed_s
        check_quiet(answers, peers.processes.all)
        await peers.ask_all("leave")
    processes = peers.processes.all
    await check_stores(GENESIS, answers[names[0]], processes, folder=folder)
    return Told(
        len(processes),
        answers[names[0]]["entries"],
        sum(len(one.acknowledged) for one in processes),
        failed,
        agreed_after_s,
    )
