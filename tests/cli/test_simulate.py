"""`gossipbook simulate`: the story ends well, every fault bites, and a bad end is told."""

import json

import pytest
from click.testing import CliRunner

from gossipbook.cli import ending
from gossipbook.cli import simulate as module
from gossipbook.cli.app import gossipbook

SMALL = ["simulate", "--peers", "4", "--orders", "80", "--markets", "2"]


def run(*options):
    return CliRunner().invoke(gossipbook, [*SMALL, *options])


def test_all_correct_peers_end_equal_and_the_same_seed_gives_the_same_words():
    first, second = run("--seed", "3"), run("--seed", "3")
    assert first.exit_code == 0, first.stderr
    assert first.stdout == second.stdout
    for words in ("cut off", "heals", "joins", "loses power", "starts again", "two histories"):
        assert words in first.stdout
    assert "a naive replay" in first.stdout


def test_another_seed_gives_another_world():
    one, other = [json.loads(run("--json", "--seed", seed).stdout) for seed in ("3", "4")]
    assert one["trace_hash"] != other["trace_hash"]


def test_json_tells_the_ending_and_the_story_goes_to_stderr():
    result = run("--json")
    assert result.exit_code == 0, result.stderr
    assert "cut off" in result.stderr
    (line,) = result.stdout.splitlines()
    told = json.loads(line)
    assert told["ok"] is True
    assert told["failure"] == ""
    assert told["orders"] == 80
    assert told["bytes_per_order"] > 100  # an entry alone takes about 180
    assert told["messages_lost"] > 0
    assert told["undone_per_order"] > 0
    peers = told["peers"]
    assert [peer["peer"] for peer in peers] == [0, 1, 2, 3, 4]  # four, and the one that joined
    assert [peer["peer"] for peer in peers if not peer["correct"]] == [2]
    assert {peer["root"] for peer in peers if peer["correct"]} == {told["root"]}
    assert all(count == 1 for count in told["proofs"])
    assert set(peers[0]) == {
        "peer", "peer_id", "correct", "entries", "trades", "busted", "root"
    }  # fmt: skip


@pytest.mark.parametrize("options", [("--peers", "3"), ("--markets", "1"), ("--loss", "0.4")])
def test_small_and_lossy_worlds_end_well(options):
    result = run(*options)
    assert result.exit_code == 0, result.stderr


def test_what_a_naive_replay_does_not_give_exits_with_1(monkeypatch):
    honest = ending.naive_replay

    def mistaken(peer):
        engines = honest(peer)
        next(iter(engines.values())).rewind(3)
        return engines

    monkeypatch.setattr(ending, "naive_replay", mistaken)
    result = run()
    assert result.exit_code == 1
    assert "FAILED" in result.stderr
    assert "BTC-USD is not what a naive replay gives" in result.stderr


def test_peers_that_do_not_agree_in_time_exit_with_1(monkeypatch):
    monkeypatch.setattr(module, "CONVERGENCE_DEADLINE_S", 0.0)
    result = run()
    assert result.exit_code == 1
    assert "not converged" in result.stderr


@pytest.mark.parametrize(
    "options", [("--orders", "5"), ("--loss", "1"), ("--latency", "50", "5"), ("--markets", "99")]
)
def test_bad_values_exit_with_2(options):
    assert run(*options).exit_code == 2
