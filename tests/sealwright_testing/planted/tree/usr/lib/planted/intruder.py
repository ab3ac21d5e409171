"""Code that has got into an engine and tries to get further. Runs in a test image, in the place of llama-server.

    python3 -I intruder.py LABEL OWN OTHER [PROFILE]

OWN and OTHER are payload ids: the engine that it runs as, and one that serves. No interpreter starts in an engine's
AppArmor profile, so the intruder goes into PROFILE once it runs, as code does that gets into a process that is there.
For each attempt it prints ``probe LABEL NAME denied REASON`` or ``probe LABEL NAME ALLOWED DETAIL``. Only an error of
the operating system counts as denied; anything else ends the program, and its line is missing. Run by root outside of
any sandbox (LABEL "control") it shows that what it looks for is there and that the attempts are good ones.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

RUN = Path("/run/sealwright")
STATE = Path("/var/lib/sealwright")
MARK = "planted-mark"
"""Name of the file that is left wherever one can be made; nothing of it may outlive the engine."""
PROGRAM = "/usr/bin/python3"
# System calls of x86-64 (Linux, arch/x86/entry/syscalls/syscall_64.tbl) and their arguments.
PTRACE, ACCT, MOUNT, UNSHARE, PERF, PROCESS_VM_READV, KCMP, INSERT_MODULE = 101, 163, 165, 272, 298, 310, 312, 313
BPF, USERFAULTFD, IO_URING, PIDFD_OPEN, PIDFD_GETFD = 321, 323, 425, 434, 438
COMPRESSED = 4
"""finit_module's flag for a file as Debian ships it (linux/module.h)."""
PTRACE_SEIZE, UFFD_USER_MODE_ONLY = 0x4206, 1
NEW_MOUNTS, NEW_USERS, NEW_NETWORK = 0x2_0000, 0x1000_0000, 0x4000_0000
AF_PACKET, ETH_P_ALL = 17, 0x0300
HOST = "10.0.2.2"
"""Behind QEMU's user network."""


def nothing(found: list[str]) -> str:
    """What was found; that there is nothing is an error like any other."""
    if not found:
        raise FileNotFoundError(errno.ENOENT, "nothing there")
    return " ".join(found[:5])


def listing(folder: Path) -> str:
    return nothing([path.name for path in folder.iterdir()])


def content(path: Path, flags: int = os.O_RDONLY) -> str:
    """Open a file or device; not all can be read at once."""
    os.close(os.open(path, flags))
    return str(path)


def connection(path: Path) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(path))
    return str(path)


def opened(family: int, kind: int, protocol: int = 0) -> str:
    socket.socket(family, kind, protocol).close()
    return "a socket"


def datagram() -> str:
    """A way to the host of QEMU's user network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect((HOST, 9))
        return str(client.getsockname())


def sent_datagram() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        return f"{client.sendto(b'weights', (HOST, 9))} bytes"


def sent_echo() -> str:
    """An ICMP echo request, with room for weights."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as client:
        return f"{client.sendto(struct.pack('!BBHHH', 8, 0, 0xF7FF, 0, 0), (HOST, 0))} bytes"


def called() -> str:
    """Open a connection; that nobody listens there is an answer of the host, which so was reached."""
    try:
        with socket.create_connection((HOST, 9), timeout=60):
            return "connected"
    except ConnectionRefusedError:
        return "refused by the host"


def system_call(number: int, *arguments: object) -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), "system call refused")
    return f"returned {result}"


def others() -> list[int]:
    """Processes that are neither this one nor its parent."""
    numbers = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [number for number in numbers if number not in (os.getpid(), os.getppid())]


def environments() -> Iterator[str]:
    """Processes whose environment can be read."""
    for number in others():
        try:
            if Path(f"/proc/{number}/environ").read_bytes():
                yield str(number)
        except OSError:
            continue


def signalled() -> str:
    """Signal 0 to all processes that there are: a question only."""
    os.kill(-1, 0)
    return "others"


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
    parent = ctypes.c_long(os.getppid())
    return system_call(PROCESS_VM_READV, parent, near, one, far, one, ctypes.c_long(0))


def unshared(flags: int) -> str:
    return system_call(UNSHARE, ctypes.c_long(flags))


def mounted() -> str:
    return system_call(MOUNT, b"tmpfs", b"/mnt", b"tmpfs", ctypes.c_long(0), None)


