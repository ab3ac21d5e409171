"""Import of makers' certificates, from files as makers hand them out."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from hypothesis import given
from hypothesis import strategies as st

from sealwright_licensing import maker_roots, root_import
from sealwright_licensing.certificate_files import read_certificate_files
from sealwright_licensing.certificates import parse_certificate
from sealwright_licensing.cli import main
from sealwright_licensing.endorsement import Tier
from sealwright_licensing.maker_roots import KnownRoot, known_roots, parse_pem_certificates
from sealwright_licensing.records import MakerCertificate
from sealwright_policies.errors import FormatError, OperationError
from sealwright_testing.corpus import corpus_file
from sealwright_testing.license_world import LicenseWorld
from sealwright_testing.maker_ca import MakerCa, Validity, der, pem
from sealwright_testing.software_device import ek_key

Capture = pytest.CaptureFixture[str]
PAST = Validity(1_500_000_000, 1_600_000_000)


def listed(monkeypatch: pytest.MonkeyPatch, *makers: MakerCa) -> None:
    """Write these makers' roots into the list, as if they were a chip's."""
    found = [parse_certificate(der(one.root)).fingerprint for one in makers]
    known = {
        one: KnownRoot("Test maker", "root", Tier.DISCRETE, one, "https://maker.test/root.crt", "document", "")
        for one in found
    }
    for module in (maker_roots, root_import):
        monkeypatch.setattr(module, "known_roots", lambda: known)
    monkeypatch.setattr("sealwright_licensing.cli_roots.known_roots", lambda: known)


def taken(capsys: Capture, world: LicenseWorld, *paths: Path, code: int = 0) -> Any:
    assert main(["roots", "import", str(world.folder.path), *map(str, paths), "--json"]) == code
    return json.loads(capsys.readouterr().out)


def tiers(world: LicenseWorld) -> dict[str, str]:
    with world.store.read() as transaction:
        return {one.fingerprint: one.tier for one in transaction.find(MakerCertificate)}


def fingerprint(certificate: object) -> str:
    return parse_certificate(der(certificate)).fingerprint  # type: ignore[arg-type]


FORMS = {
    "pem": lambda maker: pem(maker.root, maker.intermediate),
    "p7b": lambda maker: pkcs7.serialize_certificates([maker.root, maker.intermediate], Encoding.DER),
    "p7b-pem": lambda maker: pkcs7.serialize_certificates([maker.root, maker.intermediate], Encoding.PEM),
    "pem-with-text": lambda maker: b"subject=\xfcber\r\n" + pem(maker.intermediate, maker.root).replace(b"\n", b"\r\n"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_bundle_brings_the_root_with_its_tier_and_its_intermediates(
    world: LicenseWorld, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    maker = MakerCa("Chips")
    listed(monkeypatch, maker)
    (tmp_path / "bundle").write_bytes(FORMS[form](maker))
    done = taken(capsys, world, tmp_path / "bundle")
    assert [(one["tier"], one["maker"], one["new"]) for one in done["roots"]] == [("discrete", "Test maker", True)]
    assert [(one["tier"], one["new"]) for one in done["intermediates"]] == [("", True)]
    assert tiers(world)[fingerprint(maker.root)] == "discrete"
    assert tiers(world)[fingerprint(maker.intermediate)] == ""
    again = taken(capsys, world, tmp_path / "bundle")
    assert [one["new"] for one in (*again["roots"], *again["intermediates"])] == [False, False]


def test_a_folder_of_files_of_many_kinds(
    world: LicenseWorld, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = MakerCa("Chips")
    listed(monkeypatch, maker)
    folder = tmp_path / "makers"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "root.crt").write_bytes(der(maker.root))
    (folder / "issuing.cer").write_bytes(der(maker.intermediate))
    (folder / "README").write_text("not a certificate")
    (folder / "all.cab").write_bytes(b"MSCF" + bytes(100))
    (folder / "all.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    (folder / "cut.der").write_bytes(der(maker.root)[:-3])
    done = taken(capsys, world, folder)
    assert (len(done["roots"]), len(done["intermediates"]), done["refused"]) == (1, 1, [])
    reasons = {Path(one["file"]).name: one["reason"] for one in done["unreadable"]}
    assert sorted(reasons) == ["README", "all.cab", "all.zip", "cut.der"]
    assert "cabextract" in reasons["all.cab"]


def test_what_is_unknown_is_refused_with_its_reason(
    world: LicenseWorld, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A root of somebody's own, its intermediate, a forged intermediate under a listed name, an EK certificate."""
    maker, stranger, forger = MakerCa("Chips"), MakerCa("Stranger"), MakerCa("Chips")
    listed(monkeypatch, maker)
    leaf = maker.endorse(ek_key(0).public_key())
    path = tmp_path / "all.pem"
    path.write_bytes(pem(maker.root, stranger.root, stranger.intermediate, forger.intermediate, leaf))
    before = tiers(world)
    done = taken(capsys, world, path)
    reasons = {one["fingerprint"]: one["reason"] for one in done["refused"]}
    assert "not listed" in reasons[fingerprint(stranger.root)]
    assert "no signature leads" in reasons[fingerprint(stranger.intermediate)]
    assert "no signature leads" in reasons[fingerprint(forger.intermediate)]
    assert "not the certificate of a CA" in reasons[fingerprint(leaf)]
    assert set(tiers(world)) - set(before) == {fingerprint(maker.root)}


