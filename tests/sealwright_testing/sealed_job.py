"""Jobs on sealed data, for the test image: a workload that counts rows and its data, signed by their owner; data that
none reads, and the same workload in a domain without data."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from sealwright_image.compiler import compile_static
from sealwright_image.run import Tools
from sealwright_testing.domain_texts import domain_text, open_anywhere
from sealwright_testing.owner_desk import OwnerDesk

SOURCE = Path(__file__).with_name("planted") / "counting.c"
ROWS = 3
OWN_HOST, OTHER_HOST = "10.0.2.100", "10.0.2.101"
"""What the stranger may reach, and what it tries as well; it has the addresses in itself."""
CALLS = {
    "call-own-host": {"done"},
    "cast-own-host": {"done"},
    "call-other-port": {"EACCES"},
    "cast-other-port": {"EPERM"},
    "call-other-host": {"EHOSTUNREACH", "ETIMEDOUT"},
    "cast-other-host": {"EPERM"},
    "ask-name-server": {"EPERM"},
    "ask-resolver": {"EPERM"},
    "echo-own-host": {"EACCES", "EPERM"},
    "call-box": {"EHOSTUNREACH", "ETIMEDOUT"},
}
"""What a workload sends whose domain names one host, and a port by TCP and UDP, and what may become of it. Other ports
by TCP are refused by Landlock, the rest by the packet filter, or where no user may send echoes. That a connection
was refused is not always told to its socket, which then gives up. Who has no egress has no socket for any of them."""
NO_SOCKET = "EAFNOSUPPORT"
DOMAINS = {
    "counting-job": (
        '\n[[member]]\nkind = "data-set"\nid = "rows"\n\n[[member]]\nkind = "workload"\nid = "counting"\n'
        '\n[run]\nworkloads = ["counting"]\n\n[resources]\nresults_mib = 16\n'
    ),
    "unread": '\n[[member]]\nkind = "data-set"\nid = "unread"\n',
    "strangers": (
        '\n[[member]]\nkind = "workload"\nid = "stranger"\n\n[run]\nworkloads = ["stranger"]\n'
        "\n[resources]\nresults_mib = 16\nscratch_mib = 1\n"
        f'\n[[egress]]\nhost = "{OWN_HOST}"\nport = 7\n'
        f'\n[[egress]]\nhost = "{OWN_HOST}"\nport = 7\nprotocol = "udp"\n'
    ),
}
"""By name: what they have beside the least."""


@dataclass(frozen=True, slots=True)
class SealedJob:
    """A part of a product."""

    domains: tuple[Path, ...]
    lines: tuple[str, ...]
    """Payload tables of product.toml."""


def write_job(folder: Path, license_text: Path) -> SealedJob:
    """Write domains and payloads into a product's folder, and and compile the program of workloads and data set."""
    for name in ("counting", "stranger", "rows", "unread"):
        (folder / name).mkdir()
    program = folder / "counting/program"
    compile_static(SOURCE, program, Tools())
    for name in ("rows", "unread"):
        (folder / name / "rows.csv").write_text("1,2\n" * ROWS)
    for name in ("stranger", "rows"):
        shutil.copy(program, folder / name)
    texts = {name: open_anywhere(domain_text(name, "confidential", more)) for name, more in DOMAINS.items()}
    payloads = {
        "counting": ("workload", "counting-job"),
        "stranger": ("workload", "strangers"),
        "rows": ("data-set", "counting-job"),
        "unread": ("data-set", "unread"),
    }
    job = write_tables(folder, texts, payloads, license_text, packed=("counting",))
    sign_job(folder, "counting-job", "counting")
    return job


def sign_job(folder: Path, domain: str, workload: str) -> None:
    """Have the owner of a domain sign it, and the image of the workload in it."""
    owner, path = OwnerDesk.create(folder / "owner"), folder / f"domains/{domain}.toml"
    owner.sign(path)
    owner.sign_workload(path, workload, folder / workload, folder / f"{workload}.img")


def write_tables(
    folder: Path,
    domains: Mapping[str, str],
    payloads: Mapping[str, tuple[str, str]],
    license_text: Path,
    *,
    packed: Collection[str] = (),
) -> SealedJob:
    """Write domain files by name; payloads are given as kind and domain by id, and lie in folders of their ids.

    Args:
        packed: ids of workloads that are images, ``ID.img``.
    """
    (folder / "domains").mkdir(exist_ok=True)
    paths = []
    for name, text in domains.items():
        paths.append(folder / "domains" / f"{name}.toml")
        paths[-1].write_text(text)
    lines: list[str] = []
    for name, (kind, domain) in payloads.items():
        lines += ["", "[[payload]]", f'id = "{name}"', f'kind = "{kind}"', f'domain = "{domain}"']
        lines += [f'path = "{name}.img"' if name in packed else f'path = "{name}"', f'license = "{license_text}"']
    return SealedJob(tuple(paths), tuple(lines))
