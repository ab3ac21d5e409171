"""Metering over a real TPM and a real service: reports, kills on both sides, rolled-back volumes, forgeries."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tpm2_pytss import ESAPI
from tpm2_pytss.constants import ESYS_TR, TPM2_ALG
from tpm2_pytss.types import TPM2B_MAX_BUFFER, TPMT_SIG_SCHEME

from sealwright_appliance.boot import BoxState
from sealwright_appliance.console import Console
from sealwright_appliance.license_client import DeniedError, LicenseClient, ServiceUnreachableError
from sealwright_appliance.log_lines import Event, Trouble
from sealwright_appliance.metering import meter_store
from sealwright_appliance.metering.meter_keeper import DEFAULT_REPORT_EVERY_S, MeterKeeper
from sealwright_appliance.metering.reporting import Reporting, make_report
from sealwright_appliance.renewal import Renewal, renew
from sealwright_appliance.status import BootResult, PayloadState, PayloadStatus, lease_status
from sealwright_appliance.status_board import StatusBoard
from sealwright_appliance.tpm_keys import attestation_key
from sealwright_appliance.tpm_provision import open_provisioned_tpm
from sealwright_policies.errors import FormatError, RejectionCode
from sealwright_policies.metering.report import MeteringReport
from sealwright_policies.wire.messages import Attestation
from sealwright_testing.metered_box import MeteredBox
from sealwright_testing.ports import free_port
from sealwright_testing.running_box import wait_until
from sealwright_testing.simulated_box import SimulatedBox, SimulatedVendor

SERVICE_THAT_DIES = """
import os, signal, sys
from sealwright_licensing import cli, metering

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[1] == "before the commit":
    metering._raise_alarms = die
else:
    metering._acknowledged = die
