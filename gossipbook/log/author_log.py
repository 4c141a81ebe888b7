"""One author's chain: what connects, what is missing, and what proves a fork.

The log admits whatever is valid and connects; it never asks a clock and never refuses an entry for
coming early, late or twice. Entries that arrive before their ancestors wait in a small bounded
buffer. All entries offered here have had their signatures checked.

When evidence shows that the author forked at seq k, the entries from k on stop counting::

    offered:   0 -- 1 -- 2 -- 3 -- 4          k = 3: entries 3, 3' and 4 are void,
                          \\-- 3'             0, 1 and 2 count for ever

An entry at k may still contradict the one before it, which would move the fork to k - 1. So the
headers seen at k are remembered (two suffice, if they name different ancestors), and k depends on
what was offered and not on the order.
"""

from bisect import bisect_left
from typing import NamedTuple

from gossipbook.errors import InvalidEntry
from gossipbook.identity import PeerId, short
from gossipbook.log.clock import hlc_at
from gossipbook.log.entry import NO_ENTRY, Entry, EntryId, SignedHeader, signed_header
from gossipbook.log.fork import ForkProof, prove_fork

MAX_WAITING = 2_048
MAX_WAITING_BYTES = 4_194_304
"""Entries kept while their ancestors are fetched (two chunks of a parallel fetch, and pushes)."""


class Offered(NamedTuple):
    """What came of offering an entry (or a proof) to a log."""

    added: list[Entry]  # connected now, in order of seq
    voided: list[Entry]  # counted before, and do not any more
    proof: ForkProof | None  # new evidence, of a lower k than before
    duplicate: bool  # nothing in it was new
    gap: bool  # it waits for its ancestors


_DUPLICATE = Offered([], [], None, True, False)
_WAITING = Offered([], [], None, False, True)


