"""Reads matching cases: JSON lines of commands, checks and expectations.

This file decides what a well-formed case file is. It promises that what it gives out is in range,
so that a later surprise is a difference between engines and never a typing mistake; that nothing
in a file is quietly ignored (a misspelt check would otherwise pass for ever); and that every error
names file and line. It refuses to know orders, books and who wins.

    {"op": "case", "name": ...}                      begins a case; other fields describe it
    {"op": "limit", "id", "side", "price", "qty", "tif": "gtc" | "ioc" | "fok" | "post"}
    {"op": "market", "id", "side", "qty"}            a "tif" is read and changes nothing
    {"op": "cancel", "id"}
    {"op": "amend", "id", "price", "qty" or "delta", "requeue"}
    {"op": "check", "new_trades", "l2", "orders", "volume"}     after the command before it
    {"op": "expect", "trades", "bids", "asks", "reject_seqs"}   ends the case
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from gossipbook.book.payload import BUY, FOK, GTC, IOC, POST_ONLY, SELL
from gossipbook.errors import UsageError

MAX_INTEGER = (1 << 63) - 1

_SIDES = {"buy": BUY, "sell": SELL}
_TIMES_IN_FORCE = {"gtc": GTC, "ioc": IOC, "fok": FOK, "post": POST_ONLY}

_Fields: TypeAlias = dict[str, Any]


class CaseFileError(UsageError):
    """A case file that cannot be read; the message begins with file and line."""


@dataclass(frozen=True, slots=True)
class Place:
    """A new order; `price` 0 is a market order."""

    line: int
    id: int
    side: int
    price: int
    quantity: int
    time_in_force: int


@dataclass(frozen=True, slots=True)
class Cancel:
    line: int
    id: int


@dataclass(frozen=True, slots=True)
class Amend:
    """`quantity` is the new remaining quantity, `delta` a change of it; None: as it is."""

    line: int
    id: int
    price: int | None
    quantity: int | None
    delta: int | None
    requeue: bool


@dataclass(frozen=True, slots=True)
class Check:
    """What must hold after the command before; field name to value, as in the file."""

    line: int
    values: _Fields


@dataclass(frozen=True, slots=True)
class Expect:
    """What must hold in the end; field name to value, as in the file."""

    line: int
    values: _Fields


CaseCommand: TypeAlias = Place | Cancel | Amend
Step: TypeAlias = CaseCommand | Check | Expect


@dataclass(frozen=True, slots=True)
class Case:
    """One case: its commands and checks in order, its expectation last."""

    path: str
    line: int
    name: str
    amend_policy: str
    steps: tuple[Step, ...]

    @property
    def command_count(self) -> int:
        return sum(not isinstance(step, Check | Expect) for step in self.steps)

    @property
    def is_complete(self) -> bool:
        """Whether the file says what must come out in the end."""
        return bool(self.steps) and isinstance(self.steps[-1], Expect)


def read_cases(path: str | Path) -> list[Case]:
    """All cases of a file. Raises `CaseFileError`."""
    cases: list[Case] = []
    heading: tuple[int, str, str] | None = None
    steps: list[Step] = []

    def finish() -> None:
        if heading is not None:
            line, name, policy = heading
            cases.append(Case(str(path), line, name, policy, tuple(steps)))
            steps.clear()

    for line, text in _lines(path):
        at = _Line(f"{path}:{line}", line, _parse(f"{path}:{line}", text))
        if at.op == "case":
            finish()
            heading = (line, at.text("name"), at.text("amend_policy", "both"))
            continue
        if heading is None:
            at.fail('stands before the first {"op": "case"} line; begin with one')
        if steps and isinstance(steps[-1], Expect):
            at.fail('follows "expect", which ends a case; begin a new one before it')
        steps.append(at.step())
    finish()
    if not cases:
        raise CaseFileError(f'{path}: there is no {{"op": "case"}} line in this file')
    return cases


def _lines(path: str | Path) -> Iterator[tuple[int, str]]:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise CaseFileError(f"{path}: cannot be read: {error.strerror}") from None
    for number, raw in enumerate(data.split(b"\n"), 1):
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            raise CaseFileError(f"{path}:{number}: is not UTF-8 text") from None
        if text.strip():
            yield number, text


def _parse(where: str, text: str) -> _Fields:
    try:
        value = json.loads(text, object_pairs_hook=_without_repetition, parse_constant=_refuse)
    except RecursionError:
        raise CaseFileError(f"{where}: is nested too deeply") from None
    except ValueError as error:
        raise CaseFileError(f"{where}: is not a line of JSON: {error}") from None
    if not isinstance(value, dict):
        raise CaseFileError(f"{where}: is not a JSON object but {_shown(value)}")
    return value


def _without_repetition(pairs: list[tuple[str, Any]]) -> _Fields:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field is given twice")
    return fields


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a number")


class _Line:
    """One line's fields, asked for one by one."""

    def __init__(self, where: str, number: int, fields: _Fields) -> None:
        self.where = where
        self.number = number
        self.fields = fields
        self.op = self.one_of("op", _OPERATIONS)

    def step(self) -> Step:
        allowed = _OPERATIONS[self.op]
        unknown = [name for name in self.fields if name not in allowed and name != "op"]
        if unknown:
            self.fail(
                f'"{self.op}" has no field "{unknown[0]}"; its fields are {", ".join(allowed)}'
            )
        make: Callable[[], Step] = getattr(self, "_" + self.op)
        return make()

    def _limit(self) -> Place:
        return self._place(self.integer("price", 1), _TIMES_IN_FORCE[self._time_in_force()])

    def _market(self) -> Place:
        if "tif" in self.fields:
            self._time_in_force()
        return self._place(0, IOC)

    def _place(self, price: int, time_in_force: int) -> Place:
        side = _SIDES[self.one_of("side", _SIDES)]
        quantity = self.integer("qty", 1)
        return Place(self.number, self.integer("id", 0), side, price, quantity, time_in_force)

    def _time_in_force(self) -> str:
        return self.one_of("tif", _TIMES_IN_FORCE)

    def _cancel(self) -> Cancel:
        return Cancel(self.number, self.integer("id", 0))

    def _amend(self) -> Amend:
        fields = self.fields
        requeue = fields.get("requeue", False)
        if not isinstance(requeue, bool):
            self.fail(f'"requeue" is {_shown(requeue)}; write true or false')
        if "qty" in fields and "delta" in fields:
            self.fail('"qty" and "delta" both say the size; give one of them')
        if not requeue and not {"price", "qty", "delta"} & fields.keys():
            self.fail('changes nothing; give "price", "qty", "delta" or "requeue": true')
        return Amend(
            self.number,
            self.integer("id", 0),
            self.integer("price", 1) if "price" in fields else None,
            self.integer("qty", 0) if "qty" in fields else None,
            self.integer("delta", -MAX_INTEGER) if "delta" in fields else None,
            requeue,
        )

    def _check(self) -> Check:
        return Check(self.number, self._demands("check"))

    def _expect(self) -> Expect:
        return Expect(self.number, self._demands("expect"))

    def _demands(self, op: str) -> _Fields:
        demands = {}
        for name, shape in _OPERATIONS[op].items():
            if shape is not None and name in self.fields:
                value = self.fields[name]
                if not _has_shape(value, shape):
                    self.fail(f'"{name}" is {_shown(value)}; it looks like {_drawn(shape)}')
                demands[name] = value
        return demands

    def integer(self, name: str, least: int) -> int:
        value = self._get(name)
        if type(value) is not int or not least <= value <= MAX_INTEGER:
            self.fail(f'"{name}" is {_shown(value)}; write an integer of {least} to 2^63-1')
        assert isinstance(value, int)
        return value

    def text(self, name: str, default: str | None = None) -> str:
        value = self.fields.get(name, default)
        if not isinstance(value, str) or not value:
            self.fail(f'"{name}" is {_shown(value)}; write a text')
        assert isinstance(value, str)
        return value

    def one_of(self, name: str, choices: dict[str, Any]) -> str:
        value = self._get(name)
        if not isinstance(value, str) or value not in choices:
            self.fail(f'"{name}" is {_shown(value)}; write one of {", ".join(choices)}')
        assert isinstance(value, str)
        return value

    def _get(self, name: str) -> object:
        if name not in self.fields:
            self.fail(f'has no "{name}"')
        return self.fields[name]

    def fail(self, what: str) -> None:
        raise CaseFileError(f"{self.where}: {what}")


