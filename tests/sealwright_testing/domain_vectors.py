"""Writes the vectors of ``tests/vectors/domains/``: refusals, answers, digests, and what domains compile to.

Run ``python -m sealwright_testing.domain_vectors tests/vectors/domains`` after a change of the format or the compiler,
and read the difference. The compiled files are goldens: they come from the compiler itself.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from sealwright_policies.domains.canonical import canonical_form, domain_digest
from sealwright_policies.domains.chain import verify_domains
from sealwright_policies.domains.compiler import compile_domains
from sealwright_policies.errors import RejectionCode
from sealwright_testing.domain_texts import ROOT_HASHES, domain_text, example_texts, examples, parse, replaced
from sealwright_testing.vectors import Vector

COMPILED = "compiled-examples"
UNBOUNDED = """
[api]
completions = true
tokens_per_request = 1
tokens_per_day = 1
requests_per_day = 1
model_tokens_per_day = 1
model_requests_per_day = 1
"""
ROOT_HASH = "5a" * 32
FILES = "files"
"""Below the vector's folder: the compiled files by their paths in the image."""


def refusals() -> Iterator[Vector]:
    """Sets of domains that are refused."""
    texts = example_texts()

    def changed(name: str, old: str, new: str) -> Mapping[str, object]:
        return {"files": texts | {name: replaced(texts[name], old, new)}}

    def refused(name: str, description: str, section: str, code: RejectionCode, given: Mapping[str, object]) -> Vector:
        return Vector(name, description, section, "verify_domains", given, code)

    chain, level = RejectionCode.DOMAIN_EXCEEDS_CHAIN, RejectionCode.DOMAIN_EXCEEDS_LEVEL
    training, budget = "oncology-training.toml", "\ntokens_per_day = 50000"
    yield refused(
        "wider-than-upstream",
        "a larger budget than the data owner allows",
        "domain.md 4",
        chain,
        changed(training, budget, "\ntokens_per_day = 50001"),
    )
    yield refused(
        "wider-than-upstream-as-a-whole",
        "a larger budget of all keys than the data owner allows",
        "domain.md 4",
        chain,
        changed(training, "model_tokens_per_day = 200000", "model_tokens_per_day = 200001"),
    )
    yield refused(
        "opens-without-the-feature",
        "a feature that the data owner demands is left out",
        "domain.md 4",
        chain,
        changed(training, 'features = ["training"]', "features = []"),
    )
    yield refused(
        "egress-below-sealed",
        "a sealed domain names an endpoint",
        "domain.md 3",
        level,
        changed("medical-model.toml", "features = []", 'features = []\n[[egress]]\nhost = "192.0.2.1"\nport = 443'),
    )
    yield refused(
        "flows-down",
        "an adapter would flow from a sealed domain to an internal one",
        "domain.md 3",
        level,
        changed("medical-model.toml", 'forms = ["metrics"]', 'forms = ["metrics", "adapter"]'),
    )
    yield refused(
        "takes-what-is-not-let-go",
        "the clinic takes the adapter; nobody lets it go",
        "domain.md 4",
        RejectionCode.DOMAIN_NOT_CHAINED,
        changed("clinic.toml", 'forms = ["metrics"]', 'forms = ["adapter"]'),
    )
    yield refused(
        "upstream-is-missing",
        "a domain upstream is not there",
        "domain.md 4",
        RejectionCode.DOMAIN_UNKNOWN,
        {"files": {name: text for name, text in texts.items() if name != "oncology-records.toml"}},
    )
    yield refused(
        "member-of-two-domains",
        "a model lies in two domains",
        "domain.md 1",
        RejectionCode.DOMAIN_CONFLICT,
        changed("finance-model.toml", 'id = "finance"', 'id = "medical"'),
    )


def answers() -> Iterator[Vector]:
    """Questions to the examples."""
    for name, domain, question, code in (
        ("explain-flow-forbidden", "oncology-training", "flow clinic adapter", RejectionCode.DOMAIN_FORBIDS),
        ("explain-flow-allowed", "oncology-training", "flow clinic metrics", None),
    ):
        given = {"files": example_texts(), "domain": domain, "question": question}
        yield Vector(name, f"{domain} {question}", "domain.md 8", "explain", given, code)


def malformed() -> Iterator[Vector]:
    """One file that is not of the format."""
    for name, description, text in (
        ("unknown-key", "a key that does not exist", domain_text(more="\n[api]\nlogit_bias = true\n")),
        ("other-type", "a number in quotes", domain_text(more='\n[api]\nlogprobs = "1"\n')),
        ("no-rate", "completions without a rate", domain_text(more=UNBOUNDED)),
        ("entry-twice", "a form stands twice", domain_text(more='\n[[flow]]\nto = "a"\nforms = ["raw", "raw"]\n')),
        ("name-without-addresses", "a named host", domain_text(more='\n[[egress]]\nhost = "a.example"\nport = 1\n')),
        ("default-left-out", "no level", replaced(domain_text(), 'level = "internal"\n', "")),
    ):
        given = {"files": {"small.toml": text}}
        yield Vector(name, description, "domain.md 1", "verify_domains", given, outcome="malformed")


def write(directory: Path) -> None:
    """Write every vector, replacing those that are there."""
    shutil.rmtree(directory, ignore_errors=True)
    for vector in (*refusals(), *answers(), *malformed()):
        vector.write(directory)
    _write_digest(directory)
    _write_compiled(directory)


def _write_digest(directory: Path) -> None:
    """Comments, another order and a default written out, next to the plain text of the same domain."""
    text = domain_text(more='\n[[flow]]\nto = "b"\nforms = ["raw", "metrics"]\n\n[api]\nlogprobs = 0\n')
    Vector("digest", "canonical form and digest", "domain.md 6", "digest", {"files": {"small.toml": text}}).write(
        directory
    )
    domain = parse(text).domain
    result = {"canonical_form": canonical_form(domain).decode(), "digest": domain_digest(domain).hex()}
    path = directory / "digest/expected.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"result": result}, indent=2) + "\n")


def _write_compiled(directory: Path) -> None:
    given = {"files": example_texts(), "workload_root_hashes": ROOT_HASHES, "root_hash": ROOT_HASH}
    Vector(COMPILED, "the shipped examples, compiled", "domain.md 7", "compile_domains", given).write(directory)
    for path, content in compile_domains(verify_domains(list(examples())), ROOT_HASHES, ROOT_HASH).items():
        target = directory / COMPILED / FILES / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
