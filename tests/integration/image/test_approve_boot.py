"""``approve-boot`` on a built image: what it signs holds, lands on the disk, and can be done again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sealwright_image.cli import main
from sealwright_image.contents import load_folder
from sealwright_image.disk import read_table
from sealwright_image.esp import read_from_esp
from sealwright_image.run import Tools
from sealwright_image.verify import verify_image
from sealwright_policies.appraisal.boot_variants import VARIANTS_ON_ESP
from sealwright_policies.appraisal.pe import authenticode_sha256
from sealwright_policies.tcg.eventlog import EventType as T
from sealwright_testing.event_logs import LoggedEvent, LogWriter, separator
from sealwright_testing.software_tpm import ALG_SHA256

from .conftest import Product

TOOLS = Tools()
OMITTED = LoggedEvent(4, T.EV_OMIT_BOOT_DEVICE_EVENTS, b"BOOT ATTEMPTS OMITTED")


def write_log(copy: Path, *before: LoggedEvent) -> str:
    """The log of a machine that measures these before it starts the image."""
    digest = authenticode_sha256((copy / "uki.efi").read_bytes())
    own = LoggedEvent(4, T.EV_EFI_BOOT_SERVICES_APPLICATION, bytes(32), {ALG_SHA256: digest})
    path = copy.parent / "log"
    path.write_bytes(LogWriter().log([*before, separator(4), own]))
    return str(path)


def approve(product: Product, copy: Path, log: str, *options: str) -> int:
    keys = str(product.folder / "keys")
    return main(["approve-boot", str(copy), "--event-log", log, "--keys", keys, *options])


def state(copy: Path) -> dict[str, bytes]:
    return {name: (copy / name).read_bytes() for name in ("variants.json", "approvals.json")}


def problems(copy: Path) -> dict[str, str]:
    return {finding.check: finding.problem for finding in verify_image(load_folder(copy), TOOLS) if finding.problem}


def on_esp(copy: Path) -> bytes:
    esp = next(entry for entry in read_table(TOOLS, copy / "disk.raw") if entry.label == "esp")
    return read_from_esp(copy / "disk.raw", esp.offset, VARIANTS_ON_ESP, TOOLS)


def test_an_approved_way_is_in_the_image_and_verifies(
    product: Product, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert approve(product, copy, write_log(copy, OMITTED), "--yes", "--name", "maker-x") == 0
    assert "says 'BOOT ATTEMPTS OMITTED'" in capsys.readouterr().out
    assert problems(copy) == {}
    assert on_esp(copy) == state(copy)["variants.json"]
    assert main(["inspect", str(copy)]) == 0
    assert "maker-x, signed after the build" in capsys.readouterr().out

    second = write_log(copy, OMITTED, OMITTED)
    assert approve(product, copy, second, "--yes", "--json") == 0
    (added,) = json.loads(capsys.readouterr().out)["approved"]
    assert [one.name for one in load_folder(copy).release.variants] == ["maker-x", added["name"]]
    assert problems(copy) == {}


def test_again_changes_nothing_and_a_run_that_was_cut_off_is_completed(product: Product, copy: Path) -> None:
    """The power fails behind the first of the three files: the same command does the rest."""
    before = (copy / "approvals.json").read_bytes()
    log = write_log(copy, OMITTED)
    assert approve(product, copy, log, "--yes") == 0
    done = state(copy)
    assert approve(product, copy, log) == 0
    assert state(copy) == done

    esp = next(entry for entry in read_table(TOOLS, copy / "disk.raw") if entry.label == "esp")
    TOOLS.run(["mdel", "-i", f"{copy / 'disk.raw'}@@{esp.offset}", f"::{VARIANTS_ON_ESP}"], binds=[copy])
    (copy / "approvals.json").write_bytes(before)
    assert set(problems(copy)) == {
        "ESP: kernel image and signed documents, nothing else",
        "release approvals: signed, complete",
    }
    assert approve(product, copy, log) == 0
    assert problems(copy) == {}
    assert state(copy)["variants.json"] == done["variants.json"]


@pytest.mark.parametrize("name", ["Maker X", "", "x" * 60])
def test_a_name_is_an_identifier(product: Product, copy: Path, name: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        approve(product, copy, write_log(copy, OMITTED), "--yes", "--name", name)


def test_nothing_is_signed_unasked(product: Product, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert approve(product, copy, write_log(copy, OMITTED)) == 2
    assert "--yes" in capsys.readouterr().err
    assert not (copy / "variants.json").exists()


def test_other_keys_are_refused(product: Product, copy: Path, tmp_path: Path) -> None:
    assert main(["keygen", str(tmp_path / "keys")]) == 0
    command = ["approve-boot", str(copy), "--event-log", write_log(copy, OMITTED), "--yes"]
    assert main([*command, "--keys", str(tmp_path / "keys")]) == 10
    for name in ("manifest.key", "manifest.pem"):  # the right one beside another release key
        (tmp_path / "keys" / name).write_bytes((product.folder / "keys" / name).read_bytes())
    assert main([*command, "--keys", str(tmp_path / "keys")]) == 2
    assert not (copy / "variants.json").exists()


def test_a_document_of_another_type_in_their_place_is_refused(
    product: Product, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same key signs the manifest; the type tells them apart."""
    (copy / "variants.json").write_bytes((copy / "manifest.json").read_bytes())
    assert main(["verify", str(copy)]) == 10
    assert "DOCUMENT_TYPE" in capsys.readouterr().err


def test_a_name_is_given_once_and_ways_are_few(product: Product, copy: Path) -> None:
    assert approve(product, copy, write_log(copy, OMITTED), "--yes", "--name", "no-action") == 2
    for count in range(1, 9):
        assert approve(product, copy, write_log(copy, *[OMITTED] * count), "--yes") == 0
    assert approve(product, copy, write_log(copy, *[OMITTED] * 9), "--yes") == 2
    assert problems(copy) == {}
