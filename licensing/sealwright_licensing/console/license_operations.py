"""What is done to licences (:mod:`sealwright_licensing.operations.licenses`)."""

from __future__ import annotations

from collections.abc import Sequence

from sealwright_licensing.console.forms import Form
from sealwright_licensing.console.operation_forms import Field, OperationForm, Outcome, Subject, Task
from sealwright_licensing.console.pages import Visit
from sealwright_licensing.endorsement import Tier
from sealwright_licensing.leases import DAY_S
from sealwright_licensing.licenses import joined
from sealwright_licensing.operations import licenses as operations
from sealwright_licensing.operations import terms
from sealwright_licensing.operations.terms import TermChanges, new_license
from sealwright_licensing.operators.api.licenses import require_license
from sealwright_licensing.operators.roles import Permission
from sealwright_licensing.records import License, LicenseStatus, Overage, RenewalBasis
from sealwright_licensing.store import Transaction
from sealwright_policies.wire.lease import EndBehaviour

MOST_SEATS = 10_000
"""Of one form: it answers with a code for each."""
_HOURS = terms.MOST_DAYS * 24


def issue_fields() -> list[Field]:
    """Of a new licence."""
    return [
        Field("product", required=True),
        Field("seats", "number", "1", least=1, most=MOST_SEATS, required=True),
        Field("overage", "select", Overage.NONE, tuple(Overage)),
        Field("days", "number", "365", least=1, most=terms.MOST_DAYS, required=True),
        Field("starts_on", "day"),
        Field("grace_days", "number", "0", least=0, most=terms.MOST_DAYS, required=True),
        Field("powered_on_hours", "number", least=1, most=_HOURS),
        Field("tiers", "choices", f"{Tier.DISCRETE},{Tier.FIRMWARE}", tuple(Tier), required=True),
        Field("lease_days", "number", str(terms.DEFAULT_LEASE_DAYS), least=1, most=366, required=True),
        Field("boots_without_contact", "number", "0", least=0, most=terms.MOST_BOOTS, required=True),
        Field("at_end", "select", EndBehaviour.CLOSE, tuple(EndBehaviour)),
        Field("renewal_basis", "select", RenewalBasis.EXPIRY, tuple(RenewalBasis)),
        Field("version_floor", value="0", required=True),
        Field("partitions"),
        Field("domains"),
        Field("features"),
        Field("allow_test_images", "tick"),
        Field("note"),
    ]


def license_of(form: Form, *, now: int) -> License:
    """The licence that a form describes.

    Raises:
        FormatError, UsageError: it cannot be meant.
    """
    return new_license(
        product=form.name("product"),
        seats=form.number("seats", 1, MOST_SEATS),
        days=form.number("days", 1, terms.MOST_DAYS),
        tiers=form.choices("tiers", Tier),
        lease_days=form.number("lease_days", 1, 366),
        powered_on_hours=form.number_or_none("powered_on_hours", 1, _HOURS),
        starts_at=form.day_or_none("starts_on"),
        grace_days=form.number("grace_days", 0, terms.MOST_DAYS),
        overage=form.choice("overage", Overage),
        at_end=form.choice("at_end", EndBehaviour),
        renewal_basis=form.choice("renewal_basis", RenewalBasis),
        boots_without_contact=form.number("boots_without_contact", 0, terms.MOST_BOOTS),
        partitions=form.names("partitions"),
        domains=form.names("domains"),
        features=form.names("features"),
        version_floor=form.version("version_floor"),
        allow_test_images=form.is_ticked("allow_test_images"),
        note=form.text("note"),
        now=now,
    )


def _renew(task: Task) -> Outcome:
    operations.renew_license(
        task.store, task.actor, task.subject,
        days=task.form.number("days", 1, terms.MOST_DAYS),
        powered_on_hours=task.form.number_or_none("powered_on_hours", 1, _HOURS), now=task.now,
    )  # fmt: skip
    return Outcome()


