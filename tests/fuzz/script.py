"""A fuzzer's bytes as a script: what happens to two honest peers, step by step.

The first bytes choose the world (limits, who may write, clocks, what goes by itself). Then each
step takes a byte for what happens and a few more for how: frames between the two are delivered,
lost, doubled; strangers link up and say whatever the grammar, the mutator or their pool of signed
entries gives, or answer what they were asked, truly or not; writes land, fail or hang; signatures
are answered late; time passes. When the bytes end, the strangers go, everything that hangs is
answered, and the two have to become equal: to each other, to their logs replayed by hand, and to
what their readers were told.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntFlag

from fuzz.draws import Draws
from fuzz.pool import NOW_MS, Pool, pool_of
from fuzz.world import Far, Pipe, Side, World
from twins.authors import GENESIS, START_MS
from twins.message_examples import EXAMPLES
from twins.message_grammar import Grammar

from gossipbook.book.payload import Cancellation, Instruction, Placement, Replacement
from gossipbook.genesis import Genesis
from gossipbook.gossip.config import GossipConfig
from gossipbook.gossip.interface import Learn, LinkId
from gossipbook.gossip.messages import (
    CutsWanted,
    IdsAre,
    IdsWanted,
    LevelsWanted,
    MarketsWanted,
    Message,
    News,
    Ping,
    Pong,
    Walk,
    Want,
    encode_message,
)
from gossipbook.gossip.serving import answer_cuts, answer_levels, answer_markets, answer_walk
from gossipbook.identity import Keypair, PeerId
from gossipbook.log.entry import Entry, EntryId, decode_run, encode_run
from gossipbook.replica import Replica
from gossipbook.sim.checkers import replay

A_KEY, B_KEY = Keypair.from_seed(b"\x01" * 32), Keypair.from_seed(b"\x02" * 32)
STRANGERS = (11, 12, 13, 14, 15)
STRANGER_KEYS = {number: Keypair.from_seed(bytes([number]) * 32) for number in STRANGERS}
STOLEN = 1
"""The number of A's key: in some worlds the strangers have it, too."""

MEMBERS_ONLY = Genesis(
    "members",
    GENESIS.markets,
    members=[A_KEY.peer_id, B_KEY.peer_id, *[STRANGER_KEYS[n].peer_id for n in STRANGERS[:3]]],
    start=START_MS,
)
WIDE = GossipConfig()
TIGHT = GossipConfig(
    link_target=2,
    link_limit=3,
    address_book_limit=4,
    ban_us=2_000_000,
    push_entries=2,
    whole_frontier_limit=1,
    small_frontier_limit=0,
    walk_leaf_limit=1,
    chunk_entries=2,
    chunk_bytes=300,
    fetches_per_author=2,
    fetches_per_link=2,
    unknown_authors_limit=3,
    verifying_bytes_limit=600,
    verify_bytes=200,
    settle_commands=3,
    audit_slice_commands=3,
)

DELAYS_US = (0, 1, 1_000, 5_000, 20_000, 100_000, 500_000, 1_000_000, 2_500_000, 6_000_000)
OFFSETS_US = (0, 0, 0, 200_000, -200_000, 3_000_000, -3_000_000, 3_600_000_000)
ADDRESSES = (b"A", b"B", b"11", b"12", b"nowhere")


class Kind(IntFlag):
    """The first byte of a script: what the world is like."""

    MEMBERS_ONLY = 1
    TIGHT = 2  # every limit is low
    STOLEN_KEY = 4  # strangers have A's key, too
    MORE_CONTACTS = 8
    ALONE = 16  # the sides sign without asking anybody
    WATCHED = 32  # somebody reads the updates
    LINKED = 64  # the two have a link when the script begins
    STRANGER = 128  # A has one to a stranger


class Pace(IntFlag):
    """Of the second byte (the seed of both sides' chance): what goes by itself after each step."""

    WRITES = 1
    VERIFIES = 2
    DELIVERS = 4
    ALL = 7


STEPS = (
    "wait",
    "wait",
    "deliver",
    "deliver",
    "disturb",
    "say",
    "say",
    "say",
    "tell_entries",
    "tell_entries",
    "answer",
    "answer",
    "say_garbage",
    "submit",
    "submit",
    "land",
    "fail_write",
    "verify",
    "link_stranger",
    "connect",
    "lose_link",
    "answer_dial",
    "use",
    "restart",
)
"""What can happen, by the names of the methods; what stands twice happens twice as often."""

