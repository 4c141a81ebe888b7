"""Market and book roots written out by hand with BLAKE3 alone."""

from blake3 import blake3

from gossipbook.book.digest import BookHasher, book_root, encode_totals, market_digest
from gossipbook.book.history import NO_TOTALS, Totals
from gossipbook.book.matching import MatchingEngine
from gossipbook.book.order_book import OrderBook
from gossipbook.book.payload import BUY, GTC, SELL, Placement
from gossipbook.genesis import Market
from gossipbook.merkle import EMPTY_ROOT

A = b"\xaa" * 32
B = b"\xbb" * 32


def tagged(tag, body):
    return blake3(bytes([len(tag)]) + tag + body).digest()


def eight(number):
    return number.to_bytes(8, "big")


def test_a_small_markets_root_worked_out_by_hand():
    engine = MatchingEngine(Market("BTC-USD", "0.01", "0.0001"))
    engine.apply((A, 0, 0), Placement(0, BUY, 0x11, 5, GTC))
    engine.apply((B, 7, 2), Placement(0, BUY, 0x12, 6, GTC))
    engine.apply((A, 1, 0), Placement(0, BUY, 0x11, 9, GTC))
    engine.apply((B, 8, 0), Placement(0, SELL, 0x12, 4, GTC))  # trades 4 at 0x12

    level_11 = tagged(
        b"gossipbook/1 level",
        eight(0x11) + eight(2)
        + A + eight(0) + b"\0\0" + eight(5)
        + A + eight(1) + b"\0\0" + eight(9),
    )  # fmt: skip
    level_12 = tagged(
        b"gossipbook/1 level", eight(0x12) + eight(1) + B + eight(7) + b"\0\2" + eight(2)
    )
    leaf_11 = tagged(b"gossipbook/1 leaf", eight(0x11) + level_11)
    leaf_12 = tagged(b"gossipbook/1 leaf", eight(0x12) + level_12)
    # The keys 00..11 and 00..12 part at their last nibble, the sixteenth: depth 15; bits 1 and 2.
    bids = tagged(b"gossipbook/1 node", b"\x0f" + b"\x00\x06" + leaf_11 + leaf_12)
    asks = tagged(b"gossipbook/1 empty", b"")
    sums = eight(4) + eight(1) + eight(0) + (4).to_bytes(16, "big") + (4 * 0x12).to_bytes(32, "big")
    sums += bytes(16)  # nothing was cancelled
    sums += tagged(b"gossipbook/1 outcomes", bytes(4))  # four accepted
    root = tagged(b"gossipbook/1 market", b"BTC-USD" + bids + asks + sums)
    assert engine.digest().bids.root() == bids
    assert engine.digest().asks.root() == asks == EMPTY_ROOT
    assert engine.digest().root == root
    assert root.hex() == "1422f38c495ecd0c55b6f8685960acad131742d4c017adb8012c6ccef87765b9"
    assert book_root([engine.digest(), engine.digest()]) == tagged(
        b"gossipbook/1 book", root + root
    )


def test_sums_take_88_bytes_however_large():
    most = Totals(2**64 - 1, 2**64 - 1, 2**64 - 1, 2**127, 2**190, 2**127)
    assert len(encode_totals(most)) == len(encode_totals(NO_TOTALS)) == 88


def test_an_empty_book_has_empty_sides():
    digest = market_digest("X", *BookHasher().snapshots(), NO_TOTALS, bytes(32))
    assert digest.bids.root() == digest.asks.root() == EMPTY_ROOT


def test_a_digest_taken_earlier_does_not_change():
    engine = MatchingEngine(Market("X"))
    engine.apply((A, 0, 0), Placement(0, BUY, 5, 5, GTC))
    earlier = engine.digest()
    root, bids_root = earlier.root, earlier.bids.root()
    engine.apply((A, 1, 0), Placement(0, BUY, 5, 5, GTC))
    assert engine.digest().root != root
    assert (earlier.root, earlier.bids.root()) == (root, bids_root)
    engine.rewind(1)
    assert engine.digest() == earlier


def test_the_order_of_a_queue_shows_in_the_hash():
    def root_of(keys):
        book, hasher = OrderBook(), BookHasher()
        for ticket, key in enumerate(keys):
            book.halves[BUY].level_at(5).append(key, 1, 1, ticket, False)
        hasher.refresh(book, ({5}, set()), (), {})
        return hasher.snapshots()[0].root()

    for count in (2, 64, 65, 100):
        keys = [(A, seq, 0) for seq in range(count)]
        swapped = [*keys[:-2], keys[-1], keys[-2]]
        assert root_of(keys) != root_of(swapped)
