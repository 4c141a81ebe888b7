"""The `gossipbook` command, also reached as `python -m gossipbook`.

It decides one thing: whether the command line can run at all. The library needs neither click nor
rich; where one of them is missing, this says which, and how to get it, instead of a traceback.
"""

from __future__ import annotations

import sys

_NEEDED = ("click", "rich")


def main() -> None:
    """Run the command line and exit with its status."""
    try:
        from gossipbook.cli.app import gossipbook
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _NEEDED:
            raise
        print(
            f"gossipbook: the command line needs {missing}, which is not installed; "
            'install it with: pip install "gossipbook[cli]"',
            file=sys.stderr,
        )
        sys.exit(2)
    gossipbook(prog_name="gossipbook")


if __name__ == "__main__":
    main()
