"""Checks an output folder against its signed manifest, without decrypting anything.

Every artefact's hash, every signature, the partition table, the root's integrity tree, the UKI's signature and what is
predicted from it. All checks run; the result lists each with what was found. What it cannot see: whether a payload's
plaintext is what its model's owner meant; that the box proves by the integrity tree, inside the encryption.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

from sealwright_image import output as names
from sealwright_image.contents import ImageFolder, load_approvals, load_shares
from sealwright_image.disk import ESP_TYPE, Partition, read_table
from sealwright_image.esp import UKI_ON_ESP, esp_files, read_from_esp
from sealwright_image.firewall import FIREWALL_PATH, peer_rules, peer_rules_among
from sealwright_image.run import Tools
from sealwright_image.secure_boot import SecureBootFiles
from sealwright_policies.appraisal.boot_variants import VARIANTS_ON_ESP
from sealwright_policies.appraisal.measurements import predict_measurements
from sealwright_policies.appraisal.pe import uki_sections
from sealwright_policies.appraisal.reference_values import MANIFEST_ON_ESP
from sealwright_policies.errors import FormatError, RejectionCode, SealwrightError, VerificationError
from sealwright_policies.wire.approval_request import wanted_approvals
from sealwright_policies.wire.envelope import load_p256_public_key
from sealwright_policies.wire.release_approval import verify_release_approval

_CHUNK = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    check: str
    problem: str
    """Empty if it holds."""


def verify_image(folder: ImageFolder, tools: Tools) -> list[Finding]:
    """Run every check.

    Args:
        folder: Its manifest's signature has been verified.
        tools: The tools root.
    """
    findings = []
    for name, check in _checks(folder, tools):
        try:
            check()
        except OSError as error:
            findings.append(Finding(name, f"{error.filename}: {error.strerror}"))
        except SealwrightError as error:
            findings.append(Finding(name, str(error)))
        else:
            findings.append(Finding(name, ""))
    return findings


def _checks(folder: ImageFolder, tools: Tools) -> Iterator[tuple[str, Callable[[], None]]]:
    manifest = folder.release.manifest
    partitions: dict[str, Partition] = {}
    yield "bill of materials: hash", lambda: _check_file(folder.path / names.SBOM, manifest.sbom.sha256)
    yield "UKI: hash", lambda: _check_file(folder.path / names.UKI, manifest.os.uki_sha256)
    yield "UKI: signed by db", lambda: _check_uki_signature(folder, tools)
    yield "UKI: command line, with the root hash", lambda: _check_command_line(folder)
    yield "predicted measurements", lambda: _check_measurements(folder)
    yield "Secure Boot files", lambda: _check_secure_boot(folder)
    yield "partition table", lambda: _check_table(folder, tools, partitions)
    yield "root, root-verity: hashes", lambda: _check_os_partitions(folder, partitions)
    yield "root: integrity tree", lambda: _check_root_tree(folder, tools, partitions)
    if manifest.peers is not None:
        yield "root: packet filter with the manifest's peers", lambda: _check_peers(folder, tools, partitions)
    yield "ESP: kernel image and signed documents, nothing else", lambda: _check_esp(folder, tools, partitions)
    yield "binding, state: empty", lambda: _check_empty(folder, partitions)
    for payload in manifest.payloads:
        label, expected = payload.partition_label, payload.ciphertext_sha256
        yield (
            f"{label}: hash",
            lambda label=label, expected=expected: _check_extent(  # type: ignore[misc]
                folder.disk, _found(partitions, label), expected
            ),
        )
    yield "key shares: wrapped, for this release", lambda: _check_shares(folder)
    yield "release approvals: signed, complete", lambda: _check_approvals(folder)


def _mismatch(message: str) -> VerificationError:
    return VerificationError(RejectionCode.MANIFEST_MISMATCH, message)


def _check_file(path: Path, expected: str) -> None:
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected:
        raise _mismatch(f"{path.name} has SHA-256 {found}, the manifest says {expected}.")


def _check_uki_signature(folder: ImageFolder, tools: Tools) -> None:
    certificate = folder.path / names.SECURE_BOOT / "db.pem"
    tools.run(["sbverify", "--cert", certificate, folder.path / names.UKI], binds=[folder.path])


def _check_command_line(folder: ImageFolder) -> None:
    manifest = folder.release.manifest
    section = uki_sections((folder.path / names.UKI).read_bytes()).get(".cmdline", b"")
    found = section.rstrip(b"\0").decode("utf-8", "replace")
    if found != manifest.os.kernel_command_line:
        raise _mismatch(f"The UKI's command line is {found!r}, the manifest says {manifest.os.kernel_command_line!r}.")
    if f"roothash={manifest.os.root_hash}" not in found.split():
        raise _mismatch("The UKI's command line does not carry the manifest's root hash.")


def _check_measurements(folder: ImageFolder) -> None:
    expected = folder.release.manifest.measurements
    keys = SecureBootFiles.load(folder.path / names.SECURE_BOOT).firmware_keys()
    phases = expected.boot_phases
    uki = (folder.path / names.UKI).read_bytes()
    found = predict_measurements(uki, keys, phases.unseal_phases, phases.running_phases)
    for field in type(found).model_fields:
        if getattr(found, field) != getattr(expected, field):
            raise _mismatch(f"What the UKI and the keys predict differs from the manifest: {field}.")


def _check_secure_boot(folder: ImageFolder) -> None:
    variables: dict[str, bytes] = {
        variable.name: variable.data for variable in folder.release.manifest.measurements.secure_boot.variables
    }
    files = SecureBootFiles.load(folder.path / names.SECURE_BOOT)
    for name, content in files.lists.items():
        if content != variables.get(name):
            raise _mismatch(f"{names.SECURE_BOOT}/{name}.esl is not what the manifest expects in {name}.")
    keys = files.firmware_keys()
    if (keys.pk, keys.kek, keys.db) != tuple(files.lists[name] for name in ("PK", "KEK", "db")):
        raise _mismatch("The certificates and owner GUID do not make the signature lists beside them.")


def _check_table(folder: ImageFolder, tools: Tools, partitions: dict[str, Partition]) -> None:
    """Also fills ``partitions`` for the checks behind it."""
    manifest = folder.release.manifest
    table = read_table(tools, folder.disk)
    partitions |= {entry.label: entry for entry in table}
    os_labels = {artefact.name for artefact in manifest.artefacts if artefact.name.startswith("root")}
    expected = {"esp", "binding", "state"} | os_labels | {payload.partition_label for payload in manifest.payloads}
    if {entry.label for entry in table} != expected or len(table) != len(expected):
        raise _mismatch(f"The partitions are {[entry.label for entry in table]}, expected {sorted(expected)}.")
    uuids = {payload.partition_label: (payload.partition_uuid, payload.size) for payload in manifest.payloads}
    for label, (identity, size) in uuids.items():
        if partitions[label].uuid != identity or partitions[label].size != size:
            raise _mismatch(f"Partition {label} has another UUID or size than the manifest says.")
    if partitions["root"].uuid != manifest.os.root_partition_uuid:
        raise _mismatch("The root partition's UUID is not the first half of the root hash.")
    if partitions["root-verity"].uuid != manifest.os.verity_partition_uuid:
        raise _mismatch("The root-verity partition's UUID is not the second half of the root hash.")
    if partitions["esp"].type != ESP_TYPE:
        raise _mismatch("The esp partition is not of the type that firmware boots from.")


def _found(partitions: dict[str, Partition], label: str) -> Partition:
    if label not in partitions:
        raise _mismatch(f"There is no partition {label!r}.")
    return partitions[label]


def _check_os_partitions(folder: ImageFolder, partitions: dict[str, Partition]) -> None:
    for artefact in folder.release.manifest.artefacts:
        if artefact.name.startswith("root"):
            _check_extent(folder.disk, _found(partitions, artefact.name), artefact.sha256, artefact.size)


def _check_extent(disk: Path, partition: Partition, expected: str, size: int | None = None) -> None:
    digest = hashlib.sha256()
    for chunk in _read_extent(disk, partition, size):
        digest.update(chunk)
    if digest.hexdigest() != expected:
        raise _mismatch(f"Partition {partition.label} has SHA-256 {digest.hexdigest()}, the manifest says {expected}.")


def _read_extent(disk: Path, partition: Partition, size: int | None = None) -> Iterator[bytes]:
    left = partition.size if size is None else size
    with disk.open("rb") as stream:
        stream.seek(partition.offset)
        while left:
            chunk = stream.read(min(left, _CHUNK))
            if not chunk:
                raise FormatError(f"{disk}: the image ends inside partition {partition.label}.")
            left -= len(chunk)
            yield chunk


def _check_root_tree(folder: ImageFolder, tools: Tools, partitions: dict[str, Partition]) -> None:
    with tempfile.TemporaryDirectory(prefix="sealwright-verify-", dir="/var/tmp") as scratch:
        files = []
        for label in ("root", "root-verity"):
            path = Path(scratch) / label
            with path.open("wb") as stream:
                for chunk in _read_extent(folder.disk, _found(partitions, label)):
                    stream.write(chunk)
            files.append(path)
        tools.run(["veritysetup", "verify", *files, folder.release.manifest.os.root_hash])


def _check_peers(folder: ImageFolder, tools: Tools, partitions: dict[str, Partition]) -> None:
    root = _found(partitions, "root")
    read: list[str | Path] = ["dump.erofs", f"--offset={root.offset}", "--cat", f"--path=/{FIREWALL_PATH}", folder.disk]
    found = peer_rules_among(tools.run(read, binds=[folder.path]).decode("utf-8", "replace"))
    expected = peer_rules([ip_network(one) for one in folder.release.manifest.peers or ()])
    if found != expected:
        raise _mismatch(
            f"The packet filter of the root says {found.strip()!r} of peers, expected {expected.strip()!r}."
        )


def _check_esp(folder: ImageFolder, tools: Tools, partitions: dict[str, Partition]) -> None:
    esp = _found(partitions, "esp")
    found = esp_files(folder.disk, esp.offset, tools)
    expected = {UKI_ON_ESP: names.UKI, MANIFEST_ON_ESP: names.MANIFEST}
    if folder.release.variants:
        expected[VARIANTS_ON_ESP] = names.VARIANTS
    if found != set(expected):
        raise _mismatch(f"The ESP holds {sorted(found)}, expected {sorted(expected)}.")
    for name, file in expected.items():
        if read_from_esp(folder.disk, esp.offset, name, tools) != (folder.path / file).read_bytes():
            raise _mismatch(f"{name} on the ESP differs from {file}.")


def _check_empty(folder: ImageFolder, partitions: dict[str, Partition]) -> None:
    for label in ("binding", "state"):
        if any(chunk.strip(b"\0") for chunk in _read_extent(folder.disk, _found(partitions, label))):
            raise _mismatch(f"Partition {label} is not empty; only a box writes to it.")


def _check_shares(folder: ImageFolder) -> None:
    shares = load_shares(folder)
    manifest = folder.release.manifest
    if shares.release_id != folder.release.release_id or shares.service_id != manifest.service_id:
        raise _mismatch(f"{names.SHARES} is for another release or licence service.")
    if [entry.partition_id for entry in shares.partitions] != [item.verity.root_hash for item in manifest.payloads]:
        raise _mismatch(f"{names.SHARES} does not hold the shares of exactly the manifest's partitions.")


def _check_approvals(folder: ImageFolder) -> None:
    manifest = folder.release.manifest
    approvals = load_approvals(folder)
    key = load_p256_public_key(manifest.release_key)
    for approval in approvals:
        verify_release_approval(approval, key)
    found = {(item.release_id, item.partition_id, json.dumps(item.pcrs, sort_keys=True)) for item in approvals}
    expected = {
        (folder.release.release_id, one.partition_id, json.dumps(one.pcrs, sort_keys=True))
        for one in wanted_approvals(folder.release)
    }
    if found != expected or len(approvals) != len(expected):
        asked = folder.path / names.APPROVAL_REQUEST
        hint = f" {names.APPROVAL_REQUEST} waits to be signed." if asked.exists() else ""
        raise _mismatch(f"{names.APPROVALS} does not approve exactly the release's partitions and boot states.{hint}")
