"""One user's session with a peer: carries out wishes, and answers them.

This file decides what a command does: which market it means, which order, what is asked of the peer
and how long to wait. It promises one answer for each wish or an error with a remedy, and that a
cancelled `answer` leaves nothing half done (a submit that was taken stands). It refuses to know
terminals, pipes and how an answer looks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches

from gossipbook.book.commands import (
    CancelOrder,
    Command,
    CommandId,
    LimitOrder,
    MarketOrder,
    OrderId,
    ReplaceOrder,
)
from gossipbook.book.events import OrderStatus, Trade
from gossipbook.book.payload import MAX_COMMANDS
from gossipbook.cli import prompt_answers as answers
from gossipbook.cli.prompt_answers import Answer, DatedTrade, Labels, MarketSummary
from gossipbook.cli.prompt_completion import CompletionWords
from gossipbook.cli.prompt_language import (
    Cancel,
    CancelAll,
    ChooseMarket,
    Help,
    Join,
    ListMarkets,
    Place,
    Quit,
    Replace,
    ShowBook,
    ShowNews,
    ShowOrder,
    ShowOrders,
    ShowPeers,
    ShowStatus,
    ShowTrades,
    Wait,
    WhoAmI,
    Wish,
)
from gossipbook.cli.prompt_news import NewsDesk
from gossipbook.cli.prompt_orders import OrderNumbers
from gossipbook.cli.prompt_waiting import wait_for
from gossipbook.errors import GossipbookError, OwnHeadUnconfirmed, UnknownMarket, UsageError
from gossipbook.identity import PeerId
from gossipbook.log.clock import hlc_milliseconds
from gossipbook.peer import Peer
from gossipbook.receipts import Receipt

MOST_COMPLETED = 50
"""Own orders offered as completions: the newest."""
ReadAddress = Callable[[str], str]
TRADES_SEARCHED = 10_000
"""The latest trades of a market among which those of a command are looked for: it was applied a
moment ago, so they stand near the end."""


class Session:
    """What one user does at one peer. One command is carried out at a time."""

    def __init__(
        self,
        peer: Peer,
        news: NewsDesk,
        labels: Labels,
        numbers: OrderNumbers,
        store: str | None,
        read_address: ReadAddress,
    ) -> None:
        self._peer = peer
        self._news = news
        self._labels = labels
        self._numbers = numbers
        self._store = store
        self._read_address = read_address
        self.market = peer.genesis.markets[0].symbol
        self._by_wish: dict[type, Callable[..., Answer]] = {
            ChooseMarket: self._choose_market,
            ListMarkets: self._markets,
            ShowBook: self._book,
            ShowOrders: self._orders,
            ShowOrder: self._order,
            ShowTrades: self._trades,
            ShowNews: lambda _: self._news.take(),
            ShowPeers: lambda _: answers.peers_answer(self._labels, self._peer.links()),
            Join: self._join,
            ShowStatus: self._status,
            WhoAmI: self._whoami,
            Help: lambda wish: answers.help_answer(wish.command),
            Quit: lambda _: Answer("quit", ()),
        }

    async def answer(self, wish: Wish) -> Answer:
        """Carry out a wish. Raises UsageError for a wrong one, and what ``Peer.submit`` raises."""
        match wish:
            case Place():
                return await self._place(wish)
            case Cancel():
                return await self._cancel([self._numbers.order(ref) for ref in wish.orders])
            case CancelAll():
                return await self._cancel_all(wish)
            case Replace():
                return await self._replace(wish)
            case Wait():
                return await wait_for(wish, self._peer, self._labels, self._numbers, self.market)
        return self._by_wish[type(wish)](wish)

    def open_orders(self, market: str | None = None) -> list[OrderStatus]:
        """Own orders that rest in a book, oldest first; ``market`` None is all markets."""
        own = self._peer.peer_id
        symbols = [market] if market else [one.symbol for one in self._peer.genesis.markets]
        resting = [
            order.order_id
            for symbol in symbols
            for order in self._peer.book(symbol).orders
            if order.order_id.author == own
        ]
        resting.sort(key=lambda order_id: (order_id.seq, order_id.index))
        statuses = [self._peer.order(order_id) for order_id in resting]
        return [status for status in statuses if status is not None]

    def completion_words(self) -> CompletionWords:
        """What can be named now."""
        orders = {
            self._labels.order(order.order_id): answers.order_line(self._labels, order).text
            for order in self.open_orders()[-MOST_COMPLETED:]
        }
        return CompletionWords(tuple(one.symbol for one in self._peer.genesis.markets), orders)

    def summary(self) -> str:
        """Links, entries and the current market's best prices, in a few words."""
        book = self._peer.book(self.market)
        links = len(self._peer.peers())
        bid = f"{book.best_bid.price:f}" if book.best_bid else "-"
        ask = f"{book.best_ask.price:f}" if book.best_ask else "-"
        linked = f"{links} link{'s' * (links != 1)}"
        return f"{linked} | {self._peer.entry_count:,} entries | {self.market} {bid} / {ask}"

    # ---------------------------------------------------------------- own orders

    async def _place(self, wish: Place) -> Answer:
        symbol = self._symbol(wish.market)
        command: Command
        if wish.price is None:
            command = MarketOrder(symbol, wish.side, quantity=wish.quantity)
        else:
            command = LimitOrder(
                symbol,
                wish.side,
                price=wish.price,
                quantity=wish.quantity,
                time_in_force=wish.time_in_force,
                post_only=wish.post_only,
            )
        return await self._submit_one(wish.side, command)

    async def _replace(self, wish: Replace) -> Answer:
        order_id = self._numbers.order(wish.order)
        self._require_open(order_id, "replace")
        command = ReplaceOrder(
            order_id, price=wish.price, quantity=wish.quantity, reduce_by=wish.reduce_by
        )
        return await self._submit_one("replace", command)

    async def _submit_one(self, name: str, command: Command) -> Answer:
        """Submit a command that may trade at once, and tell what came of it."""
        async with self._news.hushed():
            receipt = await self._peer.submit(command)
            order = self._peer.order(receipt.order_id)
            self._note_answered([receipt])
            trades = self._trades_of(receipt.command_id)
            return answers.order_answer(name, self._labels, order, receipt.order_id, trades)

    async def _cancel_all(self, wish: CancelAll) -> Answer:
        symbol = None if wish.market is None else self._symbol(wish.market)
        order_ids = [order.order_id for order in self.open_orders(symbol)]
        if not order_ids:
            return answers.cancel_answer(self._labels, [], "no open orders to cancel")
        return await self._cancel(order_ids)

    async def _cancel(self, order_ids: Sequence[OrderId]) -> Answer:
        for order_id in order_ids:
            self._require_open(order_id, "cancel")
        cancelled: list[tuple[OrderId, OrderStatus | None]] = []
        for start in range(0, len(order_ids), MAX_COMMANDS):
            batch = order_ids[start : start + MAX_COMMANDS]
            async with self._news.hushed():
                receipts = await self._peer.submit([CancelOrder(order_id) for order_id in batch])
                cancelled += [(order_id, self._peer.order(order_id)) for order_id in batch]
                self._note_answered(receipts)
        return answers.cancel_answer(self._labels, cancelled)

    def _require_open(self, order_id: OrderId, verb: str) -> None:
        """Raises UsageError for an order of others', or one that is known to be closed."""
        if order_id.author != self._peer.peer_id:
            raise UsageError(
                f"{self._labels.order(order_id)} is not your order, and only its author may "
                f"{verb} it; `orders` shows yours"
            )
        order = self._peer.order(order_id)
        if order is not None and order.state != "open":
            words = answers.state_in_words(order)
            raise UsageError(
                f"nothing is left to {verb}: {self._labels.order(order_id)} is {words}"
            )

    def _note_answered(self, receipts: Sequence[Receipt]) -> None:
        """Keep the news of these commands back, if there have been any yet."""
        applied = self._peer.replica.logs[self._peer.peer_id].entries
        held = self._peer.replica.held_ids()
        for receipt in receipts:
            if receipt.command_id.seq < len(applied) and receipt.entry_id not in held:
                self._news.answered(receipt.command_id, receipt.order_id)

    def _trades_of(self, command_id: CommandId) -> list[Trade]:
        latest = self._peer.trades(command_id.market)[-TRADES_SEARCHED:]
        return [trade for trade in latest if trade.command_id == command_id]

    # ---------------------------------------------------------------- looking

    def _symbol(self, text: str | None) -> str:
        """The market that people name like this. Raises UnknownMarket."""
        if text is None:
            return self.market
        symbols = [market.symbol for market in self._peer.genesis.markets]
        if text in symbols:
            return text
        alike = [symbol for symbol in symbols if symbol.lower() == text.lower()]
        if len(alike) == 1:
            return alike[0]
        near = get_close_matches(text.upper(), symbols, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else "`markets` lists them"
        raise UnknownMarket(f"there is no market {text[:40]!r} in this network; {hint}")

    def _choose_market(self, wish: ChooseMarket) -> Answer:
        self.market = self._symbol(wish.market)
        return answers.market_answer(self.market)

    def _markets(self, _: ListMarkets) -> Answer:
        summaries = []
        for market in self._peer.genesis.markets:
            book = self._peer.book(market.symbol)
            own = sum(order.order_id.author == self._peer.peer_id for order in book.orders)
            trades = len(self._peer.trades(market.symbol))
            summaries.append(MarketSummary(market, book.best_bid, book.best_ask, trades, own))
        return answers.markets_answer(summaries, self.market)

    def _book(self, wish: ShowBook) -> Answer:
        symbol = self._symbol(wish.market)
        book = self._peer.book(symbol)
        bids, asks = book.depth(wish.depth)
        own = [order for order in book.orders if order.order_id.author == self._peer.peer_id]
        return answers.book_answer(self._labels, symbol, bids, asks, own, root=book.root)

    def _orders(self, wish: ShowOrders) -> Answer:
        symbol = None if wish.market is None else self._symbol(wish.market)
        if not wish.closed_too:
            return answers.orders_answer(self._labels, self.open_orders(symbol))
        own = [one for one in self._numbers.all() if symbol in (None, one.market)]
        statuses = [self._peer.order(order_id) for order_id in own[-wish.count :]]
        known = [status for status in statuses if status is not None]
        return answers.all_orders_answer(self._labels, known, len(own))

    def _order(self, wish: ShowOrder) -> Answer:
        order_id = self._numbers.order(wish.order)
        self._peer.genesis.market_index(order_id.market)
        order = self._peer.order(order_id)
        if order is None:
            raise UsageError(f"this peer holds no order {self._labels.order(order_id)} (yet)")
        return answers.one_order_answer(self._labels, order)

    def _trades(self, wish: ShowTrades) -> Answer:
        symbol = self._symbol(wish.market)
        trades = self._peer.trades(symbol)
        latest = [DatedTrade(trade, self._dated_ms(trade)) for trade in trades[-wish.count :]]
        return answers.trades_answer(self._labels, symbol, latest, len(trades))

    def _dated_ms(self, trade: Trade) -> int:
        """When the command that led to the trade was signed, as its author says."""
        command_id = trade.command_id
        entry = self._peer.replica.logs[command_id.author].entries[command_id.seq]
        return hlc_milliseconds(entry.effective_hlc)

    def _join(self, wish: Join) -> Answer:
        addresses = [self._read_address(text) for text in wish.addresses]
        for address in addresses:
            self._peer.join(address)
        return answers.join_answer(addresses)

    def _whoami(self, _: WhoAmI) -> Answer:
        peer, genesis = self._peer, self._peer.genesis
        name = self._labels.names.get(peer.peer_id)
        facts = [
            ("peer", peer.peer_id.hex()),
            *([("", name)] if name else []),
            ("address", peer.address or "none: this peer only dials others"),
            ("network", genesis.name),
            ("", genesis.network_id.hex()),
        ]
        fields = {
            "peer_id": peer.peer_id.hex(),
            "name": name,
            "address": peer.address,
            "network": genesis.name,
            "network_id": genesis.network_id.hex(),
        }
        return answers.facts_answer("whoami", facts, fields)

    def _status(self, _: ShowStatus) -> Answer:
        peer, counts = self._peer, self._peer.statistics()
        own = peer.running.own
        can_sign = "no: its key is forked" if own.forked else "yes" if own.confirmed else _NOT_YET
        open_count = len(self.open_orders())
        fields = {
            "can_sign": own.confirmed and not own.forked,
            "links": counts.links,
            "entries": counts.entries,
            "held_back_entries": counts.held_back_entries,
            "authors": counts.authors,
            "trades": counts.trades,
            "busted_trades": counts.busted_trades,
            "open_orders": open_count,
            "undone_commands": counts.undone_commands,
            "queue_drops": counts.queue_drops,
            "fork_proofs": len(peer.proofs()),
            "store": self._store,
            "root": peer.root.hex(),
            "frontier_root": peer.frontier_root.hex(),
        }
        facts = [
            ("can sign", can_sign),
            ("links", f"{counts.links}"),
            ("entries", f"{counts.entries:,} of {counts.authors:,} authors"),
            ("held back", f"{counts.held_back_entries:,} entries dated ahead of our clock"),
            ("trades", f"{counts.trades:,}, and {counts.busted_trades:,} busted"),
            ("open orders", f"{open_count:,}"),
            ("cheats proven", f"{len(peer.proofs()):,}"),
            ("store", self._store or "in memory"),
            ("book root", peer.root.hex()),
            ("frontier root", peer.frontier_root.hex()),
        ]
        return answers.facts_answer("status", facts, fields)


_NOT_YET = "not yet: no peer has confirmed how long this key's log is"


def make_session(
    peer: Peer,
    *,
    names: Mapping[PeerId, str] | None = None,
    store: str | None = None,
    tell: Callable[..., None] | None = None,
    read_address: ReadAddress = str,
) -> tuple[Session, NewsDesk]:
    """A session with a peer, and its news desk; ``tell`` hears each Notice at once.

    ``read_address`` is what the peer's transport makes of an address that was typed; it raises
    UsageError.
    """
    numbers = OrderNumbers(peer, peer.peer_id)
    labels = Labels(peer.peer_id, names or {}, numbers.number)
    news = NewsDesk(peer, labels, tell)
    return Session(peer, news, labels, numbers, store, read_address), news


def explain(error: GossipbookError) -> str:
    """What went wrong, and what somebody at a prompt can do about it."""
    if isinstance(error, OwnHeadUnconfirmed) and "alone=True" in str(error):
        return (
            "nothing was signed: no other peer has confirmed yet how long this key's log is, and "
            "whoever signs one entry number twice loses the key. Wait for a link (`peers`), or "
            "name a peer that knows this key: join HOST:PORT. Only if this store is the one that "
            "the key last ran with, and nobody can be asked, start with --alone"
        )
    return str(error)
