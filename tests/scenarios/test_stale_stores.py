"""Stores that are damaged, put back to an old state, deleted or doubled, between two lives.

The peers are real, with their stores on disk, on a memory network in virtual time. Two promises
are tried: what is lost of others' logs comes back from peers and is written again; and a peer whose
own log may be longer than its store says signs nothing before somebody has told it.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trio
from twins.scenario import limit
from twins.store_files import PAGE_BYTES, folder_in_memory, overwrite, root_page, tamper
from twins.stored_peers import StoredPeers, back_up, delete, put_back, stored_peers
from twins.trio_peers import until
from twins.virtual_time import virtual_time

import gossipbook as gb
from gossipbook.randomness import SeededRandom

pytestmark = virtual_time


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder


Damage = Callable[[Path, gb.PeerId], None]

OF_AUTHOR = "author = (SELECT number FROM authors WHERE author = ?)"


# ------------------------------------------------------------------ what can happen to a file


def lose_the_tail(store: Path, author: gb.PeerId) -> None:
    tamper(store, f"DELETE FROM entries WHERE {OF_AUTHOR} AND seq >= 2", author)


def lose_the_middle(store: Path, author: gb.PeerId) -> None:
    tamper(store, f"DELETE FROM entries WHERE {OF_AUTHOR} AND seq = 1", author)


def alter_an_entry(store: Path, author: gb.PeerId) -> None:
    tamper(store, f"UPDATE entries SET hlc = hlc + 1 WHERE {OF_AUTHOR} AND seq = 2", author)


def lose_the_author(store: Path, author: gb.PeerId) -> None:
    tamper(store, "DELETE FROM authors WHERE author = ?", author)


def zero_the_entries(store: Path, _: gb.PeerId) -> None:
    overwrite(store, root_page(store, "entries"), bytes(PAGE_BYTES))


def zero_the_authors(store: Path, _: gb.PeerId) -> None:
    overwrite(store, root_page(store, "authors"), bytes(PAGE_BYTES))


def zero_who_we_are(store: Path, author: gb.PeerId) -> None:
    lose_the_tail(store, author)
    overwrite(store, root_page(store, "meta"), bytes(PAGE_BYTES))


def forget_who_we_are(store: Path, _: gb.PeerId) -> None:
    """Our own log is whole, but nothing says so any more."""
    tamper(store, "DELETE FROM meta")


def forget_all_of_ourselves(store: Path, author: gb.PeerId) -> None:
    """Our own log is gone, and nothing says how long it was."""
    tamper(store, "DELETE FROM meta")
    tamper(store, f"DELETE FROM entries WHERE {OF_AUTHOR}", author)
    tamper(store, "DELETE FROM authors WHERE author = ?", author)


DAMAGE: tuple[Damage, ...] = (
    lose_the_tail,
    lose_the_middle,
    alter_an_entry,
    lose_the_author,
    zero_the_entries,
    zero_the_authors,
    zero_who_we_are,
)
OWN_DAMAGE = (*DAMAGE, forget_who_we_are, forget_all_of_ourselves)


def rows(store: Path, table: str) -> int:
    """How many rows a closed store has."""
    with closing(sqlite3.connect(store)) as connection:
        ((count,),) = connection.execute(f"SELECT count(*) FROM {table}").fetchall()
    return int(count)


# ------------------------------------------------------------------ others' logs


@pytest.mark.parametrize("damage", DAMAGE)
async def test_what_is_damaged_of_others_comes_back_and_is_written_again(
    tmp_path: Path, damage: Damage
) -> None:
    async with stored_peers(tmp_path, "alice", "bob", "carol") as peers:
        await peers.trade("alice", "bob", "carol", rounds=5)
        await peers.equal()
        store = await peers.close("alice")
        damage(store, peers.id("bob"))
        alice = await peers.open("alice")
        assert alice.damage and str(store) in alice.damage[-1]
        assert peers.length("bob", at="alice") < 5
        await peers.equal()
        assert peers.length("bob", at="alice") == 5
        assert (await alice.submit(limit())).command_id.seq == 5
        await peers.equal()
        assert peers.proofs() == []
        await peers.close("alice")
        assert rows(store, "entries") == 16
        alice = await peers.open("alice")
        assert alice.damage == () and alice.entry_count == 16


async def test_a_damaged_fork_proof_comes_back(tmp_path: Path) -> None:
    async with stored_peers(tmp_path, "alice", "bob", "carol") as peers:
        await fork(peers, "carol")
        await peers.crash("carol 2")
        store = await peers.close("alice")
        tamper(store, "UPDATE proofs SET proof = zeroblob(length(proof))")
        peers.network.partition(["alice"])
        alice = await peers.open("alice")
        assert any("fork proof" in what for what in alice.damage) and alice.proofs() == []
        peers.network.heal()
        await until(lambda: len(alice.proofs()) == 1, "the proof is back")
        await peers.equal()
        await peers.close("alice")
        assert rows(store, "proofs") == 1
        assert (await peers.open("alice")).damage == ()


async def test_a_damaged_address_is_learned_again(tmp_path: Path) -> None:
    async with stored_peers(tmp_path, "alice", "bob") as peers:
        await peers.trade("alice", "bob")
        await peers.equal()
        store = await peers.close("alice")
        tamper(store, "UPDATE peers SET address = x'00'")
        alice = await peers.open("alice", contacts=["bob"])
        assert any("address" in what for what in alice.damage)
        await peers.equal()
        await peers.close("alice")
        alice = await peers.open("alice", contacts=[])
        assert alice.damage == ()
        await peers.equal()
        assert alice.peers() == [peers.id("bob")]


# ------------------------------------------------------------------ our own log


@pytest.mark.parametrize("damage", OWN_DAMAGE)
@pytest.mark.parametrize("alone", [False, True], ids=["", "alone"])
async def test_a_damaged_own_log_is_given_back_before_it_goes_on(
    tmp_path: Path, damage: Damage, alone: bool
) -> None:
    async with stored_peers(tmp_path, "alice", "bob", "carol") as peers:
        await peers.trade("alice", "bob", rounds=5)
        await peers.equal()
        damage(await peers.close("alice"), peers.id("alice"))
        alice = await peers.open("alice", alone=alone)
        receipt = await alice.submit(limit())
        assert receipt.command_id.seq == 5
        await peers.equal()
        assert peers.proofs() == []
        store = await peers.close("alice")
        assert rows(store, "entries") == 11
        alice = await peers.open("alice", contacts=[], alone=True)
        assert alice.damage == ()
        assert (await alice.submit(limit())).command_id.seq == 6


@pytest.mark.parametrize("damage", OWN_DAMAGE)
async def test_a_damaged_own_log_signs_nothing_without_peers(
    tmp_path: Path, damage: Damage
) -> None:
    """Not even where ``alone`` says that nobody else has seen it, and not after another start."""
    async with stored_peers(tmp_path, "alice", "bob") as peers:
        await peers.trade("alice", "bob", rounds=5)
        await peers.equal()
        await peers.close("bob")
        damage(await peers.close("alice"), peers.id("alice"))
        for _ in range(2):
            alice = await peers.open("alice", contacts=[], alone=True)
            before_s = trio.current_time()
            with pytest.raises(gb.OwnHeadUnconfirmed, match="our own log in the store is damaged"):
                await alice.submit(limit())
            assert trio.current_time() - before_s == pytest.approx(5, abs=0.01)
            assert alice.book("ONE").orders is not None  # reading goes on
            assert alice.entry_count == len(alice.commands("ONE"))
            await peers.close("alice")


async def test_a_part_of_our_own_log_is_not_enough(tmp_path: Path) -> None:
    """Bob was cut off and gives back what he has; that is known to be less than there was."""
    async with stored_peers(tmp_path, "alice", "bob", "carol") as peers:
        await peers.trade("alice", rounds=2)
        await peers.equal()
        peers.network.partition(["bob"])
        await peers.trade("alice", rounds=3)
        await until(lambda: peers.length("alice", at="carol") == 5, "carol has seen all")
        store = await peers.close("alice")
        await peers.close("carol")
        peers.network.heal()
        tamper(store, f"DELETE FROM entries WHERE {OF_AUTHOR}", peers.id("alice"))
        alice = await peers.open("alice", contacts=["bob"], alone=True)
        await until(lambda: peers.length("alice", at="alice") == 2, "bob has given back his part")
        for _ in range(2):
            with pytest.raises(gb.OwnHeadUnconfirmed, match="damaged"):
                await alice.submit(limit())
        # Nor after another start, when a part of it is written again.
        await peers.close("alice")
        alice = await peers.open("alice", contacts=["bob"], alone=True)
        assert alice.damage == () and peers.length("alice", at="alice") == 2
        with pytest.raises(gb.OwnHeadUnconfirmed, match="damaged"):
            await alice.submit(limit())
        await peers.open("carol")
        assert (await alice.submit(limit())).command_id.seq == 5
        await peers.equal()
        assert peers.proofs() == []


async def test_a_harmless_damage_keeps_nobody_from_signing_alone(tmp_path: Path) -> None:
    """The row that says how long our own log is, is sound, and so is our log."""
    async with stored_peers(tmp_path, "alice") as peers:
        await peers.trade("alice", rounds=3)
        store = await peers.close("alice")
        overwrite(store, root_page(store, "sqlite_autoindex_proofs_1"), bytes(PAGE_BYTES))
        alice = await peers.open("alice", contacts=[], alone=True)
        assert alice.damage
        assert (await alice.submit(limit())).command_id.seq == 3


# ------------------------------------------------------------------ old stores


@pytest.mark.parametrize("while_running", [False, True], ids=["closed", "running"])
async def test_an_old_backup_looks_before_it_signs(tmp_path: Path, while_running: bool) -> None:
    async with stored_peers(tmp_path, "alice", "bob", "carol") as peers:
        await peers.trade("alice", "bob", rounds=3)
        await peers.equal()
        if while_running:
            backup = back_up(peers.store("alice"))
        else:
            backup = back_up(await peers.close("alice"))
            await peers.open("alice")
        await peers.trade("alice", "bob", rounds=5)
        await peers.equal()
        put_back(backup, await peers.crash("alice"))
        alice = await peers.open("alice")
        assert alice.damage == () and peers.length("alice", at="alice") == 3, "it looks intact"
        assert (await alice.submit(limit())).command_id.seq == 8
        await peers.equal()
        assert peers.proofs() == []


async def test_a_backup_that_knew_others_waits_for_them_without_contacts(tmp_path: Path) -> None:
    async with stored_peers(tmp_path, "alice", "bob") as peers:
        await peers.trade("alice", "bob", rounds=2)
        await peers.equal()
        backup = back_up(peers.store("alice"))
        await peers.trade("alice", rounds=2)
        await peers.equal()
        await peers.close("bob")
        put_back(backup, await peers.close("alice"))
        alice = await peers.open("alice", contacts=[])
        before_s = trio.current_time()
        with pytest.raises(gb.OwnHeadUnconfirmed, match="no peer has confirmed"):
            await alice.submit(limit())
        assert trio.current_time() - before_s == pytest.approx(5, abs=0.01)
        assert alice.entry_count == 4, "reading goes on"
        await peers.open("bob", contacts=[])  # alice remembers where bob was
        await until(lambda: alice.peers() != [], "alice has found bob")
        assert (await alice.submit(limit())).command_id.seq == 4
        await peers.equal()
        assert peers.proofs() == []


@pytest.mark.parametrize("names", [("alice", "bob"), ("alice", "bob", "carol")])
async def test_a_deleted_store_gets_its_own_past_back_first(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    async with stored_peers(tmp_path, *names) as peers:
        await peers.trade(*names, rounds=40)
        await peers.equal()
        delete(await peers.close("alice"))
        alice = await peers.open("alice")
        assert (alice.damage, alice.entry_count) == ((), 0)
        assert (await alice.submit(limit())).command_id.seq == 40
        await peers.equal()
        assert alice.entry_count == 40 * len(names) + 1
        assert peers.proofs() == []


@pytest.mark.parametrize("asked", ["before it found anybody", "after"])
async def test_a_deleted_store_that_finds_its_peers_later_gets_its_past_back_first(
    tmp_path: Path, asked: str
) -> None:
    """As on a LAN: nobody is known at the start, and yet the key has a past."""
    async with stored_peers(tmp_path, "alice", "bob") as peers:
        await peers.trade("alice", "bob", rounds=4)
        await peers.equal()
        delete(await peers.close("alice"))
        alice = await peers.open("alice", contacts=[], alone=False)
        receipts: list[gb.Receipt] = []

        async def submit() -> None:
            receipts.append(await alice.submit(limit()))

        async with trio.open_nursery() as nursery:
            if asked == "before it found anybody":
                nursery.start_soon(submit)
                await trio.sleep(1)
                assert receipts == [] and alice.entry_count == 0
            alice.join(str(peers.running["bob"].address))
            if asked == "after":
                nursery.start_soon(submit)
        assert receipts[0].command_id.seq == 4
        await peers.equal()
        assert peers.proofs() == []


async def test_joining_somebody_makes_a_peer_look_before_it_signs(tmp_path: Path) -> None:
    """Also one that thought that it was the first of its network."""
    async with stored_peers(tmp_path, "alice", "bob") as peers:
        await peers.trade("alice", "bob", rounds=4)
        await peers.equal()
        delete(await peers.close("alice"))
        alice = await peers.open("alice", contacts=[])
        alice.join(str(peers.running["bob"].address))
        assert (await alice.submit(limit())).command_id.seq == 4
        await peers.equal()
        assert peers.proofs() == []


async def test_what_was_put_back_is_complete_on_disk_afterwards(tmp_path: Path) -> None:
    async with stored_peers(tmp_path, "alice", "bob") as peers:
        await peers.trade("alice", "bob", rounds=10)
        await peers.equal()
        delete(await peers.close("alice"))
        await peers.open("alice")
        await peers.equal()
        await peers.close("alice")
        await peers.close("bob")
        alice = await peers.open("alice", contacts=[], alone=True)
        assert alice.entry_count == 20
        assert (await alice.submit(limit())).command_id.seq == 10


# ------------------------------------------------------------------ two of the same


async def fork(peers: StoredPeers, name: str) -> None:
    """A copy of a peer's store is used elsewhere, and both sign the same seqs."""
    twin = f"{name} 2"
    await peers.trade(name, rounds=2)
    await peers.equal()
    put_back(back_up(peers.store(name)), peers.store(twin))
    peers.network.partition([twin])
    await peers.open(twin, contacts=[], alone=True)
    await peers.trade(name, twin, rounds=2)
    peers.network.heal()
    await until(
        lambda: all(len(peer.proofs()) == 1 for peer in peers.running.values()),
        "everybody holds the proof",
        within_s=90,
    )


