"""`gossipbook replay`: case files through the engine, or through gossiping peers.

This file decides whether a case came out as its file demands. It promises that every demand of a
file is compared (or the case is named as skipped), that a difference is shown with file, line and
both versions, and that nothing runs before all files have been read. It refuses to know how
commands are matched or spread.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from time import monotonic
from typing import Any

import click

from gossipbook.cli.cases import Case, Check, Expect, read_cases
from gossipbook.cli.peers import PeerGroup
from gossipbook.cli.terminal import ProgressReport, show_table
from gossipbook.cli.translation import MARKET, CaseReplay, Outcome
from gossipbook.errors import NotConverged
from gossipbook.identity import Keypair

LONGEST_DIFF_LINES = 40

_AUTHOR = Keypair.from_seed(b"gossipbook replay, one lone peer").peer_id


@dataclass(frozen=True, slots=True)
class Difference:
    """Something came out otherwise than demanded."""

    where: str  # file:line
    what: str
    expected: Any
    got: Any


@dataclass(frozen=True, slots=True)
class PeerOutcome:
    """What one peer held in the end."""

    peer: int
    entries: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Result:
    """One case's outcome and how it differs from what its file demands."""

    case: Case
    outcome: Outcome
    root: bytes
    peers: tuple[PeerOutcome, ...] | None
    differences: tuple[Difference, ...]

    def as_json(self) -> str:
        """The case as one line of JSON."""
        fields: dict[str, Any] = {"case": self.case.name, **self.outcome._asdict()}
        fields["root"] = self.root.hex()
        if self.peers is not None:
            fields["peers"] = [
                {"peer": one.peer, "entries": one.entries, "root": one.root.hex()}
                for one in self.peers
            ]
        return json.dumps(fields)


def replay_files(paths: Sequence[str], *, peers: int | None, seed: int, as_json: bool) -> bool:
    """Run all cases of the files and show what came of them; whether all demands were met.

    Raises `CaseFileError`.
    """
    files = [(path, read_cases(path)) for path in paths]
    total = sum(case.command_count for _, cases in files for case in cases if not _skipped(case))
    rows: list[list[object]] = []
    all_met = True
    with ProgressReport("replay", total, "commands") as progress:
        for path, cases in files:
            started_s = monotonic()
            results: list[Result] = []
            for case in cases:
                if _skipped(case):
                    click.echo(_skip_message(case), err=True)
                    continue
                if not case.is_complete:
                    click.echo(
                        f'{case.path}:{case.line}: case "{case.name}" has no "expect" line; '
                        "only its checks are compared",
                        err=True,
                    )
                result = run_case(case, peers=peers, seed=seed, progress=progress)
                if as_json:
                    click.echo(result.as_json())
                for line in _explained(result):
                    click.echo(line, err=True)
                results.append(result)
            rows.append(_row(path, results, len(cases), monotonic() - started_s))
            all_met = all_met and not any(result.differences for result in results)
    if not as_json:
        show_table(("file", "cases", "commands", "met", "mismatched", "skipped", "seconds"), rows)
        _summarize(peers, seed, all_met=all_met)
    return all_met


def run_case(
    case: Case, *, peers: int | None = None, seed: int = 1, progress: ProgressReport | None = None
) -> Result:
    """One case through one engine and, where `peers` is given, through so many gossiping peers."""
    group = None if peers is None else PeerGroup(peers, seed)
    replay = CaseReplay(case, [_AUTHOR] if group is None else group.authors)
    differences: list[Difference] = []
    for step in case.steps:
        match step:
            case Check():
                differences += _check(case, replay, step)
            case Expect():
                differences += _expect(case, replay.outcome(), step)
            case _:
                entry = replay.feed(step)
                if group is not None and entry is not None:
                    group.submit(entry)
                if progress is not None:
                    progress.advance()
    outcome, held = replay.outcome(), None
    if group is not None:
        try:
            group.converge()
        except NotConverged as error:
            where = f"{case.path}:{case.line}"
            differences.append(Difference(where, f"the peers did not converge: {error}", [], []))
        held = tuple(PeerOutcome(peer.index, peer.entry_count, peer.root) for peer in group.peers)
        differences += _compare_peers(case, replay, group, outcome)
    return Result(case, outcome, replay.root(), held, tuple(differences))


def _skipped(case: Case) -> bool:
    return case.amend_policy != "both"


