"""The lease keeper against the real service and a real TPM: renews, retries, ends, restarts."""

from __future__ import annotations

import dataclasses
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tpm2_pytss import ESAPI

from sealwright_appliance.agent import Agent, build_agent
from sealwright_appliance.boot import BoxCode, BoxState
from sealwright_appliance.boot_result import keep_status, load_boot_result
from sealwright_appliance.console import Console
from sealwright_appliance.files import write_durably
from sealwright_appliance.lease_keeper import CLOSE_TRIES, TPM_SILENT_MOST_S, Actions, LeaseKeeper
from sealwright_appliance.license_client import LicenseClient
from sealwright_appliance.renewal import Renewal
from sealwright_appliance.status import BootResult, BoxStatus, PayloadState, PayloadStatus, lease_status
from sealwright_appliance.status_board import StatusBoard
from sealwright_appliance.tpm_provision import open_provisioned_tpm
from sealwright_licensing.database import open_engine
from sealwright_licensing.records import License
from sealwright_licensing.store_sql import SqlStore
from sealwright_policies.errors import OperationError, RejectionCode
from sealwright_policies.wire.encoding import document_bytes
from sealwright_testing.noted_volumes import NotedVolumes
from sealwright_testing.running_box import wait_until
from sealwright_testing.simulated_box import SimulatedBox, SimulatedVendor, new_enrolled_box

PAYLOAD = PayloadStatus(
    payload_id="medical", kind="model", domain="medical", file_name="model.gguf", state=PayloadState.OPEN
)


@dataclass
class KeptBox:
    """A box with its keeper; what the keeper does to units and machine is noted."""

    simulated: SimulatedBox
    console: Path
    state: BoxState = BoxState.SERVING
    code: str | None = None
    max_request_s: int = 1
    stopped: list[str] = field(default_factory=list)
    restarts: list[str] = field(default_factory=list)
    stuck: int = 0
    """How many tries to stop a payload fail."""

    def __post_init__(self) -> None:
        """Wire the keeper."""
        (lease,) = self.simulated.store.load_leases()
        self.console.touch()
        boot = BootResult(
            state=BoxState.UNLOCKED if self.state is BoxState.SERVING else self.state,
            code=self.code,
            sentence="",
            at=int(time.time()),
            payloads=[PAYLOAD],
            lease=lease_status(lease).model_copy(update={"max_request_s": self.max_request_s}),
            state_volume_open=True,
        )
        board = StatusBoard(boot, Console([self.console]), time.time)
        identity = self.simulated.store.load_identity()
        assert identity is not None
        self.client = LicenseClient(self.simulated.vendor.service)
        release_id = self.simulated.vendor.release.release_id
        renewal = Renewal(self.simulated.paths, self.client, self.simulated.store, identity, release_id)
        write_durably(self.simulated.paths.boot_result, document_bytes(boot))
        actions = Actions(self.stop, lambda: self.restarts.append("restart"), self.keep_status)
        self.keeper = LeaseKeeper(board, actions, threading.Lock(), self.simulated.paths.tcti, renewal)
        self.keeper.close_pause_s = 0.0
        if self.state is BoxState.SERVING:
            board.change(BoxState.SERVING, "The models answer.")

    def keep_status(self, status: BoxStatus) -> None:
        """As the agent does."""
        keep_status(self.simulated.paths, status, self.keeper.steady())

    def stop(self, payload_id: str) -> None:
        """Note it, and fail for as long as the payload is stuck."""
        self.stopped.append(payload_id)
        if len(self.stopped) <= self.stuck:
            raise OperationError("Payload medical is not wholly closed.")

    def end_by_the_clock(self) -> PayloadStatus:
        """Let the lease end; what becomes of the payload."""
        lease = self.keeper.board.status.lease
        assert lease is not None
        with ESAPI(self.simulated.tpm.tcti) as esapi:
            esapi.clock_set(lease.clock_end_ms + 1)
        self.keeper.end_if_over()
        assert self.is_in(BoxState.ENDED)
        (payload,) = self.keeper.board.status.payloads
        return payload

    def is_in(self, state: BoxState) -> bool:
        """Whether the box is in a state."""
        return self.keeper.board.status.state is state


