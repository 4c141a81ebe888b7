"""What the prompt says: values of a peer in, lines for people and fields for programs out.

This file decides the words. Every answer has both forms: lines, each with a tone that a terminal
may colour, and fields that go to JSON (decimals as strings, since they are exact; ids in full). It
promises that nothing here reads a peer or a clock, so the same values give the same words.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from gossipbook.book.commands import OrderId, Side
from gossipbook.book.events import OrderStatus, Trade
from gossipbook.book.order_book import BookOrder, PriceLevel
from gossipbook.cli.prompt_help import COMMANDS, CommandHelp, overview
from gossipbook.genesis import Market
from gossipbook.identity import PeerId, short
from gossipbook.link_status import LinkStatus

Tone: TypeAlias = Literal["plain", "good", "bad", "loud", "dim", "bid", "ask"]


@dataclass(frozen=True, slots=True)
class Line:
    """One line for people; without line breaks."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one command."""

    command: str
    lines: tuple[Line, ...]
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Labels:
    """What peers and orders are called here: "you", a member's name, the first digits of an id."""

    own_id: PeerId
    names: Mapping[PeerId, str]
    number_of: Callable[[OrderId], int | None]

    def peer(self, peer_id: PeerId) -> str:
        return "you" if peer_id == self.own_id else self.names.get(peer_id, short(peer_id))

    def order(self, order_id: OrderId) -> str:
        """#3 for an own order, alice/12 for the order in entry 12 of alice's log."""
        number = self.number_of(order_id)
        if number is not None:
            return f"#{number}"
        place = f".{order_id.index}" if order_id.index else ""
        return f"{self.peer(order_id.author)}/{order_id.seq}{place}"


@dataclass(frozen=True, slots=True)
class DatedTrade:
    """A trade, and when its taker's order was signed (milliseconds since 1970, as it says)."""

    trade: Trade
    at_ms: int


@dataclass(frozen=True, slots=True)
class MarketSummary:
    market: Market
    best_bid: PriceLevel | None
    best_ask: PriceLevel | None
    trades: int
    own_open: int


# ------------------------------------------------------------------ own orders


def order_answer(
    command: str,
    labels: Labels,
    order: OrderStatus | None,
    order_id: OrderId,
    trades: Sequence[Trade],
) -> Answer:
    """What became of an order that was just placed or replaced, and its trades."""
    lines = [own_trade_line(labels, trade) for trade in trades]
    if order is None:
        waiting = "is signed and stored, and counts once this machine's clock has come to its time"
        lines.append(Line(f"{labels.order(order_id)} {waiting}"))
    else:
        lines.append(order_line(labels, order))
    fields = {
        "order": order_fields(labels, order, order_id),
        "trades": [trade_fields(labels, trade) for trade in trades],
    }
    return Answer(command, tuple(lines), fields)


def cancel_answer(
    labels: Labels, orders: Sequence[tuple[OrderId, OrderStatus | None]], none: str = ""
) -> Answer:
    """What became of the orders to be cancelled; ``none`` is said where there were none."""
    lines = [
        Line(f"{labels.order(order_id)}: its cancellation is signed, and waits for its time")
        if order is None
        else order_line(labels, order)
        for order_id, order in orders
    ]
    fields = {"orders": [order_fields(labels, order, order_id) for order_id, order in orders]}
    return Answer("cancel", tuple(lines) or (Line(none),), fields)


def order_line(labels: Labels, order: OrderStatus) -> Line:
    """One order in a line: "#3 buy 100 at 50.00 in BTC-USD: 60 resting, 40 filled"."""
    price = "at market" if order.price is None else f"at {order.price:f}"
    what = f"{labels.order(order.order_id)} {order.side} {order.quantity:f} {price}"
    tone: Tone = {"filled": "good", "rejected": "bad"}.get(order.state, "plain")  # type: ignore[assignment]
    return Line(f"{what} in {order.order_id.market}: {state_in_words(order)}", tone)


def state_in_words(order: OrderStatus) -> str:
    """What became of an order, and why."""
    filled = f"{order.filled:f} filled"
    if order.state == "open":
        return f"{order.remaining:f} resting, {filled}" if order.filled else "resting"
    if order.state == "filled":
        return "filled"
    if order.state == "rejected":
        return f"REJECTED, {_in_words(order.reason)}"
    reason = f"cancelled{_CANCELLED.get(order.reason or '', '')}"
    return f"{filled}, the rest {reason}" if order.filled else reason


def rejection_in_words(reason: str) -> str:
    """Why the book did not allow a command."""
    return _in_words(reason)


