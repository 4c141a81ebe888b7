"""`gossipbook replay`: the shared cases, the comparison, and what is printed.

The shared cases lie beside the repository; where they are not, the tests that need them skip.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from gossipbook.cli.app import gossipbook
from gossipbook.cli.cases import read_cases
from gossipbook.cli.replay import run_case

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT.parent / "shared" / "data" / "matching"
FILES = sorted(FOLDER.glob("*.jsonl"))
CASES = [case for path in FILES for case in read_cases(path)]
KEPT = [case for case in CASES if case.amend_policy == "both"]

needs_cases = pytest.mark.skipif(not FILES, reason=f"no shared matching cases in {FOLDER}")

SMALL = """\
{"op": "case", "name": "small"}
{"op": "limit", "id": 1, "side": "sell", "price": 10, "qty": 5, "tif": "gtc"}
{"op": "limit", "id": 2, "side": "sell", "price": 10, "qty": 4, "tif": "gtc"}
{"op": "cancel", "id": 3}
{"op": "amend", "id": 1, "qty": 5, "requeue": true}
{"op": "limit", "id": 3, "side": "buy", "price": 11, "qty": 6, "tif": "gtc"}
{"op": "check", "new_trades": [[3, 2, 10, 4], [3, 1, 10, 2]], "l2": [[], [[10, 3, 1]]]}
{"op": "limit", "id": 1, "side": "buy", "price": 9, "qty": 1, "tif": "gtc"}
{"op": "check", "orders": [0, 1], "volume": [0, 3]}
{"op": "limit", "id": 3, "side": "buy", "price": 9, "qty": 7, "tif": "gtc"}
{"op": "expect", "trades": [[3, 2, 10, 4], [3, 1, 10, 2]], "reject_seqs": [2, 5],\
 "bids": [[9, [[3, 7]]]], "asks": [[10, [[1, 3]]]]}
"""


@pytest.fixture
def replay(tmp_path):
    def run(text, *options):
        path = tmp_path / "small.jsonl"
        path.write_text(text)
        return CliRunner().invoke(gossipbook, ["replay", str(path), *options])

    return run


@needs_cases
@pytest.mark.parametrize("case", KEPT, ids=[case.name for case in KEPT])
def test_a_shared_case_comes_out_as_demanded(case):
    assert run_case(case).differences == ()


@needs_cases
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_five_peers_reach_what_every_case_of_a_shared_file_demands(path):
    result = CliRunner().invoke(gossipbook, ["replay", str(path), "--peers", "5"])
    assert result.exit_code == 0, result.stderr


@needs_cases
def test_cases_of_another_amend_policy_are_skipped_and_named():
    path = FOLDER / "liquibook_unit.jsonl"
    result = CliRunner().invoke(gossipbook, ["replay", str(path), "--json"])
    assert result.exit_code == 0
    names = [case.name for case in read_cases(path) if case.amend_policy != "both"]
    assert len(names) == 2
    assert all(name in result.stderr for name in names)
    assert len(result.stdout.splitlines()) == 78


@pytest.mark.parametrize("options", [(), ("--peers", "1"), ("--peers", "5")])
def test_json_says_what_the_file_expects_and_the_root(replay, options):
    result = replay(SMALL, "--json", *options)
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    (line,) = result.stdout.splitlines()
    fields = json.loads(line)
    root, peers = fields.pop("root"), fields.pop("peers", [])
    assert fields == {
        "case": "small",
        "trades": [[3, 2, 10, 4], [3, 1, 10, 2]],
        "reject_seqs": [2, 5],
        "bids": [[9, [[3, 7]]]],
        "asks": [[10, [[1, 3]]]],
    }
    assert len(bytes.fromhex(root)) == 32
    if options:
        # The position rejected for its resting id takes no entry: six of seven do.
        count = int(options[1])
        assert peers == [{"peer": peer, "entries": 6, "root": root} for peer in range(count)]


def test_the_same_seed_gives_the_same_line(replay):
    options = ("--json", "--peers", "3", "--seed")
    assert replay(SMALL, *options, "7").stdout == replay(SMALL, *options, "7").stdout
    assert replay(SMALL, *options, "7").stdout != replay(SMALL, *options, "8").stdout


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        (
            '"new_trades": [[3, 2, 10, 4]',
            '"new_trades": [[3, 1, 10, 4]',
            ["small.jsonl:7: new_trades after command 4", "- [3, 1, 10, 4]", "+ [3, 2, 10, 4]"],
        ),
        ("[[10, 3, 1]]", "[[10, 3, 2]]", ["small.jsonl:7: l2", "- [[10, 3, 2]]"]),
        ('"orders": [0, 1]', '"orders": [0, 2]', ["small.jsonl:9: orders", "- 2", "+ 1"]),
        ('"volume": [0, 3]', '"volume": [0, 4]', ["small.jsonl:9: volume", "- 4", "+ 3"]),
        ('"trades": [[3, 2', '"trades": [[2, 3', ["small.jsonl:11: trades of the case"]),
        ("[2, 5]", "[2]", ["small.jsonl:11: reject_seqs", "+ 5"]),
        ("[[9, [[3, 7]]]]", "[]", ["small.jsonl:11: bids of the case", "+ [9, [[3, 7]]]"]),
        ("[[1, 3]]", "[[1, 2]]", ["small.jsonl:11: asks", "- [10, [[1, 2]]]"]),
    ],
)
def test_a_mismatch_exits_with_1_and_shows_both_versions(replay, right, wrong, said):
    assert SMALL.count(right) == 1
    result = replay(SMALL.replace(right, wrong), "--json")
    assert result.exit_code == 1
    assert 'MISMATCH in case "small"' in result.stderr
    for words in said:
        assert words in result.stderr
    assert len(result.stdout.splitlines()) == 1  # what came out is told all the same


def test_a_mismatch_is_found_through_peers_too(replay):
    result = replay(SMALL.replace("[2, 5]", "[2]"), "--peers", "3")
    assert result.exit_code == 1
    assert "reject_seqs of the case" in result.stderr


def test_all_cases_run_although_one_differs(replay):
    wrong = SMALL.replace("[2, 5]", "[2]").replace('"small"', '"wrong"')
    result = replay(wrong + SMALL)
    assert result.exit_code == 1
    assert "MISMATCH" in result.stderr
    heads, row = result.stdout.splitlines()[:2]
    assert heads.split()[1:] == ["cases", "commands", "met", "mismatched", "skipped", "seconds"]
    assert row.split()[1:6] == ["2", "14", "1", "1", "0"]


def test_a_case_without_expectation_is_named(replay):
    result = replay('{"op": "case", "name": "open"}\n')
    assert result.exit_code == 0
    assert 'case "open" has no "expect" line' in result.stderr


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        (SMALL + "nonsense\n", (), "small.jsonl:12: is not a line of JSON"),
        (SMALL + "nonsense\n", ("--json", "--peers", "3"), "small.jsonl:12: is not a line"),
        (SMALL, ("--peers", "0"), "--peers"),
        (SMALL, ("--peers", "many"), "--peers"),
        (SMALL, ("absent.jsonl",), "absent.jsonl"),
    ],
)
def test_a_bad_file_or_value_exits_with_2_and_prints_no_result(replay, text, options, words):
    result = replay(text, *options)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stdout == ""


def test_the_module_runs_as_a_program(tmp_path):
    path = tmp_path / "small.jsonl"
    path.write_text(SMALL)
    done = subprocess.run(
        [sys.executable, "-m", "gossipbook", "replay", str(path), "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["case"] == "small"
