"""Two peers, one trade: each works out the same book for itself.

    python examples/two_peers.py

Alice offers tea and Bob buys some. Nobody stands between them: each peer matches the two orders
on its own, and both show the same trade, what is left of the offer, and the same root.
"""

import trio

import gossipbook as gb


async def main() -> None:
    genesis = gb.Genesis("two peers", [gb.Market("TEA", tick_size="0.05")])
    network = gb.MemoryNetwork(link=gb.Link(latency=(0.005, 0.05)))
    at_alice, at_bob = network.transport("alice"), network.transport("bob")
    async with (
        gb.open_peer(genesis, gb.Keypair.generate(), transport=at_alice) as alice,
        gb.open_peer(genesis, gb.Keypair.generate(), transport=at_bob, bootstrap=["alice"]) as bob,
    ):
        with trio.fail_after(10):
            await alice.submit(gb.LimitOrder("TEA", "sell", price="9.50", quantity=10))
            await gb.wait_until_equal([alice, bob])  # Bob sees the offer ...
            await bob.submit(gb.LimitOrder("TEA", "buy", price="9.60", quantity=4))
            await gb.wait_until_equal([alice, bob])  # ... and Alice sees that he took it

        for name, peer in (("alice", alice), ("bob", bob)):
            (trade,), (offer,) = peer.trades("TEA"), peer.book("TEA").asks
            print(
                f"{name:<5} sees {trade.quantity} traded at {trade.price}, "
                f"{offer.quantity} still offered, root {peer.root.hex()[:16]}"
            )
        assert alice.root == bob.root


if __name__ == "__main__":
    trio.run(main)
