"""A box in compressed time: a real swtpm, the box's own code from unsealing to the lease keeper, and its disk.

A boot is measured up to the unseal point; then what :mod:`sealwright_appliance.unlock` does with the TPM and the leases
is done, and the keeper runs in virtual time until somebody ends the boot. Device-mapper and engines are not here: a
payload is open from the moment its volume key is there until the keeper stops it or the power fails.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from unittest.mock import patch

from tpm2_pytss import ESAPI
from tpm2_pytss.constants import TPM2_SU

from sealwright_appliance import contact_rules
from sealwright_appliance.boot import BoxCode, BoxState, Obstacle
from sealwright_appliance.boot_result import keep_status
from sealwright_appliance.console import Console
from sealwright_appliance.enrollment import enroll
from sealwright_appliance.files import write_durably
from sealwright_appliance.lease_calendar import CALENDAR_FILE, LeaseCalendar
from sealwright_appliance.lease_keeper import Actions, LeaseKeeper
from sealwright_appliance.lease_store import LeaseStore
from sealwright_appliance.paths import Paths
from sealwright_appliance.payloads import UnsealRefusedError, lease_volume_keys, unseal_stored_leases
from sealwright_appliance.renewal import Renewal
from sealwright_appliance.status import BootResult, PayloadState, PayloadStatus, lease_status, release_status
from sealwright_appliance.status_board import StatusBoard
from sealwright_appliance.tpm_counters import increment_counter
from sealwright_appliance.tpm_provision import open_provisioned_tpm
from sealwright_licensing.service_time import ServiceClock
from sealwright_policies.errors import SealwrightError
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.wire.framing import UNLOCKED_WORD
from sealwright_policies.wire.lease import Lease
from sealwright_testing.evidence_factory import SyntheticBox, volume_key
from sealwright_testing.leases.account import BOOT_S, LOOK_S, Account, require
from sealwright_testing.leases.direct_client import DirectClient
from sealwright_testing.leases.fuse import Fuse
from sealwright_testing.leases.virtual_time import Meanwhile, TimeIsUpError, VirtualStop, VirtualTime
from sealwright_testing.license_world import LicenseWorld
from sealwright_testing.power_cut import PowerCutError
from sealwright_testing.simulated_box import measure_boot, measure_word
from sealwright_testing.swtpm import SoftwareTpm

LOCKED_RETRY_S = 3600.0
"""Longest pause of a box that serves nothing, in compressed time: two minutes in the field."""
NOWHERE = "device:/nowhere"


class End(StrEnum):
    """How a boot ends."""

    CUT = "power cut"
    SHUTDOWN = "shutdown"
    STATE = "shutdown that keeps the state"
    """Of another system: the kernel of the box does not do it. The start behind it is no reset."""


class RestartedError(BaseException):
    """The keeper restarts the box."""


@dataclass
class TimedBox:
    """One box. Off between any two calls."""

    directory: Path
    tpm: SoftwareTpm
    world: LicenseWorld
    time: VirtualTime
    account: Account
    image: SyntheticBox
    """What is installed."""
    rtc_error_s: float = 0.0
    """By how much the box's calendar is wrong."""
    service_behind_s: float = 0.0
    """By how much the service's clock is behind."""
    state: BoxState = BoxState.STARTING
    """The last boot's, at its end."""
    reason: str | None = None
    sentence: str = ""
    fuse: Fuse = field(default_factory=Fuse)
    lost_ms: int = 0
    """Clock that the last power cut lost."""
    _keeper: LeaseKeeper | None = None
    _lost_replies: int = 0

    def __post_init__(self) -> None:
        """The service runs."""
        self.start_service_clock()

    def start_service_clock(self) -> None:
        """The service starts: of times before it knows what its database knows."""
        self.service_clock = ServiceClock(
            self.world.store, lambda: self.time.now - self.service_behind_s, lambda: self.time.now
        )

    @property
    def paths(self) -> Paths:
        """Anew after each start of the TPM: its port changes."""
        return Paths(root=self.directory / "root", tcti=self.tpm.tcti, gateway_group=None, agent_user=None)

    @property
    def store(self) -> LeaseStore:
        """What the box keeps."""
        paths = self.paths
        return LeaseStore(
            paths.leases, paths.shares, paths.identity, self.world.service, release_status(self.image.release)
        )

    @property
    def is_activated(self) -> bool:
        """Whether its disk says who it is."""
        return self.store.load_identity() is not None

    @contextmanager
    def powered(self, end: End = End.CUT) -> Iterator[None]:
        """The TPM is on; at the end it is off, and the account knows what Clock was lost."""
        self.tpm.start()
        try:
            yield
        finally:
            self.power_off(end)

    def power_off(self, end: End) -> None:
        """As :meth:`powered` ends."""
        if self.account.is_open:
            with open_provisioned_tpm(self.tpm.tcti) as tpm:
                self.account.metered(tpm.reading().ticks, self.time.now)
        with ESAPI(self.tpm.tcti) as esapi:
            before = int(esapi.read_clock().clockInfo.clock)
            if end is not End.CUT:
                esapi.shutdown(TPM2_SU.STATE if end is End.STATE else TPM2_SU.CLEAR)
        self.tpm.kill()
        self.account.off(self.time.now)
        self.lost_ms = max(0, before - self.saved_clock_ms())
        self.account.lost_ms += self.lost_ms

    def saved_clock_ms(self) -> int:
        """What Clock will be when the TPM is next switched on; looked up in a copy."""
        copy = replace(self.tpm, directory=self.directory / "look")
        shutil.rmtree(copy.directory, ignore_errors=True)
        self.tpm.copy_state(copy.state_directory)
        with copy, ESAPI(copy.tcti) as esapi:
            return int(esapi.read_clock().clockInfo.clock)

    def activate(self, code: str) -> None:
        """Enrol as the agent does, and restart."""
        with self.powered(End.SHUTDOWN):
            measure_boot(self.paths, self.image.boot_events())
            self._go_up()
            enroll(self.paths, self._client(connected=True), self.store, self.image.release.release_id, code)

    def run(
        self,
        seconds: float,
        *,
        connected: bool = True,
        end: End = End.CUT,
        cut_at: int | None = None,
        lost_replies: int = 0,
        bus_cut_s: float = 0.0,
        meanwhile: Iterable[tuple[float, Callable[[], None]]] = (),
    ) -> BoxState:
        """Switch on and leave running; the box restarts by itself if it wants to. Returns its last state.

        Args:
            seconds: until the boot is ended.
            connected: whether it reaches the service.
            cut_at: the number of the step (of :class:`Fuse`) at which the power fails before.
            lost_replies: how many of the service's answers get lost.
            bus_cut_s: for how long before the end nothing reaches the TPM any more.
            meanwhile: seconds from now, and what is done then.
        """
        deadline = self.time.now + seconds
        events = [Meanwhile(self.time.now + at, action) for at, action in meanwhile]
        if bus_cut_s:
            events.append(Meanwhile(deadline - bus_cut_s, self._cut_bus))
        self.fuse, self._lost_replies = Fuse(cut_at), lost_replies
        with self.fuse.in_place(), patch.object(contact_rules, "LOCKED_RETRY_S", LOCKED_RETRY_S):
            while self.time.now < deadline and self._one_boot(deadline, events, connected=connected, end=end):
                self.time.advance(BOOT_S)
        return self.state

    def _one_boot(self, deadline: float, events: list[Meanwhile], *, connected: bool, end: End) -> bool:
        """Whether the box has restarted by itself."""
        self.tpm.start()
        self.state = BoxState.STARTING
        how = End.CUT
        try:
            self._boot(deadline, events, connected=connected)
        except RestartedError:
            how = End.SHUTDOWN
            return True
        except TimeIsUpError:
            how = end
        except PowerCutError:
            pass
        finally:
            self.power_off(how)
        return False

    def pry(self) -> list[Lease]:
        """Boot the box's system, if it were one that tries every lease on the disk; returns those that open."""
        opened = []
        with self.powered():
            measure_boot(self.paths, self.image.boot_events())
            with open_provisioned_tpm(self.paths.tcti) as tpm:
                increment_counter(tpm.device, tpm.counters.ticks)
                for lease in self.store.load_leases():
                    with suppress(UnsealRefusedError, SealwrightError):
                        if lease_volume_keys(tpm, self.image.release, self.store, lease):
                            opened.append(lease)
                            self.account.opened(lease, ["pried"], tpm.reading(), self.time.now)
        return opened

    def _boot(self, deadline: float, events: list[Meanwhile], *, connected: bool) -> None:
        measure_boot(self.paths, self.image.boot_events())
        boot = self._unlock()
        self._go_up()
        self.time.advance(BOOT_S)
        write_durably(self.paths.boot_result, document_bytes(boot))
        board = StatusBoard(boot, Console([self.directory / "console"]), lambda: self.time.now)
        keeper = self._keeper = self._new_keeper(board, VirtualStop(self.time, deadline, events), connected=connected)
        if boot.state is BoxState.UNLOCKED:
            board.change(BoxState.SERVING, "The models answer.")
        try:
            keeper.run()
        finally:
            status = board.status
            self.state, self.reason, self.sentence = status.state, status.code or status.renewal, status.sentence

    def _unlock(self) -> BootResult:
        """Steps (2) and (4) of :mod:`sealwright_appliance.unlock`."""
        with open_provisioned_tpm(self.paths.tcti) as tpm:
            increment_counter(tpm.device, tpm.counters.ticks)
            if not self.is_activated:
                return self._result(BoxState.WAITING_FOR_ACTIVATION)
            try:
                unsealed = unseal_stored_leases(tpm, self.image.release, self.store)
            except UnsealRefusedError as refused:
                return self._result(BoxState.LOCKED, reason=refused.obstacles[0])
            except SealwrightError as error:
                return self._result(BoxState.LOCKED, reason=Obstacle(BoxCode.UNLOCK_FAILED, str(error)))
            right = {partition: volume_key(partition) for partition in unsealed.volume_keys}
            require(unsealed.volume_keys == right, "a volume key that is not the build's")
            payloads = [partition.payload_id for partition in unsealed.lease.partitions]
            self.account.opened(unsealed.lease, payloads, tpm.reading(), self.time.now)
            return self._result(BoxState.UNLOCKED, lease=unsealed.lease)

    def _result(self, state: BoxState, *, lease: Lease | None = None, reason: Obstacle | None = None) -> BootResult:
        payloads = [
            PayloadStatus(
                payload_id=payload.payload_id,
                kind=payload.kind,
                domain=payload.domain,
                file_name=payload.file_name,
                state=PayloadState.CLOSED if lease is None else PayloadState.OPEN,
            )
            for payload in self.image.release.manifest.payloads
        ]
        return BootResult(
            state=state,
            code=reason.code if reason else None,
            sentence=reason.sentence if reason else "",
            at=int(self.time.now),
            payloads=payloads,
            lease=lease_status(lease) if lease else None,
            state_volume_open=True,
        )

    def _go_up(self) -> None:
        measure_word(self.paths, 15, UNLOCKED_WORD)
        measure_word(self.paths, 11, "ready")

    def _new_keeper(self, board: StatusBoard, stop: VirtualStop, *, connected: bool) -> LeaseKeeper:
        identity = self.store.load_identity()
        client, release_id = self._client(connected=connected), self.image.release.release_id
        renewal = Renewal(self.paths, client, self.store, identity, release_id) if identity else None
        actions = Actions(self._stop_payload, self._restart, lambda status: keep_status(self.paths, status, 0.0))
        return LeaseKeeper(
            board=board,
            actions=actions,
            tpm_lock=threading.Lock(),
            tcti=self.paths.tcti,
            renewal=renewal,
            steady=lambda: self.time.now,
            calendar=LeaseCalendar(self.paths.identity / CALENDAR_FILE, lambda: self.time.now + self.rtc_error_s),
            look_every_s=LOOK_S,
            stop=stop,
        )

    def _client(self, *, connected: bool) -> DirectClient:
        clock = self.service_clock.now
        client = DirectClient(self.world, self.fuse, clock, self._is_granted)
        client.connected = connected
        client.losing = self._loses_reply
        return client

    def _is_granted(self, lease: Lease) -> None:
        self.account.granted(lease, self.time.now, self.service_clock.now())

    def _loses_reply(self) -> bool:
        self._lost_replies -= 1
        return self._lost_replies >= 0

    def _cut_bus(self) -> None:
        if self._keeper is not None:
            self._keeper.tcti = NOWHERE

    def _stop_payload(self, payload_id: str) -> None:
        self.account.closed(payload_id, self.time.now)

    def _restart(self) -> None:
        raise RestartedError
