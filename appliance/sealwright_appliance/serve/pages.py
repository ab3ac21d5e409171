"""The pages of a box in both languages: its state, activation, the secrets, renewal by file, chat, administration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from sealwright_appliance.adapters.examples import BYTES_MOST, LEAST, MOST
from sealwright_policies.languages import LANGUAGE_COOKIE, Language, chosen_language, read_catalogue

ENROLLMENT_STEPS = ("enrolling", "appraising", "keeping", "restarting")
"""As the agent calls them: :class:`sealwright_appliance.enrollment.EnrollmentStep`, which would bring the TPM along."""
WEB = Path(__file__).parent / "web"
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""No script, nothing from elsewhere, in nobody's frame."""
SCRIPT_SECURITY_POLICY = f"{CONTENT_SECURITY_POLICY}; script-src 'self'; connect-src 'self'"
"""Of the pages with a script."""
OF_SCRIPTS = ("script.", "state.")
"""Keys of texts that the scripts of all pages show, besides those of their own page."""


@cache
def _environment() -> Environment:
    return Environment(loader=FileSystemLoader(WEB), autoescape=select_autoescape(), undefined=StrictUndefined)


def catalogue(language: Language) -> Mapping[str, str]:
    """All texts of a language by their keys."""
    return read_catalogue(WEB / "messages", language)


def pages_for(request: Request) -> Pages:
    """In the language of whoever asks."""
    return Pages(chosen_language(request.cookies.get(LANGUAGE_COOKIE), request.headers.get("Accept-Language", "")))


@dataclass(frozen=True, slots=True)
class Pages:
    """All pages in one language."""

    language: Language

    def front(self, status: dict[str, Any]) -> str:
        """The box's state in words and, while it waits for a claim, the form for it."""
        return self._page("front.html", "/", status=status)

    def setup(self, status: dict[str, Any]) -> str:
        """From the claim code to the secrets, step by step."""
        return self._page(
            "setup.html", "/setup", status=status, steps=ENROLLMENT_STEPS, words=self._words("setup.", "site.")
        )

    def secrets(self, reply: dict[str, Any], claim: dict[str, str]) -> str:
        """The customer's secrets, and the button that acknowledges them with the same claim code."""
        return self._page("secrets.html", reply=reply, claim_code=claim["claim_code"])

    def acknowledged(self) -> str:
        """The secrets are erased."""
        return self._page("acknowledged.html")

    def refused(self, reply: dict[str, Any]) -> str:
        """Why a claim was not taken."""
        return self._page("refused.html", reply=reply)

    def approved(self, reply: dict[str, Any]) -> str:
        """What has come of an approval file."""
        return self._page("approved.html", reply=reply)

    def activation_by_file(self, status: dict[str, Any]) -> str:
        """The three forms of an activation without a network."""
        return self._page("activation_by_file.html", "/activation/file", status=status)

    def renewal(self, status: dict[str, Any]) -> str:
        """The forms of a renewal without a network."""
        return self._page("renewal.html", "/renewal", status=status)

    def qr_code(self, svg: str) -> str:
        """A renewal request as a QR code.

        Args:
            svg: of our own drawing.
        """
        return self._page("qr_code.html", svg=Markup(svg))  # noqa: S704

    def renewed(self, reply: dict[str, Any]) -> str:
        """What has come of a reply file."""
        return self._page("renewed.html", reply=reply)

    def chat(self) -> str:
        """The page on which people talk to a model; the rest is its script's."""
        return self._page("chat.html", "/chat", words=self._words("chat."))

    def administration(self) -> str:
        """What an administrator sees and changes; likewise."""
        examples = {"least": LEAST, "most": MOST, "bytes_most": BYTES_MOST}
        words = self._words("administration.", "site.")
        return self._page("administration.html", "/administration", words=words, examples=examples)

    def _words(self, *own: str) -> dict[str, str]:
        return {key: text for key, text in catalogue(self.language).items() if key.startswith((*own, *OF_SCRIPTS))}

    def _page(self, template: str, address: str = "", **values: object) -> str:
        """Rendered; a page that has an address can be seen in the other language."""
        texts = catalogue(self.language)

        def say(key: str, **filled: object) -> str:
            return texts[key].format(**filled)

        return (
            _environment()
            .get_template(template)
            .render(t=say, language=self.language, languages=list(Language), page=address, **values)
        )


PAGES_WITH_ADDRESS = frozenset({"/", "/setup", "/activation/file", "/renewal", "/chat", "/administration"})


@cache
def asset(name: str) -> bytes:
    """A file that the pages name."""
    return (WEB / name).read_bytes()
