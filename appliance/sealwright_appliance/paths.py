"""Where things are in the box. One object, made at the entry point and passed down; tests give a root of their own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sealwright_policies.engines import ENGINES_FILE, VECTOR_EXTENSION
from sealwright_policies.mounts import MOUNTS_FILE
from sealwright_policies.outflow import OUTFLOW_FILE
from sealwright_policies.wire.service import DOMAINS_FOLDER, MANIFEST_KEY_FILE, RELEASE_KEY_FILE, SERVICE_FILE
from sealwright_policies.workloads import WORKLOADS_FILE

TCTI = "device:/dev/tpmrm0"
MAPPER = Path("/dev/mapper")


@dataclass(frozen=True, slots=True)
class Paths:
    """Paths under one root, ``/`` in the box."""

    root: Path = Path("/")
    tcti: str = TCTI
    """The TPM, as the TSS names it."""
    gateway_group: str | None = "sealwright-gateway"
    """Group of the gateway's user; None leaves files to the group of this process."""
    agent_user: str | None = "sealwright-agent"
    """The agent's user; None leaves files to the user of this process."""

    documents_user: str | None = "sealwright-documents"
    """The document service's user; likewise."""
    adapters_user: str | None = "sealwright-adapters"
    """The adapter service's user; likewise."""

    def _under(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    @property
    def service(self) -> Path:
        """The licence service: URL, CA and public keys."""
        return self._under(SERVICE_FILE)

    @property
    def manifest_key(self) -> Path:
        """PEM of the key that signs release manifests."""
        return self._under(MANIFEST_KEY_FILE)

    @property
    def release_key(self) -> Path:
        """PEM of the key that approves boot states for share B."""
        return self._under(RELEASE_KEY_FILE)

    @property
    def outflow(self) -> Path:
        """What may leave each model (policies/spec/outflow.md)."""
        return self._under(OUTFLOW_FILE)

    @property
    def engines(self) -> Path:
        """What the engine of each model needs (policies/spec/engines.md)."""
        return self._under(ENGINES_FILE)

    @property
    def domains(self) -> Path:
        """Folder of the canonical forms of the release's domains (policies/spec/domain.md, 6)."""
        return self._under(DOMAINS_FOLDER)

    @property
    def workload_plans(self) -> Path:
        """Which workloads may run, and on what (policies/spec/domain.md, 7)."""
        return self._under(WORKLOADS_FILE)

    @property
    def mount_options(self) -> Path:
        """How payloads are mounted (policies/spec/domain.md, 7)."""
        return self._under(MOUNTS_FILE)

    @property
    def vector_extension(self) -> Path:
        """sqlite-vec, in an image whose product names a model for documents."""
        return self._under(VECTOR_EXTENSION)

    # Of this boot.
    @property
    def run(self) -> Path:
        """Ours in /run: gone with the boot."""
        return self._under("/run/sealwright")

    @property
    def payloads(self) -> Path:
        """Mount points of opened payloads, one folder each."""
        return self.run / "payloads"

    @property
    def data_sets(self) -> Path:
        """For each domain the data sets on the state volume, as workloads see them. Root's alone."""
        return self.run / "data-sets"

    @property
    def domain_seal_key(self) -> Path:
        """Key of the seals of domains' files, if they were opened. The agent's alone."""
        return self.run / "domain-seal.key"

    @property
    def boot_result(self) -> Path:
        """What :mod:`.unlock` found and did."""
        return self.run / "boot.json"

    @property
    def manifest(self) -> Path:
        """The release manifest, as it stands on the ESP."""
        return self.run / "manifest.json"

    @property
    def variants(self) -> Path:
        """The ways through PCR 4 that were signed later, as they stand on the ESP; empty if there are none."""
        return self.run / "variants.json"

    @property
    def site_trial(self) -> Path:
        """Settings of the site that are tried (policies/spec/site.md, 4)."""
        return self.run / "site-trial.json"

    @property
    def site_filter(self) -> Path:
        """What the packet filter was told of the site. Root's alone."""
        return self._under("/run/sealwright-site/filter.nft")

    @property
    def systemd_run(self) -> Path:
        """Where systemd's services look for what holds in this boot."""
        return self._under("/run/systemd")

    @property
    def agent_socket(self) -> Path:
        """Where the gateway asks the agent."""
        return self.run / "agent.sock"

    @property
    def volumes_socket(self) -> Path:
        """Where the agent asks the volume service."""
        return self.run / "volumes.sock"

    @property
    def documents_socket(self) -> Path:
        """Where the gateway asks the document service."""
        return self.run / "documents.sock"

    @property
    def parser_socket(self) -> Path:
        """Where the document service finds a parser for each file."""
        return self.run / "parser.sock"

    @property
    def adapters_socket(self) -> Path:
        """Where the gateway asks the adapter service."""
        return self.run / "adapters.sock"

    @property
    def retention_time(self) -> Path:
        """How far the calendar of retention has come: the agent tells it to the adapter service."""
        return self.run / "retention.json"

    def trainer_socket(self, workload: str) -> Path:
        """Where the adapter service finds a trainer."""
        return self.run / "trainers" / f"{workload}.sock"

    def engine_socket(self, payload_id: str) -> Path:
        """Where a payload's engine listens: in a folder that belongs to that engine alone."""
        return self.run / "engine" / payload_id / "engine.sock"

    @property
    def engine_environments(self) -> Path:
        """Folder of environment files, one per engine unit."""
        return self.run / "engine-environment"

    @property
    def engine_starts(self) -> Path:
        """Folder of marks, one per engine that is loaded as the box starts."""
        return self.run / "engine-starts"

    @property
    def workloads(self) -> Path:
        """Folder of marks, one per workload that is to run."""
        return self.run / "workloads"

    @property
    def tls(self) -> Path:
        """Folder of the gateway's certificate and key: from the state volume, or of this boot if that is closed."""
        return self.run / "tls"

    # The state volume.
    @property
    def state(self) -> Path:
        """Mount point of the state volume."""
        return self._under("/var/lib/sealwright")

    @property
    def identity(self) -> Path:
        """Device certificate, public keys and TLS key."""
        return self.state / "identity"

    @property
    def leases(self) -> Path:
        """One file per stored lease."""
        return self.state / "leases"

    @property
    def shares(self) -> Path:
        """One folder per partition."""
        return self.state / "shares"

    @property
    def claim(self) -> Path:
        """Claim code and what is handed out with it once."""
        return self.state / "claim.json"

    @property
    def claim_counter(self) -> Path:
        """Where the claim's counter in the TPM stood when the claim was made."""
        return self.state / "claim-counter.json"

    @property
    def metering(self) -> Path:
        """What was served and has not been acknowledged by the service."""
        return self.state / "metering"

    @property
    def outflow_used(self) -> Path:
        """What has left the models: budgets, and marks on keys."""
        return self.state / "outflow"

    @property
    def domain_key(self) -> Path:
        """The sealed key of what domains have here (policies/spec/domain-key.md)."""
        return self.state / "domain-key.json"

    @property
    def closed(self) -> Path:
        """A folder that is never there, for a boot in which what domains have was not opened."""
        return self.run / "closed"

    @property
    def domain_files(self) -> Path:
        """Files of domains, a folder for each (policies/spec/domain-flow.md). Root's, what is in it the agent's."""
        return self.state / "domains"

    @property
    def retention(self) -> Path:
        """The calendar by which files of domains go, and the latest that went."""
        return self.state / "retention"

    @property
    def conversations(self) -> Path:
        """What the chat page keeps, sealed under API keys (policies/spec/conversations.md)."""
        return self.state / "conversations"

    @property
    def flows(self) -> Path:
        """What is expected, what is under way, and the records of flows."""
        return self.state / "flows"

    @property
    def api_keys(self) -> Path:
        """Hashed API keys."""
        return self.state / "api-keys.json"

    @property
    def site(self) -> Path:
        """Network, proxy and time servers, as the customer has set them (policies/spec/site.md)."""
        return self.state / "site.json"

    @property
    def results(self) -> Path:
        """What workloads have written, a volume for each domain. Root's alone, and its own unit's."""
        return self.state / "results"

    @property
    def documents(self) -> Path:
        """The customer's documents. The document service's alone."""
        return self.state / "documents"

    @property
    def adapters(self) -> Path:
        """The customer's examples, and the adapters that are trained on them. The adapter service's alone."""
        return self.state / "adapters"

    def served_adapters(self, member: str) -> Path:
        """Trained adapters, where the engine of a domain's member finds them."""
        return self.adapters / "served" / member

    @property
    def pending_requests(self) -> Path:
        """Requests by file that wait for their replies."""
        return self.state / "pending-requests"

    # The kernel.
    @property
    def kernel_command_line(self) -> Path:
        """The signed command line of this boot."""
        return self._under("/proc/cmdline")

    @property
    def firmware_log(self) -> Path:
        """The firmware's event log."""
        return self._under("/sys/kernel/security/tpm0/binary_bios_measurements")

    @property
    def userspace_log(self) -> Path:
        """systemd's measurement log."""
        return self._under("/run/log/systemd/tpm2-measure.log")

    @property
    def consoles(self) -> tuple[Path, ...]:
        """Terminals on which the box speaks to whoever stands before it."""
        return (self._under("/dev/ttyS0"), self._under("/dev/tty1"))

    def partition(self, label: str) -> Path:
        """A partition by its GPT label."""
        return self._under("/dev/disk/by-partlabel") / label

    @property
    def agents_binding(self) -> Path:
        """The partition ``binding`` as a device of the agent's own: the one disk that its profile lets it open."""
        return self._under("/dev/sealwright-binding")

    def partition_by_uuid(self, uuid: str) -> Path:
        """A partition by its GPT unique id."""
        return self._under("/dev/disk/by-partuuid") / uuid

    def mapped(self, name: str) -> Path:
        """A device of device-mapper."""
        return self._under(str(MAPPER)) / name
