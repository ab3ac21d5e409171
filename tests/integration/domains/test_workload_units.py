"""Units of workloads as a box has them, started in a container by systemd of its version: systemd puts the user that it
draws into the set of the domain, and what the program then sends is judged by the box's packet filter.

As root. The kernel is this host's: Landlock is there, AppArmor and the code policy are tried in virtual machines.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from sealwright_appliance import volumes
from sealwright_appliance.data_sets import bind_data_sets
from sealwright_appliance.paths import Paths
from sealwright_appliance.run import run as execute
from sealwright_image.compiler import compile_static
from sealwright_image.confinement import POLICIES
from sealwright_image.firewall import firewall_rules
from sealwright_image.mkosi import DEFINITIONS
from sealwright_image.run import Tools
from sealwright_policies.domains.compiler import compile_units
from sealwright_testing.domain_texts import domain_text, verified
from sealwright_testing.laid_files import files_of, lay_in
from sealwright_testing.sealed_job import CALLS, DOMAINS, NO_SOCKET, OTHER_HOST, OWN_HOST, ROWS, SOURCE
from sealwright_testing.tools_root import ToolsRoot

pytestmark = pytest.mark.redteam

TEMPLATE = "usr/lib/systemd/system/sealwright-workload@.service"
RULES = "/usr/share/sealwright/nftables.d"
WORKLOADS = {"counting": "counting-job", "stranger": "strangers"}
"""And their domains."""
MOUNTED = ("dev", "proc", "run", "sys", "tmp", "var")
"""Where a box mounts in a workload's root."""
STUB = "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/bin/true\n"
TARGET = "[Unit]\nWants=" + " ".join(f"sealwright-workload@{one}.service" for one in WORKLOADS) + "\n"
CONTAINER = (
    *("systemd-nspawn", "--boot", "--volatile=overlay", "--console=read-only", "--register=no", "--keep-unit"),
    *("--quiet", "--kill-signal=SIGRTMIN+3", "--capability=CAP_NET_ADMIN"),
    "--system-call-filter=landlock_create_ruleset landlock_add_rule landlock_restrict_self",
)
USERS = ("sealwright-agent", "sealwright-gateway", "systemd-timesync", "systemd-network")
COHORT = b"patient 17, ward 3\n"
COHORTS = {
    "cohort": str(len(COHORT)),
    "change-cohort": "EACCES",
    "read-what-is-known-of-cohort": "EACCES",
    "mounted-cohorts": "ro nodev nosuid noexec",
}
"""What comes of it in the workload of its domain; in another one there is nothing of it."""
REPORT_S = 120.0
"""Until both have written what they have to say."""
ECHO = """
import socket, sys
from concurrent.futures import ThreadPoolExecutor

def serve(listener):
    while True:
        connection = listener.accept()[0]
        connection.sendall(connection.recv(100))

listeners = [socket.create_server((host, 7)) for host in sys.argv[1:]]
print("ready", flush=True)
with ThreadPoolExecutor() as threads:
    list(threads.map(serve, listeners))
"""


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory, launcher: Path) -> Iterator[Path]:
    """What a box has of two workloads, a data set, and one that came to it, by its paths; results are bound from beside
    it."""
    top = tmp_path_factory.mktemp("workloads")
    texts = [domain_text(name, "confidential", more) for name, more in DOMAINS.items()]
    files = dict(compile_units(verified(texts)))
    files |= {f"/{TEMPLATE}": (DEFINITIONS / "mkosi.extra" / TEMPLATE).read_bytes()}
    files |= {f"/usr/lib/systemd/system/sealwright-{one}.service": STUB.encode() for one in ("unlock", "firewall")}
    files |= {"/usr/lib/systemd/system/workloads.target": TARGET.encode()}
    files |= {"/usr/lib/sealwright/bin/sealwright-launch": launcher.read_bytes()}
    files |= {"/run/sealwright/payloads/rows/rows.csv": b"1,2\n" * ROWS}
    for path, content in files.items():
        target = top / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    (top / "usr/lib/sealwright/bin/sealwright-launch").chmod(0o755)
    for name in WORKLOADS:
        for folder in MOUNTED:
            (top / "run/sealwright/payloads" / name / folder).mkdir(parents=True)
        compile_static(SOURCE, top / "run/sealwright/payloads" / name / "program", Tools())
    paths = Paths(root=top)
    lay_in(files_of(paths.domain_files, *WORKLOADS.values()), "counting-job", "cohort-7.csv", COHORT)
    assert bind_data_sets(paths, WORKLOADS.values()) == {}
    try:
        yield top
    finally:
        for domain in WORKLOADS.values():
            execute(volumes.unmount(paths.data_sets / domain))


@contextmanager
def places(folder: Path) -> Iterator[None]:
    """For results, as large as a box makes them: the workloads write until they may not."""
    with ExitStack() as mounted:
        for domain in WORKLOADS.values():
            place = folder / "results" / domain
            place.mkdir(parents=True)
            run("mount", "-t", "tmpfs", "-o", "size=16M,mode=1777", "results", place)
            mounted.callback(run, "umount", place)
        yield


