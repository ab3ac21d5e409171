"""X.509 certificates of TPM makers, read tolerantly and verified over their original bytes (RFC 5280, parts).

What is judged about a chain stands in :mod:`sealwright_licensing.endorsement`; here is only what one certificate says
and whether a key signed it.
"""

from __future__ import annotations

import calendar
import hashlib
import time
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from sealwright_licensing import der
from sealwright_policies.errors import FormatError, UnsupportedError

MAX_CERTIFICATE = 8192
"""Bytes; makers' certificates have 700 to 2000."""

BASIC_CONSTRAINTS = "2.5.29.19"
KEY_USAGE = "2.5.29.15"
EXTENDED_KEY_USAGE = "2.5.29.37"
SUBJECT_ALTERNATIVE_NAME = "2.5.29.17"
CERTIFICATE_POLICIES = "2.5.29.32"
SUBJECT_KEY_IDENTIFIER = "2.5.29.14"
AUTHORITY_KEY_IDENTIFIER = "2.5.29.35"
_KEY_IDENTIFIER = 0x80
"""[0] IMPLICIT OCTET STRING of AuthorityKeyIdentifier (RFC 5280, 4.2.1.1)."""
KEY_CERT_SIGN = 5
"""Bit of KeyUsage (RFC 5280, 4.2.1.3)."""

_EC_PUBLIC_KEY = "1.2.840.10045.2.1"
_RSA_KEYS = ("1.2.840.113549.1.1.1", "1.2.840.113549.1.1.7")
"""rsaEncryption, and id-RSAES-OAEP, which old EK certificates carry for the same key format."""
_CURVES: dict[str, ec.EllipticCurve] = {
    "1.2.840.10045.3.1.7": ec.SECP256R1(),
    "1.3.132.0.34": ec.SECP384R1(),
    "1.3.132.0.35": ec.SECP521R1(),
}
_PSS = "1.2.840.113549.1.1.10"
_PKCS1: dict[str, hashes.HashAlgorithm] = {
    "1.2.840.113549.1.1.11": hashes.SHA256(),
    "1.2.840.113549.1.1.12": hashes.SHA384(),
    "1.2.840.113549.1.1.13": hashes.SHA512(),
}
_ECDSA: dict[str, hashes.HashAlgorithm] = {
    "1.2.840.10045.4.3.2": hashes.SHA256(),
    "1.2.840.10045.4.3.3": hashes.SHA384(),
    "1.2.840.10045.4.3.4": hashes.SHA512(),
}
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "2.16.840.1.101.3.4.2.1": hashes.SHA256(),
    "2.16.840.1.101.3.4.2.2": hashes.SHA384(),
    "2.16.840.1.101.3.4.2.3": hashes.SHA512(),
}

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
NormalisedName = tuple[frozenset[tuple[str, str | bytes]], ...]


