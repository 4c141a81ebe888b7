"""Draws one moment of the demo into a given number of columns and lines.

This file decides looks alone. It promises a drawing that fits, from 80 columns and 24 lines up, and
that equal roots have equal colours: a colour says no more than the hexadecimal digits beside it,
but at a glance. The newest happening stands on top, so it is the oldest that small screens lose.

    progress
    peer | entries | trades | busted | root 2 s ago | root now | state
    ladder | ladder (where there is room) | what happened
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal

from rich.box import ROUNDED, SIMPLE_HEAD
from rich.console import Console, JustifyMethod, RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from gossipbook.book.order_book import PriceLevel
from gossipbook.cli.demo_view import Ladder, PeerRow, View

LEAST_WIDTH, LEAST_HEIGHT = 80, 24
TWO_LADDERS_WIDTH = 104
TABLE_WIDTH = 120  # at most: wider ones are hard to read across
LADDER_WIDTH = 33
STORY_HEIGHT = 9  # at least, with its frame
PICTURE_WIDTH, PICTURE_HEIGHT = 112, 32

COLOURS = (
    "spring_green3",
    "orange1",
    "deep_sky_blue1",
    "orchid1",
    "gold1",
    "light_coral",
    "turquoise2",
    "medium_purple1",
    "chartreuse2",
    "hot_pink",
)
COLUMNS: tuple[tuple[str, int, JustifyMethod], ...] = (
    ("peer", 14, "left"),
    ("entries", 7, "right"),
    ("trades", 6, "right"),
    ("busted", 6, "right"),
    ("root 2 s ago", 12, "left"),
    ("root now", 10, "left"),
    ("state", 11, "left"),
)
"""Heads and least widths: with a space on both sides, 80 columns."""

STATE_STYLES = {
    "up": "green",
    "cut off": "orange1",
    "frozen": "deep_sky_blue1",
    "down": "red",
    "forked": "bold red",
}
BID_STYLE, ASK_STYLE = "green3", "indian_red1"
QUIET = "grey58"
EIGHTHS = " ▏▎▍▌▋▊▉"


def draw(view: View, width: int, height: int) -> RenderableType:
    """The whole screen."""
    room = height - 2 - 3 - STORY_HEIGHT
    table = _table(view.rows, width, room)
    layout = Layout()
    layout.split_column(
        Layout(_header(view, width), size=2),
        Layout(table, size=min(len(view.rows), room) + 3),
        Layout(name="below"),
    )
    ladders = view.ladders if width >= TWO_LADDERS_WIDTH else view.ladders[:1]
    lines = height - 2 - 3 - min(len(view.rows), room) - 2
    layout["below"].split_row(
        *[Layout(_ladder(ladder, lines), size=LADDER_WIDTH) for ladder in ladders],
        Layout(_story(view)),
    )
    return layout


def picture(view: View) -> str:
    """The same as an SVG file, which loads nothing from anywhere."""
    console = Console(
        record=True,
        width=PICTURE_WIDTH,
        height=PICTURE_HEIGHT,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
    )
    console.print(draw(view, PICTURE_WIDTH, PICTURE_HEIGHT))
    drawn = console.export_svg(title="gossipbook demo", unique_id="demo")
    return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)


def colours_of(roots: Sequence[bytes | None]) -> dict[bytes, str]:
    """A colour for each root, in the order in which they appear; the last for all further ones."""
    colours: dict[bytes, str] = {}
    for root in roots:
        if root is not None and root not in colours:
            colours[root] = COLOURS[min(len(colours), len(COLOURS) - 1)]
    return colours


# ---------------------------------------------------------------- above


def _header(view: View, width: int) -> RenderableType:
    counts = f" {view.placed:,} of {view.orders:,} orders"
    first = Text(" gossipbook demo  ", style="bold")
    bar_width = max(10, width - len(first) - len(counts) - 12)
    done = view.placed * bar_width // view.orders
    first.append("━" * done, style="spring_green3")
    first.append("━" * (bar_width - done), style="grey23")
    first.append(counts, style="bold")
    first.append(f"{view.elapsed_s:8.1f} s", style=QUIET)
    lost = "" if view.messages_lost is None else f", {view.messages_lost:,} never arrived"
    second = Text(f" {view.messages:,} messages{lost}", style=QUIET)
    if view.proof_holders:
        second.append("   fork proof at ")
        second.append(_bar(view.proof_holders, view.correct, 8), style="bold red")
        second.append(f" {view.proof_holders} of {view.correct}")
    return Text("\n").join([first, second])


def _table(rows: Sequence[PeerRow], width: int, room: int) -> RenderableType:
    table = Table(
        box=SIMPLE_HEAD,
        width=min(width, TABLE_WIDTH),
        show_edge=False,
        padding=(0, 1),
        collapse_padding=True,
    )
    for head, width, justify in COLUMNS:
        table.add_column(head, min_width=width, ratio=width, justify=justify, no_wrap=True)
    settled = colours_of([row.settled_root for row in rows])
    holders = Counter(row.root for row in rows)
    shared = colours_of([row.root for row in rows if holders[row.root] > 1])
    shown = rows if len(rows) <= room else rows[: room - 1]
    for row in shown:
        table.add_row(*_cells(row, settled, shared))
    if len(shown) < len(rows):
        table.add_row(Text(f"and {len(rows) - len(shown)} more", style=QUIET))
    return table


def _cells(row: PeerRow, settled: dict[bytes, str], shared: dict[bytes, str]) -> list[Text]:
    state = Text(row.state, style=STATE_STYLES.get(row.state, "gold1"))
    if row.root is None:
        return [Text(row.name, style=QUIET), *[Text("-", style=QUIET)] * 5, state]
    counts = [Text(f"{count:,}") for count in (row.entries, row.trades, row.busted)]
    return [
        Text(row.name, style="bold"),
        *counts,
        _root(row.settled_root, settled),
        _root(row.root, shared),
        state,
    ]


def _root(root: bytes | None, colours: dict[bytes, str]) -> Text:
    if root is None:
        return Text("-", style=QUIET)
    colour = colours.get(root)
    if colour is None:  # nobody else holds it at this instant
        return Text("  " + root.hex()[:8], style=QUIET)
    return Text("● " + root.hex()[:8], style=colour)


# ---------------------------------------------------------------- below


def _ladder(ladder: Ladder, lines: int) -> RenderableType:
    depth = max(1, (lines - 1) // 2)
    bids, asks = ladder.bids[:depth], ladder.asks[:depth]
    most = max([level.quantity for level in (*bids, *asks)], default=Decimal(0))
    grid = Table.grid(padding=(0, 1))
    grid.add_column(justify="right", min_width=9, no_wrap=True)
    grid.add_column(justify="right", min_width=7, no_wrap=True)
    grid.add_column(width=LADDER_WIDTH - 22, no_wrap=True)
    for _ in range(depth - len(asks)):
        grid.add_row("")
    for level in reversed(asks):
        grid.add_row(*_level(level, most, ASK_STYLE))
    grid.add_row(*_spread(bids, asks))
    for level in bids:
        grid.add_row(*_level(level, most, BID_STYLE))
    title = Text.assemble((ladder.market, "bold"), " at ", (ladder.peer, "bold"))
    return Panel(grid, title=title, box=ROUNDED, border_style=QUIET, height=lines + 2)


def _level(level: PriceLevel, most: Decimal, style: str) -> list[Text]:
    bar = _bar(level.quantity, most, LADDER_WIDTH - 22)
    return [Text(f"{level.price:,}"), Text(f"{level.quantity:,}"), Text(bar, style=style)]


def _spread(bids: Sequence[PriceLevel], asks: Sequence[PriceLevel]) -> list[Text]:
    if not bids or not asks:
        return [Text("-", style=QUIET)]
    return [Text(f"{asks[0].price - bids[0].price:,}", style=QUIET), Text("spread", style=QUIET)]


def _story(view: View) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(justify="right", min_width=5, no_wrap=True, style=QUIET)
    grid.add_column(ratio=1)
    for at, happening in enumerate(reversed(view.story)):
        grid.add_row(f"{happening.at_s:.1f}", Text(happening.what, style="" if at else "bold"))
    return Panel(grid, title="what is going on", box=ROUNDED, border_style=QUIET)


def _bar(value: int | Decimal, most: int | Decimal, width: int) -> str:
    """A bar as wide as value's part of most, to an eighth of a column."""
    eighths = int(value * width * 8 / most) if most else 0
    return ("█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()).ljust(width)
