"""Sealing and unsealing in a real TPM: sessions, signed policies, retries, and what a listener on the bus sees."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tpm2_pytss.constants import ESYS_TR, TPM2_ALG, TPM2_SE
from tpm2_pytss.types import TPMT_SYM_DEF

from sealwright_appliance.tpm_device import TpmDevice, open_tpm
from sealwright_appliance.tpm_errors import TpmError
from sealwright_appliance.tpm_provision import ProvisionedTpm, open_provisioned_tpm
from sealwright_appliance.tpm_unseal import (
    Assertions,
    Authorization,
    SealedObject,
    import_sealed,
    seal,
    state_assertions,
    unseal,
)
from sealwright_policies.errors import FormatError, RejectionCode, VerificationError
from sealwright_policies.tcg.keywrap import wrap_sealed_object
from sealwright_policies.tcg.policy import (
    EMPTY_POLICY,
    CommandCode,
    external_signing_key,
    policy_authorize,
    policy_command_code,
    policy_pcr,
    sign_policy,
)
from sealwright_policies.tcg.public import Public, parse_public
from sealwright_policies.wire.messages import ImportBlob
from sealwright_testing.swtpm import SoftwareTpm
from sealwright_testing.tpm_session import TpmSession

SECRET = hashlib.sha512(b"a volume key").digest()
REFERENCE = hashlib.sha256(b"what the approval is for").digest()
PCRS = (4, 11, 15)


@dataclass(frozen=True)
class Approver:
    """A key that approves policies."""

    key: ec.EllipticCurvePrivateKey

    @property
    def auth_policy(self) -> bytes:
        """Of objects that it may open."""
        return policy_authorize(external_signing_key(self.key.public_key()).name, REFERENCE)

    def approve(self, pcrs: dict[int, bytes]) -> Authorization:
        """Approve unsealing in one state."""
        policy = policy_command_code(policy_pcr(EMPTY_POLICY, pcrs), CommandCode.UNSEAL)
        return Authorization(
            key=external_signing_key(self.key.public_key()),
            policy_ref=REFERENCE,
            approved_policy=policy,
            signature=sign_policy(self.key, policy, REFERENCE),
        )


@pytest.fixture
def approver() -> Approver:
    """A new one."""
    return Approver(ec.generate_private_key(ec.SECP256R1()))


def opened(tpm: ProvisionedTpm, sealed: SealedObject, authorization: Authorization) -> bytes:
    """Unseal in the present state of the PCRs."""
    assertions = state_assertions(tpm.device.read_pcrs(PCRS))
    return unseal(tpm.device, tpm.srk, sealed, assertions, authorization, srk_name=tpm.srk.public.name)


def imported(tpm: ProvisionedTpm, approver: Approver) -> SealedObject:
    """A secret that was wrapped elsewhere."""
    blob = wrap_sealed_object(tpm.srk.public, SECRET, approver.auth_policy)
    message = ImportBlob(public=blob.public_2b, duplicate=blob.duplicate_2b, encrypted_seed=blob.encrypted_seed_2b)
    return import_sealed(tpm.device, tpm.srk, message)


def extend(device: TpmDevice, pcr: int) -> None:
    """Measure something."""
    TpmSession(device.esapi).extend(pcr, b"\x11" * 32)


def test_a_secret_sealed_here_opens_here(tpm: ProvisionedTpm, approver: Approver) -> None:
    """As the key of the state volume does."""
    sealed = seal(tpm.device, tpm.srk, SECRET, approver.auth_policy)
    assert opened(tpm, sealed, approver.approve(tpm.device.read_pcrs(PCRS))) == SECRET


def test_a_secret_wrapped_elsewhere_opens_here(tpm: ProvisionedTpm, approver: Approver) -> None:
    """As a key share does."""
    assert opened(tpm, imported(tpm, approver), approver.approve(tpm.device.read_pcrs(PCRS))) == SECRET


def test_another_state_is_refused(tpm: ProvisionedTpm, approver: Approver) -> None:
    """The approval is for the PCRs as they were."""
    sealed, authorization = imported(tpm, approver), approver.approve(tpm.device.read_pcrs(PCRS))
    extend(tpm.device, 11)
    with pytest.raises(TpmError):
        opened(tpm, sealed, authorization)


def test_the_expected_values_cannot_be_asserted_over_the_real_ones(tpm: ProvisionedTpm, approver: Approver) -> None:
    """A box that claims the old values to its TPM is told that they are not the PCRs."""
    pcrs = tpm.device.read_pcrs(PCRS)
    sealed, authorization = imported(tpm, approver), approver.approve(pcrs)
    extend(tpm.device, 11)
    with pytest.raises(TpmError, match="check the PCRs"):
        unseal(tpm.device, tpm.srk, sealed, state_assertions(pcrs), authorization, srk_name=tpm.srk.public.name)


def test_an_approval_by_another_key_is_refused(tpm: ProvisionedTpm, approver: Approver) -> None:
    """Whoever has a key of his own has no key of ours."""
    stranger = Approver(ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(TpmError):
        opened(tpm, imported(tpm, approver), stranger.approve(tpm.device.read_pcrs(PCRS)))


def test_an_approval_for_something_else_is_refused(tpm: ProvisionedTpm, approver: Approver) -> None:
    """The reference is signed with the policy."""
    authorization = approver.approve(tpm.device.read_pcrs(PCRS))
    with pytest.raises(TpmError):
        opened(tpm, imported(tpm, approver), replace(authorization, policy_ref=bytes(32)))


def test_an_object_for_another_tpm_does_not_import(tpm: ProvisionedTpm, approver: Approver) -> None:
    """The outer wrapper is to one SRK."""
    other = ec.generate_private_key(ec.SECP256R1())
    blob = wrap_sealed_object(external_storage_key(tpm, other), SECRET, approver.auth_policy)
    with pytest.raises(TpmError, match="import"):
        import_sealed(
            tpm.device,
            tpm.srk,
            ImportBlob(public=blob.public_2b, duplicate=blob.duplicate_2b, encrypted_seed=blob.encrypted_seed_2b),
        )


@pytest.mark.parametrize("part", ["public", "duplicate", "encrypted_seed"])
def test_an_import_blob_that_is_none_is_malformed(tpm: ProvisionedTpm, approver: Approver, part: str) -> None:
    """Whatever a service sends; not an error of the library."""
    blob = wrap_sealed_object(tpm.srk.public, SECRET, approver.auth_policy)
    message = ImportBlob(public=blob.public_2b, duplicate=blob.duplicate_2b, encrypted_seed=blob.encrypted_seed_2b)
    with pytest.raises(FormatError, match="cannot be read"):
        import_sealed(tpm.device, tpm.srk, message.model_copy(update={part: b"\xff\xff"}))


def test_a_wrong_storage_key_name_is_refused_before_anything_is_sent(tpm: ProvisionedTpm, approver: Approver) -> None:
    """Nothing is salted to a key that the signed document does not name."""
    sealed, authorization = imported(tpm, approver), approver.approve(tpm.device.read_pcrs(PCRS))
    assertions = state_assertions(tpm.device.read_pcrs(PCRS))
    with pytest.raises(VerificationError) as caught:
        unseal(tpm.device, tpm.srk, sealed, assertions, authorization, srk_name=b"\x00\x0b" + bytes(32))
    assert caught.value.code == RejectionCode.SRK_NAME_MISMATCH


def disturbed(assertions: Assertions, times: int) -> Assertions:
    """Assertions between which and the unseal something is measured, the first ``times`` times."""
    left = [times]

    def run(tpm: TpmDevice, session: ESYS_TR) -> None:
        assertions(tpm, session)
        if left[0]:
            left[0] -= 1
            extend(tpm, 9)

    return run


def test_a_measurement_in_between_is_retried(tpm: ProvisionedTpm, approver: Approver) -> None:
    """TPM_RC_PCR_CHANGED: the policy is run again, in the same session."""
    sealed, pcrs = imported(tpm, approver), tpm.device.read_pcrs(PCRS)
    assertions = disturbed(state_assertions(pcrs), 2)
    name = tpm.srk.public.name
    assert unseal(tpm.device, tpm.srk, sealed, assertions, approver.approve(pcrs), srk_name=name) == SECRET


def test_measurements_without_end_are_given_up(tpm: ProvisionedTpm, approver: Approver) -> None:
    """The retries are bounded."""
    sealed, pcrs = imported(tpm, approver), tpm.device.read_pcrs(PCRS)
    assertions = disturbed(state_assertions(pcrs), 1000)
    with pytest.raises(TpmError, match="PCR_CHANGED"):
        unseal(tpm.device, tpm.srk, sealed, assertions, approver.approve(pcrs), srk_name=tpm.srk.public.name)


def test_full_session_slots_pass(tpm: ProvisionedTpm, approver: Approver) -> None:
    """Somebody else holds every session slot for a moment; the box waits and goes on."""
    sealed, pcrs = imported(tpm, approver), tpm.device.read_pcrs(PCRS)
    session = TpmSession(tpm.device.esapi)
    held = [_start_session(session) for _ in range(3)]
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        session.flush(*held)
        held.clear()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sealwright_appliance.tpm_device.time.sleep", wait)
        assert opened(tpm, sealed, approver.approve(pcrs)) == SECRET
    assert waited


def test_nothing_secret_goes_over_the_bus(software_tpm: SoftwareTpm, approver: Approver) -> None:
    """A proxy between box and TPM records everything; the secret is in none of it, in either direction."""
    with listening_proxy(software_tpm) as (tcti, recorded), open_provisioned_tpm(tcti) as tpm:
        sealed = seal(tpm.device, tpm.srk, SECRET, approver.auth_policy)
        assert opened(tpm, sealed, approver.approve(tpm.device.read_pcrs(PCRS))) == SECRET
        assert len(recorded) > 1000
        assert SECRET not in bytes(recorded)


def test_the_box_opens_its_tpm_again(software_tpm: SoftwareTpm) -> None:
    """Connections are closed: a software TPM takes one at a time."""
    for _ in range(3):
        with open_tpm(software_tpm.tcti) as device:
            assert len(device.random(100)) == 100


def external_storage_key(tpm: ProvisionedTpm, key: ec.EllipticCurvePrivateKey) -> Public:
    """The area of an SRK with another key in it."""
    numbers = key.public_key().public_numbers()
    point = b"\x00\x20" + numbers.x.to_bytes(32, "big") + b"\x00\x20" + numbers.y.to_bytes(32, "big")
    return parse_public(tpm.srk.public.area[:-68] + point)


def _start_session(session: TpmSession) -> ESYS_TR:
    null = TPMT_SYM_DEF(algorithm=TPM2_ALG.NULL)
    return session.esapi.start_auth_session(ESYS_TR.NONE, ESYS_TR.NONE, TPM2_SE.POLICY, null, TPM2_ALG.SHA256)


@contextmanager
def listening_proxy(tpm: SoftwareTpm) -> Iterator[tuple[str, bytearray]]:
    """Two neighbouring ports that pass everything on to the TPM's and record it."""
    recorded = bytearray()
    servers = _neighbouring_servers()
    for server, port in zip(servers, (tpm.port, tpm.port + 1), strict=True):
        threading.Thread(target=_serve, args=(server, port, recorded), daemon=True).start()
    try:
        yield f"swtpm:host=127.0.0.1,port={servers[0].getsockname()[1]}", recorded
    finally:
        for server in servers:
            server.close()


def _neighbouring_servers() -> tuple[socket.socket, socket.socket]:
    while True:
        first = socket.create_server(("127.0.0.1", 0))
        with suppress(OSError):
            return first, socket.create_server(("127.0.0.1", first.getsockname()[1] + 1))
        first.close()


def _serve(server: socket.socket, port: int, recorded: bytearray) -> None:
    with suppress(OSError):
        while True:
            client, _ = server.accept()
            behind = socket.create_connection(("127.0.0.1", port))
            for pair in ((client, behind), (behind, client)):
                pair[0].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=_pump, args=(*pair, recorded), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket, recorded: bytearray) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            recorded.extend(data)
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
