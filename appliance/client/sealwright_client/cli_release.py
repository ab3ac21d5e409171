"""``release approve | sign | withdraw | list``: which releases may open the customer's data, by their own key."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from pathlib import Path

from sealwright_client.box import Box, BoxRefusedError, connected
from sealwright_client.cli_output import Commands, add_command, print_result, shown
from sealwright_client.customer_key import add_customer_key, read_customer_key
from sealwright_client.license_service import ask_service
from sealwright_client.pinning import parse_fingerprint
from sealwright_client.release_changes import changes
from sealwright_client.secret_input import ask_code
from sealwright_client.seen_logs import LogComparison, add_consistency, compare_log
from sealwright_client.trust_files import add_trust_files, load_trust_files, read_input
from sealwright_policies.appraisal.boot_variants import VARIANTS_LIMIT, verify_variants
from sealwright_policies.appraisal.box_evidence import NONCE_SIZE, TrustAnchors, require_for_customers, verify_box
from sealwright_policies.appraisal.reference_values import MANIFEST_LIMIT, Manifest
from sealwright_policies.appraisal.release import Release, verify_release
from sealwright_policies.errors import OperationError, RejectionCode, UsageError, VerificationError
from sealwright_policies.transparency.release_proof import ReleaseProof, require_logged_as, verify_release_proof
from sealwright_policies.wire.encoding import document_bytes, parse_json
from sealwright_policies.wire.envelope import load_p256_private_key
from sealwright_policies.wire.state_approval import approve_release, sign_approvals
from sealwright_policies.wire.withdrawal import sign_withdrawal

APPROVE_EXAMPLE = """\
  sealwright-box release approve https://box.example:8443 --fingerprint @box.pin --manifest update/manifest.json \\
      --customer-key box-secrets.json --service license-service.json --manifest-key manifest-key.pem"""
SIGN_EXAMPLE = """\
  sealwright-box release sign --manifest update/manifest.json --customer-key box-secrets.json \\
      --service license-service.json --manifest-key manifest-key.pem --proof proof.json --out approval.json"""
LIST_EXAMPLE = "  sealwright-box release list https://box.example:8443 --fingerprint @box.pin"
WITHDRAW_EXAMPLE = """\
  sealwright-box release withdraw https://box.example:8443 --fingerprint @box.pin --release 3f1c… \\
      --customer-key box-secrets.json"""
WORD = "withdraw"
EXAMPLES = f"{APPROVE_EXAMPLE}\n{SIGN_EXAMPLE}\n{WITHDRAW_EXAMPLE}\n{LIST_EXAMPLE}"
NOTHING_TO_SHOW = "NO_EVIDENCE"
"""Code of a box that is locked or not activated; any other refusal is not passed over."""
PROOF_LIMIT = 64 * 1024


def add_release(commands: Commands) -> None:
    """Add them to the command line."""
    group = commands.add_parser(
        "release", help="which releases may open your data",
        description="A box opens your data under a release that you have approved, and under no other.",
        epilog=f"examples:\n{EXAMPLES}", formatter_class=argparse.RawDescriptionHelpFormatter,
    ).add_subparsers(title="commands", required=True, metavar="COMMAND")  # fmt: skip
    approve = add_command(
        group, "approve", _approve, help_="let a release open your data", example=APPROVE_EXAMPLE,
        more="Shows what the release changes against the one that runs, and that it is in the vendor's log. Approve "
        "before you update; a box that was updated without an approval stays locked, and this command opens it. Your "
        "key signs here and is not sent.",
    )  # fmt: skip
    _add_release(approve)
    _add_sign(group)
    withdraw = add_command(
        group, "withdraw", _withdraw, help_="let a release open your data no more", example=WITHDRAW_EXAMPLE,
        more="The box forgets the approval and takes none for that release again, whoever brings it; there is no "
        "way back. Not for the release that runs: approve and start another first. It does not hold against an older "
        "copy of the disk: whoever puts that back has the approval with it, and only a wipe ends it. Your key signs "
        "here and is not sent.",
    )  # fmt: skip
    withdraw.add_argument("--release", required=True, metavar="ID", help="as release list shows it")
    withdraw.add_argument(
        "--unapproved", action="store_true", help="also a release that the box has no approval of now"
    )
    add_customer_key(withdraw)
    withdraw.add_argument("--yes", action="store_true", help="do not ask")
    add_command(group, "list", _list, help_="show which releases you have approved", example=LIST_EXAMPLE)


def _add_sign(group: Commands) -> None:
    sign = group.add_parser(
        "sign", help="make an approval file, for the page of a box",
        description="Make a file that lets a release open your data, where the key is and the box is not. The page of "
        "the locked box takes it. Your key signs here and is not in the file, which is good for the box of that key.",
        epilog=f"example:\n{SIGN_EXAMPLE}", formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    _add_release(sign)
    sign.add_argument("--out", required=True, type=Path, metavar="FILE", help="file to write")
    sign.add_argument("--json", action="store_true", help="print JSON")
    sign.set_defaults(action=_sign)


def _add_release(command: argparse.ArgumentParser) -> None:
    add_trust_files(command)
    command.add_argument("--manifest", required=True, type=Path, metavar="FILE", help="manifest.json of the release")
    add_customer_key(command)
    add_consistency(command)
    command.add_argument(
        "--proof", type=Path, metavar="FILE", help="the log's proof; without it the licence service is asked for one"
    )
    command.add_argument(
        "--variants", type=Path, metavar="FILE", help="variants.json, for firmware that the manifest does not foresee"
    )
    command.add_argument("--yes", action="store_true", help="do not ask")


def _approve(arguments: argparse.Namespace) -> None:
    anchors, key = load_trust_files(arguments), load_p256_private_key(read_customer_key(arguments.customer_key))
    release, known = _judged(arguments, anchors)
    fingerprint = parse_fingerprint(arguments.fingerprint)
    with connected(arguments.url, fingerprint) as box:
        running = running_release(box, anchors, bytes.fromhex(fingerprint.removeprefix("sha256:")))
        lines = [*known, *changes(running, release.manifest)]
        _require_will(arguments, release, lines)
        outcome = box.approve(sign_approvals(approve_release(release, key), key))
    done = "the box restarts with it" if outcome.get("restarts") else "good from the next boot of that release on"
    print_result(arguments, outcome | {"release_id": release.release_id}, [*lines, f"approved  {done}"])


def _sign(arguments: argparse.Namespace) -> None:
    anchors, key = load_trust_files(arguments), load_p256_private_key(read_customer_key(arguments.customer_key))
    release, known = _judged(arguments, anchors)
    _, *new = changes(None, release.manifest)
    lines = [*known, "running   not known: no box was asked, so all of the release is new", *new]
    _require_will(arguments, release, lines)
    document = document_bytes(sign_approvals(approve_release(release, key), key))
    try:
        arguments.out.write_bytes(document)
    except OSError as error:
        raise OperationError(f"{arguments.out} cannot be written: {error.strerror}.") from None
    result = {"release_id": release.release_id, "file": str(arguments.out)}
    print_result(arguments, result, [*lines, f"signed    {arguments.out}: give it to the page of the box"])


def _judged(arguments: argparse.Namespace, anchors: TrustAnchors) -> tuple[Release, list[str]]:
    """The release that is to be approved: the vendor's, for customers, and in the log; and that in words."""
    release = verify_release(read_input(arguments.manifest, MANIFEST_LIMIT), anchors.manifest_key)
    if arguments.variants is not None:
        release = verify_variants(read_input(arguments.variants, VARIANTS_LIMIT), anchors.manifest_key, release)
    require_for_customers(release)
    entries, log = _logged(arguments, release, anchors)
    return release, [
        f"release   {release.manifest.product} {release.manifest.product_version}, {release.release_id}",
        f"log       in the vendor's log of {entries} entries",
        log.line(),
    ]


