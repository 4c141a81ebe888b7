"""Peers on trio with their stores on disk, each opened and closed when the test says so.

Every peer lives in a task of its own, so that one can be closed while others go on. Between two
lives a test does to the file what it likes: damage it, put an old copy back, delete it.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
from twins.scenario import GENESIS, limit
from twins.trio_peers import keypair

import gossipbook as gb
from gossipbook.storage.sqlite import OpenSqliteStore

SETTLED_S = 60


class SlowStore(gb.SqliteStore):
    """A file on a disk that takes its time to sync."""

    def __init__(self, path: Path, write_s: float) -> None:
        super().__init__(path)
        self.write_s = write_s

    @asynccontextmanager
    async def open(self, genesis: gb.Genesis, peer_id: gb.PeerId) -> AsyncIterator[OpenSqliteStore]:
        async with super().open(genesis, peer_id) as opened:
            write = opened.write

            async def write_slowly(*what: Any, **how: Any) -> None:
                await trio.sleep(self.write_s)
                await write(*what, **how)

            opened.write = write_slowly  # type: ignore[method-assign]
            yield opened


@dataclass(eq=False)
class _Life:
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    closing: trio.Event = field(default_factory=trio.Event)
    ended: trio.Event = field(default_factory=trio.Event)


class StoredPeers:
    """Peers by name. A name is the address, and "alice 2" has alice's key, but its own store."""

    def __init__(self, folder: Path, nursery: trio.Nursery, *, seed: int = 0) -> None:
        self.network = gb.MemoryNetwork(seed=seed, link=gb.Link(latency=(0.005, 0.02)))
        self.running: dict[str, gb.Peer] = {}
        self._folder = folder
        self._nursery = nursery
        self._numbers: dict[str, int] = {}
        self._lives: dict[str, _Life] = {}
        self._seed = seed * 1_000

    def key(self, name: str) -> gb.Keypair:
        owner = name.split()[0]
        return keypair(self._numbers.setdefault(owner, len(self._numbers) + 1))

    def id(self, name: str) -> gb.PeerId:
        return self.key(name).peer_id

    def store(self, name: str) -> Path:
        return self._folder / f"{name}.db"

    async def open(
        self,
        name: str,
        *,
        contacts: Iterable[str] | None = None,
        alone: bool | None = None,
        write_s: float = 0.0,
    ) -> gb.Peer:
        """Start a peer on its store; ``contacts``: whom it dials, all that run unless given."""
        others = list(self.running) if contacts is None else list(contacts)
        store = SlowStore(self.store(name), write_s)
        peer: gb.Peer = await self._nursery.start(self._live, name, store, others, alone)
        return peer

    async def close(self, name: str) -> Path:
        """Close it in good order. Returns its store."""
        life = self._lives[name]
        life.closing.set()
        await life.ended.wait()
        return self.store(name)

    async def crash(self, name: str) -> Path:
        """Tear it down without goodbye. Returns its store."""
        life = self._lives[name]
        life.scope.cancel()
        await life.ended.wait()
        return self.store(name)

    async def trade(self, *names: str, rounds: int = 1) -> list[gb.Receipt]:
        """Each submits an order, so many times over."""
        return [
            await self.running[name].submit(limit("buy" if turn % 2 else "sell", 100 + turn))
            for turn in range(rounds)
            for name in names
        ]

    async def equal(self) -> None:
        """Wait until everybody who runs holds the same, and everything is written."""
        with trio.fail_after(SETTLED_S):
            await gb.wait_until_equal(self.running.values())
        await trio.sleep(0.2)

    def length(self, of: str, *, at: str) -> int:
        """How many entries of one peer's log another holds."""
        return self.running[at].running.replica.head(self.id(of)).length

    def proofs(self) -> list[gb.ForkProof]:
        """Every proof that anybody holds."""
        return [proof for peer in self.running.values() for proof in peer.proofs()]

    async def _live(
        self,
        name: str,
        store: SlowStore,
        contacts: list[str],
        alone: bool | None,
        task_status: trio.TaskStatus[gb.Peer],
    ) -> None:
        self._seed += 1
        life = self._lives[name] = _Life()
        try:
            with life.scope:
                async with gb.open_peer(
                    GENESIS,
                    self.key(name),
                    transport=self.network.transport(name),
                    bootstrap=contacts,
                    store=store,
                    alone=alone,
                    seed=self._seed,
                ) as peer:
                    self.running[name] = peer
                    task_status.started(peer)
                    await life.closing.wait()
        finally:
            self.running.pop(name, None)
            life.ended.set()


@asynccontextmanager
async def stored_peers(folder: Path, *names: str, seed: int = 0) -> AsyncIterator[StoredPeers]:
    """These peers, running, each knowing those before it; all are closed in the end."""
    async with trio.open_nursery() as nursery:
        peers = StoredPeers(folder, nursery, seed=seed)
        for name in names:
            await peers.open(name, alone=True)
        yield peers
        for name in list(peers.running):
            await peers.close(name)


def back_up(store: Path) -> Path:
    """A copy of a store, with its write-ahead log, as it is now."""
    copy = store.with_suffix(".backup")
    for suffix in ("", "-wal"):
        if Path(f"{store}{suffix}").exists():
            shutil.copyfile(f"{store}{suffix}", f"{copy}{suffix}")
    return copy


def put_back(copy: Path, store: Path) -> None:
    """The copy in place of the store."""
    delete(store)
    for suffix in ("", "-wal"):
        if Path(f"{copy}{suffix}").exists():
            shutil.copyfile(f"{copy}{suffix}", f"{store}{suffix}")


def delete(store: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{store}{suffix}").unlink(missing_ok=True)
