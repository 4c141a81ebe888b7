"""What happens to peers behind proxies, written down beforehand from a seed, and then played.

Two strands run side by side. In one the network fails, in episodes one after the other: a random
fault for a random time, then all is well for a moment. In the other processes are killed, stay
away, and are started again from their stores: so a peer may come back while it is cut off.

    network   --[held: carol]------[cut: bob]--[parted: alice, dave]----------
    deaths    -------[kill: dave .............. start]----[kill: bob ... start]

The same seed gives the same steps. When they fall is real time, so no two plays are quite the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import trio
from network.processes import ProxiedPeers
from network.ways import Way

FAULTS = ("slow", "brief", "cut", "held", "deafened", "parted", "one way", "swallowed", "refusing")
EPISODE_S = (0.8, 7.0)
PAUSE_S = (0.3, 1.2)
AWAY_S = (1.0, 4.0)
BETWEEN_DEATHS_S = (1.0, 4.0)

HELD, SWALLOWED = Way(held=True), Way(swallowed=True)
SLOW = Way(delay_s=(0.03, 0.12), bytes_per_s=100_000)
BRIEF = Way(delay_s=(0.0, 0.02), lasts_s=(0.1, 1.0))


@dataclass(frozen=True, slots=True)
class Step:
    """At that time, that happens to those peers; "healed" ends an episode."""

    at_s: float
    what: str
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.at_s:6.2f} s  {self.what}  {', '.join(self.names)}".rstrip()


def write_story(names: Sequence[str], *, length_s: float, deaths: int, seed: int) -> list[Step]:
    """The steps, in order of time: the network's episodes, and so many deaths of as many peers in
    turn. Everybody is back, and the network well, at the end of ``length_s``."""
    steps = _episodes(names, length_s, Random(f"network {seed}"))
    steps += _deaths(names, length_s, deaths, Random(f"deaths {seed}"))
    return sorted(steps, key=lambda step: step.at_s)


def _episodes(names: Sequence[str], length_s: float, random: Random) -> list[Step]:
    steps: list[Step] = []
    at_s = random.uniform(*PAUSE_S)
    faults: list[str] = []
    while True:
        faults = faults or random.sample(FAULTS, len(FAULTS))  # each comes before one comes again
        until_s = at_s + random.uniform(*EPISODE_S)
        if until_s > length_s:
            return steps
        what = faults.pop()
        size = random.randint(1, len(names) // 2) if what == "parted" else 1
        steps += [
            Step(at_s, what, tuple(random.sample(list(names), size))),
            Step(until_s, "healed"),
        ]
        at_s = until_s + random.uniform(*PAUSE_S)


def _deaths(names: Sequence[str], length_s: float, deaths: int, random: Random) -> list[Step]:
    """In equal parts of the time, so that there are as many as asked for."""
    steps: list[Step] = []
    part_s = length_s / max(deaths, 1)
    victims: list[str] = []
    for number in range(deaths):
        victims = victims or random.sample(list(names), len(names))
        victim = victims.pop()
        away_s = min(random.uniform(*AWAY_S), 0.6 * part_s)
        dies_s = number * part_s + random.uniform(0.1, 0.3) * part_s
        steps += [Step(dies_s, "killed", (victim,)), Step(dies_s + away_s, "started", (victim,))]
    return steps


class Player:
    """Plays a story. Peers that are started again trade at the given rate as the others do."""

    def __init__(self, peers: ProxiedPeers, *, orders_per_s: float, tell: bool = False) -> None:
        self._peers = peers
        self._orders_per_s = orders_per_s
        self._tell = tell
        self._lives: dict[str, int] = {}

    async def play(self, steps: Sequence[Step]) -> None:
        start_s = trio.current_time()
        for step in steps:
            await trio.sleep_until(start_s + step.at_s)
            if self._tell:
                print(step, flush=True)
            await self._do(step)

    async def trade(self, name: str) -> None:
        """Let this peer submit continuously, other orders in each of its lives."""
        self._lives[name] = self._lives.get(name, 0) + 1
        await self._peers[name].ask(
            "trade", orders_per_s=self._orders_per_s, seed=self._lives[name]
        )

    async def _do(self, step: Step) -> None:
        peers = self._peers
        match step.what:
            case "slow":
                peers.isolate(step.names, SLOW)
            case "brief":
                peers.isolate(step.names, BRIEF)
                peers.cut(step.names[0])
            case "cut":
                peers.cut(step.names[0])
            case "held" | "parted":
                peers.isolate(step.names, HELD)
            case "swallowed":
                peers.isolate(step.names, SWALLOWED)
            case "one way":
                for other in peers.names:
                    peers.ways.set(HELD, step.names[0], other)
            case "deafened":
                await peers.proxy(step.names[0]).be_deaf()
                peers.cut(step.names[0])
            case "refusing":
                peers.proxy(step.names[0]).refuse()
                peers.cut(step.names[0])
            case "healed":
                peers.heal()
            case "killed":
                await peers.kill(step.names[0])
            case "started":
                await self._start_again(step.names[0])
            case _:
                raise AssertionError(f"nobody knows how to play {step!r}")

    async def _start_again(self, name: str) -> None:
        others = [other for other in self._peers.names if other != name]
        opened = await self._peers.open(name, bootstrap=others[:2])
        assert not opened["damage"], f"{name} was killed, and its store is damaged: {opened}"
        await self.trade(name)
