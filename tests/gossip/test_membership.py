"""Whom to dial and whom to forget: bounded, and never without the bootstrap addresses."""

from hypothesis import given
from hypothesis import strategies as st

from gossipbook.gossip.config import GossipConfig
from gossipbook.gossip.interface import Address
from gossipbook.gossip.membership import AddressBook
from gossipbook.identity import PeerId
from gossipbook.randomness import SeededRandom

OWN, A, B, C = (PeerId(bytes([n]) * 32) for n in range(4))
CONFIG = GossipConfig(address_book_limit=5, forget_after_failures=3)
HOUR_US = 3_600_000_000


def new_book(*bootstrap: Address) -> AddressBook:
    book = AddressBook(OWN, CONFIG, SeededRandom(1))
    for address in bootstrap:
        book.add_bootstrap(address)
    return book


def addresses(book: AddressBook, now_us: int = HOUR_US) -> list[Address]:
    return [known.address for known in book.candidates(set(), set(), now_us)]


def test_peers_are_learnt_from_others_but_never_ourselves() -> None:
    book = new_book()
    book.learn(A, b"a")
    book.learn(OWN, b"me")
    assert addresses(book) == [b"a"] and book.address_of(A) == b"a" and len(book) == 1


def test_what_others_say_never_replaces_what_is_known() -> None:
    book = new_book()
    book.reached(A, b"a")
    book.learn(A, b"elsewhere")
    book.learn(B, b"a")
    assert book.address_of(A) == b"a" and book.address_of(B) is None and len(book) == 1


def test_a_peer_that_moved_is_found_by_what_others_say() -> None:
    book = new_book(b"named")
    book.reached(A, b"a")
    book.reached(B, b"named")
    book.learn(A, b"a2")
    book.learn(B, b"b2")
    assert (book.address_of(A), book.address_of(B)) == (b"a", b"named")
    book.failed(b"a", 0)
    book.failed(b"named", 0)
    book.learn(A, b"a2")
    book.learn(B, b"b2")
    assert (book.address_of(A), book.address_of(B)) == (b"a2", b"b2")
    assert addresses(book) == [b"named", b"a2", b"b2"], "a bootstrap address is never given up"


def test_a_linked_peer_is_believed_about_itself_but_takes_nobody_s_address() -> None:
    book = new_book(b"named")
    book.reached(A, b"a")
    book.reached(B, b"named")
    book.failed(b"a", 0)
    book.claimed(A, b"a")
    assert (A, b"a") in book.sample(9, leave_out=C), "it lives"
    book.claimed(A, b"a2")
    assert book.address_of(A) == b"a2" and addresses(book) == [b"named", b"a2"]
    book.claimed(B, b"a2")
    assert (book.address_of(A), book.address_of(B)) == (b"a2", b"named")
    book.claimed(B, b"b2")
    assert book.address_of(B) == b"b2" and addresses(book) == [b"named", b"a2", b"b2"]


def test_whoever_proves_to_be_at_an_address_has_it() -> None:
    book = new_book()
    book.learn(A, b"a")
    book.reached(B, b"a")
    assert book.address_of(B) == b"a" and book.address_of(A) is None
    book.reached(B, b"b")  # it moved
    assert book.address_of(B) == b"b" and addresses(book) == [b"b"]


def test_a_peer_that_cannot_be_reached_is_tried_at_growing_intervals_and_forgotten() -> None:
    book = AddressBook(OWN, GossipConfig(), SeededRandom(1))
    book.learn(A, b"a")
    others = [PeerId(bytes([number]) * 32) for number in range(100, 108)]
    for number, other in enumerate(others):  # else it would be one of the last that are known
        book.learn(other, b"other %d" % number)
    now_us, pauses = 0, []
    while len(book) > len(others):
        book.failed(b"a", now_us)
        due_us = book.next_due_us(set(others), set())
        if due_us is not None:
            pauses.append(due_us - now_us)
            now_us = due_us
    assert len(pauses) == GossipConfig().forget_after_failures - 1
    assert 375_000 <= pauses[0] <= 625_000  # half a second, give or take a quarter
    assert all(22_500_000 <= pause <= 37_500_000 for pause in pauses[8:])
    assert book.address_of(A) is None
    assert 300_000_000 < now_us < 900_000_000  # about ten minutes


