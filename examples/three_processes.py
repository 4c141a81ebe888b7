"""A market of three processes: each has a peer and a store on disk, and TLS links to the others.

    python examples/three_processes.py

Alice's process starts this program twice more, for Bob and for Carol, and tells them her address.
That is all they are told: they find each other through her, and nobody is in charge. Each places a
few orders and matches everybody's for itself, and in the end all three print the same root.

On three machines it is the same program: listen where the others can reach you, such as
"0.0.0.0:7000", and give them that address.
"""

import random
import sys
from decimal import Decimal
from tempfile import TemporaryDirectory
from typing import Literal

import trio

import gossipbook as gb

GENESIS = gb.Genesis("three processes", [gb.Market("TEA", tick_size="0.05")])
OTHERS = ("bob", "carol")
ORDERS = 20  # by each of the three
SIDES: tuple[Literal["buy", "sell"], ...] = ("buy", "sell")


async def take_part(name: str, folder: str, contacts: list[str]) -> None:
    """One process: a peer that trades until all three know everything."""
    opening = gb.open_peer(
        GENESIS,
        gb.Keypair.generate(),
        transport=gb.TlsTransport("127.0.0.1:0"),  # at any free port
        bootstrap=contacts,
        store=f"{folder}/{name}.db",
    )
    async with opening as peer, trio.open_nursery() as nursery:
        if not contacts:
            assert peer.address is not None  # for it listens
            for other in OTHERS:
                nursery.start_soon(start_process, other, folder, peer.address)
        with trio.fail_after(60):
            await trade(peer, random.Random(name))
            await everybody_knows_everything(peer)
        book, trades = peer.book("TEA"), len(peer.trades("TEA"))
        print(f"{name:<5} sees {trades} trades, {len(book.orders)} orders, {book.root.hex()[:16]}")


async def start_process(name: str, folder: str, address: str) -> None:
    await trio.run_process([sys.executable, __file__, name, folder, address])


async def trade(peer: gb.Peer, chance: random.Random) -> None:
    for _ in range(ORDERS):
        side = chance.choice(SIDES)
        price = Decimal("9.50") + chance.randint(-5, 5) * Decimal("0.05")
        # It is on this peer's disk when `submit` returns, and on its way to the others.
        await peer.submit(gb.LimitOrder("TEA", side, price=price, quantity=chance.randint(1, 9)))
        await trio.sleep(chance.uniform(0.005, 0.025))


async def everybody_knows_everything(peer: gb.Peer) -> None:
    """Wait until all orders are here, and until those who are still linked have them, too."""
    all_orders = ORDERS * (1 + len(OTHERS))
    while len(peer.commands("TEA")) < all_orders:
        await trio.sleep(0.01)
    while any(link.entries_behind for link in peer.links()):
        await trio.sleep(0.01)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        own_name, folder, address = sys.argv[1:]
        trio.run(take_part, own_name, folder, [address])
    else:
        with TemporaryDirectory() as folder:
            trio.run(take_part, "alice", folder, [])