async def test_two_copies_of_one_store_are_found_out(tmp_path: Path) -> None:
    async with stored_peers(tmp_path, "alice", "bob", "carol") as peers:
        await fork(peers, "carol")
        for proof in peers.proofs():
            assert (proof.author, proof.seq) == (peers.id("carol"), 2)
        for name in ("carol", "carol 2"):
            with pytest.raises(gb.IdentityForked, match="another process uses it"):
                await peers.running[name].submit(limit())
        await peers.trade("alice", "bob")  # nobody else is kept from anything
        await peers.crash("carol 2")
        await peers.equal()
        await peers.close("carol")
        carol = await peers.open("carol", contacts=[], alone=True)
        with pytest.raises(gb.IdentityForked):  # the proof is in the store
            await carol.submit(limit())


async def test_an_old_backup_that_goes_ahead_alone_is_told_that_it_forked(tmp_path: Path) -> None:
    """What it signed is still on its way to a slow disk when its own past comes back."""
    async with stored_peers(tmp_path, "alice", "bob") as peers:
        await peers.trade("alice", "bob", rounds=3)
        await peers.equal()
        backup = back_up(peers.store("alice"))
        await peers.trade("alice", rounds=3)
        await peers.equal()
        put_back(backup, await peers.close("alice"))
        alice = await peers.open("alice", alone=True, write_s=1.0)
        with pytest.raises(gb.IdentityForked):
            await alice.submit(limit())
        await until(lambda: len(peers.proofs()) == 2, "both know")
        await trio.sleep(3)
        await peers.close("alice")
        alice = await peers.open("alice", contacts=[], alone=True)
        with pytest.raises(gb.IdentityForked):
            await alice.submit(limit())


