"""``device answer``: request files and texts of QR codes in, reply files out."""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sealwright_licensing.air_gap import AirGapService, FileAnswer
from sealwright_licensing.cli_context import open_service
from sealwright_licensing.cli_output import Commands, add_leaf, print_result
from sealwright_licensing.service_time import service_time
from sealwright_policies.errors import OperationError, SealwrightError, UsageError, VerificationError
from sealwright_policies.wire.air_gap import FILE_LIMIT

EXAMPLE = "sealwright-license device answer /srv/license usb/*.request --out usb"


@dataclass(frozen=True, slots=True)
class _Asked:
    """One request, and the name of its reply."""

    source: str
    content: bytes
    reply_name: str


def add_answer(group: Commands) -> None:
    """Add it to the command line."""
    leaf = add_leaf(
        group, "answer", _answer, help_="answer requests that boxes without a network made, in any order",
        example=EXAMPLE,
    )  # fmt: skip
    leaf.add_argument(
        "requests", nargs="*", type=Path, metavar="REQUEST", help="request file, or a file with the text of a QR code"
    )
    leaf.add_argument("--qr-text", action="append", default=[], metavar="TEXT", help="text of a QR code, SWR1:…")
    leaf.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="where the reply files go")


def _answer(arguments: argparse.Namespace) -> None:
    asked = _asked(arguments.requests, arguments.qr_text)
    if not arguments.out.is_dir():
        raise UsageError(f"--out {arguments.out}: no such folder.")
    with open_service(arguments.directory) as context:
        service = context.services().air_gap
        now = service_time(context.store, int(time.time()))
        results = [_answered(service, one, arguments.out, now=now) for one in asked]
    shown = [result for result, _ in results]
    print_result(shown, [_sentence(one) for one in shown], as_json=arguments.json)
    failures = [error for _, error in results if error is not None]
    if failures:
        raise failures[0]


def _asked(files: Sequence[Path], texts: Sequence[str]) -> list[_Asked]:
    asked = [_Asked(str(path), _read(path), f"{path.stem}.reply") for path in files]
    asked += [_Asked(f"--qr-text {n}", text.encode(), f"qr-{n}.reply") for n, text in enumerate(texts, start=1)]
    names = [one.reply_name for one in asked]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"Two requests would both be answered in {twice}; rename one.")
    if not asked:
        raise UsageError("No request: name files, or give --qr-text.")
    return asked


def _answered(
    service: AirGapService, asked: _Asked, folder: Path, *, now: int
) -> tuple[dict[str, str], SealwrightError | None]:
    """One denial does not keep the other boxes waiting."""
    try:
        answer = service.answer(asked.content, now=now)
        path = folder / asked.reply_name
        _write(path, answer)
    except SealwrightError as error:
        code = error.code.value if isinstance(error, VerificationError) else type(error).__name__
        return {"request": asked.source, "code": code, "sentence": re.sub(r"^[A-Z_]+: ", "", str(error))}, error
    fields = {"kind": answer.kind, "device_id": answer.device_id, "license_id": answer.license_id}
    return {"request": asked.source, "code": "ok", **fields, "reply": str(path)}, None


def _sentence(result: dict[str, str]) -> str:
    if result["code"] == "ok":
        return f"{result['request']}: {result['kind']} for {result['device_id']} in {result['reply']}"
    return f"{result['request']}: refused, {result['code']}: {result['sentence']}"


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(FILE_LIMIT + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None


def _write(path: Path, answer: FileAnswer) -> None:
    """Whole or not at all: a stick is pulled out early."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        with temporary.open("w", encoding="ascii") as file:
            file.write(answer.reply + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OperationError(f"{path} cannot be written: {error.strerror}.") from None
