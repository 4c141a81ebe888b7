"""Cancels an operation after every step that the program takes, one run for each.

A task of trio runs until its next checkpoint, then another one: a step each. ``cancelled_after(k,
operate)`` runs an operation and cancels it when the program, with all its tasks, has taken k more
steps: wherever the operation is then. A test that runs k = 0, 1, 2, ... until the operation gets
through has cancelled it in every situation that it can be in, those included that only another
task's progress brings about (the store has answered, the caller has not been told yet).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import trio

T = TypeVar("T")


@dataclass
class Attempt(Generic[T]):
    """One run of an operation under ``cancelled_after``."""

    struck: bool
    """Whether the cancellation came before the operation was over; False: it took fewer steps."""
    cancelled: bool
    """Whether ``Cancelled`` came out of the operation."""
    result: T | None
    """What it returned, where it did."""
    error: Exception | None
    """What it raised, where it did."""
    situation: object
    """What ``where`` said when the cancellation came."""


async def cancelled_after(
    step_count: int,
    operate: Callable[[], Awaitable[T]],
    *,
    where: Callable[[], object] | None = None,
) -> Attempt[T]:
    """Run ``operate``, and cancel it after so many steps; 0: before it begins.

    ``where`` describes the situation at that moment; without it, it is the number of steps that
    the operation's own task had taken.
    """
    attempt: Attempt[T] = Attempt(False, False, None, None, None)
    with trio.CancelScope() as scope:
        strike = _Strike(step_count, scope, attempt, where)
        trio.lowlevel.add_instrument(strike)
        try:
            strike.look()
            attempt.result = await operate()
        except trio.Cancelled:
            attempt.cancelled = True
            raise
        except Exception as error:
            attempt.error = error
        finally:
            trio.lowlevel.remove_instrument(strike)
    attempt.cancelled |= scope.cancelled_caught  # it may come out of a nursery, in a group
    return attempt


class _Strike(trio.abc.Instrument):
    """Counts steps, and cancels when there are enough."""

    def __init__(
        self,
        step_count: int,
        scope: trio.CancelScope,
        attempt: Attempt[T],
        where: Callable[[], object] | None,
    ) -> None:
        self._steps_left = step_count
        self._scope = scope
        self._attempt = attempt
        self._where = where or (lambda: self._own_steps)
        self._task = trio.lowlevel.current_task()
        self._own_steps = 0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._own_steps += task is self._task
        self._steps_left -= 1
        self.look()

    def look(self) -> None:
        if self._steps_left == 0:
            self._attempt.struck = True
            self._attempt.situation = self._where()
            self._scope.cancel()
