"""What the library's loggers tell of real peers, and that others cannot flood them."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest
import trio
from twins.scenario import GENESIS, limit
from twins.trio_peers import keypair, linked_peers, stranger, until
from twins.virtual_time import virtual_time

import gossipbook as gb
from gossipbook.cli.logs import JsonLines
from gossipbook.event_log import LINES_AT_ONCE, LINES_PER_S, EventLog
from gossipbook.gossip.interface import ClockSkew, DialRefused, Divergence, ForkProven, PeerUp
from gossipbook.identity import short

ALICE, BOB, CAROL = (keypair(number).peer_id for number in (1, 2, 3))


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "gossipbook")
    return caplog


def told(
    lines: pytest.LogCaptureFixture, logger: str, own: gb.PeerId = ALICE
) -> list[logging.LogRecord]:
    """What a logger said about one of the peers of this process."""
    return [
        record
        for record in lines.records
        if record.name == f"gossipbook.{logger}" and record.__dict__["own"] == short(own)
    ]


def messages(records: list[logging.LogRecord]) -> list[str]:
    return [record.getMessage() for record in records]


# ------------------------------------------------------------------ real peers


@virtual_time
async def test_one_reads_what_happened_to_a_peer(lines: pytest.LogCaptureFixture) -> None:
    async with linked_peers(1) as (alice,):
        await alice.submit(limit())
    assert messages(told(lines, "peer")) == [
        f"{short(ALICE)} is open on {GENESIS.name!r} at 0, with 0 entries of 0 authors",
        f"{short(ALICE)} is closed, with 1 entry of 1 author",
    ]


@virtual_time
async def test_links_are_told_with_address_and_reason(lines: pytest.LogCaptureFixture) -> None:
    network = gb.MemoryNetwork()
    async with linked_peers(1, network=network) as (alice,):
        bob = gb.open_peer(
            GENESIS, keypair(2), transport=network.transport("bob"), bootstrap=["0"], alone=True
        )
        async with bob:
            await until(lambda: alice.peers() == [BOB], "Bob is linked")
        await until(lambda: alice.peers() == [], "Bob has left")
    up, down = told(lines, "links")
    assert up.getMessage() == f"{short(BOB)} is linked (bob)"
    assert down.getMessage() == f"{short(BOB)} is no longer linked: it left (bob)"
    assert (up.__dict__["peer"], up.__dict__["address"]) == (short(BOB), "bob")
    assert (down.__dict__["reason"], up.levelname) == ("it left", "INFO")
    assert not hasattr(up, "reason"), "what there is not is left out"


@virtual_time
async def test_no_order_is_worth_a_line(lines: pytest.LogCaptureFixture) -> None:
    lines.set_level(logging.DEBUG, "gossipbook")
    async with linked_peers(2) as (alice, bob):
        before = len(lines.records)
        for _ in range(20):
            await alice.submit(limit())
        await gb.wait_until_equal([alice, bob])
        assert len(lines.records) == before


@virtual_time
async def test_a_connection_that_becomes_no_link_is_told_with_the_reason(
    lines: pytest.LogCaptureFixture,
) -> None:
    network = gb.MemoryNetwork()
    async with linked_peers(1, network=network) as (alice,):
        async with stranger(network, 9, dial="0") as rude:
            await rude.say(b"\xff garbage")
            await until(lambda: rude.hung_up, "it lost its link")
        async with stranger(network, 9, dial="0") as again:
            await until(lambda: again.hung_up, "it is not spoken to for a while")
        assert alice.peers() == []
    up, down, refused = told(lines, "links")
    rude_id = short(keypair(9).peer_id)
    assert up.getMessage().startswith(f"{rude_id} is linked")
    assert f"{rude_id} broke a rule" in down.getMessage()
    assert refused.getMessage().startswith(f"no link to {rude_id}: it broke a rule a short while")


@virtual_time
async def test_a_refused_dial_is_told_once(lines: pytest.LogCaptureFixture) -> None:
    network = gb.MemoryNetwork()
    elsewhere = gb.open_peer(
        gb.Genesis("elsewhere", GENESIS.markets), keypair(2), transport=network.transport("bob")
    )
    alice = gb.open_peer(
        GENESIS, keypair(1), transport=network.transport("alice"), bootstrap=["bob"]
    )
    async with elsewhere, alice:
        await trio.sleep(120)
    (refused,) = told(lines, "links")
    assert refused.__dict__["address"] == "bob"
    assert refused.getMessage().startswith("no link: ") and "network" in refused.getMessage()


@virtual_time
async def test_a_thousand_connections_are_not_a_thousand_lines(
    lines: pytest.LogCaptureFixture,
) -> None:
    network = gb.MemoryNetwork()
    async with linked_peers(1, network=network):
        async with stranger(network, 9, dial="0") as rude:
            await rude.say(b"\xff garbage")
            await until(lambda: rude.hung_up, "it lost its link")
        began_s = trio.current_time()
        for _ in range(1_000):
            async with stranger(network, 9, dial="0") as banned:
                await until(lambda banned=banned: banned.hung_up, "it is banned")
        took_s = trio.current_time() - began_s
        written = len(told(lines, "links"))
        assert LINES_AT_ONCE < written < LINES_AT_ONCE + 2 * (took_s + 1) * LINES_PER_S < 500
        await trio.sleep(30)
        async with stranger(network, 10, dial="0"):
            await trio.sleep(0.1)
    left_out = [one for one in told(lines, "links") if "left out" in one.getMessage()]
    assert sum(one.__dict__["left_out"] for one in left_out) > 500


def test_the_library_is_silent_by_itself() -> None:
    program = (
        "import gossipbook as gb, trio\n"
        "genesis = gb.Genesis('quiet', [gb.Market('ONE')])\n"
        "async def main():\n"
        "    async with gb.open_peer(genesis, gb.Keypair.generate(), alone=True): pass\n"
        "import logging; from gossipbook.gossip.interface import ClockSkew\n"
        "from gossipbook.event_log import EventLog\n"
        "trio.run(main); EventLog(bytes(32)).event(ClockSkew(90_000_000, True), None, 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# ------------------------------------------------------------------ single events


@pytest.mark.parametrize(
    ("event", "level", "words"),
    [
        (ClockSkew(90_500_000, True), "WARNING", "90.5 s behind the median"),
        (ClockSkew(-61_000_000, True), "WARNING", "61.0 s ahead of the median"),
        (ClockSkew(1_000_000, False), "INFO", "again"),
        (
            Divergence("claimed", BOB, 1_700, "ONE", "buy", 42, b"a" * 32, b"b" * 32),
            "WARNING",
            "same entries and another book: ONE, buy side, price 42 ticks, from second 1700",
        ),
        (
            Divergence("healed", None, 1_700, "ONE", None, None, b"", b"", "KeyError: 7"),
            "WARNING",
            "replayed: ONE, from second 1700 on (KeyError: 7)",
        ),
        (
            Divergence("unresolved", BOB, 1_700, None, None, None, b"a" * 32, b"b" * 32),
            "WARNING",
            "theirs is wrong",
        ),
    ],
    ids=str,
)
def test_what_matters_is_a_warning(
    event: gb.PeerEvent, level: str, words: str, lines: pytest.LogCaptureFixture
) -> None:
    EventLog(ALICE).event(event, None, 0.0)
    (record,) = told(lines, "peer")
    assert record.levelname == level
    assert words in record.getMessage()
    json.loads(JsonLines().format(record))  # every field can be written


@virtual_time
async def test_a_fork_names_its_author(lines: pytest.LogCaptureFixture) -> None:
    cluster = gb.sim.Cluster(GENESIS, peers=3, seed=1)
    cluster.run_for(2)
    cluster.equivocate(2)
    cluster.run_for(10)
    (proof,) = cluster.peers[0].proofs()
    EventLog(ALICE).event(ForkProven(proof), None, 0.0)
    (record,) = told(lines, "peer")
    assert record.levelname == "WARNING"
    assert short(proof.author) in record.getMessage()
    assert record.__dict__["author"] == short(proof.author)
    assert record.__dict__["seq"] == proof.seq


def test_addresses_that_are_no_text_are_still_told(lines: pytest.LogCaptureFixture) -> None:
    log = EventLog(ALICE)
    log.event(PeerUp(BOB), b"\xff\xfe", 0.0)
    log.event(DialRefused("bob:7000", "another network"), None, 0.0)
    assert messages(told(lines, "links")) == [
        f"{short(BOB)} is linked (\ufffd\ufffd)",
        "no link: another network (bob:7000)",
    ]
