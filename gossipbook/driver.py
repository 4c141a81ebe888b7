"""The trio driver: it carries out what the protocol decides, and decides nothing itself.

``gossip/interface.py`` numbers the driver's duties. The protocol object is called from one trio
thread, one input at a time, and every call is synchronous; its outputs are carried out on the
spot, in order. What takes time becomes work for a task, and comes back as an input::

                     .-- timer task        TimerFired
    handle(input) <--+-- writer task       Persisted, PersistFailed   one transaction after another
         |           +-- a task per dial   LinkUp, DialFailed
      outputs        +-- two per link      Received, LinkDown         reading, and writing a queue
         v           '-- a task per bulk   Verified                   signatures in a worker thread
     carry out

Every queue is bounded. A link's outgoing queue drops pushes above 1 MiB (gossip brings their
entries another way) and gives the link up above 16 MiB: its other end does not read. What waits
for the store is bounded by what the replica holds in memory anyway. Listeners have buffers of their
own (``subscriptions``).

Cancellation. The tasks run shielded until ``close``: whoever uses the peer may be cancelled and
still have something to submit. What waits for the store when the driver ends is written, and its
submits answered: a submit that was taken is never left without a word.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf

import trio

from gossipbook.book.payload import Instruction
from gossipbook.clocks import is_virtual_time
from gossipbook.errors import (
    ConnectionLost,
    GossipbookError,
    PeerClosed,
    RemoteError,
    Unreachable,
    WriteRolledBack,
    WriteUndecided,
)
from gossipbook.event_log import EventLog
from gossipbook.gossip.interface import (
    Address,
    Dial,
    DialFailed,
    DialRefused,
    DropLink,
    Emit,
    Event,
    Input,
    Learn,
    Leave,
    LinkDown,
    LinkId,
    LinkUp,
    Output,
    PeerDown,
    PeerEvent,
    PeerUp,
    Persist,
    Persisted,
    PersistFailed,
    PersistUndecided,
    Received,
    Refused,
    Send,
    SetTimer,
    Submit,
    Submitted,
    TimerFired,
    Verified,
    Verify,
    Withdraw,
)
from gossipbook.gossip.protocol import GossipProtocol
from gossipbook.histogram import Histogram
from gossipbook.identity import PeerId, short
from gossipbook.log.clock import Instant
from gossipbook.log.entry import Entry
from gossipbook.log.verification import Verifier
from gossipbook.peer_view import COMMIT_TIMES_S
from gossipbook.replica import Update
from gossipbook.storage.interface import OpenStore
from gossipbook.subscriptions import Audience
from gossipbook.transport.interface import Connection, Endpoint

log = logging.getLogger("gossipbook.links")

DROP_PUSHES_ABOVE_BYTES = 1024 * 1024
GIVE_UP_ABOVE_BYTES = 16 * 1024 * 1024

BULK_SIGNATURES = 16
"""So many signatures and more are checked in a worker thread: 0.6 ms here would keep everybody
else waiting, and handing the work over costs about 0.1 ms."""

TURN_S = 0.002
"""How long one link's frames may be handled before everybody else has a turn."""

READ_UP_TO_BYTES = 64 * 1024
"""What of one link may wait for its signatures to be checked until no more is read from it: the
sender has to wait then, and is not told to send again what it has sent already. Who forges is found
out before much more has been decoded for nothing."""

FLUSH_POLL_S = 0.005

LOOK_AGAIN_S = 1.0
"""How often a store that could not tell what came of a write is asked again."""

FAREWELL_S = 1.0
"""How long a link that is being closed may take for what is still in its queue."""


@dataclass(slots=True, eq=False)
class PendingSubmit:
    """A submit that waits for its answer."""

    answered: trio.Event = field(default_factory=trio.Event)
    submitted: Submitted | None = None
    error: GossipbookError | None = None


