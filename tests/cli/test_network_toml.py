"""What a TOML says becomes that network; what is wrong in it is told with what to write."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

import gossipbook as gb
from gossipbook.cli.network_toml import EXAMPLE, parse_toml, read_toml
from gossipbook.errors import UsageError

ALICE, BOB = (gb.Keypair.from_seed(bytes([number]) * 32).peer_id for number in (1, 2))
ONE = '[[markets]]\nsymbol = "ONE"\n'


def test_the_example_is_the_network_that_it_describes() -> None:
    network = parse_toml(EXAMPLE)
    assert network.genesis == gb.Genesis(
        "demo",
        [
            gb.Market("BTC-USD", tick_size="0.01", lot_size="0.0001", self_trade="cancel-resting"),
            gb.Market("ETH-USD", tick_size="0.01", lot_size="0.001"),
        ],
    )
    assert not network.names


def test_the_example_with_its_comments_taken_away_is_a_members_only_network() -> None:
    lines = [
        line.removeprefix("# ") if " = " in line or line.startswith("# [") else line
        for line in EXAMPLE.splitlines()
    ]
    network = parse_toml("\n".join(lines))
    assert sorted(network.names.values()) == ["alice", "bob"]
    assert network.genesis.members is not None and len(network.genesis.members) == 2
    assert network.genesis.start_ms == datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000


def test_members_with_and_without_names_are_the_same_network() -> None:
    listed = parse_toml(f'name = "n"\nmembers = ["{ALICE.hex()}", "{BOB.hex()}"]\n{ONE}')
    named = parse_toml(f'name = "n"\n{ONE}[members]\nbob = "{BOB.hex()}"\nal = "{ALICE.hex()}"\n')
    assert listed.genesis == named.genesis
    assert not listed.names and named.names == {ALICE: "al", BOB: "bob"}


def test_whole_numbers_need_no_quotes() -> None:
    text = 'name = "n"\n[[markets]]\nsymbol = "ONE"\ntick_size = 5\nlot_size = 10\n'
    assert parse_toml(text).genesis == gb.Genesis("n", [gb.Market("ONE", 5, 10)])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = ", "this is not TOML"),
        (ONE, 'the network has no name; write name = "..."'),
        ('name = "n"', r"there is no market; write \[\[markets\]\]"),
        ('name = "n"\nmarkets = ["ONE"]', r"write \[\[markets\]\] above each market"),
        ('name = "n"\n[markets]\nsymbol = "ONE"', r"write \[\[markets\]\] above each market"),
        ('name = "n"\n[[markets]]\ntick_size = "1"', "market 1 has no symbol"),
        (f'name = "n"\n{ONE}tick_size = 0.010', 'is a float.* write tick_size = "0.010"$'),
        (f'name = "n"\n{ONE}lot_size = 1e-3', 'is a float.* write lot_size = "1e-3"$'),
        (f'name = "n"\n{ONE}tick_size = true', "is True; write a number in quotes"),
        (f'name = "n"\n{ONE}tick_size = "0"', "is not positive"),
        (f'name = "n"\n{ONE}ticksize = "1"', "ticksize in market 1 is not known; .*tick_size?"),
        (f'nmae = "n"\n{ONE}', "nmae in the file is not known; did you mean name?"),
        (f'name = "n"\n{ONE}self_trade = "no"', "self_trade='no' for ONE is unknown"),
        (f'name = "n"\n{ONE}members = []', r"members stands below a \[\[markets\]\].* move it"),
        (f'name = "n"\nmembers = ["abc"]\n{ONE}', "the member 'abc' is no peer id; .*keygen"),
        (f'name = "n"\nmembers = ["{"00" * 32}"]\n{ONE}', "is no peer id"),
        (f'name = "n"\nmembers = "x"\n{ONE}', r"write \[members\]"),
        (f'name = "n"\nmembers = []\n{ONE}', "0 members"),
        (f'name = "n"\nstart = 2026-01-01T00:00:00\n{ONE}', "has no time zone; add a Z"),
        (f'name = "n"\nstart = 2026-01-01\n{ONE}', "is no point in time; write it like"),
        (f'name = "n"\nstart = 5\n{ONE}', "start = 5 is no time"),
        (f'name = "n"\n{ONE}{ONE}', "'ONE' is given twice"),
        (
            f'name = "n"\n{ONE}[members]\na = "{ALICE.hex()}"\nb = "{ALICE.hex()}"',
            "two members have the same id",
        ),
    ],
)
def test_a_mistake_is_told_with_what_to_write(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_toml(text)


def test_a_file_is_named_with_its_mistake(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    with pytest.raises(UsageError, match="--example"):
        read_toml(path)
    path.write_text("name = 5")
    with pytest.raises(UsageError, match=r"m\.toml: there is no market"):
        read_toml(path)