def test_the_last_addresses_are_never_forgotten() -> None:
    """Two peers that know nobody else find each other after any partition."""
    book = new_book()
    book.learn(A, b"a")
    for _ in range(100):
        book.failed(b"a", 0)
    assert book.address_of(A) == b"a"
    assert book.next_due_us(set(), set()) is not None


def test_a_link_that_stood_forgives_the_failures() -> None:
    book = new_book()
    book.learn(A, b"a")
    for _ in range(10):
        book.failed(b"a", 0)
        book.reached(A, b"a")
        book.stood(A)
    assert len(book) == 1


def test_who_takes_every_link_and_drops_it_is_dialled_ever_more_seldom() -> None:
    book = AddressBook(OWN, GossipConfig(), SeededRandom(1))
    book.add_bootstrap(b"full")
    now_us, dials = 0, 0
    while now_us < 600_000_000:
        book.reached(A, b"full")
        assert (A, b"full") in book.sample(9, leave_out=C), "others may try it all the same"
        book.failed(b"full", now_us)
        dials += 1
        now_us = book.next_due_us(set(), set()) or 0
    assert dials < 40


def test_a_bootstrap_address_is_tried_for_ever() -> None:
    book = new_book(b"seed")
    for _ in range(100):
        book.failed(b"seed", 0)
    assert addresses(book) == [b"seed"]
    book.reached(A, b"seed")
    book.left(A, 0)
    assert addresses(book) == [b"seed"]


def test_a_peer_that_said_goodbye_is_forgotten() -> None:
    book = AddressBook(OWN, GossipConfig(link_target=1), SeededRandom(1))
    book.reached(A, b"a")
    book.reached(B, b"b")
    book.left(A, 0)
    book.left(C, 0)
    assert len(book) == 1 and book.address_of(A) is None
    book.left(B, 0)
    assert book.next_due_us(set(), set()) is not None, "the last ones may come back"
    assert book.sample(9, leave_out=C) == []


def test_our_own_address_is_no_peer_s_though_the_user_named_it() -> None:
    book = new_book(b"me", b"seed")
    book.is_own(b"me")
    assert (book.peer_count, addresses(book)) == (1, [b"seed"])


def test_candidates_are_neither_linked_nor_dialled_nor_banned_nor_resting() -> None:
    book = new_book(b"seed")
    for peer_id, address in ((A, b"a"), (B, b"b"), (C, b"c")):
        book.learn(peer_id, address)
    book.ban(C, 0)
    assert [one.address for one in book.candidates({A}, {b"b"}, 10)] == [b"seed"]
    assert book.is_banned(C, CONFIG.ban_us - 1) and not book.is_banned(C, CONFIG.ban_us)
    book.failed(b"b", 10)
    assert b"b" not in addresses(book, 10)
    assert addresses(book, CONFIG.ban_us) == [b"seed", b"a", b"b", b"c"]


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 40), st.integers(0, 3)), max_size=80))
def test_the_book_is_bounded_and_consistent_whatever_is_said(
    said: list[tuple[int, int, int]],
) -> None:
    book = new_book(b"seed")
    reached = 0
    for number, place, what in said:
        peer_id, address = PeerId(bytes([number]) * 32), b"%d" % place
        if what == 0:
            book.learn(peer_id, address)
        elif what == 1:
            book.reached(peer_id, address)
            reached += 1
        elif what == 2:
            book.failed(address, 0)
        else:
            book.ban(peer_id, 0)
    assert len(book) <= CONFIG.address_book_limit + reached
    assert len(book._banned_until_us) <= CONFIG.address_book_limit
    for known in book.candidates(set(), set(), HOUR_US):
        if known.peer_id is not None:
            assert book.address_of(known.peer_id) == known.address
    assert b"seed" in addresses(book)


def test_only_peers_that_were_not_failing_are_told_to_others_and_never_themselves() -> None:
    book = new_book(b"seed")
    book.learn(A, b"a")
    book.learn(B, b"b")
    book.failed(b"b", 0)
    book.learn(C, b"c")
    assert sorted(book.sample(9, leave_out=C)) == [(A, b"a")]
    assert len(book.sample(1, leave_out=OWN)) == 1
