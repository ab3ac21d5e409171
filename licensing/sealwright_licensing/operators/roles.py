"""What each role may do (policies/spec/operator-api.md, 3). What the table does not grant is denied."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Role(StrEnum):
    """What a person or program is there for."""

    OPERATOR = "operator"
    AUDITOR = "auditor"
    READ_ONLY = "read-only"


class Permission(StrEnum):
    """One kind of thing that can be done; each route needs exactly one."""

    STATUS_READ = "status:read"
    METRICS_READ = "metrics:read"
    LICENSES_READ = "licenses:read"
    LICENSES_CHANGE = "licenses:change"
    LICENSES_TERMS = "licenses:terms"
    DEVICES_READ = "devices:read"
    DEVICES_CHANGE = "devices:change"
    LEASES_READ = "leases:read"
    RELEASES_READ = "releases:read"
    RELEASES_CHANGE = "releases:change"
    DECISIONS_READ = "decisions:read"
    OPERATIONS_READ = "operations:read"
    METERING_READ = "metering:read"
    ROOTS_READ = "roots:read"
    TOKENS_READ = "tokens:read"
    TOKENS_REVOKE = "tokens:revoke"


P = Permission

_READ_ONLY = frozenset({P.STATUS_READ, P.METRICS_READ, P.LICENSES_READ, P.DEVICES_READ, P.LEASES_READ, P.RELEASES_READ})
_AUDITOR = _READ_ONLY | {P.DECISIONS_READ, P.OPERATIONS_READ, P.METERING_READ, P.ROOTS_READ, P.TOKENS_READ}
_OPERATOR = _AUDITOR | {
    P.LICENSES_CHANGE, P.LICENSES_TERMS, P.DEVICES_CHANGE, P.RELEASES_CHANGE, P.TOKENS_REVOKE,
}  # fmt: skip

GRANTED: Mapping[Role, frozenset[Permission]] = MappingProxyType(
    {Role.READ_ONLY: _READ_ONLY, Role.AUDITOR: _AUDITOR, Role.OPERATOR: _OPERATOR}
)
"""The table. Making a token, trusting a root and importing a release are for the command alone, on the service's host:
a stolen token must not be able to outlive its own revocation."""

PER_LICENSE = frozenset(
    {
        P.LICENSES_READ, P.LICENSES_CHANGE, P.DEVICES_READ, P.DEVICES_CHANGE, P.LEASES_READ, P.DECISIONS_READ,
        P.METERING_READ,
    }
)  # fmt: skip
"""What a credential that is bound to licences may do at all, within them. It sets no terms: a licence that allows test
images or software TPMs would be a way to the models."""
