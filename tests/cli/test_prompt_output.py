"""Answers leave as plain lines, coloured lines or JSON, and nothing in them moves the cursor."""

import json

import pytest

from gossipbook.cli.prompt_answers import Answer, Line
from gossipbook.cli.prompt_output import Output, dressed, printable

ANSWER = Answer("book", (Line("plain"), Line("lost", "loud")), {"price": "1.50"})


def listening(**options: bool) -> tuple[Output, list[str], list[str]]:
    written: list[str] = []
    complained: list[str] = []
    return Output(written.append, complained.append, **options), written, complained


def test_a_pipe_gets_plain_lines() -> None:
    output, written, complained = listening()
    output.answer(ANSWER, line_number=3)
    assert written == ["plain", "lost"] and not complained


def test_json_is_one_object_with_the_number_of_its_line() -> None:
    output, written, _ = listening(as_json=True)
    output.answer(ANSWER, line_number=3)
    assert [json.loads(line) for line in written] == [
        {"line": 3, "command": "book", "price": "1.50"}
    ]


def test_a_failure_in_a_pipe_is_counted_and_told_on_stderr() -> None:
    output, written, complained = listening()
    output.failure("no", line_number=7)
    assert complained == ["line 7: no"] and not written and output.failures == 1


def test_a_failure_in_json_is_an_answer_too() -> None:
    output, written, complained = listening(as_json=True)
    output.failure("no", line_number=7)
    assert json.loads(written[0]) == {"line": 7, "error": "no"} and complained == ["line 7: no"]


def test_a_mistake_at_the_prompt_is_told_where_it_was_made() -> None:
    output, written, complained = listening()
    output.failure("no")
    assert written == ["no"] and not complained and output.failures == 0


@pytest.mark.parametrize("text", ["\x1b[2J", "a\rb", "a\nb", "\u202etxt", "\x9b31m"])
def test_control_characters_are_written_as_escapes(text: str) -> None:
    assert printable(text).isprintable() and "\\" in printable(text)
    assert "\\" in dressed(Line(text), colours=False)


def test_other_scripts_are_left_alone() -> None:
    assert printable("Zürich 東京") == "Zürich 東京"


def test_only_a_terminal_gets_colours() -> None:
    assert dressed(Line("BUSTED", "loud"), colours=False) == "BUSTED"
    assert dressed(Line("BUSTED", "loud"), colours=True).startswith("\x1b[")
