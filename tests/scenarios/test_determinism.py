"""The same seed gives the same bytes, in every process."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import gossipbook as gb
from twins.scenario import cluster_of, trade

cluster = cluster_of(5, seed=11, link=gb.sim.Link(loss=0.2, duplication=0.1, reordering=0.2),
                     verify_delay=(0.0, 0.003), watched=True)
trade(cluster, 30, at=[0, 1, 2, 3])
cluster.partition({0, 1}, one_way=True)
cluster.equivocate(4)
trade(cluster, 20, at=[0, 1, 2, 3])
cluster.submit_nowait(2, gb.MarketOrder("ONE", "buy", quantity=2))
cluster.crash(2)
cluster.heal()
cluster.join()
gb.sim.adversaries.Garbage(cluster, 3).begin()
trade(cluster, 20, at=[0, 1])
cluster.corrupt(0, "ONE")
cluster.restart(2, "stale")
trade(cluster, 20, at=[0, 1])
cluster.run_for(5)
report = cluster.run_until_converged(60)
print(cluster.trace_hash.hex(), report.root.hex(), report.frontier_root.hex(), report.messages)
print([event for peer in cluster.peers for event in peer.events])
"""


def run_with_hash_seed(seed: str) -> str:
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root), str(root / "tests")])
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_fresh_processes_with_any_hash_seed_give_the_same_trace() -> None:
    first = run_with_hash_seed("0")
    assert len(first.split()) > 4
    assert run_with_hash_seed("1") == first
    assert run_with_hash_seed("4242") == first
