"""A whole build, its payload partitions read back by tools that share no code with it."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from sealwright_appliance.esp import read_esp_file
from sealwright_image.contents import load_approvals, load_folder, load_shares
from sealwright_image.disk import read_table
from sealwright_image.domains import load_domains
from sealwright_image.esp import UKI_ON_ESP
from sealwright_image.run import Tools
from sealwright_image.verity import verify_tree
from sealwright_policies.appraisal.reference_values import MANIFEST_ON_ESP, Payload, WrappedShare
from sealwright_policies.domains.canonical import summarise
from sealwright_policies.domains.compiler.outflow import outflow
from sealwright_policies.domains.files import load_domain
from sealwright_policies.domains.ownership import owner_key_id
from sealwright_policies.errors import OperationError
from sealwright_policies.outflow import OUTFLOW_FILE, parse_outflow
from sealwright_policies.wire.custodian_wrap import ShareName, unwrap_share
from sealwright_policies.wire.envelope import load_p256_public_key
from sealwright_policies.wire.release_approval import verify_release_approval
from sealwright_policies.wire.volume_key import derive_volume_key, key_check
from sealwright_testing.image_inputs import write_model

from .conftest import MODEL_BYTES, PAYLOADS, Product

TOOLS = Tools()


def volume_key(product: Product, image: Path, payload: Payload) -> bytes:
    """As licence service and box come to it: both custodians unwrap their share."""
    wrapped = next(
        entry for entry in load_shares(load_folder(image)).partitions if entry.partition_id == payload.verity.root_hash
    )
    partition_id = bytes.fromhex(payload.verity.root_hash)

    def unwrap(key: ec.EllipticCurvePrivateKey, share: WrappedShare, name: ShareName) -> bytes:
        return unwrap_share(
            lambda point: key.exchange(ec.ECDH(), point), key.public_key(), share, partition_id=partition_id, name=name
        )

    return derive_volume_key(
        unwrap(product.service.lease_custodian, wrapped.lease_share, "lease"),
        unwrap(product.service.release_custodian, wrapped.release_share, "release"),
        partition_id,
        owner_key_id(load_folder(image).release.manifest, payload.domain),
    )


def decrypt_partition(product: Product, image: Path, payload: Payload, target: Path) -> None:
    """Plain dm-crypt by the manifest's parameters."""
    assert (payload.dm_crypt.cipher, payload.dm_crypt.sector_size) == ("aes-xts-plain64", 4096)
    place = next(entry for entry in read_table(TOOLS, image / "disk.raw") if entry.uuid == payload.partition_uuid)
    key = volume_key(product, image, payload)
    with (image / "disk.raw").open("rb") as disk, target.open("wb") as plain:
        disk.seek(place.offset)
        for offset in range(0, payload.size, 4096):
            tweak = (offset // 512).to_bytes(16, "little")
            plain.write(Cipher(algorithms.AES(key), modes.XTS(tweak)).decryptor().update(disk.read(4096)))


@pytest.mark.parametrize("payload_id", PAYLOADS)
def test_a_payload_can_be_read_back(product: Product, image: Path, payload_id: str, tmp_path: Path) -> None:
    manifest = load_folder(image).release.manifest
    payload = next(entry for entry in manifest.payloads if entry.payload_id == payload_id)
    assert payload.key_check == key_check(volume_key(product, image, payload), bytes.fromhex(payload.verity.root_hash))
    plain = tmp_path / "plain"
    decrypt_partition(product, image, payload, plain)
    verify_tree(TOOLS, plain, payload.verity)
    TOOLS.run(["fsck.erofs", f"--extract={tmp_path / 'read'}", plain])
    assert (tmp_path / "read" / payload.file_name).read_bytes() == (product.folder / f"{payload_id}.gguf").read_bytes()
    assert stat.S_IMODE((tmp_path / "read" / payload.file_name).stat().st_mode) & 0o444 == 0o444
    assert payload.license_text == (product.folder / "LICENSE.txt").read_text()


def test_weights_lie_in_blocks_of_their_own(product: Product, image: Path, tmp_path: Path) -> None:
    """To the last: what shares a block with an inode is in the page cache as long as the payload is mounted."""
    payload = load_folder(image).release.manifest.payloads[0]
    decrypt_partition(product, image, payload, tmp_path / "plain")
    model = (product.folder / f"{payload.payload_id}.gguf").read_bytes()
    assert len(model) % 4096
    place = (tmp_path / "plain").read_bytes().find(model)
    assert place > 0
    assert place % 4096 == 0


def test_a_changed_block_fails_the_integrity_tree(product: Product, image: Path, tmp_path: Path) -> None:
    payload = load_folder(image).release.manifest.payloads[0]
    plain = tmp_path / "plain"
    decrypt_partition(product, image, payload, plain)
    with plain.open("r+b") as stream:
        stream.seek(1_000_000)
        stream.write(b"\x00\x01")
    with pytest.raises(OperationError, match="veritysetup failed"):
        verify_tree(TOOLS, plain, payload.verity)


def test_no_plaintext_of_a_model_is_on_the_disk(product: Product, image: Path) -> None:
    disk = (image / "disk.raw").read_bytes()
    for payload_id in PAYLOADS:
        model = (product.folder / f"{payload_id}.gguf").read_bytes()
        assert model[1_000_000:1_000_064] not in disk
    assert b"general.architecture" not in disk


def test_the_manifest_lists_the_domains(product: Product, image: Path) -> None:
    manifest = load_folder(image).release.manifest
    assert manifest.domains == [summarise(load_domain(product.folder / "domains/medical.toml").domain)]
    assert manifest.peers == []
    assert {payload.domain for payload in manifest.payloads} == {"medical"}


def test_the_root_says_what_may_leave_each_model(product: Product, image: Path, tmp_path: Path) -> None:
    """By the domains of the product; the gateway reads it there."""
    place = next(entry for entry in read_table(TOOLS, image / "disk.raw") if entry.label == "root")
    root = tmp_path / "root.raw"
    with (image / "disk.raw").open("rb") as disk, root.open("wb") as out:
        disk.seek(place.offset)
        out.write(disk.read(place.size))
    TOOLS.run(["fsck.erofs", f"--extract={tmp_path / 'tree'}", root])
    said = parse_outflow((tmp_path / "tree" / OUTFLOW_FILE.lstrip("/")).read_bytes())
    domains = load_domains(product.config)
    assert said == outflow(domains)
    assert set(said.models) == set(PAYLOADS)


def test_partitions_never_share_id_or_key(product: Product, image: Path, tmp_path: Path) -> None:
    """The same model built twice: another salt, so another id, and other shares."""
    first = load_folder(image).release.manifest
    again = load_folder(product.build(tmp_path / "again").output).release.manifest
    ids = {payload.verity.root_hash for manifest in (first, again) for payload in manifest.payloads}
    assert len(ids) == 2 * len(PAYLOADS)
    assert first.os == again.os
    assert first.measurements == again.measurements


def test_the_table_lets_firmware_and_systemd_find_what_they_need(image: Path) -> None:
    manifest = load_folder(image).release.manifest
    table = read_table(TOOLS, image / "disk.raw")
    assert [entry.label for entry in table] == [
        *("esp", "root", "root-verity", "binding", "state", "payload-medical", "payload-finance")
    ]
    by_label = {entry.label: entry for entry in table}
    root_hash = manifest.os.root_hash
    assert by_label["root"].uuid.replace("-", "") + by_label["root-verity"].uuid.replace("-", "") == root_hash
    assert all(entry.offset % 1_048_576 == 0 and entry.size % 1_048_576 == 0 for entry in table)
    assert by_label["state"].size == 128 * 1024 * 1024
    answer = TOOLS.run(["sfdisk", "--verify", image / "disk.raw"])
    assert b"No errors detected" in answer


def test_the_box_finds_its_manifest_without_mounting_the_esp(image: Path, tmp_path: Path) -> None:
    """Its own reader, on what mkfs.fat and mtools made; the kernel image spans many clusters."""
    esp = next(entry for entry in read_table(TOOLS, image / "disk.raw") if entry.label == "esp")
    with (image / "disk.raw").open("rb") as disk:
        disk.seek(esp.offset)
        (tmp_path / "esp").write_bytes(disk.read(esp.size))
    for path, name in ((MANIFEST_ON_ESP, "manifest.json"), (UKI_ON_ESP, "uki.efi")):
        content = (image / name).read_bytes()
        assert read_esp_file(tmp_path / "esp", path, len(content)) == content
    assert read_esp_file(tmp_path / "esp", "EFI/sealwright/none.json", 1) is None


def test_empty_partitions_take_no_space(image: Path) -> None:
    disk = (image / "disk.raw").stat()
    assert disk.st_size > 200 * 1024 * 1024
    assert disk.st_blocks * 512 < 100 * 1024 * 1024


def test_every_partition_is_approved_for_every_way_to_boot(image: Path) -> None:
    folder = load_folder(image)
    key = load_p256_public_key(folder.release.manifest.release_key)
    approvals = load_approvals(folder)
    ways = folder.release.manifest.measurements.boot_applications
    assert len(approvals) == (len(PAYLOADS) + 1) * len(ways)  # and the domain key
    for approval in approvals:
        verify_release_approval(approval, key)
        assert approval.release_id == folder.release.release_id
        assert set(approval.pcrs) == {"4", "11", "12", "13", "15"}


def test_what_leaves_the_build_holds_no_private_key(product: Product, image: Path) -> None:
    for path in image.rglob("*"):
        if path.is_file() and path.name != "disk.raw":
            assert b"PRIVATE KEY" not in path.read_bytes(), path
    assert {path.name for path in image.iterdir()} == {
        *("disk.raw", "manifest.json", "manifest-key.pem", "shares.json", "approvals.json", "sbom.json", "uki.efi"),
        *("secure-boot", "build.json", "trusted-base.json"),
    }


def test_every_step_is_timed(image: Path) -> None:
    steps = {step["name"] for step in json.loads((image / "build.json").read_text())["steps"]}
    assert {"medical: file system", "medical: integrity tree", "medical: encryption"} <= steps


def test_a_private_model_file_is_readable_inside(product: Product, tmp_path: Path) -> None:
    """The engine runs as its own user; a model that only the vendor could read must not lock it out."""
    model = product.folder / "medical.gguf"
    model.chmod(0o600)
    try:
        image = product.build(tmp_path / "out").output
    finally:
        model.chmod(0o644)
    payload = load_folder(image).release.manifest.payloads[0]
    decrypt_partition(product, image, payload, tmp_path / "plain")
    TOOLS.run(["fsck.erofs", f"--extract={tmp_path / 'read'}", tmp_path / "plain"])
    assert stat.S_IMODE((tmp_path / "read" / payload.file_name).stat().st_mode) == 0o444


BUILD_SCRIPT = """
import sys
from pathlib import Path
from sealwright_image.config import load_config
from sealwright_image.pipeline import build_image
from sealwright_image.progress import Progress
from sealwright_testing.small_os import small_os
folder, output = map(Path, sys.argv[1:])
build_image(load_config(folder / "product.toml"), output, Progress(sys.stdout), os_source=small_os(folder))
"""


def processes_of(session: int) -> list[int]:
    """Processes of a session that are not zombies."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize("moment", ["medical: file system", "medical: integrity tree", "finance: encryption"])
def test_a_killed_build_leaves_no_image_and_the_next_one_cleans_up(
    product: Product, tmp_path: Path, moment: str
) -> None:
    output = tmp_path / "out"
    model = product.folder / "finance.gguf"
    kept = model.read_bytes()
    write_model(model, 64_000_000)
    argv = [sys.executable, "-c", BUILD_SCRIPT]
    try:
        build = subprocess.Popen(
            [*argv, str(product.folder), str(output)],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert build.stdout is not None
        for line in build.stdout:
            if line.strip() == f"{moment} …":
                os.kill(build.pid, signal.SIGKILL)
                break
        assert build.wait() == -signal.SIGKILL
    finally:
        model.write_bytes(kept)
    assert not output.exists()
    assert [path.name.partition("-")[0] for path in tmp_path.iterdir()] == ["out.partial"]
    while processes_of(build.pid):  # children get SIGKILL or a broken pipe; the test's own time limit ends a hang
        pass
    product.build(output)
    assert list(tmp_path.iterdir()) == [output]


def test_force_replaces_the_image_as_a_whole(product: Product, copy: Path) -> None:
    before = load_folder(copy).release.release_id
    product.build(copy, force=True)
    assert load_folder(copy).release.release_id != before


def test_other_models_do_not_rebuild_the_os(product: Product, image: Path, tmp_path: Path) -> None:
    """Other weights of the same size: the root says how much memory a model needs. It is random here, so a second build
    would show."""
    write_model(product.folder / "medical.gguf", MODEL_BYTES)
    again = load_folder(product.build(tmp_path / "out").output).release.manifest
    assert again.os == load_folder(image).release.manifest.os
