"""Commands in integers, and the bytes of an entry's payload.

This file decides the grammar of a payload: an array of 1 to 256 commands, each an array that
begins with its kind. It promises that decode(encode(x)) == x, that whatever decodes has every
field in range, and that the decision depends on the bytes and the number of markets only. It
refuses to know who signed the payload: a cancel or replacement names its target by seq and index
alone, the author being the signer, so a cancel of somebody else's order cannot even be written.

    [0, market, side, price, quantity, time_in_force]          limit order
    [1, market, side, quantity]                                market order
    [2, market, seq, index]                                    cancel
    [3, market, seq, index, price, quantity, reduce_by]        replace (0 = leave as it is)

Prices are ticks, quantities are lots, markets are positions in the genesis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from gossipbook.book.commands import (
    SIDES,
    CancelOrder,
    Command,
    CommandId,
    LimitOrder,
    MarketOrder,
    ReplaceOrder,
    TimeInForce,
)
from gossipbook.encoding import decode, encode
from gossipbook.errors import EncodingError, InvalidCommand
from gossipbook.genesis import Genesis, Market
from gossipbook.identity import PeerId, short

BUY = 0
SELL = 1

GTC = 0
IOC = 1
FOK = 2
POST_ONLY = 3

MAX_PAYLOAD_BYTES = 65_536
MAX_COMMANDS = 256

_TIME_IN_FORCE_CODES = {"gtc": GTC, "ioc": IOC, "fok": FOK}
_TIME_IN_FORCE_NAMES: tuple[TimeInForce, ...] = ("gtc", "ioc", "fok", "gtc")


class Placement(NamedTuple):
    """A new order. `price` 0 means a market order, whose `time_in_force` is IOC."""

    market: int
    side: int
    price: int
    quantity: int
    time_in_force: int


class Cancellation(NamedTuple):
    """Take back the signer's order (target_seq, target_index)."""

    market: int
    target_seq: int
    target_index: int


class Replacement(NamedTuple):
    """Change the signer's order (target_seq, target_index); 0 leaves a field as it is."""

    market: int
    target_seq: int
    target_index: int
    price: int
    quantity: int
    reduce_by: int


Instruction: TypeAlias = Placement | Cancellation | Replacement


def encode_payload(instructions: Sequence[Instruction]) -> bytes:
    """The payload of an entry that carries these commands, in this order."""
    assert 1 <= len(instructions) <= MAX_COMMANDS, f"{len(instructions)} commands in one entry"
    return encode([_to_array(instruction) for instruction in instructions])


def decode_payload(data: bytes, market_count: int) -> tuple[Instruction, ...]:
    """The commands of a payload. Raises `EncodingError` for anything out of form or range."""
    arrays = decode(data, max_size=MAX_PAYLOAD_BYTES)
    if type(arrays) is not list or not 1 <= len(arrays) <= MAX_COMMANDS:
        raise EncodingError(f"a payload is an array of 1 to {MAX_COMMANDS} commands")
    return tuple([_from_array(array, market_count) for array in arrays])


def to_instructions(
    command: Command | Sequence[Command], genesis: Genesis, author: PeerId
) -> tuple[Instruction, ...]:
    """One command, or a list of 1 to 256 for one entry, in ticks and lots as `author` signs them.

    Raises `UnknownMarket`, and `InvalidCommand` for what no state of the book could make right.
    """
    commands = command if isinstance(command, list | tuple) else (command,)
    if not 1 <= len(commands) <= MAX_COMMANDS:
        raise InvalidCommand(f"a list of {len(commands)} commands; give 1 to {MAX_COMMANDS}")
    return tuple([to_integers(one, genesis, author) for one in commands])


def to_integers(command: Command, genesis: Genesis, author: PeerId) -> Instruction:
    """The command in ticks and lots, as `author` would sign it.

    Raises `UnknownMarket`, and `InvalidCommand` for what is off tick or lot, beyond 2^63, or aims
    at another author's order.
    """
    if isinstance(command, LimitOrder):
        index = genesis.market_index(command.market)
        market = genesis.markets[index]
        return Placement(
            index,
            SIDES.index(command.side),
            market.price_to_ticks(command.price),
            market.quantity_to_lots(command.quantity),
            POST_ONLY if command.post_only else _TIME_IN_FORCE_CODES[command.time_in_force],
        )
    if isinstance(command, MarketOrder):
        index = genesis.market_index(command.market)
        lots = genesis.markets[index].quantity_to_lots(command.quantity)
        return Placement(index, SIDES.index(command.side), 0, lots, IOC)
    if isinstance(command, CancelOrder):
        index = _target_market(command.order_id, genesis, author)
        return Cancellation(index, command.order_id.seq, command.order_id.index)
    if isinstance(command, ReplaceOrder):
        index = _target_market(command.order_id, genesis, author)
        market = genesis.markets[index]
        return Replacement(
            index,
            command.order_id.seq,
            command.order_id.index,
            0 if command.price is None else market.price_to_ticks(command.price),
            0 if command.quantity is None else market.quantity_to_lots(command.quantity),
            0 if command.reduce_by is None else market.quantity_to_lots(command.reduce_by),
        )
    raise InvalidCommand(
        f"{command!r} is not a command; "
        "write a LimitOrder, MarketOrder, CancelOrder or ReplaceOrder"
    )


