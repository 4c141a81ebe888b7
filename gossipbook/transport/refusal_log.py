"""What is logged about connections that never became links: each with its reason, but not more
lines than a person can read. Whoever floods the door fills no disk with it."""

from __future__ import annotations

import logging
from time import monotonic

log = logging.getLogger("gossipbook.transport")

LINES_AT_ONCE = 20
LINES_PER_S = 1.0


class RefusalLog:
    """At INFO up to `LINES_AT_ONCE` lines, then one a second that says how many were left out; at
    DEBUG all of them."""

    def __init__(self) -> None:
        self.count = 0
        self._left_out = 0
        self._tokens = float(LINES_AT_ONCE)
        self._at_s = monotonic()

    def refused(self, source: str, reason: str) -> None:
        """Somebody at ``source`` was turned away."""
        self.count += 1
        now_s = monotonic()
        self._tokens = min(LINES_AT_ONCE, self._tokens + (now_s - self._at_s) * LINES_PER_S)
        self._at_s = now_s
        level = logging.INFO if self._tokens >= 1 else logging.DEBUG
        extra = {"source": source, "reason": reason}
        if level == logging.INFO:
            self._tokens -= 1
            left_out, self._left_out = self._left_out, 0
            more = f" ({left_out:,} more before it, not shown)" if left_out else ""
            log.info("refused a connection from %s: %s%s", source, reason, more, extra=extra)
        else:
            self._left_out += 1
            log.debug("refused a connection from %s: %s", source, reason, extra=extra)
