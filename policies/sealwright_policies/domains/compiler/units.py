"""The units of a domain: which programs run on its members, and what each may see (policies/spec/domain.md, 7)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sealwright_policies.domains.chain import Domains, readable
from sealwright_policies.domains.model import Domain, MemberKind

PAYLOADS: Final = "/run/sealwright/payloads"
"""Each member lies in a folder of its id here, whatever volume it comes from."""
DATA_SETS: Final = "/run/sealwright/data-sets"
"""For each domain the data sets on the state volume, as unlocking has bound them."""
RESULTS: Final = "/var/lib/sealwright/results"
"""On the state volume, a folder for each domain."""
OWN_ADAPTERS: Final = "/var/lib/sealwright/adapters/served"
"""On the state volume, a folder for each member whose adapters are trained on the customer's examples."""
SOCKETS: Final = "/run/sealwright/engine"
ENGINE: Final = "/usr/lib/sealwright/bin/llama-server"
LAUNCHER: Final = "/usr/lib/sealwright/bin/sealwright-launch"
"""Becomes the unit's program once it has confined itself."""
RULES: Final = "/usr/lib/sealwright/landlock"
LAUNCHER_IN_WORKLOAD: Final = "/run/sealwright-launch"
RULES_IN_WORKLOAD: Final = "/run/sealwright-rules"
"""Launcher and rules in the root that a workload has of its own, where nothing else is the box's."""
WORKLOAD_PROGRAM: Final = "/program"
WORKLOAD_CODE: Final = "/usr"
WORKLOAD_SETTINGS: Final = "/etc"
"""What is used of a workload's image: what it starts with, what that may run and load, and what it may read."""
SCRATCH: Final = "/tmp"  # noqa: S108
"""Of the unit's own, by TemporaryFileSystem=."""


class Program(StrEnum):
    """What a unit executes."""

    ENGINE = "engine"
    WORKLOAD = "workload"


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit of a domain."""

    domain: Domain
    program: Program
    member: str
    """Instance name: the payload id of a model, adapter or workload."""
    reads: tuple[str, ...]
    """Payload ids, sorted; a workload's own image is not among them."""
    files: tuple[str, ...] = ()
    """Domains whose data sets on the state volume it reads, sorted."""
    trains: bool = False
    """A workload that trains adapters on examples of the customer: they come over its socket."""
    has_own_adapters: bool = False
    """An engine whose adapters are trained so."""

    @property
    def name(self) -> str:
        """``engine@medical``."""
        return f"{self.program.value}@{self.member}"

    @property
    def profile(self) -> str:
        """Name of its AppArmor profile, and of the file that holds it."""
        return f"sealwright-{self.program.value}-{self.member}"

    @property
    def image(self) -> str:
        """Folder of a workload's image, which is its root."""
        return f"{PAYLOADS}/{self.member}"

    @property
    def rules_file(self) -> str:
        """Its Landlock rules in the verity root; /usr/share/sealwright is hidden from units."""
        return f"{RULES}/{self.name}.rules"

    @property
    def launcher(self) -> str:
        """The launcher, as the unit sees it."""
        return LAUNCHER_IN_WORKLOAD if self.program is Program.WORKLOAD else LAUNCHER

    @property
    def visible_rules(self) -> str:
        """Its rules, as it sees them."""
        return RULES_IN_WORKLOAD if self.program is Program.WORKLOAD else self.rules_file

    @property
    def socket_folder(self) -> str:
        """Where an engine listens."""
        return f"{SOCKETS}/{self.member}"

    @property
    def read_folders(self) -> tuple[str, ...]:
        """Folders of the payloads that it reads, and of data sets that came to the box."""
        return (*(f"{PAYLOADS}/{one}" for one in self.reads), *(f"{DATA_SETS}/{one}" for one in self.files))

    @property
    def bound_folders(self) -> tuple[str, ...]:
        """The same as BindReadOnlyPaths= has them: adapters that were made in the box lie elsewhere outside."""
        own = f"{PAYLOADS}/{self.member}" if self.has_own_adapters else None
        return tuple(f"{OWN_ADAPTERS}/{self.member}:{one}" if one == own else one for one in self.read_folders)

    @property
    def results(self) -> str | None:
        """The domain's result volume, if this unit writes there."""
        has_volume = self.program is Program.WORKLOAD and self.domain.resources.results_mib
        return f"{RESULTS}/{self.domain.name}" if has_volume else None

    @property
    def scratch_mib(self) -> int:
        """Memory for temporary files, MiB."""
        return self.domain.resources.scratch_mib if self.program is Program.WORKLOAD else 0

    @property
    def has_network(self) -> bool:
        """Whether it reaches anything; an engine never does."""
        return self.program is Program.WORKLOAD and bool(self.domain.egress)

    @property
    def makes_code(self) -> bool:
        """Whether it may map memory writable and executable."""
        return self.program is Program.WORKLOAD and self.domain.run.writable_code


def units_of(domains: Domains, name: str) -> tuple[Unit, ...]:
    """The units of one domain, in a fixed order."""
    return tuple(sorted(_units(domains, name), key=lambda unit: unit.name))


def _units(domains: Domains, name: str) -> Iterator[Unit]:
    domain = domains.by_name[name].domain
    if domain.run.engine:
        for model in domain.members(MemberKind.MODEL):
            yield Unit(domain, Program.ENGINE, model.id, (model.id,))
        for adapter in domain.members(MemberKind.ADAPTER):
            reads = tuple(sorted((adapter.id, str(adapter.base))))
            yield Unit(domain, Program.ENGINE, adapter.id, reads, has_own_adapters=adapter.trainer is not None)
    sources = readable(domains.by_name, name)
    visible = tuple(
        sorted(
            member.id for source in sources for member in source.domain.member if member.kind is not MemberKind.WORKLOAD
        )
    )
    files = tuple(sorted(source.domain.name for source in sources))
    for workload in domain.members(MemberKind.WORKLOAD):
        if workload.id in domain.run.workloads:
            trains = any(member.trainer == workload.id for member in domain.member)
            yield Unit(domain, Program.WORKLOAD, workload.id, visible, files, trains=trains)
