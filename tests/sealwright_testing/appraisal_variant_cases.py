"""Vectors of ways through PCR 4 that were signed after the build, good ones and such as nobody should believe."""

from __future__ import annotations

from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric import ec

from sealwright_policies.appraisal.boot_variants import sign_variants
from sealwright_policies.appraisal.boot_ways import BOOT_OPTION
from sealwright_policies.appraisal.measurements import replay
from sealwright_policies.appraisal.reference_values import BootApplication
from sealwright_policies.errors import RejectionCode as Code
from sealwright_policies.tcg.eventlog import EventType as T
from sealwright_testing.appraisal_case import Case, before_uki
from sealwright_testing.event_logs import LoggedEvent
from sealwright_testing.evidence_factory import SyntheticBox


def variant_cases() -> dict[str, Case]:
    """Section 5.5, with a way that was signed after the build."""
    omitted = b"BOOT ATTEMPTS OMITTED"
    evidence = before_uki(LoggedEvent(4, T.EV_OMIT_BOOT_DEVICE_EVENTS, omitted))

    def way(box: SyntheticBox) -> BootApplication:
        return box.way(*BOOT_OPTION, omitted)

    def of_another_release(box: SyntheticBox) -> bytes:
        other = replace(box.release, release_id="00" * 32, variants=(way(box),))
        return sign_variants(other, box.manifest_key)

    def to_another_value(box: SyntheticBox) -> bytes:
        return box.variants(way(box).model_copy(update={"pcr4": "00" * 32}))

    def past_the_uki(box: SyntheticBox) -> bytes:
        tool = bytes(32)
        return box.variants(BootApplication(name="later", events=[tool.hex()], pcr4=replay([tool]).hex()))

    signature, mismatch = Code.DOCUMENT_SIGNATURE, Code.MANIFEST_MISMATCH
    wrong = {
        "by-another-key": (
            "signed by another key",
            lambda box: box.variants(way(box), key=ec.generate_private_key(ec.SECP256R1())),
            signature,
        ),
        "of-another-release": ("signed for another release", of_another_release, mismatch),
        "to-another-value": ("of events that do not give its value", to_another_value, mismatch),
        "past-the-uki": ("that does not lead to the UKI", past_the_uki, mismatch),
    }
    return {
        "variant-missing": Case(
            "the firmware measured something more, and no way was signed", "5.5", evidence, (Code.BOOT_APPLICATION,) * 2
        ),
        "variant-good": Case(
            "the same, and the way was signed later", "5.5", evidence, variants=lambda box: box.variants(way(box))
        ),
        "variant-of-other-boot": Case(
            "a way was signed later, but another was taken",
            "5.5",
            before_uki(LoggedEvent(4, T.EV_EFI_ACTION, b"another")),
            (Code.BOOT_APPLICATION,) * 2,
            variants=lambda box: box.variants(way(box)),
        ),
    } | {
        f"variant-{name}": Case(f"a way {description}", "5.5", evidence, (code,), variants=variants)
        for name, (description, variants, code) in wrong.items()
    }
