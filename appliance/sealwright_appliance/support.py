"""What the agent puts into a support bundle (policies/spec/support-bundle.md, 3).

It is asked for when things are broken, so a part that cannot be read is named and left out.
"""

from __future__ import annotations

import os
import platform
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

from fastapi import FastAPI
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from sealwright_appliance.api_keys import ApiKeyError, ApiKeys
from sealwright_appliance.attempt_limiter import AttemptLimiter, Rate
from sealwright_appliance.files import read_file
from sealwright_appliance.flows.domain_files import DomainFiles
from sealwright_appliance.flows.own_domains import OwnDomains
from sealwright_appliance.metering.box_meter import BoxMeter
from sealwright_appliance.outflow.box_outflow import BoxOutflow
from sealwright_appliance.paths import Paths
from sealwright_appliance.recent_lines import RecentLines
from sealwright_appliance.renewal import Renewal
from sealwright_appliance.status import BoxStatus
from sealwright_appliance.status_board import StatusBoard
from sealwright_appliance.tpm_device import open_tpm
from sealwright_appliance.tpm_evidence import read_boot_logs
from sealwright_policies.appraisal.appraise import judge_boot
from sealwright_policies.appraisal.boot_logs import replay_quote_set
from sealwright_policies.appraisal.boot_variants import VARIANTS_LIMIT, verify_variants
from sealwright_policies.appraisal.reference_values import QUOTE_SET
from sealwright_policies.errors import OperationError, RejectionCode, SealwrightError
from sealwright_policies.metering.receipt import UsageRow
from sealwright_policies.support import (
    FINDINGS_MOST,
    PAYLOADS_MOST,
    AlarmPart,
    AppraisalPart,
    BootPart,
    BoxPart,
    BudgetPart,
    DomainPart,
    Finding,
    KeysPart,
    LeasePart,
    MachinePart,
    MeteringPart,
    PayloadPart,
    Software,
    SupportRelease,
    TpmPart,
    UsagePart,
    WorkloadPart,
    code_of,
    digest_of,
    version_of,
)
from sealwright_policies.tcg.eventlog import parse_event_log, parse_userspace_log
from sealwright_policies.tpm_tier import TpmTier
from sealwright_policies.wire.device_certificate import verify_device_certificate
from sealwright_policies.wire.encoding import Document, pcr_values

T = TypeVar("T")
TPM_WAIT_S = 20.0
"""A renewal that hangs has the TPM, and a bundle is wanted just then."""
EACH, ALL = Rate(at_once=3, every_s=20.0), Rate(at_once=30, every_s=3.0)
"""Of bundles without a key, as of evidence (:mod:`.customer_evidence`)."""
MANUFACTURER, FIRMWARE_1, FIRMWARE_2 = 0x105, 0x10B, 0x10C
"""TPM_PT (Part 2, 6.13)."""


class SupportRequest(Document):
    """``POST /support``."""

    admin_key: Annotated[str, Field(max_length=64)]
    peer: Annotated[str, Field(max_length=64)]
    """The asker's address, by the gateway's word."""


@dataclass
class BoxSupport:
    """Collects the agent's part. Safe to use from several threads."""

    paths: Paths
    board: StatusBoard
    api_keys: ApiKeys
    outflow: BoxOutflow
    recent: RecentLines
    tpm_lock: threading.Lock
    calendar: Callable[[], int]
    """Seconds since the epoch, as far as they are known."""
    state_volume_open: bool
    domains_open: bool
    renewal: Renewal | None = None
    """None before activation."""
    meter: BoxMeter | None = None
    limiter: AttemptLimiter = field(default_factory=lambda: AttemptLimiter(each=EACH, everybody=ALL))
    steady: Callable[[], float] = time.monotonic

    def part(self, admin_key: str, peer: str) -> BoxPart:
        """For whoever may have it.

        Raises:
            ApiKeyError: 403, that is not an administrator's key; 429, too often without one.
        """
        if self.state_volume_open:
            self.api_keys.require_admin(admin_key)
        elif not self.limiter.admit(peer, self.steady()):
            raise ApiKeyError(429, "RATE_LIMITED", "The box was asked for support bundles too often; wait a minute.")
        return _Collection(self).part()


