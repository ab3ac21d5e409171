"""The real packet filter with a proxy set: the agent's user reaches that host at that port, and nothing else new."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sealwright_appliance.site.settings import Proxy
from sealwright_appliance.site.units import filter_rules
from sealwright_image.confinement import POLICIES
from sealwright_image.firewall import firewall_rules

NAMESPACES = ["unshare", "--user", "--map-root-user", "--net", "--mount"]
PLACES = [("192.0.2.8", 3128), ("192.0.2.8", 3129), ("192.0.2.9", 3128), ("2001:db8::8", 3128), ("192.0.2.9", 4443)]
"""The last is the licence service's port."""
TRY = """
import json, select, socket, subprocess, sys
places, passwd, base, steps = json.loads(sys.stdin.read())
subprocess.run(["mount", "--bind", passwd, "/etc/passwd"], check=True)
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
for host in sorted({host for host, _ in places}):
    subprocess.run(["ip", "address", "add", host, "dev", "lo", *(["nodad"] if ":" in host else [])], check=True)
listening = [socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
             for host, port in places]
def refused():
    listed = json.loads(subprocess.run(["nft", "--json", "list", "ruleset"], capture_output=True, check=True).stdout)
    rules = [{key: value for part in one["rule"]["expr"] for key, value in part.items()}
             for one in listed["nftables"] if "rule" in one]
    return sum(rule["counter"]["packets"] for rule in rules if "reject" in rule)
def reached(place):
    before = refused()
    with socket.socket(socket.AF_INET6 if ":" in place[0] else socket.AF_INET) as one:
        one.setblocking(False)
        one.connect_ex(tuple(place))
        while True:  # until one of the two has happened
            if select.select([], [one], [], 0.1)[1]:
                return one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
            if refused() > before:
                return False
found = [[reached(one) for one in places]]
subprocess.run(["nft", "--file", base], check=True)
subprocess.run(["nft", "insert rule inet sealwright input iif lo accept"], check=True)
for step in steps:
    subprocess.run(["nft", "--file", "-"], input=step, text=True, check=True)
    found.append([reached(one) for one in places])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nft")
    whole = firewall_rules((POLICIES / "firewall.nft").read_text(), "https://license.example:4443")
    (folder / "firewall").write_text(whole.replace("/usr/share/sealwright/nftables.d", str(folder)))
    return folder / "firewall"


def tried(base: Path, proxies: list[Proxy | None], *, agent: int) -> list[list[tuple[str, int]]]:
    """What user 0 reaches without rules, and with each proxy set in turn."""
    users = {"root": 0 if agent else 1, "sealwright-agent": agent, "sealwright-gateway": 902}
    users |= {"systemd-timesync": 903, "systemd-network": 904}
    passwd = base.with_name(f"passwd-{agent}")
    passwd.write_text("".join(f"{name}:x:{number}:900::/:/bin/false\n" for name, number in users.items()))
    asked = [PLACES, str(passwd), str(base), [filter_rules(one) for one in proxies]]
    line = [*NAMESPACES, sys.executable, "-c", TRY]
    done = subprocess.run(line, input=json.dumps(asked), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [[place for place, was in zip(PLACES, one, strict=True) if was] for one in json.loads(done.stdout)]


def test_the_agent_reaches_the_proxy_that_is_set_and_no_other(base: Path) -> None:
    """By address, over IPv4 and IPv6; by name at its port. One that is not set any more is reached no more."""
    proxies = [None, *(Proxy(host=host, port=3128) for host in ("192.0.2.8", "2001:db8::8", "proxy.example")), None]
    control, *found = tried(base, proxies, agent=0)
    service = ("192.0.2.9", 4443)
    at_port = [(host, 3128) for host in ("192.0.2.8", "192.0.2.9", "2001:db8::8")]
    assert control == PLACES
    assert found == [
        [service],
        [("192.0.2.8", 3128), service],
        [("2001:db8::8", 3128), service],
        [*at_port, service],
        [service],
    ]


def test_nobody_else_does(base: Path) -> None:
    """The gateway's user least of all."""
    assert tried(base, [Proxy(host="192.0.2.8", port=3128)], agent=901)[1:] == [[]]
