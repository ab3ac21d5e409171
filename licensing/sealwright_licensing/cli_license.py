"""``license issue | add-code | list | show | renew | change | set-floor | suspend | reinstate | revoke``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from sealwright_licensing.cli_actor import cli_actor
from sealwright_licensing.cli_context import open_command
from sealwright_licensing.cli_ids import add_confirmation
from sealwright_licensing.cli_license_terms import add_terms, changes_of, count, date, version
from sealwright_licensing.cli_lists import each_page
from sealwright_licensing.cli_output import Commands, add_group, add_leaf, day, print_result, table
from sealwright_licensing.license_views import license_fields, license_words
from sealwright_licensing.operations import licenses, terms
from sealwright_licensing.operations.licenses import known_license
from sealwright_licensing.records import License, LicenseStatus
from sealwright_licensing.seats import seats_taken, seats_taken_of
from sealwright_licensing.service_time import service_time

_LICENSE = "lic-0123456789ab"


def add_commands(commands: Commands) -> None:
    """Add them to the command line."""
    group = add_group(commands, "license", "licences")
    _add_issue(group)
    listed = add_leaf(
        group, "list", _list, help_="list licences, the newest first",
        example="sealwright-license license list /srv/license --status suspended",
    )  # fmt: skip
    listed.add_argument("--status", choices=[one.value for one in LicenseStatus], help="only with this status")
    listed.add_argument("--product", help="only for this product")
    _add(group, "show", _show, "show a licence's terms and what it is used for")
    _add(group, "add-code", _add_code, "draw one more activation code, e.g. for a box that replaces a retired one")
    renew = _add(group, "renew", _renew, "move its end, and add the running time of that duration", "--days 365")
    renew.add_argument("--days", type=count(terms.MOST_DAYS), required=True,
                       help="counted from its end or from now, by its renewal basis")  # fmt: skip
    renew.add_argument("--hours", type=count(terms.MOST_DAYS * 24), help="running time to add (default: all of it)")
    change = _add(group, "change", _change, "change terms; boxes take them up with their next renewal", "--seats 10")
    add_terms(change, changing=True)
    change.add_argument("--ticks", type=count(2**53), metavar="NUMBER",
                        help="budget of one box: hours of running, and boots")  # fmt: skip
    change.add_argument("--allow-test-images", action=argparse.BooleanOptionalAction, default=None,
                        help='allow releases built as flavour "test"')  # fmt: skip
    floor = _add(group, "set-floor", _set_floor, "sign leases only for a version and later ones, from now on", "2.0")
    floor.add_argument("version", type=version, metavar="VERSION", help="lowest product version it allows")
    floor.add_argument("--lower", action="store_true", help="allow versions again that the floor refuses today")
    for verb, operation, help_ in (
        ("suspend", licenses.suspend_license, "sign no more leases until it is reinstated"),
        ("reinstate", licenses.reinstate_license, "end a suspension"),
        (
            "revoke",
            licenses.revoke_license,
            "sign no more leases, for ever; boxes without contact run to the lease's end",
        ),
    ):
        leaf = _add(group, verb, _set_status, help_)
        leaf.set_defaults(operation=operation)
        if operation is licenses.revoke_license:
            add_confirmation(leaf, "Revoke licence {license_id} for ever?")


def _add(
    group: Commands, verb: str, run: Callable[[argparse.Namespace], None], help_: str, example: str = ""
) -> argparse.ArgumentParser:
    line = f"sealwright-license license {verb} /srv/license {_LICENSE} {example}".rstrip()
    leaf = add_leaf(group, verb, run, help_=help_, example=line)
    leaf.add_argument("license_id", metavar="LICENSE")
    return leaf


def _add_issue(group: Commands) -> None:
    issue = add_leaf(
        group, "issue", _issue, help_="issue a licence; prints its id and an activation code for each seat, once",
        example="sealwright-license license issue /srv/license --product sealed-advisor --seats 5 --tier discrete",
    )  # fmt: skip
    issue.add_argument("--product", required=True, help="product of the releases it is for")
    issue.add_argument("--days", type=count(terms.MOST_DAYS), default=365, help="how long it lasts (default: 365)")
    issue.add_argument("--start", type=date, metavar="DAY", help="UTC day on which it begins (default: now)")
    issue.add_argument("--hours", type=count(terms.MOST_DAYS * 24),
                       help="running time of one box over the whole time (default: all of it)")  # fmt: skip
    add_terms(issue, changing=False)
    issue.add_argument("--version-floor", type=version, default="0", metavar="VERSION",
                       help="lowest product version it allows; `license set-floor` moves it")  # fmt: skip
    issue.add_argument("--allow-test-images", action="store_true", help='allow releases built as flavour "test"')
    issue.set_defaults(ticks=None)


def _issue(arguments: argparse.Namespace) -> None:
    with open_command(arguments) as context:
        now = service_time(context.store, int(time.time()))
        license_ = terms.new_license(
            product=arguments.product,
            seats=arguments.seats,
            days=arguments.days,
            tiers=arguments.tier,
            lease_days=arguments.lease_days,
            renew_after_s=arguments.renew_after,
            powered_on_hours=arguments.hours,
            starts_at=arguments.start,
            version_floor=arguments.version_floor,
            now=now,
        )
        license_ = terms.changed(license_, changes_of(arguments))
        codes = licenses.issue_license(context.store, cli_actor(), license_, now=now)
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
    with open_command(arguments) as context:
        now = service_time(context.store, int(time.time()))
        code = licenses.add_activation_code(context.store, cli_actor(), arguments.license_id, now=now)
    result = {"license_id": arguments.license_id, "activation_code": code}
    print_result(result, [f"Activation code: {code}", "It is shown only now."], as_json=arguments.json)


def _list(arguments: argparse.Namespace) -> None:
    with open_command(arguments) as context, context.store.read() as transaction:
        wanted = {"product": arguments.product, "status": arguments.status}
        found = [
            (one, taken[one.license_id])
            for page in each_page(transaction, License, ("issued_at", "license_id"), **wanted)
            for taken in [seats_taken_of(transaction, [one.license_id for one in page])]
            for one in page
        ]
    shown = [license_fields(one, taken) for one, taken in found]
    rows = [
        (one.license_id, one.product, one.status.value, f"{taken}/{one.seats}", one.tiers, day(one.expires_at),
         one.note) for one, taken in found
    ]  # fmt: skip
    titles = ("licence", "product", "status", "seats", "tiers", "ends", "note")
    print_result(shown, table(titles, rows), as_json=arguments.json)


def _show(arguments: argparse.Namespace) -> None:
    with open_command(arguments) as context:
        now = service_time(context.store, int(time.time()))
        with context.store.read() as transaction:
            license_ = known_license(transaction, arguments.license_id)
            taken = seats_taken(transaction, license_.license_id)
    print_result(license_fields(license_, taken), license_words(license_, taken, now=now), as_json=arguments.json)


def _renew(arguments: argparse.Namespace) -> None:
    with open_command(arguments) as context:
        changed = licenses.renew_license(
            context.store, cli_actor(), arguments.license_id,
            days=arguments.days, powered_on_hours=arguments.hours, now=service_time(context.store, int(time.time())),
        )  # fmt: skip
    result = {
        "license_id": changed.license_id,
        "expires_at": changed.expires_at,
        "tick_budget": changed.tick_budget,
    }
    words = [f"Licence {changed.license_id} ends {day(changed.expires_at)} UTC; its budget is {changed.tick_budget}."]
    print_result(result, words, as_json=arguments.json)


def _change(arguments: argparse.Namespace) -> None:
    with open_command(arguments) as context:
        now = service_time(context.store, int(time.time()))
        changes = changes_of(arguments)
        changed = licenses.change_terms(context.store, cli_actor(), arguments.license_id, changes, now=now)
        with context.store.read() as transaction:
            taken = seats_taken(transaction, changed.license_id)
    print_result(license_fields(changed, taken), license_words(changed, taken, now=now), as_json=arguments.json)


def _set_floor(arguments: argparse.Namespace) -> None:
    with open_command(arguments) as context:
        changed = licenses.set_version_floor(
            context.store, cli_actor(), arguments.license_id, arguments.version,
            lower=arguments.lower, now=service_time(context.store, int(time.time())),
        )  # fmt: skip
    result = {"license_id": changed.license_id, "version_floor": changed.version_floor}
    words = [
        f"Licence {changed.license_id} allows version {changed.version_floor} and later ones.",
        "Boxes below it get no more leases and run to the end of their last.",
    ]
    print_result(result, words, as_json=arguments.json)


def _set_status(arguments: argparse.Namespace) -> None:
    with open_command(arguments) as context:
        now = service_time(context.store, int(time.time()))
        changed = arguments.operation(context.store, cli_actor(), arguments.license_id, now=now)
    result = {"license_id": changed.license_id, "status": changed.status.value}
    print_result(result, [f"Licence {changed.license_id} is {changed.status.value}."], as_json=arguments.json)
