"""``sealwright-policy``: the stand-alone tools over the pure core.

Each command is a module of its own with ``register(commands)``, which adds its parser and sets ``run``; this module
only lists them, and turns every error into one line and an exit code: 0 done, 2 usage, 10 rejected, 20 unsupported, 30
malformed.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

from sealwright_policies import (
    cli_check,
    cli_compile,
    cli_diff,
    cli_eventlog,
    cli_explain,
    cli_schema,
    cli_support,
    cli_verify_quote,
    cli_what_if,
)
from sealwright_policies.cli_version import add_version
from sealwright_policies.errors import (
    FormatError,
    SealwrightError,
    UnsupportedError,
    UsageError,
    VerificationError,
)
from sealwright_policies.terminal import terminal_text

PROGRAM = "sealwright-policy"

COMMANDS = (
    cli_eventlog,
    cli_verify_quote,
    cli_what_if,
    cli_check,
    cli_compile,
    cli_diff,
    cli_explain,
    cli_schema,
    cli_support,
)


class _Parser(argparse.ArgumentParser):
    """Reports a usage error in one line, as every other error is."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with all commands."""
    parser = _Parser(
        prog=PROGRAM,
        description="Read boot event logs, check what a TPM has signed, judge a machine against a release; judge,"
        " compile, compare and explain security domains; read support bundles.",
        epilog="Exit codes: 0 done, 2 usage, 10 rejected, 20 unsupported, 30 malformed.",
        allow_abbrev=False,
    )
    add_version(parser, "sealwright-policies")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.register(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    # cryptography warns of odd keys and of odd certificates in firmware, in lines that are none of ours.
    warnings.simplefilter("ignore")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names in firmware may be of any script, the terminal not
    try:
        options = build_parser().parse_args(arguments)
        code: int = options.run(options)
        print(end="", flush=True)
    except SealwrightError as error:
        print(f"{PROGRAM}: {terminal_text(error_line(error))}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        # Of the output: files that are named are read elsewhere. Keep the interpreter from writing again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # the reader, `head` for one, may go when it has enough
            print(f"{PROGRAM}: FAILED: the output cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    return code


def error_line(error: SealwrightError) -> str:
    """Return 'CODE: sentence' in one line, the code being that of the rejection or the kind of error."""
    sentence = " ".join(str(error).split())
    match error:
        case VerificationError():
            return f"REJECTED {sentence}"
        case UsageError():
            return f"USAGE: {sentence}"
        case UnsupportedError():
            return f"UNSUPPORTED: {sentence}"
        case FormatError():
            return f"MALFORMED: {sentence}"
        case _:
            return f"FAILED: {sentence}"


if __name__ == "__main__":
    sys.exit(main())