def own_trade_line(labels: Labels, trade: Trade, then: OrderStatus | None = None) -> Line:
    """A trade of one's own, as one says it: "#3 bought 40 at 49.90 from alice"; and what is left
    of the order ``then``."""
    left = ""
    if then is not None:
        left = f"; {then.remaining:f} left" if then.state == "open" else f"; {then.state}"
    return Line(_own_trade(labels, trade) + left, "good")


def busted_trade_line(labels: Labels, trade: Trade) -> Line:
    """A trade of one's own that did not happen after all."""
    told = f"BUSTED: {_own_trade(labels, trade)} in {trade.market}"
    return Line(f"{told} did not happen after all: an earlier order came in late", "loud")


def _own_trade(labels: Labels, trade: Trade) -> str:
    own = own_order_of(labels.own_id, trade)
    other = trade.maker if own == trade.taker else trade.taker
    did = "bought" if own_side(labels.own_id, trade) == "buy" else "sold"
    whom = f"{'from' if did == 'bought' else 'to'} {labels.peer(other.author)}"
    if other.author == own.author:
        whom = f"with your own {labels.order(other)}"
    return f"{labels.order(own)} {did} {trade.quantity:f} at {trade.price:f} {whom}"


def own_order_of(own_id: PeerId, trade: Trade) -> OrderId:
    """Our order in a trade of ours: the taker, where both are."""
    return trade.taker if trade.taker.author == own_id else trade.maker


def own_side(own_id: PeerId, trade: Trade) -> Side | None:
    """Whether we bought or sold; None where it is others' trade."""
    if trade.taker.author == own_id:
        return trade.taker_side
    if trade.maker.author == own_id:
        return "sell" if trade.taker_side == "buy" else "buy"
    return None


def _in_words(reason: str | None) -> str:
    return _REJECTED.get(reason or "", reason or "")


_REJECTED = {
    "fok-unfillable": "the book does not hold the whole amount at that price",
    "post-only-would-trade": "it would have traded at once, and post only rests",
    "target-not-earlier": "the order it names is not older than itself",
    "already-filled": "the order was filled already",
    "already-cancelled": "the order was cancelled already",
    "unknown-order": "there is no such order",
}

_CANCELLED = {
    "requested": "",
    "ioc-remainder": ", nobody else trades at that price now",
    "market-remainder": ", the book offers no more",
    "self-trade": ", it met an order of your own",
    "reduced-to-zero": ", reduced to nothing",
}


# ------------------------------------------------------------------ looking


def orders_answer(labels: Labels, orders: Sequence[OrderStatus]) -> Answer:
    """Own open orders."""
    if not orders:
        lines: tuple[Line, ...] = (Line("no open orders (`orders all` shows closed ones)", "dim"),)
    else:
        rows = [_order_row(labels, order) for order in orders]
        lines = _table(_ORDER_HEADS, rows, right=_ORDER_NUMBERS)
    fields = {"orders": [order_fields(labels, order, order.order_id) for order in orders]}
    return Answer("orders", lines, fields)


def all_orders_answer(labels: Labels, orders: Sequence[OrderStatus], total: int) -> Answer:
    """The newest own orders, closed ones too, of so many in total."""
    fields = {
        "orders": [order_fields(labels, order, order.order_id) for order in orders],
        "total": total,
    }
    if not orders:
        return Answer("orders", (Line("no orders yet", "dim"),), fields)
    rows = [(*_order_row(labels, order), state_in_words(order)) for order in orders]
    lines = _table((*_ORDER_HEADS, "state"), rows, right=_ORDER_NUMBERS)
    if total > len(orders):
        lines = (Line(f"the newest {len(orders):,} of {total:,} orders"), *lines)
    return Answer("orders", lines, fields)


_ORDER_HEADS = ("id", "market", "side", "price", "remaining", "filled")
_ORDER_NUMBERS = (3, 4, 5)


def _order_row(labels: Labels, order: OrderStatus) -> tuple[str, ...]:
    return (
        labels.order(order.order_id),
        order.order_id.market,
        order.side,
        "market" if order.price is None else f"{order.price:f}",
        f"{order.remaining:f}",
        f"{order.filled:f}",
    )


def one_order_answer(labels: Labels, order: OrderStatus) -> Answer:
    lines = (order_line(labels, order), Line(f"id: {order.order_id}", "dim"))
    return Answer("order", lines, {"order": order_fields(labels, order, order.order_id)})


def market_answer(symbol: str) -> Answer:
    return Answer("market", (Line(f"trading in {symbol}"),), {"market": symbol})


