"""``keygen-owner``, ``sign-domain``, ``pack-workload`` and ``sign-workload``: what a domain's owner signs."""

from __future__ import annotations

import argparse
import base64
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from sealwright_custody.keeper import Keeper, fingerprint
from sealwright_custody.kinds import KeyKind
from sealwright_image import output as names
from sealwright_image.cli_keys import confirm, locator
from sealwright_image.context import make_context
from sealwright_image.progress import Progress
from sealwright_image.workload_image import load_image, pack_workload
from sealwright_policies.appraisal.reference_values import SignedDomain
from sealwright_policies.domains.canonical import domain_digest, summarise
from sealwright_policies.domains.files import load_domain
from sealwright_policies.domains.model import Domain
from sealwright_policies.domains.owner_signing import sign_domain, sign_workload
from sealwright_policies.domains.ownership import key_id
from sealwright_policies.domains.signed_files import load_signed_domain, read_signed_domain, signed_file
from sealwright_policies.errors import OperationError, UsageError
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.wire.envelope import public_der

EXAMPLES = """\
examples, for the owner of a domain:
  sealwright-image keygen-owner owner.key
  sealwright-image sign-domain oncology-records.toml --owner-key owner.key
  sealwright-image pack-workload training/ --output training.img
  sealwright-image sign-workload oncology-records.toml lora-training --image training.img --owner-key owner.key
  sealwright-policy check oncology-records.toml
"""


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> Iterator[argparse.ArgumentParser]:
    """Add them to the command line; gives their parsers."""
    keygen = _command(commands, "keygen-owner", "make the key by which the owner of a domain signs")
    keygen.add_argument("key", type=locator, metavar="KEY", help="where to keep it: a new file or a pkcs11: URI")
    keygen.set_defaults(command=_keygen)
    domain = _command(commands, "sign-domain", "sign a domain as its owner")
    _add_signing(domain)
    domain.set_defaults(command=_sign_domain)
    pack = _command(commands, "pack-workload", "pack a workload once, so that owners can sign the image")
    pack.add_argument("folder", type=Path, metavar="FOLDER", help="its root, with the executable file `program`")
    pack.add_argument("--output", type=Path, required=True, metavar="IMAGE",
                      help="new file, for `path` in the product file; IMAGE.verity.json goes with it")  # fmt: skip
    pack.set_defaults(command=_pack)
    workload = _command(commands, "sign-workload", "sign that a workload's image may run on what lies in a domain")
    _add_signing(workload)
    workload.add_argument("workload", metavar="ID", help="payload id of the workload, among the domain's run.workloads")
    which = workload.add_mutually_exclusive_group(required=True)
    which.add_argument("--image", type=Path, metavar="IMAGE", help="what `pack-workload` wrote; every block is read")
    which.add_argument("--root-hash", type=_root_hash, metavar="HEX",
                       help="root hash of an image that you have looked at elsewhere")  # fmt: skip
    workload.set_defaults(command=_sign_workload)
    yield from (keygen, domain, pack, workload)


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, words: str
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name, help=words, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )


def _add_signing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("domain", type=Path, metavar="DOMAIN.TOML", help="its signatures go to DOMAIN.signed.json")
    parser.add_argument("--owner-key", type=locator, required=True, metavar="KEY", help="file or pkcs11: URI")
    parser.add_argument("--yes", action="store_true", help="sign without asking")


def _keygen(options: argparse.Namespace) -> int:
    keeper = Keeper(Path.cwd())
    try:
        keeper.generate(options.key, KeyKind.P256)
        public = keeper.open_p256(options.key).public_key()
    finally:
        keeper.close()
    text = base64.b64encode(public_der(public)).decode("ascii")
    words = (
        f"The key is in {options.key}; keep it off the build host. Key id {fingerprint(public)}.\n"
        f'Put this under [owner] of your domain, then `sign-domain`:\nkey = "{text}"'
    )
    _print(options, {"key": str(options.key), "key_id": fingerprint(public), "owner_key": text}, words)
    return 0


