"""Conversations in a box with a TPM and a release: its domains say what is kept, the calendar how long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from sealwright_appliance.boot import BoxState
from sealwright_appliance.conversations import Conversations
from sealwright_appliance.files import write_durably
from sealwright_appliance.flows.own_domains import OwnDomains
from sealwright_appliance.flows.retention import Retention
from sealwright_appliance.release_files import keep_signed_files
from sealwright_appliance.status import BootResult, PayloadState, payload_status, release_status
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.workloads import AdapterPlan, ReleaseWorkloads
from sealwright_testing.domain_texts import domain_text, open_anywhere
from sealwright_testing.flows import domains
from sealwright_testing.laid_files import SEALS, files_of
from sealwright_testing.running_box import RunningBox, running_box
from sealwright_testing.simulated_box import SimulatedVendor

CANARY = "canary-of-a-patient-51d0"
DAY = 86_400
FINANCE = open_anywhere(domain_text("finance", "confidential", "\n[retention]\nprompts_days = 7\n"))
MEDICAL = domain_text("medical", "sealed")


@dataclass
class Box:
    """It, and whoever uses it."""

    running: RunningBox
    key: str

    @property
    def kept(self) -> Conversations:
        """The agent's."""
        found = self.running.agent.conversations
        assert found is not None
        return found

    @property
    def retention(self) -> Retention:
        """What moves the calendar on."""
        assert self.running.agent.flows is not None
        return self.running.agent.flows.retention

    def ask(self, method: str, path: str = "", model: str = "") -> httpx.Response:
        """About conversations."""
        turn = {"role": "user", "model": model, "text": CANARY}
        body = {"title": CANARY, "turns": [turn]} if model else None
        headers = {"Authorization": f"Bearer {self.key}"}
        with self.running.http() as client:
            return client.request(method, f"/conversations{path}", json=body, headers=headers)

    def restart(self, *, locked: bool = False) -> None:
        """Agent and boot as unlocking leaves them, with the release's models open; or as behind a lease's end."""
        simulated = self.running.simulated
        release = simulated.vendor.release
        state, shown = (BoxState.LOCKED, PayloadState.CLOSED) if locked else (BoxState.UNLOCKED, PayloadState.OPEN)
        boot = BootResult(
            state=state, sentence="", at=int(time.time()), release=release_status(release),
            payloads=[payload_status(one, shown) for one in release.manifest.payloads],
            tls_fingerprint=self.running.fingerprint, state_volume_open=True, domains_open=True,
        )  # fmt: skip
        write_durably(simulated.paths.boot_result, document_bytes(boot), mode=0o644)
        write_durably(simulated.paths.domain_seal_key, SEALS.key)
        files_of(simulated.paths.domain_files, *OwnDomains(simulated.paths).names())
        keep_signed_files(simulated.paths, release)
        self.running.start_agent_behind_unlock()


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedVendor]:
    """Of a release with a model whose domain keeps prompts for a week, and one whose domain is sealed."""
    made = SimulatedVendor(tmp_path_factory.mktemp("vendor"), domains(FINANCE, MEDICAL))
    with made.serving():
        yield made


@pytest.fixture
def box(vendor: SimulatedVendor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Activated."""
    with running_box(vendor, tmp_path_factory.mktemp("box")) as running:
        reply = running.post(
            "/activation", claim_code=running.claim_code, activation_code=vendor.issue().activation_code
        )
        assert reply.status_code == httpx.codes.OK, reply.text
        made = Box(running, reply.json()["api_key"])
        made.restart()
        yield made


def test_the_domains_of_the_release_say_what_is_kept(box: Box) -> None:
    """And of a sealed one nothing reaches the state volume, in no form."""
    assert box.ask("GET").json() == {"kept": {"finance": 7, "medical": 0}, "conversations": []}
    before = box.running.kept
    refused = box.ask("POST", model="medical")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "PROMPTS_NOT_KEPT")
    assert box.running.kept == before
    assert box.ask("POST", model="finance").status_code == httpx.codes.CREATED
    assert len(box.ask("GET").json()["conversations"]) == 1
    assert CANARY not in box.running.kept


def test_it_goes_by_the_calendar_of_tpm_and_service(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which a restart does not begin anew, and whose days the box's own clock does not move."""
    box.retention.look()
    path = f"/{box.ask('POST', model='finance').json()['id']}"
    service_time = box.retention.service_time()
    box.restart()
    monkeypatch.setattr(time, "time", lambda: service_time + 400.0 * DAY)
    box.retention.look()
    box.kept.look()
    monkeypatch.undo()
    assert box.ask("GET", path).status_code == httpx.codes.OK
    for day in range(8):
        assert box.ask("GET", path).status_code == httpx.codes.OK
        monkeypatch.setattr(box.retention, "service_time", lambda at=service_time + day * DAY + 3600: at)
        box.retention.look()
    assert box.ask("GET", path).status_code == httpx.codes.NOT_FOUND
    box.kept.look()
    assert list(box.kept.folder.rglob("*")) == []


def test_a_start_with_an_ended_lease_removes_no_conversation(box: Box) -> None:
    """Adapters are payloads of a start that has laid them out; their domain and days are the release's."""
    adapters = {"triage": AdapterPlan(domain="finance", base="finance", days=30)}
    plans = box.running.simulated.paths.workload_plans
    write_durably(plans, document_bytes(ReleaseWorkloads(version=1, workloads={}, adapters=adapters)))
    try:
        box.restart()
        box.retention.look()
        for model in ("finance", "triage"):
            assert box.ask("POST", model=model).status_code == httpx.codes.CREATED
        box.restart(locked=True)
        box.kept.look()
        assert [one["models"] for one in box.ask("GET").json()["conversations"]] == [["triage"], ["finance"]]
        plans.unlink()
        box.restart(locked=True)
        box.kept.look()
        assert len([path for path in box.kept.folder.rglob("*") if path.is_file()]) == 2
        box.restart()
        box.kept.look()
        assert [one["models"] for one in box.ask("GET").json()["conversations"]] == [["finance"]]
        assert len([path for path in box.kept.folder.rglob("*") if path.is_file()]) == 1
    finally:
        plans.unlink(missing_ok=True)


def test_a_domain_that_is_not_the_manifests_keeps_nothing(box: Box) -> None:
    """However many days it says."""
    file = box.running.simulated.paths.domains / "finance.json"
    content = file.read_text()
    file.write_text(content.replace('"prompts_days":7', '"prompts_days":30'))
    assert file.read_text() != content
    try:
        box.restart()
        assert box.ask("POST", model="finance").status_code == httpx.codes.BAD_GATEWAY
        assert list(box.kept.folder.rglob("*")) == []
    finally:
        file.write_text(content)


def test_before_the_activation_nothing_is_kept(
    vendor: SimulatedVendor, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """There is no key to ask with; whoever asks the agent finds no address."""
    with running_box(vendor, tmp_path_factory.mktemp("box")) as running:
        assert Box(running, "sw-" + "A" * 43).ask("POST", model="finance").status_code == httpx.codes.UNAUTHORIZED
        assert running.agent.conversations is None
