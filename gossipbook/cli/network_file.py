"""A network file: what every peer of one network has to be given, as text that can be mailed.

This file decides how a genesis is written down: a head line, the network id, names of members for
people, the encoded genesis in base64, and a checksum over all of it. It promises that what is read
is what was written (a line lost or changed on the way is an error that says so), and that no file
is overwritten unasked. What peers agree on is the genesis alone: two files with the same id are the
same network, whatever names they use. It refuses to know TOML (network_toml.py) and peers.

    gossipbook network 1
    # demo: BTC-USD; 2 members
    id <64 hex digits>
    member <64 hex digits> alice
    genesis
    hQFEZGVtb...
    end <16 hex digits>
"""

from __future__ import annotations

import os
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from textwrap import wrap

from gossipbook.errors import EncodingError, UsageError
from gossipbook.genesis import MAX_GENESIS_SIZE_BYTES, MAX_MEMBERS, Genesis
from gossipbook.identity import PeerId
from gossipbook.merkle import hash_bytes

HEAD = "gossipbook network 1"
SUFFIX = ".network"
MAX_NAME_LENGTH = 32
LINE_WIDTH = 72  # mail programs break lines from 78 characters on

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?")
_MAX_FILE_BYTES = MAX_GENESIS_SIZE_BYTES * 4 // 3 + MAX_MEMBERS * (80 + MAX_NAME_LENGTH) + 65_536


@dataclass(frozen=True, slots=True)
class NetworkFile:
    """A genesis, and what people call its members. Names decide nothing. Raises UsageError."""

    genesis: Genesis
    names: Mapping[PeerId, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        taken: set[str] = set()
        for peer_id, name in self.names.items():
            if not is_name(name):
                raise UsageError(
                    f"the name {name[:80]!r} is not allowed; use 1 to {MAX_NAME_LENGTH} letters "
                    "and digits, with dots, dashes and underscores between them"
                )
            if self.genesis.members is None or peer_id not in self.genesis.members:
                raise UsageError(f"{name} ({peer_id.hex()}) has a name and is no member")
            if name in taken:
                raise UsageError(f"two members are called {name!r}; give each a name of its own")
            taken.add(name)

    def to_text(self) -> str:
        """The file, with a line break at its end."""
        lines = [HEAD, f"# {summary(self.genesis)}", f"id {self.genesis.network_id.hex()}"]
        lines += [f"member {peer_id.hex()} {self.names[peer_id]}" for peer_id in sorted(self.names)]
        lines += ["genesis", *wrap(b64encode(self.genesis.encode()).decode(), LINE_WIDTH)]
        return "\n".join([*lines, f"end {_checksum(lines)}"]) + "\n"

    @staticmethod
    def from_text(text: str, source: str = "this text") -> NetworkFile:
        """What ``to_text`` wrote; white space around lines may have changed. Raises UsageError."""
        lines = [line.strip() for line in text.lstrip("\ufeff").split("\n")]
        lines = [line for line in lines if line]
        if not lines or not lines[0].startswith("gossipbook network "):
            raise UsageError(
                f"{source!r} is not a network file; `gossipbook genesis MARKETS.toml` makes one"
            )
        if lines[0] != HEAD:
            raise UsageError(
                f"{source!r} begins with {lines[0][:40]!r}, and this version reads {HEAD!r} only; "
                "use the version of gossipbook that wrote it, or a newer one"
            )
        try:
            return _read(lines)
        except _Damaged as error:
            raise UsageError(
                f"the network file {source!r} is damaged: {error}; ask for it again, and send it "
                "as an attachment"
            ) from None

    @staticmethod
    def load(path: str | os.PathLike[str]) -> NetworkFile:
        """The network in a file. Raises UsageError."""
        name = os.fspath(path)
        try:
            with open(path, "rb") as file:
                data = file.read(_MAX_FILE_BYTES + 1)
            if len(data) > _MAX_FILE_BYTES:
                raise UsageError(f"{name!r} is no network file: it is far too large")
            text = data.decode()
        except FileNotFoundError:
            raise UsageError(
                f"there is no network file {name!r}; `gossipbook genesis MARKETS.toml` makes one, "
                "or ask somebody of your network for theirs"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"no network can be read from {name!r}: {error}") from None
        return NetworkFile.from_text(text, name)

    def save(self, path: str | os.PathLike[str], *, replace: bool = False) -> None:
        """Write it to a new file; with ``replace`` also over an old one. Raises UsageError."""
        name = os.fspath(path)
        try:
            if not replace:
                with open(path, "x", encoding="utf-8") as file:
                    file.write(self.to_text())
                return
            beside = Path(f"{name}.new")
            beside.write_text(self.to_text(), encoding="utf-8")
            os.replace(beside, path)
        except FileExistsError:
            raise UsageError(f"{name!r} exists; name another file, or move that one away") from None
        except OSError as error:
            raise UsageError(f"no network file can be written to {name!r}: {error}") from None


def is_name(text: str) -> bool:
    """Whether a member may be called that."""
    return len(text) <= MAX_NAME_LENGTH and _NAME.fullmatch(text) is not None


def summary(genesis: Genesis) -> str:
    """A network in one line: its name, its first markets, who may write."""
    symbols = [market.symbol for market in islice(genesis.markets, 4)]
    if len(genesis.markets) > len(symbols):
        symbols.append(f"{len(genesis.markets) - len(symbols)} more")
    return f"{genesis.name}: {', '.join(symbols)}; {membership(genesis)}"


def membership(genesis: Genesis) -> str:
    """Who may write, in words."""
    if genesis.members is None:
        return "open to everyone"
    count = len(genesis.members)
    return f"{count} member{'s' * (count != 1)}"


class _Damaged(Exception):
    """What is wrong with the lines of a file that begins like one of ours."""


def _read(lines: list[str]) -> NetworkFile:
    *body, end = lines
    if not end.startswith("end "):
        raise _Damaged("its end is missing")
    if end != f"end {_checksum(body)}":
        raise _Damaged("its checksum does not hold")
    rest = iter(line for line in body[1:] if not line.startswith("#"))
    network_id = ""
    names: dict[PeerId, str] = {}
    for line in rest:
        match line.split():
            case ["id", network_id]:
                pass
            case ["member", peer, name]:
                names[_peer_id(peer)] = name
            case ["genesis"]:
                break
            case _:
                raise _Damaged(f"nothing in it may read {line[:40]!r}")
    genesis = _genesis(rest)
    if genesis.network_id.hex() != network_id:
        raise _Damaged("its network id is not that of its genesis")
    try:
        return NetworkFile(genesis, names)
    except UsageError as error:
        raise _Damaged(str(error)) from None


def _genesis(lines: Iterator[str]) -> Genesis:
    try:
        return Genesis.decode(b64decode("".join(lines), validate=True))
    except (ValueError, EncodingError) as error:
        raise _Damaged(f"its genesis cannot be read ({error})") from None


def _peer_id(text: str) -> PeerId:
    try:
        return PeerId(bytes.fromhex(text))
    except ValueError:
        raise _Damaged(f"{text[:80]!r} is no peer id") from None


def _checksum(lines: list[str]) -> str:
    return hash_bytes(b"gossipbook/1 network file", "\n".join(lines).encode()).hex()[:16]
