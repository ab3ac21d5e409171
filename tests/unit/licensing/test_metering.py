"""Metering reports at the service: what is believed, what counts, once; months, exports, the operator's word."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pyarrow import parquet

from sealwright_licensing import cli, journal
from sealwright_licensing.decision_limit import DecisionLimit
from sealwright_licensing.metering import MeteringService
from sealwright_licensing.metering_export import COLUMNS, ExportFormat, export_usage
from sealwright_licensing.metering_records import MeteringUsage
from sealwright_licensing.metering_reports import UsageQuery, totals, usage_lines
from sealwright_licensing.nonces import LIFETIME_S, StatelessNonces
from sealwright_licensing.operations.devices import retire_device
from sealwright_licensing.operations.licenses import revoke_license
from sealwright_licensing.records import Decision, LogQueueItem
from sealwright_policies.errors import FormatError, RejectionCode
from sealwright_policies.metering.receipt import ModelUsage
from sealwright_policies.metering.report import verify_acknowledgement
from sealwright_policies.wire.messages import Purpose
from sealwright_testing.denials import denied
from sealwright_testing.evidence_factory import NOW
from sealwright_testing.license_world import OPERATOR
from sealwright_testing.metered import NUMBERS, Metered, forked
from sealwright_testing.metering import PARTITION, make_report, usage_row


def test_a_report_is_acknowledged_and_counted(metered: Metered) -> None:
    first, second = metered.writer.next(), metered.writer.next(rows=[usage_row("key-b", requests=3)])
    told = metered.report(first, second)
    assert (told.sequence, told.digest, told.findings) == (2, second.digest, [])
    assert totals(metered.world.store.engine, metered.query, "alias") == {
        ("",): {"requests": 0, "prompt_tokens": 0, "completion_tokens": 0, "busy_ms": 0, "lease_ms": 7_200_000},
        ("key-a",): {"requests": 1, "prompt_tokens": 10, "completion_tokens": 5, "busy_ms": 1000, "lease_ms": 0},
        ("key-b",): {"requests": 3, "prompt_tokens": 10, "completion_tokens": 5, "busy_ms": 1000, "lease_ms": 0},
    }


def test_what_is_reported_again_counts_once(metered: Metered) -> None:
    """Lost replies: the same message, the same receipts anew, and with further ones."""
    first = metered.writer.next()
    nonce = metered.nonce()
    told = metered.report(first, nonce=nonce)
    assert metered.report(first, nonce=nonce) == told
    assert metered.report(first) == told
    metered.report(first, metered.writer.next())
    metered.report(*metered.writer.receipts)
    assert metered.requests() == 2
    assert metered.stored() == 2
    assert metered.alarm_codes() == []


def test_what_looked_like_copying_is_an_alarm_and_counts(metered: Metered) -> None:
    """Told the operator once; what was used is not disputed for it."""
    copied = ModelUsage(model="medical", partition_id=PARTITION, lease_ms=0, copying_alarms=2)
    receipt = metered.writer.next(models=[copied])
    for _ in range(2):
        metered.report(receipt)
    assert metered.alarm_codes() == ["METERING_COPYING"]
    assert metered.requests() == 1


def entries(metered: Metered) -> int:
    """Entries that wait for the log."""
    with metered.world.store.read() as transaction:
        return transaction.count(LogQueueItem)


def test_a_report_that_is_sent_again_writes_nothing(metered: Metered) -> None:
    first, nonce = metered.writer.next(), metered.nonce()
    metered.report(first, nonce=nonce)
    before = entries(metered)
    metered.world.now += 60
    metered.report(first, nonce=nonce)
    assert entries(metered) == before


def test_denials_of_a_day_are_counted_and_push_no_enrolment_out(
    metered: Metered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "MOST_PER_DEVICE", 3)
    monkeypatch.setattr(journal, "KEPT_PER_DEVICE", 2)
    world, receipt = metered.world, metered.writer.next()
    service = MeteringService(world.store, world.keys, StatelessNonces(world.keys.nonce), DecisionLimit(6))

    def put_back() -> object:
        metered.world.now += 1
        made = make_report(metered.box.device, metered.box.license_.license_id, metered.nonce(), [receipt], ticks=0)
        return service.report(made, now=metered.world.now)

    for _ in range(6):
        denied(RejectionCode.ROLLED_BACK, put_back)
    before = entries(metered)
    denied(RejectionCode.RATE_LIMITED, put_back)
    assert entries(metered) == before + 1, "as of a stranger"
    assert 2 <= len(metered.denials()) <= 3
    with metered.world.store.read() as transaction:
        assert transaction.count(Decision, purpose="enroll", device_id=metered.box.device.device_id) == 1


def test_the_nonce_of_the_lease_is_good_for_reports_as_long_as_it_lasts(metered: Metered) -> None:
    nonce = metered.box.lease.next_nonce
    metered.report(metered.writer.next(), nonce=nonce)
    metered.report(metered.writer.next(), nonce=nonce)
    metered.box.renew()
    metered.box.renew()
    denied(RejectionCode.NONCE_INVALID, lambda: metered.report(metered.writer.next(), nonce=nonce))


def test_other_nonces_are_denied(metered: Metered) -> None:
    """Made up, too old, or given for a renewal."""
    receipt = metered.writer.next()
    renewal, old = metered.box.nonce(), metered.nonce()
    denied(RejectionCode.NONCE_INVALID, lambda: metered.report(receipt, nonce=bytes(32)))
    denied(RejectionCode.NONCE_INVALID, lambda: metered.report(receipt, nonce=renewal))
    metered.box.pass_time(LIFETIME_S + 1)
    denied(RejectionCode.NONCE_INVALID, lambda: metered.report(receipt, nonce=old))
    assert metered.requests() == 0


def test_a_nonce_for_reports_renews_nothing(metered: Metered) -> None:
    denied(RejectionCode.NONCE_INVALID, lambda: metered.box.ask(metered.nonce()))


def test_evidence_that_does_not_carry_the_head_is_denied(metered: Metered) -> None:
    """The quote of a renewal, taken for a report: the payload is not in what the TPM signed."""
    receipt = metered.writer.next()
    denied(RejectionCode.QUALIFYING_DATA_MISMATCH, lambda: metered.report(receipt, purpose=Purpose.RENEW))
    assert metered.requests() == 0


def test_a_head_signed_by_tpm2_sign_is_denied(metered: Metered) -> None:
    """Anything on the machine can sign with the AK: only what begins with the TPM's own magic is the TPM's word."""
    receipt = metered.writer.next()
    honest = make_report(metered.box.device, metered.box.license_.license_id, metered.nonce(), [receipt])
    forged = metered.box.device.ak.sign(b"\0" + bytes(honest.evidence.quote.attest)[1:])
    report = honest.model_copy(update={"evidence": honest.evidence.model_copy(update={"quote": forged})})
    denied(RejectionCode.NOT_TPM_GENERATED, lambda: metered.service.report(report, now=metered.world.now))
    assert metered.stored() == 0


def test_a_report_of_another_device_is_denied(metered: Metered) -> None:
    """Two boxes of one customer: neither can report for the other, nor hand it its own receipts."""
    other = metered.world.device(next(NUMBERS))
    _, (code,) = metered.world.issue()
    metered.world.enroll(other, code)
    receipt = metered.writer.next()
    foreign = make_report(other, metered.box.license_.license_id, metered.nonce(other), [receipt])
    denied(RejectionCode.METERING_CHAIN, lambda: metered.service.report(foreign, now=metered.world.now))
    posing = foreign.model_copy(update={"device_id": metered.box.device.device_id, "nonce": metered.nonce()})
    denied(RejectionCode.SIGNATURE_INVALID, lambda: metered.service.report(posing, now=metered.world.now))
    assert metered.requests() == 0


def test_a_tpm_that_was_put_back_reports_nothing(metered: Metered) -> None:
    receipt = metered.writer.next()
    metered.box.renew()
    denied(RejectionCode.ROLLED_BACK, lambda: metered.report(receipt, ticks=0))


def test_a_receipt_from_the_future_is_denied(metered: Metered) -> None:
    """Its points are the TPM's own, so none lies behind what the TPM shows now."""
    receipt = metered.writer.next(hours=49)
    denied(RejectionCode.METERING_CHAIN, lambda: metered.report(receipt))
    assert metered.denials() == ["METERING_CHAIN"]


