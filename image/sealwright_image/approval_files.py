"""Approvals by file: the request beside an image, and the reply of the machine that has the release key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from sealwright_image import output as names
from sealwright_image.contents import ImageFolder, load_approvals
from sealwright_policies.appraisal.release import Release
from sealwright_policies.errors import UsageError
from sealwright_policies.wire.approval_request import (
    REPLY_LIMIT,
    REQUEST_LIMIT,
    ApprovalReply,
    ApprovalRequest,
    make_request,
    missing_approvals,
    verify_reply,
)
from sealwright_policies.wire.encoding import document_bytes, parse_json
from sealwright_policies.wire.messages import ReleaseApproval


def write_request(folder: Path, release: Release, present: Sequence[ReleaseApproval]) -> ApprovalRequest | None:
    """Ask for what an image's approvals lack; None, and no request beside it, if they are complete.

    Args:
        folder: of the output, with manifest and, if there are any, variants.
        release: with all its ways.
        present: approvals that are there.
    """
    target = folder / names.APPROVAL_REQUEST
    pending = missing_approvals(release, present)
    if not pending:
        target.unlink(missing_ok=True)
        return None
    variants = folder / names.VARIANTS
    request = make_request(
        release,
        (folder / names.MANIFEST).read_bytes(),
        variants.read_bytes() if variants.exists() else None,
        pending,
    )
    names.write_durably(target, json.dumps(request.model_dump(mode="json"), indent=1).encode("utf-8") + b"\n")
    return request


def add_reply(folder: ImageFolder, reply: ApprovalReply) -> int:
    """Put approvals beside the image, and ask for what is still missing; returns how many are new.

    Raises:
        VerificationError: the reply is for something else, or not by the image's release key.
    """
    verify_reply(reply, folder.release)
    present = list(load_approvals(folder))
    known = {(one.partition_id, one.pcrs["4"]) for one in present}
    new = [one for one in reply.approvals if (one.partition_id, one.pcrs["4"]) not in known]
    save_approvals(folder.path, [*present, *new])
    write_request(folder.path, folder.release, [*present, *new])
    return len(new)


def save_approvals(folder: Path, approvals: Sequence[ReleaseApproval]) -> None:
    """Replace ``approvals.json``."""
    text = json.dumps([one.model_dump(mode="json") for one in approvals], indent=1)
    names.write_durably(folder / names.APPROVALS, (text + "\n").encode("utf-8"))


def load_request(path: Path) -> ApprovalRequest:
    """Read a request; it is to be verified before it is believed."""
    return parse_json(ApprovalRequest, _read(path, REQUEST_LIMIT), limit=REQUEST_LIMIT)


def load_reply(path: Path) -> ApprovalReply:
    """Read a reply; it is to be verified before it is believed."""
    return parse_json(ApprovalReply, _read(path, REPLY_LIMIT), limit=REPLY_LIMIT)


def save_reply(path: Path, reply: ApprovalReply) -> None:
    """Write a reply."""
    names.write_durably(path, document_bytes(reply) + b"\n")


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(limit + 1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}.") from error
