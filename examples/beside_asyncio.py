"""A peer beside an asyncio program: trio runs in a thread of its own.

    python examples/beside_asyncio.py

An asyncio program submits orders, reads a book, follows updates and gives up waiting. The peers
belong to trio, so trio gets a thread, and ``TrioThread`` carries calls there and answers back. It
knows nothing of order books; copy it as it is.

Why not trio's guest mode, which runs both loops in one thread? The bridge would be as long, since
neither loop can await what belongs to the other. And in one thread a peer that replays late orders
would keep every asyncio task waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Generic, TypeVar

import trio

import gossipbook as gb

GENESIS = gb.Genesis("beside asyncio", [gb.Market("TEA", tick_size="0.05")])

T = TypeVar("T")


# ---------------------------------------------------------------- the asyncio program


async def main() -> None:
    network = gb.MemoryNetwork(link=gb.Link(latency=(0.005, 0.05)))
    at_alice, at_bob = network.transport("alice"), network.transport("bob")
    alices, bobs = gb.Keypair.generate(), gb.Keypair.generate()
    async with (
        TrioThread.start() as trio_thread,
        trio_thread.enter(gb.open_peer(GENESIS, alices, transport=at_alice)) as alice,
        trio_thread.enter(
            gb.open_peer(GENESIS, bobs, transport=at_bob, bootstrap=["alice"])
        ) as bob,
        asyncio.timeout(20),
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(listen(trio_thread, alice))
        await trade(trio_thread, alice, bob)
    print("both peers are closed, and the thread has ended")


async def trade(trio_thread: TrioThread, alice: gb.Peer, bob: gb.Peer) -> None:
    """Call the peers' coroutine functions with ``run``, all others with ``run_sync``."""
    offer = gb.LimitOrder("TEA", "sell", price="9.50", quantity=10)
    receipt = await trio_thread.run(alice.submit, offer)
    print(f"alice's offer is stored as order {receipt.order_id.seq} of her log")

    try:
        await trio_thread.run(bob.submit, gb.LimitOrder("TEA", "buy", price="9.52", quantity=4))
    except gb.InvalidCommand as error:
        print(f"bob is refused: {error}")

    await trio_thread.run(gb.wait_until_equal, [alice, bob])
    await trio_thread.run(bob.submit, gb.LimitOrder("TEA", "buy", price="9.55", quantity=4))
    book = await trio_thread.run_sync(bob.book, "TEA")
    print(f"bob buys, and in his book {book.asks[0].quantity} are left")


async def listen(trio_thread: TrioThread, alice: gb.Peer) -> None:
    async with trio_thread.iterate(alice.subscribe("TEA")) as updates:
        async for update in updates:
            trades = [event for event in update.events if isinstance(event, gb.Trade)]
            for trade in trades:
                print(f"alice is told: {trade.quantity} traded at {trade.price}")
            if trades:
                break
        try:
            async with asyncio.timeout(0.1):
                await anext(updates)
        except TimeoutError:
            print("alice waits for another update, and gives up")


# ---------------------------------------------------------------- the bridge