def test_strangers_write_nothing_into_a_devices_journal(metered: Metered) -> None:
    receipt = metered.writer.next()
    report = make_report(metered.box.device, metered.box.license_.license_id, bytes(32), [receipt])
    denied(RejectionCode.NONCE_INVALID, lambda: metered.service.report(report, now=metered.world.now))
    unknown = report.model_copy(update={"license_id": "license-x"})
    denied(RejectionCode.LICENSE_UNKNOWN, lambda: metered.service.report(unknown, now=metered.world.now))
    unknown = report.model_copy(update={"release_id": "00" * 32})
    denied(RejectionCode.RELEASE_UNKNOWN, lambda: metered.service.report(unknown, now=metered.world.now))
    assert metered.denials() == []


def test_a_revoked_licence_and_a_retired_device_still_report(metered: Metered) -> None:
    """What was served before counts."""
    revoke_license(metered.world.store, OPERATOR, metered.box.license_.license_id, now=NOW)
    metered.report(metered.writer.next())
    retire_device(metered.world.store, OPERATOR, metered.box.device.device_id, now=NOW)
    metered.report(metered.writer.next())
    assert metered.requests() == 2


def test_a_box_on_an_older_image_gets_the_word_of_the_key_that_it_knows(metered: Metered) -> None:
    """The lease-document key was rotated: it would drop nothing on the word of another."""
    keys = metered.world.keys
    rotated = replace(keys, lease_document=Ed25519PrivateKey.generate(), by_service_file={"first": keys})
    service = MeteringService(metered.world.store, rotated, StatelessNonces(keys.nonce))
    receipt = metered.writer.next()
    report = make_report(metered.box.device, metered.box.license_.license_id, metered.nonce(), [receipt])
    told = service.report(report, now=metered.world.now)
    assert verify_acknowledgement(told.acknowledgement, metered.world.service).digest == receipt.digest