def from_integers(instruction: Instruction, genesis: Genesis, author: PeerId) -> Command:
    """What a user would have written to make `author` sign this."""
    return user_command(instruction, genesis.markets[instruction.market], author)


def user_command(instruction: Instruction, market: Market, author: PeerId) -> Command:
    """`from_integers` for a caller who already holds the market."""
    if isinstance(instruction, Placement):
        side = SIDES[instruction.side]
        quantity = market.lots_to_quantity(instruction.quantity)
        if instruction.price == 0:
            return MarketOrder(market.symbol, side, quantity=quantity)
        return LimitOrder(
            market.symbol,
            side,
            price=market.ticks_to_price(instruction.price),
            quantity=quantity,
            time_in_force=_TIME_IN_FORCE_NAMES[instruction.time_in_force],
            post_only=instruction.time_in_force == POST_ONLY,
        )
    order_id = CommandId(market.symbol, author, instruction.target_seq, instruction.target_index)
    if isinstance(instruction, Cancellation):
        return CancelOrder(order_id)
    price, quantity_lots, reduce_by = instruction[3:]
    return ReplaceOrder(
        order_id,
        price=market.ticks_to_price(price) if price else None,
        quantity=market.lots_to_quantity(quantity_lots) if quantity_lots else None,
        reduce_by=market.lots_to_quantity(reduce_by) if reduce_by else None,
    )


def _target_market(order_id: CommandId, genesis: Genesis, author: PeerId) -> int:
    index = genesis.market_index(order_id.market)
    if order_id.author != author:
        raise InvalidCommand(
            f"order {order_id} belongs to {short(order_id.author)}, not to {short(author)}; "
            "only the author of an order may cancel or replace it"
        )
    return index


def _to_array(instruction: Instruction) -> tuple[int, ...]:
    if isinstance(instruction, Placement):
        if instruction.price == 0:
            return (1, instruction.market, instruction.side, instruction.quantity)
        return (0, *instruction)
    if isinstance(instruction, Cancellation):
        return (2, *instruction)
    return (3, *instruction)


def _from_array(array: object, market_count: int) -> Instruction:
    if type(array) is not list or len(array) < 4:
        raise EncodingError("a command is an array of at least 4 integers")
    for item in array:
        if type(item) is not int:
            raise EncodingError("a command holds integers only")
    kind = array[0]
    if array[1] >= market_count:
        raise EncodingError(f"market {array[1]} of {market_count}")
    if kind == 0:
        return _limit_order(array)
    if kind == 1:
        return _market_order(array)
    if kind == 2:
        return _cancellation(array)
    if kind == 3:
        return _replacement(array)
    raise EncodingError(f"unknown kind of command {kind}")


def _limit_order(array: list[int]) -> Placement:
    if len(array) != 6:
        raise EncodingError(f"a limit order of {len(array)} items instead of 6")
    _, market, side, price, quantity, time_in_force = array
    if side > SELL or price < 1 or quantity < 1 or time_in_force > POST_ONLY:
        raise EncodingError(f"a limit order out of range: {array}")
    return Placement(market, side, price, quantity, time_in_force)


def _market_order(array: list[int]) -> Placement:
    if len(array) != 4:
        raise EncodingError(f"a market order of {len(array)} items instead of 4")
    _, market, side, quantity = array
    if side > SELL or quantity < 1:
        raise EncodingError(f"a market order out of range: {array}")
    return Placement(market, side, 0, quantity, IOC)


def _cancellation(array: list[int]) -> Cancellation:
    if len(array) != 4:
        raise EncodingError(f"a cancel of {len(array)} items instead of 4")
    _, market, seq, index = array
    if index >= MAX_COMMANDS:
        raise EncodingError(f"a cancel of command {index} in an entry")
    return Cancellation(market, seq, index)


def _replacement(array: list[int]) -> Replacement:
    if len(array) != 7:
        raise EncodingError(f"a replacement of {len(array)} items instead of 7")
    _, market, seq, index, price, quantity, reduce_by = array
    if index >= MAX_COMMANDS:
        raise EncodingError(f"a replacement of command {index} in an entry")
    if quantity and reduce_by:
        raise EncodingError("a replacement that gives both quantity and reduce_by")
    if not (price or quantity or reduce_by):
        raise EncodingError("a replacement that changes nothing")
    return Replacement(market, seq, index, price, quantity, reduce_by)
