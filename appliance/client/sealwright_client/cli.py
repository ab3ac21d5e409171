"""``sealwright-box``: the customer's command for a sealed box."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

from sealwright_client.box import Box, BoxRefusedError, connected
from sealwright_client.cli_keys import EXAMPLES as KEYS_EXAMPLES
from sealwright_client.cli_keys import add_keys
from sealwright_client.cli_output import add_command, print_result
from sealwright_client.cli_status import EXAMPLE as STATUS_EXAMPLE
from sealwright_client.cli_status import add_status
from sealwright_client.pinning import parse_fingerprint
from sealwright_client.secret_input import ask_code
from sealwright_client.secrets_file import SecretsFile
from sealwright_policies.appraisal.reference_values import MANIFEST_LIMIT
from sealwright_policies.appraisal.release import verify_release
from sealwright_policies.errors import OperationError, RejectionCode, SealwrightError, UsageError, VerificationError
from sealwright_policies.wire.envelope import load_p256_public_key

ACTIVATE_EXAMPLE = """\
  sealwright-box activate https://box.example:8443 --fingerprint sha256:5f1c… --secrets box-secrets.json"""
VERIFY_EXAMPLE = """\
  sealwright-box verify https://box.example:8443 --fingerprint sha256:5f1c… \\
      --manifest manifest.json --manifest-key manifest-key.pem"""
EPILOG = f"""\
examples:
{STATUS_EXAMPLE}
{ACTIVATE_EXAMPLE}
{KEYS_EXAMPLES}
{VERIFY_EXAMPLE}

exit codes: 0 done, 1 failed, 2 usage, 10 refused, 20 unsupported, 30 malformed
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    chosen = parser().parse_args(arguments)
    try:
        chosen.action(chosen)
    except SealwrightError as error:
        print(f"sealwright-box: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="sealwright-box",
        description="Activates and watches a sealed box. The fingerprint stands on the box's console.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_status(commands)
    activate = add_command(
        commands, "activate", _activate, help_="activate a new box and fetch its secrets", example=ACTIVATE_EXAMPLE,
        more="They are saved in a file, and then the box erases them. Whatever fails on the way, the same command "
        "again completes it. The claim code and the activation code are asked for, or read from standard input, a "
        "line each.",
    )  # fmt: skip
    activate.add_argument(
        "--secrets", required=True, type=Path, metavar="FILE", help="where to save them; never overwritten"
    )
    add_keys(commands)
    verify = add_command(
        commands, "verify", _verify, help_="compare the release that the box reports with a signed manifest",
        example=VERIFY_EXAMPLE,
        more="The manifest's signature is checked too. The box's word is not evidence: the licence service appraises "
        "that, at every renewal.",
    )  # fmt: skip
    verify.add_argument("--manifest", required=True, type=Path, metavar="FILE", help="manifest.json of the release")
    verify.add_argument("--manifest-key", required=True, type=Path, metavar="PEM", help="the vendor's manifest key")
    return made


def _activate(arguments: argparse.Namespace) -> None:
    fingerprint, file = parse_fingerprint(arguments.fingerprint), SecretsFile(arguments.secrets)
    file.try_folder()
    with connected(arguments.url, fingerprint) as box:
        claim_code = ask_code("Claim code, from the box's console")
        if not claim_code:
            raise UsageError("The first line of standard input is the claim code, the second the activation code.")
        activation_code = ask_code("Activation code, from the vendor; nothing if the box is activated already")
        secrets = box.activate(claim_code, activation_code)
        file.keep(secrets)
        _acknowledge(box, claim_code, file.path)
    report = {"device_id": secrets.get("device_id"), "license_id": secrets.get("license_id")}
    print_result(arguments, report | {"secrets_file": str(file.path)}, _activated_lines(file.path))


def _acknowledge(box: Box, claim_code: str, path: Path) -> None:
    try:
        box.acknowledge(claim_code)
    except (OperationError, BoxRefusedError) as error:
        if isinstance(error, BoxRefusedError) and error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
        raise OperationError(
            f"The secrets are in {path}, but the box may not know it: {error}",
            cure="Give the same command again; CLAIM_SPENT then means that it knows.",
        ) from None


def _verify(arguments: argparse.Namespace) -> None:
    key = load_p256_public_key(_read(arguments.manifest_key).decode("ascii", errors="replace"))
    release = verify_release(_read(arguments.manifest), key)
    with connected(arguments.url, parse_fingerprint(arguments.fingerprint)) as box:
        status = box.status()
    reported = status.get("release") or {}
    found = reported.get("release_id") if isinstance(reported, dict) else None
    if found != release.release_id:
        raise VerificationError(
            RejectionCode.MANIFEST_MISMATCH,
            f"The box reports release {found}, the manifest is of {release.release_id}.",
        )
    manifest = release.manifest
    sentence = f"The box reports {manifest.product} {manifest.product_version}, the release of this manifest."
    print_result(arguments, {"release_id": release.release_id, "result": "same"}, [sentence])


def _activated_lines(path: Path) -> list[str]:
    return [
        f"The box is activated. Its secrets are in {path}, and erased from the box:",
        "  api_key           the administrator's; makes keys for everybody else",
        "  recovery_key      opens the state volume on another machine; keep it offline",
        "  customer_key_pem  approves later releases of the operating system; keep it offline",
        "After its activation the box restarts and serves in a minute or two.",
    ]


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MANIFEST_LIMIT + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
