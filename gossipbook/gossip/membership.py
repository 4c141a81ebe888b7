"""Which peers there are, whom to dial next, and whom to forget.

Peers are learnt from bootstrap addresses, from each other and from links that stand. A peer that
cannot be reached is tried again at growing intervals and in the end forgotten; a bootstrap
address is tried for ever, so two halves of a network find each other after any partition. Nothing
here raises: a dead peer is nobody's error.
"""

from dataclasses import dataclass

from gossipbook.gossip.config import GossipConfig
from gossipbook.gossip.interface import Address
from gossipbook.gossip.sampling import jittered, random_subset
from gossipbook.identity import PeerId
from gossipbook.randomness import SeededRandom


@dataclass(slots=True)
class KnownPeer:
    """One address, and what we know about it. ``peer_id`` is None until it was reached."""

    address: Address
    peer_id: PeerId | None
    bootstrap: bool
    failures: int = 0
    answers: bool = True
    """Whether the latest that we know of it is good: it was not tried, or a link came of it."""
    not_before_us: int = 0


class AddressBook:
    """The peers that could be dialled, bounded."""

    def __init__(self, own_id: PeerId, config: GossipConfig, random: SeededRandom) -> None:
        self._own_id = own_id
        self._config = config
        self._random = random
        self._peers: dict[Address, KnownPeer] = {}
        self._by_id: dict[PeerId, Address] = {}
        self._nameless_count = 0  # addresses that were never reached
        self._banned_until_us: dict[PeerId, int] = {}

    def __len__(self) -> int:
        return len(self._peers)

    def add_bootstrap(self, address: Address) -> None:
        if address not in self._peers:
            self._peers[address] = KnownPeer(address, None, bootstrap=True)
            self._nameless_count += 1

    def learn(self, peer_id: PeerId, address: Address) -> None:
        """Somebody says that ``peer_id`` can be dialled at ``address``.

        That counts where nothing is known that answers. A liar gains little: what it names fails
        in its turn, and then others are believed.
        """
        if peer_id == self._own_id or self._by_id.get(peer_id) == address:
            return
        if address in self._peers:
            return  # hearsay: it could keep us from a bootstrap address that we never reached
        old = self._by_id.get(peer_id)
        if old is not None:
            if self._peers[old].answers:
                return
            if not self._peers[old].bootstrap:
                self._remove(old)
        if len(self._peers) < self._config.address_book_limit:
            self._peers[address] = KnownPeer(address, peer_id, bootstrap=False)
            self._by_id[peer_id] = address

    def claimed(self, peer_id: PeerId, address: Address) -> None:
        """``peer_id``, linked and proven, says that it can be dialled at ``address``: that outranks
        what others say, and it lives. It cannot take a bootstrap address nor another's."""
        old = self._by_id.get(peer_id)
        if old == address:
            self._peers[address].answers = True
            return
        if old is not None and address not in self._peers:
            if self._peers[old].bootstrap:
                del self._by_id[peer_id]
            else:
                self._remove(old)
        self.learn(peer_id, address)

    def reached(self, peer_id: PeerId, address: Address) -> None:
        """``peer_id`` proved to be at ``address``: this outranks what others say."""
        old = self._by_id.get(peer_id)
        if old is not None and old != address and not self._peers[old].bootstrap:
            self._remove(old)  # a bootstrap address may well be another name of the same peer
        known = self._peers.get(address)
        if known is None:
            known = self._peers[address] = KnownPeer(address, peer_id, bootstrap=False)
        elif known.peer_id is None:
            self._nameless_count -= 1
        elif known.peer_id != peer_id:
            self._unname(known.peer_id, address)
        known.peer_id = peer_id
        known.answers = True
        self._by_id[peer_id] = address

    def stood(self, peer_id: PeerId) -> None:
        """A link to the peer has stood for a while: what failed before is forgiven. Not at once:
        who takes every link and drops it would be dialled twice a second for ever."""
        address = self._by_id.get(peer_id)
        if address is not None:
            self._peers[address].failures = 0

    def is_own(self, address: Address) -> None:
        """Who was dialled there is ourselves: it is no peer's address, named or not."""
        known = self._peers.get(address)
        if known is not None:
            self._nameless_count -= known.peer_id is None
            self._remove(address)

    def failed(self, address: Address, now_us: int) -> None:
        """A dial failed, or the link was given up for dead."""
        known = self._peers.get(address)
        if known is None:
            return
        known.failures += 1
        known.answers = False
        forget = known.failures >= self._config.forget_after_failures
        if forget and not known.bootstrap and len(self._peers) > self._config.link_target:
            self._remove(address)
            return
        pause = min(
            self._config.dial_backoff_us << min(known.failures, 16),
            self._config.dial_backoff_limit_us,
        )
        known.not_before_us = now_us + jittered(pause, self._random)

    def left(self, peer_id: PeerId, now_us: int) -> None:
        """The peer said goodbye: forget it. A bootstrap address is only left alone for long, and so
        is one of the last that we know: the peer may come back, and nobody else would tell us."""
        address = self._by_id.get(peer_id)
        if address is None:
            return
        if self._peers[address].bootstrap or len(self._peers) <= self._config.link_target:
            self._peers[address].failures += 1
            self._peers[address].answers = False
            self._peers[address].not_before_us = now_us + self._config.dial_backoff_limit_us
        else:
            self._remove(address)

    def ban(self, peer_id: PeerId, now_us: int) -> None:
        """The peer broke a rule: have nothing to do with it for a while."""
        self._banned_until_us[peer_id] = now_us + self._config.ban_us
        while len(self._banned_until_us) > self._config.address_book_limit:
            del self._banned_until_us[next(iter(self._banned_until_us))]

    def is_banned(self, peer_id: PeerId, now_us: int) -> bool:
        return self._banned_until_us.get(peer_id, 0) > now_us

    def is_bootstrap(self, address: Address) -> bool:
        """Whether the user named the address."""
        known = self._peers.get(address)
        return known is not None and known.bootstrap

    def address_of(self, peer_id: PeerId) -> Address | None:
        return self._by_id.get(peer_id)

    def candidates(
        self, linked: set[PeerId], dialling: set[Address], now_us: int
    ) -> list[KnownPeer]:
        """The peers that may be dialled now, in the order in which they were learnt."""
        return [
            known
            for known in self._peers.values()
            if known.address not in dialling
            and known.not_before_us <= now_us
            and (
                known.peer_id is None
                or (known.peer_id not in linked and not self.is_banned(known.peer_id, now_us))
            )
        ]

    def next_due_us(self, linked: set[PeerId], dialling: set[Address]) -> int | None:
        """When the next peer that is not linked may be dialled."""
        return min(
            (
                known.not_before_us
                if known.peer_id is None
                else max(known.not_before_us, self._banned_until_us.get(known.peer_id, 0))
                for known in self._peers.values()
                if known.address not in dialling
                and (known.peer_id is None or known.peer_id not in linked)
            ),
            default=None,
        )

    def sample(self, count: int, *, leave_out: PeerId) -> list[tuple[PeerId, Address]]:
        """Random peers to tell ``leave_out`` about."""
        known = [
            (peer.peer_id, peer.address)
            for peer in self._peers.values()
            if peer.peer_id is not None and peer.peer_id != leave_out and peer.answers
        ]
        return random_subset(known, count, self._random)

    @property
    def peer_count(self) -> int:
        """How many peers are known, reached or not; two addresses may lead to one peer."""
        return len(self._by_id) + self._nameless_count

    def _remove(self, address: Address) -> None:
        known = self._peers.pop(address)
        if known.peer_id is not None:
            self._unname(known.peer_id, address)

    def _unname(self, peer_id: PeerId, address: Address) -> None:
        if self._by_id.get(peer_id) == address:
            del self._by_id[peer_id]
