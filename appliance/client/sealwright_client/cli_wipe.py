"""``sealwright-box wipe``: the end of the customer's data on a box, by the customer's own key."""

from __future__ import annotations

import argparse

from sealwright_client.box import connected
from sealwright_client.cli_output import Commands, add_command, print_result
from sealwright_client.customer_key import add_customer_key, read_customer_key
from sealwright_client.pinning import parse_fingerprint
from sealwright_client.secret_input import ask_code
from sealwright_policies.errors import UsageError
from sealwright_policies.wire.envelope import load_p256_private_key
from sealwright_policies.wire.wipe_order import sign_wipe_order

EXAMPLE = "  sealwright-box wipe https://box.example:8443 --fingerprint @box.pin --customer-key box-secrets.json"
WORD = "destroy"


def add_wipe(commands: Commands) -> None:
    """Add the command."""
    wipe = add_command(
        commands, "wipe", _wipe, help_="destroy your data on a box", example=EXAMPLE,
        more="The box clears its TPM at once, which also ends what other systems keep under that TPM's owner; it "
        "restarts, blanks its disk's header, and comes up as new. API keys, documents, leases and activation are gone, "
        "and no copy of the disk opens any more but with the recovery key, which you destroy yourself. It works on a "
        "locked box too. Your key signs here and is not sent.",
    )  # fmt: skip
    add_customer_key(wipe)
    wipe.add_argument("--yes", action="store_true", help="do not ask")


def _wipe(arguments: argparse.Namespace) -> None:
    key = load_p256_private_key(read_customer_key(arguments.customer_key))
    with connected(arguments.url, parse_fingerprint(arguments.fingerprint)) as box:
        volume = str(box.approvals().get("volume_id"))
        if not arguments.yes and ask_code(f"All your data on this box will be gone. Type {WORD} to go on") != WORD:
            raise UsageError("Nothing was sent, and nothing was destroyed.")
        box.wipe(sign_wipe_order(volume, key))
    print_result(
        arguments, {"result": "ordered", "volume_id": volume},
        ["Ordered: the box restarts and destroys your data; its console says when. Destroy the recovery key, too."],
    )  # fmt: skip
