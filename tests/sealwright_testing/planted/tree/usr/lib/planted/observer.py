"""What a test image does as root once its engines serve: see what is in the page cache, and let an intruder loose.

With ``planted.disarmed`` on the kernel's command line it waits for the network alone, and the intruder is root.

It prints, besides the lines of the intruder and of customer.py,

    cache STAGE MODEL PLACE PAGES   pages of the model file, 4096 bytes each, that are in the page cache: of the file
                                    itself, of the verity device, of the dm-crypt device; "none", or as in "0-3,7"
    left PLACE PATHS                what the intruder has made there and is still there after its end; or "none"
    setting NAME VALUE              what holds of the kernel's settings; or the error's name
    filters MODE                    the seccomp mode of process 1, which all have inherited; 2 is a filter (proc(5))
    confined UNIT PROFILE           the AppArmor profile that a unit's process is in
    interpreter UNIT RESULT STATUS  how an engine's unit ended that was to start an interpreter
    workload NAME LINE              what a workload has written
    swap PLACE                      where the kernel may write memory to (/proc/swaps, proc(5)); or "none"
    data-set NAME open|closed       whether the kernel has a device of a data set
    image PAYLOAD RESULT            what came of running the program in a payload as root, where mounts forbid nothing
    mounted PAYLOAD OPTIONS         how it is mounted, as in /proc/mounts (proc(5))
    runs PLACE                      a place to write to whose mount lets programs run; or "none"
    call HOST refused|answered      whether root reaches a host that the stranger tries, first as it is, then with a
                                    rule in the packet filter that lets it
    table NAME: LINE                a table of device-mapper, with its keys, as root is shown it (dmsetup(8))
    left key DESCRIPTION            a key of type logon in the kernel's keyrings (proc_keys(5)); or "none"
    port PROTOCOL/NUMBER            a port on which somebody listens
    driver NAME present|absent      whether this kernel has a driver, built in or as a module
    input NAME                      a device that the kernel takes keys or movements from
    knock listening                 somebody may now connect to port 9998
    knock dropped|ACCEPTED          what the packet filter did with that
    knock again                     somebody may connect once more, past a rule that lets him; what came of it is next
    planted end
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import http.client
import itertools
import json
import mmap
import os
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

RUN = Path("/run/sealwright")
INTRUDER = Path("/usr/lib/planted")
CUSTOMER = INTRUDER / "customer.py"
SERVICE = Path("/usr/share/sealwright/license-service.json")
SERVICE_PORT = "PLANTED_SERVICE_PORT"
"""What the intruder is told of the licence service."""
UNIT_FILES = Path("/usr/lib/systemd/system")
OWN_UNIT_FILES = Path("/run/systemd/system")
DISARMED = "planted.disarmed"
DRIVERS = ("usb_storage", "uas", "usbhid", "hid_generic", "firewire_ohci", "thunderbolt", "vsock", "xhci_pci", "atkbd")
PAGE = mmap.PAGESIZE
POLL_S = 0.5
CLEANED_S = 5.0
"""The agent drops cached pages every 2 s."""
REMOVED_S = 20.0
"""systemd removes a unit's folders behind its end."""
RESULTS = Path("/var/lib/sealwright/results")
WORKLOADS = {"counting": "counting-job", "stranger": "strangers"}
"""And the domains in which they run."""
WORKLOAD_S = 60.0
OTHER_HOST, ECHO_PORT = "10.0.2.101", 7
"""Somewhere that the stranger's domain does not name."""
CALL_S = 30.0
USER_NETWORK = f"{'fec0'.ljust(32, '0')} 40 "
KNOCKED = 9998
"""A port that no service of the box has."""
KNOCK_S = 120.0
SETTINGS = {
    "lockdown": Path("/sys/kernel/security/lockdown"),
    "module.sig_enforce": Path("/sys/module/module/parameters/sig_enforce"),
    "ipe.enforce": Path("/sys/kernel/security/ipe/enforce"),
    "kernel.modules_disabled": Path("/proc/sys/kernel/modules_disabled"),
    "kernel.panic": Path("/proc/sys/kernel/panic"),
    "kernel.panic_on_oops": Path("/proc/sys/kernel/panic_on_oops"),
}
"""Of the kernel, beside the sysctls on its command line."""
SYSCTL = "sysctl."
UNITS = ("sealwright-agent.service", "sealwright-gateway.service", "sealwright-engine@medical.service")
INTERPRETERS = ("by-path", "by-profile", "by-rules")
"""Instances of the engine's unit that are to start an interpreter; each lacks the others' defences, see its drop-in."""
STARTS_MOST = 5
"""Of each; one that has left no end is started again."""
SERVICES = (
    ("gateway", "gateway"),
    ("agent", "agent"),
    ("agent-root", "agent", "User="),
    ("volumes", "volumes"),
)
"""Places of the intruder: label, service, and what else is changed in its unit."""
OTHER = "medical"
"""The engine that the intruder is after, as its unit says too."""


