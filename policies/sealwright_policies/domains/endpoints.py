"""Hosts and ports that a domain may reach (policies/spec/domain.md, 5), and when one is within another."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from sealwright_policies.domains.fields import Table, once
from sealwright_policies.domains.orders import Excess, listed
from sealwright_policies.networks import Network, as_network, require_narrow, subnet_of

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
HOST_NAME = re.compile(rf"({_LABEL}\.)*{_LABEL}")
"""RFC 1123, 2.1, in lower case."""

Host = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[0-9a-z:.-]+$")]


class Transport(StrEnum):
    """IP protocols with ports."""

    TCP = "tcp"
    UDP = "udp"


class Endpoint(Table):
    """One ``[[egress]]``."""

    host: Annotated[Host, Field(description="DNS name in lower case, or IP address")]
    port: Annotated[int, Field(ge=1, le=65535, description="port")]
    protocol: Annotated[Transport, Field(description="`tcp` or `udp`")] = Transport.TCP
    addresses: Annotated[
        tuple[Annotated[str, StringConstraints(max_length=49)], ...],
        once(),
        Field(max_length=16, description="networks of a named host, at most a /24 or a /64 each"),
    ] = ()

    @model_validator(mode="after")
    def _check_addresses(self) -> Endpoint:
        literal = _as_address(self.host)
        if literal is not None and self.addresses:
            raise ValueError("host is an address already: leave addresses away")
        if literal is None and (not HOST_NAME.fullmatch(self.host) or self.host.rpartition(".")[2].isdigit()):
            raise ValueError("host is neither a DNS name in lower case nor an IP address")
        if literal is None and not self.addresses:
            raise ValueError("a named host needs its addresses; nobody resolves names for a domain")
        for network in self.networks:
            require_narrow(network)
        return self

    @property
    def networks(self) -> tuple[Network, ...]:
        """Where it is."""
        return tuple(as_network(one) for one in self.addresses or (self.host,))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}/{self.protocol.value}"

    def same_service(self, other: Endpoint) -> bool:
        """Whether both name the same host, port and protocol."""
        return (self.host, self.port, self.protocol) == (other.host, other.port, other.protocol)

    def is_within(self, other: Endpoint) -> bool:
        """Whether the other permits all of it."""
        return self.same_service(other) and all(
            any(subnet_of(mine, theirs) for theirs in other.networks) for mine in self.networks
        )

    def shared(self, other: Endpoint) -> Endpoint | None:
        """What both permit."""
        if not self.same_service(other):
            return None
        if self.is_within(other):
            return self
        if other.is_within(self):
            return other
        both = {
            min(a, b, key=lambda one: -one.prefixlen) for a in self.networks for b in other.networks if _overlap(a, b)
        }
        texts = tuple(sorted(str(one) for one in both))
        return Endpoint(host=self.host, port=self.port, protocol=self.protocol, addresses=texts) if texts else None


class Reach:
    """The order of ``[[egress]]``."""

    rule = "each within one"

    def beyond(self, value: Sequence[Endpoint], bound: Sequence[Endpoint]) -> tuple[Excess, ...]:
        found = []
        for index, one in enumerate(value):
            if any(one.is_within(other) for other in bound):
                continue
            same = [number for number, other in enumerate(bound) if one.same_service(other)]
            if same:
                networks = (network for number in same for network in bound[number].addresses)
                found.append(Excess(index, f"{one} at {listed(one.addresses)}", f"it at {listed(networks)}", same[0]))
            else:
                found.append(Excess(index, str(one), f"only {listed(map(str, bound))}"))
        return tuple(found)

    def meet(self, one: Sequence[Endpoint], other: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
        shared = (mine.shared(theirs) for mine in one for theirs in other)
        return tuple(each for each in shared if each is not None)


REACH = Reach()


def _as_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _overlap(one: Network, other: Network) -> bool:
    return subnet_of(one, other) or subnet_of(other, one)
