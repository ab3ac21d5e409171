"""``device list | show | resume | retire | transfer | approve-firmware``; ``answer`` is in :mod:`.cli_air_gap`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from sealwright_licensing.cli_actor import cli_actor
from sealwright_licensing.cli_air_gap import add_answer
from sealwright_licensing.cli_context import open_command
from sealwright_licensing.cli_ids import add_confirmation
from sealwright_licensing.cli_license_terms import count
from sealwright_licensing.cli_lists import each_page
from sealwright_licensing.cli_output import Commands, add_group, add_leaf, day, print_result, table
from sealwright_licensing.device_views import device_fields, device_view, device_words
from sealwright_licensing.endorsement import Tier
from sealwright_licensing.journal import last_codes
from sealwright_licensing.operations import devices
from sealwright_licensing.records import Device, DeviceStatus
from sealwright_licensing.service_time import service_time
from sealwright_policies.errors import RejectionCode, VerificationError


def add_commands(commands: Commands) -> None:
    """Add them to the command line."""
    group = add_group(commands, "device", "enrolled boxes")
    listed = add_leaf(
        group, "list", _list, help_="list devices, the newest first",
        example="sealwright-license device list /srv/license --status held",
    )  # fmt: skip
    listed.add_argument("--license", dest="license_id", metavar="LICENSE", help="only under this licence")
    listed.add_argument("--status", choices=[one.value for one in DeviceStatus], help="only with this status")
    listed.add_argument("--tier", choices=[one.value for one in Tier], help="only with TPMs of this tier")
    _add(group, "show", _show, "show a device, its lease, its last appraisal in words, and what an operator can decide")
    resume = _add(group, "resume", _resume, "let a held device go on", "--history 1")
    resume.add_argument("--history", type=count(1_000_000), metavar="NUMBER",
                        help="of a device that is said to be two: the one that goes on")  # fmt: skip
    retire = _add(
        group, "retire", _retire, "end a device's enrolment: its seat is free, its outstanding lease counts as used"
    )
    add_confirmation(retire, "Retire device {device_id}? Its outstanding lease counts as used.")
    transfer = _add(group, "transfer", _transfer, "draw an activation code for the box that takes a device's place")
    transfer.add_argument("--at-once", action="store_true",
                          help="retire the device now, and not when the other one enrols")  # fmt: skip
    approve = _add(group, "approve-firmware", _approve, "approve the changed firmware that a device has shown", "5e1f…")
    approve.add_argument("digest", metavar="DIGEST", help="of exactly these values, as `device show` gives it")
    add_answer(group)


def _add(
    group: Commands, verb: str, run: Callable[[argparse.Namespace], None], help_: str, example: str = ""
) -> argparse.ArgumentParser:
    line = f"sealwright-license device {verb} /srv/license 4f7k2a… {example}".rstrip()
    leaf = add_leaf(group, verb, run, help_=help_, example=line)
    leaf.add_argument("device_id", metavar="DEVICE", help="its id, as its console shows it")
    return leaf


def _list(arguments: argparse.Namespace) -> None:
    with open_command(arguments) as context, context.store.read() as transaction:
        wanted = {"license_id": arguments.license_id, "status": arguments.status, "tier": arguments.tier}
        found, last = list[Device](), dict[str, str]()
        for page in each_page(transaction, Device, ("enrolled_at", "device_id"), **wanted):
            found += page
            last |= last_codes(transaction, [one.device_id for one in page])
    shown = [
        {
            "device_id": one.device_id,
            "license_id": one.license_id,
            "status": one.status.value,
            "held_code": one.held_code,
            "tier": one.tier,
            "seen_at": one.seen_at,
            "last_code": last.get(one.device_id, ""),
        }
        for one in found
    ]
    rows = [
        (one["device_id"], one["license_id"], one["status"], one["tier"], day(device.seen_at), one["last_code"])
        for one, device in zip(shown, found, strict=True)
    ]
    print_result(
        shown, table(("device", "licence", "status", "tier", "last proof", "last"), rows), as_json=arguments.json
    )


def _show(arguments: argparse.Namespace) -> None:
    with open_command(arguments) as context, context.store.read() as transaction:
        view = device_view(transaction, arguments.device_id)
    if view.device is None and not view.decisions:
        raise VerificationError(RejectionCode.DEVICE_UNKNOWN, f"nothing is known of a device {arguments.device_id}")
    print_result(device_fields(view), device_words(view), as_json=arguments.json)


def _resume(arguments: argparse.Namespace) -> None:
    with open_command(arguments) as context:
        now = service_time(context.store, int(time.time()))
        changed = devices.resume_device(
            context.store, cli_actor(), arguments.device_id, history=arguments.history, now=now
        )
    print_result(_status(changed), [f"Device {changed.device_id} is {changed.status.value}."], as_json=arguments.json)


def _retire(arguments: argparse.Namespace) -> None:
    with open_command(arguments) as context:
        now = service_time(context.store, int(time.time()))
        changed = devices.retire_device(context.store, cli_actor(), arguments.device_id, now=now)
    words = [f"Device {changed.device_id} is retired; its seat under {changed.license_id} is free."]
    print_result(_status(changed), words, as_json=arguments.json)


def _transfer(arguments: argparse.Namespace) -> None:
    with open_command(arguments) as context:
        now = service_time(context.store, int(time.time()))
        transfer = devices.transfer_device(
            context.store, cli_actor(), arguments.device_id, at_once=arguments.at_once, now=now
        )
    device = transfer.device
    when = "is retired" if arguments.at_once else "is retired when the other box enrols"
    words = [
        f"Activation code: {transfer.activation_code}",
        "It is shown only now.",
        f"Device {device.device_id} {when}. Cut off, it runs to the end of its lease.",
    ]
    result = _status(device) | {"license_id": device.license_id, "activation_code": transfer.activation_code}
    print_result(result, words, as_json=arguments.json)


def _approve(arguments: argparse.Namespace) -> None:
    with open_command(arguments) as context:
        now = service_time(context.store, int(time.time()))
        changed = devices.approve_firmware(context.store, cli_actor(), arguments.device_id, arguments.digest, now=now)
    words = [f"Approved. The next evidence of {changed.device_id} that shows these values pins them."]
    print_result(_status(changed) | {"digest": arguments.digest}, words, as_json=arguments.json)


def _status(device: Device) -> dict[str, object]:
    return {"device_id": device.device_id, "status": device.status.value}