def test_if_nothing_is_taken_the_command_fails(world: LicenseWorld, capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "one.pem").write_bytes(pem(MakerCa("Stranger").root))
    assert taken(capsys, world, tmp_path / "one.pem", code=10)["roots"] == []


def test_an_intermediate_below_an_added_root_is_kept(world: LicenseWorld, capsys: Capture, tmp_path: Path) -> None:
    """As for swtpm: the root was added as software, the issuer comes later."""
    (tmp_path / "one.der").write_bytes(der(world.maker.intermediate))
    done = taken(capsys, world, tmp_path / "one.der")
    assert [one["tier"] for one in done["intermediates"]] == [""]


def test_an_expired_certificate_is_left_out(
    world: LicenseWorld, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = MakerCa("Old", root_validity=PAST)
    listed(monkeypatch, old)
    (tmp_path / "one.pem").write_bytes(pem(old.root))
    (refused,) = taken(capsys, world, tmp_path / "one.pem", code=10)["refused"]
    assert "expired" in refused["reason"]


def test_a_path_that_is_not_there_is_named(world: LicenseWorld, capsys: Capture, tmp_path: Path) -> None:
    assert main(["roots", "import", str(world.folder.path), str(tmp_path / "none.pem")]) == 1
    assert "none.pem cannot be read" in capsys.readouterr().err


def test_the_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maker = MakerCa()
    for number in range(4):
        (tmp_path / f"{number}.pem").write_bytes(pem(maker.root))
    monkeypatch.setattr("sealwright_licensing.certificate_files.MOST_CERTIFICATES", 3)
    with pytest.raises(FormatError, match="More than 3 certificates"):
        read_certificate_files([tmp_path])
    monkeypatch.setattr("sealwright_licensing.certificate_files.MOST_FILES", 2)
    with pytest.raises(FormatError, match="More than 2 files"):
        read_certificate_files([tmp_path])


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch") / "file"


_BUNDLE = pkcs7.serialize_certificates([MakerCa().root], Encoding.DER)


@given(data=st.data())
def test_no_file_breaks_the_reader(scratch: Path, data: st.DataObject) -> None:
    """Random bytes, and a bundle with octets changed."""
    content = data.draw(st.binary(max_size=80))
    if data.draw(st.booleans()):
        changed = bytearray(_BUNDLE)
        for position in data.draw(st.lists(st.integers(0, len(_BUNDLE) - 1), max_size=4)):
            changed[position] ^= data.draw(st.integers(1, 255))
        content = bytes(changed)
    if data.draw(st.booleans()):
        content = b"-----BEGIN PKCS7-----\n" + base64.b64encode(content) + b"\n-----END PKCS7-----\n"
    scratch.write_bytes(content)
    try:
        read_certificate_files([scratch])
    except (FormatError, OperationError):
        return


def test_every_listed_root_says_what_vouches_for_it() -> None:
    """Nobody publishes a fingerprint but where a document is named."""
    for root in known_roots().values():
        assert root.evidence in ("fingerprint", "document", "aia"), root.name
        assert (root.evidence == "aia") == (root.document == ""), root.name
        assert root.source.startswith("https://")


# --- makers' real certificates, where the corpus is ------------------------------------------------------------------


@pytest.mark.corpus
def test_all_real_certificates_are_taken_in_one_go(world: LicenseWorld, capsys: Capture, tmp_path: Path) -> None:
    """26 roots and 143 intermediates, the malformed ones among them, as PEM and as a bundle made by openssl."""
    folder = tmp_path / "makers"
    folder.mkdir()
    for name in ("roots", "intermediates"):
        (folder / f"{name}.pem").write_bytes(corpus_file(f"ek-roots/{name}.pem"))
    done = taken(capsys, world, folder)
    assert (len(done["roots"]), len(done["intermediates"])) == (26, 143)
    assert (done["refused"], done["unreadable"]) == ([], [])
    by_tier = {
        tier: {one["maker"] for one in done["roots"] if one["tier"] == tier} for tier in ("firmware", "discrete")
    }
    assert by_tier["firmware"] == {"AMD", "Intel", "Microsoft"}
    assert by_tier["discrete"] == {"Infineon", "NSING", "Nuvoton", "STMicroelectronics"}
    bundle = tmp_path / "makers.p7b"
    argv = ["openssl", "crl2pkcs7", "-nocrl", "-certfile", str(folder / "roots.pem"), "-outform", "DER"]
    bundle.write_bytes(subprocess.run(argv, check=True, capture_output=True).stdout)
    assert len(taken(capsys, world, bundle)["roots"]) == 26


NUVOTON_SHA1 = {
    "NPCTxxx ECC521 RootCA": "7c7b3c8a465e67d28f4db0f35ce120c4bb4aaccc",
    "Nuvoton TPM Root CA 1110": "655e445e96545cf3e48482949b35a7ceb34658cc",
    "Nuvoton TPM Root CA 1111": "48652a31b9d266084e2ae982d8b67326d66c7372",
    "Nuvoton TPM Root CA 2111": "a3430d4e2f075561965ae6ed32c91a3d7322c42b",
    "Nuvoton TPM Root CA 2112": "589a6bd9ee963bece20658d14a240f7b4b724033",
    "NuvotonTPMRootCA1210": "86a99e10f6b11e41bd19d8ef79dbc95af4d3c3ed",
    "NuvotonTPMRootCA2210": "4ad6ddbd52522c521cbf9299c446263f3481a67a",
    "NuvotonTPMRootCA2211": "5e748790694f6a7f6eabaf701526863cddfe6dac",
}
"""As Nuvoton_TPM_EK_Certificate_Chain_Rev2.2.pdf prints them; the only maker that publishes fingerprints."""


@pytest.mark.corpus
def test_nuvotons_published_fingerprints_are_those_of_the_listed_roots() -> None:
    known = known_roots()
    found = {
        known[one.fingerprint].name: hashlib.sha1(one.encoded).hexdigest()
        for one in parse_pem_certificates(corpus_file("ek-roots/roots.pem"))
        if known[one.fingerprint].evidence == "fingerprint"
    }
    assert found == NUVOTON_SHA1
