"""A real software TPM for tests: swtpm, made with its own CA and EK certificates by swtpm_setup.

Speaks TCP on loopback, so that tpm2-tools and tpm2-pytss reach it by :attr:`SoftwareTpm.tcti`. A virtual machine wants
a UNIX control socket instead and starts swtpm by itself from :attr:`SoftwareTpm.state_directory`.
"""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

START_TIMEOUT_S = 20.0
_POLL_S = 0.01
_PORT_ATTEMPTS = 100
_PORTS = (20_000, 32_766)
_ACCEPTING = 0x10000
"""__SO_ACCEPTCON (linux/net.h)."""
_TCP_LISTEN = "0A"


@dataclass
class SoftwareTpm:
    """One TPM in ``directory``: its state, its maker's CA, and the process while it is on.

    Use as a context manager to have it started and stopped, or call :meth:`start` and :meth:`stop`.
    """

    directory: Path
    port: int = 0
    environment: dict[str, str] | None = field(default=None, repr=False)
    """Of the process; None for this one's."""
    socket: Path | None = None
    """A short path to be reached by, in place of a port: for tests that start a TPM so often that ports collide."""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @classmethod
    def manufacture(cls, directory: Path, *, pcr_banks: str = "sha256") -> SoftwareTpm:
        """Make a TPM with EK certificates (RSA-2048 and P-384, in NV) by a CA of its own. Takes a second or two."""
        tpm = cls(directory)
        tpm.state_directory.mkdir(parents=True)
        tpm.ca_directory.mkdir(parents=True)
        (directory / "localca.conf").write_text(
            f"statedir = {tpm.ca_directory}\n"
            f"signingkey = {tpm.ca_directory}/signkey.pem\n"
            f"issuercert = {tpm.ca_directory}/issuercert.pem\n"
            f"certserial = {tpm.ca_directory}/certserial\n"
        )
        (directory / "localca.options").write_text(
            "--platform-manufacturer Sealwright\n--platform-version 1.0\n--platform-model TestBox\n"
        )
        (directory / "setup.conf").write_text(
            f"create_certs_tool = {_tool('swtpm_localca')}\n"
            f"create_certs_tool_config = {directory}/localca.conf\n"
            f"create_certs_tool_options = {directory}/localca.options\n"
        )
        command = ["swtpm_setup", "--tpm2", "--tpm-state", str(tpm.state_directory)]
        command += ["--config", str(directory / "setup.conf"), "--create-ek-cert", "--lock-nvram"]
        command += ["--pcr-banks", pcr_banks, "--overwrite"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"swtpm_setup failed:\n{done.stdout}{done.stderr}")
        return tpm

    @property
    def state_directory(self) -> Path:
        """Where swtpm keeps the TPM's permanent state. Copy it only while the TPM is off."""
        return self.directory / "state"

    @property
    def ca_directory(self) -> Path:
        """The maker's CA: root, issuer and their keys."""
        return self.directory / "ca"

    @property
    def root_certificates_pem(self) -> bytes:
        """The maker's root certificate."""
        return (self.ca_directory / "swtpm-localca-rootca-cert.pem").read_bytes()

    @property
    def intermediate_certificates_pem(self) -> bytes:
        """The certificate of the CA that signs EK certificates, itself signed by the root."""
        return (self.ca_directory / "issuercert.pem").read_bytes()

    @property
    def tcti(self) -> str:
        """TCTI configuration for ESAPI and for ``tpm2_* -T``."""
        if self.socket is not None:
            return f"swtpm:path={self.socket}"
        return f"swtpm:host=127.0.0.1,port={self.port}"

    def start(self) -> SoftwareTpm:
        """Switch on; TPM2_Startup(CLEAR) is done. Ports are new each time."""
        if self.socket is not None:
            self._start_on_socket(self.socket)
            return self
        for _ in range(_PORT_ATTEMPTS):
            self.port = _free_port_pair()
            if self._try_start():
                return self
        raise RuntimeError("no two neighbouring free ports for swtpm were found")

    def _try_start(self) -> bool:
        command = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.state_directory}"]
        command += ["--server", f"type=tcp,port={self.port},bindaddr=127.0.0.1"]
        command += ["--ctrl", f"type=tcp,port={self.port + 1},bindaddr=127.0.0.1"]
        command += ["--flags", "startup-clear"]
        process = self._launch(command)
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if process.poll() is not None:
                message = self._log.read_text(errors="replace")
                if "bind" in message or "in use" in message:
                    return False
                raise RuntimeError(f"swtpm did not start: {message}")
            # Not by connecting: that would take the TPM's one client slot.
            if not {self.port, self.port + 1} <= _listening_ports():
                time.sleep(_POLL_S)
                continue
            if process.poll() is not None:
                continue  # another process has one of the ports
            self.process = process
            return True
        process.kill()
        process.wait()
        raise RuntimeError("swtpm did not open its control port")

    def _start_on_socket(self, path: Path) -> None:
        control = path.with_name(f"{path.name}.ctrl")
        for one in (path, control):
            one.unlink(missing_ok=True)
        command = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.state_directory}"]
        command += ["--server", f"type=unixio,path={path}", "--ctrl", f"type=unixio,path={control}"]
        command += ["--flags", "startup-clear"]
        process = self._launch(command)
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and process.poll() is None:
            if {str(path), str(control)} <= _listening_paths():
                self.process = process
                return
            time.sleep(_POLL_S)
        process.kill()
        process.wait()
        raise RuntimeError(f"swtpm did not start: {self._log.read_text(errors='replace')}")

    @property
    def _log(self) -> Path:
        return self.directory / "swtpm.log"

    def _launch(self, command: list[str]) -> subprocess.Popen[bytes]:
        """It says a line for every connection: into a file, since a pipe that nobody reads is full after 2000."""
        with self._log.open("wb") as log:
            return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, env=self.environment)

    def stop(self) -> None:
        """Switch off by asking the process to end; without TPM2_Shutdown this is a power loss for the TPM too."""
        self._end(kill=False)

    def kill(self) -> None:
        """Switch off with SIGKILL, at once."""
        self._end(kill=True)

    def _end(self, *, kill: bool) -> None:
        if self.process is None:
            return
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        self.process.wait()
        self.process = None

    def power_cycle(self) -> None:
        """Cut the power and switch on again: PCRs are reset, resetCount grows, Clock may have gone back."""
        self.kill()
        self.start()

    def copy_state(self, destination: Path) -> None:
        """Copy the permanent state elsewhere, as whoever hosts a software TPM can. The TPM must be off."""
        if self.process is not None:
            raise RuntimeError("stop the TPM before copying its state")
        shutil.copytree(self.state_directory, destination)

    def restore_state(self, source: Path) -> None:
        """Put a copied state back: a rollback of the whole TPM."""
        if self.process is not None:
            raise RuntimeError("stop the TPM before restoring its state")
        shutil.rmtree(self.state_directory)
        shutil.copytree(source, self.state_directory)

    def __enter__(self) -> SoftwareTpm:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise RuntimeError(f"{name} is missing; install the packages swtpm and swtpm-tools")
    return path


def _listening_paths() -> set[str]:
    """Sockets that a process accepts connections on: swtpm has one of its two some time before the other."""
    fields = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    return {line[7] for line in fields if len(line) == 8 and int(line[3], 16) & _ACCEPTING}


def _listening_ports() -> set[int]:
    """The same of TCP over IPv4."""
    fields = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(line[1].split(":")[1], 16) for line in fields if line[3] == _TCP_LISTEN}


def _free_port_pair() -> int:
    """Return a port that is free together with the next one: the TCTI expects the control channel there.

    They lie below the ports that Linux gives to outgoing connections: thousands of those stay taken for a minute after
    a benchmark, and hardly ever leave two neighbours free.
    """
    for _ in range(_PORT_ATTEMPTS):
        port = random.randrange(*_PORTS)
        with socket.socket() as first, socket.socket() as second:
            try:
                first.bind(("127.0.0.1", port))
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
    raise RuntimeError("no two neighbouring free ports were found")
