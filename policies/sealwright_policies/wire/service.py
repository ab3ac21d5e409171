"""The licence service as a box knows it (policies/spec/service.md): measured with the image's root.

``sealwright-license init`` writes this file, ``sealwright-image build`` puts it at ``SERVICE_FILE`` in the root and
wraps key shares to its custodian keys. Public keys only.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints

from sealwright_policies.errors import FormatError
from sealwright_policies.wire.encoding import Document, Identifier

SERVICE_FILE = "/usr/share/sealwright/license-service.json"
MANIFEST_KEY_FILE = "/usr/share/sealwright/manifest-key.pem"
RELEASE_KEY_FILE = "/usr/share/sealwright/release-key.pem"
DOMAINS_FOLDER = "/usr/share/sealwright/domains"
"""Of an image: the canonical form of each of its domains, as NAME.json."""

HTTPS_PORT = 443

Pem = Annotated[str, StringConstraints(pattern=r"^-----BEGIN [A-Z ]+-----\n", max_length=16384)]


class CustodianKeys(Document):
    """P-256 ECDH public keys, one per share; no key serves both."""

    lease_share: Pem
    release_share: Pem


class LicenseService(Document):
    """Where the service is and by which keys it is known."""

    version: Annotated[int, Field(ge=1, le=1)]
    service_id: Identifier
    url: Annotated[str, StringConstraints(pattern=r"^https://[^/\s]+$", max_length=255)]
    ca: Pem
    """TLS trust anchor; the box trusts no other."""
    lease_document_key: Pem
    """Ed25519: signs lease documents."""
    lease_policy_key: Pem
    """P-256: approves TPM policies for share A."""
    device_ca: Pem
    """Issuer of device certificates."""
    log_key: Pem
    """Ed25519: signs checkpoints of the service's log."""
    custodian_keys: CustodianKeys


def service_port(url: str) -> int:
    """TCP port of a licence service.

    Raises:
        FormatError: there is no such port.
    """
    try:
        return urlsplit(url).port or HTTPS_PORT
    except ValueError:
        raise FormatError("The licence service's address names no port that there is.") from None
