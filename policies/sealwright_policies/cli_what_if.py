"""``sealwright-policy what-if``: which rule would deny this machine, and what its owner can do about it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from sealwright_policies.appraisal.boot_variants import VARIANTS_LIMIT, verify_variants
from sealwright_policies.appraisal.reference_values import MANIFEST_LIMIT
from sealwright_policies.appraisal.release import Release, read_unverified_release, verify_release
from sealwright_policies.appraisal.what_if import Finding, WhatIf, what_if
from sealwright_policies.cli_command import add_command
from sealwright_policies.cli_files import load_event_log, read_file
from sealwright_policies.errors import FormatError, UsageError, VerificationError
from sealwright_policies.wire.envelope import load_p256_public_key

MAX_PEM_SIZE = 16 * 1024

DESCRIPTION = """\
Judge a machine by its boot event log, before it is bought or its firmware is updated. The log may be that of any
operating system: what that system measured is not judged, what the firmware measured is. Without a quote nothing here
is proven.
"""
EPILOG = """\
exit codes: 0 would be accepted, 10 would be rejected, 2 usage, 20 unsupported, 30 malformed

examples:
  sealwright-policy what-if /sys/kernel/security/tpm0/binary_bios_measurements \\
      --release image/manifest.json --manifest-key image/manifest-key.pem
  sealwright-policy what-if boot.bin --release image/manifest.json --after-setup     (would it do as a box?)
  sealwright-policy what-if boot.bin --release image/manifest.json --json | jq '.findings[] | .code, .remedy'
"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "what-if",
        help_="tell which rule would deny a machine, from its event log",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument("eventlog", type=Path, metavar="EVENTLOG", help="binary event log of the machine")
    parser.add_argument(
        "--release", type=Path, required=True, metavar="MANIFEST", help="release manifest (manifest.json)"
    )
    parser.add_argument("--manifest-key", type=Path, metavar="PEM", help="verify the manifest with this key first")
    parser.add_argument(
        "--variants", type=Path, metavar="VARIANTS", help="ways through PCR 4 signed later (variants.json)"
    )
    parser.add_argument(
        "--after-setup",
        action="store_true",
        help="accept what the owner's set-up cures: Secure Boot off, other keys enrolled",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Judge the log and print the findings."""
    release = _read_release(options.release, options.manifest_key, options.variants)
    log = load_event_log(options.eventlog)
    outcome = what_if(log, release.measurements)
    verified = options.manifest_key is not None
    if options.json:
        print(json.dumps(as_json(outcome, release, signature_verified=verified), indent=2))
    else:
        print("\n".join(as_text(outcome, release, signature_verified=verified)))
    denying = [each for each in outcome.findings if not (options.after_setup and each.by_setup)]
    if denying:
        first = min(denying, key=lambda finding: finding.by_setup).mismatch
        raise VerificationError(first.code, f"{first.where()}{first.sentence}")
    return 0


def _read_release(manifest: Path, key_file: Path | None, variants: Path | None) -> Release:
    if variants is not None and key_file is None:
        raise UsageError("--variants needs --manifest-key: ways signed later are believed only when verified")
    key = None if key_file is None else _load_manifest_key(key_file)
    envelope = read_file(manifest, max_size=MANIFEST_LIMIT)
    try:
        release = read_unverified_release(envelope) if key is None else verify_release(envelope, key)
    except FormatError as error:
        raise FormatError(f"{manifest}: {error}") from None
    if key is None or variants is None:
        return release
    return verify_variants(read_file(variants, max_size=VARIANTS_LIMIT), key, release)


def _load_manifest_key(path: Path) -> ec.EllipticCurvePublicKey:
    try:
        return load_p256_public_key(read_file(path, max_size=MAX_PEM_SIZE).decode("ascii"))
    except UnicodeDecodeError:
        raise FormatError(f"{path}: not a PEM file") from None


def as_json(outcome: WhatIf, release: Release, *, signature_verified: bool) -> dict[str, Any]:
    """The outcome as JSON-ready values."""
    return {
        "verdict": _verdict(outcome.accepted),
        "after_setup": _verdict(outcome.accepted_after_setup),
        "release": {
            "id": release.release_id,
            "product": release.manifest.product,
            "version": release.manifest.product_version,
            "signature": "verified" if signature_verified else "not checked",
        },
        "made_by_release": outcome.made_by_release,
        "firmware_version": outcome.firmware_version,
        "sha256_bank_complete": outcome.bank_complete,
        "findings": [
            finding.mismatch.as_dict() | {"remedy": finding.remedy, "cured_by_setup": finding.by_setup}
            for finding in outcome.findings
        ],
        "option_roms": [
            {"event_index": rom.event_index, "device_path": rom.device_path} for rom in outcome.option_roms
        ],
        "not_judged": list(outcome.not_judged),
    }


def as_text(outcome: WhatIf, release: Release, *, signature_verified: bool) -> list[str]:
    """The outcome for people; the first line is the verdict."""
    manifest = release.manifest
    lines = [
        _verdict_line(outcome),
        f"release: {manifest.product} {manifest.product_version} ({release.release_id[:16]}), signature "
        + ("verified" if signature_verified else "not checked (no --manifest-key)"),
        f"firmware: {outcome.firmware_version or 'of unknown version'}; SHA-256 bank "
        + ("complete" if outcome.bank_complete else "INCOMPLETE"),
    ]
    lines += _section("no set-up cures:", [finding for finding in outcome.findings if not finding.by_setup])
    lines += _section("to be set up by the owner:", [finding for finding in outcome.findings if finding.by_setup])
    if outcome.option_roms:
        lines.append("option ROMs and drivers that the firmware loaded; they are pinned in PCR 2 at enrolment:")
        lines += [f"  event {rom.event_index}: {rom.device_path or 'no device path'}" for rom in outcome.option_roms]
    if outcome.not_judged:
        pcrs = ", ".join(map(str, outcome.not_judged[1:]))
        lines.append(
            f"not judged: PCR {outcome.not_judged[0]} from the boot loader on, and PCR {pcrs}: "
            "this log was not made by this release but by another system."
        )
    return lines


def _section(title: str, findings: list[Finding]) -> list[str]:
    lines = [title] if findings else []
    remedy = ""
    for finding in findings:
        mismatch = finding.mismatch
        lines.append(f"  {mismatch.code}: {mismatch.where()}{mismatch.sentence}")
        if finding.remedy != remedy:
            remedy = finding.remedy
            lines.append(f"    cure: {remedy}")
    return lines


def _verdict(accepted: bool) -> str:
    return "accepted" if accepted else "rejected"


def _verdict_line(outcome: WhatIf) -> str:
    if outcome.accepted:
        return "ACCEPTED: no rule would deny this machine."
    count = len(outcome.findings)
    denied = f"REJECTED as it stands: {count} finding{'s' if count > 1 else ''}."
    if outcome.accepted_after_setup:
        return f"{denied} After the owner's set-up it would be accepted."
    return f"{denied} The owner's set-up alone does not cure them."
