"""A vendor's service, an operator, a box, and its owner: every step that the lease machine can take.

What the owner does with the TPM he does in a system of his own on the same machine, so a reset lies between that and
the box's next boot. He may keep copies of the disk and, since the TPM is a software one, of the TPM.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tpm2_pytss import ESAPI
from tpm2_pytss.constants import ESYS_TR

from sealwright_appliance.boot import BoxState
from sealwright_appliance.tpm_counters import increment_counter
from sealwright_appliance.tpm_provision import ProvisionedTpm, open_provisioned_tpm
from sealwright_licensing.admission import admission
from sealwright_licensing.config import ServiceFolder, load_config
from sealwright_licensing.database import service_engine
from sealwright_licensing.endorsement import Tier
from sealwright_licensing.enrollment import EnrollmentService
from sealwright_licensing.grants import Grantor
from sealwright_licensing.nonces import StatelessNonces
from sealwright_licensing.operations.devices import resume_device, retire_device, transfer_device
from sealwright_licensing.operations.licenses import (
    add_activation_code,
    reinstate_license,
    revoke_license,
    suspend_license,
)
from sealwright_licensing.records import DeviceStatus, LicenseStatus
from sealwright_licensing.release_proofs import ReleaseProofs
from sealwright_licensing.renewal import RenewalService
from sealwright_licensing.store_sql import SqlStore
from sealwright_policies.errors import UsageError
from sealwright_testing.evidence_factory import SyntheticBox, payload_fields
from sealwright_testing.leases.account import HOUR_S, Account, require
from sealwright_testing.leases.timed_box import End, TimedBox
from sealwright_testing.leases.virtual_time import START, VirtualTime
from sealwright_testing.license_world import NO_FLOOR, OPERATOR, LicenseWorld
from sealwright_testing.swtpm import SoftwareTpm
from sealwright_testing.synthetic_uki import SECTIONS, build_uki

DAY_S = 24 * HOUR_S
LICENSE_DAYS, LEASE_DAYS, CONTACT_S = 60, 1, 6 * HOUR_S
RTC_ERRORS_S = (0.0, -float(START), 73 * 365.25 * DAY_S)
"""A right calendar, one that begins in 1970, and one in 2099."""


@dataclass
class TpmCopy:
    """A software TPM as it was, and what had been obtained till then: a second run through it is not counted."""

    path: Path
    obtained_s: float


@dataclass
class Scene:
    """One box, activated and off."""

    directory: Path
    time: VirtualTime
    world: LicenseWorld
    account: Account
    box: TimedBox
    images: list[SyntheticBox]
    disks: list[Path] = field(default_factory=list)
    tpms: list[TpmCopy] = field(default_factory=list)

    @classmethod
    def create(cls, directory: Path, manufactured: SoftwareTpm) -> Scene:
        """A service, a licence of 60 days with leases of one day, a box with a copy of this TPM, enrolled."""
        time = VirtualTime(directory / "time")
        world = LicenseWorld.create(directory / "license", now=START)
        for pem in (manufactured.root_certificates_pem, manufactured.intermediate_certificates_pem):
            world.add_certificates(pem, Tier.SOFTWARE)
        license_, (code,) = world.issue(days=LICENSE_DAYS, lease_days=LEASE_DAYS, renew_after_s=CONTACT_S)
        tpm = _tpm(directory, time)
        manufactured.copy_state(tpm.state_directory)
        account = Account(world, license_.license_id)
        box = TimedBox(directory / "box", tpm, world, time, account, world.box)
        scene = cls(directory, time, world, account, box, [world.box])
        box.activate(code)
        account.check()
        return scene

    def copy(self, directory: Path) -> Scene:
        """The same once more, to go another way. Nobody may have used this one since it was made."""
        self.close()
        shutil.copytree(self.directory, directory)
        time = VirtualTime(directory / "time", self.time.now)
        world = _opened(self.world, ServiceFolder(directory / "license"))
        tpm = _tpm(directory, time)
        account = replace(self.account, world=world, _granted=set(self.account._granted))
        box = TimedBox(directory / "box", tpm, world, time, account, world.box)
        return Scene(directory, time, world, account, box, [world.box])

    def close(self) -> None:
        """Close the database and switch everything off."""
        self.world.store._engine.dispose()
        self.box.tpm.kill()
        if self.box.tpm.socket is not None:
            shutil.rmtree(self.box.tpm.socket.parent, ignore_errors=True)

    # --- whoever has the box ----------------------------------------------------------------------------------------

    def run(self, seconds: float, **how: Any) -> BoxState:
        """A boot, or several if the box restarts itself; see :meth:`TimedBox.run`."""
        state = self.box.run(seconds, **how)
        self.account.check()
        return state

    def rest(self, seconds: float) -> None:
        """Time passes while the box is off."""
        self.time.advance(seconds)

    def keep_disk(self) -> None:
        """Copy the state volume."""
        path = self.directory / f"disk-{len(self.disks)}"
        shutil.copytree(self.box.paths.state, path)
        self.disks.append(path)

    def put_disk_back(self, number: int) -> None:
        """Write an older state volume over the present one."""
        shutil.rmtree(self.box.paths.state)
        shutil.copytree(self.disks[number % len(self.disks)], self.box.paths.state)

    def merge_disk(self, number: int) -> None:
        """Lay every lease of an older state volume beside the present ones."""
        shutil.copytree(self.disks[number % len(self.disks)] / "leases", self.box.paths.leases, dirs_exist_ok=True)

    def keep_tpm(self) -> None:
        """Copy the software TPM."""
        path = self.directory / f"tpm-{len(self.tpms)}"
        self.box.tpm.copy_state(path)
        self.tpms.append(TpmCopy(path, self.account.obtained_s))

    def put_tpm_back(self, number: int) -> None:
        """Put an older state of the software TPM back. What was run since then is not counted: nothing could."""
        copy = self.tpms[number % len(self.tpms)]
        before = self.box.saved_clock_ms()
        self.box.tpm.restore_state(copy.path)
        self.account.lost_ms += max(0, before - self.box.saved_clock_ms())
        self.account.obtained_s = min(self.account.obtained_s, copy.obtained_s)

    def reset(self, times: int) -> None:
        """Switch the machine on and off without booting the box's system."""
        for _ in range(times - 1):
            self.box.tpm.start()
            with ESAPI(self.box.tpm.tcti) as esapi:  # swtpm keeps what a start changes with the next command
                esapi.read_clock()
            self.box.tpm.kill()
        with self.box.powered():
            pass

    def set_clock(self, seconds: float, end: End) -> None:
        """TPM2_ClockSet, which goes forward only: by more than passes between reading and setting."""
        with self.box.powered(end), ESAPI(self.box.tpm.tcti) as esapi:
            esapi.clock_set(int(esapi.read_clock().clockInfo.clock) + int(seconds * 1000))

    def count(self, which: str, times: int) -> None:
        """Increment one of the box's counters."""
        with self._provisioned() as tpm:
            for _ in range(times):
                increment_counter(tpm.device, getattr(tpm.counters, which))

    def redefine(self, which: str) -> None:
        """Undefine a counter, which the owner's empty authorisation allows; the box will define it again."""
        with self._provisioned() as tpm:
            handle = getattr(tpm.counters, which).handle
            tpm.device.esapi.nv_undefine_space(handle, auth_handle=ESYS_TR.OWNER)

    def pry(self) -> None:
        """Try every lease on the disk."""
        self.box.pry()
        self.account.check()

    def clear(self) -> None:
        """TPM2_Clear."""
        with self.box.powered(End.SHUTDOWN), ESAPI(self.box.tpm.tcti) as esapi:
            esapi.clear(ESYS_TR.LOCKOUT)
        self.account.check()

    # --- the vendor's operator --------------------------------------------------------------------------------------

    def set_status(self, status: LicenseStatus) -> None:
        """Suspend, reinstate or revoke. What is revoked stays so."""
        revoked = self.account.license().status is LicenseStatus.REVOKED
        change = {
            LicenseStatus.SUSPENDED: suspend_license,
            LicenseStatus.ACTIVE: reinstate_license,
            LicenseStatus.REVOKED: revoke_license,
        }[status]
        try:
            change(self.world.store, OPERATOR, self.account.license_id, now=self.box.service_clock.now())
        except UsageError:
            require(revoked, f"a licence that is not revoked cannot become {status}")
        stored = self.account.license().status
        require(stored is (LicenseStatus.REVOKED if revoked else status), f"a licence is {stored}, not {status}")

    def set_service_back(self, seconds: float) -> None:
        """The service's machine restarts, and its clock is behind by so much from now on."""
        self.box.service_behind_s = seconds
        restarted = _opened(self.world, self.world.folder)
        self.world.store._engine.dispose()
        self.world.store, self.world.enrollment = restarted.store, restarted.enrollment
        self.world.renewal = restarted.renewal
        self.box.start_service_clock()

    def resume(self) -> None:
        """Let a held device go on."""
        device = self.account.device()
        assert device is not None
        if device.status is DeviceStatus.HELD:
            resume_device(self.world.store, OPERATOR, device.device_id, now=self.box.service_clock.now())
        self.account.check()

    def enroll_anew(self, *, wiped: bool = True, transferred: bool = False) -> None:
        """Activate the box again with a further code: the operator retires the device, or transfers it."""
        device = self.account.device()
        assert device is not None
        store, now = self.world.store, self.box.service_clock.now()
        if transferred and device.status is not DeviceStatus.RETIRED:
            code = transfer_device(store, OPERATOR, device.device_id, at_once=True, now=now).activation_code
        else:
            if device.status is not DeviceStatus.RETIRED:
                retire_device(store, OPERATOR, device.device_id, now=now)
            code = add_activation_code(store, OPERATOR, self.account.license_id, now=now)
        self.account.check()
        if wiped:
            shutil.rmtree(self.box.paths.state)
            self.box.paths.leases.mkdir(parents=True)  # empty, if the activation is denied
        self.box.activate(code)
        self.account.check()

    def publish(self) -> SyntheticBox:
        """Build and import the next release, with one model more."""
        number = len(self.images)
        uki = build_uki(SECTIONS | {".osrel": b"VERSION_ID=1.%d.0\n" % (number + 2)})
        first = self.images[0]
        more = payload_fields(f"{0x80 + number:02x}" * 32) | {
            "payload_id": f"extra-{number}",
            "domain": f"extra-{number}",
            "partition_label": f"payload-{number}",
        }
        changes = {
            **first.manifest_changes,
            "product_version": f"1.{number + 2}.0",
            "payloads": [payload_fields(), more],
        }
        image = SyntheticBox(keys=first.keys, uki=uki, manifest_key=first.manifest_key, manifest_changes=changes)
        self.world.import_release(image)
        self.images.append(image)
        return image

    def install(self, number: int) -> None:
        """The box's next boot is of this release."""
        self.box.image = self.images[number % len(self.images)]

    # --- what an honest box may expect ------------------------------------------------------------------------------

    @property
    def may_serve(self) -> bool:
        """Whether the service owes the box a lease."""
        license_, device = self.account.license(), self.account.device()
        assert device is not None
        used = device.charged_ticks + device.ticks - device.first_ticks
        in_time = self.time.now + DAY_S < license_.expires_at
        active = license_.status is LicenseStatus.ACTIVE and device.status is DeviceStatus.LIVE
        return active and in_time and used + 50 < license_.tick_budget

    def must_serve(self) -> None:
        """With the network there, the box serves within two hours, restarts included."""
        if self.may_serve:
            state = self.run(2 * HOUR_S, connected=True, end=End.SHUTDOWN)
            require(state is BoxState.SERVING, f"an honest box is locked out: {state}: {self.box.reason}")

    @contextmanager
    def _provisioned(self) -> Iterator[ProvisionedTpm]:
        with self.box.powered(End.SHUTDOWN), open_provisioned_tpm(self.box.tpm.tcti) as tpm:
            yield tpm


def _tpm(directory: Path, time: VirtualTime) -> SoftwareTpm:
    """A TPM that lives in this time. The path of a socket is limited to 107 bytes."""
    socket = Path(tempfile.mkdtemp(prefix="sw-tpm-")) / "tpm"
    return SoftwareTpm(directory / "tpm", environment=time.environment, socket=socket)


def _opened(world: LicenseWorld, folder: ServiceFolder) -> LicenseWorld:
    """A service on a copied folder."""
    store = SqlStore(service_engine(folder, load_config(folder)), admission(folder))
    grantor = Grantor(world.keys, world.enrollment._grantor.key_release, ReleaseProofs(store))
    return replace(
        world,
        folder=folder,
        store=store,
        enrollment=EnrollmentService(store, grantor, NO_FLOOR),
        renewal=RenewalService(store, grantor, StatelessNonces(world.keys.nonce), NO_FLOOR),
    )