def places(own: str) -> tuple[Path, ...]:
    """Where an engine may write: what goes with it."""
    return tuple(path for path in (Path("/tmp"), Path("/var/tmp"), RUN / "engine" / own) if path.is_dir())


def writable(own: str) -> str:
    """Folders and files that can be written to, beside :func:`places`."""
    passed_over = {*places(own), Path("/proc"), Path("/sys")}
    found = []
    for name, folders, files in os.walk("/"):
        folder = Path(name)
        folders[:] = [inner for inner in folders if folder / inner not in passed_over]
        # Devices have attempts of their own.
        data = [path for path in (folder / file for file in files) if path.is_file() and not path.is_symlink()]
        found += [str(path) for path in (folder, *data) if os.access(path, os.W_OK)]
    return nothing(found)


def own_code(own: str) -> str:
    """Run a program that was not in the verified root."""
    refusals = []
    for place in places(own):
        try:
            copy = shutil.copy(PROGRAM, place / "planted-program")
            Path(copy).chmod(0o755)
            subprocess.run([copy, "--version"], check=True, capture_output=True)
            return str(copy)
        except OSError as error:
            refusals.append(error)
    raise refusals[0]


def memory_program() -> str:
    """Run a program that is in no file system."""
    descriptor = os.memfd_create("planted")
    os.write(descriptor, Path(PROGRAM).read_bytes())
    subprocess.run([f"/proc/self/fd/{descriptor}", "--version"], pass_fds=[descriptor], check=True, capture_output=True)
    return "a program from memory"


def interpreter() -> str:
    subprocess.run([PROGRAM, "-I", "-c", ""], check=True, capture_output=True)
    return PROGRAM


def own_library(own: str) -> str:
    """Load code into a process that is there."""
    (place,) = (RUN / "engine" / own,)
    copy = shutil.copy("/usr/lib/x86_64-linux-gnu/libz.so.1", place / "planted-library")
    return str(ctypes.CDLL(str(copy)))


def module_file() -> Path:
    """A module that nobody has loaded, signed and of the verified root: what stops it stops every module."""
    return Path("/usr/lib/modules") / os.uname().release / "kernel/drivers/net/dummy.ko.xz"


def inserted(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY)
    return system_call(INSERT_MODULE, ctypes.c_long(descriptor), b"", ctypes.c_long(COMPRESSED))


def switched_off(path: Path) -> str:
    """What PATH says already, written anew: whoever may do that may write anything."""
    path.write_text(path.read_text())
    return str(path)


def same_file() -> str:
    me = ctypes.c_long(os.getpid())
    return system_call(KCMP, me, me, ctypes.c_long(0), ctypes.c_long(1), ctypes.c_long(2))


def taken_descriptor() -> str:
    """One's own: whoever may not take that may take none."""
    libc = ctypes.CDLL(None, use_errno=True)
    process = libc.syscall(ctypes.c_long(PIDFD_OPEN), ctypes.c_long(os.getpid()), ctypes.c_long(0))
    return system_call(PIDFD_GETFD, ctypes.c_long(process), ctypes.c_long(1), ctypes.c_long(0))


def writable_code() -> str:
    mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_WRITE | mmap.PROT_EXEC).close()
    return "memory that can be written and run"


def became_root() -> str:
    os.setuid(0)
    return "root"


def capabilities() -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    held = [line for line in lines if line.startswith(("CapPrm", "CapBnd", "CapAmb")) and int(line.split()[1], 16)]
    return nothing([line.replace("\t", "") for line in held])


def link(own: str) -> str:
    (RUN / "engine" / own / "planted-link").symlink_to(RUN / "agent.sock")
    return "a link"


def intrusion(other: str) -> str:
    """Make a file where another engine has its socket."""
    place = RUN / "engine" / other / MARK
    place.touch()
    place.unlink()
    return str(place)


