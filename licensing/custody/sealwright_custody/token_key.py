"""Keys inside a PKCS#11 token, as cryptography's own key types, so that whatever signs with those signs with these.

ECDSA and ECDH on P-256 (CKM_ECDSA, CKM_ECDH1_DERIVE with CKD_NULL), Ed25519 (CKM_EDDSA). A key is used only if the
token says that it cannot be taken out, and after a signature or exchange has shown that its public half belongs to it.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11 import KDF, Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11.util.ec import encode_named_curve_parameters

from sealwright_custody.kinds import KeyKind
from sealwright_custody.token import Token
from sealwright_policies.errors import OperationError, UnsupportedError

P256_PARAMETERS = encode_named_curve_parameters("secp256r1")
ED25519_PARAMETERS = b"\x13\x0cedwards25519"
"""PrintableString curveName (PKCS #11 3.0, 2.3.10); SoftHSM 2.6 takes the OID 1.3.101.112 as well."""
ED25519_OID = bytes.fromhex("06032b6570")
_DIGEST = hashes.SHA256()


class _TokenKey:
    """Finds a key pair in a token, checks it, and keeps its handle as long as the session lives."""

    def __init__(self, token: Token, kind: KeyKind) -> None:
        self._token = token
        self._kind = kind
        self._found: tuple[Any, Any] | None = None
        self._public_point = token.use(self._check)

    @property
    def locator_text(self) -> str:
        """Where it is kept."""
        return str(self._token.locator)

    def close(self) -> None:
        """Give up the token's session."""
        self._token.close()

    def _operate(self, operation: Any) -> Any:
        return self._token.use(lambda session: operation(self._private(session)))

    def _private(self, session: Any) -> Any:
        if self._found is None or self._found[0] is not session:
            self._found = (session, _only(session, self._token, ObjectClass.PRIVATE_KEY))
        return self._found[1]

    def _check(self, session: Any) -> bytes:
        """Demand a key of the kind that cannot leave the token; its public point, decoded."""
        key = self._private(session)
        where = f"The key {_called(self._token)} in the token {self._token.locator.token!r}"
        if key[Attribute.KEY_TYPE] is not _TYPES[self._kind]:
            raise OperationError(f"{where} is not {self._kind.words}.", cure="Name another key, or make one.")
        if key[Attribute.EC_PARAMS] not in _PARAMETERS[self._kind]:
            raise OperationError(f"{where} is not on the curve of {self._kind.words}.", cure="Make one that is.")
        allowed = Attribute.DERIVE if self._kind is KeyKind.P256_ECDH else Attribute.SIGN
        if not key[allowed]:
            raise OperationError(f"{where} may not {allowed.name.lower()}.", cure="Make one for this purpose.")
        if key[Attribute.EXTRACTABLE] or not key[Attribute.SENSITIVE]:
            raise OperationError(
                f"{where} can be taken out of the token (CKA_EXTRACTABLE, or not CKA_SENSITIVE).",
                cure="Make another inside the token with `sealwright-license keys rotate`; this one may have copies.",
            )
        public = _only(session, self._token, ObjectClass.PUBLIC_KEY, key_id=key[Attribute.ID])
        return _point(public[Attribute.EC_POINT])

    def _mismatch(self) -> OperationError:
        return OperationError(
            f"The public key {_called(self._token)} in the token {self._token.locator.token!r} is another key's.",
            cure="Delete the wrong object, or name the key by its id.",
        )

    def _stays(self) -> NoReturn:
        raise OperationError("This private key is in a token and cannot be written out.", cure="Use it where it is.")


class TokenP256Key(_TokenKey, ec.EllipticCurvePrivateKey):
    """A P-256 key pair in a token."""

    def __init__(self, token: Token, kind: KeyKind) -> None:
        super().__init__(token, kind)
        try:
            self._public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), self._public_point)
        except ValueError as error:
            raise self._mismatch() from error
        self._prove()

    def _prove(self) -> None:
        if self._kind is KeyKind.P256_ECDH:
            other = ec.generate_private_key(ec.SECP256R1())
            if self.exchange(ec.ECDH(), other.public_key()) != other.exchange(ec.ECDH(), self._public):
                raise self._mismatch()
            return
        probe = secrets.token_bytes(32)
        try:
            self._public.verify(self.sign(probe, ec.ECDSA(_DIGEST)), probe, ec.ECDSA(_DIGEST))
        except InvalidSignature as error:
            raise self._mismatch() from error

    @property
    def curve(self) -> ec.EllipticCurve:
        """P-256."""
        return ec.SECP256R1()

    @property
    def key_size(self) -> int:
        """Bits."""
        return 256

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The public half."""
        return self._public

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """ECDSA with SHA-256 over data or over a digest; DER, from the r ‖ s that a token gives."""
        algorithm = signature_algorithm.algorithm
        if isinstance(algorithm, Prehashed) and algorithm.digest_size == _DIGEST.digest_size == len(data):
            digest = bytes(data)
        elif isinstance(algorithm, hashes.SHA256):
            digest = hashlib.sha256(data).digest()
        else:
            raise UnsupportedError("A key in a token signs with ECDSA and SHA-256.")
        raw = bytes(self._operate(lambda key: key.sign(digest, mechanism=Mechanism.ECDSA)))
        if len(raw) != 64:
            raise OperationError(f"The token gave a signature of {len(raw)} bytes, not 64.")
        return encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> bytes:
        """ECDH: the x coordinate, 32 bytes. The token's temporary object is destroyed."""
        point = peer_public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

        def derive(key: Any) -> bytes:
            secret = key.derive_key(
                KeyType.GENERIC_SECRET,
                256,
                mechanism=Mechanism.ECDH1_DERIVE,
                mechanism_param=(KDF.NULL, None, point),
                store=False,
                template={Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True},
            )
            try:
                return bytes(secret[Attribute.VALUE])
            finally:
                secret.destroy()

        return bytes(self._operate(derive))

    def private_numbers(self) -> NoReturn:
        """Not available."""
        self._stays()

    def private_bytes(self, encoding: Any, format: Any, encryption_algorithm: Any) -> NoReturn:  # noqa: A002
        """Not available."""
        self._stays()

    def __copy__(self) -> TokenP256Key:
        return self

    def __deepcopy__(self, memo: dict[Any, Any]) -> TokenP256Key:
        return self