def _require_will(arguments: argparse.Namespace, release: Release, lines: list[str]) -> None:
    """Have the customer read what they approve and type its version.

    Raises:
        UsageError: they did not.
    """
    if not arguments.yes:
        print(shown(lines), file=sys.stderr)
        if ask_code("Type the version to let this release open your data") != release.manifest.product_version:
            raise UsageError("Not approved; nothing was sent.")


def _withdraw(arguments: argparse.Namespace) -> None:
    if not re.fullmatch("[0-9a-f]{64}", arguments.release):
        raise UsageError("--release takes 64 hex digits, as release list shows them.")
    key = load_p256_private_key(read_customer_key(arguments.customer_key))
    with connected(arguments.url, parse_fingerprint(arguments.fingerprint)) as box:
        volume, approved = _approvals(box)
        if arguments.release not in approved and not arguments.unapproved:
            raise UsageError(
                "The box has no approval of that release (release list shows them). To have it refuse one that it has "
                "not got yet, for good, add --unapproved."
            )
        if not arguments.yes:
            print(f"Release {arguments.release} opens your data no more, and this cannot be undone.", file=sys.stderr)
            if ask_code(f"Type {WORD} to go on") != WORD:
                raise UsageError("Nothing was sent, and nothing was withdrawn.")
        left = box.withdraw(sign_withdrawal(volume, arguments.release, key))
    lines = [
        f"withdrawn {arguments.release}",
        *(f"approved  {one}" for one in left.get("releases", [])),
        "Copies of the disk that were made before have the approval in them still.",
    ]
    print_result(arguments, left | {"withdrawn": arguments.release}, lines)


