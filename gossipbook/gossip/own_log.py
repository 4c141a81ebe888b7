"""Our own entries: batched, signed once, on disk before anybody sees them.

Three promises live here. A sequence number is signed once: one entry is in flight at a time, and
nothing is signed before another peer has confirmed how long our log is (a restored backup looks
intact, and an empty store with a used key looks new). An entry reaches nobody before the store has
it. And a clock that runs ahead of the network's is told before, not after, signing.

    submits --> queue --batch--> signed, in flight --Persisted--> counts, is pushed
                                        '--PersistFailed--> refused; the seq is free
"""

from dataclasses import dataclass

from gossipbook.book.payload import (
    MAX_COMMANDS,
    MAX_PAYLOAD_BYTES,
    Instruction,
    encode_payload,
)
from gossipbook.errors import (
    ClockError,
    GossipbookError,
    IdentityForked,
    OwnHeadUnconfirmed,
    WriteRolledBack,
    WriteUndecided,
)
from gossipbook.gossip.config import GossipConfig
from gossipbook.identity import Keypair, short
from gossipbook.log.clock import Instant, NetworkClock, hlc_milliseconds
from gossipbook.log.entry import Entry, sign_entry
from gossipbook.replica import Replica


@dataclass(slots=True)
class _Queued:
    commands: tuple[Instruction, ...]
    deadline_us: int  # by which our head must be confirmed


@dataclass(slots=True)
class InFlight:
    """The one entry that is being written, and the submits in it: (token, first index)."""

    entry: Entry
    submits: list[tuple[int, int]]


Refusal = tuple[int, GossipbookError]


