"""The same schedule twice: what was called on a simulated cluster, called again on trio peers.

``RecordingCluster`` is a ``Cluster`` that writes down its calls and when they came. ``TrioWorld``
plays such a recording with peers made by ``open_peer`` on a ``MemoryNetwork`` in trio's virtual
time: the same keys, orders, links, partitions, crashes and clocks at the same times. What is left
to chance (which message is lost, whom gossip picks) differs, so the two worlds must end equal for
better reasons than equal dice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import trio
from trio.testing import MockClock

import gossipbook as gb
from gossipbook.clocks import VIRTUAL_EPOCH_S
from gossipbook.sim import Cluster
from gossipbook.sim.cluster import DEFAULT_EPOCH_MS

assert DEFAULT_EPOCH_MS / 1000 == VIRTUAL_EPOCH_S, "both worlds start on the same day"


class Call(NamedTuple):
    """One call on a cluster."""

    at_us: int
    method: str
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    happened: bool  # False: a submit that was refused


RECORDED = (
    "submit",
    "submit_nowait",
    "partition",
    "heal",
    "set_link",
    "join",
    "leave",
    "crash",
    "restart",
    "set_clock_offset",
    "set_store_failing",
)


class RecordingCluster(Cluster):
    """A cluster that remembers what was asked of it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.start_count = len(self.peers)
        self.start_link = self.link
        self.calls: list[Call] = []


def _recording(method: str) -> Callable[..., Any]:
    def call(self: RecordingCluster, *arguments: Any, **options: Any) -> Any:
        at_us = self.now_us
        try:
            result = getattr(Cluster, method)(self, *arguments, **options)
        except gb.GossipbookError:
            self.calls.append(Call(at_us, method, arguments, options, False))
            raise
        self.calls.append(Call(at_us, method, arguments, options, True))
        return result

    return call


for _method in RECORDED:
    setattr(RecordingCluster, _method, _recording(_method))


@dataclass(eq=False)
class TrioPeer:
    """One peer's place in a ``TrioWorld``, over all its lives."""

    keypair: gb.Keypair
    transport: gb.MemoryTransport
    store: gb.MemoryStore = field(default_factory=gb.MemoryStore)
    offset_s: float = 0.0
    peer: gb.Peer | None = None
    scope: trio.CancelScope | None = None
    leaving: trio.Event = field(default_factory=trio.Event)
    ended: trio.Event = field(default_factory=trio.Event)


