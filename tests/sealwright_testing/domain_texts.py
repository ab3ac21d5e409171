"""Texts of domain files for tests: a smallest one, changes to one key, and the shipped examples."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from sealwright_policies.domains.chain import Domains, verify_domains
from sealwright_policies.domains.reader import DomainFile, parse_domain

EXAMPLES = Path(__file__).parents[2] / "policies/domains"
ROOT_HASHES = {"lora-training": "1a" * 32, "document-index": "2b" * 32}
"""Stand-ins for those of the examples' workload images."""

SMALLEST = """\
schema = 1
name = "{name}"
level = "{level}"

[owner]
kind = "vendor"
name = "somebody"

[open]
from_version = "1.0"
below_version = "2.0"
tiers = ["discrete"]
features = []
"""


def domain_text(name: str = "small", level: str = "internal", more: str = "") -> str:
    """A domain that permits nothing but what ``more`` adds."""
    return SMALLEST.format(name=name, level=level) + more


SERVING = """
[run]
engine = true

[api]
completions = true
embeddings = true
logprobs = 5
tokens_per_request = 1000000
tokens_per_day = 1000000000
requests_per_minute = 100000
requests_per_day = 1000000000
model_tokens_per_day = 1000000000
model_requests_per_day = 1000000000
pad_stream = false

[metering]
counters = ["requests", "prompt_tokens", "completion_tokens", "busy_ms", "lease_ms", "copying_alarms"]
by_key = true
"""
"""What the tests' boxes are asked for."""


def open_anywhere(text: str) -> str:
    """A domain of :func:`domain_text` that any box opens, in any release, software TPMs included."""
    text = replaced(text, '["discrete"]', '["software", "firmware", "discrete"]')
    return replaced(replaced(text, '"1.0"', '"0"'), '"2.0"', '"1000"')


KEPT_DAYS = {"finance": 7}
"""For how long conversations are kept, by domain; the others keep none."""


def serving_text(name: str, models: Iterable[str]) -> str:
    """A domain whose models are served on any box, software TPMs included."""
    text = open_anywhere(domain_text(name, "confidential"))
    if name in KEPT_DAYS:
        text += f"\n[retention]\nprompts_days = {KEPT_DAYS[name]}\n"
    return text + "".join(f'\n[[member]]\nkind = "model"\nid = "{one}"\n' for one in models) + SERVING


def write_serving(folder: Path, models: Mapping[str, str]) -> list[Path]:
    """Write the domain files of models, given as payload id and domain; returns their paths."""
    return write_domains(
        folder,
        {
            name: serving_text(name, [model for model, domain in models.items() if domain == name])
            for name in sorted(set(models.values()))
        },
    )


def write_domains(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write domain files, given by name; returns their paths."""
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.toml").write_text(text)
    return [folder / f"{name}.toml" for name in texts]


def parse(text: str) -> DomainFile:
    """A domain file under the name that it should have."""
    name = re.search(r'^name = "(.*)"', text, re.MULTILINE)
    return parse_domain(text.encode(), f"{name[1] if name else 'x'}.toml")


def example_texts() -> dict[str, str]:
    """The shipped examples by file name."""
    return {path.name: path.read_text("utf-8") for path in sorted(EXAMPLES.glob("*.toml"))}


def parse_texts(texts: Mapping[str, str]) -> list[DomainFile]:
    """Texts by file name, parsed."""
    return [parse_domain(text.encode(), name) for name, text in texts.items()]


def verified(texts: Iterable[str]) -> Domains:
    """Texts, parsed and judged together."""
    return verify_domains([parse(text) for text in texts])


def examples() -> Domains:
    """The shipped examples, judged."""
    return verify_domains(parse_texts(example_texts()))


def replaced(text: str, old: str, new: str) -> str:
    """Replace what stands exactly once."""
    assert text.count(old) == 1, (old, text.count(old))
    return text.replace(old, new)
