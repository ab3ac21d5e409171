"""The TPM of the box: one open connection, its commands with bounded retries, and what it is asked directly.

Keys, counters, evidence and unsealing have modules of their own beside this one. They work with tpm2-pytss 2.3 and
3.0. Two rules of that library hold everywhere: arguments go by keyword, and whatever a reply is part of is kept alive
until its bytes are copied (a child of a dropped parent reads freed memory).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ParamSpec, TypeVar, cast

# The TSS logs every refused command to standard error; refusals are expected here and reported in our words.
os.environ.setdefault("TSS2_LOG", "all+NONE")

from tpm2_pytss import ESAPI, TSS2_Exception
from tpm2_pytss.constants import ESYS_TR, TPM2_CAP
from tpm2_pytss.types import (
    TPM2B_ENCRYPTED_SECRET,
    TPM2B_ID_OBJECT,
    TPM2B_PRIVATE,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPMT_SIGNATURE,
    TPMT_TK_CREATION,
)

from sealwright_appliance.tpm_errors import RETRYABLE, TpmError, normalized
from sealwright_policies.errors import FormatError, OperationError
from sealwright_policies.tcg.public import Public, parse_public_2b
from sealwright_policies.tcg.reader import sized_2b

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", TPM2B_PUBLIC, TPM2B_PRIVATE, TPM2B_ENCRYPTED_SECRET, TPM2B_ID_OBJECT, TPMT_SIGNATURE, TPMT_TK_CREATION)

ATTEMPTS = 6
FIRST_PAUSE_S = 0.02
"""Doubled at every attempt: about 0.6 s in all."""
PCR_READ_MOST = 8
"""PCRs that one TPM2_PCR_Read returns at most (TPML_DIGEST, Part 2, 10.9.4)."""
CAPABILITY_PAGE = 64
NV_READ_SIZE = 512
"""Bytes a time: TPM_PT_NV_BUFFER_MAX is at least 512 in a PC Client TPM (Platform TPM Profile 1.05, 3.1)."""


@dataclass(frozen=True, slots=True)
class Clock:
    """TPMS_CLOCK_INFO (Part 2, 10.11.1): milliseconds that the TPM was powered, and how often it was reset."""

    clock_ms: int
    reset_count: int
    restart_count: int
    safe: bool


class TpmDevice:
    """An open connection to a TPM 2.0. Use :func:`open_tpm`."""

    def __init__(self, esapi: ESAPI) -> None:
        self.esapi = esapi

    def call(self, doing: str, command: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one command of ``self.esapi``; wait and try again, a bounded number of times, while the TPM is busy.

        Raises:
            TpmError: it is refused; ``doing`` says what was tried.
        """
        pause = FIRST_PAUSE_S
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return command(*args, **kwargs)
            except TSS2_Exception as error:
                if normalized(error.rc) not in RETRYABLE or attempt == ATTEMPTS:
                    raise TpmError(doing, error.rc) from None
            time.sleep(pause)
            pause *= 2
        raise AssertionError("the last attempt returns or raises")

    @contextmanager
    def flushed(self, handle: ESYS_TR) -> Iterator[ESYS_TR]:
        """Hold a transient object or session; flush it at the end, for the TPM has three slots of each."""
        try:
            yield handle
        finally:
            self.call("flush a context", self.esapi.flush_context, handle)

    @contextmanager
    def primary(self, doing: str, template: bytes, hierarchy: ESYS_TR) -> Iterator[tuple[ESYS_TR, Public]]:
        """Make the primary key of a template (TPMT_PUBLIC) and hold it."""
        handle, public, *_ = self.call(
            doing,
            self.esapi.create_primary,
            in_sensitive=TPM2B_SENSITIVE_CREATE(),
            in_public=public_2b(template),
            primary_handle=hierarchy,
        )
        with self.flushed(handle):
            yield handle, parse_public_2b(public.marshal())

    def read_pcrs(self, pcrs: Iterable[int]) -> dict[int, bytes]:
        """SHA-256 values of PCRs, all of one moment.

        Raises:
            OperationError: no SHA-256 bank is active, or the values do not stand still.
        """
        wanted = sorted(pcrs)
        for _ in range(ATTEMPTS):
            values, counters = self._read_pcrs_in_parts(wanted)
            if len(counters) <= 1:
                return values
        raise OperationError("TPM, read PCRs: they change while they are read.", cure="Try again.")

    def _read_pcrs_in_parts(self, wanted: list[int]) -> tuple[dict[int, bytes], set[int]]:
        values: dict[int, bytes] = {}
        counters: set[int] = set()
        for start in range(0, len(wanted), PCR_READ_MOST):
            part = wanted[start : start + PCR_READ_MOST]
            counter, _, digests = self.call("read PCRs", self.esapi.pcr_read, pcr_selection_in=selection_text(part))
            read = [bytes(digest) for digest in digests]
            if len(read) != len(part):
                raise OperationError(
                    "TPM: the SHA-256 bank of PCRs is not active.",
                    cure="Switch it on in the firmware setup (TPM, PCR banks) and start again.",
                )
            values.update(zip(part, read, strict=True))
            counters.add(int(counter))
        return values, counters

    def read_clock(self) -> Clock:
        """Clock and reset counts now."""
        time_info = self.call("read the clock", self.esapi.read_clock)
        info = time_info.clockInfo
        return Clock(int(info.clock), int(info.resetCount), int(info.restartCount), bool(info.safe))

    def random(self, size: int) -> bytes:
        """``size`` bytes of the TPM's random number generator; it gives at most a digest at a time."""
        collected = b""
        while len(collected) < size:
            drawn = self.call(
                "draw random bytes", self.esapi.get_random, bytes_requested=min(32, size - len(collected))
            )
            collected += bytes(drawn)
        return collected

    def handles(self, first: int, last: int) -> list[int]:
        """Handles in use between two numbers of one kind (NV indices, persistent objects)."""
        found: list[int] = []
        start, more = first, True
        while more and start <= last:
            more, data = self.call(
                "list handles",
                self.esapi.get_capability,
                capability=TPM2_CAP.HANDLES,
                prop=start,
                property_count=CAPABILITY_PAGE,
            )
            page = [int(handle) for handle in data.data.handles]
            if not page:
                break
            found.extend(handle for handle in page if handle <= last)
            start = page[-1] + 1
        return found

    def properties(self, first: int, last: int) -> dict[int, int]:
        """Fixed properties between two numbers (TPM_PT, Part 2, 6.13), as far as this TPM has them."""
        _, data = self.call(
            "read properties",
            self.esapi.get_capability,
            capability=TPM2_CAP.TPM_PROPERTIES,
            prop=first,
            property_count=last - first + 1,
        )
        found = {int(one.property): int(one.value) for one in data.data.tpmProperties}
        return {number: value for number, value in found.items() if number <= last}

    def read_nv(self, index: int) -> bytes:
        """Whole content of an NV index that is readable with its own, empty authorisation."""
        doing = f"read NV index {index:#010x}"
        handle = self.call(doing, self.esapi.tr_from_tpmpublic, handle=index)
        public, _ = self.call(doing, self.esapi.nv_read_public, nv_index=handle)
        size = int(public.nvPublic.dataSize)
        content = b""
        while len(content) < size:
            part = self.call(
                doing,
                self.esapi.nv_read,
                nv_index=handle,
                size=min(NV_READ_SIZE, size - len(content)),
                offset=len(content),
                auth_handle=handle,
            )
            content += bytes(part)
        return content


