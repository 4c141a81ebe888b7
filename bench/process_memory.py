"""How much memory a process has needed.

From `/proc`, which is Linux; elsewhere the answer is 0. `resource.getrusage` is no substitute:
its `ru_maxrss` starts from the size of the parent that the process was forked from.
"""

import re
from pathlib import Path


def peak_memory_bytes(status: Path = Path("/proc/self/status")) -> int:
    """The largest resident set of this process so far (VmHWM)."""
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
    except OSError:
        found = None
    return 1024 * int(found[1]) if found else 0
