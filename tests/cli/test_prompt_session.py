"""Commands at real peers: what they do, what they answer, and what they refuse."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
from twins.trio_peers import all_linked, keypair, until
from twins.virtual_time import real_time, virtual_time

import gossipbook as gb
from gossipbook.cli.prompt_answers import Answer
from gossipbook.cli.prompt_language import parse
from gossipbook.cli.prompt_news import NewsDesk, Notice
from gossipbook.cli.prompt_session import Session, explain, make_session
from gossipbook.errors import UsageError

pytestmark = virtual_time

GENESIS = gb.Genesis(
    "prompt",
    [
        gb.Market("BTC-USD", tick_size="0.5", lot_size="0.1"),
        gb.Market("eth-usd", self_trade="cancel-resting"),
    ],
)
ALICE, BOB, CAROL = keypair(1), keypair(2), keypair(3)
SHORT_WAY = gb.Link(latency=(0.001, 0.001))
NAMES = {one.peer_id: name for one, name in ((ALICE, "alice"), (BOB, "bob"), (CAROL, "carol"))}


@dataclass
class Desk:
    """One user at one peer."""

    peer: gb.Peer
    session: Session
    news: NewsDesk
    told: list[Notice] = field(default_factory=list)

    async def do(self, line: str) -> Answer:
        wish = parse(line)
        assert wish is not None
        return await self.session.answer(wish)

    async def says(self, line: str) -> list[str]:
        return [one.text for one in (await self.do(line)).lines]

    def heard(self, *kinds: str) -> list[str]:
        return [one.line.text for one in self.told if not kinds or one.kind in kinds]


@asynccontextmanager
async def desk(key: gb.Keypair, **options: Any) -> AsyncIterator[Desk]:
    told: list[Notice] = []
    async with (
        gb.open_peer(GENESIS, key, **options) as peer,
        trio.open_nursery() as nursery,
    ):
        session, news = make_session(peer, names=NAMES, tell=told.append)
        nursery.start_soon(news.watch)
        yield Desk(peer, session, news, told)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def linked(*keys: gb.Keypair, network: gb.MemoryNetwork | None = None) -> AsyncIterator[Any]:
    network = network or gb.MemoryNetwork(link=SHORT_WAY)
    async with AsyncExitStack() as stack:
        desks: list[Desk] = []
        for key in keys:
            name = NAMES[key.peer_id]
            opened = desk(
                key,
                transport=network.transport(name),
                bootstrap=[NAMES[one.peer.peer_id] for one in desks],
                alone=True,
                seed=len(desks),
            )
            desks.append(await stack.enter_async_context(opened))
        await until(lambda: all_linked([one.peer for one in desks]), "all linked")
        yield desks


# ------------------------------------------------------------------ own orders


async def test_an_order_rests_is_shown_and_is_cancelled() -> None:
    async with desk(ALICE) as alice:
        assert await alice.says("buy 10 50") == ["#1 buy 10.0 at 50.0 in BTC-USD: resting"]
        assert await alice.says("sell 2 60 in ETH-USD") == ["#2 sell 2 at 60 in eth-usd: resting"]
        assert [line.split() for line in (await alice.says("orders"))[1:]] == [
            ["#1", "BTC-USD", "buy", "50.0", "10.0", "0.0"],
            ["#2", "eth-usd", "sell", "60", "2", "0"],
        ]
        assert await alice.says("cancel 1") == ["#1 buy 10.0 at 50.0 in BTC-USD: cancelled"]
        assert [order.order_id.market for order in alice.session.open_orders()] == ["eth-usd"]
        assert not alice.peer.book("BTC-USD").orders


async def test_two_people_trade_and_each_is_told_once() -> None:
    async with linked(ALICE, BOB) as (alice, bob):
        await alice.do("sell 10 50")
        await bob.do("wait entries 1")
        assert await bob.says("buy 4 51") == [
            "#1 bought 4.0 at 50.0 from alice",
            "#1 buy 4.0 at 51.0 in BTC-USD: filled",
        ]
        await alice.do("wait trades 1")
        await trio.sleep(1)
        assert alice.heard("trade") == ["#1 sold 4.0 at 50.0 to bob; 6.0 left"]
        assert bob.heard("trade", "order") == []  # its answer said so
        assert (await bob.says("trades"))[2].split()[2:] == (
            ["50.0", "4.0", "#1", "buys", "from", "alice/0"]
        )


@pytest.mark.parametrize(
    ("line", "last"),
    [
        ("buy 4 50 ioc", "#2 buy 4.0 at 50.0 in BTC-USD: filled"),
        ("buy 4 49 ioc", "cancelled, nobody else trades at that price now"),
        ("buy 11 50 fok", "REJECTED, the book does not hold the whole amount at that price"),
        ("buy 1 50 post", "REJECTED, it would have traded at once, and post only rests"),
        ("buy 11 market", "10.0 filled, the rest cancelled, the book offers no more"),
        ("buy 11 50", "#2 buy 11.0 at 50.0 in BTC-USD: 1.0 resting, 10.0 filled"),
    ],
)
async def test_every_kind_of_order_says_what_became_of_it(line: str, last: str) -> None:
    async with desk(ALICE) as alice:
        await alice.do("sell 10 50")
        assert (await alice.says(line))[-1].endswith(last)


async def test_replacing_keeps_the_number_and_may_trade() -> None:
    async with linked(ALICE, BOB) as (alice, bob):
        await alice.do("sell 10 50")
        await bob.do("buy 10 40")
        await bob.do("wait entries 2")
        assert await bob.says("replace 1 quantity 5") == ["#1 buy 5.0 at 40.0 in BTC-USD: resting"]
        assert await bob.says("replace #1 reduce 1") == ["#1 buy 4.0 at 40.0 in BTC-USD: resting"]
        assert await bob.says("replace 1 price 50 quantity 6") == [
            "#1 bought 6.0 at 50.0 from alice",
            "#1 buy 6.0 at 50.0 in BTC-USD: filled",
        ]
        with pytest.raises(UsageError, match="nothing is left to replace: #1 is filled"):
            await bob.do("replace 1 price 51")


async def test_cancel_all_takes_every_open_order_or_those_of_one_market() -> None:
    async with desk(ALICE) as alice:
        for price in range(1, 301):  # more than go into one entry
            await alice.peer.submit(gb.LimitOrder("BTC-USD", "buy", price=price, quantity=1))
        await alice.do("buy 1 1 in eth-usd")
        answer = await alice.do("cancel all in BTC-USD")
        assert len(answer.fields["orders"]) == 300
        assert {one["state"] for one in answer.fields["orders"]} == {"cancelled"}
        assert len(alice.session.open_orders()) == 1
        assert len((await alice.do("cancel all")).fields["orders"]) == 1
        assert await alice.says("cancel all") == ["no open orders to cancel"]


async def test_an_own_order_cancelled_by_self_trade_rules_is_news() -> None:
    async with desk(ALICE) as alice:
        await alice.do("market ETH-usd")
        await alice.do("sell 1 60")
        assert await alice.says("buy 1 60") == ["#2 buy 1 at 60 in eth-usd: resting"]
        await trio.sleep(1)
        assert alice.heard("order") == [
            "#1 sell 1 at 60 in eth-usd: cancelled, it met an order of your own"
        ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("buy 1 50.25", "50.25 for BTC-USD is not a multiple of the tick size 0.5; write 50.0 or"),
        ("buy 0.25 50", "is not a multiple of the lot size 0.1; write 0.2 or 0.3"),
        ("buy 1 50 in BTC-USX", "there is no market 'BTC-USX' in this network; did you mean BTC-U"),
        ("market xyzzy", "there is no market 'xyzzy'.*`markets` lists them"),
        ("cancel 1", "there is no own order #1; there are none yet"),
        ("order 7", "there is no own order #7"),
        ("wait closed 3", "there is no own order #3"),
    ],
)
async def test_what_cannot_be_is_refused_with_a_remedy(line: str, words: str) -> None:
    async with desk(ALICE) as alice:
        with pytest.raises(UsageError, match=words):
            await alice.do(line)
        assert alice.peer.entry_count == 0


async def test_others_orders_can_be_looked_at_and_not_cancelled() -> None:
    async with linked(ALICE, BOB) as (alice, bob):
        whole_id = (await alice.do("buy 1 50")).fields["order"]["id"]
        await bob.do("wait entries 1")
        assert await bob.says(f"order {whole_id}") == [
            "alice/0 buy 1.0 at 50.0 in BTC-USD: resting",
            f"id: {whole_id}",
        ]
        with pytest.raises(UsageError, match="alice/0 is not your order"):
            await bob.do(f"cancel {whole_id}")
        unknown = f"BTC-USD/{CAROL.peer_id.hex()}/5/0"
        with pytest.raises(UsageError, match="holds no order carol/5"):
            await bob.do(f"order {unknown}")


# ------------------------------------------------------------------ numbers


async def test_an_order_has_the_same_number_after_a_restart() -> None:
    store = gb.MemoryStore()
    async with desk(ALICE, store=store) as alice:
        for line in ("buy 1 50", "cancel 1", "buy 2 51", "buy 3 52 in eth-usd"):
            await alice.do(line)
    async with desk(ALICE, store=store) as again:
        assert [one["number"] for one in (await again.do("orders")).fields["orders"]] == [2, 3]
        everything = (await again.do("orders all")).fields["orders"]
        assert [(one["number"], one["state"]) for one in everything] == [
            (1, "cancelled"),
            (2, "open"),
            (3, "open"),
        ]
        newest = (await again.do("orders all 1")).fields
        assert [one["number"] for one in newest["orders"]] == [3] and newest["total"] == 3
        assert await again.says("cancel 2") == ["#2 buy 2.0 at 51.0 in BTC-USD: cancelled"]
        assert (await again.do("buy 1 1")).fields["order"]["number"] == 4


async def test_orders_that_share_an_entry_are_numbered_in_their_order() -> None:
    async with desk(ALICE) as alice:
        orders = [gb.LimitOrder("BTC-USD", "buy", price=price, quantity=1) for price in (3, 1, 2)]
        receipts = await alice.peer.submit(orders)
        await alice.peer.submit([gb.CancelOrder(receipts[1].order_id)])
        assert [one["price"] for one in (await alice.do("orders")).fields["orders"]] == [
            "3.0",
            "2.0",
        ]
        assert (await alice.do("order 2")).fields["order"]["id"] == str(receipts[1].order_id)


async def test_orders_that_come_back_from_peers_get_their_numbers_back() -> None:
    """The store was lost: own entries arrive from others, after the session has begun."""
    network = gb.MemoryNetwork(link=SHORT_WAY)
    async with desk(BOB, transport=network.transport("bob"), alone=True) as bob:
        async with desk(
            ALICE, transport=network.transport("alice"), bootstrap=["bob"], alone=True
        ) as alice:
            await alice.do("buy 1 50")
            await alice.do("buy 2 51")
            await bob.do("wait entries 2")
        async with desk(ALICE, transport=network.transport("alice"), bootstrap=["bob"]) as again:
            with pytest.raises(UsageError, match="there are none yet"):
                await again.do("cancel 2")
            await again.do("wait entries 2")
            assert await again.says("cancel 2") == ["#2 buy 2.0 at 51.0 in BTC-USD: cancelled"]


# ------------------------------------------------------------------ looking


async def test_markets_are_named_in_any_case_and_one_is_current() -> None:
    async with desk(ALICE) as alice:
        assert await alice.says("market") == ["trading in BTC-USD"]
        assert await alice.says("market ETH-USD") == ["trading in eth-usd"]
        await alice.do("buy 1 5")
        assert (await alice.do("book")).fields["market"] == "eth-usd"
        rows = (await alice.do("markets")).fields
        assert rows["current"] == "eth-usd"
        assert [(one["best_bid"], one["own_open"]) for one in rows["markets"]] == [
            (None, 0),
            ("5", 1),
        ]


async def test_status_whoami_and_peers_say_how_it_stands() -> None:
    async with linked(ALICE, BOB) as (alice, _):
        await alice.do("buy 1 5")
        await trio.sleep(3)
        status = (await alice.do("status")).fields
        assert (status["can_sign"], status["links"], status["entries"]) == (True, 1, 1)
        assert status["open_orders"] == 1 and status["root"] == alice.peer.root.hex()
        who = (await alice.do("whoami")).fields
        assert (who["peer_id"], who["name"]) == (ALICE.peer_id.hex(), "alice")
        assert (who["address"], who["network_id"]) == ("alice", GENESIS.network_id.hex())
        (row,) = (await alice.do("peers")).fields["peers"]
        assert (row["name"], row["entries_ahead"], row["entries_behind"]) == ("bob", 0, 0)
        assert alice.session.summary() == "1 link | 1 entries | BTC-USD 5.0 / -"


async def test_completion_offers_markets_and_open_orders() -> None:
    async with desk(ALICE) as alice:
        await alice.do("buy 1 5")
        await alice.do("buy 1 6")
        await alice.do("cancel 1")
        words = alice.session.completion_words()
        assert words.symbols == ("BTC-USD", "eth-usd")
        assert words.open_orders == {"#2": "#2 buy 1.0 at 6.0 in BTC-USD: resting"}


async def test_a_peer_can_be_joined_without_a_restart() -> None:
    network = gb.MemoryNetwork(link=SHORT_WAY)
    async with (
        desk(ALICE, transport=network.transport("alice"), alone=True) as alice,
        desk(BOB, transport=network.transport("bob"), bootstrap=["nobody"]) as bob,
    ):
        assert (await bob.says("join alice"))[0].startswith("dialling alice;")
        await bob.do("wait peers 1")
        assert (await bob.do("buy 1 50")).fields["order"]["state"] == "open"
        await alice.do("wait entries 1")


async def test_joining_needs_an_address_and_a_transport() -> None:
    async with desk(ALICE) as alice:
        with pytest.raises(UsageError, match="needs a transport"):
            await alice.do("join alice")


# ------------------------------------------------------------------ waiting


async def test_waiting_ends_as_soon_as_it_is_so() -> None:
    async with linked(ALICE, BOB) as (alice, bob), trio.open_nursery() as nursery:
        await alice.do("sell 1 50")

        async def buy_later() -> None:
            await trio.sleep(7)
            await bob.do("buy 1 50")

        nursery.start_soon(buy_later)
        began_s = trio.current_time()
        assert (await alice.says("wait closed 1"))[0].endswith("filled")
        assert 7 <= trio.current_time() - began_s < 7.5
        assert await alice.says("wait equal") == ["1 of 1 linked peers have the same entries as we"]
        assert await alice.says("wait peers 1") == ["1 of 1 peers"]


async def test_waiting_in_vain_fails_and_says_how_far_it_came() -> None:
    async with desk(ALICE) as alice:
        began_s = trio.current_time()
        with pytest.raises(UsageError, match="not within 5 s: 0 of 2 peers"):
            await alice.do("wait peers 2 within 5")
        assert trio.current_time() - began_s == pytest.approx(5)
        with pytest.raises(UsageError, match="not within 1 s: no peer is linked"):
            await alice.do("wait equal within 1")
        await alice.do("wait seconds 60")
        assert trio.current_time() - began_s == pytest.approx(66)


# ------------------------------------------------------------------ news


async def test_a_busted_trade_is_loud_and_the_one_in_its_place_follows() -> None:
    """Carol, cut off, buys first; Bob buys the same and is seen first."""
    network = gb.MemoryNetwork(link=SHORT_WAY)
    async with linked(ALICE, BOB, CAROL, network=network) as (alice, bob, carol):
        await alice.do("sell 1 50")
        await bob.do("wait entries 1")
        await carol.do("wait entries 1")
        network.partition({"carol"})
        await carol.do("buy 1 50")
        await trio.sleep(1)
        assert (await bob.says("buy 1 50"))[0] == "#1 bought 1.0 at 50.0 from alice"
        await alice.do("wait trades 1")
        await trio.sleep(1)
        alice.told.clear()
        network.heal()
        await alice.do("wait entries 3 within 120")
        await trio.sleep(1)
        busted, trade = alice.heard("busted", "trade")
        assert busted.startswith("BUSTED: #1 sold 1.0 at 50.0 to bob in BTC-USD did not happen")
        assert trade == "#1 sold 1.0 at 50.0 to carol; filled"
        (at_bob,) = [one for one in bob.told if one.kind == "busted"]
        assert at_bob.line.tone == "loud"
        assert (await alice.do("status")).fields["busted_trades"] == 1


async def test_news_wait_until_the_answer_is_out() -> None:
    """However long a submit takes: what it led to is known to be told before news are sorted."""
    async with desk(ALICE) as alice:
        await alice.do("sell 2 50")
        for is_told in (True, False):
            async with alice.news.hushed():
                receipt = await alice.peer.submit(
                    gb.LimitOrder("BTC-USD", "buy", price=50, quantity=1)
                )
                await trio.sleep(1)
                assert alice.heard() == []
                if is_told:
                    alice.news.answered(receipt.command_id, receipt.order_id)
            await trio.sleep(1)
        assert alice.heard() == ["#3 bought 1.0 at 50.0 with your own #1; filled"]


async def test_news_are_given_once() -> None:
    async with linked(ALICE, BOB) as (alice, bob):
        await alice.do("sell 1 50")
        await bob.do("wait entries 1")
        await bob.do("buy 1 50")
        await alice.do("wait closed 1")
        await trio.sleep(1)
        assert await alice.says("news") == [
            f"linked to bob ({BOB.peer_id.hex()[:8]})",
            "#1 sold 1.0 at 50.0 to bob; filled",
        ]
        assert await alice.says("news") == ["nothing new"]


async def test_a_peer_that_leaves_is_news() -> None:
    network = gb.MemoryNetwork(link=SHORT_WAY)
    async with desk(ALICE, transport=network.transport("alice"), alone=True) as alice:
        async with desk(BOB, transport=network.transport("bob"), bootstrap=["alice"], alone=True):
            await alice.do("wait peers 1")
        await trio.sleep(2)
        assert [one.kind for one in alice.told] == ["peer-up", "peer-down"]


async def test_the_history_is_no_news() -> None:
    store = gb.MemoryStore()
    async with desk(ALICE, store=store) as alice:
        await alice.do("sell 1 50")
        await alice.do("buy 1 50")
    async with desk(ALICE, store=store) as again:
        await trio.sleep(5)
        assert again.told == []


# ------------------------------------------------------------------ trouble


async def test_an_unconfirmed_log_is_explained_in_words_of_the_command_line() -> None:
    network = gb.MemoryNetwork()
    async with desk(ALICE, transport=network.transport("alice"), bootstrap=["nobody"]) as alice:
        assert (await alice.do("status")).fields["can_sign"] is False
        with pytest.raises(gb.OwnHeadUnconfirmed) as caught:
            await alice.do("buy 1 50")
        told = explain(caught.value)
        assert "join HOST:PORT" in told and "--alone" in told and "alone=True" not in told


async def test_a_cancelled_command_leaves_the_session_as_it_was() -> None:
    network = gb.MemoryNetwork()
    async with desk(ALICE, transport=network.transport("alice"), bootstrap=["nobody"]) as alice:
        with trio.move_on_after(1) as scope:
            await alice.do("buy 1 50")
        assert scope.cancelled_caught and alice.peer.entry_count == 0
        with trio.move_on_after(1):
            await alice.do("wait peers 1")
        assert (await alice.do("orders")).fields["orders"] == []


@real_time
async def test_a_session_works_on_a_store_on_disk(tmp_path: Path) -> None:
    async with desk(ALICE, store=tmp_path / "alice.db") as alice:
        assert await alice.says("buy 1 50") == ["#1 buy 1.0 at 50.0 in BTC-USD: resting"]
