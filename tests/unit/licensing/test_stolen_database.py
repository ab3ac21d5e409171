"""What a stolen database gives away: alone, with the lease keys, with one custodian key, and with both.

The thief here tries everything in the dump with every key that he has; with both custodian keys he succeeds, which
shows that the other attempts are real ones.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import sqlite3
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from psycopg import sql

from sealwright_custody.keeper import Keeper
from sealwright_custody.kinds import KeyKind
from sealwright_licensing.config import DEFAULT_DATABASE
from sealwright_licensing.keyring import KeyRole, load_keyring
from sealwright_policies.appraisal.reference_values import PartitionWrappedShares
from sealwright_policies.errors import SealwrightError
from sealwright_policies.wire.custodian_wrap import ShareName, unwrap_share
from sealwright_policies.wire.encoding import parse_json
from sealwright_policies.wire.messages import Grant, NonceRequest
from sealwright_policies.wire.volume_key import derive_volume_key, key_check
from sealwright_testing.evidence_factory import volume_key
from sealwright_testing.license_world import LicenseWorld, synthetic_box
from sealwright_testing.postgres import SUPERUSER, PostgresServer, running_postgres
from sealwright_testing.software_device import SoftwareDevice

SHARES: tuple[ShareName, ShareName] = ("lease", "release")


@dataclass(frozen=True)
class Thief:
    """Has a dump: every value of every row, and the raw files."""

    values: list[bytes]
    raw: bytes

    @classmethod
    def of(cls, database: Path) -> Thief:
        """Take the files, and read them with SQLite's own library."""
        files = [database, *database.parent.glob(f"{database.name}-*")]
        raw = b"".join(path.read_bytes() for path in files)
        values: list[bytes] = []
        with sqlite3.connect(database) as connection:
            tables = [name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")]
            for table in tables:
                for row in connection.execute(f'select * from "{table}"'):
                    values += [one if isinstance(one, bytes) else str(one).encode() for one in row]
        return cls(values, raw)

    @classmethod
    def of_postgres(cls, server: PostgresServer, database: str) -> Thief:
        """Take what pg_dump writes, and read every table."""
        argv = [str(server.programs / "pg_dump"), "--host", str(server.folder), "--username", SUPERUSER, database]
        raw = subprocess.run(argv, check=True, capture_output=True).stdout
        values: list[bytes] = []
        listed = "select tablename from pg_tables where schemaname = 'public'"
        with psycopg.connect(host=str(server.folder), user=SUPERUSER, dbname=database) as connection:
            for (table,) in connection.execute(listed).fetchall():
                for row in connection.execute(sql.SQL("select * from {}").format(sql.Identifier(table))).fetchall():
                    values += [bytes(one) if isinstance(one, bytes) else str(one).encode() for one in row]
        return cls(values, raw)

    def wrapped(self) -> list[PartitionWrappedShares]:
        """Whatever in the dump reads as wrapped shares."""
        found = []
        for value in self.values:
            try:
                found.append(parse_json(PartitionWrappedShares, value, limit=1 << 20))
            except SealwrightError:
                continue
        return found

    def grants(self) -> list[Grant]:
        """Whatever in the dump reads as a grant."""
        found = []
        for value in self.values:
            try:
                found.append(parse_json(Grant, value, limit=1 << 22))
            except SealwrightError:
                continue
        return found

    def opened(self, keys: Iterable[ec.EllipticCurvePrivateKey]) -> dict[str, dict[ShareName, set[bytes]]]:
        """Shares that any of these keys opens as either share, by partition."""
        result: dict[str, dict[ShareName, set[bytes]]] = {}
        for shares, key, name in itertools.product(self.wrapped(), list(keys), SHARES):
            for candidate in (shares.lease_share, shares.release_share):
                part = bytes.fromhex(shares.partition_id)
                try:
                    clear = unwrap_share(
                        lambda public, key=key: key.exchange(ec.ECDH(), public),  # type: ignore[misc]
                        key.public_key(), candidate, partition_id=part, name=name,
                    )  # fmt: skip
                except SealwrightError:
                    continue
                result.setdefault(shares.partition_id, {"lease": set(), "release": set()})[name].add(clear)
        return result

    def imported(self, keys: Iterable[ec.EllipticCurvePrivateKey], device: SoftwareDevice) -> set[bytes]:
        """What import blobs in stored grants hold, tried with each key in the place of the TPM's SRK."""
        found: set[bytes] = set()
        for grant, key in itertools.product(self.grants(), list(keys)):
            device.srk = key
            for shares, blob in ((one, blob) for one in grant.shares for blob in (one.lease_share, one.release_share)):
                assert shares.partition_id
                parts = (bytes(part) for part in (blob.public, blob.duplicate, blob.encrypted_seed))
                try:
                    found.add(device.import_share(*parts))
                except ValueError:
                    continue
        return found

    def volume_keys(self, keys: Iterable[ec.EllipticCurvePrivateKey]) -> dict[str, bytes]:
        """Volume keys by partition, as far as both shares are there."""
        made: dict[str, bytes] = {}
        for part, shares in self.opened(keys).items():
            for lease, release in itertools.product(shares["lease"], shares["release"]):
                made[part] = derive_volume_key(lease, release, bytes.fromhex(part), None)
        return made

    def holds(self, secret: bytes) -> bool:
        """Whether a secret stands in the dump: as it is, in hex, or in base64 at any alignment."""
        readings = [secret, secret.hex().encode(), secret.hex().upper().encode()]
        for offset, encode in itertools.product(range(3), (base64.b64encode, base64.urlsafe_b64encode)):
            text = encode(bytes(offset) + secret)
            readings.append(text[4 if offset else 0 : (len(secret) // 3) * 4].rstrip(b"="))
        pile = [self.raw, *self.values]
        return any(reading in one for reading in readings for one in pile)


@dataclass(frozen=True)
class Robbed:
    """A service with two releases and two devices, one of which has renewed, and who robbed it."""

    world: LicenseWorld
    thief: Thief
    codes: list[str]
    truth: dict[str, bytes]
    """Volume keys by partition."""
    steal: Callable[[], Thief]
    """Take the database as it is now."""

    def key(self, role: KeyRole) -> ec.EllipticCurvePrivateKey:
        """A key out of the service's folder."""
        folder = self.world.folder.keys
        return Keeper(folder).open_p256(load_keyring(folder).current(role).locator, role.kind)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def robbed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Robbed]:
    directory = tmp_path_factory.mktemp("robbed") / "service"
    if request.param == "sqlite":
        yield from rob(
            LicenseWorld.create(directory, database=DEFAULT_DATABASE), lambda: Thief.of(directory / "service.db")
        )
        return
    with running_postgres() as server:
        database = server.create_database()
        world = LicenseWorld.create(directory, database=server.url(database))
        yield from rob(world, lambda: Thief.of_postgres(server, database))


def rob(world: LicenseWorld, steal: Callable[[], Thief]) -> Iterator[Robbed]:
    """Let the service work, then take its database."""
    license_, codes = world.issue(seats=3)
    for number, code in enumerate(codes[:2]):
        device = world.device(number)
        world.enroll(device, code)
        nonce = world.renewal.nonce(NonceRequest(device_id=device.device_id), now=world.now).nonce
        world.renewal.renew(device.renewal(license_.license_id, bytes(nonce)), now=world.now)
    world.import_release(synthetic_box(product_version="2.0.0"))
    thief = steal()
    assert thief.wrapped()
    assert sum(len(one.shares) for one in thief.grants()) >= 2
    truth = {part: volume_key(part) for part in world.shares}
    yield Robbed(world, thief, codes, truth, steal)
    world.store.close()


def secrets_of(robbed: Robbed) -> dict[str, bytes]:
    """Everything that must not stand in a database."""
    world = robbed.world
    scalar = {
        role.value: robbed.key(role).private_numbers().private_value.to_bytes(32, "big")
        for role in KeyRole
        if role is not KeyRole.NONCE and role.kind is not KeyKind.ED25519
    }
    clear = {f"share {part[:8]} {n}": share for part, pair in world.shares.items() for n, share in enumerate(pair)}
    keys = {f"key {part[:8]}": key for part, key in robbed.truth.items()}
    codes = {f"code {code[:5]}": code.encode() for code in robbed.codes}
    bare = {f"bare code {code[:5]}": code.replace("-", "").encode() for code in robbed.codes}
    keeper, keyring = Keeper(world.folder.keys), load_keyring(world.folder.keys)
    document = {
        role.value: keeper.open_ed25519(keyring.current(role).locator).private_bytes_raw()
        for role in (KeyRole.LEASE_DOCUMENT, KeyRole.LOG)
    }
    return scalar | clear | keys | codes | bare | document | {"nonce": world.keys.nonce}


def test_no_secret_stands_in_the_database(robbed: Robbed) -> None:
    found = [name for name, secret in secrets_of(robbed).items() if robbed.thief.holds(secret)]
    assert found == []


def test_the_search_would_find_one(robbed: Robbed) -> None:
    """The same search, for bytes that do stand there as they are, in hex and in base64."""
    share = robbed.thief.wrapped()[0].lease_share
    assert robbed.thief.holds(bytes(share.ciphertext))
    assert robbed.thief.holds(bytes(share.ciphertext)[1:33])
    assert robbed.thief.holds(bytes.fromhex(next(iter(robbed.truth))))


def test_the_database_alone_gives_no_model_key(robbed: Robbed) -> None:
    """Not even with every key that is guessed from what is in it: hashes, nonces, anything of 32 bytes."""
    guesses = [ec.derive_private_key(int.from_bytes(hashlib.sha256(one).digest(), "big") >> 1, ec.SECP256R1())
               for one in {one for one in robbed.thief.values if len(one) > 8}][:200]  # fmt: skip
    assert robbed.thief.volume_keys(guesses) == {}


def test_the_database_with_all_signing_keys_gives_no_model_key(robbed: Robbed) -> None:
    """Lease-policy, lease-document, device CA and TLS keys, each tried as custodian and as SRK."""
    taken = [robbed.key(role) for role in (KeyRole.LEASE_POLICY, KeyRole.DEVICE_CA, KeyRole.TLS_CA, KeyRole.TLS_SERVER)]
    seed = robbed.world.keys.lease_document.private_bytes_raw()
    taken.append(ec.derive_private_key(int.from_bytes(seed, "big") >> 1, ec.SECP256R1()))
    assert robbed.thief.opened(taken) == {}
    assert robbed.thief.imported(taken, robbed.world.device(7)) == set()


@pytest.mark.parametrize("role", [KeyRole.CUSTODIAN_LEASE_SHARE, KeyRole.CUSTODIAN_RELEASE_SHARE])
def test_one_custodian_key_gives_one_share_and_no_model_key(robbed: Robbed, role: KeyRole) -> None:
    keys = [robbed.key(role), robbed.key(KeyRole.LEASE_POLICY)]
    assert robbed.thief.volume_keys(keys) == {}
    (shares,) = robbed.thief.opened(keys).values()
    assert sorted(len(one) for one in shares.values()) == [0, 1]


def test_both_custodian_keys_give_every_model_key(robbed: Robbed) -> None:
    """As SECURITY.md says; and so the attempts above were made as they must be."""
    keys = [robbed.key(role) for role in (KeyRole.CUSTODIAN_LEASE_SHARE, KeyRole.CUSTODIAN_RELEASE_SHARE)]
    assert robbed.thief.volume_keys(keys) == robbed.truth
    for part, key in robbed.truth.items():
        payloads = robbed.world.box.release.manifest.payloads
        assert key_check(key, bytes.fromhex(part)) in [payload.key_check for payload in payloads]


def test_an_srk_gives_the_shares_of_stored_grants(robbed: Robbed) -> None:
    """The control for the import blobs: the device's own key opens them."""
    device = robbed.world.device(9)
    own = device.srk
    _, (code,) = robbed.world.issue()
    robbed.world.enroll(device, code)
    found = robbed.steal().imported([own], device)
    assert {share for pair in robbed.world.shares.values() for share in pair} <= found
