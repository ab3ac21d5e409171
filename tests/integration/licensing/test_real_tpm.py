"""Attacks on an enrolment with real TPMs, over HTTPS: whatever their owner makes them say, it is not believed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from tpm2_pytss.constants import ESYS_TR
from tpm2_pytss.utils import NoSuchIndex, create_ek_template

from sealwright_appliance.license_client import DeniedError, LicenseClient
from sealwright_appliance.tpm_device import TpmDevice
from sealwright_appliance.tpm_errors import TpmError
from sealwright_appliance.tpm_evidence import certify_storage_key, collect_evidence, read_boot_logs
from sealwright_appliance.tpm_keys import (
    AttestationKey,
    EndorsementKey,
    StorageKey,
    activate_credential,
    attestation_key,
    endorsement_key,
)
from sealwright_appliance.tpm_provision import ProvisionedTpm, open_provisioned_tpm
from sealwright_policies.appraisal.reference_values import QUOTE_SET
from sealwright_policies.errors import RejectionCode
from sealwright_policies.tcg.srk import srk_template
from sealwright_policies.tcg.structures import parse_public
from sealwright_policies.wire.device_id import device_id
from sealwright_policies.wire.encoding import pcr_values
from sealwright_policies.wire.framing import qualifying_data
from sealwright_policies.wire.messages import (
    Attestation,
    EnrollmentChallenge,
    EnrollmentProof,
    EnrollmentRequest,
    Evidence,
    Grant,
    Purpose,
)
from sealwright_testing.maker_ca import MakerCa, der, pem
from sealwright_testing.simulated_box import SimulatedBox, SimulatedVendor, license_command
from sealwright_testing.software_device import srk_area
from sealwright_testing.swtpm import SoftwareTpm
from sealwright_testing.tpm_session import TpmSession

P256_CERTIFICATE_INDEX = 0x01C0000A


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedVendor]:
    made = SimulatedVendor(tmp_path_factory.mktemp("vendor"))
    with made.serving():
        yield made


@pytest.fixture(scope="module")
def box(vendor: SimulatedVendor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedBox]:
    """A box that is up and was never enrolled."""
    made = SimulatedBox.manufacture(vendor, tmp_path_factory.mktemp("box") / "box")
    made.boot()
    made.go_up()
    yield made
    made.tpm.kill()


@pytest.fixture
def hands(box: SimulatedBox, vendor: SimulatedVendor) -> Iterator[Hands]:
    """The box's owner, with all he can do to its TPM."""
    client = LicenseClient(vendor.service)
    with open_provisioned_tpm(box.paths.tcti) as tpm, attestation_key(tpm.device) as ak:
        yield Hands(box, client, tpm, ak, endorsement_key(tpm.device), vendor.issue().activation_code)
    client.close()


@dataclass
class Hands:
    """Sends enrolment messages, each part of which can be another."""

    box: SimulatedBox
    client: LicenseClient
    tpm: ProvisionedTpm
    ak: AttestationKey
    ek: EndorsementKey
    code: str

    @property
    def device(self) -> TpmDevice:
        return self.tpm.device

    def with_ek(self, ek: EndorsementKey) -> Hands:
        """The same with another EK and a new code."""
        return replace(self, ek=ek, code=self.box.vendor.issue().activation_code)

    def challenge(self, *, ak_public: bytes | None = None, srk_public: bytes | None = None) -> EnrollmentChallenge:
        return self.client.enroll(
            EnrollmentRequest(
                activation_code=self.code,
                ek_certificates=list(self.ek.certificates),
                ek_public=self.ek.public.area,
                ak_public=ak_public or self.ak.public.area,
                srk_public=srk_public or self.tpm.srk.public.area,
                release_id=self.box.vendor.release.release_id,
            )
        )

    def open(self, challenge: EnrollmentChallenge) -> bytes:
        return activate_credential(self.device, self.ek, self.ak, challenge.credential_blob, challenge.encrypted_secret)

    def bound(self, challenge: EnrollmentChallenge) -> bytes:
        return qualifying_data(
            nonce=challenge.nonce,
            device_id=device_id(self.ek.public.area),
            license_id=challenge.license_id,
            release_id=self.box.vendor.release.release_id,
            purpose=Purpose.ENROLL,
            payload=b"",
        )

    def evidence(self, challenge: EnrollmentChallenge) -> Evidence:
        paths = self.box.paths
        return collect_evidence(
            self.device,
            self.ak,
            self.tpm.counters,
            lambda: read_boot_logs(paths.firmware_log, paths.userspace_log),
            self.bound(challenge),
        )

    def prove(
        self,
        challenge: EnrollmentChallenge,
        *,
        secret: bytes | None = None,
        srk: StorageKey | None = None,
        evidence: Evidence | None = None,
    ) -> Grant:
        return self.client.prove(
            EnrollmentProof(
                enrollment_id=challenge.enrollment_id,
                secret=self.open(challenge) if secret is None else secret,
                srk_certify=certify_storage_key(self.device, self.ak, srk or self.tpm.srk, self.bound(challenge)),
                evidence=evidence or self.evidence(challenge),
            )
        )


def test_a_relayed_credential_does_not_open(hands: Hands) -> None:
    """An honest TPM as an oracle for the attacker's AK: the credential names an AK that it does not hold."""
    attacker = ec.generate_private_key(ec.SECP256R1())
    template = hands.ak.public.area[:-68]
    foreign = template + srk_area(attacker)[-68:]
    parse_public(foreign)
    challenge = hands.challenge(ak_public=foreign)
    with pytest.raises(TpmError):
        hands.open(challenge)
    with pytest.raises(DeniedError) as caught:
        hands.prove(challenge, secret=bytes(32))
    assert caught.value.code == RejectionCode.CREDENTIAL_SECRET_MISMATCH


