"""Keys in a SoftHSM2 token: what they do, which are refused, and what becomes of a PIN and of a lost token."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pkcs11
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pkcs11 import Attribute, KeyType, MechanismFlag

from sealwright_custody.keeper import Keeper, fingerprint
from sealwright_custody.kinds import KeyKind
from sealwright_custody.locator import FileLocator, TokenLocator
from sealwright_custody.token_key import P256_PARAMETERS
from sealwright_licensing import authorities
from sealwright_licensing.custodian import Custodians
from sealwright_licensing.custodian_keys import KeyCustodian
from sealwright_policies.appraisal.reference_values import PartitionWrappedShares
from sealwright_policies.errors import OperationError, UnsupportedError, UsageError, VerificationError
from sealwright_policies.tcg.policy import sign_policy, verify_policy_signature
from sealwright_policies.wire.custodian_wrap import wrap_share
from sealwright_policies.wire.envelope import sign_dsse, verify_dsse
from sealwright_testing.evidence_factory import NOW
from sealwright_testing.softhsm import MODULE, SoftToken, new_token

PART = "ab" * 32


@pytest.fixture(scope="module")
def shared_token(tmp_path_factory: pytest.TempPathFactory) -> SoftToken:
    return new_token(tmp_path_factory.mktemp("pins"))


@pytest.fixture
def token(shared_token: SoftToken) -> SoftToken:
    """Where a test's keys have names of their own."""
    return replace(shared_token, prefix=f"{secrets.token_hex(4)}-")


@pytest.fixture
def own_token(tmp_path: Path) -> SoftToken:
    """For a test that does something to the token itself."""
    return new_token(tmp_path)


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    made = Keeper(tmp_path)
    yield made
    made.close()


def pin_is_doubted(token: SoftToken) -> bool:
    """Whether the token counts a wrong PIN since the last right one."""
    found = pkcs11.lib(str(MODULE)).get_token(token_label=token.label)
    return bool(found.flags & pkcs11.TokenFlag.USER_PIN_COUNT_LOW)


def raw_key(keeper: Keeper, locator: TokenLocator, curve: bytes = P256_PARAMETERS, **private: object) -> None:
    """Make a key as another program would, with attributes of our choice."""

    def make(session: pkcs11.Session) -> None:
        parameters = session.create_domain_parameters(KeyType.EC, {Attribute.EC_PARAMS: curve}, local=True)
        parameters.generate_keypair(
            store=True,
            label=locator.label,
            id=secrets.token_bytes(8),
            capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
            private_template={Attribute[name.upper()]: value for name, value in private.items()},
        )

    keeper.token(locator).use(make)


# --- what they do ---------------------------------------------------------------------------------------------------


def test_a_signing_key_serves_tpm_policies_documents_and_certificates(token: SoftToken, keeper: Keeper) -> None:
    """r ‖ s of the token becomes DER and a TPMT_SIGNATURE."""
    key = keeper.generate(token.locator("lease-policy"), KeyKind.P256)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    for number in range(64):  # short r and s among them
        policy = number.to_bytes(32, "big")
        verify_policy_signature(key.public_key(), policy, b"ref", sign_policy(key, policy, b"ref"))
    envelope = sign_dsse(b"{}", "t", key)
    assert verify_dsse(envelope, "t", key.public_key(), limit=4096) == b"{}"
    made = authorities.new_authority(key, "Device authority", now=NOW)
    key.public_key().verify(made.signature, made.tbs_certificate_bytes, ec.ECDSA(SHA256()))
    again = Keeper(keeper.folder).open_p256(token.locator("lease-policy"))
    assert fingerprint(again.public_key()) == fingerprint(key.public_key())


def test_custodian_keys_unwrap_what_a_build_wrapped(token: SoftToken, keeper: Keeper) -> None:
    """CKM_ECDH1_DERIVE without KDF gives the x coordinate that the wrap wants; each key opens its own share only."""
    pair = [keeper.generate(token.locator(name), KeyKind.P256_ECDH) for name in ("a", "b")]
    lease, release = (key for key in pair if isinstance(key, ec.EllipticCurvePrivateKey))
    shares = PartitionWrappedShares(
        partition_id=PART,
        lease_share=wrap_share(lease.public_key(), bytes(32), partition_id=bytes.fromhex(PART), name="lease"),
        release_share=wrap_share(release.public_key(), b"\1" * 32, partition_id=bytes.fromhex(PART), name="release"),
    )
    assert Custodians([KeyCustodian(lease)], [KeyCustodian(release)]).unwrap(shares) == (bytes(32), b"\1" * 32)
    with pytest.raises(VerificationError):
        Custodians([KeyCustodian(release)], [KeyCustodian(lease)]).unwrap(shares)


