"""One queue: who is first, and how a removed order finds its place again."""

from gossipbook.book.level import Level


def queue(count):
    level = Level(1, 10, -10)
    orders = [level.append((b"a" * 32, seq, 0), 5, 5, seq, False) for seq in range(count)]
    return level, orders


def seqs(level):
    return [order.key[1] for order in level]


def test_first_come_first_served():
    level, _ = queue(3)
    assert seqs(level) == [0, 1, 2]
    assert (level.count, level.volume) == (3, 15)


def test_an_order_leaves_from_anywhere_and_comes_back_to_where_it_was():
    for seq in range(3):
        level, orders = queue(3)
        level.remove(orders[seq])
        assert seqs(level) == [other for other in range(3) if other != seq]
        assert (level.count, level.volume) == (2, 10)
        level.restore(orders[seq])
        assert seqs(level) == [0, 1, 2]
        assert (level.head, level.tail) == (orders[0], orders[2])
        assert (level.count, level.volume) == (3, 15)


def test_the_only_order_leaves_an_empty_queue():
    level, [order] = queue(1)
    level.remove(order)
    assert (level.head, level.tail, level.count, level.volume) == (None, None, 0, 0)
    level.restore(order)
    assert seqs(level) == [0]


def test_resizing_keeps_the_place():
    level, orders = queue(3)
    level.resize(orders[1], -4)
    assert seqs(level) == [0, 1, 2]
    assert (orders[1].remaining, level.volume) == (1, 11)


def test_an_order_knows_its_price_and_side():
    _, [order] = queue(1)
    assert (order.price, order.side) == (10, 1)
