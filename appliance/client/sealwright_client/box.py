"""A customer's calls to one box, over pinned TLS."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import httpx

from sealwright_client.pinning import parse_box_url, pinned_context, shown_certificate
from sealwright_policies.appraisal.box_evidence import BOX_EVIDENCE_LIMIT, BoxEvidence
from sealwright_policies.errors import OperationError, SealwrightError
from sealwright_policies.wire.encoding import parse_json
from sealwright_policies.wire.state_approval import StateApprovals
from sealwright_policies.wire.wipe_order import WipeOrder
from sealwright_policies.wire.withdrawal import Withdrawal

TIMEOUT_S = 30.0
ACTIVATION_TIMEOUT_S = 300.0
FILE_TIMEOUT_S = 150.0
REPLY_LIMIT = BOX_EVIDENCE_LIMIT
"""Bytes; evidence, with the manifest and both logs, is the longest."""


class BoxRefusedError(SealwrightError):
    """The box refused, with a code and a sentence."""

    exit_code = 10

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.status = status
        self.code = code


class Box:
    """One box, known by its fingerprint."""

    def __init__(self, url: str, fingerprint: str) -> None:
        """Connect once, to compare the certificate.

        Raises:
            OperationError: nobody answers.
            WrongBoxError: it is another box.
        """
        host, port = parse_box_url(url)
        context = pinned_context(shown_certificate(host, port), fingerprint)
        name = f"[{host}]" if ":" in host else host
        self._client = httpx.Client(
            base_url=f"https://{name}:{port}",
            verify=context,
            timeout=TIMEOUT_S,
            trust_env=False,
            follow_redirects=False,
            headers={"Accept": "application/json"},
        )

    def status(self) -> dict[str, Any]:
        """What the box says of itself."""
        return self._ask("GET", "/status")

    def evidence(self, nonce: bytes) -> BoxEvidence:
        """What the box's TPM says under a nonce of 32 bytes.

        Raises:
            FormatError: it answers something else.
        """
        body = {"nonce": base64.b64encode(nonce).decode("ascii")}
        reply = self._ask("POST", "/evidence", body, timeout_s=FILE_TIMEOUT_S)
        return parse_json(BoxEvidence, json.dumps(reply).encode(), limit=BOX_EVIDENCE_LIMIT)

    def approvals(self) -> dict[str, Any]:
        """``releases`` that the customer has approved, and the ``volume_id`` of their data."""
        return self._ask("GET", "/approvals")

    def approve(self, approvals: StateApprovals) -> dict[str, Any]:
        """Bring approvals of one release; whether the box ``restarts`` by them."""
        return self._ask("POST", "/approvals", approvals.model_dump(mode="json"))

    def withdraw(self, order: Withdrawal) -> dict[str, Any]:
        """Take the approvals of a release back; the ``releases`` that are left."""
        return self._ask("POST", "/withdrawals", order.model_dump(mode="json"))

    def wipe(self, order: WipeOrder) -> None:
        """Have the box destroy what it keeps, at a restart that it makes now."""
        self._ask("POST", "/wipe", order.model_dump(mode="json"))

    def activate(self, claim_code: str, activation_code: str) -> dict[str, Any]:
        """Activate, unless that is done; the reply holds the secrets, until they are acknowledged."""
        body = {"claim_code": claim_code, "activation_code": activation_code}
        return self._ask("POST", "/activation", body, timeout_s=ACTIVATION_TIMEOUT_S)

    def acknowledge(self, claim_code: str) -> None:
        """Tell the box that its secrets are in safe hands: it erases its own copy."""
        self._ask("POST", "/activation/acknowledgement", {"claim_code": claim_code})

    def activation_request(self, claim_code: str, activation_code: str) -> dict[str, Any]:
        """The first file of an activation by file, in ``file``."""
        body = {"claim_code": claim_code, "activation_code": activation_code}
        return self._ask("POST", "/activation/file/request", body, timeout_s=FILE_TIMEOUT_S)

    def activation_proof(self, claim_code: str, reply: str) -> dict[str, Any]:
        """The second file, in ``file``, for the reply to the first."""
        body = {"claim_code": claim_code, "reply": reply}
        return self._ask("POST", "/activation/file/proof", body, timeout_s=FILE_TIMEOUT_S)

    def activation_reply(self, claim_code: str, reply: str) -> dict[str, Any]:
        """Activate by the reply to the second file; the answer holds the secrets, until they are acknowledged."""
        body = {"claim_code": claim_code, "reply": reply}
        return self._ask("POST", "/activation/file/reply", body, timeout_s=FILE_TIMEOUT_S)

    def renewal_request(self, admin_key: str) -> dict[str, Any]:
        """A renewal request: ``file``, ``qr_text`` and ``qr_svg``."""
        return self._ask("POST", "/admin/renewal/request", {}, admin_key=admin_key, timeout_s=FILE_TIMEOUT_S)

    def renewal_reply(self, admin_key: str, reply: str) -> dict[str, Any]:
        """Give the box the reply: whether it was taken up now, and until when the lease lasts."""
        body = {"reply": reply}
        return self._ask("POST", "/admin/renewal/reply", body, admin_key=admin_key, timeout_s=FILE_TIMEOUT_S)

    def api_keys(self, admin_key: str) -> dict[str, Any]:
        """Names of all API keys, when they were made, and which are administrators'."""
        return self._ask("GET", "/admin/api-keys", admin_key=admin_key)

    def create_api_key(
        self, admin_key: str, name: str, *, admin: bool, models: list[str] | None = None, expires: int | None = None
    ) -> dict[str, Any]:
        """Have a key made; the reply holds it, and nothing else ever does again.

        Args:
            models: that it may ask; None: all.
            expires: seconds since 1970, with which it lets nobody in.
        """
        bounds = {"models": models, "expires": expires}
        asked = {"name": name, "admin": admin} | {bound: value for bound, value in bounds.items() if value is not None}
        return self._ask("POST", "/admin/api-keys", asked, admin_key=admin_key)

    def revoke_api_key(self, admin_key: str, name: str) -> dict[str, Any]:
        """Have a key forgotten."""
        path = f"/admin/api-keys?{urlencode({'name': name})}"
        return self._ask("DELETE", path, admin_key=admin_key)

    def metering(self, admin_key: str) -> dict[str, Any]:
        """What the vendor will be told next, and how many receipts wait."""
        return self._ask("GET", "/admin/metering", admin_key=admin_key)

    def order_report(self, admin_key: str) -> dict[str, Any]:
        """Have what waits reported soon."""
        return self._ask("POST", "/admin/metering/report", {}, admin_key=admin_key)

    def choose_metering(self, admin_key: str, *, names: bool) -> dict[str, Any]:
        """Have keys reported by name, or by pseudonym."""
        return self._ask("PUT", "/admin/metering", {"names": names}, admin_key=admin_key)

    def outflow(self, admin_key: str) -> dict[str, Any]:
        """What may leave the models, how much of it has left, and keys whose requests look like copying."""
        return self._ask("GET", "/admin/outflow", admin_key=admin_key)

    def clear_key(self, admin_key: str, name: str) -> dict[str, Any]:
        """Have the box begin anew with a key that it slows down or refuses."""
        return self._ask("POST", "/admin/outflow/clear", {"name": name}, admin_key=admin_key)

    def support(self, admin_key: str) -> bytes:
        """A support bundle, as it is to be saved.

        Args:
            admin_key: empty where the box's state volume is closed, so that it has no keys to check.
        """
        shown = admin_key or None
        return self._send("POST", "/admin/support", {}, admin_key=shown, timeout_s=FILE_TIMEOUT_S)[0].content

    def domains(self, admin_key: str) -> dict[str, Any]:
        """Domains of the release, and their files."""
        return self._ask("GET", "/admin/domains", admin_key=admin_key)

    def begin_import(self, admin_key: str, order: dict[str, Any]) -> dict[str, Any]:
        """Let a file be put into a domain; its id, and the part that comes next."""
        return self._ask("POST", "/admin/domains/imports", order, admin_key=admin_key)

    def put_part(self, admin_key: str, import_id: str, number: int, part: bytes) -> dict[str, Any]:
        """A part of it."""
        return self._ask("PUT", f"/admin/domains/imports/{import_id}/{number}", part, admin_key=admin_key)

    def finish_import(self, admin_key: str, import_id: str) -> dict[str, Any]:
        """All of it is there."""
        path = f"/admin/domains/imports/{import_id}/finish"
        return self._ask("POST", path, {}, admin_key=admin_key, timeout_s=FILE_TIMEOUT_S)

    def remove_file(self, admin_key: str, order: dict[str, Any]) -> dict[str, Any]:
        """Have the box remove a file of a domain."""
        return self._ask("POST", "/admin/domains/remove", order, admin_key=admin_key, timeout_s=FILE_TIMEOUT_S)

    def flows(self, admin_key: str) -> dict[str, Any]:
        """What came and went, and how far the flow is that is under way."""
        return self._ask("GET", "/admin/flows", admin_key=admin_key, timeout_s=FILE_TIMEOUT_S)

    def expect_flow(self, admin_key: str, wanted: dict[str, Any]) -> dict[str, Any]:
        """Have the box take a file from another one."""
        return self._ask("POST", "/admin/flows/expect", wanted, admin_key=admin_key)

    def send_flow(self, admin_key: str, order: dict[str, Any]) -> dict[str, Any]:
        """Have the box send a file to another one."""
        return self._ask("POST", "/admin/flows/send", order, admin_key=admin_key, timeout_s=FILE_TIMEOUT_S)

    def withdraw_flow(self, admin_key: str, ordered: dict[str, Any]) -> dict[str, Any]:
        """Have the box give up what it sends or expects; ids of the flows that were under way."""
        return self._ask("POST", "/admin/flows/withdraw", ordered, admin_key=admin_key, timeout_s=FILE_TIMEOUT_S)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def _ask(
        self, method: str, path: str, body: dict[str, Any] | bytes | None = None, **options: Any
    ) -> dict[str, Any]:
        return self._send(method, path, body, **options)[1]

    def _send(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | bytes | None = None,
        *,
        admin_key: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> tuple[httpx.Response, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {admin_key}"} if admin_key is not None else None
        try:
            sent: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body}
            reply = self._client.request(method, path, headers=headers, timeout=timeout_s, **sent)
        except httpx.HTTPError as error:
            raise OperationError(f"The box does not answer: {error or type(error).__name__}.") from None
        try:
            document = json.loads(reply.content[: REPLY_LIMIT + 1])
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise OperationError(f"The box answered {reply.status_code} with something that is not a JSON object.")
        if not reply.is_success:
            raise _refusal(reply.status_code, document)
        return reply, document


@contextmanager
def connected(url: str, fingerprint: str) -> Iterator[Box]:
    """A box until the block ends; raises like :class:`Box`."""
    box = Box(url, fingerprint)
    try:
        yield box
    finally:
        box.close()


def _refusal(status: int, document: dict[str, Any]) -> BoxRefusedError:
    """From an RFC 9457 problem, or an error object of the OpenAI-compatible API."""
    error = document.get("error")
    source = error if isinstance(error, dict) else document
    code, sentence = source.get("code"), source.get("detail", source.get("message"))
    return BoxRefusedError(status, str(code or status), str(sentence or "no reason was given"))
