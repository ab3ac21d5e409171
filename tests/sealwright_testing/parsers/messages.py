"""What is sent: messages, bodies and forms, as they are before anybody believes them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial

from fastapi import Request
from pydantic import BaseModel

from sealwright_appliance.serve.chat import parse_chat_request
from sealwright_appliance.serve.embedding import parse_embedding_request
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.kept_conversations import parse_kept_chat
from sealwright_appliance.serve.responses import parse_response_request
from sealwright_appliance.serve.text_completion import parse_text_request
from sealwright_appliance.serve.token_count import parse_count_request
from sealwright_licensing.console.forms import read_form
from sealwright_licensing.endorsement import Tier
from sealwright_licensing.operators.api import bodies
from sealwright_licensing.operators.api.session import Login
from sealwright_policies.appraisal.box_evidence import (
    BOX_EVIDENCE_LIMIT,
    NONCE_SIZE,
    BoxEvidence,
    TrustAnchors,
    tls_payload,
    verify_box,
)
from sealwright_policies.metering.receipt import parse_receipt
from sealwright_policies.metering.report import MeteringReport
from sealwright_policies.support import parse_support_bundle, support_bytes
from sealwright_policies.wire.air_gap import (
    compact_request,
    parse_compact_request,
    parse_qr_text,
    parse_request,
    qr_text,
    request_file,
)
from sealwright_policies.wire.encoding import document_bytes, parse_json
from sealwright_policies.wire.framing import framed, parse_framed
from sealwright_policies.wire.lease import Lease, verify_lease
from sealwright_policies.wire.messages import (
    MESSAGE_LIMIT,
    EnrollmentChallenge,
    EnrollmentProof,
    EnrollmentRequest,
    Grant,
    Nonce,
    NonceRequest,
    Problem,
    Purpose,
    RenewalRequest,
)
from sealwright_policies.wire.service import LicenseService
from sealwright_testing.license_world import LicenseWorld, grant
from sealwright_testing.metering import ChainWriter, make_report
from sealwright_testing.parsers.parser import Parser, of_text
from sealwright_testing.software_device import SoftwareDevice
from sealwright_testing.support_bundles import some_bundle


def of_messages(world: LicenseWorld) -> Iterable[Parser]:
    """Messages of boxes and the service, and bodies of the operators' API."""
    license_, (code,) = world.issue()
    device = world.device(1)
    request = device.request(code)
    challenge = world.enrollment.challenge(request, now=world.now)
    proof = device.proof(challenge)
    reply = grant(world.enrollment.prove(proof, now=world.now))
    lease = verify_lease(reply.leases[0], world.service)
    documents: tuple[tuple[type[BaseModel], bytes], ...] = (
        (EnrollmentRequest, document_bytes(request)),
        (EnrollmentProof, document_bytes(proof)),
        (NonceRequest, document_bytes(NonceRequest(device_id=device.device_id))),
        (RenewalRequest, document_bytes(device.renewal(license_.license_id, lease.next_nonce))),
        (Grant, document_bytes(reply)),
        (Lease, document_bytes(lease)),
        (LicenseService, document_bytes(world.service)),
        (bodies.LicenseIssue, b'{"product":"p","tiers":["discrete"],"seats":5,"note":"x","features":["a"]}'),
        (bodies.LicenseChange, b'{"seats":5,"overage":"1.5"}'),
        (bodies.VersionFloor, b'{"version":"1.2","lower":true}'),
        (bodies.LicenseRenewal, b'{"days":30,"powered_on_hours":24}'),
        (bodies.Nothing, b"{}"),
        (bodies.Resumption, b'{"history":1}'),
        (bodies.TransferOrder, b'{"at_once":true}'),
        (bodies.FirmwareApproval, b'{"digest":"' + b"5e" * 32 + b'"}'),
        (bodies.Settlement, b'{"count":true}'),
        (Login, b'{"token":"swl_"}'),
        (EnrollmentChallenge, document_bytes(challenge)),
        (Nonce, document_bytes(Nonce(nonce=lease.next_nonce, expires_at=world.now))),
        (MeteringReport, document_bytes(_report(device, license_.license_id, lease.next_nonce))),
        (Problem, b'{"type":"about:blank","title":"t","status":403,"detail":"d","code":"REVOKED"}'),
    )
    for kind, seed in documents:
        yield Parser(kind.__name__, partial(_parse_document, kind), (seed,))
    speaks_for = tls_payload(bytes(32))
    bound = device.bound(
        nonce=bytes(NONCE_SIZE), license_id=license_.license_id, purpose=Purpose.VERIFY, payload=speaks_for
    )
    shown = BoxEvidence(
        version=1,
        ak_public=request.ak_public,
        device_certificate=reply.device_certificate,
        manifest=world.box.release_envelope,
        variants=b"",
        log=lease.log,
        evidence=device.evidence(bound, payload=speaks_for),
    )
    judge = partial(_verify_box, TrustAnchors(world.service, world.box.manifest_key.public_key()), world.now)
    yield Parser("box evidence", judge, (document_bytes(shown),))
    renewal = device.renewal(license_.license_id, lease.next_nonce, payload=bytes(32))
    yield Parser("air-gap request", parse_request, (request_file(renewal), request_file(request), request_file(proof)))
    yield Parser("compact request", parse_compact_request, (compact_request(renewal),))
    yield Parser("QR text", of_text(parse_qr_text), (qr_text(renewal).encode(),))
    yield Parser(
        "framed", lambda raw: parse_framed("sealwright/v1/x", 2, raw), (framed("sealwright/v1/x", b"a", b"b"),)
    )
    yield Parser("metering receipt", parse_receipt, (ChainWriter().next().content,))
    yield Parser("support bundle", parse_support_bundle, (support_bytes(some_bundle()),))
    yield Parser("chat request", parse_chat_request, CHATS, ApiError)
    yield Parser("embedding request", parse_embedding_request, (b'{"model":"m","input":["x","y"]}',), ApiError)
    yield Parser("count request", parse_count_request, (b'{"model":"m","prompt":"x"}', CHATS[1]), ApiError)
    yield Parser("response request", parse_response_request, RESPONSES, ApiError)
    chat = b'{"title":"x","instructions":"y","turns":[{"role":"user","model":"m","text":"z"}]}'
    yield Parser("kept conversation", parse_kept_chat, (chat,), ApiError)
    yield Parser("text request", parse_text_request, (b'{"model":"m","prompt":["x","y"],"logprobs":1}',), ApiError)
    yield Parser("form", _read_form, (b"seats=5&tier=discrete&tier=software&names=a+b&day=2027-01-01&version=1.2",))


