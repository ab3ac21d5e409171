"""The deciding services of one deployment, wired from its store and keys: for the application and for commands."""

from __future__ import annotations

from dataclasses import dataclass

from sealwright_licensing.air_gap import AirGapService
from sealwright_licensing.config import ServiceConfig
from sealwright_licensing.custodian import Custodians
from sealwright_licensing.decision_limit import DecisionLimit
from sealwright_licensing.enrollment import EnrollmentService
from sealwright_licensing.flows import FlowService
from sealwright_licensing.grants import Grantor
from sealwright_licensing.keys import SigningKeys
from sealwright_licensing.metering import MeteringService
from sealwright_licensing.nonces import StatelessNonces
from sealwright_licensing.release import KeyRelease
from sealwright_licensing.release_proofs import ReleaseProofs
from sealwright_licensing.renewal import RenewalService
from sealwright_licensing.store import Store
from sealwright_licensing.tpm_floor import TpmFloor


@dataclass(frozen=True, slots=True)
class Services:
    """What decides about boxes."""

    enrollment: EnrollmentService
    renewal: RenewalService
    air_gap: AirGapService
    metering: MeteringService
    flows: FlowService
    proofs: ReleaseProofs


def wire_services(store: Store, keys: SigningKeys, custodians: Custodians, config: ServiceConfig) -> Services:
    """Wire them."""
    proofs = ReleaseProofs(store)
    grantor = Grantor(keys, KeyRelease(custodians), proofs)
    floor = TpmFloor(config.denied_tpm)
    decisions = DecisionLimit(config.limits.decisions_per_device_per_day)
    enrollment = EnrollmentService(store, grantor, floor, decisions)
    nonces = StatelessNonces(keys.nonce)
    renewal = RenewalService(store, grantor, nonces, floor, decisions)
    air_gap = AirGapService(store, enrollment, renewal, keys)
    metering, flows = MeteringService(store, keys, nonces, decisions), FlowService(store, nonces, decisions)
    return Services(enrollment, renewal, air_gap, metering, flows, proofs)
