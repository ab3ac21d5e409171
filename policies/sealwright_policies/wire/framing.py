"""Length-framed digest inputs (policies/spec/framing.md).

``framed(label, a, b)`` is ``uint32_be(len(label)) ‖ label ‖ uint32_be(len(a)) ‖ a ‖ …``. Every signature, key
derivation and qualifying data of Sealwright that is not a whole document hashes such a sequence, so that no two
different sequences of fields share an encoding.
"""

from __future__ import annotations

import hashlib
import struct

from sealwright_policies.errors import FormatError

ATTEST_LABEL = "sealwright/v1/attest"
VOLUME_KEY_LABEL = "sealwright/v1/volume-key"
KEY_CHECK_LABEL = "sealwright/v1/key-check"
LEASE_SHARE_LABEL = "sealwright/v1/lease-share"
RELEASE_SHARE_LABEL = "sealwright/v1/release-share"
STATE_LABEL = "sealwright/v1/state"
CUSTODIAN_WRAP_LABEL = "sealwright/v1/custodian-wrap"
BOOT_LOGS_LABEL = "sealwright/v1/boot-logs"
RENEWAL_REQUEST_LABEL = "sealwright/v1/renewal-request"
BINDING_LABEL = "sealwright/v1/binding"
BOX_TLS_LABEL = "sealwright/v1/box-tls"
WIPE_LABEL = "sealwright/v1/wipe"
FINDING_LABEL = "sealwright/v1/audit-finding"
OWNER_DOMAIN_LABEL = "sealwright/v1/owner-domain"
OWNER_WORKLOAD_LABEL = "sealwright/v1/owner-workload"
WITHDRAWAL_LABEL = "sealwright/v1/withdrawal"
APPROVALS_LABEL = "sealwright/v1/approvals"
DOMAIN_KEY_LABEL = "sealwright/v1/domain-key"
DOMAIN_FOLDER_LABEL = "sealwright/v1/domain-folder"
DOMAIN_SEAL_KEY_LABEL = "sealwright/v1/domain-seal-key"
DOMAIN_FILE_LABEL = "sealwright/v1/domain-file"
DOMAIN_DATE_LABEL = "sealwright/v1/domain-date"
UNLOCKED_WORD = "sealwright/v1/unlocked"
"""What the box extends into PCR 15 after the last unseal of a boot; nothing unseals behind it."""

_SIZE = struct.Struct(">I")


def framed(label: str, *fields: bytes) -> bytes:
    """Encode a label and fields so that no other sequence has the same encoding."""
    parts = [label.encode("ascii"), *fields]
    return b"".join([_SIZE.pack(len(part)) + part for part in parts])


def parse_framed(label: str, count: int, data: bytes) -> tuple[bytes, ...]:
    """The fields of :func:`framed` of this label, exactly ``count`` of them.

    Raises:
        FormatError: another label, more or fewer fields, or cut off.
    """
    fields: list[bytes] = []
    rest = data
    for _ in range(count + 1):
        size = int.from_bytes(rest[:4], "big")
        if len(rest) < 4 + size:
            raise FormatError(f"{label}: cut off in field {len(fields)}")
        fields.append(rest[4 : 4 + size])
        rest = rest[4 + size :]
    if rest:
        raise FormatError(f"{label}: {len(rest)} bytes behind the last field")
    if fields[0] != label.encode("ascii"):
        raise FormatError(f"{label}: another label stands here")
    return tuple(fields[1:])


def framed_digest(label: str, *fields: bytes) -> bytes:
    """SHA-256 of :func:`framed`, 32 bytes."""
    return hashlib.sha256(framed(label, *fields)).digest()


def qualifying_data(
    *, nonce: bytes, device_id: str, license_id: str, release_id: str, purpose: str, payload: bytes
) -> bytes:
    """What a quote, certify or nv_certify of the box carries as qualifying data, 32 bytes.

    The same value stands in all attestation structures of one message, so that none of them can be taken from
    another message, device, licence, release or purpose.
    """
    return framed_digest(
        ATTEST_LABEL,
        nonce,
        device_id.encode("ascii"),
        license_id.encode("ascii"),
        release_id.encode("ascii"),
        purpose.encode("ascii"),
        hashlib.sha256(payload).digest(),
    )


def lease_share_reference(srk_name: bytes, partition_id: bytes) -> bytes:
    """policyRef under which the lease key approves the unsealing of share A on one device, 32 bytes."""
    return framed_digest(LEASE_SHARE_LABEL, srk_name, partition_id)


def release_share_reference(partition_id: bytes) -> bytes:
    """policyRef under which the release key approves the unsealing of share B on any device, 32 bytes."""
    return framed_digest(RELEASE_SHARE_LABEL, partition_id)


def state_reference() -> bytes:
    """policyRef under which the customer key approves a release for the state volume, 32 bytes."""
    return framed_digest(STATE_LABEL)


def domain_key_id() -> bytes:
    """Stands for the domain key of a box in release approvals, as a partition's id does for its share B, 32 bytes."""
    return framed_digest(DOMAIN_KEY_LABEL)
