"""What may leave a model through the box's API (policies/spec/outflow.md): numbers, tokens, and how much in which time.

``sealwright-image build`` puts the document at :data:`OUTFLOW_FILE` in the root, where it is measured with everything
else. A model that it does not name gets the defaults, which are the strictest.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sealwright_policies.wire.encoding import Document, Identifier, parse_json

OUTFLOW_FILE = "/usr/share/sealwright/outflow.json"
OUTFLOW_LIMIT = 64 * 1024
"""Bytes of the longest document."""
MODELS_MOST = 64
TOKENS_MOST = 1_000_000
RATE_MOST = 100_000
BUDGETS_MOST = 4
TOP_LOGPROBS_MOST = 5
"""OpenAI allows 20. Each further one makes copying a model's last layer cheaper (Carlini et al., 2024, section 5)."""
_COUNT_MOST = 2**48 - 1

Amount = Annotated[int, Field(ge=1, le=_COUNT_MOST)]


class BudgetScope(StrEnum):
    """Whose requests are counted together."""

    KEY = "key"
    """Those of one API key to one model."""
    MODEL = "model"
    """All to one model: a new key brings nothing."""


class BudgetWindow(StrEnum):
    """How long they are counted (section 3)."""

    DAY = "day"
    MONTH = "month"


class OutflowBudget(Document):
    """At most so much in one window; None is no limit."""

    scope: BudgetScope
    window: BudgetWindow
    requests: Amount | None = None
    tokens: Amount | None = None
    """Of replies."""


class Reaction(StrEnum):
    """What becomes of a key whose requests look like the copying of a model (section 4)."""

    ALERT = "alert"
    """It is told, and nothing else."""
    THROTTLE = "throttle"
    """It is told; the key is slowed down, then refused."""


DEFAULT_BUDGETS = (
    OutflowBudget(scope=BudgetScope.KEY, window=BudgetWindow.DAY, requests=5_000, tokens=1_000_000),
    OutflowBudget(scope=BudgetScope.KEY, window=BudgetWindow.MONTH, tokens=10_000_000),
    OutflowBudget(scope=BudgetScope.MODEL, window=BudgetWindow.DAY, requests=25_000, tokens=5_000_000),
    OutflowBudget(scope=BudgetScope.MODEL, window=BudgetWindow.MONTH, tokens=50_000_000),
)
"""Some 3000 replies of 300 tokens a day: what fifty people ask, and not the ten million tokens that a small model is
distilled with in a week."""


class OutflowPolicy(Document):
    """What may leave one model."""

    completions: bool = True
    """Whether it answers through the API at all."""
    top_logprobs: Annotated[int, Field(ge=0, le=TOP_LOGPROBS_MOST)] | None = None
    """Most alternatives to a token whose log probabilities are told; 0: of the token itself; None: no numbers."""
    embeddings: bool = False
    answer_tokens: Annotated[int, Field(ge=1, le=TOKENS_MOST)] = 4096
    """Longest reply."""
    requests_per_minute: Annotated[int, Field(ge=1, le=RATE_MOST)] | None = None
    """Of one key; None is no limit."""
    padding: Literal[0, 256, 512, 1024] = 512
    """Bytes to a multiple of which each piece of a reply is filled up; 0: as it is."""
    on_extraction: Reaction = Reaction.THROTTLE
    budgets: Annotated[tuple[OutflowBudget, ...], Field(max_length=BUDGETS_MOST)] = DEFAULT_BUDGETS

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        kinds = [(budget.scope, budget.window) for budget in self.budgets]
        if len(set(kinds)) != len(kinds):
            raise ValueError("two budgets of one scope and window")
        return self


STRICTEST = OutflowPolicy()


class ReleaseOutflow(Document):
    """``outflow.json``: the policies of a release's models."""

    version: Annotated[int, Field(ge=1, le=1)]
    models: Annotated[dict[Identifier, OutflowPolicy], Field(max_length=MODELS_MOST)]
    """By payload id."""
    bases: dict[Identifier, Identifier] = Field(default_factory=dict, max_length=MODELS_MOST)
    """By adapter, the model that it belongs to."""

    def of(self, model: str) -> OutflowPolicy:
        """The policy of a model; the strictest for one that is not named."""
        return self.models.get(model, STRICTEST)

    def whole(self, model: str) -> str:
        """The model as a whole: of an adapter the one that it belongs to, since it lets out what that one knows."""
        return self.bases.get(model, model)


NOTHING_SAID = ReleaseOutflow(version=1, models={})


def parse_outflow(content: bytes) -> ReleaseOutflow:
    """Parse ``outflow.json``.

    Raises:
        FormatError: it is malformed.
    """
    return parse_json(ReleaseOutflow, content, limit=OUTFLOW_LIMIT)
