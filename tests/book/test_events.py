"""What counts as the same event."""

from decimal import Decimal

from gossipbook.book.commands import CommandId
from gossipbook.book.events import Accepted, Cancelled, Rejected, Replaced, Trade, net_change

A, B = (CommandId("X", letter * 32, 0, 0) for letter in (b"a", b"b"))


def trade(maker=A, quantity=1, price=1):
    return Trade(B, B, maker, Decimal(price), Decimal(quantity), "buy", "X")


ACCEPTED = Accepted(B, B, "buy", Decimal(1), Decimal(5))


def test_events_on_both_sides_are_struck_out_and_the_rest_keeps_its_order():
    other = CommandId("X", b"c" * 32, 0, 0)
    old = [ACCEPTED, trade(A), trade(other), Cancelled(B, B, Decimal(3), "ioc-remainder")]
    new = [ACCEPTED, trade(other), trade(A), Cancelled(B, B, Decimal(2), "ioc-remainder")]
    assert net_change(old, new) == ((old[3],), (new[3],))
    assert net_change(old, []) == (tuple(old), ())
    assert net_change([], new) == ((), tuple(new))
    assert net_change(old, old) == ((), ())


def test_one_identity_with_other_fields_is_undone_and_applied():
    assert net_change([trade(quantity=1)], [trade(quantity=2)]) == (
        (trade(quantity=1),),
        (trade(quantity=2),),
    )
    assert net_change([trade(price=1)], [trade(price=1)]) == ((), ())


def test_identities_tell_apart_kinds_commands_and_orders():
    events = [
        ACCEPTED,
        Rejected(B, "unknown-order"),
        trade(A),
        trade(CommandId("X", b"c" * 32, 0, 0)),
        Cancelled(B, A, Decimal(1), "self-trade"),
        Cancelled(B, B, Decimal(1), "self-trade"),
        Replaced(B, A, Decimal(1), Decimal(1), Decimal(2), True),
        Rejected(A, "unknown-order"),
    ]
    assert len({event.identity for event in events}) == len(events)
    assert trade(A).identity == (B, "trade", A)
    assert Rejected(B, "unknown-order").identity == (B, "rejected", None)
