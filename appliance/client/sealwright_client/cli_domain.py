"""``domain list | import | remove | receive | send | cancel | flows``: files of domains; an administrator's key."""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sealwright_client.box import Box
from sealwright_client.cli_keys import ADMIN_KEY, administered
from sealwright_client.cli_output import Commands, add_command, moment, print_result
from sealwright_client.cli_status import closed_lines
from sealwright_client.pinning import parse_box_url
from sealwright_policies.errors import OperationError, SealwrightError, UsageError
from sealwright_policies.flows.content import FRAME_SIZE, frame_count
from sealwright_policies.flows.documents import FileKind

LIST_EXAMPLE = "  sealwright-box domain list https://storage.example:8443 --fingerprint @storage.pin"
IMPORT_EXAMPLE = (
    "  sealwright-box domain import https://storage.example:8443 records cohort-7.csv --fingerprint @storage.pin"
)
REMOVE_EXAMPLE = (
    "  sealwright-box domain remove https://storage.example:8443 records cohort-7.csv --fingerprint @storage.pin"
)
RECEIVE_EXAMPLE = """\
  sealwright-box domain receive https://compute.example:8443 training --from records --device oxw4… \\
      --fingerprint @compute.pin"""
SEND_EXAMPLE = """\
  sealwright-box domain send https://storage.example:8443 records cohort-7.csv --to training \\
      --peer https://compute.example:8443 --device q7bm… --fingerprint @storage.pin"""
FLOWS_EXAMPLE = "  sealwright-box domain flows https://compute.example:8443 --fingerprint @compute.pin --json"
CANCEL_EXAMPLE = """\
  sealwright-box domain cancel https://compute.example:8443 training --from records --device oxw4… \\
      --fingerprint @compute.pin"""
EXAMPLES = "\n".join(
    (LIST_EXAMPLE, IMPORT_EXAMPLE, REMOVE_EXAMPLE, RECEIVE_EXAMPLE, SEND_EXAMPLE, CANCEL_EXAMPLE, FLOWS_EXAMPLE)
)
KINDS = [one.value for one in FileKind]
FILE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
LOOK_S = 0.5


class FlowFailedError(SealwrightError):
    """The flow ended, and the file is not there."""

    exit_code = 10


def add_domain(commands: Commands) -> None:
    """Add them to the command line."""
    group = commands.add_parser(
        "domain", help="files of security domains: put in, remove, send to another box, receive",
        description=f"Data sets, adapters and results of security domains, on a box and from box to box. {ADMIN_KEY}",
        epilog=f"examples:\n{EXAMPLES}", formatter_class=argparse.RawDescriptionHelpFormatter,
    ).add_subparsers(title="commands", required=True, metavar="COMMAND")  # fmt: skip
    add_command(
        group, "list", _list, help_="domains of the release, what they let flow, and their files", example=LIST_EXAMPLE,
        more=ADMIN_KEY,
    )  # fmt: skip
    putting = add_command(
        group, "import", _import, help_="put a file into a domain", example=IMPORT_EXAMPLE,
        more=f"Whatever breaks on the way, the same command goes on with it. {ADMIN_KEY}",
    )  # fmt: skip
    putting.add_argument("domain", metavar="DOMAIN")
    putting.add_argument("file", metavar="FILE", type=Path)
    putting.add_argument("--name", help="its name on the box (default: the file's)")
    removing = add_command(
        group, "remove", _remove, help_="remove a file before its days are over", example=REMOVE_EXAMPLE,
        more="One that was put in or received, also one that is kept closed or was put in by half. What has read it "
        f"meanwhile keeps what it made of it. {ADMIN_KEY}",
    )  # fmt: skip
    removing.add_argument("domain", metavar="DOMAIN", help="of this box, that has the file")
    removing.add_argument("name", metavar="NAME", help="of the file")
    receiving = add_command(
        group, "receive", _receive, help_="expect a file from another box, for a day", example=RECEIVE_EXAMPLE,
        more="The other box's administrator then sends it. Both boxes verify each other by their TPMs, and both "
        f"releases have to chain the domains. {ADMIN_KEY}",
    )  # fmt: skip
    receiving.add_argument("domain", metavar="DOMAIN", help="of this box, that takes it")
    receiving.add_argument("--from", required=True, dest="source", metavar="DOMAIN", help="domain that it comes from")
    receiving.add_argument("--device", required=True, metavar="ID", help="device id of the box that sends")
    sending = add_command(
        group, "send", _send, help_="send a file to a domain on another box", example=SEND_EXAMPLE,
        more="Whatever breaks on the way, the same command goes on with it. What the network carries only the other "
        f"box's TPM opens. {ADMIN_KEY}",
    )  # fmt: skip
    sending.add_argument("domain", metavar="DOMAIN", help="of this box, that has the file")
    sending.add_argument("name", metavar="NAME", help="of the file")
    sending.add_argument("--to", required=True, metavar="DOMAIN", help="domain of the other box, that takes it")
    sending.add_argument("--peer", required=True, metavar="URL", help="https://HOST:PORT of the other box")
    sending.add_argument("--device", required=True, metavar="ID", help="device id of the other box")
    for command in (putting, removing, sending, _add_cancel(group)):
        command.add_argument("--kind", choices=KINDS, default=KINDS[0], help="what the file is (default: %(default)s)")
    add_command(
        group, "flows", _flows, help_="what came and went, what is expected, what is under way", example=FLOWS_EXAMPLE,
        more=ADMIN_KEY,
    )  # fmt: skip


