"""A peer of the demo that has a process of its own, as the story sees it.

This file decides what the story knows of such a peer and how its orders reach it. What it knows is
the peer's latest glance, which is asked for twenty times a second; while the process stands still,
so does the glance. It promises that a killed peer leaves nothing behind but its store and its log.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import trio

from gossipbook.book.commands import Command, OrderId
from gossipbook.book.payload import encode_payload, to_instructions
from gossipbook.cli.demo_child import Said
from gossipbook.cli.demo_glance import Glance, Head
from gossipbook.cli.demo_peers import DemoPeer, World
from gossipbook.cli.demo_process import ChildProcess, open_child
from gossipbook.cli.store_reading import read_store
from gossipbook.genesis import Genesis
from gossipbook.identity import Keypair, PeerId

LOOK_EVERY_S = 0.05


@dataclass(slots=True)
class Costs:
    """Messages and their bytes that peers have sent in lives that are over."""

    messages: int = 0
    message_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What a peer held when it had left."""

    glance: Glance
    digests: dict[str, str]


@dataclass(frozen=True, slots=True)
class Placed:
    """What a process answers to a submit."""

    order_id: OrderId


class ProcessPeer(DemoPeer):
    """A peer in a process. Its store and its log lie in `folder`."""

    def __init__(
        self,
        world: World,
        name: str,
        *,
        folder: Path,
        past: Costs,
        keypair: Keypair | None = None,
    ) -> None:
        super().__init__(world, name, keypair)
        plain = name.replace("'", "").replace(" ", "-")
        self.store = folder / f"{plain}.db"
        self.log = folder / f"{plain}.log"
        self.report: Report | None = None
        """Its last words, once it has left."""
        self._folder = folder
        self._past = past
        self._child: ChildProcess | None = None
        self._address = ""
        self._glance: Glance | None = None
        self._busted = self._undone = 0  # by lives that have ended

    # ---------------------------------------------------------------- what is seen of it

    @property
    def is_up(self) -> bool:
        return self._glance is not None

    @property
    def address(self) -> str:
        return self._address

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._running.process.pid

    @property
    def busted(self) -> int:
        return self._busted + (0 if self._glance is None else self._glance.busted)

    @property
    def undone_commands(self) -> int:
        return self._undone + (0 if self._glance is None else self._glance.undone_commands)

    @property
    def stored_entries(self) -> int:
        with read_store(str(self.store)) as store:
            return len(store.loaded.entries)

    @property
    def state(self) -> str:
        return "left" if self.report is not None and not self.forked else super().state

    @property
    def glance(self) -> Glance | None:
        return self._glance

    def heads(self) -> Mapping[PeerId, Head]:
        return {} if self._glance is None else self._glance.heads

    async def look_again(self) -> Glance:
        """How it stands now; answered by the process itself."""
        told = await self._running.ask("look")
        self._glance = Glance.from_json(told)
        return self._glance

    # ---------------------------------------------------------------- what is done to it

    async def live(
        self,
        contacts: Iterable[str],
        *,
        alone: bool | None = None,
        reserved_order: bool = False,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        world = self._world
        self._lives += 1
        life = world.random.child(f"life {self._lives} of {self.name}")
        self._ended = trio.Event()
        with trio.CancelScope() as self._scope:
            async with open_child(self.name, self.log, self._hear) as child:
                self._child = child
                remote = RemotePeer(child, world.genesis, self.keypair.peer_id)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._trade, remote, reserved_order)
                    opened = await child.ask(
                        "open",
                        genesis=world.genesis.encode().hex(),
                        key=self.keypair.seed.hex(),
                        store=str(self.store),
                        contacts=list(contacts),
                        alone=alone,
                        seed=life.bits(32),
                    )
                    self._address = opened["address"]
                    await self.look_again()
                    nursery.start_soon(self._keep_looking)
                    task_status.started()
        self._child = None
        self._ended.set()

    @property
    def how_killed(self) -> str:
        return f"(process {self.pid}) is killed with SIGKILL"

    async def kill(self) -> None:
        self._running.process.kill()
        self._scope.cancel()
        await self._ended.wait()
        self._count_costs()
        self._glance = None

    async def leave(self) -> None:
        """Let it say goodbye and end; `report` is what it held then. Raises ProcessEnded where the
        process does not end well."""
        child = self._running
        told = await child.end()
        self._glance = Glance.from_json(told["glance"])
        self.report = Report(self._glance, told["digests"])
        self._scope.cancel()
        await self._ended.wait()

    def freeze(self) -> None:
        """Stop the process where it stands, connections and all."""
        self._running.process.send_signal(signal.SIGSTOP)
        self.activity = "frozen"

    def thaw(self) -> None:
        """Let it go on."""
        self._running.process.send_signal(signal.SIGCONT)
        self.activity = "catching up"

    async def place_reserved(self) -> None:
        remote = RemotePeer(self._running, self._world.genesis, self.keypair.peer_id)
        await self._world.trading.place_reserved(self.name, remote)

    async def back_up(self, name: str) -> Self:
        """The process is stopped meanwhile, so that the files are of one moment, as in a snapshot
        of its disk."""
        backup = type(self)(
            self._world, name, folder=self._folder, past=self._past, keypair=self.keypair
        )
        async with self._running.stopped():
            for suffix in ("", "-wal"):
                if os.path.exists(f"{self.store}{suffix}"):
                    shutil.copyfile(f"{self.store}{suffix}", f"{backup.store}{suffix}")
        return backup

    # ---------------------------------------------------------------- what happens beside it

    async def _keep_looking(self) -> None:
        while True:
            await trio.sleep(LOOK_EVERY_S)
            await self.look_again()

    def _hear(self, told: Said) -> None:
        other = None if told["peer"] is None else PeerId(bytes.fromhex(told["peer"]))
        match told["event"], other:
            case "proven", bytes():
                self._hear_proof(other, told["seq"])
            case "lost", bytes():
                self._hear_loss(other, told["reason"])
            case "diverged", _:
                self._hear_divergence(other, told["status"], told["detail"])

    def _count_costs(self) -> None:
        """Keep what the life that has just ended had cost, as far as it was heard."""
        self._busted, self._undone = self.busted, self.undone_commands
        if self._glance is not None:
            self._past.messages += self._glance.messages
            self._past.message_bytes += self._glance.message_bytes

    @property
    def _running(self) -> ChildProcess:
        assert self._child is not None, f"{self.name} is down"
        return self._child


class RemotePeer:
    """What a trader needs of the peer in a process."""

    def __init__(self, child: ChildProcess, genesis: Genesis, peer_id: PeerId) -> None:
        self._child = child
        self._genesis = genesis
        self._peer_id = peer_id

    async def submit(self, command: Command, /) -> Placed:
        """Sign and store a command there. Raises what the peer raises."""
        instructions = to_instructions(command, self._genesis, self._peer_id)
        told = await self._child.ask("submit", commands=encode_payload(instructions).hex())
        return Placed(OrderId.parse(told))
