"""Operations as forms: each has a page of its own that says what it does to what, and does it when it is sent."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fastapi import APIRouter, Request, Response

from sealwright_licensing.actors import Actor
from sealwright_licensing.console.forms import Form
from sealwright_licensing.console.guard import opens, visit_of
from sealwright_licensing.console.pages import Console, Visit, done
from sealwright_licensing.operators.api.desk import ResourceId
from sealwright_licensing.operators.guards import GuardedStore, RepeatedError, once
from sealwright_licensing.operators.roles import Permission
from sealwright_licensing.store import Store, Transaction
from sealwright_policies.errors import FormatError, SealwrightError

CONFIRM, ONCE = "confirm", "once"
_KEY = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Field:
    """An input. Its label and, where there is one, its hint stand in the catalogue under its name."""

    name: str
    kind: Literal["text", "number", "tick", "select", "choices", "day", "hidden"] = "text"
    value: str = ""
    options: Sequence[str] = ()
    """Values; their words stand in the catalogue under ``<field>.<value>``."""
    least: int | None = None
    most: int | None = None
    required: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an operation has come to."""

    codes: Sequence[str] = ()
    """Activation codes, shown once and stored nowhere."""


@dataclass(frozen=True, slots=True)
class Task:
    """An operation that is to be performed."""

    store: Store
    actor: Actor
    subject: str
    form: Form
    now: int


@dataclass(frozen=True, slots=True)
class OperationForm:
    """An operation on one kind of thing."""

    name: str
    """E.g. "suspend"; in addresses and, behind the kind, in the catalogue."""
    perform: Callable[[Task], Outcome]
    fields: Callable[[Transaction, Any], Sequence[Field]] = field(default=lambda _transaction, _record: ())
    offered: Callable[[Any], bool] = field(default=lambda _record: True)
    """Whether the state of a record leaves anything to do."""
    details: Callable[[Transaction, Any], Mapping[str, object]] = field(default=lambda _transaction, _record: {})
    """What is shown beside the form, by the name of the template's part that shows it."""
    draws_codes: bool = False
    """It answers with activation codes, which nobody can be shown again."""
    is_grave: bool = False
    """It cannot be taken back, so a box must be ticked."""
    permission: Permission | None = None
    """Where it takes another one than its subject's."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What operations are performed on: one kind of record."""

    kind: str
    """"license", "device", "release"."""
    path: str
    """E.g. "/licenses"."""
    permission: Permission
    """For its operations."""
    find: Callable[[Transaction, Visit, str], Any]
    """The record that somebody may see; raises otherwise."""
    operations: Sequence[OperationForm]

    def offered(self, visit: Visit, record: Any) -> list[OperationForm]:
        """What can be done to a record by this visitor."""
        return [one for one in self.operations if visit.may(self.needed(one)) and one.offered(record)]

    def needed(self, operation: OperationForm) -> Permission:
        """The permission that an operation takes."""
        return operation.permission or self.permission


def router(console: Console, subjects: Sequence[Subject]) -> APIRouter:
    """The pages of all operations."""
    routes = APIRouter()
    for subject in subjects:
        for operation in subject.operations:
            _add(routes, console, subject, operation)
    return routes


def _add(routes: APIRouter, console: Console, subject: Subject, operation: OperationForm) -> None:
    path = f"{subject.path}/{{subject_id}}/{operation.name}"

    @routes.get(path, name=f"{subject.kind}-{operation.name}", **opens(subject.needed(operation)))
    def form(request: Request, subject_id: ResourceId) -> Response:
        return _form_page(console, visit_of(request), subject, operation, subject_id)

    @routes.post(path, name=f"{subject.kind}-{operation.name}-done", **opens(subject.needed(operation)))
    def perform(request: Request, subject_id: ResourceId) -> Response:
        visit, store = visit_of(request), console.desk.store
        with store.read() as transaction:
            subject.find(transaction, visit, subject_id)
        target = f"{subject.path}/{subject_id}"
        try:
            if operation.is_grave and not visit.form.is_ticked(CONFIRM):
                raise FormatError(visit.say("confirm.missing"))
            once_only = sent_once(store, visit, subject_id)
            outcome = operation.perform(Task(once_only, visit.known.actor, subject_id, visit.form, visit.now))
        except RepeatedError:
            return done(target, "repeated-codes" if operation.draws_codes else "repeated")
        except SealwrightError as error:
            return _form_page(console, visit, subject, operation, subject_id, error=error)
        if outcome.codes:
            return console.page(visit, "codes.html", codes=outcome.codes, target=target, subject_id=subject_id)
        return done(target, f"{subject.kind}.{operation.name}")


def new_key() -> str:
    """What a form carries so that it is done once, however often it is sent."""
    return secrets.token_hex(16)


def sent_once(store: Store, visit: Visit, resource: str) -> Store:
    """A store in which the form of this visit changes something once; ``resource`` is what.

    Raises:
        FormatError: the form is none of ours.
    """
    key = visit.form.text(ONCE)
    if not _KEY.fullmatch(key):
        raise FormatError(f"{ONCE}: the form is not whole; load the page again.")
    request = f"{visit.request.url.path}\n{json.dumps(sorted(visit.form.as_sent().items()))}"
    asker = f"session:{visit.known.session_hash}"
    return GuardedStore(store, (once(asker, key, request.encode("utf-8", "replace"), resource, now=visit.now),))


def _form_page(
    console: Console,
    visit: Visit,
    subject: Subject,
    operation: OperationForm,
    subject_id: str,
    *,
    error: SealwrightError | None = None,
) -> Response:
    with console.desk.store.read() as transaction:
        record = subject.find(transaction, visit, subject_id)
        fields = operation.fields(transaction, record)
        details = operation.details(transaction, record)
    problem = console.problem_of(error) if error is not None else None
    return console.page(
        visit,
        "operation.html",
        status=problem.status if problem else 200,
        key=f"{subject.kind}.{operation.name}",
        target=f"{subject.path}/{subject_id}",
        subject=subject,
        subject_id=subject_id,
        record=record,
        fields=fields,
        details=details,
        once=new_key(),
        sent=visit.form.as_sent(),
        grave=operation.is_grave,
        problem=problem,
    )
