"""API keys as an administrator manages them: the command, the gateway over TLS, the agent's socket, the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sealwright_appliance.activation import FIRST_KEY_NAME
from sealwright_testing.running_box import RunningBox

NAME = "ward 3/肿瘤科 & ..?"


@pytest.fixture
def admin_key(running: RunningBox, tmp_path: Path) -> str:
    """Of an activated box whose secrets are acknowledged."""
    file = tmp_path / "secrets.json"
    done = running.activate(running.claim_code, running.simulated.vendor.issue().activation_code, file)
    assert done.returncode == 0, done.stderr
    key: str = json.loads(file.read_bytes())["api_key"]
    return key


def keys(running: RunningBox, admin_key: str, verb: str, *words: str) -> dict[str, Any]:
    """Run ``sealwright-box keys``; what it prints, or the code with which it was refused."""
    identified = ("--fingerprint", running.fingerprint, "--json")
    done = running.command("keys", verb, running.url, *words, *identified, typed=f"{admin_key}\n")
    if done.returncode:
        return {"refused": done.stderr.removeprefix("sealwright-box: ").split(":")[0], "exit": done.returncode}
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def models(running: RunningBox, key: str) -> int:
    """Status of a request with a key."""
    with running.http() as client:
        return client.get("/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code


def test_a_key_is_made_listed_and_revoked(running: RunningBox, admin_key: str) -> None:
    """Its name may be any text; once revoked it lets nobody in, in the next request."""
    made = keys(running, admin_key, "create", NAME)
    assert models(running, made["api_key"]) == 200
    listed = keys(running, admin_key, "list")["keys"]
    assert [(key["name"], key["admin"]) for key in listed] == [(FIRST_KEY_NAME, True), (NAME, False)]
    assert all(set(key) == {"name", "admin", "created", "models", "expires"} for key in listed)
    assert keys(running, made["api_key"], "list") == {"refused": "admin_key_required", "exit": 10}
    assert keys(running, made["api_key"], "revoke", FIRST_KEY_NAME) == {"refused": "admin_key_required", "exit": 10}
    assert keys(running, admin_key, "revoke", NAME) == {"revoked": NAME}
    assert models(running, made["api_key"]) == 401
    assert keys(running, admin_key, "revoke", NAME) == {"refused": "UNKNOWN_API_KEY", "exit": 10}


def test_an_administrators_key_can_be_replaced_and_the_last_one_stays(running: RunningBox, admin_key: str) -> None:
    assert keys(running, admin_key, "revoke", FIRST_KEY_NAME) == {"refused": "LAST_ADMIN_KEY", "exit": 10}
    second = keys(running, admin_key, "create", "second", "--admin")["api_key"]
    assert keys(running, second, "revoke", FIRST_KEY_NAME) == {"revoked": FIRST_KEY_NAME}
    assert keys(running, admin_key, "list") == {"refused": "invalid_api_key", "exit": 10}
    assert [key["name"] for key in keys(running, second, "list")["keys"]] == ["second"]


def test_a_key_that_the_claim_code_would_bring_back_is_not_revoked(running: RunningBox) -> None:
    """While the activation's secrets wait, each claim puts the first key among the keys."""
    code, issued = running.claim_code, running.simulated.vendor.issue().activation_code
    first = running.post("/activation", claim_code=code, activation_code=issued).json()["api_key"]
    second = keys(running, first, "create", "second", "--admin")["api_key"]
    assert keys(running, second, "revoke", FIRST_KEY_NAME) == {"refused": "SECRETS_WAITING", "exit": 10}
    assert running.post("/activation/acknowledgement", claim_code=code).status_code == 200
    assert keys(running, second, "revoke", FIRST_KEY_NAME) == {"revoked": FIRST_KEY_NAME}


def test_a_key_has_an_end_and_its_models_are_the_boxs(running: RunningBox, admin_key: str) -> None:
    """The last day counts to its end in UTC; an administrator's has no bound, and no key begins behind its end."""
    made = keys(running, admin_key, "create", NAME, "--expires", "2100-12-31")
    assert (made["models"], made["expires"]) == (None, 4_133_980_800)
    assert models(running, made["api_key"]) == 200
    for words, refused in (
        (("--expires", "2001-01-01"), "INVALID_REQUEST"),
        (("--expires", "2100-12-31", "--admin"), "INVALID_REQUEST"),
        (("--model", "canary"), "model_not_found"),
    ):
        assert keys(running, admin_key, "create", "other", *words) == {"refused": refused, "exit": 10}
    assert keys(running, admin_key, "create", "other", "--expires", "tomorrow")["exit"] == 2
    identified = ("--fingerprint", running.fingerprint)
    listed = running.command("keys", "list", running.url, *identified, typed=f"{admin_key}\n")
    assert f"{NAME} (until 2101-01-01 00:00 UTC)" in listed.stdout


def test_people_read_names_and_minutes(running: RunningBox, admin_key: str) -> None:
    listed = running.command(
        "keys", "list", running.url, "--fingerprint", running.fingerprint, typed=f"  {admin_key}  \nmore"
    )
    assert listed.returncode == 0, listed.stderr
    assert f" UTC  admin  {FIRST_KEY_NAME}" in listed.stdout
