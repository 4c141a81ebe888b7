"""Signatures are checked once per process, and only a check that succeeded is remembered."""

import gc

from twins.authors import TestAuthor, at, fresh

from gossipbook.log.entry import Entry
from gossipbook.log.verification import Verifier


def forged(entry: Entry, signature: bytes) -> Entry:
    copy = fresh(entry)
    copy.signature = signature
    return copy


def test_a_good_entry_is_checked_once_and_shared_by_all_who_ask() -> None:
    entry = TestAuthor(1).write(hlc=at(1))
    verifier = Verifier()
    copies = [fresh(entry) for _ in range(5)]
    kept = verifier.check(copies)
    assert all(one is copies[0] for one in kept)
    assert verifier.checked_count == 1


def test_each_entry_gets_its_own_answer_in_order() -> None:
    author = TestAuthor(1)
    entries = [author.write(hlc=at(n)) for n in range(3)]
    assert Verifier().check(entries) == entries


def test_after_a_bad_signature_no_other_is_looked_at() -> None:
    """Who sends forged entries pays for each batch with a link, and we with one check."""
    author = TestAuthor(1)
    good, bad, *others = (author.write(hlc=at(n)) for n in range(50))
    verifier = Verifier()
    kept = verifier.check([good, forged(bad, bytes(64)), *others])
    assert kept == [good, None, *[None] * len(others)]
    assert verifier.checked_count == 2
    assert verifier.check(others) == others, "they are good all the same"


def test_a_bad_signature_never_fills_the_cache() -> None:
    entry = TestAuthor(1).write()
    verifier = Verifier()
    for _ in range(3):
        assert verifier.check([forged(entry, b"s" * 64)]) == [None]
    assert verifier.checked_count == 3


def test_a_known_id_with_another_signature_is_checked_afresh() -> None:
    entry = TestAuthor(1).write()
    verifier = Verifier()
    assert verifier.check([entry]) == [entry]
    assert verifier.check([forged(entry, b"s" * 64)]) == [None]
    assert verifier.check([fresh(entry)]) == [entry]


def test_an_author_s_signature_under_another_s_name_is_bad() -> None:
    entry = fresh(TestAuthor(1).write())
    entry.author = TestAuthor(2).author
    assert Verifier().check([entry]) == [None]


def test_what_nobody_keeps_is_forgotten() -> None:
    verifier = Verifier()
    author = TestAuthor(1)
    verifier.check([fresh(author.write())])
    gc.collect()
    assert len(verifier._verified) == 0
    verifier.check([fresh(author.entries[0])])
    assert verifier.checked_count == 2
