"""Why an adapter is refused: stable codes, each with cause and cure in a sentence (policies/spec/own-adapters.md, 3).

Nothing of an example stands in a sentence: programs log errors.
"""

from __future__ import annotations

from enum import StrEnum

from sealwright_policies.errors import FormatError


class AdapterCode(StrEnum):
    """Stable: the same in the spec, the API and the tests."""

    NOT_ALLOWED = "adapters_not_allowed"
    NAME = "adapter_name"
    EXISTS = "adapter_exists"
    EXAMPLES = "examples_malformed"
    TOO_FEW = "examples_too_few"
    TOO_MANY = "examples_too_many"
    TOO_LARGE = "examples_too_large"
    FULL = "adapters_full"
    DISK_FULL = "adapters_disk_full"
    UNKNOWN = "adapter_unknown"
    OTHER_MODEL = "adapter_other_model"
    NOT_READY = "adapter_not_ready"
    UNAVAILABLE = "adapters_unavailable"


SENTENCES = {
    AdapterCode.NOT_ALLOWED: "No domain of this release lets adapters of this model be trained.",
    AdapterCode.NAME: "An adapter's name is 1 to 28 characters of a-z, 0-9 and -, the first no -.",
    AdapterCode.EXISTS: "This model has an adapter of this name; delete it first.",
    AdapterCode.EXAMPLES: "A line of the examples is no conversation: JSON with messages of system, user and"
    " assistant, text alone, the last of the assistant.",
    AdapterCode.TOO_FEW: "There are fewer than 10 examples.",
    AdapterCode.TOO_MANY: "There are more than 5000 examples.",
    AdapterCode.TOO_LARGE: "The examples have more than 4 MiB.",
    AdapterCode.FULL: "This model has as many adapters as it may; delete one.",
    AdapterCode.DISK_FULL: "The state volume has no room for another adapter.",
    AdapterCode.UNKNOWN: "There is no such adapter.",
    AdapterCode.OTHER_MODEL: "This adapter was trained for another model.",
    AdapterCode.NOT_READY: "This adapter is not trained yet.",
    AdapterCode.UNAVAILABLE: "The box's adapters cannot be reached; the state volume may be closed.",
}


class AdapterError(FormatError):
    """An adapter is refused, or those that there are cannot be reached."""

    def __init__(self, code: AdapterCode, line: int | None = None) -> None:
        super().__init__(SENTENCES[code] if line is None else f"Line {line}: {SENTENCES[code]}")
        self.code = code
        self.line = line
        """Of the examples, from 1."""
