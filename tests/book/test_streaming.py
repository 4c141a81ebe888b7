"""Reading once and forgetting gives what remembering everything gives."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossipbook.book.level import Key
from gossipbook.book.matching import MatchingEngine
from gossipbook.book.payload import IOC, Cancellation, Instruction, Placement, Replacement
from gossipbook.book.streaming import Fill, StreamingMarket
from gossipbook.genesis import SELF_TRADE_POLICIES, Market
from gossipbook.identity import PeerId

AUTHORS = [PeerId(bytes([number]) * 32) for number in range(3)]


class Past:
    """Ended orders in a dict, with a count of how many were asked for."""

    def __init__(self) -> None:
        self.ended: dict[Key, int] = {}
        self.found = 0

    def put(self, ended: Iterable[tuple[Key, int]]) -> None:
        self.ended.update(ended)

    def get(self, key: Key) -> int | None:
        known = self.ended.get(key)
        self.found += known is not None
        return known


def instructions(seq: int) -> st.SearchStrategy[Instruction]:
    earlier = st.integers(0, seq)
    side, lots = st.integers(0, 1), st.integers(1, 9)
    return st.one_of(
        st.builds(Placement, st.just(0), side, st.integers(97, 103), lots, st.integers(0, 3)),
        st.builds(Placement, st.just(0), side, st.integers(97, 103), lots, st.just(0)),
        st.builds(Placement, st.just(0), side, st.just(0), lots, st.just(IOC)),
        st.builds(Cancellation, st.just(0), earlier, st.just(0)),
        st.builds(
            Replacement, st.just(0), earlier, st.just(0), st.integers(98, 102), lots, st.just(0)
        ),
        st.builds(Replacement, st.just(0), earlier, st.just(0), st.just(0), st.just(0), lots),
    )


@st.composite
def flows(draw: st.DrawFn) -> list[tuple[Key, Instruction]]:
    count = draw(st.integers(0, 60))
    return [
        ((draw(st.sampled_from(AUTHORS)), seq, 0), draw(instructions(seq))) for seq in range(count)
    ]


@pytest.mark.parametrize("policy", SELF_TRADE_POLICIES)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(flow=flows(), stretch=st.integers(1, 12))
def test_a_streaming_market_gives_the_trades_sums_and_root_of_an_engine(
    policy: str, flow: list[tuple[Key, Instruction]], stretch: int
) -> None:
    market = Market("ONE", self_trade=policy)  # type: ignore[arg-type]
    engine, fills = MatchingEngine(market), list[Fill]()
    streaming = StreamingMarket(market, Past(), fills.extend, stretch=stretch)
    for key, instruction in flow:
        engine.apply(key, instruction)
        streaming.apply(key, instruction)
    assert streaming.totals == engine.totals
    assert streaming.finish().root == engine.digest().root
    assert fills == engine.fills()


def test_fills_name_taker_maker_ticks_and_lots() -> None:
    engine = MatchingEngine(Market("ONE"))
    a, b = AUTHORS[:2]
    engine.apply((a, 0, 0), Placement(0, 1, 100, 5, 0))
    engine.apply((b, 0, 0), Placement(0, 0, 90, 3, 0))
    engine.apply((b, 1, 0), Replacement(0, 0, 0, 101, 2, 0))  # into the market
    assert engine.fills() == [((b, 0, 0), (a, 0, 0), 100, 2)]


def test_how_an_order_ended_is_remembered_over_stretches() -> None:
    past, a = Past(), AUTHORS[0]
    streaming = StreamingMarket(Market("ONE"), past, lambda fills: None, stretch=2)
    streaming.apply((a, 0, 0), Placement(0, 1, 100, 5, 0))
    streaming.apply((a, 1, 0), Cancellation(0, 0, 0))
    streaming.apply((a, 2, 0), Placement(0, 1, 100, 5, 0))
    streaming.apply((a, 3, 0), Cancellation(0, 0, 0))  # too late: rejected
    assert streaming.totals.rejections == 1 and past.found == 1