def _add_cancel(group: Commands) -> argparse.ArgumentParser:
    cancelling = add_command(
        group, "cancel", _cancel, help_="give up what is expected or being sent", example=CANCEL_EXAMPLE,
        more="In the words of receive or of send. What came of an unfinished flow is dropped by its receiver; what has "
        f"arrived stays there. {ADMIN_KEY}",
    )  # fmt: skip
    cancelling.add_argument("domain", metavar="DOMAIN", help="of this box")
    cancelling.add_argument("name", metavar="NAME", nargs="?", help="of the file that is sent")
    other = cancelling.add_mutually_exclusive_group(required=True)
    other.add_argument("--from", dest="source", metavar="DOMAIN", help="domain that it was expected from")
    other.add_argument("--to", metavar="DOMAIN", help="domain of the other box, that it goes to")
    cancelling.add_argument("--device", required=True, metavar="ID", help="device id of the other box")
    return cancelling


def _list(arguments: argparse.Namespace) -> None:
    with administered(arguments) as (box, key):
        view = box.domains(key)
    print_result(arguments, view, domain_lines(view))


def domain_lines(view: Mapping[str, Any]) -> list[str]:
    """Domains and files in words."""
    lines = []
    for domain in view.get("domains", []):
        lines.append(
            f"domain    {domain.get('name')}, {domain.get('level')}, keeps files {domain.get('kept_days')} days"
        )
        lines += [f"flow      {', '.join(one['forms'])} to {one['to']}" for one in domain.get("flows", [])]
        lines += [f"chain     {', '.join(one['forms'])} from {one['from']}" for one in domain.get("chains", [])]
        for file in domain.get("files", []):
            came = f", from flow {file['flow_id']}" if file.get("flow_id") else ""
            lines.append(f"file      {file.get('kind')} {file.get('name')}, {file.get('size')} bytes{came}")
        for one in domain.get("closed", []):
            file = one.get("file", {})
            lines.append(f"closed    {file.get('kind')} {file.get('name')}: {one.get('code')}: {one.get('sentence')}")
    lines += closed_lines(view)
    lines += [
        f"removed   {one.get('kind')} {one.get('name')} of {one.get('domain')}, {moment(one.get('removed_at'))}"
        f"{', as ordered' if one.get('ordered') else ''}"
        for one in view.get("removed", [])
    ]
    return lines or ["The release declares no domains."]


def _import(arguments: argparse.Namespace) -> None:
    path: Path = arguments.file
    name = arguments.name or path.name
    if not FILE_NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name: 1 to 64 of a-z, 0-9, '.', '_' and '-'. Give one with --name.")
    size, digest = _measured(path)
    order = {"domain": arguments.domain, "kind": arguments.kind, "name": name, "size": size, "digest": digest}
    with administered(arguments) as (box, key):
        begun = box.begin_import(key, order)
        number, frames = int(begun.get("next", 0)), frame_count(size)
        with path.open("rb") as file:
            while number < frames:
                file.seek(number * FRAME_SIZE)
                part = file.read(FRAME_SIZE)
                number = int(box.put_part(key, str(begun.get("import_id")), number, part).get("next", frames))
                _tell(arguments, "put in", number, frames)
        reply = box.finish_import(key, str(begun.get("import_id")))
        while "checked" in reply:
            reply = box.finish_import(key, str(begun.get("import_id")))
    print_result(arguments, reply, [f"In domain {arguments.domain}: {arguments.kind} {name}, {size} bytes"])