@dataclass(frozen=True, slots=True)
class Extension:
    """One extension; ``value`` is the content of its OCTET STRING."""

    critical: bool
    value: bytes


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says, unverified. Times are seconds since the epoch."""

    encoded: bytes
    signed_part: bytes
    signature_algorithm: bytes
    signature: bytes
    issuer: bytes
    subject: bytes
    not_before: int
    not_after: int
    key_info: bytes
    extensions: tuple[tuple[str, Extension], ...]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, hex."""
        return hashlib.sha256(self.encoded).hexdigest()

    def extension(self, oid: str) -> Extension | None:
        """The extension with this identifier."""
        return next((extension for found, extension in self.extensions if found == oid), None)

    @property
    def is_ca(self) -> bool:
        """BasicConstraints says cA."""
        return self._basic_constraints()[0]

    @property
    def path_length(self) -> int | None:
        """pathLenConstraint: how many CA certificates may stand between this one and the leaf."""
        return self._basic_constraints()[1]

    @property
    def self_issued(self) -> bool:
        """Issuer and subject are the same bytes."""
        return self.issuer == self.subject

    def _basic_constraints(self) -> tuple[bool, int | None]:
        extension = self.extension(BASIC_CONSTRAINTS)
        if extension is None:
            return False, None
        fields = der.read_element(extension.value).expect(der.SEQUENCE).children()
        is_ca = bool(fields) and fields[0].tag == der.BOOLEAN and der.decode_boolean(fields[0])
        lengths = [der.decode_integer(field) for field in fields if field.tag == der.INTEGER]
        return is_ca, lengths[0] if lengths else None

    @property
    def key_usage(self) -> frozenset[int] | None:
        """Set bits of KeyUsage, None without the extension."""
        extension = self.extension(KEY_USAGE)
        return None if extension is None else der.decode_flags(der.read_element(extension.value))

    @property
    def extended_key_usages(self) -> tuple[str, ...]:
        """Purposes of ExtendedKeyUsage, empty without the extension."""
        extension = self.extension(EXTENDED_KEY_USAGE)
        if extension is None:
            return ()
        return tuple(der.decode_oid(item) for item in der.read_element(extension.value).expect(der.SEQUENCE).children())

    @property
    def subject_key_id(self) -> bytes:
        """What the certified key is called, empty if nothing readable says so. A hint, no proof."""
        extension = self.extension(SUBJECT_KEY_IDENTIFIER)
        try:
            return b"" if extension is None else der.read_element(extension.value).expect(der.OCTET_STRING).content
        except FormatError:
            return b""

    @property
    def authority_key_id(self) -> bytes:
        """What the issuer's key is called, empty if nothing readable says so. A hint, no proof."""
        extension = self.extension(AUTHORITY_KEY_IDENTIFIER)
        try:
            parts = [] if extension is None else der.read_element(extension.value).expect(der.SEQUENCE).children()
        except FormatError:
            return b""
        return next((part.content for part in parts if part.tag == _KEY_IDENTIFIER), b"")

    @property
    def alternative_directory_names(self) -> dict[str, str]:
        """Attributes of the directoryName entries in SubjectAlternativeName: maker, model and version of a TPM."""
        extension = self.extension(SUBJECT_ALTERNATIVE_NAME)
        if extension is None:
            return {}
        names: dict[str, str] = {}
        for entry in der.read_element(extension.value).expect(der.SEQUENCE).children():
            if entry.tag == der.context(4):
                for attributes in name_attributes(entry.content):
                    names.update({oid: text for oid, text in attributes if isinstance(text, str)})
        return names

    def key(self) -> PublicKey:
        """The certified key. Raises UnsupportedError for algorithms and curves that no EK here has."""
        return _load_key(self.key_info)


def parse_certificate(data: bytes) -> Certificate:
    """Parse a DER certificate with nothing behind it."""
    return _parse(der.read_element(_bounded(data)))


def parse_padded_certificate(data: bytes) -> Certificate:
    """Parse a certificate as it lies in an NV index: padding may follow, and is dropped."""
    return _parse(der.leading_element(_bounded(data)))


def _bounded(data: bytes) -> bytes:
    if len(data) > MAX_CERTIFICATE:
        raise FormatError(f"Certificate of {len(data)} bytes; at most {MAX_CERTIFICATE} are read.")
    return data


def _parse(outer: der.Element) -> Certificate:
    parts = outer.expect(der.SEQUENCE).children()
    if len(parts) != 3:
        raise FormatError("Certificate: not of three parts.")
    fields = parts[0].expect(der.SEQUENCE).children()
    if fields and fields[0].tag == der.context(0):
        fields = fields[1:]
    if len(fields) < 6:
        raise FormatError("Certificate: fields missing.")
    algorithm, issuer, validity, subject, key_info = (field.expect(der.SEQUENCE) for field in fields[1:6])
    if algorithm.raw != parts[1].raw:
        raise FormatError("Certificate: two different signature algorithms.")
    times = validity.children()
    if len(times) != 2:
        raise FormatError("Certificate: validity is not of two times.")
    certificate = Certificate(
        encoded=outer.raw,
        signed_part=parts[0].raw,
        signature_algorithm=algorithm.raw,
        signature=der.decode_bits(parts[2]),
        issuer=issuer.raw,
        subject=subject.raw,
        not_before=_decode_time(times[0]),
        not_after=_decode_time(times[1]),
        key_info=key_info.raw,
        extensions=_parse_extensions(fields[6:]),
    )
    for name in (certificate.issuer, certificate.subject):
        normalised_name(name)  # so that nobody meets an unreadable name later
    return certificate


def _parse_extensions(fields: list[der.Element]) -> tuple[tuple[str, Extension], ...]:
    wrappers = [field for field in fields if field.tag == der.context(3)]
    if len(wrappers) != 1:
        return ()
    found: dict[str, Extension] = {}
    for item in der.read_element(wrappers[0].content).expect(der.SEQUENCE).children():
        parts = item.expect(der.SEQUENCE).children()
        if len(parts) not in (2, 3):
            raise FormatError("Certificate: extension not readable.")
        oid = der.decode_oid(parts[0])
        if oid in found:
            raise FormatError(f"Certificate: extension {oid} stands twice.")
        critical = len(parts) == 3 and der.decode_boolean(parts[1])
        found[oid] = Extension(critical, parts[-1].expect(der.OCTET_STRING).content)
    return tuple(found.items())


