"""A network file is read as it was written, or not at all."""

import os
from pathlib import Path

import pytest

import gossipbook as gb
from gossipbook.cli.network_file import NetworkFile, is_name
from gossipbook.errors import UsageError

ALICE, BOB = (gb.Keypair.from_seed(bytes([number]) * 32).peer_id for number in (1, 2))
OPEN = gb.Genesis("demo", [gb.Market("BTC-USD", tick_size="0.01")])
CLOSED = gb.Genesis("club", [gb.Market("ONE"), gb.Market("TWO")], members=[ALICE, BOB])
NAMED = NetworkFile(CLOSED, {ALICE: "alice", BOB: "bob-2"})


@pytest.mark.parametrize("network", [NetworkFile(OPEN), NetworkFile(CLOSED), NAMED])
def test_what_is_saved_is_loaded(network: NetworkFile, tmp_path: Path) -> None:
    path = tmp_path / "one.network"
    network.save(path)
    assert NetworkFile.load(path) == network


def test_the_file_holds_what_it_says_it_holds() -> None:
    lines = NAMED.to_text().splitlines()
    assert lines[:3] == [
        "gossipbook network 1",
        "# club: ONE, TWO; 2 members",
        f"id {CLOSED.network_id.hex()}",
    ]
    assert f"member {ALICE.hex()} alice" in lines and f"member {BOB.hex()} bob-2" in lines
    assert max(map(len, lines)) <= 78  # mail programs break longer lines


@pytest.mark.parametrize(
    "changed",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: "\n\n" + text.replace("\n", "\n\n"),
        lambda text: "".join(f"   {line}  \n" for line in text.splitlines()),
        lambda text: text.rstrip("\n"),
    ],
    ids=["dos", "bom", "blank lines", "indented", "no last line break"],
)
def test_white_space_may_change_on_the_way(changed) -> None:
    assert NetworkFile.from_text(changed(NAMED.to_text())) == NAMED


def test_a_lost_line_is_noticed_whichever_it_is() -> None:
    lines = NAMED.to_text().splitlines()
    for index in range(len(lines)):
        text = "\n".join(lines[:index] + lines[index + 1 :])
        with pytest.raises(UsageError):
            NetworkFile.from_text(text, "mailed.network")


def test_a_changed_character_is_noticed_wherever_it_is() -> None:
    text = NAMED.to_text()
    for index, character in enumerate(text):
        if not character.isspace():
            changed = text[:index] + ("x" if character != "x" else "y") + text[index + 1 :]
            with pytest.raises(UsageError):
                NetworkFile.from_text(changed)


def test_damage_is_told_with_the_file_and_the_remedy() -> None:
    with pytest.raises(UsageError, match=r"'mailed' is damaged: its end is missing; ask for it"):
        NetworkFile.from_text(NAMED.to_text().rpartition("end")[0], "mailed")
    with pytest.raises(UsageError, match="its checksum does not hold"):
        NetworkFile.from_text(NAMED.to_text().replace("alice", "alicf"), "mailed")


def test_a_consistent_file_with_another_networks_id_is_refused() -> None:
    """Whoever edits the id and fixes the checksum does not get a file that opens."""
    from gossipbook.cli.network_file import _checksum

    lines = NetworkFile(OPEN).to_text().replace(OPEN.network_id.hex(), "00" * 32).splitlines()[:-1]
    with pytest.raises(UsageError, match="its network id is not that of its genesis"):
        NetworkFile.from_text("\n".join([*lines, f"end {_checksum(lines)}"]))


def test_other_files_are_told_apart_from_damaged_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is not a network file; `gossipbook genesis"):
        NetworkFile.from_text("name = 'demo'\n", "m.toml")
    with pytest.raises(UsageError, match="use the version of gossipbook that wrote it"):
        NetworkFile.from_text(NAMED.to_text().replace("network 1", "network 2"), "new")
    with pytest.raises(UsageError, match="there is no network file"):
        NetworkFile.load(tmp_path / "nowhere")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="no network can be read"):
        NetworkFile.load(tmp_path / "binary")


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    path = tmp_path / "one.network"
    NAMED.save(path)
    with pytest.raises(UsageError, match="exists"):
        NetworkFile(OPEN).save(path)
    assert NetworkFile.load(path) == NAMED
    NetworkFile(OPEN).save(path, replace=True)
    assert NetworkFile.load(path) == NetworkFile(OPEN)
    assert os.listdir(tmp_path) == ["one.network"]


def test_names_decide_nothing() -> None:
    other = NetworkFile.from_text(NetworkFile(CLOSED, {BOB: "robert"}).to_text())
    assert other != NAMED and other.genesis == NAMED.genesis
    assert other.genesis.network_id == NAMED.genesis.network_id


@pytest.mark.parametrize(
    ("genesis", "names", "words"),
    [
        (CLOSED, {ALICE: "a b"}, "'a b' is not allowed"),
        (CLOSED, {ALICE: "x" * 33}, "is not allowed"),
        (CLOSED, {ALICE: "bob", BOB: "bob"}, "two members are called 'bob'"),
        (OPEN, {ALICE: "alice"}, "is no member"),
    ],
)
def test_names_that_would_confuse_are_refused(genesis, names, words) -> None:
    with pytest.raises(UsageError, match=words):
        NetworkFile(genesis, names)


def test_what_may_be_a_name() -> None:
    assert all(map(is_name, ["a", "alice", "Alice-2", "a.b_c", "x" * 32]))
    assert not any(map(is_name, ["", "-a", "a-", "a b", "ä", "a\n", "a\x1b[31m", "x" * 33]))


def test_the_largest_network_goes_into_a_file(tmp_path: Path) -> None:
    markets = [gb.Market(f"MARKET-{number:04}-{'X' * 18}", "0.000001") for number in range(1024)]
    network = NetworkFile(gb.Genesis("large", markets, members=[ALICE]))
    network.save(tmp_path / "large")
    assert NetworkFile.load(tmp_path / "large") == network
