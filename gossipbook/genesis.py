"""What all peers of a network agree on before the first order: its name, markets, members, start.

`Genesis` decides which network a peer belongs to: equal values, and only those, have equal
`network_id`. `Market` decides the units, and converts between what people write (decimal prices
and quantities) and what everything inside counts in (whole ticks and lots). The conversion is
exact integer arithmetic: it never rounds, and the caller's decimal context plays no part in it.
This module knows no orders and no peers that are running.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple, TypeAlias, TypeGuard

from gossipbook.encoding import MAX_INTEGER, Encodable, Item, decode, encode
from gossipbook.errors import (
    EncodingError,
    InvalidCommand,
    InvalidGenesis,
    UnknownMarket,
    UsageError,
)
from gossipbook.identity import PeerId, is_valid_peer_id
from gossipbook.merkle import hash_bytes

__all__ = [
    "MAX_GENESIS_SIZE_BYTES",
    "MAX_MARKETS",
    "MAX_MEMBERS",
    "RULES",
    "SELF_TRADE_POLICIES",
    "DecimalLike",
    "Genesis",
    "Market",
]

RULES: Final = 1
"""The version of header, payload grammar, matching and digest that this library has."""

SELF_TRADE_POLICIES: Final = ("allow", "cancel-resting", "cancel-incoming", "cancel-both")
MAX_MARKETS: Final = 1024
MAX_MEMBERS: Final = 65_536
MAX_NAME_LENGTH: Final = 64
MAX_SYMBOL_LENGTH: Final = 32
MAX_DECIMALS: Final = 18
MAX_GENESIS_SIZE_BYTES: Final = 4 << 20  # 65,536 members take 2.2 MB, 1,024 markets 0.1 MB
MAX_START_MS: Final = (1 << 47) - 1  # a timestamp is milliseconds << 16 and stays below 2^63

DecimalLike: TypeAlias = Decimal | str | int
"""What stands for a price or a quantity. Floats do not: 0.1 is not one tenth."""


@dataclass(frozen=True, slots=True, init=False)
class Market:
    """One market and its units.

    Prices are multiples of `tick_size`, quantities of `lot_size`; both are given as Decimal, str
    or int and kept as plain Decimals, so that "0.010" and "0.01" are the same. `self_trade` says
    what happens when an order meets one of the same author: "allow", "cancel-resting",
    "cancel-incoming" or "cancel-both". Raises InvalidGenesis.
    """

    symbol: str
    tick_size: Decimal
    lot_size: Decimal
    self_trade: str
    _tick: "_Unit" = field(init=False, repr=False, compare=False)
    _lot: "_Unit" = field(init=False, repr=False, compare=False)

    def __init__(
        self,
        symbol: str,
        tick_size: DecimalLike = "1",
        lot_size: DecimalLike = "1",
        self_trade: str = "allow",
    ) -> None:
        if type(symbol) is not str or not _SYMBOL.fullmatch(symbol):
            raise InvalidGenesis(
                f"market symbol {_shorten(symbol)} is not allowed; "
                f"use 1 to {MAX_SYMBOL_LENGTH} printable ASCII characters without spaces"
            )
        if self_trade not in SELF_TRADE_POLICIES:
            raise InvalidGenesis(
                f"self_trade={_shorten(self_trade)} for {symbol} is unknown; "
                f"use one of {', '.join(SELF_TRADE_POLICIES)}"
            )
        tick = _unit(tick_size, f"tick_size of {symbol}")
        lot = _unit(lot_size, f"lot_size of {symbol}")
        _put(self, "symbol", symbol)
        _put(self, "tick_size", tick.decimal(1))
        _put(self, "lot_size", lot.decimal(1))
        _put(self, "self_trade", self_trade)
        _put(self, "_tick", tick)
        _put(self, "_lot", lot)

    def price_to_ticks(self, price: DecimalLike) -> int:
        """The price in ticks: 1 to 2^63-1. Raises InvalidCommand for any other price."""
        return self._tick.whole_units(price, "price", "tick", self.symbol)

    def quantity_to_lots(self, quantity: DecimalLike) -> int:
        """The quantity in lots: 1 to 2^63-1. Raises InvalidCommand for any other quantity."""
        return self._lot.whole_units(quantity, "quantity", "lot", self.symbol)

    def ticks_to_price(self, ticks: int) -> Decimal:
        """The price with as many decimals as the tick size has: 6400010 is 64000.10."""
        return self._tick.decimal(ticks)

    def lots_to_quantity(self, lots: int) -> Decimal:
        """The quantity with as many decimals as the lot size has."""
        return self._lot.decimal(lots)


@dataclass(frozen=True, slots=True, init=False)
class Genesis:
    """What makes a network: peers with equal genesis, and only they, can talk to each other.

    `markets` keeps its order; a market's position is its number in every order. With
    `members=None` anyone may connect and write, otherwise only those keys may do either; they
    are kept sorted and once each. No entry may be dated before `start`: milliseconds since 1970,
    or an aware datetime (rounded down to a millisecond), or None for no limit. Raises
    InvalidGenesis.
    """

    name: str
    markets: tuple[Market, ...]
    members: tuple[PeerId, ...] | None
    start: int
    rules: int
    network_id: bytes = field(init=False, repr=False, compare=False)
    _positions: dict[str, int] = field(init=False, repr=False, compare=False)
    _member_set: frozenset[bytes] | None = field(init=False, repr=False, compare=False)

    def __init__(
        self,
        name: str,
        markets: Iterable[Market],
        members: Iterable[bytes] | None = None,
        start: int | datetime | None = None,
        rules: int = RULES,
    ) -> None:
        if type(rules) is not int or rules != RULES:
            raise InvalidGenesis(
                f"rules={_shorten(rules)} is not known; this library has rules {RULES} only, "
                "a network with other rules needs the version of the library made for it"
            )
        _check_name(name)
        _put(self, "rules", rules)
        _put(self, "name", name)
        _put(self, "markets", _checked_markets(markets))
        _put(self, "members", _checked_members(members))
        _put(self, "start", _start_ms(start))
        positions = {market.symbol: position for position, market in enumerate(self.markets)}
        _put(self, "_positions", positions)
        _put(self, "_member_set", None if self.members is None else frozenset(self.members))
        _put(self, "network_id", hash_bytes(b"gossipbook/1 network", self.encode()))

    @property
    def start_ms(self) -> int:
        """The earliest time an entry may bear, in milliseconds since 1970; 0 for no limit."""
        return self.start

    def market_index(self, symbol: str) -> int:
        """The market's position in `markets`. Raises UnknownMarket."""
        position = self._positions.get(symbol) if type(symbol) is str else None
        if position is None:
            raise UnknownMarket(
                f"market {_shorten(symbol)} is not in the genesis of {self.name!r}; "
                f"its markets are {_listing(tuple(self._positions))}"
            )
        return position

    def is_member(self, peer_id: bytes) -> bool:
        """Whether this key may connect and write: every key, where no members are listed."""
        return self._member_set is None or peer_id in self._member_set

    def encode(self) -> bytes:
        """The bytes that `network_id` is the hash of, and that `decode` reads."""
        markets: list[Encodable] = [
            [
                market.symbol.encode(),
                market._tick.text().encode(),
                market._lot.text().encode(),
                SELF_TRADE_POLICIES.index(market.self_trade),
            ]
            for market in self.markets
        ]
        members: Sequence[Encodable] = self.members or ()
        return encode([self.rules, self.name.encode(), self.start, markets, list(members)])

    @staticmethod
    def decode(data: bytes) -> "Genesis":
        """The genesis that was encoded. Raises EncodingError for all other bytes."""
        item = decode(data, max_size=MAX_GENESIS_SIZE_BYTES)
        if not _is_list_of(item, 5):
            raise EncodingError("a genesis is an array of rules, name, start, markets, members")
        rules, name, start, markets, members = item
        if type(rules) is not int or type(start) is not int or type(name) is not bytes:
            raise EncodingError("rules and start of a genesis are integers, its name is bytes")
        if type(markets) is not list or type(members) is not list:
            raise EncodingError("markets and members of a genesis are arrays")
        try:
            genesis = Genesis(
                name.decode(),
                [_decoded_market(market) for market in markets],
                members=[_decoded_member(member) for member in members] or None,
                start=start,
                rules=rules,
            )
        except (UsageError, UnicodeDecodeError) as error:
            raise EncodingError(f"not a valid genesis: {error}") from error
        if genesis.encode() != data:
            raise EncodingError("a genesis with members out of order or sizes not in lowest form")
        return genesis


