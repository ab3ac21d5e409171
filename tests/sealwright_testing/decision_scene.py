"""What the vectors of ``decisions/`` have in common: one box, its messages, and the records of an ordinary service."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from sealwright_licensing.activation_codes import code_hash
from sealwright_licensing.baselines import pcrs_json
from sealwright_licensing.leases import DAY_S, tick_budget
from sealwright_licensing.manifest_keys import key_fingerprint
from sealwright_licensing.nonces import StatelessNonces
from sealwright_licensing.records import (
    ActivationCodeRecord,
    Device,
    DeviceStatus,
    EnrollmentReply,
    License,
    LicenseStatus,
    MakerCertificate,
    PendingEnrollment,
    ReleaseRecord,
)
from sealwright_policies.appraisal.clock import PINNED_PCRS, REPORTED_PCRS
from sealwright_policies.appraisal.reference_values import UNSEAL_SET
from sealwright_policies.wire.messages import (
    EnrollmentChallenge,
    EnrollmentProof,
    EnrollmentRequest,
    Purpose,
    RenewalRequest,
)
from sealwright_testing.evidence_factory import (
    LEASE_INDEX,
    NONCE,
    NOW,
    TICK_INDEX,
    SyntheticBox,
    quoted_values,
    userspace_events,
)
from sealwright_testing.maker_ca import MakerCa, der
from sealwright_testing.software_device import SoftwareDevice, ek_area, srk_area
from sealwright_testing.software_tpm import name_of, nv_public

CODE = "0123A-BCDEF-GHJKM-NPQRS"
SECRET = bytes(range(32, 64))
NONCE_KEY = bytes(range(64, 96))
PRODUCT = "synthetic-box"
ENROLLED_AT = NOW - 10 * DAY_S
LICENSE = License(
    license_id="license-1",
    product=PRODUCT,
    seats=2,
    tiers="discrete,software",
    issued_at=ENROLLED_AT,
    expires_at=ENROLLED_AT + 365 * DAY_S,
    lease_s=30 * DAY_S,
    renew_after_s=DAY_S,
    max_request_s=600,
    tick_budget=tick_budget(365 * DAY_S),
    version_floor="1.2",
    allow_test_images=False,
    status=LicenseStatus.ACTIVE,
    note="",
)


def release_record(box: SyntheticBox) -> ReleaseRecord:
    """A box's release as it was imported."""
    manifest = box.release.manifest
    return ReleaseRecord(
        release_id=box.release.release_id,
        product=manifest.product,
        version=manifest.product_version,
        flavour=manifest.flavour,
        envelope=box.release_envelope,
        manifest_key=key_fingerprint(box.manifest_key.public_key()),
        approvals="[]",
        variants="[]",
        imported_at=ENROLLED_AT,
        withdrawn=False,
    )


