"""A live peer over TLS, its store on disk, under attack: does it keep up, what does it need?

For every attack three processes: the peer that is attacked, an honest friend with a link to it, and
this one, which attacks. The peer submits an order of its own every 20 ms, first in peace and then
under attack, and each submit is timed from the moment at which it was due, so that a peer that
stands still is not asked less often. Memory is the peer's greatest resident set (VmHWM). Entries
that it admits it has to keep; what each of them costs stands in a table of its own.

Afterwards the friend's link has to be the one it was, no submit may have failed, friend and peer
have to hold the same entries, and neither may have complained. ``tests/network/hostile.py`` knows
what the attackers do.

    python -m bench.hostile [--small] [--only NAME ...] [--seconds S] [--json FILE]
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from time import monotonic

import trio

import gossipbook as gb
from bench.peer_processes import PeerProcess, PeerProcessFailed, open_processes
from bench.report import Results, print_table, progress, write_json
from bench.storage_restart import percentile_ms

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from network import hostile
from network.hostile import Flood, Tally, Target

GENESIS = gb.Genesis("bench hostile", [gb.Market("BTC-USD", "0.01", "0.0001")])
ATTACKER = gb.Keypair.from_seed(b"\x77" * 32)
ORDERS_PER_S = 50
SECONDS, SMALL_SECONDS = 10.0, 1.0
WARM_ORDERS = 20
GATHER_S = 0.5
"""How long an attack goes on before it is measured."""
LINK_LIMIT_S = 20.0
QUIET_S = 1.2
"""After so long the log has room for one more line about refused connections."""
HOLD_LIMIT_S = 60.0
POLL_S = 0.02
AIM_MS = 200.0
"""What the 99th percentile of the peer's own submits should stay below."""
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Attack:
    """What is done to the peer; with so many orders in each entry that it admits."""

    title: str
    flood: Flood
    orders: int = 0


ATTACKS = {
    "connections": Attack("connect, hang up", hostile.connect_and_hang_up),
    "handshakes": Attack("TLS, hang up", hostile.handshake_and_hang_up),
    "hellos": Attack("hello, hang up", hostile.hello_and_hang_up),
    "hellos-50": Attack("the same, 50 sources", partial(hostile.hello_and_hang_up, sources=50)),
    "links": Attack("link, hang up, new keys", hostile.prove_and_hang_up),
    "idle": Attack("1,000 idle connections", hostile.stand_idle),
    "idle-50": Attack("the same, 50 sources", partial(hostile.stand_idle, sources=50)),
    "forged": Attack("forged entries, new keys", hostile.forge_as_strangers),
    "forged-8": Attack("the same, 8 sources", partial(hostile.forge_as_strangers, sources=8)),
    "forged-member": Attack("forged entries, one key", hostile.forge_as_member),
    "junk": Attack("256 KiB of junk, new keys", hostile.say_junk),
    "heads": Attack("frontiers of 1,024 heads", hostile.claim_heads),
    "news": Attack("news of 1,024 heads", hostile.claim_heads_as_news),
    "pings": Attack("pings", hostile.ping),
    "questions": Attack("questions, never reads", hostile.ask_and_never_read),
    "addresses": Attack("64 false addresses / 3 ms", hostile.tell_false_addresses),
    "known": Attack("known entries again", hostile.say_known_entries),
    "entries": Attack("valid entries, 1 order", hostile.write_entries, 1),
    "entries-256": Attack(
        "valid entries, 256 orders", partial(hostile.write_entries, commands=256), 256
    ),
}


@dataclass(frozen=True, slots=True)
class Stood:
    """How the peer stood one attack."""

    before_s: tuple[float, ...]
    """How long each submit took in peace, in order."""
    under_s: tuple[float, ...]
    """The same under attack."""
    processor_share: float
    """Of one core, under attack."""
    waited_share: float
    """For how much of that time its thread could have run, and others had the cores (Linux)."""
    memory_before_bytes: int
    memory_bytes: int
    admitted: int
    """Entries of the attacker that the peer holds at the end."""
    refused: int
    """Connections that the peer refused before they were links, by its log."""
    dropped: int
    """Links to attackers that it ended, or that ended."""
    tally: Tally


