"""``keys list | rotate | rewrap | move | forget | renew-certificate``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sealwright_custody.keeper import Keeper, fingerprint
from sealwright_custody.locator import FileLocator, KeyLocator, TokenLocator
from sealwright_licensing.cli_actor import cli_actor
from sealwright_licensing.cli_context import Context, open_service
from sealwright_licensing.cli_output import Commands, add_group, add_leaf, day, locator, print_result, table
from sealwright_licensing.config import ServiceFolder, load_config
from sealwright_licensing.custodian_keys import open_custodian
from sealwright_licensing.journal import record_operation
from sealwright_licensing.key_retirement import forget_key
from sealwright_licensing.keyring import CUSTODIANS, KeyEntry, Keyring, KeyRole, load_keyring
from sealwright_licensing.keys import load_log_keys
from sealwright_licensing.rewrapping import rewrap_shares
from sealwright_licensing.rotation import Rotation
from sealwright_licensing.sequencer import Sequencer
from sealwright_licensing.service_time import service_time
from sealwright_policies.errors import OperationError

DAY_S = 86_400


def add_commands(commands: Commands) -> None:
    """Add them to the command line."""
    group = add_group(commands, "keys", "the service's private keys: where they are, and their rotation")
    listed = add_leaf(group, "list", _list, help_="list the keys, where each is kept and how old it is",
                      example="sealwright-license keys list /srv/license --check")  # fmt: skip
    listed.add_argument("--check", action="store_true", help="open each key and compare it with the keyring")
    listed.add_argument("--try-pin", action="store_true",
                        help="check, and offer the PIN although the last one was wrong")  # fmt: skip
    rotate = add_leaf(
        group, "rotate", _rotate, help_="make a new key of a role; what is out already goes on with the earlier one",
        example="sealwright-license keys rotate /srv/license custodian-lease-share",
    )  # fmt: skip
    _add_role(rotate)
    rotate.add_argument("--keeper", metavar="LOCATOR", type=locator,
                        help="where to keep it: file:NAME or a pkcs11: URI (default: a new file in keys/)")  # fmt: skip
    rewrap = add_leaf(group, "rewrap", _rewrap, help_="complete a custodian's rotation that was cut off",
                      example="sealwright-license keys rewrap /srv/license")  # fmt: skip
    del rewrap
    move = add_leaf(
        group, "move", _move, help_="keep the current key of a role elsewhere, e.g. in a token",
        example="sealwright-license keys move /srv/license lease-policy "
        "'pkcs11:token=hsm;object=lease-policy?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/pin'",
    )  # fmt: skip
    _add_role(move)
    move.add_argument("keeper", metavar="LOCATOR", type=locator, help="file:, credential: or pkcs11:")
    forget = add_leaf(group, "forget", _forget, help_="take an earlier key out of use, if nothing needs it any more",
                      example="sealwright-license keys forget /srv/license 3f1c9a20")  # fmt: skip
    forget.add_argument("fingerprint", metavar="FINGERPRINT", help="its beginning, as `keys list` shows it")
    add_leaf(group, "renew-certificate", _renew, help_="issue the TLS server's certificate anew",
             example="sealwright-license keys renew-certificate /srv/license")  # fmt: skip


def _add_role(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("role", metavar="ROLE", type=KeyRole, choices=list(KeyRole), help=", ".join(KeyRole))


@dataclass(frozen=True, slots=True)
class _Keys:
    context: Context
    keeper: Keeper

    @property
    def rotation(self) -> Rotation:
        return Rotation(self.context.folder, self.keeper)

    def record(self, operation: str, entry: KeyEntry) -> None:
        """Enter what was done in the journal of operations."""
        store = self.context.store
        detail = {"role": entry.role.value, "keeper": entry.keeper.partition(":")[0]}
        now = service_time(store, int(time.time()))
        with store.write() as transaction:
            record_operation(
                transaction, actor=cli_actor(), operation=operation, subject=entry.fingerprint[:16] or entry.role.value,
                detail=detail, now=now,
            )  # fmt: skip


@contextmanager
def _open(arguments: argparse.Namespace) -> Iterator[_Keys]:
    with open_service(arguments.directory) as context:
        keeper = Keeper(context.folder.keys)
        try:
            yield _Keys(context, keeper)
        finally:
            keeper.close()


def _list(arguments: argparse.Namespace) -> None:
    folder = ServiceFolder(arguments.directory)
    load_config(folder)
    keyring, now = load_keyring(folder.keys), int(time.time())
    check = arguments.check or arguments.try_pin
    keeper = Keeper(folder.keys, try_pin=arguments.try_pin)
    try:
        shown = [_shown(one, now) | ({"problem": _problem(keeper, one)} if check else {}) for one in _sorted(keyring)]
    finally:
        keeper.close()
    rows = [
        (one["role"], "current" if one["current"] else "earlier", str(one["fingerprint"])[:16],
         day(int(str(one["created_at"]))), f"{one['age_days']} d", one["keeper"], one.get("problem", ""))
        for one in shown
    ]  # fmt: skip
    print_result(shown, table(("role", "", "fingerprint", "made", "age", "kept in", ""), rows), as_json=arguments.json)
    if any(one.get("problem") for one in shown):
        raise OperationError("Some keys cannot be used.", cure="See above.")


def _sorted(keyring: Keyring) -> list[KeyEntry]:
    return [one for role in KeyRole for one in keyring.all_of(role)]


def _problem(keeper: Keeper, entry: KeyEntry) -> str:
    """Why a key cannot be used; empty if it can."""
    try:
        if entry.role is KeyRole.NONCE:
            keeper.read_secret(entry.locator)
        elif fingerprint(keeper.open(entry.locator, entry.role.kind).public_key()) != entry.fingerprint:
            return "another key than the keyring's"
    except OperationError as error:
        return str(error)
    return ""


def _shown(entry: KeyEntry, now: int) -> dict[str, object]:
    return {
        "role": entry.role.value,
        "current": entry.current,
        "fingerprint": entry.fingerprint,
        "created_at": entry.created_at,
        "age_days": max(0, now - entry.created_at) // DAY_S,
        "keeper": entry.keeper,
    }


def _rotate(arguments: argparse.Namespace) -> None:
    role: KeyRole = arguments.role
    now = int(time.time())
    with _open(arguments) as keys:
        entry = keys.rotation.rotate(role, arguments.keeper, now=now)
        keys.record("keys.rotate", entry)
        rewrapped = _rewrap_role(keys, role) if role in CUSTODIANS else 0
        if role is KeyRole.LOG:  # the audit demands its signature from now on
            context = keys.context
            Sequencer(context.store, load_log_keys(context.folder.keys, keys.keeper), context.config.service_id).run()
    words = [f"New {role} key {entry.fingerprint[:16]} in {entry.keeper}.", *_next_steps(role, rewrapped)]
    print_result(_shown(entry, now) | {"rewrapped": rewrapped}, words, as_json=arguments.json)


def _next_steps(role: KeyRole, rewrapped: int) -> list[str]:
    match role:
        case KeyRole.NONCE:
            return ["Restart the service. Nonces that are out are refused; boxes ask for new ones."]
        case KeyRole.TLS_SERVER:
            return ["Restart the service. Boxes notice nothing."]
        case KeyRole.CUSTODIAN_LEASE_SHARE | KeyRole.CUSTODIAN_RELEASE_SHARE:
            return [
                f"{rewrapped} shares in the database are wrapped to it now. Give license-service.json to builds.",
                "When no build for the earlier key is left to import: `keys forget`, then destroy it.",
            ]
        case _:
            return [
                "Restart the service, and give license-service.json to the next build: its image knows the new key.",
                "Boxes on older images go on with the earlier key. When none is left, withdraw their releases and",
                "give `keys forget`.",
            ]


def _rewrap(arguments: argparse.Namespace) -> None:
    with _open(arguments) as keys:
        count = sum(_rewrap_role(keys, role) for role in CUSTODIANS)
    print_result({"rewrapped": count}, [f"{count} shares were wrapped anew."], as_json=arguments.json)


def _rewrap_role(keys: _Keys, role: KeyRole) -> int:
    custodian = open_custodian(load_keyring(keys.context.folder.keys), keys.keeper, role)
    store = keys.context.store
    return rewrap_shares(store, cli_actor(), role, custodian, now=service_time(store, int(time.time())))


def _move(arguments: argparse.Namespace) -> None:
    place: KeyLocator = arguments.keeper
    with _open(arguments) as keys:
        before = load_keyring(keys.context.folder.keys).current(arguments.role)
        moved = keys.rotation.move(arguments.role, place)
        keys.record("keys.move", moved)
    words = [f"The {moved.role} key is used from {moved.keeper} from the next start on."]
    if isinstance(before.locator, FileLocator):
        words.append(f"The old copy is still there: destroy {before.locator.path}, in backups too.")
        if isinstance(place, TokenLocator):
            words.append("A key made inside the token never had a copy: `keys rotate --keeper` makes one.")
    print_result(_shown(moved, int(time.time())), words, as_json=arguments.json)


def _forget(arguments: argparse.Namespace) -> None:
    with _open(arguments) as keys:
        store = keys.context.store
        now = service_time(store, int(time.time()))
        entry = forget_key(keys.context.folder.keys, keys.keeper, store, cli_actor(), arguments.fingerprint, now=now)
        keys.record("keys.forget", entry)
    words = [
        f"The {entry.role} key {entry.fingerprint[:16]} is out of use.",
        f"Restart the service, then destroy {entry.keeper}.",
    ]
    print_result(_shown(entry, int(time.time())), words, as_json=arguments.json)


def _renew(arguments: argparse.Namespace) -> None:
    with _open(arguments) as keys:
        path = keys.rotation.renew_server_certificate(now=int(time.time()))
    print_result({"certificate": str(path)}, [f"Wrote {path}. Restart the service."], as_json=arguments.json)
