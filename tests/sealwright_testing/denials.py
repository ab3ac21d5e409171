"""Denials by their code."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sealwright_policies.errors import RejectionCode, VerificationError


def denied(code: RejectionCode, call: Callable[[], object]) -> VerificationError:
    """Demand a denial with this code."""
    with pytest.raises(VerificationError) as caught:
        call()
    assert caught.value.code is code, caught.value
    return caught.value
