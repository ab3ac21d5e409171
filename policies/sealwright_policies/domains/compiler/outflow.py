"""From ``[api]`` of domains to what the gateway goes by (policies/spec/outflow.md, 1)."""

from __future__ import annotations

from sealwright_policies.domains.chain import Domains
from sealwright_policies.domains.model import Answers, MemberKind
from sealwright_policies.outflow import (
    DEFAULT_BUDGETS,
    RATE_MOST,
    TOKENS_MOST,
    TOP_LOGPROBS_MOST,
    BudgetScope,
    BudgetWindow,
    OutflowBudget,
    OutflowPolicy,
    ReleaseOutflow,
)

SERVED = (MemberKind.MODEL, MemberKind.ADAPTER)


def outflow(domains: Domains) -> ReleaseOutflow:
    """The policies of all models and adapters."""
    models = {
        member.id: outflow_of(source.domain.api)
        for source in domains
        for kind in SERVED
        for member in source.domain.members(kind)
    }
    return ReleaseOutflow(version=1, models=dict(sorted(models.items())))


def outflow_of(answers: Answers) -> OutflowPolicy:
    """What one domain lets its models answer; what a domain cannot say is as strict as it can be."""
    if not answers.completions or not answers.tokens_per_request or not answers.tokens_per_day:
        return OutflowPolicy(completions=False, embeddings=answers.embeddings)
    daily = OutflowBudget(scope=BudgetScope.KEY, window=BudgetWindow.DAY, tokens=answers.tokens_per_day)
    return OutflowPolicy(
        top_logprobs=min(answers.logprobs, TOP_LOGPROBS_MOST) or None,
        embeddings=answers.embeddings,
        answer_tokens=min(answers.tokens_per_request, TOKENS_MOST),
        requests_per_minute=min(answers.requests_per_minute, RATE_MOST) or None,
        padding=512 if answers.pad_stream else 0,
        budgets=(daily, *DEFAULT_BUDGETS[1:]),
    )
