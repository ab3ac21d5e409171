"""Why a request body is refused, in words of this file: nothing that a client sent stands in them.

An error is read by programs that write logs, so a part of a prompt that came as a name or a value must not come back.
A parameter is called by its name only where the name is on a list.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from sealwright_appliance.serve.errors import ApiError

NUMBERS = "it gives away or steers the model's numbers, which helps to copy the model"
SLOTS = "slots hold other people's conversations"
ENGINE = "it is for the engine alone"
ABSENT = "this box has nothing of the kind"
TEXT_ONLY = "its models read text alone"
OFF = {
    NUMBERS: (
        "logit_bias", "grammar", "n_probs", "post_sampling_probs", "return_tokens", "samplers", "ignore_eos",
        "top_k", "min_p", "typical_p", "top_n_sigma", "repeat_penalty", "min_keep", "mirostat",
    ),
    SLOTS: ("id_slot", "cache_prompt", "n_keep"),
    ENGINE: ("n_predict", "json_schema", "response_fields", "chat_template_kwargs", "lora", "verbose"),
    ABSENT: ("functions", "function_call", "audio", "prompt"),
    TEXT_ONLY: ("image_url", "input_audio", "file", "video_url", "file_id", "file_data"),
}  # fmt: skip
"""Why a parameter of OpenAI's or llama-server's is refused; those that are not here are refused without a name."""
REASONS = {name: reason for reason, names in OFF.items() for name in names}
_EXPECTED: Mapping[str, str] = {
    "missing": "it is required",
    "string_type": "expected a text",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "finite_number": "expected a finite number",
    "bool_type": "expected true or false",
    "list_type": "expected a list",
    "dict_type": "expected an object",
    "model_type": "expected an object",
    "greater_than": "expected more than {gt}",
    "greater_than_equal": "expected {ge} or more",
    "less_than": "expected less than {lt}",
    "less_than_equal": "expected {le} or less",
    "too_short": "expected {min_length} or more entries",
    "too_long": "expected {max_length} or fewer entries",
    "string_too_long": "expected {max_length} or fewer characters",
    "literal_error": "expected {expected}",
    "string_pattern_mismatch": "expected letters, digits, _ and - alone, 1 to 64 of them",
    "none_required": "expected null",
    "union_tag_invalid": "expected a type that this API has: it takes text and calls of functions",
}
"""By pydantic's types of errors; what is filled in comes from the schema, never from the input."""


def explain(error: ValidationError, taken: frozenset[str]) -> ApiError:
    """The refusal of a body; of several reasons, one that tells why before one that tells that.

    Args:
        taken: names of all that a request of this kind may have, at any depth.
    """
    problems = error.errors(include_url=False, include_input=False)
    unknown = [problem["loc"] for problem in problems if problem["type"] == "extra_forbidden"]
    for place in unknown:
        name = str(place[-1])
        if name in REASONS:
            message = f"{name} is off on a sealed box: {REASONS[name]}."
            return ApiError(400, "unsupported_parameter", message, param=_where(place[:-1], taken, name))
    if problems[0]["type"] == "json_invalid":
        return ApiError(400, "invalid_json", "The body is not valid JSON.")
    if unknown:
        return _unknown(unknown[0], taken)
    # Where several forms are possible, the one that came furthest was meant.
    first = max(problems, key=lambda problem: _where(problem["loc"], taken).count("."))
    where = _where(first["loc"], taken)
    message = f"{where or 'body'}: {_expected(first['type'], first.get('ctx', {}))}."
    return ApiError(400, "invalid_parameter", message, param=where or None)


def _where(place: Sequence[int | str], taken: frozenset[str], name: str = "") -> str:
    """A place in the body, by names of ours alone."""
    return ".".join([str(part) for part in place if isinstance(part, int) or part in taken] + [name] * bool(name))


def _unknown(place: Sequence[int | str], taken: frozenset[str]) -> ApiError:
    close = difflib.get_close_matches(str(place[-1])[:64], taken, n=1)
    hint = f" Is {close[0]} meant?" if close else ""
    message = f"There is a parameter that this API does not know.{hint}"
    return ApiError(400, "unknown_parameter", message, param=_where(place[:-1], taken) or None)


def _expected(kind: str, context: Mapping[str, Any]) -> str:
    return _EXPECTED.get(kind, "it has not the right form").format_map(context)
