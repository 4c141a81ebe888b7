"""Running sums follow what happened, and forget what was undone."""

from gossipbook.book.history import (
    ACCEPTED,
    FOK_UNFILLABLE,
    REJECTION_REASONS,
    UNKNOWN_ORDER,
    History,
)
from gossipbook.book.payload import Placement
from gossipbook.randomness import SeededRandom

KEY = (b"a" * 32, 0, 0)


def add(history, outcome, records):
    history.starts.append(len(history.codes))
    history.command_keys.append(KEY)
    history.instructions.append(Placement(0, 0, 1, 1, 0))
    for code, lots in records:
        history.keys.append(KEY)
        history.codes.append(code)
        history.lots.append(lots)
    history.outcomes.append(outcome)


def test_sums_count_trades_only_and_rejections_by_outcome():
    history = History()
    add(history, ACCEPTED, [(5, 3), (6, 2), (-2, 9)])
    add(history, UNKNOWN_ORDER, [])
    assert history.totals() == (2, 2, 1, 5, 27, 9)
    add(history, FOK_UNFILLABLE, [])
    add(history, ACCEPTED, [(-16 - 100, 9), (7, 1)])
    assert history.totals() == (4, 3, 2, 6, 34, 9)
    history.truncate(1)
    assert history.totals() == (1, 2, 0, 5, 27, 9)
    assert history.records(0) == [(KEY, 5, 3), (KEY, 6, 2), (KEY, -2, 9)]


def test_sums_are_the_same_however_often_they_are_asked_for_and_undone():
    random = SeededRandom(1)
    history: History = History()
    commands = []
    for _ in range(400):
        if commands and random.chance(8_000):
            keep = random.below(len(commands) + 1)
            del commands[keep:]
            history.truncate(keep)
        outcome = random.choice((ACCEPTED, ACCEPTED, UNKNOWN_ORDER))
        records = [
            (random.choice((-1, -20, 3, 4)), random.between(1, 9)) for _ in range(random.below(4))
        ]
        commands.append((outcome, records))
        add(history, *commands[-1])
        if random.chance(20_000):
            trades = [(code, lots) for _, some in commands for code, lots in some if code > 0]
            assert history.totals() == (
                len(commands),
                len(trades),
                sum(outcome != ACCEPTED for outcome, _ in commands),
                sum(lots for _, lots in trades),
                sum(code * lots for code, lots in trades),
                sum(lots for _, some in commands for code, lots in some if code == -1),
            )


def test_each_rejection_has_its_own_reason():
    assert len(set(REJECTION_REASONS)) == UNKNOWN_ORDER - FOK_UNFILLABLE + 1
    assert REJECTION_REASONS[UNKNOWN_ORDER - FOK_UNFILLABLE] == "unknown-order"