cli.main(["serve", sys.argv[2], "--host", "127.0.0.1", "--port", sys.argv[3]])
"""


@pytest.fixture(scope="module")
def box(vendor: SimulatedVendor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeteredBox]:
    """One box for all tests, whose chain goes on from test to test."""
    made = new_box(vendor, tmp_path_factory.mktemp("metered") / "box")
    with made.renewal() as renewal:
        yield MeteredBox(made, renewal)
    made.tpm.kill()


@pytest.fixture
def metered(box: MeteredBox) -> MeteredBox:
    """It has reported everything."""
    box.report_all()
    box.note()
    return box


def new_box(vendor: SimulatedVendor, directory: Path) -> SimulatedBox:
    """Enrolled and up."""
    made = SimulatedBox.manufacture(vendor, directory)
    made.boot()
    made.go_up()
    made.enroll(vendor.issue().activation_code)
    return made


# --- the honest way ---------------------------------------------------------------------------------------------------


def test_what_was_served_is_reported_over_boots_and_renewals(metered: MeteredBox) -> None:
    """Receipts of two boots, two renewals in between; nothing waits at the end, and nothing is odd."""
    metered.serve_and_close()
    with open_provisioned_tpm(metered.simulated.paths.tcti) as tpm:
        renew(metered.renewal, tpm)
    assert metered.report_all() == 1
    metered.simulated.boot()
    metered.simulated.go_up()
    metered.renewal = Renewal(metered.simulated.paths, *_rest(metered.renewal))
    metered.start()
    metered.serve_and_close()
    metered.serve_and_close()
    with open_provisioned_tpm(metered.simulated.paths.tcti) as tpm:
        renew(metered.renewal, tpm)
    assert metered.report_all() == 2
    assert metered.meter.waiting() == 0
    assert (metered.requests(), metered.alarms()) == (3, [])
    (alias,) = {one["alias"] for one in metered.shown()["usage"]} - {""}
    assert alias.startswith("key-")


def _rest(renewal: Renewal) -> tuple[Any, ...]:
    return renewal.client, renewal.store, renewal.identity, renewal.release_id


def test_a_lease_nonce_that_is_gone_is_no_obstacle(metered: MeteredBox) -> None:
    """The leases are lost; a nonce for reports is had from the service."""
    leases = metered.simulated.paths.leases
    leases.rename(leases.with_name("aside"))
    metered.serve_and_close()
    assert metered.report_all() == 1
    leases.with_name("aside").rename(leases)


def test_a_report_sent_again_by_anybody_changes_nothing(metered: MeteredBox) -> None:
    """Byte for byte, also after the box went on."""
    metered.serve_and_close()
    with open_provisioned_tpm(metered.simulated.paths.tcti) as tpm:
        recorded = make_report(metered.renewal, tpm, metered.meter.export())
    metered.report_all()
    metered.renewal.client.report(recorded)
    metered.serve_and_close()
    metered.report_all()
    metered.renewal.client.report(recorded)
    assert (metered.requests(), metered.alarms()) == (2, [])


def test_two_boxes_report_for_themselves_alone(metered: MeteredBox, vendor: SimulatedVendor, tmp_path: Path) -> None:
    """Each has its own chain; one with the other's receipts is refused, whoever's name it takes."""
    other = new_box(vendor, tmp_path / "other")
    metered.serve_and_close()
    with other.renewal() as renewal:
        second = MeteredBox(other, renewal)
        second.serve_and_close()
        with open_provisioned_tpm(other.paths.tcti) as tpm:
            foreign = make_report(renewal, tpm, metered.meter.export())
        posing = foreign.model_copy(
            update={
                "device_id": metered.renewal.identity.device_id,
                "license_id": metered.renewal.identity.license_id,
            }
        )
        assert refused(renewal.client, foreign) == RejectionCode.METERING_CHAIN
        assert refused(renewal.client, posing) == RejectionCode.NONCE_INVALID
        second.report_all()
        assert (second.requests(), metered.requests()) == (1, 0)
    other.tpm.kill()


def refused(client: LicenseClient, report: MeteringReport) -> str:
    """The code with which the service refuses a report."""
    with pytest.raises(DeniedError) as caught:
        client.report(report)
    return caught.value.code


def test_the_keeper_counts_time_and_reports_behind_a_renewal(metered: MeteredBox, tmp_path: Path) -> None:
    """Its own look closes and reports what the gateway has counted; the status says so."""
    lease = metered.simulated.store.load_leases()[-1]
    payload = PayloadStatus(
        payload_id="medical", kind="model", domain="medical", file_name="m.gguf", state=PayloadState.SERVING
    )
    boot = BootResult(state=BoxState.UNLOCKED, sentence="", at=0, payloads=[payload], lease=lease_status(lease))
    board = StatusBoard(boot, Console(()), lambda: 0.0)
    board.change(BoxState.SERVING, "The models answer.")
    now = [1000.0]
    keeper = MeterKeeper(board, metered.reporting, steady=lambda: now[0])
    keeper.start()
    served_ms = metered.lease_ms()
    metered.meter.take(metered.batch())
    now[0] += 30
    keeper.look()
    assert metered.requests() == 0
    with open_provisioned_tpm(metered.simulated.paths.tcti) as tpm:
        renewed = renew(metered.renewal, tpm)
    assert renewed is not None
    board.set_lease(lease_status(renewed))
    now[0] += 30
    keeper.look()
    assert board.status.metering == "ok: 1 receipts acknowledged, 0 wait."
    assert metered.requests() == 1
    assert metered.lease_ms() == served_ms + 60_000


def test_the_keeper_reports_when_it_is_asked_to(metered: MeteredBox) -> None:
    """At its next look, once; the next report is due as if it had been due by itself."""
    board = StatusBoard(BootResult(state=BoxState.LOCKED, sentence="", at=0, payloads=[]), Console(()), lambda: 0.0)
    keeper = MeterKeeper(board, metered.reporting, steady=lambda: 1000.0)
    keeper.start()
    metered.serve_and_close()
    keeper.look()
    assert metered.requests() == 0
    keeper.report_soon()
    keeper.look()
    assert metered.requests() == 1
    metered.serve_and_close()
    keeper.look()
    assert metered.requests() == 1


def test_trouble_with_flows_is_not_told_as_trouble_with_metering(
    metered: MeteredBox, caplog: pytest.LogCaptureFixture
) -> None:
    """It stands in the journal, and the next report comes sooner."""

    def damaged() -> None:
        raise FormatError("Records of flows are not under their numbers.")

    board = StatusBoard(BootResult(state=BoxState.LOCKED, sentence="", at=0, payloads=[]), Console(()), lambda: 0.0)
    keeper = MeterKeeper(board, metered.reporting, flows=damaged)
    metered.serve_and_close()
    assert keeper.report() < DEFAULT_REPORT_EVERY_S
    assert board.status.metering == "ok: 1 receipts acknowledged, 0 wait."
    assert [one.msg for one in caplog.records] == [Trouble(Event.FLOWS_UNREPORTED, FormatError)]


def test_a_service_that_is_not_there_keeps_receipts_and_nothing_else(metered: MeteredBox) -> None:
    nobody = metered.simulated.vendor.service.model_copy(update={"url": f"https://127.0.0.1:{free_port()}"})
    away = Renewal(metered.renewal.paths, LicenseClient(nobody), *_rest(metered.renewal)[1:])
    board = StatusBoard(BootResult(state=BoxState.LOCKED, sentence="", at=0, payloads=[]), Console(()), lambda: 0.0)
    keeper = MeterKeeper(board, Reporting(away, metered.meter, threading.Lock(), metered.simulated.paths.tcti))
    metered.serve_and_close()
    assert [keeper.report() for _ in range(5)][-1] > 60
    assert board.status.metering.startswith("METERING: The licence service does not answer")
    with open_provisioned_tpm(metered.simulated.paths.tcti) as tpm:
        assert renew(metered.renewal, tpm) is not None
    assert metered.report_all() == 1


# --- kill -9 ----------------------------------------------------------------------------------------------------------


def die_at(step: int) -> None:
    """In a child: be killed at the step-th change of the disk or exchange with the service, before it or behind it."""
    left = [step]

    def around(real: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **named: Any) -> Any:
            _count_down(left)
            result = real(*arguments, **named)
            _count_down(left)
            return result

        return watched

    for name in ("write_durably", "remove_durably"):
        setattr(meter_store, name, around(getattr(meter_store, name)))
    LicenseClient.report = around(LicenseClient.report)  # type: ignore[method-assign]


def _count_down(left: list[int]) -> None:
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)


STEPS = 11
"""Batch, receipt, journal, report, removal: killed before and behind each. At the last step nothing is left to kill."""


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_a_box_that_is_killed_counts_once(metered: MeteredBox, step: int) -> None:
    """The same gateway sends the batch again to the next agent, which goes on from whatever is on the disk."""
    batch = metered.batch()

    def run() -> None:
        die_at(step)
        metered.renewal = Renewal(metered.renewal.paths, LicenseClient(metered.simulated.vendor.service),
                                  *_rest(metered.renewal)[1:])  # fmt: skip
        metered.meter.take(batch)
        metered.reporting.close_interval()
        metered.reporting.report()

    child = multiprocessing.get_context("fork").Process(target=run)
    child.start()
    child.join()
    assert child.exitcode == (-signal.SIGKILL if step < STEPS else 0)
    metered.start()
    metered.meter.take(batch)
    metered.report_all()
    metered.reporting.close_interval()
    metered.report_all()
    assert (metered.requests(), metered.alarms()) == (1, [])


@contextmanager
def dying_service(vendor: SimulatedVendor, when: str) -> Iterator[LicenseClient]:
    """A second process on the same database, which kills itself in its first report."""
    port = free_port()
    argv = [sys.executable, "-c", SERVICE_THAT_DIES, when, str(vendor.license_directory), str(port)]
    with (vendor.directory / "dying.log").open("ab") as log:
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    wait_until(lambda: "serving https://" in str(process.stdout and process.stdout.readline()))
    client = LicenseClient(vendor.service.model_copy(update={"url": f"https://127.0.0.1:{port}"}))
    try:
        yield client
        assert process.wait() == -signal.SIGKILL
    finally:
        client.close()
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("when", ["before the commit", "behind the commit"])
def test_a_service_that_is_killed_counts_once(metered: MeteredBox, vendor: SimulatedVendor, when: str) -> None:
    """It has stored all of the report or nothing; the box hears nothing and asks again."""
    metered.serve_and_close()
    with dying_service(vendor, when) as client:
        dying = Reporting(
            Renewal(metered.renewal.paths, client, *_rest(metered.renewal)[1:]),
            metered.meter,
            threading.Lock(),
            metered.simulated.paths.tcti,
        )
        with pytest.raises(ServiceUnreachableError):
            dying.report()
    assert metered.requests() == (0 if when == "before the commit" else 1)
    assert metered.meter.waiting() == 1
    metered.report_all()
    assert (metered.requests(), metered.alarms()) == (1, [])


# --- attacks ----------------------------------------------------------------------------------------------------------


@pytest.mark.redteam
def test_a_state_volume_that_was_put_back_is_an_alarm_and_both_histories_are_kept(metered: MeteredBox) -> None:
    """The owner copies the volume, lets the box serve and report, and puts the copy back."""
    folder = metered.simulated.paths.metering
    metered.serve_and_close()
    metered.report_all()
    shutil.copytree(folder, folder.with_name("copy"))
    metered.serve_and_close()
    metered.report_all()
    shutil.rmtree(folder)
    folder.with_name("copy").rename(folder)
    metered.gateway, metered.batches = "cd" * 16, 0  # it was started again with the box
    metered.start()
    metered.serve_and_close()
    metered.report_all()
    metered.serve_and_close()
    metered.report_all()
    assert (metered.requests(), metered.alarms()) == (2, ["METERING_FORK"])
    metered.settle()
    metered.serve_and_close()
    metered.report_all()
    assert (metered.requests(), metered.alarms()) == (5, ["METERING_FORK"])


def test_receipts_that_vanish_are_an_alarm(metered: MeteredBox) -> None:
    metered.serve_and_close()
    metered.report_all()
    metered.serve_and_close()
    (lost,) = (metered.simulated.paths.metering / "receipts").iterdir()
    lost.unlink()
    metered.serve_and_close()
    metered.report_all()
    assert (metered.requests(), metered.alarms()) == (2, ["METERING_GAP"])


def test_a_wiped_meter_is_an_alarm(metered: MeteredBox) -> None:
    """A chain begins anew, and no enrolment came between."""
    metered.serve_and_close()
    metered.report_all()
    shutil.rmtree(metered.simulated.paths.metering)
    metered.start()
    metered.serve_and_close()
    metered.report_all()
    assert (metered.requests(), metered.alarms()) == (1, ["METERING_FORK"])
    metered.settle()
    assert metered.requests() == 2


def test_a_head_that_tpm2_sign_signed_is_refused(metered: MeteredBox) -> None:
    """A live system can have the real AK sign anything but what begins with the TPM's magic."""
    metered.serve_and_close()
    tcti = metered.simulated.paths.tcti
    with open_provisioned_tpm(tcti) as tpm:
        report = make_report(metered.renewal, tpm, metered.meter.export())
        attest = bytes(report.evidence.quote.attest)
        with attestation_key(tpm.device) as ak:
            forged = tpm2_sign(tpm.device.esapi, ak.handle, b"\0" + attest[1:])
    evidence = report.evidence.model_copy(update={"quote": forged})
    forgery = report.model_copy(update={"evidence": evidence})
    assert refused(metered.renewal.client, forgery) == RejectionCode.NOT_TPM_GENERATED
    assert metered.requests() == 0


