"""The resting orders, and the user's frozen view of them."""

from decimal import Decimal

import pytest

from gossipbook.book.matching import MatchingEngine
from gossipbook.book.order_book import OrderBook, PriceLevel
from gossipbook.book.payload import BUY, GTC, SELL, Cancellation, Placement
from gossipbook.genesis import Market
from gossipbook.randomness import SeededRandom

A = b"a" * 32


def filled_book():
    book = OrderBook()
    tickets = iter(range(100))
    for side, price, seqs in ((BUY, 9, (0, 1, 2)), (BUY, 7, (3,)), (SELL, 11, (4, 5))):
        level = book.halves[side].level_at(price if side == BUY else -price)
        for seq in seqs:
            level.append((A, seq, 0), 10, 1 + seq, next(tickets), False)
    return book


def find(book, seq):
    [order] = [o for side in (BUY, SELL) for o in book.orders(side) if o.key[1] == seq]
    return order


def test_best_prices_and_depth():
    book = filled_book()
    assert (book.best(BUY).price, book.best(SELL).price) == (9, 11)
    assert book.depth(BUY) == [(9, 6, 3), (7, 4, 1)]
    assert book.depth(BUY, 1) == [(9, 6, 3)]
    assert book.depth(BUY, 0) == []
    assert book.depth(SELL) == [(11, 11, 2)]
    assert OrderBook().best(BUY) is None


def test_orders_come_best_price_first_and_in_queue_order():
    book = filled_book()
    assert [order.key[1] for order in book.orders(BUY)] == [0, 1, 2, 3]
    assert [(order.price, order.side) for order in book.orders(SELL)] == [(11, SELL)] * 2


def test_removals_are_undone_in_reverse_whatever_their_order():
    for seed in range(50):
        random = SeededRandom(seed)
        book = filled_book()
        before = book.dump()
        seqs = list(range(6))
        random.shuffle(seqs)
        removed = [find(book, seq) for seq in seqs]
        for order in removed:
            book.remove(order)
            book.check()
        assert book.dump() == ((), ())
        for order in reversed(removed):
            book.restore(order)
            book.check()
        assert book.dump() == before


def test_what_is_dumped_loads_again():
    book, other = filled_book(), OrderBook()
    other.load(book.dump())
    other.check()
    assert other.dump() == book.dump()
    other.load(((), ()))
    assert other.dump() == ((), ())


def test_the_check_names_what_is_wrong():
    def broken(change):
        book = filled_book()
        change(book)
        with pytest.raises(AssertionError) as caught:
            book.check()
        return str(caught.value)

    assert "volume" in broken(lambda book: setattr(book.best(BUY), "volume", 7))
    assert "counted" in broken(lambda book: setattr(book.best(BUY), "count", 7))
    assert "tail" in broken(lambda book: setattr(book.best(BUY), "tail", None))
    assert "before its turn" in broken(lambda book: setattr(find(book, 1), "ticket", 0))
    assert "lots" in broken(lambda book: setattr(find(book, 1), "remaining", 0))
    assert "before it" in broken(lambda book: setattr(find(book, 1), "previous", None))
    assert "ranks" in broken(lambda book: book.halves[BUY].ranks.reverse())
    assert "crossed" in broken(
        lambda book: book.halves[SELL].level_at(-8).append((A, 9, 0), 1, 1, 99, False)
    )


def engine_with_orders():
    engine = MatchingEngine(Market("X", "0.01", "0.1"))
    engine.apply((A, 0, 0), Placement(0, BUY, 100, 5, GTC))
    engine.apply((A, 1, 0), Placement(0, SELL, 200, 7, GTC))
    engine.apply((A, 2, 0), Placement(0, BUY, 100, 6, GTC))
    return engine


def test_the_users_book_is_in_decimals():
    book = engine_with_orders().book()
    assert book.bids == (PriceLevel(Decimal("1.00"), Decimal("1.1"), 2),)
    assert book.best_ask == PriceLevel(Decimal("2.00"), Decimal("0.7"), 1)
    assert book.depth(1) == (book.bids, book.asks)
    assert book.depth(0) == ((), ())
    assert [(o.order_id.seq, o.side, str(o.price), str(o.quantity)) for o in book.orders] == [
        (0, "buy", "1.00", "0.5"),
        (2, "buy", "1.00", "0.6"),
        (1, "sell", "2.00", "0.7"),
    ]


def test_a_book_taken_earlier_never_changes_even_if_read_later():
    engine = engine_with_orders()
    root = engine.digest().root
    untouched, read = engine.book(), engine.book()
    assert read.bids
    assert read is untouched  # nothing happened in between
    engine.apply((A, 3, 0), Cancellation(0, 0, 0))
    engine.apply((A, 4, 0), Placement(0, BUY, 150, 1, GTC))
    assert untouched.root == root
    assert len(untouched.orders) == 3
    assert engine.book().root == engine.digest().root != root
    engine.rewind(3)
    assert engine.book().root == root
    assert engine.book().orders == untouched.orders


def test_the_book_of_an_empty_market():
    book = MatchingEngine(Market("X")).book()
    assert (book.bids, book.asks, book.orders) == ((), (), ())
    assert book.best_bid is None
    assert book.best_ask is None
    assert len(book.root) == 32
