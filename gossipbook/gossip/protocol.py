"""The gossip protocol of one peer, as a state machine that does no I/O.

An essay, for who reads this first.

What is to be achieved: every peer holds every valid entry, soon, whatever is lost on the way. Two
mechanisms share the work. *Push* is fast and may fail: a new entry goes to a few random links, and
the other links are told that it exists, so that they fetch it if nobody brings it. *Anti-entropy*
is slow and cannot fail: about once a second a peer compares the hash over all it holds with one
random link's and fetches what is missing. Because it never stops, a lost message is never a
permanent gap, and nothing else here has to be reliable.

What a link knows: for each link we keep, per author, the length and head of the log at the other
end, as far as we know. A push raises it at once (optimism); a frontier received replaces it
(truth). Everything sent is sent because of a difference between this knowledge and our logs.

What comes in is a claim. A message is decoded strictly, an entry's signature is checked before
anything believes it, and requests cost tokens. Whoever breaks a rule loses the link and is not
spoken to for a minute; nobody else notices.

Our own entries take a longer way (``own_log``): they are signed only when another peer has
confirmed how long our log is, and leave only when the store has them.

The state machine never asks for the time and never waits. Whatever takes time (writing, checking
signatures) is an output with a token and comes back as an input. All timers are one: the earliest
deadline is announced with ``SetTimer``.

Order of this file: what the driver calls; links; messages in; entries in; entries out;
anti-entropy; timers; small helpers.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gossipbook.errors import BadSignature, ProtocolViolation, RemoteError
from gossipbook.genesis import Genesis
from gossipbook.gossip.config import GossipConfig
from gossipbook.gossip.divergence import DivergenceWatch
from gossipbook.gossip.interface import (
    Address,
    ClockSkew,
    Dial,
    DialFailed,
    Divergence,
    DropLink,
    Emit,
    ForkProven,
    Input,
    Learn,
    Leave,
    LinkDown,
    LinkId,
    LinkUp,
    Output,
    PeerDown,
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
from gossipbook.gossip.links import Link
from gossipbook.gossip.membership import AddressBook
from gossipbook.gossip.messages import (
    Branch,
    Compare,
    CutsAre,
    CutsWanted,
    Evidence,
    FrontierIs,
    Goodbye,
    IdsAre,
    IdsWanted,
    LevelsAre,
    LevelsWanted,
    MarketsAre,
    MarketsWanted,
    Message,
    News,
    Peers,
    Ping,
    Pong,
    Walk,
    Want,
    YourHead,
    decode_message,
    encode_message,
    spans_of,
)
from gossipbook.gossip.own_log import OwnLog, Refusal
from gossipbook.gossip.push import PUSH, PUSH_TO_ALL, TELL, Pusher
from gossipbook.gossip.reconcile import Bisection, Fetcher
from gossipbook.gossip.sampling import jittered, random_subset
from gossipbook.gossip.serving import (
    answer_cuts,
    answer_ids,
    answer_levels,
    answer_markets,
    answer_walk,
    answer_want,
)
from gossipbook.gossip.statistics import GossipStatistics
from gossipbook.identity import Keypair, PeerId, short
from gossipbook.log.clock import Instant, NetworkClock
from gossipbook.log.entry import (
    Entry,
    decode_run,
)
from gossipbook.log.fork import ForkProof
from gossipbook.log.frontier import Head
from gossipbook.merkle import to_nibbles
from gossipbook.randomness import SeededRandom
from gossipbook.replica import Replica, ReplicaSettings

DOUBLE_DIAL_US = 3_000_000
"""Two peers that dial each other at once are through with it after so long."""

STALE_LINK_US = 1_500_000
"""A link silent for so long loses against a new one of the same peer, whoever dialled it."""

RECOUNT_US = 200_000

SKEW_STEP_US = 5_000_000
"""By how much a clock beyond the bound has to move until the user is told again."""

MAX_ASKED_PREFIXES = 4_096
MAX_COMPARES_SKIPPED = 8
"""Entries dated ahead are in no cut yet: now and then the whole frontier is compared."""

MAX_BISECTIONS = 16
"""Searches for a fork that one link may keep going."""

MAX_OBJECTIONS = 20
"""Requests for our own entries that a link may leave unanswered while we may not sign."""


class StoredState(NamedTuple):
    """What a peer finds in its store at the start; logs without gaps, checksums verified.

    ``own_length`` is how long our own log was when it was last written, as far as the store can
    tell: longer than what it holds, if that is damaged. ``own_suspect``: it may have been longer
    still. ``damage`` says in words what was found damaged.
    """

    entries: Sequence[Entry] = ()
    proofs: Sequence[ForkProof] = ()
    clock_high_water: int = 0
    peers: Sequence[tuple[PeerId, Address]] = ()
    own_length: int = 0
    own_suspect: bool = False
    damage: Sequence[str] = ()


Span = tuple[PeerId, int, int]
"""Entries of one author: first seq, and the one after the last."""


@dataclass(slots=True)
class _Unsaved:
    """What gathers until it is written: others' entries, proofs, and where peers are."""

    entries: list[Entry] = field(default_factory=list)
    proofs: list[ForkProof] = field(default_factory=list)
    peers: dict[PeerId, Address] = field(default_factory=dict)

    def put_back(self, write: Persist) -> None:
        """The write failed: it comes first again."""
        self.entries[:0] = write.entries
        self.proofs[:0] = write.proofs
        self.peers = {**dict(write.peers), **self.peers}


class _Verifying(NamedTuple):
    link: LinkId
    reply: bool
    size_bytes: int
    entries: tuple[Entry, ...]
    spans: tuple[Span, ...]


