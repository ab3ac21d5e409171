"""Unlocks the box: the one unit of a boot in which anything is unsealed (docs/the-box.md, A boot).

It runs after the boot phase ``sysinit`` is in PCR 11 and before ``ready`` and any network, in this order:

(1) the release manifest on the ESP is verified and must be of the running root; (2) the TPM's keys and counters are
found or made, and the tick counter is incremented; what the customer has ordered to be destroyed is; (3) the state
volume is opened, at the first boot made; (4) stored
leases are tried, and each opens its payloads, then what domains have on the state volume; (5) whatever happened, PCR 15
is closed and the result is written down.

Nothing here trusts what it reads from a disk: the TPM refuses to unseal, or a signature is checked. Whether Secure
Boot was on is not decided here either: it stands in the PCRs. No web framework is imported; in emulation that is
seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sealwright_appliance import volumes
from sealwright_appliance.agent_user import give_to_adapter_service, give_to_agent, give_to_document_service
from sealwright_appliance.binding import load_binding, store_binding
from sealwright_appliance.boot import BoxCode, BoxState, Obstacle, nearest_pcr_obstacles
from sealwright_appliance.claim import Claim
from sealwright_appliance.claim_counter import note_claim_counter, settle_claim
from sealwright_appliance.console import Console, release_line, state_line
from sealwright_appliance.customer_wipe import carry_out, is_ordered
from sealwright_appliance.data_sets import bind_data_sets
from sealwright_appliance.domain_key import open_domain_key
from sealwright_appliance.domain_texts import DomainTexts, without, without_files
from sealwright_appliance.engines import open_models, placed, prepare_engines, room_here_mib
from sealwright_appliance.files import write_durably
from sealwright_appliance.flows.domain_files import DomainFiles
from sealwright_appliance.flows.file_seals import leave_seals
from sealwright_appliance.flows.made_files import keep_made_files
from sealwright_appliance.flows.own_domains import OwnDomains
from sealwright_appliance.lease_store import LeaseStore
from sealwright_appliance.paths import MAPPER, Paths
from sealwright_appliance.payloads import OpenedLease, open_stored_leases
from sealwright_appliance.release_files import (
    keep_signed_files,
    load_release,
    load_service,
    with_variants,
)
from sealwright_appliance.result_volumes import ResultVolumes
from sealwright_appliance.results import describe_workloads, lay_out_adapters
from sealwright_appliance.run import run
from sealwright_appliance.sealed_folders import open_sealed_folders
from sealwright_appliance.state_header import checked_header, read_header
from sealwright_appliance.state_volume import (
    UnsealedState,
    draw_state,
    load_bound_state,
    settle_header,
    unseal_state,
)
from sealwright_appliance.status import (
    BootResult,
    PayloadState,
    PayloadStatus,
    lease_status,
    payload_status,
    release_status,
)
from sealwright_appliance.tls import give_to_gateway, kept_tls_identity, make_tls_identity
from sealwright_appliance.tpm_counters import increment_counter
from sealwright_appliance.tpm_device import TpmDevice, open_tpm
from sealwright_appliance.tpm_evidence import read_boot_logs
from sealwright_appliance.tpm_keys import endorsement_key
from sealwright_appliance.tpm_provision import ProvisionedTpm, provision
from sealwright_appliance.workloads import load_workloads, prepare_workloads, runnable
from sealwright_policies.appraisal.reference_values import STATE_SET
from sealwright_policies.appraisal.release import Release
from sealwright_policies.errors import FormatError, OperationError, SealwrightError, VerificationError
from sealwright_policies.wire.device_id import device_id
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.wire.framing import UNLOCKED_WORD
from sealwright_policies.wire.lease import Lease
from sealwright_policies.wire.state_approval import approved_states
from sealwright_policies.workloads import NO_WORKLOADS, ReleaseWorkloads

PCR_EXTEND = "/usr/lib/systemd/systemd-pcrextend"
FORMAT_TIMEOUT_S = 600.0
HEADER_COPY, NEW_HEADER = "state-header", "new-state-header"
SECRETS_WAIT = "secrets wait: sealwright-box activate with the claim code gets them, also while the box serves"


class LockedError(Exception):
    """Control flow: the box stays locked for a reason."""

    def __init__(self, reason: Obstacle) -> None:
        super().__init__(reason.sentence)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class OpenDomains:
    """What domains have on the state volume, and the lease by which it is open."""

    files: DomainFiles
    lease: Lease
    damaged: Mapping[str, str]
    """Domains of which nothing can be opened, and why."""


@dataclass
class Progress:
    """What is known so far, so that a boot that fails half-way still says what it knows."""

    device_id: str | None = None
    release: Release | None = None
    state_volume_open: bool = False
    activated: bool = False
    opened: OpenedLease | None = None
    domains: OpenDomains | None = None
    """What domains have on the state volume, if it is open."""
    domains_closed: str = ""
    """Why it is not, though payloads are."""
    payloads: list[PayloadStatus] = field(default_factory=list)


def unlock(paths: Paths, console: Console, now: Callable[[], float] = time.time) -> BootResult:
    """Do the whole of a boot's unlocking; always closes PCR 15.

    Raises:
        SealwrightError: PCR 15 could not be closed or the result not be written: the boot must not go on.
    """
    progress = Progress()
    try:
        result = _finished(progress, _unlock(paths, console, progress), int(now()))
    finally:
        _close(paths, console)
    result = result.model_copy(update={"tls_fingerprint": _prepare_tls(paths, progress, console)})
    plans = load_workloads(paths) if result.state is BoxState.UNLOCKED else NO_WORKLOADS
    domains = progress.domains
    if domains is None:
        if progress.domains_closed:
            console.say(f"domains: {progress.domains_closed}")
        without_place = {plan.domain: progress.domains_closed for plan in plans.workloads.values()}
        plans = without_files(plans)
    else:
        texts = DomainTexts.load(paths, domains.lease, console.say, domains.damaged)
        shut = texts.settle_files(domains.files, console.say)
        plans = without(plans, shut)
        without_place = _open_results(paths, result, plans, texts, console)
        without_place |= _show_data_sets(paths, result, plans, shut, console)
        keep_made_files(paths, domains.files, plans, texts.texts, now=int(now()), say=console.say)
        kept_closed = texts.kept_closed(paths, domains.files)
        result = result.model_copy(update={"domains_open": True, "kept_closed": kept_closed})
    files = DomainFiles.none(paths) if domains is None else domains.files
    result = _with_results(paths, files, result, plans, console, without_place=without_place)
    result = _with_engines(paths, result, plans)
    write_durably(paths.boot_result, document_bytes(result), mode=0o644)
    if result.state is BoxState.UNLOCKED:
        prepare_engines(paths, open_models(result.payloads), plans, result.engine_room_mib)
        prepare_workloads(paths, result.payloads, plans, without_place)
    give_to_agent(paths)
    give_to_document_service(paths)
    if domains is not None:
        give_to_adapter_service(paths, [name for name, plan in plans.adapters.items() if plan.trainer is not None])
    _announce(paths, console, result)
    return result


def _open_results(
    paths: Paths, result: BootResult, plans: ReleaseWorkloads, texts: DomainTexts, console: Console
) -> dict[str, str]:
    """Volumes on which workloads write; why one is not there, by domain."""
    needed = {plans.workloads[name].domain for name in runnable(result.payloads, plans)}
    shut = {name: plan for name, plan in plans.results.items() if name in texts.refused}
    ResultVolumes(paths.results, run, lambda _: None).open(shut, {}, (), texts.refused)  # set aside; why is told of all
    plain = {name: plan for name, plan in plans.results.items() if name not in texts.refused}
    known = set(texts.known).difference(texts.refused)
    problems = ResultVolumes(paths.results, run, console.say).open(plain, texts.texts, needed, known)
    return problems | texts.refusals


def _show_data_sets(
    paths: Paths, result: BootResult, plans: ReleaseWorkloads, shut: Mapping[str, str], console: Console
) -> dict[str, str]:
    """Data sets that came to the box, where workloads see them; domains whose workloads would run without."""
    running = [plans.workloads[name] for name in runnable(result.payloads, plans)]
    wanted = {domain for plan in running for domain in plan.files}
    problems = {one: shut[one] for one in wanted & shut.keys()}
    problems |= bind_data_sets(paths, wanted - shut.keys(), run)
    for sentence in problems.values():
        console.say(f"data sets: {sentence}")
    return {plan.domain: problems[one] for plan in running for one in plan.files if one in problems}


def _with_results(
    paths: Paths,
    files: DomainFiles,
    result: BootResult,
    plans: ReleaseWorkloads,
    console: Console,
    *,
    without_place: Mapping[str, str],
) -> BootResult:
    """Adapters and metrics that workloads of earlier boots have written."""
    adapters = lay_out_adapters(paths, files, result.payloads, plans, console.say)
    described = describe_workloads(paths, result.payloads, plans, console.say, without_place)
    return result.model_copy(update={"payloads": [*result.payloads, *adapters], "workloads": described})


def _with_engines(paths: Paths, result: BootResult, plans: ReleaseWorkloads) -> BootResult:
    """What engines need, and the room that there is for them."""
    room = room_here_mib()
    payloads = placed(paths, result.payloads, plans, room)
    return result.model_copy(update={"payloads": payloads, "engine_room_mib": room})


def _close(paths: Paths, console: Console) -> None:
    try:
        close_pcr15(paths.tcti)
    except SealwrightError as error:  # the machine is about to be switched off: whoever stands before it is to know why
        console.say(f"unlock: {error} The boot ends here.")
        raise


def close_pcr15(tcti: str) -> None:
    """Extend PCR 15 through systemd, so that the word stands in systemd's log; nothing unseals after it.

    Raises:
        OperationError: it is not closed. systemd-pcrextend ends with 0, too, where it thinks that it need not measure.
    """
    run([PCR_EXTEND, "--pcr=15", UNLOCKED_WORD])
    with open_tpm(tcti) as tpm:
        if not any(tpm.read_pcrs([15])[15]):
            raise OperationError("PCR 15 was not extended: something could still be unsealed in this boot.")


def _unlock(paths: Paths, console: Console, progress: Progress) -> Obstacle | None:
    """Steps (1) to (4); None if the box is open or waits for its activation, else the reason."""
    try:
        release = _load_release(paths, console, progress)  # (1)
        with open_tpm(paths.tcti) as tpm:
            provisioned = _prepare_tpm(tpm, progress, console)  # (2)
            if _wiped(paths, provisioned, console):
                provisioned = _prepare_tpm(tpm, progress, console)
            _open_state(paths, provisioned, release, console)  # (3)
            progress.state_volume_open = True
            _settle_claim(paths, provisioned, console)
            _try_leases(paths, provisioned, release, progress, console)  # (4)
    except LockedError as locked:
        return locked.reason
    except VerificationError as error:
        return Obstacle(error.code, str(error).removeprefix(f"{error.code}: "))
    except SealwrightError as error:
        return Obstacle(BoxCode.UNLOCK_FAILED, str(error))
    except OSError as error:
        return Obstacle(BoxCode.UNLOCK_FAILED, f"{error.filename or 'A disk'}: {error.strerror}.")
    return None


def _load_release(paths: Paths, console: Console, progress: Progress) -> Release:
    run(volumes.wait_for(paths.partition("esp")))
    progress.release = load_release(paths)
    try:
        progress.release = with_variants(paths, progress.release)
    except SealwrightError as error:  # anybody can write there; a boot on one of the manifest's ways needs none of it
        console.say(f"variants: {error} The box goes on without ways through PCR 4 that were signed later.")
    keep_signed_files(paths, progress.release)
    console.say(release_line(release_status(progress.release)))
    return progress.release


def _prepare_tpm(tpm: TpmDevice, progress: Progress, console: Console) -> ProvisionedTpm:
    try:
        progress.device_id = device_id(endorsement_key(tpm).public.area)
        console.say(f"device {progress.device_id}")
        provisioned = provision(tpm)
        increment_counter(tpm, provisioned.counters.ticks)
    except OperationError as error:
        raise LockedError(Obstacle(BoxCode.TPM, str(error))) from None
    return provisioned


def _wiped(paths: Paths, tpm: ProvisionedTpm, console: Console) -> bool:
    """Whether the customer had ordered the end of their data, which has come now."""
    state, binding = paths.partition("state"), paths.partition("binding")
    try:
        run(volumes.wait_for(state))
        run(volumes.wait_for(binding))
        bound = load_binding(binding)
        if bound is None or not is_ordered(bound):
            return False
        carry_out(tpm.device, bound, state=state, binding=binding)
    except (FormatError, OperationError) as error:
        raise LockedError(Obstacle(BoxCode.STATE_VOLUME, str(error))) from None
    console.say("wipe: done as the customer ordered; this is a new box")
    return True


def _open_state(paths: Paths, tpm: ProvisionedTpm, release: Release, console: Console) -> None:
    state, binding = paths.partition("state"), paths.partition("binding")
    try:
        bound = load_bound_state(state, binding)
        obstacles = _boot_obstacles(paths, tpm.device, release)
        if bound is None:
            for obstacle in obstacles:
                console.say(f"boot {obstacle.code}: {obstacle.sentence}")
            _make_state(paths, tpm, release, usable=not obstacles)
        elif obstacles:
            raise LockedError(obstacles[0])
        else:
            unsealed = unseal_state(tpm, bound, release.release_id)
            settle_header(state, binding, bound, unsealed)
            _mount_state(paths, read_header(state), unsealed)
    except (FormatError, OperationError) as error:
        raise LockedError(Obstacle(BoxCode.STATE_VOLUME, str(error))) from None


def _make_state(paths: Paths, tpm: ProvisionedTpm, release: Release, *, usable: bool) -> None:
    """The first boot: make the state volume and mount it; in this order, policies/spec/binding.md, 3.

    In a boot that the release does not list the TPM would not unseal. The volume is then opened by the key just drawn,
    so that the box can be asked to activate: the service judges the evidence and tells vendor and customer every
    mismatch. From the second boot on only a right one opens it.
    """
    state, binding = paths.partition("state"), paths.partition("binding")
    drawn = draw_state(tpm, release, paths.run / NEW_HEADER)
    unsealed = unseal_state(tpm, drawn.binding, release.release_id) if usable else drawn.unsealed
    _mount_state(paths, drawn.header, unsealed, make_file_system=True)
    note_claim_counter(tpm, paths.claim_counter)
    Claim(paths.claim).create(drawn.secrets)
    store_binding(binding, drawn.binding)
    settle_header(state, binding, drawn.binding, unsealed)


def _mount_state(paths: Paths, header: bytes, unsealed: UnsealedState, *, make_file_system: bool = False) -> None:
    device, mapped = paths.partition("state"), MAPPER / volumes.LUKS_NAME
    copy = checked_header(header, unsealed.header_sha256, paths.run / HEADER_COPY)
    run(volumes.open_luks(device, copy), secrets=[unsealed.passphrase])
    copy.unlink()
    if make_file_system:
        run(volumes.make_ext4(mapped, "state"), timeout_s=FORMAT_TIMEOUT_S)
    paths.state.mkdir(parents=True, exist_ok=True)
    run(volumes.mount(mapped, paths.state, "ext4", volumes.READ_WRITE))


def _settle_claim(paths: Paths, tpm: ProvisionedTpm, console: Console) -> None:
    try:
        of_now = settle_claim(tpm, Claim(paths.claim), paths.claim_counter)
    except FormatError:
        return  # announced with the rest; a claim that cannot be read cannot be used
    if not of_now:
        console.say("claim: The claim on this disk is from before it was used; it was erased.")


def _boot_obstacles(paths: Paths, tpm: TpmDevice, release: Release) -> tuple[Obstacle, ...]:
    """What is wrong with this boot, in words: the TPM will refuse, but it does not say why."""
    obstacles = nearest_pcr_obstacles(approved_states(release), tpm.read_pcrs(STATE_SET))
    return explained(paths, release, obstacles) if obstacles else ()


def explained(paths: Paths, release: Release, obstacles: tuple[Obstacle, ...]) -> tuple[Obstacle, ...]:
    """Obstacles with the event log's account of them, where there is one."""
    from sealwright_appliance.diagnosis import explain  # noqa: PLC0415  a second of emulation, for a locked box only

    try:
        logs = read_boot_logs(paths.firmware_log, paths.userspace_log)
    except OperationError:
        return obstacles
    return explain(obstacles, logs.firmware, release.measurements)


