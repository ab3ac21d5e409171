"""A domain is refused where it is wider than its level, or than any domain that it is downstream of."""

from __future__ import annotations

import pytest

from sealwright_policies.domains.chain import find_problems, verify_domains
from sealwright_policies.domains.levels import CEILINGS, ceilings
from sealwright_policies.domains.limits import LIMITS
from sealwright_policies.domains.model import Level
from sealwright_policies.domains.problems import Problem
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_testing.domain_texts import domain_text, example_texts, examples, parse, parse_texts, replaced, verified

FLOW = '\n[[flow]]\nto = "{to}"\nforms = ["{form}"]\n'
CHAIN = '\n[[chain]]\nfrom = "{source}"\nforms = ["{form}"]\n'
WORKLOAD = '\n[[member]]\nkind = "workload"\nid = "{id}"\n'


def problems(*texts: str) -> tuple[Problem, ...]:
    return find_problems([parse(text) for text in texts])


def pair(above: str = "", below: str = "", *, level: str = "internal", form: str = "raw") -> tuple[str, str]:
    """Two domains, the second downstream of the first."""
    return (
        domain_text("above", level, FLOW.format(to="below", form=form) + above),
        domain_text("below", level, CHAIN.format(source="above", form=form) + below),
    )


def test_the_examples_are_good() -> None:
    domains = examples()
    assert [one.domain.name for one in domains.upstream("oncology-training")] == ["medical-model", "oncology-records"]
    assert domains.upstream("clinic") == ()  # it takes released forms only
    assert {one.domain.level for one in domains} == set(Level)


LIMITED = (
    "tokens_per_request",
    "tokens_per_day",
    "requests_per_minute",
    "requests_per_day",
    "model_tokens_per_day",
    "model_requests_per_day",
)
AMOUNTS = "\n[api]\n" + "".join(f"{name} = 1\n" for name in LIMITED)
LET_OUT = ("api.completions", "api.embeddings")
"""Keys that go with these amounts, which stand in the domain above as well."""
# What makes the domain below wider in a key, and the line of that: behind 13 of the smallest and 4 of the chain.
WIDER = {
    "run.engine": ("\n[run]\nengine = true\n", 20),
    "run.workloads": ('\n[run]\nworkloads = ["w"]\n', 20),
    "run.writable_code": ("\n[run]\nwritable_code = true\n", 20),
    "run.imports": ('\n[run]\nimports = ["data-set"]\n', 20),
    "run.own_adapters": ("\n[run]\nown_adapters = 1\n", 20),
    "egress": ('\n[[egress]]\nhost = "192.0.2.1"\nport = 443\n', 19),
    "api.completions": ("completions = true\n", 26),
    "api.embeddings": ("embeddings = true\n", 26),
    "api.logprobs": ("\n[api]\nlogprobs = 1\n", 20),
    **{f"api.{name}": (f"\n[api]\n{name} = 1\n", 20) for name in LIMITED},
    "api.pad_stream": ("\n[api]\npad_stream = false\n", 20),
    "flow": (FLOW.format(to="other", form="metrics"), 19),
    "retention.prompts_days": ("\n[retention]\nprompts_days = 1\n", 20),
    "retention.results_days": ("\n[retention]\nresults_days = 1\n", 20),
    "retention.logs_days": ("\n[retention]\nlogs_days = 1\n", 20),
    "metering.counters": ('\n[metering]\ncounters = ["requests"]\n', 20),
    "metering.by_key": ("\n[metering]\nby_key = true\n", 20),
}
REPLACED = {
    "level": ('level = "confidential"', 'level = "internal"', 3),
    "open.from_version": ('from_version = "1.0"', 'from_version = "0.9"', 10),
    "open.below_version": ('below_version = "2.0"', 'below_version = "2.1"', 11),
    "open.tiers": ('tiers = ["discrete"]', 'tiers = ["discrete", "software"]', 12),
    "open.features": ("features = []", "features = []", 13),
}


def test_every_key_is_tried() -> None:
    assert set(WIDER) | set(REPLACED) == set(LIMITS)


