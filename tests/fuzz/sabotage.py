"""Rules broken on purpose, one at a time: what a fuzz target has to notice.

Each takes a rule out of the package while a test runs. Next to it stands what the target says then.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from fuzz.pool import pool_of
from fuzz.script import MEMBERS_ONLY, STRANGER_KEYS, STRANGERS
from pytest import MonkeyPatch
from twins.authors import GENESIS

from gossipbook import encoding, genesis, replica
from gossipbook.book import payload
from gossipbook.book.payload import Placement, encode_payload
from gossipbook.errors import EncodingError, ProtocolViolation
from gossipbook.gossip import messages
from gossipbook.gossip.interface import Persisted
from gossipbook.gossip.membership import AddressBook
from gossipbook.gossip.messages import News
from gossipbook.gossip.own_log import OwnLog
from gossipbook.gossip.protocol import GossipProtocol, StoredState
from gossipbook.gossip.reconcile import Fetcher
from gossipbook.identity import PeerId
from gossipbook.log import entry, fork
from gossipbook.log.entry import Entry, encode_run, signed_header
from gossipbook.log.fork import ForkProof
from gossipbook.storage import tape
from gossipbook.transport import address, handshake
from gossipbook.transport.framing import HEAD_BYTES, FrameReader, framed
from gossipbook.transport.handshake import Hello

Break = Callable[[MonkeyPatch], None]


def _nothing(*_: Any, **__: Any) -> None:
    """In place of a check or a duty."""


def _words_before_the_disk(patch: MonkeyPatch) -> None:
    right = GossipProtocol._next_batch

    def wrong(self: GossipProtocol) -> None:
        right(self)
        if self.own.in_flight is not None:
            for link in self._links.values():
                self._send(link, News((encode_run([self.own.in_flight.entry]),)))

    patch.setattr(GossipProtocol, "_next_batch", wrong)


def _unverified_entries(patch: MonkeyPatch) -> None:
    def wrong(self: GossipProtocol, link: Any, entries: Any, spans: Any, **_: Any) -> None:
        self._admit(entries, link, tell_only=False)

    patch.setattr(GossipProtocol, "_verify", wrong)


def _honest_requests_refused(patch: MonkeyPatch) -> None:
    def wrong(*_: Any) -> None:
        raise ProtocolViolation("nobody may want anything")

    patch.setattr(GossipProtocol, "_on_want", wrong)


def _timer_in_the_present(patch: MonkeyPatch) -> None:
    def wrong(self: GossipProtocol) -> None:
        if self.replica.next_release_ms is not None:
            self._timers["release"] = self._now.monotonic_us

    patch.setattr(GossipProtocol, "_arm_release", wrong)


def _bans_without_end(patch: MonkeyPatch) -> None:
    def wrong(self: AddressBook, peer_id: Any, now_us: int) -> None:
        self._banned_until_us[peer_id] = now_us + self._config.ban_us

    patch.setattr(AddressBook, "ban", wrong)


def _own_past_forgotten(patch: MonkeyPatch) -> None:
    right = GossipProtocol._restore

    def wrong(self: GossipProtocol, stored: StoredState) -> None:
        right(self, stored._replace(entries=()))

    patch.setattr(GossipProtocol, "_restore", wrong)


def _own_length_not_looked_at(patch: MonkeyPatch) -> None:
    patch.setattr(GossipProtocol, "_confirmed_by_links", lambda _: True)
    right = OwnLog.__init__

    def wrong(self: OwnLog, *given: Any, confirmed: bool, damaged: bool = False) -> None:
        right(self, *given, confirmed=True)

    patch.setattr(OwnLog, "__init__", wrong)


def _heads_of_the_first(patch: MonkeyPatch) -> None:
    right = replica.net_change
    patch.setattr(replica, "net_change", lambda old, new: (right(old, new)[0], ()))


def _skipped_where_forked(name: str) -> Break:
    """The duty is forgotten where an own entry lands that does not count any more."""
    right = GossipProtocol._on_persisted

    def wrong(self: GossipProtocol, persisted: Persisted) -> None:
        if self.own.in_flight is not None and persisted.token == self._own_token:
            entry = self.own.in_flight.entry
            if self.own.forked or self.replica.head(self.own_id).length > entry.seq:
                self.__dict__[name] = _nothing
        right(self, persisted)
        self.__dict__.pop(name, None)

    return replaced(GossipProtocol, "_on_persisted", wrong)


def _a_key_error(patch: MonkeyPatch) -> None:
    def wrong(*_: Any) -> None:
        raise KeyError("unforeseen")

    patch.setattr(GossipProtocol, "_on_ids", wrong)


def _forks_of_anybody(patch: MonkeyPatch) -> None:
    patch.setattr(fork, "fork_seq", lambda _, first, second: min(first.seq, second.seq))


def _frames_of_any_length(patch: MonkeyPatch) -> None:
    def wrong(self: FrameReader, start: int) -> int | None:
        buffer = self._buffer
        end = start + HEAD_BYTES + int.from_bytes(buffer[start : start + HEAD_BYTES], "big")
        return end if start + HEAD_BYTES <= end <= len(buffer) else None

    patch.setattr(FrameReader, "_end_of_frame", wrong)


def _hellos_with_something_behind(patch: MonkeyPatch) -> None:
    right = handshake._fields

    def wrong(frame: bytes) -> Any:
        try:
            return right(frame)
        except EncodingError:
            return right(frame[:-1])

    patch.setattr(handshake, "_fields", wrong)


def _any_market(patch: MonkeyPatch) -> None:
    right = payload._from_array
    patch.setattr(payload, "_from_array", lambda array, _: right(array, 1 << 62))


def _any_order_of_members(patch: MonkeyPatch) -> None:
    patch.setattr(genesis, "_checked_members", lambda given: None if given is None else (*given,))


def _any_order_on_tape(patch: MonkeyPatch) -> None:
    def wrong(self: tape.TapeReader, entry: Entry, _: int) -> None:
        entry.merge_key = (entry.hlc, entry.author, entry.seq)
        self._count += 1

    patch.setattr(tape.TapeReader, "_connect", wrong)


def replaced(owner: object, name: str, value: object) -> Break:
    return lambda patch: patch.setattr(owner, name, value)


PROTOCOL: dict[str, tuple[Break, str]] = {
    "own entries go out before the disk has them": (_words_before_the_disk, "before the disk"),
    "signatures are not checked": (_unverified_entries, "never verified|nobody has verified"),
    "an honest question is an offence": (_honest_requests_refused, "honest peer was dropped"),
    "a timer is always due": (_timer_in_the_present, "timers fired within"),
    "strangers may be claimed without end": (
        replaced(GossipProtocol, "_too_many_unknown", lambda *_: False),
        "strangers claimed over a link",
    ),
    "bans are kept for ever": (_bans_without_end, "bans: 5, where at most 4"),
    "a peer forgets its own log": (_own_past_forgotten, "signed again|is lost"),
    "a damaged log does not keep from signing": (
        _own_length_not_looked_at,
        "signed again|is lost|a fork by who never forked",
    ),
    "the loads of dead links stay": (
        replaced(Fetcher, "link_gone", _nothing),
        "link that is gone|is gone|one.link in",
    ),
    "voided entries stay in the books": (
        replaced(replica.Replica, "_void", _nothing),
        "A: |B: |engine failed|unequal books",
    ),
    "users are not told": (_heads_of_the_first, "taken back and never told|was told wrong"),
    "nobody settles": (replaced(GossipProtocol, "_arm_settle", _nothing), "nobody settles them"),
    "who waits behind a fork is forgotten": (
        _skipped_where_forked("_next_batch"),
        "submits wait|[1-9] submits",
    ),
    "what an own entry voids is not settled": (
        _skipped_where_forked("_arm_settle"),
        "nobody settles them",
    ),
    "frontiers are not compared": (
        replaced(GossipProtocol, "_open_compare", _nothing),
        "not equal",
    ),
    "an error of another kind": (_a_key_error, "unforeseen"),
    "submits of a failed write get no answer": (
        replaced(OwnLog, "failed", lambda self, _: self._decide() and []),
        "not equal after 40 s: .* [1-9] submits",
    ),
}
"""Rules of the protocol object, and what its target says when they are gone."""


def _no_evidence() -> bytes:
    """Two headers of one author that can stand in one log."""
    entries = pool_of(GENESIS, STRANGERS).entries_of(STRANGER_KEYS[STRANGERS[0]].peer_id, 0)
    first, second = signed_header(entries[0]), signed_header(entries[5])
    return ForkProof(entries[0].author, 0, first, second).encode()


def _members_in_wrong_order() -> bytes:
    fields = encoding.decode(MEMBERS_ONLY.encode(), max_size=1 << 16)
    assert isinstance(fields, list) and isinstance(fields[-1], list)
    return encoding.encode([*fields[:-1], fields[-1][::-1]])


def _tape_backwards() -> bytes:
    entries = pool_of(GENESIS, STRANGERS).entries_of(STRANGER_KEYS[STRANGERS[0]].peer_id, 0)
    file = io.BytesIO()
    file.write(tape.MAGIC)
    runs = [encode_run(entries[seq : seq + 1]) for seq in (5, 0)]
    for frame in (GENESIS.encode(), *runs, encoding.encode([len(runs), bytes(32)])):
        tape._write_frame(file, frame)
    return file.getvalue()


DECODERS: dict[str, tuple[str, bytes, Break, str]] = {
    "longer forms of numbers": (
        "encoding",
        bytes.fromhex("1801"),
        replaced(encoding, "_LEAST", (0, 0, 0, 0)),
        "not what would be written",
    ),
    "flags that mean nothing": (
        "message",
        encoding.encode([0, 4, b""]),
        replaced(messages, "_check", _nothing),
        "not what would be written",
    ),
    "a first entry that follows another": (
        "run",
        encoding.encode([bytes(32), 0, b"x" * 32, 1, 0, b"", bytes(64)]),
        replaced(entry, "_check_fields", _nothing),
        "starts a log after another entry",
    ),
    "evidence of nothing": ("proof", _no_evidence(), _forks_of_anybody, "AssertionError"),
    "frames of any length": (
        "framing",
        bytes([3, 0, 0]) + framed([bytes(9)]),
        _frames_of_any_length,
        "a frame that is too long",
    ),
    "addresses without brackets": (
        "address",
        b"[2001:db8::5]:7000",
        replaced(address.HostPort, "__str__", lambda self: f"{self.host}:{self.port}"),
        "is not HOST:PORT",
    ),
    "hellos with something behind them": (
        "handshake",
        Hello(bytes(32), PeerId(bytes(32)), bytes(32)).encode() + b"!",
        _hellos_with_something_behind,
        "not what would be written",
    ),
    "orders in markets that there are not": (
        "payload",
        encode_payload([Placement(2, 0, 1, 1, 0)]),
        _any_market,
        "an order in no market",
    ),
    "members in any order": (
        "genesis",
        _members_in_wrong_order(),
        _any_order_of_members,
        "one network has two names",
    ),
    "a tape in any order": ("tape", _tape_backwards(), _any_order_on_tape, "not in merge order"),
}
"""The same of the decoders: the target, an input, the rule that is gone, and what is said."""
