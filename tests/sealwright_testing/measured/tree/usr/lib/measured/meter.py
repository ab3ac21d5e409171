"""What a test image counts as root once its engines serve: what sealing costs, in instructions of this machine.

The machine runs with one processor whose clock counts its instructions (QEMU's ``-icount shift=0``: a nanosecond is an
instruction), so the kernel's accounts of processor time are instructions: /proc/schedstat of all tasks, cpu.stat of a
unit's. Time in which the processor waits is in none of them. The same llama-server with the same words and environment
runs on two sides: *sealed*, in its unit on the mounted payload, and *plain*, a unit without any sandbox on the same
file system from a disk that is neither encrypted nor verified.

It prints one line, ``measured {…} in all``: instructions of the boot, and for each side and round of a load, a decoded
token and an evaluated token, and bytes of memory. Where it is not told how many rounds, it does nothing: so at the
box's activation.
"""

from __future__ import annotations

import ctypes
import http.client
import json
import mmap
import os
import re
import shlex
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

RUN = Path("/run/sealwright")
MODEL = "medical"
FILE = "model.gguf"
ENGINE = f"sealwright-engine@{MODEL}.service"
PLAIN = "measured-plain.service"
PLAIN_RUN = Path("/run/measured")
LOADER = "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
SERIAL = "measured"
"""Of the plain side's disk, as the host has named it."""
CGROUPS = Path("/sys/fs/cgroup")
NS = 1000
"""Nanoseconds in cpu.stat's unit."""
PAGE = mmap.PAGESIZE
POLL_S = 0.05
SETTLED_S = 5.0
"""The agent has published its state, and drops cached pages every 2 s."""
SHORT, LONG = 8, 136
"""Tokens of two replies; what they differ by is decoding alone."""
WORDS = "What is metformin and when should it not be taken? "
SHORT_PROMPT, LONG_PROMPT = WORDS, WORDS * 24
SEALING = re.compile(
    r"(sealwright-(unlock|volumes|agent|firewall|modules-off)|systemd-pcr(phase|extend).*|systemd-veritysetup@.*)\.service"
)
"""Units of a boot that a box which seals nothing would not have."""


@dataclass(frozen=True)
class Side:
    """One engine: its unit, its socket, the file that it loads, and devices whose cached pages belong to it."""

    unit: str
    socket: Path
    file: Path
    devices: tuple[Path, ...]


SEALED = Side(
    ENGINE,
    RUN / "engine" / MODEL / "engine.sock",
    RUN / "payloads" / MODEL / FILE,
    tuple(Path(f"/dev/mapper/sealwright-{name}{MODEL}") for name in ("", "crypt-")),
)
BARE = Side(PLAIN, PLAIN_RUN / "engine.sock", PLAIN_RUN / "payload" / FILE, ())


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("engine", timeout=600)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(600)
        self.sock.connect(str(self._path))


def systemctl(*arguments: str) -> str:
    return subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False).stdout.strip()


def shown(name: str, unit: str) -> str:
    return systemctl("show", f"--property={name}", "--value", unit)


def busy() -> int:
    """Instructions of all tasks since the kernel's start; field 7 of a processor's line (sched-stats.rst)."""
    time.sleep(0.001)  # this task's own are counted as it leaves the processor
    return sum(int(line.split()[7]) for line in Path("/proc/schedstat").read_text().splitlines() if line[:3] == "cpu")


def used_by(unit: str) -> int:
    """Instructions of a unit's processes since it was started, in thousands of them."""
    stat = (CGROUPS / shown("ControlGroup", unit).lstrip("/") / "cpu.stat").read_text()
    return NS * int(stat.split()[1])


def own() -> int:
    time.sleep(0.001)
    return time.process_time_ns() + sum(int(1e9 * spent) for spent in os.times()[2:4])


def kernel_threads() -> int:
    """Instructions of the kernel's own threads since its start: dm-crypt's and dm-verity's work among much else."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if not (folder / "cmdline").read_bytes() and folder.name != "1":
                total += int((folder / "schedstat").read_text().split()[0])
        except OSError:
            continue
    return total


def answer(path: Path, request: str) -> bytes | None:
    connection = UnixConnection(path)
    try:
        connection.request("GET", request)
        reply = connection.getresponse()
        return reply.read() if reply.status == http.client.OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def state() -> str:
    body = answer(RUN / "agent.sock", "/status")
    return str(json.loads(body)["state"]) if body else ""


def wait_until(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(POLL_S)


def measure_boot() -> dict[str, int]:
    everything = busy()
    units = [
        line.split()[0] for line in systemctl("list-units", "--all", "--plain", "--no-legend").splitlines() if line
    ]
    sealing = {unit: shown("CPUUsageNSec", unit) for unit in units if SEALING.fullmatch(unit)}
    counted = {unit: int(spent) for unit, spent in sealing.items() if spent.isdecimal() and int(spent) < 2**63}
    return {"all": everything - own(), "sealing": sum(counted.values()), "kernel_threads": kernel_threads(), **counted}


def plain_disk() -> Path:
    found = [path.parent.name for path in Path("/sys/block").glob("*/serial") if path.read_text().strip() == SERIAL]
    return Path("/dev") / found[0]


def make_plain_side() -> None:
    """The sealed engine's words and environment for the plain one, which differs by socket and file alone."""
    words = (Path("/proc") / shown("MainPID", ENGINE) / "cmdline").read_text().rstrip("\0").split("\0")
    # Not the process's own, which nobody may read.
    given = ["HOME=/tmp", *(RUN / "engine-environment" / MODEL).read_text().splitlines()]
    places = {str(SEALED.socket): str(BARE.socket), str(SEALED.file): str(BARE.file)}
    (PLAIN_RUN / "payload").mkdir(parents=True)
    subprocess.run(["mount", "--types", "erofs", "--options", "ro", plain_disk(), BARE.file.parent], check=True)
    folder = Path("/run/systemd/system")
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["[Service]", "Type=exec", "LimitMEMLOCK=infinity"]
    lines += [f"Environment={shlex.quote(line)}" for line in given]
    # By the loader: the program's own name would bring its AppArmor profile.
    lines += ["ExecStart=" + shlex.join([LOADER, *(places.get(word, word) for word in words)])]
    (folder / PLAIN).write_text("\n".join(lines) + "\n")
    systemctl("daemon-reload")


