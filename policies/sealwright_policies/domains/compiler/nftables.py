"""Packet filter: what the workloads of a domain may reach; all else is refused (policies/spec/domain.md, 5 and 7).

Text for nft(8), behind the box's own rules (policies/lsm/firewall.nft), whose table and output chain it adds to. Units
add their user to the domain's set by systemd's NFTSet=. Names of domains hold no underscore, so writing one for a
hyphen, which nftables does not take, leaves them apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sealwright_policies.domains.endpoints import Transport
from sealwright_policies.domains.model import Domain
from sealwright_policies.networks import subnet_of

_ADDRESS: Final = {4: "ipv4_addr", 6: "ipv6_addr"}
_MATCH: Final = {4: "ip", 6: "ip6"}


def users_set(domain: str) -> str:
    """Name of the set with the users of a domain's units."""
    return f"u_{_identifier(domain)}"


def rules(domain: Domain) -> str:
    """The domain's sets, its chain, and the way into it, in front of what all users may send."""
    name, users = _identifier(domain.name), users_set(domain.name)
    lines = [
        f"# Compiled from the security domain {domain.name}.",
        "table inet sealwright {",
        f"\tset {users} {{",
        "\t\ttype uid",
        "\t}",
    ]
    matches = []
    for transport in Transport:
        for version in (4, 6):
            elements = list(_elements(domain, transport, version))
            if elements:
                kind = f"{transport.value}{version}"
                lines += [
                    f"\tset {kind}_{name} {{",
                    f"\t\ttype {_ADDRESS[version]} . inet_service",
                    "\t\tflags interval",
                    f"\t\telements = {{ {', '.join(elements)} }}",
                    "\t}",
                ]
                matches.append(f"\t\t{_MATCH[version]} daddr . {transport.value} dport @{kind}_{name} accept")
    lines += [
        f"\tchain egress_{name} {{",
        *matches,
        "\t\tcounter reject with icmpx admin-prohibited",
        "\t}",
        "}",
        f"insert rule inet sealwright output meta skuid @{users} jump egress_{name}",
    ]
    return "\n".join(lines) + "\n"


def _elements(domain: Domain, transport: Transport, version: int) -> Iterator[str]:
    found = {
        (network, one.port)
        for one in domain.egress
        if one.protocol is transport
        for network in one.networks
        if network.version == version
    }
    # Two hosts may share an address; a set of intervals takes each point once.
    for network, port in sorted(found, key=lambda each: (each[1], int(each[0].network_address), each[0].prefixlen)):
        wider = any(
            port == other_port and network != other and subnet_of(network, other) for other, other_port in found
        )
        if not wider:
            single = network.num_addresses == 1
            yield f"{network.network_address if single else network} . {port}"


def _identifier(name: str) -> str:
    return name.replace("-", "_")
