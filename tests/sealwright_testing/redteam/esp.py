"""What the owner of a disk can lay on its EFI partition, beside the UKI (systemd-stub(7))."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from sealwright_testing.tools_root import ToolsRoot
from sealwright_testing.virtual_box import VirtualBox

EXTRAS = "EFI/BOOT/BOOTX64.EFI.extra.d"
"""The folder in which systemd-stub looks for more, by the name of the UKI."""
EPOCH = "1767225600"


def lay_on_esp(box: VirtualBox, esp: tuple[int, int], files: Mapping[str, bytes]) -> None:
    """Put files into :data:`EXTRAS` of a box that is off.

    Args:
        esp: Offset and size of the partition, bytes.
        files: Contents by name.
    """
    offset, size = esp
    with tempfile.TemporaryDirectory(dir=box.directory) as folder:
        volume = Path(folder) / "esp"
        volume.write_bytes(box.read_disk(offset, size))
        box.tools.run("mmd", "-i", volume, f"::{EXTRAS}")
        for name, content in files.items():
            (Path(folder) / "file").write_bytes(content)
            box.tools.run("mcopy", "-i", volume, Path(folder) / "file", f"::{EXTRAS}/{name}")
        box.write_disk(offset, volume.read_bytes())


def addon(words: str, folder: Path, keys: Path | None = None) -> bytes:
    """A UKI addon that appends words to the kernel's command line; signed by the db key in ``keys``, if given."""
    output = folder / "addon.efi"
    call = ["ukify", "build", "--efi-arch=x64", f"--cmdline={words}", f"--output={output}"]
    if keys is not None:
        pair = f"--secureboot-private-key={keys / 'db.key'}", f"--secureboot-certificate={keys / 'db.pem'}"
        call += ["--signtool=sbsign", *pair]
    ToolsRoot.find().run_inside(*call, binds=[folder, *([keys] if keys else [])])
    return output.read_bytes()


def system_extension(folder: Path) -> bytes:
    """A system extension that fits every system (os-release(5)) and brings a unit of its own."""
    tree = folder / "extension"
    (tree / "usr/lib/extension-release.d").mkdir(parents=True)
    (tree / "usr/lib/extension-release.d/extension-release.planted").write_text("ID=_any\n")
    units = tree / "usr/lib/systemd/system"
    units.mkdir(parents=True)
    (units / "planted.service").write_text("[Service]\nExecStart=/usr/bin/true\n")
    output = folder / "planted.sysext.raw"
    ToolsRoot.find().run_inside("mkfs.erofs", f"-T{EPOCH}", output, tree, binds=[folder])
    return output.read_bytes()
