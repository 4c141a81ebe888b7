"""Stories by the minute: ``python -m tests.network.soak --minutes 60``.

    --seed S        begin with this story (default: a random one); the next has the next seed
    --stories N     so many stories instead of so many minutes
    --peers 5 --length 40 --deaths 4 --rate 20

Each story is another: how slow the links are, what fails when and for whom, and who is killed. The
first that does not end well is shown with its steps, its folder with stores and stderr of all
processes is kept, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from pathlib import Path
from random import Random
from secrets import randbits
from tempfile import mkdtemp

import trio

sys.path.insert(0, str(Path(__file__).parent.parent))

from network.living import Told, live_through
from network.story import write_story
from network.ways import Way


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.network.soak",
        description="Let peers in processes live through failing networks and kills.",
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--stories", type=int, help="so many stories instead")
    parser.add_argument("--seed", type=int, help="of the first story (default: random)")
    parser.add_argument("--peers", type=int, default=5)
    parser.add_argument("--length", type=float, default=40.0, help="seconds of a story (40)")
    parser.add_argument("--deaths", type=int, default=4, help="kills in a story (4)")
    parser.add_argument("--rate", type=float, default=20.0, help="orders/s of each peer (20)")
    options = parser.parse_args(arguments)
    if options.peers < 2:
        parser.error(f"--peers {options.peers}: give at least 2")
    seed = randbits(32) if options.seed is None else options.seed
    end_s, told = time.monotonic() + 60 * options.minutes, 0
    while told < options.stories if options.stories else time.monotonic() < end_s:
        if not _tell(seed + told, options):
            return 1
        told += 1
    print(f"{told} stories ended well")
    return 0


def _tell(seed: int, options: argparse.Namespace) -> bool:
    """One story; whether it ended well."""
    folder = Path(mkdtemp(prefix=f"gossipbook-story-{seed}-"))
    try:
        told = trio.run(_live, seed, options, folder)
    except Exception:
        traceback.print_exc()
        names = _names(options.peers)
        for step in write_story(names, length_s=options.length, deaths=options.deaths, seed=seed):
            print(step)
        print(f"VIOLATION in the story with seed {seed}; what is left of it lies in {folder}")
        return False
    print(f"story {seed}: {told}", flush=True)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    return True


async def _live(seed: int, options: argparse.Namespace, folder: Path) -> Told:
    random = Random(f"weather {seed}")
    least_s = random.choice([0.0, 0.001, 0.01, 0.05])
    names = _names(options.peers)
    return await live_through(
        write_story(names, length_s=options.length, deaths=options.deaths, seed=seed),
        names,
        folder=folder,
        orders_per_s=options.rate,
        usual=Way(delay_s=(least_s, least_s * random.choice([1, 2, 4]))),
        seed=seed,
    )


def _names(count: int) -> list[str]:
    return [f"peer-{number}" for number in range(count)]


if __name__ == "__main__":
    sys.exit(main())
