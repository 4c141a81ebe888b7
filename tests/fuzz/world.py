"""Two honest peers, and the strangers that a fuzzer speaks for.

``Side`` is one honest peer: a real protocol object, with the driver's duties (``gossip/interface``)
carried out step by step, in the open, so that a script can be slow, fail a write or restart it. It
looks at every output: what goes out is well formed, verified and on the disk. The two sides are
joined by a ``Pipe``, whose frames a script may lose, double and reorder; to the strangers there is
only one direction, and what the sides tell them is remembered. After each input ``bounds`` are
checked. Nothing here is drawn at random: ``script`` decides what happens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from fuzz.bounds import check_state, most_firings
from fuzz.readers import Reader

from gossipbook.book.payload import Instruction
from gossipbook.genesis import Genesis
from gossipbook.gossip.config import GossipConfig
from gossipbook.gossip.interface import (
    Address,
    Dial,
    DialFailed,
    DropLink,
    Emit,
    Input,
    Leave,
    LinkDown,
    LinkId,
    LinkUp,
    Output,
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
from gossipbook.gossip.messages import MAX_ADDRESS_BYTES, Message, News, decode_message
from gossipbook.gossip.messages import encode_message as encoded
from gossipbook.gossip.protocol import GossipProtocol
from gossipbook.identity import Keypair, PeerId
from gossipbook.log.clock import Instant
from gossipbook.log.entry import EntryId, decode_run
from gossipbook.log.verification import Verifier
from gossipbook.peer_view import PeerView
from gossipbook.randomness import SeededRandom
from gossipbook.replica import Replica, Update
from gossipbook.sim.simulated_peer import SimulatedStore

VERIFIER = Verifier()
REMEMBERED = 8
"""Messages of a side to a stranger that the stranger can still answer."""

MAX_PIPE_FRAMES = 64
"""A full pipe loses what comes next, as a slow link does."""


class Pipe:
    """A connection between the two sides, slow until a script delivers something."""

    def __init__(self) -> None:
        self.inbound: dict[str, deque[bytes | None]] = {"A": deque(), "B": deque()}
        self.links: dict[str, LinkId] = {}

    def put(self, receiver: str, frame: bytes | None) -> None:
        queue = self.inbound[receiver]
        if None not in queue and (frame is None or len(queue) < MAX_PIPE_FRAMES):
            queue.append(frame)


@dataclass(slots=True)
class Far:
    """The far end of a side's link: the other side, over a pipe, or a stranger."""

    peer_id: PeerId
    pipe: Pipe | None = None
    heard: deque[Message] = field(default_factory=lambda: deque(maxlen=REMEMBERED))


class World:
    """The clock, and the two sides."""

    def __init__(self, genesis: Genesis, config: GossipConfig, *, epoch_us: int) -> None:
        self.genesis = genesis
        self.config = config
        self.now_us = 0
        self.epoch_us = epoch_us
        self.sides: dict[str, Side] = {}

    def other(self, side: Side) -> Side:
        return self.sides["B" if side.name == "A" else "A"]

    def connect(self, dialler: Side, target: Side) -> None:
        """The dialler has reached the target and both have proven who they are."""
        dialler.dialling.pop(target.address, None)
        pipe = Pipe()
        for side in (dialler, target):
            pipe.links[side.name] = side.next_link()
        # Both know of the connection before either is told: the first words go into it.
        for side in (dialler, target):
            side.links[pipe.links[side.name]] = Far(self.other(side).keypair.peer_id, pipe)
        own_id = dialler.keypair.peer_id
        target.give(LinkUp(pipe.links[target.name], own_id, dialler.address, dialled=False))
        if pipe.links[dialler.name] in dialler.links:
            up = LinkUp(
                pipe.links[dialler.name], target.keypair.peer_id, target.address, dialled=True
            )
            dialler.give(up)

    def deliver(self, pipe: Pipe, side: Side, at: int = 0, *, keep: bool = False) -> None:
        """Hand a side one of the frames that are on the way to it, not past the end of them."""
        queue = pipe.inbound[side.name]
        link = pipe.links[side.name]
        frame = queue[at]
        if frame is None and at:
            return
        if not keep:
            del queue[at]
        if link not in side.links:
            return
        if frame is None:
            del side.links[link]
            side.give(LinkDown(link))
        else:
            side.give(Received(link, frame))

    def pipes(self) -> list[Pipe]:
        """The pipes that still carry something or could."""
        found: dict[int, Pipe] = {}
        for side in self.sides.values():
            for far in side.links.values():
                if far.pipe is not None:
                    found[id(far.pipe)] = far.pipe
        return list(found.values())

    def advance(self, delta_us: int) -> None:
        """Let time pass; timers fire when they are due, and not without end."""
        until_us = self.now_us + delta_us
        for side in self.sides.values():
            side.firings = 0
        while True:
            due = min(self.sides.values(), key=lambda side: side.timer_us)
            if due.timer_us > until_us:
                break
            self.now_us = max(self.now_us, due.timer_us)
            due.fire()
            limit = most_firings(delta_us)
            assert due.firings <= limit, f"{due.firings} timers fired within {delta_us} us"
        self.now_us = until_us