def _skip_message(case: Case) -> str:
    return (
        f'{case.path}:{case.line}: skipped "{case.name}": it holds only where '
        f'the amend policy is "{case.amend_policy}"; here a smaller quantity keeps its place'
    )


# -- comparing ------------------------------------------------------------------------------------


def _check(case: Case, replay: CaseReplay, check: Check) -> Iterator[Difference]:
    """What a check demands and the engine does not hold."""
    got: dict[str, Any] = {}
    if "new_trades" in check.values:
        got["new_trades"] = replay.new_trades()
    if len(check.values) > len(got):
        sides = got["l2"] = replay.depth()
        got["volume"] = [sum(level[1] for level in side) for side in sides]
        got["orders"] = [sum(level[2] for level in side) for side in sides]
    for name, expected in check.values.items():
        if got[name] != expected:
            what = f"{name} after command {replay.position - 1}"
            yield Difference(f"{case.path}:{check.line}", what, expected, got[name])


def _expect(case: Case, outcome: Outcome, expect: Expect) -> Iterator[Difference]:
    """What the end of a case demands and did not come."""
    for name, expected in expect.values.items():
        got = getattr(outcome, name)
        if got != expected:
            yield Difference(f"{case.path}:{expect.line}", f"{name} of the case", expected, got)


def _compare_peers(
    case: Case, replay: CaseReplay, group: PeerGroup, outcome: Outcome
) -> Iterator[Difference]:
    """Where a peer holds something else than the engine that read the file in order."""
    where = f"{case.path}:{case.steps[-1].line if case.steps else case.line}"
    order = [record.command_id for record in replay.engine.commands()]
    for peer in group.peers:
        commands = peer.commands(MARKET)
        if [record.command_id for record in commands] != order:
            what = f"commands of peer {peer.index}, whose merge order is not that of the file"
            theirs = [str(record.command_id) for record in commands]
            yield Difference(where, what, [str(one) for one in order], theirs)
            continue
        held = replay.in_file_terms(peer.trades(MARKET), commands, peer.book(MARKET))
        for name, expected, got in zip(Outcome._fields, outcome, held, strict=True):
            if got != expected:
                what = f"{name} of peer {peer.index}, where one engine alone has others"
                yield Difference(where, what, expected, got)
        if peer.root != replay.root():
            what = f"root of peer {peer.index}"
            yield Difference(where, what, [replay.root().hex()], [peer.root.hex()])


# -- showing --------------------------------------------------------------------------------------


def _explained(result: Result) -> Iterator[str]:
    if result.differences:
        yield f'MISMATCH in case "{result.case.name}" ({result.case.path}:{result.case.line})'
    for difference in result.differences:
        yield f"  {difference.where}: {difference.what}"
        if difference.expected == difference.got:
            continue
        yield "    - expected    + got"
        lines = list(_diff(difference.expected, difference.got))
        yield from lines[:LONGEST_DIFF_LINES]
        if len(lines) > LONGEST_DIFF_LINES:
            yield f"    ... and {len(lines) - LONGEST_DIFF_LINES} lines more"


def _diff(expected: Sequence[Any], got: Sequence[Any]) -> Iterator[str]:
    """Item by item; of long stretches that agree, only the ends."""
    old, new = [[json.dumps(item) for item in side] for side in (expected, got)]
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            same = [f"      {text}" for text in old[i1:i2]]
            if len(same) > 4:
                same = [same[0], f"      ... {len(same) - 2} that agree", same[-1]]
            yield from same
        else:
            yield from [f"    - {text}" for text in old[i1:i2]]
            yield from [f"    + {text}" for text in new[j1:j2]]


def _row(path: str, results: list[Result], case_count: int, elapsed_s: float) -> list[object]:
    mismatched = sum(bool(result.differences) for result in results)
    commands = sum(result.case.command_count for result in results)
    skipped = case_count - len(results)
    met = len(results) - mismatched
    return [path, case_count, commands, met, mismatched, skipped, f"{elapsed_s:.2f}"]


def _summarize(peers: int | None, seed: int, *, all_met: bool) -> None:
    how = "through one engine"
    if peers is not None:
        how = f"through {peers} gossiping peers on lossy links (seed {seed}), all roots equal"
    if all_met:
        click.echo(f"Every case came out as its file demands, {how}.")
    else:
        click.echo("Some cases came out otherwise; see above (stderr) what was expected and got.")