def test_an_exchange_leaves_no_object_in_the_token(token: SoftToken, keeper: Keeper) -> None:
    key = keeper.generate(token.locator("custodian"), KeyKind.P256_ECDH)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    count = keeper.token(token.locator("custodian")).use(lambda session: len(list(session.get_objects())))
    for _ in range(5):
        key.exchange(ec.ECDH(), key.public_key())
    assert keeper.token(token.locator("custodian")).use(lambda session: len(list(session.get_objects()))) == count


def test_an_ed25519_key_signs(token: SoftToken, keeper: Keeper) -> None:
    key = keeper.generate(token.locator("lease-document"), KeyKind.ED25519)
    assert isinstance(key, Ed25519PrivateKey)
    key.public_key().verify(key.sign(b"lease"), b"lease")
    assert keeper.can_hold(token.locator(), KeyKind.ED25519)


def test_a_key_of_a_token_is_not_written_out(token: SoftToken, keeper: Keeper) -> None:
    key = keeper.generate(token.locator("k"), KeyKind.P256)
    with pytest.raises(OperationError, match="cannot be written out"):
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert token.pin not in repr(key) + repr(keeper)


def test_many_threads_share_one_token(token: SoftToken, keeper: Keeper) -> None:
    key = keeper.generate(token.locator("k"), KeyKind.P256)
    other = keeper.generate(token.locator("c"), KeyKind.P256_ECDH)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert isinstance(other, ec.EllipticCurvePrivateKey)
    failures: list[Exception] = []

    def work(number: int) -> None:
        mine = ec.generate_private_key(ec.SECP256R1())
        try:
            for count in range(20):
                data = bytes([number, count])
                key.public_key().verify(key.sign(data, ec.ECDSA(SHA256())), data, ec.ECDSA(SHA256()))
                assert other.exchange(ec.ECDH(), mine.public_key()) == mine.exchange(ec.ECDH(), other.public_key())
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


# --- which are refused -----------------------------------------------------------------------------------------------


def test_a_key_that_can_be_taken_out_is_refused(token: SoftToken, keeper: Keeper) -> None:
    raw_key(keeper, token.locator("copied"), extractable=True)
    with pytest.raises(OperationError, match="can be taken out of the token"):
        keeper.open_p256(token.locator("copied"))
    raw_key(keeper, token.locator("shown"), sensitive=False)
    with pytest.raises(OperationError, match="can be taken out of the token"):
        keeper.open_p256(token.locator("shown"))


def test_a_key_of_another_kind_or_use_is_refused(token: SoftToken, keeper: Keeper) -> None:
    keeper.generate(token.locator("ecdh"), KeyKind.P256_ECDH)
    with pytest.raises(OperationError, match="may not sign"):
        keeper.open_p256(token.locator("ecdh"))
    keeper.generate(token.locator("signs"), KeyKind.P256)
    with pytest.raises(OperationError, match="may not derive"):
        keeper.open_p256(token.locator("signs"), KeyKind.P256_ECDH)
    with pytest.raises(OperationError, match="not an Ed25519 key"):
        keeper.open_ed25519(token.locator("signs"))
    raw_key(keeper, token.locator("p384"), curve=bytes.fromhex("06052b81040022"))
    with pytest.raises(OperationError, match="not on the curve"):
        keeper.open_p256(token.locator("p384"))


def test_a_public_key_of_another_pair_is_noticed(token: SoftToken, keeper: Keeper) -> None:
    """Whoever may write public objects would otherwise have builds wrap shares to a key of his own."""
    locator = token.locator("custodian")
    keeper.generate(locator, KeyKind.P256_ECDH)

    def replace_public(session: pkcs11.Session) -> None:
        (public,) = session.get_objects(
            {Attribute.CLASS: pkcs11.ObjectClass.PUBLIC_KEY, Attribute.LABEL: locator.label}
        )
        number = public[Attribute.ID]
        public.destroy()
        point = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
        encoded = b"\x04\x41\x04" + point.x.to_bytes(32, "big") + point.y.to_bytes(32, "big")
        session.create_object(
            {
                Attribute.CLASS: pkcs11.ObjectClass.PUBLIC_KEY, Attribute.KEY_TYPE: KeyType.EC, Attribute.TOKEN: True,
                Attribute.EC_PARAMS: P256_PARAMETERS, Attribute.EC_POINT: encoded, Attribute.ID: number,
                Attribute.LABEL: locator.label,
            }
        )  # fmt: skip

    keeper.token(locator).use(replace_public)
    with pytest.raises(OperationError, match="is another key's"):
        keeper.open_p256(locator, KeyKind.P256_ECDH)


