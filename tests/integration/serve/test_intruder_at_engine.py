"""What code in the gateway gets of an engine past its checks: the red team's own attempts, against a real llama-server.

A residual (SECURITY.md, row 17): the outflow controls are the gateway's. In the box the same is tried from every place
(vm/redteam/test_inside).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sealwright_policies.outflow import OutflowPolicy
from sealwright_testing.serving import ServingBox, serving_box

pytestmark = pytest.mark.redteam

INTRUDER = Path(__file__).parents[2] / "sealwright_testing/planted/tree/usr/lib/planted"
Attempts = dict[str, Callable[[], str]]


@pytest.fixture(scope="module")
def box(random_model: Path) -> Iterator[ServingBox]:
    """A box that gives out vectors, and no numbers with replies."""
    with serving_box({"random": random_model}, policy=OutflowPolicy(embeddings=True)) as running:
        yield running


@pytest.fixture
def attempts(box: ServingBox, monkeypatch: pytest.MonkeyPatch) -> Attempts:
    """Those of the test image on its own box's engine."""
    monkeypatch.syspath_prepend(INTRUDER)
    from intruder import engines  # noqa: PLC0415  planted in test images alone

    monkeypatch.setattr(engines, "RUN", box.paths.run)
    found: Attempts = engines.attempts("random")
    return found


def test_it_tells_numbers_and_shifts_logits_where_the_gateway_takes_neither(
    box: ServingBox, attempts: Attempts
) -> None:
    asked = {"model": "random", "messages": [{"role": "user", "content": "What"}], "max_tokens": 1}
    with box.http() as client:
        assert client.post("/v1/chat/completions", json=asked).status_code == 200
        for more in ({"logprobs": True}, {"n_probs": 100}, {"logit_bias": {"42": 100}}):
            assert client.post("/v1/chat/completions", json=asked | more).status_code == 400
    assert attempts["engine-numbers"]() == "100 log probabilities, and the token that was wanted"


def test_it_tells_hidden_states_where_its_domain_lets_vectors_out(attempts: Attempts) -> None:
    assert attempts["engine-states"]().endswith(" numbers")
