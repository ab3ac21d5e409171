"""A licence service on a real database file, with a release and a trusted TPM maker: for tests and benches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sealwright_custody.keeper import Keeper
from sealwright_custody.locator import TokenLocator
from sealwright_licensing.actors import Actor, ActorKind
from sealwright_licensing.admission import admission
from sealwright_licensing.air_gap import AirGapService
from sealwright_licensing.config import DEFAULT_DATABASE, Limits, ServiceFolder, load_config
from sealwright_licensing.custodian_keys import load_custodians
from sealwright_licensing.database import service_engine
from sealwright_licensing.endorsement import Tier
from sealwright_licensing.enrollment import EnrollmentService
from sealwright_licensing.grants import Grantor, PreparedGrant
from sealwright_licensing.initialisation import create_service
from sealwright_licensing.keyring import KeyRole, load_keyring
from sealwright_licensing.keys import SigningKeys, load_log_keys, load_signing_keys
from sealwright_licensing.maker_roots import add_certificates, parse_pem_certificates
from sealwright_licensing.manifest_keys import ManifestKeys
from sealwright_licensing.nonces import StatelessNonces
from sealwright_licensing.operations.licenses import issue_license
from sealwright_licensing.operations.terms import new_license
from sealwright_licensing.records import License
from sealwright_licensing.release import KeyRelease
from sealwright_licensing.release_import import BuildOutput, import_release
from sealwright_licensing.release_proofs import ReleaseProofs
from sealwright_licensing.renewal import RenewalService
from sealwright_licensing.rotation import Rotation
from sealwright_licensing.schema import Migrator
from sealwright_licensing.sequencer import Sequencer
from sealwright_licensing.service_schema import migrator
from sealwright_licensing.signed_records import sign_record
from sealwright_licensing.store import Store
from sealwright_licensing.store_sql import SqlStore
from sealwright_licensing.tpm_floor import TpmFloor
from sealwright_policies.appraisal.reference_values import (
    RELEASE_APPROVAL_SET,
    PartitionWrappedShares,
    WrappedShares,
)
from sealwright_policies.wire.custodian_wrap import wrap_share
from sealwright_policies.wire.encoding import document_bytes, parse_json
from sealwright_policies.wire.framing import domain_key_id
from sealwright_policies.wire.messages import Grant
from sealwright_policies.wire.release_approval import sign_release_approval
from sealwright_policies.wire.service import LicenseService
from sealwright_testing.evidence_factory import NOW, SyntheticBox, key_shares, secure_boot_keys
from sealwright_testing.maker_ca import MakerCa, pem
from sealwright_testing.software_device import SoftwareDevice
from sealwright_testing.synthetic_uki import build_uki

SERVICE_ID = "service-1"
PRODUCT = "synthetic-box"
NO_FLOOR = TpmFloor()
OPERATOR = Actor(ActorKind.CLI, "operator")


class SetStatus(Protocol):
    """An operation that sets a licence's status."""

    def __call__(self, store: Store, actor: Actor, license_id: str, *, now: int) -> License:
        """Perform it."""


@dataclass(frozen=True)
class InterruptedGrantor(Grantor):
    """The real one, slower."""

    meanwhile: Callable[[], object]

    def prepare(self, *arguments: Any, **named: Any) -> PreparedGrant:
        """Prepare, and let time pass."""
        prepared = super().prepare(*arguments, **named)
        self.meanwhile()
        return prepared


def synthetic_box(**changes: Any) -> SyntheticBox:
    """A box whose release is for our service."""
    return SyntheticBox(keys=_KEYS, uki=_UKI, manifest_changes={"service_id": SERVICE_ID, **changes})


def build_output(
    box: SyntheticBox, custodians: tuple[ec.EllipticCurvePublicKey, ec.EllipticCurvePublicKey]
) -> tuple[BuildOutput, dict[str, tuple[bytes, bytes]]]:
    """What a build leaves for the service, and the shares of each partition in the clear."""
    release = box.release
    clear = {payload.verity.root_hash: key_shares(payload.verity.root_hash) for payload in release.manifest.payloads}
    partitions = [
        PartitionWrappedShares(
            partition_id=part,
            lease_share=wrap_share(custodians[0], a, partition_id=bytes.fromhex(part), name="lease"),
            release_share=wrap_share(custodians[1], b, partition_id=bytes.fromhex(part), name="release"),
        )
        for part, (a, b) in clear.items()
    ]
    unseal = release.measurements.unseal
    approvals = [
        sign_release_approval(
            release.release_id,
            part,
            {pcr: bytes.fromhex(application.pcr4 if pcr == 4 else unseal[str(pcr)]) for pcr in RELEASE_APPROVAL_SET},
            box.manifest_key,
        )
        for part in (*clear, domain_key_id().hex())
        for application in release.measurements.boot_applications
    ]
    shares = WrappedShares(
        version=1, release_id=release.release_id, service_id=release.manifest.service_id, partitions=partitions
    )
    listed = json.dumps([one.model_dump(mode="json") for one in approvals]).encode()
    variants = box.variants(*release.variants) if release.variants else None
    return BuildOutput(box.release_envelope, document_bytes(shares), listed, variants), clear