class OwnLog:
    """The queue of submits, the entry in flight, and whether we may sign at all."""

    def __init__(
        self,
        keypair: Keypair,
        replica: Replica,
        clock: NetworkClock,
        config: GossipConfig,
        *,
        confirmed: bool,
        damaged: bool = False,
    ) -> None:
        self._keypair = keypair
        self._replica = replica
        self._clock = clock
        self._config = config
        self._queue: dict[int, _Queued] = {}
        self.in_flight: InFlight | None = None
        self.confirmed = confirmed
        self.forked = False
        self._damaged = damaged
        self._undecided: str | None = None  # why the outcome of the write in flight is not known
        self._landed_any = False  # since the start

    @property
    def queued_count(self) -> int:
        return len(self._queue)

    def submit(self, token: int, commands: tuple[Instruction, ...], now_us: int) -> None:
        assert 1 <= len(commands) <= MAX_COMMANDS, "submits are checked before they come here"
        self._queue[token] = _Queued(commands, now_us + self._config.confirm_timeout_us)

    def is_queued(self, token: int) -> bool:
        """Whether a submit still waits to be taken into an entry."""
        return token in self._queue

    def withdraw(self, token: int) -> None:
        self._queue.pop(token, None)

    def next_deadline_us(self) -> int | None:
        """When the first submit gives up waiting for a confirmation."""
        if self.confirmed or not self._queue:
            return None
        return min(queued.deadline_us for queued in self._queue.values())

    def expired(self, now_us: int) -> list[Refusal]:
        """The submits that waited too long for a confirmation; they leave the queue."""
        if self.confirmed:
            return []
        late = [token for token, queued in self._queue.items() if queued.deadline_us <= now_us]
        for token in late:
            del self._queue[token]
        return [(token, self.unconfirmed_error()) for token in late]

    def take_batch(self, now: Instant) -> tuple[InFlight | None, list[Refusal]]:
        """Sign the next entry, if one may be signed now; and the submits refused on the way."""
        if self._undecided is not None:
            return None, self._refuse_all(WriteUndecided(self._undecided))
        if not self._queue or self.in_flight is not None:
            return None, []
        if self.forked:
            return None, self._refuse_all(self._forked_error())
        if not self.confirmed:
            return None, []
        start_ms = self._replica.genesis.start_ms  # nothing dated before it would count
        hlc = self._replica.clock.next(max(self._clock.local_ms(now.wall_us), start_ms))
        ahead_ms = hlc_milliseconds(hlc) - self._clock.median_ms(now.wall_us)
        # Twice the tolerance: what is applied may be one tolerance ahead, and ours comes after it.
        if ahead_ms > 2 * self._replica.settings.tolerance_ms:
            return None, self._refuse_all(
                ClockError(
                    f"this peer's next timestamp would be {ahead_ms} ms ahead of the median "
                    "peer's clock; set this machine's clock (NTP) and submit again"
                )
            )
        commands: list[Instruction] = []
        submits: list[tuple[int, int]] = []
        size_bytes = 0
        for token, queued in list(self._queue.items()):
            more_bytes = 64 * len(queued.commands)  # no command takes more
            if submits and (
                len(commands) + len(queued.commands) > MAX_COMMANDS
                or size_bytes + more_bytes > MAX_PAYLOAD_BYTES
            ):
                break
            submits.append((token, len(commands)))
            commands += queued.commands
            size_bytes += more_bytes
            del self._queue[token]
        head = self._replica.head(self._keypair.peer_id)
        entry = sign_entry(
            self._keypair,
            network_id=self._replica.genesis.network_id,
            seq=head.length,
            prev=head.head_id,
            hlc=hlc,
            payload=encode_payload(commands),
        )
        self._replica.clock.observe(hlc)
        self.in_flight = InFlight(entry, submits)
        return self.in_flight, []

    def landed(self) -> InFlight:
        """The entry in flight is on disk."""
        self._landed_any = True
        return self._decide()

    def _decide(self) -> InFlight:
        batch = self.in_flight
        assert batch is not None, "something was persisted that was not in flight"
        self.in_flight = None
        self._undecided = None
        return batch

    def failed(self, reason: str) -> list[Refusal]:
        """The write was rolled back: its submits are refused, and the seq is free."""
        error = WriteRolledBack(f"the store could not write the order, nothing was sent: {reason}")
        return [(token, error) for token, _ in self._decide().submits]

    def undecided(self, reason: str) -> list[Refusal]:
        """Nobody can tell whether the entry in flight is on disk: its submits are refused, and all
        others until it is known. It keeps its seq, and counts if it turns out to be there."""
        self._undecided = (
            f"the disk failed while an order was written, and it is not known yet whether it is "
            f"there; if it is, it stands: {reason}"
        )
        submits: list[tuple[int, int]] = []
        if self.in_flight is not None:
            submits, self.in_flight.submits = self.in_flight.submits, []
        error = WriteUndecided(self._undecided)
        return [(token, error) for token, _ in submits] + self._refuse_all(error)

    def decided(self) -> None:
        """It is known again what the store holds, with nothing of ours in flight."""
        if self.in_flight is None:
            self._undecided = None

    def unconfirmed_error(self) -> OwnHeadUnconfirmed:
        """Why nothing can be signed, and what to do."""
        return unconfirmed_error(damaged=self._damaged)

    def saw_own_entries_elsewhere(self) -> None:
        """Entries of our own that we did not hold came from a peer.

        After a start with an old store that is our own past coming back. Once we have signed
        something since the start, somebody else is signing with our key.
        """
        if self._landed_any:
            self.forked = True

    def doubt(self) -> None:
        """A peer knows more of our log than we hold: whoever confirmed it knew less. As long as
        nothing was signed since the start, that can be put right."""
        if not self._landed_any:
            self.confirmed = False

    def forked_error_if_any(self) -> IdentityForked | None:
        return self._forked_error() if self.forked else None

    def _refuse_all(self, error: GossipbookError) -> list[Refusal]:
        tokens = list(self._queue)
        self._queue.clear()
        return [(token, error) for token in tokens]

    def _forked_error(self) -> IdentityForked:
        return IdentityForked(
            f"two different histories are signed with the key of {short(self._keypair.peer_id)}: "
            "another process uses it, or an old copy of its store was written to. Stop using "
            "this key and start a peer with a new one"
        )


def unconfirmed_error(*, damaged: bool = False) -> OwnHeadUnconfirmed:
    if damaged:
        return OwnHeadUnconfirmed(
            "our own log in the store is damaged, so signing could fork it. Wait until a peer is "
            "reachable that holds the rest of it; if there is none, go on with a new key and a new "
            "store"
        )
    return OwnHeadUnconfirmed(
        "no peer has confirmed since the start how long our own log is, so signing could fork it. "
        "Wait until a peer is reachable; or, if nobody else has ever seen this key's entries, "
        "open the peer with alone=True"
    )
