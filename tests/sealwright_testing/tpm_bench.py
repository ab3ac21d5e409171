"""Figures of the TPM's part of a boot and of a renewal, on a software TPM: our own cost, not that of a TPM chip."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from sealwright_appliance.tpm_evidence import BootLogs, collect_evidence
from sealwright_appliance.tpm_keys import attestation_key, endorsement_key
from sealwright_appliance.tpm_provision import ProvisionedTpm, open_provisioned_tpm
from sealwright_appliance.tpm_unseal import Authorization, seal, state_assertions, unseal
from sealwright_policies.tcg.policy import (
    EMPTY_POLICY,
    CommandCode,
    external_signing_key,
    policy_authorize,
    policy_command_code,
    policy_pcr,
    sign_policy,
)
from sealwright_testing.bench import Figure, figure
from sealwright_testing.event_logs import LogWriter
from sealwright_testing.swtpm import SoftwareTpm

ROUNDS = 30
PCRS = (4, 7, 11, 12, 13, 14, 15)
REFERENCE = bytes(32)
AGAINST = "swtpm on this machine"


def measure_tpm() -> Iterable[Figure]:
    """Milliseconds of unsealing, of evidence, and of finding the endorsement key."""
    with tempfile.TemporaryDirectory(prefix="sealwright-bench-") as folder:
        software_tpm = SoftwareTpm.manufacture(Path(folder) / "tpm")
        with software_tpm, open_provisioned_tpm(software_tpm.tcti) as tpm:
            yield figure("unseal_ms", _sample(_unsealing(tpm)), "ms", against=AGAINST)
            logs = BootLogs(LogWriter().log([]), b"")
            with attestation_key(tpm.device) as ak:
                evidence = _sample(lambda: collect_evidence(tpm.device, ak, tpm.counters, lambda: logs, REFERENCE))
            yield figure("evidence_ms", evidence, "ms", against=AGAINST)
            yield figure("endorsement_key_ms", _sample(lambda: endorsement_key(tpm.device)), "ms", against=AGAINST)


def _unsealing(tpm: ProvisionedTpm) -> Callable[[], object]:
    key = ec.generate_private_key(ec.SECP256R1())
    public = external_signing_key(key.public_key())
    pcrs = tpm.device.read_pcrs(PCRS)
    policy = policy_command_code(policy_pcr(EMPTY_POLICY, pcrs), CommandCode.UNSEAL)
    authorization = Authorization(public, REFERENCE, policy, sign_policy(key, policy, REFERENCE))
    sealed = seal(tpm.device, tpm.srk, bytes(range(96)), policy_authorize(public.name, REFERENCE))
    name = tpm.srk.public.name
    return lambda: unseal(tpm.device, tpm.srk, sealed, state_assertions(pcrs), authorization, srk_name=name)


def _sample(action: Callable[[], object]) -> list[float]:
    action()
    samples = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        action()
        samples.append((time.perf_counter() - start) * 1e3)
    return samples
