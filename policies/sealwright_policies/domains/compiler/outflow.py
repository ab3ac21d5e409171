"""From ``[api]`` of domains to what the gateway goes by (policies/spec/outflow.md, 1)."""

from __future__ import annotations

from sealwright_policies.domains.chain import Domains
from sealwright_policies.domains.model import Answers, MemberKind
from sealwright_policies.outflow import (
    DEFAULT_BUDGETS,
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
    """What one domain lets its models answer; what a domain cannot say is as strict as it can be.

    A number of 0 becomes 1: the document has no 0, and a domain with one lets nothing out that it would bound.
    """
    daily = OutflowBudget(scope=BudgetScope.KEY, window=BudgetWindow.DAY, tokens=max(1, answers.tokens_per_day))
    return OutflowPolicy(
        completions=answers.completions,
        top_logprobs=answers.logprobs or None,
        embeddings=answers.embeddings,
        answer_tokens=max(1, answers.tokens_per_request),
        requests_per_minute=max(1, answers.requests_per_minute),
        padding=512 if answers.pad_stream else 0,
        budgets=(daily, *DEFAULT_BUDGETS[1:]),
    )
