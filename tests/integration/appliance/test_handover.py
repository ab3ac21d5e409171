"""The secrets of an activation: whatever is lost, the claim code gives them again, until they are acknowledged."""

from __future__ import annotations

import json
from pathlib import Path

from sealwright_appliance.activation import FIRST_KEY_NAME
from sealwright_appliance.api_keys import ApiKeys
from sealwright_appliance.boot import BoxState
from sealwright_appliance.claim_counter import settle_claim
from sealwright_appliance.tpm_counters import read_counter
from sealwright_appliance.tpm_provision import open_provisioned_tpm
from sealwright_testing.running_box import NO_CODE, RunningBox, wait_until

ACTIVATION, ACKNOWLEDGEMENT = "/activation", "/activation/acknowledgement"


def activated(running: RunningBox) -> dict[str, str]:
    """Activate; the reply."""
    code = running.simulated.vendor.issue().activation_code
    reply = running.post(ACTIVATION, claim_code=running.claim_code, activation_code=code)
    assert reply.status_code == 200, reply.text
    secrets: dict[str, str] = reply.json()
    return secrets


def claim_counter(running: RunningBox) -> int:
    """Where it stands in the TPM."""
    assert running.agent.activation is not None
    with running.agent.activation.tpm_lock, open_provisioned_tpm(running.simulated.paths.tcti) as tpm:
        return read_counter(tpm.device, tpm.counters.claim)


def test_a_lost_reply_loses_nothing(running: RunningBox) -> None:
    """Asked again in the same boot, of an agent that has restarted, and of a box that serves: always the same."""
    secrets, code = activated(running), running.claim_code
    assert running.post(ACTIVATION, claim_code=code).json() == secrets
    running.start_agent(BoxState.WAITING_FOR_ACTIVATION)
    assert running.status()["state"] == "activated"
    assert running.post(ACTIVATION, claim_code=code).json() == secrets
    running.start_agent(BoxState.UNLOCKED)
    assert running.status()["state"] == "unlocked"
    assert running.status()["secrets_waiting"]
    assert running.post(ACTIVATION, claim_code=code, activation_code=NO_CODE).json() == secrets
    assert running.post(ACKNOWLEDGEMENT, claim_code=code).status_code == 200
    assert not running.status()["secrets_waiting"]
    for path in (ACTIVATION, ACKNOWLEDGEMENT):
        assert running.post(path, claim_code=code).json()["code"] == "CLAIM_SPENT"
    ApiKeys(running.simulated.paths.api_keys).require_admin(secrets["api_key"])
    assert secrets["recovery_key"] not in running.kept
    assert running.restarts == []


def test_an_old_copy_of_the_disk_brings_nothing_back(running: RunningBox) -> None:
    """From the acknowledgement on, without a restart between: a copy from before it is erased at the next unlock."""
    activated(running)
    copy, code = running.simulated.paths.claim.read_bytes(), running.claim_code
    before = claim_counter(running)
    assert running.post(ACKNOWLEDGEMENT, claim_code=code).status_code == 200
    wait_until(lambda: claim_counter(running) == before + 1)
    running.simulated.paths.claim.write_bytes(copy)
    assert running.claim.code() == code
    with open_provisioned_tpm(running.simulated.paths.tcti) as tpm:
        assert not settle_claim(tpm, running.claim, running.simulated.paths.claim_counter)
    assert running.claim.code() is None


def test_an_acknowledgement_does_not_wait_for_a_renewal(running: RunningBox) -> None:
    """One that takes long has the TPM; the customer would read that the box is starting, and the claim were spent."""
    activated(running)
    code, before, activation = running.claim_code, claim_counter(running), running.agent.activation
    assert activation is not None
    with activation.tpm_lock:
        assert running.post(ACKNOWLEDGEMENT, claim_code=code).status_code == 200
        assert running.claim.code() is None
    wait_until(lambda: claim_counter(running) == before + 1)


def test_power_that_fails_before_the_secrets_have_left_costs_nothing(running: RunningBox) -> None:
    """The identity is stored and the key's hash is not: what a power cut between the two leaves."""
    secrets, code = activated(running), running.claim_code
    running.simulated.paths.api_keys.unlink()
    running.start_agent(BoxState.UNLOCKED)
    assert running.status()["secrets_waiting"]
    assert running.post(ACKNOWLEDGEMENT, claim_code=code).json()["code"] == "NOT_HANDED_OUT"
    assert running.post(ACTIVATION, claim_code=code).json() == secrets
    ApiKeys(running.simulated.paths.api_keys).require_admin(secrets["api_key"])


