"""nft takes the box's rules with those of domains, and the kernel does with packets what the domains say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sealwright_image.confinement import POLICIES
from sealwright_image.firewall import firewall_rules
from sealwright_policies.domains.compiler import compile_units
from sealwright_testing.domain_texts import domain_text, verified

pytestmark = pytest.mark.redteam

NAMESPACES = ["unshare", "--user", "--map-root-user", "--net", "--mount"]
PROBE = Path(__file__).with_name("probe_network.py")
RULES = "/usr/share/sealwright/nftables.d"
USERS = ("sealwright-agent", "sealwright-gateway", "systemd-timesync", "systemd-network")
"""Of the box; their numbers do not matter here."""
WORKLOAD = '\n[[member]]\nkind = "workload"\nid = "{0}"\n\n[run]\nworkloads = ["{0}"]\n'
LAB = (
    ("documents.example", 443, "tcp", "192.0.2.16/28"),
    ("192.0.2.40", 514, "udp", None),
    ("2001:db8:20::5", 6514, "tcp", None),
    ("log.example", 514, "udp", "2001:db8:21::/64"),
)
SHOP = (("198.51.100.7", 443, "tcp", None), ("2001:db8:30::7", 514, "udp", None))
DOMAINS = {"the-lab": LAB, "shop": SHOP}
LICENSE_PORT = 443
"""Of the licence service: the agent may reach it on every host, and its rule is no way for others."""

OF_LAB = [
    ("192.0.2.17", 443, "tcp"),
    ("192.0.2.40", 514, "udp"),
    ("2001:db8:20::5", 6514, "tcp"),
    ("2001:db8:21::9", 514, "udp"),
]
OF_SHOP = [("198.51.100.7", 443, "tcp"), ("2001:db8:30::7", 514, "udp")]
OF_NOBODY = [
    # another port
    ("192.0.2.17", 80, "tcp"),
    ("192.0.2.17", 6514, "tcp"),
    ("192.0.2.40", 515, "udp"),
    ("2001:db8:20::5", 443, "tcp"),
    ("2001:db8:21::9", 515, "udp"),
    ("198.51.100.7", 8443, "tcp"),
    # another protocol
    ("192.0.2.17", 443, "udp"),
    ("192.0.2.40", 514, "tcp"),
    ("2001:db8:20::5", 6514, "udp"),
    # another address
    ("192.0.2.32", 443, "tcp"),
    ("192.0.2.41", 514, "udp"),
    ("2001:db8:20::6", 6514, "tcp"),
    ("2001:db8:22::9", 514, "udp"),
    # names
    ("203.0.113.1", 53, "udp"),
    ("203.0.113.1", 53, "tcp"),
    ("192.0.2.17", 53, "udp"),
    ("127.0.0.53", 53, "udp"),
    # the box itself
    ("127.0.0.1", 8443, "tcp"),
    ("203.0.113.2", 8443, "tcp"),
    ("::1", 443, "tcp"),
    # echoes of hosts that may be reached
    ("192.0.2.17", 0, "icmp"),
    ("192.0.2.40", 0, "icmp"),
    ("2001:db8:20::5", 0, "icmp"),
]
PLACES = [*OF_LAB, *OF_SHOP, *OF_NOBODY]
CABLE = ("203.0.113.1", "203.0.113.2")
OUTSIDE = sorted({host for host, *_ in PLACES if not host.startswith(("127.", "::1"))} - set(CABLE))


def egress(host: str, port: int, protocol: str, network: str | None) -> str:
    addresses = f'addresses = ["{network}"]\n' if network else ""
    return f'\n[[egress]]\nhost = "{host}"\nport = {port}\nprotocol = "{protocol}"\n{addresses}'


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the box's nft is given, with the folder that it includes."""
    folder = tmp_path_factory.mktemp("nft")
    texts = [
        domain_text(name, more=WORKLOAD.format(f"w-{name}") + "".join(egress(*one) for one in ways))
        for name, ways in DOMAINS.items()
    ]
    for path, content in compile_units(verified(texts)).items():
        if path.startswith(f"{RULES}/"):
            (folder / Path(path).name).write_bytes(content)
    whole = firewall_rules((POLICIES / "firewall.nft").read_text(), f"https://license.example:{LICENSE_PORT}")
    assert whole.count(f'include "{RULES}/*.nft"') == 1
    firewall = folder / "firewall"
    firewall.write_text(whole.replace(RULES, str(folder)))
    return firewall


