"""A box that reaches no service: requests and replies go by files, through the real commands and a real QR code."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import segno

from sealwright_appliance.air_gap import RenewalByFile, RenewalOutcome
from sealwright_appliance.boot import BoxState
from sealwright_appliance.console import Console
from sealwright_appliance.lease_keeper import Actions, LeaseKeeper
from sealwright_appliance.license_client import LicenseClient
from sealwright_appliance.payloads import unseal_stored_leases
from sealwright_appliance.pending_requests import PendingRequests
from sealwright_appliance.renewal import Renewal
from sealwright_appliance.status import BootResult, lease_status
from sealwright_appliance.status_board import StatusBoard
from sealwright_appliance.tpm_counters import increment_counter
from sealwright_appliance.tpm_provision import open_provisioned_tpm
from sealwright_licensing import cli as license_cli
from sealwright_policies.wire.air_gap import qr_text, request_file
from sealwright_policies.wire.lease import Lease
from sealwright_testing.simulated_box import SimulatedBox, SimulatedVendor

NOWHERE = "https://127.0.0.1:1"


@dataclass
class OfflineBox:
    """An enrolled box that is up, and its agent's part in renewal by file."""

    simulated: SimulatedBox
    state: BoxState = BoxState.SERVING
    restarts: list[str] = field(default_factory=list)

    @property
    def by_file(self) -> RenewalByFile:
        """As an agent that starts now has it."""
        simulated = self.simulated
        leases = simulated.store.load_leases()
        boot = BootResult(
            state=BoxState.UNLOCKED if self.state is BoxState.SERVING else self.state,
            code="LEASE_EXPIRED" if self.state is BoxState.LOCKED else None,
            sentence="",
            at=int(time.time()),
            payloads=[],
            lease=lease_status(leases[0]) if leases else None,
            state_volume_open=True,
        )
        board = StatusBoard(boot, Console(()), time.time)
        if self.state is BoxState.SERVING:
            board.change(BoxState.SERVING, "The models answer.")
        identity = simulated.store.load_identity()
        assert identity is not None
        unreachable = simulated.vendor.service.model_copy(update={"url": NOWHERE})
        release_id = simulated.vendor.release.release_id
        client = LicenseClient(unreachable)
        renewal = Renewal(simulated.paths, client, simulated.store, identity, release_id)
        actions = Actions(lambda _: None, lambda: self.restarts.append("restart"), lambda _: None)
        keeper = LeaseKeeper(board, actions, threading.Lock(), simulated.paths.tcti, renewal)
        return RenewalByFile(keeper, PendingRequests(simulated.paths.pending_requests))

    def request(self, path: Path) -> Path:
        """Save a renewal request on a stick."""
        path.write_bytes(request_file(self.by_file.request()))
        return path

    def photographed(self, folder: Path) -> str:
        """Draw the QR code, and read it as a camera does."""
        image = folder / "code.png"
        segno.make_qr(qr_text(self.by_file.request()), error="m").save(str(image), scale=4, border=4)
        done = subprocess.run(
            ["zbarimg", "--quiet", "--raw", str(image)], capture_output=True, text=True, check=True, timeout=60
        )
        codes = done.stdout.splitlines()
        assert len(codes) == 1
        return codes[0]

    def reply(self, path: Path) -> RenewalOutcome:
        """Bring the reply back."""
        return self.by_file.reply(path.read_text())

    def number(self) -> int:
        """N in the TPM."""
        with open_provisioned_tpm(self.simulated.paths.tcti) as tpm:
            return tpm.lease_number()

    def reboot(self) -> Lease:
        """Cut the power, boot, unseal everything, and go up; returns the lease that opened it."""
        simulated = self.simulated
        simulated.boot()
        with open_provisioned_tpm(simulated.paths.tcti) as tpm:
            increment_counter(tpm.device, tpm.counters.ticks)
            unsealed = unseal_stored_leases(tpm, simulated.vendor.release, simulated.store)
        assert unsealed.volume_keys == simulated.vendor.volume_keys
        simulated.go_up()
        return unsealed.lease


@dataclass(frozen=True)
class Answered:
    """What ``device answer`` says."""

    code: int
    results: list[dict[str, Any]]
    error: str

    @property
    def codes(self) -> list[str]:
        """Of each request."""
        return [one["code"] for one in self.results]

    @property
    def reply(self) -> Path:
        """The only reply."""
        (result,) = self.results
        return Path(result["reply"])


def answer(vendor: SimulatedVendor, out: Path, requests: Sequence[Path] = (), texts: Sequence[str] = ()) -> Answered:
    """Run ``sealwright-license device answer``."""
    argv = ["device", "answer", str(vendor.license_directory), *map(str, requests), "--out", str(out), "--json"]
    for text in texts:
        argv += ["--qr-text", text]
    printed, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(printed), redirect_stderr(errors):
        code = license_cli.main(argv)
    return Answered(code, json.loads(printed.getvalue() or "[]"), errors.getvalue())


def copied(path: Path, folder: Path) -> Path:
    """A copy on another stick."""
    folder.mkdir(exist_ok=True)
    return Path(shutil.copy(path, folder))
