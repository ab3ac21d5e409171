"""Modules of what is planted in a test image, for tests of them outside of a box."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

PLANTED = Path(__file__).resolve().parents[1] / "planted/tree/usr/lib/planted"


def planted_module(name: str) -> ModuleType:
    """Import one; nothing is left beside it, since all that lies there goes into the image.

    Args:
        name: as the planted programs import it, such as ``intruder.keys``.
    """
    with patch.object(sys, "path", [str(PLANTED), *sys.path]), patch.object(sys, "dont_write_bytecode", True):
        return importlib.import_module(name)
