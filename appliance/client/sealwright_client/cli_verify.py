"""``sealwright-box verify``: what runs on a box, by the word of its TPM (policies/spec/box-evidence.md)."""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sealwright_client.box import connected
from sealwright_client.box_egress import box_egress
from sealwright_client.cli_output import Commands, add_command, print_result
from sealwright_client.pinning import fingerprint_of, parse_box_url, parse_fingerprint, shown_certificate
from sealwright_client.release_changes import PEERS_UNKNOWN
from sealwright_client.seen_logs import LogComparison, add_consistency, compare_log
from sealwright_client.trust_files import add_trust_files, load_trust_files, read_input
from sealwright_policies.appraisal.box_evidence import NONCE_SIZE, TrustAnchors, VerifiedBox, verify_box
from sealwright_policies.appraisal.reference_values import (
    MANIFEST_LIMIT,
    VERSION_PATTERN,
    DomainSummary,
    Manifest,
    version_key,
)
from sealwright_policies.appraisal.release import verify_release
from sealwright_policies.appraisal.result import describe
from sealwright_policies.domains.files import load_folder
from sealwright_policies.domains.held_texts import TABLES, HeldText, hold_texts
from sealwright_policies.domains.owner_report import ownership
from sealwright_policies.errors import OperationError, RejectionCode, UsageError, VerificationError
from sealwright_policies.tpm_tier import TpmTier

EXAMPLE = """\
  sealwright-box verify https://box.example:8443 --device oxw4… --service license-service.json \\
      --manifest-key manifest-key.pem --pin box.pin"""
HeldTexts = Mapping[str, HeldText]
"""By domain."""


def add_verify(commands: Commands) -> None:
    """Add the command."""
    verify = add_command(
        commands, "verify", _verify, help_="have the box's TPM prove which release runs", example=EXAMPLE,
        more="Its answer is held against the vendor's keys, which come to you by another way than the box: manifest "
        "and log of releases, device certificate, the measurements of this boot, and the certificate of this very "
        "connection. No key of yours is sent. The licence service is asked for one thing: the proof that its log has "
        "only grown since you saw it last.", fingerprint_needed=False,
    )  # fmt: skip
    add_trust_files(verify)
    add_consistency(verify)
    verify.add_argument(
        "--require-log", action="store_true",
        help="fail where nobody proves that the log is the one that was seen before, and do not only say so; a new pin "
        "always wants it",
    )  # fmt: skip
    verify.add_argument(
        "--device", metavar="ID", help="its device id, as on its console; or --fingerprint or --license"
    )
    verify.add_argument("--license", metavar="ID", help="licence under which it was activated")
    verify.add_argument(
        "--tier", action="append", choices=[one.value for one in TpmTier],
        help="kind of TPM that is believed; may be given again (default: all but software, whose host is believed)",
    )  # fmt: skip
    verify.add_argument("--at-least", type=_version, metavar="VERSION", help="oldest version that will do")
    verify.add_argument("--manifest", type=Path, metavar="FILE", help="manifest.json of the release that it has to be")
    verify.add_argument(
        "--domains",
        type=Path,
        metavar="FOLDER",
        help="domain files (NAME.toml) that the release's have to be the same as",
    )
    verify.add_argument("--pin", type=Path, metavar="FILE", help="write the fingerprint here once all is proven")


def _verify(arguments: argparse.Namespace) -> None:
    anchors = load_trust_files(arguments)
    if arguments.fingerprint is None and arguments.device is None and arguments.license is None:
        raise UsageError(
            "Say which box it has to be, by --device, --license or --fingerprint: other boxes of this vendor are "
            "genuine, too, and whoever is in between may own one."
        )
    files = () if arguments.domains is None else load_folder(arguments.domains)
    fingerprint = _fingerprint(arguments)
    _require_pinned(arguments, fingerprint)
    nonce = os.urandom(NONCE_SIZE)
    with connected(arguments.url, fingerprint) as box:
        shown = box.evidence(nonce)
    digest = bytes.fromhex(fingerprint.removeprefix("sha256:"))
    verified = verify_box(shown, anchors, nonce=nonce, fingerprint=digest, now=int(time.time()))
    _require_wanted(arguments, verified)
    if arguments.manifest is not None:
        _require_release(verified, arguments.manifest, anchors)
    texts = hold_texts(verified.release.manifest, files)
    needed = arguments.require_log or (arguments.pin is not None and not arguments.pin.exists())
    log = compare_log(shown.log.checkpoint, verified.checkpoint, anchors.service, arguments.consistency, needed=needed)
    if arguments.pin is not None:
        _pin(arguments.pin, fingerprint)
    egress = box_egress(anchors.service.url)
    told = document(verified, fingerprint, log, texts, egress)
    print_result(arguments, told, lines(verified, fingerprint, log, texts, egress))


def _fingerprint(arguments: argparse.Namespace) -> str:
    """The one that was given, else the one that is shown: the evidence then speaks for it or for another."""
    if arguments.fingerprint is not None:
        return parse_fingerprint(arguments.fingerprint)
    return fingerprint_of(shown_certificate(*parse_box_url(arguments.url)))