class TrioWorld:
    """Trio peers to which the calls of a recording are made again."""

    def __init__(self, cluster: RecordingCluster, nursery: trio.Nursery, *, seed: int) -> None:
        self.genesis = cluster.genesis
        self.network = gb.MemoryNetwork(seed=seed, link=cluster.start_link)
        self.peers: list[TrioPeer] = []
        self.delayed = 0
        """Submits that were not signed at the time at which the cluster signed them."""
        self.refused = 0
        self.receipts: list[gb.Receipt] = []
        self._keypairs = [peer.keypair for peer in cluster.peers]
        self._nursery = nursery
        self._seed = seed
        self._lives = 0

    async def start(self, count: int) -> None:
        """The peers that a cluster starts with: each knows those before it."""
        for index in range(count):
            self._add()
            await self._open(index, self._addresses(range(index)), alone=True)

    async def play(self, calls: Sequence[Call]) -> None:
        """Make the calls at their times."""
        for call in calls:
            await trio.sleep_until(call.at_us / 1e6)
            await getattr(self, f"_{call.method}")(call, *call.arguments, **call.options)
            await trio.testing.wait_all_tasks_blocked()

    @property
    def running(self) -> list[gb.Peer]:
        return [one.peer for one in self.peers if one.peer is not None]

    async def everybody_up(self) -> None:
        """Heal and mend everything, and start again who is down."""
        self.network.heal()
        self.network.set_link(gb.Link(latency=(0.02, 0.02)))
        for index, one in enumerate(self.peers):
            one.offset_s, one.store.failing = 0.0, False
            if one.peer is None:
                await self._open(index, self._others(index), alone=None)

    # ---------------------------------------------------------------- calls

    async def _submit(self, call: Call, index: int, command: Any) -> None:
        if not call.happened:
            return  # the cluster's peer was down or not confirmed
        peer = self.peers[index].peer
        assert peer is not None, f"peer {index} is down here and was up in the cluster"
        done = trio.Event()
        self._nursery.start_soon(self._submit_until_done, peer, command, done)
        await trio.testing.wait_all_tasks_blocked()
        self.delayed += not done.is_set()

    async def _submit_until_done(self, peer: gb.Peer, command: Any, done: trio.Event) -> None:
        try:
            receipts = await peer.submit(command)
        except (gb.OwnHeadUnconfirmed, gb.ClockError, gb.WriteRolledBack, gb.PeerClosed):
            self.refused += 1
        else:
            self.receipts += receipts if isinstance(receipts, list) else [receipts]
        done.set()

    async def _submit_nowait(self, call: Call, index: int, command: Any) -> None:
        await self._submit(call, index, command)

    async def _partition(self, _: Call, group: Sequence[int], *, one_way: bool = False) -> None:
        self.network.partition(self._addresses(group), one_way=one_way)

    async def _heal(self, _: Call) -> None:
        self.network.heal()

    async def _set_link(self, _: Call, link: gb.Link) -> None:
        self.network.set_link(link)

    async def _join(self, _: Call) -> None:
        index = self._add()
        await self._open(index, self._others(index), alone=True)

    async def _leave(self, _: Call, index: int) -> None:
        one = self.peers[index]
        if one.peer is not None:
            one.leaving.set()
            await one.ended.wait()

    async def _crash(self, _: Call, index: int) -> None:
        one = self.peers[index]
        if one.peer is not None:
            assert one.scope is not None
            one.scope.cancel()
            await one.ended.wait()

    async def _restart(self, _: Call, index: int, store: str = "kept") -> None:
        if store == "lost":
            self.peers[index].store = gb.MemoryStore()
        await self._open(index, self._others(index), alone=None)

    async def _set_clock_offset(self, _: Call, index: int, seconds: float) -> None:
        self.peers[index].offset_s = seconds

    async def _set_store_failing(self, _: Call, index: int, failing: bool) -> None:
        self.peers[index].store.failing = failing

    # ---------------------------------------------------------------- peers

    def _add(self) -> int:
        index = len(self.peers)
        transport = self.network.transport(str(index))
        self.peers.append(TrioPeer(self._keypairs[index], transport))
        return index

    async def _open(self, index: int, contacts: list[str], *, alone: bool | None) -> None:
        await self._nursery.start(self._live, self.peers[index], contacts, alone)

    async def _live(
        self,
        one: TrioPeer,
        contacts: list[str],
        alone: bool | None,
        task_status: trio.TaskStatus[None],
    ) -> None:
        one.leaving, one.ended = trio.Event(), trio.Event()
        self._lives += 1
        with trio.CancelScope() as one.scope:
            async with gb.open_peer(
                self.genesis,
                one.keypair,
                transport=one.transport,
                bootstrap=contacts,
                store=one.store,
                alone=alone,
                clock=lambda: VIRTUAL_EPOCH_S + trio.current_time() + one.offset_s,
                seed=self._seed * 1_000 + self._lives,
            ) as one.peer:
                task_status.started()
                await one.leaving.wait()
        one.peer = None
        one.ended.set()

    def _addresses(self, indices: Any) -> list[str]:
        return [str(index) for index in sorted(indices)]

    def _others(self, index: int) -> list[str]:
        return [
            str(other)
            for other, one in enumerate(self.peers)
            if other != index and one.peer is not None
        ]


def play_on_trio(
    cluster: RecordingCluster,
    judge: Callable[[TrioWorld], None],
    *,
    seed: int = 0,
    deadline_s: float = 120.0,
) -> None:
    """Play a cluster's recording on trio peers until these are equal, then ask the judge."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            world = TrioWorld(cluster, nursery, seed=seed)
            await world.start(cluster.start_count)
            await world.play(cluster.calls)
            await world.everybody_up()
            with trio.fail_after(deadline_s):
                await gb.wait_until_equal(world.running)
            judge(world)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))
