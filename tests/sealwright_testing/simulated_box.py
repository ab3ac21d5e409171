"""A box without a machine: a real software TPM that is measured into as a boot would, and a file tree for its agent.

The licence service beside it is the real one, started by its own command and reached over HTTPS. Device-mapper and
mounts are not here; everything up to the volume key is.
"""

from __future__ import annotations

import copy
import datetime
import hashlib
import io
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tpm2_pytss import ESAPI
from tpm2_pytss.constants import TPM2_SU

from sealwright_appliance.enrollment import Enrolled, enroll
from sealwright_appliance.lease_store import LeaseStore
from sealwright_appliance.license_client import LicenseClient
from sealwright_appliance.paths import Paths
from sealwright_appliance.renewal import Renewal
from sealwright_appliance.status import release_status
from sealwright_image.keys import generate_keys, load_keys, public_pem
from sealwright_image.manifest import sign_approvals
from sealwright_licensing import cli as license_cli
from sealwright_policies.appraisal.boot_variants import VARIANTS_ON_ESP
from sealwright_policies.appraisal.reference_values import (
    MANIFEST_ON_ESP,
    PartitionWrappedShares,
    Payload,
    PayloadKind,
    SignedDomain,
    WrappedShares,
)
from sealwright_policies.appraisal.release import Release
from sealwright_policies.domains.canonical import canonical_form, summarise
from sealwright_policies.domains.compiler.mounts import EVERY, INERT
from sealwright_policies.domains.model import Domain
from sealwright_policies.domains.ownership import owner_key_id
from sealwright_policies.mounts import ReleaseMounts
from sealwright_policies.tcg.eventlog import EventType
from sealwright_policies.wire.custodian_wrap import wrap_share
from sealwright_policies.wire.encoding import document_bytes, parse_json
from sealwright_policies.wire.envelope import load_p256_public_key
from sealwright_policies.wire.framing import UNLOCKED_WORD
from sealwright_policies.wire.service import LicenseService
from sealwright_testing.event_logs import LoggedEvent, LogWriter
from sealwright_testing.evidence_factory import SyntheticBox, key_shares, payload_fields, userspace_record, volume_key
from sealwright_testing.fat32 import fat32_volume
from sealwright_testing.ports import free_port
from sealwright_testing.software_tpm import ALG_SHA256
from sealwright_testing.swtpm import SoftwareTpm
from sealwright_testing.tpm_session import TpmSession
from sealwright_testing.vendor import IssuedLicense

START_TIMEOUT_S = 240.0
PRODUCT = "synthetic-box"
UNSEAL_PHASES = ("enter-initrd", "leave-initrd", "sysinit")


