"""The ways through PCR 4 that common firmware takes to a UKI (policies/spec/manifest.md, 3.1), and where they are seen.

The device path of an image is not covered by its digest, so a boot entry of the disk, the path EFI/BOOT/BOOTX64.EFI and
a choice in the firmware's menu are one way. Left out, to be approved from a machine's own log where it occurs:
EV_OMIT_BOOT_DEVICE_EVENTS, of which no log was at hand, and makers' own applications in PCR 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

CALLING_EFI_APPLICATION: Final = b"Calling EFI Application from Boot Option"
"""EV_EFI_ACTION in PCR 4 (Platform Firmware Profile, 10.4.4)."""
RETURNING_FROM_EFI_APPLICATION: Final = b"Returning from EFI Application from Boot Option"
"""EV_EFI_ACTION in PCR 4 (Platform Firmware Profile, 10.4.4)."""
SEPARATOR: Final = bytes(4)
"""EV_SEPARATOR of a boot without error."""

BOOT_OPTION = (CALLING_EFI_APPLICATION, SEPARATOR)
"""The first boot option starts: EDK II, Tcg2Dxe's OnReadyToBoot, first attempt; also U-Boot's efi_tcg2. In logs of
OVMF and of Google's virtual machines."""
_ATTEMPT = (RETURNING_FROM_EFI_APPLICATION, CALLING_EFI_APPLICATION)
"""One more attempt: EDK II, Tcg2Dxe's OnReadyToBoot, every further one. An option whose device or file is missing, or
that found no boot server, measures no image; one that ran does, and is no way of ours."""
SECOND_BOOT_OPTION = (*BOOT_OPTION, *_ATTEMPT)
"""An option before failed, a stale entry for one."""
THIRD_BOOT_OPTION = (*BOOT_OPTION, *_ATTEMPT, *_ATTEMPT)
"""Two options before failed: a network boot is tried over IPv4 and IPv6."""
NO_ACTION = (SEPARATOR,)
"""Firmware that measures no actions, though the profile demands them: two of the six whole SHA-256 logs among the test
fixtures of tpm2-tools, one of them of a Supermicro server."""


@dataclass(frozen=True, slots=True)
class BootWay:
    """What is measured into PCR 4 besides the UKI."""

    name: str
    before: tuple[bytes, ...]
    """What firmware measures before the UKI: contents, of which the digests are extended."""
    kernel: bool
    """Whether the kernel inside the UKI follows it. systemd-stub up to 257 starts it by LoadImage, with the firmware's
    Security2 protocol, which would also measure it, overridden. Firmware without that protocol measures it all the
    same: systemd's pull request 37372 names Dell's servers."""


BOOT_WAYS: Final = tuple(
    BootWay(name + suffix, before, kernel)
    for suffix, kernel in (("", False), ("-and-kernel", True))
    for name, before in (
        ("boot-option", BOOT_OPTION),
        ("second-boot-option", SECOND_BOOT_OPTION),
        ("third-boot-option", THIRD_BOOT_OPTION),
        ("no-action", NO_ACTION),
    )
)
"""In the order of the manifest. The first ends with the UKI, so that a reader knows its digest."""
