"""What the box says when it does not take part in a flow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sealwright_policies.errors import SealwrightError, UnsupportedError, VerificationError


class FlowError(SealwrightError):
    """Something that this box does not do or take."""

    exit_code = 10

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code


@contextmanager
def refusing() -> Iterator[None]:
    """What the other side says is not believed: a refusal of ours, with the code."""
    try:
        yield
    except VerificationError as error:
        raise FlowError(403, error.code, str(error).removeprefix(f"{error.code}: ")) from error
    except UnsupportedError as error:
        raise FlowError(403, "UNSUPPORTED", str(error)) from error
