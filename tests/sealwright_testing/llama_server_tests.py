"""A pytest plugin that has llama.cpp's own server tests ask a box instead of the llama-server that they would start.

Loaded by name (``-p``) into a run of *their* tests, which ``integration/serve/test_llama_server_tests.py`` starts. What
is replaced, and nothing else:

- ``ServerProcess`` starts nothing: by their own variable ``DEBUG_EXTERNAL``, which means a server that runs already.
- Requests go to the box over HTTPS, its certificate verified; paths without ``/v1`` get it, ``/health`` is
  ``/healthz``.
- The API key is the box's, wherever a test shows the one that its server would have, or none where it would want none.
- ``model`` is the box's: llama-server takes any name, or none. ``top_logprobs`` is at most what a policy lets out.
- ``--seed``, ``--temp`` and ``--n-predict`` become parameters of the request, where there are such and it has none.
- Of what their model says, as the expressions that the table lists, no more is wanted than that it is not empty.

Each test's outcome and the errors that the box answered in it become one line of JSON in the report.
"""

from __future__ import annotations

import importlib
import json
import os
import ssl
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest

from sealwright_policies.outflow import TOP_LOGPROBS_MOST

BOX_VARIABLE = "SEALWRIGHT_LLAMA_TESTS_BOX"
"""Names a file with a :class:`Box` as JSON."""
REPORT_NAME = "report.jsonl"
"""Beside that file."""
_WITH_V1 = ("/chat/completions", "/completions", "/models", "/responses", "/embeddings")
_CHATS, _TEXTS, _VECTORS, _RESPONSES = (
    f"/v1/{name}" for name in ("chat/completions", "completions", "embeddings", "responses")
)


@dataclass(frozen=True, slots=True)
class Box:
    """Where the tests' requests go."""

    url: str
    certificate: str
    api_key: str
    chat_model: str
    vector_model: str
    texts: tuple[str, ...]
    """Regular expressions of what their model says."""


@dataclass(frozen=True, slots=True)
class Flags:
    """What their ``ServerProcess`` would have been started with, so far as a request can say it."""

    seed: int = 42
    temperature: float = 0.8
    n_predict: int | None = None
    api_key: str | None = None

    @classmethod
    def of(cls, server: Any) -> Flags:
        """Those of one of their servers; -1 is their word for no limit."""
        limit = server.n_predict if (server.n_predict or 0) > 0 else None
        return cls(server.seed, server.temperature, limit, server.api_key)


def box_path(path: str) -> str:
    """Where the box has what llama-server has at a path."""
    if path == "/health":
        return "/healthz"
    return f"/v1{path}" if path in _WITH_V1 else path


def box_body(path: str, body: dict[str, Any], box: Box, flags: Flags) -> dict[str, Any]:
    """A request's body with the box's model, and with the server's flags where the request says nothing."""
    if path == _VECTORS:
        return body | {"model": box.vector_model}
    if path == _RESPONSES:
        return {"temperature": flags.temperature} | body | {"model": box.chat_model}
    if path not in (_CHATS, _TEXTS):
        return body
    given: dict[str, Any] = {"seed": flags.seed, "temperature": flags.temperature}
    if flags.n_predict is not None:
        given["max_tokens"] = flags.n_predict
    sent = given | body | {"model": box.chat_model}
    if "top_logprobs" in sent:
        sent["top_logprobs"] = min(sent["top_logprobs"], TOP_LOGPROBS_MOST)
    return sent


def box_headers(headers: Mapping[str, str | None], box: Box, flags: Flags) -> dict[str, str]:
    """A request's headers with the box's key for the one of the test's server, or for none where it wants none."""
    sent = {name: value for name, value in headers.items() if value is not None}
    mine = {flags.api_key, "dummy"} - {None}
    for name, value in sent.items():
        if name.lower() in ("authorization", "x-api-key") and value.removeprefix("Bearer ") in mine:
            sent[name] = value.replace(value.removeprefix("Bearer "), box.api_key)
    if flags.api_key is None and not any(name.lower() == "authorization" for name in sent):
        sent["Authorization"] = f"Bearer {box.api_key}"
    return sent


@dataclass
class Redirection:
    """Sends what one test asks to the box, and remembers which errors came back."""

    box: Box
    flags: Flags = field(default_factory=Flags)
    errors: list[str] = field(default_factory=list)

    def remember(self, status: int, body: Any) -> None:
        """Note an error by its code, or by its status where it has none."""
        error = body.get("error") if isinstance(body, dict) else None
        code = error.get("code") if isinstance(error, dict) else None
        if status >= httpx.codes.BAD_REQUEST:
            self.errors.append(str(code or status))


