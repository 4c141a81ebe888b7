"""Payload bytes written out by hand, and everything that is not a payload."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossipbook.book.commands import CancelOrder, CommandId, LimitOrder, MarketOrder, ReplaceOrder
from gossipbook.book.payload import (
    BUY,
    FOK,
    GTC,
    IOC,
    MAX_PAYLOAD_BYTES,
    POST_ONLY,
    SELL,
    Cancellation,
    Placement,
    Replacement,
    decode_payload,
    encode_payload,
    from_integers,
    to_integers,
)
from gossipbook.encoding import encode
from gossipbook.errors import EncodingError, InvalidCommand, UnknownMarket
from gossipbook.genesis import Genesis, Market
from gossipbook.identity import Keypair

LIMIT = 2**63 - 1
ME, OTHER = (Keypair.from_seed(bytes([n]) * 32).peer_id for n in (1, 2))
GENESIS = Genesis("g", [Market("BTC-USD", "0.01", "0.0001"), Market("A/B", "5", "2")])

numbers = st.one_of(st.integers(1, 30), st.integers(1, LIMIT))
markets = st.integers(0, 1)
targets = (st.integers(0, LIMIT), st.integers(0, 255))
instructions = st.one_of(
    st.builds(Placement, markets, st.integers(0, 1), numbers, numbers, st.integers(0, 3)),
    st.builds(Placement, markets, st.integers(0, 1), st.just(0), numbers, st.just(IOC)),
    st.builds(Cancellation, markets, *targets),
    st.builds(Replacement, markets, *targets, numbers, st.just(0), numbers),
    st.builds(Replacement, markets, *targets, st.integers(0, 9), numbers, st.just(0)),
)


def test_payload_bytes_are_frozen():
    commands = (
        Placement(0, BUY, 6_400_001, 5_000, GTC),
        Placement(1, SELL, 0, 7, IOC),
        Cancellation(0, 300, 2),
        Replacement(1, 23, 24, 0, 65_536, 0),
    )
    by_hand = bytes.fromhex(
        "84"  # four commands
        "86 00 00 00 1a0061a801 191388 00"
        "84 01 01 01 07"
        "84 02 00 19012c 02"
        "87 03 01 17 1818 00 1a00010000 00"
    )
    assert encode_payload(commands) == by_hand
    assert decode_payload(by_hand, 2) == commands


@given(st.lists(instructions, min_size=1, max_size=20))
def test_what_is_encoded_decodes_to_the_same(commands):
    assert decode_payload(encode_payload(commands), 2) == tuple(commands)


@given(st.one_of(instructions))
def test_integers_and_users_units_say_the_same(instruction):
    if isinstance(instruction, Placement) and instruction.price == 0:
        assert isinstance(from_integers(instruction, GENESIS, ME), MarketOrder)
    assert to_integers(from_integers(instruction, GENESIS, ME), GENESIS, ME) == instruction


@given(st.binary(max_size=80))
def test_any_bytes_decode_or_are_refused_and_decoding_is_one_to_one(data):
    try:
        commands = decode_payload(data, 2)
    except EncodingError:
        return
    assert encode_payload(commands) == data


GOOD = {
    "limit": [0, 0, 1, 1, 1, 3],
    "market": [1, 1, 1, 1],
    "cancel": [2, 0, 0, 255],
    "replace": [3, 0, LIMIT, 255, 1, 0, 1],
}


@pytest.mark.parametrize(
    "item",
    [
        *[
            [command]
            for command in (
                [0, 0, 1, 0, 1, 0],  # price 0
                [0, 0, 1, 1, 0, 0],  # quantity 0
                [0, 0, 2, 1, 1, 0],  # side
                [0, 0, 1, 1, 1, 4],  # time in force
                [0, 2, 1, 1, 1, 0],  # no such market
                [0, 0, 1, 1, 1],
                [0, 0, 1, 1, 1, 0, 0],
                [0, 0, 1, 1, b"", 0],
                [1, 0, 2, 1],
                [1, 0, 0, 0],
                [1, 2, 0, 1],
                [1, 0, 0, 1, 1],
                [2, 0, 0, 256],
                [2, 2, 0, 0],
                [2, 0, 0, 0, 0],
                [3, 0, 0, 0, 0, 0, 0],  # nothing changes
                [3, 0, 0, 0, 0, 1, 1],  # both sizes
                [3, 0, 0, 256, 1, 0, 0],
                [3, 2, 0, 0, 1, 0, 0],
                [3, 0, 0, 0, 1, 0],
                [4, 0, 0, 0],
                [0],
                [],
                [[0], 0, 1, 1, 1, 0],
                7,
                b"",
            )
        ],
        [],
        7,
        b"abc",
        [GOOD["limit"]] * 257,
        [GOOD["limit"], [9, 0, 0, 0]],
    ],
)
def test_what_is_out_of_form_or_range_is_refused(item):
    with pytest.raises(EncodingError):
        decode_payload(encode(item), 2)


def test_the_good_neighbours_of_the_refused_are_taken():
    assert len(decode_payload(encode([*GOOD.values()] * 64), 2)) == 256


def test_a_payload_has_a_size_limit_that_full_entries_stay_under():
    worst = Replacement(1023, LIMIT, 255, LIMIT, LIMIT, 0)
    assert len(encode_payload([worst] * 256)) < MAX_PAYLOAD_BYTES
    with pytest.raises(EncodingError, match="at most 65536"):
        decode_payload(bytes(MAX_PAYLOAD_BYTES + 1), 2)


def test_commands_become_ticks_and_lots():
    order = LimitOrder("BTC-USD", "sell", price="64000.01", quantity="0.5", time_in_force="fok")
    assert to_integers(order, GENESIS, ME) == Placement(0, SELL, 6_400_001, 5_000, FOK)
    order = LimitOrder("A/B", "buy", price=10, quantity=Decimal("4"), post_only=True)
    assert to_integers(order, GENESIS, ME) == Placement(1, BUY, 2, 2, POST_ONLY)
    assert to_integers(MarketOrder("A/B", "buy", quantity=6), GENESIS, ME) == Placement(
        1, BUY, 0, 3, IOC
    )
    mine = CommandId("A/B", ME, 9, 1)
    assert to_integers(CancelOrder(mine), GENESIS, ME) == Cancellation(1, 9, 1)
    assert to_integers(ReplaceOrder(mine, price=5, reduce_by=2), GENESIS, ME) == Replacement(
        1, 9, 1, 1, 0, 1
    )


def test_what_no_book_could_make_right_raises():
    theirs = CommandId("BTC-USD", OTHER, 0, 0)
    for command in (CancelOrder(theirs), ReplaceOrder(theirs, price=1)):
        with pytest.raises(InvalidCommand, match="only the author"):
            to_integers(command, GENESIS, ME)
    with pytest.raises(InvalidCommand):
        to_integers(LimitOrder("BTC-USD", "buy", price="0.001", quantity=1), GENESIS, ME)
    with pytest.raises(InvalidCommand):
        to_integers(MarketOrder("A/B", "buy", quantity=3), GENESIS, ME)
    with pytest.raises(InvalidCommand):
        to_integers(LimitOrder("A/B", "buy", price=5 * 2**63, quantity=2), GENESIS, ME)
    with pytest.raises(UnknownMarket):
        to_integers(MarketOrder("NO", "buy", quantity=3), GENESIS, ME)
    with pytest.raises(UnknownMarket):
        to_integers(CancelOrder(CommandId("NO", ME, 0, 0)), GENESIS, ME)
    with pytest.raises(InvalidCommand, match="not a command"):
        to_integers("buy", GENESIS, ME)
