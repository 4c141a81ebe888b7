"""What must hold after a fault schedule, and which faults bit on the way."""

from collections import Counter

from twins.replay import naive_replay

from gossipbook.book.commands import CommandId
from gossipbook.book.events import Trade
from gossipbook.genesis import Genesis
from gossipbook.log.entry import Entry
from gossipbook.receipts import Receipt
from gossipbook.sim.checkers import OwnWordsFirst
from gossipbook.sim.simulated_peer import SimulatedPeer
from gossipbook.sim.strategies import NEVER_MS, Adversary, Schedule, ScheduleRun

MAX_SEQ = 1 << 63

MUST_BITE = (
    "messages lost",
    "messages cut",
    "unpersisted entries lost",
    "writes failed",
    "commands undone",
    "entries held back",
    "forks proven",
    "audits run",
    "memories healed",
    "submits refused",
)


def play_and_check(schedule: Schedule, genesis: Genesis, seed: int) -> ScheduleRun:
    """Play a schedule; raises where a promise is broken on the way or in the end."""
    run = ScheduleRun(schedule, genesis, seed)
    run.cluster.on_step(OwnWordsFirst())
    run.play()
    check_run(run)
    return run


def check_run(run: ScheduleRun) -> None:
    """Raises AssertionError where the cluster is not what its entries and receipts say."""
    if any(peer.alive and not peer.correct for peer in run.cluster.peers):
        wait_for_cheats(run)
    peers = run.cluster.correct_peers
    assert peers, "no correct peer is up at the end"
    # Rot that was gone before anybody compared leaves its trace in what the commands led to (a
    # cancel of more than there was); books, trades and roots must be right all the same.
    peers.sort(key=lambda peer: peer.index in run.corrupted)
    first = peers[0]
    for peer in peers[1:]:
        _check_equal(run, first, peer)
    due_ms = (run.cluster.epoch_us + run.cluster.now_us) // 1000 + NEVER_MS
    _check_against_twin(run, first, due_ms)
    _check_receipts(run, peers, due_ms)
    _check_convicts(run, peers)


def _check_equal(run: ScheduleRun, first: SimulatedPeer, other: SimulatedPeer) -> None:
    names = f"peers {first.index} and {other.index}"
    assert first.replica.frontier.heads() == other.replica.frontier.heads(), f"frontiers of {names}"
    assert first.root == other.root, f"roots of {names}"
    for market in run.genesis.markets:
        symbol = market.symbol
        assert first.book(symbol).orders == other.book(symbol).orders, f"{symbol} books of {names}"
        assert first.trades(symbol) == other.trades(symbol), f"{symbol} trades of {names}"
        rotten = other.index in run.corrupted
        commands, others = _outcomes(first, symbol, rotten), _outcomes(other, symbol, rotten)
        assert commands == others, f"{symbol} commands of {names}"


def _check_against_twin(run: ScheduleRun, peer: SimulatedPeer, due_ms: int) -> None:
    entries = [entry for log in peer.replica.logs.values() for entry in log.entries]
    for symbol, naive in naive_replay(run.genesis, entries, until_ms=due_ms).items():
        events = [event for events in naive.events for event in events]
        rotten = peer.index in run.corrupted
        expected = [
            (events[0].command_id, type(events[0]) if rotten else events[0])
            for events in naive.events
        ]
        assert _outcomes(peer, symbol, rotten) == expected, f"{symbol}: outcomes are not the twin's"
        trades = [event for event in events if isinstance(event, Trade)]
        assert peer.trades(symbol) == trades, f"{symbol}: trades are not the twin's"
        book = [
            (order.order_id, order.side, order.price, order.quantity)
            for order in peer.book(symbol).orders
        ]
        assert book == naive.orders(), f"{symbol}: the book is not the twin's"
        assert peer.book(symbol).root == naive.root(), f"{symbol}: the root is not the twin's"


def _outcomes(peer: SimulatedPeer, symbol: str, rotten: bool) -> list[tuple[CommandId, object]]:
    return [
        (record.command_id, type(record.outcome) if rotten else record.outcome)
        for record in peer.commands(symbol)
    ]


