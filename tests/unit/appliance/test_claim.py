"""The claim code: gives the same as often as it is shown, until it is spent; then all is erased."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealwright_appliance.claim import Claim, ClaimError
from sealwright_appliance.state_volume import FirstBootSecrets

SECRETS = FirstBootSecrets("customer key", "recovery key")


@pytest.fixture
def claim(tmp_path: Path) -> Claim:
    """Of a box after its first boot."""
    made = Claim(tmp_path / "claim.json")
    made.create(SECRETS)
    return made


def code_of(claim: Claim) -> str:
    """As the console shows it."""
    code = claim.code()
    assert code is not None
    return code


@pytest.mark.parametrize("typed", ["{}", " {} ", "{}\n"])
def test_the_code_opens_as_people_type_it(claim: Claim, typed: str) -> None:
    """Blanks, dashes and case do not matter."""
    code = code_of(claim)
    for text in (code, code.lower(), code.replace("-", ""), code.replace("-", " ")):
        assert claim.opened_with(typed.format(text)).recovery_key == "recovery key"


def test_the_code_gives_the_same_again(claim: Claim, tmp_path: Path) -> None:
    """Also after a restart: the API key is drawn once."""
    code = code_of(claim)
    assert claim.opened_with(code) == Claim(tmp_path / "claim.json").opened_with(code)


def test_a_wrong_code_is_refused(claim: Claim) -> None:
    """Also an empty one, and the beginning of the right one."""
    for wrong in ("", code_of(claim)[:-1], "0000-0000-0000"):
        with pytest.raises(ClaimError) as caught:
            claim.opened_with(wrong)
        assert caught.value.status == 403


def test_a_spent_claim_stays_spent(claim: Claim, tmp_path: Path) -> None:
    """Over restarts, and nothing that was handed out is left in the file."""
    code = code_of(claim)
    api_key = claim.opened_with(code).api_key
    claim.spend()
    again = Claim(tmp_path / "claim.json")
    assert again.code() is None
    with pytest.raises(ClaimError) as caught:
        again.opened_with(code)
    assert caught.value.status == 409
    content = (tmp_path / "claim.json").read_text()
    for secret in (code, api_key, "recovery key", "customer key"):
        assert secret not in content


def test_secrets_do_not_stand_in_what_is_printed(claim: Claim) -> None:
    """A traceback shows an object by its representation."""
    opened = claim.opened_with(code_of(claim))
    for secret in (opened.claim_code, opened.api_key, "recovery key", "customer key"):
        assert secret not in repr(opened)


def test_a_missing_file_claims_nothing(tmp_path: Path) -> None:
    """No file is no claim, whatever code is shown."""
    with pytest.raises(ClaimError) as caught:
        Claim(tmp_path / "none").opened_with("")
    assert caught.value.status == 409


def test_codes_and_keys_differ(tmp_path: Path) -> None:
    """Every box draws its own."""
    codes, keys = set(), set()
    for number in range(50):
        claim = Claim(tmp_path / f"{number}.json")
        claim.create(SECRETS)
        codes.add(code_of(claim))
        keys.add(claim.opened_with(code_of(claim)).api_key)
    assert len(codes) == len(keys) == 50
