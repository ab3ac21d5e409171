"""apparmor_parser compiles every profile."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealwright_testing.tools_root import ToolsRoot


def test_every_profile_compiles(compiled: Path, tools: ToolsRoot, tmp_path: Path) -> None:
    profiles = sorted((compiled / "etc/apparmor.d").iterdir())
    assert len(profiles) == 5
    for profile in profiles:
        binary = tmp_path / profile.name
        names = tools.run_inside("apparmor_parser", "--skip-kernel-load", "--skip-cache", "--names", profile)
        tools.run_inside("apparmor_parser", "--skip-kernel-load", "--skip-cache", "--ofile", binary, profile)
        assert names.split() == [profile.name]
        assert binary.stat().st_size > 1000


def test_a_broken_profile_is_told(compiled: Path, tools: ToolsRoot, tmp_path: Path) -> None:
    """Else the judge above would accept anything."""
    broken = tmp_path / "broken"
    text = (compiled / "etc/apparmor.d/sealwright-engine-medical").read_text()
    broken.write_text(text.replace("engine.sock rw,", "engine.sock rz,"))
    with pytest.raises(RuntimeError, match="syntax error"):
        tools.run_inside("apparmor_parser", "--skip-kernel-load", "--skip-cache", broken)