@dataclass
class SimulatedVendor:
    """A licence service that runs, and one release that it knows, with shares that only it can unwrap."""

    directory: Path
    domains: tuple[Domain, ...] = ()
    """Of the release; none as before there were any."""
    more_payloads: Sequence[Mapping[str, object]] = ()
    """Of the manifest, beside two models."""
    signed: Mapping[str, SignedDomain] = field(default_factory=dict)
    """What owners have signed, by domain."""
    peers: Sequence[str] = ()
    """Networks of boxes with which files are exchanged."""
    synthetic: SyntheticBox = field(init=False)
    volume_keys: dict[str, bytes] = field(init=False, default_factory=dict)
    port: int = field(init=False)

    def __post_init__(self) -> None:
        """Make the service's folder, a release, and register it."""
        self.make_service()
        generate_keys(self.keys, organisation="Simulated", now=datetime.datetime.now(datetime.UTC))
        keys = load_keys(self.keys)
        finance = payload_fields("f1" * 32) | {
            "payload_id": "finance",
            "domain": "finance",
            "partition_label": "payload-finance",
        }
        changes: dict[str, Any] = {
            "release_key": keys.release_pem,
            "payloads": [payload_fields(), finance, *self.more_payloads],
            "peers": list(self.peers),
        }
        changes |= {"domains": [summarise(one, self.signed.get(one.name)) for one in self.domains]}
        self.synthetic = SyntheticBox(manifest_key=keys.manifest, manifest_changes=changes)
        self.image.mkdir()
        assert keys.release is not None
        self._write_output(self.image, keys.release)
        self.import_release()

    def make_service(self) -> None:
        """Make the service's folder."""
        self.port = free_port()
        url = f"https://127.0.0.1:{self.port}"
        self.command("init", self.license_directory, "--url", url, "--name", "service-1")

    def command(self, *arguments: str | Path) -> str:
        """Run ``sealwright-license``; returns what it printed.

        Raises:
            AssertionError: it exited with an error.
        """
        return license_command(*arguments)

    def copy(self, directory: Path) -> SimulatedVendor:
        """The same vendor in another folder; its service must not run."""
        shutil.copytree(self.directory, directory)
        made = copy.copy(self)
        made.directory, made.volume_keys = directory, dict(self.volume_keys)
        return made

    def update(self, version: str, *, new_release_key: bool = False) -> None:
        """Build another release for the service as it is now, with partitions of its own, and register it."""
        keys = load_keys(self.keys)
        release_key = ec.generate_private_key(ec.SECP256R1()) if new_release_key else keys.release
        assert release_key is not None
        medical, finance = (
            payload_fields(hashlib.sha256(f"{name} {version}".encode()).hexdigest()) for name in ("medical", "finance")
        )
        finance |= {"payload_id": "finance", "domain": "finance", "partition_label": "payload-finance"}
        changes = dict(self.synthetic.manifest_changes) | {
            "product_version": version,
            "payloads": [medical, finance],
            "domains": [summarise(one) for one in self.domains],
            "release_key": public_pem(release_key.public_key()),
            "service_file": hashlib.sha256(self.service_file.read_bytes()).hexdigest(),
        }
        self.synthetic = replace(self.synthetic, manifest_changes=changes)
        self._write_output(self.image, release_key)
        self.import_release()

    def import_release(self) -> None:
        """Make the release, as it is now, known to the service."""
        key = self.image / "manifest-key.pem"
        self.command("release", "import", self.license_directory, self.image, "--manifest-key", key)

    @property
    def keys(self) -> Path:
        """The folder of the image's signing keys."""
        return self.directory / "keys"

    @property
    def image(self) -> Path:
        """What a build leaves, but for the disk."""
        return self.directory / "image"

    @property
    def license_directory(self) -> Path:
        """The service's folder."""
        return self.directory / "license"

    @property
    def release(self) -> Release:
        """What boxes of this vendor run."""
        return self.synthetic.release

    def esp_files(self) -> list[tuple[str, bytes]]:
        """What an image has on its ESP for the box, paths and contents."""
        found = ((MANIFEST_ON_ESP, self.image / "manifest.json"), (VARIANTS_ON_ESP, self.image / "variants.json"))
        return [(name, file.read_bytes()) for name, file in found if file.exists()]

    @property
    def service_file(self) -> Path:
        """What an image knows of the service."""
        return self.license_directory / "license-service.json"

    @property
    def service(self) -> LicenseService:
        """The same, parsed."""
        return parse_json(LicenseService, self.service_file.read_bytes(), limit=64 * 1024)

    def issue(self, *options: str) -> IssuedLicense:
        """Issue a licence for one box with a software TPM."""
        wanted = ("--product", PRODUCT, "--tier", "software", *options, "--json")
        printed = self.command("license", "issue", self.license_directory, *wanted)
        reply = json.loads(printed)
        return IssuedLicense(reply["license_id"], reply["activation_code"])

    def trust_tpm_maker(self, tpm: SoftwareTpm) -> None:
        """Accept TPMs of this maker."""
        certificates = [tpm.ca_directory / name for name in ("swtpm-localca-rootca-cert.pem", "issuercert.pem")]
        self.command("roots", "add", self.license_directory, *certificates, "--tier", "software")

    @contextmanager
    def serving(self) -> Iterator[None]:
        """The service runs."""
        argv = [str(Path(sys.executable).parent / "sealwright-license"), "serve", str(self.license_directory)]
        with (self.directory / "service.log").open("ab") as log:
            process = subprocess.Popen(
                [*argv, "--host", "127.0.0.1", "--port", str(self.port)], stdout=log, stderr=subprocess.STDOUT
            )
        try:
            self._wait(process)
            yield
        finally:
            process.kill()
            process.wait()

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise RuntimeError(f"the licence service ended:\n{(self.directory / 'service.log').read_text()}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError("the licence service did not listen in time")

    def _write_output(self, output: Path, release_key: ec.EllipticCurvePrivateKey) -> None:
        release, service = self.synthetic.release, self.service
        lease_key = load_p256_public_key(service.custodian_keys.lease_share)
        share_key = load_p256_public_key(service.custodian_keys.release_share)
        wrapped: list[PartitionWrappedShares] = []
        for payload in release.manifest.payloads:
            partition = bytes.fromhex(payload.verity.root_hash)
            a, b = key_shares(payload.verity.root_hash)
            owner = owner_key_id(release.manifest, payload.domain)
            self.volume_keys[payload.verity.root_hash] = volume_key(payload.verity.root_hash, owner)
            wrapped.append(
                PartitionWrappedShares(
                    partition_id=payload.verity.root_hash,
                    lease_share=wrap_share(lease_key, a, partition_id=partition, name="lease"),
                    release_share=wrap_share(share_key, b, partition_id=partition, name="release"),
                )
            )
        shares = WrappedShares(
            version=1, release_id=release.release_id, service_id=service.service_id, partitions=wrapped
        )
        (output / "uki.efi").write_bytes(self.synthetic.uki)
        (output / "manifest.json").write_bytes(self.synthetic.release_envelope)
        (output / "shares.json").write_bytes(document_bytes(shares))
        approvals = (approval.model_dump_json() for approval in sign_approvals(release, release_key))
        (output / "approvals.json").write_text(f"[{','.join(approvals)}]")
        (output / "manifest-key.pem").write_bytes(
            self.synthetic.manifest_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )


@dataclass
class SimulatedBox:
    """A TPM and a root folder; :meth:`boot` takes it to the unseal point, :meth:`go_up` behind it."""

    vendor: SimulatedVendor
    directory: Path
    tpm: SoftwareTpm

    @classmethod
    def manufacture(cls, vendor: SimulatedVendor, directory: Path) -> SimulatedBox:
        """A new box, off."""
        directory.mkdir(parents=True)
        box = cls(vendor, directory, SoftwareTpm.manufacture(directory / "tpm"))
        vendor.trust_tpm_maker(box.tpm)
        box.install()
        return box

    def copy(self, directory: Path) -> SimulatedBox:
        """The same box with a copy of its TPM, off. This one must be off too."""
        shutil.copytree(self.directory, directory)
        return SimulatedBox(self.vendor, directory, SoftwareTpm(directory / "tpm"))

    @property
    def paths(self) -> Paths:
        """Anew after each start of the TPM: its port changes."""
        return Paths(root=self.directory / "root", tcti=self.tpm.tcti, gateway_group=None, agent_user=None)

    @property
    def store(self) -> LeaseStore:
        """What the box keeps."""
        paths = self.paths
        return LeaseStore(paths.leases, paths.shares, paths.identity, self.service, release_status(self.vendor.release))

    @property
    def service(self) -> LicenseService:
        """The licence service as the installed image knows it."""
        return parse_json(LicenseService, self.paths.service.read_bytes(), limit=64 * 1024)

    def boot(self, *, events: Iterable[LoggedEvent] | None = None) -> None:
        """Switch on, off before if need be without warning, and measure up to the unseal point."""
        if self.tpm.process is not None:
            self.tpm.kill()
        self.tpm.start()
        measure_boot(self.paths, self.vendor.synthetic.boot_events() if events is None else events)

    def go_up(self) -> None:
        """What comes after unlocking: PCR 15 is closed, the system is ready."""
        self.measure(15, UNLOCKED_WORD)
        self.measure(11, "ready")

    def measure(self, pcr: int, word: str) -> None:
        """Measure a word as systemd does, into PCR and log."""
        measure_word(self.paths, pcr, word)

    def extend(self, pcr: int, digest: bytes) -> None:
        """Extend a PCR, in no log."""
        with ESAPI(self.tpm.tcti) as esapi:
            TpmSession(esapi).extend(pcr, digest)

    def off(self) -> None:
        """Switch off in order. CLEAR, as the kernel does: behind STATE the next start would not count as a reset."""
        with ESAPI(self.tpm.tcti) as esapi:
            esapi.shutdown(TPM2_SU.CLEAR)
        self.tpm.stop()

    def enroll(self, activation_code: str) -> Enrolled:
        """Enrol with the vendor's service."""
        client = LicenseClient(self.service)
        try:
            return enroll(self.paths, client, self.store, self.vendor.release.release_id, activation_code)
        finally:
            client.close()

    @contextmanager
    def renewal(self) -> Iterator[Renewal]:
        """What a renewal works with."""
        identity = self.store.load_identity()
        assert identity is not None
        client = LicenseClient(self.service)
        try:
            yield Renewal(self.paths, client, self.store, identity, self.vendor.release.release_id)
        finally:
            client.close()

    def install(self) -> None:
        """Write what comes with the vendor's present image."""
        paths = Paths(root=self.directory / "root")
        root_hash = self.vendor.release.manifest.os.root_hash
        for path, content in (
            (paths.service, self.vendor.service_file.read_bytes()),
            (paths.manifest_key, (self.vendor.image / "manifest-key.pem").read_bytes()),
            (paths.release_key, self.vendor.release.manifest.release_key.encode()),
            (paths.partition("esp"), fat32_volume(*self.vendor.esp_files())),
            (paths.kernel_command_line, f"quiet roothash={root_hash}\n".encode()),
            (paths.mount_options, document_bytes(mounts_of(self.vendor.release.manifest.payloads))),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        paths.domains.mkdir(parents=True, exist_ok=True)
        for domain in self.vendor.domains:
            (paths.domains / f"{domain.name}.json").write_bytes(canonical_form(domain))


def mounts_of(payloads: Iterable[Payload]) -> ReleaseMounts:
    """What domains that let all of them run or be read compile to."""
    options = {one.payload_id: EVERY if one.kind is PayloadKind.WORKLOAD else (*EVERY, *INERT) for one in payloads}
    return ReleaseMounts(version=1, options=options)


def measure_boot(paths: Paths, events: Iterable[LoggedEvent]) -> None:
    """Measure a boot up to the unseal point, into a TPM that has just started and into the logs."""
    measured = list(events)
    paths.firmware_log.parent.mkdir(parents=True, exist_ok=True)
    paths.firmware_log.write_bytes(LogWriter().log(measured))
    paths.userspace_log.parent.mkdir(parents=True, exist_ok=True)
    paths.userspace_log.write_bytes(b"")
    with ESAPI(paths.tcti) as esapi:
        for event in measured:
            if event.type != EventType.EV_NO_ACTION:
                TpmSession(esapi).extend(event.pcr, event.digest(ALG_SHA256))
    for word in UNSEAL_PHASES:
        measure_word(paths, 11, word)


def measure_word(paths: Paths, pcr: int, word: str) -> None:
    """Measure a word as systemd does, into PCR and log."""
    with paths.userspace_log.open("ab") as log:
        log.write(userspace_record(pcr, word))
    with ESAPI(paths.tcti) as esapi:
        TpmSession(esapi).extend(pcr, hashlib.sha256(word.encode()).digest())


def new_enrolled_box(vendor: SimulatedVendor, directory: Path, *options: str) -> SimulatedBox:
    """A box after its activation, still up."""
    box = SimulatedBox.manufacture(vendor, directory)
    box.boot()
    box.go_up()
    box.enroll(vendor.issue(*options).activation_code)
    return box


def license_command(*arguments: str | Path) -> str:
    """Run ``sealwright-license`` in this process, which saves its start; returns what it printed.

    Raises:
        AssertionError: it exited with an error.
    """
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        code = license_cli.main([str(argument) for argument in arguments])
    assert code == 0, printed.getvalue()
    return printed.getvalue()