def _change(task: Task) -> Outcome:
    form = task.form
    with task.store.read() as transaction:
        before = operations.known_license(transaction, task.subject)
    wanted = {
        "seats": form.number("seats", 1, terms.MOST_SEATS),
        "overage": form.choice("overage", Overage),
        "grace_s": form.number("grace_days", 0, terms.MOST_DAYS) * DAY_S,
        "tiers": joined(form.choices("tiers", Tier)),
        "at_end": form.choice("at_end", EndBehaviour),
        "renewal_basis": form.choice("renewal_basis", RenewalBasis),
        "boots_without_contact": form.number("boots_without_contact", 0, terms.MOST_BOOTS),
        "partitions": joined(form.names("partitions")),
        "domains": joined(form.names("domains")),
        "features": joined(form.names("features")),
        "allow_test_images": form.is_ticked("allow_test_images"),
        "note": form.text("note"),
    }
    # A field in days shows and changes whole ones only; what nobody touched stays as it is to the second.
    if form.number("grace_days", 0, terms.MOST_DAYS) == before.grace_s // DAY_S:
        wanted.pop("grace_s")
    changes = {name: value for name, value in wanted.items() if getattr(before, name) != value}
    operations.change_terms(task.store, task.actor, task.subject, TermChanges(**changes), now=task.now)  # type: ignore[arg-type]
    return Outcome()


def _change_fields(_transaction: Transaction, license_: License) -> Sequence[Field]:
    return [
        Field("seats", "number", str(license_.seats), least=1, most=terms.MOST_SEATS, required=True),
        Field("overage", "select", license_.overage, tuple(Overage)),
        Field("grace_days", "number", str(license_.grace_s // DAY_S), least=0, most=terms.MOST_DAYS, required=True),
        Field("tiers", "choices", license_.tiers, tuple(Tier), required=True),
        Field("at_end", "select", license_.at_end, tuple(EndBehaviour)),
        Field("renewal_basis", "select", license_.renewal_basis, tuple(RenewalBasis)),
        Field("boots_without_contact", "number", str(license_.boots_without_contact), least=0, most=terms.MOST_BOOTS,
              required=True),
        Field("partitions", value=license_.partitions),
        Field("domains", value=license_.domains),
        Field("features", value=license_.features),
        Field("allow_test_images", "tick", "yes" if license_.allow_test_images else ""),
        Field("note", value=license_.note),
    ]  # fmt: skip


def _set_floor(task: Task) -> Outcome:
    operations.set_version_floor(
        task.store, task.actor, task.subject, task.form.version("version"),
        lower=task.form.is_ticked("lower"), now=task.now,
    )  # fmt: skip
    return Outcome()


def _add_code(task: Task) -> Outcome:
    return Outcome([operations.add_activation_code(task.store, task.actor, task.subject, now=task.now)])


def _suspend(task: Task) -> Outcome:
    operations.suspend_license(task.store, task.actor, task.subject, now=task.now)
    return Outcome()


def _reinstate(task: Task) -> Outcome:
    operations.reinstate_license(task.store, task.actor, task.subject, now=task.now)
    return Outcome()


def _revoke(task: Task) -> Outcome:
    operations.revoke_license(task.store, task.actor, task.subject, now=task.now)
    return Outcome()


def _find(transaction: Transaction, visit: Visit, license_id: str) -> License:
    return require_license(transaction, visit.known.principal, license_id)


def _renew_fields(_transaction: Transaction, _license: License) -> Sequence[Field]:
    return [
        Field("days", "number", "365", least=1, most=terms.MOST_DAYS, required=True),
        Field("powered_on_hours", "number", least=1, most=_HOURS),
    ]


def _floor_fields(_transaction: Transaction, license_: License) -> Sequence[Field]:
    return [Field("version", value=license_.version_floor, required=True), Field("lower", "tick")]


def _is_lasting(license_: License) -> bool:
    return license_.status is not LicenseStatus.REVOKED


def _is_active(license_: License) -> bool:
    return license_.status is LicenseStatus.ACTIVE


def _is_suspended(license_: License) -> bool:
    return license_.status is LicenseStatus.SUSPENDED


LICENSES = Subject(
    "license",
    "/licenses",
    Permission.LICENSES_CHANGE,
    _find,
    (
        OperationForm("renew", _renew, _renew_fields, _is_lasting, permission=Permission.LICENSES_TERMS),
        OperationForm("change-terms", _change, _change_fields, _is_lasting, permission=Permission.LICENSES_TERMS),
        OperationForm("set-floor", _set_floor, _floor_fields, _is_lasting, permission=Permission.LICENSES_TERMS),
        OperationForm("add-code", _add_code, offered=_is_lasting, draws_codes=True),
        OperationForm("suspend", _suspend, offered=_is_active),
        OperationForm("reinstate", _reinstate, offered=_is_suspended),
        OperationForm("revoke", _revoke, offered=_is_lasting, is_grave=True),
    ),
)
"""In the order in which they are offered."""
