"""Which records of the database the deciding service believes: by signatures of the build, or of its own."""

from __future__ import annotations

from collections.abc import Callable

from sealwright_licensing.config import ServiceFolder
from sealwright_licensing.manifest_keys import ManifestKeys
from sealwright_licensing.signed_records import load_signed_records


def admission(folder: ServiceFolder) -> Callable[[object], None]:
    """What a deciding service's store calls for each record that it reads.

    Raises:
        OperationError: the keyring, or a licence-service file that it names, cannot be read.
    """
    releases, own = ManifestKeys(folder.manifest_keys), load_signed_records(folder.keys)

    def admit(record: object) -> None:
        releases.admit(record)
        own.admit(record)

    return admit
