"""Scripts to start from: what a fuzzer would take long to find by itself.

A story is a script written by hand that leads into a part of the protocol that takes several steps
in the right order: a fork that has to be searched for, a claim that the books differ, an own log
that was damaged. The fuzzer takes stories apart and puts the pieces elsewhere. Besides there are
openings with steps of one kind after the other, and scripts at random.
"""

from __future__ import annotations

from collections.abc import Iterator

from fuzz.script import STEPS, STRANGERS, Kind, Pace

from gossipbook.randomness import SeededRandom

MAIN, LATE, AHEAD, EARLY = range(4)
"""The histories that each author of the pool has."""

RANDOM_SCRIPTS = 150

_COMPARE, _PING, _EVIDENCE = 2, 8, 18  # where they stand among the kinds of messages
_ONE_ORDER = (0, 0, 0, 3, 4, 0)
_TRUTH, _LIE, _NOTHING = (0,), (1, 0, 0), (2,)  # about a cut; there are four
_SECOND, _MANY = 7, 7
_HIGHEST = 4


def scripts() -> Iterator[bytes]:
    """All of them."""
    yield from stories()
    yield from openings()
    random = SeededRandom(1)
    for _ in range(RANDOM_SCRIPTS):
        length = random.between(20, 200)
        yield random.bits(8 * length).to_bytes(length, "big")


def stories() -> Iterator[bytes]:
    """Those written by hand."""
    yield from offences()
    yield from unequal_histories()
    yield from histories_that_meet()
    yield from claims_of_divergence()
    yield submit_behind_a_fork()
    yield void_by_our_own_entry()
    yield doubted_behind_a_write()


# -------------------------------------------------------------------- stories


def offences() -> Iterator[bytes]:
    """Every stranger links up and breaks a rule."""
    for kind in (Kind.LINKED | Kind.TIGHT, Kind.LINKED | Kind.MEMBERS_ONLY):
        yield opening(kind) + b"".join(
            step("link_stranger", stranger, 2) + step("say_garbage", 0, 0)
            for stranger in range(len(STRANGERS))
        )


def unequal_histories() -> Iterator[bytes]:
    """The two, linked, hear different histories of one author; then one of them starts anew."""
    linked = Kind.LINKED | Kind.STRANGER
    for more in (Kind(0), Kind.STOLEN_KEY, Kind.MEMBERS_ONLY, Kind.TIGHT, Kind.WATCHED):
        for first, second in ((MAIN, LATE), (LATE, MAIN), (MAIN, AHEAD), (EARLY, MAIN)):
            for author in (0, 1):
                yield opening(linked | more) + b"".join(
                    [
                        step("link_stranger", author, 2, side="B"),
                        told(author, first),
                        told(author, second, side="B"),
                        exchange(),
                        step("submit", 0, 0, 0, 3, 4, 0),
                        step("wait", _SECOND),
                        step("restart", author, 2),
                        step("wait", _SECOND),
                    ]
                )


def histories_that_meet() -> Iterator[bytes]:
    """The two hear different histories before they meet, and have to search for the fork."""
    for more in (Kind(0), Kind.TIGHT, Kind.WATCHED):
        for first, second in ((MAIN, LATE), (LATE, MAIN), (AHEAD, MAIN)):
            yield opening(Kind.STRANGER | more) + b"".join(
                [
                    step("link_stranger", 1, 2, side="B"),
                    told(0, first),
                    told(0, second, side="B"),
                    step("wait", _SECOND),
                    step("connect"),
                    exchange(),
                    exchange(),
                ]
            )


def claims_of_divergence() -> Iterator[bytes]:
    """A stranger says that the books differ, and answers questions about it with lies and truth."""
    of_all, of_the_latest, of_none_but_the_latest = (
        _LIE * 4,
        _TRUTH * 2 + _LIE * 2,
        _NOTHING * 2 + _LIE * 2,
    )
    for more in (Kind(0), Kind.WATCHED, Kind.TIGHT):
        for claim in (of_all, of_the_latest, of_none_but_the_latest):
            for lies in ((1,) * 12, (0, 0, 1) * 4, (0, 1) * 6):
                yield opening(Kind.STRANGER | more) + b"".join(
                    [
                        told(0, MAIN),
                        *[step("wait", _SECOND) + step("say", _PING, _HIGHEST, _HIGHEST)] * 3,
                        step("say", _COMPARE, 3, 0, 0, _HIGHEST, *claim, 0),
                        *[step("answer", back, *lies) for back in (1, 0, 0, 0, 0)],
                        step("wait", 4),
                    ]
                )


