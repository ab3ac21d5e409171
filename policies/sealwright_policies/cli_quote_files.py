"""The files of a quote as tpm2-tools and OpenSSL write them: AK, statement, signature, PCR values.

What a box sends has one form each (policies/spec/tcg-structures.md). A person with a quote of another program has one
of several, and these are told apart by their bytes: no form can be taken for another.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

from sealwright_policies.cli_files import read_file
from sealwright_policies.errors import FormatError, UnsupportedError
from sealwright_policies.tcg.algorithms import AlgorithmId, algorithm_name, curve_by_name
from sealwright_policies.tcg.attest import MAX_ATTEST_SIZE, TPM_GENERATED_VALUE
from sealwright_policies.tcg.pcr import DIGEST_SIZES, PCR_COUNT, bank_name
from sealwright_policies.tcg.public import parse_public, parse_public_2b
from sealwright_policies.tcg.signature import (
    MAX_SIGNATURE_SIZE,
    EcdsaSignature,
    PublicKey,
    RsaSignature,
    Signature,
    parse_signature,
)

MAX_KEY_SIZE = 8 << 10
"""Bytes; PEM and DER of this size cannot begin with their own length, as a TPM2B_PUBLIC does."""
MAX_PCR_FILE_SIZE = 16 << 20
"""Bytes; `eventlog --json` writes the events into the same file."""

_DER_SEQUENCE = b"\x30"
_MAGIC = TPM_GENERATED_VALUE.to_bytes(4, "big")
_KEY_TYPES = (AlgorithmId.RSA, AlgorithmId.ECC)
_HASHES = (AlgorithmId.SHA256, AlgorithmId.SHA384, AlgorithmId.SHA512)


def load_attestation_key(path: Path) -> PublicKey:
    """Read a public key: PEM or DER (SubjectPublicKeyInfo), TPM2B_PUBLIC or TPMT_PUBLIC.

    Raises:
        UsageError: the file cannot be read.
        FormatError: it is no public key.
        UnsupportedError: a key of a type or curve that no AK has, or a certificate.
    """
    data = read_file(path, max_size=MAX_KEY_SIZE)
    head = int.from_bytes(data[:2], "big")
    if head == len(data) - 2:
        return parse_public_2b(data).key()
    if head in _KEY_TYPES:
        return parse_public(data).key()
    if b"-----BEGIN CERTIFICATE-----" in data:
        raise UnsupportedError(f"{path}: a certificate; take the key out of it: openssl x509 -pubkey -noout")
    load = load_der_public_key if data.startswith(_DER_SEQUENCE) else load_pem_public_key
    try:
        key = load(data)
    except UnsupportedAlgorithm as error:
        raise UnsupportedError(f"{path}: {error}") from None
    except ValueError:
        raise FormatError(f"{path}: not a public key as PEM, DER or TPM2B_PUBLIC") from None
    if isinstance(key, rsa.RSAPublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey):
        if curve_by_name(key.curve.name) is None:
            raise UnsupportedError(f"{path}: a key on curve {key.curve.name} is not supported")
        return key
    raise UnsupportedError(f"{path}: only RSA and ECDSA keys are supported")


def load_attest(path: Path) -> bytes:
    """Read a TPMS_ATTEST, or a TPM2B_ATTEST of which the length is taken off; what is signed is not looked into."""
    data = read_file(path, max_size=2 + MAX_ATTEST_SIZE)
    wrapped = data[2:6] == _MAGIC and int.from_bytes(data[:2], "big") == len(data) - 2
    return data[2:] if wrapped else data


def load_signatures(path: Path, key: PublicKey) -> tuple[Signature, ...]:
    """Read a TPMT_SIGNATURE or a plain signature.

    A plain signature says neither hash nor, with RSA, scheme: each reading of it is returned, and one at most verifies.
    """
    data = read_file(path, max_size=MAX_SIGNATURE_SIZE)
    if isinstance(key, rsa.RSAPublicKey) and len(data) == (key.key_size + 7) // 8:  # TPMT_SIGNATURE is six bytes longer
        schemes = (AlgorithmId.RSASSA, AlgorithmId.RSAPSS)
        return tuple(RsaSignature(scheme, hash_algorithm, data) for scheme in schemes for hash_algorithm in _HASHES)
    if data.startswith(_DER_SEQUENCE):  # TPMT_SIGNATURE begins with a zero byte
        try:
            r, s = decode_dss_signature(data)
        except ValueError:
            raise FormatError(f"{path}: not an ECDSA signature in DER") from None
        return tuple(EcdsaSignature(hash_algorithm, r, s) for hash_algorithm in _HASHES)
    return (parse_signature(data),)


def parse_pcr_values(data: bytes, bank: int) -> dict[int, bytes]:
    """Parse PCR values of ``bank`` from JSON: by PCR, by bank and PCR, or that below ``pcrs``.

    Raises:
        FormatError: not JSON of one of these forms.
    """
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_unique_names)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"PCR values: not JSON: {error}") from None
    if isinstance(document, dict) and "pcrs" in document:
        document = document["pcrs"]
    if not isinstance(document, dict):
        raise FormatError("PCR values: not a JSON object")
    if any(name in document for name in map(algorithm_name, DIGEST_SIZES)):
        document = document.get(bank_name(bank), {})
        if not isinstance(document, dict):
            raise FormatError(f"PCR values: {bank_name(bank)} is not an object")
    return dict(_pcr_value(name, value, bank) for name, value in document.items())


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a name occurs twice")
    return document


def _pcr_value(name: str, value: Any, bank: int) -> tuple[int, bytes]:
    if name not in _PCR_NAMES:
        raise FormatError(f"PCR values: {name!r} is not a PCR from 0 to {PCR_COUNT - 1}")
    if not isinstance(value, str):
        raise FormatError(f"PCR values: PCR {name} is not text")
    try:
        digest = bytes.fromhex(value.removeprefix("0x"))
    except ValueError:
        raise FormatError(f"PCR values: PCR {name} is not hexadecimal") from None
    if len(digest) != DIGEST_SIZES[bank]:
        raise FormatError(f"PCR values: PCR {name} has {len(digest)} bytes, {bank_name(bank)} has {DIGEST_SIZES[bank]}")
    return _PCR_NAMES[name], digest


_PCR_NAMES = {str(index): index for index in range(PCR_COUNT)}
