"""Attempts on memory and on the kernel: what a debugger, an exploit or another kernel would be used for."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from intruder.calls import called, content, nothing, places, switched_off, system_call

PTRACE, ACCT, MOUNT, UMOUNT, SWAPON, SWAPOFF = 101, 163, 165, 166, 167, 168
KEXEC, UNSHARE, PERF = 246, 272, 298
PROCESS_VM_READV, KCMP, INSERT_MODULE, BPF, USERFAULTFD = 310, 312, 313, 321, 323
IO_URING, PIDFD_OPEN, PIDFD_GETFD = 425, 434, 438
COMPRESSED = 4
"""finit_module's flag for a file as Debian ships it (linux/module.h)."""
PTRACE_SEIZE, UFFD_USER_MODE_ONLY = 0x4206, 1
NEW_MOUNTS, NEW_USERS, NEW_NETWORK = 0x2_0000, 0x1000_0000, 0x4000_0000
NO_SUID, NO_DEVICES, NO_CODE, REMOUNT, BIND = 2, 4, 8, 0x20, 0x1000
"""Of mount(2)."""
NONE = ctypes.c_long(0)


def trace() -> str:
    """Trace a process of one's own: what is refused there is refused everywhere."""
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    try:
        return system_call(PTRACE, ctypes.c_long(PTRACE_SEIZE), ctypes.c_long(child), None, None)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def foreign_memory() -> str:
    """Read the parent's memory, at an address that is mapped there, since this process was forked from it."""
    wanted = ctypes.create_string_buffer(b"known to both", 16)
    got = ctypes.create_string_buffer(16)
    vector = ctypes.c_void_p * 2
    near = vector(ctypes.addressof(got), 16)
    far = vector(ctypes.addressof(wanted), 16)
    one = ctypes.c_long(1)
    return system_call(PROCESS_VM_READV, ctypes.c_long(os.getppid()), near, one, far, one, NONE)


def process_memory() -> str:
    """The same by the file that the kernel has for it."""
    wanted = ctypes.create_string_buffer(b"known to both", 16)
    descriptor = os.open(f"/proc/{os.getppid()}/mem", os.O_RDONLY)
    try:
        return str(os.pread(descriptor, 13, ctypes.addressof(wanted)))
    finally:
        os.close(descriptor)


def core_dump(own: str) -> str:
    """End a process of one's own so that the kernel writes its memory into a file."""
    folder = places(own)[0]
    child = os.fork()
    if child == 0:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        os.chdir(folder)
        os.abort()
    os.waitpid(child, 0)
    cores = sorted(folder.glob("core*"))
    for core in cores:
        core.unlink()
    return nothing([str(core) for core in cores])


def swapped() -> str:
    """Have the kernel write memory to a second disk, which its owner has made ready for that."""
    result = system_call(SWAPON, b"/dev/vdb", NONE)
    called(SWAPOFF, b"/dev/vdb")
    return result


def hibernation() -> str:
    """Say how the machine is to end once its memory is on a disk: who may do that may hibernate it."""
    way = Path("/sys/power/disk")
    way.write_text("shutdown")
    return str(way)


def unshared(flags: int) -> str:
    return system_call(UNSHARE, ctypes.c_long(flags))


def mounted() -> str:
    return system_call(MOUNT, b"tmpfs", b"/mnt", b"tmpfs", NONE, None)


def bound_over(own: str) -> str:
    """Put a folder of one's own in the place of the box's programs."""
    target = b"/usr/lib/sealwright"
    result = system_call(MOUNT, os.fsencode(places(own)[-1]), target, None, ctypes.c_long(BIND), None)
    called(UMOUNT, target, NONE)
    return result


def remounted() -> str:
    """Take noexec away from a place to write to."""
    flags = REMOUNT | BIND | NO_SUID | NO_DEVICES
    result = system_call(MOUNT, None, b"/tmp", None, ctypes.c_long(flags), None)
    called(MOUNT, None, b"/tmp", None, ctypes.c_long(flags | NO_CODE), None)
    return result


def module_file() -> Path:
    """A module that nobody has loaded, signed and of the verified root: what stops it stops every module."""
    return Path("/usr/lib/modules") / os.uname().release / "kernel/drivers/net/dummy.ko.xz"


def inserted(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY)
    return system_call(INSERT_MODULE, ctypes.c_long(descriptor), b"", ctypes.c_long(COMPRESSED))


def another_kernel() -> str:
    """kexec_load(2) with nothing to load: who may call it may load."""
    return system_call(KEXEC, NONE, NONE, None, NONE)


def same_file() -> str:
    me = ctypes.c_long(os.getpid())
    return system_call(KCMP, me, me, NONE, ctypes.c_long(1), ctypes.c_long(2))


def taken_descriptor() -> str:
    """One's own: whoever may not take that may take none."""
    process = called(PIDFD_OPEN, ctypes.c_long(os.getpid()), NONE)
    return system_call(PIDFD_GETFD, ctypes.c_long(process), ctypes.c_long(1), NONE)


def bpf_map() -> bytes:
    """BPF_MAP_CREATE: an array of one entry, key 4 bytes, value 4 bytes (linux/bpf.h, union bpf_attr)."""
    return b"".join(number.to_bytes(4, "little") for number in (2, 4, 4, 1)) + bytes(56)


def perf_event() -> bytes:
    """A software event, the CPU's clock (linux/perf_event.h, struct perf_event_attr: type 1, size 112)."""
    return (1).to_bytes(4, "little") + (112).to_bytes(4, "little") + bytes(104)


def code_policy() -> str:
    """Switch the code policy off, where it is not off already."""
    switch = Path("/sys/kernel/security/ipe/enforce")
    return f"{switch} is off" if switch.read_text().strip() == "0" else switched_off(switch)


def attempts(own: str) -> dict[str, Callable[[], str]]:
    return {
        "ptrace": trace,
        "foreign-memory": foreign_memory,
        "process-memory": process_memory,
        "physical-memory": lambda: content(Path("/dev/mem")),
        "kernel-memory": lambda: content(Path("/proc/kcore")),
        "core-dump": lambda: core_dump(own),
        "swap": swapped,
        "hibernation": hibernation,
        # Whoever opens it may read an image of all memory (Documentation/power/userland-swsusp.rst).
        "memory-image": lambda: content(Path("/dev/snapshot")),
        "core-settings": lambda: switched_off(Path("/proc/sys/kernel/core_pattern")),
        "user-namespace": lambda: unshared(NEW_USERS),
        "mount-namespace": lambda: unshared(NEW_MOUNTS),
        "network-namespace": lambda: unshared(NEW_NETWORK),
        "mount": mounted,
        "bind-over": lambda: bound_over(own),
        "remount": remounted,
        "bpf": lambda: system_call(BPF, NONE, bpf_map(), ctypes.c_long(72)),
        "perf": lambda: system_call(PERF, perf_event(), NONE, ctypes.c_long(-1), ctypes.c_long(-1), None),
        "io-uring": lambda: system_call(IO_URING, ctypes.c_long(1), ctypes.create_string_buffer(120)),
        "userfaultfd": lambda: system_call(USERFAULTFD, ctypes.c_long(UFFD_USER_MODE_ONLY)),
        "module": lambda: inserted(module_file()),
        "kexec": another_kernel,
        "code-policy": code_policy,
        "same-file": same_file,
        "foreign-descriptor": taken_descriptor,
        "accounting": lambda: system_call(ACCT, None),
    }  # fmt: skip
