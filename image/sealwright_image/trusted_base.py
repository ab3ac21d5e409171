"""How much has to be trusted in a box, measured of every build: what is in its root, and in its initrd.

What is allowed of it stands in ledgers (:mod:`.tcb_ledger`).
"""

from __future__ import annotations

import re
import stat
from collections.abc import Sequence
from pathlib import PurePosixPath

from sealwright_image.cpio import Entry
from sealwright_image.root_tree import RootTree

PYTHON = "/usr/lib/sealwright/python/"
WEB = frozenset({".css", ".html", ".js"})
"""What a box's pages are made of, beside their texts."""
UNIT_FOLDERS = ("/usr/lib/systemd/system/", "/etc/systemd/system/")


def measure(tree: RootTree, initrd: Sequence[Entry], firewall: str, packages: int, own_programs: str) -> dict[str, int]:
    """The quantities of a box.

    Args:
        tree: The root.
        initrd: All that is in it; what comes from the root counts there as well.
        firewall: The packet filter's rules.
        packages: Debian packages in it.
        own_programs: Sources of the initrd's /init and of the launcher.
    """
    executables = tree.executables()
    libraries = [path for path, member in tree.members.items() if member.isfile() and _is_library(path)]
    ours = [path for path, member in tree.members.items() if path.startswith(PYTHON) and member.isfile()]
    return {
        "executables": len(executables),
        "executable_bytes": sum(tree.members[path].size for path in executables),
        "libraries": len(libraries),
        "library_bytes": sum(tree.members[path].size for path in libraries),
        "setuid_files": len(tree.privileged()),
        "packages": packages,
        "services": sum(1 for path, member in tree.members.items() if member.isfile() and _is_service(path)),
        "open_ports": len(open_ports(firewall)),
        "own_lines": sum(_lines_of(tree, path) for path in ours if path.endswith(".py")) + lines(own_programs),
        "web_lines": sum(_lines_of(tree, path) for path in ours if is_web(path)),
    } | measure_initrd(initrd)


def measure_initrd(entries: Sequence[Entry]) -> dict[str, int]:
    """The quantities of an initrd: programs, libraries, kernel modules."""
    files = [one for one in entries if stat.S_ISREG(one.mode)]
    executables = [one for one in files if one.mode & 0o111]
    libraries = [one for one in files if _is_library(one.path)]
    return {
        "initrd_executables": len(executables),
        "initrd_executable_bytes": sum(len(one.data) for one in executables),
        "initrd_libraries": len(libraries),
        "initrd_library_bytes": sum(len(one.data) for one in libraries),
        "initrd_modules": sum(1 for one in files if one.path.endswith(".ko")),
    }


def is_web(path: str) -> bool:
    """Whether a file of ours runs in, or is laid out by, a browser."""
    return PurePosixPath(path).suffix in WEB


def lines(source: str) -> int:
    """Lines that are not empty."""
    return sum(1 for line in source.splitlines() if line.strip())


def _lines_of(tree: RootTree, path: str) -> int:
    return lines(tree.read(path).decode("utf-8"))


def _is_library(path: str) -> bool:
    return re.search(r"\.so(\.\d+)*$", path) is not None


def _is_service(path: str) -> bool:
    return path.startswith(UNIT_FOLDERS) and path.endswith(".service")


def open_ports(firewall: str) -> list[str]:
    """What strangers may send to, be it only those of some networks, as in tcp/8443."""
    definitions = dict(re.findall(r"^define (\w+) = (\d+)$", firewall, re.MULTILINE))
    chain = re.search(r"chain input \{(.*?)\n\t\}", firewall, re.DOTALL)
    added = re.findall(r"^insert rule inet sealwright input (.*)$", firewall, re.MULTILINE)
    rules = re.findall(r"(tcp|udp) dport (\S+) accept", "\n".join([chain[1] if chain else "", *added]))
    ports = [f"{protocol}/{definitions.get(port.removeprefix('$'), port)}" for protocol, port in rules]
    return list(dict.fromkeys(ports))
