import dataclasses
import pickle
from datetime import UTC, datetime, timedelta, timezone
from decimal import ROUND_UP, Decimal, FloatOperation, Inexact, localcontext
from fractions import Fraction

import cbor2
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from gossipbook.encoding import decode
from gossipbook.errors import EncodingError, InvalidCommand, InvalidGenesis, UnknownMarket
from gossipbook.genesis import MAX_START_MS, Genesis, Market
from gossipbook.identity import Keypair

BTC = Market("BTC-USD", tick_size="0.01", lot_size="0.0001")
KEYS = [Keypair.from_seed(bytes([number]) * 32).peer_id for number in range(4)]
MOST = 2**63 - 1


# Units


@pytest.mark.parametrize(
    ("price", "ticks"),
    [
        ("64000.01", 6_400_001),
        ("64000.0100000", 6_400_001),
        (Decimal("64000.01"), 6_400_001),
        (Decimal("6.400001E4"), 6_400_001),
        ("6.400001e+4", 6_400_001),
        (64_000, 6_400_000),
        ("0.01", 1),
        ("+1", 100),
        ("000001", 100),
        ("92233720368547758.07", MOST),
    ],
)
def test_prices_become_whole_ticks(price, ticks: int) -> None:
    assert BTC.price_to_ticks(price) == ticks


@pytest.mark.parametrize(
    ("price", "reason"),
    [
        ("64000.005", "not a multiple of the tick size 0.01; write 64000.00 or 64000.01"),
        ("0.005", "write 0.01$"),
        (Decimal("1E-30"), "not a multiple"),
        (0, "not positive; the least is one tick, 0.01"),
        ("-1", "not positive"),
        (Decimal("-0"), "not positive"),
        ("0E-999999", "not positive"),
        ("92233720368547758.08", "too large; the most is 2\\^63-1 ticks, 92233720368547758.07"),
        (10**100, "too large"),
        (64000.01, "float, which is not exact; write a string"),
        (True, "is a bool; write a Decimal, str or int"),
        (None, "is a NoneType"),
        (Fraction(1, 2), "is a Fraction"),
        (Decimal("NaN"), "not a finite number"),
        (Decimal("sNaN"), "not a finite number"),
        (Decimal("Infinity"), "not a finite number"),
        ("NaN", "not a plain decimal number"),
        ("inf", "not a plain decimal number"),
        ("", "not a plain decimal number"),
        ("1_000", "not a plain decimal number"),
        (" 1", "not a plain decimal number"),
        ("1\n", "not a plain decimal number"),
        ("1,5", "not a plain decimal number"),
        ("0x10", "not a plain decimal number"),
        (".5", "not a plain decimal number"),
        ("١", "not a plain decimal number"),
        pytest.param("1" * 1_000_000, "not a plain decimal number", id="a million digits"),
    ],
)
def test_prices_that_are_no_whole_ticks_are_refused_with_the_remedy(price, reason) -> None:
    with pytest.raises(InvalidCommand, match=reason) as caught:
        BTC.price_to_ticks(price)
    assert "BTC-USD" in str(caught.value)
    assert len(str(caught.value)) < 400


# The sentence ends here: those about a value that was worked out go on with the remedy.
ABSURD = r"(is too large|too many decimals|than 128 digits|out of range; write it without one)$"


@pytest.mark.parametrize(
    "absurd",
    [
        Decimal("1E+1000000"),
        Decimal("1E-1000000"),
        "1E+1000000",
        "1e999999999999999999999",
        "1E-1000000",
        pytest.param(1 << 10_000_000, id="an integer of ten million bits"),
        pytest.param(Decimal(1 << 10_000), id="a Decimal of ten thousand bits"),
    ],
)
def test_absurd_sizes_are_refused_without_building_them(absurd) -> None:
    with pytest.raises(InvalidCommand, match=ABSURD):
        BTC.price_to_ticks(absurd)
    with pytest.raises(InvalidGenesis, match=ABSURD):
        Market("X", tick_size=absurd)


