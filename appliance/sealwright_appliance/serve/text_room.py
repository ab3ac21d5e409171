"""How much text a request may bring to an engine: refused here, for an engine cuts all of it into tokens first.

llama.cpp does that without looking whether anybody still waits for it, or wants it to end. With a vocabulary of BPE
the time grows with the text: 0.2 s of a processor for 1 MB. With one of SentencePiece a whole turn is one piece and
takes the square of its length: 0.3 s for 64 KiB, 1.4 s for 128 KiB, minutes for 1 MB.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sealwright_appliance.serve.engine import Abilities
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.json_schemas import texts

TOKEN_BYTES = 128
"""Of the longest tokens that public vocabularies have, which are rows of spaces."""
UNCUT_BYTES = 128 * 1024
"""Of all texts of a request for a vocabulary that is not BPE: some 30 000 tokens of English."""


def require_room(request: Mapping[str, Any], abilities: Abilities) -> None:
    """Refuse more text than a model can hold, or than its engine cuts in a second or two.

    Args:
        request: as the engine would get it.

    Raises:
        ApiError: 400.
    """
    param, sizes = text_bytes(request)
    _require(param, max(sizes), abilities.context * TOKEN_BYTES)
    if not abilities.bpe:
        _require(param, sum(sizes), UNCUT_BYTES)


def text_bytes(request: Mapping[str, Any]) -> tuple[str, list[int]]:
    """What the model reads, in UTF-8: from which parameter, and bytes of each text that has a context to itself."""
    if "messages" in request:
        return "messages", [_bytes([request["messages"], request.get("tools")])]
    if "input" in request:
        return "input", [_bytes(text) for text in request["input"]]
    prompts = request["prompt"] if "prompt" in request else [request["content"]]
    return "prompt", [_bytes(text) for text in prompts]


def _bytes(value: Any) -> int:
    """Of all texts in a JSON value, names included."""
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts(value))


def _require(param: str, size: int, most: int) -> None:
    if size > most:
        message = f"The request has {size} bytes of text, and {most} are the most that this model can take."
        raise ApiError(400, "context_length_exceeded", message, param=param)