def submit_behind_a_fork() -> bytes:
    """A submit waits behind an entry in flight when it is proven that our key signed twice.

    Found by the fuzzer: the submit was never answered.
    """
    a_thief = Kind.STRANGER | Kind.ALONE | Kind.STOLEN_KEY
    return opening(a_thief, Pace.VERIFIES) + b"".join(
        [
            step("submit", *_ONE_ORDER),
            step("submit", *_ONE_ORDER),
            step("say", _EVIDENCE, len(STRANGERS), 0, 2, 0),
            step("land"),
            step("land"),
        ]
    )


def void_by_our_own_entry() -> bytes:
    """Entries signed with our stolen key count until one of our own lands and shows the fork.

    Found by the fuzzer: the books were not settled then.
    """
    a_thief = Kind.STRANGER | Kind.ALONE | Kind.STOLEN_KEY
    return opening(a_thief, Pace.VERIFIES) + b"".join(
        [
            step("submit", *_ONE_ORDER),
            told(len(STRANGERS), MAIN),
            step("wait", 6),
            step("land"),
            step("land"),
        ]
    )


def doubted_behind_a_write() -> bytes:
    """A submit waits behind an entry in flight when a new address makes the peer look again.

    Found by the fuzzer: once the write had failed, nobody looked after that submit.
    """
    return opening(Kind.LINKED, Pace.VERIFIES | Pace.DELIVERS) + b"".join(
        [
            step("wait", _SECOND),
            step("wait", _SECOND),
            step("submit", *_ONE_ORDER),
            step("submit", *_ONE_ORDER),
            step("use", 2, 4, 0),
            step("fail_write", 0),
        ]
    )


def openings() -> Iterator[bytes]:
    """Steps of one kind after the other, in several worlds."""
    for kind in (
        Kind.STRANGER | Kind.LINKED,
        Kind.STRANGER | Kind.LINKED | Kind.ALONE,
        Kind.STRANGER | Kind.LINKED | Kind.WATCHED | Kind.TIGHT | Kind.MEMBERS_ONLY,
        Kind.STRANGER | Kind.WATCHED | Kind.ALONE | Kind.TIGHT | Kind.STOLEN_KEY,
        Kind.LINKED | Kind.ALONE | Kind.MORE_CONTACTS | Kind.MEMBERS_ONLY,
    ):
        for pace in (Pace.ALL, Pace.VERIFIES, Pace(0)):
            for name in dict.fromkeys(STEPS):
                yield opening(kind, pace) + varied(name) * 3


# -------------------------------------------------------------------- words


def opening(kind: Kind, pace: Pace = Pace.ALL) -> bytes:
    """The first bytes of a script, with the first stranger where there is one."""
    return bytes([kind, pace]) + (bytes([0, 2]) if Kind.STRANGER in kind else b"")


def step(name: str, *how: int, side: str = "A") -> bytes:
    """One step."""
    return bytes([STEPS.index(name) + (192 if side == "B" else 0), *how])


def told(author: int, history: int, *, side: str = "A") -> bytes:
    """All entries of a history, from the one stranger that the side is linked to."""
    return step("tell_entries", 0, author, history | 7 << 2, 0, 0, side=side)


def exchange() -> bytes:
    """Time passes, and what is on its way arrives."""
    frames = step("deliver", _MANY) + step("deliver", _MANY, side="B")
    return frames * 4 + step("wait", _SECOND) + frames * 4


def varied(name: str) -> bytes:
    """The step in four ways, each with time, frames and answers behind it."""
    return b"".join(
        step(name, *[how * 5] * 4)
        + step("wait", 4 + how)
        + step("deliver", _MANY)
        + step("deliver", _MANY, side="B")
        + step("answer", 0, how)
        for how in range(4)
    )
