"""``license issue | add-code | list | set-floor | suspend | resume | revoke``."""

from __future__ import annotations

import argparse
import re
import time
from typing import Any

from sealwright_licensing.cli_context import open_service
from sealwright_licensing.cli_output import Commands, add_group, add_leaf, day, print_result, table, tier
from sealwright_licensing.issuing import (
    DEFAULT_LEASE_DAYS,
    add_activation_code,
    issue_license,
    new_license,
    set_version_floor,
)
from sealwright_licensing.records import Device, DeviceStatus, License, LicenseStatus
from sealwright_licensing.revocation import set_license_status
from sealwright_policies.appraisal.reference_values import VERSION_PATTERN


def add_commands(commands: Commands) -> None:
    """Add them to the command line."""
    group = add_group(commands, "license", "licences")
    issue = add_leaf(
        group, "issue", _issue, help_="issue a licence; prints its id and an activation code for each seat, once",
        example="sealwright-license license issue /srv/license --product sealed-advisor --seats 5 --tier discrete",
    )  # fmt: skip
    issue.add_argument("--product", required=True, help="product of the releases it is for")
    issue.add_argument("--seats", type=_count(10_000), default=1, help="boxes at a time (default: 1)")
    issue.add_argument("--days", type=_count(3660), default=365, help="how long it lasts (default: 365)")
    issue.add_argument("--tier", required=True, action="append", type=tier, metavar="TIER",
                       help="kind of TPM it allows: software, firmware or discrete; may be given again")  # fmt: skip
    issue.add_argument("--lease-days", type=_count(366), default=DEFAULT_LEASE_DAYS,
                       help=f"how long a box runs without contact (default: {DEFAULT_LEASE_DAYS})")  # fmt: skip
    issue.add_argument("--renew-after", type=_count(366 * 86_400), metavar="SECONDS",
                       help="contact interval (default: a day, or a quarter of the lease)")  # fmt: skip
    issue.add_argument("--version-floor", type=_version, default="0", metavar="VERSION",
                       help="lowest product version it allows; `license set-floor` moves it")  # fmt: skip
    issue.add_argument("--allow-test-images", action="store_true", help='allow releases built as flavour "test"')
    issue.add_argument("--note", default="", help="for yourself, e.g. the customer's name")
    code = add_leaf(
        group, "add-code", _add_code, help_="draw one more activation code, e.g. for a box that replaces a retired one",
        example="sealwright-license license add-code /srv/license lic-0123456789ab",
    )  # fmt: skip
    code.add_argument("license_id", metavar="LICENSE")
    add_leaf(group, "list", _list, help_="list licences", example="sealwright-license license list /srv/license")
    floor = add_leaf(
        group, "set-floor", _set_floor, help_="sign leases only for a version and later ones, from now on",
        example="sealwright-license license set-floor /srv/license lic-0123456789ab 2.0",
    )  # fmt: skip
    floor.add_argument("license_id", metavar="LICENSE")
    floor.add_argument("version", type=_version, metavar="VERSION", help="lowest product version it allows")
    floor.add_argument("--lower", action="store_true", help="allow versions again that the floor refuses today")
    for verb, status, help_ in (
        ("suspend", LicenseStatus.SUSPENDED, "sign no more leases until it is resumed"),
        ("resume", LicenseStatus.ACTIVE, "end a suspension"),
        (
            "revoke",
            LicenseStatus.REVOKED,
            "sign no more leases, for ever; boxes without contact run to the lease's end",
        ),
    ):
        leaf = add_leaf(
            group, verb, _set_status, help_=help_,
            example=f"sealwright-license license {verb} /srv/license lic-0123456789ab",
        )  # fmt: skip
        leaf.add_argument("license_id", metavar="LICENSE")
        leaf.set_defaults(status=status)


def _count(most: int) -> Any:
    def parse(text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"expected a number from 1 to {most}")
        return int(text)

    return parse


def _version(text: str) -> str:
    if not re.fullmatch(VERSION_PATTERN, text):
        raise argparse.ArgumentTypeError("expected up to four numbers with dots, e.g. 1.4")
    return text


def _issue(arguments: argparse.Namespace) -> None:
    license_ = new_license(
        product=arguments.product,
        seats=arguments.seats,
        days=arguments.days,
        tiers=arguments.tier,
        lease_days=arguments.lease_days,
        renew_after_s=arguments.renew_after,
        version_floor=arguments.version_floor,
        allow_test_images=arguments.allow_test_images,
        note=arguments.note,
        now=int(time.time()),
    )
    with open_service(arguments.directory) as context:
        codes = issue_license(context.store, license_)
    result = {
        "license_id": license_.license_id,
        "activation_code": codes[0],
        "activation_codes": codes,
        "expires_at": license_.expires_at,
    }
    words = [
        f"Licence {license_.license_id} for {license_.product}, {license_.seats} box(es), until "
        f"{day(license_.expires_at)} UTC.",
        *(f"Activation code: {code}" for code in codes),
        "The codes are shown only now.",
    ]
    print_result(result, words, as_json=arguments.json)


def _add_code(arguments: argparse.Namespace) -> None:
    with open_service(arguments.directory) as context:
        code = add_activation_code(context.store, arguments.license_id, now=int(time.time()))
    result = {"license_id": arguments.license_id, "activation_code": code}
    print_result(result, [f"Activation code: {code}", "It is shown only now."], as_json=arguments.json)


def _list(arguments: argparse.Namespace) -> None:
    with open_service(arguments.directory) as context, context.store.read() as transaction:
        licenses = transaction.find(License, newest_first="issued_at")
        devices = transaction.find(Device)
    taken = {
        one.license_id: sum(
            device.license_id == one.license_id and device.status is not DeviceStatus.RETIRED for device in devices
        )
        for one in licenses
    }
    shown = [
        {
            "license_id": one.license_id,
            "product": one.product,
            "status": one.status.value,
            "seats": one.seats,
            "seats_taken": taken[one.license_id],
            "tiers": one.tiers.split(","),
            "expires_at": one.expires_at,
            "version_floor": one.version_floor,
            "allow_test_images": one.allow_test_images,
            "note": one.note,
        }
        for one in licenses
    ]
    rows = [
        (one.license_id, one.product, one.status.value, f"{taken[one.license_id]}/{one.seats}", one.tiers,
         day(one.expires_at), one.note) for one in licenses
    ]  # fmt: skip
    titles = ("licence", "product", "status", "seats", "tiers", "ends", "note")
    print_result(shown, table(titles, rows), as_json=arguments.json)


def _set_floor(arguments: argparse.Namespace) -> None:
    with open_service(arguments.directory) as context:
        changed = set_version_floor(context.store, arguments.license_id, arguments.version, lower=arguments.lower)
    result = {"license_id": changed.license_id, "version_floor": changed.version_floor}
    words = [
        f"Licence {changed.license_id} allows version {changed.version_floor} and later ones.",
        "Boxes below it get no more leases and run to the end of their last.",
    ]
    print_result(result, words, as_json=arguments.json)


def _set_status(arguments: argparse.Namespace) -> None:
    with open_service(arguments.directory) as context:
        changed = set_license_status(context.store, arguments.license_id, arguments.status)
    result = {"license_id": changed.license_id, "status": changed.status.value}
    print_result(result, [f"Licence {changed.license_id} is {changed.status.value}."], as_json=arguments.json)