@pytest.mark.parametrize("key", WIDER)
def test_wider_than_upstream_is_refused_at_its_line(key: str) -> None:
    more, line = WIDER[key]
    above, below = pair(AMOUNTS, AMOUNTS + more) if key in LET_OUT else pair(below=more)
    others = [domain_text("other", more=WORKLOAD.format(id="w"))]
    assert problems(above, replaced(below, more, ""), *others) == ()

    (problem,) = problems(above, below, *others)

    assert (problem.code, problem.file, problem.line) == (RejectionCode.DOMAIN_EXCEEDS_CHAIN, "below.toml", line)
    assert problem.key.partition("[")[0] == key
    assert "above upstream allows" in problem.sentence
    assert "above.toml" in problem.sentence


@pytest.mark.parametrize("key", REPLACED)
def test_wider_than_upstream_in_what_must_be_given_is_refused(key: str) -> None:
    old, new, line = REPLACED[key]
    above, below = pair(level="confidential")
    if key == "open.features":
        above = replaced(above, old, 'features = ["training"]')
    found = problems(above, replaced(below, old, new))
    (problem,) = [one for one in found if one.code is RejectionCode.DOMAIN_EXCEEDS_CHAIN]
    assert (problem.file, problem.line, problem.key) == ("below.toml", line, key)
    assert f"(above.toml: line {line})" in problem.sentence


def test_the_line_upstream_is_named() -> None:
    above, below = pair("\n[api]\nlogprobs = 2\n", "\n[api]\nlogprobs = 3\n")
    (problem,) = problems(above, below)
    assert str(problem) == (
        "below.toml: line 20: api.logprobs: 3, and above upstream allows at most 2 (above.toml: line 20)."
    )


def test_a_domain_is_held_to_all_that_it_comes_from() -> None:
    """The middle one is silent; the limit of the first holds for the third."""
    egress = '\n[[egress]]\nhost = "192.0.2.1"\nport = 443\n'
    first = domain_text("first", more=FLOW.format(to="middle", form="raw") + FLOW.format(to="last", form="adapter"))
    middle = domain_text(
        "middle",
        more=CHAIN.format(source="first", form="raw") + FLOW.format(to="last", form="adapter"),
    )
    last = domain_text("last", more=CHAIN.format(source="middle", form="adapter") + egress)
    assert problems(first, middle, replaced(last, egress, "")) == ()
    (problem,) = problems(first, middle, last)
    assert problem.code is RejectionCode.DOMAIN_EXCEEDS_CHAIN
    assert [one.domain.name for one in verified([first, middle, replaced(last, egress, "")]).upstream("last")] == [
        "middle",
        "first",
    ]


def test_what_is_within_every_bound_is_their_meet() -> None:
    bounds = examples().bounds("oncology-training")
    assert bounds["api.tokens_per_day"] == 50000
    assert bounds["open.tiers"] == ("discrete",)
    assert bounds["open.features"] == ("training",)
    assert bounds["retention.logs_days"] == 0


@pytest.mark.parametrize("form", ["metrics", "aggregates"])
def test_released_forms_leave_the_limits_behind(form: str) -> None:
    assert problems(*pair(below="\n[run]\nengine = true\n", form=form)) == ()


@pytest.mark.parametrize("form", ["raw", "adapter", "results"])
def test_bound_forms_bring_the_limits_along(form: str) -> None:
    (problem,) = problems(*pair(below="\n[run]\nengine = true\n", form=form))
    assert problem.code is RejectionCode.DOMAIN_EXCEEDS_CHAIN


def test_data_may_flow_back_to_where_it_came_from() -> None:
    above, below = pair(below=FLOW.format(to="above", form="results"))
    assert problems(above, below) == ()


def test_data_of_one_owner_does_not_flow_back_to_another() -> None:
    """Below is downstream of both; what goes back to the one carries the other's."""
    above, below = pair(below=CHAIN.format(source="second", form="raw") + FLOW.format(to="above", form="adapter"))
    second = domain_text("second", more=FLOW.format(to="below", form="raw"))
    (problem,) = problems(above, below, second)
    assert problem.code is RejectionCode.DOMAIN_EXCEEDS_CHAIN
    assert "second upstream allows only none to above" in problem.sentence


