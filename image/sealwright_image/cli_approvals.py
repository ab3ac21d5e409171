"""``keygen-release``, ``sign-approvals`` and ``add-approvals``: a release key that stays on a machine of its own."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from sealwright_custody.keeper import Keeper, fingerprint, public_pem
from sealwright_custody.kinds import KeyKind
from sealwright_image import output as names
from sealwright_image.approval_files import add_reply, load_reply, load_request, save_reply
from sealwright_image.cli_keys import confirm, locator
from sealwright_image.contents import load_approvals, load_folder
from sealwright_policies.errors import FormatError, UsageError
from sealwright_policies.wire.approval_request import (
    ApprovalRequest,
    missing_approvals,
    sign_request,
    verify_request,
)
from sealwright_policies.wire.envelope import load_p256_public_key


def add_keygen_arguments(parser: argparse.ArgumentParser) -> None:
    """Of ``keygen-release``."""
    parser.add_argument("key", type=locator, metavar="KEY", help="where to keep it: a new file or a pkcs11: URI")
    parser.add_argument("--public", type=Path, required=True, metavar="PEM", help="gets the public half, for builds")


def add_sign_arguments(parser: argparse.ArgumentParser) -> None:
    """Of ``sign-approvals``."""
    parser.add_argument("request", type=Path, metavar="REQUEST", help=f"{names.APPROVAL_REQUEST} of a build")
    parser.add_argument("--release-key", type=locator, required=True, metavar="KEY", help="file or pkcs11: URI")
    parser.add_argument("--manifest-key", type=Path, required=True, metavar="PEM",
                        help="public key that must have signed the release; keep your own copy here")  # fmt: skip
    parser.add_argument("--output", type=Path, required=True, metavar="REPLY", help="file that gets the approvals")
    parser.add_argument("--yes", action="store_true", help="sign without asking")


def add_add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of ``add-approvals``."""
    parser.add_argument("directory", type=Path, metavar="DIR", help="output folder of build")
    parser.add_argument("reply", type=Path, metavar="REPLY", help="what `sign-approvals` wrote")
    parser.add_argument("--manifest-key", type=Path, metavar="PEM", help="who must have signed it (default: DIR's)")


def keygen(options: argparse.Namespace) -> int:
    """Make a release key."""
    if options.public.exists():
        raise UsageError(f"{options.public} exists; keys are never overwritten.")
    keeper = Keeper(Path.cwd())
    try:
        public = keeper.generate(options.key, KeyKind.P256).public_key()
    finally:
        keeper.close()
    names.write_durably(options.public, public_pem(public).encode("ascii"))
    result = {"key": str(options.key), "public": str(options.public), "fingerprint": fingerprint(public)}
    words = f"The release key is in {options.key}. Give {options.public} to builds: `keygen KEYS --release-public`."
    print(json.dumps(result, indent=1) if options.json else words)
    return 0


def sign(options: argparse.Namespace) -> int:
    """Show what a request asks for, ask, sign."""
    request = load_request(options.request)
    release = verify_request(request, load_p256_public_key(_text(options.manifest_key)))
    say = sys.stderr if options.json else sys.stdout
    print(*_account(request), sep="\n", file=say)
    if not options.yes:
        confirm("Sign these?")
    keeper = Keeper(Path.cwd())
    try:
        reply = sign_request(request, release, keeper.open_p256(options.release_key))
    finally:
        keeper.close()
    save_reply(options.output, reply)
    if options.json:
        signed = [one.model_dump(mode="json") for one in request.approvals]
        print(json.dumps({"release_id": release.release_id, "signed": signed, "reply": str(options.output)}, indent=1))
    else:
        print(
            f"Signed {len(reply.approvals)} approvals: {options.output}. Next, at the build: `add-approvals DIR REPLY`."
        )
    return 0


def add(options: argparse.Namespace) -> int:
    """Merge a reply into an image's folder."""
    folder = load_folder(options.directory, options.manifest_key)
    added = add_reply(folder, load_reply(options.reply))
    missing = len(missing_approvals(folder.release, load_approvals(folder)))
    if options.json:
        print(json.dumps({"release_id": folder.release.release_id, "added": added, "missing": missing}, indent=1))
    elif missing:
        print(f"{added} approvals added; {missing} are missing: {names.APPROVAL_REQUEST} asks for them.")
    else:
        print(f"{added} approvals added; complete. Next: `sealwright-license release import`.")
    return 0


def _account(request: ApprovalRequest) -> list[str]:
    """What is about to be signed, for people."""
    lines = [
        f"Release   {request.release_id}",
        f"Product   {request.product} {request.product_version}",
        f"Signatures wanted: {len(request.approvals)}. With one and a lease a box opens that model in that state.",
    ]
    partition = ""
    for one in request.approvals:
        if one.partition_id != partition:
            partition = one.partition_id
            fixed = ", ".join(f"{pcr} {one.pcrs[pcr][:16]}" for pcr in sorted(one.pcrs, key=int) if pcr != "4")
            lines += [f"Model {one.payload_id}, partition {partition[:16]}; PCR {fixed}"]
        lines.append(f"  {one.way}: PCR 4 {one.pcrs['4']}, signs {one.digest}")
    return lines


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: not a public key in PEM form.") from error
