"""An operator's process is killed at every boundary of every transaction of every operation, on both databases.

It was done whole or not at all, and asked again under the same idempotency key it was done once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import pytest

from sealwright_licensing.air_gap import AirGapService
from sealwright_licensing.cli import main
from sealwright_licensing.config import DEFAULT_DATABASE
from sealwright_licensing.custodian_keys import load_custodians
from sealwright_licensing.device_views import device_view, firmware_fields
from sealwright_licensing.endorsement import Tier
from sealwright_licensing.enrollment import EnrollmentService
from sealwright_licensing.keyring import KeyRole, load_keyring
from sealwright_licensing.keys import load_log_keys
from sealwright_licensing.manifest_keys import ManifestKeys
from sealwright_licensing.metering import MeteringService
from sealwright_licensing.nonces import StatelessNonces
from sealwright_licensing.operations import devices, licenses
from sealwright_licensing.operations.metering import settle_chain
from sealwright_licensing.operations.releases import withdraw_release
from sealwright_licensing.operations.terms import TermChanges, new_license
from sealwright_licensing.operators.guards import GuardedStore, RepeatedError, once
from sealwright_licensing.operators.roles import Role
from sealwright_licensing.operators.tokens import create_token, revoke_token
from sealwright_licensing.records import Device, DeviceStatus, ReleaseRecord, ReleaseShares
from sealwright_licensing.release_import import BuildOutput, import_release
from sealwright_licensing.renewal import RenewalService
from sealwright_licensing.sequencer import Sequencer
from sealwright_licensing.store import Store
from sealwright_licensing.tables import TABLES
from sealwright_policies.appraisal.reference_values import PartitionWrappedShares
from sealwright_policies.errors import RejectionCode
from sealwright_policies.metering.receipt import SealedReceipt
from sealwright_policies.metering.report import MeteringReport
from sealwright_policies.wire.air_gap import request_file
from sealwright_policies.wire.encoding import parse_json
from sealwright_policies.wire.lease import verify_lease
from sealwright_policies.wire.messages import NonceRequest, Purpose
from sealwright_testing.denials import denied
from sealwright_testing.enrolled_device import EnrolledDevice
from sealwright_testing.evidence_factory import SyntheticBox, boot_events
from sealwright_testing.license_world import (
    NO_FLOOR,
    OPERATOR,
    PRODUCT,
    SERVICE_ID,
    LicenseWorld,
    build_output,
    grant,
    synthetic_box,
)
from sealwright_testing.metering import ChainWriter, make_report, point, usage_row
from sealwright_testing.mortal_worker import run_mortal_command, run_mortal_store

MOST_BOUNDARIES = 80
Work = Callable[[Store], object]
Rows = dict[type[Any], set[Any]]
Change = dict[str, tuple[int, int]]


@dataclass
class Scene:
    """A service, and a box that is enrolled anew when it was retired."""

    world: LicenseWorld
    device: Any = None
    live: EnrolledDevice | None = None
    other: SyntheticBox = field(default_factory=lambda: synthetic_box(product_version="1.99"))
    """Whose release is no box's."""
    writer: ChainWriter | None = None
    numbers: Iterator[int] = field(default_factory=count)

    def chain(self) -> ChainWriter:
        """The live box's receipts."""
        box = self.box()
        if self.writer is None or self.writer.license_id != box.license_.license_id:
            clock = box.device.clock
            self.writer = ChainWriter(
                device_id=box.device.device_id,
                license_id=box.license_.license_id,
                chain_id=f"{next(self.numbers):032x}",
                at=point(clock.clock_ms, resets=clock.reset_count, ticks=box.device.ticks),
                opened_at=self.world.now,
            )
        return self.writer

    def license_id(self) -> str:
        """Of a new licence."""
        return self.world.issue()[0].license_id

    def box(self) -> EnrolledDevice:
        """A box that is live; its TPM is always the same, for drawing another takes long."""
        if self.live is None or self.live.stored().status is not DeviceStatus.LIVE:
            self.retire()
            license_, (code,) = self.world.issue()
            self.device = self.device or self.world.device()
            lease = verify_lease(self.world.enroll(self.device, code).leases[0], self.world.service)
            self.live = EnrolledDevice(self.world, license_, self.device, lease)
        return self.live

    def retire(self) -> None:
        """Whatever the TPM is enrolled under."""
        self.live = None
        with self.world.store.read() as transaction:
            known = [one for one in transaction.find(Device) if one.status is not DeviceStatus.RETIRED]
        for one in known:
            devices.retire_device(self.world.store, OPERATOR, one.device_id, now=self.world.now)

    def release_of(self, release_id: str) -> Any:
        """The record of a release."""
        with self.world.store.read() as transaction:
            return transaction.get(ReleaseRecord, release_id)

    def rows(self) -> Rows:
        """Everything that is stored."""
        with self.world.store.read() as transaction:
            return {kind: set(transaction.find(kind)) for kind in TABLES}


