"""A power cut in the middle of something: at the n-th step that changes disk, TPM or the service's store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from sealwright_appliance import lease_store, tpm_counters
from sealwright_testing.power_cut import PowerCutError

STEPS = ((lease_store, "write_durably"), (lease_store, "remove_durably"), (tpm_counters, "_increment"))


@dataclass
class Fuse:
    """Blows before or after a step; None: never."""

    left: int | None = None
    passed: list[str] = field(default_factory=list)

    def pass_by(self, step: str) -> None:
        """Say that something is about to be done, or has been.

        Raises:
            PowerCutError: this is where the power fails.
        """
        self.passed.append(step)
        if self.left is None:
            return
        if self.left == 0:
            self.left = None
            raise PowerCutError
        self.left -= 1

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let every file that the box keeps, and every count in its TPM, pass by here."""
        with ExitStack() as stack:
            for module, name in STEPS:
                stack.enter_context(patch.object(module, name, self._around(name, getattr(module, name))))
            yield

    def _around(self, name: str, step: Callable[..., None]) -> Callable[..., None]:
        def fused(*arguments: Any, **named: Any) -> None:
            self.pass_by(f"before {name}")
            step(*arguments, **named)
            self.pass_by(f"after {name}")

        return fused
