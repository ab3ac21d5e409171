"""``sealwright-policy verify-quote`` on quotes that tpm2-tools made with a real TPM."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from sealwright_policies.cli import main
from sealwright_testing.swtpm import SoftwareTpm
from sealwright_testing.tpm2_tools import parse_pcr_listing

NONCE = "00112233445566778899aabbccddeeff"
ATTRIBUTES = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|sign"


@dataclass
class Files:
    """A quote and all that goes with it, as files."""

    directory: Path
    select: str

    def command(self, **changes: str) -> list[str]:
        """Return the command line; ``changes`` replace values of options."""
        values = {
            "ak": str(self.directory / "ak.pem"),
            "attest": str(self.directory / "quote.msg"),
            "signature": str(self.directory / "quote.sig"),
            "qualifying-data": NONCE,
            "pcrs": str(self.directory / "pcrs.json"),
            "select": self.select,
        } | {name.replace("_", "-"): value for name, value in changes.items()}
        return ["verify-quote", *(part for name, value in values.items() for part in (f"--{name}", value))]


def make_quote(tpm: SoftwareTpm, directory: Path, *, key: str, select: str, options: tuple[str, ...] = ()) -> Files:
    """Make an AK of the kind and quote with it, by tpm2-tools."""

    def run(tool: str, *arguments: str) -> str:
        command = [tool, "-T", tpm.tcti, *arguments]
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("tpm2_createprimary", "-C", "e", "-G", key, "-a", ATTRIBUTES, "-c", "ak.ctx")
    run("tpm2_flushcontext", "-t")
    for form in ("pem", "der", "tss"):
        run("tpm2_readpublic", "-c", "ak.ctx", "-f", form, "-o", f"ak.{form}")
        run("tpm2_flushcontext", "-t")
    run("tpm2_quote", "-c", "ak.ctx", "-l", select, "-q", NONCE, "-m", "quote.msg", "-s", "quote.sig", *options)
    run("tpm2_flushcontext", "-t")
    banks = parse_pcr_listing(run("tpm2_pcrread", select))
    values = {bank: {str(pcr): value.hex() for pcr, value in pcrs.items()} for bank, pcrs in banks.items()}
    (directory / "pcrs.json").write_text(json.dumps({"pcrs": values}))
    return Files(directory, select)


@pytest.fixture
def files(software_tpm: SoftwareTpm, tmp_path: Path) -> Files:
    """A P-256 quote over SHA-256 PCRs."""
    return make_quote(software_tpm, tmp_path, key="ecc256:ecdsa-sha256:null", select="sha256:0,1,2,7,11")


@pytest.mark.parametrize(
    ("key", "select", "options"),
    [
        ("ecc256:ecdsa-sha256:null", "sha256:0,1,2,3,4,5,6,7", ()),
        ("ecc256:ecdsa-sha256:null", "sha1:0,4", ()),
        ("ecc384:ecdsa-sha384:null", "sha384:0,7", ("-g", "sha384")),
        ("ecc384:ecdsa-sha384:null", "sha256:0,7,23", ("-g", "sha384")),
        ("rsa2048:rsassa-sha256:null", "sha256:0,1,2,7", ()),
        ("rsa2048:rsapss-sha256:null", "sha256:0,1,2,7", ("--scheme", "rsapss")),
        ("rsa3072:rsassa-sha384:null", "sha384:0,1", ("-g", "sha384")),
        ("ecc384:ecdsa-sha384:null", "sha256:0,7", ("-g", "sha384", "-f", "plain")),
        ("rsa2048:rsassa-sha512:null", "sha256:0,7", ("-g", "sha512", "-f", "plain")),
        ("rsa2048:rsapss-sha256:null", "sha256:0,7", ("--scheme", "rsapss", "-f", "plain")),
    ],
)
def test_good_quotes_of_all_kinds(
    software_tpm: SoftwareTpm,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    key: str,
    select: str,
    options: tuple[str, ...],
) -> None:
    files = make_quote(software_tpm, tmp_path, key=key, select=select, options=options)
    for key_file in ("ak.pem", "ak.der", "ak.tss"):
        assert main(files.command(ak=str(files.directory / key_file))) == 0
        assert capsys.readouterr().out.startswith("OK: ")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"qualifying_data": "00"}, "QUALIFYING_DATA_MISMATCH"),
        ({"qualifying_data": ""}, "QUALIFYING_DATA_MISMATCH"),
        ({"select": "sha256:0,1,2,7"}, "PCR_SELECTION_MISMATCH"),
        ({"select": "sha256:0-2,7,11,12"}, "PCR_SELECTION_MISMATCH"),
        ({"select": "sha1:0,1,2,7,11"}, "PCR_SELECTION_MISMATCH"),
    ],
)
def test_a_quote_for_something_else_is_rejected(
    files: Files, capsys: pytest.CaptureFixture[str], changes: dict[str, str], code: str
) -> None:
    assert main(files.command(**changes)) == 10
    error = capsys.readouterr().err
    assert code in error
    assert error.count("\n") == 1


def test_another_ak_is_rejected(
    software_tpm: SoftwareTpm, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    make_quote(software_tpm, other, key="ecc256:ecdsa-sha384:null", select=files.select, options=("-g", "sha384"))
    assert main(files.command(ak=str(other / "ak.pem"))) == 10
    assert "SIGNATURE_INVALID" in capsys.readouterr().err


def test_other_pcr_values_are_rejected(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    path = files.directory / "pcrs.json"
    values = json.loads(path.read_text())
    values["pcrs"]["sha256"]["7"] = "00" * 32
    values["pcrs"]["sha256"]["11"] = "11" * 32
    path.write_text(json.dumps(values))
    assert main(files.command()) == 10
    assert "PCR_DIGEST_MISMATCH" in capsys.readouterr().err


def test_a_selected_pcr_without_value_is_rejected(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    path = files.directory / "pcrs.json"
    values = json.loads(path.read_text())
    del values["pcrs"]["sha256"]["11"]
    path.write_text(json.dumps(values))
    assert main(files.command()) == 10
    assert "PCR 11" in capsys.readouterr().err


def test_a_changed_statement_is_rejected(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    path = files.directory / "quote.msg"
    statement = bytearray(path.read_bytes())
    statement[-1] ^= 1
    path.write_bytes(statement)
    assert main(files.command()) == 10
    assert "SIGNATURE_INVALID" in capsys.readouterr().err
