"""An answer names every line that decides, and why."""

from __future__ import annotations

import pytest

from sealwright_policies.domains.explanation import USAGE, explain
from sealwright_policies.errors import UsageError
from sealwright_testing.domain_texts import domain_text, examples, verified

DOMAINS = examples()


def test_an_answer_names_the_lines_of_all_that_must_agree() -> None:
    answer = explain(DOMAINS, "oncology-training", "flow", ["clinic", "metrics"])
    assert answer.allowed
    assert [(one.domain, one.place, one.key) for one in answer.grounds] == [
        ("oncology-training", "oncology-training.toml: line 49", "flow[0].forms"),
        ("medical-model", "medical-model.toml: line 40", "flow[1].forms"),
        ("oncology-records", "oncology-records.toml: line 40", "flow[1].forms"),
        ("clinic", "clinic.toml: line 39", "chain[0].forms"),
    ]


def test_an_answer_tells_what_holds_it() -> None:
    answer = explain(DOMAINS, "clinic", "egress", ["documents.clinic.example:443"])
    assert answer.enforced_by == ("systemd", "AppArmor", "Landlock", "nftables")
    (ground,) = answer.grounds
    assert ground.sentence == "documents.clinic.example:443/tcp at 192.0.2.16/28"


def test_a_key_that_is_not_there_is_told() -> None:
    (ground, *_) = explain(DOMAINS, "medical-model", "egress", ["192.0.2.1:443"]).grounds
    assert (ground.allows, ground.place) == (False, "medical-model.toml has no egress")


def test_a_flow_needs_a_taker() -> None:
    answer = explain(DOMAINS, "medical-model", "flow", ["clinic", "metrics"])
    assert [one.allows for one in answer.grounds] == [True, False]
    assert answer.grounds[1].sentence == "takes nothing from medical-model"


def test_an_answer_tells_whose_data_a_workload_reads() -> None:
    answer = explain(DOMAINS, "oncology-training", "read", ["oncology-records"])
    assert answer.allowed
    assert [(one.domain, one.key) for one in answer.grounds] == [
        ("oncology-training", "run.workloads"),
        ("oncology-records", "flow[0].forms"),
        ("oncology-training", "chain[1].forms"),
    ]
    assert answer.enforced_by == ("systemd", "AppArmor", "Landlock", "IPE", "mount options", "agent")
    assert explain(DOMAINS, "clinic", "read", ["clinic"]).allowed
    for name, other in (("clinic", "oncology-training"), ("medical-model", "medical-model")):
        assert not explain(DOMAINS, name, "read", [other]).allowed


def test_an_answer_tells_whose_word_it_needs_to_put_files_in() -> None:
    answer = explain(DOMAINS, "oncology-training", "import", ["data-set"])
    assert [(one.allows, one.domain, one.key) for one in answer.grounds] == [
        (False, "oncology-training", "run.imports"),
        (False, "medical-model", "run.imports"),
        (False, "oncology-records", "run.imports"),
    ]
    let_in = verified([domain_text("records", more='\n[run]\nimports = ["data-set"]\n')])
    assert explain(let_in, "records", "import", ["data-set"]).allowed
    assert not explain(let_in, "records", "import", ["results"]).allowed


@pytest.mark.parametrize(
    "question",
    [
        "import",
        "import adapter",
        "import data-set results",
        "egress",
        "egress foo",
        "egress foo:x",
        "egress :443",
        "egress a:1/icmp",
        "egress a:1 b",
        "flow clinic",
        "flow clinic weights",
        "flow nowhere raw",
        "flow clinic raw raw",
        "read",
        "read nowhere",
        "run",
        "run a b",
        "open 1.0",
        "open x discrete",
        "open 1.0 gold",
        "return",
        "return pad_stream",
        "return logprobs",
        "return completions 1",
        "return logits 1",
        "keep prompts",
        "keep weights 1",
        "report",
        "report prompts",
        "fly home",
    ],
)
def test_a_question_that_is_none_is_a_usage_error(question: str) -> None:
    verb, *words = question.split()
    with pytest.raises(UsageError):
        explain(DOMAINS, "clinic", verb, words)


def test_every_verb_has_a_usage() -> None:
    with pytest.raises(UsageError, match=", ".join(sorted(USAGE))):
        explain(DOMAINS, "clinic", "fly", [])


@pytest.mark.parametrize(
    ("more", "question", "why"),
    [
        (
            "\n[run]\nwritable_code = true\n",
            "run writable_code",
            "the IPE policy of every image forbids it all the same",
        ),
        (
            '\n[[flow]]\nto = "taker"\nforms = ["aggregates"]\n',
            "flow taker aggregates",
            "nothing in a box makes or moves aggregates",
        ),
    ],
)
def test_what_no_box_does_is_not_allowed_though_the_domain_lets_it(more: str, question: str, why: str) -> None:
    taker = domain_text("taker", more='\n[[chain]]\nfrom = "giver"\nforms = ["aggregates"]\n')
    domains = verified([domain_text("giver", more=more), *([taker] if "flow" in more else [])])
    verb, *words = question.split()
    *own, last = explain(domains, "giver", verb, words).grounds
    assert own
    assert all(one.allows for one in own)
    assert (last.allows, last.sentence) == (False, why)
    silent = explain(verified([domain_text("giver"), domain_text("taker")]), "giver", verb, words)
    assert why not in [one.sentence for one in silent.grounds]