@dataclass
class Scene:
    """A box with Clock one hour, twelve resets, five ticks and lease number one, and another that never asks."""

    box: SyntheticBox = field(default_factory=SyntheticBox)
    maker: MakerCa = field(default_factory=MakerCa)

    def __post_init__(self) -> None:
        """Make both boxes, and a test image of the same product."""
        self.device = SoftwareDevice(self.box, self.maker)
        self.other = SoftwareDevice(self.box, self.maker, number=1)
        test_box = SyntheticBox(keys=self.box.keys, uki=self.box.uki, manifest_changes={"flavour": "test"})
        root = der(self.maker.root)
        self.release, self.test_release = release_record(self.box), release_record(test_box)
        self.root = MakerCertificate(hashlib.sha256(root).hexdigest(), "software", "maker", root, ENROLLED_AT)
        self.code = ActivationCodeRecord(code_hash(CODE), LICENSE.license_id, ENROLLED_AT, None, None)

    @property
    def common(self) -> dict[str, object]:
        """Records that are too long to stand in each vector."""
        return {"release": self.release, "test-release": self.test_release, "maker": self.root}

    @cached_property
    def messages(self) -> dict[str, EnrollmentRequest | EnrollmentProof | RenewalRequest]:
        """The box's three messages. The renewal's nonce was issued at NOW."""
        challenge = EnrollmentChallenge(
            enrollment_id="enrollment-1",
            device_id=self.device.device_id,
            license_id=LICENSE.license_id,
            credential_blob=b"",
            encrypted_secret=b"",
            nonce=NONCE,
            expires_at=NOW + 600,
        )
        nonce = StatelessNonces(NONCE_KEY).issue(self.device.device_id, Purpose.RENEW, now=NOW)
        return {
            "challenge": self.device.request(CODE),
            "prove": self.device.proof(challenge, secret=SECRET),
            "renew": self.device.renewal(LICENSE.license_id, nonce),
        }

    @property
    def nonce(self) -> bytes:
        """The renewal's."""
        message = self.messages["renew"]
        assert isinstance(message, RenewalRequest)
        return bytes(message.nonce)

    @cached_property
    def pcrs(self) -> dict[int, bytes]:
        """What the box quotes."""
        return quoted_values(self.box.boot_events(), userspace_events())

    @property
    def unseal_pcrs(self) -> str:
        """Firmware's PCRs at the unseal point as quoted, the others of no importance here."""
        return pcrs_json({pcr: self.pcrs[pcr] for pcr in UNSEAL_SET})

    @property
    def pending(self) -> PendingEnrollment:
        """The box's open enrolment."""
        device = self.device
        return PendingEnrollment(
            enrollment_id="enrollment-1",
            device_id=device.device_id,
            license_id=LICENSE.license_id,
            code_hash=self.code.code_hash,
            release_id=self.release.release_id,
            tier="software",
            tpm='{"manufacturer":"","model":"","version":"","root":""}',
            ek_certificate=b"",
            ek_public=ek_area(device.ek),
            ak_public=device.ak.public_area,
            srk_public=srk_area(device.srk),
            secret_hash=hashlib.sha256(SECRET).digest(),
            nonce=NONCE,
            expires_at=NOW + 600,
        )

    def reply(self, **changes: Any) -> EnrollmentReply:
        """The kept result of the box's enrolment."""
        kept = EnrollmentReply(
            enrollment_id="enrollment-1",
            device_id=self.device.device_id,
            ak_public=self.device.ak.public_area,
            secret_hash=hashlib.sha256(SECRET).digest(),
            reply=b"{}",
            expires_at=NOW + DAY_S,
        )
        return replace(kept, **changes)

    def spent(self, enrollment_id: str = "enrollment-1") -> ActivationCodeRecord:
        """The code after an enrolment."""
        return replace(self.code, spent_at=ENROLLED_AT, enrollment_id=enrollment_id)

    def enrolled(self, **changes: Any) -> Device:
        """The box as enrolled ten days ago; what it shows now fits."""
        return self._record(self.device, changes)

    def enrolled_other(self, **changes: Any) -> Device:
        """The other one."""
        return self._record(self.other, changes)

    def _record(self, shown: SoftwareDevice, changes: dict[str, Any]) -> Device:
        held = Device(
            device_id=shown.device_id,
            license_id=LICENSE.license_id,
            status=DeviceStatus.LIVE,
            held_because="",
            tier="software",
            tpm='{"manufacturer":"","model":"","version":"","root":""}',
            ek_certificate=b"",
            ak_public=shown.ak.public_area,
            srk_public=srk_area(shown.srk),
            tick_counter_name=name_of(nv_public(TICK_INDEX)),
            lease_counter_name=name_of(nv_public(LEASE_INDEX)),
            enrolled_at=ENROLLED_AT,
            enrollment_id="enrollment-1",
            revision=3,
            first_ticks=2,
            charged_ticks=0,
            granted_ticks=900,
            pinned_pcrs=pcrs_json({pcr: self.pcrs[pcr] for pcr in PINNED_PCRS}),
            reported_pcrs=pcrs_json({pcr: self.pcrs[pcr] for pcr in REPORTED_PCRS}),
            seen_at=NOW - DAY_S,
            clock_ms=3_000_000,
            reset_count=12,
            restart_count=0,
            ticks=4,
            lease_number=1,
        )
        return replace(held, **changes)
