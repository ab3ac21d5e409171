"""API keys: only a whole, known key opens the API."""

from __future__ import annotations

import hashlib

import pytest

from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.keys import ApiKey, authenticate, require_admin

TEXT = "sw-" + "k" * 43
KEY = ApiKey("ward 3", hashlib.sha256(TEXT.encode()).hexdigest(), admin=False, created=0)


def test_a_known_key_is_recognised() -> None:
    assert authenticate(f"Bearer {TEXT}", [KEY]) is KEY


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", f"Basic {TEXT}", f"Bearer {TEXT}x", f"Bearer sw-{'j' * 43}", f"Bearer {KEY.sha256}"]
)
def test_everything_else_is_a_401(header: str | None) -> None:
    with pytest.raises(ApiError) as caught:
        authenticate(header, [KEY])
    assert caught.value.status == 401


def test_a_colleagues_key_is_not_an_administrators() -> None:
    with pytest.raises(ApiError) as caught:
        require_admin(KEY)
    assert caught.value.status == 403
