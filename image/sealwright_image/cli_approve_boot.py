"""``sealwright-image approve-boot``: approve the way through PCR 4 that a machine's event log shows."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from pydantic import TypeAdapter

from sealwright_image import output as names
from sealwright_image.approve_boot import approve, release_images
from sealwright_image.boot_log import WITH_KERNEL, boot_applications, read_boot
from sealwright_image.contents import load_folder
from sealwright_image.keys import load_keys
from sealwright_image.run import Tools
from sealwright_policies.errors import UsageError
from sealwright_policies.tcg.eventlog import MAX_LOG_SIZE, parse_event_log
from sealwright_policies.wire.encoding import Identifier


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of the command."""
    parser.add_argument("directory", type=Path, metavar="DIR", help="output folder of build")
    parser.add_argument("--event-log", type=Path, required=True, metavar="LOG",
                        help="binary_bios_measurements of the machine, whatever system wrote it")  # fmt: skip
    parser.add_argument("--keys", type=Path, required=True, metavar="KEYS_DIR", help="keys that it was built with")
    parser.add_argument("--name", type=_name, metavar="NAME", help="what the way is called (default: after its value)")
    parser.add_argument("--application", action="append", default=[], metavar="SHA256",
                        help="digest of an application that may run before the release; repeatable")  # fmt: skip
    parser.add_argument("--yes", action="store_true", help="sign without asking")


def run(options: argparse.Namespace) -> int:
    """Show what the log holds, ask, sign."""
    keys = load_keys(options.keys)
    folder = load_folder(options.directory, options.keys / "manifest.pem")
    boot = read_boot(parse_event_log(_read(options.event_log)), release_images(folder), set(options.application))
    further = boot_applications(boot, folder.release.measurements.boot_applications, options.name)
    say = sys.stderr if options.json else sys.stdout
    print("In PCR 4 this machine measures:", *(f"  {line}" for line in boot.account), sep="\n", file=say)
    if further and not options.yes:
        _confirm()
    release = approve(folder, further, keys, Tools())
    if options.json:
        added = [one.model_dump(mode="json") for one in further]
        print(json.dumps({"release_id": release.release_id, "events": boot.account, "approved": added}, indent=1))
    elif further and keys.release is None:
        print(f"Listed: {', '.join(one.name for one in further)}. The release key is elsewhere: take")
        print(f"{options.directory / names.APPROVAL_REQUEST} to it (`sign-approvals`), then give `add-approvals`.")
    elif further:
        print(f"Approved: {', '.join(one.name for one in further)}. Next: `sealwright-license release import`, and")
        print("write disk.raw to the machine, or variants.json to EFI/sealwright/ on its EFI partition.")
    else:
        print("The release lists this way already; nothing new was signed.")
    return 0


def _name(text: str) -> str:
    """An identifier, with room for the suffix."""
    TypeAdapter(Identifier).validate_python(f"{text}{WITH_KERNEL}")
    return text


def _confirm() -> None:
    if not sys.stdin.isatty():
        raise UsageError("Nobody is here to be asked; give --yes to sign.")
    if input("Approve this way for every machine that takes it? Type yes: ").strip() != "yes":
        raise UsageError("Nothing was signed.")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_LOG_SIZE + 1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}.") from error
