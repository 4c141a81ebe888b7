"""Fault schedules by the hour: ``python -m tests.soak --hours 8``, or ``make soak``.

Each round is one seed for Hypothesis and a hundred schedules. The state file remembers what was
done, so a soak that was interrupted goes on where it stopped. It stops at the first failure, with
the shrunken schedule, the seed of the round and exit code 1.
"""

import argparse
import json
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from secrets import randbits

sys.path.insert(0, str(Path(__file__).parent))  # the slow twins

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from twins.schedules import check_shape, play_and_check, what_bit

from gossipbook.sim.strategies import Schedule, fault_schedules, make_genesis

SCHEDULES_PER_ROUND = 100
GENESIS = make_genesis(2)


def run_round(round_seed: int, schedules: int, counts: Counter[str]) -> None:
    """Play the schedules of one seed. Raises what the first failing one raised, shrunken."""

    @seed(round_seed)
    @settings(
        max_examples=schedules,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(schedule=fault_schedules(), cluster_seed=st.integers(0, 65_535))
    def one_schedule(schedule: Schedule, cluster_seed: int) -> None:
        check_shape(schedule)
        run = play_and_check(schedule, GENESIS, cluster_seed)
        counts.update(what_bit(run))

    one_schedule()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Play random fault schedules for hours.")
    parser.add_argument("--hours", type=float, default=1.0, help="how long (default 1)")
    parser.add_argument("--state", type=Path, default=Path("soak-state.json"))
    parser.add_argument("--round", type=int, default=SCHEDULES_PER_ROUND, dest="schedules")
    parser.add_argument("--seed", type=int, help="play one round with this seed, and stop")
    options = parser.parse_args(arguments)

    if options.seed is not None:
        counts: Counter[str] = Counter()
        run_round(options.seed, options.schedules, counts)
        print(_describe(counts))
        return 0
    state = _load(options.state)
    counts = Counter(state["counts"])
    if counts:
        print(f"resuming {options.state} at seed {state['next_seed']}: {_describe(counts)}")
    until = time.monotonic() + options.hours * 3600
    while time.monotonic() < until:
        round_seed = state["next_seed"]
        started = time.monotonic()
        before = counts.copy()
        try:
            run_round(round_seed, options.schedules, counts)
        except KeyboardInterrupt:
            print(f"interrupted; {options.state} holds what was finished")
            return 130
        except Exception as error:
            traceback.print_exception(error, file=sys.stdout)  # with the schedule in its notes
            print(f"FAILED with seed {round_seed}, after {_describe(counts)}")
            print(
                f"again: python -m tests.soak --seed {round_seed} --round {options.schedules}\n"
                "then make the schedule above a test in tests/properties/test_regressions.py"
            )
            return 1
        state["next_seed"] = round_seed + 1
        state["seconds"] += time.monotonic() - started
        state["counts"] = dict(counts)
        _save(options.state, state)
        rate = (counts - before)["schedules"] / (time.monotonic() - started)
        print(f"seed {round_seed}: {rate:.0f} schedules/s; {_describe(counts)}", flush=True)
    print(f"no failure in {state['seconds'] / 3600:.2f} hours: {_describe(counts)}")
    return 0


def _load(path: Path) -> dict:  # type: ignore[type-arg]
    if path.exists():
        return json.loads(path.read_text())  # type: ignore[no-any-return]
    # CI uses the seeds from 0 up: a soak starts somewhere else each time.
    return {"next_seed": 1_000 + randbits(40), "seconds": 0.0, "counts": {}}


def _save(path: Path, state: dict) -> None:  # type: ignore[type-arg]
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(state, indent=1) + "\n")
    temporary.replace(path)


def _describe(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


if __name__ == "__main__":
    sys.exit(main())
