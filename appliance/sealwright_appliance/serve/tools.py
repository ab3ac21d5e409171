"""Functions that a model may ask a program to call."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.json_schemas import SchemaBudget, texts_shown
from sealwright_appliance.serve.messages import FunctionName, Message
from sealwright_appliance.serve.request_parts import Part
from sealwright_appliance.serve.unbroken import require_breaks

TOOLS_MOST = 64
DESCRIPTION_MOST = 8192
"""Characters."""
NO_PARAMETERS = {"type": "object", "properties": {}}


class Function(Part):
    """A function of the program that asks."""

    name: FunctionName
    description: Annotated[str, Field(max_length=DESCRIPTION_MOST)] | None = None
    parameters: dict[str, Any] | None = None
    """A JSON schema."""
    strict: bool | None = None
    """Taken and of no effect: calls always follow their schema."""


class Tool(Part):
    """The only kind of tool there is."""

    type: Literal["function"]
    function: Function

    def for_engine(self) -> dict[str, Any]:
        """With parameters, which the engine insists on."""
        described = {"description": self.function.description} if self.function.description else {}
        parameters = self.function.parameters or NO_PARAMETERS
        return {"type": "function", "function": {"name": self.function.name} | described | {"parameters": parameters}}


class FunctionReference(Part):
    """The name of a function."""

    name: FunctionName


class NamedTool(Part):
    """One function that must be called."""

    type: Literal["function"]
    function: FunctionReference


Tools = Annotated[list[Tool], Field(min_length=1, max_length=TOOLS_MOST)]
ToolChoice = Literal["none", "auto", "required"] | NamedTool


def require_usable(tools: Sequence[Tool], choice: ToolChoice | None, budget: SchemaBudget) -> None:
    """Refuse schemas without bounds, two functions of one name, a choice of what is not there, texts without a break.

    Args:
        budget: of all schemas of the request.

    Raises:
        ApiError: 400.
    """
    names = [tool.function.name for tool in tools]
    if len(set(names)) != len(names):
        raise ApiError(400, "invalid_parameter", "tools: two functions have one name.", param="tools")
    if choice not in (None, "none", "auto") and not tools:
        raise ApiError(400, "invalid_parameter", "tool_choice: only with tools.", param="tool_choice")
    if isinstance(choice, NamedTool) and choice.function.name not in names:
        raise ApiError(400, "invalid_parameter", "tool_choice: there is no such function.", param="tool_choice")
    for at, tool in enumerate(tools):
        if tool.function.parameters is not None:
            budget.spend(tool.function.parameters, f"tools.{at}.function.parameters")
    require_breaks((text for tool in tools for text in texts_shown(tool.for_engine())), "tools")


def for_engine(tools: Sequence[Tool], choice: ToolChoice | None, *, parallel: bool | None) -> dict[str, Any]:
    """The engine's parameters: of a function that must be called it is told alone."""
    if not tools:
        return {}
    if isinstance(choice, NamedTool):
        tools = [tool for tool in tools if tool.function.name == choice.function.name]
    asked: dict[str, Any] = {"tools": [tool.for_engine() for tool in tools]}
    asked["tool_choice"] = "required" if isinstance(choice, NamedTool) else choice or "auto"
    return asked if parallel is None else asked | {"parallel_tool_calls": parallel}


def turn(tools: Sequence[Tool]) -> list[tuple[str, str]]:
    """What the model is told of them, as the beginning of a conversation; nothing if there are none."""
    return [("tools", json.dumps([tool.for_engine() for tool in tools], ensure_ascii=False))] if tools else []


def require_template(tools: Sequence[Tool], messages: Sequence[Message], *, able: bool) -> None:
    """Refuse tools where the model's template has no place for them: it would never hear of them.

    Raises:
        ApiError: 400.
    """
    calls = [at for at, message in enumerate(messages) if message.uses_tools]
    if (tools or calls) and not able:
        message = "This model knows no tools: its chat template has no place for them."
        raise ApiError(400, "unsupported_parameter", message, param="tools" if tools else f"messages.{calls[0]}.role")
