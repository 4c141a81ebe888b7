"""What a submit gives back: where the order stands in its author's log, and who has it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gossipbook.book.commands import CommandId, OrderId
from gossipbook.book.payload import Instruction, Placement
from gossipbook.genesis import Genesis
from gossipbook.identity import PeerId
from gossipbook.log.entry import EntryId


@dataclass(frozen=True, slots=True)
class Receipt:
    """One submitted command, which is on disk.

    ``order_id`` is the order placed, or the one aimed at by a cancel or replace. ``seen_by()``
    counts the linked peers that are known to hold the entry by now: 0 says nothing bad, only that
    nobody has told yet.
    """

    command_id: CommandId
    order_id: OrderId
    entry_id: EntryId
    _seen_by: Callable[[int], int] = field(repr=False, compare=False)

    def seen_by(self) -> int:
        return self._seen_by(self.command_id.seq)


def make_receipts(
    instructions: Sequence[Instruction],
    genesis: Genesis,
    author: PeerId,
    *,
    entry_id: EntryId,
    seq: int,
    first_index: int,
    seen_by: Callable[[int], int],
) -> list[Receipt]:
    """A receipt for each command of one submit."""
    receipts = []
    for index, instruction in enumerate(instructions, first_index):
        symbol = genesis.markets[instruction.market].symbol
        command_id = CommandId(symbol, author, seq, index)
        if isinstance(instruction, Placement):
            order_id = command_id
        else:
            order_id = CommandId(symbol, author, instruction.target_seq, instruction.target_index)
        receipts.append(Receipt(command_id, order_id, entry_id, seen_by))
    return receipts
