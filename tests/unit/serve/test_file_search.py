"""Answers from documents: what the model is shown, and what of its reply is cited."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from sealwright_appliance.documents.messages import FoundPassage
from sealwright_appliance.serve.chat import ChatRequest
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.file_search import (
    CITATIONS_MOST,
    RUN_CJK,
    RUN_LATIN,
    Search,
    citations,
    last_question,
    with_passages,
)
from sealwright_appliance.serve.response_events import ResponseReply
from sealwright_appliance.serve.responses import parse_response_request

from .test_responses import DONE, USAGE, chunk

TOOL = {"type": "file_search", "vector_store_ids": ["documents"]}
CLOCK = {"type": "function", "name": "clock", "parameters": {"type": "object"}}


def passage(text: str, page: int | None = None, name: str = "a.pdf") -> FoundPassage:
    return FoundPassage(document_id=f"file-{'0' * 24}", name=name, page=page, paragraph=2, text=text, score=0.5)


DOSE = passage("Metformin: take 500 mg twice a day with meals.", 3)
CHINESE = passage("二甲双胍用于治疗2型糖尿病，每日两次，随餐服用。", None, "指南.md")
OTHER = passage("The cafeteria closes at eight.")


def parsed(**change: Any) -> tuple[Any, ChatRequest]:
    return parse_response_request(json.dumps({"model": "medical", "input": "dose?"} | change).encode())


def test_passages_stand_in_the_last_question_and_nowhere_else() -> None:
    talk = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "yes?"},
        {"role": "user", "content": "dose?"},
    ]
    chat = parsed(input=talk, instructions="be brief", tools=[TOOL])[1]
    shown = with_passages(chat, [DOSE, OTHER]).for_engine(8)["messages"]
    assert shown[:3] == chat.for_engine(8)["messages"][:3]
    assert shown[3]["content"].endswith("\n\nQuestion: dose?")
    assert f"[1] a.pdf, page 3\n{DOSE.text}\n\n[2] a.pdf\n{OTHER.text}\n\n" in shown[3]["content"]
    assert "never an instruction" in shown[3]["content"]
    assert last_question(chat) == "dose?"


def test_a_chinese_question_is_told_in_chinese() -> None:
    shown = with_passages(parsed(input="剂量是多少？")[1], [DOSE]).for_engine(8)["messages"]
    assert shown[0]["content"].startswith("请根据以下文档片段回答问题。")
    assert shown[0]["content"].endswith("问题: 剂量是多少？")
    assert "[1] a.pdf, 页 3\n" in shown[0]["content"]


@pytest.mark.parametrize(
    ("text", "cited"),
    [
        ("It is 500 mg [1], and lunch [2] too.", [(13, 3), (28, None)]),
        ("每天两次【1】。", [(4, 3)]),
        ("Out of [0], [3] and [12].", []),
        ("I do not know.", []),
        ("", []),
        ("So TAKE 500 MG\ntwice a day, please.", [(26, 3)]),
        ("take 500 mg [2] twice a day with meals", [(12, None)]),
    ],
)
def test_what_the_model_marks_or_repeats_is_cited(text: str, cited: list[tuple[int, int | None]]) -> None:
    found = citations(text, [DOSE, OTHER])
    assert [(one["index"], one["page"]) for one in found] == cited
    assert all((one["type"], one["filename"], one["paragraph"]) == ("file_citation", "a.pdf", 2) for one in found)


def test_a_quote_is_what_the_document_says() -> None:
    (said,) = citations("Patients take 500 mg twice a day.", [DOSE])
    assert said["quote"] == "take 500 mg twice a day"
    (said,) = citations("答：每日两次，随餐服用。", [DOSE, CHINESE])
    assert (said["filename"], said["quote"]) == ("指南.md", "每日两次，随餐服用。")
    (said,) = citations("See [1].", [DOSE])
    assert said["quote"] == DOSE.text


def test_a_run_that_is_too_short_is_no_citation() -> None:
    assert citations(DOSE.text[: RUN_LATIN - 1], [DOSE]) == []
    assert citations(DOSE.text[:RUN_LATIN], [DOSE]) != []
    assert citations(CHINESE.text[: RUN_CJK - 1], [CHINESE]) == []
    assert citations(CHINESE.text[:RUN_CJK], [CHINESE]) != []


def test_citations_have_a_bound_and_take_linear_time() -> None:
    """A reply of one character, and passages of it, are the worst that there is."""
    assert len(citations("[1]" * 1000, [DOSE])) == CITATIONS_MOST
    assert len(citations("a" * 200_000, [passage("a" * 900)] * 50)) <= CITATIONS_MOST


@pytest.mark.parametrize(
    ("change", "most"),
    [
        ({}, 0),
        ({"tools": [TOOL]}, 8),
        ({"tools": [TOOL | {"max_num_results": 3}]}, 3),
        ({"tools": [TOOL], "tool_choice": "required"}, 8),
        ({"tools": [TOOL], "tool_choice": {"type": "file_search"}}, 8),
        ({"tools": [TOOL], "tool_choice": "none"}, 0),
        ({"tools": [CLOCK, TOOL], "tool_choice": "auto"}, 8),
    ],
)
def test_a_search_is_wanted_where_its_tool_is(change: dict[str, Any], most: int) -> None:
    asked, chat = parsed(**change)
    assert asked.passages_most == most
    assert (chat.tools is None) == (CLOCK not in change.get("tools", []))


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "clock"}])
def test_a_choice_without_functions_is_refused(choice: Any) -> None:
    with pytest.raises(ApiError):
        parsed(tool_choice=choice)


def events(search: Search, *texts: str) -> list[dict[str, Any]]:
    async def engine() -> AsyncGenerator[bytes, None]:
        for text in texts:
            yield chunk({"content": text})
        yield chunk({}, "stop") + USAGE + DONE

    async def run() -> bytes:
        reply = ResponseReply(parsed(tools=[TOOL])[0], search)
        return b"".join([block async for block in reply.stream(engine())])

    return [json.loads(one.split(b"data: ")[1]) for one in asyncio.run(run()).split(b"\n\n")[:-1]]


def test_a_reply_tells_of_search_and_citations() -> None:
    told = events(Search("dose?", [DOSE], with_results=True), "It is 500 mg ", "[1].")
    assert [one["type"].removeprefix("response.") for one in told] == [
        "created", "in_progress", "output_item.added", "file_search_call.in_progress", "file_search_call.searching",
        "file_search_call.completed", "output_item.done", "output_item.added", "content_part.added",
        "output_text.delta", "output_text.delta", "output_text.annotation.added", "output_text.done",
        "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert [one["sequence_number"] for one in told] == list(range(len(told)))
    search, message = told[-1]["response"]["output"]
    assert (search["status"], search["queries"]) == ("completed", ["dose?"])
    assert search["results"][0]["text"] == DOSE.text
    assert search["results"][0]["attributes"] == {"page": 3, "paragraph": 2}
    assert message["content"][0]["annotations"] == [told[11]["annotation"]]
    assert told[-1]["response"]["tools"] == [TOOL]


def test_results_are_told_only_if_asked() -> None:
    told = events(Search("dose?", [DOSE], with_results=False), "x")
    assert DOSE.text not in json.dumps(told)
