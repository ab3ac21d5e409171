"""The release that runs: its manifest from the ESP, verified by keys that are measured with the root."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec

from sealwright_appliance.esp import read_esp_file
from sealwright_appliance.files import read_file
from sealwright_appliance.paths import Paths
from sealwright_policies.appraisal.boot_variants import VARIANTS_LIMIT, VARIANTS_ON_ESP, verify_variants
from sealwright_policies.appraisal.reference_values import MANIFEST_LIMIT, MANIFEST_ON_ESP
from sealwright_policies.appraisal.release import Release, verify_release
from sealwright_policies.errors import OperationError, RejectionCode, VerificationError
from sealwright_policies.wire.encoding import parse_json
from sealwright_policies.wire.envelope import load_p256_public_key
from sealwright_policies.wire.service import LicenseService

SMALL_FILE = 64 * 1024
ROOT_HASH = "roothash="


def load_release(paths: Paths) -> Release:
    """Verify the manifest and that it is of the root that runs.

    Raises:
        OperationError: it is missing.
        FormatError, VerificationError: it is not signed by the manifest key, or is of another root.
    """
    manifest = read_esp_file(paths.partition("esp"), MANIFEST_ON_ESP, MANIFEST_LIMIT)
    envelope = _required(manifest, "The release manifest on the ESP")
    key = _required(read_file(paths.manifest_key, SMALL_FILE), "The manifest key")
    public_key = load_p256_public_key(key.decode("ascii", errors="replace"))
    release = verify_release(envelope, public_key)
    command_line = _required(read_file(paths.kernel_command_line, SMALL_FILE), "The kernel command line")
    running = root_hash(command_line.decode("ascii", errors="replace"))
    if running != release.manifest.os.root_hash:
        raise VerificationError(
            RejectionCode.MANIFEST_MISMATCH,
            "The release manifest on the ESP is of another root than the one that runs.",
            expected=release.manifest.os.root_hash,
            found=running,
        )
    return _with_variants(release, paths, public_key)


def _with_variants(release: Release, paths: Paths, manifest_key: ec.EllipticCurvePublicKey) -> Release:
    """The release with the ways through PCR 4 that were signed after its build, where the ESP holds some."""
    envelope = read_esp_file(paths.partition("esp"), VARIANTS_ON_ESP, VARIANTS_LIMIT)
    return release if envelope is None else verify_variants(envelope, manifest_key, release)


def load_service(paths: Paths) -> LicenseService:
    """The licence service that this image knows."""
    content = _required(read_file(paths.service, SMALL_FILE), "The licence service file")
    return parse_json(LicenseService, content, limit=SMALL_FILE)


def root_hash(command_line: str) -> str:
    """The verity root hash that the kernel was started with; empty if none. The last one counts, as for systemd."""
    found = [word.removeprefix(ROOT_HASH) for word in command_line.split() if word.startswith(ROOT_HASH)]
    return found[-1] if found else ""


def _required(content: bytes | None, what: str) -> bytes:
    if content is None:
        raise OperationError(f"{what} is missing.", cure="Install the box anew.")
    return content
