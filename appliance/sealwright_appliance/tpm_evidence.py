"""What the box says about itself, in attestation structures signed by the AK (policies/spec/attestation.md).

Structures are handed on as the TPM made them; the licence service appraises. This side looks at them only to catch the
box reading its logs while something is being measured.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tpm2_pytss.constants import TPM2_ALG
from tpm2_pytss.types import TPM2B_ATTEST, TPMT_SIG_SCHEME, TPMT_SIGNATURE

from sealwright_appliance.tpm_counters import Counter, Counters
from sealwright_appliance.tpm_device import TpmDevice, selection_text
from sealwright_appliance.tpm_keys import AttestationKey, StorageKey
from sealwright_policies.appraisal.reference_values import QUOTE_SET
from sealwright_policies.errors import FormatError, OperationError, UnsupportedError
from sealwright_policies.tcg.attest import QuoteInfo, parse_attest
from sealwright_policies.tcg.eventlog import parse_event_log
from sealwright_policies.tcg.nv import COUNTER_SIZE
from sealwright_policies.tcg.pcr import initial_value
from sealwright_policies.tcg.userspacelog import parse_userspace_log
from sealwright_policies.wire.encoding import KIB, pcr_values
from sealwright_policies.wire.messages import Attestation, CounterAttestation, Evidence

READINGS = 10
"""How often quote and logs are read again while they disagree."""
LOG_LIMIT = KIB * KIB
"""Bytes of a log that a message carries."""


@dataclass(frozen=True, slots=True)
class BootLogs:
    """Both measurement logs, as read."""

    firmware: bytes
    userspace: bytes


def read_boot_logs(firmware: Path, userspace: Path) -> BootLogs:
    """Read the firmware's log from securityfs and systemd's from /run; the latter may not exist.

    Raises:
        OperationError: the kernel shows no firmware log, or one of them cannot be read.
    """
    try:
        with firmware.open("rb") as file:
            firmware_log = file.read(LOG_LIMIT + 1)
    except OSError as error:
        raise OperationError(
            f"The firmware's event log cannot be read from {firmware}: {error.strerror}.",
            cure="Enable the TPM and UEFI boot in the firmware setup.",
        ) from None
    try:
        with userspace.open("rb") as file:
            userspace_log = file.read(LOG_LIMIT + 1)
    except FileNotFoundError:
        userspace_log = b""
    except OSError as error:
        raise OperationError(f"systemd's measurement log cannot be read from {userspace}: {error.strerror}.") from None
    if max(len(firmware_log), len(userspace_log)) > LOG_LIMIT:
        raise OperationError(f"An event log is longer than {LOG_LIMIT} bytes.")
    return BootLogs(firmware_log, userspace_log)


def collect_evidence(
    tpm: TpmDevice,
    ak: AttestationKey,
    counters: Counters,
    read_logs: Callable[[], BootLogs],
    qualifying_data: bytes,
    *,
    payload: bytes = b"",
) -> Evidence:
    """Quote the PCRs, certify the tick and lease counters, and add the logs that lead to the quoted values.

    Quote and logs are read again until they agree, a bounded number of times. If they never do, the last reading is
    sent as it is: the service then says which PCR the log does not explain.
    """
    for _ in range(READINGS):
        values = tpm.read_pcrs(QUOTE_SET)
        quote = _quote(tpm, ak, qualifying_data)
        logs = read_logs()
        if _quoted_digest(quote) == _digest(values) and replayed(logs) == values:
            break
    return Evidence(
        quote=quote,
        pcrs=pcr_values(values),
        boot_log=logs.firmware,
        userspace_log=logs.userspace,
        tick_counter=_certify_counter(tpm, ak, counters.ticks, qualifying_data),
        lease_counter=_certify_counter(tpm, ak, counters.lease, qualifying_data),
        payload=payload,
    )


def quote_state(tpm: TpmDevice, ak: AttestationKey, qualifying_data: bytes) -> tuple[Attestation, dict[int, bytes]]:
    """Quote the PCRs; returns the quote and the values that it is over.

    Raises:
        OperationError: they do not stand still.
    """
    for _ in range(READINGS):
        values = tpm.read_pcrs(QUOTE_SET)
        quote = _quote(tpm, ak, qualifying_data)
        if _quoted_digest(quote) == _digest(values):
            return quote, values
    raise OperationError("TPM, quote PCRs: they change while they are read.", cure="Try again.")


def certify_storage_key(tpm: TpmDevice, ak: AttestationKey, srk: StorageKey, qualifying_data: bytes) -> Attestation:
    """TPM2_Certify: the SRK is in the TPM of the AK, directly under its hierarchy."""
    attest, signature = tpm.call(
        "certify the storage key",
        tpm.esapi.certify,
        object_handle=srk.handle,
        sign_handle=ak.handle,
        qualifying_data=qualifying_data,
        in_scheme=_scheme(),
    )
    return _attestation(attest, signature)


def replayed(logs: BootLogs) -> dict[int, bytes] | None:
    """Values of the quoted PCRs by the logs; None where a log is cut off in mid-record or not of our kind."""
    try:
        userspace = parse_userspace_log(logs.userspace)
        values: Mapping[int, bytes] = userspace.replay(start=parse_event_log(logs.firmware).replay())
    except (FormatError, UnsupportedError):
        return None
    return {pcr: values.get(pcr, initial_value(pcr)) for pcr in QUOTE_SET}


def _quote(tpm: TpmDevice, ak: AttestationKey, qualifying_data: bytes) -> Attestation:
    attest, signature = tpm.call(
        "quote PCRs",
        tpm.esapi.quote,
        sign_handle=ak.handle,
        pcr_select=selection_text(QUOTE_SET),
        qualifying_data=qualifying_data,
        in_scheme=_scheme(),
    )
    return _attestation(attest, signature)


def _certify_counter(
    tpm: TpmDevice, ak: AttestationKey, counter: Counter, qualifying_data: bytes
) -> CounterAttestation:
    attest, signature = tpm.call(
        "certify a counter",
        tpm.esapi.nv_certify,
        sign_handle=ak.handle,
        nv_index=counter.handle,
        qualifying_data=qualifying_data,
        in_scheme=_scheme(),
        size=COUNTER_SIZE,
        offset=0,
        auth_handle=counter.handle,
    )
    plain = _attestation(attest, signature)
    return CounterAttestation(attest=plain.attest, signature=plain.signature, nv_public=counter.public.area)


def _scheme() -> TPMT_SIG_SCHEME:
    """The AK's own scheme."""
    return TPMT_SIG_SCHEME(scheme=TPM2_ALG.NULL)


def _attestation(attest: TPM2B_ATTEST, signature: TPMT_SIGNATURE) -> Attestation:
    return Attestation(attest=bytes(attest), signature=signature.marshal())


def _quoted_digest(quote: Attestation) -> bytes | None:
    attested = parse_attest(quote.attest).attested
    return attested.pcr_digest if isinstance(attested, QuoteInfo) else None


def _digest(values: Mapping[int, bytes]) -> bytes:
    """PcrDigest of a quote: over the values in PCR order (Part 2, 10.12.4)."""
    return hashlib.sha256(b"".join(values[pcr] for pcr in sorted(values))).digest()
