"""The box's pages in both languages: everything said, nothing outside the catalogues, every key there and needed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sealwright_appliance.adapters.messages import AdapterState, TrainingFailure
from sealwright_appliance.adapters.refusals import AdapterCode
from sealwright_appliance.boot import BoxState
from sealwright_appliance.enrollment import EnrollmentStep
from sealwright_appliance.license_client import Cause
from sealwright_appliance.serve.pages import ENROLLMENT_STEPS, WEB, catalogue
from sealwright_policies.appraisal.reference_values import PayloadKind
from sealwright_policies.languages import Language
from sealwright_testing.catalogues import not_chinese, own_words, require_same

TEMPLATES = sorted(WEB.glob("*.html"))
ENGLISH, CHINESE = (catalogue(one) for one in Language)
OPEN_SETS = (
    "state.",
    "payload.",
    "language.",
    "script.error.",
    "administration.adapters.failure.",
    "administration.adapters.state.",
    "administration.end.",
    "administration.requests.",
    "administration.tokens.",
    "setup.step.",
    "setup.state.",
    "setup.cause.",
)
"""Keys that end with a value."""


def used_keys() -> set[str]:
    """That the templates and the scripts name outright."""
    sources = [path.read_text() for path in (*TEMPLATES, *WEB.glob("*.js"))]
    said = r"\b(?:t|say)\(\s*['\"]([a-z_.]+[a-z])['\"]\s*[,)]"
    chosen = r"\? \"([a-z]+\.[a-z_.]+)\" : \"([a-z]+\.[a-z_.]+)\""
    return {key for text in sources for key in re.findall(said, text)} | {
        key for text in sources for pair in re.findall(chosen, text) for key in pair
    }


def test_both_languages_say_the_same() -> None:
    require_same(ENGLISH, CHINESE)
    assert not_chinese(CHINESE) == {"language.en"}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_a_template_holds_no_text_of_its_own(template: Path) -> None:
    assert own_words(template) == []


def test_every_key_is_there_and_needed() -> None:
    used = used_keys()
    assert len(used) > 50
    assert used - set(ENGLISH) == set()
    assert {key for key in set(ENGLISH) - used if not key.startswith(OPEN_SETS)} == set()


def test_every_step_of_an_activation_and_what_stops_it_has_a_word() -> None:
    assert tuple(EnrollmentStep) == ENROLLMENT_STEPS
    steps, causes = ({key for key in ENGLISH if key.startswith(one)} for one in ("setup.step.", "setup.cause."))
    assert steps == {f"setup.step.{one}" for one in EnrollmentStep}
    assert causes == {f"setup.cause.{one}" for one in Cause}


def test_every_state_and_every_kind_of_payload_has_a_word() -> None:
    assert {f"state.{one}" for one in BoxState} | {f"payload.{one}" for one in PayloadKind} <= set(ENGLISH)


def test_every_state_refusal_and_failure_of_an_adapter_has_a_word() -> None:
    states, failures = (
        {key for key in ENGLISH if key.startswith(f"administration.adapters.{one}.")} for one in ("state", "failure")
    )
    assert states == {f"administration.adapters.state.{one}" for one in AdapterState}
    assert failures == {f"administration.adapters.failure.{one}" for one in TrainingFailure}
    assert {f"script.error.{one}" for one in AdapterCode} <= set(ENGLISH)
