"""So many lines at once, so many a second after, and the others counted."""

from gossipbook.line_budget import LineBudget


def test_a_budget_is_spent_refilled_and_counts_what_it_refused() -> None:
    budget = LineBudget(3, 2)
    assert [budget.take(10.0) for _ in range(5)] == [True, True, True, False, False]
    assert (budget.take_left_out(), budget.take_left_out()) == (2, 0)
    assert [budget.take(10.4), budget.take(10.5), budget.take(10.6)] == [False, True, False]
    assert [budget.take(100.0) for _ in range(4)] == [True, True, True, False]
