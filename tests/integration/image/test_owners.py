"""A product with an owner's data set: built with the owner's word, and not without it."""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from sealwright_image.cli import main
from sealwright_image.contents import load_folder
from sealwright_image.run import Tools
from sealwright_image.verity import verify_tree
from sealwright_image.workload_image import load_image
from sealwright_policies.domains.owner_report import ownership
from sealwright_policies.domains.ownership import owner_key_id
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.wire.volume_key import key_check
from sealwright_testing.domain_texts import replaced
from sealwright_testing.image_inputs import write_service, write_training
from sealwright_testing.small_os import cache_with_tools

from .conftest import Product
from .test_build import decrypt_partition, volume_key


@dataclass(frozen=True, slots=True)
class OwnedProduct:
    """Its one domain names a key; the workload is packed. Nothing is signed yet."""

    product: Product
    capsys: pytest.CaptureFixture[str]

    @property
    def folder(self) -> Path:
        return self.product.folder

    @property
    def domain(self) -> Path:
        return self.folder / "domains/medical.toml"

    @property
    def image(self) -> Path:
        return self.folder / "lora.img"

    def command(self, *arguments: str | Path) -> None:
        assert main([*map(str, arguments)]) == 0

    def sign(self) -> None:
        self.command("sign-domain", self.domain, "--owner-key", self.folder / "owner.key", "--yes")

    def sign_workload(self) -> None:
        key = self.folder / "owner.key"
        self.command("sign-workload", self.domain, "lora", "--image", self.image, "--owner-key", key, "--yes")

    def refused(self) -> VerificationError:
        with pytest.raises(VerificationError) as caught:
            self.product.build(self.folder / f"out-{uuid.uuid4()}")
        assert not list(self.folder.glob("out-*"))
        return caught.value


@pytest.fixture
def owned(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> OwnedProduct:
    assert main(["keygen", str(tmp_path / "keys")]) == 0
    service = write_service(tmp_path / "license-service.json")
    (tmp_path / "LICENSE.txt").write_text("for research\n")
    write_training(tmp_path)
    found = OwnedProduct(Product(tmp_path, service, cache_with_tools(tmp_path)), capsys)
    monkeypatch.setenv("XDG_CACHE_HOME", str(found.product.cache))
    capsys.readouterr()
    found.command("keygen-owner", tmp_path / "owner.key", "--json")
    key = json.loads(capsys.readouterr().out)["owner_key"]
    found.domain.write_text(replaced(found.domain.read_text(), "[owner]\n", f'[owner]\nkey = "{key}"\n'))
    found.command("pack-workload", tmp_path / "lora", "--output", found.image)
    product = tmp_path / "product.toml"
    product.write_text(replaced(product.read_text(), 'path = "lora"', 'path = "lora.img"'))
    return found


def test_a_product_with_its_owners_word(owned: OwnedProduct) -> None:
    owned.sign()
    owned.sign_workload()
    packed = load_image(owned.image)
    manifests = []
    for number in range(2):
        out = owned.folder / f"out-{number}"
        owned.product.build(out)
        manifests.append(load_folder(out).release.manifest)
    manifest = manifests[-1]
    ids = [{one.payload_id: one.verity.root_hash for one in each.payloads} for each in manifests]
    assert {each["lora"] for each in ids} == {packed.root_hash}  # what is signed is the same in every build
    assert ids[0]["records"] != ids[1]["records"]
    (whose,) = map(ownership, manifest.domains)
    assert whose.workloads == {"lora": packed.root_hash}
    owner = owner_key_id(manifest, "medical")
    assert (owner or b"").hex() == whose.key_id
    for payload in manifest.payloads:
        assert payload.key_check == key_check(
            volume_key(owned.product, out, payload), bytes.fromhex(payload.verity.root_hash)
        )
    workload = next(one for one in manifest.payloads if one.payload_id == "lora")
    decrypt_partition(owned.product, out, workload, owned.folder / "plain")
    verify_tree(Tools(), owned.folder / "plain", workload.verity)
    assert (owned.folder / "plain").read_bytes() == owned.image.read_bytes()
    assert main(["inspect", str(out)]) == 0
    assert f"signed by key {whose.key_id}; workloads signed: lora" in owned.capsys.readouterr().out


def test_what_is_not_signed_is_not_built(owned: OwnedProduct) -> None:
    unsigned = owned.refused()
    assert (unsigned.code, "medical.toml: line 6: owner.key" in str(unsigned)) == (RejectionCode.OWNER_UNSIGNED, True)
    owned.sign()
    without = owned.refused()
    assert without.code is RejectionCode.OWNER_UNSIGNED
    assert "medical.toml: line 17: The owner of domain medical has not signed the image" in str(without)
    owned.sign_workload()
    text = owned.domain.read_text()
    owned.domain.write_text(replaced(text, "features = []", 'features = ["research"]'))
    assert owned.refused().code is RejectionCode.OWNER_SIGNATURE
    owned.domain.write_text(text)


def test_another_image_than_the_signed_one_is_not_built(owned: OwnedProduct) -> None:
    """The same folder, packed once more, is another image; so is a folder that the build packs itself."""
    owned.sign()
    owned.sign_workload()
    again = owned.folder / "again.img"
    owned.command("pack-workload", owned.folder / "lora", "--output", again)
    assert main(["pack-workload", str(owned.folder / "lora"), "--output", str(again)]) == 2
    product = owned.folder / "product.toml"
    text = product.read_text()
    for path in ("again.img", "lora"):
        product.write_text(replaced(text, 'path = "lora.img"', f'path = "{path}"'))
        assert owned.refused().code is RejectionCode.OWNER_UNSIGNED
    product.write_text(text)
    with owned.image.open("r+b") as stream:
        stream.seek(4096)
        stream.write(b"other bytes")
    assert owned.refused().code is RejectionCode.MANIFEST_MISMATCH


def test_a_workload_without_a_program_is_not_packed(owned: OwnedProduct) -> None:
    shutil.rmtree(owned.folder / "lora")
    (owned.folder / "lora").mkdir()
    (owned.folder / "lora/other").touch()
    assert main(["pack-workload", str(owned.folder / "lora"), "--output", str(owned.folder / "x.img")]) == 2
    assert not (owned.folder / "x.img").exists()
