"""Protection of a secret to a storage or endorsement key, without a TPM.

TPM 2.0 Library, Part 1, 23, 24, annexes B and C. MakeCredential and Import blobs are both an *outer wrapper*: a seed
encrypted to the key, a symmetric and an HMAC key derived from it, the plain text in CFB, and an HMAC over the cipher
text and the Name of the object it belongs to.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from sealwright_policies.errors import UnsupportedError
from sealwright_policies.tcg.algorithms import AlgorithmId, hashlib_name, strong_hash
from sealwright_policies.tcg.public import Public, Symmetric
from sealwright_policies.tcg.reader import sized_2b

try:  # newer cryptography keeps CFB among the decrepit ciphers, the 43 of the box does not
    from cryptography.hazmat.decrepit.ciphers.modes import CFB
except ImportError:
    from cryptography.hazmat.primitives.ciphers.modes import CFB

AES_BLOCK_SIZE = 16
AES_KEY_BITS = (128, 192, 256)


@dataclass(frozen=True, slots=True)
class Protected:
    """``wrapped`` is TPM2B(HMAC) ‖ cipher text; ``encrypted_seed`` is the content of a TPM2B_ENCRYPTED_SECRET."""

    wrapped: bytes
    encrypted_seed: bytes


def protect(parent: Public, label: bytes, name: bytes, plain: bytes) -> Protected:
    """Protect ``plain``, which belongs to the object ``name``, so that only the TPM holding ``parent`` can use it.

    Args:
        parent: public area of a restricted decryption key.
        label: of the seed: b"IDENTITY" for credentials, b"DUPLICATE" for import.
        name: Name of the object, in the HMAC and the key derivation.
        plain: what is encrypted.

    Raises:
        UnsupportedError: the parent's cipher is not AES-CFB, or its hash or key type is not supported.
    """
    hash_name = hashlib_name(parent.name_alg)
    digest_bits = hashlib.new(hash_name).digest_size * 8
    cipher = _require_aes_cfb(parent.symmetric)
    seed, encrypted_seed = _new_seed(parent, label)
    key = kdfa(hash_name, seed, b"STORAGE", bits=cipher.key_bits, context_u=name)
    encryptor = Cipher(algorithms.AES(key), CFB(bytes(AES_BLOCK_SIZE))).encryptor()
    cipher_text = encryptor.update(plain) + encryptor.finalize()
    mac_key = kdfa(hash_name, seed, b"INTEGRITY", bits=digest_bits)
    mac = hmac.digest(mac_key, cipher_text + name, hash_name)
    return Protected(sized_2b(mac) + cipher_text, encrypted_seed)


def kdfa(hash_name: str, key: bytes, label: bytes, *, bits: int, context_u: bytes = b"") -> bytes:
    """KDFa, the counter-mode KDF of SP 800-108 (Part 1, 11.4.10.2); contextV is always empty here."""
    fixed = label + b"\0" + context_u + bits.to_bytes(4, "big")
    stream = b""
    counter = 0
    while len(stream) * 8 < bits:
        counter += 1
        stream += hmac.digest(key, counter.to_bytes(4, "big") + fixed, hash_name)
    return stream[: bits // 8]


def kdfe(hash_name: str, z: bytes, label: bytes, *, party_u: bytes, party_v: bytes, bits: int) -> bytes:
    """KDFe, the concatenation KDF of SP 800-56A (Part 1, 11.4.10.3)."""
    fixed = z + label + b"\0" + party_u + party_v
    stream = b""
    counter = 0
    while len(stream) * 8 < bits:
        counter += 1
        stream += hashlib.new(hash_name, counter.to_bytes(4, "big") + fixed).digest()
    return stream[: bits // 8]


def _require_aes_cfb(symmetric: Symmetric | None) -> Symmetric:
    if (
        symmetric is None
        or symmetric.algorithm != AlgorithmId.AES
        or symmetric.mode != AlgorithmId.CFB
        or symmetric.key_bits not in AES_KEY_BITS
    ):
        raise UnsupportedError("secrets are wrapped only to keys whose cipher is AES in CFB mode")
    return symmetric


def _new_seed(parent: Public, label: bytes) -> tuple[bytes, bytes]:
    """Draw a seed and encrypt it to the parent: OAEP with the label (B.10.3), or ECDH and KDFe (C.6.1)."""
    hash_object = strong_hash(parent.name_alg)
    key = parent.key()
    if isinstance(key, rsa.RSAPublicKey):
        seed = secrets.token_bytes(hash_object.digest_size)
        return seed, key.encrypt(seed, padding.OAEP(padding.MGF1(hash_object), hash_object, label + b"\0"))
    ephemeral = ec.generate_private_key(key.curve)
    size = (key.curve.key_size + 7) // 8
    mine, theirs = ephemeral.public_key().public_numbers(), key.public_numbers()
    x, y = mine.x.to_bytes(size, "big"), mine.y.to_bytes(size, "big")
    seed = kdfe(
        hashlib_name(parent.name_alg),
        ephemeral.exchange(ec.ECDH(), key),
        label,
        party_u=x,
        party_v=theirs.x.to_bytes(size, "big"),
        bits=hash_object.digest_size * 8,
    )
    return seed, sized_2b(x) + sized_2b(y)
