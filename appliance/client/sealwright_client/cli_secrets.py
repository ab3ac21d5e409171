"""What ends an activation, online or by file: the secrets are saved, and then the box erases them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from sealwright_client.box import Box, BoxRefusedError
from sealwright_client.cli_output import print_result
from sealwright_client.secrets_file import SecretsFile
from sealwright_policies.errors import OperationError


def receive_secrets(
    arguments: argparse.Namespace, box: Box, claim_code: str, secrets: Mapping[str, Any], file: SecretsFile
) -> None:
    """Save the secrets, acknowledge them, and say so.

    Raises:
        OperationError: they are not saved, or it is not known whether the box knows that they are.
        BoxRefusedError: the box does not take the acknowledgement.
    """
    file.keep(secrets)
    _acknowledge(box, claim_code, file.path)
    report = {"device_id": secrets.get("device_id"), "license_id": secrets.get("license_id")}
    print_result(arguments, report | {"secrets_file": str(file.path)}, _activated_lines(file.path))


def _acknowledge(box: Box, claim_code: str, path: Path) -> None:
    try:
        box.acknowledge(claim_code)
    except (OperationError, BoxRefusedError) as error:
        if isinstance(error, BoxRefusedError) and error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
        raise OperationError(
            f"The secrets are in {path}, but the box may not know it: {error}",
            cure="Give the same command again; CLAIM_SPENT then means that it knows.",
        ) from None


def _activated_lines(path: Path) -> list[str]:
    return [
        f"The box is activated. Its secrets are in {path}, and erased from the box:",
        "  api_key           the administrator's; makes keys for everybody else",
        "  recovery_key      opens the state volume on another machine; keep it offline",
        "  customer_key_pem  approves later releases of the operating system; keep it offline",
        "After its activation the box restarts and serves in a minute or two.",
    ]