class TokenEd25519Key(_TokenKey, Ed25519PrivateKey):
    """An Ed25519 key pair in a token."""

    def __init__(self, token: Token, kind: KeyKind) -> None:
        super().__init__(token, kind)
        probe = secrets.token_bytes(32)
        try:
            self._public = Ed25519PublicKey.from_public_bytes(self._public_point)
            self._public.verify(self.sign(probe), probe)
        except (InvalidSignature, ValueError) as error:
            raise self._mismatch() from error

    def public_key(self) -> Ed25519PublicKey:
        """The public half."""
        return self._public

    def sign(self, data: Any) -> bytes:
        """Ed25519, 64 bytes."""
        message = bytes(data)
        return bytes(self._operate(lambda key: key.sign(message, mechanism=Mechanism.EDDSA)))

    def private_bytes(self, encoding: Any, format: Any, encryption_algorithm: Any) -> NoReturn:  # noqa: A002
        """Not available."""
        self._stays()

    def private_bytes_raw(self) -> NoReturn:
        """Not available."""
        self._stays()

    def __copy__(self) -> TokenEd25519Key:
        return self

    def __deepcopy__(self, memo: dict[Any, Any]) -> TokenEd25519Key:
        return self


_TYPES = {KeyKind.P256: KeyType.EC, KeyKind.P256_ECDH: KeyType.EC, KeyKind.ED25519: KeyType.EC_EDWARDS}
_PARAMETERS = {
    KeyKind.P256: (P256_PARAMETERS,),
    KeyKind.P256_ECDH: (P256_PARAMETERS,),
    KeyKind.ED25519: (ED25519_PARAMETERS, ED25519_OID),
}
_GENERATORS = {
    KeyKind.P256: Mechanism.EC_KEY_PAIR_GEN,
    KeyKind.P256_ECDH: Mechanism.EC_KEY_PAIR_GEN,
    KeyKind.ED25519: Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
}
_USES = {
    KeyKind.P256: (Mechanism.ECDSA, MechanismFlag.SIGN | MechanismFlag.VERIFY),
    KeyKind.P256_ECDH: (Mechanism.ECDH1_DERIVE, MechanismFlag.DERIVE),
    KeyKind.ED25519: (Mechanism.EDDSA, MechanismFlag.SIGN | MechanismFlag.VERIFY),
}


def open_token_key(token: Token, kind: KeyKind) -> TokenP256Key | TokenEd25519Key:
    """The key that the token's locator names, checked.

    Raises:
        OperationError: it is not there, of another kind, can be taken out, or the token cannot be used.
    """
    if kind is KeyKind.ED25519:
        return TokenEd25519Key(token, kind)
    return TokenP256Key(token, kind)


def can_hold(token: Token, kind: KeyKind) -> bool:
    """Whether the token generates and uses keys of a kind."""
    return {_GENERATORS[kind], _USES[kind][0]} <= token.mechanisms()


