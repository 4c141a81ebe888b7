"""One target under libFuzzer: ``python -m fuzz.libfuzzer NAME [libFuzzer's arguments]``.

Only ``gossipbook`` is instrumented: what the targets and their worlds do guides nobody. libFuzzer
ends the process by itself, with code 0 after the runs it was given and another one where an input
failed. For people, ``python -m tests.fuzz`` starts this and keeps the count.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import atheris

with atheris.instrument_imports(include=["gossipbook"]):
    from fuzz.targets import TARGETS


def main() -> None:
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
