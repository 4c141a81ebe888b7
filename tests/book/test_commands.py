"""Commands refuse, where they are written, what no market could take."""

from decimal import Decimal, localcontext

import pytest

from gossipbook.book.commands import CancelOrder, CommandId, LimitOrder, MarketOrder, ReplaceOrder
from gossipbook.errors import InvalidCommand

ID = CommandId("BTC/USD", b"\xab" * 32, 7, 3)


def limit(**changes):
    arguments = {"market": "X", "side": "buy", "price": "1", "quantity": "1", **changes}
    return LimitOrder(arguments.pop("market"), arguments.pop("side"), **arguments)


def test_numbers_are_kept_as_exact_decimals():
    order = limit(price="64000.010", quantity=3)
    assert (order.price, order.quantity) == (Decimal("64000.01"), Decimal(3))
    with localcontext(prec=3):
        assert limit(price="123456.789").price == Decimal("123456.789")
    assert limit(price="1.0") == limit(price=Decimal(1))


@pytest.mark.parametrize(
    "changes",
    [
        {"side": "BUY"},
        {"side": 0},
        {"side": None},
        {"market": ""},
        {"market": 0},
        {"time_in_force": "day"},
        {"time_in_force": None},
        {"post_only": 1},
        {"post_only": True, "time_in_force": "ioc"},
        {"post_only": True, "time_in_force": "fok"},
        *[
            {name: value}
            for name in ("price", "quantity")
            for value in (
                *(1.5, True, None, b"1", "", "abc", "1_0", " 1", "1 ", "٣", "NaN", "inf"),
                *(Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), 0, "0", "-0", -1, "-1"),
            )
        ],
    ],
    ids=repr,
)
def test_what_is_not_well_formed_is_refused(changes):
    with pytest.raises(InvalidCommand):
        limit(**changes)


def test_a_replacement_changes_something_and_gives_one_size():
    for arguments in (
        {},
        {"quantity": 1, "reduce_by": 1},
        {"price": 0.5},
        {"reduce_by": 0},
        {"quantity": "-1"},
    ):
        with pytest.raises(InvalidCommand):
            ReplaceOrder(ID, **arguments)
    assert ReplaceOrder(ID, price=1, reduce_by="2.5").reduce_by == Decimal("2.5")
    assert ReplaceOrder(ID, quantity=1).price is None


@pytest.mark.parametrize(
    "order_id",
    [
        str(ID),
        tuple(ID),
        None,
        CommandId("X", b"short", 0, 0),
        CommandId("X", b"\0" * 32, -1, 0),
        CommandId("X", b"\0" * 32, 2**63, 0),
        CommandId("X", b"\0" * 32, 0, 256),
        CommandId("X", b"\0" * 32, True, 0),
        CommandId(1, b"\0" * 32, 0, 0),
    ],
    ids=repr,
)
def test_an_order_is_named_by_its_command_id(order_id):
    with pytest.raises(InvalidCommand):
        CancelOrder(order_id)
    with pytest.raises(InvalidCommand):
        ReplaceOrder(order_id, price=1)


def test_a_message_names_the_value_and_the_remedy():
    with pytest.raises(InvalidCommand, match=r'price is 1\.5 \(float\).*price="12\.50"'):
        limit(price=1.5)
    with pytest.raises(InvalidCommand, match=r'side is .long.; write "buy" or "sell"'):
        MarketOrder("X", "long", quantity=1)


def test_a_command_id_reads_back_what_it_writes():
    assert str(ID) == "BTC/USD/" + "ab" * 32 + "/7/3"
    assert CommandId.parse(str(ID)) == ID
    assert type(CommandId.parse(str(ID))) is CommandId


@pytest.mark.parametrize(
    "text",
    [
        "",
        "X/1/2",
        str(ID).upper(),
        str(ID) + "/",
        " " + "X/" + "ab" * 31 + "/0/0",
        "X/" + "ab" * 32 + "/00/0",
        "X/" + "ab" * 32 + "/0/256",
        "X/" + "ab" * 32 + "/٣/0",
        "X/" + "ab" * 32 + "/" + "9" * 19 + "/0",
        "X/" + "zz" * 32 + "/0/0",
        "/" + "ab" * 32 + "/0/0",
        None,
    ],
)
def test_what_is_not_a_command_id_is_refused(text):
    with pytest.raises(InvalidCommand):
        CommandId.parse(text)


def test_commands_are_values():
    assert limit() == limit()
    assert hash(limit()) == hash(limit())
    with pytest.raises(AttributeError):
        limit().price = 2
