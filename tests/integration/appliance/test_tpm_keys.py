"""The box's keys and counters in a real TPM: found again, never taken from others, refused in words."""

from __future__ import annotations

import secrets

import pytest
from cryptography import x509
from tpm2_pytss import ESAPI
from tpm2_pytss.constants import ESYS_TR

from sealwright_appliance.tpm_counters import (
    LEASE_INDICES,
    TICK_INDICES,
    increment_counter,
    provision_counters,
    read_counter,
)
from sealwright_appliance.tpm_device import TpmDevice, open_tpm
from sealwright_appliance.tpm_errors import TpmError
from sealwright_appliance.tpm_keys import (
    SRK_HANDLES,
    activate_credential,
    attestation_key,
    endorsement_key,
    make_storage_key,
    split_der,
    storage_key,
)
from sealwright_appliance.tpm_provision import ProvisionedTpm
from sealwright_policies.errors import FormatError, OperationError
from sealwright_policies.tcg.attestation import check_counter
from sealwright_policies.tcg.credential import make_credential
from sealwright_policies.tcg.srk import SrkTemplate, srk_template
from sealwright_policies.tcg.templates import ak_template, check_ak
from sealwright_testing.swtpm import SoftwareTpm
from sealwright_testing.tpm_session import TpmSession
from sealwright_testing.tpm_troubles import fill_nv, ordinary_index


def persist(esapi: ESAPI, template: bytes, hierarchy: ESYS_TR, handle: int) -> None:
    """Put a primary key at a persistent handle, as other software might."""
    key, _ = TpmSession(esapi).primary(template, hierarchy)
    esapi.evict_control(ESYS_TR.OWNER, key, handle)
    esapi.flush_context(key)


def test_the_endorsement_key_is_that_of_its_certificate(tpm: ProvisionedTpm) -> None:
    """The key made from the maker's template is the one in the certificate, which is trimmed to its DER."""
    ek = endorsement_key(tpm.device)
    certified = x509.load_der_x509_certificate(ek.certificates[0]).public_key()
    assert certified == ek.public.key()


def test_keys_and_counters_stay_over_a_power_cut(software_tpm: SoftwareTpm) -> None:
    """Provisioning again finds what is there and makes nothing."""
    seen = []
    for _ in range(2):
        with open_tpm(software_tpm.tcti) as device:
            counters, srk = provision_counters(device), storage_key(device)
            with attestation_key(device) as ak:
                check_ak(ak.public)
                seen.append((ak.public.area, srk.public.area, counters.ticks.name, counters.lease.name))
        software_tpm.power_cycle()
    assert seen[0] == seen[1]


def test_a_counter_has_the_form_that_the_service_demands(tpm: ProvisionedTpm) -> None:
    """Attributes, type and WRITTEN; the value goes up by one."""
    for counter in (tpm.counters.ticks, tpm.counters.lease):
        check_counter(counter.public)
        before = read_counter(tpm.device, counter)
        increment_counter(tpm.device, counter)
        assert read_counter(tpm.device, counter) == before + 1


def test_a_counter_defined_and_not_incremented_is_finished(software_tpm: SoftwareTpm) -> None:
    """A power cut between definition and first increment leaves no counter whose Name would change."""
    with ESAPI(software_tpm.tcti) as esapi:
        TpmSession(esapi).define_counter(LEASE_INDICES[0])
    with open_tpm(software_tpm.tcti) as device:
        counters = provision_counters(device)
        assert counters.lease.public.index == LEASE_INDICES[0]
        check_counter(counters.lease.public)


def test_a_foreign_counter_index_is_left_alone(software_tpm: SoftwareTpm) -> None:
    """Something else at our index: the next one is used."""
    with ESAPI(software_tpm.tcti) as esapi:
        esapi.nv_define_space(None, ordinary_index(TICK_INDICES[0]))
    with open_tpm(software_tpm.tcti) as device:
        assert provision_counters(device).ticks.public.index == TICK_INDICES[1]
        assert TICK_INDICES[0] in device.handles(TICK_INDICES[0], TICK_INDICES[0])


@pytest.mark.parametrize(
    ("template", "hierarchy"),
    [(ak_template(), ESYS_TR.OWNER), (srk_template(), ESYS_TR.ENDORSEMENT)],
    ids=["another-template", "another-hierarchy"],
)
def test_a_foreign_storage_key_is_left_alone(software_tpm: SoftwareTpm, template: bytes, hierarchy: ESYS_TR) -> None:
    """An object at the reserved handle that is not a listed SRK under Owner: it stays, and ours goes elsewhere."""
    with ESAPI(software_tpm.tcti) as esapi:
        persist(esapi, template, hierarchy, SRK_HANDLES[0])
    with open_tpm(software_tpm.tcti) as device:
        srk = storage_key(device)
        assert srk.persistent_handle == SRK_HANDLES[1]
        assert storage_key(device).public == srk.public
        assert SRK_HANDLES[0] in device.handles(SRK_HANDLES[0], SRK_HANDLES[0])


