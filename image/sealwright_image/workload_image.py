"""Images of workloads that are packed once, for owners to sign: ``IMAGE`` and, beside it, ``IMAGE.verity.json``.

A folder that a build packs gets a root hash of its own in every build. What is signed has to stay the same, so it is
packed before, and builds take it as it is.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from pathlib import Path

from sealwright_image.context import Context
from sealwright_image.output import write_durably
from sealwright_image.payload_partition import PlainPartition, pack_payload, whole_mib
from sealwright_image.payload_tree import check_tree
from sealwright_image.verity import require_tree
from sealwright_policies.appraisal.reference_values import PayloadKind, Verity
from sealwright_policies.errors import FormatError, UsageError
from sealwright_policies.wire.encoding import document_bytes, parse_json

VERITY_LIMIT = 4096
"""Bytes of the longest ``IMAGE.verity.json``."""


def verity_file(image: Path) -> Path:
    """Where the parameters of an image's integrity tree lie."""
    return image.with_name(f"{image.name}.verity.json")


def pack_workload(context: Context, folder: Path, image: Path) -> Verity:
    """Pack a folder into an image.

    Args:
        context: the run; what is made lies in its work folder until it is whole.
        folder: root of the workload, with the executable ``program``.
        image: file to write.

    Raises:
        UsageError: the folder is not usable, or one of the files exists; what is signed is never overwritten.
        OperationError: a tool failed.
        OSError: the disk refuses.
    """
    for path in (image, verity_file(image)):
        if path.exists():
            raise UsageError(f"{path} exists; an image that may be signed is never overwritten.")
    check_tree(PayloadKind.WORKLOAD, folder, "Workload")
    packed = pack_payload(context, PayloadKind.WORKLOAD, folder, context.work / "workload.plain", uuid.uuid4())
    shutil.move(packed.image, image)
    write_durably(verity_file(image), document_bytes(packed.verity) + b"\n")
    return packed.verity


def load_image(image: Path) -> Verity:
    """The parameters of an image, held against every block of it.

    Raises:
        UsageError: a file cannot be read.
        FormatError, VerificationError: malformed, or the image is another one.
    """
    beside = verity_file(image)
    try:
        with beside.open("rb") as stream:
            verity = parse_json(Verity, stream.read(VERITY_LIMIT + 1), limit=VERITY_LIMIT)
        require_tree(image, verity)
    except FormatError as error:
        raise FormatError(f"{beside}: {error}") from error
    except OSError as error:
        raise UsageError(
            f"{error.filename or image}: cannot be read: {error.strerror}. `sealwright-image pack-workload` makes both."
        ) from error
    return verity


def take_image(context: Context, image: Path, name: str) -> PlainPartition:
    """A packed image as the content of a partition, copied into the work folder.

    Raises:
        UsageError, FormatError, VerificationError: as :func:`load_image`.
        OSError: the disk refuses.
    """
    with context.progress.step(f"{name}: packed image", image.stat().st_size):
        copied = context.work / f"{name}.plain"
        shutil.copyfile(image, copied)
        shutil.copyfile(verity_file(image), verity_file(copied))
        verity = load_image(copied)  # of the copy: the file may change meanwhile
        digest = hashlib.sha256()
        with copied.open("r+b") as stream:
            stream.truncate(whole_mib(copied.stat().st_size))
            left = verity.hash_offset
            while chunk := stream.read(min(left, 1024 * 1024)):
                digest.update(chunk)
                left -= len(chunk)
    return PlainPartition(copied, copied.stat().st_size, verity, digest.hexdigest())
