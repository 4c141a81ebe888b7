"""The demo as processes: each has a peer, a store on disk, and TLS links to the others.

This file decides what only processes can show (one is frozen with SIGSTOP, and the others give it
up and take it back), and when peers that cannot be looked into are judged: once all have said that
they are equal they leave and end, and `demo_stores` reads what they left. The stores lie in a
temporary folder, which stays only where something went wrong, or in one that the user names. It
promises that every process has ended when the play is over, however that comes about.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import trio

from gossipbook.cli.demo import MOST_PEERS, WATCH_S, Demo, Happening, Scenario
from gossipbook.cli.demo_glance import Glance
from gossipbook.cli.demo_process import ProcessEnded
from gossipbook.cli.demo_process_peer import Costs, ProcessPeer
from gossipbook.cli.demo_stores import find_fault_in_stores
from gossipbook.cli.ending import Ending, PeerLine, describe_one
from gossipbook.errors import UsageError

DEFAULT_ORDERS = 1_300
"""Twenty seconds."""

MOST_PROCESSES = 12
"""Each takes some 50 MB of memory; one more joins later."""

assert MOST_PROCESSES <= MOST_PEERS


class ProcessDemo(Demo[ProcessPeer]):
    """A run whose stores lie in `keep`, a folder that is empty or not there yet, and stay there;
    without it, in a temporary folder."""

    def __init__(
        self,
        scenario: Scenario,
        *,
        keep: Path | None = None,
        tell: Callable[[Happening], None] = lambda _: None,
        before_heal: Callable[[Demo[Any]], None] = lambda _: None,
    ) -> None:
        if not hasattr(signal, "SIGSTOP") or not hasattr(os, "waitid"):
            raise UsageError("this system cannot freeze a process; leave out --processes")
        self.folder = _make_folder(keep)
        self._keep = keep
        self._past = Costs()
        super().__init__(scenario, tell=tell, before_heal=before_heal)

    async def play(self) -> Ending:
        """All acts, and the judgement. Every process has ended when it returns."""
        stays = self._keep is not None
        try:
            ending = await self._play()
            if ending.failure:
                stays = True
                where = f"the stores and logs of the processes are in {self.folder}"
                return replace(ending, failure=f"{ending.failure}\n({where})")
            if stays:
                self._tell(f"the stores stay: gossipbook audit {self.peers[0].store}")
            return ending
        finally:
            if not stays:
                rmtree(self.folder, ignore_errors=True)

    async def _play(self) -> Ending:
        failure = ""
        try:
            return await super().play()
        except* ProcessEnded as group:
            failure = _first_of(group)
        return self._ending(failure, 0.0)

    # ---------------------------------------------------------------- what is counted

    @property
    def messages(self) -> int:
        return self._past.messages + sum(one.messages for one in self._glances())

    @property
    def messages_lost(self) -> None:
        return None

    @property
    def message_bytes(self) -> int:
        return self._past.message_bytes + sum(one.message_bytes for one in self._glances())

    def _glances(self) -> list[Glance]:
        return [one.glance for one in self.everybody if one.glance is not None]

    def _make_peer(self, name: str) -> ProcessPeer:
        return ProcessPeer(self._world, name, folder=self.folder, past=self._past)

    # ---------------------------------------------------------------- the acts

    async def _open_the_markets(self) -> None:
        first, *others = self.peers
        self._tell(
            f"{len(self.peers)} processes start, each with a store on disk; they are to find each "
            f"other over TLS and know only {first.name}'s address"
        )
        await self._start(first, [], alone=True)
        async with trio.open_nursery() as nursery:
            for one in others:
                nursery.start_soon(partial(self._start, one, [first], alone=True))
        while not all(one.linked for one in self._glances()):
            await trio.sleep(WATCH_S)
        self._tell(f"{first.name} listens at {first.address}; everybody trades {self._symbols}")
        self._world.bell.set()

    async def _cut_off_for_a_while(self) -> None:
        frozen = self.counterpart = self.peers[-1]
        frozen.freeze()
        self._tell(
            f"{frozen.name} (process {frozen.pid}) is frozen with SIGSTOP; its connections stand, "
            "and nobody is told"
        )
        assert self._nursery is not None
        self._nursery.start_soon(self._tell_when_given_up, frozen)
        await self.trading.until(44)
        self._before_heal(self)
        counts = {one.name: one.glance.entries for one in self.peers if one.glance is not None}
        missed = max(counts.values()) - counts[frozen.name]
        frozen.thaw()
        self._tell(f"{frozen.name} goes on with SIGCONT; it has missed {missed:,} entries")
        self._watch([frozen], f"{frozen.name} knows what it missed")
        await self.trading.until(50)

    async def _tell_when_given_up(self, frozen: ProcessPeer) -> None:
        since_s = trio.current_time()
        while frozen.activity == "frozen":
            if not any(frozen.keypair.peer_id in one.linked for one in self._glances()):
                took_s = trio.current_time() - since_s
                self._tell(f"nobody counts {frozen.name} among its peers now, {took_s:.2f} s later")
                return
            await trio.sleep(WATCH_S)

    # ---------------------------------------------------------------- the judgement

    async def _until_equal_and_proven(self) -> None:
        while True:
            glances = [await one.look_again() for one in self.correct]
            equal = len({(glance.root, glance.frontier_root) for glance in glances}) == 1
            if equal and all(glance.is_idle and glance.forks for glance in glances):
                return
            await trio.sleep(WATCH_S)

    async def _find_fault(self) -> str:
        for one in self.peers:
            one.tells_of_links = False
        async with trio.open_nursery() as nursery:
            for one in self.peers:
                nursery.start_soon(one.leave)
        self._tell(f"all {len(self.peers)} processes say goodbye and end; their stores are read")
        return await trio.to_thread.run_sync(find_fault_in_stores, self.correct)

    def _describe(self) -> str:
        return "\n".join(
            describe_one(
                one.name,
                entries=one.glance.entries,
                frontier_root=one.glance.frontier_root,
                root=one.glance.root,
                forked=one.glance.forks,
                links=len(one.glance.linked),
            )
            for one in self.correct
            if one.glance is not None
        )

    def _lines(self) -> list[PeerLine]:
        return [
            PeerLine(
                one.name,
                one.keypair.peer_id,
                correct=one is not self.cheated,
                entries=one.glance.entries,
                trades=one.glance.trades,
                busted=one.busted,
                proofs=len(one.glance.forks),
                root=one.glance.root,
            )
            for one in self.peers
            if one.glance is not None
        ]


# ---------------------------------------------------------------- helpers


def _make_folder(keep: Path | None) -> Path:
    """Where the stores go. Raises UsageError for a folder that holds something."""
    if keep is None:
        return Path(mkdtemp(prefix="gossipbook-demo-"))
    try:
        keep.mkdir(parents=True, exist_ok=True)
        in_it = next(keep.iterdir(), None)
    except OSError as error:
        raise UsageError(f"the folder {keep} cannot be used: {error.strerror}") from error
    if in_it is not None:
        raise UsageError(
            f"the folder {keep} holds {in_it.name} already; name an empty or a new one"
        )
    return keep


def _first_of(group: BaseExceptionGroup[ProcessEnded]) -> str:
    """What the first of them says."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)
