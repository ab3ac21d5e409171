"""``sealwright-demo up | down | status``: the whole way of a key, by the real commands, on this machine.

``up`` starts a process that does everything and then keeps the box and the licence service running; it shows that
process's report and ends with its verdict. ``down`` ends the process, and with it all that it started.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from sealwright_testing import customer
from sealwright_testing.firmware_variables import SecureBootKeys
from sealwright_testing.models import ModelStore
from sealwright_testing.swtpm import SoftwareTpm
from sealwright_testing.vendor import Vendor, bundled_models, end_process
from sealwright_testing.virtual_box import VirtualBox

REPOSITORY = Path(__file__).resolve().parents[2]
DIRECTORY = REPOSITORY / "build/demo"
KEEPER = "sealwright_testing.demo"
"""On the command line of the keeping process."""
INTERRUPTED = 128 + signal.SIGINT
FREE_BYTES = 4 * 1024**3
"""Needed for image, TPM and logs; the toolchain and the models are checked where they are made."""


@dataclass
class Report:
    """Numbered steps with their times."""

    total: int
    begun: float = field(default_factory=time.monotonic)
    done: int = 0

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """One step; its time is printed when it is over."""
        self.done += 1
        print(f"[{self.done:>2}/{self.total}] {what} …", flush=True)
        start = time.monotonic()
        yield
        print(f"        {time.monotonic() - start:6.1f} s", flush=True)

    def say(self, text: str) -> None:
        """Something that a step found, indented."""
        for line in text.splitlines():
            print(f"        {line}", flush=True)


@dataclass(frozen=True, slots=True)
class Paths:
    """Files of one demo."""

    directory: Path

    @property
    def log(self) -> Path:
        """What the keeping process prints."""
        return self.directory / "demo.log"

    @property
    def pid(self) -> Path:
        """The keeping process."""
        return self.directory / "demo.pid"

    @property
    def verdict(self) -> Path:
        """Written at the end: 0 if all of it happened."""
        return self.directory / "verdict"


def run(paths: Paths, stopped: threading.Event) -> None:
    """Do it all, then keep the box on until told to stop."""
    report = Report(total=11)
    vendor = Vendor(paths.directory / "vendor")
    box: VirtualBox | None = None
    try:
        box = _bring_up(paths, vendor, report)
        _write_verdict(paths, 0)
        stopped.wait()
    except BaseException as error:
        print(f"\nThe demo failed: {error}\nLogs: {paths.directory}. Clean up with: make demo-down", flush=True)
        _write_verdict(paths, 1)
        raise SystemExit(1) from error
    finally:
        if box is not None:
            box.kill()
        vendor.stop_service()


def _bring_up(paths: Paths, vendor: Vendor, report: Report) -> VirtualBox:
    store = ModelStore.load()
    with report.step("Licence service: keys, CA and database; signing keys of the build"):
        vendor.initialise()
    with report.step("Image: operating system, encrypted model partitions, signed manifest"):
        vendor.write_product(bundled_models(store))
        vendor.build(show=True)
    with report.step("Licence service starts"):
        vendor.start_service()
    with report.step("Release registered"):
        report.say(f"release {vendor.import_release()}")
    with report.step("A TPM with an EK certificate is made; the service is told to trust its maker"):
        tpm = SoftwareTpm.manufacture(paths.directory / "tpm")
        vendor.trust_tpm_maker(tpm)
    with report.step("Licence issued"):
        license_ = vendor.issue_license()
        report.say(f"licence {license_.license_id}, activation code {license_.activation_code}")
    box = VirtualBox.create(
        paths.directory / "box", vendor.image / "disk.raw", SecureBootKeys.of_image(vendor.image), tpm.state_directory
    )
    try:
        with report.step("Box boots for the first time: Secure Boot, measured, sealed"):
            box.start()
            placard = customer.read_placard(box)
            report.say(f"device {placard.device_id}\nclaim code {placard.claim_code}")
            report.say(f"TLS fingerprint {placard.tls_fingerprint}")
        with report.step("Box is activated: enrolment, appraisal, key shares, lease"):
            secrets = customer.activate(box, placard, license_.activation_code)
            report.say(vendor.device_words(placard.device_id))
        with report.step("Box restarts, unseals its key shares in the TPM and opens the models"):
            served = box.expect(r"sealwright: state serving: (.*)")
            report.say(f"serving: {served}")
        with report.step("Each model is asked a question over the OpenAI API"):
            customer.wait_for_https(box)
            _ask_all(box, store, secrets["api_key"], placard.tls_fingerprint, report)
        with report.step("Ready"):
            _say_how_to_go_on(paths, vendor, box, secrets["api_key"], report)
    except BaseException:
        box.kill()
        raise
    return box


def _ask_all(box: VirtualBox, store: ModelStore, api_key: str, fingerprint: str, report: Report) -> None:
    with customer.colleague(box, api_key, fingerprint) as client:
        for name, samples in store.samples().items():
            for sample in samples[:2]:
                answer = customer.ask(client, name, sample.question)
                report.say(f"{name}: {sample.question}\n   -> {answer}")
                if answer != sample.answer:
                    raise RuntimeError(f"{name} should have answered: {sample.answer}")


def _say_how_to_go_on(paths: Paths, vendor: Vendor, box: VirtualBox, api_key: str, report: Report) -> None:
    certificate = paths.directory / "box.pem"
    customer.save_certificate(box, certificate)
    report.say(f"""box        https://127.0.0.1:{box.port}/   (status page; certificate: {certificate})
