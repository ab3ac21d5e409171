"""What this Python needs to start and to import, as lines of Landlock rules (policies/spec/domain.md, 7)."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

_RUN = "execute read_file read_dir"
_PLACES = {
    Path(sys.executable).parent.parent,
    Path(sysconfig.get_path("stdlib")),
    Path("/lib/x86_64-linux-gnu"),
    Path("/usr/lib/x86_64-linux-gnu"),
}
_FILES = {Path(sys.executable).resolve(): "execute read_file", Path("/etc/ld.so.cache"): "read_file"}

PYTHON_RULES = "".join(
    f"path {path} {rights}\n" for path, rights in (dict.fromkeys(sorted(_PLACES), _RUN) | _FILES).items()
)