@dataclass
class LicenseWorld:
    """An initialised service in a folder, its parts wired as the application wires them."""

    folder: ServiceFolder
    store: SqlStore
    keys: SigningKeys
    enrollment: EnrollmentService
    renewal: RenewalService
    box: SyntheticBox
    maker: MakerCa
    shares: dict[str, tuple[bytes, bytes]]
    limits: Limits
    now: int = NOW

    @classmethod
    def create(
        cls,
        directory: Path,
        *,
        now: int = NOW,
        floor: TpmFloor = NO_FLOOR,
        database: str = DEFAULT_DATABASE,
        token: TokenLocator | None = None,
    ) -> LicenseWorld:
        """Make the service, keys in files or in a token; trust a maker as tier "software"; import a release."""
        folder = create_service(
            directory, url="https://127.0.0.1:8444", service_id=SERVICE_ID, now=now, database=database, token=token
        )
        config = load_config(folder)
        store = SqlStore(service_engine(folder, config), admission(folder))
        keys, custodians = load_signing_keys(folder.keys), load_custodians(folder.keys)
        grantor = Grantor(keys, KeyRelease(custodians), ReleaseProofs(store))
        world = cls(
            folder=folder,
            store=store,
            keys=keys,
            enrollment=EnrollmentService(store, grantor, floor),
            renewal=RenewalService(store, grantor, StatelessNonces(keys.nonce), floor),
            box=synthetic_box(),
            maker=MakerCa(),
            shares={},
            limits=config.limits,
            now=now,
        )
        world.trust(world.maker)
        world.shares = world.import_release(world.box)
        return world

    @property
    def air_gap(self) -> AirGapService:
        """What answers files."""
        return AirGapService(self.store, self.enrollment, self.renewal, self.keys)

    @property
    def service(self) -> LicenseService:
        """The service as a box knows it."""
        return parse_json(LicenseService, self.folder.service_file.read_bytes(), limit=65536)

    @property
    def migrator(self) -> Migrator:
        """The operator, as one who changes the schema."""
        return migrator(self.folder, OPERATOR)

    def restart(self) -> None:
        """Read the keys anew, as a service that starts does."""
        self.keys = load_signing_keys(self.folder.keys)
        self.store._admit = admission(self.folder)
        grantor = Grantor(self.keys, KeyRelease(load_custodians(self.folder.keys)), ReleaseProofs(self.store))
        self.enrollment = EnrollmentService(self.store, grantor, NO_FLOOR)
        self.renewal = RenewalService(self.store, grantor, StatelessNonces(self.keys.nonce), NO_FLOOR)

    def rotate(self, role: KeyRole) -> None:
        """Make a new key of a role; the service that runs does not know it yet."""
        Rotation(self.folder, Keeper(self.folder.keys)).rotate(role, None, now=self.now)

    @property
    def service_file(self) -> str:
        """Hash of the file that builds are given now."""
        return hashlib.sha256(self.folder.service_file.read_bytes()).hexdigest()

    def trust(self, maker: MakerCa, tier: Tier = Tier.SOFTWARE) -> None:
        """Make a maker's root an anchor."""
        self.add_certificates(pem(maker.root), tier)

    def add_certificates(self, encoded: bytes, tier: Tier) -> None:
        """Add certificates in PEM form, as the command does."""
        key = self.keys.lease_document
        add_certificates(
            self.store, OPERATOR, parse_pem_certificates(encoded), tier,
            lambda record: sign_record(record, key), now=self.now,
        )  # fmt: skip

    def import_release(self, box: SyntheticBox) -> dict[str, tuple[bytes, bytes]]:
        """Import a box's release; returns its shares in the clear."""
        custodians = load_custodians(self.folder.keys)
        output, clear = build_output(box, (custodians.lease_share.public_key, custodians.release_share.public_key))
        key = box.manifest_key.public_key()
        trusted = ManifestKeys(self.folder.manifest_keys)
        store = SqlStore(self.store._engine)  # the command's own, which looks at releases without believing them
        import_release(
            store,
            OPERATOR,
            custodians,
            output,
            key,
            trusted=trusted,
            service_id=SERVICE_ID,
            service_files=load_keyring(self.folder.keys).service_files,
            now=self.now,
        )
        self.sequence()
        return clear

    def sequence(self) -> int:
        """Have every entry that waits in the log; returns the log's size."""
        return Sequencer(self.store, load_log_keys(self.folder.keys), SERVICE_ID).run()

    def issue(self, **changes: Any) -> tuple[License, list[str]]:
        """Issue a licence; returns it and its codes."""
        fields: dict[str, Any] = {
            "product": PRODUCT,
            "seats": 1,
            "days": 365,
            "tiers": [Tier.SOFTWARE],
            "now": self.now,
        }
        license_ = new_license(**(fields | changes))
        return license_, issue_license(self.store, OPERATOR, license_, now=self.now)

    def device(self, number: int = 0) -> SoftwareDevice:
        """A device of the trusted maker."""
        return SoftwareDevice(self.box, self.maker, number)

    def interrupt(self, meanwhile: Callable[[], object]) -> None:
        """Let something happen after each grant has been prepared and before it is committed, from now on."""
        grantor = InterruptedGrantor(
            self.keys, self.enrollment._grantor.key_release, self.enrollment._grantor.proofs, meanwhile
        )
        self.enrollment = EnrollmentService(self.store, grantor, NO_FLOOR)
        self.renewal = RenewalService(self.store, grantor, StatelessNonces(self.keys.nonce), NO_FLOOR)

    def enroll(self, device: SoftwareDevice, code: str) -> Grant:
        """Take a device through both steps."""
        challenge = self.enrollment.challenge(device.request(code), now=self.now)
        return grant(self.enrollment.prove(device.proof(challenge), now=self.now))


def grant(reply: bytes) -> Grant:
    """Parse a reply."""
    return parse_json(Grant, reply, limit=1 << 22)


def public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """SubjectPublicKeyInfo."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


_KEYS = secure_boot_keys()
_UKI = build_uki()
