"""Both languages say everything, and no text stands outside their catalogues."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sealwright_licensing import console
from sealwright_licensing.console.device_operations import DEVICES, RELEASES, TOKENS
from sealwright_licensing.console.languages import catalogue, cure, say
from sealwright_licensing.console.license_operations import LICENSES, issue_fields
from sealwright_licensing.console.operation_forms import Subject
from sealwright_policies.errors import RejectionCode
from sealwright_policies.languages import Language
from sealwright_testing.catalogues import not_chinese, own_words, require_same

FOLDER = Path(console.__file__).parent
TEMPLATES = sorted((FOLDER / "templates").glob("*.html"))
ENGLISH, CHINESE = (catalogue(one) for one in Language)
SAME_IN_BOTH = {"col.pcr", "col.tier", "col.digest", "fact.tpm", "findings.pcr", "log.userspace", "language.en",
                "language.zh-Hans", "fact.of"}  # fmt: skip


def test_both_languages_say_the_same() -> None:
    require_same(ENGLISH, CHINESE)


def test_chinese_is_chinese() -> None:
    assert not_chinese(CHINESE) <= SAME_IN_BOTH


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_a_template_holds_no_text_of_its_own(template: Path) -> None:
    assert own_words(template) == []


def used_keys() -> set[str]:
    """Keys that templates and modules name outright."""
    sources = [path.read_text() for path in (*TEMPLATES, *FOLDER.glob("*.py"))]
    return {
        key for source in sources for key in re.findall(r"\b(?:t|say)\(\s*['\"]([a-z_.-]+[a-z])['\"]\s*[,)]", source)
    }


def test_every_key_that_is_used_is_there() -> None:
    used = used_keys()
    assert len(used) > 100
    assert used - set(ENGLISH) == set()


@pytest.mark.parametrize("subject", [LICENSES, DEVICES, RELEASES, TOKENS], ids=lambda subject: subject.kind)
def test_every_operation_is_described(subject: Subject) -> None:
    for operation in subject.operations:
        key = f"{subject.kind}.{operation.name}"
        assert {key, f"what.{key}", f"do.{key}", f"operation.{key}"} - set(ENGLISH) <= {"operation.device.settle"}
        assert f"confirm.{key}" in ENGLISH or not operation.is_grave
        drawing = operation.name in ("add-code", "transfer")
        assert f"done.{key}" in ENGLISH or drawing


def test_every_operation_that_is_journalled_has_a_word() -> None:
    """Those that stand as one word in a module; others are made of a subject's operations."""
    modules = [path.read_text() for path in FOLDER.parent.rglob("*.py")]
    named = {name for text in modules for name in re.findall(r'\b(?:operation=|record\()"([a-z]+\.[a-z-]+)"', text)}
    assert len(named) > 8
    assert {f"operation.{name}" for name in named} - set(ENGLISH) == set()


def test_every_field_has_a_label_and_every_choice_a_word() -> None:
    for field in issue_fields():
        assert f"field.{field.name}" in ENGLISH
        for option in field.options:
            assert f"{field.name}.{option}" in ENGLISH


def test_every_rejection_code_has_a_word() -> None:
    assert {f"code.{code}" for code in RejectionCode} - set(ENGLISH) == set()
    assert cure(Language.CHINESE, "EXPIRED") == "请续期许可证。"
    assert cure(Language.ENGLISH, "SOMETHING_NEW") == say(Language.ENGLISH, "cure.else")
