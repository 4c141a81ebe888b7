"""`audit`, `record`, `replay` of a tape and `keygen`, on stores that peers wrote."""

import csv
import json
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner, Result
from trio.testing import MockClock

import gossipbook as gb
from gossipbook.cli.app import gossipbook
from gossipbook.randomness import SeededRandom

GENESIS = gb.Genesis("audited", [gb.Market("ONE", tick_size="0.5"), gb.Market("TWO")])
KEYS = [gb.Keypair.from_seed(bytes([number]) * 32) for number in range(2)]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(gossipbook, [str(one) for one in arguments])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, gb.Peer]:
    """The store of a peer that traded with another, and the peer as it was when it closed."""
    path = tmp_path_factory.mktemp("store") / "peer.db"

    async def main() -> gb.Peer:
        network, random = gb.MemoryNetwork(), SeededRandom(1)
        async with (
            gb.open_peer(
                GENESIS, KEYS[0], store=path, transport=network.transport("a"), alone=True
            ) as peer,
            gb.open_peer(
                GENESIS,
                KEYS[1],
                transport=network.transport("b"),
                bootstrap=["a"],
                alone=True,
            ) as other,
        ):
            receipts: list[gb.Receipt] = []
            for turn in range(60):
                one = (peer, other)[turn % 2]
                side = random.choice(["buy", "sell"])
                price, quantity = random.between(98, 102), random.between(1, 9)
                market = random.choice(["ONE", "TWO"])
                order = gb.LimitOrder(market, side, price=price, quantity=quantity)  # type: ignore[arg-type]
                receipts.append(await one.submit(order))
                if turn % 5 == 0:
                    await one.submit(gb.CancelOrder(receipts[-1].order_id))
                await trio.sleep(0.01)
            await gb.wait_until_equal([peer, other])
            await trio.sleep(1)
        return peer

    peer = trio.run(main, clock=MockClock(autojump_threshold=0))
    return path, peer


@pytest.fixture
def store(written: tuple[Path, gb.Peer], tmp_path: Path) -> Path:
    return Path(shutil.copyfile(written[0], tmp_path / "peer.db"))


def test_a_sound_store_is_audited_and_shown(store: Path, written: tuple[Path, gb.Peer]) -> None:
    before = store.read_bytes()
    result = run("audit", store)
    assert result.exit_code == 0, result.output
    assert "The store is sound" in result.output
    for peer_id in (KEYS[0].peer_id, KEYS[1].peer_id):
        assert peer_id.hex()[:8] in result.output
    peer = written[1]
    assert peer.root.hex() in result.output and peer.frontier_root.hex() in result.output
    assert store.read_bytes() == before and os.listdir(store.parent) == ["peer.db", "peer.db.lock"]


def test_json_says_the_same(store: Path, written: tuple[Path, gb.Peer]) -> None:
    report = json.loads(run("audit", store, "--json").output)
    peer = written[1]
    assert report["sound"] and report["book_root"] == peer.root.hex()
    assert [one["trades"] for one in report["markets"]] == [
        len(peer.trades("ONE")),
        len(peer.trades("TWO")),
    ]
    assert sum(one["entries"] for one in report["frontier"]) == peer.entry_count == 72


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE entries SET payload = x'00' WHERE seq = 3 AND author = 1", "entry 3"),
        ("UPDATE entries SET hlc = hlc + 1 WHERE seq = 5 AND author = 2", "entry 5"),
        ("DELETE FROM entries WHERE seq = 7 AND author = 1", "entry 7 is missing"),
        ("DELETE FROM entries WHERE seq > 30 AND author = 1", "31 entries are left of"),
        ("UPDATE meta SET clock_high_water = 5", "network, peer and clock"),
    ],
)
def test_damage_is_named_with_its_place_and_left_alone(
    store: Path, statement: str, words: str
) -> None:
    with sqlite3.connect(store) as connection:
        connection.execute(statement)
    connection.close()
    before = store.read_bytes()
    result = run("audit", store)
    if "meta" in statement:  # whose store it is cannot be told any more
        assert result.exit_code == 2 and "does not say any more whose it is" in result.output
    else:
        assert result.exit_code == 1 and f"{words}" in result.output, result.output
        assert "DAMAGED" in result.output
        refused = run("record", store)
        assert refused.exit_code == 2 and "is damaged" in refused.output
    assert store.read_bytes() == before


