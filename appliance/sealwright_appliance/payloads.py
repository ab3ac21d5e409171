"""Opens payloads with stored leases: unseal both shares, derive the volume key, dm-crypt, verity, mount."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sealwright_appliance import volumes
from sealwright_appliance.boot import (
    BoxCode,
    Obstacle,
    first_reason,
    lease_obstacles,
    nearest_pcr_obstacles,
    order_leases,
)
from sealwright_appliance.kernel_keys import offered_key
from sealwright_appliance.lease_store import LeaseStore, StoredShares
from sealwright_appliance.page_cache import drop_cached_pages
from sealwright_appliance.paths import Paths
from sealwright_appliance.release_files import load_mounts
from sealwright_appliance.run import ToolError, run
from sealwright_appliance.status import PayloadState, PayloadStatus, payload_status
from sealwright_appliance.tpm_counters import increment_counter
from sealwright_appliance.tpm_errors import TpmError
from sealwright_appliance.tpm_provision import ProvisionedTpm
from sealwright_appliance.tpm_unseal import Authorization, lease_assertions, state_assertions, unseal
from sealwright_appliance.workloads import obstacle_to
from sealwright_policies.appraisal.reference_values import Manifest, Payload, PayloadKind
from sealwright_policies.appraisal.release import Release
from sealwright_policies.domains.ownership import owner_key_id
from sealwright_policies.errors import OperationError, RejectionCode, VerificationError
from sealwright_policies.mounts import MountOption, ReleaseMounts
from sealwright_policies.tcg.policy import external_signing_key
from sealwright_policies.wire.encoding import pcr_bytes
from sealwright_policies.wire.envelope import load_p256_public_key
from sealwright_policies.wire.framing import lease_share_reference, release_share_reference
from sealwright_policies.wire.lease import Lease, LeasePartition, lease_policy
from sealwright_policies.wire.messages import ReleaseApproval
from sealwright_policies.wire.release_approval import release_approval_policy
from sealwright_policies.wire.volume_key import derive_volume_key
from sealwright_policies.workloads import ReleaseWorkloads

UNMOUNTED = Obstacle(BoxCode.UNLOCK_FAILED, "No domain of this release says how it is mounted.")


class UnsealRefusedError(Exception):
    """Control flow: a share does not unseal, for these reasons."""

    def __init__(self, obstacles: tuple[Obstacle, ...]) -> None:
        super().__init__(obstacles[0].sentence)
        self.obstacles = obstacles


@dataclass(frozen=True, slots=True)
class UnsealedLease:
    """A lease that opens, and what it opens."""

    lease: Lease
    volume_keys: dict[str, bytes] = field(repr=False)
    """64 bytes each, by partition id. Partitions without stored shares are left out."""


@dataclass(frozen=True, slots=True)
class OpenedLease:
    """The outcome of trying every stored lease."""

    lease: Lease | None
    payloads: list[PayloadStatus]
    reason: Obstacle | None
    """Why nothing is open; None if something is."""


def open_stored_leases(
    paths: Paths, tpm: ProvisionedTpm, release: Release, store: LeaseStore, plans: ReleaseWorkloads
) -> OpenedLease:
    """Try the stored leases of the running release until one unseals; open its payloads.

    Raises:
        FormatError: what the root says of mounts is malformed.
    """
    mounts = load_mounts(paths)
    try:
        unsealed = unseal_stored_leases(tpm, release, store)
    except UnsealRefusedError as refused:
        return OpenedLease(None, [], refused.obstacles[0])
    payloads = _open_all(paths, release.manifest, unsealed, plans, mounts)
    opened = any(payload.state is PayloadState.OPEN for payload in payloads)
    failed = next((payload for payload in payloads if payload.state is PayloadState.FAILED), None)
    reason = None if opened or failed is None else Obstacle(failed.code or "", failed.sentence)
    return OpenedLease(unsealed.lease, payloads, reason)


def _open_all(
    paths: Paths,
    manifest: Manifest,
    unsealed: UnsealedLease,
    plans: ReleaseWorkloads,
    mounts: ReleaseMounts,
) -> list[PayloadStatus]:
    """Open what the lease covers, data sets last: each is for a workload that is open. In the manifest's order."""
    licensed = {partition.partition_id for partition in unsealed.lease.partitions}
    outcomes: dict[str, PayloadStatus] = {}
    for payload in sorted(manifest.payloads, key=lambda one: one.kind is PayloadKind.DATA_SET):
        opened = {name for name, outcome in outcomes.items() if outcome.state is PayloadState.OPEN}
        obstacle = obstacle_to(payload, manifest, plans, opened)
        if payload.verity.root_hash not in licensed:
            obstacle = Obstacle(BoxCode.NOT_LICENSED, "The licence does not cover this payload.")
        options = mounts.options.get(payload.payload_id)
        if obstacle is not None:
            outcomes[payload.payload_id] = _kept_closed(payload, obstacle)
        elif options is None:
            outcomes[payload.payload_id] = _kept_closed(payload, UNMOUNTED)
        else:
            outcomes[payload.payload_id] = _open(paths, payload, unsealed.volume_keys, options)
    return [outcomes[payload.payload_id] for payload in manifest.payloads]


