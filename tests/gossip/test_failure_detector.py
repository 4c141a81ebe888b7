"""Suspicion grows with silence, and a link that was slow before is given more time."""

from hypothesis import given
from hypothesis import strategies as st

from gossipbook.gossip.config import GossipConfig
from gossipbook.gossip.failure_detector import FailureDetector


def test_phi_is_log10_e_times_silence_over_mean() -> None:
    detector = FailureDetector(0, expected_interval_us=1_000_000)
    assert detector.phi_milli(0) == 0
    assert detector.phi_milli(1_000_000) == 434  # e^-1 is 10^-0.434
    assert detector.phi_milli(10_000_000) == 4_340


@given(
    st.lists(st.integers(0, 5_000_000), max_size=50), st.integers(0, 10**8), st.integers(0, 10**8)
)
def test_phi_grows_with_silence(gaps: list[int], one_us: int, two_us: int) -> None:
    detector = FailureDetector(0, expected_interval_us=500_000)
    now_us = 0
    for gap_us in gaps:
        now_us += gap_us
        detector.heard(now_us, quantum_us=250_000)
    earlier_us, later_us = sorted((one_us, two_us))
    assert detector.phi_milli(now_us + earlier_us) <= detector.phi_milli(now_us + later_us)


def test_an_arrival_ends_the_suspicion() -> None:
    detector = FailureDetector(0, expected_interval_us=500_000)
    assert detector.phi_milli(5_000_000) > 4_000
    detector.heard(5_000_000, quantum_us=250_000)
    assert detector.phi_milli(5_000_000) == 0


def test_a_burst_counts_as_one_arrival() -> None:
    burst, single = (FailureDetector(0, expected_interval_us=500_000) for _ in range(2))
    for second in range(1, 30):
        single.heard(second * 1_000_000, quantum_us=250_000)
        for step in range(100):
            burst.heard(second * 1_000_000 + step, quantum_us=250_000)
    assert burst.phi_milli(40_000_000) == single.phi_milli(40_000_000)


def test_a_link_that_was_slow_before_is_given_more_time() -> None:
    brisk, slow = (FailureDetector(0, expected_interval_us=500_000) for _ in range(2))
    for step in range(1, 100):
        brisk.heard(step * 500_000, quantum_us=250_000)
        slow.heard(step * 2_000_000, quantum_us=250_000)
    brisk_us, slow_us = 99 * 500_000 + 5_000_000, 99 * 2_000_000 + 5_000_000
    assert brisk.phi_milli(brisk_us) > 3 * slow.phi_milli(slow_us)


def test_a_dead_peer_is_given_up_within_five_seconds_of_the_usual_pace() -> None:
    config = GossipConfig()
    detector = FailureDetector(0, expected_interval_us=config.ping_us // 2)
    for step in range(1, 200):
        detector.heard(step * 500_000, quantum_us=config.ping_us // 4)
    last_us = 199 * 500_000
    assert detector.phi_milli(last_us + 3_300_000) < config.phi_threshold_milli
    assert detector.phi_milli(last_us + 3_600_000) > config.phi_threshold_milli
