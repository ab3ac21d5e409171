"""Activation as a customer does it: the command, the gateway over TLS, the agent's socket, the service, the TPM."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from sealwright_appliance.api_keys import ApiKeys
from sealwright_appliance.attempt_limiter import CLAIMS_OF_PEER
from sealwright_appliance.boot import BoxState
from sealwright_testing.running_box import NO_CODE, SECRETS, RunningBox, wait_until


def test_a_customer_activates_the_box(running: RunningBox, tmp_path: Path) -> None:
    """One command: the box is enrolled, its secrets are saved and erased, and it restarts."""
    code, file = running.claim_code, tmp_path / "secrets.json"
    done = running.activate(code.lower(), running.simulated.vendor.issue().activation_code, file)
    assert done.returncode == 0, done.stderr
    saved = json.loads(file.read_bytes())
    assert file.stat().st_mode & 0o777 == 0o600
    assert saved["customer_key_pem"] == SECRETS.customer_key_pem
    assert saved["recovery_key"] == SECRETS.recovery_key
    assert saved["api_key"].startswith("sw-")
    assert running.simulated.store.load_identity() is not None
    assert len(running.simulated.store.load_leases()) == 1
    wait_until(lambda: len(running.restarts) == 1)
    said = running.console.read_text()
    assert said.index("state activated: ") < said.index("secrets acknowledged and erased")
    assert running.claim.code() is None
    for secret in (saved["api_key"], saved["recovery_key"], "BEGIN PRIVATE KEY-----\ncustomer"):
        assert secret not in running.kept + done.stdout + done.stderr
    ApiKeys(running.simulated.paths.api_keys).require_admin(saved["api_key"])
    again = running.activate(code, NO_CODE, tmp_path / "again.json")
    assert again.returncode == 10
    assert "CLAIM_SPENT" in again.stderr


def test_a_wrong_claim_code_activates_nothing(running: RunningBox) -> None:
    """Refused before the service hears of it; and who asks too often is refused for that."""
    with running.http() as client:
        wrong = {"claim_code": "0000-0000-0000", "activation_code": NO_CODE}
        codes = [client.post("/activation", json=wrong).json()["code"] for _ in range(16)]
    assert set(codes) == {"CLAIM_CODE_INVALID", "RATE_LIMITED"}
    assert codes.count("CLAIM_CODE_INVALID") >= CLAIMS_OF_PEER.at_once
    assert running.simulated.store.load_identity() is None
    assert running.claim.code() is not None


@pytest.mark.parametrize("path", ["/activation", "/activation/acknowledgement"])
def test_what_json_can_say_and_nothing_can_pass_on_is_refused(running: RunningBox, path: str) -> None:
    """By anybody, without a code; each was answered with a bare 500."""
    deep = "[" * 900 + "]" * 900
    for value in ("NaN", "1e999", r'"\ud800"', deep, "null", "[]", '"' + "A" * 65 + '"'):
        for body in (f'{{"claim_code": {value}}}', f'{{"claim_code": "0000-0000-0000", "other": {value}}}'):
            with running.http() as client:
                reply = client.post(path, content=body)
            assert 400 <= reply.status_code < 500, (body, reply.text)
            assert reply.json()
    assert running.claim.code() is not None


def test_one_that_guesses_does_not_keep_the_customer_out(running: RunningBox) -> None:
    """Nor does it help to name another address: only the network's word counts."""
    wrong = {"claim_code": "0000-0000-0000", "activation_code": NO_CODE}
    with running.http("127.0.0.1") as stranger:  # whose headers servers like to believe
        while stranger.post("/activation", json=wrong).status_code != 429:
            pass
        for number in range(3):
            other = f"192.0.2.{number}"
            headers = {"X-Forwarded-For": other, "Forwarded": f"for={other}", "X-Real-IP": other}
            assert stranger.post("/activation", json=wrong | {"peer": other}, headers=headers).status_code == 429
    with running.http("127.0.0.2") as customer:
        asked = {"claim_code": running.claim_code, "activation_code": NO_CODE}
        assert customer.post("/activation", json=asked).json()["code"] == "ACTIVATION_CODE_INVALID"


def test_a_wrong_activation_code_is_told_and_the_claim_stays(running: RunningBox, tmp_path: Path) -> None:
    """The service's code comes through; the box can be activated afterwards."""
    code = running.claim_code
    refused = running.activate(code, NO_CODE, tmp_path / "secrets.json")
    assert refused.returncode == 10
    assert "ACTIVATION_CODE_INVALID" in refused.stderr
    assert not list(tmp_path.glob("*secrets*"))
    assert running.claim.code() == code
    assert running.agent.board.status.state is BoxState.WAITING_FOR_ACTIVATION


def test_nothing_is_sent_to_a_box_with_another_fingerprint(running: RunningBox, tmp_path: Path) -> None:
    """Somebody in between shows another certificate: the codes stay with the customer."""
    secrets = tmp_path / "secrets.json"
    refused = running.activate(running.claim_code, NO_CODE, secrets, fingerprint="sha256:" + "ab" * 32)
    assert refused.returncode == 10
    assert "Nothing was sent" in refused.stderr
    activation = running.agent.activation
    assert activation is not None
    assert len(activation.limiter) == 0


def test_status_says_that_the_box_waits(running: RunningBox) -> None:
    """Without a key."""
    status = running.command("status", running.url, "--fingerprint", running.fingerprint)
    assert status.returncode == 0
    assert "waiting-for-activation" in status.stdout


def test_the_agent_answers_on_its_socket(running: RunningBox) -> None:
    """Status and key hashes for the gateway; a name is given once."""
    transport = httpx.HTTPTransport(uds=str(running.simulated.paths.agent_socket))
    with httpx.Client(transport=transport, base_url="http://agent") as client:
        assert client.get("/status").json()["state"] == "waiting-for-activation"
        api_keys = ApiKeys(running.simulated.paths.api_keys)
        admin, other = api_keys.create("first", admin=True), api_keys.create("other", admin=False)
        for shown in ("", other):  # whatever the gateway says it has checked
            for method in ("POST", "DELETE"):
                refused = client.request(method, "/api-keys", json={"name": "other", "admin_key": shown})
                assert (refused.status_code, refused.json()["code"]) == (403, "ADMIN_KEY_REQUIRED")
        asked = {"name": "colleague", "admin_key": admin}
        created = client.post("/api-keys", json=asked).json()
        keys = client.get("/api-keys").json()["keys"]
        assert [key["name"] for key in keys] == ["first", "other", "colleague"]
        assert created["api_key"] not in json.dumps(keys)
        taken = client.post("/api-keys", json=asked)
        assert taken.status_code == 400
        assert taken.headers["content-type"] == "application/problem+json"
        assert client.post("/api-keys", json=asked | {"name": "x", "sha256": "0" * 64}).status_code == 400
    assert running.simulated.paths.agent_socket.stat().st_mode & 0o777 == 0o660
