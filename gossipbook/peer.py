"""A peer on trio: open it, submit to it, read from it, listen to it.

This is the surface that applications use. ``open_peer`` puts together a protocol object, a store
and a transport, and a ``Driver`` that runs them; ``Peer`` translates between what users write
(commands with Decimals, ``async for``) and what the driver does. No rule of the protocol and no
task is here.

    open_peer --- store and transport open --- driver runs --- body --- goodbye --- closed
"""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import overload

import trio

from gossipbook.book.commands import Command
from gossipbook.book.payload import to_instructions
from gossipbook.clocks import default_clock
from gossipbook.driver import Driver
from gossipbook.errors import NotAMember, PeerClosed, UsageError
from gossipbook.genesis import Genesis
from gossipbook.gossip.config import GossipConfig
from gossipbook.gossip.interface import Address, LinkId, PeerEvent, PeerUp
from gossipbook.gossip.protocol import GossipProtocol
from gossipbook.histogram import Distribution
from gossipbook.identity import Keypair, PeerId, short
from gossipbook.link_status import LinkStatus
from gossipbook.log.verification import Verifier
from gossipbook.peer_view import PeerView, hold_equal_books
from gossipbook.randomness import SeededRandom
from gossipbook.receipts import Receipt, make_receipts
from gossipbook.replica import Replica, ReplicaSettings, Update
from gossipbook.storage.interface import Store
from gossipbook.storage.memory import MemoryStore
from gossipbook.storage.sqlite import SqliteStore
from gossipbook.subscriptions import Subscription
from gossipbook.transport.interface import Transport

POLL_S = 0.02


