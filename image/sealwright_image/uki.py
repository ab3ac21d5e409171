"""The unified kernel image: our own ukify call, since mkosi would sign the kernel inside anew at every build.

Only the outer PE is signed, as only that is verified by firmware. The signing time is the build's fixed time
(libfaketime), so that two builds give the same bytes. There is no .pcrsig: leases and release approvals, made later,
take the place of a PCR signature inside the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sealwright_image.os_build import SecureBootSigner
from sealwright_image.run import Tools

FAKETIME_LIBRARY = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


@dataclass(frozen=True, slots=True)
class UkiParts:
    """What goes into the sections."""

    kernel: Path
    kernel_version: str
    initrd: Path
    stub: Path
    os_release: Path
    command_line: str


def command_line(root_hash: str, words: Sequence[str]) -> str:
    """The signed kernel command line."""
    return " ".join((f"roothash={root_hash}", *words))


def ukify_argv(parts: UkiParts, signer: SecureBootSigner, output: Path) -> list[str]:
    """The ukify call."""
    return [
        "ukify",
        "build",
        "--efi-arch=x64",
        f"--stub={parts.stub}",
        f"--linux={parts.kernel}",
        f"--uname={parts.kernel_version}",
        f"--initrd={parts.initrd}",
        f"--os-release=@{parts.os_release}",
        f"--cmdline={parts.command_line}",
        "--no-sign-kernel",
        "--signtool=sbsign",
        f"--secureboot-private-key={signer.key}",
        f"--secureboot-certificate={signer.certificate}",
        f"--output={output}",
    ]


def signing_environment(epoch: int) -> dict[str, str]:
    """Stops the clock of the signing tool at ``epoch`` (seconds)."""
    return {
        "LD_PRELOAD": FAKETIME_LIBRARY,
        "FAKETIME": f"@{epoch}",
        "FAKETIME_FMT": "%s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "SOURCE_DATE_EPOCH": str(epoch),
        "TZ": "UTC",
    }


def build_uki(parts: UkiParts, signer: SecureBootSigner, tools: Tools, output: Path, epoch: int) -> None:
    """Write the signed UKI to ``output``."""
    inputs = (parts.kernel, parts.initrd, parts.stub, parts.os_release, signer.key, signer.certificate, output)
    binds = sorted({path.parent for path in inputs})
    tools.run(ukify_argv(parts, signer, output), binds=binds, environment=signing_environment(epoch))
