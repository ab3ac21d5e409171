"""``sealwright-box``: the customer's command for a sealed box."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sealwright_client.box import Box
from sealwright_client.pinning import fingerprint_of, parse_box_url, parse_fingerprint, shown_certificate
from sealwright_client.secrets_file import SecretsFile
from sealwright_policies.appraisal.reference_values import MANIFEST_LIMIT
from sealwright_policies.appraisal.release import verify_release
from sealwright_policies.errors import OperationError, RejectionCode, SealwrightError, UsageError, VerificationError
from sealwright_policies.wire.envelope import load_p256_public_key

EPILOG = """\
examples:
  sealwright-box status https://box.example:8443 --fingerprint sha256:5f1c…
  sealwright-box activate https://box.example:8443 --fingerprint sha256:5f1c… \\
      --claim-code 7K3M-Q9ZD-XW2A --activation-code 0ABCD-EFGHJ-KMNPQ-RSTVW --secrets box-secrets.json
  sealwright-box verify https://box.example:8443 --fingerprint sha256:5f1c… \\
      --manifest manifest.json --manifest-key manifest-key.pem

exit codes: 0 done, 1 failed, 2 usage, 10 refused, 20 unsupported, 30 malformed
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    chosen = _parser().parse_args(arguments)
    try:
        chosen.action(chosen)
    except SealwrightError as error:
        print(f"sealwright-box: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sealwright-box",
        description="Activates and watches a sealed box. The fingerprint stands on the box's console.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    status = _command(commands, "status", "what the box does, and why not more", _status, fingerprint_needed=False)
    status.description = "Print the box's status. Without --fingerprint the box is not identified."
    activate = _command(commands, "activate", "activate a new box and fetch its secrets", _activate)
    activate.description = (
        "Activate a new box, save its secrets in a file, and have the box erase them. Whatever fails on the way, the "
        "same command again completes it."
    )
    activate.add_argument("--claim-code", required=True, metavar="CODE", help="from the box's console")
    activate.add_argument(
        "--activation-code", default="", metavar="CODE", help="from the vendor; not needed if the box is activated"
    )
    activate.add_argument(
        "--secrets", required=True, type=Path, metavar="FILE", help="where to save them; never overwritten"
    )
    verify = _command(commands, "verify", "compare the release that the box reports with a signed manifest", _verify)
    verify.description = (
        "Check the manifest's signature, and that the box reports the release of this manifest. The box's word is not "
        "evidence: the licence service appraises that, at every renewal."
    )
    verify.add_argument("--manifest", required=True, type=Path, metavar="FILE", help="manifest.json of the release")
    verify.add_argument("--manifest-key", required=True, type=Path, metavar="PEM", help="the vendor's manifest key")
    return parser


def _command(
    commands: Any, name: str, help_: str, action: Any, *, fingerprint_needed: bool = True
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help_, description=f"{help_.capitalize()}.")
    parser.add_argument("url", metavar="URL", help="https://HOST:PORT of the box")
    parser.add_argument(
        "--fingerprint",
        required=fingerprint_needed,
        metavar="SHA256",
        help="of the box's certificate, as on its console",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(action=action)
    return parser


def _status(arguments: argparse.Namespace) -> None:
    if arguments.fingerprint is None:
        fingerprint = fingerprint_of(shown_certificate(*parse_box_url(arguments.url)))
        print(f"Not compared with the console: {fingerprint}", file=sys.stderr)
    else:
        fingerprint = parse_fingerprint(arguments.fingerprint)
    status = _ask(arguments.url, fingerprint)
    _print(arguments, status, _status_lines(status))


def _activate(arguments: argparse.Namespace) -> None:
    fingerprint, file = parse_fingerprint(arguments.fingerprint), SecretsFile(arguments.secrets)
    file.try_folder()
    box = Box(arguments.url, fingerprint)
    try:
        secrets = box.activate(arguments.claim_code, arguments.activation_code)
        file.keep(secrets)
        _acknowledge(box, arguments.claim_code, file.path)
    finally:
        box.close()
    report = {"device_id": secrets.get("device_id"), "license_id": secrets.get("license_id")}
    _print(arguments, report | {"secrets_file": str(file.path)}, _activated_lines(file.path))


def _acknowledge(box: Box, claim_code: str, path: Path) -> None:
    try:
        box.acknowledge(claim_code)
    except OperationError as error:
        raise OperationError(
            f"The secrets are in {path}, but the box may not know it: {error}",
            cure="Give the same command again; CLAIM_SPENT then means that it knows.",
        ) from None


def _verify(arguments: argparse.Namespace) -> None:
    key = load_p256_public_key(_read(arguments.manifest_key).decode("ascii", errors="replace"))
    release = verify_release(_read(arguments.manifest), key)
    status = _ask(arguments.url, parse_fingerprint(arguments.fingerprint))
    reported = status.get("release") or {}
    found = reported.get("release_id") if isinstance(reported, dict) else None
    if found != release.release_id:
        raise VerificationError(
            RejectionCode.MANIFEST_MISMATCH,
            f"The box reports release {found}, the manifest is of {release.release_id}.",
        )
    manifest = release.manifest
    sentence = f"The box reports {manifest.product} {manifest.product_version}, the release of this manifest."
    _print(arguments, {"release_id": release.release_id, "result": "same"}, [sentence])


def _ask(url: str, fingerprint: str) -> dict[str, Any]:
    box = Box(url, fingerprint)
    try:
        return box.status()
    finally:
        box.close()


def _status_lines(status: Mapping[str, Any]) -> list[str]:
    code = f" ({status['code']})" if status.get("code") else ""
    lines = [f"state     {status.get('state')}{code}: {status.get('sentence', '')}"]
    release = status.get("release")
    if isinstance(release, dict):
        lines.append(f"release   {release.get('product')} {release.get('version')} {release.get('release_id')}")
    lines.append(f"device    {status.get('device_id')}")
    lease = status.get("lease")
    if isinstance(lease, dict):
        lines.append(f"lease     number {lease.get('number')}, until {lease.get('expires_at')} (seconds since 1970)")
        lines.extend(f"warning   {warning.get('message')}" for warning in lease.get("warnings", []))
    lines.append(f"renewal   {status.get('renewal')}")
    if status.get("secrets_waiting"):
        lines.append("secrets   wait to be fetched: sealwright-box activate with the claim code on the console")
    for payload in status.get("payloads", []):
        reason = f" ({payload['code']}: {payload.get('sentence', '')})" if payload.get("code") else ""
        lines.append(f"payload   {payload.get('payload_id')} [{payload.get('domain')}] {payload.get('state')}{reason}")
    return lines


def _activated_lines(path: Path) -> list[str]:
    return [
        f"The box is activated. Its secrets are in {path}, and erased from the box:",
        "  api_key           the administrator's; makes keys for everybody else",
        "  recovery_key      opens the state volume on another machine; keep it offline",
        "  customer_key_pem  approves later releases of the operating system; keep it offline",
        "After its activation the box restarts and serves in a minute or two.",
    ]


def _print(arguments: argparse.Namespace, document: Mapping[str, Any], lines: Sequence[str]) -> None:
    print(json.dumps(document, indent=2) if arguments.json else "\n".join(lines))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MANIFEST_LIMIT + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
