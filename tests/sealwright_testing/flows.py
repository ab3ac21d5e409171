"""Two boxes of one vendor and what they tell each other, with TPMs made of software keys."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from sealwright_appliance.tls import make_tls_identity
from sealwright_licensing.device_certificates import issue_device_certificate
from sealwright_policies.appraisal.box_evidence import BoxEvidence, TrustAnchors
from sealwright_policies.domains.canonical import canonical_form, domain_digest, summarise
from sealwright_policies.domains.model import Domain
from sealwright_policies.flows.documents import (
    FileKind,
    FlowHello,
    FlowOffer,
    FlowParty,
    FlowSide,
    FlowStatement,
    FlowTerms,
    FlowWelcome,
)
from sealwright_policies.flows.payloads import receipt_payload, receiver_payload, sender_payload
from sealwright_policies.flows.verification import (
    Ourselves,
    VerifiedPeer,
    content_key_policy,
    verify_offer,
    verify_receiver,
)
from sealwright_policies.tcg.keywrap import wrap_sealed_object
from sealwright_policies.tcg.public import parse_public
from sealwright_policies.wire.encoding import document_bytes, pcr_bytes
from sealwright_policies.wire.messages import ImportBlob, Purpose
from sealwright_testing.domain_texts import domain_text, open_anywhere, parse
from sealwright_testing.evidence_factory import NOW, SyntheticBox
from sealwright_testing.flow_texts import RECORDS, TRAINING
from sealwright_testing.license_world import LicenseWorld, synthetic_box
from sealwright_testing.release_log import release_proof
from sealwright_testing.software_device import SoftwareDevice, srk_area

NONCE_A, NONCE_B = bytes([1]) * 32, bytes([2]) * 32
FLOW_ID = "0f" * 16
CONTENT_KEY = bytes(range(32))
CONTENT = b"patient 17, ward 3\n" * 64
MEDICAL = open_anywhere(domain_text("medical"))
"""The domain of the synthetic release's model."""


def domains(*texts: str) -> tuple[Domain, ...]:
    """Parsed."""
    return tuple(parse(text).domain for text in texts)


def chained_box(*texts: str, **changes: Any) -> SyntheticBox:
    """A box whose release has these domains; the two that chain, if none are given."""
    listed = [summarise(one) for one in domains(MEDICAL, *(texts or (RECORDS, TRAINING)))]
    return synthetic_box(domains=listed, **changes)


@dataclass
class Party:
    """One side."""

    world: LicenseWorld
    box: SyntheticBox
    number: int
    texts: tuple[str, str] = (RECORDS, TRAINING)
    license_id: str = "license-1"
    tier: str = "software"
    features: tuple[str, ...] = ()
    device: SoftwareDevice = field(init=False)

    def __post_init__(self) -> None:
        """Manufacture it."""
        self.device = SoftwareDevice(self.box, self.world.maker, self.number)
        identity = make_tls_identity(self.device.device_id)
        self.certificate = identity.certificate.decode("ascii")
        self.fingerprint = bytes.fromhex(identity.fingerprint.removeprefix("sha256:"))

    @property
    def ourselves(self) -> Ourselves:
        """As it sees itself."""
        release = self.box.release
        anchors = TrustAnchors(self.world.service, self.box.manifest_key.public_key())
        return Ourselves(anchors, release.manifest, self.device.device_id, self.license_id, release.release_id)

    def side(self, index: int) -> FlowSide:
        """As terms name it, with the first or the second of its domains."""
        domain = domains(*self.texts)[index]
        return self.ourselves.side(domain.name, domain_digest(domain))

    def show(self, nonce: bytes, payload: bytes, **changes: Any) -> FlowParty:
        """Its word for itself."""
        device, manifest = self.device, self.box.release.manifest
        certificate = issue_device_certificate(
            self.world.keys, device.box.public.key(), device_id=device.device_id, license_id=self.license_id,
            tier=self.tier, features=self.features, now=self.world.now, expires_at=self.world.now + 3600,
        )  # fmt: skip
        bound = device.bound(nonce=nonce, license_id=self.license_id, purpose=Purpose.FLOW, payload=payload)
        shown = BoxEvidence(
            version=1, ak_public=device.ak.public_area, device_certificate=certificate.pem,
            manifest=self.box.release_envelope, variants=b"",
            log=release_proof(
                self.world.keys.log[-1], self.box.release.release_id, product=manifest.product,
                product_version=manifest.product_version,
            ),
            evidence=device.evidence(bound, payload=payload, **changes),
        )  # fmt: skip
        area = srk_area(device.srk)
        return FlowParty(
            box=shown,
            domains=[canonical_form(one) for one in domains(*self.texts)],
            srk_public=area,
            srk_certify=device.ak.certify(area, extra=bound, clock=device.clock),
        )

    def statement(self, nonce: bytes, payload: bytes) -> FlowStatement:
        """A quote that speaks for something."""
        bound = self.device.bound(nonce=nonce, license_id=self.license_id, purpose=Purpose.FLOW, payload=payload)
        evidence = self.device.evidence(bound, payload=payload)
        return FlowStatement(nonce=nonce, payload=payload, quote=evidence.quote, pcrs=evidence.pcrs)


