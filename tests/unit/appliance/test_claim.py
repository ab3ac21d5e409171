"""The claim code: guessed slowly, spent once, erased with everything that it handed out."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealwright_appliance.claim import ATTEMPT_EVERY_S, ATTEMPTS_AT_ONCE, Claim, ClaimError
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
        assert claim.check(typed.format(text), 0.0 + ATTEMPT_EVERY_S * 100).recovery_key == "recovery key"


def test_a_wrong_code_is_refused(claim: Claim) -> None:
    """Also an empty one, and the beginning of the right one."""
    for wrong in ("", code_of(claim)[:-1], "0000-0000-0000"):
        with pytest.raises(ClaimError) as caught:
            claim.check(wrong, 0.0)
        assert caught.value.status == 403


def test_guessing_is_slow(claim: Claim) -> None:
    """A few at once, then one per interval, the right one included."""
    for _ in range(ATTEMPTS_AT_ONCE):
        with pytest.raises(ClaimError):
            claim.check("wrong", 100.0)
    with pytest.raises(ClaimError) as caught:
        claim.check(code_of(claim), 100.0 + ATTEMPT_EVERY_S / 2)
    assert caught.value.status == 429
    assert claim.check(code_of(claim), 101.0 + ATTEMPT_EVERY_S).recovery_key


def test_a_spent_claim_stays_spent(claim: Claim, tmp_path: Path) -> None:
    """Over restarts, and nothing that was handed out is left in the file."""
    code = code_of(claim)
    claim.spend()
    again = Claim(tmp_path / "claim.json")
    assert again.code() is None
    with pytest.raises(ClaimError) as caught:
        again.check(code, 0.0)
    assert caught.value.status == 409
    content = (tmp_path / "claim.json").read_bytes()
    assert b"recovery key" not in content
    assert b"customer key" not in content
    assert code.encode() not in content


def test_a_missing_file_claims_nothing(tmp_path: Path) -> None:
    """No file is no claim, whatever code is shown."""
    with pytest.raises(ClaimError) as caught:
        Claim(tmp_path / "none").check("", 0.0)
    assert caught.value.status == 409


def test_codes_differ(tmp_path: Path) -> None:
    """Every box draws its own."""
    codes = set()
    for number in range(50):
        claim = Claim(tmp_path / f"{number}.json")
        claim.create(SECRETS)
        codes.add(code_of(claim))
    assert len(codes) == 50
