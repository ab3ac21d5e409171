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
    bases = {
        member.id: member.base
        for source in domains
        for member in source.domain.members(MemberKind.ADAPTER)
        if member.base is not None
    }
    return ReleaseOutflow(version=1, models=dict(sorted(models.items())), bases=dict(sorted(bases.items())))


def outflow_of(answers: Answers) -> OutflowPolicy:
    """What one domain lets its models answer; what a domain cannot say is as strict as it can be.

    A number of 0 becomes 1: the document has no 0, and a domain with one lets nothing out that it would bound.
    """
    limits = (
        (BudgetScope.KEY, answers.requests_per_day, answers.tokens_per_day),
        (BudgetScope.MODEL, answers.model_requests_per_day, answers.model_tokens_per_day),
    )
    daily = [
        OutflowBudget(scope=scope, window=BudgetWindow.DAY, requests=max(1, requests), tokens=max(1, tokens))
        for scope, requests, tokens in limits
    ]
    monthly = [budget for budget in DEFAULT_BUDGETS if budget.window is BudgetWindow.MONTH]
    return OutflowPolicy(
        completions=answers.completions,
        top_logprobs=answers.logprobs or None,
        embeddings=answers.embeddings,
        answer_tokens=max(1, answers.tokens_per_request),
        requests_per_minute=max(1, answers.requests_per_minute),
        padding=512 if answers.pad_stream else 0,
        budgets=(*daily, *monthly),
    )
