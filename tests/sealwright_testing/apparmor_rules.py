"""What the rules of an AppArmor profile say of paths, by apparmor.d(5): for paths that code is seen to use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

RULE = re.compile(r"(?P<deny>deny )?(?:owner )?(?P<glob>/\S+) (?P<rights>[a-z]+),")
INCLUDE = re.compile(r"include <(?P<name>\w+)>")
GLOB = re.compile(
    r"(?P<deep>\*\*)|(?P<star>\*)|(?P<one>\?)|(?P<open>\{)|(?P<close>\})|(?P<comma>,)|(?P<set>\[[^]]+\])|(?P<text>.)"
)
PARTS = {"one": "[^/]", "open": "(?:", "close": ")", "comma": "|"}


def expression(glob: str) -> re.Pattern[str]:
    """Of a glob; behind a slash a star stands for one letter at least."""
    made, before = "", ""
    for part in GLOB.finditer(glob):
        kind, text = part.lastgroup or "", part.group()
        if kind in ("star", "deep"):
            made += ("[^/]" if before == "/" else "") + ("[^/]*" if kind == "star" else ".*")
        elif kind == "set":
            made += text
        else:
            made += PARTS.get(kind, re.escape(text))
        before = text
    return re.compile(made)


@dataclass(frozen=True, slots=True)
class PathRules:
    """Of one profile."""

    granted: tuple[tuple[re.Pattern[str], str], ...]
    denied: tuple[tuple[re.Pattern[str], str], ...]

    @classmethod
    def load(cls, profile: Path) -> PathRules:
        """Read a profile, and what it includes of the folder beside."""
        found: list[tuple[bool, re.Pattern[str], str]] = []
        for line in (one.strip() for one in profile.read_text("utf-8").splitlines()):
            if (rule := RULE.fullmatch(line)) is not None:
                found.append((rule["deny"] is not None, expression(rule["glob"]), rule["rights"]))
            elif (include := INCLUDE.fullmatch(line)) is not None:
                common = cls.load(profile.parent.joinpath("common", include["name"]))
                found += [(False, *one) for one in common.granted] + [(True, *one) for one in common.denied]
        return cls(
            tuple((glob, rights) for denies, glob, rights in found if not denies),
            tuple((glob, rights) for denies, glob, rights in found if denies),
        )

    def allow(self, path: str, right: str) -> bool:
        """Whether a path may be used so; folders end in a slash."""
        granted, denied = (
            any(right in rights and glob.fullmatch(path) for glob, rights in rules)
            for rules in (self.granted, self.denied)
        )
        return granted and not denied
