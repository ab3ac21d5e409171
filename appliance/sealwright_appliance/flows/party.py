"""This box's word for itself to another box, by its TPM (policies/spec/domain-flow.md, 3 and 8)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sealwright_appliance.customer_evidence import box_evidence
from sealwright_appliance.flows.errors import FlowError
from sealwright_appliance.flows.own_domains import OwnDomains, forms_of
from sealwright_appliance.renewal import Renewal
from sealwright_appliance.status import WHOLE
from sealwright_appliance.status_board import StatusBoard
from sealwright_appliance.tpm_evidence import certify_storage_key, quote_state
from sealwright_appliance.tpm_keys import attestation_key
from sealwright_appliance.tpm_provision import ProvisionedTpm, open_provisioned_tpm
from sealwright_appliance.tpm_unseal import import_sealed, state_assertions, unseal
from sealwright_policies.flows.documents import FlowParty, FlowStatement
from sealwright_policies.flows.permission import DomainPair
from sealwright_policies.flows.verification import KEY_SET, Ourselves
from sealwright_policies.wire.encoding import pcr_values
from sealwright_policies.wire.framing import qualifying_data
from sealwright_policies.wire.messages import ImportBlob, Purpose


@dataclass(frozen=True, slots=True)
class OwnSide:
    """The box as one side of a flow."""

    renewal: Renewal
    board: StatusBoard
    tpm_lock: threading.Lock
    domains: OwnDomains
    calendar: Callable[[], int]
    """Seconds since the epoch, as far as the box knows."""

    @property
    def ourselves(self) -> Ourselves:
        """What the other side is held against."""
        identity, release = self.renewal.identity, self.domains.release
        return Ourselves(
            self.domains.anchors, release.manifest, identity.device_id, identity.license_id, release.release_id
        )

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the own TLS certificate, 32 bytes: from the boot's result, not by the gateway's word.

        Raises:
            FlowError: the box shows none.
        """
        found = self.board.status.tls_fingerprint
        if found is None:
            raise FlowError(409, "NO_EVIDENCE", "The box has no certificate that its TPM could speak for.")
        return bytes.fromhex(found.removeprefix("sha256:"))

    def now(self) -> int:
        """The box's clock, but never before the newest lease was issued: a clock put back revives no certificate."""
        return max(self.calendar(), self.service_time())

    def service_time(self) -> int:
        """When the newest lease was issued, seconds since the epoch; 0 without one."""
        return max((lease.issued_at for lease in self.renewal.store.load_leases()), default=0)

    def require_open(self, *names: str) -> None:
        """Demand of domains that this start has not refused them whole.

        Raises:
            FlowError: it has.
        """
        for one in self.board.status.kept_closed:
            if one.what == WHOLE and one.domain in names:
                raise FlowError(403, one.code, one.sentence)

    def show(self, nonce: bytes, payload: bytes, pair: DomainPair) -> FlowParty:
        """Evidence under the other side's nonce.

        Raises:
            EvidenceError: the box has no lease.
            OperationError: from the TPM or the disk.
        """
        with self.tpm() as tpm:
            shown = box_evidence(self.renewal, tpm, nonce, Purpose.FLOW, payload)
            with attestation_key(tpm.device) as ak:
                certify = certify_storage_key(tpm.device, ak, tpm.srk, self._bound(nonce, payload))
        return FlowParty(box=shown, domains=forms_of(pair), srk_public=tpm.srk.public.area, srk_certify=certify)

    def state(self, nonce: bytes, payload: bytes) -> FlowStatement:
        """A quote that speaks for something, and the values that it is over."""
        with self.tpm() as tpm, attestation_key(tpm.device) as ak:
            quote, values = quote_state(tpm.device, ak, self._bound(nonce, payload))
        return FlowStatement(nonce=nonce, payload=payload, quote=quote, pcrs=pcr_values(values))

    def open_key(self, wrapped: ImportBlob) -> bytes:
        """A content key that was wrapped to this TPM as it runs now.

        Raises:
            FormatError: it is none.
            OperationError: it was wrapped to another TPM, or for another state.
        """
        with self.tpm() as tpm:
            sealed = import_sealed(tpm.device, tpm.srk, wrapped)
            assertions = state_assertions(tpm.device.read_pcrs(KEY_SET))
            return unseal(tpm.device, tpm.srk, sealed, assertions, None, srk_name=tpm.srk.public.name)

    @contextmanager
    def tpm(self) -> Iterator[ProvisionedTpm]:
        """The TPM, to oneself."""
        with self.tpm_lock, open_provisioned_tpm(self.renewal.paths.tcti) as tpm:
            yield tpm

    def _bound(self, nonce: bytes, payload: bytes) -> bytes:
        identity = self.renewal.identity
        return qualifying_data(
            nonce=nonce,
            device_id=identity.device_id,
            license_id=identity.license_id,
            release_id=self.renewal.release_id,
            purpose=Purpose.FLOW,
            payload=payload,
        )
