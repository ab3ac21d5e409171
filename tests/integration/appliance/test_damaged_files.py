"""A file on the state volume that cannot be read any more: the activated box goes on without what was in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealwright_appliance.boot import BoxState
from sealwright_testing.running_box import RunningBox


@pytest.fixture
def admin_key(running: RunningBox) -> str:
    """The box is activated; the first key."""
    code = running.simulated.vendor.issue().activation_code
    reply = running.post("/activation", claim_code=running.claim_code, activation_code=code)
    assert reply.status_code == 200, reply.text
    return str(reply.json()["api_key"])


def restart_with_damaged(running: RunningBox, file: Path) -> str:
    """Damage a file and start an agent as in the next boot; what it says."""
    assert file.exists()
    file.write_bytes(b"\xff" * 512)
    running.console.write_text("")
    running.start_agent(BoxState.UNLOCKED)
    return running.console.read_text()


def models(running: RunningBox, key: str) -> int:
    """Status of a request that needs an API key."""
    with running.http() as client:
        assert client.get("/status").json()["state"] == "unlocked"
        assert client.get("/").status_code == 200
        return client.get("/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code


def test_without_a_readable_claim_the_box_serves(running: RunningBox, admin_key: str) -> None:
    said = restart_with_damaged(running, running.simulated.paths.claim)
    assert "nobody can claim it" in said
    assert not running.status()["secrets_waiting"]
    assert models(running, admin_key) == 200


def test_without_a_readable_identity_the_box_serves_and_does_not_renew(running: RunningBox, admin_key: str) -> None:
    said = restart_with_damaged(running, running.simulated.paths.identity / "identity.json")
    assert "cannot renew" in said
    assert "cannot renew" in running.status()["renewal"]
    assert running.agent.keeper.renewal is None
    assert models(running, admin_key) == 200


def test_without_readable_api_keys_nobody_is_let_in_and_told_so(running: RunningBox, admin_key: str) -> None:
    restart_with_damaged(running, running.simulated.paths.api_keys)
    assert models(running, admin_key) == 503
