"""What the demo shows: drawings that fit and tell the truth, plain lines, the command itself."""

import functools
import io
import json
import os
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from decimal import Decimal

import pytest
import trio
from click.testing import CliRunner
from rich.console import Console
from trio.testing import MockClock

import gossipbook as gb
from gossipbook.cli import demo_memory, demo_screen
from gossipbook.cli.app import gossipbook
from gossipbook.cli.demo import Happening
from gossipbook.cli.demo_drawing import COLOURS, colours_of, draw, picture
from gossipbook.cli.demo_screen import has_room, line_of, status_of
from gossipbook.cli.demo_view import Ladder, PeerRow, View

RED, BLUE, GREEN = [bytes([value]) * 32 for value in (0xAA, 0xBB, 0xCC)]


def row(name, settled=RED, root=RED, state="up"):
    return PeerRow(name, state, 1_234, 567, 89, settled, root)


def ladder(peer, depth=20):
    bids = [gb.PriceLevel(Decimal(100 - at), Decimal("1.25"), 2) for at in range(depth)]
    asks = [gb.PriceLevel(Decimal(105 + at), Decimal("2.5"), 3) for at in range(depth)]
    return Ladder(peer, "BTC-USD", tuple(bids), tuple(asks))


def view(rows, *, happenings=12, depth=20):
    return View(
        elapsed_s=12.34,
        placed=500,
        orders=2_000,
        messages=12_345,
        messages_lost=678,
        rows=tuple(rows),
        ladders=(ladder("alice", depth), ladder("heidi", depth)),
        story=tuple([Happening(at, f"happening {at} " + "word " * 9) for at in range(happenings)]),
        proof_holders=3,
        correct=8,
    )


EIGHT = [row(name) for name in ("alice", "bob", "carol", "dave", "erin", "frank", "grace")]
EIGHT += [row("heidi", settled=BLUE, root=GREEN, state="cut off"), row("carol's backup")]


def drawn(shown, width, height, **options):
    console = Console(
        width=width, height=height, file=io.StringIO(), legacy_windows=False, **options
    )
    console.print(draw(shown, width, height))
    return console.file.getvalue()


# ---------------------------------------------------------------- drawing


@pytest.mark.parametrize("size", [(80, 24), (103, 24), (112, 32), (250, 80)])
@pytest.mark.parametrize("depth", [0, 1, 20])
def test_a_drawing_fills_the_screen_and_no_more(size, depth):
    width, height = size
    lines = drawn(view(EIGHT, depth=depth), width, height).splitlines()
    assert len(lines) == height
    assert max(map(len, lines)) <= width


def test_80_columns_and_24_lines_show_every_peer_and_the_newest_happening():
    text = drawn(view(EIGHT), 80, 24)
    for shown in EIGHT:
        assert f" {shown.name} " in text
    for head in ("entries", "trades", "busted", "root 2 s ago", "root now", "state"):
        assert head in text
    assert "500 of 2,000 orders" in text
    assert "fork proof at" in text
    assert "3 of 8" in text
    assert "happening 11" in text
    assert "happening 0" not in text
    assert "BTC-USD at alice" in text
    assert "BTC-USD at heidi" not in text  # there is room for one ladder


def test_wide_screens_show_two_books_side_by_side():
    text = drawn(view(EIGHT), 112, 32)
    assert "BTC-USD at alice" in text
    assert "BTC-USD at heidi" in text


def test_a_ladder_has_the_best_prices_in_its_middle():
    lines = drawn(view(EIGHT), 112, 32).splitlines()
    middle = next(at for at, line in enumerate(lines) if "spread" in line)
    assert lines[middle].split()[1:3] == ["5", "spread"]
    assert lines[middle - 1].split()[1:3] == ["105", "2.5"]
    assert lines[middle - 2].split()[1:3] == ["106", "2.5"]
    assert lines[middle + 1].split()[1:3] == ["100", "1.25"]
    bars = [lines[middle + step].count("█") for step in (-1, 1)]
    assert bars[0] == pytest.approx(2 * bars[1], abs=2)


