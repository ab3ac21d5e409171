"""System calls of a unit, as systemd's SystemCallFilter= takes them (policies/spec/domain.md, 7)."""

from __future__ import annotations

from typing import Final

from sealwright_policies.domains.compiler.units import Program, Unit

COMMON: Final = (
    "@default @basic-io @file-system @io-event @memlock @process @signal @sync @timer",
    # Of @system-service, what none of the groups above has: memory advice, reading ahead, pipes, CPU affinity.
    "fadvise64 getcpu getpriority ioctl madvise mremap pipe pipe2 readahead sched_getaffinity sched_getparam"
    " sched_getscheduler sched_yield sysinfo umask",
    # The launcher's own: with these a process can only take rights from itself.
    "@sandbox",
)
"""Less than @system-service: no @aio, @chown, @ipc, @keyring, @resources, @setuid, no splice, kcmp, personality."""
NETWORK: Final = "@network-io"
"""Sockets; of which families, RestrictAddressFamilies= says. The engine listens on one."""
WORKLOAD: Final = "get_mempolicy mbind sched_setaffinity set_mempolicy uname"
"""Numerical libraries pin their threads, and ask for the memory of a processor; Python asks on which system it is."""

DENIED: Final = (
    # Other processes' memory, and files that are not on any file system.
    "@debug userfaultfd memfd_create memfd_secret pidfd_getfd process_madvise process_mrelease",
    # In a socket's or result's place, a link would lead others to what the unit chose; a device node to a disk.
    "symlink symlinkat mknod mknodat name_to_handle_at open_by_handle_at",
    "@mount @module @raw-io @reboot @swap @keyring setns unshare bpf perf_event_open execveat",
    "io_uring_setup io_uring_enter io_uring_register",
)


def system_calls(unit: Unit) -> list[tuple[str, str]]:
    """Lines of the drop-in: what is allowed, then what is taken out of that again."""
    allowed = [*COMMON, NETWORK]
    if unit.program is Program.WORKLOAD:
        allowed.append(WORKLOAD)
    return [
        ("SystemCallArchitectures", "native"),
        *(("SystemCallFilter", line) for line in allowed),
        *(("SystemCallFilter", f"~{line}") for line in DENIED),
        ("SystemCallErrorNumber", "EPERM"),
    ]
