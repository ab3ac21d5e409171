"""What an owner signs by commands: domains and workloads, and what a build and `check` make of it."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from sealwright_image.cli import main
from sealwright_image.domains import load_signed, require_workloads
from sealwright_image.verity import BLOCK, require_tree
from sealwright_policies.appraisal.reference_values import Verity
from sealwright_policies.cli import main as policy
from sealwright_policies.domains.chain import Domains
from sealwright_policies.domains.files import load_verified
from sealwright_policies.domains.signed_files import read_signed_domain
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.wire.encoding import document_bytes
from sealwright_testing.domain_texts import domain_text, replaced
from sealwright_testing.evidence_factory import payload_fields
from sealwright_testing.softhsm import new_token

RECORDS = """
[[member]]
kind = "data-set"
id = "cases"

[[member]]
kind = "workload"
id = "tune"

[run]
workloads = ["tune"]
"""


class Owner:
    """A folder with a key and a domain that names it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], key: str | Path | None = None) -> None:
        self.folder, self.capsys = folder, capsys
        self.key, self.domain = key or folder / "owner.key", folder / "records.toml"
        made = self.said("keygen-owner", self.key)
        self.key_id = made["key_id"]
        key = f'[owner]\nkey = "{made["owner_key"]}"\n'
        self.domain.write_text(replaced(domain_text("records", more=RECORDS), "[owner]\n", key))

    def said(self, *arguments: str | Path) -> Any:
        self.capsys.readouterr()
        assert main([*map(str, arguments), "--json"]) == 0
        return json.loads(self.capsys.readouterr().out)

    def sign(self) -> Any:
        return self.said("sign-domain", self.domain, "--owner-key", self.key, "--yes")

    def sign_workload(self, *image: str | Path) -> Any:
        return self.said("sign-workload", self.domain, "tune", *image, "--owner-key", self.key, "--yes")

    def change(self, old: str, new: str) -> None:
        self.domain.write_text(replaced(self.domain.read_text(), old, new))

    def loaded(self) -> Domains:
        return load_verified(self.domain)


