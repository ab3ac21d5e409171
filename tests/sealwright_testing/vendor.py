"""A vendor in a folder: keys, a licence service with its process, a product and its image.

Everything goes through the real commands, as a vendor would give them; the demo and the VM tests are both built on it.

    license/      the licence service's folder (sealwright-license init)
    keys/         signing keys of the build (sealwright-image keygen)
    product.toml
    image/        the build's output
    service.log, service.pid
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sealwright_testing.domain_texts import write_domains, write_serving
from sealwright_testing.machine import HOST_ADDRESS
from sealwright_testing.models import ModelStore
from sealwright_testing.ports import free_port
from sealwright_testing.sealed_job import SealedJob
from sealwright_testing.swtpm import SoftwareTpm

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
VENDOR_NAME = "Example Vendor"


@dataclass(frozen=True, slots=True)
class Model:
    """A payload for product.toml."""

    payload_id: str
    domain: str
    path: Path
    license: Path


@dataclass(frozen=True, slots=True)
class IssuedLicense:
    """What ``sealwright-license license issue`` printed."""

    license_id: str
    activation_code: str


class CommandError(AssertionError):
    """A command of ours exited with an error; the message holds its output."""

    def __init__(self, argv: Sequence[str], code: int, output: str) -> None:
        super().__init__(f"{' '.join(argv)} exited with {code}:\n{output}")
        self.code = code
        self.output = output


def command(
    name: str, *arguments: str | Path, typed: str = "", show: bool = False, variables: Mapping[str, str] | None = None
) -> str:
    """Run one of our commands from this environment; returns its standard output.

    Args:
        typed: its standard input.
        variables: of its environment, beside this one's.
        show: pass its standard error, where progress is written, through to ours.

    Raises:
        CommandError: it exited with an error.
    """
    argv = [str(Path(sys.executable).parent / name), *map(str, arguments)]
    done = subprocess.run(
        argv, input=typed, stdout=subprocess.PIPE, stderr=None if show else subprocess.PIPE, text=True, check=False,
        env=os.environ | (variables or {}),
    )  # fmt: skip
    if done.returncode != 0:
        raise CommandError(argv, done.returncode, done.stdout + (done.stderr or ""))
    return done.stdout


@dataclass(frozen=True, slots=True)
class Vendor:
    """One vendor's folder."""

    directory: Path

    @property
    def license_directory(self) -> Path:
        """The licence service's folder."""
        return self.directory / "license"

    @property
    def image(self) -> Path:
        """The build's output folder."""
        return self.directory / "image"

    @property
    def port(self) -> int:
        """Where the service listens: the port of the URL that the image knows."""
        document = json.loads((self.license_directory / "license-service.json").read_text())
        return int(document["url"].rsplit(":", 1)[1])

    def initialise(self) -> None:
        """Make the licence service's folder and the signing keys."""
        self.directory.mkdir(parents=True, exist_ok=True)
        url = f"https://{HOST_ADDRESS}:{free_port()}"
        command("sealwright-license", "init", self.license_directory, "--url", url)
        command("sealwright-image", "keygen", self.directory / "keys")

    def write_product(
        self,
        models: Sequence[Model],
        *,
        version: str = "1.0",
        flavour: str = "production",
        extra_tree: Path | None = None,
        extra_command_line: Sequence[str] = (),
        planted_engines: Sequence[str] = (),
        job: Callable[[Path, Path], SealedJob] | None = None,
        more_domains: Mapping[str, str] | None = None,
        peers: Sequence[str] = (),
    ) -> Path:
        """Write product.toml; returns its path. Of planted engines there is a domain, and no payload; a job, given what
        writes it into a folder with a licence's text, is a workload with its data set.

        Args:
            more_domains: texts of domain files without payloads, by name.
            peers: networks of boxes with which files are exchanged.
        """
        members = dict.fromkeys(planted_engines, "planted") | {one.payload_id: one.domain for one in models}
        domains = write_serving(self.directory / "domains", members)
        domains += write_domains(self.directory / "domains", more_domains or {})
        sealed = job(self.directory, models[0].license) if job else None
        domains = list(dict.fromkeys([*domains, *(sealed.domains if sealed else ())]))
        planted = [f'extra_tree = "{extra_tree}"'] if extra_tree else []
        planted += [f"extra_command_line = {json.dumps(list(extra_command_line))}"] if extra_command_line else []
        lines = [
            f'vendor = "{VENDOR_NAME}"',
            'product = "sealed-advisor"',
            f'version = "{version}"',
            f'flavour = "{flavour}"',
            'keys = "keys"',
            'license_service = "license/license-service.json"',
            f"domains = {json.dumps([f'domains/{path.name}' for path in domains])}",
            f"peers = {json.dumps(list(peers))}",
            *(["", "[os]", *planted] if planted else []),
        ]
        for model in models:
            lines += [
                "",
                "[[payload]]",
                f'id = "{model.payload_id}"',
                'kind = "model"',
                f'domain = "{model.domain}"',
                f'path = "{model.path}"',
                f'license = "{model.license}"',
            ]
        lines += sealed.lines if sealed else ()
        target = self.directory / "product.toml"
        target.write_text("\n".join(lines) + "\n")
        return target

    def build(self, *, show: bool = False) -> None:
        """Build the image of product.toml."""
        command("sealwright-image", "build", self.directory / "product.toml", "--output", self.image, show=show)

    def trust_tpm_maker(self, tpm: SoftwareTpm) -> None:
        """Let this deployment accept the software TPMs of one maker."""
        pems = [tpm.ca_directory / "swtpm-localca-rootca-cert.pem", tpm.ca_directory / "issuercert.pem"]
        command("sealwright-license", "roots", "add", self.license_directory, *pems, "--tier", "software")

    def import_release(self) -> str:
        """Register the built release; returns its id."""
        key = self.image / "manifest-key.pem"
        reply = self.license("release", "import", self.license_directory, self.image, "--manifest-key", key)
        return str(reply["release_id"])

    def issue_license(self, *options: str) -> IssuedLicense:
        """Issue a licence for one box with a software TPM."""
        reply = self.license(
            "license", "issue", self.license_directory, "--product", "sealed-advisor", "--tier", "software", *options
        )
        return IssuedLicense(reply["license_id"], reply["activation_code"])

    def revoke(self, license_id: str) -> None:
        """Revoke a licence."""
        self.license("license", "revoke", self.license_directory, license_id, "--yes")

    def device_words(self, device_id: str) -> str:
        """What ``device show`` says about a device, the last appraisal in words among it."""
        return command("sealwright-license", "device", "show", self.license_directory, device_id)

    def license(self, *arguments: str | Path) -> Any:
        """Run ``sealwright-license … --json`` and parse what it prints."""
        return json.loads(command("sealwright-license", *arguments, "--json"))

    def start_service(self) -> int:
        """Start the licence service on loopback, in a session of its own; returns its pid.

        Raises:
            RuntimeError: it ended, or somebody else has its port, who would be taken for it.
        """
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                raise RuntimeError(f"port {self.port} is somebody else's, perhaps of a run that was killed")
        argv = [str(Path(sys.executable).parent / "sealwright-license"), "serve", str(self.license_directory)]
        with (self.directory / "service.log").open("ab") as log:
            process = subprocess.Popen(
                [*argv, "--host", "127.0.0.1", "--port", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        (self.directory / "service.pid").write_text(str(process.pid))
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise RuntimeError(f"the licence service ended:\n{(self.directory / 'service.log').read_text()}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return process.pid
            time.sleep(0.1)
        raise RuntimeError("the licence service did not listen in time")

    def stop_service(self) -> None:
        """Stop the service that this folder's pid file names, if it runs."""
        pid_file = self.directory / "service.pid"
        if pid_file.exists():
            end_process(int(pid_file.read_text()), expect="sealwright-license")
            pid_file.unlink()


def end_process(pid: int, *, expect: str, how: signal.Signals = signal.SIGTERM) -> None:
    """End a process that we started, if it still is that process; wait until it is gone."""
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while expect in _command_line(pid):
        os.kill(pid, how if time.monotonic() < deadline else signal.SIGKILL)
        time.sleep(0.1)
        _reap(pid)


def bundled_models(store: ModelStore) -> list[Model]:
    """The models of ``make models``, each in a domain of its own name."""
    return [Model(name, name, store.path(name), store.license(name)) for name in store.names]


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