def _try_leases(paths: Paths, tpm: ProvisionedTpm, release: Release, progress: Progress, console: Console) -> None:
    store = LeaseStore(paths.leases, paths.shares, paths.identity, load_service(paths), release_status(release))
    progress.activated = store.load_identity() is not None
    if not progress.activated:
        return
    progress.opened = open_stored_leases(paths, tpm, release, store, load_workloads(paths))
    progress.payloads = progress.opened.payloads
    if progress.opened.reason is not None:
        raise LockedError(explained(paths, release, (progress.opened.reason,))[0])
    if progress.opened.lease is not None:
        try:
            key = open_domain_key(
                paths.domain_key, tpm, release, store.domain_key_approvals(),
                srk_name=bytes.fromhex(progress.opened.lease.srk_name), say=console.say,
            )  # fmt: skip
            damaged = open_sealed_folders(paths, key, OwnDomains(paths).names(), console.say)
            files = DomainFiles(paths.domain_files, leave_seals(paths, key))
            progress.domains = OpenDomains(files, progress.opened.lease, damaged)
        except OperationError as error:
            progress.domains_closed = str(error)


def _finished(progress: Progress, reason: Obstacle | None, now: int) -> BootResult:
    lease = progress.opened.lease if progress.opened is not None else None
    state, sentence = _state(progress, reason)
    return BootResult(
        state=state,
        code=reason.code if reason is not None else None,
        sentence=sentence,
        at=now,
        device_id=progress.device_id,
        release=release_status(progress.release) if progress.release is not None else None,
        payloads=progress.payloads or _closed_payloads(progress.release),
        lease=lease_status(lease) if lease is not None else None,
        state_volume_open=progress.state_volume_open,
    )