def test_a_forged_signature_with_a_right_checksum_is_found(store: Path) -> None:
    from gossipbook.storage.log_file import LogFile, _checksum_of

    file = LogFile(store, GENESIS, KEYS[0].peer_id)
    entry = next(one for one in file.read().entries if one.seq == 4)
    file.close()
    forged = bytes(64)
    with sqlite3.connect(store) as connection:
        connection.execute(
            "UPDATE entries SET signature = ?, checksum = ? WHERE seq = 4 AND author = "
            "(SELECT number FROM authors WHERE author = ?)",
            (forged, _checksum_of(entry.id, forged), entry.author),
        )
    connection.close()
    result = run("audit", store)
    assert result.exit_code == 1 and "entry 4: bad signature" in result.output


def test_a_store_in_use_is_not_touched(store: Path) -> None:
    from gossipbook.storage.log_file import lock, unlock

    held = lock(store)
    try:
        result = run("audit", store)
    finally:
        unlock(held)
    assert result.exit_code == 2 and "in use" in result.output


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a store" * 100)
    result = run("audit", tmp_path / "notes.txt")
    assert result.exit_code == 2 and "notes.txt is no store" in result.output


def test_a_tape_gives_the_same_trades_and_root(
    store: Path, written: tuple[Path, gb.Peer], tmp_path: Path
) -> None:
    peer = written[1]
    tape, trades = tmp_path / "history.tape", tmp_path / "trades.csv"
    result = run("record", store, "--output", tape)
    assert result.exit_code == 0 and peer.root.hex() in result.output
    assert run("record", store, "--output", tape).exit_code == 2  # nothing is overwritten
    result = run("replay", tape, "--trades", trades)
    assert result.exit_code == 0 and "every signature holds" in result.output
    assert peer.root.hex() in result.output
    with open(trades) as file:
        rows = list(csv.reader(file))[1:]
    expected = [
        [trade.market, str(trade.taker), str(trade.maker), str(trade.price), str(trade.quantity)]
        for symbol in ("ONE", "TWO")
        for trade in peer.trades(symbol)
    ]
    assert len(rows) > 10 and rows == expected
    report = json.loads(run("replay", tape, "--json", "--trust").output)
    assert report["ok"] and report["book_root"] == peer.root.hex() and not report["signatures"]


def test_a_tape_with_a_forged_entry_is_refused(store: Path, tmp_path: Path) -> None:
    tape = tmp_path / "history.tape"
    run("record", store, "--output", tape)
    data = bytearray(tape.read_bytes())
    at = data.rindex(b"\x58\x40") + 10  # within the last signature
    data[at] ^= 1
    tape.write_bytes(data)
    result = run("replay", tape)
    assert result.exit_code == 2 and "bad signature" in result.output


def test_a_tape_with_another_root_fails(store: Path, tmp_path: Path) -> None:
    tape = tmp_path / "history.tape"
    run("record", store, "--output", tape)
    data = bytearray(tape.read_bytes())
    data[-1] ^= 1
    tape.write_bytes(data)
    result = run("replay", tape)
    assert result.exit_code == 1 and "the root differs" in result.output


@pytest.mark.parametrize("options", [["--peers", "3"], ["another"]])
def test_options_of_cases_are_refused_for_tapes(
    store: Path, tmp_path: Path, options: list[str]
) -> None:
    tape = tmp_path / "history.tape"
    run("record", store, "--output", tape)
    if options == ["another"]:
        options = [str(tape)]
    assert run("replay", tape, *options).exit_code == 2


def test_keygen_writes_a_key_for_its_owner_only_and_never_twice(tmp_path: Path) -> None:
    path = tmp_path / "peer.key"
    result = run("keygen", path)
    assert result.exit_code == 0
    assert gb.Keypair.load(path).peer_id.hex() == result.output.strip()
    assert path.stat().st_mode & 0o777 == 0o600
    again = run("keygen", path)
    assert again.exit_code == 2 and "never overwritten" in again.output
    assert gb.Keypair.load(path).peer_id.hex() == result.output.strip()