def unseal_stored_leases(tpm: ProvisionedTpm, release: Release, store: LeaseStore) -> UnsealedLease:
    """Try the stored leases of the running release in order.

    Raises:
        UnsealRefusedError: none opens; with the reason to report.
    """
    attempts: list[tuple[Obstacle, ...]] = []
    number = tpm.lease_number()
    for lease in order_leases(store.load_leases(), release.release_id, number):
        if lease.number == number + 1 and not _advance(tpm, lease):
            continue
        try:
            return UnsealedLease(lease, lease_volume_keys(tpm, release, store, lease))
        except UnsealRefusedError as refused:
            attempts.append(refused.obstacles)
    raise UnsealRefusedError((first_reason(attempts),))


def _advance(tpm: ProvisionedTpm, lease: Lease) -> bool:
    """Increment to the number of a lease that was stored before a power cut, if it will open then.

    The counter never goes back, so it is not spent on a lease that has other obstacles.
    """
    reading = tpm.reading()
    if reading.number == lease.number:
        return True
    if len(lease_obstacles(lease, reading)) != 1:  # its number alone stands in the way
        return False
    increment_counter(tpm.device, tpm.counters.lease)
    return True


def lease_volume_keys(tpm: ProvisionedTpm, release: Release, store: LeaseStore, lease: Lease) -> dict[str, bytes]:
    """Volume keys of the lease's partitions, 64 bytes each, by partition id. Partitions without shares are left out.

    Raises:
        UnsealRefusedError: the TPM does not unseal, with every reason that can be seen.
    """
    _require_own_partitions(lease, release)
    domains = {payload.verity.root_hash: payload.domain for payload in release.manifest.payloads}
    keys: dict[str, bytes] = {}
    for partition in lease.partitions:
        shares = store.load_shares(partition.partition_id)
        if shares is None:
            continue
        try:
            lease_share = _unseal_lease_share(tpm, store, lease, partition, shares)
        except (TpmError, VerificationError) as error:
            obstacles = lease_obstacles(lease, tpm.reading())
            raise UnsealRefusedError(obstacles or (_refusal(error),)) from None
        release_share = _unseal_release_share(tpm, release, lease, shares)
        owner = owner_key_id(release.manifest, domains[partition.partition_id])
        keys[partition.partition_id] = derive_volume_key(
            lease_share, release_share, bytes.fromhex(partition.partition_id), owner
        )
    return keys


def _require_own_partitions(lease: Lease, release: Release) -> None:
    """Refuse a lease that lists what is not of its release: nothing of it is to be believed then."""
    own = {payload.verity.root_hash: payload.payload_id for payload in release.manifest.payloads}
    for partition in lease.partitions:
        if own.get(partition.partition_id) != partition.payload_id:
            sentence = f"The lease lists partition {partition.payload_id}, which this release does not have."
            raise UnsealRefusedError((Obstacle(RejectionCode.LEASE_MISMATCH, sentence),))


def _unseal_lease_share(
    tpm: ProvisionedTpm,
    store: LeaseStore,
    lease: Lease,
    partition: LeasePartition,
    shares: StoredShares,
) -> bytes:
    srk_name = bytes.fromhex(lease.srk_name)
    authorization = Authorization(
        key=external_signing_key(load_p256_public_key(store.service.lease_policy_key)),
        policy_ref=lease_share_reference(srk_name, bytes.fromhex(partition.partition_id)),
        approved_policy=lease_policy(lease),
        signature=partition.signature,
    )
    sealed = shares.lease_share.sealed()
    assertions = lease_assertions(lease, tpm.counters)
    return unseal(tpm.device, tpm.srk, sealed, assertions, authorization, srk_name=srk_name)