def _state(progress: Progress, reason: Obstacle | None) -> tuple[BoxState, str]:
    if reason is not None:
        return BoxState.LOCKED, reason.sentence
    if not progress.activated:
        return BoxState.WAITING_FOR_ACTIVATION, "The box waits for its activation with the claim code on its console."
    return BoxState.UNLOCKED, "The payloads are open."


def _closed_payloads(release: Release | None) -> list[PayloadStatus]:
    payloads = release.manifest.payloads if release is not None else []
    return [payload_status(payload, PayloadState.CLOSED) for payload in payloads]


def _prepare_tls(paths: Paths, progress: Progress, console: Console) -> str:
    """Certificate and key for the gateway; returns the fingerprint.

    A kept certificate that cannot be used is no reason to keep models closed: one of this boot takes its place, and its
    other fingerprint shows.
    """
    name = progress.device_id or "unknown"
    tls = None
    if progress.state_volume_open:
        try:
            tls = kept_tls_identity(paths.identity / "tls", name)
        except SealwrightError as error:
            console.say(f"tls: {error} This boot uses another one.")
    tls = tls or make_tls_identity(name)
    give_to_gateway(tls, paths.tls, paths.gateway_group)
    return tls.fingerprint


def _announce(paths: Paths, console: Console, result: BootResult) -> None:
    console.say(f"tls fingerprint {result.tls_fingerprint}")
    # Until the customer has acknowledged what it gives.
    if result.state_volume_open:
        _announce_claim(paths, console, is_activated=result.state is not BoxState.WAITING_FOR_ACTIVATION)
    for payload in result.payloads:
        if payload.code is not None:
            console.say(f"payload {payload.payload_id}: {payload.code}: {payload.sentence}")
    for one in result.kept_closed:
        console.say(f"closed {one.domain}: {one.what}: {one.code}: {one.sentence}")
    console.say(state_line(result))


def _announce_claim(paths: Paths, console: Console, *, is_activated: bool) -> None:
    try:
        claim_code = Claim(paths.claim).code()
    except SealwrightError as error:
        console.say(f"claim: {error} The box goes on; nobody can claim it.")
        return
    if claim_code is not None:
        console.say(f"claim code {claim_code}")
        if is_activated:
            console.say(SECRETS_WAIT)