class _Unit(NamedTuple):
    """A tick or lot size: `mantissa` x 10^-`decimals`, with as few decimals as possible."""

    mantissa: int
    decimals: int

    def whole_units(self, value: DecimalLike, what: str, unit: str, symbol: str) -> int:
        """How many units make up the value."""
        try:
            number = _number(value)
        except ValueError as error:
            raise InvalidCommand(f"{what} {_shorten(value)} for {symbol} {error}") from None
        coefficient, exponent = number
        if coefficient <= 0:
            raise InvalidCommand(
                f"{what} {_shorten(value)} for {symbol} is not positive; "
                f"the least is one {unit}, {self.text()}"
            )
        shift = exponent + self.decimals
        count, rest = divmod(
            coefficient * _power_of_ten(shift), self.mantissa * _power_of_ten(-shift)
        )
        if count > MAX_INTEGER:
            raise InvalidCommand(
                f"{what} {_shorten(value)} for {symbol} is too large; "
                f"the most is 2^63-1 {unit}s, {self.decimal(MAX_INTEGER)}"
            )
        if rest:
            raise InvalidCommand(self._off_unit(value, count, what, unit, symbol))
        return count

    def decimal(self, count: int) -> Decimal:
        """The value of so many units. Built from text, which no decimal context rounds."""
        return Decimal(f"{count * self.mantissa}E-{self.decimals}")

    def text(self) -> str:
        """The size in plain digits, the same for equal sizes."""
        return f"{self.decimal(1):f}"

    def _off_unit(self, value: DecimalLike, below: int, what: str, unit: str, symbol: str) -> str:
        nearest = f"{self.decimal(below)} or " if below else ""
        return (
            f"{what} {_shorten(value)} for {symbol} is not a multiple of the {unit} size "
            f"{self.text()}; write {nearest}{self.decimal(below + 1)}"
        )


