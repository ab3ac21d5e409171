"""Reference values: the signed release manifest (policies/spec/manifest.md).

An in-toto Statement v1 in a DSSE envelope, signed by the manifest key. The image build writes it, the licence service
appraises by it, and the box takes from it, and from nowhere else, how its partitions are laid out.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, StringConstraints

from sealwright_policies.networks import as_network, require_narrow
from sealwright_policies.tpm_tier import TpmTier
from sealwright_policies.wire.encoding import Bytes4K, Bytes64K, Document, Identifier, PcrValues, Sha256Hex

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://sealwright.dev/release-manifest/v1"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
MANIFEST_LIMIT = 4 * 1024 * 1024
"""Bytes of the longest manifest envelope that is read."""
MANIFEST_ON_ESP = "EFI/sealwright/manifest.json"

QUOTE_SET = (0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 12, 13, 14, 15)
"""PCRs that a quote covers, SHA-256 bank (policies/spec/attestation.md, 3.5)."""
UNSEAL_SET = (0, 2, 4, 7, 11, 12, 13, 14, 15)
"""PCRs that a lease binds share A to."""
RELEASE_APPROVAL_SET = (4, 11, 12, 13, 15)
"""PCRs that the release key binds share B to: those which depend on the release alone."""
MOST_BOOT_APPLICATIONS: Final = 8
"""Ways through PCR 4 in a manifest, and as many may be signed later: each is an approval for every partition."""
STATE_SET = (4, 7, 11, 12, 13, 14, 15)
"""PCRs that the customer key binds the state volume to."""


VERSION_PATTERN = r"^[0-9]{1,9}(\.[0-9]{1,9}){0,3}$"
ProductVersion = Annotated[str, StringConstraints(pattern=VERSION_PATTERN)]
MOST_PEERS: Final = 16


def _checked_peer(text: str) -> str:
    network = as_network(text)
    require_narrow(network)
    if text != str(network):
        raise ValueError(f"{text}: write it as {network}")
    return text


def _each_once(networks: list[str]) -> list[str]:
    if len(networks) != len(set(networks)):
        raise ValueError("a network stands twice")
    return networks


Peers = Annotated[
    list[Annotated[str, StringConstraints(max_length=49), AfterValidator(_checked_peer)]],
    Field(max_length=MOST_PEERS),
    AfterValidator(_each_once),
]
"""Networks as narrow as those of ``[[egress]]``, each as address/prefix length."""


def version_key(version: str) -> tuple[int, ...]:
    """A product version as numbers that compare; 1.2 and 1.2.0 are the same."""
    numbers = [int(part) for part in version.split(".")]
    return tuple(numbers + [0] * (4 - len(numbers)))


class PayloadKind(StrEnum):
    """What an encrypted partition holds. Only models are built so far; no format assumes it."""

    MODEL = "model"
    DATA_SET = "data-set"
    WORKLOAD = "workload"


class DmCrypt(Document):
    """Plain dm-crypt: every parameter; there is no header on the disk."""

    cipher: Literal["aes-xts-plain64"]
    key_bits: Literal[512]
    sector_size: Literal[4096]
    """Bytes. The IV counts 512-byte sectors (no iv_large_sectors)."""


class Verity(Document):
    """dm-verity without superblock: every parameter."""

    root_hash: Sha256Hex
    salt: Sha256Hex
    hash_algorithm: Literal["sha256"]
    data_block_size: Literal[4096]
    hash_block_size: Literal[4096]
    data_blocks: Annotated[int, Field(ge=1)]
    hash_offset: Annotated[int, Field(ge=4096, multiple_of=4096)]
    """Bytes from the start of the decrypted partition."""


class Payload(Document):
    """One encrypted partition. Its id is ``verity.root_hash``."""

    payload_id: Identifier
    kind: PayloadKind
    domain: Identifier
    partition_label: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,36}$")]
    partition_uuid: str
    size: Annotated[int, Field(ge=4096, multiple_of=4096)]
    """Bytes of the whole partition content."""
    file_system: Literal["erofs"]
    file_name: str
    """Of the model inside the file system."""
    license_text: str
    ciphertext_sha256: Sha256Hex
    key_check: Sha256Hex
    """Of the volume key: which one it is, and nothing about it."""
    dm_crypt: DmCrypt
    verity: Verity


class BootApplication(Document):
    """One allowed way through PCR 4: the measurements of the boot applications, in order."""

    name: Identifier
    events: Annotated[list[Sha256Hex], Field(min_length=1)]
    """Digests of all events in PCR 4 in order, separator and EV_EFI_ACTION included."""
    pcr4: Sha256Hex


class SecureBootVariable(Document):
    """Expected content of one variable that PCR 7 measures."""

    name: Literal["SecureBoot", "PK", "KEK", "db", "dbx"]
    digest: Sha256Hex
    """Of the EV_EFI_VARIABLE_DRIVER_CONFIG event: SHA-256 of UEFI_VARIABLE_DATA."""
    data: Bytes64K
    """The variable's content."""


