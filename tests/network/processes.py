"""Peers in processes of their own, each behind a proxy that can do to it what networks do.

    alice's process --- FaultProxy "bob" --- bob's process
            '---------- FaultProxy "carol" -- carol's process

A peer listens on a port that nobody is told of, and advertises its proxy's: whoever dials it goes
through the proxy, whether by bootstrap address or by hearsay. A peer that is started again keeps
its name, key, store, port and proxy. This file knows neither stories nor what is checked.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import trio
from network.proxy import FaultProxy, free_port, process_at
from network.ways import CLEAR, Way, Ways

import gossipbook as gb
from bench.peer_processes import PeerProcess, PeerProcesses, open_processes
from bench.report import Results

GENESIS = gb.Genesis("processes", [gb.Market("ONE", "0.01", "0.0001")])
POLL_S = 0.02


@dataclass
class Place:
    """Where a peer lives: what stays when its process ends."""

    proxy: FaultProxy
    port: int
    keeper: socket.socket
    process: PeerProcess | None = None


@asynccontextmanager
async def proxied_peers(
    folder: Path, *, genesis: gb.Genesis = GENESIS, usual: Way = CLEAR, seed: int = 0
) -> AsyncIterator[ProxiedPeers]:
    """A world without peers yet. At its end all processes are gone."""
    async with open_processes(folder, genesis) as processes, trio.open_nursery() as nursery:
        peers = ProxiedPeers(processes, nursery, Ways(usual), seed)
        try:
            yield peers
        finally:
            nursery.cancel_scope.cancel()
            peers.give_ports_back()


class ProxiedPeers:
    """The world. ``peers["alice"]`` is the process of that name."""

    def __init__(
        self, processes: PeerProcesses, nursery: trio.Nursery, ways: Ways, seed: int
    ) -> None:
        self.ways = ways
        self.processes = processes
        self._nursery = nursery
        self._seed = seed
        self._places: dict[str, Place] = {}

    def __getitem__(self, name: str) -> PeerProcess:
        process = self._places[name].process
        assert process is not None, f"{name} does not run"
        return process

    @property
    def names(self) -> list[str]:
        """All that ever were, in the order in which they came."""
        return list(self._places)

    @property
    def running(self) -> list[str]:
        return [name for name, place in self._places.items() if place.process is not None]

    def proxy(self, name: str) -> FaultProxy:
        return self._places[name].proxy

    # ---------------------------------------------------------------- coming and going

    async def start(self, name: str, **settings: Any) -> PeerProcess:
        """A process for this peer, which is not opened yet."""
        if name not in self._places:
            await self._make_place(name)
        place = self._places[name]
        assert place.process is None, f"{name} runs"
        place.process = await self.processes.start(name, **settings)
        return place.process

    async def open(self, name: str, *, bootstrap: Iterable[str] = (), **options: Any) -> Results:
        """Open the peer of a process that was started, or of a new one."""
        if name not in self.running:
            await self.start(name)
        place = self._places[name]
        answer = await self[name].ask(
            "open",
            listen=f"127.0.0.1:{place.port}",
            advertise=place.proxy.address,
            bootstrap=[self.proxy(other).address for other in bootstrap],
            **options,
        )
        assert answer["address"] == place.proxy.address
        return answer

    async def open_all(self, names: Iterable[str]) -> None:
        """Peers that know the first of them, all linked to each other."""
        first, *others = names
        async with trio.open_nursery() as nursery:
            for name in (first, *others):
                nursery.start_soon(self.start, name)
        await self.open(first)
        async with trio.open_nursery() as nursery:
            for name in others:
                nursery.start_soon(partial(self.open, name, bootstrap=[first]))
        await self.until_linked([first, *others])

    async def kill(self, name: str) -> None:
        """SIGKILL; returns when it is gone."""
        self[name].kill()
        await self.gone(name)

    async def gone(self, name: str) -> None:
        """Return when the process of that name, which was told to end, has ended."""
        await self[name].wait()
        self._places[name].process = None

    async def _make_place(self, name: str) -> None:
        keeper, port = free_port()
        proxy = FaultProxy(
            name,
            ("127.0.0.1", port),
            ways=self.ways,
            seed=self._seed,
            name_dialler=lambda port: process_at(port, self._pids()),
        )
        self._places[name] = Place(proxy, port, keeper)
        await self._nursery.start(proxy.run)

    def _pids(self) -> dict[str, int]:
        return {name: self[name].pid for name in self.running}

    def give_ports_back(self) -> None:
        for place in self._places.values():
            place.keeper.close()

    # ---------------------------------------------------------------- faults

    def isolate(self, group: Iterable[str], way: Way) -> None:
        """Put this way between the group and everybody else."""
        group = list(group)
        self.ways.set_both(way, group, [name for name in self.names if name not in group])

    def cut(self, name: str) -> int:
        """Break every connection that a peer has, whoever dialled it; how many there were."""
        broken = self.proxy(name).cut()
        return broken + sum(place.proxy.cut(dialler=name) for place in self._places.values())

    def heal(self) -> None:
        """The usual way everywhere, and proxies that listen."""
        self.ways.heal()
        for place in self._places.values():
            place.proxy.listen_again()

    # ---------------------------------------------------------------- asking everybody

    async def ask_all(
        self, what: str, names: Iterable[str] | None = None, **arguments: Any
    ) -> dict[str, Results]:
        """The answers of those named, or of all that run, side by side."""
        answers: dict[str, Results] = {}

        async def ask(name: str) -> None:
            answers[name] = await self[name].ask(what, **arguments)

        async with trio.open_nursery() as nursery:
            for name in self.running if names is None else names:
                nursery.start_soon(ask, name)
        return answers

    async def until_linked(self, names: Iterable[str]) -> None:
        """Return when each of these lists all the others."""
        names = list(names)
        while True:
            answers = await self.ask_all("status", names)
            if all(
                self[other].peer_id.hex() in answers[name]["peers"]
                for name in names
                for other in names
                if other != name
            ):
                return
            await trio.sleep(POLL_S)

    async def until_equal(self, names: Iterable[str] | None = None) -> dict[str, Results]:
        """Once all hold the same entries and the same books: their answers to ``status``."""
        while True:
            answers = await self.ask_all("status", names)
            roots = {(one["frontier_root"], one["book_root"]) for one in answers.values()}
            if len(roots) == 1:
                return answers
            await trio.sleep(POLL_S)