def _unseal_release_share(tpm: ProvisionedTpm, release: Release, lease: Lease, shares: StoredShares) -> bytes:
    """Share B, by the approval of the way through PCR 4 that this boot has taken."""
    partition = bytes.fromhex(shares.partition_id)
    pcrs, authorization = release_authorization(tpm, release, partition, shares.approvals)
    sealed = shares.release_share.sealed()
    srk_name = bytes.fromhex(lease.srk_name)
    try:
        return unseal(tpm.device, tpm.srk, sealed, state_assertions(pcrs), authorization, srk_name=srk_name)
    except (TpmError, VerificationError) as error:
        raise UnsealRefusedError((_refusal(error),)) from None


def release_authorization(
    tpm: ProvisionedTpm, release: Release, partition_id: bytes, approvals: Sequence[ReleaseApproval]
) -> tuple[dict[int, bytes], Authorization]:
    """The values of this boot that the release key has approved for a partition, and its word.

    Raises:
        UnsealRefusedError: it has not.
    """
    own = [approval for approval in approvals if approval.release_id == release.release_id]
    if not own:
        sentence = "The release key has not approved any boot of this release."
        raise UnsealRefusedError((Obstacle(RejectionCode.RELEASE_NOT_ALLOWED, sentence),))
    pcrs = tpm.device.read_pcrs(int(pcr) for pcr in own[0].pcrs)
    fitting = [approval for approval in own if pcr_bytes(approval.pcrs) == pcrs]
    if not fitting:
        raise UnsealRefusedError(nearest_pcr_obstacles([pcr_bytes(approval.pcrs) for approval in own], pcrs))
    authorization = Authorization(
        key=external_signing_key(load_p256_public_key(release.manifest.release_key)),
        policy_ref=release_share_reference(partition_id),
        approved_policy=release_approval_policy(pcrs),
        signature=fitting[0].signature,
    )
    return pcrs, authorization


def _refusal(error: TpmError | VerificationError) -> Obstacle:
    if isinstance(error, VerificationError):
        return Obstacle(error.code, str(error).removeprefix(f"{error.code}: "))
    return Obstacle(BoxCode.TPM, str(error))


def _open(paths: Paths, payload: Payload, keys: dict[str, bytes], options: Sequence[MountOption]) -> PayloadStatus:
    """Open one payload; what goes wrong with one does not keep the others closed."""
    status = payload_status(payload, PayloadState.OPEN)
    key = keys.get(payload.verity.root_hash)
    if key is None:
        sentence = "The lease holds no share for this payload."
        return _failed(status, BoxCode.PAYLOAD_MISSING, sentence)
    device = paths.partition_by_uuid(payload.partition_uuid)
    mount_point = paths.payloads / payload.payload_id
    try:
        run(volumes.wait_for(device))
    except OperationError:
        return _failed(status, BoxCode.PAYLOAD_MISSING, f"Its partition {payload.partition_label} is not there.")
    names = (volumes.crypt_name(payload.payload_id), volumes.verity_name(payload.payload_id))
    open_crypt, open_verity, mount = volumes.open_payload(payload, device, mount_point, options)
    try:
        mount_point.mkdir(parents=True, exist_ok=True)
        mount_point.chmod(0o755)
        with offered_key(volumes.key_name(payload.payload_id), key):
            run(open_crypt)
        run(open_verity)
        # What udev has read of the devices would stay as long as they are held open.
        drop_cached_pages([paths.mapped(name) for name in names])
        run(mount)
    except ToolError as error:
        sentence = f"Partition {payload.partition_label} does not hold what was built: {error}"
        return _failed(status, BoxCode.PAYLOAD_CORRUPTED, sentence)
    except (OperationError, OSError) as error:
        return _failed(status, BoxCode.UNLOCK_FAILED, f"Partition {payload.partition_label} was not opened: {error}")
    return status


def _kept_closed(payload: Payload, obstacle: Obstacle) -> PayloadStatus:
    status = payload_status(payload, PayloadState.CLOSED)
    return status.model_copy(update={"code": str(obstacle.code), "sentence": obstacle.sentence})


def _failed(status: PayloadStatus, code: BoxCode, sentence: str) -> PayloadStatus:
    return status.model_copy(update={"state": PayloadState.FAILED, "code": code.value, "sentence": sentence})
