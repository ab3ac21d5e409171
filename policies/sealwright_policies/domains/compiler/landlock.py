"""Landlock rules of a unit, as lines for the launcher (policies/spec/domain.md, 7).

Names of rights are those of linux/landlock.h in lower case, without LANDLOCK_ACCESS_FS_.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

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

ABI: Final = 6
"""Linux 6.12: file systems, TCP (4), ioctl on devices (5), scopes for signals and abstract sockets (6)."""

READ: Final = ("read_dir", "read_file")
RUN: Final = ("execute", *READ)
WRITE: Final = ("make_dir", "make_reg", "read_dir", "read_file", "remove_dir", "remove_file", "truncate", "write_file")

SYSTEM: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("/etc/localtime", ("read_file",)),
    ("/usr/share/zoneinfo", READ),
    ("/proc", READ),
    ("/sys/devices/system/cpu", READ),
    ("/sys/devices/system/node", READ),
    ("/dev/null", ("read_file", "write_file")),
    ("/dev/zero", ("read_file",)),
    ("/dev/random", ("read_file",)),
    ("/dev/urandom", ("read_file",)),
)
"""What each unit needs of the root; other processes in /proc are hidden by its namespace."""
IMAGE: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    (WORKLOAD_PROGRAM, ("execute", "read_file")),
    (WORKLOAD_CODE, RUN),
    (WORKLOAD_SETTINGS, READ),
)
"""For workloads, in a root of their own. The engine is one static file: nothing in it can start another program."""


def rules(unit: Unit) -> str:
    """Text of the rules."""
    paths = [*SYSTEM, *((folder, READ) for folder in unit.read_folders)]
    if unit.program is Program.ENGINE:
        paths += [(ENGINE, ("execute", "read_file")), (unit.socket_folder, ("make_sock", "read_dir", "remove_file"))]
    else:
        paths += IMAGE
    if unit.results:
        paths += [(unit.results, WRITE)]
    if unit.scratch_mib:
        paths += [(SCRATCH, WRITE)]
    lines = [f"abi {ABI}", *(f"path {path} {' '.join(access)}" for path, access in sorted(paths))]
    return "".join(f"{line}\n" for line in (*lines, *_ports(unit)))


def _ports(unit: Unit) -> Iterator[str]:
    if unit.has_network:
        for port in sorted({one.port for one in unit.domain.egress if one.protocol is Transport.TCP}):
            yield f"connect_tcp {port}"