class GossipProtocol:
    """One peer's protocol. See ``interface`` for the driver's duties."""

    def __init__(
        self,
        genesis: Genesis,
        keypair: Keypair,
        *,
        random: SeededRandom,
        bootstrap: Iterable[Address] = (),
        stored: StoredState | None = None,
        alone: bool | None = None,
        config: GossipConfig | None = None,
        settings: ReplicaSettings | None = None,
    ) -> None:
        self.genesis = genesis
        self.own_id = keypair.peer_id
        self.config = config = config or GossipConfig()
        self.replica = replica = Replica(genesis, settings)
        self.statistics = GossipStatistics()
        self.clock = NetworkClock()
        self._random = random
        self._now = Instant(0, 0)
        self._out: list[Output] = []
        self._links: dict[LinkId, Link] = {}
        self._by_peer: dict[PeerId, Link] = {}
        self._dialling: dict[Address, None] = {}
        self.address_book = AddressBook(self.own_id, config, random)
        for address in bootstrap:
            self.address_book.add_bootstrap(address)
        self._remembered: dict[PeerId, Address] = {}  # as they stand in the store
        self._pusher = Pusher(replica, config, random)
        self._unsaved = _Unsaved()
        self._saving: dict[int, Persist] = {}
        self._fetcher = Fetcher(config, random)
        self._bisections: dict[tuple[LinkId, PeerId], Bisection] = {}
        self._verifying: dict[int, _Verifying] = {}
        self._verifying_ids: dict[bytes, None] = {}
        self._watch = DivergenceWatch(replica, config)
        self._next_token = 1
        self._own_token: int | None = None
        self._first_confirmation_us: int | None = None
        self._alone = alone
        # What peers claimed of our own log that gave some of it back; longer than their links.
        self._own_lengths_shown: dict[PeerId, int] = {}
        self._skew_told_us: int | None = None
        self._turned_away = False  # somebody, for lack of room, since links were renewed
        self._left = False
        self._timers: dict[str, int] = {}
        self._announced_us: int | None = None
        self._settled_us = 0
        self._suspected_us = 0  # when links were last looked at
        stored = stored or StoredState()
        self._restore(stored)
        self._own_length_written = stored.own_length
        damaged = stored.own_suspect or replica.head(self.own_id).length < stored.own_length
        self.own = OwnLog(
            keypair,
            replica,
            self.clock,
            config,
            confirmed=not damaged and (len(self.address_book) == 0 if alone is None else alone),
            damaged=damaged,
        )
        # The store may hold the proof that this key signed two histories.
        self.own.forked = replica.head(self.own_id).k is not None
        self._handlers: dict[type, Callable[[Any], None]] = {
            Received: self._on_received,
            TimerFired: self._on_timer,
            Verified: self._on_verified,
            Persisted: self._on_persisted,
            PersistFailed: self._on_persist_failed,
            PersistUndecided: self._on_persist_undecided,
            Submit: self._on_submit,
            Withdraw: lambda withdraw: self.own.withdraw(withdraw.token),
            LinkUp: self._on_link_up,
            LinkDown: self._on_link_down,
            DialFailed: self._on_dial_failed,
            Learn: self._on_learn,
            Leave: self._on_leave,
        }
        self._on_message: dict[type, Callable[[Link, Any], None]] = {
            News: self._on_news,
            Ping: self._on_ping,
            Pong: self._on_pong,
            Want: self._on_want,
            Compare: self._on_compare,
            FrontierIs: self._on_frontier,
            Walk: self._on_walk,
            Branch: self._on_branch,
            IdsWanted: self._on_ids_wanted,
            IdsAre: self._on_ids,
            Evidence: self._on_evidence,
            Peers: self._on_peers,
            Goodbye: self._on_goodbye,
            YourHead: self._on_your_head,
            CutsWanted: self._on_cuts_wanted,
            CutsAre: self._on_cuts,
            MarketsWanted: self._on_markets_wanted,
            MarketsAre: self._on_markets,
            LevelsWanted: self._on_levels_wanted,
            LevelsAre: self._on_levels,
        }
        self._timer_actions: dict[str, Callable[[], None]] = {
            "push": self._push,
            "persist": self._save,
            "settle": self._settle,
            "fetch": self._fetch,
            "release": self._release,
            "compare": self._open_compare,
            "ping": self._ping,
            "suspect": self._suspect,
            "dial": self._dial,
            "peers": self._tell_peers,
            "renew": self._renew,
            "confirm": self._check_confirmed,
            "audit": self._audit,
        }

    # ================================================================ what the driver calls

    def start(self, now: Instant) -> list[Output]:
        """The first outputs; call once, before ``handle``."""
        self._now = now
        for name, interval_us in (
            ("compare", self.config.compare_us),
            ("ping", self.config.ping_us),
            ("suspect", self.config.ping_us // 4),
            ("peers", self.config.peers_us),
            ("renew", self.config.renew_us),
        ):
            self._timers[name] = now.monotonic_us + self._random.below(interval_us) + 1
        self._timers["dial"] = self._suspected_us = now.monotonic_us
        self._arm_settle()
        self._arm_release()
        self._on_timer(None)
        return self._finish()

    def handle(self, what: Input, now: Instant) -> list[Output]:
        """What has to happen because of ``what``, in order. Never raises for remote input."""
        self._now = now
        self._handlers[type(what)](what)
        return self._finish()

    def settle_now(self, now: Instant) -> list[Output]:
        """Bring books up to date because somebody is about to read them."""
        self._now = now
        self._release()
        self._settle()
        return self._finish()

    def seen_by(self, seq: int) -> int:
        """How many linked peers are known to hold our own entry ``seq``."""
        return sum(link.own_head_held > seq for link in self._links.values())

    def verifying_bytes(self, link_id: LinkId) -> int:
        """How much of what this link sent is still waiting for its signatures to be checked."""
        link = self._links.get(link_id)
        return 0 if link is None else link.verifying_bytes

    @property
    def links(self) -> list[Link]:
        """The links that stand, by peer. For who looks; change nothing in them."""
        return [self._by_peer[peer_id] for peer_id in sorted(self._by_peer)]

    @property
    def now_us(self) -> int:
        """The monotonic time of the latest input, in microseconds."""
        return self._now.monotonic_us

    @property
    def linked_peers(self) -> list[PeerId]:
        return sorted(self._by_peer)

    @property
    def local_ms(self) -> int:
        """The network-corrected time of the latest input, in milliseconds since 1970."""
        return self.clock.local_ms(self._now.wall_us)

    # ================================================================ links

    def _on_link_up(self, up: LinkUp) -> None:
        now_us = self._now.monotonic_us
        if up.dialled and up.address is not None:
            self._dialling.pop(up.address, None)
        refusal = self._why_not_link(up)
        if refusal is not None:
            self._out.append(DropLink(up.link, refusal))
            if up.dialled and up.address is not None:
                if up.peer_id == self.own_id:
                    self.address_book.is_own(up.address)
                else:
                    self.address_book.failed(up.address, now_us)
            self._after("dial", 0)
            return
        if up.address is not None:
            if up.dialled:
                self.address_book.reached(up.peer_id, up.address)
            else:  # who was not dialled there only claims its address
                self.address_book.claimed(up.peer_id, up.address)
            self._remember_peer(up.peer_id, up.address)
        known = self._by_peer.get(up.peer_id)
        if known is not None:
            if not self._replaces(up, known):
                self._out.append(DropLink(up.link, "there is a link to this peer already"))
                self._after("dial", 0)
                return
            self._forget_link(known)
            self._out.append(DropLink(known.link, "replaced by a newer link"))
        elif len(self._links) >= self.config.link_limit and not up.dialled:
            sample = self.address_book.sample(self.config.peers_sample, leave_out=up.peer_id)
            if sample:
                self._send_raw(up.link, Peers(tuple(sample)))
            self._out.append(DropLink(up.link, "no room for another link"))
            self._turned_away = True
            return
        link = Link.open(
            up.link,
            up.peer_id,
            up.address if up.dialled else None,
            dialled=up.dialled,
            config=self.config,
            now_us=now_us,
        )
        self._links[up.link] = self._by_peer[up.peer_id] = link
        if known is None:
            self._emit(PeerUp(up.peer_id))
        self._greet(link)

    def _greet(self, link: Link) -> None:
        """The first words: what we hold of the other's log, the time, peers, our frontier."""
        self._send(link, YourHead(self.replica.head(link.peer_id)))
        self._send_ping(link)
        sample = self.address_book.sample(self.config.peers_sample, leave_out=link.peer_id)
        if sample:
            self._send(link, Peers(tuple(sample)))
        if link.dialled:
            self._send_compare(link)
        self._after("dial", 0)

    def _why_not_link(self, up: LinkUp) -> str | None:
        if up.peer_id == self.own_id:
            return "this is our own peer id"
        if self._left:
            return "this peer has left"
        if not self.replica.may_write(up.peer_id):
            return f"{short(up.peer_id)} is not a member of {self.genesis.name!r}"
        if self.address_book.is_banned(up.peer_id, self._now.monotonic_us):
            return "it broke a rule a short while ago"
        return None

    def _remember_peer(self, peer_id: PeerId, address: Address) -> None:
        """Find it again after a restart, and know then that somebody may have seen our log."""
        if self._remembered.get(peer_id) != address:
            self._remembered[peer_id] = address
            while len(self._remembered) > self.config.address_book_limit:
                del self._remembered[next(iter(self._remembered))]
            self._unsaved.peers[peer_id] = address
            self._after("persist", self.config.persist_us)

    def _replaces(self, up: LinkUp, known: Link) -> bool:
        """Of two links to one peer keep the one dialled by the lower id, or the live one."""
        if up.dialled == known.dialled:
            return True  # its dialler has given the old one up
        now_us = self._now.monotonic_us
        if now_us - known.opened_us > DOUBLE_DIAL_US:
            return True  # no double dial: the peer began anew, or another process has its key
        if now_us - known.detector.last_us > STALE_LINK_US:
            return True
        return up.dialled == (self.own_id < up.peer_id)

    def _on_link_down(self, down: LinkDown) -> None:
        link = self._links.get(down.link)
        if link is not None:
            self._lose(link, self._blame(link, down.reason) if down.offence else down.reason)

    def _lose(self, link: Link, reason: str) -> None:
        """The link is gone, or shall be."""
        self._forget_link(link)
        self.statistics.links_lost += 1
        if link.address is not None:
            self.address_book.failed(link.address, self._now.monotonic_us)
        self._emit(PeerDown(link.peer_id, reason))
        self._after("dial", 0)
        self._check_confirmed()

    def _drop(self, link: Link, reason: str) -> None:
        self._out.append(DropLink(link.link, reason))
        self._lose(link, reason)

    def _offence(self, link: Link, what: str) -> None:
        """The peer broke a rule: it loses this link and is left alone for a while."""
        reason = self._blame(link, what)
        self._out.append(DropLink(link.link, reason, offence=True))
        self._lose(link, reason)

    def _blame(self, link: Link, what: str) -> str:
        self.statistics.refused_messages += 1
        self.address_book.ban(link.peer_id, self._now.monotonic_us)
        return f"{short(link.peer_id)} broke a rule: {what}"

    def _forget_link(self, link: Link) -> None:
        del self._links[link.link]
        if self._by_peer.get(link.peer_id) is link:
            del self._by_peer[link.peer_id]
        self._fetcher.link_gone(link.link, self._now.monotonic_us)
        self._wake_fetcher()
        self._forget_searches(lambda search: search.link == link.link)
        self._watch.link_gone(link.link)

    def _on_dial_failed(self, failed: DialFailed) -> None:
        self._dialling.pop(failed.address, None)
        self.address_book.failed(failed.address, self._now.monotonic_us)
        self._after("dial", 0)
        self._check_confirmed()

    def _on_learn(self, learn: Learn) -> None:
        if learn.peer_id is None:
            if not self._alone:
                self._doubt_own_head()  # somebody else may be there after all
            self.address_book.add_bootstrap(learn.address)
        elif self.replica.may_write(learn.peer_id):
            self.address_book.learn(learn.peer_id, learn.address)
        self._dial()  # at once: while somebody is dialled, those linked alone confirm nothing
        self._check_confirmed()

    def _on_leave(self, _: Leave) -> None:
        self._save()
        self._push()  # what was submitted a moment ago
        self._left = True
        for link in list(self._links.values()):
            self._send(link, Goodbye())
            self._out.append(DropLink(link.link, "we left"))
            self._forget_link(link)
        self._timers.clear()

    # ================================================================ messages in

    def _on_received(self, received: Received) -> None:
        link = self._links.get(received.link)
        if link is None:
            return
        try:
            message = decode_message(received.data, max_size=self.config.max_frame_bytes)
            kind = type(message).__name__
            self.statistics.count_received(kind, len(received.data))
            link.detector.heard(self._now.monotonic_us, quantum_us=self.config.ping_us // 4)
            self._on_message[type(message)](link, message)
        except RemoteError as error:
            self._offence(link, str(error))

    def _on_ping(self, link: Link, ping: Ping) -> None:
        if self._may_ask(link):
            self._send(link, Pong(ping.token, self._now.wall_us))

    def _on_pong(self, link: Link, pong: Pong) -> None:
        if not link.ping_token or pong.token != link.ping_token:
            return
        link.ping_token = 0
        round_trip_us = self._now.monotonic_us - link.ping_sent_us
        offset_us = pong.wall_us + round_trip_us // 2 - self._now.wall_us
        link.clock.add(round_trip_us=round_trip_us, offset_us=offset_us)
        offsets = [one.clock.offset_us for one in self._links.values()]
        self.clock.update([offset for offset in offsets if offset is not None])
        self._tell_skew()
        self._arm_release()

    def _tell_skew(self) -> None:
        """Tell the user when our clock leaves the bound, comes back, or jumps beyond it."""
        beyond, median_us = self.clock.out_of_bounds, self.clock.median_us
        told = self._skew_told_us
        if beyond != (told is not None) or (
            told is not None and abs(median_us - told) > SKEW_STEP_US
        ):
            self._skew_told_us = median_us if beyond else None
            self._emit(ClockSkew(median_us, beyond))

    def _on_peers(self, link: Link, peers: Peers) -> None:
        for peer_id, address in peers.peers:
            if self.replica.may_write(peer_id):
                self.address_book.learn(peer_id, address)
        if self._dial_room() > 0:
            self._after("dial", 0)

    def _on_goodbye(self, link: Link, _: Goodbye) -> None:
        self._out.append(DropLink(link.link, "it left"))
        self._forget_link(link)
        self.address_book.left(link.peer_id, self._now.monotonic_us)
        self._emit(PeerDown(link.peer_id, "it left"))
        self._after("dial", 0)
        self._check_confirmed()

    def _on_your_head(self, link: Link, message: YourHead) -> None:
        """The other side tells what it holds of our own log: the confirmation before signing."""
        head = message.head
        if head.author != self.own_id:
            raise ProtocolViolation("the first word is about somebody else's log")
        own = self.replica.head(self.own_id)
        first_word = not (link.own_head_answered or link.own_head_claimed)
        link.own_head_claimed = max(head.length, link.own_head_claimed)
        if head.length > own.length and first_word:  # who lies later keeps nobody from signing
            self._doubt_own_head()
        log = self.replica.logs.get(self.own_id)
        ours = None if log is None else log.id_at(head.length - 1)
        agrees = head.length == 0 or ours == head.head_id
        link.own_head_answered = agrees or head.length > own.length
        self._on_head(link, head, from_frontier=True)
        self._check_confirmed()

    def _doubt_own_head(self) -> None:
        """A peer holds more of our log than we do, so whoever confirmed it knew too little."""
        self.own.doubt()
        self._first_confirmation_us = None

    def _check_confirmed(self) -> None:
        """May we sign? Once a linked peer confirmed our head and the others had a second."""
        for token, error in self.own.expired(self._now.monotonic_us):
            self._out.append(Refused(token, error))
        if self.own.confirmed:
            return
        if self._confirmed_by_links():
            self.own.confirmed = True
            self._timers.pop("confirm", None)
            self._next_batch()
            return
        deadline_us = self.own.next_deadline_us()
        if deadline_us is not None:
            now_us = self._now.monotonic_us
            for link in self._links.values():
                if now_us >= link.own_head_asked_us + self.config.confirm_retry_us:
                    self._ask_own_head(link)
            self._at("confirm", min(deadline_us, now_us + self.config.confirm_retry_us))

    def _confirmed_by_links(self) -> bool:
        log = self.replica.logs.get(self.own_id)
        length = 0 if log is None else log.length
        links = self._links.values()
        claims = [link.own_head_claimed for link in links]
        claims += self._own_lengths_shown.values()
        if max(claims, default=0) > length or (log and log.waiting_count):
            return False  # somebody holds more of our log than we do: it is fetched first
        if length < self._own_length_written:
            return False  # we held more of it once, and nobody has given it back yet
        answered = [link for link in links if link.own_head_answered]
        if not answered:
            return False
        now_us = self._now.monotonic_us
        if self._first_confirmation_us is None:
            self._first_confirmation_us = now_us
        grace_over_us = self._first_confirmation_us + self.config.confirm_grace_us
        if now_us >= grace_over_us or (len(answered) == len(links) and not self._dialling):
            return True
        self._at("confirm", grace_over_us)
        return False

    # ================================================================ entries in

    def _on_news(self, link: Link, news: News) -> None:
        link.complete = news.complete
        fresh: list[Entry] = []
        spans: list[Span] = []
        size_bytes = 0
        for run in news.runs:
            entries = decode_run(run, self.genesis.network_id)
            novel = self._novel(link, entries)
            span = (entries[0].author, entries[0].seq, entries[-1].seq + 1)
            if not novel:
                self.statistics.duplicate_bytes += len(run)
                self._got(link, (span,))
            else:
                size_bytes += len(run)
                spans.append(span)
            fresh += novel
        for head in news.heads:
            if news.reply:  # it does not hold what it was asked for
                self._fetcher.refused(head.author, link.link)
            self._on_head(link, head, reply=news.reply)
            if news.reply and link.known_length(head.author) > self._have(head.author):
                link.fetch_failures += 1  # and yet it claims to
            elif news.reply and self._claims(head.author):
                self._want(head.author, 0)
        if fresh:
            self._verify(link, fresh, tuple(spans), reply=news.reply, size_bytes=size_bytes)

    def _novel(self, link: Link, entries: Sequence[Entry]) -> list[Entry]:
        """The entries of a run that could teach us something; learns what the link holds."""
        author, first, last = entries[0].author, entries[0].seq, entries[-1]
        if not self.replica.may_write(author):
            raise ProtocolViolation(f"it sent entries of {short(author)}, who is not a member")
        if link.known_length(author) <= last.seq:
            self._learn(link, author, last.seq + 1)
        log = self.replica.logs.get(author)
        novel = [entry for entry in entries if entry.id not in self._verifying_ids]
        if log is not None:
            if first < log.length:
                novel = [entry for entry in novel if log.id_at(entry.seq) != entry.id]
            k = log.k
            if k is not None:
                # Beyond a fork nothing counts, but an entry at k may prove an earlier one.
                novel = [
                    entry
                    for entry in novel
                    if entry.seq < k or (entry.seq == k == log.length and entry.prev != log.head_id)
                ]
        self.statistics.duplicate_entries += len(entries) - len(novel)
        return novel

    def _verify(
        self,
        link: Link,
        entries: list[Entry],
        spans: tuple[Span, ...],
        *,
        reply: bool,
        size_bytes: int,
    ) -> None:
        if link.verifying_bytes > self.config.verifying_bytes_limit:
            self.statistics.throttled_requests += 1
            for author, first, end in spans:  # anti-entropy brings them again
                self._fetcher.arrived(author, link.link, first, end, self._now.monotonic_us)
                self._want(author, self.config.compare_us)
            return
        link.verifying_bytes += size_bytes
        for entry in entries:
            self._verifying_ids[entry.id] = None
        mean_bytes = size_bytes // len(entries)
        count = max(1, self.config.verify_bytes // max(1, mean_bytes))
        for at in range(0, len(entries), count):  # in parts: nobody waits long for any of them
            batch = tuple(entries[at : at + count])
            is_last = at + count >= len(entries)
            part_bytes = size_bytes - at * mean_bytes if is_last else count * mean_bytes
            token = self._token()
            self._verifying[token] = _Verifying(
                link.link, reply, part_bytes, batch, spans if is_last else ()
            )
            self._out.append(Verify(token, batch))

    def _on_verified(self, verified: Verified) -> None:
        pending = self._verifying.pop(verified.token)
        for entry in pending.entries:
            self._verifying_ids.pop(entry.id, None)
        link = self._links.get(pending.link)
        if link is not None:
            link.verifying_bytes -= pending.size_bytes
        good = [entry for entry in verified.entries if entry is not None]
        self.statistics.novel_entries += len(good)
        self.statistics.novel_bytes += pending.size_bytes
        own_length = self._have(self.own_id)
        error = self._admit(good, link, tell_only=pending.reply) if good else None
        if link is not None and self._have(self.own_id) > own_length:
            claimed = max(link.own_head_claimed, link.known_length(self.own_id))
            self._own_lengths_shown[link.peer_id] = claimed
            self._doubt_own_head()
            self._check_confirmed()
        if link is not None:
            self._got(link, pending.spans)
        if len(good) < len(verified.entries):
            error = BadSignature("it sent an entry that its author did not sign")
            for entry, kept in zip(pending.entries, verified.entries, strict=True):
                if kept is None:  # the real one may have come meanwhile and been passed over
                    self._want(entry.author, 0)
        if error is not None and link is not None and link.link in self._links:
            self._offence(link, str(error))

    def _admit(
        self, entries: Sequence[Entry], link: Link | None, *, tell_only: bool
    ) -> RemoteError | None:
        """Verified entries of others join the set: store them, spread them, ask for more.

        Returns what was wrong with one of them.
        """
        added = self.replica.add(entries, local_ms=self.local_ms)
        self._persist(added.entries, added.proofs)
        for author in dict.fromkeys([entry.author for entry in entries]):
            self._took(author, link, tell_only=tell_only)
        self._announce(added.proofs)
        if any(entry.author == self.own_id for entry in added.entries):
            self.own.saw_own_entries_elsewhere()
            self._check_confirmed()
        self._arm_settle()
        self._arm_release()
        return added.invalid

    def _took(self, author: PeerId, link: Link | None, *, tell_only: bool) -> None:
        log = self.replica.logs.get(author)
        if log is None:
            return
        if log.entries:
            from_author = link is not None and link.peer_id == author and link.complete
            self._spread(author, TELL if tell_only or from_author else PUSH)
        if log.waiting_count:
            self._want(author, 0)

    def _got(self, link: Link, spans: Iterable[Span]) -> None:
        """These entries came over this link: they are on order no more, and if there is more of
        them to be had, it is asked for at once."""
        for author, first, end in spans:
            if self._fetcher.arrived(author, link.link, first, end, self._now.monotonic_us):
                link.fetch_failures = 0
                if self._claims(author):
                    self._want(author, 0)

    def _learn(self, link: Link, author: PeerId, length: int) -> None:
        """The link claims to hold so much of an author's log."""
        if author == self.own_id:
            link.own_head_held = length
        if author not in link.known:
            log = self.replica.logs.get(author)
            if log is not None:
                author = log.author  # one copy of the 32 bytes serves all links
            elif self._too_many_unknown(link):
                return
            else:
                link.unknown_authors += 1
        link.known[author] = length

    def _too_many_unknown(self, link: Link) -> bool:
        """Whether the link claims logs of too many authors of whom we have nothing yet."""
        if link.unknown_authors < self.config.unknown_authors_limit:
            return False
        if self._now.monotonic_us >= link.recounted_us + RECOUNT_US:
            link.recounted_us = self._now.monotonic_us
            logs = self.replica.logs
            link.unknown_authors = sum(author not in logs for author in link.known)
        return link.unknown_authors >= self.config.unknown_authors_limit

    def _on_head(
        self, link: Link, head: Head, *, from_frontier: bool = False, reply: bool = False
    ) -> None:
        """The link tells how much of one log it holds."""
        author, length = head.author, head.length
        if not self.replica.may_write(author):
            raise ProtocolViolation(f"it holds entries of {short(author)}, who is not a member")
        self._learn(link, author, length)
        ours = self.replica.head(author)
        if ours == head:
            return
        if ours.k is not None and (head.k is None or head.k > ours.k):
            if self._may_ask(link):
                self._prove_to(link, author, again=from_frontier)
        elif head.k is not None and (ours.k is None or ours.k > head.k) and self._may_ask(link):
            self._send(link, News((), (ours,)))  # it shows its evidence to who lacks it
        if length > ours.length:
            if ours.k is None or ours.length < ours.k:
                patience_us = self.config.fetch_timeout_us if reply else self._patience_us(link)
                self._want(author, 0 if from_frontier else patience_us)
        elif length and self.replica.logs[author].id_at(length - 1) != head.head_id:
            self._bisect(link, author, length - 1)

    def _patience_us(self, link: Link) -> int:
        """How long to wait for a push after being told: somebody else may send it a round later,
        over a link about as slow as this one."""
        on_its_way_us = self.config.frame_gap_us + 2 * link.clock.round_trip_us
        return max(self.config.pull_us, on_its_way_us)

    # ---------------------------------------------------------------- forks

    def _bisect(self, link: Link, author: PeerId, differs_at: int) -> None:
        """Our log and the link's differ at this seq: find the least seq at which they do."""
        known = self._bisections.get((link.link, author))
        if known is not None and self._now.monotonic_us < known.deadline_us:
            return
        if sum(of == link.link for of, _ in self._bisections) >= MAX_BISECTIONS:
            self._forget_searches(lambda search: search.deadline_us <= self._now.monotonic_us)
            if sum(of == link.link for of, _ in self._bisections) >= MAX_BISECTIONS:
                return
        if not self._may_ask(link):
            return
        self.statistics.bisections += 1
        search = Bisection(author, link.link, differs_at, 0)
        self._bisections[link.link, author] = search
        self._continue_bisection(link, search)

    def _forget_searches(self, forget: Callable[[Bisection], bool]) -> None:
        kept = {key: one for key, one in self._bisections.items() if not forget(one)}
        self._bisections = kept

    def _continue_bisection(self, link: Link, search: Bisection) -> None:
        search.deadline_us = self._now.monotonic_us + self.config.fetch_timeout_us
        seqs = search.next_seqs()
        if seqs:
            self._send(link, IdsWanted(search.author, seqs))
        else:
            del self._bisections[link.link, search.author]
            self._send(link, Want(((search.author, search.high, 1),)))

    def _on_ids_wanted(self, link: Link, wanted: IdsWanted) -> None:
        if self._may_ask(link):
            if wanted.author == link.peer_id:  # it may have missed our first word
                self._send(link, YourHead(self.replica.head(link.peer_id)))
            self._send(link, answer_ids(self.replica, wanted))

    def _on_ids(self, link: Link, message: IdsAre) -> None:
        search = self._bisections.get((link.link, message.author))
        if search is None:
            return
        log = self.replica.logs[message.author]
        if log.length <= search.high or not search.narrow(message.ids, log.id_at):
            del self._bisections[link.link, message.author]  # a log has been cut meanwhile
            return
        self._continue_bisection(link, search)

    def _on_evidence(self, link: Link, evidence: Evidence) -> None:
        if not self._may_ask(link, len(evidence.proofs)):
            return
        news: list[ForkProof] = []
        try:
            self._take_evidence(link, evidence, news)
        finally:  # what was good before the bad one counts
            if news:
                self._persist((), news)
                self._announce(news)
                self._arm_settle()

    def _take_evidence(self, link: Link, evidence: Evidence, news: list[ForkProof]) -> None:
        for data in evidence.proofs:
            proof = ForkProof.decode(data, self.genesis.network_id)
            link.evidence[proof.author] = proof.seq
            k = self.replica.head(proof.author).k
            if k is not None and k <= proof.seq:
                continue
            proof.check(self.genesis.network_id)
            news += self.replica.add_proof(proof, local_ms=self.local_ms).proofs

    def _announce(self, proofs: Sequence[ForkProof]) -> None:
        """New evidence: tell the user, and every link."""
        for proof in proofs:
            self._emit(ForkProven(proof))
            if proof.author == self.own_id:
                self.own.forked = True
                self._next_batch()
            for link in list(self._links.values()):
                self._prove_to(link, proof.author, again=False)

    def _prove_to(self, link: Link, author: PeerId, *, again: bool) -> None:
        proof = self.replica.logs[author].proof
        assert proof is not None
        if again or link.evidence.get(author, proof.seq + 1) > proof.seq:
            link.evidence[author] = proof.seq
            self._send(link, Evidence((proof.encode(),)))

    # ================================================================ our own entries

    def _on_submit(self, submit: Submit) -> None:
        self.own.submit(submit.token, submit.commands, self._now.monotonic_us)
        self._next_batch()
        if not self.own.confirmed:
            self._check_confirmed()

    def _next_batch(self) -> None:
        batch, refusals = self.own.take_batch(self._now)
        self._refuse(refusals)
        if batch is not None:
            self._save()  # what came before it stands before it on the disk
            self._own_token = self._token()
            self._out.append(
                Persist(
                    self._own_token,
                    (batch.entry,),
                    (),
                    self.replica.clock.high_water,
                    signed=True,
                )
            )

    def _on_persisted(self, persisted: Persisted) -> None:
        self._saving.pop(persisted.token, None)
        if persisted.token != self._own_token:
            self.own.decided()
            return
        self._own_token = None
        self._after("persist", self.config.persist_us)
        batch = self.own.landed()
        added = self.replica.add((batch.entry,), local_ms=self.local_ms)
        self._persist((), added.proofs)
        self._announce(added.proofs)
        if self.replica.logs[self.own_id].holds(batch.entry):
            for token, first_index in batch.submits:
                self._out.append(Submitted(token, batch.entry.id, batch.entry.seq, first_index))
            self._spread(self.own_id, PUSH_TO_ALL if self._linked_to_everyone() else PUSH)
        else:
            error = self.own.forked_error_if_any()
            assert error is not None, "our own entry does not count, yet nothing proves a fork"
            self._refuse([(token, error) for token, _ in batch.submits])
        self._arm_settle()
        self._arm_release()
        self._next_batch()

    def _on_persist_failed(self, failed: PersistFailed) -> None:
        self.own.decided()
        lost = [token for token in self._saving if token >= failed.token]
        for token in reversed(lost):
            self._unsaved.put_back(self._saving.pop(token))
        self._after("persist", self.config.persist_retry_us)
        if self._own_token is not None and self._own_token >= failed.token:
            self._own_token = None
            self._refuse(self.own.failed(failed.reason))
            self._next_batch()

    def _on_persist_undecided(self, undecided: PersistUndecided) -> None:
        self._refuse(self.own.undecided(undecided.reason))

    def _refuse(self, refusals: Iterable[Refusal]) -> None:
        for token, error in refusals:
            self._out.append(Refused(token, error))

    def _linked_to_everyone(self) -> bool:
        return len(self._links) <= self.config.link_target and len(self._links) >= max(
            1, self.address_book.peer_count
        )

    # ================================================================ entries out

    def _spread(self, author: PeerId, how: int) -> None:
        """An author's log grew: it goes out with the next round."""
        urgent = author == self.own_id
        self._at("push", self._pusher.note(author, how, self._now.monotonic_us, urgent=urgent))

    def _push(self) -> None:
        links = list(self._links.values())
        complete = self._linked_to_everyone()
        for link, news in self._pusher.round(
            links, self._now.monotonic_us, own=self.own_id, complete=complete
        ):
            self._send(link, news, droppable=True)
        due_us = self._pusher.due_us
        if due_us is not None:
            self._at("push", due_us)

    def _on_want(self, link: Link, want: Want) -> None:
        if not self._may_ask(link):
            return

        def grant(size_bytes: int) -> bool:
            granted = link.serving.take(size_bytes, self._now.monotonic_us)
            self.statistics.throttled_requests += not granted
            return granted

        for news in answer_want(self.replica, want, self.config, grant):
            self._send(link, news)

    # ================================================================ anti-entropy

    def _open_compare(self) -> None:
        self._after("compare", jittered(self.config.compare_us, self._random))
        if self._links:
            self._send_compare(self._random.choice(list(self._links.values())))

    def _send_compare(self, link: Link) -> None:
        self._release()
        self._settle_for_cuts()
        cuts = self.replica.recent_cuts(local_ms=self.local_ms, count=self.config.cuts_sent)
        frontier = self.replica.frontier
        self._send(link, Compare(frontier.root(), len(frontier), spans_of(cuts)))

    def _on_compare(self, link: Link, compare: Compare) -> None:
        now_us = self._now.monotonic_us
        if not self._may_ask(link):
            return
        self._release()
        self._settle_for_cuts()
        self.replica.recent_cuts(local_ms=self.local_ms, count=self.config.cuts_sent)
        caught_up, question = self._watch.compare(link.link, link.peer_id, compare.spans, now_us)
        if question is not None:
            self._send(link, question)
            self._send_compare(link)  # so that the other side sees the difference, too
        frontier = self.replica.frontier
        if compare.frontier_root == frontier.root():
            self._learn(link, self.own_id, self.replica.head(self.own_id).length)
            if len(frontier) <= self.config.whole_frontier_limit:
                for head in frontier.heads():
                    link.known[head.author] = head.length
            return
        authors = max(len(frontier), compare.author_count)
        if caught_up and authors > self.config.small_frontier_limit:
            link.compares_skipped += 1
            if link.compares_skipped < MAX_COMPARES_SKIPPED:
                return  # what differs is younger than the cut, and on its way
        link.compares_skipped = 0
        if authors <= self.config.whole_frontier_limit:
            self._send(link, FrontierIs(tuple(frontier.heads())))
        else:
            link.asked_prefixes.clear()
            self._walk(link, [b""])

    def _on_frontier(self, link: Link, message: FrontierIs) -> None:
        """The link's whole frontier: the truth about what it holds."""
        if not self._may_ask(link, 1 + len(message.heads) // 64):
            return
        link.known.clear()
        link.unknown_authors = 0
        named: dict[PeerId, None] = {}
        for head in message.heads:
            named[head.author] = None
            self._on_head(link, head, from_frontier=True)
            if link.link not in self._links:
                return
        self._tell_lacking(link, [head.author for head in self.replica.frontier.heads()], named)

    def _tell_lacking(
        self, link: Link, authors: Iterable[PeerId], named: dict[PeerId, None]
    ) -> None:
        """Tell the link of the logs of which we hold more than it does."""
        heads = []
        for author in authors:
            ours = self.replica.head(author)
            if author not in named:
                link.known.pop(author, None)
                if ours.k is not None:
                    self._prove_to(link, author, again=True)
            if link.known_length(author) < ours.length:
                heads.append(ours)
        for at in range(0, len(heads), self.config.whole_frontier_limit):
            part = heads[at : at + self.config.whole_frontier_limit]
            self._send(link, News((), tuple(part)))

    def _walk(self, link: Link, prefixes: list[bytes]) -> None:
        if len(link.asked_prefixes) < MAX_ASKED_PREFIXES:
            link.asked_prefixes.update(dict.fromkeys(prefixes))
            self._send(link, Walk(tuple(prefixes)))

    def _on_walk(self, link: Link, walk: Walk) -> None:
        if self._may_ask(link, 1 + len(walk.prefixes) // 16):
            for branch in answer_walk(self.replica, walk, self.config):
                self._send(link, branch)

    def _on_branch(self, link: Link, branch: Branch) -> None:
        if branch.prefix not in link.asked_prefixes:
            return  # nobody asked, or it comes twice
        del link.asked_prefixes[branch.prefix]
        tree = self.replica.frontier.tree()
        if not branch.children:
            if len(branch.heads) > self.config.walk_leaf_limit:
                raise ProtocolViolation("a branch with more heads than a branch may list")
            named: dict[PeerId, None] = {}
            for head in branch.heads:
                named[head.author] = None
                self._on_head(link, head, from_frontier=True)
            ours = [PeerId(key) for key, _ in tree.subtree_items(branch.prefix)]
            self._tell_lacking(link, ours, named)
            return
        prefixes = [prefix for prefix, _ in branch.children]
        if any(
            len(prefix) <= len(branch.prefix) or not prefix.startswith(branch.prefix)
            for prefix in prefixes
        ):
            raise ProtocolViolation("a branch whose children do not lie below it")
        uncovered = [
            PeerId(key)
            for key, _ in tree.subtree_items(branch.prefix)
            if not any(to_nibbles(key).startswith(prefix) for prefix in prefixes)
        ]
        self._tell_lacking(link, uncovered, {})
        different = [
            prefix for prefix, root in branch.children if tree.subtree_root(prefix) != root
        ]
        if different:
            self._walk(link, different)

    # ---------------------------------------------------------------- divergence

    def _on_cuts_wanted(self, link: Link, wanted: CutsWanted) -> None:
        if self._may_ask(link):
            self._send(link, answer_cuts(self.replica, wanted))

    def _on_cuts(self, link: Link, message: CutsAre) -> None:
        if self._may_ask(link):
            question = self._watch.cuts(link.link, message, self._now.monotonic_us)
            self._investigate(link, question)

    def _on_markets_wanted(self, link: Link, wanted: MarketsWanted) -> None:
        answer = answer_markets(self.replica, wanted) if self._may_ask(link) else None
        if answer is not None:
            self._send(link, answer)

    def _on_markets(self, link: Link, message: MarketsAre) -> None:
        if self._may_ask(link):
            question = self._watch.markets(link.link, message, self._now.monotonic_us)
            self._investigate(link, question)

    def _on_levels_wanted(self, link: Link, wanted: LevelsWanted) -> None:
        answer = answer_levels(self.replica, wanted) if self._may_ask(link) else None
        if answer is not None:
            self._send(link, answer)

    def _on_levels(self, link: Link, message: LevelsAre) -> None:
        if self._may_ask(link):
            question = self._watch.levels(link.link, message, self._now.monotonic_us)
            self._investigate(link, question)

    def _investigate(self, link: Link, question: Message | None) -> None:
        if question is not None:
            self._send(link, question)
        elif self._watch.ready:
            claim = self._watch.begin_audit()
            if claim is not None:
                self.statistics.audits += 1
                self._emit_divergence(claim)
                self._after("audit", self.config.audit_pause_us)

    def _audit(self) -> None:
        """One slice of the replay by which we judge ourselves."""
        heal, verdict = self._watch.audit_slice(self._now.monotonic_us)
        if heal:
            update = self.replica.heal(self._watch.take_audit())
            if update is not None:
                self._emit(update)
        if verdict is not None:
            self._emit_divergence(verdict)
        elif self._watch.auditing:
            self._after("audit", self.config.audit_pause_us)

    # ================================================================ timers

    def _on_timer(self, _: TimerFired | None) -> None:
        now_us = self._now.monotonic_us
        self._announced_us = None
        for name in [name for name, at_us in self._timers.items() if at_us <= now_us]:
            if self._timers.pop(name, None) is not None:  # an earlier action may have cleared it
                self._timer_actions[name]()

    def _settle(self) -> None:
        if not self.replica.needs_settling:
            return
        self._settled_us = self._now.monotonic_us
        for update in self.replica.settle(now_us=self._now.monotonic_us, local_ms=self.local_ms):
            self._emit(update)
        for market, error in self.replica.take_faults():
            second = self.local_ms // 1000
            self._emit_divergence(
                Divergence("healed", None, second, market, None, None, b"", b"", error)
            )
        self._arm_settle()

    def _arm_settle(self) -> None:
        if not self.replica.needs_settling:
            return
        config, now_us = self.config, self._now.monotonic_us
        if self.replica.watched:  # after a pause soon, under load at regular gaps
            soon_us = max(now_us + config.settle_soon_us, self._settled_us + config.settle_us)
        else:
            soon_us = max(now_us + config.settle_unwatched_us, self._unwatched_until_us())
        if self.replica.unsettled_commands > max(
            config.settle_commands, 4 * self.replica.latest_undo
        ):
            soon_us = now_us
        if self._timers.get("settle", soon_us + 1) > soon_us:
            self._at("settle", max(self.replica.next_settle_us() or 0, soon_us))

    def _unwatched_until_us(self) -> int:
        """How long books that nobody watches may be left as they are, to undo less in all."""
        undone = self.replica.latest_undo
        return self._settled_us + min(undone * self.config.settle_per_undone_us, 1_000_000)

    def _settle_for_cuts(self) -> None:
        """Before cuts are compared; while logs come in by the bulk, only what is settled is."""
        if self.replica.watched or self._now.monotonic_us >= self._unwatched_until_us():
            self._settle()

    def _release(self) -> None:
        self.replica.release(self.local_ms)
        self._arm_release()
        self._arm_settle()

    def _arm_release(self) -> None:
        due_ms = self.replica.next_release_ms
        if due_ms is None:
            self._timers.pop("release", None)
            return
        # Far-future entries wait for ever; look again at least once a minute, clocks do change.
        wait_us = min(max((due_ms - self.local_ms) * 1_000, 1_000), 60_000_000)
        self._timers["release"] = self._now.monotonic_us + wait_us

    def _want(self, author: PeerId, delay_us: int) -> None:
        self._fetcher.want(author, self._now.monotonic_us + delay_us)
        self._wake_fetcher()

    def _wake_fetcher(self) -> None:
        if self._fetcher.wake_us is not None:
            self._at("fetch", max(self._fetcher.wake_us, self._now.monotonic_us))

    def _fetch(self) -> None:
        """Ask for what is missing, of whoever claims to hold it."""
        now_us = self._now.monotonic_us
        for author, link_id in self._fetcher.expired(now_us):
            self.statistics.fetch_timeouts += 1
            link = self._links.get(link_id)
            if link is None:
                continue
            link.fetch_failures += 1
            if author == self.own_id and not self.own.confirmed:
                # Its objection stands as long as it is there: not to believe it may fork us.
                if link.fetch_failures > MAX_OBJECTIONS:
                    self._own_lengths_shown.pop(link.peer_id, None)
                    self._offence(link, "it claims entries of ours and does not show them")
            elif link.fetch_failures > 1:  # do not believe it until it claims that again
                link.known[author] = self.replica.head(author).length
        asks = self._fetcher.plan(
            now_us,
            have=self._have,
            claims=self._claims,
            next_missing=self._next_missing,
            patience_us=self._fetch_patience_us,
        )
        for link_id, ranges in asks.items():
            self._send(self._links[link_id], Want(tuple(ranges)))
        self._wake_fetcher()

    def _fetch_patience_us(self, link_id: LinkId, count: int) -> int:
        """A few entries are there after a trip and back, or were lost; a link that was too slow for
        that is given twice the time, and many entries the whole of it."""
        link, config = self._links[link_id], self.config
        if count > config.quick_fetch_entries or not link.clock.round_trip_us:
            return config.fetch_timeout_us
        quick_us = config.quick_fetch_us + 4 * link.clock.round_trip_us
        return min(quick_us << min(link.fetch_failures, 8), config.fetch_timeout_us)

    def _have(self, author: PeerId) -> int:
        log = self.replica.logs.get(author)
        return 0 if log is None else log.length

    def _next_missing(self, author: PeerId, seq: int) -> int:
        log = self.replica.logs.get(author)
        return seq if log is None else log.next_missing(seq)

    def _claims(self, author: PeerId) -> list[tuple[LinkId, int]]:
        ours = self.replica.head(author)
        if ours.k is not None and ours.length >= ours.k:
            return []
        return [
            (link.link, link.known_length(author))
            for link in self._links.values()
            if link.known_length(author) > ours.length
        ]

    def _ping(self) -> None:
        self._after("ping", jittered(self.config.ping_us, self._random))
        for link in self._links.values():
            self._send_ping(link)
            if not self.own.confirmed:
                self._ask_own_head(link)

    def _ask_own_head(self, link: Link) -> None:
        """The first word of the other side was lost: ask for our own last id and the one after."""
        if link.own_head_answered:
            return
        link.own_head_asked_us = self._now.monotonic_us
        length = self.replica.head(self.own_id).length
        self._send(link, IdsWanted(self.own_id, (max(length - 1, 0), max(length, 1))))

    def _send_ping(self, link: Link) -> None:
        link.ping_token = self._token()
        link.ping_sent_us = self._now.monotonic_us
        self._send(link, Ping(link.ping_token, self._now.wall_us))

    def _suspect(self) -> None:
        """Give up the links whose silence has become too suspicious."""
        now_us, pause_us = self._now.monotonic_us, self.config.ping_us // 4
        self._after("suspect", pause_us)
        slept_us = now_us - self._suspected_us - pause_us
        self._suspected_us = now_us
        if slept_us > self.config.ping_us:
            return  # we were not running ourselves: what came meanwhile has to be read first
        for link in list(self._links.values()):
            if link.detector.phi_milli(now_us) > self.config.phi_threshold_milli:
                self._drop(link, "it has been silent for too long")
            elif link.dialled and now_us - link.opened_us > self.config.stood_us:
                self.address_book.stood(link.peer_id)

    def _dial(self) -> None:
        """Keep links to everyone, or to enough random peers."""
        if self._left:
            return
        now_us = self._now.monotonic_us
        room = self._dial_room()
        if room > 0:
            linked = set(self._by_peer)
            dialling = set(self._dialling)
            candidates = self.address_book.candidates(linked, dialling, now_us)
            # Those that the user named come first: hearsay may be a flood of names.
            chosen = random_subset(
                [known for known in candidates if known.bootstrap], room, self._random
            )
            others = [known for known in candidates if not known.bootstrap]
            chosen += random_subset(others, room - len(chosen), self._random)
            for known in chosen:
                self._dialling[known.address] = None
                self._out.append(Dial(known.address, known.peer_id))
            if len(candidates) <= room:
                due_us = self.address_book.next_due_us(linked, set(self._dialling))
                if due_us is not None:
                    self._at("dial", max(due_us, now_us + 1_000))

    def _dial_room(self) -> int:
        """How many more peers to dial. In a large network every peer dials half of its links and
        is dialled for the other half, so that all have about as many."""
        target = self.config.link_target
        dialled = sum(link.dialled for link in self._links.values()) + len(self._dialling)
        room = target - len(self._links) - len(self._dialling)
        if self.address_book.peer_count > target:
            room = min(room, target // 2 - dialled)
        return max(room, self.config.links_dialled - dialled)

    def _tell_peers(self) -> None:
        self._after("peers", jittered(self.config.peers_us, self._random))
        if self._links:
            link = self._random.choice(list(self._links.values()))
            sample = self.address_book.sample(self.config.peers_sample, leave_out=link.peer_id)
            if sample:
                self._send(link, Peers(tuple(sample)))

    def _renew(self) -> None:
        """In a large network, give up a random link for a new one now and then."""
        self._after("renew", jittered(self.config.renew_us, self._random))
        more = self.address_book.peer_count > len(self._links) or self._turned_away
        if len(self._links) >= self.config.link_target and more:
            self._turned_away = False
            link = self._random.choice(list(self._links.values()))
            self._out.append(DropLink(link.link, "making room for another peer"))
            self._forget_link(link)
            self._emit(PeerDown(link.peer_id, "making room for another peer"))
            self._after("dial", 0)

    # ================================================================ helpers

    def _send(self, link: Link, message: Message, *, droppable: bool = False) -> None:
        self._send_raw(link.link, message, droppable=droppable)

    def _send_raw(self, link: LinkId, message: Message, *, droppable: bool = False) -> None:
        data = encode_message(message)
        self.statistics.count_sent(type(message).__name__, len(data))
        self._out.append(Send(link, data, droppable))

    def _may_ask(self, link: Link, tokens: int = 1) -> bool:
        """Take tokens for a question from the link's bucket; a question too many is ignored."""
        granted = link.requests.take(tokens, self._now.monotonic_us)
        self.statistics.throttled_requests += not granted
        return granted

    def _emit(self, event: Any) -> None:
        self._out.append(Emit(event))

    def _emit_divergence(self, divergence: Divergence) -> None:
        counts = self.statistics.divergences
        counts[divergence.status] = counts.get(divergence.status, 0) + 1
        self._emit(divergence)

    def _persist(self, entries: Sequence[Entry], proofs: Sequence[ForkProof]) -> None:
        """Others' entries and proofs gather for a moment: one transaction takes many."""
        if entries or proofs:
            self._unsaved.entries += entries
            self._unsaved.proofs += proofs
            self._after("persist", self.config.persist_us)

    def _save(self) -> None:
        unsaved, self._unsaved = self._unsaved, _Unsaved()
        counting = [
            entry for entry in unsaved.entries if self.replica.logs[entry.author].holds(entry)
        ]
        if self._own_token is not None:  # ours in flight may stand where these do
            self._unsaved.entries = [entry for entry in counting if entry.author == self.own_id]
            counting = [entry for entry in counting if entry.author != self.own_id]
        if counting or unsaved.proofs or unsaved.peers:
            write = Persist(
                self._token(),
                tuple(counting),
                tuple(unsaved.proofs),
                self.replica.clock.high_water,
                tuple(unsaved.peers.items()),
            )
            self._saving[write.token] = write
            self._out.append(write)

    def _token(self) -> int:
        token = self._next_token
        self._next_token = token + 1
        return token

    def _at(self, name: str, at_us: int) -> None:
        """Run the timer action at that time, or earlier if it is due earlier already."""
        known = self._timers.get(name)
        if known is None or at_us < known:
            self._timers[name] = at_us

    def _after(self, name: str, delay_us: int) -> None:
        self._at(name, self._now.monotonic_us + delay_us)

    def _finish(self) -> list[Output]:
        if self._timers:
            earliest = min(self._timers.values())
            if self._announced_us is None or earliest < self._announced_us:
                self._announced_us = earliest
                self._out.append(SetTimer(earliest))
        out, self._out = self._out, []
        return out

    def _restore(self, stored: StoredState) -> None:
        for peer_id, address in stored.peers:
            self._remembered[peer_id] = address
            self.address_book.learn(peer_id, address)
        self.replica.clock.observe(stored.clock_high_water)
        # Nothing that was applied before is held back again: the clock's floor is persisted.
        local_ms = stored.clock_high_water >> 16
        self.replica.add(stored.entries, local_ms=local_ms)
        for proof in stored.proofs:
            self.replica.add_proof(proof, local_ms=local_ms)
