"""PySyncObj nodes, a process each: started with a leader, asked, and ended whatever happens.

    bench/rivals.py        raft_cluster            one process a node
    ---------------        ------------            ------------------
    request         ->     a line of JSON to all   ->  stdin
    answers         <-     a line of JSON of each  <-  stdout

A node is ready when a record of every node has come through the elected leader. It answers one
request after the other, and ends when its stdin is closed: with the block, or with the process
that started it. Times are those of the monotonic clock, which all processes of a machine share.

The nodes listen on the loopback address only: PySyncObj unpickles what it is sent. This file does
not know what is measured with the answers.

*The disk.* As started by `bench/rivals.py`, nothing is written. `bench/network.py` gives a journal:

    memory     as the library comes: nothing
    journal    `journalFile`: every record is copied into a mapped file before it is sent on or
               acknowledged, and the kernel writes it back when it likes. It outlives a killed
               process, not a power cut: version 0.3.17 syncs the file when it is closed, and no
               setting makes it sync before. Term, vote and commit index are in a second file,
               which it never syncs. `fullDumpFile` is written by log compaction only.
    synced     the same, and ours: whoever has new records syncs the file before it sends them on
               or says that it has them. So what was committed is on the disks of a majority, with
               one sync for all records that came together.
"""

import json
import os
import queue
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from time import monotonic, process_time, sleep
from typing import Any

from bench.process_memory import peak_memory_bytes
from bench.replication_work import RivalFailed, digest, record, records
from bench.report import Results

ROOT = Path(__file__).resolve().parent.parent

TICK_S = 0.005
SETTINGS: dict[str, dict[str, Any]] = {
    # Everything as the library has it, but for the tick.
    "usual": {},
    # What was found to give the highest rate: entries are appended every 10 ms, not every 100,
    # and a socket takes a whole run's messages. Shorter periods and larger batches gave no more.
    "tuned": {
        "appendEntriesPeriod": 0.01,
        "sendBufferSize": 1 << 20,
        "recvBufferSize": 1 << 20,
    },
    # Each write is sent on as it comes: the lowest latency, and the lowest rate.
    "prompt": {"appendEntriesUseBatch": False},
}

JOURNALS = ("memory", "journal", "synced")

PROMISES = ("append_entries", "next_node_idx")
"""Messages that say, or lead to a count of, who holds a record. Others may leave before a sync:
that a command was given a number is no promise."""

START_LIMIT_S = 30.0
RUN_LIMIT_S = 120.0
START_ATTEMPTS = 3


@contextmanager
def raft_cluster(
    nodes: int, settings: str, *, journal: str = "memory", folder: Path | None = None
) -> Iterator["RaftCluster"]:
    """Node processes with an elected leader, gone when the block is left.

    Journals go below ``folder``, which is the caller's to empty. Raises RivalFailed where the
    nodes do not get ready, also not with other ports.
    """
    if settings not in SETTINGS:
        raise ValueError(f"settings {settings!r}; there are {', '.join(SETTINGS)}")
    if journal not in JOURNALS:
        raise ValueError(f"journal {journal!r}; there are {', '.join(JOURNALS)}")
    if journal != "memory" and folder is None:
        raise ValueError(f"journal {journal!r} needs a folder; give one on a disk")
    cluster = _started(nodes, settings, journal, folder)
    try:
        yield cluster
    finally:
        cluster.close()


def _started(nodes: int, settings: str, journal: str, folder: Path | None) -> "RaftCluster":
    """A cluster that is ready. Somebody else may take a port first: then once more, with others."""
    for attempts_left in reversed(range(START_ATTEMPTS)):
        cluster = RaftCluster(nodes, settings, journal=journal, folder=folder)
        try:
            cluster.hear(START_LIMIT_S)
        except BaseException as error:
            cluster.close()
            if not isinstance(error, RivalFailed) or attempts_left == 0:
                raise
        else:
            return cluster
    raise AssertionError("the last attempt returns or raises")


