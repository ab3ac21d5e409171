"""Verifying what the AK signed in one evidence message: the quote and both counters (policies/spec/appraisal.md).

Mismatches are collected, not raised, so that a denial names all of them; but nothing unverified leaves this module.
"""

from __future__ import annotations

from dataclasses import dataclass

from sealwright_policies.appraisal.mismatch import Mismatch
from sealwright_policies.appraisal.reference_values import QUOTE_SET
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.tcg.attestation import VerifiedCounter, VerifiedQuote, verify_nv_certify, verify_quote
from sealwright_policies.tcg.nv import parse_nv_public
from sealwright_policies.tcg.public import Hierarchy, Public, qualified_name
from sealwright_policies.wire.encoding import pcr_bytes
from sealwright_policies.wire.messages import CounterAttestation, Evidence


@dataclass(frozen=True, slots=True)
class VerifiedEvidence:
    """What is proven, and what is not: a member is None if its structure did not verify."""

    quote: VerifiedQuote | None
    tick_counter: VerifiedCounter | None
    lease_counter: VerifiedCounter | None
    mismatches: tuple[Mismatch, ...]


def verify_evidence(evidence: Evidence, ak: Public, qualifying_data: bytes) -> VerifiedEvidence:
    """Verify all three structures.

    Raises:
        FormatError: a structure is malformed.
        UnsupportedError: an algorithm that we do not know.
    """
    mismatches: list[Mismatch] = []
    quote = _verify_quote(evidence, ak, qualifying_data, mismatches)
    ticks = _verify_counter(evidence.tick_counter, ak, qualifying_data, "tick", mismatches)
    lease = _verify_counter(evidence.lease_counter, ak, qualifying_data, "lease", mismatches)
    if ticks is not None and lease is not None and ticks.name == lease.name:
        mismatches.append(Mismatch(RejectionCode.COUNTER_INVALID, "One NV index stands for both counters."))
    for name, counter in (("tick", ticks), ("lease", lease)):
        if quote is not None and counter is not None:
            mismatches += _judge_same_boot(quote, counter, name)
    return VerifiedEvidence(quote, ticks, lease, tuple(mismatches))


def _verify_quote(
    evidence: Evidence, ak: Public, qualifying_data: bytes, mismatches: list[Mismatch]
) -> VerifiedQuote | None:
    pcrs = pcr_bytes(evidence.pcrs)
    try:
        quote = verify_quote(
            ak,
            evidence.quote.attest,
            evidence.quote.signature,
            qualifying_data=qualifying_data,
            pcrs=pcrs,
            selection=QUOTE_SET,
        )
        if tuple(sorted(pcrs)) != QUOTE_SET:
            raise VerificationError(
                RejectionCode.PCR_SELECTION_MISMATCH, "values are given for PCRs that were not quoted"
            )
        # resetCount and restartCount in a quote are the TPM's own only under the Endorsement hierarchy.
        expected = qualified_name(Hierarchy.ENDORSEMENT, ak.name)
        if quote.qualified_signer != expected:
            raise VerificationError(
                RejectionCode.SIGNER_NOT_ENDORSEMENT,
                "the quoting key is not a primary key of the Endorsement hierarchy",
                expected=expected.hex(),
                found=quote.qualified_signer.hex(),
            )
    except VerificationError as error:
        mismatches.append(Mismatch.of(error))
        return None
    return quote


def _verify_counter(
    counter: CounterAttestation, ak: Public, qualifying_data: bytes, name: str, mismatches: list[Mismatch]
) -> VerifiedCounter | None:
    try:
        return verify_nv_certify(
            ak,
            counter.attest,
            counter.signature,
            qualifying_data=qualifying_data,
            nv_public=parse_nv_public(counter.nv_public),
        )
    except VerificationError as error:
        found = Mismatch.of(error)
        mismatches.append(
            Mismatch(found.code, f"The {name} counter: {found.sentence}", expected=found.expected, found=found.found)
        )
        return None


def _judge_same_boot(quote: VerifiedQuote, counter: VerifiedCounter, name: str) -> list[Mismatch]:
    quoted = (quote.clock_info.reset_count, quote.clock_info.restart_count)
    certified = (counter.clock_info.reset_count, counter.clock_info.restart_count)
    if quoted == certified:
        return []
    return [
        Mismatch(
            RejectionCode.COUNTER_INVALID,
            f"The {name} counter was certified in another boot than the quote.",
            expected=f"resetCount {quoted[0]}, restartCount {quoted[1]}",
            found=f"resetCount {certified[0]}, restartCount {certified[1]}",
        )
    ]
