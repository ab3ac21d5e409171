"""Which language somebody gets."""

from __future__ import annotations

import pytest

from sealwright_policies.languages import Language, chosen_language


@pytest.mark.parametrize(
    ("cookie", "accepted", "chosen"),
    [
        (None, "", Language.ENGLISH),
        (None, "zh-CN,zh;q=0.9,en;q=0.8", Language.CHINESE),
        (None, "en;q=0.5, zh-TW", Language.CHINESE),
        (None, "de, en;q=0.7, zh;q=0.3", Language.ENGLISH),
        (None, "zh;q=0, en;q=0.1", Language.ENGLISH),
        (None, "de", Language.ENGLISH),
        (None, "zh;q=x, ;;;=,en", Language.ENGLISH),
        ("zh-Hans", "en", Language.CHINESE),
        ("en", "zh", Language.ENGLISH),
        ("../../etc/passwd", "zh", Language.CHINESE),
    ],
)
def test_the_language_is_the_chosen_or_the_browsers(cookie: str | None, accepted: str, chosen: Language) -> None:
    assert chosen_language(cookie, accepted) is chosen
