"""``sealwright-box``: the customer's command for a sealed box."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sealwright_client.box import connected
from sealwright_client.cli_air_gap import EXAMPLES as AIR_GAP_EXAMPLES
from sealwright_client.cli_air_gap import add_air_gap
from sealwright_client.cli_domain import EXAMPLES as DOMAIN_EXAMPLES
from sealwright_client.cli_domain import add_domain
from sealwright_client.cli_keys import EXAMPLES as KEYS_EXAMPLES
from sealwright_client.cli_keys import add_keys
from sealwright_client.cli_metering import EXAMPLES as METERING_EXAMPLES
from sealwright_client.cli_metering import add_metering
from sealwright_client.cli_outflow import EXAMPLES as OUTFLOW_EXAMPLES
from sealwright_client.cli_outflow import add_outflow
from sealwright_client.cli_output import add_command, shown
from sealwright_client.cli_release import EXAMPLES as RELEASE_EXAMPLES
from sealwright_client.cli_release import add_release
from sealwright_client.cli_secrets import receive_secrets
from sealwright_client.cli_status import EXAMPLE as STATUS_EXAMPLE
from sealwright_client.cli_status import add_status
from sealwright_client.cli_support import EXAMPLES as SUPPORT_EXAMPLES
from sealwright_client.cli_support import add_support
from sealwright_client.cli_verify import EXAMPLE as VERIFY_EXAMPLE
from sealwright_client.cli_verify import add_verify
from sealwright_client.cli_wipe import EXAMPLE as WIPE_EXAMPLE
from sealwright_client.cli_wipe import add_wipe
from sealwright_client.pinning import parse_fingerprint
from sealwright_client.secret_input import ask_code
from sealwright_client.secrets_file import SecretsFile
from sealwright_policies.cli_version import add_version
from sealwright_policies.errors import SealwrightError, UsageError

ACTIVATE_EXAMPLE = """\
  sealwright-box activate https://box.example:8443 --fingerprint sha256:5f1c… --secrets box-secrets.json"""
EPILOG = f"""\
examples:
{STATUS_EXAMPLE}
{ACTIVATE_EXAMPLE}
{KEYS_EXAMPLES}
{METERING_EXAMPLES}
{OUTFLOW_EXAMPLES}
{DOMAIN_EXAMPLES}
{AIR_GAP_EXAMPLES}
{SUPPORT_EXAMPLES}
{VERIFY_EXAMPLE}
{RELEASE_EXAMPLES}
{WIPE_EXAMPLE}

exit codes: 0 done, 1 failed, 2 usage, 10 refused, 20 unsupported, 30 malformed
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    chosen = parser().parse_args(arguments)
    try:
        chosen.action(chosen)
    except SealwrightError as error:
        print(shown([f"sealwright-box: {error}"]), file=sys.stderr)
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
    add_version(made, "sealwright-client")
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
    add_outflow(commands)
    add_domain(commands)
    add_air_gap(commands)
    add_support(commands)
    add_verify(commands)
    add_release(commands)
    add_wipe(commands)
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