_SYMBOL: Final = re.compile(r"[!-~]{1,32}")
_NUMBER: Final = re.compile(r"([+-]?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?")
_MAX_TEXT_LENGTH: Final = 128
_MAX_MAGNITUDE: Final = 64  # 2^63 ticks of the largest size, 2^63, are below 10^38
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_put = object.__setattr__


def _number(value: object) -> tuple[int, int]:
    """Coefficient and exponent of an exact number, both bounded.

    Raises ValueError with the end of a sentence that begins with the value.
    """
    if type(value) is int:
        if value.bit_length() > 256:
            raise ValueError("is too large")
        return value, 0
    if type(value) is str:
        match = _NUMBER.fullmatch(value) if len(value) <= _MAX_TEXT_LENGTH else None
        if match is None:
            raise ValueError('is not a plain decimal number; write it like "64000.01"')
        sign, whole, fraction, power = match.groups(default="")
        if len(power) > 9:
            raise ValueError("has an exponent out of range; write it without one")
        return _bounded(sign == "-", whole + fraction, int(power or "0") - len(fraction))
    if isinstance(value, Decimal):
        is_negative, figures, exponent = value.as_tuple()
        if not isinstance(exponent, int):
            raise ValueError("is not a finite number; write a number")
        if len(figures) > _MAX_TEXT_LENGTH:
            raise ValueError(f"has more than {_MAX_TEXT_LENGTH} digits")
        return _bounded(bool(is_negative), "".join(map(str, figures)), exponent)
    if isinstance(value, float):
        raise ValueError('is a float, which is not exact; write a string like "64000.01"')
    raise ValueError(f"is a {type(value).__name__}; write a Decimal, str or int")


def _bounded(is_negative: bool, figures: str, exponent: int) -> tuple[int, int]:
    """Coefficient and exponent in lowest form, once it is known that neither is absurd."""
    significant = figures.rstrip("0")
    exponent += len(figures) - len(significant)
    significant = significant.lstrip("0")
    if not significant:
        return 0, 0
    if exponent + len(significant) > _MAX_MAGNITUDE:
        raise ValueError("is too large")
    if exponent < -_MAX_MAGNITUDE:
        raise ValueError("has too many decimals")
    coefficient = int(significant)
    return (-coefficient if is_negative else coefficient), exponent


def _power_of_ten(exponent: int) -> int:
    """10^exponent, or 1 where the exponent is negative."""
    power: int = 10 ** max(exponent, 0)
    return power


def _unit(value: DecimalLike, what: str) -> _Unit:
    try:
        coefficient, exponent = _number(value)
    except ValueError as error:
        raise InvalidGenesis(f"{what}: {_shorten(value)} {error}") from None
    if coefficient <= 0:
        raise InvalidGenesis(f"{what}: {_shorten(value)} is not positive")
    mantissa = coefficient * _power_of_ten(exponent)
    decimals = max(-exponent, 0)
    while decimals and mantissa % 10 == 0:
        mantissa //= 10
        decimals -= 1
    if decimals > MAX_DECIMALS or mantissa > MAX_INTEGER:
        raise InvalidGenesis(
            f"{what}: {_shorten(value)} is out of range; "
            f"use at most {MAX_DECIMALS} decimals and at most 2^63-1"
        )
    return _Unit(mantissa, decimals)