@pytest.fixture(scope="module")
def passwd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The box's users, by whose names its rules go."""
    path = tmp_path_factory.mktemp("users") / "passwd"
    lines = [f"{name}:x:{900 + number}:900::/:/bin/false\n" for number, name in enumerate(USERS)]
    path.write_text("".join(["root:x:0:0::/:/bin/false\n", *lines]))
    return path


def check(rules: Path, passwd: Path) -> subprocess.CompletedProcess[str]:
    script = 'mount --bind "$1" /etc/passwd && nft --check --file "$2"'
    line = [*NAMESPACES, "sh", "-c", script, "sh", str(passwd), str(rules)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_nft_takes_the_rules(rules: Path, passwd: Path) -> None:
    done = check(rules, passwd)
    assert (done.returncode, done.stderr) == (0, "")


def test_nft_takes_the_rules_of_an_image_in_which_nothing_has_egress(rules: Path, passwd: Path, tmp_path: Path) -> None:
    alone = tmp_path / "firewall"
    alone.write_text(rules.read_text().replace(str(rules.parent), str(tmp_path / "nftables.d")))
    done = check(alone, passwd)
    assert (done.returncode, done.stderr) == (0, "")


def test_nft_refuses_what_is_none(rules: Path, passwd: Path, tmp_path: Path) -> None:
    """Else the judge above would accept anything, or would not see what is included."""
    for name in ("the-lab.nft", "shop.nft"):
        (tmp_path / name).write_text((rules.parent / name).read_text().replace(". 443", ". 99999"))
    broken = tmp_path / "firewall"
    broken.write_text(rules.read_text().replace(str(rules.parent), str(tmp_path)))
    assert check(broken, passwd).returncode != 0


@pytest.fixture(scope="module")
def found(rules: Path, passwd: Path) -> dict[str, Any]:
    """What was reached, in each state."""
    asked = {
        "rules": str(rules),
        "passwd": str(passwd),
        "places": PLACES,
        "outside": [*OUTSIDE, CABLE[0]],
        "sets": ["u_the_lab", "u_shop"],
    }
    line = [*NAMESPACES, sys.executable, str(PROBE)]
    done = subprocess.run(line, input=json.dumps(asked) + "\n", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def reached(tried: list[bool]) -> list[tuple[str, int, str]]:
    return [place for place, was_reached in zip(PLACES, tried, strict=True) if was_reached]


def test_without_the_rules_every_place_is_reached(found: dict[str, Any]) -> None:
    """The control: before they are loaded, and once they are gone."""
    assert reached(found["control"]) == reached(found["again"]) == PLACES


def test_a_user_of_no_domain_reaches_none(found: dict[str, Any]) -> None:
    assert reached(found["nobody"]) == []


@pytest.mark.parametrize(("users", "expected"), [("u_the_lab", OF_LAB), ("u_shop", OF_SHOP)])
def test_a_workload_s_user_reaches_what_its_domain_names_and_nothing_else(
    found: dict[str, Any], users: str, expected: list[tuple[str, int, str]]
) -> None:
    """Answers come back; another domain's host does not."""
    assert reached(found[users]) == expected


def test_nobody_outside_reaches_what_a_workload_listens_on(found: dict[str, Any]) -> None:
    """By TCP and UDP, over IPv4 and IPv6; without the rules somebody does."""
    control, *filtered = found["knocks"]
    assert control == [True] * 4
    assert filtered == [[False] * 4] * 2
