"""What gossip costs: counters that run from the first message.

``GossipStatistics`` is a plain set of counters that the protocol raises. "Novel" is what taught us
something, "duplicate" what we had already.
"""

from dataclasses import dataclass, field


@dataclass(slots=True)
class GossipStatistics:
    """Counts since the start of one peer."""

    sent_count: dict[str, int] = field(default_factory=dict)  # by message kind
    sent_bytes: dict[str, int] = field(default_factory=dict)
    received_count: dict[str, int] = field(default_factory=dict)
    received_bytes: dict[str, int] = field(default_factory=dict)
    novel_entries: int = 0
    novel_bytes: int = 0
    duplicate_entries: int = 0
    duplicate_bytes: int = 0
    refused_messages: int = 0  # the link was dropped for them
    throttled_requests: int = 0  # ignored: more than the link's bucket allows
    fetch_timeouts: int = 0
    bisections: int = 0
    audits: int = 0
    divergences: dict[str, int] = field(default_factory=dict)  # by status
    links_lost: int = 0

    def count_sent(self, kind: str, size_bytes: int) -> None:
        self.sent_count[kind] = self.sent_count.get(kind, 0) + 1
        self.sent_bytes[kind] = self.sent_bytes.get(kind, 0) + size_bytes

    def count_received(self, kind: str, size_bytes: int) -> None:
        self.received_count[kind] = self.received_count.get(kind, 0) + 1
        self.received_bytes[kind] = self.received_bytes.get(kind, 0) + size_bytes

    @property
    def total_sent_bytes(self) -> int:
        return sum(self.sent_bytes.values())
