"""Coverage-guided fuzzing by the million: ``python -m tests.fuzz --inputs 10000000``.

Each target of ``targets`` runs under atheris in a process of its own, one after the other, in
rounds of a million inputs in all. The corpus folder keeps what was found worth keeping and how much
was done, so a run that was interrupted goes on where it stopped, and the next one starts from what
all before it have learnt. It stops at the first input that fails, says how to see that again, and
ends with code 1. Arguments after ``--`` go to libFuzzer as they are.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.seeds import write_seeds
from fuzz.targets import TARGETS

TESTS = Path(__file__).parents[1]
ROUND_INPUTS = 1_000_000
LIBFUZZER = ("-print_final_stats=1", "-timeout=30", "-rss_limit_mb=2048", "-verbosity=0")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz gossipbook.")
    parser.add_argument("--target", default="all", choices=["all", *TARGETS])
    parser.add_argument("--inputs", type=int, default=1_000_000, help="how many (default 1000000)")
    parser.add_argument("--corpus", type=Path, default=Path(".fuzz"))
    parser.add_argument(
        "--seed", type=int, help="for libFuzzer, plus the inputs done so far; chance unless set"
    )
    parser.add_argument("--reproduce", type=Path, metavar="FILE", help="run the target on FILE")
    parser.add_argument("libfuzzer", nargs="*", help="after --: arguments for libFuzzer")
    options = parser.parse_args(arguments)

    if options.reproduce is not None:
        if options.target == "all":
            parser.error("--reproduce needs the target: --target NAME")
        TARGETS[options.target].run(options.reproduce.read_bytes())
        print(f"{options.target}: {options.reproduce} passes")
        return 0
    if importlib.util.find_spec("atheris") is None:
        parser.error("atheris is not installed; pip install -e '.[fuzz]' brings it")
    try:
        return Fuzzing(options.corpus, options.seed, options.libfuzzer).run(
            options.target, options.inputs
        )
    except KeyboardInterrupt:
        print(f"\ninterrupted; {options.corpus} holds what was finished")
        return 130


class Fuzzing:
    """The targets in turn, and the count of what was done, in a corpus folder."""

    def __init__(self, corpus: Path, seed: int | None, libfuzzer: list[str]) -> None:
        self._corpus = corpus
        self._seed = seed
        self._libfuzzer = libfuzzer
        self._state_file = corpus / "state.json"
        self._state: dict[str, dict[str, float]] = {}
        corpus.mkdir(parents=True, exist_ok=True)
        if self._state_file.exists():
            self._state = json.loads(self._state_file.read_text())
            print(f"resuming {corpus}: {self._summary()}", flush=True)

    def run(self, target: str, inputs: int) -> int:
        """So many inputs more. The exit code."""
        names = list(TARGETS) if target == "all" else [target]
        goals = {name: self._done(name)["inputs"] + _share(name, names, inputs) for name in names}
        while any(self._done(name)["inputs"] < goal for name, goal in goals.items()):
            for name, goal in goals.items():
                left = int(goal - self._done(name)["inputs"])
                if left > 0 and not self._fuzz(name, min(left, _in_a_round(name))):
                    return 1
            print(f"so far: {self._summary()}", flush=True)
        print(f"no failure. {self._summary()}")
        for name in names:
            count, seconds = self._done(name)["inputs"], self._done(name)["seconds"]
            print(f"  {name:10} {count:>12,.0f} inputs, {count / max(seconds, 1):>8,.0f} a second")
        return 0

    def _fuzz(self, name: str, runs: int) -> bool:
        """One target for so many inputs; whether all of them passed."""
        started = time.monotonic()
        ended = subprocess.run(
            self._command(name, runs), cwd=TESTS, stderr=subprocess.PIPE, text=True, check=False
        )
        seconds = time.monotonic() - started
        executed = re.search(r"number_of_executed_units: (\d+)", ended.stderr)
        count = int(executed[1]) if executed else 0
        self._done(name)["inputs"] += count
        self._done(name)["seconds"] += seconds
        self._save()
        print(f"{name}: {count:,} inputs, {count / seconds:,.0f} a second", flush=True)
        if ended.returncode == 0 and executed:
            return True
        _tell_failure(name, ended.returncode, ended.stderr)
        return False

    def _command(self, name: str, runs: int) -> list[str]:
        corpus, crashes = self._corpus / name, self._corpus / "crashes"
        if not corpus.exists():
            write_seeds(name, corpus)
        crashes.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "fuzz.libfuzzer", name, *LIBFUZZER]
        command += [f"-runs={runs}", f"-max_len={TARGETS[name].max_bytes}"]
        command += [f"-artifact_prefix={crashes.resolve()}/{name}-"]
        if self._seed is not None:
            command += [f"-seed={self._seed + int(self._done(name)['inputs'])}"]
        return [*command, *self._libfuzzer, str(corpus.resolve())]

    def _done(self, name: str) -> dict[str, float]:
        return self._state.setdefault(name, {"inputs": 0, "seconds": 0.0})

    def _executed(self) -> int:
        return int(sum(done["inputs"] for done in self._state.values()))

    def _save(self) -> None:
        temporary = self._state_file.with_suffix(".new")
        temporary.write_text(json.dumps(self._state, indent=1) + "\n")
        temporary.replace(self._state_file)

    def _summary(self) -> str:
        counts = ", ".join(f"{name} {done['inputs']:,.0f}" for name, done in self._state.items())
        return f"{self._executed():,} inputs ({counts})"


def _tell_failure(name: str, code: int, report: str) -> None:
    """What libFuzzer said (the traceback stands above it), and what to do."""
    print("\n".join(line for line in report.splitlines() if not line.startswith("INFO: ")))
    found = re.search(r"Test unit written to (\S+)", report)
    if found is None:
        print(f"FAILED: {name} ended with code {code} and left no input")
        return
    print(
        f"FAILED: {name}\n"
        f"again: python -m tests.fuzz --target {name} --reproduce {found[1]}\n"
        f"then copy that file to tests/fuzz/regressions/{name}/, so that it is never forgotten"
    )


def _share(name: str, names: list[str], inputs: int) -> int:
    """How many of so many inputs for these targets a target gets."""
    return -(-inputs * TARGETS[name].per_mille // sum(TARGETS[one].per_mille for one in names))


def _in_a_round(name: str) -> int:
    return ROUND_INPUTS * TARGETS[name].per_mille // 1_000


if __name__ == "__main__":
    sys.exit(main())