@contextmanager
def open_tpm(tcti: str) -> Iterator[TpmDevice]:
    """Open a TPM.

    Args:
        tcti: as the TSS writes it: ``device:/dev/tpmrm0`` in the box.

    Raises:
        OperationError: there is none.
    """
    try:
        esapi = ESAPI(tcti)
    except TSS2_Exception as error:
        raise OperationError(
            f"No TPM 2.0 at {tcti} (response code {error.rc:#x}).",
            cure="Enable the TPM in the firmware setup; give a virtual machine a TPM device.",
        ) from None
    try:
        yield TpmDevice(esapi)
    finally:
        esapi.close()


def public_2b(area: bytes) -> TPM2B_PUBLIC:
    """A TPMT_PUBLIC as the library takes it."""
    return TPM2B_PUBLIC.unmarshal(sized_2b(area))[0]


def unmarshalled(kind: type[S], content: bytes) -> S:
    """A structure from a disk that anybody can write, or from the network.

    Raises:
        FormatError: it is none.
    """
    try:
        return cast("S", kind.unmarshal(content)[0])
    except TSS2_Exception:
        raise FormatError(f"A {kind.__name__} cannot be read.") from None


def selection_text(pcrs: Iterable[int]) -> str:
    """A PCR selection of the SHA-256 bank as the library takes it."""
    return "sha256:" + ",".join(str(pcr) for pcr in sorted(pcrs))
