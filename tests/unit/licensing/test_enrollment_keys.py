"""Keys of an enrolment: a TPM that a maker vouches for, and an AK, SRK and counters that are in it."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from sealwright_licensing.endorsement import Tier
from sealwright_policies.errors import RejectionCode
from sealwright_policies.wire.messages import Purpose
from sealwright_testing.denials import denied
from sealwright_testing.evidence_factory import LEASE_INDEX, TICK_INDEX
from sealwright_testing.license_checks import challenge, pending, seats_taken
from sealwright_testing.license_world import LicenseWorld
from sealwright_testing.maker_ca import MakerCa, der
from sealwright_testing.software_device import SoftwareDevice, srk_area
from sealwright_testing.software_tpm import AK_ATTRIBUTES, RH_ENDORSEMENT, SoftwareAk

# --- the TPM's maker --------------------------------------------------------------------------------------------------


def test_an_unknown_maker_is_denied_before_anything_is_written(world: LicenseWorld) -> None:
    _, (code,) = world.issue()
    stranger = SoftwareDevice(world.box, MakerCa("Stranger"))
    denied(RejectionCode.EK_CHAIN_INVALID, lambda: challenge(world, stranger, code))
    assert pending(world) == 0


def test_a_makers_name_with_another_key_is_denied(world: LicenseWorld) -> None:
    """The attacker's CA has the trusted one's names."""
    _, (code,) = world.issue()
    forger = SoftwareDevice(world.box, MakerCa())
    denied(RejectionCode.EK_CHAIN_INVALID, lambda: challenge(world, forger, code))


def test_the_tier_must_be_one_of_the_licence(world: LicenseWorld) -> None:
    _, (code,) = world.issue(tiers=[Tier.DISCRETE, Tier.FIRMWARE])
    denied(RejectionCode.TIER_NOT_ALLOWED, lambda: challenge(world, world.device(), code))
    assert pending(world) == 0


def test_another_certified_key_than_the_ek_is_denied(world: LicenseWorld) -> None:
    """Somebody else's genuine EK certificate."""
    _, (code,) = world.issue()
    other = world.device(1)
    certificates = [der(other.ek_certificate), der(world.maker.intermediate)]
    denied(RejectionCode.EK_KEY_MISMATCH, lambda: challenge(world, world.device(0), code, ek_certificates=certificates))


def test_nv_padding_behind_the_certificate_is_dropped(world: LicenseWorld) -> None:
    _, (code,) = world.issue()
    device = world.device()
    padded = [der(device.ek_certificate) + b"\xff" * 100, der(world.maker.intermediate)]
    assert challenge(world, device, code, ek_certificates=padded).device_id == device.device_id


# --- keys -------------------------------------------------------------------------------------------------------------


def test_an_unrestricted_ak_is_denied(world: LicenseWorld) -> None:
    """It would sign whatever the owner writes."""
    _, (code,) = world.issue()
    device = world.device()
    device.ak = SoftwareAk(attributes=AK_ATTRIBUTES & ~0x10000)
    denied(RejectionCode.AK_ATTRIBUTES, lambda: challenge(world, device, code))


def test_an_exportable_srk_is_denied(world: LicenseWorld) -> None:
    """Attacker-made parent with fixedTPM cleared: it could be duplicated to a key outside."""
    _, (code,) = world.issue()
    device = world.device()
    area = srk_area(device.srk, attributes=0x00030470)
    denied(RejectionCode.SRK_TEMPLATE, lambda: challenge(world, device, code, srk_public=area))


def test_a_relayed_credential_does_not_open(world: LicenseWorld) -> None:
    """An honest box's EK with the attacker's AK: the honest TPM does not hold that AK, so it refuses."""
    _, (code,) = world.issue()
    honest = world.device()
    attacker = SoftwareAk()
    asked = challenge(world, honest, code, ak_public=attacker.public_area)
    with pytest.raises(ValueError, match="INTEGRITY"):
        honest.open_credential(asked)


def test_a_guessed_secret_is_denied(world: LicenseWorld) -> None:
    _, (code,) = world.issue()
    device = world.device()
    proof = device.proof(challenge(world, device, code), secret=bytes(32))
    denied(RejectionCode.CREDENTIAL_SECRET_MISMATCH, lambda: world.enrollment.prove(proof, now=world.now))
    assert seats_taken(world) == 0


@pytest.mark.parametrize("parent", [RH_ENDORSEMENT, 0x4000000C, 0x40000007])
def test_an_srk_under_another_hierarchy_is_denied(world: LicenseWorld, parent: int) -> None:
    """Endorsement survives TPM2_Clear, Platform and NULL are the firmware's and nobody's (tried)."""
    _, (code,) = world.issue()
    device = world.device()
    proof = device.proof(challenge(world, device, code), parent=parent)
    denied(RejectionCode.SRK_HIERARCHY, lambda: world.enrollment.prove(proof, now=world.now))


def test_another_certified_storage_key_is_denied(world: LicenseWorld) -> None:
    """The SRK in the request is the attacker's, outside any TPM; the TPM certifies its own."""
    _, (code,) = world.issue()
    device = world.device()
    real = srk_area(device.srk)
    device.srk = ec.generate_private_key(ec.SECP256R1())
    asked = challenge(world, device, code)
    proof = device.proof(asked, certified=real)
    denied(RejectionCode.SRK_NAME_MISMATCH, lambda: world.enrollment.prove(proof, now=world.now))


def test_an_ak_outside_the_endorsement_hierarchy_is_denied(world: LicenseWorld) -> None:
    """Under Owner the TPM obfuscates resetCount and restartCount."""
    _, (code,) = world.issue()
    device = world.device()
    device.ak = SoftwareAk(hierarchy=0x40000001)
    device.box.ak = device.ak
    proof = device.proof(challenge(world, device, code))
    denied(RejectionCode.SIGNER_NOT_ENDORSEMENT, lambda: world.enrollment.prove(proof, now=world.now))


@pytest.mark.parametrize("counter", ["tick_counter", "lease_counter"])
def test_a_counter_that_can_be_reset_is_denied(world: LicenseWorld, counter: str) -> None:
    _, (code,) = world.issue()
    device = world.device()
    asked = challenge(world, device, code)
    index = TICK_INDEX if counter == "tick_counter" else LEASE_INDEX
    extra = device.bound(nonce=asked.nonce, license_id=asked.license_id, purpose=Purpose.ENROLL)
    orderly = device.ak.nv_certify(1, index=index, extra=extra, clock=device.clock, attributes=0x26040014)
    proof = (
        device.proof(asked, tick_counter=orderly) if index == TICK_INDEX else device.proof(asked, lease_counter=orderly)
    )
    denied(RejectionCode.COUNTER_INVALID, lambda: world.enrollment.prove(proof, now=world.now))


def test_a_proof_for_another_enrolment_is_denied(world: LicenseWorld) -> None:
    """Replayed evidence: same device, same licence, the nonce of the challenge before."""
    _, (code,) = world.issue()
    device = world.device()
    old, new = challenge(world, device, code), challenge(world, device, code)
    replayed = device.proof(old).model_copy(
        update={"enrollment_id": new.enrollment_id, "secret": device.open_credential(new)}
    )
    denied(RejectionCode.QUALIFYING_DATA_MISMATCH, lambda: world.enrollment.prove(replayed, now=world.now))
    assert seats_taken(world) == 0
