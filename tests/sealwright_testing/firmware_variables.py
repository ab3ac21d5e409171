"""A variable store for OVMF with Secure Boot keys enrolled, as an owner would by the firmware's set-up."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from sealwright_testing.tools_root import ToolsRoot


@dataclass(frozen=True, slots=True)
class SecureBootKeys:
    """Certificates in PEM and the GUID that they are enrolled under."""

    pk: Path
    kek: Path
    db: Path
    owner: str

    @classmethod
    def of_image(cls, directory: Path) -> SecureBootKeys:
        """Those that ``sealwright-image build`` leaves in its output directory."""
        keys = directory / "secure-boot"
        owner = (keys / "owner.guid").read_text().strip()
        return cls(keys / "PK.pem", keys / "KEK.pem", keys / "db.pem", owner)


def enroll_variables(
    output: Path, keys: SecureBootKeys | None, *, secure_boot: bool = True, tools: ToolsRoot | None = None
) -> None:
    """Write a variable store to ``output``.

    Args:
        output: The file for OVMF's second flash unit.
        keys: What to enrol; None leaves the firmware in set-up mode, where it checks no signatures.
        secure_boot: False enrols the keys but switches Secure Boot off, as the firmware's menu does.
        tools: The tools root.
    """
    tools = tools or ToolsRoot.find()
    template = tools.path / "usr/share/OVMF/OVMF_VARS_4M.fd"
    if keys is None:
        shutil.copyfile(template, output)
        return
    command: list[str | Path] = [
        "virt-fw-vars",
        "--input",
        "/usr/share/OVMF/OVMF_VARS_4M.fd",
        "--output",
        output,
        "--sb",
    ]
    command += ["--set-pk", keys.owner, keys.pk, "--add-kek", keys.owner, keys.kek, "--add-db", keys.owner, keys.db]
    tools.run_inside(*command, binds=sorted({path.resolve().parent for path in (output, keys.pk, keys.kek, keys.db)}))
    if not secure_boot:
        switch: list[str | Path] = ["--inplace", output, "--set-false", "SecureBootEnable"]
        tools.run_inside("virt-fw-vars", *switch, binds=[output.resolve().parent])


def variable(store: Path, name: str) -> bytes | None:
    """What a variable of a machine that is off holds; None if there is none of this name."""
    command: list[str | Path] = ["virt-fw-vars", "--input", store, "--output-json", "/dev/stdout"]
    printed = ToolsRoot.find().run_inside(*command, binds=[store.resolve().parent])
    found = [one["data"] for one in json.loads(printed)["variables"] if one["name"] == name]
    return bytes.fromhex(found[0]) if found else None