class SecureBoot(Document):
    """Expected PCR 7."""

    variables: list[SecureBootVariable]
    authorities: Annotated[list[Sha256Hex], Field(min_length=1)]
    """Digests of EV_EFI_VARIABLE_AUTHORITY events, in order."""
    pcr7: Sha256Hex


class BootPhases(Document):
    """PCR 11 along the boot: the UKI's sections, then systemd's phase words."""

    sections: list[Sha256Hex]
    """Digests of the stub's events in PCR 11, in order (name and content of each section)."""
    unseal_phases: list[str]
    """Words already extended at the unseal point, e.g. enter-initrd, leave-initrd, sysinit."""
    running_phases: list[str]
    """Words extended when the box answers evidence requests."""
    unseal: Sha256Hex
    running: Sha256Hex


class Measurements(Document):
    """Everything predicted at build time, SHA-256 bank."""

    boot_applications: Annotated[list[BootApplication], Field(min_length=1, max_length=MOST_BOOT_APPLICATIONS)]
    """The first ends with the UKI itself."""
    secure_boot: SecureBoot
    pcr9_events: list[Sha256Hex]
    """Digests of the kernel EFI stub's events in PCR 9, in order."""
    boot_phases: BootPhases
    unseal: PcrValues
    """PCR 7, 9 and 11 to 15 at the unseal point; PCR 4 stands with each boot application."""
    running: PcrValues
    """The same while running."""

    @property
    def uki_digest(self) -> str:
        """Authenticode digest of the UKI."""
        return self.boot_applications[0].events[-1]

    @property
    def ways_to_uki(self) -> dict[tuple[str, ...], str]:
        """What is measured before the UKI, and the name of the first way that begins so."""
        found: dict[tuple[str, ...], str] = {}
        for one in self.boot_applications:
            if self.uki_digest in one.events:
                found.setdefault(tuple(one.events[: one.events.index(self.uki_digest)]), one.name)
        return found


class DomainEndpoint(Document):
    """A host that workloads of a domain may reach (policies/spec/domain.md, 5)."""

    host: str
    port: Annotated[int, Field(ge=1, le=65535)]
    protocol: Literal["tcp", "udp"]
    addresses: Annotated[list[str], Field(max_length=16)]

    def __str__(self) -> str:
        where = f" at {', '.join(self.addresses)}" if self.addresses else ""
        return f"{self.host} port {self.port}/{self.protocol}{where}"


class DomainFlow(Document):
    """Where data of a domain may go."""

    to: Identifier
    forms: Annotated[list[str], Field(min_length=1, max_length=8)]

    def __str__(self) -> str:
        return f"{', '.join(self.forms)} to {self.to}"


class SignedWorkload(Document):
    """An owner's word that an image may run on what lies in a domain (policies/spec/domain.md, 9)."""

    payload_id: Identifier
    root_hash: Sha256Hex
    signature: Bytes4K
    """ECDSA P-256 with SHA-256, DER."""


class SignedDomain(Document):
    """A domain as its owner has signed it, and the workloads that it has signed; also the file ``NAME.signed.json``."""

    canonical_form: Bytes64K
    signature: Bytes4K
    """ECDSA P-256 with SHA-256, DER."""
    workloads: Annotated[list[SignedWorkload], Field(max_length=64)]