def test_quantities_become_whole_lots() -> None:
    assert BTC.quantity_to_lots("0.5") == 5_000
    with pytest.raises(InvalidCommand, match=r"quantity '0.00005' for BTC-USD .* lot size 0.0001"):
        BTC.quantity_to_lots("0.00005")
    with pytest.raises(InvalidCommand, match=r"one lot, 0.0001"):
        BTC.quantity_to_lots(0)


def test_ticks_become_prices_with_the_decimals_of_the_tick() -> None:
    assert str(BTC.ticks_to_price(6_400_010)) == "64000.10"
    assert str(BTC.lots_to_quantity(5_000)) == "0.5000"
    assert str(BTC.ticks_to_price(0)) == "0.00"
    assert str(Market("X", "2.5").ticks_to_price(3)) == "7.5"
    assert str(Market("X", 100).ticks_to_price(3)) == "300"
    assert str(Market("X", "1E-18").ticks_to_price(MOST)) == "9.223372036854775807"


sizes = st.builds(
    lambda mantissa, exponent: Decimal(f"{mantissa}E{exponent}"),
    st.integers(1, 10_000),
    st.integers(-18, 3),
)


@given(sizes, st.integers(1, MOST))
@settings(max_examples=200, deadline=None)
def test_a_price_made_of_ticks_is_those_ticks_times_the_size(size, ticks) -> None:
    market = Market("X", tick_size=size, lot_size=size)
    price = market.ticks_to_price(ticks)
    assert Fraction(price) == Fraction(size) * ticks
    assert market.price_to_ticks(price) == market.price_to_ticks(str(price)) == ticks
    assert market.quantity_to_lots(market.lots_to_quantity(ticks)) == ticks


@given(sizes, st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=0))
@settings(max_examples=200, deadline=None)
def test_a_price_is_taken_exactly_when_it_is_a_whole_number_of_ticks(size, price) -> None:
    ticks = Fraction(price) / Fraction(size)
    market = Market("X", tick_size=size)
    if ticks.denominator == 1 and 1 <= ticks <= MOST:
        assert market.price_to_ticks(price) == ticks
    else:
        with pytest.raises(InvalidCommand):
            market.price_to_ticks(price)


def test_the_decimal_context_of_the_caller_plays_no_part() -> None:
    plain = Market("X", "0.000000000123456789", "123456789123456789")
    price = plain.ticks_to_price(MOST)
    with localcontext(prec=3, rounding=ROUND_UP, Emax=2, Emin=-2, capitals=0) as context:
        context.traps[Inexact] = True
        context.traps[FloatOperation] = True
        strict = Market("X", "0.000000000123456789", "123456789123456789")
        assert str(strict.ticks_to_price(MOST)) == str(price)
        assert strict.price_to_ticks(price) == MOST
        assert strict.price_to_ticks(str(price)) == MOST
        assert Genesis("n", [strict]).network_id == Genesis("n", [plain]).network_id
        with pytest.raises(InvalidCommand, match=r"tick size 0.000000000123456789"):
            strict.price_to_ticks(Decimal("1.2345"))
    assert strict == plain


# Markets


def test_equal_sizes_make_equal_markets() -> None:
    one, other = Market("X", "0.010", "1e2"), Market("X", Decimal("1E-2"), 100)
    assert one == other
    assert hash(one) == hash(other)
    assert str(one.tick_size) == "0.01"
    assert str(one.lot_size) == "100"
    assert repr(one) == repr(other)


@pytest.mark.parametrize("symbol", ["", "A" * 33, "A B", "A\n", "\x7f", "É", "A\0", None, b"A", 7])
def test_symbols_other_than_short_printable_ascii_are_refused(symbol) -> None:
    with pytest.raises(InvalidGenesis, match="printable ASCII"):
        Market(symbol)


@pytest.mark.parametrize("symbol", ["!", "~", "A" * 32, "btc/usd:perp"])
def test_symbols_of_printable_ascii_are_taken(symbol: str) -> None:
    assert Market(symbol).symbol == symbol


