"""How a change is asked for: a body, perhaps If-Match, perhaps an idempotency key; and how it is made."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel

from sealwright_licensing.actors import Actor
from sealwright_licensing.operators.api.desk import Desk, needs, principal_of
from sealwright_licensing.operators.guards import GuardedStore, once, unchanged
from sealwright_licensing.operators.roles import Permission
from sealwright_licensing.store import Store, Transaction
from sealwright_policies.errors import FormatError

D = TypeVar("D", bound=BaseModel)
T = TypeVar("T")

KEY_HEADER = "Idempotency-Key"
_KEY = re.compile(r"[A-Za-z0-9._:-]{8,128}")
_TAG = re.compile(r'\*|"[0-9a-f]{32}"')


@dataclass(frozen=True, slots=True)
class Change:
    """A change that is asked for, with the store in which it may be made."""

    store: Store
    actor: Actor
    now: int


def changes(
    permission: Permission, kind: type[BaseModel], *, tagged: bool = False, keyed: type[BaseModel] | None = None
) -> dict[str, Any]:
    """What a route is declared with that changes something.

    Args:
        kind: of its body.
        tagged: whether it takes If-Match.
        keyed: given where it needs an idempotency key: what a repeated request is answered with.
    """
    headers = [("If-Match", False, r'^(\*|"[0-9a-f]{32}")$', "Entity tag that the resource must still have.")] * tagged
    headers += [
        (KEY_HEADER, True, r"^[A-Za-z0-9._:-]{8,128}$", "Drawn anew for each change; the same again changes nothing.")
    ] * (keyed is not None)
    declared = needs(
        permission, 404, 409, 412,
        requestBody={
            "required": any(field.is_required() for field in kind.model_fields.values()),
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{kind.__name__}"}}},
        },
        parameters=[
            {"name": name, "in": "header", "required": required, "description": said,
             "schema": {"type": "string", "pattern": pattern}}
            for name, required, pattern, said in headers
        ],
    )  # fmt: skip
    if keyed is not None:
        declared["responses"] |= {200: {"model": keyed, "description": "Made before, under the same key."}}
    return declared


async def make_change(
    desk: Desk,
    request: Request,
    kind: type[D],
    make: Callable[[Change, D], T],
    *,
    subject: Callable[[Transaction], str] | None = None,
    resource: str | None = None,
) -> T:
    """Read the body and make the change, in a worker thread.

    Args:
        subject: gives the entity tag of what is changed, and raises if the asker may not see it.
        resource: given where an idempotency key is needed: the id of what is made or changed.

    Raises:
        FormatError: body, tag or key are none.
        RepeatedError: the same was asked for before under this key.
        SealwrightError: as the operation.
    """
    body = await request.body()
    asked = await desk.document(request, kind)
    principal, now = principal_of(request), await desk.run(desk.now)
    checks = []
    if resource is not None:  # first: who repeats himself names the tag that was there before
        asker = f"{principal.kind}:{principal.token_id or principal.name}"
        whole = f"{request.method} {request.url.path}\n".encode() + body
        checks.append(once(asker, _key(request), whole, resource, now=now))
    if subject is not None:
        checks.append(unchanged(subject, _tag(request)))
    change = Change(GuardedStore(desk.store, tuple(checks)), principal.actor, now)
    return await desk.run(lambda: make(change, asked))


def _tag(request: Request) -> str | None:
    tag = request.headers.get("If-Match")
    if tag is not None and not _TAG.fullmatch(tag):
        raise FormatError("If-Match: expected an entity tag of ours, or *.")
    return tag


def _key(request: Request) -> str:
    key = request.headers.get(KEY_HEADER, "")
    if not _KEY.fullmatch(key):
        raise FormatError(f"{KEY_HEADER}: expected 8 to 128 letters, digits and . _ : -, drawn anew for each change.")
    return key
