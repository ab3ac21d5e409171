"""The reference in docs/ is what the model says now."""

from __future__ import annotations

from pathlib import Path

from sealwright_policies.domains.limits import LIMITS
from sealwright_policies.domains.reference import BEGIN, END, json_schema, markdown

DOCS = Path(__file__).parents[3] / "docs"


def test_the_guide_holds_the_generated_tables() -> None:
    """Else: sealwright-policy schema --markdown, into docs/domains.md."""
    text = (DOCS / "domains.md").read_text("utf-8")
    begin, end = text.index(BEGIN), text.index(END) + len(END) + 1
    assert text[begin:end] == markdown()


def test_the_committed_schema_is_the_generated_one() -> None:
    """Else: sealwright-policy schema > docs/domain.schema.json."""
    assert (DOCS / "domain.schema.json").read_text("utf-8") == json_schema()


def test_every_key_that_is_compared_has_its_rule_in_the_tables() -> None:
    rows = [line for line in markdown().splitlines() if line.startswith("| `")]
    for limit in LIMITS.values():
        assert any(
            line.startswith(f"| `{limit.path[-1]}` |") or line.startswith(f"| `{limit.key}`") for line in rows
        ) or (f"`[[{limit.key}]]`" in markdown())
