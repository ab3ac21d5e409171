"""A customer's server as a virtual machine: QEMU, OVMF with Secure Boot, swtpm, a disk, a console.

Everything that a power cut leaves is in the box's directory and in its TPM's state directory, so a box can be killed,
started again, moved, tampered with while off, and snapshot. QEMU and swtpm come from the tools root.
"""

from __future__ import annotations

import dataclasses
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from sealwright_testing.console import FAILURES, STALL_S, Console
from sealwright_testing.firmware_variables import SecureBootKeys, enroll_variables
from sealwright_testing.machine import Machine, MachineFiles, forwarded_port, qemu_arguments
from sealwright_testing.qmp import Qmp
from sealwright_testing.tools_root import ToolsRoot

_POLL_S = 0.02
_SECTOR = 512
_START_TIMEOUT_S = 60.0


class BoxError(RuntimeError):
    """The virtual machine itself failed, not what runs in it."""


@dataclass
class _Power:
    """What exists only while the box is on."""

    qemu: subprocess.Popen[bytes]
    swtpm: subprocess.Popen[bytes]
    sockets: Path
    console: Console
    qmp: Qmp


@dataclass
class VirtualBox:
    """One box. Make one with :meth:`create` or :meth:`restore`; as a context manager it is killed at the end.

    Attributes:
        directory: Holds disk.qcow2, vars.fd and the logs: console-N.log for the Nth time it was switched on.
        tpm_state: The TPM's state directory, used in place; share it with nobody while the box is on.
        machine: Hardware; may be changed while the box is off.
        port: On this host, forwarded to the box's HTTPS port; known once it is on, another each time.
    """

    directory: Path
    tpm_state: Path
    machine: Machine = field(default_factory=Machine)
    tools: ToolsRoot = field(default_factory=ToolsRoot.find, repr=False)
    port: int = field(default=0, init=False)
    _starts: int = field(default=0, init=False, repr=False)
    _power: _Power | None = field(default=None, init=False, repr=False)

    @classmethod
    def create(
        cls,
        directory: Path,
        image: Path,
        keys: SecureBootKeys | None,
        tpm_state: Path,
        *,
        secure_boot: bool = True,
        machine: Machine | None = None,
    ) -> VirtualBox:
        """Make a box that is off: ``image`` (raw) installed, ``keys`` enrolled.

        The image stays untouched: the disk is an overlay on it, so many boxes share one image, which must stay where
        it is. ``tpm_state`` is made by swtpm_setup (:class:`~sealwright_testing.swtpm.SoftwareTpm`); an empty directory
        is a TPM without EK certificates.
        """
        directory.mkdir(parents=True, exist_ok=True)
        tpm_state.mkdir(parents=True, exist_ok=True)
        box = cls(directory.resolve(), tpm_state.resolve(), machine or Machine())
        source = ["-b", str(image.resolve()), "-F", "raw"]
        box.tools.run("qemu-img", "create", "-q", "-f", "qcow2", *source, box.disk)
        enroll_variables(box.variables, keys, secure_boot=secure_boot, tools=box.tools)
        return box

    @property
    def disk(self) -> Path:
        """The disk's overlay."""
        return self.directory / "disk.qcow2"

    @property
    def variables(self) -> Path:
        """The firmware's variable store."""
        return self.directory / "vars.fd"

    @property
    def is_on(self) -> bool:
        """Whether QEMU runs."""
        return self._power is not None and self._power.qemu.poll() is None

    @property
    def console(self) -> Console:
        """The console since the box was last switched on."""
        return self._on().console

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        return self._on().qemu.pid

    def start(self) -> VirtualBox:
        """Switch on and return at once; see :meth:`expect`."""
        self._start(incoming=False)
        return self

    def expect(self, pattern: str, *, failures: str = FAILURES, stall_s: float = STALL_S) -> str:
        """Wait for a console line that matches and return its first group, or what matched (:meth:`Console.expect`)."""
        found = self._on().console.expect(pattern, failures=failures, stall_s=stall_s, obstacle=self._panic)
        return str(found[1] if found.re.groups else found[0])

    def wait_until(self, condition: Callable[[], bool], what: str, *, stall_s: float = STALL_S) -> None:
        """Wait for something that the console does not show, as long as the box prints or ``stall_s`` lasts."""
        begin = time.monotonic()
        while not condition():
            if not self.is_on:
                raise BoxError(f"the box went off while waiting for {what}")
            if said := self._panic():
                raise BoxError(f"{said} while waiting for {what}")
            if min(self.console.idle_s(), time.monotonic() - begin) > stall_s:
                raise BoxError(f"the box does nothing any more, waiting for {what}")
            time.sleep(_POLL_S * 10)

    def power_off(self) -> None:
        """Press the power button and wait until the box has shut down."""
        self.execute("system_powerdown")
        self.wait_for_power_off()

    def wait_for_power_off(self, *, stall_s: float = STALL_S) -> None:
        """Wait until the box switches itself off."""
        power = self._on()
        while power.qemu.poll() is None:
            if power.console.idle_s() > stall_s:
                raise BoxError("the box does not switch off")
            time.sleep(_POLL_S)
        self._end()

    def kill(self) -> None:
        """Cut the power: SIGKILL to QEMU and swtpm. Nothing is flushed, as when a cable is pulled. May be off."""
        if self._power is None:
            return
        self._power.qemu.kill()
        self._power.swtpm.kill()
        self._end()

    def restart(self) -> VirtualBox:
        """Cut the power and switch on again."""
        self.kill()
        return self.start()

    def execute(self, command: str, **arguments: object) -> Any:
        """Run a QMP command."""
        return self._on().qmp.execute(command, **arguments)

    def has_event(self, name: str) -> bool:
        """Whether QEMU has told of an event since the box was switched on."""
        return self._on().qmp.has_event(name)

    def set_network(self, *, up: bool) -> None:
        """Plug the network cable in or out."""
        self.execute("set_link", name="nic", up=up)

    def read_disk(self, offset: int, length: int) -> bytes:
        """Bytes of the disk. The box must be off."""
        first, skipped = divmod(offset, _SECTOR)
        count = -(-(skipped + length) // _SECTOR)
        with tempfile.NamedTemporaryFile(dir=self.directory) as output:
            window = [f"bs={_SECTOR}", f"skip={first}", f"count={first + count}"]
            self.tools.run("qemu-img", "dd", "-O", "raw", *window, f"if={self.disk}", f"of={output.name}")
            return Path(output.name).read_bytes()[skipped : skipped + length]

    def write_disk(self, offset: int, data: bytes) -> None:
        """Change bytes of the disk. The box must be off."""
        with tempfile.NamedTemporaryFile(dir=self.directory) as source:
            Path(source.name).write_bytes(data)
            command = f"write -s {source.name} {offset} {len(data)}"
            self.tools.run("qemu-io", "-f", "qcow2", "-c", command, self.disk)

    def adopt_disk(self, other: VirtualBox) -> None:
        """Put a copy of another box's disk into this one; both must be off."""
        shutil.copyfile(other.disk, self.disk)

    def snapshot(self, directory: Path) -> None:
        """Keep the running box's whole state, TPM included, in ``directory``, and switch it off."""
        directory.mkdir(parents=True)
        self.execute("stop")
        self.execute("migrate", uri=f"file:{directory.resolve() / 'state'}")
        while (status := self.execute("query-migrate")["status"]) != "completed":
            if status in ("failed", "cancelled"):
                raise BoxError(f"the snapshot {status}")
            time.sleep(_POLL_S)
        self.execute("quit")
        self._on().qemu.wait()
        self._end()
        for path in (self.disk, self.variables):
            shutil.copyfile(path, directory / path.name)

    def as_cut_off(self, directory: Path) -> VirtualBox:
        """Another box, off: this one as :meth:`kill` would leave it now. This one goes on.

        Its processes are stopped as they are, since QEMU's own ``stop`` would flush the disk.
        """
        directory.mkdir(parents=True)
        other = VirtualBox(directory.resolve(), (directory / "tpm").resolve(), self.machine)
        processes = (self._on().qemu, self._on().swtpm)
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        try:
            for path in (self.disk, self.variables):
                shutil.copyfile(path, directory / path.name)
            shutil.copytree(self.tpm_state, other.tpm_state)
        finally:
            for process in processes:
                process.send_signal(signal.SIGCONT)
        return other

    @classmethod
    def restore(cls, snapshot: Path, directory: Path, machine: Machine | None = None) -> VirtualBox:
        """A running box that goes on where the snapshot was taken; the snapshot can be restored again.

        The machine must equal the one it was taken of. The TPM's clock went on with real time, the guest's stood still.
        Not evidence of what a boot measures.
        """
        directory.mkdir(parents=True)
        tpm_state = directory / "tpm"
        tpm_state.mkdir()
        box = cls(directory.resolve(), tpm_state.resolve(), machine or Machine())
        for path in (box.disk, box.variables):
            shutil.copyfile(snapshot / path.name, path)
        box._start(incoming=True)
        box.execute("migrate-incoming", uri=f"file:{snapshot.resolve() / 'state'}")
        while box.execute("query-status")["status"] == "inmigrate":
            time.sleep(_POLL_S)
        box.execute("cont")
        return box

    def with_machine(self, **changes: Any) -> VirtualBox:
        """Change the hardware of a box that is off, and return the box."""
        self.machine = dataclasses.replace(self.machine, **changes)
        return self

    def _on(self) -> _Power:
        if self._power is None:
            raise BoxError("the box is off")
        return self._power

    def _panic(self) -> str | None:
        return "the kernel panicked" if self.has_event("GUEST_PANICKED") else None

    def _start(self, *, incoming: bool) -> None:
        if self._power is not None:
            if self.is_on:
                raise BoxError("the box is on")
            self._end()
        self._starts += 1
        # A UNIX socket's path may not be longer than 107 bytes, which a test's directory easily is.
        sockets = Path(tempfile.mkdtemp(prefix="sw-box-"))
        swtpm = self._start_swtpm(sockets / "tpm")
        share = self.tools.path / "usr/share"
        files = MachineFiles(
            firmware=share / "OVMF/OVMF_CODE_4M.secboot.fd",
            variables=self.variables,
            disk=self.disk,
            tpm_socket=sockets / "tpm",
            qmp_socket=sockets / "qmp",
            data=(share / "qemu", share / "seabios"),
        )
        command = self.tools.argv("qemu-system-x86_64", *qemu_arguments(self.machine, files, incoming=incoming))
        with (self.directory / "qemu.log").open("ab") as log:
            qemu = subprocess.Popen(
                command, env=self.tools.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
            )
        assert qemu.stdout is not None
        console = Console(qemu.stdout, self.directory / f"console-{self._starts}.log")
        try:
            self._await(qemu, files.qmp_socket, "QEMU", "qemu.log")
        except BoxError:
            swtpm.kill()
            swtpm.wait()
            raise
        self._power = _Power(qemu, swtpm, sockets, console, Qmp(files.qmp_socket))
        if self.machine.network:
            self.port = forwarded_port(self.execute("human-monitor-command", **{"command-line": "info usernet"}))

    def _start_swtpm(self, control: Path) -> subprocess.Popen[bytes]:
        command = self.tools.argv("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.tpm_state}", "--terminate")
        command += ["--ctrl", f"type=unixio,path={control}"]
        with (self.directory / "swtpm.log").open("ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._await(process, control, "swtpm", "swtpm.log")
        return process

    def _await(self, process: subprocess.Popen[bytes], path: Path, name: str, log: str) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not path.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise BoxError(f"{name} did not start:\n{(self.directory / log).read_text(errors='replace')[-2000:]}")
            time.sleep(_POLL_S)

    def _end(self) -> None:
        power = self._on()
        power.qemu.wait()
        try:
            power.swtpm.wait(_START_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            power.swtpm.kill()
            power.swtpm.wait()
        power.console.join()
        power.qmp.close()
        shutil.rmtree(power.sockets)
        self._power = None

    def __enter__(self) -> VirtualBox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()
