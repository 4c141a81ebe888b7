"""The TOML in which people write down a network: its name, its markets, who may trade.

This file decides which keys there are and what is said about a wrong one. It promises that nothing
in the file is quietly ignored (a misspelt `tick_size` would otherwise make another market), and
that every error says what to write. What a network may be, `Genesis` and `Market` decide.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Mapping
from datetime import date, datetime, time
from difflib import get_close_matches
from typing import Any

from gossipbook.cli.network_file import NetworkFile
from gossipbook.errors import UsageError
from gossipbook.genesis import DecimalLike, Genesis, Market
from gossipbook.identity import PeerId, is_valid_peer_id

EXAMPLE = """\
# A network for gossipbook. `gossipbook genesis THIS.toml` makes a network file of it; every peer
# needs the same one. Whatever is changed here makes another network, apart from members' names.

name = "demo"

# No order dated before this counts. Leave it out for no limit.
# start = 2026-01-01T00:00:00Z

# Prices are multiples of tick_size, quantities of lot_size; in quotes, as 0.01 without quotes is
# not exact. self_trade says what happens when an order meets one of the same author: "allow",
# "cancel-resting", "cancel-incoming" or "cancel-both".
[[markets]]
symbol = "BTC-USD"
tick_size = "0.01"
lot_size = "0.0001"
self_trade = "cancel-resting"

[[markets]]
symbol = "ETH-USD"
tick_size = "0.01"
lot_size = "0.001"

# Who may connect and trade: a name for people, and what `gossipbook keygen FILE` printed. Without
# this table anybody may. Members cannot be changed later.
# [members]
# alice = "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"
# bob = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c"
"""

_TOP_KEYS = ("name", "start", "markets", "members")
_MARKET_KEYS = ("symbol", "tick_size", "lot_size", "self_trade")


def read_toml(path: str | os.PathLike[str]) -> NetworkFile:
    """The network that a TOML file describes. Raises UsageError, which begins with the file."""
    name = os.fspath(path)
    try:
        with open(path, encoding="utf-8") as file:
            return parse_toml(file.read())
    except FileNotFoundError:
        raise UsageError(
            f"there is no file {name!r}; `gossipbook genesis --example` prints one to start from"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{name!r} cannot be read: {error}") from None
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None


def parse_toml(text: str) -> NetworkFile:
    """The network that the text describes. Raises UsageError."""
    try:
        table = tomllib.loads(text, parse_float=_Float)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"this is not TOML: {error}") from None
    _check_keys(table, _TOP_KEYS, "the file")
    if "name" not in table:
        raise UsageError('the network has no name; write name = "..." in the first line')
    if "markets" not in table:
        raise UsageError('there is no market; write [[markets]] and below it symbol = "..."')
    members, names = _members(table.get("members"))
    markets = _markets(table["markets"])
    genesis = Genesis(table["name"], markets, members=members, start=_start(table.get("start")))
    return NetworkFile(genesis, names)


class _Float(str):
    """A number with a point and no quotes, as it stands in the file."""

    __slots__ = ()


def _markets(tables: Any) -> list[Market]:
    if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
        raise UsageError("markets is not a list of tables; write [[markets]] above each market")
    return [_market(table, number) for number, table in enumerate(tables, 1)]


def _market(table: dict[str, Any], number: int) -> Market:
    where = f"market {number}"
    for key in table:
        if key in _TOP_KEYS:
            raise UsageError(
                f"{key} stands below a [[markets]], and belongs to that market there; move it "
                "above the first [[markets]]"
            )
    _check_keys(table, _MARKET_KEYS, where)
    if "symbol" not in table:
        raise UsageError(f'{where} has no symbol; write symbol = "BTC-USD"')
    symbol = table["symbol"]
    units = {
        key: _unit(symbol, key, table[key]) for key in ("tick_size", "lot_size") if key in table
    }
    return Market(symbol, **units, self_trade=table.get("self_trade", "allow"))


def _unit(symbol: str, key: str, value: Any) -> DecimalLike:
    if isinstance(value, _Float):
        raise UsageError(
            f'{key} = {value} of {symbol} is a float, which is not exact; write {key} = "{value}"'
        )
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UsageError(f'{key} of {symbol} is {value!r}; write a number in quotes: "0.01"')
    return value


def _members(value: Any) -> tuple[list[PeerId] | None, dict[PeerId, str]]:
    """The keys, or None for an open network; and the names that some have."""
    if value is None:
        return None, {}
    if isinstance(value, dict):
        named = {_member(text): name for name, text in value.items()}
        if len(named) < len(value):
            raise UsageError("two members have the same id; give each its own `keygen` id")
        return list(named), named
    if isinstance(value, list):
        return [_member(text) for text in value], {}
    raise UsageError(
        f'members is {value!r}; write [members] and below it alice = "<64 hex digits>"'
    )


def _member(text: Any) -> PeerId:
    peer_id = b""
    if isinstance(text, str) and not isinstance(text, _Float):
        try:
            peer_id = bytes.fromhex(text)
        except ValueError:
            peer_id = b""
    if not is_valid_peer_id(peer_id):
        raise UsageError(
            f"the member {str(text)[:80]!r} is no peer id; write the 64 hex digits that "
            "`gossipbook keygen FILE` printed"
        )
    return PeerId(peer_id)


def _start(value: Any) -> datetime | None:
    if value is None:
        return None
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value
    if isinstance(value, datetime):
        raise UsageError(f"start = {value.isoformat()} has no time zone; add a Z for UTC")
    if isinstance(value, date | time | str):
        raise UsageError(f"start = {value} is no point in time; write it like 2026-01-01T00:00:00Z")
    raise UsageError(f"start = {value!r} is no time; write it like 2026-01-01T00:00:00Z")


def _check_keys(table: Mapping[str, Any], known: Collection[str], where: str) -> None:
    for key in table:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise UsageError(f"{key} in {where} is not known; {hint}")