def test_what_is_not_there_is_named_with_its_cure(token: SoftToken, keeper: Keeper) -> None:
    with pytest.raises(OperationError, match=r"no private keys '.*none'.*keys rotate"):
        keeper.open_p256(token.locator("none"))
    with pytest.raises(OperationError, match=r"names no key"):
        keeper.open_p256(token.locator())
    pin = FileLocator(token.pin_file)
    with pytest.raises(OperationError, match="no token with the label 'nobody'"):
        keeper.open_p256(TokenLocator(MODULE, "nobody", pin, "k"))
    with pytest.raises(OperationError, match=r"/nowhere/p11.so cannot be loaded.*module-path"):
        keeper.open_p256(TokenLocator(Path("/nowhere/p11.so"), token.label, pin, "k"))
    keeper.generate(token.locator("k"), KeyKind.P256)
    with pytest.raises(OperationError, match="none is replaced"):
        keeper.generate(token.locator("k"), KeyKind.P256)


def test_a_token_without_a_mechanism_says_so(token: SoftToken, keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    some = keeper.token(token.locator("k"))
    monkeypatch.setattr(some, "mechanisms", lambda: frozenset([pkcs11.Mechanism.ECDSA]))
    with pytest.raises(UnsupportedError, match="no mechanism for an Ed25519 key"):
        keeper.generate(token.locator("k"), KeyKind.ED25519)


def test_a_file_key_goes_into_a_token_and_stays(token: SoftToken, keeper: Keeper) -> None:
    made = keeper.generate(FileLocator(Path("one.pem")), KeyKind.P256)
    moved = keeper.put(token.locator("one"), KeyKind.P256, made)
    assert fingerprint(moved.public_key()) == fingerprint(made.public_key())
    with pytest.raises(OperationError, match="cannot be written out"):
        keeper.put(FileLocator(Path("two.pem")), KeyKind.P256, moved)
    keeper.destroy(token.locator("one"))
    with pytest.raises(OperationError, match="no private keys"):
        keeper.open_p256(token.locator("one"))


# --- PINs -------------------------------------------------------------------------------------------------------------


def test_a_wrong_pin_is_offered_once(own_token: SoftToken, tmp_path: Path) -> None:
    """Not again in this process, nor in the next, until somebody says so: tokens lock."""
    keeper = Keeper(tmp_path)
    keeper.generate(own_token.locator("k"), KeyKind.P256)
    keeper.close()
    own_token.write_pin("47110815")
    keeper = Keeper(tmp_path)
    with pytest.raises(OperationError, match=r"does not take the PIN .*PinIncorrect.*not tried again") as caught:
        keeper.open_p256(own_token.locator("k"))
    assert "47110815" not in str(caught.value)
    assert pin_is_doubted(own_token)
    own_token.write_pin(own_token.pin)
    with pytest.raises(OperationError, match="not tried again"):  # the same process, the right PIN
        keeper.open_p256(own_token.locator("k"))
    with pytest.raises(OperationError, match=r"was given a wrong PIN the last time.*--try-pin"):
        Keeper(tmp_path).open_p256(own_token.locator("k"))
    assert pin_is_doubted(own_token), "no PIN was offered meanwhile"
    told = Keeper(tmp_path, try_pin=True)
    told.open_p256(own_token.locator("k"))
    assert not pin_is_doubted(own_token)
    told.close()


def test_a_pin_file_that_others_can_read_is_refused(own_token: SoftToken, keeper: Keeper) -> None:
    own_token.pin_file.chmod(0o640)
    with pytest.raises(OperationError, match="can be read by others"):
        keeper.generate(own_token.locator("k"), KeyKind.P256)
    assert not pin_is_doubted(own_token)


def test_a_secret_that_is_no_key_pair_does_not_go_into_a_token(own_token: SoftToken, keeper: Keeper) -> None:
    with pytest.raises(UsageError, match="no key pair"):
        keeper.read_secret(own_token.locator("nonce"))


# --- a token that is lost ---------------------------------------------------------------------------------------------


def test_a_lost_session_is_opened_again(own_token: SoftToken, keeper: Keeper) -> None:
    """As after an HSM's restart: every handle is void."""
    key = keeper.generate(own_token.locator("k"), KeyKind.P256)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    pkcs11.lib(str(MODULE)).reinitialize()
    key.public_key().verify(key.sign(b"x", ec.ECDSA(SHA256())), b"x", ec.ECDSA(SHA256()))


def test_a_token_taken_out_is_an_error_until_it_is_back(
    own_token: SoftToken, keeper: Keeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = keeper.generate(own_token.locator("k"), KeyKind.P256)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    elsewhere = tmp_path / "softhsm2.conf"
    (tmp_path / "empty").mkdir()
    elsewhere.write_text(f"directories.tokendir = {tmp_path / 'empty'}\nobjectstore.backend = file\n")
    with monkeypatch.context() as patched:
        patched.setenv("SOFTHSM2_CONF", str(elsewhere))
        pkcs11.lib(str(MODULE)).reinitialize()
        with pytest.raises(OperationError, match="no token with the label"):
            key.sign(b"x", ec.ECDSA(SHA256()))
    key.public_key().verify(key.sign(b"x", ec.ECDSA(SHA256())), b"x", ec.ECDSA(SHA256()))