def generate_in_token(token: Token, kind: KeyKind) -> TokenP256Key | TokenEd25519Key:
    """Make a key inside the token, under the locator's label, that cannot leave it.

    Raises:
        OperationError: a key of this label is there already, or the token cannot.
    """
    _refuse_taken(token)
    if not can_hold(token, kind):
        raise UnsupportedError(
            f"The token {token.locator.token!r} has no mechanism for {kind.words}; keep it in a file."
        )

    def generate(session: Any) -> None:
        parameters = session.create_domain_parameters(
            _TYPES[kind], {Attribute.EC_PARAMS: _PARAMETERS[kind][0]}, local=True
        )
        parameters.generate_keypair(
            store=True,
            label=token.locator.label,
            id=token.locator.key_id or secrets.token_bytes(16),
            mechanism=_GENERATORS[kind],
            capabilities=_USES[kind][1],
            private_template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
        )

    token.use(generate)
    return open_token_key(token, kind)


def import_into_token(token: Token, kind: KeyKind, key: ec.EllipticCurvePrivateKey) -> TokenP256Key | TokenEd25519Key:
    """Put a P-256 key from outside into the token; from then on it does not leave it, but a copy may have stayed.

    Raises:
        OperationError: a key of this label is there already, or the token cannot.
    """
    _refuse_taken(token)
    common = {
        Attribute.KEY_TYPE: KeyType.EC,
        Attribute.EC_PARAMS: P256_PARAMETERS,
        Attribute.LABEL: token.locator.label,
        Attribute.ID: token.locator.key_id or secrets.token_bytes(16),
        Attribute.TOKEN: True,
    }
    derives = kind is KeyKind.P256_ECDH
    private = common | {
        Attribute.CLASS: ObjectClass.PRIVATE_KEY,
        Attribute.VALUE: key.private_numbers().private_value.to_bytes(32, "big"),
        Attribute.PRIVATE: True,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: False,
        Attribute.SIGN: not derives,
        Attribute.DERIVE: derives,
    }
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    public = common | {
        Attribute.CLASS: ObjectClass.PUBLIC_KEY,
        Attribute.EC_POINT: b"\x04\x41" + point,
        Attribute.VERIFY: not derives,
    }

    def create(session: Any) -> None:
        session.create_object(public)
        session.create_object(private)

    token.use(create)
    return open_token_key(token, kind)


def destroy_in_token(token: Token) -> None:
    """Destroy the key pair that the locator names; nothing happens if there is none."""

    def destroy(session: Any) -> None:
        for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY):
            for found in _matching(session, token, kind):
                found.destroy()

    if token.locator.label or token.locator.key_id:
        token.use(destroy)


def _refuse_taken(token: Token) -> None:
    if not token.locator.label:
        raise OperationError("The pkcs11: URI names no key.", cure="Add object=LABEL.")
    if token.use(lambda session: list(_matching(session, token, ObjectClass.PRIVATE_KEY))):
        raise OperationError(
            f"The token {token.locator.token!r} holds a key {_called(token)} already; none is replaced.",
            cure="Give another label.",
        )


def _matching(session: Any, token: Token, kind: ObjectClass, key_id: bytes = b"") -> list[Any]:
    wanted: dict[Attribute, Any] = {Attribute.CLASS: kind}
    if key_id or token.locator.key_id:
        wanted[Attribute.ID] = key_id or token.locator.key_id
    if token.locator.label:
        wanted[Attribute.LABEL] = token.locator.label
    return list(session.get_objects(wanted))


def _only(session: Any, token: Token, kind: ObjectClass, key_id: bytes = b"") -> Any:
    if not token.locator.label and not token.locator.key_id:
        raise OperationError("The pkcs11: URI names no key.", cure="Add object=LABEL or id=….")
    found = _matching(session, token, kind, key_id)
    if len(found) != 1:
        what = "private" if kind is ObjectClass.PRIVATE_KEY else "public"
        count = "no" if not found else f"{len(found)}"
        raise OperationError(
            f"The token {token.locator.token!r} holds {count} {what} keys {_called(token)}.",
            cure="Check object= and id= of its URI, or make the key with `sealwright-license keys rotate`.",
        )
    return found[0]


def _called(token: Token) -> str:
    label = f"{token.locator.label!r}" if token.locator.label else ""
    return f"{label} {('id ' + token.locator.key_id.hex()) if token.locator.key_id else ''}".strip()


def _point(value: bytes) -> bytes:
    """The point in CKA_EC_POINT: a DER OCTET STRING by the specification, bare in some modules."""
    if len(value) in (67, 34) and value[0] == 0x04 and value[1] == len(value) - 2:
        return value[2:]
    return value
