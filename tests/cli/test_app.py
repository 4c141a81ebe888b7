"""The command line itself: help, and what is said when its libraries are missing."""

import sys

import pytest
from click.testing import CliRunner

from gossipbook.__main__ import main
from gossipbook.cli.app import gossipbook


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], ["replay", "simulate", "An order book without a server"]),
        (["replay", "--help"], ["FILES", "--peers", "--seed", "--json", "exits with 1"]),
        (
            ["simulate", "--help"],
            ["--peers", "--orders", "--markets", "--latency", "--loss", "--seed", "--json"],
        ),
    ],
)
def test_help_names_every_option(arguments, words):
    result = CliRunner().invoke(gossipbook, arguments)
    assert result.exit_code == 0
    for word in words:
        assert word in result.stdout


@pytest.mark.parametrize("arguments", [["replay"], ["nonsense"], ["simulate", "--peers", "2"]])
def test_a_wrong_call_exits_with_2(arguments):
    assert CliRunner().invoke(gossipbook, arguments).exit_code == 2


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_a_missing_library_is_named_with_the_remedy(monkeypatch, capsys, missing):
    for name in [name for name in sys.modules if name.startswith("gossipbook.cli")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.partition(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)

    class Refuser:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == missing:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(sys, "meta_path", [Refuser(), *sys.meta_path])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert f"needs {missing}" in said
    assert 'pip install "gossipbook[cli]"' in said
