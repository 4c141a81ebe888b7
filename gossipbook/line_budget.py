"""How many lines a log may get, so that nobody who causes them can flood it; time comes in."""

from __future__ import annotations


class LineBudget:
    """Lets so many lines through at once and so many a second after, and counts the others."""

    def __init__(self, at_once: int, per_s: float) -> None:
        self._at_once = at_once
        self._per_s = per_s
        self._left: float = at_once
        self._updated_s: float | None = None
        self._left_out = 0

    def take(self, now_s: float) -> bool:
        """Whether another line may be written."""
        if self._updated_s is not None:
            gained = (now_s - self._updated_s) * self._per_s
            self._left = min(self._at_once, self._left + gained)
        self._updated_s = now_s
        if self._left < 1:
            self._left_out += 1
            return False
        self._left -= 1
        return True

    def take_left_out(self) -> int:
        """How many lines were left out since this was last asked."""
        left_out, self._left_out = self._left_out, 0
        return left_out