# ------------------------------------------------------------------ whatever happens


def happen_to(store: Path, author: gb.PeerId, random: SeededRandom) -> str:
    """Something, or nothing, to a closed store."""
    what = random.choice(["damage", "damage", "flips", "backup", "deletion", "nothing"])
    if what == "damage":
        random.choice(OWN_DAMAGE)(store, author)
    elif what == "flips":
        content = bytearray(store.read_bytes())
        for _ in range(4):
            content[random.between(100, len(content) - 1)] ^= 1 << random.below(8)
        store.write_bytes(content)
    elif what == "backup":
        put_back(store.with_suffix(".backup"), store)
    elif what == "deletion":
        delete(store)
    return what


@pytest.mark.parametrize("number", range(10))
async def test_whatever_happens_to_stores_no_log_forks_and_nothing_is_lost(
    tmp_path: Path, number: int
) -> None:
    """One after another is closed, something happens to its store, and it goes on at once."""
    random = SeededRandom(number)
    names = ["alice", "bob", "carol"]
    happened: Counter[str] = Counter()
    async with stored_peers(tmp_path, *names, seed=number) as peers:
        receipts = await peers.trade(*names, rounds=3)
        await peers.equal()
        for name in names:
            back_up(peers.store(name))
        for _ in range(8):
            name = random.choice(names)
            store = await (peers.close if random.below(2) else peers.crash)(name)
            happened[happen_to(store, peers.id(random.choice(names)), random)] += 1
            try:
                await peers.open(name, alone=None)
            except gb.StoreError as error:
                assert str(store) in str(error)
                happened["refused"] += 1
                delete(store)  # as the message says
                await peers.open(name, alone=None)
            receipts += await peers.trade(name, *names)
            await peers.equal()
            if random.below(2):
                back_up(store)
        assert peers.proofs() == []
        entries = {
            (receipt.command_id.author, receipt.command_id.seq): receipt.entry_id
            for receipt in receipts
        }
        assert len(entries) == len(receipts), "a seq was used twice"
        for peer in peers.running.values():
            logs = peer.running.replica.logs
            for (author, seq), entry_id in entries.items():
                assert logs[author].id_at(seq) == entry_id
    assert sum(happened.values()) - happened["nothing"] >= 3