def test_a_renewal_goes_on_serving(connected_box: SimulatedBox, tmp_path: Path) -> None:
    """The new lease is shown, nothing is stopped, and the next contact is an interval away."""
    kept = KeptBox(connected_box, tmp_path / "console")
    before = kept.keeper.board.status.lease
    pause = kept.keeper.contact()
    after = kept.keeper.board.status.lease
    assert before is not None
    assert after is not None
    assert after.number == before.number + 1
    assert pause == after.renew_after_s
    assert kept.is_in(BoxState.SERVING)
    assert (kept.stopped, kept.restarts) == ([], [])
    assert "renewal: ok: Lease" in kept.console.read_text()


def test_a_locked_box_restarts_when_it_has_a_lease(connected_box: SimulatedBox, tmp_path: Path) -> None:
    """PCR 15 is closed in this boot; only another one can unseal."""
    kept = KeptBox(connected_box, tmp_path / "console", BoxState.LOCKED, RejectionCode.LEASE_EXPIRED)
    kept.keeper.contact()
    assert kept.restarts == ["restart"]


def test_a_box_that_no_lease_can_open_does_not_restart(connected_box: SimulatedBox, tmp_path: Path) -> None:
    """It would do so for ever."""
    kept = KeptBox(connected_box, tmp_path / "console", BoxState.LOCKED, BoxCode.PAYLOAD_CORRUPTED)
    kept.keeper.contact()
    assert kept.restarts == []


def test_revocation_ends_serving_within_one_contact(revoked_box: SimulatedBox, tmp_path: Path) -> None:
    """New requests are refused at once, running ones have their time, then the volume is closed."""
    kept = KeptBox(revoked_box, tmp_path / "console")
    kept.keeper.contact()
    assert kept.is_in(BoxState.ENDED)
    assert kept.keeper.board.status.code == RejectionCode.REVOKED
    assert kept.stopped == ["medical"]
    assert kept.keeper.board.payloads_in(PayloadState.CLOSED)
    assert "state ended: REVOKED: " in kept.console.read_text()


def test_the_end_of_a_lease_ends_serving(connected_box: SimulatedBox, tmp_path: Path) -> None:
    """By the TPM's clock, without any contact; a renewal then restarts the box."""
    kept = KeptBox(connected_box, tmp_path / "console")
    kept.keeper.end_if_over()
    assert kept.is_in(BoxState.SERVING)
    assert kept.end_by_the_clock().state is PayloadState.CLOSED
    assert kept.stopped == ["medical"]
    kept.keeper.contact()
    assert kept.restarts == ["restart"]


def test_payloads_stay_open_as_long_as_a_running_request_may_last(connected_box: SimulatedBox, tmp_path: Path) -> None:
    """New requests are refused at once; what is closed is closed only when the time of the running ones is over."""
    kept = KeptBox(connected_box, tmp_path / "console", max_request_s=3600)
    ending = threading.Thread(target=kept.end_by_the_clock)
    ending.start()
    wait_until(lambda: kept.is_in(BoxState.ENDED))
    ending.join(timeout=2)
    assert ending.is_alive()
    assert kept.stopped == []
    kept.keeper.stop.set()
    ending.join()


def test_the_status_says_how_long_the_box_may_be_used(connected_box: SimulatedBox, tmp_path: Path) -> None:
    """By the TPM's clock and ticks; the console has each level of warning once."""
    kept = KeptBox(connected_box, tmp_path / "console")
    board = kept.keeper.board
    kept.keeper.end_if_over()
    budget, lease = board.status.budget, board.status.lease
    assert budget is not None
    assert lease is not None
    assert (budget.warning, budget.level_days) == (None, None)
    with ESAPI(connected_box.tpm.tcti) as esapi:
        esapi.clock_set(lease.clock_end_ms - 6 * 86_400_000)
    for _ in range(2):
        kept.keeper.end_if_over()
    budget = board.status.budget
    assert budget is not None
    assert (budget.warning, budget.level_days) == ("LEASE_ENDS", 7)
    assert kept.console.read_text().count("warning LEASE_ENDS: ") == 1