@contextmanager
def networks() -> Iterator[str]:
    """The box's network namespace, on a cable to another one in which two hosts send back what comes to TCP port 7."""
    inside, outside = f"sw{os.getpid()}-in", f"sw{os.getpid()}-out"
    with ExitStack() as ends:
        for name in (inside, outside):
            run("ip", "netns", "add", name)
            ends.callback(run, "ip", "netns", "delete", name)
            run("ip", "-netns", name, "link", "set", "lo", "up")
        run("ip", "-netns", inside, "link", "add", "host0", "type", "veth", "peer", "name", "hosts", "netns", outside)
        for host in ("10.0.2.2", "10.0.2.3", OWN_HOST, OTHER_HOST):
            run("ip", "-netns", outside, "address", "add", f"{host}/24", "dev", "hosts")
        run("ip", "-netns", inside, "address", "add", "10.0.2.15/24", "dev", "host0")
        run("ip", "-netns", outside, "link", "set", "hosts", "up")
        run("ip", "-netns", inside, "link", "set", "host0", "up")
        line = ["ip", "netns", "exec", outside, sys.executable, "-c", ECHO, OWN_HOST, OTHER_HOST]
        echo = ends.enter_context(subprocess.Popen(line, stdout=subprocess.PIPE, text=True))
        ends.callback(echo.kill)
        assert echo.stdout
        assert echo.stdout.readline() == "ready\n"
        yield inside


def load_rules(box: Path, folder: Path, network: str) -> None:
    """The packet filter of the box, with what its domains add, and names of its users."""
    text = firewall_rules((POLICIES / "firewall.nft").read_text(), "https://license.example")
    assert text.count(RULES) == 1
    (folder / "firewall").write_text(text.replace(RULES, f"{box}{RULES}"))
    (folder / "passwd").write_text("".join(f"{name}:x:{900 + at}:900::/:/bin/false\n" for at, name in enumerate(USERS)))
    script = 'mount --bind "$1/passwd" /etc/passwd && exec nsenter --net="/run/netns/$2" nft --file "$1/firewall"'
    run("unshare", "--mount", "sh", "-c", script, "sh", folder, network)


def reports(box: Path, folder: Path, network: str) -> dict[str, dict[str, str]]:
    """Start both workloads in a container; what each has written, by name."""
    line = [
        *CONTAINER,
        f"--directory={ToolsRoot.find().path}",
        *(f"--machine={network}", f"--network-namespace-path=/run/netns/{network}"),
        *(f"--bind-ro={path}:/{path.relative_to(box)}" for path in sorted((box / "usr/lib/systemd/system").iterdir())),
        *(f"--bind-ro={box / path}:/{path}" for path in ("usr/lib/sealwright", "run/sealwright")),
        f"--bind={folder / 'results'}:/var/lib/sealwright/results",
        *("--", "--unit=workloads.target"),
    ]
    written = {name: folder / "results" / domain / "report" for name, domain in WORKLOADS.items()}
    environment = os.environ | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
    with (folder / "console").open("wb") as console:
        container = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=console, stderr=console, env=environment)
        deadline = time.monotonic() + REPORT_S
        while container.poll() is None and time.monotonic() < deadline and not all(map(Path.exists, written.values())):
            time.sleep(0.2)
        container.terminate()
        container.wait()
    told = (folder / "console").read_text(errors="replace")
    assert all(map(Path.exists, written.values())), told
    return {name: dict(row.split(" ", 1) for row in path.read_text().splitlines()) for name, path in written.items()}


def test_a_workload_reaches_the_host_of_its_domain_and_no_other(box: Path, tmp_path: Path) -> None:
    with places(tmp_path), networks() as network:
        load_rules(box, tmp_path, network)
        found = reports(box, tmp_path, network)
    assert {name: found["stranger"][name] for name in CALLS if found["stranger"][name] not in CALLS[name]} == {}
    assert {found["counting"][name] for name in CALLS} == {NO_SOCKET}
    assert {name: found["counting"][name] for name in COHORTS} == COHORTS
    assert {found["stranger"][name] for name in COHORTS} == {"ENOENT"}


def test_without_the_packet_filter_it_reaches_all_but_other_tcp_ports(box: Path, tmp_path: Path) -> None:
    """The control. Who has no egress reaches nothing even so."""
    with places(tmp_path), networks() as network:
        found = reports(box, tmp_path, network)
    sent = ("cast-other-port", "call-other-host", "cast-other-host", "ask-name-server", "ask-resolver")
    assert {name: found["stranger"][name] for name in sent} == dict.fromkeys(sent, "done")
    assert found["stranger"]["call-other-port"] == "EACCES"
    assert {found["counting"][name] for name in CALLS} == {NO_SOCKET}
