"""The appraisal of a box's evidence: one pure function (policies/spec/appraisal.md).

The licence service gives its verdict by it and the image build dry-runs the same. It decides about the state of the
box alone: whether a licence, a seat or a release is allowed is the service's decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sealwright_policies.appraisal.boot_chain import (
    RELEASE_PCRS,
    judge_boot_applications,
    judge_kernel_stub,
    judge_uki,
    judge_untouched,
    judge_userspace,
)
from sealwright_policies.appraisal.boot_logs import boot_logs_digest
from sealwright_policies.appraisal.clock import (
    DEFAULT_LOSS_BOUND_MS,
    PINNED_PCRS,
    REPORTED_PCRS,
    ClockReading,
    DeviceBaseline,
    judge_clock,
)
from sealwright_policies.appraisal.events import (
    FIRMWARE_PCRS,
    SHA256,
    EventsByPcr,
    events_by_pcr,
    judge_bank,
    judge_firmware_events,
    judge_separators,
    printable,
)
from sealwright_policies.appraisal.evidence import VerifiedEvidence, verify_evidence
from sealwright_policies.appraisal.known_boots import Boot, KnownBoots
from sealwright_policies.appraisal.measurements import ZERO
from sealwright_policies.appraisal.mismatch import Mismatch
from sealwright_policies.appraisal.reference_values import (
    QUOTE_SET,
    UNSEAL_SET,
    BootApplication,
    Measurements,
    version_key,
)
from sealwright_policies.appraisal.release import Release
from sealwright_policies.appraisal.result import AttestationResult, BootSummary, Status
from sealwright_policies.appraisal.secure_boot import judge_secure_boot
from sealwright_policies.errors import RejectionCode
from sealwright_policies.tcg.attestation import VerifiedCounter, VerifiedQuote
from sealwright_policies.tcg.device_path import guid_text
from sealwright_policies.tcg.eventlog import (
    EventLog,
    EventType,
    UserspaceLog,
    parse_event_log,
    parse_userspace_log,
)
from sealwright_policies.tcg.pcr import initial_value
from sealwright_policies.tcg.public import Public
from sealwright_policies.wire.framing import qualifying_data
from sealwright_policies.wire.messages import CounterNames, Evidence, Purpose

KNOWN_BOOTS = KnownBoots()
"""Of this process."""


@dataclass(frozen=True, slots=True)
class BootJudgement:
    """What the two logs show, whoever vouches for them."""

    mismatches: tuple[Mismatch, ...]
    summary: BootSummary


def appraise(
    evidence: Evidence,
    *,
    ak: Public,
    nonce: bytes,
    device_id: str,
    license_id: str,
    release: Release,
    purpose: Purpose,
    now: int,
    baseline: DeviceBaseline | None = None,
    counter_names: CounterNames | None = None,
    version_floor: str | None = None,
    loss_bound_ms: int = DEFAULT_LOSS_BOUND_MS,
) -> AttestationResult:
    """Appraise one evidence message against a release and what is held of the device.

    (1) The signatures of the quote and of both counters, what they were made for, and what they cover. (2) The clock
    rules. (3) Replay of both logs gives the quoted values. (4) Every event is judged. (5) The values are those of the
    release. (6) The release is not below the floor. Each finding of (2) to (6) is collected; without a verified quote
    there is nothing that (3) to (5) could stand on, so the result then ends with (1).

    Args:
        evidence: as received.
        ak: public area of the enrolled AK.
        nonce: that the service gave for this message.
        device_id: of the enrolled device.
        license_id: that the message names.
        release: that the message names, verified.
        purpose: what the message is for.
        now: seconds since the epoch, for the result alone.
        baseline: what is held of the device; None at enrolment.
        counter_names: of the device's two counters; None at enrolment.
        version_floor: lowest version of the product that is accepted.
        loss_bound_ms: how much TPM Clock a reset may lose on this tier.

    Raises:
        FormatError: a structure or log is malformed.
        UnsupportedError: an algorithm that we do not know.
    """
    payload = evidence.payload
    bound = qualifying_data(
        nonce=nonce,
        device_id=device_id,
        license_id=license_id,
        release_id=release.release_id,
        purpose=purpose.value,
        payload=payload,
    )
    verified = verify_evidence(evidence, ak, bound)  # (1)
    mismatches = [*verified.mismatches, *_judge_counter_names(verified, counter_names)]
    mismatches += _judge_version(release, version_floor)  # (6)
    result = AttestationResult(
        status=Status.CONTRAINDICATED,
        purpose=purpose.value,
        device_id=device_id,
        license_id=license_id,
        release_id=release.release_id,
        product=release.manifest.product,
        product_version=release.manifest.product_version,
        appraised_at=now,
        mismatches=tuple(mismatches),
    )
    if verified.quote is None:
        return result
    return _appraise_state(
        result,
        evidence,
        verified,
        quote=verified.quote,
        release=release,
        baseline=baseline,
        loss_bound_ms=loss_bound_ms,
    )


def _appraise_state(
    result: AttestationResult,
    evidence: Evidence,
    verified: VerifiedEvidence,
    *,
    quote: VerifiedQuote,
    release: Release,
    baseline: DeviceBaseline | None,
    loss_bound_ms: int,
) -> AttestationResult:
    measurements = release.measurements
    mismatches = list(result.mismatches)
    notes: list[str] = []
    reading = _reading(quote, verified.tick_counter, verified.lease_counter)
    clock = judge_clock(reading, baseline, loss_bound_ms=loss_bound_ms) if reading else None  # (2)
    if clock is not None:
        mismatches += clock.mismatches
        notes += clock.notes
    boot = _find_boot(evidence, release)
    if boot.firmware is not None:  # without that bank, judge_bank has the reason
        mismatches += _judge_replay(boot.running, quote.pcrs)  # (3)
    mismatches += boot.mismatches  # (4)
    mismatches += _judge_values(quote.pcrs, measurements, mismatches)  # (5)
    mismatches += _judge_pinned(quote.pcrs, baseline)
    notes += _reported_changes(quote.pcrs, baseline)
    affirming = not mismatches and reading is not None
    return replace(
        result,
        status=Status.AFFIRMING if affirming else Status.CONTRAINDICATED,
        mismatches=tuple(mismatches),
        reading=reading,
        tick_counter_name=verified.tick_counter.name if verified.tick_counter else b"",
        lease_counter_name=verified.lease_counter.name if verified.lease_counter else b"",
        tpm_firmware_version=quote.firmware_version,
        pcrs=quote.pcrs,
        boot=boot.summary,
        notes=tuple(notes),
        clock_loss_ms=clock.loss_ms if clock is not None else 0,
        unseal_pcrs=unseal_values(boot.firmware, measurements) if affirming and boot.firmware else {},
        boot_logs_digest=boot.digest if affirming else b"",
        baseline=_next_baseline(reading, quote.pcrs) if affirming and reading else None,
    )


def _find_boot(evidence: Evidence, release: Release) -> Boot:
    """What the logs show: replayed and judged, now or when they were last sent."""
    known = KNOWN_BOOTS.find(evidence.boot_log, evidence.userspace_log, release)
    if known is not None:
        return known
    boot_log, userspace_log = parse_event_log(evidence.boot_log), parse_userspace_log(evidence.userspace_log)
    firmware = boot_log.replay() if SHA256 in boot_log.banks else None
    judgement = judge_boot(boot_log, userspace_log, release.measurements)
    boot = Boot(
        firmware=firmware,
        running={} if firmware is None else userspace_log.replay(SHA256, firmware),
        mismatches=judgement.mismatches,
        summary=judgement.summary,
        digest=b"" if judgement.mismatches else boot_logs_digest(boot_log, userspace_log),
    )
    KNOWN_BOOTS.keep(evidence.boot_log, evidence.userspace_log, release, boot)
    return boot


def judge_boot(boot_log: EventLog, userspace_log: UserspaceLog, measurements: Measurements) -> BootJudgement:
    """Judge every event of both logs against a release; says nothing about whether the logs are genuine."""
    events = events_by_pcr(boot_log)
    mismatches, variant = judge_boot_log(boot_log, events, measurements)
    in_userspace, phases = judge_userspace(userspace_log, measurements.boot_phases)
    summary = BootSummary(
        firmware_version=firmware_version(events),
        boot_application=variant.name if variant else "",
        option_rom_drivers=sum(event.type is not EventType.EV_SEPARATOR for event in events.get(2, ())),
        phases=phases,
    )
    return BootJudgement((*mismatches, *in_userspace), summary)


def judge_boot_log(
    log: EventLog, events: EventsByPcr, measurements: Measurements
) -> tuple[list[Mismatch], BootApplication | None]:
    """Judge every event of a firmware log; also returns the listed way through PCR 4 that was taken, if any."""
    mismatches = judge_bank(log, events)
    if SHA256 not in log.banks:
        return mismatches, None  # every rule below compares SHA-256 digests
    mismatches += judge_separators(events)
    mismatches += judge_firmware_events(events)
    mismatches += judge_secure_boot(events, measurements.secure_boot)
    in_pcr4, variant = judge_boot_applications(events, measurements.boot_applications)
    mismatches += in_pcr4
    mismatches += judge_kernel_stub(events, measurements.pcr9_events)
    mismatches += judge_uki(events, measurements.boot_phases.sections)
    return mismatches + judge_untouched(events), variant


def unseal_point(boot_log: EventLog, release: Release) -> dict[int, bytes]:
    """The value of each PCR of the unseal set at the moment when the box unseals.

    Never the quoted values: a quote is of a running box, in which PCR 11 has moved on and 15 is closed. What firmware
    measures (0, 2, 4, 7) is replayed from the log, which ends before userspace; what the release measures (11 to 15)
    is in the manifest.
    """
    return unseal_values(boot_log.replay(), release.measurements)


def unseal_values(firmware: Mapping[int, bytes], measurements: Measurements) -> dict[int, bytes]:
    """The same from a boot log's replayed values."""
    return {
        pcr: bytes.fromhex(measurements.unseal[str(pcr)]) if pcr >= 8 else firmware.get(pcr, initial_value(pcr))
        for pcr in UNSEAL_SET
    }


