"""What is planted in a test image, as far as it needs no box."""

from __future__ import annotations

import ctypes
import getpass
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sealwright_testing.redteam.planted_modules import PLANTED, planted_module

NOT_MAPPED = "/tmp/planted-library: failed to map segment from shared object"


@contextmanager
def loading_ends_with(error: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(path: str) -> None:
        raise OSError(error)

    with monkeypatch.context() as patched:
        patched.setattr(ctypes, "CDLL", refuse)
        yield


def test_files_are_laid_as_services_leave_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    customer = planted_module("customer")
    monkeypatch.setattr(customer, "STATE", tmp_path)
    (tmp_path / "domains/one").mkdir(parents=True, mode=0o711)
    path = "domains/one/data-set/planted/content"
    laid = customer.Brought(path, getpass.getuser(), b"of a customer", mode=0o444, shown=0o755)
    customer.lay(laid)
    modes = [stat.S_IMODE(one.stat().st_mode) for one in ((tmp_path / path), *(tmp_path / path).parents[:3])]
    assert modes == [0o444, 0o755, 0o700, 0o711]
    assert (tmp_path / path).read_bytes().startswith(b"of a customer")
    with pytest.raises(FileExistsError):
        customer.lay(laid)


def test_attempts_seek_what_is_laid() -> None:
    customer = planted_module("customer")
    sought = (PLANTED / "intruder/neighbours.py").read_text()
    assert {one.path for one in customer.BROUGHT} <= set(re.findall(r'STATE / "([^"]+)"', sought))


def test_a_library_that_is_not_mapped_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loader tells no number; any other word of its is no refusal."""
    code = planted_module("intruder.code")
    monkeypatch.setattr(code, "LIBRARY", __file__)
    with loading_ends_with(NOT_MAPPED, monkeypatch), pytest.raises(PermissionError):
        code.own_library(tmp_path)
    with loading_ends_with("file too short", monkeypatch), pytest.raises(OSError, match="too short") as other:
        code.own_library(tmp_path)
    assert other.value.errno is None


def test_the_kernel_says_which_settings_hold(capsys: pytest.CaptureFixture[str]) -> None:
    """Of whichever machine: one that cannot be read is an error's name."""
    observer = planted_module("observer")
    observer.report_settings()
    found = dict(line.removeprefix("setting ").partition(" ")[::2] for line in capsys.readouterr().out.splitlines())
    assert found.keys() >= {*observer.SETTINGS, "vsyscall"}
    assert found["kernel.panic"] == Path("/proc/sys/kernel/panic").read_text().strip()