def test_a_box_whose_secrets_nobody_fetches_serves(running: RunningBox) -> None:
    """It restarts by itself, and the claim stays open."""
    running.start_agent(BoxState.WAITING_FOR_ACTIVATION, restart_after_s=0.0)
    activated(running)
    wait_until(lambda: len(running.restarts) == 1)
    assert running.claim.code() is not None


def test_an_acknowledgement_restarts_the_box_once(running: RunningBox) -> None:
    """Also when the agent restarts between acknowledgement and restart of the box."""
    activated(running)
    assert running.restarts == []
    assert running.post(ACKNOWLEDGEMENT, claim_code=running.claim_code).status_code == 200
    wait_until(lambda: len(running.restarts) == 1)
    running.start_agent(BoxState.WAITING_FOR_ACTIVATION)
    wait_until(lambda: len(running.restarts) == 2)


def test_without_the_claim_code_nothing_is_given_and_nothing_erased(running: RunningBox) -> None:
    """Whoever reaches the port of an activated box; and before the activation the right code erases nothing either."""
    before = running.post(ACKNOWLEDGEMENT, claim_code=running.claim_code)
    assert before.json()["code"] == "NOT_HANDED_OUT"
    secrets = activated(running)
    for path in (ACTIVATION, ACKNOWLEDGEMENT):
        refused = running.post(path, claim_code="0000-0000-0000")
        assert refused.json()["code"] == "CLAIM_CODE_INVALID"
    with running.http() as client:
        open_to_all = client.get("/status").text + client.get("/").text
    for secret in (running.claim_code, *secrets.values()):
        if secret not in (secrets["device_id"], secrets["license_id"]):
            assert secret not in open_to_all


def test_the_command_completes_what_it_could_not_acknowledge(running: RunningBox, tmp_path: Path) -> None:
    """It has saved the secrets and then failed; the same command again finds them saved, and acknowledges."""
    secrets, file = activated(running), tmp_path / "secrets.json"
    file.write_text(json.dumps(secrets, indent=2) + "\n")
    done = running.activate(running.claim_code, NO_CODE, file)
    assert done.returncode == 0, done.stderr
    assert running.claim.code() is None


def test_the_command_says_where_the_secrets_are_when_the_box_fails(running: RunningBox, tmp_path: Path) -> None:
    """The box cannot write, so that it does not know; the same command completes it when it can."""
    file, in_the_way = tmp_path / "secrets.json", running.simulated.paths.claim.with_name(".claim.json.new")
    in_the_way.mkdir()
    code = running.claim_code
    failed = running.activate(code, running.simulated.vendor.issue().activation_code, file)
    assert failed.returncode == 1
    assert f"The secrets are in {file}" in failed.stderr
    in_the_way.rmdir()
    assert running.activate(code, NO_CODE, file).returncode == 0


def test_the_command_overwrites_no_file_and_then_erases_nothing(running: RunningBox, tmp_path: Path) -> None:
    """Another box's secrets may be in it. The box keeps its own, and another file takes them."""
    secrets, file = activated(running), tmp_path / "secrets.json"
    file.write_text("another box's")
    refused = running.activate(running.claim_code, NO_CODE, file)
    assert refused.returncode == 1
    assert "holds something else" in refused.stderr
    assert file.read_text() == "another box's"
    assert running.claim.code() is not None
    assert running.activate(running.claim_code, NO_CODE, tmp_path / "other.json").returncode == 0
    assert json.loads((tmp_path / "other.json").read_bytes()) == secrets


def test_a_folder_that_takes_no_file_is_found_out_before_anything_is_sent(running: RunningBox, tmp_path: Path) -> None:
    refused = running.activate(running.claim_code, NO_CODE, tmp_path / "none" / "secrets.json")
    assert refused.returncode == 2
    activation = running.agent.activation
    assert activation is not None
    assert len(activation.limiter) == 0


def test_the_page_shows_the_secrets_and_acknowledges_them(running: RunningBox) -> None:
    """As a browser does: forms, and the claim code goes along hidden."""
    form = {"claim_code": running.claim_code, "activation_code": running.simulated.vendor.issue().activation_code}
    with running.http() as client:
        assert 'name="activation_code"' in client.get("/").text
        shown = client.post(ACTIVATION, data=form).text
        assert running.claim.opened_with(form["claim_code"]).api_key in shown
        assert f'value="{form["claim_code"]}"' in shown
        done = client.post(ACKNOWLEDGEMENT, data={"claim_code": form["claim_code"]})
        assert "Erased" in done.text
        assert "CLAIM_SPENT" in client.post(ACKNOWLEDGEMENT, data={"claim_code": form["claim_code"]}).text
    assert ApiKeys(running.simulated.paths.api_keys).holds(FIRST_KEY_NAME)