def test_peers_that_do_not_fit_are_counted():
    rows = [row(f"peer-{index}") for index in range(23)]
    text = drawn(view(rows), 80, 24)
    shown = sum(f"peer-{index} " in text for index in range(23))
    assert shown >= 9
    assert f"and {23 - shown} more" in text
    assert len(text.splitlines()) == 24


def test_a_peer_that_is_down_shows_no_numbers():
    text = drawn(view([row("alice"), row("bob", None, None, "down")]), 80, 24)
    line = next(line for line in text.splitlines() if " bob " in line)
    assert line.split() == ["bob", "-", "-", "-", "-", "-", "down"]


def test_equal_roots_have_equal_colours_and_different_ones_different():
    colours = colours_of([RED, BLUE, RED, None, GREEN])
    assert set(colours) == {RED, BLUE, GREEN}
    assert len(set(colours.values())) == 3
    many = [bytes([value]) * 32 for value in range(2 * len(COLOURS))]
    assert set(colours_of(many)) == set(many)


def test_a_root_that_only_one_peer_holds_now_is_not_coloured():
    rows = [row("alice", root=RED), row("bob", root=RED), row("carol", root=BLUE)]
    lines = drawn(view(rows), 80, 24).splitlines()

    def marks(name):
        return next(line for line in lines if f" {name} " in line).count("●")

    assert marks("alice") == 2
    assert marks("carol") == 1  # what it held two seconds ago


def test_a_picture_is_svg_that_loads_nothing():
    drawing = picture(view(EIGHT))
    root = ElementTree.fromstring(drawing)
    assert root.tag.endswith("svg")
    assert "alice" in "".join(root.itertext())
    assert "@font-face" not in drawing
    assert not re.findall(r"(?:href|src|url)\W+http", drawing)


# ---------------------------------------------------------------- plain lines


def test_a_status_line_counts_books_and_busted_trades():
    line = status_of(view(EIGHT))
    assert line == (
        "  12.34 s  500 of 2,000 orders; 2 s ago 9 peers held 2 different books; 801 trades busted"
    )
    assert "2 peers held one book;" in status_of(view([row("alice"), row("bob")]))
    assert "1 peer held one book;" in status_of(view([row("alice")]))
    assert line_of(Happening(3.5, "it rains")) == "   3.50 s  it rains"


def test_lost_messages_are_told_where_they_can_be_counted():
    assert "12,345 messages, 678 never arrived" in drawn(view(EIGHT), 80, 24)
    assert "12,345 messages  " in drawn(replace(view(EIGHT), messages_lost=None), 80, 24)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("width", "height", "term", "room"),
    [
        (80, 24, "xterm", True),
        (79, 24, "xterm", False),
        (80, 23, "xterm", False),
        (80, 24, "dumb", False),
    ],
)
def test_small_and_dumb_terminals_get_plain_lines(monkeypatch, width, height, term, room):
    monkeypatch.setattr(sys, "stdout", Terminal())
    environment = {"TERM": term}
    console = Console(
        file=sys.stdout, width=width, height=height, force_terminal=True, _environ=environment
    )
    assert has_room(console) is room


