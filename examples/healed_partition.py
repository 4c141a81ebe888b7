"""A network breaks, both halves go on trading, and when it heals one trade is taken back.

    python examples/healed_partition.py

Alice bids for five. Then Bob is cut off, and he and Carol both sell her the same five, Bob a
little earlier. Each half sees one trade and knows nothing of the other. When the network heals,
every peer reads Bob's order first: Carol's trade is busted. Her subscription tells her so, and
her order rests in the book instead.
"""

import trio

import gossipbook as gb

ALICE, BOB, CAROL = (gb.Keypair.generate() for _ in range(3))
NAMES = {ALICE.peer_id: "alice", BOB.peer_id: "bob", CAROL.peer_id: "carol"}


async def main() -> None:
    genesis = gb.Genesis("healed partition", [gb.Market("TEA", tick_size="0.05")])
    network = gb.MemoryNetwork(link=gb.Link(latency=(0.005, 0.05)))
    at_alice, at_bob, at_carol = (network.transport(name) for name in NAMES.values())
    async with (
        gb.open_peer(genesis, ALICE, transport=at_alice) as alice,
        gb.open_peer(genesis, BOB, transport=at_bob, bootstrap=["alice"]) as bob,
        gb.open_peer(genesis, CAROL, transport=at_carol, bootstrap=["alice"]) as carol,
    ):
        with trio.fail_after(20):
            await trade_through_a_partition(network, alice, bob, carol)


async def trade_through_a_partition(
    network: gb.MemoryNetwork, alice: gb.Peer, bob: gb.Peer, carol: gb.Peer
) -> None:
    await alice.submit(gb.LimitOrder("TEA", "buy", price="9.50", quantity=5))
    await gb.wait_until_equal([alice, bob, carol])
    print("alice bids for 5 TEA at 9.50, and everybody has heard of it")

    async with trio.open_nursery() as nursery:  # ends when Carol has lost her trade
        nursery.start_soon(tell_until_busted, carol)

        network.partition(["bob"])
        print("\nthe network breaks: bob is cut off from alice and carol")
        await sell(bob)
        await trio.sleep(0.2)  # clearly later, also where clocks differ by a few milliseconds
        await sell(carol)

        await trio.sleep(0.2)
        network.heal()
        print("\nthe network heals")

    await gb.wait_until_equal([alice, bob, carol])
    (trade,), (resting,) = alice.trades("TEA"), alice.book("TEA").orders
    assert alice.root == bob.root == carol.root
    print(f"\nall three agree: {describe(trade)}")
    print(f"{NAMES[resting.order_id.author]} still offers {resting.quantity} at {resting.price}")


async def sell(seller: gb.Peer) -> None:
    """Sell what Alice wants, and say what the seller's own book makes of it."""
    await seller.submit(gb.LimitOrder("TEA", "sell", price="9.50", quantity=5))
    (trade,) = seller.trades("TEA")
    print(f"  {NAMES[seller.peer_id]} sells, and sees: {describe(trade)}")


async def tell_until_busted(peer: gb.Peer) -> None:
    """Print every trade that happens or is taken back, up to the first that is taken back."""
    name = NAMES[peer.peer_id]
    async with peer.subscribe("TEA") as updates:
        async for update in updates:
            busted = [event for event in update.undone if isinstance(event, gb.Trade)]
            for trade in busted:
                print(f"  {name} is told: busted, {describe(trade)}")
            for event in update.events:
                if isinstance(event, gb.Trade):
                    print(f"  {name} is told: traded, {describe(event)}")
            if busted:
                return


def describe(trade: gb.Trade) -> str:
    buyer, seller = trade.maker.author, trade.taker.author
    if trade.taker_side == "buy":
        buyer, seller = seller, buyer
    return f"{NAMES[seller]} to {NAMES[buyer]}, {trade.quantity} at {trade.price}"


if __name__ == "__main__":
    trio.run(main)
