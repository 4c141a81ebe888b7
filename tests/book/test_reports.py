"""What users read about commands, trades and orders."""

from decimal import Decimal

from gossipbook.book.matching import MatchingEngine
from gossipbook.book.payload import BUY, FOK, GTC, IOC, SELL, Cancellation, Placement, Replacement
from gossipbook.genesis import Market

A, B = b"a" * 32, b"b" * 32


def engine_after(*commands):
    engine = MatchingEngine(Market("X", "0.5", "1"))
    for key, command in commands:
        engine.apply(key, command)
    return engine


def stands(engine, key):
    status = engine.order(key)
    sizes = [int(size) for size in (status.quantity, status.remaining, status.filled)]
    return (status.state, status.price, *sizes, status.reason)


def test_where_an_order_stands_through_its_life():
    engine = engine_after(
        ((A, 0, 0), Placement(0, BUY, 10, 10, GTC)),
        ((B, 0, 0), Placement(0, SELL, 10, 3, GTC)),
    )
    assert stands(engine, (A, 0, 0)) == ("open", Decimal(5), 10, 7, 3, None)
    assert stands(engine, (B, 0, 0)) == ("filled", Decimal(5), 3, 0, 3, None)
    engine.apply((A, 1, 0), Replacement(0, 0, 0, 8, 20, 0))
    assert stands(engine, (A, 0, 0)) == ("open", Decimal(4), 23, 20, 3, None)
    engine.apply((A, 2, 0), Cancellation(0, 0, 0))
    assert stands(engine, (A, 0, 0)) == ("cancelled", Decimal(4), 23, 0, 3, "requested")
    engine.rewind(2)
    assert stands(engine, (A, 0, 0)) == ("open", Decimal(5), 10, 7, 3, None)
    engine.rewind(1)
    assert stands(engine, (A, 0, 0)) == ("open", Decimal(5), 10, 10, 0, None)
    assert engine.order((B, 0, 0)) is None


def test_where_orders_stand_that_never_rested():
    engine = engine_after(
        ((A, 0, 0), Placement(0, BUY, 10, 2, GTC)),
        ((B, 0, 0), Placement(0, SELL, 0, 5, IOC)),
        ((B, 1, 0), Placement(0, SELL, 10, 5, FOK)),
    )
    assert stands(engine, (B, 0, 0)) == ("cancelled", None, 5, 0, 2, "market-remainder")
    assert stands(engine, (B, 1, 0)) == ("rejected", Decimal(5), 5, 0, 0, "fok-unfillable")
    assert engine.order((B, 2, 0)) is None


def test_the_list_of_trades_is_the_callers_own():
    engine = engine_after(
        ((A, 0, 0), Placement(0, BUY, 10, 2, GTC)),
        ((B, 0, 0), Placement(0, SELL, 0, 5, IOC)),
    )
    engine.trades().clear()
    assert len(engine.trades()) == 1
