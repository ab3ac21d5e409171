"""Tokens of SoftHSM2 in a folder of the test run, the nearest to an HSM that runs anywhere.

The module reads SOFTHSM2_CONF when it is initialised, so a process has one folder of tokens; each test takes a token of
its own there.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pkcs11

from sealwright_custody.locator import FileLocator, TokenLocator

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
"""Debian's softhsm2."""
CONFIGURATION = "SOFTHSM2_CONF"


@dataclass(frozen=True, slots=True)
class SoftToken:
    """A fresh token, and the file with its PIN."""

    label: str
    pin: str
    so_pin: str
    pin_file: Path
    prefix: str = ""
    """Before the label of each key: several tests can share a token."""

    def locator(self, key: str = "") -> TokenLocator:
        """Of the token, or of a key in it."""
        return TokenLocator(MODULE, self.label, FileLocator(self.pin_file), self.prefix + key if key else "")

    def write_pin(self, pin: str) -> None:
        """Put another PIN into the file."""
        self.pin_file.write_text(f"{pin}\n")


@cache
def tokens_folder() -> Path:
    """The process's folder of tokens; subprocesses inherit it."""
    folder = Path(mkdtemp(prefix="sealwright-softhsm-"))
    (folder / "tokens").mkdir()
    configuration = folder / "softhsm2.conf"
    configuration.write_text(
        f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    os.environ[CONFIGURATION] = str(configuration)
    return folder


def new_token(directory: Path) -> SoftToken:
    """Make a token; its PIN lies in ``directory``."""
    tokens_folder()
    label, pin, so_pin = (f"{name}-{secrets.token_hex(4)}" for name in ("token", "pin", "so-pin"))
    argv = ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", so_pin]
    subprocess.run(argv, check=True, capture_output=True)
    pkcs11.lib(str(MODULE)).reinitialize()  # tokens made by another process are seen at initialisation
    directory.mkdir(parents=True, exist_ok=True)
    pin_file = directory / f"{label}.pin"
    pin_file.touch(mode=0o600)
    token = SoftToken(label, pin, so_pin, pin_file)
    token.write_pin(pin)
    return token
