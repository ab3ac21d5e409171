"""How much is trusted in a box, measured."""

from __future__ import annotations

import io
import stat
import tarfile
from ipaddress import ip_network
from pathlib import Path

from sealwright_image import cpio
from sealwright_image.box_modules import box_modules, programs
from sealwright_image.confinement import POLICIES
from sealwright_image.firewall import firewall_rules
from sealwright_image.lists import parse_list
from sealwright_image.mkosi import DEFINITIONS, PROGRAMS
from sealwright_image.os_part import PYTHON_PACKAGES
from sealwright_image.root_tree import RootTree
from sealwright_image.tcb_ledger import growth, load_limits
from sealwright_image.trusted_base import is_web, lines, measure, open_ports

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
            "usr/lib/sealwright/python/sealwright_x/web/a.js": (0o644, b"one\n\ntwo\nthree\n"),
            "usr/lib/sealwright/python/sealwright_x/web/a.html": (0o644, b"one\n"),
            "usr/lib/sealwright/python/sealwright_x/web/a.css": (0o644, b"one\n"),
            "usr/lib/sealwright/python/sealwright_x/web/messages/en.json": (0o644, b"{}\n"),
            "usr/lib/python3/other.py": (0o644, b"one\n"),
            "usr/lib/python3/other.js": (0o644, b"one\n"),
            "usr/lib/systemd/system/a.service": (0o644, b""),
            "usr/lib/systemd/system/a.socket": (0o644, b""),
            "etc/systemd/system/b.service": (0o644, b""),
        },
    )
    initrd = [
        cpio.directory("usr"),
        cpio.Entry("init", stat.S_IFREG | 0o755, b"123"),
        cpio.Entry("usr/bin/a", stat.S_IFREG | 0o755, b"12345"),
        cpio.link("usr/bin/c", "a"),
        cpio.Entry("usr/lib/liba.so.1.2", stat.S_IFREG | 0o644, b"1234"),
        cpio.Entry("usr/lib/modules/6.12/kernel/nvme.ko", stat.S_IFREG | 0o644, b"12"),
        cpio.Entry("usr/lib/modules/6.12/modules.dep.bin", stat.S_IFREG | 0o644, b"12"),
    ]
    assert measure(root, initrd, FIREWALL, 7, "int main(void)\n{\n}\n") == {
        "executables": 2,
        "executable_bytes": 7,
        "libraries": 1,
        "library_bytes": 3,
        "setuid_files": 1,
        "packages": 7,
        "services": 2,
        "open_ports": 3,
        "own_lines": 5,
        "web_lines": 5,
        "initrd_executables": 2,
        "initrd_executable_bytes": 8,
        "initrd_libraries": 1,
        "initrd_library_bytes": 4,
        "initrd_modules": 1,
    }


def test_open_ports_are_those_that_the_packet_filter_opens() -> None:
    assert open_ports(FIREWALL) == ["tcp/8443", "udp/68", "udp/546"]
    peers = [ip_network("10.20.0.0/24"), ip_network("fd5e:a1ed::/64")]
    rules = firewall_rules((POLICIES / "firewall.nft").read_text(), "https://license.example", peers)
    assert open_ports(rules) == ["tcp/8443", "udp/68", "udp/546", "tcp/8444"]


def test_what_the_sources_tell_of_the_image_is_in_the_ledger() -> None:
    """The rest needs a build: tests/vm."""
    own = box_modules(PYTHON_PACKAGES, programs(DEFINITIONS))
    web = [path for package in PYTHON_PACKAGES for path in package.rglob("*") if is_web(path.name)]
    measured = {
        "executables": len(parse_list((DEFINITIONS / "executables.txt").read_text())),
        "open_ports": len(open_ports(FIREWALL)),
        "own_lines": sum(lines(path.read_text("utf-8")) for path in own) + lines(PROGRAMS_TEXT),
        "web_lines": sum(lines(path.read_text("utf-8")) for path in web),
        "setuid_files": 0,
    }
    assert growth(measured, load_limits(None)) == {}
