"""The vendor's log as this user has seen it: a log that is shown to others otherwise shows by it
(policies/spec/box-evidence.md, 5)."""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sealwright_client.license_service import ask_service
from sealwright_client.trust_files import read_input
from sealwright_policies.errors import FormatError, OperationError, RejectionCode, VerificationError
from sealwright_policies.transparency.checkpoint import CHECKPOINT_LIMIT, Checkpoint, parse_checkpoint
from sealwright_policies.transparency.growth import PROOF_LIMIT, GrowthProof, verify_growth
from sealwright_policies.wire.encoding import parse_json
from sealwright_policies.wire.service import LicenseService

FOLDER = Path("sealwright") / "logs"


class Seen(StrEnum):
    """How a log compares with what was seen of it."""

    FIRST = "first-seen"
    SAME = "same"
    GROWN = "one-history"
    NOT_COMPARED = "not-compared"


@dataclass(frozen=True, slots=True)
class LogComparison:
    """What came of it."""

    seen: Seen
    kept: Checkpoint
    """The largest that was seen."""
    file: Path
    reason: str = ""
    wanted: str = ""
    """The vendor's command that makes the proof."""

    def line(self) -> str:
        """For people."""
        match self.seen:
            case Seen.FIRST:
                return f"seen      for the first time: kept in {self.file}, and later logs are held against it"
            case Seen.SAME:
                return "seen      the log is the one that was seen before"
            case Seen.GROWN:
                return f"seen      of one history with what was seen of it before, {self.kept.size} entries at most"
            case Seen.NOT_COMPARED:
                return (
                    f"warning   the log was NOT held against the {self.kept.size} entries seen before: {self.reason} "
                    "Whoever has the log key could show you one of its own; ask again, or give --consistency what the "
                    f"vendor makes by {self.wanted}"
                )


def add_consistency(parser: argparse.ArgumentParser) -> None:
    """Add the argument."""
    parser.add_argument(
        "--consistency", type=Path, metavar="FILE",
        help="the log's proof that it has only grown since it was seen last, where the licence service is out of reach",
    )  # fmt: skip


def compare_log(
    note: str, shown: Checkpoint, service: LicenseService, given: Path | None, *, needed: bool
) -> LogComparison:
    """Hold a verified checkpoint against what was seen of its log, and keep the larger one.

    Args:
        note: the checkpoint as it was signed.
        given: a file with the proof; without one the licence service is asked.
        needed: whether it is a failure if nobody gives a proof.

    Raises:
        VerificationError: ``LOG_PROOF_INVALID``: the two are of two histories; both notes are kept as evidence.
        OperationError: the folder of what was seen cannot be used, or there is no proof and one is needed.
    """
    file = _folder() / service.service_id
    kept = _load(file)
    if kept is None:
        _keep_larger(file, note, shown)
        return LogComparison(Seen.FIRST, shown, file)
    first, second = sorted((kept.size, shown.size))
    wanted = f"`sealwright-license audit consistency {first} {second}`"
    try:
        proof = None if first == second else _proof(service, first, second, given)
        newest = verify_growth(kept, shown, proof)
    except OperationError as error:
        if needed:
            raise OperationError(
                f"Whether the log is the one that was seen before is not known: {error}",
                cure=f"Get the proof from the vendor, who makes it by {wanted}, for --consistency.",
            ) from None
        return LogComparison(Seen.NOT_COMPARED, kept, file, str(error), wanted)
    except VerificationError as error:
        other = _evidence(file, note)
        why = str(error).removeprefix(f"{error.code}: ")
        raise VerificationError(
            RejectionCode.LOG_PROOF_INVALID,
            f"The vendor's log is not the one that was seen before, or nobody shows that it is: {why}. What was signed "
            f"then and now: {file} and {other}. Ask the vendor; once it is explained, as by a service restored "
            f"from a backup, move {file.name} away: the next look is then a first one.",
        ) from error
    if newest is not kept:
        _keep_larger(file, note, shown)
    return LogComparison(Seen.SAME if first == second else Seen.GROWN, newest, file)


def _proof(service: LicenseService, first: int, second: int, given: Path | None) -> GrowthProof:
    if given is not None:
        return parse_json(GrowthProof, read_input(given, PROOF_LIMIT), limit=PROOF_LIMIT)
    raw = ask_service(service, f"/v1/log/proof/consistency?first={first}&second={second}", PROOF_LIMIT)
    if raw is None:
        raise VerificationError(
            RejectionCode.LOG_PROOF_INVALID,
            f"the licence service has no proof that its log grew from {first} to {second} entries",
        )
    return parse_json(GrowthProof, raw, limit=PROOF_LIMIT)


def _folder() -> Path:
    """XDG Base Directory Specification: state that is kept between runs."""
    given = os.environ.get("XDG_STATE_HOME", "")
    try:
        base = Path(given) if Path(given).is_absolute() else Path.home() / ".local/state"
    except RuntimeError:
        raise OperationError("There is no home to keep what was seen of the log in.", cure="Set HOME.") from None
    return base / FOLDER


def _load(file: Path) -> Checkpoint | None:
    try:
        with file.open("rb") as opened:
            return parse_checkpoint(opened.read(CHECKPOINT_LIMIT + 1).decode("utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OperationError(f"{file} cannot be read: {error.strerror}.") from None
    except (FormatError, UnicodeDecodeError):
        cure = "Find out who wrote it, and move it away."
        raise OperationError(f"{file} is no checkpoint of a log.", cure=cure) from None


def _evidence(file: Path, note: str) -> str:
    """Keep a note beside the one that it contradicts; where it is, or why not: that must not hide what was found."""
    other = file.with_name(f"{file.name}.other")
    try:
        _keep(other, note)
    except OperationError as error:
        return f"(not kept: {error}) {note}"
    return str(other)


def _keep_larger(file: Path, note: str, shown: Checkpoint) -> None:
    """Keep a note, unless another run has kept one of a larger log meanwhile."""
    now = _load(file)
    if now is None or now.size < shown.size:
        _keep(file, note)


def _keep(file: Path, note: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as opened:
            partial = Path(opened.name)
            opened.write(note.encode("utf-8"))
            opened.flush()
            os.fsync(opened.fileno())
        partial.replace(file)
    except OSError as error:
        raise OperationError(
            f"{file} cannot be written: {error.strerror}.", cure="Give a folder of your own with XDG_STATE_HOME."
        ) from None