@dataclass(slots=True, eq=False)
class _Link:
    """A connection, and what is still to be sent over it."""

    connection: Connection
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    outgoing: deque[bytes] = field(default_factory=deque)
    queued_bytes: int = 0
    closing: bool = False
    drop_reason: str = ""
    lost_because: str = "the connection closed"
    offence: bool = False
    wake: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)


class Driver:
    """Runs one protocol object, between ``run`` and ``close``."""

    def __init__(
        self,
        protocol: GossipProtocol,
        *,
        store: OpenStore,
        endpoint: Endpoint | None,
        clock: Callable[[], float],
        verifier: Verifier,
    ) -> None:
        self.protocol = protocol
        self.updates: Audience[Update] = Audience()
        self.events: Audience[PeerEvent] = Audience()
        self.queue_drops = 0
        self.commits = Histogram(COMMIT_TIMES_S)
        """How long the store took for each transaction, in seconds."""
        self.log = EventLog(protocol.own_id)
        self.damage = store.stored.damage
        self.started = trio.Event()
        self.closing = False
        """Nothing more is submitted; what was taken is finished."""
        self.closed = False
        self._store = store
        self._endpoint = endpoint
        self._clock = clock
        self._verifier = verifier
        self._threads = not is_virtual_time()
        self._checkers = trio.CapacityLimiter(max(1, (os.cpu_count() or 1) - 1))
        self._verified = trio.lowlevel.ParkingLot()
        self._links: dict[LinkId, _Link] = {}
        self._next_link = 1
        self._next_submit = 1
        self._submits: dict[int, PendingSubmit] = {}
        self._writes: list[Persist] = []
        self._writer = trio.lowlevel.ParkingLot()
        self._timer = trio.CancelScope()
        self._timer_s: float = inf
        self._refusals: dict[Address, str] = {}
        self._unreachable: set[Address] = set()  # of those that the user named
        self._inputs: deque[Input] = deque()
        self._handling = False
        self._nursery: trio.Nursery | None = None
        self._scope = trio.CancelScope(shield=True)
        self._flushing: dict[_Link, None] = {}  # dropped, with something left to send
        self._said_goodbye = False
        self._written = trio.Event()

    # ---------------------------------------------------------------- for the peer

    async def run(self) -> None:
        """Run until ``close``. Nobody else's cancellation stops it: who uses it may have
        something left to submit when cancelled."""
        try:
            with self._scope:
                async with trio.open_nursery() as self._nursery:
                    self._nursery.start_soon(self._run_timer)
                    self._nursery.start_soon(self._run_writer)
                    if self._endpoint is not None:
                        self._nursery.start_soon(self._accept, self._endpoint)
                    self._carry_out(self.protocol.start(self.now()))
                    self.started.set()
        finally:
            self.started.set()
            self._end()

    async def close(self, *, orderly: bool) -> None:
        """Stop; ``orderly`` sends what is due and says goodbye first, within about a second.

        Whatever was handed to the store is written. Not to be cancelled: shield it.
        """
        self.closing = True
        with trio.move_on_after(FAREWELL_S):
            while orderly and self.protocol.own.in_flight is not None and not self.closed:
                await trio.sleep(FLUSH_POLL_S)
        if orderly:
            self.give(Leave())
            with trio.move_on_after(FAREWELL_S):
                while self._flushing:
                    await trio.sleep(FLUSH_POLL_S)
        self._said_goodbye = True
        self._writer.unpark_all()
        await self._written.wait()
        self.settle()
        self._scope.cancel()
        self._end()

    def _end(self) -> None:
        """Nothing more will happen: tell everyone who waits."""
        self.closed = self.closing = True
        self._written.set()
        self.updates.end()
        self.events.end()
        in_flight = self.protocol.own.in_flight
        taken = {token for token, _ in in_flight.submits} if in_flight is not None else set()
        for token, pending in self._submits.items():
            if token in taken:
                pending.error = WriteUndecided(
                    "the peer ended while the order was written; if it is in the store, it stands"
                )
            else:
                pending.error = PeerClosed("the peer was closed before it signed the order")
            pending.answered.set()
        self._submits.clear()

    @property
    def refusals(self) -> list[DialRefused]:
        """Who refuses links at present, and why."""
        return [_refusal(address, reason) for address, reason in self._refusals.items()]

    def give(self, what: Input) -> None:
        """Hand the protocol an input, and carry out what comes of it.

        An input that comes up while outputs are being carried out waits until they are: they have
        an order, and a timer that was set later must not be overtaken by one set earlier.
        """
        self._inputs.append(what)
        if self._handling:
            return
        self._handling = True
        try:
            while self._inputs:
                what = self._inputs.popleft()
                if not self.closed:
                    self._carry_out(self.protocol.handle(what, self.now()))
        finally:
            self._handling = False

    def settle(self) -> None:
        """Bring the books up to date because somebody is about to read them."""
        if not self.closed:
            self._carry_out(self.protocol.settle_now(self.now()))

    @property
    def can_dial(self) -> bool:
        """Whether there is a transport."""
        return self._endpoint is not None

    def queued_bytes(self, link: LinkId) -> int:
        """What waits to be sent over a link."""
        known = self._links.get(link)
        return 0 if known is None else known.queued_bytes

    def join(self, address: Address, peer_id: PeerId | None = None) -> None:
        """Dial this address, too: from now on if the user names it, for a while if it is hearsay
        about ``peer_id``."""
        self.give(Learn(address, peer_id))

    def now(self) -> Instant:
        """Trio's clock for timers, the wall clock for entries; both in microseconds."""
        return Instant(round(trio.current_time() * 1e6), round(self._clock() * 1e6))

    async def submit(self, instructions: tuple[Instruction, ...]) -> Submitted:
        """Have commands signed and stored. Cancelled means not submitted: a submit that was taken
        into an entry waits for the store, and returns."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self.closing:
            raise PeerClosed("this peer is closed; submit inside its `async with` block")
        token = self._next_submit
        self._next_submit += 1
        pending = self._submits[token] = PendingSubmit()
        self.give(Submit(token, instructions))
        try:
            await pending.answered.wait()
        except trio.Cancelled:
            if self.protocol.own.is_queued(token):
                self.give(Withdraw(token))
                self._submits.pop(token, None)
                raise
            with trio.CancelScope(shield=True):
                await pending.answered.wait()
            if pending.submitted is None and not isinstance(pending.error, WriteUndecided):
                raise  # nothing was submitted after all
        if pending.error is not None:
            raise pending.error
        assert pending.submitted is not None
        return pending.submitted

    # ---------------------------------------------------------------- outputs

    def _carry_out(self, outputs: list[Output]) -> None:
        for output in outputs:
            kind = type(output)
            if kind is Send:
                self._send(output)  # type: ignore[arg-type]
            elif kind is SetTimer:
                self._set_timer(output.at_us)  # type: ignore[union-attr]
            else:
                self._carry_out_rarer(output)

    def _carry_out_rarer(self, output: Output) -> None:
        assert self._nursery is not None
        match output:
            case Verify():
                self._verify(output)
            case Persist():
                self._writes.append(output)
                self._writer.unpark_all()
            case Emit(event):
                self._emit(event)
            case Submitted(token):
                pending = self._submits.pop(token, None)
                if pending is not None:
                    pending.submitted = output
                    pending.answered.set()
            case Refused(token, error):
                pending = self._submits.pop(token, None)
                if pending is not None:
                    pending.error = error
                    pending.answered.set()
            case Dial():
                self._nursery.start_soon(self._dial, output)
            case DropLink(link, reason, offence):
                self._drop(link, reason, offence)
            case _:
                raise AssertionError(f"the driver does not know {output!r}")

    def _send(self, send: Send) -> None:
        link = self._links.get(send.link)
        if link is None or link.closing:
            return
        if send.droppable and link.queued_bytes > DROP_PUSHES_ABOVE_BYTES:
            self.queue_drops += 1
            return
        link.outgoing.append(send.data)
        link.queued_bytes += len(send.data)
        if link.queued_bytes > GIVE_UP_ABOVE_BYTES:
            link.lost_because = f"it has not read the last {link.queued_bytes:,} bytes"
            link.scope.cancel()  # LinkDown follows
        link.wake.unpark_all()

    def _drop(self, link_id: LinkId, reason: str, offence: bool) -> None:
        link = self._links.pop(link_id, None)
        if link is not None:
            if offence:
                link.connection.blame()
            link.closing, link.drop_reason = True, reason
            self._flushing[link] = None
            link.scope.deadline = trio.current_time() + FAREWELL_S
            link.wake.unpark_all()

    def _set_timer(self, at_us: int) -> None:
        self._timer_s = at_us / 1e6
        self._timer.deadline = self._timer_s

    def _emit(self, event: Event) -> None:
        if isinstance(event, Update):
            self.updates.publish(event)
        else:
            self._log_event(event)
            self.events.publish(event)

    def _log_event(self, event: PeerEvent) -> None:
        peer_id = event.peer_id if isinstance(event, PeerUp | PeerDown) else None
        address = None if peer_id is None else self.protocol.address_book.address_of(peer_id)
        self.log.event(event, address, trio.current_time())

    def _verify(self, verify: Verify) -> None:
        assert self._nursery is not None
        if self._threads and len(verify.entries) >= BULK_SIGNATURES:
            self._nursery.start_soon(self._verify_in_thread, verify)
        else:
            self.give(Verified(verify.token, self._verifier.check(verify.entries)))

    # ---------------------------------------------------------------- tasks

    async def _run_timer(self) -> None:
        while True:
            with trio.CancelScope(deadline=self._timer_s) as self._timer:
                await trio.sleep_forever()
            if trio.current_time() >= self._timer_s:
                self._timer_s = inf
                self.give(TimerFired())

    async def _run_writer(self) -> None:
        """Write what waits, in one transaction, and then what came meanwhile."""
        while True:
            while self._writes:
                writes, self._writes = self._writes, []
                failure = await self._write(writes)
                if failure is None:
                    for write in writes:
                        self.give(Persisted(write.token))
                else:
                    self._writes.clear()
                    self.give(PersistFailed(writes[0].token, failure))
            if self._said_goodbye:
                self._written.set()
                return
            await self._writer.park()

    async def _write(self, writes: Sequence[Persist]) -> str | None:
        """One transaction; why it failed, or None."""
        entries: list[Entry] = [entry for write in writes for entry in write.entries]
        proofs = [proof for write in writes for proof in write.proofs]
        peers = [peer for write in writes for peer in write.peers]
        signed = any(write.signed for write in writes)
        clock = max(write.clock_high_water for write in writes)
        started_s = trio.current_time()
        try:
            await self._store.write(entries, proofs, clock, peers, signed)
        except WriteRolledBack as error:
            return str(error)
        except WriteUndecided as error:
            self.give(PersistUndecided(writes[0].token, str(error)))
            return await self._find_out(entries, str(error))
        self.commits.add(trio.current_time() - started_s)
        return None

    async def _find_out(self, entries: Sequence[Entry], reason: str) -> str | None:
        """Read the store again until it tells whether a write stands; why it failed, or None.

        A peer that is closed before that writes nothing more: the next start will look.
        """
        while not self.closing:
            await trio.sleep(LOOK_AGAIN_S)
            try:
                return None if await self._store.was_written(entries) else reason
            except WriteUndecided as error:
                reason = str(error)
        self._written.set()
        await trio.sleep_forever()
        raise AssertionError("the driver has ended")

    async def _verify_in_thread(self, verify: Verify) -> None:
        check = self._verifier.check
        verified = await trio.to_thread.run_sync(
            check, verify.entries, abandon_on_cancel=True, limiter=self._checkers
        )
        self.give(Verified(verify.token, verified))
        self._verified.unpark_all()

    async def _accept(self, endpoint: Endpoint) -> None:
        assert self._nursery is not None
        while True:
            connection = await endpoint.accept()
            self._nursery.start_soon(self._run_link, connection, connection.address, False)

    async def _dial(self, dial: Dial) -> None:
        connection: Connection | None = None
        if self._endpoint is not None:
            try:
                with trio.move_on_after(self.protocol.config.dial_timeout_us / 1e6) as patience:
                    connection = await self._endpoint.dial(dial.address, dial.expected)
                if patience.cancelled_caught:
                    where = dial.address.decode(errors="replace")
                    self._tell_unreachable(dial.address, f"nobody answers at {where}")
            except Unreachable as error:
                self._tell_unreachable(dial.address, str(error))
            except RemoteError as error:
                self._tell_refusal(dial.address, str(error))
        if connection is None:
            self.give(DialFailed(dial.address))
        else:
            self._refusals.pop(dial.address, None)
            self._unreachable.discard(dial.address)
            await self._run_link(connection, dial.address, True)

    def _tell_unreachable(self, address: Address, reason: str) -> None:
        """An address that the user named leads nowhere: said once, and again after it did."""
        if address not in self._unreachable and self.protocol.address_book.is_bootstrap(address):
            self._unreachable.add(address)
            log.warning("%s; it is tried again", reason, extra={"address": address.decode()})

    def _tell_refusal(self, address: Address, reason: str) -> None:
        if self._refusals.get(address) != reason:
            self._refusals[address] = reason
            while len(self._refusals) > self.protocol.config.address_book_limit:
                del self._refusals[next(iter(self._refusals))]
            self._emit(_refusal(address, reason))

    async def _run_link(
        self, connection: Connection, address: Address | None, dialled: bool
    ) -> None:
        """One link, from its first frame to its last."""
        link_id = self._next_link
        self._next_link += 1
        link = self._links[link_id] = _Link(connection)
        self.give(LinkUp(link_id, connection.peer_id, address, dialled))
        if link.drop_reason:
            now_s = trio.current_time()
            self.log.refused(connection.peer_id, link.drop_reason, address, now_s)
        try:
            with link.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._receive_frames, link_id, link, nursery.cancel_scope)
                    await self._send_frames(link)
                    nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + FAREWELL_S):
                await connection.aclose()
            self._flushing.pop(link, None)
        if self._links.pop(link_id, None) is not None:
            self.give(LinkDown(link_id, link.lost_because, link.offence))

    async def _send_frames(self, link: _Link) -> None:
        """Send what is queued, all that waits at once, until the link is to be closed."""
        try:
            while True:
                while link.outgoing:
                    frames = list(link.outgoing)
                    link.outgoing.clear()
                    await link.connection.send(frames)
                    link.queued_bytes -= sum(map(len, frames))
                if link.closing:
                    return
                await link.wake.park()
        except ConnectionLost:
            pass

    async def _receive_frames(self, link_id: LinkId, link: _Link, scope: trio.CancelScope) -> None:
        try:
            while not link.closing:
                turn_began_s = trio.current_time()
                for frame in await _receive(link.connection):
                    self.give(Received(link_id, frame))
                    if trio.current_time() - turn_began_s > TURN_S:
                        await trio.lowlevel.checkpoint()
                        turn_began_s = trio.current_time()
                while self.protocol.verifying_bytes(link_id) > READ_UP_TO_BYTES:
                    await self._verified.park()
        except ConnectionLost:
            scope.cancel()
        except RemoteError as error:
            link.lost_because, link.offence = str(error), True
            link.connection.blame()
            scope.cancel()


async def _receive(connection: Connection) -> Sequence[bytes]:
    """What comes next. A transport that fails in a way nobody foresaw costs one link."""
    try:
        return await connection.receive()
    except (ConnectionLost, RemoteError):
        raise
    except Exception as error:
        log.exception("the link to %s failed", short(connection.peer_id))
        raise ConnectionLost(f"the transport failed: {error!r}") from error


def _refusal(address: Address, reason: str) -> DialRefused:
    return DialRefused(address.decode(errors="replace"), reason)
