"""The initrd is picked from the root by lists, with what the listed files need and nothing else."""

from __future__ import annotations

import contextlib
import io
import struct
import tarfile
from pathlib import Path

import pytest

from sealwright_image import cpio
from sealwright_image.elf import parse_needed
from sealwright_image.initrd import (
    InitrdLists,
    fixed_entries,
    kernel_version,
    module_name,
    parse_modules_dep,
    select_files,
    select_modules,
)
from sealwright_image.lists import parse_list
from sealwright_image.mkosi import DEFINITIONS
from sealwright_image.root_tree import RootTree
from sealwright_policies.errors import FormatError, OperationError

LIBRARIES = "usr/lib/x86_64-linux-gnu"
UNITS = "usr/lib/systemd/system"


def elf(*needed: str) -> bytes:
    """A little ELF file: one loaded segment that holds everything, one dynamic section."""
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in needed)
    offsets = [strings.index(b"\0" + name.encode() + b"\0") + 1 for name in needed]
    start, base = 64 + 2 * 56, 0x1000
    dynamic = b"".join(struct.pack("<qQ", 1, offset) for offset in offsets)
    dynamic += struct.pack("<qQ", 5, base + start) + struct.pack("<qQ", 0, 0)
    size = start + len(strings) + len(dynamic)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    load = struct.pack("<II6Q", 1, 5, 0, base, base, size, size, 4096)
    section = start + len(strings)
    dynamic_header = struct.pack("<II6Q", 2, 6, section, base + section, 0, len(dynamic), len(dynamic), 8)
    return header + load + dynamic_header + strings + dynamic


def tree(tmp_path: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> RootTree:
    """A root as mkosi.finalize exports it."""
    path = tmp_path / "tree.tar"
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(data)
            member.mode = 0o755 if "bin/" in name else 0o644
            archive.addfile(member, io.BytesIO(data))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(f"./{name}")
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    return RootTree.load(path)


def lists(*files: str, libraries: tuple[str, ...] = ()) -> InitrdLists:
    return InitrdLists(files, libraries, ())


def test_libraries_come_along_through_links_and_libraries_of_libraries(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "usr/bin/kmod": elf("liba.so.1"),
            f"{LIBRARIES}/liba.so.1.2": elf("libb.so.2"),
            f"{LIBRARIES}/systemd/libb.so.2": elf(),
            f"{LIBRARIES}/libunused.so.1": elf(),
        },
        {f"{LIBRARIES}/liba.so.1": "liba.so.1.2"},
    )
    assert select_files(root, lists("/usr/bin/kmod")) == {
        "/usr/bin/kmod",
        f"/{LIBRARIES}/liba.so.1",
        f"/{LIBRARIES}/liba.so.1.2",
        f"/{LIBRARIES}/systemd/libb.so.2",
    }


def test_a_library_that_is_missing_is_named(tmp_path: Path) -> None:
    root = tree(tmp_path, {"usr/bin/kmod": elf("libgone.so.1")})
    with pytest.raises(OperationError, match=r"libgone\.so\.1"):
        select_files(root, lists("/usr/bin/kmod"))


def test_a_listed_file_that_the_packages_no_longer_have_is_named(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="/usr/bin/kmod"):
        select_files(tree(tmp_path, {"etc/group": b""}), lists("/usr/bin/kmod"))


def test_only_wishes_between_listed_units_come_along(tmp_path: Path) -> None:
    """A .wants link to an unlisted unit (a shell, say) stays out."""
    root = tree(
        tmp_path,
        {f"{UNITS}/sysinit.target": b"", f"{UNITS}/good.service": b"", f"{UNITS}/debug-shell.service": b""},
        {
            f"{UNITS}/sysinit.target.wants/good.service": "../good.service",
            f"{UNITS}/sysinit.target.wants/debug-shell.service": "../debug-shell.service",
        },
    )
    chosen = select_files(root, lists(f"/{UNITS}/sysinit.target", f"/{UNITS}/good.service"))
    assert f"/{UNITS}/sysinit.target.wants/good.service" in chosen
    assert not any("debug-shell" in path for path in chosen)


def test_paths_resolve_through_links_to_folders(tmp_path: Path) -> None:
    root = tree(tmp_path, {"usr/bin/kmod": b"x"}, {"bin": "usr/bin", "usr/sbin/modprobe": "../../bin/kmod"})
    assert root.resolve("/usr/sbin/modprobe") == "/usr/bin/kmod"
    assert root.resolve("/usr/sbin/absent") is None


def test_executables_and_setuid_files_are_told_by_their_modes(tmp_path: Path) -> None:
    path = tmp_path / "tree.tar"
    with tarfile.open(path, "w") as archive:
        for name, mode in (("usr/bin/a", 0o755), ("usr/bin/b", 0o4755), ("etc/c", 0o644), ("usr/d", 0o2644)):
            member = tarfile.TarInfo(f"./{name}")
            member.mode = mode
            archive.addfile(member)
    root = RootTree.load(path)
    assert root.executables() == ["/usr/bin/a", "/usr/bin/b"]
    assert root.privileged() == ["/usr/bin/b", "/usr/d"]