def _sign_domain(options: argparse.Namespace) -> int:
    """Show what a domain says, ask, sign."""
    source = load_domain(options.domain)
    target = signed_file(source)
    earlier = read_signed_domain(target) if target.exists() else None
    _account(options, _about_domain(source.domain))
    signed = _signed(options, lambda key: sign_domain(source.domain, key, earlier))
    names.write_durably(target, document_bytes(signed) + b"\n")
    kept = f" Workloads that stay signed: {_listed(signed)}." if signed.workloads else ""
    words = f"Signed: {target}.{kept} Give it to whoever builds, with {options.domain.name}."
    _print(options, _described(source.domain, signed, target), words)
    return 0


def _pack(options: argparse.Namespace) -> int:
    try:
        with tempfile.TemporaryDirectory(prefix=".pack-", dir=options.output.absolute().parent) as work:
            verity = pack_workload(make_context(Path(work), Progress(sys.stderr)), options.folder, options.output)
    except OSError as error:
        raise OperationError(f"{error.filename or options.output}: {error.strerror}.") from error
    words = f"{options.output}: root hash {verity.root_hash}. Next, by each owner: `sign-workload`."
    _print(options, {"image": str(options.output), "root_hash": verity.root_hash}, words)
    return 0


def _sign_workload(options: argparse.Namespace) -> int:
    """Show which image is let at what, ask, sign."""
    source = load_domain(options.domain)
    domain = load_signed_domain(source)
    if domain is None:
        raise UsageError(f"{source.place(('owner',))}: the domain names no key of its owner; see `keygen-owner`.")
    root_hash = options.root_hash or load_image(options.image).root_hash
    members = ", ".join(f"{one.kind.value} {one.id}" for one in source.domain.member) or "nothing"
    _account(
        options,
        [
            f"Workload  {options.workload}, image with root hash {root_hash}",
            f"Domain    {source.domain.name}, in which there is: {members}",
            "With your signature a box lets this image read them: in this domain, and where a chain takes them raw.",
        ],
    )
    signed = _signed(options, lambda key: sign_workload(domain, options.workload, root_hash, key))
    target = signed_file(source)
    names.write_durably(target, document_bytes(signed) + b"\n")
    _print(options, _described(source.domain, signed, target), f"Signed: {target}. Workloads: {_listed(signed)}.")
    return 0


def _signed(options: argparse.Namespace, sign: Callable[[ec.EllipticCurvePrivateKey], SignedDomain]) -> SignedDomain:
    if not options.yes:
        confirm("Sign this?")
    keeper = Keeper(Path.cwd())
    try:
        return sign(keeper.open_p256(options.owner_key))
    finally:
        keeper.close()


def _about_domain(domain: Domain) -> list[str]:
    told, identity = summarise(domain), key_id(domain)
    return [
        f"Domain    {domain.name}: {domain.level.value}, of {domain.owner.name}",
        f"Digest    {told.digest}",
        f"Key id    {identity.hex() if identity else 'the domain names none'}",
        f"Members   {', '.join(f'{one.kind.value} {one.id}' for one in domain.member) or 'none'}",
        f"Workloads {', '.join(domain.run.workloads) or 'none'}"
        + ("; the vendor's signature is enough for them" if domain.owner.vendor_workloads else ""),
        f"Opens     on a {told.opening}; from version {domain.open.from_version} on, below {domain.open.below_version}",
        *(f"Egress    {one}" for one in told.egress),
        *(f"Flow      {one}" for one in told.flows),
    ]


def _described(domain: Domain, signed: SignedDomain, target: Path) -> dict[str, Any]:
    identity = key_id(domain)
    return {
        "domain": domain.name,
        "digest": domain_digest(domain).hex(),
        "key_id": identity.hex() if identity else None,
        "workloads": {one.payload_id: one.root_hash for one in signed.workloads},
        "file": str(target),
    }


def _listed(signed: SignedDomain) -> str:
    return ", ".join(f"{one.payload_id} {one.root_hash[:16]}" for one in signed.workloads)


def _account(options: argparse.Namespace, lines: list[str]) -> None:
    print(*lines, sep="\n", file=sys.stderr if options.json else sys.stdout)


def _print(options: argparse.Namespace, document: dict[str, Any], words: str) -> None:
    print(json.dumps(document, indent=1) if options.json else words)


def _root_hash(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is no root hash: 64 hex digits, lower case")
    return text