def _check_receipts(run: ScheduleRun, peers: list[SimulatedPeer], due_ms: int) -> None:
    """Every receipt is among the commands of every peer, unless its author forked before it or
    lost it with its own disk."""
    for peer in peers:
        entries: dict[bytes, Entry] = {
            entry.id: entry for log in peer.replica.logs.values() for entry in log.entries
        }
        commands = {
            record.command_id
            for market in run.genesis.markets
            for record in peer.commands(market.symbol)
        }
        for receipt in owed_receipts(run, peer):
            assert receipt.entry_id in entries, f"peer {peer.index} lacks the entry of {receipt}"
            if entries[receipt.entry_id].effective_hlc >> 16 <= due_ms:
                assert receipt.command_id in commands, f"peer {peer.index} lacks {receipt}"


def owed_receipts(run: ScheduleRun, peer: SimulatedPeer) -> list[Receipt]:
    """The receipts that stand: not those of authors from the seq on at which they forked or their
    disk was put back, and not those of cheats that broke a rule: they are shunned for a minute, and
    nobody fetches their last words so long."""
    forks = {proof.author: proof.seq for proof in peer.proofs()}
    shunned = {
        run.cluster.peers[fault.peer].peer_id
        for fault in run.schedule.faults
        if isinstance(fault, Adversary) and fault.kind in ("Forger", "Garbage")
    }
    return [
        receipt
        for receipt in run.cluster.receipts
        if receipt.command_id.author not in shunned
        and receipt.command_id.seq < forks.get(receipt.command_id.author, MAX_SEQ)
        and receipt.command_id.seq < run.rolled_back.get(receipt.command_id.author, MAX_SEQ)
    ]


def wait_for_cheats(run: ScheduleRun, *, deadline_s: int = 120) -> None:
    """Being equal says nothing of what only a cheat holds that is still up; it will be fetched."""
    for _ in range(2 * deadline_s):
        if all(
            peer.replica.logs[receipt.command_id.author].id_at(receipt.command_id.seq)
            == receipt.entry_id
            if receipt.command_id.author in peer.replica.logs
            else False
            for peer in run.cluster.correct_peers
            for receipt in owed_receipts(run, peer)
        ):
            break
        run.cluster.run_for(0.5)
    run._wait_for_held_entries()  # a cheat's clock may have pulled ours back
    run.cluster.run_until_converged(deadline_s)


def _check_convicts(run: ScheduleRun, peers: list[SimulatedPeer]) -> None:
    """Nobody is convicted who did not cheat and whose disk was not put back."""
    innocent = {peer.peer_id for peer in run.cluster.peers if peer.correct and not peer.rolled_back}
    for peer in peers:
        for proof in peer.proofs():
            assert proof.author not in innocent, f"peer {peer.index} holds {proof} of an innocent"


def what_bit(run: ScheduleRun) -> Counter[str]:
    """How often each kind of fault had an effect in a run."""
    counters = run.cluster.counters
    return Counter(
        {
            "schedules": 1,
            "orders": run.schedule.order_count,
            "faults": len(run.schedule.faults),
            "messages lost": counters.messages_lost,
            "messages cut": counters.messages_cut,
            "unpersisted entries lost": counters.unpersisted_entries_lost,
            "writes failed": counters.writes_failed,
            "crashes": counters.crashes,
            "commands undone": run.tally["undone"],
            "entries held back": run.tally["held back"],
            "audits run": run.tally["audits"],
            "memories healed": run.tally["rebuilt"],
            "submits refused": run.tally["refused"],
            "forks proven": len(
                {proof.author for peer in run.cluster.correct_peers for proof in peer.proofs()}
            ),
        }
    )


def check_shape(schedule: Schedule) -> None:
    """The schedule is as rough as it is meant to be."""
    assert schedule.peers >= 3
    assert schedule.order_count >= 30
    assert schedule.overlapping_faults >= 3
