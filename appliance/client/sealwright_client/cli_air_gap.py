"""``renewal request | reply`` and ``activation request | proof | reply``: for a box that reaches no licence service."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from sealwright_client.box import connected
from sealwright_client.cli_keys import admin_key
from sealwright_client.cli_output import Commands, add_command, moment, print_result
from sealwright_client.cli_secrets import receive_secrets
from sealwright_client.pinning import parse_fingerprint
from sealwright_client.secret_input import ask_code
from sealwright_client.secrets_file import SecretsFile
from sealwright_policies.errors import OperationError, UsageError
from sealwright_policies.wire.air_gap import FILE_LIMIT

URL = "https://box.example:8443 --fingerprint sha256:5f1c…"
RENEWAL_REQUEST_EXAMPLE = f"  sealwright-box renewal request {URL} --out stick/box.request"
RENEWAL_REPLY_EXAMPLE = f"  sealwright-box renewal reply {URL} stick/box.reply"
REQUEST_EXAMPLE = f"  sealwright-box activation request {URL} --out stick/box.request"
PROOF_EXAMPLE = f"  sealwright-box activation proof {URL} stick/box.reply --out stick/box-proof.request"
REPLY_EXAMPLE = f"  sealwright-box activation reply {URL} stick/box-proof.reply --secrets box-secrets.json"
EXAMPLES = f"{RENEWAL_REQUEST_EXAMPLE}\n{RENEWAL_REPLY_EXAMPLE}"
_ADMIN_KEY = "The administrator's key is asked for, or read from standard input."
_CLAIM = "The claim code is asked for, or read from standard input."


def add_air_gap(commands: Commands) -> None:
    """Add them to the command line."""
    _add_renewal(
        commands.add_parser(
            "renewal", help="renew a box without a network", description=f"Renewal by file or QR code. {_ADMIN_KEY}",
            epilog=f"examples:\n{EXAMPLES}", formatter_class=argparse.RawDescriptionHelpFormatter,
        ).add_subparsers(title="commands", required=True, metavar="COMMAND")
    )  # fmt: skip
    _add_activation(
        commands.add_parser(
            "activation", help="activate a box without a network",
            description=f"First activation by file: two round trips, in this order. {_CLAIM}",
            epilog=f"examples:\n{REQUEST_EXAMPLE}\n{PROOF_EXAMPLE}\n{REPLY_EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        ).add_subparsers(title="commands", required=True, metavar="COMMAND")
    )  # fmt: skip


def _add_renewal(group: Commands) -> None:
    request = add_command(
        group, "request", _renewal_request, help_="have the box ask for a renewal",
        example=RENEWAL_REQUEST_EXAMPLE, more=_ADMIN_KEY,
    )  # fmt: skip
    request.add_argument("--qr", action="store_true", help="save the QR code, as SVG, in the place of the file")
    reply = add_command(
        group, "reply", _renewal_reply, help_="give the box the reply", example=RENEWAL_REPLY_EXAMPLE, more=_ADMIN_KEY
    )
    request.add_argument("--out", required=True, type=Path, metavar="FILE", help="where to save the request")
    reply.add_argument("reply", type=Path, metavar="FILE", help="reply file from the vendor")


def _add_activation(group: Commands) -> None:
    request = add_command(
        group, "request", _activation_request, help_="first file: who the box is, and the activation code",
        example=REQUEST_EXAMPLE,
        more="Claim code and activation code are asked for, or read from standard input, a line each. Whoever reads "
        "the file can use the activation code before you do.",
    )  # fmt: skip
    proof = add_command(
        group, "proof", _activation_proof, help_="second file: the box's answer to the vendor's reply",
        example=PROOF_EXAMPLE, more=_CLAIM,
    )  # fmt: skip
    reply = add_command(
        group, "reply", _activation_reply, help_="activate by the vendor's second reply, and fetch the box's secrets",
        example=REPLY_EXAMPLE, more=_CLAIM,
    )  # fmt: skip
    for command in (proof, reply):
        command.add_argument("reply", type=Path, metavar="FILE", help="reply file from the vendor")
    for command in (request, proof):
        command.add_argument("--out", required=True, type=Path, metavar="FILE", help="where to save the request")
    reply.add_argument(
        "--secrets", required=True, type=Path, metavar="FILE", help="where to save the secrets; never overwritten"
    )


def _renewal_request(arguments: argparse.Namespace) -> None:
    with connected(arguments.url, parse_fingerprint(arguments.fingerprint)) as box:
        made = box.renewal_request(admin_key())
    _save(arguments.out, made["qr_svg"] if arguments.qr else made["file"])
    report = {"file": str(arguments.out), "qr_text": made["qr_text"]}
    what = "code" if arguments.qr else "request"
    print_result(arguments, report, [f"The {what} is in {arguments.out}. The vendor's reply to it comes as a file."])


def _renewal_reply(arguments: argparse.Namespace) -> None:
    reply = _read(arguments.reply)
    with connected(arguments.url, parse_fingerprint(arguments.fingerprint)) as box:
        outcome = box.renewal_reply(admin_key(), reply)
    print_result(arguments, outcome, [_outcome(outcome)])


def _outcome(outcome: dict[str, Any]) -> str:
    if not outcome.get("taken_up"):
        return f"Nothing to do: lease {outcome.get('number')} had been taken up before."
    end = outcome.get("expires_at")
    until = f"until {moment(end)}" if end is not None else "but none for the release that runs"
    return f"Renewed: the box has lease {outcome.get('number')} {until}."


def _activation_request(arguments: argparse.Namespace) -> None:
    with connected(arguments.url, parse_fingerprint(arguments.fingerprint)) as box:
        claim_code = _claim_code()
        code = ask_code("Activation code, from the vendor")
        made = box.activation_request(claim_code, code)
    _saved(arguments, made)


def _activation_proof(arguments: argparse.Namespace) -> None:
    reply = _read(arguments.reply)
    with connected(arguments.url, parse_fingerprint(arguments.fingerprint)) as box:
        made = box.activation_proof(_claim_code(), reply)
    _saved(arguments, made)


def _activation_reply(arguments: argparse.Namespace) -> None:
    reply, file = _read(arguments.reply), SecretsFile(arguments.secrets)
    file.try_folder()
    with connected(arguments.url, parse_fingerprint(arguments.fingerprint)) as box:
        claim_code = _claim_code()
        receive_secrets(arguments, box, claim_code, box.activation_reply(claim_code, reply), file)


def _claim_code() -> str:
    code = ask_code("Claim code, from the box's console")
    if not code:
        raise UsageError("The first line of standard input is the claim code.")
    return code


def _saved(arguments: argparse.Namespace, made: dict[str, Any]) -> None:
    _save(arguments.out, made["file"])
    sentence = f"The request is in {arguments.out}. The vendor's reply to it comes as a file."
    print_result(arguments, {"file": str(arguments.out)}, [sentence])


def _save(path: Path, content: str) -> None:
    """Whole or not at all: a stick is pulled out early."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OperationError(f"{path} cannot be written: {error.strerror}.") from None


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(FILE_LIMIT + 1).decode("ascii", errors="replace")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
