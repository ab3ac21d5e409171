"""What systemd and the packet filter are told of a site's settings (policies/spec/site.md, 3). Pure.

No text of a customer's reaches a file but addresses, names and numbers that :mod:`.settings` has taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sealwright_appliance.site.settings import Network, Proxy, SiteSettings, as_address

FALLBACK_ADDRESS = "169.254.83.87"
"""Of a box with fixed addresses, besides them: reached from the next socket, whatever was set (RFC 3927)."""
NETWORK_FILE = "network/70-site.network"
DHCP_FILE = "network/80-dhcp.network.d/20-site.conf"
TIME_FILE = "timesyncd.conf.d/20-site.conf"
FILES = (NETWORK_FILE, DHCP_FILE, TIME_FILE)
"""Under /run/systemd."""


def site_files(settings: SiteSettings) -> Mapping[str, str]:
    """Files by their paths under /run/systemd; one that is not named is not to be there."""
    files: dict[str, str] = {}
    if settings.network is not None:
        files[NETWORK_FILE] = _network(settings.network, own_time=bool(settings.time))
    if settings.time:
        files[DHCP_FILE] = "[DHCPv4]\nUseNTP=no\n\n[DHCPv6]\nUseNTP=no\n"
        files[TIME_FILE] = f"[Time]\nNTP={' '.join(settings.time)}\n"
    return files


def _network(network: Network, *, own_time: bool) -> str:
    fixed = [one for one in (network.ipv4, network.ipv6) if one is not None]
    dynamic = {(True, False): "ipv6", (False, True): "ipv4"}.get((network.ipv4 is not None, network.ipv6 is not None))
    learnt = [*(["UseDNS=no"] if network.dns else []), *(["UseNTP=no"] if own_time else []), "UseDomains=no"]
    sections = {
        "Match": ["Type=ether", *([f"Name={network.interface}"] if network.interface else [])],
        "Network": [
            f"DHCP={dynamic or 'no'}",
            "LLMNR=no",
            "MulticastDNS=no",
            "LinkLocalAddressing=yes",
            f"IPv4LLStartAddress={FALLBACK_ADDRESS}",
            *(["IPv6AcceptRA=no"] if network.ipv6 is not None else []),
            *(f"Address={one.address}" for one in fixed),
            *(f"Gateway={one.gateway}" for one in fixed if one.gateway is not None),
            *(f"DNS={one}" for one in network.dns),
        ],
        "DHCPv4": ["ClientIdentifier=mac", *learnt],
        "DHCPv6": ["DUIDType=link-layer", *learnt],
        "IPv6AcceptRA": [*(["UseDNS=no"] if network.dns else []), "UseDomains=no"],
    }
    return "\n".join(_section(name, lines) for name, lines in sections.items())


def _section(name: str, lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in (f"[{name}]", *lines))


def filter_rules(proxy: Proxy | None) -> str:
    """The chain ``site`` of the packet filter, whole: where the agent may connect besides the licence service's port.

    A proxy that has a name is let through by its port, as the licence service is: its address may change.
    """
    rules = ["flush chain inet sealwright site"]
    if proxy is not None:
        address = as_address(proxy.host)
        family = {4: "ip", 6: "ip6"}[address.version] if address is not None else ""
        to = f"{family} daddr {address} " if address is not None else ""
        rules.append(f"add rule inet sealwright site meta skuid sealwright-agent {to}tcp dport {proxy.port} accept")
    return "\n".join(rules) + "\n"
