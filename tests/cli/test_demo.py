"""The demo's story in virtual time: every act bites, it ends well, and a bad end is told."""

import pytest
import trio
from trio.testing import MockClock

import gossipbook as gb
from gossipbook.cli import demo as module
from gossipbook.cli import demo_memory, traders
from gossipbook.cli.demo import Scenario
from gossipbook.cli.demo_memory import MemoryDemo
from gossipbook.cli.demo_view import take_view
from gossipbook.randomness import SeededRandom


class Played:
    """A run, and what could be seen while the partition lasted."""

    def __init__(self, scenario, tell=lambda _: None):
        self.views = []

        async def main():
            self.demo = MemoryDemo(
                scenario,
                tell=tell,
                before_heal=lambda demo: self.views.append(take_view(demo)),
            )
            self.ending = await self.demo.play()

        trio.run(main, clock=MockClock(autojump_threshold=0))

    @property
    def words(self):
        return "\n".join(happening.what for happening in self.demo.story)


SMALL = Scenario(peers=4, orders=100, markets=2, seed=3)


@pytest.fixture(scope="module")
def slow():
    """So slow that the partition lasts longer than peers need to agree on their own side."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(traders, "PAUSE_MS", (200, 600))
        return Played(SMALL)


def test_the_acts_come_in_order_and_it_ends_well(slow):
    acts = (
        "4 peers start",
        "dave is cut off",
        "BTC-USD is",
        "the partition heals",
        "erin joins with an empty store",
        "bob is killed",
        "bob starts again",
        "carol's store is backed up",
        "the backup is started",
        "signed as number",
        "all 4 correct peers hold the proof",
        "100 orders are placed",
        "all 4 correct peers agree",
    )
    places = [slow.words.index(act) for act in acts]
    assert places == sorted(places)
    assert slow.ending.failure == ""
    times = [happening.at_s for happening in slow.demo.story]
    assert times == sorted(times)


def test_the_ending_lists_every_peer_and_counts_what_happened(slow):
    ending = slow.ending
    assert [peer.name for peer in ending.peers] == ["alice", "bob", "carol", "dave", "erin"]
    assert [peer.name for peer in ending.correct] == ["alice", "bob", "dave", "erin"]
    assert ending.orders == 100
    assert len({peer.root for peer in ending.correct}) == 1
    assert all(peer.proofs == 1 for peer in ending.correct)
    assert ending.messages_lost > ending.messages // 20  # a tenth is lost, and a partition besides
    assert slow.demo.network.counters.messages_cut > 0
    assert ending.undone_commands > 0
    assert sum(peer.busted for peer in ending.correct) > 0


def test_two_books_can_be_seen_while_the_network_is_cut(slow):
    (view,) = slow.views
    rows = {row.name: row for row in view.rows}
    assert [row.state for row in view.rows] == ["up", "up", "up", "cut off"]
    assert view.settled_books == 2
    assert rows["alice"].settled_root == rows["bob"].settled_root == rows["carol"].settled_root
    assert rows["alice"].settled_root != rows["dave"].settled_root
    assert [ladder.peer for ladder in view.ladders] == ["alice", "dave"]
    assert {ladder.market for ladder in view.ladders} <= {"BTC-USD", "ETH-USD"}
    assert 24 <= view.placed <= 40


def test_the_key_used_twice_is_forked_where_the_backup_was_made(slow):
    """Neither the original nor the backup is believed from there on, and the original is told."""
    carol = slow.demo.peers[2]
    assert slow.demo.cheated is carol
    assert carol.forked
    assert "carol gets IdentityForked" in slow.words
    number = int(slow.words.partition("signed as number ")[2].partition(",")[0])
    owned = [entry for entry in carol.store._entries if entry.author == carol.keypair.peer_id]
    assert len(owned) > number  # the fork lies inside the log: what came after is void
    void = slow.ending.orders - slow.ending.correct[0].entries
    assert void >= 2  # one by each of the two at least


@pytest.mark.parametrize("scenario", [Scenario(3, 20, 1, 1), Scenario(8, 60, 5, 2)])
def test_other_sizes_end_well(scenario):
    played = Played(scenario)
    assert played.ending.failure == ""
    assert played.ending.orders == scenario.orders
    assert len(played.ending.peers) == scenario.peers + 1


def damage_once_all_agree(monkeypatch, what):
    honest = demo_memory.wait_until_equal

    async def then_damage(peers):
        await honest(peers)
        if all(peer.proofs() for peer in peers):
            assert peers[1].replica.corrupt("BTC-USD", what, SeededRandom(1))

    monkeypatch.setattr(demo_memory, "wait_until_equal", then_damage)


def test_a_tampered_root_is_a_bad_end(monkeypatch):
    damage_once_all_agree(monkeypatch, "trades")
    played = Played(SMALL)
    assert played.ending.failure.startswith("the correct peers' roots differ")
    assert "peers agree" not in played.words


def test_an_order_that_rots_unhashed_is_a_bad_end(monkeypatch):
    damage_once_all_agree(monkeypatch, "book")
    assert Played(SMALL).ending.failure == "bob: BTC-USD is not what a naive replay gives"


def test_peers_that_do_not_agree_in_time_are_described(monkeypatch):
    monkeypatch.setattr(module, "CONVERGENCE_DEADLINE_S", 2.0)
    played = []

    def cut_for_good(happening):
        if "trading stops" in happening.what:
            played[0].demo.network.partition(["alice"])

    class Cut(Played):
        def __init__(self):
            played.append(self)
            super().__init__(SMALL, cut_for_good)

    ending = Cut().ending
    assert ending.failure.startswith("the correct peers are not equal 2 s after the last order:")
    for name in ("alice", "bob", "dave", "erin"):
        assert f"\n  {name}: " in ending.failure


def test_a_fork_that_never_comes_out_is_a_bad_end(monkeypatch):
    """Without the proof, peers that are equal are not enough."""
    monkeypatch.setattr(module, "CONVERGENCE_DEADLINE_S", 10.0)

    async def no_backup(demo):
        for _ in range(module.FORK_ORDERS):
            await demo.trading.place_reserved("alice", demo.peers[0].peer)

    monkeypatch.setattr(MemoryDemo, "_start_a_backup", no_backup)
    failure = Played(SMALL).ending.failure
    assert "not equal 10 s after the last order" in failure
    assert failure.count("forks proven of nobody") == 5


def test_a_divergence_is_told_and_is_a_bad_end():
    """Damaged memory that heals during the run leaves equal roots: only the report remains."""
    played = []

    def damage(happening):
        if "knows what it missed" in happening.what:
            replica = played[0].demo.peers[3].peer.replica
            assert replica.corrupt("BTC-USD", "trades", SeededRandom(1))

    class Damaged(Played):
        def __init__(self):
            played.append(self)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(traders, "PAUSE_MS", (200, 600))
                super().__init__(SMALL, damage)

    damaged = Damaged()
    assert "diverges from" in damaged.words
    assert "reported Divergence" in damaged.ending.failure


def test_a_killed_peer_comes_back_with_its_store_and_its_log_unbroken(slow):
    bob = slow.demo.peers[1]
    owned = [entry.seq for entry in bob.store._entries if entry.author == bob.keypair.peer_id]
    assert owned == list(range(len(owned)))
    assert len(owned) > 5
    back = next(each for each in slow.demo.story if "starts again" in each.what)
    held = int(back.what.partition("with ")[2].partition(" ")[0])
    assert 0 < held < slow.ending.orders
    assert isinstance(bob.store, gb.MemoryStore)