class RaftCluster:
    """The node processes. `close` ends every one of them."""

    def __init__(
        self, nodes: int, settings: str, *, journal: str = "memory", folder: Path | None = None
    ) -> None:
        self._processes: list[subprocess.Popen[str]] = []
        addresses = [f"127.0.0.1:{port}" for port in _free_ports(nodes)]
        # A folder of its own: a second attempt must not find the journals of the first.
        journals = None if journal == "memory" else tempfile.mkdtemp(prefix="raft-", dir=folder)
        try:
            for me in range(nodes):
                request = {
                    "me": me,
                    "addresses": addresses,
                    "settings": SETTINGS[settings],
                    "journal_file": None if journals is None else f"{journals}/{me}.journal",
                    "synced": journal == "synced",
                }
                self._processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "bench.raft_processes", json.dumps(request)],
                        cwd=ROOT,
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.DEVNULL,  # what is wrong comes as an answer
                        text=True,
                    )
                )
        except BaseException:
            self.close()
            raise

    def ask(self, what: str, **arguments: float) -> list[Results]:
        """Give every node the same request; their answers, in order."""
        line = json.dumps({"what": what, **arguments}) + "\n"
        for process in self._processes:
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # a node that has ended is noticed below
                process.stdin.write(line)
                process.stdin.flush()
        return self.hear(RUN_LIMIT_S)

    def hear(self, limit_s: float) -> list[Results]:
        """The next answer of every node. Raises RivalFailed where one has none in that time."""
        with ThreadPoolExecutor(len(self._processes)) as readers:
            answers = [readers.submit(self._hear_one, me) for me in range(len(self._processes))]
            try:
                come, late = wait(answers, limit_s, return_when=FIRST_EXCEPTION)
            finally:
                if not all(answer.done() for answer in answers):
                    self._kill()  # so that the readers see an end
        failure = next((error for one in come if (error := one.exception())), None)
        if failure is not None:
            raise failure
        if late:
            raise RivalFailed(f"PySyncObj: {len(late)} nodes gave no answer within {limit_s:.1f} s")
        return [answer.result() for answer in answers]

    def _hear_one(self, me: int) -> Results:
        out = self._processes[me].stdout
        assert out is not None
        line = out.readline()
        if not line:
            raise RivalFailed(f"PySyncObj: node {me} ended without a word")
        answer: Results = json.loads(line)
        if "error" in answer:
            raise RivalFailed(f"PySyncObj: node {me}: {answer['error']}")
        return answer

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()

    def close(self) -> None:
        """End the processes, and return when they are gone."""
        self._kill()
        for process in self._processes:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                with suppress(BrokenPipeError):  # what the dead process did not read
                    pipe.close()


def _free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody listens on just now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


# ==================================================================== in a node's process


def serve_node(
    me: int,
    addresses: list[str],
    settings: dict[str, Any],
    journal_file: str | None = None,
    synced: bool = False,
) -> None:
    """Be one node: join, say so, then answer requests until stdin is closed."""
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            requests.put(line)
        os._exit(0)  # nobody asks any more; the library's thread would run on

    threading.Thread(target=listen, daemon=True).start()
    try:
        node = _Node(me, addresses, settings | {"journalFile": journal_file})
        if synced:
            node.sync_before_sending()
        node.join()
        answers: dict[str, Callable[..., Results]] = {
            "write all": node.write_all,
            "write when due": node.write_when_due,
        }
        _say({"ready": True})
        while True:
            request = json.loads(requests.get())
            _say(answers[request.pop("what")](**request))
    except RivalFailed as failed:
        _say({"error": str(failed)})
    except BaseException:
        _say({"error": traceback.format_exc()})
    os._exit(1)


def _say(answer: Results) -> None:
    print(json.dumps(answer), flush=True)


