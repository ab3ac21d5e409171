"""Tells systemd's network and time services and the packet filter of the site: root, with CAP_NET_ADMIN and no network.

Runs before there is a network, and again whenever the agent has changed something. A box whose state volume is closed,
or whose settings cannot be read, goes by DHCP.
"""

from __future__ import annotations

from collections.abc import Callable

from sealwright_appliance.files import write_durably
from sealwright_appliance.log_lines import Event, Trouble, tell
from sealwright_appliance.paths import Paths
from sealwright_appliance.run import run
from sealwright_appliance.site.settings import NOTHING_SET, SiteSettings
from sealwright_appliance.site.store import SiteStore
from sealwright_appliance.site.units import FILES, filter_rules, site_files
from sealwright_policies.errors import SealwrightError

READABLE = 0o644


def apply_site(paths: Paths, execute: Callable[..., str] = run) -> None:
    """Write what holds now, and remove what does not.

    Raises:
        OperationError: /run cannot be written, or the packet filter refuses.
    """
    settings = _in_force(paths)
    files = site_files(settings)
    for name in FILES:
        path = paths.systemd_run / name
        if name in files:
            _make_folders(paths, name)
            write_durably(path, files[name].encode(), mode=READABLE)
        else:
            path.unlink(missing_ok=True)
    write_durably(paths.site_filter, filter_rules(settings.proxy).encode())
    execute(["nft", "--file", str(paths.site_filter)])


def _in_force(paths: Paths) -> SiteSettings:
    store = SiteStore(paths)
    for read in (store.tried, store.confirmed):
        try:
            found = read()
        except SealwrightError as error:
            tell(Trouble(Event.SITE_UNREADABLE, type(error)))
            continue
        if found is not None:
            return found
    return NOTHING_SET


def _make_folders(paths: Paths, name: str) -> None:
    """Other users read in them, whatever the umask."""
    folder = paths.systemd_run
    for part in name.split("/")[:-1]:
        folder /= part
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
