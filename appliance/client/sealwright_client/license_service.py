"""What the customer's command asks of the licence service: proofs of its log, which are for everybody."""

from __future__ import annotations

import ssl

import httpx

from sealwright_policies.errors import OperationError
from sealwright_policies.wire.service import LicenseService

TIMEOUT_S = 30.0
CONNECT_S = 5.0


def ask_service(service: LicenseService, path: str, limit: int) -> bytes | None:
    """What the service answers under a path, one byte more than the limit at most; None if it refuses.

    Raises:
        OperationError: it does not answer, or is too busy.
    """
    context = ssl.create_default_context(cadata=service.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    timeout = httpx.Timeout(TIMEOUT_S, connect=CONNECT_S)
    try:
        reply = httpx.get(f"{service.url}{path}", verify=context, timeout=timeout, trust_env=False)
    except httpx.HTTPError as error:
        raise OperationError(f"The licence service does not answer: {error or type(error).__name__}.") from None
    if reply.is_server_error or reply.status_code == httpx.codes.TOO_MANY_REQUESTS:
        raise OperationError(f"The licence service does not answer: HTTP {reply.status_code}.")
    return reply.content[: limit + 1] if reply.is_success else None