@dataclass
class Exchange:
    """A sender, a receiver, and one flow between them, message by message."""

    sender: Party
    receiver: Party
    now: int = NOW

    @classmethod
    def between(cls, world: LicenseWorld, box: SyntheticBox | None = None) -> Exchange:
        """Two boxes of one release."""
        made = box or chained_box()
        return cls(Party(world, made, 1), Party(world, made, 2))

    @property
    def hello(self) -> FlowHello:
        """The sender's first word."""
        return FlowHello(nonce=NONCE_A, device_id=self.sender.device.device_id, source="records", target="training")

    def welcome(self, **changes: Any) -> FlowWelcome:
        """The receiver's answer."""
        payload = receiver_payload(self.receiver.fingerprint, NONCE_B, self.hello)
        return FlowWelcome(nonce=NONCE_B, party=self.receiver.show(NONCE_A, payload, **changes))

    def verify_receiver(self, welcome: FlowWelcome | None = None, **changes: Any) -> VerifiedPeer:
        """As the sender does."""
        kind = FileKind.DATA_SET
        given: dict[str, Any] = {
            "device_id": self.receiver.device.device_id, "form": kind.form, "fingerprint": self.receiver.fingerprint,
            "now": self.now,
        } | changes  # fmt: skip
        return verify_receiver(welcome or self.welcome(), self.hello, self.sender.ourselves, **given)

    def terms(self, **changes: Any) -> FlowTerms:
        """What is sent."""
        fields: dict[str, Any] = {
            "version": 1, "flow_id": FLOW_ID, "form": "raw", "kind": "data-set", "name": "cohort-7.csv",
            "digest": hashlib.sha256(CONTENT).hexdigest(), "size": len(CONTENT), "at": self.now,
            "sender": self.sender.side(0), "receiver": self.receiver.side(1),
        }  # fmt: skip
        return FlowTerms.model_validate(fields | changes, strict=False)

    def offer(self, terms: FlowTerms | None = None, *, nonce: bytes = NONCE_B, **changes: Any) -> FlowOffer:
        """The offer of a sender that has looked at nothing."""
        content = document_bytes(terms or self.terms())
        device = self.receiver.device
        running = pcr_bytes(device.evidence(bytes(32)).pcrs)
        blob = wrap_sealed_object(parse_public(srk_area(device.srk)), CONTENT_KEY, content_key_policy(running))
        wrapped = ImportBlob(public=blob.public_2b, duplicate=blob.duplicate_2b, encrypted_seed=blob.encrypted_seed_2b)
        payload = sender_payload(self.sender.fingerprint, self.receiver.fingerprint, content, wrapped)
        party = self.sender.show(nonce, payload, **changes)
        return FlowOffer(nonce=nonce, terms=content, wrapped=wrapped, certificate=self.sender.certificate, party=party)

    def verify_offer(self, offer: FlowOffer | None = None, **changes: Any) -> tuple[VerifiedPeer, FlowTerms]:
        """As the receiver does."""
        given: dict[str, Any] = {
            "fingerprint": self.sender.fingerprint, "own_fingerprint": self.receiver.fingerprint, "now": self.now,
        } | changes  # fmt: skip
        return verify_offer(offer or self.offer(), self.hello, self.receiver.ourselves, **given)

    def receipt(self, terms: bytes) -> FlowStatement:
        """The receiver's word that it has the file."""
        return self.receiver.statement(NONCE_A, receipt_payload(terms))
