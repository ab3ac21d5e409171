"""``sealwright-license``: make, run and operate a licence service. Wires adapters to services; decides nothing."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import shtab

from sealwright_licensing import (
    cli_audit,
    cli_clock,
    cli_database,
    cli_device,
    cli_flows,
    cli_journal,
    cli_keys,
    cli_license,
    cli_metering,
    cli_release,
    cli_roots,
    cli_service,
    cli_token,
)
from sealwright_licensing.cli_output import print_error
from sealwright_policies.cli_version import add_version
from sealwright_policies.errors import SealwrightError, VerificationError

_EXAMPLES = """examples:
  sealwright-license init /srv/license --url https://license.example:8444
  sealwright-license roots add /srv/license infineon-ecc.pem --tier discrete
  sealwright-license release import /srv/license build/out --manifest-key keys/manifest.pem
  sealwright-license license issue /srv/license --product sealed-advisor --seats 5 --days 365 --tier discrete
  sealwright-license serve /srv/license

exit codes: 0 done, 1 failed, 2 usage, 10 refused, 20 unsupported, 30 malformed"""


def build_parser() -> argparse.ArgumentParser:
    """The command line; each leaf sets ``run``, a function of the parsed arguments."""
    parser = argparse.ArgumentParser(
        prog="sealwright-license",
        description="Operates a Sealwright licence service.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_version(parser, "sealwright-licensing")
    shtab.add_argument_to(parser, ["--print-completion"], help="print completion for a shell: bash, zsh or tcsh")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in (
        cli_service,
        cli_database,
        cli_keys,
        cli_roots,
        cli_release,
        cli_license,
        cli_device,
        cli_metering,
        cli_flows,
        cli_journal,
        cli_token,
        cli_audit,
        cli_clock,
    ):
        module.add_commands(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    parsed = build_parser().parse_args(arguments)
    try:
        parsed.run(parsed)
    except SealwrightError as error:
        code = error.code.value if isinstance(error, VerificationError) else type(error).__name__
        print_error(str(error), code, as_json=getattr(parsed, "json", False))
        return error.exit_code
    except BrokenPipeError:  # the reader, e.g. head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