@pytest.mark.parametrize("size", [0, "-1", "0.0", 0.01, True, "NaN", None, "1E-19", 1 << 63])
def test_impossible_tick_and_lot_sizes_are_refused_by_name(size) -> None:
    with pytest.raises(InvalidGenesis, match="tick_size of X"):
        Market("X", tick_size=size)
    with pytest.raises(InvalidGenesis, match="lot_size of X"):
        Market("X", lot_size=size)


def test_the_largest_and_smallest_sizes_are_taken() -> None:
    assert Market("X", MOST).price_to_ticks(MOST * MOST) == MOST
    assert Market("X", "1E-18").price_to_ticks("0.000000000000000001") == 1


def test_unknown_self_trade_policies_are_refused() -> None:
    with pytest.raises(InvalidGenesis, match="allow, cancel-resting, cancel-incoming, cancel-both"):
        Market("X", self_trade="maybe")


# Genesis


def head(major: int, size: int) -> bytes:
    assert size < 24
    return bytes([major << 5 | size])


def test_the_network_id_is_the_hash_of_bytes_built_by_hand() -> None:
    genesis = Genesis(
        "démo",
        [Market("BTC-USD", "0.010", "1E2", "cancel-both"), Market("A")],
        members=[KEYS[1], KEYS[0], KEYS[1]],
        start=1_000,
    )
    by_hand = (
        head(4, 5)
        + b"\x01"
        + head(2, 5)
        + b"d\xc3\xa9mo"
        + b"\x19\x03\xe8"
        + head(4, 2)
        + (head(4, 4) + head(2, 7) + b"BTC-USD" + head(2, 4) + b"0.01" + head(2, 3) + b"100\x03")
        + (head(4, 4) + head(2, 1) + b"A" + head(2, 1) + b"1" + head(2, 1) + b"1\x00")
        + head(4, 2)
        + b"".join(b"\x58\x20" + key for key in sorted(KEYS[:2]))
    )
    assert genesis.encode() == by_hand
    assert genesis.network_id == blake3(b"\x14gossipbook/1 network" + by_hand).digest()


def test_the_network_id_of_an_open_network_is_frozen() -> None:
    genesis = Genesis("demo", [BTC])
    data = cbor2.dumps([1, b"demo", 0, [[b"BTC-USD", b"0.01", b"0.0001", 0]], []])
    assert genesis.network_id == blake3(b"\x14gossipbook/1 network" + data).digest()
    assert genesis.network_id.hex() == FROZEN_NETWORK_ID


FROZEN_NETWORK_ID = "659f9c14c8fb42292ce725786fbefb97a500ca33c9c85ed06a32136b82797b0f"


def test_every_field_changes_the_network_id() -> None:
    base = {"name": "demo", "markets": [BTC, Market("A")], "members": KEYS[:2], "start": 5}
    ids = {Genesis(**base).network_id}
    changes = [
        {"name": "Demo"},
        {"markets": [Market("A"), BTC]},
        {"markets": [BTC]},
        {"markets": [BTC, Market("A", "0.1")]},
        {"markets": [BTC, Market("A", "1", "0.1")]},
        {"markets": [BTC, Market("A", self_trade="cancel-both")]},
        {"members": KEYS[:3]},
        {"members": None},
        {"start": 6},
    ]
    ids |= {Genesis(**{**base, **change}).network_id for change in changes}
    assert len(ids) == 1 + len(changes)


def test_spelling_and_order_of_members_do_not_change_the_network() -> None:
    one = Genesis("demo", [Market("X", "0.010")], members=KEYS, start=None)
    other = Genesis("demo", (Market("X", Decimal("0.01")),), members=[*KEYS[::-1], *KEYS], start=0)
    assert one == other
    assert hash(one) == hash(other)
    assert one.network_id == other.network_id
    assert one.members == tuple(sorted(KEYS))


def test_markets_are_numbered_as_given() -> None:
    genesis = Genesis("demo", [Market("B"), Market("A")])
    assert [genesis.market_index(symbol) for symbol in ("B", "A")] == [0, 1]
    for unknown in ("C", "a", "", None, 0, ["A"]):
        with pytest.raises(UnknownMarket, match="its markets are B, A"):
            genesis.market_index(unknown)


