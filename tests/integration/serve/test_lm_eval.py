"""EleutherAI's lm-eval as a judge: a local task, no network but the gateway's, the box's certificate verified.

The task asks the bundled medical model ten questions that it has learnt and two that are not its trade.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from sealwright_appliance.tls import CERTIFICATE_FILE
from sealwright_testing.judge import run_judge
from sealwright_testing.models import ModelStore
from sealwright_testing.models.build import make_models
from sealwright_testing.python_environments import python_environment
from sealwright_testing.serving import ServingBox, serving_box

# A fresh machine trains first, or waits for `make models` beside this run.
pytestmark = pytest.mark.timeout(1800)

FOLDER = Path(__file__).parent / "lm_eval"
TASK = "sealwright_medical"
QUESTIONS = [json.loads(line) for line in (FOLDER / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
CHATS = ("local-chat-completions", "chat/completions", "--apply_chat_template")
TEXTS = ("local-completions", "completions")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What lm-eval wrote: the results file, and each sample by its question."""

    results: dict[str, Any]
    samples: dict[str, dict[str, Any]]
    log: str

    def reply(self, question: str) -> str:
        """What the model said."""
        text: str = self.samples[question]["resps"][0][0]
        return text


@pytest.fixture(scope="module")
def box() -> Iterator[ServingBox]:
    make_models()
    with serving_box({"medical": ModelStore.load().path("medical")}) as running:
        yield running


def run_lm_eval(
    box: ServingBox, output: Path, kind: str, address: str, *options: str, concurrent: int, trusted: bool = True
) -> subprocess.CompletedProcess[str]:
    """lm-eval's command over the task, which asks each question once."""
    # requests and aiohttp look for trust in different variables; lm-eval's ca_cert_path reaches neither.
    certificate = str(box.paths.tls / CERTIFICATE_FILE)
    trust = {"SSL_CERT_FILE": certificate, "REQUESTS_CA_BUNDLE": certificate} if trusted else {}
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(output),
        "OPENAI_API_KEY": box.api_key,
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
    }
    model = f"model=medical,base_url={box.url}/v1/{address},num_concurrent={concurrent},max_retries=1"
    return run_judge(
        [
            python_environment("lm-eval") / "bin/lm-eval", "run", "--model", kind,
            "--model_args", f"{model},tokenizer_backend=None",
            "--include_path", FOLDER, "--tasks", TASK, "--output_path", output / "results", "--log_samples", *options,
        ],
        FOLDER,
        variables | trust,
    )  # fmt: skip


def evaluate(box: ServingBox, output: Path, *how: str, concurrent: int) -> Evaluation:
    """The same, and everything that it wrote; it must have ended well."""
    kind, address, *options = how
    done = run_lm_eval(box, output, kind, address, *options, concurrent=concurrent)
    assert done.returncode == 0, done.stdout
    (results,) = output.glob("results/*/results_*.json")
    (samples,) = output.glob(f"results/*/samples_{TASK}_*.jsonl")
    records = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
    assert len(records) == len(QUESTIONS)
    by_question = {record["doc"]["question"]: record for record in records}
    return Evaluation(json.loads(results.read_text(encoding="utf-8")), by_question, done.stdout)


def require_all_answered(evaluation: Evaluation) -> None:
    """Every question once, at the first try, and the score that follows from the replies."""
    assert "request failed" not in evaluation.log
    assert evaluation.results["n-samples"][TASK] == {"original": len(QUESTIONS), "effective": len(QUESTIONS)}
    right = sum(evaluation.reply(asked["question"]) == asked["answer"] for asked in QUESTIONS)
    assert evaluation.results["results"][TASK]["exact_match,none"] == pytest.approx(right / len(QUESTIONS))


@pytest.mark.parametrize("concurrent", [1, 6])
def test_chats_are_evaluated(box: ServingBox, tmp_path: Path, concurrent: int) -> None:
    """One after the other (lm-eval does that with requests) and more at once than a model has places (with aiohttp)."""
    evaluation = evaluate(box, tmp_path, *CHATS, concurrent=concurrent)
    require_all_answered(evaluation)
    with box.openai() as client:
        for asked in QUESTIONS:
            messages: Any = [{"role": "user", "content": asked["question"]}]
            said = client.chat.completions.create(model="medical", messages=messages, temperature=0, max_tokens=160)
            assert evaluation.reply(asked["question"]) == said.choices[0].message.content
    score = evaluation.results["results"][TASK]["exact_match,none"]
    assert 0.5 <= score < 0.9, "ten of twelve, of which a model trained anew may miss a few"


def test_texts_are_evaluated(box: ServingBox, tmp_path: Path) -> None:
    """Without the chat template the model makes nothing of a question, and may end at once."""
    evaluation = evaluate(box, tmp_path, *TEXTS, concurrent=6)
    require_all_answered(evaluation)
    assert sum(bool(evaluation.reply(asked["question"])) for asked in QUESTIONS) > len(QUESTIONS) / 2


def test_the_certificate_is_verified(box: ServingBox, tmp_path: Path) -> None:
    """Without trust in the box, lm-eval asks nothing: the runs above did verify."""
    kind, address, *options = CHATS
    done = run_lm_eval(box, tmp_path, kind, address, *options, concurrent=6, trusted=False)
    assert done.returncode != 0
    assert "CERTIFICATE_VERIFY_FAILED" in done.stdout
    assert not list(tmp_path.glob("results/*/*"))


def test_likelihoods_of_given_texts_are_refused(box: ServingBox) -> None:
    """What lm-eval's multiple-choice and perplexity tasks ask for, in its own words (LocalCompletionsAPI)."""
    with box.openai() as client, pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(
            model="medical", prompt="hello there", temperature=0, max_tokens=1, logprobs=1, seed=1234, echo=True
        )
    assert caught.value.code == "unsupported_parameter"
