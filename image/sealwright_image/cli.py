"""``sealwright-image``: keygen, build, inspect, verify, approve-boot; approvals by file; what owners sign."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from sealwright_image import cli_approvals, cli_approve_boot, cli_owner
from sealwright_image import output as names
from sealwright_image.config import load_config
from sealwright_image.contents import load_folder
from sealwright_image.inspect import document, summary
from sealwright_image.keys import generate_keys, load_keys
from sealwright_image.pipeline import build_image
from sealwright_image.progress import Progress
from sealwright_image.run import Tools
from sealwright_image.verify import verify_image
from sealwright_policies.cli_version import add_version
from sealwright_policies.errors import SealwrightError

EXAMPLES = """\
examples:
  sealwright-image keygen keys/
  sealwright-image build product.toml --output out/
  sealwright-image inspect out/
  sealwright-image verify out/ --manifest-key keys/manifest.pem
  sealwright-image sign-approvals approval-request.json --release-key release.key --manifest-key manifest.pem --output r
  sealwright-image approve-boot out/ --event-log binary_bios_measurements --keys keys/

exit status: 0 done, 1 a tool, disk or network failed, 2 wrong use or product file, 10 verification failed,
20 not supported, 30 a malformed file. docs/build-an-image.md is the guide.
"""
_REJECTED = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.command(options)
    except SealwrightError as error:
        print(f"sealwright-image: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("sealwright-image: stopped; no image was made.", file=sys.stderr)
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sealwright-image",
        description="Build signed, measured-boot appliance images whose models are encrypted.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_version(parser, "sealwright-image")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    keygen = commands.add_parser("keygen", help="make a product's signing keys")
    keygen.add_argument("directory", type=Path, metavar="KEYS_DIR", help="new or empty folder")
    keygen.add_argument("--organisation", default="Sealwright", help="name in the certificates (default: %(default)s)")
    keygen.add_argument("--release-public", type=Path, metavar="PEM",
                        help="public half of a release key that is elsewhere; makes none here")  # fmt: skip
    keygen.set_defaults(command=_keygen)

    build = commands.add_parser("build", help="build an image from a product file")
    build.add_argument("product", type=Path, metavar="PRODUCT.TOML", help="see docs/build-an-image.md")
    build.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder that gets the image")
    build.add_argument("--force", action="store_true", help="replace an image that is there")
    build.add_argument("--refresh-os", action="store_true", help="build the OS part with today's Debian packages")
    build.set_defaults(command=_build)

    inspect = commands.add_parser("inspect", help="say what an image is")
    verify = commands.add_parser("verify", help="check every hash and signature of an image")
    for reader, command in ((inspect, _inspect), (verify, _verify)):
        reader.add_argument("directory", type=Path, metavar="DIR", help="output folder of build")
        reader.add_argument("--manifest-key", type=Path, metavar="PEM", help="who must have signed it (default: DIR's)")
        reader.set_defaults(command=command)
    approve = commands.add_parser("approve-boot", help="approve the way through PCR 4 that a machine's log shows")
    cli_approve_boot.add_arguments(approve)
    approve.set_defaults(command=cli_approve_boot.run)
    release = commands.add_parser("keygen-release", help="make a release key on a machine of its own")
    cli_approvals.add_keygen_arguments(release)
    release.set_defaults(command=cli_approvals.keygen)
    sign = commands.add_parser("sign-approvals", help="sign what a build asks of a release key that is elsewhere")
    cli_approvals.add_sign_arguments(sign)
    sign.set_defaults(command=cli_approvals.sign)
    merge = commands.add_parser("add-approvals", help="put what sign-approvals wrote beside the image")
    cli_approvals.add_add_arguments(merge)
    merge.set_defaults(command=cli_approvals.add)
    of_owners = cli_owner.add_commands(commands)
    for subcommand in (keygen, build, inspect, verify, approve, release, sign, merge, *of_owners):
        subcommand.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _keygen(options: argparse.Namespace) -> int:
    generate_keys(
        options.directory,
        organisation=options.organisation,
        now=datetime.datetime.now(datetime.UTC),
        release_public=options.release_public,
    )
    keys = load_keys(options.directory)
    if options.json:
        _print_json({"directory": str(options.directory), "owner": str(keys.owner), "manifest_key": keys.manifest_pem})
    else:
        print(
            f"Keys are in {options.directory}. Keep them offline: whoever has db.key can sign an image that boots,"
            " whoever has release.key can approve one for your models."
        )
    return 0


def _build(options: argparse.Namespace) -> int:
    config = load_config(options.product)
    progress = Progress(sys.stderr)
    progress.say(f"Building {config.product} {config.version} into {options.output}")
    built = build_image(config, options.output, progress, force=options.force, refresh_os=options.refresh_os)
    if options.json:
        steps = [asdict(step) for step in progress.steps]
        _print_json({"output": str(built.output), "release_id": built.release.release_id, "steps": steps})
    else:
        print(f"{built.output}: release {built.release.release_id}")
        if (built.output / names.APPROVAL_REQUEST).exists():
            print(f"The release key is elsewhere: take {names.APPROVAL_REQUEST} to it (`sign-approvals`).")
    return 0


def _inspect(options: argparse.Namespace) -> int:
    folder = load_folder(options.directory, options.manifest_key)
    if options.json:
        _print_json(document(folder))
    else:
        print(summary(folder))
    return 0


def _verify(options: argparse.Namespace) -> int:
    folder = load_folder(options.directory, options.manifest_key)
    findings = verify_image(folder, Tools())
    problems = sum(bool(finding.problem) for finding in findings)
    if options.json:
        checks = [asdict(finding) for finding in findings]
        _print_json({"release_id": folder.release.release_id, "verified": not problems, "checks": checks})
    else:
        for finding in findings:
            print(f"{'FAILED' if finding.problem else 'ok':<7} {finding.check}")
            if finding.problem:
                print(f"        {finding.problem}")
        signer = options.manifest_key or "the key in the folder itself; give --manifest-key to know whose it is"
        print(f"{'FAILED' if problems else 'ok':<7} release {folder.release.release_id}, signed by {signer}")
    return _REJECTED if problems else 0


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=1))


if __name__ == "__main__":
    sys.exit(main())
