"""What must hold in the very transaction that changes something: it is his to see, it is as he saw it, it is new.

An operation opens its own transaction. Here it is given a store whose transactions make these checks first, so that
nothing can come between check and change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from sealwright_licensing.operators.errors import KEY_REUSED, PRECONDITION_FAILED, OperatorError
from sealwright_licensing.operators.records import IdempotencyRecord
from sealwright_licensing.store import Store, Transaction
from sealwright_policies.wire.framing import framed_digest

Check = Callable[[Transaction], None]
KEPT_S = 30 * 86_400
"""How long a change is remembered under its key."""
_KEY_LABEL, _REQUEST_LABEL = "sealwright/v1/idempotency-key", "sealwright/v1/idempotent-request"


class RepeatedError(Exception):
    """The change was made before, under the same key; ``resource`` is what it made or changed."""

    def __init__(self, resource: str) -> None:
        super().__init__(resource)
        self.resource = resource


@dataclass(frozen=True, slots=True)
class GuardedStore:
    """A store whose write transactions begin with checks."""

    inner: Store
    checks: tuple[Check, ...]

    def read(self) -> AbstractContextManager[Transaction]:
        """As ever."""
        return self.inner.read()

    def read_once(self) -> AbstractContextManager[Transaction]:
        """As ever."""
        return self.inner.read_once()

    @contextmanager
    def write(self, *names: str) -> Iterator[Transaction]:
        """A transaction in which all checks have passed."""
        with self.inner.write(*names) as transaction:
            for check in self.checks:
                check(transaction)
            yield transaction


def unchanged(tag_of: Callable[[Transaction], str], wanted: str | None) -> Check:
    """A check that the subject can be seen, and has the entity tag that If-Match names; None: any.

    Raises:
        OperatorError: PRECONDITION_FAILED; and what ``tag_of`` raises.
    """

    def check(transaction: Transaction) -> None:
        tag = tag_of(transaction)
        if wanted not in (None, "*", tag):
            raise OperatorError(412, PRECONDITION_FAILED, "It has changed meanwhile; look at it again.")

    return check


def once(asker: str, key: str, request: bytes, resource: str, *, now: int) -> Check:
    """A check that this was not done before under this key; from then on it was.

    Args:
        request: method, path and body; another request under the same key is refused.

    Raises:
        RepeatedError: it was; the operation makes no second change.
        OperatorError: IDEMPOTENCY_KEY_REUSED.
    """
    record_id = framed_digest(_KEY_LABEL, asker.encode("utf-8"), key.encode("utf-8")).hex()
    request_hash = framed_digest(_REQUEST_LABEL, request).hex()

    def check(transaction: Transaction) -> None:
        known = transaction.get(IdempotencyRecord, record_id)
        if known is not None and known.request_hash != request_hash:
            raise OperatorError(409, KEY_REUSED, "Another request was made under this idempotency key.")
        if known is not None:
            raise RepeatedError(known.resource)
        transaction.delete_below(IdempotencyRecord, "made_at", now - KEPT_S)
        transaction.add(IdempotencyRecord(record_id, request_hash, resource, now))

    return check
