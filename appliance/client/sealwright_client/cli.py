"""``sealwright-box``: the customer's command for a sealed box."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sealwright_client.box import connected
from sealwright_client.cli_air_gap import EXAMPLES as AIR_GAP_EXAMPLES
from sealwright_client.cli_air_gap import add_air_gap
from sealwright_client.cli_keys import EXAMPLES as KEYS_EXAMPLES
from sealwright_client.cli_keys import add_keys
from sealwright_client.cli_metering import EXAMPLES as METERING_EXAMPLES
from sealwright_client.cli_metering import add_metering
from sealwright_client.cli_output import add_command, print_result
from sealwright_client.cli_secrets import receive_secrets
from sealwright_client.cli_status import EXAMPLE as STATUS_EXAMPLE
from sealwright_client.cli_status import add_status
from sealwright_client.pinning import parse_fingerprint
from sealwright_client.secret_input import ask_code
from sealwright_client.secrets_file import SecretsFile
from sealwright_policies.appraisal.reference_values import MANIFEST_LIMIT
from sealwright_policies.appraisal.release import verify_release
from sealwright_policies.errors import RejectionCode, SealwrightError, UsageError, VerificationError
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
{METERING_EXAMPLES}
{AIR_GAP_EXAMPLES}
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
    add_metering(commands)
    add_air_gap(commands)
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
        receive_secrets(arguments, box, claim_code, secrets, file)


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


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MANIFEST_LIMIT + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