def main(arguments: list[str] | None = None) -> Results:
    """Print the tables; the raw results."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.hostile",
        description="A live peer over TLS under attack: its own submits, its memory.",
    )
    parser.add_argument("--small", action="store_true", help="a second of each attack")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=list(ATTACKS),
        metavar="NAME",
        help=f"only these: {', '.join(ATTACKS)}",
    )
    parser.add_argument(
        "--seconds", type=float, help=f"of peace, and of attack ({SECONDS:.0f}; small 1)"
    )
    parser.add_argument("--directory", type=Path, help="where the stores are written")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save the raw results here")
    options = parser.parse_args(arguments)
    seconds = options.seconds or (SMALL_SECONDS if options.small else SECONDS)
    if options.seconds is not None and options.seconds * ORDERS_PER_S < 1:
        parser.error(f"--seconds {options.seconds} is too short; give at least {1 / ORDERS_PER_S}")
    if options.directory is not None and not options.directory.is_dir():
        parser.error(f"{options.directory} is no directory; give a directory that exists")
    found: dict[str, Stood] = {}
    for name in options.only or list(ATTACKS):
        progress(f"{name}: {ATTACKS[name].title}")
        found[name] = attack(name, seconds, folder=options.directory)
    print_latency(found)
    print_memory(found)
    results: Results = {name: asdict(stood) for name, stood in found.items()}
    if options.json is not None:
        write_json(options.json, {"hostile": results, "seconds": seconds})
    return results


def attack(name: str, seconds: float, *, folder: Path | None = None) -> Stood:
    """Start the processes, attack, and look at what became of them."""

    async def run() -> Stood:
        with tempfile.TemporaryDirectory(dir=folder) as stores:
            async with open_processes(Path(stores), GENESIS) as processes:
                peer = await processes.start("attacked", log_level="INFO")
                friend = await processes.start("friend")
                return await _attack(ATTACKS[name], seconds, peer, friend)

    return trio.run(run)


async def _attack(attack: Attack, seconds: float, peer: PeerProcess, friend: PeerProcess) -> Stood:
    address = (await peer.ask("open", listen="127.0.0.1:0", alone=True))["address"]
    await friend.ask("open", listen="127.0.0.1:0", bootstrap=[address], alone=True)
    await _linked(peer, friend)
    count = round(seconds * ORDERS_PER_S)
    await peer.ask("submit", count=WARM_ORDERS, orders_per_s=ORDERS_PER_S)
    before = await peer.ask("submit", count=count, orders_per_s=ORDERS_PER_S)
    at_peace = await peer.ask("status")
    target = Target(address, GENESIS, ATTACKER)
    tally = Tally()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(attack.flood, target, tally)
        await trio.sleep(GATHER_S)
        began_s, waited_s = monotonic(), _waited_s(peer.pid)
        under = await peer.ask("submit", count=count, orders_per_s=ORDERS_PER_S)
        took_s, waited_s = monotonic() - began_s, _waited_s(peer.pid) - waited_s
        nursery.cancel_scope.cancel()
    await _refuse_once_more(target)
    status = await peer.ask("status")
    await friend.ask("hold", frontier=status["frontier"], limit_s=HOLD_LIMIT_S)
    _check(before, under, status, peer, friend)
    return Stood(
        _delays_s(before),
        _delays_s(under),
        under["processor_s"] / took_s,
        waited_s / took_s,
        at_peace["peak_memory_bytes"],
        status["peak_memory_bytes"],
        status["entries"] - status["frontier"][peer.peer_id.hex()],
        refused_in(peer.complaints),
        sum(change[1] == "down" for change in status["changes"]),
        tally,
    )


async def _linked(peer: PeerProcess, friend: PeerProcess) -> None:
    with trio.fail_after(LINK_LIMIT_S):
        while friend.peer_id.hex() not in (await peer.ask("status"))["peers"]:
            await trio.sleep(POLL_S)


async def _refuse_once_more(target: Target) -> None:
    """So that the log tells how many were left out until now."""
    await trio.sleep(QUIET_S)
    with suppress(*hostile.BROKEN), trio.move_on_after(QUIET_S):
        stream = await hostile.reach(target, source="127.8.8.8")
        async with stream:
            await stream.send_all(b"not TLS")
            await hostile.hung_up(stream)


def refused_in(log: str) -> int:
    """How many connections a log says were refused; the one made to see it is not counted."""
    lines = [line for line in log.splitlines() if "refused a connection from" in line]
    left_out = re.findall(r"\(([\d,]+) more before it, not shown\)", "\n".join(lines))
    own = sum("from 127.8.8.8:" in line for line in lines)
    return len(lines) - own + sum(int(number.replace(",", "")) for number in left_out)


def _waited_s(pid: int) -> float:
    """For how long the process's first thread has waited for a core, all told; 0 if unknown."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def _delays_s(submitted: Results) -> tuple[float, ...]:
    return tuple(sorted(returned - due for _, _, due, returned in submitted["submits"]))


