"""Which time it is: the machine's, or trio's virtual time in tests.

Under trio's ``MockClock`` nothing may take real time: its autojump would run ahead of it. So there
the wall clock follows trio's, and worker threads are not used.
"""

import sys
from collections.abc import Callable
from time import time
from typing import TypeVar

import trio

T = TypeVar("T")

VIRTUAL_EPOCH_S = 1_767_225_600.0
"""2026-01-01 UTC: where the wall clock starts in virtual time."""


def is_virtual_time() -> bool:
    """Whether trio runs on a MockClock."""
    testing = sys.modules.get("trio.testing")
    return testing is not None and isinstance(trio.lowlevel.current_clock(), testing.MockClock)


def default_clock() -> Callable[[], float]:
    """Seconds since 1970: the machine's, or in virtual time trio's since 2026."""
    return (lambda: VIRTUAL_EPOCH_S + trio.current_time()) if is_virtual_time() else time


async def run_blocking(work: Callable[[], T], *, limiter: trio.CapacityLimiter | None = None) -> T:
    """Do something that blocks, in a worker thread; in virtual time here and now.

    Once begun it cannot be cancelled.
    """
    if is_virtual_time():
        await trio.lowlevel.checkpoint()
        return work()
    return await trio.to_thread.run_sync(work, limiter=limiter)
