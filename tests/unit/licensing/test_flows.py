"""Reports of flows at the service: what is believed, what is stored, once, and what is odd about it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from sealwright_licensing import cli
from sealwright_licensing.flow_records import ReportedFlow
from sealwright_licensing.flows import FlowService
from sealwright_licensing.nonces import StatelessNonces
from sealwright_licensing.records import Decision
from sealwright_policies.errors import RejectionCode
from sealwright_policies.flows.documents import FlowStatement, FlowTerms
from sealwright_policies.flows.payloads import receipt_payload, sender_payload
from sealwright_policies.flows.record import FlowRole, SealedRecord
from sealwright_policies.flows.report import FlowReply, FlowReport, head_of
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.wire.lease import verify_lease
from sealwright_policies.wire.messages import ImportBlob, Purpose
from sealwright_testing.denials import denied
from sealwright_testing.enrolled_device import EnrolledDevice
from sealwright_testing.evidence_factory import userspace_events
from sealwright_testing.flow_vectors import record_of, terms
from sealwright_testing.flows import NONCE_A, NONCE_B
from sealwright_testing.license_world import LicenseWorld
from sealwright_testing.metered import NUMBERS

WRAPPED = ImportBlob(public=b"a", duplicate=b"b", encrypted_seed=b"c")


@dataclass
class Reporter:
    """An enrolled box and what it has recorded."""

    box: EnrolledDevice
    records: list[SealedRecord] = field(default_factory=list)

    @classmethod
    def enroll(cls, world: LicenseWorld) -> Reporter:
        """A new box under a licence of its own."""
        license_, (code,) = world.issue()
        device = world.device(next(NUMBERS))
        lease = verify_lease(world.enroll(device, code).leases[0], world.service)
        return cls(EnrolledDevice(world, license_, device, lease))

    @property
    def side(self) -> dict[str, str]:
        """As terms name it."""
        device = self.box.device
        return {
            "device_id": device.device_id, "license_id": self.box.license_.license_id,
            "release_id": device.box.release.release_id, "domain": "records", "domain_digest": "d0" * 32,
        }  # fmt: skip

    def statement(self, nonce: bytes, payload: bytes) -> FlowStatement:
        """A quote of this box for another one."""
        device = self.box.device
        bound = device.bound(
            nonce=nonce, license_id=self.box.license_.license_id, purpose=Purpose.FLOW, payload=payload
        )
        evidence = device.evidence(bound, payload=payload)
        return FlowStatement(nonce=nonce, payload=payload, quote=evidence.quote, pcrs=evidence.pcrs)

    def keep(self, said: FlowTerms, role: FlowRole, other: Reporter) -> SealedRecord:
        """Record a flow with another box."""
        content = document_bytes(said)
        if role is FlowRole.SENT:
            statement = other.statement(NONCE_A, receipt_payload(content))
        else:
            statement = other.statement(NONCE_B, sender_payload(bytes(32), bytes(32), content, WRAPPED))
        before = self.records[-1] if self.records else None
        self.records.append(record_of(before, given=said, role=role, statement=statement))
        return self.records[-1]

    def report(self, *records: SealedRecord, **changes: Any) -> FlowReply:
        """Tell the service."""
        return service(self.box.world).report(self.message(*records, **changes), now=self.box.world.now)

    def message(self, *records: SealedRecord, **changes: Any) -> FlowReport:
        """What is sent."""
        told = records or tuple(self.records)
        device, license_id = self.box.device, self.box.license_.license_id
        nonce = StatelessNonces(self.box.world.keys.nonce).issue(device.device_id, Purpose.FLOW, now=self.box.world.now)
        payload = changes.pop("payload", document_bytes(head_of(told)))
        purpose = changes.pop("purpose", Purpose.FLOW)
        bound = device.bound(nonce=nonce, license_id=license_id, purpose=purpose, payload=payload)
        return FlowReport(
            device_id=device.device_id, license_id=license_id, release_id=device.box.release.release_id, nonce=nonce,
            records=[one.content for one in told], evidence=device.evidence(bound, payload=payload, **changes),
        )  # fmt: skip

    def stored(self) -> list[ReportedFlow]:
        """What the service has of it, in order."""
        with self.box.world.store.read() as transaction:
            found = transaction.find(ReportedFlow, device_id=self.box.device.device_id)
        return sorted(found, key=lambda one: one.sequence)


def service(world: LicenseWorld) -> FlowService:
    return FlowService(world.store, StatelessNonces(world.keys.nonce))


@pytest.fixture
def pair(world: LicenseWorld) -> tuple[Reporter, Reporter]:
    """Two enrolled boxes and one flow between them."""
    sender, receiver = Reporter.enroll(world), Reporter.enroll(world)
    flow(sender, receiver)
    return sender, receiver


def flow(sender: Reporter, receiver: Reporter, **changes: Any) -> None:
    """Something goes from one to the other."""
    said = terms(sender=sender.side, receiver=receiver.side | {"domain": "training"}, **changes)
    sender.keep(said, FlowRole.SENT, receiver)
    receiver.keep(said, FlowRole.RECEIVED, sender)


def test_both_sides_of_a_flow_are_stored_once(pair: tuple[Reporter, Reporter]) -> None:
    """A lost reply, the same again, and more: a decision for what is new, and only then."""
    sender, receiver = pair
    for one in pair:
        told = one.report()
        assert (told.sequence, told.digest) == (1, one.records[0].digest)
        assert one.report() == told
    flow(sender, receiver, flow_id="1f" * 16, name="b.csv")
    sender.report()
    assert [row.finding for row in (*sender.stored(), *receiver.stored())] == ["", "", ""]
    assert {row.flow_id for row in receiver.stored()} <= {row.flow_id for row in sender.stored()}
    with sender.box.world.store.read() as transaction:
        decisions = transaction.find(Decision, device_id=sender.box.device.device_id, purpose=Purpose.FLOW.value)
    assert [one.code for one in decisions] == ["ok", "ok"]


def test_what_is_stored_is_in_the_log_and_under_audit(pair: tuple[Reporter, Reporter]) -> None:
    sender, _ = pair
    sender.report()
    world = sender.box.world
    world.sequence()
    directory, device = str(world.folder.path), sender.box.device.device_id
    assert cli.main(["audit", "verify", directory]) == 0
    assert cli.main(["audit", "search", directory, "--device", device, "--code", "ok"]) == 0


def test_flows_are_listed(pair: tuple[Reporter, Reporter], capsys: pytest.CaptureFixture[str]) -> None:
    sender, receiver = pair
    sender.report()
    receiver.report()
    directory = str(sender.box.world.folder.path)
    assert cli.main(["flows", "list", directory, "--flow", sender.records[0].terms.flow_id, "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["flows"]
    assert {(one["role"], one["device_id"]) for one in listed} >= {
        ("sent", sender.box.device.device_id),
        ("received", receiver.box.device.device_id),
    }
    assert cli.main(["flows", "list", directory, "--device", sender.box.device.device_id, "--odd"]) == 0
    assert "cohort-7" not in capsys.readouterr().out


def test_what_is_odd_is_kept_and_named(world: LicenseWorld) -> None:
    """A record that is missing, one of the same number, a word of somebody else, a box that nobody knows."""
    sender, receiver, third = (Reporter.enroll(world) for _ in range(3))
    flow(sender, receiver)
    flow(sender, receiver, flow_id="1f" * 16)
    sender.report(sender.records[1])
    assert [one.finding for one in sender.stored()] == ["FLOW_CHAIN"]
    forked = Reporter(receiver.box)
    receiver.report()
    forked.keep(terms(sender=sender.side, receiver=receiver.side, flow_id="2f" * 16), FlowRole.RECEIVED, sender)
    forked.report()
    assert sorted(one.finding for one in receiver.stored()) == ["", "", "FLOW_CHAIN"]
    said = terms(sender=third.side, receiver=receiver.side)
    third.keep(said, FlowRole.SENT, sender)
    third.report()
    unknown = terms(sender=third.side, receiver=receiver.side | {"device_id": "a" * 52}, flow_id="3f" * 16)
    third.keep(unknown, FlowRole.SENT, receiver)
    third.report()
    assert [one.finding for one in third.stored()] == ["FLOW_MISMATCH", "DEVICE_UNKNOWN"]


def test_a_report_that_is_not_believed_stores_nothing(pair: tuple[Reporter, Reporter]) -> None:
    """Another head, evidence for something else, another box's records."""
    sender, receiver = pair
    flow(sender, receiver, flow_id="1f" * 16)
    first = document_bytes(head_of(sender.records[:1]))
    denied(RejectionCode.FLOW_CHAIN, lambda: sender.report(payload=first))
    denied(RejectionCode.QUALIFYING_DATA_MISMATCH, lambda: sender.report(purpose=Purpose.METERING))
    denied(RejectionCode.FLOW_CHAIN, lambda: sender.report(*receiver.records))
    changed = [(11, "planted"), *userspace_events()]
    denied(RejectionCode.BOOT_PHASE, lambda: sender.report(userspace=changed))
    assert sender.stored() == []
