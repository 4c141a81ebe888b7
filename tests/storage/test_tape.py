"""A tape gives back what was written, and says where it is damaged."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twins.scenario import GENESIS, cluster_of, trade

import gossipbook as gb
from gossipbook.log.entry import Entry
from gossipbook.storage.tape import MAGIC, TapeReader, is_tape, write_tape


def recorded() -> tuple[bytes, list[Entry], bytes]:
    cluster = cluster_of(3)
    trade(cluster, 40, at=[0, 1, 2])
    cluster.run_until_converged()
    peer = cluster.peers[0]
    file = io.BytesIO()
    entries = peer.replica.merged_entries()
    assert write_tape(file, GENESIS, entries, book_root=peer.root) == len(entries) == 40
    return file.getvalue(), entries, peer.root


TAPE, ENTRIES, ROOT = recorded()


def read(data: bytes) -> tuple[list[bytes], TapeReader]:
    reader = TapeReader(io.BytesIO(data))
    return [entry.id for entry in reader.entries()], reader


def test_a_tape_gives_back_genesis_entries_and_root_in_merge_order() -> None:
    ids, reader = read(TAPE)
    assert reader.genesis == GENESIS
    assert ids == [entry.id for entry in ENTRIES]
    assert reader.end is not None and reader.end == (40, ROOT)


def test_what_is_not_a_tape_is_known_by_its_beginning() -> None:
    assert is_tape(io.BytesIO(TAPE)) and not is_tape(io.BytesIO(b'{"case": 1}\n'))
    with pytest.raises(gb.StoreError, match="does not begin"):
        TapeReader(io.BytesIO(b"something else"))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(length=st.integers(0, len(TAPE) - 1))
def test_a_tape_that_breaks_off_is_never_read_as_whole(length: int) -> None:
    with pytest.raises(gb.StoreError, match="tape"):
        read(TAPE[:length])


@settings(max_examples=500, deadline=None, derandomize=True)
@given(bit=st.integers(8 * len(MAGIC), 8 * len(TAPE) - 1))
def test_a_flipped_bit_is_an_error_or_shows_in_signature_or_root(bit: int) -> None:
    data = bytearray(TAPE)
    data[bit // 8] ^= 1 << bit % 8
    try:
        reader = TapeReader(io.BytesIO(bytes(data)))
        entries = list(reader.entries())
    except gb.StoreError as error:
        assert "tape" in str(error)
        return
    changed = [
        one
        for one, was in zip(entries, ENTRIES, strict=True)
        if (one.id, one.signature) != (was.id, was.signature)
    ]  # these fail the check of signatures
    assert changed or reader.genesis != GENESIS or reader.end != (40, ROOT)


def test_entries_out_of_order_are_refused_with_their_name() -> None:
    file = io.BytesIO()
    write_tape(file, GENESIS, [ENTRIES[1], ENTRIES[0], *ENTRIES[2:]], book_root=ROOT)
    with pytest.raises(gb.StoreError, match="merge order"):
        read(file.getvalue())


def test_a_missing_entry_is_noticed() -> None:
    file = io.BytesIO()
    write_tape(file, GENESIS, [ENTRIES[0], *ENTRIES[2:]], book_root=ROOT)
    with pytest.raises(gb.StoreError, match="does not continue"):
        read(file.getvalue())


def test_a_stranger_on_a_tape_of_members_is_refused() -> None:
    genesis = gb.Genesis("members", GENESIS.markets, members=[gb.Keypair.generate().peer_id])
    file = io.BytesIO()
    write_tape(file, genesis, ENTRIES, book_root=ROOT)
    with pytest.raises(gb.StoreError, match="not a member"):
        read(file.getvalue())