class DomainOpening(Document):
    """On which boxes members of a domain are opened (policies/spec/domain.md, 1)."""

    tiers: Annotated[list[TpmTier], Field(min_length=1, max_length=3)]
    features: Annotated[list[Identifier], Field(max_length=16)]
    """That the licence has; all of them."""

    def __str__(self) -> str:
        demanded = f", with {', '.join(self.features)} in the licence" if self.features else ""
        return f"{' or '.join(self.tiers)} TPM{demanded}"


class DomainSummary(Document):
    """A security domain of the release: what it is, who may open it, and what may leave it."""

    name: Identifier
    level: Literal["internal", "confidential", "sealed"]
    owner: str
    digest: Sha256Hex
    """Of its canonical form (policies/spec/domain.md, 6)."""
    egress: Annotated[list[DomainEndpoint], Field(max_length=32)]
    flows: Annotated[list[DomainFlow], Field(max_length=32)]
    signed: SignedDomain | None = None
    """None: the domain names no key of its owner, and is the owner's by the vendor's word."""
    opening: DomainOpening | None = None
    """None in releases from before it was listed: any box that the licence covers."""


class OsImage(Document):
    """The verity-protected root and the kernel image."""

    root_hash: Sha256Hex
    root_partition_uuid: str
    verity_partition_uuid: str
    kernel_command_line: str
    uki_sha256: Sha256Hex


class Artefact(Document):
    """A file of the build."""

    name: str
    sha256: Sha256Hex
    size: int


class Tools(Document):
    """What built and what runs: one systemd version for stub, measure and userspace."""

    systemd: str
    kernel: str
    mkosi: str
    sealwright: str


class Manifest(Document):
    """The predicate."""

    version: Annotated[int, Field(ge=1, le=1)]
    vendor: str
    product: Identifier
    product_version: ProductVersion
    flavour: Literal["production", "test"]
    """A test image carries a test payload and is refused under a production licence."""
    architecture: Literal["x86-64"]
    created: int
    """Seconds since the epoch (SOURCE_DATE_EPOCH of the build)."""
    os: OsImage
    payloads: Annotated[list[Payload], Field(min_length=1, max_length=64)]
    measurements: Measurements
    artefacts: list[Artefact]
    sbom: Artefact
    service_id: Identifier
    """Of the licence service that the image knows."""
    release_key: str
    """PEM, P-256: approves share B."""
    tools: Tools
    service_file: Sha256Hex | None = None
    """SHA-256 of the licence-service file in the root: by which of its keys the image knows the service."""
    domains: Annotated[list[DomainSummary], Field(max_length=64, default_factory=list)]
    """Of the payloads, and those that these name. Empty in releases from before there were any."""
    peers: Peers | None = None
    """Networks of boxes with which files are exchanged. None in releases from before they were listed, which may have
    some."""


class Subject(Document):
    """in-toto ResourceDescriptor."""

    name: str
    digest: dict[str, str]


class Statement(Document):
    """in-toto Statement v1 around the manifest."""

    type_: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")]
    subject: Annotated[list[Subject], Field(min_length=1)]
    predicate_type: Annotated[Literal["https://sealwright.dev/release-manifest/v1"], Field(alias="predicateType")]
    predicate: Manifest


class WrappedShare(Document):
    """A key share wrapped to a custodian key: ECDH P-256, HKDF-SHA-256, AES-256-GCM."""

    ephemeral_public: Bytes4K
    """Uncompressed point, 65 bytes."""
    ciphertext: Bytes4K
    """32 bytes of share and 16 of tag."""


class PartitionWrappedShares(Document):
    """Both shares of one partition as they leave the build."""

    partition_id: Sha256Hex
    lease_share: WrappedShare
    release_share: WrappedShare


class WrappedShares(Document):
    """``shares.json`` beside the manifest: for the licence service only."""

    version: Annotated[int, Field(ge=1, le=1)]
    release_id: Sha256Hex
    service_id: Identifier
    partitions: list[PartitionWrappedShares]
