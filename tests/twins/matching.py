"""A market by the letter of the rules: plain lists, searched from end to end, and no way back.

It shares with the engine only the values that go in and come out (commands, events, order status)
and the definition of the Merkle root by its own twin. `random_commands` makes streams that trade,
cancel, replace and break every rule often.
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from struct import pack

from blake3 import blake3
from twins.merkle import naive_root

from gossipbook.book.commands import CommandId
from gossipbook.book.events import (
    Accepted,
    Cancelled,
    Event,
    OrderStatus,
    Rejected,
    Replaced,
    Trade,
)
from gossipbook.book.payload import Cancellation, Instruction, Placement, Replacement
from gossipbook.genesis import Market
from gossipbook.randomness import SeededRandom

Key = tuple[bytes, int, int]


@dataclass
class NaiveOrder:
    key: Key
    side: str
    price: int
    quantity: int
    remaining: int
    ticket: int
    post_only: bool


class NaiveMarket:
    def __init__(self, market: Market) -> None:
        self.market = market
        self.resting: list[NaiveOrder] = []
        self.statuses: dict[Key, OrderStatus] = {}
        self.events: list[list[Event]] = []  # per command
        self.commands = 0
        self.trades = 0
        self.rejections = 0
        self.lots = 0
        self.notional = 0
        self.cancelled = 0
        self.tickets = 0

    def apply(self, key: Key, instruction: Instruction) -> list[Event]:
        self.key, self.now = key, []
        self.commands += 1
        if isinstance(instruction, Placement):
            self._place(key, instruction)
        elif isinstance(instruction, Cancellation):
            self._cancel(key, instruction)
        else:
            self._replace(key, instruction)
        self.events.append(self.now)
        return self.now

    # Commands.

    def _place(self, key: Key, placement: Placement) -> None:
        _, side_code, price, quantity, time_in_force = placement
        side = ["buy", "sell"][side_code]
        order = NaiveOrder(key, side, price, quantity, quantity, -1, time_in_force == 3)
        self.statuses[key] = OrderStatus(
            self.id(key), "open", side, self.price(price), self.size(quantity),
            self.size(quantity), self.size(0), None,
        )  # fmt: skip
        if time_in_force == 2 and not self._could_fill(order):
            self._reject("fok-unfillable")
        elif time_in_force == 3 and self._best_maker(order) is not None:
            self._reject("post-only-would-trade")
        else:
            accepted = Accepted(
                self.id(key), self.id(key), side, self.price(price), self.size(quantity)
            )
            self.now.append(accepted)
            self._trade(order)
            if order.remaining > 0:
                if price == 0:
                    self._cancelled(order, "market-remainder")
                elif time_in_force == 1:
                    self._cancelled(order, "ioc-remainder")
                else:
                    self._rest(order)
            return
        reason = self.now[-1].reason
        self.statuses[key] = replace(
            self.statuses[key], state="rejected", remaining=self.size(0), reason=reason
        )

    def _cancel(self, key: Key, cancellation: Cancellation) -> None:
        order = self._target(key, cancellation.target_seq, cancellation.target_index)
        if order is not None:
            self.resting.remove(order)
            self._cancelled(order, "requested")

    def _replace(self, key: Key, replacement: Replacement) -> None:
        order = self._target(key, replacement.target_seq, replacement.target_index)
        if order is None:
            return
        price = order.price if replacement.price == 0 else replacement.price
        if replacement.quantity > 0:
            remaining = replacement.quantity
        else:
            remaining = order.remaining - replacement.reduce_by
        if remaining <= 0:
            self.resting.remove(order)
            self._cancelled(order, "reduced-to-zero")
            return
        moved = replace(order, price=price, remaining=remaining)
        moved.quantity = order.quantity - order.remaining + remaining
        if price != order.price and order.post_only and self._best_maker(moved) is not None:
            self._reject("post-only-would-trade")
            return
        keeps_place = price == order.price and remaining <= order.remaining
        replaced = Replaced(
            self.id(key),
            self.id(order.key),
            self.price(price),
            self.size(remaining),
            self.size(order.remaining),
            keeps_place,
        )
        self.now.append(replaced)
        if keeps_place:
            self.resting[self.resting.index(order)] = moved
            self._open(moved)
        else:
            self.resting.remove(order)
            self._open(moved)
            self._trade(moved)
            if moved.remaining > 0:
                self._rest(moved)

    def _target(self, key: Key, seq: int, index: int) -> NaiveOrder | None:
        target = (key[0], seq, index)
        status = self.statuses.get(target)
        if not (seq, index) < (key[1], key[2]):
            self._reject("target-not-earlier")
        elif status is None or status.state == "rejected":
            self._reject("unknown-order")
        elif status.state == "filled":
            self._reject("already-filled")
        elif status.state == "cancelled":
            self._reject("already-cancelled")
        else:
            [order] = [order for order in self.resting if order.key == target]
            return order
        return None

    # Trading.

    def _best_maker(self, taker: NaiveOrder) -> NaiveOrder | None:
        return min(self._makers(taker), key=self._priority, default=None)

    def _makers(self, taker: NaiveOrder) -> list[NaiveOrder]:
        """Every order on the other side whose price the taker accepts."""
        return [
            order
            for order in self.resting
            if order.side != taker.side
            and (
                taker.price == 0
                or (taker.side == "buy" and order.price <= taker.price)
                or (taker.side == "sell" and order.price >= taker.price)
            )
        ]

    def _priority(self, order: NaiveOrder) -> tuple[int, int]:
        return (order.price if order.side == "sell" else -order.price, order.ticket)

    def _could_fill(self, taker: NaiveOrder) -> bool:
        found = 0
        for maker in sorted(self._makers(taker), key=self._priority):
            if found >= taker.remaining:
                break
            is_own = maker.key[0] == taker.key[0]
            if is_own and self.market.self_trade in ("cancel-incoming", "cancel-both"):
                break
            if not (is_own and self.market.self_trade == "cancel-resting"):
                found += maker.remaining
        return found >= taker.remaining

    def _trade(self, taker: NaiveOrder) -> None:
        while taker.remaining > 0:
            maker = self._best_maker(taker)
            if maker is None:
                return
            if maker.key[0] == taker.key[0] and self.market.self_trade != "allow":
                if self.market.self_trade in ("cancel-resting", "cancel-both"):
                    self.resting.remove(maker)
                    self._cancelled(maker, "self-trade")
                if self.market.self_trade in ("cancel-incoming", "cancel-both"):
                    self._cancelled(taker, "self-trade")
                    return
                continue
            lots = min(taker.remaining, maker.remaining)
            trade = Trade(
                self.id(self.key), self.id(taker.key), self.id(maker.key),
                self.price(maker.price), self.size(lots), taker.side, self.market.symbol,
            )  # fmt: skip
            self.now.append(trade)
            self.trades += 1
            self.lots += lots
            self.notional += lots * maker.price
            for order in (taker, maker):
                order.remaining -= lots
                if order.remaining == 0:
                    filled = self.size(order.quantity)
                    self.statuses[order.key] = replace(
                        self.statuses[order.key], state="filled", quantity=filled,
                        filled=filled, remaining=self.size(0),
                    )  # fmt: skip
                else:
                    self._open(order)
            if maker.remaining == 0:
                self.resting.remove(maker)

    # What comes of it.

    def _rest(self, order: NaiveOrder) -> None:
        order.ticket = self.tickets
        self.tickets += 1
        self.resting.append(order)
        self._open(order)

    def _open(self, order: NaiveOrder) -> None:
        self.statuses[order.key] = replace(
            self.statuses[order.key], price=self.price(order.price),
            quantity=self.size(order.quantity), remaining=self.size(order.remaining),
            filled=self.size(order.quantity - order.remaining),
        )  # fmt: skip

    def _cancelled(self, order: NaiveOrder, reason: str) -> None:
        quantity = self.size(order.remaining)
        self.cancelled += order.remaining
        self.now.append(Cancelled(self.id(self.key), self.id(order.key), quantity, reason))
        self._open(order)
        self.statuses[order.key] = replace(
            self.statuses[order.key], state="cancelled", remaining=self.size(0), reason=reason
        )
        order.remaining = 0

    def _reject(self, reason: str) -> None:
        self.rejections += 1
        self.now.append(Rejected(self.id(self.key), reason))

    # What it looks like.

    def id(self, key: Key) -> CommandId:
        return CommandId(self.market.symbol, *key)

    def price(self, ticks: int) -> Decimal | None:
        return ticks * self.market.tick_size if ticks else None

    def size(self, lots: int) -> Decimal:
        return lots * self.market.lot_size

    def totals(self) -> tuple[int, int, int, int, int, int]:
        counts = (self.commands, self.trades, self.rejections)
        return (*counts, self.lots, self.notional, self.cancelled)

    def orders(self) -> list[tuple[CommandId, str, Decimal, Decimal]]:
        """Bids then asks, best price first, first come first."""
        return [
            (self.id(order.key), order.side, self.price(order.price), self.size(order.remaining))
            for side in ("buy", "sell")
            for order in sorted(self.resting, key=self._priority)
            if order.side == side
        ]

    def root(self) -> bytes:
        parts = [self.market.symbol.encode()]
        for side in ("buy", "sell"):
            leaves = {}
            for price in {order.price for order in self.resting if order.side == side}:
                queue = [o for o in self.resting if o.side == side and o.price == price]
                queue.sort(key=lambda order: order.ticket)
                leaves[pack(">Q", price)] = _level_digest(price, queue)
            parts.append(naive_root(leaves))
        parts.append(pack(">QQQ", self.commands, self.trades, self.rejections))
        parts.append(self.lots.to_bytes(16, "big") + self.notional.to_bytes(32, "big"))
        parts.append(self.cancelled.to_bytes(16, "big"))
        codes = bytes(_outcome_code(events[0]) for events in self.events)
        parts.append(_hash("gossipbook/1 outcomes", codes))
        return _hash("gossipbook/1 market", *parts)


REJECTIONS = [
    "fok-unfillable", "post-only-would-trade", "target-not-earlier",
    "already-filled", "already-cancelled", "unknown-order",
]  # fmt: skip


def _outcome_code(event: Event) -> int:
    """As docs/WIRE.md lists them."""
    match event:
        case Rejected():
            return 16 + REJECTIONS.index(event.reason)
        case Cancelled():
            return 4 if event.reason == "reduced-to-zero" else 1
        case Replaced():
            return 2 if event.kept_place else 3
    return 0


def _level_digest(price: int, queue: list[NaiveOrder]) -> bytes:
    records = [order.key[0] + pack(">QHQ", *order.key[1:], order.remaining) for order in queue]
    header = pack(">QQ", price, len(queue))
    if len(queue) <= 64:
        return _hash("gossipbook/1 level", header, *records)
    tree = {
        pack(">Q", order.ticket): _hash("gossipbook/1 order", record)
        for order, record in zip(queue, records, strict=True)
    }
    return _hash("gossipbook/1 queue", header, naive_root(tree))


def _hash(tag: str, *parts: bytes) -> bytes:
    return blake3(bytes([len(tag)]) + tag.encode() + b"".join(parts)).digest()


def random_commands(
    random: SeededRandom,
    count: int,
    *,
    authors: int = 4,
    prices: tuple[int, int] = (1, 7),
    largest: int = 9,
    resting: bool = False,
) -> list[tuple[Key, Instruction]]:
    """A stream in which each author's (seq, index) rises. `resting`: most orders find nobody."""
    keys = [bytes([65 + author]) * 32 for author in range(authors)]
    own: dict[bytes, list[tuple[int, int]]] = {key: [] for key in keys}
    place: dict[bytes, tuple[int, int]] = dict.fromkeys(keys, (0, -1))
    stream: list[tuple[Key, Instruction]] = []
    for _ in range(count):
        author = random.choice(keys)
        seq, index = place[author]
        seq, index = (seq, index + 1) if random.chance(20_000) else (seq + 1, 0)
        place[author] = (seq, index)
        instruction: Instruction
        if random.chance(40_000 if resting else 36_000) or not own[author]:
            own[author].append((seq, index))
            instruction = _random_placement(random, prices, largest, resting)
        else:
            target = random.choice(own[author][-12:])
            if random.chance(2_000):
                target = (seq + random.below(2), index)
            if random.chance(26_000):
                instruction = Cancellation(0, *target)
            else:
                instruction = _random_replacement(random, target, prices, largest)
        stream.append(((author, seq, index), instruction))
    return stream


def _random_placement(
    random: SeededRandom, prices: tuple[int, int], largest: int, resting: bool
) -> Placement:
    side, lots = random.below(2), random.between(1, largest)
    price = random.between(*prices)
    if resting and not random.chance(4_000):
        return Placement(0, side, price if side == 0 else price + prices[1], lots, 0)
    if random.chance(6_000):
        return Placement(0, side, 0, 2 * lots, 1)
    return Placement(0, side, price, lots, random.choice((0, 0, 0, 0, 1, 2, 3)))


def _random_replacement(
    random: SeededRandom, target: tuple[int, int], prices: tuple[int, int], largest: int
) -> Replacement:
    price = random.choice((0, random.between(*prices)))
    quantity = random.choice((0, random.between(1, largest)))
    reduce_by = 0
    if quantity == 0 and (price == 0 or random.chance(20_000)):
        reduce_by = random.between(1, largest)
    return Replacement(0, *target, price, quantity, reduce_by)
