"""How much is trusted in a box, and the ledger that has to say why it grew."""

from __future__ import annotations

import io
import tarfile
from ipaddress import ip_network
from pathlib import Path

import pytest

from sealwright_image.box_modules import box_modules, programs
from sealwright_image.confinement import POLICIES
from sealwright_image.firewall import firewall_rules
from sealwright_image.lists import parse_list
from sealwright_image.mkosi import DEFINITIONS, PROGRAMS
from sealwright_image.os_part import PYTHON_PACKAGES
from sealwright_image.root_tree import RootTree
from sealwright_image.trusted_base import LEDGER, growth, lines, measure, open_ports, parse_ledger
from sealwright_policies.errors import FormatError

FIREWALL = firewall_rules((POLICIES / "firewall.nft").read_text(), "https://license.example")
PROGRAMS_TEXT = "".join(path.read_text() for path in sorted(PROGRAMS.iterdir()))


def tree(tmp_path: Path, files: dict[str, tuple[int, bytes]]) -> RootTree:
    path = tmp_path / "tree.tar"
    with tarfile.open(path, "w") as archive:
        for name, (mode, data) in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size, member.mode = len(data), mode
            archive.addfile(member, io.BytesIO(data))
    return RootTree.load(path)


def test_every_quantity_is_measured(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "usr/bin/a": (0o755, b"12345"),
            "usr/bin/b": (0o4755, b"67"),
            "usr/lib/liba.so.1.2": (0o644, b"123"),
            "usr/lib/sealwright/python/sealwright_x/a.py": (0o644, b"one\n\ntwo\n"),
            "usr/lib/python3/other.py": (0o644, b"one\n"),
            "usr/lib/systemd/system/a.service": (0o644, b""),
            "usr/lib/systemd/system/a.socket": (0o644, b""),
            "etc/systemd/system/b.service": (0o644, b""),
        },
    )
    assert measure(root, FIREWALL, 7, "int main(void)\n{\n}\n") == {
        "executables": 2,
        "executable_bytes": 7,
        "libraries": 1,
        "library_bytes": 3,
        "setuid_files": 1,
        "packages": 7,
        "services": 2,
        "open_ports": 3,
        "own_lines": 5,
    }


def test_open_ports_are_those_that_the_packet_filter_opens() -> None:
    assert open_ports(FIREWALL) == ["tcp/8443", "udp/68", "udp/546"]
    peers = [ip_network("10.20.0.0/24"), ip_network("fd5e:a1ed::/64")]
    rules = firewall_rules((POLICIES / "firewall.nft").read_text(), "https://license.example", peers)
    assert open_ports(rules) == ["tcp/8443", "udp/68", "udp/546", "tcp/8444"]


def test_the_last_entry_that_names_a_quantity_counts() -> None:
    ledger = """
        [[entry]]
        reason = "First."
        most = { packages = 100, executables = 30 }
        [[entry]]
        reason = "A packet filter."
        most = { packages = 104 }
    """
    assert parse_ledger(ledger) == {"packages": 104, "executables": 30}


@pytest.mark.parametrize(
    "text",
    [
        "entry = 1",
        "[[entry]]",
        '[[entry]]\nreason = " "\nmost = { packages = 1 }',
        '[[entry]]\nreason = "Why."\nmost = {}',
        '[[entry]]\nreason = "Why."\nmost = { packages = "many" }',
        '[[entry]]\nreason = "Why."\nmost = { packages = 1 }\nby = "me"',
        "[",
    ],
)
def test_an_entry_without_a_reason_or_a_number_is_none(text: str) -> None:
    with pytest.raises(FormatError):
        parse_ledger(text)


def test_growth_without_an_entry_is_named() -> None:
    assert growth({"packages": 100, "setuid_files": 0}, {"packages": 100, "setuid_files": 0}) == []
    (told,) = growth({"packages": 101}, {"packages": 100})
    assert told.startswith("packages is 101, and 100 are recorded")
    (told,) = growth({"ports": 0}, {})
    assert "nothing of it is recorded" in told


def test_what_the_sources_tell_of_the_image_is_in_the_ledger() -> None:
    """The rest needs a build: tests/vm."""
    own = box_modules(PYTHON_PACKAGES, programs(DEFINITIONS))
    measured = {
        "executables": len(parse_list((DEFINITIONS / "executables.txt").read_text())),
        "open_ports": len(open_ports(FIREWALL)),
        "own_lines": sum(lines(path.read_text("utf-8")) for path in own) + lines(PROGRAMS_TEXT),
        "setuid_files": 0,
    }
    assert growth(measured, parse_ledger(LEDGER.read_text("utf-8"))) == []
