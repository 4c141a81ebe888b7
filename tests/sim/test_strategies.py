"""What the strategies promise: valid commands, rough enough schedules, reprs to paste."""

import re
import subprocess
import sys
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import gossipbook as gb
from gossipbook.book.payload import to_integers
from gossipbook.sim import strategies
from gossipbook.sim.strategies import (
    CancelNth,
    ReplaceNth,
    Schedule,
    fault_schedules,
    flows,
    make_genesis,
    orders,
    resolve,
    run_schedule,
)

GENESIS = gb.Genesis(
    "units", [gb.Market("A", tick_size="0.01", lot_size="0.001"), gb.Market("B", tick_size="5")]
)
AUTHOR = gb.Keypair.from_seed(bytes(32)).peer_id
quietly = settings(
    max_examples=50,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@quietly
@given(orders(GENESIS))
def test_orders_fall_on_ticks_and_lots_of_their_market(order: gb.Command) -> None:
    instruction = to_integers(order, GENESIS, AUTHOR)
    assert 1 <= instruction.quantity <= 9
    assert instruction.price == 0 or 97 <= instruction.price <= 103


@quietly
@given(flows(GENESIS, peers=3, min_size=5, max_size=20))
def test_flows_name_peers_that_exist_and_resolve_to_valid_commands(flow) -> None:  # type: ignore[no-untyped-def]
    placed = [gb.OrderId("A", AUTHOR, 0, 0), gb.OrderId("B", AUTHOR, 1, 0)]
    assert 5 <= len(flow) <= 20
    for peer, intent in flow:
        assert 0 <= peer < 3
        to_integers(resolve(intent, author=AUTHOR, placed=placed, genesis=GENESIS), GENESIS, AUTHOR)


def test_references_count_round_and_use_the_units_of_the_market_they_hit() -> None:
    placed = [gb.OrderId("A", AUTHOR, 0, 0), gb.OrderId("B", AUTHOR, 1, 0)]
    cancel = resolve(CancelNth(4), author=AUTHOR, placed=placed, genesis=GENESIS)
    replace = resolve(ReplaceNth(3, price=2), author=AUTHOR, placed=placed, genesis=GENESIS)
    unknown = resolve(CancelNth(0), author=AUTHOR, placed=[], genesis=GENESIS)
    assert cancel == gb.CancelOrder(placed[0])
    assert replace == gb.ReplaceOrder(placed[1], price=Decimal(10))
    assert unknown.order_id.author == AUTHOR and unknown.order_id.seq > 10**9


@quietly
@given(fault_schedules(min_peers=4, max_peers=4, markets=3, min_orders=12, min_faults=4))
def test_schedules_are_as_rough_as_was_asked_for(schedule: Schedule) -> None:
    assert schedule.peers == 4
    assert schedule.order_count >= 12
    assert schedule.overlapping_faults >= 4


@quietly
@given(fault_schedules(min_orders=5))
def test_the_repr_of_a_schedule_is_python_to_paste(schedule: Schedule) -> None:
    names = {**vars(strategies), "Decimal": Decimal}
    assert eval(repr(schedule), names) == schedule


def test_the_same_schedule_and_seed_give_the_same_trace() -> None:
    schedules: list[Schedule] = []

    @settings(quietly, max_examples=3)
    @given(st.data())
    def draw(data: st.DataObject) -> None:
        schedules.append(data.draw(fault_schedules(min_orders=10)))

    draw()
    for schedule in schedules:
        traces = {run_schedule(schedule, make_genesis(), seed=5).trace_hash for _ in range(2)}
        assert len(traces) == 1


def test_without_hypothesis_the_error_names_the_extra() -> None:
    code = "import sys; sys.modules['hypothesis'] = None; import gossipbook.sim.strategies"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert re.search(r"ImportError: .*gossipbook\[testing\]", done.stderr)


def test_the_package_itself_does_not_need_hypothesis() -> None:
    code = "import sys; sys.modules['hypothesis'] = None; import gossipbook"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_broken_invariant_of_a_cluster_machine_is_found() -> None:
    from hypothesis.stateful import invariant, run_state_machine_as_test

    class NobodyTrades(strategies.ClusterMachine):
        @invariant()
        def no_trades(self) -> None:
            for peer in self.cluster.correct_peers:
                assert not peer.trades("MARKET-0"), "somebody traded"

    found = settings(quietly, max_examples=200, phases=[Phase.generate])
    with pytest.raises(AssertionError, match="somebody traded"):
        run_state_machine_as_test(NobodyTrades, settings=found)
