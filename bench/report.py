"""What the benches share: tables on stdout, progress on stderr, raw results in a file.

Results go to stdout, so that they can be kept; what is being done at the moment goes to stderr.
This file measures nothing.
"""

import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Results = dict[str, Any]
"""What a bench found, as JSON takes it."""


def progress(text: str) -> None:
    """Tell whoever waits what is being done."""
    print(f"    {text}", file=sys.stderr, flush=True)


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: the first column flush left, the others flush right."""
    widths = [max(len(line[at]) for line in (head, *rows)) for at in range(len(head))]
    for line in (head, *rows):
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        print("  ".join(cells).rstrip())
    print(flush=True)


def machine() -> Results:
    """Where the figures come from."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
    }


def write_json(path: Path, results: Results) -> None:
    """Save raw results, with the machine they were measured on."""
    path.write_text(json.dumps({"machine": machine(), **results}, indent=2) + "\n")
    progress(f"raw results are in {path}")
