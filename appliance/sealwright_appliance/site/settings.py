"""What a customer sets of the place where the box stands: addresses, proxy, time servers (policies/spec/site.md). Pure.

Everything here ends in files of systemd's and in rules of the packet filter, so only what is canonical is taken.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, ValidationError, model_validator

from sealwright_appliance.site.errors import SiteError
from sealwright_policies.wire.encoding import Document

SITE_LIMIT = 4096
SERVERS_MOST = 4
NAME_LENGTH_MOST = 253
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NUMBERS = re.compile(r"[0-9.]+")


def as_address(text: str) -> IPv4Address | IPv6Address | None:
    """The address that a text is."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def _address(text: str) -> str:
    found = as_address(text)
    if found is None or str(found) != text or not _is_hosts(found):
        raise ValueError("no address of a host, or not in its shortest spelling")
    return text


def _host(text: str) -> str:
    if as_address(text) is not None:
        return _address(text)
    if len(text) > NAME_LENGTH_MOST or not _NAME.fullmatch(text) or _NUMBERS.fullmatch(text):
        raise ValueError("neither an address nor a name of lower-case letters, digits, dashes and dots")
    return text


def _is_hosts(found: IPv4Address | IPv6Address) -> bool:
    scoped = isinstance(found, IPv6Address) and found.scope_id is not None
    return not (scoped or found.is_unspecified or found.is_loopback or found.is_multicast or found.is_link_local)


def _interface4(text: str) -> str:
    try:
        found = IPv4Interface(text)
    except ValueError:
        raise ValueError("no IPv4 address with a prefix, such as 192.0.2.5/24") from None
    ends = (found.network.network_address, found.network.broadcast_address) if found.network.prefixlen < 31 else ()
    if str(found) != text or not _is_hosts(found.ip) or found.ip in ends:
        raise ValueError("no address of a host with its prefix")
    return text


def _interface6(text: str) -> str:
    try:
        found = IPv6Interface(text)
    except ValueError:
        raise ValueError("no IPv6 address with a prefix, such as 2001:db8::5/64") from None
    if "%" in text or str(found) != text or not _is_hosts(found.ip):
        raise ValueError("no address of a host with its prefix, or not in its shortest spelling")
    return text


ShortText = Annotated[str, StringConstraints(max_length=64)]
Address = Annotated[ShortText, AfterValidator(_address)]
Host = Annotated[str, StringConstraints(max_length=NAME_LENGTH_MOST), AfterValidator(_host)]


class Addresses4(Document):
    """IPv4 of the box."""

    address: Annotated[ShortText, AfterValidator(_interface4)]
    """With its prefix."""
    gateway: Address | None

    @model_validator(mode="after")
    def _gateway_is_near(self) -> Self:
        own = IPv4Interface(self.address)
        if self.gateway is not None:
            gateway = as_address(self.gateway)
            if gateway not in own.network or gateway == own.ip:
                raise ValueError("the gateway is not another host of the network")
        return self


class Addresses6(Document):
    """IPv6 of the box."""

    address: Annotated[ShortText, AfterValidator(_interface6)]
    gateway: ShortText | None

    @model_validator(mode="after")
    def _gateway_is_near(self) -> Self:
        own = IPv6Interface(self.address)
        if self.gateway is not None:
            gateway = as_address(self.gateway)
            near = isinstance(gateway, IPv6Address) and (gateway in own.network or gateway.is_link_local)
            if not near or str(gateway) != self.gateway or gateway == own.ip or "%" in self.gateway:
                raise ValueError("the gateway is not another host of the network")
        return self


class Network(Document):
    """Fixed addresses of one Ethernet port; a family without any stays with DHCP and router advertisements."""

    interface: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]{0,14}$")] | None
    """None: the only one that there is."""
    ipv4: Addresses4 | None
    ipv6: Addresses6 | None
    dns: Annotated[list[Address], Field(max_length=SERVERS_MOST)]
    """None of them: those of DHCP."""

    @model_validator(mode="after")
    def _is_fixed(self) -> Self:
        if self.ipv4 is None and self.ipv6 is None:
            raise ValueError("neither an IPv4 nor an IPv6 address")
        return self


class Proxy(Document):
    """By which the licence service is reached (CONNECT)."""

    host: Host
    port: Annotated[int, Field(ge=1, le=65535)]


class SiteSettings(Document):
    """``site.json``, and ``site-trial.json`` while a network is tried."""

    version: Annotated[int, Field(ge=1, le=1)]
    network: Network | None
    """None: DHCP and router advertisements."""
    proxy: Proxy | None
    time: Annotated[list[Host], Field(max_length=SERVERS_MOST)]
    """NTP servers; none: those of DHCP."""


NOTHING_SET = SiteSettings(version=1, network=None, proxy=None, time=[])


def parse_settings(value: object) -> SiteSettings:
    """What somebody wants set.

    Raises:
        SiteError: 400, with a code for the part that is wrong.
    """
    try:
        return SiteSettings.model_validate(value)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = [str(part) for part in problem["loc"]]
        part = where[0] if where and where[0] in ("network", "proxy", "time") else "settings"
        raise SiteError(400, f"SITE_{part.upper()}", f"{'.'.join(where) or 'settings'}: {problem['msg']}.") from None