def test_the_end_of_a_licence_that_runs_out_leaves_the_lease(vendor: SimulatedVendor, tmp_path: Path) -> None:
    """The service refuses the next lease; this one goes on to its own end."""
    box = new_enrolled_box(vendor, tmp_path / "box", "--at-end", "run-out")
    kept = KeptBox(box, tmp_path / "console")
    (lease,) = box.store.load_leases()
    store = SqlStore(open_engine(f"sqlite:///{vendor.license_directory / 'service.db'}"))
    with store.write() as transaction:
        issued = transaction.get(License, lease.license_id)
        assert issued is not None
        transaction.put(dataclasses.replace(issued, starts_at=1, expires_at=2))
    store.close()
    kept.keeper.contact()
    assert kept.is_in(BoxState.SERVING)
    assert "renewal: EXPIRED: " in kept.console.read_text()
    box.tpm.kill()


def test_a_payload_that_does_not_close_at_once_is_tried_again(connected_box: SimulatedBox, tmp_path: Path) -> None:
    """And is called closed when it is, not before."""
    kept = KeptBox(connected_box, tmp_path / "console", stuck=2)
    assert kept.end_by_the_clock().state is PayloadState.CLOSED
    assert (len(kept.stopped), kept.restarts) == (3, [])
    assert kept.console.read_text().count(f"payload medical: {BoxCode.PAYLOAD_NOT_CLOSED}: ") == 2


def test_a_payload_that_never_closes_restarts_the_box(connected_box: SimulatedBox, tmp_path: Path) -> None:
    """A restart closes everything; until then the status says that it is open."""
    kept = KeptBox(connected_box, tmp_path / "console", stuck=1000)
    payload = kept.end_by_the_clock()
    assert (payload.state, payload.code) == (PayloadState.OPEN, BoxCode.PAYLOAD_NOT_CLOSED)
    assert (len(kept.stopped), kept.restarts) == (CLOSE_TRIES, ["restart"])


def test_an_unreachable_service_stops_nothing(connected_box: SimulatedBox, tmp_path: Path) -> None:
    """The lease goes on; the pauses grow."""
    kept = KeptBox(connected_box, tmp_path / "console")
    nobody = connected_box.vendor.service.model_copy(update={"url": "https://127.0.0.1:1"})
    renewal = kept.keeper.renewal
    assert renewal is not None
    kept.keeper.renewal = Renewal(
        renewal.paths, LicenseClient(nobody), renewal.store, renewal.identity, renewal.release_id
    )
    pauses = [kept.keeper.contact() for _ in range(6)]
    assert kept.is_in(BoxState.SERVING)
    assert pauses[-1] > pauses[0]
    assert f"renewal: {BoxCode.SERVICE_UNREACHABLE}" in kept.console.read_text()


def test_an_hour_is_counted(connected_box: SimulatedBox, tmp_path: Path) -> None:
    """In the TPM."""
    kept = KeptBox(connected_box, tmp_path / "console")
    with open_provisioned_tpm(connected_box.paths.tcti) as tpm:
        before = tpm.reading().ticks
    kept.keeper.tick()
    with open_provisioned_tpm(connected_box.paths.tcti) as tpm:
        assert tpm.reading().ticks == before + 1


def test_an_hour_that_the_tpm_did_not_take_stays_due(connected_box: SimulatedBox, tmp_path: Path) -> None:
    """Or a bus that is cut for one second an hour would stop the meter."""
    keeper = KeptBox(connected_box, tmp_path / "console").keeper
    tcti, keeper.tcti = keeper.tcti, "device:/nowhere"
    assert keeper.tick_if_due(10.0, 10.0) == 10.0
    keeper.tcti = tcti
    assert keeper.tick_if_due(10.0, 10.0) > 10.0


