"""Each signature is checked once per process.

Peers that share a process (tests, experiments, several markets of one application) meet the same
entries again and again. ``Verifier`` remembers which entries it has found good and hands every
caller the same object, so a second peer pays neither the 60 us nor the memory. Only a check that
succeeded fills the cache, and the key holds id *and* signature, so nothing unchecked passes.
The cache holds entries weakly: it is as large as what the process keeps anyway.
"""

from collections.abc import Iterable
from weakref import WeakValueDictionary

from gossipbook.log.entry import Entry, signature_is_good


class Verifier:
    """Checks signatures, remembering the good ones.

    Several threads may use one: at worst they check a signature twice.
    """

    __slots__ = ("_verified", "checked_count")

    def __init__(self) -> None:
        self._verified: WeakValueDictionary[bytes, Entry] = WeakValueDictionary()
        self.checked_count = 0
        """How many signatures libsodium looked at (the others were known to be good)."""

    def check(self, entries: Iterable[Entry]) -> list[Entry | None]:
        """For each entry: the one to keep, or None where its signature is bad.

        After the first bad one no further signature is looked at: who sent them is not believed,
        and a million forged ones cost as much as one. They are None, too.
        """
        checked: list[Entry | None] = []
        waiting = list(entries)
        for entry in waiting:
            kept = self._check(entry)
            checked.append(kept)
            if kept is None:
                break
        return checked + [None] * (len(waiting) - len(checked))

    def _check(self, entry: Entry) -> Entry | None:
        key = entry.id + entry.signature
        known = self._verified.get(key)
        if known is not None:
            return known
        self.checked_count += 1
        if not signature_is_good(entry.author, entry.id, entry.signature):
            return None
        self._verified[key] = entry
        return entry
