"""``release import | list | show | withdraw``."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from sealwright_licensing.cli_actor import cli_actor
from sealwright_licensing.cli_context import open_command
from sealwright_licensing.cli_ids import add_confirmation
from sealwright_licensing.cli_output import Commands, add_group, add_leaf, day, print_result, table
from sealwright_licensing.custodian_keys import load_custodians
from sealwright_licensing.keyring import load_keyring
from sealwright_licensing.keys import load_log_keys
from sealwright_licensing.manifest_keys import ManifestKeys
from sealwright_licensing.operations.releases import withdraw_release
from sealwright_licensing.operators.views import view_operation, view_release
from sealwright_licensing.records import Operation, ReleaseRecord, ReleaseShares
from sealwright_licensing.release_import import import_release, read_build_output
from sealwright_licensing.release_proofs import ReleaseProofs
from sealwright_licensing.sequencer import Sequencer
from sealwright_licensing.service_time import service_time
from sealwright_policies.errors import OperationError, RejectionCode, VerificationError
from sealwright_policies.wire.envelope import load_p256_public_key


def add_commands(commands: Commands) -> None:
    """Add them to the command line."""
    group = add_group(commands, "release", "releases that boxes may run")
    take = add_leaf(
        group, "import", _import, help_="verify a build's output and make its release known",
        example="sealwright-license release import /srv/license build/out --manifest-key keys/manifest.pem",
    )  # fmt: skip
    take.add_argument("output", metavar="OUTPUT", type=Path, help="output folder of `sealwright-image build`")
    take.add_argument("--manifest-key", required=True, type=Path, metavar="PEM",
                      help="public key that the manifest must be signed with")  # fmt: skip
    add_leaf(group, "list", _list, help_="list releases", example="sealwright-license release list /srv/license")
    show = add_leaf(
        group, "show", _show, help_="show a release, its partitions and what was done to it",
        example="sealwright-license release show /srv/license 3f1c…",
    )  # fmt: skip
    show.add_argument("release_id", metavar="RELEASE", help="its id, or the beginning of it")
    proof = add_leaf(
        group, "proof", _proof, help_="print the proof that a release is in the log, for customers without a network",
        example="sealwright-license release proof /srv/license 3f1c… > proof.json",
    )  # fmt: skip
    proof.add_argument("release_id", metavar="RELEASE", help="its id, or the beginning of it")
    withdraw = add_leaf(
        group, "withdraw", _withdraw, help_="sign no more leases for a release",
        example="sealwright-license release withdraw /srv/license 3f1c…",
    )  # fmt: skip
    withdraw.add_argument("release_id", metavar="RELEASE", help="its id, or the beginning of it")
    add_confirmation(withdraw, "Withdraw release {release_id}? Boxes get no more leases for it.")


def _import(arguments: argparse.Namespace) -> None:
    try:
        key = load_p256_public_key(arguments.manifest_key.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise OperationError(
            f"{arguments.manifest_key} cannot be read: {error}.", cure="Give manifest-key.pem of the build."
        ) from error
    output = read_build_output(arguments.output)
    with open_command(arguments) as context:
        release, is_new = import_release(
            context.store,
            cli_actor(),
            load_custodians(context.folder.keys),
            output,
            key,
            trusted=ManifestKeys(context.folder.manifest_keys),
            service_id=context.config.service_id,
            service_files=load_keyring(context.folder.keys).service_files,
            now=int(time.time()),
        )
        # Whoever is told that it was imported can license it, whether the service runs or not.
        Sequencer(context.store, load_log_keys(context.folder.keys), context.config.service_id).run()
    manifest = release.manifest
    variants = [one.name for one in release.variants]
    result = {
        "release_id": release.release_id,
        "product": manifest.product,
        "version": manifest.product_version,
        "flavour": manifest.flavour,
        "partitions": [payload.payload_id for payload in manifest.payloads],
        "variants": variants,
        "new": is_new,
    }
    verb = "imported" if is_new else "was known already; approvals refreshed"
    words = [f"Release {release.release_id} of {manifest.product} {manifest.product_version} {verb}."]
    if variants:
        words.append(f"Ways through PCR 4 signed after the build: {', '.join(variants)}.")
    print_result(result, words, as_json=arguments.json)


def _proof(arguments: argparse.Namespace) -> None:
    with open_command(arguments) as context:
        proof = ReleaseProofs(context.store).of(arguments.release_id)
    document = proof.model_dump(mode="json")
    print_result(document, [json.dumps(document)], as_json=arguments.json)


def _list(arguments: argparse.Namespace) -> None:
    with open_command(arguments) as context, context.store.read() as transaction:
        found = transaction.find(ReleaseRecord, newest_first="imported_at")
    shown = [
        {
            "release_id": one.release_id,
            "product": one.product,
            "version": one.version,
            "flavour": one.flavour,
            "imported_at": one.imported_at,
            "withdrawn": one.withdrawn,
        }
        for one in found
    ]
    rows = [
        (one.release_id[:16], one.product, one.version, one.flavour, day(one.imported_at),
         "withdrawn" if one.withdrawn else "") for one in found
    ]  # fmt: skip
    print_result(
        shown, table(("release", "product", "version", "flavour", "imported", ""), rows), as_json=arguments.json
    )


def _show(arguments: argparse.Namespace) -> None:
    with open_command(arguments) as context, context.store.read() as transaction:
        release = transaction.get(ReleaseRecord, arguments.release_id)
        if release is None:
            raise VerificationError(RejectionCode.RELEASE_UNKNOWN, f"there is no release {arguments.release_id}")
        partitions = [one.partition_id for one in transaction.find(ReleaseShares, release_id=release.release_id)]
        operations = transaction.find(Operation, newest_first="performed_at", limit=10, subject=release.release_id)
    words = [
        f"Release {release.release_id} of {release.product} {release.version}, {release.flavour}"
        f"{', withdrawn' if release.withdrawn else ''}, imported {day(release.imported_at)} UTC.",
        f"Manifest key {release.manifest_key}.",
        *(f"Partition {one}" for one in partitions),
        *(f"{day(one.performed_at)}  {one.operation}  by {one.actor_kind} {one.actor}" for one in operations),
    ]
    shown = view_release(release).model_dump(mode="json") | {
        "partitions": partitions,
        "operations": [view_operation(one).model_dump(mode="json") for one in operations],
    }
    print_result(shown, words, as_json=arguments.json)


def _withdraw(arguments: argparse.Namespace) -> None:
    with open_command(arguments) as context:
        withdrawn = withdraw_release(
            context.store, cli_actor(), arguments.release_id, now=service_time(context.store, int(time.time()))
        )
    result = {"release_id": withdrawn.release_id, "withdrawn": True}
    print_result(result, [f"Release {withdrawn.release_id} is withdrawn."], as_json=arguments.json)