def firmware_version(events: EventsByPcr) -> str:
    """What EV_S_CRTM_VERSION says, for people: nothing but the maker's word."""
    for event in events.get(0, ()):
        if event.type is EventType.EV_S_CRTM_VERSION:
            data = event.data
            # Some makers put a GUID here, most a text.
            return guid_text(data) if len(data) == 16 and not data.isascii() else printable(data)[1:-1].strip()
    return ""


def _reading(quote: VerifiedQuote, ticks: VerifiedCounter | None, lease: VerifiedCounter | None) -> ClockReading | None:
    if ticks is None or lease is None:
        return None
    clock = quote.clock_info
    return ClockReading(clock.reset_count, clock.restart_count, clock.clock_ms, ticks.value, lease.value)


def _next_baseline(reading: ClockReading, pcrs: Mapping[int, bytes]) -> DeviceBaseline:
    return DeviceBaseline(
        reading.reset_count,
        reading.restart_count,
        reading.clock_ms,
        reading.ticks,
        reading.lease_number,
        pinned={pcr: pcrs[pcr] for pcr in PINNED_PCRS},
        reported={pcr: pcrs[pcr] for pcr in REPORTED_PCRS},
    )


def _judge_counter_names(verified: VerifiedEvidence, held: CounterNames | None) -> list[Mismatch]:
    if held is None:
        return []
    pairs = (("tick", verified.tick_counter, held.tick), ("lease", verified.lease_counter, held.lease))
    return [
        Mismatch(
            RejectionCode.COUNTER_INVALID,
            f"The {name} counter is another NV index than the one that was enrolled.",
            expected=expected,
            found=counter.name.hex(),
        )
        for name, counter, expected in pairs
        if counter is not None and counter.name.hex() != expected
    ]


