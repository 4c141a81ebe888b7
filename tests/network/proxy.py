"""A TCP proxy in front of one listener, through which everybody dials it, and which fails on order.

    dialler --- connection ---> FaultProxy "bob" --- connection ---> bob's own port
                                  |  Ways.between("alice", "bob")  ->
                                  |  Ways.between("bob", "alice")  <-

Bytes go through as ``Ways`` says for this pair of peers (``ways.py``). Besides, a proxy breaks
connections (``cut``, with RST at both ends), and its own port can refuse (RST) or be deaf: a SYN
then gets no answer at all, as on a machine that is switched off.

Who dials is found by the process that has the other end of the connection (Linux only). Chance
comes from a seed; how it falls together with real time does not. It knows nothing of TLS or peers.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import trio
from network.ways import Ways

CHUNK_BYTES = 65_536
CHUNKS_UNDER_WAY = 64
"""So much fits into a direction; then the sender is kept waiting, as by a full window."""
BACKLOG = 128
SYN_ANSWERED_S = 0.1
"""A loopback connection that takes longer to be made is in nobody's backlog."""

STRANGER = "?"
"""The dialler that nobody knows the name of."""

Chunk = tuple[float, bytes]
"""When it may go on, on trio's clock, and what; nothing for the end of the stream."""


class FaultProxy:
    """The proxy. ``run`` serves until it is cancelled; then everything is broken off."""

    def __init__(
        self,
        name: str,
        target: tuple[str, int],
        *,
        ways: Ways,
        seed: int = 0,
        name_dialler: Callable[[int], str] = lambda port: STRANGER,
    ) -> None:
        self.name = name
        self.ways = ways
        self.target = target
        self._random = Random(f"proxy {name} {seed}")
        self._name_dialler = name_dialler
        self._socket = trio.socket.socket()
        self._fillers: dict[int, socket.socket] = {}  # by their port
        self._connections: list[ProxiedConnection] = []
        self._refusing = False
        self._may_accept = trio.Event()
        self._may_accept.set()
        self._accepting = trio.CancelScope()
        self.port = 0

    @property
    def address(self) -> str:
        """Where to dial instead of the listener itself."""
        return f"127.0.0.1:{self.port}"

    @property
    def connections(self) -> list[ProxiedConnection]:
        """Those that stand."""
        return [one for one in self._connections if not one.closed]

    async def bind(self) -> None:
        """Get a port; ``run`` does it if it was not done before."""
        await self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(BACKLOG)
        self.port = self._socket.getsockname()[1]

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        if not self.port:
            await self.bind()
        task_status.started()
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    await self._may_accept.wait()
                    with trio.CancelScope() as self._accepting:
                        accepted, (_, port) = await self._socket.accept()
                        self._take(nursery, accepted, port)
        finally:
            self._close_fillers()
            self.cut()
            self._socket.close()

    def _take(self, nursery: trio.Nursery, accepted: trio.socket.SocketType, port: int) -> None:
        stream = trio.SocketStream(accepted)
        filler = self._fillers.pop(port, None)
        if filler is not None:
            filler.close()
        if filler is not None or self._refusing:
            _reset(stream)
            return
        connection = ProxiedConnection(
            self, stream, self._name_dialler(port), self._random.random()
        )
        self._connections = [*self.connections, connection]
        nursery.start_soon(connection.run)

    # ---------------------------------------------------------------- faults

    def cut(self, *, dialler: str | None = None) -> int:
        """Break all connections, or those that ``dialler`` made; how many there were."""
        broken = [one for one in self.connections if dialler in (None, one.dialler)]
        for one in broken:
            one.cut()
        return len(broken)

    def refuse(self) -> None:
        """Reset whoever dials."""
        self._refusing = True

    async def be_deaf(self) -> None:
        """Answer no SYN: the backlog is as short as it can be, and full."""
        self._may_accept = trio.Event()
        self._accepting.cancel()
        self._socket.listen(0)
        for _ in range(BACKLOG):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", self.port))
            with trio.move_on_after(SYN_ANSWERED_S) as limit:
                await trio.lowlevel.wait_writable(filler)
            if limit.cancelled_caught:
                filler.close()
                return
            self._fillers[filler.getsockname()[1]] = filler
        raise RuntimeError(f"the backlog of port {self.port} took {BACKLOG} connections")

    def listen_again(self) -> None:
        """Neither refuse nor be deaf."""
        self._refusing = False
        self._socket.listen(BACKLOG)
        self._close_fillers()
        self._may_accept.set()

    def _close_fillers(self) -> None:
        """They are still in the backlog: `_take` knows them by their ports."""
        for filler in self._fillers.values():
            filler.close()


