"""What may be set of a site, and what systemd and the packet filter are told of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwright_appliance.paths import Paths
from sealwright_appliance.site.apply import apply_site
from sealwright_appliance.site.errors import SiteError
from sealwright_appliance.site.settings import NOTHING_SET, Proxy, SiteSettings, parse_settings
from sealwright_appliance.site.site import is_of
from sealwright_appliance.site.store import SiteStore
from sealwright_appliance.site.units import DHCP_FILE, FALLBACK_ADDRESS, FILES, NETWORK_FILE, TIME_FILE, filter_rules
from sealwright_appliance.site.units import site_files as files_of
from sealwright_testing.sites import fixed_network, site_settings

LINE = re.compile(r"\[[A-Za-z0-9]+\]|[A-Za-z0-9]+=[a-z0-9.:/ -]+|")


def refused(code: str, **changes: Any) -> None:
    with pytest.raises(SiteError) as caught:
        parse_settings(site_settings(**changes))
    assert (caught.value.status, caught.value.code) == (400, code)


@pytest.mark.parametrize(
    "address",
    [
        *("192.0.2.5", "192.0.2.0/24", "192.0.2.255/24", "192.0.2.05/24", "127.0.0.1/8", "169.254.1.1/16", "0.0.0.0/0"),
        *("224.0.0.5/24", "192.0.2.5/24\nDHCP=yes", "192.0.2.5/24 ", "192.0.2.5/255.255.255.0", "::1/64", "", "x" * 99),
    ],
)
def test_an_ipv4_address_is_a_hosts_with_its_prefix(address: str) -> None:
    refused("SITE_NETWORK", network=fixed_network(ipv4={"address": address, "gateway": None}))


@pytest.mark.parametrize(
    "address", ["2001:DB8::5/64", "fe80::5/64", "::1/64", "::/64", "ff02::1/64", "2001:db8::5%e/64"]
)
def test_an_ipv6_address_is_a_hosts_in_its_shortest_spelling(address: str) -> None:
    refused("SITE_NETWORK", network=fixed_network(ipv6={"address": address, "gateway": None}))


@pytest.mark.parametrize("gateway", ["192.0.3.1", "192.0.2.5", "fe80::1", "gateway.example", "192.0.2.1 192.0.2.2"])
def test_a_gateway_is_another_host_of_the_network(gateway: str) -> None:
    refused("SITE_NETWORK", network=fixed_network(ipv4={"address": "192.0.2.5/24", "gateway": gateway}))


@pytest.mark.parametrize("gateway", ["2001:db8:1::1", "2001:db8::5", "fe80::1%eth0", "FE80::1", "192.0.2.1"])
def test_an_ipv6_gateway_may_be_link_local(gateway: str) -> None:
    assert parse_settings(site_settings()).network is not None
    refused("SITE_NETWORK", network=fixed_network(ipv6={"address": "2001:db8::5/64", "gateway": gateway}))


@pytest.mark.parametrize(
    "changes",
    [
        {"dns": ["dns.example"]},
        {"dns": ["192.0.2.1"] * 5},
        {"interface": "en p"},
        {"interface": "*"},
        {"interface": ""},
        {"ipv4": None, "ipv6": None},
        {"more": 1},
    ],
    ids=str,
)
def test_a_network_that_cannot_be(changes: dict[str, Any]) -> None:
    refused("SITE_NETWORK", network=fixed_network(**changes))


@pytest.mark.parametrize(
    "host",
    [
        "",
        "-a",
        "a-",
        "a..b",
        "A.example",
        "proxy.example:1",
        "1.2.3",
        "0x7f.1 x",
        "[::1]",
        "localhost\n",
        "ä.example",
        "127.0.0.1",
        "a" * 64,
    ],
    ids=repr,
)
def test_a_host_is_an_address_or_a_name(host: str) -> None:
    refused("SITE_PROXY", proxy={"host": host, "port": 3128})
    refused("SITE_TIME", time=[host])


def test_the_rest_is_bounded_too() -> None:
    refused("SITE_PROXY", proxy={"host": "proxy.example", "port": 0})
    refused("SITE_PROXY", proxy={"host": "proxy.example", "port": 3128, "password": "x"})
    refused("SITE_TIME", time=["ntp.example"] * 5)
    refused("SITE_SETTINGS", version=2)
    refused("SITE_SETTINGS", more=1)


def test_systemd_is_told_of_fixed_addresses() -> None:
    files = files_of(parse_settings(site_settings()))
    assert set(files) == set(FILES)
    network = files[NETWORK_FILE].splitlines()
    assert {"DHCP=no", "IPv6AcceptRA=no", "Name=enp1s0", "Address=192.0.2.5/24", "Gateway=fe80::1"} <= set(network)
    assert {f"IPv4LLStartAddress={FALLBACK_ADDRESS}", "LinkLocalAddressing=yes", "DNS=192.0.2.53"} <= set(network)
    assert files[TIME_FILE] == "[Time]\nNTP=ntp.example 192.0.2.123\n"


def test_a_family_without_addresses_stays_as_it_was() -> None:
    only4 = files_of(parse_settings(site_settings(network=fixed_network(ipv6=None, interface=None))))[NETWORK_FILE]
    assert "DHCP=ipv6\n" in only4
    assert "IPv6AcceptRA=no" not in only4
    assert "Name=" not in only4
    only6 = files_of(parse_settings(site_settings(network=fixed_network(ipv4=None))))[NETWORK_FILE]
    assert "DHCP=ipv4\n" in only6


def test_nothing_set_is_nothing_said() -> None:
    assert files_of(NOTHING_SET) == {}
    assert filter_rules(None) == "flush chain inet sealwright site\n"
    assert set(files_of(parse_settings(site_settings(network=None)))) == {DHCP_FILE, TIME_FILE}


@pytest.mark.parametrize(
    ("host", "to"),
    [("192.0.2.8", "ip daddr 192.0.2.8 "), ("2001:db8::8", "ip6 daddr 2001:db8::8 "), ("proxy.example", "")],
)
def test_the_agent_alone_may_reach_the_proxy(host: str, to: str) -> None:
    _, rule = filter_rules(Proxy(host=host, port=3128)).splitlines()
    assert rule == f"add rule inet sealwright site meta skuid sealwright-agent {to}tcp dport 3128 accept"


TEXTS = st.one_of(
    st.text(max_size=80),
    st.from_regex(r"[0-9.:/a-f\n =\[\]%-]{0,40}"),
    st.sampled_from(["192.0.2.5/24", "fe80::1", "ntp.example", "192.0.2.1", "enp1s0"]),
)


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_no_text_reaches_a_file_unparsed(address: str, gateway: str, host: str, interface: str) -> None:
    """Whatever is typed: each line has a name, and a value without a character that means something."""
    network = {"interface": interface, "ipv4": {"address": address, "gateway": gateway}, "ipv6": None, "dns": [gateway]}
    for wanted in (
        site_settings(network=network),
        site_settings(network=fixed_network(ipv6={"address": address, "gateway": gateway})),
        site_settings(network=None, time=[host], proxy={"host": host, "port": 1}),
    ):
        try:
            settings = parse_settings(wanted)
        except SiteError:
            continue
        for content in files_of(settings).values():
            assert all(LINE.fullmatch(line) for line in content.split("\n"))
        assert filter_rules(settings.proxy).count("\n") == 2
        assert re.fullmatch(r"[a-z0-9 .:\n-]+", filter_rules(settings.proxy))


# --- applied ----------------------------------------------------------------------------------------------------------


class Noted:
    """Stands where nft is run."""

    def __init__(self) -> None:
        self.seen: list[Sequence[str]] = []

    def __call__(self, argv: Sequence[str]) -> str:
        self.seen.append(argv)
        return ""


def told(paths: Paths) -> set[str]:
    """Files that systemd finds."""
    return {name for name in FILES if (paths.systemd_run / name).exists()}


def test_what_is_tried_comes_before_what_is_confirmed_and_goes_without_a_trace(tmp_path: Path) -> None:
    paths, nft = Paths(root=tmp_path), Noted()
    paths.systemd_run.mkdir(parents=True)
    store = SiteStore(paths)
    apply_site(paths, nft)
    assert told(paths) == set()
    store.confirm(parse_settings(site_settings(network=None)))
    apply_site(paths, nft)
    assert told(paths) == {DHCP_FILE, TIME_FILE}
    store.try_out(parse_settings(site_settings(time=[], proxy=None)))
    apply_site(paths, nft)
    assert told(paths) == {NETWORK_FILE}
    assert paths.site_filter.read_text() == filter_rules(None)
    store.end_trial()
    apply_site(paths, nft)
    assert told(paths) == {DHCP_FILE, TIME_FILE}
    assert nft.seen == [["nft", "--file", str(paths.site_filter)]] * 4
    assert (paths.systemd_run / TIME_FILE).stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("content", [b"", b"{", b'{"version":1}', b"x" * 5000])
def test_settings_that_cannot_be_read_are_none(tmp_path: Path, content: bytes) -> None:
    """The box is reached by DHCP then, and not at all otherwise."""
    paths = Paths(root=tmp_path)
    paths.systemd_run.mkdir(parents=True)
    paths.site.parent.mkdir(parents=True)
    paths.site.write_bytes(content)
    apply_site(paths, Noted())
    assert told(paths) == set()


def test_addresses_of_a_network() -> None:
    fixed: SiteSettings = parse_settings(site_settings())
    assert all(is_of(fixed, one) for one in ("192.0.2.5", "::ffff:192.0.2.5", "2001:db8::5"))
    assert not any(is_of(fixed, one) for one in ("192.0.2.6", "127.0.0.1", FALLBACK_ADDRESS, "", "fe80::1"))
    assert is_of(parse_settings(site_settings(network=None)), "192.0.2.6")