class AuthorLog:
    """The entries of one author that count, from seq 0 without a gap."""

    __slots__ = (
        "_at_fork",
        "_earliest_hlc",
        "_network_id",
        "_waiting",
        "_waiting_bytes",
        "author",
        "entries",
        "proof",
    )

    def __init__(self, author: PeerId, *, network_id: bytes, start_ms: int) -> None:
        self.author = author
        self.entries: list[Entry] = []
        self.proof: ForkProof | None = None
        self._waiting: dict[int, Entry] = {}
        self._waiting_bytes = 0
        self._at_fork: list[SignedHeader] = []  # at seq k, with different prev: at most two
        self._network_id = network_id
        self._earliest_hlc = hlc_at(start_ms)

    @property
    def length(self) -> int:
        return len(self.entries)

    @property
    def head_id(self) -> EntryId:
        return self.entries[-1].id if self.entries else NO_ENTRY

    @property
    def k(self) -> int | None:
        """The least seq at which the author is proven to have forked, or None."""
        return None if self.proof is None else self.proof.seq

    @property
    def waiting_count(self) -> int:
        return len(self._waiting)

    def next_missing(self, seq: int) -> int:
        """The first seq at or after ``seq`` that neither counts nor waits."""
        seq = max(seq, len(self.entries))
        while seq in self._waiting:
            seq += 1
        return seq

    def id_at(self, seq: int) -> EntryId | None:
        """The id of the counting entry at ``seq``, or None beyond the head."""
        return self.entries[seq].id if 0 <= seq < len(self.entries) else None

    def holds(self, entry: Entry) -> bool:
        """Whether ``entry`` counts."""
        return self.id_at(entry.seq) == entry.id

    def length_below(self, hlc: int) -> int:
        """How many entries have an effective timestamp below ``hlc``."""
        entries = self.entries
        if entries and entries[-1].effective_hlc < hlc:
            return len(entries)
        return bisect_left(entries, hlc, key=lambda entry: entry.effective_hlc)

    def offer(self, entry: Entry) -> Offered:
        """Take a verified entry. Raises InvalidEntry where it can never belong to the log."""
        assert entry.author == self.author, "an entry is offered to its own author's log"
        if entry.hlc < self._earliest_hlc:
            raise InvalidEntry(
                f"entry {short(entry.author)}:{entry.seq} is dated before the network's start"
            )
        proof = self._evidence_in(entry)
        if proof is not None:
            return self._convict(proof)
        seq = entry.seq
        if seq < len(self.entries):
            return _DUPLICATE
        if self.proof is not None and seq >= self.proof.seq:
            if seq == self.proof.seq:
                self._remember(signed_header(entry))
            return _DUPLICATE
        if seq > len(self.entries):
            return self._wait(entry)
        added = [entry]
        self._connect(entry)
        while self._waiting:
            following = self._waiting.pop(len(self.entries), None)
            if following is None:
                break
            self._waiting_bytes -= following.size_bytes
            proof = self._evidence_in(following)
            if proof is not None:
                convicted = self._convict(proof)
                voided = {id(void) for void in convicted.voided}
                return convicted._replace(
                    added=[one for one in added if id(one) not in voided],
                    voided=[void for void in convicted.voided if all(void is not a for a in added)],
                )
            self._connect(following)
            added.append(following)
        return Offered(added, [], None, False, False)

    def convict(self, proof: ForkProof) -> Offered:
        """Take a checked proof. What it voids stops counting; a higher k than ours is no news."""
        assert proof.author == self.author, "a proof is about its own author's log"
        return self._convict(proof)

    def _convict(self, proof: ForkProof) -> Offered:
        k = self.k
        if k is not None and proof.seq > k:
            return _DUPLICATE
        voided: list[Entry] = []
        if k is None or proof.seq < k:
            held = self._held(proof.seq)
            self._at_fork = [] if held is None else [signed_header(held)]
            self.proof = proof
            voided = self.entries[proof.seq :]
            del self.entries[proof.seq :]
            for seq in [seq for seq in self._waiting if seq >= proof.seq]:
                self._waiting_bytes -= self._waiting.pop(seq).size_bytes
        for signed in (proof.first, proof.second):
            self._remember(signed)
        before = self._held(proof.seq - 1)
        for signed in self._at_fork:
            if before is not None and signed.header.prev != before.id:
                earlier = self._prove(signed_header(before), signed)
                deeper = self._convict(earlier)
                return deeper._replace(voided=deeper.voided + voided)
        return _DUPLICATE if proof.seq == k else Offered([], voided, proof, False, False)

    def _remember(self, signed: SignedHeader) -> None:
        """Keep a header at seq k, if it names another ancestor than those that are kept."""
        known = [one.header.prev for one in self._at_fork]
        if signed.header.seq == self.k and len(known) < 2 and signed.header.prev not in known:
            self._at_fork.append(signed)

    def _evidence_in(self, entry: Entry) -> ForkProof | None:
        """Evidence that ``entry`` gives together with what we hold, of the least seq."""
        seq = entry.seq
        before = self._held(seq - 1)
        if before is not None and before.id != entry.prev:
            return self._prove(signed_header(before), signed_header(entry))
        same = self._held(seq)
        if same is not None and same.id != entry.id:
            return self._prove(signed_header(same), signed_header(entry))
        after = self._waiting.get(seq + 1)
        if after is not None and after.prev != entry.id:
            return self._prove(signed_header(entry), signed_header(after))
        if seq + 1 == self.k:
            for signed in self._at_fork:
                if signed.header.prev != entry.id:
                    return self._prove(signed_header(entry), signed)
        return None

    def _held(self, seq: int) -> Entry | None:
        if 0 <= seq < len(self.entries):
            return self.entries[seq]
        return self._waiting.get(seq)

    def _prove(self, first: SignedHeader, second: SignedHeader) -> ForkProof:
        proof = prove_fork(self._network_id, first, second)
        assert proof is not None, "two headers were taken for evidence and are none"
        return proof

    def _wait(self, entry: Entry) -> Offered:
        if entry.seq in self._waiting:
            return _DUPLICATE
        if (
            len(self._waiting) < MAX_WAITING
            and self._waiting_bytes + entry.size_bytes <= MAX_WAITING_BYTES
        ):
            self._waiting[entry.seq] = entry
            self._waiting_bytes += entry.size_bytes
        return _WAITING

    def _connect(self, entry: Entry) -> None:
        assert entry.prev == self.head_id and entry.seq == len(self.entries)
        effective = entry.hlc
        if self.entries:
            effective = max(effective, self.entries[-1].effective_hlc + 1)
        assert entry.merge_key is None or entry.merge_key[0] == effective
        if entry.merge_key is None:
            entry.merge_key = (effective, entry.author, entry.seq)
        self.entries.append(entry)