def test_a_long_list_of_markets_is_shortened_in_messages() -> None:
    genesis = Genesis("demo", [Market(f"M{number}") for number in range(1024)])
    assert genesis.market_index("M1023") == 1023
    with pytest.raises(UnknownMarket, match="M7 and 1016 more"):
        genesis.market_index("X")


def test_members_are_those_listed_and_everybody_where_none_are() -> None:
    assert Genesis("demo", [BTC]).is_member(KEYS[0])
    closed = Genesis("demo", [BTC], members=KEYS[:1])
    assert closed.is_member(KEYS[0])
    assert not closed.is_member(KEYS[1])


def test_starts_are_milliseconds_since_1970() -> None:
    start = datetime(2026, 1, 2, 3, 4, 5, 678_999, tzinfo=UTC)
    expected = 1_767_323_045_678
    assert Genesis("demo", [BTC], start=start).start_ms == expected
    elsewhere = start.astimezone(timezone(timedelta(hours=-5)))
    assert Genesis("demo", [BTC], start=elsewhere).start_ms == expected
    assert Genesis("demo", [BTC], start=expected).start == expected
    assert Genesis("demo", [BTC], start=datetime(1970, 1, 1, tzinfo=UTC)).start_ms == 0
    assert Genesis("demo", [BTC]).start_ms == 0


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (datetime(2026, 1, 1), "no time zone"),
        (datetime(1969, 12, 31, tzinfo=UTC), "out of range"),
        (-1, "out of range"),
        (MAX_START_MS + 1, "out of range"),
        (1.5, "milliseconds since 1970"),
        (True, "milliseconds since 1970"),
        ("2026-01-01", "milliseconds since 1970"),
    ],
)
def test_impossible_starts_are_refused(start, reason) -> None:
    with pytest.raises(InvalidGenesis, match=reason):
        Genesis("demo", [BTC], start=start)


@pytest.mark.parametrize("name", ["", "n" * 65, "a\nb", "\x85", "\ud800", None, b"demo"])
def test_impossible_names_are_refused(name) -> None:
    with pytest.raises(InvalidGenesis, match="1 to 64 characters"):
        Genesis(name, [BTC])


@pytest.mark.parametrize(
    ("markets", "reason"),
    [
        ([], "0 markets"),
        ([Market(str(number)) for number in range(1025)], "1025 markets"),
        ([BTC, Market("BTC-USD")], "'BTC-USD' is given twice"),
        (["BTC-USD"], "not a Market"),
        (BTC, "put it into a list"),
        ("BTC-USD", "put it into a list"),
    ],
)
def test_impossible_markets_are_refused(markets, reason) -> None:
    with pytest.raises(InvalidGenesis, match=reason):
        Genesis("demo", markets)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([], "members=None"),
        ([bytes(32)], "not a public key"),
        ([KEYS[0][:31]], "not a public key"),
        ([KEYS[0].hex()], "not a public key"),
        ([7], "not a public key"),
        (KEYS[0], "into a list"),
    ],
)
def test_impossible_members_are_refused(members, reason) -> None:
    with pytest.raises(InvalidGenesis, match=reason):
        Genesis("demo", [BTC], members=members)


@pytest.mark.parametrize("rules", [0, 2, 1.0, True, None])
def test_other_rules_are_refused(rules) -> None:
    with pytest.raises(InvalidGenesis, match="rules 1 only"):
        Genesis("demo", [BTC], rules=rules)


genesis_values = st.builds(
    Genesis,
    st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF), min_size=1, max_size=64).filter(
        lambda name: not any(0x7F <= ord(letter) < 0xA0 for letter in name)
    ),
    st.lists(
        st.builds(
            Market,
            st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=32),
            sizes,
            sizes,
            st.sampled_from(["allow", "cancel-resting", "cancel-incoming", "cancel-both"]),
        ),
        min_size=1,
        max_size=4,
        unique_by=lambda market: market.symbol,
    ),
    st.none() | st.lists(st.sampled_from(KEYS), min_size=1),
    st.integers(0, MAX_START_MS),
)