@asynccontextmanager
async def open_peer(
    genesis: Genesis,
    keypair: Keypair,
    *,
    transport: Transport | None = None,
    bootstrap: Iterable[str] = (),
    store: Store | str | os.PathLike[str] | None = None,
    alone: bool | None = None,
    clock: Callable[[], float] | None = None,
    config: GossipConfig | None = None,
    settings: ReplicaSettings | None = None,
    seed: int | None = None,
    verifier: Verifier | None = None,
) -> AsyncIterator[Peer]:
    """A running peer, for the length of the ``async with`` block.

    ``transport`` connects it to others (``MemoryNetwork.transport``); without one it is on its own.
    ``bootstrap`` names addresses to dial; peers tell each other of more. ``store`` keeps its logs:
    the path of a file, or a store; without one they are in memory and end with the block. With a
    bootstrap address, or a store that remembers other peers, ``submit`` waits until somebody has
    confirmed how long this key's log is. ``alone=True`` goes ahead without, for a key that nobody
    else has seen; ``alone=False`` waits although no address is known yet, where peers will be found
    later (``join``, a LAN) or will dial this one. ``clock`` gives seconds since 1970 (the
    machine's; under trio's MockClock it follows trio's). ``seed`` fixes whom this peer gossips
    with, for tests; trio's scheduler has a seed of its own. ``verifier`` may be shared by peers of
    one process, so that each signature is checked once for all of them.

    At the end of the block the peer says goodbye and closes, within about a second. An exception
    in the body arrives as itself; then, and when cancelled, the peer closes without goodbye. The
    peer runs until the body has ended, so a body that is cancelled may still submit inside a
    shielded scope (to cancel its orders, say). What was submitted is in the store either way.

    Raises NotAMember, StoreError, and UsageError for arguments that do not fit together.
    """
    _check_types(genesis, keypair)
    if not genesis.is_member(keypair.peer_id):
        raise NotAMember(
            f"{short(keypair.peer_id)} is not a member of {genesis.name!r}; open the peer with a "
            "member's key, or make a genesis that lists this one"
        )
    addresses = _addresses(bootstrap)
    if addresses and transport is None:
        raise UsageError("bootstrap addresses need a transport to dial them with; pass transport=")
    failure: BaseException | None = None
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(_store(store).open(genesis, keypair.peer_id))
        endpoint = None
        if transport is not None:
            endpoint = await stack.enter_async_context(transport.open(genesis, keypair))
        protocol = GossipProtocol(
            genesis,
            keypair,
            random=SeededRandom(secrets.token_bytes(32) if seed is None else seed),
            bootstrap=addresses,
            stored=opened.stored,
            alone=alone,
            config=config,
            settings=settings,
        )
        driver = Driver(
            protocol,
            store=opened,
            endpoint=endpoint,
            clock=clock or default_clock(),
            verifier=verifier or Verifier(),
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(driver.run)
            with trio.CancelScope(shield=True):
                await driver.started.wait()
            peer = Peer(driver, keypair.peer_id, None if endpoint is None else endpoint.address)
            driver.log.opened(genesis.name, peer.address, **_sizes(peer))
            try:
                yield peer
            except BaseException as error:  # passed on below, outside the nursery: as itself
                failure = error
            with trio.CancelScope(shield=True):
                await driver.close(orderly=failure is None)
            driver.log.closed(**_sizes(peer))
    if failure is not None:
        raise failure


class Peer(PeerView):
    """A peer that runs. ``open_peer`` makes it; reading goes on working after it is closed."""

    def __init__(self, driver: Driver, peer_id: PeerId, address: Address | None) -> None:
        self._driver = driver
        self.peer_id = peer_id
        self.address = None if address is None else address.decode()
        """Where others can dial this peer; None without a transport."""

    @property
    def damage(self) -> tuple[str, ...]:
        """What was found damaged in the store when it was opened, in words. Others' entries come
        back from peers; where our own log is damaged, ``submit`` waits until peers gave it back."""
        return tuple(self._driver.damage)

    def __repr__(self) -> str:
        links = len(self.peers())
        state = "closed" if self._driver.closed else f"{links} link{'s' * (links != 1)}"
        return f"<Peer {short(self.peer_id)}, {self.entry_count} entries, {state}>"

    @overload
    async def submit(self, command: Command) -> Receipt: ...

    @overload
    async def submit(self, command: Sequence[Command]) -> list[Receipt]: ...

    async def submit(self, command: Command | Sequence[Command]) -> Receipt | list[Receipt]:
        """Place, cancel or replace orders: one command, or a list of up to 256.

        Returns when the store holds it: a receipt, or one per command. A list is one entry, all or
        nothing, in this order. Submits that arrive while another is being written share an entry.
        What the book makes of a command, ``order`` and ``commands`` tell: a cancel that comes too
        late is no error here.

        Raises UsageError for what no state of the book could make right (InvalidCommand,
        UnknownMarket); OwnHeadUnconfirmed where nobody confirms within 5 s how long our log is;
        ClockError, IdentityForked, WriteRolledBack, PeerClosed. Nothing is submitted then. Only
        after WriteUndecided (the disk failed) it is not known yet: what is on it stands.

        Cancelled means not submitted: once the commands are in an entry, the call goes on until the
        store has answered, and returns the receipt.
        """
        genesis = self.genesis
        instructions = to_instructions(command, genesis, self.peer_id)
        submitted = await self._driver.submit(instructions)
        receipts = make_receipts(
            instructions,
            genesis,
            self.peer_id,
            entry_id=submitted.entry_id,
            seq=submitted.seq,
            first_index=submitted.first_index,
            seen_by=self.running.seen_by,
        )
        return receipts if isinstance(command, list | tuple) else receipts[0]

    @asynccontextmanager
    async def subscribe(
        self, market: str | None = None, *, buffer: int = 256, history: bool = True
    ) -> AsyncIterator[Subscription[Update]]:
        """The history of a market (or of all), then every change to it, without a gap.

        ``async for update in updates``: first one Update from position 0 for each market, taken
        before the body runs; then net changes: take back ``update.undone`` and add
        ``update.events``. A trade in ``undone`` is busted. What rests of an order is a sum over its
        events (see ``Replaced``), so their order does not matter. Iteration ends when the peer is
        closed. A reader more than ``buffer`` updates behind gets the ones it still has, then
        SubscriberLagged. ``history=False`` leaves the first ones out and begins with what comes
        from now on: making the events of 100,000 old orders takes seconds. ``undone`` may then name
        events that were never told.

        Raises UnknownMarket, PeerClosed. Cancelling leaves nothing behind.
        """
        if market is not None:
            self.genesis.market_index(market)
        await trio.lowlevel.checkpoint()
        self._require_open()
        replica = self._settled()
        told = replica.snapshot() if history else []
        snapshot = [one for one in told if market in (None, one.market)]
        wants = None if market is None else lambda update: update.market == market
        subscription = Subscription(buffer, snapshot, wants)
        replica.watched = True
        audience = self._driver.updates
        audience.add(subscription)
        try:
            yield subscription
        finally:
            audience.remove(subscription)
            replica.watched = len(audience) > 0

    @asynccontextmanager
    async def events(self, *, buffer: int = 256) -> AsyncIterator[Subscription[PeerEvent]]:
        """What happens to this peer besides trading, from now on: PeerUp and DialRefused (first
        those that hold already), PeerDown, ForkProven, ClockSkew, Divergence.

        Ends, lags and is cancelled as ``subscribe``. Raises PeerClosed.
        """
        await trio.lowlevel.checkpoint()
        self._require_open()
        standing: list[PeerEvent] = [*map(PeerUp, self.peers()), *self._driver.refusals]
        subscription: Subscription[PeerEvent] = Subscription(buffer, standing)
        audience = self._driver.events
        audience.add(subscription)
        try:
            yield subscription
        finally:
            audience.remove(subscription)

    @property
    def can_dial(self) -> bool:
        """Whether it has a transport to dial others with."""
        return self._driver.can_dial

    def join(self, address: str, *, peer_id: PeerId | None = None) -> None:
        """Dial this address, too: now, and whenever no link to the peer there stands.

        It counts as one of the ``bootstrap`` addresses. With ``peer_id`` it is hearsay: that this
        peer can be found there; it is dialled when a link is wanted, and forgotten when nobody
        answers for long. Naming an address twice changes nothing. Returns at once; that the peer is
        linked, ``events`` tells. Raises PeerClosed, and UsageError for what is no address.
        """
        self._require_open()
        (dialled,) = _addresses([address])
        if not self.can_dial:
            raise UsageError(f"join({address!r}) needs a transport to dial with; pass transport=")
        self._driver.join(dialled, peer_id)

    def peers(self) -> list[PeerId]:
        """The peers it has links to, sorted; none when it is closed."""
        return [] if self._driver.closed else super().peers()

    def links(self) -> list[LinkStatus]:
        """How each link stands now, sorted by peer; none when it is closed. Costs a look-up per
        link and author."""
        return [] if self._driver.closed else super().links()

    @property
    def running(self) -> GossipProtocol:
        """The protocol object, for who looks inside. Give it no inputs."""
        return self._driver.protocol

    def _settled(self) -> Replica:
        self._driver.settle()
        return self._driver.protocol.replica

    def _queue_drops(self) -> int:
        return self._driver.queue_drops

    def _queued_bytes(self, link: LinkId) -> int:
        return self._driver.queued_bytes(link)

    def _commit_times(self) -> Distribution:
        return self._driver.commits.distribution()

    def _require_open(self) -> None:
        if self._driver.closed:
            raise PeerClosed("this peer is closed; its `async with` block has ended")


async def wait_until_equal(peers: Iterable[Peer]) -> None:
    """Return when all these peers hold the same entries and the same books.

    Without a timeout it may wait for ever (a peer that is cut off): bring one, such as
    ``with trio.fail_after(10)``. Cancelling it changes nothing.
    """
    waiting = list(peers)
    while not hold_equal_books(waiting):
        await trio.sleep(POLL_S)
    await trio.lowlevel.checkpoint()


def _store(store: Store | str | os.PathLike[str] | None) -> Store:
    if store is None:
        return MemoryStore()
    return SqliteStore(store) if isinstance(store, str | os.PathLike) else store


def _sizes(peer: Peer) -> dict[str, int]:
    return {"entries": peer.entry_count, "authors": len(peer.replica.frontier)}


def _addresses(bootstrap: Iterable[str]) -> list[Address]:
    if isinstance(bootstrap, str):
        raise UsageError(f"bootstrap={bootstrap!r}; give a list of addresses: [{bootstrap!r}]")
    addresses = list(bootstrap)
    for address in addresses:
        if not isinstance(address, str) or not address:
            raise UsageError(f"bootstrap address {address!r}; give text, such as peer.address")
    return [address.encode() for address in addresses]


def _check_types(genesis: object, keypair: object) -> None:
    if not isinstance(genesis, Genesis):
        raise UsageError(f"open_peer({genesis!r}, ...): the first argument is a Genesis")
    if not isinstance(keypair, Keypair):
        raise UsageError(
            f"open_peer(genesis, {type(keypair).__name__}): the second argument is a Keypair, "
            "such as Keypair.generate()"
        )