# Shapes: int, a tuple of exactly these, or a list of any number of the one.
_TRADES = [(int, int, int, int)]
_LEVELS = [(int, int, int)]
_QUEUES = [(int, [(int, int)])]

_OPERATIONS: dict[str, dict[str, Any]] = {
    "case": {},
    "limit": dict.fromkeys(("id", "side", "price", "qty", "tif")),
    "market": dict.fromkeys(("id", "side", "qty", "tif")),
    "cancel": dict.fromkeys(("id",)),
    "amend": dict.fromkeys(("id", "price", "qty", "delta", "requeue")),
    "check": {
        "new_trades": _TRADES,
        "l2": (_LEVELS, _LEVELS),
        "orders": (int, int),
        "volume": (int, int),
    },
    "expect": {
        "trades": _TRADES,
        "reject_seqs": [int],
        "bids": _QUEUES,
        "asks": _QUEUES,
        "report_sha256": None,  # of another program's report, in another program's format
    },
}


def _has_shape(value: object, shape: Any) -> bool:
    if shape is int:
        return type(value) is int
    if not isinstance(value, list):
        return False
    if isinstance(shape, tuple):
        return len(value) == len(shape) and all(map(_has_shape, value, shape))
    return all(_has_shape(item, shape[0]) for item in value)


def _drawn(shape: Any) -> str:
    if shape is int:
        return "integer"
    inside = ", ".join(map(_drawn, shape))
    return f"[{inside}]" if isinstance(shape, tuple) else f"[{inside}, ...]"


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
