"""What a set of entries amounts to, worked out by hand: sort once, apply once, never undo.

Takes the entries of one peer as an unordered pile. Effective timestamps, merge order and commands
are computed here from what the authors signed; the markets are the slow twins.
"""

from collections.abc import Iterable

from twins.matching import NaiveMarket

from gossipbook.book.payload import decode_payload
from gossipbook.errors import EncodingError
from gossipbook.genesis import Genesis
from gossipbook.log.entry import Entry


def naive_order(entries: Iterable[Entry]) -> list[tuple[int, Entry]]:
    """(effective hlc, entry) in merge order."""
    logs: dict[bytes, list[Entry]] = {}
    for entry in entries:
        logs.setdefault(entry.author, []).append(entry)
    dated = []
    for author in logs:
        effective = -1
        log = sorted(logs[author], key=lambda entry: entry.seq)
        for seq, entry in enumerate(log):
            assert entry.seq == seq, f"a log with a gap: {[entry.seq for entry in log]}"
            effective = max(entry.hlc, effective + 1)
            dated.append((effective, entry))
    dated.sort(key=lambda pair: (pair[0], pair[1].author, pair[1].seq))
    return dated


def naive_replay(
    genesis: Genesis, entries: Iterable[Entry], *, until_ms: int
) -> dict[str, NaiveMarket]:
    """The markets after all entries dated up to ``until_ms``."""
    markets = [NaiveMarket(market) for market in genesis.markets]
    for effective, entry in naive_order(entries):
        if effective >> 16 > until_ms:
            continue
        try:
            commands = decode_payload(entry.payload, len(markets))
        except EncodingError:
            continue
        for index, command in enumerate(commands):
            markets[command.market].apply((entry.author, entry.seq, index), command)
    return {market.symbol: naive for market, naive in zip(genesis.markets, markets, strict=True)}