def _approvals(box: Box) -> tuple[str, list[str]]:
    """The id of the state volume, and releases that may open it, as the box says."""
    said = box.approvals()
    volume, releases = said.get("volume_id"), said.get("releases")
    if not isinstance(volume, str) or not re.fullmatch("[0-9a-f]{64}", volume) or not isinstance(releases, list):
        raise OperationError("The box does not say which state volume it has.", cure="Update it first.")
    return volume, releases


def _logged(arguments: argparse.Namespace, release: Release, anchors: TrustAnchors) -> tuple[int, LogComparison]:
    """Entries of the log that has the release, and how it compares with what was seen of it."""
    raw = (
        read_input(arguments.proof, PROOF_LIMIT)
        if arguments.proof is not None
        else _fetched_proof(release.release_id, anchors)
    )
    proof = parse_json(ReleaseProof, raw, limit=PROOF_LIMIT)
    checkpoint = verify_release_proof(proof, release.release_id, anchors.service)
    require_logged_as(proof, release.manifest.product, release.manifest.product_version)
    if release.manifest.service_id != anchors.service.service_id:
        raise VerificationError(RejectionCode.MANIFEST_MISMATCH, "The release belongs to another licence service.")
    log = compare_log(proof.checkpoint, checkpoint, anchors.service, arguments.consistency, needed=True)
    return checkpoint.size, log


def _fetched_proof(release_id: str, anchors: TrustAnchors) -> bytes:
    try:
        found = ask_service(anchors.service, f"/v1/log/proof/releases/{release_id}", PROOF_LIMIT)
    except OperationError as error:
        raise OperationError(str(error), cure="Get the proof from the vendor and give it with --proof.") from None
    if found is None:
        raise VerificationError(
            RejectionCode.RELEASE_NOT_LOGGED, f"The licence service has no proof for release {release_id[:16]}."
        )
    return found


def running_release(box: Box, anchors: TrustAnchors, fingerprint: bytes) -> Manifest | None:
    """What runs now, proven; None where the box has nothing to show, as one that is locked."""
    nonce = os.urandom(NONCE_SIZE)
    try:
        answer = box.evidence(nonce)
    except BoxRefusedError as error:
        if error.code != NOTHING_TO_SHOW:
            raise
        return None
    return verify_box(answer, anchors, nonce=nonce, fingerprint=fingerprint, now=int(time.time())).release.manifest


def _list(arguments: argparse.Namespace) -> None:
    with connected(arguments.url, parse_fingerprint(arguments.fingerprint)) as box:
        approved, release = box.approvals(), box.status().get("release") or {}
    running = release.get("release_id") if isinstance(release, dict) else None
    lines = [f"approved  {one}{'  (running)' if one == running else ''}" for one in approved.get("releases", [])]
    print_result(arguments, approved | {"running": running}, lines or ["No release is approved."])