class _Collection:
    """One bundle in the making."""

    def __init__(self, support: BoxSupport) -> None:
        self._of = support
        self._own = OwnDomains(support.paths)
        self._missing: list[str] = []

    def part(self) -> BoxPart:
        """All of it."""
        of, status = self._of, self._of.board.status
        open_ = of.state_volume_open
        tpm = self._read("tpm", self._tpm)
        return BoxPart(
            software=software(),
            device_id=status.device_id,
            license_id=of.renewal.identity.license_id if of.renewal is not None else None,
            release=SupportRelease(**status.release.model_dump()) if status.release is not None else None,
            boot=BootPart(
                state=status.state.value, code=code_of(status.code), since=status.since, running_s=int(of.steady())
            ),
            appraisal=self._read("appraisal", lambda: self._appraisal(tpm)),
            tpm=tpm,
            lease=lease_part(status),
            budget=budget_part(status),
            renewal=code_of(status.renewal),
            metering_report=code_of(status.metering),
            payloads=[
                PayloadPart(id=one.payload_id, kind=one.kind, domain=one.domain, state=one.state.value,
                            code=code_of(one.code))
                for one in status.payloads
            ],
            workloads=[
                WorkloadPart(id=one.payload_id, domain=one.domain, run=one.run.value) for one in status.workloads
            ],
            domains=self._read("domains", self._domains),
            keys=self._read("keys", self._keys) if open_ else None,
            alarms=self._read("alarms", self._alarms) if open_ else None,
            metering=self._read("metering", self._metering) if of.meter is not None else None,
            machine=self._read("machine", self._machine),
            lines=of.recent.lines(),
            missing=self._missing,
        )  # fmt: skip

    def _read(self, name: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except (SealwrightError, OSError):
            self._missing.append(name)
            return None

    def _tpm(self) -> TpmPart:
        with _held(self._of.tpm_lock), open_tpm(self._of.paths.tcti) as tpm:
            clock, pcrs = tpm.read_clock(), tpm.read_pcrs(QUOTE_SET)
            properties = tpm.properties(MANUFACTURER, FIRMWARE_2)
        return TpmPart(
            tier=self._read("tier", self._tier),
            manufacturer=f"{properties.get(MANUFACTURER, 0):08x}",
            firmware=f"{properties.get(FIRMWARE_1, 0):08x}{properties.get(FIRMWARE_2, 0):08x}",
            clock_ms=clock.clock_ms,
            reset_count=clock.reset_count,
            restart_count=clock.restart_count,
            is_safe=clock.safe,
            pcrs=pcr_values(pcrs),
        )

    def _tier(self) -> TpmTier | None:
        certificate = self._of.renewal.store.load_device_certificate() if self._of.renewal is not None else None
        if certificate is None:
            return None
        authority = self._own.anchors.service.device_ca
        return TpmTier(verify_device_certificate(certificate, authority, now=self._of.calendar()).tier)

    def _appraisal(self, tpm: TpmPart | None) -> AppraisalPart:
        paths, release = self._of.paths, self._own.release
        variants = read_file(paths.variants, VARIANTS_LIMIT)
        if variants:
            release = verify_variants(variants, self._own.anchors.manifest_key, release)
        logs = read_boot_logs(paths.firmware_log, paths.userspace_log)
        judged = judge_boot(parse_event_log(logs.firmware), parse_userspace_log(logs.userspace), release.measurements)
        replayed = pcr_values(replay_quote_set(logs.firmware, logs.userspace))
        findings = [
            Finding(code=RejectionCode.EVENT_LOG_REPLAY_MISMATCH.value, log=None, event=None, pcr=int(pcr),
                    expected=replayed[pcr], found=value)
            for pcr, value in (tpm.pcrs if tpm is not None else {}).items()
            if replayed[pcr] != value
        ]  # fmt: skip
        findings += [
            Finding(code=one.code.value, log=one.log, event=one.event_index, pcr=one.pcr,
                    expected=digest_of(one.expected), found=digest_of(one.found))
            for one in judged.mismatches
        ]  # fmt: skip
        return AppraisalPart(findings=findings[:FINDINGS_MOST])

    def _domains(self) -> list[DomainPart]:
        held = DomainFiles.of_boot(self._of.paths, are_open=self._of.domains_open).held()
        return [
            DomainPart(
                name=one.name,
                level=one.level,
                digest=one.digest,
                files=sum(other.file.domain == one.name for other in held),
                bytes=sum(other.file.size for other in held if other.file.domain == one.name),
            )
            for one in self._own.release.manifest.domains
        ]

    def _keys(self) -> KeysPart:
        keys = self._of.api_keys.load().keys
        administrators = sum(one.admin for one in keys)
        return KeysPart(administrators=administrators, others=len(keys) - administrators)

    def _alarms(self) -> list[AlarmPart]:
        told = sorted((one for one in self._of.outflow.states().states if one.level), key=lambda one: -one.level)
        return [AlarmPart(model=one.model, sign=code_of(one.sign), level=one.level) for one in told[:PAYLOADS_MOST]]

    def _metering(self) -> MeteringPart | None:
        meter = self._of.meter
        if meter is None:
            return None
        rows = meter.journal().rows
        models = sorted({row.model for row in rows})
        return MeteringPart(waiting=meter.waiting(), usage=[usage(model, rows) for model in models])

    def _machine(self) -> MachinePart:
        page = os.sysconf("SC_PAGE_SIZE")
        room = os.statvfs(self._of.paths.state) if self._of.state_volume_open else None
        return MachinePart(
            processors=os.cpu_count() or 0,
            memory_bytes=page * os.sysconf("SC_PHYS_PAGES"),
            memory_free_bytes=page * os.sysconf("SC_AVPHYS_PAGES"),
            state_bytes=room.f_frsize * room.f_blocks if room is not None else None,
            state_free_bytes=room.f_frsize * room.f_bavail if room is not None else None,
        )


def software() -> Software:
    """Versions of what runs beside our own, which the release names."""
    words = [*ssl.OPENSSL_VERSION.split(), "", ""]
    return Software(
        kernel=version_of(os.uname().release),
        python=version_of(platform.python_version()),
        openssl=version_of(words[1]),
    )


def usage(model: str, rows: list[UsageRow]) -> UsagePart:
    """What a model has served to all keys together."""
    of_model = [row for row in rows if row.model == model]
    counted = ("requests", "prompt_tokens", "completion_tokens", "busy_ms")
    return UsagePart(model=model, **{name: sum(getattr(row, name) for row in of_model) for name in counted})


def lease_part(status: BoxStatus) -> LeasePart | None:
    """The lease, without its warnings' sentences."""
    lease = status.lease
    if lease is None:
        return None
    values = {name: getattr(lease, name) for name in LeasePart.model_fields if name != "warnings"}
    return LeasePart(**values, warnings=[code for one in lease.warnings if (code := code_of(one.code)) is not None])


def budget_part(status: BoxStatus) -> BudgetPart | None:
    """What is left, likewise."""
    budget = status.budget
    if budget is None:
        return None
    values = {name: getattr(budget, name) for name in BudgetPart.model_fields if name != "warning"}
    return BudgetPart(**values, warning=code_of(budget.warning))


@contextmanager
def _held(lock: threading.Lock) -> Iterator[None]:
    """A lock that is not waited for for ever."""
    if not lock.acquire(timeout=TPM_WAIT_S):
        raise OperationError("The TPM is busy.")
    try:
        yield
    finally:
        lock.release()


def add_support(app: FastAPI, support: BoxSupport) -> None:
    """Add the route."""

    @app.post("/support")
    async def part(asked: SupportRequest) -> BoxPart:
        return await run_in_threadpool(support.part, asked.admin_key, asked.peer)