def markets_answer(summaries: Sequence[MarketSummary], current: str) -> Answer:
    heads = ("", "market", "tick", "lot", "best bid", "best ask", "trades", "own open")
    rows = [
        (
            "*" if one.market.symbol == current else "",
            one.market.symbol,
            f"{one.market.tick_size:f}",
            f"{one.market.lot_size:f}",
            _price(one.best_bid) or "-",
            _price(one.best_ask) or "-",
            f"{one.trades:,}",
            f"{one.own_open:,}",
        )
        for one in summaries
    ]
    fields = [
        {
            "market": one.market.symbol,
            "tick_size": f"{one.market.tick_size:f}",
            "lot_size": f"{one.market.lot_size:f}",
            "best_bid": _price(one.best_bid),
            "best_ask": _price(one.best_ask),
            "trades": one.trades,
            "own_open": one.own_open,
        }
        for one in summaries
    ]
    table = _table(heads, rows, right=(2, 3, 4, 5, 6, 7))
    return Answer("markets", table, {"markets": fields, "current": current})


def book_answer(
    labels: Labels,
    symbol: str,
    bids: Sequence[PriceLevel],
    asks: Sequence[PriceLevel],
    own: Collection[BookOrder],
    *,
    root: bytes,
) -> Answer:
    """A ladder: asks above bids, best prices in the middle, own orders beside them."""
    at_price: dict[tuple[Side, Decimal], list[str]] = {}
    for order in own:
        at_price.setdefault((order.side, order.price), []).append(labels.order(order.order_id))
    fields = {
        "market": symbol,
        "bids": [_level_fields(level) for level in bids],
        "asks": [_level_fields(level) for level in asks],
        "root": root.hex(),
    }
    if not bids and not asks:
        return Answer("book", (Line(f"{symbol}: the book is empty", "dim"),), fields)
    levels: list[tuple[Side, PriceLevel]] = [("sell", level) for level in reversed(asks)]
    levels += [("buy", level) for level in bids]
    rows = [
        (
            f"{level.quantity:f}" if side == "buy" else "",
            f"{level.price:f}",
            f"{level.quantity:f}" if side == "sell" else "",
            f"{level.orders:,}",
            _few(at_price.get((side, level.price), [])),
        )
        for side, level in levels
    ]
    heads = ("bid", "price", "ask", "orders", "yours")
    head, *lines = _table(heads, rows, right=(0, 1, 2, 3))
    toned = [
        Line(line.text, "ask" if side == "sell" else "bid")
        for line, (side, _) in zip(lines, levels, strict=True)
    ]
    return Answer("book", (Line(symbol), head, *toned), fields)


def trades_answer(labels: Labels, symbol: str, trades: Sequence[DatedTrade], total: int) -> Answer:
    fields = {
        "market": symbol,
        "total": total,
        "trades": [{**trade_fields(labels, one.trade), "at": _iso(one.at_ms)} for one in trades],
    }
    if not trades:
        return Answer("trades", (Line(f"{symbol}: no trades yet", "dim"),), fields)
    heads = ("time (UTC)", "price", "quantity", "taker", "", "maker")
    rows = [
        (
            _clock(one.at_ms),
            f"{one.trade.price:f}",
            f"{one.trade.quantity:f}",
            labels.order(one.trade.taker),
            "buys from" if one.trade.taker_side == "buy" else "sells to",
            labels.order(one.trade.maker),
        )
        for one in trades
    ]
    head, *lines = _table(heads, rows, right=(1, 2))
    toned = [
        Line(line.text, "good" if own_side(labels.own_id, one.trade) else "plain")
        for line, one in zip(lines, trades, strict=True)
    ]
    shown = f"{len(trades):,} of " if total > len(trades) else ""
    count = Line(f"{symbol}: {shown}{total:,} trade{'s' * (total != 1)}")
    return Answer("trades", (count, head, *toned), fields)


def peers_answer(labels: Labels, links: Sequence[LinkStatus]) -> Answer:
    fields = {"peers": [_link_fields(labels, link) for link in links]}
    if not links:
        return Answer(
            "peers", (Line("no links: nobody is there, or nobody was found yet"),), fields
        )
    heads = ("peer", "address", "link", "for", "phi", "round trip", "clock", "ahead", "behind")
    rows = [
        (
            labels.peer(link.peer_id),
            link.address or "-",
            "dialled" if link.dialled else "came in",
            duration(link.since_s),
            f"{link.phi:.1f}",
            "-" if link.round_trip_s is None else f"{link.round_trip_s * 1000:.1f} ms",
            "-" if link.clock_offset_s is None else f"{link.clock_offset_s * 1000:+.0f} ms",
            f"{link.entries_ahead:,}",
            f"{link.entries_behind:,}",
        )
        for link in links
    ]
    return Answer("peers", _table(heads, rows, right=(3, 4, 5, 6, 7, 8)), fields)