def test_an_rsa_storage_key_that_is_there_is_used(software_tpm: SoftwareTpm) -> None:
    """Other software's SRK of a listed template serves."""
    with open_tpm(software_tpm.tcti) as device:
        made = make_storage_key(device, SRK_HANDLES[0], SrkTemplate.RSA_2048)
        assert storage_key(device).public == made.public


def test_a_credential_opens_for_this_ek_and_ak(tpm: ProvisionedTpm) -> None:
    """ActivateCredential gives the secret."""
    secret = secrets.token_bytes(32)
    ek = endorsement_key(tpm.device)
    with attestation_key(tpm.device) as ak:
        blob, seed = make_credential(ek.public, secret, ak.public.name)
        assert activate_credential(tpm.device, ek, ak, blob, seed) == secret


def test_a_credential_for_another_ak_stays_closed(tpm: ProvisionedTpm) -> None:
    """It was made for another Name."""
    ek = endorsement_key(tpm.device)
    with attestation_key(tpm.device) as ak:
        blob, seed = make_credential(ek.public, bytes(32), tpm.srk.public.name)
        with pytest.raises(TpmError, match="open the credential"):
            activate_credential(tpm.device, ek, ak, blob, seed)


def test_a_credential_that_is_none_is_malformed(tpm: ProvisionedTpm) -> None:
    """Whatever a service sends; not an error of the library."""
    ek = endorsement_key(tpm.device)
    with attestation_key(tpm.device) as ak:
        blob, seed = make_credential(ek.public, bytes(32), ak.public.name)
        for parts in ((b"\xff\xff", seed), (blob, b"\xff\xff")):
            with pytest.raises(FormatError, match="cannot be read"):
                activate_credential(tpm.device, ek, ak, *parts)


def test_no_tpm_is_said_with_the_cure() -> None:
    """Nothing behind the TCTI."""
    with pytest.raises(OperationError, match="No TPM") as caught, open_tpm("device:/dev/no-such-tpm"):
        pass
    assert "firmware setup" in caught.value.cure


def test_a_missing_sha256_bank_is_said_with_the_cure(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Only SHA-1 is active."""
    old = SoftwareTpm.manufacture(tmp_path_factory.mktemp("sha1") / "tpm", pcr_banks="sha1")
    with old, open_tpm(old.tcti) as device, pytest.raises(OperationError, match="SHA-256 bank") as caught:
        device.read_pcrs([0])
    assert "PCR banks" in caught.value.cure


def test_a_set_owner_authorisation_is_said_with_the_cure(software_tpm: SoftwareTpm) -> None:
    """It stays as it is; the message tells what to do."""
    with ESAPI(software_tpm.tcti) as esapi:
        esapi.hierarchy_change_auth(ESYS_TR.OWNER, b"somebody else's")
    with open_tpm(software_tpm.tcti) as device, pytest.raises(TpmError, match="authorisation is set") as caught:
        storage_key(device)
    assert "firmware setup" in caught.value.cure


def test_full_nv_is_said_with_the_cure(software_tpm: SoftwareTpm) -> None:
    """Other software has filled the TPM."""
    with ESAPI(software_tpm.tcti) as esapi:
        fill_nv(esapi)
    with open_tpm(software_tpm.tcti) as device, pytest.raises(TpmError, match="NV storage is full"):
        provision_counters(device)


def test_sessions_and_objects_are_flushed(tpm: ProvisionedTpm) -> None:
    """Without a resource manager there are three slots; many operations in a row leave all of them free."""
    ek = endorsement_key(tpm.device)
    for _ in range(5):
        with attestation_key(tpm.device) as ak:
            blob, seed = make_credential(ek.public, bytes(32), ak.public.name)
            activate_credential(tpm.device, ek, ak, blob, seed)
    assert _loaded(tpm.device) == []


def test_der_is_split_and_trimmed() -> None:
    """Two structures and padding; then nothing that is one."""
    first, second = b"\x30\x82\x01\x00" + bytes(256), b"\x30\x03\x02\x01\x05"
    assert split_der(first + second + b"\xff" * 40) == (first, second)
    with pytest.raises(FormatError):
        split_der(b"\xff" * 64)


def _loaded(device: TpmDevice) -> list[int]:
    return device.handles(0x80000000, 0x80FFFFFF) + device.handles(0x03000000, 0x03FFFFFF)
