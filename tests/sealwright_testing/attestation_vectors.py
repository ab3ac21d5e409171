"""Writes the vectors of ``tests/vectors/attestation``: ``python -m sealwright_testing.attestation_vectors DIRECTORY``.

Statements of real keys come from a software TPM made for the purpose; those that no TPM would sign come from a key in
software. Keys are new each time, so running it changes every file: do so only to add or change vectors.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from sealwright_policies.errors import RejectionCode
from sealwright_policies.tcg.algorithms import AlgorithmId
from sealwright_policies.tcg.attest import StructureTag
from sealwright_policies.tcg.nv import counter_public
from sealwright_policies.tcg.pcr import selection_bytes
from sealwright_policies.tcg.public import Hierarchy, ObjectAttributes, qualified_name
from sealwright_policies.tcg.reader import sized_2b
from sealwright_policies.tcg.srk import SRK_ATTRIBUTES, srk_template
from sealwright_policies.tcg.templates import AK_ATTRIBUTES, ak_template
from tpm2_pytss import ESAPI
from tpm2_pytss.constants import ESYS_TR

from sealwright_testing.attestations import (
    ECDSA_SHA256,
    AttestFields,
    SoftwareAk,
    certify_bytes,
    nv_certify_bytes,
    point_area,
    quote_bytes,
)
from sealwright_testing.swtpm import SoftwareTpm
from sealwright_testing.tpm_session import Statement, TpmSession

QUALIFYING_DATA = hashlib.sha256(b"qualifying data of the vectors").digest()
SELECTION = (0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 12, 13, 14, 15)
PCRS = {index: hashlib.sha256(b"PCR %d" % index).digest() for index in SELECTION}
AES_128_CFB = bytes.fromhex("000600800043")
COUNTER_INDEX = 0x01C10200


@dataclass(frozen=True)
class Vector:
    """One folder: what it shows, what goes in, what must come out."""

    name: str
    description: str
    section: str
    operation: str
    input: Mapping[str, Any]
    code: RejectionCode | None = None
    outcome: str = field(default="")

    def write(self, directory: Path) -> None:
        """Write the three files."""
        folder = directory / self.name
        folder.mkdir(parents=True)
        outcome = self.outcome or ("rejected" if self.code else "accepted")
        manifest = {"description": self.description, "spec": self.section, "operation": self.operation}
        expected = {"outcome": outcome} | ({"code": self.code.value} if self.code else {})
        for name, content in (("manifest", manifest), ("input", dict(self.input)), ("expected", expected)):
            (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")


class Quotes:
    """Vectors of verify_quote."""

    def __init__(self) -> None:
        self.ak = SoftwareAk()
        self.fields = AttestFields(self.ak.qualified_name, QUALIFYING_DATA)
        self.good = quote_bytes(self.fields, PCRS)

    def vector(
        self,
        name: str,
        description: str,
        section: str,
        *,
        code: RejectionCode | None = None,
        outcome: str = "",
        attest: bytes | None = None,
        signature: bytes | None = None,
        **changes: Any,
    ) -> Vector:
        """Return a vector; what is not given is as in a good quote."""
        statement = self.good if attest is None else attest
        values = {
            "ak": self.ak.public.area.hex(),
            "attest": statement.hex(),
            "signature": (self.ak.sign(statement) if signature is None else signature).hex(),
            "qualifying_data": QUALIFYING_DATA.hex(),
            "pcrs": {str(index): value.hex() for index, value in PCRS.items()},
            "selection": list(SELECTION),
        }
        return Vector(name, description, section, "verify_quote", values | changes, code, outcome)

    def all(self) -> Iterator[Vector]:
        """Yield all of them."""
        yield self.vector("quote-good", "a quote as our box makes it", "attestation.md 3")
        yield from self._signatures()
        yield from self._structures()
        yield from self._selections()
        changed = {str(index): value.hex() for index, value in (PCRS | {11: bytes(32)}).items()}
        missing = {str(index): value.hex() for index, value in PCRS.items() if index != 12}
        for name, description, pcrs in (
            ("quote-other-values", "PCR 11 is claimed to be zero", changed),
            ("quote-value-missing", "no value is given for the quoted PCR 12", missing),
        ):
            yield self.vector(
                name, description, "attestation.md 3.6", code=RejectionCode.PCR_DIGEST_MISMATCH, pcrs=pcrs
            )

    def _signatures(self) -> Iterator[Vector]:
        section, good = "attestation.md 3.1", self.ak.sign(self.good)
        invalid, algorithm = RejectionCode.SIGNATURE_INVALID, RejectionCode.SIGNATURE_ALGORITHM
        other = SoftwareAk().sign(self.good)
        yield self.vector("quote-other-signer", "signed by another AK", section, code=invalid, signature=other)
        yield self.vector(
            "quote-signature-changed",
            "one bit of s differs",
            section,
            code=invalid,
            signature=good[:-1] + bytes((good[-1] ^ 1,)),
        )
        yield self.vector(
            "quote-signature-zero",
            "r and s are zero",
            section,
            code=invalid,
            signature=ECDSA_SHA256 + sized_2b(bytes(32)) * 2,
        )
        yield self.vector(
            "quote-attest-changed",
            "one bit of the statement differs",
            section,
            code=invalid,
            attest=self.good[:-1] + bytes((self.good[-1] ^ 1,)),
            signature=good,
        )
        yield self.vector(
            "quote-signature-sha1",
            "the signature says that it hashes with SHA-1",
            section,
            code=algorithm,
            signature=good[:2] + AlgorithmId.SHA1.to_bytes(2, "big") + good[4:],
        )
        yield self.vector(
            "quote-signature-sha384",
            "a genuine signature with SHA-384 by a key whose area fixes SHA-256",
            section,
            code=algorithm,
            signature=self.ak.sign_sha384(self.good),
        )
        yield self.vector(
            "quote-signature-rsa",
            "an RSASSA signature with an ECC key",
            section,
            code=algorithm,
            signature=AlgorithmId.RSASSA.to_bytes(2, "big") + good[2:4] + sized_2b(bytes(256)),
        )
        yield self.vector(
            "quote-signature-hmac",
            "an HMAC 'signature'",
            section,
            outcome="unsupported",
            signature=AlgorithmId.HMAC.to_bytes(2, "big") + good[2:4] + bytes(32),
        )
        yield self.vector(
            "quote-signature-trailing",
            "one byte behind the signature",
            section,
            outcome="malformed",
            signature=good + b"\0",
        )
        yield self.vector(
            "quote-signature-truncated",
            "the signature ends early",
            section,
            outcome="malformed",
            signature=good[:-1],
        )

    def _structures(self) -> Iterator[Vector]:
        section = "attestation.md 3.2"
        yield self.vector(
            "quote-trailing",
            "a byte behind the statement, signed with it",
            section,
            outcome="malformed",
            attest=self.good + b"\0",
        )
        yield self.vector(
            "quote-truncated",
            "the statement ends early, and is signed so",
            section,
            outcome="malformed",
            attest=self.good[:-1],
        )
        forged = quote_bytes(replace(self.fields, magic=0xFF544348), PCRS)
        yield self.vector(
            "quote-magic",
            "what TPM2_Sign could sign: no TPM_GENERATED_VALUE",
            "attestation.md 3.3",
            code=RejectionCode.NOT_TPM_GENERATED,
            attest=forged,
        )
        certify = certify_bytes(self.fields, self.ak.public.name, self.ak.qualified_name)
        yield self.vector(
            "quote-is-certify",
            "a certify statement in place of a quote",
            "attestation.md 3.3",
            code=RejectionCode.ATTESTATION_TYPE,
            attest=certify,
        )
        audit = self.fields.marshal(StructureTag.ATTEST_SESSION_AUDIT, b"\0" + sized_2b(bytes(32)))
        yield self.vector(
            "quote-is-audit",
            "a session audit statement, which we never ask for",
            "attestation.md 3.3",
            code=RejectionCode.ATTESTATION_TYPE,
            attest=audit,
        )
        section, code = "attestation.md 3.4", RejectionCode.QUALIFYING_DATA_MISMATCH
        for name, description, data in (
            ("quote-other-nonce", "made for other qualifying data", bytes(32)),
            ("quote-no-nonce", "made for no qualifying data", b""),
            ("quote-nonce-prefix", "made for a prefix of the qualifying data", QUALIFYING_DATA[:31]),
        ):
            attest = quote_bytes(replace(self.fields, extra_data=data), PCRS)
            yield self.vector(name, description, section, code=code, attest=attest)

    def _selections(self) -> Iterator[Vector]:
        bitmap = sum(1 << index for index in SELECTION)
        sha256 = AlgorithmId.SHA256.to_bytes(2, "big")
        one = selection_bytes(SELECTION)
        resettable = {16: PCRS[0], 23: PCRS[7]}
        cases: tuple[tuple[str, str, bytes], ...] = (
            ("resettable", "over the resettable PCRs 16 and 23", quote_bytes(self.fields, resettable)),
            ("fewer", "PCR 15 is not quoted", quote_bytes(self.fields, {i: PCRS[i] for i in SELECTION[:-1]})),
            ("more", "PCR 8 is quoted too", quote_bytes(self.fields, PCRS | {8: bytes(32)})),
            ("none", "no bank at all", quote_bytes(self.fields, PCRS, selection=bytes(4))),
            ("sha1-bank", "the SHA-1 bank", quote_bytes(self.fields, PCRS, bank=AlgorithmId.SHA1)),
            (
                "second-bank",
                "a second, empty bank",
                quote_bytes(self.fields, PCRS, selection=b"\0\0\0\x02" + one[4:] + b"\0\x04\x03\0\0\0"),
            ),
            (
                "long-bitmap",
                "a bitmap of four octets, the last one empty",
                quote_bytes(
                    self.fields, PCRS, selection=b"\0\0\0\x01" + sha256 + b"\x04" + bitmap.to_bytes(4, "little")
                ),
            ),
        )
        for name, description, attest in cases:
            yield self.vector(
                f"quote-selection-{name}",
                description,
                "attestation.md 3.5",
                code=RejectionCode.PCR_SELECTION_MISMATCH,
                attest=attest,
            )


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
