"""Partition table, signature lists, bill of materials, cache keys: what is written follows from what is given."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from pathlib import Path

import pytest

from sealwright_image.config import parse_config
from sealwright_image.disk import (
    DATA_TYPE,
    ESP_TYPE,
    Layout,
    Partition,
    copy_sparse,
    find_partition,
    root_identities,
    table_script,
)
from sealwright_image.fingerprint import fingerprint
from sealwright_image.payload_partition import MIB, predicted_size, whole_mib
from sealwright_image.sbom import Component, debian_components, write_sbom
from sealwright_image.secure_boot import CERT_X509, signature_list
from sealwright_image.verity import tree_blocks
from sealwright_policies.errors import FormatError
from sealwright_testing.image_inputs import product_text

ID = "5f0a9d3e-1c55-5c0e-9a53-6b8d2f1f7a10"


def test_partitions_follow_each_other_on_whole_mib(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "disk.raw")
    content = tmp_path / "content"
    content.write_bytes(b"x" * (MIB + 1))
    first = layout.add_file("esp", ESP_TYPE, ID, content)
    second = layout.reserve("state", DATA_TYPE, ID, 5 * MIB)
    assert (first.offset, first.size) == (MIB, 2 * MIB)
    assert (second.offset, second.size) == (3 * MIB, 5 * MIB)
    assert (tmp_path / "disk.raw").stat().st_size == 8 * MIB
    assert (tmp_path / "disk.raw").read_bytes()[MIB : 2 * MIB + 1] == content.read_bytes()


def test_a_disk_without_the_partition_that_is_asked_for_is_malformed() -> None:
    esp = Partition("esp", ESP_TYPE, str(uuid.UUID(int=1)), MIB, MIB)
    assert find_partition([esp], "esp") == esp
    with pytest.raises(FormatError, match="no partition esp"):
        find_partition([], "esp")


def test_the_table_names_every_sector(tmp_path: Path) -> None:
    script = table_script([Partition("root", DATA_TYPE, ID, MIB, 3 * MIB, "GUID:60")], uuid.UUID(ID))
    assert f"label-id: {ID}" in script
    assert f'start=2048, size=6144, type={DATA_TYPE}, uuid={ID}, name="root", attrs="GUID:60"' in script


def test_holes_stay_holes(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as stream:
        stream.seek(64 * MIB)
        stream.write(b"end")
    target.touch()
    os.truncate(target, 80 * MIB)
    copy_sparse(source, target, MIB)
    with target.open("rb") as stream:
        stream.seek(65 * MIB)
        assert stream.read(3) == b"end"
    assert target.stat().st_blocks * 512 < MIB


def test_root_partitions_carry_the_halves_of_the_root_hash() -> None:
    assert root_identities("00112233445566778899aabbccddeeff" * 2) == ("00112233-4455-6677-8899-aabbccddeeff",) * 2


@pytest.mark.parametrize(("blocks", "tree"), [(1, 1), (128, 1), (129, 3), (128 * 128, 129), (128 * 128 + 1, 132)])
def test_the_size_of_a_hash_tree(blocks: int, tree: int) -> None:
    assert tree_blocks(blocks) == tree


def test_sizes_round_up() -> None:
    assert whole_mib(1) == MIB
    assert whole_mib(MIB) == MIB
    assert predicted_size(100 * MIB) >= 101 * MIB


def test_a_signature_list_is_laid_out_as_uefi_says() -> None:
    owner = uuid.UUID(ID)
    entry = signature_list(CERT_X509, owner, b"DER")
    assert entry[:16] == CERT_X509.bytes_le
    assert [int.from_bytes(entry[place : place + 4], "little") for place in (16, 20, 24)] == [47, 0, 19]
    assert entry[28:] == owner.bytes_le + b"DER"


def test_the_bill_of_materials_lists_everything_and_is_reproducible(tmp_path: Path) -> None:
    (tmp_path / "packages.json").write_text(
        json.dumps(
            {
                "manifest_version": 1,
                "config": {"distribution": "debian", "release": "trixie", "name": "x"},
                "packages": [{"type": "deb", "name": "libc6", "version": "2.41-1+b1", "architecture": "amd64"}],
            }
        )
    )
    config = parse_config(product_text("medical"), tmp_path / "product.toml")
    model = Component("machine-learning-model", "tiny", "1.0", sha256="ab" * 32, license="Apache-2.0")
    texts = []
    for name in ("one", "two"):
        write_sbom(config, [*debian_components(tmp_path / "packages.json"), model], 0, tmp_path / name)
        texts.append((tmp_path / name).read_bytes())
    assert texts[0] == texts[1]
    document = json.loads(texts[0])
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert document["metadata"]["timestamp"] == "1970-01-01T00:00:00Z"
    debian, weights = document["components"]
    assert debian["purl"] == "pkg:deb/debian/libc6@2.41-1%2Bb1?arch=amd64&distro=trixie"
    assert weights["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"config": {}, "packages": 3}'])
def test_another_package_manifest_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "packages.json").write_text(content)
    with pytest.raises(FormatError, match="not a package manifest"):
        debian_components(tmp_path / "packages.json")


def test_a_cache_key_sees_content_names_modes_and_values_but_not_the_place(tmp_path: Path) -> None:
    def tree(place: str, *, name: str = "a", content: str = "x", mode: int = 0o644) -> Path:
        top = tmp_path / place / "definitions"
        (top / "sub").mkdir(parents=True)
        (top / "sub" / name).write_text(content)
        (top / "sub" / name).chmod(mode)
        (top / "__pycache__").mkdir()
        (top / "__pycache__" / place).touch()
        return top

    base = fingerprint([tree("1")], {"version": "1"})
    assert fingerprint([tree("2")], {"version": "1"}) == base
    others = [
        fingerprint([tree("3", content="y")], {"version": "1"}),
        fingerprint([tree("4", name="b")], {"version": "1"}),
        fingerprint([tree("5", mode=0o755)], {"version": "1"}),
        fingerprint([tree("6")], {"version": "2"}),
    ]
    assert len({base, *others}) == 5


def test_a_cache_key_is_a_sha256(tmp_path: Path) -> None:
    assert len(bytes.fromhex(fingerprint([], {}))) == hashlib.sha256().digest_size
