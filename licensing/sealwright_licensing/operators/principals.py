"""Who acts: a person or program that has proved who it is, with a role."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sealwright_licensing.actors import Actor, ActorKind
from sealwright_licensing.operators.errors import forbidden
from sealwright_licensing.operators.roles import GRANTED, PER_LICENSE, Permission, Role


class PrincipalKind(StrEnum):
    """How somebody has proved who he is."""

    TOKEN = "token"  # noqa: S105
    OIDC = "oidc"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acts, and as what."""

    name: str
    role: Role
    kind: PrincipalKind
    token_id: str = ""
    """Of an API token, with which he came or began his session."""
    licenses: frozenset[str] | None = None
    """Licences that he is bound to; None: all, and all that belongs to none."""

    @property
    def actor(self) -> Actor:
        """Who the journal names for what he does with the API."""
        return Actor(ActorKind.TOKEN, self.name)

    def may(self, permission: Permission) -> bool:
        """Whether the table grants it."""
        granted = permission in GRANTED.get(self.role, frozenset())
        return granted and (self.licenses is None or permission in PER_LICENSE)

    def require(self, permission: Permission) -> None:
        """Refuse what the table does not grant.

        Raises:
            OperatorError: FORBIDDEN.
        """
        if not self.may(permission):
            bound = ", bound to licences," if self.licenses is not None else ""
            raise forbidden(f"{self.name}, as {self.role}{bound} may not do this: it takes {permission}.")

    def sees(self, license_id: str) -> bool:
        """Whether a licence, or what belongs to it, is his to see. To others it does not exist."""
        return self.licenses is None or license_id in self.licenses