def measure_load(side: Side) -> int:
    """Instructions from a unit's start, nothing of its file in memory, until its engine is ready; without our own."""
    systemctl("stop", side.unit)
    wait_until(lambda: shown("ActiveState", side.unit) in ("inactive", "failed"))
    side.socket.unlink(missing_ok=True)
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")
    time.sleep(SETTLED_S)
    begun, mine = busy(), own()
    systemctl("start", side.unit)
    wait_until(lambda: answer(side.socket, "/health"))
    return (busy() - begun) - (own() - mine)


def buffers() -> int:
    """Bytes that the kernel's device-mapper keeps of hash trees and the like."""
    try:
        return int(Path("/sys/module/dm_bufio/parameters/current_allocated_bytes").read_text())
    except OSError:
        return 0


def resident(path: Path) -> int:
    """Bytes of a file or block device that are in the page cache; reads none of them (mincore(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    descriptor = os.open(path, os.O_RDONLY)
    try:
        size = os.lseek(descriptor, 0, os.SEEK_END)
        address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
        vector = ctypes.create_string_buffer(-(-size // PAGE))
        if libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), vector) != 0:
            raise OSError(ctypes.get_errno(), f"mincore of {path}")
        libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(size))
    finally:
        os.close(descriptor)
    return PAGE * sum(page & 1 for page in vector.raw)


def measure_memory(side: Side, buffered: int) -> dict[str, int]:
    status = (Path("/proc") / shown("MainPID", side.unit) / "status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    devices = side.devices or (plain_disk(),)
    cached = resident(side.file) + sum(map(resident, devices))
    return {"resident": 1024 * int(found[1]), "cached": cached, "buffered": max(0, buffers() - buffered)}


def complete(side: Side, prompt: str, tokens: int) -> tuple[int, int, int]:
    """Instructions of the engine for one streamed reply, tokens of the prompt and of the reply."""
    request = {"prompt": prompt, "n_predict": tokens, "temperature": 0, "ignore_eos": True, "cache_prompt": False}
    begun = used_by(side.unit)
    connection = UnixConnection(side.socket)
    connection.request("POST", "/completion", json.dumps(request | {"stream": True}))
    events = connection.getresponse().read().split(b"\n\n")
    connection.close()
    time.sleep(0.01)
    spent = used_by(side.unit) - begun
    timings = json.loads([event for event in events if event.startswith(b"data: {")][-1][6:])["timings"]
    return spent, timings["prompt_n"], timings["predicted_n"]


def measure_decoding(side: Side) -> float:
    """Instructions of the engine a decoded token."""
    short, long = complete(side, SHORT_PROMPT, SHORT), complete(side, SHORT_PROMPT, LONG)
    return (long[0] - short[0]) / (long[2] - short[2])


def measure_prompt(side: Side) -> float:
    """Instructions of the engine a token of the prompt."""
    short, long = complete(side, SHORT_PROMPT, 1), complete(side, LONG_PROMPT, 1)
    return (long[0] - short[0]) / (long[1] - short[1])


def measure_side(side: Side) -> dict[str, object]:
    """One load, and all else of the engine that it has left."""
    buffered = buffers()
    load = measure_load(side)
    time.sleep(SETTLED_S)
    complete(side, SHORT_PROMPT, 1)
    return {
        "load": load,
        "memory": measure_memory(side, buffered),
        "decode": measure_decoding(side),
        "prompt": measure_prompt(side),
    }


def main() -> None:
    given = Path(os.environ.get("CREDENTIALS_DIRECTORY", "")) / "measured.rounds"
    if not given.exists():
        return
    rounds = int(given.read_text())
    wait_until(lambda: state() == "serving")
    boot = measure_boot()
    if rounds:
        make_plain_side()
    report: dict[str, object] = {"boot": boot}
    sides: dict[str, list[dict[str, object]]] = {"sealed": [], "plain": []}
    for _ in range(rounds):
        sides["sealed"].append(measure_side(SEALED))
        sides["plain"].append(measure_side(BARE))
    print(f"measured {json.dumps(report | sides)} in all", flush=True)


if __name__ == "__main__":
    main()
