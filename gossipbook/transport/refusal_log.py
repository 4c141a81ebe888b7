"""What is logged about connections that never became links: each with its reason, but not more
lines than a person can read. Whoever floods the door fills no disk with it."""

from __future__ import annotations

import logging
from time import monotonic

from gossipbook.line_budget import LineBudget

log = logging.getLogger("gossipbook.transport")

LINES_AT_ONCE = 20
LINES_PER_S = 1.0


class RefusalLog:
    """At INFO up to `LINES_AT_ONCE` lines, then one a second that says how many were left out; at
    DEBUG all of them."""

    def __init__(self) -> None:
        self.count = 0
        self._budget = LineBudget(LINES_AT_ONCE, LINES_PER_S)

    def refused(self, source: str, reason: str) -> None:
        """Somebody at ``source`` was turned away."""
        self.count += 1
        extra = {"source": source, "reason": reason}
        if self._budget.take(monotonic()):
            left_out = self._budget.take_left_out()
            more = f" ({left_out:,} more before it, not shown)" if left_out else ""
            log.info("refused a connection from %s: %s%s", source, reason, more, extra=extra)
        else:
            log.debug("refused a connection from %s: %s", source, reason, extra=extra)