RESPONSES = (
    b'{"model":"m","input":"x","instructions":"y","text":{"format":{"type":"json_schema","name":"f","schema":{}}}}',
    b'{"model":"m","input":[{"role":"user","content":[{"type":"input_text","text":"x"}]},{"type":"function_call",'
    b'"call_id":"1","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"1","output":"z"}],'
    b'"tools":[{"type":"function","name":"f","parameters":{"type":"object"}}]}',
)
CHATS = (
    b'{"model":"m","messages":[{"role":"user","content":"x"}]}',
    b'{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":'
    b'{"name":"f","arguments":"{\\"a\\":1}"}}]}],"tools":[{"type":"function","function":{"name":"f","parameters":'
    b'{"type":"object","properties":{"a":{"$ref":"#/x","maxItems":9}}}}}]}',
)


def _verify_box(anchors: TrustAnchors, now: int, raw: bytes) -> object:
    shown = parse_json(BoxEvidence, raw, limit=BOX_EVIDENCE_LIMIT)
    return verify_box(shown, anchors, nonce=bytes(NONCE_SIZE), fingerprint=bytes(32), now=now)


def _report(device: SoftwareDevice, license_id: str, nonce: bytes) -> MeteringReport:
    chain = ChainWriter()
    return make_report(device, license_id, nonce, [chain.next(), chain.next()])


def _parse_document(kind: type[BaseModel], data: bytes) -> object:
    return parse_json(kind, data, limit=MESSAGE_LIMIT)


def _read_form(raw: bytes) -> object:
    """A form that was sent, and every kind of field in it."""

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": raw}

    form = asyncio.run(read_form(Request({"type": "http", "method": "POST", "headers": []}, receive)))
    tiers = form.choices("tier", Tier)
    day = form.day_or_none("day")
    return form.number("seats", 1, 10), tiers, form.names("names"), day, form.version("version"), form.is_ticked("box")
