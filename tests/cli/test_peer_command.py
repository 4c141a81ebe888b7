"""`gossipbook peer`: its options, how it starts and ends, and two processes that trade by pipes."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio
from click.testing import CliRunner
from twins.trio_peers import keypair
from twins.virtual_time import real_time, virtual_time

import gossipbook as gb
from gossipbook.cli.app import gossipbook
from gossipbook.cli.network_file import NetworkFile
from gossipbook.cli.peer_command import peer, tuned_interpreter
from gossipbook.cli.peer_life import PeerOptions, Run, introduction, load_extra, run_peer
from gossipbook.cli.prompt_help import COMMANDS
from gossipbook.cli.prompt_output import Output
from gossipbook.errors import NotAMember, StoreError, UsageError

ROOT = Path(__file__).parents[2]
GENESIS = gb.Genesis("machines", [gb.Market("BTC-USD", tick_size="0.01")])
SOON_S = 20.0


@dataclass
class Files:
    """What `gossipbook peer` needs: a network file and a key."""

    folder: Path
    network: Path
    key: Path

    def arguments(self, name: str = "one") -> list[str]:
        store = str(self.folder / f"{name}.db")
        return ["--network", str(self.network), "--key", str(self.key), "--store", store]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    network, key = tmp_path / "m.network", tmp_path / "one.key"
    NetworkFile(GENESIS).save(network)
    keypair(1).save(key)
    return Files(tmp_path, network, key)


def options_for(tmp_path: Path, **given: Any) -> PeerOptions:
    given = {"keypair": keypair(1), "network": NetworkFile(GENESIS)} | given
    return PeerOptions(store=str(tmp_path / "one.db"), **given)


# ------------------------------------------------------------------ options


def test_the_commands_are_there() -> None:
    assert {"peer", "genesis", "keygen"} <= set(gossipbook.commands)


def test_help_names_every_option() -> None:
    shown = CliRunner().invoke(peer, ["--help"]).output
    for option in peer.params:
        if option.opts[0].startswith("--"):
            assert option.opts[0] in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--key", "nowhere.key"], "make one with: gossipbook keygen nowhere.key"),
        (["--network", "nowhere"], "there is no network file 'nowhere'"),
        (["--rate", "5"], "--rate and --bot-seed are for --bot random"),
        (["10.0.0.1:7000"], "are these peers to --join?"),
        (["--join", "10.0.0.1"], "'10.0.0.1' is not HOST:PORT"),
        (["--join", "a:1", "b"], "'b' is not HOST:PORT"),
        (["--listen", "7000"], "'7000' is not HOST:PORT"),
        (["--metrics", "nonsense"], "'nonsense' is not HOST:PORT"),
        (["--advertise", "a:1"], "without listen"),
        (["--log-file", "no/such/folder/log"], "cannot be written"),
    ],
)
def test_a_wrong_call_exits_with_2_and_the_remedy(
    files: Files, arguments: list[str], words: str
) -> None:
    result = CliRunner().invoke(peer, [*files.arguments(), *arguments])
    assert result.exit_code == 2, result.output
    assert words in " ".join(result.stderr.split())


def test_a_missing_package_is_named_with_its_extra() -> None:
    with pytest.raises(UsageError, match=re.escape("--lan needs a package")) as caught:
        load_extra("gossipbook.no_such_module", "--lan", "lan")
    assert "pip install 'gossipbook[lan]'" in str(caught.value)


# ------------------------------------------------------------------ start and end


@virtual_time
async def test_who_is_no_member_is_told_the_id_that_the_network_lacks(tmp_path: Path) -> None:
    club = gb.Genesis("club", GENESIS.markets, members=[keypair(2).peer_id])
    options = options_for(tmp_path, network=NetworkFile(club))
    with pytest.raises(NotAMember, match=keypair(1).peer_id.hex()):
        await run_peer(options, gb.MemoryNetwork().transport(), unused, Output())


@real_time
async def test_a_store_in_use_is_told_as_itself(tmp_path: Path) -> None:
    options = options_for(tmp_path)
    async with gb.open_peer(GENESIS, keypair(1), store=options.store):
        with pytest.raises(StoreError, match="in use"):
            await run_peer(options, gb.MemoryNetwork().transport(), unused, Output())


@virtual_time
async def test_failed_lines_are_the_exit_status(tmp_path: Path) -> None:
    async def talk(run: Run) -> None:
        run.output.failure("no", line_number=1)

    output = Output([].append, [].append)
    assert await run_peer(options_for(tmp_path), network_transport(), talk, output) == 1
    assert await run_peer(options_for(tmp_path), network_transport(), nothing, Output()) == 0


@real_time
@pytest.mark.parametrize(
    ("number", "given", "status"),
    [
        (signal.SIGTERM, {"serve": True}, 0),
        (signal.SIGINT, {"serve": True}, 0),
        (signal.SIGTERM, {"bot_rate_per_s": 50.0}, 0),
        (signal.SIGTERM, {}, 143),
        (signal.SIGINT, {}, 130),
    ],
)
async def test_a_signal_lets_the_peer_say_goodbye(
    tmp_path: Path, number: int, given: dict[str, Any], status: int
) -> None:
    network = gb.MemoryNetwork()

    async def note_what_ends(events: gb.Subscription[gb.PeerEvent]) -> None:
        async for event in events:
            if isinstance(event, gb.PeerDown):
                reasons.append(event.reason)
                return

    reasons: list[str] = []
    with trio.fail_after(10):
        async with gb.open_peer(
            GENESIS, keypair(2), transport=network.transport("other"), alone=True
        ) as other:
            options = options_for(tmp_path, join=("other",), alone=True, **given)
            async with other.events() as events, trio.open_nursery() as nursery:
                nursery.start_soon(note_what_ends, events)

                async def talk_when_linked(run: Run) -> None:
                    while not run.peer.peers():
                        await trio.sleep(0.01)
                    os.kill(os.getpid(), number)
                    await trio.sleep_forever()

                ended = await run_peer(
                    options, network.transport("one"), talk_when_linked, Output()
                )
            assert ended == status
            assert reasons == ["it left"]


@real_time
async def test_an_interrupt_may_end_less_than_the_peer(tmp_path: Path) -> None:
    interrupted = trio.Event()

    def interrupt() -> bool:
        interrupted.set()
        return True

    async def talk(run: Run) -> None:
        run.ending.interrupt = interrupt
        os.kill(os.getpid(), signal.SIGINT)
        with trio.fail_after(5):
            await interrupted.wait()

    assert await run_peer(options_for(tmp_path), network_transport(), talk, Output()) == 0


@virtual_time
async def test_the_bot_trades_beside_the_user(tmp_path: Path) -> None:
    async def talk(run: Run) -> None:
        await trio.sleep(4)
        counts.append(run.peer.entry_count)

    counts: list[int] = []
    options = options_for(tmp_path, bot_rate_per_s=20.0, bot_seed=3)
    assert await run_peer(options, network_transport(), talk, Output()) == 0
    assert 40 < counts[0] < 130


@virtual_time
async def test_the_start_says_who_this_is_and_what_orders_wait_for(tmp_path: Path) -> None:
    async def talk(run: Run) -> None:
        said.extend(line.text for line in (*introduction(run), *run.remarks))

    said: list[str] = []
    options = options_for(tmp_path, join=("nobody",))
    await run_peer(options, network_transport(), talk, Output())
    told = "\n".join(said)
    for words in (keypair(1).peer_id.hex(), GENESIS.network_id.hex(), "one.db: 0 entries"):
        assert words in told
    assert "orders wait until another peer has confirmed" in told


@virtual_time
async def test_memory_is_settled_once_the_store_is_read(tmp_path: Path) -> None:
    order: list[str] = []

    async def talk(run: Run) -> None:
        order.append("talk")

    await run_peer(
        options_for(tmp_path), network_transport(), talk, Output(), lambda: order.append("settle")
    )
    assert order == ["settle", "talk"]


def test_the_collector_is_quiet_while_it_starts_and_itself_again_afterwards() -> None:
    before = gc.get_threshold()
    with tuned_interpreter() as settle:
        assert not gc.isenabled()
        settle()
        assert gc.isenabled() and gc.get_threshold() == (50_000, 20, 100)
        assert gc.get_freeze_count() > 0
    assert (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()) == (True, before, 0)


async def unused(run: Run) -> None:
    raise AssertionError("it must not come to this")


async def nothing(run: Run) -> None:
    pass


def network_transport() -> gb.MemoryTransport:
    return gb.MemoryNetwork().transport()


# ------------------------------------------------------------------ two processes


class PeerProcess:
    """`gossipbook peer --json`, driven line by line."""

    def __init__(self, files: Files, name: str, number: int, *more: str) -> None:
        key = files.folder / f"{name}.key"
        if not key.exists():
            keypair(number).save(key)
        arguments = ["--network", str(files.network), "--key", str(key)]
        arguments += ["--store", str(files.folder / f"{name}.db"), "--json", *more]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gossipbook", "peer", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def ask(self, line: str) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, self.process.communicate(timeout=SOON_S)[1]
        fields: dict[str, Any] = json.loads(answer)
        return fields

    def end_input(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def leave(self) -> tuple[int, str]:
        """Its exit status at the end of the pipe, and what it said on stderr."""
        _, said = self.process.communicate(timeout=SOON_S)
        return self.process.returncode, said


@contextmanager
def process(*arguments: Any) -> Iterator[PeerProcess]:
    one = PeerProcess(*arguments)
    try:
        yield one
    finally:
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait()
        for stream in (one.process.stdin, one.process.stdout, one.process.stderr):
            assert stream is not None
            stream.close()


def test_two_processes_trade_through_pipes_and_agree(files: Files) -> None:
    with ExitStack() as stack:
        alice = stack.enter_context(process(files, "alice", 1, "--listen", "127.0.0.1:0"))
        address = alice.ask("whoami")["address"]
        bob = stack.enter_context(process(files, "bob", 2, "--join", address, "--serve"))
        assert alice.ask("sell 10 50")["order"]["state"] == "open"
        assert bob.ask("wait entries 1")["command"] == "wait"
        bought = bob.ask("buy 4 51")
        assert [(one["price"], one["quantity"]) for one in bought["trades"]] == [("50.00", "4")]
        assert alice.ask("wait trades 1")["command"] == "wait"
        assert alice.ask("orders")["orders"][0]["remaining"] == "6"
        assert "is not a multiple" in alice.ask("sell 1 0.001")["error"]
        for one in (alice, bob):
            assert one.ask("wait equal")["command"] == "wait"
        assert alice.ask("status")["root"] == bob.ask("status")["root"]

        bob.end_input()  # it serves on, until it is told to end
        assert alice.ask("wait seconds 0.3") and bob.process.poll() is None
        began_s = time.monotonic()
        bob.process.send_signal(signal.SIGTERM)
        assert bob.process.wait(SOON_S) == 0
        assert time.monotonic() - began_s < 5
        assert [one["kind"] for one in alice.ask("news")["news"]] == [
            "peer-up",
            "trade",
            "peer-down",
        ]
        status, said = alice.leave()
        assert status == 1 and "line 5: price 0.001" in said


# ------------------------------------------------------------------ the page


def test_the_page_names_every_command_and_every_option() -> None:
    page = (ROOT / "docs" / "command_line.md").read_text()
    for name, one in COMMANDS.items():
        assert f"`{name}" in page, f"docs/command_line.md says nothing of {name}"
        assert one.summary
    for option in peer.params:
        if option.opts[0].startswith("--"):
            assert f"`{option.opts[0]}" in page, f"docs/command_line.md lacks {option.opts[0]}"
