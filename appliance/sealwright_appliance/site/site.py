"""The site in the agent: who may change what, and a network that is tried before it is kept.

Addresses that nobody reaches would lock the customer out. So a changed network holds for some minutes, and the one
before comes back unless somebody confirms it over one of its addresses (policies/spec/site.md, 4).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_interface

from sealwright_appliance.license_client import LicenseClient
from sealwright_appliance.site.addresses import own_addresses
from sealwright_appliance.site.errors import SiteError
from sealwright_appliance.site.settings import NOTHING_SET, SiteSettings, as_address
from sealwright_appliance.site.store import SiteStore
from sealwright_policies.errors import SealwrightError

TRIAL_S = 300.0
REPLY_S = 1.0
"""In which the reply that leads to the new address gets to whoever asked from the old one."""
AGAIN_S = 30.0
LOOK_S = 5.0
"""Between two looks at the addresses."""


@dataclass
class Site:
    """One box's. Safe to use from several threads."""

    store: SiteStore
    client: LicenseClient
    apply: Callable[[], None]
    """Has systemd and the packet filter told."""
    say: Callable[[str], None]
    """On the console."""
    trial_s: float = TRIAL_S
    reply_s: float = REPLY_S
    again_s: float = AGAIN_S
    steady: Callable[[], float] = time.monotonic
    addresses: Callable[[], Sequence[str]] = own_addresses
    stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _trial: SiteSettings | None = None
    _ends: float = 0.0
    _timer: threading.Timer | None = None

    def open(self) -> None:
        """Go on with what is confirmed: an agent that ended in a trial cannot end it any more."""
        with self._lock:
            try:
                left_over = self.store.tried() is not None
            except SealwrightError:
                left_over = True
            if left_over:
                self.store.end_trial()
                self._undo()
            self.client.use_proxy(self._confirmed().proxy)

    def run(self) -> None:
        """Say on the console at which addresses the box is reached, until :attr:`stop` is set."""
        said: Sequence[str] | None = None
        while True:
            if (found := self.addresses()) != said:
                self.say(f"addresses {' '.join(found) or 'none yet'}")
                said = found
            if self.stop.wait(LOOK_S):
                return

    def confirmed(self) -> SiteSettings:
        """What is kept."""
        with self._lock:
            return self._confirmed()

    def trial(self) -> tuple[SiteSettings, int] | None:
        """What is tried, and for how many seconds yet."""
        with self._lock:
            return None if self._trial is None else (self._trial, max(0, int(self._ends - self.steady())))

    def change(self, settings: SiteSettings) -> None:
        """Set something; another network on trial.

        Raises:
            SiteError: 409, another network is being tried.
            OperationError: it cannot be written or applied.
        """
        with self._lock:
            if self._trial is not None:
                raise SiteError(409, "SITE_ON_TRIAL", "Another network is being tried; confirm it, or wait.")
            if settings.network == self._confirmed().network:
                self.store.confirm(settings)
                self.client.use_proxy(settings.proxy)
                self.apply()
            else:
                self._begin(settings)
                self.client.use_proxy(settings.proxy)

    def confirm(self, reached_at: str) -> None:
        """Keep the network that is tried.

        Args:
            reached_at: address of the box at which whoever confirms has reached it.

        Raises:
            SiteError: 409, none is tried, or it was not reached over it.
        """
        with self._lock:
            if self._trial is None:
                raise SiteError(409, "SITE_NOT_ON_TRIAL", "No network is being tried; the one before is back.")
            if not is_of(self._trial, reached_at):
                raise SiteError(409, "SITE_NOT_REACHED", "Open the box at its new address, and confirm there.")
            self.store.confirm(self._trial)
            self._end()
            self.say("network: confirmed")

    def roll_back(self) -> None:
        """The network before, and all that was set with the one that was tried."""
        with self._lock:
            if self._trial is None:
                return
            self._end()
            self.store.end_trial()
            self.client.use_proxy(self._confirmed().proxy)
            self.say("network: nobody confirmed the new one; the one before is back")
            self._undo()

    def _undo(self) -> None:
        """Have what is confirmed applied, again and again if that fails: nobody may be able to ask for it."""
        try:
            self.apply()
        except SealwrightError as error:
            self.say(f"site: {error} It is tried again.")
            again = threading.Timer(self.again_s, self._undo)
            again.daemon = True
            again.start()

    def _apply_trial(self) -> None:
        try:
            self.apply()
        except SealwrightError as error:
            self.say(f"site: {error} The network before comes back.")

    def _begin(self, settings: SiteSettings) -> None:
        self.store.try_out(settings)
        self._trial, self._ends = settings, self.steady() + self.trial_s
        self._timer = threading.Timer(self.trial_s, self.roll_back)
        self._timer.daemon = True
        self._timer.start()
        soon = threading.Timer(self.reply_s, self._apply_trial)
        soon.daemon = True
        soon.start()
        network = settings.network
        fixed = [one.address for one in (network.ipv4, network.ipv6) if one is not None] if network is not None else []
        self.say(f"network: {' '.join(fixed) or 'DHCP'} on trial for {self.trial_s:.0f} s; confirm it on its page")

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._trial = self._timer = None

    def _confirmed(self) -> SiteSettings:
        """Those that cannot be read are none: the box is on DHCP then."""
        try:
            return self.store.confirmed()
        except SealwrightError as error:
            self.say(f"site: {error} The box goes by DHCP.")
            return NOTHING_SET


def is_of(settings: SiteSettings, reached_at: str) -> bool:
    """Whether an address is one that these settings give the box; with DHCP any may be."""
    network = settings.network
    if network is None:
        return True
    own = {ip_interface(one.address).ip for one in (network.ipv4, network.ipv6) if one is not None}
    shown = as_address(reached_at)
    mapped = getattr(shown, "ipv4_mapped", None)
    return (mapped or shown) in own
