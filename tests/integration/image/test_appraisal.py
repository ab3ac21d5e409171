"""The verdict that the licence service gives on a box that boots what was built."""

from __future__ import annotations

from pathlib import Path

from sealwright_image.contents import load_folder
from sealwright_image.secure_boot import SecureBootFiles
from sealwright_policies.appraisal.appraise import appraise
from sealwright_policies.appraisal.result import Status
from sealwright_policies.errors import RejectionCode
from sealwright_policies.wire.approval_request import wanted_approvals
from sealwright_policies.wire.messages import Purpose
from sealwright_testing.evidence_factory import LICENSE_ID, NONCE, NOW, SyntheticBox


def box_with(image: Path, uki: bytes) -> SyntheticBox:
    """A box whose firmware has the image's keys enrolled; it boots ``uki`` and claims the image's release."""
    box = SyntheticBox(keys=SecureBootFiles.load(image / "secure-boot").firmware_keys(), uki=uki)
    box.release = load_folder(image).release
    return box


def test_a_box_that_boots_the_image_is_affirmed(image: Path) -> None:
    box = box_with(image, (image / "uki.efi").read_bytes())
    result = appraise(
        box.evidence(),
        ak=box.public,
        nonce=NONCE,
        device_id=box.device_id,
        license_id=LICENSE_ID,
        release=box.release,
        purpose=Purpose.RENEW,
        now=NOW,
    )
    assert result.mismatches == ()
    assert result.status is Status.AFFIRMING
    # What the release key has approved is what the service will seal to.
    approved = [one.pcrs for one in wanted_approvals(box.release)]
    assert {str(pcr): result.unseal_pcrs[pcr].hex() for pcr in (4, 11, 12, 13, 15)} in approved


def test_a_box_that_boots_a_changed_kernel_image_is_not(image: Path) -> None:
    changed = bytearray((image / "uki.efi").read_bytes())
    place = changed.index(b"console=ttyS0")
    changed[place : place + 7] = b"CONSOLE"
    box = box_with(image, bytes(changed))
    result = appraise(
        box.evidence(),
        ak=box.public,
        nonce=NONCE,
        device_id=box.device_id,
        license_id=LICENSE_ID,
        release=box.release,
        purpose=Purpose.RENEW,
        now=NOW,
    )
    assert result.status is Status.CONTRAINDICATED
    assert {RejectionCode.BOOT_APPLICATION, RejectionCode.KERNEL_COMMAND_LINE} <= {
        mismatch.code for mismatch in result.mismatches
    }
