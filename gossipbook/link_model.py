"""How long a message takes from one peer to another, and whether it comes at all, from a seed.

`LinkModel` decides the arrival times of the messages of one direction of one link. It promises
the same arrivals for the same seed, in integer microseconds, with one draw of 64 bits a message;
parameters become integers before anything is decided. `Partition` says who is cut off from whom.
Queues and what a message says are not this file's business: a sender that must bound what is
under way looks at `busy_until_us`.

    send -- wait until the wire is free -- transmit (bandwidth) -- travel (latency) -- arrive

Messages arrive in the order they were sent, as on a TCP stream, except that one hit by
`reordering` is late on its own and holds nobody back; so is a duplicate's second copy.
"""

from dataclasses import dataclass
from math import isfinite
from typing import Final

from gossipbook.errors import UsageError
from gossipbook.randomness import SeededRandom

__all__ = ["NO_PARTITION", "Link", "LinkModel", "Partition"]


@dataclass(frozen=True, slots=True)
class Link:
    """What a link does to messages.

    `latency` is the least and the greatest travelling time in seconds, every time between them
    being as likely. `loss`, `duplication` and `reordering` are probabilities a message, from 0 to
    1. `bandwidth` is in bytes a second, None for no limit. Raises UsageError.
    """

    latency: tuple[float, float] = (0.005, 0.05)
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    bandwidth: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.latency, tuple | list) or len(self.latency) != 2:
            raise UsageError(f"latency={self.latency!r}; give (lowest, highest) in seconds")
        low_s, high_s = self.latency
        is_range = _is_number(low_s) and _is_number(high_s) and 0 <= low_s <= high_s
        if not is_range or high_s > _LONGEST_S:
            raise UsageError(
                f"latency={self.latency!r}; give 0 <= lowest <= highest <= {_LONGEST_S} seconds"
            )
        object.__setattr__(self, "latency", (low_s, high_s))
        for name in ("loss", "duplication", "reordering"):
            value = getattr(self, name)
            if not _is_number(value) or not 0 <= value <= 1:
                raise UsageError(f"{name}={value!r}; give a probability from 0 to 1")
        bandwidth = self.bandwidth
        if bandwidth is not None and (not _is_number(bandwidth) or bandwidth <= 0):
            raise UsageError(
                f"bandwidth={bandwidth!r}; give bytes per second above 0, or None for no limit"
            )


@dataclass(frozen=True, slots=True)
class Partition:
    """Who is cut off: what crosses the border of `group` is lost, in one direction or both.

    `one_way`: what the group sends is lost, what the rest sends still reaches the group.
    """

    group: frozenset[object]
    one_way: bool = False

    def cuts(self, sender: object, receiver: object) -> bool:
        """Whether what `sender` sends is kept from `receiver`."""
        inside = sender in self.group
        if inside == (receiver in self.group):
            return False
        return inside or not self.one_way


NO_PARTITION: Final = Partition(frozenset())


class LinkModel:
    """One direction of a link: when each message arrives."""

    __slots__ = (
        "_bytes_per_s",
        "_duplication_parts",
        "_last_arrival_us",
        "_latency_low_us",
        "_latency_span_us",
        "_loss_parts",
        "_random",
        "_reach_us",
        "_reordering_parts",
        "busy_until_us",
    )

    def __init__(self, link: Link, random: SeededRandom) -> None:
        low_us, high_us = (round(bound_s * 1_000_000) for bound_s in link.latency)
        self._random: Final = random
        self._latency_low_us: Final = low_us
        self._latency_span_us: Final = high_us - low_us
        self._reach_us: Final = high_us - low_us or low_us  # a fixed latency stands for its span
        self._loss_parts: Final = _parts_per_65536(link.loss)
        self._duplication_parts: Final = _parts_per_65536(link.duplication)
        self._reordering_parts: Final = _parts_per_65536(link.reordering)
        self._bytes_per_s: Final = None if link.bandwidth is None else max(1, round(link.bandwidth))
        self._last_arrival_us = 0
        self.busy_until_us = 0
        """When the wire is free again; never in the future without a bandwidth."""

    def successor(self, link: Link) -> "LinkModel":
        """The same direction under other conditions: what is under way stays ahead."""
        model = LinkModel(link, self._random)
        model._last_arrival_us = self._last_arrival_us
        model.busy_until_us = self.busy_until_us
        return model

    def arrivals(self, size_bytes: int, now_us: int) -> tuple[int, ...]:
        """The times, in microseconds, at which a message sent now arrives, earliest first.

        Empty: it is lost. Two times: it is duplicated. Where two messages arrive at one time,
        the one sent first comes first.
        """
        draw = self._random.bits(64)
        sent_us = now_us
        if self._bytes_per_s is not None:
            transmission_us = -(-size_bytes * 1_000_000 // self._bytes_per_s)
            sent_us = max(now_us, self.busy_until_us) + transmission_us
            self.busy_until_us = sent_us
        if draw & 0xFFFF < self._loss_parts:  # lost on the way: the wire was busy all the same
            return ()
        latency_us = self._latency_low_us + self._latency_span_us * (draw >> 48) // 0xFFFF
        arrival_us = sent_us + latency_us
        if (reordering := draw >> 32 & 0xFFFF) < self._reordering_parts:
            # Below the limit the draw is still even: it also says how late, up to 4 x the span.
            arrival_us += 4 * self._reach_us * (reordering + 1) // self._reordering_parts
        else:
            arrival_us = max(arrival_us, self._last_arrival_us)
            self._last_arrival_us = arrival_us
        if (duplication := draw >> 16 & 0xFFFF) < self._duplication_parts:
            copy_us = self._reach_us * (duplication + 1) // self._duplication_parts
            return arrival_us, arrival_us + copy_us
        return (arrival_us,)


_LONGEST_S: Final = 1_000_000


def _parts_per_65536(probability: float) -> int:
    """The nearest integer, but 0 and 65536 only for never and always."""
    if probability in (0, 1):
        return int(probability) * 65_536
    return min(max(round(probability * 65_536), 1), 65_535)


def _is_number(value: object) -> bool:
    return type(value) is int or (type(value) is float and isfinite(value))
