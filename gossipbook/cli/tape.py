"""`gossipbook record` and `gossipbook replay TAPE`: a network's history, kept and read again.

Recording takes what counts in a peer's store. Replaying checks every signature and matches every
command, in memory that does not grow with the tape: orders that ended go to a temporary file. It
calls a tape good only if its root comes out as it was recorded.
"""

from __future__ import annotations

import csv
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

import click

from gossipbook.book.commands import CommandId
from gossipbook.book.digest import book_root
from gossipbook.book.level import Key
from gossipbook.book.payload import decode_payload
from gossipbook.book.streaming import Fill, StreamingMarket
from gossipbook.cli.store_reading import read_store
from gossipbook.cli.terminal import ProgressReport, show_table
from gossipbook.errors import EncodingError, StoreError
from gossipbook.genesis import Genesis, Market
from gossipbook.identity import PeerId, short
from gossipbook.log.entry import signature_is_good
from gossipbook.storage.tape import TapeReader, is_tape, write_tape


def record_store(path: str, output: str) -> None:
    """Write the merged log of a store as a tape. Raises StoreError; nothing is overwritten."""
    if os.path.exists(output):
        raise StoreError(f"{output} exists; name another file with --output")
    with read_store(path) as store:
        if store.loaded.damage:
            raise StoreError(
                f"{path} is damaged ({store.loaded.damage[0]}); `gossipbook audit` says more, and "
                "a peer that opens it mends it"
            )
        replica = store.replay()
        held = replica.held_ids()
        entries = [entry for entry in replica.merged_entries() if entry.id not in held]
        unfinished = f"{output}.unfinished"
        with open(unfinished, "wb") as file:
            write_tape(file, store.genesis, entries, book_root=replica.book_root())
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, output)
        click.echo(f"{output}: {len(entries):,} entries, {os.path.getsize(output):,} bytes")
        if held:
            click.echo(f"{len(held):,} entries dated in the future do not count yet: left out")
        click.echo(f"book root  {replica.book_root().hex()}")


def is_tape_file(path: str) -> bool:
    """Whether the file is a tape (and not a file of cases)."""
    with open(path, "rb") as file:
        return is_tape(file)


def replay_tape(path: str, *, check_signatures: bool, trades: str | None, as_json: bool) -> bool:
    """Replay a tape and show what came of it; whether its root is the one recorded.

    `trades` names a file for all trades as CSV. Raises StoreError for a tape that is damaged.
    """
    size = os.path.getsize(path)
    with (
        open(path, "rb") as file,
        _past_orders() as past,
        _trade_writer(trades) as write_trades,
        ProgressReport("replay", size, "bytes") as progress,
    ):
        reader = TapeReader(file)
        replay = _Replay(reader.genesis, past, write_trades)
        done = 0
        for entry in reader.entries():
            if check_signatures and not signature_is_good(entry.author, entry.id, entry.signature):
                raise StoreError(f"{path}: {short(entry.author)}:{entry.seq} has a bad signature")
            replay.apply(entry.author, entry.seq, entry.payload)
            progress.advance(file.tell() - done)
            done = file.tell()
        assert reader.end is not None
        report = replay.finish()
    report |= {"tape": path, "entries": reader.end.entries, "network": reader.genesis.name}
    report |= {"recorded_root": reader.end.book_root.hex(), "signatures": check_signatures}
    report["ok"] = report["book_root"] == report["recorded_root"]
    click.echo(json.dumps(report)) if as_json else _show(report)
    if not report["ok"]:
        click.echo(f"{path}: the root differs from the one recorded", err=True)
    return bool(report["ok"])


