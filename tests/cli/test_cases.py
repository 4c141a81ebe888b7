"""The case-file reader: what is well formed, and what a refusal says."""

import pytest

from gossipbook.book.payload import BUY, IOC, POST_ONLY, SELL
from gossipbook.cli.cases import (
    Amend,
    Cancel,
    Case,
    CaseFileError,
    Check,
    Expect,
    Place,
    read_cases,
)

HEADING = '{"op": "case", "name": "one"}'


@pytest.fixture
def read(tmp_path):
    def read_text(*lines):
        path = tmp_path / "some.jsonl"
        path.write_text("\n".join(lines) + "\n")
        return read_cases(path)

    return read_text


def test_every_kind_of_line_is_read(read):
    (case,) = read(
        '{"op": "case", "name": "one", "amend_policy": "requeue-only", "tag": "core"}',
        '{"op": "limit", "id": 4, "side": "buy", "price": 10, "qty": 3, "tif": "post"}',
        '{"op": "market", "id": 5, "side": "sell", "qty": 2, "tif": "gtc"}',
        "",
        '{"op": "cancel", "id": 4}',
        '{"op": "amend", "id": 4, "delta": -2, "requeue": true}',
        '{"op": "amend", "id": 4, "price": 9, "qty": 0}',
        '{"op": "check", "new_trades": [], "l2": [[[10, 3, 1]], []], "orders": [1, 0]}',
        '{"op": "expect", "trades": [[5, 4, 10, 2]], "report_sha256": "abc"}',
    )
    assert (case.line, case.name, case.amend_policy) == (1, "one", "requeue-only")
    assert case.steps == (
        Place(2, 4, BUY, 10, 3, POST_ONLY),
        Place(3, 5, SELL, 0, 2, IOC),
        Cancel(5, 4),
        Amend(6, 4, None, None, -2, True),
        Amend(7, 4, 9, 0, None, False),
        Check(8, {"new_trades": [], "l2": [[[10, 3, 1]], []], "orders": [1, 0]}),
        Expect(9, {"trades": [[5, 4, 10, 2]]}),
    )
    assert case.command_count == 5
    assert case.is_complete


def test_a_case_may_lack_its_expectation_and_says_so(read):
    first, second = read(HEADING, '{"op": "cancel", "id": 4}', HEADING, '{"op": "expect"}')
    assert isinstance(first, Case)
    assert not first.is_complete
    assert second.is_complete


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "not a line of JSON"),
        ("[1]", "not a JSON object"),
        ("[" * 100_000, "nested too deeply"),
        ('{"op": "cancel", "id": 1, "id": 2}', "given twice"),
        ('{"op": "cancel", "id": NaN}', "NaN"),
        ('{"op": "limt"}', '"op" is "limt"'),
        ('{"id": 1}', 'has no "op"'),
        ('{"op": "cancel"}', 'has no "id"'),
        ('{"op": "cancel", "id": -1}', '"id" is -1'),
        ('{"op": "cancel", "id": true}', '"id" is true'),
        ('{"op": "cancel", "id": 1.0}', '"id" is 1.0'),
        ('{"op": "cancel", "id": 9223372036854775808}', '"id" is 9223372036854775808'),
        ('{"op": "cancel", "id": 1, "qty": 1}', 'no field "qty"'),
        ('{"op": "market", "id": 1, "side": "bid", "qty": 1}', '"side" is "bid"'),
        ('{"op": "market", "id": 1, "side": [], "qty": 1}', '"side" is []'),
        ('{"op": "market", "id": 1, "side": "buy", "qty": 0}', '"qty" is 0'),
        ('{"op": "limit", "id": 1, "side": "buy", "qty": 1, "price": 1}', 'has no "tif"'),
        ('{"op": "amend", "id": 1}', "changes nothing"),
        ('{"op": "amend", "id": 1, "qty": 1, "delta": 1}', "both say the size"),
        ('{"op": "amend", "id": 1, "qty": 1, "requeue": 1}', '"requeue" is 1'),
        ('{"op": "check", "new_trade": []}', 'no field "new_trade"'),
        ('{"op": "check", "orders": [1]}', "[integer, integer]"),
        ('{"op": "expect", "bids": [[1, [2, 3]]]}', "[[integer, [[integer, integer], ...]], ...]"),
        ('{"op": "case"}', '"name" is null'),
    ],
)
def test_a_bad_line_is_named_with_file_and_number(read, line, words):
    with pytest.raises(CaseFileError) as caught:
        read(HEADING, "", line)
    assert "some.jsonl:3: " in str(caught.value)
    assert words in str(caught.value)


def test_lines_outside_a_case_are_refused(read):
    with pytest.raises(CaseFileError, match=":1: stands before the first"):
        read('{"op": "cancel", "id": 1}')
    with pytest.raises(CaseFileError, match=':3: follows "expect"'):
        read(HEADING, '{"op": "expect"}', '{"op": "cancel", "id": 1}')


def test_files_that_hold_no_case_are_refused(read, tmp_path):
    with pytest.raises(CaseFileError, match="there is no"):
        read("", "")
    with pytest.raises(CaseFileError, match="cannot be read"):
        read_cases(tmp_path / "absent.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b'{"op": "case", "name": "\xe9"}')
    with pytest.raises(CaseFileError, match=":1: is not UTF-8"):
        read_cases(tmp_path / "latin.jsonl")