def join_answer(addresses: Sequence[str]) -> Answer:
    words = f"dialling {', '.join(addresses)}; `peers` shows who is linked"
    return Answer("join", (Line(words),), {"addresses": list(addresses)})


def facts_answer(
    command: str, facts: Sequence[tuple[str, str]], fields: Mapping[str, Any]
) -> Answer:
    """Names and values, one pair a line."""
    width = max(len(name) for name, _ in facts)
    return Answer(
        command, tuple(Line(f"{name:<{width}}  {value}") for name, value in facts), fields
    )


def wait_answer(what: str, waited_s: float) -> Answer:
    return Answer("wait", (Line(what, "dim"),), {"what": what, "waited_s": round(waited_s, 3)})


def help_answer(name: str | None) -> Answer:
    if name is not None:
        one = COMMANDS[name]
        details = tuple(Line(f"  {line}".rstrip()) for line in one.details)
        lines = (Line(one.usage), Line(f"  {one.summary}"), *details)
        return Answer("help", lines, {"commands": {name: _help_fields(one)}})
    width = max(len(brief) for brief, _ in overview())
    lines = tuple(Line(f"{brief:<{width}}  {summary}") for brief, summary in overview())
    more = Line("`help COMMAND` says more. Amounts come before prices.", "dim")
    return Answer(
        "help",
        (*lines, more),
        {"commands": {name: _help_fields(one) for name, one in COMMANDS.items()}},
    )


def _help_fields(one: CommandHelp) -> dict[str, Any]:
    return {"usage": one.usage, "summary": one.summary}


# ------------------------------------------------------------------ fields


def order_fields(labels: Labels, order: OrderStatus | None, order_id: OrderId) -> dict[str, Any]:
    """An order for programs; ``state`` is "waiting" where it is dated ahead of our clock."""
    named = {"number": labels.number_of(order_id), "id": str(order_id), "market": order_id.market}
    if order is None:
        return {**named, "state": "waiting"}
    return {
        **named,
        "state": order.state,
        "side": order.side,
        "price": None if order.price is None else f"{order.price:f}",
        "quantity": f"{order.quantity:f}",
        "remaining": f"{order.remaining:f}",
        "filled": f"{order.filled:f}",
        "reason": order.reason,
    }


def trade_fields(labels: Labels, trade: Trade) -> dict[str, Any]:
    """A trade for programs; ``own_side`` is "buy", "sell" or None."""
    return {
        "market": trade.market,
        "price": f"{trade.price:f}",
        "quantity": f"{trade.quantity:f}",
        "taker_side": trade.taker_side,
        "own_side": own_side(labels.own_id, trade),
        "taker": str(trade.taker),
        "maker": str(trade.maker),
    }


def _level_fields(level: PriceLevel) -> dict[str, Any]:
    return {
        "price": f"{level.price:f}",
        "quantity": f"{level.quantity:f}",
        "orders": level.orders,
    }


def _link_fields(labels: Labels, link: LinkStatus) -> dict[str, Any]:
    return {
        "peer_id": link.peer_id.hex(),
        "name": labels.names.get(link.peer_id),
        "address": link.address,
        "dialled": link.dialled,
        "since_s": round(link.since_s, 3),
        "phi": round(link.phi, 3),
        "round_trip_s": link.round_trip_s,
        "clock_offset_s": link.clock_offset_s,
        "entries_ahead": link.entries_ahead,
        "entries_behind": link.entries_behind,
        "queued_bytes": link.queued_bytes,
    }


# ------------------------------------------------------------------ words


def duration(seconds: float) -> str:
    """So much time, as people say it: 42 s, 3 min, 5 h, 2 d."""
    for unit, size_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size_s:
            return f"{seconds // size_s:.0f} {unit}"
    return f"{seconds:.0f} s"


def _table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[int]
) -> tuple[Line, ...]:
    """Aligned columns under dim heads; columns with a number in ``right`` stand to the right."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    texts = []
    for row in (heads, *rows):
        cells = [
            text.rjust(width) if column in right else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        texts.append("  ".join(cells).rstrip())
    return (Line(texts[0], "dim"), *map(Line, texts[1:]))


def _price(level: PriceLevel | None) -> str | None:
    return None if level is None else f"{level.price:f}"


def _few(labels: Sequence[str]) -> str:
    shown = " ".join(labels[:5])
    return shown if len(labels) <= 5 else f"{shown} and {len(labels) - 5} more"


def _moment(at_ms: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return None  # a cheat's clock


def _iso(at_ms: int) -> str | None:
    moment = _moment(at_ms)
    return None if moment is None else moment.isoformat(timespec="milliseconds")


def _clock(at_ms: int) -> str:
    moment = _moment(at_ms)
    return "?" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"