def _judge_version(release: Release, floor: str | None) -> list[Mismatch]:
    version = release.manifest.product_version
    if floor is None or version_key(version) >= version_key(floor):
        return []
    sentence = f"Version {version} is below the floor {floor}: it has a known hole."
    return [Mismatch(RejectionCode.VERSION_BELOW_FLOOR, sentence, expected=f"at least {floor}", found=version)]


def _judge_replay(replayed: Mapping[int, bytes], quoted: Mapping[int, bytes]) -> list[Mismatch]:
    mismatches = []
    for pcr in QUOTE_SET:
        value = replayed.get(pcr, initial_value(pcr))
        if value != quoted[pcr]:
            mismatches.append(
                Mismatch(
                    RejectionCode.EVENT_LOG_REPLAY_MISMATCH,
                    "The logs do not give the quoted value: events are missing, added or altered.",
                    pcr=pcr,
                    expected=quoted[pcr].hex(),
                    found=value.hex(),
                )
            )
        # PCR 0 begins with the startup locality in its last byte.
        if pcr in FIRMWARE_PCRS and pcr in replayed and quoted[pcr][:-1] == ZERO[:-1]:
            sentence = "The PCR is zero: the firmware leaves its SHA-256 bank unextended, so anybody else can fill it."
            mismatches.append(Mismatch(RejectionCode.BANK_INCOMPLETE, sentence, pcr=pcr))
    return mismatches


