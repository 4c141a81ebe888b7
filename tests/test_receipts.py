"""Receipts: where each command stands, which order it is about, and who has it."""

from twins.authors import GENESIS, TestAuthor, buy, sell

from gossipbook.book.commands import CommandId
from gossipbook.book.payload import Cancellation, Replacement
from gossipbook.log.entry import EntryId
from gossipbook.receipts import Receipt, make_receipts

AUTHOR = TestAuthor(1).author
ENTRY_ID = EntryId(b"e" * 32)


def receipts_of(*instructions: object, first_index: int = 0, seen: int = 0) -> list[Receipt]:
    return make_receipts(
        instructions,  # type: ignore[arg-type]
        GENESIS,
        AUTHOR,
        entry_id=ENTRY_ID,
        seq=7,
        first_index=first_index,
        seen_by=lambda seq: seen + seq,
    )


def test_an_order_s_id_is_that_of_the_command_that_placed_it() -> None:
    one, two = receipts_of(buy(5), sell(6, market=1))
    assert one.command_id == one.order_id == CommandId("AAA", AUTHOR, 7, 0)
    assert two.command_id == two.order_id == CommandId("BBB", AUTHOR, 7, 1)
    assert one.entry_id == two.entry_id == ENTRY_ID


def test_a_cancel_or_replace_names_the_order_it_aims_at() -> None:
    cancel, replace = receipts_of(Cancellation(1, 3, 2), Replacement(0, 4, 0, 9, 0, 0))
    assert cancel.command_id == CommandId("BBB", AUTHOR, 7, 0)
    assert cancel.order_id == CommandId("BBB", AUTHOR, 3, 2)
    assert replace.command_id == CommandId("AAA", AUTHOR, 7, 1)
    assert replace.order_id == CommandId("AAA", AUTHOR, 4, 0)


def test_indices_go_on_from_the_submits_before_in_the_same_entry() -> None:
    assert [one.command_id.index for one in receipts_of(buy(1), buy(2), first_index=40)] == [40, 41]


def test_seen_by_asks_afresh_each_time() -> None:
    holders = [1]
    (receipt,) = make_receipts(
        (buy(1),),
        GENESIS,
        AUTHOR,
        entry_id=ENTRY_ID,
        seq=7,
        first_index=0,
        seen_by=lambda seq: holders[0],
    )
    assert receipt.seen_by() == 1
    holders[0] = 4
    assert receipt.seen_by() == 4


def test_receipts_of_one_command_are_equal_whoever_counts() -> None:
    assert receipts_of(buy(1)) == receipts_of(buy(1), seen=5)
    assert "seen_by" not in repr(receipts_of(buy(1))[0])
