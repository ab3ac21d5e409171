"""What is imported in the box is in its root, and what is not is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sealwright_image.box_modules import box_modules, programs
from sealwright_image.mkosi import DEFINITIONS
from sealwright_image.os_part import PYTHON_PACKAGES
from sealwright_policies.errors import OperationError

APPLIANCE = next(package for package in PYTHON_PACKAGES if package.name == "sealwright_appliance")


def made(directory: Path, **modules: str) -> list[Path]:
    """Packages of these modules; two underscores stand for a dot."""
    for name, text in modules.items():
        path = directory / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return [path for path in directory.iterdir() if path.is_dir()]


def test_imports_are_followed_wherever_they_stand(tmp_path: Path) -> None:
    packages = made(
        tmp_path,
        box__start="import box.one\ndef late():\n    from box import two\n    from other.deep import three, NAME\n",
        box__one="import json\n",
        box__two="if False:\n    import other.deep.four\n",
        box__never="import box.start\n",
        other__deep__three="from other.deep.three import itself\n",
        other__deep__four="",
        other__deep__five="",
        other__deep__init="",
    )
    (tmp_path / "other/deep/init.py").rename(tmp_path / "other/deep/__init__.py")
    found = {str(path.relative_to(tmp_path)) for path in box_modules(packages, ["box.start"])}
    assert found == {
        "box/start.py", "box/one.py", "box/two.py",
        "other/deep/__init__.py", "other/deep/three.py", "other/deep/four.py",
    }  # fmt: skip


def test_a_program_that_is_not_there_stops_the_build(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="in none of our packages"):
        box_modules(made(tmp_path, box__start=""), ["box.elsewhere"])


def test_units_say_what_is_started(tmp_path: Path) -> None:
    (tmp_path / "units").mkdir()
    (tmp_path / "units/a.service").write_text(
        "ExecStart=/usr/bin/python3 -s -P -m box.start agent\nExecStart=/bin/true\n"
    )
    (tmp_path / "units/b.service").write_text("# python3 -m nothing\nExecStartPre=/usr/bin/python3.13 -m box other\n")
    assert programs(tmp_path) == ["box", "box.start"]
    assert "sealwright_appliance" in programs(DEFINITIONS)


def test_the_compiler_of_domains_and_the_vendors_commands_stay_out_of_the_box() -> None:
    files = box_modules(PYTHON_PACKAGES, programs(DEFINITIONS))
    policies = {str(path.relative_to(PYTHON_PACKAGES[0])) for path in files if path.is_relative_to(PYTHON_PACKAGES[0])}
    assert not [name for name in policies if name.startswith(("domains/compiler/", "cli"))]
    assert "appraisal/what_if.py" not in policies
    assert "errors.py" in policies


def test_every_program_starts_with_nothing_else_than_what_is_copied(tmp_path: Path) -> None:
    """Also what is imported late: each module of the box is imported, from a folder that has no other."""
    files = box_modules(PYTHON_PACKAGES, programs(DEFINITIONS))
    names = []
    for package in PYTHON_PACKAGES:
        for path in sorted(files):
            if path.is_relative_to(package):
                target = tmp_path / package.name / path.relative_to(package)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
                names.append(".".join((package.name, *path.relative_to(package).with_suffix("").parts)))
    statements = [f"import {name.removesuffix('.__init__')}" for name in names if not name.endswith("__main__")]
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.meta_path[:] = [one for one in sys.meta_path if "
    program += "'editable' not in repr(one)]; " + "; ".join(statements)
    program += f"; assert sealwright_appliance.__file__.startswith({str(tmp_path)!r}), sealwright_appliance.__file__"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(names) > 100


@pytest.mark.parametrize("statement", ["from . import b", "from .b import c", "from ..b import c"])
def test_a_relative_import_is_not_passed_over(tmp_path: Path, statement: str) -> None:
    """What it names would be missing in the box, and found there first."""
    package = tmp_path / "a"
    package.mkdir()
    for name, text in (("__init__", ""), ("start", statement), ("b", "")):
        (package / f"{name}.py").write_text(text)
    with pytest.raises(OperationError, match="line 1: a relative import"):
        box_modules([package], ["a.start"])