def test_a_loop_of_links_leads_nowhere(tmp_path: Path) -> None:
    assert tree(tmp_path, {}, {"a": "b", "b": "a"}).resolve("/a") is None


def test_the_root_must_hold_one_kernel(tmp_path: Path) -> None:
    root = tree(tmp_path, {"usr/lib/modules/6.1/modules.dep": b"", "usr/lib/modules/6.2/modules.dep": b""})
    with pytest.raises(OperationError, match="one kernel"):
        kernel_version(root)


def test_modules_come_with_their_dependencies_and_unknown_ones_are_built_in() -> None:
    dependencies = parse_modules_dep(
        "kernel/a/dm-verity.ko.xz: kernel/a/dm-mod.ko.xz\nkernel/a/dm-mod.ko.xz:\nkernel/x.ko:"
    )
    assert select_modules(dependencies, ["dm_verity", "tpm_tis"]) == [
        "kernel/a/dm-mod.ko.xz",
        "kernel/a/dm-verity.ko.xz",
    ]
    assert module_name("kernel/drivers/virtio-blk.ko.xz") == "virtio_blk"


def test_the_initrd_says_what_it_is(tmp_path: Path) -> None:
    root = tree(tmp_path, {"usr/lib/os-release": b"ID=debian\n"})
    entries = {entry.path: entry.data for entry in fixed_entries(root)}
    assert entries["etc/initrd-release"] == b"ID=debian\n"


def test_the_archive_is_newc_with_parents_first_and_one_time_stamp() -> None:
    entries = cpio.with_parents([cpio.Entry("usr/bin/x", 0o100755, b"abc"), cpio.link("init", "usr/bin/x")])
    assert [entry.path for entry in entries] == ["init", "usr", "usr/bin", "usr/bin/x"]
    data = b"".join(cpio.archive(entries, 1_700_000_000))
    assert data.startswith(b"070701" + b"00000001")
    assert data.count(b"%08X" % 1_700_000_000) == len(entries)
    assert len(data) % 4 == 0
    assert b"TRAILER!!!\0" in data


def test_the_archive_depends_on_the_entries_alone() -> None:
    entries = [cpio.Entry("b", 0o100644, b"1"), cpio.Entry("a", 0o100644, b"2")]
    first = b"".join(cpio.archive(cpio.with_parents(entries), 1))
    assert first == b"".join(cpio.archive(cpio.with_parents(reversed(entries)), 1))


def test_needed_libraries_are_read_in_order() -> None:
    assert parse_needed(elf("libz.so.1", "libc.so.6")) == ("libz.so.1", "libc.so.6")


@pytest.mark.parametrize("length", [0, 5, 60, 100, 176, 190])
def test_a_cut_elf_file_is_a_format_error_or_has_no_libraries(length: int) -> None:
    with contextlib.suppress(FormatError):
        assert parse_needed(elf("libc.so.6")[:length]) in ((), ("libc.so.6",))


SHELLS = ("sh", "bash", "dash", "rbash", "busybox", "zsh", "sulogin", "agetty", "getty", "login", "su", "sudo")


def test_no_shell_or_login_is_on_any_list() -> None:
    listed = parse_list((DEFINITIONS / "executables.txt").read_text())
    listed += InitrdLists.load(DEFINITIONS / "initrd").files
    names = {path.rpartition("/")[2] for path in listed}
    assert not names & set(SHELLS)
    assert "systemd-sulogin-shell" not in names
    assert "systemd-debug-generator" not in names
    assert "systemd-run-generator" not in names


def test_the_initrd_answers_a_failure_with_poison_and_power_off() -> None:
    """emergency.service is ours, in the initrd as in the main system, and starts no shell."""
    assert "/etc/systemd/system/emergency.service" in InitrdLists.load(DEFINITIONS / "initrd").files
    unit = (DEFINITIONS / "mkosi.extra/etc/systemd/system/emergency.service").read_text()
    assert "systemd-pcrextend --graceful --pcr=11 sealwright/v1/failure" in unit
    assert "SuccessAction=poweroff-force" in unit
    assert "FailureAction=poweroff-force" in unit


def test_a_root_that_does_not_verify_fails_at_once() -> None:
    """Without the drop-in the initrd waits 90 s for the root device first."""
    name = "systemd-veritysetup@.service.d/10-emergency.conf"
    assert f"/etc/systemd/system/{name}" in InitrdLists.load(DEFINITIONS / "initrd").files
    assert "OnFailure=emergency.target" in (DEFINITIONS / "mkosi.extra/etc/systemd/system" / name).read_text()
