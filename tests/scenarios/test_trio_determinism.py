"""Trio peers in virtual time, seeds given: the same messages and the same bytes in every process.

Trio's scheduler shuffles tasks. Hypothesis and pytest-trio make it repeatable through two private
names; this canary notices when a new trio no longer listens to them.
"""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys, trio
from trio.testing import MockClock
import gossipbook as gb
from contextlib import AsyncExitStack

trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True
trio._core._run._r.seed(int(sys.argv[1]))

async def main():
    genesis = gb.Genesis("canary", [gb.Market("ONE"), gb.Market("TWO")])
    link = gb.Link(latency=(0.005, 0.05), loss=0.2, duplication=0.1, reordering=0.1)
    network = gb.MemoryNetwork(seed=3, link=link)
    keys = [gb.Keypair.from_seed(bytes([index]) * 32) for index in range(4)]
    async with AsyncExitStack() as stack:
        peers = [
            await stack.enter_async_context(
                gb.open_peer(genesis, key, transport=network.transport(str(index)), seed=index,
                             bootstrap=[str(other) for other in range(index)], alone=True)
            )
            for index, key in enumerate(keys)
        ]
        async def trade(index):
            for turn in range(20):
                order = gb.LimitOrder("ONE" if turn % 3 else "TWO", "buy" if index % 2 else "sell",
                                      price=100 + turn % 5, quantity=1 + turn % 7)
                await peers[index].submit(order)
                await trio.sleep(0.01 * (index + 1))
        async with trio.open_nursery() as nursery:
            for index in range(4):
                nursery.start_soon(trade, index)
        network.partition(["0"])
        await trio.sleep(1)
        network.heal()
        await gb.wait_until_equal(peers)
        print(peers[0].root.hex(), peers[0].frontier_root.hex(), network.counters)
        print([peer.statistics() for peer in peers], trio.current_time())

trio.run(main, clock=MockClock(autojump_threshold=0))
"""


def run_with(hash_seed: str, scheduler_seed: str) -> str:
    environment = {
        **os.environ,
        "PYTHONHASHSEED": hash_seed,
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    command = [sys.executable, "-c", PROGRAM, scheduler_seed]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_the_same_seeds_give_the_same_messages_in_every_process() -> None:
    first = run_with("0", "7")
    assert "messages_lost" in first
    assert run_with("1", "7") == first
    assert run_with("4242", "7") == first