class Side(PeerView):
    """One honest peer, its store and its user."""

    def __init__(
        self,
        world: World,
        name: str,
        keypair: Keypair,
        *,
        contacts: Sequence[Address],
        alone: bool | None,
        watched: bool,
        seed: int,
    ) -> None:
        self.world = world
        self.name = name
        self.keypair = keypair
        self.address = name.encode()
        self.contacts = contacts
        self.alone = alone
        self.watched = watched
        self.clock_offset_us = 0
        self.store = SimulatedStore()
        self.transaction = 0
        """How many of the waiting writes share the transaction whose outcome is undecided."""
        self.links: dict[LinkId, Far] = {}
        self.verifying: list[Verify] = []
        self.dialling: dict[Address, PeerId | None] = {}
        self.submits: dict[int, tuple[Instruction, ...]] = {}
        self.receipts: list[Submitted] = []
        self.timer_us = 0
        self.firings = 0
        self.checked: set[EntryId] = set()
        """Entries whose signature was found good before the protocol was told so."""
        self.on_disk: dict[int, EntryId] = {}
        """By seq: what this side signed itself and its store holds."""
        self.unwritten: set[EntryId] = set()
        self.own_length = 0
        """How long its own log was when it was last written, whoever brought the entries."""
        self.damaged: set[int] = set()
        """Of those, what the disk has lost since."""
        self.may_fork = False
        """Whether somebody else signs with this side's key, be it the side's own past."""
        self._links_given = 0
        self._submits_given = 0
        self._seed = seed
        self.start()

    # ---------------------------------------------------------------- as a peer to be read

    @property
    def genesis(self) -> Genesis:
        return self.world.genesis

    @property
    def running(self) -> GossipProtocol:
        return self.protocol

    def _settled(self) -> Replica:
        self.settle()
        return self.protocol.replica

    # ---------------------------------------------------------------- a life

    def start(self) -> None:
        """Begin with what the store holds."""
        self._seed += 1
        stored = self.store.state()
        stored = stored._replace(
            own_length=self.own_length,
            peers=stored.peers[-self.world.config.address_book_limit :],  # as a store on disk does
        )
        self.protocol = GossipProtocol(
            self.world.genesis,
            self.keypair,
            random=SeededRandom(self._seed),
            bootstrap=self.contacts,
            stored=stored,
            alone=self.alone,
            config=self.world.config,
        )
        self.reader = Reader()
        self.timer_us = 1 << 62
        self._carry_out(self.protocol.start(self.now()))
        if self.watched:
            self.settle()
            self.protocol.replica.watched = True
            self.reader.begin(self.protocol.replica.snapshot())

    def crash(self) -> None:
        """End without a word. What was on its way to the disk is lost."""
        self.transaction = 0
        self.store.crash()
        self.unwritten.clear()
        self.verifying.clear()
        self.dialling.clear()
        self.submits.clear()
        for far in self.links.values():
            if far.pipe is not None:
                far.pipe.put(self.world.other(self).name, None)
        self.links.clear()

    def put_back(self, *, keep_entries: int) -> None:
        """Before a start: the store is an old backup, and nothing in it says so."""
        self._forget(keep_entries)
        own_id = self.keypair.peer_id
        self.on_disk = {one.seq: one.id for one in self.store.entries if one.author == own_id}
        self.own_length = max([seq + 1 for seq in self.on_disk], default=0)
        self.damaged.clear()
        self.may_fork = True

    def damage(self, *, keep_entries: int) -> None:
        """Before a start: entries are lost, and the store knows how many there were."""
        self._forget(keep_entries)
        own_id = self.keypair.peer_id
        left = {one.seq for one in self.store.entries if one.author == own_id}
        self.damaged = self.on_disk.keys() - left

    def _forget(self, keep_entries: int) -> None:
        """An own entry that a fork made void before it landed never got a place in the order: such
        entries go first, for no clock ever followed them."""
        connected = [entry for entry in self.store.entries if entry.merge_key is not None]
        self.store.entries[:] = connected
        self.store.forget(keep_entries)

    def leave_and_return(self) -> None:
        """Say goodbye, write down what waits, and come back as a new process."""
        self.give(Leave())
        assert not self.links, "it left, and kept a link"
        while self.store.pending:
            self.land()
        self.crash()
        self.start()

    def now(self) -> Instant:
        now_us = self.world.now_us
        return Instant(now_us, max(0, self.world.epoch_us + now_us + self.clock_offset_us))

    # ---------------------------------------------------------------- inputs

    def give(self, what: Input) -> None:
        self._carry_out(self.protocol.handle(what, self.now()))
        check_state(self.protocol, bootstrap=len(self.contacts))

    def settle(self) -> None:
        self._carry_out(self.protocol.settle_now(self.now()))

    def fire(self) -> None:
        self.firings += 1
        self.timer_us = 1 << 62
        self.give(TimerFired())

    def next_link(self) -> LinkId:
        self._links_given += 1
        return self._links_given

    def link_stranger(self, peer_id: PeerId, address: Address | None, *, dialled: bool) -> None:
        link = self.next_link()
        self.links[link] = Far(peer_id)
        self.give(LinkUp(link, peer_id, address, dialled))

    def hear(self, link: LinkId, frame: bytes) -> None:
        self.give(Received(link, frame))

    def lose(self, link: LinkId, *, offence: bool = False) -> None:
        """The connection breaks, or the transport has cut it off for what came over it."""
        far = self.links.pop(link)
        if far.pipe is not None:
            far.pipe.put(self.world.other(self).name, None)
        self.give(LinkDown(link, offence=offence))

    def submit(self, instructions: tuple[Instruction, ...]) -> None:
        self._submits_given += 1
        self.submits[self._submits_given] = instructions
        self.give(Submit(self._submits_given, instructions))

    def withdraw(self, token: int) -> None:
        """As the driver does: only what is still queued can be taken back."""
        if self.protocol.own.is_queued(token):
            del self.submits[token]
            self.give(Withdraw(token))

    def land(self) -> None:
        """The first waiting write is on the disk."""
        write = self.store.pending[0]
        if write.signed:
            (entry,) = write.entries
            there = self.on_disk.setdefault(entry.seq, entry.id)
            assert there == entry.id, f"seq {entry.seq} was signed twice, and both are on the disk"
            self.unwritten.discard(entry.id)
        own_id = self.keypair.peer_id
        ends = [entry.seq + 1 for entry in write.entries if entry.author == own_id]
        self.own_length = max(self.own_length, *ends, 0)
        token = self.store.land()
        self.transaction = max(0, self.transaction - 1)
        self.give(Persisted(token))

    def fail_writes(self, reason: str) -> None:
        """Nothing of what waits gets onto the disk."""
        token = self.store.pending[0].token
        for write in self.store.pending:
            if write.signed:
                self.unwritten.difference_update(entry.id for entry in write.entries)
        self.store.pending.clear()
        self.transaction = 0
        self.give(PersistFailed(token, reason))

    def leave_writes_undecided(self) -> None:
        self.transaction = len(self.store.pending)
        self.give(PersistUndecided(self.store.pending[0].token, "the disk does not answer"))

    def verify(self, at: int) -> None:
        """Answer one of the questions for signatures."""
        asked = self.verifying.pop(at)
        found = VERIFIER.check(asked.entries)
        self.checked.update(entry.id for entry in found if entry is not None)
        self.give(Verified(asked.token, found))

    def refuse_dial(self, address: Address) -> None:
        del self.dialling[address]
        self.give(DialFailed(address))

    # ---------------------------------------------------------------- outputs

    def _carry_out(self, outputs: list[Output]) -> None:
        for output in outputs:
            match output:
                case Send():
                    self._send(output)
                case SetTimer(at_us):
                    assert at_us >= self.world.now_us, f"a timer in the past: {at_us}"
                    self.timer_us = at_us
                case Verify():
                    assert output.entries, "nothing to verify"
                    self.verifying.append(output)
                case Persist():
                    self._write(output)
                case Emit(event):
                    if isinstance(event, Update):
                        self.reader.read(event)
                case Submitted(token):
                    assert self.submits.pop(token, None), "an answer to no submit"
                    self.receipts.append(output)
                    assert self.on_disk[output.seq] == output.entry_id, "a receipt before the disk"
                case Refused(token, error):
                    assert self.submits.pop(token, None), "an answer to no submit"
                    assert str(error), "a refusal that does not say why"
                case Dial(address, expected):
                    assert 0 < len(address) <= MAX_ADDRESS_BYTES and address not in self.dialling
                    assert expected != self.keypair.peer_id, "it dials itself knowingly"
                    self.dialling[address] = expected
                case DropLink():
                    self._drop(output)
                case _:
                    raise AssertionError(f"no such output: {output!r}")

    def _send(self, send: Send) -> None:
        far = self.links.get(send.link)
        assert far is not None, f"a frame for link {send.link}, which is gone"
        limit_bytes = self.world.config.max_frame_bytes
        said = decode_message(send.data, max_size=limit_bytes)
        assert encoded(said) == send.data
        if isinstance(said, News):
            self._check_own_words(said)
        if far.pipe is None:
            far.heard.append(said)
        else:
            far.pipe.put(self.world.other(self).name, send.data)

    def _check_own_words(self, news: News) -> None:
        """Before others see entries, own ones are on the disk and others' ones are verified."""
        for run in news.runs:
            for entry in decode_run(run, self.world.genesis.network_id):
                self._check_word(entry.id)
        for head in news.heads:
            if head.length:
                self._check_word(head.head_id)

    def _check_word(self, entry_id: EntryId) -> None:
        assert entry_id not in self.unwritten, "an own entry is out before the disk has it"
        assert entry_id in self.checked, "an entry is passed on that nobody has verified"

    def _write(self, write: Persist) -> None:
        assert write.token not in {waiting.token for waiting in self.store.pending}
        self.store.pending.append(write)
        if write.signed:
            (entry,) = write.entries
            assert entry.author == self.keypair.peer_id
            assert entry.seq not in self.on_disk, f"seq {entry.seq} is signed again"
            assert not self.unwritten, "a second own entry is in flight"
            self.unwritten.add(entry.id)
            self.checked.add(entry.id)
        else:
            unverified = [entry for entry in write.entries if entry.id not in self.checked]
            assert not unverified, f"{unverified} are stored and were never verified"

    def _drop(self, drop: DropLink) -> None:
        far = self.links.pop(drop.link, None)
        assert far is not None, f"link {drop.link} is dropped, which is gone"
        assert drop.reason, f"link {drop.link} is dropped without a reason"
        if far.pipe is not None:
            blamed = drop.offence or "broke a rule" in drop.reason
            assert not blamed, f"an honest peer was dropped: {drop.reason}"
            far.pipe.put(self.world.other(self).name, None)