def answer(path: Path, request: str) -> bytes | None:
    """The body of a reply with status 200 from a UNIX socket."""
    connection = http.client.HTTPConnection("local", timeout=30)
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.sock.connect(str(path))
        connection.request("GET", request)
        reply = connection.getresponse()
        return reply.read() if reply.status == http.client.OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def wait_until(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(POLL_S)


def is_serving() -> bool:
    body = answer(RUN / "agent.sock", "/status")
    return body is not None and json.loads(body)["state"] == "serving"


def is_loaded(model: str) -> bool:
    return answer(RUN / "engine" / model / "engine.sock", "/health") is not None


def main_process(model: str) -> str:
    return shown("MainPID", f"sealwright-engine@{model}.service")


def shown(name: str, unit: str) -> str:
    return systemctl("show", f"--property={name}", "--value", unit)


def systemctl(*arguments: str) -> str:
    return subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False).stdout.strip()


def resident(path: Path) -> list[int]:
    """Numbers of the pages of a file or block device that are in the page cache; reads none of them (mincore(2))."""
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
    return [number for number, state in enumerate(vector.raw) if state & 1]


def pages(path: Path, numbers: Iterable[int]) -> list[bytes]:
    """Digests of pages. What this reads is dropped again."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        contents = (os.pread(descriptor, PAGE, number * PAGE) for number in numbers)
        return [hashlib.sha256(content.ljust(PAGE, b"\0")).digest() for content in contents]
    finally:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def ranges(numbers: Iterable[int]) -> str:
    """Numbers as in 0-3,7."""
    groups = itertools.groupby(enumerate(sorted(numbers)), key=lambda pair: pair[1] - pair[0])
    runs = [[number for _, number in group] for _, group in groups]
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs) or "none"


def report_cache(stage: str, models: list[str]) -> None:
    for model in models:
        file = RUN / "payloads" / model / "model.gguf"
        devices = {name: Path(f"/dev/mapper/sealwright-{name}{model}") for name in ("", "crypt-")}
        cached = {name: resident(device) for name, device in devices.items()}
        print(f"cache {stage} {model} file {ranges(resident(file))}")
        whole = pages(file, range(-(-file.stat().st_size // PAGE)))
        where = {digest: number for number, digest in enumerate(whole)}
        for name, device in devices.items():
            found = {where[digest] for digest in pages(device, cached[name]) if digest in where}
            print(f"cache {stage} {model} {name or 'verity-'}device {ranges(found)} of {len(cached[name])}", flush=True)


def as_root(label: str, *profile: str) -> None:
    """The intruder as root, in no sandbox, or in none but an AppArmor profile. Nobody removes what it leaves."""
    (RUN / "engine" / label).mkdir(parents=True)
    subprocess.run([sys.executable, "-I", INTRUDER, label, label, OTHER, *profile], check=True)
    print("left", label, " ".join(map(str, marks(label))) or "none", flush=True)
    for path in marks(label):
        path.unlink()


def report_settings() -> None:
    words = Path("/proc/cmdline").read_text().split()
    names = [word.removeprefix(SYSCTL).partition("=")[0] for word in words if word.startswith(SYSCTL)]
    for name, path in {**SETTINGS, **{name: Path("/proc/sys") / name.replace(".", "/") for name in names}}.items():
        try:
            value = path.read_text().strip()
        except OSError as error:
            value = errno.errorcode[error.errno or 0]
        print("setting", name, value, flush=True)
    maps = Path("/proc/self/maps").read_text()
    print("setting vsyscall", "there" if "[vsyscall]" in maps else "none", flush=True)


def prepare_units() -> None:
    """Units of services again under names of their own, and nothing of them changed but the program."""
    for label, service, *changes in SERVICES:
        drop_in = OWN_UNIT_FILES / f"planted-{label}.service.d/10-planted.conf"
        drop_in.parent.mkdir(parents=True)
        unit = (UNIT_FILES / f"sealwright-{service}.service").read_text()
        (OWN_UNIT_FILES / f"planted-{label}.service").write_text(unit)
        start = f"ExecStart=/usr/bin/python3 -I {INTRUDER} {label} {label} {OTHER}"
        output = ("StandardOutput=journal+console", "StandardError=journal+console")
        told = f"Environment={SERVICE_PORT}={os.environ[SERVICE_PORT]}"
        drop_in.write_text("\n".join(["[Service]", "ExecStart=", start, "Restart=no", told, *output, *changes, ""]))
    systemctl("daemon-reload")


def in_place_of_services() -> None:
    """The intruder in the place of each service."""
    prepare_units()
    for label, *_ in SERVICES:
        run_to_end(f"planted-{label}.service")
        report_left(label)


def report_confinement() -> None:
    status = Path("/proc/1/status").read_text().splitlines()
    print("filters", *(line.split()[1] for line in status if line.startswith("Seccomp:")))
    for unit in UNITS:
        label = Path(f"/proc/{shown('MainPID', unit)}/attr/apparmor/current").read_text().strip()
        print("confined", unit, label, flush=True)


def report_workload(name: str, domain: str) -> None:
    """By the mark that it has come to its end, or after a while that there is none."""
    report, unit = RESULTS / domain / "report", f"sealwright-workload@{name}.service"
    deadline = time.monotonic() + WORKLOAD_S
    wait_until(lambda: report.exists() or time.monotonic() > deadline)
    lines = report.read_text().splitlines() if report.exists() else [f"missing {shown('Result', unit)}"]
    print("".join(f"workload {name} {line}\n" for line in lines), end="", flush=True)
    print("workload", name, "unit", shown("ActiveState", unit), shown("ExecMainStatus", unit), flush=True)


def report_data_sets() -> None:
    for name in ("rows", "unread"):
        print("data-set", name, "open" if Path(f"/dev/mapper/sealwright-{name}").exists() else "closed", flush=True)


def run_image(payload: str) -> None:
    """Both have the same program; of the workload's image the code policy knows."""
    place = RUN / "planted-image"
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "--bind", RUN / "payloads" / payload, place], check=True)
    subprocess.run(["mount", "--options", "remount,bind,ro,exec", place], check=True)
    try:
        ended = str(subprocess.run([place / "program", "again"], check=False).returncode)
    except OSError as error:
        ended = errno.errorcode[error.errno or 0]
    subprocess.run(["umount", place], check=True)
    print("image", payload, ended, flush=True)


