"""Requests of the Responses API, which are chats in other words: each becomes one of :mod:`.chat`, with all its rules.

Nothing is kept on the box: a conversation is sent whole each time. Of OpenAI's own tools there is the search in files.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, FiniteFloat, Tag

from sealwright_appliance.serve.chat import ChatRequest, require_sound
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.file_search import (
    CITATIONS_MOST,
    PASSAGES_USUAL,
    ChosenFileSearch,
    FileSearchItem,
    FileSearchTool,
)
from sealwright_appliance.serve.messages import (
    CALLS_MOST,
    MESSAGES_LIMIT,
    FunctionCall,
    FunctionName,
    Message,
    ToolCall,
)
from sealwright_appliance.serve.request_parts import Ignored, ModelName, Part, ShortText, TokenCount, parse_request
from sealwright_appliance.serve.tools import DESCRIPTION_MOST, TOOLS_MOST

ITEMS_MOST = MESSAGES_LIMIT - 1
"""Besides the instructions."""
_KEPT = "nothing that was said is kept here; send the conversation whole"
OFF = {
    "previous_response_id": _KEPT,
    "conversation": _KEPT,
    "prompt": _KEPT,
    "top_logprobs": "chats have numbers, where the model's policy lets them out",
}
"""Why a parameter of OpenAI's is refused."""


class ResponsePart(Part):
    """A piece of text, the user's or the model's own."""

    type: Literal["input_text", "output_text"]
    text: str
    annotations: Annotated[list[Any], Field(max_length=CITATIONS_MOST)] | None = None
    """Of an earlier reply, which programs send back whole."""
    logprobs: Annotated[list[Any], Field(max_length=0)] | None = None


class MessageItem(Part):
    """One turn."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[ResponsePart]
    id: ShortText | None = None
    status: ShortText | None = None
    phase: ShortText | None = None

    @property
    def text(self) -> str:
        """What is said."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class CallItem(Part):
    """A call that the model asked for."""

    type: Literal["function_call"]
    call_id: ShortText
    name: FunctionName
    arguments: str
    id: ShortText | None = None
    status: ShortText | None = None

    def call(self) -> ToolCall:
        """As chats have it."""
        function = FunctionCall(name=self.name, arguments=self.arguments)
        return ToolCall(id=self.call_id, type="function", function=function)


class CallOutputItem(Part):
    """What came of it."""

    type: Literal["function_call_output"]
    call_id: ShortText
    output: str | list[ResponsePart]
    id: ShortText | None = None
    status: ShortText | None = None

    @property
    def text(self) -> str:
        """The result."""
        return self.output if isinstance(self.output, str) else "".join(part.text for part in self.output)


def _kind(value: object) -> str:
    kind = value.get("type", "message") if isinstance(value, dict) else getattr(value, "type", "")
    return kind if isinstance(kind, str) else ""


Item = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[CallItem, Tag("function_call")]
    | Annotated[CallOutputItem, Tag("function_call_output")]
    | Annotated[FileSearchItem, Tag("file_search_call")],
    Discriminator(_kind),
]


class ResponseTool(Part):
    """A function; the names of :class:`.tools.Function`, one level higher."""

    type: Literal["function"]
    name: FunctionName
    description: Annotated[str, Field(max_length=DESCRIPTION_MOST)] | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    def tool(self) -> dict[str, Any]:
        """As chats have it."""
        return {"type": "function", "function": self.model_dump(exclude={"type"}, exclude_none=True)}

    def described(self) -> dict[str, Any]:
        """As replies name it."""
        return self.model_dump()


class ChosenFunction(Part):
    """One function that must be called."""

    type: Literal["function"]
    name: FunctionName


Tool = Annotated[
    Annotated[ResponseTool, Tag("function")] | Annotated[FileSearchTool, Tag("file_search")], Discriminator(_kind)
]
Choice = Literal["none", "auto", "required"] | ChosenFunction | ChosenFileSearch
Included = Literal["reasoning.encrypted_content", "file_search_call.results"]
RESULTS: Included = "file_search_call.results"


class TextFormat(Part):
    """Shape of the reply."""

    type: Literal["text", "json_object", "json_schema"]
    name: ShortText | None = None
    description: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None

    def response_format(self) -> dict[str, Any]:
        """As chats have it."""
        schema = {"json_schema": {"schema": self.schema_ or {}}} if self.type == "json_schema" else {}
        return {"type": self.type} | schema