EQUAL_WITHIN_US = 40_000_000
HOP_US = 1_000
MAX_ROUNDS = 4_000


def play(data: bytes) -> World:
    """Play the script to its end. Raises AssertionError where a promise is broken."""
    decode_run.cache_clear()
    script = Script(Draws(data))
    while script.draws:
        script.step()
    script.finish()
    return script.world


class Script:
    """A world, and the steps that a script can take in it."""

    def __init__(self, draws: Draws) -> None:
        self.draws = draws
        kind, seed = Kind(draws.below(256)), draws.below(256)
        pace = Pace(seed & Pace.ALL)
        genesis = MEMBERS_ONLY if Kind.MEMBERS_ONLY in kind else GENESIS
        self.world = World(
            genesis,
            TIGHT if Kind.TIGHT in kind else WIDE,
            epoch_us=(START_MS + NOW_MS) * 1_000,
        )
        self.writes_by_itself = Pace.WRITES in pace
        self.verifies_by_itself = Pace.VERIFIES in pace
        self.delivers_by_itself = Pace.DELIVERS in pace
        key_is_stolen = Kind.STOLEN_KEY in kind
        self.pool: Pool = pool_of(genesis, (*STRANGERS, *([STOLEN] if key_is_stolen else [])))
        for name, keypair, other in (("A", A_KEY, b"B"), ("B", B_KEY, b"A")):
            side = Side(
                self.world,
                name,
                keypair,
                contacts=[other, b"11"] if Kind.MORE_CONTACTS in kind else [other],
                alone=Kind.ALONE in kind,
                watched=Kind.WATCHED in kind,
                seed=seed,
            )
            side.may_fork = key_is_stolen and name == "A"
            self.world.sides[name] = side
        self.grammars = {
            number: ScriptGrammar(draws, keypair, self, self.pool)
            for number, keypair in STRANGER_KEYS.items()
        }
        self.side = self.world.sides["A"]
        if Kind.LINKED in kind:
            self.world.connect(self.world.sides["A"], self.world.sides["B"])
        if Kind.STRANGER in kind:
            self.link_stranger()

    def step(self) -> None:
        """What the next bytes say."""
        choice = self.draws.below(256)
        self.side = self.world.sides["AAAB"[choice >> 6]]
        getattr(self, STEPS[(choice & 63) % len(STEPS)])()
        self._go_by_itself()

    def _go_by_itself(self) -> None:
        for side in self.world.sides.values():
            while self.verifies_by_itself and side.verifying:
                side.verify(0)
            while self.writes_by_itself and side.store.pending and not side.transaction:
                side.land()
        if self.delivers_by_itself:
            self._deliver_all()

    # ---------------------------------------------------------------- time and frames

    def wait(self) -> None:
        self.world.advance(self.draws.choice(DELAYS_US))

    def deliver(self) -> None:
        """Some of the frames that are on their way to the side."""
        for _ in range(1 + self.draws.below(8)):
            for pipe in self._pipes():
                if pipe.inbound[self.side.name]:
                    self.world.deliver(pipe, self.side)

    def disturb(self) -> None:
        """A frame is lost, doubled, or overtakes others."""
        pipes = [pipe for pipe in self._pipes() if pipe.inbound[self.side.name]]
        if not pipes:
            return
        pipe = self.draws.choice(pipes)
        queue = pipe.inbound[self.side.name]
        what, at = self.draws.below(3), self.draws.below(min(4, len(queue)))
        if what == 0 and queue[at] is not None:
            del queue[at]
        elif queue[at] is not None:
            self.world.deliver(pipe, self.side, at, keep=what == 1)

    def _pipes(self) -> list[Pipe]:
        return [far.pipe for far in self.side.links.values() if far.pipe is not None]

    # ---------------------------------------------------------------- what strangers say

    def say(self) -> None:
        """A well-formed message with fields that may mean anything."""
        linked = self._stranger()
        if linked is not None:
            link, far = linked
            self.side.hear(link, encode_message(self.grammar_of(far).message()))

    def tell_entries(self) -> None:
        """Signed entries of anybody's, whole or forged."""
        linked = self._stranger()
        if linked is None:
            return
        link, far = linked
        grammar = self.grammar_of(far)
        runs = tuple([grammar.run() for _ in range(1 + self.draws.below(3))])
        self.side.hear(link, encode_message(News(runs, reply=bool(self.draws.below(2)))))

    def answer(self) -> None:
        """Answer one of the last things that the side said to a stranger."""
        linked = self._stranger()
        if linked is None or not linked[1].heard:
            return
        link, far = linked
        heard = far.heard
        question = heard[len(heard) - 1 - self.draws.below(len(heard))]
        for reply in self._replies(question):
            if link in self.side.links:
                self.side.hear(link, encode_message(reply))

    def say_garbage(self) -> None:
        """Any bytes at all, or a message that has been damaged on its way."""
        linked = self._stranger()
        if linked is None:
            return
        link, far = linked
        match self.draws.below(4):
            case 0:
                frame = self.draws.take(self.draws.below(64))
            case 1:
                frame = self._damaged(encode_message(self.draws.choice(EXAMPLES)))
            case 2 if far.heard:
                frame = encode_message(far.heard[-1])  # an echo
            case _:
                frame = self._damaged(encode_message(self.grammar_of(far).message()))
        self.side.hear(link, frame)

    def link_stranger(self) -> None:
        """A stranger connects, or is found where the side has dialled."""
        number = self.draws.choice(STRANGERS)
        how = self.draws.below(8)
        if how == 7:  # one that sends our own hello back
            self.side.link_stranger(self.side.keypair.peer_id, self.side.address, dialled=False)
            return
        peer_id = STRANGER_KEYS[number].peer_id
        address = None if how == 0 else str(number).encode()
        dialled = how == 1 and address in self.side.dialling
        if dialled and address is not None:
            del self.side.dialling[address]
        self.side.link_stranger(peer_id, address, dialled=dialled)

    def _stranger(self) -> tuple[LinkId, Far] | None:
        """One of the links to strangers."""
        linked = [(link, far) for link, far in self.side.links.items() if far.pipe is None]
        return self.draws.choice(linked) if linked else None

    def grammar_of(self, far: Far) -> ScriptGrammar:
        return next(one for one in self.grammars.values() if one.keypair.peer_id == far.peer_id)

    def _damaged(self, frame: bytes) -> bytes:
        damaged = bytearray(frame)
        for _ in range(1 + self.draws.below(3)):
            at = self.draws.below(max(1, len(damaged)))
            match self.draws.below(3):
                case 0:
                    damaged[at : at + 1] = self.draws.take(1)
                case 1:
                    damaged[at:at] = self.draws.take(1 + self.draws.below(3))
                case _:
                    del damaged[at : at + 1 + self.draws.below(8)]
        return bytes(damaged)

    def _replies(self, question: Message) -> Sequence[Message]:
        """What a stranger may say to that: the truth as the other side knows it, or near it."""
        replica = self.world.other(self.side).protocol.replica
        match question:
            case Ping(token):
                wall_us = self.world.epoch_us + self.world.now_us
                return [Pong(token, max(0, wall_us + self.draws.choice(OFFSETS_US)))]
            case IdsWanted(author, seqs):
                log = self._some_log(author)
                ids = [(seq, log[seq].id) for seq in seqs if seq < len(log)]
                return [IdsAre(author, tuple(ids))]
            case Want(ranges):
                return [self._some_of(ranges)]
            case Walk():
                return answer_walk(replica, question, self.world.config)
            case CutsWanted():
                cuts = answer_cuts(self.side.protocol.replica, question)
                spans = [span._replace(book_root=self._lie(span.book_root)) for span in cuts.spans]
                return [cuts._replace(spans=tuple(spans))]
            case MarketsWanted():
                markets = answer_markets(self.side.protocol.replica, question)
                if markets is None:
                    return []
                changed = [tuple(map(self._lie, roots)) for roots in markets.markets]
                return [markets._replace(markets=tuple(changed))]  # type: ignore[arg-type]
            case LevelsWanted():
                levels = answer_levels(self.side.protocol.replica, question)
                if levels is None:
                    return []
                children = [(prefix, self._lie(root)) for prefix, root in levels.children]
                return [levels._replace(children=tuple(children))]
        return []

    def _lie(self, root: bytes) -> bytes:
        return bytes(32) if self.draws.below(3) == 1 else root

    def _some_log(self, author: PeerId) -> list[Entry]:
        if author in self.pool.logs:
            return self.pool.entries_of(author, self.draws.below(4))
        log = self.world.other(self.side).protocol.replica.logs.get(author)
        return [] if log is None else list(log.entries)

    def _some_of(self, ranges: Sequence[tuple[PeerId, int, int]]) -> News:
        runs = []
        for author, first, count in ranges:
            entries = self._some_log(author)[first : first + count]
            if entries:
                runs.append(encode_run(entries))
        return News(tuple(runs), reply=True)

    # ---------------------------------------------------------------- what users, disks, threads do

    def submit(self) -> None:
        orders = [self._order() for _ in range(1 + self.draws.below(3))]
        self.side.submit(tuple(orders))

    def _order(self) -> Instruction:
        draws = self.draws
        market, kind = draws.below(2), draws.below(8)
        if kind < 5:
            price = 96 + draws.below(8)
            return Placement(market, kind % 2, price, 1 + draws.below(9), draws.below(4))
        target = (market, draws.below(4), draws.below(3))
        if kind == 5:
            return Cancellation(*target)
        if kind == 6:
            return Replacement(*target, 96 + draws.below(8), 1 + draws.below(9), 0)
        return Placement(market, draws.below(2), 0, 1 + draws.below(9), 1)

    def land(self) -> None:
        if self.side.store.pending:
            self.side.land()

    def fail_write(self) -> None:
        if not self.side.store.pending:
            return
        if self.draws.below(2) and not self.side.transaction:
            self.side.leave_writes_undecided()
        else:
            self.side.fail_writes("the disk is full")

    def verify(self) -> None:
        if self.side.verifying:
            self.side.verify(self.draws.below(len(self.side.verifying)))

    def use(self) -> None:
        """Smaller things that users and clocks do."""
        match self.draws.below(6):
            case 0:
                self.side.leave_and_return()
            case 5:
                self.side.settle()
            case 1 if self.side.submits:
                self.side.withdraw(self.draws.choice(list(self.side.submits)))
            case 2:
                known_as = self.draws.choice([None, *self.pool.authors])
                self.side.give(Learn(self.draws.choice(ADDRESSES), known_as))
            case 3:
                self.side.clock_offset_us = self.draws.choice(OFFSETS_US)
            case _:
                self.side.book("AAA")

    def restart(self) -> None:
        """The side is killed, and starts again with what is on its disk; or what is left of it."""
        if self.side.transaction and self.draws.below(2):
            for _ in range(self.side.transaction):  # what was in doubt is there after all
                self.side.land()
        self.side.crash()
        how, kept = self.draws.below(8), self.draws.below(4)
        if how == 1:
            self.side.put_back(keep_entries=kept)
        elif how == 2:
            self.side.damage(keep_entries=kept)
        self.side.start()

    # ---------------------------------------------------------------- links

    def connect(self) -> None:
        self.world.connect(self.side, self.world.other(self.side))

    def lose_link(self) -> None:
        if self.side.links:
            link = self.draws.choice(list(self.side.links))
            is_stranger = self.side.links[link].pipe is None
            self.side.lose(link, offence=is_stranger and self.draws.below(4) == 1)

    def answer_dial(self) -> None:
        if self.side.dialling:
            self._answer_dial(self.side, self.draws.choice(list(self.side.dialling)))

    def _answer_dial(self, side: Side, address: bytes) -> None:
        if address.decode(errors="replace") == self.world.other(side).name:
            self.world.connect(side, self.world.other(side))
        else:
            side.refuse_dial(address)

    # ---------------------------------------------------------------- the end

    def finish(self) -> None:
        """Strangers go, nothing hangs any more; then everything has to be as promised."""
        world = self.world
        for side in world.sides.values():
            side.clock_offset_us = 0
            for link in [link for link, far in side.links.items() if far.pipe is None]:
                side.lose(link)
        until_us = world.now_us + EQUAL_WITHIN_US
        for _ in range(MAX_ROUNDS):
            self._let_everything_happen()
            if self._is_over():
                break
            soonest_us = min(side.timer_us for side in world.sides.values())
            busy = any(pipe.inbound[name] for pipe in world.pipes() for name in world.sides)
            world.advance(HOP_US if busy else max(HOP_US, soonest_us - world.now_us))
            assert world.now_us < until_us, f"not equal after 40 s: {self._difference()}"
        else:
            raise AssertionError(f"frames without end, and not equal: {self._difference()}")
        for side in world.sides.values():
            self._check_end(side)
        a, b = (side.protocol.replica for side in world.sides.values())
        if a.held_ids() == b.held_ids():
            assert a.book_root() == b.book_root(), "equal logs, unequal books"

    def _let_everything_happen(self) -> None:
        for side in self.world.sides.values():
            for address in list(side.dialling):
                if address in side.dialling:
                    self._answer_dial(side, address)
            while side.verifying:
                side.verify(0)
            while side.store.pending:
                side.land()
        self._deliver_all()

    def _deliver_all(self) -> None:
        """What is on its way now; the answers to it are on their way afterwards."""
        for pipe in self.world.pipes():
            for side in self.world.sides.values():
                for _ in range(len(pipe.inbound[side.name])):
                    self.world.deliver(pipe, side)

    def _is_over(self) -> bool:
        a, b = self.world.sides.values()
        return a.protocol.replica.frontier.root() == b.protocol.replica.frontier.root() and not any(
            side.submits or side.store.pending for side in (a, b)
        )

    def _difference(self) -> str:
        return "; ".join(
            f"{side.name}: {side.protocol.replica.frontier.heads()} {len(side.submits)} submits, "
            f"{len(side.links)} links"
            for side in self.world.sides.values()
        )

    def _check_end(self, side: Side) -> None:
        replica = side._settled()
        market_names = [market.symbol for market in side.genesis.markets]
        engines = replay(side)
        for name in market_names:
            assert side.commands(name) == engines[name].commands(), f"{side.name}: {name}"
            assert side.trades(name) == engines[name].trades(), f"{side.name}: {name}"
            assert side.book(name).root == engines[name].digest().root, f"{side.name}: {name}"
            replica._state(name).engine.check()
        side.reader.check(replica.snapshot())
        if not side.may_fork:
            check_own_log(side, replica)


