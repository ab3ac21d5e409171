"""``verify`` holds for a fresh image, and names the check that fails for every kind of change."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sealwright_image.cli import main
from sealwright_image.contents import load_folder
from sealwright_image.disk import Partition, read_table
from sealwright_image.keys import public_pem
from sealwright_image.run import Tools
from sealwright_image.verify import verify_image
from sealwright_policies.appraisal.release import sign_release

from .conftest import Product

TOOLS = Tools()


def failed(image: Path) -> dict[str, str]:
    """Checks that fail, with what they say."""
    return {finding.check: finding.problem for finding in verify_image(load_folder(image), TOOLS) if finding.problem}


def test_a_fresh_image_passes_every_check(image: Path) -> None:
    findings = verify_image(load_folder(image), TOOLS)
    assert {finding.check: finding.problem for finding in findings if finding.problem} == {}
    assert len(findings) >= 15


def place_of(image: Path, label: str) -> Partition:
    return next(entry for entry in read_table(TOOLS, image / "disk.raw") if entry.label == label)


def flip(image: Path, label: str, offset: int = 70_000) -> None:
    """Change one byte of a partition."""
    with (image / "disk.raw").open("r+b") as stream:
        stream.seek(place_of(image, label).offset + offset)
        byte = stream.read(1)[0]
        stream.seek(-1, 1)
        stream.write(bytes([byte ^ 1]))


def append(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"\n")


def flip_last_byte_of_uki(image: Path) -> None:
    """In the certificate table, which no measurement covers; only the hash of the whole file shows it."""
    content = bytearray((image / "uki.efi").read_bytes())
    content[-1] ^= 1
    (image / "uki.efi").write_bytes(content)


def change_json(path: Path, change: Callable[[Any], object]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def swap_shares(document: Any) -> None:
    document["partitions"].reverse()


def other_release(document: Any) -> None:
    document["release_id"] = "00" * 32


def drop_last(document: Any) -> None:
    document.pop()


def other_state(document: Any) -> None:
    document[0]["pcrs"]["4"] = "00" * 32


def break_signature(document: Any) -> None:
    signature = bytearray(base64.b64decode(document[0]["signature"]))
    signature[-1] ^= 1
    document[0]["signature"] = base64.b64encode(signature).decode()


def add_to_esp(image: Path) -> None:
    offset = place_of(image, "esp").offset
    (image.parent / "addon.efi").write_bytes(b"MZ")
    TOOLS.run(["mcopy", "-i", f"{image / 'disk.raw'}@@{offset}", image.parent / "addon.efi", "::EFI/BOOT/addon.efi"])


def replace_esp_manifest(image: Path) -> None:
    offset = place_of(image, "esp").offset
    (image.parent / "manifest.json").write_bytes(b"{}")
    target = "::EFI/sealwright/manifest.json"
    TOOLS.run(["mcopy", "-o", "-i", f"{image / 'disk.raw'}@@{offset}", image.parent / "manifest.json", target])


def cut_disk(image: Path) -> None:
    with (image / "disk.raw").open("r+b") as stream:
        stream.truncate(place_of(image, "payload-finance").offset + 4096)


def relabel(image: Path) -> None:
    TOOLS.run(["sfdisk", "--part-label", image / "disk.raw", "5", "State"])


def reidentify(image: Path, label: str) -> None:
    number = 1 + [entry.label for entry in read_table(TOOLS, image / "disk.raw")].index(label)
    identity = "5f0a9d3e-1c55-5c0e-9a53-6b8d2f1f7a10"
    TOOLS.run(["sfdisk", "--part-uuid", image / "disk.raw", str(number), identity])


def swap_certificate(image: Path) -> None:
    for form in ("pem", "cer"):
        (image / "secure-boot" / f"db.{form}").write_bytes((image / "secure-boot" / f"KEK.{form}").read_bytes())


CHANGES: list[tuple[Callable[[Path], object], str, str]] = [
    (lambda i: append(i / "sbom.json"), "bill of materials: hash", "the manifest says"),
    (flip_last_byte_of_uki, "UKI: hash", "the manifest says"),
    (lambda i: flip(i, "root"), "root, root-verity: hashes", "Partition root has SHA-256"),
    (lambda i: flip(i, "root", 80_000), "root: integrity tree", "veritysetup failed"),
    (lambda i: flip(i, "root-verity", 5000), "root, root-verity: hashes", "Partition root-verity"),
    (lambda i: flip(i, "payload-medical"), "payload-medical: hash", "the manifest says"),
    (lambda i: flip(i, "payload-finance"), "payload-finance: hash", "the manifest says"),
    (lambda i: flip(i, "state"), "binding, state: empty", "Partition state is not empty"),
    (lambda i: flip(i, "binding"), "binding, state: empty", "Partition binding is not empty"),
    (add_to_esp, "ESP: kernel image and signed documents, nothing else", "addon.efi"),
    (replace_esp_manifest, "ESP: kernel image and signed documents, nothing else", "differs from manifest.json"),
    (lambda i: reidentify(i, "payload-medical"), "partition table", "payload-medical has another UUID"),
    (lambda i: reidentify(i, "root"), "partition table", "first half of the root hash"),
    (lambda i: reidentify(i, "root-verity"), "partition table", "second half of the root hash"),
    (lambda i: change_json(i / "shares.json", swap_shares), "key shares: wrapped, for this release", "exactly"),
    (lambda i: change_json(i / "shares.json", other_release), "key shares: wrapped, for this release", "another"),
    (lambda i: (i / "shares.json").write_text("{"), "key shares: wrapped, for this release", "WrappedShares"),
    (lambda i: change_json(i / "approvals.json", drop_last), "release approvals: signed, complete", "exactly"),
    (lambda i: change_json(i / "approvals.json", other_state), "release approvals: signed, complete", "approved"),
    (lambda i: change_json(i / "approvals.json", break_signature), "release approvals: signed, complete", ""),
    (lambda i: (i / "approvals.json").write_text("[1]"), "release approvals: signed, complete", "not a list"),
    (lambda i: append(i / "secure-boot" / "db.esl"), "Secure Boot files", "db.esl is not what"),
    (lambda i: (i / "secure-boot" / "KEK.pem").write_text("x"), "Secure Boot files", "malformed"),
    (lambda i: append(i / "secure-boot" / "PK.cer"), "Secure Boot files", "PK.cer is not the certificate"),
    (
        lambda i: (i / "secure-boot" / "owner.guid").write_text("5f0a9d3e-1c55-5c0e-9a53-6b8d2f1f7a10"),
        "predicted measurements",
        "secure_boot",
    ),
    (swap_certificate, "UKI: signed by db", "sbverify failed"),
]
"""What is changed, the check that must notice it, and a part of what it must say."""


def rounds() -> list[list[tuple[Callable[[Path], object], str, str]]]:
    """The changes, those for different checks together: a full verification takes seconds."""
    by_check: dict[str, list[tuple[Callable[[Path], object], str, str]]] = {}
    for entry in CHANGES:
        by_check.setdefault(entry[1], []).append(entry)
    together = zip_longest(*by_check.values())
    return [[entry for entry in entries if entry] for entries in together]


@pytest.mark.parametrize("changes", rounds())
def test_every_change_is_found(copy: Path, changes: list[tuple[Callable[[Path], object], str, str]]) -> None:
    for change, _, _ in changes:
        change(copy)
    problems = failed(copy)
    for _, check, said in changes:
        assert check in problems
        assert said in problems[check]


def test_another_label_is_found(copy: Path) -> None:
    relabel(copy)
    problems = failed(copy)
    assert "'State'" in problems["partition table"]
    assert "no partition 'state'" in problems["binding, state: empty"]


def test_a_disk_cut_short_is_found(copy: Path) -> None:
    cut_disk(copy)
    problems = failed(copy)
    assert "ends inside partition payload-finance" in problems["payload-finance: hash"] or "partition table" in problems


def resign(product: Product, image: Path, change: Callable[[dict[str, Any]], object]) -> dict[str, str]:
    """Change the manifest itself and sign it again with the right key; what fails then."""
    manifest = load_folder(image).release.manifest
    fields = manifest.model_dump()
    change(fields)
    keys = product.folder / "keys"
    key = _load(keys / "manifest.key")
    (image / "manifest.json").write_bytes(sign_release(type(manifest).model_validate(fields), key))
    return failed(image)


def _load(path: Path) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def test_measurements_that_do_not_follow_from_the_uki_are_found(product: Product, copy: Path) -> None:
    def change(fields: dict[str, Any]) -> None:
        fields["measurements"]["unseal"]["11"] = "00" * 32

    problems = resign(product, copy, change)
    assert "unseal" in problems["predicted measurements"]


def test_a_command_line_without_the_root_hash_is_found(product: Product, copy: Path) -> None:
    def change(fields: dict[str, Any]) -> None:
        fields["os"]["root_hash"] = "00" * 32

    problems = resign(product, copy, change)
    assert "root hash" in problems["UKI: command line, with the root hash"]
    assert "root: integrity tree" in problems


def test_another_command_line_in_the_manifest_is_found(product: Product, copy: Path) -> None:
    def change(fields: dict[str, Any]) -> None:
        fields["os"]["kernel_command_line"] += " quiet"

    assert "UKI: command line, with the root hash" in resign(product, copy, change)


def test_peers_that_the_packet_filter_does_not_name_are_found(product: Product, copy: Path) -> None:
    problems = resign(product, copy, lambda fields: fields.update(peers=["10.9.0.0/24"]))
    assert "ip saddr { 10.9.0.0/24 }" in problems["root: packet filter with the manifest's peers"]


def test_a_manifest_from_before_peers_were_listed_says_nothing_of_them(product: Product, copy: Path) -> None:
    resign(product, copy, lambda fields: fields.update(peers=None))
    assert not [one.check for one in verify_image(load_folder(copy), TOOLS) if "peers" in one.check]


def test_the_commands_tell_people_and_machines(
    product: Product, image: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest_key = str(product.folder / "keys" / "manifest.pem")
    assert main(["verify", str(image), "--manifest-key", manifest_key]) == 0
    assert "FAILED" not in capsys.readouterr().out
    assert main(["inspect", str(image)]) == 0
    shown = capsys.readouterr().out
    assert "sealed-advisor 1.0 by Example Vendor" in shown
    assert "medical: model in domain medical" in shown
    assert "medical: confidential, of somebody" in shown
    assert main(["inspect", str(image), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["manifest"]["product"] == "sealed-advisor"
    flip(copy, "payload-medical")
    assert main(["verify", str(copy), "--json"]) == 10
    report = json.loads(capsys.readouterr().out)
    assert report["verified"] is False
    assert [entry["check"] for entry in report["checks"] if entry["problem"]] == ["payload-medical: hash"]


def test_a_manifest_by_another_key_is_rejected(image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.pem"
    other.write_text(public_pem(ec.generate_private_key(ec.SECP256R1()).public_key()))
    assert main(["verify", str(image), "--manifest-key", str(other)]) == 10
    assert "DOCUMENT_SIGNATURE" in capsys.readouterr().err


def test_a_folder_that_is_no_image_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tmp_path)]) == 2
    assert "Is this a folder of `build`?" in capsys.readouterr().err
    (tmp_path / "manifest-key.pem").write_text("no key")
    assert main(["inspect", str(tmp_path)]) == 30
