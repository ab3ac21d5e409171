"""Reads an output folder: its signed manifest first, then the documents that the manifest is the measure of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from sealwright_image import output as names
from sealwright_policies.appraisal.boot_variants import verify_variants
from sealwright_policies.appraisal.reference_values import MANIFEST_LIMIT, WrappedShares
from sealwright_policies.appraisal.release import Release, verify_release
from sealwright_policies.errors import FormatError, UsageError
from sealwright_policies.wire.encoding import parse_json
from sealwright_policies.wire.envelope import load_p256_public_key
from sealwright_policies.wire.messages import ReleaseApproval

_DOCUMENT_LIMIT = 16 * 1024 * 1024
_APPROVALS = TypeAdapter(list[ReleaseApproval])


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """An output folder. The signatures of its manifest, and of ways through PCR 4 signed later, hold."""

    path: Path
    release: Release

    @property
    def disk(self) -> Path:
        return self.path / names.DISK


def load_folder(path: Path, manifest_key: Path | None = None) -> ImageFolder:
    """Open an output folder.

    Args:
        path: The folder.
        manifest_key: PEM of the key that must have signed it; by default the one in the folder, which shows only that
            the folder is consistent, not whose it is.

    Raises:
        UsageError: not an output folder.
        FormatError, VerificationError: the manifest is malformed or not signed by the key.
    """
    key = load_p256_public_key(_read(manifest_key or path / names.MANIFEST_KEY).decode("utf-8", "replace"))
    release = verify_release(_read(path / names.MANIFEST), key)
    variants = path / names.VARIANTS
    return ImageFolder(path, verify_variants(_read(variants), key, release) if variants.exists() else release)


def load_shares(folder: ImageFolder) -> WrappedShares:
    """The wrapped shares."""
    return parse_json(WrappedShares, _read(folder.path / names.SHARES), limit=_DOCUMENT_LIMIT)


def load_approvals(folder: ImageFolder) -> Sequence[ReleaseApproval]:
    """The release approvals; their signatures are not checked here."""
    try:
        return _APPROVALS.validate_python(json.loads(_read(folder.path / names.APPROVALS)))
    except (ValidationError, ValueError) as error:
        raise FormatError(f"{names.APPROVALS}: not a list of release approvals.") from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(max(MANIFEST_LIMIT, _DOCUMENT_LIMIT) + 1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}. Is this a folder of `build`?") from error
