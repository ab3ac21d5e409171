"""Attempts on what belongs to others: payloads, sockets, processes, leases, devices; and on the places to write to."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from intruder.calls import RUN, STATE, connection, content, listing, nothing, opened, places

MARK = "planted-mark"
"""Name of the file that is left wherever one can be made; nothing of it may outlive its unit."""
WEIGHTS = b"weights planted here\n"
TOPS = ("/", "/tmp", "/var/tmp", "/run", "/run/sealwright", "/run/systemd", "/var/lib/sealwright", "/dev/shm")
SECTOR = 512
SOME_PROCESSES = 5000
"""More than a box has started when this runs."""
AF_PACKET, ETH_P_ALL = 17, 0x0300


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
    """Signal 0, a question only, to whichever process there is; not all places see their numbers."""
    found, refusal = [], OSError()
    for number in range(2, SOME_PROCESSES):
        try:
            if number not in (os.getpid(), os.getppid()):
                os.kill(number, 0)
                found.append(str(number))
        except OSError as error:
            refusal = error
    if not found:
        raise refusal
    return nothing(found)


def intrusion(other: str) -> str:
    """Make a file where another engine has its socket."""
    return written(RUN / "engine" / other)


def written(folder: Path) -> str:
    """Make a file, and take it away again."""
    file = folder / MARK
    file.write_bytes(WEIGHTS)
    file.unlink()
    return str(file)


def written_to_device(pattern: str) -> str:
    """Write to a disk or partition: its first sector, as it is."""
    device = Path(nothing([str(path) for path in sorted(Path("/dev").glob(pattern))]).split()[0])
    descriptor = os.open(device, os.O_RDWR)
    try:
        os.pwrite(descriptor, os.pread(descriptor, SECTOR, 0), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return str(device)


def carried_off() -> str:
    """Leave something on a second disk, which the owner of the machine has put in."""
    descriptor = os.open("/dev/vdb", os.O_WRONLY)
    try:
        os.pwrite(descriptor, WEIGHTS.ljust(SECTOR, b"\0"), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return "/dev/vdb"


def writable(own: str) -> str:
    """Folders and files that can be written to, beside :func:`calls.places`. Not every place may list the root."""
    passed_over = {*places(own), Path("/proc"), Path("/sys")}
    found = set()
    tops = [top for top in TOPS if Path(top) not in passed_over]
    for name, folders, files in itertools.chain.from_iterable(map(os.walk, tops)):
        folder = Path(name)
        folders[:] = [inner for inner in folders if folder / inner not in passed_over]
        # Devices have attempts of their own.
        data = [path for path in (folder / file for file in files) if path.is_file() and not path.is_symlink()]
        found |= {str(path) for path in (folder, *data) if is_writable(path)}
    return nothing(sorted(found))


def is_writable(path: Path) -> bool:
    """By doing it: access(2) knows nothing of AppArmor. A file is opened only."""
    try:
        if os.access(path, os.W_OK):
            return bool(written(path) if path.is_dir() else content(path, os.O_WRONLY))
    except OSError:
        pass
    return False


def link(own: str) -> str:
    (RUN / "engine" / own / "planted-link").symlink_to(RUN / "agent.sock")
    return "a link"


def became_root() -> str:
    if os.geteuid() != 0:
        os.setuid(0)
    return "root"


def capabilities() -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    held = [line for line in lines if line.startswith(("CapPrm", "CapBnd", "CapAmb")) and int(line.split()[1], 16)]
    return nothing([line.replace("\t", "") for line in held])


def attempts(own: str, other: str) -> dict[str, Callable[[], str]]:
    return {
        "other-socket": lambda: connection(RUN / "engine" / other / "engine.sock"),
        "other-socket-folder": lambda: intrusion(other),
        "other-payload": lambda: content(RUN / "payloads" / other / "model.gguf"),
        "other-payload-device": lambda: content(Path("/dev/mapper") / f"sealwright-{other}"),
        "data-set": lambda: content(RUN / "payloads/rows/rows.csv"),
        "data-set-device": lambda: content(Path("/dev/mapper/sealwright-rows")),
        "results": lambda: content(STATE / "results/counting-job/report"),
        "domain-file": lambda: content(STATE / "domains/counting-job/data-set/planted/content"),
        "domain-seal-key": lambda: content(RUN / "domain-seal.key"),
        "documents": lambda: content(STATE / "documents/documents.sqlite"),
        "examples": lambda: content(STATE / "adapters/kept/planted.examples"),
        "other-processes": lambda: nothing([str(number) for number in others()]),
        "other-environments": lambda: nothing(list(environments())),
        "other-environment-file": lambda: content(RUN / "engine-environment" / other),
        "signal-to-others": signalled,
        "agent-socket": lambda: connection(RUN / "agent.sock"),
        "system-bus": lambda: connection(Path("/run/dbus/system_bus_socket")),
        "service-manager": lambda: connection(Path("/run/systemd/private")),
        "state": lambda: listing(STATE),
        "leases": lambda: listing(STATE / "leases"),
        "shares": lambda: listing(STATE / "shares"),
        "tls-key": lambda: content(RUN / "tls/key.pem"),
        "packet-socket": lambda: opened(AF_PACKET, socket.SOCK_RAW, ETH_P_ALL),
        "netlink-socket": lambda: opened(socket.AF_NETLINK, socket.SOCK_RAW),
        "kernel-log": lambda: content(Path("/dev/kmsg")),
        "disk": lambda: content(Path("/dev/disk/by-partlabel/state")),
        "tpm": lambda: content(Path("/dev/tpmrm0"), os.O_RDWR),
        "firmware-variables": lambda: listing(Path("/sys/firmware/efi/efivars")),
        "writable-places": lambda: writable(own),
        "write-state": lambda: written(STATE),
        "write-esp": lambda: written_to_device("disk/by-partlabel/esp"),
        "write-disk": lambda: written_to_device("vda"),
        "write-other-disk": carried_off,
        "write-usb": lambda: written_to_device("sd?"),
        "link": lambda: link(own),
        "root": became_root,
        "capabilities": capabilities,
    }  # fmt: skip
