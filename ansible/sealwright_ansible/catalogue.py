"""The playbooks of this package: their names, and what each does by the comment at its head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sealwright_policies.errors import UsageError

PACKAGE = Path(__file__).parent
PLAYBOOKS = PACKAGE / "playbooks"
ROLES = PACKAGE / "roles"


@dataclass(frozen=True, slots=True)
class Playbook:
    """One playbook."""

    path: Path

    @property
    def name(self) -> str:
        """How the command calls it."""
        return self.path.stem

    @property
    def summary(self) -> str:
        """What it does: the comment lines at its head."""
        lines = self.path.read_text("utf-8").splitlines()[1:]
        head = lines[: next(number for number, line in enumerate(lines) if not line.startswith("#"))]
        return " ".join(line.removeprefix("#").strip() for line in head)


def playbooks() -> Sequence[Playbook]:
    """All of them, by name."""
    return [Playbook(path) for path in sorted(PLAYBOOKS.glob("*.yml"))]


def find_playbook(name: str) -> Playbook:
    """The playbook of a name.

    Raises:
        UsageError: there is none.
    """
    for playbook in playbooks():
        if playbook.name == name:
            return playbook
    raise UsageError(f"There is no playbook {name}; `sealwright-fleet list` shows those that there are.")