def changes(before: Rows, after: Rows) -> Change:
    """How many rows came and went, by kind."""
    counted = {kind.__name__: (len(after[kind] - before[kind]), len(before[kind] - after[kind])) for kind in before}
    return {name: both for name, both in counted.items() if both != (0, 0)}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A service on either database, for all tests of this file."""
    database = DEFAULT_DATABASE
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres_server")
        database = server.url(server.create_database())
    world = LicenseWorld.create(tmp_path_factory.mktemp("killed") / "service", database=database)
    yield Scene(world)
    world.store.close()


def _issue(scene: Scene) -> Work:
    now = scene.world.now
    license_ = new_license(product=PRODUCT, seats=3, days=9, tiers=[Tier.SOFTWARE], now=now)
    return lambda store: licenses.issue_license(store, OPERATOR, license_, now=now)


def _of_license(operation: Callable[..., object], **named: Any) -> Callable[[Scene], Work]:
    def prepare(scene: Scene) -> Work:
        license_id = scene.license_id()
        return lambda store: operation(store, OPERATOR, license_id, now=scene.world.now, **named)

    return prepare


def _reinstate(scene: Scene) -> Work:
    license_id = scene.license_id()
    licenses.suspend_license(scene.world.store, OPERATOR, license_id, now=scene.world.now)
    return lambda store: licenses.reinstate_license(store, OPERATOR, license_id, now=scene.world.now)


def _of_device(operation: Callable[..., object], **named: Any) -> Callable[[Scene], Work]:
    def prepare(scene: Scene) -> Work:
        device_id = scene.box().device.device_id
        return lambda store: operation(store, OPERATOR, device_id, now=scene.world.now, **named)

    return prepare


def _resume(scene: Scene) -> Work:
    box = scene.box()
    with scene.world.store.write() as transaction:
        transaction.put(replace(box.stored(), status=DeviceStatus.HELD, held_code="ROLLED_BACK", held_because="x"))
    return lambda store: devices.resume_device(store, OPERATOR, box.device.device_id, now=scene.world.now)


def _approve(scene: Scene) -> Work:
    box = scene.box()
    scene.world.now += 1
    events = boot_events(box.device.box.uki, box.device.box.keys, option_roms=next(scene.numbers) + 5)
    denied(RejectionCode.FIRMWARE_CHANGED, lambda: box.ask(box.nonce(), events=events))
    with scene.world.store.read() as transaction:
        shown = firmware_fields(device_view(transaction, box.device.device_id))
    assert shown is not None
    digest = str(shown["digest"])
    return lambda store: devices.approve_firmware(store, OPERATOR, box.device.device_id, digest, now=scene.world.now)


def _settle(scene: Scene) -> Work:
    """The box tells two histories of its last hour."""
    box = scene.box()
    report(scene, scene.chain().next())
    copy = scene.chain().copy()
    report(scene, scene.chain().next())
    report(scene, copy.next(rows=[usage_row(requests=10)]))
    scene.writer = copy  # from which the chain goes on when it is settled
    device_id, chain_id = box.device.device_id, copy.chain_id
    return lambda store: settle_chain(store, OPERATOR, device_id, chain_id, count=True, now=scene.world.now)


def _create_token(scene: Scene) -> Work:
    name = f"token {next(scene.numbers)}"
    return lambda store: create_token(store, OPERATOR, name, Role.AUDITOR, now=scene.world.now)


def _revoke_token(scene: Scene) -> Work:
    made, _ = create_token(scene.world.store, OPERATOR, f"t{next(scene.numbers)}", Role.AUDITOR, now=scene.world.now)
    return lambda store: revoke_token(store, OPERATOR, made.token_id, now=scene.world.now)


def _withdraw(scene: Scene) -> Work:
    release_id = scene.other.release.release_id
    if scene.release_of(release_id) is None:
        scene.world.import_release(scene.other)
    record = scene.release_of(release_id)
    with scene.world.store.write() as transaction:
        transaction.put(replace(record, withdrawn=False))
    return lambda store: withdraw_release(store, OPERATOR, record.release_id, now=scene.world.now)


OPERATIONS: dict[str, Callable[[Scene], Work]] = {
    "issue": _issue,
    "renew": _of_license(licenses.renew_license, days=9),
    "change-terms": _of_license(licenses.change_terms, changes=TermChanges(seats=7)),
    "set-floor": _of_license(licenses.set_version_floor, version="1.1"),
    "add-code": _of_license(licenses.add_activation_code),
    "suspend": _of_license(licenses.suspend_license),
    "reinstate": _reinstate,
    "revoke": _of_license(licenses.revoke_license),
    "transfer": _of_device(devices.transfer_device),
    "transfer-at-once": _of_device(devices.transfer_device, at_once=True),
    "retire": _of_device(devices.retire_device),
    "resume": _resume,
    "approve-firmware": _approve,
    "settle": _settle,
    "token-create": _create_token,
    "token-revoke": _revoke_token,
    "withdraw": _withdraw,
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_is_whole_wherever_its_process_dies(scene: Scene, operation: str) -> None:
    """Kill, look, ask again under the same idempotency key, look again; at last let it live and compare."""
    OPERATIONS[operation](scene)(scene.world.store)  # what comes into being once only is there then
    seen: list[tuple[Change, Change]] = []
    for boundaries in range(MOST_BOUNDARIES):
        work, key, now = OPERATIONS[operation](scene), f"key-{operation}-{boundaries}", scene.world.now

        def perform(store: Store, work: Work = work, key: str = key, now: int = now) -> None:
            try:
                work(GuardedStore(store, (once("operator", key, b"asked", "it", now=now),)))
            except RepeatedError:
                return

        before = scene.rows()
        lived = run_mortal_store(scene.world, boundaries, perform)
        left = changes(before, scene.rows())
        perform(scene.world.store)
        seen.append((left, changes(before, scene.rows())))
        if lived:
            break
    else:
        raise AssertionError("more boundaries than expected")
    whole = seen[-1][0]
    assert whole["Operation"] == (1, 0)
    assert whole["LogQueueItem"][0] >= 1
    assert all(left in ({}, whole) for left, _ in seen), seen
    assert all(done == whole for _, done in seen), seen
    assert seen[0][0] == {}
    assert [left for left, _ in seen].count(whole) == 2, "behind the commit, and alive"


def metering(scene: Scene, store: Store) -> MeteringService:
    return MeteringService(store, scene.world.keys, StatelessNonces(scene.world.keys.nonce))


def made_report(scene: Scene, *receipts: SealedReceipt) -> MeteringReport:
    """What the box sends; an hour has passed for each of them."""
    box = scene.box()
    box.pass_time(3600 * len(receipts))
    asked = NonceRequest(device_id=box.device.device_id, purpose=Purpose.METERING)
    nonce = bytes(scene.world.renewal.nonce(asked, now=scene.world.now).nonce)
    return make_report(box.device, box.license_.license_id, nonce, receipts)


def report(scene: Scene, *receipts: SealedReceipt) -> None:
    metering(scene, scene.world.store).report(made_report(scene, *receipts), now=scene.world.now)


def air_gap(scene: Scene, store: Store) -> AirGapService:
    world = scene.world
    grantor = world.enrollment._grantor
    renewal = RenewalService(store, grantor, StatelessNonces(world.keys.nonce), NO_FLOOR)
    return AirGapService(store, EnrollmentService(store, grantor, NO_FLOOR), renewal, world.keys)


def _report(scene: Scene) -> Work:
    asked, now = made_report(scene, scene.chain().next()), scene.world.now
    return lambda store: metering(scene, store).report(asked, now=now).model_dump_json()


def _answer_renewal(scene: Scene) -> Work:
    box = scene.box()
    box.pass_time(3600)
    reply = verify_lease(grant(box.ask()).leases[0], scene.world.service)  # the box has taken it up before it asks
    box.lease = reply
    box.device.increment()
    content, now = (
        request_file(box.device.renewal_by_file(box.license_.license_id, box.lease.next_nonce)),
        scene.world.now,
    )
    return lambda store: air_gap(scene, store).answer(content, now=now).reply


def _answer_enrollment(scene: Scene) -> Work:
    """The proof of a box that was retired."""
    scene.box()
    scene.retire()
    _, (code,) = scene.world.issue()
    challenge = scene.world.enrollment.challenge(scene.device.request(code), now=scene.world.now, by_file=True)
    content, now = request_file(scene.device.proof(challenge)), scene.world.now
    return lambda store: air_gap(scene, store).answer(content, now=now).reply


DECISIONS = {"report": _report, "answer-renewal": _answer_renewal, "answer-enrollment": _answer_enrollment}


@pytest.mark.parametrize("decision", DECISIONS)
def test_a_report_and_a_file_are_answered_once_wherever_the_process_dies(scene: Scene, decision: str) -> None:
    """The same again is answered as if nothing had happened, and what it has written is there once."""
    DECISIONS[decision](scene)(scene.world.store)
    seen: list[tuple[Change, Change]] = []
    for boundaries in range(MOST_BOUNDARIES):
        work = DECISIONS[decision](scene)
        before = scene.rows()
        lived = run_mortal_store(scene.world, boundaries, work)
        left = changes(before, scene.rows())
        assert work(scene.world.store)
        seen.append((left, changes(before, scene.rows())))
        if lived:
            break
    whole = seen[-1][1]
    assert len(whole) > 2
    assert all(done == whole for _, done in seen), seen
    assert seen[0][0] == {}
    # What the sequel prunes or notes may be missing; what was decided may not be there in part.
    decided = [{name: left.get(name) for name in whole} for left, _ in seen]
    assert all(one in (dict.fromkeys(whole), whole) for one in decided), seen


def test_a_release_is_imported_whole_or_not_at_all(scene: Scene) -> None:
    """With its shares; again completes it, and it is licensed when it is in the log."""
    world = scene.world
    custodians = load_custodians(world.folder.keys)
    counts = []
    for boundaries in range(MOST_BOUNDARIES):
        box = synthetic_box(product_version=f"3.{boundaries}")
        output, _ = build_output(box, (custodians.lease_share.public_key, custodians.release_share.public_key))

        def take(store: Store, box: SyntheticBox = box, output: BuildOutput = output) -> None:
            import_release(
                store, OPERATOR, custodians, output, box.manifest_key.public_key(),
                trusted=ManifestKeys(world.folder.manifest_keys), service_id=SERVICE_ID,
                service_files=load_keyring(world.folder.keys).service_files, now=world.now,
            )  # fmt: skip
            Sequencer(store, load_log_keys(world.folder.keys), SERVICE_ID).run()

        lived = run_mortal_store(world, boundaries, take)
        release_id = box.release.release_id
        for _ in range(2):
            with world.store.read() as transaction:
                known = transaction.get(ReleaseRecord, release_id)
                shares = transaction.count(ReleaseShares, release_id=release_id)
            assert shares == (len(box.release.manifest.payloads) if known else 0)
            counts.append(shares)
            take(world.store)
        assert counts[-1] > 0
        if lived:
            break
    assert counts[0] == 0


def forget_unneeded_log_keys(world: LicenseWorld) -> None:
    """All but the current one, and the first, which an image needs: each signs every checkpoint."""
    earlier = [one for one in load_keyring(world.folder.keys).all_of(KeyRole.LOG) if not one.current]
    for entry in earlier[1:]:
        assert main(["keys", "forget", str(world.folder.path), entry.fingerprint]) == 0


LONG = ("custodian-lease-share", "log")
"""Roles of which another goes the same way and is tried with each change."""
ROLES = [
    *(pytest.param(role, marks=pytest.mark.long) for role in LONG),
    "custodian-release-share", "lease-document", "nonce",
]  # fmt: skip


@pytest.mark.parametrize("role", ROLES)
def test_a_key_is_rotated_whole_wherever_the_command_dies(scene: Scene, role: str) -> None:
    """At each transaction, sync and rename: the service starts, opens every share, renews; and the next one works."""
    world = scene.world
    for boundaries in range(MOST_BOUNDARIES):
        lived = run_mortal_command(world, boundaries, "keys", "rotate", str(world.folder.path), role)
        keyring = load_keyring(world.folder.keys)
        assert len([one for one in keyring.all_of(KeyRole(role)) if one.current]) == 1
        world.restart()
        custodians = load_custodians(world.folder.keys)
        with world.store.read() as transaction:
            for record in transaction.find(ReleaseShares):
                custodians.unwrap(parse_json(PartitionWrappedShares, record.wrapped.encode("ascii"), limit=1 << 22))
        box = scene.box()
        box.pass_time(100)
        box.device.increment()
        assert grant(box.ask(box.nonce())).leases
        if lived:
            assert boundaries >= 4
            return
        forget_unneeded_log_keys(world)
    raise AssertionError("more boundaries than expected")