def test_a_chain_needs_the_word_of_both() -> None:
    above, below = pair()
    (problem,) = problems(replaced(above, FLOW.format(to="below", form="raw"), ""), below)
    assert (problem.code, problem.file, problem.line) == (RejectionCode.DOMAIN_NOT_CHAINED, "below.toml", 17)
    (problem,) = problems(replaced(above, '["raw"]', '["metrics"]'), below)
    assert "lets metrics flow to below (above.toml: line 17)" in problem.sentence
    assert problems(above, replaced(below, CHAIN.format(source="above", form="raw"), "")) == ()  # an offer


def test_nothing_bound_flows_to_a_lower_level() -> None:
    above = domain_text("above", "sealed", FLOW.format(to="below", form="raw"))
    (problem,) = problems(above, domain_text("below", "confidential"))
    assert (problem.code, problem.file, problem.line) == (RejectionCode.DOMAIN_EXCEEDS_LEVEL, "above.toml", 17)
    assert problems(replaced(above, '["raw"]', '["metrics"]'), domain_text("below", "confidential")) == ()


@pytest.mark.parametrize(
    ("level", "more", "line", "key"),
    [
        ("sealed", '\n[[egress]]\nhost = "192.0.2.1"\nport = 443\n', 15, "egress[0]"),
        ("sealed", "\n[api]\nlogprobs = 1\n", 16, "api.logprobs"),
        ("sealed", AMOUNTS + "embeddings = true\n", 22, "api.embeddings"),
        ("sealed", "\n[api]\npad_stream = false\n", 16, "api.pad_stream"),
        ("sealed", "\n[run]\nwritable_code = true\n", 16, "run.writable_code"),
        ("sealed", "\n[retention]\nprompts_days = 1\n", 16, "retention.prompts_days"),
        ("sealed", "\n[retention]\nlogs_days = 31\n", 16, "retention.logs_days"),
        ("sealed", "\n[metering]\nby_key = true\n", 16, "metering.by_key"),
        ("sealed", "\n[retention]\nresults_days = 366\n", 16, "retention.results_days"),
        ("confidential", "\n[retention]\nprompts_days = 31\n", 16, "retention.prompts_days"),
        ("confidential", "\n[retention]\nresults_days = 366\n", 16, "retention.results_days"),
        ("confidential", "\n[retention]\nlogs_days = 366\n", 16, "retention.logs_days"),
    ],
)
def test_wider_than_its_level_is_refused(level: str, more: str, line: int, key: str) -> None:
    assert problems(domain_text("small", "internal", more)) == ()
    (problem,) = problems(domain_text("small", level, more))
    assert (problem.code, problem.line, problem.key) == (RejectionCode.DOMAIN_EXCEEDS_LEVEL, line, key)


def test_a_sealed_domain_opens_on_no_software_tpm() -> None:
    (problem,) = problems(replaced(domain_text("small", "sealed"), '["discrete"]', '["discrete", "software"]'))
    assert (problem.code, problem.line) == (RejectionCode.DOMAIN_EXCEEDS_LEVEL, 12)


def test_ceilings_only_get_lower() -> None:
    """Else a domain could become good by being moved to a higher level."""
    for lower, higher in (("internal", "confidential"), ("confidential", "sealed")):
        for key, ceiling in ceilings(Level(lower)).items():
            assert not LIMITS[key].order.beyond(ceilings(Level(higher))[key], ceiling)
    assert {key for one in CEILINGS.values() for key in one} <= set(LIMITS)


