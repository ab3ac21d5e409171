"""The keys of a domain that are compared, found in the model: path, order, value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from pydantic.fields import FieldInfo

from sealwright_policies.domains.fields import Table
from sealwright_policies.domains.model import Domain
from sealwright_policies.domains.orders import Order

MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class Limit:
    """One key that permits or demands something."""

    path: tuple[str, ...]
    """As in the file: ``("api", "logprobs")``."""
    order: Order

    @property
    def key(self) -> str:
        """``api.logprobs``."""
        return ".".join(self.path)

    def value(self, domain: Domain) -> Any:
        """What the domain says."""
        found: Any = domain
        for part in self.path:
            found = getattr(found, part)
        return found


def _order_of(field: FieldInfo) -> Order | None:
    return next((one for one in field.metadata if hasattr(one, "beyond")), None)


def _limits(table: type[Table], path: tuple[str, ...]) -> Iterator[Limit]:
    for name, field in table.model_fields.items():
        order = _order_of(field)
        if order is not None:
            yield Limit((*path, name), order)
        elif isinstance(field.annotation, type) and issubclass(field.annotation, Table):
            yield from _limits(field.annotation, (*path, name))


LIMITS: Final = {limit.key: limit for limit in _limits(Domain, ())}
"""All of them by key, in the order of the model."""

ENFORCERS: Final = {
    "level": ("check",),
    "open": ("image build", "licence service", "agent"),
    "run": ("systemd", "AppArmor", "Landlock", "IPE", "mount options", "agent"),
    "egress": ("systemd", "AppArmor", "Landlock", "nftables"),
    "api": ("gateway",),
    "flow": ("agent",),
    "retention": ("gateway", "agent", "volume service", "journald"),
    "metering": ("agent",),
}
"""What holds a table. Gateway and agent go by the canonical form in the image, the licence service by the manifest."""
