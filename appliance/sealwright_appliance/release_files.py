"""The release that runs: its manifest from the ESP, verified by keys that are measured with the root."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from sealwright_appliance.esp import read_esp_file
from sealwright_appliance.files import read_file, write_durably
from sealwright_appliance.paths import Paths
from sealwright_policies.appraisal.boot_variants import VARIANTS_LIMIT, VARIANTS_ON_ESP, verify_variants
from sealwright_policies.appraisal.reference_values import MANIFEST_LIMIT, MANIFEST_ON_ESP
from sealwright_policies.appraisal.release import Release, verify_release
from sealwright_policies.engines import ENGINES_LIMIT, NOTHING_KNOWN, ReleaseEngines, parse_engines
from sealwright_policies.errors import OperationError, RejectionCode, VerificationError
from sealwright_policies.mounts import MOUNTS_LIMIT, NO_MOUNTS, ReleaseMounts, parse_mounts
from sealwright_policies.outflow import NOTHING_SAID, OUTFLOW_LIMIT, ReleaseOutflow, parse_outflow
from sealwright_policies.wire.encoding import parse_json
from sealwright_policies.wire.envelope import load_p256_public_key
from sealwright_policies.wire.service import LicenseService

SMALL_FILE = 64 * 1024
ROOT_HASH = "roothash="


def load_release(paths: Paths) -> Release:
    """Verify the manifest, that it is of the root that runs, and that it names the keys measured with that root.

    Whoever has the manifest key alone can neither put a release key of his own in the place of the measured one nor
    bring the box to another licence service.

    Raises:
        OperationError: it is missing.
        FormatError, VerificationError: it is not signed by the manifest key, or is of another root, key or service.
    """
    manifest = read_esp_file(paths.partition("esp"), MANIFEST_ON_ESP, MANIFEST_LIMIT)
    envelope = _required(manifest, "The release manifest on the ESP")
    release = verify_release(envelope, load_manifest_key(paths))
    command_line = _required(read_file(paths.kernel_command_line, SMALL_FILE), "The kernel command line")
    measured_key = _load_key(paths.release_key, "The release key")
    same = {
        "root": root_hash(command_line.decode("ascii", errors="replace")) == release.manifest.os.root_hash,
        "release key": load_p256_public_key(release.manifest.release_key) == measured_key,
        "licence service": load_service(paths).service_id == release.manifest.service_id,
    }
    for what, is_same in same.items():
        if not is_same:
            raise VerificationError(
                RejectionCode.MANIFEST_MISMATCH,
                f"The release manifest on the ESP is of another {what} than the one that this system has.",
            )
    return release


def with_variants(paths: Paths, release: Release) -> Release:
    """The release with the ways through PCR 4 that were signed after its build, where the ESP holds some.

    Raises:
        FormatError, OperationError: they cannot be read.
        VerificationError: they are not signed by the manifest key, or are of another release.
    """
    envelope = read_esp_file(paths.partition("esp"), VARIANTS_ON_ESP, VARIANTS_LIMIT)
    if envelope is None:
        return release
    return verify_variants(envelope, load_manifest_key(paths), release)


def keep_signed_files(paths: Paths, release: Release) -> None:
    """Leave the envelopes of a release for the agent, which reads no disk and shows them to who verifies them.

    Raises:
        FormatError, OperationError: they cannot be read or kept.
    """
    esp = paths.partition("esp")
    manifest = read_esp_file(esp, MANIFEST_ON_ESP, MANIFEST_LIMIT)
    variants = read_esp_file(esp, VARIANTS_ON_ESP, VARIANTS_LIMIT) if release.variants else None
    write_durably(paths.manifest, _required(manifest, "The release manifest on the ESP"), mode=0o644)
    write_durably(paths.variants, variants or b"", mode=0o644)


def load_service(paths: Paths) -> LicenseService:
    """The licence service that this image knows."""
    content = _required(read_file(paths.service, SMALL_FILE), "The licence service file")
    return parse_json(LicenseService, content, limit=SMALL_FILE)


def load_manifest_key(paths: Paths) -> ec.EllipticCurvePublicKey:
    """The key that signs releases, measured with the root."""
    return _load_key(paths.manifest_key, "The manifest key")


def load_mounts(paths: Paths) -> ReleaseMounts:
    """How payloads are mounted; none is where the root says nothing.

    Raises:
        FormatError: it is malformed.
    """
    content = read_file(paths.mount_options, MOUNTS_LIMIT)
    return NO_MOUNTS if content is None else parse_mounts(content)


def load_outflow(paths: Paths) -> ReleaseOutflow:
    """What may leave the models of this image, which is measured; the strictest where it says nothing.

    Raises:
        FormatError: it cannot be understood, so nothing may leave.
    """
    content = read_file(paths.outflow, OUTFLOW_LIMIT)
    return NOTHING_SAID if content is None else parse_outflow(content)


def load_engines(paths: Paths) -> ReleaseEngines:
    """What the models' engines need of the box; where the root says nothing, nothing is known.

    Raises:
        FormatError: it is malformed.
    """
    content = read_file(paths.engines, ENGINES_LIMIT)
    return NOTHING_KNOWN if content is None else parse_engines(content)


def root_hash(command_line: str) -> str:
    """The verity root hash that the kernel was started with; empty if none. The last one counts, as for systemd."""
    found = [word.removeprefix(ROOT_HASH) for word in command_line.split() if word.startswith(ROOT_HASH)]
    return found[-1] if found else ""


def _load_key(path: Path, what: str) -> ec.EllipticCurvePublicKey:
    return load_p256_public_key(_required(read_file(path, SMALL_FILE), what).decode("ascii", errors="replace"))


def _required(content: bytes | None, what: str) -> bytes:
    if content is None:
        raise OperationError(f"{what} is missing.", cure="Install the box anew.")
    return content