@pytest.fixture
def owner(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Owner:
    return Owner(tmp_path, capsys)


def write_image(path: Path, blocks: int, salt: bytes = b"\x5a" * 32) -> Verity:
    """An image with its tree, by dm-verity's documentation, and its parameters beside it."""
    data = [os.urandom(BLOCK) for _ in range(blocks)]
    levels = [b"".join(hashlib.sha256(salt + one).digest() for one in data)]
    while len(levels[0]) > BLOCK:
        padded = levels[0].ljust(-(-len(levels[0]) // BLOCK) * BLOCK, b"\0")
        parts = [padded[at : at + BLOCK] for at in range(0, len(padded), BLOCK)]
        levels.insert(0, b"".join(hashlib.sha256(salt + one).digest() for one in parts))
    tree = [level.ljust(-(-len(level) // BLOCK) * BLOCK, b"\0") for level in levels]
    root = hashlib.sha256(salt + tree[0]).hexdigest()
    path.write_bytes(b"".join([*data, *tree]) + bytes(BLOCK))
    fields = payload_fields(root)["verity"] | {"data_blocks": blocks, "hash_offset": blocks * BLOCK}
    verity = Verity(**fields | {"salt": salt.hex()})
    path.with_name(f"{path.name}.verity.json").write_bytes(document_bytes(verity))
    return verity


def refused(owner: Owner) -> VerificationError:
    with pytest.raises(VerificationError) as caught:
        load_signed(owner.loaded())
    return caught.value


def test_a_domain_that_names_a_key_is_signed_by_it(owner: Owner) -> None:
    unsigned = refused(owner)
    assert unsigned.code is RejectionCode.OWNER_UNSIGNED
    assert f"{owner.domain}: line 6: owner.key: there is no {owner.folder}/records.signed.json" in str(unsigned)
    said = owner.sign()
    assert said["key_id"] == owner.key_id
    assert said["workloads"] == {}
    assert load_signed(owner.loaded()) == {"records": read_signed_domain(Path(said["file"]))}


def test_a_changed_text_is_refused_at_its_line(owner: Owner) -> None:
    owner.sign()
    owner.domain.write_text("# a comment is no part of it\n" + owner.domain.read_text())
    load_signed(owner.loaded())
    owner.change("features = []", 'features = ["training"]')
    changed = refused(owner)
    assert changed.code is RejectionCode.OWNER_SIGNATURE
    assert f"{owner.domain}: line 15: open.features: its owner has signed [] (" in str(changed)
    owner.sign()
    load_signed(owner.loaded())


def test_a_signature_of_another_owner_is_refused(owner: Owner, tmp_path: Path) -> None:
    owner.sign()
    (tmp_path / "other").mkdir()
    other = Owner(tmp_path / "other", owner.capsys)
    other.sign()
    (tmp_path / "records.signed.json").write_bytes((tmp_path / "other/records.signed.json").read_bytes())
    assert refused(owner).code is RejectionCode.OWNER_SIGNATURE
    assert main(["sign-domain", str(owner.domain), "--owner-key", str(other.key), "--yes"]) == 10


def test_a_key_is_not_left_out_of_a_domain_that_was_signed(owner: Owner) -> None:
    owner.sign()
    owner.domain.write_text(domain_text("records", more=RECORDS))
    assert "names no key of its owner" in str(refused(owner))


def test_a_workload_is_taken_with_its_owners_signature_alone(owner: Owner) -> None:
    image = owner.folder / "tune.img"
    verity = write_image(image, 200)
    owner.sign()

    def require(root_hash: str) -> None:
        domains = owner.loaded()
        require_workloads(domains, load_signed(domains), {"tune": root_hash, "of-no-domain": "00" * 32})

    with pytest.raises(VerificationError) as caught:
        require(verity.root_hash)
    assert caught.value.code is RejectionCode.OWNER_UNSIGNED
    assert f"{owner.domain}: line 25: The owner of domain records has not signed the image" in str(caught.value)
    assert owner.sign_workload("--image", image)["workloads"] == {"tune": verity.root_hash}
    require(verity.root_hash)
    with pytest.raises(VerificationError):
        require("00" * 32)
    assert owner.sign_workload("--root-hash", "00" * 32)["workloads"] == {"tune": "00" * 32}
    require("00" * 32)
    owner.sign()
    require("00" * 32)  # another signature under the domain takes none from its workloads
    owner.change("[owner]\n", "[owner]\nvendor_workloads = true\n")
    owner.sign()
    require("11" * 32)


@pytest.mark.parametrize("blocks", [1, 2, 128, 129, 300])
def test_an_image_is_read_to_its_last_block_before_it_is_signed(tmp_path: Path, blocks: int) -> None:
    image = tmp_path / "image"
    verity = write_image(image, blocks)
    require_tree(image, verity)
    good = image.read_bytes()
    size = verity.hash_offset
    for at in (0, size - 1, size, size + BLOCK - 1, len(good) - 1):
        image.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(VerificationError, match="is not the image of root hash"):
            require_tree(image, verity)
    for changed in (good[: size - 1], good[:size], good + bytes(1024 * 1024)):
        image.write_bytes(changed)
        with pytest.raises(VerificationError):
            require_tree(image, verity)
    image.write_bytes(good)
    for change in ({"root_hash": "00" * 32}, {"salt": "00" * 32}, {"data_blocks": blocks + 1}):
        with pytest.raises(VerificationError):
            require_tree(image, verity.model_copy(update=change))


def test_nothing_is_signed_unasked_or_unread(owner: Owner, tmp_path: Path) -> None:
    arguments = ["--owner-key", str(owner.key)]
    assert main(["sign-domain", str(owner.domain), *arguments]) == 2
    assert not (tmp_path / "records.signed.json").exists()
    assert main(["sign-workload", str(owner.domain), "tune", "--root-hash", "00" * 32, *arguments, "--yes"]) == 10
    owner.sign()
    assert main(["sign-workload", str(owner.domain), "other", "--root-hash", "00" * 32, *arguments, "--yes"]) == 10
    assert "DOMAIN_FORBIDS" in owner.capsys.readouterr().err
    image = tmp_path / "image"
    image.write_bytes(bytes(BLOCK))
    assert main(["sign-workload", str(owner.domain), "tune", "--image", str(image), *arguments, "--yes"]) == 2
    write_image(image, 3)
    image.write_bytes(bytes(BLOCK) + image.read_bytes()[BLOCK:])
    assert main(["sign-workload", str(owner.domain), "tune", "--image", str(image), *arguments, "--yes"]) == 10
    assert read_signed_domain(tmp_path / "records.signed.json").workloads == []
    assert main(["keygen-owner", str(owner.key)]) != 0
    assert main(["pack-workload", str(tmp_path), "--output", str(tmp_path / "missing/image")]) == 1


def test_an_owner_is_shown_for_whom_the_domain_opens(owner: Owner) -> None:
    arguments = ["sign-domain", str(owner.domain), "--owner-key", str(owner.key), "--yes"]
    owner.capsys.readouterr()
    assert main(arguments) == 0
    assert "\nOpens     on a discrete TPM; from version 1.0 on, below 2.0\n" in owner.capsys.readouterr().out


def test_signatures_that_are_none_are_named_with_a_cure(owner: Owner) -> None:
    owner.domain.with_name("records.signed.json").write_text("{")
    owner.capsys.readouterr()
    assert main(["sign-domain", str(owner.domain), "--owner-key", str(owner.key), "--yes"]) == 30
    assert "records.signed.json: " in (said := owner.capsys.readouterr().err)
    assert "Remove it" in said


def test_the_key_may_be_in_a_token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    owner = Owner(tmp_path, capsys, str(new_token(tmp_path / "pins").locator("owner")))
    owner.sign()
    owner.sign_workload("--root-hash", "3c" * 32)
    (signed,) = load_signed(owner.loaded()).values()
    assert [one.root_hash for one in signed.workloads] == ["3c" * 32]
    assert main(["keygen-owner", str(owner.key)]) == 1


def test_check_tells_who_has_signed(owner: Owner) -> None:
    assert policy(["check", str(owner.domain)]) == 10
    assert "OWNER_UNSIGNED" in owner.capsys.readouterr().out
    owner.sign()
    owner.sign_workload("--root-hash", "3c" * 32)
    assert policy(["check", str(owner.domain)]) == 0
    out = owner.capsys.readouterr().out
    assert f"  signed by key {owner.key_id}; workloads signed: tune 3c3c3c3c3c3c3c3c\ngood: 1 domain.\n" in out
    assert policy(["check", str(owner.domain), "--json"]) == 0
    (told,) = json.loads(owner.capsys.readouterr().out)["domains"]
    assert (told["owner_key_id"], told["signed_workloads"]) == (owner.key_id, {"tune": "3c" * 32})
    owner.change("features = []", 'features = ["training"]')
    assert policy(["check", str(owner.domain), "--json"]) == 10
    (problem,) = json.loads(owner.capsys.readouterr().out)["problems"]
    assert (problem["code"], problem["line"], problem["key"]) == ("OWNER_SIGNATURE", 14, "open.features")
