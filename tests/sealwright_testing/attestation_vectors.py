"""Writes the vectors of ``tests/vectors/attestation``: ``python -m sealwright_testing.attestation_vectors DIRECTORY``.

Statements of real keys come from a software TPM made for the purpose; those that no TPM would sign come from a key in
software. Keys are new each time, so running it changes every file: do so only to add or change vectors.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from tpm2_pytss import ESAPI
from tpm2_pytss.constants import ESYS_TR

from sealwright_policies.errors import RejectionCode
from sealwright_policies.tcg.algorithms import AlgorithmId, EccCurve
from sealwright_policies.tcg.nv import counter_public
from sealwright_policies.tcg.public import Hierarchy, ObjectAttributes, qualified_name
from sealwright_policies.tcg.reader import sized_2b
from sealwright_policies.tcg.srk import SRK_ATTRIBUTES, srk_template
from sealwright_policies.tcg.templates import AK_ATTRIBUTES, KeyKind, ak_template
from sealwright_testing.attestations import (
    ECDSA_SHA256,
    AttestFields,
    SoftwareAk,
    certify_bytes,
    nv_certify_bytes,
    point_area,
    quote_bytes,
)
from sealwright_testing.quote_vectors import PCRS, QUALIFYING_DATA, Quotes
from sealwright_testing.swtpm import SoftwareTpm
from sealwright_testing.tpm_session import Statement, TpmSession
from sealwright_testing.vectors import Vector

AES_128_CFB = bytes.fromhex("000600800043")
COUNTER_INDEX = 0x01C10200


def certify_vectors() -> Iterator[Vector]:
    """Yield vectors of verify_certify: real parents from a TPM, bent statements from software."""
    with (
        tempfile.TemporaryDirectory() as directory,
        SoftwareTpm.manufacture(Path(directory) / "tpm") as tpm,
        ESAPI(tpm.tcti) as esapi,
    ):
        session = TpmSession(esapi)
        yield from _real_parents(session)
        yield _owner_ak(session)
    ak = SoftwareAk()
    srk = point_area(ec.generate_private_key(ec.SECP256R1()).public_key(), SRK_ATTRIBUTES, symmetric=AES_128_CFB)
    path = qualified_name(Hierarchy.OWNER, srk.name)
    fields = AttestFields(ak.qualified_name, QUALIFYING_DATA)
    attacker = qualified_name(Hierarchy.OWNER, ak.public.name)
    cases = (
        ("certify-other-name", "4.2", RejectionCode.SRK_NAME_MISMATCH, "another key was certified",
         certify_bytes(fields, ak.public.name, path)),
        ("certify-attacker-parent", "4.3", RejectionCode.SRK_HIERARCHY, "the key hangs below a key of the attacker",
         certify_bytes(fields, srk.name, b"\0\x0b" + hashlib.sha256(attacker + srk.name).digest())),
        ("certify-external", "4.3", RejectionCode.SRK_HIERARCHY, "a key loaded from outside, its path is its Name",
         certify_bytes(fields, srk.name, srk.name)),
        ("certify-is-quote", "3.3", RejectionCode.ATTESTATION_TYPE, "a quote in place of a certify statement",
         quote_bytes(fields, PCRS)),
        ("certify-other-nonce", "3.4", RejectionCode.QUALIFYING_DATA_MISMATCH, "made for other qualifying data",
         certify_bytes(replace(fields, extra_data=bytes(32)), srk.name, path)),
    )  # fmt: skip
    for name, section, code, description, attest in cases:
        values = _certify_input(ak.public.area, Statement(attest, ak.sign(attest)), srk.area)
        yield Vector(name, description, f"attestation.md {section}", "verify_certify", values, code)


def _certify_input(ak: bytes, statement: Statement, public: bytes) -> dict[str, Any]:
    return {
        "ak": ak.hex(),
        "attest": statement.attest.hex(),
        "signature": statement.signature.hex(),
        "qualifying_data": QUALIFYING_DATA.hex(),
        "public": public.hex(),
    }


def _real_parents(session: TpmSession) -> Iterator[Vector]:
    ak_handle, ak = session.primary(ak_template(), ESYS_TR.ENDORSEMENT)
    for name, hierarchy in (
        ("owner", ESYS_TR.OWNER),
        ("endorsement", ESYS_TR.ENDORSEMENT),
        ("platform", ESYS_TR.PLATFORM),
        ("null", ESYS_TR.NULL),
    ):
        handle, srk = session.primary(srk_template(), hierarchy)
        statement = session.certify(handle, ak_handle, QUALIFYING_DATA)
        session.flush(handle)
        yield Vector(
            f"certify-{name}",
            f"the SRK template as a primary key of the {name} hierarchy, certified by a TPM",
            "attestation.md 4.3",
            "verify_certify",
            _certify_input(ak.area, statement, srk.area),
            None if name == "owner" else RejectionCode.SRK_HIERARCHY,
        )
    session.flush(ak_handle)


def _owner_ak(session: TpmSession) -> Vector:
    ak_handle, ak = session.primary(ak_template(), ESYS_TR.OWNER)
    handle, srk = session.primary(srk_template(), ESYS_TR.OWNER)
    statement = session.certify(handle, ak_handle, QUALIFYING_DATA)
    session.flush(handle, ak_handle)
    return Vector(
        "certify-owner-ak",
        "the AK itself is a primary key of the Owner hierarchy",
        "attestation.md 4.1",
        "verify_certify",
        _certify_input(ak.area, statement, srk.area),
        RejectionCode.SIGNER_NOT_ENDORSEMENT,
    )


def counter_vectors() -> Iterator[Vector]:
    """Yield vectors of verify_nv_certify."""
    ak = SoftwareAk()
    fields = AttestFields(ak.qualified_name, QUALIFYING_DATA)
    good = counter_public(COUNTER_INDEX, written=True)
    value = (41).to_bytes(8, "big")

    def vector(
        name: str,
        description: str,
        *,
        area: bytes = good.area,
        attest: bytes | None = None,
        section: str = "5",
        code: RejectionCode | None = RejectionCode.COUNTER_INVALID,
    ) -> Vector:
        named = b"\0\x0b" + hashlib.sha256(area).digest()
        statement = nv_certify_bytes(fields, named, value) if attest is None else attest
        values = {
            "ak": ak.public.area.hex(),
            "attest": statement.hex(),
            "signature": ak.sign(statement).hex(),
            "qualifying_data": QUALIFYING_DATA.hex(),
            "nv_public": area.hex(),
        }
        return Vector(f"counter-{name}", description, f"attestation.md {section}", "verify_nv_certify", values, code)

    def bent(bits: int) -> bytes:
        attributes = int.from_bytes(good.area[6:10], "big") ^ bits
        return good.area[:6] + attributes.to_bytes(4, "big") + good.area[10:]

    yield vector("good", "a counter at 41", code=None)
    yield vector("unwritten", "never incremented: the Name changes at the first increment", area=bent(1 << 29))
    yield vector("ordinary", "an ordinary index, which can be set back", area=bent(1 << 4))
    yield vector("orderly", "ORDERLY: counts are lost at a power cut", area=bent(1 << 26))
    yield vector("owner-write", "OWNERWRITE is set", area=bent(1 << 1))
    yield vector("da", "NO_DA is clear", area=bent(1 << 25))
    yield vector("policy", "it has an authPolicy", area=good.area[:10] + sized_2b(bytes(32)) + good.area[12:])
    yield vector("size", "an index of 16 bytes", area=good.area[:-2] + (16).to_bytes(2, "big"))
    other = counter_public(COUNTER_INDEX + 1, written=True)
    yield vector("other-index", "another index was certified", attest=nv_certify_bytes(fields, other.name, value))
    yield vector("offset", "four bytes at offset four", attest=nv_certify_bytes(fields, good.name, value[4:], offset=4))
    sha384 = good.area[:4] + AlgorithmId.SHA384.to_bytes(2, "big") + good.area[6:]
    sha384_name = AlgorithmId.SHA384.to_bytes(2, "big") + hashlib.sha384(sha384).digest()
    yield vector(
        "sha384-name", "its nameAlg is SHA-384", area=sha384, attest=nv_certify_bytes(fields, sha384_name, value)
    )
    yield vector(
        "offset-only", "eight bytes at offset eight", attest=nv_certify_bytes(fields, good.name, value, offset=8)
    )
    yield vector(
        "other-nonce",
        "made for other qualifying data",
        section="3.4",
        code=RejectionCode.QUALIFYING_DATA_MISMATCH,
        attest=nv_certify_bytes(replace(fields, extra_data=bytes(32)), good.name, value),
    )
    yield vector(
        "owner-ak",
        "signed by an AK of the Owner hierarchy",
        section="4.1",
        code=RejectionCode.SIGNER_NOT_ENDORSEMENT,
        attest=nv_certify_bytes(
            replace(fields, qualified_signer=qualified_name(Hierarchy.OWNER, ak.public.name)), good.name, value
        ),
    )
    yield vector(
        "is-quote",
        "a quote in place of a statement about an NV index",
        section="3.3",
        code=RejectionCode.ATTESTATION_TYPE,
        attest=quote_bytes(fields, PCRS),
    )


def key_vectors() -> Iterator[Vector]:
    """Yield vectors of check_ak and matches_listed_template."""
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    flags = ObjectAttributes
    for name, attributes in (
        ("good", AK_ATTRIBUTES),
        ("unrestricted", AK_ATTRIBUTES & ~flags.RESTRICTED),
        ("exportable", AK_ATTRIBUTES & ~flags.FIXED_TPM & ~flags.FIXED_PARENT),
        ("imported", AK_ATTRIBUTES & ~flags.SENSITIVE_DATA_ORIGIN),
        ("decrypt", AK_ATTRIBUTES | flags.DECRYPT),
        ("da", AK_ATTRIBUTES & ~flags.NO_DA),
    ):
        area = point_area(key, attributes, scheme=ECDSA_SHA256).area
        code = None if name == "good" else RejectionCode.AK_ATTRIBUTES
        yield Vector(f"ak-{name}", f"an AK, {name}", "attestation.md 2.1", "check_ak", {"public": area.hex()}, code)
    good_ak = point_area(key, AK_ATTRIBUTES, scheme=ECDSA_SHA256).area
    p384 = good_ak[:16] + EccCurve.NIST_P384.to_bytes(2, "big") + good_ak[18:]
    rsa_3072 = ak_template(KeyKind.RSA_2048).replace((2048).to_bytes(2, "big"), (3072).to_bytes(2, "big"), 1)
    rsa_pss = ak_template(KeyKind.RSA_2048).replace(b"\x00\x14\x00\x0b", b"\x00\x16\x00\x0b", 1)
    for name, area, accepted in (
        ("policy", good_ak.replace(sized_2b(b""), sized_2b(bytes(32)), 1), False),
        ("sha384-name", good_ak[:2] + AlgorithmId.SHA384.to_bytes(2, "big") + good_ak[4:], False),
        ("cipher", point_area(key, AK_ATTRIBUTES, symmetric=AES_128_CFB, scheme=ECDSA_SHA256).area, False),
        ("p384", p384, False),
        ("rsa-3072", rsa_3072, False),
        ("rsa-2048", ak_template(KeyKind.RSA_2048), True),
        ("rsa-2048-pss", rsa_pss, True),
    ):
        ak_code = None if accepted else RejectionCode.AK_ATTRIBUTES
        yield Vector(f"ak-{name}", f"an AK, {name}", "attestation.md 2.1", "check_ak", {"public": area.hex()}, ak_code)
    null_scheme = point_area(key, AK_ATTRIBUTES).area
    yield Vector(
        "ak-no-scheme",
        "the scheme is left open",
        "attestation.md 2.1",
        "check_ak",
        {"public": null_scheme.hex()},
        RejectionCode.AK_ATTRIBUTES,
    )
    good = point_area(key, SRK_ATTRIBUTES, symmetric=AES_128_CFB).area
    no_da = point_area(key, SRK_ATTRIBUTES & ~flags.NO_DA, symmetric=AES_128_CFB).area
    exportable = point_area(key, SRK_ATTRIBUTES & ~flags.FIXED_TPM & ~flags.FIXED_PARENT, symmetric=AES_128_CFB).area
    policy = good.replace(sized_2b(b""), sized_2b(bytes(32)), 1)
    for name, area in (
        ("good", good),
        ("da", no_da),
        ("exportable", exportable),
        ("aes-256", good.replace(AES_128_CFB, bytes.fromhex("000601000043"), 1)),
        ("policy", policy),
        ("short-unique", good[:-34] + sized_2b(good[-32:-1])),
    ):
        code = None if name == "good" else RejectionCode.SRK_TEMPLATE
        yield Vector(
            f"srk-{name}",
            f"a storage key, {name}",
            "attestation.md 2.2",
            "matches_listed_template",
            {"public": area.hex()},
            code,
        )


def write_all(directory: Path) -> None:
    """Write every vector below ``directory``, replacing what is there."""
    for folder in directory.iterdir() if directory.is_dir() else ():
        if folder.is_dir():
            shutil.rmtree(folder)
    for vectors in (Quotes().all(), certify_vectors(), counter_vectors(), key_vectors()):
        for vector in vectors:
            vector.write(directory)


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
