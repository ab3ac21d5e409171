"""Options of ``license issue`` and ``license change``: the terms of a licence as people type them."""

from __future__ import annotations

import argparse
import datetime
import re
from collections.abc import Callable

from sealwright_licensing.cli_output import tier
from sealwright_licensing.leases import DAY_S
from sealwright_licensing.licenses import joined
from sealwright_licensing.operations import terms
from sealwright_licensing.operations.terms import TermChanges
from sealwright_licensing.records import Overage, RenewalBasis
from sealwright_policies.appraisal.reference_values import VERSION_PATTERN
from sealwright_policies.wire.lease import EndBehaviour

ALL = "all"
"""In a list of payloads or domains: no bound."""
NO_FEATURES = "none"


def add_terms(parser: argparse.ArgumentParser, *, changing: bool) -> None:
    """Add the options that issuing and changing have in common.

    Args:
        changing: what is not given stays as it is, and has no default.
    """

    def default(text: str) -> str:
        return "" if changing else f" (default: {text})"

    parser.add_argument("--seats", type=count(terms.MOST_SEATS), default=None if changing else 1,
                        help=f"boxes at a time{default('1')}")  # fmt: skip
    parser.add_argument("--overage", type=Overage, choices=list(Overage), metavar="RULE",
                        help=f"boxes beyond the seats, as a factor: {', '.join(Overage)}{default('none')}")  # fmt: skip
    parser.add_argument("--tier", required=not changing, action="append", type=tier, metavar="TIER",
                        help="kind of TPM it allows: software, firmware or discrete; may be given again")  # fmt: skip
    parser.add_argument("--lease-days", type=count(366), default=None if changing else terms.DEFAULT_LEASE_DAYS,
                        help=f"how long a box runs without contact{default('30')}")  # fmt: skip
    parser.add_argument("--renew-after", type=count(366 * DAY_S), metavar="SECONDS",
                        help=f"contact interval{default('a day, or a quarter of the lease')}")  # fmt: skip
    parser.add_argument("--boots", type=count(terms.MOST_BOOTS, least=0), metavar="NUMBER",
                        help=f"boots without contact; 0: four a day, at least 50{default('0')}")  # fmt: skip
    parser.add_argument("--max-request", type=count(terms.MOST_REQUEST_S), metavar="SECONDS",
                        help=f"longest request, which the lease's end never cuts{default('600')}")  # fmt: skip
    parser.add_argument("--grace-days", type=count(terms.MOST_DAYS, least=0), metavar="DAYS",
                        help=f"days behind the end in which boxes renew, and warn{default('0')}")  # fmt: skip
    parser.add_argument("--at-end", type=EndBehaviour, choices=list(EndBehaviour), metavar="HOW",
                        help="what its end means: close (serving ends), run-out (the last lease runs to its end), "
                        f"keep-releases (leases go on for releases from before){default('close')}")  # fmt: skip
    parser.add_argument("--renewal-basis", type=RenewalBasis, choices=list(RenewalBasis), metavar="BASIS",
                        help=f"renewals count from its expiry or from now{default('expiry')}")  # fmt: skip
    parser.add_argument("--partition", action="append", metavar="PAYLOAD",
                        help=f"payload it opens; may be given again{default('all')}")  # fmt: skip
    parser.add_argument("--domain", action="append", help=f"domain it opens; may be given again{default('all')}")
    parser.add_argument("--feature", action="append",
                        help="name that leases hand on to the box; may be given again")  # fmt: skip
    parser.add_argument("--note", help="for yourself, e.g. the customer's name")


def changes_of(parsed: argparse.Namespace) -> TermChanges:
    """What the command line wants changed."""
    return TermChanges(
        seats=parsed.seats,
        overage=parsed.overage,
        grace_s=None if parsed.grace_days is None else parsed.grace_days * DAY_S,
        at_end=parsed.at_end,
        renewal_basis=parsed.renewal_basis,
        tick_budget=parsed.ticks,
        lease_s=None if parsed.lease_days is None else parsed.lease_days * DAY_S,
        renew_after_s=parsed.renew_after,
        boots_without_contact=parsed.boots,
        max_request_s=parsed.max_request,
        tiers=None if parsed.tier is None else joined(one.value for one in parsed.tier),
        allow_test_images=parsed.allow_test_images,
        partitions=_names(parsed.partition, ALL),
        domains=_names(parsed.domain, ALL),
        features=_names(parsed.feature, NO_FEATURES),
        note=parsed.note,
    )


def _names(given: list[str] | None, nothing: str) -> str | None:
    if given is None:
        return None
    return "" if given == [nothing] else joined(given)


def count(most: int, *, least: int = 1) -> Callable[[str], int]:
    """A parser of numbers in a range."""

    def parse(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"expected a number from {least} to {most}")
        return int(text)

    return parse


def version(text: str) -> str:
    """A parser of product versions."""
    if not re.fullmatch(VERSION_PATTERN, text):
        raise argparse.ArgumentTypeError("expected up to four numbers with dots, e.g. 1.4")
    return text


def date(text: str) -> int:
    """A parser of UTC days; seconds since the epoch of its beginning."""
    try:
        return int(datetime.datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=datetime.UTC).timestamp())
    except ValueError:
        raise argparse.ArgumentTypeError("expected a day, e.g. 2026-12-31") from None