class _Node:
    """One replicated list. The library's thread calls `_look` after each of its ticks."""

    def __init__(self, me: int, addresses: list[str], settings: dict[str, Any]) -> None:
        from pysyncobj import SyncObj, SyncObjConf
        from pysyncobj.batteries import ReplList

        self._me = me
        self._nodes = len(addresses)
        self._list: Any = ReplList()
        self._refusals: list[int] = []
        self._seen_s: list[float] = []  # when each record of the list was first seen in it
        self._answered_s: list[float] = []  # how long each of our writes took to come through
        self._expected = 0
        self._complete = threading.Event()
        self._done: Results = {}
        # Node 0 stands for election at once and the others much later, so that the first election
        # succeeds and none follows while a busy machine keeps the leader waiting. No snapshots.
        election_s = (0.4, 0.5) if me == 0 else (10.0, 12.0)
        conf = SyncObjConf(
            autoTickPeriod=TICK_S,
            bindAddress=addresses[me],
            maxBindRetries=1,
            connectionRetryTime=0.1,
            connectionTimeout=60.0,
            raftMinTimeout=election_s[0],
            raftMaxTimeout=election_s[1],
            leaderFallbackTimeout=60.0,
            logCompactionMinEntries=1 << 30,
            logCompactionMinTime=1 << 30,
            **settings,
        )
        others = [address for address in addresses if address != addresses[me]]
        self._raft: Any = SyncObj(addresses[me], others, conf=conf, consumers=[self._list])
        self._raft.waitBinded()
        self._raft.addOnTickCallback(self._look)

    def sync_before_sending(self) -> None:
        """From now on, no message of `PROMISES` leaves before all records are on the disk."""
        journal, transport = self._raft._SyncObj__raftLog, self._raft._SyncObj__transport
        add, send = journal.add, transport.send
        synced = False

        def noting_add(*arguments: Any) -> None:
            nonlocal synced
            add(*arguments)
            synced = False

        def syncing_send(node: Any, message: dict[str, Any]) -> Any:
            nonlocal synced
            if not synced and message["type"] in PROMISES:
                journal.flush()
                synced = True
            return send(node, message)

        journal.add, transport.send = noting_add, syncing_send

    def join(self) -> None:
        """Return when a record of every node has come through: all have found the leader."""
        self._expect(self._nodes)
        self._submit([f"node {self._me} is there"])
        self._wait()

    def write_all(self, *, share: int, batch: int, start_s: float) -> Results:
        """Hand over this node's share at ``start_s``; how the whole list was, and when."""
        mine = records(self._me, share)
        self._expect(self._nodes * share)
        sleep(max(0.0, start_s - monotonic()))
        start_processor_s = process_time()
        for first in range(0, share, batch):
            self._submit(mine[first : first + batch])
        self._wait()
        return {
            "held": len(self._list) - self._nodes,
            "digest": self._done["digest"],
            "done_s": self._done["done_s"],
            "processor_s": self._done["processor_s"] - start_processor_s,
            "peak_memory_bytes": peak_memory_bytes(),
        }

    def write_when_due(self, *, count: int, records_per_s: float, start_s: float) -> Results:
        """Hand over every N-th record as it falls due; when each of all was seen here, and how
        long each of ours took from being due until it was committed and answered."""
        self._expect(count)
        self._answered_s.clear()
        mine = range(self._me, count, self._nodes)
        began_s, began_processor_s = monotonic(), process_time()
        for at in mine:
            due_s = start_s + at / records_per_s
            sleep(max(0.0, due_s - monotonic()))
            self._submit([record(self._me, at)], due_s)
        self._wait()
        while len(self._answered_s) < len(mine):  # a record may be in the list before its answer
            sleep(TICK_S)
        processor_share = (process_time() - began_processor_s) / (monotonic() - began_s)
        # The leader may have put them in another order than they fell due in.
        numbers = [int(json.loads(text)["seq"]) for text in self._list.rawData()[-count:]]
        seen_s = dict(zip(numbers, self._seen_s[-count:], strict=True))
        return {
            "seen_s": [seen_s[at] for at in range(count)],
            "answered_s": self._answered_s,
            "processor_share": processor_share,
            "held": len(self._list) - self._nodes,
            "digest": self._done["digest"],
        }

    def _submit(self, mine: list[str], due_s: float | None = None) -> None:
        note = partial(self._note_outcome, due_s)
        if len(mine) == 1:
            self._list.append(mine[0], callback=note)
        else:
            self._list.extend(mine, callback=note)

    def _note_outcome(self, due_s: float | None, _: object, refusal: int) -> None:
        if due_s is not None:
            self._answered_s.append(monotonic() - due_s)
        if refusal:
            self._refusals.append(refusal)
            self._complete.set()

    def _expect(self, more: int) -> None:
        """Say how many records the next request adds, before the first of them is written.

        Adds to what was expected, not to the list as it is: others may have begun already.
        """
        self._expected += more
        self._complete.clear()

    def _look(self) -> None:
        """Note when records were applied, and the hash and the time once the list is complete."""
        held = len(self._list)
        self._seen_s += [monotonic()] * (held - len(self._seen_s))
        if held >= self._expected > 0 and not self._complete.is_set():
            self._done = {"digest": digest(self._list.rawData())}
            self._done |= {"done_s": monotonic(), "processor_s": process_time()}
            self._complete.set()

    def _wait(self) -> None:
        self._complete.wait()
        if self._refusals:
            raise RivalFailed(
                f"{len(self._refusals)} writes refused, the first with code {self._refusals[0]}"
            )


if __name__ == "__main__":
    serve_node(**json.loads(sys.argv[1]))
