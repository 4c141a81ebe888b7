"""Is the peer at the other end alive? Accrual failure detection in integers.

The detector does not answer yes or no but with phi, how suspicious a silence has become: phi = 3
means that a link that lives stays silent for so long once in 10^3. Arrivals are taken as a Poisson
process, so phi = log10(e) x silence / mean interval; the mean is over the latest arrivals and
starts from the interval we expect. A lossy link has a larger mean and is given more time.

After Hayashibara et al., "The phi accrual failure detector" (SRDS 2004), with the exponential
form that Cassandra uses: no logarithm has to be taken, which would differ between machines.
"""

LOG10_E_MILLI = 434
WINDOW = 32


class FailureDetector:
    """The arrivals on one link. All times are monotonic microseconds."""

    __slots__ = ("_mean_us", "last_us")

    def __init__(self, now_us: int, *, expected_interval_us: int) -> None:
        self.last_us = now_us
        self._mean_us = expected_interval_us
        """An exponential mean: each arrival weighs 1/32 of all before it."""

    def heard(self, now_us: int, *, quantum_us: int) -> None:
        """Something arrived. Arrivals closer together than ``quantum_us`` count as one:
        a burst says nothing about how long a silence is normal."""
        interval = now_us - self.last_us
        if interval >= quantum_us:
            self._mean_us += (interval - self._mean_us) // WINDOW
            self.last_us = now_us

    def phi_milli(self, now_us: int) -> int:
        """The suspicion, in thousandths."""
        return LOG10_E_MILLI * (now_us - self.last_us) // self._mean_us
