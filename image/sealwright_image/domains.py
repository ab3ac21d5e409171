"""The security domains of a product: read, judged together, and held against the payloads that lie in them."""

from __future__ import annotations

from collections.abc import Mapping

from sealwright_image.config import Config, PayloadConfig
from sealwright_policies.appraisal.reference_values import PayloadKind, SignedDomain, version_key
from sealwright_policies.domains.chain import Domains, verify_domains
from sealwright_policies.domains.files import load_domain
from sealwright_policies.domains.ownership import require_signed_workloads
from sealwright_policies.domains.reader import DomainFile
from sealwright_policies.domains.signed_files import load_signed_domain
from sealwright_policies.errors import UsageError, VerificationError

OWN_STATE_MIB, EXT4_PART = 96, 10
"""Of the state volume for LUKS2, ext4 and what no result may take (``KEPT_FREE`` of the appliance), and one part in so
many for ext4 besides: inodes, journal, what it keeps for root."""


def load_domains(config: Config) -> Domains:
    """Read the domain files of a product.

    Raises:
        UsageError: one cannot be read; a payload is no member of the domain that it names, or no box could open it.
        FormatError: malformed, with file, line and key.
        VerificationError: refused as a set.
    """
    domains = verify_domains([load_domain(path) for path in config.domains])
    for payload in config.payloads:
        _check_payload(payload, domains.by_name[payload.domain], config.version)
    _check_results(config, domains)
    if config.peers and not any(one.domain.chain for one in domains):
        raise UsageError(f"{config.product_file}: peers are named, and no domain takes anything from another.")
    return domains


def load_signed(domains: Domains) -> dict[str, SignedDomain]:
    """What owners have signed of a product's domains, by name; from ``NAME.signed.json`` beside each that names a key.

    Raises:
        UsageError, FormatError: it cannot be read; malformed.
        VerificationError: OWNER_UNSIGNED, OWNER_SIGNATURE; with file and line.
    """
    found = {one.domain.name: load_signed_domain(one) for one in domains}
    return {name: signed for name, signed in found.items() if signed is not None}


def require_workloads(domains: Domains, signed: Mapping[str, SignedDomain], images: Mapping[str, str]) -> None:
    """Demand the owners' word for the workloads of a product.

    Args:
        domains: of the product.
        signed: of :func:`load_signed`.
        images: root hashes of its workloads, hex, by payload id.

    Raises:
        VerificationError: OWNER_UNSIGNED, with file and line.
    """
    for name, one in signed.items():
        source = domains.by_name[name]
        try:
            require_signed_workloads(source.domain, one, images)
        except VerificationError as error:
            sentence = str(error).removeprefix(f"{error.code}: ")
            raise VerificationError(
                error.code,
                f"{source.place(('run', 'workloads'))}: {sentence} Pack it once (`sealwright-image pack-workload`), and"
                " have that image signed (`sign-workload`): a folder is another image in each build.",
            ) from error


def _check_results(config: Config, domains: Domains) -> None:
    """Demand that what workloads may write has room on the state volume, with what the box itself needs there.

    The largest volume counts twice: it is set aside under a release whose domain is wider, and copied to another size.
    """
    running = {payload.domain for payload in config.payloads if payload.kind is PayloadKind.WORKLOAD}
    sizes = [domains.by_name[name].domain.resources.results_mib for name in running]
    most, state_mib = max(sizes, default=0), config.state_bytes // (1024 * 1024)
    if sum(sizes) + most > results_room(state_mib):
        raise UsageError(
            f"{config.product_file}: state.size_mib is {state_mib}, which has room for {results_room(state_mib)} MiB of"
            f" results beside what the box needs. The domains of its workloads declare {sum(sizes)} MiB; the largest,"
            f" {most} MiB, counts twice, since another release may set what is there aside."
        )


def results_room(state_mib: int) -> int:
    """MiB for results on a state volume of so many; below 0 it is too small for a box."""
    return state_mib - OWN_STATE_MIB - -(-state_mib // EXT4_PART)


def _check_payload(payload: PayloadConfig, source: DomainFile, version: str) -> None:
    if not any((one.id, one.kind.value) == (payload.payload_id, payload.kind.value) for one in source.domain.member):
        raise UsageError(
            f"Payload {payload.payload_id!r}: domain {payload.domain} has no such member of kind {payload.kind.value}"
            f" ({source.place(('member',))})."
        )
    if payload.kind is PayloadKind.WORKLOAD and payload.payload_id not in source.domain.run.workloads:
        raise UsageError(
            f"Payload {payload.payload_id!r}: domain {payload.domain} does not let it run ({source.place(('run',))})."
        )
    opening = source.domain.open
    if not version_key(opening.from_version) <= version_key(version) < version_key(opening.below_version):
        raise UsageError(
            f"Payload {payload.payload_id!r}: domain {payload.domain} opens for releases from {opening.from_version} on"
            f" and below {opening.below_version}, and this is {version} ({source.place(('open',))})."
        )
