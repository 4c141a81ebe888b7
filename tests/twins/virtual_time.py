"""Tests that run on trio in virtual time: whoever sleeps, sleeps for nothing.

``virtual_time`` and ``real_time`` mark async tests, modules or classes. Under ``virtual_time`` the
clock jumps to the next deadline whenever nothing else is left to do. Nobody would ever notice a
test that waits for what does not happen, so there is an end of time: after a simulated hour the
test is cancelled, and what is shielded even from that ends the whole run, as an error.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

LONGEST_S = 3_600


def run_in_virtual_time(
    main: Callable[..., Awaitable[Any]], *arguments: object, **options: Any
) -> Any:
    """``trio.run`` with a clock that jumps."""

    async def bounded() -> Any:
        trio.lowlevel.spawn_system_task(_let_time_pass)
        with trio.fail_after(LONGEST_S):
            return await main(*arguments)

    return trio.run(bounded, **(options | {"clock": _jumping_clock()}))


def _jumping_clock() -> MockClock:
    clock = MockClock(autojump_threshold=0)
    jump = clock.jump

    def jump_within_bounds(seconds: float) -> None:
        jump(seconds)
        if clock.current_time() > LONGEST_S + 60:
            raise RuntimeError(f"after {LONGEST_S} s something shielded still waits")

    clock.jump = jump_within_bounds  # type: ignore[method-assign]
    return clock


async def _let_time_pass() -> None:
    """So that there is always a next deadline to jump to."""
    while True:
        await trio.sleep(LONGEST_S)


virtual_time = pytest.mark.trio(run=run_in_virtual_time)
real_time = pytest.mark.trio(run=trio.run)
