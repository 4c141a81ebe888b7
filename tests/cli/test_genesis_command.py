"""`gossipbook genesis` from a TOML to a file that others can use, and never over an old one."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import gossipbook as gb
from gossipbook.cli.genesis_command import genesis
from gossipbook.cli.network_file import NetworkFile

TOML = 'name = "demo"\n[[markets]]\nsymbol = "BTC-USD"\ntick_size = "0.01"\n'
GENESIS = gb.Genesis("demo", [gb.Market("BTC-USD", tick_size="0.01")])


def run(*arguments: object) -> Result:
    return CliRunner().invoke(genesis, [str(one) for one in arguments])


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "m.toml"
    path.write_text(TOML)
    return path


def test_a_toml_becomes_a_network_file_beside_it(toml: Path) -> None:
    result = run(toml)
    assert result.exit_code == 0, result.output
    assert result.stdout == GENESIS.network_id.hex() + "\n"  # so that a script can have it
    assert "gossipbook peer --network" in result.stderr and "keygen" in result.stderr
    assert NetworkFile.load(toml.with_suffix(".network")).genesis == GENESIS


def test_the_same_again_changes_nothing(toml: Path) -> None:
    run(toml)
    path = toml.with_suffix(".network")
    before = path.stat().st_mtime_ns
    result = run(toml)
    assert result.exit_code == 0 and "holds this network already" in result.stderr
    assert path.stat().st_mtime_ns == before


def test_another_network_is_not_overwritten_unless_asked(toml: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(toml, "--output", output)
    toml.write_text(TOML.replace("0.01", "0.05"))
    refused = run(toml, "--output", output)
    assert refused.exit_code == 2 and "--replace" in refused.stderr
    assert NetworkFile.load(output).genesis == GENESIS
    replaced = run(toml, "--output", output, "--replace")
    assert replaced.exit_code == 0 and GENESIS.network_id.hex() in replaced.stderr
    assert NetworkFile.load(output).genesis == gb.Genesis("demo", [gb.Market("BTC-USD", "0.05")])


def test_a_file_that_is_no_network_is_never_overwritten(toml: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    for output in (notes, toml):
        result = run(toml, "--output", output, "--replace")
        assert result.exit_code == 2, result.output
    assert notes.read_text() == "mine" and toml.read_text() == TOML


def test_the_example_makes_a_network(tmp_path: Path) -> None:
    path = tmp_path / "example.toml"
    path.write_text(run("--example").stdout)
    assert run(path).exit_code == 0


def test_show_says_what_is_in_a_file(tmp_path: Path) -> None:
    alice = gb.Keypair.from_seed(bytes(32)).peer_id
    club = gb.Genesis(
        "club", [gb.Market("ONE", "0.5", "10", "cancel-both")], members=[alice], start=1_000
    )
    NetworkFile(club, {alice: "alice"}).save(tmp_path / "club.network")
    result = run("--show", tmp_path / "club.network")
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["network", "club"] in lines and ["id", club.network_id.hex()] in lines
    assert ["start", "1970-01-01T00:00:01.000+00:00"] in lines
    assert ["ONE", "0.5", "10", "cancel-both"] in lines and ["alice", alice.hex()] in lines


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--example", "m.toml"],
        ["--example", "--output", "x"],
        ["nowhere.toml"],
        ["--show", "x"],
    ],
)
def test_a_wrong_call_exits_with_2_and_says_why(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2 and "Error: " in result.stderr