class TrioThread:
    """Trio in a thread, for an asyncio program.

    Whatever belongs to trio is used through here: coroutine functions with ``run``, plain ones
    with ``run_sync``, context managers with ``enter``, subscriptions with ``iterate``. What a peer
    hands out is plain data and can be read anywhere, but for ``book.root`` and
    ``receipt.seen_by()``, which look into the peer again.
    """

    def __init__(self, token: trio.lowlevel.TrioToken, nursery: trio.Nursery) -> None:
        self._token = token
        self._nursery = nursery
        self._loop = asyncio.get_running_loop()
        self._closed = False

    @classmethod
    @asynccontextmanager
    async def start(cls) -> AsyncIterator[TrioThread]:
        """Run the thread for the length of the block; what is left there is cancelled."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[TrioThread] = loop.create_future()

        async def serve() -> None:
            async with trio.open_nursery() as nursery:
                token = trio.lowlevel.current_trio_token()
                loop.call_soon_threadsafe(lambda: ready.set_result(cls(token, nursery)))
                await trio.sleep_forever()

        serving = asyncio.create_task(asyncio.to_thread(trio.run, serve))
        try:
            yield await opened_by(serving, ready)
        finally:
            ready.add_done_callback(lambda ready: ready.result()._close())
            await asyncio.shield(serving)

    async def run(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Await ``function(*args)`` over there. What it returns or raises arrives as itself.

        Cancelling this cancels it there, and waits until it has ended. It may have done its work
        all the same: after CancelledError, an order that was being stored stands. Who has to know
        makes a task of this call, waits for ``asyncio.shield(task)``, and asks the task.
        """
        if self._closed:
            raise RuntimeError("this TrioThread is closed; use it inside its `async with` block")
        answer: asyncio.Future[T] = self._loop.create_future()
        scope = trio.CancelScope()
        self._token.run_sync_soon(
            self._nursery.start_soon, self._answer, answer, scope, function, args
        )
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            self._soon(scope.cancel)
            answer.add_done_callback(asyncio.Future.exception)  # nobody else looks at it now
            await asyncio.wait([answer])
            raise

    async def run_sync(self, function: Callable[..., T], *args: Any) -> T:
        """Call ``function(*args)`` over there."""

        async def call() -> T:
            return function(*args)

        return await self.run(call)

    @asynccontextmanager
    async def enter(self, manager: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
        """Hold a context manager of trio's open over there, for the length of the block.

        One trio task enters and leaves it. It is left by cancellation where this block fails.
        """
        entered: asyncio.Future[T] = self._loop.create_future()
        leave = trio.Event()

        async def hold() -> None:
            async with manager as value:
                self._loop.call_soon_threadsafe(entered.set_result, value)
                await leave.wait()

        holding = asyncio.create_task(self.run(hold))
        try:
            yield await opened_by(holding, entered)
        except BaseException:
            holding.cancel()
            await asyncio.wait([holding])
            raise
        self._soon(leave.set)
        await holding

    @asynccontextmanager
    async def iterate(
        self, manager: AbstractAsyncContextManager[AsyncIterator[T]]
    ) -> AsyncIterator[AsyncIterator[T]]:
        """Iterate here over what the context manager gives there, such as a subscription."""
        async with self.enter(manager) as source:
            items = _Items(self, source)
            try:
                yield items
            finally:
                await items.close()

    async def _answer(
        self,
        answer: asyncio.Future[T],
        scope: trio.CancelScope,
        function: Callable[..., Awaitable[T]],
        args: tuple[Any, ...],
    ) -> None:
        with scope:
            try:
                result = await function(*args)
            except trio.Cancelled:
                error = RuntimeError("the TrioThread was closed before this call had ended")
                self._loop.call_soon_threadsafe(answer.set_exception, error)
                raise
            except BaseException as error:
                self._loop.call_soon_threadsafe(answer.set_exception, error)
            else:
                self._loop.call_soon_threadsafe(answer.set_result, result)

    def _soon(self, function: Callable[..., Any], *args: Any) -> None:
        """Call it over there, unless all has ended there anyway."""
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(function, *args)

    def _close(self) -> None:
        self._closed = True
        self._soon(self._nursery.cancel_scope.cancel)


class _Items(Generic[T]):
    """Fetches one item after another; one task reads. Cancelling that loses nothing: an item that
    was under way is the next one."""

    def __init__(self, trio_thread: TrioThread, source: AsyncIterator[T]) -> None:
        self._trio_thread = trio_thread
        self._source = source
        self._next: asyncio.Task[T] | None = None

    def __aiter__(self) -> _Items[T]:
        return self

    async def __anext__(self) -> T:
        if self._next is None:
            self._next = asyncio.create_task(self._trio_thread.run(anext, self._source))
        await asyncio.wait([self._next])
        fetched, self._next = self._next, None
        return fetched.result()

    async def close(self) -> None:
        if self._next is not None:
            self._next.cancel()
            await asyncio.wait([self._next])


async def opened_by(task: asyncio.Task[Any], opened: asyncio.Future[T]) -> T:
    """What a task opens; raises what keeps it from doing so."""
    await asyncio.wait([task, opened], return_when=asyncio.FIRST_COMPLETED)
    if not opened.done():
        await task
    return opened.result()


if __name__ == "__main__":
    asyncio.run(main())
