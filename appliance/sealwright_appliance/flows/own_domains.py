"""The domains of the running release, as its root has them and its manifest names them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from sealwright_appliance.files import read_file
from sealwright_appliance.flows.errors import FlowError
from sealwright_appliance.paths import Paths
from sealwright_appliance.release_files import load_manifest_key, load_service
from sealwright_appliance.workloads import load_workloads
from sealwright_policies.appraisal.box_evidence import TrustAnchors
from sealwright_policies.appraisal.reference_values import MANIFEST_LIMIT, PayloadKind
from sealwright_policies.appraisal.release import Release, verify_release
from sealwright_policies.domains.canonical import canonical_form, parse_canonical_form
from sealwright_policies.domains.entrusted import EntrustedText, entrusted_text
from sealwright_policies.domains.model import Domain
from sealwright_policies.domains.reader import DOMAIN_FILE_LIMIT
from sealwright_policies.errors import OperationError
from sealwright_policies.flows.permission import DomainPair, require_declared


@dataclass(frozen=True)
class OwnDomains:
    """Reads them once."""

    paths: Paths

    @cached_property
    def anchors(self) -> TrustAnchors:
        """What is measured with the root."""
        return TrustAnchors(load_service(self.paths), load_manifest_key(self.paths))

    @cached_property
    def release(self) -> Release:
        """What runs.

        Raises:
            OperationError: there is no manifest.
            FormatError, VerificationError: it is not signed by the manifest key of the root.
        """
        envelope = read_file(self.paths.manifest, MANIFEST_LIMIT)
        if envelope is None:
            raise OperationError("The release manifest is missing.", cure="Install the box anew.")
        return verify_release(envelope, self.anchors.manifest_key)

    def names(self) -> list[str]:
        """Of all domains whose words are in the root."""
        return sorted(path.stem for path in self.paths.domains.glob("*.json"))

    def load(self, name: str) -> Domain:
        """What a domain says.

        Raises:
            FlowError: the release has none of this name.
            FormatError, VerificationError: root and manifest do not agree.
        """
        content = read_file(self.paths.domains / f"{name}.json", DOMAIN_FILE_LIMIT) if name in self.names() else None
        if content is None:
            raise FlowError(404, "DOMAIN_UNKNOWN", f"This box's release has no domain {name}.")
        domain = parse_canonical_form(content)
        require_declared(domain, self.release.manifest, "this box")
        return domain

    def served(self) -> dict[str, str]:
        """Domains of all models and adapters that the release has, whatever is open in this boot.

        Raises:
            FormatError, VerificationError: root and manifest do not agree.
        """
        payloads = self.release.manifest.payloads
        models = {one.payload_id: one.domain for one in payloads if one.kind is PayloadKind.MODEL}
        return models | {name: plan.domain for name, plan in load_workloads(self.paths).adapters.items()}

    def text(self, name: str) -> EntrustedText:
        """What a domain says, as it is kept with what comes under it; raises as :meth:`load`."""
        domain = self.load(name)
        above = [self.load(one.source) for one in domain.chain if one.is_bound]
        return entrusted_text(name, {one.name: one for one in (domain, *above)})

    def kept_days(self, name: str) -> int | None:
        """For how long a domain keeps its files; None if the release has none of this name.

        Raises:
            FormatError, VerificationError: root and manifest do not agree.
        """
        return self.load(name).retention.results_days if name in self.names() else None

    def pair(self, source: str, target: str) -> DomainPair:
        """Two of them; raises as :meth:`load`."""
        return DomainPair(self.load(source), self.load(target))


def forms_of(pair: DomainPair) -> list[bytes]:
    """As a party shows them."""
    return [canonical_form(pair.source), canonical_form(pair.target)]