class BoxClient(openai.DefaultHttpxClient):
    """For OpenAI's client."""

    def __init__(self, redirection: Redirection) -> None:
        trust = ssl.create_default_context(cafile=redirection.box.certificate)
        super().__init__(verify=trust, timeout=300, trust_env=False)
        self._redirection = redirection

    def send(self, request: Any, **options: Any) -> Any:
        """The same request to the box."""
        box, flags = self._redirection.box, self._redirection.flags
        path = box_path(request.url.path)
        body = box_body(path, json.loads(request.read()), box, flags)
        given = {name: value for name, value in request.headers.items() if name not in ("host", "content-length")}
        sent = self.build_request(
            request.method,
            box.url + path,
            headers=box_headers(given, box, flags),
            json=body,
            extensions=request.extensions,
        )
        response = super().send(sent, **options)
        if response.is_error:
            self._redirection.remember(response.status_code, json.loads(response.read()))
        return response


class Plugin:
    """Replaces what the module's text says, and writes the report."""

    def __init__(self, box: Box, report: Path) -> None:
        self._redirection = Redirection(box)
        self._report = report

    def redirect_openai(self) -> None:
        """Their modules take the class by its name."""
        real, redirection = openai.OpenAI, self._redirection

        def client(api_key: str, base_url: str) -> openai.OpenAI:
            return real(api_key=api_key, base_url=base_url, http_client=BoxClient(redirection), max_retries=0)

        openai.OpenAI = client  # type: ignore[misc, assignment]

    def redirect_requests(self) -> None:
        """Every function of requests ends in this method."""
        sessions: Any = importlib.import_module("requests.sessions")
        real, redirection = sessions.Session.request, self._redirection

        def request(session: Any, method: str, url: str, **options: Any) -> Any:
            box, flags = redirection.box, redirection.flags
            address = urlsplit(url)
            path = box_path(address.path or "/")
            session.trust_env = False
            options["headers"] = box_headers(options.get("headers") or {}, box, flags)
            if isinstance(options.get("json"), dict):
                options["json"] = box_body(path, options["json"], box, flags)
            query = f"?{address.query}" if address.query else ""
            response = real(session, method, box.url + path + query, verify=box.certificate, **options)
            if response.status_code >= httpx.codes.BAD_REQUEST:
                is_json = "json" in response.headers.get("content-type", "")
                redirection.remember(response.status_code, response.json() if is_json else None)
            return response

        sessions.Session.request = request

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """By now their conftest has been read, and with it their ``utils``."""
        utils: Any = sys.modules["utils"]
        process, real, real_match = utils.ServerProcess, utils.ServerProcess.start, utils.match_regex

        def start(server: Any, *arguments: Any, **options: Any) -> None:
            self._redirection.flags = Flags.of(server)
            real(server, *arguments, **options)

        def match(expression: str, text: str) -> bool:
            return bool(text) if expression in self._redirection.box.texts else real_match(expression, text)

        process.start, utils.match_regex = start, match

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """They stand in the report as well."""
        for item in items:
            self._write(item.nodeid, "deselected")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self) -> Iterator[None]:
        """A test begins with nothing to remember."""
        self._redirection.flags = Flags()
        self._redirection.errors.clear()
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One line for each test."""
        if report.when == "call" or report.outcome != "passed":
            self._write(report.nodeid, report.outcome, str(report.longrepr)[-2000:] if report.failed else "")

    def _write(self, test: str, outcome: str, words: str = "") -> None:
        line = {
            "test": test.removeprefix("unit/"),
            "outcome": outcome,
            "errors": sorted(set(self._redirection.errors)),
            "words": words,
        }
        with self._report.open("a", encoding="utf-8") as output:
            output.write(json.dumps(line) + "\n")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Before anything of theirs is imported."""
    place = Path(os.environ[BOX_VARIABLE])
    # They download models with it; nothing is downloaded here.
    sys.modules["wget"] = ModuleType("wget")
    box = json.loads(place.read_text(encoding="utf-8"))
    plugin = Plugin(Box(**box | {"texts": tuple(box["texts"])}), place.with_name(REPORT_NAME))
    plugin.redirect_openai()
    plugin.redirect_requests()
    early_config.pluginmanager.register(plugin, "sealwright-box")


def write_box(place: Path, box: Box) -> None:
    """What the plugin reads."""
    place.write_text(json.dumps(asdict(box)), encoding="utf-8")