def document(
    verified: VerifiedBox, fingerprint: str, log: LogComparison, texts: HeldTexts, egress: Sequence[str]
) -> dict[str, Any]:
    """For ``--json``; ``egress`` is the box's own."""
    manifest, result = verified.release.manifest, verified.result
    return {
        "result": "verified",
        "fingerprint": fingerprint,
        "device_id": verified.device.device_id,
        "license_id": verified.device.license_id,
        "tier": verified.device.tier,
        "vendor": manifest.vendor,
        "product": manifest.product,
        "product_version": manifest.product_version,
        "release_id": verified.release.release_id,
        "log": {"size": verified.checkpoint.size, "root": verified.checkpoint.root.hex(), "seen": log.seen.value},
        "payloads": [
            {"payload_id": one.payload_id, "kind": one.kind.value, "domain": one.domain} for one in manifest.payloads
        ],
        "domains": [_domain_document(one, texts.get(one.name)) for one in manifest.domains],
        "peers": manifest.peers,
        "egress": list(egress),
        "boot": {"firmware": result.boot.firmware_version, "phases": list(result.boot.phases)} if result.boot else None,
        "pcrs": {str(number): value.hex() for number, value in sorted(result.pcrs.items())},
    }


def _domain_document(domain: DomainSummary, text: HeldText | None) -> dict[str, Any]:
    held = None if text is None else {"source": text.source} | text.tables()
    return domain.model_dump(mode="json") | {"ownership": asdict(ownership(domain)), "text": held}


def lines(
    verified: VerifiedBox, fingerprint: str, log: LogComparison, texts: HeldTexts, egress: Sequence[str]
) -> list[str]:
    """The same for people."""
    manifest, device = verified.release.manifest, verified.device
    return [
        f"verified: {manifest.product} {manifest.product_version} of {manifest.vendor} runs on this box",
        f"device    {device.device_id}, TPM tier {device.tier}",
        f"release   {verified.release.release_id}",
        f"log       the release is under the vendor's log of {verified.checkpoint.size} entries, "
        f"root {verified.checkpoint.root.hex()[:16]}…",
        log.line(),
        f"TLS       {fingerprint}: the TPM vouches for this connection's certificate",
        *(f"payload   {one.payload_id}: {one.kind.value} in domain {one.domain}" for one in manifest.payloads),
        *(f"domain    {one.name}: {one.level}, digest {one.digest}" for one in manifest.domains),
        *(f"owner     domain {one.name}: {ownership(one).line()}" for one in manifest.domains),
        *(f"opens     domain {one.name}: on a {one.opening}" for one in manifest.domains if one.opening is not None),
        *(f"egress    domain {one.name}: {way}" for one in manifest.domains for way in one.egress),
        *(f"flow      domain {one.name}: {way}" for one in manifest.domains for way in one.flows),
        *(line for one in manifest.domains for line in _text_lines(one.name, texts.get(one.name))),
        *([] if manifest.domains else ["domain    the release declares no domains"]),
        *_peer_lines(manifest),
        *(f"egress    the box itself: {way}" for way in egress),
        *(f"          {line}" for line in describe(verified.result)[1:]),
    ]


def _text_lines(name: str, text: HeldText | None) -> list[str]:
    if text is not None:
        return text.lines()
    return [f"text      domain {name}: not held against any, so its {', '.join(TABLES)} are not known (--domains)"]


def _peer_lines(manifest: Manifest) -> list[str]:
    if manifest.peers is None:
        return [f"peers     {PEERS_UNKNOWN}"]
    if not manifest.peers:
        return ["peers     none: the gateway calls nobody"]
    return [
        f"peers     {one}: the gateway may call ports 8443 and 8444 there, and 8444 is open to it"
        for one in manifest.peers
    ]


def _require_wanted(arguments: argparse.Namespace, verified: VerifiedBox) -> None:
    """It is a genuine box; demand that it is the wanted one, on a TPM and of a version that will do."""
    device, version = verified.device, verified.release.manifest.product_version
    wanted = {"device": (arguments.device, device.device_id), "licence": (arguments.license, device.license_id)}
    for what, (expected, found) in wanted.items():
        if expected not in (None, found):
            raise VerificationError(
                RejectionCode.DEVICE_UNKNOWN, f"This is another genuine box: its {what} is {found}, not {expected}."
            )
    tiers = arguments.tier or [one.value for one in TpmTier if one is not TpmTier.SOFTWARE]
    if device.tier not in tiers:
        raise VerificationError(
            RejectionCode.TIER_NOT_ALLOWED,
            f"The box has a TPM of the tier {device.tier}, and {', '.join(tiers)} will do. A software TPM proves "
            "nothing against whoever runs it.",
        )
    if arguments.at_least is not None and version_key(version) < version_key(arguments.at_least):
        raise VerificationError(
            RejectionCode.VERSION_BELOW_FLOOR,
            f"The box runs version {version}, and {arguments.at_least} is the oldest that will do.",
        )


def _version(text: str) -> str:
    if not re.fullmatch(VERSION_PATTERN, text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a version such as 1.2.0")
    return text


def _require_pinned(arguments: argparse.Namespace, fingerprint: str) -> None:
    """Demand that a pin that is there already is of the same certificate."""
    if arguments.pin is not None and arguments.pin.exists() and parse_fingerprint(f"@{arguments.pin}") != fingerprint:
        raise UsageError(f"{arguments.pin} is of another certificate. Delete it if the box has got a new one.")


def _require_release(verified: VerifiedBox, path: Path, anchors: TrustAnchors) -> None:
    wanted = verify_release(read_input(path, MANIFEST_LIMIT), anchors.manifest_key)
    if wanted.release_id != verified.release.release_id:
        raise VerificationError(
            RejectionCode.MANIFEST_MISMATCH,
            f"The box runs release {verified.release.release_id}, the manifest is of {wanted.release_id}.",
        )


def _pin(path: Path, fingerprint: str) -> None:
    try:
        path.write_text(fingerprint + "\n", "ascii")
    except OSError as error:
        raise OperationError(f"{path} cannot be written: {error.strerror}.") from None
