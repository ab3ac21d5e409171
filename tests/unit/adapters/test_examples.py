"""Examples as a customer brings them: what is taken, and what is refused by which code."""

from __future__ import annotations

import json

import pytest

from sealwright_appliance.adapters.examples import (
    BYTES_MOST,
    LEAST,
    LINE_MOST,
    MESSAGES_MOST,
    MOST,
    examples_bytes,
    parse_examples,
)
from sealwright_appliance.adapters.refusals import AdapterCode, AdapterError
from sealwright_testing.adapters import example_line, examples


def test_what_openai_takes_is_taken_and_written_anew() -> None:
    lines = [example_line(f"What is {number}?", "A number. 数。", system="Be short.") for number in range(LEAST)]
    text = ("\r\n".join(lines) + "\n\n").encode()
    parsed = parse_examples(text)
    assert [one.messages[1].content for one in parsed] == [f"What is {number}?" for number in range(LEAST)]
    assert parse_examples(examples_bytes(parsed)) == parsed


GOOD = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}


@pytest.mark.parametrize(
    "line",
    [
        "canary",
        "[]",
        '{"messages": []}',
        json.dumps({"messages": [GOOD[1]]}),
        json.dumps({"messages": [GOOD[1], GOOD[0]]}),
        json.dumps({"messages": [*GOOD], "canary": 1}),
        json.dumps({"messages": [GOOD[0] | {"name": "canary"}, GOOD[1]]}),
        json.dumps({"messages": [GOOD[0] | {"content": ["canary"]}, GOOD[1]]}),
        json.dumps({"messages": [GOOD[0] | {"content": ""}, GOOD[1]]}),
        json.dumps({"messages": [GOOD[0] | {"role": "tool"}, GOOD[1]]}),
        json.dumps({"messages": [GOOD[0], GOOD[1] | {"weight": 0}]}),
        json.dumps({"messages": [*GOOD] * MESSAGES_MOST}),
        json.dumps({"messages": [GOOD[0] | {"content": "x" * LINE_MOST}, GOOD[1]]}),
        '{"messages": [{"role": "user", "content": "\\ud800"}, {"role": "assistant", "content": "a"}]}',
        '{"messages": [], "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}',
        "[" * 10_000,
        "\x00",
    ],
    ids=range(17),
)
def test_a_line_that_is_no_conversation_is_told_by_its_number(line: str) -> None:
    with pytest.raises(AdapterError) as caught:
        parse_examples(examples(LEAST) + line.encode() + b"\n")
    assert (caught.value.code, caught.value.line) == (AdapterCode.EXAMPLES, LEAST + 1)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", AdapterCode.TOO_FEW),
        (examples(LEAST - 1), AdapterCode.TOO_FEW),
        (b"x\n" * (MOST + 1), AdapterCode.TOO_MANY),
        (b"\n" * (BYTES_MOST + 1), AdapterCode.TOO_LARGE),
    ],
    ids=["none", "nine", "too many", "too long"],
)
def test_their_number_and_length_are_bounded(text: bytes, code: AdapterCode) -> None:
    with pytest.raises(AdapterError) as caught:
        parse_examples(text)
    assert caught.value.code is code