def _decode_time(element: der.Element) -> int:
    patterns = {der.UTC_TIME: "%y%m%d%H%M%SZ", der.GENERALIZED_TIME: "%Y%m%d%H%M%SZ"}
    try:
        parsed = time.strptime(element.content.decode("ascii"), patterns[element.tag])
    except (KeyError, ValueError) as error:
        raise FormatError("Certificate: time not readable.") from error
    year = parsed.tm_year
    if element.tag == der.UTC_TIME:  # RFC 5280, 4.1.2.5.1: 50..99 is 19xx; strptime pivots at 69
        year = 1900 + year % 100 if year % 100 >= 50 else 2000 + year % 100
    return calendar.timegm((year, *parsed[1:6]))


def name_attributes(encoded: bytes) -> list[list[tuple[str, str | bytes]]]:
    """A Name as it stands: for each RDN its attributes, undecodable values as bytes."""
    parts: list[list[tuple[str, str | bytes]]] = []
    for relative in der.read_element(encoded).expect(der.SEQUENCE).children():
        attributes: list[tuple[str, str | bytes]] = []
        for attribute in relative.expect(der.SET).children():
            pair = attribute.expect(der.SEQUENCE).children()
            if len(pair) != 2:
                raise FormatError("Certificate: name attribute not readable.")
            text = der.decode_text(pair[1])
            attributes.append((der.decode_oid(pair[0]), pair[1].raw if text is None else text))
        parts.append(attributes)
    return parts


@lru_cache(maxsize=1024)
def normalised_name(encoded: bytes) -> NormalisedName:
    """A Name for comparison: order inside a SET, string type, case and runs of blanks do not count (RFC 5280, 7.1)."""
    return tuple(
        frozenset((oid, " ".join(value.split()).casefold() if isinstance(value, str) else value) for oid, value in rdn)
        for rdn in name_attributes(encoded)
    )


@lru_cache(maxsize=256)
def _load_key(key_info: bytes) -> PublicKey:
    parts = der.read_element(key_info).expect(der.SEQUENCE).children()
    if len(parts) != 2:
        raise FormatError("Certificate: key not readable.")
    algorithm = parts[0].expect(der.SEQUENCE).children()
    if not algorithm:
        raise FormatError("Certificate: key algorithm missing.")
    oid, bits = der.decode_oid(algorithm[0]), der.decode_bits(parts[1])
    try:
        if oid in _RSA_KEYS:
            modulus, exponent = (der.decode_integer(item) for item in der.read_element(bits).children())
            return rsa.RSAPublicNumbers(exponent, modulus).public_key()
        if oid == _EC_PUBLIC_KEY and len(algorithm) == 2:
            curve = _CURVES.get(der.decode_oid(algorithm[1]))
            if curve is not None:
                return ec.EllipticCurvePublicKey.from_encoded_point(curve, bits)
    except ValueError as error:
        raise FormatError(f"Certificate: not a usable key: {error}") from error
    raise UnsupportedError(f"Certificate: keys of algorithm {oid} are not supported.")


def verify_signature(certificate: Certificate, key: PublicKey) -> bool:
    """Whether the key signed the certificate's original bytes.

    A question and not a verdict: the caller tries the candidates that a name suggests, and raises if none fits.
    """
    parts = der.read_element(certificate.signature_algorithm).children()
    if not parts:
        raise FormatError("Certificate: signature algorithm missing.")
    oid = der.decode_oid(parts[0])
    try:
        if oid in _ECDSA and isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(certificate.signature, certificate.signed_part, ec.ECDSA(_ECDSA[oid]))
        elif oid in _PKCS1 and isinstance(key, rsa.RSAPublicKey):
            key.verify(certificate.signature, certificate.signed_part, padding.PKCS1v15(), _PKCS1[oid])
        elif oid == _PSS and isinstance(key, rsa.RSAPublicKey):
            algorithm = _pss_hash(parts)
            scheme = padding.PSS(padding.MGF1(algorithm), padding.PSS.AUTO)
            key.verify(certificate.signature, certificate.signed_part, scheme, algorithm)
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _pss_hash(parts: list[der.Element]) -> hashes.HashAlgorithm:
    """Hash of RSASSA-PSS-params (RFC 4055); MGF1 with another hash does not verify, SHA-1 is not accepted."""
    for field in parts[1].children() if len(parts) == 2 else []:
        if field.tag == der.context(0):
            algorithm = der.read_element(field.content).children()
            oid = der.decode_oid(algorithm[0]) if algorithm else ""
            if oid in _HASHES:
                return _HASHES[oid]
    raise UnsupportedError("Certificate: RSASSA-PSS with a hash that is not accepted.")