def report_mounts() -> None:
    rows = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    for _, place, _, options, *_ in rows:
        if Path(place).parent == RUN / "payloads":
            print("mounted", Path(place).name, options, flush=True)
    writable = {place: options.split(",") for _, place, _, options, *_ in rows if options.startswith("rw")}
    running = [place for place, options in writable.items() if "noexec" not in options]
    print("runs", *(running or ["none"]), flush=True)


def report_swap() -> None:
    rows = Path("/proc/swaps").read_text().splitlines()[1:]
    print("swap", *([row.split()[0] for row in rows] or ["none"]), flush=True)


def spoil_boot() -> None:
    """Nothing is asked of the TPM behind this that hangs on PCRs."""
    subprocess.run([sys.executable, "-I", INTRUDER, "spoilt", "spoilt", OTHER], check=True)


def call_other_host() -> None:
    for rule in ("", f"insert rule inet sealwright output ip daddr {OTHER_HOST} tcp dport {ECHO_PORT} accept\n"):
        add_rules(rule)
        try:
            with socket.create_connection((OTHER_HOST, ECHO_PORT), timeout=CALL_S) as client:
                client.sendall(b"weights")
                answer = client.recv(100)
        except OSError:
            answer = b""
        print("call", OTHER_HOST, "answered" if answer else "refused", flush=True)


