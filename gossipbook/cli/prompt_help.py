"""The commands of the prompt: how each is written and what it does, in the words of `help`.

This file decides which commands there are. Parser, completion and the page docs/command_line.md are
held against it by tests. It knows no peers.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

from gossipbook.errors import UsageError


@dataclass(frozen=True, slots=True)
class CommandHelp:
    """One command: how to write it, in full and in brief, and what there is to know about it."""

    usage: str
    summary: str
    details: tuple[str, ...] = ()
    brief: str = ""


_ORDER_DETAILS = (
    "The amount comes first: {side} 100 50 is 100 at 50 each, or better.",
    "",
    "  {side} 100 50          rests in the book until it is filled or cancelled",
    "  {side} 100 50 ioc      trades what it can at once, and cancels the rest",
    "  {side} 100 50 fok      trades all of it at once, or is rejected",
    "  {side} 100 50 post     only rests: is rejected if it would trade at once",
    "  {side} 100 market      takes whatever prices the book offers; never rests",
    "  {side} 100 50 in SYM   in another market than the current one",
    "",
    "There is no short form without a price: a forgotten price is no market order.",
)

COMMANDS: dict[str, CommandHelp] = {
    "buy": CommandHelp(
        "buy AMOUNT PRICE|market [ioc|fok|post] [in SYMBOL]",
        "place an order to buy; `help buy` says which kinds there are",
        tuple(line.format(side="buy") for line in _ORDER_DETAILS),
        "buy AMOUNT PRICE",
    ),
    "sell": CommandHelp(
        "sell AMOUNT PRICE|market [ioc|fok|post] [in SYMBOL]",
        "place an order to sell",
        tuple(line.format(side="sell") for line in _ORDER_DETAILS),
        "sell AMOUNT PRICE",
    ),
    "cancel": CommandHelp(
        "cancel ID... | cancel all [in SYMBOL]",
        "take back what remains of own orders",
        (
            "ID is the number that an order got (#3 or 3), or a whole order id.",
            "`cancel all` means all own open orders, in all markets or in one.",
        ),
        "cancel ID... | all",
    ),
    "replace": CommandHelp(
        "replace ID [price PRICE] [quantity AMOUNT | reduce AMOUNT]",
        "change an own open order; it keeps its number",
        (
            "`quantity` is the new remaining amount; `reduce` takes so much off.",
            "Less at the same price keeps the place in the queue; anything else loses it.",
            "",
            "  replace 3 price 51",
            "  replace 3 quantity 20",
            "  replace 3 price 51 reduce 5",
        ),
        "replace ID WHAT",
    ),
    "market": CommandHelp(
        "market [SYMBOL]",
        "trade in this market from now on",
        ("Without a symbol: which one it is. `markets` lists all.",),
    ),
    "markets": CommandHelp("markets", "all markets: units, best prices, trades"),
    "book": CommandHelp(
        "book [DEPTH] [in SYMBOL]",
        "bids and asks, best prices in the middle",
        ("DEPTH is how many prices of each side are shown: 10 unless said.",),
        "book [DEPTH]",
    ),
    "orders": CommandHelp(
        "orders [all [COUNT]] [in SYMBOL]",
        "own open orders; with all, the closed ones too",
        (
            "`orders all` shows the newest 100, or COUNT. Numbers count the orders in this",
            "key's log, from the first on: an order has the same number after a restart.",
        ),
        "orders [all]",
    ),
    "order": CommandHelp("order ID", "one order, own or not, with its whole id"),
    "trades": CommandHelp(
        "trades [COUNT] [in SYMBOL]",
        "the latest trades, newest last",
        (
            "COUNT is 10 unless said. The time is the taker's, as it was signed.",
            "A trade may still be busted, if an earlier order comes in late (THREATS.md).",
        ),
        "trades [COUNT]",
    ),
    "news": CommandHelp(
        "news",
        "what happened since the last `news`, for pipes",
        ("At a terminal the same lines appear by themselves.",),
    ),
    "peers": CommandHelp(
        "peers",
        "who is linked to this peer, and how well",
        (
            "phi is how suspicious a silence is: a link is given up at 4. `ahead` counts",
            "entries that it has and we lack, `behind` what we have and it may lack.",
        ),
    ),
    "join": CommandHelp(
        "join HOST:PORT...",
        "dial these peers, now and whenever the link is lost",
        ("As --join does at the start. `peers` shows whether it came to a link.",),
    ),
    "status": CommandHelp("status", "this peer in numbers"),
    "whoami": CommandHelp("whoami", "own id, address and network"),
    "wait": CommandHelp(
        "wait WHAT [within SECONDS]",
        "go on when something is so, for pipes",
        (
            "Fails if it is not so within 30 seconds, or as many as are said.",
            "",
            "  wait seconds 1.5       so much time has passed",
            "  wait peers 2           at least so many peers are linked",
            "  wait entries 10        at least so many entries are here",
            "  wait trades 3          at least so many trades, in the current market",
            "  wait closed 4          own order #4 is filled, cancelled or rejected",
            "  wait equal             all linked peers have what we have, and vice versa",
        ),
        "wait WHAT",
    ),
    "help": CommandHelp("help [COMMAND]", "all commands, or one of them in full"),
    "quit": CommandHelp("quit", "say goodbye to the other peers and leave, as Ctrl-D does"),
}

ALIASES = {"exit": "quit", "bye": "quit", "?": "help"}


def overview() -> list[tuple[str, str]]:
    """Each command in brief, and one line about it."""
    return [(one.brief or one.usage, one.summary) for one in COMMANDS.values()]


def command_name(word: str) -> str:
    """The command that a word stands for. Raises UsageError, naming the nearest."""
    name = ALIASES.get(word.lower(), word.lower())
    if name in COMMANDS:
        return name
    near = get_close_matches(name, COMMANDS, n=1) or get_close_matches(name, ALIASES, n=1)
    hint = f"did you mean {near[0]}?" if near else "help lists the commands"
    raise UsageError(f"there is no command {word[:40]!r}; {hint}")


def usage_error(name: str, problem: str) -> UsageError:
    """A command that was written wrongly, and how to write it."""
    return UsageError(f"{problem}; write: {COMMANDS[name].usage}")