service    https://127.0.0.1:{vendor.port}/readyz
API key    {api_key}
console    {paths.directory}/box/console-*.log

import openai, ssl
trust = ssl.create_default_context(cafile="{certificate}"); trust.check_hostname = False
client = openai.OpenAI(base_url="https://127.0.0.1:{box.port}/v1", api_key="{api_key}",
                       http_client=openai.DefaultHttpxClient(verify=trust))
print(client.chat.completions.create(model="medical", messages=[{{"role": "user", "content": "What is metformin?"}}])
      .choices[0].message.content)

The box and the service run until: make demo-down""")


def _write_verdict(paths: Paths, code: int) -> None:
    partial = paths.verdict.with_suffix(".partial")
    partial.write_text(str(code))
    partial.rename(paths.verdict)


def up(paths: Paths) -> int:
    """Start the keeping process, show its report, end with its verdict."""
    if _is_running(paths):
        print("A demo is running already; `make demo-down` ends it.")
        return 1
    _remove(paths)
    paths.directory.mkdir(parents=True)
    free = shutil.disk_usage(paths.directory).free
    if free < FREE_BYTES:
        print(
            f"The demo needs {FREE_BYTES >> 20} MiB in {paths.directory}; {free >> 20} MiB are free. Free some space."
        )
        return 1
    with paths.log.open("wb") as log:
        keeper = subprocess.Popen(
            keeper_command(paths),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        paths.pid.write_text(str(keeper.pid))
        return _follow(paths, keeper)
    except KeyboardInterrupt:
        print(f"\nInterrupted: the demo is stopped. Logs: {paths.directory}. Clean up with: make demo-down", flush=True)
        end_process(keeper.pid, expect=KEEPER)
        return INTERRUPTED


def keeper_command(paths: Paths) -> list[str]:
    """Starts the keeping process."""
    return [sys.executable, "-m", KEEPER, "keep", "--directory", str(paths.directory)]


def _follow(paths: Paths, keeper: subprocess.Popen[bytes]) -> int:
    """Show the report as it grows; returns the verdict."""
    with paths.log.open(encoding="utf-8", errors="replace") as shown:
        while True:
            ended = keeper.poll() is not None or paths.verdict.exists()
            sys.stdout.write(shown.read())
            sys.stdout.flush()
            if ended:
                return int(paths.verdict.read_text()) if paths.verdict.exists() else 1
            time.sleep(0.2)


def down(paths: Paths) -> int:
    """End what ``up`` started and remove its files."""
    if not paths.directory.exists():
        print("There is no demo to stop.")
        return 0
    running = _is_running(paths)
    if running:
        end_process(int(paths.pid.read_text()), expect=KEEPER)
    # The keeper stops it too, unless it was killed.
    Vendor(paths.directory / "vendor").stop_service()
    _remove(paths)
    print("The demo is stopped" if running else "No demo was running", "and its files are removed.")
    return 0


def show(paths: Paths) -> int:
    """Print where the running demo can be reached."""
    running = _is_running(paths)
    print(paths.log.read_text() if running else "No demo is running; `make demo` starts one.")
    return 0 if running else 1


def _is_running(paths: Paths) -> bool:
    if not paths.pid.exists():
        return False
    try:
        return KEEPER in Path(f"/proc/{int(paths.pid.read_text())}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def _remove(paths: Paths) -> None:
    shutil.rmtree(paths.directory, ignore_errors=True)


def keep(paths: Paths) -> int:
    """The keeping process."""
    stopped = threading.Event()

    def stop(_: int, __: FrameType | None) -> None:
        if stopped.is_set():
            return
        stopped.set()
        if not paths.verdict.exists():
            raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    run(paths, stopped)
    return 0


def main() -> None:
    """Entry point of ``sealwright-demo``."""
    commands: dict[str, Callable[[Paths], int]] = {"up": up, "down": down, "status": show, "keep": keep}
    parser = argparse.ArgumentParser(
        prog="sealwright-demo",
        description="Build an image, boot it in a virtual machine, activate it and ask its models.",
        epilog="up: start · down: stop and remove · status: show the running demo again",
    )
    parser.add_argument("command", choices=["up", "down", "status", "keep"], metavar="up|down|status")
    parser.add_argument("--directory", type=Path, default=DIRECTORY, help="where it works (default: build/demo)")
    arguments = parser.parse_args()
    sys.exit(commands[arguments.command](Paths(arguments.directory.resolve())))


if __name__ == "__main__":
    main()
