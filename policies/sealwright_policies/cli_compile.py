"""``sealwright-policy compile``: the files that enforce domains in the box."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from sealwright_policies.cli_command import add_command
from sealwright_policies.domains.compiler import compile_domains
from sealwright_policies.domains.compiler.ipe import UNKNOWN_ROOT
from sealwright_policies.domains.files import load_verified
from sealwright_policies.errors import OperationError, UsageError

DESCRIPTION = """\
Compile security domains to AppArmor profiles, systemd drop-ins with system-call filters, Landlock rules, nftables sets,
mount options and the box's IPE policy (policies/spec/domain.md, 7). The output depends on the domains, and on the root
hashes of workload images and of the box's root, alone.
"""
EPILOG = """\
examples:
  sealwright-policy compile policies/domains/medical-model.toml --workload lora-training=3f2a…
  sealwright-policy compile domains --out build/domains --workload lora-training=3f2a… --workload document-index=…
  sealwright-policy compile policies/domains --json … | jq -r '."/usr/share/sealwright/nftables.d/clinic.nft"'
"""
_WORKLOAD = re.compile(r"([a-z0-9][a-z0-9-]{0,27})=([0-9a-f]{64})")
_ROOT = re.compile(r"[0-9a-f]{64}")


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "compile",
        help_="compile security domains to what enforces them",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument("path", type=Path, metavar="PATH", help="domain file, or folder of domain files")
    parser.add_argument(
        "--workload", action="append", default=[], metavar="ID=ROOTHASH", help="root hash of a workload's image"
    )
    parser.add_argument(
        "--root-hash",
        default=UNKNOWN_ROOT,
        metavar="HEX",
        help=f"of the box's root; else the IPE policy says {UNKNOWN_ROOT}",
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument(
        "--out", type=Path, metavar="FOLDER", help="write the files below a folder that is not there yet"
    )
    output.add_argument("--json", action="store_true", help="print JSON: text by path")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Compile, then write or print."""
    if options.root_hash != UNKNOWN_ROOT and not _ROOT.fullmatch(options.root_hash):
        raise UsageError(f"--root-hash {options.root_hash}: expected 64 hexadecimal digits")
    files = compile_domains(load_verified(options.path), _root_hashes(options.workload), options.root_hash)
    if options.out is not None:
        _write(options.out, files)
        print("\n".join(files))
    elif options.json:
        print(json.dumps({path: content.decode() for path, content in files.items()}, indent=2))
    else:
        print("\n".join(f"==> {path} <==\n{content.decode()}" for path, content in files.items()))
    return 0


def _root_hashes(words: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        match = _WORKLOAD.fullmatch(word)
        if match is None or match[1] in found:
            raise UsageError(
                f"--workload {word}: expected ID=ROOTHASH once for each workload, the hash as 64 hexadecimal digits"
            )
        found[match[1]] = match[2]
    return found


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """All or nothing: into a temporary folder beside it, then renamed."""
    if folder.exists():
        raise UsageError(f"{folder}: is there already; name a new folder")
    partial = ""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent)
        for path, content in files.items():
            target = Path(partial) / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        Path(partial).chmod(0o755)
        Path(partial).rename(folder)
    except OSError as error:
        if partial:
            shutil.rmtree(partial, ignore_errors=True)
        raise OperationError(f"{folder}: cannot be written: {error.strerror}.") from error