@given(genesis_values)
@settings(max_examples=100, deadline=None)
def test_a_decoded_genesis_equals_the_encoded_one(genesis) -> None:
    decoded = Genesis.decode(genesis.encode())
    assert decoded == genesis
    assert decoded.network_id == genesis.network_id
    assert decode(genesis.encode(), max_size=10_000) == cbor2.loads(genesis.encode())


MARKET = [b"X", b"0.01", b"1", 0]
LOW, HIGH = sorted(KEYS[:2])


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ([], "array of rules"),
        (b"", "array of rules"),
        ([1, b"demo", 0, [MARKET]], "array of rules"),
        ([1, b"demo", 0, [MARKET], [], 0], "array of rules"),
        ([2, b"demo", 0, [MARKET], []], "rules 1 only"),
        ([b"\x01", b"demo", 0, [MARKET], []], "integers"),
        ([1, 5, 0, [MARKET], []], "its name is bytes"),
        ([1, b"\xff", 0, [MARKET], []], "not a valid genesis"),
        ([1, b"", 0, [MARKET], []], "not a valid genesis"),
        ([1, b"demo", 1 << 62, [MARKET], []], "out of range"),
        ([1, b"demo", 0, [], []], "0 markets"),
        ([1, b"demo", 0, [MARKET, MARKET], []], "twice"),
        ([1, b"demo", 0, 5, []], "are arrays"),
        ([1, b"demo", 0, [MARKET], 0], "are arrays"),
        ([1, b"demo", 0, [5], []], "array of symbol"),
        ([1, b"demo", 0, [MARKET[:3]], []], "array of symbol"),
        ([1, b"demo", 0, [[b"X", 1, b"1", 0]], []], "are bytes"),
        ([1, b"demo", 0, [[b"X", b"1", b"1", 4]], []], "from 0 to 3"),
        ([1, b"demo", 0, [[b"X", b"1", b"1", b""]], []], "from 0 to 3"),
        ([1, b"demo", 0, [[b"X", b"0.010", b"1", 0]], []], "lowest form"),
        ([1, b"demo", 0, [[b"X", b"1E2", b"1", 0]], []], "lowest form"),
        ([1, b"demo", 0, [[b"X", b"+1", b"1", 0]], []], "lowest form"),
        ([1, b"demo", 0, [[b"X", b"0", b"1", 0]], []], "not positive"),
        ([1, b"demo", 0, [[b"X\xff", b"1", b"1", 0]], []], "not a valid genesis"),
        ([1, b"demo", 0, [MARKET], [HIGH, LOW]], "out of order"),
        ([1, b"demo", 0, [MARKET], [LOW, LOW]], "out of order"),
        ([1, b"demo", 0, [MARKET], [bytes(32)]], "not a public key"),
        ([1, b"demo", 0, [MARKET], [5]], "byte string"),
    ],
)
def test_anything_but_the_one_encoding_is_refused(item, reason) -> None:
    with pytest.raises(EncodingError, match=reason):
        Genesis.decode(cbor2.dumps(item))


def test_trailing_bytes_are_refused() -> None:
    with pytest.raises(EncodingError):
        Genesis.decode(Genesis("demo", [BTC]).encode() + b"\0")


def test_genesis_and_market_are_plain_values() -> None:
    genesis = Genesis("demo", [BTC], members=KEYS)
    assert pickle.loads(pickle.dumps(genesis)) == genesis
    assert pickle.loads(pickle.dumps(genesis)).market_index("BTC-USD") == 0
    renamed = dataclasses.replace(genesis, name="other")
    assert (renamed.name, renamed.markets, renamed.members) == ("other", (BTC,), genesis.members)
    assert renamed.network_id != genesis.network_id
    assert dataclasses.replace(BTC, tick_size="0.5").price_to_ticks("1.5") == 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        genesis.name = "other"
