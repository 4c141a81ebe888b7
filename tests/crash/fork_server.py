"""Starts processes quickly: it has imported everything, and only forks.

``ForkServer`` is the harness's end: a subprocess with the failing disk preloaded, which runs one
task after another, each in a child of its own, and kills it when its time is over. Started as a
program this file is the other end: it reads tasks from its input, a line of JSON each, and answers
with how the child ended.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

TESTS = Path(__file__).parent.parent

LONGEST_S = 60.0
"""A process that has not ended by then hangs."""


@dataclass(frozen=True)
class Ending:
    """How a process ended: its exit code, or the signal as a negative number."""

    code: int
    hung: bool
    seconds: float


class ForkServer:
    """Runs tasks in processes with a failing disk. A context manager."""

    def __init__(self, library: Path, *, package: Path | None = None) -> None:
        """``package``: the folder from which to import gossipbook, instead of the installed one."""
        paths = [str(path) for path in (package, TESTS) if path is not None]
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": os.pathsep.join(paths)},
        )

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(BrokenPipeError):
            self._process.communicate()  # the end of its input is the end

    def run(self, task: dict[str, Any], *, kill_after_s: float | None = None) -> Ending:
        """Do a task in a process of its own; kill it after a while, if it has not ended by then."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"task": task, "kill_after_s": kill_after_s}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the fork server ended with {self._process.wait()}"
        return Ending(**json.loads(answer))


# -------------------------------------------------------------------- the other end


def serve() -> None:
    """Run the tasks that come in, until no more come."""
    import gc

    from crash import child

    gc.collect()
    gc.freeze()  # a child need not copy what it does not change
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    for line in sys.stdin:
        order = json.loads(line)
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            _be_child(child, order["task"])
        code, hung = _wait(pid, order["kill_after_s"])
        ending = {"code": code, "hung": hung, "seconds": time.monotonic() - started}
        print(json.dumps(ending), flush=True)


def _be_child(child: Any, task: dict[str, Any]) -> None:
    code = 1
    try:
        import faulthandler
        import traceback

        log = os.open(Path(task["folder"], "child.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        faulthandler.dump_traceback_later(LONGEST_S - 5, file=sys.stderr)
        try:
            code = child.run(task)
        except BaseException:
            traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _wait(pid: int, kill_after_s: float | None) -> tuple[int, bool]:
    """How the child ended, and whether it was too late for that."""
    signal.sigtimedwait({signal.SIGCHLD}, LONGEST_S if kill_after_s is None else kill_after_s)
    ended, status = os.waitpid(pid, os.WNOHANG)
    if ended == 0:
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        signal.sigtimedwait({signal.SIGCHLD}, 0)
    return os.waitstatus_to_exitcode(status), ended == 0 and kill_after_s is None


if __name__ == "__main__":
    serve()
