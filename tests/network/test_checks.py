"""The checks after a story find what they are there to find."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from network.checks import check_quiet, check_stores, check_submits
from network.processes import GENESIS
from twins.virtual_time import real_time

import gossipbook as gb
from bench.peer_processes import PeerProcess, keypair_of
from bench.report import Results

WELL: Results = {"proofs": 0, "events": []}


@dataclass
class Ended:
    """A process, as far as the checks look at it."""

    name: str
    acknowledged: list[str] = field(default_factory=list)
    complaints: str = ""


def ended(*processes: Ended) -> list[PeerProcess]:
    return cast(Any, list(processes))


def open_stored(folder: Path, name: str, **options: Any) -> AbstractAsyncContextManager[gb.Peer]:
    store = folder / f"{name}.db"
    return gb.open_peer(GENESIS, keypair_of(name), store=store, alone=True, **options)


async def write_store(folder: Path, name: str, orders: int) -> tuple[Ended, Results]:
    """A store with so many orders of its own; as process and as answer it looks like this."""
    process = Ended(name)
    async with open_stored(folder, name) as peer:
        for price in range(1, 1 + orders):
            receipt = await peer.submit(gb.LimitOrder("ONE", "buy", price=price, quantity=1))
            process.acknowledged.append(receipt.entry_id.hex())
        return process, {"book_root": peer.root.hex()}


@real_time
async def test_a_store_with_all_that_was_acknowledged_passes(tmp_path: Path) -> None:
    alice, answer = await write_store(tmp_path, "alice", 3)
    await check_stores(GENESIS, answer, ended(alice), folder=tmp_path)


@real_time
async def test_an_acknowledged_order_that_is_in_no_store_is_found(tmp_path: Path) -> None:
    alice, answer = await write_store(tmp_path, "alice", 3)
    alice.acknowledged.append(bytes(32).hex())
    with pytest.raises(AssertionError, match="alice lacks acknowledged orders"):
        await check_stores(GENESIS, answer, ended(alice), folder=tmp_path)


@real_time
async def test_a_root_that_the_logs_do_not_amount_to_is_found(tmp_path: Path) -> None:
    alice, _ = await write_store(tmp_path, "alice", 3)
    with pytest.raises(AssertionError, match="the replay of alice's store"):
        await check_stores(GENESIS, {"book_root": "00"}, ended(alice), folder=tmp_path)


@real_time
async def test_a_store_that_holds_more_than_another_is_found(tmp_path: Path) -> None:
    alice, answer = await write_store(tmp_path, "alice", 3)
    network = gb.MemoryNetwork()
    async with (
        open_stored(tmp_path, "alice", transport=network.transport("alice")) as one,
        open_stored(
            tmp_path, "bob", transport=network.transport("bob"), bootstrap=["alice"]
        ) as other,
    ):
        with trio.fail_after(10):
            await gb.wait_until_equal([one, other])
    processes = ended(alice, Ended("bob"))
    await check_stores(GENESIS, answer, processes, folder=tmp_path)
    async with open_stored(tmp_path, "bob") as bob:
        await bob.submit(gb.LimitOrder("ONE", "buy", price=9, quantity=1))
    with pytest.raises(AssertionError, match="the stores of alice and bob differ"):
        await check_stores(GENESIS, answer, processes, folder=tmp_path)


def test_only_the_failure_that_is_allowed_passes() -> None:
    fine = {"failed": {"OwnHeadUnconfirmed": 2}, "failures": []}
    assert check_submits({"alice": fine, "bob": fine}) == {"OwnHeadUnconfirmed": 4}
    broken = {"failed": {"PeerClosed": 1}, "failures": ["PeerClosed: it is closed"]}
    with pytest.raises(AssertionError, match="it is closed"):
        check_submits({"alice": fine, "bob": broken})


@pytest.mark.parametrize(
    ("answer", "process"),
    [
        (WELL | {"proofs": 1}, Ended("alice")),
        (WELL | {"events": ["Divergence(...)"]}, Ended("alice")),
        (WELL, Ended("alice", complaints="Traceback")),
    ],
)
def test_whoever_complains_or_was_told_something_is_found(answer: Results, process: Ended) -> None:
    check_quiet({"alice": WELL}, ended(Ended("alice")))
    with pytest.raises(AssertionError, match="alice"):
        check_quiet({"alice": answer}, ended(process))