def _check(
    before: Results, under: Results, status: Results, peer: PeerProcess, friend: PeerProcess
) -> None:
    """Nothing went wrong for anybody honest."""
    failed = before["failures"] + under["failures"]
    if failed:
        raise PeerProcessFailed(f"submits of the attacked peer failed: {failed}")
    lost = [one for one in status["changes"] if one[1:3] == ["down", friend.peer_id.hex()]]
    if lost:
        raise PeerProcessFailed(f"the honest link was lost: {lost}")
    for process in (peer, friend):
        if "Traceback" in process.complaints:
            raise PeerProcessFailed(f"{process.name} complained:\n{process.complaints[-4000:]}")


# ==================================================================== tables


def print_latency(found: dict[str, Stood]) -> None:
    """How long the peer's own submits took, and what that cost."""
    head = (
        *("attack", "p50 ms", "p99 ms", "before: p50", "p99"),
        *("core", "waited", "refused", "dropped", ""),
    )
    rows = []
    for name, stood in found.items():
        under, before = (
            partial(percentile_ms, stood.under_s),
            partial(percentile_ms, stood.before_s),
        )
        rows.append(
            (
                f"{name}: {ATTACKS[name].title}",
                f"{under(50):.1f}",
                f"{under(99):.0f}",
                f"{before(50):.1f}",
                f"{before(99):.0f}",
                f"{stood.processor_share:.0%}",
                f"{stood.waited_share:.0%}",
                f"{stood.refused:,}",
                f"{stood.dropped:,}",
                "" if under(99) <= AIM_MS else f"above {AIM_MS:.0f} ms",
            )
        )
    print(f"own submits, {ORDERS_PER_S} a second, durable, from when each was due")
    print_table(head, rows)
    print("core: what the peer used of one; waited: for how long others had all cores\n")


def print_memory(found: dict[str, Stood]) -> None:
    """How much memory the peer needed, apart from what it keeps, and for each entry it keeps."""
    head = ("attack", "before MB", "most MB", "admitted", "KB / entry", "bytes / order", "sent MB")
    rows = []
    for name, stood in found.items():
        grown = stood.memory_bytes - stood.memory_before_bytes
        orders = stood.admitted * ATTACKS[name].orders
        rows.append(
            (
                name,
                f"{stood.memory_before_bytes / MEGABYTE:.0f}",
                f"{stood.memory_bytes / MEGABYTE:.0f}",
                f"{stood.admitted:,}",
                f"{grown / stood.admitted / 1000:.1f}" if orders else "",
                f"{grown / orders:.0f}" if orders else "",
                f"{stood.tally.sent_bytes / MEGABYTE:.1f}",
            )
        )
    print("memory of the peer: the greatest resident set of its process (VmHWM)")
    print_table(head, rows)


if __name__ == "__main__":
    main()