def test_a_pipe_gets_plain_lines_whatever_the_environment_says(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    console = Console(file=sys.stdout, width=112, height=32, force_terminal=True)
    assert not has_room(console)


# ---------------------------------------------------------------- the command


@pytest.fixture
def no_waiting(monkeypatch):
    """The command in virtual time."""
    clock = MockClock(autojump_threshold=0)
    monkeypatch.setattr(demo_screen.trio, "run", functools.partial(trio.run, clock=clock))


def run(*options):
    return CliRunner().invoke(gossipbook, ["demo", "--peers", "4", "--orders", "150", *options])


def test_the_command_tells_its_story_in_plain_lines_and_exits_with_0(no_waiting):
    result = run("--markets", "2")
    assert result.exit_code == 0, result.stderr
    assert "\x1b" not in result.stdout
    assert result.stderr == ""
    for words in ("cut off", "heals", "joins", "is killed", "starts again", "backup is started"):
        assert words in result.stdout
    assert re.search(r"\d of 150 orders; 2 s ago \d peers held", result.stdout)
    assert "correct peers that hold the fork proof  4 of 4" in result.stdout
    assert "a naive replay" in result.stdout


def test_json_is_one_line_on_stdout_and_the_story_goes_to_stderr(no_waiting):
    result = run("--json")
    assert result.exit_code == 0, result.stderr
    assert "cut off" in result.stderr
    (line,) = result.stdout.splitlines()
    told = json.loads(line)
    assert told["ok"] is True
    assert told["orders"] == 150
    assert [peer["peer"] for peer in told["peers"]] == ["alice", "bob", "carol", "dave", "erin"]
    assert [peer["peer"] for peer in told["peers"] if not peer["correct"]] == ["carol"]
    assert {peer["root"] for peer in told["peers"] if peer["correct"]} == {told["root"]}


def test_a_bad_end_exits_with_1(no_waiting, monkeypatch):
    monkeypatch.setattr(demo_memory, "find_fault", lambda peers: f"{next(iter(peers))} is odd")
    result = run()
    assert result.exit_code == 1
    assert result.stderr == "gossipbook demo: FAILED: alice is odd\n"
    assert "peers agree" not in result.stdout


def test_a_screenshot_is_saved_while_the_network_is_cut(no_waiting, tmp_path):
    path = tmp_path / "demo.svg"
    assert run("--screenshot", str(path)).exit_code == 0
    text = "".join(ElementTree.parse(path).getroot().itertext()).replace("\xa0", " ")
    assert "cut off" in text
    assert "gossipbook demo" in text


def test_a_terminal_gets_live_screens_and_then_the_story(no_waiting, monkeypatch):
    frames = []

    def note(shown, width, height):
        frames.append(shown)
        return draw(shown, width, height)

    monkeypatch.setattr(demo_screen, "has_room", lambda console: True)
    monkeypatch.setattr(demo_screen, "draw", note)
    result = run()
    assert result.exit_code == 0, result.stderr
    assert "is killed" in result.stdout
    assert "orders; 2 s ago" not in result.stdout
    assert {"up", "cut off", "down", "forked"} <= {row.state for one in frames for row in one.rows}
    assert frames[-1].proof_holders == frames[-1].correct == 4
    correct = [row for row in frames[-1].rows if row.name != "carol"]
    assert len({row.root for row in correct}) == 1


@pytest.mark.parametrize(
    "options",
    [("--peers", "2"), ("--orders", "5"), ("--loss", "1"), ("--latency", "9", "5")],
)
def test_bad_values_exit_with_2(options):
    assert run(*options).exit_code == 2


def test_help_names_the_options():
    result = CliRunner().invoke(gossipbook, ["demo", "--help"])
    for option in ("--peers", "--orders", "--markets", "--latency", "--loss", "--seed", "--json"):
        assert option in result.stdout
    for option in ("--processes", "--keep"):
        assert option in result.stdout
    assert "[default: 2000; with --processes 1300]" in " ".join(result.stdout.split())


@pytest.fixture
def started():
    """The command in another process and in real time, once its first act has begun."""
    command = [sys.executable, "-m", "gossipbook", "demo", "--orders", "200"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert "8 peers start" in process.stdout.readline()
        assert "cut off" in process.stdout.readline()
        yield process
        process.kill()


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_an_interrupt_ends_it_at_once_and_cleanly(started):
    started.send_signal(signal.SIGINT)
    _, errors = started.communicate(timeout=20)
    assert started.returncode == 130
    assert errors == "gossipbook demo: interrupted\n"


@pytest.mark.skipif(os.name != "posix", reason="pipes as POSIX has them")
def test_a_reader_that_has_seen_enough_gets_no_traceback(started):
    started.stdout.close()
    assert "Traceback" not in started.stderr.read()
    assert started.wait(timeout=20) == 1
