"""The sandbox of a unit: the drop-in 50-domain.conf. The template unit beside it says only what is run, and by whom."""

from __future__ import annotations

from typing import Final

from sealwright_policies.domains.compiler.nftables import users_set
from sealwright_policies.domains.compiler.seccomp import system_calls
from sealwright_policies.domains.compiler.units import ENGINE, LAUNCHER, SCRATCH, Program, Unit

Lines = list[tuple[str, str]]
FIREWALL: Final = "sealwright-firewall.service"

EVERY: Final = (
    ("CapabilityBoundingSet", ""),
    ("AmbientCapabilities", ""),
    ("NoNewPrivileges", "yes"),
    ("ProtectSystem", "strict"),
    ("ProtectHome", "yes"),
    ("ProtectProc", "invisible"),
    ("ProcSubset", "pid"),
    ("PrivateDevices", "yes"),
    ("PrivateIPC", "yes"),
    ("PrivatePIDs", "yes"),
    ("ProtectKernelTunables", "yes"),
    ("ProtectKernelModules", "yes"),
    ("ProtectKernelLogs", "yes"),
    ("ProtectControlGroups", "yes"),
    ("ProtectClock", "yes"),
    ("ProtectHostname", "yes"),
    ("RestrictNamespaces", "yes"),
    ("RestrictRealtime", "yes"),
    ("RestrictSUIDSGID", "yes"),
    ("LockPersonality", "yes"),
    ("RemoveIPC", "yes"),
    ("DevicePolicy", "closed"),
    ("KeyringMode", "private"),
    ("LimitCORE", "0"),
    ("MemorySwapMax", "0"),
)
TRAINER: Final = (
    ("StandardInput", "socket"),
    # One run for each connection, as often as there are examples.
    ("RemainAfterExit", "no"),
    # Whoever asks a model comes first.
    ("CPUWeight", "20"),
)
WORKLOAD: Final = (
    # If memory runs out it goes, before an engine does (500): it may have taken the memory to that end.
    ("OOMScoreAdjust", "900"),
)
HIDDEN: Final = (
    "/dev/shm",  # noqa: S108
    "/dev/mqueue",
    "/sys/kernel/security",
    "/sys/firmware",
    "/boot",
    "/efi",
    "/usr/share/sealwright",
    "/usr/lib/sealwright/python",
)
"""Places of no unit's business: shared memory of others, the kernel's and firmware's, the box's own code and keys."""


def drop_in(unit: Unit) -> str:
    """Text of the drop-in."""
    sections: list[tuple[str, Lines]] = [("Service", _service(unit))]
    if unit.has_network:
        # Its set is there when its user is added.
        sections.insert(0, ("Unit", [("Requires", FIREWALL), ("After", FIREWALL)]))
    head = f"# Compiled from the security domain {unit.domain.name}.\n"
    return head + "".join(
        f"\n[{name}]\n" + "".join(f"{key}={value}\n" for key, value in lines) for name, lines in sections
    )


def _service(unit: Unit) -> Lines:
    return [
        ("AppArmorProfile", unit.profile),
        *EVERY,
        ("MemoryDenyWriteExecute", "no" if unit.makes_code else "yes"),
        ("TasksMax", str(unit.domain.resources.tasks)),
        *_network(unit),
        *_files(unit),
        *system_calls(unit),
        *(WORKLOAD if unit.program is Program.WORKLOAD else ()),
        *(TRAINER if unit.trains else ()),
    ]


def _network(unit: Unit) -> Lines:
    if not unit.has_network:
        return [("PrivateNetwork", "yes"), ("IPAddressDeny", "any"), ("RestrictAddressFamilies", "AF_UNIX")]
    versions = {network.version for one in unit.domain.egress for network in one.networks}
    families = ["AF_UNIX", *(f"AF_INET{'6' if version == 6 else ''}" for version in sorted(versions))]
    return [
        ("PrivateNetwork", "no"),
        ("RestrictAddressFamilies", " ".join(families)),
        # By user, which DynamicUser= draws at every start. IPAddressAllow= would be a BPF program, which no process may
        # load in a box.
        ("NFTSet", f"user:inet:sealwright:{users_set(unit.domain.name)}"),
    ]


def _files(unit: Unit) -> Lines:
    """Of everything under /run and /var it sees its own payloads and the one place it writes to."""
    lines = _workload_files(unit) if unit.program is Program.WORKLOAD else _engine_files(unit)
    return [line for line in lines if line[1]]


def _engine_files(unit: Unit) -> Lines:
    writable = [unit.socket_folder]
    return [
        ("TemporaryFileSystem", f"/run:mode=0755 /var:ro {SCRATCH}:ro"),
        ("BindReadOnlyPaths", " ".join(unit.bound_folders)),
        ("BindPaths", " ".join(writable)),
        ("InaccessiblePaths", " ".join(f"-{path}" for path in HIDDEN)),
        # Mounts that systemd makes do not follow the first word: each place where the unit may write is named.
        ("NoExecPaths", " ".join(["/", SCRATCH, *unit.read_folders, *writable])),
        ("ExecPaths", f"{LAUNCHER} {ENGINE}"),
    ]


def _workload_files(unit: Unit) -> Lines:
    """The root is its image, and of the box's there is launcher and rules. What is no payload of the release, since the
    domain may have members that it lacks, is passed over. With a plus, paths are of the workload's root."""
    payloads = [f"-{one}" for one in unit.read_folders]
    writable = [unit.results] if unit.results else []
    scratch = f"{SCRATCH}:rw,mode=1777,size={unit.scratch_mib}M" if unit.scratch_mib else f"{SCRATCH}:ro"
    own = [f"{LAUNCHER}:{unit.launcher}", f"{unit.rules_file}:{unit.visible_rules}"]
    closed = [f"+{SCRATCH}", *(f"-+{one}" for one in unit.read_folders), *(f"+{one}" for one in writable)]
    return [
        ("RootDirectory", unit.image),
        ("MountAPIVFS", "yes"),
        ("BindLogSockets", "no"),
        ("TemporaryFileSystem", f"/var:ro {scratch}"),
        ("BindReadOnlyPaths", " ".join([*own, *payloads])),
        ("BindPaths", " ".join(writable)),
        ("InaccessiblePaths", " ".join(f"-+{path}" for path in HIDDEN)),
        ("NoExecPaths", " ".join(closed)),
    ]
