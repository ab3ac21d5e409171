"""Support bundles for tests: one of a box in trouble, and the longest that there can be."""

from __future__ import annotations

from sealwright_policies.support import (
    FINDINGS_MOST,
    LINES_MOST,
    PAYLOADS_MOST,
    SUPPORT_TYPE,
    AlarmPart,
    AppraisalPart,
    BootPart,
    BoxPart,
    BudgetPart,
    DomainPart,
    Finding,
    GatewayPart,
    KeysPart,
    LeasePart,
    LinePart,
    MachinePart,
    MeteringPart,
    ModelLoad,
    PayloadPart,
    Software,
    SupportBundle,
    SupportRelease,
    TpmPart,
    UsagePart,
    WorkloadPart,
)
from sealwright_policies.tpm_tier import TpmTier

AT = 1_767_225_600
_ID, _WORD, _CODE = "i" * 64, "w" * 32, "C" * 64
_NUMBER, _COUNT, _SECONDS = 2**64 - 1, 2**48 - 1, 253_402_300_799
_DIGEST = "5e" * 32


def some_bundle() -> SupportBundle:
    """Of a box whose firmware started something else, and whose engine answers all the same."""
    finding = Finding(code="BOOT_APPLICATION", log="boot", event=12, pcr=4, expected=_DIGEST, found="5f" * 32)
    line = LinePart(at=AT, level="warning", source="sealwright", place=None, error="OSError", event="retention")
    box = BoxPart(
        missing=["metering"],
        software=Software(kernel="6.12.48+deb13-cloud-amd64", python="3.13.5", openssl="3.5.1"),
        device_id="d" * 52,
        license_id="license-1",
        release=SupportRelease(product="clinic", version="1.2", release_id=_DIGEST),
        boot=BootPart(state="serving", code=None, since=AT, running_s=7500),
        appraisal=AppraisalPart(findings=[finding]),
        tpm=TpmPart(
            tier=TpmTier.SOFTWARE, manufacturer=b"IBM\0".hex(), firmware="2024012500120000", clock_ms=7_500_000,
            reset_count=3, restart_count=0, is_safe=True, pcrs={"4": "5f" * 32},
        ),
        lease=LeasePart(
            lease_id="lease-7", number=7, issued_at=AT, expires_at=AT + 86_400, clock_end_ms=9, max_ticks=9,
            renew_after_s=60, max_request_s=600, warnings=["LICENSE_ENDS"],
        ),
        budget=BudgetPart(
            warning="LEASE_ENDS", level_days=1, license_left_s=86_400, budget_left_s=86_400, lease_left_s=86_400
        ),
        renewal="SERVICE_UNREACHABLE",
        metering_report="ok",
        payloads=[PayloadPart(id="medical", kind="model", domain="medical-model", state="serving", code=None)],
        workloads=[WorkloadPart(id="training", domain="oncology-training", run="failed")],
        domains=[DomainPart(name="medical-model", level="sealed", digest=_DIGEST, files=2, bytes=3)],
        keys=KeysPart(administrators=1, others=4),
        alarms=[AlarmPart(model="medical", sign="HARVEST", level=2)],
        metering=None,
        machine=MachinePart(
            processors=4, memory_bytes=1 << 33, memory_free_bytes=1 << 32, state_bytes=1 << 30, state_free_bytes=1 << 29
        ),
        lines=[line],
    )  # fmt: skip
    load = ModelLoad(model="medical", ready=True, running=1, places=4, waiting=7)
    return SupportBundle(type=SUPPORT_TYPE, made_at=AT, box=box, gateway=GatewayPart(load=[load], lines=[]))


def largest_bundle() -> SupportBundle:
    """Every list full, every text and number as long as it can be."""
    usage = UsagePart(
        model=_ID, requests=_COUNT, prompt_tokens=_COUNT, completion_tokens=_COUNT, busy_ms=_COUNT
    )  # fmt: skip
    finding = Finding(code=_CODE, log="userspace", event=_NUMBER, pcr=23, expected=_DIGEST, found=_DIGEST)
    line = LinePart(
        at=_SECONDS, level=_WORD, source="s" * 64, place="p" * 64 + ".py:999999", error="e" * 64, event=_WORD,
        model=_ID, code=_CODE, count=_NUMBER,
    )  # fmt: skip
    lines, few = [line] * LINES_MOST, PAYLOADS_MOST
    box = BoxPart(
        missing=[_WORD] * 16,
        software=Software(kernel="v" * 64, python="v" * 64, openssl="v" * 64),
        device_id="d" * 52,
        license_id=_ID,
        release=SupportRelease(product=_ID, version="1.2.3.4", release_id=_DIGEST),
        boot=BootPart(state=_WORD, code=_CODE, since=_SECONDS, running_s=_NUMBER),
        appraisal=AppraisalPart(findings=[finding] * FINDINGS_MOST),
        tpm=TpmPart(
            tier=TpmTier.DISCRETE, manufacturer="0" * 8, firmware="0" * 16, clock_ms=_NUMBER, reset_count=_NUMBER,
            restart_count=_NUMBER, is_safe=False, pcrs={str(pcr): _DIGEST for pcr in range(24)},
        ),
        lease=LeasePart(
            lease_id=_ID, number=_NUMBER, issued_at=_SECONDS, expires_at=_SECONDS, clock_end_ms=_NUMBER,
            max_ticks=_NUMBER, renew_after_s=_NUMBER, max_request_s=_NUMBER, warnings=[_CODE] * 16,
        ),
        budget=BudgetPart(
            warning=_CODE, level_days=_NUMBER, license_left_s=_NUMBER, budget_left_s=_NUMBER, lease_left_s=_NUMBER
        ),
        renewal=_CODE,
        metering_report=_CODE,
        payloads=[PayloadPart(id=_ID, kind=_WORD, domain=_ID, state=_WORD, code=_CODE)] * few,
        workloads=[WorkloadPart(id=_ID, domain=_ID, run=_WORD)] * few,
        domains=[DomainPart(name=_ID, level=_WORD, digest=_DIGEST, files=_NUMBER, bytes=_NUMBER)] * few,
        keys=KeysPart(administrators=_NUMBER, others=_NUMBER),
        alarms=[AlarmPart(model=_ID, sign=_CODE, level=_NUMBER)] * few,
        metering=MeteringPart(waiting=_NUMBER, usage=[usage] * few),
        machine=MachinePart(
            processors=_NUMBER, memory_bytes=_NUMBER, memory_free_bytes=_NUMBER, state_bytes=_NUMBER,
            state_free_bytes=_NUMBER,
        ),
        lines=lines,
    )  # fmt: skip
    load = ModelLoad(model=_ID, ready=False, running=_NUMBER, places=_NUMBER, waiting=_NUMBER)
    return SupportBundle(
        type=SUPPORT_TYPE, made_at=_SECONDS, box=box, gateway=GatewayPart(load=[load] * few, lines=lines)
    )
