"""Device certificates: the usage that is theirs alone."""

from __future__ import annotations

import uuid

from sealwright_policies.wire.device_certificate import DEVICE_CERTIFICATE_USAGE


def test_the_usage_is_derived_as_the_specification_says() -> None:
    derived = uuid.uuid5(uuid.NAMESPACE_URL, "https://sealwright.dev/v1/device-certificate")

    assert str(derived) == "a44a22e0-b2bb-5255-a32d-51b0969d60be"
    assert f"2.25.{derived.int}" == DEVICE_CERTIFICATE_USAGE
