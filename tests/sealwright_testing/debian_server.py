"""Clean Debian servers that boot in containers, in a network of their own that leads nowhere else.

The test process joins that network for as long as it needs servers, so what it starts (Ansible, boxes, clients) reaches
them, and nothing of the host's network is touched. Needs root: systemd-nspawn boots no container without.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sealwright_testing.tools_root import TOOLCHAIN

OPERATOR = "10.77.0.1"
"""The address of the test process."""
ADMINISTRATOR = "admin"
START_TIMEOUT_S = 240.0
CLONE_NEWNET = 0x40000000
"""unshare(2)."""
_NETWORKS = Path("/run/netns")
_BOOT = (
    "--boot", "--volatile=overlay", "--console=pipe", "--register=no", "--keep-unit", "--capability=CAP_NET_ADMIN",
    "--kill-signal=SIGRTMIN+3", "--quiet",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DebianServer:
    """A server that has booted; nothing that is done to it is kept."""

    name: str
    address: str
    process: subprocess.Popen[bytes]
    folder: Path

    def run(self, *command: str | Path, user: str = "root", check: bool = True, given: bytes = b"") -> str:
        """Run a command on it, by SSH.

        Args:
            command: the command.
            user: who runs it.
            check: whether it must succeed.
            given: its standard input.

        Returns:
            What it printed.

        Raises:
            AssertionError: it failed.
        """
        line = shlex.join(["sudo", f"--user={user}", "--", *map(str, command)])
        argv = ["ssh", *ssh_options(self.folder), f"{ADMINISTRATOR}@{self.address}", line]
        done = subprocess.run(argv, input=given, capture_output=True, check=False)
        assert not check or done.returncode == 0, f"{line}: {(done.stdout + done.stderr).decode(errors='replace')}"
        return done.stdout.decode(errors="replace")

    def copy(self, path: Path) -> Path:
        """Copy a file or folder to it, for everybody to read; returns its path there."""
        packed = subprocess.run(
            ["tar", "--create", "--mode=a+rX", "--directory", path.parent, path.name], capture_output=True, check=True
        )
        there = Path(self.run("mktemp", "--directory").strip())
        self.run("chmod", "755", there)
        self.run("tar", "--extract", "--no-same-owner", "--directory", there, given=packed.stdout)
        return there / path.name

    def power_off(self) -> None:
        """Switch it off as a power cut does. Its processes would outlive systemd-nspawn, but not their process 1."""
        nspawn = self.process.pid
        for child in Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
        self.process.wait()


class ServerNetwork:
    """A network, and the servers that boot in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"sw{os.getpid()}"
        self._root = Path(_output([str(TOOLCHAIN / "license-server-root")]).strip())
        self._running: list[DebianServer] = []
        self._namespaces: list[str] = []
        _call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "ssh-key"))

    def boot(self, name: str, address: str) -> DebianServer:
        """Boot a clean server, and wait until it takes SSH."""
        namespace = f"{self.name}-{name}"
        self.add_namespace(namespace)
        _ip("link", "add", name, "type", "veth", "peer", "name", "host0", "netns", namespace)
        _ip("link", "set", name, "master", "lan", "up")
        _ip("-netns", namespace, "address", "add", f"{address}/24", "dev", "host0")
        _ip("-netns", namespace, "link", "set", "host0", "up")
        started = self.folder / name
        started.mkdir()
        argv = ["setpriv", "--pdeathsig", "TERM", "systemd-nspawn", *_BOOT, f"--directory={self._root}",
                f"--machine={namespace}", f"--network-namespace-path={_NETWORKS / namespace}",
                f"--bind-ro={self.folder / 'ssh-key.pub'}:/home/{ADMINISTRATOR}/.ssh/authorized_keys"]  # fmt: skip
        with (started / "console.log").open("wb") as log:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=os.environ | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )  # fmt: skip
        server = DebianServer(name, address, process, self.folder)
        self._running.append(server)
        _wait_for_ssh(server, started / "console.log")
        server.run("touch", "/var/lib/apt/lists")  # what is in the cache is all that there is: nothing to refresh
        return server

    def add_namespace(self, name: str) -> None:
        """Make a network namespace that ends with this network."""
        _ip("netns", "add", name)
        self._namespaces.append(name)

    def close(self) -> None:
        """Switch everything off."""
        for server in self._running:
            if server.process.poll() is None:
                server.process.terminate()
        for server in self._running:
            server.process.wait()
        for name in self._namespaces:
            _ip("netns", "delete", name)


def ssh_options(folder: Path) -> Sequence[str]:
    """How the administrator logs in."""
    options = ("BatchMode=yes", "StrictHostKeyChecking=accept-new", f"UserKnownHostsFile={folder / 'known-hosts'}",
               "ConnectTimeout=5", "LogLevel=ERROR")  # fmt: skip
    return ("-i", str(folder / "ssh-key"), *(word for option in options for word in ("-o", option)))


@contextmanager
def server_network(folder: Path, *addresses: str) -> Iterator[ServerNetwork]:
    """A network that this process, alone of all on the host, is in until the block ends.

    Args:
        folder: for keys and logs.
        addresses: of this process, beside its first one.
    """
    network = ServerNetwork(folder)
    try:
        network.add_namespace(f"{network.name}-lan")
        with _inside(_NETWORKS / f"{network.name}-lan"):
            _ip("link", "set", "lo", "up")
            _ip("link", "add", "lan", "type", "bridge")
            for address in (OPERATOR, *addresses):
                _ip("address", "add", f"{address}/24", "dev", "lan")
            _ip("link", "set", "lan", "up")
            yield network
    finally:
        network.close()


@contextmanager
def _inside(namespace: Path) -> Iterator[None]:
    """Have this thread, and what it starts, in a network namespace."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        wanted = os.open(namespace, os.O_RDONLY)
        try:
            _enter(wanted)
        finally:
            os.close(wanted)
        try:
            yield
        finally:
            _enter(before)
    finally:
        os.close(before)


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _ip(*words: str) -> None:
    _call("ip", *words)


def _call(*argv: str) -> None:
    _output(argv)


def _output(argv: Sequence[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


def _wait_for_ssh(server: DebianServer, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        if server.run("true", check=False) == "" and _is_up(server):
            return
        time.sleep(0.3)
    raise RuntimeError(f"{server.name} did not start: {log.read_text(errors='replace')[-2000:]}")


def _is_up(server: DebianServer) -> bool:
    return server.run("systemctl", "is-system-running", "--wait", check=False).strip() in ("running", "degraded")