@dataclass(eq=False)
class ProxiedConnection:
    """A connection that somebody made to a proxy, and the one that the proxy made in turn."""

    proxy: FaultProxy
    _near: trio.SocketStream
    dialler: str
    _chance: float
    closed: bool = False
    _far: trio.SocketStream | None = None
    _scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    async def run(self) -> None:
        """Carry bytes until both streams have ended or one is broken."""
        try:
            with self._scope:
                await self._run()
        finally:
            self.cut()

    async def _run(self) -> None:
        ways, listener = self.proxy.ways, self.proxy.name
        lasts_s = ways.between(self.dialler, listener).lasts_s
        if lasts_s is not None:
            self._scope.deadline = trio.current_time() + _between(lasts_s, self._chance)
        await ways.until_open(self.dialler, listener)
        try:
            self._far = await trio.open_tcp_stream(*self.proxy.target)
        except OSError:
            return  # nobody listens: broken off, which is all that a dialler can be told
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._carry, self._near, self._far, self.dialler, listener)
            nursery.start_soon(self._carry, self._far, self._near, listener, self.dialler)
        self.closed = True
        for stream in (self._near, self._far):
            stream.socket.close()  # with what is still in its buffers

    async def _carry(
        self, source: trio.SocketStream, sink: trio.SocketStream, sender: str, receiver: str
    ) -> None:
        arrived, leaving = trio.open_memory_channel[Chunk](CHUNKS_UNDER_WAY)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, source, arrived, sender, receiver)
                nursery.start_soon(self._write, leaving, sink, sender, receiver)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            await self.proxy.ways.until_open(sender, receiver)  # news of it is held, too
            self.cut()

    async def _read(
        self,
        source: trio.SocketStream,
        arrived: trio.MemorySendChannel[Chunk],
        sender: str,
        receiver: str,
    ) -> None:
        random, leaves_s = Random(self._chance), 0.0
        while True:
            data = await source.receive_some(CHUNK_BYTES)
            way = self.proxy.ways.between(sender, receiver)
            if not way.swallowed:
                due_s = trio.current_time() + _between(way.delay_s, random.random())
                leaves_s = max(leaves_s, due_s) + len(data) / way.bytes_per_s
                await arrived.send((leaves_s, data))
            if not data:
                if way.swallowed:
                    await trio.sleep_forever()
                return

    async def _write(
        self,
        leaving: trio.MemoryReceiveChannel[Chunk],
        sink: trio.SocketStream,
        sender: str,
        receiver: str,
    ) -> None:
        async for leaves_s, data in leaving:
            await trio.sleep_until(leaves_s)
            await self.proxy.ways.until_open(sender, receiver)
            if not data:
                await sink.send_eof()
                return
            await sink.send_all(data)

    def cut(self) -> None:
        """Break it: both ends are reset."""
        self.closed = True
        self._scope.cancel()
        for stream in (self._near, self._far):
            if stream is not None:
                _reset(stream)


def free_port() -> tuple[socket.socket, int]:
    """A port of the loopback address, kept for whoever listens on it with SO_REUSEADDR: nobody
    else is given it while the socket, which listens for nothing itself, is open."""
    keeper = socket.socket()
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keeper.bind(("127.0.0.1", 0))
    return keeper, keeper.getsockname()[1]


def process_at(port: int, pids: Mapping[str, int]) -> str:
    """The name of the process, out of those given, that has dialled from this loopback port."""
    wanted = f"socket:[{_inode_of(port)}]"
    for name, pid in pids.items():
        try:
            with os.scandir(f"/proc/{pid}/fd") as open_files:
                if any(_target(file) == wanted for file in open_files):
                    return name
        except OSError:
            continue  # it has ended
    return STRANGER


def _inode_of(port: int) -> int:
    """Of the socket at this port that is connected; 0 where there is none."""
    local, listening = f"0100007F:{port:04X}", "0A"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == local and fields[3] != listening:
            return int(fields[9])
    return 0


def _target(file: os.DirEntry[str]) -> str:
    try:
        return os.readlink(file.path)
    except OSError:
        return ""  # closed meanwhile


def _between(bounds: tuple[float, float], chance: float) -> float:
    low, high = bounds
    return low + (high - low) * chance


def _reset(stream: trio.SocketStream) -> None:
    """Close it with RST, whatever is still in its buffers."""
    if stream.socket.fileno() != -1:
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.socket.close()