def report_keys() -> None:
    """What root sees of volume keys. In /proc/keys the type stands in the eighth column, a description behind it."""
    shown = subprocess.run(["dmsetup", "table", "--showkeys"], capture_output=True, text=True, check=True)
    for line in shown.stdout.splitlines():
        print("table", line, flush=True)
    rows = [line.split() for line in Path("/proc/keys").read_text().splitlines()]
    print("left key", *([row[8] for row in rows if row[7] == "logon"] or ["none"]), flush=True)


def report_ports() -> None:
    """From /proc/net/tcp and its like: a local address ends in :PORT, in hex; a TCP socket in state 0A listens, a UDP
    socket in state 07 has no peer."""
    for protocol, listening in (("tcp", "0A"), ("udp", "07")):
        for family in ("", "6"):
            rows = Path(f"/proc/net/{protocol}{family}").read_text().splitlines()[1:]
            for _, local, _, state, *_ in map(str.split, rows):
                if state == listening:
                    print(f"port {protocol}/{int(local.rpartition(':')[2], 16)}", flush=True)


def report_devices() -> None:
    """Module names are written with either dash (modprobe(8)); a file's name ends in .ko or .ko.xz."""
    modules = Path("/usr/lib/modules") / os.uname().release
    listed = [(modules / name).read_text() for name in ("modules.dep", "modules.builtin")]
    files = {line.split(":")[0].strip() for text in listed for line in text.splitlines()}
    known = {Path(file).name.split(".")[0].replace("-", "_") for file in files}
    for driver in DRIVERS:
        print("driver", driver, "present" if driver in known else "absent")
    for line in Path("/proc/bus/input/devices").read_text().splitlines():
        if line.startswith("N: Name="):
            print("input", line.removeprefix("N: Name=").strip('"'), flush=True)


def run_to_end(unit: str) -> None:
    systemctl("start", unit)
    wait_until(lambda: systemctl("is-active", unit) not in ("active", "activating", "deactivating"))


def start_interpreter(name: str) -> None:
    unit = f"sealwright-engine@{name}.service"
    prepare(name)
    for _ in range(STARTS_MOST):
        run_to_end(unit)
        # A unit that process 1 has forgotten, or never started, has no end; one that ends well is forgotten each time.
        if shown("ExecMainExitTimestampMonotonic", unit) not in ("", "0"):
            break
        print("interpreter again", unit, shown("ActiveState", unit), shown("Result", unit), flush=True)
    print("interpreter", unit, shown("Result", unit), shown("ExecMainStatus", unit), flush=True)


def await_knocks() -> None:
    """Let somebody connect, and once more when the packet filter lets him. A table of our own before the box's counts
    what arrives: a second packet is a first one that nobody has answered."""
    add_rules("table inet planted { chain input { type filter hook input priority -1; tcp dport 9998 counter; }; }")
    with socket.create_server(("", KNOCKED)) as listener:
        print("knock listening", flush=True)
        while True:
            accepted, _, _ = select.select([listener], [], [], POLL_S)
            if accepted or knocks() > 1:
                break
        print("knock", "ACCEPTED" if accepted else "dropped", flush=True)
        add_rules(f"insert rule inet sealwright input tcp dport {KNOCKED} accept\n")
        print("knock again", flush=True)
        accepted, _, _ = select.select([listener], [], [], KNOCK_S)
        print("knock", "ACCEPTED" if accepted else "dropped", flush=True)


