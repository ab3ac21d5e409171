"""What is signed: its readers see strangers' bytes before any signature is believed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sealwright_licensing.stored_releases import verify_stored_release
from sealwright_policies.appraisal.boot_variants import read_unverified_variants, verify_variants
from sealwright_policies.appraisal.boot_ways import BOOT_OPTION
from sealwright_policies.appraisal.reference_values import PAYLOAD_TYPE
from sealwright_policies.appraisal.release import read_unverified_release, verify_release
from sealwright_policies.metering.report import Acknowledgement, sign_acknowledgement, verify_acknowledgement
from sealwright_policies.transparency.checkpoint import Checkpoint, parse_checkpoint, sign_checkpoint, verify_checkpoint
from sealwright_policies.wire.air_gap import ChallengeReply, sign_reply, verify_reply
from sealwright_policies.wire.approval_request import ApprovalRequest, make_request, verify_request, wanted_approvals
from sealwright_policies.wire.device_certificate import verify_device_certificate
from sealwright_policies.wire.encoding import document_bytes, parse_json
from sealwright_policies.wire.envelope import read_unverified_jws, sign_jws, verify_dsse, verify_jws
from sealwright_policies.wire.lease import LEASE_TYPE, Lease, read_unverified_lease, verify_lease
from sealwright_policies.wire.messages import MESSAGE_LIMIT
from sealwright_testing.license_world import LicenseWorld, grant
from sealwright_testing.parsers.parser import Parser, of_text


def of_signed(vectors: Path, world: LicenseWorld) -> Iterable[Parser]:
    """Verifiers, and readers of what is not verified yet."""
    _, (code,) = world.issue()
    device = world.device(2)
    challenge = world.enrollment.challenge(device.request(code), now=world.now)
    lease_token = grant(world.enrollment.prove(device.proof(challenge), now=world.now)).leases[0]
    lease = verify_lease(lease_token, world.service)
    service, key = world.service, Ed25519PrivateKey.generate()
    known = service.model_copy(update={"lease_document_key": _pem_text(key)})
    yield Parser("lease", of_text(lambda text: verify_lease(text, service)), (lease_token.encode(),))
    yield Parser("lease, unverified", of_text(read_unverified_lease), (lease_token.encode(),))
    jws = partial(verify_jws, kind=Lease, type_=LEASE_TYPE, key=key.public_key(), limit=MESSAGE_LIMIT)
    yield Parser("JWS", of_text(jws), (sign_jws(lease, LEASE_TYPE, key).encode(),))
    unverified = partial(read_unverified_jws, kind=Lease, limit=MESSAGE_LIMIT)
    yield Parser("JWS, unverified", of_text(unverified), (lease_token.encode(),))
    replied = sign_reply(
        ChallengeReply(version=1, device_id=device.device_id, kind="challenge", answers="33" * 32, challenge=challenge),
        key,
    )
    yield Parser("reply file", of_text(lambda text: verify_reply(text, known)), (replied.encode(),))
    acknowledgement = Acknowledgement(
        version=1, device_id=device.device_id, chain_id="11" * 16, sequence=1, digest="22" * 32, findings=[]
    )
    signed = sign_acknowledgement(acknowledgement, key).encode()
    yield Parser("acknowledgement", of_text(lambda text: verify_acknowledgement(text, known)), (signed,))
    box = world.box
    release, manifest_key = box.release, box.manifest_key.public_key()
    dsse = partial(verify_dsse, payload_type=PAYLOAD_TYPE, key=manifest_key, limit=MESSAGE_LIMIT)
    yield Parser("DSSE", dsse, (box.release_envelope,))
    yield Parser("release", lambda raw: verify_release(raw, manifest_key), (box.release_envelope,))
    yield Parser("release, unverified", read_unverified_release, (box.release_envelope,))
    variants = box.variants(box.way(*BOOT_OPTION, b"BOOT ATTEMPTS OMITTED"))
    yield Parser("variants", partial(verify_variants, manifest_key=manifest_key, release=release), (variants,))
    yield Parser("variants, unverified", partial(read_unverified_variants, release=release), (variants,))
    yield Parser("stored release", lambda raw: verify_stored_release(raw, "[]", manifest_key), (box.release_envelope,))
    wanted = document_bytes(make_request(release, box.release_envelope, variants, wanted_approvals(release)))
    asked = partial(parse_json, ApprovalRequest, limit=MESSAGE_LIMIT)
    yield Parser("approval request", lambda raw: verify_request(asked(raw), manifest_key), (wanted,))
    shown = json.loads((vectors / "documents/device-certificate-good/input.json").read_text())
    certificate = partial(verify_device_certificate, device_ca=shown["device_ca"], now=shown["now"])
    yield Parser("device certificate", of_text(certificate), (shown["certificate"].encode(),))
    note = sign_checkpoint(Checkpoint("log.example/a", 3, bytes(32)), key)
    checkpoint = partial(verify_checkpoint, key=key.public_key(), origin="log.example/a")
    yield Parser("checkpoint", of_text(checkpoint), (note.encode(),))
    yield Parser("checkpoint, seen before", of_text(parse_checkpoint), (note.encode(),))


def _pem_text(key: Ed25519PrivateKey) -> str:
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return public.decode("ascii")