def tpm2_sign(esapi: ESAPI, key: ESYS_TR, content: bytes) -> Attestation:
    """TPM2_Hash, whose ticket says that the content is not the TPM's own form, and TPM2_Sign."""
    digest, ticket = esapi.hash(TPM2B_MAX_BUFFER(content), TPM2_ALG.SHA256, ESYS_TR.ENDORSEMENT)
    signature = esapi.sign(key, digest, TPMT_SIG_SCHEME(scheme=TPM2_ALG.NULL), ticket)
    return Attestation(attest=content, signature=signature.marshal())


def test_a_receipt_that_was_changed_on_the_disk_is_refused(metered: MeteredBox) -> None:
    """The box attests what it finds; the chain of digests does not hold."""
    metered.serve_and_close()
    metered.serve_and_close()
    first = min((metered.simulated.paths.metering / "receipts").iterdir())
    honest = first.read_bytes()
    first.write_bytes(honest.replace(b'"requests":1', b'"requests":0'))
    receipts = metered.meter.store.receipts()
    with open_provisioned_tpm(metered.simulated.paths.tcti) as tpm:
        report = make_report(metered.renewal, tpm, receipts)
    assert refused(metered.renewal.client, report) == RejectionCode.METERING_CHAIN
    first.write_bytes(honest)