def test_a_silent_tpm_ends_serving(connected_box: SimulatedBox, tmp_path: Path) -> None:
    """After a while, in which it may come back."""
    kept = KeptBox(connected_box, tmp_path / "console")
    started = kept.keeper.steady()
    kept.keeper.end_if_over()
    kept.keeper.tcti = "device:/nowhere"
    kept.keeper.end_if_over()
    assert kept.is_in(BoxState.SERVING)
    kept.keeper.steady = lambda: started + TPM_SILENT_MOST_S + 60
    kept.keeper.end_if_over()
    assert kept.is_in(BoxState.ENDED)
    assert kept.keeper.board.status.code == BoxCode.TPM
    assert kept.stopped == ["medical"]


def test_a_tpm_reset_behind_the_back_does_not_stop_the_lease(connected_box: SimulatedBox, tmp_path: Path) -> None:
    """It takes the TPM's clock to its last value in NV; the kernel's goes on."""
    kept = KeptBox(connected_box, tmp_path / "console")
    kept.keeper.end_if_over()
    lease = kept.keeper.board.status.lease
    assert lease is not None
    started = kept.keeper.steady()
    with open_provisioned_tpm(connected_box.paths.tcti) as tpm:
        left_s = (lease.clock_end_ms - tpm.device.read_clock().clock_ms) / 1000
    kept.keeper.steady = lambda: started + left_s + 60
    kept.keeper.end_if_over()
    assert kept.is_in(BoxState.ENDED)
    assert kept.keeper.board.status.code == RejectionCode.LEASE_EXPIRED


@pytest.mark.parametrize("locked", [True, False])
def test_the_loop_ends_when_it_is_told(connected_box: SimulatedBox, tmp_path: Path, *, locked: bool) -> None:
    """And it has made its first contact if the box was locked."""
    state = BoxState.LOCKED if locked else BoxState.SERVING
    kept = KeptBox(connected_box, tmp_path / "console", state, RejectionCode.LEASE_EXPIRED if locked else None)
    if locked:
        kept.keeper.board.set_lease(lease_status(connected_box.store.load_leases()[0]))
    thread = threading.Thread(target=kept.keeper.run)
    thread.start()
    kept.keeper.stop.set()
    thread.join(timeout=60)
    assert not thread.is_alive()


def restarted_agent(kept: KeptBox) -> Agent:
    """An agent that starts anew in this boot; what it would close and restart is noted with the rest."""
    paths = kept.simulated.paths
    agent = build_agent(paths, Console([kept.console]), NotedVolumes([]))
    agent.keeper.actions = dataclasses.replace(
        agent.keeper.actions, stop_payload=kept.stopped.append, restart=lambda: kept.restarts.append("restart")
    )
    return agent


def test_an_agent_that_restarts_while_serving_ends_goes_on_ending(revoked_box: SimulatedBox, tmp_path: Path) -> None:
    """It says so from its start, and closes when the first would have; a third has nothing to do."""
    kept = KeptBox(revoked_box, tmp_path / "console", max_request_s=3600)
    first = threading.Thread(target=kept.keeper.contact, daemon=True)
    first.start()
    wait_until(lambda: load_boot_result(revoked_box.paths).state is BoxState.ENDED)

    second = restarted_agent(kept)
    assert second.board.status.state is BoxState.ENDED
    assert second.board.status.code == RejectionCode.REVOKED
    assert kept.stopped == []
    second.keeper.steady = lambda: time.monotonic() + 3600
    second.start()
    wait_until(lambda: bool(load_boot_result(revoked_box.paths).payloads[0].state is PayloadState.CLOSED))
    second.stop()
    assert kept.stopped == ["medical"]

    third = restarted_agent(kept)
    third.keeper.stop.set()
    third.keeper.run()
    assert kept.stopped == ["medical"]


def test_an_agent_that_restarts_lives_on_the_renewed_lease(connected_box: SimulatedBox, tmp_path: Path) -> None:
    """Not on that of the boot, which may have ended since."""
    kept = KeptBox(connected_box, tmp_path / "console")
    kept.keeper.contact()
    renewed = kept.keeper.board.status.lease
    assert renewed is not None
    agent = restarted_agent(kept)
    assert agent.board.status.lease == renewed
    assert agent.board.status.state is BoxState.UNLOCKED