def check_own_log(side: Side, replica: Replica) -> None:
    """What the side signed and wrote down counts, and nobody else ever used its key."""
    own = replica.logs.get(side.keypair.peer_id)
    assert own is None or own.k is None, "a fork by who never forked"
    for seq, entry_id in side.on_disk.items():
        is_here = own is not None and own.id_at(seq) == entry_id
        assert is_here or seq in side.damaged, f"own entry {seq} is lost"


class ScriptGrammar(Grammar):
    """A stranger's grammar, with entries and proofs that were signed beforehand."""

    def __init__(self, draws: Draws, keypair: Keypair, script: Script, pool: Pool) -> None:
        world = script.world
        super().__init__(
            draws,
            keypair,
            replica=lambda: script.side.protocol.replica,
            everyone=lambda: [*[side.keypair.peer_id for side in world.sides.values()], *authors],
            addresses=ADDRESSES,
            local_ms=lambda: script.side.protocol.local_ms,
        )
        authors = pool.authors
        self._pool = pool

    def run(self) -> bytes:
        """A part of one of the histories that an author of the pool could tell."""
        draws = self.random
        author = draws.choice(self._pool.authors)
        how = draws.below(256)
        entries = self._pool.entries_of(author, how & 3)
        first = draws.below(len(entries))
        part = entries[first : first + 1 + (how >> 2 & 7)]
        if how >> 5 == 7:
            return super().run()
        if how >> 5 == 6:
            part = [*part[:-1], _forged(part[-1])]
        return encode_run(part)

    def proofs(self) -> tuple[bytes, ...]:
        draws = self.random
        proofs = self._pool.proofs[draws.choice(self._pool.authors)]
        chosen = draws.sample(proofs, 1 + draws.below(3))
        if draws.below(4) == 1:
            chosen.append(_damage_signature(draws.choice(proofs)))
        return tuple(chosen)


def _forged(entry: Entry) -> Entry:
    """The entry with a signature that is not its author's."""
    return Entry(
        author=entry.author,
        seq=entry.seq,
        prev=entry.prev,
        hlc=entry.hlc,
        kind=entry.kind,
        payload=entry.payload,
        signature=bytes(64),
        entry_id=EntryId(entry.id),
    )


def _damage_signature(proof: bytes) -> bytes:
    return proof[:-1] + bytes([proof[-1] ^ 1])