def attempts(own: str, other: str) -> dict[str, Callable[[], str]]:
    return {
        "other-socket": lambda: connection(RUN / "engine" / other / "engine.sock"),
        "other-socket-folder": lambda: intrusion(other),
        "other-payload": lambda: content(RUN / "payloads" / other / "model.gguf"),
        "other-payload-device": lambda: content(Path("/dev/mapper") / f"sealwright-{other}"),
        "data-set": lambda: content(RUN / "payloads/rows/rows.csv"),
        "data-set-device": lambda: content(Path("/dev/mapper/sealwright-rows")),
        "results": lambda: content(STATE / "results/counting-job/report"),
        "other-processes": lambda: nothing([str(number) for number in others()]),
        "other-environments": lambda: nothing(list(environments())),
        "other-environment-file": lambda: content(RUN / "engine-environment" / other),
        "signal-to-others": signalled,
        "ptrace": trace,
        "foreign-memory": foreign_memory,
        "agent-socket": lambda: connection(RUN / "agent.sock"),
        "system-bus": lambda: connection(Path("/run/dbus/system_bus_socket")),
        "service-manager": lambda: connection(Path("/run/systemd/private")),
        "state": lambda: listing(STATE),
        "leases": lambda: listing(STATE / "leases"),
        "shares": lambda: listing(STATE / "shares"),
        "tls-key": lambda: listing(RUN / "tls"),
        "network": datagram,
        "send-datagram": sent_datagram,
        "send-echo": sent_echo,
        "call-host": called,
        "packet-socket": lambda: opened(AF_PACKET, socket.SOCK_RAW, ETH_P_ALL),
        "netlink-socket": lambda: opened(socket.AF_NETLINK, socket.SOCK_RAW),
        "physical-memory": lambda: content(Path("/dev/mem")),
        "kernel-memory": lambda: content(Path("/proc/kcore")),
        "kernel-log": lambda: content(Path("/dev/kmsg")),
        "disk": lambda: content(Path("/dev/disk/by-partlabel/state")),
        "tpm": lambda: content(Path("/dev/tpmrm0"), os.O_RDWR),
        "firmware-variables": lambda: listing(Path("/sys/firmware/efi/efivars")),
        "user-namespace": lambda: unshared(NEW_USERS),
        "mount-namespace": lambda: unshared(NEW_MOUNTS),
        "network-namespace": lambda: unshared(NEW_NETWORK),
        "mount": mounted,
        "bpf": lambda: system_call(BPF, ctypes.c_long(0), bpf_map(), ctypes.c_long(72)),
        "perf": lambda: system_call(PERF, perf_event(), ctypes.c_long(0), ctypes.c_long(-1), ctypes.c_long(-1), None),
        "io-uring": lambda: system_call(IO_URING, ctypes.c_long(1), ctypes.create_string_buffer(120)),
        "userfaultfd": lambda: system_call(USERFAULTFD, ctypes.c_long(UFFD_USER_MODE_ONLY)),
        "writable-places": lambda: writable(own),
        "own-code": lambda: own_code(own),
        "writable-code": writable_code,
        "memory-program": memory_program,
        "own-library": lambda: own_library(own),
        "interpreter": interpreter,
        "module": lambda: inserted(module_file()),
        "code-policy": lambda: switched_off(Path("/sys/kernel/security/ipe/enforce")),
        "same-file": same_file,
        "foreign-descriptor": taken_descriptor,
        "accounting": lambda: system_call(ACCT, None),
        "root": became_root,
        "capabilities": capabilities,
        "link": lambda: link(own),
    }  # fmt: skip


def bpf_map() -> bytes:
    """BPF_MAP_CREATE: an array of one entry, key 4 bytes, value 4 bytes (linux/bpf.h, union bpf_attr)."""
    return b"".join(number.to_bytes(4, "little") for number in (2, 4, 4, 1)) + bytes(56)


def perf_event() -> bytes:
    """A software event, the CPU's clock (linux/perf_event.h, struct perf_event_attr: type 1, size 112)."""
    return (1).to_bytes(4, "little") + (112).to_bytes(4, "little") + bytes(104)


def outcome(attempt: Callable[[], str]) -> str:
    try:
        return f"ALLOWED {attempt()}"
    except OSError as error:
        return f"denied {errno.errorcode.get(error.errno or 0, error)}"


def try_out(line: str, attempt: Callable[[], str]) -> None:
    """In a process of its own: some attempts change the process that makes them."""
    child = os.fork()
    if child == 0:
        print(f"{line} {outcome(attempt)}", flush=True)
        os._exit(0)
    os.waitpid(child, 0)


def confine(profile: str) -> None:
    """Go into an AppArmor profile; there is no way back."""
    Path("/proc/self/attr/apparmor/current").write_text(f"changeprofile {profile}")


def main() -> None:
    label, own, other, *profiles = sys.argv[1:]
    for profile in profiles:
        confine(profile)
    for name, attempt in attempts(own, other).items():
        try_out(f"probe {label} {name}", attempt)
    for place in places(own):
        with suppress(OSError):
            (place / MARK).touch()
    print(f"probe {label} end", flush=True)


if __name__ == "__main__":
    main()
