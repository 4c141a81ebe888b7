"""The total order of one market's entries: what is dirty, and how far to undo.

All entries are read in the order ``(effective hlc, author, seq)``. They do not arrive in it, so a
market works in two steps. *Adding* an entry puts it into a basket and lowers the mark, the least
place in the order that changed. *Settling* cuts the applied order at the mark, merges the basket
into what was cut off, and names the position to which the engine must undo::

    applied   a b c d | g h i          basket: f e        mark = e
                      ^ undo to here, then apply e f g h i

However many entries came in between and in whatever order, settling undoes once. This file counts
commands but does not know what they do.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from gossipbook.log.entry import Entry, MergeKey


class MergeOrder:
    """One market's entries: the applied ones in order, and the basket of changes."""

    __slots__ = ("_added", "_entries", "_keys", "_mark", "_removed", "_starts")

    def __init__(self) -> None:
        self._keys: list[MergeKey] = []
        self._entries: list[Entry] = []
        self._starts: list[int] = []  # position of each entry's first command
        self._added: list[Entry] = []
        self._removed: dict[MergeKey, None] = {}
        self._mark: MergeKey | None = None

    def add(self, entry: Entry) -> None:
        key = _key(entry)
        self._added.append(entry)
        if self._mark is None or key < self._mark:
            self._mark = key

    def remove(self, entry: Entry) -> None:
        """Take out an entry that a fork voided, whether it has been applied or not."""
        key = _key(entry)
        self._removed[key] = None
        if self._mark is None or key < self._mark:
            self._mark = key

    @property
    def mark(self) -> MergeKey | None:
        """The least place that changed since the last settling, or None."""
        return self._mark

    @property
    def waiting_count(self) -> int:
        return len(self._added) + len(self._removed)

    @property
    def last_key(self) -> MergeKey | None:
        """The place of the last applied entry."""
        return self._keys[-1] if self._keys else None

    def position_of(self, key: MergeKey, *, end: int) -> int:
        """The position of the first applied command at or after ``key``; ``end`` if none is."""
        index = bisect_left(self._keys, key)
        return self._starts[index] if index < len(self._starts) else end

    def start_of(self, key: MergeKey) -> int | None:
        """The position of the first command of the applied entry at ``key``, or None."""
        index = bisect_left(self._keys, key)
        if index < len(self._keys) and self._keys[index] == key:
            return self._starts[index]
        return None

    def cut(self, position: int) -> tuple[list[Entry], int]:
        """Give up what is applied from ``position`` on, with the basket merged into it.

        Returns the entries to apply, in order, and how many commands of the first one are applied
        already: snapshots may lie inside an entry. ``position`` is at or before the mark.
        """
        index = bisect_right(self._starts, position) - 1
        done = 0
        if index < 0:
            index = 0
        else:
            done = position - self._starts[index]
        entries = self._entries[index:]
        del self._keys[index:], self._entries[index:], self._starts[index:]
        entries += self._added
        if self._removed:
            entries = [entry for entry in entries if _key(entry) not in self._removed]
            self._removed = {}
        entries.sort(key=_key)
        self._added = []
        self._mark = None
        return entries, done

    def append(self, entry: Entry, key: MergeKey, start: int) -> None:
        """Note that ``entry``, whose place is ``key``, is applied from position ``start`` on."""
        self._keys.append(key)
        self._entries.append(entry)
        self._starts.append(start)

    def applied(self, *, below_hlc: int | None = None) -> list[Entry]:
        """The applied entries in order (those dated before ``below_hlc``), as a new list."""
        if below_hlc is None:
            return list(self._entries)
        return self._entries[: bisect_left(self._keys, below_hlc, key=lambda key: key[0])]

    def restart(self, index: int) -> list[Entry]:
        """Give up the applied entries from ``index`` on and return them: for a healed engine."""
        entries = self._entries[index:]
        del self._keys[index:], self._entries[index:], self._starts[index:]
        return entries

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def _key(entry: Entry) -> MergeKey:
    key = entry.merge_key
    assert key is not None, f"{entry!r} has no place in the order before it connects"
    return key
