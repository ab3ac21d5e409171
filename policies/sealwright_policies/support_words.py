"""A support bundle in words, for whoever reads one. Not in the box: there people see the file itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from sealwright_policies.errors import RejectionCode
from sealwright_policies.support import BoxPart, Finding, GatewayPart, LinePart, SupportBundle

WORDS: Mapping[str, str] = {
    RejectionCode.EVENT_LOG_REPLAY_MISMATCH: "the log does not lead to what the TPM has",
    RejectionCode.EVENT_NOT_ALLOWED: "something was measured that has no place there",
    RejectionCode.EVENT_DIGEST_MISMATCH: "an event's data are not what was measured",
    RejectionCode.BANK_INCOMPLETE: "firmware did not fill its SHA-256 bank",
    RejectionCode.SECURE_BOOT_DISABLED: "Secure Boot is off",
    RejectionCode.SECURE_BOOT_KEYS: "Secure Boot has other keys than the release's",
    RejectionCode.BOOT_APPLICATION: "firmware started something else than the release, or by a way that is not listed",
    RejectionCode.KERNEL_COMMAND_LINE: "something was appended to the kernel's command line",
    RejectionCode.UKI_MISMATCH: "the kernel image is not the release's",
    RejectionCode.BOOT_PHASE: "the boot's phases are not the expected ones",
    RejectionCode.SYSTEM_IDENTITY: "what systemd measured of the system is not as expected",
    RejectionCode.PCR_MISMATCH: "a PCR is not as the release says",
    RejectionCode.FIRMWARE_CHANGED: "firmware or option ROMs are not those of the lease",
    RejectionCode.LEASE_EXPIRED: "no stored lease opens any more",
    RejectionCode.SRK_NAME_MISMATCH: "the TPM was cleared or changed, or the disk is in another machine",
    RejectionCode.MANIFEST_MISMATCH: "the manifest on the ESP is of another system",
    RejectionCode.DOCUMENT_SIGNATURE: "a document is not signed by whom it should be",
    RejectionCode.RATE_LIMITED: "the licence service is asked too often",
    RejectionCode.SUSPENDED: "the licence is suspended",
    RejectionCode.REVOKED: "the licence is revoked",
    RejectionCode.EXPIRED: "the licence has ended",
    "NOT_ACTIVATED": "the box waits for its activation",
    "TPM": "the TPM is missing, locked out, full, or without SHA-256",
    "STATE_VOLUME": "the state volume does not open",
    "PAYLOAD_CORRUPTED": "a partition does not hold what was built",
    "PAYLOAD_MISSING": "a partition or its key share is not there",
    "PAYLOAD_NOT_CLOSED": "a payload does not close",
    "NOT_LICENSED": "the licence does not cover it",
    "NOT_RUN": "nothing that runs is open for it",
    "DOMAIN_CHANGED": "it came under a text of its domain that the release's is not within",
    "RESULTS_ASIDE": "results were not taken into a volume of another size",
    "ENGINE_FAILED": "the engine did not load its model",
    "UNLOCK_FAILED": "something failed before anything was opened",
    "SERVICE_UNREACHABLE": "the licence service does not answer",
    "LICENSE_ENDS": "the licence ends",
    "LICENSE_IN_GRACE": "the licence has ended and is in grace",
    "BUDGET_LOW": "the running time is nearly used up",
    "LEASE_ENDS": "the lease ends and was not renewed",
    "ok": "no trouble",
}
"""By code; one that is not here is shown alone."""
_MIB = 1 << 20


def support_lines(bundle: SupportBundle) -> list[str]:
    """The bundle, a line for each thing."""
    box = bundle.box
    lines = [
        f"made      {_moment(bundle.made_at)}, by the box's clock; nothing vouches for this file",
        f"device    {box.device_id}, licence {box.license_id}",
        *([f"release   {box.release.product} {box.release.version} {box.release.release_id}"] if box.release else []),
        f"software  kernel {box.software.kernel}, Python {box.software.python}, OpenSSL {box.software.openssl}",
        f"state     {box.boot.state}{_because(box.boot.code)}, since {_moment(box.boot.since)}; "
        f"running for {_hours(box.boot.running_s)}",
        *_appraisal(box),
        *_rights(box),
        *_contents(box, bundle.gateway),
        *_machine(box),
    ]
    if box.missing:
        lines.append(f"missing   could not be read: {', '.join(box.missing)}")
    return lines + _log("agent", box.lines) + _log("gateway", bundle.gateway.lines)


def meaning(code: str) -> str:
    """A code, and what it means where that is known."""
    return f"{code} ({WORDS[code]})" if code in WORDS else code


def _because(code: str | None) -> str:
    return f", {meaning(code)}" if code is not None else ""


def _appraisal(box: BoxPart) -> list[str]:
    tpm = box.tpm
    lines = []
    if box.appraisal is not None:
        lines = [f"boot      {_where(one)}{meaning(one.code)}{_digests(one)}" for one in box.appraisal.findings]
        lines = lines or ["boot      its logs are as the release expects"]
    if tpm is not None:
        maker = bytes.fromhex(tpm.manufacturer).decode("ascii", errors="replace").rstrip("\0 ")
        lines.append(
            f"tpm       {tpm.tier.value if tpm.tier else 'tier unknown'}, {maker}, firmware {tpm.firmware}; clock "
            f"{_hours(tpm.clock_ms // 1000)}{'' if tpm.is_safe else ' (not safe)'}, {tpm.reset_count} resets"
        )
    return lines


def _where(one: Finding) -> str:
    parts = [f"event {one.event} of the {one.log} log"] if one.event is not None else []
    parts += [f"PCR {one.pcr}"] if one.pcr is not None else []
    return f"{', '.join(parts)}: " if parts else ""


def _digests(one: Finding) -> str:
    return "".join(f"; {name} {value}" for name, value in (("expected", one.expected), ("found", one.found)) if value)


def _rights(box: BoxPart) -> list[str]:
    lines = []
    if box.lease is not None:
        warned = f"; warns of {', '.join(box.lease.warnings)}" if box.lease.warnings else ""
        lines.append(f"lease     number {box.lease.number}, until {_moment(box.lease.expires_at)}{warned}")
    if box.budget is not None:
        left = (("licence", box.budget.license_left_s), ("running time", box.budget.budget_left_s),
                ("lease", box.budget.lease_left_s))  # fmt: skip
        lines.append(f"left      {', '.join(f'{name} {_hours(left_s)}' for name, left_s in left)}")
    lines += [f"renewal   {meaning(box.renewal)}"] if box.renewal else []
    return lines + ([f"metering  {meaning(box.metering_report)}"] if box.metering_report else [])


def _contents(box: BoxPart, gateway: GatewayPart) -> list[str]:
    lines = [f"payload   {one.id} [{one.domain}], {one.kind}: {one.state}{_because(one.code)}" for one in box.payloads]
    lines += [f"workload  {one.id} [{one.domain}]: {one.run}" for one in box.workloads]
    lines += [f"domain    {one.name}, {one.level}: {one.files} files, {one.bytes} bytes" for one in box.domains or []]
    lines += [
        f"load      {one.model}: {'answers' if one.ready else 'does not answer'}, "
        f"{one.running} of {one.places} running, {one.waiting} waiting"
        for one in gateway.load
    ]
    lines += [f"copying   a key at {one.model}: {one.sign}, level {one.level}" for one in box.alarms or []]
    if box.keys is not None:
        lines.append(f"keys      {box.keys.administrators} of administrators, {box.keys.others} others")
    if box.metering is not None:
        lines.append(f"receipts  {box.metering.waiting} wait")
        lines += [
            f"usage     {one.model}: {one.requests} requests, {one.prompt_tokens} + {one.completion_tokens} tokens"
            for one in box.metering.usage
        ]
    return lines


def _machine(box: BoxPart) -> list[str]:
    machine = box.machine
    if machine is None:
        return []
    state = ""
    if machine.state_bytes is not None and machine.state_free_bytes is not None:
        state = f"; state volume {machine.state_free_bytes // _MIB} of {machine.state_bytes // _MIB} MiB free"
    memory = f"{machine.memory_free_bytes // _MIB} of {machine.memory_bytes // _MIB} MiB free"
    return [f"machine   {machine.processors} processors, memory {memory}{state}"]


def _log(process: str, lines: Iterable[LinePart]) -> list[str]:
    return [
        f"{process:9} {_moment(one.at)} {one.level}"
        + "".join(
            f" {name}={value}"
            for name in ("event", "model", "code", "count", "source", "place", "error")
            if (value := getattr(one, name)) is not None
        )
        for one in lines
    ]


def _moment(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _hours(seconds: int) -> str:
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"
