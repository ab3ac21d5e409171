"""How many tokens a request has, and nothing else of them.

Ids and pieces would be the model's vocabulary, which is in its file and sealed like the rest. The number is what a
reply says of its prompt anyhow, and costs a request of the budgets like a reply.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from sealwright_appliance.serve import tools as tool_rules
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.json_schemas import SchemaBudget
from sealwright_appliance.serve.messages import MESSAGES_LIMIT, Message, require_consistent
from sealwright_appliance.serve.request_parts import ModelName, Part, parse_request, require_answers
from sealwright_appliance.serve.tools import Tools, require_usable
from sealwright_appliance.serve.unbroken import require_breaks
from sealwright_policies.outflow import OutflowPolicy


class CountRequest(Part):
    """``POST /v1/tokenize``: a text or a conversation."""

    model: ModelName
    prompt: str | None = None
    messages: Annotated[list[Message], Field(min_length=1, max_length=MESSAGES_LIMIT)] | None = None
    tools: Tools | None = None

    @property
    def needs_tools(self) -> bool:
        """Whether it matters what the template can."""
        return bool(self.tools) or any(message.uses_tools for message in self.messages or ())

    def turns(self) -> list[tuple[str, str]]:
        """Role and text of everything that the model would read."""
        said = [("user", self.prompt)] if self.prompt is not None else []
        return tool_rules.turn(self.tools or ()) + [message.turn() for message in self.messages or ()] + said

    def require_permitted(self, policy: OutflowPolicy) -> None:
        """Refuse for a model that tells nothing at all.

        Raises:
            ApiError: 403.
        """
        if not policy.embeddings:
            require_answers(policy)

    def for_engine(self) -> dict[str, Any]:
        """The request as the engine gets it."""
        if self.prompt is not None:
            return {"content": self.prompt, "add_special": True}
        turns = {"messages": [message.for_engine() for message in self.messages or ()]}
        return turns | tool_rules.for_engine(self.tools or (), None, parallel=None)


def parse_count_request(body: bytes) -> CountRequest:
    """Parse a request body.

    Raises:
        ApiError: 400 with the parameter that is wrong, or that this API does not take.
    """
    request = parse_request(CountRequest, body)
    if (request.prompt is None) == (request.messages is None):
        raise ApiError(400, "invalid_parameter", "Either prompt or messages.", param="prompt")
    if request.tools and request.messages is None:
        raise ApiError(400, "invalid_parameter", "tools: only with messages.", param="tools")
    require_consistent(request.messages or ())
    require_usable(request.tools or (), None, SchemaBudget())
    require_breaks([request.prompt or ""], "prompt")
    return request
