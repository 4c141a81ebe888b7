"""Cases collected from other matching engines' tests.

They lie beside the repository, in ../shared/data/matching, with their sources and a README that
explains the format; where they are not there, these tests are skipped. Two differences in
language are bridged here: the cases name orders by number and may use a number again, and an
amendment with `requeue` loses its place whatever it changes, which is a cancel and a new order.
The two liquibook cases whose `amend_policy` is not "both" hold only where every replacement loses
its place; they are left out.
"""

import json
from pathlib import Path

import pytest

from gossipbook.book.events import Rejected
from gossipbook.book.matching import MatchingEngine
from gossipbook.book.payload import (
    BUY,
    FOK,
    GTC,
    IOC,
    POST_ONLY,
    SELL,
    Cancellation,
    Placement,
    Replacement,
)
from gossipbook.genesis import Market

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "matching"
AUTHOR = b"\x01" * 32
TIMES_IN_FORCE = {"gtc": GTC, "ioc": IOC, "fok": FOK, "post": POST_ONLY}


def load_cases():
    cases = []
    for path in sorted(FOLDER.glob("*.jsonl")):
        for text in path.read_text().splitlines():
            line = json.loads(text)
            if line["op"] == "case":
                cases.append((f"{path.stem}:{line['name']}", line, []))
            else:
                cases[-1][2].append(line)
    return cases


CASES = load_cases()
KEPT = [case for case in CASES if case[1].get("amend_policy", "both") == "both"]

pytestmark = pytest.mark.skipif(not CASES, reason=f"no shared matching cases in {FOLDER}")


class Runner:
    """Speaks the language of the cases to an engine."""

    def __init__(self):
        self.engine = MatchingEngine(Market("X"))
        self.seq_of = {}  # the case's id -> seq of the order that bears it now
        self.id_of = {}
        self.rejected = []
        self.command = -1
        self.checked_trades = 0

    def apply(self, instruction):
        seq = self.engine.position
        self.engine.apply((AUTHOR, seq, 0), instruction)
        self.engine.check()
        if isinstance(self.engine.outcome(seq), Rejected):
            self.rejected.append(self.command)
        return seq

    def status(self, number):
        seq = self.seq_of.get(number)
        return None if seq is None else self.engine.order((AUTHOR, seq, 0))

    def is_open(self, number):
        status = self.status(number)
        return status is not None and status.state == "open"

    def step(self, line):
        if line["op"] in ("check", "expect"):
            getattr(self, line["op"])(line)
            return
        self.command += 1
        getattr(self, line["op"])(line)

    def limit(self, line):
        self.place(line, line["price"], TIMES_IN_FORCE[line["tif"]])

    def market(self, line):
        self.place(line, 0, IOC)

    def place(self, line, price, time_in_force):
        if self.is_open(line["id"]):  # ids are ours to give here, so this cannot be expressed
            self.rejected.append(self.command)
            return
        side = BUY if line["side"] == "buy" else SELL
        seq = self.engine.position
        self.seq_of[line["id"]], self.id_of[seq] = seq, line["id"]
        self.apply(Placement(0, side, price, line["qty"], time_in_force))

    def cancel(self, line):
        self.apply(Cancellation(0, self.target(line), 0))

    def amend(self, line):
        price = line.get("price") or 0
        if line.get("requeue") and self.is_open(line["id"]):
            status = self.status(line["id"])
            price, side = price or int(status.price), status.side
            self.apply(Cancellation(0, self.target(line), 0))
            self.place({"id": line["id"], "side": side, "qty": line["qty"]}, price, GTC)
            return
        quantity, reduce_by = line.get("qty", 0), 0
        delta = line.get("delta", 0)
        if delta < 0:
            reduce_by = -delta
        elif delta > 0 and self.is_open(line["id"]):
            quantity = int(self.status(line["id"]).remaining) + delta
        self.apply(Replacement(0, self.target(line), 0, price, quantity, reduce_by))

    def target(self, line):
        """An unknown id becomes a seq that placed no order: the command's own."""
        return self.seq_of.get(line["id"], self.engine.position)

    def trades(self):
        return [
            [self.id_of[t.taker.seq], self.id_of[t.maker.seq], int(t.price), int(t.quantity)]
            for t in self.engine.trades()
        ]

    def check(self, line):
        book = self.engine.book()
        trades = self.trades()
        if "new_trades" in line:
            assert trades[self.checked_trades :] == line["new_trades"]
        self.checked_trades = len(trades)
        sides = (book.bids, book.asks)
        if "l2" in line:
            assert [
                [[level.price, level.quantity, level.orders] for level in side] for side in sides
            ] == line["l2"]
        if "orders" in line:
            assert [sum(level.orders for level in side) for side in sides] == line["orders"]
        if "volume" in line:
            assert [sum(level.quantity for level in side) for side in sides] == line["volume"]

    def expect(self, line):
        if "trades" in line:
            assert self.trades() == line["trades"]
        if "reject_seqs" in line:
            assert self.rejected == line["reject_seqs"]
        for side in ("bids", "asks"):
            if side in line:
                assert self.queues(side) == line[side]

    def queues(self, side):
        queues = {}
        for order in self.engine.book().orders:
            if order.side + "s" == {"bids": "buys", "asks": "sells"}[side]:
                queue = queues.setdefault(int(order.price), [])
                queue.append([self.id_of[order.order_id.seq], int(order.quantity)])
        return [[price, queue] for price, queue in queues.items()]


@pytest.mark.parametrize("case", KEPT, ids=[name for name, _, _ in KEPT])
def test_the_engine_agrees(case):
    _, _, lines = case
    runner = Runner()
    for line in lines:
        runner.step(line)


def test_only_the_two_cases_of_another_amend_policy_are_left_out():
    assert len(CASES) == 4 + 24 + 34 + 80
    assert len(CASES) - len(KEPT) == 2
