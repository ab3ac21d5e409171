"""From domains to the files that enforce them in the box (policies/spec/domain.md, 7). Pure and deterministic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sealwright_policies.domains.canonical import canonical_form
from sealwright_policies.domains.chain import Domains
from sealwright_policies.domains.compiler import apparmor, ipe, landlock, nftables, systemd
from sealwright_policies.domains.compiler.journal import JOURNAL_FILE, journal
from sealwright_policies.domains.compiler.mounts import mounts
from sealwright_policies.domains.compiler.outflow import outflow
from sealwright_policies.domains.compiler.units import Unit, units_of
from sealwright_policies.domains.compiler.workloads import workloads
from sealwright_policies.mounts import MOUNTS_FILE
from sealwright_policies.outflow import OUTFLOW_FILE
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.workloads import WORKLOADS_FILE

SHARE: Final = "/usr/share/sealwright"
PROFILES: Final = "/etc/apparmor.d"


def compile_domain(domains: Domains, name: str) -> dict[str, bytes]:
    """The files of one domain, by their paths in the image.

    Args:
        domains: verified together; what the domain takes from others is in its units.
        name: one of them.
    """
    domain = domains.by_name[name].domain
    return {f"{SHARE}/domains/{name}.json": canonical_form(domain), **_compile_units_of(domains, name)}


def compile_unit(unit: Unit) -> dict[str, bytes]:
    """The files of one unit, by their paths in the image."""
    return {
        f"/usr/lib/systemd/system/sealwright-{unit.name}.service.d/50-domain.conf": systemd.drop_in(unit).encode(),
        f"{PROFILES}/{unit.profile}": apparmor.profile(unit).encode(),
        unit.rules_file: landlock.rules(unit).encode(),
    }


def compile_units(domains: Domains) -> dict[str, bytes]:
    """The files of all units, and what they may reach, by paths in the image."""
    files: dict[str, bytes] = {}
    for source in domains:
        files |= _compile_units_of(domains, source.domain.name)
    return dict(sorted(files.items()))


def _compile_units_of(domains: Domains, name: str) -> dict[str, bytes]:
    units = units_of(domains, name)
    files: dict[str, bytes] = {}
    for unit in units:
        files |= compile_unit(unit)
    if any(unit.has_network for unit in units):
        files[f"{SHARE}/nftables.d/{name}.nft"] = nftables.rules(domains.by_name[name].domain).encode()
    return files


def compile_box(
    domains: Domains, workload_root_hashes: Mapping[str, str], root_hash: str = ipe.UNKNOWN_ROOT
) -> dict[str, bytes]:
    """The files that all domains of a box share, by their paths in the image.

    Args:
        domains: all of the product.
        workload_root_hashes: as :func:`sealwright_policies.domains.compiler.ipe.policy` takes them.
        root_hash: likewise.

    Raises:
        UsageError: root hashes do not match the workloads that may run.
    """
    return {
        f"{SHARE}/ipe/{ipe.POLICY_NAME}.pol": ipe.policy(domains, workload_root_hashes, root_hash).encode(),
        JOURNAL_FILE: journal(domains).encode(),
        MOUNTS_FILE: document_bytes(mounts(domains)),
        OUTFLOW_FILE: document_bytes(outflow(domains)),
        WORKLOADS_FILE: document_bytes(workloads(domains)),
    }


def compile_domains(
    domains: Domains, workload_root_hashes: Mapping[str, str], root_hash: str = ipe.UNKNOWN_ROOT
) -> dict[str, bytes]:
    """Everything, by paths in the image, sorted; as :func:`compile_box` and :func:`compile_domain`."""
    files = compile_box(domains, workload_root_hashes, root_hash)
    for source in domains:
        files |= compile_domain(domains, source.domain.name)
    return dict(sorted(files.items()))