class TextOptions(Part):
    """Options of the reply's text."""

    format: TextFormat | None = None

    def described(self) -> dict[str, Any]:
        """As replies name it."""
        shape = self.format or TextFormat(type="text")
        return {"format": shape.model_dump(by_alias=True, exclude_none=True)}


class ObfuscationOptions(Part):
    """Taken and ignored: streams are padded as the model's policy says."""

    include_obfuscation: bool | None = None


class ResponseRequest(Ignored):
    """``POST /v1/responses``."""

    model: ModelName
    input: str | Annotated[list[Item], Field(min_length=1, max_length=ITEMS_MOST)]
    instructions: str | None = None
    stream: bool | None = None
    stream_options: ObfuscationOptions | None = None
    max_output_tokens: TokenCount | None = None
    temperature: Annotated[FiniteFloat, Field(ge=0, le=2)] | None = None
    top_p: Annotated[FiniteFloat, Field(gt=0, le=1)] | None = None
    text: TextOptions | None = None
    tools: Annotated[list[Tool], Field(max_length=TOOLS_MOST + 1)] | None = None
    tool_choice: Choice | None = None
    parallel_tool_calls: bool | None = None
    truncation: Literal["disabled"] | None = None
    background: Literal[False] | None = None
    include: Annotated[list[Included], Field(max_length=2)] | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    prompt: Any = None
    top_logprobs: int | None = None

    @property
    def functions(self) -> list[ResponseTool]:
        """Tools that the model may call."""
        return [tool for tool in self.tools or () if isinstance(tool, ResponseTool)]

    @property
    def passages_most(self) -> int:
        """How many passages of documents are wanted; 0: the reply is not to come from documents."""
        searches = [tool for tool in self.tools or () if isinstance(tool, FileSearchTool)]
        return 0 if self.tool_choice == "none" or not searches else searches[0].max_num_results or PASSAGES_USUAL

    @property
    def with_results(self) -> bool:
        """Whether the reply has the passages in it."""
        return RESULTS in (self.include or ())

    def chat(self) -> ChatRequest:
        """The same as a chat, without what documents say.

        Raises:
            ApiError: 400, as of a chat.
        """
        functions = self.functions
        choice: Any = self.tool_choice
        if isinstance(choice, ChosenFunction):
            choice = {"type": "function", "function": {"name": choice.name}}
        # The search is no choice of the model's: it is made, and "required" is met by that.
        if isinstance(choice, ChosenFileSearch) or (not functions and (choice == "auto" or self.passages_most)):
            choice = None
        shape = self.text.format if self.text is not None else None
        asked = {
            "model": self.model,
            "messages": self._messages(),
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_completion_tokens": self.max_output_tokens,
            "response_format": None if shape is None else shape.response_format(),
            "tools": [tool.tool() for tool in functions] or None,
            "tool_choice": choice,
            "parallel_tool_calls": self.parallel_tool_calls,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        try:
            request = ChatRequest.model_validate(asked)
            require_sound(request)
        except ApiError as error:
            inner = error.param is not None and error.param.startswith("messages")
            raise ApiError(error.status, error.code, error.message, param="input" if inner else error.param) from None
        return request

    def _messages(self) -> list[Message]:
        """Turns; calls that follow each other, or a turn of the model, are one turn with it."""
        found = [] if self.instructions is None else [Message(role="system", content=self.instructions)]
        items = [MessageItem(role="user", content=self.input)] if isinstance(self.input, str) else self.input
        for item in items:
            if isinstance(item, CallItem):
                before = found.pop() if found and found[-1].role == "assistant" else Message(role="assistant")
                if len(before.tool_calls or ()) >= CALLS_MOST:
                    message = f"input: at most {CALLS_MOST} calls behind each other."
                    raise ApiError(400, "invalid_parameter", message, param="input")
                calls = [*(before.tool_calls or ()), item.call()]
                found.append(Message(role="assistant", content=before.content, tool_calls=calls))
            elif isinstance(item, CallOutputItem):
                found.append(Message(role="tool", content=item.text, tool_call_id=item.call_id))
            elif isinstance(item, MessageItem):
                found.append(Message(role=item.role, content=item.text))
        return found


def parse_response_request(body: bytes) -> tuple[ResponseRequest, ChatRequest]:
    """Parse a request body.

    Returns:
        The request, and the chat that it is.

    Raises:
        ApiError: 400 with the parameter that is wrong, or that this API does not take.
    """
    request = parse_request(ResponseRequest, body)
    for name, why in OFF.items():
        if getattr(request, name) is not None:
            raise ApiError(400, "unsupported_parameter", f"{name} is off on a sealed box: {why}.", param=name)
    return request, request.chat()
