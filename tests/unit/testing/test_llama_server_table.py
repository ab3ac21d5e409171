"""How a run of llama.cpp's server tests is held against the table of differences; how their requests are changed."""

from __future__ import annotations

from typing import Any

import pytest

from sealwright_policies.outflow import TOP_LOGPROBS_MOST
from sealwright_testing.llama_server_table import Difference, Ended, Outcome, Table
from sealwright_testing.llama_server_tests import Box, Flags, box_body, box_headers, box_path

TABLE = Table(
    texts=(),
    passing={"test_a.py": 2},
    not_run={"test_b.py": "not ours"},
    kinds={"parameter": "a parameter", "download": "a download"},
    differences=(
        Difference(kind="parameter", tests=("test_a.py::test_two[x]", "test_a.py::test_three"), answer=("unknown",)),
        Difference(kind="download", tests=("test_a.py::test_four",), run=False),
    ),
)
AS_IT_SAYS = {
    "test_a.py::test_one": Ended(test="test_a.py::test_one", outcome=Outcome.PASSED, errors=("invalid",)),
    "test_a.py::test_two[x]": Ended(test="test_a.py::test_two[x]", outcome=Outcome.FAILED, errors=("unknown",)),
    "test_a.py::test_two[y]": Ended(test="test_a.py::test_two[y]", outcome=Outcome.PASSED),
    "test_a.py::test_three[a]": Ended(test="test_a.py::test_three[a]", outcome=Outcome.FAILED, errors=("unknown",)),
    "test_a.py::test_three[b]": Ended(test="test_a.py::test_three[b]", outcome=Outcome.FAILED, errors=("unknown",)),
    "test_a.py::test_four": Ended(test="test_a.py::test_four", outcome=Outcome.DESELECTED),
}
BOX = Box("https://box", "box.pem", "sw-key", "chat", "vectors", ())


def complaints(*changed: Ended) -> list[str]:
    """About a run in which these tests ended otherwise."""
    return TABLE.complaints(list((AS_IT_SAYS | {test.test: test for test in changed}).values()))


def test_nothing_to_complain_about() -> None:
    assert complaints() == []
    assert TABLE.left_out == ["test_a.py::test_four"]


@pytest.mark.parametrize(
    ("test", "outcome", "errors", "words"),
    [
        pytest.param("test_one", Outcome.FAILED, (), "not in the table", id="fails"),
        pytest.param("test_one", Outcome.SKIPPED, (), "not in the table", id="skipped"),
        pytest.param("test_one", Outcome.PASSED, ("not_found",), "not in the table", id="passes for want of a route"),
        pytest.param("test_new", Outcome.FAILED, (), "not in the table", id="new and fails"),
        pytest.param("test_new", Outcome.PASSED, (), "3 tests pass", id="new and passes"),
        pytest.param("test_three[b]", Outcome.PASSED, (), "is in the table", id="passes all of a sudden"),
        pytest.param("test_three[b]", Outcome.FAILED, ("other",), "answered", id="another answer"),
        pytest.param("test_three[b]", Outcome.FAILED, (), "answered", id="no answer"),
        pytest.param("test_three[b]", Outcome.DESELECTED, (), "run = True", id="left out"),
        pytest.param("test_four", Outcome.FAILED, (), "run = False", id="run"),
    ],
)
def test_what_is_not_as_it_says(test: str, outcome: Outcome, errors: tuple[str, ...], words: str) -> None:
    found = complaints(Ended(test=f"test_a.py::{test}", outcome=outcome, errors=errors))
    assert any(words in complaint for complaint in found)


@pytest.mark.parametrize("gone", ["test_a.py::test_one", "test_a.py::test_two[x]", "test_a.py::test_four"])
def test_a_test_that_is_gone_is_missed(gone: str) -> None:
    ended = [test for name, test in AS_IT_SAYS.items() if name != gone]
    assert len(TABLE.complaints(ended)) == 1


def test_a_table_that_contradicts_itself() -> None:
    twice = TABLE.differences[0].model_copy(update={"kind": "unheard of"})
    found = TABLE.model_copy(update={"differences": (*TABLE.differences, twice)}).complaints(list(AS_IT_SAYS.values()))
    assert any("unheard of" in complaint for complaint in found)
    assert any("more than once" in complaint for complaint in found)
    assert any("2 times" in complaint for complaint in found)


def test_files_that_nobody_knows() -> None:
    assert TABLE.unknown_files(["test_a.py", "test_b.py"]) == set()
    assert TABLE.unknown_files(["test_a.py", "test_c.py"]) == {"test_b.py", "test_c.py"}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/health", "/healthz"),
        ("/completion", "/completion"),
        ("/slots", "/slots"),
    ],
)
def test_paths(theirs: str, ours: str) -> None:
    assert box_path(theirs) == ours


@pytest.mark.parametrize(
    ("path", "asked", "sent"),
    [
        ("/v1/chat/completions", {"model": "gpt"}, {"model": "chat", "seed": 1, "temperature": 0.5, "max_tokens": 9}),
        (
            "/v1/completions",
            {"seed": 2, "temperature": 0, "max_tokens": 3},
            {"model": "chat", "seed": 2, "temperature": 0, "max_tokens": 3},
        ),
        (
            "/v1/chat/completions",
            {"top_logprobs": 10},
            {"model": "chat", "seed": 1, "temperature": 0.5, "max_tokens": 9, "top_logprobs": TOP_LOGPROBS_MOST},
        ),
        ("/v1/responses", {"input": "a"}, {"input": "a", "model": "chat", "temperature": 0.5}),
        ("/v1/embeddings", {"input": "a"}, {"input": "a", "model": "vectors"}),
        ("/completion", {"prompt": "a"}, {"prompt": "a"}),
    ],
)
def test_bodies(path: str, asked: dict[str, Any], sent: dict[str, Any]) -> None:
    assert box_body(path, asked, BOX, Flags(seed=1, temperature=0.5, n_predict=9)) == sent


@pytest.mark.parametrize(
    ("key", "asked", "sent"),
    [
        (None, {}, {"Authorization": "Bearer sw-key"}),
        (None, {"authorization": "Bearer dummy"}, {"authorization": "Bearer sw-key"}),
        ("secret", {"Authorization": None}, {}),
        ("secret", {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer wrong"}),
        ("secret", {"Authorization": "Bearer secret"}, {"Authorization": "Bearer sw-key"}),
        ("secret", {"X-Api-Key": "secret"}, {"X-Api-Key": "sw-key"}),
    ],
)
def test_keys(key: str | None, asked: dict[str, str | None], sent: dict[str, str]) -> None:
    assert box_headers(asked, BOX, Flags(api_key=key)) == sent