def _check_name(name: str) -> None:
    is_text = type(name) is str and 1 <= len(name) <= MAX_NAME_LENGTH
    if not is_text or any(_is_unprintable(ord(character)) for character in name):
        raise InvalidGenesis(
            f"name {_shorten(name)} is not allowed; "
            f"use 1 to {MAX_NAME_LENGTH} characters without control characters"
        )


def _is_unprintable(point: int) -> bool:
    """Control characters and lone surrogates; by number, as Unicode tables change."""
    return point < 0x20 or 0x7F <= point < 0xA0 or 0xD800 <= point < 0xE000


def _checked_markets(markets: Iterable[Market]) -> tuple[Market, ...]:
    if isinstance(markets, Market | str | bytes):
        raise InvalidGenesis("markets is one market; put it into a list")
    checked = tuple(markets)
    if not 1 <= len(checked) <= MAX_MARKETS:
        raise InvalidGenesis(f"{len(checked)} markets; a network has 1 to {MAX_MARKETS}")
    seen: set[str] = set()
    for market in checked:
        if type(market) is not Market:
            raise InvalidGenesis(f"{_shorten(market)} is not a Market; write Market(symbol)")
        if market.symbol in seen:
            raise InvalidGenesis(f"market {market.symbol!r} is given twice; keep one of them")
        seen.add(market.symbol)
    return checked


def _checked_members(members: Iterable[bytes] | None) -> tuple[PeerId, ...] | None:
    if members is None:
        return None
    if isinstance(members, str | bytes):
        raise InvalidGenesis("members is one value; put the public keys into a list")
    given = list(members)
    for member in given:
        if not is_valid_peer_id(member):
            shown = member.hex() if type(member) is bytes else repr(member)
            raise InvalidGenesis(
                f"member {_shorten(shown)} is not a public key; give each peer's 32-byte peer_id"
            )
    distinct = sorted(set(given))
    if not 1 <= len(distinct) <= MAX_MEMBERS:
        raise InvalidGenesis(
            f"{len(distinct)} members; list 1 to {MAX_MEMBERS}, or write members=None for anyone"
        )
    return tuple(PeerId(member) for member in distinct)


def _start_ms(start: int | datetime | None) -> int:
    if start is None:
        return 0
    if isinstance(start, datetime):
        if start.utcoffset() is None:
            raise InvalidGenesis(
                f"start {start} has no time zone; write start.replace(tzinfo=timezone.utc)"
            )
        start = (start - _EPOCH) // timedelta(milliseconds=1)
    if type(start) is not int:
        raise InvalidGenesis(
            f"start {_shorten(start)} is not a time; "
            "write milliseconds since 1970 as an int, an aware datetime, or None"
        )
    if not 0 <= start <= MAX_START_MS:
        raise InvalidGenesis(f"start {start} ms is out of range; use 0 to {MAX_START_MS}")
    return start


def _decoded_market(item: Item) -> Market:
    if not _is_list_of(item, 4):
        raise EncodingError("a market is an array of symbol, tick, lot, self-trade policy")
    symbol, tick_size, lot_size, policy = item
    if type(symbol) is not bytes or type(tick_size) is not bytes or type(lot_size) is not bytes:
        raise EncodingError("symbol, tick and lot of a market are bytes")
    if type(policy) is not int or policy >= len(SELF_TRADE_POLICIES):
        raise EncodingError("the self-trade policy of a market is a number from 0 to 3")
    return Market(
        symbol.decode(), tick_size.decode(), lot_size.decode(), SELF_TRADE_POLICIES[policy]
    )


def _decoded_member(item: Item) -> bytes:
    if type(item) is not bytes:
        raise EncodingError("a member is a byte string")
    return item


def _is_list_of(item: Item, length: int) -> TypeGuard[list[Item]]:
    return type(item) is list and len(item) == length


def _listing(symbols: tuple[str, ...]) -> str:
    shown = ", ".join(symbols[:8])
    return shown if len(symbols) <= 8 else f"{shown} and {len(symbols) - 8} more"


def _shorten(value: object) -> str:
    """The value for a message, however large it is."""
    if type(value) is int and value.bit_length() > 256:
        return f"of {value.bit_length()} bits"
    text = str(value) if isinstance(value, Decimal) else repr(value)
    return text if len(text) <= 80 else f"{text[:60]}..."