class _Replay:
    """All markets of a network, fed with entries in merge order."""

    def __init__(self, genesis: Genesis, past: DiskOrders, write_trades: _TradeSink) -> None:
        self._markets = [
            StreamingMarket(market, past.of_market(index), write_trades.of_market(market))
            for index, market in enumerate(genesis.markets)
        ]
        self._symbols = [market.symbol for market in genesis.markets]

    def apply(self, author: PeerId, seq: int, payload: bytes) -> None:
        try:
            commands = decode_payload(payload, len(self._markets))
        except EncodingError:
            return  # one rejection, which touches no market
        for index, command in enumerate(commands):
            self._markets[command.market].apply((author, seq, index), command)

    def finish(self) -> dict[str, Any]:
        digests = [market.finish() for market in self._markets]
        markets = [
            {
                "market": symbol,
                "commands": digest.totals.commands,
                "trades": digest.totals.trades,
                "rejections": digest.totals.rejections,
                "root": digest.root.hex(),
            }
            for symbol, digest in zip(self._symbols, digests, strict=True)
        ]
        return {"markets": markets, "book_root": book_root(digests).hex()}


class DiskOrders:
    """How orders ended, in a temporary file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._authors: dict[PeerId, int] = {}
        connection.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -8192;"
            "CREATE TABLE ended (market INTEGER, author INTEGER, seq INTEGER, place INTEGER,"
            " state BLOB, PRIMARY KEY (market, author, seq, place)) WITHOUT ROWID;"
        )

    def of_market(self, market: int) -> _DiskOrdersOfMarket:
        """Those of one market."""
        return _DiskOrdersOfMarket(self, market)

    def put(self, market: int, ended: Iterable[tuple[Key, int]]) -> None:
        rows = (
            (market, self._number(author), seq, place, state.to_bytes(16, "big"))
            for (author, seq, place), state in ended
        )
        with self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO ended VALUES (?,?,?,?,?)", rows)

    def get(self, market: int, key: Key) -> int | None:
        author, seq, place = key
        row = self._connection.execute(
            "SELECT state FROM ended WHERE market = ? AND author = ? AND seq = ? AND place = ?",
            (market, self._number(author), seq, place),
        ).fetchone()
        return None if row is None else int.from_bytes(row[0], "big")

    def _number(self, author: PeerId) -> int:
        return self._authors.setdefault(author, len(self._authors))


class _DiskOrdersOfMarket:
    def __init__(self, orders: DiskOrders, market: int) -> None:
        self._orders = orders
        self._market = market

    def put(self, ended: Iterable[tuple[Key, int]]) -> None:
        self._orders.put(self._market, ended)

    def get(self, key: Key) -> int | None:
        return self._orders.get(self._market, key)


@contextmanager
def _past_orders() -> Iterator[DiskOrders]:
    with (
        TemporaryDirectory(prefix="gossipbook-") as folder,
        closing(sqlite3.connect(Path(folder, "ended"))) as connection,
    ):
        yield DiskOrders(connection)


class _TradeSink:
    """Writes trades as CSV, where somebody wants them."""

    def __init__(self, file: TextIO | None) -> None:
        self._writer = None if file is None else csv.writer(file, lineterminator="\n")
        if self._writer is not None:
            self._writer.writerow(("market", "taker", "maker", "price", "quantity"))

    def of_market(self, market: Market) -> Any:
        """What takes the trades of one market."""

        def write(fills: list[Fill]) -> None:
            if self._writer is None:
                return
            for taker, maker, ticks, lots in fills:
                self._writer.writerow(
                    (
                        market.symbol,
                        CommandId(market.symbol, *taker),
                        CommandId(market.symbol, *maker),
                        market.ticks_to_price(ticks),
                        market.lots_to_quantity(lots),
                    )
                )

        return write


@contextmanager
def _trade_writer(path: str | None) -> Iterator[_TradeSink]:
    if path is None:
        yield _TradeSink(None)
        return
    with open(path, "w", newline="") as file:
        yield _TradeSink(file)


def _show(report: dict[str, Any]) -> None:
    click.echo(f"{report['tape']}: {report['entries']:,} entries of network {report['network']!r}")
    click.echo()
    heads = ("market", "commands", "trades", "rejections", "root")
    show_table(heads, [[*list(m.values())[:4], m["root"][:16]] for m in report["markets"]])
    click.echo()
    click.echo(f"book root  {report['book_root']}")
    if report["ok"]:
        checked = "every signature holds, and " if report["signatures"] else ""
        click.echo(f"As recorded: {checked}the root is the one on the tape.")