def _judge_values(quoted: Mapping[int, bytes], measurements: Measurements, found: list[Mismatch]) -> list[Mismatch]:
    """Hold end values against the manifest where no event has explained the difference already."""
    explained = {mismatch.pcr for mismatch in found if mismatch.event_index is not None or mismatch.log is not None}
    mismatches = []
    for pcr in RELEASE_PCRS:
        if pcr in explained:
            continue
        if pcr == 4:
            allowed = {variant.pcr4 for variant in measurements.boot_applications}
        else:
            allowed = {measurements.running[str(pcr)]}
        if quoted[pcr].hex() not in allowed:
            sentence = "The quoted value is not the release's, and no event of the logs says why."
            expected = ", ".join(sorted(allowed))
            mismatches.append(
                Mismatch(RejectionCode.PCR_MISMATCH, sentence, pcr=pcr, expected=expected, found=quoted[pcr].hex())
            )
    return mismatches


def _judge_pinned(quoted: Mapping[int, bytes], baseline: DeviceBaseline | None) -> list[Mismatch]:
    if baseline is None or (baseline.approved and all(quoted[pcr] == baseline.approved[pcr] for pcr in PINNED_PCRS)):
        return []
    meaning = {0: "firmware", 2: "option ROMs", 3: "settings of option ROMs"}
    return [
        Mismatch(
            RejectionCode.FIRMWARE_CHANGED,
            f"The machine's {meaning[pcr]} changed since an operator last approved them.",
            pcr=pcr,
            expected=held.hex(),
            found=quoted[pcr].hex(),
        )
        for pcr, held in sorted(baseline.pinned.items())
        if quoted[pcr] != held
    ]


def _reported_changes(quoted: Mapping[int, bytes], baseline: DeviceBaseline | None) -> list[str]:
    meaning = {1: "firmware settings or boot order", 5: "partition table", 6: "maker's measurements"}
    held = baseline.reported if baseline is not None else {}
    return [
        f"PCR {pcr} changed since the last evidence: {meaning[pcr]}. This is allowed."
        for pcr in REPORTED_PCRS
        if pcr in held and held[pcr] != quoted[pcr]
    ]
