"""nft takes the rules, and the kernel does with packets what the domain says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

NAMESPACES = ["unshare", "--user", "--map-root-user", "--net"]
PROBE = Path(__file__).with_name("probe_network.py")


@pytest.fixture(scope="module")
def rules(compiled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All rules of the box in the order of their names, as nftables.service would load them."""
    files = sorted((compiled / "usr/share/sealwright/nftables.d").iterdir())
    assert files[0].name == "00-base.nft"
    path = tmp_path_factory.mktemp("nft") / "all.nft"
    path.write_text("".join(one.read_text() for one in files))
    return path


def nft(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    line = [*NAMESPACES, "nft", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_nft_takes_the_rules(rules: Path) -> None:
    done = nft("--check", "--file", rules)
    assert (done.returncode, done.stderr) == (0, "")


def test_nft_refuses_what_is_none(rules: Path, tmp_path: Path) -> None:
    """Else the judge above would accept anything."""
    broken = tmp_path / "broken.nft"
    broken.write_text(rules.read_text().replace("192.0.2.16/28 . 443", "192.0.2.16/28 . 99999"))
    assert nft("--check", "--file", broken).returncode != 0


def test_the_kernel_drops_what_the_domain_does_not_name(rules: Path) -> None:
    tries = [
        ("192.0.2.17", 443, "tcp", True),
        ("2001:db8:20::5", 6514, "tcp", True),
        ("192.0.2.17", 80, "tcp", False),
        ("192.0.2.17", 443, "udp", False),
        ("192.0.2.32", 443, "tcp", False),
        ("192.0.2.17", 6514, "tcp", False),
        ("2001:db8:20::6", 6514, "tcp", False),
        ("2001:db8:20::5", 443, "tcp", False),
    ]
    words = [str(word) for host, port, protocol, _ in tries for word in (host, port, protocol)]
    line = [*NAMESPACES, sys.executable, str(PROBE), str(rules), "u_clinic", *words]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["control"] == [True] * len(tries)
    assert found["of another user"] == [False] * len(tries)
    assert found["of the domain"] == [expected for *_, expected in tries]
