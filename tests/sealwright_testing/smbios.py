"""What the owner of a machine can hand to systemd by SMBIOS, and how it would show.

systemd-tmpfiles takes lines from the credential ``tmpfiles.extra`` (tmpfiles.d(5)); this one writes to the console.
"""

from __future__ import annotations

import base64
import dataclasses

from sealwright_testing.machine import Machine

INJECTED = "injected-by-smbios"
_LINE = f"w /dev/ttyS0 - - - - {INJECTED}\\n\n"


def injecting(machine: Machine) -> Machine:
    """The machine, with the credential in its SMBIOS tables (systemd.system-credentials(7), OEM strings)."""
    encoded = base64.b64encode(_LINE.encode()).decode()
    return dataclasses.replace(machine, smbios=(f"io.systemd.credential.binary:tmpfiles.extra={encoded}",))
