"""AppArmor profile of a unit. No abstraction is included: every path that may be touched stands in the profile.

systemd changes to the profile as it executes the unit's first program. What no rule names is refused: other files,
capabilities, mounts, ptrace, signals to others, networks.
"""

from __future__ import annotations

from collections.abc import Iterator

from sealwright_policies.domains.compiler.units import (
    ENGINE,
    SCRATCH,
    WORKLOAD_CODE,
    WORKLOAD_PROGRAM,
    WORKLOAD_SETTINGS,
    Program,
    Unit,
)
from sealwright_policies.domains.endpoints import Transport

IMAGE = (
    f"{WORKLOAD_PROGRAM} mrix,",
    f"{WORKLOAD_CODE}/{{,**}} mrix,",
    f"{WORKLOAD_SETTINGS}/{{,**}} r,",
)
"""A workload's own root, with its loader and libraries; the engine is one static file."""
TIME = ("/etc/localtime r,", "/usr/share/zoneinfo/** r,")
KERNEL = (
    "/dev/null rw,",
    "/dev/zero r,",
    "/dev/random r,",
    "/dev/urandom r,",
    "/proc/{cpuinfo,meminfo,stat} r,",
    "/proc/sys/vm/overcommit_memory r,",
    "/sys/devices/system/cpu/{,**} r,",
    "/sys/devices/system/node/{,**} r,",
    "owner /proc/[0-9]*/{exe,maps,stat,statm,status} r,",
    "owner /proc/[0-9]*/task/[0-9]*/{comm,stat,status} r,",
)
"""How many CPUs, how much memory, and a process's own state."""


RESULTS_DEPTH = 8
"""Names in the longest path below the place for results."""


def profile(unit: Unit) -> str:
    """Text of the profile."""
    groups = (
        ("programs and libraries", _programs(unit)),
        ("the kernel's word on CPUs and memory", KERNEL),
        ("members", _members(unit)),
        ("places to write", _places(unit)),
        ("sockets", _sockets(unit)),
        ("signals", ("signal receive peer=unconfined,", f"signal (send, receive) peer={unit.profile},")),
    )
    lines = [
        f"# Compiled from the security domain {unit.domain.name}.",
        f"profile {unit.profile} flags=(attach_disconnected) {{",
    ]
    for title, rules in groups:
        text = [f"  {rule}" for rule in rules]
        lines += [f"  # {title}", *text] if text else []
    return "\n".join([*lines, "}"]) + "\n"


def _programs(unit: Unit) -> Iterator[str]:
    yield f"{unit.launcher} mr,"
    yield f"{unit.visible_rules} r,"
    if unit.program is Program.ENGINE:
        yield f"{ENGINE} mrix,"
        yield from TIME
    else:
        yield from IMAGE


def _members(unit: Unit) -> Iterator[str]:
    for folder in unit.read_folders:
        yield f"{folder}/ r,"
        yield f"{folder}/** r,"


def _places(unit: Unit) -> Iterator[str]:
    if unit.program is Program.ENGINE:
        yield f"{unit.socket_folder}/ r,"
        yield f"{unit.socket_folder}/engine.sock rw,"
    if unit.results:
        yield f"{unit.results}/ r,"
        # Folders no deeper: whoever removes or copies what lies there follows them.
        yield from (f"{unit.results}/{'*/' * depth}*{{,/}} rwk," for depth in range(RESULTS_DEPTH))
    if unit.scratch_mib:
        yield f"{SCRATCH}/ r,"
        yield f"owner {SCRATCH}/** rwk,"


def _sockets(unit: Unit) -> Iterator[str]:
    if unit.program is Program.ENGINE or unit.trains:
        # Not `unix`: kernels before 6.17 do not know that rule.
        yield "network unix stream,"
    if unit.has_network:
        for version, transport in sorted(
            {(net.version, one.protocol) for one in unit.domain.egress for net in one.networks}
        ):
            family = "inet6" if version == 6 else "inet"
            yield f"network {family} {'stream' if transport is Transport.TCP else 'dgram'},"