@pytest.mark.parametrize(
    ("texts", "code", "told"),
    [
        ([domain_text("a", more=FLOW.format(to="b", form="raw"))], "DOMAIN_UNKNOWN", "a.toml: line 16: flow[0].to"),
        (
            [domain_text("a", more=CHAIN.format(source="b", form="raw"))],
            "DOMAIN_UNKNOWN",
            "a.toml: line 16: chain[0].from",
        ),
        ([domain_text("a", more='\n[run]\nworkloads = ["w"]\n')], "DOMAIN_UNKNOWN", "a.toml: line 16: run.workloads"),
        (
            [domain_text("a", more='\n[[member]]\nkind = "adapter"\nid = "x"\nbase = "m"\n')],
            "DOMAIN_UNKNOWN",
            "a.toml: line 18: member[0].base",
        ),
        ([domain_text("a"), domain_text("a")], "DOMAIN_CONFLICT", "a.toml: line 2: name"),
        ([domain_text("a", more=FLOW.format(to="a", form="raw"))], "DOMAIN_CONFLICT", "a.toml: line 16: flow[0].to"),
        (
            [domain_text("a", more=WORKLOAD.format(id="w")), domain_text("b", more=WORKLOAD.format(id="w"))],
            "DOMAIN_CONFLICT",
            "b.toml: line 17: member[0].id: 'w' is a member of a (a.toml: line 17)",
        ),
    ],
)
def test_names_are_known_and_each_stands_once(texts: list[str], code: str, told: str) -> None:
    found = problems(*texts)
    assert [one.code for one in found] == [code]
    assert str(found[0]).startswith(told)


def test_a_circle_is_refused() -> None:
    one = domain_text("a", more=FLOW.format(to="b", form="raw") + CHAIN.format(source="b", form="raw"))
    other = domain_text("b", more=FLOW.format(to="a", form="raw") + CHAIN.format(source="a", form="raw"))
    assert {problem.code for problem in problems(one, other)} == {RejectionCode.DOMAIN_CONFLICT}
    released = [text.replace('"raw"', '"metrics"') for text in (one, other)]
    assert problems(*released) == ()


def test_the_verifier_raises_the_first_problem_and_carries_all() -> None:
    texts = example_texts()
    texts["medical-model.toml"] = replaced(
        texts["medical-model.toml"], "\ntokens_per_day = 200000", "\ntokens_per_day = 1"
    )
    texts["clinic.toml"] = replaced(texts["clinic.toml"], '["metrics"]', '["metrics", "raw"]')
    with pytest.raises(VerificationError) as caught:
        verify_domains(parse_texts(texts))
    told = caught.value.details["problems"]
    assert caught.value.code == told[0].code
    assert {one.code for one in told} == {"DOMAIN_NOT_CHAINED", "DOMAIN_EXCEEDS_CHAIN"}


LET_IN = '\n[run]\nimports = ["data-set"]\n'


def three(records: str = LET_IN, model: str = "", *, source: str = "records") -> list[str]:
    """A training that reads a model's weights and records beside each other."""
    takers = {"training", source} - {"records"}
    return [
        domain_text(
            "records",
            more=records + "".join(FLOW.format(to=one, form="raw") for one in sorted(takers, reverse=True)),
        ),
        domain_text("model", more=model + FLOW.format(to="training", form="raw")),
        domain_text(
            "training",
            more=CHAIN.format(source=source, form="raw") + CHAIN.format(source="model", form="raw"),
        ),
    ]


def test_what_is_put_in_upstream_is_read_beside_weights_only_if_their_owner_lets_it() -> None:
    """Else whoever runs the box would lay examples beside the model by way of the records."""
    (problem,) = problems(*three())
    assert (problem.code, problem.key) == (RejectionCode.DOMAIN_EXCEEDS_CHAIN, "chain[0].from")
    assert str(problem) == (
        "training.toml: line 16: chain[0].from: reads data sets that are put into records (records.toml: line 16),"
        " and model upstream allows imports of none (model.toml has no run)."
    )
    assert problems(*three(model=LET_IN)) == ()
    assert problems(*three(records='\n[run]\nimports = ["results"]\n')) == ()


def test_what_is_put_in_comes_from_domain_to_domain_as_well() -> None:
    more = CHAIN.format(source="records", form="raw") + FLOW.format(to="training", form="raw")
    between = domain_text("between", more=more)
    (problem,) = problems(*three(source="between"), between)
    assert (problem.domain, problem.key) == ("training", "chain[0].from")
    assert "put into records" in problem.sentence
    assert "model upstream allows" in problem.sentence
    assert problems(*three(source="between", model=LET_IN), domain_text("between", more=LET_IN + more)) == ()
