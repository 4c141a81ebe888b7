"""The fuzz targets in a few seconds each: seeds, damaged seeds, structured bytes, and old failures.

What atheris does by the hour starts here: every seed has to pass, and so does every input that ever
failed (``regressions/``).
"""

from __future__ import annotations

from pathlib import Path

import cbor2
import pytest
from fuzz.pool import pool_of
from fuzz.script import STRANGERS
from fuzz.seeds import seeds
from fuzz.stories import stories
from fuzz.targets import MAX_BYTES, TARGETS
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twins.authors import GENESIS

from gossipbook.book.payload import decode_payload
from gossipbook.encoding import decode
from gossipbook.genesis import Genesis
from gossipbook.gossip.messages import KIND_NAMES, decode_message
from gossipbook.log.entry import decode_run
from gossipbook.log.fork import ForkProof
from gossipbook.transport.framing import framed

REGRESSIONS = Path(__file__).parent / "regressions"
DECODERS = [name for name in TARGETS if name != "protocol"]

EXAMPLES = dict.fromkeys(DECODERS, 600) | {"proof": 200, "tape": 200}
SCRIPTS = 100


def test_the_shares_of_the_targets_make_a_thousand() -> None:
    assert sum(target.per_mille for target in TARGETS.values()) == 1_000


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_passes_and_may_be_as_long_as_it_is(name: str) -> None:
    found = seeds(name)
    assert len(found) > 2
    assert max(map(len, found)) <= TARGETS[name].max_bytes
    for data in stories() if name == "protocol" else found:
        TARGETS[name].run(data)


@pytest.mark.parametrize("path", sorted(REGRESSIONS.glob("*/*")), ids=lambda path: path.name)
def test_what_failed_once_passes(path: Path) -> None:
    TARGETS[path.parent.name].run(path.read_bytes())


def test_the_seeds_of_the_decoders_are_accepted_and_hold_every_kind_of_message() -> None:
    network_id = GENESIS.network_id
    kinds = {type(decode_message(data, max_size=MAX_BYTES)).__name__ for data in seeds("message")}
    assert kinds == set(KIND_NAMES.values())
    assert all(decode_run(data, network_id) for data in seeds("run"))
    for data in seeds("proof"):
        ForkProof.decode(data, network_id).check(network_id)
    assert len({Genesis.decode(data).network_id for data in seeds("genesis")}) == 3
    good = [data for data in seeds("payload") if data != b"nothing"]
    assert all(decode_payload(data, 2) for data in good)


# -------------------------------------------------------------------- bytes


@st.composite
def damaged(draw: st.DrawFn, name: str) -> bytes:
    """A seed with a few bytes changed, left out, doubled or put in; or two of them cut together."""
    data = bytearray(draw(st.sampled_from(seeds(name))))
    if draw(st.booleans()):
        other = draw(st.sampled_from(seeds(name)))
        data[draw(st.integers(0, len(data))) :] = other[draw(st.integers(0, len(other))) :]
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 3)):
            case 0:
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case 1:
                data[at:at] = draw(st.binary(min_size=1, max_size=9))
            case 2:
                del data[at : at + draw(st.integers(1, 40))]
            case _:
                data[at:at] = data[at : at + 9]
    return bytes(data[: TARGETS[name].max_bytes])


def items(depth: int = 4) -> st.SearchStrategy[object]:
    """What strict CBOR can say, and a little that it cannot."""
    leaves = st.one_of(
        st.integers(0, (1 << 63) - 1),
        st.integers(0, 25),
        st.binary(max_size=40),
        st.sampled_from([bytes(32), bytes(64), GENESIS.network_id, -1, 1 << 63, "text", None, 1.5]),
    )
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=9), max_leaves=12)


STRUCTURED: dict[str, st.SearchStrategy[bytes]] = {
    "framing": st.builds(
        lambda head, frames, rest: head + framed(frames) + rest,
        st.binary(min_size=2, max_size=40),
        st.lists(st.binary(max_size=80), max_size=6),
        st.binary(max_size=8),
    ),
    "address": st.builds(
        lambda host, port: f"{host}:{port}".encode(),
        st.one_of(st.ip_addresses().map(str), st.text(max_size=20), st.just("[::1]")),
        st.one_of(st.integers(-1, 70_000).map(str), st.text(max_size=6)),
    ),
    "row": st.binary(min_size=20, max_size=120),
}


@pytest.mark.parametrize("name", DECODERS)
def test_bytes_of_any_kind_keep_the_promises_of_a_target(name: str) -> None:
    structured = STRUCTURED.get(name, items().map(cbor2.dumps))

    @settings(max_examples=EXAMPLES[name], deadline=None, derandomize=True)
    @given(st.one_of(damaged(name), structured, st.binary(max_size=60)))
    @example(b"")
    def run(data: bytes) -> None:
        TARGETS[name].run(data)

    run()


@settings(max_examples=SCRIPTS, deadline=None, derandomize=True)
@given(st.one_of(damaged("protocol"), st.binary(min_size=2, max_size=120)))
def test_no_script_of_strangers_breaks_a_promise_of_the_protocol(data: bytes) -> None:
    TARGETS["protocol"].run(data)


def test_the_pool_holds_what_it_is_said_to_hold() -> None:
    pool = pool_of(GENESIS, STRANGERS)
    for author in pool.authors:
        seqs = {ForkProof.decode(data, GENESIS.network_id).seq for data in pool.proofs[author]}
        assert seqs == {0, 1, 3}
        assert len({entry.id for log in pool.logs[author] for entry in log}) == 8 + 2 + 2 + 1


def test_a_million_empty_arrays_stay_within_the_limit_of_memory() -> None:
    count = 100_000
    data = b"\x9a" + count.to_bytes(4, "big") + b"\x80" * count
    assert decode(data, max_size=MAX_BYTES) == [[]] * count
    TARGETS["encoding"].run(data)
