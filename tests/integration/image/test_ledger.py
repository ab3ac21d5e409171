"""A build makes no image of a box in which more has to be trusted than a ledger says why."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import pytest

from sealwright_image.cli import main
from sealwright_image.pipeline import BuiltImage, build_image
from sealwright_image.progress import Progress
from sealwright_policies.errors import FormatError, RejectionCode, VerificationError
from sealwright_testing.small_os import TRUSTED, small_os

from .conftest import Product

LESS = f'[[entry]]\nreason = "A smaller box."\n[entry.most]\nexecutables = {TRUSTED["executables"] - 1}\n'
AGAIN = f'\n[[entry]]\nreason = "One more program."\n[entry.most]\nexecutables = {TRUSTED["executables"]}\n'


def build(product: Product, ledger: Path, output: Path) -> BuiltImage:
    config = dataclasses.replace(product.config, ledger=ledger)
    return build_image(config, output, Progress(io.StringIO()), os_source=small_os(product.folder))


def test_growth_is_refused_until_a_reason_is_recorded(product: Product, tmp_path: Path) -> None:
    ledger, output = tmp_path / "tcb-ledger.toml", tmp_path / "out"
    ledger.write_text(LESS)
    with pytest.raises(VerificationError) as caught:
        build(product, ledger, output)
    assert caught.value.code is RejectionCode.TRUSTED_BASE_GREW
    assert f"executables: {TRUSTED['executables']}, and {TRUSTED['executables'] - 1} recorded" in str(caught.value)
    assert str(ledger) in str(caught.value)
    assert list(tmp_path.iterdir()) == [ledger]

    ledger.write_text(LESS + AGAIN)
    built = build(product, ledger, output)
    assert (built.output / "trusted-base.json").exists()


def test_a_malformed_ledger_is_refused_before_anything_is_built(product: Product, tmp_path: Path) -> None:
    ledger = tmp_path / "tcb-ledger.toml"
    ledger.write_text(LESS.replace("A smaller box.", ""))
    with pytest.raises(FormatError, match="reason"):
        build(product, ledger, tmp_path / "out")


def test_the_command_names_the_product_files_ledger(
    product: Product, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (product.folder / "product.toml").read_text()
    named = product.folder / "with-ledger.toml"
    named.write_text(text.replace('version = "1.0"', 'version = "1.0"\nledger = "absent.toml"'))
    assert main(["build", str(named), "--output", str(tmp_path / "out")]) == 2
    assert str(product.folder / "absent.toml") in capsys.readouterr().err