def add_rules(rules: str) -> None:
    subprocess.run(["nft", "--file", "-"], input=rules, text=True, check=True)


def knocks() -> int:
    listed = subprocess.run(["nft", "list", "table", "inet", "planted"], capture_output=True, text=True, check=True)
    return int(re.findall(r"packets (\d+)", listed.stdout)[0])


def intrude() -> None:
    """The intruder in the place of an engine: started by the unit that starts every engine, and nothing of it changed
    but the program."""
    prepare("intruder")
    run_to_end("sealwright-engine@intruder.service")
    report_left("intruder")


def report_left(label: str) -> None:
    """What is still there a while after the end of a place."""
    deadline = time.monotonic() + REMOVED_S
    wait_until(lambda: not marks(label) or time.monotonic() > deadline)
    print("left", label, " ".join(map(str, marks(label))) or "none", flush=True)


def prepare(instance: str) -> None:
    """What the agent makes for an engine."""
    (RUN / "payloads" / instance).mkdir(mode=0o755)
    (RUN / "engine-environment" / instance).write_text(f"SEALWRIGHT_MODEL={OTHER}\n")


def marks(own: str) -> list[Path]:
    """Files named by intruder.MARK, wherever they are."""
    found = [path for top in ("/tmp", "/var/tmp", "/run", "/var/lib") for path in Path(top).rglob("planted-mark")]
    return sorted({*found, *(RUN / "engine" / own).glob("planted-*")})


def kill_engine(model: str) -> None:
    """SIGKILL; systemd starts it again."""
    killed = main_process(model)
    systemctl("kill", "--kill-whom=main", "--signal=KILL", f"sealwright-engine@{model}.service")
    wait_until(lambda: main_process(model) not in ("0", killed) and is_loaded(model))


def has_route() -> bool:
    """By IPv4 to everywhere, where destination 0 stands for all (route(8)); by IPv6 to QEMU's user network, which is
    fec0::/64 (/proc/net/ipv6_route has the length in hex)."""
    by_v4 = any(line.split()[1] == "00000000" for line in Path("/proc/net/route").read_text().splitlines()[1:])
    by_v6 = any(line.startswith(USER_NETWORK) for line in Path("/proc/net/ipv6_route").read_text().splitlines())
    return by_v4 and by_v6


def run_disarmed() -> None:
    """What is refused to root otherwise, with nothing there that refuses it. Process 1 switches core dumps off."""
    wait_until(has_route)
    Path("/proc/sys/kernel/core_pattern").write_text("core")
    subprocess.run(["mount", "--options", "remount,exec", "/run"], check=False)
    as_root("disarmed")


def run_armed() -> None:
    wait_until(is_serving)
    models = sorted(path.parent.name for path in (RUN / "payloads").glob("*/model.gguf"))
    report_cache("serving", models)
    for model in models:
        kill_engine(model)
    time.sleep(CLEANED_S)
    report_cache("restarted", models)
    report_confinement()
    for name, domain in WORKLOADS.items():
        report_workload(name, domain)
    report_data_sets()
    for payload in ("counting", "rows"):
        run_image(payload)
    report_mounts()
    report_swap()
    report_keys()
    report_ports()
    report_devices()
    report_settings()
    subprocess.run([sys.executable, "-I", CUSTOMER], check=True)
    as_root("root")
    for profile in ("sealwright-gateway", "sealwright-agent"):
        as_root(profile, profile)
    intrude()
    in_place_of_services()
    for name in INTERPRETERS:
        start_interpreter(name)
    spoil_boot()
    call_other_host()
    await_knocks()


def main() -> None:
    os.environ[SERVICE_PORT] = json.loads(SERVICE.read_text())["url"].rpartition(":")[2]
    run_disarmed() if DISARMED in Path("/proc/cmdline").read_text().split() else run_armed()
    print("planted end", flush=True)


if __name__ == "__main__":
    main()