def test_a_report_moves_neither_baseline_nor_lease(metered: Metered) -> None:
    before = metered.box.stored()
    metered.report(metered.writer.next())
    assert metered.box.stored() == before


# --- what is odd ------------------------------------------------------------------------------------------------------


NEW_YEAR = 1_830_297_600
"""2028-01-01 00:00 UTC."""


def test_usage_is_of_the_month_of_receipt_and_keeps_the_claimed_one(metered: Metered) -> None:
    """A month that is over does not change; the box's own calendar is a claim."""
    metered.world.now = NEW_YEAR - 10
    metered.report(metered.writer.next(closed_at=0))
    metered.world.now += 20
    metered.report(metered.writer.next(closed_at=NEW_YEAR - 1))
    found = {(one.month, one.claimed_month) for one in usage_lines(metered.world.store.engine, metered.query)}
    assert found == {("2027-12", "1970-01"), ("2028-01", "2027-12")}
    assert len(list(usage_lines(metered.world.store.engine, UsageQuery(month="2028-01")))) == 2


def lines() -> list[MeteringUsage]:
    """Usage by keys whose names somebody chose with care."""
    names = ("=1+1", "+1", "-1", "@x", "ward", '"quoted", text')
    one = MeteringUsage(
        license_id="license-1", month="2026-11", claimed_month="2026-11", device_id="d" * 52, partition_id="5a" * 32,
        alias="", disputed=False, model="medical", requests=1, prompt_tokens=2**40, completion_tokens=3, busy_ms=4,
        lease_ms=0,
    )  # fmt: skip
    return [replace(one, alias=name) for name in names]


def exported(records: list[MeteringUsage], form: ExportFormat) -> bytes:
    out = io.BytesIO()
    export_usage(records, form, out)
    return out.getvalue()


def test_no_cell_of_the_csv_is_a_formula() -> None:
    read = list(csv.DictReader(io.StringIO(exported(lines(), ExportFormat.CSV).decode())))
    assert tuple(read[0]) == COLUMNS
    assert [one["alias"] for one in read] == ["'=1+1", "'+1", "'-1", "'@x", "ward", '"quoted", text']
    assert read[0]["prompt_tokens"] == str(2**40)


def test_parquet_and_json_hold_what_is_stored(tmp_path: Path) -> None:
    (tmp_path / "usage.parquet").write_bytes(exported(lines(), ExportFormat.PARQUET))
    read = parquet.read_table(tmp_path / "usage.parquet")
    assert read.column_names == list(COLUMNS)
    assert read.to_pylist() == json.loads(exported(lines(), ExportFormat.JSON))
    assert read.to_pylist()[0]["alias"] == "=1+1"
    assert exported([], ExportFormat.PARQUET)


def test_the_commands_show_and_export(
    metered: Metered, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`settle` goes on until nothing is left."""
    monkeypatch.setattr("sealwright_licensing.operations.metering.MOST_SETTLED", 1)
    copy = forked(metered)
    folder, device = str(metered.world.folder.path), metered.box.device.device_id
    license_id = metered.box.license_.license_id

    def run(*arguments: str) -> bytes:
        assert cli.main(["metering", arguments[0], folder, *arguments[1:]]) == 0
        return capsysbinary.readouterr().out

    shown = json.loads(run("show", "--license", license_id, "--json"))
    assert sum(one["requests"] for one in shown["usage"]) == 4
    assert shown["disputed"] == 2
    assert b"key-a" in run("show")
    assert json.loads(run("show", "--month", "2020-01", "--json"))["usage"] == []
    out = tmp_path / "usage.parquet"
    run("export", "--format", "parquet", "--out", str(out), "--license", license_id)
    assert parquet.read_table(out).num_rows == 4
    assert run("export", "--format", "csv").startswith(b"license_id,month,")
    assert b"METERING_FORK" in run("alarms", "--device", device)
    assert b"2 receipts count now." in run("settle", device, copy.chain_id, "--count")
    assert cli.main(["metering", "show", folder, "--month", "2020-01", "--license", "nobody"]) == 0


def test_a_malformed_report_changes_nothing(metered: Metered) -> None:
    report = make_report(metered.box.device, metered.box.license_.license_id, metered.nonce(), [metered.writer.next()])
    broken = report.model_copy(update={"receipts": [b"{}"]})
    with pytest.raises(FormatError):
        metered.service.report(broken, now=metered.world.now)
    assert metered.stored() == 0
