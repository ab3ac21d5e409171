"""Vectors of quotes, most of which no TPM would make; part of :mod:`sealwright_testing.attestation_vectors`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sealwright_policies.errors import RejectionCode
from sealwright_policies.tcg.algorithms import AlgorithmId
from sealwright_policies.tcg.attest import StructureTag
from sealwright_policies.tcg.pcr import selection_bytes
from sealwright_policies.tcg.reader import sized_2b
from sealwright_testing.attestations import CLOCK, ECDSA_SHA256, AttestFields, SoftwareAk, certify_bytes, quote_bytes
from sealwright_testing.vectors import Vector

QUALIFYING_DATA = hashlib.sha256(b"qualifying data of the vectors").digest()
SELECTION = (0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 12, 13, 14, 15)
PCRS = {index: hashlib.sha256(b"PCR %d" % index).digest() for index in SELECTION}


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
        joined = PCRS[0] + PCRS[1]
        shifted = changed | {"0": joined[:31].hex(), "1": joined[31:].hex(), "11": PCRS[11].hex()}
        missing = {str(index): value.hex() for index, value in PCRS.items() if index != 12}
        for name, description, pcrs in (
            ("quote-other-values", "PCR 11 is claimed to be zero", changed),
            ("quote-values-shifted", "the same bytes, PCR 0 one byte shorter and PCR 1 one longer", shifted),
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
        unsafe = bytearray(self.good)
        unsafe[self.good.index(CLOCK.reset_count.to_bytes(4, "big") + CLOCK.restart_count.to_bytes(4, "big")) + 8] = 2
        yield self.vector(
            "quote-safe-2",
            "a clock that is neither safe nor not",
            section,
            outcome="malformed",
            attest=bytes(unsafe),
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