def test_an_attacker_made_parent_is_denied(hands: Hands) -> None:
    """An "SRK" outside the TPM with every bit of the template; the TPM certifies only its own."""
    outside = srk_area(ec.generate_private_key(ec.SECP256R1()))
    challenge = hands.challenge(srk_public=outside)
    with pytest.raises(DeniedError) as caught:
        hands.prove(challenge)
    assert caught.value.code == RejectionCode.SRK_NAME_MISMATCH


@pytest.mark.parametrize("hierarchy", [ESYS_TR.ENDORSEMENT, ESYS_TR.NULL, ESYS_TR.PLATFORM])
def test_a_storage_key_of_another_hierarchy_is_denied(hands: Hands, hierarchy: int) -> None:
    """Same template, same TPM, certified by it: an Endorsement key would outlive TPM2_Clear and open old leases."""
    with hands.device.primary("make a key", srk_template(), hierarchy) as (handle, public):
        challenge = hands.challenge(srk_public=public.area)
        with pytest.raises(DeniedError) as caught:
            hands.prove(challenge, srk=StorageKey(handle, public, 0))
    assert caught.value.code == RejectionCode.SRK_HIERARCHY


def test_a_quote_over_other_pcrs_is_denied(hands: Hands) -> None:
    """A genuine quote over sixteen PCRs of the owner's choice, with the required ones' labels."""
    challenge = hands.challenge()
    honest = hands.evidence(challenge)
    selection = "sha256:" + ",".join(map(str, (*QUOTE_SET[:-2], 16, 23)))
    quoted = TpmSession(hands.device.esapi).quote(hands.ak.handle, selection, hands.bound(challenge))
    forged = honest.model_copy(update={"quote": Attestation(attest=quoted.attest, signature=quoted.signature)})
    with pytest.raises(DeniedError) as caught:
        hands.prove(challenge, evidence=forged)
    assert caught.value.code == RejectionCode.PCR_SELECTION_MISMATCH


def test_values_that_were_not_quoted_are_denied(hands: Hands) -> None:
    challenge = hands.challenge()
    honest = hands.evidence(challenge)
    values = {int(pcr): bytes.fromhex(value) for pcr, value in honest.pcrs.items()} | {15: bytes(32)}
    with pytest.raises(DeniedError) as caught:
        hands.prove(challenge, evidence=honest.model_copy(update={"pcrs": pcr_values(values)}))
    assert caught.value.code == RejectionCode.PCR_DIGEST_MISMATCH


def test_evidence_for_the_challenge_before_is_denied(hands: Hands) -> None:
    old, new = hands.challenge(), hands.challenge()
    with pytest.raises(DeniedError) as caught:
        hands.prove(new, evidence=hands.evidence(old))
    assert caught.value.code == RejectionCode.QUALIFYING_DATA_MISMATCH


def test_a_tpm_of_an_unknown_maker_is_denied(vendor: SimulatedVendor, tmp_path: Path) -> None:
    """swtpm with a CA of its own that nobody has trusted; its EK certificate is otherwise perfect."""
    with SoftwareTpm.manufacture(tmp_path / "tpm") as tpm, open_provisioned_tpm(tpm.tcti) as provisioned:
        with attestation_key(provisioned.device) as ak:
            ek = endorsement_key(provisioned.device)
            request = EnrollmentRequest(
                activation_code=vendor.issue().activation_code,
                ek_certificates=[*ek.certificates, _der(tpm.intermediate_certificates_pem)],
                ek_public=ek.public.area,
                ak_public=ak.public.area,
                srk_public=provisioned.srk.public.area,
                release_id=vendor.release.release_id,
            )
        client = LicenseClient(vendor.service)
        with pytest.raises(DeniedError) as caught:
            client.enroll(request)
        client.close()
    assert caught.value.code == RejectionCode.EK_CHAIN_INVALID


def test_the_honest_answer_is_granted_once_per_tpm(hands: Hands, tmp_path: Path) -> None:
    """The last test of the box: the same hands, nothing forged; then a second licence for the same TPM, also by way of
    its P-256 EK, which a maker has certified as well: AK and SRK are the same, so it is the same TPM."""
    second = _certified_p256_ek(hands, tmp_path / "maker.pem")
    early = hands.with_ek(second)
    early_challenge = early.challenge()
    assert hands.prove(hands.challenge()).leases
    for again in (hands, hands.with_ek(second)):
        again.code = hands.box.vendor.issue().activation_code
        with pytest.raises(DeniedError) as caught:
            again.challenge()
        assert caught.value.code == RejectionCode.TOO_MANY_DEVICES
    with pytest.raises(DeniedError) as caught:
        early.prove(early_challenge)
    assert caught.value.code == RejectionCode.TOO_MANY_DEVICES


def _certified_p256_ek(hands: Hands, roots: Path) -> EndorsementKey:
    """The TPM's EK of template L-2, with a certificate by a maker that the service trusts."""

    def read(index: int) -> bytes:
        if index == P256_CERTIFICATE_INDEX:
            return b""
        raise NoSuchIndex(index)

    _, template = create_ek_template("EK-ECC256", read)
    area = template.marshal()[2:]
    maker = MakerCa("Second")
    roots.write_bytes(pem(maker.root))
    license_command("roots", "add", hands.box.vendor.license_directory, roots, "--tier", "software")
    with hands.device.primary("make an endorsement key", area, ESYS_TR.ENDORSEMENT) as (_, public):
        certificate = maker.endorse(public.key())
    return EndorsementKey(public, (der(certificate), der(maker.intermediate)), area)


def _der(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
