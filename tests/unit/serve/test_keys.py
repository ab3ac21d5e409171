"""API keys: only a whole, known key opens the API."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from sealwright_appliance.adapters.messages import KeptAdapter
from sealwright_appliance.serve.adapters import may_use
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.keys import ApiKey, authenticate, require_admin

TEXT = "sw-" + "k" * 43
KEY = ApiKey("ward 3", hashlib.sha256(TEXT.encode()).hexdigest(), admin=False, created=0)


def test_a_known_key_is_recognised() -> None:
    assert authenticate(f"Bearer {TEXT}", [KEY], 0) is KEY


def test_a_key_lets_in_until_its_end() -> None:
    """By the answer that an unknown one gets."""
    ends = replace(KEY, expires=100)
    assert authenticate(f"Bearer {TEXT}", [ends], 99.9) is ends
    with pytest.raises(ApiError) as caught:
        authenticate(f"Bearer {TEXT}", [ends], 100)
    assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")


def test_a_key_is_for_its_models() -> None:
    assert KEY.may_ask("medical")
    assert replace(KEY, models=["medical"]).may_ask("medical")
    assert not replace(KEY, models=["medical"]).may_ask("finance")


@pytest.mark.parametrize("admin", [False, True])
def test_a_key_hears_of_adapters_of_its_models_alone(*, admin: bool) -> None:
    adapter = KeptAdapter(
        adapter_id=f"adapter-{'0' * 24}", model="medical", member="medical-own", name="ward", created=0, expires=1,
        examples=1,
    )  # fmt: skip
    assert may_use(adapter, replace(KEY, admin=admin))
    assert may_use(adapter, replace(KEY, admin=admin, models=["medical"]))
    assert not may_use(adapter, replace(KEY, admin=admin, models=["medical-own"]))


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", f"Basic {TEXT}", f"Bearer {TEXT}x", f"Bearer sw-{'j' * 43}", f"Bearer {KEY.sha256}"]
)
def test_everything_else_is_a_401(header: str | None) -> None:
    with pytest.raises(ApiError) as caught:
        authenticate(header, [KEY], 0)
    assert caught.value.status == 401


def test_a_colleagues_key_is_not_an_administrators() -> None:
    with pytest.raises(ApiError) as caught:
        require_admin(KEY)
    assert caught.value.status == 403
