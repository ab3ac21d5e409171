"""What the customer's command asks of the licence service: proofs of its log, which are for everybody."""

from __future__ import annotations

import ssl
import time

import httpx

from sealwright_policies.errors import OperationError
from sealwright_policies.wire.service import LicenseService

TIMEOUT_S = 30.0
"""Until the last byte."""
READ_S = 10.0
CONNECT_S = 5.0


def ask_service(service: LicenseService, path: str, limit: int) -> bytes | None:
    """What the service answers under a path, one byte more than the limit at most; None if it refuses.

    Raises:
        OperationError: it does not answer, or is too busy.
    """
    context = ssl.create_default_context(cadata=service.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    ends = time.monotonic() + TIMEOUT_S
    plain = {"Accept-Encoding": "identity"}
    try:
        with (
            httpx.Client(verify=context, timeout=httpx.Timeout(READ_S, connect=CONNECT_S), trust_env=False) as client,
            client.stream("GET", f"{service.url}{path}", headers=plain) as reply,
        ):
            content = _content(reply, limit + 1, ends)
    except httpx.HTTPError as error:
        raise OperationError(f"The licence service does not answer: {error or type(error).__name__}.") from None
    if reply.is_server_error or reply.status_code == httpx.codes.TOO_MANY_REQUESTS:
        raise OperationError(f"The licence service does not answer: HTTP {reply.status_code}.")
    return content if reply.is_success else None


def _content(reply: httpx.Response, most: int, ends: float) -> bytes:
    """As much as is wanted of a body that may come for ever, or drop by drop."""
    content = bytearray()
    for part in reply.iter_raw():
        content += part
        if len(content) >= most:
            break
        if time.monotonic() > ends:
            raise OperationError(f"The licence service takes longer than {TIMEOUT_S:.0f} s to answer.")
    return bytes(content[:most])