def _remove(arguments: argparse.Namespace) -> None:
    order = {"domain": arguments.domain, "kind": arguments.kind, "name": arguments.name}
    with administered(arguments) as (box, key):
        reply = box.remove_file(key, order)
    print_result(arguments, reply, [f"Removed from domain {arguments.domain}: {arguments.kind} {arguments.name}"])


def _measured(path: Path) -> tuple[int, str]:
    try:
        with path.open("rb") as file:
            hashed = hashlib.file_digest(file, "sha256")
            return file.tell(), hashed.hexdigest()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None


def _receive(arguments: argparse.Namespace) -> None:
    wanted = {"source": arguments.source, "target": arguments.domain, "device_id": arguments.device}
    with administered(arguments) as (box, key):
        reply = box.expect_flow(key, wanted)
    until = moment(reply.get("until"))
    print_result(arguments, reply, [f"Expected until {until}: {arguments.source} of {arguments.device}"])


def _order(arguments: argparse.Namespace) -> dict[str, str]:
    """What is sent, in the words of ``send``."""
    return {
        "source": arguments.domain, "kind": arguments.kind, "name": arguments.name, "target": arguments.to,
        "device_id": arguments.device,
    }  # fmt: skip


def _cancel(arguments: argparse.Namespace) -> None:
    if (arguments.to is None) != (arguments.name is None):
        raise UsageError("NAME goes with --to: what is sent; what is expected has no name yet.")
    wanted = {"source": arguments.source, "target": arguments.domain, "device_id": arguments.device}
    ordered = {"expectation": wanted} if arguments.to is None else {"order": _order(arguments)}
    with administered(arguments) as (box, key):
        reply = box.withdraw_flow(key, ordered)
    lines = [f"Given up: flow {one}" for one in reply.get("flow_ids", [])]
    print_result(arguments, reply, lines or ["Given up; nothing was under way."])


def _send(arguments: argparse.Namespace) -> None:
    parse_box_url(arguments.peer)
    order = _order(arguments) | {"peer": arguments.peer}
    with administered(arguments) as (box, key):
        progress = box.send_flow(key, order)
        flow_id = progress.get("flow_id")
        while progress.get("state") not in ("done", "failed"):
            time.sleep(LOOK_S)
            progress = _progress(box, key, flow_id)
            _tell(arguments, "sent", progress.get("sent"), progress.get("frames"))
    problem = progress.get("problem")
    if problem is not None:
        raise FlowFailedError(f"{problem.get('code')}: {problem.get('message')}")
    print_result(arguments, progress, [f"Received and recorded on both sides: flow {flow_id}"])


def _progress(box: Box, key: str, flow_id: object) -> dict[str, Any]:
    progress = box.flows(key).get("progress")
    if not isinstance(progress, dict) or progress.get("flow_id") != flow_id:
        raise OperationError("The box was started anew while it sent.", cure="Give the same command again.")
    return progress


def _flows(arguments: argparse.Namespace) -> None:
    with administered(arguments) as (box, key):
        view = box.flows(key)
    print_result(arguments, view, flow_lines(view))


def flow_lines(view: Mapping[str, Any]) -> list[str]:
    """Records, expectations and what is under way, in words."""
    lines = []
    for record in view.get("records", []):
        terms = record.get("terms", {})
        other = terms.get("receiver" if record.get("role") == "sent" else "sender", {})
        ways = f"{terms.get('sender', {}).get('domain')} → {terms.get('receiver', {}).get('domain')}"
        lines.append(
            f"{record.get('role'):9} {moment(terms.get('at'))}  {terms.get('kind')} {terms.get('name')}, "
            f"{terms.get('size')} bytes, {ways}, device {other.get('device_id')}"
        )
    for one in view.get("expected", []):
        wanted = one.get("expectation", {})
        lines.append(
            f"expected  until {moment(one.get('until'))}: {wanted.get('source')} → {wanted.get('target')}, device "
            f"{wanted.get('device_id')}"
        )
    for one in view.get("sending", []):
        order = one.get("order", {})
        lines.append(f"not over  {order.get('name')}, {order.get('source')} → {order.get('target')}")
    if view.get("problem"):
        lines.append(f"problem   {view['problem']}")
    return lines or ["Nothing has come or gone."]


def _tell(arguments: argparse.Namespace, what: str, done: object, of: object) -> None:
    """How far it is, for whoever watches."""
    if not arguments.json and sys.stderr.isatty():
        print(f"\r{what}: {done} of {of} MiB", end="" if done != of else "\n", file=sys.stderr, flush=True)
