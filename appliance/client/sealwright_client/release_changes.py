"""What differs for the customer between the release that runs and another, in lines for people.

Told from two verified manifests alone; what it means for files of the customer's is not.
"""

from __future__ import annotations

from collections.abc import Set

from sealwright_policies.appraisal.reference_values import DomainSummary, Manifest, version_key
from sealwright_policies.domains.owner_report import ownership_changes
from sealwright_policies.tpm_tier import TpmTier

PEERS_UNKNOWN = "the release does not list the networks of boxes with which it exchanges files; it may have some"


def changes(old: Manifest | None, new: Manifest) -> list[str]:
    """What differs for the customer, a line each; all of the new release where nothing is known of the running one."""
    lines = ["running   not known: the box has no evidence to show now, so all of the release is new"]
    if old is not None:
        lines = [f"running   {old.product} {old.product_version}, proven by its TPM"]
        if version_key(new.product_version) < version_key(old.product_version):
            lines.append("warning   the release is older than the one that runs")
        if new.product != old.product:
            lines.append("warning   it is another product")
    return [
        *lines,
        *_payload_changes(old, new),
        *_domain_changes(old, new),
        *_peer_changes(old, new),
        *_service_changes(old, new),
        *_command_line_changes(old, new),
    ]


def _payload_changes(old: Manifest | None, new: Manifest) -> list[str]:
    before = {one.payload_id: one for one in old.payloads} if old else {}
    after = {one.payload_id: one for one in new.payloads}
    return [
        *(f"gone      payload {name}" for name in sorted(before.keys() - after.keys())),
        *(
            f"new       payload {name}: {after[name].kind.value} in domain {after[name].domain}"
            for name in sorted(after.keys() - before.keys())
        ),
        *(
            f"moved     payload {name} from domain {before[name].domain} to {after[name].domain}"
            for name in sorted(before.keys() & after.keys())
            if before[name].domain != after[name].domain
        ),
    ]


def _domain_changes(old: Manifest | None, new: Manifest) -> list[str]:
    """What domains came and went, and what may leave those that stay; another digest alone is told, too."""
    before = {one.name: one for one in old.domains} if old else {}
    after = {one.name: one for one in new.domains}
    lines = [f"gone      domain {name}" for name in sorted(before.keys() - after.keys())]
    for name in sorted(after.keys()):
        one, earlier = after[name], before.get(name)
        ways, known = _ways_out(one), _ways_out(earlier) if earlier else set()
        if earlier is None:
            lines.append(f"new       domain {name}: {one.level}, of {one.owner}")
        elif earlier.digest != one.digest:
            lines.append(f"changed   domain {name}: {one.level}, digest {one.digest[:16]}")
        lines += ownership_changes(earlier, one)
        lines += _opening_changes(earlier, one)
        lines += _differences(f"domain {name}", known, ways)
    return lines


def _opening_changes(old: DomainSummary | None, new: DomainSummary) -> list[str]:
    """Boxes on which members are opened that they were not opened on before, and the other way round."""
    if old is None:
        return [] if new.opening is None else [f"opens     domain {new.name}: on a {new.opening}"]
    before, after = _demanded(old), _demanded(new)
    return [
        *_differences(f"domain {new.name}", _tiers(old), _tiers(new)),
        *_differences(f"domain {new.name}", after - before, before - after),
    ]


def _tiers(domain: DomainSummary) -> set[str]:
    """Without a list, as in older releases, a domain opens for all."""
    return {f"on a {one} TPM" for one in (TpmTier if domain.opening is None else domain.opening.tiers)}


def _demanded(domain: DomainSummary) -> set[str]:
    """What a licence has to have: the fewer the wider."""
    features = [] if domain.opening is None else domain.opening.features
    return {f"without {one} in the licence" for one in features}


def _ways_out(domain: DomainSummary) -> set[str]:
    flows = (f"{form} to {flow.to}" for flow in domain.flows for form in flow.forms)
    return {*(f"egress to {one}" for one in domain.egress), *(f"flow of {one}" for one in flows)}


def _peer_changes(old: Manifest | None, new: Manifest) -> list[str]:
    """Networks that the gateway may call, and from which frames are taken."""
    lines = ["peers     the running release does not list its own"] if old is not None and old.peers is None else []
    if new.peers is None:
        return [*lines, f"warning   {PEERS_UNKNOWN}"]
    before = set(old.peers or ()) if old is not None else set()
    return lines + _differences("peers", before, set(new.peers))


def _service_changes(old: Manifest | None, new: Manifest) -> list[str]:
    """Of what the box itself sends to, beside domains and peers, manifests tell this alone."""
    known = None if old is None else (old.service_id, old.service_file)
    if known in (None, (new.service_id, new.service_file)):
        return []
    return [
        f"warning   the file of the licence service {new.service_id} is another: by it the box knows the service, and "
        "where its agent may send"
    ]


def _differences(of: str, before: Set[str], after: Set[str]) -> list[str]:
    return [
        *(f"opened    {of}: {one}" for one in sorted(after - before)),
        *(f"closed    {of}: {one}" for one in sorted(before - after)),
    ]


def _command_line_changes(old: Manifest | None, new: Manifest) -> list[str]:
    before, after = (_command_line(old) if old else set(), _command_line(new))
    return [
        *(f"kernel    without {word}" for word in sorted(before - after)),
        *(f"kernel    with {word}" for word in sorted(after - before)),
    ]


def _command_line(manifest: Manifest) -> set[str]:
    return {word for word in manifest.os.kernel_command_line.split() if not word.startswith("roothash=")}
